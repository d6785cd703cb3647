/* Pixels of a line: convolution with a kernel of 3, 5 or 7 pixels a row, stride and dilation one.
 *
 *   y[m, f] = bias[f] + sum_{row r} sum_{channel c} sum_{tap t < KW} x[rows[r].a + c + (m + t) * x_pixel]
 *                                                                  * w[rows[r].b + t * w_tap + c * w_channel + f]
 *
 * A register tile (tile.h) broadcasts one value of x for every NV multiply-adds, and with NV = 1 the loads take longer
 * than these. Here the weights of all taps of a row stay in registers while MR + KW - 1 neighbours pass, and every
 * value of x serves up to KW results: KW * NV + MR + KW - 1 loads for MR * KW * NV multiply-adds. One thread,
 * AVX-512, GFLOP/s on data in the first cache, of 217, tile and line: 3x3 of 3 channels, 16 filters 128 and 173; 6
 * channels 138 and 184; 5x5 of 16 channels 145 and 190; 6 channels, 64 filters of 3x3 165 and 192.
 *
 * MR * NV accumulators, KW * NV weights and one value of x should fit the registers. In 16 of them, 5 or 7 taps leave
 * room for 10 or 8 sums, hardly enough for the latency of a multiply-add: longer lines leave some weights in memory.
 * Lines are cut into tiles of nearly equal height, so half the largest height, rounded up, is the least; a line that
 * fits a tile higher than that is left whole, because halves of it would be too short.
 */
#ifndef SKCONV_LINES_H
#define SKCONV_LINES_H

#include "tile.h"

#ifdef SKCONV_KERNELS

typedef void (*skconv_line)(const skconv_run *rows, ptrdiff_t n_rows, ptrdiff_t n_channels, const skconv_real *x,
                            ptrdiff_t x_pixel, const skconv_real *w, ptrdiff_t w_tap, ptrdiff_t w_channel,
                            const skconv_real *bias, skconv_real *y, ptrdiff_t y_pixel, int relu, int left, int right);

/* Taps whose weights find a register: all, but for long lines in 16. Few from memory cost nothing, because a
 * multiply-add loads one itself. */
#if defined(__AVX512F__) || defined(__ARM_NEON)
#define SKCONV_HELD(MR, NV, KW) (KW)
#else
#define SKCONV_HELD(MR, NV, KW) (MR + KW < 16 ? KW : 15 - MR)
#endif

/* As SKCONV_FMA, the second factor in memory: GCC would load it into a register that is not there. */
#if defined(__FMA__)
#define SKCONV_FMA_MEMORY(acc, x, b) __asm__(SKCONV_FMA_NAME " %2, %1, %0" : "+x"(acc) : "x"(x), "m"(b))
#else
#define SKCONV_FMA_MEMORY(acc, x, b) SKCONV_FMA(acc, x, b)
#endif

/* What neighbour j gives to the results whose taps it falls on. */
#define SKCONV_LINE_PIXEL(MR, NV, KW)                                                                                 \
    {                                                                                                                 \
        skconv_vec value = *xp - (skconv_vec){0};                                                                     \
        SKCONV_KEEP(value);                                                                                           \
        SKCONV_UNROLL for (int t = KW - 1; t >= 0; t--)                                                               \
            if (j >= t && j - t < MR)                                                                                 \
                SKCONV_UNROLL for (int v = 0; v < NV; v++)                                                            \
                    if (t < SKCONV_HELD(MR, NV, KW))                                                                  \
                        SKCONV_FMA(acc[j - t][v], value, wv[t][v]);                                                   \
                    else                                                                                              \
                        SKCONV_FMA_MEMORY(acc[j - t][v], value,                                                       \
                                          *(const skconv_vec *)(wc + t * w_tap + v * SKCONV_LANES));                  \
    }

