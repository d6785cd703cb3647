"""Both gradients of a 1x1 convolution: two matrix products over the pixels of a sample.

    dw[c, f] += sum_pixel x[pixel, c] * dz[pixel, f]        dx[pixel, c] = sum_f dz[pixel, f] * w[c, f]

Pixels of a sample follow each other, so lines are of no interest.  Blocks of pixels, small enough that dz stays in the
cache between the two products; the work per value is small, and what matters is that no lane and no copy is in vain:

- dw takes whichever of C rows of F columns and F rows of C columns leaves fewer lanes empty (`is_transposed`: x and dz
  change places, and what was summed is transposed at the end).
- dw of a few filters and a few channels is a few chains of additions, each of which waits for itself.  Several pixels
  side by side in a vector make more of them (side_by_side.pyx; there it saves steps, too):
      S[p', c, (p, f)] = sum over groups of  x[group, p', c] * dz[group, (p, f)],   dw[c, f] += sum_p S[p, c, (p, f)].
- dx of fewer channels than lanes is stored by whole vectors: the next pixel overwrites the surplus.  At the end of a
  sample nothing may be overwritten, so the last pixels are stored by value.  Of a few channels, groups of pixels share
  a vector, and the weights become blocks on a diagonal, as in side_by_side.pyx: as many steps, but fewer stores.
- dx of a few channels and many filters is sums along the filters, in whole vectors (`dots` in tile.h).

But for the last, every sum of dx has its terms in the order of filters.  Which way is taken depends on shapes, never on
where a pixel lies, and what is read and stored ends with the sample: x may be the caller's array.
"""
from libc.string cimport memset

from .layer cimport Tables, kernels_of, round_up
from .table cimport ADD_TO_RESULT, START_AT_ZERO, Product

cdef enum:
    MAX_TERMS = 2048        # of a product in one pass; what is stored beyond a pixel must not be read again
    BLOCK_BYTES = 131072    # of x and dz: 32 KiB make both products of 128 to 32 channels 5 % slower
    FEW_ROWS = 4            # chains of multiply-adds that wait for themselves
    DOT_STEPS = 5           # multiply-adds that could be done while the lanes of a sum are added up


