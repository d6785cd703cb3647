"""Pooling of batches with channels: over windows, over whole images, over channels; and the way back of the maximum."""

import math

import numpy as np

from .._engine import effective_n_threads, kernels
from .._engine.pooling import max_pool_indices
from .._engine.pooling import max_unpool as scatter
from .._geometry import MAX_ELEMENTS, check_bool, check_choice, check_int, check_real, per_axis, window_in_3d
from .._network import THREAD_WORK
from .._pooling import KINDS, pool_all, pool_channels, pool_windows
from ._run import as_images, check_out, check_size, result_dtype, run


def max_pool(
    x, kernel_size, *, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False, out=None
):  # fmt: skip
    """Take the largest value of every window, channel by channel.

    Windows are clipped to the image: padding never wins. NaN wins over every number; a window of nothing but -inf
    gives -inf; of equal values the first one counts, in C order of the window.

    Parameters
    ----------
    {windows}
    return_indices : bool, default=False
        Whether to tell where the values stood, too.
    out : ndarray, default=None
        C-contiguous, of the shape and dtype of the result, which is written to it; must not overlap `x`.

    Returns
    -------
    y : ndarray of shape ``(n_samples, *output, n_channels)``, float64 for float64, else float32
    indices : ndarray of intp, of the shape of `y`
        With `return_indices`: position of every value in its sample and channel, counted in C order over the spatial
        axes of `x`, without padding (PyTorch; ONNX counts over the whole array). `max_unpool` takes them.

    Raises
    ------
    TypeError, ValueError
        If a parameter or `x` is wrong, the window does not fit, or its padding is not smaller than the window.

    Examples
    --------
    >>> import numpy as np
    >>> from skconv.functional import max_pool
    >>> x = np.array([3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0]).reshape(1, 7, 1)
    >>> y, indices = max_pool(x, 3, stride=2, ceil_mode=True, return_indices=True)
    >>> y.ravel(), indices.ravel()
    (array([4., 5., 9.]), array([2, 4, 5]))
    """
    images = as_images(x)
    operation = pool_windows(
        images.shape[1:], "max", kernel_size=kernel_size, stride=stride, padding=padding, dilation=dilation,
        ceil_mode=ceil_mode,
    )  # fmt: skip
    return_indices = check_bool(return_indices, "return_indices")
    if not return_indices:
        return _run([operation], x, images, out)
    images = images.astype(result_dtype(images), copy=False)
    y = _result(operation, x, images, out)
    check_size(y.shape, np.dtype(np.intp))
    indices = np.empty(y.shape, dtype=np.intp)
    ones = (1,) * (5 - images.ndim)
    max_pool_indices(
        kernels(images.dtype.name), window_in_3d(operation.window), ones + images.shape[1:-1], ones + y.shape[1:-1],
        images.shape[-1], images, y, indices.reshape(-1), n_threads=_n_threads(images.size),
    )  # fmt: skip
    return y, indices


def avg_pool(
    x, kernel_size, *, stride=None, padding=0, dilation=1, ceil_mode=False, count_include_pad=False, out=None
):  # fmt: skip
    """Take the mean of every window, channel by channel.

    Parameters
    ----------
    {windows}
    count_include_pad : bool, default=False
        Whether padded pixels count as zeros, instead of not at all. What a last window of `ceil_mode` overhangs beyond
        the padding never counts (ONNX, PyTorch).
    out : ndarray, default=None
        As in `max_pool`.

    Returns
    -------
    y : ndarray of shape ``(n_samples, *output, n_channels)``, float64 for float64, else float32

    Raises
    ------
    TypeError, ValueError
        As in `max_pool`.

    Examples
    --------
    >>> import numpy as np
    >>> from skconv.functional import avg_pool
    >>> x = np.array([3.0, 1.0, 4.0, 2.0]).reshape(1, 4, 1)
    >>> avg_pool(x, 2).ravel()
    array([2., 3.])
    >>> avg_pool(x, 3, stride=2, padding=1).ravel()
    array([2.        , 2.33333333])
    >>> avg_pool(x, 3, stride=2, padding=1, count_include_pad=True).ravel()
    array([1.33333333, 2.33333333])
    """
    images = as_images(x)
    operation = pool_windows(
        images.shape[1:], "average", kernel_size=kernel_size, stride=stride, padding=padding, dilation=dilation,
        ceil_mode=ceil_mode, count_include_pad=check_bool(count_include_pad, "count_include_pad"),
    )  # fmt: skip
    return _run([operation], x, images, out)


