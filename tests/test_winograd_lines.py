"""Winograd's algorithm along one axis, as networks run it: how near it comes, and bits that depend on shapes alone."""

import math

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

import reference
from builders import convolution, fill_with_integers, geometry, integers, pool
from skconv._algorithms import pays_back_by_lines
from skconv._network import Network
from skconv.functional import conv, convolution_plan

# Image, filters, window, pooling. Heights that are no whole tiles of four lines, lines too short for lines.h, filters
# that fill no vector, and more than two.
MAPS = [
    ((14, 14, 6), 16, {"padding": "same"}, {"kernel_size": 2}),
    ((9, 21, 3), 40, {"padding": "valid"}, {"kernel_size": 2, "ceil_mode": True}),
    ((11, 40, 1), 33, {"padding": ((2, 0), (1, 3))}, {"kernel_size": 3, "stride": 2, "padding": 1}),
    ((30, 17, 5), 20, {"padding": "same"}, {"kernel_size": 3, "stride": 1}),
    ((8, 8, 17), 10, {"padding": "same"}, {"kernel_size": 2}),
    ((13, 5, 4), 5, {"padding": 3}, {"kernel_size": 2}),
    ((2, 8, 11, 3), 24, {"padding": (0, 1, 3)}, {"kernel_size": (1, 3, 3), "stride": 2, "padding": (0, 1, 1)}),
    ((1, 3, 2), 16, {"padding": "full"}, {"kernel_size": 1}),
    ((3, 9, 8), 17, {"padding": 6}, {"kernel_size": 3, "stride": 1}),  # more than a kernel of 3 or 5 reaches
    ((23, 7, 2), 9, {"padding": "same_lower"}, {"kernel_size": (4, 3), "stride": (3, 1)}),
]


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("kernel", [(3, 3), (5, 5), (7, 7), (3, 7), (5, 1), (7, 4)], ids=str)
@pytest.mark.parametrize(("in_shape", "n_filters", "window", "pooling"), MAPS, ids=str)
def test_matches_direct(isa, dtype, in_shape, n_filters, window, pooling, kernel, pooled):
    """Values within 4 * sqrt(terms) * eps of the largest sum of magnitudes; gradients as the direct ones."""
    if window["padding"] == "valid" and kernel[0] > in_shape[-3]:
        pytest.skip("the kernel is larger than the image")
    rng = np.random.default_rng(0)
    window = window | {"kernel_size": (1,) * (len(in_shape) - 3) + kernel}
    x = rng.standard_normal((3, *in_shape)).astype(dtype)
    results = []
    for name in ("direct", "winograd"):
        operations = [convolution(in_shape, n_filters, "relu", options={"algorithm": name}, **window)]
        assert operations[0].supports_winograd_lines
        if pooled:
            operations.append(pool(operations[0].out_shape, **pooling))
        network = Network(operations, dtype=dtype, isa=isa)
        network.initialize(np.random.RandomState(0))
        network.intercepts[0][...] = np.linspace(-1, 1.1, n_filters)  # none is zero: the margin would be a tie
        dy = np.random.default_rng(1).standard_normal((3, *operations[-1].out_shape))
        results.append((network.predict(x), *network.backward(x, dy)))
    bound = 4 * math.sqrt(math.prod(kernel) * in_shape[-1]) * np.finfo(dtype).eps * np.abs(results[0][0]).max()
    (direct, *direct_gradients), (lines, *gradients) = results
    np.testing.assert_allclose(lines, direct, rtol=0, atol=bound)
    if operations[0].out_shape[-2] > 1 and max(in_shape[:2]) > 3:
        assert not np.array_equal(lines, direct)
    for a, b in zip(gradients, direct_gradients, strict=True):
        # Where a value is almost zero, or two of a window nearly tie, another gradient passes; sums keep the rest.
        assert np.mean(np.abs(a - b) > 100 * bound) < 1e-3 + 1e-2 * pooled


@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize(("in_shape", "n_filters"), [((6, 9, 4), 18), ((9, 16, 1), 33), ((2, 5, 8, 3), 12)], ids=str)
def test_matches_reference(isa, dtype, in_shape, n_filters, kernel):
    """On whole numbers, whose sums the reference has without rounding."""
    rng = np.random.default_rng(0)
    kernel_size = (1,) * (len(in_shape) - 3) + (kernel, kernel)
    operation = convolution(
        in_shape, n_filters, options={"algorithm": "winograd"}, kernel_size=kernel_size, padding="same"
    )
    network = Network([operation], dtype=dtype, isa=isa)
    fill_with_integers(network, rng)
    x = integers(rng, 3, *in_shape)
    weights, intercept = (array.astype(np.int64) for array in (network.coefs[0], network.intercepts[0]))
    expected = reference.conv(x, weights, intercept, **geometry(operation.window))
    bound = 8 * math.sqrt(kernel**2 * in_shape[-1]) * np.finfo(dtype).eps * np.abs(expected).max()
    np.testing.assert_allclose(network.predict(x.astype(dtype)), expected, rtol=0, atol=bound)


