"""Augmentation: images as training sees them, against reference_augment.py, and what must stay as it is."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV

import reference_augment as reference
from builders import convolution
from skconv import CNNClassifier
from skconv._augment import Augmentation, resolve_augmentation
from skconv._network import Network
from skconv._operations import DenseProduct

SEED = 2**40 + 7


def network_on(shape, augment, *, dtype="float32", isa=None, **standardisation):
    """A dense layer of two units without weights, whose gradient shows what reaches it."""
    dense = DenseProduct("dense", shape, (2,), "identity", False)
    return Network(
        [dense], dtype=dtype, isa=isa, augment=resolve_augmentation(augment, shape), **standardisation
    )  # fmt: skip


def image_seen(network, x, sample, epoch=0, seed=SEED, training=True):
    """One image as it reaches the dense layer, bit for bit: the gradient is x * (softmax - onehot) = x (-1/2, 1/2)."""
    state = network.solver_state()
    network.train(
        x, np.zeros(len(x), np.int32), np.array([sample]), np.array([0, 1]), state=state, solver="gradient",
        rates=np.zeros(1), settings=(0.0, 0.0, 0.0, 0.0, False), seed=seed, epoch=epoch, training=training,
    )  # fmt: skip
    gradient = network.arrays_of(state.first)[0][-1]
    np.testing.assert_array_equal(gradient[:, 0], -gradient[:, 1])
    return (2 * gradient[:, 1]).reshape(network.operations[-1].in_shape)


def images(shape, n=3, source="float32"):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (n, *shape)).astype(source)


def standardisation(n_channels, dtype="float32"):
    channels = np.arange(n_channels)
    return {"mean": (100 + channels).astype(dtype), "scale": (1 / (50 + 7 * channels)).astype(dtype)}


def standardised(x, mean, scale, dtype="float32"):
    return (x.astype(dtype) - mean.astype(dtype)) * scale.astype(dtype)


# ---- against the reference -----------------------------------------------------------------------------------------

SHAPES = [(28, 28, 1), (9, 14, 3), (37, 2), (4, 7, 6, 2), (1, 5, 1), (70, 66, 1), (1, 1, 1)]


@pytest.mark.parametrize("fill", ["edge", "reflect", "constant", 200])
@pytest.mark.parametrize("shape", SHAPES)
def test_whole_pixels_match_reference(isa, dtype, shape, fill):
    """Shifts up to the whole side, flips along every axis, and cutout: the same bits."""
    sizes = shape[:-1]
    words = ("depth", "vertical", "horizontal")[-len(sizes) :]
    augment = {
        "shift": tuple(n - 1 for n in sizes), "flip": words, "cutout": tuple((n + 1) // 2 for n in sizes), "fill": fill,
    }  # fmt: skip
    parameters = standardisation(shape[-1])
    network = network_on(shape, augment, dtype=dtype, isa=isa, **parameters)
    x = images(shape)
    constant = standardised(np.full(shape[-1], fill), **parameters, dtype=dtype) if fill == 200 else 0
    for sample, epoch in ((0, 0), (1, 0), (2, 5)):
        expected = reference.augment(
            standardised(x[sample], **parameters, dtype=dtype), network.augment, (SEED, epoch, sample), constant
        )
        np.testing.assert_array_equal(image_seen(network, x, sample, epoch), expected)


ALL = {
    "shift": 0.1, "flip": True, "rotation": 30, "scale": 0.3, "shear": 20, "elastic": (20, 3), "cutout": 0.3,
    "noise": 0.3, "brightness": 0.5, "contrast": 0.5,
}  # fmt: skip
PLANAR = [
    {"rotation": 180},
    {"scale": 1},
    {"shear": 60},
    {"elastic": (34, 4)},
    {"elastic": (8, 0.5)},
    {"elastic": (900, 9)},
    {"rotation": 20, "shift": 3, "flip": ("horizontal", "vertical")},
    ALL,
    ALL | {"elastic": False, "noise": False, "cutout": False},
]


def tolerance(dtype, n, largest, noise=False):
    """Bound of the interpolation's rounding.

    A coordinate is a sum of terms of up to 2 n pixels, each rounded once or twice, and moves the result by at most the
    difference between neighbours, twice the largest value; noise comes from polynomials in float32, good for 1e-6.
    """
    return 2 * largest * 16 * n * np.finfo(dtype).eps + 2e-6 * bool(noise)


@pytest.mark.parametrize("fill", ["edge", "reflect", "constant", 200])
@pytest.mark.parametrize("augment", PLANAR, ids=lambda augment: "-".join(augment))
@pytest.mark.parametrize("shape", [(28, 28, 1), (9, 14, 3), (66, 131, 1)])
def test_planar_maps_match_reference(isa, dtype, shape, augment, fill):
    parameters = standardisation(shape[-1])
    network = network_on(shape, augment | {"fill": fill}, dtype=dtype, isa=isa, **parameters)
    x = images(shape)
    constant = standardised(np.full(shape[-1], fill), **parameters, dtype=dtype) if fill == 200 else 0
    for sample, epoch in ((0, 0), (2, 5)):
        image = standardised(x[sample], **parameters, dtype=dtype)
        expected = reference.augment(image, network.augment, (SEED, epoch, sample), constant)
        bound = tolerance(
            dtype, max(shape) + network.augment.elastic[0], np.abs(image).max(), noise=network.augment.noise
        )
        np.testing.assert_allclose(image_seen(network, x, sample, epoch), expected, rtol=0, atol=bound)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 9, 2), (9, 1, 2), (2, 2, 1)])
@pytest.mark.parametrize("fill", ["edge", "reflect", "constant"])
def test_planar_maps_of_thin_images(isa, shape, fill):
    augment = {"rotation": 180, "scale": 0.5, "shear": 30, "elastic": (3, 0.6), "fill": fill}
    network = network_on(shape, augment, isa=isa)
    x = images(shape)
    expected = reference.augment(x[1], network.augment, (SEED, 3, 1))
    np.testing.assert_allclose(image_seen(network, x, 1, 3), expected, rtol=0, atol=tolerance("float32", 9, 255))


@pytest.mark.parametrize("fill", ["edge", "reflect", "constant"])
def test_signals_are_stretched(isa, fill):
    network = network_on((50, 2), {"scale": 0.5, "shift": 4, "flip": True, "fill": fill}, isa=isa)
    x = images((50, 2))
    expected = reference.augment(x[1], network.augment, (SEED, 0, 1))
    np.testing.assert_allclose(image_seen(network, x, 1), expected, rtol=0, atol=tolerance("float32", 50, 255))


@pytest.mark.parametrize("shape", [(30, 2), (5, 6, 7, 1)])
def test_values_match_reference_beside_any_number_of_axes(isa, dtype, shape):
    network = network_on(shape, {"noise": 0.5, "brightness": 1, "contrast": 1, "cutout": 3}, dtype=dtype, isa=isa)
    x = images(shape) / 100
    expected = reference.augment(x[2], network.augment, (SEED, 1, 2))
    np.testing.assert_allclose(image_seen(network, x.astype("float32"), 2, 1), expected, rtol=2e-6, atol=3e-6)


@pytest.mark.parametrize("source", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("augment", ["shift", ALL], ids=["shift", "all"])
def test_data_of_every_type(isa, dtype, source, augment):
    shape = (9, 14, 3)
    network = network_on(shape, augment, dtype=dtype, isa=isa, **standardisation(3))
    plain = image_seen(network, images(shape), 1)
    x = images(shape, source=source)
    before = x.copy()
    np.testing.assert_array_equal(image_seen(network, x, 1), plain)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("augment", ["shift", ALL | {"cutout": False}], ids=["shift", "all"])
def test_margins_stay_zero(isa, augment):
    """Behind a map with a margin, for a convolution that hands on its input: the centre of its kernel is 1."""
    shape = (12, 10, 1)
    conv = convolution(shape, 1, fit_intercept=False, kernel_size=5, padding="same")
    plain = network_on(shape, augment, isa=isa)
    dense = plain.operations[0]
    network = Network([conv, dense], augment=plain.augment, isa=isa)
    network.coefs[0][2, 2] = 1
    x = images(shape)
    for sample in range(3):
        np.testing.assert_array_equal(image_seen(network, x, sample), image_seen(plain, x, sample))


# ---- what the draws depend on --------------------------------------------------------------------------------------


def test_epochs_samples_and_seeds_draw_apart(isa):
    network = network_on((8, 8, 1), {"noise": 1, "elastic": True}, isa=isa)
    x = np.repeat(images((8, 8, 1), 1), 3, axis=0)
    keys = [(0, 0, SEED), (1, 0, SEED), (0, 1, SEED), (0, 0, SEED + 1), (0, 0, SEED + 2**32)]
    seen = {image_seen(network, x, *key).tobytes() for key in keys}
    assert len(seen) == len(keys)
    assert image_seen(network, x, *keys[0]).tobytes() == image_seen(network, x, *keys[0]).tobytes()


def test_options_draw_apart():
    """What one option draws does not depend on the others: shifts are the same beside flips of a symmetric image."""
    x = images((12, 12, 1))
    x += x[:, :, ::-1]
    for epoch in range(10):
        alone = image_seen(network_on((12, 12, 1), {"shift": 5}), x, 0, epoch)
        flipped = image_seen(network_on((12, 12, 1), {"shift": 5, "flip": True}), x, 0, epoch)
        np.testing.assert_array_equal(flipped, alone)
        cut = image_seen(network_on((12, 12, 1), {"shift": 5, "cutout": 1, "contrast": 1}), x, 0, epoch)
        ratios = (cut / alone).ravel()
        assert np.ptp(np.sort(ratios)[1:]) < 1e-6 < np.ptp(ratios)  # one factor, and one pixel is zero


def draws(augment, shape, x, n=400):
    network = network_on(shape, augment)
    return np.array([image_seen(network, x, 0, epoch) for epoch in range(n)])


def test_shifts_are_uniform():
    """A single bright pixel in the middle is found at each of 5 x 7 places about equally often."""
    x = np.zeros((1, 11, 11, 1), np.float32)
    x[0, 5, 5] = 1
    n = 1400
    places = draws({"shift": (2, 3)}, (11, 11, 1), x, n).reshape(n, -1).argmax(axis=1)
    down, right = places // 11 - 5, places % 11 - 5
    counts = np.zeros((5, 7))
    np.add.at(counts, (down + 2, right + 3), 1)
    # Chi-squared with 34 degrees of freedom: above 75 in 1 of 10,000 generators.
    assert ((counts - n / 35) ** 2 / (n / 35)).sum() < 75


def test_flips_toss_coins_per_axis():
    x = np.arange(4, dtype=np.float32).reshape(1, 2, 2, 1)
    seen = draws({"flip": ("vertical", "horizontal")}, (2, 2, 1), x)
    corners, counts = np.unique(seen[:, 0, 0, 0], return_counts=True)
    np.testing.assert_array_equal(corners, [0, 1, 2, 3])
    assert counts.min() > 60  # 100 expected, standard deviation 8.7
    assert set(draws({"flip": "vertical"}, (2, 2, 1), x, 50)[:, 0, 0, 0]) == {0, 2}
    assert set(draws({"flip": True}, (2, 2, 1), x, 50)[:, 0, 0, 0]) == {0, 1}


def test_noise_is_normal():
    """Moments of 200,000 values, each within four standard errors; the tails reach further than four deviations."""
    x = np.zeros((1, 50, 50, 1), np.float32)
    z = draws({"noise": 2}, (50, 50, 1), x, 80).ravel() / 2
    n = len(z)
    assert abs(z.mean()) < 4 / n**0.5
    assert abs((z**2).mean() - 1) < 4 * (2 / n) ** 0.5
    assert abs((z**3).mean()) < 4 * (15 / n) ** 0.5
    assert abs((z**4).mean() - 3) < 4 * (96 / n) ** 0.5
    assert 4 < np.abs(z).max() < 5.8
    neighbours = (z[1:] * z[:-1]).mean()
    assert abs(neighbours) < 4 / n**0.5


def test_factors_are_centred_on_one():
    """Scale and contrast: as often above as below, and within their bounds."""
    x = np.ones((1, 6, 6, 1), np.float32)
    factors = draws({"contrast": 0.5}, (6, 6, 1), x)[:, 0, 0, 0]
    assert 1 / 1.5 <= factors.min() < 0.7 < 1.45 < factors.max() <= 1.5
    assert abs(np.log(factors).mean()) < 4 * np.log(1.5) / 3**0.5 / len(factors) ** 0.5
    offsets = draws({"brightness": 0.5}, (6, 6, 1), x)[:, 0, 0, 0] - 1
    assert -0.5 <= offsets.min() < -0.45 < 0.45 < offsets.max() <= 0.5


def test_rotation_by_any_angle_keeps_what_is_round():
    """A smooth disc in the middle of the image stays where it is, an eccentric one moves on a circle."""
    axis = np.arange(41) - 20
    disc = np.exp(-(axis[:, None] ** 2 + axis**2) / 18).astype(np.float32)[None, :, :, None]
    seen = draws({"rotation": 180}, (41, 41, 1), disc, 20)
    assert (
        np.abs(seen - disc).max() < 0.03
    )  # what linear interpolation takes off the top: h^2 / 8 |f''| = 1 / 72, twice
    moved = np.roll(disc, 10, axis=1)
    seen = draws({"rotation": 180}, (41, 41, 1), moved, 20)[..., 0]
    down = (seen * axis[:, None]).sum(axis=(1, 2)) / seen.sum(axis=(1, 2))
    right = (seen * axis).sum(axis=(1, 2)) / seen.sum(axis=(1, 2))
    np.testing.assert_allclose(np.hypot(down, right), 10, atol=0.05)
    assert down.min() < -5 and down.max() > 5 and right.min() < -5 and right.max() > 5


def test_elastic_displacements_have_the_size_that_the_defaults_promise():
    """alpha / (sigma sqrt(12 pi)), in the middle of the field, where no border takes noise away."""
    fields = [reference.elastic_field((28, 28), 34, 4, (SEED, epoch, 0))[8:20, 8:20] for epoch in range(30)]
    assert np.std(fields) == pytest.approx(34 / (4 * np.sqrt(12 * np.pi)), rel=0.15)
    assert resolve_augmentation("elastic", (28, 28, 1)).elastic == (34, 4)
    assert resolve_augmentation("elastic", (7, 14, 1)).elastic == (34 / 16, 1)


# ---- what must not change ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("augment", ["shift", ALL], ids=["shift", "all"])
def test_predictions_and_gradients_see_plain_images(isa, augment):
    shape = (9, 14, 3)
    x = images(shape)
    plain, augmented = (network_on(shape, a, isa=isa, **standardisation(3)) for a in (None, augment))
    rng = np.random.default_rng(0)
    plain.coefs[0][...] = rng.standard_normal(plain.coefs[0].shape)
    augmented.coefs[0][...] = plain.coefs[0]
    np.testing.assert_array_equal(augmented.predict(x), plain.predict(x))
    for ours, other in zip(augmented.backward(x, np.ones((3, 2))), plain.backward(x, np.ones((3, 2)))):
        np.testing.assert_array_equal(ours, other)
    targets = np.array([0, 1, 1], np.int32)
    ours, other = (network.loss_and_gradient(x, targets) for network in (augmented, plain))
    assert ours[0] == other[0]
    np.testing.assert_array_equal(ours[1], other[1])
    assert not np.array_equal(
        image_seen(network_on(shape, augment, isa=isa), x, 0), image_seen(network_on(shape, None, isa=isa), x, 0)
    )


NOTHING = {
    "shift": 0, "flip": False, "rotation": 0, "scale": 0, "shear": 0.0, "elastic": (0, 4), "cutout": 0, "noise": 0,
    "brightness": 0, "contrast": 0, "fill": 7,
}  # fmt: skip


@pytest.mark.parametrize("augment", [None, {}, NOTHING, dict.fromkeys(NOTHING, False) | {"fill": "edge"}])
def test_empty_ranges_change_nothing(augment):
    assert resolve_augmentation(augment, (8, 8, 1)) is None


def test_ranges_of_nothing_are_the_identity_in_the_engine(isa, dtype):
    """The same bits also where the engine is told to draw, but every range is empty."""
    x = images((9, 14, 3))
    network = network_on((9, 14, 3), None, dtype=dtype, isa=isa, **standardisation(3))
    plain = image_seen(network, x, 1)
    network = network_on((9, 14, 3), None, dtype=dtype, isa=isa, **standardisation(3))
    network.augment = Augmentation((0, 0), (False, False), cutout=(0, 0))
    np.testing.assert_array_equal(image_seen(network, x, 1), plain)


def training_weights(n_threads, isa, batch_size=32, augment=ALL):
    """Weights after two epochs, from samples that come in another order in each."""
    rng = np.random.default_rng(0)
    shape = (9, 8, 2)
    x = rng.integers(0, 256, (150, *shape), dtype=np.uint8)
    y = rng.integers(0, 3, 150).astype(np.int32)
    conv = convolution(shape, 5, "relu", kernel_size=3, padding="same")
    operations = [conv, DenseProduct("dense", conv.out_shape, (3,), "identity", True)]
    network = Network(operations, isa=isa, augment=resolve_augmentation(augment, shape), **standardisation(2))
    network.initialize(rng)
    network.n_training_threads = lambda batch_size: n_threads
    state = network.solver_state()
    for epoch in range(2):
        order = rng.permutation(150)
        bounds = np.append(np.arange(0, 150, batch_size), 150)
        network.train(
            x, y, order, bounds, state=state, solver="adam", rates=np.full(len(bounds) - 1, 1e-3),
            settings=(0.01, 0.9, 0.999, 1e-8, False), seed=SEED, epoch=epoch,
        )  # fmt: skip
    return network.weights


@pytest.mark.parametrize("augment", ["shift", ALL], ids=["shift", "all"])
def test_n_threads_agnosticism(isa, augment):
    one = training_weights(1, isa, augment=augment).copy()
    for n_threads in (2, 3, 7):
        np.testing.assert_array_equal(training_weights(n_threads, isa, augment=augment), one)


def test_chunks_see_the_same_images(isa):
    """A mini-batch of many samples, which is cut into slots and chunks, against its samples one by one."""
    network = network_on((9, 14, 3), ALL, isa=isa)
    x = images((9, 14, 3), n=50)
    order = np.random.default_rng(0).permutation(50)
    state = network.solver_state()
    network.train(
        x, np.zeros(50, np.int32), order, np.array([0, 50]), state=state, solver="gradient", rates=np.zeros(1),
        settings=(0.0, 0.0, 0.0, 0.0, False), seed=SEED,
    )  # fmt: skip
    total = np.mean([image_seen(network, x, sample).astype(np.float64) for sample in range(50)], axis=0)
    gradient = 2 * network.arrays_of(state.first)[0][-1][:, 1].reshape(total.shape)
    np.testing.assert_allclose(gradient, total, rtol=0, atol=50 * 255 * np.finfo(np.float32).eps)


# ---- the specification ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "augment, shape, expected",
    [
        ("shift", (28, 28, 1), {"shift": (2, 2)}),
        ("shift", (8, 8, 1), {"shift": (1, 1)}),
        ("shift", (100, 3), {"shift": (7,)}),
        ({"shift": 0.1}, (30, 20, 10, 1), {"shift": (3, 2, 1)}),
        ({"shift": (np.int64(1), 0.5)}, (10, 10, 1), {"shift": (1, 5)}),
        ("flip", (8, 8, 1), {"flip": (False, True)}),
        ({"flip": np.True_}, (8, 1), {"flip": (True,)}),
        ({"flip": ("depth", "horizontal")}, (8, 8, 8, 1), {"flip": (True, False, True)}),
        ({"flip": []}, (8, 8, 1), None),
        ("cutout", (28, 32, 1), {"cutout": (7, 8)}),
        ("cutout", (1, 32, 1), {"cutout": (1, 8)}),
        ("cutout", (1, 1, 1), None),
        ({"cutout": (3, 0.5)}, (8, 8, 1), {"cutout": (3, 4)}),
        ("rotation", (8, 8, 1), {"rotation": 10.0}),
        ("scale", (8, 1), {"scale": 0.1}),
        ("shear", (8, 8, 1), {"shear": 10.0}),
        ("noise", (8, 8, 8, 1), {"noise": 0.1}),
        ("brightness", (8, 8, 1), {"brightness": 0.2}),
        ({"contrast": True, "fill": 3}, (8, 8, 1), {"contrast": 0.2, "fill": 3.0}),
        ({"elastic": [3, np.float32(2)]}, (8, 8, 1), {"elastic": (3.0, 2.0)}),
    ],
)
def test_words_and_ranges(augment, shape, expected):
    resolved = resolve_augmentation(augment, shape)
    if expected is None:
        assert resolved is None
        return
    ndim = len(shape) - 1
    plain = {"shift": (0,) * ndim, "flip": (False,) * ndim, "cutout": (0,) * ndim}
    assert resolved == Augmentation(**plain | expected)


@pytest.mark.parametrize(
    "augment, shape, message",
    [
        ("move", (8, 8, 1), "augment must be one of 'shift', 'flip', .*got 'move'"),
        ("fill", (8, 8, 1), "augment must be one of"),
        (1, (8, 8, 1), r"augment must be None, one of the words .*got 1 \(int\)"),
        (["shift"], (8, 8, 1), "augment must be None"),
        ({"move": 1}, (8, 8, 1), "augment has no key 'move'; there are 'shift'"),
        ({1: 1}, (8, 8, 1), "augment has no key 1"),
        ({"shift": 8}, (8, 8, 1), r"augment\['shift'\]=8 moves images of 8x8 pixels out of sight; use at most 7"),
        ({"shift": 2}, (1, 100, 1), "use at most 0 along an axis of 1, with one number per axis"),
        ({"shift": -1}, (8, 8, 1), r"augment\['shift'\] must be at least 0, got -1"),
        ({"shift": 1.0}, (8, 8, 1), "a whole number of pixels, or a share of the side.*got 1.0"),
        ({"shift": -0.5}, (8, 8, 1), "a share of the side"),
        ({"shift": float("nan")}, (8, 8, 1), r"augment\['shift'\] must be a finite number"),
        ({"shift": "2"}, (8, 8, 1), r"augment\['shift'\] must be an int"),
        ({"shift": (1, 2, 3)}, (8, 8, 1), "a tuple of 2 numbers, one per axis"),
        ({"shift": None}, (8, 8, 1), r"augment\['shift'\] must be an int, got None"),
        ({"flip": 1}, (8, 8, 1), r"augment\['flip'\] must be a bool, one of 'vertical', 'horizontal'"),
        ({"flip": "vertical"}, (8, 1), r"augment\['flip'\] must be one of 'horizontal', got 'vertical'"),
        ({"flip": ("up",)}, (8, 8, 1), r"augment\['flip'\] must be one of 'vertical', 'horizontal', got 'up'"),
        ({"rotation": 181}, (8, 8, 1), r"augment\['rotation'\] must be at least 0 and at most 180, got 181"),
        ({"rotation": -1}, (8, 8, 1), r"augment\['rotation'\]"),
        ({"rotation": "10"}, (8, 8, 1), r"augment\['rotation'\] must be a real number"),
        ({"rotation": 10}, (8, 8, 8, 1), r"augment\['rotation'\] needs images with 2 spatial axes, got 3; leave it"),
        ({"shear": True}, (8, 1), r"augment\['shear'\] needs images with 2 spatial axes, got 1"),
        ("elastic", (8, 1), r"augment\['elastic'\] needs images with 2 spatial axes, got 1"),
        ({"scale": 0.1}, (8, 8, 8, 1), r"augment\['scale'\] needs images with 1 or 2 spatial axes, got 3"),
        ({"scale": 1.5}, (8, 8, 1), r"augment\['scale'\] must be at least 0 and at most 1, got 1.5"),
        ({"shear": 90}, (8, 8, 1), r"augment\['shear'\]"),
        ({"elastic": 34}, (8, 8, 1), r"augment\['elastic'\] must be True, or amplitude and width .*got 34"),
        ({"elastic": (34,)}, (8, 8, 1), r"augment\['elastic'\] must be True"),
        ({"elastic": "xy"}, (8, 8, 1), r"augment\['elastic'\] must be True"),
        ({"elastic": (34, 0)}, (8, 8, 1), r"augment\['elastic'\]\[1\] must be at least 0.1 and at most 8, got 0"),
        ({"elastic": (1e9, 4)}, (8, 8, 1), r"augment\['elastic'\]\[0\] must be at least 0 and at most 800"),
        ({"cutout": 9}, (8, 8, 1), r"augment\['cutout'\]=9 must be a box inside the image, of 1 to 8 pixels"),
        ({"cutout": (0, 3)}, (8, 8, 1), "of 1 to 8 pixels along an axis of 8, got 0"),
        ({"cutout": 2**70}, (8, 8, 1), r"augment\['cutout'\]"),
        ({"noise": -1}, (8, 8, 1), r"augment\['noise'\] must be at least 0"),
        ({"noise": float("inf")}, (8, 8, 1), r"augment\['noise'\] must be a finite number"),
        ({"brightness": "a"}, (8, 8, 1), r"augment\['brightness'\] must be a real number"),
        ({"contrast": -0.1}, (8, 8, 1), r"augment\['contrast'\]"),
        ({"fill": "wrap"}, (8, 8, 1), r"augment\['fill'\] must be one of 'edge', 'reflect', 'constant', got 'wrap'"),
        ({"fill": None}, (8, 8, 1), r"augment\['fill'\] must be one of .*or a number, got None"),
        ({"fill": float("nan")}, (8, 8, 1), r"augment\['fill'\] must be a finite number"),
    ],
)
def test_wrong_augmentations_say_what_is_right(augment, shape, message):
    with pytest.raises((TypeError, ValueError), match=message):
        resolve_augmentation(augment, shape)
    with pytest.raises((TypeError, ValueError), match=message):
        ndim = len(shape) - 1
        CNNClassifier(augment=augment, spatial_ndim=ndim).fit(np.zeros((4, *shape)), [0, 1, 0, 1])


# ---- the classifier ------------------------------------------------------------------------------------------------

DIGITS, LABELS = load_digits(return_X_y=True)
SMALL = dict(conv_layer_sizes=(8,), hidden_layer_sizes=(16,), max_iter=3, random_state=0)


@pytest.mark.parametrize("augment", ["shift", ALL], ids=["shift", "all"])
def test_fit_with_augmentation(augment):
    """Deterministic, other than without, learning; and nothing of it is left in the fitted model's predictions."""
    X, y = DIGITS[:600], LABELS[:600]
    plain = CNNClassifier(**SMALL).fit(X, y)
    first = CNNClassifier(**SMALL, augment=augment).fit(X, y)
    again = clone(first).fit(X, y)
    assert first.loss_curve_ == again.loss_curve_ != plain.loss_curve_
    np.testing.assert_array_equal(first.coefs_[0], again.coefs_[0])
    assert first.loss_curve_[-1] < first.loss_curve_[0]
    assert set(vars(first)) == set(vars(plain))
    np.testing.assert_array_equal(first.predict_proba(DIGITS), first.predict_proba(DIGITS))
    rebuilt = pickle.loads(pickle.dumps(first))
    np.testing.assert_array_equal(rebuilt.predict_proba(DIGITS), first.predict_proba(DIGITS))
    other = CNNClassifier(**SMALL | {"random_state": 1}, augment=augment).fit(X, y)
    assert other.loss_curve_ != first.loss_curve_


