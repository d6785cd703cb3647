from .layer cimport Layer, Pass, Tables
from .table cimport Product

cdef enum:
    COLUMNS = 64        # per task: whole vectors in every precision and instruction set

cdef class DenseLayer(Layer):
    cdef:
        Py_ssize_t n_inputs
        Py_ssize_t n_units_out
        int activation
        readonly bint is_wide
        bint learns
        readonly Py_ssize_t n_forward_tasks
        readonly Py_ssize_t n_backward_tasks
        Py_ssize_t n_column_tasks           # of the backward tasks, those for dx
        Py_ssize_t n_row_tasks              # ... and those for dw
        Tables tables
        Product forward_product             # over inputs
        Product panel_product               # of a panel
        Product input_product               # over units
        Product weight_product              # over samples
        Py_ssize_t *x_samples               # elements from sample 0, in the maps
        Py_ssize_t *y_samples
        Py_ssize_t *dz_samples              # rows of n_units_out
        Py_ssize_t *dx_samples              # rows of n_inputs
        Py_ssize_t *inputs                  # 0, 1, 2 ...
        Py_ssize_t *weight_rows             # rows of n_units_out
        char *packed                        # w transposed
        object blocks_array
        const char *blocks                  # w by task, (n_inputs, COLUMNS) each, or NULL

    cdef void forward_task(self, const Pass *p, Py_ssize_t task) noexcept nogil
    cdef void backward_task(self, const Pass *p, Py_ssize_t task) noexcept nogil
    cdef void _copy_rows(self, const char *x, Py_ssize_t n, Py_ssize_t row, Py_ssize_t width,
                         char *panel) noexcept nogil
    cdef void _input_panel(self, const Pass *p, Py_ssize_t first, Py_ssize_t last) noexcept nogil
    cdef void _weight_panel(self, const Pass *p, Py_ssize_t first, Py_ssize_t last) noexcept nogil
    cdef Py_ssize_t *_rows(self, Py_ssize_t n, Py_ssize_t stride) except NULL
    cdef Product _run(self, Py_ssize_t n, Py_ssize_t a_step, Py_ssize_t b_step) except *
    cdef void _columns(self, const Pass *p, Py_ssize_t first, Py_ssize_t last) noexcept nogil
    cdef void _weight_rows(self, const Pass *p, const char *dz, int start, Py_ssize_t first,
                           Py_ssize_t last) noexcept nogil
    cdef void _input_columns(self, const Pass *p, const char *dz, Py_ssize_t first, Py_ssize_t last) noexcept nogil
