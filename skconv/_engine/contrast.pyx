"""Local contrast normalisation (Jarrett, Kavukcuoglu, Ranzato and LeCun 2009): subtractive, then divisive.

    v[p, c] = x[p, c] - sum over q, c' of w[p, q] x[q, c'] / C
    s[p]    = sqrt(sum over q, c' of w[p, q] v[q, c']^2 / C)
    y[p, c] = v[p, c] / max(s[p], mean over the image of s, epsilon)

with a Gaussian w that sums to one over the pixels that exist.  The window is a product of windows along the axes, and
so is what it must be divided by near the edges: a blur B = D^-1 K is a pass K per axis over a map of one channel, then
one factor per pixel, and its adjoint K D^-1 the same passes after the factor.

A unit is a line.  Every pass needs the one before complete, hence the phases; two maps of one channel per sample take
turns, and the one that ends up holding s stays for the backward pass:

    means over channels, blurred along the line                                             -> A
    (volumes: blurred across lines, A -> B)
    blurred across lines (or slices): v; its mean squares, blurred along the line           -> B (volumes: A)
    (volumes: blurred across lines, A -> B)
    blurred across lines (or slices), square roots: s, and its sum over every line          -> A
    y

All values are taken from the image's first one, so that a constant image gives zeros, exactly.
"""
from libc.string cimport memcpy

import numpy as np

from .layer cimport Layer, Pass, Tables, round_up


