"""What the compiled rooms share: the shapes of products, maps and windows, and the table of kernels.

Layers are compiled once; kernels once per instruction set and precision.  A layer therefore speaks bytes, as NumPy's
strides do, and hands pointers to the kernels of a table, which know the precision and speak elements.
"""
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

cdef extern from "tile.h" nogil:
    ctypedef struct Run "skconv_run":
        Py_ssize_t a
        Py_ssize_t b

    ctypedef struct Product "skconv_product":
        const Run *runs
        Py_ssize_t n_runs
        Py_ssize_t length
        Py_ssize_t a_step
        Py_ssize_t b_step

    enum:
        START_AT_ZERO "SKCONV_ZERO"
        START_AT_BIAS "SKCONV_BIAS"
        ADD_TO_RESULT "SKCONV_ADD"

cdef extern from "planes.h" nogil:
    # Lines of a convolution whose image is taken apart into planes of channels; all steps in elements.
    ctypedef struct PlaneLines "skconv_planes":
        Py_ssize_t n_channels
        Py_ssize_t n_pixels
        Py_ssize_t first
        Py_ssize_t n_rows
        Py_ssize_t n_taps
        Py_ssize_t row
        Py_ssize_t tap
        Py_ssize_t line
        Py_ssize_t plane
        Py_ssize_t z_plane
        Py_ssize_t x_line
        Py_ssize_t n_filters
        Py_ssize_t width
        Py_ssize_t y_line
        Py_ssize_t y_pixel
        Py_ssize_t n_above
        Py_ssize_t n_below
        const char *ahead
        Py_ssize_t n_ahead

cdef extern from "winograd_planes.h" nogil:
    ctypedef struct PlanePoints "skconv_plane_points":      # the same by Winograd's algorithm down the image
        PlaneLines lines
        Py_ssize_t kernel
        Py_ssize_t height
        Py_ssize_t group
        Py_ssize_t x_plane
        Py_ssize_t point
        Py_ssize_t y_plane

cdef enum Activation:     # in the order of skconv._operations.ACTIVATIONS
    IDENTITY = 0
    RELU = 1
    LEAKY_RELU = 2
    TANH = 3
    LOGISTIC = 4
    ELU = 5
    GELU = 6

cdef enum Response:       # in the order of skconv._separable
    LINEAR = 0
    MAGNITUDE = 1
    ENERGY = 2

cdef enum:
    MAX_COLUMNS = 64      # of a unit of a bank of separable filters, skconv._separable.BLOCK_COLUMNS

cdef enum LossKind:       # in the order of skconv._losses.LOSSES
    LOG_LOSS = 0
    BINARY_LOG_LOSS = 1
    SQUARED_ERROR = 2
    ABSOLUTE_ERROR = 3
    HUBER = 4
    POISSON = 5

cdef enum Source:
    FROM_UINT8 = 0
    FROM_FLOAT32 = 1
    FROM_FLOAT64 = 2

cdef struct Windows:
    # Pooling windows over a map of `size`, seen through element strides `lines` (depth, row) and `pixel` (column).
    Py_ssize_t kernel[3]
    Py_ssize_t stride[3]
    Py_ssize_t dilation[3]
    Py_ssize_t before[3]
    Py_ssize_t after[3]
    Py_ssize_t size[3]
    Py_ssize_t out[3]
    Py_ssize_t lines[2]
    Py_ssize_t pixel
    Py_ssize_t channels
    bint overlapping
    bint covering               # every pixel of the map lies in exactly one window
    bint count_include_pad
    double p                    # of the norm
    int n_taps
    const Py_ssize_t *taps      # (n_taps,) offsets from the first element of a window that lies inside the map
    const int32_t *ids          # (n_taps,) position in the window, in C order

cdef struct Clip:
    # Room for the taps of a window that hangs over the edge of its map (one per thread).
    Py_ssize_t *taps
    int32_t *ids

cdef struct Lines:
    # Lines of a convolution's result (lines.h); all steps in elements.
    const Run *rows             # of the kernel: where they read the image and the weights
    Py_ssize_t n_rows
    Py_ssize_t kernel           # taps of a row: 3, 5 or 7
    Py_ssize_t n_channels
    Py_ssize_t x_pixel
    Py_ssize_t x_line
    Py_ssize_t w_tap
    Py_ssize_t w_channel
    Py_ssize_t n_columns
    Py_ssize_t width            # pixels
    Py_ssize_t y_pixel
    Py_ssize_t y_line
    bint left                   # whether the first kernel / 2 pixels that a line sees fall on the margin
    bint right                  # and the last
    const char *ahead           # what to fetch into the second cache meanwhile
    Py_ssize_t n_ahead          # cache lines

