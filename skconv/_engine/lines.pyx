"""Convolutions whose rows of taps stay in registers while a line of pixels passes (lines.h): output and input gradient.

Every sum goes by rows of the kernel, channels, taps, and leaves out the rows that fall on the margin. Of the columns
that a line sees, the first and last half of the kernel's width are left out where padding covers them, as "same" does.
"""
from .layer cimport Tables, kernels_of, n_alike
from .margins import kernel_rows_inside, taps_inside
from .table cimport Lines, Run


cpdef bint goes_by_lines(kernels, Py_ssize_t kernel, Py_ssize_t width, Py_ssize_t n_columns):
    """Whether there are kernels for `kernel` taps a row and `n_columns` filters, on lines of `width` pixels."""
    return kernel in (3, 5, 7) and width >= kernels_of(kernels).least_line(kernel, n_columns)


def margins_of_line(Py_ssize_t kernel, Py_ssize_t size, Py_ssize_t out, Py_ssize_t before):
    """Whether the first, and the last, `kernel // 2` pixels that a line of `out` results sees fall on the margin.

    >>> margins_of_line(5, 9, 9, 2), margins_of_line(5, 9, 7, 1)
    ((True, True), (False, False))
    """
    return before >= kernel // 2, out + kernel - 1 - before - size >= kernel // 2


def leaves_out_margins(size, out, kernel, stride, dilation, before):
    """Whether no pixel beside the image is read: rows are left out one by one, columns half a kernel or none.

    >>> leaves_out_margins((1, 9, 9), (1, 9, 9), (1, 5, 5), (1, 1, 1), (1, 1, 1), (0, 2, 2))
    True
    >>> leaves_out_margins((1, 9, 9), (1, 9, 7), (1, 5, 5), (1, 1, 1), (1, 1, 1), (0, 2, 1))
    False
    """
    rows = taps_inside(size[1], out[1], kernel[1], stride[1], dilation[1], before[1])
    after = out[2] + kernel[2] - 1 - before[2] - size[2]
    return (kernel[0] == 1 and before[0] == 0 and (out[0] - 1) * stride[0] < size[0]
            and (kernel_rows_inside(size, out, kernel, stride, dilation, before) is not None
                 or rows == [(0, kernel[1])] * out[1])
            and before[2] in (0, kernel[2] // 2) and (after <= 0 or after == kernel[2] // 2))


def forward_lines(kernels, *, size, out, kernel, stride, dilation, before, n_groups, n_channels, n_filters, x_lines,
                  n_columns, y_pixel, y_line):
    """The `LineByLine` of a convolution, or None.

    Parameters
    ----------
    kernels : capsule
    size, out, kernel, stride, dilation, before : 3 ints
        Per axis, of the image, the result and the window.
    n_groups, n_channels, n_filters : int
        Groups, and channels and filters of a group.
    x_lines : 2 ints
        Elements from one depth slice, and one line, of the image to the next.
    n_columns : int
        Values of a pixel that are computed, n_filters or more.
    y_pixel, y_line : int
        As for LineByLine.
    """
    if not (n_groups == stride[2] == dilation[2] == 1 and goes_by_lines(kernels, kernel[2], out[2], n_columns)):
        return None
    w_row = kernel[2] * n_channels * n_filters
    rows = [(a * dilation[0] * x_lines[0] + b * dilation[1] * x_lines[1], (a * kernel[1] + b) * w_row)
            for a in range(kernel[0]) for b in range(kernel[1])]
    return LineByLine(
        kernels, row_offsets=rows, kernel=kernel[2], n_channels=n_channels, x_pixel=n_channels,
        x_line=stride[1] * x_lines[1], w_tap=n_channels * n_filters, w_channel=n_filters, n_columns=n_columns,
        width=out[2], margins=margins_of_line(kernel[2], size[2], out[2], before[2]), y_pixel=y_pixel, y_line=y_line,
        kernel_rows=kernel_rows_inside(size, out, kernel, stride, dilation, before),
        leaves_out_margins=leaves_out_margins(size, out, kernel, stride, dilation, before))


cdef class LineByLine:
    """See the head of the file.

    Parameters
    ----------
    kernels : capsule
    row_offsets : list of (int, int)
        Where the rows of the kernel read x and the weights, in the order of the sum.
    kernel, n_channels : int
        Taps of a row, and channels that they see.
    x_pixel, x_line : int
        Elements from one pixel to the next, and from what one line of the result sees to what the next sees.
    w_tap, w_channel : int
        Elements from tap to tap, and from channel to channel, of the weights.
    n_columns : int
        Filters, or channels of the gradient.
    width : int
        Pixels of a line of the result.
    margins : 2 bools
        As `margins_of_line`.
    y_pixel, y_line : int
        Elements from one pixel, and one line, of the result to the next.
    kernel_rows : list of (first, end) or None
        For every line of the result, which rows of the kernel see the image.
    leaves_out_margins : bool
        Whether these and `margins` are all that lies beside the image.
    """

    def __init__(self, kernels, *, row_offsets, kernel, n_channels, x_pixel, x_line, w_tap, w_channel, n_columns, width,
                 margins, y_pixel, y_line, kernel_rows, leaves_out_margins=False):
        cdef:
            Py_ssize_t i
            Run *rows
        self.k = kernels_of(kernels)
        self.tables = Tables()
        rows = self.tables.runs(len(row_offsets))
        for i in range(len(row_offsets)):
            rows[i].a, rows[i].b = row_offsets[i]
        self.lines.rows, self.lines.n_rows = rows, len(row_offsets)
        self.lines.kernel, self.lines.n_channels = kernel, n_channels
        self.lines.x_pixel, self.lines.x_line = x_pixel, x_line
        self.lines.w_tap, self.lines.w_channel = w_tap, w_channel
        self.lines.n_columns, self.lines.width = n_columns, width
        self.lines.left, self.lines.right = margins
        self.lines.y_pixel, self.lines.y_line = y_pixel, y_line
        self.leaves_out_margins = leaves_out_margins
        if kernel_rows is not None:
            self.kernel_rows = self.tables.runs(len(kernel_rows))
            for i in range(len(kernel_rows)):
                self.kernel_rows[i].a, self.kernel_rows[i].b = kernel_rows[i]

    cdef void run(self, const char *x, Py_ssize_t h, Py_ssize_t n_lines, const char *w, const char *bias, char *y,
                  bint relu, const char *ahead, Py_ssize_t n_ahead) noexcept nogil:
        """Compute n_lines from line h on; x points at what the first tap of the first pixel sees. Meanwhile n_ahead
        cache lines at `ahead` come into the second cache."""
        cdef:
            Lines lines = self.lines
            const Run *rows = NULL if self.kernel_rows == NULL else self.kernel_rows + h
            Py_ssize_t n = n_lines
        while n_lines > 0:
            if rows != NULL:
                n = n_alike(rows, n_lines)
                lines.rows = self.lines.rows + rows.a
                lines.n_rows = rows.b - rows.a
                rows += n
            lines.ahead, lines.n_ahead = ahead, n_ahead * n // n_lines
            ahead += 64 * lines.n_ahead
            n_ahead -= lines.n_ahead
            self.k.convolve_lines(&lines, n, x, w, bias, y, relu)
            x += n * lines.x_line * self.k.itemsize
            y += n * lines.y_line * self.k.itemsize
            n_lines -= n
