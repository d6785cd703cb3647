from .clipping cimport Clipped, ClippedLines
from .layer cimport Tables
from .lines cimport LineByLine
from .planes cimport Planes
from .side_by_side cimport SideBySide
from .table cimport Kernels, Multiply, Product
from .winograd_lines cimport WinogradLines
from .winograd_planes cimport WinogradPlanes

cdef struct Phase:
    # Input pixels whose gradient takes the same taps: a lattice with the strides of the convolution.
    Py_ssize_t n[3]             # lattice points per axis
    Py_ssize_t first[3]         # the first one's input coordinate ...
    Py_ssize_t dz_first[3]      # ... and the coordinate in dz of a tap with shift zero
    Product product
    Py_ssize_t block            # lines per product
    Py_ssize_t *dz_rows
    Py_ssize_t *dx_rows


cdef class InputGradient:
    cdef:
        const Kernels *k
        Tables tables
        Multiply multiply
        Py_ssize_t[3] size
        Py_ssize_t[3] stride
        Py_ssize_t n_channels
        Py_ssize_t n_filters
        Py_ssize_t n_products
        Py_ssize_t group_channels
        Py_ssize_t group_filters
        Py_ssize_t dz_depth         # elements
        Py_ssize_t dz_line
        Py_ssize_t n_phases
        Phase *phases
        bint has_gaps               # some input pixels have no taps
        SideBySide beside           # or None
        Clipped clipped             # for several samples of the only phase, or None
        ClippedLines clipped_lines
        LineByLine by_lines         # or None
        Planes planes               # or None
        WinogradLines winograd_lines    # or None
        WinogradPlanes winograd_planes  # or None
        readonly Py_ssize_t scratch_size

    cdef void prepare(self, const char *packed) noexcept nogil
    cdef Py_ssize_t n_parts(self, Py_ssize_t n) noexcept nogil
    cdef void run(self, char *dx, Py_ssize_t dx_sample, const char *dz, Py_ssize_t dz_sample, Py_ssize_t n,
                  const char *packed, const char *ahead, Py_ssize_t ahead_sample, Py_ssize_t n_ahead,
                  Py_ssize_t part, Py_ssize_t n_parts, char *scratch) noexcept nogil
    cdef void _run(self, char *dx, const char *dz, const char *packed, const char *ahead,
                   Py_ssize_t n_ahead, Py_ssize_t part, Py_ssize_t n_parts, char *scratch) noexcept nogil
