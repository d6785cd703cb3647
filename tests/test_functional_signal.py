"""`convolve` and `correlate` against scipy.signal, bit for bit on integers."""

import itertools

import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from skconv.functional import conv, convolve, correlate

MODES = ("full", "same", "valid")
PAIRS = [(convolve, scipy.signal.convolve), (correlate, scipy.signal.correlate)]
# Smaller, equal and larger kernels, even and odd, in every combination of axes.
SIZES = {1: range(1, 8), 2: (1, 2, 3, 6), 3: (1, 2, 3)}


def integers(shape, seed=0):
    return np.random.default_rng([seed, *shape]).integers(-8, 9, size=shape)


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("ours, theirs", PAIRS)
def test_equals_scipy(ndim, mode, ours, theirs):
    n_compared = n_refused = 0
    for shape in itertools.product(SIZES[ndim], repeat=ndim):
        a = integers(shape)
        for kernel in itertools.product(SIZES[ndim], repeat=ndim):
            k = integers(kernel, seed=1)
            try:
                expected = theirs(a, k, mode, method="direct")
            except ValueError:
                with pytest.raises(ValueError, match="mode='valid' needs one array at least as large"):
                    ours(a, k, mode)
                n_refused += 1
                continue
            y = ours(a, k, mode)
            assert y.dtype == np.float32
            assert_array_equal(y, expected, f"{shape} {kernel}")
            n_compared += 1
    assert n_compared
    assert (n_refused > 0) == (mode == "valid" and ndim > 1)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=2), st.lists(st.integers(1, 40), min_size=2, max_size=2),
       st.sampled_from(MODES[:2]))  # fmt: skip
def test_equals_scipy_at_larger_sizes(shape, kernel, mode):
    a, k = integers(shape), integers(kernel[: len(shape)], seed=1)
    for ours, theirs in PAIRS:
        assert_array_equal(ours(a, k, mode), theirs(a, k, mode, method="direct"))


@pytest.mark.parametrize("function", [convolve, correlate])
def test_dtypes(function):
    for a, k, expected in [("u1", "u1", "f4"), ("u1", "f8", "f8"), ("f8", "u1", "f8"), ("f4", "f8", "f8"),
                           ("i8", "f4", "f4"), ("?", "f2", "f4")]:  # fmt: skip
        y = function(np.array([1, 0, 1]).astype(a), np.array([1, 1]).astype(k))
        assert y.dtype == expected
        assert_array_equal(y, [1, 1, 1, 1])


def test_float64_is_not_rounded():
    a, k = np.array([1.0, 2.0**-40]), np.array([1.0])
    assert_array_equal(convolve(a, k), a)
    assert_array_equal(convolve(k.astype(np.float32), a), a)


def test_convolution_commutes():
    rng = np.random.default_rng(0)
    a, k = rng.normal(size=(9, 8)).astype(np.float32), rng.normal(size=(4, 5)).astype(np.float32)
    assert_array_equal(convolve(a, k), convolve(k, a))
    assert_array_equal(convolve(a, k, "valid"), convolve(k, a, "valid"))
    a, k = integers((9, 8)), integers((4, 5))
    assert_array_equal(correlate(a, k), correlate(k, a)[::-1, ::-1])


@pytest.mark.parametrize("n, m", [(7, 2), (7, 3), (8, 4), (8, 5)])
def test_same_is_same_lower_of_conv(n, m):
    a, k = integers((n,)), integers((m,), seed=1)
    x = a.reshape(1, -1, 1)
    assert_array_equal(correlate(a, k, "same"), conv(x, k.reshape(1, -1, 1), padding="same_lower").ravel())
    assert_array_equal(convolve(a, k, "same"), conv(x, k[::-1].reshape(1, -1, 1), padding="same_lower").ravel())
    is_even = m % 2 == 0
    assert is_even == (correlate(a, k, "same") != conv(x, k.reshape(1, -1, 1), padding="same").ravel()).any()


@pytest.mark.parametrize("function", [convolve, correlate])
def test_layouts_and_inputs(function):
    a, k = integers((9, 8)).astype(np.float32), integers((3, 4), seed=1).astype(np.float32)
    expected = function(a, k)
    a.flags.writeable = k.flags.writeable = False
    for array in (np.asfortranarray(a), np.repeat(a, 2, axis=1)[:, ::2], a[::-1].copy()[::-1], a.astype(">f4")):
        assert_array_equal(function(array, k), expected)
    for array in (np.asfortranarray(k), k.tolist()):
        assert_array_equal(function(a, array), expected)


def test_not_finite_numbers_stay_where_they_are():
    a = np.arange(9.0)
    a[4] = np.nan
    for ours, theirs in PAIRS:
        for mode in MODES:
            assert_array_equal(ours(a, [1.0, 2.0, 3.0], mode), theirs(a, [1.0, 2.0, 3.0], mode, method="direct"))
    # In SciPy, an infinite kernel meets the zeros of the padding; here it does not.
    assert_array_equal(convolve([1.0, 2.0], [np.inf, 1.0]), [np.inf, np.inf, 2])


@pytest.mark.parametrize(
    "a, k, mode, error, message",
    [
        ([], [1], "full", ValueError, r"a of shape \(0,\) is empty"),
        ([1], np.zeros((2, 0)), "full", ValueError, r"k of shape \(2, 0\) is empty"),
        (1.0, [1], "full", ValueError, "a must have one to three dimensions"),
        ([1], np.zeros((1,) * 4), "full", ValueError, "k must have one to three dimensions"),
        ([1], [[1]], "full", ValueError, "as many dimensions as each other"),
        ([1], [1], "some", ValueError, "mode must be one of 'full', 'same', 'valid'"),
        ([1], [1j], "full", TypeError, "k is complex"),
    ],
)
@pytest.mark.parametrize("function", [convolve, correlate])
def test_bad_input(function, a, k, mode, error, message):
    with pytest.raises(error, match=message):
        function(a, k, mode)
