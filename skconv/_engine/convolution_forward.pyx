"""The forward half of a convolution: with bias, activation and max pooling in one pass.

    z[o, f] = bias[f] + sum_{tap k, channel c} x[o * stride + k * dilation - pad, c] * w[k, c, f]
    y[p, f] = max over the window of p of act(z[., f])           (pooling before a monotone activation is the same)

A unit is a few output lines of one depth slice.  Without pooling, units are products straight into the output, several
at a time; with pooling the lines under one are computed into a box of scratch that stays in the first-level cache,
pooled from there, and only the pooled line is stored and activated.  The activations before exist nowhere.

Input maps carry the zero padding as a margin, so no loop has edge cases.

Where filters fall into groups that see channels of their own, every product is one per group, on other columns; where
every filter sees one channel and every channel has one filter, it is one product column by column (depthwise).

3x3 and 5x5 kernels with many channels run by Winograd's algorithm (winograd.pyx), others by the same along one axis
(winograd_lines.pyx), where the plan says so. Where few filters leave much of a vector empty, its lanes are pixels
(planes.pyx), or several pixels share one (side_by_side.pyx). 1x1 kernels with small weights go through all pixels that
follow each other without a gap (rows.h). Short rows of taps stay in registers (lines.pyx), or taps on the margin are
left out (clipping.pyx).
"""
from libc.stdint cimport uint8_t

from .clipping import clipping, clipping_of_lines
from .layer cimport Layer, Pass, Tables, round_up, share_ahead
from .lines import forward_lines
from .margins import kernel_rows_inside
from .planes cimport Planes, goes_by_planes
from .rows cimport are_rows, samples_follow
from .side_by_side cimport SideBySide, pixels_per_vector
from .table cimport IDENTITY, RELU, START_AT_BIAS, START_AT_ZERO, Clip, Product, Run, Windows
from .windows cimport PoolWindows
from .winograd cimport TILE_SIDE, Winograd, block_tiles
from .winograd_lines cimport WinogradChannel, WinogradLines
from .winograd_planes cimport WinogradPlanes

cdef enum:
    UNIT_PIXELS = 64        # per unit: what threads share of a sample
    LEAST_CHANNELS = 16     # of both gradients by it


