"""Convolutions whose filters see some channels only: groups, depthwise, connections; for every instruction set."""

import os
import subprocess
import sys

import numpy as np
import pytest

import reference
from builders import convolution, fill_with_integers, geometry, integers, pad, pool, pool_geometry
from skconv._network import Network
from skconv._operations import ACTIVATIONS, DenseProduct

WINDOWS = [
    ((8, 8), {"kernel_size": 3}),
    ((8, 7), {"kernel_size": 3, "padding": "same"}),
    ((1, 1), {"kernel_size": 3, "padding": "same"}),
    ((9, 1), {"kernel_size": (3, 1)}),
    ((7, 5), {"kernel_size": (3, 2), "stride": 2, "padding": "same"}),
    ((11, 9), {"kernel_size": 3, "stride": 3, "dilation": 2, "padding": 2}),
    ((9, 10), {"kernel_size": (1, 2), "stride": (3, 5), "padding": ((0, 3), (2, 0))}),
    ((5, 6), {"kernel_size": 5, "padding": 7}),
    ((4, 4), {"kernel_size": 1, "padding": 3}),
    ((4, 20), {"kernel_size": (2, 9), "padding": "same"}),
    ((40,), {"kernel_size": 5, "stride": 3, "dilation": 3, "padding": "full"}),
    ((5, 4, 6), {"kernel_size": (2, 3, 3), "padding": "same"}),
    ((4, 5, 6), {"kernel_size": (3, 1, 2), "dilation": (1, 2, 3), "stride": (1, 2, 2), "padding": "same"}),
    ((3, 60), {"kernel_size": 3, "padding": 1}),
]
# Channels, filters, groups: depthwise of all tails, several filters per channel, groups of all tails, whole vectors.
GROUPS = [
    *[(n, n, n) for n in (2, 7, 16, 17, 31, 70)],
    (2, 6, 2),
    (3, 48, 3),
    (3, 51, 3),
    (6, 3, 3),
    (10, 15, 5),
    (8, 32, 2),
    (8, 132, 4),
    (32, 8, 2),
]


# All groups under one window, all windows with a third of the groups: the loops of the reference take their time.
CASES = [(*window, *groups) for i, window in enumerate(WINDOWS) for j, groups in enumerate(GROUPS) if (i + j) % 3 == 0]
CASES += [(*WINDOWS[1], *groups) for j, groups in enumerate(GROUPS) if j % 3 != 2]


