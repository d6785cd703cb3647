"""The weights' gradient of kernels of 3, 5 or 7 pixels a row: see slopes.h.

Loop order: blocks of one or two vectors of columns, whose part of dz should stay in the first cache; rows of the
kernel, each with the lines on which it sees the image; tiles of nearly as many rows each, whose neighbours read the
same cache lines of x.  The order of a sum is that of a product.
"""
from .product cimport LANES
from .real cimport real
from ..table cimport Product, Run

cdef extern from "slopes.h" nogil:
    ctypedef void (*Slope "skconv_slope")(const Product *p, const real *A, const Py_ssize_t *a_rows, const real *B,
                                          real *C, const Py_ssize_t *c_rows, Py_ssize_t c_tap, int left,
                                          int right)
    const Slope slopes_1 "skconv_slopes_1"[3][9]
    const Slope slopes_2 "skconv_slopes_2"[3][9]
    const Py_ssize_t slope_rows "skconv_slope_rows"[2][3]


cdef inline Py_ssize_t slope_columns(Py_ssize_t kernel, Py_ssize_t n_columns) noexcept nogil:
    """For how many of so many columns there are tiles: whole vectors, or none."""
    return n_columns - n_columns % LANES if slope_rows[0][(kernel - 3) // 2] > 0 else 0


cdef inline void add_slopes(
    const Product *p,               # its runs are lines of dz
    Py_ssize_t kernel,
    Py_ssize_t n_groups,
    const Run *lines,               # (n_groups,) the first and the end of the runs that count
    Py_ssize_t n_rows,              # of a group
    Py_ssize_t n_columns,           # whole vectors
    const real *A,
    const Py_ssize_t *a_rows,       # (n_groups * n_rows,) what the first tap sees
    const real *B,
    real *C,                        # added to
    const Py_ssize_t *c_rows,       # (n_groups * n_rows,)
    Py_ssize_t c_tap,               # from one tap to the next
    bint left,                      # whether the first, and the last, kernel // 2 pixels of a line of x are zeros
    bint right,
) noexcept nogil:
    cdef:
        Py_ssize_t kind = (kernel - 3) // 2, f = 0, group, m, end, i, height, n_tiles, v
        const Slope *tiles
        Product part = p[0]
    while f < n_columns:
        v = 1 if n_columns - f >= 2 * LANES and slope_rows[1][kind] > 0 else 0
        tiles = &slopes_2[kind][0] if v == 1 else &slopes_1[kind][0]
        n_tiles = (n_rows + slope_rows[v][kind] - 1) // slope_rows[v][kind]
        for group in range(n_groups):
            part.runs, part.n_runs = p.runs + lines[group].a, lines[group].b - lines[group].a
            if part.n_runs <= 0:
                continue
            m, end = group * n_rows, (group + 1) * n_rows
            for i in range(n_tiles):
                height = (end - m) // (n_tiles - i)
                tiles[height](&part, A, a_rows + m, B + f, C + f, c_rows + m, c_tap, left, right)
                m += height
        f += (v + 1) * LANES
