"""Filters found in data: what each family promises, whatever the threads, layouts and types; and inside networks."""

import math
import pickle
import tracemalloc

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.utils.estimator_checks import estimator_checks_generator
from threadpoolctl import threadpool_limits

from skconv import (
    BatchNorm,
    CNNClassifier,
    Conv1DTransformer,
    Conv2DTransformer,
    Conv3DTransformer,
    ConvFeatures,
    Dense,
    Dropout,
    Flatten,
    MaxPool,
    _architecture,
    filters,
)
from skconv.filters import FAMILIES, Maps, draw_patches, find_filters

CONV = {1: Conv1DTransformer, 2: Conv2DTransformer, 3: Conv3DTransformer}
SIZES = {1: (40,), 2: (12, 10), 3: (6, 8, 7)}
DIGITS, LABELS = load_digits(return_X_y=True)
DIGITS = DIGITS.reshape(-1, 8, 8)


def blurred(rng, n_samples, spatial_ndim, n_channels=1):
    """Noise whose neighbouring pixels and channels are correlated, around a mean that is not zero."""
    x = rng.normal(size=(n_samples, *(n + 1 for n in SIZES[spatial_ndim]), n_channels))
    for axis in range(1, spatial_ndim + 1):
        x = np.take(x, np.arange(1, x.shape[axis]), axis) + np.take(x, np.arange(x.shape[axis] - 1), axis)
    return 3 + x + x.mean(axis=-1, keepdims=True)


def windows_of(x, kernel_size, dilation=1):
    """All windows wholly inside the images, one per row, by loops."""
    kernel_size = np.array(kernel_size)
    size = np.array(x.shape[1:-1])
    found = []
    for image in x:
        for start in np.ndindex(*(size - (kernel_size - 1) * dilation)):
            taps = tuple(
                slice(s, s + (k - 1) * dilation + 1, dilation) for s, k in zip(start, kernel_size, strict=True)
            )
            found.append(image[taps].ravel())
    return np.array(found)


def found_in(family, x, kernel_size, n_filters, seed=0, **options):
    """Filters, one per row, and intercepts."""
    kernels, intercepts = find_filters(family, Maps(x), kernel_size, n_filters, np.random.RandomState(seed), **options)
    assert kernels.shape[: len(kernel_size)] == tuple(kernel_size)
    return np.moveaxis(kernels, -1, 0).reshape(n_filters, -1), intercepts


# ---- patches -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spatial_ndim, kernel_size, dilation", [(1, (4,), 3), (2, (3, 2), 1), (2, (2, 3), 2), (3, (2, 3, 1), 2)]
)
def test_all_patches_where_they_are_few(spatial_ndim, kernel_size, dilation):
    x = np.random.default_rng(0).normal(size=(3, *SIZES[spatial_ndim], 2))
    drawn, _ = draw_patches(Maps(x), kernel_size, (dilation,) * spatial_ndim, np.random.RandomState(0))
    assert drawn.dtype == np.float64
    np.testing.assert_array_equal(drawn.reshape(len(drawn), -1), windows_of(x, kernel_size, dilation))


