"""Convolution line by line, for kernels of 3, 5 or 7 pixels a row: see lines.h.

Loop order: blocks of one or two vectors of columns, whose weights stay in the second cache; lines; tiles of nearly
equal height. Where all weights stay in the first cache, tiles go through the blocks one after the other instead, so
that a result is written whole (3 to 128 channels of 3x3: a tile stored 128 bytes here and there in 5 KiB, and takes 6
to 19 % of a call less so). A sum goes by rows of the kernel, channels and taps, whatever tile computes it.
"""
from cpython.pyport cimport PY_SSIZE_T_MAX

from .product cimport LANES, copy_pixel, fetch
from .real cimport real
from ..table cimport Lines, Run

cdef extern from "lines.h" nogil:
    ctypedef void (*Line "skconv_line")(const Run *rows, Py_ssize_t n_rows, Py_ssize_t n_channels, const real *x,
                                        Py_ssize_t x_pixel, const real *w, Py_ssize_t w_tap, Py_ssize_t w_channel,
                                        const real *bias, real *y, Py_ssize_t y_pixel, int relu, int left, int right)
    const Line lines_1 "skconv_lines_1"[3][15]
    const Line lines_2 "skconv_lines_2"[3][15]
    const Py_ssize_t line_heights "skconv_line_heights"[2][3]
    const Py_ssize_t most_line_columns "skconv_most_line_columns"
    enum:
        MAX_LINE "SKCONV_MAX_LINE"

cdef enum:
    INNER_BYTES = 16 * 1024     # of weights: half of a small first cache


cdef inline Py_ssize_t least_line(Py_ssize_t kernel, Py_ssize_t n_columns) noexcept nogil:
    """Pixels that a line of so many columns must have."""
    cdef Py_ssize_t kind = (kernel - 3) // 2
    if n_columns > most_line_columns:
        return PY_SSIZE_T_MAX
    return (max(line_heights[0][kind], line_heights[1][kind]) + 1) // 2


cdef inline void convolve_lines(
    const Lines *p,
    Py_ssize_t n_lines,
    const real *x,                  # what the first tap of the first pixel sees
    const real *w,
    const real *bias,               # (n_columns,), readable for two vectors more, or NULL
    real *y,                        # OUT
    bint relu,
) noexcept nogil:
    cdef:
        real[2 * 16 * MAX_LINE] whole   # a tile whose last columns do not exist; no vector has more than 16 lanes
        Py_ssize_t kind = (p.kernel - 3) // 2, f = 0, line, m, i, tile, n_tiles, height, width, max_height, v
        bint left, right
        Py_ssize_t fetched = 0, share, end, block, last, first
        const Line *tiles
        const real *at
        real *out
        bint is_inner = p.n_rows * p.kernel * p.n_channels * p.n_columns * <Py_ssize_t> sizeof(real) <= INNER_BYTES
    while f < p.n_columns:
        v = 1 if line_heights[1][kind] > 0 and p.n_columns - f > LANES else 0
        block = (v + 1) * LANES
        last = min(f + block, p.n_columns)
        if is_inner:    # all blocks of as many vectors
            last = p.n_columns
            if v == 1 and 0 < (last - f) % block <= LANES:
                last -= (last - f) % block
        tiles, max_height = &lines_2[kind][0] if v == 1 else &lines_1[kind][0], line_heights[v][kind]
        n_tiles = (p.width + max_height - 1) // max_height
        if p.width <= MAX_LINE and tiles[p.width] != NULL:
            n_tiles = 1
        # What is fetched is shared out evenly among the tiles to come.
        share = n_lines * n_tiles * ((p.n_columns - f + block - 1) // block)
        share = (p.n_ahead - fetched + share - 1) // share
        first = f
        for line in range(n_lines):
            m = 0
            for tile in range(n_tiles):
                height = (p.width - m) // (n_tiles - tile)
                left, right = p.left and tile == 0, p.right and tile == n_tiles - 1
                at = x + line * p.x_line + m * p.x_pixel
                out = y + line * p.y_line + m * p.y_pixel
                f = first
                while f < last:
                    end = min(fetched + share, p.n_ahead)
                    fetch(p.ahead, fetched, end)
                    fetched = end
                    width = min(last - f, block)
                    if width == block:
                        tiles[height](p.rows, p.n_rows, p.n_channels, at, p.x_pixel, w + f, p.w_tap, p.w_channel,
                                      bias + f if bias != NULL else NULL, out + f, p.y_pixel, relu, left, right)
                    else:
                        tiles[height](p.rows, p.n_rows, p.n_channels, at, p.x_pixel, w + f, p.w_tap, p.w_channel,
                                      bias + f if bias != NULL else NULL, whole, block, relu, left, right)
                        for i in range(height):
                            copy_pixel(whole + i * block, width, out + f + i * p.y_pixel)
                    f += width
                m += height
        f = last
