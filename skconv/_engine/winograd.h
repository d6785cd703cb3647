/* Winograd's F(4x4, 3x3) and F(4x4, 5x5): one tile of vectors.
 *
 *   Y = A^T [ (G g G^T) . (B^T d B) ] A      (Lavin and Gray, "Fast algorithms for convolutional neural networks",
 *                                             CVPR 2016, section 4; d inputs, g weights, Y 4x4 outputs)
 *
 *   kernel  form          inputs   points of an axis                  multiplications
 *   3x3     F(4x4, 3x3)   6x6      0, 1, -1, 2, -2, infinity          36 in place of 144
 *   5x5     F(4x4, 5x5)   8x8      and 1/2, -1/2 before infinity      64 in place of 400
 *
 * B^T, G and A^T of one axis serve winograd_lines.h, too, and there 7 rows: four and three by F(4, 4), with the points
 * 0, 1, -1, 2, -2, 1/2 and infinity.
 *
 * `kernel` is 3, 5 or 7; callers name it as a constant, and every transform is inlined.
 */
#ifndef SKCONV_WINOGRAD_H
#define SKCONV_WINOGRAD_H

#include "tile.h"

#ifdef SKCONV_KERNELS

#define SKCONV_TRANSFORM __attribute__((always_inline)) static inline void

/* Outputs of a tile along an axis, and the most points. */
enum { SKCONV_TILE_LINES = 4, SKCONV_MOST_POINTS = 8 };

/* ---- one axis ---- */

/* B^T of the points 0, 1, -1, 2, -2 and infinity. */
SKCONV_TRANSFORM skconv_six_bt(const skconv_vec d[6], skconv_vec o[6])
{
    const skconv_vec p = d[4] - 4 * d[2], q = d[3] - 4 * d[1], r = d[4] - d[2], s = d[3] - d[1];
    o[0] = r + 4 * (d[0] - d[2]); /* 4 d0 - 5 d2 + d4 */
    o[1] = p + q;
    o[2] = p - q;
    o[3] = r + 2 * s;
    o[4] = r - 2 * s;
    o[5] = (d[5] - d[3]) - 4 * s; /* 4 d1 - 5 d3 + d5 */
}

/* o = B^T d, one vector of each input. */
SKCONV_TRANSFORM skconv_line_bt(int kernel, const skconv_vec *d, skconv_vec *o)
{
    if (kernel == 3)
        skconv_six_bt(d, o);
    else if (kernel == 5) {
        const skconv_vec a = d[2] + d[6] - (skconv_real)4.25 * d[4], b = d[1] + d[5] - (skconv_real)4.25 * d[3];
        const skconv_vec p = d[6] - (skconv_real)1.25 * d[4] + (skconv_real)0.25 * d[2];
        const skconv_vec q = d[5] - (skconv_real)1.25 * d[3] + (skconv_real)0.25 * d[1];
        const skconv_vec r = d[6] - 5 * d[4] + 4 * d[2], s = d[5] - 5 * d[3] + 4 * d[1];
        o[0] = (d[0] - d[6]) + (skconv_real)5.25 * (d[4] - d[2]);
        o[1] = a + b;
        o[2] = a - b;
        o[3] = p + 2 * q;
        o[4] = p - 2 * q;
        o[5] = r + (skconv_real)0.5 * s;
        o[6] = r - (skconv_real)0.5 * s;
        o[7] = (d[7] - d[1]) + (skconv_real)5.25 * (d[3] - d[5]);
    } else { /* of six points, whose polynomials (x - 1/2) multiplies: neighbours' differences; 1/2 itself: infinity's */
        skconv_vec e[6], t[6];
        SKCONV_UNROLL for (int i = 0; i < 6; i++) e[i] = d[i + 1] - (skconv_real)0.5 * d[i];
        skconv_six_bt(e, t);
        SKCONV_UNROLL for (int i = 0; i < 5; i++) o[i] = t[i];
        o[5] = (d[5] - d[3]) - 4 * (d[3] - d[1]);
        o[6] = t[5];
    }
}

