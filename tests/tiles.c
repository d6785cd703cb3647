/* The register tiles against plain loops, on small whole numbers, whose sums are exact: bits must agree.
 *
 * A program of its own, so that it can be cross-compiled and run in an emulator. Built and run by test_tiles.py:
 *
 *   cc -O3 -DSKCONV_KERNELS [-DSKCONV_DOUBLE] [-march=...] -I skconv/_engine tests/tiles.c -lm
 *
 * Prints the number of results compared and the bytes of a vector; says what failed and ends with 1.
 */
#include <stdio.h>
#include <stdlib.h>

#include "pool.h"
#include "rows.h"
#include "winograd_lines.h"

enum { MAX_ROWS = 28, MAX_COLUMNS = 4 * 16, SIZE = 1 << 14 };

static unsigned long n_compared;
static uint32_t state = 1;

static int draw(int n) /* 0 ... n - 1 */
{
    state = state * 1664525u + 1013904223u;
    return (int)((state >> 16) % (uint32_t)n);
}

static void fill(skconv_real *x, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i++) x[i] = (skconv_real)(draw(15) - 7);
}

static void check(const char *what, int m, int n, const skconv_real *found, const skconv_real *expected, ptrdiff_t size)
{
    for (ptrdiff_t i = 0; i < size; i++, n_compared++)
        if (found[i] != expected[i]) {
            printf("%s %dx%d: element %td is %g, not %g\n", what, m, n, i, (double)found[i], (double)expected[i]);
            exit(1);
        }
}

/* ---- products ---- */

static void check_product(const char *what, skconv_tile tile, int rows, int vectors, int columnwise, int start, int relu)
{
    static skconv_real A[SIZE], B[SIZE], C[SIZE], expected[SIZE], bias[MAX_COLUMNS];
    skconv_run runs[3];
    ptrdiff_t a_rows[MAX_ROWS], c_rows[MAX_ROWS];
    const int columns = vectors * SKCONV_LANES;
    skconv_product p = {runs, 1 + draw(3), 1 + draw(11), 0, 0};
    p.a_step = columnwise ? columns + draw(3) : 1 + draw(5);
    p.b_step = columns + draw(3);
    for (int r = 0; r < 3; r++) {
        runs[r].a = draw(300);
        runs[r].b = draw(300);
    }
    fill(A, SIZE);
    fill(B, SIZE);
    fill(C, SIZE);
    fill(bias, columns);
    memcpy(expected, C, sizeof(C));
    for (int m = 0; m < rows; m++) {
        a_rows[m] = draw(900);
        c_rows[m] = m * (columns + 3) + 1;
        for (int f = 0; f < columns; f++) {
            skconv_real *c = expected + c_rows[m] + f;
            skconv_real sum = start == SKCONV_ZERO ? 0 : start == SKCONV_BIAS ? bias[f] : *c;
            for (int r = 0; r < p.n_runs; r++)
                for (int l = 0; l < p.length; l++)
                    sum += A[a_rows[m] + runs[r].a + l * p.a_step + (columnwise ? f : 0)]
                           * B[runs[r].b + l * p.b_step + f];
            *c = relu && sum < 0 ? 0 : sum;
        }
    }
    tile(&p, A, a_rows, B, start, bias, C, c_rows, relu);
    check(what, rows, vectors, C, expected, SIZE); /* all of C: nothing else was written */
}

static void check_products(const char *what, const skconv_tile *tiles, ptrdiff_t n_rows, int vectors, int columnwise)
{
    for (int rows = 1; rows <= n_rows; rows++)
        for (int start = SKCONV_ZERO; start <= SKCONV_ADD; start++)
            for (int relu = 0; relu < 2; relu++)
                for (int again = 0; again < 4; again++)
                    check_product(what, tiles[rows], rows, vectors, columnwise, start, relu);
}

/* ---- Winograd's transforms, as products of matrices ---- */

/* By the kernel, 3 or 5: K is 0 or 1. Rows that a kernel has no use for are zero, and not looked at. */
#define K(kernel) ((kernel) / 2 - 1)

