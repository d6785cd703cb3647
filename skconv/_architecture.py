"""From what the user wrote to the layers of a network: flat tuples, named layers, and what "auto" means."""

import math
import re

import numpy as np
from sklearn.base import clone
from sklearn.utils.metaestimators import _BaseComposition

from . import layers as _layers
from ._geometry import check_choice, check_int, check_real, per_axis
from ._network import Network
from ._operations import ACTIVATIONS, Reshape, with_gradients
from .filters import Maps
from .layers.base import Layer

# Layers that a fitted network can be rebuilt from, by class name.
LAYERS = {name: getattr(_layers, name) for name in _layers.__all__}
MAX_LAYERS = 1000
# The convolution for a number of spatial axes.
CONV = {1: _layers.Conv1DTransformer, 2: _layers.Conv2DTransformer, 3: _layers.Conv3DTransformer}


def auto_conv_layer_sizes(image_shape):
    """Filters per convolution for an image size: 32, then twice as many after every halving, 128 at most.

    Layers are added while the smallest side that is more than one pixel is still over 4 pixels.

    Examples
    --------
    >>> auto_conv_layer_sizes((8, 8, 1)), auto_conv_layer_sizes((28, 28, 1)), auto_conv_layer_sizes((1, 1, 1))
    ((32, 64), (32, 64, 128), (32,))
    """
    side = max(image_shape[:-1])
    sizes = [32]
    while side > 4 and len(sizes) < 6:
        side = side // 2
        if side > 3:
            sizes.append(min(2 * sizes[-1], 128))
    return tuple(sizes)


def auto_hidden_layer_sizes(image_shape):
    """Units per hidden dense layer: one layer of 128."""
    return (128,)


def _sizes(value, name):
    """A tuple of layer sizes; an int is a tuple of one."""
    if not isinstance(value, list | tuple):
        value = (value,)
    if len(value) > MAX_LAYERS:
        raise ValueError(f"{name} must have at most {MAX_LAYERS} entries, got {len(value)}")
    return tuple(check_int(size, f"{name}[{i}]", minimum=1, maximum=2**20) for i, size in enumerate(value))


def flat_architecture(estimator, image_shape):
    """Layers of the flat parameters for one image shape.

    A convolution and a pooling for every entry of `conv_layer_sizes` (pooling only while the map is more than one
    pixel wide), dropout before every dense layer, a dense layer for every entry of `hidden_layer_sizes`.

    Returns
    -------
    layers : list of (name, Layer)
    conv_layer_sizes, hidden_layer_sizes : tuple
        What "auto" became.
    """
    ndim = len(image_shape) - 1
    conv = CONV[ndim]
    conv_layer_sizes, hidden_layer_sizes = estimator.conv_layer_sizes, estimator.hidden_layer_sizes
    if _is_auto(conv_layer_sizes, "conv_layer_sizes"):
        conv_layer_sizes = auto_conv_layer_sizes(image_shape)
    if _is_auto(hidden_layer_sizes, "hidden_layer_sizes"):
        hidden_layer_sizes = auto_hidden_layer_sizes(image_shape)
    conv_layer_sizes = _sizes(conv_layer_sizes, "conv_layer_sizes")
    hidden_layer_sizes = _sizes(hidden_layer_sizes, "hidden_layer_sizes")
    activation = check_choice(estimator.activation, "activation", ACTIVATIONS)
    pool = {"max": _layers.MaxPool, "average": _layers.AvgPool, None: None}[
        check_choice(estimator.pool, "pool", ("max", "average", None))
    ]
    pool_size = per_axis(estimator.pool_size, "pool_size", ndim, 1)
    rate = check_real(estimator.dropout, "dropout", 0, 1, inclusive="left")

    layers, shape = [], image_shape
    for i, n_filters in enumerate(conv_layer_sizes, start=1):
        layer = conv(
            n_filters, estimator.kernel_size, stride=estimator.stride, padding=estimator.padding, activation=activation
        )
        layers.append((f"conv{i}", layer))
        shape = layer.bind(shape, f"conv{i}")[-1].out_shape
        window = tuple(min(size, n) for size, n in zip(pool_size, shape[:-1], strict=True))
        if pool is not None and max(window) > 1:
            layer = pool(window)
            layers.append((f"pool{i}", layer))
            shape = layer.bind(shape, f"pool{i}")[-1].out_shape
    for i, n_units in enumerate(hidden_layer_sizes, start=1):
        if rate:
            layers.append((f"drop{i}", _layers.Dropout(rate)))
        layers.append((f"dense{i}", _layers.Dense(n_units, activation=activation)))
    if rate:
        layers.append((f"drop{len(hidden_layer_sizes) + 1}", _layers.Dropout(rate)))
    return layers, conv_layer_sizes, hidden_layer_sizes


