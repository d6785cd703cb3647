from .layer cimport Tables
from .table cimport Kernels, Product

cdef enum:
    TILE_SIDE = 4       # of a tile, in pixels of the result

cdef Py_ssize_t block_tiles(Py_ssize_t kernel) noexcept


cdef class Winograd:
    cdef:
        const Kernels *k
        Py_ssize_t kernel
        Py_ssize_t n_planes
        Py_ssize_t n_channels
        Py_ssize_t n_filters
        Py_ssize_t line                 # elements between lines of x
        Py_ssize_t width                # of the result, in pixels
        Py_ssize_t tile_columns
        Py_ssize_t max_lines
        Py_ssize_t max_tiles
        Py_ssize_t n_together           # blocks that share a product
        Py_ssize_t block                # elements between vectors of channels or filters in a plane
        Py_ssize_t v_plane              # elements between planes of x, of the weights and of the result
        Py_ssize_t u_plane
        Py_ssize_t m_plane
        Py_ssize_t m                    # where the result's planes begin in scratch, in elements
        readonly Py_ssize_t scratch_size
        Tables tables
        char *u                         # the transformed weights

    cdef Py_ssize_t _tiles_along(self, Py_ssize_t n_pixels) noexcept nogil
    cdef void prepare(self, const char *w, bint reverse) noexcept nogil
    cdef Py_ssize_t n_tiles(self, Py_ssize_t n_lines) noexcept nogil
    cdef void load(self, const char *x, Py_ssize_t n_lines, Py_ssize_t first, char *scratch) noexcept nogil
    cdef void multiply(self, Py_ssize_t n_tiles, char *scratch, const char *ahead, Py_ssize_t n_ahead) noexcept nogil
    cdef void store(self, Py_ssize_t first, Py_ssize_t n_lines, const char *bias, char *y, Py_ssize_t y_line,
                    Py_ssize_t y_pixel, bint relu, const char *scratch) noexcept nogil
    cdef void run(self, const char *x, Py_ssize_t x_sample, Py_ssize_t n, Py_ssize_t n_lines, char *y,
                  Py_ssize_t y_sample, Py_ssize_t y_line, Py_ssize_t y_pixel, char *scratch) noexcept nogil


cdef class WinogradGradient:
    cdef:
        const Kernels *k
        Py_ssize_t kernel
        Py_ssize_t n_planes             # of x and of the sums
        Py_ssize_t n_channels
        Py_ssize_t n_filters
        Py_ssize_t x_line               # elements between lines
        Py_ssize_t dz_line
        Py_ssize_t tile_rows            # of a depth slice
        Py_ssize_t tile_columns
        Py_ssize_t block_rows
        Py_ssize_t v_plane              # elements between planes of x, of dz, and of the sums
        Py_ssize_t z_plane
        Py_ssize_t m_plane
        readonly Py_ssize_t scratch_size
        readonly Py_ssize_t n_sums      # of a single sample, each of some lines
        readonly Py_ssize_t sums_size   # bytes of each
        Tables tables
        Product product                 # over tiles
        Py_ssize_t *z_of                # the plane of dz for one of x, in bytes
        Py_ssize_t *v_rows
        Py_ssize_t *m_rows

    cdef void add(self, const char *x, Py_ssize_t x_sample, const char *dz, Py_ssize_t dz_sample, Py_ssize_t n,
                  Py_ssize_t part, Py_ssize_t n_parts, bint first, char *scratch, char *sums) noexcept nogil
    cdef void finish(self, const char *sums, Py_ssize_t n_sums, char *gradient, char *bias) noexcept nogil
