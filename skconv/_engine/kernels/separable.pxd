"""What a bank of separable filters does beside its products: lines in, responses, pixels or moments out.

Lines of a bank hold one value per output column, filter by filter, so that every loop here runs along the columns.
"""
from .real cimport real, sqrt
from ..table cimport LINEAR, MAGNITUDE, MAX_COLUMNS

cdef extern from "tile.h" nogil:
    void store_pixels "skconv_store_pixels"(const real *lines, Py_ssize_t line, Py_ssize_t n_filters,
                                            Py_ssize_t n_pixels, real *y, Py_ssize_t pixel)


cdef enum:
    SPREAD = 16         # sums side by side: a vector of float32 with AVX-512


cdef inline void gather(
    const real *x,
    const Py_ssize_t *at,           # (n,) places in x, or -1
    Py_ssize_t n,
    real *out,                      # (n,)
) noexcept nogil:
    """out[i] = x[at[i]], zero where there is no place."""
    cdef Py_ssize_t i
    for i in range(n):
        out[i] = x[at[i]] if at[i] >= 0 else 0


cdef inline void add_products(
    const real *q,
    Py_ssize_t n,
    Py_ssize_t n_terms,
    const Py_ssize_t *at,           # (n_terms,)
    const real *factors,            # (n_terms,)
    real *out,                      # (n,)
) noexcept nogil:
    """out[f] = sum_t factors[t] * q[at[t] + f]; most sums have two terms."""
    cdef:
        Py_ssize_t f, t
        const real *a
        const real *b
        real u, v
    if n_terms == 0:
        for f in range(n):
            out[f] = 0
        return
    a, u = q + at[0], factors[0]
    if n_terms == 1:
        for f in range(n):
            out[f] = u * a[f]
        return
    b, v = q + at[1], factors[1]
    for f in range(n):
        out[f] = u * a[f] + v * b[f]
    for t in range(2, n_terms):
        a, u = q + at[t], factors[t]
        for f in range(n):
            out[f] += u * a[f]


cdef inline void respond(
    int kind,
    const real *q,
    Py_ssize_t n,                   # at most MAX_COLUMNS
    Py_ssize_t n_real,
    Py_ssize_t n_imaginary,
    const Py_ssize_t *at,           # (n_real + n_imaginary,)
    const real *factors,
    real *out,                      # (n,)
) noexcept nogil:
    """The real part, or (squared) magnitude, of sums of products."""
    cdef:
        Py_ssize_t f
        real[MAX_COLUMNS] imaginary
    add_products(q, n, n_real, at, factors, out)
    if kind == LINEAR:
        return
    add_products(q, n, n_imaginary, at + n_real, factors + n_real, imaginary)
    if kind == MAGNITUDE:
        for f in range(n):
            out[f] = sqrt(out[f] * out[f] + imaginary[f] * imaginary[f])
    else:
        for f in range(n):
            out[f] = out[f] * out[f] + imaginary[f] * imaginary[f]


cdef inline real spread_sum(const real *x, Py_ssize_t n, real mean, bint squared) noexcept nogil:
    """sum_i (x[i] - mean), or of its squares, in SPREAD sums side by side: one sum would wait for its own adds."""
    cdef:
        real[SPREAD] sums
        real d, total = 0
        Py_ssize_t i = 0, k
    for k in range(SPREAD):
        sums[k] = 0
    while i + SPREAD <= n:
        for k in range(SPREAD):
            d = x[i + k] - mean
            sums[k] += d * d if squared else d
        i += SPREAD
    for k in range(n - i):
        d = x[i + k] - mean
        sums[k] += d * d if squared else d
    for k in range(SPREAD):
        total += sums[k]
    return total


cdef inline void line_moments(
    const real *lines,              # (n_filters, line)
    Py_ssize_t line,
    Py_ssize_t n_filters,
    Py_ssize_t n,                   # values of each
    double n_before,
    double *moments,                # (n_filters, 2): mean, sum of squared deviations from it
) noexcept nogil:
    """Take a line of values into the moments (Chan, Golub and LeVeque, 1983, eq. 2.1)."""
    cdef:
        Py_ssize_t _
        real mean, squares
        double delta, share = n / (n_before + n), weight = n_before * share
    for _ in range(n_filters):
        mean = spread_sum(lines, n, 0, False) / n
        squares = spread_sum(lines, n, mean, True)
        delta = mean - moments[0]
        moments[0] += delta * share
        moments[1] += squares + delta * delta * weight
        lines += line
        moments += 2


