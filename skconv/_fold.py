"""A trained network as one that only predicts: what scales and shifts channels joins the sums beside it.

With s = gamma / sqrt(variance + epsilon) and t = beta - mean * s by channel, in float64:

    act(s * (x @ w + b) + t)     =  act(x @ (w * s) + (b * s + t))         backward, into the sums before
    (s * x + t) @ w + b          =  x @ (s * w) + (b + t @ w)              forward, into the sums behind
    max of act(s * x + t)        =  act(s * (max of x) + t)                where every s > 0 and act is monotone
    mean of s * x + t            =  s * (mean of x) + t

The last two take batch normalisation behind pooling, where there are fewer values, and let the pooling join the
convolution before it. Nothing goes forward into a convolution with a margin, whose zeros are not shifted. Results
differ from the network's by rounding: by as much as its own rounding, but for what goes forward, where the sums see
values that are `_LARGEST_MEAN` deviations off at most. Dropout is left out.
"""

from dataclasses import dataclass, replace

import numpy as np

from ._network import Network
from ._operations import (
    MONOTONE,
    Activate,
    BatchNormalization,
    Convolution,
    DenseProduct,
    Drop,
    Pool,
    Reshape,
    Weighted,
)

# Deviations that a mean may be away from 0 where it goes forward: three bits of the sums' precision at most.
_LARGEST_MEAN = 8.0
# Factors of weights: beyond, products would come near the ends of float32's range.
_LARGEST_FACTOR = 1e9


@dataclass
class _Part:
    """An operation with what it has learned; what joins it is added in float64."""

    operation: object
    coef: np.ndarray | None = None
    intercept: np.ndarray | None = None
    statistics: tuple | None = None

    @property
    def is_sum(self):
        """Whether it multiplies by weights and adds up."""
        return isinstance(self.operation, Convolution | DenseProduct)

    @property
    def is_normalization(self):
        return isinstance(self.operation, BatchNormalization)

    @property
    def affine(self):
        """Scale and shift by channel, of a batch normalisation."""
        mean, variance = self.statistics
        scale = (1.0 if self.coef is None else self.coef) / np.sqrt(variance + self.operation.epsilon)
        return scale, (0.0 if self.intercept is None else self.intercept) - mean * scale

    @property
    def largest_mean(self):
        """Of a batch normalisation: how many deviations the mean of a channel is away from 0 at most."""
        mean, variance = self.statistics
        return np.max(np.abs(mean) / np.sqrt(variance + self.operation.epsilon))


def folded(network):
    """Return a network of its own that predicts what `network` does, with less work."""
    parts = [_Part(*part) for part in network.parts() if not isinstance(part[0], Drop)]
    parts = _merged_forward(_merged_backward(_behind_pooling(parts)))
    mean, scale = network.mean, network.scale
    if mean is not None and np.max(np.abs(mean * scale)) <= _LARGEST_MEAN:
        factor = scale.astype(np.float64)
        if _merge_forward(parts, 0, factor, -mean * factor):
            mean = scale = None
    # First values of weights, which may be large, are of no use any more.
    operations = [
        replace(part.operation, coef=None) if isinstance(part.operation, Weighted) else part.operation for part in parts
    ]
    same = Reshape("", network.operations[0].in_shape, network.out_shape)
    result = Network(operations or [same], dtype=network.dtype, mean=mean, scale=scale, isa=network.isa)
    for part, (_, coef, intercept, statistics) in zip(parts, result.parts(), strict=False):
        for array, value in ((coef, part.coef), (intercept, part.intercept)):
            if array is not None:
                array[...] = value
        if statistics is not None:
            statistics[0][...], statistics[1][...] = part.statistics
    return result


def _behind_pooling(parts):
    """Exchange batch normalisation and the pooling behind it."""
    parts = list(parts)
    for i in range(len(parts) - 2, -1, -1):
        at = i
        while at + 1 < len(parts) and parts[at].is_normalization and _commutes(parts[at], parts[at + 1].operation):
            pool, shape = parts[at + 1], parts[at + 1].operation.out_shape
            norm = replace(parts[at].operation, in_shape=shape, out_shape=shape)
            parts[at : at + 2] = [pool, replace(parts[at], operation=norm)]
            at += 1
    return parts