cdef class ContrastLayer(Layer):
    """See the head of the file.

    Parameters
    ----------
    kernels, x, y, is_output, needs_dx
        As for Layer; x without margins.
    windows : list of 3 ndarrays
        The window along every axis: symmetric, of odd length, and reaching no further than the image.
    epsilon : float
    side_origin, side_sample : int
        Bytes: where the maps of one channel lie in the storage of activations, and how far apart those of samples.
    """

    cdef:
        double epsilon
        Py_ssize_t width
        Py_ssize_t n_lines
        Py_ssize_t[3] radius
        Py_ssize_t[3] distance      # elements from one pixel to the next along each axis, in a map of one channel
        char *windows[3]            # (2 * radius + 1,)
        char *factors               # (width,)   what the last axis is divided by
        double *line_factors        # (n_lines,) ... and the others
        bint is_volume
        Py_ssize_t map_size         # bytes of a map of one channel
        Py_ssize_t side_origin
        Py_ssize_t side_sample
        Py_ssize_t sums_size
        Py_ssize_t line_size        # bytes of a line in the scratch, zeros around it included
        Tables tables

    def __init__(self, kernels, x, y, *, windows, epsilon, side_origin, side_sample, is_output=False, needs_dx=True):
        super().__init__(kernels, x, y, is_output=is_output, needs_dx=needs_dx)
        cdef Py_ssize_t line, axis
        cdef double[::1] depths, heights
        self.epsilon = epsilon
        self.tables = Tables()
        self.width = self.y.size[2]
        self.n_lines = self.n_units = self.y.size[0] * self.y.size[1]
        inverses = []
        for axis in range(3):
            window, n = windows[axis], self.y.size[axis]
            self.radius[axis] = len(window) // 2
            self.windows[axis] = self._table(window)
            # What of the window lies inside the image, for every place of its centre.
            ends = np.append(0, np.cumsum(window))
            centre = np.arange(n)
            inside = (ends[np.minimum(self.radius[axis] + n - centre, len(window))]
                      - ends[np.maximum(self.radius[axis] - centre, 0)])
            inverses.append(1 / inside)
        self.distance[2], self.distance[1] = 1, self.width
        self.distance[0] = self.width * self.y.size[1]
        self.factors = self._table(inverses[2])
        depths, heights = inverses[0], inverses[1]
        self.line_factors = <double *> self.tables.bytes(self.n_lines * sizeof(double))
        for line in range(self.n_lines):
            self.line_factors[line] = depths[line // self.y.size[1]] * heights[line % self.y.size[1]]
        self.is_volume = self.radius[0] > 0
        self.n_phases = 6 if self.is_volume else 4
        self.side_origin = side_origin
        self.side_sample = side_sample
        self.sums_size = round_up(self.n_lines * sizeof(double))
        self.map_size = round_up(self.n_lines * self.width * self.itemsize)
        self.line_size = round_up((self.width + 2 * self.radius[2]) * self.itemsize)
        # A padded line and another one; backward, three maps.
        self.scratch_size = self.line_size + round_up(self.width * self.itemsize)
        if self.needs_dx:
            self.scratch_size += 3 * self.map_size

    cdef char *_table(self, values) except NULL:
        cdef const char[::1] view
        cdef char *table
        array = np.ascontiguousarray(values, dtype=np.float64 if self.itemsize == 8 else np.float32).view(np.int8)
        view = array
        table = self.tables.bytes(len(array))
        memcpy(table, &view[0], len(array))
        return table

    # ---- blurs of maps of one channel --------------------------------------------------------------------------

    cdef char *_padded(self, const Pass *p) noexcept nogil:
        """A line of the scratch between zeros, which nobody overwrites."""
        return p.scratch + self.scratch_offset + self.radius[2] * self.itemsize

    cdef void _blur_along(self, const Pass *p, char *out) noexcept nogil:
        """The padded line, blurred along itself."""
        self.k.blur_line(p.scratch + self.scratch_offset, 1, 2 * self.radius[2] + 1, self.windows[2], self.width, NULL,
                         1, out)

    cdef void _blur_across(self, int axis, const char *source, Py_ssize_t line, bint divides,
                           char *out) noexcept nogil:
        """Line `line` of a map, blurred across lines (axis 1) or slices (axis 0)."""
        cdef:
            Py_ssize_t height = self.y.size[1], r = self.radius[axis]
            Py_ssize_t at = line % height if axis == 1 else line // height
            Py_ssize_t first = max(0, at - r), last = min(self.y.size[axis], at + r + 1)
        self.k.blur_line(source + (line * self.width + (first - at) * self.distance[axis]) * self.itemsize,
                         self.distance[axis], last - first, self.windows[axis] + (first - at + r) * self.itemsize,
                         self.width, self.factors if divides else NULL, self.line_factors[line], out)

    cdef char *_blur_map(self, const Pass *p, char *source, char *other) noexcept nogil:
        """Blur a map in all axes, without the factors; the result is in one of the two, which is returned."""
        cdef Py_ssize_t line, row = self.width * self.itemsize
        for line in range(self.n_lines):
            memcpy(self._padded(p), source + line * row, row)
            self._blur_along(p, other + line * row)
        for line in range(self.n_lines):
            self._blur_across(1, other, line, False, source + line * row)
        if not self.is_volume:
            return source
        for line in range(self.n_lines):
            self._blur_across(0, source, line, False, other + line * row)
        return other

    # ---- forward -----------------------------------------------------------------------------------------------

    cdef char *_side(self, const Pass *p, Py_ssize_t i) noexcept nogil:
        return p.maps + self.side_origin + (p.place + i) * self.side_sample

    cdef double _mean_deviation(self, const Pass *p, Py_ssize_t i) noexcept nogil:
        cdef:
            const double *sums = <const double *> self._side(p, i)
            Py_ssize_t line
            double total = 0
        for line in range(self.n_lines):
            total += sums[line]
        return total / (self.n_lines * self.width)

    cdef void forward_units(self, const Pass *p, Py_ssize_t i, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
        cdef:
            Py_ssize_t line, row = self.width * self.itemsize, phase = p.phase
            const char *origin = self.input(p, i)
            char *side = self._side(p, i)
            char *A = side + self.sums_size
            char *B = A + self.map_size
            char *means = p.scratch + self.scratch_offset + self.line_size
            int axis = 0 if self.is_volume else 1
            double floor = 0
        if not self.is_volume and phase > 0:
            phase = 2 * phase if phase < 3 else 5       # images skip the phases of volumes
        if phase == 5:
            floor = max(self._mean_deviation(p, i), self.epsilon)
        for line in range(first, last):
            if phase == 0:
                self.k.channel_means(self.input_line(p, i, line), self.width, self.x.channels, origin, self._padded(p))
                self._blur_along(p, A + line * row)
            elif phase == 1 or phase == 3:
                self._blur_across(1, A, line, False, B + line * row)
            elif phase == 2:
                self._blur_across(axis, B if self.is_volume else A, line, True, means)
                self.k.subtract_line(self.input_line(p, i, line), self.width, self.x.channels, origin, means,
                                     self.output_line(p, i, line), self._padded(p))
                self._blur_along(p, (A if self.is_volume else B) + line * row)
            elif phase == 4:
                self._blur_across(axis, B, line, True, A + line * row)
                (<double *> side)[line] = self.k.root_line(A + line * row, self.width)
            else:
                self.k.divide_line(self.output_line(p, i, line), self.width, self.x.channels, A + line * row, floor)

    # ---- backward ----------------------------------------------------------------------------------------------

    cdef void _divide(self, char *values) noexcept nogil:
        """Apply the factors to a map."""
        cdef Py_ssize_t line, row = self.width * self.itemsize
        for line in range(self.n_lines):
            self.k.scale_line(values + line * row, self.width, self.factors, self.line_factors[line],
                              values + line * row)

    cdef void backward(self, const Pass *p) noexcept nogil:
        cdef Py_ssize_t i
        if p.dx == NULL:
            return
        for i in range(p.n):
            self._backward_sample(p, i, p.dy + i * p.dy_sample, p.dx + i * p.dx_sample)

    cdef void _backward_sample(self, const Pass *p, Py_ssize_t i, const char *dy, char *dx) noexcept nogil:
        cdef:
            Py_ssize_t line, row = self.width * self.itemsize, values = row * self.x.channels
            const char *deviations = self._side(p, i) + self.sums_size
            char *slopes = p.scratch + self.scratch_offset + self.scratch_size - 3 * self.map_size
            char *other = slopes + self.map_size
            char *means = other + self.map_size
            double mean = self._mean_deviation(p, i), floor = max(mean, self.epsilon), rest = 0
        for line in range(self.n_lines):
            rest += self.k.divisor_gradient(dy + line * values, self.output_line(p, i, line), self.width,
                                            self.x.channels, deviations + line * row, floor, slopes + line * row)
        # The mean deviation hands its gradient to all pixels alike; epsilon is a constant.
        rest = rest / (self.n_lines * self.width) if mean > self.epsilon else 0
        for line in range(self.n_lines):
            self.k.root_gradient(slopes + line * row, deviations + line * row, self.width, rest)
        self._divide(slopes)
        slopes = self._blur_map(p, slopes, other)
        for line in range(self.n_lines):
            self.k.contrast_gradient(dy + line * values, self.output_line(p, i, line), self.width, self.x.channels,
                                     deviations + line * row, floor, slopes + line * row, dx + line * values,
                                     means + line * row)
        self._divide(means)
        means = self._blur_map(p, means, other)
        for line in range(self.n_lines):
            self.k.subtract_means(dx + line * values, self.width, self.x.channels, means + line * row)
