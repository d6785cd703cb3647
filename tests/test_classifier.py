"""CNNClassifier as a member of scikit-learn: its checks, parameters, pickles, pipelines and searches."""

import copy
import pickle

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

from skconv import CNNClassifier, Conv1DTransformer, Conv2DTransformer, Dense, Dropout, Flatten, MaxPool

DIGITS, LABELS = load_digits(return_X_y=True)
X, Y = DIGITS[:120], LABELS[:120]
SMALL = dict(conv_layer_sizes=(4,), hidden_layer_sizes=(8,), max_iter=2, random_state=0)
FLAT = ("conv_layer_sizes", "activation", "kernel_size", "stride", "padding", "pool", "pool_size", "hidden_layer_sizes")


def small(**parameters):
    return CNNClassifier(**SMALL | parameters)


def with_layers(**parameters):
    layers = [
        ("conv1", Conv2DTransformer(4, 3, activation="relu")),
        ("pool1", MaxPool(2)),
        ("fc", Dense(8, activation="relu")),
        ("drop", Dropout(0.5)),
    ]
    return CNNClassifier(**dict(layers=layers, max_iter=2, random_state=0) | parameters)


def state_of(estimator):
    """All that an estimator holds, as bytes: two states are equal where these are."""
    return {name: pickle.dumps(value) for name, value in estimator.__getstate__().items()}


def assert_same_model(a, b):
    assert [w.shape for w in a.coefs_] == [w.shape for w in b.coefs_]
    for mine, other in zip([*a.coefs_, *a.intercepts_], [*b.coefs_, *b.intercepts_], strict=True):
        np.testing.assert_array_equal(mine, other)
    assert a.loss_curve_ == b.loss_curve_


# Its tolerance is 1e-7, and a sample of weight 2 is not drawn like two samples; it holds for lbfgs.
STOCHASTIC = {"check_sample_weight_equivalence_on_dense_data": "samples are drawn into mini-batches"}
CHECKED = [
    CNNClassifier(),
    CNNClassifier(solver="sgd", learning_rate="adaptive", learning_rate_init=0.01),
    CNNClassifier(conv_layer_sizes=(), hidden_layer_sizes=(), standardize=False, batch_size=8),
    CNNClassifier(spatial_ndim=1, pool="average", activation="gelu", augment={"noise": 0.05, "scale": 0.05}),
    CNNClassifier(spatial_ndim=3, max_iter=10),
    with_layers(max_iter="auto"),
    CNNClassifier(solver="lbfgs", max_iter=50),
    with_layers(solver="lbfgs", max_iter=50),
]


@pytest.mark.filterwarnings("ignore:batch_size=8 is larger")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "estimator, check",
    # A list, because parametrize_with_checks of scikit-learn 1.6 hands pytest a generator, which pytest 9 warns about.
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


def test_digits_with_defaults():
    samples = np.random.default_rng(0).permutation(len(DIGITS))
    train, test = samples[:1437], samples[1437:]
    classifier = CNNClassifier(random_state=0).fit(DIGITS[train], LABELS[train])
    assert classifier.score(DIGITS[test], LABELS[test]) >= 0.98


# ---- parameters ----------------------------------------------------------------------------------------------------


def test_clone_and_get_params():
    classifier = with_layers()
    parameters = classifier.get_params()
    assert parameters["conv1__n_filters"] == 4
    assert parameters["pool1"] is classifier.layers[1][1]
    copied = clone(classifier)
    assert copied.layers[0][1] is not classifier.layers[0][1]
    assert copied.get_params()["drop__rate"] == 0.5
    assert set(small().get_params()) == set(CNNClassifier().get_params(deep=False))


def test_set_params_reaches_into_layers():
    classifier = with_layers().set_params(conv1__n_filters=6, pool1=MaxPool(3), alpha=0.5)
    assert classifier.layers[0][1].n_filters == 6
    assert classifier.layers[1][1].kernel_size == 3
    assert classifier.alpha == 0.5
    with pytest.raises(ValueError, match="conv9"):
        classifier.set_params(conv9__n_filters=6)
    with pytest.raises(ValueError, match="pool1"):
        CNNClassifier().set_params(pool1=MaxPool(2))


@pytest.mark.parametrize(
    "before, changes",
    [
        (small(), dict(conv_layer_sizes=(3, 5), kernel_size=5, solver="sgd")),
        (small(), dict(random_state=1, standardize=False, batch_size=7)),
        (with_layers(), dict(conv1__n_filters=6, pool1=MaxPool(3), drop__rate=0.1)),
        (small(), dict(layers=with_layers().layers, conv_layer_sizes="auto", hidden_layer_sizes="auto")),
        (with_layers(), dict(layers=None, conv_layer_sizes=(5,), hidden_layer_sizes=())),
    ],
)
def test_set_params_then_fit_equals_a_fresh_object(before, changes):
    changed = clone(before).fit(X, Y).set_params(**changes).fit(X, Y)
    fresh = clone(before).set_params(**changes).fit(X, Y)
    assert_same_model(changed, fresh)
    assert set(vars(changed)) == set(vars(fresh))


