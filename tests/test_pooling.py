"""Pooling in the engine and as layers: the reference, gradients, identities, shapes, speed paths, messages."""

import ctypes
import math
import mmap
import sys

import numpy as np
import pytest
from skconv._engine.lines import goes_by_lines
from threadpoolctl import threadpool_limits

import reference
from builders import convolution, pad, pool, pool_geometry
from skconv._engine import kernels
from skconv._geometry import resolve_pool
from skconv._network import Network
from skconv._operations import Activate, Convolution, DenseProduct, Pool, Reshape
from test_network import POOLS


def lp(in_shape, p, **window):
    operation = pool(in_shape, "lp", **window)
    return Pool("pool", in_shape, operation.out_shape, "lp", operation.window, False, p)


# One pixel of many channels, few channels, all vector lengths and their remainders.
CHANNELS = [1, 2, 3, 5, 16, 33, 64, 70]
# Whole lines, thin windows, windows that cover everything once, large ones.
MORE_POOLS = [
    ((6, 300), {"kernel_size": (2, 1)}),
    ((7, 20), {"kernel_size": (3, 1), "stride": (2, 1), "padding": (1, 0)}),
    ((6, 21), {"kernel_size": (1, 3)}),
    ((200, 9), {"kernel_size": (200, 1)}),
    ((3, 130), {"kernel_size": (1, 130)}),
    ((8, 8), {"kernel_size": 4}),
    ((10, 10), {"kernel_size": 5, "padding": 2, "stride": 5, "ceil_mode": True}),
    ((9, 8, 7), {"kernel_size": (2, 1, 1)}),
    ((6, 6), {"kernel_size": 1}),
    ((8, 8), {"kernel_size": 1, "stride": 3}),
    # One channel: vectors of pixels, in blocks and pieces of blocks; 3, 4, 32 and 33 taps.
    ((1, 700), {"kernel_size": (1, 3)}),
    ((2, 401), {"kernel_size": (1, 4)}),
    ((1, 2100), {"kernel_size": (1, 32)}),
    ((1, 2100), {"kernel_size": (1, 33)}),
    ((5, 160), {"kernel_size": 3, "stride": 2, "padding": 1}),
]


@pytest.mark.parametrize("n_channels", CHANNELS)
@pytest.mark.parametrize(("size", "window"), MORE_POOLS, ids=str)
def test_max_pool_matches_reference(isa, dtype, size, window, n_channels):
    rng = np.random.default_rng(0)
    operation = pool((*size, n_channels), **window)
    x = rng.integers(-3, 4, size=(2, *operation.in_shape))
    dy = rng.integers(-8, 9, size=(2, *operation.out_shape))
    network = Network([operation], dtype=dtype, isa=isa)
    expected, index = reference.max_pool(x, **pool_geometry(operation), output_size=operation.out_shape[:-1])
    out = np.full((2, *operation.out_shape), np.nan, dtype=dtype)
    np.testing.assert_array_equal(network.predict(x.astype(dtype), out=out), expected)
    dx, _ = network.backward(x.astype(dtype), dy)
    np.testing.assert_array_equal(dx, reference.max_pool_backward(dy, index, x.shape, **pool_geometry(operation)))


@pytest.mark.parametrize("count_include_pad", [False, True])
@pytest.mark.parametrize("n_channels", CHANNELS)
@pytest.mark.parametrize(("size", "window"), POOLS + MORE_POOLS, ids=str)
def test_average_pool_of_integers_is_rounded_once(isa, dtype, size, window, n_channels, count_include_pad):
    """Sums of small integers are exact, and a division of two numbers is rounded once: bit for bit."""
    rng = np.random.default_rng(0)
    operation = pool((*size, n_channels), "average", count_include_pad, **window)
    x = rng.integers(-8, 9, size=(2, *operation.in_shape))
    dy = rng.integers(-8, 9, size=(2, *operation.out_shape)).astype(dtype)
    network = Network([operation], dtype=dtype, isa=isa)
    options = pool_geometry(operation) | dict(pad_after=operation.window.pad_after, count_include_pad=count_include_pad)
    expected = reference.avg_pool(x, output_size=operation.out_shape[:-1], **options)
    out = np.full((2, *operation.out_shape), np.nan, dtype=dtype)
    np.testing.assert_array_equal(network.predict(x.astype(dtype), out=out), expected.astype(dtype))
    dx, _ = network.backward(x.astype(dtype), dy)
    expected = reference.avg_pool_backward(dy, x.shape, **options)
    # As many parts as windows overlap, each rounded, of size 8 at most.
    tolerance = 8 * math.prod(operation.window.kernel_size) * np.finfo(dtype).eps
    np.testing.assert_allclose(dx, expected, rtol=0, atol=tolerance)


