"""All arithmetic of windows: kernel, stride, padding, dilation, ceil_mode, receptive field.

Everything is computed in Python integers, before any array is allocated and before any kernel runs, so that absurd
values (``padding=2**62``) end in a clear error and never in an overflow. Along one axis, with ``n`` pixels, ``k`` taps
that lie ``d`` apart, stride ``s`` and ``p`` zeros added on both sides::

    extent m = (k - 1) * d + 1                  pixels that one window spans
    output   = floor((n + 2 * p - m) / s) + 1   number of windows
"""

import math
import numbers
import operator
from dataclasses import dataclass, replace

# The one bound for strides, dilations, paddings and sizes: more than any memory holds, and sums and byte counts of such
# numbers stay far below what compiled code can count (2**63).
MAX_ELEMENTS = 2**40

# Pixels of one pooling window: the engine lists them, and no image that such a window suits needs more.
MAX_POOL = 2**22

PADDINGS = ("valid", "same", "same_lower", "full")


def check_int(value, name, minimum=None, maximum=None):
    """Return an int, NumPy integer or 0-d integer array as int; raise a TypeError for all else, bools and floats too.

    Out of [minimum, maximum] is a ValueError. The messages start with `name`.

    >>> check_int(2.5, "n_filters")
    Traceback (most recent call last):
    ...
    TypeError: n_filters must be an int, got 2.5 (float)
    >>> check_int(0, "n_filters", minimum=1)
    Traceback (most recent call last):
    ...
    ValueError: n_filters must be at least 1, got 0
    """
    number = _as_index(value)
    if number is None:
        raise TypeError(f"{name} must be an int, got {_show(value)} ({type(value).__name__})")
    _check_range(number, name, minimum, maximum, inclusive="both")
    return number


def check_real(value, name, minimum=None, maximum=None, inclusive="both"):
    """Return a real number as float; raise a TypeError for bools and text, a ValueError for NaN and infinity.

    `inclusive` says which ends of the range are allowed: "both", "left", "right" or "neither".

    >>> check_real(1, "rate", 0, 1)
    1.0
    >>> check_real(1, "rate", 0, 1, inclusive="left")
    Traceback (most recent call last):
    ...
    ValueError: rate must be at least 0 and less than 1, got 1
    """
    # A 0-d array is no numbers.Real, its item is; a bool is one, but not what was meant.
    number = value.item() if getattr(value, "ndim", None) == 0 else value
    if isinstance(number, bool) or not isinstance(number, numbers.Real):
        raise TypeError(f"{name} must be a real number, got {_show(value)} ({type(value).__name__})")
    try:
        number = float(number)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{name} must be a finite number, got {_show(value)}")
    _check_range(number, name, minimum, maximum, inclusive, shown=value)
    return number


def check_bool(value, name):
    """Return a bool or NumPy bool as bool; raise a TypeError for all else, 0 and 1 too.

    >>> check_bool("no", "shuffle")
    Traceback (most recent call last):
    ...
    TypeError: shuffle must be a bool, got 'no' (str)
    """
    is_numpy_bool = getattr(getattr(value, "dtype", None), "kind", "") == "b" and getattr(value, "ndim", None) == 0
    if not (isinstance(value, bool) or is_numpy_bool):
        raise TypeError(f"{name} must be a bool, got {_show(value)} ({type(value).__name__})")
    return bool(value)


def check_choice(value, name, choices):
    """Return that one of `choices` (strings, None, bools) which equals `value`, or raise a ValueError that lists them.

    >>> check_choice("sdg", "solver", ("sgd", "adam"))
    Traceback (most recent call last):
    ...
    ValueError: solver must be one of 'sgd', 'adam', got 'sdg'
    """
    for choice in choices:
        # The type comes first: comparing an array with a string would give an array.
        if isinstance(value, type(choice)) and value == choice:
            return choice
    raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {_show(value)}")


