"""Winograd's transforms over the tiles of a block of lines, see winograd.h for the formula.

Planes: the values of a transformed tile (36 or 64; 16 or 49 for the weights' gradient) lie `plane` elements apart, so
that the products in between are as many small ones, tiles by channels times channels by filters. In a plane, vectors of
channels or filters lie `block` elements apart, and in such a block the vectors of the tiles follow each other; the last
one overlaps its neighbour where the channels do not fill it. Where there are fewer channels than lanes, the input's
transform takes up what lies behind a pixel, too, and the products leave it out; of filters there must be a whole
vector, and for the weights' gradient of both. Transformed weights are rows of one to `plane_vectors` vectors, as the
tiles of winograd_product.h want them.

The weights' gradient has planes of tiles by channels instead, and ordinary products.

Loop order: tiles, then vectors of channels. Kernels are 3 or 5 pixels wide: each width is compiled apart.
"""
from .product cimport LANES, TILE_SIZE, fetch
from .real cimport real

cdef extern from "winograd.h" nogil:
    enum:
        TILE "SKCONV_TILE_LINES"
    void tile_input "skconv_winograd_input"(int kernel, const real *x, Py_ssize_t line, Py_ssize_t pixel, real *v,
                                            Py_ssize_t plane)
    void tile_weights "skconv_winograd_weights"(int kernel, const real *g, Py_ssize_t tap, real *u, Py_ssize_t plane)
    void tile_output "skconv_winograd_output"(int kernel, const real *m, Py_ssize_t plane, const real *bias, real *y,
                                              Py_ssize_t line, Py_ssize_t pixel, Py_ssize_t n_lines,
                                              Py_ssize_t n_pixels, int relu)
    void tile_gradient_input "skconv_winograd_gradient_input"(int kernel, const real *x, Py_ssize_t line,
                                                              Py_ssize_t pixel, real *v, Py_ssize_t plane)
    void tile_dz "skconv_winograd_dz"(const real *dz, Py_ssize_t line, Py_ssize_t pixel, real *z, Py_ssize_t plane)
    void tile_gradient "skconv_winograd_gradient"(int kernel, const real *m, Py_ssize_t plane, real *g, Py_ssize_t tap)

cdef extern from "winograd_product.h" nogil:
    ctypedef void (*PlaneTile "skconv_winograd_tile")(const real *v, Py_ssize_t v_block, Py_ssize_t n_channels,
                                                      const real *u, real *m, Py_ssize_t m_block)
    enum:
        PLANE_ROWS "(SKCONV_WINOGRAD_ROWS + 1)"
    const PlaneTile[5][PLANE_ROWS] plane_tiles "skconv_winograd_tiles"
    const Py_ssize_t[5] plane_rows "skconv_winograd_rows"
    const Py_ssize_t plane_vectors "skconv_winograd_vectors"


cdef inline Py_ssize_t next_vector(Py_ssize_t c, Py_ssize_t n) noexcept nogil:
    """The start of the vector after the one at c; n or more where that was the last."""
    return n if c + LANES >= n else min(c + LANES, n - LANES)


cdef inline void winograd_input(
    Py_ssize_t kernel,
    const real *x,                  # pixel under the first tap of the first output
    Py_ssize_t line,                # elements between lines of x, whose pixels lie n_channels apart
    Py_ssize_t n_channels,
    Py_ssize_t tile_rows,
    Py_ssize_t tile_columns,
    real *v,                        # (planes, blocks, tiles, LANES)   OUT
    Py_ssize_t plane,
    Py_ssize_t block,
) noexcept nogil:
    cdef:
        Py_ssize_t i, j, c
        const real *first
        real *out
    for i in range(tile_rows):
        for j in range(tile_columns):
            first = x + TILE * (i * line + j * n_channels)
            out = v
            c = 0
            while c < n_channels:
                if kernel == 3:
                    tile_input(3, first + c, line, n_channels, out, plane)
                else:
                    tile_input(5, first + c, line, n_channels, out, plane)
                out += block
                c = next_vector(c, n_channels)
            v += LANES


cdef inline Py_ssize_t n_vectors(Py_ssize_t n) noexcept nogil:
    return (n + LANES - 1) // LANES


