"""Images of one pixel, one sample, ten samples, one class, a thousand classes, constants: they work, or say why not."""

import math

import numpy as np
import pytest

from skconv import CNNClassifier, CNNRegressor, Conv2DTransformer

BOTH = pytest.mark.parametrize("Estimator", [CNNClassifier, CNNRegressor])
SOLVERS = pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
RATE = {"adam": dict(learning_rate_init=0.01), "sgd": dict(learning_rate_init=0.003), "lbfgs": {}}
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def check(estimator, X, y):
    predicted = estimator.predict(X)
    assert predicted.shape == np.shape(y) and np.isfinite(predicted).all()
    assert all(np.isfinite(coef).all() for coef in estimator.coefs_)
    assert math.isfinite(estimator.loss_)


@BOTH
@SOLVERS
@pytest.mark.parametrize("shape", [(1,), (1, 1), (1, 1, 1), (2, 1), (1, 3), (3, 3, 2)], ids=str)
def test_images_of_few_pixels(Estimator, solver, shape):
    y = np.arange(20) % 2
    X = draw(20, *shape) + 3 * y.reshape(-1, *[1] * len(shape))
    estimator = Estimator(solver=solver, random_state=0, max_iter=40, learning_rate_init=0.01, dropout=0.0).fit(X, y)
    check(estimator, X, y)
    assert estimator.score(X, y) > (0.8 if Estimator is CNNClassifier else 0.4)


@BOTH
@SOLVERS
def test_one_sample(Estimator, solver):
    for value in (0, 3):
        X = draw(1, 8, 8)
        estimator = Estimator(solver=solver, random_state=0, max_iter=60, **RATE[solver]).fit(X, [value])
        check(estimator, X, [value])
        np.testing.assert_allclose(estimator.predict(X), value, atol=0.3)
    with pytest.raises(ValueError, match="Expected 2D array, got 1D array.*") as error:
        Estimator().fit(draw(64), [1])
    assert "image[np.newaxis]" in str(error.value)
    with pytest.raises(ValueError, match="0 sample"):
        Estimator().fit(draw(0, 8, 8), [])


@BOTH
@SOLVERS
def test_ten_samples(Estimator, solver):
    X, y = draw(10, 8, 8), np.arange(10) % 2
    estimator = Estimator(solver=solver, random_state=0, max_iter=60, dropout=0.0, **RATE[solver]).fit(X, y)
    check(estimator, X, y)
    assert estimator.score(X, y) > 0.5


@BOTH
def test_too_few_samples_to_set_some_aside(Estimator):
    for n in (1, 2, 10):
        with pytest.raises(
            ValueError, match=f"sets validation_fraction=0.1 of {n} samples aside.*validation_fraction or"
        ):
            Estimator(early_stopping=True).fit(draw(n, 8, 8), np.arange(n) % 2)
    # What it advises works.
    X, y = draw(10, 8, 8), np.arange(10) % 2
    for options, data in (
        (dict(validation_fraction=0.3), {}),
        ({}, dict(X_val=X, y_val=y)),
        (dict(early_stopping=False), {}),
    ):
        estimator = Estimator(**dict(early_stopping=True, max_iter=2, conv_layer_sizes=(4,)) | options).fit(
            X, y, **data
        )
        check(estimator, X, y)


@BOTH
@SOLVERS
@pytest.mark.parametrize("options", [{}, dict(early_stopping=True, validation_fraction=0.2)], ids=str)
def test_one_class_and_constant_targets(Estimator, solver, options):
    X = draw(30, 6, 6)
    for value in (0.0, -7.0, 1e6):
        y = np.full(30, value)
        estimator = Estimator(solver=solver, conv_layer_sizes=(4,), random_state=0, max_iter=20, **options).fit(X, y)
        check(estimator, X, y)
        # A constant has no scale of its own: a regressor is off by a part of 1.
        np.testing.assert_allclose(estimator.predict(draw(5, 6, 6, seed=1)), value, rtol=0, atol=0.8)
    if Estimator is CNNClassifier:
        np.testing.assert_array_equal(estimator.predict_proba(X), np.ones((30, 1)))
        several = np.zeros((30, 2), dtype=int)
        several[:, 1] = 1
        check(Estimator(solver=solver, conv_layer_sizes=(4,), max_iter=3, random_state=0).fit(X, several), X, several)
        squared = Estimator(loss="squared_error", conv_layer_sizes=(4,), max_iter=3).fit(X, y)
        np.testing.assert_array_equal(squared.predict(X), y)


@pytest.mark.parametrize("loss", ["log_loss", "squared_error"])
def test_a_thousand_classes(loss):
    y = np.arange(2100) % 1000
    X = draw(2100, 4, 4)
    classifier = CNNClassifier(conv_layer_sizes=(4,), loss=loss, max_iter=2, random_state=0).fit(X, y)
    probabilities = classifier.predict_proba(X[:50])
    assert probabilities.shape == (50, 1000) and classifier.n_outputs_ == 1000
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-4)
    assert set(classifier.predict(X[:50])) <= set(range(1000))


