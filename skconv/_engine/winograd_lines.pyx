"""Convolution with stride 1 by Winograd's algorithm along one axis, down the image: see winograd_lines.h.

For a block of lines: transform the lines that each tile of four lines of the result sees, all channels alike; multiply
every point of a tile by the row of taps of that point, a convolution with a kernel of one row (lines.h where it has
kernels for it, else tile.h), a block of filters at a time, so that its results stay in the first cache; transform these
back.

5x5 kernels on one channel do all this in registers, from the image where it lies (WinogradChannel).

Results differ from the direct sum by rounding, less than by tiles along both axes (winograd.pyx): tests hold them to
8 * sqrt(terms) * eps times the largest result.
"""
from libc.string cimport memcpy

from .layer cimport Tables, kernels_of, round_up
from .lines cimport goes_by_lines
from .lines import margins_of_line
from .table cimport START_AT_BIAS, START_AT_ZERO, Lines, Product, Run

cdef enum:
    POINT_OF_ONE = 1            # gives the same to all lines of a tile: the intercepts
    RESULT_BYTES = 24 * 1024    # of several tiles, half of a first cache of 48 KiB
    PIECE_BYTES = 32 * 1024     # of one tile
    FETCHED_BYTES = 128 * 1024  # of the next lines, into the second cache


