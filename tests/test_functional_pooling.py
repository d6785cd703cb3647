"""Functions for pooling: the reference, indices, unpooling, identities, memory layouts, hostile parameters."""

import inspect

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

import reference
from skconv.functional import avg_pool, channel_pool, conv, global_pool, lp_pool, max_pool, max_unpool

DTYPES = ["float32", "float64"]
WINDOWS = [
    ((8, 8), dict(kernel_size=2)),
    ((7, 9), dict(kernel_size=2, ceil_mode=True)),
    ((7, 9), dict(kernel_size=3, stride=2, padding="same")),
    ((7, 9), dict(kernel_size=(2, 3), stride=(1, 2), padding="same_lower")),
    ((9, 9), dict(kernel_size=3, stride=2, padding=1, dilation=2)),
    ((10, 7), dict(kernel_size=(3, 2), stride=(1, 3), padding=((1, 2), (0, 1)), ceil_mode=True)),
    ((5, 5), dict(kernel_size=1, stride=2**40)),
    ((11,), dict(kernel_size=3, stride=2, padding=1)),
    ((11,), dict(kernel_size=3, dilation=4)),
    ((5, 6, 7), dict(kernel_size=2, ceil_mode=True)),
    ((5, 6, 7), dict(kernel_size=3, stride=(2, 1, 3), padding=1)),
    ((40, 30), dict(kernel_size=(20, 15), stride=7)),
    ((1, 1), dict(kernel_size=1)),
]
POOLS = {
    "max": max_pool,
    "average": avg_pool,
    "lp": lp_pool,
    "global": lambda x, kernel_size, **window: global_pool(x),
    "channels": lambda x, kernel_size, **window: channel_pool(x, 2),
}


def small_integers(*shape, largest=3):
    return np.random.default_rng(0).integers(-largest, largest + 1, size=shape)


