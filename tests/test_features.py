"""ConvFeatures: layers as one transformer."""

import pickle
import threading
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils.estimator_checks import estimator_checks_generator
from threadpoolctl import threadpool_limits

from skconv import (
    AvgPool,
    BatchNorm,
    Conv1DTransformer,
    Conv2DTransformer,
    Conv3DTransformer,
    ConvFeatures,
    Dense,
    Dropout,
    Flatten,
    GaborFilterBank,
    GlobalPool,
    MaxPool,
)

DIGITS, LABELS = load_digits(return_X_y=True)
IMAGES = {1: (20,), 2: (10, 8), 3: (4, 6, 5)}
CONV = {1: Conv1DTransformer, 2: Conv2DTransformer, 3: Conv3DTransformer}


def stack(**parameters):
    layers = [
        ("conv1", Conv2DTransformer(6, 3, filters="kmeans", padding="valid")),
        ("pool1", MaxPool(2)),
        ("conv2", Conv2DTransformer(5, 2, filters="whitening", activation="identity", pool=AvgPool(2))),
        ("drop", Dropout(0.5)),
    ]
    return ConvFeatures(layers, **{"random_state": 0} | parameters)


CHECKED = [
    ConvFeatures(),
    ConvFeatures(spatial_ndim=1),
    ConvFeatures(spatial_ndim=3, random_state=0),
    ConvFeatures([("conv1", Conv2DTransformer(3, filters="patches")), ("dense1", Dense(4))], random_state=0),
    ConvFeatures([("conv1", Conv2DTransformer(3)), ("pool1", MaxPool(2, padding="same")), ("flat", Flatten())]),
]


@pytest.mark.parametrize(
    "features, check",
    [pair for features in CHECKED for pair in estimator_checks_generator(features)],
    ids=lambda value: getattr(getattr(value, "func", value), "__name__", ""),
)
def test_check_estimator(features, check):
    check(features)


