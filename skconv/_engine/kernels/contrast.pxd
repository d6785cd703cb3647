"""Local contrast normalisation, a line of pixels at a time.

    forward    m = (mean over channels of x - origin), blurred,  v = x - origin - m
               s^2 = (mean over channels of v^2), blurred,  d = max(s, floor),  y = v / d
    backward   t = -(sum over channels of dy y) / d               by d
               dx = dy / d + (2 / C) y d q                        with q, the blurred gradient by s^2
               dx -= (mean over channels of dx), blurred          through m

A blur is a sum of lines at constant distances: `step` is 1 along a line, which then has zeros at both ends, or the
distance of lines or of slices.  The loop over taps is the inner one over blocks of pixels that stay in registers.
Sums over channels go eight at a time, because a compiler may not reorder them itself.
"""
from .real cimport real, sqrt

cdef enum:
    BLOCK = 32
    LANES = 8


cdef inline void blur_line(
    const real *x,                  # (n_taps - 1) * step + n elements
    Py_ssize_t step,
    Py_ssize_t n_taps,
    const real *weights,            # (n_taps,)
    Py_ssize_t n,
    const real *factors,            # (n,), or NULL: no factors
    double factor,
    real *out,                      # (n,)   OUT
) noexcept nogil:
    cdef:
        Py_ssize_t i, k, start = 0
        real[BLOCK] total
        real w
    while start + BLOCK <= n:
        for i in range(BLOCK):
            total[i] = 0
        for k in range(n_taps):
            w = weights[k]
            for i in range(BLOCK):
                total[i] += w * x[k * step + start + i]
        for i in range(BLOCK):
            out[start + i] = total[i]
        start += BLOCK
    while start + LANES <= n:
        for i in range(LANES):
            total[i] = 0
        for k in range(n_taps):
            w = weights[k]
            for i in range(LANES):
                total[i] += w * x[k * step + start + i]
        for i in range(LANES):
            out[start + i] = total[i]
        start += LANES
    for i in range(start, n):
        total[0] = 0
        for k in range(n_taps):
            total[0] += weights[k] * x[k * step + i]
        out[i] = total[0]
    if factors != NULL:
        scale_line(out, n, factors, factor, out)


cdef inline void scale_line(const real *x, Py_ssize_t n, const real *factors, double factor, real *out) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        out[i] = x[i] * (factors[i] * <real> factor)


cdef inline real fold(const real *lanes) noexcept nogil:
    return ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]))


cdef inline void channel_means(
    const real *x,                  # (n, n_channels)
    Py_ssize_t n,
    Py_ssize_t n_channels,
    const real *origin,             # (1,)
    real *means,                    # (n,)   OUT
) noexcept nogil:
    cdef:
        Py_ssize_t i, c, lane
        real[LANES] lanes
        real share = <real> 1 / <real> n_channels, zero = origin[0], total
    if n_channels == 1:
        for i in range(n):
            means[i] = x[i] - zero
        return
    for i in range(n):
        for lane in range(LANES):
            lanes[lane] = 0
        c = 0
        while c + LANES <= n_channels:
            for lane in range(LANES):
                lanes[lane] += x[c + lane] - zero
            c += LANES
        total = fold(lanes)
        while c < n_channels:
            total += x[c] - zero
            c += 1
        means[i] = total * share
        x += n_channels


cdef inline void subtract_line(
    const real *x,                  # (n, n_channels)
    Py_ssize_t n,
    Py_ssize_t n_channels,
    const real *origin,             # (1,)
    const real *means,              # (n,)
    real *v,                        # (n, n_channels)   OUT
    real *squares,                  # (n,)   OUT
) noexcept nogil:
    cdef:
        Py_ssize_t i, c, lane
        real[LANES] lanes
        real share = <real> 1 / <real> n_channels, zero = origin[0], total, value
    if n_channels == 1:
        for i in range(n):
            value = (x[i] - zero) - means[i]
            v[i] = value
            squares[i] = value * value
        return
    for i in range(n):
        for lane in range(LANES):
            lanes[lane] = 0
        c = 0
        while c + LANES <= n_channels:
            for lane in range(LANES):
                value = (x[c + lane] - zero) - means[i]
                v[c + lane] = value
                lanes[lane] += value * value
            c += LANES
        total = fold(lanes)
        while c < n_channels:
            value = (x[c] - zero) - means[i]
            v[c] = value
            total += value * value
            c += 1
        squares[i] = total * share
        x += n_channels
        v += n_channels