#define SKCONV_LINE(MR, NV, KW)                                                                                       \
    __attribute__((noinline)) static void skconv_line_##MR##x##NV##_##KW(                                             \
        const skconv_run *restrict rows, ptrdiff_t n_rows, ptrdiff_t n_channels, const skconv_real *restrict x,       \
        ptrdiff_t x_pixel, const skconv_real *restrict w, ptrdiff_t w_tap, ptrdiff_t w_channel,                       \
        const skconv_real *restrict bias, skconv_real *restrict y, ptrdiff_t y_pixel, int relu, int left, int right)  \
    {                                                                                                                 \
        skconv_vec acc[MR][NV];                                                                                       \
        SKCONV_UNROLL for (int v = 0; v < NV; v++)                                                                    \
        {                                                                                                             \
            const skconv_vec first = bias ? *(const skconv_vec *)(bias + v * SKCONV_LANES) : (skconv_vec){0};         \
            SKCONV_UNROLL for (int m = 0; m < MR; m++) acc[m][v] = first;                                             \
        }                                                                                                             \
        for (const skconv_run *end = rows + n_rows; rows < end; rows++) {                                             \
            const skconv_real *xc = x + rows->a, *wc = w + rows->b;                                                   \
            SKCONV_NO_UNROLL for (ptrdiff_t c = n_channels; c > 0; c--, xc++, wc += w_channel)                        \
            {                                                                                                         \
                const skconv_real *xp = xc;                                                                           \
                skconv_vec wv[KW][NV];                                                                                \
                SKCONV_UNROLL for (int t = 0; t < SKCONV_HELD(MR, NV, KW); t++)                                       \
                    SKCONV_UNROLL for (int v = 0; v < NV; v++)                                                        \
                    {                                                                                                 \
                        wv[t][v] = *(const skconv_vec *)(wc + t * w_tap + v * SKCONV_LANES);                          \
                        SKCONV_KEEP(wv[t][v]);                                                                        \
                    }                                                                                                 \
                if (left)                                                                                             \
                    xp += KW / 2 * x_pixel;                                                                           \
                else                                                                                                  \
                    SKCONV_UNROLL for (int j = 0; j < KW / 2; j++, xp += x_pixel) SKCONV_LINE_PIXEL(MR, NV, KW)       \
                SKCONV_UNROLL for (int j = KW / 2; j < MR + KW / 2; j++, xp += x_pixel) SKCONV_LINE_PIXEL(MR, NV, KW) \
                if (!right)                                                                                           \
                    SKCONV_UNROLL for (int j = MR + KW / 2; j < MR + KW - 1; j++, xp += x_pixel)                      \
                        SKCONV_LINE_PIXEL(MR, NV, KW)                                                                 \
            }                                                                                                         \
        }                                                                                                             \
        if (relu) { /* x < 0 ? 0 : x keeps NaN */                                                                     \
            SKCONV_UNROLL for (int m = 0; m < MR; m++)                                                                \
                SKCONV_UNROLL for (int v = 0; v < NV; v++)                                                            \
                    acc[m][v] = (skconv_vec)((skconv_ivec)acc[m][v] & ~(acc[m][v] < (skconv_vec){0}));                \
        }                                                                                                             \
        SKCONV_UNROLL for (int m = 0; m < MR; m++)                                                                    \
            SKCONV_UNROLL for (int v = 0; v < NV; v++)                                                                \
                *(skconv_vec *)(y + m * y_pixel + v * SKCONV_LANES) = acc[m][v];                                      \
    }

#define SKCONV_LINES_3_6(NV, KW)                                                                                      \
    SKCONV_LINE(3, NV, KW) SKCONV_LINE(4, NV, KW) SKCONV_LINE(5, NV, KW) SKCONV_LINE(6, NV, KW)
#define SKCONV_LINES_4_8(NV, KW)                                                                                      \
    SKCONV_LINE(4, NV, KW) SKCONV_LINE(5, NV, KW) SKCONV_LINE(6, NV, KW) SKCONV_LINE(7, NV, KW) SKCONV_LINE(8, NV, KW)
#define SKCONV_LINES_5_10(NV, KW)                                                                                     \
    SKCONV_LINE(5, NV, KW) SKCONV_LINE(6, NV, KW) SKCONV_LINE(7, NV, KW) SKCONV_LINE(8, NV, KW)                       \
    SKCONV_LINE(9, NV, KW) SKCONV_LINE(10, NV, KW)
#define SKCONV_LINES_6_12(NV, KW)                                                                                     \
    SKCONV_LINE(6, NV, KW) SKCONV_LINE(7, NV, KW) SKCONV_LINE(8, NV, KW) SKCONV_LINE(9, NV, KW)                       \
    SKCONV_LINE(10, NV, KW) SKCONV_LINE(11, NV, KW) SKCONV_LINE(12, NV, KW)
#define SKCONV_LINES_6_14(NV, KW) SKCONV_LINES_6_12(NV, KW) SKCONV_LINE(13, NV, KW) SKCONV_LINE(14, NV, KW)
#define SKCONV_LINES_7_14(NV, KW)                                                                                     \
    SKCONV_LINE(7, NV, KW) SKCONV_LINE(8, NV, KW) SKCONV_LINE(9, NV, KW) SKCONV_LINE(10, NV, KW)                      \
    SKCONV_LINE(11, NV, KW) SKCONV_LINE(12, NV, KW) SKCONV_LINE(13, NV, KW) SKCONV_LINE(14, NV, KW)

#define SKCONV_L(MR, NV, KW) [MR] = skconv_line_##MR##x##NV##_##KW
#define SKCONV_NAMES_OF_3_6(NV, KW) SKCONV_L(3, NV, KW), SKCONV_L(4, NV, KW), SKCONV_L(5, NV, KW), SKCONV_L(6, NV, KW)
#define SKCONV_NAMES_OF_4_8(NV, KW)                                                                                   \
    SKCONV_L(4, NV, KW), SKCONV_L(5, NV, KW), SKCONV_L(6, NV, KW), SKCONV_L(7, NV, KW), SKCONV_L(8, NV, KW)
