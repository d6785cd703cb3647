"""Dense layers: y[i, f] = act(bias[f] + sum_k x[i, k] * w[k, f]).

Two ways to run one layer.  A small one belongs to its chunk of samples (forward, backward), and its gradient to the
slot.  A wide one, whose weights do not fit the cache beside the activations, is a stage of its own: it waits for the
whole mini-batch and is shared out by tiles of its results (forward_task, backward_task), each with one owner, so that
its weights cross the cache once per mini-batch and its gradient needs no second buffer.  A task copies what all its
tiles read into a panel without gaps, DEPTH factors at a time: rows of the weights are a power of two apart as often as
not, and share a few sets of the cache (4,096 to 256 units, 128 samples: 72 GFLOP/s forward and 81 back without panels).

    forward    y[i, f]  = sum_k x[i, k] w[k, f]          a task: a block of columns f for all samples
    backward   dx[i, k] = sum_f dz[i, f] w[k, f]         a task: a block of columns k for all samples
               dw[k, f] = sum_i x[i, k] dz[i, f]         a task: a block of rows k
               db[f]    = sum_i dz[i, f]                 the last task
"""
from libc.string cimport memcpy, memset

from .layer cimport Layer, Pass, Tables, round_up
from .table cimport ADD_TO_RESULT, IDENTITY, RELU, START_AT_BIAS, START_AT_ZERO, Product, Run

COLUMNS_PER_TASK = COLUMNS

cdef enum:
    ROWS = 112          # per task of the weights' gradient: eight 14-row tiles
    DEPTH = 512         # pairs of factors per panel, which then takes 224 KiB at most (448 in float64)
    PANEL_SAMPLES = 28  # from here on a panel pays: two tiles read it