def per_axis(value, name, ndim, minimum=None, maximum=None):
    """Return one int per axis: an int counts for all axes, a tuple or list gives each its own.

    >>> per_axis(3, "kernel_size", 2, minimum=1)
    (3, 3)
    >>> per_axis((3, 5, 7), "kernel_size", 2, minimum=1)
    Traceback (most recent call last):
    ...
    ValueError: kernel_size must be an int or a tuple of 2 ints, got (3, 5, 7)
    """
    if _as_index(value) is not None:
        return (check_int(value, name, minimum, maximum),) * ndim
    expected = f"{name} must be an int or {_tuple_of(ndim, 'int')}, got {_show(value)}"
    if not isinstance(value, tuple | list):
        raise TypeError(f"{expected} ({type(value).__name__})")
    if len(value) != ndim:
        raise ValueError(expected)
    return tuple(check_int(v, f"{name}[{axis}]", minimum, maximum) for axis, v in enumerate(value))


@dataclass(frozen=True, slots=True)
class Window:
    """A window that slides over an image, every number resolved: one entry per axis in each tuple.

    Made by `resolve_window` and `resolve_pool`, which check; the constructor does not. `pad_before` and `pad_after`
    are the pixels added on either side; for ``padding="same"`` they belong to the image size of the call.
    """

    kernel_size: tuple
    stride: tuple
    dilation: tuple
    pad_before: tuple
    pad_after: tuple
    ceil_mode: bool = False

    @property
    def ndim(self):
        """Number of axes."""
        return len(self.kernel_size)

    @property
    def extent(self):
        """Pixels that one window spans along each axis: (kernel_size - 1) * dilation + 1.

        >>> Window((3, 3), (1, 1), (1, 4), (0, 0), (0, 0)).extent
        (3, 9)
        """
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel_size, self.dilation, strict=True))

    def output_size(self, input_size):
        """Number of windows along each axis of an image of `input_size` (without channels).

        With ``ceil_mode`` the last window must start inside the image or its left padding, as in PyTorch and ONNX.

        >>> Window((3, 3), (2, 2), (1, 1), (1, 0), (1, 0)).output_size((8, 8))
        (4, 3)
        """
        input_size = per_axis(input_size, "input_size", self.ndim, minimum=1)
        axes = zip(input_size, self.pad_before, self.pad_after, self.extent, self.stride, strict=True)
        counts = tuple(_n_windows(*axis, self.ceil_mode) for axis in axes)
        if min(counts) < 1:
            remedy = "more padding" if any(self.pad_before + self.pad_after) else 'padding="same"'
            raise ValueError(
                f"{self.describe()} does not fit into {_describe_image(input_size)}; use {remedy} or a smaller kernel"
            )
        return counts

    def split(self):
        """What the window adds around an image, and the window over the image with that added.

        >>> before, after, window = Window((3, 3), (2, 2), (1, 1), (1, 0), (1, 1)).split()
        >>> before, after, window.pad_before, window.pad_after
        ((1, 0), (1, 1), (0, 0), (0, 0))
        """
        none = (0,) * self.ndim
        return self.pad_before, self.pad_after, replace(self, pad_before=none, pad_after=none)

    def describe(self):
        """``kernel_size=5 (9 pixels wide with dilation=2) with padding=1``: what an error message must say."""
        text = f"kernel_size={_compact(self.kernel_size)}"
        if self.extent != self.kernel_size:
            text += f" ({_compact(self.extent)} pixels wide with dilation={_compact(self.dilation)})"
        if any(self.pad_before + self.pad_after):
            pairs = tuple(zip(self.pad_before, self.pad_after, strict=True))
            text += f" with padding={_compact(self.pad_before) if self.pad_before == self.pad_after else pairs}"
        return text


