from .layer cimport Tables
from .table cimport Kernels, PlanePoints


cdef class WinogradPlanes:
    cdef:
        const Kernels *k
        Tables tables
        PlanePoints points
        Py_ssize_t before               # lines of zeros above the image
        readonly Py_ssize_t max_lines   # per call, whole tiles
        readonly Py_ssize_t n_together  # blocks that share a product at most
        readonly Py_ssize_t scratch_size
        Py_ssize_t v                    # of the transformed lines in scratch
        Py_ssize_t z                    # of some points
        Py_ssize_t y                    # of the results' planes
        char *weights
        char *bias
        bint has_bias

    cdef void prepare(self, const char *w, const char *bias, bint reverse) noexcept nogil
    cdef Py_ssize_t tile_lines(self, Py_ssize_t n_lines) noexcept nogil
    cdef void load(self, const char *x, Py_ssize_t h, Py_ssize_t n_lines, Py_ssize_t first,
                   char *scratch) noexcept nogil
    cdef void multiply(self, Py_ssize_t n, bint relu, char *scratch, const char *y, Py_ssize_t n_bytes,
                       const char *ahead, Py_ssize_t n_ahead) noexcept nogil
    cdef void store(self, Py_ssize_t first, Py_ssize_t n_lines, char *y, const char *scratch) noexcept nogil
    cdef void run(self, const char *x, Py_ssize_t h, Py_ssize_t n_lines, char *y, bint relu, char *scratch,
                  const char *ahead, Py_ssize_t n_ahead) noexcept nogil
