"""Full-batch training in float64 by L-BFGS (Liu and Nocedal 1989), as scipy minimises and scikit-learn's MLP trains.

The objective is the one of scikit-learn's MLP,

    (sum_i s_i loss_i + alpha / 2 * sum of the squares of penalised weights) / sum_i s_i

with the weights s_i of the samples, or 1.  So an integer weight is a repetition, and a weight of zero is absence.
"""

import math
import time
from dataclasses import dataclass, field

import numpy as np

from ._operations import Drop
from .solvers import ThreadChooser

# Samples per call of the engine, whose sums are added in order: between them Python handles signals. As many as fill
# this memory, were every activation kept.
PIECE_SAMPLES = 512
PIECE_BYTES = 64 * 1024 * 1024


@dataclass
class Minimum:
    """What `minimize_lbfgs` came to."""

    losses: list = field(default_factory=list)  # after every iteration, penalty included
    n_iter: int = 0
    n_evaluations: int = 0
    loss: float = math.nan  # of the weights that were kept
    converged: bool = False
    message: str = ""
    interrupted: bool = False


class _Objective:
    """The objective and its gradient, of the learned weights as one vector without gaps."""

    def __init__(self, network, X, targets, samples, loss, sample_weight, alpha):
        self.network, self.X, self.targets, self.loss, self.alpha = network, X, targets, loss, alpha
        samples = np.ascontiguousarray(samples, dtype=np.intp)
        if sample_weight is None:
            self.total = float(len(samples))
        else:
            sample_weight = np.ascontiguousarray(sample_weight, dtype=np.float64)
            samples = samples[sample_weight[samples] != 0]  # nor do they enter the statistics of a mini-batch
            self.total = math.fsum(sample_weight[samples])
        self.samples, self.sample_weight = samples, sample_weight
        learned, penalized = [], []
        for segment, operation in network.weighted_operations():
            if operation.learns:
                learned.append(np.arange(segment.coef, segment.coef + segment.n_coef))
                learned.append(np.arange(segment.intercept, segment.intercept + segment.n_intercepts))
                penalized += [np.full(segment.n_coef, operation.is_penalized), np.zeros(segment.n_intercepts, bool)]
        self.learned = np.concatenate([np.zeros(0, np.intp), *learned])
        self.penalized = np.concatenate([np.zeros(0, bool), *penalized])
        self.state = network.solver_state()
        values = sum(math.prod(operation.in_shape) for operation in network.operations) * network.dtype.itemsize
        piece = max(1, min(PIECE_SAMPLES, PIECE_BYTES // values))
        if network.statistics:
            piece = len(samples)  # they are those of one mini-batch
        self.bounds = np.append(np.arange(0, len(samples), piece), len(samples)).astype(np.intp)
        self.threads = ThreadChooser(network.n_training_threads(min(piece, len(samples))))
        self.n_evaluations = 0
        self.last = None, math.nan  # vector and loss of the last evaluation

    def vector(self):
        return self.network.weights[self.learned]

    def __call__(self, vector):
        """Return the objective and its gradient."""
        self.network.weights[self.learned] = vector
        total, gradient = 0.0, np.zeros(self.network.n_weights)
        for first, last in zip(self.bounds[:-1], self.bounds[1:], strict=True):
            total += self._piece("gradient", self.samples[first:last])
            gradient += (last - first) * self.state.first[: self.network.n_weights]
        penalized = vector[self.penalized]
        loss = (total + self.alpha / 2 * float(np.square(penalized).sum())) / self.total
        gradient = gradient[self.learned]
        gradient[self.penalized] += self.alpha * penalized
        self.n_evaluations += 1
        self.last = vector.copy(), loss
        return loss, gradient / self.total

    def _piece(self, solver, samples):
        began = time.perf_counter()
        n_threads = self.threads.choose(began)
        _, loss, _ = self.network.train(
            self.X, self.targets, samples, np.array([0, len(samples)]), state=self.state, solver=solver,
            rates=np.zeros(1), settings=(0.0, 0.0, 0.0, 0.0, False), training=bool(self.network.statistics),
            n_threads=n_threads, loss=self.loss, sample_weight=self.sample_weight,
        )  # fmt: skip
        self.threads.learn(n_threads, time.perf_counter() - began)
        return loss

    def set_statistics(self):
        """Make the running statistics those of all samples with the weights as they are.

        From zero, one step of rate 0 moves them by 1 - momentum of the way to the mini-batch's.
        """
        if not self.network.statistics:
            return
        before = [(mean.copy(), variance.copy()) for mean, variance in self.network.statistics]
        try:
            for pair in self.network.statistics:
                for array in pair:
                    array[...] = 0
            self.state.first[...] = 0  # the velocity
            self._piece("sgd", self.samples)
        except BaseException:
            for pair, kept in zip(self.network.statistics, before, strict=True):
                pair[0][...], pair[1][...] = kept
            raise
        operations = [operation for operation in self.network.operations if operation.n_statistics]
        for operation, (mean, variance), (_, kept) in zip(operations, self.network.statistics, before, strict=True):
            mean /= 1 - operation.momentum
            variance /= 1 - operation.momentum
            if len(self.samples) * math.prod(operation.in_shape[:-1]) == 1:
                variance[...] = kept  # one value has none


def minimize_lbfgs(network, X, targets, samples, *, loss, sample_weight, alpha, max_iter, max_fun, tol, report):
    """Move a network's weights to a minimum of the mean loss over `samples`.

    Weights that do not learn stay as they are. Layers that normalise by the mini-batch see all samples as one, and keep
    the statistics of all.

    Parameters
    ----------
    network : Network
        Of float64, without dropout and augmentation.
    X, targets, loss, sample_weight
        As in `Network.train`; `sample_weight` may have any mean.
    samples : ndarray of intp
        The samples to train on.
    alpha : float
        L2 penalty.
    max_iter, max_fun : int
        Iterations, and evaluations of loss and gradient, at most.
    tol : float
        Converged where the largest component of the gradient is below.
    report : callable or None
        Called with (n_iter, loss) after every iteration, when the network has its weights; True ends the search, as if
        it had converged. If it raises KeyboardInterrupt, or Ctrl-C is pressed, the weights of the last iteration are
        kept and `interrupted` is True; a second press is raised.

    Returns
    -------
    Minimum
    """
    from scipy.optimize import minimize
    from threadpoolctl import threadpool_limits

    if network.dtype != np.float64:
        raise ValueError(f"L-BFGS needs a network of float64, got {network.dtype}")
    if network.augment is not None or any(isinstance(operation, Drop) for operation in network.operations):
        raise ValueError("L-BFGS needs the same loss at every evaluation: no dropout, no augmentation")
    objective = _Objective(network, X, targets, samples, loss, sample_weight, alpha)
    if not objective.total > 0:
        raise ValueError(f"the weights of the samples must have a positive sum, got {objective.total:g}")
    result = Minimum()
    kept = objective.vector()  # of the last iteration

    def end_iteration(vector):
        nonlocal kept
        last, value = objective.last
        if not np.array_equal(vector, last):
            value, _ = objective(vector)
        if not math.isfinite(value):
            raise StopIteration
        kept, result.loss = vector.copy(), value
        result.n_iter += 1
        result.losses.append(value)
        if report is not None:
            network.weights[objective.learned] = vector
            if report(result.n_iter, value):
                result.converged = True
                raise StopIteration

    try:
        result.loss, _ = objective(kept)
        if not math.isfinite(result.loss):
            raise ValueError(
                f"The loss of the first weights is {result.loss}: the data or targets are too large; scale them, for "
                "example with standardize=True or sklearn.preprocessing.StandardScaler"
            )
        if len(kept) == 0:
            result.converged, result.message = True, "nothing learns"
        elif max_iter > 0:
            # One thread: scipy's sums of products would have other bits for every number of threads of BLAS.
            with threadpool_limits(1, user_api="blas"):
                found = minimize(
                    objective, kept, method="L-BFGS-B", jac=True, callback=end_iteration,
                    options={"maxfun": max_fun, "maxiter": max_iter, "gtol": tol},
                )  # fmt: skip
            result.converged, result.message = result.converged or bool(found.success), str(found.message)
    except KeyboardInterrupt:
        result.interrupted, result.message = True, "interrupted"
    network.weights[objective.learned] = kept
    try:
        objective.set_statistics()
    except KeyboardInterrupt:
        if result.interrupted:
            raise
        result.interrupted = True
        objective.set_statistics()
    result.n_evaluations = objective.n_evaluations
    return result
