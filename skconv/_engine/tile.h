/* Register tiles: with pool.h, the only C in skconv.
 *
 *   C[m, f] = start[m, f] + sum_{r < R} sum_{l < L} A[a_rows[m] + runs[r].a + l*a_step] * B[runs[r].b + l*b_step + f]
 *
 * Every product of a network has this form: `m` runs over output pixels, kernel positions or samples, `f` along the
 * vector registers, and the table `runs` says where each run of L pairs of factors begins.  A convolution needs no
 * im2col, because the address of a pixel under a kernel is the sum of an output part (a_rows) and a kernel part (runs):
 * channels last, a row of the kernel is one run.
 *
 * Loop order: MR rows times NV vectors of accumulators stay in registers over the whole sum; per step NV vectors of B
 * are loaded first (the smaller side), then MR values of A are broadcast.  MR and NV are compile-time constants, so
 * the compiler unrolls completely and spills nothing; four steps are unrolled, too, because every scalar instruction of
 * the loop takes a slot from the multiply-adds (14x2 on Sapphire Rapids: 184 GFLOP/s, 172 without, of 217).  Row counts
 * below the full tile are further instances, never masks.  Each accumulator is one chain in the order of r and l: the bits of a result do not depend on the tile that
 * computed it.
 *
 * GCC/Clang vector extensions; the vector length follows from the instruction set the file is compiled for.
 */
#ifndef SKCONV_TILE_H
#define SKCONV_TILE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct {
    ptrdiff_t a; /* offset of the run's first factor in A, in elements */
    ptrdiff_t b; /* and in B */
} skconv_run;

typedef struct {
    const skconv_run *runs;
    ptrdiff_t n_runs;
    ptrdiff_t length; /* pairs of factors per run, at least one */
    ptrdiff_t a_step; /* elements from one to the next */
    ptrdiff_t b_step;
} skconv_product;

/* Where the accumulators start: at zero, at one row for all m (a bias), or at what C holds. */
enum { SKCONV_ZERO = 0, SKCONV_BIAS = 1, SKCONV_ADD = 2 };

#ifdef SKCONV_KERNELS

#if !defined(__GNUC__) && !defined(__clang__)
#error "skconv needs GCC or Clang (clang-cl on Windows): the kernels are written with vector extensions"
#endif

#if defined(__AVX512F__)
#define SKCONV_VECTOR_BYTES 64
#elif defined(__AVX2__)
#define SKCONV_VECTOR_BYTES 32
#else
#define SKCONV_VECTOR_BYTES 16
#endif

#ifdef SKCONV_DOUBLE
typedef double skconv_real;
typedef int64_t skconv_int;
typedef uint64_t skconv_bits;
#else
typedef float skconv_real;
typedef int32_t skconv_int;
typedef uint32_t skconv_bits;
#endif
#define SKCONV_LANES ((int)(SKCONV_VECTOR_BYTES / sizeof(skconv_real)))

#define SKCONV_VECTOR(type, bytes) type __attribute__((vector_size(bytes), aligned(sizeof(type)), may_alias))
typedef SKCONV_VECTOR(skconv_real, SKCONV_VECTOR_BYTES) skconv_vec;
typedef SKCONV_VECTOR(skconv_int, SKCONV_VECTOR_BYTES) skconv_ivec;

#define SKCONV_UNROLL _Pragma("GCC unroll 32")
#define SKCONV_NO_UNROLL _Pragma("GCC unroll 1")

typedef void (*skconv_tile)(const skconv_product *p, const skconv_real *A, const ptrdiff_t *a_rows,
                            const skconv_real *B, int start, const skconv_real *bias, skconv_real *C,
                            const ptrdiff_t *c_rows, int relu);

/* Keeps a value in a register: with few rows, GCC loads a vector of B again for every row instead, and where B is not
 * aligned each load takes two cache lines (3x4 tiles over image lines: 80 against 150 GFLOP/s). And it carries an
 * accumulator of AVX2's 6x2 tile and AVX-512's 13x2 tile from one turn of the loop to the next in memory. */
