"""Convolution of batches with channels, its adjoint, and what will run."""

import functools
import math
from dataclasses import dataclass, replace

import numpy as np

from .._algorithms import choose_algorithm
from .._geometry import MAX_ELEMENTS, Window, check_choice, check_int, check_real, per_axis, resolve_window
from .._network import Network
from .._operations import ALGORITHMS, PADDING_MODES, Convolution, Pad
from ._finite import conv_where_the_image_is, is_finite, mend, transpose_where_the_image_is
from ._run import as_array, as_images, check_out, check_size, is_plain, result_dtype, run


@dataclass(frozen=True)
class Bound:
    """A call of `conv` or `conv_transpose` for one shape of image and weights, every parameter checked."""

    operations: tuple
    direct: tuple | None  # the same pixel by pixel, where the algorithm chosen mixes pixels
    out_shape: tuple  # of one sample
    pads_zeros: bool  # whether taps fall on zeros outside the image


def conv(
    x, weights, bias=None, *, stride=1, padding="valid", padding_mode="constant", constant_values=0, dilation=1,
    groups=1, algorithm="auto", out=None,
):  # fmt: skip
    """Convolve a batch of signals, images or volumes with a bank of filters.

    Cross-correlation, as in every network: the kernel is not flipped (`convolve` flips it). With p before the image::

        y[n, o, f] = bias[f] + sum over k, c of x[n, o * stride - p + k * dilation, c] * weights[f, k, c]

    Parameters
    ----------
    x : array-like of shape ``(n_samples, *spatial, n_channels)``, one to three spatial axes
        float64 is computed in float64, all else in float32 (integers above 2**24 are rounded). Any memory layout;
        never written to. Long doubles become float64.
    weights : array-like of shape ``(n_filters, *kernel, n_channels // groups)``
    bias : array-like of shape (n_filters,), default=None
    stride : int or tuple of int, default=1
        Pixels from one window to the next.
    padding : {"valid", "same", "same_lower", "full"}, int, tuple of int or of (before, after) pairs, default="valid"
        Pixels added around the image. "valid" adds none. "same" gives ceil(size / stride) windows, the odd pixel of
        the padding after the image (ONNX's SAME_UPPER); "same_lower" puts it before the image. "full" takes every
        window that touches the image. See the notes for where this differs from SciPy.
    padding_mode : {"constant", "reflect", "symmetric", "edge", "wrap"}, default="constant"
        What the added pixels hold, in the words of `numpy.pad`.
    constant_values : float, default=0
        Value of the pixels that ``padding_mode="constant"`` adds.
    dilation : int or tuple of int, default=1
        Distance of the taps of a filter.
    groups : int, default=1
        Channels and filters fall into so many groups, each of which sees only its own; ``groups=n_channels`` is
        depthwise convolution.
    algorithm : {"auto", "direct", "winograd"}, default="auto"
        "winograd" is F(4x4, 3x3) or F(4x4, 5x5) [1]_ for 3x3 and 5x5 kernels with at least 16 channels and filters,
        F(4, 3), F(4, 5) or F(4, 4) along one axis for other kernels of 3, 5 or 7 rows, both with stride 1: 0.16 to 0.5
        of the multiplications, at an error of some 1e-5 of the largest value; "auto" takes what is faster.
        `convolution_plan` tells what will run.
    out : ndarray of shape ``(n_samples, *output, n_filters)``, default=None
        Where to put the result: C-contiguous, of the result's dtype, sharing no memory with the inputs.

    Returns
    -------
    y : ndarray of shape ``(n_samples, *output, n_filters)``
        float64 if `x` is, else float32.

    Raises
    ------
    TypeError
        If an argument has a wrong type or holds no real numbers.
    ValueError
        If shapes or parameters do not fit together, before anything is allocated.

    See Also
    --------
    conv_transpose : The adjoint.
    convolution_matrix : The same as a sparse matrix.
    convolve, correlate : Plain arrays without samples and channels, as in SciPy.

    Notes
    -----
    NaN and infinity reach exactly those results whose windows see them: padded zeros are skipped, not multiplied, and
    samples to which an algorithm that mixes pixels (Winograd's, or a few filters for several pixels at once) gave a
    result that is not finite are computed again, pixel by pixel. Weights that
    are not finite are right, too, but slow where there is zero padding.

    The bits of a sample's result depend neither on the other samples nor on memory layout and number of threads.

    For kernels of odd size and stride 1, "same" is also SciPy's. For even ones, SciPy has the odd pixel of the padding
    before the image: ``convolve`` and ``correlate`` with ``mode="same"`` are "same_lower" here, with the kernel flipped
    and not.

    Costs ``prod(output) * prod(kernel) * n_channels // groups * n_filters`` multiply-adds per sample (0.16 to 0.5 of
    them with Winograd's algorithm), and beside the result one padded copy of a sample per thread.

    References
    ----------
    .. [1] Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016.

    Examples
    --------
    The difference of neighbouring pixels, and of pixels two apart:

    >>> import numpy as np
    >>> from skconv.functional import conv
    >>> x = np.array([1, 4, 9, 16, 25], dtype=np.float32).reshape(1, 5, 1)
    >>> conv(x, [[[-1], [1]]]).ravel()
    array([3., 5., 7., 9.], dtype=float32)
    >>> conv(x, [[[-1], [1]]], dilation=2, padding="same", padding_mode="edge").ravel()
    array([ 3.,  8., 12., 16.,  9.], dtype=float32)
    """
    images = as_images(x)
    kernel = as_weights(weights, images.ndim)
    biases = None if bias is None else _as_bias(bias, len(kernel), "n_filters")
    bound = bind(
        images.shape[1:], kernel.shape, bias is not None, constant_values, stride, padding, padding_mode, dilation,
        groups, algorithm,
    )  # fmt: skip
    dtype = result_dtype(images)
    shape = (len(images), *bound.out_shape)
    if out is None:
        check_size(shape, dtype)
    else:
        check_out(out, shape, dtype, x=(x, images), weights=(weights, kernel), bias=(bias, biases))
    kernel = kernel if kernel.dtype == dtype else _to_dtype(kernel, dtype)
    coef = kernel.transpose(*range(1, kernel.ndim), 0)  # outputs last
    if (bound.pads_zeros or bound.direct is not None) and not is_finite(kernel):
        if bound.pads_zeros:
            return conv_where_the_image_is(images, kernel, biases, bound.operations[-1], out)
        return run(bound.direct or bound.operations, (coef, biases), images, out)
    mender = None
    if bound.direct is not None:
        mender = functools.partial(mend, operations=bound.direct, arrays=(coef, biases), x=images)
    return run(bound.operations, (coef, biases), images, out, mend=mender)


