"""Batch normalisation and standardisation joined to the sums beside them: the same predictions, fewer operations."""

import numpy as np
import pytest

from builders import convolution, pad, pool
from skconv._fold import folded
from skconv._network import Network
from skconv._operations import BatchNormalization, Convolution, DenseProduct, Drop, Reshape


def norm(shape, activation="identity", **options):
    return BatchNormalization("norm", shape, shape, activation=activation, **options)


def dense(in_shape, n_units, activation="identity", **options):
    return DenseProduct("dense", in_shape, (n_units,), activation, **options)


def chain(*makers, shape=(9, 8, 4)):
    """Operations, each made by a function of the shape that reaches it."""
    operations = []
    for make in makers:
        operations.append(make(shape))
        shape = operations[-1].out_shape
    return operations


def conv(n_filters=6, activation="identity", padding="valid", **options):
    return lambda shape: convolution(shape, n_filters, activation, kernel_size=3, padding=padding, **options)


def pooled(kind="max", **window):
    window = {"kernel_size": 2} | window
    return lambda shape: pool(shape, kind, **window)


def normed(activation="identity", **options):
    return lambda shape: norm(shape, activation, **options)


def flat(shape):
    return Reshape("flat", shape, (int(np.prod(shape)),))


def to(n_units, activation="identity"):
    return lambda shape: dense(shape, n_units, activation)


def drop(shape):
    return Drop("drop", shape, shape)


# What is folded, whether scales have both signs, and the kinds of operations that are left.
C, D, B, P, A, R, G = "Convolution", "DenseProduct", "BatchNormalization", "Pool", "Activate", "Reshape", "Pad"
MASK = np.random.default_rng(5).random((4, 6)) < 0.6
CASES = {
    "behind a convolution": ([conv(), normed("relu")], True, [C]),
    "behind one without intercepts": ([conv(fit_intercept=False), normed("tanh")], True, [C]),
    "gelu": ([conv(), normed("gelu"), flat, to(3)], True, [C, R, D]),
    "without scale": ([conv(), normed(scale=False)], True, [C]),
    "without shift": ([conv(), normed(center=False)], True, [C]),
    "without both": ([conv(), normed("relu", center=False, scale=False)], True, [C]),
    "with a margin": ([conv(padding="same"), normed("relu"), conv(5, padding="same")], True, [C, C]),
    "groups": ([conv(options={"groups": 2}), normed("elu")], True, [C]),
    "depthwise": ([conv(4, options={"groups": 4}), normed("relu")], True, [C]),
    "connections": ([conv(options={"connections": MASK}), normed("relu")], True, [C]),
    "Winograd": ([conv(33, "relu", "same"), conv(34, padding="same"), normed("relu"), pooled()], True, [C, C, P]),
    "twice": ([conv(), normed(), normed("relu")], True, [C]),
    "behind an activation": ([conv(6, "relu"), normed(), conv(5, padding="same")], True, [C, B, C]),
    "two activations": ([conv(), normed("tanh"), normed("relu")], True, [C, B]),
    "behind a maximum": ([conv(), pooled(), normed("relu")], False, [C, P]),
    "behind a maximum, both signs": ([conv(), pooled(), normed("relu")], True, [C, P, B]),
    "behind a maximum, gelu": ([conv(), pooled(), normed("gelu")], False, [C, P, A]),
    "before a maximum": ([conv(6, "relu"), normed("tanh"), pooled(), conv(5, padding="same")], False, [C, P, B, C]),
    "before a maximum, both signs": ([conv(6, "relu"), normed(), pooled()], True, [C, B, P]),
    "before a maximum, gelu": ([conv(6, "relu"), normed("gelu"), pooled()], False, [C, B, P]),
    "joined before a maximum": ([conv(), normed("relu"), pooled()], True, [C, P]),
    "overlapping maxima": ([conv(), pooled(kernel_size=3, stride=2, padding=1), normed("relu")], False, [C, P]),
    "behind a mean": ([conv(), pooled("average"), normed("relu")], True, [C, P, A]),
    "behind a mean with a margin": ([conv(), pooled("average", padding=1), normed()], True, [C, P]),
    "behind a mean that counts zeros": (
        [conv(), pooled("average", padding=1, count_include_pad=True), normed()], True, [C, P, B]
    ),
    "before a mean": ([conv(6, "relu"), normed(), pooled("average"), flat, to(3)], True, [C, P, R, D]),
    "before a mean that counts zeros": (
        [conv(6, "relu"), normed(), pooled("average", padding=1, count_include_pad=True), flat, to(3)], True,
        [C, B, P, R, D],
    ),
    "a norm": ([conv(), pooled("lp"), normed()], False, [C, P, B]),
    "forward": ([conv(6, "relu"), normed(), conv(5, "tanh")], True, [C, C]),
    "forward into groups": ([conv(6, "relu"), normed(), conv(9, options={"groups": 3})], True, [C, C]),
    "forward into a depthwise convolution": ([conv(6, "relu"), normed(), conv(6, options={"groups": 6})], True, [C, C]),
    "forward into dense": ([conv(6, "relu"), normed(), flat, to(3)], True, [C, R, D]),
    "forward across a maximum": ([conv(6, "relu"), normed(), pooled(), flat, to(3)], False, [C, P, R, D]),
    "first": ([normed(), conv()], True, [C]),
    "first, with an activation": ([normed("relu"), conv()], True, [B, C]),
    "dense": ([flat, to(7), normed("relu"), drop, to(3)], True, [R, D, D]),
    "dense, flattened channels": ([conv(), flat, normed("relu"), to(3)], True, [C, R, B, D]),
    "padding": ([lambda shape: pad(shape, (1, 1), (1, 1), "constant"), normed(), conv()], True, [G, C]),
    "dropout alone": ([drop], True, [R]),
}  # fmt: skip


