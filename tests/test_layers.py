"""Layers as transformers: scikit-learn's checks, shapes, dtypes, frames, the reference, messages."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import estimator_checks_generator
from threadpoolctl import threadpool_limits

import reference
from skconv import (
    AvgPool,
    BatchNorm,
    ChannelPool,
    Conv1DTransformer,
    Conv2DTransformer,
    Conv3DTransformer,
    Dense,
    Dropout,
    Flatten,
    GlobalPool,
    LocalContrastNorm,
    LPPool,
    MaxPool,
)
from skconv._operations import ACTIVATIONS

CONV = {1: Conv1DTransformer, 2: Conv2DTransformer, 3: Conv3DTransformer}
# One per class, of what every test of this file asks.
LAYERS = [
    Conv1DTransformer(5, 3, random_state=0),
    Conv2DTransformer(5, 3, random_state=0),
    Conv3DTransformer(5, 3, random_state=0),
    MaxPool(2),
    AvgPool(2),
    Dense(5, random_state=0),
    Dropout(0.3),
    Flatten(),
    LPPool(2),
    GlobalPool(),
    ChannelPool(3),
    BatchNorm(),
    LocalContrastNorm(5),
]
IMAGES = {1: (8,), 2: (8, 6), 3: (4, 8, 6)}


def name_of(layer):
    return type(layer).__name__ if not isinstance(layer, type) else layer.__name__


def images_for(layer, n_samples=7, n_channels=3, dtype=np.float32):
    shape = (n_samples, *IMAGES[layer.spatial_ndim], n_channels)
    return np.random.default_rng(0).integers(-8, 9, size=shape).astype(dtype)


def integers(rng, *shape):
    return rng.integers(-8, 9, size=shape)


CHECKED = [
    *[type(layer)() for layer in LAYERS],
    Conv2DTransformer(3, pool=MaxPool(2), activation="gelu", random_state=0),
    Conv2DTransformer(4, padding_mode="reflect", connections=[[1, 1, 1, 1]], random_state=0),
    MaxPool(3, padding="same", stride=1),
    AvgPool((1, 2), ceil_mode=True, count_include_pad=True),
    MaxPool(spatial_ndim=1),
    AvgPool(spatial_ndim=3),
    Dense(3, spatial_ndim=1, activation="tanh", random_state=0),
    LPPool(3, p=1.5, stride=2, padding="same", spatial_ndim=1),
    GlobalPool("max", spatial_ndim=3),
    GlobalPool("lp", spatial_ndim=1),
    ChannelPool(1, "average"),
    BatchNorm(center=False, scale=False, activation="relu", spatial_ndim=3),
    LocalContrastNorm(3, spatial_ndim=3),
]


@pytest.mark.parametrize(
    "layer, check",
    # A list, because parametrize_with_checks of scikit-learn 1.6 hands pytest a generator, which pytest 9 warns about.
    [pair for layer in CHECKED for pair in estimator_checks_generator(layer)],
    ids=lambda value: getattr(getattr(value, "func", value), "__name__", ""),
)
def test_check_estimator(layer, check):
    check(layer)


# ---- shapes and dtypes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", LAYERS, ids=name_of)
def test_shapes_in_are_shapes_out(layer):
    X = images_for(layer)
    fitted = clone(layer).fit(X)
    result = fitted.transform(X)
    assert result.shape == (7, *fitted.output_shape_)
    assert fitted.image_shape_ == X.shape[1:] and fitted.n_features_in_ == X[0].size
    # Flat in, flat out, whatever was seen in fit.
    flat = fitted.transform(X.reshape(7, -1))
    assert flat.shape == (7, np.prod(fitted.output_shape_))
    np.testing.assert_array_equal(flat, result.reshape(7, -1))
    from_flat = clone(layer).set_params(image_shape=X.shape[1:]).fit(X.reshape(7, -1))
    np.testing.assert_array_equal(from_flat.transform(X), result)
    np.testing.assert_array_equal(from_flat.fit_transform(X.reshape(7, -1)), flat)
    # Without an axis for one channel.
    gray = X[..., 0]
    if gray.ndim > 2:
        np.testing.assert_array_equal(clone(layer).fit_transform(gray), clone(layer).fit_transform(gray[..., None]))


@pytest.mark.parametrize("layer", LAYERS, ids=name_of)
@pytest.mark.parametrize(
    "dtype, expected",
    [
        ("float64", "float64"),
        ("float32", "float32"),
        ("uint8", "float32"),
        ("float16", "float32"),
        ("int64", "float32"),
        ("bool", "float32"),
        (">f8", "float64"),
        (">f4", "float32"),
    ],
)
def test_dtypes(layer, dtype, expected):
    X = np.abs(images_for(layer)).astype(dtype)
    before = X.copy()
    fitted = clone(layer).fit(X)
    result = fitted.transform(X)
    assert result.dtype == expected and result.dtype.isnative
    np.testing.assert_array_equal(X, before)
    # Small integers are exact in every precision; weights are as precise as the data of fit.
    np.testing.assert_allclose(result, fitted.transform(X.astype("float64")), rtol=1e-5, atol=1e-5)
    assert fitted.transform(X.astype("float64")).dtype == "float64"


@pytest.mark.parametrize("layer", LAYERS, ids=name_of)
def test_layouts_give_the_same_bits(layer):
    X = images_for(layer)
    fitted = clone(layer).fit(X)
    expected = fitted.transform(X)
    read_only = X.copy()
    read_only.flags.writeable = False
    for given in (
        np.asfortranarray(X),
        X[::-1].copy()[::-1],
        read_only,
        X.astype(">f4"),
        np.repeat(X, 2, axis=1)[:, ::2],
    ):
        np.testing.assert_array_equal(fitted.transform(given), expected)
    np.testing.assert_array_equal(np.concatenate([fitted.transform(X[:3]), fitted.transform(X[3:])]), expected)
    # Lists are float64.
    np.testing.assert_array_equal(fitted.transform(X.tolist()), fitted.transform(X.astype(float)))


@pytest.mark.parametrize("layer", LAYERS, ids=name_of)
def test_identity_layers_and_single_pixels(layer):
    ones = np.ones((3, *[1] * layer.spatial_ndim, 3), dtype=np.float32)
    fitted = clone(layer).fit(ones)
    result = fitted.transform(ones)
    assert np.isfinite(result).all()
    if isinstance(layer, MaxPool | AvgPool | LPPool | Dropout):
        np.testing.assert_array_equal(result, ones)
    if isinstance(layer, Flatten | GlobalPool):
        np.testing.assert_array_equal(result, ones.reshape(3, -1))


@pytest.mark.parametrize("pool", [MaxPool, AvgPool, LPPool])
def test_pooling_leaves_axes_of_one_pixel_alone(pool):
    X = np.arange(24, dtype=np.float32).reshape(2, 1, 12)
    along = pool((1, 3)).fit_transform(X)
    for kernel_size, options in ((3, {}), ((5, 3), {}), (3, dict(stride=3)), (3, dict(padding="valid"))):
        np.testing.assert_array_equal(pool(kernel_size, **options).fit_transform(X), along)
    with pytest.raises(ValueError, match=r"kernel_size=\(1, 13\) does not fit into a 1x12 image"):
        pool(13).fit(X)
    with pytest.raises(ValueError, match="does not fit into a 2x12 image"):
        pool(3).fit(np.zeros((1, 2, 12)))


# ---- names and frames ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", LAYERS, ids=name_of)
def test_frames(layer):
    X = images_for(layer, n_channels=1)
    index = pd.Index([f"sample{i}" for i in range(7)])
    frame = pd.DataFrame(X.reshape(7, -1), index=index).add_prefix("pixel")
    fitted = clone(layer).set_params(image_shape=X.shape[1:]).set_output(transform="pandas").fit(frame)
    result = fitted.transform(frame)
    assert isinstance(result, pd.DataFrame)
    pd.testing.assert_index_equal(result.index, index)
    assert list(result.columns) == list(fitted.get_feature_names_out())
    first = (
        "0" if len(fitted.output_shape_) == 1 else "".join(f"_{axis}0" for axis in "drcf"[-len(fitted.output_shape_) :])
    )
    assert result.columns[0] == name_of(layer).lower() + first and result.columns.is_unique
    assert list(fitted.feature_names_in_) == list(frame.columns)
    expected = clone(layer).fit_transform(X.astype(frame.to_numpy().dtype))
    np.testing.assert_array_equal(result.to_numpy(), expected.reshape(7, -1))
    with pytest.raises(ValueError, match="feature names"):
        fitted.transform(frame[frame.columns[::-1]])


@pytest.mark.parametrize("layer", LAYERS, ids=name_of)
def test_frames_of_images_are_refused_with_advice(layer):
    X = images_for(layer)
    fitted = clone(layer).fit(X).set_output(transform="pandas")
    if isinstance(layer, Dense | Flatten | GlobalPool):
        assert fitted.transform(X).shape == (7, fitted.output_shape_[0])
        return
    with pytest.raises(
        ValueError, match=r"cannot hold images of shape .*; pass flat X with image_shape, or end a ConvFeatures"
    ):
        fitted.transform(X)
    fitted.set_output(transform="default")
    assert isinstance(fitted.transform(X), np.ndarray)


def test_pipeline_of_layers():
    X = np.random.default_rng(0).normal(size=(5, 12, 12, 2))
    pipeline = make_pipeline(Conv2DTransformer(4, random_state=0), MaxPool(2), Flatten()).fit(X)
    assert pipeline.transform(X).shape == (5, 6 * 6 * 4)
    fused = make_pipeline(Conv2DTransformer(4, random_state=0, pool=MaxPool(2)), Flatten()).fit(X)
    np.testing.assert_array_equal(fused.transform(X), pipeline.transform(X))


# ---- the reference -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spatial_ndim", [1, 2, 3])
@pytest.mark.parametrize(
    "options, pads",
    [
        (dict(kernel_size=3, padding="valid"), (0, 0)),
        (dict(kernel_size=3, padding="same"), (1, 1)),
        (dict(kernel_size=4, padding="same"), (1, 2)),
        (dict(kernel_size=4, padding="same_lower"), (2, 1)),
        (dict(kernel_size=2, padding="full", dilation=2), (2, 2)),
        (dict(kernel_size=3, padding=1, stride=2, dilation=1), (1, 1)),
        (dict(kernel_size=1, padding=0), (0, 0)),
    ],
)
def test_convolution_matches_reference(spatial_ndim, options, pads):
    rng = np.random.default_rng(0)
    X = integers(rng, 3, *IMAGES[spatial_ndim], 2)
    filters = integers(rng, 5, *[options["kernel_size"]] * spatial_ndim, 2)
    layer = CONV[spatial_ndim](5, filters=filters, activation="identity", **options)
    expected = reference.conv(
        X, np.moveaxis(filters, 0, -1), stride=options.get("stride", 1), dilation=options.get("dilation", 1),
        pad_before=pads[0], pad_after=pads[1],
    )  # fmt: skip
    for dtype in (np.float32, np.float64):  # integers: exact in either
        np.testing.assert_array_equal(layer.fit_transform(X.astype(dtype)), expected)
        np.testing.assert_array_equal(layer.filters_, filters)
    np.testing.assert_array_equal(layer.intercept_, np.zeros(5))
    relu = clone(layer).set_params(activation="relu").fit_transform(X.astype(float))
    np.testing.assert_array_equal(relu, np.maximum(expected, 0))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_match_reference(name):
    X = np.random.default_rng(0).normal(size=(4, 6, 6, 1)) * 3
    identity = Conv2DTransformer(3, activation="identity", random_state=0).fit_transform(X)
    result = Conv2DTransformer(3, filters="random", activation=name, random_state=0).fit(X)
    result.filters_ = Conv2DTransformer(3, activation="identity", random_state=0).fit(X).filters_
    np.testing.assert_allclose(result.transform(X), reference.activation(identity, name), rtol=1e-12, atol=1e-14)
    dense = Dense(4, activation=name, random_state=0).fit(X)
    z = reference.dense(X.reshape(4, -1), dense.coef_)
    np.testing.assert_allclose(dense.transform(X), reference.activation(z, name), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("spatial_ndim", [1, 2, 3])
@pytest.mark.parametrize("options", [{}, dict(stride=1), dict(kernel_size=3, padding=1, stride=2)])
def test_pooling_matches_reference(spatial_ndim, options):
    X = integers(np.random.default_rng(0), 3, *IMAGES[spatial_ndim], 5).astype(float)
    geometry = dict(kernel_size=options.get("kernel_size", 2), pad_before=options.get("padding", 0))
    geometry |= dict(stride=options.get("stride", geometry["kernel_size"]), pad_after=geometry["pad_before"])
    largest = MaxPool(spatial_ndim=spatial_ndim, **options).fit_transform(X)
    np.testing.assert_array_equal(largest, reference.max_pool(X, **geometry)[0])
    for count_include_pad in (False, True):
        mean = AvgPool(spatial_ndim=spatial_ndim, count_include_pad=count_include_pad, **options).fit_transform(X)
        expected = reference.avg_pool(X, **geometry, count_include_pad=count_include_pad)
        np.testing.assert_allclose(mean, expected, rtol=1e-14)  # at most 27 small integers: one rounding


@pytest.mark.parametrize("pool", [MaxPool(2), MaxPool(3, stride=2, padding=1), AvgPool(2), AvgPool(3, ceil_mode=True)])
@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu", "identity"])
def test_fused_pooling_equals_pooling_after(pool, activation):
    X = np.random.default_rng(0).normal(size=(4, 9, 9, 2)).astype(np.float32)
    conv = Conv2DTransformer(6, 3, activation=activation, random_state=0)
    apart = pool.fit_transform(conv.fit_transform(X))
    np.testing.assert_array_equal(conv.set_params(pool=pool).fit_transform(X), apart)
    assert conv.output_shape_ == apart.shape[1:]


def test_large_image_is_the_same_on_one_and_two_threads():
    X = np.random.default_rng(0).normal(size=(1, 512, 512, 3)).astype(np.float32)
    layer = Conv2DTransformer(64, 7, random_state=0).fit(X)
    results = []
    for n_threads in (2, 1):
        with threadpool_limits(n_threads, user_api="openmp"):
            results.append(layer.transform(X))
    assert results[0].shape == (1, 512, 512, 64)
    np.testing.assert_array_equal(*results)
    # A corner, an edge and the middle, by hand: sums of 147 products, each rounded once.
    padded = np.pad(X[0].astype(float), ((3, 3), (3, 3), (0, 0)))
    for i, j in ((0, 0), (0, 200), (511, 511), (300, 255)):
        window = padded[i : i + 7, j : j + 7]
        terms = window * layer.filters_
        bound = 2 * 147 * np.finfo(np.float32).eps * np.abs(terms).sum(axis=(1, 2, 3))
        assert (np.abs(results[0][0, i, j] - np.maximum(terms.sum(axis=(1, 2, 3)), 0)) <= bound).all()


# ---- state ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", LAYERS, ids=name_of)
def test_pickle_and_clone(layer):
    X = images_for(layer)
    fitted = clone(layer).fit(X)
    text = pickle.dumps(fitted)
    assert b"_engine" not in text
    copied = pickle.loads(text)
    for dtype in (np.float32, np.float64):
        np.testing.assert_array_equal(copied.transform(X.astype(dtype)), fitted.transform(X.astype(dtype)))
    np.testing.assert_array_equal(clone(fitted).fit_transform(X), fitted.transform(X))
    assert "image_shape_" not in vars(clone(fitted))
    refitted = fitted.fit(X[:, :4])
    np.testing.assert_array_equal(refitted.transform(X[:, :4]), clone(layer).fit_transform(X[:, :4]))


@pytest.mark.parametrize("name, layer", [("filters_", LAYERS[1]), ("coef_", LAYERS[5])])
def test_changed_weights_take_effect(name, layer):
    X = images_for(layer)
    fitted = clone(layer).fit(X)
    before = fitted.transform(X)
    setattr(fitted, name, 2 * getattr(fitted, name))
    np.testing.assert_array_equal(fitted.transform(X), 2 * before)  # ReLU of no intercepts: exactly
    getattr(fitted, name)[...] *= 2
    np.testing.assert_array_equal(fitted.transform(X), 4 * before)
    fitted.intercept_ = np.full(5, 1e6, dtype=np.float32)
    assert fitted.transform(X).min() > 9e5
    setattr(fitted, name, np.zeros((5, 1)))
    with pytest.raises(ValueError, match=f"{name} was changed to an array that does not fit the layer"):
        fitted.transform(X)


@pytest.mark.parametrize("layer", LAYERS, ids=name_of)
def test_changed_image_shape_reaches_no_kernel(layer):
    """Nobody should do this; reading past the end of X would be worse than any answer."""
    X = images_for(layer)
    fitted = clone(layer).fit(X)
    fitted.image_shape_ = (*X.shape[1:-1], 1)
    if isinstance(layer, Conv2DTransformer | Conv1DTransformer | Conv3DTransformer | Dense | BatchNorm):
        with pytest.raises(ValueError):
            fitted.transform(X[..., :1])
    else:
        fitted.n_features_in_ //= 3
        assert len(fitted.transform(X[..., :1])) == 7


def test_random_state():
    X = images_for(LAYERS[1])
    a, b = (Conv2DTransformer(4, random_state=seed).fit(X).filters_ for seed in (0, 1))
    assert not np.array_equal(a, b)
    # Uniform of variance 2 / fan_in (He et al.): bounded by sqrt(6 / 27).
    large = Conv2DTransformer(2000, random_state=0).fit(X).filters_
    assert np.abs(large).max() <= np.sqrt(6 / 27)
    assert large.var() == pytest.approx(2 / 27, rel=0.02)
    # float32 data draw the same filters, rounded.
    np.testing.assert_array_equal(
        Conv2DTransformer(4, random_state=0).fit(X.astype(float)).filters_.astype("float32"), a
    )


@pytest.mark.parametrize("layer", LAYERS, ids=name_of)
def test_other_shapes_than_in_fit_raise(layer):
    X = images_for(layer)
    fitted = clone(layer).fit(X)
    for wrong in (X[..., :2], X[:, :3], X.reshape(7, -1)[:, 1:], X[..., None, None]):
        with pytest.raises(ValueError):
            fitted.transform(wrong)


# ---- messages ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "layer, error, message",
    [
        (Conv2DTransformer(0), ValueError, "n_filters must be at least 1"),
        (Conv2DTransformer(2.0), TypeError, "n_filters must be an int, got 2.0 (float)"),
        (Conv2DTransformer(kernel_size=9, padding="valid"), ValueError, "kernel_size=9 does not fit into an 8x6 image"),
        (Conv2DTransformer(kernel_size=0), ValueError, "kernel_size must be at least 1, got 0"),
        (Conv2DTransformer(kernel_size=2**62), ValueError, "kernel_size must be at least 1 and at most 2**40"),
        (Conv2DTransformer(stride=-1), ValueError, "stride must be at least 1, got -1"),
        (Conv2DTransformer(dilation=0), ValueError, "dilation must be at least 1, got 0"),
        (Conv2DTransformer(padding=2**62), ValueError, "padding must be at least 0 and at most 2**40"),
        (Conv2DTransformer(activation="sine"), ValueError, "activation must be one of 'identity', 'relu'"),
        (Conv2DTransformer(fit_intercept=1), TypeError, "fit_intercept must be a bool, got 1 (int)"),
        (
            Conv2DTransformer(pool=Dropout()),
            TypeError,
            "pool must be a pooling layer (MaxPool(2), say) or None, got Dropout()",
        ),
        (
            Conv2DTransformer(pool=MaxPool),
            TypeError,
            "pool must be a pooling layer (MaxPool(2), say) or None, got <class",
        ),
        (Conv2DTransformer(random_state="x"), ValueError, "random_state='x'"),
        (
            Conv2DTransformer(filters="fancy"),
            ValueError,
            "filters must be one of 'random', 'patches', 'whitening', 'pca', 'kmeans', got 'fancy'",
        ),
        (
            Conv2DTransformer(4, filters=np.ones((4, 3, 3))),
            ValueError,
            "(n_filters, *kernel_size, n_channels) with 4 axes",
        ),
        (Conv2DTransformer(4, filters=np.ones((4, 3, 3, 2))), ValueError, "n_channels=3, got shape (4, 3, 3, 2)"),
        (Conv2DTransformer(5, filters=np.ones((4, 3, 3, 3))), ValueError, "set n_filters=4, kernel_size=(3, 3)"),
        (Conv2DTransformer(1, filters=np.full((1, 3, 3, 3), np.nan)), ValueError, "filters must be finite"),
        (Conv2DTransformer(2, filters=[[1], [1, 2]]), ValueError, "filters is ragged"),
        (Conv2DTransformer(1, filters=np.full((1, 3, 3, 3), "a")), ValueError, "filters must be a real array"),
        (Conv2DTransformer(filters=None), ValueError, "filters must be a real array"),
        (Conv1DTransformer(), ValueError, "expected (n_samples, length), (n_samples, length, n_channels) or flat"),
        (MaxPool(9), ValueError, "kernel_size=9 does not fit into an 8x6 image"),
        (MaxPool(2, padding=2), ValueError, "padding=2 must be smaller than the pooling window"),
        (MaxPool(ceil_mode="yes"), TypeError, "ceil_mode must be a bool, got 'yes' (str)"),
        (MaxPool(spatial_ndim=4), ValueError, "spatial_ndim must be at least 1 and at most 3, got 4"),
        (MaxPool(spatial_ndim="2"), TypeError, "spatial_ndim must be an int, got '2' (str)"),
        (MaxPool(None), TypeError, "kernel_size must be an int or a tuple of 2 ints, got None"),
        (AvgPool(count_include_pad=0), TypeError, "count_include_pad must be a bool, got 0 (int)"),
        (AvgPool(stride=(1, 2, 3)), ValueError, "stride must be an int or a tuple of 2 ints, got (1, 2, 3)"),
        (Dense(-1), ValueError, "n_units must be at least 1"),
        (Dense(activation=None), ValueError, "activation must be one of"),
        (Dense(random_state=-1), ValueError, "random_state=-1"),
        (Dropout(1.0), ValueError, "rate must be at least 0 and less than 1, got 1.0"),
        (Dropout(None), TypeError, "rate must be a real number, got None"),
        (
            Flatten(image_shape=(8, 8)),
            ValueError,
            "image_shape=(8, 8) means (8, 8, 1), but X holds images of shape (8, 6, 3)",
        ),
        (Flatten(spatial_ndim=0), ValueError, "spatial_ndim must be at least 1"),
    ],
)
def test_messages(layer, error, message):
    X = np.zeros((2, 8, 6, 3))
    with pytest.raises(error) as raised:
        layer.fit(X)
    assert message in str(raised.value)
    assert vars(layer) == layer.get_params(deep=False)


@pytest.mark.parametrize("layer", LAYERS, ids=name_of)
def test_wrong_images_raise(layer):
    X = images_for(layer, dtype=float)
    fitted = clone(layer).fit(X)
    for value, message in ((np.nan, "NaN"), (np.inf, "infinity"), (1e39, "too large for float32")):
        wrong = X.copy()
        wrong.flat[-1] = value
        for call in (clone(layer).fit, fitted.transform):
            with pytest.raises(ValueError, match=message):
                call(wrong)
    with pytest.raises(ValueError, match="0 sample"):
        fitted.transform(X[:0])


def test_algorithm_is_checked():
    X = np.ones((2, 8, 8, 3), dtype=np.float32)
    with pytest.raises(ValueError, match=r"algorithm='winograd' needs .*3 channels and 4 filters"):
        Conv2DTransformer(4, 3, stride=2, algorithm="winograd").fit(X)
    with pytest.raises(ValueError, match="algorithm must be one of"):
        Conv2DTransformer(4, 3, algorithm="fft").fit(X)


@pytest.mark.parametrize("kernel", [3, 5])
def test_algorithms_agree(kernel):
    X = np.random.default_rng(0).standard_normal((3, 11, 10, 33)).astype(np.float32)
    direct, winograd, auto = (
        Conv2DTransformer(50, kernel, algorithm=algorithm, padding="same", random_state=0).fit_transform(X)
        for algorithm in ("direct", "winograd", "auto")
    )
    np.testing.assert_array_equal(auto, winograd)
    assert not np.array_equal(direct, winograd)
    # 33 products a tap: four times the rounding of a random walk, relative to the largest value.
    atol = 4 * np.sqrt(33 * kernel**2) * 2**-23 * np.abs(direct).max()
    np.testing.assert_allclose(winograd, direct, rtol=0, atol=atol)


def test_parameters_set_after_fit_wait_for_the_next_fit():
    X = np.random.default_rng(0).standard_normal((3, 8, 8, 2)).astype(np.float32)
    layer = Conv2DTransformer(4, 3, random_state=0).fit(X)
    expected = layer.transform(X)
    layer.set_params(padding="valid")
    for fitted in (layer, pickle.loads(pickle.dumps(layer))):
        np.testing.assert_array_equal(fitted.transform(X), expected)
        np.testing.assert_allclose(fitted.transform(X.astype(np.float64)), expected, rtol=0, atol=1e-5)
    assert layer.fit(X).transform(X).shape == (3, 6, 6, 4)
