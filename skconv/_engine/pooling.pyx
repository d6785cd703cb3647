"""Pooling as a layer of its own: max and average over windows.

    y[p, c] = max (or mean) over the window of p of x[., c]

A unit is one output line.  Max pooling keeps which tap won (uint8, or int32 for windows of more than 255 taps); the
backward passes write into a gradient of zeros, because windows may overlap or leave gaps.
"""
from libc.stdint cimport int32_t, uint8_t
from libc.string cimport memset

from .layer cimport Layer, Pass, round_up
from .table cimport Clip
from .windows cimport PoolWindows


cdef class Pooling(Layer):
    """Base: the windows over the map and over its gradient, which has no margin."""

    cdef:
        PoolWindows over_x
        PoolWindows over_dx

    def __init__(self, kernels, x, y, *, window, count_include_pad=False, is_output=False, needs_dx=True):
        super().__init__(kernels, x, y, is_output=is_output, needs_dx=needs_dx)
        size, out, channels = tuple(self.x.size), tuple(self.y.size), self.x.channels
        self.over_x = PoolWindows(window, size, out, channels, self.x.depth_stride, self.x.line_stride, channels,
                                  count_include_pad)
        self.over_dx = PoolWindows(window, size, out, channels, self.x.size[1] * self.x.size[2] * channels,
                                   self.x.size[2] * channels, channels, count_include_pad)
        self.n_units = self.y.size[0] * self.y.size[1]
        self.scratch_size = round_up(self.over_x.clip_size())

    cdef char *output_line(self, const Pass *p, Py_ssize_t i, Py_ssize_t unit) noexcept nogil:
        return self.output(p, i) + (unit // self.y.size[1] * self.y.depth_stride
                                    + unit % self.y.size[1] * self.y.line_stride) * self.itemsize

    cdef void unpool_line(self, const Pass *p, Py_ssize_t i, Py_ssize_t unit, const char *dy, char *dx,
                          Clip *clip) noexcept nogil:
        """Add what one line of sample i's gradient dy gives to the map's."""
        pass

    cdef void backward(self, const Pass *p) noexcept nogil:
        cdef:
            Clip clip = self.over_dx.clip_at(p.scratch + self.scratch_offset)
            Py_ssize_t i, unit, line = self.y.size[2] * self.y.channels * self.itemsize
        if p.dx == NULL:
            return
        for i in range(p.n):
            memset(p.dx + i * p.dx_sample, 0, self.x.values * self.itemsize)
            for unit in range(self.n_units):
                self.unpool_line(p, i, unit, p.dy + i * p.dy_sample + unit * line, p.dx + i * p.dx_sample, &clip)


cdef class MaxPooling(Pooling):
    """See the head of the file.  index_origin and index_sample as for Convolution."""

    cdef:
        Py_ssize_t index_origin
        Py_ssize_t index_sample
        bint is_wide

    def __init__(self, kernels, x, y, *, window, index_origin, index_sample, is_output=False, needs_dx=True):
        super().__init__(kernels, x, y, window=window, is_output=is_output, needs_dx=needs_dx)
        self.index_origin = index_origin
        self.index_sample = index_sample
        self.is_wide = self.over_x.w.n_taps > 255

    cdef char *index_line(self, const Pass *p, Py_ssize_t i, Py_ssize_t unit) noexcept nogil:
        return (p.maps + self.index_origin + (p.place + i) * self.index_sample
                + unit * self.y.size[2] * self.y.channels * (sizeof(int32_t) if self.is_wide else 1))

    cdef void forward_units(self, const Pass *p, Py_ssize_t i, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
        cdef:
            Clip clip = self.over_x.clip_at(p.scratch + self.scratch_offset)
            uint8_t *index = NULL
            int32_t *wide = NULL
            Py_ssize_t unit
        for unit in range(first, last):
            if p.keep and self.is_wide:
                wide = <int32_t *> self.index_line(p, i, unit)
            elif p.keep:
                index = <uint8_t *> self.index_line(p, i, unit)
            self.k.max_pool_line(&self.over_x.w, unit // self.y.size[1], unit % self.y.size[1], self.input(p, i), 0, 0,
                                 self.output_line(p, i, unit), index, wide, &clip)

    cdef void unpool_line(self, const Pass *p, Py_ssize_t i, Py_ssize_t unit, const char *dy, char *dx,
                          Clip *clip) noexcept nogil:
        cdef const char *index = self.index_line(p, i, unit)
        self.k.max_unpool_line(&self.over_dx.w, unit // self.y.size[1], unit % self.y.size[1], dy,
                               NULL if self.is_wide else <const uint8_t *> index,
                               <const int32_t *> index if self.is_wide else NULL, dx, clip)


cdef class AveragePooling(Pooling):
    """See the head of the file."""

    cdef void forward_units(self, const Pass *p, Py_ssize_t i, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
        cdef:
            Clip clip = self.over_x.clip_at(p.scratch + self.scratch_offset)
            Py_ssize_t unit
        for unit in range(first, last):
            self.k.average_pool_line(&self.over_x.w, unit // self.y.size[1], unit % self.y.size[1], self.input(p, i),
                                     self.output_line(p, i, unit), &clip)

    cdef void unpool_line(self, const Pass *p, Py_ssize_t i, Py_ssize_t unit, const char *dy, char *dx,
                          Clip *clip) noexcept nogil:
        self.k.average_unpool_line(&self.over_dx.w, unit // self.y.size[1], unit % self.y.size[1], dy, dx, clip)
