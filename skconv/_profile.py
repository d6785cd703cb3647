"""Where the time of training goes: seconds of every layer, there and back, and their share of the machine's peak."""

import os

import numpy as np

from ._engine import fma_peak

VARIABLE = "SKCONV_PROFILE"


def is_wanted(verbose):
    """Whether a fit shall be profiled: verbose=3, or the environment variable is set to anything but 0."""
    return int(verbose) >= 3 or os.environ.get(VARIABLE, "0") not in ("", "0")


class Profile:
    """Accumulates what the engine counted, over the calls of one fit.

    Attributes
    ----------
    names : list of str
        Of the compiled layers; what is fused has a row of its own.
    multiplications : ndarray of shape (n_layers, 2)
        Of one sample, forward and backward, as direct convolution needs them.
    seconds : ndarray of shape (n_layers, 2)
        Forward and backward, of all threads together.
    update, total : float
        Seconds of the solver's step, and of all threads from beginning to end.
    n_samples : int
        Samples that went through.
    """

    def __init__(self):
        self.names = ["input"]
        self.seconds = None
        self.update = self.total = 0.0
        self.n_samples = 0

    def add(self, plan, n_samples, elapsed, n_threads):
        """Add what a call of `n_samples` samples took on `n_threads` threads."""
        seconds, update = plan.engine.read_profile()
        if self.seconds is None:
            self.names, self.multiplications = plan.describe_work()
            self.seconds = np.zeros_like(seconds)
        self.seconds += seconds
        self.update += update
        self.total += elapsed * n_threads
        self.n_samples += n_samples

    def table(self, peak=None):
        """Return the table as text.

        Parameters
        ----------
        peak : float, default=None
            GFLOP/s of one thread; None to measure it, which takes some 30 milliseconds.
        """
        if self.seconds is None:
            return "profile: nothing was trained"
        peak = fma_peak(1) if peak is None else peak
        width = max(map(len, [*self.names, "elsewhere"]))
        head = f"{'layer':<{width}}{'forward':>12}{'of peak':>9}{'backward':>12}{'of peak':>9}{'of time':>9}"
        lines = [
            f"profile: {self.n_samples:,} samples, {self.total:.2f} s of all threads; in microseconds per sample, and "
            f"of the peak of a thread, {peak:.0f} GFLOP/s (operations of direct convolution)",
            head,
            "-" * len(head),
        ]
        for name, seconds, multiplications in zip(self.names, self.seconds, self.multiplications, strict=True):
            line = f"{name:<{width}}"
            for value, count in zip(seconds, multiplications, strict=True):
                share = 2 * count * self.n_samples / (value * peak * 1e9) if value else 0
                line += f"{self._microseconds(value):>12.2f}" + (f"{share:>9.0%}" if share else " " * 9)
            lines.append(line + f"{seconds.sum() / self.total:>9.1%}")
        elsewhere = max(0.0, self.total - self.seconds.sum() - self.update)  # the clocks of threads are not one
        for name, value in (("update", self.update), ("elsewhere", elsewhere)):
            lines.append(f"{name:<{width}}{self._microseconds(value):>12.2f}{'':>30}{value / self.total:>9.1%}")
        return "\n".join(lines)

    def _microseconds(self, value):
        return 1e6 * value / self.n_samples
