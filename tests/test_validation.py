"""Validation while training: data of one's own, scores, early stopping in fit and partial_fit, what is refused."""

import copy
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import balanced_accuracy_score, log_loss, make_scorer, mean_absolute_error
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler

from skconv import CNNClassifier, CNNRegressor

DIGITS, LABELS = load_digits(return_X_y=True)
X, Y = DIGITS[:150], LABELS[:150]
X_VAL, Y_VAL = DIGITS[150:250], LABELS[150:250]
WEIGHTS_VAL = np.random.default_rng(0).integers(0, 4, 100).astype(float)
BOTH = pytest.mark.parametrize("Estimator", [CNNClassifier, CNNRegressor])


def small(Estimator, **parameters):
    defaults = dict(conv_layer_sizes=(4,), hidden_layer_sizes=(8,), max_iter=4, random_state=0, learning_rate_init=0.01)
    return Estimator(**defaults | parameters)


def weights_of(estimator):
    return [*estimator.coefs_, *estimator.intercepts_]


def assert_same_weights(a, b):
    for mine, other in zip(weights_of(a), weights_of(b), strict=True):
        np.testing.assert_array_equal(mine, other)


def first_call(Estimator):
    return dict(classes=np.arange(10)) if Estimator is CNNClassifier else {}


def scripted(*scores):
    """A scoring that returns these numbers, one per epoch."""
    rest = iter(scores)
    return lambda estimator, X, y: next(rest)


# ---- data of one's own ---------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("weighted", [False, True])
def test_validation_data_are_scored_after_every_epoch(Estimator, weighted):
    options = dict(sample_weight_val=WEIGHTS_VAL) if weighted else {}
    estimator = small(Estimator).fit(X, Y, X_val=X_VAL, y_val=Y_VAL, **options)
    expected = estimator.score(X_VAL, Y_VAL, sample_weight=WEIGHTS_VAL if weighted else None)
    assert len(estimator.validation_scores_) == 4
    assert estimator.validation_scores_[-1] == pytest.approx(expected, abs=1e-12)
    assert estimator.best_validation_score_ == max(estimator.validation_scores_)
    # To be watched changes nothing, nor does it stop anything.
    plain = small(Estimator).fit(X, Y)
    assert_same_weights(estimator, plain)
    assert estimator.loss_curve_ == plain.loss_curve_ and estimator.best_loss_ == plain.best_loss_
    assert plain.validation_scores_ is None


@BOTH
def test_validation_data_take_the_place_of_a_part_of_X(Estimator):
    """The best epoch is kept, all samples are trained on, and scores by hand say which epoch that is."""
    scoring = scripted(0.1, 0.7, 0.3, 0.2)
    estimator = small(Estimator, early_stopping=True, scoring=scoring).fit(X, Y, X_val=X_VAL, y_val=Y_VAL)
    assert estimator.t_ == 4 * 150 and estimator.best_loss_ is None
    second = small(Estimator, scoring=scripted(0, 0), learning_rate="constant", n_iter_no_change=np.inf, max_iter=2)
    constant = small(Estimator, early_stopping=True, scoring=scripted(0.1, 0.7, 0.3, 0.2), learning_rate="constant")
    constant.fit(X, Y, X_val=X_VAL, y_val=Y_VAL)
    with pytest.warns(ConvergenceWarning):
        second.fit(X, Y, X_val=X_VAL, y_val=Y_VAL)
    assert_same_weights(constant, second)
    assert constant.n_iter_ == 4 and constant.best_validation_score_ == 0.7


@BOTH
def test_validation_data_of_every_form(Estimator):
    expected = small(Estimator).fit(X, Y, X_val=X_VAL, y_val=Y_VAL).validation_scores_
    for images in (X_VAL.reshape(-1, 8, 8), X_VAL.astype(np.uint8), X_VAL.tolist(), pd.DataFrame(X_VAL)):
        for y in (Y_VAL, list(Y_VAL), pd.Series(Y_VAL)):
            assert small(Estimator).fit(X, Y, X_val=images, y_val=y).validation_scores_ == expected
    # Flat where X is not, and the other way round.
    found = small(Estimator).fit(X.reshape(-1, 8, 8), Y, X_val=X_VAL, y_val=Y_VAL)
    assert found.validation_scores_ == expected and found.n_features_in_ == 64


