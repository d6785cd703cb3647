"""From operations to the compiled engine: what is fused, where every array lies, how the work is cut.

All choices are functions of shapes and precision alone, never of the machine or the number of threads, because the cut
decides in which order gradients are added.
"""

import math

import numpy as np

from ._algorithms import n_transformed, winograd_tiles
from ._engine import kernels
from ._engine.augment import AugmentedInput
from ._engine.contrast import ContrastLayer
from ._engine.convolution import Convolution as ConvolutionLayer
from ._engine.dense import DenseLayer
from ._engine.engine import Engine
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
    gaussian,
)
from ._separable import RESPONSE_KINDS, padded_sources
from ._steps import LINE, MapLayout, fuse, is_clipped, is_one_by_one, margin_of, reads_on, round_up

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
# copied is convolved before it leaves the caches. Of Winograd's tiles there must be as many as share a product. Results
# of 32 KiB, one thread's and another's in turns, cost a tenth (14x14, 1 to 8, 3x3, two threads: 1.85 and 1.71 ms).
LONE_CHUNK_BYTES = 128 * 1024
LONE_TILES = 32
# Smaller results are written to the first cache, and take as long as making an array of two.
LEAST_ALIGNED_BYTES = 32 * 1024
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
SLACK = 64  # elements that register tiles may read past the end of an array


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
        margins = [margin_of(step) for step in steps] + [no_margin]
        shapes = [step.in_shape for step in steps]
        shapes.append((steps[-1].pool or steps[-1].operation).out_shape if steps else in_shape)
        is_data = (
            bool(steps)
            and reads_data
            and not (mean is not None or reads_on(steps[0]))
            and (not trains or (augment is None and is_one_by_one(steps[0])))
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
                is_one_channel=step.is_one_channel, back_by_winograd_lines=step.back_by_winograd_lines,
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
                end += round_up(segment.n_coef * itemsize)
                blocks.append((segment.coef, gradient, segment.n_coef, shared, step.operation.is_penalized))
            if step.learns and segment.n_intercepts:
                intercept_gradient = end
                end += round_up(segment.n_intercepts * itemsize)
                blocks.append((segment.intercept, intercept_gradient, segment.n_intercepts, shared, False))
            if step.adds_slots:
                self._slot_size = end
            else:
                self._wide_size = end
        layer.place(scratch, coef, intercept, gradient, intercept_gradient)
        return scratch + round_up(layer.scratch_size)


def aligned_zeros(n, dtype):
    """A vector of zeros on a cache line of its own."""
    dtype = np.dtype(dtype)
    raw = np.zeros(n * dtype.itemsize + LINE, dtype=np.uint8)
    start = -raw.__array_interface__["data"][0] % LINE
    return raw[start : start + n * dtype.itemsize].view(dtype)


def aligned_empty(shape, dtype):
    """A new array for results; a large one begins with a cache line.

    NumPy aligns to 16 bytes, and every vector of 64 bytes is then stored to two cache lines. A large array is a view of
    a longer one, so its ``resize`` refuses.
    """
    dtype = np.dtype(dtype)
    n_bytes = math.prod(shape) * dtype.itemsize
    if n_bytes < LEAST_ALIGNED_BYTES:
        return np.empty(shape, dtype)
    raw = np.empty(n_bytes + LINE, dtype=np.uint8)
    return np.ndarray(shape, dtype, buffer=raw, offset=-raw.__array_interface__["data"][0] % LINE)
