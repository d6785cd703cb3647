"""A stack of layers as one transformer."""

from sklearn.utils.validation import check_is_fitted

from . import _architecture
from .layers import Flatten
from .layers.base import Layer, feature_names


class ConvFeatures(_architecture.NamedLayers, Layer):
    """Turn images into features by a stack of layers, fused into one pass.

    `fit` goes through the layers one after the other: filters are drawn, or found in what reaches them
    (``filters="kmeans"``), on a bounded random sample of the images. `transform` runs all layers as one network, a few
    images at a time, so that no map of the whole data set is ever stored. Nothing is trained; see
    :class:`CNNClassifier` for that.

    Images give images where the last layer does, and flat rows always give flat rows. For an estimator that wants two
    dimensions, put :class:`Flatten` last.

    Parameters
    ----------
    layers : list of (str, layer), default=None
        Layers with names, which are cloned. Their parameters are reached by name, as in a Pipeline:
        ``conv1__n_filters``; so no layer may have the name of a parameter below. None means 32 filters of 3x3 pixels
        found by k-means, rectified, and 2x2 max pooling.
    spatial_ndim : {1, 2, 3}, default=2
        Signals, images or volumes.
    image_shape : tuple of ints, default=None
        Shape of one image, where X is flat. None: a square gray image (for spatial_ndim=3 a cubic volume), or a signal
        of up to 64 values.
    random_state : int, RandomState instance or None, default=None
        Draws the weights of all layers, and the patches to find filters in; the layers' own `random_state` is not used.

    Attributes
    ----------
    coefs_ : list of ndarray
        Weights of every layer that has some, outputs last: ``(*kernel_size, n_channels, n_filters)`` or
        ``(n_inputs, n_units)``.
    intercepts_ : list of ndarray or None
    statistics_ : list of (mean, variance)
        Of every BatchNorm, over all images.
    image_shape_, output_shape_ : tuple
        Shape of one image and of its result, channels last.
    n_features_in_ : int
    feature_names_in_ : ndarray
        Where X was a frame with names.

    Notes
    -----
    The bits of the result do not depend on the number of threads, the memory layout of X and its split into batches.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from skconv import Conv2DTransformer, ConvFeatures, MaxPool
    >>> X, y = load_digits(return_X_y=True)
    >>> features = ConvFeatures(
    ...     [("conv1", Conv2DTransformer(16, 3, filters="whitening")), ("pool1", MaxPool(2))], random_state=0
    ... )
    >>> features.fit_transform(X).shape, features.output_shape_
    ((1797, 256), (4, 4, 16))
    >>> pipeline = make_pipeline(features, LogisticRegression(max_iter=1000)).fit(X[:1000], y[:1000])
    """

    def __init__(self, layers=None, *, spatial_ndim=2, image_shape=None, random_state=None):
        self.layers = layers
        self.spatial_ndim = spatial_ndim
        self.image_shape = image_shape
        self.random_state = random_state

    learns = True

    def bind(self, in_shape, name=""):
        return _architecture.bind(self._layers_for(in_shape), in_shape)

    def initialize(self, network, maps, rng):
        _architecture.initialize(network, self._layers_for(maps.shape), maps.images, rng)

    def _layers_for(self, in_shape):
        """Named layers; those of None for the images' number of axes, with windows no larger than the map."""
        if self.layers is None:
            return _architecture.default_features(in_shape)
        layers = _architecture.named_layers(self.layers, taken=self._get_param_names())
        if not layers:
            raise ValueError("layers must hold at least one (name, layer) pair, got none")
        return layers

    def get_feature_names_out(self, input_features=None):
        """Names of the flattened outputs: name of the layer that gives them, row, column and channel; or number.

        Parameters
        ----------
        input_features : ignored

        Returns
        -------
        ndarray of str
            ``pool1_r0_c1_f5`` where the result is images, also where `Flatten` has laid them out
            (``_d2_r0_c1_f5`` for volumes, ``_c1_f5`` for signals); ``dense1_5`` else. Gabor filters keep theirs.
        """
        check_is_fitted(self)
        shapes = [self.image_shape_]
        layers = self._spec._layers_for(self.image_shape_)
        for name, layer in layers:
            shapes.append(layer.bind(shapes[-1], name)[-1].out_shape)
        last = len(layers) - 1
        while last > 0 and isinstance(layers[last][1], Flatten):
            last -= 1
        name, layer = layers[last]
        if isinstance(layer, Flatten):  # nothing but Flatten: pixels of the images themselves
            return feature_names(name, shapes[last])
        return layer.names_of_outputs(shapes[last], name)

    def summary(self):
        """Return a table of the layers: name, operation, output shape, number of weights.

        Returns
        -------
        str
        """
        check_is_fitted(self)
        return _architecture.summary(self._spec.bind(self.image_shape_))

    def _remember(self, network):
        self.coefs_ = [coef.copy() for coef in network.coefs]
        self.intercepts_ = [None if intercept is None else intercept.copy() for intercept in network.intercepts]
        self.statistics_ = [(mean.copy(), variance.copy()) for mean, variance in network.statistics]

    def _remembered(self):
        statistics = [array for pair in self.statistics_ for array in pair]
        return {
            f"{name}[{i}]": array
            for name, arrays in (
                ("coefs_", self.coefs_),
                ("intercepts_", self.intercepts_),
                ("statistics_", statistics),
            )
            for i, array in enumerate(arrays)
        }
