"""One Gabor filter: the lecture's formula, and the conventions of scikit-image and OpenCV."""

from math import inf, nan, pi

import numpy as np
import pytest

import reference
from skconv import gabor_kernel, gabor_parameters_from_opencv, gabor_parameters_from_skimage


@pytest.mark.parametrize("kernel_size", [1, 5, 8, (3, 7), (6, 1)])
@pytest.mark.parametrize(
    "parameters",
    [
        dict(theta=0.0, omega=1.0),
        dict(theta=0.7, omega=0.4, psi=1.1, alpha=0.05, beta=0.2, amplitude=-3.0),
        dict(theta=pi / 2, omega=2.0, psi=pi / 2, alpha=0.3, beta=0.01),
        dict(theta=-5.0, omega=0.8, alpha=0.0, beta=0.0, x0=1.5, y0=-2.25),
        dict(theta=2.2, omega=-0.8, psi=0.3, x0=0.5, y0=4.0, amplitude=1e-3),
    ],
)
def test_gabor_kernel_is_the_lectures_formula(kernel_size, parameters):
    kernel = gabor_kernel(kernel_size, **parameters)
    height, width = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
    expected = reference.gabor(height, width, **(dict(psi=0.0, alpha=0.1, beta=0.1) | parameters))
    assert kernel.dtype == np.float64 and kernel.flags.c_contiguous
    # The phase reaches tens of radians, whose rounding the sine passes on.
    np.testing.assert_allclose(kernel, expected, rtol=0, atol=1e-14 * max(1, abs(expected).max()))


def test_x_runs_along_columns_and_theta_turns_towards_the_rows():
    vertical_edges = gabor_kernel(5, theta=0, omega=1)
    np.testing.assert_array_equal(vertical_edges, -vertical_edges[:, ::-1])
    np.testing.assert_array_equal(vertical_edges, vertical_edges[::-1])
    np.testing.assert_allclose(gabor_kernel(5, theta=pi / 2, omega=1), vertical_edges.T, atol=1e-16)
    # A wave at 45 degrees rises towards the lower right.
    oblique = gabor_kernel(5, theta=pi / 4, omega=0.5)
    assert oblique[4, 4] > 0 > oblique[0, 0] and abs(oblique[0, 4]) < 1e-15


STORED_SKIMAGE = np.array(
    [
        [-0.010627990611626, -0.02790902625066, 0.006260243038404],
        [-0.030860929415307, -0.022241036742824, 0.039820857893727],
        [-0.039622742288741, 0.019687781527932, 0.051365829018214],
        [-0.014467084400675, 0.048507600859446, 0.028799980204006],
        [0.014654301585732, 0.03396158148117, 0.006629183106191],
    ]
)
STORED_OPENCV = np.array(
    [
        [-0.269413298688235, -0.555127049648568, 0.139644289303251, 0.872963202963983, 0.364208431288829],
        [-0.51133709028104, -0.026266125920125, 0.921060994002885, 0.596963835099107, -0.227004871727734],
        [-0.145111715484758, 0.742017294439203, 0.722556054307982, -0.154371660427025, -0.341815306564471],
    ]
)

SKIMAGE = [
    dict(frequency=0.05),
    dict(frequency=0.4, theta=pi / 4),
    dict(frequency=0.1, theta=0.3, bandwidth=0.5),
    dict(frequency=0.2, theta=2.5, sigma_x=3.0, sigma_y=1.5, offset=0.8),
    dict(frequency=0.2, theta=pi / 2, sigma_x=1.0, sigma_y=4.0, n_stds=2),
    dict(frequency=0.25, theta=-1.0, bandwidth=2, sigma_y=5.0, n_stds=3.5, offset=-2.0),
    dict(frequency=3.0, sigma_x=0.1, sigma_y=0.1),
]


@pytest.mark.parametrize("parameters", SKIMAGE, ids=str)
def test_parameters_of_skimage_give_its_kernel(parameters):
    filters = pytest.importorskip("skimage.filters")
    expected = filters.gabor_kernel(**parameters)
    ours = gabor_parameters_from_skimage(**parameters)
    scale = abs(expected).max()
    np.testing.assert_allclose(gabor_kernel(**ours), expected.imag, rtol=0, atol=1e-13 * scale)
    real = gabor_kernel(**ours | {"psi": ours["psi"] + pi / 2})
    np.testing.assert_allclose(real, expected.real, rtol=0, atol=1e-13 * scale)


def test_parameters_of_skimage_give_stored_values():
    # skimage.filters.gabor_kernel(0.2, theta=0.5, sigma_x=1.0, sigma_y=2.0, n_stds=1, offset=0.25), version 0.26
    kernel = gabor_kernel(**gabor_parameters_from_skimage(0.2, 0.5, sigma_x=1.0, sigma_y=2.0, n_stds=1, offset=0.25))
    assert kernel.shape == STORED_SKIMAGE.shape
    np.testing.assert_allclose(kernel, STORED_SKIMAGE, atol=1e-12)


