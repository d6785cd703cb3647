"""The definition of truth: every operation of the engine as plain loops.

Whatever skconv computes must agree with this file, which is written to be read and believed, not to be fast. Integer
input is computed in int64, where nothing is rounded, so that kernels can be held to it bit for bit; float input in
float64. Images are channels last, (n, *spatial, c), with 1, 2, 3 or any other number of spatial dimensions.

All windows follow one rule, per axis: kernel position k of output position o reads input position

    p = o * stride - pad_before + k * dilation

if that lies inside the image, and padding otherwise. ``taps`` lists these triples (o, k, p); a convolution, both its
gradients and both poolings are loops over the same list, which is why they fit together.

Geometry arguments (``stride``, ``dilation``, ``pad_before``, ``pad_after``, ``kernel_size``) are integers, valid for
every axis, or sequences with one integer per axis.
"""

import numpy as np
from scipy.special import expit, log_softmax, ndtr


def _exact(x):
    """Return `x` as int64 if it holds integers (or booleans), else as float64."""
    x = np.asarray(x)
    return x.astype(np.int64 if x.dtype.kind in "iub" else np.float64)


def _per_axis(value, ndim):
    """Return one integer per axis."""
    values = (int(value),) * ndim if np.ndim(value) == 0 else tuple(int(v) for v in value)
    if len(values) != ndim:
        raise ValueError(f"{value!r} has {len(values)} entries, but there are {ndim} spatial dimensions")
    return values


# ----------------------------------------------------------------------------------------------------------- geometry


def output_size(image_size, kernel_size, *, stride=1, dilation=1, pad_before=0, pad_after=0, ceil_mode=False):
    """Count the windows along one axis.

    A window counts if it lies inside the padded image. With `ceil_mode` one more window is added where the last of
    these does not reach the end of the padded image, provided that it starts inside the image or its left padding.
    """
    extent = (kernel_size - 1) * dilation + 1
    padded = pad_before + image_size + pad_after
    n_windows = 0
    if not ceil_mode:
        while n_windows * stride + extent <= padded:
            n_windows += 1
    else:
        while (n_windows - 1) * stride + extent < padded and n_windows * stride < pad_before + image_size:
            n_windows += 1
    return n_windows


def output_sizes(image, kernel, *, stride=1, dilation=1, pad_before=0, pad_after=0, ceil_mode=False):
    """Return `output_size` for every axis of `image`, as a tuple."""
    per_axis = (_per_axis(value, len(image)) for value in (kernel, stride, dilation, pad_before, pad_after))
    return tuple(
        output_size(n, k, stride=s, dilation=d, pad_before=b, pad_after=a, ceil_mode=ceil_mode)
        for n, k, s, d, b, a in zip(image, *per_axis, strict=True)
    )


def taps(image, kernel, output, *, stride, dilation, pad_before):
    """Yield (o, k, p): output, kernel and input position, for all p inside the image, k in C order for each o."""
    ndim = len(image)
    stride, dilation, pad_before = (_per_axis(value, ndim) for value in (stride, dilation, pad_before))
    for o in np.ndindex(*output):
        for k in np.ndindex(*kernel):
            p = tuple(o[i] * stride[i] - pad_before[i] + k[i] * dilation[i] for i in range(ndim))
            if all(0 <= p[i] < image[i] for i in range(ndim)):
                yield o, k, p


# -------------------------------------------------------------------------------------------------------- convolution


def conv(x, weights, bias=None, *, stride=1, dilation=1, pad_before=0, pad_after=0):
    """Cross-correlate with zero padding: y[n, o, f] = bias[f] + sum over k, c of x[n, p(o, k), c] * weights[k, c, f].

    Parameters
    ----------
    x : ndarray of shape (n, *spatial, c)
    weights : ndarray of shape (*kernel, c, n_filters)
    bias : ndarray of shape (n_filters,), default=None

    Returns
    -------
    y : ndarray of shape (n, *output, n_filters), int64 or float64
    """
    x, weights = _exact(x), _exact(weights)
    image, kernel = x.shape[1:-1], weights.shape[:-2]
    output = output_sizes(image, kernel, stride=stride, dilation=dilation, pad_before=pad_before, pad_after=pad_after)
    y = np.zeros((x.shape[0], *output, weights.shape[-1]), np.result_type(x, weights))
    for o, k, p in taps(image, kernel, output, stride=stride, dilation=dilation, pad_before=pad_before):
        y[:, *o] += x[:, *p] @ weights[k]  # (n, c) @ (c, f)
    return y if bias is None else y + _exact(bias)


