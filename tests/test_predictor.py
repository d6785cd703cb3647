"""`predictor()` of classifier and regressor: the estimator's answers, from an object of its own."""

import copy
import os
import pickle
import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from skconv import (
    AvgPool,
    BatchNorm,
    ChannelPool,
    CNNClassifier,
    CNNRegressor,
    Conv1DTransformer,
    Conv2DTransformer,
    Conv3DTransformer,
    Dense,
    Dropout,
    Flatten,
    GaborFilterBank,
    GlobalPool,
    LocalContrastNorm,
    LPPool,
    MaxPool,
)
from skconv._predictor import ClassifierPredictor, RegressorPredictor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, size=(90, 12, 12), dtype=np.uint8)
COLOUR = RNG.normal(size=(90, 10, 9, 3)).astype(np.float32)
Y = RNG.integers(0, 3, size=90)


def conv(n_filters, activation="relu", padding="same", kernel_size=3, **options):
    return Conv2DTransformer(n_filters, kernel_size, activation=activation, padding=padding, **options)


LAYERS = {
    "plain": [conv(8), MaxPool(2), Dense(10, activation="relu")],
    "norm": [
        conv(8, "identity"),
        BatchNorm(activation="relu"),
        MaxPool(2),
        conv(6, "identity"),
        BatchNorm(activation="tanh"),
    ],
    "norm first": [BatchNorm(), conv(6, padding="valid"), MaxPool(2)],
    "norm behind pooling": [conv(8, "identity"), MaxPool(2), BatchNorm(activation="relu"), AvgPool(2), BatchNorm()],
    "norm behind activation": [
        conv(8),
        BatchNorm(),
        MaxPool(2),
        Dense(9, activation="identity"),
        BatchNorm(activation="elu"),
    ],
    "groups": [
        conv(6, "identity"),
        BatchNorm(activation="relu"),
        conv(12, "identity", groups=3),
        BatchNorm(activation="gelu"),
    ],
    "dropout": [conv(6), Dropout(0.5), Flatten(), Dense(12, activation="tanh"), Dropout(0.3)],
    "pooling": [conv(8, "identity"), LPPool(2), BatchNorm(), ChannelPool(2), GlobalPool("average")],
    "contrast": [LocalContrastNorm(5), conv(6, "identity"), BatchNorm(activation="leaky_relu")],
    "Winograd": [conv(32), conv(33, "identity"), BatchNorm(activation="relu"), MaxPool(2)],
    "Winograd 5x5": [conv(32), conv(33, "identity", kernel_size=5), BatchNorm(activation="relu"), MaxPool(2)],
    "wide": [conv(16), Dense(300, activation="identity"), BatchNorm(activation="relu"), Dense(5, activation="tanh")],
    "Gabor": [GaborFilterBank(4, (0.1, 0.2), kernel_size=5), BatchNorm(), MaxPool(2)],
}


def classifier(name="norm", X=BYTES, y=Y, **options):
    layers = [(f"layer{i}", layer) for i, layer in enumerate(LAYERS[name])]
    options = {"max_iter": 2, "batch_size": 20, "random_state": 0} | options
    return CNNClassifier(layers=layers, **options).fit(X, y)


@pytest.fixture(scope="module")
def fitted():
    return classifier("norm")


def spread(estimator):
    """Give batch normalisation scales of both signs, as long training may."""
    for coef, operation in zip(estimator.coefs_, [o for o in estimator._network.operations if o.n_parameters]):
        if operation.n_statistics and coef is not None:
            coef[::2] *= -1
    return estimator


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("X", [BYTES, COLOUR, COLOUR.astype(np.float64)], ids=["uint8", "float32", "float64"])
def test_classifiers_and_their_predictors_agree(name, standardize, X):
    estimator = classifier(name, X, standardize=standardize)
    for _ in range(2):
        predictor = estimator.predictor()
        images = np.ascontiguousarray(X)
        expected, found = estimator.predict_proba(X), predictor.predict_proba(images)
        assert found.dtype == expected.dtype == predictor.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)
        sure = np.sort(expected)[:, -1] - np.sort(expected)[:, -2] > 1e-4
        np.testing.assert_array_equal(predictor.predict(images)[sure], estimator.predict(X)[sure])
        spread(estimator)


