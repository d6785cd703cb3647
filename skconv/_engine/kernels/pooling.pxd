"""Pooling of one line of output pixels, forward and backward.

    y[j, f] = max (or mean) over the taps s of window j of x[tap(j, s), f]

Loop order: pixels of the line, then channels (vectors in registers), then taps.  A window inside the map uses the
precomputed offsets of its taps; one that hangs over the edge gets a list of the taps that exist.  Lines are
independent; whoever calls shares them out.
"""
from libc.stdint cimport int32_t, uint8_t

from .real cimport real
from ..table cimport Clip, Windows

cdef extern from "tile.h" nogil:
    void max_pixel "skconv_max_pixel"(const real *x, const Py_ssize_t *taps, const int32_t *ids, int n_taps,
                                      Py_ssize_t n, real *y, uint8_t *index, int32_t *wide)
    void unmax_pixel "skconv_unmax_pixel"(const real *dy, const uint8_t *index, const Py_ssize_t *taps,
                                          const int32_t *ids, int n_taps, Py_ssize_t n, real *dx)


cdef inline void tap_range(
    Py_ssize_t start,               # coordinate of the first tap, may be negative
    Py_ssize_t kernel,
    Py_ssize_t dilation,
    Py_ssize_t size,
    Py_ssize_t *first,              # OUT  first tap inside
    Py_ssize_t *last,               # OUT  one past the last tap inside
) noexcept nogil:
    first[0] = 0 if start >= 0 else min(kernel, (-start + dilation - 1) // dilation)
    last[0] = 0 if start >= size else min(kernel, (size - 1 - start) // dilation + 1)


cdef inline int clip_taps(
    const Windows *w,
    Py_ssize_t d, Py_ssize_t h, Py_ssize_t j,   # coordinates of the output pixel
    Py_ssize_t d0, Py_ssize_t h0,               # coordinates of the first line that x holds
    Clip *clip,                                 # OUT
) noexcept nogil:
    """Offsets (from the first element of x) and positions of the taps of one window that lie inside the map."""
    cdef:
        Py_ssize_t start_d = d * w.stride[0] - w.before[0]
        Py_ssize_t start_h = h * w.stride[1] - w.before[1]
        Py_ssize_t start_j = j * w.stride[2] - w.before[2]
        Py_ssize_t first_d, last_d, first_h, last_h, first_j, last_j, a, b, c
        Py_ssize_t n = 0
    tap_range(start_d, w.kernel[0], w.dilation[0], w.size[0], &first_d, &last_d)
    tap_range(start_h, w.kernel[1], w.dilation[1], w.size[1], &first_h, &last_h)
    tap_range(start_j, w.kernel[2], w.dilation[2], w.size[2], &first_j, &last_j)
    for a in range(first_d, last_d):
        for b in range(first_h, last_h):
            for c in range(first_j, last_j):
                clip.taps[n] = ((start_d + a * w.dilation[0] - d0) * w.lines[0]
                                + (start_h + b * w.dilation[1] - h0) * w.lines[1]
                                + (start_j + c * w.dilation[2]) * w.pixel)
                clip.ids[n] = <int32_t> ((a * w.kernel[1] + b) * w.kernel[2] + c)
                n += 1
    return <int> n


cdef inline Py_ssize_t inside(
    const Windows *w,
    Py_ssize_t d, Py_ssize_t h, Py_ssize_t j,
    Py_ssize_t d0, Py_ssize_t h0,
) noexcept nogil:
    """Offset of the window's first tap from the first element of x, or -1 where the window hangs over the edge."""
    cdef:
        Py_ssize_t start_d = d * w.stride[0] - w.before[0]
        Py_ssize_t start_h = h * w.stride[1] - w.before[1]
        Py_ssize_t start_j = j * w.stride[2] - w.before[2]
    if (start_d < 0 or start_d + (w.kernel[0] - 1) * w.dilation[0] >= w.size[0]
            or start_h < 0 or start_h + (w.kernel[1] - 1) * w.dilation[1] >= w.size[1]
            or start_j < 0 or start_j + (w.kernel[2] - 1) * w.dilation[2] >= w.size[2]):
        return -1
    return (start_d - d0) * w.lines[0] + (start_h - h0) * w.lines[1] + start_j * w.pixel


cdef inline void max_pool_line(
    const Windows *w,
    Py_ssize_t d, Py_ssize_t h,     # the output line
    const real *x,                  # the map from line (d0, h0) on
    Py_ssize_t d0, Py_ssize_t h0,
    real *y,                        # (out_width, channels)   OUT
    uint8_t *index,                 # (out_width, channels)   OUT, or NULL
    int32_t *wide,                  # the same for windows of more than 255 taps, or NULL
    Clip *clip,
) noexcept nogil:
    cdef:
        Py_ssize_t j, at
        int n_taps
    for j in range(w.out[2]):
        at = inside(w, d, h, j, d0, h0)
        if at >= 0:
            max_pixel(x + at, w.taps, w.ids, w.n_taps, w.channels, y, index, wide)
        else:
            n_taps = clip_taps(w, d, h, j, d0, h0, clip)
            max_pixel(x, clip.taps, clip.ids, n_taps, w.channels, y, index, wide)
        y += w.channels
        if index != NULL:
            index += w.channels
        if wide != NULL:
            wide += w.channels


cdef inline void max_unpool_line(
    const Windows *w,
    Py_ssize_t d, Py_ssize_t h,
    const real *dy,                 # (out_width, channels)
    const uint8_t *index,           # (out_width, channels), or NULL where wide is given
    const int32_t *wide,
    real *dx,                       # the map   OUT; must be zero before the first line where windows overlap
    Clip *clip,
) noexcept nogil:
    cdef:
        Py_ssize_t j, f, at
        int n_taps
        Py_ssize_t s
        const Py_ssize_t *taps
        const int32_t *ids
        real *base
        real *target
    for j in range(w.out[2]):
        at = inside(w, d, h, j, 0, 0)
        if at >= 0:
            taps, ids, n_taps, base = w.taps, w.ids, w.n_taps, dx + at
        else:
            n_taps = clip_taps(w, d, h, j, 0, 0, clip)
            taps, ids, base = clip.taps, clip.ids, dx
        if index != NULL and not w.overlapping:
            unmax_pixel(dy, index, taps, ids, n_taps, w.channels, base)
        elif index != NULL:
            for s in range(n_taps):
                target = base + taps[s]
                for f in range(w.channels):
                    target[f] += dy[f] if index[f] == ids[s] else 0
        else:
            for s in range(n_taps):
                target = base + taps[s]
                for f in range(w.channels):
                    target[f] += dy[f] if wide[f] == ids[s] else 0
        dy += w.channels
        if index != NULL:
            index += w.channels
        if wide != NULL:
            wide += w.channels


cdef inline Py_ssize_t counted(const Windows *w, int axis, Py_ssize_t i) noexcept nogil:
    """Taps of window i that lie in the padded map: what an average over padding divides by."""
    cdef Py_ssize_t first, last
    tap_range(i * w.stride[axis], w.kernel[axis], w.dilation[axis], w.before[axis] + w.size[axis] + w.after[axis],
              &first, &last)
    return last - first


cdef inline real weight_of_tap(
    const Windows *w, Py_ssize_t d, Py_ssize_t h, Py_ssize_t j, int n_taps,
) noexcept nogil:
    if w.count_include_pad:
        return <real> 1 / <real> (counted(w, 0, d) * counted(w, 1, h) * counted(w, 2, j))
    return <real> 1 / <real> n_taps


cdef inline void average_pool_line(
    const Windows *w,
    Py_ssize_t d, Py_ssize_t h,
    const real *x,                  # the map
    real *y,                        # (out_width, channels)   OUT
    Clip *clip,
) noexcept nogil:
    cdef:
        Py_ssize_t j, f
        int n_taps
        Py_ssize_t s
        real weight
        const real *source
    for j in range(w.out[2]):
        n_taps = clip_taps(w, d, h, j, 0, 0, clip)
        weight = weight_of_tap(w, d, h, j, n_taps)
        for f in range(w.channels):
            y[f] = 0
        for s in range(n_taps):
            source = x + clip.taps[s]
            for f in range(w.channels):
                y[f] += source[f]
        for f in range(w.channels):
            y[f] *= weight
        y += w.channels


cdef inline void average_unpool_line(
    const Windows *w,
    Py_ssize_t d, Py_ssize_t h,
    const real *dy,                 # (out_width, channels)
    real *dx,                       # the map, zero before the first line   OUT
    Clip *clip,
) noexcept nogil:
    cdef:
        Py_ssize_t j, f
        int n_taps
        Py_ssize_t s
        real weight
        real *target
    for j in range(w.out[2]):
        n_taps = clip_taps(w, d, h, j, 0, 0, clip)
        weight = weight_of_tap(w, d, h, j, n_taps)
        for s in range(n_taps):
            target = dx + clip.taps[s]
            for f in range(w.channels):
                target[f] += dy[f] * weight
        dy += w.channels
