"""Local contrast normalisation: the reference, its invariances, gradients, threads."""

import functools

import numpy as np
import pytest
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_limits

import reference
from skconv import CNNClassifier, Conv2DTransformer, LocalContrastNorm, MaxPool, _engine
from skconv._architecture import bind
from skconv._network import Network


@pytest.fixture(params=_engine.available_isas())
def isa(request):
    return request.param


def network_of(shape, isa, dtype="float64", **options):
    return Network(LocalContrastNorm(**options).bind(shape), dtype=dtype, isa=isa)


# Windows smaller, larger and much larger than the image, lines longer than a register block, one to three dimensions.
CASES = [
    ((8, 8, 1), 3),
    ((8, 6, 3), 9),
    ((11, 37, 2), (5, 7)),
    ((5, 70, 17), (1, 9)),
    ((70, 5, 8), (9, 1)),
    ((1, 1, 3), 9),
    ((2, 3, 9), 11),
    ((40, 1), 9),
    ((33, 4), 5),
    ((4, 5, 6, 2), 3),
    ((1, 5, 6, 2), 3),
    ((6, 3, 35, 1), (5, 3, 9)),
    ((3, 1, 1, 8), 3),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("shape", "kernel_size"), CASES, ids=str)
def test_matches_reference(isa, dtype, shape, kernel_size):
    x = np.random.default_rng(0).normal(5, 2, (3, *shape)).astype(dtype)
    network = network_of(shape, isa, dtype, kernel_size=kernel_size)
    expected = reference.local_contrast_norm(x, kernel_size=kernel_size, epsilon=1e-4)
    # Values of a few units, of sums of up to a few hundred terms.
    tolerance = 1e-12 if dtype == "float64" else 1e-5
    np.testing.assert_allclose(network.predict(x), expected, rtol=0, atol=tolerance)


def test_window_much_larger_than_the_image():
    """Its weights are all alike: every image is standardised as a whole."""
    x = np.random.default_rng(0).normal(5, 2, (3, 6, 7, 2))
    v = x - x.mean(axis=(1, 2, 3), keepdims=True)
    expected = v / np.sqrt((v**2).mean(axis=(1, 2, 3), keepdims=True))
    result = LocalContrastNorm(10**6 + 1).fit_transform(x)
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-9)


@functools.cache
def numerical_gradient(shape, kernel_size, epsilon):
    """An image, a gradient by its result, and the gradient by the image from central differences of the reference."""
    rng = np.random.default_rng(0)
    x, dy = rng.normal(5, 2, (1, *shape)), rng.standard_normal((1, *shape))
    return (
        x,
        dy,
        reference.numerical_gradient(
            lambda x: (reference.local_contrast_norm(x, kernel_size=kernel_size, epsilon=epsilon) * dy).sum(), x
        ),
    )


SMALL = [((6, 5, 1), 3), ((3, 4, 3), 9), ((1, 1, 3), 9), ((2, 3, 9), 5), ((20, 1), 9), ((9, 4), 5), ((2, 4, 3, 2), 3)]


@pytest.mark.parametrize("epsilon", [1e-4, 1.7])
@pytest.mark.parametrize(("shape", "kernel_size"), SMALL, ids=str)
def test_gradients_numerically(isa, shape, kernel_size, epsilon):
    """Where the deviation is the divisor, or its mean; 1.7 is that of some pixels, or of all."""
    x, dy, expected = numerical_gradient(shape, kernel_size, epsilon)
    dx, _ = network_of(shape, isa, kernel_size=kernel_size, epsilon=epsilon).backward(x, dy)
    np.testing.assert_allclose(dx, expected, rtol=0, atol=1e-7)


def test_gradient_in_single_precision(isa):
    rng = np.random.default_rng(0)
    x, dy = rng.normal(5, 2, (3, 19, 40, 9)), rng.standard_normal((3, 19, 40, 9))
    exact, _ = network_of(x.shape[1:], isa, kernel_size=9).backward(x, dy)
    dx, _ = network_of(x.shape[1:], isa, "float32", kernel_size=9).backward(x.astype(np.float32), dy)
    np.testing.assert_allclose(dx, exact, rtol=0, atol=1e-5)


@pytest.mark.parametrize("n_channels", [1, 3, 8, 20])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("value", [0, 255, 0.1])
def test_constant_images_become_zeros(isa, dtype, value, n_channels):
    x = np.full((2, 12, 40, n_channels), value).astype(dtype)
    network = network_of(x.shape[1:], isa, "float64" if dtype == np.float64 else "float32")
    np.testing.assert_array_equal(network.predict(x), np.zeros(x.shape))
    dx, _ = network.backward(x, np.ones(x.shape))
    assert np.isfinite(dx).all()


