"""One fit from the first to the last step: epochs, what is kept of them, validation, and when it ends."""

import math
import numbers
from contextlib import contextmanager
from dataclasses import dataclass, field
from inspect import signature

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from ._interrupts import deferred_interrupts, take_interrupt
from ._lbfgs import minimize_lbfgs
from ._losses import Loss
from ._warnings import warn_user
from .solvers import Stopping, epochs, learning_rates

# Images that are copied at a time for validation: the chosen ones are not contiguous.
_BLOCK = 1000


@dataclass
class Course:
    """What a fit trains on, and how.

    Parameters
    ----------
    network : Network
    images, targets : ndarray
        All images, and what the engine is told about each.
    samples : ndarray of int
        Those to train on.
    settings : Settings
    loss : Loss
    sample_weight : ndarray of float64 or None
        As the user gave it, times the weights of classes; of all images.
    batch_size, max_iter : int
    shuffle : bool
    seed : int
    first_epoch : int
        Epochs that went before, where the fit goes on.
    """

    network: object
    images: np.ndarray
    targets: np.ndarray
    samples: np.ndarray
    settings: object
    loss: Loss
    sample_weight: np.ndarray | None
    batch_size: int
    max_iter: int
    shuffle: bool
    seed: int
    first_epoch: int = 0

    @property
    def relative_weight(self):
        """Weights with mean 1 over the samples: what the engine wants."""
        if self.sample_weight is None:
            return None
        return np.ascontiguousarray(self.sample_weight / self.sample_weight[self.samples].mean())

    def epochs(self, state, report):
        """The walk through the epochs."""
        return epochs(
            self.network, self.images, self.targets, self.samples, self.settings, state, loss=self.loss,
            sample_weight=self.relative_weight, batch_size=self.batch_size, max_iter=self.max_iter,
            shuffle=self.shuffle, seed=self.seed, first_epoch=self.first_epoch, report=report,
        )  # fmt: skip

    def rate(self, epoch):
        """Learning rate of the last step of an epoch of this fit."""
        settings, n_batches = self.settings, -(-len(self.samples) // self.batch_size)
        last = np.array([(epoch + 1) * n_batches - 1])
        return learning_rates(settings.schedule, settings.peak, last, self.max_iter * n_batches, settings.power_t)[0]

    def penalty(self):
        """What the penalties add to the loss of a mini-batch."""
        settings, total = self.settings, 0.0
        if settings.alpha:
            operations = [operation for operation in self.network.operations if operation.n_parameters]
            for operation, coef in zip(operations, self.network.coefs, strict=True):
                if coef is not None and operation.learns and operation.is_penalized:
                    flat = coef.reshape(-1).astype(np.float64)
                    total += 0.5 * (1 - settings.l1_ratio) * (flat @ flat) + settings.l1_ratio * np.abs(flat).sum()
        return float(settings.alpha * total / self.batch_size)


@dataclass
class History:
    """What a fit remembers of its epochs, with those of the fits it goes on from."""

    losses: list = field(default_factory=list)
    scores: list | None = None
    n_seen: int = 0
    n_before: int = 0  # epochs, and scores, of fits before this one
    n_scores_before: int = 0
    is_interrupted: bool = False
    by_score: bool = False  # whether the best epoch is that of the highest score
    last_loss: float | None = None  # of the weights, where no epoch was needed

    @classmethod
    def of(cls, estimator, validates):
        """The history that a fitted estimator holds."""
        scores = list(estimator.validation_scores_ or [])
        return cls(
            list(estimator.loss_curve_), scores if validates else None, estimator.t_, len(estimator.loss_curve_),
            len(scores),
        )  # fmt: skip

    @property
    def n_new(self):
        """Epochs of this fit."""
        return len(self.losses) - self.n_before

    def attributes(self):
        """The fitted attributes."""
        scores = self.scores
        losses = self.losses if self.last_loss is None else [*self.losses, self.last_loss]
        return {
            "loss_": losses[-1] if losses else None,
            "best_loss_": None if self.by_score or not losses else min(losses),
            # Copies: those that callbacks are given must not grow.
            "loss_curve_": list(self.losses),
            "validation_scores_": None if scores is None else list(scores),
            # Of this fit: the weights of an earlier best, and its validation samples, are gone.
            "best_validation_score_": None if not scores else _highest(scores[self.n_scores_before :]),
            "n_iter_": len(self.losses),
            "t_": self.n_seen,
        }


def _highest(scores):
    """The highest score; NaN, which a scorer may return, only where there is nothing else."""
    return max((score for score in scores if not math.isnan(score)), default=math.nan)


@contextmanager
def averaged(network, state):
    """The network with the averages of its weights, where those are kept; with its own weights again afterwards."""
    if state.average is None:
        yield
        return
    own = network.weights.copy()
    network.weights[...] = state.average[: len(own)]
    try:
        yield
    finally:
        network.weights[...] = own


class Judge:
    """Which epoch was the best so far, by loss or by score, and whether a plateau is reached.

    Parameters
    ----------
    tol : float
    n_iter_no_change : int
    by_score : bool
        Whether values are scores, higher is better, rather than losses.
    """

    def __init__(self, tol, n_iter_no_change, by_score):
        self.by_score = by_score
        self.stopping = Stopping(tol, n_iter_no_change, higher_is_better=by_score)
        self.rule = f"tol={tol:g} in {n_iter_no_change} epochs"
        self.best = None
        self.is_plateau = False

    def update(self, loss, score, snapshot):
        """Take one more epoch; return whether it is the best."""
        is_best, self.is_plateau = self.stopping.update(score if self.by_score else loss)
        if is_best and self.by_score:
            self.best = snapshot
        return is_best


def run_epochs(course, history, progress, *, state, judge, stops, score=None, task=None, attributes=None,
               takes_interrupts=True):  # fmt: skip
    """Train until the end of the schedule, a plateau, a callback's wish or Ctrl-C.

    The network ends with the weights of the last epoch, or of the best one where judged by score, or their averages.

    Parameters
    ----------
    course : Course
    history : History
        Is written.
    progress : Progress
    state : SolverState
    judge : Judge
    stops : bool
        Whether a plateau ends training.
    score : callable, default=None
        Score on validation data of the network as it is, higher is better.
    task : FitTask, default=None
    attributes : callable, default=None
        The fitted attributes as they would be after the epoch, for callbacks.
    takes_interrupts : bool, default=True
        Whether Ctrl-C ends training, rather than raise KeyboardInterrupt.

    Returns
    -------
    ndarray
        The weights after the last step, not averaged: where training could go on.
    """
    network, settings = course.network, course.settings
    kept = network.snapshot()
    ended = not stops or judge.by_score
    try:
        if task is not None:
            task.begin_epoch()
        for epoch in course.epochs(state, progress.within):
            with np.errstate(all="ignore"):  # what diverged is reported by the next loss, or at the end
                epoch.loss += course.penalty()
            with averaged(network, state):
                value = None if score is None else score()
                snapshot = network.snapshot()
            with deferred_interrupts():  # what the last finished epoch left
                history.losses.append(epoch.loss)
                history.n_seen += len(course.samples)
                kept = snapshot
                if value is not None:
                    history.scores.append(value)
                is_best = judge.update(epoch.loss, value, kept)
            progress.epoch(epoch, value, is_best, course.rate(epoch.number))
            if task is not None and task.end_epoch(attributes):
                progress.note("stopped: a callback asked for it")
                ended = True
                break
            if judge.is_plateau and stops:
                if settings.schedule != "adaptive" or settings.peak <= 1e-6:
                    progress.note(f"stopped: no improvement of more than {judge.rule}")
                    ended = True
                    break
                settings.peak /= 5
                judge.stopping.restart()
            if task is not None and epoch.number + 1 < course.max_iter:
                task.begin_epoch()
    except KeyboardInterrupt:
        if not takes_interrupts:
            raise
        take_interrupt()
        history.is_interrupted = True
    own = network.weights.copy()
    network.restore(judge.best if judge.best is not None and stops else kept)
    network.release()
    progress.end(network)
    if history.n_new:
        check_finite(course)
    if not (ended or history.is_interrupted):
        warn_user(
            f"Stochastic Optimizer: Maximum iterations ({course.max_iter}) reached and the optimization hasn't "
            "converged yet. Increase max_iter, or use learning_rate='one_cycle', which ends by itself",
            ConvergenceWarning,
        )
    return own


def run_lbfgs(course, history, progress, *, tol, max_fun, task, attributes):
    """Train by L-BFGS, in float64, on all samples at once; an iteration is what an epoch is above."""

    def report(n_iter, loss):
        progress.iteration(n_iter, loss)
        history.losses.append(loss)
        history.n_seen += len(course.samples)
        if task.end_epoch(attributes):
            progress.note("stopped: a callback asked for it")
            return True
        if n_iter < course.max_iter:
            task.begin_epoch()
        return False

    task.begin_epoch()
    result = minimize_lbfgs(
        course.network, course.images, course.targets, course.samples, loss=course.loss,
        sample_weight=course.sample_weight, alpha=course.settings.alpha, max_iter=course.max_iter, max_fun=max_fun,
        tol=tol, report=report,
    )  # fmt: skip
    history.is_interrupted = result.interrupted
    if not result.losses:  # the first weights are the best
        history.last_loss = result.loss
    course.network.release()
    progress.end(course.network)
    check_finite(course)
    if not (result.converged or result.interrupted):
        warn_user(
            f"lbfgs failed to converge after {result.n_iter} iterations: {result.message}. Increase max_iter (now "
            f"{course.max_iter}) or max_fun (now {max_fun}), or scale the data",
            ConvergenceWarning,
        )


def _takes_weights(scorer):
    """Whether a scorer has a parameter for weights of samples; a function of the user's own may have none."""
    parameters = signature(scorer).parameters.values()
    return any(p.name == "sample_weight" or p.kind == p.VAR_KEYWORD for p in parameters)


def check_finite(course):
    """Refuse weights that the last step blew up, which no loss has seen yet."""
    network = course.network
    first = np.ascontiguousarray(course.images[:32])
    if not (np.isfinite(network.weights).all() and np.isfinite(network.predict(first)).all()):
        raise ValueError(
            "Training diverged in the last epoch. Solver produced non-finite parameter weights; lower "
            f"learning_rate_init (now {course.settings.peak:g}), or scale the input data"
        )


@dataclass
class Held:
    """Data that a fit is judged by.

    Parameters
    ----------
    images : ndarray
    y : ndarray
        As the user gave it, one per image.
    samples : ndarray of int
        Those that count.
    sample_weight : ndarray or None
    """

    images: np.ndarray
    y: np.ndarray
    samples: np.ndarray
    sample_weight: np.ndarray | None

    @property
    def answers(self):
        """The y of the samples."""
        return self.y[self.samples]

    @property
    def weights(self):
        """The weights of the samples, or None."""
        return None if self.sample_weight is None else self.sample_weight[self.samples]

    def outputs(self, network):
        """What the network makes of the samples."""
        parts = [self.samples[start : start + _BLOCK] for start in range(0, len(self.samples), _BLOCK)]
        return np.concatenate([network.predict(np.ascontiguousarray(self.images[part])) for part in parts])

    def loss(self, network, codec):
        """Mean loss, negative: higher is better."""
        return -float(np.average(codec.losses(self.outputs(network), self.answers), weights=self.weights))

    def score(self, network, codec):
        """Accuracy, or coefficient of determination."""
        return codec.score(self.outputs(network), self.answers, self.weights)

    def scorer_score(self, scorer, estimator):
        """The score by a scorer of scikit-learn."""
        weights = {} if self.weights is None else {"sample_weight": self.weights}
        if weights and not _takes_weights(scorer):
            weights = {}
        score = scorer(estimator, self.images[self.samples], self.answers, **weights)
        if not isinstance(score, numbers.Real):
            raise ValueError(f"scoring must return a number, got {score!r} ({type(score).__name__}) from {scorer!r}")
        return float(score)