@pytest.mark.parametrize("n_channels", [1, 3, 16, 64])
@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_error_is_a_few_times_the_direct_one(isa, kernel, n_channels):
    """Root mean square, float32 against float64: 2.0 to 2.8 times that of the direct sum on AVX-512.

    Of one channel, whose direct sums have few terms, 4.1 and 4.4 times with 5x5 and 3x3 kernels.
    """
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 16, 16, n_channels)).astype(np.float32)
    results = []
    for dtype, algorithm in ((np.float64, "direct"), (np.float32, "direct"), (np.float32, "winograd")):
        # Fifteen filters: by lines, whatever the number of channels. Sixteen: of one channel in registers.
        n_filters = 16 if n_channels == 1 else 15
        operation = convolution(
            x.shape[1:], n_filters, fit_intercept=False, options={"algorithm": algorithm}, kernel_size=kernel,
            padding="same",
        )  # fmt: skip
        network = Network([operation], dtype=dtype, isa=isa)
        network.coefs[0][...] = np.random.default_rng(1).standard_normal(network.coefs[0].shape).astype(np.float32)
        results.append(network.predict(x.astype(dtype)))
    exact, direct, lines = results
    errors = [np.sqrt(np.mean((result - exact) ** 2)) for result in (direct, lines)]
    assert 0 < errors[1] <= (5 if n_channels == 1 else 4) * errors[0]


@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize(
    ("in_shape", "n_filters"), [((29, 31, 3), 20), ((10, 9, 6), 40), ((7, 66, 2), 16), ((29, 31, 1), 20)], ids=str
)
def test_bits_depend_on_shapes_alone(isa, dtype, in_shape, n_filters, kernel, pooled):
    """Not on the other samples, and not on the threads, which share a few samples by their lines."""
    operations = [
        convolution(in_shape, n_filters, "relu", options={"algorithm": "winograd"}, kernel_size=kernel, padding="same")
    ]
    if pooled:
        operations.append(pool(operations[0].out_shape, kernel_size=3, stride=2, padding=1))
    network = Network(operations, dtype=dtype, isa=isa)
    network.initialize(np.random.RandomState(0))
    x = np.random.default_rng(0).standard_normal((19, *in_shape)).astype(dtype)
    with threadpool_limits(1):
        y = network.predict(x)
    assert np.ptp(y) > 0
    for n_threads in (1, 2, 3):
        with threadpool_limits(n_threads):
            for n in (1, 2, 5, 19):
                np.testing.assert_array_equal(network.predict(x[:n]), y[:n])


