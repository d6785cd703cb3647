"""The number a kernel module computes with: float or double, chosen when the C compiler runs (tile.h)."""

cdef extern from "tile.h" nogil:
    ctypedef float real "skconv_real"
    real exp "skconv_exp"(real x)
    real expm1 "skconv_expm1"(real x)
    real log "skconv_log"(real x)
    real tanh "skconv_tanh"(real x)
    real erf "skconv_erf"(real x)
    real sqrt "skconv_sqrt"(real x)
