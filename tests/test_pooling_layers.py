"""LPPool, GlobalPool and ChannelPool: the reference, networks, large images, messages."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from threadpoolctl import threadpool_limits

import reference
from skconv import (
    AvgPool,
    ChannelPool,
    CNNClassifier,
    Conv2DTransformer,
    Dense,
    GlobalPool,
    LPPool,
    MaxPool,
    _architecture,
    functional,
)
from skconv.layers.pooling import _Pool, _SpatialPool

IMAGES = {1: (11,), 2: (7, 6), 3: (4, 5, 6)}
POOLS = [MaxPool(2), AvgPool(2), LPPool(2), GlobalPool(), ChannelPool(2)]


def name_of(layer):
    return type(layer).__name__


def images(spatial_ndim=2, n_channels=6, n_samples=5, dtype=np.float64):
    rng = np.random.default_rng(0)
    return rng.integers(-8, 9, size=(n_samples, *IMAGES[spatial_ndim], n_channels)).astype(dtype)


def test_all_pools_share_a_base():
    assert all(isinstance(pool, _Pool) for pool in POOLS)
    assert [name_of(pool) for pool in POOLS if isinstance(pool, _SpatialPool)] == ["MaxPool", "AvgPool", "LPPool"]


@pytest.mark.parametrize("spatial_ndim", [1, 2, 3])
@pytest.mark.parametrize("p", [1, 2, 3, 1.5, np.int64(2), np.float32(2)])
@pytest.mark.parametrize("options", [{}, dict(stride=1), dict(kernel_size=3, padding=1, stride=2)])
def test_lp_pool_matches_reference(spatial_ndim, p, options):
    X = images(spatial_ndim)
    geometry = dict(kernel_size=options.get("kernel_size", 2), pad_before=options.get("padding", 0))
    geometry |= dict(stride=options.get("stride", geometry["kernel_size"]), pad_after=geometry["pad_before"])
    result = LPPool(p=p, spatial_ndim=spatial_ndim, **options).fit_transform(X)
    np.testing.assert_allclose(result, reference.lp_pool(X, float(p), **geometry), rtol=1e-13)


SUMMARIES = {
    "average": lambda X, axis: X.mean(axis=axis),
    "max": lambda X, axis: X.max(axis=axis),
    "lp": lambda X, axis: (np.abs(X) ** 3).sum(axis=axis) ** (1 / 3),
}


@pytest.mark.parametrize("kind", SUMMARIES)
@pytest.mark.parametrize(
    "shape", [(11, 2), (300, 3), (7, 6, 5), (30, 20, 3), (1, 400, 2), (400, 1, 2), (4, 5, 6, 2), (9, 11, 12, 3)]
)
def test_global_pool_summarises_channels(kind, shape):
    X = np.random.default_rng(0).standard_normal((4, *shape))
    layer = GlobalPool(kind, p=3, spatial_ndim=len(shape) - 1).fit(X)
    result = layer.transform(X)
    assert result.shape == (4, shape[-1]) and layer.output_shape_ == (shape[-1],)
    np.testing.assert_allclose(result, SUMMARIES[kind](X, tuple(range(1, len(shape)))), rtol=1e-12, atol=1e-15)
    assert list(layer.get_feature_names_out()) == [f"globalpool{i}" for i in range(shape[-1])]
    frame = clone(layer).set_params(image_shape=shape).set_output(transform="pandas").fit_transform(X.reshape(4, -1))
    np.testing.assert_array_equal(frame.to_numpy(), result)


@pytest.mark.parametrize("kind", SUMMARIES)
@pytest.mark.parametrize("n_pieces", [1, 2, 3, 6])
@pytest.mark.parametrize("spatial_ndim", [1, 2, 3])
def test_channel_pool_summarises_groups(kind, n_pieces, spatial_ndim):
    X = images(spatial_ndim)
    result = ChannelPool(n_pieces, kind, p=3, spatial_ndim=spatial_ndim).fit_transform(X)
    groups = X.reshape(*X.shape[:-1], 6 // n_pieces, n_pieces)
    np.testing.assert_allclose(result, SUMMARIES[kind](groups, -1), rtol=1e-12)
    assert result.shape == (*X.shape[:-1], 6 // n_pieces)


def test_channel_pool_leaves_one_channel_alone():
    X = images(n_channels=1)
    np.testing.assert_array_equal(ChannelPool(4).fit_transform(X), X)


@pytest.mark.parametrize("kind", ["average", "max", "lp"])
def test_large_photographs_are_pooled_with_little_memory_and_any_threads(kind):
    """12 megapixels: the same bits on one thread and two, and what float32 sums of so many can promise."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, size=(1, 3000, 4000, 3), dtype=np.uint8)
    layer = GlobalPool(kind).fit(X[:, :3000])
    results = []
    for n_threads in (2, 1):
        with threadpool_limits(n_threads, user_api="openmp"):
            results.append(layer.transform(X))
    np.testing.assert_array_equal(*results)
    wide = X[0].astype(np.int64)
    expected = {"average": wide.mean((0, 1)), "max": wide.max((0, 1)), "lp": np.sqrt((wide**2).sum((0, 1)))}[kind]
    np.testing.assert_allclose(results[0][0], expected, rtol=1e-5)


