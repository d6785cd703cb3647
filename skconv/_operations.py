"""What a layer does to one image shape: the words in which layers and networks talk.

A layer (`skconv.layers`) checks its parameters against the shape that reaches it and answers with operations; the
network (`skconv._network`) gives them weights and the plan (`skconv._plan`) compiled form. Shapes are
``(*spatial, n_channels)`` with one to three spatial axes, or ``(n_features,)``; windows have as many axes as the shape.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from ._geometry import Window

# Activations whose derivative is a function of their value; they are also monotone, so pooling may come first.
ACTIVATIONS = ("identity", "relu", "leaky_relu", "tanh", "logistic", "elu", "gelu")
MONOTONE = ACTIVATIONS[:-1]
ALGORITHMS = ("auto", "direct", "winograd")
PADDING_MODES = ("constant", "reflect", "symmetric", "edge", "wrap")  # np.pad's words
# The longest vector of any instruction set, in float32: Winograd's transforms take whole vectors of channels.
_LONGEST_VECTOR = 16
# The output alone by Winograd's algorithm from so many channels on, and so many pairs of channel and filter by the side
# of the kernel: the transform of the input is the same for one channel and for sixteen.
_FEW_CHANNELS, _FEW_PAIRS = 6, {3: 192, 5: 96}


@dataclass(frozen=True)
class Operation:
    """Base: one step from `in_shape` to `out_shape`, by the layer called `name`."""

    name: str
    in_shape: tuple
    out_shape: tuple
    trainable = True  # what has weights and says no more about it

    @property
    def coef_shape(self):
        """Shape of the weights, outputs last; None where there are none."""
        return None

    @property
    def n_intercepts(self):
        """Number of intercepts."""
        return 0

    @property
    def is_penalized(self):
        """Whether the L2 penalty acts on the weights."""
        return True

    @property
    def n_statistics(self):
        """Channels of which mean and variance are kept; 0 where there are no statistics."""
        return 0

    @property
    def n_multiplications(self):
        """Multiply-adds for one sample, forward."""
        return 0

    @property
    def n_parameters(self):
        """Weights and intercepts."""
        return (math.prod(self.coef_shape) if self.coef_shape else 0) + self.n_intercepts

    @property
    def learns(self):
        """Whether training moves any of its weights."""
        return self.n_parameters > 0 and self.trainable

    @property
    def n_padded_values(self):
        """Values of one sample's input, with the margin that the operation wants around it."""
        return math.prod(self.in_shape)

    def describe(self):
        """What it is, with the parameters that decide on its size, for messages."""
        return type(self).__name__.lower()


@dataclass(frozen=True)
class Weighted(Operation):
    """An operation with weights: sums over `fan_in` inputs, then an activation.

    Weights that are not `trainable` stay as they are, intercepts included: they have no gradient, and where nothing
    before them learns, none is computed for what they see.
    """

    activation: str = "identity"
    fit_intercept: bool = True
    coef: np.ndarray | None = field(default=None, repr=False)  # first values; drawn where None
    trainable: bool = True

    @property
    def n_intercepts(self):
        return self.out_shape[-1] if self.fit_intercept else 0

    @property
    def fan_in(self):
        """Inputs that one output sums over; an array where outputs differ."""
        return math.prod(self.coef_shape[:-1])

    @property
    def fan_out(self):
        """Outputs that one input goes into."""
        return self.out_shape[-1] * math.prod(self.coef_shape[:-2])


