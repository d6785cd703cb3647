/* Register tiles for the products between Winograd's transforms.
 *
 *   m[t, f] = sum_c v[t, c] * u[c, f]           one plane of tiles t, channels c and filters f
 *
 * v and m lie in blocks of one vector of channels or filters, a vector for every tile; the last block of v is filled
 * from its end. u has rows of NV vectors, one for every channel. So all addresses are constants but the three of v, u
 * and m, and nothing is read from tables before a sum of sixteen terms and after it: on data in the first two caches,
 * 16 tiles, 16 channels and filters run at 163 GFLOP/s of 217, 64 and 64 at 180 to 200.
 *
 * Loop order: MR tiles times NV vectors of accumulators stay in registers over the whole sum, as in tile.h. m may lie
 * where v lies: a row is written when all of it is read. Every sum is one chain in the order of c.
 */
#ifndef SKCONV_WINOGRAD_PRODUCT_H
#define SKCONV_WINOGRAD_PRODUCT_H

#include "tile.h"

#ifdef SKCONV_KERNELS

typedef void (*skconv_winograd_tile)(const skconv_real *v, ptrdiff_t v_block, ptrdiff_t n_channels,
                                     const skconv_real *u, skconv_real *m, ptrdiff_t m_block);

/* Unrolled; with four lanes or fewer the loop over them would be one turn, and GCC 12 then spills (AVX2, float64). */
enum { SKCONV_WINOGRAD_STEPS = SKCONV_VECTOR_BYTES / sizeof(skconv_real) < 8 ? 1 : 4 };

#define SKCONV_WINOGRAD_STEP(MR, NV)                                                                                  \
    {                                                                                                                 \
        skconv_vec row[NV];                                                                                           \
        SKCONV_UNROLL for (int k = 0; k < NV; k++)                                                                    \
        {                                                                                                             \
            row[k] = *(const skconv_vec *)(u + k * SKCONV_LANES);                                                     \
            SKCONV_KEEP(row[k]);                                                                                      \
        }                                                                                                             \
        SKCONV_UNROLL for (int t = 0; t < MR; t++)                                                                    \
        {                                                                                                             \
            const skconv_vec value = a[t * SKCONV_LANES] - (skconv_vec){0};                                           \
            SKCONV_UNROLL for (int k = 0; k < NV; k++)                                                                \
                if (NV == 1) /* a factor from memory */                                                               \
                    acc[t][k] += value * row[k];                                                                      \
                else                                                                                                  \
                    SKCONV_FMA(acc[t][k], value, row[k]);                                                             \
        }                                                                                                             \
        a++;                                                                                                          \
        u += NV * SKCONV_LANES;                                                                                       \
    }

#define SKCONV_WINOGRAD_TILE(MR, NV)                                                                                  \
    __attribute__((noinline)) static void skconv_winograd_tile_##MR##x##NV(                                           \
        const skconv_real *v, ptrdiff_t v_block, ptrdiff_t n_channels, const skconv_real *u, skconv_real *m,          \
        ptrdiff_t m_block)                                                                                            \
    {                                                                                                                 \
        skconv_vec acc[MR][NV];                                                                                       \
        SKCONV_UNROLL for (int t = 0; t < MR; t++)                                                                    \
            SKCONV_UNROLL for (int k = 0; k < NV; k++) acc[t][k] = (skconv_vec){0};                                   \
        SKCONV_NO_UNROLL for (; n_channels > 0; n_channels -= SKCONV_LANES, v += v_block)                             \
        {                                                                                                             \
            ptrdiff_t l = n_channels < SKCONV_LANES ? n_channels : SKCONV_LANES;                                      \
            const skconv_real *a = v + SKCONV_LANES - l;                                                              \
            SKCONV_NO_UNROLL for (; l >= SKCONV_WINOGRAD_STEPS; l -= SKCONV_WINOGRAD_STEPS)                           \
            {                                                                                                         \
                SKCONV_UNROLL for (int step = 0; step < SKCONV_WINOGRAD_STEPS; step++)                                \
                    SKCONV_WINOGRAD_STEP(MR, NV)                                                                      \
            }                                                                                                         \
            SKCONV_NO_UNROLL for (; l > 0; l--) SKCONV_WINOGRAD_STEP(MR, NV)                                          \
        }                                                                                                             \
        SKCONV_UNROLL for (int t = 0; t < MR; t++)                                                                    \
            SKCONV_UNROLL for (int k = 0; k < NV; k++)                                                                \
                *(skconv_vec *)(m + k * m_block + t * SKCONV_LANES) = acc[t][k];                                      \
    }

#define SKCONV_WINOGRADS_4(NV)                                                                                        \
    SKCONV_WINOGRAD_TILE(1, NV) SKCONV_WINOGRAD_TILE(2, NV) SKCONV_WINOGRAD_TILE(3, NV) SKCONV_WINOGRAD_TILE(4, NV)
