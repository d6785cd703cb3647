"""Targets: from the y that a user gives to what the engine is trained towards, and from outputs back to answers.

A codec is made from y when an estimator is fitted, and made again from the fitted attributes afterwards. It knows how
many outputs the network has, which loss they are trained with, which activation the output layer has, and what an
output means.
"""

import numbers
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, xlogy
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils import assert_all_finite, check_array, check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from ._losses import Loss

# Of a sample: so many that float64 can sum them over any data.
_LARGEST_WEIGHT = 1e290


def _check_length(y, n_samples, name, what):
    """Refuse what is missing or has another length."""
    if y is None:
        raise ValueError(f"This {name} estimator requires y to be passed, but the target y is None.")
    shape = getattr(y, "shape", None)  # a sparse matrix of labels has no length
    n = shape[0] if shape else len(y) if hasattr(y, "__len__") else None
    if n is not None and n != n_samples:
        check_consistent_length(np.empty(n_samples), np.empty(n))
        raise ValueError(f"{what} has {n} values for {n_samples} samples")


def check_sample_weight(sample_weight, n_samples, name="sample_weight"):
    """Weights as a float64 vector, or None; a number is the weight of every sample."""
    if sample_weight is None:
        return None
    if isinstance(sample_weight, numbers.Real):
        sample_weight = np.full(n_samples, sample_weight, dtype=np.float64)
    weights = check_array(sample_weight, ensure_2d=False, dtype=np.float64, ensure_min_samples=0, input_name=name)
    if weights.shape != (n_samples,):
        raise ValueError(f"{name} must be one number per sample, of shape {(n_samples,)}, got shape {weights.shape}")
    if (weights < 0).any():
        raise ValueError(f"Negative values in data passed to {name}: {weights.min():g}; weights count samples")
    if not weights.any():
        raise ValueError(f"{name}: sample weights must contain at least one non-zero number, all are zero")
    if weights.max() > _LARGEST_WEIGHT:
        raise ValueError(f"{name} must be at most {_LARGEST_WEIGHT:g}, so that sums are finite, got {weights.max():g}")
    return weights


# ---- classification ------------------------------------------------------------------------------------------------


def read_labels(y, n_samples, name, what="y"):
    """Labels, checked: a vector of them, or for several labels per sample a matrix of 0 and 1.

    Returns
    -------
    ndarray of shape (n_samples,) or (n_samples, n_labels)
    """
    _check_length(y, n_samples, name, what)
    if hasattr(y, "toarray"):
        y = y.toarray()
    if hasattr(y, "columns"):  # whose columns may be nullable: objects to NumPy
        y = check_array(y, dtype=None, ensure_all_finite=False, ensure_min_samples=0, input_name=what)
    array = np.asarray(y) if not hasattr(y, "dtype") or hasattr(y, "__array__") else y
    if getattr(array, "ndim", 1) == 2 and array.shape[1] > 1 and array.dtype.kind in "biuf":
        assert_all_finite(array, input_name=what)
        if np.isin(array, (0, 1)).all():  # any two integers are an indicator to scikit-learn
            return np.ascontiguousarray(array)
        raise ValueError(
            f"{what} of shape {array.shape} must hold 0 and 1 only, a column per label, but holds "
            f"{np.setdiff1d(array, (0, 1))[:5]}; for one class per sample pass a vector of labels"
        )
    y = column_or_1d(y, warn=True)
    assert_all_finite(y, input_name=what)
    check_classification_targets(y)
    check_consistent_length(np.empty(n_samples), y)
    return y


