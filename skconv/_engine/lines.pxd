from .layer cimport Tables
from .table cimport Kernels, Lines, Run


cdef class LineByLine:
    cdef:
        const Kernels *k
        Tables tables
        Lines lines
        Run *kernel_rows            # from a up to b, for every line of the result; or NULL
        readonly bint leaves_out_margins    # all there are

    cdef void run(self, const char *x, Py_ssize_t h, Py_ssize_t n_lines, const char *w, const char *bias, char *y,
                  bint relu, const char *ahead, Py_ssize_t n_ahead) noexcept nogil

cpdef bint goes_by_lines(kernels, Py_ssize_t kernel, Py_ssize_t width, Py_ssize_t n_columns)
