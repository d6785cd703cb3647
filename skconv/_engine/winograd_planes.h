/* Convolutions with few filters by Winograd's algorithm down the image: the lanes of a vector are pixels.
 *
 *   result lines 4t to 4t + 3 of filter f = A^T [ sum_{part, channel c, tap} U[point, part, c, tap, f]
 *                                                 * (B^T lines 4 (t + part) to ...)[point, c, . + tap] ]
 *
 * Transforms (winograd_lines.h) go from line to line, so that with pixels as lanes they shift nothing. Lines of an image
 * become planes of channels (planes.h), the lines that leave the same rest divided by four next to each other, so that
 * whole tiles of lines follow each other as one row of pixels, and all their transforms, too. For some vectors of
 * pixels, the tiles of registers of planes.h then compute every point of every filter, one row of taps (of 7 rows two:
 * this tile's and the next one's), into a few KiB, from where four lines of the result return to planes of filters.
 *
 * A lane sees no other: it does not matter where in a vector a pixel lies, nor which samples share the row. The intercept
 * is the start of the point that all four lines have once. Lines outside the image are zeros and are not read.
 */
#ifndef SKCONV_WINOGRAD_PLANES_H
#define SKCONV_WINOGRAD_PLANES_H

#include "planes.h"

/* `lines.row` is a line of tiles, `lines.plane` a channel of transformed lines, `lines.n_rows` the parts; `lines.z_plane`
 * is a filter of some points. */
typedef struct {
    skconv_planes lines;
    ptrdiff_t kernel;  /* rows: 3, 5 or 7 */
    ptrdiff_t height;  /* lines of the image */
    ptrdiff_t group;   /* channels that are taken apart at a time */
    ptrdiff_t x_plane; /* elements from plane to plane of lines that leave the same rest, four to a channel */
    ptrdiff_t point;   /* from point to point of the transformed lines */
    ptrdiff_t y_plane; /* from plane to plane of the results: line of a tile, then filter */
} skconv_plane_points;

#ifdef SKCONV_KERNELS

#include "winograd_lines.h"

/* w, (rows, taps, channels, filters), to (filters of a tile; point, part, channel, tap, MR). */
static void skconv_plane_points_weights(const skconv_plane_points *restrict s, const skconv_real *restrict w,
                                        int reverse, skconv_real *restrict out)
{
    const skconv_planes *p = &s->lines;
    const ptrdiff_t n_filters = p->n_filters, share = skconv_plane_share(n_filters), taps = p->n_taps;
    const ptrdiff_t channels = p->n_channels, points = skconv_line_points(s->kernel), parts = p->n_rows;
    const ptrdiff_t row = (reverse ? -1 : 1) * taps * channels * n_filters;
    for (ptrdiff_t part = 0; part < parts; part++)
        for (ptrdiff_t c = 0; c < channels; c++)
            for (ptrdiff_t t = 0; t < taps; t++) {
                skconv_real u[SKCONV_MOST_POINTS * 8];
                const ptrdiff_t r = reverse ? s->kernel - 1 - 4 * part : 4 * part, tap = reverse ? taps - 1 - t : t;
                const ptrdiff_t left = s->kernel - 4 * part, n_rows = parts == 1 ? left : left < 4 ? left : 4;
                skconv_rows_transform(s->kernel, w + ((r * taps + tap) * channels + c) * n_filters, row, n_rows,
                                      n_filters, u, 8);
                for (ptrdiff_t f0 = 0; f0 < n_filters; f0 += share) {
                    const ptrdiff_t n = n_filters - f0 < share ? n_filters - f0 : share;
                    for (ptrdiff_t q = 0; q < points; q++)
                        memcpy(out + points * parts * channels * taps * f0
                                   + (((q * parts + part) * channels + c) * taps + t) * n,
                               u + q * 8 + f0, (size_t)n * sizeof(skconv_real));
                }
            }
}

/* Lines of tiles whose lines are taken apart, for n_tiles of the result: the last transform sees the lines behind. */
static inline ptrdiff_t skconv_plane_tile_lines(ptrdiff_t kernel, ptrdiff_t n_tiles)
{
    return n_tiles + 1 + (kernel == 7);
}

