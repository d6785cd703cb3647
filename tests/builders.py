"""What tests of the engine share: operations in a line each, their geometry for tests/reference.py, integer weights."""

from skconv._geometry import resolve_pool, resolve_window
from skconv._operations import Convolution, Pad, Pool


def integers(rng, *shape, largest=8):
    return rng.integers(-largest, largest + 1, size=shape)


def convolution(in_shape, n_filters, activation="identity", fit_intercept=True, options=None, **window):
    """A convolution; `options` are those of the operation, `window` those of resolve_window."""
    window = resolve_window(in_shape[:-1], **window)
    out_shape = (*window.output_size(in_shape[:-1]), n_filters)
    return Convolution("conv", in_shape, out_shape, activation, fit_intercept, window=window, **(options or {}))


def pool(in_shape, kind="max", count_include_pad=False, **window):
    window = resolve_pool(in_shape[:-1], **window)
    return Pool("pool", in_shape, (*window.output_size(in_shape[:-1]), in_shape[-1]), kind, window, count_include_pad)


def pad(in_shape, before, after, mode, value=0.0):
    out_shape = (*(n + b + a for n, b, a in zip(in_shape, before, after)), in_shape[-1])
    return Pad("pad", in_shape, out_shape, before, after, mode, value)


def geometry(window):
    return {
        "stride": window.stride,
        "dilation": window.dilation,
        "pad_before": window.pad_before,
        "pad_after": window.pad_after,
    }


def pool_geometry(operation):
    window = operation.window
    return {
        "kernel_size": window.kernel_size,
        "stride": window.stride,
        "dilation": window.dilation,
        "pad_before": window.pad_before,
    }


def fill_with_integers(network, rng):
    for coef in network.coefs:
        coef[...] = integers(rng, *coef.shape)
    for intercept in network.intercepts:
        if intercept is not None:
            intercept[...] = integers(rng, *intercept.shape)
