"""Which algorithm computes a convolution: a function of shapes alone, visible and overridable."""

from ._geometry import in_3d, window_in_3d

TILE_SIDE = 4  # pixels of the output along an axis of Winograd's tiles, and lines where it goes along one axis

# By the side of the kernel: pairs of channel and filter for each of Winograd's tiles at most. Samples of few tiles
# share a product, but the weights are transformed in every step of training and call of a function, and a sample alone
# reads them all (3x3 on 4x4 pixels, GFLOP/s forward of 256 samples, 64 -> 64: 430, directly 176; with backward, 256 ->
# 256: 83 and 83; 5x5 on 8x8, with backward of 128 samples, 256 -> 256: 244 and 103; on 4x4, 128 -> 128: 174 and 178).
WINOGRAD_PAIRS = {3: 4096, 5: 16384}
# Pixels of the tiles per pixel of the map (5x5, 32 -> 32, without padding, to 5x5 pixels, 2.6: 241 and 170 GFLOP/s,
# with backward 106 and 91), and where there are few channels (14x14, 1.3, 3x3, 6 -> 128: 177 and 192; 5x5: 247 and 185;
# on 10x10, 1.4, 6 -> 64: 210 and 223).
WINOGRAD_WASTE = {3: 1.7, 5: 2.6}
WINOGRAD_WASTE_OF_FEW = {3: 1.2, 5: 1.4}
# Its multiplications per term of the direct sums, which leave out the taps on the margin (5x5 with padding "same", 32
# -> 32, on 6x6 pixels, 0.44: 350 and 247 GFLOP/s, with backward 213 and 166; on 5x5, 0.71: 251 and 271, 163 and 178).
WINOGRAD_SHARE = 0.6

LINE_PRODUCTS = {3: 6, 5: 8, 7: 14}  # of rows of taps for such a tile, by the rows of the kernel
# Where it goes along one axis: from more filters on than planes take, and, where tiles along both axes would compute
# the output of few channels as well, up to so many pairs of channel and filter.
FEW_FILTERS = 8
LINE_PAIRS = 191
# It wants rows of so many terms (5x5 on 28x28, speed beside the direct sums', AVX-512 and AVX2: 3 -> 16 1.11 and 1.49;
# 1 -> 64, whose sums did not stay in registers then, 0.65 and 0.72), lines of so many pixels, and at most so many
# products per row of taps that falls on the image, which is all that the direct sums take (7x7, 6 -> 16 on 7x7 pixels,
# 0.76: 1.15 and 0.94; on 6x6, 0.89: 0.74 and 0.78).
LINE_TERMS = 12
LINE_PIXELS = 7
LINE_SHARE = 0.74
# Or one channel and so many filters, the most that any vector holds: sums then stay in registers.
CHANNEL_FILTERS = 16
# With no more filters than that, so many channels, and a lower share.
PLANE_CHANNELS = 3
PLANE_SHARE = 0.67


def choose_algorithm(operation):
    """Choose how a convolution is computed: Winograd's where measured to be faster, or asked for.

    That is F(4x4, 3x3) or F(4x4, 5x5), by the kernel. Both sides need a vector of channels (16), and the map must fill
    its tiles of 4x4 pixels reasonably, and have enough of them for the transformed weights. GFLOP/s forward, AVX-512,
    direct and so: 3x3 on 4x4, 16 -> 32: 147 and 239; 8x8, 16 -> 16: 126 and 196, 128 -> 128: 174 and 333; 16x16, 24 ->
    64: 150 and 279; 32x32, 32 -> 16: 121 and 179; 5x5 on 8x8, 16 -> 16: 208 and 390; 64 -> 64: 231 and 592; 56x56, 32
    -> 32: 181 and 528.

    Of 6 to 15 channels it computes the output alone, the gradients are direct. 28x28, AVX-512 and AVX2: 3x3, 6 -> 32
    1.15 and 1.29 times as fast, 6 -> 64 1.30 and 1.44, 12 -> 16 1.18 and 1.53; 5x5, 6 -> 16 1.16 and 1.59, 6 -> 128
    1.79 and 1.67, 12 -> 32 2.14 and 2.37. Fewer channels, 3 -> 128 3x3: 0.75 and 0.86, 5x5: 1.09 and 0.97.

    With up to 8 filters it goes down the image alone, line by line: kernels of 3, 5 or 7 rows, 3 channels at least, and
    lines enough for tiles of four. AVX-512 and AVX2: 28x28, 7x7, 6 -> 6 1.6 and 1.7 times as fast; 5x5, 3 -> 6 1.45 and
    1.5; 3x3, 3 -> 6 1.3 and 1.3, but 3 -> 8 1.3 and 0.83. The input's gradient of up to 8 channels goes so, too.
    5x5 kernels on one channel with 16 filters or more go so with sums in registers (`is_one_channel`).

    Returns
    -------
    name : {"direct", "winograd"}
    reason : str
    """
    if operation.algorithm == "direct":
        return "direct", "asked for"
    if pays_by_lines(operation):
        rows = operation.window.kernel_size[-2]
        n, of = LINE_PRODUCTS[rows], TILE_SIDE * rows
        return "winograd", f"a kernel of {rows} rows, line by line: {n} multiplications in place of {of}"
    return _by_tiles(operation)