static const double BT[2][8][8] = {{{4, 0, -5, 0, 1, 0},
                                    {0, -4, -4, 1, 1, 0},
                                    {0, 4, -4, -1, 1, 0},
                                    {0, -2, -1, 2, 1, 0},
                                    {0, 2, -1, -2, 1, 0},
                                    {0, 4, 0, -5, 0, 1}},
                                   {{1, 0, -5.25, 0, 5.25, 0, -1, 0},
                                    {0, 1, 1, -4.25, -4.25, 1, 1, 0},
                                    {0, -1, 1, 4.25, -4.25, -1, 1, 0},
                                    {0, 0.5, 0.25, -2.5, -1.25, 2, 1, 0},
                                    {0, -0.5, 0.25, 2.5, -1.25, -2, 1, 0},
                                    {0, 2, 4, -2.5, -5, 0.5, 1, 0},
                                    {0, -2, 4, 2.5, -5, -0.5, 1, 0},
                                    {0, -1, 0, 5.25, 0, -5.25, 0, 1}}};
static const double AT[2][4][8] = {
    {{1, 1, 1, 1, 1, 0}, {0, 1, -1, 2, -2, 0}, {0, 1, 1, 4, 4, 0}, {0, 1, -1, 8, -8, 1}},
    {{1, 1, 1, 1, 1, 1, 1, 0},
     {0, 1, -1, 2, -2, 0.5, -0.5, 0},
     {0, 1, 1, 4, 4, 0.25, 0.25, 0},
     {0, 1, -1, 8, -8, 0.125, -0.125, 1}}};
/* 24 G and 90 G: whole numbers again, for weights that are multiples of the square. */
static const int TIMES[2] = {24, 90};
static const double TIMES_G[2][8][5] = {{{6}, {-4, -4, -4}, {-4, 4, -4}, {1, 2, 4}, {1, -2, 4}, {0, 0, 24}},
                                        {{90},
                                         {-20, -20, -20, -20, -20},
                                         {-20, 20, -20, 20, -20},
                                         {1, 2, 4, 8, 16},
                                         {1, -2, 4, -8, 16},
                                         {64, 32, 16, 8, 4},
                                         {64, -32, 16, -8, 4},
                                         {0, 0, 0, 0, 90}}};
/* Of the weights' gradient. */
static const double GRADIENT_BT[7][6] = {{1, 0, -1},       {0, 1, 1},           {0, -1, 1},         {0, -1, 0, 1},
                                         {0, 0, 0, 1, -1}, {0, 0, 0, 0, 1, 0}, {0, 0, 0, 0, -1, 1}};
static const double GRADIENT_G[4][2] = {{1, 0}, {1, 1}, {1, -1}, {0, 1}};
static const double GRADIENT_AT[5][7] = {
    {1, 0.5, 0.5}, {0, 0.5, -0.5}, {0, 0.5, 0.5, 1}, {0, 0, 0, 0, 1, 1}, {0, 0, 0, 0, 0, 1, 1}};

/* y[i][j] = sum_k,l M[i][k] x[k][l] M[j][l], a value of every lane apart; rows of M are `stride` apart. */
static void sandwich(const double *M, int rows, int columns, int stride, const skconv_real *x, ptrdiff_t line,
                     ptrdiff_t pixel, skconv_real *y, ptrdiff_t plane, double divisor)
{
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < rows; j++)
            for (int f = 0; f < SKCONV_LANES; f++) {
                double sum = 0;
                for (int k = 0; k < columns; k++)
                    for (int l = 0; l < columns; l++)
                        sum += M[i * stride + k] * M[j * stride + l] * (double)x[k * line + l * pixel + f];
                y[(i * rows + j) * plane + f] = (skconv_real)(sum / divisor);
            }
}

