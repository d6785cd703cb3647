"""GaborFilterBank: every algorithm against plain loops, in networks, names, moments, messages."""

import math
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import estimator_checks_generator
from threadpoolctl import threadpool_limits

import reference
from skconv import CNNClassifier, Conv2DTransformer, Flatten, GaborFilterBank, MaxPool, gabor_kernel
from skconv._network import Network

RUNNING = ("separable", "direct", "fft")
SMALL = dict(n_orientations=4, frequencies=(0.2, 0.35))  # 17x17 to 7x7


def images(*shape, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def respond(x, kernels, response, **options):
    """What a bank must answer: (n, *output, c * outputs)."""
    z = reference.filter_bank(x, kernels, **options)
    if response == "magnitude":
        return np.hypot(z.real, z.imag)
    if response == "energy":
        return z.real**2 + z.imag**2
    if response in ("real", "imag"):
        return getattr(z, response)
    channels = np.split(z, x.shape[-1], axis=-1)
    return np.concatenate([part for c in channels for part in (c.real, c.imag)], axis=-1)


CHECKED = [
    GaborFilterBank(2, 0.3),
    GaborFilterBank(1, 0.3, features="moments", aspect_ratio=0.5, zero_mean=True),
    GaborFilterBank(2, 0.3, algorithm="direct", response="quadrature"),
    GaborFilterBank(2, 0.3, algorithm="fft", stride=2),
    GaborFilterBank(2, 0.3, trainable=True, response="imag", padding="valid", kernel_size=1),
]


@pytest.mark.parametrize(
    "bank, check",
    [pair for bank in CHECKED for pair in estimator_checks_generator(bank)],
    ids=lambda value: getattr(getattr(value, "func", value), "__name__", ""),
)
def test_check_estimator(bank, check):
    check(bank)


# ---- the reference -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("response", ["magnitude", "energy", "real", "imag", "quadrature"])
@pytest.mark.parametrize("algorithm", RUNNING)
def test_responses_match_reference(algorithm, response, dtype):
    X = images(2, 21, 19, 2, dtype=dtype)
    bank = GaborFilterBank(algorithm=algorithm, response=response, **SMALL).fit(X)
    result, expected = bank.transform(X), respond(X, bank.kernels_, response)
    assert bank.algorithm_ == algorithm and result.dtype == dtype
    # 17 * 17 products a sum, by rows and columns: a few roundings of the largest response.
    np.testing.assert_allclose(result, expected, rtol=0, atol=16 * np.finfo(dtype).eps * np.abs(expected).max())


OPTIONS = {
    "phases": dict(phases=(0.0, 1.0, math.pi / 2), n_orientations=3, frequencies=0.3),
    "zero_mean": dict(zero_mean=True, **SMALL),
    "l2": dict(normalization="l2", zero_mean=True, **SMALL),
    "height": dict(normalization=None, **SMALL),
    "anisotropic": dict(aspect_ratio=0.6, n_orientations=5, frequencies=0.3, zero_mean=True),
    "anisotropic phases": dict(aspect_ratio=1.7, n_orientations=6, frequencies=0.3, phases=(0.5, 2.0)),
    "kernel size": dict(kernel_size=(5, 9), n_orientations=3, frequencies=(0.1, 0.3)),
    "even kernel": dict(kernel_size=(4, 6), n_orientations=3, frequencies=(0.2,)),
    "one pixel": dict(kernel_size=1, n_orientations=2, frequencies=(0.2,)),
    "small n_stds": dict(n_stds=1.0, n_orientations=7, frequencies=(0.15, 0.2, 0.25, 0.3)),
    "one filter": dict(n_orientations=1, frequencies=0.25),
}


@pytest.mark.parametrize("stride", [1, 2, (3, 1), (1, 40), 7])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("algorithm", RUNNING)
def test_options_match_reference(algorithm, options, stride):
    X = images(2, 19, 15, 1)
    bank = GaborFilterBank(algorithm=algorithm, **options).fit(X)
    whole = respond(X, bank.kernels_, "magnitude")
    np.testing.assert_allclose(bank.transform(X), whole, rtol=0, atol=1e-12 * whole.max())
    # With a stride, "same" begins elsewhere; padding by hand does not.
    anchor = np.max([[(k - 1) // 2 for k in kernel.shape] for kernel in bank.kernels_], axis=0)
    after = np.max([[k // 2 for k in kernel.shape] for kernel in bank.kernels_], axis=0)
    padding = tuple((int(b), int(a)) for b, a in zip(anchor, after))
    strided = bank.set_params(stride=stride, padding=padding).fit_transform(X)
    s, t = (stride, stride) if isinstance(stride, int) else stride
    np.testing.assert_allclose(strided, whole[:, ::s, ::t], rtol=0, atol=1e-12 * whole.max())


@pytest.mark.parametrize("mode", ["constant", "reflect", "symmetric", "edge", "wrap"])
@pytest.mark.parametrize("algorithm", RUNNING)
def test_padding_modes_match_reference(algorithm, mode):
    X = images(1, 5, 7, 2)  # margins of 8 pixels go round several times
    bank = GaborFilterBank(3, 0.2, algorithm=algorithm, padding_mode=mode).fit(X)
    expected = respond(X, bank.kernels_, "magnitude", mode=mode)
    np.testing.assert_allclose(bank.transform(X), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("algorithm", RUNNING)
@pytest.mark.parametrize("padding", ["valid", "full", "same_lower", 3, ((0, 2), (5, 1))])
def test_paddings_agree(algorithm, padding):
    X = images(2, 23, 25, 1)
    options = dict(n_orientations=4, frequencies=(0.25, 0.4), padding=padding)
    expected = GaborFilterBank(algorithm="direct", **options).fit_transform(X)
    np.testing.assert_allclose(GaborFilterBank(algorithm=algorithm, **options).fit_transform(X), expected, atol=1e-13)
    if padding == "valid":
        same = GaborFilterBank(algorithm=algorithm, **options | {"padding": "same"}).fit_transform(X)
        np.testing.assert_allclose(same[:, 7:-7, 7:-7], expected, atol=1e-13)


@pytest.mark.parametrize("size", [(1, 1), (1, 70), (70, 1), (64, 64), (65, 130), (200, 63), (31, 129)])
@pytest.mark.parametrize("stride", [1, 3])
def test_blocks_of_all_sizes(isa, dtype, size, stride):
    """Chunks of 24 lines, blocks of 64 columns and units of lines end anywhere, on every instruction set."""
    options = dict(n_orientations=3, frequencies=(0.3, 0.45), zero_mean=True, stride=stride, padding_mode="edge")
    results = []
    X = images(1, *size, 2, dtype=dtype)
    for algorithm in ("separable", "direct"):
        operations = GaborFilterBank(algorithm=algorithm, **options).bind((*size, 2))
        network = Network(operations, dtype=dtype, isa=isa)
        network.initialize(None)
        out = np.full((1, *network.out_shape), np.nan, dtype=dtype)
        results.append(network.predict(X, out=out))
    # Envelopes have an integral of 1, so no response is larger than the image.
    np.testing.assert_allclose(*results, rtol=0, atol=16 * np.finfo(dtype).eps * np.abs(X).max())


def test_the_lectures_filters():
    parameters = [
        dict(kernel_size=7, theta=0.4, omega=1.2, psi=0.5, alpha=0.1, beta=0.3, amplitude=2.0, x0=0.5, y0=-1.0),
        dict(kernel_size=(5, 8), theta=2.0, omega=0.7, alpha=0.05, beta=0.05),
        dict(theta=1.0, omega=1.5, alpha=0.2, beta=0.4),
        dict(kernel_size=3, theta=0.0, omega=0.0, psi=math.pi / 2, alpha=0.0, beta=0.0),
        dict(kernel_size=3, theta=0.0, omega=1.0, alpha=1.0, beta=1.0, x0=1e6),  # nothing of it inside
    ]
    X = images(2, 16, 17, 1)
    for algorithm in RUNNING:
        bank = GaborFilterBank(parameters=parameters, response="imag", algorithm=algorithm).fit(X)
        for given, kernel in zip(parameters, bank.kernels_):
            size = given.get("kernel_size", kernel.shape)
            given = {name: value for name, value in given.items() if name != "kernel_size"}
            np.testing.assert_array_equal(kernel.imag, gabor_kernel(size, **given))
        np.testing.assert_allclose(bank.transform(X), respond(X, bank.kernels_, "imag"), rtol=0, atol=1e-12)
    # Three sigmas are 4.74 and 3.35 pixels; at one radian 4.74 sin 1 = 3.99 and 3.35 sin 1 = 2.82 are the larger ones.
    assert bank.kernels_[2].shape == (9, 7)
    # A mean that is not one: the sum of the pixels under 3x3.
    np.testing.assert_allclose(bank.transform(np.ones((1, 16, 17, 1)))[..., 3], 9)


def test_auto_kernel_size_is_scikit_images():
    bank = GaborFilterBank().fit(images(1, 8, 8))
    sides = [kernel.shape[0] for kernel in bank.kernels_]
    assert (min(sides), max(sides)) == (7, 69) and all(k.shape[0] == k.shape[1] for k in bank.kernels_)
    filters = pytest.importorskip("skimage.filters")
    bank = GaborFilterBank(6, (0.1, 0.3), bandwidth=1.5, aspect_ratio=0.5, phases=(0.4,), n_stds=2.5).fit(
        images(1, 8, 8)
    )
    for kernel, f, theta in zip(bank.kernels_, bank.frequencies_, bank.orientations_):
        sigma = math.sqrt(math.log(2) / 2) / math.pi * (2**1.5 + 1) / (2**1.5 - 1) / f
        expected = filters.gabor_kernel(f, theta, sigma_x=sigma, sigma_y=2 * sigma, n_stds=2.5, offset=0.4)
        np.testing.assert_allclose(kernel, expected, rtol=0, atol=1e-14)


def test_magnitude_is_scikit_images():
    filters = pytest.importorskip("skimage.filters")
    image = images(30, 40)
    bank = GaborFilterBank(3, (0.15, 0.3)).fit(image[None])
    maps = bank.transform(image[None])[0]
    for i, (f, theta) in enumerate(zip(bank.frequencies_, bank.orientations_)):
        real, imaginary = filters.gabor(image, f, theta)
        np.testing.assert_allclose(maps[..., i], np.hypot(real, imaginary), rtol=0, atol=1e-13)


@pytest.mark.parametrize("zero_mean", [False, True])
def test_constant_images(zero_mean):
    maps = GaborFilterBank(zero_mean=zero_mean, response="quadrature").fit_transform(np.full((1, 40, 40), 1000.0))
    if zero_mean:
        np.testing.assert_allclose(maps, 0, atol=1e-10)
    else:
        assert 0.5 < np.abs(maps[..., :32]).max() < 10  # 0.2 percent and less of 1000
        np.testing.assert_allclose(maps[..., 32:], 0, atol=1e-10)


def test_hmax_has_the_table_of_serre():
    bank = GaborFilterBank.hmax().fit(images(1, 40, 40))
    assert len(bank.kernels_) == 64 and bank.response == "real"
    assert [kernel.shape for kernel in bank.kernels_[::4]] == [(side, side) for side in range(7, 38, 2)]
    np.testing.assert_allclose(1 / bank.frequencies_[::4][[0, 1, -1]], [3.5, 4.6, 22.8])
    np.testing.assert_allclose(np.rad2deg(bank.orientations_[:4]), [0, 45, 90, 135])
    for kernel in bank.kernels_:
        assert abs(kernel.real.sum()) < 1e-12 and np.linalg.norm(kernel.real) == pytest.approx(1)
    assert len(GaborFilterBank.hmax(2, 3, features="moments").fit(images(1, 9, 9)).get_feature_names_out()) == 12


# ---- bits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("features", ["maps", "moments"])
@pytest.mark.parametrize("algorithm", RUNNING)
def test_n_threads_agnosticism(algorithm, features):
    X = images(3, 300, 150, dtype=np.float32)
    bank = GaborFilterBank(4, (0.2, 0.4), algorithm=algorithm, features=features).fit(X)
    expected = bank.transform(X)
    for n_threads in (1, 2, 5):
        with threadpool_limits(n_threads, user_api="openmp"):
            np.testing.assert_array_equal(bank.transform(X), expected)
            # One image at a time: its units are shared out.
            np.testing.assert_array_equal(np.concatenate([bank.transform(x[None]) for x in X]), expected)
    np.testing.assert_array_equal(bank.transform(np.asfortranarray(X)), expected)


def test_infinite_neighbours_stay_where_they_are():
    """What one image leaves in the scratch memory does not reach the next one."""
    bank = GaborFilterBank(2, 0.3, algorithm="separable", aspect_ratio=0.7).fit(images(1, 30, 30))
    network = Network(bank.bind((30, 30, 1)))
    X = images(2, 30, 30, 1, dtype=np.float32)
    expected = network.predict(X[1:])
    X[0] = np.inf
    with threadpool_limits(1, user_api="openmp"):
        np.testing.assert_array_equal(network.predict(X)[1:], expected)


def test_pickle_and_clone():
    X = images(2, 20, 20, dtype=np.float32)
    for algorithm in RUNNING:
        bank = GaborFilterBank(4, 0.3, algorithm=algorithm).fit(X)
        text = pickle.dumps(bank)
        assert b"_engine" not in text
        copied = pickle.loads(text)
        for dtype in (np.float32, np.float64):
            np.testing.assert_array_equal(copied.transform(X.astype(dtype)), bank.transform(X.astype(dtype)))
        np.testing.assert_array_equal(clone(bank).fit_transform(X), bank.transform(X))
        bank.set_params(n_orientations=2)  # waits for the next fit
        np.testing.assert_array_equal(bank.transform(X), copied.transform(X))
        np.testing.assert_allclose(bank.transform(X.astype(float)), copied.transform(X), atol=1e-5)


# ---- moments -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", RUNNING)
@pytest.mark.parametrize("shape", [(2, 9, 7, 2), (1, 300, 150, 1), (1, 1, 1, 3)])
def test_moments_are_those_of_the_maps(algorithm, shape, dtype):
    X = images(*shape, dtype=dtype) + dtype_of(dtype)(5)
    options = dict(algorithm=algorithm, response="quadrature", **SMALL)
    maps = GaborFilterBank(**options).fit_transform(X).astype(float).reshape(len(X), -1, 16 * shape[-1])
    moments = GaborFilterBank(features="moments", **options).fit_transform(X)
    assert moments.shape == (len(X), 32 * shape[-1]) and moments.dtype == dtype
    tolerance = 8 * np.finfo(dtype).eps * np.abs(maps).max()
    np.testing.assert_allclose(moments[:, ::2], maps.mean(axis=1), rtol=0, atol=tolerance)
    # A standard deviation of nothing but rounding is the root of that.
    np.testing.assert_allclose(moments[:, 1::2] ** 2, maps.var(axis=1), rtol=1e-5, atol=tolerance**2 + 1e-13)


def dtype_of(name):
    return np.dtype(name).type


# ---- in networks ---------------------------------------------------------------------------------------------------


def gradient_case(features, response, **options):
    """A network of a convolution that learns and a bank, in float64."""
    layers = [
        ("conv", Conv2DTransformer(2, 3, activation="tanh")),
        ("gabor", GaborFilterBank(2, 0.3, features=features, response=response, padding_mode="reflect", **options)),
    ]
    operations, shape = [], (6, 7, 1)
    for name, layer in layers:
        operations += layer.bind(shape, name)
        shape = operations[-1].out_shape
    network = Network(operations, dtype="float64")
    network.initialize(np.random.RandomState(0))
    return network


@pytest.mark.parametrize("features", ["maps", "moments"])
@pytest.mark.parametrize("response", ["magnitude", "energy", "real", "quadrature"])
@pytest.mark.parametrize("trainable", [False, True])
def test_gradients_numerically(features, response, trainable):
    network = gradient_case(features, response, trainable=trainable)
    assert "FilterBank" not in {type(operation).__name__ for operation in network.operations}
    X = images(2, 6, 7, 1)
    dy = images(2, *network.out_shape, seed=1)
    dx, gradient = network.backward(X, dy)

    def value():
        return float(np.vdot(network.predict(X), dy))

    def numerical(array):
        def at(values):
            kept = array.copy()
            array[...] = values
            result = value()
            array[...] = kept
            return result

        return reference.numerical_gradient(at, array)

    coefs, intercepts = network.arrays_of(gradient)
    np.testing.assert_allclose(coefs[0], numerical(network.coefs[0]), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(intercepts[0], numerical(network.intercepts[0]), rtol=1e-5, atol=1e-7)
    if trainable:
        np.testing.assert_allclose(coefs[1], numerical(network.coefs[1]), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(dx, numerical(X), rtol=1e-5, atol=1e-7)


def test_bank_behind_what_learns_runs_directly_and_gives_the_same():
    network = gradient_case("maps", "magnitude")
    X = images(3, 6, 7, 1)
    maps = Network(network.operations[:1], dtype="float64")
    maps.weights[...] = network.weights[: maps.n_weights]
    bank = GaborFilterBank(2, 0.3, padding_mode="reflect", algorithm="separable")
    np.testing.assert_allclose(network.predict(X), bank.fit_transform(maps.predict(X)), atol=1e-14)


def test_separable_banks_pull_nothing_back():
    network = Network(GaborFilterBank(2, 0.3, algorithm="separable").bind((6, 6, 1)))
    with pytest.raises(ValueError, match="pulls no gradients back"):
        network.backward(images(1, 6, 6, 1), np.zeros((1, 6, 6, 2)))


def stripes(n, rng):
    """Noisy images of vertical (0) and horizontal (1) waves of any phase."""
    y = rng.integers(2, size=n)
    wave = np.sin(2 * np.pi * 0.25 * np.arange(16) + rng.uniform(0, 2 * np.pi, size=(n, 1)))
    X = np.where(y[:, None, None] == 0, wave[:, None, :], wave[:, :, None])
    return X + rng.normal(scale=0.5, size=X.shape), y


@pytest.mark.parametrize(
    "layers",
    [
        [("gabor", GaborFilterBank(4, 0.25)), ("pool1", MaxPool(8))],
        [("gabor", GaborFilterBank(4, 0.25, features="moments"))],
        [("gabor", GaborFilterBank(4, 0.25, trainable=True)), ("pool1", MaxPool(8))],
        [("conv", Conv2DTransformer(2, 3)), ("gabor", GaborFilterBank(2, 0.3, features="moments", kernel_size=7))],
        [("gabor", GaborFilterBank(2, 0.25, algorithm="direct", response="energy")), ("conv", Conv2DTransformer(4, 3))],
    ],
    ids=lambda layers: "-".join(name for name, _ in layers),
)
def test_network_learns_with_a_bank(layers):
    X, y = stripes(200, np.random.default_rng(0))
    clf = CNNClassifier(layers=layers, max_iter=20, learning_rate_init=0.05, batch_size=20, random_state=0).fit(X, y)
    X_test, y_test = stripes(100, np.random.default_rng(1))
    assert clf.score(X_test, y_test) > 0.9
    copied = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(copied.predict_proba(X_test), clf.predict_proba(X_test))
    bank = dict(layers)["gabor"]
    given = [operation.coef for operation in bank.bind((16, 16, 1)) if operation.coef_shape]
    for coef in given:  # filters of the bank among the weights: they move, or they stay
        found = next(c for c in clf.coefs_ if c.shape == coef.shape)
        assert np.allclose(found, coef, atol=1e-6) != bank.trainable


def test_pipeline_flattens_maps():
    X = images(4, 12, 12)
    assert make_pipeline(GaborFilterBank(2, 0.3), MaxPool(4), Flatten()).fit_transform(X).shape == (4, 18)


# ---- names ---------------------------------------------------------------------------------------------------------


def names_of(bank, *shape):
    return list(bank.fit(images(2, *shape)).get_feature_names_out())


def test_feature_names():
    moments = GaborFilterBank(2, (0.25,), features="moments")
    assert names_of(moments, 8, 8) == [
        "gabor_f0.25_t0_mean", "gabor_f0.25_t0_std", "gabor_f0.25_t90_mean", "gabor_f0.25_t90_std",
    ]  # fmt: skip
    assert names_of(clone(moments), 8, 8, 2)[4:6] == ["gabor_c1_f0.25_t0_mean", "gabor_c1_f0.25_t0_std"]
    assert names_of(GaborFilterBank(2, 0.25), 1, 1) == ["gabor_f0.25_t0", "gabor_f0.25_t90"]
    assert names_of(GaborFilterBank(1, (0.1, 0.2)), 1, 2) == [
        "gabor_f0.1_t0_y0_x0", "gabor_f0.2_t0_y0_x0", "gabor_f0.1_t0_y0_x1", "gabor_f0.2_t0_y0_x1",
    ]  # fmt: skip
    assert names_of(GaborFilterBank(1, 0.1, phases=(0, math.pi / 2), response="quadrature"), 1, 1) == [
        "gabor_f0.1_t0_p0_real", "gabor_f0.1_t0_p90_real", "gabor_f0.1_t0_p0_imag", "gabor_f0.1_t0_p90_imag",
    ]  # fmt: skip
    same = [dict(theta=0, omega=1, alpha=0.1, beta=b) for b in (0.1, 0.2)]
    assert names_of(GaborFilterBank(parameters=same), 1, 1) == ["gabor_f0.159155_t0_k0", "gabor_f0.159155_t0_k1"]


def test_names_belong_to_their_columns():
    """The response to a wave is largest where its name says."""
    i, j = np.mgrid[:64, :64]
    image = np.sin(2 * np.pi * 0.2 * (j * np.cos(np.pi / 4) + i * np.sin(np.pi / 4)))
    X = np.stack([np.zeros_like(image), image], axis=-1)[None]
    bank = GaborFilterBank(features="moments", response="quadrature").fit(X)
    frame = bank.set_output(transform="pandas").transform(X)
    assert isinstance(frame, pd.DataFrame) and list(frame.columns) == list(bank.get_feature_names_out())
    deviations = frame.iloc[0].filter(like="_std").sort_values()
    assert set(deviations.index[-2:]) == {"gabor_c1_f0.2_t45_real_std", "gabor_c1_f0.2_t45_imag_std"}


def test_frames_of_maps_are_refused_with_advice():
    bank = GaborFilterBank(2, 0.3).set_output(transform="pandas").fit(images(2, 8, 8))
    with pytest.raises(ValueError, match="cannot hold images of shape"):
        bank.transform(images(2, 8, 8))
    assert bank.transform(images(2, 64)).shape == (2, 128)


# ---- choice and messages -------------------------------------------------------------------------------------------


def test_auto_chooses_by_cost():
    X = images(1, 256, 256, dtype=np.float32)
    assert GaborFilterBank().fit(X).algorithm_ == "separable"
    # Slow multiply-adds pay for transforms earlier, but not for kernels of 25 pixels.
    assert GaborFilterBank(3, 0.4, aspect_ratio=0.5, kernel_size=5).fit(X).algorithm_ == "direct"
    assert GaborFilterBank(aspect_ratio=0.4).fit(X).algorithm_ == "fft"
    assert GaborFilterBank(trainable=True, n_orientations=2, frequencies=0.1).fit(X).algorithm_ == "direct"
    # Networks do without transforms.
    operations = GaborFilterBank(aspect_ratio=0.4).bind((256, 256, 1))
    assert type(operations[0]).__name__ == "FilterBank"


@pytest.mark.parametrize("frequencies", [0.5, (0.1, 0.7)])
def test_aliasing_warns_once(frequencies):
    X = images(1, 8, 8, dtype=np.float32)
    bank = GaborFilterBank(2, frequencies)
    with pytest.warns(UserWarning, match="alias") as caught:
        bank.fit(X)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bank.transform(X)
        pickle.loads(pickle.dumps(bank)).transform(X.astype(float))


@pytest.mark.parametrize(
    "bank, error, message",
    [
        (GaborFilterBank(0), ValueError, "n_orientations must be at least 1, got 0"),
        (GaborFilterBank(2.0), TypeError, "n_orientations must be an int, got 2.0"),
        (GaborFilterBank(2**40), ValueError, "make more than 2**14 filters"),
        (GaborFilterBank(2**13, (0.1, 0.2, 0.3)), ValueError, "make more than 2**14 filters"),
        (GaborFilterBank(frequencies=0), ValueError, "frequencies[0] must be greater than 0, got 0"),
        (GaborFilterBank(frequencies=(0.1, -0.2)), ValueError, "frequencies[1] must be greater than 0, got -0.2"),
        (GaborFilterBank(frequencies=np.nan), ValueError, "frequencies[0] must be a finite number, got nan"),
        (GaborFilterBank(frequencies=()), ValueError, "frequencies must have at least 1"),
        (GaborFilterBank(frequencies="high"), TypeError, "frequencies must be a number or a sequence of numbers"),
        (GaborFilterBank(frequencies=(0.1, True)), TypeError, "frequencies[1] must be a real number, got True"),
        (GaborFilterBank(frequencies=1e-9), ValueError, "frequencies=1e-09 asks for a kernel of"),
        (GaborFilterBank(bandwidth=0), ValueError, "bandwidth must be greater than 0, got 0"),
        (GaborFilterBank(aspect_ratio=-1), ValueError, "aspect_ratio must be greater than 0, got -1"),
        (GaborFilterBank(phases=(np.inf,)), ValueError, "phases[0] must be a finite number"),
        (GaborFilterBank(n_stds=0), ValueError, "n_stds must be greater than 0, got 0"),
        (GaborFilterBank(kernel_size=0), ValueError, "kernel_size must be at least 1, got 0"),
        (GaborFilterBank(kernel_size=2**32), ValueError, "must have at most 2**22 pixels"),
        (GaborFilterBank(kernel_size="large"), ValueError, "kernel_size must be one of 'auto'"),
        (GaborFilterBank(kernel_size=9, padding="valid"), ValueError, "kernel_size=9 does not fit into an 8x6 image"),
        (GaborFilterBank(padding="valid"), ValueError, "it follows from frequencies, bandwidth and n_stds"),
        (GaborFilterBank(normalization="max"), ValueError, "normalization must be one of 'area', 'l2', None"),
        (GaborFilterBank(zero_mean=1), TypeError, "zero_mean must be a bool"),
        (GaborFilterBank(response="abs"), ValueError, "response must be one of 'magnitude', 'energy'"),
        (GaborFilterBank(features="mean"), ValueError, "features must be one of 'maps', 'moments'"),
        (GaborFilterBank(stride=0), ValueError, "stride must be at least 1, got 0"),
        (GaborFilterBank(padding=-1), ValueError, "padding must be at least 0"),
        (GaborFilterBank(padding=2**62), ValueError, "padding must be at least 0 and at most 2**40"),
        (GaborFilterBank(padding=2**18), MemoryError, "more than the"),
        (GaborFilterBank(padding=2**18, features="moments"), ValueError, "too many for the moments; use less padding"),
        (GaborFilterBank(padding_mode="mirror"), ValueError, "padding_mode must be one of 'constant', 'reflect'"),
        (GaborFilterBank(trainable=None), TypeError, "trainable must be a bool"),
        (GaborFilterBank(algorithm="iir"), ValueError, "algorithm must be one of 'auto', 'direct', 'separable', 'fft'"),
        (GaborFilterBank(trainable=True, algorithm="fft"), ValueError, "trainable=True needs algorithm='direct'"),
        (GaborFilterBank(parameters=3), TypeError, "parameters must be a list of dicts, got 3"),
        (GaborFilterBank(parameters=[]), ValueError, "parameters must have at least 1"),
        (GaborFilterBank(parameters=[dict(theta=0)]), ValueError, "parameters[0] must have alpha, beta, omega, theta"),
        (
            GaborFilterBank(parameters=[dict(theta=0, omega=1, alpha=0, beta=1)]),
            ValueError,
            "parameters[0] alpha must be greater than 0, got 0",
        ),
        (
            GaborFilterBank(parameters=[dict(theta=0, omega=1, alpha=-1, beta=1, kernel_size=3)]),
            ValueError,
            "parameters[0] alpha must be at least 0 and at most 1e+110, got -1",
        ),
        (
            GaborFilterBank(parameters=[dict(theta=0, omega=1, alpha=0, beta=1, x0=1e300, kernel_size=3)]),
            ValueError,
            "parameters[0] x0 must be at least -1e+50 and at most 1e+50, got 1e+300",
        ),
        (
            GaborFilterBank(parameters=[dict(theta=0, omega=1, alpha=1, beta=1, amplitude=1e40)]),
            ValueError,
            "parameters[0] amplitude must be at least -1e+30 and at most 1e+30, got 1e+40",
        ),
        (
            GaborFilterBank(1, 0.25, kernel_size=1, normalization="l2", response="imag"),
            ValueError,
            "normalization='l2' cannot scale a filter of zeros",
        ),
    ],
)
def test_messages(bank, error, message):
    with pytest.raises(error) as raised:
        bank.fit(np.zeros((2, 8, 6, 3)))
    assert message in str(raised.value)
    assert vars(bank) == bank.get_params(deep=False)


def test_filters_that_fit_no_memory_are_refused(monkeypatch):
    bank = GaborFilterBank(3, 0.25, kernel_size=(5, 4))
    monkeypatch.setattr("skconv.layers.gabor.memory_limit", lambda: 16 * 3 * 5 * 4)
    bank.fit(np.zeros((1, 8, 8)))
    monkeypatch.setattr("skconv.layers.gabor.memory_limit", lambda: 16 * 3 * 5 * 4 - 1)
    with pytest.raises(MemoryError, match="3 filters of up to 5x4 pixels take"):
        bank.fit(np.zeros((1, 8, 8)))


@pytest.mark.parametrize("algorithm", ["direct", "separable", "fft"])
def test_overflow_is_no_warning(algorithm):
    """The squares of a response overflow float32 from 1e19 on."""
    X = np.full((1, 9, 9), 1e25, dtype=np.float32)
    bank = GaborFilterBank(1, 0.25, response="energy", algorithm=algorithm)
    assert np.isposinf(bank.fit_transform(X)).all()


def test_messages_in_networks_name_the_layer():
    X, y = np.zeros((4, 8, 8)), [0, 1, 0, 1]
    for bank, message in (
        (GaborFilterBank(0), "layer 'g': n_orientations must be at least 1"),
        (GaborFilterBank(algorithm="fft"), "layer 'g': algorithm='fft' works standing alone only"),
    ):
        with pytest.raises(ValueError, match=message):
            CNNClassifier(layers=[("g", bank)]).fit(X, y)
    with pytest.raises(ValueError, match="filters images of two spatial axes"):
        GaborFilterBank().bind((8, 1))
    with pytest.raises(ValueError, match="needs images"):
        GaborFilterBank().bind((8,))