/* o = G g for the rows of a kernel, four of them where it has seven. */
SKCONV_TRANSFORM skconv_line_g(int kernel, const skconv_vec *g, skconv_vec *o)
{
    if (kernel == 3) {
        const skconv_vec p = (g[0] + g[2]) * (skconv_real)(-1.0 / 6), q = g[1] * (skconv_real)(-1.0 / 6);
        const skconv_vec r = g[0] * (skconv_real)(1.0 / 24) + g[2] * (skconv_real)(1.0 / 6);
        const skconv_vec s = g[1] * (skconv_real)(1.0 / 12);
        o[0] = g[0] * (skconv_real)0.25;
        o[1] = p + q;
        o[2] = p - q;
        o[3] = r + s;
        o[4] = r - s;
        o[5] = g[2];
    } else if (kernel == 5) {
        const skconv_vec a = (g[0] + g[2] + g[4]) * (skconv_real)(-2.0 / 9), b = (g[1] + g[3]) * (skconv_real)(-2.0 / 9);
        const skconv_vec p = (g[0] + 4 * g[2] + 16 * g[4]) * (skconv_real)(1.0 / 90);
        const skconv_vec q = (g[1] + 4 * g[3]) * (skconv_real)(1.0 / 45);
        const skconv_vec r = (16 * g[0] + 4 * g[2] + g[4]) * (skconv_real)(2.0 / 45);
        const skconv_vec s = (4 * g[1] + g[3]) * (skconv_real)(4.0 / 45);
        o[0] = g[0];
        o[1] = a + b;
        o[2] = a - b;
        o[3] = p + q;
        o[4] = p - q;
        o[5] = r + s;
        o[6] = r - s;
        o[7] = g[4];
    } else {
        const skconv_vec a = g[0] + g[2], b = g[1] + g[3], p = g[0] + 4 * g[2], q = 2 * g[1] + 8 * g[3];
        o[0] = g[0] * (skconv_real)(-1.0 / 2);
        o[1] = (a + b) * (skconv_real)(-1.0 / 3);
        o[2] = (a - b) * (skconv_real)(1.0 / 9);
        o[3] = (p + q) * (skconv_real)(1.0 / 36);
        o[4] = (p - q) * (skconv_real)(-1.0 / 60);
        o[5] = (8 * g[0] + 4 * g[1] + 2 * g[2] + g[3]) * (skconv_real)(4.0 / 45);
        o[6] = g[3];
    }
}

/* o = A^T m: one vector of each of the four outputs. */
SKCONV_TRANSFORM skconv_line_at(int kernel, const skconv_vec *m, skconv_vec o[4])
{
    const skconv_vec a = m[1] + m[2], b = m[1] - m[2], c = m[3] + m[4], d = m[3] - m[4];
    o[0] = m[0] + a + c;
    o[1] = b + 2 * d;
    o[2] = a + 4 * c;
    o[3] = b + 8 * d;
    if (kernel == 3)
        o[3] += m[5];
    else {
        skconv_vec e = m[5], f = m[5];
        if (kernel == 5) {
            e += m[6];
            f -= m[6];
        }
        o[0] += e;
        o[1] += (skconv_real)0.5 * f;
        o[2] += (skconv_real)0.25 * e;
        o[3] += (skconv_real)0.125 * f + m[kernel == 5 ? 7 : 6];
    }
}

/* ---- tiles ---- */

/* Rows or columns of a tile, one after the other. Values of eight points, 64 vectors, fit no registers: unrolled, GCC
 * keeps what it can and spills the rest; in a loop they all go through the first cache, and that is faster (input 150 and
 * 115 nanoseconds a tile, output 82 and 62; AVX2 104 and 85, 64 and 44). With six points unrolled is (70 and 90, 44 and
 * 50). Vectors across two cache lines cost as much as the loop saves, so they are aligned.
 */