def conv_backward_input(dy, weights, input_shape, *, stride=1, dilation=1, pad_before=0, pad_after=0):
    """Return dx, of shape `input_shape`: each output hands its gradient back to the inputs that it read."""
    dy, weights = _exact(dy), _exact(weights)
    image, kernel, output = tuple(input_shape[1:-1]), weights.shape[:-2], dy.shape[1:-1]
    _check_output(output, image, kernel, stride, dilation, pad_before, pad_after)
    dx = np.zeros(input_shape, np.result_type(dy, weights))
    for o, k, p in taps(image, kernel, output, stride=stride, dilation=dilation, pad_before=pad_before):
        dx[:, *p] += dy[:, *o] @ weights[k].T  # (n, f) @ (f, c)
    return dx


def conv_backward_weights(x, dy, kernel, *, stride=1, dilation=1, pad_before=0, pad_after=0):
    """Return dweights, of shape (*kernel, c, n_filters), summed over samples and output positions."""
    x, dy = _exact(x), _exact(dy)
    image, output = x.shape[1:-1], dy.shape[1:-1]
    kernel = _per_axis(kernel, len(image))
    _check_output(output, image, kernel, stride, dilation, pad_before, pad_after)
    dweights = np.zeros((*kernel, x.shape[-1], dy.shape[-1]), np.result_type(x, dy))
    for o, k, p in taps(image, kernel, output, stride=stride, dilation=dilation, pad_before=pad_before):
        dweights[k] += x[:, *p].T @ dy[:, *o]  # (c, n) @ (n, f)
    return dweights


def conv_backward_bias(dy):
    """Return dbias, of shape (n_filters,), summed over samples and output positions."""
    dy = _exact(dy)
    return dy.reshape(-1, dy.shape[-1]).sum(axis=0)


def _check_output(output, image, kernel, stride, dilation, pad_before, pad_after):
    """Refuse an output gradient whose size does not belong to the geometry: the loops would skip what is missing."""
    expected = output_sizes(image, kernel, stride=stride, dilation=dilation, pad_before=pad_before, pad_after=pad_after)
    if output != expected:
        raise ValueError(f"the output gradient has {output} positions, the geometry gives {expected}")


def grouped_conv(x, weights, bias=None, *, groups, **geometry):
    """Convolve where group g of the filters sees group g of the channels; weights (*kernel, c // groups, n_filters)."""
    parts = zip(np.split(_exact(x), groups, -1), np.split(_exact(weights), groups, -1), strict=True)
    y = np.concatenate([conv(part, w, **geometry) for part, w in parts], axis=-1)
    return y if bias is None else y + _exact(bias)


