"""What this processor can do, and how many threads OpenMP would use now."""

cdef extern from *:
    """
    #if defined(__x86_64__) || defined(_M_X64)
    static int skconv_level(void)
    {
        __builtin_cpu_init();
    #if defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 11
        return __builtin_cpu_supports("x86-64-v4") ? 2 : __builtin_cpu_supports("x86-64-v3") ? 1 : 0;
    #else
        if (!(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi")
              && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("f16c") && __builtin_cpu_supports("lzcnt")
              && __builtin_cpu_supports("movbe")))
            return 0;
        if (!(__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
              && __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq")
              && __builtin_cpu_supports("avx512vl")))
            return 1;
        return 2;
    #endif
    }
    #else
    static int skconv_level(void) { return 0; }
    #endif
    #ifdef _OPENMP
    #include <omp.h>
    static int skconv_openmp(void) { return 1; }
    #else
    static int skconv_openmp(void) { return 0; }
    static int omp_get_max_threads(void) { return 1; }
    #endif
    """
    int skconv_level() nogil
    int skconv_openmp() nogil
    int omp_get_max_threads() nogil


def level():
    """0: the baseline; 1: AVX2 and FMA (x86-64-v3); 2: AVX-512 (x86-64-v4)."""
    return skconv_level()


def openmp():
    """Whether the engine was built with OpenMP."""
    return bool(skconv_openmp())


def max_threads():
    """Threads OpenMP would use: its environment, threadpoolctl and nesting have had their say."""
    return omp_get_max_threads()