def resolve_window(input_size, *, kernel_size, stride=1, padding=0, dilation=1, ceil_mode=False, name=""):
    """Check the parameters of a window and resolve them for one image size.

    Parameters
    ----------
    input_size : tuple of 1 to 3 ints
        Image size without channels: (length,), (height, width) or (depth, height, width).
    kernel_size, stride, dilation : int or tuple of int
    padding : {"valid", "same", "same_lower", "full"}, int, tuple of int or tuple of (before, after) pairs, default=0
        - "valid" or 0: windows inside the image only;
        - "same": output = ceil(input / stride), and where an odd number of pixels is to be added, the extra one
          comes after the image (ONNX calls it SAME_UPPER); "same_lower": it comes before;
        - "full": every window that touches the image, that is (kernel_size - 1) * dilation on both sides;
        - int: on all sides; a tuple of ints: on both sides of each axis; a tuple of pairs: (before, after) per axis.
    ceil_mode : bool, default=False
        Whether a last window may hang over the end; it must start inside the image or its left padding.
    name : str, default=""
        Name of the layer, for messages.

    Raises
    ------
    TypeError, ValueError
        If a parameter is wrong, the window does not fit, or the padded image or kernel has more than 2**40 elements.

    Examples
    --------
    >>> window = resolve_window((8, 8), kernel_size=3, padding="same", stride=2)
    >>> window.pad_before, window.pad_after, window.output_size((8, 8))
    ((0, 0), (1, 1), (4, 4))
    >>> resolve_window((8, 8), kernel_size=9, name="conv1")
    Traceback (most recent call last):
    ...
    ValueError: layer 'conv1': kernel_size=9 does not fit into an 8x8 image; use padding="same" or a smaller kernel
    """
    where = f"layer {name!r}: " if name else ""
    if not isinstance(input_size, tuple | list) or not 1 <= len(input_size) <= 3:
        raise ValueError(f"{where}input_size must be a tuple of 1 to 3 ints, got {_show(input_size)}")
    input_size = per_axis(input_size, f"{where}input_size", len(input_size), 1, MAX_ELEMENTS)
    ndim = len(input_size)
    kernel_size = per_axis(kernel_size, f"{where}kernel_size", ndim, 1, MAX_ELEMENTS)
    stride = per_axis(stride, f"{where}stride", ndim, 1, MAX_ELEMENTS)
    dilation = per_axis(dilation, f"{where}dilation", ndim, 1, MAX_ELEMENTS)
    ceil_mode = check_bool(ceil_mode, f"{where}ceil_mode")

    extent = Window(kernel_size, stride, dilation, (), ()).extent
    pads = _resolve_padding(padding, f"{where}padding", input_size, extent, stride)
    before, after = zip(*pads, strict=True)
    window = Window(kernel_size, stride, dilation, before, after, ceil_mode)

    try:
        window.output_size(input_size)
    except ValueError as error:
        raise ValueError(f"{where}{error}") from None
    padded = tuple(n + b + a for n, b, a in zip(input_size, before, after, strict=True))
    for what, sizes in (("padded image", padded), ("kernel", kernel_size)):
        if math.prod(sizes) > MAX_ELEMENTS:
            raise ValueError(
                f"{where}{window.describe()} on {_describe_image(input_size)} makes a {what} of "
                f"{'x'.join(map(str, sizes))} elements; the limit is 2**40 elements"
            )
    return window


def resolve_pool(input_size, *, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, name=""):
    """Check and resolve a pooling window: as `resolve_window`, and every window must touch the image.

    The maximum or mean over nothing but padding has no meaning, so the padding must be smaller than the window.
    ``stride=None`` means `kernel_size`, windows side by side; all else is as in `resolve_window`.

    Examples
    --------
    >>> resolve_pool((7, 7), kernel_size=2, ceil_mode=True).output_size((7, 7))
    (4, 4)
    >>> resolve_pool((8, 8), kernel_size=2, padding=2, name="pool1")
    Traceback (most recent call last):
    ...
    ValueError: layer 'pool1': padding=2 must be smaller than the pooling window, whose extent is 2; use at most 1
    """
    where = f"layer {name!r}: " if name else ""
    window = resolve_window(
        input_size,
        kernel_size=kernel_size,
        stride=kernel_size if stride is None else stride,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
        name=name,
    )
    if math.prod(window.kernel_size) > MAX_POOL:
        raise ValueError(
            f"{where}{window.describe()} pools over {math.prod(window.kernel_size)} pixels a window; "
            "the limit is 2**22 pixels"
        )
    for axis, (n, m) in enumerate(zip(input_size, window.extent, strict=True)):
        if max(window.pad_before[axis], window.pad_after[axis]) >= m:
            raise ValueError(
                f"{where}padding={_show(padding)} must be smaller than the pooling window, whose extent is "
                f"{_compact(window.extent)}; use at most {m - 1}"
            )
        if _misses_image(window, axis, n):
            raise ValueError(
                f"{where}{window.describe()}: a pooling window steps over the whole of "
                f"{_describe_image(input_size)}; use dilation of at most {n}, or no padding"
            )
    return window


