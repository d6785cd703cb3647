"""The images' way in while a network trains: every sample a little different in every epoch.

    source      standardised by the gather (`load_line`)
    geometry    y[q] = source[A^-1 (q - centre - shift) + centre + u(q)]    A: first flip, then scale, shear, rotation
    values      y = y * factor + offset + deviation * z
    cutout      y = 0 in a box

Two ways through the geometry.  Shifts by whole pixels and flips copy: a line of the result is a line of the image,
gathered to another place, plus the pixels that the border gives; no value is computed twice and none interpolated.  For
anything else in the plane the sample is gathered into the thread's scratch, with a margin, and a line of the result is
interpolated from there.

The elastic field u (Simard, Steinkraus and Platt, "Best practices for convolutional neural networks applied to visual
document analysis", ICDAR 2003) is uniform noise of amplitude alpha, smoothed by a Gaussian of width sigma, first along
the lines, then down.  Both are products with a banded matrix T[k, w] = g[w - k].  The product's tables read it from one
vector g with zeros around it, because the address of an element is a row's part plus a column's: nothing is built.

    noise, and the field:      h  | down: w 0 .. W-1, filled up to `stride` | right: the same |

All is drawn by counter from (seed, epoch, sample number) and a block of four words per kind: no draw depends on another
option, on threads or on how samples are batched.
"""
from libc.math cimport cos, pow, sin, tan
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy, memset

import numpy as np

from .layer cimport Pass, Tables, round_up, sample_number
from .pointwise cimport Input
from .table cimport FROM_FLOAT32, FROM_UINT8, START_AT_ZERO, Product, Run, Warp

cdef enum:
    WORDS = 16              # of a kind in random_words: word j of block i is [j * WORDS + i]
    FIELD_STRIP = 128       # values of the kernels' strips
    NOISE_STRIP = 64
    SLACK = 64              # elements that products may read past the end
    # Lines and pixels smoothed at a time: a block reads 2 radius + its own size, so it stays small against the radius
    # (3 sigma, 12 pixels for a digit of 28), but fills the tallest tile.
    LINES = 14
    PIXELS = 32

cdef enum:                  # blocks of four words: what they are for
    SHIFT = 0               # by axis; the highest bits of the last word flip, by axis
    PLANE = 1               # rotation, scale, shear
    CUTOUT = 2              # by axis
    VALUES = 3              # brightness, contrast

cdef uint64_t LAYER = 0xFFFFFFFF            # no dropout layer has this number
cdef uint32_t FIELD_BLOCKS = 0x40000000     # and on
cdef uint32_t NOISE_BLOCKS = 0x80000000

cdef enum Fill:
    EDGE = 0
    REFLECT = 1
    CONSTANT = 2

cdef struct Draw:           # of one sample
    Py_ssize_t shift[3]     # pixels that the image moves
    bint flip[3]
    double angle            # radians, clockwise on a screen
    double scale            # larger than 1: the image grows
    double shear            # pixels to the right per pixel down
    Py_ssize_t cut_first[3]
    Py_ssize_t cut_last[3]
    double factor
    double offset


cdef inline double signed_unit(uint32_t word) noexcept nogil:
    """Uniform in [-1, 1)."""
    return word * (1.0 / 2147483648.0) - 1


cdef inline Py_ssize_t below(uint32_t word, Py_ssize_t n) noexcept nogil:
    """Uniform in 0 .. n - 1, for n < 2^31."""
    return <Py_ssize_t> ((<uint64_t> word * <uint64_t> n) >> 32)


