"""Losses, sample weights, penalties, clipping and averages of the engine against tests/reference_losses.py."""

import math

import numpy as np
import pytest
from scipy.special import xlogy

import reference
import reference_losses
from skconv import BatchNorm, Conv2DTransformer, Dense, Flatten
from skconv._architecture import bind
from skconv._losses import LOSSES, Loss
from skconv._network import Network
from skconv._operations import DenseProduct
from skconv.solvers import Settings, epochs
from test_network import small_network

CASES = [
    Loss(),
    Loss("log_loss", label_smoothing=0.1),
    Loss("log_loss", label_smoothing=1.0),
    Loss("binary_log_loss"),
    Loss("binary_log_loss", label_smoothing=0.2),
    Loss("squared_error"),
    Loss("absolute_error"),
    Loss("huber"),
    Loss("huber", delta=0.3),
    Loss("poisson"),
]


def options(loss):
    return {"name": loss.name, "label_smoothing": loss.label_smoothing, "delta": loss.delta}


def draw_targets(rng, loss, n, n_outputs, dtype="float64"):
    if loss.takes_labels:
        return rng.integers(0, n_outputs, n).astype(np.int32)
    if loss.name == "binary_log_loss":
        return rng.integers(0, 2, (n, n_outputs)).astype(dtype)
    if loss.name == "poisson":
        return rng.poisson(1.5, (n, n_outputs)).astype(dtype)
    return rng.standard_normal((n, n_outputs)).astype(dtype)


def gradient_by_outputs(z, targets, dtype, isa, **arguments):
    """Loss and its gradient by outputs `z`: of images that are unit vectors, by the weights."""
    network = Network([DenseProduct("output", (len(z),), z.shape[1:], "identity", False)], dtype=dtype, isa=isa)
    network.coefs[0][...] = z
    x = np.eye(len(z), dtype=dtype)
    loss, gradient = network.loss_and_gradient(x, targets, **arguments)
    return loss, network.arrays_of(gradient)[0][0].copy()


def test_names_are_in_the_engines_order():
    assert [Loss(name).kind for name in LOSSES] == list(range(6))
    assert [Loss(name).takes_labels for name in LOSSES] == [True] + [False] * 5
    assert Loss() == Loss("log_loss", 0.0, 1.0)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_outputs", [1, 3, 19])
@pytest.mark.parametrize("loss", CASES, ids=str)
def test_loss_matches_reference(isa, dtype, loss, n_outputs, weighted):
    rng = np.random.default_rng(0)
    z = (3 * rng.standard_normal((21, n_outputs))).astype(dtype)
    targets = draw_targets(rng, loss, 21, n_outputs, dtype)
    weights = rng.choice([0, 0.5, 1, 7.25], 21) if weighted else None
    value, gradient = gradient_by_outputs(z, targets, dtype, isa, loss=loss, sample_weight=weights)
    expected, slopes = reference_losses.mean_loss(z, targets, weights, **options(loss))
    tolerance = {"float32": 2e-6, "float64": 1e-14}[dtype]
    assert value == pytest.approx(expected, rel=tolerance, abs=tolerance)
    np.testing.assert_allclose(gradient, slopes, rtol=4 * tolerance, atol=tolerance * max(1, np.abs(slopes).max()))
    if weighted:
        assert not gradient[weights == 0].any()


@pytest.mark.parametrize("loss", CASES, ids=str)
def test_gradients_numerically(isa, loss):
    """Of the whole network by its weights, weights of samples included, against central differences in float64."""
    rng = np.random.default_rng(0)
    network = small_network("tanh", isa=isa)
    x, targets = rng.standard_normal((11, 9, 8, 2)), draw_targets(rng, loss, 11, 3)
    weights = rng.uniform(0, 2, 11)
    arguments = {"loss": loss, "sample_weight": weights}
    value, gradient = network.loss_and_gradient(x, targets, **arguments)
    expected, _ = reference_losses.mean_loss(network.predict(x), targets, weights, **options(loss))
    assert value == pytest.approx(expected, rel=1e-12)
    for index in rng.choice(np.flatnonzero(gradient), 30, replace=False):
        before, values = network.weights[index], []
        for step in (1e-6, -1e-6):
            network.weights[index] = before + step
            values.append(network.loss_and_gradient(x, targets, **arguments)[0])
        network.weights[index] = before
        # Central differences: truncation of order step**2, rounding of order 1e-16 / step.
        assert gradient[index] == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-5, abs=2e-8)