#define SKCONV_WINOGRADS_6(NV) SKCONV_WINOGRADS_4(NV) SKCONV_WINOGRAD_TILE(5, NV) SKCONV_WINOGRAD_TILE(6, NV)
#define SKCONV_WINOGRADS_8(NV) SKCONV_WINOGRADS_6(NV) SKCONV_WINOGRAD_TILE(7, NV) SKCONV_WINOGRAD_TILE(8, NV)
#define SKCONV_WINOGRADS_12(NV)                                                                                       \
    SKCONV_WINOGRADS_8(NV) SKCONV_WINOGRAD_TILE(9, NV) SKCONV_WINOGRAD_TILE(10, NV) SKCONV_WINOGRAD_TILE(11, NV)      \
    SKCONV_WINOGRAD_TILE(12, NV)
#define SKCONV_WINOGRADS_14(NV) SKCONV_WINOGRADS_12(NV) SKCONV_WINOGRAD_TILE(13, NV) SKCONV_WINOGRAD_TILE(14, NV)
#define SKCONV_WINOGRADS_16(NV) SKCONV_WINOGRADS_14(NV) SKCONV_WINOGRAD_TILE(15, NV) SKCONV_WINOGRAD_TILE(16, NV)

#define SKCONV_W(MR, NV) skconv_winograd_tile_##MR##x##NV
#define SKCONV_W_4(NV) NULL, SKCONV_W(1, NV), SKCONV_W(2, NV), SKCONV_W(3, NV), SKCONV_W(4, NV)
#define SKCONV_W_6(NV) SKCONV_W_4(NV), SKCONV_W(5, NV), SKCONV_W(6, NV)
#define SKCONV_W_8(NV) SKCONV_W_6(NV), SKCONV_W(7, NV), SKCONV_W(8, NV)
#define SKCONV_W_12(NV) SKCONV_W_8(NV), SKCONV_W(9, NV), SKCONV_W(10, NV), SKCONV_W(11, NV), SKCONV_W(12, NV)
#define SKCONV_W_14(NV) SKCONV_W_12(NV), SKCONV_W(13, NV), SKCONV_W(14, NV)
#define SKCONV_W_16(NV) SKCONV_W_14(NV), SKCONV_W(15, NV), SKCONV_W(16, NV)

/* By vectors and rows; the most of both. */
enum { SKCONV_WINOGRAD_ROWS = 16 };
#if defined(__AVX512F__)
SKCONV_WINOGRADS_16(1) SKCONV_WINOGRADS_14(2) SKCONV_WINOGRADS_8(3) SKCONV_WINOGRADS_6(4)
static const skconv_winograd_tile skconv_winograd_tiles[5][SKCONV_WINOGRAD_ROWS + 1] = {
    {NULL}, {SKCONV_W_16(1)}, {SKCONV_W_14(2)}, {SKCONV_W_8(3)}, {SKCONV_W_6(4)}};
static const ptrdiff_t skconv_winograd_rows[5] = {0, 16, 14, 8, 6}, skconv_winograd_vectors = 4;
#elif defined(__AVX2__)
SKCONV_WINOGRADS_12(1) SKCONV_WINOGRADS_6(2)
static const skconv_winograd_tile skconv_winograd_tiles[5][SKCONV_WINOGRAD_ROWS + 1] = {
    {NULL}, {SKCONV_W_12(1)}, {SKCONV_W_6(2)}, {NULL}, {NULL}};
static const ptrdiff_t skconv_winograd_rows[5] = {0, 12, 6, 0, 0}, skconv_winograd_vectors = 2;
#elif defined(__ARM_NEON)
SKCONV_WINOGRADS_16(1) SKCONV_WINOGRADS_8(2) SKCONV_WINOGRADS_8(3) SKCONV_WINOGRADS_6(4)
static const skconv_winograd_tile skconv_winograd_tiles[5][SKCONV_WINOGRAD_ROWS + 1] = {
    {NULL}, {SKCONV_W_16(1)}, {SKCONV_W_8(2)}, {SKCONV_W_8(3)}, {SKCONV_W_6(4)}};
static const ptrdiff_t skconv_winograd_rows[5] = {0, 16, 8, 8, 6}, skconv_winograd_vectors = 4;
#else
SKCONV_WINOGRADS_8(1) SKCONV_WINOGRADS_4(2)
static const skconv_winograd_tile skconv_winograd_tiles[5][SKCONV_WINOGRAD_ROWS + 1] = {
    {NULL}, {SKCONV_W_8(1)}, {SKCONV_W_4(2)}, {NULL}, {NULL}};
static const ptrdiff_t skconv_winograd_rows[5] = {0, 8, 4, 0, 0}, skconv_winograd_vectors = 2;
#endif

#endif /* SKCONV_KERNELS */
#endif