@dataclass(frozen=True, eq=False)
class Labels:
    """One class per sample.

    Parameters
    ----------
    classes : ndarray of shape (n_classes,)
    loss : {"log_loss", "squared_error"}
        By squared error, outputs are hyperbolic tangents trained towards 1 for the class and -1 for the others, as in
        LeCun et al. (1989).
    label_smoothing : float
    """

    classes: np.ndarray
    loss_name: str = "log_loss"
    label_smoothing: float = 0.0
    is_multilabel = False

    @property
    def is_softmax(self):
        """Whether probabilities are shares of the outputs' exponentials, which the engine can compute."""
        return self.loss_name == "log_loss"

    @property
    def n_outputs(self):
        return len(self.classes)

    @property
    def loss(self):
        return Loss(self.loss_name, label_smoothing=self.label_smoothing)

    @property
    def output_activation(self):
        """Of the output layer."""
        return "tanh" if self.loss_name == "squared_error" else "identity"

    @property
    def out_activation(self):
        """What `out_activation_` says."""
        return "tanh" if self.loss_name == "squared_error" else "softmax"

    def numbers(self, y, what="y"):
        """Class numbers of labels."""
        if y.ndim != 1:
            raise ValueError(f"{what} must be one label per sample as in the first fit, got shape {y.shape}")
        unknown = np.setdiff1d(y, self.classes)
        if len(unknown):
            raise ValueError(f"{what} has labels that are not in classes: {unknown[:5]}; classes are {self.classes}")
        return np.ascontiguousarray(np.searchsorted(self.classes, y), dtype=np.int32)

    def encode(self, y, dtype, what="y"):
        numbers = self.numbers(y, what)
        if self.loss_name == "log_loss":
            return numbers
        targets = np.full((len(y), self.n_outputs), -1, dtype=dtype)
        targets[np.arange(len(y)), numbers] = 1
        return targets

    def decode(self, outputs):
        """The class of every row."""
        return self.classes[outputs.argmax(axis=1)]

    def decide(self, outputs):
        """Confidence by class; with two classes how much more in the second."""
        return outputs[:, 1] - outputs[:, 0] if self.n_outputs == 2 else outputs

    def probabilities(self, outputs):
        """Probability of every class, never quite 0, so that its logarithm is finite like `log_probabilities`."""
        if self.loss_name == "log_loss":
            shares = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        elif self.n_outputs == 2:  # in the order of `decide`
            shares = 0.5 + (outputs - outputs[:, ::-1]) / 4
        else:
            shares = (1 + outputs) / 2
        tiny = np.finfo(shares.dtype).tiny
        shares += tiny
        return np.maximum(shares / shares.sum(axis=1, keepdims=True), tiny)

    def log_probabilities(self, outputs):
        if self.loss_name != "log_loss":
            return np.log(self.probabilities(outputs))
        outputs = outputs - outputs.max(axis=1, keepdims=True)
        return outputs - np.log(np.exp(outputs).sum(axis=1, keepdims=True))

    def score(self, outputs, y, sample_weight):
        """Accuracy."""
        return float(accuracy_score(y, self.decode(outputs), sample_weight=sample_weight))

    def losses(self, outputs, y):
        """Loss of every sample, without smoothing."""
        numbers = self.numbers(y)
        if self.loss_name == "log_loss":
            return -self.log_probabilities(outputs.astype(np.float64))[np.arange(len(y)), numbers]
        return 0.5 * np.mean((outputs - self.encode(y, np.float64)) ** 2, axis=1)


@dataclass(frozen=True, eq=False)
class MultiLabels:
    """Any number of labels per sample: a matrix of 0 and 1, an output per label. Parameters as for `Labels`."""

    classes: np.ndarray
    loss_name: str = "log_loss"
    label_smoothing: float = 0.0
    is_multilabel = True
    is_softmax = False

    @property
    def n_outputs(self):
        return len(self.classes)

    @property
    def loss(self):
        name = "binary_log_loss" if self.loss_name == "log_loss" else self.loss_name
        return Loss(name, label_smoothing=self.label_smoothing)

    @property
    def output_activation(self):
        return "tanh" if self.loss_name == "squared_error" else "identity"

    @property
    def out_activation(self):
        return "tanh" if self.loss_name == "squared_error" else "logistic"

    def encode(self, y, dtype, what="y"):
        if y.shape[1:] != (self.n_outputs,):
            raise ValueError(
                f"{what} must have a column per label, {self.n_outputs} as in the first fit, got {y.shape}"
            )
        targets = np.ascontiguousarray(y, dtype=dtype)
        return targets if self.loss_name == "log_loss" else 2 * targets - 1

    def decode(self, outputs):
        return (outputs > 0).astype(np.int64)

    def decide(self, outputs):
        return outputs

    def probabilities(self, outputs):
        return expit(outputs) if self.loss_name == "log_loss" else (1 + outputs) / 2

    def log_probabilities(self, outputs):
        if self.loss_name == "log_loss":
            return -np.logaddexp(0, -outputs)
        with np.errstate(divide="ignore"):
            return np.log(self.probabilities(outputs))

    def score(self, outputs, y, sample_weight):
        """Share of samples with all labels right."""
        return float(accuracy_score(y, self.decode(outputs), sample_weight=sample_weight))

    def losses(self, outputs, y):
        outputs = outputs.astype(np.float64)
        if self.loss_name == "log_loss":
            return np.sum(np.logaddexp(0, outputs) - y * outputs, axis=1)
        return 0.5 * np.mean((outputs - self.encode(y, np.float64)) ** 2, axis=1)


# ---- regression ----------------------------------------------------------------------------------------------------


