"""The gradient of a convolution by its input, from dz with a margin of zeros.

    dx[i, c] = sum_{k, f} dz[(i + pad - k * dilation) / stride, f] * w[k, c, f]

Only the taps for which the division is exact belong to a phase (i + pad) mod stride; a phase is an ordinary product
over blocks of lines of a lattice of input pixels. Pixels without taps are zero.

With strides of one there is one phase. Kernels of 5 and 7 rows go by Winograd's algorithm along one axis
(winograd_lines.pyx), where the plan says so, few channels by planes (planes.pyx). Short rows of taps then stay in
registers (lines.pyx), or taps that fall on the margin of dz are left out (clipping.pyx).
"""
from libc.string cimport memset

from .clipping import gradient_clippings
from .layer cimport Tables, kernels_of
from .lines cimport LineByLine, goes_by_lines
from .lines import margins_of_line
from .planes cimport Planes, goes_by_planes
from .side_by_side cimport SideBySide
from .table cimport START_AT_ZERO, Product, Run
from .winograd cimport TILE_SIDE
from .winograd_lines cimport WinogradLines
from .winograd_planes cimport WinogradPlanes

cdef enum:
    BLOCK_PIXELS = 256      # per product, as in the forward pass
    MOST_PARTS = 8          # that threads share


