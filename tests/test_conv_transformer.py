"""Convolution transformers: margins of the image's own pixels, groups, and tables of connections."""

import copy
import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from threadpoolctl import threadpool_limits

import reference
from builders import integers
from skconv import (
    AvgPool,
    ChannelPool,
    CNNClassifier,
    Conv1DTransformer,
    Conv2DTransformer,
    Conv3DTransformer,
    GlobalPool,
    LPPool,
    MaxPool,
)
from skconv._architecture import describe, rebuild

CONV = {1: Conv1DTransformer, 2: Conv2DTransformer, 3: Conv3DTransformer}
SIZES = {1: (9,), 2: (7, 6), 3: (4, 5, 3)}
# LeCun et al. (1998), table I: which of 6 maps feeds which of 16.
LENET = np.array(
    [[0, *range(4, 7), *range(9, 13), 14, 15], [0, 1, 5, 6, 7, 10, 11, 12, 13, 15], [0, 1, 2, 6, 7, 8, 11, 13, 14, 15],
     [1, 2, 3, 6, 7, 8, 9, 12, 14, 15], [2, 3, 4, 7, 8, 9, 10, 12, 13, 15], [3, 4, 5, 8, 9, 10, 11, 13, 14, 15]]
)  # fmt: skip
LENET = np.array([np.isin(np.arange(16), row) for row in LENET])


@pytest.mark.parametrize("spatial_ndim", [1, 2, 3])
@pytest.mark.parametrize("mode", ["constant", "reflect", "symmetric", "edge", "wrap"])
@pytest.mark.parametrize(
    "options, pads",
    [
        (dict(kernel_size=3, padding="same"), (1, 1)),
        (dict(kernel_size=4, padding="same_lower", dilation=2), (3, 3)),
        (dict(kernel_size=2, padding="full", dilation=6), (6, 6)),
        (dict(kernel_size=3, padding=2, stride=2), (2, 2)),
        (dict(kernel_size=2, padding="valid"), (0, 0)),
    ],
)
def test_padding_mode_is_numpys(spatial_ndim, mode, options, pads):
    rng = np.random.default_rng(0)
    X = integers(rng, 3, *SIZES[spatial_ndim], 2)
    filters = integers(rng, 5, *[options["kernel_size"]] * spatial_ndim, 2)
    layer = CONV[spatial_ndim](5, filters=filters, padding_mode=mode, activation="identity", **options)
    padded = np.pad(X, ((0, 0), *[pads] * spatial_ndim, (0, 0)), mode=mode)
    expected = reference.conv(
        padded, np.moveaxis(filters, 0, -1), stride=options.get("stride", 1), dilation=options.get("dilation", 1)
    )
    for dtype in (np.float32, np.float64):  # integers: exact in either
        np.testing.assert_array_equal(layer.fit_transform(X.astype(dtype)), expected)


def test_padding_mode_then_pooling_on_any_number_of_threads():
    X = np.random.default_rng(0).normal(size=(2, 300, 200, 3)).astype(np.float32)
    layer = Conv2DTransformer(16, 9, padding_mode="wrap", pool=MaxPool(2), random_state=0).fit(X)
    results = []
    for n_threads in (3, 1):
        with threadpool_limits(n_threads, user_api="openmp"):
            results.append(layer.transform(X))
    np.testing.assert_array_equal(*results)
    apart = Conv2DTransformer(16, 9, padding="valid", random_state=0).fit(X)
    apart.filters_ = layer.filters_
    padded = np.pad(X, ((0, 0), (4, 4), (4, 4), (0, 0)), mode="wrap")
    np.testing.assert_array_equal(results[0], MaxPool(2).fit_transform(apart.fit(padded).transform(padded)))


