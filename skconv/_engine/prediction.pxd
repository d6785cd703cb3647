from cpython.ref cimport PyObject
from libc.stdint cimport int32_t

from .jobs cimport Job
from .layer cimport Pass, Tables
from .table cimport Kernels, Update

cdef struct Batch:
    Pass base               # what all passes of the mini-batch share
    int loss                # LossKind
    double parameter        # of the loss: label smoothing or Huber's delta
    const int32_t *labels   # targets of the log loss, by sample number ...
    const char *values      # ... or of the others, (., n_outputs) ...
    const char *dy          # ... or, in place of the loss, its gradient by the outputs
    const double *sample_weight     # by sample number, or NULL
    char *dx                # and room for its gradient by the input, or NULL
    Py_ssize_t n
    Py_ssize_t n_slots
    Py_ssize_t n_threads    # in training
    Py_ssize_t n_expected   # slots of the call that are finished when those of the present stage are
    Py_ssize_t chunk        # samples that go through a stage together
    Py_ssize_t n_done       # mini-batches of the call
    bint softmax            # of a prediction: output rows become probabilities
    bint checks_x           # ... look for what is not finite in the data, or in the outputs
    bint checks_out
    double l1               # of the whole mini-batch, as update.decay is
    double clip_norm        # largest norm of the gradient, or 0 for any
    char *average           # of the weights, or NULL
    Update update           # settings of the solver, with the mini-batch's rate

cdef struct Stage:
    Py_ssize_t first        # layers
    Py_ssize_t last
    bint is_wide
    PyObject *norm          # the stage's first layer, where it normalises by the mini-batch; or NULL
    char *gradient          # of the loss by the stage's input, (capacity, values)
    Py_ssize_t row          # bytes of a sample in it


cdef class Predictor:
    cdef:
        const Kernels *k
        list layers
        PyObject **layer_pointers
        Py_ssize_t n_layers
        Stage *stages
        Py_ssize_t n_stages
        Py_ssize_t chunk
        Py_ssize_t capacity
        bint keeps_batch
        readonly Py_ssize_t n_places
        readonly Py_ssize_t n_threads
        char *maps
        char *scratch
        Py_ssize_t scratch_size
        Py_ssize_t n_outputs
        double next_check           # for signals, on the clock of skconv_seconds
        bint is_interrupted
        bint is_finite              # what this call has looked at; any thread may say no
        double largest              # finite output
        double *seconds             # by thread: of layers, forward and backward in turns, and of the update; or NULL
        Py_ssize_t n_clocks         # of one thread
        object _kernels             # the capsule that owns them
        Job *jobs                   # of every thread; NULL where no layer's work is worth sharing
        Py_ssize_t n_finished       # slots of the call, in training
        Tables tables               # all memory, zeroed, each part on cache lines of its own

    cdef int _set_data(self, Batch *b, x) except -1
    cdef void _start(self) noexcept nogil
    cdef bint _is_interrupted(self, int thread) noexcept nogil
    cdef void _chunk_of(self, const Batch *b, Py_ssize_t first, Py_ssize_t last, int thread, Pass *p) noexcept nogil
    cdef void _whole(self, const Batch *b, int thread, Pass *p) noexcept nogil
    cdef Job *_job(self, const Batch *b, Py_ssize_t slot, int thread) noexcept nogil
    cdef void _help(self, Batch *b, int thread) noexcept nogil
    cdef double *_seconds(self, int thread) noexcept nogil
    cdef void _forward_layers(self, Py_ssize_t first, Py_ssize_t last, const Pass *p) noexcept nogil
    cdef void _forward_slot(self, const Batch *b, Py_ssize_t stage, Py_ssize_t slot, int thread) noexcept nogil
    cdef Py_ssize_t _forward_tasks(self, const Batch *b, Py_ssize_t stage) noexcept nogil
    cdef void _forward_task(self, const Batch *b, Py_ssize_t stage, Py_ssize_t task, int thread) noexcept nogil
    cdef void _look_at(self, const char *values, Py_ssize_t n_bytes, double largest) noexcept nogil
    cdef void _look_at_all(self, const char *values, Py_ssize_t n_bytes, double largest, int threads) noexcept nogil
    cdef void _probabilities(self, const Batch *b, Py_ssize_t task) noexcept nogil
    cdef void _predict_chunk(self, const Batch *b, Py_ssize_t task, Py_ssize_t next, int thread) noexcept nogil
    cdef void _predict_chunks(self, const Batch *b, Py_ssize_t *next, int threads, int thread) noexcept nogil
    cdef void _predict_alone(self, const Batch *b) noexcept nogil
    cdef void _units(self, const Batch *b, Py_ssize_t layer, Py_ssize_t phase, Py_ssize_t task, Py_ssize_t n_shares,
                     int thread) noexcept nogil
