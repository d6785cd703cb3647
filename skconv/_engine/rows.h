/* 1x1 convolutions: rows of pixels times a small matrix.
 *
 *   y[p, f] = bias[f] + sum_{c < depth} x[p, c] * w[c, f]        pixels, channels and filters without gaps
 *
 * Such products are as fast as memory is, if nothing else costs time: a tile takes a few pixels through all filters
 * before the next, so that x and y are read and written once, from front to back; addresses need no tables; and x is
 * fetched ahead, because the lines that a tile's pixels read in turns are no pattern for the hardware. So is y where
 * channels are few, because a store waits for what the line held. The weights must stay in the first cache meanwhile: 16
 * KiB of them at most (convolution.pyx).
 *
 * Filters that do not fill the last vector, or half of one, are stored with what lies behind them: columns of the next
 * pixels, which are written later. Therefore the last vector of a row comes first, and the last pixels of all are stored
 * value by value. Few filters take tiles of half vectors, two of whose multiply-adds cost as much as one of whole ones:
 * 6 filters lose 2 lanes of 8 instead of 10 of 16, and stores of 32 bytes seldom straddle two cache lines.
 *
 * Each accumulator is one chain in the order of c, as in tile.h, so the bits are those of its products.
 */
#ifndef SKCONV_ROWS_H
#define SKCONV_ROWS_H

#include "tile.h"

#ifdef SKCONV_KERNELS

typedef void (*skconv_row_tile)(const skconv_real *x, ptrdiff_t depth, const skconv_real *w, ptrdiff_t n_columns,
                                const skconv_real *start, int relu, skconv_real *y);

/* How far ahead of a tile's last pixel x is fetched: some 100 ns of one core's share of the memory. */
#define SKCONV_AHEAD 2048
/* With fewer channels y is fetched, too: stores wait for their lines' old values, and no sums hide it. 3 channels, 128
 * filters 0.91 and 0.80 ms. */
#define SKCONV_SHALLOW 8

#define SKCONV_ROW_STEP(VEC, MR, NV, C)                                                                               \
    {                                                                                                                 \
        VEC bv[NV];                                                                                                   \
        SKCONV_UNROLL for (int v = 0; v < NV; v++)                                                                    \
        {                                                                                                             \
            bv[v] = *(const VEC *)(w + v * lanes);                                                                    \
            SKCONV_KEEP(bv[v]);                                                                                       \
        }                                                                                                             \
        SKCONV_UNROLL for (int m = 0; m < MR; m++)                                                                    \
            SKCONV_UNROLL for (int v = 0; v < NV; v++) acc[m][v] += (a[m][C] - (VEC){0}) * bv[v];                     \
        w += n_columns;                                                                                               \
    }

#define SKCONV_ROW_TILE(NAME, VEC, IVEC, MR, NV)                                                                      \
    __attribute__((noinline)) static void NAME(const skconv_real *restrict x, ptrdiff_t depth,                       \
                                               const skconv_real *restrict w, ptrdiff_t n_columns,                   \
                                               const skconv_real *restrict start, int relu,                          \
                                               skconv_real *restrict y)                                               \
    {                                                                                                                 \
        enum { lanes = sizeof(VEC) / sizeof(skconv_real), step = 4 * MR * sizeof(skconv_real) };                      \
        VEC acc[MR][NV];                                                                                              \
        const skconv_real *a[MR];                                                                                     \
        const char *ahead = (const char *)(x + MR * depth) + SKCONV_AHEAD;                                            \
        ptrdiff_t c = 0;                                                                                              \
        SKCONV_UNROLL for (int m = 0; m < MR; m++)                                                                    \
        {                                                                                                             \
            a[m] = x + m * depth;                                                                                     \
            SKCONV_UNROLL for (int v = 0; v < NV; v++) acc[m][v] = *(const VEC *)(start + v * lanes);                 \
        }                                                                                                             \
        SKCONV_NO_UNROLL for (; c + 4 <= depth; c += 4)                                                               \
        {                                                                                                             \
            SKCONV_UNROLL for (int i = 0; i < step; i += 64) __builtin_prefetch(ahead + i);                           \
            ahead += step;                                                                                            \
            SKCONV_ROW_STEP(VEC, MR, NV, c) SKCONV_ROW_STEP(VEC, MR, NV, c + 1)                                       \
            SKCONV_ROW_STEP(VEC, MR, NV, c + 2) SKCONV_ROW_STEP(VEC, MR, NV, c + 3)                                   \
            SKCONV_UNROLL for (int m = 0; m < MR; m++)                                                                \
                SKCONV_UNROLL for (int v = 0; v < NV; v++)                                                            \
                    if (NV == 2) /* as in tile.h */                                                                   \
                        SKCONV_KEEP(acc[m][v]);                                                                       \
        }                                                                                                             \
        SKCONV_NO_UNROLL for (; c < depth; c++) SKCONV_ROW_STEP(VEC, MR, NV, c)                                       \
        if (depth < SKCONV_SHALLOW) {                                                                                 \
            SKCONV_UNROLL for (int m = 0; m < MR; m++)                                                                \
                SKCONV_UNROLL for (int v = 0; v < NV; v++)                                                            \
                    __builtin_prefetch((const char *)(y + m * n_columns + v * lanes) + SKCONV_AHEAD, 1);              \
        }                                                                                                             \
        if (relu) { /* x < 0 ? 0 : x keeps NaN */                                                                     \
            SKCONV_UNROLL for (int m = 0; m < MR; m++)                                                                \
                SKCONV_UNROLL for (int v = 0; v < NV; v++)                                                            \
                    acc[m][v] = (VEC)((IVEC)acc[m][v] & ~(acc[m][v] < (VEC){0}));                                     \
        }                                                                                                             \
        SKCONV_UNROLL for (int m = 0; m < MR; m++)                                                                    \
            SKCONV_UNROLL for (int v = 0; v < NV; v++)                                                                \
                *(VEC *)(y + m * n_columns + v * lanes) = acc[m][v];                                                  \
    }

