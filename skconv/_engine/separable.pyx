"""Banks of separable filters: every filter a sum of (row filter) x (column filter), shared as far as they are equal.

    p[r][i, j] = sum_l  row[r][l] * x[i, j * stride + l]                              planes: one per row filter
    q[r, c][o, j] = sum_k  column[c][k] * p[r][o * stride + k, j]                     products
    re, im = sums of products with coefficients;   y = re, sqrt(re^2 + im^2) or re^2 + im^2

A unit is a block of output lines of at most 64 columns of one channel.  It walks down its columns in chunks of CHUNK
lines, with all planes of the chunk in the second-level cache:

    move the planes' last lines, which the next chunk wants too, to their front
    per line of the image under the chunk: gather its pixels, padding by a table of places; all row filters
    per STEP output lines, per component of the bank: all column filters, then responses, which stay in 24 KiB
    per line: responses to pixels, filters innermost, or into the moments

Both passes are the product of tile.h, with filters as rows of the tile and pixels along the vectors.  Column filters
that pass over the same planes are a set: the planes lie side by side and count as columns, and so that a tile has rows
enough, the filters are taken for up to STEP output lines at once, each shifted by a stride of zeros.

Row filters pass over the lines between two units twice; nothing else is computed twice.  Which unit computes a value
follows from shapes alone.
"""
from libc.string cimport memcpy, memmove, memset

import numpy as np

from .layer cimport Layer, Pass, Tables, round_up
from .table cimport MAX_COLUMNS, START_AT_ZERO, Product, Run

cdef enum:
    CHUNK = 24      # output lines between two moves of the planes
    LINES = 8       # lines gathered before the row filters pass over them
    STEP = 6        # output lines whose products lie in the first-level cache; divides CHUNK

cdef struct Group:
    # Row filters that pass over a line together.
    Product product
    Py_ssize_t n_planes
    char *rows                  # coefficients, (n_planes, taps), taps phase by phase
    Py_ssize_t *a_rows
    Py_ssize_t *c_rows
    Py_ssize_t top              # line of the kernel where their planes begin to matter
    Py_ssize_t height           # ... and for how many lines
    Py_ssize_t line             # elements from one line of the planes to the next
    Py_ssize_t offset           # bytes in the scratch

cdef struct ColumnSet:
    Product product
    Group *group
    Py_ssize_t lines            # output lines per product
    Py_ssize_t n_rows           # filters times lines
    Py_ssize_t n_columns        # planes times columns
    Py_ssize_t start            # first tap of the first plane, in elements from the planes' first line
    char *taps
    Py_ssize_t *a_rows
    Py_ssize_t *c_rows

cdef struct Component:
    Py_ssize_t first_set
    Py_ssize_t last_set
    Py_ssize_t first_output
    Py_ssize_t last_output
    Py_ssize_t line             # elements of the products of one output line

cdef struct Output:
    int kind
    Py_ssize_t channel
    Py_ssize_t n_real
    Py_ssize_t n_imaginary
    Py_ssize_t *at
    char *factors


