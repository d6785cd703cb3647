"""Pooling: a summary of nearby outputs, of all outputs of a filter, or of several filters, in place of every output."""

import numpy as np

from .._geometry import MAX_ELEMENTS, check_bool, check_choice, check_int, check_real, per_axis
from .._operations import Reshape
from .._pooling import KINDS, pool_all, pool_channels, pool_windows
from .base import Layer, as_text, spatial_shape


class _Pool(Layer):
    """Base of all pooling: what a convolution accepts as its `pool`."""

    def _checked_p(self, where):
        return check_real(self.p, f"{where}p", minimum=1)


def _adds_nothing(padding):
    """Whether a padding, in whichever of its forms, is none."""
    if isinstance(padding, tuple | list):
        return all(map(_adds_nothing, padding))
    return np.ndim(padding) == 0 and padding in (0, "valid")


class _SpatialPool(_Pool):
    """Pooling over windows; `kind` is the operation's."""

    kind = None
    p = 2  # of the norm, where there is one
    count_include_pad = False

    def bind(self, in_shape, name=""):
        where = as_text(name)
        in_shape = spatial_shape(in_shape, name, type(self).__name__)
        size = in_shape[:-1]
        kernel_size = per_axis(self.kernel_size, f"{where}kernel_size", len(size), 1)
        stride = kernel_size if self.stride is None else self.stride
        if _adds_nothing(self.padding):
            # There is nothing to summarise along an axis of one pixel, as signals have one.
            kernel_size = tuple(1 if n == 1 else k for n, k in zip(size, kernel_size, strict=True))
        operation = pool_windows(
            in_shape, self.kind, kernel_size=kernel_size, stride=stride, padding=self.padding, dilation=self.dilation,
            ceil_mode=self.ceil_mode, p=self._checked_p(where), name=name,
            count_include_pad=check_bool(self.count_include_pad, f"{where}count_include_pad"),
        )  # fmt: skip
        return [operation]


_WINDOWS_DOC = """{summary}

{notes}

Parameters
----------
kernel_size : int or tuple of ints, default=2
    Without padding, an axis of one pixel stays as it is, whatever the window.
{p}stride : int, tuple of ints or None, default=None
    None means kernel_size.
padding : {{"valid", "same", "same_lower", "full"}}, int, tuple of ints or of pairs, default=0
    How far the first and last window may hang over the image; less than the window. "full" takes every window that
    touches the image.
dilation : int or tuple of ints, default=1
ceil_mode : bool, default=False
    Whether to keep a smaller last window; it must start inside the image or its left padding.
{count}spatial_ndim : {{1, 2, 3}}, default=2
    Spatial axes of X, standing alone; inside a network the images' own count.
image_shape : tuple of ints, default=None
    Shape of one image, where X is flat.

Attributes
----------
image_shape_, output_shape_ : tuple
    Shape of one image and of its result, channels last.
n_features_in_ : int

See Also
--------
{see}

Examples
--------
>>> import numpy as np
>>> from skconv import {name}
>>> X = np.arange(16.0).reshape(1, 4, 4)
>>> {name}(2).fit_transform(X)[0, :, :, 0]{rounded}
{result}
"""


class MaxPool(_SpatialPool):
    __doc__ = _WINDOWS_DOC.format(
        summary="Take the largest value of every window, channel by channel.",
        notes="Windows are clipped to the image. NaN wins over every number; of equal values the first one of the\n"
        "window counts, to which a network hands the gradient.",
        p="", count="", see="skconv.functional.max_pool : The same as a function, which also tells where it found it.",
        name="MaxPool", rounded="", result="array([[ 5.,  7.],\n       [13., 15.]])",
    )  # fmt: skip
    kind = "max"

    def __init__(
        self, kernel_size=2, *, stride=None, padding=0, dilation=1, ceil_mode=False, spatial_ndim=2, image_shape=None
    ):
        self.kernel_size = kernel_size
        self.stride = stride
        self.padding = padding
        self.dilation = dilation
        self.ceil_mode = ceil_mode
        self.spatial_ndim = spatial_ndim
        self.image_shape = image_shape