cdef class AugmentedInput(Input):
    """`Input` that draws every sample of a training pass anew; in prediction it is `Input`.

    Parameters
    ----------
    augmentation : Augmentation
        Ranges, resolved for the image size (skconv._augment).
    mean, scale
        As in `Input`.
    """

    cdef:
        Tables tables
        Py_ssize_t[3] most          # pixels of shift
        bint[3] flips
        double angle                # largest, radians
        double scale_step           # scales lie between 1 / it and it
        double shear                # largest angle, radians
        Py_ssize_t[3] cut           # pixels of the box; 0: none
        double noise
        double brightness
        double contrast             # as scale_step
        bint interpolates
        bint has_field
        bint adjusts
        bint cuts
        Fill fill
        char *border                # one constant line of the source
        Py_ssize_t margin           # pixels in front of the source, for the constant; behind it there is always one
        Py_ssize_t line             # of the source, in elements
        Py_ssize_t source_offset
        double alpha
        Py_ssize_t reach            # pixels that the Gaussian goes to either side
        char *gauss                 # its first tap
        Py_ssize_t stride           # of a component in a line of the field
        Py_ssize_t field_values     # and of the field, in whole strips
        Py_ssize_t field_offset     # two fields
        Py_ssize_t *down_rows
        Py_ssize_t *right_rows
        Py_ssize_t *field_lines
        Py_ssize_t noise_values
        Py_ssize_t noise_offset

    def __init__(self, kernels, x, y, augmentation, *, mean=None, scale=None, is_output=False):
        super().__init__(kernels, x, y, mean=mean, scale=scale, is_output=is_output)
        self.shares_forward = False     # lines of the result may come from anywhere
        cdef int axis, missing = 3 - len(augmentation.shift)
        self.tables = Tables()
        for axis in range(3 - missing):
            self.most[missing + axis] = augmentation.shift[axis]
            self.flips[missing + axis] = augmentation.flip[axis]
            self.cut[missing + axis] = augmentation.cutout[axis]
        for axis in range(missing):         # a line of one pixel is cut with the rest
            self.cut[axis] = 1
        self.cuts = any(augmentation.cutout)
        self.angle = np.deg2rad(augmentation.rotation)
        self.scale_step = 1 + augmentation.scale
        self.shear = np.deg2rad(augmentation.shear)
        self.noise, self.brightness = augmentation.noise, augmentation.brightness
        self.contrast = 1 + augmentation.contrast
        self.adjusts = self.noise > 0 or self.brightness > 0 or self.contrast > 1
        self.alpha = augmentation.elastic[0]
        self.has_field = self.alpha > 0
        self.interpolates = augmentation.interpolates
        self.margin = 0
        self.scratch_size = 0
        if self.interpolates or augmentation.fill == "constant" or isinstance(augmentation.fill, float):
            self._set_source(augmentation.fill, mean, scale)
        else:
            self.fill = REFLECT if augmentation.fill == "reflect" else EDGE
        if self.has_field:
            self._set_field(augmentation.elastic[1])
        if self.noise > 0:
            self.noise_values = (self.y.values + NOISE_STRIP - 1) // NOISE_STRIP * NOISE_STRIP
            self.noise_offset = self.scratch_size
            self.scratch_size += round_up(self.noise_values * self.itemsize)

    cdef int _set_source(self, fill, mean, scale) except -1:
        """Room for a standardised sample with the pixels behind its border."""
        cdef const char[::1] values
        self.fill = EDGE if fill == "edge" else REFLECT if fill == "reflect" else CONSTANT
        self.margin = self.fill == CONSTANT
        self.line = (self.margin + self.y.size[2] + 1) * self.y.channels
        dtype = np.float64 if self.itemsize == 8 else np.float32
        constant = np.zeros(self.y.channels, dtype)
        if self.fill == CONSTANT and fill != "constant":    # as the gather would see it
            constant += dtype(fill)
            if mean is not None:
                constant = (constant - np.asarray(mean, dtype)) * np.asarray(scale, dtype)
        tiled = np.tile(constant, self.line // self.y.channels).view(np.int8)
        values = tiled
        self.border = self.tables.bytes(values.shape[0])
        memcpy(self.border, &values[0], values.shape[0])
        if self.interpolates:
            self.source_offset = self.scratch_size
            self.scratch_size += round_up((self.margin + self.y.size[1] + 1) * self.line * self.itemsize)
        return 0

    cdef int _set_field(self, double sigma) except -1:
        """The Gaussian with zeros around it, and room for two fields."""
        cdef:
            const char[::1] values
            Py_ssize_t height = self.y.size[1], row, zeros = max(LINES, PIXELS)
        self.reach = max(1, <Py_ssize_t> (3 * sigma + 0.5))
        taps = np.exp(-0.5 * (np.arange(-self.reach, self.reach + 1) / sigma) ** 2)
        padded = np.zeros(zeros + taps.size + zeros + SLACK, np.float64 if self.itemsize == 8 else np.float32)
        padded[zeros:zeros + taps.size] = taps / taps.sum()
        as_bytes = padded.view(np.int8)
        values = as_bytes
        self.gauss = self.tables.bytes(values.shape[0])
        memcpy(self.gauss, &values[0], values.shape[0])
        self.gauss += zeros * self.itemsize
        self.stride = (self.y.size[2] + 15) // 16 * 16      # whole vectors, and the same draws for any vector length
        self.field_values = (2 * self.stride * height + FIELD_STRIP - 1) // FIELD_STRIP * FIELD_STRIP
        self.field_offset = self.scratch_size
        self.scratch_size += 2 * round_up((self.field_values + SLACK) * self.itemsize)
        self.right_rows = self.tables.sizes(2 * height)
        for row in range(2 * height):
            self.right_rows[row] = row * self.stride
        self.down_rows = self.tables.sizes(LINES)
        self.field_lines = self.tables.sizes(LINES)
        for row in range(LINES):
            self.down_rows[row] = -row
            self.field_lines[row] = row * 2 * self.stride
        return 0

    # ---- one sample --------------------------------------------------------------------------------------------

    cdef void forward(self, const Pass *p) noexcept nogil:
        cdef:
            Draw draw
            Py_ssize_t i
        if not p.training:
            Input.forward(self, p)
            return
        for i in range(p.n):
            self._draw(p, sample_number(p, i), &draw)
            if self.interpolates:
                self._warp(p, i, &draw)
            else:
                self._copy(p, i, &draw)
            if self.adjusts:
                self._adjust(p, i, &draw)
            if self.cuts:
                self._cut_out(p, i, &draw)

    cdef void _draw(self, const Pass *p, Py_ssize_t sample, Draw *draw) noexcept nogil:
        cdef:
            uint32_t[4 * WORDS] words
            int axis
            Py_ssize_t centre
        self.k.random_words(p.seed, LAYER, p.epoch, sample, 0, words)
        for axis in range(3):
            draw.shift[axis] = below(words[axis * WORDS + SHIFT], 2 * self.most[axis] + 1) - self.most[axis]
            draw.flip[axis] = self.flips[axis] and (words[3 * WORDS + SHIFT] >> (31 - axis)) & 1
            centre = below(words[axis * WORDS + CUTOUT], self.y.size[axis])
            draw.cut_first[axis] = max(0, centre - self.cut[axis] // 2)
            draw.cut_last[axis] = min(self.y.size[axis], centre - self.cut[axis] // 2 + self.cut[axis])
        draw.angle = self.angle * signed_unit(words[PLANE])
        draw.scale = pow(self.scale_step, signed_unit(words[WORDS + PLANE]))
        draw.shear = tan(self.shear * signed_unit(words[2 * WORDS + PLANE]))
        draw.offset = self.brightness * signed_unit(words[VALUES])
        draw.factor = pow(self.contrast, signed_unit(words[WORDS + VALUES]))

    cdef char *_line_at(self, const Pass *p, Py_ssize_t i, Py_ssize_t d, Py_ssize_t h) noexcept nogil:
        return self.output(p, i) + (d * self.y.depth_stride + h * self.y.line_stride) * self.itemsize

    cdef const char *_sample_at(self, const Pass *p, Py_ssize_t i, Py_ssize_t *pixel) noexcept nogil:
        """Where a sample of the data begins; `pixel` is told the bytes of one."""
        pixel[0] = self.y.channels * (1 if p.source == FROM_UINT8 else 4 if p.source == FROM_FLOAT32 else 8)
        return p.x + sample_number(p, i) * p.x_sample

    # ---- whole pixels ------------------------------------------------------------------------------------------

    cdef Py_ssize_t _origin(self, Py_ssize_t position, Py_ssize_t n) noexcept nogil:
        """The pixel that a position along an axis of n shows, if outside by less than n; -1 for the constant."""
        if 0 <= position < n:
            return position
        if self.fill == CONSTANT:
            return -1
        if self.fill == EDGE:
            return 0 if position < 0 else n - 1
        return -position if position < 0 else 2 * (n - 1) - position

    cdef void _copy(self, const Pass *p, Py_ssize_t i, const Draw *draw) noexcept nogil:
        cdef:
            Py_ssize_t pixel, d, h, from_d, from_h, height = self.y.size[1]
            const char *x = self._sample_at(p, i, &pixel)
            char *y
        for d in range(self.y.size[0]):
            from_d = self._origin(d - draw.shift[0], self.y.size[0])
            if draw.flip[0] and from_d >= 0:
                from_d = self.y.size[0] - 1 - from_d
            for h in range(height):
                from_h = self._origin(h - draw.shift[1], height)
                if draw.flip[1] and from_h >= 0:
                    from_h = height - 1 - from_h
                y = self._line_at(p, i, d, h)
                if from_d < 0 or from_h < 0:
                    memcpy(y, self.border, self.y.size[2] * self.y.channels * self.itemsize)
                    continue
                # A flipped line is shifted the other way and turned round where it lies.
                self._copy_line(p.source, x + (from_d * height + from_h) * self.y.size[2] * pixel, pixel,
                                -draw.shift[2] if draw.flip[2] else draw.shift[2], y)
                if draw.flip[2]:
                    self.k.reverse_line(y, self.y.size[2], self.y.channels)

    cdef void _copy_line(self, int source, const char *x, Py_ssize_t pixel, Py_ssize_t shift, char *y) noexcept nogil:
        cdef:
            Py_ssize_t width = self.y.size[2], channels = self.y.channels, step = channels * self.itemsize
            Py_ssize_t first = max(shift, 0), last = min(width, width + shift), w
        self.k.load_line(source, x + (first - shift) * pixel, (last - first) * channels, self.mean, self.scale,
                         y + first * step)
        for w in range(first):
            self._copy_pixel(source, x, pixel, w - shift, y + w * step)
        for w in range(last, width):
            self._copy_pixel(source, x, pixel, w - shift, y + w * step)

    cdef void _copy_pixel(self, int source, const char *x, Py_ssize_t pixel, Py_ssize_t position,
                          char *y) noexcept nogil:
        """A pixel from behind the border."""
        cdef Py_ssize_t origin = self._origin(position, self.y.size[2])
        if origin < 0:
            memcpy(y, self.border, self.y.channels * self.itemsize)
        else:
            self.k.load_line(source, x + origin * pixel, self.y.channels, self.mean, self.scale, y)

    # ---- between pixels ----------------------------------------------------------------------------------------

    cdef void _warp(self, const Pass *p, Py_ssize_t i, const Draw *draw) noexcept nogil:
        cdef:
            Warp w
            char *scratch = p.scratch + self.scratch_offset
            const char *source = scratch + self.source_offset
            const char *field = NULL
            Py_ssize_t h
        self._load_source(p, i, scratch + self.source_offset)
        if self.has_field:
            field = self._make_field(p, sample_number(p, i), scratch + self.field_offset)
        self._set_warp(draw, &w)
        for h in range(self.y.size[1]):
            self.k.warp_line(&w, h, source,
                             NULL if field == NULL else field + h * 2 * self.stride * self.itemsize,
                             self._line_at(p, i, 0, h))

    cdef void _load_source(self, const Pass *p, Py_ssize_t i, char *source) noexcept nogil:
        """The standardised sample: the constant around it, or copies of its last pixels and line behind it."""
        cdef:
            Py_ssize_t pixel, h, width = self.y.size[2], height = self.y.size[1]
            Py_ssize_t step = self.y.channels * self.itemsize, line = self.line * self.itemsize
            const char *x = self._sample_at(p, i, &pixel)
            char *y
        for h in range(height):
            y = source + (self.margin + h) * line
            if self.margin:
                memcpy(y, self.border, step)
            y += self.margin * step
            self.k.load_line(p.source, x + h * width * pixel, width * self.y.channels, self.mean, self.scale, y)
            y += width * step
            memcpy(y, self.border if self.margin else y - step, step)
        if self.margin:
            memcpy(source, self.border, line)
        y = source + (self.margin + height) * line
        memcpy(y, self.border if self.margin else y - line, line)

    cdef void _set_warp(self, const Draw *draw, Warp *w) noexcept nogil:
        """From the drawn map of the image to where a pixel of the result comes from: its inverse."""
        cdef:
            double c = cos(draw.angle), s = sin(draw.angle)
            double down = (-1 if draw.flip[1] else 1) / draw.scale, right = (-1 if draw.flip[2] else 1) / draw.scale
            double[2] middle
            int axis
        w.a[0][0] = down * c
        w.a[0][1] = -down * s
        w.a[1][0] = right * (s - draw.shear * c)
        w.a[1][1] = right * (c + draw.shear * s)
        for axis in range(2):
            middle[axis] = 0.5 * (self.y.size[1 + axis] - 1)
        for axis in range(2):
            w.b[axis] = (middle[axis] + self.margin - w.a[axis][0] * (middle[0] + draw.shift[1])
                         - w.a[axis][1] * (middle[1] + draw.shift[2]))
            w.period[axis] = 2 * (self.y.size[1 + axis] - 1) if self.fill == REFLECT else 0
            w.top[axis] = self.y.size[1 + axis] - 1 + 2 * self.margin
            w.last[axis] = self.y.size[1 + axis] - 1 + self.margin
        w.line = self.line
        w.width = self.y.size[2]
        w.channels = self.y.channels
        w.u_stride = self.stride

    cdef const char *_make_field(self, const Pass *p, Py_ssize_t sample, char *field) noexcept nogil:
        """Displacements (height, down or right, stride): smooth noise."""
        cdef:
            char *noise = field
            char *smooth = field + round_up((self.field_values + SLACK) * self.itemsize)
            Py_ssize_t height = self.y.size[1], width = self.y.size[2], row = 2 * self.stride, first, last, start
            Run run
            Product product
        self.k.uniform_values(self.field_values, self.alpha, p.seed, LAYER, p.epoch, sample, FIELD_BLOCKS, noise)
        product.runs = &run
        product.n_runs = 1
        product.a_step = 1
        # Along the lines: smooth[m, w] = sum over k of noise[m, k] g[reach + w - k].
        product.b_step = -1
        first = 0
        while first < width:
            last = min(first + PIXELS, self.stride)
            start = max(0, first - self.reach)
            run.a = start
            run.b = self.reach + first - start
            product.length = min(width, last + self.reach) - start
            self.k.product(&product, 2 * height, last - first, noise, self.right_rows, self.gauss, START_AT_ZERO, NULL,
                           smooth + first * self.itemsize, self.right_rows, False)
            first += PIXELS
        # Down: field[h, f] = sum over k of g[reach + k - h] smooth[k, f].
        product.b_step = row
        first = 0
        while first < height:
            last = min(first + LINES, height)
            start = max(0, first - self.reach)
            run.a = self.reach + start - first
            run.b = start * row
            product.length = min(height, last + self.reach) - start
            self.k.product(&product, last - first, row, self.gauss, self.down_rows, smooth, START_AT_ZERO, NULL,
                           field + first * row * self.itemsize, self.field_lines, False)
            first += LINES
        return field

    # ---- values ------------------------------------------------------------------------------------------------

    cdef void _adjust(self, const Pass *p, Py_ssize_t i, const Draw *draw) noexcept nogil:
        cdef:
            Py_ssize_t d, h, values = self.y.size[2] * self.y.channels
            const char *z = NULL
        if self.noise > 0:
            z = p.scratch + self.scratch_offset + self.noise_offset
            self.k.normal_values(self.noise_values, p.seed, LAYER, p.epoch, sample_number(p, i), NOISE_BLOCKS,
                                 p.scratch + self.scratch_offset + self.noise_offset)
        for d in range(self.y.size[0]):
            for h in range(self.y.size[1]):
                self.k.adjust_line(self._line_at(p, i, d, h), values, draw.factor, draw.offset, self.noise, z)
                if z != NULL:
                    z += values * self.itemsize

    cdef void _cut_out(self, const Pass *p, Py_ssize_t i, const Draw *draw) noexcept nogil:
        cdef Py_ssize_t d, h, step = self.y.channels * self.itemsize
        for d in range(draw.cut_first[0], draw.cut_last[0]):
            for h in range(draw.cut_first[1], draw.cut_last[1]):
                memset(self._line_at(p, i, d, h) + draw.cut_first[2] * step, 0,
                       (draw.cut_last[2] - draw.cut_first[2]) * step)
