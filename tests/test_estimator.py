"""What CNNClassifier makes of X and y: shapes, layouts, labels; and that threads and batches change no bit."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits
from sklearn.exceptions import DataConversionWarning
from threadpoolctl import threadpool_limits

from skconv import CNNClassifier

DIGITS, LABELS = load_digits(return_X_y=True)
X, Y = DIGITS[:100], LABELS[:100]


def small(**parameters):
    defaults = dict(conv_layer_sizes=(4,), hidden_layer_sizes=(8,), max_iter=2, random_state=0)
    return CNNClassifier(**defaults | parameters)


def assert_same_weights(a, b):
    for mine, other in zip([*a.coefs_, *a.intercepts_], [*b.coefs_, *b.intercepts_], strict=True):
        np.testing.assert_array_equal(mine, other)


# ---- labels --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "labels",
    [
        np.array(["zero", "one", "two"]),
        np.array(["zero", "one", "two"], dtype=object),
        np.array([-7, 3, 1000]),
        np.array([2.0, -1.0, 4.0]),
        np.array([False, True]),
        np.array([255, 0, 7], dtype=np.uint8),
        np.array(["only"]),
        np.array([3]),
    ],
    ids=str,
)
def test_labels_of_every_kind(labels):
    y = labels[np.arange(len(X)) % len(labels)]
    classifier = small().fit(X, y)
    np.testing.assert_array_equal(classifier.classes_, np.unique(labels))
    predicted = classifier.predict(X)
    assert predicted.dtype == labels.dtype
    assert set(predicted) <= set(labels)
    assert classifier.predict_proba(X).shape == (100, len(labels))
    # The names of the classes change nothing else.
    numbers = small().fit(X, np.searchsorted(classifier.classes_, y))
    assert_same_weights(classifier, numbers)
    for given in (list(y), pd.Series(y)):
        assert_same_weights(classifier, small().fit(X, given))


def test_one_class_is_predicted_always():
    classifier = small().fit(X, np.full(100, "cat"))
    assert set(classifier.predict(-X)) == {"cat"}
    np.testing.assert_array_equal(classifier.predict_proba(X), np.ones((100, 1)))


@pytest.mark.parametrize(
    "y, message",
    [
        (None, "requires y to be passed"),
        (Y[:-1], "inconsistent numbers of samples"),
        (np.where(Y == 3, np.nan, Y), "Input y contains NaN"),
        (np.where(Y == 3, np.inf, Y), "Input y contains infinity"),
        (Y + 0.5, "Unknown label type: continuous"),
        (np.stack([Y, Y], axis=1), "must hold 0 and 1 only, a column per label"),
        ([None] * 100, "contains NaN|label type"),
        ([[1, 2], [3]] * 50, "1d array|inhomogeneous"),
    ],
)
def test_wrong_labels_raise(y, message):
    classifier = small()
    with pytest.raises(ValueError, match=message):
        classifier.fit(X, y)
    assert vars(classifier) == classifier.get_params()


def test_column_of_labels_warns():
    with pytest.warns(DataConversionWarning, match="column-vector y"):
        classifier = small().fit(X, Y[:, np.newaxis])
    assert_same_weights(classifier, small().fit(X, Y))


# ---- X -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape, parameters, image_shape",
    [
        ((1, 1), {}, (1, 1, 1)),
        ((1, 9), {}, (1, 9, 1)),
        ((9, 1), {}, (9, 1, 1)),
        ((2, 3), {}, (2, 3, 1)),
        ((5, 5), {}, (5, 5, 1)),
        ((8, 8, 3), {}, (8, 8, 3)),
        ((17, 4, 2), {}, (17, 4, 2)),
        ((1,), {}, (1, 1, 1)),
        ((7,), {}, (1, 7, 1)),
        ((16,), {}, (4, 4, 1)),
        ((192,), dict(image_shape=(8, 8, 3)), (8, 8, 3)),
        ((65,), dict(spatial_ndim=1), (65, 1)),
        ((30, 2), dict(spatial_ndim=1), (30, 2)),
        ((60,), dict(spatial_ndim=1, image_shape=(20, 3)), (20, 3)),
        ((4, 6, 5), dict(spatial_ndim=3), (4, 6, 5, 1)),
        ((4, 6, 5, 2), dict(spatial_ndim=3), (4, 6, 5, 2)),
        ((1, 1, 1), dict(spatial_ndim=3), (1, 1, 1, 1)),
        ((120,), dict(spatial_ndim=3, image_shape=(4, 6, 5)), (4, 6, 5, 1)),
    ],
    ids=str,
)
def test_images_of_every_size(shape, parameters, image_shape):
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    images = rng.normal(size=(40, *shape)) + 3 * y.reshape(-1, *[1] * len(shape))
    classifier = CNNClassifier(random_state=0, max_iter=60, dropout=0, **parameters).fit(images, y)
    assert classifier.image_shape_ == image_shape
    assert classifier.n_features_in_ == np.prod(image_shape)
    assert classifier.score(images, y) > 0.9
    # However the same samples come later.
    expected = classifier.predict_proba(images)
    np.testing.assert_array_equal(classifier.predict_proba(images.reshape(40, -1)), expected)
    np.testing.assert_array_equal(classifier.predict_proba(images.reshape(40, *image_shape)), expected)
    assert all(np.isfinite(coef).all() for coef in classifier.coefs_)


@pytest.mark.parametrize(
    "wrong, error, message",
    [
        (np.where(X == 16, np.nan, X), ValueError, "contains NaN"),
        (np.where(X == 16, np.inf, X), ValueError, "contains infinity"),
        (X * 1e38, ValueError, "too large for float32"),
        (X[:0], ValueError, "0 sample"),
        (X[:, :0], ValueError, "0 feature"),
        (X[0], ValueError, "1D array"),
        (X.astype(complex), ValueError, "Complex data not supported"),
        (X.astype(str), ValueError, "dtype"),
        (np.ma.masked_array(X), TypeError, "masked array"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_wrong_images_raise_and_the_model_stays(wrong, error, message):
    classifier = small().fit(X, Y)
    before = pickle.dumps(classifier)
    with pytest.raises(error, match=message):
        classifier.fit(wrong, Y[: len(wrong)])
    with pytest.raises(error, match=message):
        classifier.predict(wrong)
    assert pickle.dumps(classifier) == before


@pytest.mark.parametrize(
    "shape", [(100, 63), (100, 8, 9), (100, 8, 8, 2), (100, 7, 8), (100, 1, 64), (100, 4, 4, 4)], ids=str
)
def test_other_shapes_than_in_fit_raise(shape):
    classifier = small().fit(X, Y)
    with pytest.raises(ValueError, match="63 features|was fitted on images of shape|features"):
        classifier.predict(np.zeros(shape))
    with pytest.raises(ValueError):
        classifier.partial_fit(np.zeros(shape), Y)


def unaligned(array):
    raw = np.empty(array.nbytes + 1, dtype=np.uint8)[1:].view(array.dtype).reshape(array.shape)
    raw[...] = array
    assert not raw.flags.aligned
    return raw


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


LAYOUTS = {
    "fortran": np.asfortranarray,
    "negative strides": lambda a: a[::-1, ::-1].copy()[::-1, ::-1],
    "transposed": lambda a: np.ascontiguousarray(a.T).T,
    "every second": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "read-only": read_only,
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "unaligned": unaligned,
    "list": lambda a: a.tolist(),
    "objects": lambda a: a.astype(object),
    "frame": lambda a: pd.DataFrame(a),
    "images": lambda a: a.reshape(-1, 8, 8),
    "images with a channel": lambda a: a.reshape(-1, 8, 8, 1),
    "float32": lambda a: a.astype(np.float32),  # digits are small integers: nothing is rounded
    "uint8": lambda a: a.astype(np.uint8),
    "int64": lambda a: a.astype(np.int64),
    "float16": lambda a: a.astype(np.float16),
}


@pytest.fixture(scope="module")
def plain():
    return small().fit(X, Y)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_give_the_same_bits(plain, layout):
    given = LAYOUTS[layout](X)
    kept = pickle.dumps(given)
    classifier = small().fit(given, Y)
    assert_same_weights(classifier, plain)
    np.testing.assert_array_equal(classifier.predict_proba(given), plain.predict_proba(X))
    assert pickle.dumps(given) == kept


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_memmap_is_read_in_place(plain, tmp_path, dtype):
    np.save(tmp_path / "X.npy", X.astype(dtype))
    images = np.load(tmp_path / "X.npy", mmap_mode="r")
    assert_same_weights(small().fit(images, Y), plain)


def test_frames_are_named():
    frame = pd.DataFrame(X).add_prefix("pixel")
    classifier = small().fit(frame, Y)
    assert list(classifier.feature_names_in_) == list(frame.columns)
    with pytest.raises(ValueError, match="feature names"):
        classifier.predict(frame[frame.columns[::-1]])


def test_statistics_of_more_than_a_block():
    images = np.random.default_rng(0).normal(size=(80, 64, 64, 2))  # 327,680 pixels; a block is 131,072
    images += np.linspace(0, 5, 80).reshape(80, 1, 1, 1)
    images[..., 1] *= 10
    classifier = CNNClassifier((), hidden_layer_sizes=(), max_iter=1).fit(images, np.arange(80) % 2)
    np.testing.assert_allclose(classifier.input_mean_, images.mean(axis=(0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(classifier.input_scale_, 1 / images.std(axis=(0, 1, 2)), rtol=1e-6)


def test_constant_channels_are_harmless():
    images = np.zeros((100, 8, 8, 2))
    images[..., 0], images[..., 1] = X.reshape(-1, 8, 8), 1e6
    classifier = small().fit(images, Y)
    assert classifier.input_scale_[1] == 1
    np.testing.assert_allclose(classifier.input_mean_, [X.mean(), 1e6], rtol=1e-6)
    assert np.isfinite(classifier.predict_proba(images)).all()


# ---- the same bits -------------------------------------------------------------------------------------------------

TRAIN = """
import hashlib
import numpy as np
from sklearn.datasets import load_digits
from skconv import CNNClassifier, _engine

