"""From operations to the compiled engine: what is fused, where every array lies, how the work is cut.

All choices are functions of shapes and precision alone, never of the machine or the number of threads, because the cut
decides in which order gradients are added.
"""

import math
from copy import copy
from dataclasses import dataclass

import numpy as np

from ._algorithms import is_winograd, n_transformed, pays_back_by_lines, pays_by_lines, whole_tiles, winograd_tiles
from ._engine import kernels
from ._engine.augment import AugmentedInput
from ._engine.contrast import ContrastLayer
from ._engine.convolution import Convolution as ConvolutionLayer
from ._engine.dense import DenseLayer
from ._engine.engine import Engine
from ._engine.margins import MAX_RESULTS, share_inside, taps_inside
from ._engine.moments import BlockMoments as BlockMomentsLayer
from ._engine.moments import CombineMoments as CombineMomentsLayer
from ._engine.moments import Modulus as ModulusLayer
from ._engine.normalization import BatchNormLayer
from ._engine.padding import PadLayer
from ._engine.pointwise import Activate as ActivateLayer
from ._engine.pointwise import DropoutLayer, Input, RepeatLayer
from ._engine.pooling import AveragePooling, LpPooling, MaxPooling
from ._engine.separable import SeparableBank
from ._geometry import in_3d, window_in_3d
from ._operations import (
    ACTIVATIONS,
    MONOTONE,
    Activate,
    BatchNormalization,
    BlockMoments,
    CombineMoments,
    ContrastNormalization,
    Convolution,
    DenseProduct,
    Drop,
    FilterBank,
    Modulus,
    Pad,
    Pool,
    Repeat,
    Reshape,
    gaussian,
)
from ._separable import RESPONSE_KINDS, padded_sources

# Activations of one chunk of samples: a share of a core's second-level cache (512 KiB and more), the rest of which
# holds weights and gradients.
CHUNK_BYTES = 384 * 1024
MAX_CHUNK = 16
# Where Winograd's algorithm runs: its weights, four times as many, cross the cache once per chunk and layer, which
# costs more than activations that leave the cache (a training step of cifar, one, four or eight samples at a time: 700,
# 640 and 620 microseconds per image).
WINOGRAD_CHUNK_BYTES = 3072 * 1024
# Where taps on margins are left out: a pixel near a corner fills a register tile with others of its kind, one a sample.
CLIPPED_CHUNK_BYTES = 1024 * 1024
# Where a convolution stands alone, nothing but its weights stays from chunk to chunk, so chunks are small: what is
# copied is convolved before it leaves the first cache. Of Winograd's tiles there must be as many as share a product.
LONE_CHUNK_BYTES = 32 * 1024
LONE_TILES = 32
# A dense layer whose weights outgrow this becomes a stage: carried through the cache once per chunk, forward and twice
# back, they would cost more than the barrier.
WIDE_BYTES = 128 * 1024
# Activations that predictions of a network with several stages may keep.
STAGED_BYTES = 32 * 1024 * 1024
MAX_STAGED = 256
# A slot of a mini-batch has a gradient buffer of its own, zeroed and added once: samples of a slot at least, so that
# this stays below one percent of the multiplications, and at most.
SLOT_WORK = 256  # multiplications per weight
# Where a buffer does not stay in the second cache beside everything else, this costs several times as much (14x14 maps,
# 128 channels, 32 filters of 7x7: 7 % of the backward pass with slots of one sample).
LARGE_BUFFER = 256 * 1024
LARGE_SLOT_WORK = 2048
MAX_SLOT_SAMPLES = 8
MAX_SLOTS = 16  # the engine's
# Up to so many filters of one channel see a copy of it each: 32x32 images, 16 channels, two filters of 3x3 for each,
# AVX-512: 44 GFLOP/s forward against 1 with a product per channel.
FEW_FILTERS = 16
SLACK = 64  # elements that register tiles may read past the end of an array
LINE = 64  # bytes of a cache line