@pytest.mark.parametrize("n_channels", [1, 3, 16])
def test_invariances(isa, n_channels):
    x = np.random.default_rng(0).random((2, 20, 33, n_channels))
    network = network_of(x.shape[1:], isa)
    y = network.predict(x)
    for other in (x + 123, 1e6 * x, 0.3 * x - 5):
        np.testing.assert_allclose(network.predict(other), y, rtol=0, atol=1e-11)
    np.testing.assert_allclose(network.predict(-x), -y, rtol=0, atol=1e-12)
    np.testing.assert_allclose(network.predict(x[:, ::-1, ::-1].copy()), y[:, ::-1, ::-1], rtol=0, atol=1e-12)
    # Far below epsilon it is linear: subtraction, and division by a constant.
    np.testing.assert_allclose(network.predict(1e-9 * x), 1e-3 * network.predict(1e-6 * x), rtol=0, atol=1e-12)


def test_flat_background_has_a_finite_gradient(isa):
    x = np.zeros((2, 28, 28, 1))
    x[:, 10:14, 11:15] = np.random.default_rng(0).random((2, 4, 4, 1))
    for dtype in ("float32", "float64"):
        dx, _ = network_of(x.shape[1:], isa, dtype, kernel_size=5).backward(x.astype(dtype), np.ones_like(x))
        assert np.isfinite(dx).all()


@pytest.mark.parametrize("shape", [(200, 210, 3), (10, 60, 70, 2)])
def test_one_image_is_shared_out_with_the_same_bits(shape):
    x = np.random.default_rng(0).random((9, *shape), dtype=np.float32)
    norm = LocalContrastNorm(spatial_ndim=len(shape) - 1).fit(x)
    results = []
    for n_threads in (1, 2, 3):
        with threadpool_limits(n_threads, user_api="openmp"):
            results += [norm.transform(x), np.concatenate([norm.transform(x[i : i + 1]) for i in range(9)])]
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


@pytest.mark.parametrize("training", [False, True])
def test_inside_a_network(isa, training):
    """Between convolutions, whose margins it must leave alone, gradients by all weights are right."""
    layers = [
        ("conv1", Conv2DTransformer(4, 3, padding="same", activation="tanh")),
        ("norm1", LocalContrastNorm(5)),
        ("conv2", Conv2DTransformer(3, 3, padding="same", activation="tanh")),
        ("pool", MaxPool(2)),
        ("norm2", LocalContrastNorm(3, epsilon=0.2)),
    ]
    network = Network(bind(layers, (8, 7, 2)), dtype="float64", isa=isa)
    network.initialize(np.random.RandomState(0))
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((5, 8, 7, 2)), rng.standard_normal((5, *network.out_shape))
    _, gradient = network.backward(x, dy, training=training)
    weights = network.weights.copy()

    def total(flat):
        network.weights[...] = flat
        return (network.predict(x) * dy).sum()

    expected = reference.numerical_gradient(total, weights)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=3e-7)


def test_digits():
    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(X))
    train, test = order[:1200], order[1200:]
    layers = [("norm", LocalContrastNorm(5)), ("conv", Conv2DTransformer(16, 3)), ("pool1", MaxPool(2))]
    fitted = CNNClassifier(layers=layers, standardize=False, max_iter=20, random_state=0).fit(X[train], y[train])
    assert fitted.score(X[test], y[test]) > 0.95
    assert "contrast normalization 5x5" in fitted.summary()


@pytest.mark.parametrize(
    ("layer", "error", "message"),
    [
        (LocalContrastNorm(4), ValueError, "kernel_size must be odd, so that the window has a centre, got 4"),
        (LocalContrastNorm((3, 2)), ValueError, "kernel_size must be odd"),
        (LocalContrastNorm(0), ValueError, "kernel_size must be at least 1, got 0"),
        (LocalContrastNorm(2**62 + 1), ValueError, "kernel_size"),
        (LocalContrastNorm(3.0), TypeError, "kernel_size must be an int"),
        (LocalContrastNorm(epsilon=0), ValueError, "epsilon must be at least 1e-12, got 0"),
        (LocalContrastNorm(epsilon=None), TypeError, "epsilon must be a real number"),
    ],
)
def test_messages(layer, error, message):
    with pytest.raises(error) as raised:
        layer.fit(np.zeros((2, 8, 6, 3)))
    assert message in str(raised.value)
    with pytest.raises(ValueError, match="layer 'norm': LocalContrastNorm needs images, but flat features"):
        layer.bind((12,), "norm")
