"""Averages of weights, clipping, L1, smoothed labels, losses of classifiers: what estimators make of them."""

import numpy as np
import pytest
from sklearn.datasets import load_digits, make_multilabel_classification

import reference_losses
from skconv import CNNClassifier, CNNRegressor

DIGITS, LABELS = load_digits(return_X_y=True)
X, Y = DIGITS[:120], LABELS[:120]
BOTH = pytest.mark.parametrize("Estimator", [CNNClassifier, CNNRegressor])
STILL = dict(learning_rate_init=1e-30, alpha=0.0)  # weights stay where they are


def tiny(Estimator=CNNClassifier, **parameters):
    """One mini-batch per epoch, nothing drawn but the first weights."""
    defaults = dict(
        conv_layer_sizes=(2,), hidden_layer_sizes=(5,), dropout=0.0, batch_size=120, shuffle=False, random_state=0,
        learning_rate_init=0.05, alpha=0.0,
    )  # fmt: skip
    return Estimator(**defaults | parameters)


def small(Estimator=CNNClassifier, **parameters):
    defaults = dict(conv_layer_sizes=(4,), hidden_layer_sizes=(8,), max_iter=4, random_state=0)
    return Estimator(**defaults | parameters)


def step(estimator, y=Y, **options):
    if isinstance(estimator, CNNClassifier) and y.ndim == 1:
        options["classes"] = np.unique(LABELS)
    return estimator.partial_fit(X, y, **options)


def weights_of(estimator):
    return [array.astype(np.float64) for array in (*estimator.coefs_, *estimator.intercepts_)]


def assert_close(mine, wanted, tolerance=1e-5):
    for array, other in zip(mine, wanted, strict=True):
        np.testing.assert_allclose(array, other, rtol=0, atol=tolerance * max(1e-3, np.abs(other).max()))


# ---- averages of weights -------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize("decay", [0.2, 0.999])
def test_averages_are_those_of_the_weights_after_every_step(Estimator, solver, decay):
    """By hand: a step is a call; the weights themselves go where they go without averaging."""
    averaging, plain = tiny(Estimator, ema_decay=decay, solver=solver), tiny(Estimator, solver=solver)
    expected = weights_of(step(tiny(Estimator, **STILL)))  # the first weights
    for t in range(8):
        step(averaging)
        step(plain)
        keeps = min(decay, (1 + t) / (10 + t))
        expected = [keeps * mean + (1 - keeps) * w for mean, w in zip(expected, weights_of(plain))]
        assert_close(weights_of(averaging), expected)
    assert averaging.loss_curve_ == plain.loss_curve_  # losses are those of the steps
    assert not np.array_equal(averaging.predict(X), plain.predict(X)) or decay < 0.5
    # Predictions come from the average: put in place by hand, it predicts the same.
    plain.coefs_, plain.intercepts_ = averaging.coefs_, averaging.intercepts_
    np.testing.assert_array_equal(averaging.predict(X), plain.predict(X))


@BOTH
def test_averages_are_validated(Estimator):
    options = dict(ema_decay=0.9, learning_rate="constant", n_iter_no_change=np.inf, early_stopping=True)
    scored = small(Estimator, max_iter=5, **options).fit(X, Y, X_val=DIGITS[200:300], y_val=LABELS[200:300])
    assert scored.best_validation_score_ == pytest.approx(scored.score(DIGITS[200:300], LABELS[200:300]), abs=1e-12)
    plain = small(Estimator, max_iter=5, **options | dict(ema_decay=None))
    plain.fit(X, Y, X_val=DIGITS[200:300], y_val=LABELS[200:300])
    assert scored.validation_scores_ != plain.validation_scores_ and scored.loss_curve_ == plain.loss_curve_


def test_averages_smooth_the_end_of_a_constant_rate():
    scores = {}
    for decay in (None, 0.98):
        fits = (
            small(
                ema_decay=decay, learning_rate="constant", learning_rate_init=0.05, n_iter_no_change=1000, max_iter=8,
                random_state=seed, tol=0, batch_size=16, hidden_layer_sizes=(32,), dropout=0.0,
            )
            for seed in range(3)
        )  # fmt: skip
        with pytest.warns(match="hasn't converged"):
            scores[decay] = np.mean(
                [fit.fit(DIGITS[:600], LABELS[:600]).score(DIGITS[600:], LABELS[600:]) for fit in fits]
            )
    assert scores[0.98] > scores[None] + 0.01


