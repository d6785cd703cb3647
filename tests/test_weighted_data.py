"""Sample weights where filters and statistics are found in the data: an integer is a repetition, zero is absence."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from skconv import BatchNorm, Conv2DTransformer, Dense, Flatten, MaxPool, _architecture, filters
from skconv._architecture import bind
from skconv._images import channel_moments
from skconv._network import Network
from skconv.filters import FAMILIES, Maps, draw_patches, find_filters

DIGITS = load_digits().images[..., np.newaxis]


# ---- moments -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("shape", [(5, 7, 3), (1, 1, 1), (300, 40, 2), (6,), (2, 3, 4, 5)])
def test_moments_of_weighted_images(shape, dtype):
    rng = np.random.default_rng(0)
    x = (100 + 30 * rng.standard_normal((40, *shape))).clip(0, 255).astype(dtype)
    counts = rng.integers(0, 4, 40)
    counts[0] = 0
    flat = np.repeat(x, counts, axis=0).astype(np.float64).reshape(-1, shape[-1])
    for blocks in ([x], [x[:1], x[1:2], x[2:23], x[23:]]):
        mean, variance = channel_moments(iter(blocks), counts)
        np.testing.assert_allclose(mean, flat.mean(axis=0), rtol=1e-13)
        np.testing.assert_allclose(variance, flat.var(axis=0), rtol=1e-12)
    again = channel_moments([x], 1e-3 * counts)
    np.testing.assert_allclose(again, (mean, variance), rtol=1e-12)


def test_moments_with_equal_weights_and_of_constants():
    rng = np.random.default_rng(0)
    x = 5 + rng.standard_normal((50, 9, 8, 3))
    np.testing.assert_allclose(channel_moments([x], np.full(50, 0.3)), channel_moments([x]), rtol=1e-13)
    x[::2] = np.finfo(np.float64).max  # of weight zero
    x[1::2] = [0.1, 1e9, -3]
    mean, variance = channel_moments([x], np.arange(50) % 2)
    np.testing.assert_allclose(mean, [0.1, 1e9, -3], rtol=1e-15)
    np.testing.assert_array_equal(variance, 0)


# ---- patches -------------------------------------------------------------------------------------------------------


def numbered(n, size=(4, 4)):
    """Images whose pixels are their number."""
    return np.broadcast_to(np.arange(n, dtype=np.float64).reshape(n, 1, 1, 1), (n, *size, 1)).copy()


def test_all_patches_carry_the_weights_of_their_samples():
    weights = np.array([0, 2, 0.5, 0, 7])
    patches, of_patches = draw_patches(
        Maps(numbered(5), sample_weight=weights), (2, 2), (1, 1), np.random.RandomState(0)
    )
    assert patches.shape == (3 * 9, 4, 1)
    np.testing.assert_array_equal(patches[:, 0, 0], np.repeat([1, 2, 4], 9))
    np.testing.assert_array_equal(of_patches, np.repeat([2, 0.5, 7], 9))


@pytest.mark.parametrize("deep", [False, True])
def test_patches_are_drawn_in_proportion_to_weights(monkeypatch, deep):
    """Fewer patches than windows, fewer than samples, and through layers before, of which few samples are taken."""
    rng = np.random.default_rng(0)
    x, weights = numbered(300), rng.uniform(0, 2, 300) * (rng.random(300) < 0.5)
    network = None
    if deep:
        network = Network(bind([("pool", MaxPool(2, stride=1))], (4, 4, 1)), dtype="float64")
        monkeypatch.setattr(filters, "MAX_SAMPLES", 40)
    for most in (1000, 200, 60):
        monkeypatch.setattr(filters, "MAX_PATCHES", most)
        counts = np.zeros(300)
        n_runs = 40 if deep else 10
        for seed in range(n_runs):
            patches, of_patches = draw_patches(Maps(x, network, weights), (2, 2), (1, 1), np.random.RandomState(seed))
            drawn = np.bincount(patches[:, 0, 0].astype(int), minlength=300)
            if of_patches is None:
                assert len(patches) == most
            else:  # all windows of the few samples that were taken: a sample drawn twice counts twice
                drawn = np.bincount(patches[:, 0, 0].astype(int), of_patches, minlength=300)
            share = drawn.sum() * weights / weights.sum()
            if not deep:
                assert (np.abs(drawn - share) < 1 + 1e-9).all()
            counts += drawn / drawn.sum() / n_runs
        assert not counts[weights == 0].any()
        assert np.corrcoef(counts, weights)[0, 1] > 0.85


def test_equal_weights_draw_from_every_sample_alike(monkeypatch):
    monkeypatch.setattr(filters, "MAX_PATCHES", 90)
    patches, _ = draw_patches(
        Maps(numbered(30), sample_weight=np.full(30, 0.7)), (2, 2), (1, 1), np.random.RandomState(0)
    )
    np.testing.assert_array_equal(np.bincount(patches[:, 0, 0].astype(int)), 3)


# ---- families ------------------------------------------------------------------------------------------------------


def found(family, x, sample_weight=None, n_filters=6, seed=0):
    return find_filters(family, Maps(x, sample_weight=sample_weight), (3, 3), n_filters, np.random.RandomState(seed))


@pytest.mark.parametrize("family", ["whitening", "pca"])
def test_integer_weights_are_repetitions(family):
    x, counts = DIGITS[:60], np.random.default_rng(0).integers(0, 4, 60)
    for mine, its in zip(found(family, x, counts), found(family, np.repeat(x, counts, axis=0))):
        np.testing.assert_allclose(mine, its, rtol=1e-8, atol=1e-10)
    for mine, its in zip(found(family, x, 3.7 * counts), found(family, x, counts)):
        np.testing.assert_allclose(mine, its, rtol=1e-8, atol=1e-10)
    assert np.abs(found(family, x, counts)[0] - found(family, x)[0]).max() > 1e-4


@pytest.mark.parametrize("family", FAMILIES)
def test_samples_of_weight_zero_are_absent(family):
    """Whatever they hold; the same draws from the others."""
    x, weights = DIGITS[:60].copy(), np.random.default_rng(0).integers(0, 4, 60)
    expected = found(family, x[weights > 0], weights[weights > 0])
    x[weights == 0] = 1e6 * np.random.default_rng(1).standard_normal((np.sum(weights == 0), 8, 8, 1))
    for mine, its in zip(found(family, x, weights), expected):
        np.testing.assert_array_equal(mine, its)


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_of_one_change_nothing(family):
    """But the draws of those families that draw from all patches."""
    x = DIGITS[:60]
    (plain, intercepts), (weighted, others) = found(family, x), found(family, x, np.ones(60))
    if family == "patches":
        np.testing.assert_allclose(np.linalg.norm(weighted.reshape(9, -1), axis=0), 1)
    else:
        np.testing.assert_allclose(weighted, plain, rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(others, intercepts, rtol=1e-7, atol=1e-9)


def test_heavy_patches_are_drawn():
    """Vertical edges weigh a thousand times what horizontal ones do."""
    rng = np.random.default_rng(0)
    x = 0.1 * rng.standard_normal((200, 5, 5, 1))
    vertical = np.arange(200) % 2 == 0
    x[vertical, :, 2:] += 1
    x[~vertical, 2:] += 1
    kernels, _ = found("patches", x, np.where(vertical, 1000.0, 1.0), n_filters=8)
    across = np.abs(np.diff(kernels.mean(axis=0), axis=0)).max(axis=(0, 1))
    down = np.abs(np.diff(kernels.mean(axis=1), axis=0)).max(axis=(0, 1))
    assert (across > down).sum() >= 7


def test_clusters_are_those_of_weighted_patches(monkeypatch):
    from sklearn.cluster import MiniBatchKMeans

    fit, seen = MiniBatchKMeans.fit, []

    def watched(self, X, y=None, sample_weight=None):
        seen.append(sample_weight)
        return fit(self, X, sample_weight=sample_weight)

    monkeypatch.setattr(MiniBatchKMeans, "fit", watched)
    x, weights = DIGITS[:60], np.random.default_rng(0).uniform(1, 4, 60)
    found("kmeans", x, weights)
    found("kmeans", x)
    np.testing.assert_array_equal(seen[0], np.repeat(weights, 36))
    assert seen[1] is None


# ---- networks ------------------------------------------------------------------------------------------------------


def test_networks_start_from_weighted_data():
    """Filters behind other layers, and statistics, of samples of which some are repeated and some absent."""
    layers = [
        ("norm1", BatchNorm()),
        ("conv1", Conv2DTransformer(6, 3, filters="whitening")),
        ("pool1", MaxPool(2)),
        ("conv2", Conv2DTransformer(8, 2, filters="pca")),
        ("norm2", BatchNorm()),
        ("flat", Flatten()),
        ("output", Dense(3, activation="identity")),
    ]
    x, counts = DIGITS[:50], np.random.default_rng(0).integers(0, 4, 50)
    networks = []
    for images, weights in ((x, counts), (np.repeat(x, counts, axis=0), None), (x, None)):
        network = Network(bind(layers, (8, 8, 1)), dtype="float64")
        _architecture.initialize(network, layers, images, np.random.RandomState(0), sample_weight=weights)
        networks.append(network)
    weighted, repeated, plain = networks
    np.testing.assert_allclose(weighted.weights, repeated.weights, rtol=1e-6, atol=1e-9)
    for mine, its, other in zip(weighted.statistics, repeated.statistics, plain.statistics):
        np.testing.assert_allclose(mine, its, rtol=1e-6, atol=1e-9)
        assert np.abs(mine[0] - other[0]).max() > 1e-4
