"""The kernels of one instruction set and one precision, as a table of functions.

This file is compiled several times (meson.build): with other compiler flags for every instruction set, with
SKCONV_DOUBLE for double precision.  What it holds is only the table: the kernels themselves are in the .pxd files.
"""
from cpython.pycapsule cimport PyCapsule_New
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from .kernels.activation cimport activate, activation_gradient
from .kernels.augment cimport adjust_line, normal_values, random_words, reverse_line, uniform_values, warp_line
from .kernels.contrast cimport (
    blur_line, channel_means, contrast_gradient, divide_line, divisor_gradient, root_gradient, root_line, scale_line,
    subtract_line, subtract_means,
)
from .kernels.depthwise cimport add_repeats, depthwise, repeat_channels
from .kernels.normalization cimport channel_moments, gradient_moments, normalize, normalize_gradient
from .kernels.pooling cimport (
    average_pool_pixels, average_unpool_line, lp_pool_pixels, lp_unpool_line, max_pool_line, max_pool_pixels,
    max_unpool_line,
)
from .kernels.lines cimport convolve_lines, least_line
from .kernels.product cimport LANES, add_band, band, column_sums, dots, product, transpose
from .kernels.random cimport dropout
from .kernels.real cimport real
from .kernels.separable cimport (
    combine_moments, combine_moments_gradient, gather, line_moments, modulus, modulus_gradient, moments_out,
    pixel_moments, pixel_moments_gradient, respond, store_pixels,
)
from .kernels.slopes cimport add_slopes, slope_columns
from .table cimport Clip, Kernels, Lines, PlaneLines, PlanePoints, Product, Run, Update, Warp, Windows
from .kernels.loss cimport softmax_cross_entropy, value_loss
from .kernels.training cimport adam, add_buffers, average, join_buffers, load_line, sgd, softmax
from .kernels.winograd cimport (
    winograd_gradient,
    winograd_gradient_factors,
    winograd_input,
    winograd_output,
    winograd_products,
    winograd_weights,
    plane_vectors,
)
from .kernels.winograd_lines cimport (
    channel_input, channel_lines, line_parts, line_points, winograd_lines_input, winograd_lines_output,
    winograd_lines_pixels, winograd_lines_weights,
)

cdef extern from "planes.h" nogil:
    void plane_weights "skconv_plane_weights"(const PlaneLines *p, const real *w, bint reverse, real *out)
    void convolve_planes "skconv_convolve_planes"(
        const PlaneLines *p, Py_ssize_t n_lines, const real *x, const real *w, const real *bias,
        const Run *kernel_rows, real *y, bint relu, real *planes, real *z)
    const Py_ssize_t plane_filters "skconv_plane_filters"

cdef extern from "winograd_planes.h" nogil:
    void points_weights "skconv_plane_points_weights"(const PlanePoints *s, const real *w, bint reverse, real *out)
    void points_load "skconv_planes_points_load"(const PlanePoints *s, Py_ssize_t n_tiles, Py_ssize_t first,
                                                 const real *x, real *planes, real *v)
    void points_multiply "skconv_planes_points_multiply"(
        const PlanePoints *s, Py_ssize_t n_lines, const real *v, const real *w, const real *bias, bint relu, real *z,
        real *y, const char *ahead, Py_ssize_t n_ahead, const char *next, Py_ssize_t n_next)
    void points_store "skconv_planes_points_store"(const PlanePoints *s, Py_ssize_t n_lines, const real *planes,
                                                   real *y)

cdef extern from "rows.h" nogil:
    bint rows "skconv_rows"(const real *x, Py_ssize_t n_pixels, Py_ssize_t depth, const real *w, Py_ssize_t n_columns,
                            const real *bias, bint relu, real *y, real largest)

cdef extern from "tile.h" nogil:
    bint all_finite "skconv_all_finite"(const real *x, Py_ssize_t n, real largest)
    bint copy_lines "skconv_copy_lines"(const real *x, Py_ssize_t n_lines, Py_ssize_t n, real *y, Py_ssize_t y_line,
                                        real largest)
    real fma_chains "skconv_fma_chains"(Py_ssize_t n)
    const Py_ssize_t fma_flops "skconv_fma_flops"


