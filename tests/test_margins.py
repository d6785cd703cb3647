"""Convolutions that leave out taps on the margin, or hold rows of taps in registers: the same sums, the same bits."""

import math

import numpy as np
import pytest

import reference
from builders import convolution, fill_with_integers, geometry, integers
from skconv._engine import lines, margins
from skconv._network import Network
from skconv._plan import Plan

# Windows that hang over their images in all ways; rows of 3, 5 and 7 taps go line by line where lines are long enough,
# all others pixel by pixel.
WINDOWS = [
    ((8, 8), {"kernel_size": 7, "padding": "same"}),
    ((8, 9), {"kernel_size": 4, "padding": "same"}),
    ((9, 17), {"kernel_size": 5, "padding": "same"}),
    ((4, 31), {"kernel_size": 3, "padding": "same"}),
    ((3, 8), {"kernel_size": 7, "padding": 3}),
    ((2, 2), {"kernel_size": 7, "padding": 4}),
    ((2, 3), {"kernel_size": 5, "padding": 9}),
    ((6, 15), {"kernel_size": 7, "padding": ((6, 2), (1, 5))}),
    ((12, 9), {"kernel_size": (6, 2), "padding": ((0, 5), (1, 0))}),
    ((7, 16), {"kernel_size": 5, "padding": "full"}),
    ((9, 20), {"kernel_size": 5, "padding": 2, "stride": (2, 1)}),
    ((9, 20), {"kernel_size": 3, "padding": 1, "stride": 2}),
    ((9, 14), {"kernel_size": 3, "padding": (4, 1), "dilation": (4, 1)}),
    ((9, 14), {"kernel_size": 3, "padding": "same", "dilation": 3}),
    ((11,), {"kernel_size": 7, "padding": "same"}),
    ((11,), {"kernel_size": 6, "padding": "full", "stride": 2}),
    ((3, 4, 9), {"kernel_size": 3, "padding": "same"}),
    ((4, 3, 3), {"kernel_size": (4, 5, 2), "padding": "same"}),
]
CHANNELS = [(1, 1), (3, 7), (5, 21), (4, 70)]
N_SAMPLES = 7


def network_of(size, window, n_channels, n_filters, dtype, isa, activation="identity", groups=1):
    operation = convolution(
        (*size, n_channels), n_filters, activation, options={"algorithm": "direct", "groups": groups}, **window
    )
    return Network([operation], dtype=dtype, isa=isa)


@pytest.mark.parametrize(("n_channels", "n_filters"), CHANNELS)
@pytest.mark.parametrize(("size", "window"), WINDOWS, ids=str)
def test_several_samples_match_reference(isa, dtype, size, window, n_channels, n_filters):
    rng = np.random.default_rng(0)
    network = network_of(size, window, n_channels, n_filters, dtype, isa)
    (operation,) = network.operations
    fill_with_integers(network, rng)
    x, dy = integers(rng, N_SAMPLES, *operation.in_shape), integers(rng, N_SAMPLES, *operation.out_shape)
    weights, intercept = (array.astype(np.int64) for array in (network.coefs[0], network.intercepts[0]))

    y = network.predict(x.astype(dtype), out=np.full((N_SAMPLES, *operation.out_shape), np.nan, dtype=dtype))
    dx, gradient = network.backward(x.astype(dtype), dy)
    (dweights,), _ = network.arrays_of(gradient)

    where = geometry(operation.window)
    kernel = operation.window.kernel_size
    np.testing.assert_array_equal(y, reference.conv(x, weights, intercept, **where))
    np.testing.assert_array_equal(dx, reference.conv_backward_input(dy, weights, x.shape, **where))
    np.testing.assert_array_equal(dweights, reference.conv_backward_weights(x, dy, kernel, **where))


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize(("n_channels", "n_filters", "groups"), [(3, 7, 1), (2, 40, 1), (4, 12, 2), (6, 80, 2)])
@pytest.mark.parametrize(("size", "window"), WINDOWS, ids=str)
def test_company_changes_no_bit(isa, size, window, n_channels, n_filters, groups, activation):
    """A sample's result is that of the sample alone, and of several threads that share it."""
    rng = np.random.default_rng(0)
    network = network_of(size, window, n_channels, n_filters, "float32", isa, activation, groups)
    network.initialize(np.random.RandomState(0))
    network.intercepts[0][...] = rng.standard_normal(n_filters)
    x = rng.standard_normal((N_SAMPLES, *network.operations[0].in_shape)).astype(np.float32)
    y = network.predict(x)
    for first, end in ((0, 1), (1, 3), (3, 7)):
        np.testing.assert_array_equal(network.predict(x[first:end]), y[first:end])
    plan = Plan(network.operations, network._segments, network._storage, isa=isa, n_threads=3, by_units=True)
    out = np.full_like(y, np.nan)
    plan.engine.predict(x, out, n_threads=3, by_units=True, softmax=False)
    np.testing.assert_array_equal(out, y)


