"""CNNRegressor as a member of scikit-learn; its losses, its targets."""

import copy
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning
from sklearn.metrics import d2_tweedie_score, r2_score
from sklearn.utils.estimator_checks import estimator_checks_generator

import reference_losses
from skconv import CNNRegressor, Conv2DTransformer, Dense, MaxPool

DIGITS, LABELS = load_digits(return_X_y=True)
X = DIGITS[:300]
Y = X.sum(axis=1)  # ink

# Its tolerance is 1e-7, and a sample of weight 2 is not drawn like two samples; it holds for lbfgs.
STOCHASTIC = {"check_sample_weight_equivalence_on_dense_data": "samples are drawn into mini-batches"}
CHECKED = [
    CNNRegressor(),
    CNNRegressor(solver="lbfgs"),
    CNNRegressor(loss="huber", standardize_target=False),
    CNNRegressor(
        layers=[("conv1", Conv2DTransformer(16, 3)), ("pool1", MaxPool(2)), ("fc", Dense(32))], loss="absolute_error"
    ),
]


def small(**parameters):
    defaults = dict(conv_layer_sizes=(8,), hidden_layer_sizes=(16,), max_iter=30, random_state=0)
    return CNNRegressor(**defaults | parameters)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "estimator, check",
    [
        pair
        for estimator in CHECKED
        for pair in estimator_checks_generator(
            estimator, expected_failed_checks={} if estimator.solver == "lbfgs" else STOCHASTIC, mark="xfail"
        )
    ],
    ids=lambda value: getattr(getattr(value, "func", value), "__name__", ""),
)
def test_check_estimator(estimator, check):
    check(estimator)


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber", "poisson"])
def test_every_loss_learns(loss):
    regressor = small(loss=loss, max_iter=100).fit(X, Y)
    assert regressor.score(X, Y) > 0.8
    assert regressor.out_activation_ == ("exp" if loss == "poisson" else "identity")
    assert regressor.predict(X).dtype == np.float64


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber", "poisson"])
def test_units_of_targets_do_not_matter(loss):
    """A power of two changes no digit: the network sees the same targets, and predictions have the new unit."""
    plain, large = small(loss=loss).fit(X, Y), small(loss=loss).fit(X, 1024 * Y)
    np.testing.assert_array_equal(large.predict(X), 1024 * plain.predict(X))
    assert large.loss_curve_ == plain.loss_curve_


@pytest.mark.parametrize("unit", [2.0**-1000, 2.0**1000])
def test_targets_of_any_size(unit):
    np.testing.assert_array_equal(small().fit(X, unit * Y).predict(X), unit * small().fit(X, Y).predict(X))


def test_several_outputs():
    targets = np.stack([Y, -5 * Y, np.ones(300)], axis=1)
    regressor = small().fit(X, targets)
    predicted = regressor.predict(X)
    assert predicted.shape == (300, 3) and regressor.n_outputs_ == 3
    assert regressor.target_scale_[2] == 1  # a constant has no scale
    np.testing.assert_allclose(predicted[:, 2], 1, atol=0.5)
    for i in (0, 1):
        assert r2_score(targets[:, i], predicted[:, i]) > 0.8


# ---- losses --------------------------------------------------------------------------------------------------------

