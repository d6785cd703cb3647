"""A network inside an estimator: what its layers give, what is fitted, what may be replaced."""

import math
import pickle

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from skconv import (
    BatchNorm,
    CNNClassifier,
    CNNRegressor,
    Conv2DTransformer,
    Dense,
    Dropout,
    Flatten,
    MaxPool,
)

X, Y = (values[:120] for values in load_digits(return_X_y=True))
IMAGES = X.reshape(-1, 8, 8, 1)
BOTH = pytest.mark.parametrize("Estimator", [CNNClassifier, CNNRegressor])


def small(Estimator=CNNClassifier, **parameters):
    defaults = dict(conv_layer_sizes=(4,), hidden_layer_sizes=(8,), max_iter=2, random_state=0)
    return Estimator(**defaults | parameters)


def standardized(estimator, images=IMAGES):
    return (images - estimator.input_mean_.astype(float)) * estimator.input_scale_


def convolved(images, coef, intercept):
    """A 3x3 convolution with a margin of zeros, tap by tap."""
    padded = np.pad(images, [(0, 0), (1, 1), (1, 1), (0, 0)])
    height, width = images.shape[1:3]
    return intercept + sum(
        padded[:, i : i + height, j : j + width] @ coef[i, j].astype(float) for i in range(3) for j in range(3)
    )


def pooled(maps):
    return np.max([maps[:, i::2, j::2] for i in range(2) for j in range(2)], axis=0)


def relu(values):
    return np.maximum(values, 0)


# ---- outputs of layers ---------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_layer_outputs_of_flat_parameters(Estimator, solver):
    estimator = small(Estimator, solver=solver, conv_layer_sizes=(4, 5), dropout=0.5).fit(X, Y)
    coefs, intercepts = estimator.coefs_, estimator.intercepts_
    expected = {}
    expected["conv1"] = relu(convolved(standardized(estimator), coefs[0], intercepts[0]))
    expected["pool1"] = pooled(expected["conv1"])
    expected["conv2"] = relu(convolved(expected["pool1"], coefs[1], intercepts[1]))
    expected["pool2"] = pooled(expected["conv2"])
    flat = expected["pool2"].reshape(120, -1)
    expected["dense1"] = relu(flat @ coefs[2] + intercepts[2])
    expected["output"] = expected["dense1"] @ coefs[3] + intercepts[3]
    dtype, tolerance = (np.float64, 1e-12) if solver == "lbfgs" else (np.float32, 2e-6)
    for name, values in expected.items():
        found = estimator.layer_outputs(X, name)
        assert found.dtype == dtype and found.shape == values.shape, name
        np.testing.assert_allclose(found, values, rtol=0, atol=tolerance * np.abs(values).max(), err_msg=name)
    if solver == "lbfgs":  # has no dropout
        with pytest.raises(
            ValueError, match="one of 'conv1', 'pool1', 'conv2', 'pool2', 'dense1', 'output'; got 'drop2'"
        ):
            pickle.loads(pickle.dumps(estimator)).layer_outputs(X, "drop2")
    else:  # draws only in training
        np.testing.assert_array_equal(estimator.layer_outputs(X, "drop2"), estimator.layer_outputs(X, "dense1"))
        drop1, pool2 = (estimator.layer_outputs(X, name).reshape(120, -1) for name in ("drop1", "pool2"))
        np.testing.assert_array_equal(drop1, pool2)
    if Estimator is CNNClassifier:
        np.testing.assert_array_equal(estimator.layer_outputs(X, "output"), estimator.decision_function(X))
    else:
        outputs = estimator.layer_outputs(X, "output").astype(float)
        np.testing.assert_array_equal(
            (outputs * estimator.target_scale_ + estimator.target_mean_)[:, 0], estimator.predict(X)
        )


def test_layer_outputs_of_named_layers():
    """A layer of several operations, batch normalisation and flattening; before the activation where that follows."""
    layers = [
        ("edges", Conv2DTransformer(4, 3, activation="identity", pool=MaxPool(2))),
        ("norm", BatchNorm()),
        ("noise", Dropout(0.5)),
        ("line", Flatten()),
        ("fc", Dense(6, activation="tanh")),
    ]
    classifier = CNNClassifier(layers=layers, max_iter=3, random_state=0).fit(X, Y)
    edges = pooled(convolved(standardized(classifier), classifier.coefs_[0], classifier.intercepts_[0]))
    mean, variance = classifier.statistics_[0]
    norm = (edges - mean) / np.sqrt(variance + BatchNorm().epsilon) * classifier.coefs_[1] + classifier.intercepts_[1]
    fc = np.tanh(norm.reshape(120, -1) @ classifier.coefs_[2] + classifier.intercepts_[2])
    for name, values in {"edges": edges, "norm": norm, "line": norm.reshape(120, -1), "fc": fc}.items():
        found = classifier.layer_outputs(X, name)
        assert found.shape == values.shape
        np.testing.assert_allclose(found, values, rtol=0, atol=1e-5 * np.abs(values).max(), err_msg=name)
    assert len(np.unique(classifier.layer_outputs(IMAGES[:3], "output"))) == 30