@pytest.mark.parametrize(("size", "window", "n_channels", "n_filters", "groups"), CASES, ids=str)
def test_groups_match_reference(isa, dtype, size, window, n_channels, n_filters, groups):
    rng = np.random.default_rng(0)
    operation = convolution((*size, n_channels), n_filters, options={"groups": groups}, **window)
    network = Network([operation], dtype=dtype, isa=isa)
    assert network.coefs[0].shape == (*operation.window.kernel_size, n_channels // groups, n_filters)
    fill_with_integers(network, rng)
    x, dy = integers(rng, 3, *operation.in_shape), integers(rng, 3, *operation.out_shape)
    weights, intercept = (array.astype(np.int64) for array in (network.coefs[0], network.intercepts[0]))

    y = network.predict(x.astype(dtype), out=np.full((3, *operation.out_shape), np.nan, dtype=dtype))
    dx, gradient = network.backward(x.astype(dtype), dy)
    (dweights,), (dintercept,) = network.arrays_of(gradient)

    options = {**geometry(operation.window), "groups": groups}
    np.testing.assert_array_equal(y, reference.grouped_conv(x, weights, intercept, **options))
    np.testing.assert_array_equal(dx, reference.grouped_conv_backward_input(dy, weights, x.shape, **options))
    expected = reference.grouped_conv_backward_weights(x, dy, operation.window.kernel_size, **options)
    np.testing.assert_array_equal(dweights, expected)
    np.testing.assert_array_equal(dintercept, reference.conv_backward_bias(dy))


POOLINGS = [{"kernel_size": 2, "ceil_mode": True}, {"kernel_size": 3, "stride": 2, "padding": 1}]


@pytest.mark.parametrize("pooling", POOLINGS, ids=str)
@pytest.mark.parametrize(("n_channels", "n_filters", "groups"), [(5, 5, 5), (32, 32, 32), (6, 10, 2), (4, 12, 4)])
@pytest.mark.parametrize("size", [(11, 12), (40,), (5, 6, 7)], ids=str)
def test_groups_with_fused_pooling_match_reference(isa, dtype, size, n_channels, n_filters, groups, pooling):
    rng = np.random.default_rng(0)
    conv = convolution(
        (*size, n_channels), n_filters, "relu", options={"groups": groups}, kernel_size=3, padding="same"
    )
    pooled = pool(conv.out_shape, **pooling)
    network = Network([conv, pooled], dtype=dtype, isa=isa)
    fill_with_integers(network, rng)
    x, dy = integers(rng, 5, *conv.in_shape), integers(rng, 5, *pooled.out_shape)
    weights, intercept = (array.astype(np.int64) for array in (network.coefs[0], network.intercepts[0]))
    options = {**geometry(conv.window), "groups": groups}

    z = reference.grouped_conv(x, weights, intercept, **options)
    expected, index = reference.max_pool(z, **pool_geometry(pooled), output_size=pooled.out_shape[:-1])
    expected = np.maximum(expected, 0)
    np.testing.assert_array_equal(network.predict(x.astype(dtype)), expected)
    dx, gradient = network.backward(x.astype(dtype), dy)
    dz = reference.max_pool_backward(dy * (expected > 0), index, z.shape, **pool_geometry(pooled))
    np.testing.assert_array_equal(dx, reference.grouped_conv_backward_input(dz, weights, x.shape, **options))
    (dweights,), (dintercept,) = network.arrays_of(gradient)
    np.testing.assert_array_equal(dweights, reference.grouped_conv_backward_weights(x, dz, (3,) * len(size), **options))
    np.testing.assert_array_equal(dintercept, reference.conv_backward_bias(dz))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize(("n_channels", "n_filters", "groups"), [(6, 6, 6), (34, 34, 34), (6, 9, 3), (4, 8, 4)])
def test_nothing_leaks_from_one_group_to_another(isa, dtype, n_channels, n_filters, groups, pooled, value):
    """Values in channels, in weights, in intercepts and in gradients: the other groups' bits stay what they were."""
    rng = np.random.default_rng(0)
    options = {"groups": groups}
    operations = [convolution((6, 7, n_channels), n_filters, "relu", options=options, kernel_size=3, padding="same")]
    if pooled:
        operations.append(pool(operations[0].out_shape, kernel_size=2))
    networks = [Network(operations, dtype=dtype, isa=isa) for _ in range(2)]
    fill_with_integers(networks[0], rng)
    networks[1].weights[...] = networks[0].weights
    x = rng.standard_normal((2, 6, 7, n_channels)).astype(dtype)
    dy = rng.standard_normal((2, *operations[-1].out_shape)).astype(dtype)
    poisoned, poisoned_dy = x.copy(), dy.copy()
    group = groups // 2
    channels = slice(group * n_channels // groups, (group + 1) * n_channels // groups)
    filters = slice(group * n_filters // groups, (group + 1) * n_filters // groups)
    poisoned[..., channels] = value
    poisoned_dy[..., filters] = value
    networks[1].coefs[0][..., filters] = value
    networks[1].intercepts[0][filters] = value

    others = np.delete(np.arange(n_filters), filters)
    clean, dirty = networks[0].predict(x), networks[1].predict(poisoned)
    np.testing.assert_array_equal(dirty[..., others], clean[..., others])
    assert not np.isfinite(dirty[..., filters]).any() or value < 0
    for (dx, gradient), (dirty_dx, dirty_gradient) in [
        (networks[0].backward(x, dy), networks[1].backward(poisoned, poisoned_dy))
    ]:
        other_channels = np.delete(np.arange(n_channels), channels)
        np.testing.assert_array_equal(dirty_dx[..., other_channels], dx[..., other_channels])
        for arrays, wanted in zip(networks[0].arrays_of(dirty_gradient), networks[0].arrays_of(gradient), strict=True):
            np.testing.assert_array_equal(arrays[0][..., others], wanted[0][..., others])


def test_winograd_is_for_one_group():
    options = {"groups": 2, "algorithm": "winograd"}
    assert not convolution((8, 8, 64), 64, options=options, kernel_size=3).supports_winograd
    options["groups"] = 1
    assert convolution((8, 8, 64), 64, options=options, kernel_size=3).supports_winograd


# ---- connections ---------------------------------------------------------------------------------------------------


def connected(rng, n_channels, n_filters):
    """Some of all pairs, at least one per filter; one filter has all, the first channel may have none."""
    connections = rng.random((n_channels, n_filters)) < 0.4
    connections[-1, ~connections.any(axis=0)] = True
    connections[:, 0] = True
    return connections


CONNECTED = [(1, 3), (5, 7), (6, 16), (16, 33), (31, 40)]


@pytest.mark.parametrize(("n_channels", "n_filters"), CONNECTED)
@pytest.mark.parametrize("size", [(7, 6), (12,), (4, 3, 5)], ids=str)
def test_connections_match_reference(isa, dtype, size, n_channels, n_filters):
    rng = np.random.default_rng(0)
    connections = connected(rng, n_channels, n_filters)
    # From 16 channels on "auto" would take Winograd's algorithm, which rounds.
    options = {"connections": connections, "algorithm": "direct"}
    operation = convolution((*size, n_channels), n_filters, options=options, kernel_size=3, padding="same")
    network = Network([operation], dtype=dtype, isa=isa)
    fill_with_integers(network, rng)
    network.coefs[0][...] *= connections
    x, dy = integers(rng, 37, *operation.in_shape), integers(rng, 37, *operation.out_shape)
    weights, intercept = (array.astype(np.int64) for array in (network.coefs[0], network.intercepts[0]))
    y = network.predict(x.astype(dtype))
    dx, gradient = network.backward(x.astype(dtype), dy)
    (dweights,), (dintercept,) = network.arrays_of(gradient)
    options = geometry(operation.window)
    np.testing.assert_array_equal(y, reference.conv(x, weights, intercept, **options))
    np.testing.assert_array_equal(dx, reference.conv_backward_input(dy, weights, x.shape, **options))
    expected = reference.conv_backward_weights(x, dy, operation.window.kernel_size, **options) * connections
    np.testing.assert_array_equal(dweights, expected)
    np.testing.assert_array_equal(dintercept, reference.conv_backward_bias(dy))


@pytest.mark.parametrize("name", ["relu", "tanh"])
def test_first_weights_of_connections(name):
    """Every filter has the variance of its own number of inputs: 2 / fan_in before ReLU, else Glorot's."""
    n_channels, n_filters = 40, 200
    connections = np.arange(n_channels)[:, np.newaxis] <= np.arange(n_filters) % n_channels
    operation = convolution((9, 9, n_channels), n_filters, name, options={"connections": connections}, kernel_size=5)
    network = Network([operation])
    network.initialize(np.random.RandomState(0))
    coef = network.coefs[0]
    assert not coef[:, :, ~connections].any() and coef[:, :, connections].all()
    fan_out = 25 * connections.sum() / n_channels
    for n in (1, 2, 10, 40):
        fan_in = 25 * n
        bound = np.sqrt(6 / fan_in) if name == "relu" else np.sqrt(6 / (fan_in + fan_out))
        drawn = coef[:, :, :n, n - 1 :: n_channels]
        assert np.abs(drawn).max() <= bound
        # The mean of n squares of uniform numbers has a relative deviation of sqrt(0.8 / n).
        assert drawn.var() == pytest.approx(bound**2 / 3, rel=5 * np.sqrt(0.8 / drawn.size))


def test_first_weights_of_groups():
    rng = np.random.RandomState(0)
    for name, bound in (("relu", np.sqrt(6 / 36)), ("tanh", np.sqrt(6 / (36 + 90)))):
        network = Network([convolution((9, 9, 40), 100, name, options={"groups": 10}, kernel_size=3)])
        network.initialize(rng)
        assert 0.99 * bound < np.abs(network.coefs[0]).max() <= bound


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_what_is_not_connected_stays_zero(isa, dtype, solver):
    """Through training with a penalty and momentum, and with infinite inputs, whose gradient is no number."""
    rng = np.random.default_rng(0)
    connections = connected(rng, 4, 9)
    conv1 = convolution((6, 7, 2), 4, "tanh", kernel_size=3, padding="same")
    conv2 = convolution(conv1.out_shape, 9, "relu", options={"connections": connections}, kernel_size=3)
    pooled = pool(conv2.out_shape, kernel_size=2)
    network = Network([conv1, conv2, pooled, DenseProduct("output", pooled.out_shape, (3,), "identity", True)],
                      dtype=dtype, isa=isa)  # fmt: skip
    network.initialize(np.random.RandomState(0))
    before = network.coefs[1].copy()
    x, y = rng.standard_normal((64, 6, 7, 2)).astype(dtype), rng.integers(0, 3, 64).astype(np.int32)
    settings, state = (0.1, 0.9, 0.999, 1e-8, False), network.solver_state()
    network.train(x, y, np.arange(64), np.arange(0, 65, 16), state=state, solver=solver, rates=np.full(4, 1e-2),
                  settings=settings)  # fmt: skip
    assert not network.coefs[1][:, :, ~connections].any()
    assert (network.coefs[1] != before)[:, :, connections].all()
    x[3] = np.inf
    network.train(x, y, np.arange(64), np.arange(0, 65, 16), state=state, solver=solver, rates=np.full(4, 1e-2),
                  settings=settings)  # fmt: skip
    assert not network.coefs[1][:, :, ~connections].any()


@pytest.mark.parametrize("kind", ["groups", "depthwise", "multiplied", "connections"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_gradients_numerically(isa, name, kind):
    """Through padding, a convolution whose filters see some channels, and pooling, against central differences."""
    rng = np.random.default_rng(0)
    conv1 = convolution((6, 5, 2), 4, "tanh", kernel_size=3, padding="same")
    padding = pad(conv1.out_shape, (1, 1), (2, 1), "symmetric")
    options = (
        {"connections": connected(rng, 4, 8)} if kind == "connections" else {"groups": 4 if kind != "groups" else 2}
    )
    conv2 = convolution(
        padding.out_shape, 4 if kind == "depthwise" else 8, name, options=options, kernel_size=3, stride=2
    )
    pooled = pool(conv2.out_shape, kernel_size=2, stride=1)
    dense = DenseProduct("output", pooled.out_shape, (3,), "identity", True)
    network = Network([conv1, padding, conv2, pooled, dense], dtype="float64", isa=isa)
    network.initialize(np.random.RandomState(0))
    x, y = rng.standard_normal((11, 6, 5, 2)), rng.integers(0, 3, 11).astype(np.int32)
    _, gradient = network.loss_and_gradient(x, y)
    weights = network.weights.copy()
    for segment, coef in zip(network._segments.values(), network.coefs, strict=True):
        sampled = [segment.coef + i for i in np.flatnonzero(coef.ravel())[:: max(1, coef.size // 12)]]
        for index in (*sampled, segment.intercept):
            losses = []
            for step in (1e-6, -1e-6):
                network.weights[...] = weights
                network.weights[index] += step
                losses.append(network.loss_and_gradient(x, y)[0])
            # Central differences: truncation of order step**2, rounding of order 1e-16 / step.
            np.testing.assert_allclose(gradient[index], (losses[0] - losses[1]) / 2e-6, rtol=1e-5, atol=2e-8)


AT_THE_END_OF_A_PAGE = """
import ctypes, mmap
import numpy as np
from builders import convolution, pool
from skconv import _engine
from skconv._network import Network

for isa in _engine.available_isas():
    for in_shape, n_filters, groups in (
        ((5, 4, 3), 3, 3), ((4, 4, 17), 17, 17), ((5, 5, 40), 40, 40), ((4, 5, 3), 6, 3), ((5, 5, 4), 6, 2),
        ((4, 6, 5), 3, 1),
    ):
        conv = convolution(in_shape, n_filters, options={"groups": groups}, kernel_size=3)
        for operations in ([conv], [conv, pool(conv.out_shape, kernel_size=2)]):
            network = Network(operations, isa=isa)
            n_bytes = 4 * int(np.prod(in_shape))
            pages = mmap.mmap(-1, -(-n_bytes // mmap.PAGESIZE) * mmap.PAGESIZE + mmap.PAGESIZE)
            address = ctypes.addressof(ctypes.c_char.from_buffer(pages))
            end = len(pages) - mmap.PAGESIZE
            assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(address + end), mmap.PAGESIZE, 0) == 0
            x = np.frombuffer(pages, np.float32, n_bytes // 4, end - n_bytes).reshape(1, *in_shape)
            network.predict(x)
print("read nothing behind the data")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="protects a page by mprotect")
def test_nothing_is_read_behind_the_data():
    """Data that end where a page ends which may not be read: vectors of channels would reach past them."""
    script = f"import sys; sys.path.append({os.path.dirname(__file__)!r})\n{AT_THE_END_OF_A_PAGE}"
    command = [sys.executable, "-I", "-c", script]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (result.stdout, result.stderr) == ("read nothing behind the data\n", "")
