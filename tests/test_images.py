"""The door for X: what it lets in, in which form, and what it says to everything else."""

import decimal
import fractions
import pickle
import tracemalloc
import warnings

import numpy as np
import pytest
import scipy.sparse
import sklearn
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.estimator_checks import estimator_checks_generator
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d

from skconv._images import check_images, read_images, remember_images, resolve_image_shape


class Plain(BaseEstimator):
    """An estimator that does nothing but remember what it was shown."""


class MajorityClassifier(ClassifierMixin, BaseEstimator):
    """Predicts the most frequent class: the least that can be asked about X, and all of scikit-learn's checks."""

    def __init__(self, image_shape=None):
        self.image_shape = image_shape

    def fit(self, X, y):
        if y is None:
            raise ValueError("MajorityClassifier requires y to be passed, but the target y is None")
        images = check_images(self, X, reset=True, image_shape=self.image_shape)
        y = column_or_1d(y, warn=True)
        if y.dtype.kind == "f" and not np.isfinite(y).all():
            raise ValueError("Input y contains NaN or infinity")
        check_classification_targets(y)
        check_consistent_length(images, y)
        self.classes_, counts = np.unique(y, return_counts=True)
        self.majority_ = self.classes_[np.argmax(counts)]
        return self

    def predict(self, X):
        check_is_fitted(self)
        return np.repeat(self.majority_, len(check_images(self, X, reset=False)))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.poor_score = True
        return tags


@pytest.mark.parametrize(
    "estimator, check",
    # A list, because parametrize_with_checks of scikit-learn 1.6 hands pytest a generator, which pytest 9 warns about.
    list(estimator_checks_generator(MajorityClassifier())),
    ids=lambda value: getattr(getattr(value, "func", value), "__name__", ""),
)
def test_check_estimator(estimator, check):
    check(estimator)


def images_of(X, **options):
    return check_images(Plain(), X, reset=True, **options)


SHAPES = [
    # X_shape, image_shape, spatial_ndim, understood
    ((5, 8, 9), None, 2, (8, 9, 1)),
    ((5, 8, 9, 3), None, 2, (8, 9, 3)),
    ((5, 8, 9), (8, 9), 2, (8, 9, 1)),
    ((5, 8, 9), (8, 9, 1), 2, (8, 9, 1)),
    ((5, 8, 9, 3), [8, 9, 3], 2, (8, 9, 3)),
    ((5, 1, 1), None, 2, (1, 1, 1)),
    ((5, 72), (8, 9), 2, (8, 9, 1)),
    ((5, 216), (8, 9, 3), 2, (8, 9, 3)),
    ((5, 64), (1, 64), 2, (1, 64, 1)),
    ((5, 64), (np.int64(4), np.array(16)), 2, (4, 16, 1)),
    ((5, 1), None, 2, (1, 1, 1)),
    ((5, 4), None, 2, (2, 2, 1)),
    ((5, 64), None, 2, (8, 8, 1)),
    ((5, 784), None, 2, (28, 28, 1)),
    ((5, 2), None, 2, (1, 2, 1)),
    ((5, 63), None, 2, (1, 63, 1)),
    ((5, 64), None, 1, (64, 1)),
    ((5, 1000), None, 1, (1000, 1)),
    ((5, 1000, 2), None, 1, (1000, 2)),
    ((5, 100), 100, 1, (100, 1)),
    ((5, 100), (50, 2), 1, (50, 2)),
    ((5, 1), None, 3, (1, 1, 1, 1)),
    ((5, 27), None, 3, (3, 3, 3, 1)),
    ((5, 4096), None, 3, (16, 16, 16, 1)),
    ((5, 36), None, 3, (1, 1, 36, 1)),
    ((5, 4, 6, 7), None, 3, (4, 6, 7, 1)),
    ((5, 4, 6, 7, 2), None, 3, (4, 6, 7, 2)),
    ((5, 336), (4, 6, 7, 2), 3, (4, 6, 7, 2)),
    ((5, 168), (4, 6, 7), 3, (4, 6, 7, 1)),
]


