"""Augmentation: random numbers by the strip, bilinear interpolation by the line, and what is done to grey values.

    random      Philox (random.pxd) for BLOCKS counters at once.  One counter after the other, ten rounds are a chain of
                multiplications that wait for each other; side by side they are a vector loop.
    uniform     u = (half + 1/2) / 2^15 - 1 for the 16-bit halves of the words: symmetric about 0, inside (-1, 1)
    normal      z_1, z_2 = sqrt(-2 log a) (cos, sin)(2 pi b)       (Box and Muller, 1958), |z| < 5.8
    warp        y[h, w] = bilinear x at  a (h, w) + b + u[h, w],  folded or clipped into the image
    adjust      y = y * factor + offset + deviation * z

Loop order of the warp: strips of STRIP pixels of a line; first the coordinates, which is arithmetic without memory,
then the four taps of every pixel.  A tap that the clipped coordinate does not need has weight 0 and lies in the margin
of the source, so that no pixel is a special case.
"""
from libc.math cimport sqrtf
from libc.stdint cimport int32_t, uint32_t, uint64_t

from .real cimport real
from ..table cimport Warp

cdef enum:
    BLOCKS = 16         # counters side by side
    STRIP = 64          # pixels whose coordinates are on the stack, and normal numbers of one strip of counters

cdef union Bits:
    float f
    int32_t bits


cdef inline void random_words(
    uint64_t seed,
    uint64_t layer,
    uint64_t epoch,
    uint64_t sample,
    uint32_t first,             # of the sample's blocks of four words
    uint32_t *words,            # (4, BLOCKS)   OUT  word j of block first + i at [j, i]
) noexcept nogil:
    """Counters and keys are those of `dropout`: the block, the sample (two words) and the epoch; seed and layer."""
    cdef:
        uint64_t a, b
        uint32_t *c0 = words
        uint32_t *c1 = words + BLOCKS
        uint32_t *c2 = words + 2 * BLOCKS
        uint32_t *c3 = words + 3 * BLOCKS
        uint32_t key_0 = <uint32_t> seed
        uint32_t key_1 = (<uint32_t> (seed >> 32)) ^ (<uint32_t> layer * 0x9E3779B9U)
        Py_ssize_t _, i
    for i in range(BLOCKS):
        c0[i] = first + <uint32_t> i
        c1[i] = <uint32_t> sample
        c2[i] = <uint32_t> (sample >> 32)
        c3[i] = <uint32_t> epoch
    for _ in range(10):
        for i in range(BLOCKS):
            a = 0xD2511F53ULL * c0[i]
            b = 0xCD9E8D57ULL * c2[i]
            c0[i] = <uint32_t> (b >> 32) ^ c1[i] ^ key_0
            c1[i] = <uint32_t> b
            c2[i] = <uint32_t> (a >> 32) ^ c3[i] ^ key_1
            c3[i] = <uint32_t> a
        key_0 += 0x9E3779B9U
        key_1 += 0xBB67AE85U


cdef inline void uniform_values(
    Py_ssize_t n,               # a whole number of strips of 8 * BLOCKS
    double largest,
    uint64_t seed,
    uint64_t layer,
    uint64_t epoch,
    uint64_t sample,
    uint32_t first,             # block
    real *u,                    # (n,)   OUT  in (-largest, largest)
) noexcept nogil:
    """In a strip, the lower half of word j of block i is value [2 j, i], the upper one [2 j + 1, i]."""
    cdef:
        uint32_t[4 * BLOCKS] words
        real scale = <real> (largest / 32768)
        Py_ssize_t done = 0, j, i
    while done < n:
        random_words(seed, layer, epoch, sample, first, words)
        for j in range(4):
            for i in range(BLOCKS):
                u[2 * j * BLOCKS + i] = (<int32_t> (words[j * BLOCKS + i] & 0xFFFF) - <real> 32767.5) * scale
                u[(2 * j + 1) * BLOCKS + i] = (<int32_t> (words[j * BLOCKS + i] >> 16) - <real> 32767.5) * scale
        first += BLOCKS
        u += 8 * BLOCKS
        done += 8 * BLOCKS


cdef inline float sine(float t) noexcept nogil:
    """Return sin(pi t / 2) for |t| <= 1, by its series: the next term is less than 6e-8."""
    cdef float q = t * t
    return t * (<float> 1.5707964 - q * (<float> 0.64596410 - q * (<float> 0.079692626 - q * (
        <float> 0.0046817541 - q * (<float> 1.6044118e-4 - q * <float> 3.5988432e-6)))))


cdef inline float radius(uint32_t word) noexcept nogil:
    """Return sqrt(-2 log a) for a = (word >> 9 + 1/2) / 2^23.

    a = m 2^e with m in [sqrt(1/2), sqrt(2)), and log m = 2 artanh s = 2 (s + s^3/3 + ...) with s = (m - 1) / (m + 1).
    """
    cdef:
        Bits a
        int32_t e
        float s, q
    a.f = (<float> <int32_t> (word >> 9) + <float> 0.5) * <float> 1.1920929e-07
    e = (a.bits - 0x3F3504F3) >> 23
    a.bits -= e << 23
    s = (a.f - 1) / (a.f + 1)
    q = s * s
    q = s * (2 + q * (<float> 0.66666667 + q * (<float> 0.4 + q * (<float> 0.28571429 + q * <float> 0.22222222))))
    return sqrtf(-2 * (e * <float> 0.69314718 + q))


