"""The engine against tests/reference.py, through networks of one or a few operations, for every instruction set.

Integers of at most 8 and sums of fewer than 2**24 / 64 products are exact in float32 in any order, so these agree bit
for bit; what goes through exp, tanh or a division is compared in float64 within rounding.
"""

import math
import tracemalloc

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

import reference
from builders import convolution, fill_with_integers, geometry, integers, pool, pool_geometry
from skconv import _engine
from skconv._geometry import Window
from skconv._network import Network
from skconv._operations import ACTIVATIONS, Activate, DenseProduct, Drop, Reshape

# Shapes of the image and parameters of the window: all that can go wrong at edges, in one to three dimensions.
WINDOWS = [
    ((8, 8), {"kernel_size": 3}),
    ((8, 8), {"kernel_size": 3, "padding": "same"}),
    ((1, 1), {"kernel_size": 1}),
    ((1, 1), {"kernel_size": 3, "padding": "same"}),
    ((1, 9), {"kernel_size": 3, "padding": "same"}),
    ((9, 1), {"kernel_size": (3, 1)}),
    ((7, 5), {"kernel_size": (3, 2), "stride": 2, "padding": "same"}),
    ((7, 5), {"kernel_size": 4, "padding": "same_lower"}),
    ((6, 6), {"kernel_size": 2, "stride": 2}),
    ((11, 9), {"kernel_size": 3, "stride": 3, "dilation": 2, "padding": 2}),
    ((9, 10), {"kernel_size": 2, "stride": (3, 4)}),
    ((9, 10), {"kernel_size": (1, 2), "stride": (3, 5), "padding": ((0, 3), (2, 0))}),
    ((5, 6), {"kernel_size": 3, "padding": "full"}),
    ((5, 6), {"kernel_size": 5, "padding": 7}),
    ((12, 13), {"kernel_size": 3, "dilation": 4, "padding": "same"}),
    ((16, 16), {"kernel_size": 5, "stride": 2, "padding": 2}),
    ((8, 8), {"kernel_size": 1, "stride": 2**40}),
    ((4, 4), {"kernel_size": 1, "padding": 3}),
    ((13,), {"kernel_size": 4, "padding": "same"}),
    ((40,), {"kernel_size": 5, "stride": 3, "dilation": 3, "padding": "full"}),
    ((5, 4, 6), {"kernel_size": (2, 3, 3), "padding": "same"}),
    ((6, 7, 5), {"kernel_size": 3, "stride": (2, 3, 1), "padding": 1}),
    ((4, 5, 6), {"kernel_size": (3, 1, 2), "dilation": (1, 2, 3), "stride": (1, 2, 2), "padding": "same"}),
    ((300, 3), {"kernel_size": 3, "padding": 1}),
    ((3, 300), {"kernel_size": 3, "padding": 1}),
]
CHANNELS = [(1, 1), (1, 6), (3, 16), (2, 17), (5, 33), (13, 5), (16, 64), (5, 70)]


@pytest.mark.parametrize(("n_channels", "n_filters"), CHANNELS)
@pytest.mark.parametrize(("size", "window"), WINDOWS, ids=str)
def test_convolution_matches_reference(isa, dtype, size, window, n_channels, n_filters):
    if math.prod(size) > 256 and n_channels * n_filters > 48:
        pytest.skip("the plain loops of the reference would take too long")
    rng = np.random.default_rng(0)
    # Else Winograd's algorithm would run for some, which rounds: test_winograd.py, test_winograd_planes.py.
    options = {"algorithm": "direct"}
    operation = convolution((*size, n_channels), n_filters, options=options, **window)
    network = Network([operation], dtype=dtype, isa=isa)
    fill_with_integers(network, rng)
    x = integers(rng, 3, *operation.in_shape)
    dy = integers(rng, 3, *operation.out_shape)
    weights, intercept = (array.astype(np.int64) for array in (network.coefs[0], network.intercepts[0]))

    y = network.predict(x.astype(dtype), out=np.full((3, *operation.out_shape), np.nan, dtype=dtype))
    dx, gradient = network.backward(x.astype(dtype), dy)
    (dweights,), (dintercept,) = network.arrays_of(gradient)

    window = operation.window
    np.testing.assert_array_equal(y, reference.conv(x, weights, intercept, **geometry(window)))
    np.testing.assert_array_equal(dx, reference.conv_backward_input(dy, weights, x.shape, **geometry(window)))
    np.testing.assert_array_equal(
        dweights, reference.conv_backward_weights(x, dy, window.kernel_size, **geometry(window))
    )
    np.testing.assert_array_equal(dintercept, reference.conv_backward_bias(dy))