def geometry(size, **window):
    """What tests/reference.py wants to know, resolved by hand from what the functions take."""
    ndim = len(size)
    per_axis = lambda value: value if isinstance(value, tuple) else (value,) * ndim  # noqa: E731
    kernel = per_axis(window["kernel_size"])
    stride, dilation = per_axis(window.get("stride", kernel)), per_axis(window.get("dilation", 1))
    padding = window.get("padding", 0)
    if isinstance(padding, str):
        totals = [
            max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
            for n, k, s, d in zip(size, kernel, stride, dilation, strict=True)
        ]
        before, after = [t // 2 for t in totals], [t - t // 2 for t in totals]
        if padding == "same_lower":
            before, after = after, before
    else:
        pairs = [pair if isinstance(pair, tuple) else (pair, pair) for pair in per_axis(padding)]
        before, after = zip(*pairs, strict=True)
    known = dict(stride=stride, dilation=dilation, pad_before=before, pad_after=after)
    output = reference.output_sizes(size, kernel, ceil_mode=window.get("ceil_mode", False), **known)
    return dict(kernel_size=kernel, output_size=output, **known)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_channels", [1, 5, 17])
@pytest.mark.parametrize(("size", "window"), WINDOWS, ids=str)
def test_pools_match_reference(size, window, n_channels, dtype):
    x = small_integers(3, *size, n_channels)
    known = geometry(size, **window)
    expected, index = reference.max_pool(x, **known)
    y, indices = max_pool(x.astype(dtype), **window, return_indices=True)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(max_pool(x.astype(dtype), **window), expected)
    assert y.dtype == dtype and indices.dtype == np.intp
    # Position in the window -> in the image.
    for n, *o, c in np.ndindex(*index.shape):
        k = np.unravel_index(index[n, *o, c], known["kernel_size"])
        p = [
            i * s - b + t * d
            for i, s, b, t, d in zip(o, known["stride"], known["pad_before"], k, known["dilation"], strict=True)
        ]
        assert indices[n, *o, c] == np.ravel_multi_index(p, size)

    for count_include_pad in (False, True):
        y = avg_pool(x.astype(dtype), **window, count_include_pad=count_include_pad)
        expected = reference.avg_pool(x, **known, count_include_pad=count_include_pad)
        np.testing.assert_array_equal(y, expected.astype(dtype))  # an exact sum, divided once
    for p in (1, 2, 3, 2.5):
        y = lp_pool(x.astype(dtype), **window, p=p)
        rtol = (16 + np.prod(known["kernel_size"])) * np.finfo(dtype).eps
        np.testing.assert_allclose(y, reference.lp_pool(x, p, **known), rtol=rtol)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_channels", [1, 2, 3, 4, 8, 15, 16, 17, 31, 33, 65])
def test_every_number_of_channels(dtype, n_channels):
    x = small_integers(2, 6, 7, n_channels)
    for window in (dict(kernel_size=2), dict(kernel_size=3, stride=1, padding=1)):
        known = geometry((6, 7), **window)
        expected, _ = reference.max_pool(x, **known)
        y, indices = max_pool(x.astype(dtype), **window, return_indices=True)
        np.testing.assert_array_equal(y, expected)
        flat = (2, -1, n_channels)
        found = np.take_along_axis(x.reshape(flat), indices.reshape(flat), axis=1)
        np.testing.assert_array_equal(found, y.reshape(flat))
        np.testing.assert_array_equal(avg_pool(x.astype(dtype), **window), reference.avg_pool(x, **known).astype(dtype))


# ---- identities ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["max", "average", "lp"])
def test_pooling_is_equivariant_to_shifts_by_the_stride(name):
    x = np.random.default_rng(0).standard_normal((2, 12, 14, 5))
    for stride in (1, 2, 3):
        y = POOLS[name](x, 3, stride=stride)
        np.testing.assert_array_equal(POOLS[name](x[:, stride:, stride:], 3, stride=stride), y[:, 1:, 1:])


def test_average_pooling_is_a_convolution_with_a_constant():
    x = small_integers(2, 9, 8, 3).astype(float)
    filters = np.eye(3)[:, None, None, :] * np.full((1, 4, 2, 1), 1 / 8)
    np.testing.assert_array_equal(avg_pool(x, (4, 2), stride=1), conv(x, filters))


def test_norms_are_what_they_are_called():
    x = small_integers(2, 9, 8, 3).astype(float)
    np.testing.assert_allclose(lp_pool(np.abs(x), 3, p=1), 9 * avg_pool(np.abs(x), 3), rtol=1e-14)
    np.testing.assert_allclose(lp_pool(x, 3, p=2) ** 2, 9 * avg_pool(x * x, 3), rtol=1e-14)
    np.testing.assert_allclose(lp_pool(x, 3, p=1e6), max_pool(np.abs(x), 3), rtol=1e-5)
    np.testing.assert_allclose(lp_pool(4 * x, 2, p=3), 4 * lp_pool(x, 2, p=3), rtol=1e-14)


def test_pooling_in_one_dimension_is_pooling_in_three():
    x = np.random.default_rng(0).standard_normal((2, 13, 3))
    for name in ("max", "average", "lp"):
        y = POOLS[name](x, 3, stride=2, padding=1)
        z = POOLS[name](x[:, None, None], (1, 1, 3), stride=(1, 1, 2), padding=(0, 0, 1))
        np.testing.assert_array_equal(z[:, 0, 0], y)
    deep, at = max_pool(x[:, None], (1, 3), return_indices=True)
    flat, expected = max_pool(x, 3, return_indices=True)
    np.testing.assert_array_equal(deep[:, 0], flat)
    np.testing.assert_array_equal(at[:, 0], expected)


@pytest.mark.parametrize("size", [(12,), (6, 8), (4, 6, 8)])
def test_unpooling_puts_the_maxima_back(size):
    x = np.random.default_rng(0).standard_normal((3, *size, 4))
    y, indices = max_pool(x, 2, return_indices=True)
    back = max_unpool(y, indices, kernel_size=2)
    assert back.shape == x.shape
    np.testing.assert_array_equal(back[back != 0], x[back != 0])
    assert (back != 0).sum() == y.size
    np.testing.assert_array_equal(max_pool(np.where(back == 0, -np.inf, back), 2), y)
    np.testing.assert_array_equal(max_unpool(y, indices, size), back)


def test_unpooling_of_windows_that_overlap_lets_the_last_one_win():
    y = np.arange(1.0, 9.0).reshape(1, 2, 2, 2)
    indices = np.zeros((1, 2, 2, 2), dtype=int)
    indices[..., 1] = [[0, 2], [2, 3]]
    back = max_unpool(y, indices, (2, 2))
    np.testing.assert_array_equal(back[0, ..., 0].ravel(), [7, 0, 0, 0])
    np.testing.assert_array_equal(back[0, ..., 1].ravel(), [2, 0, 6, 8])
    x = np.random.default_rng(0).standard_normal((2, 9, 9, 3))
    y, indices = max_pool(x, 3, stride=2, padding=1, return_indices=True)
    back = max_unpool(y, indices, 9)
    np.testing.assert_array_equal(max_unpool(y, indices, kernel_size=3, stride=2, padding=1), back)
    np.testing.assert_array_equal(back[back != 0], x[back != 0])


# ---- special values --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_channels", [1, 3, 20])
def test_nan_stays_and_says_where(dtype, n_channels):
    for position in range(4):
        x = np.arange(4, dtype=dtype).reshape(1, 2, 2, 1).repeat(n_channels, axis=3)
        x[0, position // 2, position % 2] = np.nan
        y, indices = max_pool(x, 2, return_indices=True)
        assert np.isnan(y).all() and (indices == position).all() and np.isnan(max_pool(x, 2)).all()
        for pool in (avg_pool, lp_pool):
            assert np.isnan(pool(x, 2)).all()
    # The first of two.
    x = np.array([1, np.nan, np.nan, 2], dtype=dtype).reshape(1, 4, 1)
    assert max_pool(x, 4, return_indices=True)[1].item() == 1


def test_windows_of_minus_infinity():
    x = np.full((1, 5, 5, 2), -np.inf, dtype=np.float32)
    y, indices = max_pool(x, 3, stride=2, padding=1, return_indices=True)
    assert np.isneginf(y).all()
    # The first pixel of every window that exists.
    np.testing.assert_array_equal(indices[0, ..., 0], [[0, 1, 3], [5, 6, 8], [15, 16, 18]])


def test_zeros_keep_their_sign():
    x = np.full((1, 2, 2, 3), -0.0)
    for pool in (max_pool, avg_pool):
        assert np.signbit(pool(x, 2)).all()
    assert not np.signbit(lp_pool(x, 2)).any()


# ---- arrays in, arrays out -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_layouts_and_threads_give_the_same_bits(name, dtype):
    x = np.random.default_rng(0).standard_normal((3, 60, 70, 20)).astype(dtype)
    pool = POOLS[name]
    expected = pool(x, 3, stride=2, padding=1)
    read_only = x.copy()
    read_only.flags.writeable = False
    strided = np.lib.stride_tricks.as_strided(x[:1], strides=(2**40, *x.strides[1:]))
    unaligned = np.frombuffer(b"0" + x.tobytes(), dtype=np.uint8)[1:].view(dtype).reshape(x.shape)
    for given in (np.asfortranarray(x), x[::-1].copy()[::-1], read_only, x.astype(x.dtype.newbyteorder()), unaligned,
                  np.repeat(x, 2, axis=2)[:, :, ::2]):  # fmt: skip
        np.testing.assert_array_equal(pool(given, 3, stride=2, padding=1), expected)
    np.testing.assert_array_equal(pool(strided, 3, stride=2, padding=1), expected[:1])
    np.testing.assert_array_equal(
        np.concatenate([pool(x[:1], 3, stride=2, padding=1), pool(x[1:], 3, stride=2, padding=1)]), expected
    )
    for n_threads in (1, 2, 3):
        with threadpool_limits(n_threads, user_api="openmp"):
            np.testing.assert_array_equal(pool(x, 3, stride=2, padding=1), expected)
            if name == "max":
                y, indices = max_pool(x, 3, stride=2, padding=1, return_indices=True)
                np.testing.assert_array_equal(y, expected)
                if n_threads == 1:
                    first = indices
                np.testing.assert_array_equal(indices, first)
                np.testing.assert_array_equal(
                    max_unpool(y, indices, x.shape[1:-1]), max_unpool(y.tolist(), indices.tolist(), x.shape[1:-1])
                    if x.dtype == np.float64 else max_unpool(y, indices, x.shape[1:-1])
                )  # fmt: skip


@pytest.mark.parametrize("name", POOLS)
def test_dtypes(name):
    x = small_integers(2, 6, 6, 4)
    for dtype in ("uint8", "bool", "int16", "int64", "float16", "float32"):
        given = np.abs(x).astype(dtype)
        before = given.copy()
        result = POOLS[name](given, 2)
        assert result.dtype == np.float32
        np.testing.assert_array_equal(result, POOLS[name](given.astype(np.float32), 2))
        np.testing.assert_array_equal(given, before)
    assert POOLS[name](x.astype(float), 2).dtype == np.float64
    assert POOLS[name](x.astype(float).tolist(), 2).dtype == np.float64


@pytest.mark.parametrize("name", POOLS)
def test_no_samples(name):
    result = POOLS[name](np.zeros((0, 6, 6, 4), np.float32), 2)
    assert len(result) == 0
    y, indices = max_pool(np.zeros((0, 6, 6, 4)), 2, return_indices=True)
    assert y.shape == indices.shape == (0, 3, 3, 4)
    assert max_unpool(y, indices, (6, 6)).shape == (0, 6, 6, 4)


@pytest.mark.parametrize("pool", [max_pool, avg_pool, lp_pool])
def test_out(pool):
    x = np.random.default_rng(0).standard_normal((2, 6, 6, 3), dtype=np.float32)
    expected = pool(x, 2)
    out = np.full_like(expected, np.nan)
    assert pool(x, 2, out=out) is out
    np.testing.assert_array_equal(out, expected)
    for wrong, error, message in [
        (np.zeros((2, 3, 3, 2), np.float32), ValueError, "out must have shape"),
        (np.zeros((2, 3, 3, 3)), ValueError, "dtype float32, got"),
        (np.zeros((2, 3, 3, 6), np.float32)[..., ::2], ValueError, "C-contiguous"),
        (x.reshape(-1)[: expected.size].reshape(expected.shape), ValueError, "out overlaps x"),
        (expected.tolist(), TypeError, "out must be a NumPy array"),
    ]:
        with pytest.raises(error, match=message):
            pool(x, 2, out=wrong)
    if pool is max_pool:
        out[...] = np.nan
        y, indices = max_pool(x, 2, return_indices=True, out=out)
        assert y is out and indices.shape == out.shape
        np.testing.assert_array_equal(out, expected)
        with pytest.raises(ValueError, match="out overlaps x"):
            max_pool(x, 2, return_indices=True, out=x.reshape(-1)[: expected.size].reshape(expected.shape))


# ---- hostile parameters ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, error, message",
    [
        (dict(stride=0), ValueError, "stride must be at least 1, got 0"),
        (dict(stride=-1), ValueError, "stride must be at least 1, got -1"),
        (dict(stride=(1, 2, 3)), ValueError, "stride must be an int or a tuple of 2 ints"),
        (dict(dilation=0), ValueError, "dilation must be at least 1, got 0"),
        (dict(dilation=-2), ValueError, "dilation must be at least 1, got -2"),
        (dict(padding=-1), ValueError, "padding must be at least 0, got -1"),
        (dict(padding=2**31), ValueError, "the limit is 2**40 elements"),
        (dict(padding=2**62), ValueError, "padding must be at least 0 and at most 2**40"),
        (dict(padding=2), ValueError, "padding=2 must be smaller than the pooling window, whose extent is 2"),
        (dict(padding="full"), ValueError, None),
        (dict(padding="SAME"), ValueError, "padding must be one of"),
        (dict(kernel_size=2**32), ValueError, "does not fit into a 6x7 image"),
        (dict(kernel_size=2**62), ValueError, "kernel_size must be at least 1 and at most 2**40"),
        (dict(kernel_size=0), ValueError, "kernel_size must be at least 1, got 0"),
        (dict(kernel_size=8), ValueError, "kernel_size=8 does not fit into a 6x7 image"),
        (dict(kernel_size=2.0), TypeError, "kernel_size must be an int or a tuple of 2 ints, got 2.0"),
        (dict(kernel_size="3"), TypeError, "kernel_size must be an int"),
        (dict(kernel_size=True), TypeError, "kernel_size must be an int"),
        (dict(kernel_size=None), TypeError, "kernel_size must be an int"),
        (dict(ceil_mode=1), TypeError, "ceil_mode must be a bool, got 1 (int)"),
    ],
)
def test_wrong_windows_raise(options, error, message):
    x = np.ones((2, 6, 7, 3), np.float32)
    for pool in (max_pool, avg_pool, lp_pool):
        if options == dict(padding="full"):  # every window touches the image: what was asked for
            assert pool(x, **dict(kernel_size=2, stride=1) | options).shape == (2, 7, 8, 3)
            continue
        with pytest.raises(error) as raised:
            pool(x, **dict(kernel_size=2) | options)
        assert message in str(raised.value)


def test_right_windows_do_not_raise():
    x = np.arange(42.0).reshape(1, 6, 7, 1)
    assert max_pool(x, np.int64(2), stride=np.uint8(3), padding=np.array(1)).shape == (1, 3, 3, 1)
    assert max_pool(x, 6, stride=2**40).ravel() == [40]
    # The last window would start behind the image: there is none. Where it starts in the image, it is kept.
    assert max_pool(x[:, :1, :5], (1, 2), stride=(1, 3), ceil_mode=True).ravel().tolist() == [1, 4]
    assert avg_pool(x[:, :1, :4], (1, 2), padding=(0, 1), stride=(1, 3), ceil_mode=True).shape == (1, 1, 2, 1)


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda x: max_pool(x, 2, return_indices=1), TypeError, "return_indices must be a bool"),
        (lambda x: avg_pool(x, 2, count_include_pad="no"), TypeError, "count_include_pad must be a bool"),
        (lambda x: lp_pool(x, 2, p=0.9), ValueError, "p must be at least 1, got 0.9"),
        (lambda x: lp_pool(x, 2, p=np.nan), ValueError, "p must be a finite number"),
        (lambda x: lp_pool(x, 2, p=None), TypeError, "p must be a real number"),
        (lambda x: global_pool(x, "mean"), ValueError, "kind must be one of 'average', 'max', 'lp'"),
        (lambda x: global_pool(x, p=0), ValueError, "p must be at least 1"),
        (lambda x: channel_pool(x, 2), ValueError, "n_pieces=2 must divide the number of channels, which is 3"),
        (lambda x: channel_pool(x, 0), ValueError, "n_pieces must be at least 1"),
        (lambda x: channel_pool(x, 3, "median"), ValueError, "kind must be one of"),
        (lambda x: max_pool(x[0, 0], 2), ValueError, "must have shape (n_samples, *spatial, n_channels)"),
        (lambda x: max_pool(x[:, :0], 2), ValueError, "holds empty images"),
        (lambda x: max_pool(x[..., :0], 2), ValueError, "holds empty images"),
        (lambda x: max_pool(x * 1j, 2), TypeError, "complex"),
        (lambda x: max_pool(np.ma.masked_array(x), 2), TypeError, "masked array"),
        (lambda x: max_pool(x.astype(str), 2), TypeError, "must hold numbers"),
        (lambda x: max_unpool(x, np.zeros(x.shape)), TypeError, "indices must hold integers"),
        (lambda x: max_unpool(x, np.zeros((2, 2), int)), ValueError, "indices must have the shape of y"),
        (lambda x: max_unpool(x, np.zeros(x.shape, int)), ValueError, "needs output_size or kernel_size"),
        (lambda x: max_unpool(x, np.zeros(x.shape, int), (6, 0)), ValueError, "output_size[1] must be at least 1"),
        (lambda x: max_unpool(x, np.zeros(x.shape, int), (6,)), ValueError, "output_size must be an int or a tuple"),
        (lambda x: max_unpool(x, np.zeros(x.shape, int), 2**40), ValueError, "more than 2**40 pixels"),
        (lambda x: max_unpool(x, np.zeros(x.shape, int), 2**19), MemoryError, "GiB"),
        (lambda x: max_unpool(x, np.full(x.shape, 36), (6, 6)), ValueError, "holds 36, but must lie between 0 and 35"),
        (lambda x: max_unpool(x, np.full(x.shape, -1), (6, 6)), ValueError, "indices holds -1, but"),
        (lambda x: max_unpool(x, np.full(x.shape, -(2**62)), (6, 6)), ValueError, "indices holds -4611686018427387904"),
        (lambda x: max_unpool(x, np.full(x.shape, 2**64 - 1, np.uint64), 6), ValueError, "beyond any image"),
        (lambda x: max_unpool(x, np.zeros(x.shape, int), kernel_size=2, padding=40), ValueError, "leaves nothing"),
        (lambda x: max_unpool(x, np.zeros(x.shape, int), kernel_size=2, padding="same"), TypeError, "padding must be"),
    ],
)
def test_wrong_arguments_raise(call, error, message):
    with pytest.raises(error) as raised:
        call(np.ones((2, 6, 7, 3), np.float32))
    assert message in str(raised.value)


def test_docstrings_share_their_windows():
    for function in (max_pool, avg_pool, lp_pool):
        text = inspect.getdoc(function)
        parameters = text[text.index("Parameters") : text.index("Returns")]
        for name in inspect.signature(function).parameters:
            assert f"\n{name} : " in parameters, name
        assert "{" not in text.replace('{"valid"', "")
