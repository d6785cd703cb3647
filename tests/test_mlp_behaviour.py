"""What scikit-learn's MLPClassifier and MLPRegressor are tested for, of CNNClassifier and CNNRegressor."""

import inspect
import math
import warnings
from itertools import pairwise

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits, make_multilabel_classification, make_regression
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import PoissonRegressor
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import scale

from skconv import CNNClassifier, CNNRegressor

ACTIVATIONS = ["identity", "relu", "leaky_relu", "tanh", "logistic", "elu", "gelu"]
X_3, Y_3 = (values[:200] for values in load_digits(n_class=3, return_X_y=True))
X_2, Y_2 = (values[:200] for values in load_digits(n_class=2, return_X_y=True))
X_REG, Y_REG = make_regression(n_samples=200, n_features=9, bias=20.0, noise=100.0, random_state=7)
Y_REG = scale(Y_REG)
BOTH = pytest.mark.parametrize("Estimator", [CNNClassifier, CNNRegressor])
ENDLESS = dict(learning_rate="constant", tol=0, n_iter_no_change=math.inf)


def perceptron(Estimator, **parameters):
    """Dense layers only, as an MLP."""
    defaults = dict(conv_layer_sizes=(), hidden_layer_sizes=(8,), dropout=0.0, random_state=0)
    return Estimator(**defaults | parameters)


def small(Estimator, **parameters):
    """A convolution, a pooling and a dense layer."""
    defaults = dict(conv_layer_sizes=(4,), hidden_layer_sizes=(8,), max_iter=3, random_state=0)
    return Estimator(**defaults | parameters)


