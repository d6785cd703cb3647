"""Pooling in operations: over windows, over all of an image, over groups of channels. Layers and functions share it."""

import math

from ._geometry import Window, resolve_pool
from ._operations import Pool, Reshape

KINDS = ("average", "max", "lp")
# A global pool of an image of so few pixels is one window: its taps are numbered in a byte, so that a network fuses the
# maximum with the convolution before it. Larger images are pooled axis by axis.
ONE_WINDOW = 255


def pool_windows(in_shape, kind, *, p=2.0, count_include_pad=False, name="", **window):
    """One operation: windows as `resolve_pool` understands them."""
    resolved = resolve_pool(in_shape[:-1], name=name, **window)
    out_shape = (*resolved.output_size(in_shape[:-1]), in_shape[-1])
    return Pool(name, in_shape, out_shape, kind, resolved, count_include_pad, p)


def pool_all(in_shape, kind, *, p=2.0, name=""):
    """Operations that leave one value of every channel, without spatial axes.

    Axis by axis, rows first, then columns, then depth: a maximum of maxima is one, so is a norm of norms, and means of
    equally many pixels weigh the same. A window over a whole photograph would list millions of taps instead, and
    leave a single result to share out among threads.
    """
    size, operations = in_shape[:-1], []
    if math.prod(size) <= ONE_WINDOW:
        windows = [size]
    else:
        order = [*range(len(size))[-2:], *range(len(size))[:-2]]
        windows = [tuple(n if i == axis else 1 for i, n in enumerate(size)) for axis in order if size[axis] > 1]
    shape = in_shape
    for kernel_size in windows:
        operations.append(pool_windows(shape, kind, p=p, name=name, kernel_size=kernel_size))
        shape = operations[-1].out_shape
    return [*operations, Reshape(name, shape, (in_shape[-1],))]


def pool_channels(in_shape, n_pieces, kind, *, p=2.0, name=""):
    """Operations that pool every `n_pieces` consecutive channels, of which there must be a multiple.

    Channels lie one behind the other, so a line of pixels is a signal of one channel, and its groups are windows side
    by side.
    """
    *size, n_channels = in_shape
    lines = (*size[:-1], (size[-1] if size else 1) * n_channels)
    ones = (1,) * (len(lines) - 1)
    window = Window(
        (*ones, n_pieces), (*ones, n_pieces), (1,) * len(lines), (0,) * len(lines), (0,) * len(lines)
    )  # fmt: skip
    pooled = (*lines[:-1], lines[-1] // n_pieces, 1)
    return [
        Reshape(name, in_shape, (*lines, 1)),
        Pool(name, (*lines, 1), pooled, kind, window, False, p),
        Reshape(name, pooled, (*size, n_channels // n_pieces)),
    ]