def output_size(n, kernel_size, padding=0, stride=1, dilation=1, ceil_mode=False):
    """Compute the number of windows along one axis: floor((n + 2 * padding - m) / stride) + 1.

    Here m = (kernel_size - 1) * dilation + 1 is what one window spans.

    Parameters
    ----------
    n : int
        Pixels along the axis.
    kernel_size : int
    padding : {"valid", "same", "same_lower", "full"}, int or pair of ints (before, after), default=0
    stride, dilation : int, default=1
    ceil_mode : bool, default=False
        Whether to round up, as far as the last window starts inside the image or its left padding.

    Returns
    -------
    size : int

    Examples
    --------
    >>> output_size(28, 5), output_size(28, 5, padding=2), output_size(28, 5, "full")
    (24, 28, 32)
    >>> output_size(7, 2, stride=2), output_size(7, 2, stride=2, ceil_mode=True)
    (3, 4)
    """
    n = check_int(n, "n", 1, MAX_ELEMENTS)
    if isinstance(padding, tuple | list) and len(padding) == 2:
        padding = (padding,)
    window = resolve_window(
        (n,), kernel_size=kernel_size, stride=stride, padding=padding, dilation=dilation, ceil_mode=ceil_mode
    )
    return window.output_size((n,))[0]


def receptive_field(layers):
    """Compute how many input pixels one output pixel of a stack of layers sees, along each axis.

    A layer with kernel k, dilation d and stride s widens the field r by (k - 1) * d steps of the grid on which it
    works; one such step is the product of all strides before it, in input pixels [1]_, [2]_::

        r_l = r_{l-1} + (k_l - 1) * d_l * s_1 * ... * s_{l-1},        r_0 = 1

    Parameters
    ----------
    layers : list of tuple
        (kernel_size, stride) or (kernel_size, stride, dilation) of each convolution or pooling, from the input to the
        output; each an int or a tuple of one int per axis.

    Returns
    -------
    size : int or tuple of int
        An int where all are given as ints, else one int per axis.

    References
    ----------
    .. [1] Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", 2016, arXiv:1603.07285.
    .. [2] Araujo, Norris and Sim, "Computing Receptive Fields of Convolutional Neural Networks", Distill 2019,
       eq. (2).

    Examples
    --------
    Two 3x3 convolutions see as much as a 5x5 one; with pooling of 2 in between, more:

    >>> receptive_field([(3, 1), (3, 1)])
    5
    >>> receptive_field([(3, 1), (2, 2), (3, 1)])
    8
    >>> receptive_field([((3, 5), 1), (2, 2)])
    (4, 6)
    """
    rows = []
    for index, layer in enumerate(layers):
        row = (layer.kernel_size, layer.stride, layer.dilation) if isinstance(layer, Window) else layer
        if not isinstance(row, tuple | list) or len(row) not in (2, 3):
            raise ValueError(f"layers[{index}] must be a tuple (kernel_size, stride[, dilation]), got {_show(layer)}")
        rows.append((*row, 1)[:3])
    lengths = {len(value) for row in rows for value in row if isinstance(value, tuple | list)}
    if len(lengths) > 1:
        raise ValueError(f"layers must all have the same number of axes, got {sorted(lengths)}")
    ndim = max(lengths, default=1)

    size, step = [1] * ndim, [1] * ndim
    for index, row in enumerate(rows):
        kernel_size, stride, dilation = (per_axis(value, f"layers[{index}]", ndim, minimum=1) for value in row)
        for axis in range(ndim):
            size[axis] += (kernel_size[axis] - 1) * dilation[axis] * step[axis]
            step[axis] *= stride[axis]
    return tuple(size) if lengths else size[0]


