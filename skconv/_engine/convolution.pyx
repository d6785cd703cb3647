"""Convolution, bias, activation and max pooling, forward (convolution_forward.pyx) and backward.

Backward keeps of the forward pass: y, and one uint8 per pooled value (which tap won).  For a few samples at a time:

    dz = pooled gradient * act'(y), put where the maximum was, with a margin of zeros          (per line)
    dw[k, c, f] += sum_{sample, o} x[o * stride + k * dilation - pad, c] * dz[o, f]            (one product)
    dx[i, c] = sum_{k, f} dz[(i + pad - k * dilation) / stride, f] * w[k, c, f]                (input_gradient.pyx)

3x3 and 5x5 kernels of 16 channels that Winograd's algorithm computes have both gradients by it, too (winograd.pyx),
those of 5 and 7 rows the input's along one axis (winograd_lines.pyx), and 1x1 kernels have some of their own
(one_by_one.pyx).  Where few filters leave most of a vector empty, several pixels share one (side_by_side.pyx).  The
weights' gradient of 3, 5 or 7 taps a row goes by lines (slopes.h), and of several samples whose taps fall on the margin
by products that leave these out (clipping.pyx).
"""
from libc.stdint cimport int32_t, uint8_t
from libc.string cimport memset

from .clipping import clipping_of_weights
from .clipping cimport ClippedGradient
from .convolution_forward cimport BLOCK_PIXELS, ForwardConvolution
from .input_gradient import phases_of_axis
from .input_gradient cimport InputGradient
from .layer cimport SHARED_WORK, Pass, keep_masked, round_up
from .lines import leaves_out_margins, margins_of_line
from .margins import kernel_rows_inside, positions_inside
from .one_by_one cimport OneByOneGradients
from .side_by_side cimport SideBySideGradient
from .table cimport ADD_TO_RESULT, IDENTITY, Clip, Product, Run
from .windows cimport PoolWindows
from .winograd cimport TILE_SIDE, Winograd, WinogradGradient

cdef enum:
    MAX_DZ = 384 * 1024     # bytes of gradients of several samples, where the input's wants more than one
    FETCHED_BYTES = 1 << 19     # of x at most: a quarter of a second cache of 2 MiB
    ALONE_BYTES = 96 * 1024     # of a map that eight samples would push out of a second cache of 2 MiB
    ALONE_WEIGHTS = 256 * 1024  # at most: they are read for every sample
    SLOPE_PIXELS = 128          # of dz, two vectors of which then take a third of the first cache
    SLOPE_CHANNELS = 6          # with fewer, which fill no register tile, rows of the kernel share tiles
    SLOPE_ROWS = 16             # of the kernel at most that leave out lines


cdef struct Together:
    # Samples that go back together, and their dz.
    Py_ssize_t first
    Py_ssize_t n
    char *dz
    Py_ssize_t n_dw         # parts of the weights' gradient, and of the input's
    Py_ssize_t n_dx