@pytest.mark.parametrize("name", ["plain", "dropout", "wide", "Winograd", "Winograd 5x5"])
def test_the_bits_are_the_estimators_where_nothing_is_folded(name):
    layers = [layer for layer in LAYERS[name] if not isinstance(layer, BatchNorm)]
    estimator = CNNClassifier(layers=[(f"layer{i}", layer) for i, layer in enumerate(layers)], standardize=False)
    estimator.set_params(max_iter=1, random_state=0).fit(BYTES, Y)
    predictor = estimator.predictor()
    np.testing.assert_array_equal(predictor.predict_proba(BYTES), estimator.predict_proba(BYTES))
    np.testing.assert_array_equal(predictor.predict(BYTES), estimator.predict(BYTES))
    estimator.coefs_  # noqa: B018  what was read may be edited: another way through the engine, with the same bits
    np.testing.assert_array_equal(predictor.predict_proba(BYTES), estimator.predict_proba(BYTES))


@pytest.mark.parametrize(
    ("y", "options"),
    [
        (Y > 0, {}),
        (np.array(["b", "a", "c"])[Y], {}),
        (Y, {"loss": "squared_error"}),
        (Y > 0, {"loss": "squared_error"}),
        (np.stack([Y > 0, Y > 1], axis=1).astype(int), {}),
        (np.stack([Y > 0, Y > 1], axis=1).astype(int), {"loss": "squared_error"}),
        (np.zeros(90, dtype=int), {}),
        (Y, {"solver": "lbfgs", "max_iter": 3, "batch_size": "auto"}),
        (Y, {"augment": "shift"}),
    ],
)
def test_all_kinds_of_labels(y, options):
    estimator = classifier(y=y, **options)
    predictor = estimator.predictor()
    assert isinstance(predictor, ClassifierPredictor)
    np.testing.assert_array_equal(predictor.classes_, estimator.classes_)
    expected, found = estimator.predict_proba(BYTES), predictor.predict_proba(BYTES)
    assert found.shape == expected.shape == (90, predictor.n_outputs) and found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)
    out = np.full_like(found, np.nan)
    assert predictor.predict_proba(BYTES, out=out) is out
    np.testing.assert_array_equal(out, found)
    predicted = predictor.predict(BYTES)
    assert predicted.dtype == estimator.predict(BYTES).dtype and predicted.shape == np.shape(y)


@pytest.mark.parametrize("n_outputs", [None, 1, 3])
@pytest.mark.parametrize("options", [{}, {"standardize_target": False}, {"loss": "poisson"}, {"solver": "lbfgs"}])
def test_regressors(n_outputs, options):
    y = 100 + 50 * RNG.random((90,) if n_outputs is None else (90, n_outputs))
    layers = [("conv1", conv(6, "identity")), ("norm1", BatchNorm(activation="relu")), ("pool1", MaxPool(2))]
    estimator = CNNRegressor(layers=layers, max_iter=2, random_state=0, **options)
    estimator.fit(BYTES, y.ravel() if n_outputs == 1 else y)
    predictor = estimator.predictor()
    assert isinstance(predictor, RegressorPredictor) and predictor.n_outputs == estimator.n_outputs_
    expected, found = estimator.predict(BYTES), predictor.predict(BYTES)
    assert found.dtype == np.float64 and found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=2e-5)
    out = np.full_like(found, np.nan)
    assert predictor.predict(BYTES, out=out) is out
    np.testing.assert_array_equal(out, found)
    with pytest.raises(ValueError, match="out must have shape .* and dtype float64"):
        predictor.predict(BYTES, out=out.astype(np.float32))
    with pytest.raises(ValueError, match="out must have shape"):
        predictor.predict(BYTES[1:], out=out)
    with pytest.raises(TypeError, match="X must be a NumPy array, got list"):
        predictor.predict(BYTES.tolist(), out=out)


@pytest.mark.parametrize(("ndim", "layer"), [(1, Conv1DTransformer), (3, Conv3DTransformer)])
def test_signals_and_volumes(ndim, layer):
    X = RNG.normal(size=(40, *(6,) * ndim, 2)).astype(np.float32)
    layers = [("conv", layer(5, 3)), ("norm", BatchNorm(activation="relu"))]
    estimator = CNNClassifier(layers=layers, spatial_ndim=ndim, max_iter=1, random_state=0).fit(X, Y[:40])
    predictor = estimator.predictor()
    assert predictor.image_shape == X.shape[1:]
    np.testing.assert_allclose(predictor.predict_proba(X), estimator.predict_proba(X), rtol=0, atol=2e-5)


