"""Products of any size from register tiles.

Formula (tile.h):

    C[m, f] (+)= sum_r sum_l A[a_rows[m] + runs[r].a + l*a_step] * B[runs[r].b + l*b_step + f].

Loop order: blocks of BLOCK pairs of factors, so that the panel of B that a column block reads stays in the first two
cache levels while all rows pass over it; then blocks of one, two or four vectors of columns; then row tiles of nearly
equal height.  The order in which one element is summed never depends on n_rows or on the tile.

Four vectors of columns go together where there are tiles for them, whatever the number of rows: a 6x4 tile loads 10
values for 24 multiply-adds, a 14x2 tile 16 for 28, and reloads addresses of rows from the stack.  28x28, 32 channels,
64 filters of 3x3, one thread, AVX-512: 160 and 173 GFLOP/s forward, 121 and 146 with both gradients.

Memory that the caller reads next may be fetched meanwhile, a few cache lines before every tile: all at once, they would
wait for each other in the 16 buffers of the first cache.

Columns that do not fill a vector are computed in full into a tile on the stack, of which the valid part is copied:
B and the bias must therefore be readable for up to two vectors past the last column (buffers carry that slack).
"""
from .real cimport real
from ..table cimport ADD_TO_RESULT, Product, Run

cdef extern from "tile.h" nogil:
    ctypedef void (*Tile "skconv_tile")(const Product *p, const real *A, const Py_ssize_t *a_rows, const real *B,
                                        int start, const real *bias, real *C, const Py_ssize_t *c_rows,
                                        int relu)
    void column_sums "skconv_column_sums"(const real *x, Py_ssize_t n_rows, Py_ssize_t n_columns, Py_ssize_t stride,
                                          real *sums)
    void dots "skconv_dots"(const real *x, Py_ssize_t n_rows, Py_ssize_t n, const real *w, Py_ssize_t n_columns,
                            real *y)
    const Tile *tiles_1 "skconv_tiles_1"
    const Tile *tiles_2 "skconv_tiles_2"
    const Tile *tiles_4 "skconv_tiles_4"
    const Py_ssize_t tile_rows_1 "skconv_tile_rows_1"
    const Py_ssize_t tile_rows_2 "skconv_tile_rows_2"
    const Py_ssize_t tile_rows_4 "skconv_tile_rows_4"
    enum:
        LANES "SKCONV_LANES"
        TILE_SIZE "SKCONV_TILE_SIZE"

    void store_pixels "skconv_store_pixels"(const real *lines, Py_ssize_t line, Py_ssize_t n_filters,
                                            Py_ssize_t n_pixels, real *y, Py_ssize_t pixel)

    void fetch "skconv_fetch"(const char *memory, Py_ssize_t first, Py_ssize_t last)

cdef extern from "pool.h" nogil:
    void copy_pixel "skconv_copy_pixel"(const real *x, Py_ssize_t n, real *y)

# Pairs of factors per pass: 2048 rows of a 32-column panel are 256 KiB, half of the smallest second-level cache.
# Of one vector of columns 8192 rows are 512 KiB with AVX-512, whose processors have a second cache of 1 MiB or more.
cdef enum:
    BLOCK = 2048
    NARROW_BLOCK = 8192         # side_by_side.pyx knows


cdef inline void partial_tile(
    Tile tile,
    const Product *p,
    Py_ssize_t n_rows,
    Py_ssize_t n_columns,           # valid ones, fewer than the tile computes
    const real *A,
    const Py_ssize_t *a_rows,
    const real *B,
    int start,
    const real *bias,
    real *C,
    const Py_ssize_t *c_rows,
    int relu,
) noexcept nogil:
    """Run a tile whose last columns do not exist, through a copy on the stack."""
    cdef:
        real[TILE_SIZE] whole
        Py_ssize_t[28] rows
        Py_ssize_t width = (n_columns + LANES - 1) // LANES * LANES
        Py_ssize_t m
    for m in range(n_rows):
        rows[m] = m * width
        if start == ADD_TO_RESULT:
            copy_pixel(C + c_rows[m], n_columns, whole + rows[m])
    tile(p, A, a_rows, B, start, bias, whole, rows, relu)
    for m in range(n_rows):
        copy_pixel(whole + rows[m], n_columns, C + c_rows[m])