cdef inline void winograd_weights(
    Py_ssize_t kernel,
    const real *w,                  # (kernel**2, n_channels, n_filters)
    Py_ssize_t n_channels,
    Py_ssize_t n_filters,
    bint reverse,                   # the taps from the last one backwards: a kernel turned by half a circle
    real *u,                        # (planes, groups of vectors, n_channels, vectors of a group, LANES)   OUT
    Py_ssize_t plane,
) noexcept nogil:
    cdef:
        Py_ssize_t _, f, k, n = n_vectors(n_filters), width, tap = n_channels * n_filters
        const real *g
        real *out
    if reverse:
        w += (kernel * kernel - 1) * tap
        tap = -tap
    for k in range(n):
        width = min(plane_vectors, n - k // plane_vectors * plane_vectors)
        f = min(k * LANES, n_filters - LANES)
        out = u + (k // plane_vectors * plane_vectors * n_channels + k % plane_vectors) * LANES
        g = w + f
        for _ in range(n_channels):
            if kernel == 3:
                tile_weights(3, g, tap, out, plane)
            else:
                tile_weights(5, g, tap, out, plane)
            g += n_filters
            out += width * LANES


cdef inline void winograd_products(
    Py_ssize_t n_planes,
    Py_ssize_t n_tiles,
    Py_ssize_t n_channels,
    Py_ssize_t n_filters,
    const real *v,                  # (planes, blocks, tiles, LANES)
    Py_ssize_t v_plane,
    const real *u,                  # as winograd_weights leaves them
    Py_ssize_t u_plane,
    real *m,                        # as v; and v itself, where the filters are one group of vectors   OUT
    Py_ssize_t m_plane,
    Py_ssize_t block,               # of v and m
    const char *ahead,              # what to fetch into the second cache meanwhile
    Py_ssize_t n_ahead,             # cache lines
) noexcept nogil:
    """Loop order: planes, groups of vectors of filters, tiles of nearly equal height."""
    cdef Py_ssize_t p, k, i, t, n = n_vectors(n_filters), width, height, n_heights
    if n_channels < LANES:  # these fill their vector from its beginning
        v -= LANES - n_channels
    for p in range(n_planes):
        fetch(ahead, n_ahead * p // n_planes, n_ahead * (p + 1) // n_planes)
        k = 0
        while k < n:
            width = min(plane_vectors, n - k)
            n_heights = (n_tiles + plane_rows[width] - 1) // plane_rows[width]
            t = 0
            for i in range(n_heights):
                height = (n_tiles - t) // (n_heights - i)
                plane_tiles[width][height](v + t * LANES, block, n_channels, u + k * n_channels * LANES,
                                           m + k * block + t * LANES, block)
                t += height
            k += width
        v += v_plane
        u += u_plane
        m += m_plane


cdef inline void winograd_output(
    Py_ssize_t kernel,
    const real *m,                  # (planes, blocks, tiles, LANES)
    Py_ssize_t plane,
    Py_ssize_t block,
    Py_ssize_t n_filters,
    const real *bias,               # (n_filters,) or NULL
    real *y,                        # n_lines of n_pixels   OUT
    Py_ssize_t line,
    Py_ssize_t pixel,
    Py_ssize_t n_lines,
    Py_ssize_t n_pixels,
    bint relu,
) noexcept nogil:
    cdef:
        Py_ssize_t i = 0, j, f
        const real *first
        const real *start
        real *out
    while i < n_lines:
        j = 0
        while j < n_pixels:
            first = m
            f = 0
            while f < n_filters:
                start = NULL if bias == NULL else bias + f
                out = y + i * line + j * pixel + f
                if kernel == 3:
                    tile_output(3, first, plane, start, out, line, pixel, n_lines - i, n_pixels - j, relu)
                else:
                    tile_output(5, first, plane, start, out, line, pixel, n_lines - i, n_pixels - j, relu)
                first += block
                f = next_vector(f, n_filters)
            m += LANES
            j += TILE
        i += TILE


cdef inline void winograd_gradient_factors(
    Py_ssize_t kernel,
    const real *x,                  # pixel under the first tap of the first output
    Py_ssize_t x_line,
    Py_ssize_t n_channels,
    const real *dz,
    Py_ssize_t dz_line,
    Py_ssize_t n_filters,
    Py_ssize_t tile_rows,           # of 2x2 tiles of dz
    Py_ssize_t tile_columns,
    real *v,                        # (16 or 49, tiles, n_channels)   OUT
    Py_ssize_t v_plane,
    real *z,                        # (16, tiles, n_filters)   OUT
    Py_ssize_t z_plane,
) noexcept nogil:
    """Both factors of the weights' gradient, in planes."""
    cdef:
        Py_ssize_t i, j, c
        const real *first
    for i in range(tile_rows):
        for j in range(tile_columns):
            first = x + 2 * i * x_line + 2 * j * n_channels
            c = 0
            while c < n_channels:
                if kernel == 3:
                    tile_gradient_input(3, first + c, x_line, n_channels, v + c, v_plane)
                else:
                    tile_gradient_input(5, first + c, x_line, n_channels, v + c, v_plane)
                c = next_vector(c, n_channels)
            c = 0
            while c < n_filters:
                tile_dz(dz + 2 * i * dz_line + 2 * j * n_filters + c, dz_line, n_filters, z + c, z_plane)
                c = next_vector(c, n_filters)
            v += n_channels
            z += n_filters


cdef inline void gradient_of(
    Py_ssize_t kernel, const real *m, Py_ssize_t plane, real *g, Py_ssize_t tap,
) noexcept nogil:
    if kernel == 3:
        tile_gradient(3, m, plane, g, tap)
    else:
        tile_gradient(5, m, plane, g, tap)


cdef inline void winograd_gradient(
    Py_ssize_t kernel,
    const real *m,                  # (16 or 49, n)
    Py_ssize_t plane,
    Py_ssize_t n,                   # weights of a tap
    real *g,                        # (kernel**2, n)   added to
) noexcept nogil:
    cdef:
        real[TILE_SIZE] part      # 16 or 49 vectors
        real[TILE_SIZE] sums      # 9 or 25
        Py_ssize_t n_planes = 16 if kernel == 3 else 49, k, i, first = 0
    while first + LANES <= n:
        gradient_of(kernel, m + first, plane, g + first, n)
        first += LANES
    if first == n:
        return
    # The last vector would reach into the next tap.
    for k in range(n_planes):
        for i in range(n - first):
            part[k * LANES + i] = m[k * plane + first + i]
        for i in range(n - first, LANES):
            part[k * LANES + i] = 0
    for k in range(kernel * kernel * LANES):
        sums[k] = 0
    gradient_of(kernel, part, LANES, sums, LANES)
    for k in range(kernel * kernel):
        for i in range(n - first):
            g[k * n + first + i] += sums[k * LANES + i]