cdef class Convolution(ForwardConvolution):
    """See the head of the file.

    Parameters
    ----------
    kernels, x, y, window, out, activation, pool, index_origin, index_sample, groups, is_winograd, shares_vectors, ...
        As for ForwardConvolution.
    connections : bool array of shape (n_channels, n_filters) or None
        Weights of pairs that are not connected are zero, and so is made their gradient; for one group.
    back_by_winograd_lines : bool
        Whether to use Winograd's algorithm down the image for the input's gradient.
    max_samples : int
        Samples per backward call at most; 0 where no backward pass will follow.
    learns : bool
        Whether the backward pass computes the weights' gradient.
    """

    cdef:
        bint learns
        bint back_by_winograd_lines         # the input's gradient, in place of winograd_dx where there would be one
        SideBySideGradient beside_dw
        ClippedGradient clipped_dw          # or None
        Py_ssize_t beside_offset            # of its sums, in scratch
        Winograd winograd_dx
        WinogradGradient winograd_dw
        Py_ssize_t dx_offset                # of what by_phases wants, in scratch
        Py_ssize_t sums_offset              # of the weights' gradient, transformed
        PoolWindows unpool                  # over dz
        Py_ssize_t n_together               # samples whose dz are there at a time
        Py_ssize_t n_gathered               # of these per product of the weights' gradient
        Py_ssize_t[3] dz_margin
        Py_ssize_t dz_depth                 # elements
        Py_ssize_t dz_line                  # elements
        Py_ssize_t dz_sample                # bytes
        Py_ssize_t line_offset
        Py_ssize_t dz_offset
        Product weight_product
        Py_ssize_t weight_block             # lines per product
        Py_ssize_t *gradient_rows
        Py_ssize_t slope_columns            # filters whose gradient goes by slopes.h
        Py_ssize_t n_slopes                 # rows of the kernel times channels: what its first tap sees
        Py_ssize_t *slope_terms             # (n_slopes,) in x
        Py_ssize_t *slope_rows              # (n_slopes,) in the gradient
        Run *slope_lines                    # (blocks, rows of the kernel) lines on which these see the image, or NULL
        Run *slope_runs                     # (rows of the kernel, gathered samples * lines), or NULL
        bint[2] slope_margins               # as of LineByLine
        int32_t *mask                       # (n_channels, n_filters): all bits where connected, or NULL
        InputGradient by_phases             # unless Winograd's
        OneByOneGradients one_by_one        # in place of both products, or None
        Py_ssize_t n_kernel_rows
        bint reads_dy                       # dz is the gradient by the output, where it lies
        char *packed                        # weights of every tap, transposed

    def __init__(self, kernels, x, y, *, window, out, activation, pool=None, index_origin=0, index_sample=0,
                 max_samples=0, groups=1, connections=None, learns=True, is_winograd=False, by_winograd_lines=False,
                 is_one_channel=False, back_by_winograd_lines=False, shares_vectors=False, is_output=False,
                 needs_dx=True):
        super().__init__(kernels, x, y, window=window, out=out, activation=activation, pool=pool,
                         index_origin=index_origin, index_sample=index_sample, groups=groups, is_winograd=is_winograd,
                         by_winograd_lines=by_winograd_lines, is_one_channel=is_one_channel,
                         shares_vectors=shares_vectors, is_output=is_output, needs_dx=needs_dx)
        self.learns = learns
        self.back_by_winograd_lines = back_by_winograd_lines
        self.needs_input_only = pool is None and activation == IDENTITY
        if max_samples > 0:
            self._build_backward(pool, max_samples)
        if connections is not None:
            self.mask = self.tables.masks(connections, self.itemsize // 4)

    def _is_dense(self):
        """Whether every pixel sees one pixel, in their order, and all its channels."""
        return (self.n_products == 1 and not (self.is_winograd or self.is_depthwise)
                and all(self.stride[axis] == 1 and self.before[axis] == 0 and self.x.size[axis] == self.out[axis]
                        for axis in range(3))
                and self.x.line_stride == self.x.size[2] * self.x.channels
                and self.x.depth_stride == self.x.size[1] * self.x.line_stride)

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
            after += TILE_SIDE - 1 if self.has_winograd_gradients and axis > 0 else 0
            if self.back_by_winograd_lines and axis == 1:   # seven rows see one line more
                after += (TILE_SIDE - self.x.size[1] % TILE_SIDE) % TILE_SIDE + (self.kernel[1] == 7)
            extent.append(self.dz_margin[axis] + self.out[axis] + after)
        self.dz_line = extent[2] * self.n_filters
        self.dz_depth = extent[1] * self.dz_line
        self.dz_sample = round_up(extent[0] * self.dz_depth * self.itemsize)
        if pool is not None:
            self.unpool = self._windows(pool, self.dz_depth, self.dz_line, self.n_filters)
        # A product over few pixels spends its time on loading and storing the gradient: gather samples.
        self.n_together = max(1, BLOCK_PIXELS // (self.out[0] * self.out[1] * self.out[2]))
        if self.needs_dx and (self.back_by_winograd_lines or not self.has_winograd_gradients):
            self.by_phases = InputGradient(
                self._kernels, axes=axes, size=self.x.size, out=self.out, kernel=self.kernel, stride=self.stride,
                n_channels=self.x.channels, n_filters=self.n_filters, n_products=self.n_products,
                group_channels=self.group_channels, group_filters=self.group_filters, is_depthwise=self.is_depthwise,
                dz_depth=self.dz_depth, dz_line=self.dz_line,
                n_pixels=self._pixels_per_vector(self.x.channels, self.n_filters, self.x.size[2]),
                by_winograd_lines=self.back_by_winograd_lines)
            self.dx_offset = self.scratch_size
            self.scratch_size += self.by_phases.scratch_size
            if self.by_phases.clipped is not None:
                self.n_together = max(self.n_together, min(self.by_phases.clipped.least, MAX_DZ // self.dz_sample))
        self.n_together = min(self.n_together, max_samples)
        if self.needs_dx and self.by_phases is None:
            self.winograd_dx = Winograd(self._kernels, kernel=self.kernel[2], n_channels=self.n_filters,
                                        n_filters=self.x.channels, line=self.dz_line, width=self.x.size[2],
                                        max_lines=min(self._lines_of_tiles(self.x.size[2]), self.x.size[1]),
                                        n_together=self.n_together)
            self.scratch_size = max(self.scratch_size, self.winograd_offset + self.winograd_dx.scratch_size)
        if self.learns and self.has_winograd_gradients:
            self.winograd_dw = WinogradGradient(self._kernels, kernel=self.kernel[2], n_channels=self.x.channels,
                                                n_filters=self.n_filters, x_line=self.x.line_stride,
                                                dz_line=self.dz_line, height=self.out[1], width=self.out[2],
                                                n_together=self.n_together)
            self.scratch_size = max(self.scratch_size, self.winograd_offset + self.winograd_dw.scratch_size)
            self.sums_offset = self.scratch_size
            self.scratch_size += self.winograd_dw.n_sums * self.winograd_dw.sums_size
        self.goes_alone = (
            self.n_together == self.n_grouped == 1 and self.n_taps > 1 and self.clipped is None
            and max(self.x.values, self.y.values) * self.itemsize >= ALONE_BYTES
            and self.depth * self.n_filters * self.itemsize * (4 if self.is_winograd else 1) <= ALONE_WEIGHTS)
        margins = any(self.dz_margin[axis] > 0 or extent[axis] > self.out[axis] for axis in range(3))
        self.reads_dy = not (margins or self.has_winograd_gradients or self.is_depthwise or pool is not None
                             or self.activation != IDENTITY)
        if self.reads_dy:
            self.dz_sample = self.y.values * self.itemsize
        self.line_offset = self.scratch_size
        self.dz_offset = self.line_offset + round_up(self.y.size[2] * self.n_filters * self.itemsize)
        self.scratch_size = self.dz_offset + round_up(self.n_together * self.dz_sample + 64 * self.itemsize)

        self.weight_block = max(1, min(self.out[1], 2 * BLOCK_PIXELS // self.out[2]))
        # A line of output pixels is one run. Samples are gathered where a block is all lines of a slice: a shorter last
        # block would need a table of its own.
        self.n_gathered = self.n_together if self.weight_block == self.out[1] else 1
        runs = self.tables.runs(self.n_gathered * self.weight_block)
        for i in range(self.n_gathered):
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
                depth=self.x.channels, n_filters=self.n_filters, width=self.out[2],
                kernel_rows=None if self.n_together > 1 or self.out[0] > 1 else kernel_rows_inside(
                    self.x.size, self.out, self.kernel, self.stride, self.dilation, self.before))
            self.beside_offset = self.scratch_size
            self.scratch_size += self.beside_dw.sums_size
        elif (self.learns and self.weight_block == self.out[1] and not self._slopes_leave_out_margins()
              and not (self.has_winograd_gradients or self.is_depthwise)):
            self.clipped_dw = clipping_of_weights(
                self._kernels, size=self.x.size, out=self.out, kernel=self.kernel, stride=self.stride,
                dilation=self.dilation, before=self.before, n_together=self.n_together, n_groups=self.n_products,
                n_channels=self.group_channels, n_filters=self.n_filters // self.n_products,
                x_lines=(self.x.sample // self.itemsize, self.x.depth_stride, self.x.line_stride),
                dz_lines=(self.dz_sample // self.itemsize, self.dz_depth, self.dz_line))
        self.n_kernel_rows = self.kernel[0] * self.kernel[1]
        self.gradient_rows = self.tables.sizes(self.depth)
        for k in range(self.depth):
            self.gradient_rows[k] = k * self.n_filters
        if (self.learns and n_pixels == 1 and self.clipped_dw is None and self._has_slopes()
                and (self.out[2] >= 2 * self.kernel[2] or self._slopes_leave_out_margins())):
            self._build_slopes()
        work = self.out[0] * self.out[1] * self.out[2] * self.depth * self.n_filters
        self.shares_forward |= work >= SHARED_WORK
        self.shares_backward = self.one_by_one is None and self.n_together * work >= SHARED_WORK
        if self.needs_dx:
            self.packed = self.tables.bytes((self.depth * self.n_filters + 64) * self.itemsize)

    def _has_slopes(self):
        """Whether slopes.h can compute the weights' gradient."""
        return (self.n_products == self.stride[2] == self.dilation[2] == 1 and self.kernel[2] in (3, 5, 7)
                and self.out[2] > self.kernel[2] and not (self.has_winograd_gradients or self.is_depthwise))

    def _slopes_leave_out_margins(self):
        """Whether slopes.h computes all of it, and no taps on the margin, with tiles that are full."""
        return (self._has_slopes() and self.kernel[0] == 1 and self.kernel[1] <= SLOPE_ROWS
                and self.x.channels >= SLOPE_CHANNELS
                and self.k.slope_columns(self.kernel[2], self.n_filters) == self.n_filters
                and leaves_out_margins(self.x.size, self.out, self.kernel, self.stride, self.dilation, self.before))

    def _build_slopes(self):
        """The weights' gradient by slopes.h, of as many filters as fill whole vectors."""
        cdef Py_ssize_t k, first, last, row, i, line
        self.slope_columns = self.k.slope_columns(self.kernel[2], self.n_filters)
        if self.slope_columns == 0:
            return
        if self.n_gathered == 1:
            self.weight_block = max(1, min(self.out[1], SLOPE_PIXELS // self.out[2]))
        self.slope_terms = self.tables.sizes(self.depth // self.kernel[2])
        self.slope_rows = self.tables.sizes(self.depth // self.kernel[2])
        for k in range(self.depth):
            if k // self.x.channels % self.kernel[2] == 0:
                self.slope_terms[self.n_slopes] = self.x_terms[k]
                self.slope_rows[self.n_slopes] = self.gradient_rows[k]
                self.n_slopes += 1
        self.slope_margins = margins_of_line(self.kernel[2], self.x.size[2], self.out[2], self.before[2])
        inside = kernel_rows_inside(self.x.size, self.out, self.kernel, self.stride, self.dilation, self.before)
        if inside is None or self.x.channels < SLOPE_CHANNELS or self.n_kernel_rows > SLOPE_ROWS:
            return
        self.slope_lines = self.tables.runs((self.out[1] + self.weight_block - 1) // self.weight_block
                                            * self.n_kernel_rows)
        k = 0
        for first in range(0, self.out[1], self.weight_block):
            last = min(first + self.weight_block, self.out[1])
            for seen in positions_inside(inside[first:last], self.n_kernel_rows):
                self.slope_lines[k].a, self.slope_lines[k].b = seen
                k += 1
        if self.n_gathered == 1:
            return
        k = self.n_gathered * self.weight_block
        self.slope_runs = self.tables.runs(self.n_kernel_rows * k)
        for row in range(self.n_kernel_rows):
            first, last = self.slope_lines[row].a, self.slope_lines[row].b
            for i in range(self.n_gathered):
                for line in range(first, last):
                    self.slope_runs[row * k + i * (last - first) + line - first] = (
                        self.weight_product.runs[i * self.weight_block + line])

    cdef void prepare(self, bint forward, bint backward) noexcept nogil:
        cdef Py_ssize_t tap, size = self.group_channels * self.n_filters * self.itemsize
        if forward:
            ForwardConvolution.prepare(self, True, backward)
        if not backward or self.packed == NULL:
            return
        for tap in range(self.n_taps):
            self.k.transpose(self.weights + tap * size, self.group_channels, self.n_filters, self.n_filters,
                             self.packed + tap * size)
        if self.winograd_dx is not None:
            self.winograd_dx.prepare(self.packed, True)
        elif self.one_by_one is not None:
            self.one_by_one.prepare(self.weights, self.packed)
        else:
            self.by_phases.prepare(self.packed)

    cdef void backward(self, const Pass *p) noexcept nogil:
        cdef:
            char *dz = p.scratch + self.scratch_offset + self.dz_offset + (
                (self.dz_margin[0] * self.dz_depth + self.dz_margin[1] * self.dz_line
                 + self.dz_margin[2] * self.n_filters) * self.itemsize)
            char *gradient = p.gradients + self.gradient_offset if self.learns else NULL
            Together together
            Py_ssize_t first, i, n, fetched = self.x.size[0] * self.x.depth_stride * self.itemsize
        if not self.learns and p.dx == NULL:
            return
        fetched = fetched // 64 if self.learns and not self.x.is_data and fetched <= FETCHED_BYTES else 0
        if self.one_by_one is not None:
            self.one_by_one.begin(p.scratch + self.scratch_offset + self.beside_offset)
        if self.beside_dw is not None and p.before == 0:
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
            together = Together(first, n, dz, 0, 0)
            if p.job != NULL and self.shares_backward:
                self._share_out(&together, p)
                self.share(p, &together, together.n_dw + together.n_dx)
                first += n
                continue
            if self.learns and self.has_winograd_gradients:
                for i in range(self._n_sums(p)):
                    self._weights_gradient_by_tiles(p, &together, i, p.scratch)
            if p.dx != NULL:
                self._input_gradient(p, &together, 0, 1, fetched, p.scratch)
            # After the input's gradient, which has fetched x from where the forward pass of the mini-batch left it.
            if self.learns and not self.has_winograd_gradients:
                self._weights_gradient(p, &together, 0, self.n_kernel_rows)
            first += self.n_together
        if self.one_by_one is not None and self.learns:
            self.one_by_one.finish(p.scratch + self.scratch_offset + self.beside_offset, gradient)
        if p.after > 0:
            return
        if self.beside_dw is not None:
            self.beside_dw.finish(p.scratch + self.scratch_offset + self.beside_offset, gradient)
        if self.learns and self.has_winograd_gradients:
            self.winograd_dw.finish(p.scratch + self.scratch_offset + self.sums_offset, self._n_sums(p), gradient,
                                    NULL if self.bias == NULL else p.gradients + self.bias_offset)
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

    # ---- parts ------------------------------------------------------------------------------------------------------

    cdef Py_ssize_t _n_sums(self, const Pass *p) noexcept nogil:
        """Into how many sums Winograd's weights' gradient goes: where a slot is one sample, threads may share it. This
        depends on the mini-batch, not on the threads."""
        return self.winograd_dw.n_sums if p.before + p.n + p.after == 1 else 1

    cdef void _share_out(self, Together *t, const Pass *p) noexcept nogil:
        """Into how many parts these samples' backward pass falls: rows of the kernel or sums, and lines."""
        if self.learns:
            t.n_dw = self._n_sums(p) if self.has_winograd_gradients else self.n_kernel_rows
        if p.dx != NULL and self.winograd_dx is not None:
            t.n_dx = (self.x.size[1] + self.winograd_dx.max_lines - 1) // self.winograd_dx.max_lines
        elif p.dx != NULL:
            t.n_dx = self.by_phases.n_parts(t.n)

    cdef void backward_part(self, const Pass *p, const void *work, Py_ssize_t part, char *scratch) noexcept nogil:
        cdef const Together *t = <const Together *> work
        if part >= t.n_dw:
            self._input_gradient(p, t, part - t.n_dw, t.n_dx, 0, scratch)
        elif self.has_winograd_gradients:
            self._weights_gradient_by_tiles(p, t, part, scratch)
        else:
            self._weights_gradient(p, t, part, part + 1)

    cdef void _input_gradient(self, const Pass *p, const Together *t, Py_ssize_t part, Py_ssize_t n_parts,
                              Py_ssize_t fetched, char *scratch) noexcept nogil:
        """Some lines of dx; of all samples, `fetched` cache lines of x each are fetched beneath."""
        cdef char *dx = p.dx + t.first * p.dx_sample
        scratch += self.scratch_offset
        if self.winograd_dx is not None:
            self._input_gradient_by_tiles(p, t, part, n_parts, dx, scratch + self.winograd_offset)
        else:
            self.by_phases.run(dx, p.dx_sample, t.dz, self.dz_sample, t.n, self.packed, self.input(p, t.first),
                               self.x.sample, fetched, part, n_parts, scratch + self.dx_offset)

    cdef void _weights_gradient(self, const Pass *p, const Together *t, Py_ssize_t row, Py_ssize_t last) noexcept nogil:
        """The weights' gradient of rows `row` to `last` of the kernel."""
        cdef Py_ssize_t i = 0
        while i < t.n:
            self._weights_gradient_of(p, t.first + i, min(self.n_gathered, t.n - i), t.dz + i * self.dz_sample, row,
                                      last)
            i += self.n_gathered

    cdef void _weights_gradient_of(self, const Pass *p, Py_ssize_t first, Py_ssize_t n, const char *dz, Py_ssize_t row,
                                   Py_ssize_t last_row) noexcept nogil:
        cdef:
            const char *x = self.input(p, first)
            const char *dz_line
            Product product = self.weight_product
            Py_ssize_t d, h, lines, i, line, at, g, f, skip, rest, done = 0
            Py_ssize_t term = row * self.group_channels * self.kernel[2]
            Py_ssize_t n_terms = (last_row - row) * self.group_channels * self.kernel[2]
        for d in range(self.out[0]):
            h = 0
            while h < self.out[1]:
                lines = min(self.weight_block, self.out[1] - h)
                product.n_runs = n * lines
                at = self._first_seen(d, h)
                dz_line = dz + (d * self.dz_depth + h * self.dz_line) * self.itemsize
                if self.beside_dw is not None:
                    self.beside_dw.add(&product, h, row, last_row, x + at * self.itemsize, dz_line,
                                       p.scratch + self.scratch_offset + self.beside_offset)
                    done = self.beside_dw.done
                    product.length = self.out[2] - done
                    at += done * self.x.channels
                elif self.clipped_dw is not None:
                    self.clipped_dw.add(d, n, x + at * self.itemsize, self.x_terms, term, term + n_terms, dz_line,
                                        p.gradients + self.gradient_offset, self.gradient_rows)
                    done = self.out[2]
                elif self.slope_columns > 0:
                    self._add_slopes(&product, h // self.weight_block, n, row, last_row, x + at * self.itemsize,
                                     dz_line, p.gradients + self.gradient_offset)
                skip = self.slope_columns * self.itemsize
                for g in range(self.n_products if done < self.out[2] and self.slope_columns < self.n_filters else 0):
                    f = g * self.group_filters * self.itemsize + skip
                    self.multiply(&product, n_terms, self.n_filters // self.n_products - self.slope_columns,
                                  x + (at + g * self.group_channels) * self.itemsize, self.x_terms + term,
                                  dz_line + f + done * self.n_filters * self.itemsize,
                                  ADD_TO_RESULT, NULL, p.gradients + self.gradient_offset + f,
                                  self.gradient_rows + term, False)
                if self.bias != NULL and row == 0:
                    rest = 1 if self.dz_line == self.out[2] * self.n_filters else lines
                    for i in range(n):
                        for line in range(rest):
                            self.k.column_sums(dz_line + i * self.dz_sample + line * self.dz_line * self.itemsize,
                                               lines // rest * self.out[2], self.n_filters, self.n_filters,
                                               p.gradients + self.bias_offset)
                h += self.weight_block

    cdef void _add_slopes(self, const Product *lines, Py_ssize_t block, Py_ssize_t n, Py_ssize_t row, Py_ssize_t last,
                          const char *x, const char *dz, char *gradient) noexcept nogil:
        """What a block of lines of n samples adds to the weights' gradient of rows `row` to `last` of the kernel."""
        cdef:
            Product product = lines[0]
            const Run *inside = self.slope_lines + block * self.n_kernel_rows
            Run[SLOPE_ROWS] seen            # of the runs
            Py_ssize_t i, first, n_groups = 1, slope = row * self.group_channels
        seen[0] = Run(0, product.n_runs)
        if self.slope_lines != NULL:
            n_groups = last - row
            for i in range(n_groups):
                first = inside[row + i].a
                if self.slope_runs != NULL:
                    product.runs = self.slope_runs
                    first = (row + i) * self.n_gathered * self.weight_block
                seen[i] = Run(first, first + n * (inside[row + i].b - inside[row + i].a))
        self.k.slopes(&product, self.kernel[2], n_groups, seen, (last - row) * self.group_channels // n_groups,
                      self.slope_columns, x, self.slope_terms + slope, dz, gradient, self.slope_rows + slope,
                      self.x.channels * self.n_filters, self.slope_margins[0], self.slope_margins[1])

    cdef void _weights_gradient_by_tiles(self, const Pass *p, const Together *t, Py_ssize_t part,
                                         char *scratch) noexcept nogil:
        """What some lines contribute to the weights' gradient, by Winograd's algorithm, into a sum of their own."""
        cdef:
            const char *x = self.input(p, t.first)
            char *sums = p.scratch + self.scratch_offset + self.sums_offset + part * self.winograd_dw.sums_size
            Py_ssize_t d, at
        for d in range(self.out[0]):
            at = self._first_seen(d, 0)
            self.winograd_dw.add(x + at * self.itemsize, self.x.sample, t.dz + d * self.dz_depth * self.itemsize,
                                 self.dz_sample, t.n, part, self._n_sums(p), p.before + t.first + d == 0,
                                 scratch + self.scratch_offset + self.winograd_offset, sums)

    cdef void _input_gradient_by_tiles(self, const Pass *p, const Together *t, Py_ssize_t part, Py_ssize_t n_parts,
                                       char *dx, char *scratch) noexcept nogil:
        """The correlation of dz with the kernel turned by half a circle, by Winograd's algorithm."""
        cdef:
            Py_ssize_t d, at, line = self.x.size[2] * self.x.channels
            Py_ssize_t lines = self.winograd_dx.max_lines if n_parts > 1 else self.x.size[1], h = part * lines
        for d in range(self.x.size[0]):
            at = ((d + self.before[0]) * self.dz_depth + (self.before[1] - self.kernel[1] + 1 + h) * self.dz_line
                  + (self.before[2] - self.kernel[2] + 1) * self.n_filters)
            self.winograd_dx.run(t.dz + at * self.itemsize, self.dz_sample, t.n, min(lines, self.x.size[1] - h),
                                 dx + (d * self.x.size[1] + h) * line * self.itemsize, p.dx_sample, line,
                                 self.x.channels, scratch)
