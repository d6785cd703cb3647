"""A network inside an estimator: built from parameters, attached to the fitted arrays, rebuilt where they changed."""

from inspect import signature

import numpy as np
from sklearn.utils.validation import check_is_fitted

from . import _architecture
from ._augment import resolve_augmentation
from ._images import channel_moments, finite_check, read_images
from ._network import Network

# Parameters that `layers` takes the place of.
_FLAT = (
    "conv_layer_sizes",
    "activation",
    "kernel_size",
    "stride",
    "padding",
    "pool",
    "pool_size",
    "hidden_layer_sizes",
    "dropout",
)
# Share of the usual first weights that the output layer gets. Max pooling makes maps larger from layer to layer, so
# logits would begin 2.6 in the mean square on digits, far from the uniform guess that they know nothing beyond. Digits,
# 5 folds of 3 seeds: 98.7 % correct with 1, 98.9 % with 0.3; 3,000 images of MNIST, on others: 97.8 and 98.0 %.
_FIRST_OUTPUTS = 0.3


def _handed_out(name):
    """A fitted attribute of arrays that are the network's own: once it was read, they may be edited in place.

    Until then predictions need not look whether they were, nor bring them into their forms anew: `cifar` of
    benchmarks/peers, one image, one thread: 345 in place of 440 microseconds.
    """

    def thaw(self):
        network = self.__dict__.get("_network")
        if network is not None:
            network.thaw()

    def read(self):
        if name not in self.__dict__:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        thaw(self)
        return self.__dict__[name]

    def write(self, value):
        thaw(self)
        self.__dict__[name] = value

    def remove(self):
        read(self)
        del self.__dict__[name]

    return property(read, write, remove)  # without a docstring: the classes describe their attributes


