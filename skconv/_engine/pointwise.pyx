"""Layers that touch every value once: the images' way in, activations, dropout, repeated channels."""
from libc.stdint cimport uint64_t
from libc.string cimport memcpy

import numpy as np

from .layer cimport Layer, Pass, sample_number
from .table cimport FROM_FLOAT32, FROM_FLOAT64, FROM_UINT8, GELU


cdef class Input(Layer):
    """Gather samples from the data into the first map: convert, standardise, put a margin around.

    A unit is one line.  Where the next layer reads the data as they are, there is nothing to do.  Data that are copied
    without a change are looked at for what is not finite while they are in registers.

    Parameters
    ----------
    mean, scale : array of shape (n_channels,) or None
        The layer computes (x - mean) * scale.
    """

    def __init__(self, kernels, x, y, *, mean=None, scale=None, is_output=False):
        super().__init__(kernels, x, y, is_output=is_output, needs_dx=False)
        cdef char[::1] view
        self.n_units = 0 if self.y.is_data else self.y.size[0] * self.y.size[1]
        self.own = FROM_FLOAT64 if self.itemsize == 8 else FROM_FLOAT32
        self.looks = mean is None and not self.y.is_data
        self.goes_alone = True
        if mean is not None:
            # One value per element of a line, so that the loop over a line has no channels.
            dtype = np.float64 if self.itemsize == 8 else np.float32
            self._arrays = [np.ascontiguousarray(np.tile(np.asarray(a, dtype=dtype), self.y.size[2])).view(np.int8)
                            for a in (mean, scale)]
            view = self._arrays[0]
            self.mean = &view[0]
            view = self._arrays[1]
            self.scale = &view[0]

    cdef void forward_units(self, const Pass *p, Py_ssize_t i, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
        cdef:
            Py_ssize_t unit, n, height = self.y.size[1], values = self.y.size[2] * self.y.channels
            Py_ssize_t size = 1 if p.source == FROM_UINT8 else 4 if p.source == FROM_FLOAT32 else 8
            const char *x = p.x + sample_number(p, i) * p.x_sample
            char *y = self.output(p, i)
        if self.mean == NULL and p.source == self.own:
            while first < last:
                n = min(last, (first // height + 1) * height) - first
                if not self.k.copy_lines(
                        x + first * values * size, n, values,
                        y + (first // height * self.y.depth_stride + first % height * self.y.line_stride) * size,
                        self.y.line_stride, p.largest) and p.largest > 0:
                    p.is_finite[0] = False
                first += n
            return
        for unit in range(first, last):
            self.k.load_line(p.source, x + unit * values * size, values, self.mean, self.scale,
                             y + (unit // self.y.size[1] * self.y.depth_stride
                                  + unit % self.y.size[1] * self.y.line_stride) * self.itemsize)


cdef class Pointwise(Layer):
    """Base of layers that go line by line: a unit is one line."""

    def __init__(self, kernels, x, y, *, is_output=False, needs_dx=True):
        super().__init__(kernels, x, y, is_output=is_output, needs_dx=needs_dx)
        self.n_units = self.y.size[0] * self.y.size[1]

    cdef void forward_line(self, const Pass *p, const char *x, char *y, Py_ssize_t n, Py_ssize_t unit,
                           Py_ssize_t number) noexcept nogil:
        pass

    cdef void backward_line(self, const Pass *p, const char *x, const char *y, const char *dy, char *dx, Py_ssize_t n,
                            Py_ssize_t unit, Py_ssize_t number) noexcept nogil:
        pass

    cdef void forward_units(self, const Pass *p, Py_ssize_t i, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
        cdef Py_ssize_t unit
        for unit in range(first, last):
            self.forward_line(p, self.input_line(p, i, unit), self.output_line(p, i, unit),
                              self.y.size[2] * self.y.channels, unit, sample_number(p, i))

    cdef void backward(self, const Pass *p) noexcept nogil:
        cdef Py_ssize_t i, unit, at, values = self.y.size[2] * self.y.channels
        if p.dx == NULL:
            return
        for i in range(p.n):
            for unit in range(self.n_units):
                at = unit * values * self.itemsize
                self.backward_line(p, self.input_line(p, i, unit), self.output_line(p, i, unit),
                                   p.dy + i * p.dy_sample + at, p.dx + i * p.dx_sample + at, values, unit,
                                   sample_number(p, i))


cdef class Activate(Pointwise):
    """y = act(x): activations that are not fused into the layer before them."""

    cdef int kind

    def __init__(self, kernels, x, y, *, activation, is_output=False, needs_dx=True):
        super().__init__(kernels, x, y, is_output=is_output, needs_dx=needs_dx)
        self.kind = activation

    cdef void forward_line(self, const Pass *p, const char *x, char *y, Py_ssize_t n, Py_ssize_t unit,
                           Py_ssize_t number) noexcept nogil:
        memcpy(y, x, n * self.itemsize)
        self.k.activate(self.kind, y, n)

    cdef void backward_line(self, const Pass *p, const char *x, const char *y, const char *dy, char *dx, Py_ssize_t n,
                            Py_ssize_t unit, Py_ssize_t number) noexcept nogil:
        self.k.activation_gradient(self.kind, x if self.kind == GELU else y, dy, dx, n)


cdef class DropoutLayer(Pointwise):
    """y = x / (1 - rate) for the values that a draw keeps, 0 for the others; in prediction y = x.

    The draw is keyed by seed, layer number, epoch, sample number and element.
    """

    cdef:
        double rate
        uint64_t number

    def __init__(self, kernels, x, y, *, rate, number, is_output=False, needs_dx=True):
        super().__init__(kernels, x, y, is_output=is_output, needs_dx=needs_dx)
        self.rate = rate
        self.number = number

    cdef void forward_line(self, const Pass *p, const char *x, char *y, Py_ssize_t n, Py_ssize_t unit,
                           Py_ssize_t number) noexcept nogil:
        if p.training:
            self.k.dropout(x, y, n, self.rate, p.seed, self.number, p.epoch, number, unit * ((n + 3) // 4))
        else:
            memcpy(y, x, n * self.itemsize)

    cdef void backward_line(self, const Pass *p, const char *x, const char *y, const char *dy, char *dx, Py_ssize_t n,
                            Py_ssize_t unit, Py_ssize_t number) noexcept nogil:
        if p.training:
            self.k.dropout(dy, dx, n, self.rate, p.seed, self.number, p.epoch, number, unit * ((n + 3) // 4))
        else:
            memcpy(dx, dy, n * self.itemsize)


cdef class RepeatLayer(Pointwise):
    """y[., c * times + j] = x[., c]: channels for depthwise filters of which several see one channel."""

    cdef Py_ssize_t times

    def __init__(self, kernels, x, y, *, is_output=False, needs_dx=True):
        super().__init__(kernels, x, y, is_output=is_output, needs_dx=needs_dx)
        self.times = self.y.channels // self.x.channels

    cdef void forward_line(self, const Pass *p, const char *x, char *y, Py_ssize_t n, Py_ssize_t unit,
                           Py_ssize_t number) noexcept nogil:
        self.k.repeat_channels(x, n // self.times, self.times, y)

    cdef void backward(self, const Pass *p) noexcept nogil:
        cdef Py_ssize_t i
        if p.dx == NULL:
            return
        for i in range(p.n):
            self.k.add_repeats(p.dy + i * p.dy_sample, self.x.values, self.times, p.dx + i * p.dx_sample)
