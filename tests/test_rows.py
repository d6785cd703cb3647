"""1x1 convolutions that go from pixel to pixel (rows.h), against the reference and against the products of tile.h."""

import numpy as np
import pytest

import reference
from builders import convolution, fill_with_integers, geometry, integers
from skconv._network import Network
from skconv._plan import Plan

FILTERS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 16, 17, 20, 24, 31, 32, 33, 40, 48, 63, 64, 65, 80, 100, 128)


@pytest.mark.parametrize("n_filters", FILTERS)
@pytest.mark.parametrize("n_channels", [1, 3, 4, 6, 13])
def test_rows_match_the_reference(isa, dtype, n_channels, n_filters):
    rng = np.random.default_rng(n_channels)
    for in_shape, n in (
        ((5, 7, n_channels), 9),
        ((31, n_channels), 3),
        ((2, 3, 5, n_channels), 2),
        ((1, n_channels), 1),
    ):
        for activation, fit_intercept in (("identity", False), ("relu", True), ("leaky_relu", True)):
            operation = convolution(in_shape, n_filters, activation, fit_intercept, kernel_size=1)
            network = Network([operation], dtype=dtype, isa=isa)
            fill_with_integers(network, rng)
            x = integers(rng, n, *in_shape).astype(dtype)
            exact = [None if a is None else a.astype(np.int64) for a in (x, network.coefs[0], network.intercepts[0])]
            z = reference.conv(*exact, **geometry(operation.window)).astype(dtype)
            # Whole numbers are exact; a leaky rectifier rounds once, and so does the reference, in float64.
            expected = reference.activation(z, activation)
            np.testing.assert_allclose(network.predict(x), expected, rtol=np.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize(
    "window",
    [
        {"stride": 2, "padding": ((1, 1), (0, 0))},  # as many lines as before, but others
        {"stride": (2, 1), "padding": ((1, 1), (0, 0))},
        {"stride": (1, 2), "padding": ((0, 0), (1, 1))},
        {"padding": 1},
        {"stride": 3},
        {"dilation": 2},
        {"options": {"groups": 3}},
    ],
    ids=str,
)
def test_pixels_that_do_not_follow_each_other(isa, window):
    rng, window = np.random.default_rng(0), dict(window)
    options = window.pop("options", {})
    operation = convolution((3, 3, 3), 6, kernel_size=1, options=options, **window)
    network = Network([operation], isa=isa)
    fill_with_integers(network, rng)
    x = integers(rng, 4, 3, 3, 3).astype(np.float32)
    groups = options.get("groups", 1)
    exact = [a.astype(np.int64) for a in (x, network.coefs[0], network.intercepts[0])]
    expected = reference.grouped_conv(*exact, groups=groups, **geometry(operation.window))
    np.testing.assert_array_equal(network.predict(x), expected)


@pytest.mark.parametrize("n_filters", [1, 6, 8, 20, 64, 130])
@pytest.mark.parametrize("n_channels", [1, 3, 16, 31])
def test_rows_have_the_bits_of_products(isa, dtype, n_channels, n_filters):
    """Of a 3x3 kernel whose other taps are zero: they add 0 * x to the same sum."""
    rng = np.random.default_rng(0)
    in_shape, results = (9, 11, n_channels), []
    x = rng.normal(size=(5, *in_shape)).astype(dtype)
    w, b = rng.normal(size=(n_channels, n_filters)), rng.normal(size=n_filters)
    for kernel_size in (1, 3):
        network = Network(
            [convolution(in_shape, n_filters, "relu", kernel_size=kernel_size, padding="same",
                         options={"algorithm": "direct"})], dtype=dtype, isa=isa,
        )  # fmt: skip
        network.coefs[0][...] = 0
        network.coefs[0][kernel_size // 2, kernel_size // 2] = w
        network.intercepts[0][...] = b
        results.append(network.predict(x))
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("n_filters", [1, 6, 20, 70])
def test_rows_write_nothing_but_the_result(isa, dtype, n_filters):
    """Whole vectors are stored over what the next pixels write; nothing may lie behind the last."""
    rng = np.random.default_rng(0)
    for n, size in ((1, 1), (1, 40), (7, 5), (33, 3)):
        network = Network([convolution((size, 5), n_filters, kernel_size=1)], dtype=dtype, isa=isa)
        network.initialize(np.random.RandomState(0))
        x = rng.normal(size=(n, size, 5)).astype(dtype)
        room = np.full(n * size * n_filters + 128, 99, dtype)
        out = room[64:-64].reshape(n, size, n_filters)
        network.predict(x, out=out)
        np.testing.assert_array_equal(out, network.predict(x))
        np.testing.assert_array_equal(room[:64], 99)
        np.testing.assert_array_equal(room[-64:], 99)


@pytest.mark.parametrize("n_filters", [3, 6, 16, 100])
def test_rows_do_not_depend_on_who_shares_out_the_work(isa, n_filters):
    """Samples by chunks, lines by units, few or many at a time; alone, before a layer with a margin, and behind one."""
    rng = np.random.default_rng(0)
    one = convolution((20, 18, 6), n_filters, "relu", kernel_size=1)
    padded = convolution((20, 18, n_filters), 5, kernel_size=3, padding="same", options={"algorithm": "direct"})
    behind = convolution((20, 18, 5), 7, "tanh", kernel_size=1)
    x = rng.normal(size=(40, 20, 18, 6)).astype(np.float32)
    for operations in ([one], [one, padded], [one, padded, behind]):
        network = Network(operations, isa=isa)
        network.initialize(np.random.RandomState(0))
        whole = network.predict(x)
        for size in (1, 3, 17, 39):
            parts = [network.predict(x[i : i + size]) for i in range(0, 40, size)]
            np.testing.assert_array_equal(np.concatenate(parts), whole)
        for n_threads, by_units, reads_data in ((1, False, False), (2, False, True), (3, True, True), (3, True, False)):
            plan = Plan(network.operations, network._segments, network._storage, isa=isa, n_threads=n_threads,
                        by_units=by_units, reads_data=reads_data)  # fmt: skip
            out = np.full((3, *network.out_shape), np.nan, np.float32)
            plan.engine.predict(x, out, n_threads=n_threads, by_units=by_units, softmax=False, first=5)
            np.testing.assert_array_equal(out, whole[5:8])
        dtypes = [x.astype(np.float64), (x * 9).astype(np.uint8)]
        np.testing.assert_array_equal(network.predict(dtypes[0]), whole)
        np.testing.assert_array_equal(network.predict(dtypes[1]), network.predict(dtypes[1].astype(np.float32)))


@pytest.mark.parametrize("activation", ["identity", "relu"])
def test_rows_keep_nan_to_its_pixel(isa, dtype, activation):
    x = np.ones((3, 4, 5, 3), dtype)
    network = Network([convolution((4, 5, 3), 6, activation, kernel_size=1)], dtype=dtype, isa=isa)
    network.initialize(np.random.RandomState(0))
    finite = network.predict(x)
    for place in ((0, 0, 0), (1, 2, 3), (2, 3, 4)):
        bad = x.copy()
        bad[*place, 1] = np.nan
        y = network.predict(bad)
        harmed = np.zeros(y.shape, bool)
        harmed[place] = True
        np.testing.assert_array_equal(np.isnan(y), harmed)
        np.testing.assert_array_equal(y[~harmed], finite[~harmed])
