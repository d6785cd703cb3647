/* Winograd's algorithm along one axis: lines of pixels, kernels of 3, 5 or 7 rows, four lines of the result at a time.
 *
 *   Y = A^T [ (G g) . (B^T d) ]     (Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016,
 *                                    section 4.1; d the lines that four lines of the result see, g the rows of a kernel)
 *
 * The products of a row of taps stay sums along the line, over channels and taps; what is transformed are whole lines,
 * which takes as long as copying them. So it pays where tiles of pixels (winograd.h) do not: few channels or filters.
 *
 *   rows  form                    points                         products of rows for four lines
 *   3     F(4, 3)                 0, 1, -1, 2, -2, infinity       6 in place of 12
 *   5     F(4, 5)                 and 1/2, -1/2                   8 in place of 20
 *   7     two times F(4, 4)       0, 1, -1, 2, -2, 1/2, infinity  14 in place of 28
 *
 * Seven rows are four and three: the second four (the last of them zero) see what the first four of the next tile see,
 * so there is one transform of the lines. Root mean square error beside the direct sum's, against float64, 3 to 64
 * channels: 2.0 to 2.8 times, of one channel 4.1 to 4.4; of two axes, F(4x4, 3x3), 2.2 to 4.8 times.
 *
 * B^T, G and A^T are those of one axis in winograd.h. `kernel` is 3, 5 or 7; callers name it as a constant, and every
 * transform is inlined. Points are in the order above, infinity last. One that is added to all four lines with the same
 * factor, one, is point 1: an intercept goes there.
 */
#ifndef SKCONV_WINOGRAD_LINES_H
#define SKCONV_WINOGRAD_LINES_H

#include "winograd.h"

#ifdef SKCONV_KERNELS

enum { SKCONV_POINT_OF_ONE = 1 };

/* Points of a tile, which are the lines that it sees, too (of 7 rows those that its first four rows see). */
static inline ptrdiff_t skconv_line_points(ptrdiff_t kernel) { return kernel == 7 ? 7 : kernel + 3; }

/* Rows of taps that a point has products of: of this tile and of the next. */
static inline ptrdiff_t skconv_line_parts(ptrdiff_t kernel) { return kernel == 7 ? 2 : 1; }

/* v[point] (`plane` apart) = B^T of n elements of the lines of x. Whole vectors are read and written, so a plane has room
 * for them, and behind x one can be read. */
SKCONV_TRANSFORM skconv_lines_input(int kernel, const skconv_real *restrict x, ptrdiff_t line, ptrdiff_t n,
                                    skconv_real *restrict v, ptrdiff_t plane)
{
    const int points = kernel == 7 ? 7 : kernel + 3;
    for (ptrdiff_t i = 0; i < n; i += SKCONV_LANES) {
        skconv_vec d[SKCONV_MOST_POINTS], o[SKCONV_MOST_POINTS];
        SKCONV_UNROLL for (int q = 0; q < points; q++) d[q] = *(const skconv_vec *)(x + q * line + i);
        skconv_line_bt(kernel, d, o);
        SKCONV_UNROLL for (int q = 0; q < points; q++) *(skconv_vec *)(v + q * plane + i) = o[q];
    }
}

/* The first n_lines lines of y (`line` apart) = A^T of n elements of the points of m, at least a vector of them. No
 * element behind the n of a line is written. */
SKCONV_TRANSFORM skconv_lines_output(int kernel, const skconv_real *restrict m, ptrdiff_t plane, ptrdiff_t n,
                                     skconv_real *restrict y, ptrdiff_t line, ptrdiff_t n_lines, int relu)
{
    const int points = kernel == 7 ? 7 : kernel + 3;
    for (ptrdiff_t i = 0; i < n; i += SKCONV_LANES) {
        skconv_vec d[SKCONV_MOST_POINTS], o[4];
        i = i < n - SKCONV_LANES ? i : n - SKCONV_LANES;
        SKCONV_UNROLL for (int q = 0; q < points; q++) d[q] = *(const skconv_vec *)(m + q * plane + i);
        skconv_line_at(kernel, d, o);
        SKCONV_UNROLL for (int q = 0; q < SKCONV_TILE_LINES; q++)
        {
            skconv_vec r = o[q];
            if (relu) /* r < 0 ? 0 : r keeps NaN */
                r = (skconv_vec)((skconv_ivec)r & ~(r < (skconv_vec){0}));
            if (q < n_lines)
                *(skconv_vec *)(y + q * line + i) = r;
        }
    }
}