def test_long_sums_are_exact(isa):
    """4096 products of numbers up to 32 are below 2**24: exact in any order, over several blocks of steps."""
    rng = np.random.default_rng(0)
    operation = DenseProduct("dense", (4096,), (37,), "identity", True)
    network = Network([operation], isa=isa)
    network.coefs[0][...] = integers(rng, 4096, 37, largest=32)
    network.intercepts[0][...] = integers(rng, 37)
    x = integers(rng, 5, 4096, largest=32)
    expected = reference.dense(x, network.coefs[0].astype(np.int64), network.intercepts[0].astype(np.int64))
    np.testing.assert_array_equal(network.predict(x.astype(np.float32)), expected)


POOLS = [
    ((8, 8), {"kernel_size": 2}),
    ((7, 9), {"kernel_size": 2}),
    ((7, 9), {"kernel_size": 2, "ceil_mode": True}),
    ((8, 8), {"kernel_size": 3, "stride": 2}),
    ((9, 9), {"kernel_size": 3, "stride": 2, "padding": 1}),
    ((10, 7), {"kernel_size": (3, 2), "stride": (1, 3), "padding": (1, 0), "ceil_mode": True}),
    ((9, 9), {"kernel_size": 2, "dilation": 3, "stride": 1}),
    ((9, 9), {"kernel_size": 2, "stride": 4}),
    ((16, 17), {"kernel_size": 16, "stride": 1}),
    ((17, 16), {"kernel_size": 15, "stride": 1}),
    ((1, 6), {"kernel_size": (1, 2)}),
    ((11,), {"kernel_size": 3, "stride": 2, "padding": 1}),
    ((5, 6, 7), {"kernel_size": 2, "ceil_mode": True}),
    ((5, 6, 7), {"kernel_size": 3, "stride": (2, 1, 3), "padding": 1}),
    ((40, 40), {"kernel_size": 3, "stride": 2}),
]


@pytest.mark.parametrize("n_channels", [1, 3, 6, 16, 33])
@pytest.mark.parametrize(("size", "window"), POOLS, ids=str)
def test_max_pool_matches_reference(isa, dtype, size, window, n_channels):
    rng = np.random.default_rng(0)
    operation = pool((*size, n_channels), **window)
    x = integers(rng, 2, *operation.in_shape, largest=3)  # few values, many ties
    dy = integers(rng, 2, *operation.out_shape)
    network = Network([operation], dtype=dtype, isa=isa)
    expected, index = reference.max_pool(x, **pool_geometry(operation), output_size=operation.out_shape[:-1])
    out = np.full((2, *operation.out_shape), np.nan, dtype=dtype)
    np.testing.assert_array_equal(network.predict(x.astype(dtype), out=out), expected)
    dx, _ = network.backward(x.astype(dtype), dy)
    np.testing.assert_array_equal(dx, reference.max_pool_backward(dy, index, x.shape, **pool_geometry(operation)))


@pytest.mark.parametrize("count_include_pad", [False, True])
@pytest.mark.parametrize(("size", "window"), POOLS, ids=str)
def test_average_pool_matches_reference(isa, dtype, size, window, count_include_pad):
    rng = np.random.default_rng(0)
    operation = pool((*size, 5), "average", count_include_pad, **window)
    x, dy = rng.standard_normal((2, *operation.in_shape)), rng.standard_normal((2, *operation.out_shape))
    network = Network([operation], dtype=dtype, isa=isa)
    options = {
        **pool_geometry(operation),
        "pad_after": operation.window.pad_after,
        "count_include_pad": count_include_pad,
    }
    expected = reference.avg_pool(x.astype(dtype), output_size=operation.out_shape[:-1], **options)
    # A mean of n values of size 1 is off by n roundings at most.
    tolerance = 4 * math.prod(operation.window.kernel_size) * np.finfo(dtype).eps
    np.testing.assert_allclose(network.predict(x.astype(dtype)), expected, rtol=0, atol=tolerance)
    dx, _ = network.backward(x.astype(dtype), dy)
    expected = reference.avg_pool_backward(dy.astype(dtype), x.shape, **options)
    np.testing.assert_allclose(dx, expected, rtol=0, atol=8 * tolerance)