@pytest.mark.parametrize("pool", POOLS, ids=name_of)
def test_inside_a_network(pool):
    """Trained, pickled, cloned; the network's answer is that of its layers one after the other."""
    X = images(n_samples=40, n_channels=2).astype(np.float32)
    y = (X.mean(axis=(1, 2, 3)) > 0).astype(int)
    layers = [("conv", Conv2DTransformer(4, 3, padding="same")), ("pool1", pool), ("dense", Dense(6))]
    classifier = CNNClassifier(layers=layers, max_iter=3, random_state=0).fit(X, y)
    probability = classifier.predict_proba(X)
    assert probability.shape == (40, 2) and np.isfinite(probability).all()
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(classifier)).predict_proba(X), probability)
    again = clone(classifier).fit(X, y)
    np.testing.assert_array_equal(again.predict_proba(X), probability)
    assert any(name == "pool1" and kind == name_of(pool) for name, kind, _ in classifier.architecture_)


def test_maxout_behind_dense_and_before_convolution():
    X = images(n_samples=30, n_channels=2).astype(np.float32)
    y = (X[:, 0, 0, 0] > 0).astype(int)
    layers = [
        ("conv1", Conv2DTransformer(6, 3, activation="identity")),
        ("maxout1", ChannelPool(3)),
        ("conv2", Conv2DTransformer(4, 3, padding="same")),
        ("global", GlobalPool("max")),
        ("dense", Dense(8, activation="identity")),
        ("maxout2", ChannelPool(4)),
    ]
    classifier = CNNClassifier(layers=layers, max_iter=5, random_state=0).fit(X, y)
    assert classifier.coefs_[1].shape == (3, 3, 2, 4)
    assert classifier.coefs_[-1].shape == (2, 2) or classifier.coefs_[-1].shape == (2, 1)
    assert np.isfinite(classifier.loss_curve_).all()


@pytest.mark.parametrize("kind", ["average", "max", "lp"])
def test_gradients_numerically(kind):
    """Through a global pool of several steps and a pool of channels, both behind another layer."""
    from skconv._network import Network

    shape = (20, 15, 4)
    layers = [("channels", ChannelPool(2, kind, p=3)), ("global", GlobalPool(kind, p=3))]
    network = Network(_architecture.bind(layers, shape), dtype="float64")
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((2, *shape)), rng.standard_normal((2, 2))
    dx, _ = network.backward(x, dy)
    expected = reference.numerical_gradient(lambda x: (network.predict(x) * dy).sum(), x)
    np.testing.assert_allclose(dx, expected, rtol=0, atol=1e-8)


