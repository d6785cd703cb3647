"""Independent parts of one piece of work, which threads without work of their own take from a thread that has some.

A thread announces a job and does its parts from the first one on, those who help from the last one on: of jobs that are
alike each does the same parts, whose data are in its cache. Then the thread waits for what others have begun. What a
job is about is written before it is announced and read only by those who got a part, so that it is not written again
while anybody reads it.
"""

cdef extern from *:
    """
    #if defined(__unix__) || defined(__APPLE__)
    #include <sched.h>
    #endif
    typedef struct {
        unsigned long long parts; /* bits: 32, number of the job; 16, end, 16, first of what is left */
        Py_ssize_t n_done;
        void *layer;
        const void *pass;
        const void *work;
        char gap[128 - 40]; /* neither shares a cache line with another job nor is fetched together with one */
    } skconv_job;
    static inline void skconv_announce(skconv_job *job, Py_ssize_t n)
    {
        unsigned long long number = __atomic_load_n(&job->parts, __ATOMIC_RELAXED) >> 32;
        __atomic_store_n(&job->n_done, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&job->parts, (number + 1) << 32 | (unsigned long long)n << 16, __ATOMIC_RELEASE);
    }
    /* The part that is taken, the last one or the first one that is left, or -1 where there is none. */
    static inline Py_ssize_t skconv_take(skconv_job *job, int last)
    {
        unsigned long long parts = __atomic_load_n(&job->parts, __ATOMIC_ACQUIRE);
        while ((parts & 0xffff) < (parts >> 16 & 0xffff))
            if (__atomic_compare_exchange_n(&job->parts, &parts, last ? parts - 0x10000 : parts + 1, 1,
                                            __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
                return last ? (Py_ssize_t)(parts >> 16 & 0xffff) - 1 : (Py_ssize_t)(parts & 0xffff);
        return -1;
    }
    static inline void skconv_count(Py_ssize_t *n_done) { __atomic_fetch_add(n_done, 1, __ATOMIC_ACQ_REL); }
    static inline Py_ssize_t skconv_counted(const Py_ssize_t *n_done)
    {
        return __atomic_load_n(n_done, __ATOMIC_ACQUIRE);
    }
    /* Between two looks at what another thread writes; from time to time others may have the processor. */
    static inline void skconv_pause(Py_ssize_t turn)
    {
    #if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
    #elif defined(__aarch64__)
        __asm__ volatile("yield");
    #endif
    #if defined(__unix__) || defined(__APPLE__)
        if (turn % 256 == 255)
            sched_yield();
    #endif
    }
    """
    ctypedef struct Job "skconv_job":
        Py_ssize_t n_done
        void *layer
        const void *pass_ "pass"
        const void *work
    void skconv_announce(Job *job, Py_ssize_t n) noexcept nogil
    Py_ssize_t skconv_take(Job *job, bint last) noexcept nogil
    void skconv_count(Py_ssize_t *n_done) noexcept nogil
    Py_ssize_t skconv_counted(const Py_ssize_t *n_done) noexcept nogil
    void skconv_pause(Py_ssize_t turn) noexcept nogil
