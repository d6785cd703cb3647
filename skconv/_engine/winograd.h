/* Winograd's F(4x4, 3x3) and F(2x2, 5x5): one tile of vectors.
 *
 *   Y = A^T [ (G g G^T) . (B^T d B) ] A      (Lavin and Gray, "Fast algorithms for convolutional neural networks",
 *                                             CVPR 2016, section 4; d 6x6 inputs, g 3x3 weights, Y 4x4 outputs)
 *
 * 36 multiplications in place of 144. B^T, G and A^T belong to the points 0, 1, -1, 2, -2 and infinity. With 5x5 weights
 * the same points, and so the same B^T, give 2x2 outputs: 36 multiplications in place of 100. G then takes higher powers
 * of the points, and A^T stops at lower ones.
 *
 * `kernel` is 3 or 5; callers name it as a constant, and every transform is inlined.
 */
#ifndef SKCONV_WINOGRAD_H
#define SKCONV_WINOGRAD_H

#include "tile.h"

#ifdef SKCONV_KERNELS

#define SKCONV_TRANSFORM __attribute__((always_inline)) static inline void

SKCONV_TRANSFORM skconv_winograd_bt(const skconv_vec d[6], skconv_vec o[6])
{
    const skconv_vec p = d[4] - 4 * d[2], q = d[3] - 4 * d[1], r = d[4] - d[2], s = d[3] - d[1];
    o[0] = r + 4 * (d[0] - d[2]); /* 4 d0 - 5 d2 + d4 */
    o[1] = p + q;
    o[2] = p - q;
    o[3] = r + 2 * s;
    o[4] = r - 2 * s;
    o[5] = (d[5] - d[3]) - 4 * s; /* 4 d1 - 5 d3 + d5 */
}

SKCONV_TRANSFORM skconv_winograd_g(int kernel, const skconv_vec *g, skconv_vec o[6])
{
    skconv_vec p = g[0] + g[2], q = g[1];
    skconv_vec r = g[0] * (skconv_real)(1.0 / 24) + g[2] * (skconv_real)(1.0 / 6), s = g[1] * (skconv_real)(1.0 / 12);
    if (kernel == 5) {
        p += g[4];
        q += g[3];
        r += g[4] * (skconv_real)(2.0 / 3);
        s += g[3] * (skconv_real)(1.0 / 3);
    }
    p *= (skconv_real)(-1.0 / 6);
    q *= (skconv_real)(-1.0 / 6);
    o[0] = g[0] * (skconv_real)0.25;
    o[1] = p + q;
    o[2] = p - q;
    o[3] = r + s;
    o[4] = r - s;
    o[5] = g[kernel - 1];
}

SKCONV_TRANSFORM skconv_winograd_at(int kernel, const skconv_vec m[6], skconv_vec *o)
{
    const skconv_vec a = m[1] + m[2], b = m[1] - m[2], c = m[3] + m[4], d = m[3] - m[4];
    o[0] = m[0] + a + c;
    o[1] = b + 2 * d;
    if (kernel == 3) {
        o[2] = a + 4 * c;
        o[3] = b + 8 * d;
    }
    o[6 - kernel] += m[5];
}

/* v[i, j] (planes apart) = B^T d B for one vector of channels. */
SKCONV_TRANSFORM skconv_winograd_input(const skconv_real *x, ptrdiff_t line, ptrdiff_t pixel, skconv_real *v,
                                       ptrdiff_t plane)
{
    skconv_vec t[6][6];
    SKCONV_UNROLL for (int j = 0; j < 6; j++)
    {
        skconv_vec d[6], o[6];
        SKCONV_UNROLL for (int i = 0; i < 6; i++) d[i] = *(const skconv_vec *)(x + i * line + j * pixel);
        skconv_winograd_bt(d, o);
        SKCONV_UNROLL for (int i = 0; i < 6; i++) t[i][j] = o[i];
    }
    SKCONV_UNROLL for (int i = 0; i < 6; i++)
    {
        skconv_vec o[6];
        skconv_winograd_bt(t[i], o);
        SKCONV_UNROLL for (int j = 0; j < 6; j++) *(skconv_vec *)(v + (6 * i + j) * plane) = o[j];
    }
}

/* u[i, j] (planes apart) = G g G^T for one vector of filters; taps are `tap` apart, from the last one backwards where
 * `tap` is negative. */
