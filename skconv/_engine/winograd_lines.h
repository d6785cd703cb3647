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
 * channels: 2.0 to 2.8 times; of two axes, F(4x4, 3x3), 2.2 to 4.8 times.
 *
 * B^T, G and A^T are those of one axis in winograd.h. `kernel` is 3, 5 or 7; callers name it as a constant, and every
 * transform is inlined. Points are in the order above,
 * infinity last. One that is added to all four lines with the same factor, one, is point 1: an intercept goes there.
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

#endif /* SKCONV_KERNELS */
#endif