# ---- clipping and penalties ----------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("clip_norm", [1e-3, 1e3])
def test_a_long_gradient_is_shortened(Estimator, clip_norm):
    first = weights_of(step(tiny(Estimator, **STILL)))
    options = dict(solver="sgd", momentum=0.0, nesterovs_momentum=False, learning_rate_init=1.0)
    plain = weights_of(step(tiny(Estimator, **options)))
    gradient = [a - b for a, b in zip(first, plain)]
    norm = np.sqrt(sum((g**2).sum() for g in gradient))
    assert 1e-2 < norm < 1e2
    clipped = weights_of(step(tiny(Estimator, clip_norm=clip_norm, **options)))
    factor = min(1, clip_norm / norm)
    assert_close(clipped, [a - factor * g for a, g in zip(first, gradient)], 1e-4 * factor)
    # Long and short gradients lead to the same place where all are clipped, which is nowhere near divergence.
    if clip_norm < 1:
        calm = tiny(Estimator, solver="sgd", learning_rate_init=0.1, clip_norm=clip_norm, standardize=False)
        for _ in range(3):
            calm.partial_fit(1e4 * X, Y, **dict(classes=np.arange(10)) if Estimator is CNNClassifier else {})
        moved = [np.abs(a - b).max() for a, b in zip(weights_of(calm), first)]
        assert max(moved) <= 3 * 0.1 * clip_norm * 3 + 1e-6


@BOTH
def test_l1_is_a_soft_threshold_after_the_step(Estimator):
    alpha, rate = 8.0, 0.5
    options = dict(solver="sgd", momentum=0.0, nesterovs_momentum=False, learning_rate_init=rate)
    plain = step(tiny(Estimator, **options))
    sparse = step(tiny(Estimator, alpha=alpha, l1_ratio=1.0, **options))
    threshold = rate * alpha / 120
    for mine, w in zip(sparse.coefs_, plain.coefs_, strict=True):
        expected = np.sign(w) * np.maximum(np.abs(w) - threshold, 0)
        np.testing.assert_allclose(mine, expected, rtol=0, atol=1e-6)
        np.testing.assert_array_equal(mine[expected == 0], 0)
    for mine, b in zip(sparse.intercepts_, plain.intercepts_, strict=True):
        np.testing.assert_array_equal(mine, b)
    # Half of it: the square's part moves in the gradient, the rest in the threshold.
    first = step(tiny(Estimator, **STILL))
    half = step(tiny(Estimator, alpha=alpha, l1_ratio=0.5, **options))
    for mine, w, start in zip(half.coefs_, plain.coefs_, first.coefs_, strict=True):
        moved = w - rate * 0.5 * alpha / 120 * start
        expected = np.sign(moved) * np.maximum(np.abs(moved) - threshold / 2, 0)
        np.testing.assert_allclose(mine, expected, rtol=0, atol=1e-6)
    # The loss has both penalties, of the weights after the step.
    for model, ratio in ((sparse, 1.0), (half, 0.5)):
        penalty = sum(ratio * np.abs(w).sum() + (1 - ratio) / 2 * (w**2).sum() for w in weights_of(model)[:3])
        assert model.loss_ == pytest.approx(plain.loss_ + alpha / 120 * penalty, rel=1e-5)


@BOTH
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_l1_gives_exact_zeros(Estimator, solver):
    shares = []
    for l1_ratio in (0.0, 0.5, 1.0):
        options = dict(learning_rate_init=0.01 if solver == "adam" else 0.05)
        model = small(Estimator, alpha=2.0, l1_ratio=l1_ratio, solver=solver, max_iter=20, **options)
        model.fit(X, Y)
        shares.append(np.mean(np.concatenate([coef.ravel() for coef in model.coefs_]) == 0))
        assert all((intercept != 0).any() for intercept in model.intercepts_)
    assert shares[0] == 0 < shares[1] < shares[2] < 1


def test_l1_is_not_for_lbfgs():
    with pytest.raises(ValueError, match="solver='lbfgs' needs a smooth penalty, got l1_ratio=0.5"):
        small(solver="lbfgs", l1_ratio=0.5).fit(X, Y)


# ---- losses of classifiers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
@pytest.mark.parametrize("kind", ["labels", "several labels"])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_smoothed_labels_in_the_loss(kind, smoothing, solver):
    y = Y if kind == "labels" else np.stack([Y > 4, Y % 2, Y == 0], axis=1).astype(int)
    name = "log_loss" if kind == "labels" else "binary_log_loss"
    options = STILL if solver == "adam" else dict(solver="lbfgs", max_iter=3)
    classifier = tiny(label_smoothing=smoothing, **dict(max_iter=1, **options) if solver == "adam" else options)
    classifier.fit(X, y)
    outputs = classifier.decision_function(X)
    expected, _ = reference_losses.mean_loss(outputs, y, name=name, label_smoothing=smoothing)
    assert classifier.loss_ == pytest.approx(expected, rel=1e-5)
    if smoothing:
        without, _ = reference_losses.mean_loss(outputs, y, name=name)
        assert abs(expected - without) > 1e-4


