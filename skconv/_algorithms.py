"""Which algorithm computes a convolution: a function of shapes alone, visible and overridable."""

from ._geometry import in_3d, window_in_3d

PLANES = 36  # of Winograd's tiles: their inputs, and the multiplications for each pair of channel and filter

# Winograd's algorithm from so many tiles on, by the side of the kernel, and with so many pairs of channel and filter
# for each tile at most. Samples of few tiles share a product, but the weights are transformed in every step of
# training and call of a function, and a sample alone reads them all (3x3 on 4x4 pixels, GFLOP/s forward of 256
# samples, 64 -> 64: 430, directly 176; with backward, 256 -> 256: 83 and 83; 5x5 on 6x6 without padding, 64 -> 64: 432
# and 262).
WINOGRAD_TILES = {3: 1, 5: 4}
WINOGRAD_PAIRS = 4096
WINOGRAD_WASTE = {3: 1.7, 5: 1.4}  # pixels of the tiles per pixel of the map
WINOGRAD_WASTE_OF_FEW = 1.2  # channels; 6 -> 128 3x3 on 14x14 pixels, 1.3: 192 and 177 GFLOP/s
# Its multiplications per term of the direct sums, which leave out the taps on the margin (5x5 on 6x6 pixels, padding
# "same", 0.56: 32 -> 32: 253 and 294; on 7x7, 0.68: 236 and 227).
WINOGRAD_SHARE = 0.6


LINE_TILE = 4  # lines of the output at a time, where it goes along one axis
LINE_PRODUCTS = {3: 6, 5: 8, 7: 14}  # of rows of taps for such a tile, by the rows of the kernel


def choose_algorithm(operation):
    """Choose how a convolution is computed: Winograd's where measured to be faster, or asked for.

    That is F(4x4, 3x3) or F(2x2, 5x5), by the kernel. Both sides need a vector of channels (16), and the map must fill
    its tiles of 4x4 or 2x2 pixels reasonably, and have enough of them for the transformed weights. GFLOP/s forward,
    AVX-512, direct and so: 3x3 on 4x4, 16 -> 32: 147 and 239; 8x8, 16 -> 16: 126 and 196, 128 -> 128: 174 and 333;
    16x16, 24 -> 64: 150 and 279; 32x32, 32 -> 16: 121 and 179; 5x5 on 8x8, 16 -> 16: 180 and 189; 64 -> 64: 253 and
    362; 56x56, 32 -> 32: 164 and 269.

    Of 6 to 15 channels it computes the output alone, the gradients are direct. 28x28, AVX-512 and AVX2: 3x3, 6 -> 32
    1.15 and 1.29 times as fast, 6 -> 64 1.30 and 1.44, 12 -> 16 1.18 and 1.53; 5x5, 6 -> 128 1.13 and 1.54, 12 -> 32
    1.31 and 1.47. Fewer channels, 3 -> 128 3x3: 0.75 and 0.86.

    Returns
    -------
    name : {"direct", "winograd"}
    reason : str
    """
    channels, filters = operation.in_shape[-1], operation.out_shape[-1]
    if operation.algorithm == "direct":
        return "direct", "asked for"
    if pays_by_lines(operation):
        rows = operation.window.kernel_size[-2]
        n, of = LINE_PRODUCTS[rows], LINE_TILE * rows
        return "winograd", f"a kernel of {rows} rows, line by line: {n} multiplications in place of {of}"
    if not (operation.supports_winograd or operation.supports_winograd_forward):
        wants = "a 3x3 or 5x5 kernel, stride 1, dilation 1, one group and at least 16 channels and filters"
        return "direct", f"Winograd's algorithm needs {wants}, got {operation.describe()}"
    if operation.algorithm == "winograd":
        return "winograd", "asked for"
    _, height, width = in_3d(operation.out_shape[:-1], 1)
    kernel, side, tiles = operation.window.kernel_size[-1], tile_side(operation), winograd_tiles(operation)
    square = f"{side}x{side}"
    waste = WINOGRAD_WASTE[kernel] if operation.supports_winograd else WINOGRAD_WASTE_OF_FEW
    if tiles < WINOGRAD_TILES[kernel] or side**2 * tiles > waste * height * width:
        return "direct", f"{height}x{width} pixels fill the {square} tiles of Winograd's algorithm badly"
    if PLANES * tiles > WINOGRAD_SHARE * _taps_on_the_image(operation):
        return "direct", f"on {height}x{width} pixels it leaves out many taps that fall on the margin"
    if channels * filters > WINOGRAD_PAIRS * tiles:
        weights = f"the transformed weights of {channels} channels and {filters} filters"
        return "direct", f"{weights} cost more than Winograd's algorithm saves on {tiles} tiles of {square} pixels"
    saving = f"{PLANES} multiplications in place of {(side * kernel) ** 2}"
    return "winograd", f"a {kernel}x{kernel} kernel on {channels} channels with {filters} filters: {saving}"


def is_winograd(operation):
    """Whether Winograd's algorithm computes a convolution by tiles, along both axes."""
    return choose_algorithm(operation)[0] == "winograd" and not pays_by_lines(operation)


def pays_by_lines(operation):
    """Whether Winograd's algorithm computes the output along one axis, whole lines at a time (winograd_lines.h)."""
    if operation.algorithm != "auto" or not operation.supports_winograd_lines:
        return False
    return False


def tile_side(operation):
    """Pixels of a tile of the output along each axis: its 6x6 inputs see so many kernels."""
    return 7 - operation.window.kernel_size[-1]


def winograd_tiles(operation):
    """Tiles that cover one depth slice of the output."""
    _, height, width = in_3d(operation.out_shape[:-1], 1)
    side = tile_side(operation)
    return -(-height // side) * -(-width // side)


def _taps_on_the_image(operation):
    """Taps of all kernels on one depth slice that do not fall on the margin."""
    window, n_taps = window_in_3d(operation.window), 1
    sizes, outs = in_3d(operation.in_shape[:-1], 1), in_3d(operation.out_shape[:-1], 1)
    for axis in (1, 2):
        kernel, pad, size, out = window.kernel_size[axis], window.pad_before[axis], sizes[axis], outs[axis]
        before = sum(min(kernel, pad - o) for o in range(min(pad, out)))
        after = sum(min(kernel, o + kernel - pad - size) for o in range(max(0, pad + size - kernel + 1), out))
        n_taps *= max(0, kernel * out - before - after)
    return n_taps


def n_executed_multiplications(operation):
    """Multiplications that a convolution of one sample takes; Winograd's has 36 for every tile along both axes."""
    depth, height, width = in_3d(operation.out_shape[:-1], 1)
    if pays_by_lines(operation):
        rows, taps = operation.window.kernel_size[-2:]
        n_rows = depth * -(-height // LINE_TILE) * LINE_PRODUCTS[rows]
        return n_rows * taps * width * operation.in_shape[-1] * operation.out_shape[-1]
    if not is_winograd(operation):
        return operation.n_multiplications
    return PLANES * depth * winograd_tiles(operation) * operation.in_shape[-1] * operation.out_shape[-1]
