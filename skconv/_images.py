"""The one door for X: any accepted input becomes images, or an error that says what to do.

Images are C-contiguous, aligned, native arrays of shape ``(n_samples, *spatial, n_channels)`` that keep the dtype of
the data where the engine can read it, so that a large ``uint8`` memmap passes without a copy. Every check that can be
made on the shape is made before the data are touched, and an estimator is told what was seen only once all is accepted.
"""

import math
from functools import partial

import numpy as np
from scipy.sparse import issparse
from sklearn import get_config
from sklearn.utils.validation import check_array, validate_data

from ._geometry import check_int
from ._warnings import warn_user

# Flat rows of up to this many features that are no perfect square (cube) are taken for signals; longer ones are
# more likely images whose shape nobody told (3072 features of CIFAR).
MAX_SIGNAL_FEATURES = 64

# What the engine reads as it is.
DTYPES = ("uint8", "float32", "float64")
_NAMES = {"B": "uint8", "f": "float32", "d": "float64"}  # by character code

# Elements per step of the finite check: two passes over 512 KiB of float64 stay in the second-level cache.
_BLOCK = 2**16

_FLOAT32_MAX = float(np.finfo(np.float32).max)

_SPATIAL_NAMES = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}


def resolve_image_shape(X_shape, image_shape, spatial_ndim):
    """Find out what the samples of an array are: images with channels, without, or flat rows.

    Parameters
    ----------
    X_shape : tuple of int
        (n_samples, *spatial, n_channels), (n_samples, *spatial) or flat (n_samples, n_features).
    image_shape : None, int or tuple of int
        What the user said: spatial sizes, with or without the number of channels (then 1); an int for signals. With
        None, flat rows are understood as a square gray image (a cubic gray volume) where `n_features` is a perfect
        square (cube), as a signal where it is at most 64 or `spatial_ndim` is 1, and not at all otherwise.
    spatial_ndim : {1, 2, 3}
        1 for signals, 2 for images, 3 for volumes.

    Returns
    -------
    shape : tuple of int
        (*spatial, n_channels).

    Raises
    ------
    ValueError
        If the shapes disagree, a size is zero, or flat rows cannot be understood without `image_shape`.

    Examples
    --------
    >>> resolve_image_shape((10, 28, 28), None, 2)
    (28, 28, 1)
    >>> resolve_image_shape((10, 64), None, 2), resolve_image_shape((10, 50), None, 2)
    ((8, 8, 1), (1, 50, 1))
    >>> resolve_image_shape((10, 3072), (32, 32, 3), 2)
    (32, 32, 3)
    """
    spatial_ndim = check_int(spatial_ndim, "spatial_ndim", minimum=1, maximum=3)
    said = _check_image_shape(image_shape, spatial_ndim)
    sizes = tuple(X_shape[1:])
    if len(sizes) == 1:
        shape = said or _guess_image_shape(sizes[0], spatial_ndim)
        if math.prod(shape) != sizes[0]:
            raise ValueError(
                f"image_shape={image_shape!r} means {math.prod(shape)} features per sample "
                f"({' x '.join(map(str, shape))}), but X has {sizes[0]}"
            )
        return shape
    if len(sizes) == spatial_ndim:
        shape = (*sizes, 1)
    elif len(sizes) == spatial_ndim + 1:
        shape = sizes
    else:
        spatial = ", ".join(_SPATIAL_NAMES[spatial_ndim])
        raise ValueError(
            f"X has {len(X_shape)} dimensions (shape={tuple(X_shape)}), expected (n_samples, {spatial}), "
            f"(n_samples, {spatial}, n_channels) or flat (n_samples, n_features)"
        )
    if min(shape) < 1:
        raise ValueError(f"X holds empty images of shape {shape}; every size and the number of channels must be >= 1")
    if said is not None and said != shape:
        raise ValueError(
            f"image_shape={image_shape!r} means {said}, but X holds images of shape {shape} (channels last); "
            f"use image_shape={shape} or leave it out"
        )
    return shape


