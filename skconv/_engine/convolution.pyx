"""Convolution, bias, activation and max pooling in one pass.

    z[o, f] = bias[f] + sum_{tap k, channel c} x[o * stride + k * dilation - pad, c] * w[k, c, f]
    y[p, f] = max over the window of p of act(z[., f])           (pooling before a monotone activation is the same)

Forward: a unit is a few output lines of one depth slice.  Without pooling, units are products straight into the output,
several at a time; with pooling the lines under one are computed into a box of scratch that stays in the first-level
cache, pooled from there, and only the pooled line is stored and activated.  The activations before exist nowhere.

Backward keeps of the forward pass: y, and one uint8 per pooled value (which tap won).  For a few samples at a time:

    dz = pooled gradient * act'(y), put where the maximum was, with a margin of zeros          (per line)
    dw[k, c, f] += sum_{sample, o} x[o * stride + k * dilation - pad, c] * dz[o, f]            (one product)
    dx[i, c] = sum_{k, f} dz[(i + pad - k * dilation) / stride, f] * w[k, c, f]                (input_gradient.pyx)

Input maps carry the zero padding as a margin, so no loop has edge cases.

Where filters fall into groups that see channels of their own, every product is one per group, on other columns; where
every filter sees one channel and every channel has one filter, it is one product column by column (depthwise).

3x3 and 5x5 kernels with many channels run all three by Winograd's algorithm (winograd.pyx), where the plan says so.
Where few filters, or few channels of dx, leave most of a vector empty, several pixels share one (side_by_side.pyx).
1x1 kernels with small weights go through all pixels that follow each other without a gap (rows.h), and have gradients
of their own (one_by_one.pyx). Short rows of taps stay in registers (lines.pyx), or taps on the margin are left out
(clipping.pyx).
"""
from libc.stdint cimport int32_t, uint8_t
from libc.string cimport memset

from .clipping import clipping, clipping_of_lines
from .clipping cimport Clipped, ClippedLines
from .input_gradient import phases_of_axis
from .input_gradient cimport InputGradient
from .layer cimport Layer, Pass, Tables, keep_masked, round_up
from .lines import forward_lines
from .lines cimport LineByLine
from .margins import kernel_rows_inside
from .one_by_one cimport OneByOneGradients
from .rows cimport are_rows, samples_follow
from .side_by_side cimport SideBySide, SideBySideGradient, pixels_per_vector
from .table cimport ADD_TO_RESULT, IDENTITY, RELU, START_AT_BIAS, START_AT_ZERO, Clip, Multiply, Product, Run, Windows
from .windows cimport PoolWindows
from .winograd cimport Winograd, WinogradGradient, tile_side

# Pixels per block of lines: enough for a dozen register tiles, few enough that 64 channels stay in 64 KiB.
cdef enum:
    BLOCK_PIXELS = 256
    UNIT_PIXELS = 64        # per unit: what threads share of a sample
    MAX_DZ = 384 * 1024     # bytes of gradients of several samples, where the input's wants more than one
    FETCHED_BYTES = 1 << 19     # of x at most: a quarter of a second cache of 2 MiB
    BLOCK_TILES = 32        # Winograd: three register tiles of rows; planes of 64 channels take 590 KiB