cdef class DenseLayer(Layer):
    """See the head of the file.

    Parameters
    ----------
    kernels, x, y, is_output, needs_dx
        As for Layer; x without margins.
    activation : Activation
        Monotone; identity where the layer is wide.
    is_wide : bool
    max_samples : int
        Samples per call at most.
    trains, learns : bool
        Whether backward passes will follow, and whether they compute the weights' gradient.
    blocks : ndarray of shape (n_tasks, n_inputs, COLUMNS) or None
        The weights by task, which forward passes then read in place of those of the network: from end to end.
    """

    def __init__(self, kernels, x, y, *, activation, is_wide=False, max_samples=1, trains=True, learns=True,
                 blocks=None, is_output=False, needs_dx=True):
        super().__init__(kernels, x, y, is_output=is_output, needs_dx=needs_dx)
        self.n_inputs = self.x.values
        self.n_units_out = self.y.values
        self.activation = activation
        self.is_wide = is_wide
        self.learns = learns
        self.tables = Tables()
        self.n_forward_tasks = (self.n_units_out + COLUMNS - 1) // COLUMNS
        self.n_units = self.n_forward_tasks
        self.n_column_tasks = (self.n_inputs + COLUMNS - 1) // COLUMNS if self.needs_dx else 0
        self.n_row_tasks = (self.n_inputs + ROWS - 1) // ROWS if learns else 0
        self.n_backward_tasks = self.n_column_tasks + self.n_row_tasks + (1 if learns else 0)
        self.x_samples = self._rows(max_samples, self.x.sample // self.itemsize)
        self.y_samples = self._rows(max_samples, self.y.sample // self.itemsize)
        self.forward_product = self._run(self.n_inputs, 1, self.n_units_out if blocks is None else COLUMNS)
        if blocks is not None:
            self.blocks_array = blocks
            self.blocks = <const char *> <size_t> blocks.__array_interface__["data"][0]
        if is_wide:
            self.panel_product = self._run(DEPTH, 1, COLUMNS)
            self.scratch_size = round_up((DEPTH * ROWS + 64) * self.itemsize)
        if not trains:
            return
        self.inputs = self._rows(self.n_inputs, 1)
        self.weight_rows = self._rows(self.n_inputs, self.n_units_out)
        self.dz_samples = self._rows(max_samples, self.n_units_out)
        self.dx_samples = self._rows(max_samples, self.n_inputs)
        self.input_product = self._run(self.n_units_out, 1, self.n_inputs)
        self.weight_product = self._run(max_samples, self.x.sample // self.itemsize, self.n_units_out)
        if self.needs_dx and not is_wide:
            self.packed = self.tables.bytes((self.n_inputs * self.n_units_out + 128) * self.itemsize)
        if not is_wide:
            self.scratch_size = round_up((max_samples * self.n_units_out + 64) * self.itemsize)

    cdef Py_ssize_t *_rows(self, Py_ssize_t n, Py_ssize_t stride) except NULL:
        cdef Py_ssize_t *rows = self.tables.sizes(n)
        cdef Py_ssize_t i
        for i in range(n):
            rows[i] = i * stride
        return rows

    cdef Product _run(self, Py_ssize_t n, Py_ssize_t a_step, Py_ssize_t b_step) except *:
        """A sum over n pairs of factors at constant distances."""
        cdef Run *run = self.tables.runs(1)
        run.a = run.b = 0
        return Product(run, 1, n, a_step, b_step)

    cdef void prepare(self, bint forward, bint backward) noexcept nogil:
        if backward and self.packed != NULL:
            self.k.transpose(self.weights, self.n_inputs, self.n_units_out, self.n_units_out, self.packed)

    cdef void forward(self, const Pass *p) noexcept nogil:
        self._columns(p, 0, self.n_units_out)

    cdef void forward_units(self, const Pass *p, Py_ssize_t i, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
        cdef Pass one = p[0]
        cdef Py_ssize_t task
        one.n = 1
        one.place += i
        if one.out != NULL:
            one.out += i * one.out_sample
        if self.blocks == NULL:
            self._columns(&one, first * COLUMNS, min(last * COLUMNS, self.n_units_out))
            return
        for task in range(first, last):
            self.forward_task(&one, task)

    cdef void forward_task(self, const Pass *p, Py_ssize_t task) noexcept nogil:
        cdef:
            Py_ssize_t first = task * COLUMNS, last = min((task + 1) * COLUMNS, self.n_units_out), k = 0, depth
            Py_ssize_t row = self.n_units_out * self.itemsize, at = first * self.itemsize
            Py_ssize_t width = last - first if self.blocks == NULL else COLUMNS
            const char *panel = p.scratch + self.scratch_offset
            Product product = self.panel_product
            int start = START_AT_ZERO if self.bias == NULL else START_AT_BIAS
        if p.n < PANEL_SAMPLES:
            self._columns(p, first, last)
            return
        while k < self.n_inputs:
            depth = min(DEPTH, self.n_inputs - k)
            if self.blocks == NULL:
                self._copy_rows(self.weights + k * row + at, depth, row, width, <char *> panel)
            else:   # a block is panels one behind the other
                panel = self.blocks + (task * self.n_inputs + k) * COLUMNS * self.itemsize
            product.length, product.b_step = depth, width
            self.k.product(&product, p.n, last - first, self.input(p, 0) + k * self.itemsize, self.x_samples, panel,
                           start, NULL if self.bias == NULL else self.bias + at, self.output(p, 0) + at,
                           self.y_samples, False)
            start = ADD_TO_RESULT
            k += depth

    cdef void _copy_rows(self, const char *x, Py_ssize_t n, Py_ssize_t row, Py_ssize_t width,
                         char *panel) noexcept nogil:
        """The first `width` elements of n rows, `row` bytes apart, without gaps."""
        cdef Py_ssize_t i
        width *= self.itemsize
        for i in range(n):
            memcpy(panel + i * width, x + i * row, width)

    cdef void _columns(self, const Pass *p, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
        cdef:
            Py_ssize_t i, at = first * self.itemsize
            const char *weights = self.weights + at
            char *y = self.output(p, 0)
        if self.blocks != NULL:
            weights = self.blocks + first // COLUMNS * self.n_inputs * COLUMNS * self.itemsize
        self.k.product(&self.forward_product, p.n, last - first, self.input(p, 0), self.x_samples, weights,
                       START_AT_ZERO if self.bias == NULL else START_AT_BIAS,
                       NULL if self.bias == NULL else self.bias + at, y + at,
                       self.y_samples, self.activation == RELU)
        if self.activation != IDENTITY and self.activation != RELU:
            for i in range(p.n):
                self.k.activate(self.activation, self.output(p, i) + at, last - first)

    cdef void backward(self, const Pass *p) noexcept nogil:
        cdef:
            char *dz = p.scratch + self.scratch_offset
            Py_ssize_t i, row = self.n_units_out * self.itemsize
        if not self.learns and p.dx == NULL:
            return
        for i in range(p.n):
            self.k.activation_gradient(self.activation, self.output(p, i), p.dy + i * p.dy_sample, dz + i * row,
                                       self.n_units_out)
        if self.learns:
            self._weight_rows(p, dz, ADD_TO_RESULT, 0, self.n_inputs)
        if self.learns and self.bias != NULL:
            self.k.column_sums(dz, p.n, self.n_units_out, self.n_units_out, p.gradients + self.bias_offset)
        if p.dx != NULL:
            self._input_columns(p, dz, 0, self.n_inputs)

    cdef void backward_task(self, const Pass *p, Py_ssize_t task) noexcept nogil:
        """One task of a wide layer, whose dy is dz: rows without gaps."""
        if task < self.n_column_tasks:
            self._input_panel(p, task * COLUMNS, min((task + 1) * COLUMNS, self.n_inputs))
            return
        task -= self.n_column_tasks
        if task < self.n_row_tasks:
            self._weight_panel(p, task * ROWS, min((task + 1) * ROWS, self.n_inputs))
        elif self.bias != NULL:
            memset(p.gradients + self.bias_offset, 0, self.n_units_out * self.itemsize)
            self.k.column_sums(p.dy, p.n, self.n_units_out, self.n_units_out, p.gradients + self.bias_offset)

    cdef void _input_panel(self, const Pass *p, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
        """dx of some inputs; the panel holds their weights transposed."""
        cdef:
            Py_ssize_t f = 0, depth
            char *panel = p.scratch + self.scratch_offset
            Product product = self.panel_product
            int start = START_AT_ZERO
        while f < self.n_units_out:
            depth = min(DEPTH, self.n_units_out - f)
            self.k.transpose(self.weights + (first * self.n_units_out + f) * self.itemsize, last - first, depth,
                             self.n_units_out, panel)
            product.length, product.b_step = depth, last - first
            self.k.product(&product, p.n, last - first, p.dy + f * self.itemsize, self.dz_samples, panel, start, NULL,
                           p.dx + first * self.itemsize, self.dx_samples, False)
            start = ADD_TO_RESULT
            f += depth

    cdef void _weight_panel(self, const Pass *p, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
        """dw of some inputs; the panel holds their values, sample by sample."""
        cdef:
            Py_ssize_t i = 0, depth
            char *panel = p.scratch + self.scratch_offset
            Product product = self.panel_product
            int start = START_AT_ZERO
        while i < p.n:
            depth = min(DEPTH, p.n - i)
            self._copy_rows(self.input(p, i) + first * self.itemsize, depth, self.x.sample, last - first, panel)
            product.length, product.a_step, product.b_step = depth, last - first, self.n_units_out
            self.k.product(&product, last - first, self.n_units_out, panel, self.inputs,
                           p.dy + i * self.n_units_out * self.itemsize, start, NULL,
                           p.gradients + self.gradient_offset, self.weight_rows + first, False)
            start = ADD_TO_RESULT
            i += depth

    cdef void _weight_rows(self, const Pass *p, const char *dz, int start, Py_ssize_t first,
                           Py_ssize_t last) noexcept nogil:
        cdef Product product = self.weight_product
        product.length = p.n
        self.k.product(&product, last - first, self.n_units_out, self.input(p, 0), self.inputs + first, dz, start,
                       NULL, p.gradients + self.gradient_offset, self.weight_rows + first, False)

    cdef void _input_columns(self, const Pass *p, const char *dz, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
        self.k.product(&self.input_product, p.n, last - first, dz, self.dz_samples,
                       self.packed + first * self.itemsize, START_AT_ZERO, NULL, p.dx + first * self.itemsize,
                       self.dx_samples, False)
