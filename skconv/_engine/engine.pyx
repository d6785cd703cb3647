"""The engine: whole stretches of mini-batches in one call without the GIL.

A network is a list of layers cut into stages.  Inside a stage a mini-batch is cut into slots (how many depends on its
size only) and a slot into chunks of samples, small enough that their activations stay in the cache; a thread takes a
chunk through all layers of the stage, in the last stage through the loss and back, before it touches the next:

    for every mini-batch:                                                  each line ends in a barrier
        pack the weights for the backward pass                             a task per layer
        stages but the last, forward                                       a task per slot (or per tile: wide layers)
        last stage: forward, loss, backward                                a task per slot
        stages but the last, backwards                                     a task per slot (or per tile)
        sum the slots' gradients in their order and move the weights       a task per block of weights

A wide dense layer is a stage of its own.  Activations live in places: a few per thread where there is one stage, one
per sample of the mini-batch where a barrier separates forward from backward.  Every gradient buffer belongs to a
slot, every weight to one block, so results do not depend on the number of threads.
"""
from cpython.exc cimport PyErr_CheckSignals
from cpython.ref cimport PyObject
from cython.parallel cimport parallel, prange, threadid
from libc.stdint cimport int32_t, uint64_t
from libc.string cimport memcpy, memset

import numpy as np

from .clock cimport skconv_barrier, skconv_seconds
from .dense cimport DenseLayer
from .layer cimport Layer, Pass, Tables, kernels_of, round_up
from .table cimport FROM_FLOAT32, FROM_FLOAT64, FROM_UINT8, Kernels, Update

cdef enum:
    MAX_SLOTS = 16          # of a mini-batch: as many threads can share it
    BLOCK_WEIGHTS = 4096    # per task of the update

cdef struct Batch:
    Pass base               # what all passes of the mini-batch share
    const int32_t *targets  # by sample number ...
    const char *dy          # ... or, in place of the loss, its gradient by the outputs
    char *dx                # and room for its gradient by the input, or NULL
    Py_ssize_t n
    Py_ssize_t n_slots
    Py_ssize_t chunk        # samples that go through a stage together
    Py_ssize_t n_done       # mini-batches of the call
    Update update           # settings of the solver, with the mini-batch's rate

cdef struct Stage:
    Py_ssize_t first        # layers
    Py_ssize_t last
    bint is_wide
    char *gradient          # of the loss by the stage's input, (capacity, values)
    Py_ssize_t row          # bytes of a sample in it

cdef struct Block:
    Py_ssize_t weights      # element in the flat vector
    char *gradients
    Py_ssize_t n
    Py_ssize_t n_buffers    # 0: one per slot of the mini-batch
    bint decays


cdef bint check_signals() noexcept with gil:
    """Let Python handle what came in; True where that raised KeyboardInterrupt."""
    try:
        PyErr_CheckSignals()
    except KeyboardInterrupt:
        return True
    return False


