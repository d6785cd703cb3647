"""Winograd's algorithm down the image, few filters: how near it comes, and what changes no bit."""

import math

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

import reference
from builders import convolution, fill_with_integers, geometry, integers, pool
from skconv._algorithms import pays_back_by_lines, pays_by_lines
from skconv._network import Network
from skconv._plan import Plan
from skconv.functional import conv, convolution_plan

# Heights that are no whole tiles, lines shorter and longer than a vector, margins on one side only and wider than the
# kernel, none at all, images of one block and of several, rows of taps of another length than columns, depth slices.
WINDOWS = [
    ((8, 8), {"kernel_size": 3, "padding": "same"}),
    ((14, 14), {"kernel_size": 7, "padding": "same"}),
    ((28, 28), {"kernel_size": 5, "padding": "same"}),
    ((30, 40), {"kernel_size": 7}),
    ((70, 33), {"kernel_size": 3, "padding": ((0, 1), (1, 0))}),
    ((46, 50), {"kernel_size": (5, 2), "padding": ((3, 0), (0, 1))}),
    ((27, 5), {"kernel_size": (7, 1), "padding": (1, 0)}),
    ((10, 3), {"kernel_size": (3, 4), "padding": ((1, 1), (5, 9))}),
    ((3, 12, 9), {"kernel_size": (1, 5, 3), "padding": (0, 2, 1)}),
]
POOLS = [None, {"kernel_size": 2, "ceil_mode": True}, {"kernel_size": 3, "stride": 2, "padding": 1}]


def network_of(size, window, n_channels, n_filters, dtype, isa=None, pooled=None, algorithm="auto"):
    operations = [convolution((*size, n_channels), n_filters, "relu", options={"algorithm": algorithm}, **window)]
    assert pays_by_lines(operations[0]) == (algorithm == "auto")
    if pooled:
        operations.append(pool(operations[0].out_shape, **pooled))
    network = Network(operations, dtype=dtype, isa=isa)
    network.initialize(np.random.RandomState(0))
    network.intercepts[0][...] = np.linspace(-1, 1, n_filters)
    return network


@pytest.mark.parametrize("n_filters", [1, 4, 6, 8])
@pytest.mark.parametrize("n_channels", [3, 16, 37])
@pytest.mark.parametrize(("size", "window"), WINDOWS, ids=str)
def test_matches_reference(isa, dtype, size, window, n_channels, n_filters):
    """On whole numbers, within 8 * sqrt(terms) * eps of the largest; the image ends where NaN begin."""
    rng = np.random.default_rng(0)
    network = network_of(size, window, n_channels, n_filters, dtype, isa)
    (operation,) = network.operations
    fill_with_integers(network, rng)
    x = integers(rng, 5, *operation.in_shape)
    around = np.full((7, *operation.in_shape), np.nan, dtype=dtype)
    around[1:6] = x
    y = network.predict(around[1:6], out=np.full((5, *operation.out_shape), np.nan, dtype=dtype))
    weights, intercept = (array.astype(np.int64) for array in (network.coefs[0], network.intercepts[0]))
    expected = np.maximum(reference.conv(x, weights, intercept, **geometry(operation.window)), 0)
    n_terms = math.prod(operation.window.kernel_size) * n_channels
    bound = 8 * math.sqrt(n_terms) * np.finfo(dtype).eps * np.abs(expected).max()
    np.testing.assert_allclose(y, expected, rtol=0, atol=bound)