cdef void _convolve_lines(const Lines *p, Py_ssize_t n_lines, const void *x, const void *w, const void *bias, void *y,
                          bint relu) noexcept nogil:
    convolve_lines(p, n_lines, <const real *> x, <const real *> w, <const real *> bias, <real *> y, relu)


cdef void _slopes(const Product *p, Py_ssize_t kernel, Py_ssize_t n_groups, const Run *lines, Py_ssize_t n_rows,
                  Py_ssize_t n_columns, const void *A, const Py_ssize_t *a_rows, const void *B, void *C,
                  const Py_ssize_t *c_rows, Py_ssize_t c_tap, bint left, bint right) noexcept nogil:
    add_slopes(p, kernel, n_groups, lines, n_rows, n_columns, <const real *> A, a_rows, <const real *> B, <real *> C,
               c_rows, c_tap, left, right)


cdef void _plane_weights(const PlaneLines *p, const void *w, bint reverse, void *out) noexcept nogil:
    plane_weights(p, <const real *> w, reverse, <real *> out)


cdef void _convolve_planes(const PlaneLines *p, Py_ssize_t n_lines, const void *x, const void *w, const void *bias,
                           const Run *kernel_rows, void *y, bint relu, void *planes, void *z) noexcept nogil:
    convolve_planes(p, n_lines, <const real *> x, <const real *> w, <const real *> bias, kernel_rows,
                    <real *> y, relu, <real *> planes, <real *> z)


cdef void _plane_points_weights(const PlanePoints *s, const void *w, bint reverse, void *out) noexcept nogil:
    points_weights(s, <const real *> w, reverse, <real *> out)


cdef void _plane_points_load(const PlanePoints *s, Py_ssize_t n_tiles, Py_ssize_t first, const void *x, void *planes,
                             void *v) noexcept nogil:
    points_load(s, n_tiles, first, <const real *> x, <real *> planes, <real *> v)


cdef void _plane_points_multiply(const PlanePoints *s, Py_ssize_t n_lines, const void *v, const void *w,
                                 const void *bias, bint relu, void *z, void *y, const char *ahead,
                                 Py_ssize_t n_ahead, const char *next, Py_ssize_t n_next) noexcept nogil:
    points_multiply(s, n_lines, <const real *> v, <const real *> w, <const real *> bias, relu, <real *> z, <real *> y,
                    ahead, n_ahead, next, n_next)


cdef void _plane_points_store(const PlanePoints *s, Py_ssize_t n_lines, const void *planes, void *y) noexcept nogil:
    points_store(s, n_lines, <const real *> planes, <real *> y)


cdef void _product(const Product *p, Py_ssize_t n_rows, Py_ssize_t n_columns, const void *A, const Py_ssize_t *a_rows,
                   const void *B, int start, const void *bias, void *C, const Py_ssize_t *c_rows,
                   bint relu) noexcept nogil:
    product(p, n_rows, n_columns, <const real *> A, a_rows, <const real *> B, start, <const real *> bias, <real *> C,
            c_rows, relu, NULL, 0)


cdef void _product_ahead(const Product *p, Py_ssize_t n_rows, Py_ssize_t n_columns, const void *A,
                         const Py_ssize_t *a_rows, const void *B, int start, const void *bias, void *C,
                         const Py_ssize_t *c_rows, bint relu, const char *ahead, Py_ssize_t n_ahead) noexcept nogil:
    product(p, n_rows, n_columns, <const real *> A, a_rows, <const real *> B, start, <const real *> bias, <real *> C,
            c_rows, relu, ahead, n_ahead)


cdef void _depthwise(const Product *p, Py_ssize_t n_rows, Py_ssize_t n_columns, const void *A,
                     const Py_ssize_t *a_rows, const void *B, int start, const void *bias, void *C,
                     const Py_ssize_t *c_rows, bint relu) noexcept nogil:
    depthwise(p, n_rows, n_columns, <const real *> A, a_rows, <const real *> B, start, <const real *> bias, <real *> C,
              c_rows, relu)


