/* Convolutions with few filters: the lanes of a vector are pixels.
 *
 *   y[h, i, f] = bias[f] + sum_{row r} sum_{channel c} sum_{tap t} plane_c[(h + r * dilation) * line + i + t * tap]
 *                                                                 * w[r, c, t, f]
 *
 * Six filters fill six of sixteen lanes. Here some lines of an image are turned into one plane per channel, whose
 * lines follow each other with one gap of zeros between them, the right margin of a line and the left one of the next.
 * Lines and gaps are one row of pixels, cut into vectors: a vector may run over the end of a line, and only results in
 * the gap are lost, 2 of 30 for 5x5 kernels on lines of 28 pixels. A tile of MR filters x NV vectors stays in registers
 * over the whole sum; per tap and channel NV vectors of pixels are loaded and MR weights broadcast (packed as a tile
 * reads them). Results go to planes of filters, and from there line by line to pixels.
 *
 * Each result is one chain in the order of r, c and t, and none sees what its window does not, NaN included. Rows of
 * the kernel that fall on the margin for all lines of a tile are left out. Figures: docs/performance.md.
 */
#ifndef SKCONV_PLANES_H
#define SKCONV_PLANES_H

#include "tile.h"

typedef struct {
    ptrdiff_t n_channels;
    ptrdiff_t n_pixels; /* of a line of the image */
    ptrdiff_t first;    /* pixel of the image in a line of a plane: zeros before */
    ptrdiff_t n_rows;   /* of the kernel */
    ptrdiff_t n_taps;   /* of a row */
    ptrdiff_t row;      /* elements from one row of taps to the next in a plane */
    ptrdiff_t tap;      /* and from one tap to the next */
    ptrdiff_t line;     /* elements from line to line of a plane */
    ptrdiff_t plane;    /* from plane to plane, of the image */
    ptrdiff_t z_plane;  /* and of the results */
    ptrdiff_t x_line;   /* elements from line to line of the image */
    ptrdiff_t n_filters;
    ptrdiff_t width; /* pixels of a line of the result */
    ptrdiff_t y_line;
    ptrdiff_t y_pixel;
    ptrdiff_t n_above; /* lines that a call sees before the first one of the image, and behind the last: zeros */
    ptrdiff_t n_below;
    const char *ahead; /* what to fetch into the second cache meanwhile */
    ptrdiff_t n_ahead; /* cache lines */
} skconv_planes;

#ifdef SKCONV_KERNELS

typedef void (*skconv_plane_tile)(const skconv_planes *p, const skconv_real *x, ptrdiff_t n_rows, const skconv_real *w,
                                  const skconv_real *bias, skconv_real *z, int relu);