def grouped_conv_backward_input(dy, weights, input_shape, *, groups, **geometry):
    """Return dx of `grouped_conv`, of shape `input_shape`."""
    shape = (*input_shape[:-1], input_shape[-1] // groups)
    parts = zip(np.split(_exact(dy), groups, -1), np.split(_exact(weights), groups, -1), strict=True)
    return np.concatenate([conv_backward_input(part, w, shape, **geometry) for part, w in parts], axis=-1)


def grouped_conv_backward_weights(x, dy, kernel, *, groups, **geometry):
    """Return dweights of `grouped_conv`, of shape (*kernel, c // groups, n_filters)."""
    parts = zip(np.split(_exact(x), groups, -1), np.split(_exact(dy), groups, -1), strict=True)
    return np.concatenate([conv_backward_weights(part, d, kernel, **geometry) for part, d in parts], axis=-1)


# ------------------------------------------------------------------------------------------------------------ padding


def padding_sources(n, before, after, mode):
    """Return, per pixel of a padded axis, the pixel of the image that it copies; -1 where it is the constant.

    The endless continuation of the image 0, 1, ..., n - 1: "edge" repeats the last pixel, "wrap" the image,
    "symmetric" the image and its mirror image, "reflect" the same without repeating the pixels at both ends.
    """
    sources = []
    for p in range(-before, n + after):
        if mode == "constant":
            source = p if 0 <= p < n else -1
        elif mode == "edge":
            source = min(max(p, 0), n - 1)
        elif mode == "wrap":
            source = p % n
        elif mode == "symmetric":
            source = min(p % (2 * n), 2 * n - 1 - p % (2 * n))
        else:
            period = max(2 * n - 2, 1)
            source = min(p % period, period - p % period) if n > 1 else 0
        sources.append(source)
    return sources


def pad(x, before, after, mode, value=0):
    """Return x (n, *spatial, c) with a margin."""
    x = _exact(x)
    image = x.shape[1:-1]
    before, after = _per_axis(before, len(image)), _per_axis(after, len(image))
    axes = [padding_sources(*axis, mode) for axis in zip(image, before, after, strict=True)]
    y = np.full((x.shape[0], *map(len, axes), x.shape[-1]), value, np.result_type(x, type(value)))
    for o in np.ndindex(*map(len, axes)):
        p = tuple(sources[i] for sources, i in zip(axes, o, strict=True))
        if min(p) >= 0:
            y[:, *o] = x[:, *p]
    return y


def pad_backward(dy, input_shape, before, after, mode):
    """Return dx, of shape `input_shape`: each pixel hands its gradient to the one that it copied."""
    dy = _exact(dy)
    image = tuple(input_shape[1:-1])
    before, after = _per_axis(before, len(image)), _per_axis(after, len(image))
    axes = [padding_sources(*axis, mode) for axis in zip(image, before, after, strict=True)]
    dx = np.zeros(input_shape, dy.dtype)
    for o in np.ndindex(*map(len, axes)):
        p = tuple(sources[i] for sources, i in zip(axes, o, strict=True))
        if min(p) >= 0:
            dx[:, *p] += dy[:, *o]
    return dx


# ------------------------------------------------------------------------------------------------------------ pooling


def max_pool(x, *, kernel_size, stride, dilation=1, pad_before=0, pad_after=0, output_size=None):
    """Return the first maximum of every window, and where in the window it stands.

    Windows are clipped to the image: padding never wins. A NaN is larger than any number, and the first NaN stays.

    Parameters
    ----------
    x : ndarray of shape (n, *spatial, c)
    output_size : tuple of int, default=None
        Number of windows per axis; by default those that fit into the padded image.

    Returns
    -------
    y : ndarray of shape (n, *output, c)
    index : int64 ndarray of shape (n, *output, c)
        Flat position of the maximum in the whole (unclipped) window, in C order.

    Raises
    ------
    ValueError
        If a window holds no position of the image: it has no maximum.
    """
    x = _exact(x)
    image = x.shape[1:-1]
    kernel = _per_axis(kernel_size, len(image))
    if output_size is None:
        output_size = output_sizes(
            image, kernel, stride=stride, dilation=dilation, pad_before=pad_before, pad_after=pad_after
        )
    y = np.zeros((x.shape[0], *output_size, x.shape[-1]), x.dtype)
    index = np.full(y.shape, -1, np.int64)
    for o, k, p in taps(image, kernel, output_size, stride=stride, dilation=dilation, pad_before=pad_before):
        value, best = x[:, *p], y[:, *o]
        wins = (index[:, *o] < 0) | (value > best) | (np.isnan(value) & ~np.isnan(best))
        y[:, *o] = np.where(wins, value, best)
        index[:, *o] = np.where(wins, np.ravel_multi_index(k, kernel), index[:, *o])
    if (index < 0).any():
        raise ValueError("a pooling window holds no position of the image")
    return y, index


def max_pool_backward(dy, index, input_shape, *, kernel_size, stride, dilation=1, pad_before=0):
    """Return dx, of shape `input_shape`: each output hands its gradient to the one input that won."""
    dy = _exact(dy)
    ndim = len(input_shape) - 2
    kernel, stride, dilation, pad_before = (_per_axis(v, ndim) for v in (kernel_size, stride, dilation, pad_before))
    dx = np.zeros(input_shape, dy.dtype)
    for n, *o, c in np.ndindex(*dy.shape):
        k = np.unravel_index(index[n, *o, c], kernel)
        p = tuple(o[i] * stride[i] - pad_before[i] + k[i] * dilation[i] for i in range(ndim))
        dx[n, *p, c] += dy[n, *o, c]
    return dx


def _average_divisors(image, kernel, output, stride, dilation, pad_before, pad_after, count_include_pad):
    """Return how many positions each window is averaged over, as an int64 ndarray of shape `output`.

    The rule of ONNX and PyTorch: without `count_include_pad` the positions inside the image; with it those inside the
    padded image, but not those beyond it, where a last window of ceil_mode hangs over.
    """
    ndim = len(image)
    if count_include_pad:
        pad_before, pad_after = _per_axis(pad_before, ndim), _per_axis(pad_after, ndim)
        # Seen from the padded image, padding is image, and there is no padding.
        image = tuple(pad_before[i] + image[i] + pad_after[i] for i in range(ndim))
        pad_before = 0
    divisors = np.zeros(output, np.int64)
    for o, _, _ in taps(image, kernel, output, stride=stride, dilation=dilation, pad_before=pad_before):
        divisors[o] += 1
    if (divisors == 0).any():
        raise ValueError("a pooling window holds no position to average over")
    return divisors


def avg_pool(
    x, *, kernel_size, stride, dilation=1, pad_before=0, pad_after=0, output_size=None, count_include_pad=False
):
    """Return the mean of every window: an exact sum, divided once in float64.

    Padding counts as zeros with `count_include_pad`, and not at all without (see `_average_divisors`).

    Returns
    -------
    y : float64 ndarray of shape (n, *output, c)
    """
    x = _exact(x)
    image = x.shape[1:-1]
    kernel = _per_axis(kernel_size, len(image))
    if output_size is None:
        output_size = output_sizes(
            image, kernel, stride=stride, dilation=dilation, pad_before=pad_before, pad_after=pad_after
        )
    divisors = _average_divisors(image, kernel, output_size, stride, dilation, pad_before, pad_after, count_include_pad)
    sums = np.zeros((x.shape[0], *output_size, x.shape[-1]), x.dtype)
    for o, _, p in taps(image, kernel, output_size, stride=stride, dilation=dilation, pad_before=pad_before):
        sums[:, *o] += x[:, *p]
    return sums / divisors[..., np.newaxis]


def avg_pool_backward(
    dy, input_shape, *, kernel_size, stride, dilation=1, pad_before=0, pad_after=0, count_include_pad=False
):
    """Return dx, of shape `input_shape`, in float64: each output hands equal parts to the inputs that it read."""
    dy = _exact(dy)
    image, output = tuple(input_shape[1:-1]), dy.shape[1:-1]
    kernel = _per_axis(kernel_size, len(image))
    divisors = _average_divisors(image, kernel, output, stride, dilation, pad_before, pad_after, count_include_pad)
    dx = np.zeros(input_shape)
    for o, _, p in taps(image, kernel, output, stride=stride, dilation=dilation, pad_before=pad_before):
        dx[:, *p] += dy[:, *o] / divisors[o]
    return dx


def lp_pool(x, p, *, kernel_size, stride, dilation=1, pad_before=0, pad_after=0, output_size=None):
    """Return (sum of |x|**p)**(1 / p) over every window, in float64; padding counts as zeros.

    Returns
    -------
    y : float64 ndarray of shape (n, *output, c)
    """
    x = np.asarray(x, np.float64)
    image = x.shape[1:-1]
    kernel = _per_axis(kernel_size, len(image))
    if output_size is None:
        output_size = output_sizes(
            image, kernel, stride=stride, dilation=dilation, pad_before=pad_before, pad_after=pad_after
        )
    sums = np.zeros((x.shape[0], *output_size, x.shape[-1]))
    for o, _, i in taps(image, kernel, output_size, stride=stride, dilation=dilation, pad_before=pad_before):
        sums[:, *o] += np.abs(x[:, *i]) ** p
    return sums ** (1 / p)


def lp_pool_backward(dy, x, p, *, kernel_size, stride, dilation=1, pad_before=0, pad_after=0):
    """Return dx, of the shape of `x`, in float64: dy * sign(x) * (|x| / y)**(p - 1), and 0 where y is 0."""
    x, dy = np.asarray(x, np.float64), _exact(dy)
    image, output = x.shape[1:-1], dy.shape[1:-1]
    kernel = _per_axis(kernel_size, len(image))
    geometry = {"stride": stride, "dilation": dilation, "pad_before": pad_before}
    y = lp_pool(x, p, kernel_size=kernel, pad_after=pad_after, output_size=output, **geometry)
    dx = np.zeros(x.shape)
    for o, _, i in taps(image, kernel, output, **geometry):
        ratio = np.divide(np.abs(x[:, *i]), y[:, *o], out=np.zeros_like(y[:, *o]), where=y[:, *o] != 0)
        dx[:, *i] += dy[:, *o] * np.sign(x[:, *i]) * ratio ** (p - 1)
    return dx


# -------------------------------------------------------------------------------------------------------------- dense


def dense(x, weights, bias=None):
    """Return y[n, f] = bias[f] + sum over c of x[n, c] * weights[c, f]."""
    y = _exact(x) @ _exact(weights)
    return y if bias is None else y + _exact(bias)


def dense_backward(x, weights, dy):
    """Return (dx, dweights, dbias) of `dense`."""
    x, weights, dy = _exact(x), _exact(weights), _exact(dy)
    return dy @ weights.T, x.T @ dy, dy.sum(axis=0)


# ------------------------------------------------------------------------------------------------------ normalisation


def batch_norm(x, gamma=1, beta=0, *, epsilon, statistics=None):
    """Return gamma * (x - mean) / sqrt(variance + epsilon) + beta, and (mean, variance), all in float64.

    The statistics are those of every channel over samples and pixels, or the given ones.
    """
    x = np.asarray(x, np.float64)
    axes = tuple(range(x.ndim - 1))
    mean, variance = (x.mean(axis=axes), x.var(axis=axes)) if statistics is None else statistics
    return gamma * (x - mean) / np.sqrt(variance + epsilon) + beta, (mean, variance)


def batch_norm_backward(x, dy, gamma=1, *, epsilon, statistics=None):
    """Return (dx, dgamma, dbeta) of `batch_norm`: through the statistics, where they are those of x."""
    x, dy = np.asarray(x, np.float64), np.asarray(dy, np.float64)
    axes = tuple(range(x.ndim - 1))
    x_hat, (_, variance) = batch_norm(x, epsilon=epsilon, statistics=statistics)
    dgamma, dbeta = (dy * x_hat).sum(axis=axes), dy.sum(axis=axes)
    dx = gamma / np.sqrt(variance + epsilon) * dy
    if statistics is None:
        n = x[..., 0].size
        dx -= gamma / np.sqrt(variance + epsilon) * (dbeta / n + x_hat * dgamma / n)
    return dx, dgamma, dbeta


def local_contrast_norm(x, *, kernel_size, epsilon):
    """Return v / max(s, mean of s, epsilon), with v = x minus its blurred mean over channels, and s its deviation.

    The Gaussian window has a standard deviation of kernel_size / 4, and sums to one over the pixels that exist.
    """
    x = np.asarray(x, np.float64)
    image = x.shape[1:-1]
    kernel = _per_axis(kernel_size, len(image))

    def blur(values):  # of shape (n, *image)
        blurred, total = np.zeros(values.shape), np.zeros(image)
        before = tuple(k // 2 for k in kernel)
        for o, k, p in taps(image, kernel, image, stride=1, dilation=1, pad_before=before):
            weight = np.exp(
                -0.5 * sum(((a - b) / (size / 4)) ** 2 for a, b, size in zip(k, before, kernel, strict=True))
            )
            blurred[:, *o] += weight * values[:, *p]
            total[o] += weight
        return blurred / total

    v = x - blur(x.mean(axis=-1))[..., np.newaxis]
    s = np.sqrt(blur((v**2).mean(axis=-1)))
    mean = s.mean(axis=tuple(range(1, s.ndim)), keepdims=True)
    return v / np.maximum(np.maximum(s, mean), epsilon)[..., np.newaxis]


# -------------------------------------------------------------------------------------------------------- activations

LEAKY_RELU_SLOPE = 0.01


def _gelu_derivative(z):
    # d/dz z Phi(z) = Phi(z) + z phi(z), with the density phi of the standard normal distribution.
    return ndtr(z) + z * np.exp(-z * z / 2) / np.sqrt(2 * np.pi)


ACTIVATIONS = {
    "identity": lambda z: z,
    "relu": lambda z: np.maximum(z, 0),  # np.maximum keeps NaN
    "leaky_relu": lambda z: np.where(z > 0, z, LEAKY_RELU_SLOPE * z),
    "tanh": np.tanh,
    "logistic": expit,
    "elu": lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))),
    "gelu": lambda z: z * ndtr(z),  # ndtr(z) = (1 + erf(z / sqrt(2))) / 2, without cancellation for z < 0
}