@pytest.mark.parametrize("spatial_ndim", [1, 2, 3])
@pytest.mark.parametrize("n_channels, n_filters, groups", [(6, 6, 6), (6, 12, 6), (6, 9, 3), (4, 2, 2)])
def test_groups_match_reference(spatial_ndim, n_channels, n_filters, groups):
    rng = np.random.default_rng(0)
    X = integers(rng, 3, *SIZES[spatial_ndim], n_channels)
    filters = integers(rng, n_filters, *[3] * spatial_ndim, n_channels // groups)
    layer = CONV[spatial_ndim](n_filters, filters=filters, groups=groups, activation="identity", padding=1)
    expected = reference.grouped_conv(X, np.moveaxis(filters, 0, -1), groups=groups, pad_before=1, pad_after=1)
    for dtype in (np.float32, np.float64):
        np.testing.assert_array_equal(layer.fit_transform(X.astype(dtype)), expected)
        np.testing.assert_array_equal(layer.filters_, filters)
    drawn = clone(layer).set_params(filters="random", random_state=0).fit(X)
    assert drawn.filters_.shape == filters.shape
    assert np.abs(drawn.filters_).max() <= np.sqrt(6 / (3**spatial_ndim * n_channels // groups))


def test_connections_match_reference():
    rng = np.random.default_rng(0)
    X, filters = integers(rng, 3, 9, 8, 6), integers(rng, 16, 5, 5, 6)
    weights = np.moveaxis(filters, 0, -1) * LENET
    expected = reference.conv(X, weights)
    for connections in (LENET, LENET.astype(float), LENET.astype(int).tolist()):
        layer = Conv2DTransformer(
            16, 5, filters=filters, connections=connections, padding="valid", activation="identity"
        )
        np.testing.assert_array_equal(layer.fit_transform(X.astype(float)), expected)
        np.testing.assert_array_equal(layer.filters_, np.moveaxis(weights, -1, 0))
    drawn = clone(layer).set_params(filters="random", random_state=0).fit(X).filters_
    np.testing.assert_array_equal(drawn.any(axis=(1, 2)), LENET.T)


@pytest.mark.parametrize("family", ["patches", "whitening", "pca", "kmeans"])
@pytest.mark.parametrize("options", [dict(groups=3), dict(connections=np.eye(6, 12, dtype=bool) | (np.arange(12) > 5))])
def test_families_of_filters_see_the_same_channels_as_the_filters(family, options):
    X = np.random.default_rng(0).normal(size=(20, 8, 8, 6))
    layer = Conv2DTransformer(12, 3, filters=family, padding_mode="edge", random_state=0, **options).fit(X)
    assert layer.filters_.shape == (12, 3, 3, 2 if "groups" in options else 6)
    if "connections" in options:
        np.testing.assert_array_equal(layer.filters_.any(axis=(1, 2)), options["connections"].T)


# ---- messages ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "parameters, error, message",
    [
        (dict(groups=4, n_filters=8), ValueError, "groups=4 must divide the number of channels, 6, and n_filters=8"),
        (dict(groups=3, n_filters=8), ValueError, "groups=3 must divide the number of channels, 6, and n_filters=8"),
        (dict(groups=12, n_filters=12), ValueError, "groups=12 must divide the number of channels, 6"),
        (dict(groups=0), ValueError, "groups must be at least 1, got 0"),
        (dict(groups=-1), ValueError, "groups must be at least 1, got -1"),
        (dict(groups=2.0), TypeError, "groups must be an int, got 2.0 (float)"),
        (dict(groups=True), TypeError, "groups must be an int, got True (bool)"),
        (dict(groups=None), TypeError, "groups must be an int, got None"),
        (dict(padding_mode="zeros"), ValueError, "padding_mode must be one of 'constant', 'reflect', 'symmetric'"),
        (dict(padding_mode=None), ValueError, "padding_mode must be one of"),
        (dict(padding_mode="maximum"), ValueError, "padding_mode must be one of"),
        (dict(connections=np.ones((6, 4)), groups=2), ValueError, "and so does groups=2; set groups=1"),
        (dict(connections=np.ones((4, 6))), ValueError, "shape (6, 4), got shape (4, 6)"),
        (dict(connections=[1, 0]), ValueError, "shape (6, 4), got shape (2,)"),
        (dict(connections=[[1], [1, 0]]), ValueError, "connections is ragged"),
        (dict(connections=np.full((6, 4), 2)), ValueError, "connections must hold bools, or zeros and ones, got"),
        (dict(connections=np.full((6, 4), 0.5)), ValueError, "connections must hold bools, or zeros and ones"),
        (dict(connections=np.full((6, 4), np.nan)), ValueError, "connections must hold bools, or zeros and ones"),
        (dict(connections=np.full((6, 4), "1")), ValueError, "connections must hold bools, or zeros and ones"),
        (dict(connections=np.eye(6, 4) * [1, 1, 0, 1]), ValueError, "connections leave filter 2 without any channel"),
        (dict(connections="all"), ValueError, "shape (6, 4), got shape ()"),
        (
            dict(filters=np.ones((4, 3, 3, 6)), groups=2),
            ValueError,
            "n_channels // groups=6 // 2 = 3, got shape (4, 3, 3, 6)",
        ),
        (dict(groups=2, n_filters=32, algorithm="winograd"), ValueError, "algorithm='winograd' needs"),
        (dict(filters="pca", n_filters=60, groups=3, kernel_size=1), ValueError, "n_filters=60"),
    ],
)
def test_messages(parameters, error, message):
    layer = Conv2DTransformer(**{"n_filters": 4, **parameters})
    with pytest.raises(error) as raised:
        layer.fit(np.random.default_rng(0).normal(size=(2, 8, 7, 6)))
    assert message in str(raised.value)
    with pytest.raises(error) as raised:
        layer.bind((8, 7, 6), "conv2")
    assert str(raised.value).startswith("layer 'conv2': ")


# ---- inside a network ----------------------------------------------------------------------------------------------

LAYERS = [
    ("conv1", Conv2DTransformer(6, 5, padding_mode="symmetric", pool=MaxPool(2))),
    ("conv2", Conv2DTransformer(16, 3, connections=LENET, padding="valid", pool=AvgPool(2))),
    ("conv3", Conv2DTransformer(16, 1, groups=16, padding=1, padding_mode="edge")),
    ("conv4", Conv2DTransformer(8, 3, groups=4)),
]


def data():
    rng = np.random.default_rng(0)
    y = np.arange(120) % 3
    X = rng.normal(size=(120, 12, 12, 2))
    X[y == 1, :6] += 1
    X[y == 2, :, 6:] += 1
    return X.astype(np.float32), y


def test_classifier_learns_pickles_and_clones():
    X, y = data()
    classifier = CNNClassifier(layers=LAYERS, max_iter=15, random_state=0).fit(X, y)
    assert classifier.score(X, y) > 0.9
    assert not classifier.coefs_[1][:, :, ~LENET].any() and classifier.coefs_[1][:, :, LENET].all()
    assert [coef.shape for coef in classifier.coefs_[:4]] == [(5, 5, 2, 6), (3, 3, 6, 16), (1, 1, 1, 16), (3, 3, 4, 8)]
    expected = classifier.predict_proba(X)
    text = pickle.dumps(classifier)
    np.testing.assert_array_equal(pickle.loads(text).predict_proba(X), expected)
    np.testing.assert_array_equal(clone(classifier).fit(X, y).predict_proba(X), expected)
    with threadpool_limits(3, user_api="openmp"):
        np.testing.assert_array_equal(clone(classifier).fit(X, y).predict_proba(X), expected)


def test_descriptions_are_plain_and_rebuild_the_same_operations():
    description = describe(LAYERS)
    connections = dict(item[::2] for item in description)["conv2"]["connections"]
    assert connections == LENET.tolist() and type(connections[0][0]) is bool
    for (_, layer), (_, rebuilt), n_channels in zip(LAYERS, rebuild(description), (2, 6, 16, 16), strict=True):
        shape = (12, 12, n_channels)
        for operation, other in zip(layer.bind(shape), rebuilt.bind(shape), strict=True):
            assert repr(operation) == repr(other)
            if getattr(operation, "connections", None) is not None:
                np.testing.assert_array_equal(operation.connections, other.connections)


def test_grid_search_over_groups_connections_and_padding_modes():
    X, y = data()
    layers = [("conv1", Conv2DTransformer(4, 3)), ("conv2", Conv2DTransformer(8, 3, pool=MaxPool(4)))]
    grid = {
        "conv2__groups": [1, 4],
        "conv1__padding_mode": ["constant", "reflect"],
    }
    search = GridSearchCV(CNNClassifier(layers=layers, max_iter=2, random_state=0), grid, cv=2).fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    grid = {"conv2__connections": [None, np.eye(4, 8, dtype=bool) | (np.arange(8) > 3)]}
    search = GridSearchCV(CNNClassifier(layers=layers, max_iter=2, random_state=0), grid, cv=2).fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@pytest.mark.parametrize("pool", [LPPool(2), GlobalPool(), GlobalPool("average"), ChannelPool(2)])
def test_every_pooling_layer_may_follow(pool):
    X, y = data()
    layer = Conv2DTransformer(6, 3, groups=2, pool=pool, random_state=0)
    apart = pool.fit_transform(clone(layer).set_params(pool=None).fit_transform(X))
    # The same sums, in another order where the windows are large.
    np.testing.assert_allclose(layer.fit_transform(X), apart, rtol=1e-5, atol=1e-5)
    classifier = CNNClassifier(layers=[("conv", layer)], max_iter=2, random_state=0).fit(X, y)
    expected = classifier.predict_proba(X)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(classifier)).predict_proba(X), expected)


