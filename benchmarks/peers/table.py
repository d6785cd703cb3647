"""The table: what every row is about, what it is to reach, and the arithmetic between times and figures."""

import math
from dataclasses import dataclass

AVX2_SHARE = 0.8  # of a ratio is asked for where both sides are kept to AVX2


@dataclass(frozen=True)
class Target:
    """What one figure is to reach.

    Parameters
    ----------
    value : float
        At least, or at most.
    text : str
        The work, in words.
    stretch : float, default=None
        What would be better still.
    unit : {"", "%", "MB", "us"}
        Of the figure; "" for ratios, how many times as fast.
    at_most : bool
    """

    value: float
    text: str
    stretch: float = None
    unit: str = ""
    at_most: bool = False

    def is_met(self, value, bound=None):
        """Whether a figure is good enough; `bound` takes the place of the target."""
        bound = self.value if bound is None else bound
        return value <= bound if self.at_most else value >= bound

    def show(self, value):
        """A figure in its unit."""
        if value is None:
            return "-"
        number = {"%": f"{100 * value:.1f} %", "MB": f"{value:.0f} MB", "us": f"{value:.0f} us"}
        return number.get(self.unit, f"{value:.2f}")

    def show_target(self):
        """The target in words."""
        text = f"{'<=' if self.at_most else '>='} {self.show(self.value)}"
        return text if self.stretch is None else f"{text} ({self.show(self.stretch)})"


ROWS = {
    "training": "Training steps: Adam on one mini-batch in memory",
    "single_step": "Single-sample gradient descent on the network of 1989, per step",
    "fit": "fit of `keras` on MNIST, 3 epochs, process start to finish",
    "predict": "Predicting batches of 128 and 1,000",
    "one_image": "Predicting one image",
    "convolution": "Forward convolution, 60 cases",
    "gradients": "Both gradients of the 60 convolutions",
    "peak_share": "Share of the multiply-add peak",
    "gabor": "A bank of 32 Gabor filters on 512x512",
    "scaling": "Two threads against one",
    "avx2": "Both sides kept to AVX2",
    "memory": "Peak memory of a fit above import and data",
    "grid": "GridSearchCV, two workers against one",
}

_TRAINING = {"digits": (5.5, 6, 32), "keras": (3, 4, 128), "cifar": (2.5, 3, 128), "lenet5": (2.5, 4, 128)}
TARGETS = {
    **{
        f"training.{name}": Target(value, f"training step `{name}`, batch {batch}", stretch)
        for name, (value, stretch, batch) in _TRAINING.items()
    },
    "single_step.usps-1989": Target(15, "network of 1989, a step per sample"),
    "fit.keras": Target(3, "`fit` of `keras`, 3 epochs of MNIST, whole process"),
    "predict.mean": Target(1.5, "predicting 128 and 1,000 images, geometric mean", 2),
    "predict.least": Target(1.15, "predicting 128 and 1,000 images, the least"),
    **{f"one_image.{name}": Target(1.0, f"predicting one image, `{name}`") for name in _TRAINING},
    "one_image.mean": Target(1.3, "predicting one image, geometric mean"),
    "one_image.overhead": Target(60, "one image, time of predict_proba beyond predictor()", unit="us", at_most=True),
    "convolution.mean": Target(1.5, "forward convolution, 60 cases, geometric mean"),
    "convolution.percentile": Target(0.9, "forward convolution, 60 cases, 5th percentile"),
    "gradients.mean": Target(1.4, "both gradients, 60 cases, geometric mean"),
    "gradients.percentile": Target(0.9, "both gradients, 60 cases, 5th percentile"),
    "peak_share.cifar": Target(0.75, "training `cifar`, direct algorithm, executed operations", unit="%"),
    "gabor.OpenCV": Target(6, "Gabor bank, `filter2D`"),
    "gabor.SciPy": Target(2.5, "Gabor bank, one shared FFT"),
    "scaling.training": Target(1.8, "two threads, training `cifar`"),
    "scaling.predicting": Target(1.8, "two threads, predicting 1,000 images, `cifar`"),
    "scaling.photograph": Target(1.7, "two threads, 12 megapixels through a filter bank"),
    **{
        f"avx2.training.{name}": Target(round(AVX2_SHARE * value, 3), f"AVX2: training step `{name}`")
        for name, (value, _, _) in _TRAINING.items()
    },
    "avx2.predict.mean": Target(AVX2_SHARE * 1.5, "AVX2: predicting, geometric mean"),
    "avx2.predict.least": Target(round(AVX2_SHARE * 1.15, 3), "AVX2: predicting, the least"),
    "avx2.convolution.mean": Target(round(AVX2_SHARE * 1.5, 3), "AVX2: forward convolution, geometric mean"),
    "avx2.convolution.percentile": Target(round(AVX2_SHARE * 0.9, 3), "AVX2: forward convolution, 5th percentile"),
    "memory.cifar": Target(150, "`fit` of `cifar` on 50,000 uint8 images, memory", unit="MB", at_most=True),
    "grid.jobs": Target(1 / 1.1, "`GridSearchCV(n_jobs=2)` against `n_jobs=1`"),
}


def row_of(key):
    """The row that a figure belongs to."""
    return key.partition(".")[0]


def geometric_mean(values):
    """Of positive numbers; None of none."""
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


def percentile(values, share=0.05):
    """The smallest value that this share of all do not exceed; None of none."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)] if values else None


def bounds(rows, check, overrides):
    """Return {key: number} of what is asked for.

    Parameters
    ----------
    rows : collection of str
        Those of this run.
    check : bool
        Whether the targets of these rows are asked for.
    overrides : list of str
        Items like ``training.digits=4``.

    Raises
    ------
    ValueError
        If an item cannot be read, or belongs to no row of this run.
    """
    found = {key: target.value for key, target in TARGETS.items() if check and row_of(key) in rows}
    for item in overrides:
        key, _, number = item.partition("=")
        if key not in TARGETS or row_of(key) not in rows:
            known = ", ".join(key for key in TARGETS if row_of(key) in rows)
            raise ValueError(f"{item}: {key!r} is not among the figures of this run: {known}")
        try:
            found[key] = float(number)
        except ValueError:
            raise ValueError(f"{item}: expected FIGURE=NUMBER, as in training.digits=4") from None
    return found


def failures(figures, bounds):
    """Return a line for every figure that misses its bound or is not there.

    Parameters
    ----------
    figures : dict
        {key: {"value": float or None, ...}}
    bounds : dict
        Of `bounds`.
    """
    lines = []
    for key, bound in bounds.items():
        target, value = TARGETS[key], figures.get(key, {}).get("value")
        if value is None:
            lines.append(f"{key}: no figure, {target.show(bound)} was asked for")
        elif not target.is_met(value, bound):
            side = "above" if target.at_most else "below"
            lines.append(f"{key}: {target.show(value)} is {side} {target.show(bound)}")
    return lines
