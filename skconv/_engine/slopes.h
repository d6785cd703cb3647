/* The weights' gradient of a convolution, line by line, for kernels of 3, 5 or 7 pixels a row, stride and dilation one.
 *
 *   C[c_rows[m] + t * c_tap + f] += sum_{r < R} sum_{l < L} A[a_rows[m] + runs[r].a + (l + t) * a_step]
 *                                                         * B[runs[r].b + l * b_step + f]        for all taps t < KW
 *
 * A is x, whose row m is a channel seen by the first tap of a row of the kernel; B is dz, whose runs are lines.
 *
 * A register tile (tile.h) loads 10 values for 24 multiply-adds, or 16 for 28, and the processor's clock falls with
 * the loads. Neighbouring taps see the same pixels one step later: with the last KW pixels of dz in registers, a value
 * of x serves all taps of its row.  MR values of x and NV vectors of dz are loaded for MR * NV * KW multiply-adds, 6
 * for 24.  Sums go line by line and pixel by pixel, as in a product, so the bits are those of a product.
 *
 * MR * NV * KW accumulators, KW * NV vectors of dz and one value of x must fit the registers; L >= KW - 1.  The first
 * and the last KW - 1 pixels of x meet fewer taps, and are steps of their own: zeros in place of dz would make NaN of
 * an infinite x.  Of these, the first and the last KW / 2 are left out where they lie on the margin (left, right).
 * Vectors of dz move on by one register a step, which takes no multiplier: with KW steps unrolled in
 * place of it, GCC 12 moves accumulators about (181 and 187 GFLOP/s on data in the first cache, 6x4 tiles 175 to 183).
 */
#ifndef SKCONV_SLOPES_H
#define SKCONV_SLOPES_H

#include "tile.h"

#ifdef SKCONV_KERNELS

typedef void (*skconv_slope)(const skconv_product *p, const skconv_real *A, const ptrdiff_t *a_rows,
                             const skconv_real *B, skconv_real *C, const ptrdiff_t *c_rows, ptrdiff_t c_tap, int left,
                             int right);

/* Loads a pixel of dz into its place among the last KW. */
#define SKCONV_SLOPE_LOAD(NV, PLACE)                                                                                  \
    SKCONV_UNROLL for (int v = 0; v < NV; v++)                                                                        \
    {                                                                                                                 \
        dz[PLACE][v] = *(const skconv_vec *)(b + v * SKCONV_LANES);                                                   \
        SKCONV_KEEP(dz[PLACE][v]);                                                                                    \
    }                                                                                                                 \
    b += b_step;

/* Taps FIRST to LAST meet the pixel of x at o; tap 0's pixel of dz lies in `place`, those of the others before it. */
#define SKCONV_SLOPE_STEP(MR, NV, KW, FIRST, LAST, PLACE)                                                             \
    {                                                                                                                 \
        SKCONV_UNROLL for (int m = 0; m < MR; m++)                                                                    \
        {                                                                                                             \
            skconv_vec value = a[m][o] - (skconv_vec){0};                                                             \
            SKCONV_KEEP(value);                                                                                       \
            SKCONV_UNROLL for (int t = FIRST; t <= LAST; t++)                                                         \
                SKCONV_UNROLL for (int v = 0; v < NV; v++)                                                            \
                    SKCONV_FMA(acc[t][m][v], value, dz[(PLACE + KW - t) % KW][v]);                                    \
        }                                                                                                             \
        o += a_step;                                                                                                  \
        SKCONV_KEEP_ADDRESSES(o, b);                                                                                  \
    }

#define SKCONV_SLOPE(MR, NV, KW)                                                                                      \
    __attribute__((noinline)) static void skconv_slope_##MR##x##NV##_##KW(                                            \
        const skconv_product *restrict p, const skconv_real *restrict A, const ptrdiff_t *restrict a_rows,            \
        const skconv_real *restrict B, skconv_real *restrict C, const ptrdiff_t *restrict c_rows, ptrdiff_t c_tap,    \
        int left, int right)                                                                                          \
    {                                                                                                                 \
        skconv_vec acc[KW][MR][NV], dz[KW][NV];                                                                       \
        const skconv_real *a[MR];                                                                                     \
        SKCONV_UNROLL for (int m = 0; m < MR; m++)                                                                    \
        {                                                                                                             \
            a[m] = A + a_rows[m];                                                                                     \
            SKCONV_UNROLL for (int t = 0; t < KW; t++)                                                                \
                SKCONV_UNROLL for (int v = 0; v < NV; v++)                                                            \
                    acc[t][m][v] = *(const skconv_vec *)(C + c_rows[m] + t * c_tap + v * SKCONV_LANES);               \
        }                                                                                                             \
        const ptrdiff_t a_step = p->a_step, b_step = p->b_step;                                                       \
        for (const skconv_run *run = p->runs, *end = run + p->n_runs; run < end; run++) {                             \
            const skconv_real *restrict b = B + run->b;                                                               \
            ptrdiff_t o = run->a, l = p->length - (KW - 1);                                                           \
            SKCONV_UNROLL for (int j = 0; j < KW - 1; j++)                                                            \
            {                                                                                                         \
                SKCONV_SLOPE_LOAD(NV, j)                                                                              \
                if (j < KW / 2 && left)                                                                               \
                    o += a_step;                                                                                      \
                else                                                                                                  \
                    SKCONV_SLOPE_STEP(MR, NV, KW, 0, j, j)                                                            \
            }                                                                                                         \
            SKCONV_NO_UNROLL for (; l > 0; l--)                                                                       \
            {                                                                                                         \
                SKCONV_SLOPE_LOAD(NV, KW - 1)                                                                         \
                SKCONV_SLOPE_STEP(MR, NV, KW, 0, KW - 1, KW - 1)                                                      \
                SKCONV_UNROLL for (int j = 0; j < KW - 1; j++)                                                        \
                    SKCONV_UNROLL for (int v = 0; v < NV; v++) dz[j][v] = dz[j + 1][v];                               \
            }                                                                                                         \
            SKCONV_UNROLL for (int j = 0; j < KW - 1; j++)                                                            \
                if (j < KW / 2 || !right)                                                                             \
                    SKCONV_SLOPE_STEP(MR, NV, KW, j + 1, KW - 1, j + KW - 1)                                          \
        }                                                                                                             \
        SKCONV_UNROLL for (int m = 0; m < MR; m++)                                                                    \
            SKCONV_UNROLL for (int t = 0; t < KW; t++)                                                                \
                SKCONV_UNROLL for (int v = 0; v < NV; v++)                                                            \
                    *(skconv_vec *)(C + c_rows[m] + t * c_tap + v * SKCONV_LANES) = acc[t][m][v];                     \
    }