cdef class ForwardConvolution(Layer):
    """See the head of the file.

    Parameters
    ----------
    kernels, x, y, is_output, needs_dx
        As for Layer.
    window : object with 3-tuples kernel_size, stride, dilation, pad_before
    out : tuple of 3 ints
        Extent before pooling.
    groups : int
        Group g of the filters sees group g of the channels.
    activation : Activation
        Monotone, so that its derivative follows from its value.
    pool : window of a max pooling of at most 255 taps, or None
    index_origin, index_sample : int
        Where the winning taps lie in the storage of activations, and how far samples are apart, in bytes.
    is_winograd : bool
        Whether to use Winograd's algorithm, for the gradients with 16 channels at least; x must then have a margin for
        whole tiles.
    by_winograd_lines : bool
        Whether to use it for the output along one axis in place of two, whole lines at a time; x must then have a
        margin for whole tiles of four lines.
    is_one_channel : bool
        Whether it does so in registers, as `_algorithms.is_one_channel` tells, and reads the image alone.
    shares_vectors : bool
        Whether neighbouring pixels may share vectors, and what is not finite then reach a pixel's neighbours.
    """

    def __init__(self, kernels, x, y, *, window, out, activation, pool=None, index_origin=0, index_sample=0,
                 groups=1, is_winograd=False, by_winograd_lines=False, is_one_channel=False, shares_vectors=False,
                 is_output=False, needs_dx=True):
        super().__init__(kernels, x, y, is_output=is_output, needs_dx=needs_dx)
        cdef int axis
        for axis in range(3):
            self.kernel[axis] = window.kernel_size[axis]
            self.stride[axis] = window.stride[axis]
            self.dilation[axis] = window.dilation[axis]
            self.before[axis] = window.pad_before[axis]
            self.out[axis] = out[axis]
        self.n_filters = self.y.channels
        self.n_taps = self.kernel[0] * self.kernel[1] * self.kernel[2]
        self.group_channels = self.x.channels // groups
        self.group_filters = self.n_filters // groups
        self.is_depthwise = groups > 1 and self.group_channels == self.group_filters == 1
        self.n_products = 1 if self.is_depthwise else groups
        self.multiply = self.k.depthwise if self.is_depthwise else self.k.product
        self.depth = self.n_taps * self.group_channels
        self.activation = activation
        self.index_origin = index_origin
        self.index_sample = index_sample
        self.is_winograd = is_winograd and not by_winograd_lines
        self.by_winograd_lines = by_winograd_lines
        self.is_one_channel = is_one_channel
        # With fewer channels the transforms of the gradients cost more than their products.
        self.has_winograd_gradients = is_winograd and self.x.channels >= LEAST_CHANNELS
        self.shares_vectors = (shares_vectors and not (self.has_winograd_gradients or self.is_depthwise)
                               and self.n_products == 1
                               and self.stride[2] == self.dilation[2] == 1)
        self.tables = Tables()
        self._build_forward(pool)

    def _build_forward(self, pool):
        cdef:
            Py_ssize_t lines, a, b, c, channel, k = 0
            # A row of the kernel is one run, or, dilated, every tap. Runs of one to three pairs are taken apart: the
            # loop over runs then costs less than the loop within (9 taps of one channel: 143 against 135 GFLOP/s).
            bint is_row = self.is_depthwise or (self.dilation[2] == 1 and self.n_products == 1)
            Py_ssize_t length = (self.kernel[2] if is_row else 1) * self.group_channels
            Run *runs = self.tables.runs(self.depth)
        self.x_terms = self.tables.sizes(self.depth)
        for a in range(self.kernel[0]):
            for b in range(self.kernel[1]):
                for c in range(self.kernel[2]):
                    for channel in range(self.group_channels):
                        self.x_terms[k] = (a * self.dilation[0] * self.x.depth_stride
                                           + b * self.dilation[1] * self.x.line_stride
                                           + c * self.dilation[2] * self.x.channels + channel)
                        k += 1
        if length < 4 and not self.is_depthwise:
            length = 1
        for k in range(self.depth // length):
            runs[k].a = self.x_terms[k * length]
            runs[k].b = k * length * self.n_filters
        self.forward_product = Product(runs, self.depth // length, length,
                                       self.dilation[2] * self.x.channels if self.is_depthwise else 1, self.n_filters)

        window = dict(size=self.x.size, out=self.out, kernel=self.kernel, stride=self.stride, dilation=self.dilation,
                      before=self.before)
        by_planes = (self.by_winograd_lines and self.n_filters <= self.k.plane_filters
                     or (not (self.is_winograd or self.by_winograd_lines or self.is_depthwise) and self.n_products == 1
                         and goes_by_planes(self._kernels, self.n_filters, self.x.channels, self.kernel, self.stride)))
        n_pixels = (1 if by_planes or self.by_winograd_lines else
                    self._pixels_per_vector(self.n_filters, self.x.channels, self.out[2]))
        if by_planes:
            options = dict(
                size=self.x.size, out=self.out, kernel=self.kernel, before=self.before, n_channels=self.x.channels,
                n_filters=self.n_filters, x_line=self.x.line_stride,
                y_line=self.y.line_stride if pool is None else self.out[2] * self.n_filters, y_pixel=self.n_filters)
            if self.by_winograd_lines:
                self.winograd_planes = WinogradPlanes(self._kernels, **options)
                self.leaves_out_margins = self.before[0] == 0 and self.out[0] <= self.x.size[0]
            else:
                self.planes = Planes(self._kernels, dilation=self.dilation, **options)
                self.leaves_out_margins = self.planes.leaves_out_margins
        self.block = self._lines_per_block(self.out[2])
        self.columns = self.n_filters // self.n_products
        if pool is None:
            lines = self.block = min(self.block, self.y.size[1])
            line, pixel = self.y.line_stride, self.n_filters
        else:
            # Lines under overlapping windows are computed twice: blocks of eight overlaps keep that to an eighth.
            extent = (pool.kernel_size[1] - 1) * pool.dilation[1] + 1
            overlap = max(0, extent - pool.stride[1])
            self.block = max(1, (self.block - overlap) // pool.stride[1], 8 * overlap // pool.stride[1])
            self.block = min(self.block, self.y.size[1])
            lines = min((self.block - 1) * pool.stride[1] + extent, self.out[1])
            depths = min((pool.kernel_size[0] - 1) * pool.dilation[0] + 1, self.out[0])
            # Pixels of the box are whole vectors apart, so that no tile needs a partial copy.
            self.box_pixel = (self.n_filters if n_pixels > 1 or by_planes else
                              (self.n_filters + self.k.lanes - 1) // self.k.lanes * self.k.lanes)
            if self.n_products == 1:
                self.columns = self.box_pixel
            self.box_slice = lines * self.out[2] * self.box_pixel
            self.pool = self._windows(pool, self.box_slice, self.out[2] * self.box_pixel, self.box_pixel)
            line, pixel = self.out[2] * self.box_pixel, self.box_pixel
            self.clip_offset = round_up((depths * self.box_slice + self.k.lanes) * self.itemsize)
            self.scratch_size = self.clip_offset + round_up(self.pool.clip_size())
        self.is_rows = (self.n_taps == self.n_products == self.stride[0] == self.stride[1] == self.stride[2] == 1
                        and not self.is_depthwise and pool is None and are_rows(&self.x, &self.y, self.itemsize))
        self.looks = self.is_rows and self.x.is_data and self.is_output and self.activation in (IDENTITY, RELU)
        self._fill_rows(lines, line, pixel)
        if n_pixels > 1:
            self.beside = SideBySide(
                self._kernels, n_pixels=n_pixels, row_offsets=self._kernel_rows(), kernel=self.kernel[2],
                depth=self.x.channels, n_columns=self.n_filters, width=self.out[2], max_lines=lines,
                a_line=self.stride[1] * self.x.line_stride, c_line=line,
                kernel_rows=kernel_rows_inside(**window), overruns=pool is not None)
        if by_planes:
            self.planes_offset = self.scratch_size
            self.scratch_size += (self.planes or self.winograd_planes).scratch_size
        elif self.is_one_channel:
            self.winograd_channel = WinogradChannel(
                self._kernels, size=self.x.size, out=self.out, before=self.before, n_filters=self.n_filters,
                x_line=self.x.line_stride, y_line=line, y_pixel=pixel)
            self.leaves_out_margins = self.before[0] == 0 and self.out[0] <= self.x.size[0]
            self.winograd_offset = self.scratch_size
            self.scratch_size += self.winograd_channel.scratch_size
        elif self.by_winograd_lines:
            self.winograd_lines = WinogradLines(
                self._kernels, n_rows=self.kernel[1], n_taps=self.kernel[2], n_channels=self.x.channels,
                n_filters=self.n_filters, size=self.x.size[2], out=self.out[2], before=self.before[2],
                x_line=self.x.line_stride, y_line=line, y_pixel=pixel, max_lines=lines, fetches=pool is None)
            self.winograd_offset = self.scratch_size
            self.scratch_size += self.winograd_lines.scratch_size
        elif self.beside is None and not self.is_depthwise and not self.is_winograd:
            window |= dict(n_groups=self.n_products, n_channels=self.group_channels, n_filters=self.group_filters,
                           x_lines=(self.x.depth_stride, self.x.line_stride))
            if pool is None:
                self.clipped = clipping(self._kernels, y_lines=(self.y.depth_stride, line), **window)
            if self.clipped is None:
                self.by_lines = forward_lines(self._kernels, n_columns=self.columns, y_pixel=pixel, y_line=line,
                                              **window)
            self.joins_samples = self.clipped is not None
            self.leaves_out_margins = self.by_lines is not None and self.by_lines.leaves_out_margins
            if self.by_lines is None:
                self.clipped_lines = clipping_of_lines(**window)
        self.unit = self.block
        if self.winograd_lines is not None or self.winograd_channel is not None:
            if pool is None:    # whole tiles
                self.unit = TILE_SIDE * max(1, UNIT_PIXELS // (TILE_SIDE * self.out[2]))
                self.block = (lines + self.unit - 1) // self.unit * self.unit
        elif pool is None and not self.is_winograd:
            self.unit = max(1, min(self.block, UNIT_PIXELS // self.out[2]))
            if self.winograd_planes is not None:    # whole tiles: a result is rounded as its place in one says
                self.unit = (self.unit + 3) // 4 * 4
                self.block += self.unit - 1
            self.block -= self.block % self.unit
        self.n_blocks = (self.y.size[1] + self.unit - 1) // self.unit
        self.n_units = self.y.size[0] * self.n_blocks
        self.n_grouped = 1
        if self.winograd_planes is not None and self.out[0] == 1 and (pool is None or self.n_units == 1):
            self.n_grouped, self.grouped_lines = self.winograd_planes.n_together, lines
        if self.is_winograd:
            if self.n_units == self.out[0] == 1:
                a, b = (lines + TILE_SIDE - 1) // TILE_SIDE, (self.out[2] + TILE_SIDE - 1) // TILE_SIDE
                self.n_grouped = max(1, block_tiles(self.kernel[2]) // (a * b))
                self.grouped_lines = lines
            self.winograd = Winograd(self._kernels, kernel=self.kernel[2], n_channels=self.x.channels,
                                     n_filters=self.n_filters, line=self.x.line_stride, width=self.out[2],
                                     max_lines=lines, n_together=self.n_grouped)
            self.winograd_offset = self.scratch_size
            self.scratch_size += self.winograd.scratch_size

    def _pixels_per_vector(self, n_columns, depth, width, is_gradient=False):
        if not self.shares_vectors:
            return 1
        return pixels_per_vector(self.k.lanes, n_columns, self.kernel[2], width,
                                 self.kernel[0] * self.kernel[1] * depth, is_gradient)

    def _kernel_rows(self):
        """Where the rows of the kernel lie in x."""
        return [a * self.dilation[0] * self.x.depth_stride + b * self.dilation[1] * self.x.line_stride
                for a in range(self.kernel[0]) for b in range(self.kernel[1])]

    def _lines_per_block(self, width):
        if self.is_winograd:
            return self._lines_of_tiles(width)
        if self.by_winograd_lines and self.winograd_planes is None:
            return TILE_SIDE * max(1, BLOCK_PIXELS // (TILE_SIDE * width))
        if self.planes is not None:
            return self.planes.max_lines
        if self.winograd_planes is not None:
            return self.winograd_planes.max_lines
        return max(1, BLOCK_PIXELS // width)

    def _lines_of_tiles(self, width):
        """Of a block of Winograd's tiles along both axes."""
        return TILE_SIDE * max(1, block_tiles(self.kernel[2]) // ((width + TILE_SIDE - 1) // TILE_SIDE))

    def _windows(self, pool, depth_stride, line_stride, pixel_stride):
        return PoolWindows(pool, tuple(self.out), tuple(self.y.size), self.n_filters, depth_stride, line_stride,
                           pixel_stride)

    def _fill_rows(self, Py_ssize_t lines, Py_ssize_t c_line, Py_ssize_t c_pixel):
        """Tables of where the pixels of a block lie in x and in the result of the product."""
        cdef Py_ssize_t line, w, m = 0
        self.x_rows = self.tables.sizes(lines * self.out[2])
        self.c_rows = self.tables.sizes(lines * self.out[2])
        for line in range(lines):
            for w in range(self.out[2]):
                self.x_rows[m] = line * self.stride[1] * self.x.line_stride + w * self.stride[2] * self.x.channels
                self.c_rows[m] = line * c_line + w * c_pixel
                m += 1

    cdef void prepare(self, bint forward, bint backward) noexcept nogil:
        if self.is_winograd:
            self.winograd.prepare(self.weights, False)
        if self.winograd_lines is not None:
            self.winograd_lines.prepare(self.weights, False)
        if self.winograd_channel is not None:
            self.winograd_channel.prepare(self.weights)
        if self.beside is not None:
            self.beside.prepare(self.weights, self.bias, False)
        if self.planes is not None:
            self.planes.prepare(self.weights, self.bias, False)
        if self.winograd_planes is not None:
            self.winograd_planes.prepare(self.weights, self.bias, False)

    cdef Py_ssize_t _first_seen(self, Py_ssize_t d, Py_ssize_t h) noexcept nogil:
        """Where in x, in elements, lies what the first tap of the first pixel of line h of depth slice d sees."""
        return ((d * self.stride[0] - self.before[0]) * self.x.depth_stride
                + (h * self.stride[1] - self.before[1]) * self.x.line_stride - self.before[2] * self.x.channels)

    cdef void _convolve(self, const Pass *p, const char *x, Py_ssize_t d, Py_ssize_t h, Py_ssize_t lines, char *c,
                        bint relu, Py_ssize_t tiles) noexcept nogil:
        """Lines h to h + lines of depth slice d, before pooling; tiles: the first of those that are multiplied already,
        or -1."""
        cdef:
            Py_ssize_t at = self._first_seen(d, h), g, f, n, share = 0, n_ahead = p.n_ahead
            Py_ssize_t c_line = self.y.line_stride if self.pool is None else self.out[2] * self.box_pixel
            char *planes = p.scratch + self.scratch_offset + self.winograd_offset
            const char *ahead = p.ahead
            const Product *product
        if self.is_winograd:
            if tiles < 0:
                tiles = 0
                self.winograd.load(x + at * self.itemsize, lines, 0, planes)
                self.winograd.multiply(self.winograd.n_tiles(lines), planes, p.ahead, p.n_ahead)
            self.winograd.store(tiles, lines, self.bias, c, c_line,
                                self.n_filters if self.pool is None else self.box_pixel, relu, planes)
            return
        if self.winograd_lines is not None:
            self.winograd_lines.run(x + at * self.itemsize, lines, self.bias, c, relu, p.ahead, p.n_ahead, planes)
            return
        if self.winograd_channel is not None:
            self.winograd_channel.run(x + at * self.itemsize, h, lines, self.bias, c, relu, p.ahead, p.n_ahead, planes)
            return
        if self.is_rows:
            self.k.rows(x + at * self.itemsize, lines * self.out[2], self.depth, self.weights, self.n_filters,
                        self.bias, relu, c, 0)
            return
        if self.beside is not None:
            self.beside.run(x + at * self.itemsize, h, lines, c, relu, p.ahead, p.n_ahead)
            return
        if self.planes is not None:
            self.planes.run(x + at * self.itemsize, h, lines, c, relu,
                            p.scratch + self.scratch_offset + self.planes_offset, p.ahead, p.n_ahead)
            return
        if self.winograd_planes is not None:
            planes = p.scratch + self.scratch_offset + self.planes_offset
            if tiles < 0:
                self.winograd_planes.run(x + at * self.itemsize, h, lines, c, relu, planes, p.ahead, p.n_ahead)
            else:
                self.winograd_planes.store(tiles + h // 4, lines, c, planes)
            return
        if self.by_lines is not None:
            self.by_lines.run(x + at * self.itemsize, h, lines, self.weights, self.bias, c, relu, p.ahead,
                              p.n_ahead)
            return
        while lines > 0:
            n, product = lines, &self.forward_product
            if self.clipped_lines is not None:
                n, product = self.clipped_lines.n_alike(h, lines), self.clipped_lines.at(d, h)
            if self.n_products == 1 and self.multiply == self.k.product:
                share = n_ahead * n // lines
                self.k.product_ahead(product, n * self.out[2], self.columns, x + at * self.itemsize, self.x_rows,
                                     self.weights, START_AT_ZERO if self.bias == NULL else START_AT_BIAS, self.bias, c,
                                     self.c_rows, relu, ahead, share)
                ahead += 64 * share
                n_ahead -= share
            else:
                for g in range(self.n_products):
                    f = g * self.group_filters * self.itemsize
                    self.multiply(product, n * self.out[2], self.columns,
                                  x + (at + g * self.group_channels) * self.itemsize, self.x_rows, self.weights + f,
                                  START_AT_ZERO if self.bias == NULL else START_AT_BIAS,
                                  NULL if self.bias == NULL else self.bias + f, c + f, self.c_rows, relu)
            lines -= n
            h += n
            at += n * self.stride[1] * self.x.line_stride
            c += n * c_line * self.itemsize

    cdef void forward(self, const Pass *p) noexcept nogil:
        cdef:
            Py_ssize_t i, d
            Pass part
        if self.is_rows and self.activation in (IDENTITY, RELU) and samples_follow(self, p):
            if not self.k.rows(self.input(p, 0), p.n * self.x.values // self.depth, self.depth, self.weights,
                               self.n_filters, self.bias, self.activation == RELU, self.output(p, 0),
                               p.largest if self.looks else 0):
                p.is_finite[0] = False
            return
        if self.n_grouped > 1:
            self._forward_grouped(p)
            return
        if self.clipped is None or p.n < self.clipped.least:
            part = p[0]
            for i in range(p.n):
                share_ahead(p, i, i + 1, p.n, &part)
                self._units(&part, i, 0, self.n_units, -1)
            return
        self.clipped.run(self.input(p, 0), self.x.sample, self.weights, self.bias, self.output(p, 0),
                         self.output(p, 1) - self.output(p, 0), p.n, self.activation == RELU)
        for i in range(p.n):
            for d in range(self.y.size[0]):
                self._activate(self.output(p, i) + d * self.y.depth_stride * self.itemsize, self.y.size[1])

    cdef void _activate(self, char *line, Py_ssize_t n_lines) noexcept nogil:
        """What the product has not done."""
        cdef Py_ssize_t _
        if self.activation == IDENTITY or (self.activation == RELU and self.pool is None):
            return
        for _ in range(n_lines):
            self.k.activate(self.activation, line, self.y.size[2] * self.n_filters)
            line += self.y.line_stride * self.itemsize

    cdef void _forward_grouped(self, const Pass *p) noexcept nogil:
        cdef:
            Py_ssize_t first = 0, i, n, tiles
            char *planes = p.scratch + self.scratch_offset + self.winograd_offset
            Pass part
        # Samples of few tiles share a product, so that it fills its register tiles and reads the weights less often.
        if self.winograd_planes is not None:
            planes = p.scratch + self.scratch_offset + self.planes_offset
            tiles = self.winograd_planes.tile_lines(self.grouped_lines)
            while first < p.n:
                n = min(self.n_grouped, p.n - first)
                for i in range(n):
                    self.winograd_planes.load(self.input(p, first + i) + self._first_seen(0, 0) * self.itemsize, 0,
                                              self.grouped_lines, i * tiles, planes)
                share_ahead(p, first, first + n, p.n, &part)
                self.winograd_planes.multiply(n * tiles, self.pool is None and self.activation == RELU, planes,
                                              self.output(p, first),
                                              self.output(p, first + n) - self.output(p, first), part.ahead,
                                              part.n_ahead)
                for i in range(n):
                    self._units(p, first + i, 0, self.n_units, i * tiles)
                first += n
            return
        tiles = self.winograd.n_tiles(self.grouped_lines)
        while first < p.n:
            n = min(self.n_grouped, p.n - first)
            for i in range(n):
                self.winograd.load(self.input(p, first + i) + self._first_seen(0, 0) * self.itemsize,
                                   self.grouped_lines, i * tiles, planes)
            share_ahead(p, first, first + n, p.n, &part)
            self.winograd.multiply(n * tiles, planes, part.ahead, part.n_ahead)
            for i in range(n):
                self._units(p, first + i, 0, 1, i * tiles)
            first += n

    cdef void forward_units(self, const Pass *p, Py_ssize_t i, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
        self._units(p, i, first, last, -1)

    cdef void _units(self, const Pass *p, Py_ssize_t i, Py_ssize_t first, Py_ssize_t last,
                     Py_ssize_t tiles) noexcept nogil:
        """See `_convolve`."""
        cdef:
            const char *x = self.input(p, i)
            char *y = self.output(p, i)
            char *line
            Py_ssize_t d, h, end, begin, unit = first
            Pass part = p[0]
        while unit < last:
            d, h, begin = unit // self.n_blocks, unit % self.n_blocks * self.unit, unit
            unit += min(self.block // self.unit, min(last - unit, self.n_blocks - unit % self.n_blocks))
            end = min((unit - d * self.n_blocks) * self.unit, self.y.size[1])
            line = y + (d * self.y.depth_stride + h * self.y.line_stride) * self.itemsize
            share_ahead(p, begin - first, unit - first, last - first, &part)
            if self.pool is not None:
                self._pooled_lines(&part, i, x, d, h, end, line, tiles)
            else:
                self._convolve(&part, x, d, h, end - h, line, self.activation == RELU, tiles)
            self._activate(line, end - h)

    cdef void _pooled_lines(self, const Pass *p, Py_ssize_t i, const char *x, Py_ssize_t d, Py_ssize_t first,
                            Py_ssize_t end, char *y, Py_ssize_t tiles) noexcept nogil:
        cdef:
            const Windows *w = &self.pool.w
            char *scratch = p.scratch + self.scratch_offset
            Clip clip = self.pool.clip_at(scratch + self.clip_offset)
            uint8_t *index = NULL
            Py_ssize_t d0, d1, h0, h1, slice_, h, values = self.y.size[2] * self.n_filters
        # The box: what the windows of these lines see of the map before pooling.
        d0 = max(0, d * w.stride[0] - w.before[0])
        d1 = min(self.out[0], d * w.stride[0] - w.before[0]
                 + (w.kernel[0] - 1) * w.dilation[0] + 1)
        h0 = max(0, first * w.stride[1] - w.before[1])
        h1 = min(self.out[1], (end - 1) * w.stride[1] - w.before[1]
                 + (w.kernel[1] - 1) * w.dilation[1] + 1)
        for slice_ in range(d0, d1):
            self._convolve(p, x, slice_, h0, h1 - h0, scratch + (slice_ - d0) * self.box_slice * self.itemsize, False,
                           tiles)
        if p.keep:
            index = (<uint8_t *> p.maps + self.index_origin + (p.place + i) * self.index_sample
                     + (d * self.y.size[1] + first) * values)
        for h in range(first, end):
            self.k.max_pool_line(w, d, h, scratch, d0, h0, y, index, NULL, &clip)
            y += self.y.line_stride * self.itemsize
            if index != NULL:
                index += values
