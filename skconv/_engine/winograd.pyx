"""Convolution with 3x3 kernels, stride 1, by Winograd's F(4x4, 3x3): 36 multiplications in place of 144.

For a block of lines: transform the tiles of the input into 36 planes, multiply every plane by the weights of that
plane (an ordinary product, tiles x channels x filters), transform back. Blocks are small enough that the planes stay
in the second-level cache.

The result differs from the direct sum by rounding: about 1e-5 of the largest value in float32 (tests hold it to
4 * sqrt(terms) * eps times the largest sum of magnitudes). The weights' gradient is never computed this way.
"""
from .layer cimport Tables, kernels_of, round_up
from .table cimport START_AT_ZERO, Product, Run


cdef class Winograd:
    """See the head of the file.

    Parameters
    ----------
    kernels : capsule
    n_channels, n_filters : int
        Of input and result; at least a vector each.
    line : int
        Elements between lines of the input, whose pixels follow each other. It must be readable up to whole tiles.
    width : int
        Pixels of a line of the result.
    max_lines : int
        Lines of a block at most.
    """

    def __init__(self, kernels, *, n_channels, n_filters, line, width, max_lines):
        cdef Py_ssize_t i
        cdef Run *run
        self.k = kernels_of(kernels)
        self.n_channels = n_channels
        self.n_filters = n_filters
        self.line = line
        self.width = width
        self.tile_columns = (width + 3) // 4
        self.max_tiles = (max_lines + 3) // 4 * self.tile_columns
        self.tables = Tables()
        run = self.tables.runs(1)
        self.product = Product(run, 1, n_channels, 1, n_filters)
        self.v_rows = self.tables.sizes(self.max_tiles)
        self.m_rows = self.tables.sizes(self.max_tiles)
        for i in range(self.max_tiles):
            self.v_rows[i] = i * n_channels
            self.m_rows[i] = i * n_filters
        self.u = self.tables.bytes((36 * n_channels * n_filters + 64) * self.k.itemsize)
        self.scratch_size = (round_up(36 * self.max_tiles * n_channels * self.k.itemsize)
                             + round_up(36 * self.max_tiles * n_filters * self.k.itemsize))

    cdef void prepare(self, const char *w, bint reverse) noexcept nogil:
        """Transform the weights, (9, n_channels, n_filters)."""
        self.k.winograd_weights(w, self.n_channels, self.n_filters, reverse, self.u)

    cdef void run(self, const char *x, Py_ssize_t n_lines, const char *bias, char *y, Py_ssize_t y_line,
                  Py_ssize_t y_pixel, bint relu, char *scratch) noexcept nogil:
        """Compute n_lines of the result; x points at what the first tap of the first pixel sees."""
        cdef:
            Py_ssize_t tile_rows = (n_lines + 3) // 4, n_tiles = tile_rows * self.tile_columns, i
            Py_ssize_t v_plane = n_tiles * self.n_channels, m_plane = n_tiles * self.n_filters
            Py_ssize_t u_plane = self.n_channels * self.n_filters
            char *v = scratch
            char *m = scratch + round_up(36 * self.max_tiles * self.n_channels * self.k.itemsize)
        self.k.winograd_input(x, self.line, self.n_channels, tile_rows, self.tile_columns, v, v_plane)
        for i in range(36):
            self.k.product(&self.product, n_tiles, self.n_filters, v + i * v_plane * self.k.itemsize, self.v_rows,
                           self.u + i * u_plane * self.k.itemsize, START_AT_ZERO, NULL,
                           m + i * m_plane * self.k.itemsize, self.m_rows, False)
        self.k.winograd_output(m, m_plane, self.n_filters, bias, y, y_line, y_pixel, n_lines, self.width, relu)
