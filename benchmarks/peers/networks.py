"""The networks that are raced, as plain data, and how each side builds them.

A network is trained on one mini-batch of random images that stays in memory: the race is about computing, not about
reading data. Every convolution and every hidden dense layer is followed by a ReLU.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Conv:
    """A convolution of stride 1 with square filters, zero padding on all sides, and a ReLU."""

    n_filters: int
    kernel_size: int
    padding: int


@dataclass(frozen=True)
class Pool:
    """Max pooling over squares that do not overlap."""

    kernel_size: int


@dataclass(frozen=True)
class Hidden:
    """A dense layer and a ReLU."""

    n_units: int


@dataclass(frozen=True)
class Network:
    """Layers between images and class scores; the dense layer that gives the scores is not listed."""

    image_shape: tuple  # (height, width, n_channels)
    batch_size: int
    layers: tuple
    n_classes: int = 10


NETWORKS = {
    "digits": Network(
        image_shape=(8, 8, 1),
        batch_size=32,
        layers=(Conv(16, 3, padding=1), Pool(2), Conv(32, 3, padding=1), Pool(2)),
    ),
    "keras": Network(
        image_shape=(28, 28, 1),
        batch_size=128,
        layers=(Conv(32, 3, padding=0), Pool(2), Conv(64, 3, padding=0), Pool(2)),
    ),
    "cifar": Network(
        image_shape=(32, 32, 3),
        batch_size=128,
        layers=(
            Conv(32, 3, padding=1),
            Conv(32, 3, padding=1),
            Pool(2),
            Conv(64, 3, padding=1),
            Conv(64, 3, padding=1),
            Pool(2),
            Hidden(256),
        ),
    ),
    "lenet5": Network(
        image_shape=(28, 28, 1),
        batch_size=128,
        layers=(Conv(6, 5, padding=2), Pool(2), Conv(16, 5, padding=0), Pool(2), Hidden(120), Hidden(84)),
    ),
}


def taps_inside(n_pixels, layer):
    """Of all taps of all output pixels along an axis, how many see a pixel of the image."""
    n = n_pixels + 2 * layer.padding - layer.kernel_size + 1
    return sum(0 <= o + tap - layer.padding < n_pixels for o in range(n) for tap in range(layer.kernel_size))


def products(name, padding=True):
    """Return for every layer with weights how many multiply-adds its forward pass takes for one image.

    Direct convolution is counted: every filter tap at every output position.

    Parameters
    ----------
    name : str
    padding : bool, default=True
        Whether taps on the padding count, too.

    Returns
    -------
    counts : list of (multiply_adds, n_weights), biases not counted
    """
    network = NETWORKS[name]
    height, width, n_channels = network.image_shape
    counts = []
    for layer in (*network.layers, Hidden(network.n_classes)):
        if isinstance(layer, Conv):
            inside = taps_inside(height, layer) * taps_inside(width, layer)
            height += 2 * layer.padding - layer.kernel_size + 1
            width += 2 * layer.padding - layer.kernel_size + 1
            n_taps = height * width * layer.kernel_size**2 if padding else inside
            n_weights = layer.kernel_size**2 * n_channels * layer.n_filters
            counts.append((n_taps * n_channels * layer.n_filters, n_weights))
            n_channels = layer.n_filters
        elif isinstance(layer, Pool):
            height //= layer.kernel_size
            width //= layer.kernel_size
        else:
            n_weights = height * width * n_channels * layer.n_units
            counts.append((n_weights, n_weights))
            height, width, n_channels = 1, 1, layer.n_units
    return counts


def training_operations(name, padding=True):
    """Return the floating-point operations of training on one image; `padding` as for `products`.

    A multiply-add is two operations. Each layer runs forward, and computes the gradient to its weights and the one to
    its input; the first layer needs no gradient to its input. Pooling, activations and the optimiser are not counted.
    """
    first, *others = (multiply_adds for multiply_adds, _ in products(name, padding))
    return 2 * (2 * first + 3 * sum(others))


def random_batch(name, seed):
    """Return float32 images (batch_size, height, width, n_channels) and int64 labels in which every class occurs."""
    network = NETWORKS[name]
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((network.batch_size, *network.image_shape), dtype=np.float32)
    y = rng.permutation(np.arange(network.batch_size) % network.n_classes)
    return X, y


def first_weights(name, seed):
    """Return the parameters that every side starts from: (coef, intercept) of each layer with weights, float32.

    Convolutions are (rows, columns, channels, filters), dense layers (values, units), as skconv has them.
    """
    network = NETWORKS[name]
    rng = np.random.default_rng([seed, len(name)])
    n_channels = network.image_shape[2]
    weights = []
    for layer, (_, n_weights) in zip(
        (layer for layer in (*network.layers, Hidden(network.n_classes)) if not isinstance(layer, Pool)),
        products(name),
        strict=True,
    ):
        if isinstance(layer, Conv):
            shape = (layer.kernel_size, layer.kernel_size, n_channels, layer.n_filters)
            n_channels = layer.n_filters
        else:
            shape = (n_weights // layer.n_units, layer.n_units)
        deviation = np.sqrt(2 / np.prod(shape[:-1]))
        coef = (rng.standard_normal(shape) * deviation).astype(np.float32)
        weights.append((coef, (rng.standard_normal(shape[-1]) * 0.1).astype(np.float32)))
    return weights


def channels_first_rows(name, coef):
    """Return the weights of the first dense layer with rows in the order of flattened channels-first maps."""
    n_filters = [layer.n_filters for layer in NETWORKS[name].layers if isinstance(layer, Conv)][-1]
    return np.ascontiguousarray(coef.reshape(-1, n_filters, coef.shape[1]).swapaxes(0, 1).reshape(coef.shape))


def build_torch(name):
    """Return the network as a `torch.nn.Sequential`, which takes images channels first."""
    from torch import nn

    network = NETWORKS[name]
    n_channels = network.image_shape[2]
    modules, is_image = [], True
    # The first dense layer sees the flattened images; its width follows from its number of weights.
    widths = iter(n_weights for _, n_weights in products(name))
    for layer in (*network.layers, Hidden(network.n_classes)):
        if isinstance(layer, Conv):
            next(widths)
            modules += [nn.Conv2d(n_channels, layer.n_filters, layer.kernel_size, padding=layer.padding), nn.ReLU()]
            n_channels = layer.n_filters
        elif isinstance(layer, Pool):
            modules.append(nn.MaxPool2d(layer.kernel_size))
        else:
            if is_image:
                modules.append(nn.Flatten())
                is_image = False
            modules += [nn.Linear(next(widths) // layer.n_units, layer.n_units), nn.ReLU()]
    return nn.Sequential(*modules[:-1])  # the class scores have no ReLU


def fill_torch(model, name, weights):
    """Copy the weights of `first_weights` into a network of `build_torch`."""
    import torch

    layers = [module for module in model if hasattr(module, "weight")]
    is_image = True
    with torch.no_grad():
        for layer, (coef, intercept) in zip(layers, weights, strict=True):
            if coef.ndim == 4:
                coef = coef.transpose(3, 2, 0, 1)
            else:
                coef = (channels_first_rows(name, coef) if is_image else coef).T
                is_image = False
            layer.weight.copy_(torch.from_numpy(np.ascontiguousarray(coef)))
            layer.bias.copy_(torch.from_numpy(intercept))


def build_skconv(name, algorithm="auto", **parameters):
    """Return the network as an unfitted `CNNClassifier`, which adds the layer of class scores itself.

    `algorithm` is that of the convolutions; `parameters` go to the classifier.
    """
    from skconv import CNNClassifier, Conv2DTransformer, Dense, MaxPool

    network = NETWORKS[name]
    layers = []
    for i, layer in enumerate(network.layers, start=1):
        if isinstance(layer, Conv):
            spec = Conv2DTransformer(
                layer.n_filters, layer.kernel_size, padding=layer.padding, activation="relu", algorithm=algorithm
            )
            layers.append((f"conv{i}", spec))
        elif isinstance(layer, Pool):
            layers.append((f"pool{i}", MaxPool(layer.kernel_size)))
        else:
            layers.append((f"dense{i}", Dense(layer.n_units, activation="relu")))
    settings = dict(
        solver="adam", learning_rate="constant", learning_rate_init=0.001, alpha=0.0, batch_size=network.batch_size,
        random_state=0, standardize=False,
    )  # fmt: skip
    return CNNClassifier(layers=layers, **(settings | parameters))


def fill_skconv(coefs, intercepts, weights):
    """Copy the weights of `first_weights` into those of a network or of a fitted estimator."""
    for coef, intercept, (first_coef, first_intercept) in zip(coefs, intercepts, weights, strict=True):
        coef[...] = first_coef
        intercept[...] = first_intercept


def training_step(clf, X, y, weights):
    """Return ``step(n_steps)``, which trains a CNNClassifier, all on X as one mini-batch, and the network.

    It goes below the estimator's public methods, as a PyTorch loop does: no checks, no epochs, everything preloaded.
    A step returns the mean loss of the last call's mini-batches.
    """
    settings = clf._settings()
    images = np.ascontiguousarray(X)
    everyone = np.arange(len(y))
    codec = clf._new_codec(y, everyone, None)
    network, _ = clf._new_network(images, codec, everyone, None, np.random.RandomState(clf.random_state))
    targets = codec.encode(y, network.dtype)
    fill_skconv(network.coefs, network.intercepts, weights)
    state = network.solver_state()
    n = len(images)
    size = min(n, clf.batch_size)
    order, bounds = everyone, np.arange(0, n + 1, size)

    def step(n_steps):
        nonlocal order, bounds
        while len(bounds) <= n_steps:
            order, bounds = np.append(order, order), np.append(bounds, bounds[1:] + bounds[-1])
        rates = settings.rates(state.t, state.t, n_steps, state.t + n_steps)
        _, loss, _ = network.train(
            images, targets, order[: n_steps * size], bounds[: n_steps + 1], state=state, solver=settings.solver,
            rates=rates, settings=settings.for_engine(), loss=codec.loss,
        )  # fmt: skip
        state.t += n_steps
        return loss / (n_steps * size)

    return step