def _round_up(n_bytes):
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
            self.sample_stride = _round_up(self.sample_stride)
            if self.sample_stride // LINE % 2 == 0:
                self.sample_stride += LINE

    def place(self, start, n_places):
        """Put the map at byte `start` of the storage; return the byte after it."""
        self.origin += start
        return start + _round_up(self.sample_stride * n_places) + 2 * LINE

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
        return _round_up(math.prod(pool.out_shape) * wide)


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
            step.side_bytes = _round_up(8 * n_lines) + 2 * _round_up(n_pixels * itemsize)
        if isinstance(operation, Convolution | DenseProduct | BatchNormalization):
            step.activation = operation.activation
            step.is_winograd = isinstance(operation, Convolution) and is_winograd(operation)
            step.by_winograd_lines = isinstance(operation, Convolution) and pays_by_lines(operation)
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


def _margin(step):
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


def _reads_on(step):
    """Whether a step may read past the end of its input, which must then be a map, with its slack behind it.

    Vectors of channels do: Winograd's tiles and lines, and depthwise products. All others read the values that exist.
    """
    operation = step.operation
    return isinstance(operation, Convolution) and (
        step.is_winograd or step.by_winograd_lines or 1 < operation.groups == operation.in_shape[-1]
    )  # fmt: skip


def _is_one_by_one(step):
    """Whether a step is a convolution whose pixels see one pixel each, and all its channels."""
    operation = step.operation
    return (
        isinstance(operation, Convolution)
        and operation.groups == step.repeats == 1
        and set(operation.window.kernel_size) == set(operation.window.stride) == {1}
        and operation.window.output_size(operation.in_shape[:-1]) == operation.in_shape[:-1]
    )