def phases_of_axis(size, kernel, stride, dilation, before):
    """The phases of one axis that have taps.

    Input coordinate i = first + stride * j belongs to lattice point q = dz_first + j of the output; tap k reaches it
    from output coordinate q - shift.

    Returns
    -------
    list of (first, n, dz_first, [(tap, shift), ...])
    """
    members = {}
    for tap in range(kernel):
        phase = tap * dilation % stride
        members.setdefault(phase, []).append((tap, (tap * dilation - phase) // stride))
    phases = []
    for phase, taps in sorted(members.items()):
        first = (phase - before) % stride
        if first < size:
            phases.append((first, (size - 1 - first) // stride + 1, (first + before - phase) // stride, taps))
    return phases


cdef class InputGradient:
    """See the head of the file.

    Parameters
    ----------
    kernels : capsule
    axes : list of 3 lists
        Phases of every axis.
    size, out, kernel, stride : sequence of 3 ints
        Extents of input, output and kernel, and strides.
    n_channels, n_filters, n_products, group_channels, group_filters : int
        As in Convolution.
    is_depthwise : bool
    dz_depth, dz_line : int
        Elements between depth slices and lines of dz.
    by_winograd_lines : bool
        Whether Winograd's algorithm along one axis computes it; the convolution then has one phase.
    n_pixels : int
        That share a vector; the convolution then has one phase.
    by_winograd_lines : bool
        Whether to use Winograd's algorithm down the image; the strides are then one, and dz has a margin for whole
        tiles of four lines.
    """

    def __init__(self, kernels, *, axes, size, out, kernel, stride, n_channels, n_filters, n_products, group_channels,
                 group_filters, is_depthwise, dz_depth, dz_line, n_pixels, by_winograd_lines):
        cdef:
            Phase *phase
            Run *runs
            Py_ssize_t line, w, k, tap, n_taps, covered = 0
        self.k = kernels_of(kernels)
        self.tables = Tables()
        self.multiply = self.k.depthwise if is_depthwise else self.k.product
        for axis in range(3):
            self.size[axis], self.stride[axis] = size[axis], stride[axis]
        self.n_channels, self.n_filters, self.n_products = n_channels, n_filters, n_products
        self.group_channels, self.group_filters = group_channels, group_filters
        self.dz_depth, self.dz_line = dz_depth, dz_line
        self.n_phases = len(axes[0]) * len(axes[1]) * len(axes[2])
        self.phases = <Phase *> self.tables.bytes(self.n_phases * sizeof(Phase))
        phase = self.phases
        kernel_rows = None
        if self.n_phases == 1 and list(stride) == [1, 1, 1] and not is_depthwise:
            self.clipped, self.clipped_lines, kernel_rows = gradient_clippings(
                kernels, out=out, dz_first=[axis[0][2] for axis in axes], size=size, n_groups=n_products,
                shifts=[[shift for _, shift in axis[0][3]] for axis in axes], n_channels=group_channels,
                n_filters=group_filters, dz_lines=(dz_depth, dz_line))
        for axis_d in axes[0]:
            for axis_h in axes[1]:
                for axis_w in axes[2]:
                    for axis, (first, n, dz_first, _) in enumerate((axis_d, axis_h, axis_w)):
                        phase.first[axis], phase.n[axis] = first, n
                        phase.dz_first[axis] = dz_first
                    covered += phase.n[0] * phase.n[1] * phase.n[2]
                    n_taps = len(axis_d[3]) * len(axis_h[3]) * len(axis_w[3])
                    runs = self.tables.runs(n_taps)
                    k = 0
                    # Descending taps read dz forwards; the filters of a tap are one run.
                    for tap_d, shift_d in reversed(axis_d[3]):
                        for tap_h, shift_h in reversed(axis_h[3]):
                            for tap_w, shift_w in reversed(axis_w[3]):
                                tap = (tap_d * kernel[1] + tap_h) * kernel[2] + tap_w
                                runs[k].a = -(shift_d * self.dz_depth + shift_h * self.dz_line
                                              + shift_w * self.n_filters)
                                runs[k].b = tap * self.n_filters * self.group_channels
                                k += 1
                    phase.product = Product(runs, n_taps, self.group_filters, 1, self.group_channels)
                    phase.block = max(1, min(phase.n[1], BLOCK_PIXELS // phase.n[2]))
                    options = dict(
                        size=out, out=size, kernel=kernel, before=[kernel[i] - 1 - phase.dz_first[i] for i in range(3)],
                        n_channels=n_filters, n_filters=n_channels, x_line=dz_line, y_line=size[2] * n_channels,
                        y_pixel=n_channels)
                    if by_winograd_lines and n_channels > self.k.plane_filters:
                        phase.block = TILE_SIDE * max(1, BLOCK_PIXELS // (TILE_SIDE * phase.n[2]))
                        self.winograd_lines = WinogradLines(
                            kernels, n_rows=kernel[1], n_taps=kernel[2], n_channels=n_filters, n_filters=n_channels,
                            size=out[2], out=size[2], before=kernel[2] - 1 - phase.dz_first[2], x_line=dz_line,
                            y_line=size[2] * n_channels, y_pixel=n_channels, max_lines=min(phase.block, phase.n[1]),
                            reverse=True)
                        self.scratch_size = self.winograd_lines.scratch_size
                        self.clipped = self.clipped_lines = None
                    elif by_winograd_lines and n_taps == kernel[1] * kernel[2] and phase.dz_first[2] < kernel[2]:
                        self.winograd_planes = WinogradPlanes(kernels, **options)
                        self.scratch_size = self.winograd_planes.scratch_size
                        phase.block = min(self.winograd_planes.max_lines, phase.n[1])
                        self.clipped = self.clipped_lines = None
                    elif (self.n_phases == n_products == 1 and not is_depthwise and phase.dz_first[2] < kernel[2]
                            and [shift for _, shift in axis_w[3]] == list(range(kernel[2]))
                            and [shift for _, shift in axis_h[3]] == list(range(kernel[1]))
                            and goes_by_planes(kernels, n_channels, n_filters, kernel, stride)):
                        self.planes = Planes(kernels, dilation=(1, 1, 1), **options)
                        self.scratch_size = self.planes.scratch_size
                        phase.block = self.planes.max_lines
                        self.clipped = self.clipped_lines = None
                    elif n_pixels > 1 and self.n_phases == 1 and n_taps == kernel[0] * kernel[1] * kernel[2]:
                        # All taps: of an axis shorter than its stride, one phase is left, and has some of them.
                        self.beside = SideBySide(
                            kernels, n_pixels=n_pixels, kernel=kernel[2], depth=n_filters,
                            row_offsets=[runs[i].a for i in range(0, n_taps, kernel[2])], n_columns=n_channels,
                            width=phase.n[2], max_lines=phase.block, a_line=dz_line,
                            c_line=stride[1] * size[2] * n_channels, kernel_rows=kernel_rows, overruns=False)
                        self.clipped = self.clipped_lines = None
                    elif (self.n_phases == n_products == 1 and list(stride) == [1, 1, 1] and not is_depthwise
                          and [shift for _, shift in axis_w[3]] == list(range(kernel[2]))
                          and goes_by_lines(kernels, kernel[2], size[2], n_channels)):
                        self.by_lines = LineByLine(
                            kernels, row_offsets=[(runs[i].a, runs[i].b) for i in range(0, n_taps, kernel[2])],
                            kernel=kernel[2], n_channels=n_filters, x_pixel=n_filters, x_line=dz_line,
                            w_tap=-n_filters * n_channels, w_channel=n_channels, n_columns=n_channels, width=size[2],
                            margins=margins_of_line(kernel[2], out[2], size[2], kernel[2] - 1 - phase.dz_first[2]),
                            y_pixel=n_channels, y_line=size[2] * n_channels, kernel_rows=kernel_rows)
                        self.clipped = self.clipped_lines = None
                    phase.dz_rows = self.tables.sizes(phase.block * phase.n[2])
                    phase.dx_rows = self.tables.sizes(phase.block * phase.n[2])
                    k = 0
                    for line in range(phase.block):
                        for w in range(phase.n[2]):
                            phase.dz_rows[k] = line * self.dz_line + w * self.n_filters
                            phase.dx_rows[k] = (line * self.stride[1] * self.size[2]
                                                + w * self.stride[2]) * self.n_channels
                            k += 1
                    phase += 1
        self.has_gaps = covered < self.size[0] * self.size[1] * self.size[2]

    cdef void prepare(self, const char *packed) noexcept nogil:
        """Take note of the weights of every tap, transposed."""
        if self.beside is not None:
            self.beside.prepare(packed, NULL, True)
        if self.planes is not None:
            self.planes.prepare(packed, NULL, True)
        if self.winograd_planes is not None:
            self.winograd_planes.prepare(packed, NULL, True)
        if self.winograd_lines is not None:
            self.winograd_lines.prepare(packed, True)

    cdef Py_ssize_t n_parts(self, Py_ssize_t n) noexcept nogil:
        """Into how many parts threads may share the gradient of n samples."""
        if self.has_gaps or self.clipped is not None and n >= self.clipped.least:
            return 1
        # Every call transposes lines of its neighbour again.
        if self.planes is not None:
            return (self.size[1] + self.planes.max_lines - 1) // self.planes.max_lines
        if self.winograd_planes is not None:
            return (self.size[1] + self.winograd_planes.max_lines - 1) // self.winograd_planes.max_lines
        if self.winograd_lines is not None:
            return min(MOST_PARTS, (self.size[1] + TILE_SIDE - 1) // TILE_SIDE)
        return min(MOST_PARTS, self.size[1])

    cdef void run(self, char *dx, Py_ssize_t dx_sample, const char *dz, Py_ssize_t dz_sample, Py_ssize_t n,
                  const char *packed, const char *ahead, Py_ssize_t ahead_sample, Py_ssize_t n_ahead,
                  Py_ssize_t part, Py_ssize_t n_parts, char *scratch) noexcept nogil:
        """n samples, so many bytes apart; those of dx have no gaps. Of each, n_ahead cache lines at `ahead`, which the
        caller reads next, are fetched by the product of the first phase; none where there are several parts."""
        cdef Py_ssize_t i
        if self.clipped is not None and n >= self.clipped.least:
            self.clipped.run(dz, dz_sample, packed, NULL, dx, dx_sample, n, False)
            return
        for i in range(n):
            self._run(dx + i * dx_sample, dz + i * dz_sample, packed, ahead + i * ahead_sample, n_ahead,
                      part, n_parts, scratch)

    cdef void _run(self, char *dx, const char *dz, const char *packed, const char *ahead,
                   Py_ssize_t n_ahead, Py_ssize_t part, Py_ssize_t n_parts, char *scratch) noexcept nogil:
        """One part, some lines of all phases, of one sample."""
        cdef:
            Phase *phase
            const Product *product
            Py_ssize_t i, d, h, last, n_tiles, lines, dz_at, dx_at, g, f, share = 0, itemsize = self.k.itemsize
        if self.has_gaps:
            memset(dx, 0, self.size[0] * self.size[1] * self.size[2] * self.n_channels * itemsize)
        for i in range(self.n_phases):
            phase = self.phases + i
            for d in range(phase.n[0]):
                h, last = part * phase.n[1] // n_parts, (part + 1) * phase.n[1] // n_parts
                if self.winograd_lines is not None or self.winograd_planes is not None:     # whole tiles
                    n_tiles = (phase.n[1] + TILE_SIDE - 1) // TILE_SIDE
                    h = part * n_tiles // n_parts * TILE_SIDE
                    last = min(phase.n[1], (part + 1) * n_tiles // n_parts * TILE_SIDE)
                while h < last:
                    lines = min(phase.block, last - h)
                    product = &phase.product
                    if self.clipped_lines is not None:
                        lines, product = self.clipped_lines.n_alike(h, lines), self.clipped_lines.at(d, h)
                    dz_at = ((phase.dz_first[0] + d) * self.dz_depth
                             + (phase.dz_first[1] + h) * self.dz_line
                             + (phase.dz_first[2]) * self.n_filters)
                    dx_at = (((phase.first[0] + d * self.stride[0]) * self.size[1]
                              + phase.first[1] + h * self.stride[1]) * self.size[2]
                             + phase.first[2]) * self.n_channels
                    share = n_ahead * (h + lines) // phase.n[1] - n_ahead * h // phase.n[1]
                    if self.winograd_lines is not None:
                        dz_at += product.runs[0].a
                        self.winograd_lines.run(dz + dz_at * itemsize, lines, NULL, dx + dx_at * itemsize, False, ahead,
                                                share, scratch)
                        ahead += 64 * share
                        h += lines
                        continue
                    if self.planes is not None:
                        dz_at += product.runs[0].a
                        self.planes.run(dz + dz_at * itemsize, h, lines, dx + dx_at * itemsize, False, scratch,
                                        NULL, 0)
                        h += lines
                        continue
                    if self.winograd_planes is not None:
                        dz_at += product.runs[0].a
                        self.winograd_planes.run(dz + dz_at * itemsize, h, lines, dx + dx_at * itemsize, False, scratch,
                                                 ahead, share)
                        ahead += 64 * share
                        h += lines
                        continue
                    if self.beside is not None:
                        self.beside.run(dz + dz_at * itemsize, h, lines, dx + dx_at * itemsize, False, NULL, 0)
                        h += lines
                        continue
                    if self.by_lines is not None:
                        self.by_lines.run(dz + dz_at * itemsize, h, lines, packed, NULL, dx + dx_at * itemsize, False,
                                          ahead, share)
                        ahead += 64 * share
                        h += lines
                        continue
                    h += lines
                    if self.n_products == 1 and self.multiply == self.k.product:
                        self.k.product_ahead(product, lines * phase.n[2], self.n_channels, dz + dz_at * itemsize,
                                             phase.dz_rows, packed, START_AT_ZERO, NULL, dx + dx_at * itemsize,
                                             phase.dx_rows, False, ahead, share)
                        ahead += 64 * share
                        continue
                    for g in range(self.n_products):
                        f = g * self.group_filters
                        self.multiply(product, lines * phase.n[2], self.n_channels // self.n_products,
                                      dz + (dz_at + f) * itemsize, phase.dz_rows,
                                      packed + f * self.group_channels * itemsize, START_AT_ZERO, NULL,
                                      dx + (dx_at + g * self.group_channels) * itemsize, phase.dx_rows, False)
                n_ahead = 0