# By the pre-activation z; where there is a kink (at 0), the derivative from the left.
DERIVATIVES = {
    "identity": np.ones_like,
    "relu": lambda z: np.where(z > 0, 1, 0),
    "leaky_relu": lambda z: np.where(z > 0, 1.0, LEAKY_RELU_SLOPE),
    "tanh": lambda z: 1 - np.tanh(z) ** 2,
    "logistic": lambda z: expit(z) * expit(-z),
    "elu": lambda z: np.exp(np.minimum(z, 0)),
    "gelu": _gelu_derivative,
}


def activation(z, name):
    """Apply the activation `name`, elementwise."""
    return ACTIVATIONS[name](_exact(z))


def activation_backward(dy, z, name):
    """Return dz = dy * derivative of the activation `name` at the pre-activation `z`."""
    return _exact(dy) * DERIVATIVES[name](_exact(z))


# --------------------------------------------------------------------------------------------------------------- loss


def softmax(z):
    """Return exp(z) / sum over the last axis of exp(z), in float64."""
    z = np.asarray(z, np.float64)
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def softmax_cross_entropy(z, labels, sample_weight=None):
    """Return the mean loss of scores `z` (n, n_classes) for integer `labels` (n,), and its gradient.

    The loss of a sample is -log softmax(z)[label]; with `sample_weight` the mean is a weighted one.

    Returns
    -------
    loss : float
    dz : float64 ndarray of shape (n, n_classes)
        Gradient of the mean loss: weight / (sum of weights) * (softmax(z) - one_hot(label)).
    """
    z = np.asarray(z, np.float64)
    n = len(z)
    weight = np.ones(n) if sample_weight is None else np.asarray(sample_weight, np.float64)
    weight = weight / weight.sum()
    losses = -log_softmax(z, axis=-1)[np.arange(n), labels]
    dz = softmax(z)
    dz[np.arange(n), labels] -= 1
    return float(weight @ losses), weight[:, np.newaxis] * dz