def test_layers_are_the_functions():
    X = images(n_channels=4).astype(np.float32)
    for layer, expected in [
        (MaxPool(3, stride=2, padding=1), functional.max_pool(X, 3, stride=2, padding=1)),
        (AvgPool(3, padding=1, count_include_pad=True), functional.avg_pool(X, 3, padding=1, count_include_pad=True)),
        (LPPool(2, 3, ceil_mode=True), functional.lp_pool(X, 2, p=3, ceil_mode=True)),
        (GlobalPool("lp", 1), functional.global_pool(X, "lp", 1)),
        (ChannelPool(2, "average"), functional.channel_pool(X, 2, "average")),
    ]:
        np.testing.assert_array_equal(layer.fit_transform(X), expected)


def test_pipeline():
    X = images(n_channels=4)
    pipeline = make_pipeline(ChannelPool(2), LPPool(2), GlobalPool("max")).fit(X)
    assert pipeline.transform(X).shape == (5, 2)
    assert list(pipeline.get_feature_names_out()) == ["globalpool0", "globalpool1"]


@pytest.mark.parametrize(
    "layer, error, message",
    [
        (LPPool(p=0.5), ValueError, "p must be at least 1, got 0.5"),
        (LPPool(p=0), ValueError, "p must be at least 1, got 0"),
        (LPPool(p=np.nan), ValueError, "p must be a finite number, got nan"),
        (LPPool(p=np.inf), ValueError, "p must be a finite number, got inf"),
        (LPPool(p="2"), TypeError, "p must be a real number, got '2' (str)"),
        (LPPool(p=True), TypeError, "p must be a real number, got True (bool)"),
        (LPPool(9), ValueError, "kernel_size=9 does not fit into a 7x6 image"),
        (LPPool(2, padding=2), ValueError, "padding=2 must be smaller than the pooling window"),
        (GlobalPool("mean"), ValueError, "kind must be one of 'average', 'max', 'lp', got 'mean'"),
        (GlobalPool(None), ValueError, "kind must be one of"),
        (GlobalPool(p=-1), ValueError, "p must be at least 1"),
        (GlobalPool(spatial_ndim=0), ValueError, "spatial_ndim must be at least 1"),
        (ChannelPool(4), ValueError, "n_pieces=4 must divide the number of channels, which is 6 here"),
        (ChannelPool(7), ValueError, "n_pieces=7 must divide the number of channels, which is 6 here"),
        (ChannelPool(0), ValueError, "n_pieces must be at least 1, got 0"),
        (ChannelPool(2.0), TypeError, "n_pieces must be an int, got 2.0 (float)"),
        (ChannelPool(2**62), ValueError, "n_pieces must be at least 1 and at most 2**40"),
        (ChannelPool(kind="min"), ValueError, "kind must be one of"),
    ],
)
def test_messages(layer, error, message):
    with pytest.raises(error) as raised:
        layer.fit(images())
    assert message in str(raised.value)
    if "spatial_ndim" not in message:  # which says nothing inside a network
        with pytest.raises(error) as raised:
            layer.bind((7, 6, 6), "pool1")
        assert str(raised.value).startswith("layer 'pool1': ")


def test_pools_after_flattening():
    with pytest.raises(ValueError, match=r"layer 'global': GlobalPool needs images, but flat features of"):
        GlobalPool().bind((12,), "global")
    assert ChannelPool(3).bind((12,))[-1].out_shape == (4,)


@pytest.mark.parametrize("padding", [0, "valid", np.int64(0), np.array(0), (0, 0), [(0, 0), (0, 0)]])
def test_no_padding_in_any_form_leaves_an_axis_of_one_pixel(padding):
    X = np.arange(24.0).reshape(2, 1, 12)
    np.testing.assert_array_equal(MaxPool(3, padding=padding).fit_transform(X)[:, 0, :, 0], X[:, 0, 2::3])