cdef inline double root_line(real *x, Py_ssize_t n) noexcept nogil:
    """Square roots in place, and their sum."""
    cdef:
        Py_ssize_t i
        double total = 0
    for i in range(n):
        x[i] = sqrt(x[i])
    for i in range(n):
        total += <double> x[i]
    return total


cdef inline void divide_line(
    real *v,                        # (n, n_channels)   IN, OUT
    Py_ssize_t n,
    Py_ssize_t n_channels,
    const real *deviations,         # (n,)
    double floor,
) noexcept nogil:
    cdef:
        Py_ssize_t i, c
        real least = <real> floor, d
    if n_channels == 1:
        for i in range(n):
            v[i] /= max(deviations[i], least)
        return
    for i in range(n):
        d = 1 / max(deviations[i], least)
        for c in range(n_channels):
            v[c] *= d
        v += n_channels


cdef inline double divisor_gradient(
    const real *dy,                 # (n, n_channels)
    const real *y,                  # (n, n_channels)
    Py_ssize_t n,
    Py_ssize_t n_channels,
    const real *deviations,         # (n,)
    double floor,
    real *slopes,                   # (n,)   OUT  by the deviation, where it is the divisor; else 0
) noexcept nogil:
    """The gradient by the divisors; returns what belongs to the floor."""
    cdef:
        Py_ssize_t i, c, lane
        real[LANES] lanes
        real least = <real> floor, total
        double rest = 0
    for i in range(n):
        for lane in range(LANES):
            lanes[lane] = 0
        c = 0
        while c + LANES <= n_channels:
            for lane in range(LANES):
                lanes[lane] += dy[c + lane] * y[c + lane]
            c += LANES
        total = fold(lanes)
        while c < n_channels:
            total += dy[c] * y[c]
            c += 1
        if deviations[i] > least:
            slopes[i] = -total / deviations[i]
        else:
            slopes[i] = 0
            rest -= <double> (total / least)
        dy += n_channels
        y += n_channels
    return rest


cdef inline void root_gradient(real *slopes, const real *deviations, Py_ssize_t n, double share) noexcept nogil:
    """From the gradient by a root, plus `share`, to that by its square; 0 where the root is 0."""
    cdef:
        Py_ssize_t i
        real more = <real> share
    for i in range(n):
        slopes[i] = (slopes[i] + more) / (2 * deviations[i]) if deviations[i] > 0 else 0


cdef inline void contrast_gradient(
    const real *dy,                 # (n, n_channels)
    const real *y,                  # (n, n_channels)
    Py_ssize_t n,
    Py_ssize_t n_channels,
    const real *deviations,         # (n,)
    double floor,
    const real *slopes,             # (n,)   gradient by the mean square of v
    real *dv,                       # (n, n_channels)   OUT
    real *means,                    # (n,)   OUT  of dv over channels
) noexcept nogil:
    cdef:
        Py_ssize_t i, c
        real least = <real> floor, share = <real> 1 / <real> n_channels, d, inverse, slope, zero = 0
    for i in range(n):
        d = max(deviations[i], least)
        inverse = 1 / d
        slope = 2 * share * d * slopes[i]
        for c in range(n_channels):
            dv[i * n_channels + c] = dy[i * n_channels + c] * inverse + y[i * n_channels + c] * slope
    channel_means(dv, n, n_channels, &zero, means)


cdef inline void subtract_means(
    real *dx,                       # (n, n_channels)   IN, OUT
    Py_ssize_t n,
    Py_ssize_t n_channels,
    const real *means,              # (n,)
) noexcept nogil:
    cdef:
        Py_ssize_t i, c
        real mean
    if n_channels == 1:
        for i in range(n):
            dx[i] -= means[i]
        return
    for i in range(n):
        mean = means[i]
        for c in range(n_channels):
            dx[c] -= mean
        dx += n_channels
