"""From operations to steps: what is fused, which algorithm computes it, and what room it wants.

All choices are functions of shapes and precision alone, as the plan's are.
"""

import math
from copy import copy
from dataclasses import dataclass

import numpy as np

from ._algorithms import (
    is_one_channel,
    is_winograd,
    makes_zeros,
    pays_back_by_lines,
    pays_by_lines,
    whole_tiles,
)
from ._engine.margins import MAX_RESULTS, share_inside, taps_inside
from ._geometry import in_3d, window_in_3d
from ._operations import (
    MONOTONE,
    Activate,
    BatchNormalization,
    ContrastNormalization,
    Convolution,
    DenseProduct,
    Pool,
    Repeat,
    Reshape,
)

# A dense layer whose weights outgrow this becomes a stage: carried through the cache once per chunk, forward and twice
# back, they would cost more than the barrier.
WIDE_BYTES = 128 * 1024
# Up to so many filters of one channel see a copy of it each: 32x32 images, 16 channels, two filters of 3x3 for each,
# AVX-512: 44 GFLOP/s forward against 1 with a product per channel.
FEW_FILTERS = 16
LINE = 64  # bytes of a cache line


def round_up(n_bytes):
    """To whole cache lines."""
    return -(-n_bytes // LINE) * LINE


class MapLayout:
    """Where the activations between two layers lie: lines of pixels with a margin of zeros for the next window.

    Parameters
    ----------
    shape : tuple
        (*spatial, n_channels) or (n_features,).
    before, after : tuple of 3 ints
        Margin in pixels.
    itemsize : int
    compact : bool
        Whether samples follow each other without a gap (the network's output).
    is_data : bool
        Whether the samples are those of the input data, which are read where they lie.
    """

    def __init__(self, shape, before=(0, 0, 0), after=(0, 0, 0), itemsize=4, compact=False, is_data=False):
        self.is_data = is_data
        self.has_margin = any(before + after)
        self.size = in_3d(shape[:-1], 1)
        self.n_channels = shape[-1]
        depth, height, width = (n + b + a for n, b, a in zip(self.size, before, after, strict=True))
        self.line_stride = width * self.n_channels
        self.depth_stride = height * self.line_stride
        inner = before[0] * self.depth_stride + before[1] * self.line_stride + before[2] * self.n_channels
        self.origin = inner * itemsize
        self.sample_stride = depth * self.depth_stride * itemsize
        if not (compact or is_data):
            # An odd number of cache lines: samples that are a power of two apart would share the same few sets.
            self.sample_stride = round_up(self.sample_stride)
            if self.sample_stride // LINE % 2 == 0:
                self.sample_stride += LINE

    def place(self, start, n_places):
        """Put the map at byte `start` of the storage; return the byte after it."""
        self.origin += start
        return start + round_up(self.sample_stride * n_places) + 2 * LINE

    def seen_as(self, shape):
        """The same map for one who sees its values in another shape, as after a `Reshape`."""
        size = in_3d(shape[:-1], 1)
        if (size, shape[-1]) == (self.size, self.n_channels):
            return self
        view = copy(self)
        view.size, view.n_channels = size, shape[-1]
        if not self.has_margin:
            view.line_stride = size[2] * shape[-1]
            view.depth_stride = size[1] * view.line_stride
        elif size[:2] != self.size[:2]:  # a line of pixels may be cut otherwise, more may not
            raise ValueError(f"there is no margin around images of shape {shape} that are cut into others")
        return view

    @property
    def n_values(self):
        """Elements of one sample, without margin."""
        return math.prod(self.size) * self.n_channels


@dataclass
class Step:
    """One compiled layer to be: an operation, what is fused into it, and its maps."""

    operation: object
    pool: Pool | None = None  # fused into a convolution
    activation: str = "identity"
    is_wide: bool = False
    is_winograd: bool = False
    by_winograd_lines: bool = False
    is_one_channel: bool = False  # of these lines, whose sums then stay in registers
    back_by_winograd_lines: bool = False
    repeats: int = 1  # of every channel, by the step before
    x: MapLayout | None = None
    y: MapLayout | None = None
    weights: object = None  # its Segment, where it has weights
    statistics: np.ndarray | None = None  # running mean and variance, where it has some
    blocks: np.ndarray | None = None  # weights by task, where a wide layer has them so
    side_bytes: int = 0  # per sample, of what it keeps beside its output, in prediction too
    index_origin: int = 0
    index_sample: int = 0

    @property
    def in_shape(self):
        """Shape of one sample of its input."""
        shape = self.operation.in_shape
        return (*shape[:-1], shape[-1] * self.repeats)

    @property
    def learns(self):
        """Whether it has weights that training moves."""
        return self.operation.learns

    @property
    def adds_slots(self):
        """Whether every slot has its own buffer for the weights' gradient, rather than one for the mini-batch."""
        return not (self.is_wide or isinstance(self.operation, BatchNormalization))

    @property
    def index_bytes(self):
        """Bytes per sample of what is kept beside the output: the winning taps of a max pooling, say."""
        if self.side_bytes:
            return self.side_bytes
        pool = self.pool or (self.operation if isinstance(self.operation, Pool) else None)
        if pool is None or pool.kind != "max":
            return 0
        wide = 4 if math.prod(pool.window.kernel_size) > 255 else 1
        return round_up(math.prod(pool.out_shape) * wide)


def fuse(operations, segments, itemsize, statistics=None, blocks=None):
    """Turn operations into steps: pooling joins the convolution before it, what cannot be fused stands alone."""
    steps = []
    for i, operation in enumerate(operations):
        if isinstance(operation, Reshape):
            continue
        before = steps[-1] if steps else None
        if (
            isinstance(operation, Pool)
            and operation.kind == "max"
            and math.prod(operation.window.kernel_size) <= 255
            and before is not None
            and before.operation is operations[i - 1]
            and isinstance(before.operation, Convolution)
        ):
            before.pool = operation
            continue
        step = Step(
            operation, weights=segments.get(i), statistics=(statistics or {}).get(i), blocks=(blocks or {}).get(i),
            repeats=_repeats(operation),
        )  # fmt: skip
        if step.repeats > 1:
            steps.append(Step(Repeat(operation.name, operation.in_shape, step.in_shape)))
        steps.append(step)
        if isinstance(operation, ContrastNormalization):
            n_lines, n_pixels = math.prod(operation.in_shape[:-2]), math.prod(operation.in_shape[:-1])
            step.side_bytes = round_up(8 * n_lines) + 2 * round_up(n_pixels * itemsize)
        if isinstance(operation, Convolution | DenseProduct | BatchNormalization):
            step.activation = operation.activation
            step.is_winograd = isinstance(operation, Convolution) and is_winograd(operation)
            step.by_winograd_lines = isinstance(operation, Convolution) and pays_by_lines(operation)
            step.is_one_channel = step.by_winograd_lines and is_one_channel(operation)
            step.back_by_winograd_lines = isinstance(operation, Convolution) and pays_back_by_lines(operation)
            step.is_wide = is_wide(operation, itemsize)
            if step.activation not in MONOTONE or (step.is_wide and step.activation != "identity"):
                steps.append(Step(Activate(operation.name, operation.out_shape, operation.out_shape, step.activation)))
                step.activation = "identity"
    return steps


def is_wide(operation, itemsize):
    """Whether an operation is a dense layer whose weights are a stage's."""
    return isinstance(operation, DenseProduct) and math.prod(operation.coef_shape) * itemsize > WIDE_BYTES


def _repeats(operation):
    """How many filters see one channel where they are a few and see no other: as many channels are made of it."""
    if not isinstance(operation, Convolution) or operation.groups == 1 or operation.in_shape[-1] > operation.groups:
        return 1
    repeats = operation.out_shape[-1] // operation.groups
    return repeats if repeats <= FEW_FILTERS else 1


def is_clipped(operation, pool):
    """Whether a convolution is worth leaving out taps on the margin pixel by pixel: a tenth of all."""
    if pool is not None:
        return False
    window = window_in_3d(operation.window)
    size = in_3d(operation.in_shape[:-1], 1)
    out = window.output_size(size)
    axes = zip(size, out, window.kernel_size, window.stride, window.dilation, window.pad_before, strict=True)
    return math.prod(out) <= MAX_RESULTS and share_inside(map(taps_inside, *zip(*axes)), window.kernel_size) < 0.9


def margin_of(step):
    """Zeros that a step's window wants around its input, before and after."""
    if not isinstance(step.operation, Convolution):
        return (0, 0, 0), (0, 0, 0)
    window = window_in_3d(step.operation.window)
    size = in_3d(step.operation.in_shape[:-1], 1)
    out = window.output_size(size)
    reach = (
        (o - 1) * s + e - b - n
        for o, s, e, b, n in zip(out, window.stride, window.extent, window.pad_before, size, strict=True)
    )
    lines, more = whole_tiles(step.operation, step.pool is not None)
    return window.pad_before, tuple(max(0, r) + t for r, t in zip(reach, (0, lines, more), strict=True))


def reads_on(step):
    """Whether a step may read past the end of its input, which must then be a map, with its slack behind it.

    Vectors of channels do: Winograd's tiles and lines, and depthwise products. All others read the values that exist.
    """
    operation = step.operation
    return isinstance(operation, Convolution) and (
        step.is_winograd
        or (step.by_winograd_lines and not makes_zeros(operation))
        or 1 < operation.groups == operation.in_shape[-1]
    )  # fmt: skip


def is_one_by_one(step):
    """Whether a step is a convolution whose pixels see one pixel each, and all its channels."""
    operation = step.operation
    return (
        isinstance(operation, Convolution)
        and operation.groups == step.repeats == 1
        and set(operation.window.kernel_size) == set(operation.window.stride) == {1}
        and operation.window.output_size(operation.in_shape[:-1]) == operation.in_shape[:-1]
    )
