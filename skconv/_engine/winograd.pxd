from .layer cimport Tables
from .table cimport Kernels, Product

cdef class Winograd:
    cdef:
        const Kernels *k
        Py_ssize_t n_channels
        Py_ssize_t n_filters
        Py_ssize_t line                 # elements between lines of x
        Py_ssize_t width                # of the result, in pixels
        Py_ssize_t tile_columns
        Py_ssize_t max_tiles
        readonly Py_ssize_t scratch_size
        Tables tables
        Product product                 # over channels
        Py_ssize_t *v_rows
        Py_ssize_t *m_rows
        char *u                         # (36, n_channels, n_filters)

    cdef void prepare(self, const char *w, bint reverse) noexcept nogil
    cdef void run(self, const char *x, Py_ssize_t n_lines, const char *bias, char *y, Py_ssize_t y_line,
                  Py_ssize_t y_pixel, bint relu, char *scratch) noexcept nogil
