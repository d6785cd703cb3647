"""Convolutions with few filters: the lanes of a vector are pixels (planes.h).

Lines of the image become one plane per channel in scratch, results one plane per filter, and from there pixels. Lanes
used are (pixels of a line) / (these and the wider margin), 0.93 for 5x5 kernels on lines of 28 pixels, where pixels
that share vectors (side_by_side.pyx) use 0.62 for six filters. No result sees what its window does not.
"""
from libc.string cimport memcpy

from .layer cimport Tables, kernels_of, round_up
from .margins import kernel_rows_inside
from .table cimport PlaneLines

cdef enum:
    LEAST_TERMS = 512           # of a sum, where half a vector would be filled
    PLANES_BYTES = 256 * 1024   # of scratch: beside weights, half of a small second-level cache
    LEAST_LINES = 8             # of the result per call: the kernel's further lines are transposed again by the next
    MOST_PIXELS = 1024          # ... and at most, so that the results' planes stay in the first cache


cpdef bint goes_by_planes(kernels, Py_ssize_t n_columns, Py_ssize_t depth, kernel, stride):
    """Whether a convolution goes by planes: a function of shapes and lanes, not of the number of samples.

    Not with more than three quarters as many columns as lanes: pixel by pixel then loses less than transposing costs
    (AVX2, 16 channels, 8 filters of 3x3: 0.82 of the speed). With half as many two pixels share a vector at a loss of a
    quarter for rows of 3 taps, so that planes need long sums: AVX-512, 8 filters of 3x3 with 16 channels 0.84, with 64
    channels 1.16.

    Parameters
    ----------
    kernels : capsule
    n_columns, depth : int
        Values per pixel of the result and of the image.
    kernel, stride : 3 ints
    """
    cdef Py_ssize_t lanes = kernels_of(kernels).lanes, terms = kernel[1] * kernel[2] * depth
    if kernel[0] > 1 or terms == depth or not stride[0] == stride[1] == stride[2] == 1:
        return False
    if n_columns > kernels_of(kernels).plane_filters or 4 * n_columns > 3 * lanes:
        return False
    return 2 * n_columns != lanes or terms >= LEAST_TERMS


cdef class Planes:
    """Output or input gradient; see the head of the file. Of the image's margins only slices of depth are read.

    Parameters
    ----------
    kernels : capsule
    size, out, kernel, dilation, before : 3 ints
        Per axis, of the image, the result and the window, whose strides are one.
    n_channels, n_filters : int
    x_line, y_line, y_pixel : int
        Elements from line to line of the image, and from line to line and pixel to pixel of the result.
    max_lines : int or None
        Lines of the result per call at most, where these are not to be chosen.
    """

    def __init__(self, kernels, *, size, out, kernel, dilation, before, n_channels, n_filters, x_line, y_line, y_pixel,
                 max_lines=None):
        cdef:
            Py_ssize_t after, lanes, n, further, i
        self.k = kernels_of(kernels)
        self.tables = Tables()
        lanes = self.k.lanes
        after = out[2] + (kernel[2] - 1) * dilation[2] - before[2] - size[2]
        self.lines.n_channels, self.lines.n_filters = n_channels, n_filters
        self.lines.n_pixels, self.lines.first = size[2], before[2]
        self.lines.n_rows, self.lines.n_taps = kernel[1], kernel[2]
        self.lines.line = max(size[2] + max(before[2], after), out[2])
        self.lines.row, self.lines.tap = dilation[1] * self.lines.line, dilation[2]
        self.lines.x_line = x_line
        self.lines.width, self.lines.y_line, self.lines.y_pixel = out[2], y_line, y_pixel
        self.before, self.height = before[1], size[1]
        self.further = further = (kernel[1] - 1) * dilation[1]
        self.leaves_out_margins = before[0] == 0 and out[0] <= size[0]
        if max_lines is None:
            max_lines = PLANES_BYTES // ((n_channels + n_filters) * self.lines.line * self.k.itemsize) - further
            max_lines = max(min(max_lines, MOST_PIXELS // self.lines.line), LEAST_LINES)
        self.max_lines = min(max_lines, out[1])
        # Whole vectors are read behind the last pixel and its taps: four of a tile, one of what is transposed.
        n = (self.max_lines - 1) * self.lines.line + self.lines.width + 5 * lanes
        self.lines.z_plane = self._apart(n)
        self.lines.plane = self._apart(max(n + further * self.lines.line + (kernel[2] - 1) * dilation[2],
                                           (self.max_lines + further) * self.lines.line + before[2]))
        # Transposing by squares of up to four writes, and reads, planes that do not exist.
        self.z_offset = round_up((n_channels + 3) // 4 * 4 * self.lines.plane * self.k.itemsize)
        self.scratch_size = self.z_offset + round_up((n_filters + 3) // 4 * 4 * self.lines.z_plane * self.k.itemsize)
        rows = kernel_rows_inside(size, out, kernel, (1, 1, 1), dilation, before)
        if rows is not None:
            self.kernel_rows = self.tables.runs(len(rows))
            for i in range(len(rows)):
                self.kernel_rows[i].a, self.kernel_rows[i].b = rows[i]
        self.weights = self.tables.bytes(kernel[1] * kernel[2] * n_channels * n_filters * self.k.itemsize)
        self.bias = self.tables.bytes(n_filters * self.k.itemsize)

    def _apart(self, n):
        """Elements between planes of n: an odd number of cache lines, so that not all lie in the same sets."""
        return (round_up(n * self.k.itemsize) // 64 | 1) * 64 // self.k.itemsize

    cdef void prepare(self, const char *w, const char *bias, bint reverse) noexcept nogil:
        """Lay out the weights, (rows, taps, channels, filters), which `reverse` reads from the last tap on."""
        self.has_bias = bias != NULL
        if bias != NULL:
            memcpy(self.bias, bias, self.lines.n_filters * self.k.itemsize)
        self.k.plane_weights(&self.lines, w, reverse, self.weights)

    cdef void run(self, const char *x, Py_ssize_t h, Py_ssize_t n_lines, char *y, bint relu, char *scratch,
                  const char *ahead, Py_ssize_t n_ahead) noexcept nogil:
        """Compute n_lines from line h on; x points at what the first tap of the first pixel sees. Meanwhile n_ahead
        cache lines at `ahead` come into the second cache."""
        cdef:
            Py_ssize_t n
            PlaneLines lines = self.lines
        while n_lines > 0:
            n = min(n_lines, self.max_lines)
            lines.n_above = max(0, self.before - h)
            lines.n_below = max(0, h - self.before + n + self.further - self.height)
            lines.ahead, lines.n_ahead = ahead, n_ahead * n // n_lines
            ahead += 64 * lines.n_ahead
            n_ahead -= lines.n_ahead
            self.k.convolve_planes(&lines, n, x, self.weights, self.bias if self.has_bias else NULL,
                                   NULL if self.kernel_rows == NULL else self.kernel_rows + h, y, relu, scratch,
                                   scratch + self.z_offset)
            x += n * self.lines.x_line * self.k.itemsize
            y += n * self.lines.y_line * self.k.itemsize
            h += n
            n_lines -= n
