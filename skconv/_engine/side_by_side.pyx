"""Convolutions with few filters: several pixels side by side in one vector.

Six filters fill six of sixteen lanes.  So the results of n neighbours in a line share a vector, and the weights become
a band: neighbour p sees the run of a kernel row p pixels later, zeros stand where it sees nothing,

    C[(p, f)] = sum_{row r} sum_{k' < kernel + n - 1} sum_c  A[r, k', c] * B[r, k', c, (p, f)]
    B[r, k', c, (p, f)] = w[r, k' - p, c, f]   for 0 <= k' - p < kernel, and 0 elsewhere

An ordinary product with (kernel + n - 1) / n steps per pixel in place of kernel: 0.6 of the work for 5x5 kernels and
six filters with AVX-512. Every sum keeps its terms and their order, and adding 0 * a changes none of them, unless a is
NaN or infinite: these reach the neighbours, too.

The last group of a line is shifted back to end with the line, so that nothing beyond it is read or written; the pixels
that it shares with the group before get the same bits twice.

The weights' gradient gathers n pixels per step in the same way:

    S[r, k', c, (p, f)] = sum over groups of  x[first pixel of the group + k', c] * dz[group, (p, f)]
    dw[r, k, c, f] += sum_p S[r, k + p, c, (p, f)]

where the other S are computed for nothing. Of a single sample, rows of the kernel leave out the lines that they see on
the margin. Pixels behind the last whole group are summed the plain way.
"""
from libc.string cimport memcpy

from .layer cimport Tables, kernels_of, n_alike, round_up
from .margins import positions_inside
from .table cimport ADD_TO_RESULT, START_AT_BIAS, START_AT_ZERO, Product, Run

cdef enum:
    LEAST_ROWS = 24         # of a product that leaves out lines: two register tiles
    MAX_TERMS = 8192        # of one sum: a product takes more in several passes, and pixels of two groups all of them


