"""From what the user wrote to layers: "auto", flat parameters, named layers, and layers as plain data."""

import pickle

import numpy as np
import pytest

from skconv import (
    AvgPool,
    CNNClassifier,
    Conv1DTransformer,
    Conv2DTransformer,
    Conv3DTransformer,
    Dense,
    Dropout,
    Flatten,
    MaxPool,
    _architecture,
)
from skconv._network import Network


def layers_of(image_shape, **parameters):
    layers, conv, hidden = _architecture.flat_architecture(CNNClassifier(**parameters), image_shape)
    return layers, conv, hidden


@pytest.mark.parametrize(
    "image_shape, sizes",
    [
        ((1, 1, 1), (32,)),
        ((1, 9, 1), (32, 64)),
        ((4, 4, 3), (32,)),
        ((5, 5, 1), (32,)),
        ((8, 8, 1), (32, 64)),
        ((28, 28, 1), (32, 64, 128)),
        ((32, 32, 3), (32, 64, 128, 128)),
        ((64, 1), (32, 64, 128, 128, 128)),
        ((512, 512, 3), (32, 64, 128, 128, 128, 128)),
        ((8, 8, 8, 1), (32, 64)),
    ],
)
def test_auto_conv_layer_sizes(image_shape, sizes):
    assert _architecture.auto_conv_layer_sizes(image_shape) == sizes
    # ... and what they make fits, whatever the size.
    layers, conv, hidden = layers_of(image_shape)
    assert conv == sizes and hidden == (128,)
    operations = _architecture.bind([*layers, ("output", Dense(3))], image_shape)
    assert operations[-1].out_shape == (3,)


def test_flat_architecture_in_order():
    layers, conv, hidden = layers_of(
        (9, 7, 2), conv_layer_sizes=(4, 6), kernel_size=5, stride=1, padding="same", pool_size=3,
        hidden_layer_sizes=[10, 8], dropout=0.5, activation="elu",
    )  # fmt: skip
    assert [name for name, _ in layers] == [
        "conv1", "pool1", "conv2", "pool2", "drop1", "dense1", "drop2", "dense2", "drop3",
    ]  # fmt: skip
    assert conv == (4, 6) and hidden == (10, 8)
    named = dict(layers)
    assert isinstance(named["conv2"], Conv2DTransformer)
    assert (named["conv2"].n_filters, named["conv2"].kernel_size, named["conv2"].activation) == (6, 5, "elu")
    assert isinstance(named["pool1"], MaxPool) and named["pool1"].kernel_size == (3, 3)
    assert named["pool2"].kernel_size == (3, 2)  # 9 x 7 -> 3 x 2: clipped to the map
    assert named["drop2"].rate == 0.5 and named["dense2"].n_units == 8


def test_flat_architecture_leaves_out():
    assert [name for name, _ in layers_of((8, 8, 1), pool=None, dropout=0, conv_layer_sizes=4)[0]] == [
        "conv1",
        "dense1",
    ]
    assert layers_of((8, 8, 1), conv_layer_sizes=(), hidden_layer_sizes=(), dropout=0)[0] == []
    # Pooling where there is nothing to pool:
    assert "pool1" not in dict(layers_of((1, 1, 1), conv_layer_sizes=(4,))[0])
    assert dict(layers_of((1, 9, 1), conv_layer_sizes=(4,))[0])["pool1"].kernel_size == (1, 2)


@pytest.mark.parametrize(
    "image_shape, conv",
    [((9, 1), Conv1DTransformer), ((9, 9, 1), Conv2DTransformer), ((5, 5, 5, 1), Conv3DTransformer)],
)
def test_flat_architecture_takes_the_dimension_of_the_images(image_shape, conv):
    layers, _, _ = layers_of(image_shape, conv_layer_sizes=(4,), pool="average")
    assert isinstance(layers[0][1], conv) and isinstance(layers[1][1], AvgPool)


