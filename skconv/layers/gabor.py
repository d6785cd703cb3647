"""Banks of Gabor filters, the responses of simple cells to an image."""

import math
import numbers
import warnings
from dataclasses import replace

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .._geometry import check_bool, check_choice, check_int, check_real, per_axis, resolve_window
from .._memory import memory_limit
from .._network import Network
from .._operations import PADDING_MODES, CombineMoments, FilterBank
from .._separable import RESPONSES, Bank
from .._warnings import warn_user
from ._fourier import FourierBank
from ._gabor_kernel import auto_size, checked_gabor, positive, sigma_of
from .base import Layer, as_text, spatial_shape

ALGORITHMS = ("auto", "direct", "separable", "fft")
MAX_FILTERS = 2**14
# Parts of a map that moments are taken of one by one, 2**13 pixels each.
MAX_BLOCKS = 2**22
# What a filter in float32 can be multiplied by, times images, and stay finite.
MAX_AMPLITUDE = 1e30
# Serre, Wolf, Bileschi, Riesenhuber and Poggio (2007), table 1: side, sigma, wavelength.
_HMAX = (
    (7, 2.8, 3.5), (9, 3.6, 4.6), (11, 4.5, 5.6), (13, 5.4, 6.8), (15, 6.3, 7.9), (17, 7.3, 9.1), (19, 8.2, 10.3),
    (21, 9.2, 11.5), (23, 10.2, 12.7), (25, 11.3, 14.1), (27, 12.3, 15.4), (29, 13.4, 16.8), (31, 14.6, 18.2),
    (33, 15.8, 19.7), (35, 17.0, 21.2), (37, 18.2, 22.8),
)  # fmt: skip


def _reals(values, name, check=check_real):
    """A number, or a sequence of them, as a tuple of floats."""
    if isinstance(values, numbers.Real) or getattr(values, "ndim", None) == 0:
        values = (values,)
    if not isinstance(values, list | tuple | np.ndarray):
        raise TypeError(f"{name} must be a number or a sequence of numbers, got {values!r}")
    if not 0 < len(values) <= MAX_FILTERS:
        raise ValueError(f"{name} must have at least 1 and at most 2**14 entries, got {len(values)}")
    return tuple(check(value, f"{name}[{i}]") for i, value in enumerate(values))


def _check_memory(filters, where):
    """Refuse filters that fit no memory, in complex128, before one of them is computed."""
    sides = [max(gabor.shape[axis] for gabor in filters) for axis in range(2)]
    needed = 16 * len(filters) * math.prod(sides)
    if needed > memory_limit():
        raise MemoryError(
            f"{where}{len(filters)} filters of up to {sides[0]}x{sides[1]} pixels take {needed / 2**30:.0f} GiB, more "
            "than this machine has memory; use fewer filters, or smaller ones"
        )