cdef struct Warp:
    # Where the pixels of a distorted image come from, for axes 0 (down) and 1 (right); coordinates count the margin.
    double a[2][2]              # coordinate = a (line, pixel) + b
    double b[2]
    double period[2]            # of reflections at the border, or 0 for none
    double top[2]               # coordinates are clipped into [0, top]
    int32_t last[2]             # the largest coordinate that has a pixel behind it
    Py_ssize_t line             # elements from one line of the source to the next
    Py_ssize_t width            # pixels of a line of the result
    Py_ssize_t channels
    Py_ssize_t u_stride         # from the displacements down to those to the right

cdef struct Update:
    # One stretch of the flat weight vector and where its gradients lie.
    Py_ssize_t n
    Py_ssize_t n_buffers
    Py_ssize_t buffer_stride
    double decay                # L2 penalty / n_samples for weights, 0 for intercepts
    double l1                   # L1 penalty / n_samples for weights, 0 for intercepts
    double scale                # of the gradient, where its norm is clipped
    double rate
    double beta_1               # momentum, for SGD
    double beta_2
    double epsilon
    bint nesterov

ctypedef void (*Multiply)(const Product *p, Py_ssize_t n_rows, Py_ssize_t n_columns, const void *A,
                          const Py_ssize_t *a_rows, const void *B, int start, const void *bias, void *C,
                          const Py_ssize_t *c_rows, bint relu) noexcept nogil