# --------------------------------------------------------------------------------------------------------- optimisers


def adam_step(weights, gradient, m, v, t, *, learning_rate=0.001, beta_1=0.9, beta_2=0.999, epsilon=1e-8):
    """Return (weights, m, v) after step number `t` = 1, 2, ... of Adam, as `sklearn.neural_network` computes it.

    The correction of both biases is folded into the learning rate, and `epsilon` added after it: Kingma and Ba (2014),
    the more efficient order at the end of section 2.
    """
    m = beta_1 * m + (1 - beta_1) * gradient
    v = beta_2 * v + (1 - beta_2) * gradient**2
    rate = learning_rate * np.sqrt(1 - beta_2**t) / (1 - beta_1**t)
    return weights - rate * m / (np.sqrt(v) + epsilon), m, v


def sgd_step(weights, gradient, velocity, *, learning_rate=0.1, momentum=0.9, nesterov=True):
    """Return (weights, velocity) after one step of gradient descent, as `sklearn.neural_network` computes it."""
    velocity = momentum * velocity - learning_rate * gradient
    update = momentum * velocity - learning_rate * gradient if nesterov else velocity
    return weights + update, velocity


# --------------------------------------------------------------------------------------------------------- randomness


def philox4x32(counter, key, n_rounds=10):
    """Return the four 32-bit random words that belong to `counter` (four words) under `key` (two words).

    References
    ----------
    Salmon, Moraes, Dror and Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011, section 3.4.
    """
    low_32_bits = 0xFFFFFFFF
    c0, c1, c2, c3 = (int(word) for word in counter)
    k0, k1 = (int(word) for word in key)
    for _ in range(n_rounds):
        product_0, product_2 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (
            (product_2 >> 32) ^ c1 ^ k0,
            product_2 & low_32_bits,
            (product_0 >> 32) ^ c3 ^ k1,
            product_0 & low_32_bits,
        )
        # Weyl sequences of the golden ratio and of sqrt(3) - 1.
        k0, k1 = (k0 + 0x9E3779B9) & low_32_bits, (k1 + 0xBB67AE85) & low_32_bits
    return c0, c1, c2, c3


