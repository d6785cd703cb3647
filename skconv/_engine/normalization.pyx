"""Batch normalisation (Ioffe and Szegedy 2015), with its activation.

    z = gamma (x - mean) / sqrt(variance + epsilon) + beta,    y = act(z)

channel by channel.  Predictions take the running statistics: one multiply-add per value, line by line.  Training takes
those of the mini-batch over all samples and pixels, so the layer begins a stage, and the stages around it work for it:

    before it, forward     every slot adds up its values as they are made                 add_values
    barrier                the slots' sums are merged in their order (Chan et al. 1983)   merge_values
    forward                y, from the merged statistics
    backward               dz, and every slot's sums of dz and of dz (x - mean)           clear_gradients, backward
    barrier                the sums are added in the order of the slots: dbeta, dgamma    merge_gradients
    before it, backward    dx = gamma / s (dz - dbeta / n - x_hat dgamma / n), in place   finish_gradient

with s = sqrt(variance + epsilon) and x_hat = (x - mean) / s.  Slots have places of their own, in double precision;
what is merged is cut into blocks of channels.
"""
from libc.math cimport sqrt
from libc.string cimport memset

from .layer cimport Layer, Pass, Tables, round_up
from .table cimport IDENTITY, RELU

cdef enum:
    ROW = 256           # elements of a row of pixels: long enough for vectors, short enough for the first-level cache
    BLOCK = 256         # channels of a task
    ORIGIN = 0          # places of a slot
    SUMS = 1
    SQUARES = 2
    DZ_SUMS = 3
    DZ_PRODUCTS = 4