@BOTH
def test_layer_outputs_of_a_layer_that_is_not_there(Estimator):
    estimator = small(Estimator)
    with pytest.raises(NotFittedError, match=Estimator.__name__):
        estimator.layer_outputs(X, "conv1")
    estimator.fit(X, Y)
    for name in ("conv2", "", 1, None, "Output"):
        with pytest.raises(ValueError) as error:
            estimator.layer_outputs(X, name)
        assert "one of 'conv1', 'pool1', 'drop1'" in str(error.value).replace("'drop1', 'dense1'", "'drop1'") or (
            Estimator is CNNRegressor and "one of 'conv1', 'pool1', 'dense1', 'output'" in str(error.value)
        )
        assert repr(name) in str(error.value)
    with pytest.raises(ValueError, match="63 features"):
        estimator.layer_outputs(X[:, :63], "conv1")


def test_layer_outputs_do_not_disturb_the_model():
    classifier = small().fit(X, Y)
    before = classifier.predict_proba(X)
    classifier.layer_outputs(X, "conv1")[...] = 0
    np.testing.assert_array_equal(classifier.predict_proba(X), before)
    classifier.coefs_[0][...] *= 2  # edited in place
    np.testing.assert_allclose(
        classifier.layer_outputs(X, "conv1"),
        relu(convolved(standardized(classifier), classifier.coefs_[0], classifier.intercepts_[0])),
        rtol=0, atol=1e-4,
    )  # fmt: skip


def test_arrays_that_were_read_may_be_edited_at_any_time():
    """Predictions pack weights once until somebody reads them, and look at them in every call from then on."""
    layers = [
        ("conv1", Conv2DTransformer(32, 3, padding="same")), ("norm1", BatchNorm(activation="relu")),
        ("conv2", Conv2DTransformer(32, 3, padding="same", activation="relu")), ("dense1", Dense(30)),
    ]  # fmt: skip
    classifier = CNNClassifier(layers=layers, max_iter=1, random_state=0).fit(X, Y)
    assert classifier._fitted_network().is_constant and math.prod(classifier._network.coefs[3].shape) * 4 > 2**17
    seen = [classifier.predict_proba(X)]
    held = [array for array in (*classifier.coefs_, *classifier.intercepts_, *classifier.statistics_[0])
            if array is not None]  # fmt: skip
    np.testing.assert_array_equal(classifier.predict_proba(X), seen[0])
    assert not classifier._fitted_network().is_constant
    for _ in range(2):  # long after they were read
        for array in held:
            array[...] *= 1.1
            seen.append(classifier.predict_proba(X))
            assert np.abs(seen[-1] - seen[-2]).max() > 1e-7
    again = pickle.loads(pickle.dumps(classifier))
    assert again._fitted_network().is_constant
    np.testing.assert_array_equal(again.predict_proba(X), seen[-1])


@pytest.mark.parametrize("name", ["coefs_", "intercepts_", "statistics_"])
def test_arrays_are_attributes_like_others(name):
    classifier = small()
    with pytest.raises(AttributeError, match=f"'CNNClassifier' object has no attribute '{name}'"):
        getattr(classifier, name)
    classifier.fit(X, Y).predict(X)
    value = getattr(classifier, name)
    assert value is getattr(classifier, name) is vars(classifier)[name]
    setattr(classifier, name, value)
    classifier.predict(X)
    delattr(classifier, name)
    assert not hasattr(classifier, name)
    with pytest.raises(AttributeError, match="has no attribute"):
        delattr(classifier, name)


# ---- summary -------------------------------------------------------------------------------------------------------


@BOTH
def test_summary(Estimator):
    estimator = small(Estimator, dropout=0.5)
    with pytest.raises(NotFittedError):
        estimator.summary()
    lines = estimator.fit(X, Y).summary().splitlines()
    assert lines[0].split() == ["layer", "operation", "output", "shape", "weights"]
    n_outputs = 10 if Estimator is CNNClassifier else 1
    cells = [line.split() for line in lines[1:]]
    assert [row[0] for row in cells[:-1]] == ["conv1", "pool1", "drop1", "dense1", "drop2", "output"]
    counts = {row[0]: row[-1] for row in cells}
    assert counts["conv1"] == "40" and counts["dense1"] == "520" and counts["output"] == str(9 * n_outputs)
    assert cells[-1] == ["total", str(40 + 520 + 9 * n_outputs)]
    assert estimator.n_parameters_ == 40 + 520 + 9 * n_outputs
    assert pickle.loads(pickle.dumps(estimator)).summary() == estimator.summary()
    with pytest.warns(ConvergenceWarning):
        estimator.set_params(solver="lbfgs").fit(X, Y)
    assert "drop" not in estimator.summary()
    assert pickle.loads(pickle.dumps(estimator)).summary() == estimator.summary()