static void check_winograd(int kernel)
{
    static skconv_real x[SIZE], y[SIZE], expected[SIZE], bias[16];
    const int side = 4, points = kernel + 3, n_taps = kernel * kernel, times = TIMES[K(kernel)] * TIMES[K(kernel)];
    const ptrdiff_t pixel = SKCONV_LANES + 3, line = 9 * pixel, plane = SKCONV_LANES + 1;
    fill(x, SIZE);
    memset(y, 0, sizeof(y));
    memset(expected, 0, sizeof(expected));
    if (kernel == 3)
        skconv_winograd_input(3, x, line, pixel, y, plane);
    else
        skconv_winograd_input(5, x, line, pixel, y, plane);
    sandwich(BT[K(kernel)][0], points, points, 8, x, line, pixel, expected, plane, 1);
    check("winograd input", points, points, y, expected, SIZE);

    memset(y, 0, sizeof(y));
    memset(expected, 0, sizeof(expected));
    for (int i = 0; i < n_taps * 20; i++) x[i] *= times;
    for (int backwards = 0; backwards < 2; backwards++) {
        const ptrdiff_t tap = backwards ? -20 : 20;
        const skconv_real *first = backwards ? x + (n_taps - 1) * 20 : x;
        if (kernel == 3)
            skconv_winograd_weights(3, first, tap, y, plane);
        else
            skconv_winograd_weights(5, first, tap, y, plane);
        sandwich(TIMES_G[K(kernel)][0], points, kernel, 5, first, kernel * tap, tap, expected, plane, times);
        for (int i = 0; i < SIZE; i++) /* sixths are rounded: to a few units in the last place */
            if (fabs((double)(y[i] - expected[i])) <= 4 * (sizeof(skconv_real) == 4 ? 6e-8 : 1.2e-16) * (1 + 12 * times))
                y[i] = expected[i];
        check("winograd weights", points, kernel, y, expected, SIZE);
    }

    fill(x, SIZE);
    fill(bias, 16);
    for (int n_lines = 1; n_lines <= side; n_lines++)
        for (int n_pixels = 1; n_pixels <= side; n_pixels++)
            for (int kind = 0; kind < 4; kind++) {
                skconv_real all[16 * 16];
                const int relu = kind & 1;
                fill(y, SIZE);
                memcpy(expected, y, sizeof(y));
                sandwich(AT[K(kernel)][0], side, points, 8, x, points * plane, plane, all, SKCONV_LANES, 1);
                for (int i = 0; i < side * side * SKCONV_LANES; i++) {
                    all[i] += kind & 2 ? bias[i % SKCONV_LANES] : 0;
                    all[i] = relu && all[i] < 0 ? 0 : all[i];
                }
                for (int i = 0; i < n_lines; i++)
                    for (int j = 0; j < n_pixels; j++)
                        memcpy(expected + i * line + j * pixel, all + (side * i + j) * SKCONV_LANES,
                               SKCONV_VECTOR_BYTES);
                if (kernel == 3)
                    skconv_winograd_output(3, x, plane, kind & 2 ? bias : NULL, y, line, pixel, n_lines, n_pixels,
                                           relu);
                else
                    skconv_winograd_output(5, x, plane, kind & 2 ? bias : NULL, y, line, pixel, n_lines, n_pixels,
                                           relu);
                check("winograd output", n_lines, n_pixels, y, expected, SIZE);
            }
}