cdef class Engine:
    """The compiled half of a network.

    Parameters
    ----------
    kernels : capsule
    layers : list of Layer
        In order; the first is Input.
    stages : list of (first, last, is_wide)
        Ranges of layers.
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
    gradient_values : int
        The widest map, in elements: room for one sample's gradient.
    stage_values : list of int
        Elements of one sample at the input of each stage.
    slot_samples : int
        Samples of a slot at least: its gradient buffer must be zeroed and added.
    slot_size, wide_size : int
        Bytes of one slot's gradients, and of the wide layers' gradients; 0 where nothing is trained.
    """

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
        Py_ssize_t gradient_size
        char *slots
        Py_ssize_t slot_samples
        Py_ssize_t slot_size
        char *wide
        Py_ssize_t n_outputs
        Block *blocks
        Py_ssize_t n_blocks
        double[MAX_SLOTS] slot_loss
        Py_ssize_t[MAX_SLOTS] slot_correct
        readonly double loss_sum
        readonly Py_ssize_t n_correct
        double deadline             # on the clock of skconv_seconds
        bint is_late
        double next_check           # for signals
        bint is_interrupted
        object _kernels             # the capsule that owns them
        Tables tables               # all memory, zeroed, each part on cache lines of its own

    def __init__(self, kernels, layers, stages, *, chunk, capacity, n_places, n_threads, maps_size, scratch_size,
                 gradient_values, stage_values, slot_samples=8, slot_size=0, wide_size=0):
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
            self.stages[i].row = stage_values[i] * self.k.itemsize
            if i > 0 and slot_size > 0:
                self.stages[i].gradient = self.tables.bytes((capacity * stage_values[i] + 64) * self.k.itemsize)
        self.maps = self.tables.bytes(maps_size)
        self.gradient_size = round_up((chunk * gradient_values + 64) * self.k.itemsize)
        self.scratch_size = scratch_size + 2 * self.gradient_size
        self.scratch = self.tables.bytes(self.scratch_size * n_threads)
        self.slot_samples = slot_samples
        self.slot_size = slot_size
        if slot_size > 0:
            self.slots = self.tables.bytes(slot_size * self._count_slots(capacity))
            self.wide = self.tables.bytes(wide_size)

    cdef Py_ssize_t _count_slots(self, Py_ssize_t n) noexcept nogil:
        """Slots of a mini-batch of n samples."""
        return min(MAX_SLOTS, max(1, n // self.slot_samples))

    def set_blocks(self, segments):
        """Tell the update which weights there are.

        Parameters
        ----------
        segments : list of (weights, gradients, n, is_wide, decays)
            Element in the flat vector, byte offset in the slot's (or wide) gradients, number of elements.
        """
        cdef Py_ssize_t start, i = 0
        self.n_blocks = sum((n + BLOCK_WEIGHTS - 1) // BLOCK_WEIGHTS for _, _, n, _, _ in segments)
        self.blocks = <Block *> self.tables.bytes(self.n_blocks * sizeof(Block))
        for weights, gradients, n, is_wide, decays in segments:
            for start in range(0, n, BLOCK_WEIGHTS):
                self.blocks[i].weights = weights + start
                self.blocks[i].gradients = ((self.wide if is_wide else self.slots) + <Py_ssize_t> gradients
                                            + start * self.k.itemsize)
                self.blocks[i].n = min(BLOCK_WEIGHTS, n - start)
                self.blocks[i].n_buffers = 1 if is_wide else 0
                self.blocks[i].decays = decays
                i += 1

    # ---- one chunk ---------------------------------------------------------------------------------------------

    cdef void _chunk_of(self, const Batch *b, Py_ssize_t first, Py_ssize_t last, int thread, Pass *p) noexcept nogil:
        p[0] = b.base
        p.n = min(b.chunk, last - first)
        p.place = first if self.keeps_batch else thread * self.chunk
        p.scratch = self.scratch + thread * self.scratch_size
        if p.order != NULL:
            p.order += first
        p.first += first
        if p.out != NULL:
            p.out += first * p.out_sample

    cdef void _forward_layers(self, Py_ssize_t stage, const Pass *p) noexcept nogil:
        cdef Py_ssize_t i
        for i in range(self.stages[stage].first, self.stages[stage].last):
            (<Layer> self.layer_pointers[i]).forward(p)

    cdef char *_gradient_buffer(self, const Pass *p, Py_ssize_t i) noexcept nogil:
        """Two buffers after the layers' scratch take turns: gradients by output and by input of a layer."""
        return p.scratch + self.scratch_size - (1 + (i & 1)) * self.gradient_size

    cdef void _backward_layers(self, const Batch *b, Py_ssize_t stage, Py_ssize_t place, Pass *p) noexcept nogil:
        """Back through a stage; p.dy is the gradient by its output, `place` the samples' place in the mini-batch."""
        cdef Py_ssize_t i, first = self.stages[stage].first
        for i in range(self.stages[stage].last - 1, first - 1, -1):
            p.dx = NULL
            if (<Layer> self.layer_pointers[i]).needs_dx:
                p.dx_sample = (<Layer> self.layer_pointers[i]).x.values * self.k.itemsize
                if i == 1:
                    p.dx = NULL if b.dx == NULL else b.dx + place * p.dx_sample
                elif i == first:
                    p.dx = self.stages[stage].gradient + place * self.stages[stage].row
                else:
                    p.dx = self._gradient_buffer(p, i)
            (<Layer> self.layer_pointers[i]).backward(p)
            if p.dx == NULL:
                return
            p.dy = p.dx
            p.dy_sample = p.dx_sample

    # ---- tasks -------------------------------------------------------------------------------------------------

    cdef void _forward_slot(self, const Batch *b, Py_ssize_t stage, Py_ssize_t slot, int thread) noexcept nogil:
        cdef:
            Pass p
            Py_ssize_t first, last = (slot + 1) * b.n // b.n_slots
        first = slot * b.n // b.n_slots
        while first < last:
            if self._is_interrupted(thread):
                return
            self._chunk_of(b, first, last, thread, &p)
            self._forward_layers(stage, &p)
            first += b.chunk

    cdef void _loss_slot(self, const Batch *b, Py_ssize_t slot, int thread) noexcept nogil:
        """The last stage of a slot, with the loss, there and back."""
        cdef:
            Pass p
            Py_ssize_t stage = self.n_stages - 1, first, last = (slot + 1) * b.n // b.n_slots, i, correct = 0
            Py_ssize_t row = self.n_outputs * self.k.itemsize
            double loss = 0
            bint hit
        memset(self.slots + slot * self.slot_size, 0, self.slot_size)
        first = slot * b.n // b.n_slots
        while first < last:
            if self._is_interrupted(thread):
                return
            self._chunk_of(b, first, last, thread, &p)
            p.gradients = self.slots + slot * self.slot_size
            self._forward_layers(stage, &p)
            if self.stages[stage].first == self.stages[stage].last:
                p.dy = self.stages[stage].gradient + first * row
            else:
                p.dy = self._gradient_buffer(&p, self.stages[stage].last)
            p.dy_sample = row
            for i in range(p.n):
                if b.dy != NULL:
                    memcpy(p.dy + i * row, b.dy + (first + i) * row, row)
                    continue
                loss += self.k.softmax_cross_entropy(
                    (<Layer> self.layer_pointers[self.n_layers - 1]).output(&p, i), self.n_outputs,
                    b.targets[p.order[i] if p.order != NULL else p.first + i], 1.0 / b.n, p.dy + i * row, &hit)
                correct += hit
            self._backward_layers(b, stage, first, &p)
            first += b.chunk
        self.slot_loss[slot] = loss
        self.slot_correct[slot] = correct

    cdef void _backward_slot(self, const Batch *b, Py_ssize_t stage, Py_ssize_t slot, int thread) noexcept nogil:
        cdef:
            Pass p
            Py_ssize_t first, last = (slot + 1) * b.n // b.n_slots
        first = slot * b.n // b.n_slots
        while first < last:
            if self._is_interrupted(thread):
                return
            self._chunk_of(b, first, last, thread, &p)
            p.gradients = self.slots + slot * self.slot_size
            p.dy_sample = self.stages[stage + 1].row
            p.dy = self.stages[stage + 1].gradient + first * p.dy_sample
            self._backward_layers(b, stage, first, &p)
            first += b.chunk

    cdef void _whole(self, const Batch *b, Py_ssize_t stage, Pass *p) noexcept nogil:
        """The pass of a wide layer: all samples at once."""
        p[0] = b.base
        p.n = b.n
        p.place = 0
        p.gradients = self.wide
        if stage + 1 < self.n_stages:
            p.dy = self.stages[stage + 1].gradient
            p.dy_sample = self.stages[stage + 1].row
        p.dx_sample = self.stages[stage].row
        p.dx = self.stages[stage].gradient
        if self.stages[stage].first == 1:
            p.dx = b.dx

    cdef void _forward_tile(self, const Batch *b, Py_ssize_t stage, Py_ssize_t task) noexcept nogil:
        cdef Pass p
        self._whole(b, stage, &p)
        (<DenseLayer> self.layer_pointers[self.stages[stage].first]).forward_task(&p, task)

    cdef void _backward_tile(self, const Batch *b, Py_ssize_t stage, Py_ssize_t task) noexcept nogil:
        cdef Pass p
        self._whole(b, stage, &p)
        (<DenseLayer> self.layer_pointers[self.stages[stage].first]).backward_task(&p, task)

    cdef Py_ssize_t _forward_tasks(self, const Batch *b, Py_ssize_t stage) noexcept nogil:
        if self.stages[stage].is_wide:
            return (<DenseLayer> self.layer_pointers[self.stages[stage].first]).n_forward_tasks
        return b.n_slots

    cdef Py_ssize_t _backward_tasks(self, const Batch *b, Py_ssize_t stage) noexcept nogil:
        if self.stages[stage].is_wide:
            return (<DenseLayer> self.layer_pointers[self.stages[stage].first]).n_backward_tasks
        return b.n_slots

    cdef void _forward_task(self, const Batch *b, Py_ssize_t stage, Py_ssize_t task, int thread) noexcept nogil:
        if self.stages[stage].is_wide:
            self._forward_tile(b, stage, task)
        else:
            self._forward_slot(b, stage, task, thread)

    cdef void _backward_task(self, const Batch *b, Py_ssize_t stage, Py_ssize_t task, int thread) noexcept nogil:
        if self.stages[stage].is_wide:
            self._backward_tile(b, stage, task)
        else:
            self._backward_slot(b, stage, task, thread)

    cdef void _update_block(self, const Batch *b, Py_ssize_t block, int solver, char *weights, char *state_1,
                            char *state_2) noexcept nogil:
        """Move one block of weights; solver 0 only sums the gradients into state_1."""
        cdef:
            Update u = b.update
            Block *blk = self.blocks + block
            Py_ssize_t at = blk.weights * self.k.itemsize
        u.n = blk.n
        u.n_buffers = blk.n_buffers if blk.n_buffers > 0 else b.n_slots
        u.buffer_stride = self.slot_size // self.k.itemsize
        u.decay = u.decay / b.n if blk.decays else 0
        if solver == 0:
            self.k.add_buffers(&u, blk.gradients, weights + at, state_1 + at)
        elif solver == 1:
            self.k.sgd(&u, blk.gradients, weights + at, state_1 + at)
        else:
            self.k.adam(&u, blk.gradients, weights + at, state_1 + at, state_2 + at)

    cdef void _finish_batch(self, const Batch *b) noexcept nogil:
        """Add up the slots' losses, in their order, and look at the clock."""
        cdef Py_ssize_t slot
        for slot in range(b.n_slots):
            self.loss_sum += self.slot_loss[slot]
            self.n_correct += self.slot_correct[slot]
        self.is_late = skconv_seconds() >= self.deadline

    cdef bint _is_interrupted(self, int thread) noexcept nogil:
        """Whether Ctrl-C was pressed; asked between chunks, answered by the calling thread twice a second."""
        if thread == 0 and skconv_seconds() >= self.next_check:
            self.next_check = skconv_seconds() + 0.5
            if check_signals():
                self.is_interrupted = True
        return self.is_interrupted

    # ---- calls -------------------------------------------------------------------------------------------------

    cdef int _set_data(self, Batch *b, x) except -1:
        """Point a batch at the data."""
        cdef size_t address = x.__array_interface__["data"][0]
        memset(b, 0, sizeof(Batch))
        b.base.x = <const char *> address
        b.base.x_sample = x.dtype.itemsize * <Py_ssize_t> (x.size // max(len(x), 1))
        b.base.source = {"B": FROM_UINT8, "f": FROM_FLOAT32, "d": FROM_FLOAT64}[x.dtype.char]
        b.base.maps = self.maps
        b.chunk = self.chunk
        return 0

    def train(self, x, const Py_ssize_t[::1] order, const Py_ssize_t[::1] bounds, const int32_t[::1] targets, *,
              int n_threads, int solver, settings, const double[::1] rates, size_t weights, size_t state_1,
              size_t state_2, uint64_t seed=0, uint64_t epoch=0, bint training=True, double seconds=1e9,
              size_t dy=0, size_t dx=0):
        """Run consecutive mini-batches, the i-th on samples order[bounds[i]:bounds[i + 1]], for `seconds` at most.

        Returns the number of mini-batches run, at least one.

        Parameters
        ----------
        x : ndarray of shape (n_samples, ...), C-contiguous uint8, float32 or float64
        order, bounds, targets
            Sample numbers, mini-batches (of at most `capacity` samples), classes by sample number.
        n_threads : int
        solver : {0, 1, 2}
            0: sum the gradients into state_1; 1: SGD; 2: Adam.
        settings : (alpha, beta_1, beta_2, epsilon, nesterov)
        rates : (n_batches,)
        weights, state_1, state_2 : int
            Addresses of the flat vectors.
        seed, epoch : int
            Keys of dropout, which acts where `training`.
        seconds : float
            No mini-batch begins later.
        dy, dx : int
            Addresses: gradients by the outputs, in place of the loss, and room for those by the input; or 0.
        """
        cdef:
            Batch *batches
            Batch *b
            Py_ssize_t n_batches = bounds.shape[0] - 1, j, task, stage
            int thread, threads = max(1, min(n_threads, self.n_threads))
            char *w = <char *> weights
            char *s1 = <char *> state_1
            char *s2 = <char *> state_2
            const Py_ssize_t *samples = &order[0]
            const Py_ssize_t *starts = &bounds[0]
            const double *steps = &rates[0]
        room = np.zeros(threads * sizeof(Batch), dtype=np.int8)     # a batch per thread: nothing shared is written
        cdef char[::1] view = room
        batches = <Batch *> &view[0]
        for thread in range(threads):
            b = batches + thread
            self._set_data(b, x)
            b.targets = &targets[0]
            b.dy = <const char *> dy
            b.dx = <char *> dx
            b.base.keep = True
            b.base.training = training
            b.base.seed = seed
            b.base.epoch = epoch
            b.update.decay, b.update.beta_1, b.update.beta_2, b.update.epsilon, b.update.nesterov = settings
        self.loss_sum = 0
        self.n_correct = 0
        self.is_late = False
        self.is_interrupted = False
        self.next_check = skconv_seconds() + 0.5
        self.deadline = skconv_seconds() + seconds
        with nogil, parallel(num_threads=threads):
            thread = threadid()
            b = batches + thread
            for j in range(n_batches):
                b.base.order = samples + starts[j]
                b.n = starts[j + 1] - starts[j]
                b.n_slots = self._count_slots(b.n)
                b.update.rate = steps[j]
                for task in prange(self.n_layers, schedule="dynamic"):
                    (<Layer> self.layer_pointers[task]).prepare(True)
                skconv_barrier()
                for stage in range(self.n_stages - 1):
                    for task in prange(self._forward_tasks(b, stage), schedule="dynamic"):
                        self._forward_task(b, stage, task, thread)
                    skconv_barrier()
                for task in prange(b.n_slots, schedule="dynamic"):
                    self._loss_slot(b, task, thread)
                skconv_barrier()
                for stage in range(self.n_stages - 2, -1, -1):
                    for task in prange(self._backward_tasks(b, stage), schedule="dynamic"):
                        self._backward_task(b, stage, task, thread)
                    skconv_barrier()
                # What stops the loop is written before a barrier, read by all behind it, and not written again before
                # all have met at another one: all leave at the same mini-batch.
                if self.is_interrupted:
                    break
                for task in prange(self.n_blocks + 1, schedule="dynamic"):
                    if task == self.n_blocks:
                        self._finish_batch(b)
                    else:
                        self._update_block(b, task, solver, w, s1, s2)
                skconv_barrier()
                b.n_done = j + 1
                if self.is_late:
                    break
        if self.is_interrupted:
            raise KeyboardInterrupt     # in the middle of a mini-batch, which is abandoned
        return batches.n_done

    cdef void _pull_back_chunk(self, const Batch *b, Py_ssize_t task, int thread) noexcept nogil:
        cdef Pass p
        self._chunk_of(b, task * b.chunk, b.n, thread, &p)
        p.dy_sample = self.n_outputs * self.k.itemsize
        p.dy = <char *> b.dy + task * b.chunk * p.dy_sample
        self._backward_layers(b, 0, task * b.chunk, &p)

    def pull_back(self, dy, dx, *, int n_threads):
        """Gradients by the input from those by the outputs, through one stage of layers whose backward pass needs
        nothing of the forward pass and which have no weights' gradients.

        Parameters
        ----------
        dy, dx : ndarray of shape (n, ...), C-contiguous, of the kernels' precision
        """
        cdef:
            Batch batch
            Batch *b = &batch
            Py_ssize_t task, n_tasks
            int threads = max(1, min(n_threads, self.n_threads))
            size_t address
        memset(b, 0, sizeof(Batch))
        b.base.maps = self.maps
        address = dy.__array_interface__["data"][0]
        b.dy = <const char *> address
        address = dx.__array_interface__["data"][0]
        b.dx = <char *> address
        b.n = len(dy)
        b.chunk = min(self.chunk, (b.n + threads - 1) // threads)
        n_tasks = (b.n + b.chunk - 1) // b.chunk
        for task in prange(self.n_layers, schedule="dynamic", num_threads=threads, nogil=True):
            (<Layer> self.layer_pointers[task]).prepare(True)
        for task in prange(n_tasks, schedule="dynamic", num_threads=threads, nogil=True):
            self._pull_back_chunk(b, task, threadid())

    cdef void _predict_chunk(self, const Batch *b, Py_ssize_t task, int thread) noexcept nogil:
        cdef Pass p
        self._chunk_of(b, task * b.chunk, b.n, thread, &p)
        self._forward_layers(0, &p)

    cdef void _units(self, const Batch *b, Py_ssize_t layer, Py_ssize_t task, Py_ssize_t n_shares,
                     int thread) noexcept nogil:
        """One share of one layer's work on one sample."""
        cdef:
            Pass p = b.base
            Py_ssize_t n_units = (<Layer> self.layer_pointers[layer]).n_units, share = task % n_shares
        p.n = b.n
        p.place = 0
        p.scratch = self.scratch + thread * self.scratch_size
        (<Layer> self.layer_pointers[layer]).forward_units(&p, task // n_shares, share * n_units // n_shares,
                                                           (share + 1) * n_units // n_shares)

    def predict(self, x, out, *, int n_threads, bint by_units, bint softmax, Py_ssize_t first=0):
        """Run samples first, first + 1, ... of x forward, as many as `out` has rows.

        Parameters
        ----------
        x : ndarray, as in train
        out : ndarray of shape (n, n_outputs), C-contiguous, of the kernels' precision
        by_units : bool
            Share out the work inside samples, layer by layer: for a few large ones (at most `n_places`).
        softmax : bool
            Turn every output row into probabilities.
        """
        cdef:
            Batch batch
            Batch *b = &batch
            Py_ssize_t n = len(out), done, task, layer, n_tasks, stage, n_shares
            int thread, threads = max(1, min(n_threads, self.n_threads))
            size_t address = out.__array_interface__["data"][0]
            char *rows = <char *> address
        for task in prange(self.n_layers, schedule="dynamic", num_threads=threads, nogil=True):
            (<Layer> self.layer_pointers[task]).prepare(False)
        self._set_data(b, x)
        b.base.out_sample = self.n_outputs * self.k.itemsize
        done = 0
        while done < n:
            b.base.first = first + done
            b.base.out = rows + done * b.base.out_sample
            b.n = n - done
            if by_units:
                b.n = min(b.n, self.n_places)
                with nogil, parallel(num_threads=threads):
                    thread = threadid()
                    for layer in range(self.n_layers):
                        n_shares = min((<Layer> self.layer_pointers[layer]).n_units, 8 * threads)
                        for task in prange(b.n * n_shares, schedule="dynamic"):
                            self._units(b, layer, task, n_shares, thread)
                        skconv_barrier()
            elif not self.keeps_batch:
                b.chunk = min(self.chunk, (b.n + threads - 1) // threads)
                n_tasks = (b.n + b.chunk - 1) // b.chunk
                for task in prange(n_tasks, schedule="dynamic", num_threads=threads, nogil=True):
                    self._predict_chunk(b, task, threadid())
            else:
                b.n = min(b.n, self.capacity)
                b.chunk = min(self.chunk, (b.n + threads - 1) // threads)
                b.n_slots = (b.n + b.chunk - 1) // b.chunk
                with nogil, parallel(num_threads=threads):
                    thread = threadid()
                    for stage in range(self.n_stages):
                        for task in prange(self._forward_tasks(b, stage), schedule="dynamic"):
                            self._forward_task(b, stage, task, thread)
                        skconv_barrier()
            done += b.n
        if softmax:
            for task in range(n):
                self.k.softmax(rows + task * b.base.out_sample, self.n_outputs)