@pytest.mark.parametrize("loss", CASES, ids=str)
def test_extreme_outputs(isa, dtype, loss):
    """No overflow where the loss is a number of the precision, and no loss of small terms."""
    z = np.array([[-300.0, 80.0, 10.0], [300.0, -80.0, -1e-4], [0.0, -50.0, -20.0]], dtype=dtype)
    if loss.name == "poisson":
        z = np.minimum(z, 80).astype(dtype)
    targets = np.array([2, 1, 0], dtype=np.int32) if loss.takes_labels else np.eye(3, dtype=dtype)
    value, gradient = gradient_by_outputs(z, targets, dtype, isa, loss=loss)
    expected, slopes = reference_losses.mean_loss(z, targets, **options(loss))
    tolerance = {"float32": 2e-6, "float64": 1e-14}[dtype]
    assert value == pytest.approx(expected, rel=tolerance)
    # A logistic or softmax of nearly 1 minus its target is off by a rounding of 1.
    np.testing.assert_allclose(gradient, slopes, rtol=4 * tolerance, atol=tolerance)


def test_small_binary_losses_keep_their_digits(isa, dtype):
    z, targets = np.array([[40.0, -40.0]], dtype=dtype), np.array([[1.0, 0.0]], dtype=dtype)
    value, gradient = gradient_by_outputs(z, targets, dtype, isa, loss=Loss("binary_log_loss"))
    assert value == pytest.approx(2 * math.exp(-40), rel=1e-12)
    assert gradient[0, 1] == pytest.approx(math.exp(-40), rel=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_what_is_not_finite_shows(isa, dtype, name):
    """NaN and overflow reach the loss, but for samples of weight zero."""
    loss = Loss(name)
    z = np.zeros((4, 3), dtype=dtype)
    z[2] = np.nan
    targets = np.ones(4, np.int32) if loss.takes_labels else np.ones((4, 3), dtype)
    value, _ = gradient_by_outputs(z, targets, dtype, isa, loss=loss)
    assert math.isnan(value)
    # Images are not unit vectors here: a product would take NaN along. One feature, one weight for every image.
    network = Network([DenseProduct("output", (1,), (3,), "identity", False)], dtype=dtype, isa=isa)
    network.coefs[0][...] = 1
    x = np.array([[0.5], [np.inf], [1.0]], dtype=dtype)
    value, _ = network.loss_and_gradient(x, targets[:3], loss=loss, sample_weight=np.array([1.0, 0.0, 1.0]))
    assert math.isfinite(value)


def test_poisson_overflows_in_loss_and_gradient_alike(isa, dtype):
    for exponent, fits in ((88.0, True), (89.0, dtype == "float64"), (709.0, dtype == "float64"), (710.0, False)):
        z, targets = np.array([[exponent]], dtype=dtype), np.array([[2.0]], dtype=dtype)
        value, gradient = gradient_by_outputs(z, targets, dtype, isa, loss=Loss("poisson"))
        assert math.isfinite(value) == fits
        assert np.isfinite(gradient).all() == fits


def test_poisson_loss_is_half_the_deviance(isa):
    from sklearn.metrics import mean_poisson_deviance

    rng = np.random.default_rng(0)
    z, targets = rng.standard_normal((30, 1)), rng.poisson(2.0, (30, 1)).astype(float)
    value, _ = gradient_by_outputs(z, targets, "float64", isa, loss=Loss("poisson"))
    assert value == pytest.approx(mean_poisson_deviance(targets, np.exp(z)) / 2, rel=1e-12)
    assert value == pytest.approx(np.mean(np.exp(z) - targets * z - targets + xlogy(targets, targets)), rel=1e-12)


@pytest.mark.parametrize("loss", CASES, ids=str)
def test_integer_weights_are_repetitions(isa, loss):
    """The sum of losses and of gradients; and a weight of zero is absence."""
    rng = np.random.default_rng(0)
    network = small_network("tanh", isa=isa)
    x, targets = rng.standard_normal((13, 9, 8, 2)), draw_targets(rng, loss, 13, 3)
    counts = rng.integers(0, 4, 13)
    counts[:3] = 0, 1, 3
    again = np.repeat(np.arange(13), counts)
    value, gradient = network.loss_and_gradient(x, targets, loss=loss, sample_weight=counts.astype(float))
    other, expected = network.loss_and_gradient(x[again], targets[again], loss=loss)
    assert 13 * value == pytest.approx(len(again) * other, rel=1e-12)
    np.testing.assert_allclose(13 * gradient, len(again) * expected, rtol=1e-10, atol=1e-12)


def test_targets_and_weights_that_do_not_fit_are_refused():
    network = small_network("relu", "float32")
    x, y = np.zeros((4, 9, 8, 2), np.float32), np.zeros(4, np.int32)
    values = np.zeros((4, 3), np.float32)
    for wrong in (y.astype(np.int64), values, y[:3]):
        with pytest.raises(ValueError, match=r"log_loss takes C-contiguous targets of shape \(4,\) and type int32"):
            network.loss_and_gradient(x, wrong)
    for wrong in (y, values.astype(np.float64), values[:, :2], np.zeros((3, 4), np.float32).T):
        with pytest.raises(ValueError, match=r"huber takes C-contiguous targets of shape \(4, 3\) and type float32"):
            network.loss_and_gradient(x, wrong, loss=Loss("huber"))
    with pytest.raises(ValueError, match=r"sample_weight must have shape \(4,\), got \(3,\)"):
        network.loss_and_gradient(x, y, sample_weight=np.ones(3))


# ---- steps ---------------------------------------------------------------------------------------------------------


def steps(network, solver, settings, n_steps=3, rate=0.05, averaging=None, state=None, **arguments):
    """Run full-batch steps, yielding (weights before, weights after, state)."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((11, 9, 8, 2)), rng.integers(0, 3, 11).astype(np.int32)
    state = state or network.solver_state(averages=averaging is not None)
    for i in range(n_steps):
        before = network.weights.copy()
        _, gradient = network.loss_and_gradient(x, y)
        network.train(
            x, y, np.arange(11), np.array([0, 11]), state=state, solver=solver, rates=np.array([rate]),
            settings=settings, averaging=None if averaging is None else averaging[i : i + 1], **arguments,
        )  # fmt: skip
        yield before, gradient, state


def penalised(network):
    """Which elements of the flat vector are weights of a layer, rather than intercepts."""
    mask = np.zeros(network.n_weights, dtype=bool)
    for segment in network._segments.values():
        mask[segment.coef : segment.coef + segment.n_coef] = True
    return mask


PENALTIES = [(0.0, 0.5, 0.0), (0.2, 0.3, 0.0), (0.2, 0.0, 0.1), (0.2, 0.5, 0.3)]


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize(("alpha", "l1", "clip_norm"), PENALTIES)
def test_sgd_matches_reference(isa, alpha, l1, clip_norm, nesterov):
    network, velocity = small_network(isa=isa), 0
    mask = penalised(network)
    for before, gradient, _ in steps(network, "sgd", (alpha, 0.8, 0.0, 0.0, nesterov, l1, clip_norm)):
        if clip_norm:
            assert np.linalg.norm(gradient) > clip_norm
            gradient = reference_losses.clip(gradient, clip_norm)
        gradient = gradient + mask * alpha / 11 * before
        expected, velocity = reference.sgd_step(
            before, gradient, velocity, learning_rate=0.05, momentum=0.8, nesterov=nesterov
        )
        expected = reference_losses.shrink(expected, 0.05 * l1 / 11 * mask)
        np.testing.assert_allclose(network.weights, expected, rtol=1e-12, atol=1e-15)
        assert np.array_equal(network.weights == 0, expected == 0)


@pytest.mark.parametrize(("alpha", "l1", "clip_norm"), PENALTIES)
def test_adam_matches_reference(isa, alpha, l1, clip_norm):
    network, m, v = small_network(isa=isa), 0, 0
    mask = penalised(network)
    for before, gradient, _ in steps(network, "adam", (alpha, 0.9, 0.99, 1e-3, False, l1, clip_norm), rate=0.01):
        if clip_norm:
            gradient = reference_losses.clip(gradient, clip_norm)
        gradient = gradient + mask * alpha / 11 * before
        m, v = 0.9 * m + 0.1 * gradient, 0.99 * v + (1 - 0.99) * gradient**2
        metric = np.sqrt(v) + 1e-3
        expected = reference_losses.shrink(before - 0.01 * m / metric, 0.01 * l1 / 11 * mask / metric)
        np.testing.assert_allclose(network.weights, expected, rtol=1e-11, atol=1e-15)
        assert np.array_equal(network.weights == 0, expected == 0)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_l1_makes_weights_zero_and_stays_where_they_are(isa, dtype, solver):
    """Inputs without information lose their weights exactly; those that carry the classes keep theirs."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 20)).astype(dtype)
    y = (x[:, 0] > 0).astype(np.int32)
    network = Network([DenseProduct("output", (20,), (2,), "identity", True)], dtype=dtype, isa=isa)
    network.initialize(np.random.RandomState(0))
    how = Settings(
        solver=solver, schedule="cosine", peak={"sgd": 0.5, "adam": 0.05}[solver], power_t=0.5, alpha=5.0,
        momentum=0.0, nesterov=False, beta_1=0.9, beta_2=0.999, epsilon=1e-8, l1_ratio=1.0,
    )  # fmt: skip
    walk = epochs(
        network, x, y, np.arange(200), how, network.solver_state(), batch_size=50, max_iter=60, shuffle=True, seed=0
    )
    assert len(list(walk)) == 60
    coef = network.coefs[0]
    assert (coef[0] != 0).any()
    assert (coef[1:] == 0).mean() > 0.8
    assert (network.intercepts[0] != 0).all()


@pytest.mark.parametrize("wide", [False, True])
def test_clipping_behind_batch_normalisation(isa, wide):
    """Gradients that come as one sum, rather than one per slot, count in the norm and are scaled once."""
    rng = np.random.default_rng(0)
    layers = [
        ("conv1", Conv2DTransformer(5, 3)),
        ("norm1", BatchNorm(activation="relu")),
        ("flat", Flatten()),
        ("dense1", Dense(3000 if wide else 6)),
        ("norm2", BatchNorm()),
        ("output", Dense(3, activation="identity")),
    ]
    network = Network(bind(layers, (6, 5, 2)), dtype="float64", isa=isa)
    network.initialize(np.random.RandomState(0))
    x, y = rng.standard_normal((64, 6, 5, 2)), rng.integers(0, 3, 64).astype(np.int32)
    before = network.weights.copy()
    _, gradient = network.loss_and_gradient(x, y, training=True)
    assert np.linalg.norm(gradient) > 0.01
    state = network.solver_state(averages=True)
    network.train(
        x, y, np.arange(64), np.array([0, 64]), state=state, solver="sgd", rates=np.array([2.0]),
        settings=(0.0, 0.0, 0.0, 0.0, False, 0.0, 0.01), averaging=np.array([0.25]),
    )  # fmt: skip
    step = network.weights - before
    assert np.linalg.norm(step) == pytest.approx(0.02, rel=1e-12)
    np.testing.assert_allclose(step, -2 * reference_losses.clip(gradient, 0.01), rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(state.average, before + 0.75 * step, rtol=1e-12, atol=1e-15)


def test_clipping_leaves_short_gradients_alone(isa, dtype):
    results = []
    for clip_norm in (0.0, 1e6):
        network = small_network(isa=isa)
        list(steps(network, "sgd", (0.1, 0.9, 0.0, 0.0, True, 0.0, clip_norm)))
        results.append(network.weights.copy())
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_clipping_hides_no_divergence(isa, dtype, solver):
    network = Network([DenseProduct("output", (2,), (3,), "identity", True)], dtype=dtype, isa=isa)
    x = np.array([[1.0, np.inf], [1.0, 2.0]], dtype=dtype)
    _, loss, _ = network.train(
        x, np.zeros((2, 3), dtype), np.arange(2), np.array([0, 2]), state=network.solver_state(), solver=solver,
        rates=np.ones(1), settings=(0.0, 0.9, 0.999, 1e-8, False, 0.0, 1.0), loss=Loss("squared_error"),
    )  # fmt: skip
    assert math.isnan(loss)
    assert np.isnan(network.coefs[0]).all()
    # The loss is a number, but its gradient by the weights is none of the precision.
    large = np.finfo(dtype).max / 4
    network = Network([DenseProduct("output", (1,), (2,), "identity", True)], dtype=dtype, isa=isa)
    network.intercepts[0][...] = 100
    x = np.full((2, 1), large, dtype=dtype)
    _, loss, _ = network.train(
        x, np.zeros((2, 2), dtype), np.arange(2), np.array([0, 2]), state=network.solver_state(), solver=solver,
        rates=np.ones(1), settings=(0.0, 0.9, 0.999, 1e-8, False, 0.0, 1.0), loss=Loss("squared_error"),
    )  # fmt: skip
    assert math.isnan(loss)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_average_follows_the_weights(isa, solver):
    network = small_network(isa=isa)
    factors = np.array([0.1, 0.5, 0.9, 1.0])
    state = network.solver_state(averages=True)
    expected = network.weights.copy()
    np.testing.assert_array_equal(state.average, expected)
    walk = steps(network, solver, (0.1, 0.8, 0.99, 1e-8, False), 4, averaging=factors, state=state)
    for factor, _ in zip(factors, walk):
        expected = factor * expected + (1 - factor) * network.weights
        np.testing.assert_allclose(state.average, expected, rtol=1e-13, atol=1e-15)
        network.arrays_of(state.average)  # views, as of the weights
    with pytest.raises(ValueError, match="averages=True"):
        next(steps(network, solver, (0.1, 0.8, 0.99, 1e-8, False), averaging=factors, state=network.solver_state()))


def test_averaging_does_not_touch_the_weights(isa, dtype):
    results = []
    for averaging in (None, np.full(3, 0.5)):
        network = small_network(isa=isa)
        list(steps(network, "adam", (0.1, 0.9, 0.999, 1e-8, False), averaging=averaging))
        results.append(network.weights.copy())
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_n_threads_agnosticism(isa, solver, wide):
    """With everything on: the same bits of weights, averages and losses for any number of threads."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (150, 9, 8, 2), dtype=np.uint8)
    y = rng.integers(0, 2, (150, 3)).astype(np.float32)
    weights = rng.uniform(0, 2, 150)
    order = np.concatenate([rng.permutation(150) for _ in range(3 if wide else 10)])
    bounds = np.append(np.arange(0, len(order), 32), len(order))
    n_batches = len(bounds) - 1
    results = []
    for n_threads in (1, 2, 3, 4):
        network = small_network("relu", "float32", isa, wide, rate=0.3)
        network.n_training_threads = lambda batch_size, n=n_threads: n
        state = network.solver_state(averages=True)
        n_done, loss, n_correct = network.train(
            x, y, order, bounds, state=state, solver=solver, rates=np.full(n_batches, 1e-3),
            settings=(0.01, 0.9, 0.999, 1e-8, False, 0.01, 0.5), seed=5, loss=Loss("binary_log_loss", 0.1),
            sample_weight=weights, averaging=np.linspace(0.1, 0.9, n_batches),
        )  # fmt: skip
        assert (n_done, n_correct) == (n_batches, 0)
        assert math.isfinite(loss)
        results.append(np.concatenate([network.weights, state.average, [loss]]))
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)


# ---- epochs --------------------------------------------------------------------------------------------------------


def plain_settings(**changes):
    defaults = dict(
        solver="sgd", schedule="constant", peak=0.05, power_t=0.5, alpha=0.3, momentum=0.8, nesterov=True, beta_1=0.9,
        beta_2=0.999, epsilon=1e-8,
    )  # fmt: skip
    return Settings(**defaults | changes)


def test_settings_for_the_engine():
    assert plain_settings(l1_ratio=0.25, clip_norm=2).for_engine() == (0.3 * 0.75, 0.8, 0.0, 0.0, True, 0.3 * 0.25, 2)
    adam = plain_settings(solver="adam", l1_ratio=1.0).for_engine()
    assert adam == (0.0, 0.9, 0.999, 1e-8, False, 0.3, 0.0)
    assert plain_settings().averaging(0, 5) is None
    np.testing.assert_array_equal(plain_settings(ema_decay=0.3).averaging(0, 4), [1 / 10, 2 / 11, 3 / 12, 0.3])
    np.testing.assert_array_equal(plain_settings(ema_decay=0.999).averaging(7, 2), [8 / 17, 9 / 18])


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_epochs_pass_everything_on(solver):
    """Linear least squares with weights, clipping, L1 and averages, written out; 3 epochs, uneven batches."""
    rng = np.random.default_rng(0)
    X, Y, weights = rng.normal(size=(50, 5)), rng.normal(size=(50, 3)), rng.uniform(0.5, 1.5, 50)
    network = Network([DenseProduct("output", (5,), (3,), "identity", True)], dtype="float64")
    network.initialize(np.random.RandomState(0))
    how = plain_settings(solver=solver, l1_ratio=0.5, clip_norm=0.2, ema_decay=0.4)
    coef, intercept = network.coefs[0].copy(), network.intercepts[0].copy()
    average = [coef.copy(), intercept.copy()]
    moments = [[np.zeros_like(array), np.zeros_like(array)] for array in (coef, intercept)]
    state, t = network.solver_state(averages=True), 0
    walk = epochs(
        network, X, Y, np.arange(50), how, state, batch_size=16, max_iter=3, shuffle=False, seed=0,
        loss=Loss("squared_error"), sample_weight=weights,
    )  # fmt: skip
    for epoch in walk:
        total = 0
        for start in range(0, 50, 16):
            rows = slice(start, start + 16)
            z, n = X[rows] @ coef + intercept, len(X[rows])
            value, dz = reference_losses.mean_loss(z, Y[rows], weights[rows], name="squared_error")
            total += n * value
            flat = reference_losses.clip(np.concatenate([(X[rows].T @ dz).ravel(), dz.sum(axis=0)]), 0.2)
            gradients = [flat[:15].reshape(5, 3) + 0.15 / n * coef, flat[15:]]
            rate, decay = how.rates(t, t, 1, 12)[0], min(0.4, (1 + t) / (10 + t))
            for i, (w, g, l1) in enumerate(zip((coef, intercept), gradients, (0.15 / n, 0.0))):
                if solver == "sgd":
                    after, moments[i][0] = reference.sgd_step(
                        w, g, moments[i][0], learning_rate=rate, momentum=0.8, nesterov=True
                    )
                    metric = np.ones_like(w)
                else:
                    m, v = moments[i] = [0.9 * moments[i][0] + 0.1 * g, 0.999 * moments[i][1] + (1 - 0.999) * g**2]
                    metric = np.sqrt(v) + 1e-8
                    after = w - rate * m / metric
                w[...] = reference_losses.shrink(after.ravel(), (rate * l1 / metric).ravel()).reshape(w.shape)
                average[i] = decay * average[i] + (1 - decay) * w
            t += 1
        assert epoch.loss == pytest.approx(total / 50, rel=1e-9)
        assert epoch.accuracy is None
    np.testing.assert_allclose(network.coefs[0], coef, rtol=1e-9, atol=1e-12)
    (average_coef,), (average_intercept,) = network.arrays_of(state.average)
    np.testing.assert_allclose(average_coef, average[0], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(average_intercept, average[1], rtol=1e-9, atol=1e-12)


def test_weights_count_in_the_loss_and_not_in_the_accuracy():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 5)), rng.integers(0, 3, size=40).astype(np.int32)
    weights = rng.uniform(0, 2, 40)
    network = Network([DenseProduct("output", (5,), (3,), "identity", True)], dtype="float64")
    network.initialize(np.random.RandomState(0))
    z = network.predict(X)
    (epoch,) = epochs(
        network, X, y, np.arange(40), plain_settings(peak=1e-12), network.solver_state(), batch_size=16, max_iter=1,
        shuffle=True, seed=0, sample_weight=weights,
    )  # fmt: skip
    expected, _ = reference_losses.mean_loss(z, y, weights, name="log_loss")
    assert epoch.loss == pytest.approx(expected, rel=1e-9)
    assert epoch.accuracy == np.mean(z.argmax(axis=1) == y)
