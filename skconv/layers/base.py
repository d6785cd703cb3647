"""What all layers share: they bind to an image shape, and standing alone they are transformers."""

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from .._images import finite_check, read_images, remember_images
from .._network import Network
from ..filters import Maps


def _holds(array, value):
    """Whether an array of a network holds `value`, of its dtype; at once where this is the array itself."""
    is_itself = (
        array.shape == value.shape
        and array.strides == value.strides
        and array.__array_interface__["data"] == value.__array_interface__["data"]
    )
    return is_itself or np.array_equal(array, value)


class Layer(TransformerMixin, BaseEstimator):
    """Base of the layers.

    A layer holds what the user wrote. `bind` checks it against the shape that reaches the layer and answers with
    operations; a network puts the operations of its layers one after the other. Standing alone, `fit` makes a network
    of this one layer and `transform` runs it.
    """

    spatial_ndim = 2
    image_shape = None
    learns = False  # whether `initialize` looks at the data to find weights,
    standardizes = False  # ... or to find statistics, which training finds by itself

    def bind(self, in_shape, name=""):
        """Check the parameters and return what the layer does to images of one shape.

        Parameters
        ----------
        in_shape : tuple
            ``(*spatial, n_channels)``, or ``(n_features,)`` after a layer that flattens.
        name : str
            Name of the layer, for messages.

        Returns
        -------
        list of Operation
        """
        raise NotImplementedError

    def initialize(self, network, maps, rng):
        """Give a network of this layer alone its first weights: drawn, given, or found in what reaches the layer.

        Parameters
        ----------
        network : Network
            Of the operations that `bind` gave.
        maps : Maps
            What reaches the layer; looked at only where the layer `learns` or `standardizes`.
        rng : RandomState
        """
        network.initialize(rng)

    def _alone(self, in_shape):
        """The operations of the layer standing alone."""
        return self.bind(in_shape)

    def fit(self, X, y=None):
        """Learn the shape of the images, and draw or find the weights of layers that have some.

        Parameters
        ----------
        X : array-like of shape ``(n_samples, *spatial[, n_channels])`` or (n_samples, n_features)
        y : ignored

        Returns
        -------
        self : object
        """
        images = self._read(X, reset=True)
        spec = clone(self)
        network = Network(spec._alone(images.shape[1:]), dtype=self._dtype(images))
        spec.initialize(network, Maps(images), self._generator())
        remember_images(self, X, images)
        self.output_shape_ = network.out_shape
        self._n_features_out = int(np.prod(network.out_shape))
        self._remember(network)
        self._spec = spec  # what was fitted, whatever set_params does before the next fit
        self._networks = {network.dtype.name: network}
        return self

    def transform(self, X):
        """Run the layer.

        Parameters
        ----------
        X : array-like
            As in `fit`.

        Returns
        -------
        ndarray of shape ``(n_samples, *output_shape_)``, or ``(n_samples, n_features_out)`` for flat X
            float64 for float64, float32 for all else.
        """
        check_is_fitted(self)
        images = self._read(X, reset=False, ensure_finite=False)
        is_flat = not is_image_shaped(X)
        if not is_flat and len(self.output_shape_) > 1:
            self._check_container()
        # The network looks for NaN on its way: to read 30 MB once more takes as long as many a 1x1 convolution.
        result = self._network(self._dtype(images)).predict(images, refuse=finite_check(self))
        return result.reshape(len(result), -1) if is_flat else result

    def get_feature_names_out(self, input_features=None):
        """Names of the flattened outputs: class name, row, column and channel; or class name and number.

        Parameters
        ----------
        input_features : ignored

        Returns
        -------
        ndarray of str
            ``maxpool_r0_c1_f5`` where the result is images (``_d2_r0_c1_f5`` for volumes, ``_c1_f5`` for signals),
            ``dense5`` where it is flat.
        """
        check_is_fitted(self)
        return feature_names(type(self).__name__.lower(), self.output_shape_)

    def names_of_outputs(self, in_shape, name):
        """Names of the flattened outputs of the layer called `name` inside a stack."""
        shape = self.bind(in_shape)[-1].out_shape
        return feature_names(name if len(shape) > 1 else f"{name}_", shape)

    def _read(self, X, reset, ensure_finite=True):
        return read_images(
            self, X, reset=reset, image_shape=self.image_shape, spatial_ndim=self.spatial_ndim,
            ensure_finite=ensure_finite,
        )  # fmt: skip

    def _generator(self):
        try:
            return check_random_state(getattr(self, "random_state", None))
        except ValueError as error:
            raise ValueError(f"random_state={self.random_state!r}: {error}") from None

    def _check_container(self):
        """Refuse to make a frame of images: its rows are flat."""
        container = getattr(self, "_sklearn_output_config", {}).get("transform", get_config()["transform_output"])
        if container != "default":
            raise ValueError(
                f"set_output(transform={container!r}) asks for a frame, which cannot hold images of shape "
                f"{self.output_shape_}; pass flat X with image_shape, or end a ConvFeatures in Flatten()"
            )

    @staticmethod
    def _dtype(images):
        return "float64" if images.dtype == np.float64 else "float32"

    def _remember(self, network):
        """Keep what was drawn or learned, as plain arrays."""

    def _remembered(self):
        """What was kept, by attribute: weights with outputs last, intercepts, then statistics; nothing without any."""
        return {}

    def _network(self, dtype):
        """The network for one precision; rebuilt from the fitted arrays after unpickling, or where they changed."""
        networks = self.__dict__.setdefault("_networks", {})
        network, kept = networks.get(dtype), self._remembered()
        if (
            network is not None
            and network.operations[0].in_shape == self.image_shape_
            and all(
                array is None or _holds(array, np.asarray(value, dtype=array.dtype))
                for array, value in zip(network.arrays, kept.values(), strict=True)
            )
        ):
            return network
        network = Network(self._spec._alone(self.image_shape_), dtype=dtype)
        for array, (name, value) in zip(network.arrays, kept.items(), strict=True):
            if array is None:
                continue
            if np.shape(value) != array.shape:
                raise ValueError(
                    f"{name} was changed to an array that does not fit the layer: with outputs last, it must have "
                    f"shape {array.shape}, got {np.shape(value)}"
                )
            array[...] = value
        networks[dtype] = network
        return network

    def __getstate__(self):
        state = dict(super().__getstate__())
        state.pop("_networks", None)  # compiled: rebuilt from the fitted arrays
        return state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def feature_names(prefix, shape):
    """Names of the values of one sample, laid out flat.

    Examples
    --------
    >>> feature_names("dense", (3,))
    array(['dense0', 'dense1', 'dense2'], dtype=object)
    >>> feature_names("conv1", (1, 2, 2))
    array(['conv1_r0_c0_f0', 'conv1_r0_c0_f1', 'conv1_r0_c1_f0',
           'conv1_r0_c1_f1'], dtype=object)
    """
    if len(shape) == 1:
        return np.asarray([f"{prefix}{i}" for i in range(shape[0])], dtype=object)
    names = [prefix]
    for letter, n in zip(("d", "r", "c", "f")[-len(shape) :], shape, strict=True):
        names = [f"{name}_{letter}{i}" for name in names for i in range(n)]
    return np.asarray(names, dtype=object)


def is_image_shaped(X):
    """Whether X came as images rather than as flat rows."""
    shape = getattr(X, "shape", None)
    return len(np.shape(np.asarray(X)) if shape is None else shape) > 2


def as_text(name):
    """Prefix of a message: which layer is meant."""
    return f"layer {name!r}: " if name else ""


def spatial_shape(in_shape, name, what):
    """Check that images, not flat features, reach a layer; return the shape."""
    if len(in_shape) < 2:
        raise ValueError(
            f"{as_text(name)}{what} needs images, but flat features of shape {in_shape} reach it; "
            "put it before the layers that flatten (Flatten, Dense)"
        )
    return in_shape