#define SKCONV_ROW_WHOLE(MR, NV) SKCONV_ROW_TILE(skconv_row_tile_##MR##x##NV, skconv_vec, skconv_ivec, MR, NV)
#define SKCONV_ROW_HALF(MR) SKCONV_ROW_TILE(skconv_row_tile_##MR##xhalf, skconv_half, skconv_ihalf, MR, 1)

/* Tiles for few columns and for many, by their vectors: {half, one, two, four}, as registers allow. */
#if SKCONV_VECTOR_BYTES > 16
typedef SKCONV_VECTOR(skconv_real, SKCONV_VECTOR_BYTES / 2) skconv_half;
typedef SKCONV_VECTOR(skconv_int, SKCONV_VECTOR_BYTES / 2) skconv_ihalf;
#endif
#if defined(__AVX512F__)
enum { SKCONV_HALF = SKCONV_VECTOR_BYTES / 2 / sizeof(skconv_real), SKCONV_FEW = 2, SKCONV_ROWS_FEW = 12,
       SKCONV_ROWS_MANY = 6 };
SKCONV_ROW_HALF(12) SKCONV_ROW_WHOLE(12, 1) SKCONV_ROW_WHOLE(12, 2)
SKCONV_ROW_HALF(6) SKCONV_ROW_WHOLE(6, 1) SKCONV_ROW_WHOLE(6, 2) SKCONV_ROW_WHOLE(6, 4)
static const skconv_row_tile skconv_rows_few[] = {skconv_row_tile_12xhalf, skconv_row_tile_12x1, skconv_row_tile_12x2,
                                                  NULL};
static const skconv_row_tile skconv_rows_many[] = {skconv_row_tile_6xhalf, skconv_row_tile_6x1, skconv_row_tile_6x2,
                                                   skconv_row_tile_6x4};
#elif defined(__AVX2__)
enum { SKCONV_HALF = SKCONV_VECTOR_BYTES / 2 / sizeof(skconv_real), SKCONV_FEW = 1, SKCONV_ROWS_FEW = 12,
       SKCONV_ROWS_MANY = 6 };
SKCONV_ROW_HALF(12) SKCONV_ROW_WHOLE(12, 1)
SKCONV_ROW_HALF(6) SKCONV_ROW_WHOLE(6, 1) SKCONV_ROW_WHOLE(6, 2)
static const skconv_row_tile skconv_rows_few[] = {skconv_row_tile_12xhalf, skconv_row_tile_12x1, NULL, NULL};
static const skconv_row_tile skconv_rows_many[] = {skconv_row_tile_6xhalf, skconv_row_tile_6x1, skconv_row_tile_6x2,
                                                   NULL};