#define SKCONV_PLANE_TILE(MR, NV)                                                                                     \
    __attribute__((noinline)) static void skconv_plane_tile_##MR##x##NV(                                              \
        const skconv_planes *restrict p, const skconv_real *restrict x, ptrdiff_t n_rows,                             \
        const skconv_real *restrict w, const skconv_real *restrict bias, skconv_real *restrict z, int relu)           \
    {                                                                                                                 \
        skconv_vec acc[MR][NV];                                                                                       \
        const ptrdiff_t tap = p->tap, plane = p->plane, n_taps = p->n_taps;                                           \
        const char *ahead = p->ahead, *const end = ahead + 64 * p->n_ahead;                                           \
        SKCONV_UNROLL for (int m = 0; m < MR; m++)                                                                    \
        {                                                                                                             \
            const skconv_vec start = (bias ? bias[m] : 0) - (skconv_vec){0};                                          \
            SKCONV_UNROLL for (int v = 0; v < NV; v++) acc[m][v] = start;                                             \
        }                                                                                                             \
        for (; n_rows > 0; n_rows--, x += p->row) {                                                                   \
            const skconv_real *xc = x;                                                                                \
            SKCONV_NO_UNROLL for (ptrdiff_t c = p->n_channels; c > 0; c--, xc += plane)                               \
            {                                                                                                         \
                const skconv_real *xt = xc;                                                                           \
                if (ahead < end) { /* one by one: all at once, they would wait for each other */                      \
                    __builtin_prefetch(ahead, 0, 2);                                                                  \
                    ahead += 64;                                                                                      \
                }                                                                                                     \
                SKCONV_NO_UNROLL for (ptrdiff_t t = n_taps; t > 0; t--, xt += tap, w += MR)                           \
                {                                                                                                     \
                    skconv_vec xv[NV];                                                                                \
                    SKCONV_UNROLL for (int v = 0; v < NV; v++)                                                        \
                    {                                                                                                 \
                        xv[v] = *(const skconv_vec *)(xt + v * SKCONV_LANES);                                         \
                        SKCONV_KEEP(xv[v]);                                                                           \
                    }                                                                                                 \
                    SKCONV_UNROLL for (int m = 0; m < MR; m++)                                                        \
                    {                                                                                                 \
                        const skconv_vec value = w[m] - (skconv_vec){0};                                              \
                        SKCONV_UNROLL for (int v = 0; v < NV; v++) SKCONV_FMA(acc[m][v], value, xv[v]);               \
                    }                                                                                                 \
                }                                                                                                     \
            }                                                                                                         \
        }                                                                                                             \
        if (relu) { /* x < 0 ? 0 : x keeps NaN */                                                                     \
            SKCONV_UNROLL for (int m = 0; m < MR; m++)                                                                \
                SKCONV_UNROLL for (int v = 0; v < NV; v++)                                                            \
                    acc[m][v] = (skconv_vec)((skconv_ivec)acc[m][v] & ~(acc[m][v] < (skconv_vec){0}));                \
        }                                                                                                             \
        SKCONV_UNROLL for (int m = 0; m < MR; m++)                                                                    \
            SKCONV_UNROLL for (int v = 0; v < NV; v++)                                                                \
                *(skconv_vec *)(z + m * p->z_plane + v * SKCONV_LANES) = acc[m][v];                                   \
    }

/* Tiles by filters, then vectors. MR * NV + NV + 1 registers, and one more where products need it; what is left of a
 * block is done by two vectors and one. */
#define SKCONV_PLANE_TILES(MR, NV)                                                                                    \
    SKCONV_PLANE_TILE(MR, 1) SKCONV_PLANE_TILE(MR, 2) SKCONV_PLANE_TILE(MR, NV)
#define SKCONV_PLANE_NAMES(MR, NV)                                                                                    \
    {                                                                                                                 \
        NULL, skconv_plane_tile_##MR##x1, skconv_plane_tile_##MR##x2, skconv_plane_tile_##MR##x##NV                   \
    }
#define SKCONV_PLANE_TILES_OF_TWO(MR) SKCONV_PLANE_TILE(MR, 1) SKCONV_PLANE_TILE(MR, 2)
#define SKCONV_PLANE_NAMES_OF_TWO(MR)                                                                                 \
    {                                                                                                                 \
        NULL, skconv_plane_tile_##MR##x1, skconv_plane_tile_##MR##x2, skconv_plane_tile_##MR##x2                      \
    }
#if defined(__AVX512F__) || defined(__ARM_NEON)
enum { SKCONV_PLANE_ROWS = 8 };
SKCONV_PLANE_TILES(1, 4) SKCONV_PLANE_TILES(2, 4) SKCONV_PLANE_TILES(3, 4) SKCONV_PLANE_TILES(4, 4)
SKCONV_PLANE_TILES(5, 4) SKCONV_PLANE_TILES(6, 4) SKCONV_PLANE_TILES(7, 3) SKCONV_PLANE_TILES(8, 3)
static const skconv_plane_tile skconv_plane_tiles[][4] = {
    {NULL}, SKCONV_PLANE_NAMES(1, 4), SKCONV_PLANE_NAMES(2, 4), SKCONV_PLANE_NAMES(3, 4), SKCONV_PLANE_NAMES(4, 4),
    SKCONV_PLANE_NAMES(5, 4), SKCONV_PLANE_NAMES(6, 4), SKCONV_PLANE_NAMES(7, 3), SKCONV_PLANE_NAMES(8, 3)};
