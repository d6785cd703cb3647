"""Convolutions as the matrices that they are, and what sharing their entries saves."""

import math
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array, csr_array

from .._geometry import MAX_ELEMENTS, check_bool, check_int, per_axis, resolve_window
from ._finite import tap_slices
from ._run import as_array, check_bytes, result_dtype
from .convolution import as_weights, bind
from .signal import result_range


def toeplitz_matrix(w, n, mode="full"):
    """Make the matrix of a discrete convolution of signals: ``matrix @ x`` is ``convolve(x, w, mode)``.

    Each row is the row above shifted by one value: ``matrix[i, j] = w[i - j]`` in mode "full", of which the other modes
    take rows from the middle.

    Parameters
    ----------
    w : array-like of shape (m,)
        The kernel.
    n : int
        Length of the signals.
    mode : {"full", "same", "valid"}, default="full"
        As for `convolve`.

    Returns
    -------
    matrix : scipy.sparse.csr_array of shape (n_outputs, n)
        float64 if `w` is, else float32.

    See Also
    --------
    convolve : The same without a matrix.
    doubly_block_circulant_matrix : Two dimensions, without edges.

    Notes
    -----
    The lecture writes the convolution of a padded signal as ``y[i] = sum over k of xp[i + m - k] * w[k]``, for k from 0
    to m - 1. With indices from 0 this runs one past the end: ``y[0]`` would begin with ``xp[m]``, the last ``y`` with a
    value behind the padded signal. It must read ``xp[i + m - 1 - k]``, and so it does here.

    Examples
    --------
    The lecture's matrix with 2 on the diagonal and -1 on both sides of it:

    >>> from skconv.functional import toeplitz_matrix
    >>> toeplitz_matrix([-1, 2, -1], 4, mode="same").toarray()
    array([[ 2., -1.,  0.,  0.],
           [-1.,  2., -1.,  0.],
           [ 0., -1.,  2., -1.],
           [ 0.,  0., -1.,  2.]], dtype=float32)
    """
    w = as_array(w, "w")
    if w.ndim != 1 or w.size == 0:
        raise ValueError(f"w must be a kernel of shape (m,) with at least one value, got shape {w.shape}")
    n = check_int(n, "n", minimum=1, maximum=MAX_ELEMENTS)
    (first,), (size,) = result_range((n,), w.shape, mode)
    dtype = result_dtype(w)
    _check_entries(min(n, len(w)) * size)
    # Row i holds w[i - j] for all j from i - m + 1 to i that are columns.
    row = np.arange(first, first + size)
    start = np.maximum(row - len(w) + 1, 0)
    counts = np.minimum(row, n - 1) + 1 - start
    n_entries = int(counts.sum())
    pointers = np.concatenate([[0], np.cumsum(counts)])
    columns = np.arange(n_entries) - np.repeat(pointers[:-1] - start, counts)
    values = w[np.repeat(row, counts) - columns].astype(dtype, copy=False)
    return csr_array((values, columns, pointers), shape=(size, n))


def doubly_block_circulant_matrix(k, shape):
    """Make the matrix of a circular convolution of images: ``matrix @ x.ravel()`` wraps around at the edges.

    ``y[i, j] = sum over m, n of k[m, n] * x[(i - m) mod height, (j - n) mod width]``: a circulant matrix of blocks that
    are circulant matrices. The origin of the kernel is its index (0, 0), so the result equals
    ``ifft2(fft2(x) * fft2(k, shape))``.

    Parameters
    ----------
    k : array-like of one to three dimensions
        The kernel, which may be larger than the image. With one dimension the matrix is circulant.
    shape : tuple of int
        Shape of the images, (height, width).

    Returns
    -------
    matrix : scipy.sparse.csr_array of shape (prod(shape), prod(shape))
        float64 if `k` is, else float32.

    See Also
    --------
    toeplitz_matrix : One dimension, with zeros beyond the edges.
    convolution_matrix : What `conv` does, with channels, strides and padding.

    Examples
    --------
    >>> from skconv.functional import doubly_block_circulant_matrix
    >>> doubly_block_circulant_matrix([[1, 2]], (2, 3)).toarray().astype(int)
    array([[1, 0, 2, 0, 0, 0],
           [2, 1, 0, 0, 0, 0],
           [0, 2, 1, 0, 0, 0],
           [0, 0, 0, 1, 0, 2],
           [0, 0, 0, 2, 1, 0],
           [0, 0, 0, 0, 2, 1]])
    """
    k = as_array(k, "k")
    if not 1 <= k.ndim <= 3 or k.size == 0:
        raise ValueError(f"k must be a kernel of one to three dimensions and not empty, got shape {k.shape}")
    shape = per_axis(shape, "shape", k.ndim, 1, MAX_ELEMENTS)
    n, dtype = math.prod(shape), result_dtype(k)
    _check_entries(n * k.size)
    pixels = np.arange(n).reshape(shape)
    axes = tuple(range(k.ndim))
    columns = [np.roll(pixels, tap, axes).reshape(-1) for tap in np.ndindex(*k.shape)]
    values = np.repeat(k.reshape(-1).astype(dtype, copy=False), n)
    rows = np.tile(pixels.reshape(-1), k.size)
    return coo_array((values, (rows, np.concatenate(columns))), shape=(n, n)).tocsr()  # adds what wraps onto itself