#elif defined(__ARM_NEON)
enum { SKCONV_HALF = 0, SKCONV_FEW = 2, SKCONV_ROWS_FEW = 12, SKCONV_ROWS_MANY = 6 };
SKCONV_ROW_WHOLE(12, 1) SKCONV_ROW_WHOLE(12, 2)
SKCONV_ROW_WHOLE(6, 1) SKCONV_ROW_WHOLE(6, 2) SKCONV_ROW_WHOLE(6, 4)
static const skconv_row_tile skconv_rows_few[] = {NULL, skconv_row_tile_12x1, skconv_row_tile_12x2, NULL};
static const skconv_row_tile skconv_rows_many[] = {NULL, skconv_row_tile_6x1, skconv_row_tile_6x2,
                                                   skconv_row_tile_6x4};
#else
enum { SKCONV_HALF = 0, SKCONV_FEW = 1, SKCONV_ROWS_FEW = 8, SKCONV_ROWS_MANY = 4 };
SKCONV_ROW_WHOLE(8, 1) SKCONV_ROW_WHOLE(4, 1) SKCONV_ROW_WHOLE(4, 2)
static const skconv_row_tile skconv_rows_few[] = {NULL, skconv_row_tile_8x1, NULL, NULL};
static const skconv_row_tile skconv_rows_many[] = {NULL, skconv_row_tile_4x1, skconv_row_tile_4x2, NULL};
#endif
SKCONV_ROW_WHOLE(1, 1)

/* w and bias must be readable for a vector past their ends, x and y need not.
 *
 * With `largest` above zero, returns whether no x is above it, infinite or NaN: looked at a few tiles before they use
 * it, when it has been fetched already. */
static int skconv_rows(const skconv_real *restrict x, ptrdiff_t n_pixels, ptrdiff_t depth,
                       const skconv_real *restrict w, ptrdiff_t n_columns, const skconv_real *restrict bias, int relu,
                       skconv_real *restrict y, skconv_real largest)
{
    static const skconv_real zeros[4 * SKCONV_LANES];
    const int is_few = n_columns <= SKCONV_FEW * SKCONV_LANES;
    const skconv_row_tile *tiles = is_few ? skconv_rows_few : skconv_rows_many;
    const ptrdiff_t n_rows = is_few ? SKCONV_ROWS_FEW : SKCONV_ROWS_MANY;
    const ptrdiff_t whole = n_columns / SKCONV_LANES * SKCONV_LANES, rest = n_columns - whole;
    const int is_half = rest <= SKCONV_HALF;
    const ptrdiff_t surplus = rest ? (is_half ? SKCONV_HALF : SKCONV_LANES) - rest : 0;
    const ptrdiff_t last = n_pixels - (surplus + n_columns - 1) / n_columns; /* the surplus of pixels before ends in y */
    const skconv_real *seen = x, *end = x + n_pixels * depth;
    ptrdiff_t p = 0;
    int is_finite = 1;
    for (; p + n_rows <= last; p += n_rows, x += n_rows * depth, y += n_rows * n_columns) {
        if (largest > 0 && seen < x + n_rows * depth) {
            const ptrdiff_t n = n_rows * depth + SKCONV_AHEAD / (ptrdiff_t)sizeof(skconv_real);
            const skconv_real *next = n < end - x ? x + n : end;
            is_finite &= skconv_all_finite(seen, next - seen, largest);
            seen = next;
        }
        if (rest)
            tiles[!is_half](x, depth, w + whole, n_columns, bias ? bias + whole : zeros, relu, y + whole);
        for (ptrdiff_t f = 0; f < whole;) {
            int v = 1; /* vectors: 1, 2, 4 at places 1, 2, 3 */
            while (v < 3 && tiles[v + 1] && f + (SKCONV_LANES << v) <= whole) v++;
            tiles[v](x, depth, w + f, n_columns, bias ? bias + f : zeros, relu, y + f);
            f += SKCONV_LANES << (v - 1);
        }
    }
    for (; p < n_pixels; p++, x += depth, y += n_columns)
        for (ptrdiff_t f = 0; f < n_columns; f += SKCONV_LANES) {
            skconv_real row[SKCONV_LANES];
            skconv_row_tile_1x1(x, depth, w + f, n_columns, bias ? bias + f : zeros, relu, row);
            memcpy(y + f, row, (n_columns - f < SKCONV_LANES ? n_columns - f : SKCONV_LANES) * sizeof(skconv_real));
        }
    return is_finite & (largest <= 0 || skconv_all_finite(seen, end - seen, largest));
}

#endif /* SKCONV_KERNELS */
#endif
