"""Batch normalisation: sums over pixels, channel by channel, and multiply-adds per value.

    moments        s[c] += x - o[c],  q[c] += (x - o[c])^2
    normalize      y = (x - mean[c]) * scale[c] + shift[c]
    its gradient   b[c] += dz,  g[c] += dz * (x - mean[c]),
                   then  dx = scale[c] * (dz - b[c] / n) + slope[c] * (x - mean[c])

Channels are last, and often few, so that a loop over them would be too short for a vector.  What belongs to a channel
therefore comes as a row of `row` elements, whole pixels and at least a hundred values long, and a line of pixels is
gone through row by row; whoever needs the sum of a channel adds up its places in the row.

Sums are in double precision around an origin near the values: squares then lose nothing that float32 data hold, and
one pass is enough.  The mean is subtracted before the multiplication, not folded into `shift`, because a channel that
hardly varies has a large scale, and must not be scaled with its rounding errors.
"""
from .real cimport real


cdef inline void channel_moments(
    const real *x,                  # (n,)
    Py_ssize_t n,
    Py_ssize_t row,
    const double *origin,           # (row,)
    double *sums,                   # (row,)   IN, OUT
    double *squares,                # (row,)   IN, OUT
) noexcept nogil:
    cdef:
        Py_ssize_t i, m, start = 0
        double d
    while start < n:
        m = min(row, n - start)
        for i in range(m):
            d = <double> x[start + i] - origin[i]
            sums[i] += d
            squares[i] += d * d
        start += row


cdef inline void normalize(
    const real *x,                  # (n,)
    Py_ssize_t n,
    Py_ssize_t row,
    const real *mean,               # (row,)
    const real *scale,              # (row,)
    const real *shift,              # (row,)
    bint relu,
    real *y,                        # (n,)   OUT
) noexcept nogil:
    cdef:
        Py_ssize_t i, m, start = 0
        real value
    while start < n:
        m = min(row, n - start)
        if relu:
            for i in range(m):
                value = (x[start + i] - mean[i]) * scale[i] + shift[i]
                y[start + i] = 0 if value < 0 else value
        else:
            for i in range(m):
                y[start + i] = (x[start + i] - mean[i]) * scale[i] + shift[i]
        start += row


cdef inline void gradient_moments(
    const real *dz,                 # (n,)
    const real *x,                  # (n,)
    Py_ssize_t n,
    Py_ssize_t row,
    const real *mean,               # (row,)
    double *sums,                   # (row,)   IN, OUT
    double *products,               # (row,)   IN, OUT
) noexcept nogil:
    cdef:
        Py_ssize_t i, m, start = 0
        double d
    while start < n:
        m = min(row, n - start)
        for i in range(m):
            d = <double> dz[start + i]
            sums[i] += d
            products[i] += d * (<double> x[start + i] - <double> mean[i])
        start += row


cdef inline void normalize_gradient(
    real *dz,                       # (n,)   IN, OUT: dx
    const real *x,                  # (n,)
    Py_ssize_t n,
    Py_ssize_t row,
    const real *mean,               # (row,)
    const real *scale,              # (row,)
    const real *slope,              # (row,)
    const real *dz_mean,            # (row,)
) noexcept nogil:
    cdef Py_ssize_t i, m, start = 0
    while start < n:
        m = min(row, n - start)
        for i in range(m):
            dz[start + i] = (dz[start + i] - dz_mean[i]) * scale[i] + (x[start + i] - mean[i]) * slope[i]
        start += row