@pytest.mark.parametrize("X_shape, image_shape, spatial_ndim, understood", SHAPES)
def test_shapes(X_shape, image_shape, spatial_ndim, understood):
    assert resolve_image_shape(X_shape, image_shape, spatial_ndim) == understood
    X = np.arange(np.prod(X_shape), dtype=np.float32).reshape(X_shape)
    estimator = Plain()
    images = check_images(estimator, X, reset=True, image_shape=image_shape, spatial_ndim=spatial_ndim)
    assert images.shape == (5, *understood)
    assert estimator.image_shape_ == understood
    assert estimator.n_features_in_ == np.prod(understood)
    # Whatever was seen in fit, the same samples pass later as images and flat, and no parameter is needed for it.
    for later in (images, X.reshape(5, -1)):
        np.testing.assert_array_equal(check_images(estimator, later, reset=False, spatial_ndim=spatial_ndim), images)


@pytest.mark.parametrize(
    "X_shape, image_shape, spatial_ndim, message",
    [
        ((5, 3072), None, 2, "for example image_shape=(32, 32, 3)"),
        ((5, 65), None, 2, "image_shape=(1, 65) for signals"),
        ((5, 65), None, 3, "image_shape=(depth, height, width)"),
        ((5, 64), None, 4, "spatial_ndim must be at least 1 and at most 3, got 4"),
        ((5, 63), (8, 8), 2, "image_shape=(8, 8) means 64 features per sample (8 x 8 x 1), but X has 63"),
        ((5, 63), (2**62, 2**62), 2, "but X has 63"),
        ((5, 8, 9), (9, 8), 2, "image_shape=(9, 8) means (9, 8, 1), but X holds images of shape (8, 9, 1)"),
        ((5, 8, 9, 3), (8, 9), 2, "use image_shape=(8, 9, 3)"),
        ((5, 3, 8, 9), (8, 9, 3), 2, "X holds images of shape (3, 8, 9) (channels last)"),
        ((5, 8, 8, 8, 1), None, 2, "X has 5 dimensions (shape=(5, 8, 8, 8, 1)), expected (n_samples, height, width)"),
        (
            (5, 8, 8),
            None,
            3,
            "expected (n_samples, depth, height, width), (n_samples, depth, height, width, n_channels)",
        ),
        ((5, 8, 8, 8), None, 1, "expected (n_samples, length), (n_samples, length, n_channels) or flat"),
        ((5, 8, 8, 0), None, 2, "X holds empty images of shape (8, 8, 0)"),
        ((5, 0, 8), None, 2, "X holds empty images of shape (0, 8, 1)"),
        ((5, 64), (0, 8), 2, "image_shape[0] must be at least 1, got 0"),
        ((5, 64), (8, -8), 2, "image_shape[1] must be at least 1, got -8"),
        ((5, 64), (64,), 2, "image_shape must be (height, width) or (height, width, n_channels), got (64,)"),
        ((5, 64), (8, 8, 1, 1), 2, "image_shape must be (height, width) or (height, width, n_channels)"),
        ((5, 64), (8, 8, 1), 1, "image_shape must be (length,) or (length, n_channels), got (8, 8, 1)"),
        ((5, 64), 0, 1, "image_shape must be at least 1, got 0"),
    ],
)
def test_shapes_value_errors(X_shape, image_shape, spatial_ndim, message):
    with pytest.raises(ValueError) as error:
        resolve_image_shape(X_shape, image_shape, spatial_ndim)
    assert message in str(error.value)
    with pytest.raises(ValueError) as error:
        images_of(np.zeros(X_shape), image_shape=image_shape, spatial_ndim=spatial_ndim)
    assert message in str(error.value)


@pytest.mark.parametrize("image_shape", [64, "88", 8.0, (8, 8.0), (8, True), {8}, (8, "8"), ((8,), 8)])
def test_image_shape_type_errors(image_shape):
    with pytest.raises(TypeError, match="image_shape"):
        resolve_image_shape((5, 64), image_shape, 2)