def quietly(estimator, *data, **options):
    """Fit without the warning that the schedule's end came before a plateau."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.fit(*data, **options)


def weights_of(estimator):
    return [*estimator.coefs_, *estimator.intercepts_]


def assert_same_weights(a, b):
    for mine, other in zip(weights_of(a), weights_of(b), strict=True):
        np.testing.assert_array_equal(mine, other)


# ---- names ---------------------------------------------------------------------------------------------------------

# What differs, and why.
DIFFERENCES = {
    "hidden_layer_sizes": "auto",  # behind convolutions; (128,)
    "learning_rate": "one_cycle",  # ends by itself, at better weights than a plateau of a constant rate
    "learning_rate_init": 0.002,  # of a cycle, the largest
    "max_iter": "auto",  # the schedule's length, not a bound: as many epochs as make 2,000 steps
}
PAIRS = [(MLPClassifier, CNNClassifier), (MLPRegressor, CNNRegressor)]


@pytest.mark.parametrize("theirs, ours", PAIRS)
def test_parameters_are_those_of_mlp(theirs, ours):
    mine = inspect.signature(ours).parameters
    for name, parameter in inspect.signature(theirs).parameters.items():
        assert name in mine, name
        expected = DIFFERENCES.get(name, parameter.default)
        assert mine[name].default == expected, name
        assert name not in DIFFERENCES or expected != parameter.default, f"{name} is no difference any more"


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("theirs, ours", PAIRS)
def test_attributes_are_those_of_mlp(theirs, ours, solver, early_stopping):
    options = dict(solver=solver, early_stopping=early_stopping, max_iter=4, random_state=0)
    mlp = quietly(theirs(hidden_layer_sizes=(8,), **options), X_3 / 16, Y_3)
    cnn = quietly(perceptron(ours, **options), X_3, Y_3)
    names = [name for name in vars(mlp) if name.endswith("_") and not name.startswith("_")]
    assert len(names) >= (9 if solver == "lbfgs" else 12)
    for name in names:
        mine, its = getattr(cnn, name), getattr(mlp, name)
        # Scores are where there is validation, and None elsewhere, in the same places.
        assert (mine is None) == (its is None), name
        assert isinstance(mine, str | list | tuple | np.ndarray) == isinstance(its, str | list | tuple | np.ndarray)
    for name in ("n_features_in_", "n_layers_", "n_outputs_", "n_iter_", "t_"):
        if (name, solver) != ("t_", "lbfgs"):  # theirs is 0, though documented as the samples seen
            assert getattr(cnn, name) == getattr(mlp, name), name
    assert [coef.shape for coef in cnn.coefs_] == [coef.shape for coef in mlp.coefs_]
    assert [intercept.shape for intercept in cnn.intercepts_] == [intercept.shape for intercept in mlp.intercepts_]
    assert cnn.out_activation_ == mlp.out_activation_
    for name in ("loss_curve_", "validation_scores_"):
        if getattr(mlp, name, None) is not None:  # absent where the solver is "lbfgs"; ours has the losses
            assert len(getattr(cnn, name)) == len(getattr(mlp, name)), name


@pytest.mark.parametrize("theirs, ours", PAIRS)
def test_methods_and_their_arguments_are_those_of_mlp(theirs, ours):
    for name in ("fit", "partial_fit", "predict", "predict_proba", "predict_log_proba", "score"):
        if hasattr(theirs, name):
            its = list(inspect.signature(getattr(theirs, name)).parameters)
            mine = list(inspect.signature(getattr(ours, name)).parameters)
            if "sample_weight" in its:  # since 1.7
                assert mine[: len(its)] == its, name


# ---- what training finds -------------------------------------------------------------------------------------------


@BOTH
def test_alpha_shrinks_weights(Estimator):
    sums = []
    for alpha in (0.0, 1.0, 30.0):
        fitted = quietly(small(Estimator, alpha=alpha, max_iter=20), X_2[:100], Y_2[:100])
        sums.append([np.abs(coef).sum() for coef in fitted.coefs_])
    for weaker, stronger in pairwise(sums):
        assert (np.array(weaker) > stronger).all()


def test_a_step_worked_out():
    """One step of gradient descent on one sample, from given weights."""
    x, rate, alpha = np.array([[0.6, 0.8, 0.7]]), 0.1, 0.1
    coefs = [np.array([[0.1, 0.2], [0.3, 0.1], [0.5, 0.0]]), np.array([[0.1, -0.1], [0.2, 0.3]])]
    intercepts = [np.array([0.1, 0.1]), np.array([1.0, 0.5])]
    classifier = perceptron(
        CNNClassifier, solver="sgd", learning_rate_init=rate, alpha=alpha, activation="logistic", momentum=0.0,
        nesterovs_momentum=False, hidden_layer_sizes=2, standardize=False,
    ).partial_fit(x, [0], classes=[0, 1])  # fmt: skip
    classifier.coefs_ = [coef.astype(np.float32) for coef in coefs]
    classifier.intercepts_ = [intercept.astype(np.float32) for intercept in intercepts]
    classifier.partial_fit(x, [0])
    hidden = 1 / (1 + np.exp(-(x @ coefs[0] + intercepts[0])))
    outputs = hidden @ coefs[1] + intercepts[1]
    delta = np.exp(outputs) / np.exp(outputs).sum() - [[1, 0]]
    delta_hidden = delta @ coefs[1].T * hidden * (1 - hidden)
    loss = -np.log(np.exp(outputs[0, 0]) / np.exp(outputs).sum())
    loss += alpha / 2 * sum((coef**2).sum() for coef in coefs)
    expected = [
        coefs[0] - rate * (x.T @ delta_hidden + alpha * coefs[0]),
        coefs[1] - rate * (hidden.T @ delta + alpha * coefs[1]),
        intercepts[0] - rate * delta_hidden[0],
        intercepts[1] - rate * delta[0],
    ]
    for mine, wanted in zip(weights_of(classifier), expected, strict=True):
        np.testing.assert_allclose(mine, wanted, rtol=1e-5, atol=1e-7)
    # The penalty of the weights after the step: what a mini-batch cost is known before it, the penalty is added after.
    after = alpha / 2 * (sum((coef**2).sum() for coef in expected[:2]) - sum((coef**2).sum() for coef in coefs))
    assert classifier.loss_ == pytest.approx(loss + after, rel=1e-5)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("X, y", [(X_3, Y_3), (X_2, Y_2)], ids=["3 classes", "2 classes"])
def test_lbfgs_classification(X, y, activation):
    classifier = small(CNNClassifier, solver="lbfgs", max_iter=60, activation=activation)
    quietly(classifier, X[:150], y[:150])
    assert classifier.score(X[:150], y[:150]) > 0.95
    predicted = classifier.predict(X[150:])
    assert predicted.shape == (50,) and predicted.dtype.kind == y.dtype.kind
    assert all(w.dtype == np.float64 for w in weights_of(classifier))


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
def test_lbfgs_regression(activation):
    regressor = perceptron(CNNRegressor, solver="lbfgs", tol=1e-3, hidden_layer_sizes=40, activation=activation)
    quietly(regressor, X_REG, Y_REG)
    # Layers that are not linear learn the noise, too.
    assert regressor.score(X_REG, Y_REG) > (0.7 if activation == "identity" else 0.95)


@BOTH
@pytest.mark.parametrize("limit, most", [(dict(max_fun=10), 10), (dict(max_iter=7), 7)], ids=str)
def test_lbfgs_limits_are_honoured(Estimator, limit, most):
    estimator = small(Estimator, solver="lbfgs", tol=0.0, **dict(max_iter=150) | limit)
    with pytest.warns(ConvergenceWarning, match="lbfgs failed to converge") as caught:
        estimator.fit(X_3, Y_3)
    assert caught[0].filename == __file__
    assert estimator.n_iter_ <= most and len(estimator.loss_curve_) == estimator.n_iter_
    if "max_iter" in limit:
        assert estimator.n_iter_ == most
    assert estimator.loss_ == estimator.loss_curve_[-1] == estimator.best_loss_
    assert estimator.loss_curve_ == sorted(estimator.loss_curve_, reverse=True)


@BOTH
def test_lbfgs_that_has_nothing_to_do(Estimator):
    """One class, constant targets: the gradient is zero at once, or soon."""
    estimator = small(Estimator, solver="lbfgs", max_iter=100, alpha=0.0).fit(X_3, np.zeros(200))
    assert isinstance(estimator.loss_, float) and math.isfinite(estimator.loss_)
    assert isinstance(estimator.best_loss_, float)
    np.testing.assert_allclose(estimator.predict(X_3), 0, atol=1e-3)


def test_multilabel_classification():
    X, y = make_multilabel_classification(n_samples=50, random_state=0)
    classifier = perceptron(
        CNNClassifier, image_shape=(1, 20), solver="lbfgs", hidden_layer_sizes=30, alpha=1e-5, max_iter=150,
        activation="logistic",
    )  # fmt: skip
    assert quietly(classifier, X, y).score(X, y) > 0.97
    assert classifier.out_activation_ == "logistic" and classifier.n_outputs_ == 5
    np.testing.assert_array_equal(classifier.classes_, np.arange(5))
    classifier = perceptron(
        CNNClassifier, image_shape=(1, 20), solver="sgd", hidden_layer_sizes=30, activation="tanh", alpha=1e-5,
        learning_rate_init=0.1,
    )  # fmt: skip
    for _ in range(100):
        classifier.partial_fit(X, y, classes=[0, 1, 2, 3, 4])
    assert classifier.score(X, y) > 0.9
    # No split keeps the shares of five labels at once: none is asked for.
    stopping = perceptron(CNNClassifier, image_shape=(1, 20), early_stopping=True, max_iter=5).fit(X, y)
    assert len(stopping.validation_scores_) == 5 and stopping.predict(X).shape == y.shape


def test_multioutput_regression():
    X, y = make_regression(n_samples=200, n_features=9, n_targets=5, random_state=11)
    regressor = perceptron(CNNRegressor, solver="lbfgs", hidden_layer_sizes=30, max_iter=200, tol=1e-2)
    assert quietly(regressor, X, y).score(X, y) > 0.9
    assert regressor.predict(X).shape == y.shape and regressor.n_outputs_ == 5
    regressor = perceptron(CNNRegressor, hidden_layer_sizes=30, max_iter=40, learning_rate_init=0.02)
    assert regressor.fit(X, y).score(X, y) > 0.9


def test_poisson_equals_a_generalised_linear_model():
    rng = np.random.default_rng(0)
    X = np.linspace(0, 1, 100)
    y = rng.poisson(np.exp(X + 1))
    X = X.reshape(-1, 1)
    glm = PoissonRegressor(alpha=0, tol=1e-9, max_iter=1000).fit(X, y)
    for standardize_target in (False, True):
        regressor = perceptron(
            CNNRegressor, loss="poisson", hidden_layer_sizes=(), alpha=0, solver="lbfgs", tol=1e-9,
            standardize_target=standardize_target,
        ).fit(X, y)  # fmt: skip
        np.testing.assert_allclose(regressor.predict(X), glm.predict(X), rtol=1e-5)
    squared = perceptron(CNNRegressor, hidden_layer_sizes=(), alpha=0, solver="lbfgs").fit(X, y)
    assert not np.allclose(squared.predict(X), glm.predict(X), rtol=1e-2)


# ---- partial_fit ---------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(
    "options",
    [
        dict(solver="sgd", learning_rate_init=0.05),
        dict(solver="sgd", momentum=0.0),
        dict(dropout=0.3),
        dict(ema_decay=0.9, clip_norm=1.0, l1_ratio=0.5, alpha=0.1),
        dict(augment="shift"),
    ],
    ids=str,
)
def test_calls_of_partial_fit_equal_a_fit(Estimator, options):
    """Of as many epochs, at a constant rate: same order, same dropout, same moments, to the bit."""
    options = dict(max_iter=4) | options
    fitted = quietly(small(Estimator, **ENDLESS, **options), X_3, Y_3)
    called = small(Estimator, **options)
    for _ in range(4):
        called.partial_fit(X_3, Y_3, **dict(classes=[0, 1, 2]) if Estimator is CNNClassifier else {})
    assert_same_weights(called, fitted)
    assert called.loss_curve_ == fitted.loss_curve_ and called.t_ == fitted.t_ and called.n_iter_ == fitted.n_iter_
    np.testing.assert_array_equal(called.predict(X_3), fitted.predict(X_3))


def test_partial_fit_with_other_classes_raises():
    classifier = perceptron(CNNClassifier, solver="sgd").partial_fit([[3, 2]], [0], classes=[0, 1])
    with pytest.raises(ValueError, match="not the same as on the first call to partial_fit"):
        classifier.partial_fit([[3, 2]], [0], classes=[1, 2])
    with pytest.raises(ValueError, match=r"labels that are not in classes: \[0 1\]"):
        perceptron(CNNClassifier).partial_fit([[3, 2], [1, 6]], [1, 0], classes=[2])


def test_partial_fit_of_classes_that_come_later():
    classifier = perceptron(CNNClassifier, learning_rate_init=0.1)
    classifier.partial_fit([[1], [2], [3]], ["a", "b", "c"], classes=["a", "b", "c", "d"])
    classifier.partial_fit([[4]], ["d"])
    assert classifier.score([[1], [2], [3], [4]], ["a", "b", "c", "d"]) > 0
    assert list(classifier.classes_) == ["a", "b", "c", "d"]


@BOTH
def test_partial_fit_is_not_for_lbfgs(Estimator):
    assert not hasattr(Estimator(solver="lbfgs"), "partial_fit")
    assert hasattr(Estimator(), "partial_fit")
    with pytest.raises(AttributeError, match="partial_fit"):
        Estimator(solver="lbfgs").partial_fit(X_3, Y_3)


@BOTH
def test_partial_fit_after_a_fit_with_early_stopping_wants_validation_data(Estimator):
    estimator = small(Estimator, early_stopping=True).fit(X_3, Y_3)
    with pytest.raises(ValueError, match="partial_fit does not support early_stopping=True without validation data"):
        estimator.partial_fit(X_3, Y_3)
    estimator.partial_fit(X_3, Y_3, X_val=X_3[:50], y_val=Y_3[:50])
    assert estimator.n_iter_ == 4


def test_partial_fit_of_a_loaded_model(tmp_path):
    regressor = perceptron(
        CNNRegressor, hidden_layer_sizes=(42,), learning_rate_init=0.02, standardize=False, standardize_target=False
    ).fit([[2]], [4])
    joblib.dump(regressor, tmp_path / "model")
    loaded = joblib.load(tmp_path / "model")
    np.testing.assert_allclose(loaded.predict([[2]]), 4, rtol=1e-2)
    for _ in range(200):
        loaded.partial_fit([[2]], [1])
    np.testing.assert_allclose(loaded.predict([[2]]), 1, rtol=1e-3)


# ---- predictions ---------------------------------------------------------------------------------------------------


def test_predict_proba_binary():
    classifier = small(CNNClassifier, activation="logistic", max_iter=60).fit(X_2[:50], Y_2[:50])
    probabilities = classifier.predict_proba(X_2[:50])
    logarithms = classifier.predict_log_proba(X_2[:50])
    assert probabilities.shape == (50, 2)
    np.testing.assert_array_equal(probabilities.argmax(axis=1), logarithms.argmax(axis=1))
    np.testing.assert_allclose(logarithms, np.log(probabilities), rtol=1e-4, atol=1e-6)
    assert roc_auc_score(Y_2[:50], probabilities[:, 1]) == 1
    # One number per sample, the log-odds of the second class.
    decisions = classifier.decision_function(X_2[:50])
    assert decisions.shape == (50,)
    np.testing.assert_allclose(decisions, logarithms[:, 1] - logarithms[:, 0], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(classifier.predict(X_2[:50]), classifier.classes_[(decisions > 0).astype(int)])


def test_predict_proba_multiclass():
    classifier = small(CNNClassifier).fit(X_3[:20], Y_3[:20])
    probabilities, logarithms = classifier.predict_proba(X_3), classifier.predict_log_proba(X_3)
    assert probabilities.shape == (200, 3)
    np.testing.assert_allclose(logarithms, np.log(probabilities), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)


def test_predict_proba_multilabel():
    X, y = make_multilabel_classification(n_samples=50, random_state=0)
    classifier = perceptron(
        CNNClassifier, image_shape=(1, 20), solver="lbfgs", hidden_layer_sizes=30, activation="tanh"
    )
    quietly(classifier, X, y)
    probabilities, logarithms = classifier.predict_proba(X), classifier.predict_log_proba(X)
    assert probabilities.shape == y.shape
    np.testing.assert_array_equal(probabilities > 0.5, y)
    np.testing.assert_array_equal(classifier.predict(X), y)
    np.testing.assert_allclose(logarithms, np.log(probabilities), rtol=1e-6, atol=1e-12)
    # A probability per label: they do not sum to 1.
    assert np.abs(probabilities.sum(axis=1) - 1).max() > 0.5
    np.testing.assert_array_equal(classifier.decision_function(X) > 0, y)


@BOTH
def test_precision_of_the_input_changes_no_bit(Estimator):
    X = X_3 / 16  # eighths and sixteenths: float32 holds them
    double, single = (small(Estimator).fit(X.astype(dtype), Y_3) for dtype in ("float64", "float32"))
    assert_same_weights(double, single)
    assert all(w.dtype == np.float32 for w in weights_of(double))
    np.testing.assert_array_equal(double.predict(X), single.predict(X.astype("float32")))
    if Estimator is CNNRegressor:  # in the units of y, of which float32 would lose digits
        assert double.predict(X).dtype == single.predict(X.astype("float32")).dtype == np.float64


# ---- the course of training ----------------------------------------------------------------------------------------


@BOTH
def test_shuffle(Estimator):
    options = dict(max_iter=1, batch_size=1, hidden_layer_sizes=1)
    fits = [
        perceptron(Estimator, shuffle=shuffle, **options).fit(X_REG[:50], Y_2[:50])
        for shuffle in (True, True, False, False)
    ]
    assert_same_weights(fits[0], fits[1])
    assert_same_weights(fits[2], fits[3])
    assert not np.array_equal(fits[0].coefs_[0], fits[2].coefs_[0])


@BOTH
def test_tolerance_ends_training(Estimator):
    estimator = perceptron(Estimator, tol=0.5, max_iter=3000, solver="sgd", learning_rate="constant")
    estimator.fit([[3, 2], [1, 6]], [1, 0])
    assert estimator.n_iter_ < 3000


@BOTH
@pytest.mark.parametrize("solver", ["sgd", "lbfgs"])
def test_verbose(Estimator, solver, capsys):
    estimator = perceptron(Estimator, solver=solver, max_iter=2, verbose=1, hidden_layer_sizes=2)
    quietly(estimator, [[3, 2], [1, 6]], [1, 0])
    lines = capsys.readouterr().out.splitlines()
    assert lines and all(line.startswith("epoch" if solver == "sgd" else "iteration") for line in lines)


@BOTH
@pytest.mark.parametrize("scoring", [None, "loss"])
def test_early_stopping(Estimator, scoring):
    tol = 0.2
    estimator = small(
        Estimator, tol=tol, max_iter=300, solver="sgd", early_stopping=True, scoring=scoring, learning_rate="constant"
    ).fit(X_2[:100], Y_2[:100])
    assert estimator.n_iter_ < 300
    assert estimator.best_loss_ is None
    scores = estimator.validation_scores_
    assert isinstance(scores, list) and all(isinstance(score, float) for score in scores)
    assert estimator.best_validation_score_ == max(scores)
    assert max(scores) + tol > scores[-1]
    estimator.set_params(early_stopping=False).fit(X_2[:100], Y_2[:100])
    assert estimator.validation_scores_ is None and estimator.best_validation_score_ is None
    assert estimator.best_loss_ == min(estimator.loss_curve_)


def test_early_stopping_keeps_the_shares_of_classes():
    with pytest.raises(ValueError, match="at least 2 samples of each of the 2 classes"):
        perceptron(CNNClassifier, early_stopping=True).fit([[1, 2], [2, 3], [3, 4], [4, 5]], [0, 0, 0, 1])
    seen = []

    def scoring(estimator, X, y):
        seen.append(np.bincount(y))
        return accuracy_score(y, estimator.predict(X))

    y = np.repeat([0, 1], [160, 40])
    small(CNNClassifier, early_stopping=True, max_iter=1, scoring=scoring).fit(X_2, y)
    np.testing.assert_array_equal(seen, [[16, 4]])


def test_early_stopping_with_labels_that_are_words():
    y = np.array(["class_a", "class_b", "class_c"], dtype=object)[Y_3]
    classifier = small(CNNClassifier, early_stopping=True, max_iter=5).fit(X_3, y)
    assert len(classifier.validation_scores_) == classifier.n_iter_
    assert np.isfinite(classifier.validation_scores_).all()


@BOTH
def test_early_stopping_keeps_feature_names(Estimator):
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(20, 2)), columns=["a", "b"])
    y = pd.Series(np.arange(20) % 2, name="y")
    for scoring in (None, "accuracy" if Estimator is CNNClassifier else "r2"):
        estimator = perceptron(
            Estimator, early_stopping=True, validation_fraction=0.2, max_iter=3, scoring=scoring
        ).fit(X, y)  # any warning is an error here
        assert list(estimator.feature_names_in_) == ["a", "b"]


def test_adaptive_rate_falls_until_training_ends():
    classifier = perceptron(CNNClassifier, tol=0.5, max_iter=3000, solver="sgd", learning_rate="adaptive")
    classifier.fit([[3, 2], [1, 6]], [1, 0])
    # From 1e-3, five divisions by 5 until below 1e-6: six plateaus.
    assert 6 * 11 <= classifier.n_iter_ < 3000


@BOTH
@pytest.mark.parametrize("n_iter_no_change", [1, 2, 5, 10])
def test_n_iter_no_change(Estimator, n_iter_no_change):
    estimator = small(
        Estimator, tol=100.0, max_iter=100, learning_rate="constant", n_iter_no_change=n_iter_no_change
    ).fit(X_2[:100], Y_2[:100])
    # The first epoch is better than none; then one more than `n_iter_no_change`, as in MLPClassifier.
    assert estimator.n_iter_ == 1 + n_iter_no_change + 1


@BOTH
@pytest.mark.parametrize("early_stopping", [False, True])
def test_n_iter_no_change_inf(Estimator, early_stopping):
    estimator = small(
        Estimator, tol=1e9, max_iter=40, learning_rate="constant", n_iter_no_change=np.inf,
        early_stopping=early_stopping,
    )  # fmt: skip
    assert quietly(estimator, X_2[:100], Y_2[:100]).n_iter_ == 40


@BOTH
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_end_of_max_iter_before_a_plateau_warns(Estimator, solver):
    estimator = small(
        Estimator, solver=solver, max_iter=4, learning_rate="constant", n_iter_no_change=np.inf, warm_start=True
    )
    with pytest.warns(ConvergenceWarning, match="Increase max_iter") as caught:
        estimator.fit(X_3, Y_3)
    assert caught[0].filename == __file__
    assert estimator.n_iter_ == 4
    # Unlike MLPClassifier's, `n_iter_` goes on; each fit has all its epochs.
    estimator.set_params(max_iter=6)
    with pytest.warns(ConvergenceWarning):
        estimator.fit(X_3, Y_3)
    assert estimator.n_iter_ == len(estimator.loss_curve_) == 10


# ---- warm_start ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_warm_start_with_other_classes_raises(solver):
    classifier = small(CNNClassifier, solver=solver, warm_start=True)
    quietly(classifier, X_3, Y_3)
    losses = list(classifier.loss_curve_)
    quietly(classifier, X_3, np.repeat([0, 1, 2], [40, 40, 120]))  # the same classes, other shares
    assert classifier.loss_curve_[: len(losses)] == losses and len(classifier.loss_curve_) > len(losses)
    for y in (np.arange(200) % 2, np.array([0, 1, 3])[Y_3], np.arange(200) % 4, np.arange(200) % 5):
        with pytest.raises(ValueError, match=r"warm_start continues a fit on classes \[0 1 2\], got"):
            classifier.fit(X_3, y)


@BOTH
def test_warm_start_with_early_stopping(Estimator):
    estimator = small(Estimator, warm_start=True, early_stopping=True, n_iter_no_change=20).fit(X_3, Y_3)
    first = list(estimator.validation_scores_)
    estimator.fit(X_3, Y_3)
    assert estimator.validation_scores_[:3] == first and len(estimator.validation_scores_) == 6
    # The best of this fit: what came before was judged by other samples, and its weights are gone.
    assert estimator.best_validation_score_ == max(estimator.validation_scores_[3:])


# ---- what is not finite --------------------------------------------------------------------------------------------


@BOTH
def test_values_that_are_too_large(Estimator):
    X = np.finfo(np.float64).max * np.random.default_rng(0).uniform(size=(10, 2))
    with pytest.raises(ValueError, match="too large for float32"):
        perceptron(Estimator).fit(X, np.arange(10) % 2)


@BOTH
@pytest.mark.parametrize("early_stopping", [False, True])
def test_divergence_raises_with_advice(Estimator, early_stopping):
    """Where MLPRegressor goes on with a score of NaN, and returns weights of NaN."""
    estimator = perceptron(
        Estimator, activation="identity", solver="sgd", learning_rate="constant", learning_rate_init=1e10, max_iter=20,
        early_stopping=early_stopping, standardize=False,
    )  # fmt: skip
    with pytest.raises(ValueError, match="Solver produced non-finite parameter weights; lower learning_rate_init"):
        quietly(estimator, 100 * X_3, Y_3)
    assert not hasattr(estimator, "coefs_")


@BOTH
def test_scores_that_are_not_numbers(Estimator):
    """They are never the best, and no number is lost among them."""
    given = iter([np.nan, 0.5, 0.25, np.nan, 0.75, np.nan])
    estimator = small(Estimator, early_stopping=True, max_iter=6, scoring=lambda *data: next(given)).fit(X_3, Y_3)
    np.testing.assert_array_equal(estimator.validation_scores_, [np.nan, 0.5, 0.25, np.nan, 0.75, np.nan])
    assert estimator.best_validation_score_ == 0.75
    nowhere = small(
        Estimator, early_stopping=True, max_iter=50, n_iter_no_change=3, scoring=lambda *data: np.nan
    ).fit(X_3, Y_3)  # fmt: skip
    assert nowhere.n_iter_ == 4 and np.isnan(nowhere.best_validation_score_)
    assert np.isfinite(nowhere.predict(X_3)).all()


@BOTH
def test_sparse_images_are_refused_with_the_remedy(Estimator):
    from scipy.sparse import csr_array

    with pytest.raises(TypeError, match="toarray"):
        perceptron(Estimator).fit(csr_array(X_3), Y_3)