/* As skconv_lines_output for n_pixels of n_columns, which lie m_pixel and y_pixel apart; of m, whole vectors of a pixel
 * can be read. Fewer columns than lanes are all that y has: what is written behind them belongs to the next pixels. */
SKCONV_TRANSFORM skconv_lines_pixels(int kernel, const skconv_real *restrict m, ptrdiff_t plane, ptrdiff_t m_pixel,
                                     ptrdiff_t n_pixels, ptrdiff_t n_columns, skconv_real *restrict y, ptrdiff_t line,
                                     ptrdiff_t y_pixel, ptrdiff_t n_lines, int relu)
{
    const int points = kernel == 7 ? 7 : kernel + 3;
    for (ptrdiff_t p = 0; p < n_pixels; p++, m += m_pixel, y += y_pixel) {
        for (ptrdiff_t i = 0; i < n_columns; i += SKCONV_LANES) {
            skconv_vec d[SKCONV_MOST_POINTS], o[4];
            if (n_columns >= SKCONV_LANES)
                i = i < n_columns - SKCONV_LANES ? i : n_columns - SKCONV_LANES;
            SKCONV_UNROLL for (int q = 0; q < points; q++) d[q] = *(const skconv_vec *)(m + q * plane + i);
            skconv_line_at(kernel, d, o);
            SKCONV_UNROLL for (int q = 0; q < SKCONV_TILE_LINES; q++)
            {
                skconv_vec r = o[q];
                if (relu) /* r < 0 ? 0 : r keeps NaN */
                    r = (skconv_vec)((skconv_ivec)r & ~(r < (skconv_vec){0}));
                if (q >= n_lines)
                    continue;
                if (n_columns >= SKCONV_LANES || (n_pixels - p) * y_pixel >= SKCONV_LANES)
                    *(skconv_vec *)(y + q * line + i) = r;
                else
                    memcpy(y + q * line, &r, sizeof(skconv_real) * (size_t)n_columns);
            }
        }
    }
}

/* u[point] (`plane` apart) = G of n weights of n_rows rows (`row` apart, backwards where negative), or of fewer than G
 * takes, where the rest are zero. Nothing behind the n is read or written. */
static void skconv_rows_transform(ptrdiff_t kernel, const skconv_real *restrict w, ptrdiff_t row, ptrdiff_t n_rows,
                                  ptrdiff_t n, skconv_real *restrict u, ptrdiff_t plane)
{
    const ptrdiff_t points = skconv_line_points(kernel);
    for (ptrdiff_t i = 0; i < n; i += SKCONV_LANES) {
        const size_t size = sizeof(skconv_real) * (size_t)(n - i < SKCONV_LANES ? n - i : SKCONV_LANES);
        const int is_whole = n - i >= SKCONV_LANES; /* copies of unknown size take longer than all the rest */
        skconv_vec g[5] = {{0}}, o[SKCONV_MOST_POINTS];
        for (ptrdiff_t r = 0; r < n_rows; r++)
            if (is_whole)
                g[r] = *(const skconv_vec *)(w + r * row + i);
            else
                memcpy(&g[r], w + r * row + i, size);
        if (kernel == 3)
            skconv_line_g(3, g, o);
        else if (kernel == 5)
            skconv_line_g(5, g, o);
        else
            skconv_line_g(7, g, o);
        for (ptrdiff_t q = 0; q < points; q++)
            if (is_whole)
                *(skconv_vec *)(u + q * plane + i) = o[q];
            else
                memcpy(u + q * plane + i, &o[q], size);
    }
}