def check_images(
    estimator,
    X,
    *,
    reset,
    image_shape=None,
    spatial_ndim=2,
    dtypes=("uint8", "float32", "float64"),
    ensure_finite=True,
):
    """Check `X` and return it as images; remember its shape in `estimator`, or compare with what is remembered.

    With ``reset=True``, sets `n_features_in_` (the product of the image shape), `feature_names_in_` (for frames) and
    `image_shape_`, after everything has been accepted: where this raises, the estimator stays as it was. An estimator
    that has more to check before it changes calls `read_images` first, and `remember_images` at the end.

    Parameters
    ----------
    estimator : BaseEstimator
    X : array-like of shape (n_samples, *spatial[, n_channels]) or (n_samples, n_features)
        Any real dtype and memory layout, list, memmap or frame; never written to.
    reset : bool
        True in `fit` and the first `partial_fit`, else False. With False, flat rows and images with or without an axis
        for a single channel are all accepted, whichever of them was seen in `fit`.
    image_shape : None, int or tuple of int, default=None
        The user's parameter, see `resolve_image_shape`; not read once the estimator knows its `image_shape_`.
    spatial_ndim : {1, 2, 3}, default=2
    dtypes : tuple of str, default=("uint8", "float32", "float64")
        Those that stay as they are, "float32" or "float64" among them. Bools, float16 and integers (int64 beyond
        2**24 is rounded) become float32; long doubles and objects become float64.
    ensure_finite : bool, default=True
        Whether to reject NaN, infinity and what is too large for float32. scikit-learn's configuration
        ``assume_finite=True`` switches it off as well.

    Returns
    -------
    images : ndarray of shape (n_samples, *spatial, n_channels)
        C-contiguous, aligned and of native byte order. Shares memory with `X` where nothing had to be converted.

    Raises
    ------
    TypeError, ValueError
        If `X` is not accepted; the message says what is wrong with it and what to do.
    """
    images = read_images(
        estimator,
        X,
        reset=reset,
        image_shape=image_shape,
        spatial_ndim=spatial_ndim,
        dtypes=dtypes,
        ensure_finite=ensure_finite,
    )
    if reset:
        remember_images(estimator, X, images)
    return images


def read_images(estimator, X, *, reset, image_shape, spatial_ndim, dtypes=DTYPES, ensure_finite=True):
    """Check and convert as `check_images` does, without a trace in `estimator`."""
    name = type(estimator).__name__
    check_int(spatial_ndim, "spatial_ndim", minimum=1, maximum=3)
    if not reset and _is_readable(estimator, X, dtypes):
        if ensure_finite:
            check_finite(X, name)
        return X.reshape(-1, *estimator.image_shape_)
    array = _as_numeric_array(X, estimator)
    _check_not_empty(array, name)
    fitted_shape = None if reset else getattr(estimator, "image_shape_", None)
    if fitted_shape is None:
        shape = resolve_image_shape(array.shape, image_shape, spatial_ndim)
        if image_shape is None and array.ndim == 3 and spatial_ndim == 2 and shape[1] in (3, 4) and shape[0] > 4:
            warn_user(
                f"X of shape {array.shape} is read as {len(array)} gray images of {shape[0]}x{shape[1]} pixels; one "
                f"image with {shape[1]} channels is X[numpy.newaxis]; image_shape={shape[:-1]} says that this is meant"
            )
    else:
        shape = tuple(fitted_shape)
        if array.ndim > 2 and (seen := resolve_image_shape(array.shape, None, spatial_ndim)) != shape:
            raise ValueError(
                f"X holds images of shape {seen} (channels last), but {name} was fitted on images of shape {shape}"
            )
    if not reset:
        _check_features(estimator, X, array, shape)
    array = _as_readable_array(array, dtypes)
    if ensure_finite:
        check_finite(array, name)
    return array.reshape(-1, *shape)


def _is_readable(estimator, X, dtypes):
    """Whether X is what the engine reads, in the shape that was seen in `fit`: all but its values is then in order.

    To find that out in the usual way takes longer than to predict an image of 8x8 pixels: 35 microseconds.
    """
    if type(X) is not np.ndarray or not X.flags.c_contiguous or hasattr(estimator, "feature_names_in_"):
        return False
    shape, dtype = getattr(estimator, "image_shape_", None), X.dtype
    if shape is None or estimator.n_features_in_ != math.prod(shape):
        return False
    return (
        (X.shape[1:] in (shape, (estimator.n_features_in_,)) or (*X.shape[1:], 1) == shape)
        and len(X) > 0
        and _NAMES.get(dtype.char) in dtypes
        and dtype.isnative
        and X.flags.aligned
    )


