"""Stochastic solvers: how large every step is, in which order samples come, and when to stop."""

import math
import time
from dataclasses import dataclass

import numpy as np

from ._losses import LOG_LOSS

SOLVERS = ("adam", "sgd")
SCHEDULES = ("one_cycle", "cosine", "constant", "invscaling", "adaptive")

# One cycle (Smith and Topin, "Super-convergence", 2017, in the form that became common): up along a cosine during the
# first 30 % of the steps from a 25th of the peak, then down along a cosine to a 10,000th of where it started.
WARM_UP, START_SHARE, END_SHARE = 0.3, 1 / 25, 1e-4
# Seconds without the GIL, between which Python may handle signals, show progress and run callbacks.
STRETCH_SECONDS = 0.05
TRIAL_SECONDS = 0.005


def learning_rates(schedule, peak, steps, n_steps, power_t=0.5):
    """Learning rate of every step.

    Parameters
    ----------
    schedule : {"one_cycle", "cosine", "constant", "invscaling", "adaptive"}
        "adaptive" is constant here; `Stopping` divides the peak.
    peak : float
        `learning_rate_init`.
    steps : ndarray of int
        Numbers of the steps, from 0.
    n_steps : int
        Length of the whole schedule.
    power_t : float, default=0.5
        Exponent of "invscaling".

    Returns
    -------
    ndarray of float64

    Examples
    --------
    >>> learning_rates("cosine", 1.0, np.array([0, 50, 100]), 100)
    array([1. , 0.5, 0. ])
    """
    steps = np.asarray(steps, dtype=np.float64)
    if schedule in ("constant", "adaptive"):
        return np.full(len(steps), float(peak))
    if schedule == "invscaling":
        return peak / (steps + 1) ** power_t
    done = np.minimum(steps / max(n_steps, 1), 1)
    if schedule == "cosine":
        return peak * 0.5 * (1 + np.cos(np.pi * done))
    low = peak * START_SHARE
    up = low + (peak - low) * 0.5 * (1 - np.cos(np.pi * np.minimum(done / WARM_UP, 1)))
    end = low * END_SHARE
    down = end + (peak - end) * 0.5 * (1 + np.cos(np.pi * np.maximum(done - WARM_UP, 0) / (1 - WARM_UP)))
    return np.where(done < WARM_UP, up, down)


@dataclass
class Settings:
    """Everything a stochastic solver is told."""

    solver: str
    schedule: str
    peak: float
    power_t: float
    alpha: float
    momentum: float
    nesterov: bool
    beta_1: float
    beta_2: float
    epsilon: float
    l1_ratio: float = 0.0  # share of alpha that penalises |w| rather than w**2 / 2
    clip_norm: float | None = None
    ema_decay: float | None = None

    def for_engine(self):
        """What does not change from step to step: (l2, beta_1, beta_2, epsilon, nesterov, l1, clip_norm or 0)."""
        l1, l2 = self.alpha * self.l1_ratio, self.alpha * (1 - self.l1_ratio)
        clip_norm = self.clip_norm or 0.0
        if self.solver == "sgd":
            return l2, self.momentum, 0.0, 0.0, self.nesterov, l1, clip_norm
        return l2, self.beta_1, self.beta_2, self.epsilon, False, l1, clip_norm

    def rates(self, t, first, n, n_steps):
        """Step sizes for steps first to first + n; `t` counts the steps that the moments remember."""
        rates = learning_rates(self.schedule, self.peak, np.arange(first, first + n), n_steps, self.power_t)
        if self.solver == "adam":
            t = np.arange(t + 1, t + n + 1)
            rates *= np.sqrt(1 - self.beta_2**t) / (1 - self.beta_1**t)
        return rates

    def averaging(self, t, n):
        """What the average of the weights keeps of itself in steps t to t + n; None where nothing is averaged.

        It grows with the steps that the average has seen, (1 + t) / (10 + t), so that first weights are soon forgotten.
        """
        if self.ema_decay is None:
            return None
        t = np.arange(t, t + n, dtype=np.float64)
        return np.minimum(self.ema_decay, (1 + t) / (10 + t))


@dataclass
class Epoch:
    """What one pass over the data gave; `accuracy` is None where targets are no labels."""

    number: int
    loss: float
    accuracy: float | None
    seconds: float


class Stopping:
    """The plateau rule: stop, or lower the rate, when `n_iter_no_change` epochs in a row were no better by `tol`.

    Parameters
    ----------
    tol : float
    n_iter_no_change : int
    higher_is_better : bool
        True for scores, False for losses.
    """

    def __init__(self, tol, n_iter_no_change, higher_is_better):
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.sign = 1 if higher_is_better else -1
        self.best = -math.inf
        self.n_without = 0

    def update(self, value):
        """Take one more value; return (is_best, is_plateau)."""
        value = self.sign * value
        self.n_without = 0 if value > self.best + self.tol else self.n_without + 1
        is_best = value > self.best
        self.best = max(self.best, value)
        return is_best, self.n_without > self.n_iter_no_change

    def restart(self):
        """Count from zero again."""
        self.n_without = 0


