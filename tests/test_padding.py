"""Padding by pixels of the image: the engine's layer against the reference, and the reference against NumPy."""

import numpy as np
import pytest

import reference
from builders import convolution, fill_with_integers, geometry, integers, pad, pool
from skconv._network import Network
from skconv._operations import PADDING_MODES, DenseProduct

# Image, margin before, margin after: none, on one side, wider than the image, around single pixels.
PADS = [
    ((5,), (2,), (3,)),
    ((4,), (9,), (13,)),
    ((1,), (2,), (1,)),
    ((6, 5), (1, 2), (2, 0)),
    ((3, 4), (0, 0), (0, 0)),
    ((2, 3), (7, 0), (0, 8)),
    ((1, 6), (2, 3), (2, 3)),
    ((3, 2, 4), (1, 3, 0), (2, 1, 5)),
    ((1, 1, 1), (1, 2, 3), (3, 2, 1)),
]


@pytest.mark.parametrize("mode", PADDING_MODES)
@pytest.mark.parametrize(("size", "before", "after"), PADS, ids=str)
def test_reference_pads_as_numpy(size, before, after, mode):
    x = integers(np.random.default_rng(0), 2, *size, 3)
    options = {"constant_values": 7} if mode == "constant" else {}
    expected = np.pad(x, ((0, 0), *zip(before, after), (0, 0)), mode=mode, **options)
    np.testing.assert_array_equal(reference.pad(x, before, after, mode, 7), expected)


@pytest.mark.parametrize("n_channels", [1, 3, 17])
@pytest.mark.parametrize("mode", PADDING_MODES)
@pytest.mark.parametrize(("size", "before", "after"), PADS, ids=str)
def test_pad_matches_reference(isa, dtype, size, before, after, mode, n_channels):
    rng = np.random.default_rng(0)
    operation = pad((*size, n_channels), before, after, mode, -2.5)
    network = Network([operation], dtype=dtype, isa=isa)
    x, dy = integers(rng, 3, *operation.in_shape), integers(rng, 3, *operation.out_shape)
    out = np.full((3, *operation.out_shape), np.nan, dtype=dtype)
    expected = reference.pad(x, before, after, mode, -2.5)
    np.testing.assert_array_equal(network.predict(x.astype(dtype), out=out), expected)
    dx, _ = network.backward(x.astype(dtype), dy)
    np.testing.assert_array_equal(dx, reference.pad_backward(dy, x.shape, before, after, mode))


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.0, 1e30])
def test_constants_and_pixels_are_copied_bit_for_bit(isa, dtype, value):
    x = np.array([[value], [-0.0], [np.nan], [1.5]], dtype=dtype)[np.newaxis]
    y = Network([pad((4, 1), (2,), (1,), "constant", value)], dtype=dtype, isa=isa).predict(x)
    np.testing.assert_array_equal(y[0, :, 0], np.array([value, value, value, -0.0, np.nan, 1.5, value], dtype=dtype))
    np.testing.assert_array_equal(np.signbit(y[0, 3]), True)


@pytest.mark.parametrize("mode", PADDING_MODES)
def test_padded_convolution_matches_reference(isa, dtype, mode):
    """Padding, a convolution with zeros around it as well, and pooling: margins on both sides of a map."""
    rng = np.random.default_rng(0)
    operations = [pad((6, 7, 3), (2, 3), (1, 9), mode)]
    operations.append(convolution(operations[-1].out_shape, 5, "relu", kernel_size=3, stride=(1, 2), padding=1))
    network = Network(operations, dtype=dtype, isa=isa)
    fill_with_integers(network, rng)
    x, dy = integers(rng, 5, 6, 7, 3), integers(rng, 5, *network.out_shape)
    weights, intercept = (array.astype(np.int64) for array in (network.coefs[0], network.intercepts[0]))
    window = geometry(operations[1].window)

    padded = reference.pad(x, (2, 3), (1, 9), mode)
    expected = np.maximum(reference.conv(padded, weights, intercept, **window), 0)
    np.testing.assert_array_equal(network.predict(x.astype(dtype)), expected)
    dx, gradient = network.backward(x.astype(dtype), dy)
    dz = dy * (expected > 0)
    dpadded = reference.conv_backward_input(dz, weights, padded.shape, **window)
    np.testing.assert_array_equal(dx, reference.pad_backward(dpadded, x.shape, (2, 3), (1, 9), mode))
    (dweights,), _ = network.arrays_of(gradient)
    np.testing.assert_array_equal(dweights, reference.conv_backward_weights(padded, dz, 3, **window))


def test_pad_in_units_and_chunks_has_the_same_bits(isa):
    from skconv._plan import Plan

    rng = np.random.default_rng(0)
    operations = [pad((9, 8, 2), (3, 2), (1, 4), "reflect")]
    operations.append(convolution(operations[-1].out_shape, 4, "tanh", kernel_size=3))
    network = Network(operations, isa=isa)
    network.initialize(np.random.RandomState(0))
    x = rng.standard_normal((40, 9, 8, 2)).astype(np.float32)
    whole = network.predict(x)
    np.testing.assert_array_equal(whole, np.concatenate([network.predict(x[:7]), network.predict(x[7:])]))
    plan = Plan(operations, network._segments, network._storage, isa=isa, n_threads=3, by_units=True)
    out = np.full((3, *network.out_shape), np.nan, dtype=np.float32)
    plan.engine.predict(x[:3], out, n_threads=3, by_units=True, softmax=False)
    np.testing.assert_array_equal(out, whole[:3])


@pytest.mark.parametrize("mode", PADDING_MODES[1:])
def test_pad_gradient_numerically(mode):
    """The loss of a network that starts with a padding of an activation, against central differences."""
    rng = np.random.default_rng(0)
    conv1 = convolution((5, 4, 2), 3, "tanh", kernel_size=3, padding="same")
    padding = pad(conv1.out_shape, (4, 1), (6, 7), mode)
    conv2 = convolution(padding.out_shape, 3, "tanh", kernel_size=3)
    pooled = pool(conv2.out_shape, kernel_size=3)
    dense = DenseProduct("output", pooled.out_shape, (3,), "identity", True)
    network = Network([conv1, padding, conv2, pooled, dense], dtype="float64")
    network.initialize(np.random.RandomState(0))
    x, y = rng.standard_normal((6, 5, 4, 2)), rng.integers(0, 3, 6).astype(np.int32)
    _, gradient = network.loss_and_gradient(x, y)
    weights = network.weights.copy()

    def loss(values):
        network.weights[...] = weights
        network.coefs[0][1] = values
        return network.loss_and_gradient(x, y)[0]

    expected = reference.numerical_gradient(loss, network.arrays_of(weights)[0][0][1])
    # Central differences: truncation of order step**2, rounding of order 1e-16 / step.
    np.testing.assert_allclose(network.arrays_of(gradient)[0][0][1], expected, rtol=1e-5, atol=2e-8)
