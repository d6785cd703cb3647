"""Losses of one sample: their value, and their gradient by the outputs z of the network, times `scale`.

    log loss      -sum_k q_k log softmax(z)_k, gradient softmax(z) - q, with q = (1 - e) onehot(target) + e / K
    binary        sum over the outputs of log(1 + exp(z)) - q z, gradient logistic(z) - q, with q = t (1 - e) + e / 2
    squared       mean over the outputs of r^2 / 2, gradient r / K, with r = z - t
    absolute      mean of |r|, gradient sign(r) / K (0 where r is)
    Huber         mean of r^2 / 2 where |r| <= delta, of delta (|r| - delta / 2) elsewhere   (Huber 1964)
    Poisson       mean of exp(z) - t z - t + t log t: half the deviance of counts t with mean exp(z)

e is label smoothing (Szegedy et al. 2016).  All but the log loss compute in double whatever the precision: outputs are
few, and the Poisson loss is a difference of large terms.  A value that the precision cannot hold becomes infinite, in
the loss too, and NaN stays NaN, so that who reads the loss learns of it.
"""
from libc.math cimport HUGE_VAL, exp as exp64, fabs, log as log64, log1p

from .real cimport exp, log, real
from ..table cimport ABSOLUTE_ERROR, BINARY_LOG_LOSS, HUBER, POISSON, SQUARED_ERROR

cdef inline double softmax_cross_entropy(
    const real *logits,             # (n_classes,)
    Py_ssize_t n_classes,
    Py_ssize_t target,
    double smoothing,
    double scale,                   # weight of the sample / size of the batch
    real *gradient,                 # (n_classes,)   OUT
    bint *correct,                  # OUT  the largest logit is the target's
) noexcept nogil:
    cdef:
        Py_ssize_t i, best = 0
        real top = logits[0], total = 0, below = 0, share
        double loss
    for i in range(1, n_classes):
        if logits[i] > top:
            top = logits[i]
            best = i
    for i in range(n_classes):
        gradient[i] = exp(logits[i] - top)
        total += gradient[i]
    for i in range(n_classes):
        gradient[i] = gradient[i] / total * <real> scale
    gradient[target] -= <real> scale
    correct[0] = best == target
    loss = <double> (log(total) - (logits[target] - top))
    if smoothing > 0:
        # Everything moves from the target to the mean over the classes.
        share = <real> (smoothing * scale)
        gradient[target] += share
        for i in range(n_classes):
            below += logits[i] - top
            gradient[i] -= share / n_classes
        loss += smoothing * <double> ((logits[target] - top) - below / n_classes)
    return loss


cdef inline double poisson_mean(double z) noexcept nogil:
    """exp(z), or infinity where a gradient of this precision would be."""
    cdef double mean = exp64(z)
    if sizeof(real) == sizeof(float) and mean > 3.4e38:
        return HUGE_VAL
    return mean


cdef inline double value_loss(
    int kind,
    double parameter,               # label smoothing, or Huber's delta
    const real *outputs,            # (n,)
    const real *targets,            # (n,)
    Py_ssize_t n,
    double scale,                   # weight of the sample / size of the batch
    real *gradient,                 # (n,)   OUT
) noexcept nogil:
    cdef:
        Py_ssize_t i
        double z, t, r, e, loss = 0, share = scale / n
    if kind == BINARY_LOG_LOSS:
        for i in range(n):
            z = outputs[i]
            t = targets[i] * (1 - parameter) + 0.5 * parameter
            e = exp64(-fabs(z))
            loss += (0 if z < 0 else z) - t * z + log1p(e)
            gradient[i] = <real> (((e if z < 0 else 1) / (1 + e) - t) * scale)
        return loss
    for i in range(n):
        z = outputs[i]
        t = targets[i]
        r = z - t
        if kind == SQUARED_ERROR:
            loss += 0.5 * r * r
        elif kind == ABSOLUTE_ERROR:
            loss += fabs(r)
            r = 1 if r > 0 else -1 if r < 0 else r
        elif kind == HUBER:
            if fabs(r) > parameter:
                loss += parameter * (fabs(r) - 0.5 * parameter)
                r = parameter if r > 0 else -parameter
            else:
                loss += 0.5 * r * r
        elif kind == POISSON:
            r = poisson_mean(z)
            loss += r - t * z
            if t > 0:
                loss += t * log64(t) - t
            r -= t
        gradient[i] = <real> (r * share)
    return loss / n
