"""Convolution and correlation of plain arrays, without samples and channels, as in `scipy.signal`."""

import math

import numpy as np

from .._geometry import check_choice
from ._run import as_array
from .convolution import conv

MODES = ("full", "same", "valid")


def convolve(a, k, mode="full"):
    """Convolve two signals, images or volumes, the kernel flipped.

    The lecture's sum, which is commutative because the kernel is flipped::

        y[i] = sum over j of a[i - j] * k[j]

    where both are zero outside their range.

    Parameters
    ----------
    a, k : array-like of one to three dimensions, as many as each other
    mode : {"full", "same", "valid"}, default="full"
        "full": all sums that are not empty, n + m - 1 along an axis of n and m values; "same": the n in the middle of
        them, where (m - 1) // 2 are left out before; "valid": those where one array lies inside the other, which one
        must do along all axes.

    Returns
    -------
    y : ndarray
        float64 if either array is, else float32.

    See Also
    --------
    correlate : The same without flipping the kernel.
    conv : Batches with channels, strides and dilation.
    toeplitz_matrix : The convolution of signals as a matrix.

    Notes
    -----
    Equal to `scipy.signal.convolve` with ``method="direct"``, which has integers for integers where this has float32
    (exact below 2**24). Costs a multiply-add per value of the result and of the smaller array.

    Examples
    --------
    >>> from skconv.functional import convolve
    >>> convolve([1, 2, 3], [0, 1, 0.5])
    array([0. , 1. , 2.5, 4. , 1.5])
    >>> convolve([1, 2, 3], [0, 1, 0.5], mode="same")
    array([1. , 2.5, 4. ])
    """
    return _convolve(*_read(a, k), mode)


def correlate(a, k, mode="full"):
    """Cross-correlate two signals, images or volumes: slide the kernel over the array without flipping it.

    The lecture's second sum, shifted so that the result begins at 0 ("full": m - 1 pixels earlier)::

        y[i] = sum over j of a[i + j] * k[j]

    Parameters
    ----------
    a, k : array-like of one to three dimensions, as many as each other
    mode : {"full", "same", "valid"}, default="full"
        As for `convolve`. With "same", the middle of an even kernel is the value after the middle (SciPy's choice;
        ``conv(padding="same")`` takes the one before it, as ONNX does).

    Returns
    -------
    y : ndarray
        float64 if either array is, else float32.

    See Also
    --------
    convolve : The same with the kernel flipped; its notes hold here, too.

    Examples
    --------
    >>> from skconv.functional import correlate
    >>> correlate([1, 4, 9, 16, 25], [-1, 1], mode="valid")
    array([3., 5., 7., 9.], dtype=float32)
    """
    a, k = _read(a, k)
    return _convolve(a, np.flip(k), mode)


def _read(a, k):
    a, k = as_array(a, "a"), as_array(k, "k")
    for array, name in ((a, "a"), (k, "k")):
        if not 1 <= array.ndim <= 3:
            raise ValueError(f"{name} must have one to three dimensions, got shape {array.shape}")
        if array.size == 0:
            raise ValueError(f"{name} of shape {array.shape} is empty")
    if a.ndim != k.ndim:
        raise ValueError(f"a and k must have as many dimensions as each other, got shapes {a.shape} and {k.shape}")
    return a, k


def _convolve(a, k, mode):
    first, size = result_range(a.shape, k.shape, mode)
    dtype = "float64" if "d" in (a.dtype.char, k.dtype.char) else "float32"
    # Value i of the full convolution sums a[i - m + 1], ..., a[i]: the kernel should be the smaller one.
    if math.prod(k.shape) > math.prod(a.shape):
        a, k = k, a
    inside, padding = [], []
    for i, count, n, m in zip(first, size, a.shape, k.shape, strict=True):
        start, stop = i - m + 1, i + count
        inside.append(slice(max(start, 0), min(stop, n)))
        padding.append((max(-start, 0), max(stop - n, 0)))
    x = a[tuple(inside)]
    if x.dtype != np.uint8 or dtype == "float64":
        x = x.astype(dtype, copy=False)
    y = conv(x[np.newaxis, ..., np.newaxis], np.flip(k)[np.newaxis, ..., np.newaxis], padding=tuple(padding))
    return y[0, ..., 0]


def result_range(a, k, mode):
    """First index and size of a mode's result within the full convolution of arrays of shapes `a` and `k`."""
    check_choice(mode, "mode", MODES)
    if mode == "full":
        return (0,) * len(a), tuple(n + m - 1 for n, m in zip(a, k, strict=True))
    if mode == "same":
        return tuple((m - 1) // 2 for m in k), tuple(a)
    pairs = list(zip(a, k, strict=True))
    if not (all(n >= m for n, m in pairs) or all(n <= m for n, m in pairs)):
        raise ValueError(
            f"mode='valid' needs one array at least as large as the other along every axis, got shapes {a} and {k}; "
            "use mode='full' or 'same'"
        )
    return tuple(min(pair) - 1 for pair in pairs), tuple(max(pair) - min(pair) + 1 for pair in pairs)