def default_features(image_shape):
    """Layers of ConvFeatures by default: 32 filters found by k-means, and max pooling, no wider than the map."""
    ndim = len(image_shape) - 1
    layers = [("conv1", CONV[ndim](32, 3, filters="kmeans"))]
    window = tuple(min(2, n) for n in image_shape[:-1])
    return layers + [("pool1", _layers.MaxPool(window))] * (max(window) > 1)


def _is_auto(value, name):
    if isinstance(value, str):
        check_choice(value, name, ("auto",))
        return True
    return False


def are_pairs(layers):
    """Whether `layers` has the form of ``[(name, layer), ...]``."""
    return isinstance(layers, list | tuple) and all(
        isinstance(item, list | tuple) and len(item) == 2 and isinstance(item[0], str) for item in layers
    )


class NamedLayers(_BaseComposition):
    """Base of estimators with ``layers=[(name, layer), ...]``: parameters of the layers as ``name__parameter``."""

    def get_params(self, deep=True):
        """Get the parameters, with those of the layers as ``name__parameter``.

        Parameters
        ----------
        deep : bool, default=True

        Returns
        -------
        dict
        """
        if not are_pairs(self.layers):
            return super(_BaseComposition, self).get_params(deep=deep)
        return self._get_params("layers", deep=deep)

    def set_params(self, **params):
        """Set parameters; ``name=layer`` replaces a layer, ``name__parameter=value`` sets one of its parameters.

        Parameters
        ----------
        **params : dict

        Returns
        -------
        self : object
        """
        if not are_pairs(params.get("layers", self.layers)):  # None, or what fit will refuse
            return super(_BaseComposition, self).set_params(**params)
        return self._set_params("layers", **params)


def named_layers(layers, taken=()):
    """Check ``layers=[(name, layer), ...]`` and return clones; `taken` are names that mean something else."""
    if not are_pairs(layers):
        raise TypeError(f"layers must be a list of (name, layer) pairs, got {layers!r}")
    if len(layers) > MAX_LAYERS:
        raise ValueError(f"layers must have at most {MAX_LAYERS} entries, got {len(layers)}")
    names = [name for name, _ in layers]
    for name, layer in layers:
        # A subclass could not be rebuilt from its name after unpickling.
        if not isinstance(layer, Layer) or LAYERS.get(type(layer).__name__) is not type(layer):
            if isinstance(layer, type) and LAYERS.get(layer.__name__) is layer:
                raise TypeError(f"layer {name!r} is the class {layer.__name__}; use an instance, {layer.__name__}()")
            raise TypeError(
                f"layer {name!r} must be one of {', '.join(sorted(LAYERS))}, got {type(layer).__name__} ({layer!r})"
            )
        if names.count(name) > 1:
            raise ValueError(f"names of layers must be unique, got {name!r} {names.count(name)} times")
        if not name or "__" in name or name == "output":
            raise ValueError(f"the name of a layer must not be empty, 'output', or contain '__', got {name!r}")
        if name in taken:
            raise ValueError(
                f"the name of a layer must not be that of a parameter, got {name!r}; use {name + '1'!r}, say"
            )
    return [(name, clone(layer)) for name, layer in layers]


def bind(layers, image_shape):
    """Operations of named layers, each on the shape that the one before gives."""
    operations, shape = [], image_shape
    for name, layer in layers:
        operations += layer.bind(shape, name)
        shape = operations[-1].out_shape
    return operations


