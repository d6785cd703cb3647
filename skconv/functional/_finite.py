"""NaN and infinity: they reach the results whose windows see them, and no others.

The engine multiplies and adds as IEEE 754 says, so what remains are its two shortcuts: zeros around the image, which
weights that are not finite turn into NaN, and algorithms that mix pixels: Winograd's, and vectors that several pixels
share.
"""

import math

import numpy as np

from ._run import run

# Values whose finiteness a sum of squares tells in a microsecond, on one thread of whatever BLAS there is.
_FEW = 4096


def is_finite(array):
    """Whether a C-contiguous array holds neither NaN nor infinity."""
    flat = array.reshape(-1)
    if array.dtype.kind != "f" or (flat.size <= _FEW and math.isfinite(flat.dot(flat))):
        return True
    return math.isfinite(flat.min()) and math.isfinite(flat.max())


def mend(y, operations, arrays, x, method="predict"):
    """Compute again, pixel by pixel, the samples of a result that are not finite, by an algorithm that mixes pixels.

    NaN and infinity in x reach the results of windows beside them. Winograd's sums, a hundred times larger on the way,
    overflow early, too. Every result that this harmed is not finite.
    """
    with np.errstate(all="ignore"):
        rows = y.reshape(len(y), -1)
        harmed = ~(np.isfinite(rows.min(axis=1)) & np.isfinite(rows.max(axis=1)))
    if harmed.any():
        y[harmed] = run(operations, arrays, x[harmed], method=method)


def tap_slices(window, image, output):
    """Yield (k, o, p) for every tap: its place in the kernel, and where it hits the image, as slices of both sides."""
    for k in np.ndindex(*window.kernel_size):
        o, p = [], []
        for axis, tap in enumerate(k):
            stride, shift = window.stride[axis], tap * window.dilation[axis] - window.pad_before[axis]
            first = max(0, -(shift // stride))
            last = min(output[axis] - 1, (image[axis] - 1 - shift) // stride)
            if last < first:
                break
            o.append(slice(first, last + 1))
            p.append(slice(first * stride + shift, last * stride + shift + 1, stride))
        else:
            yield k, tuple(o), tuple(p)


def conv_where_the_image_is(images, weights, bias, operation, out):
    """Convolve tap by tap, each over those outputs where it hits the image, so that infinite weights meet no zeros.

    By single products and sums, whose bits depend on nothing.
    """
    groups, per_group = operation.groups, weights.shape[-1]
    n_filters = weights.shape[0] // groups
    y = np.empty((len(images), *operation.out_shape), weights.dtype) if out is None else out
    with np.errstate(all="ignore"):
        y[...] = 0 if bias is None else bias
        for x, z in zip(images, y, strict=True):
            for k, o, p in tap_slices(operation.window, x.shape[:-1], z.shape[:-1]):
                for channel in range(groups * per_group):
                    group, c = divmod(channel, per_group)
                    filters = slice(group * n_filters, (group + 1) * n_filters)
                    seen = x[*p, channel, np.newaxis].astype(y.dtype, copy=False)
                    z[*o, filters] += seen * weights[filters, *k, c]
    return y


def transpose_where_the_image_is(maps, weights, operation, out):
    """The adjoint of `conv_where_the_image_is`."""
    groups, per_group = operation.groups, weights.shape[-1]
    n_filters = weights.shape[0] // groups
    images = np.empty((len(maps), *operation.in_shape), weights.dtype) if out is None else out
    with np.errstate(all="ignore"):
        images[...] = 0
        for x, z in zip(images, maps, strict=True):
            for k, o, p in tap_slices(operation.window, x.shape[:-1], z.shape[:-1]):
                for f in range(groups * n_filters):
                    first = f // n_filters * per_group
                    x[*p, first : first + per_group] += z[*o, f, np.newaxis] * weights[f, *k]
    return images
