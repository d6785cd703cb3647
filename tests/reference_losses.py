"""The definition of truth for losses and for what a solver does beside its step: plain loops over Python's floats."""

import math

import numpy as np


def sample_loss(z, t, name, label_smoothing=0.0, delta=1.0):
    """Return the loss of one sample and its gradient by the outputs `z`, for its target `t`, as written in papers."""
    n = len(z)
    if name == "log_loss":
        top = max(z)
        log_sum = top + math.log(math.fsum(math.exp(value - top) for value in z))
        goal = [(1 - label_smoothing) * (k == t) + label_smoothing / n for k in range(n)]
        loss = math.fsum(q * (log_sum - value) for q, value in zip(goal, z))
        return loss, [math.exp(value - log_sum) - q for q, value in zip(goal, z)]
    loss, gradient = 0.0, []
    for value, target in zip(z, t):
        if name == "binary_log_loss":
            goal = target * (1 - label_smoothing) + label_smoothing / 2
            one = math.log1p(math.exp(-abs(value))) + max(-value, 0)  # -log of the logistic function
            zero = math.log1p(math.exp(-abs(value))) + max(value, 0)  # -log of its complement
            loss += goal * one + (1 - goal) * zero
            gradient.append(math.exp(-one) - goal)
            continue
        r = value - target
        if name == "squared_error":
            loss += r**2 / 2 / n
            gradient.append(r / n)
        elif name == "absolute_error":
            loss += abs(r) / n
            gradient.append((r > 0) / n - (r < 0) / n)
        elif name == "huber":
            loss += (r**2 / 2 if abs(r) <= delta else delta * (abs(r) - delta / 2)) / n
            gradient.append(max(-delta, min(r, delta)) / n)
        elif name == "poisson":
            mean = math.exp(value)
            entropy = target * math.log(target) if target > 0 else 0
            loss += (mean - target * value - target + entropy) / n
            gradient.append((mean - target) / n)
    return loss, gradient


def mean_loss(z, targets, sample_weight=None, **loss):
    """Return the mean over the samples of the weighted losses, and its gradient by all outputs."""
    n = len(z)
    weights = [1.0] * n if sample_weight is None else [float(weight) for weight in sample_weight]
    total, gradient = [], np.zeros(np.shape(z))
    for i in range(n):
        value, slopes = sample_loss([float(v) for v in z[i]], targets[i], **loss)
        total.append(weights[i] * value)
        gradient[i] = [weights[i] / n * slope for slope in slopes]
    return math.fsum(total) / n, gradient


def clip(gradient, largest):
    """Scale a gradient down to a norm of `largest` where it is longer."""
    norm = math.sqrt(math.fsum(float(g) ** 2 for g in np.ravel(gradient)))
    return gradient * min(1.0, largest / norm)


def shrink(weights, thresholds):
    """The proximal operator of sum(thresholds * abs(weights)): argmin_x (x - w)**2 / 2 + t |x|."""
    thresholds = np.broadcast_to(thresholds, weights.shape)
    result = np.zeros_like(weights)
    for i, (w, t) in enumerate(zip(weights, thresholds)):
        if w > t:
            result[i] = w - t
        elif w < -t:
            result[i] = w + t
    return result