def conv_transpose(
    y, weights, bias=None, *, stride=1, padding="valid", output_padding=0, dilation=1, groups=1, out=None
):
    """Apply the adjoint of `conv`: what its matrix, transposed, does.

    Every value of `y` is handed back to the pixels that its window saw, times the weights::

        x[n, o * stride - p + k * dilation, c] += y[n, o, f] * weights[f, k, c]

    so that ``sum(conv(x, weights) * y) == sum(x * conv_transpose(y, weights))``. It is the gradient of `conv` by its
    input, and also called transposed or, wrongly, inverse convolution or deconvolution.

    Parameters
    ----------
    y : array-like of shape ``(n_samples, *spatial, n_filters)``, one to three spatial axes
        float64 is computed in float64, all else in float32.
    weights : array-like of shape ``(n_filters, *kernel, n_channels // groups)``
        Those of the `conv` whose adjoint this is: its *first* axis belongs to the last of `y`. ONNX's W for
        ConvTranspose is ``numpy.moveaxis(weights, -1, 1)``.
    bias : array-like of shape (n_channels,), default=None
        Added to the result.
    stride, dilation : int or tuple of int, default=1
        Those of the `conv`.
    padding : {"valid", "same", "same_lower", "full"}, int, tuple of int or of (before, after) pairs, default="valid"
        That of the `conv`: pixels that are cut off the result. "same" and "same_lower" give size * stride pixels, as
        in ONNX.
    output_padding : int or tuple of int, default=0
        Pixels at the end of each axis of the image that the last window of the `conv` did not reach, less than
        `stride`: (image + padding - extent) modulo stride. Zero where "same" or "same_lower" tell the size.
    groups : int, default=1
        That of the `conv`.
    out : ndarray of shape ``(n_samples, *image, n_channels)``, default=None
        Where to put the result: C-contiguous, of the result's dtype, sharing no memory with the inputs.

    Returns
    -------
    x : ndarray of shape ``(n_samples, *image, n_channels)``
        With ``image = (size - 1) * stride + extent - padding + output_padding`` along each axis, where the extent of
        the kernel is (kernel - 1) * dilation + 1. float64 if `y` is, else float32.

    See Also
    --------
    conv : The convolution; its notes on NaN, infinity, bits and dtypes hold here, too.

    Examples
    --------
    Every pixel becomes two:

    >>> import numpy as np
    >>> from skconv.functional import conv_transpose
    >>> y = np.array([1, 2, 3], dtype=np.float32).reshape(1, 3, 1)
    >>> conv_transpose(y, np.ones((1, 2, 1)), stride=2).ravel()
    array([1., 1., 2., 2., 3., 3.], dtype=float32)
    """
    maps = as_images(y, "y")
    kernel = as_weights(weights, maps.ndim)
    bound = bind_transpose(maps.shape[1:], kernel.shape, stride, padding, output_padding, dilation, groups)
    biases = None if bias is None else _as_bias(bias, bound.out_shape[-1], "n_channels")
    dtype = result_dtype(maps)
    shape = (len(maps), *bound.out_shape)
    if out is None:
        check_size(shape, dtype)
    else:
        check_out(out, shape, dtype, y=(y, maps), weights=(weights, kernel), bias=(bias, biases))
    maps = maps if maps.dtype == dtype else maps.astype(dtype)  # uint8
    kernel = kernel if kernel.dtype == dtype else _to_dtype(kernel, dtype)
    coef = kernel.transpose(*range(1, kernel.ndim), 0)
    if not is_finite(kernel):
        x = transpose_where_the_image_is(maps, kernel, bound.operations[-1], out)
    else:
        mender = None
        if bound.direct is not None:
            mender = functools.partial(mend, operations=bound.direct, arrays=(coef,), x=maps, method="pull_back")
        x = run(bound.operations, (coef,), maps, out, method="pull_back", mend=mender)
    if biases is not None:
        with np.errstate(all="ignore"):
            x += _to_dtype(biases, dtype)
    return x