@pytest.mark.parametrize("n_threads", [2, 3, 4])
@pytest.mark.parametrize("n_samples", [5, 7, 11, 45])
def test_last_samples_are_shared(monkeypatch, n_samples, n_threads):
    """Five images on two threads: two for each, then the fifth for both."""
    rng = np.random.default_rng(0)
    network = network_of((24, 24), {"kernel_size": 7, "padding": "same"}, 16, 32, "float32", None)
    network.initialize(np.random.RandomState(0))
    x = rng.standard_normal((n_samples, 24, 24, 16)).astype(np.float32)
    monkeypatch.setattr("skconv._network.effective_n_threads", lambda: 1)
    alone = network.predict(x)
    monkeypatch.setattr("skconv._network.effective_n_threads", lambda: n_threads)
    np.testing.assert_array_equal(network.predict(x), alone)


@pytest.mark.parametrize(("n_channels", "n_filters"), [(16, 16), (3, 40)])
@pytest.mark.parametrize(("size", "kernel"), [(24, 9), (30, 9), (23, 11), (26, 7), (25, 5)])
def test_gradients_of_large_maps_add_up(isa, size, kernel, n_channels, n_filters):
    """Samples that share an input's gradient, of maps that several products of the weights' gradient go through."""
    rng = np.random.default_rng(0)
    window = {"kernel_size": kernel, "padding": "same"}
    network = network_of((size, size), window, n_channels, n_filters, "float32", isa)
    fill_with_integers(network, rng)
    x = integers(rng, 48, size, size, n_channels).astype(np.float32)
    dy = integers(rng, 48, size, size, n_filters).astype(np.float32)
    dx, gradient = network.backward(x, dy)
    alone = [network.backward(x[i : i + 1], dy[i : i + 1]) for i in range(48)]
    np.testing.assert_array_equal(dx, np.concatenate([dx for dx, _ in alone]))
    np.testing.assert_array_equal(gradient, sum(gradient for _, gradient in alone))


@pytest.mark.parametrize(("n_channels", "n_filters"), [(8, 16), (11, 32), (9, 56)])
@pytest.mark.parametrize(
    ("size", "window"),
    [
        ((16, 16), {"kernel_size": 3, "padding": "same"}),
        ((14, 14), {"kernel_size": 7, "padding": "same"}),
        ((8, 8), {"kernel_size": 7, "padding": "same"}),  # several samples at a time, and fewer in the end
        ((9, 6), {"kernel_size": 5, "padding": ((1, 3), (2, 2))}),
        ((8, 18), {"kernel_size": 5, "padding": ((4, 0), (2, 1))}),
        ((16, 16), {"kernel_size": 5, "padding": 1}),  # columns beside the image, too few to leave out
        ((8, 8), {"kernel_size": 7, "padding": "full"}),  # more than lines leave out
        ((37, 15), {"kernel_size": (11, 5), "padding": ((9, 6), (1, 2)), "stride": (2, 1)}),
        ((19, 20), {"kernel_size": (3, 7), "padding": (4, 4), "dilation": (3, 1)}),
        ((2, 16, 17), {"kernel_size": (1, 3, 3), "padding": "same"}),
        ((3, 5, 20), {"kernel_size": 3, "padding": "same"}),
    ],
    ids=str,
)
def test_weights_gradient_by_lines(isa, dtype, monkeypatch, size, window, n_channels, n_filters):
    """Blocks of lines of which rows of the kernel see some, all, or none, on one thread and on several."""
    rng = np.random.default_rng(0)
    network = network_of(size, window, n_channels, n_filters, dtype, isa)
    (operation,) = network.operations
    fill_with_integers(network, rng)
    x, dy = integers(rng, 6, *operation.in_shape), integers(rng, 6, *operation.out_shape)
    expected = reference.conv_backward_weights(x, dy, operation.window.kernel_size, **geometry(operation.window))
    for n_threads in (1, 3):
        monkeypatch.setattr("skconv._network.effective_n_threads", lambda n=n_threads: n)
        _, gradient = network.backward(x.astype(dtype), dy)
        (dweights,), _ = network.arrays_of(gradient)
        np.testing.assert_array_equal(dweights, expected)


