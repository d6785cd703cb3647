"""Batch normalisation: values, gradients through the statistics, running statistics, and what keeps them together."""

import pickle
import tracemalloc

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits

import reference
from skconv import BatchNorm, CNNClassifier, Conv2DTransformer, Dense, Flatten, MaxPool
from skconv._architecture import bind
from skconv._images import channel_moments
from skconv._network import Network
from skconv._operations import ACTIVATIONS, BatchNormalization

NO_STEP = {"rates": np.zeros(1000), "settings": (0.0, 0.0, 0.0, 0.0, False)}


def normalization(shape, **options):
    return BatchNormalization("norm", shape, shape, **options)


def filled(network, seed=0):
    """The network with drawn weights and statistics, none of which is at its first value."""
    rng = np.random.default_rng(seed)
    network.initialize(np.random.RandomState(seed))
    for array in (*network.coefs, *network.intercepts):
        if array is not None:
            array[...] += 0.3 * rng.standard_normal(array.shape)
    for mean, variance in network.statistics:
        mean[...], variance[...] = rng.standard_normal(len(mean)), rng.uniform(0.5, 2, len(mean))
    return network


# Shapes that fill a row of the kernels, leave a rest, or have one pixel; 300 channels are two blocks.
SHAPES = [(5, 7, 3), (8, 8, 1), (4, 4, 16), (1, 1, 2), (40, 41, 2), (33,), (300,), (9, 5), (2, 3, 4, 6), (3, 2, 300)]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_matches_reference(isa, dtype, shape, training):
    rng = np.random.default_rng(0)
    network = filled(Network([normalization(shape, epsilon=0.01)], dtype=dtype, isa=isa))
    x, dy = rng.normal(3, 2, (21, *shape)).astype(dtype), rng.standard_normal((21, *shape)).astype(dtype)
    (gamma,), (beta,), (statistics,) = network.coefs, network.intercepts, network.statistics
    y, _ = reference.batch_norm(x, gamma, beta, epsilon=0.01, statistics=statistics)
    tolerance = {"float32": 2e-5, "float64": 1e-13}[dtype]  # values of a few units, after a few roundings
    np.testing.assert_allclose(network.predict(x), y, rtol=0, atol=tolerance)

    before = pickle.dumps(network.statistics)
    dx, gradient = network.backward(x, dy, training=training)
    assert pickle.dumps(network.statistics) == before
    expected_dx, expected_dgamma, expected_dbeta = reference.batch_norm_backward(
        x, dy, gamma, epsilon=0.01, statistics=None if training else statistics
    )
    np.testing.assert_allclose(dx, expected_dx, rtol=0, atol=tolerance)
    (dgamma,), (dbeta,) = network.arrays_of(gradient)
    n = 21 * dy[0, ..., 0].size
    np.testing.assert_allclose(dgamma, expected_dgamma, rtol=0, atol=tolerance * np.sqrt(n))
    np.testing.assert_allclose(dbeta, expected_dbeta, rtol=0, atol=tolerance * np.sqrt(n))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activation_follows(isa, activation, training):
    rng = np.random.default_rng(0)
    operations = bind([("norm", BatchNorm(activation=activation)), ("pool", MaxPool(2))], (6, 6, 3))
    network = filled(Network(operations, dtype="float64", isa=isa))
    (gamma,), (beta,), (statistics,) = network.coefs, network.intercepts, network.statistics
    x, dy = rng.standard_normal((5, 6, 6, 3)), rng.standard_normal((5, 3, 3, 3))
    given = None if training else statistics
    z, _ = reference.batch_norm(x, gamma, beta, epsilon=1e-5, statistics=given)
    y, index = reference.max_pool(reference.activation(z, activation), kernel_size=2, stride=2)
    if not training:
        np.testing.assert_allclose(network.predict(x), y, rtol=0, atol=1e-13)
    dz = reference.activation_backward(
        reference.max_pool_backward(dy, index, x.shape, kernel_size=2, stride=2), z, activation
    )
    expected = reference.batch_norm_backward(x, dz, gamma, epsilon=1e-5, statistics=given)
    dx, gradient = network.backward(x, dy, training=training)
    (dgamma,), (dbeta,) = network.arrays_of(gradient)
    for result, value in zip((dx, dgamma, dbeta), expected, strict=True):
        np.testing.assert_allclose(result, value, rtol=0, atol=1e-12)