@BOTH
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    "options, message",
    [
        (dict(X_val=X_VAL), "X_val is given without y_val"),
        (dict(y_val=Y_VAL), "y_val is given without X_val"),
        (dict(sample_weight_val=WEIGHTS_VAL), "sample_weight_val is given without X_val and y_val"),
        (dict(X_val=X_VAL[:, :49], y_val=Y_VAL), "image_shape=|X_val holds images of shape"),
        (dict(X_val=np.zeros((5, 7, 8)), y_val=Y_VAL[:5]), r"\(7, 8, 1\)"),
        (dict(X_val=np.zeros((5, 8, 8, 2)), y_val=Y_VAL[:5]), r"\(8, 8, 2\)"),
        (dict(X_val=np.full((100, 64), np.nan), y_val=Y_VAL), "NaN"),
        (dict(X_val=X_VAL[:0], y_val=Y_VAL[:0]), "0 sample"),
        (dict(X_val=X_VAL, y_val=Y_VAL[:-1]), "inconsistent numbers of samples"),
        (dict(X_val=X_VAL, y_val=Y_VAL, sample_weight_val=np.ones(3)), "sample_weight_val must be one number per"),
        (dict(X_val=X_VAL, y_val=Y_VAL, sample_weight_val=-WEIGHTS_VAL), "sample_weight_val: -3"),
        (dict(X_val=X_VAL, y_val=Y_VAL, sample_weight_val=np.zeros(100)), "sample_weight_val: sample weights must"),
        (dict(X_val=X_VAL, y_val=np.full(100, np.nan)), "y_val contains NaN"),
        (dict(X_val=X_VAL, y_val=np.zeros((100, 3), dtype=int)), "y_val must"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_wrong_validation_data_raise(Estimator, method, options, message):
    estimator = small(Estimator, learning_rate_init=1e-3)
    with pytest.raises(ValueError, match=message):
        getattr(estimator, method)(X, Y, **first_call(Estimator) if method == "partial_fit" else {}, **options)
    assert vars(estimator) == estimator.get_params()


@pytest.mark.parametrize("scoring", [None, "loss", "accuracy"])
@pytest.mark.parametrize(
    "y_val, message",
    [(Y_VAL + 1, "y_val has labels that are not in classes"), (Y_VAL.astype(str), "y_val|mix of|dtype")],
)
def test_unknown_labels_in_validation_data_raise(y_val, message, scoring):
    classifier = small(CNNClassifier, scoring=scoring)
    with pytest.raises((ValueError, TypeError), match=message):
        classifier.fit(X, Y, X_val=X_VAL, y_val=y_val)
    assert vars(classifier) == classifier.get_params()


def test_validation_labels_of_several_labels_and_outputs():
    y, y_val = (np.stack([labels > 4, labels % 2], axis=1).astype(int) for labels in (Y, Y_VAL))
    for Estimator in (CNNClassifier, CNNRegressor):
        estimator = small(Estimator).fit(X, y, X_val=X_VAL, y_val=y_val)
        assert estimator.validation_scores_[-1] == pytest.approx(estimator.score(X_VAL, y_val))
        for wrong in (y_val[:, 0], np.hstack([y_val, y_val])):
            with pytest.raises(ValueError, match="y_val must have"):
                small(Estimator).fit(X, y, X_val=X_VAL, y_val=wrong)


@BOTH
def test_validation_data_are_not_for_lbfgs(Estimator):
    with pytest.raises(ValueError, match="X_val and y_val need solver='adam' or 'sgd', got solver='lbfgs'"):
        small(Estimator, solver="lbfgs").fit(X, Y, X_val=X_VAL, y_val=Y_VAL)


@BOTH
def test_frames_of_validation_data_have_the_columns_of_X(Estimator):
    frame, frame_val = (pd.DataFrame(values).add_prefix("pixel") for values in (X, X_VAL))
    estimator = small(Estimator, scoring="loss").fit(frame, Y, X_val=frame_val, y_val=Y_VAL)
    assert (
        estimator.validation_scores_
        == small(Estimator, scoring="loss").fit(X, Y, X_val=X_VAL, y_val=Y_VAL).validation_scores_
    )
    with pytest.raises(ValueError, match="X_val must have the columns of X in their order"):
        small(Estimator).fit(frame, Y, X_val=frame_val[frame_val.columns[::-1]], y_val=Y_VAL)


@BOTH
def test_weights_of_samples_held_out(Estimator):
    """The held-out part is scored with its weights, and samples of weight zero are on neither side."""
    weights = np.random.default_rng(0).integers(0, 3, 150).astype(float)
    options = dict(early_stopping=True, validation_fraction=0.3, max_iter=3)
    estimator = small(Estimator, **options).fit(X, Y, sample_weight=weights)
    drawn = int(np.random.RandomState(0).randint(np.iinfo(np.int32).max))
    present = np.flatnonzero(weights)
    stratify = Y[present] if Estimator is CNNClassifier else None
    train, held = train_test_split(present, test_size=0.3, random_state=drawn, stratify=stratify)
    assert estimator.t_ == 3 * len(train)
    expected = estimator.score(X[held], Y[held], sample_weight=weights[held])
    assert estimator.best_validation_score_ == pytest.approx(expected, abs=1e-12)


# ---- scoring -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "scoring, metric",
    [
        ("accuracy", lambda c: c.score(X_VAL, Y_VAL)),
        ("balanced_accuracy", lambda c: balanced_accuracy_score(Y_VAL, c.predict(X_VAL))),
        ("neg_log_loss", lambda c: -log_loss(Y_VAL, c.predict_proba(X_VAL))),
        ("loss", lambda c: -log_loss(Y_VAL, c.predict_proba(X_VAL))),
        (make_scorer(balanced_accuracy_score), lambda c: balanced_accuracy_score(Y_VAL, c.predict(X_VAL))),
        (lambda c, X, y: np.float32(0.25), lambda c: 0.25),
        (lambda c, X, y: int(X.shape == (100, 8, 8, 1)), lambda c: 1),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_scoring_of_a_classifier(scoring, metric):
    classifier = small(CNNClassifier, scoring=scoring).fit(X, Y, X_val=X_VAL, y_val=Y_VAL)
    assert classifier.validation_scores_[-1] == pytest.approx(metric(classifier), rel=1e-5)
    assert all(type(score) is float for score in classifier.validation_scores_)


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber", "poisson"])
@pytest.mark.parametrize("scoring", ["loss", "neg_mean_absolute_error"])
def test_scoring_of_a_regressor(scoring, loss):
    regressor = small(CNNRegressor, scoring=scoring, loss=loss, delta=0.5).fit(X, Y, X_val=X_VAL, y_val=Y_VAL)
    if scoring == "loss":
        outputs = regressor.layer_outputs(X_VAL, "output")[:, 0].astype(float)
        targets = (Y_VAL - regressor.target_mean_) / regressor.target_scale_
        r = np.abs(outputs - targets)
        with np.errstate(divide="ignore", invalid="ignore"):
            entropy = np.where(targets > 0, targets * np.log(targets), 0)
        values = {
            "squared_error": r**2 / 2,
            "absolute_error": r,
            "huber": np.where(r <= 0.5, r**2 / 2, 0.5 * (r - 0.25)),
            "poisson": np.exp(outputs) - targets * outputs - targets + entropy,
        }[loss]
        expected = -values.mean()
    else:
        expected = -mean_absolute_error(Y_VAL, regressor.predict(X_VAL))
    assert regressor.validation_scores_[-1] == pytest.approx(expected, rel=1e-6)


def test_scorers_are_given_weights():
    scores = {}
    for weights in (None, WEIGHTS_VAL):
        classifier = small(CNNClassifier, scoring="neg_log_loss")
        classifier.fit(X, Y, X_val=X_VAL, y_val=Y_VAL, sample_weight_val=weights)
        expected = -log_loss(Y_VAL, classifier.predict_proba(X_VAL), sample_weight=weights)
        scores[weights is None] = classifier.validation_scores_[-1]
        assert classifier.validation_scores_[-1] == pytest.approx(expected, rel=1e-5)
    assert scores[True] != scores[False]


def test_functions_need_not_take_weights():
    """One of the user's own, where weights come from classes: it scores as it likes."""
    seen = []

    def plain(estimator, X, y):
        seen.append(len(y))
        return 0.5

    def weighted(estimator, X, y, sample_weight=None):
        seen.append(sample_weight)
        return 0.5

    options = dict(class_weight={0: 2.0}, early_stopping=True, validation_fraction=0.2, max_iter=1)
    small(CNNClassifier, scoring=plain, **options).fit(X, Y)
    small(CNNClassifier, scoring=weighted, **options).fit(X, Y)
    assert seen[0] == 30 and set(seen[1]) == {1.0, 2.0}


@pytest.mark.parametrize(
    "scoring, error, message",
    [
        ("best", ValueError, "scoring"),
        ("r3", ValueError, "scoring"),
        (["accuracy"], TypeError, "scoring must be the name of one score"),
        ({"a": "accuracy"}, TypeError, "scoring must be the name of one score"),
        (lambda *data: {"a": 1.0}, ValueError, "scoring must return a number"),
        (lambda *data: None, ValueError, "scoring must return a number"),
        (lambda *data: np.ones(2), ValueError, "scoring must return a number"),
    ],
    ids=["best", "r3", "list", "dict", "returns a dict", "returns None", "returns an array"],
)
def test_wrong_scoring_raises(scoring, error, message):
    classifier = small(CNNClassifier, scoring=scoring, early_stopping=True, validation_fraction=0.2)
    with pytest.raises(error, match=message):
        classifier.fit(X, Y)
    assert vars(classifier) == classifier.get_params()


def test_scores_decide_what_is_best():
    """The epoch of the least loss is not always that of the highest accuracy."""
    differs = False
    for seed in range(3):
        best = {}
        for scoring in ("loss", "accuracy"):
            model = small(
                CNNClassifier, scoring=scoring, early_stopping=True, max_iter=40, learning_rate="constant",
                learning_rate_init=0.05, n_iter_no_change=40, random_state=seed,
            )  # fmt: skip
            model.fit(X, Y, X_val=X_VAL, y_val=Y_VAL)
            value = model.score(X_VAL, Y_VAL) if scoring == "accuracy" else -log_loss(Y_VAL, model.predict_proba(X_VAL))
            assert model.best_validation_score_ == pytest.approx(value, rel=1e-5)
            best[scoring] = np.argmax(model.validation_scores_)
        differs = differs or best["loss"] != best["accuracy"]
    assert differs


# ---- partial_fit ---------------------------------------------------------------------------------------------------


@BOTH
def test_early_stopping_of_partial_fit(Estimator):
    """Scores by hand: the third call is the best, and two calls without a better one are too many."""
    scores = (0.1, 0.2, 0.9, 0.5, 0.6, 0.7, 0.1)
    estimator = small(Estimator, early_stopping=True, n_iter_no_change=1, scoring=scripted(*scores))
    plain = small(Estimator)
    stopped, best = [], None
    for call in range(7):
        estimator.partial_fit(X, Y, X_val=X_VAL, y_val=Y_VAL, **first_call(Estimator))
        stopped.append(estimator.stopped_)
        if call < 3:
            plain.partial_fit(X, Y, **first_call(Estimator))
            assert_same_weights(estimator, plain)
        if call == 2:
            best = copy.deepcopy(estimator)
        if call == 3:  # not yet
            assert not np.array_equal(estimator.coefs_[0], best.coefs_[0])
        if call == 4:
            assert_same_weights(estimator, best)
    # A call after the stop counts anew: 0.7 is better than 0.6 was.
    assert stopped == [False, False, False, False, True, False, False]
    assert estimator.validation_scores_ == list(scores) and estimator.best_validation_score_ == 0.9
    assert estimator.n_iter_ == 7 and estimator.t_ == 7 * 150
    assert not hasattr(estimator.set_params(early_stopping=False).fit(X, Y), "stopped_")


@BOTH
def test_early_stopping_of_partial_fit_outlives_a_pickle(Estimator):
    scores = (0.1, 0.9, 0.5, 0.4, 0.3)
    straight = small(Estimator, early_stopping=True, n_iter_no_change=1, ema_decay=0.5)
    pickled = copy.deepcopy(straight)
    for score in scores[:4]:
        straight.set_params(scoring=scripted(score))
        straight.partial_fit(X, Y, X_val=X_VAL, y_val=Y_VAL, **first_call(Estimator))
        pickled.set_params(scoring=scripted(score))
        pickled.partial_fit(X, Y, X_val=X_VAL, y_val=Y_VAL, **first_call(Estimator))
        pickled = pickle.loads(pickle.dumps(pickled.set_params(scoring=None)))
        assert pickled.stopped_ == straight.stopped_ == (score == 0.4)
        assert_same_weights(pickled, straight)


@BOTH
def test_early_stopping_of_partial_fit_without_a_number(Estimator):
    """R2 of one sample is not defined, say: nothing is the best, and the last weights stay."""
    estimator = small(Estimator, early_stopping=True, n_iter_no_change=1, scoring=lambda *data: np.nan)
    plain = small(Estimator)
    for stopped in (False, True, False):
        estimator.partial_fit(X, Y, X_val=X_VAL, y_val=Y_VAL, **first_call(Estimator))
        assert estimator.stopped_ == stopped and np.isnan(estimator.best_validation_score_)
        if estimator.n_iter_ < 3:  # from the third call on, moments begin anew
            assert_same_weights(estimator, plain.partial_fit(X, Y, **first_call(Estimator)))


@BOTH
def test_partial_fit_with_validation_data_that_are_watched(Estimator):
    estimator, plain = small(Estimator, n_iter_no_change=1, tol=10.0), small(Estimator)
    for _ in range(5):
        estimator.partial_fit(X, Y, X_val=X_VAL, y_val=Y_VAL, **first_call(Estimator))
        plain.partial_fit(X, Y, **first_call(Estimator))
        assert estimator.stopped_ is False and plain.stopped_ is False
    assert_same_weights(estimator, plain)
    assert estimator.validation_scores_[-1] == pytest.approx(estimator.score(X_VAL, Y_VAL), abs=1e-12)
    assert estimator.best_loss_ == plain.best_loss_ == min(plain.loss_curve_)
    assert_same_weights(estimator.partial_fit(X, Y), plain.partial_fit(X, Y))
    assert estimator.validation_scores_ is None


# ---- warm_start ----------------------------------------------------------------------------------------------------


@BOTH
def test_warm_start_with_validation_data(Estimator):
    estimator = small(Estimator, warm_start=True, scoring=scripted(0.9, 0.8, 0.7, 0.6, 0.1, 0.3, 0.2, 0.25))
    estimator.set_params(early_stopping=True).fit(X, Y, X_val=X_VAL, y_val=Y_VAL)
    assert estimator.best_validation_score_ == 0.9
    estimator.fit(X, Y, X_val=X_VAL, y_val=Y_VAL)
    assert estimator.validation_scores_ == [0.9, 0.8, 0.7, 0.6, 0.1, 0.3, 0.2, 0.25]
    assert estimator.best_validation_score_ == 0.3  # of this fit
    estimator.set_params(early_stopping=False, scoring=None).fit(X, Y)
    assert estimator.validation_scores_ is None and len(estimator.loss_curve_) == 12


# ---- metadata routing ----------------------------------------------------------------------------------------------


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def scaled(values):
    return MinMaxScaler().fit(X).transform(values)


@BOTH
def test_a_pipeline_transforms_validation_data(routing, Estimator):
    """As HistGradientBoosting's: with transform_input, the steps before see X_val, too."""
    names = dict(X_val=True, y_val=True, sample_weight_val=True, sample_weight=True)
    pipeline = Pipeline(
        [("scale", MinMaxScaler()), ("cnn", small(Estimator).set_fit_request(**names))], transform_input=["X_val"]
    )
    weights = np.linspace(1, 2, 150)
    data = dict(y_val=Y_VAL, sample_weight=weights, sample_weight_val=WEIGHTS_VAL)
    pipeline.fit(X, Y, X_val=X_VAL, **data)
    alone = small(Estimator).fit(scaled(X), Y, X_val=scaled(X_VAL), **data)
    assert_same_weights(pipeline["cnn"], alone)
    assert pipeline["cnn"].validation_scores_ == alone.validation_scores_
    unscaled = small(Estimator).fit(scaled(X), Y, X_val=X_VAL, **data)
    assert unscaled.validation_scores_ != alone.validation_scores_


@BOTH
def test_a_grid_search_routes_weights(routing, Estimator):
    weights = np.linspace(0.1, 5, 150)
    routed = small(Estimator, max_iter=2).set_fit_request(sample_weight=True).set_score_request(sample_weight=False)
    search = GridSearchCV(routed, {"alpha": [0.1, 1.0]}, cv=2).fit(X, Y % 3, sample_weight=weights)
    alone = small(Estimator, max_iter=2, alpha=search.best_params_["alpha"]).fit(X, Y % 3, sample_weight=weights)
    assert_same_weights(search.best_estimator_, alone)
    ignored = small(Estimator, max_iter=2).set_fit_request(sample_weight=False).set_score_request(sample_weight=False)
    search = GridSearchCV(ignored, {"alpha": [0.1]}, cv=2)
    with pytest.raises(TypeError, match="sample_weight"):
        search.fit(X, Y % 3, sample_weight=weights)


@BOTH
def test_requests_of_partial_fit(routing, Estimator):
    request = small(Estimator).set_partial_fit_request(sample_weight=True, X_val=True).get_metadata_routing()
    assert request.partial_fit.requests["sample_weight"] is True and request.partial_fit.requests["X_val"] is True
    assert set(request.fit.requests) == {"sample_weight", "X_val", "y_val", "sample_weight_val"}


def test_scorers_are_given_weights_with_routing(routing):
    classifier = small(
        CNNClassifier, scoring=make_scorer(balanced_accuracy_score).set_score_request(sample_weight=True)
    )
    classifier.fit(X, Y, X_val=X_VAL, y_val=Y_VAL, sample_weight_val=WEIGHTS_VAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes that are absent
        expected = balanced_accuracy_score(Y_VAL, classifier.predict(X_VAL), sample_weight=WEIGHTS_VAL)
    assert classifier.validation_scores_[-1] == pytest.approx(expected)
