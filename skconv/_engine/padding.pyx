"""Padding by pixels of the image: every line of the result is a line of the image with a margin on both sides.

    y[d, h, w] = x[source_d[d], source_h[h], source_w[w]]          the constant, where a source is -1

The margin has any length and follows np.pad's words: one table per axis says which pixel of the image a pixel of the
result copies.  Between the margins the tables count upwards, so a line is one copy in the middle and one per pixel of
its margin.  A unit is a line of the result.

The gradient of a copy belongs to what was copied: dx[source] += dy.  Lines inside come first and are copied, then the
margins are added, in the order of the result's lines: one order of additions, whoever computes it.
"""
from libc.string cimport memcpy

import numpy as np

from .layer cimport Layer, Pass, Tables


cdef class PadLayer(Layer):
    """See the head of the file.

    Parameters
    ----------
    kernels, x, y, is_output, needs_dx
        As for Layer; y is larger than x by `before` and `after` pixels.
    before, after : tuple of 3 ints
    mode : str
        One of np.pad's "constant", "reflect", "symmetric", "edge", "wrap".
    value : float
        The constant.
    """

    cdef:
        Tables tables
        Py_ssize_t[3] before
        Py_ssize_t *source_d
        Py_ssize_t *source_h
        Py_ssize_t *source_w
        char *constant              # a line of the result, all constant

    def __init__(self, kernels, x, y, *, before, after, mode, value, is_output=False, needs_dx=True):
        super().__init__(kernels, x, y, is_output=is_output, needs_dx=needs_dx)
        cdef int axis
        cdef char[::1] line
        for axis in range(3):
            self.before[axis] = before[axis]
        self.tables = Tables()
        self.source_d = self._sources(self.x.size[0], before[0], after[0], mode)
        self.source_h = self._sources(self.x.size[1], before[1], after[1], mode)
        self.source_w = self._sources(self.x.size[2], before[2], after[2], mode)
        values = np.full(self.y.size[2] * self.y.channels, value, np.float64 if self.itemsize == 8 else np.float32)
        line = values.view(np.int8)
        self.constant = self.tables.bytes(line.shape[0])
        memcpy(self.constant, &line[0], line.shape[0])
        self.n_units = self.y.size[0] * self.y.size[1]

    cdef Py_ssize_t *_sources(self, Py_ssize_t size, before, after, mode) except NULL:
        cdef const Py_ssize_t[::1] padded = np.pad(
            np.arange(size, dtype=np.intp), (before, after), mode=mode,
            **({"constant_values": -1} if mode == "constant" else {}))
        cdef Py_ssize_t *sources = self.tables.sizes(padded.shape[0])
        memcpy(sources, &padded[0], padded.shape[0] * sizeof(Py_ssize_t))
        return sources

    cdef void forward_units(self, const Pass *p, Py_ssize_t i, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
        cdef:
            const char *x = self.input(p, i)
            char *y = self.output(p, i)
            const char *source
            char *line
            Py_ssize_t unit, d, h, w, from_d, from_h, pixel = self.x.channels * self.itemsize
        for unit in range(first, last):
            d = unit // self.y.size[1]
            h = unit % self.y.size[1]
            line = y + (d * self.y.depth_stride + h * self.y.line_stride) * self.itemsize
            from_d, from_h = self.source_d[d], self.source_h[h]
            if from_d < 0 or from_h < 0:
                memcpy(line, self.constant, self.y.size[2] * pixel)
                continue
            source = x + (from_d * self.x.depth_stride + from_h * self.x.line_stride) * self.itemsize
            memcpy(line + self.before[2] * pixel, source, self.x.size[2] * pixel)
            for w in range(self.before[2]):
                self._copy_pixel(line, source, w, pixel)
            for w in range(self.before[2] + self.x.size[2], self.y.size[2]):
                self._copy_pixel(line, source, w, pixel)

    cdef void _copy_pixel(self, char *line, const char *source, Py_ssize_t w, Py_ssize_t pixel) noexcept nogil:
        memcpy(line + w * pixel, self.constant if self.source_w[w] < 0 else source + self.source_w[w] * pixel, pixel)

    cdef void backward(self, const Pass *p) noexcept nogil:
        cdef Py_ssize_t i
        if p.dx == NULL:
            return
        for i in range(p.n):
            self._copy_inside(p.dy + i * p.dy_sample, p.dx + i * p.dx_sample)
            self._add_margins(p.dy + i * p.dy_sample, p.dx + i * p.dx_sample)

    cdef void _copy_inside(self, const char *dy, char *dx) noexcept nogil:
        cdef Py_ssize_t d, h, at, pixel = self.x.channels * self.itemsize, line = self.x.size[2] * pixel
        for d in range(self.x.size[0]):
            for h in range(self.x.size[1]):
                at = (((d + self.before[0]) * self.y.size[1] + h + self.before[1]) * self.y.size[2] + self.before[2])
                memcpy(dx + (d * self.x.size[1] + h) * line, dy + at * pixel, line)

    cdef void _add_margins(self, const char *dy, char *dx) noexcept nogil:
        cdef:
            Py_ssize_t d, h, w, pixel = self.x.channels * self.itemsize
            Py_ssize_t first = self.before[2], last = self.before[2] + self.x.size[2]
            bint is_inside
            char *target
        for d in range(self.y.size[0]):
            for h in range(self.y.size[1]):
                if self.source_d[d] >= 0 and self.source_h[h] >= 0:
                    target = dx + (self.source_d[d] * self.x.size[1] + self.source_h[h]) * self.x.size[2] * pixel
                    is_inside = (self.before[0] <= d < self.before[0] + self.x.size[0]
                                 and self.before[1] <= h < self.before[1] + self.x.size[1])
                    if not is_inside:
                        self.k.column_sums(dy + first * pixel, 1, self.x.size[2] * self.x.channels, 0, target)
                    for w in range(first):
                        self._add_pixel(dy, target, w, pixel)
                    for w in range(last, self.y.size[2]):
                        self._add_pixel(dy, target, w, pixel)
                dy += self.y.size[2] * pixel

    cdef void _add_pixel(self, const char *line, char *target, Py_ssize_t w, Py_ssize_t pixel) noexcept nogil:
        if self.source_w[w] >= 0:
            self.k.column_sums(line + w * pixel, 1, self.x.channels, 0, target + self.source_w[w] * pixel)