def test_fit_leaves_parameters_alone():
    classifier = with_layers()
    layers, before = classifier.layers, [vars(layer).copy() for _, layer in classifier.layers]
    classifier.fit(X, Y)
    assert classifier.layers is layers
    assert [vars(layer) for _, layer in layers] == before


@pytest.mark.parametrize(
    "name, value",
    [
        ("conv_layer_sizes", (4,)),
        ("conv_layer_sizes", ()),
        ("activation", "tanh"),
        ("kernel_size", 5),
        ("kernel_size", (3, 3)),
        ("stride", 2),
        ("padding", "valid"),
        ("pool", None),
        ("pool_size", 3),
        ("hidden_layer_sizes", [8]),
        ("dropout", 0.0),
    ],
)
def test_flat_parameters_beside_layers_raise(name, value):
    with pytest.raises(ValueError, match=f"^{name}=.* has no effect where layers is given"):
        with_layers(**{name: value}).fit(X, Y)


def test_flat_parameters_beside_layers_may_be_numpy_defaults():
    with_layers(kernel_size=np.int64(3), dropout=np.float64(0.25), pool=np.str_("max")).fit(X, Y)


def test_flat_parameters_and_layers_are_the_same_network():
    flat = small(conv_layer_sizes=(4, 6), dropout=0.5).fit(X, Y)
    layers = [
        ("conv1", Conv2DTransformer(4)),
        ("pool1", MaxPool()),
        ("conv2", Conv2DTransformer(6)),
        ("pool2", MaxPool()),
        ("drop1", Dropout()),
        ("dense1", Dense(8)),
        ("drop2", Dropout()),
    ]
    named = CNNClassifier(layers=layers, max_iter=2, random_state=0).fit(X, Y)
    assert_same_model(flat, named)
    assert flat.summary() == named.summary()


def test_auto_architecture_is_shown():
    classifier = CNNClassifier(max_iter=1).fit(X, Y)
    assert classifier.conv_layer_sizes_ == (32, 64)
    assert classifier.hidden_layer_sizes_ == (128,)
    assert not hasattr(with_layers().fit(X, Y), "conv_layer_sizes_")


@pytest.mark.parametrize(
    "layers, message",
    [
        (
            [("conv1", Conv2DTransformer(4, 9, padding="valid"))],
            "layer 'conv1': kernel_size=9 does not fit into an 8x8 image; use padding=\"same\" or a smaller kernel",
        ),
        ([("p", MaxPool(4)), ("q", MaxPool(3))], "layer 'q': kernel_size=3 does not fit into a 2x2 image"),
        ([("fc", Dense(4)), ("conv", Conv2DTransformer())], "layer 'conv': Conv2DTransformer needs images, but flat"),
        ([("flat", Flatten()), ("pool1", MaxPool())], "layer 'pool1': MaxPool needs images"),
        ([("signal", Conv1DTransformer())], "layer 'signal': Conv1DTransformer slides over 1 spatial axes"),
        ([("conv", Conv2DTransformer(0))], "layer 'conv': n_filters must be at least 1"),
        (
            [("conv", Conv2DTransformer(4, pool="max"))],
            "layer 'conv': pool must be a pooling layer (MaxPool(2), say) or None",
        ),
        ([("conv", Conv2DTransformer(4, filters=np.ones((4, 3, 3, 2))))], "layer 'conv': filters must be a real"),
        ([("fc", Dense(4, fit_intercept="no"))], "layer 'fc': fit_intercept must be a bool, got 'no'"),
        ([("drop", Dropout(1))], "layer 'drop': rate must be at least 0 and less than 1, got 1"),
        ([("a", MaxPool()), ("a", MaxPool())], "names of layers must be unique, got 'a' 2 times"),
        ([("a__b", MaxPool())], "must not be empty, 'output', or contain '__', got 'a__b'"),
        ([("output", MaxPool())], "must not be empty, 'output', or contain '__', got 'output'"),
        ([("pool", MaxPool())], "must not be that of a parameter, got 'pool'; use 'pool1', say"),
        ([("scale", MinMaxScaler())], "layer 'scale' must be one of AvgPool,"),
    ],
)
def test_layers_that_do_not_fit_are_named(layers, message):
    with pytest.raises((TypeError, ValueError)) as error:
        CNNClassifier(layers=layers).fit(X, Y)
    assert message in str(error.value)


# ---- pickles -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
@pytest.mark.parametrize("make", [small, with_layers])
def test_copies_predict_the_same_bits(make, duplicate, tmp_path):
    unfitted = duplicate(make())
    with pytest.raises(NotFittedError):
        unfitted.predict(X)
    fitted = unfitted.fit(X, Y)
    copied = duplicate(fitted)
    np.testing.assert_array_equal(copied.predict_proba(X), fitted.predict_proba(X))
    assert state_of(copied) == state_of(fitted)
    joblib.dump(fitted, tmp_path / "model")
    np.testing.assert_array_equal(joblib.load(tmp_path / "model").predict_proba(X), fitted.predict_proba(X))


