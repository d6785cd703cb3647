"""Pooling of one line of output pixels, forward and backward.

    y[j, f] = max, mean or p-norm over the taps s of window j of x[tap(j, s), f]

Loop order: spans of the line whose windows have the same taps, then pixels, channels (vectors in registers) and taps
(pool.h).  Windows inside the map share the precomputed offsets of their taps and make one span; each that hangs over
the edge is a span of its own, with a list of the taps that exist.  Where windows are one pixel wide, the line is one
long pixel.  Lines are independent; whoever calls shares them out.
"""
from libc.stdint cimport int32_t, uint8_t

from .real cimport real
from ..table cimport Clip, Windows

cdef extern from "pool.h" nogil:
    void top_spans "skconv_top_line"(const real *x, Py_ssize_t step, Py_ssize_t n_pixels, const Py_ssize_t *taps,
                                     int n_taps, Py_ssize_t n, real *y)
    void max_spans "skconv_max_line"(const real *x, Py_ssize_t step, Py_ssize_t n_pixels, const Py_ssize_t *taps,
                                     const int32_t *ids, int n_taps, Py_ssize_t n, real *y, uint8_t *index,
                                     int32_t *wide)
    void mean_spans "skconv_mean_line"(const real *x, Py_ssize_t step, Py_ssize_t n_pixels, const Py_ssize_t *taps,
                                       int n_taps, Py_ssize_t counted, Py_ssize_t n, real *y)
    void norm_spans "skconv_norm_line"(const real *x, Py_ssize_t step, Py_ssize_t n_pixels, const Py_ssize_t *taps,
                                       int n_taps, real p, Py_ssize_t n, real *y)
    void unmax_spans "skconv_unmax_line"(const real *g, const uint8_t *index, Py_ssize_t step, Py_ssize_t n_pixels,
                                         const Py_ssize_t *taps, const int32_t *ids, int n_taps, Py_ssize_t n,
                                         bint adds, real *dx)
    void unmean_spans "skconv_unmean_line"(const real *g, Py_ssize_t step, Py_ssize_t n_pixels,
                                           const Py_ssize_t *taps, int n_taps, Py_ssize_t counted, Py_ssize_t n,
                                           bint adds, real *dx)
    void unnorm_spans "skconv_unnorm_line"(const real *x, const real *y, const real *g, Py_ssize_t step,
                                           Py_ssize_t n_pixels, const Py_ssize_t *taps, int n_taps, real p,
                                           Py_ssize_t n, bint adds, real *dx)

cdef enum:
    # Up to this many taps, comparing every tap's number with the winner's is faster than to address the winner.
    FEW_TAPS = 16

cdef struct Span:
    # Consecutive windows with the same taps.
    Py_ssize_t at               # offset of the first window's origin from the first element of x
    Py_ssize_t n_pixels
    Py_ssize_t n_channels       # of a pixel: of the whole span, where windows are one pixel wide
    const Py_ssize_t *taps
    const int32_t *ids
    int n_taps


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


