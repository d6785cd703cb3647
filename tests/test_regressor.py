"""CNNRegressor as a member of scikit-learn; its losses, its targets."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.metrics import r2_score
from sklearn.utils.estimator_checks import estimator_checks_generator

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
