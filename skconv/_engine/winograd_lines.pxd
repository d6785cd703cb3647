from .layer cimport Tables
from .table cimport Kernels, Lines, Product, Run


cdef class WinogradLines:
    cdef:
        const Kernels *k
        Tables tables
        Py_ssize_t n_rows               # of the kernel
        Py_ssize_t n_points
        Py_ssize_t n_parts              # rows of taps of a point
        Py_ssize_t n_filters
        Py_ssize_t width                # of the result, in pixels
        Py_ssize_t x_line               # elements between lines of x
        Py_ssize_t y_line
        Py_ssize_t y_pixel
        Py_ssize_t pixel                # elements of x between pixels: channels
        Py_ssize_t n_taps               # of a row
        bint left                       # whether the first, and the last, half of a row of taps falls on the margin
        bint right
        Py_ssize_t n_pieces             # of a line
        Py_ssize_t v_plane              # elements between points of the lines, of the weights and of the result
        Py_ssize_t u_plane
        Py_ssize_t m_plane
        Py_ssize_t m_pixel              # elements between pixels of the result
        Py_ssize_t tile                 # elements between tiles of the lines
        Py_ssize_t m_tiles              # that are multiplied at a time
        Py_ssize_t m                    # where the result's points begin in scratch, in bytes
        Py_ssize_t first_tap            # where in the weights of a row
        Py_ssize_t n_blocks             # of filters
        Run *blocks                     # the first filter of each, and how many
        bint fetches                    # the lines that the next call will write
        bint by_lines                   # whether weights stay in registers
        Lines lines
        Product product
        Py_ssize_t *v_rows
        Py_ssize_t *m_rows
        char *u                         # the transformed weights
        readonly Py_ssize_t scratch_size

    cdef void prepare(self, const char *w, bint reverse) noexcept nogil
    cdef void run(self, const char *x, Py_ssize_t n_lines, const char *bias, char *y, bint relu, const char *ahead,
                  Py_ssize_t n_ahead, char *scratch) noexcept nogil
    cdef void _run(self, const char *x, Py_ssize_t n_lines, Py_ssize_t width, bint left, bint right, const char *bias,
                   char *y, bint relu, const char *ahead, Py_ssize_t n_ahead, const char *next_lines,
                   Py_ssize_t n_next, char *scratch) noexcept nogil


cdef class WinogradChannel:
    cdef:
        const Kernels *k
        Tables tables
        Py_ssize_t height               # of the image, in lines and pixels
        Py_ssize_t n_pixels
        Py_ssize_t above                # lines and pixels of the margin
        Py_ssize_t before
        Py_ssize_t n_filters
        Py_ssize_t width                # of the result, in pixels
        Py_ssize_t x_line               # elements between lines of x
        Py_ssize_t y_line
        Py_ssize_t y_pixel
        Py_ssize_t plane                # elements between points of the lines
        char *points                    # the transformed weights, point by point
        char *u                         # ... by vectors of filters
        readonly Py_ssize_t scratch_size

    cdef void prepare(self, const char *w) noexcept nogil
    cdef void run(self, const char *x, Py_ssize_t h, Py_ssize_t n_lines, const char *bias, char *y, bint relu,
                  const char *ahead, Py_ssize_t n_ahead, char *scratch) noexcept nogil