# ---- replaced and pickled ------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("solver, dtype", [("adam", "float32"), ("lbfgs", "float64")])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_precision_outlives_pickles_and_replaced_weights(Estimator, solver, dtype):
    estimator = small(Estimator, solver=solver, max_iter=5).fit(X, Y)
    estimator = pickle.loads(pickle.dumps(estimator))
    assert all(array.dtype == dtype for array in (*estimator.coefs_, *estimator.intercepts_))
    before = estimator.layer_outputs(X, "output")
    assert before.dtype == dtype
    # A weight that only float64 can tell from the old one.
    estimator.coefs_[-1] = estimator.coefs_[-1] * np.array(1 + 1e-10, dtype=dtype)
    after = estimator.layer_outputs(X, "output")
    assert after.dtype == dtype
    assert np.array_equal(after, before) == (dtype == "float32")
    assert all(array.dtype == dtype for array in (*estimator.coefs_, *estimator.intercepts_))
    # Weights of another precision are converted.
    other = "float32" if dtype == "float64" else "float64"
    estimator.coefs_ = [coef.astype(other) for coef in estimator.coefs_]
    assert estimator.layer_outputs(X, "output").dtype == dtype
    again = pickle.loads(pickle.dumps(estimator))
    np.testing.assert_array_equal(again.predict(X), estimator.predict(X))


@BOTH
def test_another_solver_another_precision(Estimator):
    """Each fit has its own; going on from the other's weights included."""
    estimator = small(Estimator, solver="lbfgs", warm_start=True, max_iter=5)
    with pytest.warns(ConvergenceWarning):
        estimator.fit(X, Y)
    first = estimator.coefs_[0].copy()
    estimator.set_params(solver="adam", learning_rate_init=1e-30, alpha=0).fit(X, Y)
    assert estimator.coefs_[0].dtype == np.float32
    np.testing.assert_array_equal(estimator.coefs_[0], first.astype(np.float32))
    estimator.partial_fit(X, Y)
    assert estimator.coefs_[0].dtype == np.float32
    estimator.set_params(solver="lbfgs", learning_rate_init=0.001)
    with pytest.warns(ConvergenceWarning):
        estimator.fit(X, Y)
    assert estimator.coefs_[0].dtype == np.float64 and estimator.layer_outputs(X, "output").dtype == np.float64


def test_replaced_statistics():
    layers = [("conv1", Conv2DTransformer(4, 3)), ("norm1", BatchNorm())]
    classifier = CNNClassifier(layers=layers, max_iter=2, random_state=0).fit(X, Y)
    before = classifier.layer_outputs(X, "norm1").astype(float)
    mean, variance = classifier.statistics_[0]
    epsilon = BatchNorm().epsilon
    classifier.statistics_[0] = (mean, 4 * variance + 3 * epsilon)
    shift = classifier.intercepts_[1]
    np.testing.assert_allclose(classifier.layer_outputs(X, "norm1") - shift, (before - shift) / 2, atol=1e-5)
    for wrong, message in [
        ([], "statistics_ must hold 1 pairs"),
        ([(mean,)], r"statistics_\[0\] must be a pair"),
        ([(mean, variance[:2])], r"statistics_\[0\]"),
    ]:
        classifier.statistics_ = wrong
        with pytest.raises(ValueError, match=message):
            classifier.predict(X)


@BOTH
@pytest.mark.parametrize("ema_decay", [None, 0.9])
def test_weights_replaced_between_calls_of_partial_fit_are_gone_on_with(Estimator, ema_decay):
    options = dict(classes=np.arange(10)) if Estimator is CNNClassifier else {}
    estimator = small(Estimator, ema_decay=ema_decay).partial_fit(X, Y, **options)
    estimator.set_params(learning_rate_init=1e-30, alpha=0)
    estimator.coefs_ = [2 * coef for coef in estimator.coefs_]
    expected = [coef.copy() for coef in estimator.coefs_]
    estimator.partial_fit(X, Y)
    for mine, wanted in zip(estimator.coefs_, expected, strict=True):
        np.testing.assert_allclose(mine, wanted, rtol=1e-6)