cdef class BatchNormLayer(Layer):
    """See the head of the file.

    Parameters
    ----------
    kernels, x, y, is_output, needs_dx
        As for Layer.
    activation : Activation
        Monotone.
    epsilon, momentum : float
    n_slots : int
        Of a mini-batch at most; 0 where nothing is trained.
    """

    def __init__(self, kernels, x, y, *, activation, epsilon, momentum, n_slots=0, is_output=False, needs_dx=True):
        super().__init__(kernels, x, y, is_output=is_output, needs_dx=needs_dx)
        self.activation = activation
        self.epsilon = epsilon
        self.momentum = momentum
        # The input has no margin, and a layer that flattens may stand before: a sample is a run of values.
        self.channels = self.y.channels
        self.n_pixels = self.y.values // self.channels
        self.n_units = self.y.size[0] * self.y.size[1]
        self.line = self.y.size[2] * self.channels
        self.is_compact = (self.y.line_stride == self.line
                           and self.y.depth_stride == self.y.size[1] * self.line)
        self.row = self.channels * max(1, min(self.n_pixels, ROW // self.channels))
        self.n_tasks = (self.channels + BLOCK - 1) // BLOCK
        self.tables = Tables()
        row = (self.row + 64) * self.itemsize
        self.mean = self.tables.bytes(row)
        self.scale = self.tables.bytes(row)
        self.shift = self.tables.bytes(row)
        if n_slots == 0:
            return
        self.slope = self.tables.bytes(row)
        self.dz_mean = self.tables.bytes(row)
        self.batch = <double *> self.tables.bytes(2 * self.channels * sizeof(double))
        self.slot_row = round_up(self.row * sizeof(double)) // sizeof(double)
        self.slots = <double *> self.tables.bytes(n_slots * 5 * self.slot_row * sizeof(double))
        if not self.needs_dx:
            self.scratch_size = round_up((self.y.values + 64) * self.itemsize)

    def place_statistics(self, size_t running):
        """Tell the layer where the running statistics lie (an address)."""
        self.running = <double *> running

    cdef double *_slot(self, Py_ssize_t slot, Py_ssize_t which) noexcept nogil:
        return self.slots + (5 * slot + which) * self.slot_row

    cdef double _slot_sum(self, Py_ssize_t slot, Py_ssize_t which, Py_ssize_t channel) noexcept nogil:
        """A channel's places in a row, added up."""
        cdef:
            const double *row = self._slot(slot, which)
            double total = 0
        while channel < self.row:
            total += row[channel]
            channel += self.channels
        return total

    cdef void _store(self, char *table, Py_ssize_t channel, double value) noexcept nogil:
        """Put a channel's value into all its places of a row."""
        while channel < self.row:
            self._set(table, channel, value)
            channel += self.channels

    cdef double _value(self, const char *values, Py_ssize_t i) noexcept nogil:
        if self.itemsize == sizeof(double):
            return (<const double *> values)[i]
        return (<const float *> values)[i]

    cdef void _set(self, char *values, Py_ssize_t i, double value) noexcept nogil:
        if self.itemsize == sizeof(double):
            (<double *> values)[i] = value
        else:
            (<float *> values)[i] = <float> value

    cdef double _gamma(self, Py_ssize_t channel) noexcept nogil:
        return 1 if self.weights == NULL else self._value(self.weights, channel)

    cdef double _rest(self, double mean) noexcept nogil:
        """What the kernels' precision cannot hold of a mean; it goes into the sum instead."""
        return 0 if self.itemsize == sizeof(double) else mean - <double> (<float> mean)

    cdef void _use(self, Py_ssize_t channel, double mean, double variance) noexcept nogil:
        """Normalise a channel by these statistics from now on."""
        cdef double scale = self._gamma(channel) / sqrt(variance + self.epsilon)
        self._store(self.mean, channel, mean)
        self._store(self.scale, channel, scale)
        self._store(self.shift, channel,
                    (0 if self.bias == NULL else self._value(self.bias, channel)) - self._rest(mean) * scale)

    cdef void prepare(self, bint forward, bint backward) noexcept nogil:
        cdef Py_ssize_t c
        if backward:
            return      # merge_values does it, once there is a mini-batch
        for c in range(self.channels):
            self._use(c, self.running[c], self.running[self.channels + c])

    # ---- forward -----------------------------------------------------------------------------------------------

    cdef void forward_units(self, const Pass *p, Py_ssize_t i, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
        cdef:
            Py_ssize_t unit, n = self.line, step = 1
            const char *x
            char *y
        if self.is_compact:     # all lines at once: short ones cost more to begin than to compute
            step = last - first
            n *= step
        unit = first
        while unit < last:
            x = self.input(p, i) + unit * self.line * self.itemsize
            y = self.output_line(p, i, unit)
            self.k.normalize(x, n, self.row, self.mean, self.scale, self.shift, self.activation == RELU, y)
            if self.activation != IDENTITY and self.activation != RELU:
                self.k.activate(self.activation, y, n)
            unit += step

    cdef void add_values(self, const Pass *p, bint is_first) noexcept nogil:
        """Add up the values of a few samples of a slot; the slot's first pixel becomes its origin."""
        cdef:
            double *origin = self._slot(p.slot, ORIGIN)
            Py_ssize_t i
        if is_first:
            for i in range(self.row):
                origin[i] = self._value(self.input(p, 0), i % self.channels)
            memset(self._slot(p.slot, SUMS), 0, 2 * self.slot_row * sizeof(double))
        for i in range(p.n):
            self.k.channel_moments(self.input(p, i), self.y.values, self.row, origin, self._slot(p.slot, SUMS),
                                   self._slot(p.slot, SQUARES))

    cdef void merge_values(self, Py_ssize_t n, Py_ssize_t n_slots, bint training, Py_ssize_t task) noexcept nogil:
        """Statistics of a block of channels, from the slots of a mini-batch of n samples."""
        cdef Py_ssize_t c
        for c in range(task * BLOCK, min((task + 1) * BLOCK, self.channels)):
            if training:
                self._merge_channel(n, n_slots, c)
                self._use(c, self.batch[c], self.batch[self.channels + c])
            else:
                self._use(c, self.running[c], self.running[self.channels + c])

    cdef void _merge_channel(self, Py_ssize_t n, Py_ssize_t n_slots, Py_ssize_t channel) noexcept nogil:
        """Chan, Golub and LeVeque's rule: from means and sums of squares around them, slot by slot."""
        cdef:
            double mean = 0, squares = 0, count = 0, slot_count, total, delta
            Py_ssize_t slot
        for slot in range(n_slots):
            slot_count = <double> (((slot + 1) * n // n_slots - slot * n // n_slots) * self.n_pixels)
            total = self._slot_sum(slot, SUMS, channel)
            delta = self._slot(slot, ORIGIN)[channel] + total / slot_count - mean
            count += slot_count
            mean += delta * (slot_count / count)
            # What rounding leaves of a constant channel may be below zero.
            squares += max(0, self._slot_sum(slot, SQUARES, channel) - total * (total / slot_count))
            squares += delta * delta * (slot_count * ((count - slot_count) / count))
        self.batch[channel] = mean
        self.batch[self.channels + channel] = squares / count

    cdef void move_running(self, Py_ssize_t n) noexcept nogil:
        """Let the running statistics follow those of a mini-batch of n samples; the variance is the unbiased one."""
        cdef:
            Py_ssize_t c, count = n * self.n_pixels
            double share = 1 - self.momentum, unbiased
        for c in range(self.channels):
            self.running[c] = self.momentum * self.running[c] + share * self.batch[c]
        if count == 1:
            return      # one value has no variance
        unbiased = count / (count - 1.0)
        for c in range(self.channels, 2 * self.channels):
            self.running[c] = self.momentum * self.running[c] + share * self.batch[c] * unbiased

    # ---- backward ----------------------------------------------------------------------------------------------

    cdef void clear_gradients(self, Py_ssize_t slot) noexcept nogil:
        memset(self._slot(slot, DZ_SUMS), 0, 2 * self.slot_row * sizeof(double))

    cdef void backward(self, const Pass *p) noexcept nogil:
        """dz, and its sums; merge_gradients and finish_gradient do the rest."""
        cdef:
            Py_ssize_t i, unit, step = 1, n = self.line
            char *dz
        if self.is_compact:
            step = self.n_units
            n *= step
        for i in range(p.n):
            dz = p.scratch + self.scratch_offset if p.dx == NULL else p.dx + i * p.dx_sample
            unit = 0
            while unit < self.n_units:
                self.k.activation_gradient(self.activation, self.output_line(p, i, unit),
                                           p.dy + i * p.dy_sample + unit * self.line * self.itemsize,
                                           dz + unit * self.line * self.itemsize, n)
                unit += step
            self.k.gradient_moments(dz, self.input(p, i), self.y.values, self.row, self.mean,
                                    self._slot(p.slot, DZ_SUMS), self._slot(p.slot, DZ_PRODUCTS))

    cdef void merge_gradients(self, Py_ssize_t n, Py_ssize_t n_slots, bint training, char *gradients,
                              Py_ssize_t task) noexcept nogil:
        """Gradients by a block of channels' parameters, and what finish_gradient needs."""
        cdef:
            Py_ssize_t c, slot
            const double *statistics
            double total, products, precision, rest, count = <double> (n * self.n_pixels)
        for c in range(task * BLOCK, min((task + 1) * BLOCK, self.channels)):
            total = products = 0
            for slot in range(n_slots):
                total += self._slot_sum(slot, DZ_SUMS, c)
                products += self._slot_sum(slot, DZ_PRODUCTS, c)
            statistics = self.batch if training else self.running
            precision = 1 / sqrt(statistics[self.channels + c] + self.epsilon)
            rest = self._rest(statistics[c])
            products = (products - rest * total) * precision
            if self.weights != NULL:
                self._set(gradients + self.gradient_offset, c, products)
            if self.bias != NULL:
                self._set(gradients + self.bias_offset, c, total)
            if not training:    # statistics that do not depend on the samples have no gradient
                total = products = 0
            products *= precision / count
            self._store(self.slope, c, -self._gamma(c) * precision * products)
            self._store(self.dz_mean, c, total / count - rest * products)

    cdef void finish_gradient(self, const Pass *p) noexcept nogil:
        """Turn dz, in p.dy, into dx."""
        cdef Py_ssize_t i
        if not self.needs_dx:
            return
        for i in range(p.n):
            self.k.normalize_gradient(p.dy + i * p.dy_sample, self.input(p, i), self.y.values, self.row, self.mean,
                                      self.scale, self.slope, self.dz_mean)
