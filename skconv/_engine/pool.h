/* Pooling windows in registers: all channels of one window, its taps summed up or compared vector by vector.
 *
 *   top      y[f] = max_s x[taps[s] + f]                     NaN wins
 *   max      the same, and which tap it was: the first one that reaches it; the first NaN stays
 *   mean     y[f] = sum_s x[taps[s] + f] / divisor
 *   norm     y[f] = (sum_s |x[taps[s] + f]|^p)^(1/p)
 *   un...    what the gradient of y gives to the taps: written, or added where windows overlap
 *
 * Loop order: vectors of channels, then taps, so that a value is read once and nothing but results is written.  Four
 * vectors go together, because one sum is a chain of additions whose latency four of them hide.  The channels are
 * covered by blocks of four vectors, then single ones; the last vector overlaps its neighbour, so that 33 channels
 * need no masks and no padding, and where there are fewer channels than lanes, shorter vectors serve: LANES, LANES/2,
 * LANES/4, 1.  What adds to memory may touch nothing twice: there the remainder goes in ever shorter vectors.
 *
 * Windows of two or four taps are instances of their own, whose taps stay in registers along the line: a 2x2 pooling
 * runs at the speed of memory.
 */
#ifndef SKCONV_POOL_H
#define SKCONV_POOL_H

#include <math.h>

#include "tile.h"

#ifdef SKCONV_KERNELS

#define SKCONV_INLINE static inline __attribute__((always_inline))
/* A sum of many taps is a sum of sums of this many: the rounding errors of a global pool grow with the blocks only. */
#define SKCONV_SUM_BLOCK 64

/* x^p for x >= 0, by multiplication where p is a whole number (n = p, else -1). */
#define SKCONV_POWER(N)                                                                                               \
    SKCONV_INLINE skconv_vec_##N skconv_power_##N(skconv_vec_##N x, skconv_real p, int n)                             \
    {                                                                                                                 \
        skconv_vec_##N y = (skconv_real)1 - (skconv_vec_##N){0};                                                      \
        if (n >= 0) {                                                                                                 \
            for (; n; n >>= 1, x *= x)                                                                                \
                if (n & 1)                                                                                            \
                    y *= x;                                                                                           \
        } else {                                                                                                      \
            for (int i = 0; i < (int)(sizeof(y) / sizeof(skconv_real)); i++) y[i] = skconv_pow(x[i], p);              \
        }                                                                                                             \
        return y;                                                                                                     \
    }