@pytest.mark.parametrize("pooled", POOLS, ids=str)
@pytest.mark.parametrize(("n_channels", "n_filters"), [(3, 8), (16, 6), (64, 5)])
@pytest.mark.parametrize(("size", "window"), WINDOWS[:6], ids=str)
def test_matches_direct(isa, dtype, size, window, n_channels, n_filters, pooled):
    """Values and gradients, within 4 * sqrt(terms) * eps of the largest sum of magnitudes; other bits, so it ran."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, *size, n_channels)).astype(dtype)
    results = []
    for algorithm in ("direct", "auto"):
        network = network_of(size, window, n_channels, n_filters, dtype, isa, pooled, algorithm)
        y = network.predict(x)
        dy = np.random.default_rng(1).standard_normal(y.shape)
        results.append((y, *network.backward(x, dy)))
    n_terms = math.prod(network.operations[0].window.kernel_size) * n_channels
    for i, (direct, winograd) in enumerate(zip(*results, strict=True)):
        bound = 4 * math.sqrt(n_terms) * np.finfo(dtype).eps * np.abs(direct).max()
        if i > 0:  # where a result is nearly zero, or the two largest of a window nearly tie, the way back may differ
            assert np.mean(np.abs(direct - winograd) > 100 * bound) < 2e-3
        else:
            np.testing.assert_allclose(winograd, direct, rtol=0, atol=bound)
    assert not np.array_equal(results[0][0], results[1][0])


@pytest.mark.parametrize("pooled", POOLS, ids=str)
@pytest.mark.parametrize(("n_channels", "n_filters"), [(3, 8), (16, 5), (64, 8)])
@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("size", [(45, 31), (14, 11)], ids=str)
def test_company_and_threads_change_no_bit(isa, size, kernel, n_channels, n_filters, pooled):
    """Not other samples, of which some share a product, nor threads that share a sample."""
    rng = np.random.default_rng(0)
    network = network_of(size, {"kernel_size": kernel, "padding": 1}, n_channels, n_filters, "float32", isa, pooled)
    x = rng.standard_normal((19, *size, n_channels)).astype(np.float32)
    y = network.predict(x)
    for first, end in ((0, 1), (1, 3), (3, 19)):
        np.testing.assert_array_equal(network.predict(x[first:end]), y[first:end])
    np.testing.assert_array_equal(network.predict(x[:, ::-1][:, ::-1]), y)
    with threadpool_limits(1):
        np.testing.assert_array_equal(network.predict(x), y)
    for n_threads in (1, 3):
        plan = Plan(
            network.operations, network._segments, network._storage, isa=isa, n_threads=n_threads, by_units=True
        )
        out = np.full_like(y, np.nan)
        plan.engine.predict(x, out, n_threads=n_threads, by_units=True, softmax=False)
        np.testing.assert_array_equal(out, y)


@pytest.mark.parametrize("n_channels", [1, 3, 6, 8])
@pytest.mark.parametrize("n_filters", [3, 16, 37])
@pytest.mark.parametrize(("size", "window"), WINDOWS, ids=str)
def test_input_gradient_matches_reference(isa, dtype, size, window, n_channels, n_filters):
    rng = np.random.default_rng(0)
    operation = convolution((*size, n_channels), n_filters, "identity", **window)
    assert pays_back_by_lines(operation)
    network = Network([operation], dtype=dtype, isa=isa)
    fill_with_integers(network, rng)
    x, dy = integers(rng, 5, *operation.in_shape), integers(rng, 5, *operation.out_shape)
    dx, _ = network.backward(x.astype(dtype), dy)
    weights = network.coefs[0].astype(np.int64)
    expected = reference.conv_backward_input(dy, weights, x.shape, **geometry(operation.window))
    n_terms = math.prod(operation.window.kernel_size) * n_filters
    bound = 8 * math.sqrt(n_terms) * np.finfo(dtype).eps * np.abs(expected).max()
    np.testing.assert_allclose(dx, expected, rtol=0, atol=bound)
    np.testing.assert_array_equal(network.backward(x[3:4].astype(dtype), dy[3:4])[0], dx[3:4])


@pytest.mark.parametrize("n_filters", [6, 8])
@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_error_is_near_that_of_direct_sums(isa, kernel, n_filters):
    """The root mean square error in float32 is at most four times the direct one."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 28, 28, 16))
    window = {"kernel_size": kernel, "padding": "same"}
    results = [
        network_of((28, 28), window, 16, n_filters, dtype, isa, algorithm=algorithm).predict(x.astype(dtype))
        for dtype, algorithm in (("float64", "direct"), ("float32", "direct"), ("float32", "auto"))
    ]
    errors = [np.sqrt(np.mean((result - results[0]) ** 2)) for result in results[1:]]
    assert 0 < errors[1] <= 4 * errors[0]


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_functions_keep_what_is_not_finite_in_its_windows(kernel, value):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((9, 16, 21, 6)).astype(np.float32)
    weights = rng.uniform(0.5, 1, (5, kernel, kernel, 6)).astype(np.float32)
    x[4, 9, 0, 1] = x[4, 0, 20, 0] = value
    assert convolution_plan(x.shape, weights.shape, padding="same").algorithm == "winograd"
    y, direct = (conv(x, weights, padding="same", algorithm=algorithm) for algorithm in ("auto", "direct"))
    np.testing.assert_array_equal(np.isfinite(y), np.isfinite(direct))
    np.testing.assert_allclose(y[4], direct[4], rtol=1e-5, atol=1e-5)
    assert np.isfinite(np.delete(y, 4, axis=0)).all() and not np.isfinite(y[4]).all()


@pytest.mark.parametrize(
    ("shape", "n_filters", "window", "pays"),
    [
        ((28, 28, 3), 8, {"kernel_size": 3, "padding": "same"}, True),
        ((28, 28, 2), 8, {"kernel_size": 3, "padding": "same"}, False),  # channels
        ((28, 28, 3), 8, {"kernel_size": (4, 3)}, False),
        ((28, 28, 3), 8, {"kernel_size": (7, 1)}, True),
        ((28, 28, 3), 8, {"kernel_size": 3, "stride": (1, 2)}, False),
        ((28, 28, 3), 8, {"kernel_size": 3, "dilation": (2, 1)}, False),
        ((28, 28), 8, {"kernel_size": 3}, False),  # one axis
        ((6, 6, 16), 8, {"kernel_size": 3, "padding": "same"}, False),  # two tiles for six lines
        ((4, 4, 16), 8, {"kernel_size": 3, "padding": "same"}, True),
        ((3, 28, 28, 8), 6, {"kernel_size": (1, 5, 5)}, True),
        ((3, 28, 28, 8), 6, {"kernel_size": (2, 5, 5)}, False),
    ],
)
def test_when_it_pays(shape, n_filters, window, pays):
    assert pays_by_lines(convolution(shape, n_filters, **window)) == pays


@pytest.mark.parametrize(("kernel", "rows"), [(3, 6), (5, 8), (7, 14)])
def test_plan_tells_what_runs(kernel, rows):
    plan = convolution_plan((4, 30, 21, 5), (7, kernel, kernel, 5), padding="same")
    assert plan.algorithm == "winograd"
    assert f"a kernel of {kernel} rows, line by line: {rows} multiplications in place of {4 * kernel}" in plan.reason
    assert plan.n_multiplications == 4 * 8 * rows * kernel * 21 * 5 * 7