#if defined(__AVX512F__)
#define SKCONV_KEEP(value) __asm__("" : "+v"(value))
#elif defined(__x86_64__)
#define SKCONV_KEEP(value) __asm__("" : "+x"(value))
#else
#define SKCONV_KEEP(value) ((void)0)
#endif

/* Keeps one offset and one pointer: with four steps unrolled, GCC computes three more of each instead, and the addresses
 * of the rows no longer fit the general registers (6 filters, 16 channels, 14 rows of one vector: 125 against 143
 * GFLOP/s). */
#if defined(__x86_64__)
#define SKCONV_KEEP_ADDRESSES(o, b) __asm__("" : "+r"(o), "+r"(b))
#else
#define SKCONV_KEEP_ADDRESSES(o, b) ((void)0)
#endif

/* acc += x * b, where the sum stays in its register: left to itself, GCC gives some sums to the register of a factor
 * and moves them back at the end of the loop (6x4 over pixels of 64 channels 165 and 178 GFLOP/s, 14x2 160 and 167). */
#ifdef SKCONV_DOUBLE
#define SKCONV_FMA_NAME "vfmadd231pd"
#else
#define SKCONV_FMA_NAME "vfmadd231ps"
#endif
#if defined(__AVX512F__)
#define SKCONV_FMA(acc, x, b) __asm__(SKCONV_FMA_NAME " %2, %1, %0" : "+v"(acc) : "v"(x), "v"(b))
#elif defined(__FMA__)
#define SKCONV_FMA(acc, x, b) __asm__(SKCONV_FMA_NAME " %2, %1, %0" : "+x"(acc) : "x"(x), "x"(b))
#else
#define SKCONV_FMA(acc, x, b) (acc += (x) * (b))
#endif

/* ---- matrix products ------------------------------------------------------------------------------------------ */

/* The factor of row m for vector v: one value for all columns, or a column of A for every column of C. */
#define SKCONV_BROADCAST(m, v) (a[m][o] - (skconv_vec){0})
#define SKCONV_COLUMNWISE(m, v) (*(const skconv_vec *)(a[m] + o + v * SKCONV_LANES))

#define SKCONV_STEP(FACTOR, MR, NV)                                                                                   \
    {                                                                                                                 \
        skconv_vec bv[NV];                                                                                            \
        SKCONV_UNROLL for (int v = 0; v < NV; v++)                                                                    \
        {                                                                                                             \
            bv[v] = *(const skconv_vec *)(b + v * SKCONV_LANES);                                                      \
            SKCONV_KEEP(bv[v]);                                                                                       \
        }                                                                                                             \
        SKCONV_UNROLL for (int m = 0; m < MR; m++)                                                                    \
            SKCONV_UNROLL for (int v = 0; v < NV; v++)                                                                \
            {                                                                                                         \
                const skconv_vec x = FACTOR(m, v);                                                                    \
                if (NV == 1) /* a factor from memory */                                                               \
                    acc[m][v] += x * bv[v];                                                                           \
                else                                                                                                  \
                    SKCONV_FMA(acc[m][v], x, bv[v]);                                                                  \
            }                                                                                                         \
        o += a_step;                                                                                                  \
        b += b_step;                                                                                                  \
        SKCONV_KEEP_ADDRESSES(o, b);                                                                                  \
    }

