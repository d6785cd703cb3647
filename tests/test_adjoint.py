"""`Network.pull_back`: gradients by the input, through frozen linear operations, without a forward pass."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from builders import convolution, fill_with_integers, integers, pad, pool
from skconv._network import Network


@pytest.mark.parametrize(
    "in_shape, n_filters, window",
    [
        ((9, 3), 4, dict(kernel_size=3, padding=1)),
        ((8, 9, 2), 5, dict(kernel_size=(2, 3), stride=2, padding=((3, 1), (0, 2)))),
        ((20, 21, 32), 32, dict(kernel_size=3, padding="same")),
        ((4, 5, 6, 1), 3, dict(kernel_size=2, stride=(1, 3, 2), dilation=(2, 1, 1))),
    ],
)
def test_pull_back_is_backward(isa, dtype, in_shape, n_filters, window):
    rng = np.random.default_rng(0)
    operation = convolution(in_shape, n_filters, options={"trainable": False}, **window)
    network = Network([operation], dtype=dtype, isa=isa)
    fill_with_integers(network, rng)
    dy = integers(rng, 40, *operation.out_shape).astype(dtype)
    expected, _ = network.backward(np.full((40, *in_shape), np.nan, dtype), dy)
    assert_array_equal(network.pull_back(dy), expected)
    out = np.full(expected.shape, np.nan, dtype)
    assert network.pull_back(dy, out=out) is out
    assert_array_equal(out, expected)
    assert_array_equal(network.pull_back(dy[:3]), expected[:3])
    assert network.pull_back(dy[:0]).shape == (0, *in_shape)
    network.coefs[0][...] *= 2  # the plan that is kept reads them anew
    assert_array_equal(network.pull_back(dy[:3]), 2 * expected[:3])


@pytest.mark.parametrize("sample", [None, 0, 17, 39])
def test_pull_back_says_what_is_not_finite(isa, dtype, sample):
    rng = np.random.default_rng(0)
    operation = convolution((6, 7, 3), 4, options={"trainable": False}, kernel_size=3, padding=1)
    network = Network([operation], dtype=dtype, isa=isa)
    fill_with_integers(network, rng)
    dy = np.full((40, *operation.out_shape), np.finfo(dtype).max / 1e4, dtype)  # the sum of all dx overflows
    if sample is not None:
        dy[sample, -1, -1, -1] = np.nan
    told = []
    dx = network.pull_back(dy, mend=told.append)
    assert [array is dx for array in told] == [True] * (sample is not None)


def test_pull_back_goes_through_padding():
    rng = np.random.default_rng(0)
    padding = pad((5, 6, 2), (1, 2), (2, 0), "reflect")
    network = Network([padding, convolution(padding.out_shape, 3, options={"trainable": False}, kernel_size=3)])
    fill_with_integers(network, rng)
    x, dy = integers(rng, 2, 5, 6, 2).astype(np.float32), integers(rng, 2, *network.out_shape).astype(np.float32)
    assert_array_equal(network.pull_back(dy), network.backward(x, dy)[0])


def test_pull_back_refuses_what_needs_a_forward_pass():
    frozen = {"trainable": False}
    for operations in (
        [convolution((6, 6, 1), 2, kernel_size=3)],
        [convolution((6, 6, 1), 2, "relu", options=frozen, kernel_size=3)],
        [convolution((6, 6, 1), 2, options=frozen, kernel_size=3), pool((4, 4, 2), kernel_size=2)],
    ):
        network = Network(operations)
        with pytest.raises(ValueError, match="only frozen convolutions"):
            network.pull_back(np.zeros((1, *network.out_shape), np.float32))
    network = Network([convolution((6, 6, 1), 2, options=frozen, kernel_size=3)])
    strided = np.zeros((1, 4, 4, 4), np.float32)[..., ::2]
    for dy in (np.zeros((1, 4, 4, 2)), np.zeros((1, 4, 2, 4), np.float32), strided):
        with pytest.raises(ValueError, match="dy must be C-contiguous float32 of shape"):
            network.pull_back(dy)