static const ptrdiff_t skconv_plane_vectors[] = {0, 4, 4, 4, 4, 4, 4, 3, 3};
#elif defined(__AVX2__)
enum { SKCONV_PLANE_ROWS = 6 };
SKCONV_PLANE_TILES(1, 3) SKCONV_PLANE_TILES(2, 3) SKCONV_PLANE_TILES(3, 3) SKCONV_PLANE_TILES(4, 3)
SKCONV_PLANE_TILES_OF_TWO(5) SKCONV_PLANE_TILES_OF_TWO(6)
static const skconv_plane_tile skconv_plane_tiles[][4] = {
    {NULL}, SKCONV_PLANE_NAMES(1, 3), SKCONV_PLANE_NAMES(2, 3), SKCONV_PLANE_NAMES(3, 3), SKCONV_PLANE_NAMES(4, 3),
    SKCONV_PLANE_NAMES_OF_TWO(5), SKCONV_PLANE_NAMES_OF_TWO(6)};
static const ptrdiff_t skconv_plane_vectors[] = {0, 3, 3, 3, 3, 2, 2};
#else
enum { SKCONV_PLANE_ROWS = 4 };
SKCONV_PLANE_TILES(1, 3) SKCONV_PLANE_TILES(2, 3) SKCONV_PLANE_TILES(3, 3) SKCONV_PLANE_TILES_OF_TWO(4)
static const skconv_plane_tile skconv_plane_tiles[][4] = {
    {NULL}, SKCONV_PLANE_NAMES(1, 3), SKCONV_PLANE_NAMES(2, 3), SKCONV_PLANE_NAMES(3, 3), SKCONV_PLANE_NAMES_OF_TWO(4)};
static const ptrdiff_t skconv_plane_vectors[] = {0, 3, 3, 3, 2};
#endif
/* Filters that a convolution may have. */
static const ptrdiff_t skconv_plane_filters = 8;

/* Filters of a tile: nearly as many in each. */
static inline ptrdiff_t skconv_plane_share(ptrdiff_t n_filters)
{
    const ptrdiff_t n_tiles = (n_filters + SKCONV_PLANE_ROWS - 1) / SKCONV_PLANE_ROWS;
    return (n_filters + n_tiles - 1) / n_tiles;
}

/* w, (rows, taps, channels, filters), to (filters of a tile; rows, channels, taps, MR); `reverse` reads taps and rows
 * from the last one on. */
static void skconv_plane_weights(const skconv_planes *restrict p, const skconv_real *restrict w, int reverse,
                                 skconv_real *restrict out)
{
    const ptrdiff_t share = skconv_plane_share(p->n_filters), n_taps = p->n_taps, n = p->n_rows * n_taps;
    for (ptrdiff_t f0 = 0; f0 < p->n_filters; f0 += share)
        for (ptrdiff_t r = 0; r < p->n_rows; r++)
            for (ptrdiff_t c = 0; c < p->n_channels; c++)
                for (ptrdiff_t t = 0; t < n_taps; t++) {
                    const ptrdiff_t k = reverse ? n - 1 - (r * n_taps + t) : r * n_taps + t;
                    for (ptrdiff_t f = f0; f < p->n_filters && f < f0 + share; f++)
                        *out++ = w[(k * p->n_channels + c) * p->n_filters + f];
                }
}

/* ---- pixels to planes and back ------------------------------------------------------------------------------------
 *
 * With AVX2, eight rows of eight floats are transposed as squares of four by four in both halves of a vector, which are
 * loaded from rows four apart: 16 shuffles for 64 values, where squares of 16 bytes take 32.
 * With AVX-512, eight rows of a whole vector are transposed by perfect shuffles: every stage interleaves the first half
 * of the rows with the second, so that the bits of an element's place rotate by one, and after three stages its row is
 * innermost. 24 shuffles for 128 values (64 by squares of four). Everything else goes by squares of 16 bytes (tile.h).
 */