def _n_windows(n, before, after, extent, stride, ceil_mode):
    """Count the windows along one axis; zero or less where none fits."""
    span = n + before + after - extent
    if not ceil_mode:
        return span // stride + 1
    # A window that starts behind the image would see nothing but padding.
    return min(-(-span // stride) + 1, (n + before - 1) // stride + 1)


def _misses_image(window, axis, n):
    """Whether some window that spans part of the image has no tap on it, its taps being more than n pixels apart."""
    before, stride, dilation = window.pad_before[axis], window.stride[axis], window.dilation[axis]
    if dilation <= n or before == 0:
        return False
    count = _n_windows(n, before, window.pad_after[axis], window.extent[axis], stride, window.ceil_mode)
    # Only windows that start in front of the image can miss it; their first tap at or behind pixel 0 is the start
    # modulo the dilation.
    return any((i * stride - before) % dilation >= n for i in range(min(count, -(-before // stride), dilation)))


def _resolve_padding(padding, name, input_size, extent, stride):
    """Resolve `padding` into one (before, after) pair per axis."""
    if isinstance(padding, str):
        kind = check_choice(padding, name, PADDINGS)
        if kind == "valid":
            return [(0, 0)] * len(input_size)
        if kind == "full":
            return [(m - 1, m - 1) for m in extent]
        pads = []
        for n, m, s in zip(input_size, extent, stride, strict=True):
            total = max((-(-n // s) - 1) * s + m - n, 0)
            less, more = total // 2, total - total // 2
            pads.append((less, more) if kind == "same" else (more, less))
        return pads
    if _as_index(padding) is not None:
        return [(check_int(padding, name, 0, MAX_ELEMENTS),) * 2] * len(input_size)

    kinds = f"an int, {_tuple_of(len(input_size), 'int')} or {_tuple_of(len(input_size), '(before, after) pair')}"
    expected = f"{name} must be one of {', '.join(map(repr, PADDINGS))}, {kinds}, got {_show(padding)}"
    if not isinstance(padding, tuple | list):
        raise TypeError(f"{expected} ({type(padding).__name__})")
    pairs = [tuple(sides) if isinstance(sides, tuple | list) else (sides, sides) for sides in padding]
    if len(pairs) != len(input_size) or any(len(pair) != 2 for pair in pairs):
        raise ValueError(expected)
    return [
        tuple(check_int(side, f"{name}[{axis}]", 0, MAX_ELEMENTS) for side in pair) for axis, pair in enumerate(pairs)
    ]


def _as_index(value):
    """Return an integer as a Python int and everything else, bools among it, as None."""
    if isinstance(value, bool) or getattr(value, "ndim", 0) != 0:
        return None
    if getattr(getattr(value, "dtype", None), "kind", "i") not in "iu":
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def _check_range(number, name, minimum, maximum, inclusive, shown=None):
    """Raise a ValueError for a number out of its range; `shown` is what the user wrote, where `number` is not."""
    low_in, high_in = inclusive in ("both", "left"), inclusive in ("both", "right")
    low_ok = minimum is None or number > minimum or (low_in and number == minimum)
    high_ok = maximum is None or number < maximum or (high_in and number == maximum)
    if low_ok and high_ok:
        return
    limits = []
    if minimum is not None:
        limits.append(f"{'at least' if low_in else 'greater than'} {minimum}")
    # 2**40 bounds every size; it is of no interest to somebody who wrote stride=0.
    if maximum is not None and (maximum != MAX_ELEMENTS or not high_ok):
        limits.append(f"{'at most' if high_in else 'less than'} {'2**40' if maximum == MAX_ELEMENTS else maximum}")
    raise ValueError(f"{name} must be {' and '.join(limits)}, got {_show(number if shown is None else shown)}")


def _show(value):
    """Show a value in a message, shortened where it is long."""
    try:
        text = repr(value)
    except ValueError:  # Python refuses to print integers of more than 4300 digits
        return f"a huge {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."


def _tuple_of(ndim, what):
    return f"a tuple of {ndim} {what}{'s' if ndim > 1 else ''}"


def _compact(values):
    """``3`` for (3, 3), else the tuple."""
    return values[0] if len(set(values)) == 1 else values


def _describe_image(size):
    """``an 8x8 image``, ``a signal of length 100``, ``a 16x16x16 volume``."""
    if len(size) == 1:
        return f"a signal of length {size[0]}"
    article = "an" if f"{size[0]}x".startswith(("8", "11x", "18x")) else "a"
    return f"{article} {'x'.join(map(str, size))} {'image' if len(size) == 2 else 'volume'}"


def in_3d(values, fill):
    """The values of three axes, the missing ones in front."""
    return (fill,) * (3 - len(values)) + tuple(values)


def window_in_3d(window):
    """The window with three axes, the missing ones in front."""
    return Window(
        *(
            in_3d(values, fill)
            for values, fill in zip(
                (window.kernel_size, window.stride, window.dilation, window.pad_before, window.pad_after),
                (1, 1, 1, 0, 0),
                strict=True,
            )
        ),
        window.ceil_mode,
    )