def test_filters_beyond_float32_are_refused():
    filters = np.full((1, 3, 3, 1), 1e39)
    layer, X = Conv2DTransformer(1, filters=filters), np.zeros((2, 5, 5))
    assert layer.fit(X).filters_.max() == 1e39
    with pytest.raises(ValueError, match=r"filters hold values of 1e\+39, too large for float32; scale them"):
        layer.fit(X.astype(np.float32))
    with pytest.raises(ValueError, match="layer 'c': filters hold values"):
        CNNClassifier(layers=[("c", layer)]).fit(X, [0, 1])


def test_filters_may_be_changed_in_place():
    """They are the network's own, but in copies of the layer, which have a network of their own."""
    x = np.random.default_rng(0).normal(size=(3, 9, 9, 4)).astype(np.float32)
    layer = Conv2DTransformer(20, 3, activation="identity", random_state=0).fit(x)
    expected = layer.transform(x)
    for other in (layer, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        np.testing.assert_array_equal(other.transform(x), expected)
        other.filters_ *= 2
        np.testing.assert_array_equal(other.transform(x), 2 * expected)
        np.testing.assert_allclose(other.transform(x.astype(np.float64)), 2 * expected, rtol=0, atol=1e-4)
        other.filters_ = other.filters_ / 2
        np.testing.assert_array_equal(other.transform(x), expected)
        other.filters_[...] *= 2
        np.testing.assert_array_equal(other.transform(x), 2 * expected)
        other.filters_ /= 2
