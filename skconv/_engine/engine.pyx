"""The engine: whole stretches of mini-batches in one call without the GIL.

A thread takes a chunk of samples through all layers of a stage (prediction.pyx), in the last stage through the loss
and back, before it touches the next:

    for every mini-batch:                                                  each line ends in a barrier
        pack the weights for the backward pass                             a task per layer
        stages but the last, forward                                       a task per slot (or per tile: wide layers)
          and the mini-batch's statistics, where the next one normalises   a task per block of channels
        last stage: forward, loss, backward                                a task per slot
        stages but the last, backwards                                     a task per slot (or per tile)
          before each the sums of gradients, where the next one normalises a task per block of channels
        where the gradient's norm is clipped: its sum of squares           a task per block of weights
        sum the slots' gradients in their order and move the weights       a task per block of weights

Wide dense layers and batch normalisation begin a stage.  How many slots a mini-batch has depends on its size only.
Activations live in places: a few per thread where there is one stage, one per sample of the mini-batch where a
barrier separates forward from backward.  Every gradient buffer belongs to a slot, every weight to one block, so
results do not depend on the number of threads.
"""
from cpython.ref cimport PyObject
from cython.parallel cimport parallel, prange, threadid
from libc.math cimport NAN, isfinite, isnan, sqrt
from libc.stdint cimport int32_t, uint64_t
from libc.string cimport memcpy, memset

import numpy as np

from .clock cimport skconv_barrier, skconv_flush_denormals, skconv_restore_mode, skconv_seconds
from .dense cimport DenseLayer
from .jobs cimport Job, skconv_count
from .layer cimport Layer, Pass, round_up, sample_number
from .normalization cimport BatchNormLayer
from .prediction cimport Batch, Predictor
from .table cimport LOG_LOSS, Update

cdef enum:
    MAX_SLOTS = 16          # of a mini-batch: as many threads can share it
    SLACK = 64              # elements that register tiles may read past the end of a gradient
    BLOCK_WEIGHTS = 4096    # per task of the update
    LEAST_ALONE = 3         # the input and two layers: one reads what the other has written

cdef struct Block:
    Py_ssize_t weights      # element in the flat vector
    char *gradients
    Py_ssize_t n
    Py_ssize_t n_buffers    # 0: one per slot of the mini-batch
    bint decays
    double squares          # of the gradients, where their norm is clipped