# ---- one network, the same bits ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_equals_the_layers_one_after_the_other(dtype):
    X = np.random.default_rng(0).integers(256, size=(9, 12, 10, 2)).astype(dtype)
    features = stack().fit(X)
    result = features.transform(X)
    assert result.dtype == (np.float64 if dtype == np.float64 else np.float32)
    maps = X
    for i, layer in enumerate(
        [
            Conv2DTransformer(6, 3, padding="valid"),
            MaxPool(2),
            Conv2DTransformer(5, 2, activation="identity"),
            AvgPool(2),
        ]
    ):
        layer.fit(maps)
        if i in (0, 2):
            layer.filters_ = np.moveaxis(features.coefs_[i // 2], -1, 0)
            layer.intercept_ = features.intercepts_[i // 2]
        maps = layer.transform(maps)
    np.testing.assert_array_equal(result, maps)
    assert result.shape == (9, *features.output_shape_) == (9, 2, 2, 5)


@pytest.mark.parametrize("spatial_ndim", [1, 2, 3])
@pytest.mark.parametrize("family", ["random", "patches", "whitening", "pca", "kmeans"])
@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_one_layer_is_the_layer(spatial_ndim, family, dtype):
    X = np.random.default_rng(0).integers(256, size=(7, *IMAGES[spatial_ndim], 2)).astype(dtype)
    layer = CONV[spatial_ndim](4, 2, filters=family, random_state=0)
    alone = layer.fit_transform(X)
    features = ConvFeatures([("conv1", layer)], spatial_ndim=spatial_ndim, random_state=0)
    np.testing.assert_array_equal(features.fit_transform(X), alone)
    np.testing.assert_array_equal(np.moveaxis(features.coefs_[0], -1, 0), layer.filters_)


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_batch_norm_knows_all_that_reaches_it(dtype):
    X = np.random.default_rng(0).integers(256, size=(40, 12, 10, 2)).astype(dtype)
    layers = [
        ("norm1", BatchNorm()),
        ("conv1", Conv2DTransformer(6, 3, filters="pca", activation="identity")),
        ("norm2", BatchNorm(activation="relu")),
        ("conv2", Conv2DTransformer(5, 2, filters="pca")),
    ]
    features = ConvFeatures(layers, random_state=0).fit(X)
    maps, rng = X, np.random.RandomState(0)
    for i, (_, layer) in enumerate(layers):
        layer = clone(layer).set_params(**({"random_state": rng} if i % 2 else {}))
        maps = layer.fit_transform(maps)
        if i % 2 == 0:
            mean, variance = features.statistics_[i // 2]
            np.testing.assert_allclose(mean, layer.mean_, rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(variance, layer.var_, rtol=1e-5)
    np.testing.assert_allclose(features.transform(X), maps, rtol=0, atol=1e-4 * np.abs(maps).max())
    copied = pickle.loads(pickle.dumps(features))
    np.testing.assert_array_equal(copied.transform(X), features.transform(X))
    features.statistics_[0] = tuple(2 * values for values in features.statistics_[0])
    assert not np.allclose(features.transform(X), maps)


@pytest.mark.parametrize("layer", [MaxPool(2), AvgPool(3, stride=1), Dense(5, random_state=0), Dropout(), Flatten()])
def test_one_layer_without_filters_is_the_layer(layer):
    X = np.random.default_rng(0).normal(size=(7, 6, 5, 2))
    np.testing.assert_array_equal(
        ConvFeatures([("one", layer)], random_state=0).fit_transform(X), clone(layer).fit_transform(X)
    )


def test_deeper_filters_are_found_in_what_reaches_them():
    X = np.random.default_rng(0).normal(size=(30, 10, 10, 1))
    first = ConvFeatures([("conv1", Conv2DTransformer(3, filters="pca")), ("pool1", MaxPool(2))], random_state=0)
    second = Conv2DTransformer(4, filters="pca", activation="identity", padding="valid")
    both = ConvFeatures([*first.layers, ("conv2", second)], random_state=0).fit(X)
    maps = first.fit_transform(X)
    np.testing.assert_allclose(both.transform(X), second.fit_transform(maps), rtol=0, atol=1e-12)


@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_n_threads_agnosticism(n_threads):
    X = np.random.default_rng(0).integers(256, size=(300, 9, 9, 1)).astype(np.uint8)
    features = stack()
    expected = features.fit_transform(X)
    with threadpool_limits(n_threads):
        np.testing.assert_array_equal(clone(features).fit_transform(X), expected)
        np.testing.assert_array_equal(
            np.concatenate([features.transform(X[a : a + 70]) for a in range(0, 300, 70)]), expected
        )
    fortran = np.asfortranarray(X)
    np.testing.assert_array_equal(clone(features).fit(fortran).transform(fortran), expected)
    np.testing.assert_array_equal(clone(features).fit_transform(X.astype(np.float32)), expected)


def test_transform_from_many_threads():
    X = np.random.default_rng(0).normal(size=(50, 9, 9, 1)).astype(np.float32)
    features = stack().fit(X)
    expected = features.transform(X)
    features = pickle.loads(pickle.dumps(features))  # whose networks are yet to be built
    results = []
    threads = [threading.Thread(target=lambda: results.append(features.transform(X))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    for result in results:
        np.testing.assert_array_equal(result, expected)


def test_no_map_of_all_samples_is_stored():
    """64 channels of 24x24 pixels for 2,000 samples would be 295 MB; what is there beside the result does not grow."""
    features = ConvFeatures(
        [("conv1", Conv2DTransformer(64)), ("pool1", AvgPool(24)), ("dense1", Dense(3))], random_state=0
    )
    X = np.random.default_rng(0).integers(256, size=(2000, 24, 24, 1)).astype(np.uint8)
    features.fit(X[:10])
    peaks = []
    for n in (500, 2000):
        features = pickle.loads(pickle.dumps(features))  # without what earlier calls allocated
        tracemalloc.start()
        result = features.transform(X[:n])
        peaks.append(tracemalloc.get_traced_memory()[1] - result.nbytes)
        tracemalloc.stop()
    assert peaks[0] > 100_000  # the maps of a few samples
    assert peaks[1] < peaks[0] + 100_000 < 2**23


# ---- shapes, names, frames -----------------------------------------------------------------------------------------


def test_flat_in_flat_out():
    X = np.random.default_rng(0).normal(size=(5, 10, 8, 3)).astype(np.float32)
    features = stack().fit(X)
    images = features.transform(X)
    flat = stack(image_shape=(10, 8, 3)).fit(X.reshape(5, -1))
    assert features.image_shape_ == flat.image_shape_ == (10, 8, 3) and flat.n_features_in_ == 240
    assert images.shape == (5, *features.output_shape_)
    for fitted in (features, flat):
        np.testing.assert_array_equal(fitted.transform(X), images)
        np.testing.assert_array_equal(fitted.transform(X.reshape(5, -1)), images.reshape(5, -1))
    flattened = ConvFeatures([*stack().layers, ("flat", Flatten())], random_state=0).fit(X)
    np.testing.assert_array_equal(flattened.transform(X), images.reshape(5, -1))


@pytest.mark.parametrize(
    "layers, first, last, n",
    [
        ([("conv1", Conv2DTransformer(4)), ("pool1", MaxPool(2))], "pool1_r0_c0_f0", "pool1_r3_c3_f3", 64),
        ([("pool1", MaxPool(2)), ("flat", Flatten())], "pool1_r0_c0_f0", "pool1_r3_c3_f0", 16),
        ([("flat", Flatten())], "flat_r0_c0_f0", "flat_r7_c7_f0", 64),
        ([("flat", Flatten()), ("again", Flatten())], "flat_r0_c0_f0", "flat_r7_c7_f0", 64),
        ([("dense1", Dense(12))], "dense1_0", "dense1_11", 12),
        ([("dense1", Dense(12)), ("flat", Flatten())], "dense1_0", "dense1_11", 12),
    ],
)
def test_feature_names(layers, first, last, n):
    features = ConvFeatures(layers, random_state=0)
    with pytest.raises(NotFittedError):
        features.get_feature_names_out()
    names = features.fit(DIGITS[:20]).get_feature_names_out()
    assert names.dtype == object and len(names) == n and (names[0], names[-1]) == (first, last)
    assert len(set(names)) == n
    frame = features.set_output(transform="pandas").transform(DIGITS[:20])
    assert isinstance(frame, pd.DataFrame) and list(frame.columns) == list(names)


def test_gabor_filters_keep_their_names():
    X = np.random.default_rng(0).random((3, 12, 12))
    bank = GaborFilterBank(2, frequencies=(0.25,), features="moments")
    alone = bank.fit(X).get_feature_names_out()
    stacked = ConvFeatures([("gabor", bank)]).fit(X)
    np.testing.assert_array_equal(stacked.get_feature_names_out(), alone)
    maps = GaborFilterBank(2, frequencies=(0.25,))
    names = ConvFeatures([("g", maps), ("flat", Flatten())]).fit(X).get_feature_names_out()
    assert names[[0, 3]].tolist() == ["g_f0.25_t0_y0_x0", "g_f0.25_t90_y0_x1"]
    names = ConvFeatures([("g", maps), ("mean", GlobalPool())]).fit(X).get_feature_names_out()
    assert names.tolist() == ["mean_0", "mean_1"]


def test_feature_names_say_where():
    """The name of the largest value says where the pixel lies."""
    X = np.zeros((1, 6, 7, 2))
    X[0, 4, 2, 1] = 1
    pool = MaxPool(1).fit(X)
    assert pool.get_feature_names_out()[pool.transform(X.reshape(1, -1)).argmax()] == "maxpool_r4_c2_f1"
    X = np.zeros((1, 3, 6, 7, 2))
    X[0, 2, 4, 3, 0] = 1
    pool = AvgPool(1, spatial_ndim=3).fit(X)
    assert pool.get_feature_names_out()[pool.transform(X.reshape(1, -1)).argmax()] == "avgpool_d2_r4_c3_f0"
    assert MaxPool(2, spatial_ndim=1).fit(np.ones((1, 4, 1))).get_feature_names_out()[1] == "maxpool_c1_f0"


def test_frames():
    frame = pd.DataFrame(DIGITS[:30]).add_prefix("pixel")
    features = ConvFeatures(random_state=0).set_output(transform="pandas").fit(frame)
    assert list(features.feature_names_in_) == list(frame.columns)
    result = features.transform(frame)
    assert result.shape == (30, 4 * 4 * 32) and result.columns[-1] == "pool1_r3_c3_f31"
    with pytest.raises(ValueError, match="feature names"):
        features.transform(frame[frame.columns[::-1]])
    with pytest.raises(ValueError, match="cannot hold images of shape .4, 4, 32.; pass flat X"):
        ConvFeatures().set_output(transform="pandas").fit_transform(DIGITS[:30].reshape(30, 8, 8))


# ---- parameters and state ------------------------------------------------------------------------------------------


def test_parameters_of_layers():
    features = stack()
    assert features.get_params()["conv1__n_filters"] == 6
    assert features.get_params()["conv2__pool__kernel_size"] == 2
    features.set_params(conv1__n_filters=7, pool1=AvgPool(2), conv2__filters="pca")
    assert features.fit(DIGITS[:50]).coefs_[0].shape == (3, 3, 1, 7)
    assert isinstance(dict(features.layers)["pool1"], AvgPool)
    with pytest.raises(ValueError, match="n_units"):
        features.set_params(conv1__n_units=3)
    assert "conv1" not in ConvFeatures().get_params()


def test_layers_are_cloned():
    conv = Conv2DTransformer(4, filters="patches")
    features = ConvFeatures([("conv1", conv)], random_state=0).fit(DIGITS[:20])
    assert not hasattr(conv, "filters_")
    before = features.transform(DIGITS[:20])
    conv.set_params(stride=2)  # waits for the next fit
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(features)).transform(DIGITS[:20]), before)
    np.testing.assert_array_equal(features.transform(DIGITS[:20]), before)
    assert features.fit(DIGITS[:20]).output_shape_ == (4, 4, 4)


def test_pickle_and_clone():
    features = stack().fit(DIGITS[:50])
    text = pickle.dumps(features)
    assert b"_engine" not in text
    for X in (DIGITS[:50], DIGITS[:50].astype(np.float32)):
        np.testing.assert_array_equal(pickle.loads(text).transform(X), features.transform(X))
    assert not hasattr(clone(features), "coefs_")
    np.testing.assert_array_equal(clone(features).fit_transform(DIGITS[:50]), features.transform(DIGITS[:50]))


def test_changed_weights_take_effect():
    features = ConvFeatures([("conv1", Conv2DTransformer(4))], random_state=0).fit(DIGITS[:20])
    before = features.transform(DIGITS[:20])
    features.coefs_[0] = 2 * features.coefs_[0]
    np.testing.assert_array_equal(features.transform(DIGITS[:20]), 2 * before)
    features.coefs_[0][...] *= 2
    np.testing.assert_array_equal(features.transform(DIGITS[:20]), 4 * before)
    features.coefs_[0] = np.zeros((3, 3))
    with pytest.raises(ValueError, match=r"coefs_\[0\] was changed to an array that does not fit"):
        features.transform(DIGITS[:20])


def test_summary():
    lines = stack().fit(DIGITS[:50]).summary().splitlines()
    assert lines[1].split()[:2] == ["conv1", "convolution"] and len(lines) == 2 + 5


def test_random_state():
    make = lambda seed: stack(random_state=seed).fit(DIGITS[:50]).coefs_[0]  # noqa: E731
    np.testing.assert_array_equal(make(1), make(1))
    assert not np.array_equal(make(0), make(1))
    # One generator for all layers: two layers alike are not the same.
    layers = [("a", Conv2DTransformer(3, 1, activation="identity")), ("b", Conv2DTransformer(3, 1))]
    a, b = ConvFeatures(layers, random_state=0).fit(np.ones((2, 4, 4, 3))).coefs_
    assert not np.array_equal(a, b)


def test_grid_search():
    pipeline = Pipeline(
        [
            ("features", ConvFeatures([("conv1", Conv2DTransformer(filters="pca")), ("pool1", MaxPool(2))])),
            ("classify", LogisticRegression(max_iter=2000)),
        ]
    )
    grid = {"features__conv1__n_filters": [1, 8], "features__conv1__activation": ["relu", "tanh"]}
    search = GridSearchCV(pipeline, grid, cv=3).fit(DIGITS[:600] / 16, LABELS[:600])
    scores = dict(
        zip(
            [tuple(p.values()) for p in search.cv_results_["params"]],
            search.cv_results_["mean_test_score"],
            strict=True,
        )
    )
    assert search.best_params_["features__conv1__n_filters"] == 8
    assert max(scores.values()) > 0.85  # and 0.75 for one filter
    assert len(set(scores.values())) == 4  # every parameter reached its layer
    assert search.best_estimator_["features"].coefs_[0].shape == (3, 3, 1, 8)


def test_features_are_better_than_pixels():
    train, test = slice(0, 1200), slice(1200, None)
    pixels = make_pipeline(LogisticRegression(max_iter=5000)).fit(DIGITS[train] / 16, LABELS[train])
    features = make_pipeline(ConvFeatures(random_state=0), LogisticRegression(max_iter=5000))
    features.fit(DIGITS[train] / 16, LABELS[train])
    score = features.score(DIGITS[test] / 16, LABELS[test])
    assert score > pixels.score(DIGITS[test] / 16, LABELS[test]) + 0.02
    assert score > 0.93


# ---- messages ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "layers, error, message",
    [
        ([], ValueError, "layers must hold at least one (name, layer) pair, got none"),
        (5, TypeError, "layers must be a list of (name, layer) pairs, got 5"),
        ([MaxPool(2)], TypeError, "layers must be a list of (name, layer) pairs"),
        ([("a", MaxPool)], TypeError, "layer 'a' is the class MaxPool; use an instance, MaxPool()"),
        ([("a", LogisticRegression())], TypeError, "layer 'a' must be one of AvgPool, BatchNorm"),
        ([("a", MaxPool(2)), ("a", MaxPool(2))], ValueError, "names of layers must be unique, got 'a' 2 times"),
        ([("a__b", MaxPool(2))], ValueError, "the name of a layer must not be empty, 'output', or contain '__'"),
        ([("random_state", MaxPool(2))], ValueError, "the name of a layer must not be that of a parameter"),
        ([("a", MaxPool(9))], ValueError, "layer 'a': kernel_size=9 does not fit into an 8x8 image"),
        ([("a", Dense(3)), ("b", MaxPool(2))], ValueError, "layer 'b': MaxPool needs images, but flat features"),
        ([("a", Conv2DTransformer(3, filters="fancy"))], ValueError, "layer 'a': filters must be one of 'random'"),
        ([("a", Conv1DTransformer(3))], ValueError, "layer 'a': Conv1DTransformer slides over 1 spatial axes"),
    ],
)
def test_messages(layers, error, message):
    features = ConvFeatures(layers)
    with pytest.raises(error) as raised:
        features.fit(DIGITS[:20].reshape(-1, 8, 8))
    assert message in str(raised.value)
    assert not hasattr(features, "image_shape_")


def test_wrong_images_raise():
    features = stack().fit(DIGITS[:20])
    wrong = DIGITS[:20].copy()
    wrong[3, 5] = np.nan
    for call in (features.transform, stack().fit):
        with pytest.raises(ValueError, match="NaN, first in sample 3"):
            call(wrong)
    with pytest.raises(ValueError, match="features"):
        features.transform(DIGITS[:, :60])
    with pytest.raises(ValueError, match="random_state='x'"):
        stack(random_state="x").fit(DIGITS[:20])
    with pytest.raises(ValueError, match="spatial_ndim"):
        stack(spatial_ndim=0).fit(DIGITS[:20])