/* Along one axis: whole lines transformed, multiplied element by element, and back, beside the sum of products. */
static void check_winograd_lines(int kernel, int n)
{
    static skconv_real x[SIZE], w[SIZE], v[SIZE], u[SIZE], m[SIZE], y[SIZE], expected[SIZE];
    const ptrdiff_t line = n + 3, plane = n + SKCONV_LANES, parts = skconv_line_parts(kernel);
    const ptrdiff_t n_points = skconv_line_points(kernel), first_rows = parts > 1 ? SKCONV_TILE_LINES : kernel;
    fill(x, SIZE);
    fill(w, SIZE);
    for (int kind = 0; kind < 4; kind++) {
        const int relu = kind & 1, backwards = kind & 2;
        memset(m, 0, sizeof(m));
        for (ptrdiff_t part = 0; part < parts; part++) {
            const ptrdiff_t first = part * SKCONV_TILE_LINES, step = backwards ? -n : n;
            const ptrdiff_t n_rows = kernel - first < first_rows ? kernel - first : first_rows;
            const skconv_real *rows = (backwards ? w + (kernel - 1) * n : w) + first * step;
            fill(u, SIZE);
            skconv_rows_transform(kernel, rows, step, n_rows, n, u, n);
            if (kernel == 3)
                skconv_lines_input(3, x + first * line, line, n, v, plane);
            else if (kernel == 5)
                skconv_lines_input(5, x + first * line, line, n, v, plane);
            else
                skconv_lines_input(7, x + first * line, line, n, v, plane);
            for (ptrdiff_t p = 0; p < n_points; p++)
                for (ptrdiff_t i = 0; i < n; i++) m[p * plane + i] += v[p * plane + i] * u[p * n + i];
        }
        for (ptrdiff_t n_lines = 1; n_lines <= SKCONV_TILE_LINES; n_lines++) {
            fill(y, SIZE);
            memcpy(expected, y, sizeof(y));
            for (ptrdiff_t l = 0; l < n_lines; l++)
                for (ptrdiff_t i = 0; i < n; i++) {
                    skconv_real sum = 0;
                    for (ptrdiff_t r = 0; r < kernel; r++)
                        sum += x[(l + r) * line + i] * w[(backwards ? kernel - 1 - r : r) * n + i];
                    expected[l * line + i] = relu && sum < 0 ? 0 : sum;
                }
            if (kernel == 3)
                skconv_lines_output(3, m, plane, n, y, line, n_lines, relu);
            else if (kernel == 5)
                skconv_lines_output(5, m, plane, n, y, line, n_lines, relu);
            else
                skconv_lines_output(7, m, plane, n, y, line, n_lines, relu);
            for (ptrdiff_t i = 0; i < SIZE; i++) /* sums of at most 7 * 49, and sixths are rounded */
                if (fabs((double)(y[i] - expected[i])) <= 64 * 343 * (sizeof(skconv_real) == 4 ? 6e-8 : 1.2e-16))
                    y[i] = expected[i];
            check("winograd by lines", kernel, n, y, expected, SIZE);
        }
    }
}

/* One channel, from the image where it lies: four lines that may begin above it or end below it. */
static void check_winograd_channel(int n_filters, int n, int height, int first)
{
    static skconv_real x[SIZE], w[SIZE], v[SIZE], u[SIZE], points[SIZE], bias[MAX_COLUMNS], y[SIZE], expected[SIZE];
    const ptrdiff_t before = draw(6), width = 4 + draw(n), line = n + 3, pixel = n_filters + 2;
    const ptrdiff_t y_line = (width + 1) * pixel, widest = width + 4 > before + n ? width + 4 : before + n;
    const ptrdiff_t plane = widest + 2 * SKCONV_LANES;
    const skconv_real *image = x + 8 * line;
    skconv_real *block = u;
    fill(x, SIZE);
    fill(w, 5 * 5 * n_filters);
    fill(bias, n_filters);
    fill(v, SIZE);
    skconv_rows_transform(5, w, 5 * n_filters, 5, 5 * n_filters, points, 5 * n_filters);
    for (int f = 0; f < n_filters; f += SKCONV_LANES) {
        f = f < n_filters - SKCONV_LANES ? f : n_filters - SKCONV_LANES;
        for (int i = 0; i < 8 * 5; i++, block += SKCONV_LANES)
            memcpy(block, points + i * n_filters + f, sizeof(skconv_vec));
    }
    skconv_channel_input(image + first * line, line, first, height, n, before, width + 4, v, plane);
    for (int n_lines = 1; n_lines <= SKCONV_TILE_LINES; n_lines++) {
        const int relu = draw(2), has_bias = draw(2);
        fill(y, SIZE);
        memcpy(expected, y, sizeof(y));
        for (ptrdiff_t l = 0; l < n_lines; l++)
            for (ptrdiff_t p = 0; p < width; p++)
                for (int f = 0; f < n_filters; f++) {
                    skconv_real sum = has_bias ? bias[f] : 0;
                    for (int tap = 0; tap < 5 * 5; tap++) {
                        const ptrdiff_t h = first + l + tap / 5, i = p + tap % 5 - before;
                        if (h >= 0 && h < height && i >= 0 && i < n)
                            sum += image[h * line + i] * w[tap * n_filters + f];
                    }
                    expected[l * y_line + p * pixel + f] = relu && sum < 0 ? 0 : sum;
                }
        skconv_channel_lines(v, plane, u, n_filters, has_bias ? bias : NULL, y, y_line, pixel, width, n_lines, relu,
                             NULL, 0);
        for (ptrdiff_t i = 0; i < SIZE; i++) /* as above, of at most 25 * 49 */
            if (fabs((double)(y[i] - expected[i])) <= 64 * 1225 * (sizeof(skconv_real) == 4 ? 6e-8 : 1.2e-16))
                y[i] = expected[i];
        check("winograd, one channel", n_filters, n, y, expected, SIZE);
    }
}

