from libc.stdint cimport int32_t, uint64_t

from .jobs cimport Job
from .table cimport Clip, Kernels, Run

cdef enum:
    MOST_SHARES = 16            # of a sample's forward pass: so many parts at most
    SHARED_BYTES = 1 << 17      # that are copied in some 10 microseconds
    SHARED_WORK = 1 << 21       # multiply-adds that take some 20

cdef struct Map:
    # Where an array of shape (n, depth, height, width, channels) lies in the storage of activations: lines of pixels
    # are contiguous, and may be surrounded by a margin of zeros for the window that slides over them.
    Py_ssize_t size[3]
    Py_ssize_t channels
    Py_ssize_t values           # elements of one sample without margins
    Py_ssize_t depth_stride     # elements from one depth slice to the next
    Py_ssize_t line_stride      # elements from one line to the next
    Py_ssize_t origin           # bytes from the start of the storage to the first pixel of its first sample
    Py_ssize_t sample           # bytes from one sample to the next
    bint is_data                # the samples are those of the input data, which lie as the map would

cdef struct Pass:
    # A few samples on their way through the layers.  Maps are found by `place + i`, the rest by `i`, i < n.
    Py_ssize_t n
    char *maps                  # storage of activations
    Py_ssize_t place            # where these samples' activations lie in it
    char *scratch               # this thread's
    const char *x               # input data
    int source                  # their type (Source)
    Py_ssize_t x_sample         # bytes between samples of the input
    const Py_ssize_t *order     # sample numbers in x, or NULL: first + i
    Py_ssize_t first
    char *out                   # where the last map goes instead, or NULL
    Py_ssize_t out_sample
    char *dy                    # gradients of the loss by this layer's output and input, without margins
    Py_ssize_t dy_sample
    char *dx                    # NULL: nobody wants it
    Py_ssize_t dx_sample
    char *gradients             # the slot's buffer
    Py_ssize_t slot             # its number, in training
    Py_ssize_t phase            # of the layer's forward pass over units
    Py_ssize_t before           # samples of the chunk that are through the layer, and that are to come, where a chunk
    Py_ssize_t after            # goes through it in several passes
    bint keep                   # whether a backward pass will follow
    bint training               # whether dropout drops and batch normalisation looks at the mini-batch
    uint64_t seed
    uint64_t epoch
    const char *ahead           # data that whoever reads them may fetch into the second cache while it computes: those
    Py_ssize_t n_ahead          # of the next samples, in cache lines
    double largest              # of the data, which a layer that looks may be asked for; or 0
    bint *is_finite             # ... and where it says no
    double *seconds             # this thread's time, by layer: forward, backward; or NULL
    Job *job                    # where idle threads find parts of the backward pass to do; or NULL: there are none


cdef inline Py_ssize_t round_up(Py_ssize_t n_bytes) noexcept nogil:
    """To whole cache lines."""
    return (n_bytes + 63) // 64 * 64


cdef inline Py_ssize_t sample_number(const Pass *p, Py_ssize_t i) noexcept nogil:
    return p.order[i] if p.order != NULL else p.first + i


cdef inline void share_ahead(const Pass *p, Py_ssize_t first, Py_ssize_t last, Py_ssize_t n,
                             Pass *share) noexcept nogil:
    """Of what may be fetched meanwhile, parts first to last of n."""
    cdef Py_ssize_t start = p.n_ahead * first // n
    share.ahead = p.ahead + 64 * start
    share.n_ahead = p.n_ahead * last // n - start


cdef inline void keep_masked(int32_t *values, const int32_t *mask, Py_ssize_t n, Py_ssize_t times) noexcept nogil:
    """Clear what the mask of n words has no bits for, `times` over. Bit by bit, because 0 * NaN is NaN."""
    cdef Py_ssize_t _, k
    for _ in range(times):
        for k in range(n):
            values[k] &= mask[k]
        values += n


cdef inline Py_ssize_t n_alike(const Run *rows, Py_ssize_t n) noexcept nogil:
    """How many of n lines use the rows of the kernel that the first one uses, from a up to b."""
    cdef Py_ssize_t i = 1
    while i < n and rows[i].a == rows.a and rows[i].b == rows.b:
        i += 1
    return i


cdef class Layer:
    cdef:
        const Kernels *k
        object _kernels             # the capsule that owns them
        readonly Py_ssize_t itemsize
        Map x, y
        bint is_output
        readonly Py_ssize_t n_units         # independent pieces of one sample's forward pass
        readonly Py_ssize_t n_phases        # times that all units are gone through, one after the other
        readonly Py_ssize_t scratch_size    # bytes of a thread's scratch, zero when first used
        Py_ssize_t scratch_offset
        char *weights               # NULL where a layer has none
        char *bias                  # NULL without intercepts
        Py_ssize_t gradient_offset  # bytes, in a slot's buffer
        Py_ssize_t bias_offset
        bint needs_dx
        bint looks                  # through the data for what is not finite, while it computes
        bint needs_input_only       # in the backward pass: nothing of what the forward pass computed
        bint goes_alone             # whether a chunk's samples go through one by one: nothing is gained by several
        bint shares_forward         # whether the forward pass of one sample is worth another thread's while
        bint shares_backward        # ... and whether parts of the backward pass are
        list _tables                # arrays that pointers of this layer point into

    cdef char *input(self, const Pass *p, Py_ssize_t i) noexcept nogil
    cdef char *output(self, const Pass *p, Py_ssize_t i) noexcept nogil
    cdef char *input_line(self, const Pass *p, Py_ssize_t i, Py_ssize_t line) noexcept nogil
    cdef char *output_line(self, const Pass *p, Py_ssize_t i, Py_ssize_t line) noexcept nogil
    cdef void prepare(self, bint forward, bint backward) noexcept nogil
    cdef void forward_units(self, const Pass *p, Py_ssize_t i, Py_ssize_t first, Py_ssize_t last) noexcept nogil
    cdef void forward(self, const Pass *p) noexcept nogil
    cdef void backward(self, const Pass *p) noexcept nogil
    cdef void share(self, const Pass *p, const void *work, Py_ssize_t n_parts) noexcept nogil
    cdef bint is_shared(self, const Pass *p) noexcept nogil
    cdef void share_forward(self, const Pass *p) noexcept nogil
    cdef void forward_part(self, const Pass *p, Py_ssize_t part, char *scratch) noexcept nogil
    cdef void backward_part(self, const Pass *p, const void *work, Py_ssize_t part, char *scratch) noexcept nogil


cdef bint take_part(Job *job, bint last, char *scratch) noexcept nogil


cdef class Tables:
    """Room for the constant tables of a layer, filled once when it is built."""
    cdef list arrays
    cdef Py_ssize_t *sizes(self, Py_ssize_t n) except NULL
    cdef int32_t *ints(self, Py_ssize_t n) except NULL
    cdef int32_t *masks(self, bools, int times) except NULL
    cdef Run *runs(self, Py_ssize_t n) except NULL
    cdef char *bytes(self, Py_ssize_t n) except NULL

cdef const Kernels *kernels_of(object capsule) except NULL
cdef Map map_of(object layout) except *
