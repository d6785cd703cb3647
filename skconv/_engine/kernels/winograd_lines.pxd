"""Winograd's algorithm along one axis, whole lines at a time: see winograd_lines.h.

Loop order: vectors of a line, then points. Each number of rows is compiled apart.
"""
from .real cimport real

cdef extern from "winograd_lines.h" nogil:
    void lines_input "skconv_lines_input"(int kernel, const real *x, Py_ssize_t line, Py_ssize_t n, real *v,
                                          Py_ssize_t plane)
    void lines_output "skconv_lines_output"(int kernel, const real *m, Py_ssize_t plane, Py_ssize_t n, real *y,
                                            Py_ssize_t line, Py_ssize_t n_lines, int relu)
    void lines_pixels "skconv_lines_pixels"(int kernel, const real *m, Py_ssize_t plane, Py_ssize_t m_pixel,
                                            Py_ssize_t n_pixels, Py_ssize_t n_columns, real *y, Py_ssize_t line,
                                            Py_ssize_t y_pixel, Py_ssize_t n_lines, int relu)
    Py_ssize_t line_points "skconv_line_points"(Py_ssize_t kernel) noexcept
    Py_ssize_t line_parts "skconv_line_parts"(Py_ssize_t kernel) noexcept
    void channel_input "skconv_channel_input"(const real *x, Py_ssize_t line, Py_ssize_t first, Py_ssize_t height,
                                              Py_ssize_t n, Py_ssize_t before, Py_ssize_t seen, real *v,
                                              Py_ssize_t plane)
    void channel_lines "skconv_channel_lines"(const real *v, Py_ssize_t plane, const real *u, Py_ssize_t n_filters,
                                              const real *bias, real *y, Py_ssize_t line, Py_ssize_t pixel,
                                              Py_ssize_t width, Py_ssize_t n_lines, int relu, const char *ahead,
                                              Py_ssize_t n_ahead)
    void rows_transform "skconv_rows_transform"(Py_ssize_t kernel, const real *w, Py_ssize_t row, Py_ssize_t n_rows,
                                                Py_ssize_t n, real *u, Py_ssize_t plane)


cdef inline void winograd_lines_input(
    Py_ssize_t kernel,              # rows
    const real *x,                  # first line that the tile sees
    Py_ssize_t line,
    Py_ssize_t n,                   # elements of a line
    real *v,                        # (points, n)   OUT
    Py_ssize_t plane,
) noexcept nogil:
    if kernel == 3:
        lines_input(3, x, line, n, v, plane)
    elif kernel == 5:
        lines_input(5, x, line, n, v, plane)
    else:
        lines_input(7, x, line, n, v, plane)


cdef inline void winograd_lines_output(
    Py_ssize_t kernel,
    const real *m,                  # (points, n)
    Py_ssize_t plane,
    Py_ssize_t n,                   # elements of a line, at least LANES
    real *y,                        # four lines   OUT
    Py_ssize_t line,
    Py_ssize_t n_lines,             # of them that exist
    bint relu,
) noexcept nogil:
    if kernel == 3:
        lines_output(3, m, plane, n, y, line, n_lines, relu)
    elif kernel == 5:
        lines_output(5, m, plane, n, y, line, n_lines, relu)
    else:
        lines_output(7, m, plane, n, y, line, n_lines, relu)


cdef inline void winograd_lines_pixels(
    Py_ssize_t kernel,
    const real *m,                  # (points, n_pixels, n_columns), readable in whole vectors
    Py_ssize_t plane,
    Py_ssize_t m_pixel,
    Py_ssize_t n_pixels,
    Py_ssize_t n_columns,
    real *y,                        # four lines   OUT
    Py_ssize_t line,
    Py_ssize_t y_pixel,
    Py_ssize_t n_lines,             # of them that exist
    bint relu,
) noexcept nogil:
    if m_pixel == y_pixel == n_columns:
        winograd_lines_output(kernel, m, plane, n_pixels * n_columns, y, line, n_lines, relu)
    elif kernel == 3:
        lines_pixels(3, m, plane, m_pixel, n_pixels, n_columns, y, line, y_pixel, n_lines, relu)
    elif kernel == 5:
        lines_pixels(5, m, plane, m_pixel, n_pixels, n_columns, y, line, y_pixel, n_lines, relu)
    else:
        lines_pixels(7, m, plane, m_pixel, n_pixels, n_columns, y, line, y_pixel, n_lines, relu)


cdef inline void winograd_lines_weights(
    Py_ssize_t kernel,
    const real *w,                  # (kernel, n)
    Py_ssize_t n,                   # weights of a row of taps
    bint reverse,                   # the rows from the last one backwards
    real *u,                        # (points, parts, n)   OUT
) noexcept nogil:
    """Seven rows are two parts, of four rows and of three."""
    cdef Py_ssize_t part, first, row = n, parts = line_parts(kernel)
    if reverse:
        w += (kernel - 1) * n
        row = -n
    for part in range(parts):
        first = 4 * part
        rows_transform(kernel, w + first * row, row, min(kernel - first, 4 if parts > 1 else kernel), n,
                       u + part * n, parts * n)