OPENCV = [
    dict(ksize=(31, 31), sigma=4.0, theta=0.5, lambd=10.0, gamma=0.5),
    dict(ksize=(9, 21), sigma=2.0, theta=2.0, lambd=5.0, gamma=1.5, psi=0.3),
    dict(ksize=(10, 4), sigma=2.0, theta=-0.4, lambd=4.0, gamma=1.0, psi=0.0),
    dict(ksize=(0, 0), sigma=3.0, theta=0.9, lambd=6.0, gamma=0.7, psi=1.0),
    dict(ksize=(0, 7), sigma=2.5, theta=pi / 2, lambd=6.0, gamma=2.0, psi=-1.0),
]


@pytest.mark.parametrize("parameters", OPENCV, ids=str)
def test_parameters_of_opencv_give_its_kernel(parameters):
    cv2 = pytest.importorskip("cv2")
    expected = cv2.getGaborKernel(**parameters)
    kernel = gabor_kernel(**gabor_parameters_from_opencv(**parameters))
    np.testing.assert_allclose(kernel, expected, rtol=0, atol=1e-13)


def test_parameters_of_opencv_give_stored_values():
    # cv2.getGaborKernel((5, 3), 1.5, 0.7, 4.0, 0.5, 0.4), version 5.0
    kernel = gabor_kernel(**gabor_parameters_from_opencv((5, 3), 1.5, 0.7, 4.0, 0.5, 0.4))
    assert kernel.shape == STORED_OPENCV.shape
    np.testing.assert_allclose(kernel, STORED_OPENCV, atol=1e-12)


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: gabor_kernel(0, 0, 1), ValueError, "kernel_size must be at least 1, got 0"),
        (lambda: gabor_kernel(2**32, 0, 1), ValueError, "at most 2**22 pixels"),
        (lambda: gabor_kernel((3, 3, 3), 0, 1), ValueError, "kernel_size must be an int or a tuple of 2 ints"),
        (lambda: gabor_kernel(3, "0", 1), TypeError, "theta must be a real number"),
        (lambda: gabor_kernel(3, 0, nan), ValueError, "omega must be a finite number, got nan"),
        (
            lambda: gabor_kernel(3, 0, 1, alpha=-0.1),
            ValueError,
            "alpha must be at least 0 and at most 1e+110, got -0.1",
        ),
        (lambda: gabor_kernel(3, 0, 1, beta=inf), ValueError, "beta must be a finite number"),
        (lambda: gabor_parameters_from_skimage(0), ValueError, "frequency must be greater than 0, got 0"),
        (lambda: gabor_parameters_from_skimage(-0.1), ValueError, "frequency must be greater than 0"),
        (lambda: gabor_parameters_from_skimage(0.1, bandwidth=0), ValueError, "bandwidth must be greater than 0"),
        (lambda: gabor_parameters_from_skimage(0.1, sigma_x=0.0), ValueError, "sigma_x must be greater than 0"),
        (lambda: gabor_parameters_from_skimage(0.1, sigma_y=-1), ValueError, "sigma_y must be greater than 0"),
        (lambda: gabor_parameters_from_skimage(1e-9), ValueError, "frequency=1e-09 asks for a kernel of"),
        (lambda: gabor_parameters_from_skimage(1e-30, bandwidth=1e-30), ValueError, "asks for a kernel of"),
        (lambda: gabor_parameters_from_skimage(0.1, sigma_x=1e-200), ValueError, "sigma_x must be at least 1e-50"),
        (lambda: gabor_parameters_from_skimage(5e-324), ValueError, "frequency must be at least 1e-50"),
        (lambda: gabor_parameters_from_opencv((5, 5), 0, 0, 4, 1), ValueError, "sigma must be greater than 0, got 0"),
        (lambda: gabor_parameters_from_opencv((5, 5), 1, 0, 0, 1), ValueError, "lambd must be greater than 0"),
        (lambda: gabor_parameters_from_opencv((5, 5), 1, 0, 4, -1), ValueError, "gamma must be greater than 0"),
        (lambda: gabor_parameters_from_opencv((-5, 5), 1, 0, 4, 1), ValueError, "ksize[0] must be at least 0"),
        (lambda: gabor_parameters_from_opencv((0, 0), 1e9, 0, 4, 1), ValueError, "sigma=1e+09 asks for a kernel of"),
    ],
)
def test_messages(call, error, message):
    with pytest.raises(error) as raised:
        call()
    assert message in str(raised.value)
