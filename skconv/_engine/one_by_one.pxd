from .layer cimport Tables
from .table cimport Kernels, Product, Run

cdef class OneByOneGradients:
    cdef:
        const Kernels *k
        Tables tables
        Py_ssize_t n_channels
        Py_ssize_t n_filters
        Py_ssize_t n_pixels             # of a sample
        Py_ssize_t block                # ... that both products take at once
        Run origin
        # dw
        bint is_transposed              # (n_filters, n_channels) of it is summed
        Py_ssize_t dw_pixels            # side by side in one vector
        Py_ssize_t sums_row             # elements from one row of the sums to the next
        Py_ssize_t sums_bytes           # 0: summed in place
        readonly Py_ssize_t sums_size   # ... with room to transpose them
        Py_ssize_t n_rows
        Py_ssize_t *factor_rows
        Py_ssize_t *sum_rows
        Py_ssize_t *gradient_rows
        # dx
        bint by_dots                    # lanes run along filters
        const char *weights             # (n_channels, n_filters)
        Py_ssize_t dx_pixels            # side by side in one vector
        Py_ssize_t group                # columns of them
        Py_ssize_t width                # ... and to whole vectors
        Py_ssize_t *dz_rows             # by group
        Py_ssize_t *dx_rows
        Py_ssize_t *pixel_dz_rows       # by pixel
        Py_ssize_t *pixel_dx_rows
        char *band                      # weights of a group, or NULL

    cdef void prepare(self, const char *weights, const char *packed) noexcept nogil
    cdef void add(self, const char *x, const char *dz, Py_ssize_t n, Py_ssize_t left, char *gradient,
                  char *sums) noexcept nogil
    cdef void pull_back(self, const char *dz, Py_ssize_t n, Py_ssize_t left, const char *packed,
                        char *dx) noexcept nogil
    cdef void run(self, const char *x, const char *dz, const char *packed, char *gradient, char *bias_gradient,
                  char *sums, char *dx) noexcept nogil
    cdef void begin(self, char *sums) noexcept nogil
    cdef void finish(self, char *sums, char *gradient) noexcept nogil
