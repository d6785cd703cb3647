"""Banks of Gabor filters as sums of products of row and column filters, and what the ways to run a bank cost.

A complex Gabor filter is a Gaussian times a plane wave. The wave always separates, exp(j omega (x cos + y sin)), and so
does the Gaussian where it is isotropic or lies along the axes; otherwise the singular vectors of the *real* Gaussian
give it as a short sum. With the carrier absorbed, every term is a pair of complex factors, A + jB along a line and
c + js along a column, and four real products Ac, As, Bc, Bs give its real and its imaginary part. Filters share what
is equal up to its sign: the orientations theta and pi - theta have conjugate row factors and therefore the same four
products, the sine part vanishes where the wave runs along the other axis, and all phases of a filter are other
combinations of the same products. Sharing follows from one rule: equal vectors are kept once, vectors of zeros not.
"""

import math
from dataclasses import dataclass, field

import numpy as np
from scipy.fft import next_fast_len

from ._engine import isa

RESPONSES = ("magnitude", "energy", "real", "imag", "quadrature")
# What becomes of the real and imaginary part, as table.pxd numbers it.
LINEAR = 0
RESPONSE_KINDS = {"magnitude": 1, "energy": 2}
# What is left out of a sum of separable terms, relative to the filter's norm: below the rounding of the precision.
TOLERANCE = {"float32": 1e-6, "float64": 1e-13}
# Pixels that the row filters pass over for nothing, in multiply-adds per pixel, rather than being called once more.
MERGE = 48
# Output columns of a unit, the width of its planes: four of the longest vectors of float32.
BLOCK_COLUMNS = 64
# Output lines of a unit at least, and as a multiple of the filters' height: the lines above and below the unit pass the
# row filters once more, a fifth of that work at most.
UNIT_LINES = 128
UNIT_EXTENTS = 5
# float32 values in a vector, by instruction set.
# Shares of the peak that products reach, and cycles per value and level of a complex transform (SciPy, float32, one
# thread; a real one takes three quarters): what the costs of the algorithms are compared by. Measured with AVX-512, in
# cycles per pixel: HMAX's 64 real filters up to 37x37 2600 direct, 1840 separable of rank 14 at most, 2600 by FFT; 32
# complex filters up to 69x69 317 separable, 1950 by FFT; the same of aspect ratio 0.5 5270 separable, 2780 by FFT.
DIRECT_SHARE = 0.85
SEPARABLE_SHARE = 0.4
FFT_CYCLES = 2.2
# Side of a tile: as long as its transform stays in the second-level cache.
FFT_TILES = (256, 384, 512)
_LANES = {"baseline": 4, "neon": 4, "avx2": 8, "avx512": 16}


@dataclass(frozen=True)
class Gabor:
    """A complex Gabor filter on a rectangle of pixels.

    ``(amplitude * exp(1j * (omega * xt + psi)) - dc) * exp(-alpha * xt**2 - beta * yt**2)``, where ``xt = (x - x0) *
    cos(theta) + (y - y0) * sin(theta)``, ``yt = -(x - x0) * sin(theta) + (y - y0) * cos(theta)``, and x (along a line)
    and y (down the lines) are zero in the middle of the rectangle.
    """

    shape: tuple
    theta: float
    omega: float
    psi: float
    alpha: float
    beta: float
    amplitude: float = 1.0
    x0: float = 0.0
    y0: float = 0.0
    dc: complex = 0.0

    def axes(self):
        """Coordinates x - x0 and y - y0 of the columns and lines."""
        height, width = self.shape
        return np.arange(width) - (width - 1) / 2 - self.x0, np.arange(height) - (height - 1) / 2 - self.y0

    def direction(self):
        """cos(theta) and sin(theta), where pi / 2 means a right angle."""
        return tuple(0.0 if abs(value) < 1e-15 else value for value in (math.cos(self.theta), math.sin(self.theta)))

    def quadratic_form(self):
        """The envelope's exponent as (a, b, c): ``-a x**2 - b y**2 - c x y``."""
        cos, sin = self.direction()
        return (
            self.alpha * cos**2 + self.beta * sin**2,
            self.alpha * sin**2 + self.beta * cos**2,
            2 * (self.alpha - self.beta) * sin * cos,
        )

    def envelope(self):
        """The Gaussian, of height 1."""
        x, y = self.axes()
        y = y[:, np.newaxis]
        cos, sin = self.direction()
        return np.exp(-self.alpha * (x * cos + y * sin) ** 2 - self.beta * (y * cos - x * sin) ** 2)

    def kernel(self):
        """The filter, complex128 of shape `shape`; its imaginary part is the lecture's G."""
        x, y = self.axes()
        cos, sin = self.direction()
        phase = self.omega * (x * cos + y[:, np.newaxis] * sin) + self.psi
        return (self.amplitude * np.exp(1j * phase) - self.dc) * self.envelope()

    def envelope_terms(self, tolerance):
        """The envelope as a sum of ``np.outer(column, row)``: lists of columns and rows."""
        a, b, c = self.quadratic_form()
        if abs(c) <= 1e-14 * (a + b):
            x, y = self.axes()
            return [np.exp(-b * y**2)], [np.exp(-a * x**2)]
        return low_rank(self.envelope(), tolerance)