def test_patches_are_drawn_from_all_samples_and_places(monkeypatch):
    monkeypatch.setattr(filters, "MAX_PATCHES", 3000)
    x = np.arange(300 * 10 * 10).reshape(300, 10, 10, 1)  # the first value tells sample and place
    drawn, _ = draw_patches(Maps(x), (2, 3), (1, 1), np.random.RandomState(0))
    assert drawn.shape == (3000, 6, 1)
    corner = drawn[:, 0, 0].astype(int)
    np.testing.assert_array_equal(drawn[..., 0], corner[:, None] + [0, 1, 2, 10, 11, 12])
    sample, row, column = corner // 100, corner // 10 % 10, corner % 10
    np.testing.assert_array_equal(np.bincount(sample), np.full(300, 10))
    # Nine rows and eight columns: uniform within five standard deviations.
    for place, n in ((row, 9), (column, 8)):
        expected = 3000 / n
        assert np.abs(np.bincount(place, minlength=n) - expected).max() < 5 * math.sqrt(expected)
        assert len(np.bincount(place)) == n
    # Another seed draws others; the same seed the same.
    again, other = (draw_patches(Maps(x), (2, 3), (1, 1), np.random.RandomState(seed))[0] for seed in (0, 1))
    np.testing.assert_array_equal(again, drawn)
    assert not np.array_equal(other, drawn)
    # Fewer than one per sample: of different samples.
    monkeypatch.setattr(filters, "MAX_VALUES", 6 * 100)
    few, _ = draw_patches(Maps(x), (2, 3), (1, 1), np.random.RandomState(0))
    assert len(few) == len(np.unique(few[:, 0, 0] // 100)) == 100


def test_maps_smaller_than_the_patch_lie_in_zeros():
    x = np.array([[[1.0], [2.0]]])  # one row of two pixels
    drawn, _ = draw_patches(Maps(x[None]), (1, 4), (1, 1), np.random.RandomState(0))
    np.testing.assert_array_equal(drawn[..., 0], [[0, 0, 1, 2], [0, 1, 2, 0], [1, 2, 0, 0]])
    drawn, _ = draw_patches(Maps(x), (2,), (3,), np.random.RandomState(0))
    np.testing.assert_array_equal(drawn[..., 0], [[0, 2], [0, 0], [1, 0]])


# ---- families ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spatial_ndim, kernel_size", [(1, (5,)), (2, (3, 3)), (3, (2, 2, 2))])
@pytest.mark.parametrize("n_channels", [1, 3])
def test_patches_are_patches_of_the_data(spatial_ndim, kernel_size, n_channels):
    x = blurred(np.random.default_rng(0), 4, spatial_ndim, n_channels)
    kernels, intercepts = found_in("patches", x, kernel_size, 7)
    windows = windows_of(x, kernel_size)
    windows -= windows.mean(axis=1, keepdims=True)
    windows /= np.linalg.norm(windows, axis=1, keepdims=True)
    distances = np.abs(kernels[:, None] - windows).max(axis=2)
    assert distances.min(axis=1).max() < 1e-12
    assert len(np.unique(distances.argmin(axis=1))) == 7  # none twice
    np.testing.assert_array_equal(intercepts, np.zeros(7))


@pytest.mark.parametrize("spatial_ndim, kernel_size", [(1, (5,)), (2, (3, 3)), (3, (2, 2, 2))])
@pytest.mark.parametrize("n_channels", [1, 3])
def test_whitening_whitens_what_it_has_not_seen(spatial_ndim, kernel_size, n_channels):
    rng = np.random.default_rng(0)
    d = math.prod(kernel_size) * n_channels
    n = {1: 4000, 2: 1500, 3: 600}[spatial_ndim]
    seen, held_out = (blurred(rng, n, spatial_ndim, n_channels) for _ in range(2))
    layer = CONV[spatial_ndim](
        2 * d, kernel_size, filters="whitening", padding="valid", activation="identity", random_state=0
    ).fit(seen)
    responses = layer.transform(held_out).reshape(-1, 2 * d)
    kernels = layer.filters_.reshape(2 * d, -1)
    np.testing.assert_array_equal(kernels[d:], -kernels[:d])
    np.testing.assert_array_equal(layer.intercept_[d:], -layer.intercept_[:d])
    # Some 100,000 windows on either side, each correlated with some twenty others: deviations of 1 / sqrt(5,000).
    assert np.abs(responses.mean(axis=0)).max() < 0.06
    covariance = np.cov(responses[:, :d], rowvar=False)
    windows = windows_of(seen[:200], kernel_size)
    eigenvalues = np.linalg.eigvalsh(np.cov(windows, rowvar=False))[::-1]
    expected = eigenvalues / (eigenvalues + 5e-4 * eigenvalues.mean())
    assert expected.min() > 0.8  # close to the identity
    np.testing.assert_allclose(covariance, np.diag(expected), rtol=0, atol=0.09)


def test_whitening_takes_leading_vectors_and_both_signs():
    x = blurred(np.random.default_rng(0), 50, 2, 2)
    full, _ = found_in("whitening", x, (3, 3), 36)
    norms = np.linalg.norm(full[:18], axis=1)
    assert (np.diff(norms) > 0).all()  # over the root of falling eigenvalues
    cosines = full[:18] @ full[:18].T / np.outer(norms, norms)
    np.testing.assert_allclose(cosines, np.eye(18), rtol=0, atol=1e-10)
    for n in (1, 2, 7, 8):
        some, _ = found_in("whitening", x, (3, 3), n)
        n_vectors = -(-n // 2)
        expected = np.concatenate([full[:n_vectors], -full[: n - n_vectors]])
        np.testing.assert_allclose(some, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("scale", [1e-3, 1 / 255, 1000])
@pytest.mark.parametrize("family", FAMILIES)
def test_units_of_the_images_change_nothing_but_the_scale(family, scale):
    x = blurred(np.random.default_rng(0), 30, 2)
    a, a_intercept = found_in(family, x, (3, 3), 5)
    b, b_intercept = found_in(family, x * scale, (3, 3), 5)
    factor = 1 if family in ("patches", "pca") else scale
    np.testing.assert_allclose(b * factor, a, rtol=0, atol=1e-7)
    np.testing.assert_allclose(b_intercept, a_intercept, rtol=0, atol=1e-6)


@pytest.mark.parametrize("spatial_ndim, kernel_size", [(1, (5,)), (2, (3, 3)), (3, (2, 2, 2))])
def test_pca_is_orthonormal_and_leads(spatial_ndim, kernel_size):
    x = blurred(np.random.default_rng(0), 40, spatial_ndim, 2)
    d = 2 * math.prod(kernel_size)
    kernels, intercepts = found_in("pca", x, kernel_size, d)
    np.testing.assert_allclose(kernels @ kernels.T, np.eye(d), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(intercepts, np.zeros(d))
    windows = windows_of(x, kernel_size)
    windows -= windows.mean(axis=1, keepdims=True)
    variances = (windows @ kernels.T).var(axis=0)
    assert (np.diff(variances) <= 1e-12).all()
    np.testing.assert_allclose(variances, np.linalg.eigvalsh(np.cov(windows.T, ddof=0))[::-1], rtol=0, atol=1e-10)
    # Brightness is the last one, and the only one that sees it.
    np.testing.assert_allclose(kernels.sum(axis=1)[:-1], 0, rtol=0, atol=1e-10)
    np.testing.assert_allclose(kernels[-1], 1 / math.sqrt(d), rtol=0, atol=1e-10)
    few, _ = found_in("pca", x, kernel_size, 3)
    np.testing.assert_allclose(few, kernels[:3], rtol=0, atol=1e-9)


@pytest.mark.parametrize("family", ["whitening", "pca"])
def test_signs_of_eigenvectors_are_fixed(family):
    kernels, _ = found_in(family, blurred(np.random.default_rng(3), 60, 2, 2), (3, 3), 9)
    if family == "whitening":
        kernels = kernels[:5]
    largest = np.take_along_axis(kernels, np.abs(kernels).argmax(axis=1)[:, None], axis=1)
    assert (largest > 0).all()


@pytest.mark.parametrize("n_channels", [1, 2])
def test_kmeans_finds_planted_patches(n_channels):
    """Every image shows one of six patterns, in noise: every filter answers to one of them, and all are found."""
    rng = np.random.default_rng(0)
    patterns = rng.normal(size=(6, 4, 4, n_channels))
    kinds = rng.integers(6, size=3000)
    x = 5 + 2 * (patterns[kinds] + 0.1 * rng.normal(size=(3000, 4, 4, n_channels)))
    kernels, _ = found_in("kmeans", x, (4, 4), 6)
    responses = patterns.reshape(6, -1) @ kernels.T
    best = responses.argmax(axis=1)
    assert sorted(best) == list(range(6))
    top, second = np.sort(responses, axis=1)[:, [-1, -2]].T
    assert (top > 3 * np.abs(second)).all()
    # The layer, standing alone, tells the kinds apart, and does not see the mean.
    layer = Conv2DTransformer(6, 4, filters="kmeans", padding="valid", activation="identity", random_state=0)
    answers = layer.fit_transform(x).reshape(3000, 6)
    votes = np.array([np.bincount(answers[kinds == kind].argmax(axis=1), minlength=6) for kind in range(6)])
    assert votes.max(axis=1).sum() == 3000
    np.testing.assert_allclose(layer.transform(x + 7).reshape(3000, 6), answers, rtol=0, atol=1e-9)
    # Not quite zero: the mean was taken of patches divided by their contrasts, which differ a little.
    assert np.abs(answers.mean(axis=0)).max() < 0.2 * answers.std()


# ---- groups and connections ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_groups_are_found_apart(family):
    x = blurred(np.random.default_rng(0), 20, 2, 4)
    kernels, intercepts = find_filters(family, Maps(x), (2, 2), 6, np.random.RandomState(0), groups=2)
    assert kernels.shape == (2, 2, 2, 6)
    rng = np.random.RandomState(0)
    for g in range(2):
        # The draws of the second group follow on those of the first.
        part, part_intercepts = find_filters(
            family, Maps(np.ascontiguousarray(x[..., 2 * g : 2 * g + 2])), (2, 2), 3, rng
        )
        np.testing.assert_allclose(kernels[..., 3 * g : 3 * g + 3], part, rtol=0, atol=1e-12)
        np.testing.assert_allclose(intercepts[3 * g : 3 * g + 3], part_intercepts, rtol=0, atol=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_connections_are_found_apart(family):
    x = blurred(np.random.default_rng(0), 20, 2, 3)
    connections = np.array([[1, 0, 1, 0, 1], [1, 0, 1, 1, 1], [0, 1, 0, 1, 1]], dtype=bool)
    kernels, _ = find_filters(family, Maps(x), (2, 2), 5, np.random.RandomState(0), connections=connections)
    assert kernels.shape == (2, 2, 3, 5)
    seen = np.abs(kernels).max(axis=(0, 1)) > 0
    np.testing.assert_array_equal(seen, connections)
    if family in ("whitening", "pca"):
        alone, _ = find_filters(family, Maps(x[..., [0, 1]].copy()), (2, 2), 2, np.random.RandomState(0))
        np.testing.assert_allclose(kernels[:, :, [0, 1]][..., [0, 2]], alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "options",
    [
        dict(groups=2),
        dict(connections=[[1, 1, 0, 0], [1, 0, 1, 0], [0, 1, 1, 1], [1, 1, 1, 0]]),
        dict(padding_mode="reflect"),
        dict(dilation=2),
        dict(stride=2, fit_intercept=False),
    ],
    ids=lambda options: next(iter(options)),
)
def test_layers_find_what_fits_their_options(family, options):
    x = blurred(np.random.default_rng(0), 20, 2, 4)
    layer = Conv2DTransformer(4, 2, filters=family, random_state=0, **options).fit(x)
    given = {name: options[name] for name in ("groups", "connections") if name in options}
    expected, intercepts = find_filters(
        family, Maps(x), (2, 2), 4, np.random.RandomState(0), dilation=(options.get("dilation", 1),) * 2, **given
    )
    np.testing.assert_array_equal(layer.filters_, np.moveaxis(expected, -1, 0))
    np.testing.assert_array_equal(layer.intercept_, intercepts * options.get("fit_intercept", True))
    # The same in a network, and after pickling.
    features = ConvFeatures([("conv1", clone(layer))], random_state=0).fit(x)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(features)).transform(x), layer.transform(x))


# ---- the same whatever the machine does ----------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_threads_layouts_and_types_do_not_show(family):
    rng = np.random.default_rng(0)
    x = rng.integers(256, size=(400, 11, 9, 2)).astype(np.uint8)
    layer = Conv2DTransformer(7, 3, filters=family, random_state=3)
    expected = clone(layer).fit(x)
    for n_threads in (1, 2, 5):
        with threadpool_limits(n_threads):
            again = clone(layer).fit(x)
        np.testing.assert_array_equal(again.filters_, expected.filters_)
        np.testing.assert_array_equal(again.intercept_, expected.intercept_)
    read_only = x.copy()
    read_only.flags.writeable = False
    for given in (
        np.asfortranarray(x),
        x[::-1].copy()[::-1],
        read_only,
        x.astype(np.float32),
        x.astype(">f4"),
        x.astype(int),
    ):
        before = given.copy()
        np.testing.assert_array_equal(clone(layer).fit(given).filters_, expected.filters_)
        np.testing.assert_array_equal(given, before)
    double = clone(layer).fit(x.astype(float))
    assert double.filters_.dtype == np.float64 and expected.filters_.dtype == np.float32
    np.testing.assert_array_equal(double.filters_.astype(np.float32), expected.filters_)
    other = clone(layer).set_params(random_state=4).fit(x)
    assert np.array_equal(other.filters_, expected.filters_) == (family in ("whitening", "pca"))  # all patches seen


@pytest.mark.parametrize("family", FAMILIES)
def test_memory_is_bounded(family, tmp_path, monkeypatch):
    """A memory map of 200 MB: what is drawn is held in float64, k-means' copies of it, and nothing of the rest."""
    monkeypatch.setattr(filters, "MAX_VALUES", 2**20)
    x = np.memmap(tmp_path / "images", dtype=np.uint8, mode="w+", shape=(1000, 256, 256, 3))
    x[:, ::7] = np.arange(768, dtype=np.uint8).reshape(256, 3)
    x[:, :, ::5] += 31
    find_filters(family, Maps(x[:4]), (4, 4), 8, np.random.RandomState(0))  # what is imported and allocated once
    tracemalloc.start()
    find_filters(family, Maps(x), (4, 4), 8, np.random.RandomState(0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * 8 * 2**20 + 2**22 < x.nbytes / 4


# ---- hostile images ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "x",
    [
        np.full((5, 6, 6, 2), 7.0),
        np.full((5, 6, 6, 2), 0.1),
        np.zeros((1, 1, 1, 1)),
        np.full((3, 1, 1, 1), 5, dtype=np.uint8),
        np.ones((2, 2, 9, 1)),
        np.full((2, 6, 6, 1), 3e38, dtype=np.float32),
        np.random.default_rng(0).normal(size=(4, 6, 6, 1)) * 1e38,
        np.random.default_rng(0).normal(size=(4, 6, 6, 1)) * 1e-42,
        np.random.default_rng(0).normal(size=(4, 6, 6, 1)) * 1e-300,
        np.arange(2.0).reshape(1, 1, 2, 1),
    ],
    ids=["sevens", "tenths", "a black pixel", "pixels", "low", "huge", "wild", "subnormal", "tiny", "two pixels"],
)
@pytest.mark.parametrize("kernel_size", [3, 1, (2, 5)])
def test_strange_images_have_finite_filters(family, x, kernel_size):
    layer = Conv2DTransformer(1, kernel_size, filters=family, random_state=0).fit(x)
    assert np.isfinite(layer.filters_).all() and np.isfinite(layer.intercept_).all()
    assert np.abs(layer.filters_).max() > 0


@pytest.mark.parametrize("family", ["patches", "kmeans"])
def test_fewer_patches_than_filters_repeat(family):
    x = np.random.default_rng(0).normal(size=(1, 3, 4, 1))
    kernels, _ = found_in(family, x, (3, 3), 20)
    assert len(np.unique(kernels.round(9), axis=0)) == 2
    kernels, _ = found_in(family, np.repeat(x, 30, axis=0), (3, 3), 20)
    assert len(np.unique(kernels.round(9), axis=0)) == 2


@pytest.mark.parametrize(
    "layer, message",
    [
        (
            Conv2DTransformer(19, 3, filters="whitening"),
            "n_filters=19 is more than filters='whitening' finds in patches of 9 values (3x3 pixels, 1 channels); "
            "use at most 18, a larger kernel_size, or filters='kmeans'",
        ),
        (Conv2DTransformer(10, 3, filters="pca"), "use at most 9"),
        (Conv2DTransformer(10, 65, filters="pca"), "the limit is 4096 values"),
        (Conv2DTransformer(10, 65, filters="kmeans"), "use a smaller kernel_size, or filters='patches'"),
        (Conv2DTransformer(10, 65, filters="whitening"), "needs eigenvectors of patches of 4225 values"),
        (Conv2DTransformer(trainable=1), "trainable must be a bool, got 1 (int)"),
        (Conv2DTransformer(10, filters="gabor"), "filters must be one of 'random', 'patches', 'whitening'"),
    ],
)
def test_messages(layer, message):
    with pytest.raises((ValueError, TypeError)) as raised:
        layer.fit(np.zeros((2, 8, 8)))
    assert message in str(raised.value)
    with pytest.raises((ValueError, TypeError), match="layer 'conv1': "):
        CNNClassifier(layers=[("conv1", layer)]).fit(DIGITS[:50], LABELS[:50])


def test_limits_hold_within_groups_and_connections():
    filters.check_family("pca", (3, 3), 4, 36, groups=4)
    with pytest.raises(ValueError, match="n_filters=40, of which 10 see the same channels, is more than filters='pca'"):
        filters.check_family("pca", (3, 3), 4, 40, groups=4)
    connections = np.ones((2, 12), dtype=bool)
    connections[0, 1:] = False
    with pytest.raises(ValueError, match="of which 11 see the same"):
        filters.check_family("pca", (3, 3), 2, 12, connections=connections)


CHECKED = [Conv2DTransformer(3, filters=family, random_state=0) for family in FAMILIES] + [
    Conv1DTransformer(2, filters="kmeans", random_state=0)
]


@pytest.mark.parametrize(
    "layer, check",
    [pair for layer in CHECKED for pair in estimator_checks_generator(layer)],
    ids=lambda value: getattr(getattr(value, "func", value), "__name__", ""),
)
def test_check_estimator(layer, check):
    check(layer)


# ---- inside networks -----------------------------------------------------------------------------------------------


def first_weights(classifier, X, y):
    """Weights before the first step: after one step that is too small to be seen in float32."""
    return clone(classifier).set_params(max_iter=1, learning_rate_init=1e-30, solver="sgd", alpha=0.0).fit(X, y)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("standardize", [True, False])
def test_network_starts_from_what_reaches_its_layers(family, standardize):
    classifier = CNNClassifier(
        layers=[
            ("conv1", Conv2DTransformer(8, 3, filters=family, activation="tanh")),
            ("pool1", MaxPool(2)),
            ("drop1", Dropout(0.5)),
            ("conv2", Conv2DTransformer(5, 2, filters=family)),
            ("dense", Dense(6)),
        ],
        standardize=standardize,
        random_state=0,
    )
    fitted = first_weights(classifier, DIGITS, LABELS)
    rng = np.random.RandomState(0)
    rng.randint(np.iinfo(np.int32).max)  # the seed of shuffling and dropout
    X = DIGITS[..., None].astype(np.float32)
    if standardize:
        X = (X - fitted.input_mean_) * fitted.input_scale_
    conv1 = Conv2DTransformer(8, 3, filters=family, activation="tanh")
    maps = X
    for i, layer in enumerate((conv1, Conv2DTransformer(5, 2, filters=family))):
        found, intercepts = find_filters(family, Maps(maps), (layer.kernel_size,) * 2, layer.n_filters, rng)
        tolerance = 1e-4 * np.abs(found).max()
        np.testing.assert_allclose(fitted.coefs_[i], found, rtol=0, atol=tolerance)
        np.testing.assert_allclose(fitted.intercepts_[i], intercepts, rtol=0, atol=10 * tolerance)
        given = layer.set_params(filters=np.moveaxis(fitted.coefs_[i], -1, 0)).fit(maps)
        given.intercept_ = fitted.intercepts_[i]
        maps = MaxPool(2).fit_transform(given.transform(maps))
    copied = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(copied.predict_proba(DIGITS), fitted.predict_proba(DIGITS))


def test_filters_behind_batch_norm_are_found_in_what_it_standardises(monkeypatch):
    layers = [
        ("conv1", Conv2DTransformer(4)),
        ("norm1", BatchNorm()),
        ("conv2", Conv2DTransformer(5, 2, filters="pca")),
        ("norm2", BatchNorm()),
    ]
    fitted = ConvFeatures(layers, random_state=0).fit(DIGITS)
    asked = []
    found = _architecture.initialize

    def initialize(network, *args, **kwargs):
        found(network, *args, **kwargs)
        asked.extend(mean.copy() for mean, _ in network.statistics)

    monkeypatch.setattr(_architecture, "initialize", initialize)
    first_weights(CNNClassifier(layers=layers, standardize=False, random_state=0), DIGITS, LABELS)
    # What no filters are found behind is left to the training.
    assert asked[0].any() and not asked[1].any()
    assert all(mean.any() for mean, _ in fitted.statistics_)


def test_random_layers_draw_what_they_drew_before():
    """A family in one layer changes the draws of those behind it, and of no other."""
    layers = [("conv1", Conv2DTransformer(4)), ("conv2", Conv2DTransformer(4)), ("dense", Dense(3))]
    plain = first_weights(CNNClassifier(layers=layers, random_state=0), DIGITS, LABELS)
    found = CNNClassifier(layers=layers, random_state=0).set_params(conv2__filters="pca")
    found = first_weights(found, DIGITS, LABELS)
    np.testing.assert_array_equal(found.coefs_[0], plain.coefs_[0])
    assert not np.array_equal(found.coefs_[1], plain.coefs_[1])


def test_networks_with_families_learn_and_do_not_depend_on_threads():
    classifier = CNNClassifier(
        layers=[("conv1", Conv2DTransformer(18, 3, filters="whitening", pool=MaxPool(2))), ("dense", Dense(32))],
        max_iter=5,
        random_state=0,
    )
    results = []
    for n_threads in (1, 3):
        with threadpool_limits(n_threads):
            results.append(clone(classifier).fit(DIGITS[:1000], LABELS[:1000]))
    for a, b in zip(results[0].coefs_, results[1].coefs_, strict=True):
        np.testing.assert_array_equal(a, b)
    assert results[0].score(DIGITS[1000:], LABELS[1000:]) > 0.9
    assert not np.array_equal(first_weights(classifier, DIGITS, LABELS).coefs_[0], results[0].coefs_[0])  # trained


@pytest.mark.parametrize("place", [0, 1])
def test_frozen_filters_stay_as_they_were_found(place):
    """What is found depends on the draws alone; what is frozen is still that after training."""
    layers = [
        ("conv1", Conv2DTransformer(8, 3, filters="whitening")),
        ("conv2", Conv2DTransformer(6, filters="kmeans")),
    ]
    classifier = CNNClassifier(layers=layers, max_iter=3, random_state=0)
    classifier.set_params(**{f"conv{place + 1}__trainable": False}).fit(DIGITS, LABELS)
    start = first_weights(classifier, DIGITS, LABELS)
    for i in range(3):
        assert np.array_equal(classifier.coefs_[i], start.coefs_[i]) == (i == place)
        assert np.array_equal(classifier.intercepts_[i], start.intercepts_[i]) == (i == place)
    assert classifier.score(DIGITS, LABELS) > 0.8
    before = classifier.coefs_[place].copy()
    classifier.partial_fit(DIGITS, LABELS)
    np.testing.assert_array_equal(classifier.coefs_[place], before)
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(classifier)).predict_proba(DIGITS), classifier.predict_proba(DIGITS)
    )


def test_filters_are_found_once(monkeypatch):
    """Warm starts and partial fits go on from the weights there are."""
    calls = []
    families = dict(FAMILIES, pca=lambda *arguments: calls.append(1) or filters.pca(*arguments))
    monkeypatch.setattr(filters, "FAMILIES", families)
    layers = [("conv1", Conv2DTransformer(4, 3, filters="pca")), ("flat", Flatten())]
    classifier = CNNClassifier(layers=layers, max_iter=1, warm_start=True, random_state=0)
    classifier.fit(DIGITS[:100], LABELS[:100]).fit(DIGITS[:100], LABELS[:100])
    assert len(calls) == 1 and classifier.n_iter_ == 2
    classifier.partial_fit(DIGITS[:100], LABELS[:100])
    assert len(calls) == 1
    classifier.set_params(warm_start=False).fit(DIGITS[:100], LABELS[:100])
    assert len(calls) == 2
    learner = CNNClassifier(layers=layers, random_state=0)
    for _ in range(3):
        learner.partial_fit(DIGITS[:100], LABELS[:100], classes=range(10))
    assert len(calls) == 3


def test_deep_maps_are_never_there_for_all_samples(monkeypatch):
    """The layers before run on a bounded number of samples, some of them at a time."""
    monkeypatch.setattr(filters, "MAX_SAMPLES", 500)
    monkeypatch.setattr(filters, "MAX_VALUES", 2**16)
    monkeypatch.setattr(filters, "BLOCK_BYTES", 2**20)
    x = np.random.default_rng(0).integers(256, size=(3000, 20, 20, 1)).astype(np.uint8)
    features = ConvFeatures(
        [("conv1", Conv2DTransformer(32)), ("conv2", Conv2DTransformer(8, filters="pca"))], random_state=0
    )
    features.fit(x[:100])
    tracemalloc.start()
    features.fit(x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 2**20 < 3000 * 20 * 20 * 32 * 4 / 10