#define SKCONV_TILE_OF(NAME, FACTOR, MR, NV)                                                                          \
    __attribute__((noinline)) static void NAME(                                                                       \
        const skconv_product *restrict p, const skconv_real *restrict A, const ptrdiff_t *restrict a_rows,           \
        const skconv_real *restrict B, int start, const skconv_real *restrict bias, skconv_real *restrict C,         \
        const ptrdiff_t *restrict c_rows, int relu)                                                                   \
    {                                                                                                                 \
        skconv_vec acc[MR][NV];                                                                                       \
        const skconv_real *a[MR];                                                                                     \
        SKCONV_UNROLL for (int m = 0; m < MR; m++)                                                                    \
        {                                                                                                             \
            a[m] = A + a_rows[m];                                                                                     \
            SKCONV_UNROLL for (int v = 0; v < NV; v++) acc[m][v] = (skconv_vec){0};                                   \
        }                                                                                                             \
        if (start == SKCONV_BIAS) {                                                                                   \
            SKCONV_UNROLL for (int v = 0; v < NV; v++)                                                                \
            {                                                                                                         \
                skconv_vec row = *(const skconv_vec *)(bias + v * SKCONV_LANES);                                      \
                SKCONV_UNROLL for (int m = 0; m < MR; m++) acc[m][v] = row;                                           \
            }                                                                                                         \
        } else if (start == SKCONV_ADD) {                                                                             \
            SKCONV_UNROLL for (int m = 0; m < MR; m++)                                                                \
                SKCONV_UNROLL for (int v = 0; v < NV; v++)                                                            \
                    acc[m][v] = *(const skconv_vec *)(C + c_rows[m] + v * SKCONV_LANES);                              \
        }                                                                                                             \
        const ptrdiff_t a_step = p->a_step, b_step = p->b_step;                                                       \
        for (const skconv_run *run = p->runs, *end = run + p->n_runs; run < end; run++) {                             \
            const skconv_real *restrict b = B + run->b;                                                               \
            ptrdiff_t o = run->a, l = p->length;                                                                      \
            SKCONV_NO_UNROLL for (; l >= 4; l -= 4)                                                                   \
            {                                                                                                         \
                SKCONV_STEP(FACTOR, MR, NV) SKCONV_STEP(FACTOR, MR, NV)                                               \
                SKCONV_STEP(FACTOR, MR, NV) SKCONV_STEP(FACTOR, MR, NV)                                               \
                SKCONV_UNROLL for (int m = 0; m < MR; m++)                                                            \
                    SKCONV_UNROLL for (int v = 0; v < NV; v++)                                                        \
                        if (NV == 2)                                                                                  \
                            SKCONV_KEEP(acc[m][v]);                                                                   \
            }                                                                                                         \
            SKCONV_NO_UNROLL for (; l > 0; l--) SKCONV_STEP(FACTOR, MR, NV)                                           \
        }                                                                                                             \
        if (relu) { /* x < 0 ? 0 : x keeps NaN */                                                                     \
            SKCONV_UNROLL for (int m = 0; m < MR; m++)                                                                \
                SKCONV_UNROLL for (int v = 0; v < NV; v++)                                                            \
                    acc[m][v] = (skconv_vec)((skconv_ivec)acc[m][v] & ~(acc[m][v] < (skconv_vec){0}));                \
        }                                                                                                             \
        SKCONV_UNROLL for (int m = 0; m < MR; m++)                                                                    \
            SKCONV_UNROLL for (int v = 0; v < NV; v++)                                                                \
                *(skconv_vec *)(C + c_rows[m] + v * SKCONV_LANES) = acc[m][v];                                        \
    }

#define SKCONV_TILE(MR, NV) SKCONV_TILE_OF(skconv_tile_##MR##x##NV, SKCONV_BROADCAST, MR, NV)
#define SKCONV_TILES_4(NV) SKCONV_TILE(1, NV) SKCONV_TILE(2, NV) SKCONV_TILE(3, NV) SKCONV_TILE(4, NV)
#define SKCONV_TILES_6(NV) SKCONV_TILES_4(NV) SKCONV_TILE(5, NV) SKCONV_TILE(6, NV)
#define SKCONV_TILES_8(NV) SKCONV_TILES_6(NV) SKCONV_TILE(7, NV) SKCONV_TILE(8, NV)
#define SKCONV_TILES_12(NV)                                                                                           \
    SKCONV_TILES_8(NV) SKCONV_TILE(9, NV) SKCONV_TILE(10, NV) SKCONV_TILE(11, NV) SKCONV_TILE(12, NV)
#define SKCONV_TILES_14(NV) SKCONV_TILES_12(NV) SKCONV_TILE(13, NV) SKCONV_TILE(14, NV)
#define SKCONV_TILES_16(NV) SKCONV_TILES_14(NV) SKCONV_TILE(15, NV) SKCONV_TILE(16, NV)

