"""One Gabor filter, in the lecture's words and in those of scikit-image and OpenCV."""

import math

import numpy as np

from .._geometry import check_real, per_axis
from .._separable import Gabor

# Pixels of one kernel: a bound for what is worth building, far below what could not be held.
MAX_KERNEL = 2**22
# Products of these are finite in float64: 0 * inf would be no envelope.
_MOST = dict(alpha=1e110, beta=1e110, omega=1e110, x0=1e50, y0=1e50)


def gabor_kernel(kernel_size, theta, omega, psi=0.0, alpha=0.1, beta=0.1, amplitude=1.0, x0=0.0, y0=0.0):
    """Compute a Gabor filter, the model of a simple cell's response.

    ``G(x, y) = amplitude * exp(-alpha * xt**2 - beta * yt**2) * sin(omega * xt + psi)``, where
    ``xt = (x - x0) * cos(theta) + (y - y0) * sin(theta)`` and ``yt = -(x - x0) * sin(theta) + (y - y0) * cos(theta)``.

    Parameters
    ----------
    kernel_size : int or tuple of (height, width)
        Extent of the grid in pixels. Its middle is x = y = 0: x grows to the right, along the columns, y downwards,
        along the rows; where a side is even, the coordinates lie halfway between integers.
    theta : float
        Direction of the wave in radians, from the x axis towards the y axis, so clockwise as images are shown.
    omega : float
        Radians per pixel: 2 pi over the wavelength.
    psi : float, default=0.0
        Phase in radians; ``psi=pi / 2`` makes the sine a cosine.
    alpha, beta : float, default=0.1
        Decay of the envelope along and across the wave in 1 / pixel**2, at least 0: 1 / (2 sigma**2).
    amplitude : float, default=1.0
    x0, y0 : float, default=0.0
        Middle of the filter in pixels.

    Returns
    -------
    kernel : ndarray of shape (height, width), float64
        ``kernel[i, j]`` is G at x = j - (width - 1) / 2, y = i - (height - 1) / 2.

    See Also
    --------
    gabor_parameters_from_skimage, gabor_parameters_from_opencv : Their conventions in these words.

    Examples
    --------
    >>> from math import pi
    >>> from skconv import gabor_kernel
    >>> gabor_kernel(3, theta=0, omega=pi / 2).round(3)
    array([[-0.819,  0.   ,  0.819],
           [-0.905,  0.   ,  0.905],
           [-0.819,  0.   ,  0.819]])
    """
    gabor = checked_gabor(
        dict(theta=theta, omega=omega, psi=psi, alpha=alpha, beta=beta, amplitude=amplitude, x0=x0, y0=y0),
        kernel_size, "",
    )  # fmt: skip
    return np.ascontiguousarray(gabor.kernel().imag)


def gabor_parameters_from_skimage(
    frequency, theta=0.0, bandwidth=1.0, sigma_x=None, sigma_y=None, n_stds=3, offset=0.0
):
    """Translate the parameters of ``skimage.filters.gabor_kernel`` into those of `gabor_kernel`.

    With ``p = gabor_parameters_from_skimage(...)``, ``gabor_kernel(**p)`` is the imaginary part of scikit-image's
    complex kernel, and with ``p["psi"] + pi / 2`` it is the real part. The orientation is the same. Note that
    ``skimage.filters.gabor`` convolves, where layers correlate: its kernels are turned by 180 degrees, which changes
    the sign of the imaginary response for ``offset=0``.

    Parameters
    ----------
    frequency : float
        Cycles per pixel.
    theta : float, default=0.0
        Radians.
    bandwidth : float, default=1.0
        Octaves; decides on the sigmas that are not given.
    sigma_x, sigma_y : float, default=None
        Standard deviations along and across the wave, in pixels.
    n_stds : float, default=3
        Half of the kernel's extent in standard deviations.
    offset : float, default=0.0
        Phase in radians.

    Returns
    -------
    parameters : dict
        Keyword arguments of `gabor_kernel`.

    Examples
    --------
    >>> from skconv import gabor_kernel, gabor_parameters_from_skimage
    >>> gabor_kernel(**gabor_parameters_from_skimage(0.2, theta=0.5)).shape
    (17, 17)
    """
    frequency = positive(frequency, "frequency")
    theta = check_real(theta, "theta")
    n_stds = positive(n_stds, "n_stds")
    sigma = sigma_of(frequency, positive(bandwidth, "bandwidth"))
    sigmas = [
        sigma if value is None else positive(value, name)
        for value, name in ((sigma_x, "sigma_x"), (sigma_y, "sigma_y"))
    ]
    return dict(
        kernel_size=auto_size(theta, *sigmas, n_stds, "frequency", frequency), theta=theta,
        omega=2 * math.pi * frequency, psi=check_real(offset, "offset"), alpha=1 / (2 * sigmas[0] ** 2),
        beta=1 / (2 * sigmas[1] ** 2), amplitude=1 / (2 * math.pi * sigmas[0] * sigmas[1]), x0=0.0, y0=0.0,
    )  # fmt: skip