@pytest.mark.parametrize(
    "dtype, expected",
    [
        ("uint8", "uint8"),
        ("float32", "float32"),
        ("float64", "float64"),
        ("bool", "float32"),
        ("int8", "float32"),
        ("uint16", "float32"),
        ("int32", "float32"),
        ("int64", "float32"),
        ("uint64", "float32"),
        ("float16", "float32"),
        ("longdouble", "float64"),
        (">f4", "float32"),
        (">f8", "float64"),
        (">i2", "float32"),
        ("object", "float64"),
    ],
)
def test_dtypes(dtype, expected):
    X = np.array([[0, 1, 1, 0], [1, 0, 1, 1]]).astype(dtype)
    images = images_of(X)
    assert images.dtype == expected and images.dtype.isnative
    np.testing.assert_array_equal(images.reshape(2, 4), np.array([[0, 1, 1, 0], [1, 0, 1, 1]]))


@pytest.mark.parametrize(
    "dtypes, given, expected",
    [
        (("float32",), "uint8", "float32"),
        (("float32",), "float64", "float32"),
        (("float32", "float64"), "uint8", "float32"),
        (("float32", "float64"), "longdouble", "float64"),
        (("float64",), "float32", "float64"),
        (("float64",), "int8", "float64"),
    ],
)
def test_dtypes_that_are_not_accepted_are_converted(dtypes, given, expected):
    assert images_of(np.ones((2, 4), dtype=given), dtypes=dtypes).dtype == expected


def test_large_integers_are_rounded():
    np.testing.assert_array_equal(images_of(np.array([[2**24 + 1, 2**62 + 1]])).ravel(), [2.0**24, 2.0**62])


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("shape", [(6, 16), (6, 4, 4), (6, 4, 4, 3)])
def test_contiguous_arrays_are_not_copied(dtype, shape):
    X = np.ones(shape, dtype=dtype)
    assert np.shares_memory(images_of(X), X)
    assert np.shares_memory(images_of(X[2:5]), X)


def unaligned(X):
    buffer = np.zeros(X.nbytes + 1, dtype=np.uint8)
    copy = buffer[1:].view(X.dtype).reshape(X.shape)
    copy[...] = X
    assert not copy.flags.aligned
    return copy


def read_only(X):
    X = X.copy()
    X.flags.writeable = False
    return X