@pytest.mark.parametrize("position", range(4))
@pytest.mark.parametrize("n_channels", [1, 7, 16, 40])
def test_max_pool_keeps_nan(isa, dtype, position, n_channels):
    x = np.arange(4.0).reshape(1, 2, 2, 1).repeat(n_channels, axis=3).astype(dtype)
    x[0, position // 2, position % 2] = np.nan
    assert np.isnan(Network([pool(x.shape[1:], kernel_size=2)], dtype=dtype, isa=isa).predict(x)).all()


def test_max_pool_of_minus_infinity(isa):
    x = np.full((1, 4, 4, 3), -np.inf, dtype=np.float32)
    assert np.isneginf(Network([pool((4, 4, 3), kernel_size=2)], isa=isa).predict(x)).all()


def test_convolution_propagates_nan_within_the_receptive_field(isa):
    direct = {"algorithm": "direct"}  # "auto" lets pixels share a vector
    network = Network([convolution((7, 7, 2), 5, "relu", options=direct, kernel_size=3, padding="same")], isa=isa)
    network.initialize(np.random.RandomState(0))
    x = np.ones((1, 7, 7, 2), dtype=np.float32)
    x[0, 3, 3, 0] = np.nan
    nan = np.isnan(network.predict(x)[0])
    assert nan[2:5, 2:5].all()
    assert nan.sum() == 9 * 5


FUSED = [
    ((8, 8, 3), 6, {"kernel_size": 3, "padding": "same"}, {"kernel_size": 2}),
    ((9, 11, 1), 17, {"kernel_size": 3}, {"kernel_size": 2, "ceil_mode": True}),
    ((9, 11, 2), 5, {"kernel_size": 3, "padding": "same"}, {"kernel_size": 3, "stride": 2, "padding": 1}),
    ((9, 11, 2), 16, {"kernel_size": 2, "stride": 2, "padding": "same"}, {"kernel_size": 2, "stride": 1}),
    ((40, 41, 1), 8, {"kernel_size": 5, "padding": "same"}, {"kernel_size": 3, "stride": 2}),
    ((20, 20, 1), 8, {"kernel_size": 3}, {"kernel_size": 2, "dilation": 3, "stride": 2}),
    ((30, 3), 7, {"kernel_size": 5, "padding": "same"}, {"kernel_size": 3, "stride": 2}),
    ((6, 7, 8, 2), 4, {"kernel_size": 3, "padding": "same"}, {"kernel_size": 2}),
    ((6, 7, 8, 2), 4, {"kernel_size": 2}, {"kernel_size": 3, "stride": 2, "padding": 1}),
]


@pytest.mark.parametrize(("in_shape", "n_filters", "window", "pooling"), FUSED, ids=str)
def test_fused_pooling_matches_reference(isa, dtype, in_shape, n_filters, window, pooling):
    """Convolution, ReLU and max pooling in one pass, forward and backward, bit for bit."""
    rng = np.random.default_rng(0)
    conv = convolution(in_shape, n_filters, "relu", options={"algorithm": "direct"}, **window)
    pooled = pool(conv.out_shape, **pooling)
    network = Network([conv, pooled], dtype=dtype, isa=isa)
    fill_with_integers(network, rng)
    x, dy = integers(rng, 5, *in_shape), integers(rng, 5, *pooled.out_shape)
    weights, intercept = (array.astype(np.int64) for array in (network.coefs[0], network.intercepts[0]))

    z = reference.conv(x, weights, intercept, **geometry(conv.window))
    expected, index = reference.max_pool(z, **pool_geometry(pooled), output_size=pooled.out_shape[:-1])
    expected = np.maximum(expected, 0)
    np.testing.assert_array_equal(network.predict(x.astype(dtype)), expected)

    dx, gradient = network.backward(x.astype(dtype), dy)
    dz = reference.max_pool_backward(dy * (expected > 0), index, z.shape, **pool_geometry(pooled))
    np.testing.assert_array_equal(dx, reference.conv_backward_input(dz, weights, x.shape, **geometry(conv.window)))
    (dweights,), (dintercept,) = network.arrays_of(gradient)
    expected = reference.conv_backward_weights(x, dz, conv.window.kernel_size, **geometry(conv.window))
    np.testing.assert_array_equal(dweights, expected)
    np.testing.assert_array_equal(dintercept, reference.conv_backward_bias(dz))


@pytest.mark.parametrize(("n_inputs", "n_units"), [(1, 1), (7, 3), (100, 10), (33, 65), (300, 130), (1030, 70)])
def test_dense_matches_reference(isa, dtype, n_inputs, n_units):
    """Narrow layers, which belong to a chunk, and wide ones (the last two), which are a stage of their own."""
    rng = np.random.default_rng(0)
    operation = DenseProduct("dense", (n_inputs,), (n_units,), "relu", True)
    network = Network([operation], dtype=dtype, isa=isa)
    fill_with_integers(network, rng)
    x, dy = integers(rng, 21, n_inputs), integers(rng, 21, n_units)
    weights, intercept = (array.astype(np.int64) for array in (network.coefs[0], network.intercepts[0]))
    expected = np.maximum(reference.dense(x, weights, intercept), 0)
    np.testing.assert_array_equal(network.predict(x.astype(dtype)), expected)
    dx, gradient = network.backward(x.astype(dtype), dy)
    expected_dx, expected_dweights, expected_dintercept = reference.dense_backward(x, weights, dy * (expected > 0))
    np.testing.assert_array_equal(dx, expected_dx)
    (dweights,), (dintercept,) = network.arrays_of(gradient)
    np.testing.assert_array_equal(dweights, expected_dweights)
    np.testing.assert_array_equal(dintercept, expected_dintercept)


@pytest.mark.parametrize("n_samples", [27, 28, 600])
def test_wide_dense_by_panels(isa, dtype, n_samples):
    """From 28 samples on a wide layer copies panels of 512 factors: here several of inputs, units and samples."""
    rng = np.random.default_rng(0)
    n_inputs, n_units = 530, 610
    network = Network([DenseProduct("dense", (n_inputs,), (n_units,), "identity", True)], dtype=dtype, isa=isa)
    fill_with_integers(network, rng)
    x, dy = integers(rng, n_samples, n_inputs), integers(rng, n_samples, n_units)
    weights, intercept = (array.astype(np.int64) for array in (network.coefs[0], network.intercepts[0]))
    expected = x @ weights + intercept  # whole numbers: exact in any order
    np.testing.assert_array_equal(network.predict(x.astype(dtype)), expected)
    dx, gradient = network.backward(x.astype(dtype), dy)
    (dweights,), (dintercept,) = network.arrays_of(gradient)
    np.testing.assert_array_equal(dx, dy @ weights.T)
    np.testing.assert_array_equal(dweights, x.T @ dy)
    np.testing.assert_array_equal(dintercept, dy.sum(axis=0))
    network.freeze()  # weights by blocks of columns
    np.testing.assert_array_equal(network.predict(x.astype(dtype)), expected)


@pytest.mark.parametrize("kind", ["alone", "convolution", "dense"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_matches_reference(isa, name, kind):
    """Values and derivatives, in float64: the functions themselves are the C library's, good to a few roundings."""
    rng = np.random.default_rng(0)
    shape = (4, 5, 3)
    operation = {
        "alone": Activate("act", shape, shape, name),
        "convolution": convolution(shape, 3, name, kernel_size=1),
        "dense": DenseProduct("dense", shape, (60,), name, True),
    }[kind]
    network = Network([operation], dtype="float64", isa=isa)
    x = rng.normal(scale=3, size=(2, *shape))
    dy = rng.normal(size=(2, *operation.out_shape))
    for coef in network.coefs:
        coef.reshape(-1, coef.shape[-1])[...] = np.eye(coef.shape[-1])
    z = x.reshape(dy.shape)
    np.testing.assert_allclose(network.predict(x), reference.activation(z, name), rtol=1e-13, atol=1e-15)
    dx, _ = network.backward(x, dy)
    expected = reference.activation_backward(dy, z, name).reshape(x.shape)
    np.testing.assert_allclose(dx, expected, rtol=1e-12, atol=1e-14)


def small_network(activation="tanh", dtype="float64", isa=None, wide=False, rate=None):
    conv1 = convolution((9, 8, 2), 5, activation, kernel_size=3, padding="same")
    pool1 = pool(conv1.out_shape, kernel_size=2, ceil_mode=True)
    conv2 = convolution(pool1.out_shape, 4, activation, kernel_size=2, stride=2, padding="same")
    pool2 = pool(conv2.out_shape, "average", kernel_size=2, stride=1)
    flat = math.prod(pool2.out_shape)
    n_units = 3000 if wide else 6
    operations = [
        conv1,
        pool1,
        conv2,
        pool2,
        Reshape("flat", pool2.out_shape, (flat,)),
        DenseProduct("dense", (flat,), (n_units,), activation, True),
    ]
    if rate is not None:
        operations.append(Drop("drop", (n_units,), (n_units,), rate))
    operations.append(DenseProduct("output", (n_units,), (3,), "identity", True))
    network = Network(operations, dtype=dtype, isa=isa, mean=np.array([0.1, -0.2]), scale=np.array([2.0, 0.5]))
    network.initialize(np.random.RandomState(1))
    return network


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_numerically(isa, activation, wide):
    """The gradient of the whole loss, L2 penalty included, against central differences in float64."""
    rng = np.random.default_rng(0)
    network = small_network(activation, isa=isa, wide=wide)
    x, y = rng.standard_normal((11, 9, 8, 2)), rng.integers(0, 3, 11).astype(np.int32)
    alpha = 0.3
    loss, gradient = network.loss_and_gradient(x, y, alpha)
    weights = network.weights.copy()

    def penalised(index, value):
        network.weights[...] = weights
        network.weights[index] = value
        logits = network.predict(x)
        loss = np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(11), y])
        return loss + alpha / 2 / 11 * sum((coef**2).sum() for coef in network.coefs)

    logits = network.predict(x)
    np.testing.assert_allclose(loss, np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(11), y]))
    sampled = [segment.coef + i * (segment.n_coef - 1) // 6 for segment in network._segments.values() for i in range(7)]
    sampled += [segment.intercept for segment in network._segments.values()]
    for index in sampled:
        step = 1e-6
        expected = (penalised(index, weights[index] + step) - penalised(index, weights[index] - step)) / (2 * step)
        # Central differences: truncation of order step**2, rounding of order 1e-16 / step.
        np.testing.assert_allclose(gradient[index], expected, rtol=1e-5, atol=2e-8)


def test_convolution_and_its_adjoint(isa):
    """<conv(x), y> = <x, conv_backward_input(y)>, exactly, on integers."""
    rng = np.random.default_rng(3)
    operation = convolution((14, 9, 4), 7, fit_intercept=False, kernel_size=(3, 5), stride=(2, 3), padding="same")
    network = Network([operation], isa=isa)
    fill_with_integers(network, rng)
    x, y = integers(rng, 2, *operation.in_shape), integers(rng, 2, *operation.out_shape)
    forward = network.predict(x.astype(np.float32)).astype(np.int64)
    dx, _ = network.backward(x.astype(np.float32), y)
    assert (forward * y).sum() == (x * dx.astype(np.int64)).sum()


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_n_threads_agnosticism(isa, solver, wide):
    """The same weights, bit for bit, for 1, 2, 3, 4 and 8 threads, over enough mini-batches to betray a race."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (150, 9, 8, 2), dtype=np.uint8)
    y = rng.integers(0, 3, 150).astype(np.int32)
    order = np.concatenate([rng.permutation(150) for _ in range(3 if wide else 10)])
    bounds = np.append(np.arange(0, len(order), 32), len(order))  # slots of eight samples
    weights = []
    for n_threads in (1, 2, 3, 4, 8):
        network = small_network("relu", "float32", isa, wide, rate=0.3)
        network.n_training_threads = lambda batch_size, n=n_threads: n
        state = network.solver_state()
        for epoch in range(2):
            n_done, loss, n_correct = network.train(
                x, y, order, bounds, state=state, solver=solver, rates=np.full(len(bounds) - 1, 1e-3),
                settings=(0.01, 0.9, 0.999, 1e-8, False), seed=5, epoch=epoch,
            )  # fmt: skip
            assert n_done == len(bounds) - 1
        weights.append(np.append(network.weights, [loss, n_correct]))
    for other in weights[1:]:
        np.testing.assert_array_equal(weights[0], other)


def test_training_stops_in_time_on_any_number_of_threads(isa):
    """A call that runs out of time ends after a whole mini-batch, on all threads alike, and can be taken up again."""
    x = np.random.default_rng(0).standard_normal((64, 9, 8, 2)).astype(np.float32)
    y = np.zeros(64, np.int32)
    bounds = np.arange(0, 64 * 60 + 1, 64)
    order = np.tile(np.arange(64), 60)
    weights = []
    for seconds, n_threads in ((1e9, 1), (1e-4, 1), (1e-4, 3), (0.0, 4)):
        network = small_network("relu", "float32", isa)
        network.n_training_threads = lambda batch_size, n=n_threads: n
        state = network.solver_state()
        done = 0
        while done < 60:
            n_done, *_ = network.train(
                x, y, order, bounds[done:], state=state, solver="adam", rates=np.full(60 - done, 1e-3),
                settings=(0.0, 0.9, 0.999, 1e-8, False), seconds=seconds,
            )  # fmt: skip
            assert 1 <= n_done <= 60 - done
            assert seconds > 0 or n_done == 1
            done += n_done
        weights.append(network.weights.copy())
    for other in weights[1:]:
        np.testing.assert_array_equal(weights[0], other)


@pytest.mark.parametrize("wide", [False, True])
def test_batch_split_agnosticism(isa, wide):
    rng = np.random.default_rng(0)
    network = small_network("tanh", "float32", isa, wide)
    x = rng.standard_normal((300, 9, 8, 2)).astype(np.float32)
    whole = network.predict(x, softmax=True)
    for size in (1, 2, 7, 64, 299):
        parts = [network.predict(x[i : i + size], softmax=True) for i in range(0, 300, size)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("wide", [False, True])
def test_units_agree_with_chunks(isa, wide):
    """Work shared out inside samples gives the bits of work shared out by samples."""
    from skconv._plan import Plan

    rng = np.random.default_rng(0)
    network = small_network("tanh", "float32", isa, wide)
    x = rng.standard_normal((3, 9, 8, 2)).astype(np.float32)
    results = []
    for n_threads, by_units in ((1, False), (1, True), (3, True), (4, True)):
        plan = Plan(network.operations, network._segments, network._storage, isa=isa, n_threads=n_threads,
                    mean=network.mean, scale=network.scale)  # fmt: skip
        out = np.full((3, 3), np.nan, dtype=np.float32)
        plan.engine.predict(x, out, n_threads=n_threads, by_units=by_units, softmax=False)
        results.append(out)
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)


@pytest.mark.parametrize("source", ["uint8", "float32", "float64"])
def test_input_types_are_converted_as_they_are_gathered(isa, source):
    network = small_network("tanh", "float32", isa)
    x = np.random.default_rng(0).integers(0, 256, (5, 9, 8, 2)).astype(source)
    np.testing.assert_array_equal(network.predict(x), network.predict(x.astype(np.float32)))


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_matches_reference(isa, nesterov):
    network = small_network(isa=isa)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((11, 9, 8, 2)), rng.integers(0, 3, 11).astype(np.int32)
    state, velocity = network.solver_state(), np.zeros(network.n_weights)
    for _ in range(3):
        _, gradient = network.loss_and_gradient(x, y, 0.1)
        expected, velocity = reference.sgd_step(
            network.weights.copy(), gradient, velocity, learning_rate=0.05, momentum=0.8, nesterov=nesterov
        )
        network.train(
            x, y, np.arange(11), np.array([0, 11]), state=state, solver="sgd", rates=np.array([0.05]),
            settings=(0.1, 0.8, 0.0, 0.0, nesterov),
        )  # fmt: skip
        np.testing.assert_allclose(network.weights, expected, rtol=1e-12, atol=1e-15)


def test_adam_matches_reference(isa):
    network = small_network(isa=isa)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((11, 9, 8, 2)), rng.integers(0, 3, 11).astype(np.int32)
    state = network.solver_state()
    m = v = np.zeros(network.n_weights)
    for t in range(1, 4):
        _, gradient = network.loss_and_gradient(x, y, 0.1)
        expected, m, v, *_ = reference.adam_step(network.weights.copy(), gradient, m, v, t, learning_rate=0.01)
        rate = 0.01 * math.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        network.train(
            x, y, np.arange(11), np.array([0, 11]), state=state, solver="adam", rates=np.array([rate]),
            settings=(0.1, 0.9, 0.999, 1e-8, False),
        )  # fmt: skip
        np.testing.assert_allclose(network.weights, expected, rtol=1e-12, atol=1e-15)


def test_threads_obey_threadpoolctl():
    with threadpool_limits(1, user_api="openmp"):
        assert _engine.effective_n_threads() == 1


def test_predictions_from_many_threads_at_once():
    from concurrent.futures import ThreadPoolExecutor

    network = small_network("relu", "float32")
    x = np.random.default_rng(0).standard_normal((64, 9, 8, 2)).astype(np.float32)
    expected = network.predict(x)
    with ThreadPoolExecutor(8) as pool_of_threads:
        for result in pool_of_threads.map(lambda _: network.predict(x), range(64)):
            np.testing.assert_array_equal(result, expected)


def test_window_in_3d_keeps_ceil_mode():
    from skconv._geometry import window_in_3d

    window = window_in_3d(Window((2,), (2,), (1,), (0,), (0,), True))
    assert window.ceil_mode
    assert window.kernel_size == (1, 1, 2)


def test_activations_keep_small_values(isa):
    """In float32: elu near zero and logistic far below, where naive formulas lose all digits."""
    for name, z in (("elu", -1e-5), ("logistic", -20.0)):
        x = np.full((1, 1, 1, 5), z, dtype=np.float32)
        y = Network([Activate("act", (1, 1, 5), (1, 1, 5), name)], isa=isa).predict(x)
        np.testing.assert_allclose(y, reference.activation(x.astype(np.float64), name), rtol=1e-6)


def test_trainer_survives_the_short_last_mini_batch():
    network = small_network("relu", "float32")
    x, y = np.ones((20, 9, 8, 2), np.float32), np.zeros(20, np.int32)
    state = network.solver_state()
    for bounds in ([0, 16, 20], [16, 20], [0, 16]):
        network.train(
            x, y, np.arange(20), np.array(bounds), state=state, solver="sgd", rates=np.zeros(2),
            settings=(0.0, 0.0, 0.0, 0.0, False),
        )  # fmt: skip
        assert network._trainer.capacity == 16
    network.release()
    assert network._trainer is None


def test_input_that_no_door_made_is_refused():
    network = small_network("relu", "float32")
    x = np.ones((4, 9, 8, 2), np.float32)
    with pytest.raises(ValueError, match="C-contiguous"):
        network.predict(x[::2, :, ::-1])
    for wrong in (x[..., :1], x.astype(np.int64)):
        with pytest.raises(ValueError, match="X must be uint8, float32 or float64 of shape"):
            network.predict(wrong)


def test_predictors_hold_no_output():
    """Predicting one large image on many threads takes one padded copy of it, not a map of the output per thread."""
    from skconv._plan import Plan

    operation = convolution((400, 400, 1), 64, kernel_size=3, padding="same")
    network = Network([operation])
    tracemalloc.start()
    plan = Plan(network.operations, network._segments, network._storage, n_threads=16, by_units=True)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert plan.by_units
    assert size < 16 * (402 * 402 * 4 + 300_000)


def test_convolutions_that_stand_alone_go_in_small_chunks():
    """What is copied stays in the first cache; of few tiles, as many samples as share a product go together."""

    def chunk(*operations):
        return Network(operations)._take_predictor(1, False, True).chunk

    def same(shape, n_filters):
        return convolution(shape, n_filters, kernel_size=3, padding="same")

    assert chunk(same((32, 32, 32), 16)) == 1
    assert chunk(same((8, 8, 16), 64)) == 8
    assert chunk(same((8, 8, 16), 64), same((8, 8, 64), 16)) == 16


def test_large_results_begin_with_a_cache_line():
    """NumPy's begin 16 bytes behind one or anywhere: every vector would be stored to two lines."""
    operation = convolution((28, 28, 3), 16, kernel_size=3, padding="same")
    network = Network([operation])
    x = np.ones((3, 28, 28, 3), np.float32)
    kept = []  # so that memory is not handed out again
    for n_bytes in range(16, 96, 16):
        y = network.predict(x)
        dx, _ = network.backward(np.ones((40, 28, 28, 3), np.float32), np.ones((40, 28, 28, 16), np.float32))
        assert y.shape == (3, 28, 28, 16)
        assert y.flags.c_contiguous and y.flags.writeable
        assert y.ctypes.data % 64 == dx.ctypes.data % 64 == 0
        kept += [y, dx, np.empty(n_bytes, np.uint8)]
    assert network.predict(x[:0]).shape == (0, 28, 28, 16)