#define SKCONV_NAMES_4(NV) skconv_tile_1x##NV, skconv_tile_2x##NV, skconv_tile_3x##NV, skconv_tile_4x##NV
#define SKCONV_NAMES_6(NV) SKCONV_NAMES_4(NV), skconv_tile_5x##NV, skconv_tile_6x##NV
#define SKCONV_NAMES_8(NV) SKCONV_NAMES_6(NV), skconv_tile_7x##NV, skconv_tile_8x##NV
#define SKCONV_NAMES_12(NV)                                                                                           \
    SKCONV_NAMES_8(NV), skconv_tile_9x##NV, skconv_tile_10x##NV, skconv_tile_11x##NV, skconv_tile_12x##NV
#define SKCONV_NAMES_14(NV) SKCONV_NAMES_12(NV), skconv_tile_13x##NV, skconv_tile_14x##NV
#define SKCONV_NAMES_16(NV) SKCONV_NAMES_14(NV), skconv_tile_15x##NV, skconv_tile_16x##NV

/* Rows of the largest tile with 1, 2 and 4 vectors a row.  With R registers, MR*NV + NV + 1 <= R, and NV + MR loads
 * should not outnumber the MR*NV multiplications of a step; 6x4 is the fastest of AVX-512's
 * (kernels/product.pxd). More than 12 rows of one vector leave no registers for their addresses. AVX2 and SSE have 16
 * registers: four vectors a row spill (GCC 12.2). */
#if defined(__AVX512F__)
SKCONV_TILES_12(1) SKCONV_TILES_14(2) SKCONV_TILES_6(4)
static const skconv_tile skconv_tiles_1[] = {NULL, SKCONV_NAMES_12(1)};
static const skconv_tile skconv_tiles_2[] = {NULL, SKCONV_NAMES_14(2)};
static const skconv_tile skconv_tiles_4[] = {NULL, SKCONV_NAMES_6(4)};
#elif defined(__AVX2__)
SKCONV_TILES_12(1) SKCONV_TILES_6(2)
static const skconv_tile skconv_tiles_1[] = {NULL, SKCONV_NAMES_12(1)};
static const skconv_tile skconv_tiles_2[] = {NULL, SKCONV_NAMES_6(2)};
static const skconv_tile skconv_tiles_4[] = {NULL};
#elif defined(__ARM_NEON)
SKCONV_TILES_16(1) SKCONV_TILES_8(2) SKCONV_TILES_6(4)
static const skconv_tile skconv_tiles_1[] = {NULL, SKCONV_NAMES_16(1)};
static const skconv_tile skconv_tiles_2[] = {NULL, SKCONV_NAMES_8(2)};
static const skconv_tile skconv_tiles_4[] = {NULL, SKCONV_NAMES_6(4)};
#else
SKCONV_TILES_8(1) SKCONV_TILES_4(2)
static const skconv_tile skconv_tiles_1[] = {NULL, SKCONV_NAMES_8(1)};
static const skconv_tile skconv_tiles_2[] = {NULL, SKCONV_NAMES_4(2)};
static const skconv_tile skconv_tiles_4[] = {NULL};
#endif

/* Column by column (depthwise convolution): every multiply-add loads its own factor, so rows need only hide the latency,
 * and their addresses must fit the general registers. */
#define SKCONV_DEPTH_TILE(MR, NV) SKCONV_TILE_OF(skconv_depth_tile_##MR##x##NV, SKCONV_COLUMNWISE, MR, NV)
#define SKCONV_DEPTH_TILES_6(NV)                                                                                      \
    SKCONV_DEPTH_TILE(1, NV) SKCONV_DEPTH_TILE(2, NV) SKCONV_DEPTH_TILE(3, NV) SKCONV_DEPTH_TILE(4, NV)              \
    SKCONV_DEPTH_TILE(5, NV) SKCONV_DEPTH_TILE(6, NV)