def lp_pool(x, kernel_size, *, p=2, stride=None, padding=0, dilation=1, ceil_mode=False, out=None):
    """Take the p-norm of every window, channel by channel: ``(sum |x|^p)^(1/p)``.

    p=1 is the sum of magnitudes, p=2 the Euclidean norm. (PyTorch leaves the magnitude out, so that its norms of odd p
    differ, and may be NaN; ONNX has it.)

    Parameters
    ----------
    {windows}
    p : float, default=2
        At least 1. p=1 and p=2 are sums as they stand, and squares beyond the largest number are infinite; for other p
        the window is scaled by its largest magnitude, and nothing overflows that need not.
    out : ndarray, default=None
        As in `max_pool`.

    Returns
    -------
    y : ndarray of shape ``(n_samples, *output, n_channels)``, float64 for float64, else float32

    Raises
    ------
    TypeError, ValueError
        As in `max_pool`.

    Examples
    --------
    >>> import numpy as np
    >>> from skconv.functional import lp_pool
    >>> lp_pool(np.array([3.0, -4.0, 5.0, 12.0]).reshape(1, 4, 1), 2).ravel()
    array([ 5., 13.])
    """
    images = as_images(x)
    operation = pool_windows(
        images.shape[1:], "lp", p=check_real(p, "p", minimum=1), kernel_size=kernel_size, stride=stride,
        padding=padding, dilation=dilation, ceil_mode=ceil_mode,
    )  # fmt: skip
    return _run([operation], x, images, out)


def global_pool(x, kind="average", p=2):
    """Summarise every channel of every sample in one number.

    Parameters
    ----------
    x : array-like of shape ``(n_samples, *spatial, n_channels)``, one to three spatial axes
        As in `max_pool`.
    kind : {"average", "max", "lp"}, default="average"
        "lp" is the p-norm ``(sum |x|^p)^(1/p)``.
    p : float, default=2
        For ``kind="lp"``, at least 1.

    Returns
    -------
    y : ndarray of shape (n_samples, n_channels), float64 for float64, else float32

    Examples
    --------
    >>> import numpy as np
    >>> from skconv.functional import global_pool
    >>> x = np.arange(12.0).reshape(1, 3, 2, 2)
    >>> global_pool(x), global_pool(x, "max")
    (array([[5., 6.]]), array([[10., 11.]]))
    """
    images = as_images(x)
    kind = check_choice(kind, "kind", KINDS)
    return _run(pool_all(images.shape[1:], kind, p=check_real(p, "p", minimum=1)), x, images)


def channel_pool(x, n_pieces, kind="max", p=2):
    """Pool over groups of `n_pieces` consecutive channels; the maximum is maxout [1]_.

    Parameters
    ----------
    x : array-like of shape ``(n_samples, *spatial, n_channels)``, one to three spatial axes
        As in `max_pool`.
    n_pieces : int
        Channels of a group; must divide the number of channels.
    kind : {"max", "average", "lp"}, default="max"
        "lp" is the p-norm ``(sum |x|^p)^(1/p)``.
    p : float, default=2
        For ``kind="lp"``, at least 1.

    Returns
    -------
    y : ndarray of shape ``(n_samples, *spatial, n_channels // n_pieces)``, float64 for float64, else float32

    References
    ----------
    .. [1] Goodfellow, Warde-Farley, Mirza, Courville and Bengio, "Maxout networks", ICML 2013.

    Examples
    --------
    >>> import numpy as np
    >>> from skconv.functional import channel_pool
    >>> channel_pool(np.array([3.0, -4.0, 1.0, 2.0]).reshape(1, 1, 4), 2).ravel()
    array([3., 2.])
    """
    images = as_images(x)
    n_channels = images.shape[-1]
    n_pieces = check_int(n_pieces, "n_pieces", minimum=1, maximum=MAX_ELEMENTS)
    kind = check_choice(kind, "kind", KINDS)
    p = check_real(p, "p", minimum=1)
    if n_channels % n_pieces:
        raise ValueError(f"n_pieces={n_pieces} must divide the number of channels, which is {n_channels} here")
    return _run(pool_channels(images.shape[1:], n_pieces, kind, p=p), x, images)


def max_unpool(y, indices, output_size=None, *, kernel_size=None, stride=None, padding=0, dilation=1):
    """Put pooled maxima back where they stood, and zeros everywhere else.

    Parameters
    ----------
    y : array-like of shape ``(n_samples, *pooled, n_channels)``, one to three spatial axes
        What `max_pool` gave, or anything in its shape.
    indices : array-like of int, of the shape of `y`
        Positions in the flattened spatial axes of the result, as ``max_pool(..., return_indices=True)`` gives them.
        Where a position occurs twice, the last one in C order counts.
    output_size : int or tuple of int, default=None
        Spatial sizes of the result. None means the smallest image that the windows tile, for which `kernel_size`
        is needed.
    kernel_size : int or tuple of int, default=None
    stride : int, tuple of int or None, default=None
        None means kernel_size.
    padding : int or tuple of int, default=0
    dilation : int or tuple of int, default=1
        As in `max_pool`, for an `output_size` of None.

    Returns
    -------
    x : ndarray of shape ``(n_samples, *output_size, n_channels)``, float64 for float64, else float32

    Raises
    ------
    TypeError, ValueError
        If an index lies outside of the result, or shapes do not agree.

    Examples
    --------
    >>> import numpy as np
    >>> from skconv.functional import max_pool, max_unpool
    >>> x = np.array([3.0, 1.0, 4.0, 5.0]).reshape(1, 4, 1)
    >>> y, indices = max_pool(x, 2, return_indices=True)
    >>> max_unpool(y, indices, kernel_size=2).ravel()
    array([3., 0., 0., 5.])
    """
    values = as_images(y, "y")
    values = values.astype(result_dtype(values), copy=False)
    positions = _as_positions(indices, values.shape)
    size = _unpooled_size(values.shape[1:-1], output_size, kernel_size, stride, padding, dilation)
    n_samples, n_channels = values.shape[0], values.shape[-1]
    shape = (n_samples, *size, n_channels)
    check_size(shape, values.dtype)
    x = np.zeros(shape, dtype=values.dtype)
    flat = (n_samples, math.prod(values.shape[1:-1]), n_channels)
    wrong = scatter(
        values.reshape(flat), positions.reshape(flat), x.reshape(n_samples, math.prod(size), n_channels),
        n_threads=min(_n_threads(x.size), max(n_samples, 1)),
    )  # fmt: skip
    if wrong is not None:
        raise ValueError(
            f"indices holds {wrong}, but must lie between 0 and {math.prod(size) - 1}, the last pixel of "
            f"output_size={size}"
        )
    return x