static void check_winograd_gradient(int kernel)
{
    static skconv_real x[SIZE], y[SIZE], expected[SIZE], more[SIZE];
    const int side = kernel == 3 ? 4 : 7;
    const ptrdiff_t pixel = SKCONV_LANES + 3, line = 7 * pixel, plane = SKCONV_LANES + 1;
    fill(x, SIZE);
    memset(y, 0, sizeof(y));
    memset(expected, 0, sizeof(expected));
    skconv_winograd_gradient_input(kernel, x, line, pixel, y, plane);
    sandwich(GRADIENT_BT[0], side, kernel + 1, 6, x, line, pixel, expected, plane, 1);
    check("gradient input", side, side, y, expected, SIZE);

    memset(y, 0, sizeof(y));
    memset(expected, 0, sizeof(expected));
    skconv_winograd_dz(x, line, pixel, y, plane);
    sandwich(GRADIENT_G[0], 4, 2, 2, x, line, pixel, expected, plane, 1);
    check("gradient dz", 4, 4, y, expected, SIZE);

    fill(y, SIZE);
    memcpy(expected, y, sizeof(y));
    memset(more, 0, sizeof(more));
    skconv_winograd_gradient(kernel, x, plane, y, plane);
    sandwich(GRADIENT_AT[0], kernel, side, 7, x, side * plane, plane, more, plane, 1);
    for (int i = 0; i < SIZE; i++) expected[i] += more[i];
    check("gradient", kernel, kernel, y, expected, SIZE);
}

/* ---- lines to pixels, and pooling ---- */

static void check_store(int n_filters, int n_pixels)
{
    static skconv_real lines[SIZE], y[SIZE], expected[SIZE];
    const ptrdiff_t line = n_pixels + 5, pixel = n_filters + 2;
    fill(lines, SIZE);
    fill(y, SIZE);
    memcpy(expected, y, sizeof(y));
    for (int i = 0; i < n_pixels; i++)
        for (int f = 0; f < n_filters; f++) expected[i * pixel + f] = lines[f * line + i];
    skconv_store_pixels(lines, line, n_filters, n_pixels, y, pixel);
    check("lines to pixels", n_filters, n_pixels, y, expected, SIZE);
}

static void check_max(int n_channels, int n_taps, int n_pixels)
{
    static skconv_real x[SIZE], y[SIZE], expected[SIZE], dx[SIZE], expected_dx[SIZE];
    static uint8_t index[SIZE];
    const ptrdiff_t step = n_taps * n_channels + 1;
    ptrdiff_t taps[9];
    int32_t ids[9];
    fill(x, SIZE);
    fill(y, SIZE);
    memcpy(expected, y, sizeof(y));
    fill(dx, SIZE);
    memcpy(expected_dx, dx, sizeof(dx));
    for (int s = 0; s < n_taps; s++) {
        taps[s] = s * n_channels;
        ids[s] = s;
    }
    skconv_max_line(x, step, n_pixels, taps, ids, n_taps, n_channels, y, index, NULL);
    for (int j = 0; j < n_pixels; j++)
        for (int f = 0; f < n_channels; f++) {
            int winner = 0;
            for (int s = 1; s < n_taps; s++)
                if (x[j * step + taps[s] + f] > x[j * step + taps[winner] + f])
                    winner = s;
            expected[j * n_channels + f] = x[j * step + taps[winner] + f];
            for (int s = 0; s < n_taps; s++)
                expected_dx[j * step + taps[s] + f] = s == winner ? expected[j * n_channels + f] : 0;
        }
    check("max pooling", n_channels, n_taps, y, expected, SIZE);
    skconv_unmax_line(y, index, step, n_pixels, taps, ids, n_taps, n_channels, 0, dx);
    check("its gradient", n_channels, n_taps, dx, expected_dx, SIZE);
}

