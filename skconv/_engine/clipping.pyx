"""Convolution products without the taps that fall on the margin.

A 7x7 kernel on 8x8 pixels with padding "same" has 38 % of its taps outside of the image: factors of zero. Results that
see the same rectangle of taps form a group,

    C[m, f] = bias[f] + sum over the taps k of the group, values l:  A[a_rows[m] + a(k) + l] * B[b(k) + l, f]

and a group is a product of its own: the inner pixels one, those of an edge one per distance from it, a pixel near a
corner alone. Such groups are too small for a register tile, so rows of a product are the pixels of a group in all
samples of a chunk (`Clipped`). For few samples, or where lines are computed into a box for pooling, lines are told
apart and columns are not (`ClippedLines`).

The weights' gradient turns this round: a tap sums over the pixels that see the image there, which are a rectangle of dz
(`ClippedGradient`).

Every sum keeps its other terms and their order, and adding 0 * w changes none of them unless w is NaN or infinite: the
bits are the same whichever way a sample goes.
"""
from .layer cimport Tables, kernels_of
from .lines cimport goes_by_lines
from .margins import MAX_RESULTS, positions_inside, share_inside, shifts_inside, taps_inside
from .table cimport ADD_TO_RESULT, START_AT_BIAS, START_AT_ZERO, Product, Run

cdef enum:
    BLOCK_ROWS = 256        # of a product, as everywhere
    MANY_ROWS = 64          # from here on, a product per sample
    MIN_CHAINS = 6          # of multiply-adds that depend on each other: eight fill the pipelines
    TILE_VECTORS = 4        # of columns, in one register tile at most
    GRADIENT_CHAINS = 12    # of the weights' gradient, which always has them: neighbouring taps are joined

# Of the taps, on the margin: from here on, a product per group of pixels pays.
cdef double LEAST_SHARE = 0.03


cdef list _stretches(ranges):
    """Neighbours with the same taps: (first position, number, taps)."""
    cdef list found = []
    for i, taps in enumerate(ranges):
        if found and found[-1][2] == taps:
            found[-1] = (found[-1][0], found[-1][1] + 1, taps)
        else:
            found.append((i, 1, taps))
    return found


