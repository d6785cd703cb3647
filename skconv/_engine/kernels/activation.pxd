"""Activations and their derivatives, in place over a line of values.

    identity z | relu max(z, 0) | leaky_relu z, or 0.01 z below 0 | tanh | logistic 1 / (1 + exp(-z))
    elu z, or exp(z) - 1 below 0 | gelu z * Phi(z), with the normal distribution function Phi

All but gelu are monotone and have a derivative that is a function of their value y, so nothing else needs to be kept.
gelu's derivative, Phi(z) + z phi(z), takes z.  The compiler turns the loops of the first three into vectors; the
others call the C library for every value.
"""
from .real cimport erf, exp, expm1, real, tanh
from ..table cimport ELU, GELU, LEAKY_RELU, LOGISTIC, RELU, TANH

cdef inline real leak() noexcept nogil:
    return <real> 0.01


cdef inline real normal_cdf(real z) noexcept nogil:
    return <real> 0.5 * (1 + erf(z * <real> 0.7071067811865475244))


cdef inline real logistic(real z) noexcept nogil:
    """1 / (1 + exp(-z)) without overflow, and without losing small values to the 1."""
    cdef real e = exp(z if z < 0 else -z)
    return e / (1 + e) if z < 0 else 1 / (1 + e)


cdef inline void activate(int kind, real *x, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    if kind == RELU:
        for i in range(n):
            x[i] = 0 if x[i] < 0 else x[i]
    elif kind == LEAKY_RELU:
        for i in range(n):
            x[i] = leak() * x[i] if x[i] < 0 else x[i]
    elif kind == TANH:
        for i in range(n):
            x[i] = tanh(x[i])
    elif kind == LOGISTIC:
        for i in range(n):
            x[i] = logistic(x[i])
    elif kind == ELU:
        for i in range(n):
            x[i] = expm1(x[i]) if x[i] < 0 else x[i]
    elif kind == GELU:
        for i in range(n):
            x[i] = x[i] * normal_cdf(x[i])


cdef inline void activation_gradient(
    int kind,
    const real *y,                  # the activation's value; its argument z for gelu
    const real *dy,
    real *dz,                       # OUT, may be dy
    Py_ssize_t n,
) noexcept nogil:
    cdef Py_ssize_t i
    if kind == RELU:
        for i in range(n):
            dz[i] = dy[i] if y[i] > 0 else 0
    elif kind == LEAKY_RELU:
        for i in range(n):
            dz[i] = dy[i] if y[i] > 0 else leak() * dy[i]
    elif kind == TANH:
        for i in range(n):
            dz[i] = dy[i] * (1 - y[i] * y[i])
    elif kind == LOGISTIC:
        for i in range(n):
            dz[i] = dy[i] * y[i] * (1 - y[i])
    elif kind == ELU:
        for i in range(n):
            dz[i] = dy[i] if y[i] > 0 else dy[i] * (y[i] + 1)
    elif kind == GELU:
        for i in range(n):
            dz[i] = dy[i] * (normal_cdf(y[i])
                             + y[i] * exp(<real> -0.5 * y[i] * y[i]) * <real> 0.3989422804014326779)
    else:
        for i in range(n):
            dz[i] = dy[i]