cdef bint _rows(const void *x, Py_ssize_t n_pixels, Py_ssize_t depth, const void *w, Py_ssize_t n_columns,
                const void *bias, bint relu, void *y, double largest) noexcept nogil:
    return rows(<const real *> x, n_pixels, depth, <const real *> w, n_columns, <const real *> bias, relu, <real *> y,
                <real> largest)


cdef void _repeat_channels(const void *x, Py_ssize_t n, Py_ssize_t times, void *y) noexcept nogil:
    repeat_channels(<const real *> x, n, times, <real *> y)


cdef void _add_repeats(const void *dy, Py_ssize_t n, Py_ssize_t times, void *dx) noexcept nogil:
    add_repeats(<const real *> dy, n, times, <real *> dx)


cdef void _transpose(const void *W, Py_ssize_t n_rows, Py_ssize_t n_columns, Py_ssize_t stride,
                     void *out) noexcept nogil:
    transpose(<const real *> W, n_rows, n_columns, stride, <real *> out)


cdef void _band(const void *w, Py_ssize_t n_rows, Py_ssize_t kernel, Py_ssize_t depth, Py_ssize_t n_columns,
                Py_ssize_t n_pixels, bint reverse, void *out) noexcept nogil:
    band(<const real *> w, n_rows, kernel, depth, n_columns, n_pixels, reverse, <real *> out)


cdef void _add_band(const void *sums, Py_ssize_t n_rows, Py_ssize_t kernel, Py_ssize_t depth, Py_ssize_t n_columns,
                    Py_ssize_t n_pixels, void *out) noexcept nogil:
    add_band(<const real *> sums, n_rows, kernel, depth, n_columns, n_pixels, <real *> out)


cdef void _dots(const void *x, Py_ssize_t n_rows, Py_ssize_t n, const void *w, Py_ssize_t n_columns,
                void *y) noexcept nogil:
    dots(<const real *> x, n_rows, n, <const real *> w, n_columns, <real *> y)


cdef void _column_sums(const void *x, Py_ssize_t n_rows, Py_ssize_t n_columns, Py_ssize_t stride,
                       void *sums) noexcept nogil:
    column_sums(<const real *> x, n_rows, n_columns, stride, <real *> sums)


cdef void _winograd_input(Py_ssize_t kernel, const void *x, Py_ssize_t line, Py_ssize_t n_channels,
                          Py_ssize_t tile_rows, Py_ssize_t tile_columns, void *v, Py_ssize_t plane,
                          Py_ssize_t block) noexcept nogil:
    winograd_input(kernel, <const real *> x, line, n_channels, tile_rows, tile_columns, <real *> v, plane, block)


cdef void _winograd_weights(Py_ssize_t kernel, const void *w, Py_ssize_t n_channels, Py_ssize_t n_filters,
                            bint reverse, void *u, Py_ssize_t plane) noexcept nogil:
    winograd_weights(kernel, <const real *> w, n_channels, n_filters, reverse, <real *> u, plane)


cdef void _winograd_products(Py_ssize_t n_planes, Py_ssize_t n_tiles, Py_ssize_t n_channels, Py_ssize_t n_filters,
                             const void *v, Py_ssize_t v_plane, const void *u, Py_ssize_t u_plane, void *m,
                             Py_ssize_t m_plane, Py_ssize_t block, const char *ahead,
                             Py_ssize_t n_ahead) noexcept nogil:
    winograd_products(n_planes, n_tiles, n_channels, n_filters, <const real *> v, v_plane, <const real *> u, u_plane,
                      <real *> m, m_plane, block, ahead, n_ahead)


cdef void _winograd_output(Py_ssize_t kernel, const void *m, Py_ssize_t plane, Py_ssize_t block, Py_ssize_t n_filters,
                           const void *bias, void *y, Py_ssize_t line, Py_ssize_t pixel, Py_ssize_t n_lines,
                           Py_ssize_t n_pixels, bint relu) noexcept nogil:
    winograd_output(kernel, <const real *> m, plane, block, n_filters, <const real *> bias, <real *> y, line, pixel,
                    n_lines, n_pixels, relu)