@dataclass(frozen=True)
class ConvolutionPlan:
    """What `convolution_plan` returns; ``print`` it.

    Attributes
    ----------
    algorithm : {"direct", "winograd"}
    reason : str
    output_shape : tuple of int
    n_multiplications : int
        That will be executed, for all samples: with Winograd's algorithm some quarter of the terms of the sums of 3x3
        kernels, some sixth of those of 5x5, and half or less of those along one axis.
    n_threads : int
        That will share the work, as things are now. The result does not depend on it.
    n_bytes : int
        Memory beside the input and the result: weights, padded copies of samples and scratch of every thread.
    result_bytes : int
        Memory of the result.
    """

    algorithm: str
    reason: str
    output_shape: tuple
    n_multiplications: int
    n_threads: int
    n_bytes: int
    result_bytes: int

    def __str__(self):
        return (
            f"algorithm        {self.algorithm}: {self.reason}\n"
            f"output           {' x '.join(map(str, self.output_shape))}, {_bytes(self.result_bytes)}\n"
            f"multiplications  {self.n_multiplications:,}\n"
            f"memory           {_bytes(self.n_bytes)} beside input and output, {self.n_threads} thread(s)"
        )


def _bytes(n):
    if n < 1024:
        return f"{n} bytes"
    power = min((n.bit_length() - 1) // 10, 3)
    return f"{n / 1024**power:.1f} {('KiB', 'MiB', 'GiB')[power - 1]}"


def convolution_plan(
    x_shape, weights_shape, *, stride=1, padding="valid", padding_mode="constant", constant_values=0, dilation=1,
    groups=1, algorithm="auto", dtype="float32",
):  # fmt: skip
    """Tell what `conv` will do: by which algorithm and why, how many multiplications, how much memory.

    Parameters
    ----------
    x_shape : tuple of int
        ``(n_samples, *spatial, n_channels)``.
    weights_shape : tuple of int
        ``(n_filters, *kernel, n_channels // groups)``.
    stride, padding, padding_mode, constant_values, dilation, groups, algorithm
        As for `conv`.
    dtype : {"float32", "float64"} or NumPy's types of these names, default="float32"
        Precision of the computation.

    Returns
    -------
    plan : ConvolutionPlan

    Examples
    --------
    >>> from skconv.functional import convolution_plan
    >>> plan = convolution_plan((8, 16, 16, 64), (64, 3, 3, 64), padding="same")
    >>> plan.algorithm, plan.output_shape
    ('winograd', (8, 16, 16, 64))
    >>> print(convolution_plan((1, 8, 8, 1), (4, 3, 3, 1)))
    algorithm        direct: Winograd's algorithm needs a 3x3 or 5x5 kernel, ..., got ... 1 channels and 4 filters
    output           1 x 6 x 6 x 4, 576 bytes
    multiplications  1,296
    memory           ... beside input and output, 1 thread(s)
    """
    if isinstance(dtype, type | np.dtype) and dtype in (np.float32, np.float64):
        dtype = np.dtype(dtype).name
    check_choice(dtype, "dtype", ("float32", "float64"))
    for shape, name in ((x_shape, "x_shape"), (weights_shape, "weights_shape")):
        if isinstance(shape, np.ndarray):
            raise TypeError(f"{name} must be a shape, got an array; use {name.removesuffix('_shape')}.shape")
    if not isinstance(x_shape, tuple | list) or not 3 <= len(x_shape) <= 5:
        raise ValueError(
            f"x_shape must be (n_samples, *spatial, n_channels) with one to three spatial axes, got {x_shape!r}"
        )
    n = check_int(x_shape[0], "x_shape[0]", 0, MAX_ELEMENTS)
    in_shape = tuple(check_int(size, f"x_shape[{i + 1}]", 1, MAX_ELEMENTS) for i, size in enumerate(x_shape[1:]))
    weights_shape = per_axis(weights_shape, "weights_shape", len(x_shape), 1, MAX_ELEMENTS)
    bound = bind(
        in_shape, weights_shape, False, constant_values, stride, padding, padding_mode, dilation, groups, algorithm
    )
    shape = (n, *bound.out_shape)
    [(name, reason, n_multiplications)], n_threads, n_bytes = Network(
        bound.operations, dtype=dtype
    ).describe_prediction(n)
    return ConvolutionPlan(
        name, reason, shape, n * n_multiplications, n_threads, n_bytes, math.prod(shape) * np.dtype(dtype).itemsize
    )


# ------------------------------------------------------------------------------------------------ reading and checking


def as_weights(weights, ndim):
    array = as_array(weights, "weights")
    if array.ndim != ndim:
        raise ValueError(
            f"weights must have shape (n_filters, *kernel, n_channels // groups) and {ndim} axes, as many as a batch "
            f"of images (n_samples, *spatial, n_channels) has, got shape {array.shape}; gray images and their filters "
            "need the axis of channels, too: [..., np.newaxis]"
        )
    if array.size == 0:
        raise ValueError(f"weights of shape {array.shape} are empty; every size must be >= 1")
    return array


def _as_bias(bias, n, what):
    array = as_array(bias, "bias")
    if array.shape != (n,):
        raise ValueError(f"bias must have shape ({what},) = ({n},), got shape {array.shape}")
    return array


def _to_dtype(array, dtype):
    with np.errstate(over="ignore"):  # float64 beyond float32 is infinite
        return array.astype(dtype)


def bind(in_shape, weights_shape, has_bias, constant_values, *options):
    """Check a call of `conv` for one shape of image and weights; remember the answer."""
    # Only plain ints, strings and tuples are looked up: True == 1 == 1.0, but they are no strides.
    is_known = type(constant_values) in (int, float) and all(map(is_plain, options))
    function = _bind if is_known else _bind.__wrapped__
    return function(in_shape, weights_shape, has_bias, constant_values, *options)


@functools.lru_cache(256)
def _bind(
    in_shape, weights_shape, has_bias, constant_values, stride, padding, padding_mode, dilation, groups, algorithm
):
    size = in_shape[:-1]
    _check_groups(groups, weights_shape, in_shape[-1], "images")
    window = resolve_window(size, kernel_size=weights_shape[1:-1], stride=stride, padding=padding, dilation=dilation)
    mode = check_choice(padding_mode, "padding_mode", PADDING_MODES)
    value = check_real(constant_values, "constant_values")
    if mode != "constant" and value != 0:
        raise ValueError(
            f"constant_values={constant_values} has no meaning with padding_mode={mode!r}; use padding_mode='constant'"
        )
    operations = ()
    is_padded = any(window.pad_before + window.pad_after)
    if is_padded and (mode != "constant" or value != 0):
        before, after, window = window.split()
        padded = (*(n + b + a for n, b, a in zip(size, before, after, strict=True)), in_shape[-1])
        operations = (Pad("", in_shape, padded, before, after, mode, value),)
        in_shape, is_padded = padded, False
    out_shape = (*window.output_size(in_shape[:-1]), weights_shape[0])
    operation = _convolution(
        in_shape, out_shape, window, groups, has_bias, check_choice(algorithm, "algorithm", ALGORITHMS)
    )
    if operation.algorithm == "winograd" and not (operation.supports_winograd or operation.supports_winograd_lines):
        raise ValueError(
            "algorithm='winograd' needs a kernel of 3, 5 or 7 rows, no depth, stride=1, dilation=1 and groups=1, "
            f"got {operation.describe()}; use algorithm='auto'"
        )
    return _bound((*operations, operation), operation.shares_vectors, out_shape, is_padded)


def bind_transpose(in_shape, weights_shape, *options):
    """Check a call of `conv_transpose` for one shape of maps and weights; remember the answer."""
    function = _bind_transpose if all(map(is_plain, options)) else _bind_transpose.__wrapped__
    return function(in_shape, weights_shape, *options)


@functools.lru_cache(256)
def _bind_transpose(in_shape, weights_shape, stride, padding, output_padding, dilation, groups):
    size, ndim = in_shape[:-1], len(in_shape) - 1
    groups = check_int(groups, "groups", minimum=1, maximum=MAX_ELEMENTS)
    if in_shape[-1] != weights_shape[0]:
        raise ValueError(
            f"y has {in_shape[-1]} channels, but weights of shape {weights_shape} are of a convolution with "
            f"n_filters={weights_shape[0]}, the first axis; they must agree"
        )
    n_channels = weights_shape[-1] * groups
    _check_groups(groups, weights_shape, n_channels, "images")
    kernel_size = weights_shape[1:-1]
    strides = per_axis(stride, "stride", ndim, 1, MAX_ELEMENTS)
    free = Window(kernel_size, strides, per_axis(dilation, "dilation", ndim, 1, MAX_ELEMENTS), (), ())
    extra = per_axis(output_padding, "output_padding", ndim, 0, MAX_ELEMENTS)
    for axis, (e, s) in enumerate(zip(extra, strides, strict=True)):
        if e >= s:
            raise ValueError(
                f"output_padding must be less than the stride, got {e} with stride {s} on axis {axis}: "
                "so many pixels would have been reached by another window"
            )
    uncut = [(o - 1) * s + m + e for o, s, m, e in zip(size, strides, free.extent, extra, strict=True)]
    if isinstance(padding, str) and padding in ("same", "same_lower"):
        if any(extra):
            raise ValueError(
                f"output_padding must be 0 with padding={padding!r}, which gives size * stride pixels, got "
                f"{output_padding!r}; use padding=(before, after) pairs"
            )
        image = tuple(o * s for o, s in zip(size, strides, strict=True))
    else:
        # Padding does not depend on the image's size here; that of the uncut result is one on which all of it fits.
        given = resolve_window(
            tuple(uncut), kernel_size=kernel_size, stride=strides, padding=padding, dilation=dilation
        )
        image = tuple(n - b - a for n, b, a in zip(uncut, given.pad_before, given.pad_after, strict=True))
        if min(image) < 1:
            raise ValueError(
                f"padding={padding!r} cuts everything off: the result would have {'x'.join(map(str, image))} pixels; "
                "use less padding"
            )
    window = resolve_window(image, kernel_size=kernel_size, stride=strides, padding=padding, dilation=dilation)
    out_shape = (*image, n_channels)
    operation = _convolution(out_shape, in_shape, window, groups, False, "auto")
    pads_zeros = any(window.pad_before + window.pad_after)
    return _bound((operation,), operation.gradients_share_vectors, out_shape, pads_zeros)


def _check_groups(groups, weights_shape, n_channels, what):
    groups = check_int(groups, "groups", minimum=1, maximum=MAX_ELEMENTS)
    n_filters, per_group = weights_shape[0], weights_shape[-1]
    if n_filters % groups:
        raise ValueError(f"groups={groups} must divide n_filters={n_filters}, the first axis of weights")
    if per_group * groups != n_channels:
        advice = f"; with groups={n_channels // per_group} it would fit" if n_channels % per_group == 0 else ""
        raise ValueError(
            f"the {what} have {n_channels} channels, but weights of shape {weights_shape} with groups={groups} see "
            f"{per_group * groups}{advice}; weights must have shape (n_filters, *kernel, n_channels // groups)"
        )


def _convolution(in_shape, out_shape, window, groups, has_bias, algorithm):
    # Frozen: the adjoint is then computed without the weights' gradient.
    return Convolution(
        "", in_shape, out_shape, fit_intercept=has_bias, trainable=False, window=window, algorithm=algorithm,
        groups=int(groups),
    )  # fmt: skip


def _bound(operations, shares_vectors, out_shape, pads_zeros):
    direct = None
    if choose_algorithm(operations[-1])[0] == "winograd" or shares_vectors:
        direct = (*operations[:-1], replace(operations[-1], algorithm="direct"))
    return Bound(operations, direct, out_shape, pads_zeros)
