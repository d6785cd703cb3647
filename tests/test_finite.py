"""What is not finite is found on its way through a network, wherever it is, and whoever shares out the work."""

import math

import numpy as np
import pytest
from sklearn import config_context

from builders import convolution, pool
from skconv import CNNClassifier, Conv2DTransformer, MaxPool
from skconv._network import Network
from skconv._operations import DenseProduct, Reshape
from skconv._plan import Plan
from skconv.functional import conv

LARGEST = {"float32": np.finfo(np.float32).max, "float64": np.finfo(np.float64).max}


def plan_of(kind, dtype, isa, n_threads):
    """A network of one layer, or of two stages, and whether its samples are cut; images of 5x7 pixels, 3 channels."""
    # Strides have no path that leaves out margins, and so are given a map.
    window = {"kernel_size": 1} if kind == "data" else {"kernel_size": 3, "stride": 1 if kind == "padded" else 2}
    operations = [convolution((5, 7, 3), 5, padding="same", **window)]
    if kind == "stages":
        out_shape = operations[0].out_shape
        n_inputs = math.prod(out_shape)
        operations += [
            Reshape("flat", out_shape, (n_inputs,)),
            DenseProduct("dense", (n_inputs,), (700,), "identity", True),
            DenseProduct("out", (700,), (3,), "identity", True),
        ]
    network = Network(operations, dtype=dtype, isa=isa)
    network.initialize(np.random.RandomState(0))
    by_units = kind == "units"
    plan = Plan(network.operations, network._segments, network._storage, isa=isa, n_threads=n_threads,
                by_units=by_units, reads_data=True)  # fmt: skip
    assert plan.keeps_batch == (kind == "stages") and (kind == "padded" or plan.copies_data == (kind != "data"))
    return network, plan