cdef inline Py_ssize_t next_span(
    const Windows *w,
    Py_ssize_t d, Py_ssize_t h,     # the output line
    Py_ssize_t j, Py_ssize_t last,  # the pixels of it that are left
    Py_ssize_t d0, Py_ssize_t h0,   # coordinates of the first line that x holds
    Clip *clip,
    Span *span,                     # OUT
) noexcept nogil:
    """The next windows that share their taps; returns where they end."""
    cdef:
        Py_ssize_t start_d = d * w.stride[0] - w.before[0]
        Py_ssize_t start_h = h * w.stride[1] - w.before[1]
        Py_ssize_t start_j = j * w.stride[2] - w.before[2]
        Py_ssize_t reach = w.size[2] - 1 - (w.kernel[2] - 1) * w.dilation[2]    # last start of a window inside
        bint is_thin = w.kernel[2] == 1 and w.stride[2] == 1 and w.pixel == w.channels and reach >= 0
        Py_ssize_t end = j + 1
    if (start_d >= 0 and start_d + (w.kernel[0] - 1) * w.dilation[0] < w.size[0]
            and start_h >= 0 and start_h + (w.kernel[1] - 1) * w.dilation[1] < w.size[1]
            and start_j >= 0 and start_j <= reach):
        span.at = (start_d - d0) * w.lines[0] + (start_h - h0) * w.lines[1] + start_j * w.pixel
        span.taps, span.ids, span.n_taps = w.taps, w.ids, w.n_taps
        end = min(last, (reach + w.before[2]) // w.stride[2] + 1)
    else:
        span.at = 0
        span.n_taps = clip_taps(w, d, h, j, d0, h0, clip)
        span.taps, span.ids = clip.taps, clip.ids
        if is_thin and start_j >= 0:
            end = min(last, reach + w.before[2] + 1)
    span.n_pixels = 1 if is_thin else end - j
    span.n_channels = (end - j) * w.channels if is_thin else w.channels
    return end


cdef inline void max_pool_pixels(
    const Windows *w,
    Py_ssize_t d, Py_ssize_t h,     # the output line
    Py_ssize_t first, Py_ssize_t last,
    const real *x,                  # the map from line (d0, h0) on
    Py_ssize_t d0, Py_ssize_t h0,
    real *y,                        # (last - first, channels)   OUT
    uint8_t *index,                 # (last - first, channels)   OUT, or NULL
    int32_t *wide,                  # the same for windows of more than 255 taps, or NULL
    Clip *clip,
) noexcept nogil:
    cdef:
        Py_ssize_t j = first, end, done
        Span s
    while j < last:
        end = next_span(w, d, h, j, last, d0, h0, clip, &s)
        done = (j - first) * w.channels
        if index == NULL and wide == NULL:
            top_spans(x + s.at, w.stride[2] * w.pixel, s.n_pixels, s.taps, s.n_taps, s.n_channels, y + done)
        else:
            max_spans(x + s.at, w.stride[2] * w.pixel, s.n_pixels, s.taps, s.ids, s.n_taps, s.n_channels, y + done,
                      NULL if index == NULL else index + done, NULL if wide == NULL else wide + done)
        j = end


cdef inline void max_pool_line(
    const Windows *w,
    Py_ssize_t d, Py_ssize_t h,
    const real *x,
    Py_ssize_t d0, Py_ssize_t h0,
    real *y,
    uint8_t *index,
    int32_t *wide,
    Clip *clip,
) noexcept nogil:
    max_pool_pixels(w, d, h, 0, w.out[2], x, d0, h0, y, index, wide, clip)


cdef inline void max_unpool_line(
    const Windows *w,
    Py_ssize_t d, Py_ssize_t h,
    const real *dy,                 # (out_width, channels)
    const uint8_t *index,           # (out_width, channels), or NULL where wide is given
    const int32_t *wide,
    real *dx,                       # the map   OUT; zero before the first line, unless w.covering and index is given
    Clip *clip,
) noexcept nogil:
    cdef:
        Py_ssize_t j = 0, end, done, f, at
        Span s
    if index != NULL and w.n_taps <= FEW_TAPS:
        while j < w.out[2]:
            end = next_span(w, d, h, j, w.out[2], 0, 0, clip, &s)
            done = j * w.channels
            unmax_spans(dy + done, index + done, w.stride[2] * w.pixel, s.n_pixels, s.taps, s.ids, s.n_taps,
                        s.n_channels, w.overlapping, dx + s.at)
            j = end
        return
    for j in range(w.out[2]):
        # The winner lies inside, wherever its window begins.
        at = ((d * w.stride[0] - w.before[0]) * w.lines[0] + (h * w.stride[1] - w.before[1]) * w.lines[1]
              + (j * w.stride[2] - w.before[2]) * w.pixel)
        for f in range(w.channels):
            done = j * w.channels + f
            dx[at + w.taps[wide[done] if index == NULL else <int32_t> index[done]] + f] += dy[done]


cdef inline Py_ssize_t counted(const Windows *w, int axis, Py_ssize_t i) noexcept nogil:
    """Taps of window i that lie in the padded map: what an average over padding divides by."""
    cdef Py_ssize_t first, last
    tap_range(i * w.stride[axis], w.kernel[axis], w.dilation[axis], w.before[axis] + w.size[axis] + w.after[axis],
              &first, &last)
    return last - first


cdef inline Py_ssize_t divisor(
    const Windows *w, Py_ssize_t d, Py_ssize_t h, Py_ssize_t j, int n_taps,
) noexcept nogil:
    if w.count_include_pad:
        return counted(w, 0, d) * counted(w, 1, h) * counted(w, 2, j)
    return n_taps


cdef inline void average_pool_pixels(
    const Windows *w,
    Py_ssize_t d, Py_ssize_t h,
    Py_ssize_t first, Py_ssize_t last,
    const real *x,                  # the map
    real *y,                        # (last - first, channels)   OUT
    Clip *clip,
) noexcept nogil:
    cdef:
        Py_ssize_t j = first, end
        Span s
    while j < last:
        end = next_span(w, d, h, j, last, 0, 0, clip, &s)
        mean_spans(x + s.at, w.stride[2] * w.pixel, s.n_pixels, s.taps, s.n_taps, divisor(w, d, h, j, s.n_taps),
                   s.n_channels, y + (j - first) * w.channels)
        j = end


cdef inline void average_unpool_line(
    const Windows *w,
    Py_ssize_t d, Py_ssize_t h,
    const real *dy,                 # (out_width, channels)
    real *dx,                       # the map   OUT; zero before the first line, unless w.covering
    Clip *clip,
) noexcept nogil:
    cdef:
        Py_ssize_t j = 0, end
        Span s
    while j < w.out[2]:
        end = next_span(w, d, h, j, w.out[2], 0, 0, clip, &s)
        unmean_spans(dy + j * w.channels, w.stride[2] * w.pixel, s.n_pixels, s.taps, s.n_taps,
                     divisor(w, d, h, j, s.n_taps), s.n_channels, w.overlapping, dx + s.at)
        j = end


cdef inline void lp_pool_pixels(
    const Windows *w,
    Py_ssize_t d, Py_ssize_t h,
    Py_ssize_t first, Py_ssize_t last,
    const real *x,                  # the map
    real *y,                        # (last - first, channels)   OUT
    Clip *clip,
) noexcept nogil:
    cdef:
        Py_ssize_t j = first, end
        Span s
    while j < last:
        end = next_span(w, d, h, j, last, 0, 0, clip, &s)
        norm_spans(x + s.at, w.stride[2] * w.pixel, s.n_pixels, s.taps, s.n_taps, <real> w.p, s.n_channels,
                   y + (j - first) * w.channels)
        j = end


cdef inline void lp_unpool_line(
    const Windows *w,
    Py_ssize_t d, Py_ssize_t h,
    const real *x,                  # the map
    const real *y,                  # (out_width, channels)
    const real *dy,                 # (out_width, channels)
    real *dx,                       # as the map, without gaps between samples   OUT; as in average_unpool_line
    Clip *clip,
) noexcept nogil:
    cdef:
        Py_ssize_t j = 0, end, done
        Span s
    while j < w.out[2]:
        end = next_span(w, d, h, j, w.out[2], 0, 0, clip, &s)
        done = j * w.channels
        unnorm_spans(x + s.at, y + done, dy + done, w.stride[2] * w.pixel, s.n_pixels, s.taps, s.n_taps, <real> w.p,
                     s.n_channels, w.overlapping, dx + s.at)
        j = end