#define SKCONV_DEPTH_NAMES_6(NV)                                                                                      \
    skconv_depth_tile_1x##NV, skconv_depth_tile_2x##NV, skconv_depth_tile_3x##NV, skconv_depth_tile_4x##NV,          \
        skconv_depth_tile_5x##NV, skconv_depth_tile_6x##NV
SKCONV_DEPTH_TILES_6(1) SKCONV_DEPTH_TILES_6(2)
static const skconv_tile skconv_depth_tiles_1[] = {NULL, SKCONV_DEPTH_NAMES_6(1)};
static const skconv_tile skconv_depth_tiles_2[] = {NULL, SKCONV_DEPTH_NAMES_6(2)};

#define SKCONV_ROWS(table) ((ptrdiff_t)(sizeof(table) / sizeof(skconv_tile)) - 1)
static const ptrdiff_t skconv_tile_rows_1 = SKCONV_ROWS(skconv_tiles_1);
static const ptrdiff_t skconv_tile_rows_2 = SKCONV_ROWS(skconv_tiles_2);
static const ptrdiff_t skconv_tile_rows_4 = SKCONV_ROWS(skconv_tiles_4);
static const ptrdiff_t skconv_depth_tile_rows = SKCONV_ROWS(skconv_depth_tiles_2);
/* Elements of the largest tile of one or two vectors a row. */
#define SKCONV_TILE_SIZE (28 * 2 * SKCONV_LANES)

/* Asks for some cache lines of memory. */
static inline void skconv_fetch(const char *memory, ptrdiff_t first, ptrdiff_t last)
{
    for (ptrdiff_t i = first; i < last; i++) __builtin_prefetch(memory + 64 * i, 0, 2);
}

/* ---- lines of values, filter by filter, to pixels --------------------------------------------------------------
 *
 * y[i * pixel + f] = lines[f * line + i]: squares of 16 bytes are transposed in registers, which every instruction set
 * can. GCC before 12 lacks Clang's builtin.
 */
#if defined(__clang__) || __GNUC__ >= 12
#define SKCONV_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SKCONV_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (skconv_ivec_square){__VA_ARGS__})
#endif
enum { SKCONV_SQUARE = 16 / sizeof(skconv_real) };
typedef SKCONV_VECTOR(skconv_real, 16) skconv_vec_square;
typedef SKCONV_VECTOR(skconv_int, 16) skconv_ivec_square;

static inline void skconv_store_square(const skconv_real *x, ptrdiff_t line, skconv_real *y, ptrdiff_t pixel)
{
    skconv_vec_square r[SKCONV_SQUARE];
    SKCONV_UNROLL for (int f = 0; f < SKCONV_SQUARE; f++) r[f] = *(const skconv_vec_square *)(x + f * line);
#ifdef SKCONV_DOUBLE
    *(skconv_vec_square *)y = SKCONV_SHUFFLE(r[0], r[1], 0, 2);
    *(skconv_vec_square *)(y + pixel) = SKCONV_SHUFFLE(r[0], r[1], 1, 3);
#else
    const skconv_vec_square a = SKCONV_SHUFFLE(r[0], r[1], 0, 4, 1, 5), b = SKCONV_SHUFFLE(r[2], r[3], 0, 4, 1, 5);
    const skconv_vec_square c = SKCONV_SHUFFLE(r[0], r[1], 2, 6, 3, 7), d = SKCONV_SHUFFLE(r[2], r[3], 2, 6, 3, 7);
    *(skconv_vec_square *)y = SKCONV_SHUFFLE(a, b, 0, 1, 4, 5);
    *(skconv_vec_square *)(y + pixel) = SKCONV_SHUFFLE(a, b, 2, 3, 6, 7);
    *(skconv_vec_square *)(y + 2 * pixel) = SKCONV_SHUFFLE(c, d, 0, 1, 4, 5);
    *(skconv_vec_square *)(y + 3 * pixel) = SKCONV_SHUFFLE(c, d, 2, 3, 6, 7);
#endif
}

