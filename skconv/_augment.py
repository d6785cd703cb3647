"""What `augment` means: words and ranges, checked, and resolved for one image size.

While a network trains, every image is drawn anew in every epoch, from `random_state`, the epoch and the number of the
sample alone. In this order:

1. geometry: flip, scale, shear, rotate (all about the image's centre), shift by whole pixels, and displace every pixel
   by the elastic field. With shifts and flips alone pixels are copied, with anything else interpolated bilinearly;
2. values, in units of the channel's standard deviation where the network standardises: contrast and brightness,
   ``x * factor + offset`` with the same two numbers for all channels, and noise;
3. cutout: a box becomes 0, which is the channel's mean where the network standardises.

What lies outside the image is by default a copy of the border (``fill="edge"``). On a uniform background that continues
the background, whatever its colour, where zeros would draw the edge of a frame that moves with the image.

Predictions, validation scores and what data-driven filters see are never augmented.
"""

import math
from dataclasses import dataclass

from ._geometry import check_choice, check_int, check_real

FILLS = ("edge", "reflect", "constant")
AXES = ("depth", "vertical", "horizontal")
# Those between pixels, with the numbers of spatial axes that have them. A stretched signal is one line of a picture.
PLANE = {"rotation": (2,), "shear": (2,), "elastic": (2,), "scale": (1, 2)}
# The elastic distortion of Simard, Steinkraus and Platt (2003) is alpha = 34, sigma = 4 for digits of 28 pixels.
# Displacements have a standard deviation of alpha / (sigma * sqrt(12 * pi)), 1.4 pixels there, so that alpha grows with
# the square of the side where sigma and the displacements grow with the side.
ELASTIC_SIDE, ELASTIC_ALPHA, ELASTIC_SIGMA = 28, 34.0, 4.0


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Ranges of all draws, every number resolved: one entry per spatial axis in each tuple.

    Made by `resolve_augmentation`, which checks; the constructor does not.
    """

    shift: tuple  # pixels, at most, either way
    flip: tuple  # whether a coin is tossed
    rotation: float = 0.0  # degrees, at most, either way
    scale: float = 0.0  # factors lie between 1 / (1 + scale) and 1 + scale
    shear: float = 0.0  # degrees, at most, either way
    elastic: tuple = (0.0, 1.0)  # amplitude and width, in pixels
    cutout: tuple = ()  # sides of the box in pixels, or zeros
    noise: float = 0.0  # standard deviation
    brightness: float = 0.0  # at most, either way
    contrast: float = 0.0  # as scale
    fill: str | float = "edge"

    @property
    def interpolates(self):
        """Whether pixels are computed between those of the image."""
        return bool(self.rotation or self.scale or self.shear or self.elastic[0])

    @property
    def is_identity(self):
        """Whether no draw changes an image."""
        return not (
            self.interpolates
            or any(self.shift + self.flip + self.cutout)
            or self.noise
            or self.brightness
            or self.contrast
        )


def resolve_augmentation(augment, image_shape):
    """Check `augment` and resolve it for one image size.

    Parameters
    ----------
    augment : None, str or dict
        As in `CNNClassifier`.
    image_shape : tuple
        (*spatial, n_channels).

    Returns
    -------
    Augmentation or None
        None where every image would stay as it is.

    Raises
    ------
    TypeError, ValueError
        If a key is unknown, or a value is wrong or does not suit the image.

    Examples
    --------
    >>> resolve_augmentation("shift", (28, 28, 1)).shift
    (2, 2)
    >>> resolve_augmentation({"shift": (0, 3), "rotation": True}, (28, 28, 1)).rotation
    10.0
    >>> resolve_augmentation({"rotation": 10}, (100, 1))
    Traceback (most recent call last):
    ...
    ValueError: augment['rotation'] needs images with 2 spatial axes, got 1; leave it out
    """
    if augment is None:
        return None
    if isinstance(augment, str):
        augment = {check_choice(augment, "augment", tuple(_RANGES)): True}
    if not isinstance(augment, dict):
        raise TypeError(
            "augment must be None, one of the words "
            f"{', '.join(map(repr, _RANGES))}, or a dict of them, got {augment!r} ({type(augment).__name__})"
        )
    sizes = tuple(image_shape[:-1])
    resolved = {"shift": (0,) * len(sizes), "flip": (False,) * len(sizes), "cutout": (0,) * len(sizes)}
    for key, value in augment.items():
        name = f"augment[{key!r}]"
        if not isinstance(key, str) or key not in (*_RANGES, "fill"):
            raise ValueError(f"augment has no key {key!r}; there are {', '.join(map(repr, (*_RANGES, 'fill')))}")
        if key == "fill":
            resolved[key] = _fill(value, name)
            continue
        if getattr(getattr(value, "dtype", None), "kind", "") == "b" and value.ndim == 0:
            value = bool(value)
        if value is False:
            continue
        if len(sizes) not in PLANE.get(key, (1, 2, 3)):
            axes = " or ".join(map(str, PLANE[key]))
            raise ValueError(f"{name} needs images with {axes} spatial axes, got {len(sizes)}; leave it out")
        resolved[key] = _RANGES[key](value, name, sizes)
    augmentation = Augmentation(**resolved)
    return None if augmentation.is_identity else augmentation


# ---- one function per key: (value, name, sizes) -> resolved ----------------------------------------------------------


def _shift(value, name, sizes):
    pixels = _pixels(1 / 14 if value is True else value, name, sizes)  # 2 pixels of 28
    for n, most in zip(sizes, pixels, strict=True):
        if most >= n:
            raise ValueError(
                f"{name}={value!r} moves images of {'x'.join(map(str, sizes))} pixels out of sight; use at most "
                f"{n - 1} along an axis of {n}{', with one number per axis' if len(sizes) > 1 else ''}"
            )
    return pixels


def _flip(value, name, sizes):
    words = AXES[-len(sizes) :]
    chosen = ("horizontal",) if value is True else value
    if isinstance(chosen, str):
        chosen = (chosen,)
    if not isinstance(chosen, tuple | list):
        raise TypeError(
            f"{name} must be a bool, one of {', '.join(map(repr, words))}, or a tuple of them, got {value!r} "
            f"({type(value).__name__})"
        )
    for word in chosen:
        check_choice(word, name, words)
    return tuple(word in chosen for word in words)


def _cutout(value, name, sizes):
    if value is True:
        # A quarter of every side; nothing would be left of a single pixel.
        return tuple(max(1, _length(1 / 4, name, n)) * (max(sizes) > 1) for n in sizes)
    pixels = _pixels(value, name, sizes)
    for n, side in zip(sizes, pixels, strict=True):
        if any(pixels) and not 1 <= side <= n:
            raise ValueError(
                f"{name}={value!r} must be a box inside the image, of 1 to {n} pixels along an axis of {n}, got {side}"
            )
    return pixels


def _elastic(value, name, sizes):
    side = min(sizes)
    if value is True:
        ratio = side / ELASTIC_SIDE
        return ELASTIC_ALPHA * ratio**2, ELASTIC_SIGMA * ratio
    if isinstance(value, str) or not isinstance(value, tuple | list) or len(value) != 2:
        raise TypeError(
            f"{name} must be True, or amplitude and width (alpha, sigma) in pixels, such as (34, 4) for 28 pixels, got "
            f"{value!r}"
        )
    longest = max(sizes)
    return check_real(value[0], f"{name}[0]", 0, 100 * longest), check_real(value[1], f"{name}[1]", 0.1, longest)


def _fill(value, name):
    if isinstance(value, str):
        return check_choice(value, name, FILLS)
    try:
        return check_real(value, name, -3e38, 3e38)
    except TypeError:
        raise TypeError(
            f"{name} must be one of {', '.join(map(repr, FILLS))}, or a number, got {value!r} ({type(value).__name__})"
        ) from None


def _real(default, most):
    """A range of numbers up to `most`; True stands for `default`."""

    def resolve(value, name, sizes):
        return default if value is True else check_real(value, name, 0, most)

    return resolve


_RANGES = {
    "shift": _shift,
    "flip": _flip,
    "rotation": _real(10.0, 180),
    "scale": _real(0.1, 1),
    "shear": _real(10.0, 60),
    "elastic": _elastic,
    "cutout": _cutout,
    "noise": _real(0.1, 100),
    "brightness": _real(0.2, 100),
    "contrast": _real(0.2, 100),
}


def _pixels(value, name, sizes):
    """Whole pixels per axis: an int, a share of the side (a float below 1), or one of them for each axis."""
    values = tuple(value) if isinstance(value, tuple | list) else (value,) * len(sizes)
    if len(values) != len(sizes):
        raise ValueError(f"{name} must be a number or a tuple of {len(sizes)} numbers, one per axis, got {value!r}")
    return tuple(_length(v, name, n) for v, n in zip(values, sizes, strict=True))


def _length(value, name, n):
    is_share = isinstance(value, float) or getattr(getattr(value, "dtype", None), "kind", "") == "f"
    if not is_share:
        return check_int(value, name, minimum=0)
    share = check_real(value, name)
    if not 0 <= share < 1:
        raise ValueError(
            f"{name} must be a whole number of pixels, or a share of the side, at least 0 and less than 1, "
            f"got {value!r}"
        )
    return math.floor(share * n + 0.5)