cdef inline void normal_values(
    Py_ssize_t n,               # a whole number of strips of 4 * BLOCKS
    uint64_t seed,
    uint64_t layer,
    uint64_t epoch,
    uint64_t sample,
    uint32_t first,             # block
    real *z,                    # (n,)   OUT
) noexcept nogil:
    """In a strip, words 0 and 1 of block i make values [0, i] and [1, i]; words 2 and 3 make [2, i] and [3, i]."""
    cdef:
        uint32_t[4 * BLOCKS] words
        float r, t, distance
        Py_ssize_t done = 0, j, i
    while done < n:
        random_words(seed, layer, epoch, sample, first, words)
        for j in range(0, 4, 2):
            for i in range(BLOCKS):
                r = radius(words[j * BLOCKS + i])
                # Quarter turns in [-2, 2): cos is even, sin is odd, and both fold into |t| <= 1.
                t = <float> (<int32_t> words[(j + 1) * BLOCKS + i]) * <float> 9.3132257e-10
                distance = t if t >= 0 else -t
                z[j * BLOCKS + i] = r * sine(1 - distance)
                distance = 1 - distance if distance >= 1 else distance - 1
                z[(j + 1) * BLOCKS + i] = r * sine(1 + distance if t >= 0 else -1 - distance)
        first += BLOCKS
        z += 4 * BLOCKS
        done += 4 * BLOCKS


cdef inline void coordinates(
    real base,
    real step,
    const real *u,              # (n,) or NULL
    Py_ssize_t n,
    real period,                # of reflections, or 0 for none
    real top,                   # the coordinate ends there
    int32_t last,               # the lower tap may be
    int32_t *tap,               # (n,)   OUT
    real *fraction,             # (n,)   OUT  of the way to the next one
) noexcept nogil:
    cdef:
        real[STRIP] c
        real value, inverse
        Py_ssize_t i
    for i in range(n):
        c[i] = base + step * <real> <int32_t> i
    if u != NULL:
        for i in range(n):
            c[i] += u[i]
    if period > 0:
        inverse = 1 / period
        for i in range(n):
            value = c[i] if c[i] >= 0 else -c[i]
            value -= period * <real> <int32_t> (value * inverse)
            c[i] = min(value, period - value)
    for i in range(n):
        value = max(<real> 0, min(c[i], top))
        tap[i] = min(<int32_t> value, last)
        fraction[i] = value - <real> tap[i]


cdef inline void warp_line(
    const Warp *w,
    Py_ssize_t h,               # line of the result
    const real *x,              # the source with its margin
    const real *u,              # displacement of the line in both directions, w.u_stride apart, or NULL
    real *y,                    # (w.width, w.channels)   OUT
) noexcept nogil:
    cdef:
        int32_t[STRIP] row
        int32_t[STRIP] column
        real[STRIP] down
        real[STRIP] right
        Py_ssize_t first = 0, n, i, c, at, line = w.line, channels = w.channels
        const real *p
        real above, below
    while first < w.width:
        n = min(STRIP, w.width - first)
        coordinates(<real> (w.a[0][0] * h + w.a[0][1] * first + w.b[0]), <real> w.a[0][1],
                    NULL if u == NULL else u + first, n, <real> w.period[0], <real> w.top[0], w.last[0], row, down)
        coordinates(<real> (w.a[1][0] * h + w.a[1][1] * first + w.b[1]), <real> w.a[1][1],
                    NULL if u == NULL else u + w.u_stride + first, n, <real> w.period[1], <real> w.top[1], w.last[1],
                    column, right)
        if channels == 1:
            for i in range(n):
                at = row[i] * line + column[i]
                above = x[at] + right[i] * (x[at + 1] - x[at])
                below = x[at + line] + right[i] * (x[at + line + 1] - x[at + line])
                y[first + i] = above + down[i] * (below - above)
        else:
            for i in range(n):
                p = x + row[i] * line + column[i] * channels
                for c in range(channels):
                    above = p[c] + right[i] * (p[c + channels] - p[c])
                    below = p[c + line] + right[i] * (p[c + line + channels] - p[c + line])
                    y[(first + i) * channels + c] = above + down[i] * (below - above)
        first += n


cdef inline void reverse_line(real *x, Py_ssize_t n_pixels, Py_ssize_t channels) noexcept nogil:
    """Turn a line of pixels round, in place."""
    cdef:
        Py_ssize_t i, c
        real *last = x + (n_pixels - 1) * channels
        real value
    for i in range(n_pixels // 2):
        for c in range(channels):
            value = x[i * channels + c]
            x[i * channels + c] = last[c - i * channels]
            last[c - i * channels] = value


cdef inline void adjust_line(
    real *y,                    # (n,)   IN, OUT
    Py_ssize_t n,
    double factor,
    double offset,
    double deviation,
    const real *z,              # (n,) or NULL
) noexcept nogil:
    cdef:
        Py_ssize_t i
        real f = <real> factor, o = <real> offset, d = <real> deviation
    if z == NULL:
        for i in range(n):
            y[i] = y[i] * f + o
    else:
        for i in range(n):
            y[i] = y[i] * f + (o + d * z[i])