cdef void _winograd_gradient_factors(Py_ssize_t kernel, const void *x, Py_ssize_t x_line, Py_ssize_t n_channels,
                                     const void *dz, Py_ssize_t dz_line, Py_ssize_t n_filters, Py_ssize_t tile_rows,
                                     Py_ssize_t tile_columns, void *v, Py_ssize_t v_plane, void *z,
                                     Py_ssize_t z_plane) noexcept nogil:
    winograd_gradient_factors(kernel, <const real *> x, x_line, n_channels, <const real *> dz, dz_line, n_filters,
                              tile_rows, tile_columns, <real *> v, v_plane, <real *> z, z_plane)


cdef void _winograd_gradient(Py_ssize_t kernel, const void *m, Py_ssize_t plane, Py_ssize_t n, void *g) noexcept nogil:
    winograd_gradient(kernel, <const real *> m, plane, n, <real *> g)


cdef void _winograd_lines_input(Py_ssize_t kernel, const void *x, Py_ssize_t line, Py_ssize_t n, void *v,
                                Py_ssize_t plane) noexcept nogil:
    winograd_lines_input(kernel, <const real *> x, line, n, <real *> v, plane)


cdef void _winograd_lines_weights(Py_ssize_t kernel, const void *w, Py_ssize_t n, bint reverse, void *u) noexcept nogil:
    winograd_lines_weights(kernel, <const real *> w, n, reverse, <real *> u)


cdef void _winograd_lines_output(Py_ssize_t kernel, const void *m, Py_ssize_t plane, Py_ssize_t n, void *y,
                                 Py_ssize_t line, Py_ssize_t n_lines, bint relu) noexcept nogil:
    winograd_lines_output(kernel, <const real *> m, plane, n, <real *> y, line, n_lines, relu)


cdef void _channel_input(const void *x, Py_ssize_t line, Py_ssize_t first, Py_ssize_t height, Py_ssize_t n,
                         Py_ssize_t before, Py_ssize_t seen, void *v, Py_ssize_t plane) noexcept nogil:
    channel_input(<const real *> x, line, first, height, n, before, seen, <real *> v, plane)


cdef void _channel_lines(const void *v, Py_ssize_t plane, const void *u, Py_ssize_t n, const void *bias, void *y,
                         Py_ssize_t line, Py_ssize_t pixel, Py_ssize_t width, Py_ssize_t n_lines, bint relu,
                         const char *ahead, Py_ssize_t n_ahead) noexcept nogil:
    channel_lines(<const real *> v, plane, <const real *> u, n, <const real *> bias, <real *> y, line, pixel, width,
                  n_lines, relu, ahead, n_ahead)


cdef void _winograd_lines_pixels(Py_ssize_t kernel, const void *m, Py_ssize_t plane, Py_ssize_t m_pixel,
                                 Py_ssize_t n_pixels, Py_ssize_t n_columns, void *y, Py_ssize_t line,
                                 Py_ssize_t y_pixel, Py_ssize_t n_lines, bint relu) noexcept nogil:
    winograd_lines_pixels(kernel, <const real *> m, plane, m_pixel, n_pixels, n_columns, <real *> y, line, y_pixel,
                          n_lines, relu)


cdef void _max_pool_line(const Windows *w, Py_ssize_t d, Py_ssize_t h, const void *x, Py_ssize_t d0, Py_ssize_t h0,
                         void *y, uint8_t *index, int32_t *wide, Clip *clip) noexcept nogil:
    max_pool_line(w, d, h, <const real *> x, d0, h0, <real *> y, index, wide, clip)


cdef void _max_unpool_line(const Windows *w, Py_ssize_t d, Py_ssize_t h, const void *dy, const uint8_t *index,
                           const int32_t *wide, void *dx, Clip *clip) noexcept nogil:
    max_unpool_line(w, d, h, <const real *> dy, index, wide, <real *> dx, clip)


cdef void _max_pool_pixels(const Windows *w, Py_ssize_t d, Py_ssize_t h, Py_ssize_t first, Py_ssize_t last,
                           const void *x, void *y, uint8_t *index, int32_t *wide, Clip *clip) noexcept nogil:
    max_pool_pixels(w, d, h, first, last, <const real *> x, 0, 0, <real *> y, index, wide, clip)