static inline void skconv_store_pixels(const skconv_real *lines, ptrdiff_t line, ptrdiff_t n_filters,
                                       ptrdiff_t n_pixels, skconv_real *y, ptrdiff_t pixel)
{
    for (ptrdiff_t i = 0; i < n_pixels; i += SKCONV_SQUARE) {
        ptrdiff_t f = 0;
        if (i + SKCONV_SQUARE <= n_pixels)
            for (; f + SKCONV_SQUARE <= n_filters; f += SKCONV_SQUARE)
                skconv_store_square(lines + f * line + i, line, y + i * pixel + f, pixel);
        for (; f < n_filters; f++)
            for (ptrdiff_t j = i; j < n_pixels && j < i + SKCONV_SQUARE; j++) y[j * pixel + f] = lines[f * line + j];
    }
}

/* ---- products of rows with a few rows: y[m, k] = sum_f x[m, f] w[k, f], n a multiple of the lanes ------------------
 *
 * Lanes along f, where a tile would fill only as many as there are k: each result is a sum over vectors, then over
 * lanes, four (two) results at a time.
 */
static void skconv_dots(const skconv_real *restrict x, ptrdiff_t n_rows, ptrdiff_t n, const skconv_real *restrict w,
                        ptrdiff_t n_columns, skconv_real *restrict y)
{
    const ptrdiff_t total = n_rows * n_columns;
    ptrdiff_t m = 0, k = 0;
    for (ptrdiff_t j = 0; j < total; j += SKCONV_SQUARE) {
        const skconv_real *a[SKCONV_SQUARE], *b[SKCONV_SQUARE];
        skconv_vec acc[SKCONV_SQUARE] = {0};
        skconv_vec_square r[SKCONV_SQUARE], sums;
        SKCONV_UNROLL for (int i = 0; i < SKCONV_SQUARE; i++)
        {
            a[i] = x + m * n;
            b[i] = w + k * n;
            if (k + 1 < n_columns)
                k++;
            else if (m + 1 < n_rows) /* else the last result again */
                m++, k = 0;
        }
        SKCONV_NO_UNROLL for (ptrdiff_t f = 0; f < n; f += SKCONV_LANES)
            SKCONV_UNROLL for (int i = 0; i < SKCONV_SQUARE; i++)
                acc[i] += *(const skconv_vec *)(a[i] + f) * *(const skconv_vec *)(b[i] + f);
        SKCONV_UNROLL for (int i = 0; i < SKCONV_SQUARE; i++)
        {
            union {
                skconv_vec whole;
                skconv_vec_square parts[SKCONV_LANES / SKCONV_SQUARE];
            } u = {acc[i]};
            r[i] = u.parts[0];
            SKCONV_UNROLL for (int s = 1; s < SKCONV_LANES / SKCONV_SQUARE; s++) r[i] += u.parts[s];
        }
#ifdef SKCONV_DOUBLE
        sums = SKCONV_SHUFFLE(r[0], r[1], 0, 2) + SKCONV_SHUFFLE(r[0], r[1], 1, 3);
#else
        const skconv_vec_square p = SKCONV_SHUFFLE(r[0], r[1], 0, 4, 2, 6) + SKCONV_SHUFFLE(r[0], r[1], 1, 5, 3, 7);
        const skconv_vec_square q = SKCONV_SHUFFLE(r[2], r[3], 0, 4, 2, 6) + SKCONV_SHUFFLE(r[2], r[3], 1, 5, 3, 7);
        sums = SKCONV_SHUFFLE(p, q, 0, 1, 4, 5) + SKCONV_SHUFFLE(p, q, 2, 3, 6, 7);
#endif
        if (j + SKCONV_SQUARE <= total)
            *(skconv_vec_square *)(y + j) = sums;
        else
            memcpy(y + j, &sums, (size_t)(total - j) * sizeof(skconv_real));
    }
}

/* ---- sums of columns: sums[f] += sum_i x[i * stride + f] -----------------------------------------------------------
 *
 * Four sums at once, because one is a chain of additions. Where columns are few and rows follow each other, several
 * rows share a vector: six columns of 784 rows take 0.1 microseconds in place of 1.2.
 */
