"""What C gives the training loop: a clock, and a place where all threads meet."""

cdef extern from *:
    """
    #include <time.h>
    static double skconv_seconds(void)
    {
        struct timespec now;
    #ifdef CLOCK_MONOTONIC
        clock_gettime(CLOCK_MONOTONIC, &now);
    #else
        timespec_get(&now, TIME_UTC);
    #endif
        return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    }
    /* Cython makes a prange inside a parallel block a loop without a barrier at its end ("omp for nowait"). */
    static inline void skconv_barrier(void)
    {
    #pragma omp barrier
    }
    """
    double skconv_seconds() noexcept nogil
    void skconv_barrier() noexcept nogil