cdef void _average_pool_pixels(const Windows *w, Py_ssize_t d, Py_ssize_t h, Py_ssize_t first, Py_ssize_t last,
                               const void *x, void *y, Clip *clip) noexcept nogil:
    average_pool_pixels(w, d, h, first, last, <const real *> x, <real *> y, clip)


cdef void _average_unpool_line(const Windows *w, Py_ssize_t d, Py_ssize_t h, const void *dy, void *dx,
                               Clip *clip) noexcept nogil:
    average_unpool_line(w, d, h, <const real *> dy, <real *> dx, clip)


cdef void _lp_pool_pixels(const Windows *w, Py_ssize_t d, Py_ssize_t h, Py_ssize_t first, Py_ssize_t last,
                          const void *x, void *y, Clip *clip) noexcept nogil:
    lp_pool_pixels(w, d, h, first, last, <const real *> x, <real *> y, clip)


cdef void _lp_unpool_line(const Windows *w, Py_ssize_t d, Py_ssize_t h, const void *x, const void *y, const void *dy,
                          void *dx, Clip *clip) noexcept nogil:
    lp_unpool_line(w, d, h, <const real *> x, <const real *> y, <const real *> dy, <real *> dx, clip)


cdef void _gather(const void *x, const Py_ssize_t *at, Py_ssize_t n, void *out) noexcept nogil:
    gather(<const real *> x, at, n, <real *> out)


cdef void _respond(int kind, const void *q, Py_ssize_t n, Py_ssize_t n_real, Py_ssize_t n_imaginary,
                   const Py_ssize_t *at, const void *factors, void *out) noexcept nogil:
    respond(kind, <const real *> q, n, n_real, n_imaginary, at, <const real *> factors, <real *> out)


cdef void _store_pixels(const void *lines, Py_ssize_t line, Py_ssize_t n_filters, Py_ssize_t n_pixels, void *y,
                        Py_ssize_t pixel) noexcept nogil:
    store_pixels(<const real *> lines, line, n_filters, n_pixels, <real *> y, pixel)


cdef void _line_moments(const void *lines, Py_ssize_t line, Py_ssize_t n_filters, Py_ssize_t n, double n_before,
                        double *moments) noexcept nogil:
    line_moments(<const real *> lines, line, n_filters, n, n_before, moments)


cdef void _pixel_moments(const void *x, Py_ssize_t n, Py_ssize_t n_channels, double n_before, void *sums,
                         double *moments) noexcept nogil:
    pixel_moments(<const real *> x, n, n_channels, n_before, <real *> sums, moments)


cdef void _moments_out(const double *moments, Py_ssize_t n, void *out) noexcept nogil:
    moments_out(moments, n, <real *> out)


cdef void _pixel_moments_gradient(const void *x, Py_ssize_t n, Py_ssize_t n_channels, const void *y, const void *dy,
                                  double count, void *dx) noexcept nogil:
    pixel_moments_gradient(<const real *> x, n, n_channels, <const real *> y, <const real *> dy, count, <real *> dx)


cdef void _combine_moments(const void *blocks, const double *counts, Py_ssize_t n_blocks, Py_ssize_t n_channels,
                           void *y) noexcept nogil:
    combine_moments(<const real *> blocks, counts, n_blocks, n_channels, <real *> y)


cdef void _combine_moments_gradient(const void *blocks, const double *counts, Py_ssize_t n_blocks,
                                    Py_ssize_t n_channels, const void *y, const void *dy, void *dx) noexcept nogil:
    combine_moments_gradient(<const real *> blocks, counts, n_blocks, n_channels, <const real *> y, <const real *> dy,
                             <real *> dx)


cdef void _modulus(int kind, const void *x, Py_ssize_t n_groups, Py_ssize_t n, void *y) noexcept nogil:
    modulus(kind, <const real *> x, n_groups, n, <real *> y)


cdef void _modulus_gradient(int kind, const void *x, const void *y, const void *dy, Py_ssize_t n_groups,
                            Py_ssize_t n, void *dx) noexcept nogil:
    modulus_gradient(kind, <const real *> x, <const real *> y, <const real *> dy, n_groups, n, <real *> dx)


