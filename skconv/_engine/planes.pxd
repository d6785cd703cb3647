from .layer cimport Tables
from .table cimport Kernels, PlaneLines, Run


cdef class Planes:
    cdef:
        const Kernels *k
        Tables tables
        PlaneLines lines
        readonly Py_ssize_t max_lines   # per call
        readonly Py_ssize_t scratch_size
        Py_ssize_t z_offset             # of the results' planes in scratch
        Py_ssize_t before               # lines of the margin above the image
        Py_ssize_t further              # lines that a result sees after its first
        Py_ssize_t height               # of the image
        readonly bint leaves_out_margins    # all there are
        Run *kernel_rows                # from a up to b, for every line of the result; or NULL
        char *weights
        char *bias
        bint has_bias

    cdef void prepare(self, const char *w, const char *bias, bint reverse) noexcept nogil
    cdef void run(self, const char *x, Py_ssize_t h, Py_ssize_t n_lines, char *y, bint relu, char *scratch,
                  const char *ahead, Py_ssize_t n_ahead) noexcept nogil

cpdef bint goes_by_planes(kernels, Py_ssize_t n_columns, Py_ssize_t depth, kernel, stride)
