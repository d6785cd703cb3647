from .clipping cimport Clipped, ClippedLines
from .layer cimport Layer, Pass, Tables
from .lines cimport LineByLine
from .planes cimport Planes
from .side_by_side cimport SideBySide
from .table cimport Multiply, Product
from .windows cimport PoolWindows
from .winograd cimport Winograd
from .winograd_lines cimport WinogradChannel, WinogradLines
from .winograd_planes cimport WinogradPlanes

cdef enum:
    # Pixels per block of lines: enough for a dozen register tiles, few enough that 64 channels stay in 64 KiB.
    BLOCK_PIXELS = 256


cdef class ForwardConvolution(Layer):
    cdef:
        Py_ssize_t n_filters
        Py_ssize_t n_taps
        Py_ssize_t n_products               # products in place of one: the groups, but one where depthwise
        Py_ssize_t group_channels           # channels that a filter sees
        Py_ssize_t group_filters            # filters that see a channel
        bint is_depthwise
        Multiply multiply                   # the kernel of all products
        Py_ssize_t depth                    # terms of one sum: taps * channels
        Py_ssize_t[3] kernel
        Py_ssize_t[3] stride
        Py_ssize_t[3] dilation
        Py_ssize_t[3] before
        Py_ssize_t[3] out
        int activation
        bint is_winograd
        bint by_winograd_lines
        bint is_one_channel                 # and in registers
        WinogradLines winograd_lines        # for z, or None
        WinogradChannel winograd_channel    # for z, or None
        bint has_winograd_gradients
        bint shares_vectors
        readonly bint leaves_out_margins    # and reads none, so that x need not have any
        readonly bint joins_samples         # in products, which want several samples at a time
        bint is_rows                        # whether pixels and weights are what rows.h wants
        Clipped clipped                     # for z of several samples, or None
        ClippedLines clipped_lines          # for lines of z, or None
        LineByLine by_lines                 # for z, or None
        SideBySide beside                   # for z, or None
        Planes planes                       # for z, or None
        WinogradPlanes winograd_planes      # for z, or None
        Py_ssize_t planes_offset            # in scratch
        Winograd winograd                   # for z
        Py_ssize_t winograd_offset
        Py_ssize_t n_grouped                # samples whose tiles share a product, forward
        Py_ssize_t grouped_lines            # of z that each of them has
        PoolWindows pool                    # over the box of scratch
        Py_ssize_t index_origin
        Py_ssize_t index_sample
        Tables tables
        Py_ssize_t *x_terms                 # where the terms of one sum lie in x
        # forward
        Product forward_product
        Py_ssize_t columns                  # of it
        Py_ssize_t block                    # output lines per product, whole units
        Py_ssize_t unit                     # output lines per unit
        Py_ssize_t n_blocks                 # units per depth slice
        Py_ssize_t *x_rows
        Py_ssize_t *c_rows
        Py_ssize_t box_pixel                # elements from one pixel of the box to the next
        Py_ssize_t box_slice                # ... and from one depth slice
        Py_ssize_t clip_offset

    cdef Py_ssize_t _first_seen(self, Py_ssize_t d, Py_ssize_t h) noexcept nogil
    cdef void _convolve(self, const Pass *p, const char *x, Py_ssize_t d, Py_ssize_t h, Py_ssize_t lines, char *c,
                        bint relu, Py_ssize_t tiles) noexcept nogil
    cdef void _activate(self, char *line, Py_ssize_t n_lines) noexcept nogil
    cdef void _forward_grouped(self, const Pass *p) noexcept nogil
    cdef void _units(self, const Pass *p, Py_ssize_t i, Py_ssize_t first, Py_ssize_t last,
                     Py_ssize_t tiles) noexcept nogil
    cdef void _pooled_lines(self, const Pass *p, Py_ssize_t i, const char *x, Py_ssize_t d, Py_ssize_t first,
                            Py_ssize_t end, char *y, Py_ssize_t tiles) noexcept nogil
