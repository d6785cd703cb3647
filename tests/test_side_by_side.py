"""Pixels that share a vector, against the same pixels one by one."""

import numpy as np
import pytest
from skconv._engine.side_by_side import pixels_per_vector

import reference
from builders import convolution, fill_with_integers, geometry, integers, pool
from skconv._network import Network


@pytest.mark.parametrize("n_channels", [1, 3, 6])
@pytest.mark.parametrize("n_filters", [1, 2, 3, 4, 6, 8])
@pytest.mark.parametrize(
    ("size", "window", "pooled"),
    [
        ((28, 28), {"kernel_size": 5, "padding": 2}, 2),
        ((9, 11), {"kernel_size": 3, "padding": "same"}, None),
        ((13, 7), {"kernel_size": (2, 1)}, None),
        ((12, 17), {"kernel_size": 3, "dilation": (2, 1), "padding": "full"}, 3),
        ((3, 4, 9), {"kernel_size": (2, 3, 3), "padding": "same"}, None),
        ((37,), {"kernel_size": 7}, None),
        ((9, 3), {"kernel_size": 3, "padding": "same"}, 2),
    ],
    ids=str,
)
def test_pixels_that_share_a_vector_agree_with_pixels_that_do_not(
    isa, dtype, n_channels, n_filters, size, window, pooled
):
    in_shape, results = (*size, n_channels), []
    for algorithm in ("direct", "auto"):
        rng = np.random.default_rng(0)
        options = {"algorithm": algorithm}
        operations = [convolution(in_shape, n_filters, options=options, **window)]
        if pooled:
            operations.append(pool(operations[0].out_shape, kernel_size=pooled))
        network = Network(operations, dtype=dtype, isa=isa)
        network.initialize(np.random.RandomState(0))
        x = rng.normal(size=(3, *in_shape)).astype(dtype)
        dy = rng.normal(size=(3, *operations[-1].out_shape)).astype(dtype)
        dx, gradient = network.backward(x, dy)
        results.append((network.predict(x), dx, network.arrays_of(gradient)[0][0]))
    (y, dx, dw), (shared_y, shared_dx, shared_dw) = results
    # Pixels one by one may go line by line, which adds the terms in another order (tests/test_network.py compares whole
    # numbers bit for bit): a random walk of their roundings.
    n_terms = np.prod(operations[0].window.kernel_size) * max(n_channels, n_filters)
    for alone, shared in ((y, shared_y), (dx, shared_dx)):
        bound = 4 * np.sqrt(n_terms) * np.finfo(dtype).eps * np.abs(alone).max()
        np.testing.assert_allclose(shared, alone, rtol=0, atol=bound)
    # Sums over every second (third, ...) pixel, then their sum: another order of at most 3 * 28**2 terms.
    np.testing.assert_allclose(shared_dw, dw, rtol=0, atol=4 * 49 * np.finfo(dtype).eps * np.abs(dw).max())


@pytest.mark.parametrize("n_channels", [1, 4, 6])
@pytest.mark.parametrize(
    ("size", "stride"),
    [((1, 30), (2, 1)), ((2, 14), (3, 1)), ((1, 6, 20), (2, 1, 1)), ((2, 1, 9), (3, 2, 1)), ((1, 1), (3, 3))],
    ids=str,
)
def test_gradients_of_axes_shorter_than_their_stride(isa, dtype, size, stride, n_channels):
    """One phase of the input's gradient is left then, and has some of the taps only."""
    rng = np.random.default_rng(0)
    operation = convolution((*size, n_channels), 16, kernel_size=3, stride=stride, padding=1)
    network = Network([operation], dtype=dtype, isa=isa)
    fill_with_integers(network, rng)
    x = integers(rng, 2, *size, n_channels).astype(dtype)
    dy = integers(rng, 2, *operation.out_shape).astype(dtype)
    dx, _ = network.backward(x, dy)
    np.testing.assert_array_equal(
        dx, reference.conv_backward_input(dy, network.coefs[0], x.shape, **geometry(operation.window))
    )


def test_pixels_share_vectors_only_where_that_saves_steps():
    assert pixels_per_vector(16, 6, 5, 28) == 2  # 6 steps for two pixels in place of 10
    assert pixels_per_vector(16, 6, 5, 1) == 1  # a line of one pixel
    assert pixels_per_vector(16, 9, 5, 28) == 1  # no room
    assert pixels_per_vector(16, 1, 1, 100) == 1  # pixels that see one pixel have no steps in common
    assert pixels_per_vector(16, 1, 3, 100) == 15  # 17 steps for each of seven groups
    assert pixels_per_vector(16, 6, 5, 3) == 2  # 6 steps twice in place of 5 three times
    assert pixels_per_vector(16, 6, 5, 14, terms=1400) == 1  # more than one pass of a product
    assert pixels_per_vector(16, 6, 5, 3, is_gradient=True) == 2  # 6 steps, and 5 for the pixel that is left


@pytest.mark.parametrize("n_samples", [1, 3])
@pytest.mark.parametrize(
    ("size", "window"),
    [
        ((20, 41), {"kernel_size": 7, "padding": "same"}),
        ((70, 9), {"kernel_size": 5, "padding": "same"}),
        ((29, 18), {"kernel_size": (9, 5), "padding": ((7, 2), (1, 5)), "stride": (2, 1)}),
        ((5, 60), {"kernel_size": (11, 3), "padding": ((9, 6), (1, 1))}),
        ((30, 20), {"kernel_size": 5, "padding": (6, 2), "dilation": (3, 1)}),
    ],
    ids=str,
)
def test_weights_gradient_leaves_out_lines(isa, dtype, size, window, n_samples):
    """Maps of several blocks of lines, rows of the kernel that see none of a block, or of the image."""
    rng = np.random.default_rng(0)
    operation = convolution((*size, 5), 3, **window)
    network = Network([operation], dtype=dtype, isa=isa)
    fill_with_integers(network, rng)
    x, dy = integers(rng, n_samples, *operation.in_shape), integers(rng, n_samples, *operation.out_shape)
    _, gradient = network.backward(x.astype(dtype), dy)
    (dweights,), _ = network.arrays_of(gradient)
    expected = reference.conv_backward_weights(x, dy, operation.window.kernel_size, **geometry(operation.window))
    np.testing.assert_array_equal(dweights, expected)
