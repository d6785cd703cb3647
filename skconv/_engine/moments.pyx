"""Responses of complex filters, and the moments of maps.

    Modulus          y[c, f] = |x[c, 0, f] + j x[c, 1, f]|, or its square               a unit is one line
    BlockMoments     y[b, c] = mean and sum of squared deviations of block b            a unit is one block
    CombineMoments   y[c] = mean and standard deviation of all blocks

Blocks are functions of the map's shape and are combined in their order (Chan, Golub and LeVeque, 1983), in double
precision, so sums over photographs are exact to their rounding, whoever computes which block.
"""
from libc.string cimport memset

from .layer cimport Layer, Pass, Tables, round_up


cdef class Modulus(Layer):
    """See the head of the file.

    Parameters
    ----------
    kernels, x, y, is_output, needs_dx
        As for Layer.
    kind : Response
        MAGNITUDE or ENERGY.
    n_groups : int
        Channels of the image: x has (n_groups, 2, n_filters) channels, y (n_groups, n_filters).
    """

    cdef:
        int kind
        Py_ssize_t n_groups
        Py_ssize_t n_filters

    def __init__(self, kernels, x, y, *, kind, n_groups, is_output=False, needs_dx=True):
        super().__init__(kernels, x, y, is_output=is_output, needs_dx=needs_dx)
        self.kind = kind
        self.n_groups = n_groups
        self.n_filters = self.y.channels // n_groups
        self.n_units = self.y.size[0] * self.y.size[1]

    cdef void forward_units(self, const Pass *p, Py_ssize_t i, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
        cdef Py_ssize_t unit, d, h
        for unit in range(first, last):
            d, h = unit // self.y.size[1], unit % self.y.size[1]
            self.k.modulus(self.kind,
                           self.input(p, i) + (d * self.x.depth_stride + h * self.x.line_stride) * self.itemsize,
                           self.y.size[2] * self.n_groups, self.n_filters,
                           self.output(p, i) + (d * self.y.depth_stride + h * self.y.line_stride) * self.itemsize)

    cdef void backward(self, const Pass *p) noexcept nogil:
        cdef:
            Py_ssize_t i, d, h, unit, line = self.y.size[2] * self.y.channels * self.itemsize
        if p.dx == NULL:
            return
        for i in range(p.n):
            for unit in range(self.n_units):
                d, h = unit // self.y.size[1], unit % self.y.size[1]
                self.k.modulus_gradient(
                    self.kind, self.input(p, i) + (d * self.x.depth_stride + h * self.x.line_stride) * self.itemsize,
                    self.output(p, i) + (d * self.y.depth_stride + h * self.y.line_stride) * self.itemsize,
                    p.dy + i * p.dy_sample + unit * line, self.y.size[2] * self.n_groups, self.n_filters,
                    p.dx + i * p.dx_sample + 2 * unit * line)


cdef class BlockMoments(Layer):
    """See the head of the file: x of (height, width, channels), y of (n_blocks, 2 * channels).

    Parameters
    ----------
    kernels, x, y, is_output, needs_dx
        As for Layer.
    lines, columns : int
        Extent of a block, in pixels.
    """

    cdef:
        Py_ssize_t lines
        Py_ssize_t columns
        Py_ssize_t n_across         # blocks side by side
        Py_ssize_t moments_offset

    def __init__(self, kernels, x, y, *, lines, columns, is_output=False, needs_dx=True):
        super().__init__(kernels, x, y, is_output=is_output, needs_dx=needs_dx)
        self.lines = lines
        self.columns = columns
        self.n_across = (self.x.size[2] + columns - 1) // columns
        self.n_units = (self.x.size[1] + lines - 1) // lines * self.n_across
        self.moments_offset = round_up(2 * self.x.channels * self.itemsize)
        self.scratch_size = self.moments_offset + round_up(2 * self.x.channels * sizeof(double))

    cdef Py_ssize_t _extent(self, Py_ssize_t unit, Py_ssize_t *line, Py_ssize_t *column,
                            Py_ssize_t *last) noexcept nogil:
        """First and past-the-last line and first column of a block; returns its width."""
        line[0] = unit // self.n_across * self.lines
        last[0] = min(line[0] + self.lines, self.x.size[1])
        column[0] = unit % self.n_across * self.columns
        return min(self.columns, self.x.size[2] - column[0])

    cdef void forward_units(self, const Pass *p, Py_ssize_t i, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
        cdef:
            char *sums = p.scratch + self.scratch_offset
            double *moments = <double *> (sums + self.moments_offset)
            Py_ssize_t unit, line, end, column, width, n
        for unit in range(first, last):
            memset(moments, 0, 2 * self.x.channels * sizeof(double))
            width = self._extent(unit, &line, &column, &end)
            n = 0
            while line < end:
                self.k.pixel_moments(self.input(p, i) + (line * self.x.line_stride + column * self.x.channels)
                                     * self.itemsize, width, self.x.channels, <double> n, sums, moments)
                n += width
                line += 1
            self.k.moments_out(moments, 2 * self.x.channels,
                               self.output(p, i) + unit * self.y.channels * self.itemsize)

    cdef void backward(self, const Pass *p) noexcept nogil:
        cdef Py_ssize_t i, unit, line, end, column, width, row = self.y.channels * self.itemsize
        cdef double count
        if p.dx == NULL:
            return
        for i in range(p.n):
            for unit in range(self.n_units):
                width = self._extent(unit, &line, &column, &end)
                count = <double> (width * (end - line))
                while line < end:
                    self.k.pixel_moments_gradient(
                        self.input(p, i) + (line * self.x.line_stride + column * self.x.channels) * self.itemsize,
                        width, self.x.channels, self.output(p, i) + unit * row, p.dy + i * p.dy_sample + unit * row,
                        count, p.dx + i * p.dx_sample
                        + (line * self.x.size[2] + column) * self.x.channels * self.itemsize)
                    line += 1


cdef class CombineMoments(Layer):
    """See the head of the file: x of (n_blocks, 2 * channels), y of (2 * channels,).

    Parameters
    ----------
    kernels, x, y, is_output, needs_dx
        As for Layer.
    counts : sequence of int
        Pixels of every block.
    """

    cdef:
        Tables tables
        double *counts

    def __init__(self, kernels, x, y, *, counts, is_output=False, needs_dx=True):
        super().__init__(kernels, x, y, is_output=is_output, needs_dx=needs_dx)
        cdef Py_ssize_t i
        self.tables = Tables()
        self.counts = <double *> self.tables.bytes(len(counts) * sizeof(double))
        for i in range(len(counts)):
            self.counts[i] = counts[i]

    cdef void forward_units(self, const Pass *p, Py_ssize_t i, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
        self.k.combine_moments(self.input(p, i), self.counts, self.x.values // self.y.values, self.y.values // 2,
                               self.output(p, i))

    cdef void backward(self, const Pass *p) noexcept nogil:
        cdef Py_ssize_t i
        if p.dx == NULL:
            return
        for i in range(p.n):
            self.k.combine_moments_gradient(self.input(p, i), self.counts, self.x.values // self.y.values,
                                            self.y.values // 2, self.output(p, i), p.dy + i * p.dy_sample,
                                            p.dx + i * p.dx_sample)
