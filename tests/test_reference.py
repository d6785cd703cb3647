"""The reference, checked against SciPy, NumPy, scikit-learn, published values and its own derivatives."""

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from numpy.testing import assert_allclose, assert_array_equal
from scipy.signal import correlate
from sklearn.metrics import log_loss
from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer

import reference

# image, kernel, stride, dilation, pad_before, pad_after: one to three dimensions, uneven in every respect.
GEOMETRIES = [
    ((9,), (3,), (1,), (1,), (0,), (0,)),
    ((10,), (4,), (3,), (2,), (2,), (5,)),
    ((1,), (1,), (1,), (1,), (0,), (0,)),
    ((5,), (2,), (5,), (1,), (0,), (0,)),
    ((6, 5), (3, 3), (1, 1), (1, 1), (1, 1), (1, 1)),
    ((7, 6), (3, 2), (2, 1), (1, 2), (0, 3), (2, 1)),
    ((4, 7), (5, 1), (1, 3), (1, 1), (4, 0), (4, 2)),
    ((4, 3, 5), (2, 3, 2), (1, 1, 1), (1, 1, 1), (0, 1, 1), (1, 1, 0)),
    ((5, 4, 6), (2, 2, 3), (2, 1, 3), (2, 1, 1), (1, 0, 2), (0, 0, 1)),
]
KINKED = {"relu", "leaky_relu"}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def integers(rng, shape):
    return rng.integers(-32, 33, size=shape)


def padded(x, pad_before, pad_after, value):
    """Pad the spatial axes of `x` by `value`."""
    return np.pad(x, [(0, 0), *zip(pad_before, pad_after, strict=True), (0, 0)], constant_values=value)


def windows(x, kernel, stride, dilation):
    """Return a view (n, *output, c, *kernel) of all windows that lie inside `x`."""
    extent = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
    view = sliding_window_view(x, extent, axis=tuple(range(1, x.ndim - 1)))
    steps = [slice(None, None, s) for s in stride]
    return view[:, *steps, :, *(slice(None, None, d) for d in dilation)]


# ----------------------------------------------------------------------------------------------------------- geometry


