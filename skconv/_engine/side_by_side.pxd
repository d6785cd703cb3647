from .layer cimport Tables
from .table cimport Kernels, Product, Run


cdef class SideBySide:
    cdef:
        const Kernels *k
        Tables tables
        Py_ssize_t n_pixels         # in one vector
        Py_ssize_t n_groups         # of pixels in a line
        Py_ssize_t n_columns        # of one pixel
        Py_ssize_t stored           # columns of a group that the product stores
        Py_ssize_t n_kernel_rows
        Py_ssize_t kernel
        Py_ssize_t depth
        Product product
        Run *kernel_rows            # from a up to b, for every line of C; or NULL
        Py_ssize_t a_line           # elements
        Py_ssize_t c_line
        Py_ssize_t *a_rows
        Py_ssize_t *c_rows
        char *weights
        char *bias
        bint has_bias

    cdef void prepare(self, const char *w, const char *bias, bint reverse) noexcept nogil
    cdef void run(self, const char *a, Py_ssize_t h, Py_ssize_t n_lines, char *c, bint relu,
                  const char *ahead, Py_ssize_t n_ahead) noexcept nogil


cdef class SideBySideGradient:
    cdef:
        const Kernels *k
        Tables tables
        Run *seen                   # for every row of the kernel, the lines from a up to b; or NULL
        Py_ssize_t n_pixels
        Py_ssize_t n_filters
        Py_ssize_t n_kernel_rows
        Py_ssize_t kernel
        Py_ssize_t depth
        Py_ssize_t n_rows           # of the sums
        Py_ssize_t done             # pixels of a line that fall into groups
        Py_ssize_t sums_size        # bytes
        Product product
        Py_ssize_t *x_rows
        Py_ssize_t *sum_rows

    cdef void add(self, const Product *plain, Py_ssize_t h, Py_ssize_t r, Py_ssize_t last, const char *x,
                  const char *dz, char *sums) noexcept nogil
    cdef void finish(self, const char *sums, char *gradient) noexcept nogil

cpdef Py_ssize_t pixels_per_vector(Py_ssize_t lanes, Py_ssize_t n_columns, Py_ssize_t kernel, Py_ssize_t width,
                                   Py_ssize_t terms=*, bint is_gradient=*)
