"""Convolutions with few filters by Winograd's algorithm along one axis, whose lanes are pixels (winograd_planes.h).

What a result is rounded to depends on which of the four lines of a tile it is, so blocks of lines begin at a multiple
of four, or at the same line whoever computes them. Neither threads nor the samples that share a product change a bit.
"""
from libc.string cimport memcpy

from .layer cimport Tables, kernels_of, round_up

cdef enum:
    POINTS_BYTES = 256 * 1024   # of transformed lines: half of a small second-level cache
    MOST_PIXELS = 256           # of lines of tiles, so that their results' planes stay in the first cache
    MOST_AHEAD = 1024           # cache lines per image: more drive the planes out (64 channels on 32x32 0.93 as fast)
    LEAST_TILES = 2             # of lines: a block's last tile sees lines that the next one's first transforms again


cdef class WinogradPlanes:
    """Output or input gradient; see the head of the file.

    Parameters
    ----------
    kernels : capsule
    size, out, kernel, before : 3 ints
        Per axis, of the image, the result and the window, whose strides and dilations are one. The kernel has one
        slice, and 3, 5 or 7 rows.
    n_channels, n_filters : int
    x_line, y_line, y_pixel : int
        Elements from line to line of the image, and from line to line and pixel to pixel of the result.
    """

    def __init__(self, kernels, *, size, out, kernel, before, n_channels, n_filters, x_line, y_line, y_pixel):
        cdef:
            Py_ssize_t lanes, itemsize, tiles, n_points, parts, v_lines, filters, n, n_blocks
        self.k = kernels_of(kernels)
        self.tables = Tables()
        lanes, itemsize = self.k.lanes, self.k.itemsize
        n_points, parts = self.k.line_points(kernel[1]), self.k.line_parts(kernel[1])
        after = out[2] + kernel[2] - 1 - before[2] - size[2]
        self.before = before[1]
        lines = &self.points.lines
        lines.n_channels, lines.n_filters = n_channels, n_filters
        lines.n_pixels, lines.first = size[2], before[2]
        lines.n_rows, lines.n_taps, lines.tap = parts, kernel[2], 1
        lines.line = lines.row = max(size[2] + max(before[2], after), out[2])
        lines.x_line = x_line
        lines.width, lines.y_line, lines.y_pixel = out[2], y_line, y_pixel
        self.points.kernel, self.points.height = kernel[1], size[1]
        self.points.group = min(n_channels, max(lanes, 8))

        tiles = (out[1] + 3) // 4
        n = POINTS_BYTES // (n_points * n_channels * lines.line * itemsize)
        n = max(min(n + 1 - parts, MOST_PIXELS // lines.line), LEAST_TILES)
        n_blocks = (tiles + n - 1) // n
        tiles = (tiles + n_blocks - 1) // n_blocks
        self.max_lines = 4 * tiles
        # Blocks of a whole image, and of few lines of tiles, are computed together.
        self.n_together = max(1, (n + parts - 1) // (tiles + parts - 1)) if n_blocks == 1 else 1
        v_lines = self.n_together * (tiles + parts - 1)
        filters = (n_filters + 3) // 4 * 4
        self.points.x_plane = self._apart((tiles + 1 + parts) * lines.line + lines.first + 2 * lanes)
        lines.plane = self._apart(v_lines * lines.line + lines.first + 2 * lanes)
        self.points.point = n_channels * lines.plane
        lines.z_plane = 4 * lanes
        self.points.y_plane = self._apart(v_lines * lines.line + 2 * lanes)
        self.v = round_up(4 * ((self.points.group + 3) // 4 * 4) * self.points.x_plane * itemsize)
        self.z = self.v + round_up(n_points * self.points.point * itemsize)
        self.y = self.z + round_up(n_points * n_filters * lines.z_plane * itemsize)
        self.scratch_size = self.y + round_up(4 * filters * self.points.y_plane * itemsize)
        self.weights = self.tables.bytes(n_points * parts * kernel[2] * n_channels * n_filters * itemsize)
        self.bias = self.tables.bytes(n_filters * itemsize)

    def _apart(self, n):
        """Elements between planes of n: an odd number of cache lines, so that not all lie in the same sets."""
        return (round_up(n * self.k.itemsize) // 64 | 1) * 64 // self.k.itemsize

    cdef void prepare(self, const char *w, const char *bias, bint reverse) noexcept nogil:
        """Transform the weights, (rows, taps, channels, filters), which `reverse` reads from the last tap on."""
        self.has_bias = bias != NULL
        if bias != NULL:
            memcpy(self.bias, bias, self.points.lines.n_filters * self.k.itemsize)
        self.k.plane_points_weights(&self.points, w, reverse, self.weights)

    cdef Py_ssize_t tile_lines(self, Py_ssize_t n_lines) noexcept nogil:
        """Lines of tiles that a block of lines takes up among others."""
        return (n_lines + 3) // 4 + self.points.lines.n_rows - 1

    cdef void load(self, const char *x, Py_ssize_t h, Py_ssize_t n_lines, Py_ssize_t first,
                   char *scratch) noexcept nogil:
        """Transform what n_lines from line h on see, as the lines of tiles from `first` on, after those before; x
        points at what the first tap of the first pixel sees."""
        self.k.plane_points_load(&self.points, (n_lines + 3) // 4, h - self.before, x, scratch,
                                 scratch + self.v + first * self.points.lines.line * self.k.itemsize)

    cdef void multiply(self, Py_ssize_t n, bint relu, char *scratch, const char *y, Py_ssize_t n_bytes,
                       const char *ahead, Py_ssize_t n_ahead) noexcept nogil:
        """By the weights, n lines of tiles, and back. Meanwhile n_bytes at y, where the result will go, and n_ahead
        cache lines at `ahead` come into the second cache."""
        self.k.plane_points_multiply(&self.points, n - (self.points.lines.n_rows - 1), scratch + self.v, self.weights,
                                     self.bias if self.has_bias else NULL, relu, scratch + self.z, scratch + self.y,
                                     y, n_bytes, ahead, 64 * n_ahead)

    cdef void store(self, Py_ssize_t first, Py_ssize_t n_lines, char *y, const char *scratch) noexcept nogil:
        """n_lines of the result, from the lines of tiles from `first` on."""
        self.k.plane_points_store(&self.points, n_lines,
                                  scratch + self.y + first * self.points.lines.line * self.k.itemsize, y)

    cdef void run(self, const char *x, Py_ssize_t h, Py_ssize_t n_lines, char *y, bint relu, char *scratch,
                  const char *ahead, Py_ssize_t n_ahead) noexcept nogil:
        """Compute n_lines from line h on. Meanwhile n_ahead cache lines at `ahead` come into the second cache."""
        cdef Py_ssize_t n, share
        if n_ahead > MOST_AHEAD:
            n_ahead = 0
        while n_lines > 0:
            n = min(n_lines, self.max_lines)
            share = n_ahead * n // n_lines
            self.load(x, h, n, 0, scratch)
            self.multiply(self.tile_lines(n), relu, scratch, y, n * self.points.lines.y_line * self.k.itemsize, ahead,
                          share)
            ahead += 64 * share
            n_ahead -= share
            self.store(0, n, y, scratch)
            x += n * self.points.lines.x_line * self.k.itemsize
            y += n * self.points.lines.y_line * self.k.itemsize
            h += n
            n_lines -= n