def test_smoothed_labels_temper_confidence():
    confidence = []
    for smoothing in (0.0, 0.2, 0.6):
        classifier = small(
            label_smoothing=smoothing, max_iter=40, learning_rate_init=0.02, dropout=0.0, hidden_layer_sizes=(32,)
        ).fit(X, Y)
        assert classifier.score(X, Y) > 0.95
        confidence.append(classifier.predict_proba(X).max(axis=1).mean())
    assert confidence == sorted(confidence, reverse=True)
    # What the loss pulls towards: (1 - e) + e / 10.
    assert confidence[2] == pytest.approx(0.46, abs=0.05)


def test_smoothed_labels_are_for_the_cross_entropy():
    with pytest.raises(ValueError, match="label_smoothing=0.1 needs loss='log_loss', got loss='squared_error'"):
        small(label_smoothing=0.1, loss="squared_error").fit(X, Y)


@pytest.mark.parametrize("n_classes", [1, 2, 3, 10])
def test_squared_error_of_classes(n_classes):
    y = Y % n_classes
    classifier = tiny(loss="squared_error", max_iter=1, **STILL).fit(X, y)
    outputs = classifier.layer_outputs(X, "output").astype(float)
    targets = np.where(y[:, np.newaxis] == np.arange(n_classes), 1, -1)
    assert classifier.loss_ == pytest.approx(0.5 * np.mean((outputs - targets) ** 2), rel=1e-5)
    assert classifier.out_activation_ == "tanh" and np.abs(outputs).max() <= 1
    assert classifier.predict_proba(X).shape == (120, n_classes)


def test_squared_error_learns_classes():
    classifier = small(
        loss="squared_error", learning_rate_init=0.02, max_iter=30, dropout=0.0, hidden_layer_sizes=(32,)
    )
    classifier.fit(DIGITS[:500], LABELS[:500])
    assert classifier.score(DIGITS[500:], LABELS[500:]) > 0.85
    probabilities = classifier.predict_proba(DIGITS[500:])
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(probabilities.argmax(axis=1), classifier.predict(DIGITS[500:]))
    np.testing.assert_allclose(classifier.predict_log_proba(DIGITS[500:]), np.log(probabilities), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("loss", ["log_loss", "squared_error"])
def test_shapes_of_decisions(loss):
    """Two classes: a number; several labels: one per label; else one per class."""
    for n_classes, shape in ((1, (120, 1)), (2, (120,)), (3, (120, 3)), (10, (120, 10))):
        y = np.array(list("abcdefghij"))[Y % n_classes]
        classifier = small(loss=loss, max_iter=8).fit(X, y)
        decisions, outputs = classifier.decision_function(X), classifier.layer_outputs(X, "output")
        assert decisions.shape == shape and decisions.dtype == np.float32
        if n_classes == 2:
            np.testing.assert_array_equal(decisions, outputs[:, 1] - outputs[:, 0])
            np.testing.assert_array_equal(classifier.predict(X), np.where(decisions > 0, "b", "a"))
            # In the same order as probabilities, but for what float32 cannot tell apart.
            assert (np.diff(classifier.predict_proba(X)[np.argsort(decisions), 1]) >= 0).all()
        else:
            np.testing.assert_array_equal(decisions, outputs)
            np.testing.assert_array_equal(classifier.predict(X), classifier.classes_[decisions.argmax(axis=1)])
    images, y = make_multilabel_classification(n_samples=60, n_classes=4, random_state=0)
    several = small(loss=loss, image_shape=(4, 5), max_iter=8).fit(images, y)
    assert several.decision_function(images).shape == (60, 4)
    np.testing.assert_array_equal(several.predict(images), several.decision_function(images) > 0)
    assert several.out_activation_ == ("logistic" if loss == "log_loss" else "tanh")


def test_several_labels_learn_and_are_refused_where_they_do_not_fit():
    y = np.stack([LABELS > 4, LABELS % 2, np.isin(LABELS, (0, 6, 8))], axis=1).astype(int)
    for loss in ("log_loss", "squared_error"):
        classifier = small(loss=loss, max_iter=30, learning_rate_init=0.02, hidden_layer_sizes=(32,), dropout=0.0)
        classifier.fit(DIGITS[:500], y[:500])
        assert (classifier.predict(DIGITS[500:]) == y[500:]).mean() > 0.9
        assert classifier.score(DIGITS[500:], y[500:]) == np.mean(
            (classifier.predict(DIGITS[500:]) == y[500:]).all(axis=1)
        )
    with pytest.raises(ValueError, match="y must have a column per label, 3 as in the first fit"):
        classifier.partial_fit(X, y[:120, :2])
    with pytest.raises(ValueError, match="partial_fit continues a fit on several labels per sample, got y of shape"):
        classifier.partial_fit(X, Y)
    with pytest.raises(ValueError, match="partial_fit continues a fit on one label per sample, got y of shape"):
        small().fit(X, Y).partial_fit(X, y[:120])