def gabor_parameters_from_opencv(ksize, sigma, theta, lambd, gamma, psi=math.pi / 2):
    """Translate the parameters of ``cv2.getGaborKernel`` into those of `gabor_kernel`, which then gives that kernel.

    OpenCV multiplies by a cosine and stores its kernels turned by 180 degrees, so the lecture's phase is ``pi / 2 -
    psi``.

    Parameters
    ----------
    ksize : tuple of (width, height)
        As in OpenCV, even sizes count as the next odd ones; 0 means three standard deviations to each side.
    sigma : float
        Standard deviation along the wave, in pixels.
    theta : float
        Radians.
    lambd : float
        Wavelength in pixels.
    gamma : float
        Aspect ratio: ``sigma / gamma`` is the standard deviation across the wave.
    psi : float, default=pi / 2
        Phase in radians.

    Returns
    -------
    parameters : dict
        Keyword arguments of `gabor_kernel`.

    Examples
    --------
    >>> from skconv import gabor_kernel, gabor_parameters_from_opencv
    >>> gabor_kernel(**gabor_parameters_from_opencv((31, 31), 4.0, 0.5, 10.0, 0.5)).shape
    (31, 31)
    """
    ksize = per_axis(ksize, "ksize", 2, 0, MAX_KERNEL)
    sigma = positive(sigma, "sigma")
    theta = check_real(theta, "theta")
    lambd = positive(lambd, "lambd")
    gamma = positive(gamma, "gamma")
    cos, sin = math.cos(theta), math.sin(theta)
    extents = (
        max(abs(3 * sigma * cos), abs(3 * sigma / gamma * sin)),
        max(abs(3 * sigma * sin), abs(3 * sigma / gamma * cos)),
    )
    halves = [size // 2 if size else round(extent) for size, extent in zip(ksize, extents, strict=True)]
    _check_extents(halves, "sigma", sigma)
    return dict(
        kernel_size=(2 * halves[1] + 1, 2 * halves[0] + 1), theta=theta, omega=2 * math.pi / lambd,
        psi=math.pi / 2 - check_real(psi, "psi"), alpha=1 / (2 * sigma**2), beta=gamma**2 / (2 * sigma**2),
        amplitude=1.0, x0=0.0, y0=0.0,
    )  # fmt: skip


def positive(value, name):
    """Return a number above zero as float, and not so near to zero or infinity that its square would be either."""
    return check_real(check_real(value, name, 0, inclusive="neither"), name, 1e-50, 1e50)


def sigma_of(frequency, bandwidth):
    """Standard deviation of the envelope whose half-response width is `bandwidth` octaves."""
    octaves = min(bandwidth, 1000.0) * math.log(2)
    return math.sqrt(math.log(2) / 2) / math.pi * (math.exp(octaves) + 1) / math.expm1(octaves) / frequency


def auto_size(theta, sigma_x, sigma_y, n_stds, name, value):
    """(height, width) that holds `n_stds` standard deviations along both axes of the filter, as in scikit-image."""
    cos, sin = abs(math.cos(theta)), abs(math.sin(theta))
    extents = [n_stds * max(sigma_y * cos, sigma_x * sin), n_stds * max(sigma_x * cos, sigma_y * sin)]
    _check_extents(extents, name, value)
    return tuple(2 * math.ceil(max(extent, 1)) + 1 for extent in extents)


def _check_extents(extents, name, value):
    """Refuse kernels that reach too far to all sides, before anything is rounded or allocated."""
    if (2 * extents[0] + 1) * (2 * extents[1] + 1) > MAX_KERNEL:
        raise ValueError(
            f"{name}={value:g} asks for a kernel of {2 * extents[0]:.4g} x {2 * extents[1]:.4g} pixels; the limit is "
            "2**22 pixels; use a higher frequency, a larger bandwidth or an explicit, smaller kernel"
        )


def checked_gabor(parameters, kernel_size, where):
    """A `Gabor` of the lecture's parameters, checked."""
    shape = per_axis(kernel_size, f"{where}kernel_size", 2, 1)
    if math.prod(shape) > MAX_KERNEL:
        raise ValueError(f"{where}kernel_size={kernel_size} must have at most 2**22 pixels; use a smaller kernel")
    checked = {
        name: check_real(
            value, f"{where}{name}", 0 if name in ("alpha", "beta") else -_MOST.get(name, math.inf), _MOST.get(name)
        )
        for name, value in parameters.items()
    }
    return Gabor(shape, **checked)
