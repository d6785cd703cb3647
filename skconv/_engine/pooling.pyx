"""Pooling as a layer of its own: maximum, mean or p-norm over windows.

    y[p, c] = max, mean or (sum |.|^p)^(1/p) over the window of p of x[., c]

A unit is a piece of an output line: the whole of it, or where a line is much work, as in global pooling, at least
PIECE_VALUES values.  Max pooling keeps which tap won (uint8, or int32 for windows of more than 255 taps), the norm
computes its gradient from input and output.  The backward passes write into a gradient of zeros, because windows may
overlap or leave gaps; where they do neither, zeroing is left out.
"""
from cython.parallel cimport prange, threadid
from libc.stdint cimport int32_t, uint8_t
from libc.string cimport memset

import numpy as np

from .layer cimport Layer, Pass, Tables, kernels_of, round_up
from .table cimport Clip, Kernels, Windows
from .windows cimport PoolWindows

cdef enum:
    PIECE_WORK = 65536          # taps of a piece of a line, about
    PIECE_VALUES = 256          # values of a piece at least, so that it reads whole cache lines


cdef class Pooling(Layer):
    """Base: the windows over the map; its gradient lies as the map does, which has no margin."""

    cdef:
        PoolWindows windows
        Py_ssize_t n_pieces

    def __init__(self, kernels, x, y, *, window, count_include_pad=False, p=2.0, is_output=False, needs_dx=True):
        super().__init__(kernels, x, y, is_output=is_output, needs_dx=needs_dx)
        cdef Py_ssize_t values = self.y.size[2] * self.y.channels
        self.windows = PoolWindows(window, tuple(self.x.size), tuple(self.y.size), self.x.channels,
                                   self.x.depth_stride, self.x.line_stride, self.x.channels, count_include_pad, p)
        self.n_pieces = max(1, min(values * self.windows.w.n_taps // PIECE_WORK, values // PIECE_VALUES,
                                   self.y.size[2]))
        self.n_units = self.y.size[0] * self.y.size[1] * self.n_pieces
        self.scratch_size = round_up(self.windows.clip_size())

    cdef void pool_pixels(self, const Pass *p, Py_ssize_t i, Py_ssize_t line, Py_ssize_t first, Py_ssize_t last,
                          const char *x, char *y, Clip *clip) noexcept nogil:
        """Pixels first to last of an output line of sample i."""
        pass

    cdef void unpool_line(self, const Pass *p, Py_ssize_t i, Py_ssize_t line, const char *dy, char *dx,
                          Clip *clip) noexcept nogil:
        """Add what one line of sample i's gradient dy gives to the map's."""
        pass

    cdef bint covers(self) noexcept nogil:
        """Whether the backward pass writes every pixel, and reads none."""
        return self.windows.w.covering

    cdef void forward_units(self, const Pass *p, Py_ssize_t i, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
        cdef:
            Clip clip = self.windows.clip_at(p.scratch + self.scratch_offset)
            Py_ssize_t unit, line, start, end, width = self.y.size[2]
            const char *x = self.input(p, i)
            char *y = self.output(p, i)
        for unit in range(first, last):
            line = unit // self.n_pieces
            start = unit % self.n_pieces * width // self.n_pieces
            end = (unit % self.n_pieces + 1) * width // self.n_pieces
            self.pool_pixels(p, i, line, start, end, x,
                             y + (line // self.y.size[1] * self.y.depth_stride + line % self.y.size[1]
                                  * self.y.line_stride + start * self.y.channels) * self.itemsize, &clip)

    cdef void backward(self, const Pass *p) noexcept nogil:
        cdef:
            Clip clip = self.windows.clip_at(p.scratch + self.scratch_offset)
            Py_ssize_t i, line, values = self.y.size[2] * self.y.channels * self.itemsize
        if p.dx == NULL:
            return
        for i in range(p.n):
            if not self.covers():
                memset(p.dx + i * p.dx_sample, 0, self.x.values * self.itemsize)
            for line in range(self.y.size[0] * self.y.size[1]):
                self.unpool_line(p, i, line, p.dy + i * p.dy_sample + line * values, p.dx + i * p.dx_sample, &clip)


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
        self.is_wide = self.windows.w.n_taps > 255

    cdef char *index_at(self, const Pass *p, Py_ssize_t i, Py_ssize_t line, Py_ssize_t pixel) noexcept nogil:
        return (p.maps + self.index_origin + (p.place + i) * self.index_sample
                + (line * self.y.size[2] + pixel) * self.y.channels * (sizeof(int32_t) if self.is_wide else 1))

    cdef bint covers(self) noexcept nogil:
        return self.windows.w.covering and self.windows.w.n_taps <= 16

    cdef void pool_pixels(self, const Pass *p, Py_ssize_t i, Py_ssize_t line, Py_ssize_t first, Py_ssize_t last,
                          const char *x, char *y, Clip *clip) noexcept nogil:
        cdef:
            char *index = self.index_at(p, i, line, first)
            uint8_t *narrow = <uint8_t *> index if p.keep and not self.is_wide else NULL
            int32_t *wide = <int32_t *> index if p.keep and self.is_wide else NULL
        self.k.max_pool_pixels(&self.windows.w, line // self.y.size[1], line % self.y.size[1], first, last, x, y,
                               narrow, wide, clip)

    cdef void unpool_line(self, const Pass *p, Py_ssize_t i, Py_ssize_t line, const char *dy, char *dx,
                          Clip *clip) noexcept nogil:
        cdef const char *index = self.index_at(p, i, line, 0)
        self.k.max_unpool_line(&self.windows.w, line // self.y.size[1], line % self.y.size[1], dy,
                               NULL if self.is_wide else <const uint8_t *> index,
                               <const int32_t *> index if self.is_wide else NULL, dx, clip)


cdef class AveragePooling(Pooling):
    """See the head of the file."""

    cdef void pool_pixels(self, const Pass *p, Py_ssize_t i, Py_ssize_t line, Py_ssize_t first, Py_ssize_t last,
                          const char *x, char *y, Clip *clip) noexcept nogil:
        self.k.average_pool_pixels(&self.windows.w, line // self.y.size[1], line % self.y.size[1], first, last, x, y,
                                   clip)

    cdef void unpool_line(self, const Pass *p, Py_ssize_t i, Py_ssize_t line, const char *dy, char *dx,
                          Clip *clip) noexcept nogil:
        self.k.average_unpool_line(&self.windows.w, line // self.y.size[1], line % self.y.size[1], dy, dx, clip)


cdef class LpPooling(Pooling):
    """See the head of the file."""

    cdef void pool_pixels(self, const Pass *p, Py_ssize_t i, Py_ssize_t line, Py_ssize_t first, Py_ssize_t last,
                          const char *x, char *y, Clip *clip) noexcept nogil:
        self.k.lp_pool_pixels(&self.windows.w, line // self.y.size[1], line % self.y.size[1], first, last, x, y, clip)

    cdef void unpool_line(self, const Pass *p, Py_ssize_t i, Py_ssize_t line, const char *dy, char *dx,
                          Clip *clip) noexcept nogil:
        cdef Py_ssize_t d = line // self.y.size[1], h = line % self.y.size[1]
        self.k.lp_unpool_line(
            &self.windows.w, d, h, self.input(p, i),
            self.output(p, i) + (d * self.y.depth_stride + h * self.y.line_stride) * self.itemsize, dy, dx, clip)


def max_pool_indices(kernels, window, size, out, Py_ssize_t n_channels, x, y, Py_ssize_t[::1] indices, *,
                     int n_threads):
    """Pool the maximum and tell where it stood: its position in the flattened spatial axes of the sample.

    Parameters
    ----------
    kernels : capsule
    window : Window with three axes
    size, out : tuple of 3 ints
        Extent of the images and of the result.
    x : ndarray of shape (n, *size, n_channels), C-contiguous, of the kernels' precision
    y : ndarray of shape (n, *out, n_channels), likewise   OUT
    indices : memoryview of n * prod(out) * n_channels intp   OUT
    n_threads : int
        Lines are shared out among them.
    """
    cdef:
        const Kernels *k = kernels_of(kernels)
        Py_ssize_t height = size[1], width = size[2], out_height = out[1], out_width = out[2]
        Py_ssize_t n_lines = len(x) * <Py_ssize_t> out[0] * out_height, lines_per_sample = out[0] * out_height
        Py_ssize_t values = out_width * n_channels, x_sample = size[0] * height * width * n_channels
        PoolWindows windows = PoolWindows(window, size, out, n_channels, height * width * n_channels,
                                          width * n_channels, n_channels)
        const Windows *w = &windows.w
        Py_ssize_t clip_size = round_up(windows.clip_size())
        Py_ssize_t scratch_size = clip_size + round_up(values * <Py_ssize_t> sizeof(int32_t))
        Tables tables = Tables()
        char *scratch = tables.bytes(scratch_size * n_threads)
        Py_ssize_t *offsets = tables.sizes(w.n_taps)    # of every tap from the window's first, in pixels
        size_t x_address = x.__array_interface__["data"][0], y_address = y.__array_interface__["data"][0]
        Py_ssize_t line, tap
    for tap in range(w.n_taps):
        offsets[tap] = w.taps[tap] // n_channels
    if n_lines * values > 0:
        for line in prange(n_lines, schedule="static", num_threads=n_threads, nogil=True):
            _index_line(k, windows, line // lines_per_sample, line % lines_per_sample, x_address, y_address, x_sample,
                        offsets, &indices[0], scratch + threadid() * scratch_size, clip_size)


cdef void _index_line(const Kernels *k, PoolWindows windows, Py_ssize_t sample, Py_ssize_t line, size_t x, size_t y,
                      Py_ssize_t x_sample, const Py_ssize_t *offsets, Py_ssize_t *indices, char *scratch,
                      Py_ssize_t clip_size) noexcept nogil:
    """One output line, in a thread's scratch of `clip_size` bytes for the clipped taps and a line of indices."""
    cdef:
        const Windows *w = &windows.w
        Clip clip = windows.clip_at(scratch)
        int32_t *wide = <int32_t *> (scratch + clip_size)
        Py_ssize_t d = line // w.out[1], h = line % w.out[1], values = w.out[2] * w.channels
        Py_ssize_t at = (sample * w.out[0] * w.out[1] + line) * values
        Py_ssize_t j, f, start
    k.max_pool_pixels(w, d, h, 0, w.out[2], <const char *> x + sample * x_sample * k.itemsize,
                      <char *> y + at * k.itemsize, NULL, wide, &clip)
    for j in range(w.out[2]):
        start = (((d * w.stride[0] - w.before[0]) * w.size[1] + h * w.stride[1] - w.before[1]) * w.size[2]
                 + j * w.stride[2] - w.before[2])
        for f in range(w.channels):
            indices[at + j * w.channels + f] = start + offsets[wide[j * w.channels + f]]


ctypedef fused floating:
    float
    double


def max_unpool(const floating[:, :, ::1] y, const Py_ssize_t[:, :, ::1] indices, floating[:, :, ::1] x, *,
               int n_threads):
    """Put values where the indices say: x[n, indices[n, p, c], c] = y[n, p, c], later p overwriting earlier ones.

    Returns an index outside of x's second axis, and None where there is none.

    Parameters
    ----------
    y, indices : arrays of shape (n, positions, n_channels)
    x : array of shape (n, positions, n_channels)   OUT
        Zeros.
    """
    cdef:
        Py_ssize_t n, n_samples = y.shape[0]
        Py_ssize_t[::1] wrong = np.full(max(1, n_samples), -1, dtype=np.intp)
    for n in prange(n_samples, schedule="static", num_threads=n_threads, nogil=True):
        wrong[n] = _scatter(y, indices, x, n)
    for n in range(n_samples):
        if wrong[n] >= 0:
            return indices[n, wrong[n] // y.shape[2], wrong[n] % y.shape[2]]
    return None


cdef Py_ssize_t _scatter(const floating[:, :, ::1] y, const Py_ssize_t[:, :, ::1] indices, floating[:, :, ::1] x,
                         Py_ssize_t n) noexcept nogil:
    """One sample; returns where the first index stands that is outside, or -1."""
    cdef Py_ssize_t p, c, at
    for p in range(y.shape[1]):
        for c in range(y.shape[2]):
            at = indices[n, p, c]
            if at < 0 or at >= x.shape[1]:
                return p * y.shape[2] + c
            x[n, at, c] = y[n, p, c]
    return -1