cdef void _activate(int kind, void *x, Py_ssize_t n) noexcept nogil:
    activate(kind, <real *> x, n)


cdef void _activation_gradient(int kind, const void *y, const void *dy, void *dz, Py_ssize_t n) noexcept nogil:
    activation_gradient(kind, <const real *> y, <const real *> dy, <real *> dz, n)


cdef void _dropout(const void *x, void *y, Py_ssize_t n, double rate, uint64_t seed, uint64_t layer, uint64_t epoch,
                   uint64_t sample, Py_ssize_t first_block) noexcept nogil:
    dropout(<const real *> x, <real *> y, n, rate, seed, layer, epoch, sample, first_block)


cdef void _channel_moments(const void *x, Py_ssize_t n, Py_ssize_t row, const double *origin, double *sums,
                           double *squares) noexcept nogil:
    channel_moments(<const real *> x, n, row, origin, sums, squares)


cdef void _normalize(const void *x, Py_ssize_t n, Py_ssize_t row, const void *mean, const void *scale,
                     const void *shift, bint relu, void *y) noexcept nogil:
    normalize(<const real *> x, n, row, <const real *> mean, <const real *> scale, <const real *> shift, relu,
              <real *> y)


cdef void _gradient_moments(const void *dz, const void *x, Py_ssize_t n, Py_ssize_t row, const void *mean,
                            double *sums, double *products) noexcept nogil:
    gradient_moments(<const real *> dz, <const real *> x, n, row, <const real *> mean, sums, products)


cdef void _normalize_gradient(void *dz, const void *x, Py_ssize_t n, Py_ssize_t row, const void *mean,
                              const void *scale, const void *slope, const void *dz_mean) noexcept nogil:
    normalize_gradient(<real *> dz, <const real *> x, n, row, <const real *> mean, <const real *> scale,
                       <const real *> slope, <const real *> dz_mean)


cdef void _blur_line(const void *x, Py_ssize_t step, Py_ssize_t n_taps, const void *weights, Py_ssize_t n,
                     const void *factors, double factor, void *out) noexcept nogil:
    blur_line(<const real *> x, step, n_taps, <const real *> weights, n, <const real *> factors, factor, <real *> out)


cdef void _scale_line(const void *x, Py_ssize_t n, const void *factors, double factor, void *out) noexcept nogil:
    scale_line(<const real *> x, n, <const real *> factors, factor, <real *> out)


cdef void _channel_means(const void *x, Py_ssize_t n, Py_ssize_t n_channels, const void *origin,
                         void *means) noexcept nogil:
    channel_means(<const real *> x, n, n_channels, <const real *> origin, <real *> means)


cdef void _subtract_line(const void *x, Py_ssize_t n, Py_ssize_t n_channels, const void *origin, const void *means,
                         void *v, void *squares) noexcept nogil:
    subtract_line(<const real *> x, n, n_channels, <const real *> origin, <const real *> means, <real *> v,
                  <real *> squares)


cdef double _root_line(void *x, Py_ssize_t n) noexcept nogil:
    return root_line(<real *> x, n)


cdef void _divide_line(void *v, Py_ssize_t n, Py_ssize_t n_channels, const void *deviations,
                       double floor) noexcept nogil:
    divide_line(<real *> v, n, n_channels, <const real *> deviations, floor)


cdef double _divisor_gradient(const void *dy, const void *y, Py_ssize_t n, Py_ssize_t n_channels,
                              const void *deviations, double floor, void *slopes) noexcept nogil:
    return divisor_gradient(<const real *> dy, <const real *> y, n, n_channels, <const real *> deviations, floor,
                            <real *> slopes)


cdef void _root_gradient(void *slopes, const void *deviations, Py_ssize_t n, double share) noexcept nogil:
    root_gradient(<real *> slopes, <const real *> deviations, n, share)