class FittedNetwork(_architecture.NamedLayers):
    """Base of estimators that hold a network. Subclasses have the parameters and know what outputs mean."""

    coefs_ = _handed_out("coefs_")
    intercepts_ = _handed_out("intercepts_")
    statistics_ = _handed_out("statistics_")

    # ---- building ----------------------------------------------------------------------------------------------

    def _layers_for(self, image_shape, codec):
        """Named layers with the output layer, and the attributes that say what "auto" became."""
        sizes = {}
        if self.layers is None:
            layers, sizes["conv_layer_sizes_"], sizes["hidden_layer_sizes_"] = _architecture.flat_architecture(
                self, image_shape
            )
        else:
            defaults = {name: signature(type(self)).parameters[name].default for name in _FLAT}
            changed = [name for name, default in defaults.items() if not _is_default(getattr(self, name), default)]
            if changed:
                raise ValueError(
                    f"{changed[0]}={getattr(self, changed[0])!r} has no effect where layers is given; set it in a "
                    f"layer, or leave {', '.join(changed)} at the default"
                )
            layers = _architecture.named_layers(self.layers, taken=self._get_param_names())
        output = _architecture.LAYERS["Dense"](codec.n_outputs, activation=codec.output_activation)
        return [*layers, ("output", output)], sizes

    def _trained_layers(self, layers):
        """The layers that act while the solver runs: what changes from step to step is nothing for L-BFGS."""
        dropout = _architecture.LAYERS["Dropout"]
        return [layer for layer in layers if self.solver != "lbfgs" or not isinstance(layer[1], dropout)]

    def _precision(self):
        """What networks compute in: line searches need more digits than noisy steps."""
        return "float64" if self.solver == "lbfgs" else "float32"

    def _new_network(self, images, codec, samples, weights, rng):
        """A network with first weights, and the attributes that describe it.

        Standardisation and filters found in data see `samples` only, with their weights if not None.
        """
        layers, attributes = self._layers_for(images.shape[1:], codec)
        layers = self._trained_layers(layers)
        attributes["architecture_"] = _architecture.describe(layers)
        operations = _architecture.bind(layers, images.shape[1:])
        augment = resolve_augmentation(self.augment, images.shape[1:])
        if len(samples) < len(images):
            part = np.zeros(len(images))
            part[samples] = 1 if weights is None else weights[samples]
            weights = part
        mean = scale = None
        if self.standardize:
            mean, scale = _channel_statistics(images, weights, self._precision())
        network = Network(operations, dtype=self._precision(), mean=mean, scale=scale, augment=augment)
        _architecture.initialize(network, layers, images, rng, trains=True, sample_weight=weights)
        network.coefs[-1][...] *= _FIRST_OUTPUTS
        return network, attributes | {"input_mean_": mean, "input_scale_": scale}

    def _continued(self, codec, what):
        """A network for `what` that goes on from the fitted weights; those must not change if training fails."""
        if self.standardize != (self.input_mean_ is not None):
            raise ValueError(f"{what} continues a fit with standardize={not self.standardize}; leave it as it was")
        layers, attributes = self._layers_for(self.image_shape_, codec)
        layers = self._trained_layers(layers)
        attributes["architecture_"] = _architecture.describe(layers)
        operations = _architecture.bind(layers, self.image_shape_)
        augment = resolve_augmentation(self.augment, self.image_shape_)
        network = Network(
            operations, dtype=self._precision(), mean=self.input_mean_, scale=self.input_scale_, augment=augment
        )
        before, now = ([np.shape(a) for a in arrays] for arrays in (self.coefs_, network.coefs))
        if before != now:
            raise ValueError(
                f"{what} continues with weights of shapes {before}, but the parameters now ask for {now}; "
                "leave the architecture as it was, or fit anew with warm_start=False"
            )
        self._fill(network)
        return network, attributes | {name: getattr(self, name) for name in ("input_mean_", "input_scale_")}

    # ---- the fitted network ------------------------------------------------------------------------------------

    def _fitted_network(self):
        """The network of the fitted arrays; rebuilt after unpickling or where they were replaced."""
        network = self.__dict__.get("_network")
        if network is None or not self._agrees(network):
            operations = _architecture.bind(_architecture.rebuild(self.architecture_), self.image_shape_)
            n_channels = self.image_shape_[-1]
            for name in ("input_mean_", "input_scale_"):
                value = getattr(self, name)
                if value is not None and np.shape(value) != (n_channels,):
                    raise ValueError(f"{name} must have shape {(n_channels,)}, got {np.shape(value)}")
            dtype = self.__dict__.get("_dtype", "float32")
            network = Network(operations, dtype=dtype, mean=self.input_mean_, scale=self.input_scale_)
            self._fill(network)
            self._attach(network)
        network.freeze()
        return network

    def _fill(self, network):
        """Copy the fitted arrays into a network."""
        _copy_weights(network.coefs, self.coefs_, "coefs_")
        _copy_weights(network.intercepts, self.intercepts_, "intercepts_")
        _copy_statistics(network.statistics, self.statistics_)

    def _agrees(self, network):
        """Whether the fitted attributes are still those of the network."""
        return (
            self.image_shape_ == network.operations[0].in_shape
            and (network.is_constant or self._holds(network))
            and _are_equal(self.input_mean_, network.mean)
            and _are_equal(self.input_scale_, network.scale)
        )

    def _holds(self, network):
        """Whether the arrays are the network's own, in which case those edited in place are, too."""
        names = ("coefs_", "intercepts_", "statistics_")
        mine, its = (
            (*coefs, None, *intercepts, None, *(array for pair in statistics for array in pair))
            for coefs, intercepts, statistics in (
                (self.__dict__[name] for name in names),  # past the properties: this is no user
                (network.coefs, network.intercepts, network.statistics),
            )
        )
        return len(mine) == len(its) and all(a is b for a, b in zip(mine, its, strict=True))

    def _attach(self, network):
        """Make the network's arrays the fitted ones."""
        self._network = network
        self._dtype = network.dtype.name
        # Past the properties: nobody has seen these arrays yet.
        self.__dict__["coefs_"] = list(network.coefs)
        self.__dict__["intercepts_"] = list(network.intercepts)
        self.__dict__["statistics_"] = list(network.statistics)

    def __getstate__(self):
        state = dict(super().__getstate__())
        state.pop("_network", None)  # compiled: rebuilt from the fitted arrays
        for name in ("coefs_", "intercepts_"):
            if name in state:  # copies: a view would take the whole flat vector along
                state[name] = [None if array is None else array.copy() for array in state[name]]
        if "statistics_" in state:
            state["statistics_"] = [tuple(array.copy() for array in pair) for pair in state["statistics_"]]
        return state

    def _set_fitted(self, network, attributes):
        """Set the fitted attributes, and those that follow from the network."""
        for name, value in attributes.items():
            setattr(self, name, value)
        self.n_layers_ = len(network.coefs) + 1
        self.n_outputs_ = network.out_shape[0]
        self.n_parameters_ = network.n_parameters
        self._attach(network)

    def _outputs(self, X, softmax=False):
        """Outputs of the network for new images, or with `softmax` shares of their exponentials."""
        check_is_fitted(self)
        images = self._read(X, reset=False, ensure_finite=False)
        return self._fitted_network().predict(images, softmax=softmax, refuse=finite_check(self))

    def layer_outputs(self, X, name):
        """Outputs of one layer: what reaches the next.

        Parameters
        ----------
        X : array-like, as in `fit`
        name : str
            Of a layer: as in `layers`; of the flat parameters ``"conv1"``, ``"pool1"``, ``"drop1"``, ``"dense1"`` and
            so on; ``"output"`` for what is turned into answers. `summary` shows them all.

        Returns
        -------
        ndarray of shape ``(n_samples, *out_shape)``
            Maps with channels last, float32 (float64 after ``solver="lbfgs"``). All of them are held in memory.

        Raises
        ------
        ValueError
            If no layer has this name.
        """
        check_is_fitted(self)
        network = self._fitted_network()
        names = [operation.name for operation in network.operations]
        if name not in names:
            known = ", ".join(dict.fromkeys(map(repr, names)))
            raise ValueError(f"name must be that of a layer, one of {known}; got {name!r}")
        last = len(names) - names[::-1].index(name)
        images = self._read(X, reset=False, ensure_finite=False)
        return network.first(last).predict(images, refuse=finite_check(self))

    def summary(self):
        """Return a table of the layers: name, operation, output shape, number of weights.

        Returns
        -------
        str
        """
        check_is_fitted(self)
        return _architecture.summary(self._fitted_network().operations)

    def __sklearn_is_fitted__(self):
        return "coefs_" in self.__dict__

    def _read(self, X, reset, ensure_finite=True):
        return read_images(
            self, X, reset=reset, image_shape=self.image_shape, spatial_ndim=self.spatial_ndim,
            ensure_finite=ensure_finite,
        )  # fmt: skip


