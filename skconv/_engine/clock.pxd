"""What C gives the loops: a clock, a place where all threads meet, a counter, and zeros for denormal numbers."""

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
    /* The next of some tasks that threads share. */
    static inline Py_ssize_t skconv_next_task(Py_ssize_t *next)
    {
        return __atomic_fetch_add(next, 1, __ATOMIC_RELAXED);
    }
    /* Until restored, this thread takes numbers below the smallest normal one (1e-38 in float32) for zero. Where a
     * weight gets no gradient any more, Adam's mean shrinks by a tenth a step, reaches them after 700 steps and stays
     * among them, where every operation takes a hundred cycles. */
    #if defined(__SSE2__)
    #include <xmmintrin.h>
    static inline unsigned long long skconv_flush_denormals(void)
    {
        unsigned mode = _mm_getcsr();
        _mm_setcsr(mode | 0x8040); /* flush to zero, denormals are zero */
        return mode;
    }
    static inline void skconv_restore_mode(unsigned long long mode) { _mm_setcsr((unsigned)mode); }
    #elif defined(__aarch64__)
    static inline unsigned long long skconv_flush_denormals(void)
    {
        unsigned long long mode;
        __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
        __asm__ volatile("msr fpcr, %0" : : "r"(mode | (1ull << 24)));
        return mode;
    }
    static inline void skconv_restore_mode(unsigned long long mode)
    {
        __asm__ volatile("msr fpcr, %0" : : "r"(mode));
    }
    #else
    static inline unsigned long long skconv_flush_denormals(void) { return 0; }
    static inline void skconv_restore_mode(unsigned long long mode) { (void)mode; }
    #endif
    """
    double skconv_seconds() noexcept nogil
    void skconv_barrier() noexcept nogil
    Py_ssize_t skconv_next_task(Py_ssize_t *next) noexcept nogil
    unsigned long long skconv_flush_denormals() noexcept nogil
    void skconv_restore_mode(unsigned long long mode) noexcept nogil
