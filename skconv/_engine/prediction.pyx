"""The forward half of the engine: a network's memory, its stages, slots and chunks, and prediction.

A network is a list of layers cut into stages, which a barrier separates.  Inside a stage a mini-batch is cut into
slots and a slot into chunks of samples, small enough that their activations stay in the cache; a thread takes a chunk
through all layers of the stage before it touches the next.  A wide dense layer is a stage of its own, whose tasks are
tiles of its results.

Predictions have three ways, with the same bits: chunks through all layers where there is one stage; stage by stage,
over as many samples as the maps hold; or, for fewer samples than threads, layer by layer, each cut into units.
"""
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.exc cimport PyErr_CheckSignals
from cpython.ref cimport PyObject
from cython.parallel cimport parallel, prange, threadid
from libc.float cimport DBL_MAX, FLT_MAX
from libc.string cimport memset

import numpy as np

from .clock cimport skconv_barrier, skconv_next_task, skconv_seconds
from .dense cimport DenseLayer
from .jobs cimport Job, skconv_count, skconv_counted, skconv_pause
from .layer cimport Layer, Pass, Tables, kernels_of, take_part
from .normalization cimport BatchNormLayer
from .table cimport FROM_FLOAT32, FROM_FLOAT64, FROM_UINT8

cdef enum:
    PIECE_BYTES = 256 * 1024    # of values that one thread looks through
    AHEAD_BYTES = 512 * 1024    # of data that are fetched before their turn: a quarter of a second cache of 2 MiB

# Of the values of the input: those that are finite in float32.
cdef double LARGEST_DATA = FLT_MAX


cdef bint check_signals() noexcept with gil:
    """Let Python handle what came in; True where that raised KeyboardInterrupt."""
    try:
        PyErr_CheckSignals()
    except KeyboardInterrupt:
        return True
    return False


cdef char *address_of(object array, Py_ssize_t *n_bytes, Py_ssize_t *itemsize) except NULL:
    """Where a C-contiguous array lies; its size and that of an element, where asked for.

    By the buffer protocol: 0.1 microseconds, where ``__array_interface__`` takes nearly one.
    """
    cdef Py_buffer view
    PyObject_GetBuffer(array, &view, PyBUF_SIMPLE)
    if n_bytes != NULL:
        n_bytes[0] = view.len
    if itemsize != NULL:
        itemsize[0] = view.itemsize
    PyBuffer_Release(&view)     # who calls holds the array
    return <char *> view.buf