#define SKCONV_ALIGNED __attribute__((aligned(SKCONV_VECTOR_BYTES)))
#define SKCONV_EACH(kernel, i, n, ...)                                                                                \
    if (kernel == 3) {                                                                                                \
        SKCONV_UNROLL for (int i = 0; i < n; i++) __VA_ARGS__                                                         \
    } else {                                                                                                          \
        SKCONV_NO_UNROLL for (int i = 0; i < n; i++) __VA_ARGS__                                                      \
    }

/* Addresses. A tile of six points has 36 values to read and 36 to write. Left to itself GCC computes all their addresses
 * before the tile, more than there are registers, and keeps them in memory: 890 instructions, 311 of them on vectors.
 * Here a pointer moves on along one axis, where GCC does not see it, and the other axis is a multiple of a step: 336
 * instructions. Input 66 and 52 nanoseconds a vector, output 38 and 34, the weights' gradient's factors 50 and 42.
 */
#define SKCONV_HIDE(address) __asm__("" : "+r"(address))
#define SKCONV_AT(address) (*(skconv_vec *)(address))
#define SKCONV_READ(address) (*(const skconv_vec *)(address))

typedef struct {
    ptrdiff_t one, three, five, seven; /* bytes */
} skconv_steps;

__attribute__((always_inline)) static inline skconv_steps skconv_steps_of(ptrdiff_t n)
{
    skconv_steps s;
    s.one = n * (ptrdiff_t)sizeof(skconv_real);
    SKCONV_HIDE(s.one);
    s.three = 3 * s.one;
    s.five = 5 * s.one;
    s.seven = 7 * s.one;
    SKCONV_HIDE(s.three);
    SKCONV_HIDE(s.five);
    return s;
}

__attribute__((always_inline)) static inline ptrdiff_t skconv_step(const skconv_steps *s, int i)
{
    return i == 7 ? s->seven : i == 5 ? s->five : i % 3 == 0 ? i / 3 * s->three : i * s->one;
}

/* v[i, j] (planes apart) = B^T d B for one vector of channels. */
SKCONV_TRANSFORM skconv_winograd_input(int kernel, const skconv_real *x, ptrdiff_t line, ptrdiff_t pixel,
                                       skconv_real *v, ptrdiff_t plane)
{
    const int points = kernel + 3;
    const skconv_steps lines = skconv_steps_of(line), planes = skconv_steps_of(plane);
    SKCONV_ALIGNED skconv_vec t[SKCONV_MOST_POINTS][SKCONV_MOST_POINTS];
    SKCONV_EACH(kernel, j, points, {
        skconv_vec d[SKCONV_MOST_POINTS], o[SKCONV_MOST_POINTS];
        SKCONV_UNROLL for (int i = 0; i < points; i++)
            d[i] = SKCONV_READ((const char *)x + skconv_step(&lines, i));
        skconv_line_bt(kernel, d, o);
        SKCONV_UNROLL for (int i = 0; i < points; i++) t[i][j] = o[i];
        x += pixel;
        SKCONV_HIDE(x);
    })
    SKCONV_EACH(kernel, i, points, {
        skconv_vec o[SKCONV_MOST_POINTS];
        skconv_line_bt(kernel, t[i], o);
        SKCONV_UNROLL for (int j = 0; j < points; j++) SKCONV_AT((char *)v + skconv_step(&planes, j)) = o[j];
        v += points * plane;
        SKCONV_HIDE(v);
    })
}

/* u[i, j] (planes apart) = G g G^T for one vector of filters; taps are `tap` apart, from the last one backwards where
 * `tap` is negative. */
SKCONV_TRANSFORM skconv_winograd_weights(int kernel, const skconv_real *g, ptrdiff_t tap, skconv_real *u,
                                         ptrdiff_t plane)
{
    const int points = kernel + 3;
    skconv_vec t[SKCONV_MOST_POINTS][5];
    SKCONV_UNROLL for (int j = 0; j < kernel; j++)
    {
        skconv_vec d[5], o[SKCONV_MOST_POINTS];
        SKCONV_UNROLL for (int i = 0; i < kernel; i++) d[i] = *(const skconv_vec *)(g + (kernel * i + j) * tap);
        skconv_line_g(kernel, d, o);
        SKCONV_UNROLL for (int i = 0; i < points; i++) t[i][j] = o[i];
    }
    SKCONV_UNROLL for (int i = 0; i < points; i++)
    {
        skconv_vec o[SKCONV_MOST_POINTS];
        skconv_line_g(kernel, t[i], o);
        SKCONV_UNROLL for (int j = 0; j < points; j++) *(skconv_vec *)(u + (points * i + j) * plane) = o[j];
    }
}