class ThreadChooser:
    """How many threads are fastest now: measured, because results do not depend on it.

    Threads that wait for one another at every barrier of a mini-batch are slow where the work is small, and very slow
    where another process holds one of their cores (8x8 images on four threads beside one busy process: 15 times as
    slow as on three). Every count is tried once; from then on the fastest runs, and every two seconds a neighbour is
    tried again.

    Parameters
    ----------
    most : int
        Threads that may be used.
    """

    PATIENCE = 2.0  # seconds between trials

    def __init__(self, most):
        self.counts = sorted({most, *(2**i for i in range(most.bit_length()) if 2**i <= most), max(1, most - 1)})
        self.seconds = dict.fromkeys(self.counts)  # per mini-batch, where known
        self._next_trial = 0.0
        self._side = 1

    @property
    def best(self):
        """The fastest count so far."""
        known = [count for count in self.counts if self.seconds[count] is not None]
        return min(known, key=self.seconds.get) if known else self.counts[-1]

    def choose(self, now):
        """Threads for the stretch that begins now."""
        untried = [count for count in reversed(self.counts) if self.seconds[count] is None]
        if untried:
            return untried[0]
        if now < self._next_trial or len(self.counts) == 1:
            return self.best
        self._next_trial = now + self.PATIENCE
        self._side = -self._side
        neighbour = self.counts.index(self.best) + self._side
        return self.counts[min(max(neighbour, 0), len(self.counts) - 1)]

    def learn(self, count, seconds):
        """Note what a mini-batch took on `count` threads: the last stretch counts most, the machine may change."""
        before = self.seconds[count]
        self.seconds[count] = seconds if before is None else 0.3 * before + 0.7 * seconds


def shuffled(samples, seed, epoch):
    """A permutation of `samples` that depends on seed and epoch only."""
    generator = np.random.Generator(np.random.Philox(key=[seed, epoch]))
    return generator.permutation(samples)


def epochs(network, X, targets, samples, settings, state, *, batch_size, max_iter, shuffle, seed, first_epoch=0,
           report=None, loss=LOG_LOSS, sample_weight=None):  # fmt: skip
    """Walk the epochs, yielding after each.

    Parameters
    ----------
    network : Network
    X, targets : ndarray
        Images, and the targets of each that the loss takes.
    samples : ndarray of intp
        The images to train on.
    settings : Settings
        Read anew for every stretch: the caller may lower `peak` between epochs.
    state : SolverState
    batch_size, max_iter : int
    shuffle : bool
    seed : int
        For shuffling and dropout.
    first_epoch : int
        Number of the first epoch in the random stream; the schedule starts at 0 all the same.
    report : callable, default=None
        Called with (epoch, share of the epoch done) between stretches.
    loss : Loss, default=LOG_LOSS
    sample_weight : ndarray of shape (n_samples,), float64, default=None
        By sample number; of mean 1 over `samples`.

    Yields
    ------
    Epoch
    """
    n = len(samples)
    bounds = np.append(np.arange(0, n, batch_size, dtype=np.intp), n)
    n_batches = len(bounds) - 1
    threads = ThreadChooser(network.n_training_threads(min(batch_size, n)))
    for epoch in range(max_iter):
        start = time.perf_counter()
        order = np.ascontiguousarray(shuffled(samples, seed, first_epoch + epoch) if shuffle else samples, np.intp)
        rates = settings.rates(state.t, epoch * n_batches, n_batches, max_iter * n_batches)
        averaging = settings.averaging(state.t, n_batches)
        total, n_correct, batch = 0.0, 0, 0
        while batch < n_batches:
            began = time.perf_counter()
            n_threads = threads.choose(began)
            is_trial = n_threads != threads.best
            n_done, total, stretch_correct = network.train(
                X, targets, order, bounds[batch:], state=state, solver=settings.solver, rates=rates[batch:],
                settings=settings.for_engine(), seed=seed, epoch=first_epoch + epoch, n_threads=n_threads,
                seconds=TRIAL_SECONDS if is_trial else STRETCH_SECONDS, largest=min(batch_size, n), loss=loss,
                sample_weight=sample_weight, averaging=None if averaging is None else averaging[batch:],
                loss_before=total,
            )  # fmt: skip
            threads.learn(n_threads, (time.perf_counter() - began) / n_done)
            state.t += n_done
            batch += n_done
            n_correct += stretch_correct
            if not math.isfinite(total):
                raise ValueError(
                    f"Training diverged in epoch {epoch + 1}: the loss is {total}. Solver produced non-finite "
                    f"parameter weights; lower learning_rate_init (now {settings.peak:g}), or scale the input data"
                )
            if report is not None:
                report(epoch, batch / n_batches)
        accuracy = n_correct / n if loss.takes_labels else None
        yield Epoch(epoch, total / n, accuracy, time.perf_counter() - start)