cdef class Predictor:
    """Base of the engine: what prediction needs.

    Parameters
    ----------
    kernels : capsule
    layers : list of Layer
        In order; the first is Input.
    stages : list of (first, last, is_wide)
        Ranges of layers; a stage before one that normalises by the mini-batch may be empty.
    chunk : int
        Samples that go through a stage together.
    capacity : int
        Samples of a mini-batch at most.
    n_places : int
        Samples whose activations the maps hold.
    n_threads : int
        At most, in every call.
    maps_size, scratch_size : int
        Bytes of the storage of activations, and of each thread's scratch.
    """

    def __init__(self, kernels, layers, stages, *, chunk, capacity, n_places, n_threads, maps_size, scratch_size):
        cdef Py_ssize_t i
        self.k = kernels_of(kernels)
        self._kernels = kernels
        self.tables = Tables()
        self.layers = layers
        self.n_layers = len(layers)
        self.layer_pointers = <PyObject **> self.tables.bytes(self.n_layers * sizeof(void *))
        for i, layer in enumerate(layers):
            self.layer_pointers[i] = <PyObject *> layer
        self.chunk = chunk
        self.capacity = capacity
        self.n_places = n_places
        self.n_threads = n_threads
        self.n_stages = len(stages)
        self.keeps_batch = self.n_stages > 1
        self.n_outputs = (<Layer> layers[self.n_layers - 1]).y.values
        self.stages = <Stage *> self.tables.bytes(self.n_stages * sizeof(Stage))
        for i, (first, last, is_wide) in enumerate(stages):
            self.stages[i].first, self.stages[i].last, self.stages[i].is_wide = first, last, is_wide
        self.maps = self.tables.bytes(maps_size)
        self.scratch_size = scratch_size
        self.largest = DBL_MAX if self.k.itemsize == 8 else FLT_MAX
        self.scratch = self.tables.bytes(scratch_size * n_threads)

    cdef int _set_data(self, Batch *b, x) except -1:
        """Point a batch at the data, whose type is told by its width."""
        cdef Py_ssize_t n_bytes = 0, itemsize = 0
        memset(b, 0, sizeof(Batch))
        b.base.x = address_of(x, &n_bytes, &itemsize)
        b.base.x_sample = n_bytes // max(<Py_ssize_t> len(x), 1)
        b.base.source = FROM_UINT8 if itemsize == 1 else FROM_FLOAT32 if itemsize == 4 else FROM_FLOAT64
        b.base.maps = self.maps
        b.chunk = self.chunk
        return 0

    # ---- signals -----------------------------------------------------------------------------------------------

    cdef void _start(self) noexcept nogil:
        """Begin a call: nobody has pressed Ctrl-C yet."""
        self.is_interrupted = False
        self.next_check = skconv_seconds() + 0.5

    cdef bint _is_interrupted(self, int thread) noexcept nogil:
        """Whether Ctrl-C was pressed; asked between chunks, answered by the calling thread twice a second."""
        if thread == 0 and skconv_seconds() >= self.next_check:
            self.next_check = skconv_seconds() + 0.5
            if check_signals():
                self.is_interrupted = True
        return self.is_interrupted

    # ---- where the time goes -----------------------------------------------------------------------------------

    def start_profile(self):
        """Note from now on what every layer takes."""
        self.n_clocks = (2 * self.n_layers + 1 + 7) // 8 * 8 + 8    # a cache line between two threads
        self.seconds = <double *> self.tables.bytes(self.n_threads * self.n_clocks * sizeof(double))

    def read_profile(self):
        """Seconds since the last call, of all threads together: of layers (n_layers, 2), forward and backward; of the
        update."""
        cdef double[:, ::1] seconds = <double[:self.n_threads, :self.n_clocks]> self.seconds
        total = np.sum(seconds, axis=0)
        seconds[...] = 0
        return total[:2 * self.n_layers].reshape(-1, 2), total[2 * self.n_layers]

    cdef double *_seconds(self, int thread) noexcept nogil:
        return NULL if self.seconds == NULL else self.seconds + thread * self.n_clocks

    # ---- threads without a slot --------------------------------------------------------------------------------

    cdef Job *_job(self, const Batch *b, Py_ssize_t slot, int thread) noexcept nogil:
        """Where a slot's layers share their work: in the last slots, during which other threads have none."""
        return self.jobs + thread if self.jobs != NULL and slot >= b.n_slots - b.n_threads else NULL

    cdef void _help(self, Batch *b, int thread) noexcept nogil:
        """Take part in the slots that others are still at."""
        cdef:
            Py_ssize_t i, turn = 0
            char *scratch = self.scratch + thread * self.scratch_size
        if self.jobs == NULL or b.n_threads == 1:
            return
        b.n_expected += b.n_slots
        while skconv_counted(&self.n_finished) < b.n_expected:
            for i in range(b.n_threads):
                while take_part(self.jobs + i, True, scratch):
                    turn = 0
            skconv_pause(turn)
            turn += 1

    # ---- one chunk, one stage ----------------------------------------------------------------------------------

    cdef void _chunk_of(self, const Batch *b, Py_ssize_t first, Py_ssize_t last, int thread, Pass *p) noexcept nogil:
        p[0] = b.base
        p.n = min(b.chunk, last - first)
        p.place = first if self.keeps_batch else thread * self.chunk
        p.scratch = self.scratch + thread * self.scratch_size
        p.seconds = self._seconds(thread)
        if p.order != NULL:
            p.order += first
        p.first += first
        if p.out != NULL:
            p.out += first * p.out_sample

    cdef void _whole(self, const Batch *b, int thread, Pass *p) noexcept nogil:
        """The pass of a wide layer: all samples at once."""
        p[0] = b.base
        p.scratch = self.scratch + thread * self.scratch_size
        p.seconds = self._seconds(thread)
        p.n = b.n
        p.place = 0

    cdef void _forward_layers(self, Py_ssize_t first, Py_ssize_t last, const Pass *p) noexcept nogil:
        cdef:
            Py_ssize_t i
            double start = 0
        for i in range(first, last):
            if p.seconds != NULL:
                start = skconv_seconds()
            if (<Layer> self.layer_pointers[i]).is_shared(p):
                (<Layer> self.layer_pointers[i]).share_forward(p)
            else:
                (<Layer> self.layer_pointers[i]).forward(p)
            if p.seconds != NULL:
                p.seconds[2 * i] += skconv_seconds() - start

    cdef void _forward_slot(self, const Batch *b, Py_ssize_t stage, Py_ssize_t slot, int thread) noexcept nogil:
        cdef:
            Pass p
            PyObject *norm = NULL
            Py_ssize_t first, last = (slot + 1) * b.n // b.n_slots
        if b.base.training and stage + 1 < self.n_stages:
            norm = self.stages[stage + 1].norm
        first = slot * b.n // b.n_slots
        while first < last:
            if self._is_interrupted(thread):
                return
            self._chunk_of(b, first, last, thread, &p)
            p.slot = slot
            p.job = self._job(b, slot, thread)
            self._forward_layers(self.stages[stage].first, self.stages[stage].last, &p)
            if norm != NULL:
                (<BatchNormLayer> norm).add_values(&p, first == slot * b.n // b.n_slots)
            first += b.chunk

    cdef Py_ssize_t _forward_tasks(self, const Batch *b, Py_ssize_t stage) noexcept nogil:
        if self.stages[stage].is_wide:
            return (<DenseLayer> self.layer_pointers[self.stages[stage].first]).n_forward_tasks
        return b.n_slots

    cdef void _forward_task(self, const Batch *b, Py_ssize_t stage, Py_ssize_t task, int thread) noexcept nogil:
        cdef:
            Pass p
            double start
        if self.stages[stage].is_wide:
            start = skconv_seconds()
            self._whole(b, thread, &p)
            (<DenseLayer> self.layer_pointers[self.stages[stage].first]).forward_task(&p, task)
            if p.seconds != NULL:
                p.seconds[2 * self.stages[stage].first] += skconv_seconds() - start
        else:
            self._forward_slot(b, stage, task, thread)
            skconv_count(&self.n_finished)

    # ---- prediction --------------------------------------------------------------------------------------------

    cdef void _predict_chunk(self, const Batch *b, Py_ssize_t task, Py_ssize_t next, int thread) noexcept nogil:
        """One chunk; `next` is this thread's next one."""
        cdef:
            Pass p
            Py_ssize_t first, begin = self.stages[0].first, readers = min(self.stages[0].last, begin + 2)
        self._chunk_of(b, task * b.n // b.n_slots, (task + 1) * b.n // b.n_slots, thread, &p)
        # The first layer copies the data, or leaves them to the second; what other layers read is in the cache.
        if b.checks_x and ((<Layer> self.layer_pointers[0]).looks
                           or (<Layer> self.layer_pointers[self.n_layers - 1]).looks):
            p.largest, p.is_finite = LARGEST_DATA, &self.is_finite
        elif b.checks_x:
            self._look_at(p.x + p.first * p.x_sample, p.n * p.x_sample, LARGEST_DATA)
        if next < b.n_slots:
            first = next * b.n // b.n_slots
            p.ahead = p.x + (b.base.first + first) * p.x_sample
            p.n_ahead = min(((next + 1) * b.n // b.n_slots - first) * p.x_sample, AHEAD_BYTES) // 64
        self._forward_layers(begin, readers, &p)
        if b.checks_x and not self.is_finite:
            return
        p.largest, p.n_ahead = 0, 0
        self._forward_layers(readers, self.stages[0].last, &p)
        if b.checks_out:
            self._look_at(p.out, p.n * p.out_sample, self.largest)
        self._probabilities(b, task)

    cdef void _predict_chunks(self, const Batch *b, Py_ssize_t *next, int threads, int thread) noexcept nogil:
        """One thread's share of all chunks: it takes the next one before it begins with one, to fetch its data, but of
        the last ones, which another thread may be waiting for (two chunks were one thread's)."""
        cdef Py_ssize_t task = skconv_next_task(next), following
        while task < b.n_slots:
            if skconv_counted(next) + threads <= b.n_slots:
                following = skconv_next_task(next)
                self._predict_chunk(b, task, following, thread)
                task = following
            else:
                self._predict_chunk(b, task, b.n_slots, thread)
                task = skconv_next_task(next)

    cdef void _look_at(self, const char *values, Py_ssize_t n_bytes, double largest) noexcept nogil:
        """Note if one of some values, of the kernels' precision, is not finite, or larger."""
        if not self.k.all_finite(values, n_bytes // self.k.itemsize, largest):
            self.is_finite = False

    cdef void _look_at_all(self, const char *values, Py_ssize_t n_bytes, double largest, int threads) noexcept nogil:
        """The same by many threads, where samples do not pass one by one."""
        cdef Py_ssize_t piece
        for piece in prange((n_bytes + PIECE_BYTES - 1) // PIECE_BYTES, schedule="dynamic", num_threads=threads):
            self._look_at(values + piece * PIECE_BYTES, min(PIECE_BYTES, n_bytes - piece * PIECE_BYTES), largest)

    cdef void _probabilities(self, const Batch *b, Py_ssize_t task) noexcept nogil:
        """Of one chunk of samples, whose outputs are there, if they are asked for."""
        cdef Py_ssize_t i
        if b.softmax:
            for i in range(task * b.n // b.n_slots, (task + 1) * b.n // b.n_slots):
                self.k.softmax(b.base.out + i * b.base.out_sample, self.n_outputs)

    cdef void _units(self, const Batch *b, Py_ssize_t layer, Py_ssize_t phase, Py_ssize_t task, Py_ssize_t n_shares,
                     int thread) noexcept nogil:
        """One share of one layer's (one phase's) work on one sample."""
        cdef:
            Pass p = b.base
            Py_ssize_t n_units = (<Layer> self.layer_pointers[layer]).n_units, share = task % n_shares
        p.n = b.n
        p.place = 0
        p.phase = phase
        p.scratch = self.scratch + thread * self.scratch_size
        (<Layer> self.layer_pointers[layer]).forward_units(&p, task // n_shares, share * n_units // n_shares,
                                                           (share + 1) * n_units // n_shares)

    cdef void _predict_alone(self, const Batch *b) noexcept nogil:
        """A batch on the calling thread, without the work of making a team of one."""
        cdef Py_ssize_t task = 0, stage
        if not self.keeps_batch:
            self._predict_chunks(b, &task, 1, 0)
            return
        for stage in range(self.n_stages):
            for task in range(self._forward_tasks(b, stage)):
                self._forward_task(b, stage, task, 0)
        for task in range(b.n_slots):
            self._probabilities(b, task)

    def predict(self, x, out, *, int n_threads, bint by_units, bint softmax, Py_ssize_t first=0, bint prepares=True,
                bint checks_x=False, bint checks_out=False):
        """Run samples first, first + 1, ... of x forward, as many as `out` has rows.

        Parameters
        ----------
        x : ndarray of shape (n_samples, ...), C-contiguous uint8, float32 or float64
        out : ndarray of shape (n, n_outputs), C-contiguous, of the kernels' precision
        by_units : bool
            Share out the work inside samples, layer by layer: for a few large ones (at most `n_places`).
        softmax : bool
            Turn every output row into probabilities.
        prepares : bool
            Whether the weights may have changed since the last call.
        checks_x, checks_out : bool
            Look for NaN, infinity and (in x) what is too large for float32 on the way, while samples and results are
            in the cache: on two threads, a pass of its own through 30 MB takes longer than many a 1x1 convolution.
            The samples must be of the kernels' precision.

        Returns
        -------
        is_finite : bool
            Whether there was none of it. `out` is incomplete where x was not finite.
        """
        cdef:
            Batch batch
            Batch *b = &batch
            Py_ssize_t n = len(out), done, task, layer, phase, n_tasks, stage, n_shares, next_task
            int thread, threads = max(1, min(n_threads, self.n_threads))
            bint in_chunks
            char *rows = address_of(out, NULL, NULL)
        self._set_data(b, x)
        self._start()
        b.base.out_sample = self.n_outputs * self.k.itemsize
        b.softmax = softmax
        b.checks_x, b.checks_out = checks_x, checks_out
        self.is_finite = True
        in_chunks = not (self.keeps_batch or by_units and threads > 1)
        if checks_x and not in_chunks:
            with nogil:
                self._look_at_all(b.base.x + first * b.base.x_sample, n * b.base.x_sample, LARGEST_DATA, threads)
            if not self.is_finite:
                return False
        if prepares:
            for task in prange(self.n_layers, schedule="dynamic", num_threads=threads, nogil=True):
                (<Layer> self.layer_pointers[task]).prepare(True, False)
        done = 0
        while done < n:
            b.base.first = first + done
            b.base.out = rows + done * b.base.out_sample
            b.n = n - done
            if by_units:
                b.n = min(b.n, self.n_places)
            elif self.keeps_batch:
                b.n = min(b.n, self.capacity)
            b.chunk = min(self.chunk, (b.n + threads - 1) // threads)
            # As many chunks for every thread, of nearly as many samples: 45 images are 16, 16 and 13 otherwise.
            n_tasks = (b.n + b.chunk - 1) // b.chunk
            b.n_slots = n_tasks = min(b.n, (n_tasks + threads - 1) // threads * threads)
            if threads == 1:
                with nogil:
                    self._predict_alone(b)
            elif by_units:
                with nogil, parallel(num_threads=threads):
                    thread = threadid()
                    for layer in range(self.n_layers):
                        n_shares = min((<Layer> self.layer_pointers[layer]).n_units, 8 * threads)
                        for phase in range((<Layer> self.layer_pointers[layer]).n_phases):
                            for task in prange(b.n * n_shares, schedule="dynamic"):
                                self._units(b, layer, phase, task, n_shares, thread)
                            skconv_barrier()
                    for task in prange(n_tasks, schedule="dynamic"):
                        self._probabilities(b, task)
            elif not self.keeps_batch:
                next_task = 0
                with nogil, parallel(num_threads=threads):
                    self._predict_chunks(b, &next_task, threads, threadid())
            else:
                with nogil, parallel(num_threads=threads):
                    thread = threadid()
                    for stage in range(self.n_stages):
                        for task in prange(self._forward_tasks(b, stage), schedule="dynamic"):
                            self._forward_task(b, stage, task, thread)
                        skconv_barrier()
                    for task in prange(n_tasks, schedule="dynamic"):
                        self._probabilities(b, task)
            if self.is_interrupted:
                raise KeyboardInterrupt
            done += b.n
        if checks_out and not in_chunks:
            with nogil:
                self._look_at_all(rows, n * b.base.out_sample, self.largest, threads)
        return self.is_finite
