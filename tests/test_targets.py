"""From y to what the engine is trained towards, and from outputs back to answers."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from scipy.special import expit, softmax
from sklearn.exceptions import DataConversionWarning

import reference_losses
from skconv._targets import (
    Labels,
    MultiLabels,
    Numbers,
    check_counts,
    check_sample_weight,
    numbers_of,
    read_labels,
    read_numbers,
)

OUTPUTS = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)


# ---- weights -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given, expected",
    [
        ([1, 2, 0], [1, 2, 0]),
        (np.array([1, 2, 0], dtype=np.uint8), [1, 2, 0]),
        (pd.Series([0.5, 2, 0], index=[7, 8, 9]), [0.5, 2, 0]),
        (2, [2, 2, 2]),
        (np.float32(0.5), [0.5, 0.5, 0.5]),
        ([True, False, True], [1, 0, 1]),
    ],
    ids=str,
)
def test_weights_of_every_kind(given, expected):
    weights = check_sample_weight(given, 3)
    assert weights.dtype == np.float64
    np.testing.assert_array_equal(weights, expected)
    assert check_sample_weight(None, 3) is None


@pytest.mark.parametrize(
    "given, message",
    [
        ([1, 2], r"of shape \(3,\), got shape \(2,\)"),
        ([[1, 2, 3]], r"of shape \(3,\), got shape \(1, 3\)"),
        ([1, -2, 3], "Negative values in data passed to weights: -2"),
        ([1, 1e300, 3], "weights must be at most 1e.290, so that sums are finite, got 1e.300"),
        ([0, 0, 0], "at least one non-zero number"),
        (0, "at least one non-zero number"),
        (-1, "Negative values"),
        (math.nan, "weights contains NaN"),
        ([1, math.inf, 1], "weights contains infinity"),
        (["a", "b", "c"], "could not convert"),
    ],
    ids=str,
)
def test_wrong_weights_raise(given, message):
    with pytest.raises(ValueError, match=message):
        check_sample_weight(given, 3, "weights")


# ---- labels --------------------------------------------------------------------------------------------------------


def test_labels_are_read():
    np.testing.assert_array_equal(read_labels(["b", "a"], 2, "It"), ["b", "a"])
    np.testing.assert_array_equal(read_labels(pd.Series(["b", "a"], index=[5, 3]), 2, "It"), ["b", "a"])
    with pytest.warns(DataConversionWarning):
        np.testing.assert_array_equal(read_labels([[3], [4]], 2, "It"), [3, 4])
    matrix = np.array([[0, 1, 1], [1, 0, 0]])
    for given in (
        matrix,
        matrix.astype(bool),
        matrix.astype(float),
        csr_array(matrix),
        pd.DataFrame(matrix),
        pd.DataFrame(matrix).astype("Int64"),
        pd.DataFrame(matrix).astype("boolean"),
        pd.DataFrame({"a": [0, 1], "b": [True, False], "c": [1.0, 0.0]}),
        matrix.T.copy().T,
    ):
        found = read_labels(given, 2, "It")
        np.testing.assert_array_equal(found, matrix)
        assert found.flags.c_contiguous


@pytest.mark.parametrize(
    "y, message",
    [
        (None, "This It estimator requires y to be passed"),
        ([1, 2, 3], "inconsistent numbers of samples"),
        (3, "1d array"),
        ([[0, 1], [2, 1]], "must hold 0 and 1 only"),
        # Two values, but not those: scikit-learn calls it an indicator all the same.
        ([[1, 2], [2, 1]], "must hold 0 and 1 only"),
        ([[-1, 1], [1, 1]], "must hold 0 and 1 only"),
        ([[0.5, 1], [1, 0]], "must hold 0 and 1 only"),
        ([[math.nan, 1], [1, 0]], "NaN"),
        ([["a", "b"], ["b", "a"]], "1d array"),
        ([0.5, 1.5], "Unknown label type: continuous"),
        (np.zeros((2, 2, 2)), "1d array|dim 3"),
    ],
    ids=str,
)
def test_wrong_labels_raise(y, message):
    with pytest.raises(ValueError, match=message):
        read_labels(y, 2, "It")


def test_codec_of_labels():
    codec = Labels(np.array(["a", "b", "c"]))
    assert codec.n_outputs == 3 and codec.out_activation == "softmax" and codec.output_activation == "identity"
    numbers = codec.encode(np.array(["c", "a"]), np.float32)
    assert numbers.dtype == np.int32
    np.testing.assert_array_equal(numbers, [2, 0])
    np.testing.assert_array_equal(codec.decode(OUTPUTS), codec.classes[OUTPUTS.argmax(axis=1)])
    np.testing.assert_array_equal(codec.decide(OUTPUTS), OUTPUTS)
    np.testing.assert_allclose(codec.probabilities(OUTPUTS), softmax(OUTPUTS, axis=1), rtol=1e-6)
    np.testing.assert_allclose(codec.log_probabilities(OUTPUTS), np.log(softmax(OUTPUTS, axis=1)), rtol=1e-5)
    two = Labels(np.array([3, 5]))
    np.testing.assert_array_equal(two.decide(OUTPUTS[:, :2]), OUTPUTS[:, 1] - OUTPUTS[:, 0])
    with pytest.raises(ValueError, match=r"y_val has labels that are not in classes: \['d'\]"):
        codec.encode(np.array(["a", "d"]), np.float32, "y_val")


def test_codec_of_labels_by_squared_error():
    codec = Labels(np.array([3, 5, 7]), "squared_error")
    assert codec.out_activation == codec.output_activation == "tanh"
    targets = codec.encode(np.array([7, 3]), np.float32)
    assert targets.dtype == np.float32
    np.testing.assert_array_equal(targets, [[-1, -1, 1], [1, -1, -1]])
    outputs = np.tanh(OUTPUTS)
    probabilities = codec.probabilities(outputs)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(probabilities.argmax(axis=1), outputs.argmax(axis=1))
    np.testing.assert_allclose(codec.log_probabilities(outputs), np.log(probabilities))
    # Every output at its lowest: no class is likelier than another, and nothing is divided by zero.
    lowest = np.full((1, 3), -1, dtype=np.float32)
    np.testing.assert_allclose(codec.probabilities(lowest), 1 / 3, rtol=1e-6)
    assert np.isfinite(codec.log_probabilities(np.array([[1, -1, -1]], dtype=np.float32))).all()


def test_codec_of_several_labels():
    y = np.array([[0, 1, 1], [1, 0, 0]])
    codec = MultiLabels(np.arange(3))
    assert codec.out_activation == "logistic" and codec.loss.name == "binary_log_loss" and codec.n_outputs == 3
    targets = codec.encode(y, np.float64)
    assert targets.dtype == np.float64 and targets.flags.c_contiguous
    np.testing.assert_array_equal(targets, y)
    np.testing.assert_allclose(codec.probabilities(OUTPUTS), expit(OUTPUTS), rtol=1e-6)
    np.testing.assert_allclose(codec.log_probabilities(OUTPUTS), np.log(expit(OUTPUTS)), rtol=1e-5)
    np.testing.assert_array_equal(codec.decode(OUTPUTS), codec.probabilities(OUTPUTS) > 0.5)
    assert np.isfinite(codec.log_probabilities(np.array([[-1000.0, 1000.0]]))).all()
    squared = MultiLabels(np.arange(3), "squared_error")
    assert squared.out_activation == squared.output_activation == "tanh"
    np.testing.assert_array_equal(squared.encode(y, np.float32), 2 * y - 1)
    np.testing.assert_array_equal(squared.decode(np.array([[-0.5, 0.5, 0.9]])), [[0, 1, 1]])
    np.testing.assert_allclose(squared.probabilities(np.array([[-0.5, 0.5, 1.0]])), [[0.25, 0.75, 1]])
    np.testing.assert_allclose(squared.log_probabilities(np.array([[-1.0, 1.0]])), [[-np.inf, 0]])
    with pytest.raises(ValueError, match="y_val must have a column per label, 3 as in the first fit"):
        codec.encode(y[:, :2], np.float32, "y_val")


# ---- numbers -------------------------------------------------------------------------------------------------------


def test_numbers_are_read():
    for given in ([1, 2], np.array([1, 2], dtype=np.uint8), pd.Series([1, 2], index=[4, 2]), [True, 2]):
        found = read_numbers(given, 2, "It")
        assert found.dtype == np.float64
        np.testing.assert_array_equal(found, [1, 2])
    with pytest.warns(DataConversionWarning):
        assert read_numbers([[1], [2]], 2, "It").shape == (2,)
    assert read_numbers(pd.DataFrame({"a": [1, 2], "b": [3.5, 4]}), 2, "It").shape == (2, 2)


@pytest.mark.parametrize(
    "y, message",
    [
        (None, "This It estimator requires y to be passed"),
        ([1, 2, 3], "inconsistent numbers of samples"),
        ([1, math.nan], "y_val contains NaN"),
        ([1, math.inf], "y_val contains infinity"),
        (["a", "b"], "convert|numbers|numeric"),
        ([1j, 2], "[Cc]omplex"),
        (np.zeros((2, 2, 2)), "dim 3"),
        (np.array(["2020-01-01", "2020-01-02"], dtype="datetime64[D]"), "must hold numbers"),
    ],
    ids=str,
)
def test_wrong_numbers_raise(y, message):
    with pytest.raises(ValueError, match=message):
        read_numbers(y, 2, "It", "y_val")


def test_numbers_are_standardised_by_weights():
    rng = np.random.default_rng(0)
    y, counts = 100 + 5 * rng.standard_normal((50, 2)), rng.integers(0, 4, 50)
    repeated = np.repeat(y, counts, axis=0)
    codec = numbers_of(y, np.arange(50), counts, standardize=True, loss="squared_error", delta=1.0)
    np.testing.assert_allclose(codec.mean, repeated.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(codec.scale, repeated.std(axis=0), rtol=1e-12)
    targets = codec.encode(repeated, np.float64)
    np.testing.assert_allclose(targets.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(targets.std(axis=0), 1, rtol=1e-12)
    np.testing.assert_allclose(codec.decode(targets), repeated, rtol=1e-12)
    # By the samples that are trained on, not those held out.
    part = numbers_of(y, np.arange(10), None, standardize=True, loss="squared_error", delta=1.0)
    np.testing.assert_allclose(part.mean, y[:10].mean(axis=0), rtol=1e-13)
    plain = numbers_of(y, np.arange(50), None, standardize=False, loss="squared_error", delta=1.0)
    assert plain.mean is None and plain.scale is None
    np.testing.assert_array_equal(plain.encode(y, np.float64), y)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e9, -1e-300])
def test_constant_numbers_have_no_scale(value):
    codec = numbers_of(np.full(7, value), np.arange(7), None, standardize=True, loss="squared_error", delta=1.0)
    assert codec.scale == 1 and codec.is_vector
    np.testing.assert_allclose(codec.encode(np.full(7, value), np.float32), 0, atol=1e-6)


def test_numbers_of_poisson_are_counts_in_their_mean():
    y = np.array([0.0, 2.0, 4.0])
    codec = numbers_of(y, np.arange(3), None, standardize=True, loss="poisson", delta=1.0)
    assert codec.mean == 0 and codec.scale == 2 and codec.out_activation == "exp"
    np.testing.assert_array_equal(codec.encode(y, np.float64)[:, 0], [0, 1, 2])
    np.testing.assert_allclose(codec.decode(np.log([[0.5], [1.0]])), [1, 2])
    for wrong in ([-1, 2], [0, 0]):
        with pytest.raises(ValueError, match="loss='poisson' needs non-negative values of y with a positive sum"):
            check_counts(np.array(wrong), "y", some=True)
    # A part of the data may have no event; the mean is known.
    np.testing.assert_array_equal(codec.encode(np.zeros(3), np.float64), 0)
    with pytest.raises(ValueError, match="non-negative values of y_val"):
        codec.encode(np.array([-1.0]), np.float64, "y_val")


def test_numbers_that_fit_no_float32():
    codec = Numbers(None, None, True, 1)
    codec.encode(np.array([1e38]), np.float32)
    codec.encode(np.array([1e39]), np.float64)
    with pytest.raises(ValueError, match="y_val holds values too large for float32; scale them"):
        codec.encode(np.array([1e39]), np.float32, "y_val")
    with pytest.raises(ValueError, match=r"must have shape \('n_samples',\)|must have shape"):
        codec.encode(np.zeros((3, 2)), np.float32)


def test_predictions_keep_the_digits_of_large_numbers():
    codec = numbers_of(1e9 + np.arange(4.0), np.arange(4), None, standardize=True, loss="squared_error", delta=1.0)
    targets = codec.encode(1e9 + np.arange(4.0), np.float32)
    np.testing.assert_allclose(codec.decode(targets), 1e9 + np.arange(4.0), rtol=0, atol=1e-5)


# ---- losses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "codec, y",
    [
        (Labels(np.array([2, 4, 6])), np.array([2, 6, 4, 4, 2, 6])),
        (Labels(np.array([2, 4, 6]), "squared_error"), np.array([2, 6, 4, 4, 2, 6])),
        (MultiLabels(np.arange(3)), np.random.default_rng(1).integers(0, 2, (6, 3))),
        (MultiLabels(np.arange(3), "squared_error"), np.random.default_rng(1).integers(0, 2, (6, 3))),
        *[
            (
                Numbers(np.full(3, 2.0), np.full(3, 3.0), False, 3, loss, 0.4),
                np.random.default_rng(1).normal(size=(6, 3)),
            )
            for loss in ("squared_error", "absolute_error", "huber")
        ],
        (Numbers(np.zeros(3), np.full(3, 3.0), False, 3, "poisson"), np.random.default_rng(1).poisson(2, (6, 3))),
    ],
    ids=lambda value: f"{type(value).__name__} {getattr(value, 'loss_name', '')}",
)
def test_losses_of_samples_are_those_of_training(codec, y):
    targets = codec.encode(y.astype(float) if isinstance(codec, Numbers) else y, np.float64)
    expected = [
        reference_losses.sample_loss([float(v) for v in z], t, name=codec.loss.name, delta=codec.loss.delta)[0]
        for z, t in zip(OUTPUTS, targets)
    ]
    np.testing.assert_allclose(codec.losses(OUTPUTS, y), expected, rtol=1e-6)


def test_scores():
    labels = Labels(np.array([0, 1, 2]))
    y = OUTPUTS.argmax(axis=1)
    assert labels.score(OUTPUTS, y, None) == 1
    wrong = np.where(np.arange(6) == 0, (y + 1) % 3, y)
    assert labels.score(OUTPUTS, wrong, None) == pytest.approx(5 / 6)
    assert labels.score(OUTPUTS, wrong, np.array([5, 1, 1, 1, 1, 1])) == pytest.approx(0.5)
    several = MultiLabels(np.arange(3))
    truth = (OUTPUTS > 0).astype(int)
    truth[0, 0] = 1 - truth[0, 0]
    assert several.score(OUTPUTS, truth, None) == pytest.approx(5 / 6)
    codec = Numbers(np.array([1.0]), np.array([2.0]), True, 1)
    values = codec.decode(OUTPUTS[:, :1])
    assert codec.score(OUTPUTS[:, :1], values, None) == 1
    assert codec.score(OUTPUTS[:, :1], np.arange(6.0), None) < 1
    assert math.isnan(codec.score(OUTPUTS[:1, :1], values[:1], None))  # no variance, no R2
