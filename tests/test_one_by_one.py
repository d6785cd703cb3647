"""Gradients of 1x1 convolutions, whose pixels follow each other: against the reference, and where they are stored."""

import numpy as np
import pytest

import reference
from builders import convolution, fill_with_integers, integers, pool, pool_geometry
from skconv import _engine
from skconv._network import Network

# Channels and filters: rows of both kinds, all tails of vectors, pixels that share one, more columns than one block.
SHAPES = [(c, f) for c in (1, 2, 3, 5, 8, 12, 17, 33) for f in (1, 3, 6, 8, 15, 20, 64)] + [
    (70, 6),
    (16, 130),
    (64, 64),
]
# A pixel, fewer than share a vector, one more than fill a block or a few less, several blocks.
SIZES = [(1, 1), (3, 1), (5, 13), (14, 37), (784,), (2, 3, 5)]


@pytest.mark.parametrize("algorithm", ["auto", "direct"])
@pytest.mark.parametrize(("n_channels", "n_filters"), SHAPES)
def test_gradients_match_reference(isa, dtype, n_channels, n_filters, algorithm):
    rng = np.random.default_rng(0)
    for size in SIZES:
        options = {"algorithm": algorithm}
        operation = convolution((*size, n_channels), n_filters, options=options, kernel_size=1)
        network = Network([operation], dtype=dtype, isa=isa)
        fill_with_integers(network, rng)
        x, dy = integers(rng, 3, *operation.in_shape), integers(rng, 3, *operation.out_shape)
        dx, gradient = network.backward(x.astype(dtype), dy)
        (dweights,), (dintercept,) = network.arrays_of(gradient)
        weights = network.coefs[0].astype(np.int64)
        np.testing.assert_array_equal(dx, reference.conv_backward_input(dy, weights, x.shape))
        np.testing.assert_array_equal(dweights, reference.conv_backward_weights(x, dy, (1,) * len(size)))
        np.testing.assert_array_equal(dintercept, reference.conv_backward_bias(dy))


@pytest.mark.parametrize(("n_channels", "n_filters"), SHAPES)
def test_nothing_is_stored_behind_a_sample(isa, dtype, n_channels, n_filters):
    """Vectors that reach beyond a pixel end where the samples do: another thread may have been there before."""
    rng = np.random.default_rng(0)
    for size in SIZES:
        frozen = {"trainable": False}
        operation = convolution((*size, n_channels), n_filters, options=frozen, kernel_size=1)
        network = Network([operation], dtype=dtype, isa=isa)
        fill_with_integers(network, rng)
        dy = integers(rng, 2, *operation.out_shape).astype(dtype)
        room = np.full(2 * np.prod(operation.in_shape) + 64, 77, dtype=dtype)
        dx = room[:-64].reshape(2, *operation.in_shape)
        network.pull_back(dy[:1], out=dx[:1])
        np.testing.assert_array_equal(dx[0], dy[0] @ network.coefs[0].reshape(n_channels, n_filters).T)
        assert (dx[1] == 77).all()
        network.pull_back(dy[1:], out=dx[1:])
        np.testing.assert_array_equal(dx, dy @ network.coefs[0].reshape(n_channels, n_filters).T)
        assert (room[-64:] == 77).all()


