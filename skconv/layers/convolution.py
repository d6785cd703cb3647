"""Convolution, detector and pooling: the stages of a layer of a convolutional network in one transformer."""

import numpy as np

from .._geometry import check_bool, check_choice, check_int, per_axis, resolve_window
from .._operations import ACTIVATIONS, ALGORITHMS, PADDING_MODES, Convolution, Pad
from ..filters import check_family, find_filters
from .base import Layer, as_text, spatial_shape
from .pooling import _Pool


class _ConvTransformer(Layer):
    """Convolution over one to three spatial axes."""

    def __init__(
        self,
        n_filters=32,
        kernel_size=3,
        *,
        filters="random",
        stride=1,
        padding="same",
        padding_mode="constant",
        dilation=1,
        groups=1,
        connections=None,
        activation="relu",
        fit_intercept=True,
        pool=None,
        algorithm="auto",
        trainable=True,
        image_shape=None,
        random_state=None,
    ):
        self.n_filters = n_filters
        self.kernel_size = kernel_size
        self.filters = filters
        self.stride = stride
        self.padding = padding
        self.padding_mode = padding_mode
        self.dilation = dilation
        self.groups = groups
        self.connections = connections
        self.activation = activation
        self.fit_intercept = fit_intercept
        self.pool = pool
        self.algorithm = algorithm
        self.trainable = trainable
        self.image_shape = image_shape
        self.random_state = random_state

    @property
    def learns(self):
        """Whether the filters are found in the data."""
        return isinstance(self.filters, str) and self.filters != "random"

    def initialize(self, network, maps, rng):
        if not self.learns:
            return super().initialize(network, maps, rng)
        operation = next(operation for operation in network.operations if isinstance(operation, Convolution))
        network.coefs[0][...], intercepts = find_filters(
            self.filters, maps, operation.window.kernel_size, operation.out_shape[-1], rng,
            dilation=operation.window.dilation, groups=operation.groups, connections=operation.connections,
        )  # fmt: skip
        if network.intercepts[0] is not None:
            network.intercepts[0][...] = intercepts

    def bind(self, in_shape, name=""):
        where = as_text(name)
        in_shape = spatial_shape(in_shape, name, type(self).__name__)
        size, n_channels = in_shape[:-1], in_shape[-1]
        if len(size) != self.spatial_ndim:
            raise ValueError(
                f"{where}{type(self).__name__} slides over {self.spatial_ndim} spatial axes, but images of shape "
                f"{in_shape} reach it; use Conv{len(size)}DTransformer"
            )
        n_filters = check_int(self.n_filters, f"{where}n_filters", minimum=1, maximum=2**20)
        check_choice(self.activation, f"{where}activation", ACTIVATIONS)
        fit_intercept = check_bool(self.fit_intercept, f"{where}fit_intercept")
        padding_mode = check_choice(self.padding_mode, f"{where}padding_mode", PADDING_MODES)
        if self.pool is not None and not isinstance(self.pool, _Pool):
            raise TypeError(f"{where}pool must be a pooling layer (MaxPool(2), say) or None, got {self.pool!r}")
        groups = check_int(self.groups, f"{where}groups", minimum=1)
        if n_channels % groups or n_filters % groups:
            raise ValueError(
                f"{where}groups={groups} must divide the number of channels, {n_channels}, and n_filters={n_filters}"
            )
        connections = self._checked_connections(n_channels, n_filters, groups, where)
        coef = self._given_filters(n_channels, groups, connections, where)
        kernel_size = self.kernel_size
        if coef is not None:
            n_filters, kernel_size = coef.shape[-1], coef.shape[:-2]
        window = resolve_window(
            size, kernel_size=kernel_size, stride=self.stride, padding=self.padding, dilation=self.dilation, name=name
        )
        out_shape = (*window.output_size(size), n_filters)
        operations = []
        if padding_mode != "constant" and any(window.pad_before + window.pad_after):
            before, after, window = window.split()
            size = tuple(n + b + a for n, b, a in zip(size, before, after, strict=True))
            operations.append(Pad(name, in_shape, (*size, n_channels), before, after, padding_mode))
        operation = Convolution(
            name, (*size, n_channels), out_shape, self.activation, fit_intercept, coef, window=window,
            algorithm=check_choice(self.algorithm, f"{where}algorithm", ALGORITHMS), groups=groups,
            connections=connections, trainable=check_bool(self.trainable, f"{where}trainable"),
        )  # fmt: skip
        if operation.algorithm == "winograd" and not (
            operation.supports_winograd or operation.supports_winograd_lines
        ):  # fmt: skip
            raise ValueError(
                f"{where}algorithm='winograd' needs kernel_size=3, 5 or 7, stride=1, dilation=1, groups=1 and images "
                f"of two axes, got {operation.describe()}; use algorithm='auto'"
            )
        operations.append(operation)
        if self.pool is not None:
            operations += self.pool.bind(out_shape, name)
        return operations

    def _checked_connections(self, n_channels, n_filters, groups, where):
        """Which channel feeds which filter, as bool array, or None."""
        if self.connections is None:
            return None
        if groups > 1:
            raise ValueError(
                f"{where}connections say which channel feeds which filter, and so does groups={groups}; set groups=1"
            )
        try:
            connections = np.asarray(self.connections)
        except ValueError:
            raise ValueError(
                f"{where}connections is ragged: all rows must have n_filters={n_filters} entries"
            ) from None
        expected = f"{where}connections must have a row per channel and a column per filter, shape "
        if connections.shape != (n_channels, n_filters):
            raise ValueError(f"{expected}({n_channels}, {n_filters}), got shape {connections.shape}")
        if connections.dtype.kind not in "biuf" or not np.isin(connections, (0, 1)).all():
            raise ValueError(f"{where}connections must hold bools, or zeros and ones, got {self.connections!r:.80}")
        alone = np.flatnonzero(~connections.any(axis=0))
        if len(alone):
            raise ValueError(
                f"{where}connections leave filter {alone[0]} without any channel; every column needs a True"
            )
        return connections.astype(bool)

    def _given_filters(self, n_channels, groups, connections, where):
        """Filters that the user gave, outputs last, or None."""
        if isinstance(self.filters, str):
            kernel_size = per_axis(self.kernel_size, f"{where}kernel_size", self.spatial_ndim, 1)
            check_family(
                self.filters, kernel_size, n_channels, self.n_filters, where, groups=groups, connections=connections
            )
            return None
        try:
            filters = np.asarray(self.filters)
        except ValueError:
            raise ValueError(f"{where}filters is ragged: all filters must have the same shape") from None
        n_axes = self.spatial_ndim + 2
        n_seen = n_channels // groups
        if filters.ndim != n_axes or filters.dtype.kind not in "fiub" or filters.shape[-1] != n_seen:
            channels, value = (
                ("n_channels", "") if groups == 1 else ("n_channels // groups", f" // {groups} = {n_seen}")
            )
            raise ValueError(
                f"{where}filters must be a real array of shape (n_filters, *kernel_size, {channels}) with "
                f"{n_axes} axes and {channels}={n_channels}{value}, got shape {filters.shape} of {filters.dtype}"
            )
        if filters.size == 0 or not np.isfinite(filters).all():
            raise ValueError(f"{where}filters must be finite and not empty, got shape {filters.shape}")
        kernel_size = per_axis(self.kernel_size, f"{where}kernel_size", self.spatial_ndim, 1)
        if filters.shape[0] != self.n_filters or filters.shape[1:-1] != kernel_size:
            raise ValueError(
                f"{where}n_filters={self.n_filters} and kernel_size={self.kernel_size} do not agree with filters of "
                f"shape {filters.shape}; set n_filters={filters.shape[0]}, kernel_size={filters.shape[1:-1]}"
            )
        return np.moveaxis(filters, 0, -1)

    def _remember(self, network):
        self.filters_ = np.moveaxis(network.coefs[0], -1, 0)  # the network's own: no call need compare them
        intercept = network.intercepts[0]
        self.intercept_ = np.zeros(len(self.filters_), dtype=network.dtype) if intercept is None else intercept.copy()

    def _remembered(self):
        filters = np.asarray(self.filters_)
        return {"filters_": filters.transpose(*range(1, filters.ndim), 0), "intercept_": self.intercept_}