def read_numbers(y, n_samples, name, what="y"):
    """Numbers to predict, float64: a vector, or a matrix with a column per output."""
    _check_length(y, n_samples, name, what)
    y = check_array(y, ensure_2d=False, dtype="numeric", allow_nd=False, ensure_min_samples=0, input_name=what)
    if y.dtype.kind not in "biuf":
        raise ValueError(f"{what} must hold numbers, got {y.dtype}")
    y = np.asarray(y, dtype=np.float64)
    if y.ndim == 2 and y.shape[1] == 1:
        y = column_or_1d(y, warn=True)
    check_consistent_length(np.empty(n_samples), y)
    return y


@dataclass(frozen=True, eq=False)
class Numbers:
    """Real numbers: the network is trained towards (y - mean) / scale.

    Parameters
    ----------
    mean, scale : ndarray of shape (n_outputs,), or None
        None: as they are.
    is_vector : bool
        Whether y is a vector rather than a matrix with a column per output.
    n_outputs : int
    loss_name : {"squared_error", "absolute_error", "huber", "poisson"}
        With "poisson", outputs are logarithms of means.
    delta : float
        Of "huber".
    """

    mean: np.ndarray | None
    scale: np.ndarray | None
    is_vector: bool
    n_outputs: int
    loss_name: str = "squared_error"
    delta: float = 1.0
    output_activation = "identity"

    @property
    def loss(self):
        return Loss(self.loss_name, delta=self.delta)

    @property
    def out_activation(self):
        return "exp" if self.loss_name == "poisson" else "identity"

    def encode(self, y, dtype, what="y"):
        shape = (self.n_outputs,) if not self.is_vector else ()
        if y.shape[1:] != shape:
            raise ValueError(f"{what} must have shape {('n_samples', *shape)} as in the first fit, got {y.shape}")
        if self.loss_name == "poisson":
            check_counts(y, what)
        values = y.reshape(len(y), self.n_outputs)
        if self.scale is not None:
            values = (values - self.mean) / self.scale
        with np.errstate(over="ignore"):
            values = np.ascontiguousarray(values, dtype=dtype)
        if not np.isfinite(values).all():
            raise ValueError(f"{what} holds values too large for {np.dtype(dtype)}; scale them")
        return values

    def decode(self, outputs):
        """Predictions in the units of y, float64: float32 would lose digits of large values."""
        values = outputs.astype(np.float64)
        if self.loss_name == "poisson":
            with np.errstate(over="ignore"):  # what float64 cannot hold is infinite
                values = np.exp(values)
        if self.scale is not None:
            values = values * self.scale + self.mean
        return values[:, 0] if self.is_vector else values

    def score(self, outputs, y, sample_weight):
        """Coefficient of determination."""
        return float(r2_score(y, self.decode(outputs), sample_weight=sample_weight)) if len(y) > 1 else float("nan")

    def losses(self, outputs, y):
        """Loss of every sample, in the units of training."""
        outputs, targets = outputs.astype(np.float64), self.encode(y, np.float64)
        if self.loss_name == "poisson":
            values = np.exp(outputs) - targets * outputs - targets + xlogy(targets, targets)
        else:
            residuals = np.abs(outputs - targets)
            if self.loss_name == "squared_error":
                values = 0.5 * residuals**2
            elif self.loss_name == "absolute_error":
                values = residuals
            else:
                inside = residuals <= self.delta
                values = np.where(inside, 0.5 * residuals**2, self.delta * (residuals - 0.5 * self.delta))
        return values.mean(axis=1)


def check_counts(y, what, some=False):
    """Refuse what no Poisson distribution gives: negative values, or with `some` only zeros, whose mean is none."""
    if (y < 0).any() or (some and not (y > 0).any()):
        raise ValueError(
            f"loss='poisson' needs non-negative values of {what} with a positive sum, got values from {y.min():g} to "
            f"{y.max():g}; use loss='squared_error'"
        )


def numbers_of(y, samples, weights, *, standardize, loss, delta):
    """The codec for numbers: mean and standard deviation of those `samples`, with their weights if not None."""
    values = y.reshape(len(y), -1)[samples]
    mean = scale = None
    if loss == "poisson":
        check_counts(values, "y", some=True)
    if standardize:
        if weights is not None:
            weights = weights[samples]
        # In units of the largest value: no square overflows, or vanishes.
        unit = np.abs(values).max(axis=0)
        unit[unit == 0] = 1.0
        mean = np.average(values / unit, axis=0, weights=weights) * unit
        if loss == "poisson":  # outputs are logarithms: only the unit can change
            mean, scale = np.zeros_like(mean), np.where(mean > 0, mean, 1.0)
        else:
            scale = np.sqrt(np.average((values / unit - mean / unit) ** 2, axis=0, weights=weights)) * unit
            # What rounding leaves of a constant output is no scale.
            scale = np.where(scale > 1e-12 * np.abs(mean), scale, 1.0)
            scale[scale == 0] = 1.0
    return Numbers(mean, scale, y.ndim == 1, values.shape[1], loss, delta)