class AvgPool(_SpatialPool):
    __doc__ = _WINDOWS_DOC.format(
        summary="Take the mean of every window, channel by channel.",
        notes="Windows are clipped to the image: the mean is that of the pixels that exist, unless\n"
        "`count_include_pad` is set.",
        p="", see="skconv.functional.avg_pool : The same as a function.",
        count="count_include_pad : bool, default=False\n"
        "    Whether padded pixels count as zeros, instead of not at all. What a last window of ``ceil_mode``\n"
        "    overhangs beyond the padding never counts (ONNX, PyTorch).\n",
        name="AvgPool", rounded="", result="array([[ 2.5,  4.5],\n       [10.5, 12.5]])",
    )  # fmt: skip
    kind = "average"

    def __init__(
        self,
        kernel_size=2,
        *,
        stride=None,
        padding=0,
        dilation=1,
        ceil_mode=False,
        count_include_pad=False,
        spatial_ndim=2,
        image_shape=None,
    ):
        self.kernel_size = kernel_size
        self.stride = stride
        self.padding = padding
        self.dilation = dilation
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.spatial_ndim = spatial_ndim
        self.image_shape = image_shape


class LPPool(_SpatialPool):
    __doc__ = _WINDOWS_DOC.format(
        summary="Take the p-norm of every window, channel by channel.",
        notes="``(sum |x|^p)^(1/p)`` over the window. p=1 is the sum of magnitudes, p=2 the Euclidean norm;\n"
        "large p come close to the largest magnitude. Padded pixels count as zeros. A network's gradient is 0 where\n"
        "the norm is 0.",
        p="p : float, default=2\n    At least 1. Whole numbers, 1 and 2 above all, are the fastest.\n",
        count="", see="skconv.functional.lp_pool : The same as a function.",
        name="LPPool", rounded=".round(2)", result="array([[ 6.48,  9.9 ],\n       [21.4 , 25.34]])",
    )  # fmt: skip
    kind = "lp"

    def __init__(
        self,
        kernel_size=2,
        p=2,
        *,
        stride=None,
        padding=0,
        dilation=1,
        ceil_mode=False,
        spatial_ndim=2,
        image_shape=None,
    ):
        self.kernel_size = kernel_size
        self.p = p
        self.stride = stride
        self.padding = padding
        self.dilation = dilation
        self.ceil_mode = ceil_mode
        self.spatial_ndim = spatial_ndim
        self.image_shape = image_shape


class GlobalPool(_Pool):
    """Summarise every channel of an image in one number.

    The result has two dimensions, (n_samples, n_channels), however many the images have: the last stage before a
    linear classifier, and the way to give images of any size the same features.

    Parameters
    ----------
    kind : {"average", "max", "lp"}, default="average"
        "lp" is the p-norm ``(sum |x|^p)^(1/p)``.
    p : float, default=2
        For ``kind="lp"``, at least 1.
    spatial_ndim : {1, 2, 3}, default=2
        Spatial axes of X, standing alone; inside a network the images' own count.
    image_shape : tuple of ints, default=None
        Shape of one image, where X is flat.

    Attributes
    ----------
    image_shape_, output_shape_ : tuple
        Shape of one image, and (n_channels,).
    n_features_in_ : int

    See Also
    --------
    skconv.functional.global_pool : The same as a function.

    Notes
    -----
    Large images are pooled axis by axis, rows first, which is the same but for rounding, and shares out one photograph
    among threads. Feature i, called ``globalpool<i>``, is channel i. A side has at most 2**22 pixels.

    References
    ----------
    .. [1] Lin, Chen and Yan, "Network in network", ICLR 2014, section 3.2.

    Examples
    --------
    >>> import numpy as np
    >>> from skconv import GlobalPool
    >>> X = np.arange(36.0).reshape(2, 3, 3, 2)
    >>> GlobalPool().fit_transform(X)
    array([[ 8.,  9.],
           [26., 27.]])
    >>> GlobalPool("max").fit(X).get_feature_names_out()
    array(['globalpool0', 'globalpool1'], dtype=object)
    """

    def __init__(self, kind="average", p=2, *, spatial_ndim=2, image_shape=None):
        self.kind = kind
        self.p = p
        self.spatial_ndim = spatial_ndim
        self.image_shape = image_shape

    def bind(self, in_shape, name=""):
        where = as_text(name)
        in_shape = spatial_shape(in_shape, name, type(self).__name__)
        kind = check_choice(self.kind, f"{where}kind", KINDS)
        return pool_all(in_shape, kind, p=self._checked_p(where), name=name)