cdef inline void row_tiles(
    const Tile *tiles,              # by their number of rows
    Py_ssize_t max_rows,
    const Product *p,
    Py_ssize_t n_rows,
    Py_ssize_t width,               # columns: at most what the tiles compute
    const real *A,
    const Py_ssize_t *a_rows,
    const real *B,
    int start,
    const real *bias,
    real *C,
    const Py_ssize_t *c_rows,
    int relu,
    const char *ahead,              # what to fetch meanwhile
    Py_ssize_t n_ahead,             # cache lines
) noexcept nogil:
    """One block of columns, by tiles of nearly equal height."""
    cdef Py_ssize_t n_tiles = (n_rows + max_rows - 1) // max_rows, m = 0, i, height
    for i in range(n_tiles):
        height = (n_rows - m) // (n_tiles - i)
        fetch(ahead, n_ahead * i // n_tiles, n_ahead * (i + 1) // n_tiles)
        if width % LANES == 0:
            tiles[height](p, A, a_rows + m, B, start, bias, C, c_rows + m, relu)
        else:
            partial_tile(tiles[height], p, height, width, A, a_rows + m, B, start, bias, C, c_rows + m, relu)
        m += height


cdef inline void product(
    const Product *p,
    Py_ssize_t n_rows,
    Py_ssize_t n_columns,
    const real *A,
    const Py_ssize_t *a_rows,       # (n_rows,)
    const real *B,
    int start,
    const real *bias,               # (n_columns,) where start is START_AT_BIAS
    real *C,                        # OUT
    const Py_ssize_t *c_rows,       # (n_rows,)
    bint relu,
    const char *ahead,              # what to fetch into the second cache meanwhile
    Py_ssize_t n_ahead,             # cache lines
) noexcept nogil:
    cdef:
        Product part = p[0]
        Run rest                    # of the only run, where there is one
        Py_ssize_t done = 0, f, width, max_rows, block = NARROW_BLOCK if n_columns <= LANES else BLOCK
        const Tile *tiles
        bint last
    while True:
        if p.n_runs == 1:
            rest.a = p.runs.a + done * p.a_step
            rest.b = p.runs.b + done * p.b_step
            part.runs = &rest
            part.length = min(p.length - done, block)
            done += part.length
            last = done == p.length
        else:
            part.runs = p.runs + done
            part.n_runs = min(p.n_runs - done, max(1, block // p.length))
            done += part.n_runs
            last = done == p.n_runs
        f = 0
        while f < n_columns:
            width = n_columns - f
            if width >= 4 * LANES and tile_rows_4 > 0:
                width, max_rows, tiles = 4 * LANES, tile_rows_4, tiles_4
            elif width > LANES:
                width, max_rows, tiles = min(width, 2 * LANES), tile_rows_2, tiles_2
            else:
                max_rows, tiles = tile_rows_1, tiles_1
            row_tiles(tiles, max_rows, &part, n_rows, width, A, a_rows, B + f, start, bias + f, C + f, c_rows,
                      relu and last, ahead, n_ahead)
            n_ahead = 0
            f += width
        if last:
            return
        start = ADD_TO_RESULT


cdef inline void transpose(
    const real *W,                  # n_rows of n_columns, `stride` apart
    Py_ssize_t n_rows,
    Py_ssize_t n_columns,
    Py_ssize_t stride,
    real *out,                      # (n_columns, n_rows)   OUT
) noexcept nogil:
    """out[f, k] = W[k, f], in blocks of 64 x 16, by squares in registers: a line of `out` is finished at once."""
    cdef Py_ssize_t k, f
    for k in range(0, n_rows, 64):
        for f in range(0, n_columns, 16):
            store_pixels(W + k * stride + f, stride, min(64, n_rows - k), min(16, n_columns - f),
                         out + f * n_rows + k, n_rows)


cdef inline void band(
    const real *w,                  # (n_rows, kernel, depth, n_columns)
    Py_ssize_t n_rows,
    Py_ssize_t kernel,
    Py_ssize_t depth,
    Py_ssize_t n_columns,
    Py_ssize_t n_pixels,            # that share a vector
    bint reverse,                   # read the rows and columns of the kernel backwards
    real *out,                      # (n_rows, kernel + n_pixels - 1, depth, LANES)   OUT
) noexcept nogil:
    """out[r, k, c, (p, f)] = w[r, k - p, c, f], 0 where there is no such tap."""
    cdef Py_ssize_t r, k, p, c, f, tap
    for r in range(n_rows):
        for k in range(kernel + n_pixels - 1):
            for c in range(depth):
                for f in range(LANES):
                    out[f] = 0
                for p in range(max(0, k - kernel + 1), min(n_pixels, k + 1)):
                    tap = r * kernel + k - p
                    if reverse:
                        tap = n_rows * kernel - 1 - tap
                    for f in range(n_columns):
                        out[p * n_columns + f] = w[(tap * depth + c) * n_columns + f]
                out += LANES


cdef inline void add_band(
    const real *sums,               # (n_rows, kernel + n_pixels - 1, depth, LANES)
    Py_ssize_t n_rows,
    Py_ssize_t kernel,
    Py_ssize_t depth,
    Py_ssize_t n_columns,
    Py_ssize_t n_pixels,
    real *out,                      # (n_rows, kernel, depth, n_columns)   added to
) noexcept nogil:
    """out[r, k, c, f] += sum_p sums[r, k + p, c, (p, f)]."""
    cdef:
        Py_ssize_t r, i, p, f
        const real *line
    for r in range(n_rows):
        for i in range(kernel * depth):
            for p in range(n_pixels):
                line = sums + ((r * (kernel + n_pixels - 1) + p) * depth + i) * LANES + p * n_columns
                for f in range(n_columns):
                    out[f] += line[f]
            out += n_columns