@pytest.mark.parametrize(("size", "kernel"), [(8, 7), (16, 5)])
@pytest.mark.parametrize("padding", ["same", "full"])
def test_infinite_gradients_meet_no_margin(isa, dtype, size, kernel, padding):
    """A tap on the margin is left out of the weights' gradient: multiplied, its zero would make NaN of infinity."""
    network = network_of((size, size), {"kernel_size": kernel, "padding": padding}, 8, 16, dtype, isa)
    (operation,) = network.operations
    dy = np.zeros((6, *operation.out_shape))
    dy[:, 0, 0] = np.inf
    _, gradient = network.backward(np.ones((6, *operation.in_shape), dtype), dy)
    (dweights,), _ = network.arrays_of(gradient)
    seen = kernel // 2 if padding == "same" else kernel - 1  # the first tap that the corner sees on the image
    assert np.isposinf(dweights[seen:, seen:]).all()
    assert not dweights[:seen].any() and not dweights[:, :seen].any()


@pytest.mark.parametrize("size", range(1, 9))
@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_margins_of_a_line(size, kernel):
    for before in range(9):
        for out in range(1, 16):
            seen = [i - before for i in range(out + kernel - 1)]
            left, right = lines.margins_of_line(kernel, size, out, before)
            half = kernel // 2
            assert left == all(i < 0 for i in seen[:half])
            assert right == all(i >= size for i in seen[-half:])


@pytest.mark.parametrize("size", range(1, 9))
@pytest.mark.parametrize("kernel", range(1, 7))
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 3), (3, 2)])
def test_ranges_are_those_of_the_reference(size, kernel, stride, dilation):
    for before in range(8):
        out = (size + 2 * before - (kernel - 1) * dilation - 1) // stride + 1
        if out < 1:
            continue
        inside = {o: [] for o in range(out)}
        for (o,), (k,), _ in reference.taps(
            (size,), (kernel,), (out,), stride=stride, dilation=dilation, pad_before=before
        ):
            inside[o].append(k)
        ranges = margins.taps_inside(size, out, kernel, stride, dilation, before)
        assert [list(range(*taps)) for taps in ranges] == list(inside.values())
        n_inside = sum(map(len, inside.values()))
        assert math.isclose(margins.share_inside([ranges], [kernel]), n_inside / (kernel * out))
        axes = ((1, n, 1) for n in (size, out, kernel, stride, dilation))
        rows = margins.kernel_rows_inside(*axes, (0, before, 0))
        assert rows == (None if n_inside == kernel * out else ranges)
        # Seen from the image: with strides of one, tap k of pixel i comes from output i + before - k * dilation.
        if stride == 1:
            shifts = [k * dilation for k in reversed(range(kernel))]
            seen = margins.shifts_inside(out, size, before, shifts)
            for i, (first, end) in enumerate(seen):
                expected = [s for s in shifts if 0 <= i + before - s < out]
                assert shifts[first:end] == expected