def _are_equal(value, array):
    """Whether a fitted attribute is what a network has, which may be None."""
    return value is array or np.array_equal(value, array)


def _copy_weights(arrays, values, name):
    """Copy fitted weights, which a user may have replaced, into those of a network."""
    if len(values) != len(arrays):
        raise ValueError(f"{name} must hold {len(arrays)} arrays, got {len(values)}")
    for i, (array, value) in enumerate(zip(arrays, values, strict=True)):
        if array is not None:
            if np.shape(value) != array.shape:
                raise ValueError(f"{name}[{i}] must have shape {array.shape}, got {np.shape(value)}")
            array[...] = value


def _copy_statistics(pairs, values):
    """Copy fitted means and variances into those of a network."""
    if len(values) != len(pairs):
        raise ValueError(f"statistics_ must hold {len(pairs)} pairs of mean and variance, got {len(values)}")
    for i, (pair, value) in enumerate(zip(pairs, values, strict=True)):
        if len(value) != 2:
            raise ValueError(f"statistics_[{i}] must be a pair of mean and variance, got {len(value)} arrays")
        _copy_weights(pair, value, f"statistics_[{i}]")


def _is_default(value, default):
    """Whether a parameter has its default, be it as a NumPy number or string."""
    return not isinstance(value, list | tuple | np.ndarray | bool | np.bool_) and bool(value == default)


def _channel_statistics(images, weights, dtype):
    """Mean, and 1 / standard deviation (1 where a channel is constant), per channel."""
    mean, variance = channel_moments([images]) if weights is None else channel_moments([images], weights)
    deviation = np.sqrt(variance)
    # What rounding leaves of a constant channel is no scale, nor is what float32 cannot hold the reciprocal of.
    constant = deviation <= np.maximum(1e-7 * np.abs(mean), 1e-37)
    return mean.astype(dtype), np.where(constant, 1, 1 / np.where(constant, 1, deviation)).astype(dtype)