cdef struct Kernels:
    Py_ssize_t itemsize
    Py_ssize_t lanes
    Py_ssize_t plane_vectors        # vectors of filters that share a read of the planes in Winograd's algorithm

    Multiply product
    # The same; meanwhile n_ahead cache lines that the caller reads next come into the second cache.
    void (*product_ahead)(const Product *p, Py_ssize_t n_rows, Py_ssize_t n_columns, const void *A,
                          const Py_ssize_t *a_rows, const void *B, int start, const void *bias, void *C,
                          const Py_ssize_t *c_rows, bint relu, const char *ahead, Py_ssize_t n_ahead) noexcept nogil
    Multiply depthwise          # the same, column by column
    bint (*rows)(const void *x, Py_ssize_t n_pixels, Py_ssize_t depth, const void *w, Py_ssize_t n_columns,
                 const void *bias, bint relu, void *y, double largest) noexcept nogil
    void (*convolve_lines)(const Lines *p, Py_ssize_t n_lines, const void *x, const void *w, const void *bias, void *y,
                           bint relu) noexcept nogil
    Py_ssize_t (*least_line)(Py_ssize_t kernel, Py_ssize_t n_columns) noexcept nogil
    void (*slopes)(const Product *p, Py_ssize_t kernel, Py_ssize_t n_groups, const Run *lines, Py_ssize_t n_rows,
                   Py_ssize_t n_columns, const void *A, const Py_ssize_t *a_rows, const void *B, void *C,
                   const Py_ssize_t *c_rows, Py_ssize_t c_tap, bint left, bint right) noexcept nogil
    Py_ssize_t (*slope_columns)(Py_ssize_t kernel, Py_ssize_t n_columns) noexcept nogil
    void (*plane_weights)(const PlaneLines *p, const void *w, bint reverse, void *out) noexcept nogil
    void (*convolve_planes)(const PlaneLines *p, Py_ssize_t n_lines, const void *x, const void *w, const void *bias,
                            const Run *kernel_rows, void *y, bint relu, void *planes, void *z) noexcept nogil
    Py_ssize_t plane_filters    # that a convolution by planes may have
    void (*plane_points_weights)(const PlanePoints *s, const void *w, bint reverse, void *out) noexcept nogil
    void (*plane_points_load)(const PlanePoints *s, Py_ssize_t n_tiles, Py_ssize_t first, const void *x, void *planes,
                              void *v) noexcept nogil
    void (*plane_points_multiply)(const PlanePoints *s, Py_ssize_t n_lines, const void *v, const void *w,
                                  const void *bias, bint relu, void *z, void *y, const char *ahead,
                                  Py_ssize_t n_ahead, const char *next, Py_ssize_t n_next) noexcept nogil
    void (*plane_points_store)(const PlanePoints *s, Py_ssize_t n_lines, const void *planes, void *y) noexcept nogil
    void (*repeat_channels)(const void *x, Py_ssize_t n, Py_ssize_t times, void *y) noexcept nogil
    void (*add_repeats)(const void *dy, Py_ssize_t n, Py_ssize_t times, void *dx) noexcept nogil
    void (*transpose)(const void *W, Py_ssize_t n_rows, Py_ssize_t n_columns, Py_ssize_t stride,
                      void *out) noexcept nogil
    void (*band)(const void *w, Py_ssize_t n_rows, Py_ssize_t kernel, Py_ssize_t depth, Py_ssize_t n_columns,
                 Py_ssize_t n_pixels, bint reverse, void *out) noexcept nogil
    void (*add_band)(const void *sums, Py_ssize_t n_rows, Py_ssize_t kernel, Py_ssize_t depth, Py_ssize_t n_columns,
                     Py_ssize_t n_pixels, void *out) noexcept nogil
    void (*dots)(const void *x, Py_ssize_t n_rows, Py_ssize_t n, const void *w, Py_ssize_t n_columns,
                 void *y) noexcept nogil
    void (*column_sums)(const void *x, Py_ssize_t n_rows, Py_ssize_t n_columns, Py_ssize_t stride,
                        void *sums) noexcept nogil

    void (*winograd_input)(Py_ssize_t kernel, const void *x, Py_ssize_t line, Py_ssize_t n_channels,
                           Py_ssize_t tile_rows, Py_ssize_t tile_columns, void *v, Py_ssize_t plane,
                           Py_ssize_t block) noexcept nogil
    void (*winograd_weights)(Py_ssize_t kernel, const void *w, Py_ssize_t n_channels, Py_ssize_t n_filters,
                             bint reverse, void *u, Py_ssize_t plane) noexcept nogil
    void (*winograd_products)(Py_ssize_t n_planes, Py_ssize_t n_tiles, Py_ssize_t n_channels, Py_ssize_t n_filters,
                              const void *v, Py_ssize_t v_plane, const void *u, Py_ssize_t u_plane, void *m,
                              Py_ssize_t m_plane, Py_ssize_t block, const char *ahead,
                              Py_ssize_t n_ahead) noexcept nogil
    void (*winograd_output)(Py_ssize_t kernel, const void *m, Py_ssize_t plane, Py_ssize_t block, Py_ssize_t n_filters,
                            const void *bias, void *y, Py_ssize_t line, Py_ssize_t pixel, Py_ssize_t n_lines,
                            Py_ssize_t n_pixels, bint relu) noexcept nogil
    void (*winograd_gradient_factors)(Py_ssize_t kernel, const void *x, Py_ssize_t x_line, Py_ssize_t n_channels,
                                      const void *dz, Py_ssize_t dz_line, Py_ssize_t n_filters, Py_ssize_t tile_rows,
                                      Py_ssize_t tile_columns, void *v, Py_ssize_t v_plane, void *z,
                                      Py_ssize_t z_plane) noexcept nogil
    void (*winograd_gradient)(Py_ssize_t kernel, const void *m, Py_ssize_t plane, Py_ssize_t n, void *g) noexcept nogil

    # Winograd's algorithm along one axis, four lines of the result at a time.
    Py_ssize_t (*line_points)(Py_ssize_t kernel) noexcept nogil     # for kernels of so many rows
    Py_ssize_t (*line_parts)(Py_ssize_t kernel) noexcept nogil      # rows of taps of a point
    void (*winograd_lines_input)(Py_ssize_t kernel, const void *x, Py_ssize_t line, Py_ssize_t n, void *v,
                                 Py_ssize_t plane) noexcept nogil
    void (*winograd_lines_weights)(Py_ssize_t kernel, const void *w, Py_ssize_t n, bint reverse,
                                   void *u) noexcept nogil
    void (*winograd_lines_output)(Py_ssize_t kernel, const void *m, Py_ssize_t plane, Py_ssize_t n, void *y,
                                  Py_ssize_t line, Py_ssize_t n_lines, bint relu) noexcept nogil
    void (*channel_input)(const void *x, Py_ssize_t line, Py_ssize_t first, Py_ssize_t height, Py_ssize_t n,
                          Py_ssize_t before, Py_ssize_t seen, void *v, Py_ssize_t plane) noexcept nogil
    void (*channel_lines)(const void *v, Py_ssize_t plane, const void *u, Py_ssize_t n_filters, const void *bias,
                          void *y, Py_ssize_t line, Py_ssize_t pixel, Py_ssize_t width, Py_ssize_t n_lines, bint relu,
                          const char *ahead, Py_ssize_t n_ahead) noexcept nogil
    void (*winograd_lines_pixels)(Py_ssize_t kernel, const void *m, Py_ssize_t plane, Py_ssize_t m_pixel,
                                  Py_ssize_t n_pixels, Py_ssize_t n_columns, void *y, Py_ssize_t line,
                                  Py_ssize_t y_pixel, Py_ssize_t n_lines, bint relu) noexcept nogil

    void (*max_pool_line)(const Windows *w, Py_ssize_t d, Py_ssize_t h, const void *x, Py_ssize_t d0, Py_ssize_t h0,
                          void *y, uint8_t *index, int32_t *wide, Clip *clip) noexcept nogil
    void (*max_unpool_line)(const Windows *w, Py_ssize_t d, Py_ssize_t h, const void *dy, const uint8_t *index,
                            const int32_t *wide, void *dx, Clip *clip) noexcept nogil
    void (*max_pool_pixels)(const Windows *w, Py_ssize_t d, Py_ssize_t h, Py_ssize_t first, Py_ssize_t last,
                            const void *x, void *y, uint8_t *index, int32_t *wide, Clip *clip) noexcept nogil
    void (*average_pool_pixels)(const Windows *w, Py_ssize_t d, Py_ssize_t h, Py_ssize_t first, Py_ssize_t last,
                                const void *x, void *y, Clip *clip) noexcept nogil
    void (*average_unpool_line)(const Windows *w, Py_ssize_t d, Py_ssize_t h, const void *dy, void *dx,
                                Clip *clip) noexcept nogil
    void (*lp_pool_pixels)(const Windows *w, Py_ssize_t d, Py_ssize_t h, Py_ssize_t first, Py_ssize_t last,
                           const void *x, void *y, Clip *clip) noexcept nogil
    void (*lp_unpool_line)(const Windows *w, Py_ssize_t d, Py_ssize_t h, const void *x, const void *y,
                           const void *dy, void *dx, Clip *clip) noexcept nogil

    void (*gather)(const void *x, const Py_ssize_t *at, Py_ssize_t n, void *out) noexcept nogil
    void (*respond)(int kind, const void *q, Py_ssize_t n, Py_ssize_t n_real, Py_ssize_t n_imaginary,
                    const Py_ssize_t *at, const void *factors, void *out) noexcept nogil
    void (*store_pixels)(const void *lines, Py_ssize_t line, Py_ssize_t n_filters, Py_ssize_t n_pixels, void *y,
                         Py_ssize_t pixel) noexcept nogil
    void (*line_moments)(const void *lines, Py_ssize_t line, Py_ssize_t n_filters, Py_ssize_t n, double n_before,
                         double *moments) noexcept nogil
    void (*pixel_moments)(const void *x, Py_ssize_t n, Py_ssize_t n_channels, double n_before, void *sums,
                          double *moments) noexcept nogil
    void (*moments_out)(const double *moments, Py_ssize_t n, void *out) noexcept nogil
    void (*pixel_moments_gradient)(const void *x, Py_ssize_t n, Py_ssize_t n_channels, const void *y, const void *dy,
                                   double count, void *dx) noexcept nogil
    void (*combine_moments)(const void *blocks, const double *counts, Py_ssize_t n_blocks, Py_ssize_t n_channels,
                            void *y) noexcept nogil
    void (*combine_moments_gradient)(const void *blocks, const double *counts, Py_ssize_t n_blocks,
                                     Py_ssize_t n_channels, const void *y, const void *dy, void *dx) noexcept nogil
    void (*modulus)(int kind, const void *x, Py_ssize_t n_groups, Py_ssize_t n, void *y) noexcept nogil
    void (*modulus_gradient)(int kind, const void *x, const void *y, const void *dy, Py_ssize_t n_groups,
                             Py_ssize_t n, void *dx) noexcept nogil

    void (*activate)(int kind, void *x, Py_ssize_t n) noexcept nogil
    void (*activation_gradient)(int kind, const void *y, const void *dy, void *dz, Py_ssize_t n) noexcept nogil
    void (*dropout)(const void *x, void *y, Py_ssize_t n, double rate, uint64_t seed, uint64_t layer,
                    uint64_t epoch, uint64_t sample, Py_ssize_t first_block) noexcept nogil

    void (*channel_moments)(const void *x, Py_ssize_t n, Py_ssize_t row, const double *origin, double *sums,
                            double *squares) noexcept nogil
    void (*normalize)(const void *x, Py_ssize_t n, Py_ssize_t row, const void *mean, const void *scale,
                      const void *shift, bint relu, void *y) noexcept nogil
    void (*gradient_moments)(const void *dz, const void *x, Py_ssize_t n, Py_ssize_t row, const void *mean,
                             double *sums, double *products) noexcept nogil
    void (*normalize_gradient)(void *dz, const void *x, Py_ssize_t n, Py_ssize_t row, const void *mean,
                               const void *scale, const void *slope, const void *dz_mean) noexcept nogil

    void (*blur_line)(const void *x, Py_ssize_t step, Py_ssize_t n_taps, const void *weights, Py_ssize_t n,
                      const void *factors, double factor, void *out) noexcept nogil
    void (*scale_line)(const void *x, Py_ssize_t n, const void *factors, double factor, void *out) noexcept nogil
    void (*channel_means)(const void *x, Py_ssize_t n, Py_ssize_t n_channels, const void *origin,
                          void *means) noexcept nogil
    void (*subtract_line)(const void *x, Py_ssize_t n, Py_ssize_t n_channels, const void *origin, const void *means,
                          void *v, void *squares) noexcept nogil
    double (*root_line)(void *x, Py_ssize_t n) noexcept nogil
    void (*divide_line)(void *v, Py_ssize_t n, Py_ssize_t n_channels, const void *deviations,
                        double floor) noexcept nogil
    double (*divisor_gradient)(const void *dy, const void *y, Py_ssize_t n, Py_ssize_t n_channels,
                               const void *deviations, double floor, void *slopes) noexcept nogil
    void (*root_gradient)(void *slopes, const void *deviations, Py_ssize_t n, double share) noexcept nogil
    void (*contrast_gradient)(const void *dy, const void *y, Py_ssize_t n, Py_ssize_t n_channels,
                              const void *deviations, double floor, const void *slopes, void *dv,
                              void *means) noexcept nogil
    void (*subtract_means)(void *dx, Py_ssize_t n, Py_ssize_t n_channels, const void *means) noexcept nogil
    void (*random_words)(uint64_t seed, uint64_t layer, uint64_t epoch, uint64_t sample, uint32_t first,
                         uint32_t *words) noexcept nogil
    void (*uniform_values)(Py_ssize_t n, double largest, uint64_t seed, uint64_t layer, uint64_t epoch,
                           uint64_t sample, uint32_t first, void *u) noexcept nogil
    void (*normal_values)(Py_ssize_t n, uint64_t seed, uint64_t layer, uint64_t epoch, uint64_t sample, uint32_t first,
                          void *z) noexcept nogil
    void (*warp_line)(const Warp *w, Py_ssize_t h, const void *x, const void *u, void *y) noexcept nogil
    void (*reverse_line)(void *x, Py_ssize_t n_pixels, Py_ssize_t channels) noexcept nogil
    void (*adjust_line)(void *y, Py_ssize_t n, double factor, double offset, double deviation,
                        const void *z) noexcept nogil

    void (*load_line)(int source, const void *x, Py_ssize_t n, const void *mean, const void *scale,
                      void *y) noexcept nogil
    bint (*all_finite)(const void *x, Py_ssize_t n, double largest) noexcept nogil
    bint (*copy_lines)(const void *x, Py_ssize_t n_lines, Py_ssize_t n, void *y, Py_ssize_t y_line,
                       double largest) noexcept nogil
    void (*softmax)(void *x, Py_ssize_t n) noexcept nogil
    double (*softmax_cross_entropy)(const void *logits, Py_ssize_t n_classes, Py_ssize_t target, double smoothing,
                                    double scale, void *gradient, bint *correct) noexcept nogil
    double (*value_loss)(int kind, double parameter, const void *outputs, const void *targets, Py_ssize_t n,
                         double scale, void *gradient) noexcept nogil

    void (*adam)(const Update *u, const void *gradients, void *weights, void *m, void *v) noexcept nogil
    void (*sgd)(const Update *u, const void *gradients, void *weights, void *velocity) noexcept nogil
    void (*add_buffers)(const Update *u, const void *gradients, const void *weights, void *out) noexcept nogil
    double (*join_buffers)(const Update *u, void *gradients) noexcept nogil
    void (*average)(const void *weights, Py_ssize_t n, double share, void *out) noexcept nogil
    double (*fma_chains)(Py_ssize_t n) noexcept nogil
    Py_ssize_t fma_flops