#if defined(__AVX512F__) || (defined(__AVX2__) && !defined(SKCONV_DOUBLE) && (defined(__clang__) || __GNUC__ >= 12))
#define SKCONV_EIGHT_ROWS 1
typedef SKCONV_VECTOR(skconv_real, 8 * sizeof(skconv_real)) skconv_vec_eight;
#if defined(__clang__) || __GNUC__ >= 12
#define SKCONV_INTERLEAVE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SKCONV_INTERLEAVE(a, b, ...) __builtin_shuffle(a, b, (skconv_ivec){__VA_ARGS__})
#endif
#if !defined(__AVX512F__)
#define SKCONV_LOWER(a, b) SKCONV_INTERLEAVE(a, b, 0, 8, 1, 9, 4, 12, 5, 13)
#define SKCONV_UPPER(a, b) SKCONV_INTERLEAVE(a, b, 2, 10, 3, 11, 6, 14, 7, 15)
#define SKCONV_LOWER_PAIRS(a, b) SKCONV_INTERLEAVE(a, b, 0, 1, 8, 9, 4, 5, 12, 13)
#define SKCONV_UPPER_PAIRS(a, b) SKCONV_INTERLEAVE(a, b, 2, 3, 10, 11, 6, 7, 14, 15)
#elif defined(SKCONV_DOUBLE)
#define SKCONV_LOWER(a, b) SKCONV_INTERLEAVE(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define SKCONV_UPPER(a, b) SKCONV_INTERLEAVE(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#else
#define SKCONV_LOWER(a, b) SKCONV_INTERLEAVE(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define SKCONV_UPPER(a, b) SKCONV_INTERLEAVE(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#endif

/* y[i * y_step + r] = x[min(r, n_rows - 1) * x_step + i] for r < 8 and i < n, at most the lanes. */
__attribute__((always_inline)) static inline void skconv_transpose_eight(const skconv_real *x, ptrdiff_t x_step,
                                                                          ptrdiff_t n_rows, skconv_real *y,
                                                                          ptrdiff_t y_step, ptrdiff_t n)
{
#if !defined(__AVX512F__)
    SKCONV_UNROLL for (int h = 0; h < 2; h++) /* of a vector; its other half are the rows from the fourth on */
    {
        skconv_vec a[4], b[4], o[4];
        SKCONV_UNROLL for (int r = 0; r < 4; r++)
        {
            a[r] = __builtin_shufflevector(
                *(const skconv_vec_square *)(x + (r < n_rows ? r : n_rows - 1) * x_step + 4 * h),
                *(const skconv_vec_square *)(x + (r + 4 < n_rows ? r + 4 : n_rows - 1) * x_step + 4 * h), 0, 1, 2, 3, 4,
                5, 6, 7);
        }
        b[0] = SKCONV_LOWER(a[0], a[1]);
        b[1] = SKCONV_UPPER(a[0], a[1]);
        b[2] = SKCONV_LOWER(a[2], a[3]);
        b[3] = SKCONV_UPPER(a[2], a[3]);
        o[0] = SKCONV_LOWER_PAIRS(b[0], b[2]);
        o[1] = SKCONV_UPPER_PAIRS(b[0], b[2]);
        o[2] = SKCONV_LOWER_PAIRS(b[1], b[3]);
        o[3] = SKCONV_UPPER_PAIRS(b[1], b[3]);
        SKCONV_UNROLL for (int i = 0; i < 4; i++)
            if (4 * h + i < n)
                *(skconv_vec *)(y + (4 * h + i) * y_step) = o[i];
    }
#else
    union {
        skconv_vec whole[8];
        skconv_vec_eight eights[SKCONV_LANES];
    } u;
    skconv_vec a[8], b[8];
    SKCONV_UNROLL for (int r = 0; r < 8; r++) a[r] = *(const skconv_vec *)(x + (r < n_rows ? r : n_rows - 1) * x_step);
    SKCONV_UNROLL for (int r = 0; r < 4; r++)
    {
        b[2 * r] = SKCONV_LOWER(a[r], a[r + 4]);
        b[2 * r + 1] = SKCONV_UPPER(a[r], a[r + 4]);
    }
    SKCONV_UNROLL for (int r = 0; r < 4; r++)
    {
        a[2 * r] = SKCONV_LOWER(b[r], b[r + 4]);
        a[2 * r + 1] = SKCONV_UPPER(b[r], b[r + 4]);
    }
    SKCONV_UNROLL for (int r = 0; r < 4; r++)
    {
        u.whole[2 * r] = SKCONV_LOWER(a[r], a[r + 4]);
        u.whole[2 * r + 1] = SKCONV_UPPER(a[r], a[r + 4]);
    }
    if (y_step == 8 && n == SKCONV_LANES) {
        SKCONV_UNROLL for (int r = 0; r < 8; r++) *(skconv_vec *)(y + r * SKCONV_LANES) = u.whole[r];
        return;
    }
    SKCONV_UNROLL for (int i = 0; i < SKCONV_LANES; i++)
        if (i < n)
            *(skconv_vec_eight *)(y + i * y_step) = u.eights[i];
#endif
}
#endif