@pytest.mark.parametrize(
    "parameters, error, message",
    [
        (
            dict(kernel_size=9, padding="valid"),
            ValueError,
            "layer 'conv1': kernel_size=9 does not fit into an 8x8 image",
        ),
        (dict(kernel_size=5, padding="valid", conv_layer_sizes=(2, 2)), ValueError, "layer 'conv2': kernel_size=5"),
        (dict(conv_layer_sizes=(4,) * 1001), ValueError, "conv_layer_sizes must have at most 1000 entries, got 1001"),
        (dict(hidden_layer_sizes=(4, -1)), ValueError, r"hidden_layer_sizes\[1\] must be at least 1"),
    ],
)
def test_flat_architecture_errors(parameters, error, message):
    with pytest.raises(error, match=message):
        layers_of((8, 8, 1), **parameters)


def test_named_layers_are_cloned():
    pool = MaxPool(2)
    conv = Conv2DTransformer(4, pool=pool)
    ((_, cloned),) = _architecture.named_layers([("conv", conv)])
    assert cloned is not conv and cloned.pool is not pool
    assert _architecture.named_layers([]) == []


LAYERS = [
    ("conv", Conv2DTransformer(4, (3, 5), stride=2, padding=((1, 2), (0, 1)), pool=AvgPool(2, padding=1))),
    ("given", Conv2DTransformer(2, 1, filters=np.ones((2, 1, 1, 4)), activation="gelu", fit_intercept=False)),
    ("pool", MaxPool(2, stride=1, ceil_mode=True, padding="same")),
    ("flat", Flatten()),
    ("drop", Dropout(0.25)),
    ("fc", Dense(np.int64(7), activation="tanh", random_state=np.random.RandomState(0))),
]


def test_describe_and_rebuild_give_the_same_network():
    description = _architecture.describe(LAYERS)
    rebuilt = _architecture.rebuild(pickle.loads(pickle.dumps(description)))
    shape = (12, 11, 3)
    a, b = (_architecture.bind(layers, shape) for layers in (LAYERS, rebuilt))
    assert _architecture.summary(a) == _architecture.summary(b)
    networks = [Network(operations) for operations in (a, b)]
    networks[0].initialize(np.random.RandomState(0))
    networks[1].weights[...] = networks[0].weights
    X = np.random.default_rng(0).normal(size=(3, *shape)).astype(np.float32)
    np.testing.assert_array_equal(networks[0].predict(X), networks[1].predict(X))


def plain_parts(value):
    if isinstance(value, tuple | list):
        for part in value:
            yield from plain_parts(part)
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from plain_parts(key)
            yield from plain_parts(part)
    else:
        yield value


def test_descriptions_are_plain_data():
    kinds = {type(part) for part in plain_parts(_architecture.describe(LAYERS))}
    assert kinds <= {str, int, float, bool, type(None), np.int64}


def test_every_layer_can_be_rebuilt():
    for name, layer in _architecture.LAYERS.items():
        ((_, rebuilt),) = _architecture.rebuild(_architecture.describe([("x", layer())]))
        assert type(rebuilt).__name__ == name
        assert rebuilt.get_params() == layer().get_params()


def test_summary_is_a_table():
    lines = _architecture.summary(_architecture.bind(LAYERS, (12, 11, 3))).splitlines()
    assert lines[0].split() == ["layer", "operation", "output", "shape", "weights"]
    assert lines[1].split() == ["conv", "convolution", "3x5,", "relu", "7", "x", "4", "x", "4", "184"]
    operations = _architecture.bind(LAYERS, (12, 11, 3))
    assert lines[-1].split() == ["total", f"{sum(operation.n_parameters for operation in operations):,}"]
    assert len(lines) == 2 + len(operations)


@pytest.mark.parametrize(
    "n_samples, batch_size, expected", [(1437, 32, 45), (100, 32, 100), (60_000, 128, 10), (6400, 32, 10), (1, 1, 100)]
)
def test_n_steps_to_epochs(n_samples, batch_size, expected):
    assert _architecture.n_steps_to_epochs(n_samples, batch_size, 2000, 10, 100) == expected


def test_subclass_of_a_layer_is_refused():
    from skconv._architecture import named_layers

    class MyPool(MaxPool):
        pass

    with pytest.raises(TypeError, match="layer 'pool1' must be one of .*, got MyPool"):
        named_layers([("pool1", MyPool(2))])