cpdef Py_ssize_t pixels_per_vector(Py_ssize_t lanes, Py_ssize_t n_columns, Py_ssize_t kernel, Py_ssize_t width,
                                   Py_ssize_t terms=0, bint is_gradient=False):
    """Choose how many pixels share a vector: 1, unless it saves a tenth of the steps.

    Parameters
    ----------
    lanes : int
    n_columns : int
        Values per pixel: filters, or channels of the input's gradient.
    kernel : int
        Pixels that a row of the kernel sees.
    width : int
        Pixels of a line.
    terms : int
        Of one sum, per pixel that a row of the kernel sees; of no interest for the weights' gradient.
    is_gradient : bool
        Whether the remainder of a line is done the plain way.
    """
    cdef Py_ssize_t n, cost, best = 1, lowest = 9 * kernel * width // 10
    for n in range(2, min(lanes // n_columns, width) + 1):
        if (kernel + n - 1) * terms > MAX_TERMS:
            break
        if is_gradient:
            cost = (kernel + n - 1) * (width // n) + kernel * (width % n)
        else:
            cost = (kernel + n - 1) * ((width + n - 1) // n)
        if cost <= lowest:
            best, lowest = n, cost
    return best


cdef class SideBySide:
    """Output or input gradient; see the head of the file.

    Parameters
    ----------
    kernels : capsule
    n_pixels : int
        Per vector.
    row_offsets : list of int
        Where the rows of the kernel read A, from the first pixel of a group, in the order of the sum.
    kernel, depth : int
        Pixels that a row sees, and values of A per pixel.
    n_columns : int
        Values of C per pixel.
    width, max_lines : int
        Pixels of a line of C; lines per call at most.
    a_line, c_line : int
        Elements from line to line; pixels follow each other.
    kernel_rows : list of (first, end) or None
        For every line of C, which rows of the kernel see the image: the others see a margin of zeros.
    overruns : bool
        Whether whole vectors may be stored: what lies behind a line is then written later, or is of no interest.
    """

    def __init__(self, kernels, *, n_pixels, row_offsets, kernel, depth, n_columns, width, max_lines, a_line, c_line,
                 kernel_rows, overruns):
        cdef:
            Py_ssize_t r, line, g, m = 0
            Run *runs
        self.k = kernels_of(kernels)
        self.tables = Tables()
        self.n_pixels = n_pixels
        self.n_groups = (width + n_pixels - 1) // n_pixels
        self.n_columns = n_columns
        self.stored = self.k.lanes if overruns else n_pixels * n_columns
        self.n_kernel_rows = len(row_offsets)
        self.kernel = kernel
        self.depth = depth
        self.a_line, self.c_line = a_line, c_line
        if kernel_rows is not None:
            self.kernel_rows = self.tables.runs(len(kernel_rows))
            for line in range(len(kernel_rows)):
                self.kernel_rows[line].a, self.kernel_rows[line].b = kernel_rows[line]
        runs = self.tables.runs(self.n_kernel_rows)
        length = (kernel + n_pixels - 1) * depth
        for r in range(self.n_kernel_rows):
            runs[r].a = row_offsets[r]
            runs[r].b = r * length * self.k.lanes
        self.product = Product(runs, self.n_kernel_rows, length, 1, self.k.lanes)
        self.a_rows = self.tables.sizes(max_lines * self.n_groups)
        self.c_rows = self.tables.sizes(max_lines * self.n_groups)
        for line in range(max_lines):
            for g in range(self.n_groups):
                first = min(g * n_pixels, width - n_pixels)
                self.a_rows[m] = line * a_line + first * depth
                self.c_rows[m] = line * c_line + first * n_columns
                m += 1
        self.weights = self.tables.bytes(self.n_kernel_rows * length * self.k.lanes * self.k.itemsize)
        self.bias = self.tables.bytes(self.k.lanes * self.k.itemsize)

    cdef void prepare(self, const char *w, const char *bias, bint reverse) noexcept nogil:
        """Lay out the weights, (rows, kernel, depth, n_columns), which `reverse` reads from the last tap on."""
        cdef Py_ssize_t p, size = self.n_columns * self.k.itemsize
        self.has_bias = bias != NULL
        if bias != NULL:
            for p in range(self.n_pixels):
                memcpy(self.bias + p * size, bias, size)
        self.k.band(w, self.n_kernel_rows, self.kernel, self.depth, self.n_columns, self.n_pixels, reverse,
                    self.weights)

    cdef void run(self, const char *a, Py_ssize_t h, Py_ssize_t n_lines, char *c, bint relu,
                  const char *ahead, Py_ssize_t n_ahead) noexcept nogil:
        """Compute n_lines from line h on; a points at what the first tap of the first pixel sees. Meanwhile n_ahead
        cache lines at `ahead` come into the second cache."""
        cdef:
            Product product = self.product
            const Run *rows = NULL if self.kernel_rows == NULL else self.kernel_rows + h
            Py_ssize_t n = n_lines, share
        while n_lines > 0:
            if rows != NULL:
                n = n_alike(rows, n_lines)
                product.runs = self.product.runs + rows.a
                product.n_runs = rows.b - rows.a
                rows += n
            share = n_ahead * n // n_lines
            self.k.product_ahead(&product, n * self.n_groups, self.stored, a, self.a_rows, self.weights,
                                 START_AT_BIAS if self.has_bias else START_AT_ZERO, self.bias, c, self.c_rows, relu,
                                 ahead, share)
            ahead += 64 * share
            n_ahead -= share
            a += n * self.a_line * self.k.itemsize
            c += n * self.c_line * self.k.itemsize
            n_lines -= n


cdef class SideBySideGradient:
    """The weights' gradient; see the head of the file.

    Parameters
    ----------
    kernels : capsule
    n_pixels, row_offsets, kernel, depth
        As for SideBySide, of x.
    n_filters : int
    width : int
        Pixels of a line of dz.
    kernel_rows : list of (first, end) or None
        For every line of dz, which rows of the kernel see the image; for single samples.
    """

    def __init__(self, kernels, *, n_pixels, row_offsets, kernel, depth, n_filters, width, kernel_rows):
        cdef Py_ssize_t i, length = (kernel + n_pixels - 1) * depth
        self.k = kernels_of(kernels)
        self.tables = Tables()
        self.n_pixels = n_pixels
        self.n_filters = n_filters
        self.n_kernel_rows = len(row_offsets)
        self.kernel = kernel
        self.depth = depth
        self.n_rows = self.n_kernel_rows * length
        self.done = width // n_pixels * n_pixels
        self.sums_size = round_up(self.n_rows * self.k.lanes * self.k.itemsize)
        self.product = Product(NULL, 0, width // n_pixels, n_pixels * depth, n_pixels * n_filters)
        self.x_rows = self.tables.sizes(self.n_rows)
        self.sum_rows = self.tables.sizes(self.n_rows)
        for i in range(self.n_rows):
            self.x_rows[i] = row_offsets[i // length] + i % length
            self.sum_rows[i] = i * self.k.lanes
        if kernel_rows is not None and length >= LEAST_ROWS:
            self.seen = self.tables.runs(self.n_kernel_rows)
            for i, (first, end) in enumerate(positions_inside(kernel_rows, self.n_kernel_rows)):
                self.seen[i].a, self.seen[i].b = first, end

    cdef void add(self, const Product *plain, Py_ssize_t h, Py_ssize_t r, Py_ssize_t last, const char *x,
                  const char *dz, char *sums) noexcept nogil:
        """Add to rows r to last of the kernel what the whole groups of the lines contribute, from line h on, that are
        the runs of `plain`."""
        cdef:
            Product product = self.product
            Py_ssize_t length = self.n_rows // self.n_kernel_rows, n, first, end
        product.runs = plain.runs
        product.n_runs = plain.n_runs
        if self.seen == NULL:
            self.k.product(&product, (last - r) * length, self.k.lanes, x, self.x_rows + r * length, dz, ADD_TO_RESULT,
                           NULL, sums, self.sum_rows + r * length, False)
            return
        while r < last:
            first, end = max(self.seen[r].a - h, 0), min(self.seen[r].b - h, plain.n_runs)
            n = 1
            while (r + n < last and max(self.seen[r + n].a - h, 0) == first
                   and min(self.seen[r + n].b - h, plain.n_runs) == end):
                n += 1
            if first < end:
                product.runs = plain.runs + first
                product.n_runs = end - first
                self.k.product(&product, n * length, self.k.lanes, x, self.x_rows + r * length, dz, ADD_TO_RESULT,
                               NULL, sums, self.sum_rows + r * length, False)
            r += n

    cdef void finish(self, const char *sums, char *gradient) noexcept nogil:
        self.k.add_band(sums, self.n_kernel_rows, self.kernel, self.depth, self.n_filters, self.n_pixels, gradient)
