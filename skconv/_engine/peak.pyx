"""How fast the machine multiplies and adds: what the speed of everything else is measured against."""
from cython.parallel cimport prange

from time import perf_counter

import numpy as np

from .layer cimport kernels_of
from .table cimport Kernels


def fma_peak(kernels, int n_threads):
    """Speed of independent multiply-adds in registers, in GFLOP/s: the best of 20 tries of about a millisecond."""
    cdef:
        const Kernels *k = kernels_of(kernels)
        Py_ssize_t n = 20000, thread
        double[::1] sink = np.zeros(n_threads)
    best = 0.0
    for _ in range(20):
        start = perf_counter()
        for thread in prange(n_threads, num_threads=n_threads, schedule="static", nogil=True):
            sink[thread] += k.fma_chains(n)
        elapsed = perf_counter() - start
        best = max(best, n_threads * n * k.fma_flops / elapsed * 1e-9)
        if elapsed < 1e-3:
            n *= 2
    return best