@dataclass(frozen=True)
class Convolution(Weighted):
    """Cross-correlation with a bank of filters; weights of shape (*kernel_size, n_channels // groups, n_filters).

    With `groups`, the first n_filters // groups filters see the first n_channels // groups channels, and so on.
    `connections`, a bool array of shape (n_channels, n_filters), says which channel feeds which filter instead: weights
    of the others are and stay zero.
    """

    window: Window | None = None
    algorithm: str = "auto"
    groups: int = 1
    connections: np.ndarray | None = field(default=None, repr=False)

    @property
    def supports_winograd(self):
        """Whether Winograd's F(4x4, 3x3) or F(4x4, 5x5) can compute it and its gradients."""
        return self._has_winograd_window and min(self.in_shape[-1], self.out_shape[-1]) >= _LONGEST_VECTOR

    @property
    def supports_winograd_forward(self):
        """Whether it can compute the output alone, of few channels, and might be faster."""
        channels, filters = self.in_shape[-1], self.out_shape[-1]
        return (
            self._has_winograd_window
            and _FEW_CHANNELS <= channels < _LONGEST_VECTOR <= filters
            and channels * filters >= _FEW_PAIRS[self.window.kernel_size[-1]]
        )

    @property
    def supports_winograd_lines(self):
        """Whether Winograd's algorithm along one axis, whole lines at a time, can compute its output."""
        window = self.window
        return (
            len(window.kernel_size) > 1
            and window.kernel_size[-2] in (3, 5, 7)
            and max(window.kernel_size[:-2], default=1) == 1
            and max(window.stride + window.dilation) == 1
            and self.groups == 1
        )

    @property
    def _has_winograd_window(self):
        window = self.window
        return (
            window.kernel_size[-2:] in ((3, 3), (5, 5))
            and max(window.kernel_size[:-2], default=1) == 1
            and max(window.stride + window.dilation) == 1
            and self.groups == 1
        )

    @property
    def shares_vectors(self):
        """Whether pixels may share a vector, where a few filters or channels leave room in it.

        That depends on the machine, this does not. A value that is not finite then reaches the pixels beside it.
        """
        # Neighbours whose windows do not overlap have nothing to share, forward.
        return self.window.kernel_size[-1] > 1 and self.gradients_share_vectors

    @property
    def gradients_share_vectors(self):
        """Whether pixels may share a vector in the backward pass, where 1x1 kernels gain fuller vectors by it."""
        if self.algorithm == "direct" or self.groups > 1:
            return False
        return 2 * min(self.in_shape[-1], self.out_shape[-1]) <= _LONGEST_VECTOR

    def describe(self):
        window = self.window
        return (
            f"{window.describe()}, stride={window.stride}, dilation={window.dilation}, "
            f"{self.in_shape[-1]} channels and {self.out_shape[-1]} filters"
            + (f" in {self.groups} groups" if self.groups > 1 else "")
        )

    @property
    def n_padded_values(self):
        sizes = zip(self.in_shape[:-1], self.window.pad_before, self.window.pad_after, strict=True)
        return math.prod(n + before + after for n, before, after in sizes) * self.in_shape[-1]

    @property
    def coef_shape(self):
        return (*self.window.kernel_size, self.in_shape[-1] // self.groups, self.out_shape[-1])

    @property
    def n_parameters(self):
        """Weights and intercepts; those of channels that are not connected are zero and do not count."""
        if self.connections is None:
            return super().n_parameters
        return math.prod(self.window.kernel_size) * int(np.sum(self.connections)) + self.n_intercepts

    @property
    def fan_in(self):
        if self.connections is None:
            return super().fan_in
        return math.prod(self.window.kernel_size) * np.sum(self.connections, axis=0)

    @property
    def fan_out(self):
        n_taps = math.prod(self.window.kernel_size)
        if self.connections is None:
            return n_taps * self.out_shape[-1] // self.groups
        return n_taps * np.mean(np.sum(self.connections, axis=1))

    @property
    def n_multiplications(self):
        return math.prod(self.coef_shape) * math.prod(self.out_shape[:-1])


@dataclass(frozen=True)
class DenseProduct(Weighted):
    """Every output sums over every input, whatever the input's shape; weights of shape (n_inputs, n_units)."""

    @property
    def coef_shape(self):
        return (math.prod(self.in_shape), self.out_shape[0])

    @property
    def n_multiplications(self):
        return math.prod(self.coef_shape)


@dataclass(frozen=True)
class Pad(Operation):
    """Pixels added on both sides of every spatial axis, as np.pad's `mode` says; `value` is the constant's.

    Zeros before a convolution need none: its window brings them along, and they cost nothing.
    """

    before: tuple = ()
    after: tuple = ()
    mode: str = "constant"
    value: float = 0.0


@dataclass(frozen=True)
class Repeat(Operation):
    """Every channel several times, one beside the other: what a few filters per channel see as one channel each."""


@dataclass(frozen=True)
class Pool(Operation):
    """Maximum, mean or norm over windows: kind "max", "average" or "lp"."""

    kind: str = "max"
    window: Window | None = None
    count_include_pad: bool = False
    p: float = 2.0


@dataclass(frozen=True)
class BatchNormalization(Operation):
    """Standardise every channel by its mean and variance; then scale (weights), shift (intercepts) and activation."""

    epsilon: float = 1e-5
    momentum: float = 0.9
    center: bool = True
    scale: bool = True
    activation: str = "identity"
    coef: float = 1.0  # first scale

    @property
    def coef_shape(self):
        return self.out_shape[-1:] if self.scale else None

    @property
    def n_intercepts(self):
        return self.out_shape[-1] if self.center else 0

    @property
    def is_penalized(self):
        return False

    @property
    def n_statistics(self):
        return self.out_shape[-1]

    @property
    def n_multiplications(self):
        return math.prod(self.out_shape)


@dataclass(frozen=True)
class ContrastNormalization(Operation):
    """Subtract the mean of a Gaussian window, divide by its deviation; the window has as many axes as the image."""

    window: Window | None = None
    epsilon: float = 1e-4

    @property
    def n_multiplications(self):
        return math.prod(self.in_shape[:-1]) * (2 * sum(self.window.kernel_size) + 4 * self.in_shape[-1])


@dataclass(frozen=True)
class Activate(Operation):
    """An activation on its own."""

    activation: str = "relu"


@dataclass(frozen=True)
class Drop(Operation):
    """Dropout: a share `rate` of the values set to zero while training."""

    rate: float = 0.5


@dataclass(frozen=True)
class Reshape(Operation):
    """The same values in another shape."""


@dataclass(frozen=True)
class FilterBank(Operation):
    """A bank of complex filters over every channel on its own, as sums of row filters times column filters.

    Nothing is pulled back through it: behind something that learns, the network takes what `direct` answers. With
    `moments`, it gives those of blocks of its maps instead of the maps: (n_blocks, channels * outputs * 2).
    """

    bank: object = None  # of skconv._separable
    window: Window | None = None
    mode: str = "constant"
    moments: bool = False
    work: int = 0  # multiply-adds per output pixel and channel

    def describe(self):
        return f"a bank of {len(self.bank.filters)} filters with {self.window.describe()}, stride={self.window.stride}"

    @property
    def n_multiplications(self):
        return self.work * math.prod(self.window.output_size(self.in_shape[:-1])) * self.in_shape[-1]

    def direct(self, trainable=False):
        """The same as operations that everything can be pulled back through: a convolution, the modulus, moments."""
        n_channels, operations, shape, window = self.in_shape[-1], [], self.in_shape, self.window
        if self.mode != "constant" and any(window.pad_before + window.pad_after):
            before, after, window = window.split()
            size = (n + b + a for n, b, a in zip(shape[:-1], before, after, strict=True))
            operations.append(Pad(self.name, shape, (*size, n_channels), before, after, self.mode))
            shape = operations[-1].out_shape
        kernels = np.moveaxis(self.bank.real_kernels(), 0, -1)[:, :, np.newaxis]
        size, n_filters = window.output_size(shape[:-1]), kernels.shape[-1]
        convolution = Convolution(
            self.name, shape, (*size, n_channels * n_filters), fit_intercept=False,
            coef=np.tile(kernels, n_channels), trainable=trainable, window=window, algorithm="direct",
            groups=n_channels,
        )  # fmt: skip
        operations.append(convolution)
        if self.bank.response in ("magnitude", "energy"):
            shape = (*size, n_channels * n_filters // 2)
            operations.append(Modulus(self.name, operations[-1].out_shape, shape, self.bank.response, n_channels))
        if self.moments:
            shape = operations[-1].out_shape
            operations.append(BlockMoments(self.name, shape, self.out_shape, self.bank.block(self.window, size)))
        return operations


@dataclass(frozen=True)
class Modulus(Operation):
    """|x| or |x|**2 of channels (n_groups, 2, n): the real parts of n values and their imaginary parts."""

    response: str = "magnitude"
    n_groups: int = 1


@dataclass(frozen=True)
class BlockMoments(Operation):
    """Mean and sum of squared deviations of every channel in blocks of `block` pixels: (n_blocks, channels * 2)."""

    block: tuple = ()


@dataclass(frozen=True)
class CombineMoments(Operation):
    """Mean and standard deviation of every channel, (channels * 2,), from those of blocks of `counts` pixels."""

    counts: tuple = ()


def gaussian(kernel_size, n):
    """A Gaussian of an odd number of taps, a quarter of which is its deviation; cut to what `n` pixels can see."""
    reach = np.arange(min(kernel_size // 2, n - 1) + 1)
    half = np.exp(-0.5 * (reach / (kernel_size / 4)) ** 2)
    window = np.concatenate([half[:0:-1], half])
    return window / window.sum()


def with_gradients(operations, learns=False):
    """The operations that gradients come through, where something before them learns (or `learns` from the start)."""
    resolved = []
    for operation in operations:
        resolved += operation.direct() if learns and isinstance(operation, FilterBank) else [operation]
        learns = learns or operation.learns
    return resolved