@BOTH
def test_kernels_larger_than_the_image(Estimator):
    X, y = draw(10, 5, 5), np.arange(10) % 2
    small = dict(conv_layer_sizes=(4,), max_iter=1, random_state=0)
    check(Estimator(kernel_size=9, **small).fit(X, y), X, y)  # defaults fit any image
    for given, message in [
        (dict(kernel_size=7, padding="valid", **small), "layer 'conv1': kernel_size=7 does not fit into a 5x5 image"),
        (
            dict(conv_layer_sizes=(4, 4), padding="valid", kernel_size=3, max_iter=1),
            "layer 'conv2': kernel_size=3 does",
        ),
        (dict(layers=[("a", Conv2DTransformer(4, 7, padding="valid"))]), "layer 'a': kernel_size=7 does not fit"),
    ]:
        with pytest.raises(ValueError, match=message) as error:
            Estimator(**given).fit(X, y)
        assert 'use padding="same" or a smaller kernel' in str(error.value)
    for given in (dict(pool_size=100), dict(stride=100), dict(conv_layer_sizes=(4, 4, 4, 4, 4))):
        check(Estimator(**small | given).fit(X, y), X, y)


@BOTH
@SOLVERS
def test_constant_images(Estimator, solver):
    X, y = np.full((20, 6, 6), 7.0), np.arange(20) % 4
    estimator = Estimator(solver=solver, conv_layer_sizes=(4,), max_iter=20, random_state=0).fit(X, y)
    check(estimator, X, y)
    if Estimator is CNNRegressor:
        np.testing.assert_allclose(estimator.predict(X), 1.5, atol=0.2)


@BOTH
@pytest.mark.parametrize("weight", [1e-320, 1e-200, 1e200])
def test_weights_of_any_unit(Estimator, weight):
    X, y = draw(20, 6, 6), np.arange(20) % 2
    small = dict(conv_layer_sizes=(4,), max_iter=3, random_state=0)
    expected = Estimator(**small).fit(X, y, sample_weight=np.ones(20))
    found = Estimator(**small).fit(X, y, sample_weight=np.full(20, weight))
    np.testing.assert_allclose(found.coefs_[0], expected.coefs_[0], rtol=1e-2, atol=1e-4)
    with pytest.raises(ValueError, match="sample_weight must be at most 1e.290, so that sums are finite"):
        Estimator(**small).fit(X, y, sample_weight=np.full(20, 1e308))
    lone = np.where(np.arange(20) == 4, 5.0, 0.0)
    check(Estimator(**small).fit(X, y, sample_weight=lone), X, y)


@pytest.mark.parametrize(
    "class_weight",
    [{0: math.nan}, {0: math.inf}, {0: "a"}, [1, 2], 3, {0: 0.0, 1: 0.0}, {2: 1.0}],
    ids=str,
)
def test_class_weights_that_make_no_sense(class_weight):
    classifier = CNNClassifier(class_weight=class_weight)
    with pytest.raises(ValueError, match="class_weight"):
        classifier.fit(draw(10, 6, 6), np.arange(10) % 2)
    assert vars(classifier) == classifier.get_params()


def test_class_weights_that_leave_nothing():
    weights = (np.arange(10) % 2 == 0).astype(float)
    with pytest.raises(ValueError, match="leaves no sample with a weight"):
        CNNClassifier(class_weight={0: 0.0, 1: 2.0}).fit(draw(10, 6, 6), np.arange(10) % 2, sample_weight=weights)
    classifier = CNNClassifier((4,), class_weight={0: 0.0, 1: 2.0})
    classifier.partial_fit(draw(10, 6, 6), np.arange(10) % 2, classes=[0, 1])
    with pytest.raises(ValueError, match="leaves no sample with a weight"):
        classifier.partial_fit(draw(10, 6, 6), np.zeros(10))


@pytest.mark.parametrize(
    "classes, message",
    [
        ([], "classes must hold every class"),
        ([0, 1, math.nan], "classes contains NaN"),
        ([1, 2], r"labels that are not in classes: \[0\]"),
        (["a", "b"], "labels that are not in classes"),
    ],
    ids=str,
)
def test_classes_that_make_no_sense(classes, message):
    classifier = CNNClassifier((4,))
    with pytest.raises(ValueError, match=message):
        classifier.partial_fit(draw(10, 6, 6), np.arange(10) % 2, classes=classes)
    assert vars(classifier) == classifier.get_params()


def test_classes_of_several_labels_are_columns():
    X, y = draw(10, 6, 6), np.eye(10, dtype=int)[:, :3]
    with pytest.raises(ValueError, match="must be the numbers of the columns of y"):
        CNNClassifier((4,)).partial_fit(X, y, classes=[0, 1])
    classifier = CNNClassifier((4,)).partial_fit(X, y, classes=[0, 1, 2]).partial_fit(X, y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="not the same as on the first call"):
        classifier.partial_fit(X, y, classes=[0, 1, 3])
