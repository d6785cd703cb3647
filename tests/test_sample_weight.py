"""Weights of samples: zero is absence, the unit does not matter, and a whole number is a repetition."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

from skconv import CNNClassifier, CNNRegressor

X_3, Y_3 = (values[:200] for values in load_digits(n_class=3, return_X_y=True))
BOTH = pytest.mark.parametrize("Estimator", [CNNClassifier, CNNRegressor])


def small(Estimator, **parameters):
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


@BOTH
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_samples_of_weight_zero_are_absent(Estimator, solver):
    weights = np.tile([1.0, 1.0, 0.0, 1.0], 50)
    options = dict(solver=solver, dropout=0.0, max_iter=4)
    X, y = X_3.copy(), Y_3.astype(float)
    X[weights == 0] = 1000.0
    if Estimator is CNNRegressor:
        y[weights == 0] = -1e6
    weighted = quietly(small(Estimator, **options), X, y, sample_weight=weights)
    absent = quietly(small(Estimator, **options), X_3[weights > 0], Y_3[weights > 0].astype(float))
    for mine, its in zip(weights_of(weighted), weights_of(absent), strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-4, atol=1e-5)
    assert weighted.t_ == absent.t_
    np.testing.assert_allclose(weighted.loss_curve_, absent.loss_curve_, rtol=1e-5)


@BOTH
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_unit_of_weights_changes_nothing(Estimator, solver):
    weights = np.random.default_rng(0).uniform(0.5, 2, 200)
    first = small(Estimator, solver=solver).fit(X_3, Y_3, sample_weight=weights)
    for factor, rtol in ((1024.0, 0), (1 / 3, 1e-4)):  # a power of two rounds nothing
        other = small(Estimator, solver=solver).fit(X_3, Y_3, sample_weight=factor * weights)
        for mine, its in zip(weights_of(first), weights_of(other), strict=True):
            np.testing.assert_allclose(mine, its, rtol=rtol, atol=rtol)
    unweighted = small(Estimator, solver=solver).fit(X_3, Y_3)
    assert np.abs(unweighted.coefs_[0] - first.coefs_[0]).max() > 1e-4
    # A number is the weight of every sample.
    assert_same_weights(
        small(Estimator, solver=solver, standardize=False).fit(X_3, Y_3, sample_weight=2.0),
        small(Estimator, solver=solver, standardize=False).fit(X_3, Y_3, sample_weight=np.full(200, 2.0)),
    )


@BOTH
def test_integer_weights_are_repetitions_for_lbfgs(Estimator):
    counts = np.random.default_rng(0).integers(0, 4, 200)
    options = dict(solver="lbfgs", max_iter=15, activation="tanh", alpha=0.1)
    weighted = quietly(small(Estimator, **options), X_3, Y_3, sample_weight=counts)
    repeated = quietly(small(Estimator, **options), np.repeat(X_3, counts, axis=0), np.repeat(Y_3, counts))
    for mine, its in zip(weights_of(weighted), weights_of(repeated), strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(weighted.loss_curve_, repeated.loss_curve_, rtol=1e-7)


@BOTH
def test_weights_of_one_with_early_stopping(Estimator):
    options = dict(early_stopping=True, standardize=False, max_iter=4)
    if Estimator is CNNRegressor:
        options["standardize_target"] = False
    plain = small(Estimator, **options).fit(X_3, Y_3)
    weighted = small(Estimator, **options).fit(X_3, Y_3, sample_weight=np.ones(200))
    assert_same_weights(plain, weighted)
    assert plain.validation_scores_ == weighted.validation_scores_


@BOTH
@pytest.mark.parametrize(
    "weights, message",
    [
        (np.ones(199), "one number per sample"),
        (np.ones((200, 1)), "one number per sample"),
        (-np.ones(200), "[Nn]egative"),
        (np.zeros(200), "at least one non-zero"),
        (np.full(200, np.nan), "sample_weight contains NaN"),
        (["a"] * 200, "could not convert|dtype"),
    ],
)
def test_wrong_weights_raise(Estimator, weights, message):
    estimator = small(Estimator)
    for method in ("fit", "partial_fit"):
        with pytest.raises(ValueError, match=message):
            getattr(estimator, method)(X_3, Y_3, sample_weight=weights)
    assert vars(estimator) == estimator.get_params()


# ---- weights of classes --------------------------------------------------------------------------------------------


def classifier(**parameters):
    return small(CNNClassifier, **parameters)


def test_class_weights_are_sample_weights():
    by_class = {0: 2.0, 2: 0.5}  # a class that is not named has weight 1
    expected = np.array([2.0, 1.0, 0.5])[Y_3]
    assert_same_weights(
        classifier(class_weight=by_class).fit(X_3, Y_3), classifier().fit(X_3, Y_3, sample_weight=expected)
    )
    weights = np.random.default_rng(0).uniform(0.5, 2, 200)
    assert_same_weights(
        classifier(class_weight=by_class).fit(X_3, Y_3, sample_weight=weights),
        classifier().fit(X_3, Y_3, sample_weight=weights * expected),
    )
    names = np.array(["a", "b", "c"])
    assert_same_weights(
        classifier(class_weight={"a": 2.0, "c": 0.5}).fit(X_3, names[Y_3]),
        classifier().fit(X_3, Y_3, sample_weight=expected),
    )


def test_balanced_classes_have_equal_totals():
    y = np.repeat([5, 7, 9], [20, 60, 120])
    expected = 200 / (3 * np.array([20, 60, 120]))[np.searchsorted([5, 7, 9], y)]
    assert_same_weights(
        classifier(class_weight="balanced").fit(X_3, y), classifier().fit(X_3, y, sample_weight=expected)
    )
    # The totals are those of the weights: a weight of 2 is a sample that comes twice.
    counts = np.random.default_rng(0).integers(0, 4, 200)
    options = dict(class_weight="balanced", solver="lbfgs", max_iter=10, activation="tanh")
    weighted = quietly(classifier(**options), X_3, y, sample_weight=counts)
    repeated = quietly(classifier(**options), np.repeat(X_3, counts, axis=0), np.repeat(y, counts))
    for mine, its in zip(weights_of(weighted), weights_of(repeated), strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-5, atol=1e-7)
    # A class whose samples all have weight 0 is no class to balance.
    absent = quietly(classifier(**options), X_3, y, sample_weight=(y != 9).astype(float))
    assert np.isfinite(absent.coefs_[0]).all() and list(absent.classes_) == [5, 7, 9]


def test_balanced_weights_raise_the_recall_of_a_rare_class():
    X, y = load_digits(return_X_y=True)
    rare = np.flatnonzero(y == 8)
    kept = np.r_[np.flatnonzero(y != 8)[:900], rare[:8]]
    test = rare[20:]
    recalls = {}
    for class_weight in (None, "balanced", {8: 30.0}):
        fits = (
            classifier(max_iter=6, learning_rate_init=0.005, class_weight=class_weight, random_state=seed)
            for seed in range(3)
        )
        recalls[str(class_weight)] = np.mean([np.mean(fit.fit(X[kept], y[kept]).predict(X[test]) == 8) for fit in fits])
    plain, *weighted = recalls.values()
    assert min(weighted) > plain + 0.1, recalls


def test_class_weights_of_several_labels():
    y = np.stack([Y_3 == 0, Y_3 != 1], axis=1).astype(int)
    by_column = [{0: 1.0, 1: 3.0}, {0: 0.5, 1: 2.0}]
    expected = np.array([1.0, 3.0])[y[:, 0]] * np.array([0.5, 2.0])[y[:, 1]]
    assert_same_weights(
        classifier(class_weight=by_column).fit(X_3, y), classifier().fit(X_3, y, sample_weight=expected)
    )
    assert not np.array_equal(
        classifier(class_weight="balanced").fit(X_3, y).coefs_[0], classifier().fit(X_3, y).coefs_[0]
    )


def test_class_weights_in_partial_fit():
    by_class = {0: 2.0, 2: 0.5}
    weighted, expected = classifier(class_weight=by_class), classifier()
    for part in (Y_3 == 0, Y_3 < 2, Y_3 == 1, Y_3 == 2):  # calls that lack classes which are named
        weighted.partial_fit(X_3[part], Y_3[part], classes=[0, 1, 2])
        weights = np.array([2.0, 1.0, 0.5])[Y_3[part]]
        expected.partial_fit(X_3[part], Y_3[part], sample_weight=weights, classes=[0, 1, 2])
    assert_same_weights(weighted, expected)
    with pytest.raises(ValueError, match="class_weight='balanced' needs all data at once.*compute_class_weight"):
        classifier(class_weight="balanced").partial_fit(X_3, Y_3, classes=[0, 1, 2])


@pytest.mark.parametrize(
    "class_weight", [{0: 1.0, 7: 2.0}, {0: 0.0, 1: 0.0, 2: 0.0}, {0: -1.0, 1: 1.0}, "even"], ids=str
)
def test_wrong_class_weights_raise(class_weight):
    with pytest.raises(ValueError, match="class_weight"):
        classifier(class_weight=class_weight).fit(X_3, Y_3)


def test_classes_of_weight_zero_are_known_but_not_learned():
    fitted = classifier(class_weight={1: 0.0}, max_iter=20).fit(X_3, Y_3)
    assert list(fitted.classes_) == [0, 1, 2] and fitted.t_ == 20 * np.sum(Y_3 != 1)
    assert 1 not in fitted.predict(X_3)