def remember_images(estimator, X, images):
    """Set `n_features_in_`, `feature_names_in_` and `image_shape_` to what `read_images` made of `X`."""
    # The one step that can fail, names that are not all strings, comes before the first attribute is set.
    flat = X if _is_frame(X) else images.reshape(len(images), -1)
    validate_data(estimator, flat, reset=True, skip_check_array=True)
    estimator.image_shape_ = images.shape[1:]


def _check_image_shape(image_shape, spatial_ndim):
    """Return the user's `image_shape` as (*spatial, n_channels), or None where nothing was said."""
    if image_shape is None:
        return None
    if spatial_ndim == 1 and not isinstance(image_shape, tuple | list):
        image_shape = (check_int(image_shape, "image_shape", minimum=1),)
    sizes = ", ".join(_SPATIAL_NAMES[spatial_ndim])
    expected = f"image_shape must be ({sizes}{',' * (spatial_ndim == 1)}) or ({sizes}, n_channels)"
    if not isinstance(image_shape, tuple | list):
        raise TypeError(f"{expected}, got {image_shape!r} ({type(image_shape).__name__})")
    if len(image_shape) not in (spatial_ndim, spatial_ndim + 1):
        raise ValueError(f"{expected}, got {image_shape!r}")
    shape = tuple(check_int(size, f"image_shape[{axis}]", minimum=1) for axis, size in enumerate(image_shape))
    return shape if len(shape) > spatial_ndim else (*shape, 1)