cdef void _contrast_gradient(const void *dy, const void *y, Py_ssize_t n, Py_ssize_t n_channels,
                             const void *deviations, double floor, const void *slopes, void *dv,
                             void *means) noexcept nogil:
    contrast_gradient(<const real *> dy, <const real *> y, n, n_channels, <const real *> deviations, floor,
                      <const real *> slopes, <real *> dv, <real *> means)


cdef void _subtract_means(void *dx, Py_ssize_t n, Py_ssize_t n_channels, const void *means) noexcept nogil:
    subtract_means(<real *> dx, n, n_channels, <const real *> means)


cdef void _random_words(uint64_t seed, uint64_t layer, uint64_t epoch, uint64_t sample, uint32_t first,
                        uint32_t *words) noexcept nogil:
    random_words(seed, layer, epoch, sample, first, words)


cdef void _uniform_values(Py_ssize_t n, double largest, uint64_t seed, uint64_t layer, uint64_t epoch, uint64_t sample,
                          uint32_t first, void *u) noexcept nogil:
    uniform_values(n, largest, seed, layer, epoch, sample, first, <real *> u)


cdef void _normal_values(Py_ssize_t n, uint64_t seed, uint64_t layer, uint64_t epoch, uint64_t sample, uint32_t first,
                         void *z) noexcept nogil:
    normal_values(n, seed, layer, epoch, sample, first, <real *> z)


cdef void _warp_line(const Warp *w, Py_ssize_t h, const void *x, const void *u, void *y) noexcept nogil:
    warp_line(w, h, <const real *> x, <const real *> u, <real *> y)


cdef void _reverse_line(void *x, Py_ssize_t n_pixels, Py_ssize_t channels) noexcept nogil:
    reverse_line(<real *> x, n_pixels, channels)


cdef void _adjust_line(void *y, Py_ssize_t n, double factor, double offset, double deviation,
                       const void *z) noexcept nogil:
    adjust_line(<real *> y, n, factor, offset, deviation, <const real *> z)


cdef void _load_line(int source, const void *x, Py_ssize_t n, const void *mean, const void *scale,
                     void *y) noexcept nogil:
    load_line(source, x, n, <const real *> mean, <const real *> scale, <real *> y)


cdef bint _all_finite(const void *x, Py_ssize_t n, double largest) noexcept nogil:
    return all_finite(<const real *> x, n, <real> largest)


cdef bint _copy_lines(const void *x, Py_ssize_t n_lines, Py_ssize_t n, void *y, Py_ssize_t y_line,
                      double largest) noexcept nogil:
    return copy_lines(<const real *> x, n_lines, n, <real *> y, y_line, <real> largest)


cdef void _softmax(void *x, Py_ssize_t n) noexcept nogil:
    softmax(<real *> x, n)


cdef double _softmax_cross_entropy(const void *logits, Py_ssize_t n_classes, Py_ssize_t target, double smoothing,
                                   double scale, void *gradient, bint *correct) noexcept nogil:
    return softmax_cross_entropy(<const real *> logits, n_classes, target, smoothing, scale, <real *> gradient,
                                 correct)


cdef double _value_loss(int kind, double parameter, const void *outputs, const void *targets, Py_ssize_t n,
                        double scale, void *gradient) noexcept nogil:
    return value_loss(kind, parameter, <const real *> outputs, <const real *> targets, n, scale, <real *> gradient)


cdef void _adam(const Update *u, const void *gradients, void *weights, void *m, void *v) noexcept nogil:
    adam(u, <const real *> gradients, <real *> weights, <real *> m, <real *> v)


cdef void _sgd(const Update *u, const void *gradients, void *weights, void *velocity) noexcept nogil:
    sgd(u, <const real *> gradients, <real *> weights, <real *> velocity)


cdef void _add_buffers(const Update *u, const void *gradients, const void *weights, void *out) noexcept nogil:
    add_buffers(u, <const real *> gradients, <const real *> weights, <real *> out)


cdef double _join_buffers(const Update *u, void *gradients) noexcept nogil:
    return join_buffers(u, <real *> gradients)


cdef void _average(const void *weights, Py_ssize_t n, double share, void *out) noexcept nogil:
    average(<const real *> weights, n, share, <real *> out)


cdef double _fma_chains(Py_ssize_t n) noexcept nogil:
    return <double> fma_chains(n)


