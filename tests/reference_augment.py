"""The definition of truth for augmentation, as reference.py is for operations: np.pad, np.flip and scipy.ndimage."""

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from reference import philox4x32


def augmentation_words(seed, epoch, sample, first_block, n_blocks):
    """Return the random words of augmentation, (n_blocks, 4): `layer` is the number that no dropout layer has."""
    key = seed & 0xFFFFFFFF, seed >> 32 ^ 0xFFFFFFFF * 0x9E3779B9 & 0xFFFFFFFF
    counters = ((first_block + block, sample & 0xFFFFFFFF, sample >> 32, epoch) for block in range(n_blocks))
    return np.array([philox4x32(counter, key) for counter in counters], np.int64)


def _strips(seed, epoch, sample, first_block, n_values, per_block):
    """Words for `n_values` numbers, in strips of 16 blocks: (n_strips, 16, 4)."""
    n_strips = -(-n_values // (16 * per_block))
    return augmentation_words(seed, epoch, sample, first_block, 16 * n_strips).reshape(-1, 16, 4)


def elastic_field(size, alpha, sigma, key):
    """Return displacements (height, width, 2), down and right: noise in (-alpha, alpha), smoothed, zeros around it."""
    height, width = size
    stride = -(-width // 16) * 16
    words = _strips(*key, 0x40000000, 2 * height * stride, 8)
    halves = np.stack([words & 0xFFFF, words >> 16], axis=-1)  # strip, block, word, half
    values = (halves.transpose(0, 2, 3, 1).ravel() + 0.5) / 2**15 - 1
    noise = alpha * values[: 2 * height * stride].reshape(height, 2, stride)[:, :, :width].transpose(0, 2, 1)
    return gaussian_filter(noise, (sigma, sigma, 0), mode="constant", truncate=3)


def normal_numbers(n, key):
    """Return n normal numbers by Box and Muller's method: 23 bits for the radius, 32 for the angle."""
    words = _strips(*key, 0x80000000, n, 4)
    radius = np.sqrt(-2 * np.log(((words[..., 0::2] >> 9) + 0.5) / 2**23))
    angle = 2 * np.pi * words[..., 1::2] / 2**32
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1).transpose(0, 2, 3, 1).ravel()[:n]


def augment(x, ranges, key, constant=0):
    """Return one standardised image (*spatial, c) as training draws it.

    Flipped, shifted and cut images keep their dtype and bits; the rest is computed in float64.

    Parameters
    ----------
    x : ndarray
    ranges : Augmentation
    key : (seed, epoch, sample)
    constant : float or (c,)
        What lies outside, where ``ranges.fill`` is neither "edge" nor "reflect".
    """
    size = x.shape[:-1]
    ndim = len(size)
    words = augmentation_words(*key, 0, 4)
    unit = words / 2**31 - 1
    shift = [int(w * (2 * s + 1)) // 2**32 - s for w, s in zip(words[0, 3 - ndim : 3].tolist(), ranges.shift)]
    flip = [bool(f and words[0, 3] >> (31 - 3 + ndim - axis) & 1) for axis, f in enumerate(ranges.flip)]
    fill = {"edge": ("edge", "nearest"), "reflect": ("reflect", "mirror")}.get(
        ranges.fill, ("constant", "grid-constant")
    )
    constants = np.broadcast_to(constant, x.shape[-1:])
    y = np.flip(x, [axis for axis in range(ndim) if flip[axis]])
    if ranges.interpolates:
        c, s = np.cos(np.deg2rad(ranges.rotation * unit[1, 0])), np.sin(np.deg2rad(ranges.rotation * unit[1, 0]))
        # Of (down, right): a point turns from right to down; what is below leans to the right.
        turn, lean = np.array([[c, s], [-s, c]]), np.array([[1, 0], [np.tan(np.deg2rad(ranges.shear * unit[1, 2])), 1]])
        map_2d = turn @ lean * (1 + ranges.scale) ** unit[1, 1]
        size_2d = (1,) * (2 - ndim) + size
        q = np.moveaxis(np.indices(size_2d), 0, -1)
        middle = (np.array(size_2d) - 1) / 2
        source = (q - middle - ([0] * (2 - ndim) + shift)) @ np.linalg.inv(map_2d).T + middle
        if ranges.elastic[0]:
            # The field moves a pixel's origin in the image that was given, so the flip comes after it.
            source += np.where(flip, -1, 1) * elastic_field(size, *ranges.elastic, key)
        planes = np.moveaxis(y.astype(np.float64).reshape(*size_2d, -1), -1, 0)
        planes = [
            map_coordinates(plane, np.moveaxis(source, -1, 0), order=1, mode=fill[1], cval=value)
            for plane, value in zip(planes, constants)
        ]
        y = np.stack(planes, axis=-1).reshape(x.shape)
    else:
        channels = []
        for c, value in enumerate(constants):
            options = {"constant_values": value} if fill[0] == "constant" else {}
            padded = np.pad(y[..., c], [(s, s) for s in ranges.shift], mode=fill[0], **options)
            channels.append(padded[tuple(slice(m - s, m - s + n) for m, s, n in zip(ranges.shift, shift, size))])
        y = np.stack(channels, axis=-1)
    if ranges.noise or ranges.brightness or ranges.contrast:
        z = normal_numbers(y.size, key).reshape(y.shape) if ranges.noise else 0
        y = y * (1 + ranges.contrast) ** unit[3, 1] + ranges.brightness * unit[3, 0] + ranges.noise * z
    if any(ranges.cutout):
        y = y.copy()
        starts = [int(w) * n // 2**32 - k // 2 for w, n, k in zip(words[2, 3 - ndim : 3].tolist(), size, ranges.cutout)]
        y[tuple(slice(max(0, start), start + k) for start, k in zip(starts, ranges.cutout))] = 0
    return y