LAYOUTS = {
    "fortran": np.asfortranarray,
    "negative strides": lambda X: X[::-1, ::-1, ::-1].copy()[::-1, ::-1, ::-1],
    "transposed": lambda X: X.transpose(0, 2, 1, 3).copy().transpose(0, 2, 1, 3),
    "every second": lambda X: np.repeat(X, 2, axis=2)[:, :, ::2],
    "big endian": lambda X: X.astype(X.dtype.newbyteorder(">")),
    "unaligned": unaligned,
    "read only": read_only,
    "list": lambda X: X.tolist(),
    "tuple of arrays": tuple,
    "nested lists of arrays": lambda X: [list(image) for image in X],
    "object": lambda X: X.astype(object),
    "subclass": lambda X: X.view(type("Subclass", (np.ndarray,), {})),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_give_the_bits_of_the_contiguous_copy(layout):
    X = np.random.default_rng(0).normal(size=(5, 4, 6, 3))
    original = LAYOUTS[layout](X)
    before = pickle.dumps(original) if isinstance(original, list) else np.array(original)
    images = images_of(original)
    assert type(images) is np.ndarray
    assert images.flags.c_contiguous and images.flags.aligned and images.dtype.isnative
    assert images.tobytes() == X.tobytes()
    if not isinstance(original, list):
        np.testing.assert_array_equal(np.array(original), before)


def test_broadcast_arrays_are_expanded():
    images = images_of(np.broadcast_to(np.float32(3), (2, 4, 4)))
    np.testing.assert_array_equal(images, np.full((2, 4, 4, 1), 3))
    assert images.strides == (64, 16, 4, 4)


def test_axes_of_size_one_get_ordinary_strides():
    X = np.lib.stride_tricks.as_strided(np.arange(3.0), (1, 1, 3), (10**15, -77 * 8, 8))
    images = images_of(X)
    assert images.strides == (24, 24, 8, 8)
    np.testing.assert_array_equal(images.ravel(), [0, 1, 2])


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_memmap_is_neither_copied_nor_read_into_memory(tmp_path, dtype):
    X = np.memmap(tmp_path / "images", dtype=dtype, mode="w+", shape=(2000, 32, 32, 3))
    X[:] = 1
    X.flush()
    X = np.memmap(tmp_path / "images", dtype=dtype, mode="r", shape=(2000, 32, 32, 3))
    tracemalloc.start()
    try:
        images = images_of(X)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert np.shares_memory(images, X) and images.dtype == dtype
    assert peak < 2**20 < X.nbytes


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble", "object"])
@pytest.mark.parametrize("value, word", [(np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "infinity")])
@pytest.mark.parametrize("position", [0, 99_999, 279_999])
def test_not_finite_is_an_error_wherever_it_is(dtype, value, word, position):
    if dtype == "object" and position:
        pytest.skip("objects become float64, whose positions are tried")
    X = np.zeros((70, 4000), dtype=dtype)
    X.flat[position] = value
    with pytest.raises(ValueError, match=f"Input X contains {word}.*first in sample {position // 4000}"):
        images_of(X, image_shape=(40, 100))


@pytest.mark.parametrize("value", [1e39, -1e39, np.finfo(np.float64).max])
@pytest.mark.parametrize("dtypes", [("float32", "float64"), ("float32",)])
def test_too_large_for_float32_is_an_error(value, dtypes):
    with pytest.raises(ValueError, match="too large for float32"):
        images_of(np.array([[0, 1, 2, value]]), dtypes=dtypes)


def test_too_large_for_float64_is_an_error():
    for X in ([[10**400, 1]], np.array([[10**400, 1]], dtype=object), [[decimal.Decimal("1e400"), 1]]):
        with pytest.raises(ValueError, match="too large"):
            images_of(X)
    if np.finfo(np.longdouble).max > np.finfo(np.float64).max:
        with pytest.raises(ValueError, match="too large"):
            images_of(np.array([[np.longdouble("1e400"), 1]]))


def test_extreme_finite_values_pass():
    limit = np.finfo(np.float32)
    X = np.array([[limit.max, -limit.max], [limit.smallest_subnormal, -0.0]], dtype=np.float64)
    assert images_of(X).tobytes() == X.tobytes()
    assert images_of(X.astype(np.float32)).tobytes() == X.astype(np.float32).tobytes()


def test_finite_check_can_be_switched_off():
    X = np.array([[np.nan, np.inf, -np.inf, 1e39]])
    np.testing.assert_array_equal(images_of(X, ensure_finite=False).ravel(), X.ravel())
    with sklearn.config_context(assume_finite=True):
        np.testing.assert_array_equal(images_of(X).ravel(), X.ravel())


def test_objects_that_are_numbers_are_converted():
    X = np.array([[decimal.Decimal(2), fractions.Fraction(1, 2), True, np.float32(3)]], dtype=object)
    np.testing.assert_array_equal(images_of(X).ravel(), [2, 0.5, 1, 3])
    np.testing.assert_array_equal(images_of([[2**70, 1]]).ravel(), [2.0**70, 1])


@pytest.mark.parametrize(
    "X, message",
    [
        (None, "Expected 2D array, got scalar array instead"),
        (3, "Reshape your data"),
        ({"a": 1}, "Reshape your data"),
        ((i for i in range(3)), "Reshape your data"),
        (np.zeros(4), "Expected 2D array, got 1D array instead"),
        ([1, 2], "Reshape your data"),
        ([], "Reshape your data"),
        (np.empty((0, 4)), r"Found array with 0 sample\(s\) \(shape=\(0, 4\)\) while a minimum of 1 is required by"),
        (np.empty((0, 4, 4)), r"Found array with 0 sample\(s\) \(shape=\(0, 4, 4\)\)"),
        (
            np.empty((4, 0)),
            r"Found array with 0 feature\(s\) \(shape=\(4, 0\)\) while a minimum of 1 is required by Plain",
        ),
        ([[1, 2], [3]], "X is ragged"),
        (np.array([[[1], [1, 2]], [3, 4]], dtype=object), "X holds objects that are no numbers"),
        ("text", "X has dtype <U4"),
        ([["1", "2"]], "X has dtype <U1, but images must be numbers"),
        ([[b"1", b"2"]], "images must be numbers"),
        (np.array([["1", 2]], dtype=object), "X holds text"),
        (np.array([["2020-01-01"]], dtype="datetime64[D]"), "images must be numbers"),
        (np.array([[1]], dtype="timedelta64[s]"), "images must be numbers"),
        (np.array([[np.datetime64("2020-01-01"), 1]], dtype=object), "dates or durations"),
        (np.zeros((2, 2), dtype=[("a", "f4")]), "images must be numbers"),
        (np.array([[None, 1]], dtype=object), "NaN"),
        (np.zeros((2, 2), dtype=complex), "Complex data not supported"),
        ([[1j, 2]], "Complex data not supported"),
        (np.array([[1j, 2]], dtype=object), "Complex data not supported"),
    ],
)
def test_value_errors(X, message):
    estimator = Plain()
    with pytest.raises(ValueError, match=message):
        check_images(estimator, X, reset=True)
    assert vars(estimator) == {}


@pytest.mark.parametrize(
    "X, message",
    [
        (scipy.sparse.csr_matrix(np.eye(4)), r"Sparse data .* use X.toarray\(\)"),
        (scipy.sparse.coo_array(np.eye(4)), "dense images are required"),
        (np.ma.masked_equal(np.eye(4), 0), r"masked array.* use X.filled"),
        (np.eye(4).view(np.matrix), "np.matrix is not supported"),
        (np.array([[{}, 1]], dtype=object), "argument must be a string or a real number"),
    ],
)
def test_type_errors(X, message):
    estimator = Plain()
    with pytest.raises(TypeError, match=message):
        check_images(estimator, X, reset=True)
    assert vars(estimator) == {}


class OnlyArray:
    """Nothing but ``__array__``: neither shape nor length."""

    def __init__(self, data):
        self.data = data

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.data, dtype=dtype)