X, y = load_digits(return_X_y=True)
digest = hashlib.sha256()
# Mini-batches of 128 are worth a thread each; the second network has a wide layer, which is a stage of its own.
for parameters in (dict(conv_layer_sizes=(16, 20)), dict(conv_layer_sizes=(8,), hidden_layer_sizes=(600,))):
    classifier = CNNClassifier(**parameters, batch_size=128, max_iter=2, random_state=0).fit(X, y)
    for array in [*classifier.coefs_, *classifier.intercepts_, classifier.predict_proba(X)]:
        digest.update(np.ascontiguousarray(array).tobytes())
print(_engine.effective_n_threads(), digest.hexdigest())
"""


def test_n_threads_agnosticism_across_processes():
    results = {}
    for n_threads in (1, 2, 3, 4, 8):
        environment = os.environ | {"OMP_NUM_THREADS": str(n_threads)}
        # -I: the current folder may be the repository, whose sources are not compiled.
        command = [sys.executable, "-I", "-c", TRAIN]
        used, digest = subprocess.run(
            command, env=environment, check=True, capture_output=True, text=True
        ).stdout.split()
        results[n_threads] = digest
        assert int(used) == n_threads  # whoever sets it, gets it, whatever the machine has
    assert len(set(results.values())) == 1, results


def test_n_threads_agnosticism_within_a_process():
    models = []
    for n_threads in (2, 1):
        with threadpool_limits(n_threads, user_api="openmp"):
            models.append(small(conv_layer_sizes=(16,), batch_size=64).fit(X, Y))
    assert_same_weights(*models)


def test_batch_split_agnosticism():
    classifier = small(hidden_layer_sizes=(600,)).fit(X, Y)
    whole = classifier.predict_proba(DIGITS)
    for size in (1, 7, 64, 1000):
        step = size if size > 1 else 101
        parts = [classifier.predict_proba(DIGITS[i : i + size]) for i in range(0, len(DIGITS), step)]
        expected = np.concatenate([whole[i : i + size] for i in range(0, len(DIGITS), step)])
        np.testing.assert_array_equal(np.concatenate(parts), expected)


def test_standardisation_edited_in_place_takes_effect():
    X, y = np.random.default_rng(0).random((40, 6, 6)), np.arange(40) % 2
    classifier = CNNClassifier(max_iter=1, random_state=0).fit(X, y)
    before = classifier.predict_proba(X)
    classifier.input_scale_ *= 3
    after = classifier.predict_proba(X)
    assert not np.array_equal(before, after)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(classifier)).predict_proba(X), after)


def test_data_too_small_to_be_scaled():
    """Deviations whose reciprocal float32 cannot hold are those of a constant channel."""
    X, y = np.random.default_rng(0).random((40, 6, 6)) * 1e-40, np.arange(40) % 2
    classifier = CNNClassifier(max_iter=1, random_state=0).fit(X, y)
    assert classifier.input_scale_ == 1
    assert np.isfinite(classifier.predict_proba(X)).all()