#define SKCONV_NAMES_OF_5_10(NV, KW)                                                                                  \
    SKCONV_L(5, NV, KW), SKCONV_L(6, NV, KW), SKCONV_L(7, NV, KW), SKCONV_L(8, NV, KW), SKCONV_L(9, NV, KW),          \
        SKCONV_L(10, NV, KW)
#define SKCONV_NAMES_OF_6_12(NV, KW)                                                                                  \
    SKCONV_L(6, NV, KW), SKCONV_L(7, NV, KW), SKCONV_L(8, NV, KW), SKCONV_L(9, NV, KW), SKCONV_L(10, NV, KW),         \
        SKCONV_L(11, NV, KW), SKCONV_L(12, NV, KW)
#define SKCONV_NAMES_OF_6_14(NV, KW) SKCONV_NAMES_OF_6_12(NV, KW), SKCONV_L(13, NV, KW), SKCONV_L(14, NV, KW)
#define SKCONV_NAMES_OF_7_14(NV, KW)                                                                                  \
    SKCONV_L(7, NV, KW), SKCONV_L(8, NV, KW), SKCONV_L(9, NV, KW), SKCONV_L(10, NV, KW), SKCONV_L(11, NV, KW),        \
        SKCONV_L(12, NV, KW), SKCONV_L(13, NV, KW), SKCONV_L(14, NV, KW)

/* By (kernel - 3) / 2 and height; and how many columns lines are for. Two vectors of columns do not fit 16 registers.
 * With AVX2, tiles of 6x2 are then faster, 114 to 118 GFLOP/s of 117 on data in the first cache, lines of 7 to 12
 * pixels 91 to 116; without an instruction that multiplies and adds, lines are. */
enum { SKCONV_MAX_LINE = 14 };
#if defined(__AVX512F__) || defined(__ARM_NEON)
SKCONV_LINES_7_14(1, 3) SKCONV_LINES_7_14(1, 5) SKCONV_LINES_7_14(1, 7)
SKCONV_LINES_5_10(2, 3) SKCONV_LINES_5_10(2, 5) SKCONV_LINES_4_8(2, 7)
static const skconv_line skconv_lines_1[3][SKCONV_MAX_LINE + 1] = {
    {SKCONV_NAMES_OF_7_14(1, 3)}, {SKCONV_NAMES_OF_7_14(1, 5)}, {SKCONV_NAMES_OF_7_14(1, 7)}};
static const skconv_line skconv_lines_2[3][SKCONV_MAX_LINE + 1] = {
    {SKCONV_NAMES_OF_5_10(2, 3)}, {SKCONV_NAMES_OF_5_10(2, 5)}, {SKCONV_NAMES_OF_4_8(2, 7)}};
static const ptrdiff_t skconv_line_heights[2][3] = {{14, 14, 14}, {10, 10, 8}};
static const ptrdiff_t skconv_most_line_columns = PTRDIFF_MAX;
#elif defined(__AVX2__)
SKCONV_LINES_6_12(1, 3) SKCONV_LINES_6_14(1, 5) SKCONV_LINES_6_14(1, 7)
static const skconv_line skconv_lines_1[3][SKCONV_MAX_LINE + 1] = {
    {SKCONV_NAMES_OF_6_12(1, 3)}, {SKCONV_NAMES_OF_6_14(1, 5)}, {SKCONV_NAMES_OF_6_14(1, 7)}};
static const skconv_line skconv_lines_2[3][SKCONV_MAX_LINE + 1] = {{NULL}, {NULL}, {NULL}};
static const ptrdiff_t skconv_line_heights[2][3] = {{12, 11, 11}, {0, 0, 0}};
static const ptrdiff_t skconv_most_line_columns = SKCONV_LANES;
#else /* a product needs a register of its own */
SKCONV_LINES_5_10(1, 3) SKCONV_LINES_4_8(1, 5) SKCONV_LINES_3_6(1, 7)
static const skconv_line skconv_lines_1[3][SKCONV_MAX_LINE + 1] = {
    {SKCONV_NAMES_OF_5_10(1, 3)}, {SKCONV_NAMES_OF_4_8(1, 5)}, {SKCONV_NAMES_OF_3_6(1, 7)}};
static const skconv_line skconv_lines_2[3][SKCONV_MAX_LINE + 1] = {{NULL}, {NULL}, {NULL}};
static const ptrdiff_t skconv_line_heights[2][3] = {{10, 8, 6}, {0, 0, 0}};
static const ptrdiff_t skconv_most_line_columns = PTRDIFF_MAX;
#endif

#endif /* SKCONV_KERNELS */
#endif