def test_pickle_is_small_and_holds_plain_data():
    filters = np.random.default_rng(0).normal(size=(64, 5, 5, 1))
    layers = [("conv1", Conv2DTransformer(64, 5, filters=filters)), ("fc", Dense(100))]
    classifier = CNNClassifier(layers=layers, max_iter=1, random_state=0).fit(X, Y)
    text = pickle.dumps(classifier)
    assert b"_engine" not in text and b"_network" not in text
    # The user's own filters are a parameter and travel with it, once.
    assert len(text) < 4 * classifier.n_parameters_ + filters.nbytes + 8192


def test_changed_weights_take_effect():
    classifier = small().fit(X, Y)
    classifier.intercepts_[-1] = np.zeros(10, dtype=np.float32)
    classifier.coefs_[-1] = np.zeros_like(classifier.coefs_[-1])
    np.testing.assert_allclose(classifier.predict_proba(X), 0.1, rtol=1e-6)
    classifier.coefs_[-1] = np.zeros((3, 10))
    with pytest.raises(ValueError, match=r"coefs_\[2\] must have shape \(8, 10\), got \(3, 10\)"):
        classifier.predict(X)
    other = small().fit(X, Y)
    other.coefs_ = other.coefs_[:-1]
    with pytest.raises(ValueError, match="coefs_ must hold 3 arrays, got 2"):
        other.predict(X)
    third = small().fit(X, Y)
    third.input_mean_ = np.zeros(7, dtype=np.float32)
    with pytest.raises(ValueError, match="input_mean_"):
        third.predict(X)
    fourth = small().fit(X, Y)
    fourth.image_shape_, fourth.n_features_in_ = (4, 4, 1), 16
    with pytest.raises(ValueError, match=r"coefs_\[1\] must have shape \(16, 8\)"):
        fourth.predict(X[:, :16])


# ---- scikit-learn's tools ------------------------------------------------------------------------------------------


def test_grid_search_over_flat_parameters_in_a_pipeline():
    search = GridSearchCV(
        Pipeline([("scale", MinMaxScaler()), ("cnn", CNNClassifier(image_shape=(8, 8)))]),
        {"cnn__kernel_size": [3, 5], "cnn__conv_layer_sizes": [(16,), (16, 32)]},
        cv=2,
    )
    search.set_params(estimator__cnn__max_iter=6, estimator__cnn__random_state=0).fit(DIGITS[:300], LABELS[:300])
    assert search.best_score_ > 0.5
    # Parameters do take effect: four architectures, four scores of training.
    assert len(set(search.cv_results_["mean_test_score"])) > 1


def test_grid_search_over_layers_in_processes():
    layers = with_layers().layers
    search = GridSearchCV(
        CNNClassifier(layers=layers, max_iter=2, random_state=0),
        {"conv1__n_filters": [8, 16], "pool1": [MaxPool(2), MaxPool(3)]},
        cv=2,
        n_jobs=2,
    ).fit(X, Y)
    alone = GridSearchCV(search.estimator, search.param_grid, cv=2).fit(X, Y)
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"])
    assert_same_model(search.best_estimator_, alone.best_estimator_)


def test_cross_val_score():
    classifier = CNNClassifier((8,), hidden_layer_sizes=(32,), learning_rate_init=0.01, max_iter=15, random_state=0)
    scores = cross_val_score(classifier, DIGITS[:300], LABELS[:300], cv=3)
    assert scores.shape == (3,) and scores.min() > 0.8


def test_pipeline_with_scaler_keeps_the_image_shape():
    pipeline = Pipeline([("scale", MinMaxScaler()), ("cnn", small(image_shape=(4, 16)))]).fit(X, Y)
    assert pipeline["cnn"].image_shape_ == (4, 16, 1)
    assert pipeline.predict(X).shape == (120,)


@pytest.mark.parametrize("method", ["predict", "predict_proba", "predict_log_proba", "summary"])
def test_not_fitted(method):
    with pytest.raises(NotFittedError, match="CNNClassifier"):
        getattr(CNNClassifier(), method)(*([] if method == "summary" else [X]))


def test_probabilities():
    classifier = small(max_iter=5).fit(X, Y)
    probabilities = classifier.predict_proba(X)
    assert probabilities.dtype == np.float32 and probabilities.shape == (120, 10)
    assert probabilities.min() >= 0
    # Ten float32 terms: each is rounded once, and so is each partial sum.
    np.testing.assert_allclose(probabilities.sum(axis=1, dtype=np.float64), 1, atol=20 * np.finfo(np.float32).eps)
    np.testing.assert_allclose(classifier.predict_log_proba(X), np.log(probabilities), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(classifier.predict(X), classifier.classes_[probabilities.argmax(axis=1)])
    # Outputs of hundreds: exp would overflow, and the logarithm of a probability of zero is not its.
    classifier.coefs_[-1] = 1e4 * classifier.coefs_[-1]
    log_probabilities = classifier.predict_log_proba(X)
    assert np.isfinite(log_probabilities).all() and log_probabilities.min() < -1000
    assert np.isfinite(classifier.predict_proba(X)).all()
    classifier = small(max_iter=5).fit(X, Y)
    assert classifier.score(X, Y) == np.mean(classifier.predict(X) == Y)