#define SKCONV_SUM_ROWS(NV, ROWS, STEP)                                                                               \
    {                                                                                                                 \
        skconv_vec acc[ROWS][NV] = {0};                                                                               \
        const skconv_real *row = x + f;                                                                               \
        ptrdiff_t i = 0;                                                                                              \
        for (; i + ROWS <= count; i += ROWS)                                                                          \
            SKCONV_UNROLL for (int r = 0; r < ROWS; r++, row += STEP)                                                 \
                SKCONV_UNROLL for (int v = 0; v < NV; v++)                                                            \
                    acc[r][v] += *(const skconv_vec *)(row + v * SKCONV_LANES);                                       \
        for (; i < count; i++, row += STEP)                                                                           \
            SKCONV_UNROLL for (int v = 0; v < NV; v++) acc[0][v] += *(const skconv_vec *)(row + v * SKCONV_LANES);    \
        SKCONV_UNROLL for (int v = 0; v < NV; v++)                                                                    \
        {                                                                                                             \
            SKCONV_UNROLL for (int r = 1; r < ROWS; r++) acc[0][v] += acc[r][v];                                      \
            *(skconv_vec *)(total + v * SKCONV_LANES) = acc[0][v];                                                    \
        }                                                                                                             \
    }

static void skconv_column_sums(const skconv_real *restrict x, ptrdiff_t n_rows, ptrdiff_t n, ptrdiff_t stride,
                               skconv_real *restrict sums)
{
    skconv_real total[4 * SKCONV_LANES];
    ptrdiff_t f = 0, count = n_rows;
    if (stride == n && 2 * n <= SKCONV_LANES) {
        /* A vector may hold more than its share of rows, but none that do not exist. */
        const ptrdiff_t share = SKCONV_LANES / n, width = share * n;
        count = n_rows * n < SKCONV_LANES ? 0 : (n_rows * n - SKCONV_LANES) / width + 1;
        SKCONV_SUM_ROWS(1, 4, width)
        for (ptrdiff_t i = 0; i < width; i++) sums[i % n] += total[i];
        for (ptrdiff_t i = count * width; i < n_rows * n; i++) sums[i % n] += x[i];
        return;
    }
    for (; f + 4 * SKCONV_LANES <= n; f += 4 * SKCONV_LANES) {
        SKCONV_SUM_ROWS(4, 1, stride)
        for (int i = 0; i < 4 * SKCONV_LANES; i++) sums[f + i] += total[i];
    }
    for (; f + SKCONV_LANES <= n; f += SKCONV_LANES) {
        SKCONV_SUM_ROWS(1, 4, stride)
        for (int i = 0; i < SKCONV_LANES; i++) sums[f + i] += total[i];
    }
    for (ptrdiff_t i = 0; i < n_rows; i++)
        for (ptrdiff_t g = f; g < n; g++) sums[g] += x[i * stride + g];
}

/* ---- is everything finite? -----------------------------------------------------------------------------------------
 *
 * Without its sign, a value's bits order as the value does, with infinity and NaN on top: those of a value above
 * `largest` carry into the sign when the distance from largest to the top is added. Integers, because a maximum of
 * floating-point numbers may pass over NaN.
 */
static int skconv_all_finite(const skconv_real *restrict x, ptrdiff_t n, skconv_real largest)
{
    typedef SKCONV_VECTOR(skconv_bits, SKCONV_VECTOR_BYTES) bit_vec;
    const skconv_bits all = ~(skconv_bits)0 >> 1;
    skconv_bits top, bad = 0;
    bit_vec above[4] = {0};
    ptrdiff_t i = 0;
    memcpy(&top, &largest, sizeof(top));
    for (; i + 4 * SKCONV_LANES <= n; i += 4 * SKCONV_LANES)
        SKCONV_UNROLL for (int v = 0; v < 4; v++)
            above[v] |= (*(const bit_vec *)(x + i + v * SKCONV_LANES) & all) + (all - top);
    above[0] |= above[1] | above[2] | above[3];
    for (int v = 0; v < SKCONV_LANES; v++) bad |= above[0][v];
    for (; i < n; i++) {
        skconv_bits value;
        memcpy(&value, x + i, sizeof(value));
        bad |= (value & all) + (all - top);
    }
    return bad <= all;
}

