"""`conv` and `conv_transpose`: values, adjointness, exactness where numbers are not finite, layouts, bad input."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from threadpoolctl import threadpool_limits

import reference
from builders import integers
from skconv.functional import _run, conv, conv_transpose, convolution_plan
from skconv.functional._finite import conv_where_the_image_is, transpose_where_the_image_is
from skconv.functional.convolution import bind

ONE_TAP = np.ones((1, 1, 1, 1), np.float32)


def expected_conv(x, weights, bias=None, *, stride=1, pads=None, dilation=1, groups=1, mode="constant", value=0):
    """`conv` from the plain loops; pads are (before, after) pairs."""
    x, weights = np.asarray(x), np.asarray(weights)
    pads = pads or [(0, 0)] * (x.ndim - 2)
    if mode != "constant" or value:
        x = np.pad(x, [(0, 0), *pads, (0, 0)], mode=mode, **({"constant_values": value} if value else {}))
        pads = [(0, 0)] * (x.ndim - 2)
    before, after = zip(*pads)
    parts = []
    for channels, filters in zip(np.split(x, groups, axis=-1), np.split(weights, groups)):
        parts.append(
            reference.conv(
                channels, np.moveaxis(filters, 0, -1), stride=stride, dilation=dilation, pad_before=before,
                pad_after=after,
            )
        )  # fmt: skip
    y = np.concatenate(parts, axis=-1)
    return y if bias is None else y + np.asarray(bias)


@st.composite
def geometries(draw):
    """A call of conv on integers: (x, weights, bias, options), and the options for `expected_conv`."""
    ndim = draw(st.integers(1, 3))
    sizes = st.integers(1, 9 if ndim < 3 else 5)
    size = [draw(sizes) for _ in range(ndim)]
    kernel = [draw(st.integers(1, 4)) for _ in range(ndim)]
    stride = [draw(st.integers(1, 3)) for _ in range(ndim)]
    dilation = [draw(st.integers(1, 3)) for _ in range(ndim)]
    extent = [(k - 1) * d + 1 for k, d in zip(kernel, dilation)]
    pads = [(draw(st.integers(0, 3)), draw(st.integers(0, 3))) for _ in range(ndim)]
    # What is missing for one window to fit is added in front.
    pads = [(b + max(0, m - n - b - a), a) for n, m, (b, a) in zip(size, extent, pads)]
    groups, per_group, filters_per_group = (draw(st.integers(1, most)) for most in (3, 5, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(0, 3))
    x = integers(rng, n, *size, groups * per_group)
    weights = integers(rng, groups * filters_per_group, *kernel, per_group)
    bias = integers(rng, len(weights)) if draw(st.booleans()) else None
    options = {"stride": tuple(stride), "dilation": tuple(dilation), "groups": groups}
    return x, weights, bias, options, pads


@settings(derandomize=True, deadline=None, max_examples=300)
@given(geometries(), st.sampled_from(["float32", "float64", "uint8"]))
def test_conv_matches_the_loops(call, dtype):
    x, weights, bias, options, pads = call
    x = (np.abs(x) if dtype == "uint8" else x).astype(dtype)
    expected = expected_conv(x, weights, bias, pads=pads, **options)
    before = x.copy()
    y = conv(x, weights, bias, padding=tuple(pads), **options)
    assert y.dtype == ("float64" if dtype == "float64" else "float32")
    assert_array_equal(y, expected)
    out = np.full(y.shape, np.nan, y.dtype)
    assert conv(x, weights, bias, padding=tuple(pads), out=out, **options) is out
    assert_array_equal(out, expected)
    assert_array_equal(x, before)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(geometries())
def test_conv_transpose_is_the_adjoint(call):
    x, weights, _, options, pads = call
    y = conv(x.astype(np.float64), weights, padding=tuple(pads), **options)
    dy = np.random.default_rng(x.size).integers(-8, 9, size=y.shape).astype(np.float64)
    extent = [(k - 1) * d + 1 for k, d in zip(weights.shape[1:-1], options["dilation"])]
    # What the last window does not reach.
    extra = [(n + b + a - m) % s for n, (b, a), m, s in zip(x.shape[1:-1], pads, extent, options["stride"])]
    dx = conv_transpose(dy, weights, padding=tuple(pads), output_padding=tuple(extra), **options)
    assert dx.shape == x.shape
    assert (y * dy).sum() == (x * dx).sum()
    groups = options.pop("groups")
    shape, before, after = (*x.shape[:-1], x.shape[-1] // groups), *zip(*pads)
    expected = [
        reference.conv_backward_input(
            part.astype(np.int64), np.moveaxis(filters, 0, -1), shape, pad_before=before, pad_after=after, **options
        )
        for part, filters in zip(np.split(dy, groups, axis=-1), np.split(weights, groups))
    ]
    assert_array_equal(dx, np.concatenate(expected, axis=-1))


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("kernel, stride, dilation", [(3, 1, 1), (4, 1, 1), (4, 2, 1), (2, 3, 2), (1, 2, 1), (5, 4, 1)])
@pytest.mark.parametrize("padding", ["same", "same_lower", "valid", "full", 2])
def test_paddings_by_name(ndim, kernel, stride, dilation, padding):
    rng = np.random.default_rng(ndim)
    size = (11, 7, 6)[:ndim]
    x, weights = integers(rng, 2, *size, 2), integers(rng, 3, *(kernel,) * ndim, 2)
    extent = (kernel - 1) * dilation + 1
    pads = []
    for n in size:
        # ONNX: output_shape[i] = ceil(input_shape[i] / strides[i]), and for SAME_UPPER the extra pixel at the end.
        total = max((-(-n // stride) - 1) * stride + extent - n, 0)
        pads.append(
            {
                "same": (total // 2, total - total // 2), "same_lower": (total - total // 2, total // 2),
                "valid": (0, 0), "full": (extent - 1, extent - 1), 2: (2, 2),
            }[padding]
        )  # fmt: skip
    y = conv(x, weights, stride=stride, dilation=dilation, padding=padding)
    assert_array_equal(y, expected_conv(x, weights, stride=stride, dilation=dilation, pads=pads))
    if padding in ("same", "same_lower"):
        assert y.shape[1:-1] == tuple(-(-n // stride) for n in size)


@pytest.mark.parametrize("mode", ["constant", "reflect", "symmetric", "edge", "wrap"])
@pytest.mark.parametrize(
    "padding, pads",
    [(((4, 1), (2, 5)), [(4, 1), (2, 5)]), ("same", [(1, 2), (1, 1)]), ("full", [(3, 3), (2, 2)]), ("valid", None)],
)
def test_padding_modes_are_those_of_numpy(mode, padding, pads):
    rng = np.random.default_rng(0)
    x, weights = integers(rng, 2, 6, 5, 3), integers(rng, 4, 4, 3, 3)
    value = 7 if mode == "constant" else 0
    y = conv(x, weights, padding=padding, padding_mode=mode, constant_values=value)
    assert_array_equal(y, expected_conv(x, weights, pads=pads, mode=mode, value=value))
    if padding != "same":
        y = conv(x, weights, stride=(2, 1), padding=padding, padding_mode=mode, constant_values=value)
        assert_array_equal(y, expected_conv(x, weights, stride=(2, 1), pads=pads, mode=mode, value=value))


# ------------------------------------------------------------------------------------------------- not finite numbers


@pytest.mark.parametrize(
    "n_channels, kernel", [(2, 3), (3, 3), (32, 3), (32, 5)]
)  # directly, and by Winograd's algorithm
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_what_is_not_finite_reaches_the_windows_that_see_it(n_channels, kernel, value, padding):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 12, 14, n_channels)).astype(np.float32)
    weights = rng.normal(size=(n_channels, kernel, kernel, n_channels)).astype(np.float32)
    plan = convolution_plan(x.shape, weights.shape, padding=padding)
    assert plan.algorithm == ("direct" if n_channels == 2 else "winograd")
    clean = conv(x, weights, padding=padding)
    x[1, 5, 6, 1] = x[3, 0, 0, n_channels // 2] = value
    y = conv(x, weights, padding=padding)
    sees = conv((~np.isfinite(x)).astype(np.float32), np.ones_like(weights), padding=padding, algorithm="direct") > 0
    assert sees.any() and not sees[[0, 2]].any()
    assert_array_equal(~np.isfinite(y), sees)
    assert_array_equal(y[[0, 2]], clean[[0, 2]])
    direct = conv(x, weights, padding=padding, algorithm="direct")
    assert_array_equal(y[[1, 3]], direct[[1, 3]])
    for i in range(4):  # the split of the batch changes no bit
        assert_array_equal(conv(x[i : i + 1], weights, padding=padding)[0], y[i])


@pytest.mark.parametrize("kernel", [3, 5])
def test_large_numbers_overflow_only_where_their_sum_does(kernel):
    x = np.full((1, 8, 8, 32), 2e36, np.float32)
    weights = np.ones((32, kernel, kernel, 32), np.float32) / 32
    y = conv(x, weights)
    assert_allclose(y, kernel**2 * 2e36, rtol=1e-5)
    assert_array_equal(conv(x, 32 * weights), np.inf)


@pytest.mark.parametrize("n_channels", [2, 32])
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("out", [False, True])
def test_weights_that_are_not_finite_meet_no_padding(n_channels, value, out):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2, 7, 6, n_channels)).astype(np.float32)
    weights = rng.normal(size=(n_channels, 3, 3, n_channels)).astype(np.float32)
    bias = np.arange(n_channels)
    finite = conv(x, weights, bias, padding="same", algorithm="direct")
    weights[1, 0, 2, 1] = value  # the tap above and right of the pixel
    out = np.empty_like(finite) if out else None
    y = conv(x, weights, bias, padding="same", out=out)
    assert out is None or y is out
    harmed = np.zeros(y.shape, bool)
    harmed[:, 1:, :-1, 1] = True
    assert_array_equal(~np.isfinite(y), harmed)
    assert_allclose(y[~harmed], finite[~harmed], rtol=1e-4, atol=1e-4)
    if np.isinf(value):
        assert_array_equal(y[:, 1:, :-1, 1], np.sign(x[:, :-1, 1:, 1]) * np.inf)
    # Pixels of the image's own are multiplied, as everywhere.
    assert_array_equal(
        np.isfinite(conv(x, weights, padding="same", padding_mode="edge"))[..., 1], np.zeros(y.shape[:-1], bool)
    )
    assert_array_equal(~np.isfinite(conv(x, weights))[..., 1], np.ones((2, 5, 4), bool))
    assert np.isfinite(conv(x, weights)[..., 0]).all()


@pytest.mark.parametrize("n_channels", [2, 32])
def test_conv_transpose_keeps_what_is_not_finite_in_place(n_channels):
    rng = np.random.default_rng(1)
    y = rng.normal(size=(3, 8, 9, n_channels)).astype(np.float32)
    weights = rng.normal(size=(n_channels, 3, 3, n_channels)).astype(np.float32)
    clean = conv_transpose(y, weights, padding=1)
    y[1, 4, 4, 0], y[1, 0, 0, 0] = np.nan, np.inf
    x = conv_transpose(y, weights, padding=1)
    harmed = np.zeros(x.shape, bool)
    harmed[1, 3:6, 3:6] = harmed[1, :2, :2] = True
    assert_array_equal(~np.isfinite(x), harmed)
    assert_array_equal(x[[0, 2]], clean[[0, 2]])

    y = np.ones((1, 4, 4, n_channels), np.float32)
    weights = np.ones_like(weights)
    weights[0, 0, 0, 0] = np.inf
    for out in (None, np.full((1, 9, 9, n_channels), np.nan, np.float32)):
        x = conv_transpose(y, weights, stride=2, out=out)
        assert out is None or x is out
        harmed = np.zeros(x.shape, bool)
        harmed[:, 0:8:2, 0:8:2, 0] = True
        assert_array_equal(np.isinf(x), harmed)
        assert_array_equal(x[~harmed], conv_transpose(y, np.ones_like(weights), stride=2)[~harmed])


@pytest.mark.parametrize("n_channels", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("n_filters", [1, 3, 7, 12, 16])
def test_conv_transpose_of_one_pixel_keeps_to_it(n_channels, n_filters):
    y = np.ones((1, 5, 8, n_filters), np.float32)
    y[0, 4, 3, 0], y[0, 1, 2, -1] = np.nan, np.inf
    x = conv_transpose(y, np.ones((n_filters, 1, 1, n_channels)))
    harmed = np.zeros(x.shape, bool)
    harmed[0, 4, 3] = harmed[0, 1, 2] = True
    assert_array_equal(~np.isfinite(x), harmed)
    assert_array_equal(x[~harmed], n_filters)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(geometries())
def test_the_code_for_infinite_weights_matches_the_engine(call):
    x, weights, bias, options, pads = call
    x, weights, pads = x.astype(np.float64), weights.astype(np.float64), tuple(pads)
    y = conv(x, weights, bias, padding=pads, **options)
    operation = bind(
        x.shape[1:], weights.shape, bias is not None, 0, options["stride"], pads, "constant", options["dilation"],
        options["groups"], "auto",
    ).operations[-1]  # fmt: skip
    assert_array_equal(conv_where_the_image_is(x, weights, bias, operation, None), y)
    extent, strides = operation.window.extent, options["stride"]
    extra = [(n + b + a - m) % s for n, (b, a), m, s in zip(x.shape[1:-1], pads, extent, strides)]
    assert_array_equal(
        transpose_where_the_image_is(y, weights, operation, None),
        conv_transpose(y, weights, padding=pads, output_padding=tuple(extra), **options),
    )


@pytest.mark.parametrize("groups, per_group", [(4, 1), (2, 3)])
def test_groups_share_nothing(groups, per_group):
    rng = np.random.default_rng(0)
    channels = groups * per_group
    x, weights = rng.normal(size=(2, 6, 6, channels)), rng.normal(size=(channels, 3, 3, per_group))
    clean = conv(x, weights, padding=1, groups=groups)
    x[0, 2, 2, 0] = np.nan
    y = conv(x, weights, padding=1, groups=groups)
    assert np.isnan(y[0, 1:4, 1:4, :per_group]).all()
    assert_array_equal(y[..., per_group:], clean[..., per_group:])
    back = conv_transpose(y, weights, padding=1, groups=groups)
    assert np.isnan(back[0, :5, :5, :per_group]).all() and np.isfinite(back[..., per_group:]).all()
    weights[0, 1, 1, 0] = np.inf
    assert_allclose(conv(x, weights, padding=1, groups=groups)[..., per_group:], clean[..., per_group:], rtol=1e-12)


def test_depthwise_convolution_is_a_convolution_per_channel():
    rng = np.random.default_rng(0)
    x, weights = integers(rng, 2, 7, 6, 5), integers(rng, 10, 3, 2, 1)
    y = conv(x, weights, stride=(2, 1), groups=5)  # two filters per channel
    for channel in range(5):
        filters = weights[2 * channel : 2 * channel + 2]
        assert_array_equal(
            y[..., 2 * channel : 2 * channel + 2], conv(x[..., channel : channel + 1], filters, stride=(2, 1))
        )


# ------------------------------------------------------------------------------------- layouts, threads, dtypes, memory


def strange_layouts(x):
    yield np.asfortranarray(x)
    yield np.ascontiguousarray(x[:, ::-1, ::-1])[:, ::-1, ::-1]
    yield np.repeat(x, 2, axis=2)[:, :, ::2]
    yield np.moveaxis(np.ascontiguousarray(np.moveaxis(x, -1, 1)), 1, -1)
    yield x.astype(x.dtype.newbyteorder(">"))
    raw = np.zeros(x.nbytes + 1, np.uint8)
    unaligned = raw[1:].view(x.dtype).reshape(x.shape)
    unaligned[...] = x
    yield unaligned
    read_only = x.copy()
    read_only.flags.writeable = False
    yield read_only


@pytest.mark.parametrize("function", [conv, conv_transpose])
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
def test_memory_layout_changes_no_bit(function, dtype):
    rng = np.random.default_rng(0)
    x = (100 * rng.random((3, 9, 8, 4))).astype(dtype)
    weights = rng.normal(size=(4, 3, 3, 4))
    weights = weights if dtype == "float64" else weights.astype(np.float32)
    bias = rng.normal(size=4).astype(weights.dtype)
    expected = function(x, weights, bias, padding=1)
    for array in strange_layouts(x):
        copy = array.copy()
        assert_array_equal(function(array, weights, bias, padding=1), expected)
        assert_array_equal(array, copy)
    for array in strange_layouts(weights):
        assert_array_equal(function(x, array, bias, padding=1), expected)
    same = np.broadcast_to(x[:1], x.shape)
    assert_array_equal(function(same, weights, bias, padding=1), np.broadcast_to(expected[:1], expected.shape))


@pytest.mark.parametrize("shape, n_filters", [((1, 90, 80, 16), 48), ((5, 40, 40, 32), 32), ((9, 30, 20, 3), 16)])
def test_thread_count_changes_no_bit(shape, n_filters):
    rng = np.random.default_rng(0)
    x, weights = rng.normal(size=shape).astype(np.float32), rng.normal(size=(n_filters, 3, 3, shape[-1]))
    results = []
    for n_threads in (1, 2, 3, 7):
        with threadpool_limits(n_threads):
            y = conv(x, weights, padding="same", padding_mode="reflect")
            results.append((y, conv_transpose(y, weights, padding=1)))
    for y, back in results[1:]:
        assert_array_equal(y, results[0][0])
        assert_array_equal(back, results[0][1])


def test_batch_split_changes_no_bit():
    rng = np.random.default_rng(0)
    x, weights = rng.normal(size=(20, 11, 13, 33)), rng.normal(size=(35, 3, 3, 33))
    y = conv(x, weights, padding="same")
    back = conv_transpose(y, weights, padding=1)
    for start, stop in [(0, 1), (1, 8), (8, 20)]:
        assert_array_equal(conv(x[start:stop], weights, padding="same"), y[start:stop])
        assert_array_equal(conv_transpose(y[start:stop], weights, padding=1), back[start:stop])


def test_python_threads_do_not_disturb_each_other():
    rng = np.random.default_rng(0)
    calls = [(rng.normal(size=(2, 9, 9, 2)), rng.normal(size=(3, 3, 3, 2))) for _ in range(6)]
    expected = [conv(*call) for call in calls]
    wrong = []

    def work(call, y):
        wrong.extend(1 for _ in range(100) if not np.array_equal(conv(*call), y))

    threads = [threading.Thread(target=work, args=pair) for pair in zip(calls, expected)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("function", [conv, conv_transpose])
def test_no_samples_give_none(function):
    assert function(np.zeros((0, 5, 5, 2)), np.ones((2, 3, 3, 2))).shape == (
        (0, 3, 3, 2) if function is conv else (0, 7, 7, 2)
    )
    out = np.zeros((0, 3, 3, 2), np.float32)
    if function is conv:
        assert conv(np.zeros((0, 5, 5, 2), np.uint8), np.ones((2, 3, 3, 2)), out=out) is out


def test_dtype_of_x_decides():
    x = np.ones((1, 4, 1))
    for dtype, expected in [("float16", "f4"), ("int32", "f4"), ("bool", "f4"), ("float32", "f4"), ("float64", "f8"),
                            ("longdouble", "f8")]:  # fmt: skip
        y = conv(x.astype(dtype), np.full((1, 2, 1), 0.5))
        assert y.dtype == expected
        assert_array_equal(y, 1)
        assert conv_transpose(y, np.ones((1, 2, 1))).dtype == expected
    assert conv(x.tolist(), [[[0.5], [0.5]]]).dtype == np.float64


def test_weights_beyond_float32_are_infinite():
    assert_array_equal(conv(np.ones((1, 2, 1), np.float32), [[[1e300]]]), np.full((1, 2, 1), np.inf, np.float32))


def test_weights_of_the_last_call_are_not_kept():
    x = np.ones((1, 4, 4, 1), np.float32)
    assert_array_equal(conv(x, ONE_TAP, [5.0]), np.full((1, 4, 4, 1), 6))
    assert_array_equal(conv(x, 2 * ONE_TAP, [1.0]), np.full((1, 4, 4, 1), 3))
    assert_array_equal(conv(x, 2 * ONE_TAP), np.full((1, 4, 4, 1), 2))
    assert len(_run._idle) > 0


def test_conv_is_linear_and_equivariant():
    rng = np.random.default_rng(0)
    x, z, weights = integers(rng, 1, 9, 9, 2), integers(rng, 1, 9, 9, 2), integers(rng, 3, 3, 3, 2)
    assert_array_equal(conv(2 * x - 3 * z, weights), 2 * conv(x, weights) - 3 * conv(z, weights))
    assert_array_equal(conv(x[:, 2:, 1:], weights), conv(x, weights)[:, 2:, 1:])


# ---------------------------------------------------------------------------------------------------------- bad input

X = np.zeros((2, 6, 6, 4), np.float32)
W = np.zeros((8, 3, 3, 4), np.float32)


@pytest.mark.parametrize(
    "change, error, message",
    [
        (dict(x=X[0, 0]), ValueError, "x must have shape"),
        (dict(x=X + 0j), TypeError, "x is complex"),
        (dict(weights=W[0]), ValueError, "weights must have shape .* got shape"),
        (dict(weights=W[..., :0]), ValueError, "weights of shape .* are empty"),
        (dict(weights=W[..., :3]), ValueError, "images have 4 channels, but weights of shape .* see 3; weights must"),
        (dict(weights=W[..., :2]), ValueError, "with groups=2 it would fit"),
        (dict(weights=[["a"]]), TypeError, "weights has dtype"),
        (dict(weights=W[..., 0]), ValueError, r"and 4 axes, as many as a batch .* got shape \(8, 3, 3\); gray images"),
        (dict(bias=np.zeros(7)), ValueError, r"bias must have shape \(n_filters,\) = \(8,\), got shape \(7,\)"),
        (dict(bias=1.0), ValueError, "bias must have shape"),
        (dict(stride=0), ValueError, "stride must be at least 1"),
        (dict(stride=True), TypeError, "stride must be an int"),
        (dict(stride=(1, 1, 1)), ValueError, "stride must be an int or a tuple of 2 ints"),
        (dict(stride=1.0), TypeError, "stride must be an int"),
        (dict(dilation=-1), ValueError, "dilation must be at least 1"),
        (dict(dilation=3), ValueError, r"kernel_size=3 \(7 pixels wide with dilation=3\) does not fit into a 6x6"),
        (dict(padding=-1), ValueError, "padding must be at least 0"),
        (dict(padding=2**62), ValueError, "padding must be"),
        (dict(padding=2**39), ValueError, r"limit is 2\*\*40"),
        (dict(padding="some"), ValueError, "padding must be one of 'valid'"),
        (dict(padding_mode="zeros"), ValueError, "padding_mode must be one of 'constant'"),
        (dict(padding_mode="edge", constant_values=1), ValueError, "has no meaning with padding_mode='edge'"),
        (dict(constant_values=np.nan), ValueError, "constant_values must be a finite number"),
        (dict(constant_values="0"), TypeError, "constant_values must be a real number"),
        (dict(groups=0), ValueError, "groups must be at least 1"),
        (dict(groups=3), ValueError, "groups=3 must divide n_filters=8"),
        (dict(groups=True), TypeError, "groups must be an int"),
        (dict(algorithm="fft"), ValueError, "algorithm must be one of"),
        (dict(algorithm="winograd", stride=2), ValueError, "algorithm='winograd' needs a kernel of 3, 5 or 7 rows"),
        (dict(out=np.zeros((2, 4, 4, 8))), ValueError, "out must have shape .* and dtype float32"),
        (dict(out=np.zeros((2, 4, 4, 4), np.float32)), ValueError, "out must have shape"),
        (dict(out=[]), TypeError, "out must be a NumPy array"),
    ],
)
def test_bad_input_to_conv(change, error, message):
    conv(X, W, stride=1, dilation=1, groups=1)  # what is remembered of it must not let True or 1.0 pass
    with pytest.raises(error, match=message):
        conv(**{"x": X, "weights": W, **change})


def test_reflect_needs_no_more_than_numpy():
    x = np.arange(3.0).reshape(1, 3, 1)
    assert_array_equal(conv(x, np.ones((1, 1, 1)), padding=7, padding_mode="reflect")[0, :, 0],
                       np.pad(np.arange(3.0), 7, mode="reflect"))  # fmt: skip


@pytest.mark.parametrize(
    "change, error, message",
    [
        (dict(y=X[..., :3]), ValueError, "y has 3 channels, but weights of shape .* with n_filters=4"),
        (dict(output_padding=2), ValueError, "output_padding must be less than the stride, got 2 with stride 2"),
        (dict(output_padding=-1), ValueError, "output_padding must be at least 0"),
        (dict(output_padding=1, padding="same"), ValueError, "output_padding must be 0 with padding='same'"),
        (dict(padding=7), ValueError, "padding=7 cuts everything off"),
        (dict(padding="none"), ValueError, "padding must be one of"),
        (dict(stride=0), ValueError, "stride must be at least 1"),
        (dict(stride=2**40, padding="same"), ValueError, r"2\*\*40"),
        (dict(dilation=(1, 0)), ValueError, r"dilation\[1\] must be at least 1"),
        (dict(groups=3), ValueError, "groups=3 must divide n_filters=4"),
        (dict(bias=np.zeros(3)), ValueError, r"bias must have shape \(n_channels,\) = \(5,\)"),
        (dict(out=X), ValueError, "out must have shape"),
    ],
)
def test_bad_input_to_conv_transpose(change, error, message):
    with pytest.raises(error, match=message):
        conv_transpose(**{"y": X, "weights": np.zeros((4, 3, 3, 5)), "stride": 2, **change})


def test_out_must_not_overlap():
    x = np.zeros((2, 6, 6, 1), np.float32)
    with pytest.raises(ValueError, match="out overlaps x"):
        conv(x, ONE_TAP, out=x)
    with pytest.raises(ValueError, match="out overlaps y"):
        conv_transpose(x, ONE_TAP, out=x)
    weights = np.zeros((1, 1, 1, 1), np.float32)
    with pytest.raises(ValueError, match="out overlaps weights"):
        conv(np.zeros((1, 1, 1, 1), np.float32), weights, out=weights)


def test_what_fits_no_memory_is_refused():
    for function in (conv, conv_transpose):
        with pytest.raises(MemoryError, match="GiB, more than this machine has"):
            if function is conv:
                conv(np.zeros((1, 2, 2, 1), np.float32), ONE_TAP, padding=2**19 - 2)
            else:
                conv_transpose(np.zeros((1, 2, 2, 1), np.float32), ONE_TAP, stride=2**19)


def test_wide_strides_are_fine():
    assert conv(np.ones((1, 3, 3, 1)), np.ones((1, 2, 2, 1)), stride=2**40).shape == (1, 1, 1, 1)


@pytest.mark.parametrize("name, size", [("same", (8, 10)), ("same_lower", (8, 10))])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4])
def test_conv_transpose_same_has_size_times_stride(name, size, kernel):
    rng = np.random.default_rng(0)
    y, weights = integers(rng, 1, 4, 5, 2), integers(rng, 2, kernel, kernel, 3)
    x = conv_transpose(y, weights, stride=2, padding=name)
    assert x.shape[1:-1] == size
    z = integers(rng, *x.shape)
    assert (conv(z, weights, stride=2, padding=name) * y).sum() == (x * z).sum()


def test_conv_transpose_adds_the_bias_everywhere():
    y = np.zeros((1, 2, 1))
    assert_array_equal(conv_transpose(y, np.ones((1, 1, 2)), [1.0, 2.0], stride=2, output_padding=1),
                       [[[1, 2]] * 4])  # fmt: skip