cdef Product _product_of(Tables tables, taps, a_taps, b_taps, Py_ssize_t length, Py_ssize_t b_step) except *:
    """The product over a rectangle of taps; the values of neighbouring taps are joined where they follow each other."""
    cdef:
        Py_ssize_t i, k = 0, pieces
        Run *runs
    last_a, last_b = a_taps[2], b_taps[2]
    (d0, d1), (h0, h1), (w0, w1) = taps
    if w1 - w0 > 1 and all(last_a[t + 1] - last_a[t] == length and last_b[t + 1] - last_b[t] == length * b_step
                           for t in range(w0, w1 - 1)):
        columns, length = [w0], length * (w1 - w0)
    else:
        columns = list(range(w0, w1))
    # Short runs are taken apart, as in convolution.pyx.
    pieces = length if length < 4 else 1
    n = (d1 - d0) * (h1 - h0) * len(columns) * pieces
    runs = tables.runs(max(n, 1))
    for d in range(d0, d1):
        for h in range(h0, h1):
            for w in columns:
                for i in range(pieces):
                    runs[k].a = a_taps[0][d] + a_taps[1][h] + last_a[w] + i
                    runs[k].b = b_taps[0][d] + b_taps[1][h] + last_b[w] + i * b_step
                    k += 1
    return Product(runs, n, length // pieces, 1, b_step)


cdef dict _taps(kernel, dilation, n_groups, n_channels, n_filters, x_lines):
    """Where taps lie in the image and the weights, as Clipped and ClippedLines want it."""
    x_steps, all_filters = (*x_lines, n_groups * n_channels), n_groups * n_filters
    w_taps = (kernel[1] * kernel[2], kernel[2], 1)
    return {
        "a_taps": [[t * dilation[axis] * x_steps[axis] for t in range(kernel[axis])] for axis in range(3)],
        "b_taps": [[t * w_taps[axis] * n_channels * all_filters for t in range(kernel[axis])] for axis in range(3)],
        "length": n_channels, "b_step": all_filters,
    }


def clipping(kernels, *, size, out, kernel, stride, dilation, before, n_groups, n_channels, n_filters, x_lines,
             y_lines):
    """A convolution's `Clipped`, or None where it does not pay.

    Parameters
    ----------
    kernels : capsule
    size, out, kernel, stride, dilation, before : 3 ints
        Per axis, of the image, the result and the window.
    n_groups, n_channels, n_filters : int
        Groups, and channels and filters of a group.
    x_lines, y_lines : 2 ints
        Elements from one depth slice, and one line, of image and result to the next.
    """
    if out[0] * out[1] * out[2] > MAX_RESULTS:
        return None
    size, out, kernel, stride, dilation, before = map(list, (size, out, kernel, stride, dilation, before))
    ranges = [taps_inside(*axis) for axis in zip(size, out, kernel, stride, dilation, before, strict=True)]
    if share_inside(ranges, kernel) > 1 - LEAST_SHARE:
        return None
    # Lines leave out most of these taps anyway, and run at 190 GFLOP/s in place of 140 and, with two vectors, 165.
    if n_groups == stride[2] == dilation[2] == 1 and goes_by_lines(kernels, kernel[2], out[2], n_filters):
        return None
    x_steps, y_steps = (*x_lines, n_groups * n_channels), (*y_lines, n_groups * n_filters)
    return Clipped(
        kernels, ranges=ranges, a_start=-sum(b * s for b, s in zip(before, x_steps, strict=True)),
        a_steps=[n * s for n, s in zip(stride, x_steps, strict=True)], c_steps=y_steps, n_groups=n_groups,
        a_group=n_channels, b_group=n_filters, c_group=n_filters,
        **_taps(kernel, dilation, n_groups, n_channels, n_filters, x_lines))


def clipping_of_lines(*, size, out, kernel, stride, dilation, before, n_groups, n_channels, n_filters, x_lines):
    """A convolution's `ClippedLines`, or None where no row of taps falls on the margin; parameters as of `clipping`."""
    if max(out[0], out[1]) > MAX_RESULTS:
        return None
    ranges = [taps_inside(size[axis], out[axis], kernel[axis], stride[axis], dilation[axis], before[axis])
              for axis in range(2)]
    if share_inside(ranges, [kernel[0], kernel[1]]) == 1:
        return None
    return ClippedLines(depths=ranges[0], lines=ranges[1], kernel=kernel[2],
                        **_taps(list(kernel), list(dilation), n_groups, n_channels, n_filters, x_lines))


def gradient_clippings(kernels, *, out, dz_first, shifts, size, n_groups, n_channels, n_filters, dz_lines):
    """What leaves out taps in the gradient by the input of a convolution with strides of one.

    Parameters
    ----------
    kernels : capsule
    out, size : 3 ints
        Per axis, of dz and of dx.
    dz_first : 3 ints
        Where tap 0 of the first pixel of dx falls on dz.
    shifts : 3 lists of int
        How far the taps of every axis are shifted.
    n_groups, n_channels, n_filters : int
        Groups, and channels and filters of a group.
    dz_lines : 2 ints
        Elements from one depth slice, and one line, of dz to the next.

    Returns
    -------
    clipped, lines : Clipped and ClippedLines, or None where they do not pay
    kernel_rows : list or None
        As `kernel_rows_inside`, of the kernel read backwards.
    """
    out, size = list(out), list(size)
    if max(size[:2]) > MAX_RESULTS:
        return None, None, None
    is_small = size[0] * size[1] * size[2] <= MAX_RESULTS
    ranges = [
        shifts_inside(n, m, first, taps[::-1]) for n, m, first, taps in zip(out, size, dz_first, shifts, strict=True)
    ][:3 if is_small else 2]
    kernel = [len(taps) for taps in shifts]
    dz_steps, all_channels = (*dz_lines, n_groups * n_filters), n_groups * n_channels
    w_taps = (kernel[1] * kernel[2], kernel[2], 1)
    taps = {
        "a_taps": [[-shift * step for shift in reversed(axis)] for axis, step in zip(shifts, dz_steps, strict=True)],
        "b_taps": [
            [t * step * n_groups * n_filters * n_channels for t in reversed(range(n))]
            for n, step in zip(kernel, w_taps, strict=True)
        ],
        "length": n_filters, "b_step": n_channels,
    }
    clipped = lines = rows = None
    if share_inside(ranges[:2], kernel[:2]) < 1:
        lines = ClippedLines(depths=ranges[0], lines=ranges[1], kernel=kernel[2], **taps)
        rows = ranges[1] if kernel[0] == 1 else None
    if is_small and share_inside(ranges, kernel) < 1 - LEAST_SHARE:
        clipped = Clipped(
            kernels, ranges=ranges, a_start=sum(n * s for n, s in zip(dz_first, dz_steps, strict=True)),
            a_steps=dz_steps, c_steps=(size[1] * size[2] * all_channels, size[2] * all_channels, all_channels),
            n_groups=n_groups, a_group=n_filters, b_group=n_filters * n_channels, c_group=n_channels, **taps)
    return clipped, lines, rows


def clipping_of_weights(kernels, *, size, out, kernel, stride, dilation, before, n_together, n_groups, n_channels,
                        n_filters, x_lines, dz_lines):
    """A convolution's `ClippedGradient`, or None where it does not pay; parameters as of `clipping`.

    Parameters
    ----------
    n_together : int
        Samples per call at most.
    x_lines, dz_lines : 3 ints
        Elements from one sample, one depth slice and one line to the next.
    """
    size, out, kernel, stride, dilation, before = map(list, (size, out, kernel, stride, dilation, before))
    ranges = [taps_inside(*axis) for axis in zip(size, out, kernel, stride, dilation, before, strict=True)]
    if share_inside(ranges, kernel) > 1 - LEAST_SHARE:
        return None
    vectors = min(TILE_VECTORS, -(-n_filters // kernels_of(kernels).lanes))
    joined = -(-GRADIENT_CHAINS // (n_channels * vectors))
    if joined > kernel[2]:
        return None
    lines, columns = positions_inside(ranges[1], kernel[1]), positions_inside(ranges[2], kernel[2])
    parts = []
    for h, taps in enumerate(lines):
        for w in range(0, kernel[2], joined):
            inside = [taps for taps in columns[w : w + joined] if taps[1] > 0]
            if taps[1] > 0 and inside:
                parts.append((h * kernel[2] + w, len(columns[w : w + joined]), taps,
                              (min(first for first, _ in inside), max(end for _, end in inside))))
    return ClippedGradient(kernels, parts=parts, depths=ranges[0], n_taps=kernel[1] * kernel[2], n_together=n_together,
                           strides=stride[1:], n_groups=n_groups, n_channels=n_channels, n_filters=n_filters,
                           x_lines=x_lines, dz_lines=dz_lines)


cdef class Clipped:
    """All results of some samples; see the head of the file.

    Parameters
    ----------
    kernels : capsule
    ranges : 3 lists
        For every axis and position of the results, its range of taps.
    a_start : int
        Where in A the taps of the first position begin.
    a_steps, c_steps : 3 ints
        Elements of A and C from one position to the next.
    a_taps, b_taps : 3 lists
        Where the taps of every axis lie in A and B; the offsets of the axes add up.
    length : int
        Values of a tap.
    b_step : int
        Elements of B from one value to the next.
    n_groups : int
        Of channels: a product each, of c_group columns.
    a_group, b_group, c_group : int
        Elements from one group to the next.
    """

    def __init__(self, kernels, *, ranges, a_start, a_steps, c_steps, a_taps, b_taps, length, b_step, n_groups, a_group,
                 b_group, c_group):
        cdef:
            Py_ssize_t m = 0, start, d, h, w
            Alike *alike
        self.k = kernels_of(kernels)
        self.tables = Tables()
        # From how many samples on there are chains enough where a pixel has no neighbour of its kind.
        self.least = max(2, -(-MIN_CHAINS * self.k.lanes // c_group))
        self.n_groups, self.a_group, self.b_group, self.c_group = n_groups, a_group, b_group, c_group
        axes = [_stretches(axis) for axis in ranges]
        n_results = len(ranges[0]) * len(ranges[1]) * len(ranges[2])
        self.n_kinds = len(axes[0]) * len(axes[1]) * len(axes[2])
        self.kinds = <Alike *> self.tables.bytes(self.n_kinds * sizeof(Alike))
        self.a_rows, self.c_rows = self.tables.sizes(n_results), self.tables.sizes(n_results)
        alike = self.kinds
        for first_d, n_d, taps_d in axes[0]:
            for first_h, n_h, taps_h in axes[1]:
                for first_w, n_w, taps_w in axes[2]:
                    alike.product = _product_of(self.tables, (taps_d, taps_h, taps_w), a_taps, b_taps, length, b_step)
                    start = m
                    for d in range(first_d, first_d + n_d):
                        for h in range(first_h, first_h + n_h):
                            for w in range(first_w, first_w + n_w):
                                self.a_rows[m] = a_start + d * a_steps[0] + h * a_steps[1] + w * a_steps[2]
                                self.c_rows[m] = d * c_steps[0] + h * c_steps[1] + w * c_steps[2]
                                m += 1
                    alike.first, alike.n = start, m - start
                    alike += 1

    cdef void _multiply(self, const Alike *alike, Py_ssize_t n_rows, const char *a, const Py_ssize_t *a_rows,
                        const char *b, const char *bias, char *c, const Py_ssize_t *c_rows, bint relu) noexcept nogil:
        cdef Py_ssize_t g, itemsize = self.k.itemsize
        for g in range(self.n_groups):
            self.k.product(&alike.product, n_rows, self.c_group, a + g * self.a_group * itemsize, a_rows,
                           b + g * self.b_group * itemsize, START_AT_ZERO if bias == NULL else START_AT_BIAS,
                           NULL if bias == NULL else bias + g * self.c_group * itemsize,
                           c + g * self.c_group * itemsize, c_rows, relu)

    cdef void run(self, const char *a, Py_ssize_t a_sample, const char *b, const char *bias, char *c,
                  Py_ssize_t c_sample, Py_ssize_t n_samples, bint relu) noexcept nogil:
        """Compute n_samples, whose first pixels a and c point at, and which are a_sample and c_sample bytes apart."""
        cdef:
            Py_ssize_t[BLOCK_ROWS] a_rows
            Py_ssize_t[BLOCK_ROWS] c_rows
            Py_ssize_t i, m, n, kind, first, row, sample
            const Alike *alike
        for kind in range(self.n_kinds):
            alike = self.kinds + kind
            if alike.n >= MANY_ROWS:
                for sample in range(n_samples):
                    first = 0
                    while first < alike.n:
                        n = min(alike.n - first, BLOCK_ROWS)
                        self._multiply(alike, n, a + sample * a_sample, self.a_rows + alike.first + first, b, bias,
                                       c + sample * c_sample, self.c_rows + alike.first + first, relu)
                        first += n
                continue
            sample = 0
            while sample < n_samples:
                n = min(BLOCK_ROWS // alike.n, n_samples - sample)
                m = 0
                for i in range(sample, sample + n):
                    for row in range(alike.first, alike.first + alike.n):
                        a_rows[m] = self.a_rows[row] + i * (a_sample // self.k.itemsize)
                        c_rows[m] = self.c_rows[row] + i * (c_sample // self.k.itemsize)
                        m += 1
                self._multiply(alike, m, a, a_rows, b, bias, c, c_rows, relu)
                sample += n


cdef class ClippedLines:
    """The products of single lines, over whole rows of the kernel; see the head of the file.

    Parameters
    ----------
    depths, lines : list
        Ranges of taps, as for Clipped.
    kernel : int
        Pixels of a row of the kernel.
    a_taps, b_taps, length, b_step
        As for Clipped.
    """

    def __init__(self, *, depths, lines, kernel, a_taps, b_taps, length, b_step):
        cdef Py_ssize_t i, k = 0
        self.tables = Tables()
        kinds_of_depths, kinds_of_lines = _stretches(depths), _stretches(lines)
        self.n_lines = len(kinds_of_lines)
        self.products = <Product *> self.tables.bytes(len(kinds_of_depths) * self.n_lines * sizeof(Product))
        self.depths, self.lines = self.tables.sizes(len(depths)), self.tables.sizes(len(lines))
        for kind, (first, n, _) in enumerate(kinds_of_depths):
            for i in range(first, first + n):
                self.depths[i] = kind
        for kind, (first, n, _) in enumerate(kinds_of_lines):
            for i in range(first, first + n):
                self.lines[i] = kind
        for _, _, taps_d in kinds_of_depths:
            for _, _, taps_h in kinds_of_lines:
                taps = taps_d, taps_h, (0, kernel)
                self.products[k] = _product_of(self.tables, taps, a_taps, b_taps, length, b_step)
                k += 1

    cdef const Product *at(self, Py_ssize_t d, Py_ssize_t h) noexcept nogil:
        """The product of line h of depth slice d."""
        return self.products + self.depths[d] * self.n_lines + self.lines[h]

    cdef Py_ssize_t n_alike(self, Py_ssize_t h, Py_ssize_t n) noexcept nogil:
        """How many of the n lines from h on have the product of line h."""
        cdef Py_ssize_t i = 1
        while i < n and self.lines[h + i] == self.lines[h]:
            i += 1
        return i


cdef class ClippedGradient:
    """The gradient by the weights, of some samples; see the head of the file.

    Parameters
    ----------
    kernels : capsule
    parts : list of (first tap, taps, (first line, last + 1), (first pixel, last + 1))
        Taps of a row of the kernel, and the rectangle of dz over which they sum.
    depths : list of (first, end)
        For every depth slice of dz, its range of taps.
    n_taps : int
        Of a depth slice of the kernel.
    n_together : int
        Samples per call at most.
    strides : 2 ints
        Of lines and pixels.
    n_groups, n_channels, n_filters : int
        Groups, and channels and filters of a group.
    x_lines, dz_lines : 3 ints
        Elements from one sample, one depth slice and one line to the next.
    """

    def __init__(self, kernels, *, parts, depths, n_taps, n_together, strides, n_groups, n_channels, n_filters, x_lines,
                 dz_lines):
        cdef:
            Py_ssize_t i, line, k
            Part *part
            Run *runs
        self.k = kernels_of(kernels)
        self.tables = Tables()
        self.n_groups, self.n_channels, self.n_filters = n_groups, n_channels, n_filters
        self.n_slice = n_taps * n_channels
        self.depths = self.tables.runs(len(depths))
        for i in range(len(depths)):
            self.depths[i].a, self.depths[i].b = depths[i]
        self.n_parts = len(parts)
        self.parts = <Part *> self.tables.bytes(max(1, self.n_parts) * sizeof(Part))
        part = self.parts
        x_pixel, dz_pixel = n_groups * n_channels, n_groups * n_filters
        for tap, n, (first_line, end_line), (first, end) in parts:
            part.first, part.n_rows, part.n_lines = tap * n_channels, n * n_channels, end_line - first_line
            runs = self.tables.runs(n_together * part.n_lines)
            k = 0
            for i in range(n_together):
                for line in range(first_line, end_line):
                    runs[k].a = i * x_lines[0] + line * strides[0] * x_lines[2] + first * strides[1] * x_pixel
                    runs[k].b = i * dz_lines[0] + line * dz_lines[2] + first * dz_pixel
                    k += 1
            part.product = Product(runs, k, end - first, strides[1] * x_pixel, dz_pixel)
            part += 1

    cdef void add(self, Py_ssize_t d, Py_ssize_t n_samples, const char *x, const Py_ssize_t *x_terms, Py_ssize_t term,
                  Py_ssize_t last, const char *dz, char *gradient, const Py_ssize_t *gradient_rows) noexcept nogil:
        """Add to terms `term` to `last`, whole rows of the kernel, what depth slice d of dz contributes; x points at
        what its first pixel sees with the first tap."""
        cdef:
            Py_ssize_t depth, i, g, first, itemsize = self.k.itemsize
            Product product
            const Part *part
        for depth in range(self.depths[d].a, self.depths[d].b):
            for i in range(self.n_parts):
                part = self.parts + i
                first = depth * self.n_slice + part.first
                if first < term or first >= last:
                    continue
                product = part.product
                product.n_runs = n_samples * part.n_lines
                for g in range(self.n_groups):
                    self.k.product(&product, part.n_rows, self.n_filters, x + g * self.n_channels * itemsize,
                                   x_terms + first, dz + g * self.n_filters * itemsize, ADD_TO_RESULT, NULL,
                                   gradient + g * self.n_filters * itemsize, gradient_rows + first, False)