cdef Py_ssize_t plane_of(Py_ssize_t n, Py_ssize_t itemsize) noexcept:
    """Elements from one plane of n to the next: an odd number of cache lines, so that they share no set of a cache."""
    return ((n * itemsize + 63) // 64 | 1) * 64 // itemsize


cdef class WinogradLines:
    """Output or input gradient; see the head of the file.

    Parameters
    ----------
    kernels : capsule
    n_rows, n_taps : int
        Rows of the kernel, 3, 5 or 7, and taps of a row.
    n_channels, n_filters : int
    size, out, before : int
        Pixels of a line of the image and of the result, and of the margin in front of the former.
    x_line, y_line, y_pixel : int
        Elements from line to line of the image, and from line to line and pixel to pixel of the result. The image must
        be readable, zeros, as far as whole tiles of four lines see; with seven rows one line further.
    max_lines : int
        Of the result per call.
    reverse : bool
        Whether the kernel is read from its last tap on.
    fetches : bool
        Whether the lines behind those of a call, which the next call will write, are asked for meanwhile.
    """

    def __init__(self, kernels, *, n_rows, n_taps, n_channels, n_filters, size, out, before, x_line, y_line, y_pixel,
                 max_lines, reverse=False, fetches=True):
        cdef:
            Py_ssize_t lanes, itemsize, i, w, part, tap, columns, widest, n_tiles = (max_lines + 3) // 4
            Py_ssize_t row = n_taps * n_channels * n_filters
            Run *runs
        self.k = kernels_of(kernels)
        self.tables = Tables()
        lanes, itemsize = self.k.lanes, self.k.itemsize
        self.n_rows, self.n_filters, self.width = n_rows, n_filters, out
        self.x_line, self.y_line, self.y_pixel = x_line, y_line, y_pixel
        self.fetches = fetches
        self.n_points, self.n_parts = self.k.line_points(n_rows), self.k.line_parts(n_rows)
        self.u_plane = self.n_parts * row
        self.u = self.tables.bytes((self.n_points * self.u_plane + 64) * itemsize)
        columns = min(2 * lanes, (n_filters + lanes - 1) // lanes * lanes)
        # Long lines are cut into pieces, whose results stay in the first cache.
        self.n_pieces = (self.n_points * out * columns * itemsize + PIECE_BYTES - 1) // PIECE_BYTES
        widest = (out + self.n_pieces - 1) // self.n_pieces
        # Blocks of whole vectors: the last one begins earlier, so that it ends with the last filter.
        starts = list(range(0, n_filters, columns))
        if len(starts) > 1 and n_filters % columns > 0:
            starts[-1] = n_filters - (n_filters % columns + lanes - 1) // lanes * lanes
        self.n_blocks = len(starts)
        self.blocks = self.tables.runs(self.n_blocks)
        for i in range(self.n_blocks):
            self.blocks[i].a = starts[i]
            self.blocks[i].b = min(n_filters - starts[i], columns)
        self.m_pixel = columns
        self.m_tiles = min(n_tiles, max(1, RESULT_BYTES // (self.n_points * out * columns * itemsize)))

        self.by_lines = goes_by_lines(kernels, n_taps, widest - (self.n_pieces > 1), columns)
        self.left, self.right = margins_of_line(n_taps, size, out, before) if self.by_lines else (False, False)
        self.pixel, self.n_taps = n_channels, n_taps
        self.v_plane = plane_of((widest + n_taps - 1) * n_channels + 2 * lanes, itemsize)
        self.m_plane = plane_of(self.m_tiles * widest * columns, itemsize)
        self.tile = self.n_points * self.v_plane
        self.m = round_up((n_tiles + self.n_parts - 1) * self.tile * itemsize)
        self.scratch_size = self.m + round_up(self.n_points * self.m_plane * itemsize)

        self.first_tap = (n_taps - 1) * n_channels * n_filters if reverse else 0
        if self.by_lines:
            runs = self.tables.runs(self.n_parts)
            for part in range(self.n_parts):
                runs[part].a, runs[part].b = part * self.tile, part * row
            self.lines.rows, self.lines.n_rows = runs, self.n_parts
            self.lines.kernel, self.lines.n_channels = n_taps, n_channels
            self.lines.x_pixel, self.lines.x_line = n_channels, self.tile
            self.lines.w_tap, self.lines.w_channel = n_channels * n_filters, n_filters
            if reverse:
                self.lines.w_tap = -self.lines.w_tap
            self.lines.y_pixel = columns
            return
        # A row of taps is one run, or, read backwards, every tap.
        n_runs = self.n_parts * (n_taps if reverse else 1)
        runs = self.tables.runs(n_runs)
        for i in range(n_runs):
            part, tap = i // (n_runs // self.n_parts), i % (n_runs // self.n_parts)
            runs[i].a = part * self.tile + tap * n_channels
            runs[i].b = part * row - tap * n_channels * n_filters
        self.product = Product(runs, n_runs, n_taps * n_channels * self.n_parts // n_runs, 1, n_filters)
        # Several tiles have one piece.
        self.v_rows = self.tables.sizes(self.m_tiles * widest)
        self.m_rows = self.tables.sizes(self.m_tiles * widest)
        for i in range(self.m_tiles):
            for w in range(widest):
                self.v_rows[i * widest + w] = i * self.tile + w * n_channels
                self.m_rows[i * widest + w] = (i * widest + w) * columns

    cdef void prepare(self, const char *w, bint reverse) noexcept nogil:
        """Transform the weights, (n_rows, n_taps, n_channels, n_filters)."""
        self.k.winograd_lines_weights(self.n_rows, w, self.u_plane // self.n_parts, reverse, self.u)

    cdef void run(self, const char *x, Py_ssize_t n_lines, const char *bias, char *y, bint relu, const char *ahead,
                  Py_ssize_t n_ahead, char *scratch) noexcept nogil:
        """Compute n_lines; x points at what the first tap of the first pixel sees. Meanwhile n_ahead cache lines at
        `ahead` come into the second cache."""
        cdef:
            Py_ssize_t piece, first, width, share, part, done = 0, asked = 0
            Py_ssize_t n_next = n_lines * self.y_line * self.k.itemsize // 64
            const char *next_lines = y + n_lines * self.y_line * self.k.itemsize
        if not self.fetches or 64 * n_next > FETCHED_BYTES:
            n_next = 0
        for piece in range(self.n_pieces):
            first = self.width * piece // self.n_pieces
            width = self.width * (piece + 1) // self.n_pieces - first
            share = n_ahead * (piece + 1) // self.n_pieces - done
            part = n_next * (piece + 1) // self.n_pieces - asked
            self._run(x + first * self.pixel * self.k.itemsize, n_lines, width, self.left and piece == 0,
                      self.right and piece == self.n_pieces - 1, bias, y + first * self.y_pixel * self.k.itemsize,
                      relu, ahead + 64 * done, share, next_lines + 64 * asked, part, scratch)
            done += share
            asked += part

    cdef void _run(self, const char *x, Py_ssize_t n_lines, Py_ssize_t width, bint left, bint right, const char *bias,
                   char *y, bint relu, const char *ahead, Py_ssize_t n_ahead, const char *next_lines,
                   Py_ssize_t n_next, char *scratch) noexcept nogil:
        """A piece of each line. `left` and `right`: whether half a row of taps falls on the margin; what is fetched are
        the lines at `ahead`, then the next lines of the result."""
        cdef:
            Py_ssize_t itemsize = self.k.itemsize, lanes = self.k.lanes, n_tiles = (n_lines + 3) // 4
            Py_ssize_t t, i, n, f, q, columns, call = 0, asked = 0, end
            Py_ssize_t n_calls = self.n_blocks * ((n_tiles + self.m_tiles - 1) // self.m_tiles) * self.n_points
            Py_ssize_t half = self.n_taps // 2 * self.pixel, skipped = half if left else 0
            Py_ssize_t seen = (width + self.n_taps - 1) * self.pixel - skipped - (half if right else 0)
            Py_ssize_t v_first = (lanes - skipped % lanes) % lanes  # what is written begins at a cache line
            Lines lines = self.lines
            const char *v
            const char *u
            const char *start
            char *m = scratch + self.m
        lines.width, lines.left, lines.right = width, left, right
        lines.y_line = width * self.m_pixel
        for t in range(n_tiles + self.n_parts - 1):
            self.k.winograd_lines_input(
                self.n_rows, x + (4 * t * self.x_line + skipped) * itemsize, self.x_line, seen,
                scratch + (t * self.tile + v_first + skipped) * itemsize, self.v_plane)
        for i in range(self.n_blocks):
            f, t = self.blocks[i].a, 0
            columns = (self.blocks[i].b + lanes - 1) // lanes * lanes
            lines.n_columns = columns
            while t < n_tiles:
                n = min(self.m_tiles, n_tiles - t)
                for q in range(self.n_points):
                    v = scratch + (t * self.tile + q * self.v_plane + v_first) * itemsize
                    u = self.u + (self.first_tap + q * self.u_plane + f) * itemsize
                    start = bias + f * itemsize if bias != NULL and q == POINT_OF_ONE else NULL
                    if self.by_lines:
                        call += 1
                        end = (n_ahead + n_next) * call // n_calls
                        if asked < n_ahead:
                            end = min(end, n_ahead)
                            lines.ahead = ahead + 64 * asked
                        else:
                            lines.ahead = next_lines + 64 * (asked - n_ahead)
                        lines.n_ahead = end - asked
                        asked = end
                        self.k.convolve_lines(&lines, n, v, u, start, m + q * self.m_plane * itemsize, False)
                    else:
                        self.k.product(&self.product, n * width, columns, v, self.v_rows, u,
                                       START_AT_ZERO if start == NULL else START_AT_BIAS, start,
                                       m + q * self.m_plane * itemsize, self.m_rows, False)
                for q in range(t, t + n):
                    self.k.winograd_lines_pixels(
                        self.n_rows, m + (q - t) * width * self.m_pixel * itemsize, self.m_plane, self.m_pixel, width,
                        self.blocks[i].b, y + (4 * q * self.y_line + f) * itemsize, self.y_line, self.y_pixel,
                        min(4, n_lines - 4 * q), relu)
                t += n


cdef class WinogradChannel:
    """Output of a 5x5 kernel on one channel; see the head of the file.

    Parameters
    ----------
    kernels : capsule
    size, out, before : 3 ints
        Per axis, of the image, the result, whose lines have four pixels at least, and the margin.
    n_filters : int
        At least a vector of them.
    x_line, y_line, y_pixel : int
        Elements from line to line of the image, and from line to line and pixel to pixel of the result.
    """

    def __init__(self, kernels, *, size, out, before, n_filters, x_line, y_line, y_pixel):
        cdef Py_ssize_t lanes, itemsize
        self.k = kernels_of(kernels)
        self.tables = Tables()
        lanes, itemsize = self.k.lanes, self.k.itemsize
        self.height, self.n_pixels, self.above, self.before = size[1], size[2], before[1], before[2]
        self.n_filters, self.width = n_filters, out[2]
        self.x_line, self.y_line, self.y_pixel = x_line, y_line, y_pixel
        self.plane = plane_of(max(out[2] + 4, before[2] + size[2]) + 2 * lanes, itemsize)
        self.points = self.tables.bytes((n_filters * 8 * 5 + 64) * itemsize)
        self.u = self.tables.bytes((n_filters + lanes - 1) // lanes * lanes * 8 * 5 * itemsize)
        self.scratch_size = round_up(8 * self.plane * itemsize)

    cdef void prepare(self, const char *w) noexcept nogil:
        """Transform the weights, (5, 5, 1, n_filters), and put together what a vector of filters takes."""
        cdef Py_ssize_t i, f = 0, size = self.k.lanes * self.k.itemsize
        cdef char *u = self.u
        self.k.winograd_lines_weights(5, w, 5 * self.n_filters, False, self.points)
        while f < self.n_filters:
            f = min(f, self.n_filters - self.k.lanes)
            for i in range(8 * 5):
                memcpy(u, self.points + (i * self.n_filters + f) * self.k.itemsize, size)
                u += size
            f += self.k.lanes

    cdef void run(self, const char *x, Py_ssize_t h, Py_ssize_t n_lines, const char *bias, char *y, bint relu,
                  const char *ahead, Py_ssize_t n_ahead, char *scratch) noexcept nogil:
        """Compute n_lines from line h on; x points at what the first tap of the first pixel sees. Meanwhile n_ahead
        cache lines at `ahead` come into the second cache."""
        cdef Py_ssize_t share, itemsize = self.k.itemsize
        x += self.before * itemsize
        h -= self.above
        while n_lines > 0:
            share = n_ahead * min(4, n_lines) // n_lines
            self.k.channel_input(x, self.x_line, h, self.height, self.n_pixels, self.before, self.width + 4, scratch,
                                 self.plane)
            self.k.channel_lines(scratch, self.plane, self.u, self.n_filters, bias, y, self.y_line, self.y_pixel,
                                 self.width, min(4, n_lines), relu, ahead, share)
            ahead += 64 * share
            n_ahead -= share
            x += 4 * self.x_line * itemsize
            y += 4 * self.y_line * itemsize
            h += 4
            n_lines -= 4