cdef class Convolution(Layer):
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
    connections : bool array of shape (n_channels, n_filters) or None
        Weights of pairs that are not connected are zero, and so is made their gradient; for one group.
    activation : Activation
        Monotone, so that its derivative follows from its value.
    pool : window of a max pooling of at most 255 taps, or None
    index_origin, index_sample : int
        Where the winning taps lie in the storage of activations, and how far samples are apart, in bytes.
    max_samples : int
        Samples per backward call at most; 0 where no backward pass will follow.
    learns : bool
        Whether the backward pass computes the weights' gradient.
    is_winograd : bool
        Whether to use Winograd's algorithm; x must then have a margin for whole tiles.
    shares_vectors : bool
        Whether neighbouring pixels may share vectors, and what is not finite then reach a pixel's neighbours.
    """

    cdef:
        Py_ssize_t n_filters
        Py_ssize_t n_taps
        Py_ssize_t n_products               # products in place of one: the groups, but one where depthwise
        Py_ssize_t group_channels           # channels that a filter sees
        Py_ssize_t group_filters            # filters that see a channel
        bint is_depthwise
        Multiply multiply                   # the kernel of all products
        Py_ssize_t depth                    # terms of one sum: taps * channels
        Py_ssize_t[3] kernel
        Py_ssize_t[3] stride
        Py_ssize_t[3] dilation
        Py_ssize_t[3] before
        Py_ssize_t[3] out
        int activation
        bint learns
        bint is_winograd
        bint shares_vectors
        bint is_rows                        # whether pixels and weights are what rows.h wants
        Clipped clipped                     # for z of several samples, or None
        ClippedLines clipped_lines          # for lines of z, or None
        LineByLine by_lines                 # for z, or None
        SideBySide beside                   # for z, or None
        SideBySideGradient beside_dw
        Py_ssize_t beside_offset            # of its sums, in scratch
        Winograd winograd                   # for z
        Winograd winograd_dx
        WinogradGradient winograd_dw
        Py_ssize_t winograd_offset
        Py_ssize_t n_grouped                # samples whose tiles share a product, forward
        Py_ssize_t grouped_lines            # of z that each of them has
        Py_ssize_t sums_offset              # of the weights' gradient, transformed
        PoolWindows pool                    # over the box of scratch
        PoolWindows unpool                  # over dz
        Py_ssize_t index_origin
        Py_ssize_t index_sample
        Tables tables
        Py_ssize_t *x_terms                 # where the terms of one sum lie in x
        # forward
        Product forward_product
        Py_ssize_t columns                  # of it
        Py_ssize_t block                    # output lines per product, whole units
        Py_ssize_t unit                     # output lines per unit
        Py_ssize_t n_blocks                 # units per depth slice
        Py_ssize_t *x_rows
        Py_ssize_t *c_rows
        Py_ssize_t box_pixel                # elements from one pixel of the box to the next
        Py_ssize_t box_slice                # ... and from one depth slice
        Py_ssize_t clip_offset
        # backward
        Py_ssize_t n_together               # samples per product of the weights' gradient
        Py_ssize_t[3] dz_margin
        Py_ssize_t dz_depth                 # elements
        Py_ssize_t dz_line                  # elements
        Py_ssize_t dz_sample                # bytes
        Py_ssize_t line_offset
        Py_ssize_t dz_offset
        Product weight_product
        Py_ssize_t weight_block             # lines per product
        Py_ssize_t *gradient_rows
        int32_t *mask                       # (n_channels, n_filters): all bits where connected, or NULL
        InputGradient by_phases             # unless Winograd's
        OneByOneGradients one_by_one        # in place of both products, or None
        bint reads_dy                       # dz is the gradient by the output, where it lies
        char *packed                        # weights of every tap, transposed

    def __init__(self, kernels, x, y, *, window, out, activation, pool=None, index_origin=0, index_sample=0,
                 max_samples=0, groups=1, connections=None, learns=True, is_winograd=False, shares_vectors=False,
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
        self.learns = learns
        self.is_winograd = is_winograd
        self.shares_vectors = (shares_vectors and not (is_winograd or self.is_depthwise) and self.n_products == 1
                               and self.stride[2] == self.dilation[2] == 1)
        self.tables = Tables()
        self._build_forward(pool)
        if max_samples > 0:
            self._build_backward(pool, max_samples)
        if connections is not None:
            self.mask = self.tables.masks(connections, self.itemsize // 4)

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
        n_pixels = self._pixels_per_vector(self.n_filters, self.x.channels, self.out[2])
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
            self.box_pixel = (self.n_filters if n_pixels > 1 else
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
        if self.beside is None and not self.is_depthwise and not self.is_winograd:
            window |= dict(n_groups=self.n_products, n_channels=self.group_channels, n_filters=self.group_filters,
                           x_lines=(self.x.depth_stride, self.x.line_stride))
            if pool is None:
                self.clipped = clipping(self._kernels, y_lines=(self.y.depth_stride, line), **window)
            if self.clipped is None:
                self.by_lines = forward_lines(self._kernels, n_columns=self.columns, y_pixel=pixel, y_line=line,
                                              **window)
            if self.by_lines is None:
                self.clipped_lines = clipping_of_lines(**window)
        self.unit = self.block
        if pool is None and not self.is_winograd:
            self.unit = max(1, min(self.block, UNIT_PIXELS // self.out[2]))
            self.block -= self.block % self.unit
        self.n_blocks = (self.y.size[1] + self.unit - 1) // self.unit
        self.n_units = self.y.size[0] * self.n_blocks
        self.n_grouped = 1
        if self.is_winograd:
            side = tile_side(self.kernel[2])
            if self.n_units == self.out[0] == 1:
                self.n_grouped = max(1, BLOCK_TILES // (-(-lines // side) * -(-self.out[2] // side)))
                self.grouped_lines = lines
            self.winograd = Winograd(self._kernels, kernel=self.kernel[2], n_channels=self.x.channels,
                                     n_filters=self.n_filters, line=self.x.line_stride, width=self.out[2],
                                     max_lines=lines, n_together=self.n_grouped)
            self.winograd_offset = self.scratch_size
            self.scratch_size += self.winograd.scratch_size

    def _is_dense(self):
        """Whether every pixel sees one pixel, in their order, and all its channels."""
        return (self.n_products == 1 and not (self.is_winograd or self.is_depthwise)
                and all(self.stride[axis] == 1 and self.before[axis] == 0 and self.x.size[axis] == self.out[axis]
                        for axis in range(3))
                and self.x.line_stride == self.x.size[2] * self.x.channels
                and self.x.depth_stride == self.x.size[1] * self.x.line_stride)

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
            side = tile_side(self.kernel[2])
            return side * max(1, BLOCK_TILES // ((width + side - 1) // side))
        return max(1, BLOCK_PIXELS // width)

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

    def _build_backward(self, pool, Py_ssize_t max_samples):
        cdef:
            int axis
            Py_ssize_t line, i, k, m = 0
            Run *runs
        axes = [phases_of_axis(self.x.size[axis], self.kernel[axis], self.stride[axis], self.dilation[axis],
                               self.before[axis]) for axis in range(3)]
        extent = []
        for axis in range(3):
            margins = [(shift - dz_first, dz_first + n - shift - self.out[axis])
                       for _, n, dz_first, taps in axes[axis] for _, shift in taps] if self.needs_dx else []
            self.dz_margin[axis] = max(0, max([before for before, _ in margins], default=0))
            after = max(0, max([after for _, after in margins], default=0))
            # The last of Winograd's tiles may end behind the last line and pixel of dx.
            after += tile_side(self.kernel[2]) - 1 if self.is_winograd and axis > 0 else 0
            extent.append(self.dz_margin[axis] + self.out[axis] + after)
        self.dz_line = extent[2] * self.n_filters
        self.dz_depth = extent[1] * self.dz_line
        self.dz_sample = round_up(extent[0] * self.dz_depth * self.itemsize)
        if pool is not None:
            self.unpool = self._windows(pool, self.dz_depth, self.dz_line, self.n_filters)
        # A product over few pixels spends its time on loading and storing the gradient: gather samples.
        self.n_together = max(1, BLOCK_PIXELS // (self.out[0] * self.out[1] * self.out[2]))
        if self.needs_dx and not self.is_winograd:
            self.by_phases = InputGradient(
                self._kernels, axes=axes, size=self.x.size, out=self.out, kernel=self.kernel, stride=self.stride,
                n_channels=self.x.channels, n_filters=self.n_filters, n_products=self.n_products,
                group_channels=self.group_channels, group_filters=self.group_filters, is_depthwise=self.is_depthwise,
                dz_depth=self.dz_depth, dz_line=self.dz_line,
                n_pixels=self._pixels_per_vector(self.x.channels, self.n_filters, self.x.size[2]))
            if self.by_phases.clipped is not None:
                self.n_together = max(self.n_together, min(self.by_phases.clipped.least, MAX_DZ // self.dz_sample))
        self.n_together = min(self.n_together, max_samples)
        if self.needs_dx and self.is_winograd:
            self.winograd_dx = Winograd(self._kernels, kernel=self.kernel[2], n_channels=self.n_filters,
                                        n_filters=self.x.channels, line=self.dz_line, width=self.x.size[2],
                                        max_lines=min(self._lines_per_block(self.x.size[2]), self.x.size[1]),
                                        n_together=self.n_together)
            self.scratch_size = max(self.scratch_size, self.winograd_offset + self.winograd_dx.scratch_size)
        if self.learns and self.is_winograd:
            self.winograd_dw = WinogradGradient(self._kernels, kernel=self.kernel[2], n_channels=self.x.channels,
                                                n_filters=self.n_filters, x_line=self.x.line_stride,
                                                dz_line=self.dz_line, height=self.out[1], width=self.out[2],
                                                n_together=self.n_together)
            self.scratch_size = max(self.scratch_size, self.winograd_offset + self.winograd_dw.scratch_size)
            self.sums_offset = self.scratch_size
            self.scratch_size += self.winograd_dw.sums_size
        margins = any(self.dz_margin[axis] > 0 or extent[axis] > self.out[axis] for axis in range(3))
        self.reads_dy = not (margins or self.is_winograd or self.is_depthwise or pool is not None
                             or self.activation != IDENTITY)
        if self.reads_dy:
            self.dz_sample = self.y.values * self.itemsize
        self.line_offset = self.scratch_size
        self.dz_offset = self.line_offset + round_up(self.y.size[2] * self.n_filters * self.itemsize)
        self.scratch_size = self.dz_offset + round_up(self.n_together * self.dz_sample + 64 * self.itemsize)

        self.weight_block = max(1, min(self.out[1], 2 * BLOCK_PIXELS // self.out[2]))
        # A line of output pixels is one run. Where samples are gathered, a block is all lines of a slice.
        runs = self.tables.runs(self.n_together * self.weight_block)
        for i in range(self.n_together):
            for line in range(self.weight_block):
                runs[m].a = i * (self.x.sample // self.itemsize) + line * self.stride[1] * self.x.line_stride
                runs[m].b = i * (self.dz_sample // self.itemsize) + line * self.dz_line
                m += 1
        self.weight_product = Product(runs, m, self.out[2], self.stride[2] * self.x.channels, self.n_filters)
        n_pixels = self._pixels_per_vector(self.n_filters, 0, self.out[2], True) if self.learns else 1
        if self.n_taps == 1 and not margins and self._is_dense():
            self.one_by_one = OneByOneGradients(
                self._kernels, n_channels=self.x.channels, n_filters=self.n_filters,
                n_pixels=self.out[0] * self.out[1] * self.out[2], shares_vectors=self.shares_vectors)
            self.by_phases = None
            self.beside_offset = self.scratch_size
            self.scratch_size += self.one_by_one.sums_size
        elif n_pixels > 1:
            self.beside_dw = SideBySideGradient(
                self._kernels, n_pixels=n_pixels, row_offsets=self._kernel_rows(), kernel=self.kernel[2],
                depth=self.x.channels, n_filters=self.n_filters, width=self.out[2])
            self.beside_offset = self.scratch_size
            self.scratch_size += self.beside_dw.sums_size
        self.gradient_rows = self.tables.sizes(self.depth)
        for k in range(self.depth):
            self.gradient_rows[k] = k * self.n_filters
        if self.needs_dx:
            self.packed = self.tables.bytes((self.depth * self.n_filters + 64) * self.itemsize)

    cdef void prepare(self, bint backward) noexcept nogil:
        cdef Py_ssize_t tap, size = self.group_channels * self.n_filters * self.itemsize
        if self.is_winograd:
            self.winograd.prepare(self.weights, False)
        if self.beside is not None:
            self.beside.prepare(self.weights, self.bias, False)
        if not backward or self.packed == NULL:
            return
        for tap in range(self.n_taps):
            self.k.transpose(self.weights + tap * size, self.group_channels, self.n_filters, self.n_filters,
                             self.packed + tap * size)
        if self.is_winograd:
            self.winograd_dx.prepare(self.packed, True)
        elif self.one_by_one is not None:
            self.one_by_one.prepare(self.weights, self.packed)
        else:
            self.by_phases.prepare(self.packed)

    cdef Py_ssize_t _first_seen(self, Py_ssize_t d, Py_ssize_t h) noexcept nogil:
        """Where in x, in elements, lies what the first tap of the first pixel of line h of depth slice d sees."""
        return ((d * self.stride[0] - self.before[0]) * self.x.depth_stride
                + (h * self.stride[1] - self.before[1]) * self.x.line_stride - self.before[2] * self.x.channels)

    cdef void _convolve(self, const Pass *p, const char *x, Py_ssize_t d, Py_ssize_t h, Py_ssize_t lines, char *c,
                        bint relu, Py_ssize_t tiles) noexcept nogil:
        """Lines h to h + lines of depth slice d, before pooling; tiles: the first of those that are multiplied already,
        or -1."""
        cdef:
            Py_ssize_t at = self._first_seen(d, h), g, f, n
            Py_ssize_t c_line = self.y.line_stride if self.pool is None else self.out[2] * self.box_pixel
            char *planes = p.scratch + self.scratch_offset + self.winograd_offset
            const Product *product
        if self.is_winograd:
            if tiles < 0:
                tiles = 0
                self.winograd.load(x + at * self.itemsize, lines, 0, planes)
                self.winograd.multiply(self.winograd.n_tiles(lines), planes)
            self.winograd.store(tiles, lines, self.bias, c, c_line,
                                self.n_filters if self.pool is None else self.box_pixel, relu, planes)
            return
        if self.is_rows:
            self.k.rows(x + at * self.itemsize, lines * self.out[2], self.depth, self.weights, self.n_filters,
                        self.bias, relu, c, 0)
            return
        if self.beside is not None:
            self.beside.run(x + at * self.itemsize, h, lines, c, relu)
            return
        if self.by_lines is not None:
            self.by_lines.run(x + at * self.itemsize, h, lines, self.weights, self.bias, c, relu)
            return
        while lines > 0:
            n, product = lines, &self.forward_product
            if self.clipped_lines is not None:
                n, product = self.clipped_lines.n_alike(h, lines), self.clipped_lines.at(d, h)
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
        cdef Py_ssize_t i, d
        if self.is_rows and self.activation in (IDENTITY, RELU) and samples_follow(self, p):
            if not self.k.rows(self.input(p, 0), p.n * self.x.values // self.depth, self.depth, self.weights,
                               self.n_filters, self.bias, self.activation == RELU, self.output(p, 0), p.largest):
                p.is_finite[0] = False
            return
        if self.n_grouped > 1:
            self._forward_grouped(p)
            return
        if self.clipped is None or p.n < self.clipped.least:
            Layer.forward(self, p)
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
        # Samples of few tiles share a product, so that it fills its register tiles and reads the weights less often.
        tiles = self.winograd.n_tiles(self.grouped_lines)
        while first < p.n:
            n = min(self.n_grouped, p.n - first)
            for i in range(n):
                self.winograd.load(self.input(p, first + i) + self._first_seen(0, 0) * self.itemsize,
                                   self.grouped_lines, i * tiles, planes)
            self.winograd.multiply(n * tiles, planes)
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
            Py_ssize_t d, h, end, unit = first
        while unit < last:
            d, h = unit // self.n_blocks, unit % self.n_blocks * self.unit
            unit += min(self.block // self.unit, min(last - unit, self.n_blocks - unit % self.n_blocks))
            end = min((unit - d * self.n_blocks) * self.unit, self.y.size[1])
            line = y + (d * self.y.depth_stride + h * self.y.line_stride) * self.itemsize
            if self.pool is not None:
                self._pooled_lines(p, i, x, d, h, end, line, tiles)
            else:
                self._convolve(p, x, d, h, end - h, line, self.activation == RELU, tiles)
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

    cdef void backward(self, const Pass *p) noexcept nogil:
        cdef:
            char *dz = p.scratch + self.scratch_offset + self.dz_offset + (
                (self.dz_margin[0] * self.dz_depth + self.dz_margin[1] * self.dz_line
                 + self.dz_margin[2] * self.n_filters) * self.itemsize)
            char *gradient = p.gradients + self.gradient_offset if self.learns else NULL
            Py_ssize_t first, i, n, fetched = self.x.size[0] * self.x.depth_stride * self.itemsize
        if not self.learns and p.dx == NULL:
            return
        fetched = fetched // 64 if self.learns and not self.x.is_data and fetched <= FETCHED_BYTES else 0
        if self.one_by_one is not None:
            self.one_by_one.begin(p.scratch + self.scratch_offset + self.beside_offset)
        if self.beside_dw is not None:
            memset(p.scratch + self.scratch_offset + self.beside_offset, 0, self.beside_dw.sums_size)
        first = 0
        while first < p.n:
            n = min(self.n_together, p.n - first)
            if self.reads_dy:
                dz = p.dy + first * self.dz_sample
            for i in range(0 if self.reads_dy else n):
                self._before_activation(p, first + i, dz + i * self.dz_sample)
            if self.one_by_one is not None:
                for i in range(n):
                    self.one_by_one.run(self.input(p, first + i), dz + i * self.dz_sample, self.packed, gradient,
                                        NULL if self.bias == NULL else p.gradients + self.bias_offset,
                                        p.scratch + self.scratch_offset + self.beside_offset,
                                        NULL if p.dx == NULL else p.dx + (first + i) * p.dx_sample)
                first += n
                continue
            if self.learns and self.is_winograd:
                self._weights_gradient_by_tiles(p, first, n, dz)
            if p.dx != NULL and self.is_winograd:
                self._input_gradient_by_tiles(p, n, p.dx + first * p.dx_sample, dz)
            elif p.dx != NULL:
                self.by_phases.run(p.dx + first * p.dx_sample, p.dx_sample, dz, self.dz_sample, n, self.packed,
                                   self.input(p, first), self.x.sample, fetched)
            # After the input's gradient, which has fetched x from where the forward pass of the mini-batch left it.
            if self.learns and not self.is_winograd:
                self._weights_gradient(p, first, n, dz)
            first += self.n_together
        if self.one_by_one is not None and self.learns:
            self.one_by_one.finish(p.scratch + self.scratch_offset + self.beside_offset, gradient)
        if self.beside_dw is not None:
            self.beside_dw.finish(p.scratch + self.scratch_offset + self.beside_offset, gradient)
        if self.learns and self.is_winograd:
            self.winograd_dw.finish(p.scratch + self.scratch_offset + self.sums_offset, gradient)
        if self.learns and self.mask != NULL:
            keep_masked(<int32_t *> gradient, self.mask, self.x.channels * self.n_filters * self.itemsize // 4,
                        self.n_taps)

    cdef void _before_activation(self, const Pass *p, Py_ssize_t i, char *dz) noexcept nogil:
        """dz of one sample from the gradient of its output."""
        cdef:
            const char *y = self.output(p, i)
            const char *y_line
            const char *dy = p.dy + i * p.dy_sample
            char *scratch = p.scratch + self.scratch_offset
            char *line = scratch + self.line_offset
            const uint8_t *index
            Clip clip
            Py_ssize_t d, h, values = self.y.size[2] * self.n_filters
        if self.pool is not None:
            clip = self.pool.clip_at(scratch + self.clip_offset)
            index = <const uint8_t *> p.maps + self.index_origin + (p.place + i) * self.index_sample
            if self.unpool.w.overlapping:
                for d in range(self.out[0]):
                    for h in range(self.out[1]):
                        memset(dz + (d * self.dz_depth + h * self.dz_line) * self.itemsize, 0,
                               self.out[2] * self.n_filters * self.itemsize)
        for d in range(self.y.size[0]):
            for h in range(self.y.size[1]):
                y_line = y + (d * self.y.depth_stride + h * self.y.line_stride) * self.itemsize
                if self.pool is None:
                    self.k.activation_gradient(self.activation, y_line, dy,
                                               dz + (d * self.dz_depth + h * self.dz_line) * self.itemsize, values)
                else:
                    self.k.activation_gradient(self.activation, y_line, dy, line, values)
                    self.k.max_unpool_line(&self.unpool.w, d, h, line, index, NULL, dz, &clip)
                    index += values
                dy += values * self.itemsize

    cdef void _weights_gradient(self, const Pass *p, Py_ssize_t first, Py_ssize_t n, const char *dz) noexcept nogil:
        cdef:
            const char *x = self.input(p, first)
            const char *dz_line
            Product product = self.weight_product
            Py_ssize_t d, h, lines, i, line, at, g, f, rest, done = 0
        for d in range(self.out[0]):
            h = 0
            while h < self.out[1]:
                lines = min(self.weight_block, self.out[1] - h)
                product.n_runs = n * lines
                at = self._first_seen(d, h)
                dz_line = dz + (d * self.dz_depth + h * self.dz_line) * self.itemsize
                if self.beside_dw is not None:
                    self.beside_dw.add(&product, x + at * self.itemsize, dz_line,
                                       p.scratch + self.scratch_offset + self.beside_offset)
                    done = self.beside_dw.done
                    product.length = self.out[2] - done
                    at += done * self.x.channels
                for g in range(self.n_products if done < self.out[2] else 0):
                    f = g * self.group_filters * self.itemsize
                    self.multiply(&product, self.depth, self.n_filters // self.n_products,
                                  x + (at + g * self.group_channels) * self.itemsize, self.x_terms,
                                  dz_line + f + done * self.n_filters * self.itemsize,
                                  ADD_TO_RESULT, NULL, p.gradients + self.gradient_offset + f, self.gradient_rows,
                                  False)
                if self.bias != NULL:
                    rest = 1 if self.dz_line == self.out[2] * self.n_filters else lines
                    for i in range(n):
                        for line in range(rest):
                            self.k.column_sums(dz_line + i * self.dz_sample + line * self.dz_line * self.itemsize,
                                               lines // rest * self.out[2], self.n_filters, self.n_filters,
                                               p.gradients + self.bias_offset)
                h += self.weight_block

    cdef void _weights_gradient_by_tiles(self, const Pass *p, Py_ssize_t first, Py_ssize_t n,
                                         const char *dz) noexcept nogil:
        cdef:
            const char *x = self.input(p, first)
            char *scratch = p.scratch + self.scratch_offset
            Py_ssize_t d, at
        for d in range(self.out[0]):
            at = self._first_seen(d, 0)
            self.winograd_dw.add(x + at * self.itemsize, self.x.sample, dz + d * self.dz_depth * self.itemsize,
                                 self.dz_sample, n, first == 0 and d == 0, scratch + self.winograd_offset,
                                 scratch + self.sums_offset,
                                 NULL if self.bias == NULL else p.gradients + self.bias_offset)

    cdef void _input_gradient_by_tiles(self, const Pass *p, Py_ssize_t n, char *dx, const char *dz) noexcept nogil:
        """The correlation of dz with the kernel turned by half a circle, by Winograd's algorithm; of n samples."""
        cdef Py_ssize_t d, at, line = self.x.size[2] * self.x.channels
        for d in range(self.x.size[0]):
            at = ((d + self.before[0]) * self.dz_depth + (self.before[1] - self.kernel[1] + 1) * self.dz_line
                  + (self.before[2] - self.kernel[2] + 1) * self.n_filters)
            self.winograd_dx.run(dz + at * self.itemsize, self.dz_sample, n, self.x.size[1],
                                 dx + d * self.x.size[1] * line * self.itemsize, p.dx_sample, line, self.x.channels,
                                 p.scratch + self.scratch_offset + self.winograd_offset)