/* Copies n_lines of n values that follow each other to lines y_line apart. Whether none of them is NaN, infinite or, in
 * magnitude, above `largest`: three operations per vector that is in a register anyway. */
static int skconv_copy_lines(const skconv_real *restrict x, ptrdiff_t n_lines, ptrdiff_t n, skconv_real *restrict y,
                             ptrdiff_t y_line, skconv_real largest)
{
    typedef SKCONV_VECTOR(skconv_bits, SKCONV_VECTOR_BYTES) bit_vec;
    const skconv_bits all = ~(skconv_bits)0 >> 1;
    skconv_bits top, bad = 0;
    bit_vec above[4] = {0};
    memcpy(&top, &largest, sizeof(top));
    SKCONV_NO_UNROLL for (; n_lines > 0; n_lines--, x += n, y += y_line)
    {
        ptrdiff_t i = 0;
        SKCONV_NO_UNROLL for (; i + 4 * SKCONV_LANES <= n; i += 4 * SKCONV_LANES)
            SKCONV_UNROLL for (int v = 0; v < 4; v++)
            {
                const bit_vec bits = *(const bit_vec *)(x + i + v * SKCONV_LANES);
                *(bit_vec *)(y + i + v * SKCONV_LANES) = bits;
                above[v] |= (bits & all) + (all - top);
            }
        /* The last vector ends with the line, whatever it copies again. */
        SKCONV_NO_UNROLL for (; i < n && n >= SKCONV_LANES; i += SKCONV_LANES)
        {
            const ptrdiff_t at = i + SKCONV_LANES <= n ? i : n - SKCONV_LANES;
            const bit_vec bits = *(const bit_vec *)(x + at);
            *(bit_vec *)(y + at) = bits;
            above[0] |= (bits & all) + (all - top);
        }
        SKCONV_NO_UNROLL for (; i < n; i++)
        {
            skconv_bits value;
            memcpy(&value, x + i, sizeof(value));
            y[i] = x[i];
            bad |= (value & all) + (all - top);
        }
    }
    above[0] |= above[1] | above[2] | above[3];
    for (int v = 0; v < SKCONV_LANES; v++) bad |= above[0][v];
    return bad <= all;
}

/* ---- functions of the chosen precision ------------------------------------------------------------------------ */

#include <math.h>
#ifdef SKCONV_DOUBLE
#define skconv_exp exp
#define skconv_expm1 expm1
#define skconv_log log
#define skconv_tanh tanh
#define skconv_erf erf
#define skconv_sqrt sqrt
#define skconv_pow pow
#else
#define skconv_exp expf
#define skconv_expm1 expm1f
#define skconv_log logf
#define skconv_tanh tanhf
#define skconv_erf erff
#define skconv_sqrt sqrtf
#define skconv_pow powf
#endif

/* The machine's speed at what the tiles do, without their loads: 12 independent chains of multiply-add.
 * Returns a value that depends on all of them, so that none is optimised away. */
static skconv_real skconv_fma_chains(ptrdiff_t n)
{
    enum { CHAINS = 12 };
    skconv_vec acc[CHAINS];
    volatile skconv_real seed = (skconv_real)0.999;
    const skconv_vec x = seed - (skconv_vec){0};
    SKCONV_UNROLL for (int i = 0; i < CHAINS; i++) acc[i] = x * (skconv_real)i;
    SKCONV_NO_UNROLL for (ptrdiff_t k = 0; k < n; k++)
    {
        SKCONV_UNROLL for (int i = 0; i < CHAINS; i++) acc[i] = acc[i] * x + x;
    }
    skconv_vec sum = acc[0];
    SKCONV_UNROLL for (int i = 1; i < CHAINS; i++) sum += acc[i];
    return sum[0];
}
static const ptrdiff_t skconv_fma_flops = 12 * 2 * SKCONV_LANES;

#endif /* SKCONV_KERNELS */
#endif