def low_rank(matrix, tolerance):
    """The shortest sum of ``np.outer(column, row)`` that leaves out at most `tolerance` of the matrix's norm.

    A Gaussian has a few singular values worth speaking of, so crosses of its rows and columns through the largest
    rest (adaptive cross approximation) find them in a fraction of the time of a singular value decomposition, which
    is left to do for the small matrix between them.
    """
    rest, columns, rows = matrix.copy(), [], []
    largest = np.abs(rest).max()
    while len(rows) < min(matrix.shape):
        i, j = np.unravel_index(np.argmax(np.abs(rest)), rest.shape)
        if abs(rest[i, j]) <= 1e-3 * tolerance * largest:
            break
        columns.append(rest[:, j] / rest[i, j])
        rows.append(rest[i].copy())
        rest -= columns[-1][:, np.newaxis] * rows[-1]
    if not rows:
        return [], []
    (q, r), (p, s) = np.linalg.qr(np.array(columns).T), np.linalg.qr(np.array(rows).T)
    u, values, vt = np.linalg.svd(r @ s.T)
    left_out = np.sqrt(np.cumsum(values[::-1] ** 2))[::-1]  # norm without term i and the later ones
    rank = int(np.sum(left_out > tolerance * left_out[0]))
    root = np.sqrt(values[:rank])
    return list((q @ u[:, :rank] * root).T), list((p @ vt[:rank].T * root).T)


