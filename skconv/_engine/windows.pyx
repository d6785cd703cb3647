"""Pooling windows as a struct, filled from the Python side's geometry."""
from libc.stdint cimport int32_t

from .layer cimport Tables
from .table cimport Clip


cdef class PoolWindows:
    """Windows of a pooling over a map.

    Parameters
    ----------
    window : object with 3-tuples kernel_size, stride, dilation, pad_before, pad_after
    size, out : tuple of 3 ints
        Extent of the map and of the result.
    n_channels : int
    depth_stride, line_stride, pixel_stride : int
        How the map lies in memory, in elements.
    count_include_pad : bool
    p : float
        Of the norm.
    """

    def __init__(self, window, size, out, n_channels, depth_stride, line_stride, pixel_stride,
                 count_include_pad=False, p=2.0):
        cdef:
            int axis, s = 0
            Py_ssize_t a, b, c
            Py_ssize_t *taps
            int32_t *ids
        self.w.overlapping = False
        self.w.covering = True
        for axis in range(3):
            self.w.kernel[axis] = window.kernel_size[axis]
            self.w.stride[axis] = window.stride[axis]
            self.w.dilation[axis] = window.dilation[axis]
            self.w.before[axis] = window.pad_before[axis]
            self.w.after[axis] = window.pad_after[axis]
            self.w.size[axis] = size[axis]
            self.w.out[axis] = out[axis]
            if (self.w.kernel[axis] - 1) * self.w.dilation[axis] + 1 > self.w.stride[axis] and self.w.out[axis] > 1:
                self.w.overlapping = True
            if (self.w.kernel[axis] != self.w.stride[axis] or self.w.dilation[axis] > 1
                    or self.w.out[axis] * self.w.stride[axis] - self.w.before[axis] < self.w.size[axis]):
                self.w.covering = False
        self.w.lines[0] = depth_stride
        self.w.lines[1] = line_stride
        self.w.pixel = pixel_stride
        self.w.channels = n_channels
        self.w.count_include_pad = count_include_pad
        self.w.p = p
        self.w.n_taps = self.w.kernel[0] * self.w.kernel[1] * self.w.kernel[2]
        self.tables = Tables()
        taps = self.tables.sizes(self.w.n_taps)
        ids = self.tables.ints(self.w.n_taps)
        for a in range(self.w.kernel[0]):
            for b in range(self.w.kernel[1]):
                for c in range(self.w.kernel[2]):
                    taps[s] = (a * self.w.dilation[0] * depth_stride + b * self.w.dilation[1] * line_stride
                               + c * self.w.dilation[2] * pixel_stride)
                    ids[s] = s
                    s += 1
        self.w.taps = taps
        self.w.ids = ids

    cdef Py_ssize_t clip_size(self) noexcept nogil:
        """Bytes of scratch for the taps of clipped windows."""
        return self.w.n_taps * (sizeof(Py_ssize_t) + sizeof(int32_t)) + 64

    cdef Clip clip_at(self, char *scratch) noexcept nogil:
        cdef Clip clip
        clip.taps = <Py_ssize_t *> scratch
        clip.ids = <int32_t *> (scratch + self.w.n_taps * sizeof(Py_ssize_t))
        return clip