LOSSES = ["squared_error", "absolute_error", "huber", "poisson"]


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("standardize_target", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_loss_is_the_formula(loss, standardize_target, solver):
    """Of targets in the units of training, for several outputs, under weights."""
    weights = np.random.default_rng(0).integers(0, 3, 300).astype(float)
    targets = np.stack([LABELS[:300], Y / 100], axis=1)
    options = dict(learning_rate_init=1e-30, max_iter=1) if solver == "adam" else dict(max_iter=3)
    regressor = small(loss=loss, delta=0.5, standardize_target=standardize_target, solver=solver, alpha=0.0, **options)
    regressor.fit(X, targets, sample_weight=weights)
    if standardize_target:
        mean = np.average(targets, axis=0, weights=weights)
        scale = np.sqrt(np.average((targets - mean) ** 2, axis=0, weights=weights))
        if loss == "poisson":
            mean, scale = np.zeros(2), mean
        np.testing.assert_allclose(regressor.target_mean_, mean, rtol=1e-12)
        np.testing.assert_allclose(regressor.target_scale_, scale, rtol=1e-12)
        targets = (targets - mean) / scale
    else:
        assert regressor.target_mean_ is None and regressor.target_scale_ is None
    outputs = regressor.layer_outputs(X, "output")
    losses = [
        reference_losses.sample_loss([float(v) for v in z], t, name=loss, delta=0.5)[0]
        for z, t in zip(outputs, targets)
    ]
    assert regressor.loss_ == pytest.approx(np.average(losses, weights=weights), rel=1e-5)
    predicted = np.exp(outputs.astype(float)) if loss == "poisson" else outputs.astype(float)
    if standardize_target:
        predicted = predicted * scale + mean
    np.testing.assert_allclose(regressor.predict(X), predicted, rtol=1e-12)


@pytest.mark.parametrize(
    "loss, expected",
    [("squared_error", "mean"), ("absolute_error", "median"), ("poisson", "mean"), ("huber", "between")],
)
def test_what_losses_estimate(loss, expected):
    """Images that say nothing: what is left is the mean, the median, or something between."""
    y = np.random.default_rng(0).exponential(size=301)
    regressor = small(
        loss=loss,
        delta=0.2,
        solver="lbfgs",
        conv_layer_sizes=(),
        hidden_layer_sizes=(),
        alpha=0.0,
        max_iter=100,
        tol=1e-9,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the absolute value has no gradient of zero
        (value, *_) = regressor.fit(np.zeros((301, 1)), y).predict(np.zeros((1, 1)))
    if expected == "between":
        assert np.median(y) + 0.02 < value < y.mean() - 0.02
    else:
        assert value == pytest.approx({"mean": y.mean(), "median": np.median(y)}[expected], rel=1e-2)


def test_huber_between_the_others():
    """A delta beyond all residuals is the squared error; a small one does not run after outliers."""
    np.testing.assert_array_equal(
        small(loss="huber", delta=1e6).fit(X, Y).predict(X), small(loss="squared_error").fit(X, Y).predict(X)
    )
    wild = Y.copy()
    wild[::10] += 5000
    errors = {}
    for loss, delta in (("squared_error", 1.0), ("huber", 0.01), ("absolute_error", 1.0)):
        predicted = small(loss=loss, delta=delta, learning_rate_init=0.005).fit(X, wild).predict(X)
        errors[loss] = np.median(np.abs(predicted - Y))
    assert max(errors["huber"], errors["absolute_error"]) < 0.5 * errors["squared_error"]


def test_poisson_predicts_what_is_positive():
    y = np.random.default_rng(0).poisson(Y / 100)
    regressor = small(loss="poisson").fit(X, y)
    assert regressor.predict(-10 * X).min() >= 0
    assert d2_tweedie_score(y, regressor.predict(X), power=1) > 0
    for wrong in (y - 1, -Y, np.zeros(300)):
        fresh = small(loss="poisson")
        with pytest.raises(
            ValueError, match="loss='poisson' needs non-negative values of y .* use loss='squared_error'"
        ):
            fresh.fit(X, wrong)
        assert vars(fresh) == fresh.get_params()
    # Later calls may have no event, and may not have less.
    for scoring in (None, "loss"):
        called = small(loss="poisson", scoring=scoring).partial_fit(X, y)
        called.partial_fit(X, np.zeros(300), X_val=X, y_val=np.zeros(300))
        with pytest.raises(ValueError, match="needs non-negative values of y_val"):
            called.partial_fit(X, y, X_val=X, y_val=-y - 1)


# ---- targets -------------------------------------------------------------------------------------------------------


def test_targets_of_every_kind():
    expected = small(max_iter=2).fit(X, LABELS[:300])
    for y in (
        LABELS[:300].astype(np.uint8),
        LABELS[:300].astype(np.float32),
        LABELS[:300].tolist(),
        pd.Series(LABELS[:300], index=np.arange(300)[::-1]),
        np.asfortranarray(np.stack([LABELS[:300]] * 2, axis=1))[:, 0],
        LABELS[:300].astype(">f8"),
        LABELS[:300].astype(object),
    ):
        fitted = small(max_iter=2).fit(X, y)
        np.testing.assert_array_equal(fitted.predict(X), expected.predict(X))
    with pytest.warns(DataConversionWarning, match="column-vector y"):
        column = small(max_iter=2).fit(X, LABELS[:300, np.newaxis])
    assert column.predict(X).shape == (300,)
    both = np.stack([LABELS[:300], -Y], axis=1)
    frame = small(max_iter=2).fit(X, pd.DataFrame(both))
    np.testing.assert_array_equal(frame.predict(X), small(max_iter=2).fit(X, both.tolist()).predict(X))


@pytest.mark.parametrize(
    "y, message",
    [
        (None, "requires y to be passed"),
        (Y[:-1], "inconsistent numbers of samples"),
        (np.where(Y > 350, np.nan, Y), "Input y contains NaN"),
        (np.where(Y > 350, np.inf, Y), "Input y contains infinity"),
        (Y.astype(str), "numeric|convert"),
        (Y.astype(complex), "[Cc]omplex"),
        (Y.reshape(300, 1, 1), "dim 3"),
        (np.zeros((300, 0)), "0 feature"),
        ([[1, 2], [3]] * 150, "inhomogeneous|sequence"),
        (["cat"] * 300, "convert|numeric"),
    ],
    ids=["None", "short", "NaN", "infinity", "text", "complex", "3D", "no output", "ragged", "words"],
)
def test_wrong_targets_raise(y, message):
    regressor = small()
    for method in ("fit", "partial_fit"):
        with pytest.raises(ValueError, match=message):
            getattr(regressor, method)(X, y)
    assert vars(regressor) == regressor.get_params()


@pytest.mark.parametrize("unit", [2.0**-1000, 2.0**-200, 2.0**200, 2.0**1000], ids=str)
def test_units_far_from_1(unit):
    """Squares of such targets are no float64, and the targets themselves no float32."""
    expected, found = small(max_iter=3).fit(X, Y), small(max_iter=3).fit(X, unit * Y)
    np.testing.assert_array_equal(found.predict(X) / unit, expected.predict(X))


def test_targets_as_they_are():
    regressor = small(standardize_target=False, max_iter=40, learning_rate_init=0.01).fit(X, Y / 100)
    assert regressor.target_mean_ is None and regressor.score(X, Y / 100) > 0.8
    with pytest.raises(ValueError, match="y holds values too large for float32; scale them"):
        small(standardize_target=False).fit(X, 1e300 * Y)
    with pytest.raises(ValueError, match="partial_fit continues a fit with standardize_target=False"):
        regressor.set_params(standardize_target=True).partial_fit(X, Y)


@pytest.mark.parametrize("what", ["warm_start", "partial_fit"])
def test_what_a_fit_goes_on_with(what):
    regressor = small(max_iter=2, warm_start=True).fit(X, Y)

    def go_on(y, **changes):
        model = copy.deepcopy(regressor).set_params(**changes)
        return model.fit(X, y) if what == "warm_start" else model.partial_fit(X, y)

    # Statistics of y are those of the first fit, so that the weights mean what they meant.
    later = go_on(3 * Y + 5)
    assert later.target_mean_ == regressor.target_mean_ and later.target_scale_ == regressor.target_scale_
    assert go_on(Y, loss="huber").loss_curve_[:2] == regressor.loss_curve_
    with pytest.raises(ValueError, match=f"{what} continues a fit on 1 outputs, got y of shape"):
        go_on(np.stack([Y, Y], axis=1))
    with pytest.raises(ValueError, match=f"{what} continues a fit whose outputs meant something else: loss='poisson'"):
        go_on(Y, loss="poisson")


def test_several_outputs_learn_alike():
    """Each in its unit; a mean over outputs, so that two equal ones are one."""
    one, two = small().fit(X, Y), small().fit(X, np.stack([Y, Y], axis=1))
    assert one.predict(X).shape == (300,) and two.predict(X).shape == (300, 2)
    targets = np.stack([1e6 * Y, 1e-6 * LABELS[:300]], axis=1)
    scores = r2_score(
        targets, small(max_iter=60, hidden_layer_sizes=(32,)).fit(X, targets).predict(X), multioutput="raw_values"
    )
    assert scores.min() > 0.7
    assert two.score(X, np.stack([Y, Y], axis=1)) > 0.8