#define SKCONV_PLANES_FORWARD(KERNEL)                                                                                 \
    static void skconv_planes_forward_##KERNEL(const skconv_real *restrict x, ptrdiff_t x_plane, ptrdiff_t line,      \
                                               ptrdiff_t n, skconv_real *restrict v, ptrdiff_t point)                 \
    {                                                                                                                 \
        enum { POINTS = KERNEL == 7 ? 7 : KERNEL + 3 };                                                               \
        for (ptrdiff_t i = 0; i < n; i += SKCONV_LANES) {                                                             \
            skconv_vec d[SKCONV_MOST_POINTS], o[SKCONV_MOST_POINTS];                                                  \
            SKCONV_UNROLL for (int q = 0; q < POINTS; q++)                                                            \
                d[q] = *(const skconv_vec *)(x + q % 4 * x_plane + q / 4 * line + i);                                 \
            skconv_line_bt(KERNEL, d, o);                                                                             \
            SKCONV_UNROLL for (int q = 0; q < POINTS; q++) *(skconv_vec *)(v + q * point + i) = o[q];                 \
        }                                                                                                             \
    }
SKCONV_PLANES_FORWARD(3)
SKCONV_PLANES_FORWARD(5)
SKCONV_PLANES_FORWARD(7)

/* Asks for n bytes that will soon be read or written, by cache lines. */
static inline void skconv_ask_for(const char *at, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i += 64) __builtin_prefetch(at + i, 0, 2);
}

enum { SKCONV_LINES_AHEAD = 2 };

/* B^T of what n_tiles of lines of the result see. x points at what the first tap of their first pixel sees, line
 * `first` of the image. Whole vectors are written behind the last pixel and its taps. The gaps between lines of `planes`
 * are zeros, and stay so: pixels alone are written, and zeros behind them. */
static void skconv_planes_points_load(const skconv_plane_points *restrict s, ptrdiff_t n_tiles, ptrdiff_t first,
                                      const skconv_real *restrict x, skconv_real *restrict planes,
                                      skconv_real *restrict v)
{
    const skconv_planes *p = &s->lines;
    const ptrdiff_t line = p->line, n_v = n_tiles + p->n_rows - 1;
    const ptrdiff_t n_lines = 4 * (n_v - 1) + skconv_line_points(s->kernel);
    for (ptrdiff_t c0 = 0; c0 < p->n_channels; c0 += s->group) {
        /* The last group is whole, too. */
        c0 = c0 < p->n_channels - s->group ? c0 : p->n_channels - s->group;
        for (ptrdiff_t l = 0; l < n_lines; l++) {
            skconv_real *to = planes + l % 4 * s->x_plane + l / 4 * line + p->first;
            const ptrdiff_t step = 4 * s->x_plane;
            if (first + l < 0 || first + l >= s->height) {
                for (ptrdiff_t c = 0; c < s->group; c++)
                    for (ptrdiff_t i = 0; i < p->n_pixels; i += SKCONV_LANES)
                        *(skconv_vec *)(to + c * step + i) = (skconv_vec){0};
                continue;
            }
            if (c0 == 0)
                skconv_ask_for((const char *)(x + (l + SKCONV_LINES_AHEAD) * p->x_line),
                               p->x_line * (ptrdiff_t)sizeof(skconv_real));
            skconv_channels_to_planes(x + l * p->x_line + p->first * p->n_channels + c0, p->n_pixels, s->group,
                                      p->n_channels, to, step);
        }
        for (ptrdiff_t c = 0; c < s->group; c++) {
            const skconv_real *from = planes + 4 * c * s->x_plane;
            skconv_real *to = v + (c0 + c) * p->plane;
            (s->kernel == 3 ? skconv_planes_forward_3 : s->kernel == 5 ? skconv_planes_forward_5 : skconv_planes_forward_7)(
                from, s->x_plane, line, n_v * line + p->first, to, s->point);
        }
    }
}

