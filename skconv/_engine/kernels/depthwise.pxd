"""Products column by column: what a depthwise convolution is made of, where filter f sees channel f alone.

    C[m, f] (+)= sum_r sum_l A[a_rows[m] + runs[r].a + l*a_step + f] * B[runs[r].b + l*b_step + f]

The arguments are those of `product`, whose A has no column.  Loop order: blocks of two vectors of columns, then tiles
of up to six rows; a multiply-add loads its own vector of A, and all rows of a tile share that of B, so the loads (two
per cycle) keep up with the multiply-adds.  B is at most a few lines of pixels or taps: it needs no blocks of its own.

Where sums start anew, the last vector of columns may overlap the one before it: both compute the same, which is cheaper
than a partial tile (24 channels, AVX-512: 26 GFLOP/s against 15).
"""
from .product cimport LANES, Tile, row_tiles
from .real cimport real
from ..table cimport ADD_TO_RESULT, Product

cdef extern from "tile.h" nogil:
    const Tile *depth_tiles_1 "skconv_depth_tiles_1"
    const Tile *depth_tiles_2 "skconv_depth_tiles_2"
    const Py_ssize_t depth_tile_rows "skconv_depth_tile_rows"


cdef inline void depthwise(
    const Product *p,
    Py_ssize_t n_rows,
    Py_ssize_t n_columns,
    const real *A,                  # readable for up to two vectors past the last column, as B and the bias
    const Py_ssize_t *a_rows,       # (n_rows,)
    const real *B,
    int start,
    const real *bias,               # (n_columns,) where start is START_AT_BIAS
    real *C,                        # OUT
    const Py_ssize_t *c_rows,       # (n_rows,)
    bint relu,
) noexcept nogil:
    cdef Py_ssize_t f = 0, width
    while f < n_columns:
        width = min(n_columns - f, 2 * LANES)
        if width % LANES != 0 and n_columns >= LANES and start != ADD_TO_RESULT:
            if width < LANES:
                f = n_columns - LANES
            width = LANES
        row_tiles(depth_tiles_2 if width > LANES else depth_tiles_1, depth_tile_rows, p, n_rows, width, A + f, a_rows,
                  B + f, start, bias + f, C + f, c_rows, relu, NULL, 0)
        f += width


cdef inline void repeat_channels(const real *x, Py_ssize_t n, Py_ssize_t times, real *y) noexcept nogil:
    """y[i * times + j] = x[i] for a line of n values."""
    cdef Py_ssize_t i, j
    if times == 2:                  # known to the compiler, which then has vectors of pairs
        for i in range(n):
            y[2 * i] = x[i]
            y[2 * i + 1] = x[i]
        return
    for i in range(n):
        for j in range(times):
            y[j] = x[i]
        y += times


cdef inline void add_repeats(const real *dy, Py_ssize_t n, Py_ssize_t times, real *dx) noexcept nogil:
    """dx[i] = sum_j dy[i * times + j]."""
    cdef Py_ssize_t i, j
    cdef real total
    for i in range(n):
        total = dy[0]
        for j in range(1, times):
            total += dy[j]
        dx[i] = total
        dy += times