@pytest.mark.parametrize("activation", ["identity", "relu", "tanh"])
@pytest.mark.parametrize("pooled", [False, True])
def test_gradients_behind_activation_and_pooling(isa, dtype, activation, pooled):
    rng = np.random.default_rng(0)
    operations = [convolution((9, 11, 3), 6, activation, kernel_size=1)]
    if pooled:
        operations.append(pool(operations[0].out_shape, kernel_size=2))
    network = Network(operations, dtype=dtype, isa=isa)
    fill_with_integers(network, rng)
    is_exact = activation != "tanh"
    if not is_exact:  # arguments of some 1
        network.coefs[0][...] /= 64
        network.intercepts[0][...] /= 64
    x, dy = integers(rng, 5, *operations[0].in_shape), integers(rng, 5, *operations[-1].out_shape)
    dx, gradient = network.backward(x.astype(dtype), dy)
    (dweights,), (dintercept,) = network.arrays_of(gradient)
    weights, intercept = (array.astype(np.float64) for array in (network.coefs[0], network.intercepts[0]))
    z, dz = reference.conv(x, weights, intercept), dy
    if pooled:
        _, index = reference.max_pool(z, **pool_geometry(operations[1]), output_size=operations[1].out_shape[:-1])
        dz = reference.max_pool_backward(dy, index, z.shape, **pool_geometry(operations[1]))
    dz = reference.activation_backward(dz, z, activation)
    # Sums of at most 5 * 99 products of 64, each with a derivative that is off by a few roundings.
    close = {"rtol": 0, "atol": 0 if is_exact else 8 * 495 * 64 * np.finfo(dtype).eps}
    np.testing.assert_allclose(dx, reference.conv_backward_input(dz, weights, x.shape), **close)
    np.testing.assert_allclose(dweights, reference.conv_backward_weights(x, dz, (1, 1)), **close)
    np.testing.assert_allclose(dintercept, reference.conv_backward_bias(dz), **close)


@pytest.mark.parametrize("n_channels, n_filters", [(3, 6), (3, 64), (16, 6), (24, 24)])
def test_bits_do_not_depend_on_threads(isa, n_channels, n_filters, monkeypatch):
    rng = np.random.default_rng(0)
    operation = convolution((7, 9, n_channels), n_filters, kernel_size=1)
    x, dy = (rng.normal(size=(21, 7, 9, n)).astype("float32") for n in (n_channels, n_filters))
    results = []
    for n_threads in (1, 2, 3):
        network = Network([operation], dtype="float32", isa=isa)
        network.initialize(np.random.RandomState(0))
        monkeypatch.setattr(network, "n_training_threads", lambda n, n_threads=n_threads: n_threads)
        results.append(network.backward(x, dy))
    for dx, gradient in results[1:]:
        np.testing.assert_array_equal(dx, results[0][0])
        np.testing.assert_array_equal(gradient, results[0][1])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_direct_keeps_what_is_not_finite_in_its_pixel(isa, dtype, value):
    operation = convolution((5, 7, 3), 6, options={"algorithm": "direct"}, kernel_size=1)
    network = Network([operation], dtype=dtype, isa=isa)
    fill_with_integers(network, np.random.default_rng(0))
    network.coefs[0][...] += np.abs(network.coefs[0]).max() + 1  # no zero times infinity
    dy = np.ones((1, *operation.out_shape), dtype=dtype)
    dy[0, 2, 3, 4] = value
    dx, _ = network.backward(np.ones((1, *operation.in_shape), dtype=dtype), dy)
    expected = np.zeros((5, 7), dtype=bool)
    expected[2, 3] = True
    np.testing.assert_array_equal(~np.isfinite(dx[0]).all(axis=-1), expected)


@pytest.mark.parametrize("isa", sorted(set(_engine.available_isas()) & {"avx512", "avx2"}))
def test_pixels_of_few_channels_share_vectors(isa):
    """What is not finite shows it: it reaches neighbours, which it must not forward."""
    operation = convolution((5, 7, 2), 3, kernel_size=1)
    assert operation.gradients_share_vectors
    assert not operation.shares_vectors
    network = Network([operation], dtype="float32", isa=isa)
    fill_with_integers(network, np.random.default_rng(0))
    dy = np.ones((1, *operation.out_shape), dtype=np.float32)
    dy[0, 2, 3, 1] = np.inf
    dx, _ = network.backward(np.ones((1, *operation.in_shape), dtype=np.float32), dy)
    assert np.isnan(dx[0]).all(axis=-1).sum() > 1