@dataclass(frozen=True, eq=False)
class Bank:
    """Filters in one common rectangle, and what is made of their responses.

    Parameters
    ----------
    filters : tuple of Gabor
    corners : tuple of (top, left)
        Where each filter's rectangle begins in the common one.
    shape : (height, width)
        The common rectangle, the kernel of the convolution.
    response : str
        One of RESPONSES.
    """

    filters: tuple
    corners: tuple
    shape: tuple
    response: str
    _programs: dict = field(default_factory=dict, repr=False)

    @property
    def n_outputs(self):
        """Real maps per channel of the image."""
        return len(self.filters) * (2 if self.response == "quadrature" else 1)

    @property
    def parts(self):
        """What the response is made of: "re", "im" or both."""
        return {"real": ("re",), "imag": ("im",)}.get(self.response, ("re", "im"))

    def kernels(self):
        """All filters in the common rectangle, complex128 of shape (n_filters, height, width)."""
        kernels = np.zeros((len(self.filters), *self.shape), dtype=complex)
        for kernel, gabor, (top, left) in zip(kernels, self.filters, self.corners, strict=True):
            kernel[top : top + gabor.shape[0], left : left + gabor.shape[1]] = gabor.kernel()
        return kernels

    def real_kernels(self):
        """The real filters that the response wants, real parts before imaginary parts: float64."""
        kernels = self.kernels()
        return np.concatenate([kernels.real if part == "re" else kernels.imag for part in self.parts])

    def work(self, window):
        """Multiply-adds per output pixel of a channel, by row and column filters."""
        program = self.separate("float32")
        return program.row_work * min(window.stride[0], self.shape[0]) + program.column_work

    def costs(self, window, out_size):
        """Rough cycles per output pixel and channel of every algorithm: a function of shapes and instruction set."""
        lanes = _LANES[isa()]
        area = math.prod(self.shape)
        n_real = len(self.filters) * len(self.parts)
        lines = self.block(window, out_size)[0]
        program = self.separate("float32")
        rows = program.row_work * (min(window.stride[0], self.shape[0]) + self.shape[0] / lines)
        tile = [fourier_tile((o - 1) * s + k, k) for o, s, k in zip(out_size, window.stride, self.shape, strict=True)]
        n_tiles = math.prod(
            -(-o // ((t - k) // s + 1)) for o, t, k, s in zip(out_size, tile, self.shape, window.stride, strict=True)
        )
        transforms = n_tiles * math.prod(tile) * math.log2(math.prod(tile)) / math.prod(out_size)
        return {
            "direct": n_real * area / (2 * lanes * DIRECT_SHARE),
            "separable": (rows + program.column_work) / (2 * lanes * SEPARABLE_SHARE) + self.n_outputs,
            "fft": transforms * FFT_CYCLES * (len(self.filters) + 1) * (0.75 if len(self.parts) == 1 else 1),
        }

    def block(self, window, out_size):
        """Output lines and columns of a unit: a function of shapes, so that no sum depends on threads."""
        wanted = max(UNIT_LINES, -(-UNIT_EXTENTS * self.shape[0] // window.stride[0]))
        n_units = -(-out_size[0] // wanted)
        return -(-out_size[0] // n_units), BLOCK_COLUMNS

    def n_blocks(self, window, out_size):
        """Units of a channel."""
        return math.prod(-(-n // size) for n, size in zip(out_size, self.block(window, out_size), strict=True))

    def block_sizes(self, window, out_size):
        """Output pixels of every unit, in their order."""
        lines, columns = self.block(window, out_size)
        return tuple(
            min(lines, out_size[0] - i) * min(columns, out_size[1] - j)
            for i in range(0, out_size[0], lines)
            for j in range(0, out_size[1], columns)
        )

    def separate(self, dtype):
        """The bank as a `Program` for "float32" or "float64"."""
        if dtype not in self._programs:
            self._programs[dtype] = Program(self, TOLERANCE[dtype])
        return self._programs[dtype]


class _Vectors:
    """Vectors of one length, each kept once: equal up to its sign is equal, zero is nothing."""

    def __init__(self, length):
        self.length = length
        self.vectors = []
        self._seen = {}

    def add(self, vector, start):
        """Return (number, sign) of ``vector`` put at `start`; (None, 0) for a vector of zeros."""
        size = np.abs(vector).max()
        if size < 1e-14:
            return None, 0
        rounded = np.rint(vector / size * 1e9).astype(np.int64)
        sign = 1 if rounded[np.flatnonzero(np.abs(rounded) > 10**6)[0]] > 0 else -1
        key = (start, round(float(size), 12), (sign * rounded).tobytes())
        if key not in self._seen:
            whole = np.zeros(self.length)
            whole[start : start + len(vector)] = sign * vector
            self._seen[key] = len(self.vectors)
            self.vectors.append(whole)
        return self._seen[key], sign


def _support(vectors):
    """First and past-the-last place where one of the vectors is not zero."""
    places = np.flatnonzero(np.any(vectors, axis=0))
    return int(places[0]), int(places[-1]) + 1


@dataclass
class ColumnSet:
    """Planes (row filters) that the same column filters pass over."""

    rows: list  # numbers of the row filters
    columns: list
    component: int = 0
    group: int = 0
    first_plane: int = 0  # in its group
    first_product: int = 0  # in its component


class Program:
    """A bank in the order in which it runs (`_engine/separable.pyx`).

    Attributes
    ----------
    shape : (height, width)
        Of the bank's rectangle.
    groups : list of (left, rows, top, height)
        Row filters that pass over a line together, (n_planes, width), from column `left` of the rectangle on; their
        planes are wanted for `height` lines from line `top` on.
    sets : list of (group, first_plane, n_planes, top, columns, first_product)
        Column filters (n_columns, height) from line `top` of the rectangle on, each over the same adjacent planes.
    components : list of (first_set, last_set, first_output, last_output, n_products)
        Sets and outputs that have to do with each other.
    outputs : list of (kind, channel, real_terms, imaginary_terms)
        Terms are pairs (product, coefficient), products numbered within the component.
    work : float
        Multiply-adds per output pixel, without those of overlapping units.
    """

    def __init__(self, bank, tolerance):
        self.shape = bank.shape
        rows, columns = _Vectors(bank.shape[1]), _Vectors(bank.shape[0])
        results = []  # per filter: {"re": {(row, column): coefficient}, "im": ...}
        for gabor, (top, left) in zip(bank.filters, bank.corners, strict=True):
            results.append(self._terms_of(gabor, top, left, rows, columns, tolerance))
        self._rows, self._columns = rows.vectors, columns.vectors
        self._order(bank, results)

    @staticmethod
    def _terms_of(gabor, top, left, rows, columns, tolerance):
        parts = {"re": {}, "im": {}}

        def add(column, row, factor):
            """Put ``factor * np.outer(column, row)`` among the terms; all but `factor` are real."""
            (r, r_sign), (c, c_sign) = rows.add(row, left), columns.add(column, top)
            if r is None or c is None:
                return
            for part, coefficient in (("re", factor.real), ("im", factor.imag)):
                if abs(coefficient) > 1e-14 * abs(factor):
                    terms = parts[part]
                    terms[r, c] = terms.get((r, c), 0.0) + r_sign * c_sign * coefficient

        x, y = gabor.axes()
        cos, sin = gabor.direction()
        wave_x, wave_y = gabor.omega * cos * x, gabor.omega * sin * y
        factor = gabor.amplitude * np.exp(1j * gabor.psi)
        for column, row in zip(*gabor.envelope_terms(tolerance), strict=True):
            for wave_row, unit_x in ((np.cos(wave_x), 1), (np.sin(wave_x), 1j)):
                for wave_column, unit_y in ((np.cos(wave_y), 1), (np.sin(wave_y), 1j)):
                    add(column * wave_column, row * wave_row, factor * unit_x * unit_y)
            if gabor.dc:
                add(column, row, -complex(gabor.dc))
        return parts

    def _order(self, bank, results):
        wanted = [{part: result[part] for part in bank.parts} for result in results]
        partners = {}  # columns of every row that some output uses
        for result in wanted:
            for row, column in (pair for terms in result.values() for pair in terms):
                partners.setdefault(row, set()).add(column)
        by_columns = {}
        for row, used in sorted(partners.items()):
            by_columns.setdefault(tuple(sorted(used)), []).append(row)
        sets = [ColumnSet(members, list(used)) for used, members in by_columns.items()]
        set_of = {row: s for s in sets for row in s.rows}
        filters_of = self._join(wanted, sets, set_of)
        groups = self._gather(sets)

        # Sets in the order of their components, planes in the order of the sets of their group.
        sets.sort(key=lambda s: s.component)
        planes = [[] for _ in groups]
        self.sets, self.components, self.outputs = [], [], []
        for component, members in enumerate(filters_of):
            first_set, first_output, n_products = len(self.sets), len(self.outputs), 0
            place = {}
            for s in (s for s in sets if s.component == component):
                s.first_plane, s.first_product = len(planes[s.group]), n_products
                planes[s.group] += s.rows
                top, bottom = _support([self._columns[c] for c in s.columns])
                taps = np.array([self._columns[c][top:bottom] for c in s.columns])
                self.sets.append((s.group, s.first_plane, len(s.rows), top, taps, n_products))
                for i, column in enumerate(s.columns):
                    for j, row in enumerate(s.rows):
                        place[row, column] = n_products + i * len(s.rows) + j
                n_products += len(s.rows) * len(s.columns)
            for f in members:
                self.outputs += self._outputs_of(bank, f, wanted[f], place)
            self.components.append((first_set, len(self.sets), first_output, len(self.outputs), n_products))
        self.groups = []
        for members, (left, right, top, bottom) in zip(planes, groups, strict=True):
            self.groups.append((left, np.array([self._rows[r][left:right] for r in members]), top, bottom - top))

    @staticmethod
    def _outputs_of(bank, f, parts, place):
        terms = {part: [(place[pair], c) for pair, c in parts[part].items()] for part in parts}
        if bank.response in RESPONSE_KINDS:
            return [(RESPONSE_KINDS[bank.response], f, terms["re"], terms["im"])]
        return [(LINEAR, f + i * len(bank.filters), terms[part], []) for i, part in enumerate(bank.parts)]

    @staticmethod
    def _join(wanted, sets, set_of):
        """Number the components: sets that an output of one filter adds up. Return each component's filters."""
        numbers = {id(s): i for i, s in enumerate(sets)}

        def root(i):
            while numbers[id(sets[i])] != i:
                i = numbers[id(sets[i])]
            return i

        first = []
        for result in wanted:
            touched = [sets.index(set_of[row]) for terms in result.values() for row, _ in terms]
            roots = sorted({root(i) for i in touched})
            first.append(touched[0] if touched else None)
            for i in roots[1:]:
                numbers[id(sets[i])] = roots[0]
        order = sorted({root(i) for i in range(len(sets))})
        for i, s in enumerate(sets):
            s.component = order.index(root(i))
        filters_of = [[] for _ in order]
        for f, i in enumerate(first):
            if i is None:  # nothing but zeros: an output without terms, wherever
                filters_of = filters_of or [[]]
                filters_of[0].append(f)
            else:
                filters_of[sets[i].component].append(f)
        return filters_of

    def _gather(self, sets):
        """Put sets into groups whose row filters pass over a line together. Return (left, right, top, bottom)."""
        groups = []

        def extent(s):
            return (*_support([self._rows[r] for r in s.rows]), *_support([self._columns[c] for c in s.columns]))

        counts = []
        for s in sorted(sets, key=lambda s: -len(s.rows) * (extent(s)[1] - extent(s)[0])):
            left, right, top, bottom = extent(s)
            best, least = None, MERGE
            for g, (g_left, g_right, g_top, g_bottom) in enumerate(groups):
                width = max(right, g_right) - min(left, g_left)
                waste = len(s.rows) * (width - (right - left)) + counts[g] * (width - (g_right - g_left))
                height = max(bottom, g_bottom) - min(top, g_top)
                if waste <= least and 3 * min(bottom - top, g_bottom - g_top) >= 2 * height:
                    best, least = g, waste
            if best is None:
                best = len(groups)
                groups.append((left, right, top, bottom))
                counts.append(0)
            g_left, g_right, g_top, g_bottom = groups[best]
            groups[best] = (min(left, g_left), max(right, g_right), min(top, g_top), max(bottom, g_bottom))
            counts[best] += len(s.rows)
            s.group = best
        return groups

    @property
    def row_work(self):
        """Multiply-adds of the row filters per pixel of their planes."""
        return sum(rows.size for _, rows, _, _ in self.groups)

    @property
    def column_work(self):
        """Multiply-adds of the column filters, and of the sums of products, per output pixel."""
        return sum(planes * columns.size for _, _, planes, _, columns, _ in self.sets) + sum(
            len(re) + len(im) for _, _, re, im in self.outputs
        )


def fourier_tile(size, kernel):
    """Side of a tile for `size` padded pixels under windows of `kernel` pixels: what wastes least."""
    whole = next_fast_len(size, real=True)
    sizes = [next_fast_len(max(n, 2 * kernel), real=True) for n in FFT_TILES]
    # An inverse transform takes about log(tile) per value, of which tile - kernel + 1 count.
    return min(
        [whole] if whole <= max(sizes) else sizes,
        key=lambda n: -(-(size - kernel + 1) // (n - kernel + 1)) * n * math.log2(n + 1),
    )


def padded_sources(size, window, mode):
    """For every line, and every column, of a padded image the one of the image that it copies; -1 for zeros."""
    constant = {"constant_values": -1} if mode == "constant" else {}
    pads = zip(window.pad_before, window.pad_after, strict=True)
    return [np.pad(np.arange(n), pad, mode, **constant) for n, pad in zip(size, pads, strict=True)]