cdef class Engine(Predictor):
    """The compiled half of a network.

    Parameters
    ----------
    kernels, layers, stages, chunk, capacity, n_places, n_threads, maps_size, scratch_size
        As for Predictor.
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
        Py_ssize_t gradient_size    # bytes of a buffer for a chunk's
        Py_ssize_t sample_size      # ... for a sample's
        # First layers, through which a chunk's samples go one by one: 0 switches it off, with the same bits.
        public Py_ssize_t n_alone
        char *slots
        Py_ssize_t slot_samples
        Py_ssize_t slot_size
        char *wide
        Block *blocks
        Py_ssize_t n_blocks
        double[MAX_SLOTS] slot_loss
        Py_ssize_t[MAX_SLOTS] slot_correct
        readonly double loss_sum
        readonly Py_ssize_t n_correct
        double deadline             # on the clock of skconv_seconds
        bint is_late

    def __init__(self, kernels, layers, stages, *, chunk, capacity, n_places, n_threads, maps_size, scratch_size,
                 gradient_values, stage_values, slot_samples=8, slot_size=0, wide_size=0):
        cdef Py_ssize_t i
        self.gradient_size = round_up((chunk * gradient_values + 64) * (<Layer> layers[0]).itemsize)
        while self.n_alone < stages[0][1] and (<Layer> layers[self.n_alone]).goes_alone:
            self.n_alone += 1
        if self.n_alone < LEAST_ALONE:
            self.n_alone = 0
        self.sample_size = round_up((gradient_values + 64) * (<Layer> layers[0]).itemsize) if self.n_alone > 0 else 0
        super().__init__(kernels, layers, stages, chunk=chunk, capacity=capacity, n_places=n_places,
                         n_threads=n_threads, maps_size=maps_size,
                         scratch_size=scratch_size + self.sample_size + 2 * self.gradient_size)
        self.slot_samples = slot_samples
        self.slot_size = slot_size
        if slot_size == 0:
            return
        if n_threads > 1 and any((<Layer> layer).shares_forward or (<Layer> layer).shares_backward for layer in layers):
            self.jobs = <Job *> self.tables.bytes(n_threads * sizeof(Job))
        self.slots = self.tables.bytes(slot_size * self._count_slots(capacity))
        self.wide = self.tables.bytes(wide_size)
        for i in range(self.n_stages - 1, -1, -1):
            self.stages[i].row = stage_values[i] * self.k.itemsize
            if self.stages[i].first == self.stages[i].last and i + 1 < self.n_stages:
                # A stage that only adds up what the wide layer before it left: the gradient passes through.
                self.stages[i].gradient = self.stages[i + 1].gradient
            elif i > 0:
                self.stages[i].gradient = self.tables.bytes((capacity * stage_values[i] + 64) * self.k.itemsize)
            layer = layers[min(self.stages[i].first, self.n_layers - 1)]
            if self.stages[i].first < self.stages[i].last and isinstance(layer, BatchNormLayer):
                self.stages[i].norm = <PyObject *> layer

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

    cdef char *_gradient_buffer(self, const Pass *p, Py_ssize_t i) noexcept nogil:
        """Two buffers after the layers' scratch take turns: gradients by output and by input of a layer."""
        return p.scratch + self.scratch_size - (1 + (i & 1)) * self.gradient_size

    cdef char *_stage_gradient(self, const Batch *b, Py_ssize_t stage) noexcept nogil:
        """The gradient by the input of a stage, for the whole mini-batch."""
        if b.dx != NULL and self.stages[stage].first == 1:
            return b.dx
        return self.stages[stage].gradient

    cdef void _take_one(self, const Pass *p, Py_ssize_t i, Pass *one) noexcept nogil:
        """The pass of sample i of a chunk alone."""
        one[0] = p[0]
        one.n = 1
        one.before, one.after = i, p.n - 1 - i
        one.place += i
        one.first += i
        if p.order != NULL:
            one.order += i
        if p.out != NULL:
            one.out += i * p.out_sample
        one.dy += i * p.dy_sample

    cdef void _forward_layers(self, Py_ssize_t first, Py_ssize_t last, const Pass *p) noexcept nogil:
        """See Predictor. In training, large maps stay in the cache until the next layer has read them."""
        cdef:
            Pass one
            Py_ssize_t i, alone = min(self.n_alone, last) if p.n > 1 and p.keep else 0
        if first < alone:
            for i in range(p.n):
                self._take_one(p, i, &one)
                Predictor._forward_layers(self, first, alone, &one)
            first = alone
        Predictor._forward_layers(self, first, last, p)

    cdef bint _backward_layer(self, const Batch *b, Py_ssize_t stage, Py_ssize_t i, Py_ssize_t place, char *buffer,
                              Pass *p) noexcept nogil:
        """Back through layer i, with room for dx; False where nobody wants that."""
        cdef double start = 0
        if p.seconds != NULL:
            start = skconv_seconds()
        p.dx = NULL
        if (<Layer> self.layer_pointers[i]).needs_dx:
            p.dx_sample = (<Layer> self.layer_pointers[i]).x.values * self.k.itemsize
            if i == 1:
                p.dx = NULL if b.dx == NULL else b.dx + place * p.dx_sample
            elif i == self.stages[stage].first:
                p.dx = self._stage_gradient(b, stage) + place * self.stages[stage].row
            else:
                p.dx = buffer
        (<Layer> self.layer_pointers[i]).backward(p)
        if p.seconds != NULL:
            p.seconds[2 * i + 1] += skconv_seconds() - start
        p.dy = p.dx
        p.dy_sample = p.dx_sample
        return p.dx != NULL

    cdef void _backward_layers(self, const Batch *b, Py_ssize_t stage, Py_ssize_t place, Pass *p) noexcept nogil:
        """Back through a stage; p.dy is the gradient by its output, `place` the samples' place in the mini-batch."""
        cdef:
            Pass one
            char *buffer
            Py_ssize_t i, sample, first = self.stages[stage].first, alone = self.n_alone if p.n > 1 else 0
        for i in range(self.stages[stage].last - 1, max(first, alone) - 1, -1):
            if not self._backward_layer(b, stage, i, place, self._gradient_buffer(p, i), p):
                return
        for sample in range(p.n if first < alone else 0):
            self._take_one(p, sample, &one)
            for i in range(alone - 1, first - 1, -1):
                # One of the two buffers holds what reaches the chunk's other samples; a third one takes its turns.
                buffer = self._gradient_buffer(p, i)
                if (alone - i) & 1 == 0:
                    buffer = p.scratch + self.scratch_size - 2 * self.gradient_size - self.sample_size
                if not self._backward_layer(b, stage, i, place + sample, buffer, &one):
                    break

    # ---- tasks -------------------------------------------------------------------------------------------------

    cdef Py_ssize_t _n_forward(self, const Batch *b) noexcept nogil:
        """Layers that run forward: where the gradient by the outputs is given, nobody may want the outputs."""
        return self.n_layers - (b.dy != NULL and (<Layer> self.layer_pointers[self.n_layers - 1]).needs_input_only)

    cdef void _loss_slot(self, const Batch *b, Py_ssize_t slot, int thread) noexcept nogil:
        """The last stage of a slot, with the loss, there and back."""
        cdef:
            Pass p
            Py_ssize_t stage = self.n_stages - 1, first, last = (slot + 1) * b.n // b.n_slots, i, correct = 0
            Py_ssize_t row = self.n_outputs * self.k.itemsize, number
            const char *outputs
            double loss = 0, weight = 1, value
            bint hit
        memset(self.slots + slot * self.slot_size, 0, self.slot_size)
        if self.stages[stage].norm != NULL:
            (<BatchNormLayer> self.stages[stage].norm).clear_gradients(slot)
        first = slot * b.n // b.n_slots
        while first < last:
            if self._is_interrupted(thread):
                return
            self._chunk_of(b, first, last, thread, &p)
            p.slot = slot
            p.job = self._job(b, slot, thread)
            p.gradients = self.slots + slot * self.slot_size
            self._forward_layers(self.stages[stage].first, min(self.stages[stage].last, self._n_forward(b)), &p)
            if self.stages[stage].first == self.stages[stage].last:
                p.dy = self.stages[stage].gradient + first * row
            elif b.dy != NULL and (b.n - first - p.n) * self.n_outputs >= SLACK:
                p.dy = <char *> b.dy + first * row      # layers write none of it
            else:
                p.dy = self._gradient_buffer(&p, self.stages[stage].last)
            p.dy_sample = row
            for i in range(p.n):
                if p.dy == b.dy + first * row:
                    break
                if b.dy != NULL:
                    memcpy(p.dy + i * row, b.dy + (first + i) * row, row)
                    continue
                outputs = (<Layer> self.layer_pointers[self.n_layers - 1]).output(&p, i)
                number = sample_number(&p, i)
                if b.sample_weight != NULL:
                    weight = b.sample_weight[number]
                if b.loss == LOG_LOSS:
                    value = self.k.softmax_cross_entropy(outputs, self.n_outputs, b.labels[number], b.parameter,
                                                         weight / b.n, p.dy + i * row, &hit)
                    correct += hit
                else:
                    value = self.k.value_loss(b.loss, b.parameter, outputs, b.values + number * row, self.n_outputs,
                                              weight / b.n, p.dy + i * row)
                if weight == 0:     # not even infinity counts
                    memset(p.dy + i * row, 0, row)
                else:
                    loss += weight * value
            self._backward_layers(b, stage, first, &p)
            first += b.chunk
        self.slot_loss[slot] = loss
        self.slot_correct[slot] = correct

    cdef void _backward_slot(self, const Batch *b, Py_ssize_t stage, Py_ssize_t slot, int thread) noexcept nogil:
        cdef:
            Pass p
            PyObject *after = self.stages[stage + 1].norm
            Py_ssize_t first, last = (slot + 1) * b.n // b.n_slots
        if self.stages[stage].norm != NULL:
            (<BatchNormLayer> self.stages[stage].norm).clear_gradients(slot)
        first = slot * b.n // b.n_slots
        while first < last:
            if self._is_interrupted(thread):
                return
            self._chunk_of(b, first, last, thread, &p)
            p.slot = slot
            p.job = self._job(b, slot, thread)
            p.gradients = self.slots + slot * self.slot_size
            p.dy_sample = self.stages[stage + 1].row
            p.dy = self._stage_gradient(b, stage + 1) + first * p.dy_sample
            if after != NULL:
                (<BatchNormLayer> after).finish_gradient(&p)
            self._backward_layers(b, stage, first, &p)
            first += b.chunk

    cdef void _backward_tile(self, const Batch *b, Py_ssize_t stage, Py_ssize_t task, int thread) noexcept nogil:
        cdef:
            Pass p
            double start = skconv_seconds()
        self._whole(b, thread, &p)
        p.gradients = self.wide
        p.dy = self.stages[stage + 1].gradient
        p.dy_sample = self.stages[stage + 1].row
        p.dx_sample = self.stages[stage].row
        p.dx = self._stage_gradient(b, stage)
        (<DenseLayer> self.layer_pointers[self.stages[stage].first]).backward_task(&p, task)
        if p.seconds != NULL:
            p.seconds[2 * self.stages[stage].first + 1] += skconv_seconds() - start

    cdef Py_ssize_t _backward_tasks(self, const Batch *b, Py_ssize_t stage) noexcept nogil:
        if self.stages[stage].is_wide:
            return (<DenseLayer> self.layer_pointers[self.stages[stage].first]).n_backward_tasks
        return b.n_slots

    cdef void _backward_task(self, const Batch *b, Py_ssize_t stage, Py_ssize_t task, int thread) noexcept nogil:
        if self.stages[stage].is_wide:
            self._backward_tile(b, stage, task, thread)
        else:
            self._backward_slot(b, stage, task, thread)
            skconv_count(&self.n_finished)

    cdef Py_ssize_t _norm_tasks(self, Py_ssize_t stage) noexcept nogil:
        if self.stages[stage].norm == NULL:
            return 0
        return (<BatchNormLayer> self.stages[stage].norm).n_tasks

    cdef void _join_block(self, const Batch *b, Py_ssize_t block) noexcept nogil:
        """Sum the slots' gradients of one block, in their order, into the first slot's."""
        cdef:
            Update u
            Block *blk = self.blocks + block
        u.n = blk.n
        u.n_buffers = blk.n_buffers if blk.n_buffers > 0 else b.n_slots
        u.buffer_stride = self.slot_size // self.k.itemsize
        blk.squares = self.k.join_buffers(&u, blk.gradients)

    cdef double _clipping(self, const Batch *b) noexcept nogil:
        """The factor that brings the norm of all gradients down to the largest that is allowed."""
        cdef:
            Py_ssize_t block
            double norm = 0
        for block in range(self.n_blocks):
            norm += self.blocks[block].squares
        if not isfinite(norm):
            return NAN      # a factor of 0 would hide what went wrong
        norm = sqrt(norm)
        return 1 if norm <= b.clip_norm else b.clip_norm / norm

    cdef void _update_block(self, const Batch *b, Py_ssize_t block, int solver, double share, int thread, char *weights,
                            char *state_1, char *state_2) noexcept nogil:
        """Move one block of weights, and their average; solver 0 only sums the gradients into state_1."""
        cdef:
            Update u = b.update
            Block *blk = self.blocks + block
            Py_ssize_t at = blk.weights * self.k.itemsize
            double *seconds = self._seconds(thread)
            double start = 0
        if seconds != NULL:
            start = skconv_seconds()
        u.n = blk.n
        u.n_buffers = blk.n_buffers if blk.n_buffers > 0 else 1 if b.clip_norm > 0 else b.n_slots
        u.buffer_stride = self.slot_size // self.k.itemsize
        u.decay = u.decay / b.n if blk.decays else 0
        u.l1 = b.l1 / b.n if blk.decays else 0
        if solver == 0:
            self.k.add_buffers(&u, blk.gradients, weights + at, state_1 + at)
        elif solver == 1:
            self.k.sgd(&u, blk.gradients, weights + at, state_1 + at)
        else:
            self.k.adam(&u, blk.gradients, weights + at, state_1 + at, state_2 + at)
        if b.average != NULL:
            self.k.average(weights + at, u.n, share, b.average + at)
        if seconds != NULL:
            seconds[2 * self.n_layers] += skconv_seconds() - start

    cdef void _finish_batch(self, const Batch *b, bint moves) noexcept nogil:
        """Add up the slots' losses, in their order, move the running statistics, and look at the clock."""
        cdef Py_ssize_t slot, stage
        for slot in range(b.n_slots):
            self.loss_sum += self.slot_loss[slot]
            self.n_correct += self.slot_correct[slot]
        if isnan(b.update.scale):
            self.loss_sum = NAN     # and so are all weights now
        for stage in range(self.n_stages):
            if self.stages[stage].norm != NULL and moves and b.base.training:
                (<BatchNormLayer> self.stages[stage].norm).move_running(b.n)
        self.is_late = skconv_seconds() >= self.deadline

    # ---- calls -------------------------------------------------------------------------------------------------

    def train(self, x, const Py_ssize_t[::1] order, const Py_ssize_t[::1] bounds, const int32_t[::1] labels, *,
              int n_threads, int solver, settings, const double[::1] rates, size_t weights, size_t state_1,
              size_t state_2, uint64_t seed=0, uint64_t epoch=0, bint training=True, double seconds=1e9,
              int loss=LOG_LOSS, double parameter=0, size_t values=0, const double[::1] sample_weight=None,
              const double[::1] averaging=None, size_t average=0, size_t dy=0, size_t dx=0, double loss_before=0):
        """Run consecutive mini-batches, the i-th on samples order[bounds[i]:bounds[i + 1]], for `seconds` at most.

        Returns the number of mini-batches run, at least one.

        Parameters
        ----------
        x : ndarray, as in predict
        order, bounds, labels
            Sample numbers, mini-batches (of at most `capacity` samples), classes by sample number; no classes (None)
            where the loss takes `values` or is given by `dy`.
        n_threads : int
        solver : {0, 1, 2}
            0: sum the gradients into state_1; 1: SGD; 2: Adam.
        settings : (alpha, beta_1, beta_2, epsilon, nesterov, l1, clip_norm)
            The last is 0 where the norm of the gradient is not clipped.
        rates : (n_batches,)
        weights, state_1, state_2 : int
            Addresses of the flat vectors.
        seed, epoch : int
            Keys of dropout.
        training : bool
            Whether dropout acts, and batch normalisation takes the mini-batch's statistics.
        seconds : float
            No mini-batch begins later.
        loss, parameter
            LossKind, and its number: label smoothing or Huber's delta.
        values : int
            Address of the targets of losses that take no labels, (n_samples, n_outputs) by sample number.
        sample_weight : (n_samples,) or None
            Factors of the samples' losses.
        averaging, average : (n_batches,) or None, and an address or 0
            After mini-batch i, the average moves by 1 - averaging[i] of its distance from the weights.
        dy, dx : int
            Addresses: gradients by the outputs, in place of the loss, and room for those by the input; or 0.
        loss_before : float
            What the losses are added to: the sum over an epoch then does not depend on where stretches end.
        """
        cdef:
            Batch *batches
            Batch *b
            Py_ssize_t n_batches = bounds.shape[0] - 1, j, task, stage
            int thread, threads = max(1, min(n_threads, self.n_threads))
            unsigned long long mode
            char *w = <char *> weights
            char *s1 = <char *> state_1
            char *s2 = <char *> state_2
            const Py_ssize_t *samples = &order[0]
            const Py_ssize_t *starts = &bounds[0]
            const double *steps = &rates[0]
            const double *factors = NULL if averaging is None else &averaging[0]
        room = np.zeros(threads * sizeof(Batch), dtype=np.int8)     # a batch per thread: nothing shared is written
        cdef char[::1] view = room
        batches = <Batch *> &view[0]
        for thread in range(threads):
            b = batches + thread
            self._set_data(b, x)
            b.loss = loss
            b.parameter = parameter
            b.labels = NULL if labels is None else &labels[0]
            b.values = <const char *> values
            b.sample_weight = NULL if sample_weight is None else &sample_weight[0]
            b.average = <char *> average
            b.dy = <const char *> dy
            b.dx = <char *> dx
            b.base.keep = True
            b.base.training = training
            b.base.seed = seed
            b.base.epoch = epoch
            (b.update.decay, b.update.beta_1, b.update.beta_2, b.update.epsilon, b.update.nesterov, b.l1,
             b.clip_norm) = settings
            b.update.scale = 1
            b.n_threads = threads
        self.loss_sum = loss_before
        self.n_finished = 0
        self.n_correct = 0
        self.is_late = False
        self._start()
        self.deadline = skconv_seconds() + seconds
        with nogil, parallel(num_threads=threads):
            mode = skconv_flush_denormals()
            thread = threadid()
            b = batches + thread
            for j in range(n_batches):
                b.base.order = samples + starts[j]
                b.n = starts[j + 1] - starts[j]
                b.n_slots = self._count_slots(b.n)
                b.update.rate = steps[j]
                for task in prange(self.n_layers, schedule="dynamic"):
                    (<Layer> self.layer_pointers[task]).prepare(task < self._n_forward(b), True)
                skconv_barrier()
                for stage in range(self.n_stages - 1):
                    for task in prange(self._forward_tasks(b, stage), schedule="dynamic"):
                        self._forward_task(b, stage, task, thread)
                    if not self.stages[stage].is_wide:
                        self._help(b, thread)
                    skconv_barrier()
                    if self.stages[stage + 1].norm != NULL:
                        for task in prange(self._norm_tasks(stage + 1), schedule="dynamic"):
                            (<BatchNormLayer> self.stages[stage + 1].norm).merge_values(
                                b.n, b.n_slots, b.base.training, task)
                        skconv_barrier()
                for task in prange(b.n_slots, schedule="dynamic"):
                    self._loss_slot(b, task, thread)
                    skconv_count(&self.n_finished)
                self._help(b, thread)
                skconv_barrier()
                for stage in range(self.n_stages - 2, -1, -1):
                    if self.stages[stage + 1].norm != NULL:
                        for task in prange(self._norm_tasks(stage + 1), schedule="dynamic"):
                            (<BatchNormLayer> self.stages[stage + 1].norm).merge_gradients(
                                b.n, b.n_slots, b.base.training, self.wide, task)
                        skconv_barrier()
                    for task in prange(self._backward_tasks(b, stage), schedule="dynamic"):
                        self._backward_task(b, stage, task, thread)
                    if not self.stages[stage].is_wide:
                        self._help(b, thread)
                    skconv_barrier()
                # What stops the loop is written before a barrier, read by all behind it, and not written again before
                # all have met at another one: all leave at the same mini-batch.
                if self.is_interrupted:
                    break
                if b.clip_norm > 0:
                    for task in prange(self.n_blocks, schedule="dynamic"):
                        self._join_block(b, task)
                    skconv_barrier()
                    b.update.scale = self._clipping(b)
                for task in prange(self.n_blocks + 1, schedule="dynamic"):
                    if task == self.n_blocks:
                        self._finish_batch(b, solver != 0)
                    else:
                        self._update_block(b, task, solver, 0 if factors == NULL else 1 - factors[j], thread, w, s1, s2)
                skconv_barrier()
                b.n_done = j + 1
                if self.is_late:
                    break
            skconv_restore_mode(mode)
        if self.is_interrupted:
            raise KeyboardInterrupt     # in the middle of a mini-batch, which is abandoned
        return batches.n_done

    cdef void _pull_back_chunk(self, const Batch *b, Py_ssize_t task, int thread) noexcept nogil:
        cdef:
            Pass p
            Py_ssize_t row
        self._chunk_of(b, task * b.chunk, b.n, thread, &p)
        p.dy_sample = self.n_outputs * self.k.itemsize
        p.dy = <char *> b.dy + task * b.chunk * p.dy_sample
        self._backward_layers(b, 0, task * b.chunk, &p)
        if b.checks_out:
            row = (<Layer> self.layer_pointers[0]).y.values * self.k.itemsize
            self._look_at(b.dx + task * b.chunk * row, p.n * row, self.largest)

    def pull_back(self, dy, dx, *, int n_threads, bint checks_out=False):
        """Gradients by the input from those by the outputs, through one stage of layers whose backward pass needs
        nothing of the forward pass and which have no weights' gradients.

        Parameters
        ----------
        dy, dx : ndarray of shape (n, ...), C-contiguous, of the kernels' precision
        n_threads : int
        checks_out : bool
            Look for NaN and infinity in dx, as `predict` does.

        Returns
        -------
        is_finite : bool
        """
        cdef:
            Batch batch
            Batch *b = &batch
            Py_ssize_t task, n_tasks
            int threads = max(1, min(n_threads, self.n_threads))
            size_t address
        memset(b, 0, sizeof(Batch))
        b.base.maps = self.maps
        b.checks_out = checks_out
        self.is_finite = True
        address = dy.__array_interface__["data"][0]
        b.dy = <const char *> address
        address = dx.__array_interface__["data"][0]
        b.dx = <char *> address
        b.n = len(dy)
        b.chunk = min(self.chunk, (b.n + threads - 1) // threads)
        n_tasks = (b.n + b.chunk - 1) // b.chunk
        for task in prange(self.n_layers, schedule="dynamic", num_threads=threads, nogil=True):
            (<Layer> self.layer_pointers[task]).prepare(False, True)
        for task in prange(n_tasks, schedule="dynamic", num_threads=threads, nogil=True):
            self._pull_back_chunk(b, task, threadid())
        return self.is_finite