def _by_tiles(operation):
    """As `choose_algorithm`, by tiles along both axes."""
    channels, filters = operation.in_shape[-1], operation.out_shape[-1]
    if not (operation.supports_winograd or operation.supports_winograd_forward):
        wants = "a 3x3 or 5x5 kernel, stride 1, dilation 1, one group and at least 16 channels and filters"
        return "direct", f"Winograd's algorithm needs {wants}, got {operation.describe()}"
    if operation.algorithm == "winograd" and operation.supports_winograd:
        return "winograd", "asked for"
    _, height, width = in_3d(operation.out_shape[:-1], 1)
    kernel, planes, tiles = operation.window.kernel_size[-1], winograd_planes(operation), winograd_tiles(operation)
    square = f"{TILE_SIDE}x{TILE_SIDE}"
    waste = (WINOGRAD_WASTE if operation.supports_winograd else WINOGRAD_WASTE_OF_FEW)[kernel]
    if TILE_SIDE**2 * tiles > waste * height * width:
        return "direct", f"{height}x{width} pixels fill the {square} tiles of Winograd's algorithm badly"
    if planes * tiles > WINOGRAD_SHARE * _taps_on_the_image(operation):
        return "direct", f"on {height}x{width} pixels it leaves out many taps that fall on the margin"
    if channels * filters > WINOGRAD_PAIRS[kernel] * tiles:
        weights = f"the transformed weights of {channels} channels and {filters} filters"
        return "direct", f"{weights} cost more than Winograd's algorithm saves on {tiles} tiles of {square} pixels"
    saving = f"{planes} multiplications in place of {(TILE_SIDE * kernel) ** 2}"
    return "winograd", f"a {kernel}x{kernel} kernel on {channels} channels with {filters} filters: {saving}"


def is_winograd(operation):
    """Whether Winograd's algorithm computes a convolution by tiles along both axes: gradients, and output unless by
    lines."""
    return operation.algorithm != "direct" and _by_tiles(operation)[0] == "winograd"


def pays_by_lines(operation):
    """Whether Winograd's algorithm computes the output along one axis, whole lines at a time (winograd_lines.h)."""
    if operation.algorithm == "direct" or not operation.supports_winograd_lines:
        return False
    if operation.algorithm == "winograd":
        return not operation.supports_winograd
    if operation.out_shape[-1] <= FEW_FILTERS:
        return _pays_by_planes(operation, operation.in_shape[-1], operation.out_shape[-3])
    return _pays_by_lines_of_filters(operation)


def pays_back_by_lines(operation):
    """Whether the input's gradient goes so: a convolution of the output's gradient, where algorithms are chosen."""
    if operation.algorithm != "auto" or not operation.supports_winograd_lines:
        return False
    if operation.in_shape[-1] <= FEW_FILTERS:
        return _pays_by_planes(operation, operation.out_shape[-1], operation.in_shape[-3])
    return _pays_by_lines_of_filters(operation, back=True)