def test_shapes_and_types_of_images(fitted, tmp_path):
    predictor = fitted.predictor()
    assert (predictor.image_shape, predictor.n_features, predictor.n_outputs) == ((12, 12, 1), 144, 3)
    assert repr(predictor) == "ClassifierPredictor(image_shape=(12, 12, 1), n_outputs=3, dtype='float32')"
    expected = predictor.predict_proba(BYTES)
    np.save(tmp_path / "X.npy", BYTES)
    read_only = BYTES.astype(np.float32)
    read_only.flags.writeable = False
    for X in (
        BYTES[..., np.newaxis], BYTES.reshape(90, 144), np.load(tmp_path / "X.npy", mmap_mode="r"), read_only,
        BYTES.astype(np.float64), BYTES.reshape(90, 144).astype(np.float32),
    ):  # fmt: skip
        before = X.copy()
        np.testing.assert_array_equal(predictor.predict_proba(X), expected)
        np.testing.assert_array_equal(X, before)
    for X in (BYTES[:0], BYTES[:0].reshape(0, 144), np.empty((0, 12, 12, 1), dtype=np.float32)):
        assert predictor.predict_proba(X).shape == (0, 3) and predictor.predict(X).shape == (0,)


def misaligned(array):
    raw = np.zeros(array.nbytes + 1, dtype=np.uint8)
    view = raw[1:].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (BYTES.tolist(), TypeError, "X must be a NumPy array, got list; use numpy.asarray"),
        (None, TypeError, "got NoneType"),
        (np.ma.masked_array(BYTES), TypeError, "got MaskedArray"),
        (np.float32(3), TypeError, "got float32"),
        (np.array(3.0), ValueError, r"X must have shape \(n_samples, 12, 12, 1\) or \(n_samples, 144\), got \(\)"),
        (BYTES[:, :11], ValueError, r"got \(90, 11, 12\)"),
        (BYTES.reshape(45, 288), ValueError, r"got \(45, 288\)"),
        (BYTES[0, :, :, np.newaxis], ValueError, r"for one image use image\[numpy.newaxis\]"),
        (BYTES.astype(np.int64), ValueError, "C-contiguous array of uint8, float32 or float64, got dtype int64"),
        (BYTES.astype(np.float16)[..., np.newaxis], ValueError, "dtype float16"),
        (BYTES.astype(object), ValueError, "dtype object"),
        (BYTES.astype(complex), ValueError, "dtype complex128"),
        (BYTES.astype(">f4"), ValueError, "dtype >f4"),
        (BYTES[:, ::-1], ValueError, "X must be C-contiguous, got strides"),
        (BYTES[::2, :, :, np.newaxis], ValueError, "C-contiguous array of uint8, float32 or float64, got dtype uint8"),
        (np.asfortranarray(BYTES), ValueError, "use numpy.ascontiguousarray"),
        (misaligned(BYTES.astype(np.float32)), ValueError, "C-contiguous array"),
    ],
)
def test_other_input_is_refused(fitted, X, error, message):
    with pytest.raises(error, match=message):
        fitted.predictor().predict_proba(X)
    with pytest.raises(error, match=message):
        fitted.predictor().predict(X)


def test_out_is_checked(fitted):
    predictor, X = fitted.predictor(), BYTES.astype(np.float32)
    read_only = np.zeros((90, 3), dtype=np.float32)
    read_only.flags.writeable = False
    for out, error, message in (
        ([], TypeError, "out must be a NumPy array, got list"),
        (np.empty((89, 3), dtype=np.float32), ValueError, r"out must have shape \(90, 3\) and dtype float32"),
        (np.empty((90, 3)), ValueError, "got .* and float64"),
        (np.empty((3, 90), dtype=np.float32).T, ValueError, "C-contiguous and writable"),
        (np.empty((90, 3), dtype=">f4"), ValueError, "dtype float32"),
        (misaligned(read_only), ValueError, "C-contiguous"),
        (read_only, ValueError, "writeable=False"),
        (X.reshape(-1)[:270].reshape(90, 3), ValueError, "must not overlap X"),
    ):
        with pytest.raises(error, match=message):
            predictor.predict_proba(X, out=out)


def test_it_is_a_snapshot():
    estimator = classifier("wide")
    predictor = estimator.predictor()
    expected = predictor.predict_proba(BYTES)
    estimator.coefs_[0][...] = 0
    estimator.statistics_[0][0][...] = 5
    estimator.classes_[...] = 7
    np.testing.assert_array_equal(predictor.predict_proba(BYTES), expected)
    np.testing.assert_array_equal(predictor.classes_, [0, 1, 2])
    assert not np.array_equal(estimator.predictor().predict_proba(BYTES), expected)
    estimator.set_params(max_iter=3).fit(BYTES[::-1], Y)
    np.testing.assert_array_equal(predictor.predict_proba(BYTES), expected)
    with pytest.raises(Exception, match="not fitted"):
        CNNClassifier().predictor()
    with pytest.raises(Exception, match="not fitted"):
        CNNRegressor().predictor()


