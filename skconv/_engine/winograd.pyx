"""Convolution with stride 1 by Winograd's algorithm: 3x3 kernels by F(4x4, 3x3), 36 multiplications in place of 144,
5x5 kernels by F(4x4, 5x5), 64 in place of 400. And the weights' gradient, by F(3x3, 2x2), 16 in place of 36, and by
three and two taps on each axis, 49 in place of 100.

Both kinds of kernel have tiles of 4x4 outputs; what differs is how many inputs a tile has, 6x6 or 8x8, and the
transforms.

For a block of lines: transform the tiles of the input into 36 or 64 planes, multiply every plane by the weights of that
plane (tiles x channels x filters, by winograd_product.h), transform back. Blocks are small enough that the planes stay
in the second-level cache.

The result differs from the direct sum by rounding: about 1e-5 of the largest value in float32 (tests hold it to
4 * sqrt(terms) * eps times the largest sum of magnitudes). Root mean square error beside the direct sum's, against
float64, 16 to 128 channels: F(4x4, 3x3) 2.2 to 4.8 times, F(4x4, 5x5) 4.3 to 6.6 times.

The weights' gradient is a correlation of the input with dz: tiles of 2x2 of dz and 4x4 of the input give a 3x3 result
that is summed over all tiles before it is transformed back, 16 products, channels x tiles x filters. Larger tiles would
multiply less, but round more than the direct sum: measured in float32 against float64, maps of 8x8 to 32x32,
mini-batches of 8 and 128, dense and sparse, F(3x3, 2x2) has 0.3 to 1.8 times the error of the direct sum, F(3x3, 4x4)
1.3 to 6 times (tests hold the former to twice the direct one's). F(5x5, 2x2) by six points, 36 multiplications, has 3
to 13 times, so five taps are made of three and two: 7 x 7 planes of the input, each times one of the 4 x 4 of dz, and
0.9 to 1.8 times the error.
"""
from libc.string cimport memset

from .layer cimport Tables, kernels_of, round_up
from .table cimport ADD_TO_RESULT, START_AT_ZERO, Product, Run

cdef enum:
    GRADIENT_TILES = 64     # of a block: both factors of a plane of 64 channels and filters fill the first-level cache
    SUM_BLOCKS = 4          # of a sum at least, so that transforming it back takes little of the time
    MOST_SUMS = 4