class Plan:
    """A network of operations as a compiled engine.

    Parameters
    ----------
    operations : list of Operation
    segments : dict of int to Segment
        Where the weights of operation i lie in the flat vector.
    statistics : dict of int to ndarray of shape (2, n_channels)
        Running means and variances of operation i; the engine keeps pointing into them.
    weights : ndarray
        The flat vector; the engine keeps pointing into it.
    isa : str or None
        Instruction set; None for the one in use.
    n_threads : int
        At most.
    capacity : int
        Samples per mini-batch at most; 0 for a plan that only predicts.
    by_units : bool
        Whether predictions share out the work inside samples, of which there are then fewer than threads.
    mean, scale : array of shape (n_channels,) or None
        Standardisation of the input.
    augment : Augmentation or None
        How training draws its images; plans that only predict never do.
    wants_dx : bool
        Whether the gradient by the (standardised) input will be asked for.
    reads_data : bool
        Whether the data will be of the network's precision: then a first layer that wants no standardisation, and no
        margin or one that it leaves out, reads them where they lie; in training, if it is a convolution with a 1x1
        kernel.
    blocks : dict of int to ndarray or None
        Weights of wide layers by blocks of columns, by operation, for predictions to read.
    """

    def __init__(
        self, operations, segments, weights, *, statistics=None, isa=None, n_threads=1, capacity=0, by_units=False,
        mean=None, scale=None, augment=None, wants_dx=False, reads_data=False, blocks=None,
    ):  # fmt: skip
        self.by_units, self.reads_data = by_units, reads_data
        self.is_prepared = False  # whether the weights are there in the forms that layers want
        self.weights, self.statistics = weights, statistics  # keeps the memory alive that the engine points into
        itemsize = weights.itemsize
        table = kernels(weights.dtype.name, isa)
        trains = capacity > 0
        steps = fuse(operations, segments, itemsize, statistics, blocks or {})
        in_shape = operations[0].in_shape

        # Maps: one between every two steps, with the margin and the shape that the later step wants.
        no_margin = ((0, 0, 0), (0, 0, 0))
        margins = [_margin(step) for step in steps] + [no_margin]
        shapes = [step.in_shape for step in steps]
        shapes.append((steps[-1].pool or steps[-1].operation).out_shape if steps else in_shape)
        is_data = (
            bool(steps)
            and reads_data
            and not (mean is not None or _reads_on(steps[0]))
            and (not trains or (augment is None and _is_one_by_one(steps[0])))
        )
        probe = self._on_data(table, steps[0]) if is_data and any(map(any, margins[0])) else None
        if probe is not None and probe.leaves_out_margins:
            margins[0] = no_margin
        is_data = is_data and not any(map(any, margins[0]))
        self.copies_data = not is_data
        maps = [
            MapLayout(shape, *margin, itemsize, compact=i == len(steps), is_data=is_data and i == 0)
            for i, (shape, margin) in enumerate(zip(shapes, margins, strict=True))
        ]
        # A plan that only predicts writes its output straight to the caller.
        kept = maps if trains else maps[:-1]
        # The caller's result counts, too: it is looked through for NaN while it is in the cache.
        sample_bytes = (
            sum(m.sample_stride for m in maps)
            + sum(step.index_bytes for step in steps if trains or step.side_bytes)
            + 1
        )

        # Stages: wide layers stand alone; the first and the last stage do not. Batch normalisation begins a stage
        # where it trains; behind a wide layer, the stage between them is empty and only adds up.
        starts = [0]
        for i, step in enumerate(steps, start=1):  # layer 0 is the input
            if step.is_wide:
                starts += [i, i + 1] if starts[-1] != i else [i + 1]
            elif trains and isinstance(step.operation, BatchNormalization):
                starts.append(i)
        ends = [*starts[1:], len(steps) + 1]
        stages = [(a, b, a > 0 and b - a == 1 and steps[a - 1].is_wide) for a, b in zip(starts, ends, strict=True)]
        if not trains and stages[-1][0] == stages[-1][1]:
            stages.pop()

        chunk_bytes = CHUNK_BYTES
        if any(step.is_winograd for step in steps):
            chunk_bytes = WINOGRAD_CHUNK_BYTES
        elif any(isinstance(step.operation, Convolution) and is_clipped(step.operation, step.pool) for step in steps):
            chunk_bytes = CLIPPED_CHUNK_BYTES
        is_small = not trains and len(steps) == 1 and isinstance(steps[0].operation, Convolution)
        if probe is None:
            is_small &= not is_data and chunk_bytes != CLIPPED_CHUNK_BYTES
        if is_small and not (probe is not None and probe.joins_samples):
            together = -(-LONE_TILES // winograd_tiles(steps[0].operation)) if steps[0].is_winograd else 1
            chunk_bytes = min(chunk_bytes, max(LONE_CHUNK_BYTES, together * sample_bytes))
        self.chunk = max(1, min(MAX_CHUNK, chunk_bytes // sample_bytes))
        self.keeps_batch = len(stages) > 1
        if self.keeps_batch:
            self.capacity = capacity or max(1, min(MAX_STAGED, STAGED_BYTES // sample_bytes))
            n_places = n_threads if by_units else self.capacity
        else:
            self.capacity = capacity or self.chunk
            n_places = n_threads if by_units else self.chunk * n_threads
        size = 0
        for layout in kept:
            if not layout.is_data:
                size = layout.place(size, n_places)
        for i, step in enumerate(steps):
            step.x, step.y = maps[i], maps[i + 1].seen_as((step.pool or step.operation).out_shape)
        for step in steps:
            step.index_origin, step.index_sample = size, step.index_bytes
            size += step.index_bytes * n_places if trains or step.side_bytes else 0

        self._steps = steps
        self._slot_size = self._wide_size = 0
        first = maps[0].seen_as(in_shape)
        standard = {"mean": mean, "scale": scale, "is_output": not steps}
        if augment is None or not trains:
            layers = [Input(table, first, first, **standard)]
        else:
            layers = [AugmentedInput(table, first, first, augment, **standard)]
        learns = wants_dx
        for i, step in enumerate(steps):
            layers.append(self._layer(table, step, trains, learns, i, is_output=i == len(steps) - 1))
            learns = learns or step.learns
            if step.statistics is not None:
                layers[-1].place_statistics(step.statistics.__array_interface__["data"][0])
        scratch = 0
        blocks = []
        for step, layer in zip([None, *steps], layers, strict=True):
            scratch = self._place(step, layer, scratch, blocks)
        # What is large: maps, every thread's scratch, and Winograd's weights, in planes instead of taps.
        transformed = sum(n_transformed(step.operation) for step in steps if isinstance(step.operation, Convolution))
        self.n_bytes = size + n_threads * scratch + transformed * itemsize
        self.engine = Engine(
            table,
            layers,
            stages,
            chunk=self.chunk,
            capacity=self.capacity,
            n_places=n_places,
            n_threads=n_threads,
            maps_size=size + SLACK * itemsize,
            scratch_size=scratch,
            gradient_values=max(m.n_values for m in maps) if trains else 0,
            slot_samples=self._slot_samples(operations, steps, itemsize),
            stage_values=[maps[max(first - 1, 0)].n_values for first, _, _ in stages],
            slot_size=max(self._slot_size, LINE) if trains else 0,
            wide_size=self._wide_size,
        )
        if trains:
            self.engine.set_blocks(blocks)

    @staticmethod
    def _slot_samples(operations, steps, itemsize):
        n_weights = sum(step.weights.n_coef for step in steps if step.learns and step.adds_slots)
        work = 3 * sum(operation.n_multiplications for operation in operations)
        slot_work = LARGE_SLOT_WORK if n_weights * itemsize >= LARGE_BUFFER else SLOT_WORK
        wanted = max(1, min(MAX_SLOT_SAMPLES, slot_work * n_weights // max(work, 1)))
        return 1 << (wanted - 1).bit_length()  # a power of two: mini-batches are, and slots then are equal

    def _on_data(self, table, step):
        """The layer of a convolution as if it read the data in place, to ask it whether it can; or None."""
        if not isinstance(step.operation, Convolution):
            return None
        step.x = MapLayout(step.in_shape, itemsize=self.weights.itemsize, is_data=True)
        step.y = MapLayout((step.pool or step.operation).out_shape, itemsize=self.weights.itemsize)
        return self._layer(table, step, False, False, 0, is_output=False)

    def _layer(self, table, step, trains, needs_dx, number, is_output):
        operation = step.operation
        common = {"is_output": is_output, "needs_dx": needs_dx and trains}
        index = {"index_origin": step.index_origin, "index_sample": step.index_sample}
        activation = ACTIVATIONS.index(step.activation)
        goes_back = trains and (step.learns or needs_dx)
        if isinstance(operation, Convolution):
            window = window_in_3d(operation.window)
            return ConvolutionLayer(
                table, step.x, step.y, window=window, out=window.output_size(step.x.size), activation=activation,
                pool=None if step.pool is None else window_in_3d(step.pool.window),
                groups=operation.groups * step.repeats, connections=operation.connections,
                max_samples=self.chunk if goes_back else 0, learns=step.learns,
                is_winograd=step.is_winograd, by_winograd_lines=step.by_winograd_lines,
                back_by_winograd_lines=step.back_by_winograd_lines,
                shares_vectors=operation.gradients_share_vectors, **index, **common,
            )  # fmt: skip
        if isinstance(operation, DenseProduct):
            return DenseLayer(
                table, step.x, step.y, activation=activation, is_wide=step.is_wide,
                max_samples=max(self.chunk, self.n_dense_samples(step)), trains=goes_back, learns=step.learns,
                blocks=step.blocks, **common,
            )  # fmt: skip
        if isinstance(operation, Pool):
            window = window_in_3d(operation.window)
            if operation.kind == "max":
                return MaxPooling(table, step.x, step.y, window=window, **index, **common)
            if operation.kind == "lp":
                return LpPooling(table, step.x, step.y, window=window, p=operation.p, **common)
            return AveragePooling(
                table, step.x, step.y, window=window, count_include_pad=operation.count_include_pad, **common
            )
        if isinstance(operation, Pad):
            before, after = in_3d(operation.before, 0), in_3d(operation.after, 0)
            return PadLayer(
                table, step.x, step.y, before=before, after=after, mode=operation.mode, value=operation.value, **common
            )
        if isinstance(operation, Repeat):
            return RepeatLayer(table, step.x, step.y, **common)
        if isinstance(operation, FilterBank):
            window, size = operation.window, operation.in_shape[:-1]
            out = window.output_size(size)
            sources = padded_sources(size, window, operation.mode)
            return SeparableBank(
                table, step.x, step.y, program=operation.bank.separate(self.weights.dtype.name), stride=window.stride,
                out=out, sources=sources, lines=operation.bank.block(window, out)[0],
                n_outputs=operation.bank.n_outputs, moments=operation.moments, **common,
            )  # fmt: skip
        if isinstance(operation, Modulus):
            return ModulusLayer(
                table, step.x, step.y, kind=RESPONSE_KINDS[operation.response], n_groups=operation.n_groups, **common
            )
        if isinstance(operation, BlockMoments):
            lines, columns = operation.block
            return BlockMomentsLayer(table, step.x, step.y, lines=lines, columns=columns, **common)
        if isinstance(operation, CombineMoments):
            return CombineMomentsLayer(table, step.x, step.y, counts=operation.counts, **common)
        if isinstance(operation, BatchNormalization):
            return BatchNormLayer(
                table, step.x, step.y, activation=activation, epsilon=operation.epsilon, momentum=operation.momentum,
                n_slots=MAX_SLOTS if trains else 0, **common,
            )  # fmt: skip
        if isinstance(operation, ContrastNormalization):
            axes = zip(in_3d(operation.window.kernel_size, 1), step.y.size, strict=True)
            return ContrastLayer(
                table, step.x, step.y, windows=[gaussian(*axis) for axis in axes], epsilon=operation.epsilon,
                side_origin=step.index_origin, side_sample=step.index_sample, **common,
            )  # fmt: skip
        if isinstance(operation, Activate):
            return ActivateLayer(table, step.x, step.y, activation=ACTIVATIONS.index(operation.activation), **common)
        if isinstance(operation, Drop):
            return DropoutLayer(table, step.x, step.y, rate=operation.rate, number=number, **common)
        raise TypeError(f"no compiled layer for {type(operation).__name__}")

    def describe_work(self):
        """Names of the compiled layers, and multiplications per sample, an array (n_layers, 2): forward and backward.

        Of convolutions those of the direct algorithm; backward is a product for the weights, and one for the input.
        """
        names, work, learns = ["input"], [(0, 0)], False
        for step in self._steps:
            name = step.operation.name or type(step.operation).__name__.lower()
            if step.pool is not None:
                name += f" + {step.pool.name or 'pool'}"
            names.append(name if name != names[-1] else f"{name}, {step.operation.activation}")
            forward = step.operation.n_multiplications
            work.append((forward, forward * (bool(step.learns) + learns)))
            learns = learns or step.learns
        return names, np.array(work)

    def n_dense_samples(self, step):
        """Samples that reach a dense layer in one call."""
        return self.capacity if step.is_wide else self.chunk

    def _place(self, step, layer, scratch, blocks):
        """Give a layer its addresses; note its weights for the update. Return the end of the scratch so far."""
        coef = intercept = gradient = intercept_gradient = 0
        if step is not None and step.weights is not None:
            segment, itemsize = step.weights, self.weights.itemsize
            address = self.weights.__array_interface__["data"][0]
            end = self._slot_size if step.adds_slots else self._wide_size
            shared = not step.adds_slots
            if segment.n_coef:
                coef = address + segment.coef * itemsize
            if segment.n_intercepts:
                intercept = address + segment.intercept * itemsize
            if step.learns and segment.n_coef:
                gradient = end
                end += _round_up(segment.n_coef * itemsize)
                blocks.append((segment.coef, gradient, segment.n_coef, shared, step.operation.is_penalized))
            if step.learns and segment.n_intercepts:
                intercept_gradient = end
                end += _round_up(segment.n_intercepts * itemsize)
                blocks.append((segment.intercept, intercept_gradient, segment.n_intercepts, shared, False))
            if step.adds_slots:
                self._slot_size = end
            else:
                self._wide_size = end
        layer.place(scratch, coef, intercept, gradient, intercept_gradient)
        return scratch + _round_up(layer.scratch_size)


def aligned_zeros(n, dtype):
    """A vector of zeros on a cache line of its own."""
    dtype = np.dtype(dtype)
    raw = np.zeros(n * dtype.itemsize + LINE, dtype=np.uint8)
    start = -raw.__array_interface__["data"][0] % LINE
    return raw[start : start + n * dtype.itemsize].view(dtype)