def _commutes(norm, operation):
    """Whether a batch normalisation with its activation may come before or after a pooling."""
    if not isinstance(operation, Pool):
        return False
    if operation.kind == "max":
        return norm.operation.activation in MONOTONE and bool(np.all(norm.affine[0] > 0))
    # Zeros that count as pixels would have to be scaled and shifted as well.
    return operation.kind == "average" and norm.operation.activation == "identity" and _means_pixels(operation)


def _means_pixels(operation):
    window = operation.window
    return not operation.count_include_pad or not (any(window.pad_before + window.pad_after) or window.ceil_mode)


def _merged_backward(parts):
    """Let batch normalisation join the sums before it, across poolings and changes of shape."""
    merged = []
    for part in parts:
        at = _sums_before(merged, part) if part.is_normalization else None
        if at is None or not _scale(merged[at], *part.affine):
            merged.append(part)
            continue
        activation, shape = part.operation.activation, part.operation.out_shape
        pools = [between.operation for between in merged[at + 1 :] if isinstance(between.operation, Pool)]
        if not pools or (activation in MONOTONE and all(pool.kind == "max" for pool in pools)):
            merged[at].operation = replace(merged[at].operation, activation=activation)
        elif activation != "identity":
            merged.append(_Part(Activate(part.operation.name, shape, shape, activation)))
    return merged


def _sums_before(parts, norm):
    """Number of the sums that a batch normalisation behind these parts may join, or None."""
    n_channels = norm.operation.out_shape[-1]
    for at in range(len(parts) - 1, -1, -1):
        operation = parts[at].operation
        if operation.out_shape[-1] != n_channels:
            return None
        if parts[at].is_sum:
            return at if operation.activation == "identity" else None
        if isinstance(operation, Pool):
            if operation.kind == "max" and np.any(norm.affine[0] <= 0):
                return None
            if operation.kind == "lp" or (operation.kind == "average" and not _means_pixels(operation)):
                return None
        elif not isinstance(operation, Reshape):
            return None
    return None


def _scale(part, scale, shift):
    """Make sums those times `scale` plus `shift`; return whether that could be done."""
    if not _is_moderate(scale):
        return False
    intercept = 0.0 if part.intercept is None else part.intercept
    part.coef, part.intercept = part.coef * scale, intercept * scale + shift
    part.operation = replace(part.operation, fit_intercept=True)
    return True


def _merged_forward(parts):
    """Let batch normalisation without an activation join the sums behind it."""
    parts = list(parts)
    for i in range(len(parts) - 1, -1, -1):
        part = parts[i]
        if (
            part.is_normalization
            and part.operation.activation == "identity"
            and part.largest_mean <= _LARGEST_MEAN
            and _merge_forward(parts, i + 1, *part.affine)
        ):
            del parts[i]
    return parts


def _merge_forward(parts, start, scale, shift):
    """Let the sums behind changes of shape only, from part `start` on, scale and shift what they see, if they can."""
    while start < len(parts) and isinstance(parts[start].operation, Reshape):
        start += 1
    if start == len(parts) or not parts[start].is_sum or not _is_moderate(scale):
        return False
    part = parts[start]
    operation, n_filters = part.operation, part.operation.out_shape[-1]
    if isinstance(operation, Convolution):
        window, n_channels = operation.window, operation.in_shape[-1]
        if any(window.pad_before + window.pad_after) or n_channels % len(scale):
            return False
        # By channel of a group and by filter, as the weights lie.
        scale, shift = (
            np.repeat(np.resize(values, n_channels).reshape(operation.groups, -1).T, n_filters // operation.groups, 1)
            for values in (scale, shift)
        )
    else:
        scale, shift = (np.resize(values, len(part.coef))[:, np.newaxis] for values in (scale, shift))
    added = np.sum(part.coef * shift, axis=tuple(range(part.coef.ndim - 1)))
    part.coef, part.intercept = part.coef * scale, (0.0 if part.intercept is None else part.intercept) + added
    part.operation = replace(operation, fit_intercept=True)
    return True


def _is_moderate(scale):
    """Whether weights may be multiplied by these numbers; written so that NaN may not."""
    size = np.abs(scale)
    return bool(np.all((size <= _LARGEST_FACTOR) & ((size >= 1 / _LARGEST_FACTOR) | (size == 0))))