# -------------------------------------------------------------------------------------------------------- derivatives


def numerical_gradient(f, x, eps=1e-6):
    """Return the gradient of the scalar function `f` at `x` by central differences, in float64.

    The error is of the order of eps**2 (truncation) plus 1e-16 * abs(f(x)) / eps (rounding).
    """
    x = np.array(x, np.float64)
    gradient = np.zeros_like(x)
    for i in np.ndindex(*x.shape):
        x_i = x[i]
        x[i] = x_i + eps
        above = f(x)
        x[i] = x_i - eps
        below = f(x)
        x[i] = x_i
        gradient[i] = (above - below) / (2 * eps)
    return gradient


# --------------------------------------------------------------------------------------------------------------- Gabor


def gabor(height, width, theta, omega, psi, alpha, beta, amplitude=1.0, x0=0.0, y0=0.0):
    """Return the lecture's G(x, y), x along the columns, y down the rows, both zero in the middle."""
    kernel = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            x, y = j - (width - 1) / 2, i - (height - 1) / 2
            xt = (x - x0) * np.cos(theta) + (y - y0) * np.sin(theta)
            yt = -(x - x0) * np.sin(theta) + (y - y0) * np.cos(theta)
            kernel[i, j] = amplitude * np.exp(-alpha * xt**2 - beta * yt**2) * np.sin(omega * xt + psi)
    return kernel


def filter_bank(x, kernels, mode="symmetric"):
    """Return the complex responses (n, *output, c * n_filters) of images (n, height, width, c), padded to "same" size.

    Every kernel is correlated with every channel; an even kernel reaches one pixel further after than before.
    """
    maps = []
    for channel in range(x.shape[-1]):
        for kernel in kernels:
            pads = [((k - 1) // 2, k // 2) for k in kernel.shape]
            padded = np.pad(_exact(x[..., channel]), [(0, 0), *pads], mode)
            # Every window of every image, (n, *output, *kernel): the loops of `conv` would take minutes.
            windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape, axis=(1, 2))
            maps.append(np.einsum("nijkl,kl->nij", windows, kernel))
    return np.stack(maps, axis=-1)
