"""The ends of a training step: what enters the network, what it is judged by, and how its weights move.

    load      y = (x - mean) * scale, converting on the way
    loss      -log softmax(logits)[target], with its gradient softmax(logits) - onehot(target), times `scale`
    Adam      m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2,  w -= rate m / (sqrt(v) + eps)   (Kingma and Ba 2015;
              `rate` holds the bias corrections, as in scikit-learn)
    SGD       u = momentum u - rate g,  w += u, or with Nesterov's step  w += momentum u - rate g

The gradient g of a weight is the sum of the buffers that the slots of a mini-batch filled, in their order, plus
decay * w: one pass over memory, split into blocks with one owner each.
"""
from libc.stdint cimport uint8_t

from .real cimport exp, log, real, sqrt
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
    cdef:
        Py_ssize_t i
        real top = x[0], total = 0
    for i in range(1, n):
        top = max(top, x[i])
    for i in range(n):
        x[i] = exp(x[i] - top)
        total += x[i]
    for i in range(n):
        x[i] /= total


cdef inline double softmax_cross_entropy(
    const real *logits,             # (n_classes,)
    Py_ssize_t n_classes,
    Py_ssize_t target,
    double scale,                   # weight of the sample / size of the batch
    real *gradient,                 # (n_classes,)   OUT
    bint *correct,                  # OUT  the largest logit is the target's
) noexcept nogil:
    cdef:
        Py_ssize_t i, best = 0
        real top = logits[0], total = 0
    for i in range(1, n_classes):
        if logits[i] > top:
            top = logits[i]
            best = i
    for i in range(n_classes):
        gradient[i] = exp(logits[i] - top)
        total += gradient[i]
    for i in range(n_classes):
        gradient[i] = gradient[i] / total * <real> scale
    gradient[target] -= <real> scale
    correct[0] = best == target
    return <double> (log(total) - (logits[target] - top))


cdef enum:
    STRIP = 256     # gradients are summed buffer by buffer into a strip on the stack, so that each sum is a vector loop


cdef inline void sum_buffers(const Update *u, const real *g, const real *w, Py_ssize_t first, Py_ssize_t n,
                             real *total) noexcept nogil:
    cdef:
        Py_ssize_t b, i
        const real *source
        real decay = <real> u.decay
    for i in range(n):
        total[i] = g[first + i]
    for b in range(1, u.n_buffers):
        source = g + b * u.buffer_stride + first
        for i in range(n):
            total[i] += source[i]
    for i in range(n):
        total[i] += decay * w[first + i]


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
        real rate = <real> u.rate, epsilon = <real> u.epsilon
    first = 0
    while first < u.n:
        n = min(STRIP, u.n - first)
        sum_buffers(u, g, w, first, n, total)
        for i in range(n):
            m[first + i] = b1 * m[first + i] + c1 * total[i]
            v[first + i] = b2 * v[first + i] + c2 * total[i] * total[i]
            w[first + i] -= rate * m[first + i] / (sqrt(v[first + i]) + epsilon)
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
        real momentum = <real> u.beta_1, rate = <real> u.rate
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
        first += STRIP


cdef inline void add_buffers(const Update *u, const real *g, const real *w, real *out) noexcept nogil:
    cdef Py_ssize_t first, n
    first = 0
    while first < u.n:
        n = min(STRIP, u.n - first)
        sum_buffers(u, g, w, first, n, out + first)
        first += STRIP