cdef Kernels kernels
kernels.itemsize = sizeof(real)
kernels.lanes = LANES
kernels.plane_vectors = plane_vectors
kernels.product = _product
kernels.convolve_lines = _convolve_lines
kernels.least_line = least_line
kernels.slopes = _slopes
kernels.slope_columns = slope_columns
kernels.product_ahead = _product_ahead
kernels.depthwise = _depthwise
kernels.rows = _rows
kernels.plane_weights = _plane_weights
kernels.convolve_planes = _convolve_planes
kernels.plane_filters = plane_filters
kernels.plane_points_weights = _plane_points_weights
kernels.plane_points_load = _plane_points_load
kernels.plane_points_multiply = _plane_points_multiply
kernels.plane_points_store = _plane_points_store
kernels.repeat_channels = _repeat_channels
kernels.add_repeats = _add_repeats
kernels.transpose = _transpose
kernels.band = _band
kernels.add_band = _add_band
kernels.dots = _dots
kernels.column_sums = _column_sums
kernels.winograd_input = _winograd_input
kernels.winograd_weights = _winograd_weights
kernels.winograd_products = _winograd_products
kernels.winograd_output = _winograd_output
kernels.winograd_gradient_factors = _winograd_gradient_factors
kernels.winograd_gradient = _winograd_gradient
kernels.line_points = line_points
kernels.line_parts = line_parts
kernels.winograd_lines_input = _winograd_lines_input
kernels.winograd_lines_weights = _winograd_lines_weights
kernels.winograd_lines_output = _winograd_lines_output
kernels.winograd_lines_pixels = _winograd_lines_pixels
kernels.channel_input = _channel_input
kernels.channel_lines = _channel_lines
kernels.max_pool_line = _max_pool_line
kernels.max_unpool_line = _max_unpool_line
kernels.max_pool_pixels = _max_pool_pixels
kernels.average_pool_pixels = _average_pool_pixels
kernels.average_unpool_line = _average_unpool_line
kernels.lp_pool_pixels = _lp_pool_pixels
kernels.lp_unpool_line = _lp_unpool_line
kernels.gather = _gather
kernels.respond = _respond
kernels.store_pixels = _store_pixels
kernels.line_moments = _line_moments
kernels.pixel_moments = _pixel_moments
kernels.moments_out = _moments_out
kernels.pixel_moments_gradient = _pixel_moments_gradient
kernels.combine_moments = _combine_moments
kernels.combine_moments_gradient = _combine_moments_gradient
kernels.modulus = _modulus
kernels.modulus_gradient = _modulus_gradient
kernels.activate = _activate
kernels.activation_gradient = _activation_gradient
kernels.dropout = _dropout
kernels.channel_moments = _channel_moments
kernels.normalize = _normalize
kernels.gradient_moments = _gradient_moments
kernels.normalize_gradient = _normalize_gradient
kernels.blur_line = _blur_line
kernels.scale_line = _scale_line
kernels.channel_means = _channel_means
kernels.subtract_line = _subtract_line
kernels.root_line = _root_line
kernels.divide_line = _divide_line
kernels.divisor_gradient = _divisor_gradient
kernels.root_gradient = _root_gradient
kernels.contrast_gradient = _contrast_gradient
kernels.subtract_means = _subtract_means
kernels.random_words = _random_words
kernels.uniform_values = _uniform_values
kernels.normal_values = _normal_values
kernels.warp_line = _warp_line
kernels.reverse_line = _reverse_line
kernels.adjust_line = _adjust_line
kernels.load_line = _load_line
kernels.all_finite = _all_finite
kernels.copy_lines = _copy_lines
kernels.softmax = _softmax
kernels.softmax_cross_entropy = _softmax_cross_entropy
kernels.value_loss = _value_loss
kernels.adam = _adam
kernels.sgd = _sgd
kernels.add_buffers = _add_buffers
kernels.join_buffers = _join_buffers
kernels.average = _average
kernels.fma_chains = _fma_chains
kernels.fma_flops = fma_flops

table = PyCapsule_New(&kernels, "skconv._engine.kernels", NULL)