def convolution_matrix(weights, image_shape, *, stride=1, padding="valid", dilation=1, groups=1):
    """Make the matrix of `conv`: ``matrix @ x.ravel()`` is ``conv(x[np.newaxis], weights, ...).ravel()``.

    As in `conv`, the kernel is not flipped. The transposed matrix is that of `conv_transpose`.

    Parameters
    ----------
    weights : array-like of shape ``(n_filters, *kernel, n_channels // groups)``
    image_shape : tuple of int
        ``(*spatial, n_channels)``.
    stride, padding, dilation, groups
        As for `conv`.

    Returns
    -------
    matrix : scipy.sparse.csr_array of shape (prod(output) * n_filters, prod(image_shape))
        float64 if `weights` are, else float32. Zero weights are stored, too.

    See Also
    --------
    conv : The same without a matrix.
    n_parameters : How many entries of the matrix differ.

    Examples
    --------
    >>> from skconv.functional import convolution_matrix
    >>> convolution_matrix([[[-1], [1]]], (4, 1)).toarray().astype(int)
    array([[-1,  1,  0,  0],
           [ 0, -1,  1,  0],
           [ 0,  0, -1,  1]])
    """
    if not isinstance(image_shape, tuple | list) or not 2 <= len(image_shape) <= 4:
        raise ValueError(
            f"image_shape must be (*spatial, n_channels) with one to three spatial axes, got {image_shape!r}"
        )
    image_shape = per_axis(image_shape, "image_shape", len(image_shape), 1, MAX_ELEMENTS)
    weights = as_weights(weights, len(image_shape) + 1)
    bound = bind(image_shape, weights.shape, False, 0, stride, padding, "constant", dilation, groups, "direct")
    dtype = result_dtype(weights)
    weights = weights.astype(dtype, copy=False)
    n_filters, per_group = weights.shape[0], weights.shape[-1]
    output, image = bound.out_shape[:-1], image_shape[:-1]

    taps = list(tap_slices(bound.operations[-1].window, image, output))
    hits = sum(math.prod(part.stop - part.start for part in o) for _, o, _ in taps)
    _check_entries(hits * n_filters * per_group, math.prod(bound.out_shape))
    outputs, pixels = (np.arange(math.prod(size)).reshape(size) for size in (output, image))
    filters = np.arange(n_filters)[:, np.newaxis]
    channels = filters // (n_filters // groups) * per_group + np.arange(per_group)  # (n_filters, per_group)
    rows, columns, values = [], [], []
    for k, o, p in taps:
        row = outputs[o].reshape(-1, 1, 1) * n_filters + filters
        column = pixels[p].reshape(-1, 1, 1) * image_shape[-1] + channels
        rows.append(np.broadcast_to(row, column.shape).reshape(-1))
        columns.append(column.reshape(-1))
        values.append(np.broadcast_to(weights[:, *k], column.shape).reshape(-1))
    shape = (math.prod(bound.out_shape), math.prod(image_shape))
    rows, columns = (np.concatenate(parts or [np.zeros(0, np.intp)]) for parts in (rows, columns))
    return coo_array((np.concatenate(values or [np.zeros(0, dtype)]), (rows, columns)), shape=shape).tocsr()


class ParameterCounts(NamedTuple):
    """What `n_parameters` returns: the numbers of a convolution and of the fully connected layer of its sizes."""

    convolution: int
    fully_connected: int


def n_parameters(image_shape, kernel_size, n_filters, *, stride=1, padding="same", dilation=1, groups=1, bias=True):
    """Count the parameters of a convolution, and of the fully connected layer between images of the same sizes.

    Parameters
    ----------
    image_shape : tuple of int
        ``(*spatial, n_channels)``.
    kernel_size : int or tuple of int
    n_filters : int
    stride, padding, dilation, groups
        As for `conv`.
    bias : bool, default=True
        Whether the convolution has a bias per filter.

    Returns
    -------
    counts : ParameterCounts
        ``convolution``: prod(kernel) * n_channels // groups * n_filters, and n_filters biases;
        ``fully_connected``: prod(image_shape) * prod(output) * n_filters, the entries of its matrix without biases, as
        the lecture counts them.

    Examples
    --------
    The lecture's example of three channels and five filters, with 3x3 kernels on images of 32x32 pixels:

    >>> from skconv.functional import n_parameters
    >>> n_parameters((32, 32, 3), 3, 5)
    ParameterCounts(convolution=140, fully_connected=15728640)
    """
    if not isinstance(image_shape, tuple | list) or not 2 <= len(image_shape) <= 4:
        raise ValueError(
            f"image_shape must be (*spatial, n_channels) with one to three spatial axes, got {image_shape!r}"
        )
    *size, n_channels = per_axis(image_shape, "image_shape", len(image_shape), 1, MAX_ELEMENTS)
    n_filters = check_int(n_filters, "n_filters", 1, MAX_ELEMENTS)
    groups = check_int(groups, "groups", 1, MAX_ELEMENTS)
    for number, name in ((n_channels, "n_channels"), (n_filters, "n_filters")):
        if number % groups:
            raise ValueError(f"groups={groups} must divide {name}={number}")
    window = resolve_window(tuple(size), kernel_size=kernel_size, stride=stride, padding=padding, dilation=dilation)
    n_biases = n_filters if check_bool(bias, "bias") else 0
    outputs = math.prod(window.output_size(tuple(size))) * n_filters
    return ParameterCounts(
        math.prod(window.kernel_size) * (n_channels // groups) * n_filters + n_biases,
        math.prod(size) * n_channels * outputs,
    )


def _check_entries(n, n_rows=0):
    """Refuse a matrix that fits no memory: row, column and value of every entry, twice while it is put in order.

    `n_rows` is to be given where rows may be empty.
    """
    rows = f" in {n_rows} rows" if n_rows else ""
    check_bytes(2 * n * 24 + 2 * n_rows * 8, f"a sparse matrix of {n} entries{rows}")