SKCONV_TRANSFORM skconv_winograd_weights(int kernel, const skconv_real *g, ptrdiff_t tap, skconv_real *u,
                                         ptrdiff_t plane)
{
    skconv_vec t[6][5];
    SKCONV_UNROLL for (int j = 0; j < kernel; j++)
    {
        skconv_vec d[5], o[6];
        SKCONV_UNROLL for (int i = 0; i < kernel; i++) d[i] = *(const skconv_vec *)(g + (kernel * i + j) * tap);
        skconv_winograd_g(kernel, d, o);
        SKCONV_UNROLL for (int i = 0; i < 6; i++) t[i][j] = o[i];
    }
    SKCONV_UNROLL for (int i = 0; i < 6; i++)
    {
        skconv_vec o[6];
        skconv_winograd_g(kernel, t[i], o);
        SKCONV_UNROLL for (int j = 0; j < 6; j++) *(skconv_vec *)(u + (6 * i + j) * plane) = o[j];
    }
}

/* y[i, j] = A^T m A + bias for one vector of filters; only the first n_lines x n_pixels exist. */
SKCONV_TRANSFORM skconv_winograd_output(int kernel, const skconv_real *m, ptrdiff_t plane, const skconv_real *bias,
                                        skconv_real *y, ptrdiff_t line, ptrdiff_t pixel, ptrdiff_t n_lines,
                                        ptrdiff_t n_pixels, int relu)
{
    const int side = 7 - kernel;
    skconv_vec t[4][6];
    const skconv_vec start = bias ? *(const skconv_vec *)bias : (skconv_vec){0};
    SKCONV_UNROLL for (int j = 0; j < 6; j++)
    {
        skconv_vec d[6], o[4];
        SKCONV_UNROLL for (int i = 0; i < 6; i++) d[i] = *(const skconv_vec *)(m + (6 * i + j) * plane);
        skconv_winograd_at(kernel, d, o);
        SKCONV_UNROLL for (int i = 0; i < side; i++) t[i][j] = o[i];
    }
    SKCONV_UNROLL for (int i = 0; i < side; i++)
    {
        skconv_vec o[4];
        skconv_winograd_at(kernel, t[i], o);
        SKCONV_UNROLL for (int j = 0; j < side; j++)
        {
            skconv_vec r = o[j] + start;
            if (relu) /* r < 0 ? 0 : r keeps NaN */
                r = (skconv_vec)((skconv_ivec)r & ~(r < (skconv_vec){0}));
            if (i < n_lines && j < n_pixels)
                *(skconv_vec *)(y + i * line + j * pixel) = r;
        }
    }
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
    skconv_vec t[7][6];
    SKCONV_UNROLL for (int j = 0; j < inputs; j++)
    {
        skconv_vec d[6], o[7];
        SKCONV_UNROLL for (int i = 0; i < inputs; i++) d[i] = *(const skconv_vec *)(x + i * line + j * pixel);
        skconv_winograd_gradient_bt(kernel, d, o);
        SKCONV_UNROLL for (int i = 0; i < side; i++) t[i][j] = o[i];
    }
    SKCONV_UNROLL for (int i = 0; i < side; i++)
    {
        skconv_vec o[7];
        skconv_winograd_gradient_bt(kernel, t[i], o);
        SKCONV_UNROLL for (int j = 0; j < side; j++) *(skconv_vec *)(v + (side * i + j) * plane) = o[j];
    }
}

/* z[i, j] (planes apart) = G dz G^T of a 2x2 tile by F(3, 2), G without its factors of a half; z[1, 1] is the tile's
 * sum. F(2, 2) wants the same rows but the third. */
SKCONV_TRANSFORM skconv_winograd_dz(const skconv_real *dz, ptrdiff_t line, ptrdiff_t pixel, skconv_real *z,
                                    ptrdiff_t plane)
{
    const skconv_vec a = *(const skconv_vec *)dz, b = *(const skconv_vec *)(dz + pixel);
    const skconv_vec c = *(const skconv_vec *)(dz + line), d = *(const skconv_vec *)(dz + line + pixel);
    const skconv_vec left[4] = {a, a + c, a - c, c}, right[4] = {b, b + d, b - d, d};
    SKCONV_UNROLL for (int i = 0; i < 4; i++)
    {
        *(skconv_vec *)(z + 4 * i * plane) = left[i];
        *(skconv_vec *)(z + (4 * i + 1) * plane) = left[i] + right[i];
        *(skconv_vec *)(z + (4 * i + 2) * plane) = left[i] - right[i];
        *(skconv_vec *)(z + (4 * i + 3) * plane) = right[i];
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