/* ---- one channel, 5x5 ---- */

/* Products of five terms are not worth storing: m[p] = sum_t v[p + t] * u[t] of neighbouring pixels and a vector of
 * filters stay in registers, and two points at a time are added to the four lines of the result. That takes 40
 * multiply-adds and 18 additions for four results, directly 100. Whole pixels are written one after the other. 28x28, 128
 * filters, useful GFLOP/s by lines.h and so, results in memory: one thread 152 and 237, two 297 and 476.
 */
#if defined(__AVX512F__) || defined(__ARM_NEON)
enum { SKCONV_CHANNEL_PIXELS = 4 };
#else
enum { SKCONV_CHANNEL_PIXELS = 2 };
#endif

SKCONV_TRANSFORM skconv_channel_point(const skconv_real *restrict v, const skconv_real *restrict u, skconv_vec *m,
                                      int adds)
{
    skconv_vec w[5];
    SKCONV_UNROLL for (int j = 0; j < SKCONV_CHANNEL_PIXELS + 4; j++)
    {
        skconv_vec value = v[j] - (skconv_vec){0};
        SKCONV_KEEP(value);
        if (j < 5) {
            w[j] = *(const skconv_vec *)(u + j * SKCONV_LANES);
            SKCONV_KEEP(w[j]);
        }
        SKCONV_UNROLL for (int t = 4; t >= 0; t--)
            if (j >= t && j - t < SKCONV_CHANNEL_PIXELS) {
                if (t == 0 && !adds)
                    m[j] = value * w[0];
                else
                    SKCONV_FMA(m[j - t], value, w[t]);
            }
    }
}

/* Four lines of SKCONV_CHANNEL_PIXELS pixels and a vector of filters; v: (points, pixels + 4), `plane` apart. */
__attribute__((noinline)) static void skconv_channel_tile(const skconv_real *restrict v, ptrdiff_t plane,
                                                          const skconv_real *restrict u,
                                                          const skconv_real *restrict bias, skconv_real *restrict y,
                                                          ptrdiff_t line, ptrdiff_t pixel, ptrdiff_t n_lines, int relu)
{
    enum { N = SKCONV_CHANNEL_PIXELS };
    const ptrdiff_t point = 5 * SKCONV_LANES;
    const skconv_vec start = bias ? *(const skconv_vec *)bias : (skconv_vec){0};
    skconv_vec o[4][N], a[N], b[N];
    skconv_channel_point(v + plane, u + point, a, 0);
    skconv_channel_point(v + 2 * plane, u + 2 * point, b, 0);
    SKCONV_UNROLL for (int p = 0; p < N; p++)
    {
        o[0][p] = o[2][p] = (a[p] + b[p]) + start;
        o[1][p] = o[3][p] = (a[p] - b[p]) + start;
    }
    skconv_channel_point(v, u, o[0], 1);
    skconv_channel_point(v + 7 * plane, u + 7 * point, o[3], 1);
    skconv_channel_point(v + 3 * plane, u + 3 * point, a, 0);
    skconv_channel_point(v + 4 * plane, u + 4 * point, b, 0);
    SKCONV_UNROLL for (int p = 0; p < N; p++)
    {
        const skconv_vec s = a[p] + b[p], d = a[p] - b[p];
        o[0][p] += s;
        o[1][p] += 2 * d;
        o[2][p] += 4 * s;
        o[3][p] += 8 * d;
    }
    skconv_channel_point(v + 5 * plane, u + 5 * point, a, 0);
    skconv_channel_point(v + 6 * plane, u + 6 * point, b, 0);
    SKCONV_UNROLL for (int p = 0; p < N; p++)
    {
        const skconv_vec s = a[p] + b[p], d = a[p] - b[p];
        o[0][p] += s;
        o[1][p] += (skconv_real)0.5 * d;
        o[2][p] += (skconv_real)0.25 * s;
        o[3][p] += (skconv_real)0.125 * d;
    }
    SKCONV_UNROLL for (int q = 0; q < 4; q++)
    {
        if (q >= n_lines)
            break;
        SKCONV_UNROLL for (int p = 0; p < N; p++)
        {
            skconv_vec r = o[q][p];
            if (relu) /* r < 0 ? 0 : r keeps NaN */
                r = (skconv_vec)((skconv_ivec)r & ~(r < (skconv_vec){0}));
            *(skconv_vec *)(y + q * line + p * pixel) = r;
        }
    }
}

