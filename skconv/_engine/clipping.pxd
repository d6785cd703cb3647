from .layer cimport Tables
from .table cimport Kernels, Product, Run


cdef struct Alike:
    # Results that see the same taps.
    Product product
    Py_ssize_t n                # results of one sample
    Py_ssize_t first            # of them, in the tables of rows

cdef struct Part:
    # Neighbouring taps of the weights' gradient, and the pixels over which they sum.
    Product product
    Py_ssize_t first            # row of the gradient, in a depth slice of the kernel
    Py_ssize_t n_rows
    Py_ssize_t n_lines          # of one sample


cdef class Clipped:
    cdef:
        const Kernels *k
        Tables tables
        readonly Py_ssize_t least   # samples from which on this pays
        Py_ssize_t n_groups         # of channels
        Py_ssize_t a_group
        Py_ssize_t b_group
        Py_ssize_t c_group
        Py_ssize_t n_kinds          # of results
        Alike *kinds
        Py_ssize_t *a_rows
        Py_ssize_t *c_rows

    cdef void _multiply(self, const Alike *alike, Py_ssize_t n_rows, const char *a, const Py_ssize_t *a_rows,
                        const char *b, const char *bias, char *c, const Py_ssize_t *c_rows, bint relu) noexcept nogil
    cdef void run(self, const char *a, Py_ssize_t a_sample, const char *b, const char *bias, char *c,
                  Py_ssize_t c_sample, Py_ssize_t n_samples, bint relu) noexcept nogil


cdef class ClippedLines:
    cdef:
        Tables tables
        Product *products           # by kinds of depth slices and lines
        Py_ssize_t n_lines          # kinds of lines
        Py_ssize_t *depths          # of which kind a depth slice is
        Py_ssize_t *lines           # ... and a line

    cdef const Product *at(self, Py_ssize_t d, Py_ssize_t h) noexcept nogil
    cdef Py_ssize_t n_alike(self, Py_ssize_t h, Py_ssize_t n) noexcept nogil


cdef class ClippedGradient:
    cdef:
        const Kernels *k
        Tables tables
        Py_ssize_t n_groups
        Py_ssize_t n_channels       # of a group
        Py_ssize_t n_filters
        Py_ssize_t n_slice          # rows of the gradient in a depth slice of the kernel
        Run *depths                 # of every depth slice of dz, the taps from a up to b
        Py_ssize_t n_parts
        Part *parts

    cdef void add(self, Py_ssize_t d, Py_ssize_t n_samples, const char *x, const Py_ssize_t *x_terms, Py_ssize_t term,
                  Py_ssize_t last, const char *dz, char *gradient, const Py_ssize_t *gradient_rows) noexcept nogil