_DOC = """Convolve {what} with a bank of filters, apply an activation and, if wanted, pool.

Cross-correlation, as in every network: ``z[o, f] = intercept[f] + sum_k,c x[o * stride + k * dilation - pad, c] *
filters[f, k, c]``, then ``activation(z)``, then pooling, in one pass over the data.

Parameters
----------
n_filters : int, default=32
kernel_size : int or tuple of {n} ints, default=3
    Extent of the filters in pixels.
filters : {{"random", "patches", "whitening", "pca", "kmeans"}} or array, default="random"
    - "random": drawn uniformly with variance 2 / fan_in (He et al., 2015; Glorot's for activations that do not
      rectify);
    - "patches": patches of the images, mean removed, of norm 1 (Pinto et al., 2009);
    - "whitening": eigenvectors of the patches' covariance, scaled to responses of variance 1, and their negatives
      (Jordan, 2024); ``2 * prod(kernel_size) * n_channels`` at most;
    - "pca": leading eigenvectors of the covariance of patches without their mean (PCANet; Chan et al., 2015);
      ``prod(kernel_size) * n_channels`` at most;
    - "kmeans": centres of clusters of whitened patches (Coates and Ng, 2012);
    - an array of shape ``(n_filters, *kernel_size, n_channels // groups)`` is used as it is; `n_filters` and
      `kernel_size` must say the same.

    The four families in the middle are found in a bounded random sample of the patches that reach the layer, when it
    or what it is part of is fitted; `skconv.filters` has the recipes. In a network, training goes on from there.
stride : int or tuple of {n} ints, default=1
padding : {{"valid", "same", "same_lower", "full"}}, int, tuple of {n} ints or of {n} pairs, default="same"
    How many pixels to add around the image. "same" keeps ceil(size / stride) pixels, the odd one of the padding after
    the image (ONNX's SAME_UPPER); "same_lower" before it; "full" takes every window that touches the image; "valid"
    adds none.
padding_mode : {{"constant", "reflect", "symmetric", "edge", "wrap"}}, default="constant"
    What the added pixels are, in the words of `numpy.pad`: zeros, the image mirrored at its outermost pixels
    ("reflect") or behind them ("symmetric"), the outermost pixel, or the image once more.
dilation : int or tuple of {n} ints, default=1
    Distance of the filter's taps.
groups : int, default=1
    Filters and channels fall into so many groups of equal size, and a filter sees the channels of its own group only;
    ``groups=n_channels`` is a depthwise convolution. Must divide both numbers.
connections : array-like of bool of shape (n_channels, n_filters), default=None
    Which channel feeds which filter ([1]_; [2]_, table I); None means all. Every filter needs one. The
    weights of the others are zero and stay zero in training. Not together with `groups`.
activation : {{"identity", "relu", "leaky_relu", "tanh", "logistic", "elu", "gelu"}}, default="relu"
fit_intercept : bool, default=True
    Whether a network trains an intercept per filter. Standing alone, those of "whitening" and "kmeans" take the mean
    patch away, so that responses have mean zero, and others are zero.
pool : pooling layer or None, default=None
    Pooling after the activation; max pooling is fused with the convolution.
algorithm : {{"auto", "direct", "winograd"}}, default="auto"
    How the sums are computed. "winograd" is F(4x4, 3x3) or F(4x4, 5x5) (Lavin and Gray, 2016) for 3x3 and 5x5
    kernels with at least 16 channels and filters; the output alone goes by F(4, 3), F(4, 5) or F(4, 4) along one axis
    for other kernels of 3, 5 or 7 rows. That takes 0.16 to 0.5 of the multiplications, at an error of some 1e-5 of the
    largest value; "auto" takes what is faster. Sums grow a hundredfold on the way: inputs above 1e36 overflow. "direct"
    is exact to the rounding of each sum.
trainable : bool, default=True
    Whether a network trains filters and intercepts, instead of leaving them as they were given, drawn or found.
image_shape : tuple of ints, default=None
    Shape of one image, where X is flat: {shape}.
random_state : int, RandomState instance or None, default=None
    Draws filters, or patches to find them in, standing alone; inside a network, the network draws.

Attributes
----------
filters_ : ndarray of shape ``(n_filters, *kernel_size, n_channels // groups)``
intercept_ : ndarray of shape (n_filters,)
image_shape_, output_shape_ : tuple
    Shape of one image and of its result, channels last.
n_features_in_ : int
feature_names_in_ : ndarray
    Where X was a frame with names.

Notes
-----
Costs ``prod(output size) * prod(kernel_size) * n_channels // groups * n_filters`` multiply-adds per image;
connections save none. Memory beside the result: one padded float copy of an image per thread. Many images are shared
out among threads, a few large ones are cut into bands of rows; the bits of the result do not depend on it.

References
----------
.. [1] LeCun, Boser, Denker, Henderson, Howard, Hubbard and Jackel, "Backpropagation applied to handwritten zip code
   recognition", Neural Computation 1(4), 1989.
.. [2] LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition", Proceedings of
   the IEEE 86(11), 1998.

Examples
--------
>>> import numpy as np
>>> from skconv import {name}
>>> X = np.ones({example}, dtype=np.float32)
>>> {name}(4, 3, random_state=0{given}).fit_transform(X).shape
{result}
"""


class Conv2DTransformer(_ConvTransformer):
    __doc__ = _DOC.format(
        what="images", n=2, shape="(height, width[, n_channels])", name="Conv2DTransformer", example=(10, 8, 8, 3),
        given="", result=(10, 8, 8, 4),
    )  # fmt: skip
    spatial_ndim = 2


class Conv1DTransformer(_ConvTransformer):
    __doc__ = _DOC.format(
        what="signals", n=1, shape="(length[, n_channels])", name="Conv1DTransformer", example=(10, 50, 3),
        given="", result=(10, 50, 4),
    )  # fmt: skip
    spatial_ndim = 1


class Conv3DTransformer(_ConvTransformer):
    __doc__ = _DOC.format(
        what="volumes", n=3, shape="(depth, height, width[, n_channels])", name="Conv3DTransformer",
        example=(10, 6, 8, 8, 1), given="", result=(10, 6, 8, 8, 4),
    )  # fmt: skip
    spatial_ndim = 3