cdef Py_ssize_t plane_of(Py_ssize_t n, Py_ssize_t itemsize) noexcept:
    """Elements from one plane of n to the next: an odd number of cache lines.

    36 planes that are a power of two apart share one set of the first-level cache: the input transform of 16 tiles of
    64 channels takes 8.6 microseconds then, 5.2 so.
    """
    return ((n * itemsize + 63) // 64 | 1) * 64 // itemsize


cdef Py_ssize_t block_tiles(Py_ssize_t kernel) noexcept:
    """Tiles of a block at most, but for one row of tiles. Of 5x5 kernels and 64 channels, planes of 16 take 260 KiB;
    blocks of 8 to 48 are as fast (0.95 to 1.03), on 8x8 pixels larger ones lose a tenth."""
    return 32 if kernel == 3 else 16


cdef class Winograd:
    """See the head of the file.

    Parameters
    ----------
    kernels : capsule
    kernel : int
        3 or 5 pixels square.
    n_channels, n_filters : int
        Of input and result; at least a vector of the latter. Where there are fewer channels, a vector from the last
        pixel of the input must be readable.
    line : int
        Elements between lines of the input, whose pixels follow each other. It must be readable up to whole tiles.
    width : int
        Pixels of a line of the result.
    max_lines : int
        Lines of a block at most.
    n_together : int
        Blocks that share a product at most: a map of few tiles fills no register tile, and reads all the weights.
    """

    def __init__(self, kernels, *, kernel, n_channels, n_filters, line, width, max_lines, n_together):
        self.kernel = kernel
        self.n_planes = (kernel + TILE_SIDE - 1)**2
        self.k = kernels_of(kernels)
        self.n_channels = n_channels
        self.n_filters = n_filters
        self.line = line
        self.width = width
        self.tile_columns = self._tiles_along(width)
        self.max_lines = max_lines
        self.n_together = n_together
        self.max_tiles = n_together * self.n_tiles(max_lines)
        lanes, itemsize = self.k.lanes, self.k.itemsize
        n_in, n_out = -(-n_channels // lanes) * lanes, -(-n_filters // lanes) * lanes
        self.tables = Tables()
        self.u_plane = plane_of(n_channels * n_out, itemsize)
        self.u = self.tables.bytes((self.n_planes * self.u_plane + 64) * itemsize)
        self.block = self.max_tiles * lanes
        if n_out <= self.k.plane_vectors * lanes:
            # The result takes the place of the input: half the memory of the first cache.
            self.v_plane = self.m_plane = plane_of(self.max_tiles * max(n_in, n_out), itemsize)
            self.m = 0
            self.scratch_size = self.n_planes * self.v_plane * itemsize
        else:
            self.v_plane, self.m_plane = (plane_of(self.max_tiles * n, itemsize) for n in (n_in, n_out))
            self.m = self.n_planes * self.v_plane
            self.scratch_size = self.n_planes * (self.v_plane + self.m_plane) * itemsize

    cdef Py_ssize_t _tiles_along(self, Py_ssize_t n_pixels) noexcept nogil:
        return (n_pixels + TILE_SIDE - 1) // TILE_SIDE

    cdef void prepare(self, const char *w, bint reverse) noexcept nogil:
        """Transform the weights, (kernel**2, n_channels, n_filters)."""
        self.k.winograd_weights(self.kernel, w, self.n_channels, self.n_filters, reverse, self.u, self.u_plane)

    cdef Py_ssize_t n_tiles(self, Py_ssize_t n_lines) noexcept nogil:
        """Of a block."""
        return self._tiles_along(n_lines) * self.tile_columns

    cdef void load(self, const char *x, Py_ssize_t n_lines, Py_ssize_t first, char *scratch) noexcept nogil:
        """Transform what n_lines of the result see, as the tiles from `first` on; x points at what the first tap of the
        first pixel sees."""
        self.k.winograd_input(self.kernel, x, self.line, self.n_channels, self._tiles_along(n_lines), self.tile_columns,
                              scratch + first * self.k.lanes * self.k.itemsize, self.v_plane, self.block)

    cdef void multiply(self, Py_ssize_t n_tiles, char *scratch, const char *ahead, Py_ssize_t n_ahead) noexcept nogil:
        """By the weights, all tiles that are loaded; meanwhile n_ahead cache lines come into the second cache."""
        self.k.winograd_products(self.n_planes, n_tiles, self.n_channels, self.n_filters, scratch, self.v_plane, self.u,
                                 self.u_plane, scratch + self.m * self.k.itemsize, self.m_plane, self.block, ahead,
                                 n_ahead)

    cdef void store(self, Py_ssize_t first, Py_ssize_t n_lines, const char *bias, char *y, Py_ssize_t y_line,
                    Py_ssize_t y_pixel, bint relu, const char *scratch) noexcept nogil:
        """Transform the tiles from `first` on back into n_lines of the result."""
        self.k.winograd_output(self.kernel, scratch + (self.m + first * self.k.lanes) * self.k.itemsize, self.m_plane,
                               self.block, self.n_filters, bias, y, y_line, y_pixel, n_lines, self.width, relu)

    cdef void run(self, const char *x, Py_ssize_t x_sample, Py_ssize_t n, Py_ssize_t n_lines, char *y,
                  Py_ssize_t y_sample, Py_ssize_t y_line, Py_ssize_t y_pixel, char *scratch) noexcept nogil:
        """Compute a depth slice of n samples, n_lines each; samples are so many bytes apart."""
        cdef Py_ssize_t first = 0, h, i, m, lines, tiles, itemsize = self.k.itemsize
        while first < n:
            m = min(self.n_together, n - first)
            h = 0
            while h < n_lines:
                lines = min(self.max_lines, n_lines - h)
                tiles = self.n_tiles(lines)
                for i in range(m):
                    self.load(x + (first + i) * x_sample + h * self.line * itemsize, lines, i * tiles, scratch)
                self.multiply(m * tiles, scratch, NULL, 0)
                for i in range(m):
                    self.store(i * tiles, lines, NULL, y + (first + i) * y_sample + h * y_line * itemsize, y_line,
                               y_pixel, False, scratch)
                h += lines
            first += m


cdef class WinogradGradient:
    """The weights' gradient, see the head of the file.

    Parameters
    ----------
    kernels : capsule
    kernel : int
        3 or 5 pixels square.
    n_channels, n_filters : int
        At least a vector each.
    x_line, dz_line : int
        Elements between lines of the input and of dz, whose pixels follow each other. Both must be readable up to
        whole tiles of 2x2 outputs, and dz zero there.
    height, width : int
        Of dz, in pixels.
    n_together : int
        Samples per call at most; where there are several, they are one block.
    """

    def __init__(self, kernels, *, kernel, n_channels, n_filters, x_line, dz_line, height, width, n_together):
        cdef Py_ssize_t i
        cdef Run *run
        # Which plane of dz belongs to a row or column of planes of x: F(2, 2) does without the third.
        of_dz = [0, 1, 2, 3] if kernel == 3 else [0, 1, 2, 3, 0, 1, 3]
        self.kernel = kernel
        self.n_planes = len(of_dz)**2
        self.k = kernels_of(kernels)
        self.n_channels = n_channels
        self.n_filters = n_filters
        self.x_line = x_line
        self.dz_line = dz_line
        self.tile_rows = (height + 1) // 2
        self.tile_columns = (width + 1) // 2
        self.block_rows = self.tile_rows
        if n_together == 1:
            self.block_rows = min(self.tile_rows, max(1, GRADIENT_TILES // self.tile_columns))
        max_tiles = n_together * self.block_rows * self.tile_columns
        self.v_plane = plane_of(max_tiles * n_channels, self.k.itemsize)
        self.z_plane = plane_of(max_tiles * n_filters, self.k.itemsize)
        self.m_plane = plane_of(n_channels * n_filters, self.k.itemsize)
        self.tables = Tables()
        run = self.tables.runs(1)
        self.product = Product(run, 1, 0, n_channels, n_filters)
        self.v_rows = self.tables.sizes(n_channels)
        self.m_rows = self.tables.sizes(n_channels)
        for i in range(n_channels):
            self.v_rows[i] = i
            self.m_rows[i] = i * n_filters
        self.z_of = self.tables.sizes(self.n_planes)
        for i, plane in enumerate([4 * row + column for row in of_dz for column in of_dz]):
            self.z_of[i] = plane * self.z_plane * self.k.itemsize
        self.scratch_size = round_up((self.n_planes * self.v_plane + 16 * self.z_plane) * self.k.itemsize)
        # Behind the planes, the sums of dz.
        self.sums_size = round_up((self.n_planes * self.m_plane + n_filters) * self.k.itemsize)
        self.n_sums = max(1, min(MOST_SUMS, -(-self.tile_rows // self.block_rows) // SUM_BLOCKS))

    cdef void add(self, const char *x, Py_ssize_t x_sample, const char *dz, Py_ssize_t dz_sample, Py_ssize_t n,
                  Py_ssize_t part, Py_ssize_t n_parts, bint first, char *scratch, char *sums) noexcept nogil:
        """Add one part, some lines, of a depth slice of n samples to the sums, which begin with the first; x points at
        what the first tap of the first pixel sees."""
        cdef:
            Py_ssize_t h = part * self.tile_rows // n_parts, last = (part + 1) * self.tile_rows // n_parts
            Py_ssize_t rows, i, tiles, n_tiles, itemsize = self.k.itemsize
            char *z = scratch + self.n_planes * self.v_plane * itemsize
            char *bias = sums + self.n_planes * self.m_plane * itemsize
            Product product = self.product
        if first:
            memset(bias, 0, self.n_filters * itemsize)
        while h < last:
            rows = min(self.block_rows, last - h)
            tiles = rows * self.tile_columns
            n_tiles = n * tiles
            for i in range(n):
                self.k.winograd_gradient_factors(
                    self.kernel, x + i * x_sample + 2 * h * self.x_line * itemsize, self.x_line, self.n_channels,
                    dz + i * dz_sample + 2 * h * self.dz_line * itemsize, self.dz_line, self.n_filters, rows,
                    self.tile_columns, scratch + i * tiles * self.n_channels * itemsize, self.v_plane,
                    z + i * tiles * self.n_filters * itemsize, self.z_plane)
            product.length = n_tiles
            for i in range(self.n_planes):
                self.k.product(&product, self.n_channels, self.n_filters, scratch + i * self.v_plane * itemsize,
                               self.v_rows, z + self.z_of[i], START_AT_ZERO if first else ADD_TO_RESULT, NULL,
                               sums + i * self.m_plane * itemsize, self.m_rows, False)
            # Plane 5 of dz holds the sums of the tiles.
            self.k.column_sums(z + 5 * self.z_plane * itemsize, n_tiles, self.n_filters, self.n_filters, bias)
            first = False
            h += rows

    cdef void finish(self, const char *sums, Py_ssize_t n_sums, char *gradient, char *bias) noexcept nogil:
        """Transform the sums back and add them to the gradients by the weights, (kernel**2, n_channels, n_filters), and
        by the intercepts, or NULL."""
        cdef Py_ssize_t _
        for _ in range(n_sums):
            self.k.winograd_gradient(self.kernel, sums, self.m_plane, self.n_channels * self.n_filters, gradient)
            if bias != NULL:
                self.k.column_sums(sums + self.n_planes * self.m_plane * self.k.itemsize, 1, self.n_filters,
                                   self.n_filters, bias)
            sums += self.sums_size
