"""Weights that do not learn: no gradient, no update, no memory, and no difference to those that do."""

import math

import numpy as np
import pytest

from builders import convolution, pad, pool
from skconv._network import Network
from skconv._operations import DenseProduct, Reshape


def frozen_network(frozen, wide=False, dtype="float64", isa=None):
    """Two convolutions, padding and pooling, GELU and two dense layers, of which some do not learn."""
    shapes = [(6, 5, 2), (6, 5, 4), (3, 3, 4), (3, 3, 20), (800 if wide else 9,), (3,)]
    conv1 = convolution(shapes[0], 4, "relu", options={"trainable": 0 not in frozen}, kernel_size=3, padding="same")
    pool1 = pool(conv1.out_shape, kernel_size=2, ceil_mode=True)
    padding = pad(pool1.out_shape, (1, 1), (1, 1), "edge")
    conv2 = convolution(padding.out_shape, 20, "gelu", options={"trainable": 1 not in frozen}, kernel_size=3)
    flat = math.prod(conv2.out_shape)
    dense1 = DenseProduct("dense1", (flat,), shapes[4], "tanh", True, trainable=2 not in frozen)
    dense2 = DenseProduct("dense2", shapes[4], (3,), "identity", True, trainable=3 not in frozen)
    operations = [conv1, pool1, padding, conv2, Reshape("flat", conv2.out_shape, (flat,)), dense1, dense2]
    network = Network(operations, dtype=dtype, isa=isa)
    network.initialize(np.random.RandomState(0))
    for intercept in network.intercepts:
        intercept[...] = np.linspace(-0.2, 0.3, len(intercept))
    return network


FROZEN = [(0,), (1,), (2,), (3,), (0, 1), (0, 2), (0, 1, 2), (1, 2), (1, 3), (0, 1, 2, 3)]


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("frozen", FROZEN, ids=str)
def test_frozen_weights_have_no_gradient_and_change_no_other(isa, dtype, frozen, wide):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((21, 6, 5, 2)).astype(dtype), rng.integers(0, 3, 21).astype(np.int32)
    full, part = (frozen_network(which, wide, dtype, isa) for which in ((), frozen))
    np.testing.assert_array_equal(full.predict(x), part.predict(x))
    expected_loss, expected = full.loss_and_gradient(x, y, alpha=0.2)
    loss, gradient = part.loss_and_gradient(x, y, alpha=0.2)
    # Slots are cut by the weights that learn, and slots are sums in an order of their own.
    atol = 200 * np.finfo(dtype).eps
    np.testing.assert_allclose(loss, expected_loss, rtol=atol)
    for i, (arrays, wanted) in enumerate(zip(zip(*part.arrays_of(gradient)), zip(*full.arrays_of(expected)))):
        for array, other in zip(arrays, wanted):
            if i in frozen:
                assert not array.any()
            else:
                assert array.any()
                np.testing.assert_allclose(array, other, rtol=0, atol=atol)
    dy = rng.standard_normal((21, 3))
    dx, gradient = part.backward(x, dy)
    np.testing.assert_allclose(dx, full.backward(x, dy)[0], rtol=0, atol=atol)
    assert not any(array.any() for i in frozen for array in (part.arrays_of(gradient)[0][i],))


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("frozen", FROZEN, ids=str)
def test_frozen_weights_are_not_moved(frozen, wide, solver):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((40, 6, 5, 2)), rng.integers(0, 3, 40).astype(np.int32)
    results = []
    for n_threads in (1, 3):
        network = frozen_network(frozen, wide)
        network.n_training_threads = lambda batch_size, n=n_threads: n
        before = network.weights.copy()
        n_done, *_ = network.train(
            x, y, np.arange(40), np.array([0, 16, 32, 40]), state=network.solver_state(), solver=solver,
            rates=np.full(3, 1e-2), settings=(0.1, 0.9, 0.999, 1e-8, False),
        )  # fmt: skip
        assert n_done == 3
        for i, (arrays, old) in enumerate(
            zip(zip(*network.arrays_of(network.weights)), zip(*network.arrays_of(before)))
        ):
            for array, start in zip(arrays, old):
                assert np.array_equal(array, start) == (i in frozen)
        results.append(network.weights.copy())
    np.testing.assert_array_equal(*results)


def test_frozen_weights_take_no_memory_for_gradients():
    from skconv._plan import Plan

    sizes = []
    for frozen in ((), (0,), (0, 1), (2,), (2, 3), (0, 1, 2, 3)):
        network = frozen_network(frozen)
        plan = Plan(network.operations, network._segments, network._storage, capacity=8)
        sizes.append(plan._slot_size)
    assert sizes[-1] == 0 and sizes[0] > sizes[1] > sizes[2] and sizes[0] > sizes[3] > sizes[4] > 0
