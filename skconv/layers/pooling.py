"""Pooling over space: a summary of the nearby outputs in place of every output."""

from .._geometry import check_bool, per_axis, resolve_pool
from .._operations import Pool
from .base import Layer, as_text, spatial_shape


class _SpatialPool(Layer):
    """Pooling over windows."""

    kind = None

    def bind(self, in_shape, name=""):
        where = as_text(name)
        in_shape = spatial_shape(in_shape, name, type(self).__name__)
        size = in_shape[:-1]
        kernel_size = per_axis(self.kernel_size, f"{where}kernel_size", len(size), 1)
        stride = kernel_size if self.stride is None else self.stride
        if isinstance(self.padding, str | int) and self.padding in (0, "valid"):
            # There is nothing to summarise along an axis of one pixel, as signals have one.
            kernel_size = tuple(1 if n == 1 else k for n, k in zip(size, kernel_size, strict=True))
        window = resolve_pool(
            size, kernel_size=kernel_size, stride=stride, padding=self.padding, dilation=self.dilation,
            ceil_mode=self.ceil_mode, name=name,
        )  # fmt: skip
        count_include_pad = check_bool(getattr(self, "count_include_pad", False), f"{where}count_include_pad")
        out_shape = (*window.output_size(size), in_shape[-1])
        return [Pool(name, in_shape, out_shape, self.kind, window, count_include_pad)]


class MaxPool(_SpatialPool):
    """Take the largest value of every window, channel by channel.

    Windows are clipped to the image. NaN wins over every number; of equal values the first one of the window counts.

    Parameters
    ----------
    kernel_size : int or tuple of ints, default=2
        Without padding, an axis of one pixel stays as it is, whatever the window.
    stride : int, tuple of ints or None, default=None
        None means kernel_size.
    padding : {"valid", "same", "same_lower"}, int, tuple of ints or of pairs, default=0
        How far the first and last window may hang over the image; less than the window.
    dilation : int or tuple of ints, default=1
    ceil_mode : bool, default=False
        Whether to keep a smaller last window; it must start inside the image or its left padding.
    spatial_ndim : {1, 2, 3}, default=2
        Spatial axes of X, standing alone; inside a network the images' own count.
    image_shape : tuple of ints, default=None
        Shape of one image, where X is flat.

    Attributes
    ----------
    image_shape_, output_shape_ : tuple
        Shape of one image and of its result, channels last.
    n_features_in_ : int

    Examples
    --------
    >>> import numpy as np
    >>> from skconv import MaxPool
    >>> X = np.arange(16.0).reshape(1, 4, 4)
    >>> MaxPool(2).fit_transform(X)[0, :, :, 0]
    array([[ 5.,  7.],
           [13., 15.]])
    """

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
    """Take the mean of every window, channel by channel.

    Parameters
    ----------
    kernel_size : int or tuple of ints, default=2
        Without padding, an axis of one pixel stays as it is, whatever the window.
    stride : int, tuple of ints or None, default=None
        None means kernel_size.
    padding : {"valid", "same", "same_lower"}, int, tuple of ints or of pairs, default=0
        How far the first and last window may hang over the image; less than the window.
    dilation : int or tuple of ints, default=1
    ceil_mode : bool, default=False
        Whether to keep a smaller last window; it must start inside the image or its left padding.
    count_include_pad : bool, default=False
        Whether padded pixels count as zeros, instead of not at all. What a last window of ``ceil_mode`` overhangs
        beyond the padding never counts (ONNX, PyTorch).
    spatial_ndim : {1, 2, 3}, default=2
        Spatial axes of X, standing alone; inside a network the images' own count.
    image_shape : tuple of ints, default=None
        Shape of one image, where X is flat.

    Attributes
    ----------
    image_shape_, output_shape_ : tuple
        Shape of one image and of its result, channels last.
    n_features_in_ : int

    Examples
    --------
    >>> import numpy as np
    >>> from skconv import AvgPool
    >>> X = np.arange(16.0).reshape(1, 4, 4)
    >>> AvgPool(2).fit_transform(X)[0, :, :, 0]
    array([[ 2.5,  4.5],
           [10.5, 12.5]])
    """

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