cdef inline void pixel_moments(
    const real *x,                  # (n, n_channels)
    Py_ssize_t n,
    Py_ssize_t n_channels,
    double n_before,
    real *sums,                     # (2, n_channels): scratch
    double *moments,                # (n_channels, 2)
) noexcept nogil:
    """As `line_moments`, for a line of pixels."""
    cdef:
        Py_ssize_t i, c
        real *squares = sums + n_channels
        real d
        double delta, share = n / (n_before + n), weight = n_before * share
    for c in range(2 * n_channels):
        sums[c] = 0
    for i in range(n):
        for c in range(n_channels):
            sums[c] += x[i * n_channels + c]
    for c in range(n_channels):
        sums[c] /= n
    for i in range(n):
        for c in range(n_channels):
            d = x[i * n_channels + c] - sums[c]
            squares[c] += d * d
    for c in range(n_channels):
        delta = sums[c] - moments[2 * c]
        moments[2 * c] += delta * share
        moments[2 * c + 1] += squares[c] + delta * delta * weight


cdef inline void pixel_moments_gradient(
    const real *x,                  # (n, n_channels)
    Py_ssize_t n,
    Py_ssize_t n_channels,
    const real *y,                  # (n_channels, 2): the block's moments
    const real *dy,
    double count,                   # of the block's pixels
    real *dx,                       # (n, n_channels)
) noexcept nogil:
    """d mean / dx = 1 / count, d squares / dx = 2 (x - mean)."""
    cdef Py_ssize_t i, c
    for i in range(n):
        for c in range(n_channels):
            dx[i * n_channels + c] = (<real> (dy[2 * c] / count)
                                      + 2 * dy[2 * c + 1] * (x[i * n_channels + c] - y[2 * c]))


cdef inline void moments_out(const double *moments, Py_ssize_t n, real *out) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        out[i] = <real> moments[i]


cdef inline void combine_moments(
    const real *blocks,             # (n_blocks, n_channels, 2): mean, sum of squared deviations
    const double *counts,           # (n_blocks,)
    Py_ssize_t n_blocks,
    Py_ssize_t n_channels,
    real *y,                        # (n_channels, 2): mean, standard deviation
) noexcept nogil:
    """Moments of the whole from those of its blocks, in their order."""
    cdef:
        Py_ssize_t b, c
        double n, mean, squares, delta
    for c in range(n_channels):
        n = mean = squares = 0
        for b in range(n_blocks):
            delta = blocks[2 * (b * n_channels + c)] - mean
            mean += delta * (counts[b] / (n + counts[b]))
            squares += blocks[2 * (b * n_channels + c) + 1] + delta * delta * (n * counts[b] / (n + counts[b]))
            n += counts[b]
        y[2 * c] = <real> mean
        y[2 * c + 1] = <real> sqrt(<real> (squares / n))


cdef inline void combine_moments_gradient(
    const real *blocks,
    const double *counts,
    Py_ssize_t n_blocks,
    Py_ssize_t n_channels,
    const real *y,
    const real *dy,                 # (n_channels, 2)
    real *dx,                       # (n_blocks, n_channels, 2)
) noexcept nogil:
    """From N std^2 = sum_b M_b + n_b (m_b - mean)^2: d std / d M_b = 1 / (2 N std), d std / d m_b = n_b (m_b - mean) /
    (N std), and d mean / d m_b = n_b / N. A constant map has no such slope; its gradient is zero."""
    cdef:
        Py_ssize_t b, c, at
        double n = 0, slope
    for b in range(n_blocks):
        n += counts[b]
    for c in range(n_channels):
        slope = dy[2 * c + 1] / (n * y[2 * c + 1]) if y[2 * c + 1] > 0 else 0
        for b in range(n_blocks):
            at = 2 * (b * n_channels + c)
            dx[at] = <real> (counts[b] * (dy[2 * c] / n + slope * (blocks[at] - y[2 * c])))
            dx[at + 1] = <real> (slope / 2)


cdef inline void modulus(
    int kind,
    const real *x,                  # (n_groups, 2, n): real parts, imaginary parts
    Py_ssize_t n_groups,
    Py_ssize_t n,
    real *y,                        # (n_groups, n)
) noexcept nogil:
    cdef Py_ssize_t _, f
    for _ in range(n_groups):
        if kind == MAGNITUDE:
            for f in range(n):
                y[f] = sqrt(x[f] * x[f] + x[n + f] * x[n + f])
        else:
            for f in range(n):
                y[f] = x[f] * x[f] + x[n + f] * x[n + f]
        x += 2 * n
        y += n


cdef inline void modulus_gradient(
    int kind,
    const real *x,
    const real *y,
    const real *dy,
    Py_ssize_t n_groups,
    Py_ssize_t n,
    real *dx,
) noexcept nogil:
    """dx = dy * x / |x|, zero where the response is; 2 dy * x for the energy."""
    cdef:
        Py_ssize_t _, f
        real slope
    for _ in range(n_groups):
        for f in range(n):
            slope = 2 * dy[f]
            if kind == MAGNITUDE:
                slope = dy[f] / y[f] if y[f] > 0 else 0
            dx[f] = slope * x[f]
            dx[n + f] = slope * x[n + f]
        x += 2 * n
        dx += 2 * n
        y += n
        dy += n