/* y[i, j] = A^T m A + bias for one vector of filters; only the first n_lines x n_pixels exist. */
SKCONV_TRANSFORM skconv_winograd_output(int kernel, const skconv_real *m, ptrdiff_t plane, const skconv_real *bias,
                                        skconv_real *y, ptrdiff_t line, ptrdiff_t pixel, ptrdiff_t n_lines,
                                        ptrdiff_t n_pixels, int relu)
{
    const int points = kernel + 3;
    const skconv_steps rows = skconv_steps_of(points * plane), pixels = skconv_steps_of(pixel);
    SKCONV_ALIGNED skconv_vec t[SKCONV_TILE_LINES][SKCONV_MOST_POINTS];
    const skconv_vec start = bias ? *(const skconv_vec *)bias : (skconv_vec){0};
    SKCONV_EACH(kernel, j, points, {
        skconv_vec d[SKCONV_MOST_POINTS], o[SKCONV_TILE_LINES];
        SKCONV_UNROLL for (int i = 0; i < points; i++)
            d[i] = SKCONV_READ((const char *)m + skconv_step(&rows, i));
        skconv_line_at(kernel, d, o);
        SKCONV_UNROLL for (int i = 0; i < SKCONV_TILE_LINES; i++) t[i][j] = o[i];
        m += plane;
        SKCONV_HIDE(m);
    })
    SKCONV_EACH(kernel, i, SKCONV_TILE_LINES, {
        skconv_vec o[SKCONV_TILE_LINES];
        if (i >= n_lines)
            return;
        skconv_line_at(kernel, t[i], o);
        SKCONV_UNROLL for (int j = 0; j < SKCONV_TILE_LINES; j++)
        {
            skconv_vec r = o[j] + start;
            if (relu) /* r < 0 ? 0 : r keeps NaN */
                r = (skconv_vec)((skconv_ivec)r & ~(r < (skconv_vec){0}));
            if (j < n_pixels)
                SKCONV_AT((char *)y + skconv_step(&pixels, j)) = r;
        }
        y += line;
        SKCONV_HIDE(y);
    })
}

/* The weights' gradient is of the same family: the input correlated with a 2x2 tile of dz. F(3, 2) has the points 0, 1,
 * -1 and infinity: nothing is multiplied but by one and a half, so that it rounds no more than the direct sum does. Five
 * taps are three and two, each by an algorithm of its own, because six points would not be so kind: F(3, 2) and, on the
 * last three inputs, F(2, 2) with the points 0, 1 and infinity. 4 + 3 multiplications an axis in place of 10.
 */
SKCONV_TRANSFORM skconv_winograd_gradient_bt(int kernel, const skconv_vec *d, skconv_vec *o)
{
    o[0] = d[0] - d[2];
    o[1] = d[1] + d[2];
    o[2] = d[2] - d[1];
    o[3] = d[3] - d[1];
    if (kernel == 5) {
        o[4] = d[3] - d[4];
        o[5] = d[4];
        o[6] = d[5] - d[4];
    }
}

SKCONV_TRANSFORM skconv_winograd_gradient_at(int kernel, const skconv_vec *m, skconv_vec *o)
{
    const skconv_vec p = (skconv_real)0.5 * (m[1] + m[2]);
    o[0] = m[0] + p;
    o[1] = (skconv_real)0.5 * (m[1] - m[2]);
    o[2] = p + m[3];
    if (kernel == 5) {
        o[3] = m[4] + m[5];
        o[4] = m[5] + m[6];
    }
}

