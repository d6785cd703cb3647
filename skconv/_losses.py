"""What a network is judged by: the losses that the engine knows, with their numbers."""

from dataclasses import dataclass

import numpy as np

# In the order of the engine's LossKind.
LOSSES = ("log_loss", "binary_log_loss", "squared_error", "absolute_error", "huber", "poisson")


@dataclass(frozen=True)
class Loss:
    """A loss of the outputs z of a network, given targets t; formulas are in ``_engine/kernels/loss.pxd``.

    Every loss is a number per sample, of which training takes the mean; gradients are exactly those of it.

    Parameters
    ----------
    name : str, default="log_loss"
        One of `LOSSES`:

        - "log_loss": softmax and cross-entropy; targets are class numbers.
        - "binary_log_loss": a sigmoid per output and cross-entropy, summed over the outputs as in scikit-learn;
          targets are 0 or 1 (or a probability) for every output.
        - "squared_error": half the squared error, a mean over the outputs as the following ones.
        - "absolute_error".
        - "huber": half the squared error up to `delta`, linear beyond.
        - "poisson": outputs are logarithms of means; half the Poisson deviance of targets of zero and more.
    label_smoothing : float, default=0.0
        Share e of the targets of the first two that is spread: over the K classes, (1 - e) t + e / K, or over both
        answers, (1 - e) t + e / 2.
    delta : float, default=1.0
        Of "huber".
    """

    name: str = "log_loss"
    label_smoothing: float = 0.0
    delta: float = 1.0

    @property
    def takes_labels(self):
        """Whether targets are class numbers, rather than a value for every output."""
        return self.name == "log_loss"

    @property
    def kind(self):
        """Its number in the engine."""
        return LOSSES.index(self.name)

    @property
    def parameter(self):
        """The one number that the engine wants."""
        return float(self.delta if self.name == "huber" else self.label_smoothing)

    def check_targets(self, targets, n_samples, n_outputs, dtype):
        """The engine reads raw memory: raise where the targets are not what it expects."""
        if self.takes_labels:
            shape, dtype = (n_samples,), np.dtype(np.int32)
        else:
            shape = (n_samples, n_outputs)
        if targets.shape != shape or targets.dtype != dtype or not targets.flags.c_contiguous:
            raise ValueError(
                f"{self.name} takes C-contiguous targets of shape {shape} and type {dtype}, got {targets.dtype} of "
                f"shape {targets.shape}"
            )


LOG_LOSS = Loss()
