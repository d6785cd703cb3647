"""Convolutions whose lanes are pixels: transposing, lines without gaps, rows of the kernel that are left out."""

import numpy as np
import pytest
from skconv._engine.planes import goes_by_planes
from threadpoolctl import threadpool_limits

import reference
from builders import convolution, fill_with_integers, geometry, integers, pool
from skconv._engine import kernels
from skconv._network import Network
from skconv._plan import Plan

# Lines shorter and longer than a vector, margins wider than the kernel or on one side only, dilated rows, no margin at
# all (the image is then the caller's, and nothing behind it may be read), more lines than a block has.
WINDOWS = [
    ((28, 28), {"kernel_size": 5, "padding": "same"}),
    ((8, 8), {"kernel_size": 3, "padding": "same"}),
    ((6, 5), {"kernel_size": 7, "padding": "same"}),
    ((2, 3), {"kernel_size": 5, "padding": 9}),
    ((6, 15), {"kernel_size": 7, "padding": ((6, 2), (1, 5))}),
    ((12, 9), {"kernel_size": (6, 2), "padding": ((0, 5), (1, 0))}),
    ((70, 33), {"kernel_size": 3}),
    ((7, 16), {"kernel_size": 5, "padding": "full"}),
    ((9, 14), {"kernel_size": 3, "padding": (4, 1), "dilation": (4, 1)}),
    ((9, 14), {"kernel_size": 3, "padding": "same", "dilation": 3}),
    ((5, 40), {"kernel_size": (3, 1)}),
    ((1500,), {"kernel_size": 7, "padding": "same"}),
    ((3, 4, 9), {"kernel_size": (1, 3, 3), "padding": (0, 1, 1)}),
]


def network_of(size, window, n_channels, n_filters, dtype, isa, activation="identity", pooled=None):
    operations = [convolution((*size, n_channels), n_filters, activation, options={"algorithm": "direct"}, **window)]
    if pooled:
        operations.append(pool(operations[0].out_shape, **pooled))
    return Network(operations, dtype=dtype, isa=isa)


@pytest.mark.parametrize("n_filters", [1, 2, 3, 5, 6, 8])
@pytest.mark.parametrize("n_channels", [1, 3, 6, 61])
@pytest.mark.parametrize(("size", "window"), WINDOWS, ids=str)
def test_planes_match_reference(isa, dtype, size, window, n_channels, n_filters):
    rng = np.random.default_rng(0)
    network = network_of(size, window, n_channels, n_filters, dtype, isa)
    (operation,) = network.operations
    fill_with_integers(network, rng)
    x = integers(rng, 2, *operation.in_shape)
    y = network.predict(x.astype(dtype), out=np.full((2, *operation.out_shape), np.nan, dtype=dtype))
    weights, intercept = (array.astype(np.int64) for array in (network.coefs[0], network.intercepts[0]))
    np.testing.assert_array_equal(y, reference.conv(x, weights, intercept, **geometry(operation.window)))


@pytest.mark.parametrize("n_channels", [1, 3, 6, 8])
@pytest.mark.parametrize("n_filters", [3, 16, 61])
@pytest.mark.parametrize(("size", "window"), WINDOWS, ids=str)
def test_input_gradient_by_planes_matches_reference(isa, dtype, size, window, n_channels, n_filters):
    rng = np.random.default_rng(0)
    network = network_of(size, window, n_channels, n_filters, dtype, isa)
    (operation,) = network.operations
    fill_with_integers(network, rng)
    x, dy = integers(rng, 2, *operation.in_shape), integers(rng, 2, *operation.out_shape)
    dx, _ = network.backward(x.astype(dtype), dy)
    weights = network.coefs[0].astype(np.int64)
    np.testing.assert_array_equal(dx, reference.conv_backward_input(dy, weights, x.shape, **geometry(operation.window)))


@pytest.mark.parametrize("pooled", [None, {"kernel_size": 2}, {"kernel_size": 3, "stride": 2}], ids=str)
@pytest.mark.parametrize(("n_channels", "n_filters"), [(1, 6), (3, 3), (16, 5), (64, 8)])
def test_company_threads_and_place_change_no_bit(isa, n_channels, n_filters, pooled):
    """Not other samples, not threads that share a sample, nor where in a line and in a block a pixel lies."""
    rng = np.random.default_rng(0)
    network = network_of((45, 31), {"kernel_size": 3}, n_channels, n_filters, "float32", isa, "relu", pooled)
    network.initialize(np.random.RandomState(0))
    network.intercepts[0][...] = rng.standard_normal(n_filters)
    x = rng.standard_normal((5, 45, 31, n_channels)).astype(np.float32)
    y = network.predict(x)
    for first, end in ((0, 1), (1, 3), (3, 5)):
        np.testing.assert_array_equal(network.predict(x[first:end]), y[first:end])
    with threadpool_limits(1):
        np.testing.assert_array_equal(network.predict(x), y)
    plan = Plan(network.operations, network._segments, network._storage, isa=isa, n_threads=3, by_units=True)
    out = np.full_like(y, np.nan)
    plan.engine.predict(x, out, n_threads=3, by_units=True, softmax=False)
    np.testing.assert_array_equal(out, y)
    if not pooled:
        part = network_of((23, 14), {"kernel_size": 3}, n_channels, n_filters, "float32", isa, "relu")
        part.coefs[0][...], part.intercepts[0][...] = network.coefs[0], network.intercepts[0]
        np.testing.assert_array_equal(part.predict(np.ascontiguousarray(x[:, 11:34, 9:23])), y[:, 11:32, 9:21])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_reaches_no_neighbour(isa, dtype, value):
    rng = np.random.default_rng(0)
    network = network_of((9, 21), {"kernel_size": 3, "padding": "same"}, 57, 1, dtype, isa)
    network.initialize(np.random.RandomState(0))
    network.coefs[0][...] = rng.uniform(0.5, 1, network.coefs[0].shape)
    x = rng.standard_normal((1, 9, 21, 57)).astype(dtype)
    x[0, 4, 0, 1] = x[0, 0, 20, 0] = value
    expected = np.ones((9, 21), bool)
    expected[3:6, :2] = expected[:2, 19:] = False
    np.testing.assert_array_equal(np.isfinite(network.predict(x)[0, :, :, 0]), expected)


def test_when_lanes_are_pixels(isa, dtype):
    table = kernels(dtype, isa)
    lanes = {"avx512": 16, "avx2": 8}.get(isa, 4) // (2 if dtype == "float64" else 1)
    one = (1, 1, 1)
    for n_filters in range(1, 20):
        fits = n_filters <= min(8, 3 * lanes // 4)
        assert goes_by_planes(table, n_filters, 57, (1, 3, 3), one) == fits
        assert goes_by_planes(table, n_filters, 56, (1, 3, 3), one) == (fits and 2 * n_filters != lanes)
    assert not goes_by_planes(table, 1, 57, (1, 3, 3), (1, 1, 2))  # another stride
    assert not goes_by_planes(table, 1, 57, (1, 1, 1), one)  # nothing to share
    assert not goes_by_planes(table, 1, 57, (3, 3, 3), one)  # in depth, too