#define SKCONV_PLANES_BACK(KERNEL)                                                                                    \
    static void skconv_planes_back_##KERNEL(const skconv_real *restrict z, ptrdiff_t point, ptrdiff_t n,              \
                                            skconv_real *restrict y, ptrdiff_t line, int relu)                        \
    {                                                                                                                 \
        skconv_lines_output(KERNEL, z, point, n, y, line, 4, relu);                                                   \
    }
SKCONV_PLANES_BACK(3)
SKCONV_PLANES_BACK(5)
SKCONV_PLANES_BACK(7)

/* n_lines of tiles of the result, all that are loaded, into planes. Meanwhile n_ahead bytes at `ahead`, and n_next at
 * `next`, come into the second cache. */
static void skconv_planes_points_multiply(const skconv_plane_points *restrict s, ptrdiff_t n_lines,
                                          const skconv_real *restrict v, const skconv_real *restrict w,
                                          const skconv_real *restrict bias, int relu, skconv_real *restrict z,
                                          skconv_real *restrict y, const char *ahead, ptrdiff_t n_ahead, const char *next,
                                          ptrdiff_t n_next)
{
    const skconv_planes *p = &s->lines;
    const ptrdiff_t n = (n_lines - 1) * p->line + p->width, share = skconv_plane_share(p->n_filters);
    const ptrdiff_t points = skconv_line_points(s->kernel), filters = (p->n_filters + 3) / 4 * 4;
    const ptrdiff_t calls = (n + SKCONV_LANES - 1) / SKCONV_LANES * points * ((p->n_filters + share - 1) / share);
    const ptrdiff_t part = ((n_ahead + n_next + 63) / 64 + calls - 1) / calls * 64;
    ptrdiff_t done = 0;
    for (ptrdiff_t f = 0; f < p->n_filters; f += share) {
        const ptrdiff_t n_tile = p->n_filters - f < share ? p->n_filters - f : share;
        const ptrdiff_t most = skconv_plane_vectors[n_tile], size = n_tile * p->n_rows * p->n_taps * p->n_channels;
        for (ptrdiff_t i = 0; i < n;) {
            const ptrdiff_t left = (n - i + SKCONV_LANES - 1) / SKCONV_LANES;
            const ptrdiff_t n_vectors = left >= most ? most : left >= 2 ? 2 : 1;
            for (ptrdiff_t q = 0; q < points; q++) {
                const ptrdiff_t left_over = done < n_ahead ? n_ahead - done : n_ahead + n_next - done;
                const ptrdiff_t bytes = part * n_vectors < left_over ? part * n_vectors : left_over;
                skconv_ask_for(done < n_ahead ? ahead + done : next + (done - n_ahead), bytes);
                done += bytes;
                skconv_plane_tiles[n_tile][n_vectors < 3 ? n_vectors : 3](
                    p, v + q * s->point + i, p->n_rows, w + q * size,
                    bias && q == SKCONV_POINT_OF_ONE ? bias + f : NULL, z + q * n_tile * p->z_plane, 0);
            }
            for (ptrdiff_t m = 0; m < n_tile; m++)
                (s->kernel == 3 ? skconv_planes_back_3 : s->kernel == 5 ? skconv_planes_back_5 : skconv_planes_back_7)(
                    z + m * p->z_plane, n_tile * p->z_plane, n_vectors * SKCONV_LANES, y + (f + m) * s->y_plane + i,
                    filters * s->y_plane, relu);
            i += n_vectors * SKCONV_LANES;
        }
        w += points * size;
    }
}

/* n_lines of the result from planes that begin with their tile. */
static void skconv_planes_points_store(const skconv_plane_points *restrict s, ptrdiff_t n_lines,
                                       const skconv_real *restrict planes, skconv_real *restrict y)
{
    const skconv_planes *p = &s->lines;
    const ptrdiff_t filters = (p->n_filters + 3) / 4 * 4;
    for (ptrdiff_t l = 0; l < n_lines; l++)
        skconv_planes_to_line(planes + l % 4 * filters * s->y_plane + l / 4 * p->line, s->y_plane, p->n_filters,
                              p->width, y + l * p->y_line, p->y_pixel);
}

#endif /* SKCONV_KERNELS */
#endif