def deep_network(dtype="float64", isa=None):
    """Normalisation in every place: first, after a convolution, before and after narrow and wide dense layers, last."""
    layers = [
        ("norm1", BatchNorm(scale=False)),
        ("conv", Conv2DTransformer(5, 3, padding="same", activation="identity", fit_intercept=False)),
        ("norm2", BatchNorm(activation="tanh", epsilon=0.1)),
        ("pool", MaxPool(2)),
        ("wide", Dense(2300, activation="tanh")),
        ("norm3", BatchNorm(center=False)),
        ("norm4", BatchNorm(center=False, scale=False, activation="gelu")),
        ("narrow", Dense(6, activation="identity")),
        ("norm5", BatchNorm()),
        ("wide2", Dense(7000, activation="identity")),
        ("norm6", BatchNorm(activation="elu")),
        ("output", Dense(3, activation="identity")),
        ("norm7", BatchNorm()),
    ]
    network = Network(
        bind(layers, (8, 6, 2)), dtype=dtype, isa=isa, mean=np.array([0.1, -0.2]), scale=np.array([2.0, 0.5])
    )
    return filled(network)


@pytest.mark.parametrize("training", [False, True])
def test_gradients_numerically(isa, training):
    """The gradient of the whole loss against central differences of it; the penalty leaves gamma and beta alone."""
    rng = np.random.default_rng(0)
    network = deep_network(isa=isa)
    x, y = rng.standard_normal((13, 8, 6, 2)), rng.integers(0, 3, 13).astype(np.int32)
    alpha = 0.3
    network.n_training_threads = lambda batch_size: 1  # dozens of barriers, and nothing to share
    _, gradient = network.loss_and_gradient(x, y, alpha, training=training)
    weights = network.weights.copy()

    def penalised(index, value):
        network.weights[...] = weights
        network.weights[index] = value
        loss, _ = network.loss_and_gradient(x, y, training=training)
        penalty = sum((coef**2).sum() for coef in network.coefs if coef is not None and coef.ndim > 1)
        return loss + alpha / 2 / 13 * penalty

    sampled = []
    for segment in network._segments.values():
        for start, n in ((segment.coef, segment.n_coef), (segment.intercept, segment.n_intercepts)):
            sampled += sorted({start + i * (n - 1) // 2 for i in range(3)}) if n else []
    for index in sampled:
        step = 1e-5
        expected = (penalised(index, weights[index] + step) - penalised(index, weights[index] - step)) / (2 * step)
        # Truncation is of order step**2 times third derivatives, rounding of order 1e-15 / step.
        np.testing.assert_allclose(gradient[index], expected, rtol=1e-5, atol=3e-9)


def test_prediction_agrees_with_training_pass(isa):
    """The loss of a training pass by the running statistics is that of the predictions."""
    rng = np.random.default_rng(0)
    network = deep_network(isa=isa)
    x, y = rng.standard_normal((13, 8, 6, 2)), rng.integers(0, 3, 13).astype(np.int32)
    loss, _ = network.loss_and_gradient(x, y)
    np.testing.assert_allclose(loss, reference.softmax_cross_entropy(network.predict(x), y)[0], rtol=1e-13)


def test_splits_and_units_change_no_bit(isa):
    from skconv._plan import Plan

    rng = np.random.default_rng(0)
    network = deep_network("float32", isa)
    x = rng.standard_normal((90, 8, 6, 2)).astype(np.float32)
    whole = network.predict(x)
    for size in (1, 2, 7, 64):
        parts = [network.predict(x[i : i + size]) for i in range(0, 90, size)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)
    for n_threads, by_units in ((1, False), (1, True), (3, True)):
        plan = Plan(
            network.operations, network._segments, network._storage, statistics=network._statistics, isa=isa,
            n_threads=n_threads, by_units=by_units, mean=network.mean, scale=network.scale,
        )  # fmt: skip
        out = np.full((90, 3), np.nan, dtype=np.float32)
        plan.engine.predict(x, out, n_threads=n_threads, by_units=by_units, softmax=False)
        np.testing.assert_array_equal(out, whole)


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_n_threads_agnosticism(isa, solver):
    """The same weights and statistics, bit for bit, for 1, 2, 3 and 8 threads."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (150, 8, 6, 2), dtype=np.uint8)
    y = rng.integers(0, 3, 150).astype(np.int32)
    bounds = np.append(np.arange(0, 150, 64), 150)
    order = rng.permutation(150)
    results = []
    for n_threads in (1, 2, 3, 8):
        network = deep_network("float32", isa)
        network.n_training_threads = lambda batch_size, n=n_threads: n
        state = network.solver_state()
        for epoch in range(2):
            _, loss, n_correct = network.train(
                x, y, order, bounds, state=state, solver=solver, rates=np.full(len(bounds) - 1, 1e-3),
                settings=(0.01, 0.9, 0.999, 1e-8, False), seed=5, epoch=epoch,
            )  # fmt: skip
        statistics = np.concatenate([np.ravel(pair) for pair in network.statistics])
        results.append(np.concatenate([network.weights, statistics, [loss, n_correct]]))
    assert np.isfinite(results[0]).all()
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)


# ---- running statistics --------------------------------------------------------------------------------------------


def run(network, x, bounds, **changes):
    options = {"state": network.solver_state(), "solver": "sgd", **NO_STEP, **changes}
    return network.train(
        x, np.zeros(len(x), np.int32), np.arange(len(x)), np.asarray(bounds, dtype=np.intp), **options
    )  # fmt: skip


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_running_statistics(isa, dtype, momentum):
    """They move once per mini-batch, the last of which is smaller, towards its mean and unbiased variance."""
    rng = np.random.default_rng(0)
    network = Network([normalization((4, 3, 5), momentum=momentum)], dtype=dtype, isa=isa)
    network.initialize(np.random.RandomState(0))
    x = rng.normal([5, 0, -3, 1e3, 1], [1, 2, 3, 0.1, 10], (75, 4, 3, 5)).astype(dtype)
    mean, variance = np.zeros(5), np.ones(5)
    for start, end in ((0, 32), (32, 64), (64, 75)):
        batch = x[start:end].astype(np.float64).reshape(-1, 5)
        mean = momentum * mean + (1 - momentum) * batch.mean(axis=0)
        variance = momentum * variance + (1 - momentum) * batch.var(axis=0, ddof=1)
    run(network, x, [0, 32, 64, 75])
    np.testing.assert_allclose(network.statistics[0][0], mean, rtol=1e-13)
    np.testing.assert_allclose(network.statistics[0][1], variance, rtol=1e-10)  # 1e3 +- 0.1: eight digits cancel


def test_statistics_stay_where_nothing_is_learned():
    x = np.random.default_rng(0).normal(7, 3, (40, 4, 3, 5))
    for changes in ({"training": False}, {"solver": "gradient"}, {"solver": "gradient", "training": False}):
        network = filled(Network([normalization((4, 3, 5))], dtype="float64"))
        before = pickle.dumps(network.statistics)
        run(network, x, [0, 20, 40], **changes)
        assert pickle.dumps(network.statistics) == before


@pytest.mark.parametrize("shape", [(1, 1, 3), (3,)])
def test_mini_batch_of_one_value_per_channel(isa, shape):
    """It has no variance: the result is act(beta), no gradient passes, and only the running mean moves."""
    network = Network([normalization(shape)], dtype="float64", isa=isa)
    network.initialize(np.random.RandomState(0))
    network.intercepts[0][...] = [1, 2, 3]
    x = np.full((1, *shape), 5.0)
    loss, _ = network.loss_and_gradient(x, np.zeros(1, np.int32), training=True)
    np.testing.assert_allclose(loss, reference.softmax_cross_entropy([[1, 2, 3]], [0])[0])
    dx, gradient = network.backward(x, np.ones_like(x), training=True)
    np.testing.assert_array_equal(dx, np.zeros_like(x))
    (dgamma,), (dbeta,) = network.arrays_of(gradient)
    np.testing.assert_array_equal(dgamma, np.zeros(3))
    np.testing.assert_array_equal(dbeta, np.ones(3))
    run(network, x, [0, 1])
    np.testing.assert_allclose(network.statistics[0], [[0.5] * 3, [1] * 3])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_constant_channels_become_beta(isa, dtype):
    network = Network([normalization((6, 5, 2), activation="relu")], dtype=dtype, isa=isa)
    network.initialize(np.random.RandomState(0))
    network.intercepts[0][...] = [0.25, -1]
    x = np.random.default_rng(0).normal(size=(20, 6, 5, 2)).astype(dtype)
    x[..., 0] = 1234567.8
    dy = np.random.default_rng(1).normal(size=x.shape)
    dx, gradient = network.backward(x, dy, training=True)
    assert np.isfinite(dx).all() and np.isfinite(gradient).all()
    assert network.arrays_of(gradient)[0][0][0] == 0
    network.statistics[0][0][...], network.statistics[0][1][...] = x[0, 0, 0], 0
    np.testing.assert_array_equal(network.predict(x)[..., 0], np.full((20, 6, 5), 0.25, dtype=dtype))


def test_small_deviations_around_a_large_mean(isa):
    """float32 images around 1e4 with a deviation of 1: nothing cancels that the data still hold."""
    x = np.random.default_rng(0).normal(1e4, 1, (64, 10, 10, 3)).astype(np.float32)
    network = Network([normalization((10, 10, 3), momentum=0.0)], isa=isa)
    network.initialize(np.random.RandomState(0))
    run(network, x, [0, 64])
    exact = x.astype(np.float64).reshape(-1, 3)
    np.testing.assert_allclose(network.statistics[0][0], exact.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(network.statistics[0][1], exact.var(axis=0, ddof=1), rtol=1e-9)
    y = network.predict(x)
    expected = (exact - exact.mean(axis=0)) / np.sqrt(exact.var(axis=0, ddof=1) + 1e-5)
    np.testing.assert_allclose(y, expected.reshape(x.shape), rtol=0, atol=1e-6)
    dy = np.random.default_rng(1).standard_normal(x.shape).astype(np.float32)
    dx, gradient = network.backward(x, dy, training=True)
    expected, dgamma, _ = reference.batch_norm_backward(x, dy, epsilon=1e-5)
    np.testing.assert_allclose(dx, expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(network.arrays_of(gradient)[0][0], dgamma, rtol=1e-6)


# ---- standing alone ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("shape", [(50, 9, 8, 3), (40, 100, 100, 1), (3, 5, 4, 1500), (7, 6, 5, 4, 2)])
def test_transformer_standardises_channels(dtype, shape):
    X = np.random.default_rng(0).integers(0, 256, shape).astype(dtype)
    norm = BatchNorm(spatial_ndim=len(shape) - 2)
    result = norm.fit_transform(X)
    axes = tuple(range(len(shape) - 1))
    np.testing.assert_allclose(norm.mean_, X.mean(axis=axes, dtype=np.float64), rtol=1e-13)
    np.testing.assert_allclose(norm.var_, X.var(axis=axes, dtype=np.float64), rtol=1e-12)
    assert norm.mean_.dtype == norm.var_.dtype == np.float64
    expected = (X - norm.mean_) / np.sqrt(norm.var_ + 1e-5)
    eps = np.finfo(result.dtype).eps
    np.testing.assert_allclose(result, expected, rtol=0, atol=16 * eps)
    np.testing.assert_allclose(result.mean(axis=axes, dtype=np.float64), 0, atol=16 * eps)


def test_moments_do_not_cancel():
    X = np.random.default_rng(0).normal(1e7, 1, (300, 40, 41, 1))
    mean, variance = channel_moments([X])
    np.testing.assert_allclose(variance, np.var(X - 1e7), rtol=1e-8)
    np.testing.assert_allclose(mean - 1e7, (X - 1e7).mean(), rtol=0, atol=1e-8)
    _, variance = channel_moments([np.full((300, 40, 41, 2), 0.1)])
    np.testing.assert_array_equal(variance, 0)


def test_fit_copies_no_memmap(tmp_path):
    path = tmp_path / "images.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (400, 100, 100, 2), dtype=np.uint8))
    X = np.load(path, mmap_mode="r")
    norm = BatchNorm()
    tracemalloc.start()
    norm.fit(X)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8e6 == X.nbytes  # in float64, it would be 64 MB
    np.testing.assert_allclose(norm.mean_, np.mean(X, axis=(0, 1, 2)), rtol=1e-12)


def test_transformer_with_activation_and_constant_channels():
    X = np.random.default_rng(0).normal(size=(20, 5, 4, 2))
    X[..., 1] = 3.3
    norm = BatchNorm(activation="relu").fit(X)
    assert norm.mean_[1] == 3.3 and norm.var_[1] == 0
    result = norm.transform(X)
    np.testing.assert_array_equal(result[..., 1], 0)
    np.testing.assert_array_equal(result[..., 0] > 0, X[..., 0] > norm.mean_[0])
    assert result.min() == 0
    norm.var_ = np.ones(3)
    with pytest.raises(ValueError, match="var_ was changed to an array that does not fit the layer"):
        norm.transform(X)


@pytest.mark.parametrize(
    ("layer", "error", "message"),
    [
        (BatchNorm(epsilon=0), ValueError, "epsilon must be at least 1e-12, got 0"),
        (BatchNorm(epsilon="tiny"), TypeError, "epsilon must be a real number"),
        (BatchNorm(momentum=1), ValueError, "momentum must be at least 0 and less than 1, got 1"),
        (BatchNorm(center=1), TypeError, "center must be a bool, got 1 (int)"),
        (BatchNorm(scale=None), TypeError, "scale must be a bool"),
        (BatchNorm(activation="swish"), ValueError, "activation must be one of 'identity', 'relu'"),
    ],
)
def test_messages(layer, error, message):
    with pytest.raises(error) as raised:
        layer.fit(np.zeros((2, 8, 6, 3)))
    assert message in str(raised.value)
    with pytest.raises(error, match=r"^layer 'norm': "):
        layer.bind((8, 6, 3), "norm")


# ---- inside an estimator -------------------------------------------------------------------------------------------

X, Y = load_digits(return_X_y=True)


def classifier(**changes):
    layers = [
        ("conv", Conv2DTransformer(8, 3, padding="same", activation="identity", fit_intercept=False)),
        ("norm1", BatchNorm(activation="relu")),
        ("pool1", MaxPool(2)),
        ("flat", Flatten()),
        ("dense", Dense(32, activation="identity")),
        ("norm2", BatchNorm(activation="relu", center=False)),
        ("norm3", BatchNorm(center=False, scale=False)),
    ]
    return CNNClassifier(**{"layers": layers, "random_state": 0, "max_iter": 5, **changes})


def same(a, b):
    return pickle.dumps(a.statistics_) == pickle.dumps(b.statistics_) and np.array_equal(
        a.predict_proba(X), b.predict_proba(X)
    )


def test_digits():
    order = np.random.default_rng(0).permutation(len(X))
    train, test = order[:1200], order[1200:]
    fitted = classifier(max_iter=20).fit(X[train], Y[train])
    assert fitted.score(X[test], Y[test]) > 0.95
    assert fitted.loss_ < 0.3  # 0.22 since first outputs are small
    assert [array.shape if array is not None else None for array in fitted.coefs_] == [
        (3, 3, 1, 8), (8,), (128, 32), (32,), (32, 10),
    ]  # fmt: skip
    assert [None if array is None else len(array) for array in fitted.intercepts_] == [None, 8, 32, None, 10]
    assert [len(mean) for mean, _ in fitted.statistics_] == [8, 32, 32]
    assert "norm1   batch normalization, relu" in fitted.summary()
    assert fitted.n_parameters_ == 72 + 16 + 128 * 32 + 32 + 32 + 330


def test_state_travels_with_the_weights():
    fitted = classifier().fit(X[:500], Y[:500])
    expected = fitted.predict_proba(X)
    copied = pickle.loads(pickle.dumps(fitted))
    for mean, variance in copied.statistics_:
        assert mean.base is None and variance.base is None
    assert same(copied, fitted)
    assert not hasattr(clone(fitted), "statistics_")
    # Edited in place, and replaced.
    fitted.statistics_[0][1][...] *= 4
    quartered = fitted.predict_proba(X)
    assert not np.array_equal(quartered, expected)
    mean, variance = copied.statistics_[0]
    copied.statistics_[0] = (mean, 4 * variance)
    np.testing.assert_array_equal(copied.predict_proba(X), quartered)
    copied.statistics_[0] = (mean, variance[:-1])
    with pytest.raises(ValueError, match=r"statistics_\[0\]\[1\] must have shape \(8,\), got \(7,\)"):
        copied.predict(X)
    copied.statistics_ = []
    with pytest.raises(ValueError, match="statistics_ must hold 3 pairs of mean and variance, got 0"):
        copied.predict(X)


def test_warm_start_goes_on_from_the_statistics():
    options = dict(learning_rate_init=1e-30, max_iter=1)  # ten mini-batches leave 0.9 ** 10 = 0.35 of what was
    warm = classifier(warm_start=True, **options).fit(X[:320], Y[:320])
    first = warm.statistics_[0][1].copy()
    weights = [array.copy() for array in warm.coefs_]
    warm.fit(X[:320], Y[:320])
    for before, after in zip(weights, warm.coefs_, strict=True):
        np.testing.assert_array_equal(before, after)
    limit = classifier(**options | {"max_iter": 30}).fit(X[:320], Y[:320]).statistics_[0][1]
    assert np.abs(limit - 1).max() > 0.5
    assert np.abs(first - limit).max() > 0.3 * np.abs(limit - 1).max()
    assert np.abs(warm.statistics_[0][1] - limit).max() < 0.2 * np.abs(limit - 1).max()


def test_partial_fit_carries_the_statistics():
    first = classifier().partial_fit(X[:320], Y[:320], classes=np.arange(10))
    before = pickle.dumps(first.statistics_)
    copied = pickle.loads(pickle.dumps(first))
    assert same(first.partial_fit(X[320:640], Y[320:640]), copied.partial_fit(X[320:640], Y[320:640]))
    assert pickle.dumps(first.statistics_) != before
    # A call that fails leaves statistics and weights as they were.
    with pytest.raises(ValueError, match="diverged"), np.errstate(all="ignore"):
        copied.set_params(learning_rate_init=1e30).partial_fit(X[:320], Y[:320])
    assert same(first, copied)


def test_early_stopping_keeps_the_statistics_of_the_best_epoch():
    options = dict(early_stopping=True, n_iter_no_change=3, learning_rate="constant", learning_rate_init=0.03)
    stopped = classifier(max_iter=30, **options).fit(X[:400], Y[:400])
    best = int(np.argmax(stopped.validation_scores_)) + 1
    assert best < stopped.n_iter_
    assert same(classifier(max_iter=best, **options).fit(X[:400], Y[:400]), stopped)


def test_adversaries_of_rebuilding():
    """Another architecture of the same weights must not take over the statistics."""
    fitted = classifier(warm_start=True).fit(X[:100], Y[:100])
    layers = [pair for pair in classifier().layers if pair[0] != "norm3"]
    before = pickle.dumps(fitted.statistics_)
    with pytest.raises(ValueError, match="statistics_ must hold 2 pairs"):
        fitted.set_params(layers=layers).fit(X[:100], Y[:100])
    assert pickle.dumps(fitted.statistics_) == before