def _pays_by_planes(operation, n_channels, height):
    """With so few filters that the lanes of a vector are pixels (_engine/winograd_planes.h)."""
    n_products = -(-height // TILE_SIDE) * LINE_PRODUCTS[operation.window.kernel_size[-2]]
    return n_channels >= PLANE_CHANNELS and n_products <= PLANE_SHARE * _inside(operation, 1)


def _pays_by_lines_of_filters(operation, back=False):
    channels, filters = operation.in_shape[-1], operation.out_shape[-1]
    _, height, width = in_3d(operation.out_shape[:-1], 1)
    if back:
        _, height, width = in_3d(operation.in_shape[:-1], 1)
        channels, filters = filters, channels
    rows, taps = operation.window.kernel_size[-2:]
    is_long = taps * channels >= LINE_TERMS or (not back and is_one_channel(operation))
    if rows == 3 or not is_long or width < LINE_PIXELS:
        return False
    if is_winograd(operation) and (operation.supports_winograd or (not back and channels * filters > LINE_PAIRS)):
        return False
    return LINE_PRODUCTS[rows] * -(-height // TILE_SIDE) <= LINE_SHARE * _inside(operation, 1)


def is_one_channel(operation):
    """Whether kernel, filters and lines are such that sums of one channel by lines stay in registers.

    28x28, 5x5, one thread, speed beside the direct sums', AVX-512 and AVX2: 1 -> 16 1.2 and 1.7, 1 -> 64 1.4 and 1.7.
    Like kernels for few filters, they read the image where it lies (`makes_zeros`).
    """
    return (
        operation.in_shape[-1] == 1
        and tuple(operation.window.kernel_size[-2:]) == (5, 5)
        and operation.out_shape[-1] >= CHANNEL_FILTERS
        and operation.out_shape[-2] >= TILE_SIDE
    )


def winograd_planes(operation):
    """Of Winograd's tiles: their inputs, and the multiplications for each pair of channel and filter."""
    return (TILE_SIDE + operation.window.kernel_size[-1] - 1) ** 2


def makes_zeros(operation):
    """Whether it reads the image alone, and makes the zeros around it."""
    return (operation.out_shape[-1] <= FEW_FILTERS or is_one_channel(operation)) and pays_by_lines(operation)


def whole_tiles(operation, is_pooled):
    """Lines and pixels behind the last one that a convolution sees, which whole tiles see."""
    more = TILE_SIDE - 1 if is_winograd(operation) else 0
    lines = more
    if pays_by_lines(operation) and not makes_zeros(operation):
        # From any line on under a pooling; seven rows see one more.
        height = in_3d(operation.out_shape[:-1], 1)[1]
        lines = TILE_SIDE - 1 if is_pooled else -height % TILE_SIDE
        lines = max(more, lines) + (operation.window.kernel_size[-2] == 7)
    return lines, more


def winograd_tiles(operation):
    """Tiles that cover one depth slice of the output."""
    _, height, width = in_3d(operation.out_shape[:-1], 1)
    return -(-height // TILE_SIDE) * -(-width // TILE_SIDE)


def _taps_on_the_image(operation):
    """Taps of all kernels on one depth slice that do not fall on the margin."""
    return _inside(operation, 1) * _inside(operation, 2)


def _inside(operation, axis):
    """Taps of all kernels along one axis that do not fall on the margin: terms of the input's gradient, too."""
    window = window_in_3d(operation.window)
    size, out = in_3d(operation.in_shape[:-1], 1)[axis], in_3d(operation.out_shape[:-1], 1)[axis]
    kernel, pad = window.kernel_size[axis], window.pad_before[axis]
    before = sum(min(kernel, pad - o) for o in range(min(pad, out)))
    after = sum(min(kernel, o + kernel - pad - size) for o in range(max(0, pad + size - kernel + 1), out))
    return max(0, kernel * out - before - after)


def n_transformed(operation):
    """Values of the weights that Winograd's algorithm transforms."""
    pairs = operation.in_shape[-1] * operation.out_shape[-1]
    rows, taps = operation.window.kernel_size[-2:] if len(operation.window.kernel_size) > 1 else (1, 1)
    of_lines = (pays_by_lines(operation) + pays_back_by_lines(operation)) * LINE_PRODUCTS.get(rows, 0) * taps
    of_tiles = winograd_planes(operation) if is_winograd(operation) else 0
    return (of_tiles + of_lines) * pairs


def n_executed_multiplications(operation):
    """Multiplications that a convolution of one sample takes; Winograd's has 36 or 64 a tile along both axes."""
    depth, height, width = in_3d(operation.out_shape[:-1], 1)
    if pays_by_lines(operation):
        rows, taps = operation.window.kernel_size[-2:]
        n_rows = depth * -(-height // TILE_SIDE) * LINE_PRODUCTS[rows]
        return n_rows * taps * width * operation.in_shape[-1] * operation.out_shape[-1]
    if not is_winograd(operation):
        return operation.n_multiplications
    return (
        winograd_planes(operation)
        * depth
        * winograd_tiles(operation)
        * operation.in_shape[-1]
        * operation.out_shape[-1]
    )