/* plane[c * step + i] = x[i * pixel + c] for c < n_channels; nothing behind x is read; planes up to a multiple of 4 are
 * written. */
static void skconv_channels_to_planes(const skconv_real *restrict x, ptrdiff_t n_pixels, ptrdiff_t n_channels,
                                      ptrdiff_t pixel, skconv_real *restrict plane, ptrdiff_t step)
{
    if (pixel == 1) {
        memcpy(plane, x, (size_t)n_pixels * sizeof(skconv_real));
        return;
    }
#ifdef SKCONV_EIGHT_ROWS
    if (n_channels >= SKCONV_LANES && n_pixels >= 8) {
        for (ptrdiff_t c = 0; c < n_channels; c += SKCONV_LANES) {
            c = c < n_channels - SKCONV_LANES ? c : n_channels - SKCONV_LANES;
            for (ptrdiff_t i = 0; i < n_pixels; i += 8) {
                i = i < n_pixels - 8 ? i : n_pixels - 8;
                skconv_transpose_eight(x + i * pixel + c, pixel, 8, plane + c * step + i, step, SKCONV_LANES);
            }
        }
        return;
    }
#endif
    /* Squares read the pixel behind where channels are no multiple, and write planes that do not exist. The last one is
     * shifted back to end with the line. */
    const ptrdiff_t n = n_channels % SKCONV_SQUARE == 0 ? n_pixels : n_pixels - 1;
    ptrdiff_t done = 0;
    if (n >= SKCONV_SQUARE) {
        for (ptrdiff_t i = 0; i < n; i += SKCONV_SQUARE) {
            i = i < n - SKCONV_SQUARE ? i : n - SKCONV_SQUARE;
            for (ptrdiff_t c = 0; c < n_channels; c += SKCONV_SQUARE)
                skconv_store_square(x + i * pixel + c, pixel, plane + c * step + i, step);
        }
        done = n;
    }
    for (; done < n_pixels; done++)
        for (ptrdiff_t c = 0; c < n_channels; c++) plane[c * step + done] = x[done * pixel + c];
}

/* y[i * pixel + f] = z[f * step + i]. Behind z a vector can be read, planes up to a multiple of four. A pixel may be
 * written beyond its last filter where the next one follows. */
static void skconv_planes_to_line(const skconv_real *restrict z, ptrdiff_t step, ptrdiff_t n_filters,
                                  ptrdiff_t n_pixels, skconv_real *restrict y, ptrdiff_t pixel)
{
    ptrdiff_t i = 0;
    if (n_filters == 1 && pixel == 1) {
        memcpy(y, z, (size_t)n_pixels * sizeof(skconv_real));
        return;
    }
#ifdef SKCONV_EIGHT_ROWS
    if (n_filters > 4) { /* or what a pixel has beyond would outreach the next one */
        const ptrdiff_t n = n_filters == 8 ? n_pixels : n_pixels - 1;
        if (n < SKCONV_LANES)
            skconv_transpose_eight(z, step, n_filters, y, pixel, n);
        else
            for (; i < n; i += SKCONV_LANES) {
                i = i < n - SKCONV_LANES ? i : n - SKCONV_LANES;
                skconv_transpose_eight(z + i, step, n_filters, y + i * pixel, pixel, SKCONV_LANES);
            }
        i = n;
    }
#endif
    const ptrdiff_t top = (n_filters - 1) / SKCONV_SQUARE * SKCONV_SQUARE;
    for (; i + SKCONV_SQUARE < n_pixels + (n_filters % SKCONV_SQUARE == 0); i += SKCONV_SQUARE)
        for (ptrdiff_t f = top; f >= 0; f -= SKCONV_SQUARE) /* so that nothing is left of what a pixel has beyond */
            skconv_store_square(z + f * step + i, step, y + i * pixel + f, pixel);
    for (; i < n_pixels; i++)
        for (ptrdiff_t f = 0; f < n_filters; f++) y[i * pixel + f] = z[f * step + i];
}

