"""Dropout: draws by counter, seen through the gradients of one-sample mini-batches."""

import numpy as np
import pytest

import reference
from skconv._geometry import resolve_window
from skconv._network import Network
from skconv._operations import Convolution, DenseProduct, Drop


def gradient_of_sample(network, x, sample, seed, epoch):
    """Gradients of the weights from a mini-batch of one sample."""
    state = network.solver_state()
    network.train(
        x, np.zeros(len(x), np.int32), np.array([sample]), np.array([0, 1]), state=state, solver="gradient",
        rates=np.zeros(1), settings=(0.0, 0.0, 0.0, 0.0, False), seed=seed, epoch=epoch,
    )  # fmt: skip
    return network.arrays_of(state.first)[0]


def reference_draws(n, rate, seed, layer, epoch, sample, first_block=0):
    """Which of n elements the reference's Philox keeps."""
    kept = []
    key = [seed & 0xFFFFFFFF, (seed >> 32) ^ (layer * 0x9E3779B9 & 0xFFFFFFFF)]
    for block in range(-(-n // 4)):
        kept += list(reference.philox4x32([first_block + block, sample, 0, epoch], key))
    return np.array([int(word) >= int(rate * 2**32) for word in kept[:n]])


@pytest.mark.parametrize("rate", [0.0, 0.25, 0.9])
def test_dropout_draws_by_counter(isa, rate):
    """Forward and backward use the reference's draws, other ones for every sample, epoch and seed."""
    n = 70
    network = Network(
        [DenseProduct("dense", (n,), (n,), "identity", False), Drop("drop", (n,), (n,), rate)], dtype="float64", isa=isa
    )
    network.coefs[0][...] = np.eye(n)
    x = np.ones((3, n))
    np.testing.assert_array_equal(network.predict(x), x)  # no dropping in prediction
    seen = []
    for seed, epoch, sample in ((2**40 + 7, 3, 0), (2**40 + 7, 3, 1), (2**40 + 7, 4, 1), (8, 3, 1)):
        (gradient,) = gradient_of_sample(network, x, sample, seed, epoch)
        kept = np.any(gradient != 0, axis=0)
        np.testing.assert_array_equal(kept, reference_draws(n, rate, seed, 1, epoch, sample))
        seen.append(kept)
    if rate:
        assert len({mask.tobytes() for mask in seen}) == len(seen)


def test_layers_and_lines_draw_apart():
    """No two layers, and no two lines of a map, drop the same elements: networks of the default shape, 8x8 digits."""
    masks = []
    for layer in (1, 3):
        masks.append(reference_draws(64, 0.5, 5, layer, 0, 0))
    assert not np.array_equal(*masks)
    # A map of 6 lines of 8 values: the draws of each line continue those of the line before.
    shape = (6, 4, 2)
    window = resolve_window(shape[:-1], kernel_size=1)
    conv = Convolution("conv", shape, shape, "identity", False, window=window)
    network = Network(
        [conv, Drop("drop", shape, shape, 0.5), DenseProduct("dense", shape, (48,), "identity", False)], dtype="float64"
    )
    network.coefs[0][...] = np.eye(2)
    network.coefs[1][...] = np.eye(48)
    _, dense = gradient_of_sample(network, np.ones((1, *shape)), 0, 5, 0)
    kept = np.any(dense != 0, axis=1).reshape(6, 8)  # the dense layer's inputs that were not zero
    for line in range(6):
        np.testing.assert_array_equal(kept[line], reference_draws(8, 0.5, 5, 1, 0, 0, first_block=2 * line))
    assert len({line.tobytes() for line in kept}) > 3