/* B^T of the eight lines that four lines of the result see: v (8 points, `plane` apart), zeros where there is no image.
 * x is the first pixel of line `first`, of `height`; `before` zeros lie in front of the n pixels, `seen` are taken in
 * all. A plane has room for two vectors more. Nothing beside the image is read. */
static void skconv_channel_input(const skconv_real *restrict x, ptrdiff_t line, ptrdiff_t first, ptrdiff_t height,
                                 ptrdiff_t n, ptrdiff_t before, ptrdiff_t seen, skconv_real *restrict v,
                                 ptrdiff_t plane)
{
    ptrdiff_t i;
    for (i = 0; i < before; i += SKCONV_LANES)
        SKCONV_UNROLL for (int q = 0; q < 8; q++) *(skconv_vec *)(v + q * plane + i) = (skconv_vec){0};
    for (i = 0; i < n; i += SKCONV_LANES) {
        skconv_vec d[SKCONV_MOST_POINTS], o[SKCONV_MOST_POINTS];
        SKCONV_UNROLL for (int q = 0; q < 8; q++)
        {
            d[q] = (skconv_vec){0};
            if (first + q < 0 || first + q >= height)
                continue;
            if (n - i >= SKCONV_LANES)
                d[q] = *(const skconv_vec *)(x + q * line + i);
            else
                memcpy(&d[q], x + q * line + i, sizeof(skconv_real) * (size_t)(n - i));
        }
        skconv_line_bt(5, d, o);
        SKCONV_UNROLL for (int q = 0; q < 8; q++) *(skconv_vec *)(v + q * plane + before + i) = o[q];
    }
    for (i += before; i < seen; i += SKCONV_LANES)
        SKCONV_UNROLL for (int q = 0; q < 8; q++) *(skconv_vec *)(v + q * plane + i) = (skconv_vec){0};
}

/* n_lines, four at most, of `width` pixels, at least four, and n_filters, at least a vector, from transformed lines.
 * u: (blocks, points, taps, LANES), the last block ends with the last filter. Meanwhile n_ahead cache lines at `ahead`
 * come into the second cache. */
static void skconv_channel_lines(const skconv_real *restrict v, ptrdiff_t plane, const skconv_real *restrict u,
                                 ptrdiff_t n_filters, const skconv_real *restrict bias, skconv_real *restrict y,
                                 ptrdiff_t line, ptrdiff_t pixel, ptrdiff_t width, ptrdiff_t n_lines, int relu,
                                 const char *ahead, ptrdiff_t n_ahead)
{
    for (ptrdiff_t i = 0; i < n_ahead; i++) __builtin_prefetch(ahead + 64 * i, 0, 2);
    for (ptrdiff_t m = 0; m < width; m += SKCONV_CHANNEL_PIXELS) {
        const skconv_real *block = u;
        m = m < width - SKCONV_CHANNEL_PIXELS ? m : width - SKCONV_CHANNEL_PIXELS;
        for (ptrdiff_t f = 0; f < n_filters; f += SKCONV_LANES) {
            f = f < n_filters - SKCONV_LANES ? f : n_filters - SKCONV_LANES;
            skconv_channel_tile(v + m, plane, block, bias ? bias + f : NULL, y + m * pixel + f, line, pixel, n_lines,
                                relu);
            block += 8 * 5 * SKCONV_LANES;
        }
    }
}

#endif /* SKCONV_KERNELS */
#endif