@pytest.mark.parametrize("n_threads", [1, 2, 3])
@pytest.mark.parametrize("kind", ["data", "padded", "maps", "units", "stages"])
def test_one_bad_value_is_found_in_the_input_and_in_the_output(isa, dtype, kind, n_threads):
    network, plan = plan_of(kind, dtype, isa, n_threads)
    n = 2 if kind == "units" else 41
    x = np.random.default_rng(0).normal(size=(n, 5, 7, 3)).astype(dtype)
    out = np.empty((n, *network.out_shape), dtype)

    def is_finite(**checks):
        return plan.engine.predict(x, out, n_threads=n_threads, by_units=kind == "units", softmax=False, **checks)

    assert is_finite(checks_x=True) and is_finite(checks_out=True) and is_finite(checks_x=True, checks_out=True)
    expected = out.copy()
    flat, sample = x.reshape(-1), 5 * 7 * 3
    for place in (0, 1, sample - 1, sample, n * sample // 2, (n - 1) * sample, n * sample - 2, n * sample - 1):
        kept = flat[place]
        for value in (np.nan, -np.nan, np.inf, -np.inf):
            flat[place] = value
            assert not is_finite(checks_x=True)
            assert not is_finite(checks_out=True)
            assert is_finite()  # nobody asked
        flat[place] = kept
        assert is_finite(checks_x=True, checks_out=True)
        np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("n_values", [1, 3, 4, 15, 16, 17, 63, 64, 65, 127, 128, 129, 200])
def test_values_behind_the_last_whole_vector_are_looked_at(isa, dtype, n_values):
    """Those of the sample alone: what lies behind the array is nobody's business."""
    check_values(Network([pool((n_values, 1), kernel_size=1)], dtype=dtype, isa=isa), n_values, dtype)


@pytest.mark.parametrize("n_values", [1, 3, 4, 15, 16, 17, 63, 64, 65, 127, 128, 129, 200])
def test_values_are_looked_at_while_they_are_copied(isa, dtype, n_values):
    network = Network([convolution((n_values, 1), 1, kernel_size=3, padding="same", stride=2)], dtype=dtype, isa=isa)
    network.weights[...] = 0.25
    assert network._take_predictor(1, False, True).copies_data
    check_values(network, n_values, dtype)


def check_values(network, n_values, dtype):
    x = np.zeros((2, n_values, 1), dtype)
    x[1] = np.nan
    seen = []
    for place in range(n_values):
        x[0], x[0, place] = 0, -np.nan
        network.predict(x[:1], refuse=lambda X, place=place: seen.append(place))
        x[0] = -LARGEST["float32"]
        network.predict(x[:1], refuse=lambda X: pytest.fail("all values are finite"))
        x[0, place] = np.inf
        network.predict(x[:1], mend=lambda y, place=place: seen.append(place))
        if dtype == "float64":
            x[0] = LARGEST["float64"]
            network.predict(x[:1], mend=lambda y: pytest.fail("all results are finite"))
            x[0], x[0, place] = 0, np.nextafter(float(LARGEST["float32"]), np.inf)
            network.predict(x[:1], refuse=lambda X, place=place: seen.append(place))
    assert seen == sorted([*range(n_values)] * (2 if dtype == "float32" else 3))


@pytest.mark.parametrize("source", ["uint8", "float32", "float64"])
def test_data_of_another_precision_are_looked_at_before(dtype, source):
    network = Network([pool((8, 8, 2), kernel_size=2)], dtype=dtype)
    x = np.ones((3, 8, 8, 2), source)
    network.predict(x, refuse=lambda X: np.testing.assert_array_equal(np.isfinite(X), True))
    if source != "uint8":
        x[2, 7, 7, 1] = np.nan

        def refuse(X):
            raise ValueError(f"sample {np.flatnonzero(np.isnan(X))[0] // 128}")

        with pytest.raises(ValueError, match="sample 2"):
            network.predict(x, refuse=refuse)


@pytest.mark.parametrize("layer", [Conv2DTransformer(4, 1), Conv2DTransformer(4, 3), MaxPool(2)], ids=str)
@pytest.mark.parametrize("n", [1, 3, 700])
def test_a_layer_refuses_what_is_not_finite_with_the_words_of_fit(layer, dtype, n):
    x = np.random.default_rng(0).normal(size=(n, 8, 8, 3)).astype(dtype)
    expected = layer.fit(x).transform(x)
    fitted = {name: np.copy(value) for name, value in vars(layer).items() if name.endswith("_")}
    for sample in {0, n // 2, n - 1}:
        for value in (np.nan, np.inf, -np.inf, *([3.5e38] if dtype == "float64" else [])):
            bad = x.copy()
            bad[sample, 7, 7, 2] = value
            with pytest.raises(ValueError, match=f"first in sample {sample}") as in_fit:
                layer.__class__(**layer.get_params()).fit(bad)
            with pytest.raises(ValueError, match=f"first in sample {sample}") as in_transform:
                layer.transform(bad)
            assert str(in_transform.value) == str(in_fit.value)
            with config_context(assume_finite=True):
                assert layer.transform(bad).shape == expected.shape
    np.testing.assert_array_equal(layer.transform(x), expected)
    for name, value in fitted.items():
        np.testing.assert_array_equal(getattr(layer, name), value)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_an_estimator_refuses_what_is_not_finite():
    x = np.random.default_rng(0).normal(size=(60, 8, 8, 1)).astype(np.float32)
    y = np.arange(60) % 2
    clf = CNNClassifier(conv_layer_sizes=(3,), max_iter=1, random_state=0)
    clf.fit(x, y)
    expected = clf.predict_proba(x)
    for bad in (x.copy(), x.astype(np.float64)):
        bad[59, 7, 7, 0] = np.nan
        for call in (clf.predict, clf.predict_proba, lambda X: clf.layer_outputs(X, "output")):
            with pytest.raises(ValueError, match="Input X contains NaN, first in sample 59"):
                call(bad)
    np.testing.assert_array_equal(clf.predict_proba(x), expected)


@pytest.mark.parametrize(("n_channels", "n_filters", "kernel_size"), [(2, 6, 3), (16, 16, 3), (3, 6, 1), (5, 40, 1)])
@pytest.mark.parametrize("n", [1, 2, 45])
def test_the_function_gives_every_pixel_its_own_result(dtype, n_channels, n_filters, kernel_size, n):
    rng = np.random.default_rng(0)
    x = rng.integers(-8, 8, size=(n, 12, 13, n_channels)).astype(dtype)
    w = rng.integers(-8, 8, size=(n_filters, kernel_size, kernel_size, n_channels)).astype(dtype)
    for sample in {0, n // 2, n - 1}:
        for pixel in ((0, 0), (5, 7), (11, 12)):
            bad = x.copy()
            bad[sample, *pixel, n_channels - 1] = np.nan
            y = conv(bad, w, padding="same")
            lines, columns = (slice(max(0, i - kernel_size // 2), i + kernel_size // 2 + 1) for i in pixel)
            harmed = np.zeros(y.shape, bool)
            harmed[sample, lines, columns] = True
            np.testing.assert_array_equal(np.isnan(y), harmed)
            # The sample is computed pixel by pixel, the others are left as they were.
            finite = conv(x, w, padding="same", algorithm="direct")
            np.testing.assert_array_equal(y[sample][~harmed[sample]], finite[sample][~harmed[sample]])
            others = np.arange(n) != sample
            np.testing.assert_array_equal(y[others], conv(x, w, padding="same")[others])