NORMS = [(p, c) for p in (1.0, 2.0, 3.0, 8.0, 1.5, 100.0) for c in (1, 5)] + [
    (p, c) for p in (2.0, 3.0) for c in (33, 70)
]


@pytest.mark.parametrize(("p", "n_channels"), NORMS)
@pytest.mark.parametrize(("size", "window"), POOLS + MORE_POOLS, ids=str)
def test_lp_pool_matches_reference(isa, dtype, size, window, n_channels, p):
    rng = np.random.default_rng(0)
    operation = lp((*size, n_channels), p, **window)
    x = rng.integers(-8, 9, size=(2, *operation.in_shape)).astype(dtype)
    x[:, : size[0] // 2] = 0  # windows of zeros, too
    dy = rng.standard_normal((2, *operation.out_shape)).astype(dtype)
    network = Network([operation], dtype=dtype, isa=isa)
    options = pool_geometry(operation) | dict(pad_after=operation.window.pad_after)
    expected = reference.lp_pool(x, p, output_size=operation.out_shape[:-1], **options)
    # A sum of n positive terms, and powers: some roundings per term, times p, which the root divides by p again.
    n_taps = math.prod(operation.window.kernel_size)
    rtol = (8 + n_taps + p) * np.finfo(dtype).eps
    out = np.full((2, *operation.out_shape), np.nan, dtype=dtype)
    np.testing.assert_allclose(network.predict(x, out=out), expected, rtol=rtol, atol=0)
    dx, _ = network.backward(x, dy)
    expected = reference.lp_pool_backward(dy, x, p, **options)
    np.testing.assert_allclose(dx, expected, rtol=0, atol=16 * rtol * max(1, p / 4) * np.abs(expected).max())


@pytest.mark.parametrize("p", [2.0, 3.0, 2.5])
def test_lp_pool_gradient_numerically(isa, p):
    rng = np.random.default_rng(0)
    operation = lp((5, 6, 3), p, kernel_size=3, stride=2, padding=1)
    network = Network([operation], dtype="float64", isa=isa)
    x, dy = rng.standard_normal((2, *operation.in_shape)), rng.standard_normal((2, *operation.out_shape))
    dx, _ = network.backward(x, dy)
    expected = reference.numerical_gradient(lambda x: (network.predict(x) * dy).sum(), x)
    np.testing.assert_allclose(dx, expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0, 1.5])
@pytest.mark.parametrize("n_channels", [1, 6, 70])
def test_lp_pool_of_special_values(isa, dtype, p, n_channels):
    x = np.zeros((1, 2, 10, 1), dtype)
    x[0, 0, 0:6:2, 0] = (np.nan, np.inf, -np.inf)
    x[0, 1, 2] = np.nan  # infinity and NaN
    x[0, :, 6:8] = -(0.1 * float(np.finfo(dtype).max) if p != 2 else 1e10)  # its powers overflow, the norm does not
    x[0, :, 8:] = -0.0
    result = Network([lp((2, 10, n_channels), p, kernel_size=2)], dtype=dtype, isa=isa).predict(
        np.ascontiguousarray(np.repeat(x, n_channels, axis=3))
    )
    expected = np.array([np.nan, np.nan, np.inf, np.abs(x[0, 0, 6, 0]) * 4 ** (1 / p), 0.0])
    np.testing.assert_allclose(result[0, 0], np.repeat(expected[:, None], n_channels, axis=1), rtol=1e-5)


def test_means_keep_minus_zero_and_propagate(isa, dtype):
    x = np.full((1, 2, 6, 5), -0.0, dtype)
    x[0, 0, 2], x[0, 1, 4], x[0, 0, 5] = np.nan, np.inf, -np.inf
    mean = Network([pool((2, 6, 5), "average", kernel_size=2)], dtype=dtype, isa=isa).predict(x)
    assert np.signbit(mean[0, 0, 0]).all() and (mean[0, 0, 0] == 0).all()
    assert np.isnan(mean[0, 0, 1:]).all()