@pytest.mark.parametrize("ceil_mode", [False, True])
def test_output_size_matches_the_closed_form(ceil_mode):
    for image in range(1, 9):
        for kernel, stride, dilation, pad in [(1, 1, 1, 0), (2, 2, 1, 0), (3, 2, 1, 1), (4, 3, 1, 2), (2, 3, 3, 1)]:
            free = image + 2 * pad - (kernel - 1) * dilation - 1
            expected = (-(-free // stride) if ceil_mode else free // stride) + 1
            if ceil_mode and (expected - 1) * stride >= image + pad:
                expected -= 1
            n_windows = reference.output_size(
                image, kernel, stride=stride, dilation=dilation, pad_before=pad, pad_after=pad, ceil_mode=ceil_mode
            )
            assert n_windows == max(expected, 0), (image, kernel, stride, dilation, pad)


def test_geometry_with_a_wrong_number_of_axes_raises(rng):
    x, weights = integers(rng, (1, 4, 4, 1)), integers(rng, (3, 3, 1, 1))
    with pytest.raises(ValueError, match="has 3 entries, but there are 2 spatial dimensions"):
        reference.conv(x, weights, stride=(1, 1, 1))


# -------------------------------------------------------------------------------------------------------- convolution


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize(("n_channels", "n_filters"), [(1, 1), (3, 2)])
def test_conv_matches_scipy(rng, geometry, n_channels, n_filters):
    image, kernel, stride, dilation, pad_before, pad_after = geometry
    x = integers(rng, (2, *image, n_channels))
    weights = integers(rng, (*kernel, n_channels, n_filters))
    bias = integers(rng, n_filters)
    y = reference.conv(x, weights, bias, stride=stride, dilation=dilation, pad_before=pad_before, pad_after=pad_after)

    # A dilated kernel is one with zeros in between; a stride leaves out results.
    dilated = np.zeros((*((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)), n_channels, n_filters), int)
    dilated[*(slice(None, None, d) for d in dilation)] = weights
    x = padded(x, pad_before, pad_after, 0)
    expected = np.stack(
        [
            np.stack([correlate(sample, dilated[..., f], mode="valid", method="direct")[..., 0] for sample in x])
            for f in range(n_filters)
        ],
        axis=-1,
    )
    expected = expected[:, *(slice(None, None, s) for s in stride)] + bias
    assert y.dtype == np.int64
    assert_array_equal(y, expected, strict=True)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_conv_gradients_are_adjoint(rng, geometry):
    # conv is linear in x and in the weights, so <conv(x, w), dy> = <x, dx> = <w, dw>, exactly on integers.
    image, kernel, stride, dilation, pad_before, pad_after = geometry
    options = {"stride": stride, "dilation": dilation, "pad_before": pad_before, "pad_after": pad_after}
    x, weights = integers(rng, (2, *image, 3)), integers(rng, (*kernel, 3, 2))
    y = reference.conv(x, weights, **options)
    dy = integers(rng, y.shape)
    dx = reference.conv_backward_input(dy, weights, x.shape, **options)
    dweights = reference.conv_backward_weights(x, dy, kernel, **options)
    assert dx.shape == x.shape
    assert dweights.shape == weights.shape
    assert dx.dtype == dweights.dtype == np.int64
    assert np.sum(y * dy) == np.sum(x * dx) == np.sum(weights * dweights)


def test_conv_gradients_numerically(rng):
    options = {"stride": (2, 1), "dilation": (1, 2), "pad_before": (1, 0), "pad_after": (0, 2)}
    x, weights, bias = rng.normal(size=(2, 5, 4, 2)), rng.normal(size=(3, 2, 2, 3)), rng.normal(size=3)
    dy = rng.normal(size=reference.conv(x, weights, bias, **options).shape)

    def loss(x, weights, bias):
        return np.sum(dy * reference.conv(x, weights, bias, **options))

    # The loss is of order 100 and linear in each argument: nothing but rounding, 1e-16 * 100 / 1e-6.
    assert_allclose(
        reference.conv_backward_input(dy, weights, x.shape, **options),
        reference.numerical_gradient(lambda x: loss(x, weights, bias), x),
        atol=1e-7,
    )
    assert_allclose(
        reference.conv_backward_weights(x, dy, (3, 2), **options),
        reference.numerical_gradient(lambda weights: loss(x, weights, bias), weights),
        atol=1e-7,
    )
    assert_allclose(
        reference.conv_backward_bias(dy),
        reference.numerical_gradient(lambda bias: loss(x, weights, bias), bias),
        atol=1e-7,
    )


def test_conv_computes_in_int64_and_float64():
    x = np.full((1, 3, 1), 200, np.uint8)
    y = reference.conv(x, np.full((3, 1, 1), 100, np.int8))
    assert y.dtype == np.int64
    assert y.item() == 60_000
    y = reference.conv(np.float32(x) + np.float32(0.5), np.full((3, 1, 1), 0.1))
    assert y.dtype == np.float64


def test_conv_gradient_of_a_wrong_size_raises(rng):
    dy, weights = integers(rng, (1, 3, 3, 1)), integers(rng, (3, 3, 1, 1))
    with pytest.raises(ValueError, match=r"has \(3, 3\) positions, the geometry gives \(2, 2\)"):
        reference.conv_backward_input(dy, weights, (1, 4, 4, 1))
    with pytest.raises(ValueError, match=r"has \(3, 3\) positions, the geometry gives \(2, 2\)"):
        reference.conv_backward_weights(integers(rng, (1, 4, 4, 1)), dy, (3, 3))


# ------------------------------------------------------------------------------------------------------------ pooling


@pytest.mark.parametrize("geometry", GEOMETRIES[:5] + GEOMETRIES[7:])
@pytest.mark.parametrize("values", ["distinct", "ties", "nan"])
def test_max_pool_matches_numpy(rng, geometry, values):
    image, kernel, stride, dilation, pad_before, pad_after = geometry
    # Padding by less than the window's extent on either side, else a window holds nothing of the image.
    pad_before = pad_after = tuple(
        min(b, ((k - 1) * d + 1) // 2) for b, k, d in zip(pad_before, kernel, dilation, strict=True)
    )
    shape = (2, *image, 3)
    x = rng.integers(-2, 2, size=shape) if values == "ties" else rng.normal(size=shape)
    if values == "nan":
        x[rng.random(shape) < 0.3] = np.nan
    y, index = reference.max_pool(
        x, kernel_size=kernel, stride=stride, dilation=dilation, pad_before=pad_before, pad_after=pad_after
    )
    # np.argmax too takes the first maximum and the first NaN.
    view = windows(padded(np.float64(x), pad_before, pad_after, -np.inf), kernel, stride, dilation)
    view = view.reshape(*view.shape[: x.ndim], -1)
    assert_array_equal(y, view.max(axis=-1))
    assert_array_equal(index, view.argmax(axis=-1))
    assert y.dtype == reference._exact(x).dtype


def test_max_pool_of_minus_infinity_is_minus_infinity():
    y, index = reference.max_pool(np.full((1, 2, 1), -np.inf), kernel_size=3, stride=1, pad_before=1, pad_after=0)
    assert_array_equal(y.ravel(), [-np.inf])
    assert_array_equal(index.ravel(), [1])


def test_max_pool_of_nothing_raises():
    with pytest.raises(ValueError, match="holds no position of the image"):
        reference.max_pool(np.ones((1, 1, 1)), kernel_size=2, stride=1, dilation=2, pad_before=1, pad_after=1)


def test_max_pool_with_overhang():
    x = np.array([3, 1, 4, 1, 5]).reshape(1, 5, 1)
    n_windows = reference.output_size(5, 2, stride=2, ceil_mode=True)
    y, index = reference.max_pool(x, kernel_size=2, stride=2, output_size=(n_windows,))
    assert_array_equal(y.ravel(), [3, 4, 5])
    assert_array_equal(index.ravel(), [0, 0, 0])


def test_max_pool_backward_adds_where_windows_overlap():
    x = np.array([0, 9, 0, 7, 8]).reshape(1, 5, 1)
    _, index = reference.max_pool(x, kernel_size=3, stride=1)
    dx = reference.max_pool_backward(np.array([1, 10, 100]).reshape(1, 3, 1), index, x.shape, kernel_size=3, stride=1)
    assert_array_equal(index.ravel(), [1, 0, 2])
    assert_array_equal(dx.ravel(), [0, 11, 0, 0, 100])


@pytest.mark.parametrize("spatial", [(7,), (5, 6), (4, 3, 5)])
def test_max_pool_gradient_numerically(rng, spatial):
    options = {"kernel_size": 3, "stride": 2, "dilation": 1, "pad_before": 1}
    # Values at least 1 apart, so that no maximum changes hands within eps.
    x = rng.permutation(2 * np.prod(spatial) * 2).reshape(2, *spatial, 2).astype(np.float64)
    y, index = reference.max_pool(x, pad_after=1, **options)
    dy = rng.normal(size=y.shape)
    assert_allclose(
        reference.max_pool_backward(dy, index, x.shape, **options),
        reference.numerical_gradient(lambda x: np.sum(dy * reference.max_pool(x, pad_after=1, **options)[0]), x),
        atol=1e-5,  # rounding: 1e-16 * sum of about 10,000 / 1e-6
    )


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_avg_pool_including_padding_is_a_convolution(rng, geometry):
    image, kernel, stride, dilation, pad_before, pad_after = geometry
    options = {"stride": stride, "dilation": dilation, "pad_before": pad_before, "pad_after": pad_after}
    x = integers(rng, (2, *image, 3))
    y = reference.avg_pool(x, kernel_size=kernel, count_include_pad=True, **options)
    same_channel = np.broadcast_to(np.eye(3, dtype=int), (*kernel, 3, 3))
    assert_array_equal(y, reference.conv(x, same_channel, **options) / np.prod(kernel))


def test_avg_pool_excluding_padding_keeps_a_constant_image(rng):
    y = reference.avg_pool(
        np.full((1, 5, 7, 2), 3), kernel_size=(3, 4), stride=(2, 3), pad_before=(1, 2), pad_after=(0, 1)
    )
    assert_array_equal(y, np.full_like(y, 3.0))


@pytest.mark.parametrize(
    ("count_include_pad", "expected"),
    [
        # Windows start at -1, 2 and 5. The last one reads 5 (image), 6 (padding), 7 and 8 (beyond: never counted).
        (True, [(1 + 2 + 3) / 4, (3 + 4 + 5 + 6) / 4, 6 / 2]),
        (False, [(1 + 2 + 3) / 3, (3 + 4 + 5 + 6) / 4, 6 / 1]),
    ],
)
def test_avg_pool_with_padding_and_overhang(count_include_pad, expected):
    x = np.arange(1, 7).reshape(1, 6, 1)
    n_windows = reference.output_size(6, 4, stride=3, pad_before=1, pad_after=1, ceil_mode=True)
    y = reference.avg_pool(
        x,
        kernel_size=4,
        stride=3,
        pad_before=1,
        pad_after=1,
        output_size=(n_windows,),
        count_include_pad=count_include_pad,
    )
    assert_array_equal(y.ravel(), expected)


def test_avg_pool_of_nothing_raises():
    with pytest.raises(ValueError, match="holds no position to average over"):
        reference.avg_pool(np.ones((1, 1, 1)), kernel_size=2, stride=1, dilation=2, pad_before=1, pad_after=1)


@pytest.mark.parametrize("spatial", [(7,), (5, 6), (4, 3, 5)])
@pytest.mark.parametrize("count_include_pad", [False, True])
def test_avg_pool_gradient_numerically(rng, spatial, count_include_pad):
    options = {"kernel_size": 3, "stride": 2, "pad_before": 1, "pad_after": 0, "count_include_pad": count_include_pad}
    output = reference.output_sizes(spatial, 3, stride=2, pad_before=1, pad_after=0, ceil_mode=True)
    x, dy = rng.normal(size=(2, *spatial, 2)), rng.normal(size=(2, *output, 2))
    assert_allclose(
        reference.avg_pool_backward(dy, x.shape, **options),
        reference.numerical_gradient(lambda x: np.sum(dy * reference.avg_pool(x, output_size=output, **options)), x),
        atol=1e-8,  # linear: nothing but rounding, 1e-16 * 10 / 1e-6
    )


# -------------------------------------------------------------------------------------------------------------- dense


def test_dense_is_a_1x1_convolution(rng):
    x, weights, bias = integers(rng, (5, 7)), integers(rng, (7, 3)), integers(rng, 3)
    y = reference.dense(x, weights, bias)
    assert y.dtype == np.int64
    assert_array_equal(y, reference.conv(x[:, np.newaxis], weights[np.newaxis], bias)[:, 0])
    assert_array_equal(y, [[sum(a * b for a, b in zip(row, w, strict=True)) for w in weights.T] for row in x] + bias)


def test_dense_gradients_are_adjoint(rng):
    x, weights, dy = integers(rng, (5, 7)), integers(rng, (7, 3)), integers(rng, (5, 3))
    dx, dweights, dbias = reference.dense_backward(x, weights, dy)
    assert np.sum(reference.dense(x, weights) * dy) == np.sum(x * dx) == np.sum(weights * dweights)
    assert_array_equal(dbias, reference.conv_backward_bias(dy))


# -------------------------------------------------------------------------------------------------------- activations


@pytest.mark.parametrize("name", reference.ACTIVATIONS)
def test_activation_derivative_numerically(rng, name):
    z = np.concatenate([rng.normal(scale=3, size=50), [-20.0, 20.0, 1e-3, -1e-3], [] if name in KINKED else [0.0]])
    # ELU's second derivative jumps at 0, which leaves an error of eps / 4 there.
    assert_allclose(
        reference.activation_backward(np.ones_like(z), z, name),
        reference.numerical_gradient(lambda z: reference.activation(z, name).sum(), z),
        atol=1e-6,
    )


@pytest.mark.parametrize(
    ("name", "z", "expected"),
    [
        ("identity", -2, -2),
        ("relu", -2, 0),
        ("leaky_relu", -2, -0.02),
        ("tanh", 0.5, 0.46211715726000975),
        ("logistic", -1, 0.2689414213699951),
        ("elu", -1, -0.6321205588285577),
        ("gelu", 1, 0.8413447460685429),
        ("gelu", -1, -0.15865525393145707),
    ],
)
def test_activation_values(name, z, expected):
    assert_allclose(reference.activation(z, name), expected, rtol=4e-16)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("identity", 1), ("relu", 0), ("leaky_relu", 0.01), ("tanh", 1), ("logistic", 0.25), ("elu", 1), ("gelu", 0.5)],
)
def test_activation_derivative_at_zero(name, expected):
    assert reference.activation_backward(1.0, 0.0, name) == expected


@pytest.mark.parametrize("name", reference.ACTIVATIONS)
def test_activation_keeps_nan_and_survives_large_values(name):
    y = reference.activation(np.array([np.nan, -1e30, 1e30]), name)
    assert np.isnan(y[0])
    assert np.isfinite(y[1:]).all()


def test_relu_keeps_integers():
    z = np.array([-3, 0, 4])
    assert_array_equal(reference.activation(z, "relu"), [0, 0, 4])
    assert reference.activation(z, "relu").dtype == np.int64
    assert reference.activation_backward(z, z, "relu").dtype == np.int64


# --------------------------------------------------------------------------------------------------------------- loss


def test_softmax_cross_entropy_matches_sklearn(rng):
    z, labels, sample_weight = rng.normal(scale=3, size=(6, 4)), np.array([0, 3, 1, 1, 2, 0]), rng.random(6)
    for weight in (None, sample_weight):
        loss, _ = reference.softmax_cross_entropy(z, labels, weight)
        expected = log_loss(labels, reference.softmax(z), sample_weight=weight)
        assert_allclose(loss, expected, rtol=1e-13)  # a few units in the last place of six terms


@pytest.mark.parametrize("weighted", [False, True])
def test_softmax_cross_entropy_gradient_numerically(rng, weighted):
    z, labels = rng.normal(scale=3, size=(6, 4)), np.array([0, 3, 1, 1, 2, 0])
    sample_weight = rng.random(6) if weighted else None
    _, dz = reference.softmax_cross_entropy(z, labels, sample_weight)
    assert_allclose(
        dz,
        reference.numerical_gradient(lambda z: reference.softmax_cross_entropy(z, labels, sample_weight)[0], z),
        atol=1e-9,  # rounding: 1e-16 * a loss of about 3 / 1e-6
    )


def test_softmax_of_large_scores_is_finite():
    p = reference.softmax([[1e4, 0.0, -1e4], [-1e4, -1e4, -1e4]])
    assert_array_equal(p, [[1, 0, 0], [1 / 3, 1 / 3, 1 / 3]])
    loss, dz = reference.softmax_cross_entropy([[1e4, 0.0]], [1])
    assert loss == 1e4
    assert_array_equal(dz, [[1, -1]])


# --------------------------------------------------------------------------------------------------------- optimisers


def test_adam_step_matches_sklearn(rng):
    weights = rng.normal(size=20)
    theirs = [weights.copy()]
    optimizer = AdamOptimizer(theirs, learning_rate_init=0.01, beta_1=0.8, beta_2=0.99, epsilon=1e-6)
    m = v = np.zeros(20)
    for t in range(1, 11):
        gradient = rng.normal(size=20)
        optimizer.update_params(theirs, [gradient])
        weights, m, v = reference.adam_step(
            weights, gradient, m, v, t, learning_rate=0.01, beta_1=0.8, beta_2=0.99, epsilon=1e-6
        )
    assert_array_equal(weights, theirs[0])


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.7])
def test_sgd_step_matches_sklearn(rng, momentum, nesterov):
    weights = rng.normal(size=20)
    theirs = [weights.copy()]
    optimizer = SGDOptimizer(theirs, learning_rate_init=0.05, momentum=momentum, nesterov=nesterov)
    velocity = np.zeros(20)
    for _ in range(10):
        gradient = rng.normal(size=20)
        optimizer.update_params(theirs, [gradient])
        weights, velocity = reference.sgd_step(
            weights, gradient, velocity, learning_rate=0.05, momentum=momentum, nesterov=nesterov
        )
    assert_array_equal(weights, theirs[0])


# --------------------------------------------------------------------------------------------------------- randomness


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_philox_known_answers(counter, key, expected):
    """Values published with Random123, the library of the generator's authors."""
    words = reference.philox4x32([int(word, 16) for word in counter.split()], [int(word, 16) for word in key.split()])
    assert " ".join(f"{word:08x}" for word in words) == expected


# -------------------------------------------------------------------------------------------------------- derivatives


def test_numerical_gradient_of_a_cubic(rng):
    x = rng.normal(size=(3, 4))
    before = x.copy()
    gradient = reference.numerical_gradient(lambda x: np.sum(x**3), x)
    assert_array_equal(x, before)
    assert_allclose(gradient, 3 * x**2, atol=1e-8)  # truncation: eps**2; rounding: 1e-16 * 10 / 1e-6