cdef class SeparableBank(Layer):
    """See the head of the file.

    Parameters
    ----------
    kernels, x, y, is_output, needs_dx
        As for Layer; needs_dx must be false.
    program : skconv._separable.Program
    stride : (int, int)
    out : (int, int)
        Output lines and columns.
    sources : (ndarray, ndarray)
        Line and column of the image for every line and column of the padded image, -1 for zeros.
    lines : int
        Output lines of a unit.
    n_outputs : int
        Maps per channel of the image.
    moments : bool
        Whether y has the units' moments in place of the maps: (units, channels * n_outputs * 2), that is the mean and
        the sum of squared deviations from it.
    """

    cdef:
        Tables tables
        Group *groups
        Py_ssize_t n_groups
        ColumnSet *sets
        Component *components
        Py_ssize_t n_components
        Output *outputs
        Py_ssize_t n_outputs
        Py_ssize_t[2] stride
        Py_ssize_t[2] out
        Py_ssize_t height           # of the kernel
        Py_ssize_t lines            # output lines of a unit
        Py_ssize_t[2] n_blocks      # units of a channel
        Py_ssize_t columns          # output columns of a unit
        Py_ssize_t *line_source
        Py_ssize_t n_lines          # of the padded image
        Py_ssize_t n_phases
        Py_ssize_t phase            # elements of one phase of the gathered line
        Py_ssize_t table_phase      # ... and of the table of places
        Py_ssize_t *places
        char *is_run                # whether the places of a phase and block are neighbours
        bint moments
        Py_ssize_t q_offset
        Py_ssize_t response_offset
        Py_ssize_t moments_offset

    def __init__(self, kernels, x, y, *, program, stride, out, sources, lines, n_outputs, moments, is_output=False,
                 needs_dx=False):
        super().__init__(kernels, x, y, is_output=is_output, needs_dx=needs_dx)
        if needs_dx:
            raise ValueError("a bank of separable filters pulls no gradients back")
        self.tables = Tables()
        self.stride = stride
        self.out = out
        self.height = program.shape[0]
        self.lines = lines
        self.n_outputs = n_outputs
        self.moments = moments
        # Whole vectors of either precision: a column more than the image has costs nothing that matters.
        self.columns = min(MAX_COLUMNS, (self.out[1] + 15) // 16 * 16)
        self.n_blocks[0] = (self.out[0] + lines - 1) // lines
        self.n_blocks[1] = (self.out[1] + self.columns - 1) // self.columns
        self.n_units = self.x.channels * self.n_blocks[0] * self.n_blocks[1]
        self._build_places(program.shape[1], *sources)
        self._build_groups(program)
        self._build_sets(program)
        self._build_outputs(program)
        self.response_offset = self.scratch_size
        self.scratch_size += round_up(STEP * n_outputs * self.columns * self.itemsize)
        self.moments_offset = self.scratch_size
        self.scratch_size += round_up(2 * n_outputs * sizeof(double))

    cdef char *_reals(self, values) except NULL:
        """A table of numbers in the precision of the kernels, with slack behind."""
        cdef char *copy
        cdef const char[::1] view
        values = np.ascontiguousarray(values, dtype=np.float64 if self.itemsize == 8 else np.float32).reshape(-1)
        copy = self.tables.bytes((values.size + 64) * self.itemsize)
        if values.size:
            view = values.view(np.int8)
            memmove(copy, &view[0], view.shape[0])
        return copy

    def _build_places(self, Py_ssize_t width, line_source, column_source):
        """Where the pixels of a line come from: columns of the padded image, those of one phase of the stride together.

        Row filters then take neighbours, whatever the stride.
        """
        cdef Py_ssize_t i, j, m, at
        self.n_lines = len(line_source)
        self.line_source = self.tables.sizes(self.n_lines)
        for i in range(self.n_lines):
            self.line_source[i] = line_source[i]
        self.n_phases = min(self.stride[1], width)
        self.phase = (self.columns + (width + self.stride[1] - 1) // self.stride[1] + 15) // 16 * 16
        self.table_phase = self.n_blocks[1] * self.columns + self.phase
        self.places = self.tables.sizes(self.n_phases * self.table_phase)
        n_columns = len(column_source)
        for i in range(self.n_phases):
            for j in range(self.table_phase):
                # In Python integers: the stride may be anything.
                place = j * int(self.stride[1]) + i
                at = column_source[place] if place < n_columns else -1
                self.places[i * self.table_phase + j] = at * self.x.channels if at >= 0 else -1
        self.is_run = self.tables.bytes(self.n_phases * self.n_blocks[1])
        for i in range(self.n_phases):
            for j in range(self.n_blocks[1]):
                at = i * self.table_phase + j * self.columns
                self.is_run[i * self.n_blocks[1] + j] = all(
                    0 <= self.places[at + m] == self.places[at] + m for m in range(self.phase))
        self.scratch_size = round_up((LINES * self.n_phases * self.phase + 64) * self.itemsize)

    def _build_groups(self, program):
        cdef:
            Group *g
            Run *runs
            Py_ssize_t i, m, taps, n_runs, length
        self.n_groups = len(program.groups)
        self.groups = <Group *> self.tables.bytes(self.n_groups * sizeof(Group) + 1)
        for i, (left, rows, top, height) in enumerate(program.groups):
            g = self.groups + i
            taps = rows.shape[1]
            n_runs = min(self.stride[1], taps)
            length = (taps + self.stride[1] - 1) // self.stride[1]
            by_phase = np.zeros((len(rows), n_runs, length))
            runs = self.tables.runs(n_runs)
            for m in range(n_runs):
                phase = rows[:, m::self.stride[1]]
                by_phase[:, m, :phase.shape[1]] = phase
                runs[m].a = m * length
                runs[m].b = (left + m) % self.stride[1] * self.phase + (left + m) // self.stride[1]
            g.product = Product(runs, n_runs, length, 1, 1)
            g.rows = self._reals(by_phase)
            g.n_planes = len(rows)
            g.a_rows = self.tables.sizes(g.n_planes)
            g.c_rows = self.tables.sizes(g.n_planes)
            for m in range(g.n_planes):
                g.a_rows[m] = m * n_runs * length
                g.c_rows[m] = m * self.columns
            # An odd number of cache lines: lines a power of two apart would share the same few sets.
            g.line = (g.n_planes * self.columns * self.itemsize // 64 | 1) * 64 // self.itemsize
            if g.line < g.n_planes * self.columns:
                g.line += 128 // self.itemsize
            g.top, g.height = top, height
            g.offset = self.scratch_size
            self.scratch_size += round_up((((CHUNK + STEP) * min(self.stride[0], height) + height) * g.line + 64)
                                          * self.itemsize)

    def _build_sets(self, program):
        cdef:
            ColumnSet *s
            Run *run
            Py_ssize_t i, m, line, n, height, length, reach, q_line, largest = 0, step
        self.sets = <ColumnSet *> self.tables.bytes(len(program.sets) * sizeof(ColumnSet) + 1)
        self.n_components = len(program.components)
        self.components = <Component *> self.tables.bytes(self.n_components * sizeof(Component) + 1)
        for i, (first_set, last_set, first_output, last_output, n_products) in enumerate(program.components):
            q_line = n_products * self.columns
            self.components[i] = Component(first_set, last_set, first_output, last_output, q_line)
            largest = max(largest, q_line)
            for number in range(first_set, last_set):
                group, first_plane, n_planes, top, columns, first_product = program.sets[number]
                s = self.sets + <Py_ssize_t> number
                s.group = self.groups + <Py_ssize_t> group
                n, height = columns.shape
                # Lines of the planes from one output line to the next; chunks of a longer stride keep none between.
                step = self.step(s.group)
                s.lines = self._lines_at_once(n, height, step)
                s.n_rows = n * s.lines
                s.n_columns = n_planes * self.columns
                reach = (s.lines - 1) * step
                length = height + reach
                s.start = (top - s.group.top) * s.group.line + first_plane * self.columns
                padded = np.zeros((n, height + 2 * reach))
                padded[:, reach:reach + height] = columns
                s.taps = self._reals(padded)
                s.a_rows = self.tables.sizes(s.n_rows)
                s.c_rows = self.tables.sizes(s.n_rows)
                for m in range(n):
                    for line in range(s.lines):
                        s.a_rows[m * s.lines + line] = m * (height + 2 * reach) + reach - line * step
                        s.c_rows[m * s.lines + line] = (line * q_line
                                                        + (first_product + m * n_planes) * self.columns)
                run = self.tables.runs(1)
                run.a = run.b = 0
                s.product = Product(run, 1, length, 1, s.group.line)
        self.q_offset = self.scratch_size
        self.scratch_size += round_up((STEP * largest + 64) * self.itemsize)

    cdef Py_ssize_t step(self, Group *g) noexcept nogil:
        """Lines of a group's planes between the first taps of two output lines: a longer stride skips lines."""
        return min(self.stride[0], g.height)

    @staticmethod
    def _lines_at_once(n, height, step):
        """Output lines per product: more rows in a tile against more zeros to multiply by."""
        def cost(lines):
            # A row of a tile multiplies; a tile loads its columns for every tap, and needs three rows to be busy.
            return (height + (lines - 1) * step) * (max(n * lines, 3) + 0.5) / lines
        return min((1, 2, 3, 6), key=cost)

    def _build_outputs(self, program):
        cdef:
            Output *o
            Py_ssize_t i, t
        self.outputs = <Output *> self.tables.bytes(len(program.outputs) * sizeof(Output) + 1)
        for i, (kind, channel, re, im) in enumerate(program.outputs):
            o = self.outputs + i
            o.kind, o.channel, o.n_real, o.n_imaginary = kind, channel, len(re), len(im)
            o.at = self.tables.sizes(len(re) + len(im) + 1)
            o.factors = self._reals([factor for _, factor in re + im])
            for t, (product, _) in enumerate(re + im):
                o.at[t] = product * self.columns

    # ---- forward -----------------------------------------------------------------------------------------------

    cdef void forward_units(self, const Pass *p, Py_ssize_t i, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
        cdef:
            Py_ssize_t unit, channel, block, per_channel = self.n_blocks[0] * self.n_blocks[1]
        for unit in range(first, last):
            channel, block = unit // per_channel, unit % per_channel
            self._unit(p, i, channel, block // self.n_blocks[1], block % self.n_blocks[1])

    cdef void _unit(self, const Pass *p, Py_ssize_t i, Py_ssize_t channel, Py_ssize_t block,
                    Py_ssize_t column) noexcept nogil:
        cdef:
            const char *x = self.input(p, i) + channel * self.itemsize
            char *y = self.output(p, i)
            char *scratch = p.scratch + self.scratch_offset
            double *moments = <double *> (scratch + self.moments_offset)
            char *responses = scratch + self.response_offset
            Py_ssize_t line_bytes = self.n_outputs * self.columns * self.itemsize
            Py_ssize_t o, line, n, first = block * self.lines, last = min((block + 1) * self.lines, self.out[0])
            Py_ssize_t width = min(self.columns, self.out[1] - column * self.columns), start = first
            Py_ssize_t offset = channel * self.n_outputs
        memset(moments, 0, 2 * self.n_outputs * sizeof(double))
        while start < last:
            n = min(CHUNK, last - start)
            self._fill(x, scratch, start, n, column, start > first)
            o = 0
            while o < n:
                self._products(scratch, o)
                for line in range(min(STEP, n - o)):
                    if self.moments:
                        self.k.line_moments(responses + line * line_bytes, self.columns, self.n_outputs, width,
                                            <double> ((start - first + o + line) * width), moments)
                    else:
                        self.k.store_pixels(responses + line * line_bytes, self.columns, self.n_outputs, width,
                                            y + ((start + o + line) * self.y.line_stride
                                                 + column * self.columns * self.y.channels + offset) * self.itemsize,
                                            self.y.channels)
                o += STEP
            start += n
        if self.moments:
            self.k.moments_out(moments, 2 * self.n_outputs,
                               y + ((block * self.n_blocks[1] + column) * self.y.channels + 2 * offset)
                               * self.itemsize)

    cdef void _fill(self, const char *x, char *scratch, Py_ssize_t start, Py_ssize_t n, Py_ssize_t column,
                    bint goes_on) noexcept nogil:
        """The planes under output lines start to start + n; where it goes on, their first lines are there already."""
        cdef:
            Group *g
            Py_ssize_t i, line, last, step, wanted
            char *planes
        for i in range(self.n_groups):
            g = self.groups + i
            step = self.step(g)
            planes = scratch + g.offset
            if goes_on:
                memmove(planes, planes + CHUNK * step * g.line * self.itemsize,
                        (g.height - step) * g.line * self.itemsize)
            # The last step may reach beyond: zeros, so that nothing depends on what was here before.
            wanted = (n - 1) * step + g.height
            memset(planes + wanted * g.line * self.itemsize, 0, (STEP - 1) * step * g.line * self.itemsize)
        # Lines are gathered a few ahead of the filters: vector loads from what scalar stores have just written wait
        # for the stores (row filters of 69 taps: 80 against 150 GFLOP/s).
        line, last = 0, (n - 1) * self.stride[0] + self.height
        while line < last:
            self._rows(x, scratch, start, n, column, goes_on, line, min(line + LINES, last))
            line += LINES

    cdef void _rows(self, const char *x, char *scratch, Py_ssize_t start, Py_ssize_t n, Py_ssize_t column,
                    bint goes_on, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
        """The planes' lines that belong to lines first to last under the chunk."""
        cdef:
            Group *g
            Py_ssize_t i, l, line, pixels = self.n_phases * self.phase * self.itemsize
            Py_ssize_t[LINES] source
            char *planes
        for line in range(first, last):
            i = start * self.stride[0] + line
            source[line - first] = self.line_source[i] if i < self.n_lines else -1
            if source[line - first] >= 0 and self._is_wanted(line, n, goes_on):
                self._gather(x + source[line - first] * self.x.line_stride * self.itemsize, column,
                             scratch + (line - first) * pixels)
        for i in range(self.n_groups):
            g = self.groups + i
            for line in range(first, last):
                l = self._plane_line(g, line, n, goes_on)
                if l < 0:
                    continue
                planes = scratch + g.offset + l * g.line * self.itemsize
                if source[line - first] < 0:
                    memset(planes, 0, g.n_planes * self.columns * self.itemsize)
                else:
                    self.k.product(&g.product, g.n_planes, self.columns, g.rows, g.a_rows,
                                   scratch + (line - first) * pixels, START_AT_ZERO, NULL, planes, g.c_rows, False)

    cdef bint _is_wanted(self, Py_ssize_t line, Py_ssize_t n, bint goes_on) noexcept nogil:
        cdef Py_ssize_t i
        for i in range(self.n_groups):
            if self._plane_line(self.groups + i, line, n, goes_on) >= 0:
                return True
        return False

    cdef Py_ssize_t _plane_line(self, const Group *g, Py_ssize_t line, Py_ssize_t n, bint goes_on) noexcept nogil:
        """Which line of a group's planes to fill from a line under n output lines; -1: none.

        Where the stride is longer than the filters, the lines between them are left out.
        """
        cdef Py_ssize_t o
        line -= g.top
        if line < 0:
            return -1
        if self.stride[0] > g.height:
            o = line // self.stride[0]
            return o * g.height + line % self.stride[0] if o < n and line % self.stride[0] < g.height else -1
        if goes_on and line < g.height - self.stride[0]:
            return -1               # kept from the chunk before
        return line if line < (n - 1) * self.stride[0] + g.height else -1

    cdef void _gather(self, const char *line, Py_ssize_t column, char *pixels) noexcept nogil:
        cdef Py_ssize_t phase
        cdef const Py_ssize_t *places
        for phase in range(self.n_phases):
            places = self.places + phase * self.table_phase + column * self.columns
            if self.is_run[phase * self.n_blocks[1] + column]:
                memcpy(pixels, line + places[0] * self.itemsize, self.phase * self.itemsize)
            else:
                self.k.gather(line, places, self.phase, pixels)
            pixels += self.phase * self.itemsize

    cdef void _products(self, char *scratch, Py_ssize_t o) noexcept nogil:
        """Responses of STEP output lines, the first of them line o of the chunk."""
        cdef:
            char *q = scratch + self.q_offset
            char *responses = scratch + self.response_offset
            Component *c
            ColumnSet *s
            Output *out
            Py_ssize_t i, j, line, step
        for i in range(self.n_components):
            c = self.components + i
            for j in range(c.first_set, c.last_set):
                s = self.sets + j
                step = self.step(s.group)
                line = 0
                while line < STEP:
                    self.k.product(&s.product, s.n_rows, s.n_columns, s.taps, s.a_rows,
                                   scratch + s.group.offset
                                   + (s.start + (o + line) * step * s.group.line) * self.itemsize,
                                   START_AT_ZERO, NULL, q + line * c.line * self.itemsize, s.c_rows, False)
                    line += s.lines
            for line in range(STEP):
                for j in range(c.first_output, c.last_output):
                    out = self.outputs + j
                    self.k.respond(out.kind, q + line * c.line * self.itemsize, self.columns, out.n_real,
                                   out.n_imaginary, out.at, out.factors,
                                   responses + (line * self.n_outputs + out.channel) * self.columns * self.itemsize)