cdef class OneByOneGradients:
    """See the head of the file.

    Parameters
    ----------
    kernels : capsule
    n_channels, n_filters : int
    n_pixels : int
        Of a sample.
    shares_vectors : bool
        Whether what is not finite may reach a pixel's neighbours.
    """

    def __init__(self, kernels, *, n_channels, n_filters, n_pixels, shares_vectors):
        cdef Py_ssize_t i, lanes
        self.k = kernels_of(kernels)
        self.tables = Tables()
        lanes = self.k.lanes
        self.n_channels = n_channels
        self.n_filters = n_filters
        self.n_pixels = n_pixels
        self._build_dw(shares_vectors)
        self.by_dots = self._is_faster_by_dots()
        self.dx_pixels = max(1, min(lanes // n_channels, n_pixels)) if shares_vectors and not self.by_dots else 1
        if self.dx_pixels * n_filters > MAX_TERMS:
            self.dx_pixels = 1
        self.group = self.dx_pixels * n_channels
        self.width = (self.group + lanes - 1) // lanes * lanes
        if n_filters > MAX_TERMS or self.width > 2 * lanes:    # several passes, or blocks of columns
            self.width = self.group
        step = self.dx_pixels * self.dw_pixels
        size = max(64, min(512, BLOCK_BYTES // ((n_channels + n_filters) * self.k.itemsize)))
        self.block = (size + step - 1) // step * step
        self.dz_rows = self.tables.sizes(self.block)
        self.dx_rows = self.tables.sizes(self.block)
        for i in range(self.block):
            self.dz_rows[i] = i * self.dx_pixels * n_filters
            self.dx_rows[i] = i * self.group
        self.pixel_dz_rows = self.tables.sizes(self.dx_pixels)
        self.pixel_dx_rows = self.tables.sizes(self.dx_pixels)
        for i in range(self.dx_pixels):
            self.pixel_dz_rows[i] = i * n_filters
            self.pixel_dx_rows[i] = i * n_channels
        if self.dx_pixels > 1:
            self.band = self.tables.bytes(self.dx_pixels * n_filters * lanes * self.k.itemsize)

    def _is_faster_by_dots(self):
        """Two factors are loaded per multiply-add, and lanes added up per value; a tile takes a step per filter."""
        return (self.n_filters % self.k.lanes == 0
                and self.n_channels * (2 * self.n_filters // self.k.lanes + DOT_STEPS)
                < self.n_filters * ((self.n_channels + self.k.lanes - 1) // self.k.lanes))

    def _build_dw(self, shares_vectors):
        cdef:
            Py_ssize_t i, lanes = self.k.lanes
            Py_ssize_t plain = self.n_channels * ((self.n_filters + lanes - 1) // lanes)
            Py_ssize_t transposed = self.n_filters * ((self.n_channels + lanes - 1) // lanes)
        self.is_transposed = transposed < plain
        self.dw_pixels = 1
        if shares_vectors and not self.is_transposed and self.n_channels <= FEW_ROWS:
            self.dw_pixels = max(1, lanes // self.n_filters)
        columns = self.n_channels if self.is_transposed else self.n_filters
        rows = self.n_filters if self.is_transposed else self.n_channels
        self.n_rows = self.dw_pixels * rows
        self.sums_row = self.n_filters
        if self.is_transposed or self.dw_pixels > 1:
            self.sums_row = (columns + lanes - 1) // lanes * lanes
            self.sums_bytes = round_up(self.n_rows * self.sums_row * self.k.itemsize)
            self.sums_size = self.sums_bytes
            if self.is_transposed:
                self.sums_size += round_up(self.n_channels * self.n_filters * self.k.itemsize)
        self.factor_rows = self.tables.sizes(max(self.n_rows, self.n_channels))
        self.sum_rows = self.tables.sizes(self.n_rows)
        self.gradient_rows = self.tables.sizes(self.n_channels)
        for i in range(self.n_rows):
            self.factor_rows[i] = i
            self.sum_rows[i] = i * self.sums_row
        for i in range(self.n_channels):
            self.factor_rows[i] = i
            self.gradient_rows[i] = i * self.n_filters

    cdef void prepare(self, const char *weights, const char *packed) noexcept nogil:
        """Lay out the weights of groups of pixels; `packed` is w transposed."""
        self.weights = weights
        if self.band != NULL:
            self.k.band(packed, 1, 1, self.n_filters, self.n_channels, self.dx_pixels, False, self.band)

    cdef void add(self, const char *x, const char *dz, Py_ssize_t n, Py_ssize_t left, char *gradient,
                  char *sums) noexcept nogil:
        """Add what n pixels contribute to dw; of x there are those that are left, these included, and nothing more."""
        cdef:
            Py_ssize_t room = left * self.n_channels - self.sums_row    # behind a vector at the first pixel
            Py_ssize_t done
            Product product
        if self.is_transposed:
            done = 0 if room < 0 else min(n, room // self.n_channels + 1)
            product = Product(&self.origin, 1, done, self.n_filters, self.n_channels)
            if done > 0:
                self.k.product(&product, self.n_rows, self.sums_row, dz, self.factor_rows, x, ADD_TO_RESULT, NULL,
                               sums, self.sum_rows, False)
        else:
            done = n // self.dw_pixels
            product = Product(&self.origin, 1, done, self.dw_pixels * self.n_channels,
                              self.dw_pixels * self.n_filters)
            if done > 0:
                self.k.product(&product, self.n_rows, self.n_filters if self.sums_size == 0 else self.sums_row, x,
                               self.factor_rows, dz, ADD_TO_RESULT, NULL, gradient if self.sums_size == 0 else sums,
                               self.sum_rows, False)
            done *= self.dw_pixels
        if done < n:
            product = Product(&self.origin, 1, n - done, self.n_channels, self.n_filters)
            self.k.product(&product, self.n_channels, self.n_filters,
                           x + done * self.n_channels * self.k.itemsize, self.factor_rows,
                           dz + done * self.n_filters * self.k.itemsize, ADD_TO_RESULT, NULL, gradient,
                           self.gradient_rows, False)

    cdef void pull_back(self, const char *dz, Py_ssize_t n, Py_ssize_t left, const char *packed,
                        char *dx) noexcept nogil:
        """dx of n pixels; those that are left, these included, may be overwritten."""
        cdef:
            Py_ssize_t groups = n // self.dx_pixels, done = groups * self.dx_pixels
            Py_ssize_t room = left * self.n_channels - self.width   # behind a vector at the first pixel
            Py_ssize_t whole = 0 if room < 0 else min(groups, room // self.group + 1)
            Product product = Product(&self.origin, 1, self.dx_pixels * self.n_filters, 1,
                                      self.n_channels if self.band == NULL else self.k.lanes)
            const char *w = packed if self.band == NULL else self.band
        if self.by_dots:
            self.k.dots(dz, n, self.n_filters, self.weights, self.n_channels, dx)
            return
        if whole > 0:
            self.k.product(&product, whole, self.width, dz, self.dz_rows, w, START_AT_ZERO, NULL, dx, self.dx_rows,
                           False)
        if whole < groups:
            self.k.product(&product, groups - whole, self.group, dz, self.dz_rows + whole, w, START_AT_ZERO, NULL,
                           dx, self.dx_rows + whole, False)
        if done < n:
            product.length, product.b_step = self.n_filters, self.n_channels
            self.k.product(&product, n - done, self.n_channels, dz + done * self.n_filters * self.k.itemsize,
                           self.pixel_dz_rows, packed, START_AT_ZERO, NULL,
                           dx + done * self.n_channels * self.k.itemsize, self.pixel_dx_rows, False)

    cdef void run(self, const char *x, const char *dz, const char *packed, char *gradient, char *bias_gradient,
                  char *sums, char *dx) noexcept nogil:
        """A sample; the gradient by the weights, that by the intercepts and dx may be NULL."""
        cdef Py_ssize_t done = 0, n
        if gradient != NULL and bias_gradient != NULL:
            self.k.column_sums(dz, self.n_pixels, self.n_filters, self.n_filters, bias_gradient)
        while done < self.n_pixels:
            n = min(self.block, self.n_pixels - done)
            if gradient != NULL:
                self.add(x, dz, n, self.n_pixels - done, gradient, sums)
            if dx != NULL:
                self.pull_back(dz, n, self.n_pixels - done, packed, dx)
                dx += n * self.n_channels * self.k.itemsize
            x += n * self.n_channels * self.k.itemsize
            dz += n * self.n_filters * self.k.itemsize
            done += n

    cdef void begin(self, char *sums) noexcept nogil:
        memset(sums, 0, self.sums_bytes)

    cdef void finish(self, char *sums, char *gradient) noexcept nogil:
        """Add up what belongs to the same weight."""
        cdef:
            char *turned = sums + self.sums_bytes
            Py_ssize_t n = self.n_channels * self.n_filters
        if self.is_transposed:
            self.k.transpose(sums, self.n_filters, self.n_channels, self.sums_row, turned)
            self.k.column_sums(turned, 1, n, n, gradient)
        elif self.dw_pixels > 1:
            self.k.add_band(sums, 1, 1, self.n_channels, self.n_filters, self.dw_pixels, gradient)