@pytest.mark.parametrize("name", LAYERS)
def test_copies_and_pickles_predict_the_same_bits(name):
    estimator = classifier(name, COLOUR)
    for predictor in (estimator.predictor(), classifier(name, COLOUR, solver="lbfgs", batch_size="auto").predictor()):
        expected = predictor.predict_proba(COLOUR)
        for other in (pickle.loads(pickle.dumps(predictor)), copy.deepcopy(predictor), copy.copy(predictor)):
            assert type(other) is type(predictor) and repr(other) == repr(predictor)
            np.testing.assert_array_equal(other.predict_proba(COLOUR), expected)
            np.testing.assert_array_equal(other.predict(COLOUR), predictor.predict(COLOUR))
    estimator = pickle.loads(pickle.dumps(estimator))
    np.testing.assert_array_equal(estimator.predictor().predict_proba(COLOUR), classifier(name, COLOUR).predictor()
                                  .predict_proba(COLOUR))  # fmt: skip


@pytest.mark.parametrize("name", ["norm", "Winograd", "Winograd 5x5", "wide", "contrast", "Gabor"])
def test_threads_and_batch_splits_do_not_change_bits(name):
    X = RNG.normal(size=(37, 24, 24, 1)).astype(np.float32)
    predictor = classifier(name, X, Y[:37]).predictor()
    results = []
    for n_threads in (1, 2, 3):
        with threadpool_limits(n_threads, user_api="openmp"):
            results.append(predictor.predict_proba(X))
            for size in (1, 2, 20) if n_threads > 1 else (7,):
                parts = [predictor.predict_proba(X[i : i + size]) for i in range(0, 37, size)]
                results.append(np.concatenate(parts))
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


def test_many_threads_use_one_predictor():
    predictor = classifier("wide").predictor()
    expected = predictor.predict_proba(BYTES)
    wrong, start = [], threading.Barrier(8)

    def work(number):
        rng = np.random.default_rng(number)
        start.wait()
        for _ in range(60):
            first, n = rng.integers(0, 60), rng.integers(0, 30)
            X = BYTES[first : first + n].astype(rng.choice(["uint8", "float32"]))
            if not np.array_equal(predictor.predict_proba(X), expected[first : first + n]):
                wrong.append((number, first, n))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_it_works_after_a_fork(fitted):
    X = np.repeat(BYTES, 40, axis=0)
    predictor = fitted.predictor()
    expected = predictor.predict_proba(X)
    child = os.fork()
    if child == 0:
        same = np.array_equal(predictor.predict_proba(X), expected)
        os._exit(0 if same else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_values_are_not_checked(fitted):
    """Not a number in, not a number out; the images beside it are as ever."""
    X = BYTES[:3, :, :, np.newaxis].astype(np.float32)
    expected = fitted.predictor().predict_proba(X)
    X[1] = np.nan
    found = fitted.predictor().predict_proba(X)
    assert np.isnan(found[1]).all()
    np.testing.assert_array_equal(found[[0, 2]], expected[[0, 2]])
    with pytest.raises(ValueError, match="NaN"):
        fitted.predict_proba(X)


def test_probabilities_are_never_zero():
    estimator = classifier("plain")
    estimator.coefs_[-1][...] *= 1e4
    for found in (estimator.predict_proba(BYTES), estimator.predictor().predict_proba(BYTES)):
        assert found.min() == np.finfo(np.float32).tiny and found.max() == 1


def test_buffers_are_kept_for_every_way_of_calling(fitted):
    network = fitted.predictor()._network
    for _ in range(2):
        for X in (BYTES, BYTES.astype(np.float32), BYTES[:1], BYTES[:1].astype(np.float32)):
            network.predict(X[..., np.newaxis])
    plans = [plan for kept in network._predictors.values() for plan in kept]
    assert plans and all(plan.is_prepared for plan in plans) and len(plans) <= 4
    for X in (BYTES, BYTES[:1]):
        network.predict(X[..., np.newaxis])
    again = [plan for kept in network._predictors.values() for plan in kept]
    assert set(map(id, again)) == set(map(id, plans))