#define SKCONV_SLOPES_1(NV, KW) SKCONV_SLOPE(1, NV, KW)
#define SKCONV_SLOPES_2(NV, KW) SKCONV_SLOPES_1(NV, KW) SKCONV_SLOPE(2, NV, KW)
#define SKCONV_SLOPES_3(NV, KW) SKCONV_SLOPES_2(NV, KW) SKCONV_SLOPE(3, NV, KW)
#define SKCONV_SLOPES_4(NV, KW) SKCONV_SLOPES_3(NV, KW) SKCONV_SLOPE(4, NV, KW)
#define SKCONV_SLOPES_5(NV, KW) SKCONV_SLOPES_4(NV, KW) SKCONV_SLOPE(5, NV, KW)
#define SKCONV_SLOPES_8(NV, KW)                                                                                       \
    SKCONV_SLOPES_5(NV, KW) SKCONV_SLOPE(6, NV, KW) SKCONV_SLOPE(7, NV, KW) SKCONV_SLOPE(8, NV, KW)

#define SKCONV_S(MR, NV, KW) [MR] = skconv_slope_##MR##x##NV##_##KW
#define SKCONV_SLOPE_NAMES_1(NV, KW) SKCONV_S(1, NV, KW)
#define SKCONV_SLOPE_NAMES_2(NV, KW) SKCONV_SLOPE_NAMES_1(NV, KW), SKCONV_S(2, NV, KW)
#define SKCONV_SLOPE_NAMES_3(NV, KW) SKCONV_SLOPE_NAMES_2(NV, KW), SKCONV_S(3, NV, KW)
#define SKCONV_SLOPE_NAMES_4(NV, KW) SKCONV_SLOPE_NAMES_3(NV, KW), SKCONV_S(4, NV, KW)
#define SKCONV_SLOPE_NAMES_5(NV, KW) SKCONV_SLOPE_NAMES_4(NV, KW), SKCONV_S(5, NV, KW)
#define SKCONV_SLOPE_NAMES_8(NV, KW)                                                                                  \
    SKCONV_SLOPE_NAMES_5(NV, KW), SKCONV_S(6, NV, KW), SKCONV_S(7, NV, KW), SKCONV_S(8, NV, KW)

/* By (kernel - 3) / 2 and number of rows; the most rows by vectors - 1 and (kernel - 3) / 2. */
enum { SKCONV_MAX_SLOPES = 8 };
#if defined(__AVX512F__)
SKCONV_SLOPES_8(1, 3) SKCONV_SLOPES_5(1, 5) SKCONV_SLOPES_3(1, 7)
SKCONV_SLOPES_4(2, 3) SKCONV_SLOPES_2(2, 5) SKCONV_SLOPES_1(2, 7)
static const skconv_slope skconv_slopes_1[3][SKCONV_MAX_SLOPES + 1] = {
    {SKCONV_SLOPE_NAMES_8(1, 3)}, {SKCONV_SLOPE_NAMES_5(1, 5)}, {SKCONV_SLOPE_NAMES_3(1, 7)}};
static const skconv_slope skconv_slopes_2[3][SKCONV_MAX_SLOPES + 1] = {
    {SKCONV_SLOPE_NAMES_4(2, 3)}, {SKCONV_SLOPE_NAMES_2(2, 5)}, {SKCONV_SLOPE_NAMES_1(2, 7)}};
static const ptrdiff_t skconv_slope_rows[2][3] = {{8, 5, 3}, {4, 2, 1}};
#else
static const skconv_slope skconv_slopes_1[3][SKCONV_MAX_SLOPES + 1] = {{NULL}, {NULL}, {NULL}};
static const skconv_slope skconv_slopes_2[3][SKCONV_MAX_SLOPES + 1] = {{NULL}, {NULL}, {NULL}};
static const ptrdiff_t skconv_slope_rows[2][3] = {{0, 0, 0}, {0, 0, 0}};
#endif

#endif /* SKCONV_KERNELS */
#endif