class GaborFilterBank(Layer):
    """Filter images with a bank of Gabor filters of several frequencies and orientations.

    Every filter is a complex wave under a Gaussian, ``amplitude * exp(-alpha * xt**2 - beta * yt**2 + 1j * (omega * xt
    + psi))``, in the words of `gabor_kernel`, which is its imaginary part. It is correlated with every channel of the
    image on its own, and the response is made of the real and imaginary result.

    Parameters
    ----------
    n_orientations : int, default=8
        Directions of the waves: multiples of pi / n_orientations.
    frequencies : float or sequence of floats, default=(0.05, 0.1, 0.2, 0.4)
        Cycles per pixel, above 0; from 0.5 on, waves alias, of which a UserWarning tells. Waves longer than the image
        (frequencies below 1 / side) see little but its padding.
    bandwidth : float, default=1.0
        Octaves between the frequencies at which a filter's response falls to half, above 0; with the frequency it
        decides on the envelope's standard deviation (scikit-image's formula).
    aspect_ratio : float, default=1.0
        Standard deviation along the wave over that across it (OpenCV's gamma), above 0.
    phases : float or sequence of floats, default=(0.0,)
        Phases psi of every filter, in radians: 0 makes the real part even and the imaginary part odd.
    kernel_size : "auto", int or tuple of (height, width), default="auto"
        Extent of all kernels; "auto" gives each `n_stds` standard deviations to every side, along its own axes, as
        scikit-image does.
    n_stds : float, default=3.0
    normalization : {"area", "l2", None}, default="area"
        "area" divides by the integral of the envelope (scikit-image), "l2" gives the kernel that the response uses
        norm 1, None leaves the envelope's height at 1 (OpenCV).
    zero_mean : bool, default=False
        Whether to subtract a multiple of the envelope from every filter, so that its sum is zero and constant images
        have no response. Even filters of an octave's bandwidth sum to 0.2 percent of their envelope without it.
    parameters : list of dict, default=None
        Filters in the lecture's words, in place of all of the above but `zero_mean` and "l2": each with `theta`,
        `omega`, `alpha` and `beta`, and with `psi`, `amplitude`, `x0`, `y0` and `kernel_size` where they are not 0, 1,
        0, 0 and what this bank's `kernel_size` says.
    response : {"magnitude", "energy", "real", "imag", "quadrature"}, default="magnitude"
        What becomes of the complex result: its modulus, the square of that, one of its parts, or both (real maps
        first). "imag" is the result of the lecture's G.
    features : {"maps", "moments"}, default="maps"
        "moments" gives the mean and the standard deviation of every response over the image, flat, and stores no maps.
    stride : int or tuple of 2 ints, default=1
    padding : {"valid", "same", "same_lower", "full"}, int, tuple of 2 ints or of 2 pairs, default="same"
        As in `Conv2DTransformer`, for a window that holds all kernels.
    padding_mode : {"constant", "reflect", "symmetric", "edge", "wrap"}, default="symmetric"
        What lies around the image, in NumPy's words; "constant" means zeros.
    trainable : bool, default=False
        Whether a network moves the filters. They are then all as large as the largest, and computed directly.
    algorithm : {"auto", "direct", "separable", "fft"}, default="auto"
        How responses are computed: by direct convolution, by row and column filters, exact for isotropic envelopes and
        within 1e-6 (float32) or 1e-13 (float64) of each filter's norm for others, or, standing alone, by fast Fourier
        transforms of tiles. "auto" takes the cheapest by the sizes of the kernels.
    image_shape : tuple of ints, default=None
        Shape of one image, where X is flat: (height, width[, n_channels]).

    Attributes
    ----------
    kernels_ : list of ndarray, complex128
        The filters, each of its own size.
    frequencies_, orientations_, phases_ : ndarray of shape (n_filters,)
        Cycles per pixel, radians, radians.
    algorithm_ : str
        What computes the responses.
    image_shape_, output_shape_ : tuple
        Shape of one image and of its result, channels last: first the responses to the image's first channel, by
        frequency, then orientation, then phase.
    n_features_in_ : int

    Notes
    -----
    Filters with isotropic envelopes cost about ``3 * kernel_size`` multiply-adds per pixel: orientations theta and
    pi - theta share their row filters and their products. Filters of other envelopes take the singular vectors of the
    Gaussian. Units of a few thousand pixels are shared out among threads, also those of a single photograph; the bits
    of the result do not depend on it.

    The magnitude is the root of a sum of squares. In float32, responses from 1e19 on may give infinity, and those below
    1e-22 give zero; scale such images, or pass them as float64.

    References
    ----------
    .. [1] Daugman, "Uncertainty relation for resolution in space, spatial frequency, and orientation optimized by
       two-dimensional visual cortical filters", J. Opt. Soc. Am. A 2, 1985.
    .. [2] Serre, Wolf, Bileschi, Riesenhuber and Poggio, "Robust Object Recognition with Cortex-Like Mechanisms",
       IEEE TPAMI 29, 2007.

    Examples
    --------
    >>> import numpy as np
    >>> from skconv import GaborFilterBank
    >>> X = np.random.default_rng(0).normal(size=(5, 64, 48))
    >>> GaborFilterBank().fit_transform(X).shape
    (5, 64, 48, 32)
    >>> bank = GaborFilterBank(4, frequencies=(0.25,), features="moments").fit(X)
    >>> bank.transform(X).shape
    (5, 8)
    >>> print(*bank.get_feature_names_out()[:4], sep="\\n")
    gabor_f0.25_t0_mean
    gabor_f0.25_t0_std
    gabor_f0.25_t45_mean
    gabor_f0.25_t45_std
    """

    def __init__(
        self,
        n_orientations=8,
        frequencies=(0.05, 0.1, 0.2, 0.4),
        *,
        bandwidth=1.0,
        aspect_ratio=1.0,
        phases=(0.0,),
        kernel_size="auto",
        n_stds=3.0,
        normalization="area",
        zero_mean=False,
        parameters=None,
        response="magnitude",
        features="maps",
        stride=1,
        padding="same",
        padding_mode="symmetric",
        trainable=False,
        algorithm="auto",
        image_shape=None,
    ):
        self.n_orientations = n_orientations
        self.frequencies = frequencies
        self.bandwidth = bandwidth
        self.aspect_ratio = aspect_ratio
        self.phases = phases
        self.kernel_size = kernel_size
        self.n_stds = n_stds
        self.normalization = normalization
        self.zero_mean = zero_mean
        self.parameters = parameters
        self.response = response
        self.features = features
        self.stride = stride
        self.padding = padding
        self.padding_mode = padding_mode
        self.trainable = trainable
        self.algorithm = algorithm
        self.image_shape = image_shape

    @classmethod
    def hmax(cls, n_scales=16, n_orientations=4, *, response="real", **options):
        """Make the bank of the S1 units of the HMAX model (Serre et al., 2007): even filters, 7x7 to 37x37.

        The filters have an aspect ratio of 0.3, zero mean and norm 1. Their absolute response, the maximum over two
        adjacent scales and pooling over space give the C1 units.

        Parameters
        ----------
        n_scales : int, default=16
            The smallest so many of the table's 16 scales.
        n_orientations : int, default=4
        response : str, default="real"
        **options
            Other parameters of GaborFilterBank.

        Returns
        -------
        bank : GaborFilterBank

        Examples
        --------
        C1 units of the first band, two scales pooled over 8x8 pixels with half of them shared by neighbours:

        >>> import numpy as np
        >>> from skconv import GaborFilterBank, MaxPool
        >>> X = np.random.default_rng(0).normal(size=(2, 64, 64))
        >>> s1 = np.abs(GaborFilterBank.hmax(n_scales=2).fit_transform(X))
        >>> s1.shape
        (2, 64, 64, 8)
        >>> over_scales = s1.reshape(2, 64, 64, 2, 4).max(axis=3)
        >>> MaxPool(8, stride=4).fit_transform(over_scales).shape
        (2, 15, 15, 4)
        """
        n_scales = check_int(n_scales, "n_scales", 1, len(_HMAX))
        n_orientations = check_int(n_orientations, "n_orientations", 1, MAX_FILTERS)
        parameters = [
            {
                "kernel_size": side,
                "theta": k * math.pi / n_orientations,
                "omega": 2 * math.pi / wavelength,
                "alpha": 1 / (2 * sigma**2),
                "beta": 0.3**2 / (2 * sigma**2),
            }
            for side, sigma, wavelength in _HMAX[:n_scales]
            for k in range(n_orientations)
        ]
        options = dict(zero_mean=True, normalization="l2") | options
        return cls(parameters=parameters, response=response, **options)

    # ---- filters -----------------------------------------------------------------------------------------------

    def _filters(self, where):
        """The filters, every parameter checked."""
        normalization = check_choice(self.normalization, f"{where}normalization", ("area", "l2", None))
        zero_mean = check_bool(self.zero_mean, f"{where}zero_mean")
        response = check_choice(self.response, f"{where}response", RESPONSES)
        n_stds = positive(self.n_stds, f"{where}n_stds")
        if self.parameters is None:
            given = self._combinations(where, n_stds, normalization)
        else:
            given = self._listed(where, n_stds)
        given = tuple(given)
        _check_memory(given, where)
        filters = []
        for gabor in given:
            kernel, envelope = gabor.kernel(), gabor.envelope()
            dc, total = 0.0, envelope.sum()
            if zero_mean and total > 0:
                dc = complex(kernel.sum() / total)
                kernel = kernel - dc * envelope
            scale = 1.0
            if normalization == "l2":
                part = {"real": kernel.real, "imag": kernel.imag}.get(response, kernel)
                norm = float(np.linalg.norm(part))
                if norm <= 1e-12 * abs(gabor.amplitude):
                    raise ValueError(
                        f"{where}normalization='l2' cannot scale a filter of zeros (omega={gabor.omega:g}, "
                        f"psi={gabor.psi:g}, response={response!r})"
                    )
                scale = 1 / norm
            filters.append(replace(gabor, amplitude=gabor.amplitude * scale, dc=dc * scale))
        return tuple(filters)

    def _combinations(self, where, n_stds, normalization):
        n_orientations = check_int(self.n_orientations, f"{where}n_orientations", 1)
        frequencies = _reals(self.frequencies, f"{where}frequencies", positive)
        bandwidth = positive(self.bandwidth, f"{where}bandwidth")
        aspect_ratio = positive(self.aspect_ratio, f"{where}aspect_ratio")
        phases = _reals(self.phases, f"{where}phases")
        if n_orientations * len(frequencies) * len(phases) > MAX_FILTERS:
            raise ValueError(
                f"{where}n_orientations={n_orientations}, {len(frequencies)} frequencies and {len(phases)} phases make "
                "more than 2**14 filters"
            )
        for frequency in frequencies:
            sigma = sigma_of(frequency, bandwidth)
            for k in range(n_orientations):
                theta = k * math.pi / n_orientations
                size = self._size(where, theta, sigma, sigma / aspect_ratio, n_stds, "frequencies", frequency)
                area = 2 * math.pi * sigma**2 / aspect_ratio
                for psi in phases:
                    parameters = dict(
                        theta=theta, omega=2 * math.pi * frequency, psi=psi, alpha=1 / (2 * sigma**2),
                        beta=aspect_ratio**2 / (2 * sigma**2), amplitude=1 / area if normalization == "area" else 1.0,
                    )  # fmt: skip
                    yield checked_gabor(parameters, size, where)

    def _listed(self, where, n_stds):
        if not isinstance(self.parameters, list | tuple) or not all(isinstance(p, dict) for p in self.parameters):
            raise TypeError(f"{where}parameters must be a list of dicts, got {self.parameters!r:.80}")
        if not 0 < len(self.parameters) <= MAX_FILTERS:
            raise ValueError(f"{where}parameters must have at least 1 and at most 2**14 entries")
        needed, others = {"theta", "omega", "alpha", "beta"}, {"psi", "amplitude", "x0", "y0", "kernel_size"}
        for i, given in enumerate(self.parameters):
            here = f"{where}parameters[{i}] "
            if not needed <= set(given) <= needed | others:
                raise ValueError(
                    f"{here}must have {', '.join(sorted(needed))} and may have {', '.join(sorted(others))}, "
                    f"got {', '.join(map(str, given))}"
                )
            given = dict(psi=0.0) | given
            size = given.pop("kernel_size", None)
            if "amplitude" in given:
                check_real(given["amplitude"], f"{here}amplitude", -MAX_AMPLITUDE, MAX_AMPLITUDE)
            if size is None:
                theta = check_real(given["theta"], f"{here}theta")
                sigmas = [1 / math.sqrt(2 * positive(given[name], f"{here}{name}")) for name in ("alpha", "beta")]
                size = self._size(where, theta, *sigmas, n_stds, f"parameters[{i}]: alpha", given["alpha"])
            yield checked_gabor(given, size, here)

    def _size(self, where, theta, sigma_x, sigma_y, n_stds, name, value):
        if isinstance(self.kernel_size, str):
            check_choice(self.kernel_size, f"{where}kernel_size", ("auto",))
            return auto_size(theta, sigma_x, sigma_y, n_stds, f"{where}{name}", value)
        return per_axis(self.kernel_size, f"{where}kernel_size", 2, 1)

    # ---- operations --------------------------------------------------------------------------------------------

    def bind(self, in_shape, name=""):
        return self._bind(in_shape, name, is_alone=False)[1]

    def _alone(self, in_shape):
        self._bound = in_shape, *self._bind(in_shape, "", is_alone=True)
        return self._bound[-1]

    def _bind(self, in_shape, name, is_alone):
        """The algorithm and the operations."""
        where = as_text(name)
        in_shape = spatial_shape(in_shape, name, type(self).__name__)
        if len(in_shape) != 3:
            raise ValueError(
                f"{where}GaborFilterBank filters images of two spatial axes, but {in_shape} reaches it; give signals "
                "as images of one line"
            )
        filters = self._filters(where)
        if any(abs(gabor.omega) >= math.pi for gabor in filters):
            warn_user(
                f"{where}waves of 0.5 cycles per pixel and more (omega >= pi) alias: they look like lower frequencies",
            )
        features = check_choice(self.features, f"{where}features", ("maps", "moments"))
        mode = check_choice(self.padding_mode, f"{where}padding_mode", PADDING_MODES)
        trainable = check_bool(self.trainable, f"{where}trainable")
        algorithm = check_choice(self.algorithm, f"{where}algorithm", ALGORITHMS)
        bank = self._common(filters)
        size = in_shape[:-1]
        try:
            window = resolve_window(size, kernel_size=bank.shape, stride=self.stride, padding=self.padding, name=name)
        except ValueError as error:
            if isinstance(self.kernel_size, str) and "does not fit into" in str(error):
                raise ValueError(f"{error} (here it follows from frequencies, bandwidth and n_stds)") from None
            raise
        out = window.output_size(size)
        n_maps = bank.n_outputs * in_shape[-1]
        if trainable and algorithm not in ("auto", "direct"):
            raise ValueError(f"{where}trainable=True needs algorithm='direct' or 'auto', got {algorithm!r}")
        if algorithm == "fft" and not is_alone:
            raise ValueError(f"{where}algorithm='fft' works standing alone only; use 'auto' inside a network")
        if trainable:
            algorithm = "direct"
        elif algorithm == "auto":
            costs = bank.costs(window, out)
            algorithm = min(("separable", "direct", "fft") if is_alone else ("separable", "direct"), key=costs.get)
        moments = features == "moments"
        if moments and bank.n_blocks(window, out) > MAX_BLOCKS:
            raise ValueError(
                f"{where}padding={self.padding!r} makes responses of {out[0]}x{out[1]} pixels, too many for the "
                "moments; use less padding"
            )
        counts = bank.block_sizes(window, out) if moments else ()
        shape = (len(counts), 2 * n_maps) if moments else (*out, n_maps)
        whole = FilterBank(name, in_shape, shape, bank, window, mode, moments, bank.work(window))
        operations = whole.direct(trainable) if algorithm == "direct" else [whole]
        if moments:
            operations.append(CombineMoments(name, shape, (2 * n_maps,), counts))
        return algorithm, operations

    def _common(self, filters):
        """All filters in one rectangle, the pixels they belong to above each other."""
        # "same" pads the smaller half in front, "same_lower" the larger one.
        is_lower = isinstance(self.padding, str) and self.padding == "same_lower"
        anchors = [tuple(n // 2 if is_lower else (n - 1) // 2 for n in gabor.shape) for gabor in filters]
        before = [max(anchor[axis] for anchor in anchors) for axis in range(2)]
        after = [
            max(gabor.shape[axis] - anchor[axis] for gabor, anchor in zip(filters, anchors, strict=True))
            for axis in range(2)
        ]
        corners = tuple(tuple(b - a for b, a in zip(before, anchor, strict=True)) for anchor in anchors)
        return Bank(filters, corners, tuple(b + a for b, a in zip(before, after, strict=True)), self.response)

    # ---- standing alone ----------------------------------------------------------------------------------------

    def fit(self, X, y=None):
        """Learn the shape of the images and make the filters.

        Parameters
        ----------
        X : array-like of shape (n_samples, height, width[, n_channels]) or (n_samples, n_features)
        y : ignored

        Returns
        -------
        self : object
        """
        super().fit(X)
        filters = self._spec._filters("")
        self.kernels_ = [gabor.kernel() for gabor in filters]
        self.frequencies_ = np.array([gabor.omega / (2 * math.pi) for gabor in filters])
        self.orientations_ = np.array([gabor.theta for gabor in filters])
        self.phases_ = np.array([gabor.psi for gabor in filters])
        self.algorithm_ = self._bind_fitted()[0]
        self._networks.clear()
        return self

    def _bind_fitted(self):
        """Algorithm and operations for the shape of `fit`: the specification keeps them until it is pickled."""
        if getattr(self._spec, "_bound", (None,))[0] != self.image_shape_:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # fit has warned
                self._spec._alone(self.image_shape_)
        return self._spec._bound[1:]

    def __getstate__(self):
        state = super().__getstate__()
        state.pop("_bound", None)
        return state

    def _network(self, dtype):
        networks = self.__dict__.setdefault("_networks", {})
        network = networks.get(dtype)
        if network is None or network.operations[0].in_shape != self.image_shape_:
            algorithm, operations = self._bind_fitted()
            network = FourierBank(operations, dtype) if algorithm == "fft" else Network(operations, dtype=dtype)
            network.initialize(None)
            networks[dtype] = network
        return network

    def get_feature_names_out(self, input_features=None):
        """Names of the flattened outputs: frequency in cycles per pixel, orientation in degrees, and what else differs.

        Parameters
        ----------
        input_features : ignored

        Returns
        -------
        names : ndarray of str objects
            Such as ``gabor_f0.25_t90_mean`` for moments and ``gabor_f0.25_t90_y3_x5`` for pixels of maps.
        """
        check_is_fitted(self)
        return self._spec.names_of_outputs(self.image_shape_, "gabor")

    def names_of_outputs(self, in_shape, name):
        filters = self._filters("")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # fit has warned
            out_shape = self.bind(in_shape)[-1].out_shape
        kinds = [f"f{g.omega / (2 * math.pi):g}_t{np.rad2deg(g.theta):g}" for g in filters]
        if len({g.psi for g in filters}) > 1:
            kinds = [f"{kind}_p{np.rad2deg(g.psi):g}" for kind, g in zip(kinds, filters, strict=True)]
        if len(set(kinds)) < len(kinds):
            kinds = [f"{kind}_k{i}" for i, kind in enumerate(kinds)]
        parts = ("_real", "_imag") if self.response == "quadrature" else ("",)
        channels = [f"_c{c}" for c in range(in_shape[-1])] if in_shape[-1] > 1 else [""]
        maps = [f"{name}{c}_{kind}{part}" for c in channels for part in parts for kind in kinds]
        if self.features == "moments":
            names = [f"{of}_{moment}" for of in maps for moment in ("mean", "std")]
        else:
            height, width = out_shape[:-1]
            places = [f"_y{i}_x{j}" for i in range(height) for j in range(width)] if height * width > 1 else [""]
            names = [f"{of}{place}" for place in places for of in maps]
        return np.asarray(names, dtype=object)