class ChannelPool(_Pool):
    """Pool over groups of consecutive channels: maxout.

    Pooling over space makes a feature invariant to small translations. Pooling over the outputs of filters with
    parameters of their own lets them learn what to be invariant to: after a convolution with ``n_pieces * k`` filters,
    k features remain, each the largest of its `n_pieces` filters [1]_. Inside a network it works on flat
    features, too, as behind `Dense` with ``activation="identity"``; standing alone, flat rows are images of
    `image_shape`, by default of one channel, which stay as they are.

    Parameters
    ----------
    n_pieces : int, default=2
        Channels of a group; must divide the number of channels. Images of one channel stay as they are.
    kind : {"max", "average", "lp"}, default="max"
        "lp" is the p-norm ``(sum |x|^p)^(1/p)``; with p=2 it is the amplitude of pairs of filters that see the same in
        phase and out of phase.
    p : float, default=2
        For ``kind="lp"``, at least 1.
    spatial_ndim : {1, 2, 3}, default=2
        Spatial axes of X, standing alone; inside a network the images' own count.
    image_shape : tuple of ints, default=None
        Shape of one image, where X is flat.

    Attributes
    ----------
    image_shape_, output_shape_ : tuple
        Shape of one image and of its result, channels last.
    n_features_in_ : int

    See Also
    --------
    skconv.functional.channel_pool : The same as a function.

    References
    ----------
    .. [1] Goodfellow, Warde-Farley, Mirza, Courville and Bengio, "Maxout networks", ICML 2013.

    Examples
    --------
    >>> import numpy as np
    >>> from skconv import ChannelPool
    >>> X = np.array([[[[3.0, -4.0, 1.0, 2.0]]]])
    >>> ChannelPool(2).fit_transform(X)[0, 0]
    array([[3., 2.]])
    >>> ChannelPool(2, "lp").fit_transform(X)[0, 0].round(3)
    array([[5.   , 2.236]])
    """

    def __init__(self, n_pieces=2, kind="max", p=2, *, spatial_ndim=2, image_shape=None):
        self.n_pieces = n_pieces
        self.kind = kind
        self.p = p
        self.spatial_ndim = spatial_ndim
        self.image_shape = image_shape

    def bind(self, in_shape, name=""):
        where = as_text(name)
        n_pieces = check_int(self.n_pieces, f"{where}n_pieces", minimum=1, maximum=MAX_ELEMENTS)
        kind = check_choice(self.kind, f"{where}kind", KINDS)
        p = self._checked_p(where)
        n_channels = in_shape[-1]
        if n_channels == 1 and len(in_shape) > 1:
            # As along an axis of one pixel, there is nothing to summarise.
            return [Reshape(name, in_shape, in_shape)]
        if n_channels % n_pieces:
            raise ValueError(
                f"{where}n_pieces={n_pieces} must divide the number of channels, which is {n_channels} here"
            )
        return pool_channels(in_shape, n_pieces, kind, p=p, name=name)