def initialize(network, layers, images, rng, *, trains=False, sample_weight=None):
    """Give a network its first weights, layer after layer: drawn, given, or found in what reaches the layer.

    Parameters
    ----------
    network : Network
        Of the operations of `layers`.
    layers : list of (name, Layer)
    images : ndarray of shape (n_samples, *in_shape)
        Only a bounded number of them goes through the network.
    rng : RandomState
        Draws in the order of the layers.
    trains : bool, default=False
        Whether training follows, which finds statistics by itself: they are then looked for only where filters are to
        be found in what comes out.
    sample_weight : ndarray of shape (n_samples,), default=None
        Weights of the images, where filters or statistics are found in them.
    """
    start = end = n_statistics = 0
    shape = images.shape[1:]
    for i, (name, layer) in enumerate(layers):
        learns = any(operation.learns for operation in network.operations[:start])
        stop = start + len(with_gradients(layer.bind(shape, name), learns))
        part = Network(network.operations[start:stop], dtype=network.dtype, isa=network.isa)
        if part.n_weights or part.statistics:
            needed = not trains or any(later.learns for _, later in layers[i:])
            looks = layer.learns or (layer.standardizes and needed)
            if looks or not layer.standardizes:
                before = _before(network, start) if looks else None
                layer.initialize(part, Maps(images, before, sample_weight), rng)
            else:
                part.initialize(rng)
            network.weights[end : end + part.n_weights] = part.weights  # they follow each other in the flat vector
            end += part.n_weights
            for pair, found in zip(network.statistics[n_statistics:], part.statistics, strict=False):
                pair[0][...], pair[1][...] = found
            n_statistics += len(part.statistics)
        start, shape = stop, part.out_shape


def _before(network, n_operations):
    """The first operations of a network with their weights, and what it does to images first; None if it is nothing."""
    if n_operations:
        return network.first(n_operations)
    if network.mean is None:
        return None
    shape = network.operations[0].in_shape
    identity = [Reshape("", shape, shape)]
    return Network(identity, dtype=network.dtype, mean=network.mean, scale=network.scale, isa=network.isa)


def describe(layers):
    """Named layers as plain data: (name, class name, parameters). First weights are left out: they are in `coefs_`."""
    return tuple(
        (name, type(layer).__name__, {key: _plain(key, value) for key, value in layer.get_params(deep=False).items()})
        for name, layer in layers
    )


def rebuild(description):
    """The layers that `describe` described."""
    return [
        (name, LAYERS[class_name](**{key: _not_plain(value) for key, value in parameters.items()}))
        for name, class_name, parameters in description
    ]


def _plain(key, value):
    if isinstance(value, Layer):
        return {"layer": describe([("", value)])[0]}
    if key == "filters" and not isinstance(value, str):
        return "random"
    if key == "connections" and value is not None:
        return np.asarray(value, dtype=bool).tolist()
    return None if key == "random_state" else value


def _not_plain(value):
    return rebuild([value["layer"]])[0][1] if isinstance(value, dict) and "layer" in value else value


def summary(operations):
    """A table of the layers: name, what it does, output shape, number of weights."""
    rows = [("layer", "operation", "output shape", "weights")]
    for operation in operations:
        kind = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(operation).__name__).lower()
        if hasattr(operation, "window"):
            kind = f"{kind} {'x'.join(map(str, operation.window.kernel_size))}"
        if getattr(operation, "activation", "identity") != "identity":
            kind += f", {operation.activation}"
        shape = " x ".join(map(str, operation.out_shape))
        rows.append((operation.name, kind, shape, f"{operation.n_parameters:,}" if operation.n_parameters else ""))
    total = sum(operation.n_parameters for operation in operations)
    rows.append(("", "", "total", f"{total:,}"))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    return "\n".join(
        f"{name:<{widths[0]}}  {kind:<{widths[1]}}  {shape:>{widths[2]}}  {count:>{widths[3]}}".rstrip()
        for name, kind, shape, count in rows
    )


def n_steps_to_epochs(n_samples, batch_size, n_steps, least, most):
    """Epochs that make about `n_steps` mini-batches, within bounds."""
    return max(least, min(most, math.ceil(n_steps / math.ceil(n_samples / batch_size))))
