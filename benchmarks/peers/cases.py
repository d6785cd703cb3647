"""The convolutions that are raced: a fixed draw from a grid of shapes.

    python benchmarks/peers/cases.py        # prints the draw again, as it stands in CASES

The grid has all combinations of channels, filters, kernels and maps below; 60 of them were drawn once with a seed and
written down, so that no run chooses its cases. Stride 1, padding "same". A batch is sized by the work of one image,
multiply-adds and values touched, so that a call takes some 1 to 20 milliseconds.
"""

import itertools
import random
from dataclasses import dataclass

CHANNELS = (1, 3, 6, 16, 32, 64, 128)
FILTERS = (6, 8, 16, 32, 64, 128)
KERNELS = (1, 3, 5, 7)
MAPS = (8, 14, 28, 32, 56)
N_CASES = 60
SEED = 1989
# Work of a call, in operations: a value that is read or written once takes the time of some 50 multiply-adds, more or
# less by machine, which is near enough to size a batch.
CALL_WORK = 6e8
VALUE_WORK = 50
MOST_IMAGES = 8192


@dataclass(frozen=True)
class Case:
    """A convolution of a batch of square maps with square filters."""

    n_channels: int
    n_filters: int
    kernel_size: int
    size: int

    @property
    def name(self):
        """As in 3-16-5-28: channels, filters, kernel, map."""
        return f"{self.n_channels}-{self.n_filters}-{self.kernel_size}-{self.size}"

    @property
    def multiply_adds(self):
        """Of one image, zeros of the padding included."""
        return self.size**2 * self.kernel_size**2 * self.n_channels * self.n_filters

    @property
    def batch_size(self):
        """Number of images of a call."""
        values = self.size**2 * (self.n_channels + self.n_filters)
        return max(1, min(MOST_IMAGES, round(CALL_WORK / (2 * self.multiply_adds + VALUE_WORK * values))))

    @classmethod
    def of(cls, name):
        """The case of that name."""
        return cls(*map(int, name.split("-")))


def grid():
    """All cases there are."""
    return [Case(*shape) for shape in itertools.product(CHANNELS, FILTERS, KERNELS, MAPS)]


def draw():
    """The names of the drawn cases, in the order of the grid."""
    every = grid()
    return tuple(every[i].name for i in sorted(random.Random(SEED).sample(range(len(every)), N_CASES)))


CASES = (
    "1-6-3-8", "1-6-3-28", "1-8-3-14", "1-16-1-14", "1-64-1-8", "1-64-5-28",
    "1-128-1-14", "1-128-5-28", "3-6-1-56", "3-6-5-28", "3-8-1-28", "3-8-3-28",
    "3-16-1-32", "3-16-3-56", "3-64-1-28", "3-128-1-32", "3-128-1-56", "3-128-3-56",
    "6-6-7-28", "6-8-3-14", "6-16-1-56", "6-16-3-56", "6-16-5-56", "6-16-7-8",
    "6-32-3-8", "6-32-5-14", "6-32-5-32", "6-64-3-28", "6-128-5-14", "16-6-1-8",
    "16-6-1-56", "16-6-7-56", "16-8-1-28", "16-8-3-8", "16-8-7-14", "16-16-3-14",
    "16-16-5-28", "16-32-5-32", "16-32-5-56", "16-64-1-56", "16-64-3-8", "16-128-7-8",
    "32-6-1-14", "32-6-7-28", "32-16-3-32", "32-32-1-28", "32-32-5-56", "32-64-1-28",
    "32-128-1-14", "64-8-3-32", "64-8-7-28", "64-64-5-8", "128-6-1-8", "128-6-1-28",
    "128-6-5-28", "128-8-1-14", "128-8-7-32", "128-32-1-14", "128-32-7-14", "128-64-3-56",
)  # fmt: skip


if __name__ == "__main__":
    names = draw()
    for i in range(0, len(names), 6):
        print("    " + " ".join(f'"{name}",' for name in names[i : i + 6]))
