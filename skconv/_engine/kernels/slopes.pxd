"""The weights' gradient of kernels of 3, 5 or 7 pixels a row: see slopes.h.

Loop order: blocks of one or two vectors of columns, whose part of dz should stay in the first cache; tiles of nearly
as many rows each, whose neighbours read the same cache lines of x.  The order of a sum is that of a product.
"""
from .product cimport LANES
from .real cimport real
from ..table cimport Product

cdef extern from "slopes.h" nogil:
    ctypedef void (*Slope "skconv_slope")(const Product *p, const real *A, const Py_ssize_t *a_rows, const real *B,
                                          real *C, const Py_ssize_t *c_rows, Py_ssize_t c_tap)
    const Slope slopes_1 "skconv_slopes_1"[3][9]
    const Slope slopes_2 "skconv_slopes_2"[3][9]
    const Py_ssize_t slope_rows "skconv_slope_rows"[2][3]


cdef inline Py_ssize_t slope_columns(Py_ssize_t kernel, Py_ssize_t n_columns) noexcept nogil:
    """For how many of so many columns there are tiles: whole vectors, or none."""
    return n_columns - n_columns % LANES if slope_rows[0][(kernel - 3) // 2] > 0 else 0


cdef inline void add_slopes(
    const Product *p,               # its runs are lines of dz
    Py_ssize_t kernel,
    Py_ssize_t n_rows,
    Py_ssize_t n_columns,           # whole vectors
    const real *A,
    const Py_ssize_t *a_rows,       # (n_rows,) what the first tap sees
    const real *B,
    real *C,                        # added to
    const Py_ssize_t *c_rows,       # (n_rows,)
    Py_ssize_t c_tap,               # from one tap to the next
) noexcept nogil:
    cdef:
        Py_ssize_t kind = (kernel - 3) // 2, f = 0, m, i, height, n_tiles, v
        const Slope *tiles
    while f < n_columns:
        v = 1 if n_columns - f >= 2 * LANES and slope_rows[1][kind] > 0 else 0
        tiles = &slopes_2[kind][0] if v == 1 else &slopes_1[kind][0]
        n_tiles = (n_rows + slope_rows[v][kind] - 1) // slope_rows[v][kind]
        m = 0
        for i in range(n_tiles):
            height = (n_rows - m) // (n_tiles - i)
            tiles[height](p, A, a_rows + m, B + f, C + f, c_rows + m, c_tap)
            m += height
        f += (v + 1) * LANES