/* n_lines of the result. x points at what the first tap of the first pixel sees, kernel_rows, or NULL, at which rows of
 * the kernel see the image, line by line. Behind the last pixel of planes and z there is room for what a tile of whole
 * vectors reads and writes (planes.pyx). */
static void skconv_convolve_planes(const skconv_planes *restrict p, ptrdiff_t n_lines, const skconv_real *restrict x,
                                   const skconv_real *restrict w, const skconv_real *restrict bias,
                                   const skconv_run *restrict kernel_rows, skconv_real *restrict y, int relu,
                                   skconv_real *restrict planes, skconv_real *restrict z)
{
    const ptrdiff_t n_x_lines = n_lines + p->row / p->line * (p->n_rows - 1), gap = p->line - p->n_pixels;
    const ptrdiff_t n = (n_lines - 1) * p->line + p->width, share = skconv_plane_share(p->n_filters);
    const ptrdiff_t n_passed = n * ((p->n_filters + share - 1) / share); /* pixels, by all tiles of filters */
    ptrdiff_t passed = 0;
    skconv_planes part = *p; /* what a tile fetches */
    part.n_ahead = 0;
    for (ptrdiff_t c = 0; c < p->n_channels; c++)
        for (ptrdiff_t i = 0; i < p->first; i++) planes[c * p->plane + i] = 0;
    for (ptrdiff_t l = 0; l < n_x_lines; l++) {
        skconv_real *line = planes + l * p->line + p->first;
        const int exists = l >= p->n_above && l < n_x_lines - p->n_below;
        const ptrdiff_t n_zeros = exists ? gap : p->line;
        if (exists)
            skconv_channels_to_planes(x + l * p->x_line + p->first * p->n_channels, p->n_pixels, p->n_channels,
                                      p->n_channels, line, p->plane);
        for (ptrdiff_t c = 0; c < p->n_channels; c++)
            for (ptrdiff_t i = p->line - n_zeros; i < p->line; i++) line[c * p->plane + i] = 0;
    }
    for (ptrdiff_t f = 0; f < p->n_filters; f += share) {
        const ptrdiff_t n_tile = p->n_filters - f < share ? p->n_filters - f : share;
        const ptrdiff_t most = skconv_plane_vectors[n_tile], row = n_tile * p->n_taps * p->n_channels;
        for (ptrdiff_t i = 0; i < n;) {
            const ptrdiff_t left = (n - i + SKCONV_LANES - 1) / SKCONV_LANES;
            const ptrdiff_t n_vectors = left >= most ? most : left >= 2 ? 2 : 1;
            ptrdiff_t first = 0, end = p->n_rows;
            if (kernel_rows) {
                const ptrdiff_t last = (i + n_vectors * SKCONV_LANES - 1) / p->line;
                first = p->n_rows, end = 0;
                for (ptrdiff_t l = i / p->line; l <= last && l < n_lines; l++) {
                    first = kernel_rows[l].a < first ? kernel_rows[l].a : first;
                    end = kernel_rows[l].b > end ? kernel_rows[l].b : end;
                }
            }
            if (p->n_ahead) {
                const ptrdiff_t pixels = i + n_vectors * SKCONV_LANES;
                part.n_ahead = p->n_ahead * (passed + (pixels < n ? pixels : n)) / n_passed
                               - p->n_ahead * (passed + i) / n_passed;
            }
            skconv_plane_tiles[n_tile][n_vectors < 3 ? n_vectors : 3](
                &part, planes + i + first * p->row, end - first, w + first * row, bias ? bias + f : NULL,
                z + f * p->z_plane + i, relu);
            part.ahead += 64 * part.n_ahead;
            i += n_vectors * SKCONV_LANES;
        }
        passed += n;
        w += p->n_rows * row;
    }
    for (ptrdiff_t l = 0; l < n_lines; l++)
        skconv_planes_to_line(z + l * p->line, p->z_plane, p->n_filters, p->width, y + l * p->y_line, p->y_pixel);
}

#endif /* SKCONV_KERNELS */
#endif
