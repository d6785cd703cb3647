"""The ends of a training step: what enters the network, and how its weights move.

    load      y = (x - mean) * scale, converting on the way
    Adam      m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2,  w -= rate m / (sqrt(v) + eps)   (Kingma and Ba 2015;
              `rate` holds the bias corrections, as in scikit-learn)
    SGD       u = momentum u - rate g,  w += u, or with Nesterov's step  w += momentum u - rate g

The gradient g of a weight is the sum of the buffers that the slots of a mini-batch filled, in their order, times
`scale` where its norm is clipped (Pascanu et al. 2013), plus decay * w: one pass over memory, split into blocks with
one owner each.

A penalty of l1 * |w| is no part of g: every step ends in its proximal operator, which makes weights exactly zero,

    w = sign(w) max(|w| - step * l1, 0)

where `step` is what the solver multiplies a gradient with: the rate for SGD (FOBOS, Duchi and Singer 2009), and
rate / (sqrt(v) + eps) for Adam, whose metric is diagonal (Duchi, Hazan and Singer 2011).

The average of the weights follows them, average += share * (w - average)   (Polyak and Juditsky 1992).
"""
from libc.float cimport DBL_MIN, FLT_MIN
from libc.stdint cimport uint8_t

from .real cimport exp, real, sqrt
from ..table cimport FROM_FLOAT32, FROM_UINT8, Update

ctypedef fused sample:
    uint8_t
    float
    double


cdef inline void load_values(
    const sample *x, Py_ssize_t n, const real *mean, const real *scale, real *y,
) noexcept nogil:
    cdef Py_ssize_t i
    if scale == NULL:
        for i in range(n):
            y[i] = <real> x[i]
    else:
        for i in range(n):
            y[i] = (<real> x[i] - mean[i]) * scale[i]


cdef inline void load_line(
    int source,
    const void *x,                  # (n,) of the source's type
    Py_ssize_t n,
    const real *mean,               # (n,), or NULL to convert only
    const real *scale,              # (n,)
    real *y,                        # (n,)   OUT
) noexcept nogil:
    if source == FROM_UINT8:
        load_values(<const uint8_t *> x, n, mean, scale, y)
    elif source == FROM_FLOAT32:
        load_values(<const float *> x, n, mean, scale, y)
    else:
        load_values(<const double *> x, n, mean, scale, y)


cdef inline void softmax(real *x, Py_ssize_t n) noexcept nogil:
    """In place; no share is quite 0, so that its logarithm is finite, and NaN spreads to all of them."""
    cdef:
        Py_ssize_t i
        real top = x[0], total = 0, least = <real> (FLT_MIN if sizeof(real) == sizeof(float) else DBL_MIN)
    for i in range(1, n):
        top = max(top, x[i])
    for i in range(n):
        x[i] = exp(x[i] - top)
        total += x[i]
    for i in range(n):
        x[i] /= total
        x[i] = least if x[i] < least else x[i]


cdef enum:
    STRIP = 256     # gradients are summed buffer by buffer into a strip on the stack, so that each sum is a vector loop
    LANES = 8       # partial sums of squares: no instruction set may choose their order


cdef inline void sum_buffers(const Update *u, const real *g, const real *w, Py_ssize_t first, Py_ssize_t n,
                             real *total) noexcept nogil:
    cdef:
        Py_ssize_t b, i
        const real *source
        real decay = <real> u.decay, scale
    for i in range(n):
        total[i] = g[first + i]
    for b in range(1, u.n_buffers):
        source = g + b * u.buffer_stride + first
        for i in range(n):
            total[i] += source[i]
    if u.scale != 1:    # NaN, of a norm that is not finite, is not
        scale = <real> u.scale
        for i in range(n):
            total[i] *= scale
    for i in range(n):
        total[i] += decay * w[first + i]


cdef inline real shrink(real w, real threshold) noexcept nogil:
    """Towards zero by the threshold, and not beyond; NaN stays NaN."""
    if -threshold <= w <= threshold:
        return 0
    return w - threshold if w > 0 else w + threshold


cdef inline void adam(
    const Update *u,
    const real *g,                  # u.n_buffers gradients, u.buffer_stride apart
    real *w,                        # IN, OUT
    real *m,                        # IN, OUT
    real *v,                        # IN, OUT
) noexcept nogil:
    cdef:
        Py_ssize_t first, n, i
        real[STRIP] total
        real b1 = <real> u.beta_1, b2 = <real> u.beta_2
        real c1 = <real> (1 - u.beta_1), c2 = <real> (1 - u.beta_2)
        real rate = <real> u.rate, epsilon = <real> u.epsilon, threshold = <real> (u.rate * u.l1)
    first = 0
    while first < u.n:
        n = min(STRIP, u.n - first)
        sum_buffers(u, g, w, first, n, total)
        for i in range(n):
            m[first + i] = b1 * m[first + i] + c1 * total[i]
            v[first + i] = b2 * v[first + i] + c2 * total[i] * total[i]
            w[first + i] -= rate * m[first + i] / (sqrt(v[first + i]) + epsilon)
        if u.l1 > 0:
            for i in range(n):
                w[first + i] = shrink(w[first + i], threshold / (sqrt(v[first + i]) + epsilon))
        first += STRIP


cdef inline void sgd(
    const Update *u,
    const real *g,
    real *w,                        # IN, OUT
    real *velocity,                 # IN, OUT
) noexcept nogil:
    cdef:
        Py_ssize_t first, n, i
        real[STRIP] total
        real momentum = <real> u.beta_1, rate = <real> u.rate, threshold = <real> (u.rate * u.l1)
    first = 0
    while first < u.n:
        n = min(STRIP, u.n - first)
        sum_buffers(u, g, w, first, n, total)
        for i in range(n):
            velocity[first + i] = momentum * velocity[first + i] - rate * total[i]
        if u.nesterov:
            for i in range(n):
                w[first + i] += momentum * velocity[first + i] - rate * total[i]
        else:
            for i in range(n):
                w[first + i] += velocity[first + i]
        if u.l1 > 0:
            for i in range(n):
                w[first + i] = shrink(w[first + i], threshold)
        first += STRIP


cdef inline void add_buffers(const Update *u, const real *g, const real *w, real *out) noexcept nogil:
    cdef Py_ssize_t first, n
    first = 0
    while first < u.n:
        n = min(STRIP, u.n - first)
        sum_buffers(u, g, w, first, n, out + first)
        first += STRIP


cdef inline double join_buffers(const Update *u, real *g) noexcept nogil:
    """Leave the sum of the buffers in the first one; return its sum of squares."""
    cdef:
        Py_ssize_t b, i, first = 0, n
        const real *source
        double[LANES] squares
        double total = 0
    for i in range(LANES):
        squares[i] = 0
    while first < u.n:
        n = min(STRIP, u.n - first)
        for b in range(1, u.n_buffers):
            source = g + b * u.buffer_stride + first
            for i in range(n):
                g[first + i] += source[i]
        i = 0
        while i + LANES <= n:
            for b in range(LANES):
                squares[b] += <double> g[first + i + b] * g[first + i + b]
            i += LANES
        for i in range(n - n % LANES, n):
            squares[i % LANES] += <double> g[first + i] * g[first + i]
        first += STRIP
    for i in range(LANES):
        total += squares[i]
    return total


cdef inline void average(const real *w, Py_ssize_t n, double share, real *out) noexcept nogil:
    cdef Py_ssize_t i
    cdef real part = <real> share
    for i in range(n):
        out[i] += part * (w[i] - out[i])
