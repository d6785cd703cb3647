"""What all functions share: arrays read, `out` checked, and one way to run operations.

A function makes operations and arrays of weights; `run` puts them into a `Network`, as a layer standing alone does.
Building a network costs some hundred microseconds, so a few small ones are kept, without meaning: every call copies its
weights in.
"""

import math
import os
import threading
from collections import OrderedDict

import numpy as np
from scipy.sparse import issparse

from .._memory import memory_limit
from .._network import Network

# The engine reads these three as they are; by character code, because where long double is as wide as double, the two
# dtypes are equal.
_READABLE = "Bfd"
# Networks kept between calls: in number, and in bytes of weights, maps and scratch, of each and of all. A map that
# outgrows the cache costs more to fill than to allocate.
MAX_KEPT = 64
MAX_KEPT_BYTES = 4 * 2**20
MAX_ALL_BYTES = 32 * 2**20
# Results below this are not compared with the machine's memory.
_LARGE = 2**28


def as_array(x, name):
    """Return `x` as an array that the engine can read: uint8, float32 or float64, C-contiguous, aligned, native.

    Bools, float16 and all other integers become float32 (integers above 2**24 are rounded), long doubles and Python
    numbers float64. Shares memory with `x` where nothing had to be converted.

    >>> as_array([[1, 2]], "x").dtype, as_array([0.5], "x").dtype
    (dtype('float32'), dtype('float64'))
    """
    if type(x) is np.ndarray:
        dtype, flags = x.dtype, x.flags
        if dtype.char in _READABLE and dtype.isnative and flags.c_contiguous and flags.aligned:
            return x
        array = x
    else:
        array = _as_ndarray(x, name)
    kind = array.dtype.kind
    if kind == "O":
        array = _from_objects(array, name)
    elif kind == "c":
        raise TypeError(f"{name} is complex ({array.dtype}), but must be real; pass {name}.real and {name}.imag apart")
    elif kind in "mM":
        raise TypeError(
            f"{name} holds dates or durations ({array.dtype}), but must hold numbers; "
            "say in which unit, for example x / np.timedelta64(1, 's')"
        )
    elif kind not in "biuf":
        raise TypeError(f"{name} has dtype {array.dtype}, but must hold numbers; use {name}.astype(float) if it does")
    wide = array.dtype.kind == "f" and array.dtype.itemsize >= 8
    dtype = "uint8" if array.dtype.char == "B" else "float64" if wide else "float32"
    with np.errstate(over="ignore"):  # a long double beyond float64 is infinite
        return np.require(array, dtype=dtype, requirements=("C_CONTIGUOUS", "ALIGNED"))


def _as_ndarray(x, name):
    if issparse(x):
        raise TypeError(f"{name} is sparse, but must be a dense array; use {name}.toarray()")
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array, whose mask would be lost; use {name}.filled(value)")
    try:
        return np.asarray(x)
    except ValueError as error:
        if "inhomogeneous" in str(error):
            raise ValueError(f"{name} is ragged: its rows must all have the same length") from None
        raise


def _from_objects(array, name):
    """Convert Python numbers; refuse what NumPy would read all the same: digits in text, None as NaN, dates."""
    for value in array.flat:
        if value is None or isinstance(
            value, str | bytes | complex | np.complexfloating | np.datetime64 | np.timedelta64
        ):
            raise TypeError(f"{name} holds {value!r:.40} ({type(value).__name__}), but must hold real numbers")
    try:
        return array.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(
            f"{name} holds objects that are no real numbers; convert it, for example with np.asarray({name}, float)"
        ) from None


def as_images(x, name="x", spatial_ndim=None):
    """Return `x` as an array (n_samples, *spatial, n_channels) that the engine can read, see `as_array`.

    `spatial_ndim` is the number of spatial axes; None accepts one to three. There may be no samples, but no other axis
    may be empty.
    """
    array = as_array(x, name)
    wanted = (3, 4, 5) if spatial_ndim is None else (spatial_ndim + 2,)
    if array.ndim not in wanted:
        axes = "one to three spatial axes" if spatial_ndim is None else f"{spatial_ndim} spatial axes"
        hint = "; a single image is x[np.newaxis, ..., np.newaxis]" if array.ndim < wanted[0] else ""
        raise ValueError(
            f"{name} must have shape (n_samples, *spatial, n_channels) with {axes}, got shape {array.shape}{hint}"
        )
    if 0 in array.shape[1:]:
        raise ValueError(
            f"{name} of shape {array.shape} holds empty images; every size and the number of channels must be >= 1"
        )
    return array


def result_dtype(array):
    """What a function computes in, by its (already read) first argument: float64 for float64, float32 for the rest."""
    return np.dtype("float64" if array.dtype.char == "d" else "float32")