def random_network(makers, dtype, both_signs, **options):
    network = Network(chain(*makers), dtype=dtype, **options)
    rng = np.random.default_rng(1)
    network.initialize(np.random.RandomState(0))
    for _, coef, intercept, statistics in network.parts():
        if statistics is not None:
            statistics[0][...] = rng.normal(size=statistics[0].shape)
            statistics[1][...] = rng.uniform(0.3, 3, size=statistics[1].shape)
            if coef is not None:
                coef[...] = rng.uniform(0.4, 1.5, size=coef.shape)
                coef[::2] *= -1 if both_signs else 1
        if intercept is not None:
            intercept[...] = rng.normal(size=intercept.shape)
    return network


@pytest.mark.parametrize("case", CASES)
def test_folded_networks_predict_the_same(isa, dtype, case):
    makers, both_signs, _ = CASES[case]
    network = random_network(makers, dtype, both_signs, isa=isa)
    x = np.random.default_rng(0).standard_normal((5, 9, 8, 4)).astype(dtype)
    weights = network.weights.copy()
    expected, found = network.predict(x), folded(network).predict(x)
    assert found.dtype == np.dtype(dtype) and np.ptp(expected) > 0.1
    tolerance = 2e-5 if dtype == "float32" else 1e-13
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())
    np.testing.assert_array_equal(network.weights, weights)


@pytest.mark.parametrize("case", CASES)
def test_which_operations_are_left(case):
    makers, both_signs, left = CASES[case]
    operations = folded(random_network(makers, "float32", both_signs)).operations
    assert [type(operation).__name__ for operation in operations] == left


def test_signs_decide_whether_maxima_are_crossed():
    """One channel whose scale is negative or zero, and its maximum would become a minimum, or nothing."""
    for value, n_left in ((-0.1, 3), (0.0, 3), (0.1, 2)):
        network = random_network([conv(), pooled(), normed()], "float32", False)
        network.coefs[-1][2] = value
        assert len(folded(network).operations) == n_left


def test_standardisation_joins_the_first_sums(isa, dtype):
    rng = np.random.default_rng(0)
    x = rng.normal(3, 2, size=(4, 9, 8, 4)).astype(dtype)
    tolerance = 2e-5 if dtype == "float32" else 1e-13
    for mean, padding, joins in ((3.0, "valid", True), (3.0, "same", False), (50.0, "valid", False)):
        makers = [conv(6, "relu", padding), pooled(), flat, to(3)]
        mean, scale = np.full(4, mean, dtype=dtype), np.array([0.5, 0.4, 1, 2], dtype=dtype)
        network = random_network(makers, dtype, True, mean=mean, scale=scale, isa=isa)
        result = folded(network)
        assert (result.mean is None) == joins
        expected = network.predict(x)
        np.testing.assert_allclose(result.predict(x), expected, rtol=0, atol=tolerance * np.abs(expected).max())


def test_far_means_stay_outside_the_sums():
    """Sums of values far from 0 lose the digits that normalisation keeps."""
    network = random_network([conv(6, "relu"), normed(), flat, to(3)], "float32", True)
    mean, variance = network.statistics[0]
    variance[...] = 1
    for value, n_left in ((7.0, 3), (9.0, 4)):
        mean[...] = value
        assert len(folded(network).operations) == n_left


@pytest.mark.parametrize("variance", [1e-30, 1e30, np.nan])
def test_weights_do_not_leave_the_range_of_numbers(variance):
    network = random_network([conv(), normed(epsilon=1e-35), flat, to(3)], "float32", True)
    network.statistics[0][1][0] = variance
    assert len(folded(network).operations) == 4


def test_pooling_joins_what_normalisation_left_alone():
    """The compiled form: a convolution, its normalisation and the pooling are one layer."""
    from skconv._steps import fuse

    network = random_network([conv(), normed("relu"), pooled(), flat, to(3)], "float32", True)
    assert len(fuse(network.operations, network._segments, 4)) == 4
    result = folded(network)
    steps = fuse(result.operations, result._segments, 4)
    assert len(steps) == 2 and steps[0].pool is not None and steps[0].activation == "relu"


def test_first_weights_are_not_carried_along():
    operation = convolution((9, 8, 4), 6, options={"coef": np.ones((3, 3, 4, 6))}, kernel_size=3)
    network = Network([operation])
    network.initialize(np.random.RandomState(0))
    result = folded(network)
    assert isinstance(result.operations[0], Convolution) and result.operations[0].coef is None
    np.testing.assert_array_equal(result.weights, network.weights)
    assert not np.shares_memory(result.weights, network.weights)