/* ---- rows of pixels ---- */

static void check_rows(int n_pixels, int depth, int n_columns, int has_bias, int relu)
{
    static skconv_real x[SIZE], w[SIZE], bias[3 * MAX_COLUMNS], y[2 * SIZE], expected[2 * SIZE];
    const int origin = draw(5); /* y is not aligned */
    fill(x, SIZE);
    x[n_pixels * depth] = 9; /* behind the last: nobody's business */
    fill(w, SIZE);
    fill(bias, 3 * MAX_COLUMNS);
    fill(y, 2 * SIZE);
    memcpy(expected, y, sizeof(y));
    for (int p = 0; p < n_pixels; p++)
        for (int f = 0; f < n_columns; f++) {
            skconv_real sum = has_bias ? bias[f] : 0;
            for (int c = 0; c < depth; c++) sum += x[p * depth + c] * w[c * n_columns + f];
            expected[origin + p * n_columns + f] = relu && sum < 0 ? 0 : sum;
        }
    const skconv_real largest = (skconv_real)(draw(2) * 7);
    if (!skconv_rows(x, n_pixels, depth, w, n_columns, has_bias ? bias : NULL, relu, y + origin, largest)) {
        printf("rows: an element of x is said to be above %g\n", (double)largest);
        exit(1);
    }
    check("rows", depth, n_columns, y, expected, 2 * SIZE); /* all of y: nothing else was written */
    const int place = draw(n_pixels * depth);
    const skconv_real kept = x[place];
    x[place] = draw(2) ? -8 : 8;
    if (skconv_rows(x, n_pixels, depth, w, n_columns, NULL, 0, expected + origin, 7)) {
        printf("rows %dx%d, x: element %d is %g, above 7\n", n_pixels, depth, place, (double)x[place]);
        exit(1);
    }
    x[place] = kept;
}

int main(void)
{
    check_products("tile", skconv_tiles_1, skconv_tile_rows_1, 1, 0);
    check_products("tile", skconv_tiles_2, skconv_tile_rows_2, 2, 0);
    check_products("tile", skconv_tiles_4, skconv_tile_rows_4, 4, 0);
    check_products("depthwise tile", skconv_depth_tiles_1, skconv_depth_tile_rows, 1, 1);
    check_products("depthwise tile", skconv_depth_tiles_2, skconv_depth_tile_rows, 2, 1);
    for (int kernel = 3; kernel <= 7; kernel += 2)
        for (int n = SKCONV_LANES; n <= 3 * SKCONV_LANES; n += 1 + SKCONV_LANES / 3) check_winograd_lines(kernel, n);
    for (int n_filters = SKCONV_LANES; n_filters <= 3 * SKCONV_LANES; n_filters += 1 + SKCONV_LANES / 2)
        for (int first = -7; first <= 7; first++) check_winograd_channel(n_filters, 1 + draw(21), 1 + draw(8), first);
    for (int kernel = 3; kernel <= 5; kernel += 2) {
        check_winograd(kernel);
        check_winograd_gradient(kernel);
    }
    for (int columns = 1; columns <= 2 * MAX_COLUMNS; columns += columns < 40 ? 1 : 1 + draw(9))
        for (int i = 0; i < 4; i++) check_rows(1 + draw(50), 1 + draw(40), columns, i & 1, i >> 1);
    for (int n = 1; n <= 37; n++) {
        check_store(n, 1 + draw(30));
        for (int n_taps = 1; n_taps <= 9; n_taps++) check_max(n, n_taps, 1 + draw(9));
    }
    printf("%lu results agree, vectors of %d bytes\n", n_compared, SKCONV_VECTOR_BYTES);
    return 0;
}
