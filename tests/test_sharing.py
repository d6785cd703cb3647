"""Mini-batches of a few large samples, whose passes threads share: the bits of one thread, and right."""

import numpy as np
import pytest

import reference
from builders import convolution, geometry, integers, pool
from skconv._augment import resolve_augmentation
from skconv._network import Network
from skconv._operations import DenseProduct

CASES = {
    "winograd, 3 sums": convolution((56, 56, 16), 16, kernel_size=3, padding="same"),
    "winograd, 5x5": convolution((30, 28, 16), 24, "relu", kernel_size=5, padding="same"),
    "winograd, few tiles": convolution((8, 8, 64), 64, kernel_size=5, padding="same"),
    "lines": convolution((28, 26, 6), 32, "tanh", kernel_size=7, padding="same"),
    "lines and a rest of filters": convolution((26, 24, 8), 21, kernel_size=(3, 7), padding="same"),
    "pixels side by side": convolution((28, 27, 24), 6, kernel_size=5, padding="same"),
    "planes": convolution((40, 28, 4), 32, kernel_size=5),
    "taps on margins": convolution((8, 8, 32), 40, kernel_size=7, padding="same"),
    "taps on margins, few filters": convolution((14, 14, 64), 8, kernel_size=7, padding="same"),
    "stride": convolution((41, 40, 16), 32, kernel_size=5, stride=2, padding="same"),
    "gaps": convolution((61, 60, 48), 64, kernel_size=2, stride=3),
    "dilation": convolution((30, 30, 12), 20, kernel_size=3, dilation=2, options={"algorithm": "direct"}),
    "groups": convolution((32, 32, 32), 32, kernel_size=3, padding="same", options={"groups": 2}),
    "depthwise": convolution((64, 64, 64), 64, kernel_size=3, padding="same", options={"groups": 64}),
    "depth": convolution((6, 14, 14, 12), 16, kernel_size=3, padding="same"),
}
N_THREADS = (1, 2, 3, 4)


def on_threads(network, n_threads):
    network.n_training_threads = lambda batch_size: n_threads
    return network


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("n", [1, 5])
def test_gradients(isa, name, n):
    operation = CASES[name]
    rng = np.random.default_rng(0)
    x, dy = (rng.standard_normal((n, *shape), dtype=np.float32) for shape in (operation.in_shape, operation.out_shape))
    results = []
    for n_threads in N_THREADS:
        network = Network([operation], dtype="float32", isa=isa)
        network.initialize(np.random.RandomState(0))
        results.append(on_threads(network, n_threads).backward(x, dy))
    for dx, gradient in results[1:]:
        np.testing.assert_array_equal(dx, results[0][0])
        np.testing.assert_array_equal(gradient, results[0][1])


# The reference takes its time for many groups; tests/test_groups.py has those.
PLAIN = [name for name, operation in CASES.items() if operation.activation == "identity" and operation.groups < 8]


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("n", [1, 3])
def test_matches_reference(isa, name, n):
    operation = CASES[name]
    rng = np.random.default_rng(0)
    network = on_threads(Network([operation], dtype="float64", isa=isa), 2)
    network.coefs[0][...] = integers(rng, *network.coefs[0].shape)
    x, dy = integers(rng, n, *operation.in_shape), integers(rng, n, *operation.out_shape)
    dx, gradient = network.backward(x.astype("float64"), dy.astype("float64"))
    (dweights,), (dintercept,) = network.arrays_of(gradient)
    options = {**geometry(operation.window), "groups": operation.groups}
    expected_dx = reference.grouped_conv_backward_input(dy, network.coefs[0].astype(np.int64), x.shape, **options)
    expected_dw = reference.grouped_conv_backward_weights(x, dy, operation.window.kernel_size, **options)
    # Integers below 2**31 are exact but for the transforms of Winograd's algorithm, which have sixths in them.
    np.testing.assert_allclose(dx, expected_dx, rtol=0, atol=1e-7)
    np.testing.assert_allclose(dweights, expected_dw, rtol=0, atol=1e-7)
    np.testing.assert_array_equal(dintercept, reference.conv_backward_bias(dy))


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("wide, augment", [(False, False), (True, False), (False, True)])
def test_training(isa, batch_size, wide, augment):
    """The same weights, bit for bit, over enough mini-batches to betray a race."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (6, 112, 112, 3), dtype=np.uint8)
    y = rng.integers(0, 3, 6).astype(np.int32)
    order = np.concatenate([rng.permutation(6) for _ in range(2)])
    bounds = np.arange(0, len(order) + 1, batch_size)
    first = convolution((112, 112, 3), 16, "relu", kernel_size=5, stride=2, padding="same")
    second = convolution((56, 56, 16), 16, "relu", kernel_size=3, padding="same")
    pooling = pool(second.out_shape, kernel_size=2)
    third = convolution(pooling.out_shape, 24, "tanh", kernel_size=5)
    n_inputs, n_units = int(np.prod(third.out_shape)), 8 if wide else 3
    dense = [DenseProduct("dense", (n_inputs,), (n_units,), "identity")]
    if wide:
        dense.append(DenseProduct("out", (n_units,), (3,), "identity"))
    results = []
    for n_threads in N_THREADS:
        network = Network([first, second, pooling, third, *dense], dtype="float32", isa=isa)
        network.augment = resolve_augmentation("shift", first.in_shape) if augment else None
        network.initialize(np.random.RandomState(0))
        state = network.solver_state()
        n_done, loss, n_correct = on_threads(network, n_threads).train(
            x, y, order, bounds, state=state, solver="sgd", rates=np.full(len(bounds) - 1, 1e-3),
            settings=(0.01, 0.9, 0.999, 1e-8, False), seed=5,
        )  # fmt: skip
        assert n_done == len(bounds) - 1 and np.isfinite(loss)
        results.append(np.append(network.weights, [loss, n_correct]))
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)