def test_objects_with_nothing_but_array_are_accepted():
    X = np.arange(32.0).reshape(2, 4, 4)
    estimator = Plain()
    np.testing.assert_array_equal(check_images(estimator, OnlyArray(X), reset=True)[..., 0], X)
    assert estimator.n_features_in_ == 16
    np.testing.assert_array_equal(check_images(estimator, OnlyArray(X.reshape(2, 16)), reset=False)[..., 0], X)


@pytest.mark.parametrize(
    "X, message",
    [
        (np.zeros((2, 9)), "X has 9 features, but Plain is expecting 16 features as input"),
        (np.zeros((2, 1)), "X has 1 features, but Plain is expecting 16 features as input"),
        (np.zeros((2, 4, 5)), r"images of shape \(4, 5, 1\).*but Plain was fitted on images of shape \(4, 4, 1\)"),
        (np.zeros((2, 4, 8)), r"images of shape \(4, 8, 1\)"),
        (np.zeros((2, 2, 8)), r"images of shape \(2, 8, 1\)"),
        (np.zeros((2, 4, 4, 3)), r"images of shape \(4, 4, 3\)"),
        (np.zeros((2, 1, 4, 4)), r"images of shape \(1, 4, 4\) \(channels last\)"),
        (np.zeros((2, 4, 4, 1, 1)), "X has 5 dimensions"),
        (np.zeros((0, 16)), "0 sample"),
        (np.full((2, 16), np.nan), "NaN"),
    ],
)
def test_other_shapes_than_in_fit_are_errors(X, message):
    estimator = Plain()
    check_images(estimator, np.zeros((3, 4, 4)), reset=True)
    state = dict(vars(estimator))
    with pytest.raises(ValueError, match=message):
        check_images(estimator, X, reset=False)
    assert vars(estimator) == state


def test_failed_fit_leaves_the_estimator_as_it_was():
    estimator = Plain()
    check_images(estimator, np.zeros((3, 4, 4)), reset=True)
    state = dict(vars(estimator))
    assert state == {"n_features_in_": 16, "image_shape_": (4, 4, 1)}
    for wrong in (np.full((3, 5, 5), np.nan), np.zeros((3, 5, 0)), np.zeros((3, 5), dtype=complex), [["a"]]):
        with pytest.raises(ValueError):
            check_images(estimator, wrong, reset=True)
        assert vars(estimator) == state
    check_images(estimator, np.zeros((3, 5, 6, 2)), reset=True)
    assert vars(estimator) == {"n_features_in_": 60, "image_shape_": (5, 6, 2)}


