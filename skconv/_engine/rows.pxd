"""When a 1x1 convolution is a product of rows of pixels (rows.h)."""
from .layer cimport Layer, Map, Pass

cdef enum:
    # Of weights, which every few pixels read: half of a first-level cache of 32 KiB.
    ROWS_BYTES = 16 * 1024


cdef inline bint are_rows(const Map *x, const Map *y, Py_ssize_t itemsize) noexcept nogil:
    """Whether pixels and results follow each other without gaps in a sample, and weights stay in the cache.

    For strides of one; sizes then differ where there is padding.
    """
    cdef Py_ssize_t axis
    for axis in range(3):
        if x.size[axis] != y.size[axis]:
            return False
    return (x.line_stride == x.size[2] * x.channels and y.line_stride == y.size[2] * y.channels
            and (x.size[0] == 1 or x.depth_stride == x.size[1] * x.line_stride)
            and (y.size[0] == 1 or y.depth_stride == y.size[1] * y.line_stride)
            and x.channels * y.channels * itemsize <= ROWS_BYTES)


cdef inline bint samples_follow(Layer layer, const Pass *p) noexcept nogil:
    """Whether the samples of a pass follow each other without a gap, too, in a layer's input and output."""
    if layer.x.is_data and p.order != NULL:
        return False
    return ((p.x_sample if layer.x.is_data else layer.x.sample) == layer.x.values * layer.itemsize
            and (p.out_sample if layer.is_output and p.out != NULL else layer.y.sample)
            == layer.y.values * layer.itemsize)