@pytest.mark.parametrize(
    ("x_shape", "weights_shape", "options", "algorithm"),
    [
        ((2, 28, 28, 6), (16, 5, 5, 6), dict(padding="same"), "winograd"),
        ((2, 28, 28, 3), (9, 5, 5, 3), dict(padding="same"), "winograd"),
        ((2, 28, 28, 1), (15, 5, 5, 1), dict(padding="same"), "direct"),  # short rows of taps
        ((2, 28, 28, 1), (16, 5, 5, 1), dict(padding="same"), "winograd"),  # in registers
        ((2, 28, 28, 1), (16, 7, 5, 1), dict(padding="same"), "direct"),
        ((2, 28, 28, 2), (16, 7, 7, 2), {}, "winograd"),
        ((2, 8, 8, 16), (128, 7, 7, 16), dict(padding="same"), "winograd"),
        ((2, 7, 7, 16), (128, 7, 7, 16), dict(padding="same"), "direct"),  # many taps fall on the margin
        ((2, 14, 6, 16), (32, 7, 7, 16), dict(padding="same"), "direct"),  # short lines
        ((2, 28, 28, 11), (17, 5, 5, 11), dict(padding="same"), "winograd"),
        ((2, 28, 28, 6), (16, 5, 5, 6), dict(padding="same", stride=2), "direct"),
        ((2, 28, 28, 6), (16, 5, 5, 3), dict(padding="same", groups=2), "direct"),
        ((2, 28, 28, 6), (16, 5, 5, 6), dict(padding="same", dilation=2), "direct"),
        ((2, 28, 28, 6), (16, 5, 5, 6), dict(padding="same", algorithm="direct"), "direct"),
        ((2, 28, 28, 1), (4, 3, 3, 1), dict(algorithm="winograd"), "winograd"),  # asked for
    ],
)
def test_plan_tells_what_runs(x_shape, weights_shape, options, algorithm):
    plan = convolution_plan(x_shape, weights_shape, **options)
    assert plan.algorithm == algorithm
    rng = np.random.default_rng(0)
    x, weights = rng.normal(size=x_shape).astype(np.float32), rng.normal(size=weights_shape).astype(np.float32)
    y = conv(x, weights, **options)
    assert (y != conv(x, weights, **options | {"algorithm": "direct"})).any() == (algorithm == "winograd")
    if algorithm == "winograd":
        rows, taps, channels = weights_shape[1:]
        products = {3: 6, 5: 8, 7: 14}[rows]
        assert (
            f"a kernel of {rows} rows, line by line: {products} multiplications in place of {4 * rows}" == plan.reason
        )
        n_tiles = len(x) * -(-y.shape[1] // 4) * y.shape[2]
        assert plan.n_multiplications == n_tiles * products * taps * channels * len(weights)


@pytest.mark.parametrize("n_channels", [1, 6])
def test_nan_stays_where_it_belongs(n_channels):
    rng = np.random.default_rng(0)
    x, weights = rng.normal(size=(2, 20, 20, n_channels)), rng.normal(size=(16, 5, 5, n_channels))
    x[1, 7, 9, n_channels // 2] = np.nan
    assert convolution_plan(x.shape, weights.shape).algorithm == "winograd"
    y = conv(x, weights)
    expected = np.zeros(y.shape, bool)
    expected[1, 3:8, 5:10] = True
    np.testing.assert_array_equal(np.isnan(y), expected)


# Image, filters, kernel, padding of convolutions whose input's gradient goes so, and their output or not.
GRADIENTS = [
    ((14, 14, 16), 8, (7, 7), "same"),
    ((13, 28, 40), 6, (5, 5), "same"),
    ((12, 9, 9), 17, (5, 3), "valid"),
    ((9, 8, 33), 4, (7, 5), "full"),
    ((2, 11, 12, 20), 5, (1, 5, 7), (0, 3, 1)),
    ((15, 7, 16), 16, (7, 5), "same"),
    ((8, 300, 10), 3, (5, 5), "same"),  # lines in pieces
]


@pytest.mark.parametrize("n_samples", [1, 3])
@pytest.mark.parametrize(("in_shape", "n_filters", "kernel_size", "padding"), GRADIENTS, ids=str)
def test_input_gradient_matches_reference(isa, dtype, in_shape, n_filters, kernel_size, padding, n_samples):
    """On whole numbers; the same bits whatever the number of threads."""
    rng = np.random.default_rng(0)
    results = []
    for algorithm in ("auto", "direct"):
        options = {"algorithm": algorithm}
        operation = convolution(in_shape, n_filters, options=options, kernel_size=kernel_size, padding=padding)
        assert pays_back_by_lines(operation) == (algorithm == "auto")
        network = Network([operation], dtype=dtype, isa=isa)
        fill_with_integers(network, np.random.default_rng(1))
        x, dy = integers(rng, n_samples, *in_shape), integers(rng, n_samples, *operation.out_shape)
        results.append(network.backward(x.astype(dtype), dy)[0])
        weights = network.coefs[0].astype(np.int64)
        expected = reference.conv_backward_input(dy, weights, x.shape, **geometry(operation.window))
        bound = 8 * math.sqrt(math.prod(kernel_size) * n_filters) * np.finfo(dtype).eps * np.abs(expected).max()
        np.testing.assert_allclose(results[-1], expected, rtol=0, atol=bound)
        for n_threads in (1, 3):
            with threadpool_limits(n_threads):
                np.testing.assert_array_equal(network.backward(x.astype(dtype), dy)[0], results[-1])


@pytest.mark.parametrize("padding", ["same", "valid", "full"])
@pytest.mark.parametrize("in_shape", [(6, 9, 1), (28, 28, 1), (3, 8, 16, 1), (13, 17, 1)], ids=str)
def test_one_channel_reads_the_image_alone(isa, dtype, in_shape, padding):
    """In place, between values that are not finite; as it does from a copy with a margin."""
    rng = np.random.default_rng(0)
    kernel_size = (1,) * (len(in_shape) - 3) + (5, 5)
    operation = convolution(in_shape, 21, options={"algorithm": "winograd"}, kernel_size=kernel_size, padding=padding)
    network = Network([operation], dtype=dtype, isa=isa)
    network.initialize(np.random.RandomState(0))
    store = np.full((5, *in_shape), np.nan, dtype)
    store[1:4] = rng.standard_normal((3, *in_shape))
    assert np.isfinite(network.predict(store[1:4])).all()
    x = store[1:4].astype(np.float32)  # one of the two is converted, into a map with a margin
    np.testing.assert_array_equal(network.predict(x), network.predict(x.astype(np.float64)))