def is_plain(value):
    """Whether a parameter is made of ints, strings and tuples alone, so that equal ones mean the same."""
    kind = type(value)
    return kind is int or kind is str or (kind is tuple and all(map(is_plain, value)))


def check_size(shape, dtype):
    """Raise a MemoryError for a result larger than the machine's memory; NumPy may promise it all the same."""
    n_bytes = math.prod(shape) * dtype.itemsize
    if n_bytes > _LARGE:
        check_bytes(n_bytes, f"the result of shape {shape} and dtype {dtype}")


def check_bytes(n_bytes, what):
    """Raise a MemoryError for more than the machine has."""
    if n_bytes > memory_limit():
        raise MemoryError(f"{what} takes {n_bytes / 2**30:.0f} GiB, more than this machine has memory")


def check_out(out, shape, dtype, **inputs):
    """Check that `out` can take a result of `shape` and `dtype` and shares no memory with the inputs.

    `inputs` has for every name the array as given and as read, which is one where it was given as another object.
    """
    if type(out) is not np.ndarray:
        raise TypeError(f"out must be a NumPy array of shape {shape} and dtype {dtype}, got {type(out).__name__}")
    if out.shape != shape or out.dtype != dtype or not out.dtype.isnative:
        raise ValueError(
            f"out must have shape {shape} and dtype {dtype}, got shape {out.shape} and dtype {out.dtype}; "
            f"use out=np.empty({shape}, {str(dtype)!r})"
        )
    if not (out.flags.c_contiguous and out.flags.aligned):
        raise ValueError(f"out must be C-contiguous and aligned; use out=np.empty({shape}, {str(dtype)!r})")
    if not out.flags.writeable:
        raise ValueError("out is read-only; pass an array that may be written to")
    for name, arrays in inputs.items():
        # Bounded effort: where NumPy cannot tell in time, it says yes.
        if any(isinstance(array, np.ndarray) and np.may_share_memory(out, array, max_work=1000) for array in arrays):
            raise ValueError(f"out overlaps {name}, which must not be written to; pass an array of its own")


# Idle networks by operations and precision, the least recently used first. A network that runs is owned by its call and
# not in here. `_bytes` is what all of them hold.
_lock = threading.Lock()
_idle = OrderedDict()
_number = _bytes = 0


def _forget():
    """Start empty, with a free lock: in a forked child another thread's may be taken for ever."""
    global _lock, _number, _bytes
    _lock = threading.Lock()
    _idle.clear()
    _number = _bytes = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _take(key):
    global _number, _bytes
    with _lock:
        networks = _idle.get(key)
        if not networks:
            return None
        network, size = networks.pop()
        _number -= 1
        _bytes -= size
    return network


def _give_back(key, network):
    global _number, _bytes
    size = network.n_bytes
    if size > MAX_KEPT_BYTES:
        return
    with _lock:
        networks = _idle.setdefault(key, [])
        networks.append((network, size))
        _idle.move_to_end(key)
        _number += 1
        _bytes += size
        while _number > MAX_KEPT or _bytes > MAX_ALL_BYTES or len(_idle) > MAX_KEPT:
            oldest = next(iter(_idle))
            if _idle[oldest]:
                _number -= 1
                _bytes -= _idle[oldest].pop(0)[1]
            if not _idle[oldest]:
                del _idle[oldest]


def run(operations, arrays, x, out=None, method="predict", mend=None):
    """Run images through operations.

    Parameters
    ----------
    operations : tuple of Operation
        Hashable: without first weights.
    arrays : sequence of ndarray or None
        Weights of the operations that have some, outputs last, then their intercepts (None where there are none):
        the order of ``[*network.coefs, *network.intercepts]``. Copied, and converted to the precision of the call.
    x : ndarray of shape (n_samples, *in_shape), as `as_images` returns it
        Decides the precision.
    out : ndarray, default=None
        See `check_out`.
    method : str, default="predict"
        Of `Network`.
    mend : callable, default=None
        See `Network.predict`.
    """
    dtype = result_dtype(x)
    key = (operations, dtype.char, method)
    network = _take(key)
    if network is None:
        network = Network(operations, dtype=dtype)
    with np.errstate(over="ignore"):  # float64 weights beyond float32 are infinite
        for i, array in enumerate(arrays):
            if array is not None:
                n_coefs = len(network.coefs)
                (network.coefs[i] if i < n_coefs else network.intercepts[i - n_coefs])[...] = array
    options = {} if mend is None else {"mend": mend}
    result = getattr(network, method)(x, out=out, **options)
    _give_back(key, network)  # not after an exception: what it left behind is unknown
    return result