def _run(operations, x, images, out=None):
    shape, dtype = (len(images), *operations[-1].out_shape), result_dtype(images)
    if out is not None:
        check_out(out, shape, dtype, x=(x, images))
    else:
        check_size(shape, dtype)
    return run(tuple(operations), (), images, out)


def _result(operation, x, images, out):
    """An array for the result, or `out`, checked."""
    shape = (len(images), *operation.out_shape)
    if out is not None:
        check_out(out, shape, images.dtype, x=(x, images))
        return out
    check_size(shape, images.dtype)
    return np.empty(shape, dtype=images.dtype)


def _n_threads(work):
    return max(1, min(effective_n_threads(), work // THREAD_WORK))


def _as_positions(indices, shape):
    """Indices as C-contiguous intp of a shape."""
    array = np.asarray(indices)
    if array.dtype.kind not in "iu":
        raise TypeError(
            f"indices must hold integers, as max_pool(..., return_indices=True) gives them, got {array.dtype}"
        )
    if array.shape != shape:
        raise ValueError(f"indices must have the shape of y, which is {shape}, got {array.shape}")
    if array.dtype.kind == "u" and array.size and array.max() > MAX_ELEMENTS:
        raise ValueError(f"indices holds {array.max()}, which is beyond any image")  # and would not fit into intp
    return np.require(array, dtype=np.intp, requirements=("C_CONTIGUOUS", "ALIGNED"))


def _unpooled_size(pooled, output_size, kernel_size, stride, padding, dilation):
    """Spatial sizes of an unpooled image."""
    ndim = len(pooled)
    if output_size is not None:
        size = per_axis(output_size, "output_size", ndim, 1, MAX_ELEMENTS)
    else:
        if kernel_size is None:
            raise ValueError("max_unpool needs output_size or kernel_size, got None for both")
        kernel_size = per_axis(kernel_size, "kernel_size", ndim, 1, MAX_ELEMENTS)
        stride = kernel_size if stride is None else per_axis(stride, "stride", ndim, 1, MAX_ELEMENTS)
        padding = per_axis(padding, "padding", ndim, 0, MAX_ELEMENTS)
        dilation = per_axis(dilation, "dilation", ndim, 1, MAX_ELEMENTS)
        size = tuple(
            (n - 1) * s - 2 * pad + (k - 1) * d + 1
            for n, s, pad, k, d in zip(pooled, stride, padding, kernel_size, dilation, strict=True)
        )
        if min(size) < 1:
            raise ValueError(f"padding={padding} leaves nothing of an image that {pooled} windows tile; got {size}")
    if math.prod(size) > MAX_ELEMENTS:
        raise ValueError(f"output_size={size} has more than 2**40 pixels")
    return size


_WINDOWS = """x : array-like of shape ``(n_samples, *spatial, n_channels)``, one to three spatial axes
        float64 is computed in float64, all else in float32 (integers above 2**24 are rounded). Any memory layout;
        never written to.
    kernel_size : int or tuple of int
        Extent of the windows in pixels.
    stride : int, tuple of int or None, default=None
        Pixels from one window to the next; None means kernel_size.
    padding : {"valid", "same", "same_lower", "full"}, int, tuple of int or of (before, after) pairs, default=0
        How far the first and last window may hang over the image; less than the window. "same" gives
        ceil(size / stride) windows, the odd pixel after the image (ONNX's SAME_UPPER); "full" takes every window that
        touches the image.
    dilation : int or tuple of int, default=1
        Distance of the pixels of a window.
    ceil_mode : bool, default=False
        Whether to keep a smaller last window; it must start inside the image or its left padding."""

for _function in (max_pool, avg_pool, lp_pool):
    if _function.__doc__:  # not under python -OO
        _function.__doc__ = _function.__doc__.replace("{windows}", _WINDOWS)