def _guess_image_shape(n_features, spatial_ndim):
    """Understand flat rows of which nothing is known but their length."""
    if spatial_ndim == 1:
        return (n_features, 1)
    side = math.isqrt(n_features) if spatial_ndim == 2 else round(n_features ** (1 / 3))
    if side**spatial_ndim == n_features:
        return (*(side,) * spatial_ndim, 1)
    if n_features <= MAX_SIGNAL_FEATURES:
        return (*(1,) * (spatial_ndim - 1), n_features, 1)
    if spatial_ndim == 3:
        raise ValueError(
            f"X has {n_features} features per sample, which is no cubic volume; say what they are: "
            "image_shape=(depth, height, width) or (depth, height, width, n_channels)"
        )
    side = math.isqrt(n_features // 3)
    example = f"({side}, {side}, 3)" if 3 * side * side == n_features else "(height, width[, n_channels])"
    raise ValueError(
        f"X has {n_features} features per sample, which is no square image; say what they are, "
        f"for example image_shape={example}, or image_shape=(1, {n_features}) for signals"
    )


def _is_frame(X):
    return hasattr(X, "__dataframe__") or hasattr(X, "columns")


def _as_numeric_array(X, estimator):
    """Return `X` as an ndarray of a real dtype, with neither shape nor layout nor values checked."""
    if issparse(X):
        raise TypeError("Sparse data was passed for X, but dense images are required; use X.toarray()")
    if isinstance(X, np.ma.MaskedArray):
        raise TypeError("X is a masked array, whose mask would be lost; use X.filled(value) to say what it stands for")
    if isinstance(X, np.ndarray) and not isinstance(X, np.matrix):
        array = np.asarray(X)
    else:
        try:
            # Nothing but the conversion is left to scikit-learn here: it knows frames and their nullable columns.
            array = check_array(
                X,
                dtype=None,
                ensure_all_finite=False,
                ensure_2d=False,
                allow_nd=True,
                ensure_min_samples=0,
                ensure_min_features=0,
                estimator=estimator,
            )
        except ValueError as error:
            if "inhomogeneous" in str(error):
                raise ValueError("X is ragged: all samples must have the same shape") from error
            raise
    if array.dtype.kind == "c":
        raise ValueError(f"Complex data not supported: X has dtype {array.dtype}; use X.real or np.abs(X)")
    if array.dtype.kind == "O" and array.ndim >= 2:
        return _from_objects(array)
    # Objects that are no sequence (None, a generator) arrive as 0-d arrays, of which the check of the shape speaks.
    if array.dtype.kind not in "biuf" and not (array.dtype.kind == "O" and array.ndim < 2):
        raise ValueError(f"X has dtype {array.dtype}, but images must be numbers; convert them explicitly")
    return array


def _from_objects(array):
    """Convert Python numbers to float64; text is refused, although float() would read the digits in it."""
    for value in array.flat:
        if isinstance(value, str | bytes):
            raise ValueError(f"X holds text ({value!r:.40}), but images must be numbers; convert them explicitly")
        if isinstance(value, complex | np.complexfloating):
            raise ValueError(f"Complex data not supported: X holds {value!r}")
        if isinstance(value, np.datetime64 | np.timedelta64):
            raise ValueError(f"X holds dates or durations ({value!r}), but images must be numbers")
    try:
        return array.astype(np.float64)
    except OverflowError:
        raise ValueError("Input X contains a value too large for float64") from None
    except ValueError as error:
        raise ValueError("X holds objects that are no numbers; convert them explicitly") from error


def _check_not_empty(array, name):
    """Raise what scikit-learn raises for too few dimensions, samples or features."""
    if array.ndim < 2:
        found = "scalar array" if array.ndim == 0 else "1D array"
        raise ValueError(
            f"Expected 2D array, got {found} instead:\narray={array}.\n"
            "Reshape your data either using array.reshape(-1, 1) if your data has a single feature or "
            "array.reshape(1, -1) if it contains a single sample. Images need one axis more than a single image has: "
            "use image[np.newaxis]."
        )
    for axis, what in enumerate(("sample", "feature") if array.ndim == 2 else ("sample",)):
        if array.shape[axis] == 0:
            raise ValueError(
                f"Found array with 0 {what}(s) (shape={array.shape}) while a minimum of 1 is required by {name}."
            )


def _check_features(estimator, X, array, shape):
    """Compare feature names and count with those seen in `fit`, in scikit-learn's words."""
    if _is_frame(X):
        flat = X
    elif array.ndim == 2:
        flat = array
    else:
        # Stands for the images flattened, which need not be contiguous yet: only its shape is looked at.
        flat = np.broadcast_to(np.float32(0), (array.shape[0], math.prod(shape)))
    validate_data(estimator, flat, reset=False, skip_check_array=True)


def channel_moments(blocks, sample_weight=None):
    """Mean and mean square deviation of every channel over all samples and pixels, in float64.

    Works through the images once, piece by piece, whatever their dtype: two passes over a piece, which is in the cache,
    and Chan, Golub and LeVeque's rule (1983) to merge it with those before. Values are taken from the first pixel,
    so that a constant channel has a variance of exactly zero.

    Parameters
    ----------
    blocks : iterable of ndarray of shape (n_samples, ..., n_channels), C-contiguous
        The images, in as many arrays as they come in.
    sample_weight : ndarray of shape (n_samples,), default=None
        Weights of the samples of all blocks, not all of them zero. An integer is a repetition, and zero is absence.

    Returns
    -------
    mean, variance : ndarray of shape (n_channels,)
    """
    if sample_weight is not None:
        return _weighted_moments(blocks, np.asarray(sample_weight, dtype=np.float64))
    origin, count = None, 0
    for images in blocks:
        n_channels = images.shape[-1]
        flat = images.reshape(-1)
        if origin is None:
            origin = flat[:n_channels].astype(np.float64)
            mean, squares = np.zeros(n_channels), np.zeros(n_channels)
        # Sums go over rows of whole pixels, long enough for vectors; places in a row are added at the end.
        row = n_channels * max(1, 1024 // n_channels)
        step = row * max(1, 2**18 // row)  # a piece: 2 MiB in float64
        for start in range(0, len(flat), step):
            piece = flat[start : start + step].astype(np.float64)
            n = len(piece) // n_channels
            pixels = piece.reshape(n, n_channels)
            pixels -= origin
            piece_mean = _channel_sums(piece, n_channels, row) / n
            pixels -= piece_mean
            delta = piece_mean - mean
            count += n
            mean += delta * (n / count)
            squares += _channel_sums(np.square(piece, out=piece), n_channels, row)
            squares += delta**2 * (n * ((count - n) / count))
    return origin + mean, squares / count


def _weighted_moments(blocks, sample_weight):
    """The same for weighted samples, of which a piece holds whole ones."""
    origin, count, first = None, 0.0, 0
    for images in blocks:
        n_channels = images.shape[-1]
        weights = sample_weight[first : first + len(images)]
        first += len(images)
        present = np.flatnonzero(weights)
        values = images.reshape(len(images), -1)
        row = n_channels * max(1, 1024 // n_channels)
        step = max(1, 2**18 // max(values.shape[1], 1))
        for start in range(0, len(present), step):
            samples = present[start : start + step]
            piece = values[samples].astype(np.float64)
            if origin is None:
                origin = piece[0, :n_channels].copy()
                mean, squares = np.zeros(n_channels), np.zeros(n_channels)
            pixels = piece.reshape(len(samples), -1, n_channels)
            factors = weights[samples, np.newaxis, np.newaxis]
            n = weights[samples].sum() * pixels.shape[1]
            pixels -= origin
            piece_mean = _channel_sums((pixels * factors).reshape(-1), n_channels, row) / n
            pixels -= piece_mean
            delta = piece_mean - mean
            count += n
            mean += delta * (n / count)
            np.square(pixels, out=pixels)
            pixels *= factors
            squares += _channel_sums(piece.reshape(-1), n_channels, row)
            squares += delta**2 * (n * ((count - n) / count))
    return origin + mean, squares / count


def _channel_sums(flat, n_channels, row):
    whole = len(flat) // row * row
    sums = flat[:whole].reshape(-1, row).sum(axis=0).reshape(-1, n_channels).sum(axis=0)
    return sums + flat[whole:].reshape(-1, n_channels).sum(axis=0)


def _as_readable_array(array, dtypes):
    """Return what the engine can read: an accepted dtype, C-contiguous, aligned, native byte order."""
    # By character code: where long double is as wide as double, the two dtypes are equal, but not to Cython.
    name = _NAMES.get(array.dtype.char, "")
    if name not in dtypes:
        wide = array.dtype.kind == "f" and array.dtype.itemsize >= 8
        name = next(d for d in (("float64", "float32") if wide else ("float32", "float64")) if d in dtypes)
    # What overflows becomes infinite, which the finite check reports.
    with np.errstate(over="ignore"):
        array = np.require(array, dtype=name, requirements=("C_CONTIGUOUS", "ALIGNED"))
    # Axes of size 1 may have any stride; through a flat view, they get the one that belongs to the shape.
    return array.reshape(-1).reshape(array.shape)


def finite_check(estimator):
    """`check_finite` in the name of an estimator; None where scikit-learn's configuration says ``assume_finite``."""
    return None if get_config()["assume_finite"] else partial(check_finite, name=type(estimator).__name__)


def check_finite(array, name):
    """Raise for NaN, infinity and what is too large for float32, without a temporary of the size of the data.

    A minimum and a maximum find all three: NaN passes through both. Does nothing where scikit-learn's configuration
    says ``assume_finite``.
    """
    if array.dtype.kind != "f" or get_config()["assume_finite"]:
        return
    flat = array.reshape(-1)
    for start in range(0, flat.size, _BLOCK):
        block = flat[start : start + _BLOCK]
        with np.errstate(invalid="ignore"):
            fine = block.min() >= -_FLOAT32_MAX and block.max() <= _FLOAT32_MAX
        if not fine:
            # Written so that NaN counts as wrong.
            where = int(np.argmin(np.abs(block) <= _FLOAT32_MAX))
            _raise_not_finite(block[where], (start + where) // math.prod(array.shape[1:]), name)


def _raise_not_finite(value, sample, name):
    if np.isnan(value):
        raise ValueError(
            f"Input X contains NaN, first in sample {sample}.\n{name} does not accept missing values: "
            "drop such samples, or fill them in, for example with sklearn.impute.SimpleImputer."
        )
    if np.isinf(value):
        raise ValueError(f"Input X contains infinity or a value too large for float32, first in sample {sample}.")
    raise ValueError(
        f"Input X contains a value too large for float32 ({value:.3g}, first in sample {sample}); "
        "scale the data, for example with sklearn.preprocessing.StandardScaler."
    )
