"""Which taps of a window fall on the image, and which on its margin of zeros, axis by axis."""

MAX_RESULTS = 4096          # of a sample, or lines: beyond, margins are not worth a table


def taps_inside(size, out, kernel, stride, dilation, before):
    """Of one axis: the range of taps (first, last + 1) that fall on the image, for every output position.

    >>> taps_inside(4, 4, 3, 1, 1, 1)
    [(1, 3), (0, 3), (0, 3), (0, 2)]
    """
    ranges = []
    for o in range(out):
        at = o * stride - before
        first = min(kernel, max(0, -(at // dilation)))
        ranges.append((first, max(first, min(kernel, (size - 1 - at) // dilation + 1))))
    return ranges


def positions_inside(ranges, n_taps):
    """The other way round: for every tap, the range of positions (first, last + 1) that see it, (0, 0) if none does.

    >>> positions_inside([(1, 3), (0, 3), (0, 3), (0, 2)], 3), positions_inside([(1, 2)], 2)
    ([(1, 4), (0, 4), (0, 3)], [(0, 0), (0, 1)])
    """
    seen = ([o for o, (first, end) in enumerate(ranges) if first <= tap < end] for tap in range(n_taps))
    return [(positions[0], positions[-1] + 1) if positions else (0, 0) for positions in seen]


def shifts_inside(size, n, first, shifts):
    """Of one axis of a gradient: the range of taps whose position first + i - shift lies on dz, for every i < n.

    The shifts descend.

    >>> shifts_inside(4, 4, 1, [2, 1, 0])
    [(1, 3), (0, 3), (0, 3), (0, 2)]
    """
    ranges = []
    for q in range(first, first + n):
        inside = [i for i, shift in enumerate(shifts) if 0 <= q - shift < size]
        ranges.append((inside[0], inside[-1] + 1) if inside else (0, 0))
    return ranges


def share_inside(axes, kernels):
    """The share of all taps that lie inside, given `taps_inside` of all axes."""
    share = 1.0
    for ranges, kernel in zip(axes, kernels, strict=True):
        share *= sum(last - first for first, last in ranges) / (kernel * len(ranges))
    return share


def kernel_rows_inside(size, out, kernel, stride, dilation, before):
    """For every line, the rows of a flat kernel that see the image; None where all do, or lines are too many."""
    if kernel[0] > 1 or out[1] > MAX_RESULTS:
        return None
    rows = taps_inside(size[1], out[1], kernel[1], stride[1], dilation[1], before[1])
    return None if rows == [(0, kernel[1])] * out[1] else rows