def test_reading_and_remembering_are_two_steps():
    estimator = Plain()
    X = np.zeros((3, 16))
    options = dict(image_shape=None, spatial_ndim=2, dtypes=("float32", "float64"), ensure_finite=True)
    images = read_images(estimator, X, reset=True, **options)
    assert vars(estimator) == {}
    remember_images(estimator, X, images)
    assert vars(estimator) == {"n_features_in_": 16, "image_shape_": (4, 4, 1)}


@pytest.fixture(params=["pandas", "polars", "pyarrow"])
def frame(request):
    """Return a function that makes a frame of named columns."""
    library = pytest.importorskip(request.param)
    return library.table if request.param == "pyarrow" else library.DataFrame


def columns_of(values):
    return {f"pixel{i}": column for i, column in enumerate(np.asarray(values, dtype=float).T.copy())}


def test_frames_give_feature_names(frame):
    values = np.arange(12.0).reshape(3, 4)
    estimator = Plain()
    images = check_images(estimator, frame(columns_of(values)), reset=True)
    np.testing.assert_array_equal(images.reshape(3, 4), values)
    assert list(estimator.feature_names_in_) == ["pixel0", "pixel1", "pixel2", "pixel3"]
    assert (estimator.n_features_in_, estimator.image_shape_) == (4, (2, 2, 1))
    check_images(estimator, frame(columns_of(values)), reset=False)
    with pytest.warns(UserWarning, match="X does not have valid feature names, but Plain was fitted"):
        check_images(estimator, images, reset=False)
    renamed = {name.replace("0", "9"): column for name, column in columns_of(values).items()}
    with pytest.raises(ValueError, match="The feature names should match"):
        check_images(estimator, frame(renamed), reset=False)
    check_images(estimator, values, reset=True)
    assert not hasattr(estimator, "feature_names_in_")
    with pytest.warns(UserWarning, match="X has feature names, but Plain was fitted without"):
        check_images(estimator, frame(columns_of(values)), reset=False)


def test_frames_with_nan_or_text_are_errors(frame):
    estimator = Plain()
    with pytest.raises(ValueError, match="NaN"):
        check_images(estimator, frame(columns_of([[1, np.nan]])), reset=True)
    with pytest.raises(ValueError, match="numbers"):
        check_images(estimator, frame({"a": ["1", "2"], "b": ["x", "y"]}), reset=True)
    assert vars(estimator) == {}


def test_pandas_nullable_and_mixed_names():
    pandas = pytest.importorskip("pandas")
    estimator = Plain()
    X = pandas.DataFrame({"a": pandas.array([1, 2], dtype="Int64"), "b": pandas.array([3, 4], dtype="Float32")})
    np.testing.assert_array_equal(check_images(estimator, X, reset=True).reshape(2, 2), [[1, 3], [2, 4]])
    state = dict(vars(estimator))
    with pytest.raises(ValueError, match="NaN"):
        check_images(estimator, X.assign(a=pandas.array([1, None], dtype="Int64")), reset=True)
    with pytest.raises(TypeError, match="Feature names are only supported"):
        check_images(estimator, pandas.DataFrame({"a": [1.0], 2: [2.0], "c": [3.0]}), reset=True)
    with pytest.raises(ValueError, match=r"Reshape your data|2-dimensional container"):
        check_images(estimator, X["a"], reset=True)
    assert vars(estimator) == state


def test_nothing_is_warned_about():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for X in (
            np.ones((2, 4), np.longdouble),
            np.ones((2, 4), np.float16),
            [[1, 2, 3, 4]],
            np.ones((2, 2, 2), bool),
        ):
            images_of(X)


def test_one_photograph_warns():
    """The likeliest mistake of all: its lines would be taken for images."""
    with pytest.warns(UserWarning, match=r"read as 60 gray images of 80x3 pixels; one image with 3 channels is"):
        assert images_of(np.ones((60, 80, 3))).shape == (60, 80, 3, 1)
    assert images_of(np.ones((60, 80, 3)), image_shape=(80, 3)).shape == (60, 80, 3, 1)
    assert images_of(np.ones((1, 60, 80, 3))).shape == (1, 60, 80, 3)