/* v[i, j] (planes apart) = B^T d B of 4x4 or 6x6 inputs for one vector of channels. */
SKCONV_TRANSFORM skconv_winograd_gradient_input(int kernel, const skconv_real *x, ptrdiff_t line, ptrdiff_t pixel,
                                                skconv_real *v, ptrdiff_t plane)
{
    const int inputs = kernel + 1, side = kernel == 3 ? 4 : 7;
    const skconv_steps lines = skconv_steps_of(line), planes = skconv_steps_of(plane);
    skconv_vec t[7][6];
    SKCONV_UNROLL for (int j = 0; j < inputs; j++)
    {
        skconv_vec d[6], o[7];
        SKCONV_UNROLL for (int i = 0; i < inputs; i++) d[i] = SKCONV_READ((const char *)x + skconv_step(&lines, i));
        skconv_winograd_gradient_bt(kernel, d, o);
        SKCONV_UNROLL for (int i = 0; i < side; i++) t[i][j] = o[i];
        x += pixel;
        SKCONV_HIDE(x);
    }
    SKCONV_UNROLL for (int i = 0; i < side; i++)
    {
        skconv_vec o[7];
        skconv_winograd_gradient_bt(kernel, t[i], o);
        SKCONV_UNROLL for (int j = 0; j < side; j++) SKCONV_AT((char *)v + skconv_step(&planes, j)) = o[j];
        v += side * plane;
        SKCONV_HIDE(v);
    }
}

/* z[i, j] (planes apart) = G dz G^T of a 2x2 tile by F(3, 2), G without its factors of a half; z[1, 1] is the tile's
 * sum. F(2, 2) wants the same rows but the third. */
SKCONV_TRANSFORM skconv_winograd_dz(const skconv_real *dz, ptrdiff_t line, ptrdiff_t pixel, skconv_real *z,
                                    ptrdiff_t plane)
{
    const skconv_steps planes = skconv_steps_of(plane);
    const skconv_vec a = *(const skconv_vec *)dz, b = *(const skconv_vec *)(dz + pixel);
    const skconv_vec c = *(const skconv_vec *)(dz + line), d = *(const skconv_vec *)(dz + line + pixel);
    const skconv_vec left[4] = {a, a + c, a - c, c}, right[4] = {b, b + d, b - d, d};
    SKCONV_UNROLL for (int i = 0; i < 4; i++)
    {
        SKCONV_AT(z) = left[i];
        SKCONV_AT((char *)z + skconv_step(&planes, 1)) = left[i] + right[i];
        SKCONV_AT((char *)z + skconv_step(&planes, 2)) = left[i] - right[i];
        SKCONV_AT((char *)z + skconv_step(&planes, 3)) = right[i];
        z += 4 * plane;
        SKCONV_HIDE(z);
    }
}

/* g[tap] (`tap` apart) += A^T m A for one vector of weights. */
SKCONV_TRANSFORM skconv_winograd_gradient(int kernel, const skconv_real *m, ptrdiff_t plane, skconv_real *g,
                                          ptrdiff_t tap)
{
    const int side = kernel == 3 ? 4 : 7;
    skconv_vec t[5][7];
    SKCONV_UNROLL for (int j = 0; j < side; j++)
    {
        skconv_vec d[7], o[5];
        SKCONV_UNROLL for (int i = 0; i < side; i++) d[i] = *(const skconv_vec *)(m + (side * i + j) * plane);
        skconv_winograd_gradient_at(kernel, d, o);
        SKCONV_UNROLL for (int i = 0; i < kernel; i++) t[i][j] = o[i];
    }
    SKCONV_UNROLL for (int i = 0; i < kernel; i++)
    {
        skconv_vec o[5];
        skconv_winograd_gradient_at(kernel, t[i], o);
        SKCONV_UNROLL for (int j = 0; j < kernel; j++) *(skconv_vec *)(g + (kernel * i + j) * tap) += o[j];
    }
}

#endif /* SKCONV_KERNELS */
#endif