def test_constant_images_stay_constant(isa, dtype):
    for kernel_size in range(1, 12):
        x = np.full((1, 12, 12, 3), 0.1, dtype)
        mean = Network([pool((12, 12, 3), "average", kernel_size=kernel_size)], dtype=dtype, isa=isa).predict(x)
        np.testing.assert_allclose(mean, x[0, 0, 0, 0], rtol=kernel_size**2 * np.finfo(dtype).eps / 2)
        np.testing.assert_array_equal(
            Network([pool((12, 12, 3), "average", kernel_size=kernel_size)], dtype=dtype, isa=isa).predict(x * 0 + 1), 1
        )


@pytest.mark.parametrize("n_channels", [1, 2, 3, 7, 16, 40, 130])
@pytest.mark.parametrize("position", range(9))
def test_max_pool_keeps_nan(isa, dtype, position, n_channels):
    x = np.arange(9.0).reshape(1, 3, 3, 1).repeat(n_channels, axis=3).astype(dtype)
    x[0, position // 3, position % 3] = np.nan
    assert np.isnan(Network([pool(x.shape[1:], kernel_size=3)], dtype=dtype, isa=isa).predict(x)).all()


def test_global_sums_stay_precise(isa):
    """A float32 sum of 2**16 equal numbers one after the other would be off by some 1e-3."""
    x = np.full((1, 2**16, 1, 4), 0.1, np.float32)
    mean = Network([pool(x.shape[1:], "average", kernel_size=(2**16, 1))], isa=isa).predict(x)
    np.testing.assert_allclose(mean, np.float32(0.1), rtol=1e-4)


# ---- data read where they lie ----------------------------------------------------------------------------------------


def readers():
    shape = (6, 10, 32)
    conv = convolution(shape, 5, "relu", kernel_size=3)
    one = convolution(shape, 40, "tanh", kernel_size=1)
    return {
        "max": [pool(shape, kernel_size=2)],
        "lp": [lp(shape, 3.0, kernel_size=3, padding=1, stride=1)],
        "conv": [conv],
        "1x1": [one],
        "dense": [DenseProduct("dense", shape, (70,), "relu", True)],
        "wide": [DenseProduct("dense", shape, (700,), "relu", True), DenseProduct("dense", (700,), (3,))],
        "act": [Activate("act", shape, shape, "elu")],
        "conv, pool": [conv, pool(conv.out_shape, kernel_size=2)],
        "lines": [convolution((6, 20, 3), 16, "relu", options={"algorithm": "direct"}, kernel_size=3, padding="same")],
        "lines, 5x7": [
            convolution((9, 20, 5), 16, "tanh", options={"algorithm": "direct"}, kernel_size=(5, 7), padding="same"),
            pool((9, 20, 16), kernel_size=2),
        ],
        "lines, rows apart": [
            convolution(
                (9, 20, 4),
                16,
                "relu",
                options={"algorithm": "direct"},
                kernel_size=3,
                stride=(2, 1),
                dilation=(2, 1),
                padding=((2, 0), (1, 0)),
            )
        ],
        "lines, full": [
            convolution((6, 20, 3), 16, "relu", options={"algorithm": "direct"}, kernel_size=5, padding="full")
        ],
        "one channel": [convolution((9, 23, 1), 17, "relu", kernel_size=5, padding="same")],
        "one channel, pool": [
            convolution((9, 23, 1), 16, "tanh", kernel_size=5, padding="same"),
            pool((9, 23, 16), kernel_size=2),
        ],
        "same": [convolution(shape, 33, "relu", kernel_size=3, padding="same")],  # Winograd: wants a margin
        "winograd": [convolution(shape, 33, "relu", options={"algorithm": "winograd"}, kernel_size=3)],
        "winograd, 5x5": [convolution(shape, 33, "relu", options={"algorithm": "winograd"}, kernel_size=5)],
        "reshape": [Reshape("flat", shape, (math.prod(shape),)), DenseProduct("dense", (math.prod(shape),), (4,))],
        "depthwise": [convolution((6, 10, 5), 5, "relu", options={"groups": 5}, kernel_size=3)],
        "groups": [convolution(shape, 12, "relu", options={"groups": 4}, kernel_size=3)],
        "pad": [pad(shape, (1, 0), (0, 2), "reflect"), pool((7, 12, 32), kernel_size=2)],
        "only reshape": [Reshape("flat", shape, (math.prod(shape),))],
    }


@pytest.mark.parametrize("name", readers())
def test_data_of_the_networks_precision_are_read_where_they_lie(isa, dtype, name):
    """The same bits as by way of a map, which standardisation by 0 and 1 forces, for all ways to share out the work."""
    operations = readers()[name]
    plain = Network(operations, dtype=dtype, isa=isa)
    n_channels = operations[0].in_shape[-1]
    mapped = Network(operations, dtype=dtype, isa=isa, mean=np.zeros(n_channels), scale=np.ones(n_channels))
    plain.initialize(np.random.RandomState(0))
    mapped.weights[...] = plain.weights
    for n_samples in (1, 3, 40):
        x = np.random.default_rng(0).standard_normal((n_samples, *operations[0].in_shape)).astype(dtype)
        x.flags.writeable = False
        for n_threads in (1, 2):
            with threadpool_limits(n_threads, user_api="openmp"):
                results = [network.predict(x) for network in (plain, mapped)]
                other = plain.predict(x.astype("float64" if dtype == "float32" else "float32"))
                again = plain.predict(x)
            np.testing.assert_array_equal(*results)
            np.testing.assert_array_equal(results[0], again)
            np.testing.assert_allclose(other, results[0], rtol=0, atol=1e-4)
    (first,) = plain._predictors[False, True]
    copied = ("same", "winograd", "winograd, 5x5", "depthwise", "only reshape", "lines, full")
    wants_lines = "lines" in name
    has_lines = wants_lines and goes_by_lines(kernels(dtype, isa), operations[0].window.kernel_size[-1], 20, 16)
    assert first.copies_data == (name in copied or (wants_lines and not has_lines))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mprotect of Linux")
def test_data_are_read_to_their_end_only(isa, dtype):
    """Data between pages that may not be read: one element too many would crash the process."""
    for name, operations in readers().items():
        shape = operations[0].in_shape
        n_values = 2 * math.prod(shape)
        n_bytes = -(-n_values * np.dtype(dtype).itemsize // mmap.PAGESIZE) * mmap.PAGESIZE
        memory = np.frombuffer(mmap.mmap(-1, n_bytes + 2 * mmap.PAGESIZE), dtype=np.uint8)
        for border in (0, mmap.PAGESIZE + n_bytes):
            page = ctypes.c_void_p(memory.ctypes.data + border)
            assert ctypes.CDLL(None).mprotect(page, mmap.PAGESIZE, 0) == 0
        values = memory[mmap.PAGESIZE : -mmap.PAGESIZE].view(dtype)
        network = Network(operations, dtype=dtype, isa=isa)
        network.initialize(np.random.RandomState(0))
        for x in (values[:n_values].reshape(2, *shape), values[-n_values:].reshape(2, *shape)):
            x[...] = np.random.default_rng(0).standard_normal(x.shape)
            np.testing.assert_array_equal(network.predict(x), network.predict(x.copy()), err_msg=name)


def test_images_can_be_cut_otherwise_between_two_layers(isa):
    """A reshape that merges width and channels, before and behind pooling, and then a margin."""
    shape = (4, 6, 8)
    pooled = (4, 6, 2)
    along = resolve_pool((4, 48), kernel_size=(1, 4))
    conv = convolution(pooled, 3, "identity", kernel_size=3, padding="same")
    operations = [
        Reshape("", shape, (4, 48, 1)),
        Pool("", (4, 48, 1), (4, 12, 1), "max", along),
        Reshape("", (4, 12, 1), pooled),
        conv,
    ]
    network = Network(operations, dtype="float64", isa=isa)
    network.initialize(np.random.RandomState(0))
    alone = Network([conv], dtype="float64", isa=isa)
    alone.weights[...] = network.weights
    x = np.random.default_rng(0).standard_normal((3, *shape))
    maxout = x.reshape(3, 4, 6, 2, 4).max(axis=-1)
    np.testing.assert_array_equal(network.predict(x), alone.predict(maxout))
    dy = np.random.default_rng(1).standard_normal((3, *conv.out_shape))
    dx, gradient = network.backward(x, dy)
    expected, expected_gradient = alone.backward(maxout, dy)
    np.testing.assert_array_equal(gradient, expected_gradient)
    won = x.reshape(3, 4, 6, 2, 4) == maxout[..., None]
    np.testing.assert_array_equal(dx.reshape(won.shape), np.where(won, expected[..., None], 0))


def test_margin_around_images_cut_otherwise_is_refused():
    conv = Convolution("", (8, 3, 1), (8, 3, 2), window=convolution((8, 3, 1), 2, kernel_size=3, padding=1).window)
    operations = [pool((2, 12, 1), kernel_size=1), Reshape("", (2, 12, 1), (8, 3, 1)), conv]
    with pytest.raises(ValueError, match="there is no margin around images of shape"):
        Network(operations).predict(np.ones((1, 2, 12, 1), np.float32))