#define SKCONV_VECTORS(N, BYTES)                                                                                      \
    typedef SKCONV_VECTOR(skconv_real, BYTES) skconv_vec_##N;                                                         \
    typedef SKCONV_VECTOR(skconv_int, BYTES) skconv_ivec_##N;                                                         \
    typedef SKCONV_VECTOR(uint8_t, BYTES / sizeof(skconv_int)) skconv_bvec_##N;                                       \
    typedef SKCONV_VECTOR(uint16_t, BYTES / sizeof(skconv_int) * 2) skconv_hvec_##N;                                  \
    typedef SKCONV_VECTOR(int32_t, BYTES / sizeof(skconv_int) * 4) skconv_wvec_##N;                                   \
    /* Step by step: at once, GCC takes every byte by itself. */                                                      \
    SKCONV_INLINE skconv_ivec_##N skconv_widen_##N(const uint8_t *x)                                                  \
    {                                                                                                                 \
        const skconv_hvec_##N h = __builtin_convertvector(*(const skconv_bvec_##N *)x, skconv_hvec_##N);              \
        return __builtin_convertvector(__builtin_convertvector(h, skconv_wvec_##N), skconv_ivec_##N);                 \
    }                                                                                                                 \
    SKCONV_INLINE void skconv_narrow_##N(skconv_ivec_##N x, uint8_t *y)                                               \
    {                                                                                                                 \
        const skconv_wvec_##N w = __builtin_convertvector(x, skconv_wvec_##N);                                        \
        *(skconv_bvec_##N *)y = __builtin_convertvector(__builtin_convertvector(w, skconv_hvec_##N), skconv_bvec_##N);\
    }                                                                                                                 \
    SKCONV_INLINE skconv_vec_##N skconv_select_##N(skconv_ivec_##N take, skconv_vec_##N a, skconv_vec_##N b)          \
    {                                                                                                                 \
        return (skconv_vec_##N)((skconv_ivec_##N)b ^ (((skconv_ivec_##N)a ^ (skconv_ivec_##N)b) & take));             \
    }                                                                                                                 \
    SKCONV_INLINE skconv_vec_##N skconv_abs_##N(skconv_vec_##N a)                                                     \
    {                                                                                                                 \
        const skconv_vec_##N minus_zero = -(skconv_real)0 - (skconv_vec_##N){0};                                      \
        return (skconv_vec_##N)((skconv_ivec_##N)a & ~(skconv_ivec_##N)minus_zero);                                   \
    }                                                                                                                 \
    SKCONV_INLINE void skconv_copy_##N(const skconv_real *x, skconv_real *y)                                          \
    {                                                                                                                 \
        *(skconv_vec_##N *)y = *(const skconv_vec_##N *)x;                                                            \
    }                                                                                                                 \
    SKCONV_INLINE skconv_vec_##N skconv_root_##N(skconv_vec_##N a)                                                    \
    {                                                                                                                 \
        /* Through memory, or the lanes become scalars of their own. */                                               \
        skconv_real lanes[sizeof(a) / sizeof(skconv_real)];                                                           \
        *(skconv_vec_##N *)lanes = a;                                                                                 \
        for (int i = 0; i < (int)(sizeof(a) / sizeof(skconv_real)); i++) lanes[i] = skconv_sqrt(lanes[i]);            \
        return *(skconv_vec_##N *)lanes;                                                                              \
    }                                                                                                                 \
    SKCONV_POWER(N)                                                                                                   \

/* Forward, NV vectors of width W. */
#define SKCONV_TOPS(M, N, NV)                                                                                         \
    SKCONV_INLINE void skconv_top_##M(const skconv_real *x, const ptrdiff_t *taps, int n_taps, skconv_real *y)        \
    {                                                                                                                 \
        enum { W = sizeof(skconv_vec_##N) / sizeof(skconv_real) };                                                    \
        skconv_vec_##N best[NV];                                                                                      \
        skconv_ivec_##N nan[NV];                                                                                      \
        SKCONV_UNROLL for (int v = 0; v < NV; v++)                                                                    \
        {                                                                                                             \
            best[v] = *(const skconv_vec_##N *)(x + taps[0] + v * W);                                                 \
            nan[v] = best[v] != best[v];                                                                              \
        }                                                                                                             \
        for (int s = 1; s < n_taps; s++)                                                                              \
            SKCONV_UNROLL for (int v = 0; v < NV; v++)                                                                \
            {                                                                                                         \
                const skconv_vec_##N u = *(const skconv_vec_##N *)(x + taps[s] + v * W);                              \
                nan[v] |= u != u;                                                                                     \
                best[v] = skconv_select_##N(u > best[v], u, best[v]);                                                 \
            }                                                                                                         \
        SKCONV_UNROLL for (int v = 0; v < NV; v++)                                                                    \
            *(skconv_vec_##N *)(y + v * W) = (skconv_vec_##N)((skconv_ivec_##N)best[v] | nan[v]);                     \
    }

/* kind 0: the mean; 1 and 2: the norm with p of that number. */
#define SKCONV_SUMS(M, N, NV)                                                                                         \
    SKCONV_INLINE void skconv_sum_##M(const skconv_real *x, const ptrdiff_t *taps, int n_taps, int kind,              \
                                      skconv_real divisor, int multiply, skconv_real *y)                              \
    {                                                                                                                 \
        enum { W = sizeof(skconv_vec_##N) / sizeof(skconv_real) };                                                    \
        /* Sums begin at -0, which changes no number that is added to it. */                                          \
        const skconv_vec_##N minus_zero = -(skconv_real)0 - (skconv_vec_##N){0};                                      \
        skconv_vec_##N total[NV], sum[NV];                                                                            \
        SKCONV_UNROLL for (int v = 0; v < NV; v++) total[v] = minus_zero;                                             \
        for (int s = 0; s < n_taps;) {                                                                                \
            const int last = n_taps - s > SKCONV_SUM_BLOCK ? s + SKCONV_SUM_BLOCK : n_taps;                           \
            SKCONV_UNROLL for (int v = 0; v < NV; v++) sum[v] = minus_zero;                                           \
            for (; s < last; s++)                                                                                     \
                SKCONV_UNROLL for (int v = 0; v < NV; v++)                                                            \
                {                                                                                                     \
                    skconv_vec_##N u = *(const skconv_vec_##N *)(x + taps[s] + v * W);                                \
                    if (kind == 1)                                                                                    \
                        u = skconv_abs_##N(u);                                                                        \
                    else if (kind == 2)                                                                               \
                        u *= u;                                                                                       \
                    sum[v] += u;                                                                                      \
                }                                                                                                     \
            SKCONV_UNROLL for (int v = 0; v < NV; v++) total[v] += sum[v];                                            \
        }                                                                                                             \
        SKCONV_UNROLL for (int v = 0; v < NV; v++)                                                                    \
        {                                                                                                             \
            if (kind == 2)                                                                                            \
                total[v] = skconv_root_##N(total[v]);                                                                 \
            else if (kind == 1)                                                                                       \
                ;                                                                                                     \
            else if (multiply)                                                                                        \
                total[v] *= divisor;                                                                                  \
            else                                                                                                      \
                total[v] /= divisor;                                                                                  \
            *(skconv_vec_##N *)(y + v * W) = total[v];                                                                \
        }                                                                                                             \
    }

/* Forward and backward of single vectors. */
#define SKCONV_UNPOOLS(N)                                                                                             \
    SKCONV_INLINE void skconv_max_##N(const skconv_real *x, const ptrdiff_t *taps, const int32_t *ids, int n_taps,    \
                                      skconv_real *y, uint8_t *index, int32_t *wide_index)                            \
    {                                                                                                                 \
        skconv_vec_##N best = *(const skconv_vec_##N *)(x + taps[0]);                                                 \
        skconv_ivec_##N at = (skconv_int)ids[0] - (skconv_ivec_##N){0};                                               \
        for (int s = 1; s < n_taps; s++) {                                                                            \
            const skconv_vec_##N u = *(const skconv_vec_##N *)(x + taps[s]);                                          \
            const skconv_ivec_##N take = ~(u <= best) & (best == best); /* so NaN wins, and the first one stays */    \
            best = skconv_select_##N(take, u, best);                                                                  \
            at ^= (((skconv_int)ids[s] - (skconv_ivec_##N){0}) ^ at) & take;                                          \
        }                                                                                                             \
        *(skconv_vec_##N *)y = best;                                                                                  \
        if (index)                                                                                                    \
            skconv_narrow_##N(at, index);                                                                             \
        if (wide_index)                                                                                               \
            *(skconv_wvec_##N *)wide_index = __builtin_convertvector(at, skconv_wvec_##N);                            \
    }                                                                                                                 \
    /* Scaled by the largest magnitude, whose power might overflow. */                                                \
    SKCONV_INLINE void skconv_norm_##N(const skconv_real *x, const ptrdiff_t *taps, int n_taps, skconv_real p, int n, \
                                       skconv_real *y)                                                                \
    {                                                                                                                 \
        skconv_vec_##N total = {0}, scale = {0}, unit = (skconv_real)1 - (skconv_vec_##N){0};                         \
        for (int s = 0; s < n_taps; s++) {                                                                            \
            const skconv_vec_##N u = skconv_abs_##N(*(const skconv_vec_##N *)(x + taps[s]));                          \
            scale = skconv_select_##N(u > scale, u, scale);                                                           \
        }                                                                                                             \
        unit = skconv_select_##N((scale > 0) & (scale <= SKCONV_LARGEST), scale, unit);                               \
        for (int s = 0; s < n_taps;) {                                                                                \
            const int last = n_taps - s > SKCONV_SUM_BLOCK ? s + SKCONV_SUM_BLOCK : n_taps;                           \
            skconv_vec_##N sum = {0};                                                                                 \
            for (; s < last; s++) {                                                                                   \
                const skconv_vec_##N u = skconv_abs_##N(*(const skconv_vec_##N *)(x + taps[s]));                      \
                sum += skconv_power_##N(u / unit, p, n);                                                              \
            }                                                                                                         \
            total += sum;                                                                                             \
        }                                                                                                             \
        *(skconv_vec_##N *)y = skconv_power_##N(total, 1 / p, -1) * unit;                                             \
    }                                                                                                                 \
    SKCONV_INLINE void skconv_unmax_##N(const skconv_real *g, const uint8_t *index, const ptrdiff_t *taps,            \
                                        const int32_t *ids, int n_taps, int adds, skconv_real *dx)                    \
    {                                                                                                                 \
        const skconv_ivec_##N at = skconv_widen_##N(index);                                                           \
        const skconv_ivec_##N gv = *(const skconv_ivec_##N *)g;                                                       \
        for (int s = 0; s < n_taps; s++) {                                                                            \
            const skconv_ivec_##N won = gv & (at == (skconv_int)ids[s] - (skconv_ivec_##N){0});                       \
            if (adds)                                                                                                 \
                *(skconv_vec_##N *)(dx + taps[s]) += (skconv_vec_##N)won;                                             \
            else                                                                                                      \
                *(skconv_ivec_##N *)(dx + taps[s]) = won;                                                             \
        }                                                                                                             \
    }                                                                                                                 \
    SKCONV_INLINE void skconv_unmean_##N(const skconv_real *g, const ptrdiff_t *taps, int n_taps,                     \
                                         skconv_real divisor, int multiply, int adds, skconv_real *dx)                \
    {                                                                                                                 \
        skconv_vec_##N part = *(const skconv_vec_##N *)g;                                                             \
        if (multiply)                                                                                                 \
            part *= divisor;                                                                                          \
        else                                                                                                          \
            part /= divisor;                                                                                          \
        for (int s = 0; s < n_taps; s++) {                                                                            \
            if (adds)                                                                                                 \
                *(skconv_vec_##N *)(dx + taps[s]) += part;                                                            \
            else                                                                                                      \
                *(skconv_vec_##N *)(dx + taps[s]) = part;                                                             \
        }                                                                                                             \
    }                                                                                                                 \
    /* dx[tap] = g * sign(x) * (|x| / y)^(p - 1), and 0 where y is. */                                                \
    SKCONV_INLINE void skconv_unnorm_##N(const skconv_real *x, const skconv_real *y, const skconv_real *g,            \
                                         const ptrdiff_t *taps, int n_taps, skconv_real p, int n, int adds,           \
                                         skconv_real *dx)                                                             \
    {                                                                                                                 \
        const skconv_vec_##N yv = *(const skconv_vec_##N *)y;                                                         \
        const skconv_ivec_##N is_zero = yv == (skconv_vec_##N){0};                                                    \
        const skconv_ivec_##N gv = *(const skconv_ivec_##N *)g & ~is_zero;                                            \
        const skconv_vec_##N unit = skconv_select_##N(is_zero, (skconv_real)1 - (skconv_vec_##N){0}, yv);             \
        for (int s = 0; s < n_taps; s++) {                                                                            \
            const skconv_vec_##N u = *(const skconv_vec_##N *)(x + taps[s]);                                          \
            const skconv_vec_##N sign = (skconv_vec_##N)(gv & (u > 0)) - (skconv_vec_##N)(gv & (u < 0));              \
            skconv_vec_##N part = sign;                                                                               \
            if (n == 2)                                                                                               \
                part = (skconv_vec_##N)gv * (u / unit);                                                               \
            else if (n != 1)                                                                                          \
                part *= skconv_power_##N(skconv_abs_##N(u) / unit, p - 1, n - (n > 0));                               \
            if (adds)                                                                                                 \
                *(skconv_vec_##N *)(dx + taps[s]) += part;                                                            \
            else                                                                                                      \
                *(skconv_vec_##N *)(dx + taps[s]) = part;                                                             \
        }                                                                                                             \
    }

#ifdef SKCONV_DOUBLE
#define SKCONV_LARGEST 0x1.fffffffffffffp+1023
#else
#define SKCONV_LARGEST 0x1.fffffep+127f
#endif

SKCONV_VECTORS(full, SKCONV_VECTOR_BYTES)
SKCONV_TOPS(block, full, 4)
SKCONV_SUMS(block, full, 4)
SKCONV_TOPS(full, full, 1)
SKCONV_SUMS(full, full, 1)
SKCONV_UNPOOLS(full)
#if SKCONV_VECTOR_BYTES > 16
SKCONV_VECTORS(half, (SKCONV_VECTOR_BYTES / 2))
SKCONV_TOPS(half, half, 1)
SKCONV_SUMS(half, half, 1)
SKCONV_UNPOOLS(half)
#endif
#if SKCONV_VECTOR_BYTES > 32
SKCONV_VECTORS(quarter, (SKCONV_VECTOR_BYTES / 4))
SKCONV_TOPS(quarter, quarter, 1)
SKCONV_SUMS(quarter, quarter, 1)
SKCONV_UNPOOLS(quarter)
#endif
SKCONV_VECTORS(one, sizeof(skconv_real))
SKCONV_SUMS(one, one, 1)
SKCONV_UNPOOLS(one)

/* In words that become the processor's maximum, three times as fast as selecting by masks. */
SKCONV_INLINE void skconv_top_one(const skconv_real *x, const ptrdiff_t *taps, int n_taps, skconv_real *y)
{
    skconv_real best = x[taps[0]];
    int nan = best != best;
    for (int s = 1; s < n_taps; s++) {
        const skconv_real u = x[taps[s]];
        nan |= u != u;
        best = u > best ? u : best;
    }
    *y = nan ? (skconv_real)NAN : best;
}

/* ---- covering the channels ---------------------------------------------------------------------------------------
 *
 * CALL(N) does the channels from f on that a vector of kind N holds.
 */

#if SKCONV_VECTOR_BYTES > 32
#define SKCONV_IF_QUARTER(...) __VA_ARGS__
#else
#define SKCONV_IF_QUARTER(...)
#endif
#if SKCONV_VECTOR_BYTES > 16
#define SKCONV_IF_HALF(...) __VA_ARGS__
#else
#define SKCONV_IF_HALF(...)
#endif

/* Vectors of one width from f on; the last one ends with the last channel. */
#define SKCONV_OVERLAP(width, n, CALL)                                                                                \
    do {                                                                                                              \
        for (; f < (n) - (width); f += (width)) CALL;                                                                 \
        f = (n) - (width);                                                                                            \
        CALL;                                                                                                         \
    } while (0)

#define SKCONV_COVER_SHORT(n, CALL)                                                                                   \
    SKCONV_IF_HALF(else if ((n) >= SKCONV_LANES / 2) SKCONV_OVERLAP(SKCONV_LANES / 2, n, CALL(half));)                \
    SKCONV_IF_QUARTER(else if ((n) >= SKCONV_LANES / 4) SKCONV_OVERLAP(SKCONV_LANES / 4, n, CALL(quarter));)          \
    else for (; f < (n); f++) CALL(one);

#define SKCONV_COVER(n, CALL)                                                                                         \
    {                                                                                                                 \
        ptrdiff_t f = 0;                                                                                              \
        if ((n) >= SKCONV_LANES)                                                                                      \
            SKCONV_OVERLAP(SKCONV_LANES, n, CALL(full));                                                              \
        SKCONV_COVER_SHORT(n, CALL)                                                                                   \
    }

/* The same with blocks of four vectors in front. */
#define SKCONV_COVER_BLOCKS(n, CALL)                                                                                  \
    {                                                                                                                 \
        ptrdiff_t f = 0;                                                                                              \
        for (; f + 4 * SKCONV_LANES <= (n); f += 4 * SKCONV_LANES) CALL(block);                                       \
        if (f == (n)) {                                                                                               \
        } else if ((n) >= SKCONV_LANES)                                                                               \
            SKCONV_OVERLAP(SKCONV_LANES, n, CALL(full));                                                              \
        SKCONV_COVER_SHORT(n, CALL)                                                                                   \
    }

/* Every channel once. */
#define SKCONV_COVER_ONCE(n, CALL)                                                                                    \
    {                                                                                                                 \
        ptrdiff_t f = 0;                                                                                              \
        for (; f + SKCONV_LANES <= (n); f += SKCONV_LANES) CALL(full);                                                \
        SKCONV_IF_HALF(if (f + SKCONV_LANES / 2 <= (n)) { CALL(half); f += SKCONV_LANES / 2; })                       \
        SKCONV_IF_QUARTER(if (f + SKCONV_LANES / 4 <= (n)) { CALL(quarter); f += SKCONV_LANES / 4; })                 \
        for (; f < (n); f++) CALL(one);                                                                               \
    }

#define SKCONV_COPY(N) skconv_copy_##N(x + f, y + f)

static inline void skconv_copy_pixel(const skconv_real *x, ptrdiff_t n, skconv_real *y)
{
    SKCONV_COVER(n, SKCONV_COPY)
}

/* ---- windows side by side ----------------------------------------------------------------------------------------
 *
 * n_pixels windows that lie inside the map, `step` elements apart, with the same taps; y and index are dense.
 */

/* Runs LINE(taps, n_taps, step, n) with what is known at compile time as constants: two or four taps, and one channel
 * two or four pixels apart, where the pixels fill the vectors. */
#define SKCONV_KNOWN(LINE)                                                                                            \
    if (n_taps == 4) {                                                                                                \
        const ptrdiff_t known[4] = {taps[0], taps[1], taps[2], taps[3]};                                              \
        if (n == 1 && step == 2) LINE(known, 4, 2, 1)                                                                 \
        else if (n == 1 && step == 4) LINE(known, 4, 4, 1)                                                            \
        else LINE(known, 4, step, n)                                                                                  \
    } else if (n_taps == 2) {                                                                                         \
        const ptrdiff_t known[2] = {taps[0], taps[1]};                                                                \
        if (n == 1 && step == 2) LINE(known, 2, 2, 1) else LINE(known, 2, step, n)                                    \
    } else                                                                                                            \
        LINE(taps, n_taps, step, n)

/* One channel would leave the vectors empty. Runs CALL for every block of m pixels from j on, whose taps lie in `block`
 * as those of one pixel of m channels, ROW apart: a copy of every value, vector by vector, and still faster. */
#define SKCONV_FEW_TAPS 32
#define SKCONV_ROW (4 * SKCONV_LANES)
#define SKCONV_FILL(CALL)                                                                                             \
    if (n == 1 && n_pixels > 1 && n_taps <= SKCONV_FEW_TAPS && !SKCONV_IS_FILLED) {                                   \
        skconv_real block[SKCONV_FEW_TAPS * SKCONV_ROW];                                                              \
        ptrdiff_t rows[SKCONV_FEW_TAPS];                                                                              \
        for (int s = 0; s < n_taps; s++) rows[s] = s * SKCONV_ROW;                                                    \
        for (ptrdiff_t j = 0; j < n_pixels; j += SKCONV_ROW) {                                                        \
            const ptrdiff_t m = n_pixels - j < SKCONV_ROW ? n_pixels - j : SKCONV_ROW;                                \
            for (int s = 0; s < n_taps; s++) {                                                                        \
                const skconv_real *from = x + j * step + taps[s];                                                     \
                skconv_real *to = block + s * SKCONV_ROW;                                                             \
                for (ptrdiff_t k = 0; k < m; k++) to[k] = from[k * step];                                             \
            }                                                                                                         \
            CALL;                                                                                                     \
        }                                                                                                             \
        return;                                                                                                       \
    }
/* What SKCONV_KNOWN makes vectors of. */
#define SKCONV_IS_FILLED ((n_taps == 2 || n_taps == 4) && (step == 2 || step == n_taps))

#define SKCONV_TOP(N) skconv_top_##N(a + f, at, count, b + f)
#define SKCONV_TOP_LINE(TAPS, COUNT, STEP, CHANNELS)                                                                  \
    {                                                                                                                 \
        const ptrdiff_t *at = TAPS;                                                                                   \
        const int count = COUNT;                                                                                      \
        for (ptrdiff_t j = 0; j < n_pixels; j++) {                                                                    \
            const skconv_real *a = x + j * (STEP);                                                                    \
            skconv_real *b = y + j * (CHANNELS);                                                                      \
            SKCONV_COVER_BLOCKS(CHANNELS, SKCONV_TOP)                                                                 \
        }                                                                                                             \
    }
#define SKCONV_SUM(N) skconv_sum_##N(a + f, at, count, kind, divisor, multiply, b + f)
#define SKCONV_SUM_LINE(TAPS, COUNT, STEP, CHANNELS)                                                                  \
    {                                                                                                                 \
        const ptrdiff_t *at = TAPS;                                                                                   \
        const int count = COUNT;                                                                                      \
        for (ptrdiff_t j = 0; j < n_pixels; j++) {                                                                    \
            const skconv_real *a = x + j * (STEP);                                                                    \
            skconv_real *b = y + j * (CHANNELS);                                                                      \
            SKCONV_COVER_BLOCKS(CHANNELS, SKCONV_SUM)                                                                 \
        }                                                                                                             \
    }

/* Pixels of so few channels that they do not fill a vector, as whole vectors: what they write too much, pixels further
 * on write over. The last pixels of the line are left. (2x2 windows of 6 channels: half of the time of two vectors of
 * four lanes that overlap.) */
#define SKCONV_SURPLUS_OF(N, CHANNELS, STEP, CALL)                                                                    \
    {                                                                                                                 \
        const ptrdiff_t surplus = (ptrdiff_t)(sizeof(skconv_vec_##N) / sizeof(skconv_real)) - (CHANNELS);             \
        const ptrdiff_t least = (STEP) < (CHANNELS) ? (STEP) : (CHANNELS);                                            \
        const ptrdiff_t end = n_pixels - (surplus + least - 1) / least;                                               \
        for (; j < end; j++) CALL(N);                                                                                 \
    }
#define SKCONV_SURPLUS(CHANNELS, STEP, CALL)                                                                          \
    if ((CHANNELS) > 1 && (CHANNELS) < SKCONV_LANES && (STEP) > 0) {                                                  \
        SKCONV_IF_QUARTER(if ((CHANNELS) <= SKCONV_LANES / 4) SKCONV_SURPLUS_OF(quarter, CHANNELS, STEP, CALL) else)  \
        SKCONV_IF_HALF(if ((CHANNELS) <= SKCONV_LANES / 2) SKCONV_SURPLUS_OF(half, CHANNELS, STEP, CALL) else)        \
        SKCONV_SURPLUS_OF(full, CHANNELS, STEP, CALL)                                                                 \
    }

static void skconv_top_line(const skconv_real *restrict x, ptrdiff_t step, ptrdiff_t n_pixels,
                            const ptrdiff_t *restrict taps, int n_taps, ptrdiff_t n, skconv_real *restrict y)
{
    SKCONV_FILL(skconv_top_line(block, 0, 1, rows, n_taps, m, y + j))
    SKCONV_KNOWN(SKCONV_TOP_LINE)
}

/* Whether dividing by `count` is multiplying by a number that is exact; the bits are the same, the division is slow. */
SKCONV_INLINE int skconv_is_power_of_two(ptrdiff_t count)
{
    return (count & (count - 1)) == 0;
}

static void skconv_mean_line(const skconv_real *restrict x, ptrdiff_t step, ptrdiff_t n_pixels,
                             const ptrdiff_t *restrict taps, int n_taps, ptrdiff_t counted, ptrdiff_t n,
                             skconv_real *restrict y)
{
    SKCONV_FILL(skconv_mean_line(block, 0, 1, rows, n_taps, counted, m, y + j))
    const int multiply = skconv_is_power_of_two(counted);
    const skconv_real divisor = multiply ? 1 / (skconv_real)counted : (skconv_real)counted;
    enum { kind = 0 };
    SKCONV_KNOWN(SKCONV_SUM_LINE)
}

/* p as a whole number, or -1: above 64 multiplications round more than pow does. */
SKCONV_INLINE int skconv_whole(skconv_real p)
{
    return p <= 64 && p == (int)p ? (int)p : -1;
}

#define SKCONV_NORM(N) skconv_norm_##N(x + f, taps, n_taps, p, whole, y + f)
static void skconv_norm_line(const skconv_real *restrict x, ptrdiff_t step, ptrdiff_t n_pixels,
                             const ptrdiff_t *restrict taps, int n_taps, skconv_real p, ptrdiff_t n,
                             skconv_real *restrict y)
{
    SKCONV_FILL(skconv_norm_line(block, 0, 1, rows, n_taps, p, m, y + j))
    const int whole = skconv_whole(p), multiply = 0;
    const skconv_real divisor = 1;
    if (whole == 1) {
        enum { kind = 1 };
        SKCONV_KNOWN(SKCONV_SUM_LINE)
    } else if (whole == 2) {
        enum { kind = 2 };
        SKCONV_KNOWN(SKCONV_SUM_LINE)
    } else
        for (; n_pixels; n_pixels--, x += step, y += n) SKCONV_COVER(n, SKCONV_NORM)
}

#define SKCONV_MAX(N)                                                                                                 \
    skconv_max_##N(a + f, at, ids, count, b + f, index ? index + j * n + f : NULL, wide ? wide + j * n + f : NULL)
#define SKCONV_MAX_SURPLUS(N)                                                                                         \
    skconv_max_##N(x + j * step, at, ids, count, y + j * n, index ? index + j * n : NULL, wide ? wide + j * n : NULL)
#define SKCONV_MAX_LINE(TAPS, COUNT, STEP, CHANNELS)                                                                  \
    {                                                                                                                 \
        const ptrdiff_t *at = TAPS;                                                                                   \
        const int count = COUNT;                                                                                      \
        ptrdiff_t j = 0;                                                                                              \
        SKCONV_SURPLUS(CHANNELS, STEP, SKCONV_MAX_SURPLUS)                                                            \
        for (; j < n_pixels; j++) {                                                                                   \
            const skconv_real *a = x + j * (STEP);                                                                    \
            skconv_real *b = y + j * (CHANNELS);                                                                      \
            SKCONV_COVER(CHANNELS, SKCONV_MAX)                                                                        \
        }                                                                                                             \
    }

static void skconv_max_line(const skconv_real *restrict x, ptrdiff_t step, ptrdiff_t n_pixels,
                            const ptrdiff_t *restrict taps, const int32_t *restrict ids, int n_taps, ptrdiff_t n,
                            skconv_real *restrict y, uint8_t *restrict index, int32_t *restrict wide)
{
    if (n_taps == 4 && n % SKCONV_LANES == 0 && index && !wide) {
        /* The most frequent case without all others' counters and pointers, which do not fit the registers. */
        const ptrdiff_t at[4] = {taps[0], taps[1], taps[2], taps[3]};
        const int32_t id[4] = {ids[0], ids[1], ids[2], ids[3]};
        for (; n_pixels; n_pixels--, x += step)
            for (ptrdiff_t f = 0; f < n; f += SKCONV_LANES, y += SKCONV_LANES, index += SKCONV_LANES)
                skconv_max_full(x + f, at, id, 4, y, index, NULL);
        return;
    }
    SKCONV_FILL(skconv_max_line(block, 0, 1, rows, ids, n_taps, m, y + j, index ? index + j : NULL,
                                wide ? wide + j : NULL))
    SKCONV_KNOWN(SKCONV_MAX_LINE)
}

#define SKCONV_UNMAX(N) skconv_unmax_##N(a + f, b + f, at, ids, count, 0, c + f)
#define SKCONV_UNMAX_ADD(N) skconv_unmax_##N(g + f, index + f, taps, ids, n_taps, 1, dx + f)
#define SKCONV_UNMAX_SURPLUS(N) skconv_unmax_##N(g + j * n, index + j * n, at, ids, count, 0, dx + j * step)
#define SKCONV_UNMAX_LINE(TAPS, COUNT, STEP, CHANNELS)                                                                \
    {                                                                                                                 \
        const ptrdiff_t *at = TAPS;                                                                                   \
        const int count = COUNT;                                                                                      \
        ptrdiff_t j = 0;                                                                                              \
        if (side_by_side)                                                                                             \
            SKCONV_SURPLUS(CHANNELS, STEP, SKCONV_UNMAX_SURPLUS)                                                      \
        for (; j < n_pixels; j++) {                                                                                   \
            const skconv_real *a = g + j * (CHANNELS);                                                                \
            const uint8_t *b = index + j * (CHANNELS);                                                                \
            skconv_real *c = dx + j * (STEP);                                                                         \
            SKCONV_COVER(CHANNELS, SKCONV_UNMAX)                                                                      \
        }                                                                                                             \
    }

/* Whether the taps of windows in a line are rows of pixels without gaps, so that what is written behind a tap is
 * written again by a later one. */
SKCONV_INLINE int skconv_are_side_by_side(const ptrdiff_t *taps, int n_taps, ptrdiff_t step, ptrdiff_t n)
{
    const ptrdiff_t row = step / n;
    if (row == 0 || row * n != step || n_taps % row)
        return 0;
    for (int s = 0; s < n_taps; s++)
        if (taps[s] != taps[s - s % row] + s % row * n)
            return 0;
    return 1;
}
static void skconv_unmax_line(const skconv_real *restrict g, const uint8_t *restrict index, ptrdiff_t step,
                              ptrdiff_t n_pixels, const ptrdiff_t *restrict taps, const int32_t *restrict ids,
                              int n_taps, ptrdiff_t n, int adds, skconv_real *restrict dx)
{
    if (adds) {
        for (; n_pixels; n_pixels--, dx += step, g += n, index += n) SKCONV_COVER_ONCE(n, SKCONV_UNMAX_ADD)
        return;
    }
    if (n_taps == 4 && n % SKCONV_LANES == 0) {
        const ptrdiff_t at[4] = {taps[0], taps[1], taps[2], taps[3]};
        const int32_t id[4] = {ids[0], ids[1], ids[2], ids[3]};
        for (; n_pixels; n_pixels--, dx += step)
            for (ptrdiff_t f = 0; f < n; f += SKCONV_LANES, g += SKCONV_LANES, index += SKCONV_LANES)
                skconv_unmax_full(g, index, at, id, 4, 0, dx + f);
        return;
    }
    const int side_by_side = n < SKCONV_LANES && skconv_are_side_by_side(taps, n_taps, step, n);
    SKCONV_KNOWN(SKCONV_UNMAX_LINE)
}

#define SKCONV_UNMEAN(N) skconv_unmean_##N(g + f, taps, n_taps, divisor, multiply, 0, dx + f)
#define SKCONV_UNMEAN_ADD(N) skconv_unmean_##N(g + f, taps, n_taps, divisor, multiply, 1, dx + f)
static void skconv_unmean_line(const skconv_real *restrict g, ptrdiff_t step, ptrdiff_t n_pixels,
                               const ptrdiff_t *restrict taps, int n_taps, ptrdiff_t counted, ptrdiff_t n, int adds,
                               skconv_real *restrict dx)
{
    const int multiply = skconv_is_power_of_two(counted);
    const skconv_real divisor = multiply ? 1 / (skconv_real)counted : (skconv_real)counted;
    for (; n_pixels; n_pixels--, dx += step, g += n) {
        if (adds)
            SKCONV_COVER_ONCE(n, SKCONV_UNMEAN_ADD)
        else
            SKCONV_COVER(n, SKCONV_UNMEAN)
    }
}

#define SKCONV_UNNORM(N) skconv_unnorm_##N(x + f, y + f, g + f, taps, n_taps, p, whole, 0, dx + f)
#define SKCONV_UNNORM_ADD(N) skconv_unnorm_##N(x + f, y + f, g + f, taps, n_taps, p, whole, 1, dx + f)
static void skconv_unnorm_line(const skconv_real *restrict x, const skconv_real *restrict y,
                               const skconv_real *restrict g, ptrdiff_t step, ptrdiff_t n_pixels,
                               const ptrdiff_t *restrict taps, int n_taps, skconv_real p, ptrdiff_t n, int adds,
                               skconv_real *restrict dx)
{
    const int whole = skconv_whole(p);
    for (; n_pixels; n_pixels--, x += step, dx += step, y += n, g += n) {
        if (adds)
            SKCONV_COVER_ONCE(n, SKCONV_UNNORM_ADD)
        else
            SKCONV_COVER(n, SKCONV_UNNORM)
    }
}

#endif /* SKCONV_KERNELS */
#endif