def test_shifted_digits_are_learned_from_centred_ones():
    """Trained on augmented images, the classifier knows images moved by a pixel better than it does without."""
    images_2d = DIGITS.reshape(-1, 8, 8)
    moved = np.roll(images_2d[1000:], 1, axis=2)
    moved[:, :, 0] = 0
    parameters = SMALL | {"max_iter": 15}
    plain = CNNClassifier(**parameters).fit(images_2d[:1000], LABELS[:1000])
    shifted = CNNClassifier(**parameters, augment="shift").fit(images_2d[:1000], LABELS[:1000])
    assert shifted.score(moved, LABELS[1000:]) > plain.score(moved, LABELS[1000:]) + 0.02


def test_partial_fit_and_warm_start_go_on_drawing():
    """The epochs of a continued training draw anew: two calls on the same data are no repetition of the first."""
    X, y = DIGITS[:100], LABELS[:100]
    parameters = SMALL | {"max_iter": 1, "learning_rate_init": 1e-30, "shuffle": False, "dropout": 0}
    classifier = CNNClassifier(**parameters, augment="shift")
    losses = [classifier.partial_fit(X, y, classes=range(10)).loss_ for _ in range(3)]
    assert len(set(losses)) == 3
    classifier = CNNClassifier(**parameters, augment="shift", warm_start=True)
    assert len(set(classifier.fit(X, y).fit(X, y).fit(X, y).loss_curve_)) == 3


def test_grid_search_over_augmentations():
    grid = {"augment": [None, "shift", {"shift": 1, "noise": 0.1}]}
    search = GridSearchCV(CNNClassifier(**SMALL | {"max_iter": 1}), grid, cv=2).fit(DIGITS[:100], LABELS[:100])
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
