"""Winograd's algorithm as networks run it: how near it comes, and samples of few tiles that share a product."""

import math

import numpy as np
import pytest

import reference
from builders import convolution, fill_with_integers, geometry, integers, pool
from skconv._network import Network
from skconv.functional import conv, conv_transpose

MAPS = [
    ("auto", (8, 8, 32), 32, {"padding": "same"}, {"kernel_size": 2}),
    ("auto", (9, 11, 33), 40, {"padding": "valid"}, {"kernel_size": 2, "ceil_mode": True}),
    ("auto", (7, 40, 32), 35, {"padding": ((2, 0), (1, 2))}, {"kernel_size": 3, "stride": 2, "padding": 1}),
    ("auto", (30, 30, 32), 32, {"padding": "same"}, {"kernel_size": 3, "stride": 1}),
    ("auto", (12, 12, 6), 65, {"padding": "same"}, {"kernel_size": 2}),  # few channels: direct gradients
    ("auto", (2, 10, 11, 9), 44, {"padding": ((0, 0), (1, 1), (3, 0))}, {"kernel_size": 3, "stride": 2, "padding": 1}),
    ("auto", (15, 16, 15), 80, {"padding": "same"}, {"kernel_size": 3, "stride": 1}),
    ("winograd", (1, 1, 16), 17, {"padding": "same"}, {"kernel_size": 1}),
    ("winograd", (1, 9, 20), 16, {"padding": "full"}, {"kernel_size": 2}),
    ("winograd", (5, 3, 31), 16, {"padding": 3}, {"kernel_size": 2, "stride": 1}),
    ("winograd", (2, 3, 17), 18, {"padding": 6}, {"kernel_size": 3}),  # more than the kernel reaches
    ("winograd", (3, 5, 6, 17), 16, {"padding": (0, 1, 2)}, {"kernel_size": (2, 2, 1)}),
]


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize(("algorithm", "in_shape", "n_filters", "window", "pooling"), MAPS, ids=str)
def test_matches_direct(isa, dtype, algorithm, in_shape, n_filters, window, pooling, kernel, pooled):
    """Values and gradients, within 4 * sqrt(terms) * eps of the largest sum of magnitudes; other bits, so it ran."""
    rng = np.random.default_rng(0)
    results = []
    x = rng.standard_normal((3, *in_shape)).astype(dtype)
    window = window | {"kernel_size": (1,) * (len(in_shape) - 3) + (kernel, kernel)}
    for name in ("direct", algorithm):
        operations = [convolution(in_shape, n_filters, "relu", options={"algorithm": name}, **window)]
        if pooled:
            operations.append(pool(operations[0].out_shape, **pooling))
        network = Network(operations, dtype=dtype, isa=isa)
        network.initialize(np.random.RandomState(0))
        network.intercepts[0][...] = np.linspace(-1, 1, n_filters)
        dy = np.random.default_rng(1).standard_normal((3, *operations[-1].out_shape))
        results.append((network.predict(x), *network.backward(x, dy)))
    n_terms = kernel**2 * max(in_shape[-1], n_filters)
    for i, (direct, winograd) in enumerate(zip(*results, strict=True)):
        bound = 4 * math.sqrt(n_terms) * np.finfo(dtype).eps * np.abs(direct).max()
        if pooled and i > 0:  # where the two largest values of a window nearly tie, another pixel may win
            assert np.mean(np.abs(direct - winograd) > 100 * bound) < 1e-3
        else:
            np.testing.assert_allclose(winograd, direct, rtol=0, atol=bound * (1 if i == 0 else 4))
    assert not np.array_equal(results[0][0], results[1][0])


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("size", [(6, 7), (3, 9), (2, 5, 6)], ids=str)
def test_matches_reference(isa, dtype, size, kernel):
    """On whole numbers, whose sums the reference has without rounding."""
    rng = np.random.default_rng(0)
    kernel_size = (1,) * (len(size) - 2) + (kernel, kernel)
    options = {"algorithm": "winograd"}
    operation = convolution((*size, 18), 17, options=options, kernel_size=kernel_size, padding="same")
    network = Network([operation], dtype=dtype, isa=isa)
    fill_with_integers(network, rng)
    x, dy = integers(rng, 3, *operation.in_shape), integers(rng, 3, *operation.out_shape)
    weights, intercept = (array.astype(np.int64) for array in (network.coefs[0], network.intercepts[0]))
    dx, gradient = network.backward(x.astype(dtype), dy)
    (dweights,), (dintercept,) = network.arrays_of(gradient)
    found = (network.predict(x.astype(dtype)), dx, dweights, dintercept)

    window = operation.window
    expected = (
        reference.conv(x, weights, intercept, **geometry(window)),
        reference.conv_backward_input(dy, weights, x.shape, **geometry(window)),
        reference.conv_backward_weights(x, dy, window.kernel_size, **geometry(window)),
        reference.conv_backward_bias(dy),
    )
    for n_terms, a, b in zip((kernel**2 * 18, kernel**2 * 17, 3 * math.prod(size), 0), found, expected, strict=True):
        # The walk of the rounding, eight of the largest values wide; the transforms of weights have sixths in them.
        np.testing.assert_allclose(a, b, rtol=0, atol=8 * math.sqrt(n_terms) * np.finfo(dtype).eps * np.abs(b).max())


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("shape", [(8, 8, 32), (16, 16, 64), (32, 32, 32), (11, 13, 33)], ids=str)
@pytest.mark.parametrize("is_sparse", [False, True])
def test_gradient_is_as_exact_as_direct(isa, shape, is_sparse, kernel):
    """The root mean square error of the weights' gradient in float32 is at most twice that of the direct sum."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((8, *shape)).astype(np.float32)
    dy = rng.standard_normal((8, *shape[:2], 32)).astype(np.float32)
    if is_sparse:  # what a ReLU before and a pooling behind make of them
        x = np.maximum(x, 0)
        dy[rng.random(dy.shape) < 0.75] = 0
    gradients = []
    for dtype, algorithm in ((np.float64, "direct"), (np.float32, "direct"), (np.float32, "winograd")):
        options = {"algorithm": algorithm}
        operation = convolution(shape, 32, "identity", options=options, kernel_size=kernel, padding="same")
        gradients.append(Network([operation], dtype=dtype, isa=isa).backward(x.astype(dtype), dy)[1])
    exact, direct, winograd = gradients
    errors = [np.sqrt(np.mean((gradient - exact) ** 2)) for gradient in (direct, winograd)]
    assert 0 < errors[1] <= 2 * errors[0]
    assert not np.array_equal(direct, winograd)


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("algorithm", ["auto", "winograd"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_functions_are_near(algorithm, dtype, kernel):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 13, 14, 32)).astype(dtype)
    weights = rng.normal(size=(40, kernel, kernel, 32)).astype(dtype)
    direct = conv(x, weights, padding="same", algorithm="direct")
    y = conv(x, weights, padding="same", algorithm=algorithm)
    assert (y != direct).any()  # it did run
    # The bound that the engine's tests derive: 4 * sqrt(terms) * eps * largest sum of magnitudes.
    bound = 4 * np.sqrt(kernel**2 * 32) * np.finfo(dtype).eps * conv(abs(x), abs(weights), padding="same").max()
    assert abs(y - direct).max() <= bound
    back = conv_transpose(y, weights, padding=kernel // 2)
    exact = reference_transpose(y, weights)
    assert abs(back - exact).max() <= bound * abs(y).max()


def reference_transpose(y, weights):
    """conv_transpose of half the kernel's padding, through forward convolutions that are direct."""
    flipped = np.swapaxes(weights[:, ::-1, ::-1], 0, -1)
    return conv(y, flipped, padding=weights.shape[1] // 2, algorithm="direct")


# Image, filters, window, pooling: tiles of one sample, from one to nine; a depth slice more; more channels than a map
# of that size would get by itself.
SHAPES = [
    ((4, 4, 16), 17, {"padding": "same"}, {"kernel_size": 2}),
    ((5, 5, 20), 16, {"padding": "valid"}, {"kernel_size": 2, "ceil_mode": True}),
    ((8, 8, 33), 16, {"padding": "same"}, {"kernel_size": 3, "stride": 2, "padding": 1}),
    ((9, 3, 16), 40, {"padding": 2}, {"kernel_size": 3, "stride": 1}),
    ((12, 12, 16), 16, {"padding": "same"}, {"kernel_size": 4}),
]


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize(("in_shape", "n_filters", "window", "pooling"), SHAPES, ids=str)
def test_samples_together_have_the_bits_of_one_alone(isa, dtype, in_shape, n_filters, window, pooling, kernel, pooled):
    """Of 37 samples: full products, and one that is not; a chunk holds sixteen."""
    options = {"algorithm": "winograd"}
    # The second convolution needs a gradient by its input.
    first = convolution(in_shape, in_shape[-1], "tanh", options=options, kernel_size=kernel, padding="same")
    operations = [first, convolution(in_shape, n_filters, "relu", options=options, kernel_size=kernel, **window)]
    if pooled:
        operations.append(pool(operations[-1].out_shape, **pooling))
    network = Network(operations, dtype=dtype, isa=isa)
    network.initialize(np.random.RandomState(0))
    rng = np.random.default_rng(0)
    x = rng.standard_normal((37, *in_shape)).astype(dtype)
    dy = rng.standard_normal((37, *operations[-1].out_shape)).astype(dtype)
    y, (dx, _) = network.predict(x), network.backward(x, dy)
    assert np.ptp(y) > 0 and np.ptp(dx) > 0
    for i in range(len(x)):
        np.testing.assert_array_equal(network.predict(x[i : i + 1])[0], y[i])
        np.testing.assert_array_equal(network.backward(x[i : i + 1], dy[i : i + 1])[0][0], dx[i])
