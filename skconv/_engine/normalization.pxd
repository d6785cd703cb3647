from .layer cimport Layer, Pass, Tables

cdef class BatchNormLayer(Layer):
    cdef:
        int activation
        double epsilon
        double momentum
        Py_ssize_t channels
        Py_ssize_t n_pixels
        Py_ssize_t line             # elements of a line of the output
        bint is_compact             # the output has no margin
        Py_ssize_t row              # elements of a row of whole pixels, see kernels/normalization.pxd
        readonly Py_ssize_t n_tasks     # blocks of channels
        Tables tables
        double *running             # (2, channels): mean and variance that predictions use; the network's
        double *batch               # (2, channels): those of the mini-batch
        Py_ssize_t slot_row         # doubles of one row of a slot
        double *slots               # (n_slots, 5, slot_row): origin, sums, squares; sums of dz and of dz * (x - mean)
        char *mean                  # rows of what the kernels multiply and add
        char *scale
        char *shift
        char *slope
        char *dz_mean

    cdef double *_slot(self, Py_ssize_t slot, Py_ssize_t which) noexcept nogil
    cdef double _slot_sum(self, Py_ssize_t slot, Py_ssize_t which, Py_ssize_t channel) noexcept nogil
    cdef double _value(self, const char *values, Py_ssize_t i) noexcept nogil
    cdef void _set(self, char *values, Py_ssize_t i, double value) noexcept nogil
    cdef void _store(self, char *table, Py_ssize_t channel, double value) noexcept nogil
    cdef double _gamma(self, Py_ssize_t channel) noexcept nogil
    cdef double _rest(self, double mean) noexcept nogil
    cdef void _use(self, Py_ssize_t channel, double mean, double variance) noexcept nogil
    cdef void _merge_channel(self, Py_ssize_t n, Py_ssize_t n_slots, Py_ssize_t channel) noexcept nogil
    cdef void add_values(self, const Pass *p, bint is_first) noexcept nogil
    cdef void merge_values(self, Py_ssize_t n, Py_ssize_t n_slots, bint training, Py_ssize_t task) noexcept nogil
    cdef void move_running(self, Py_ssize_t n) noexcept nogil
    cdef void clear_gradients(self, Py_ssize_t slot) noexcept nogil
    cdef void merge_gradients(self, Py_ssize_t n, Py_ssize_t n_slots, bint training, char *gradients,
                              Py_ssize_t task) noexcept nogil
    cdef void finish_gradient(self, const Pass *p) noexcept nogil
