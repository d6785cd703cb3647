"""Winograd's algorithm as networks run it: samples of few tiles share a product."""

import numpy as np
import pytest

from builders import convolution, pool
from skconv._network import Network

# Image, filters, window, pooling: tiles of one sample, from one to nine; a depth slice more; more channels than a map
# of that size would get by itself.
SHAPES = [
    ((4, 4, 16), 17, {"padding": "same"}, {"kernel_size": 2}),
    ((5, 5, 20), 16, {"padding": "valid"}, {"kernel_size": 2, "ceil_mode": True}),
    ((8, 8, 33), 16, {"padding": "same"}, {"kernel_size": 3, "stride": 2, "padding": 1}),
    ((9, 3, 16), 40, {"padding": 2}, {"kernel_size": 3, "stride": 1}),
    ((12, 12, 16), 16, {"padding": "same"}, {"kernel_size": 4}),
]


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize(("in_shape", "n_filters", "window", "pooling"), SHAPES, ids=str)
def test_samples_together_have_the_bits_of_one_alone(isa, dtype, in_shape, n_filters, window, pooling, pooled):
    """Of 37 samples: full products, and one that is not; a chunk holds sixteen."""
    options = {"algorithm": "winograd"}
    # The second convolution needs a gradient by its input.
    first = convolution(in_shape, in_shape[-1], "tanh", options=options, kernel_size=3, padding="same")
    operations = [first, convolution(in_shape, n_filters, "relu", options=options, kernel_size=3, **window)]
    if pooled:
        operations.append(pool(operations[-1].out_shape, **pooling))
    network = Network(operations, dtype=dtype, isa=isa)
    network.initialize(np.random.RandomState(0))
    rng = np.random.default_rng(0)
    x = rng.standard_normal((37, *in_shape)).astype(dtype)
    dy = rng.standard_normal((37, *operations[-1].out_shape)).astype(dtype)
    y, (dx, _) = network.predict(x), network.backward(x, dy)
    assert np.ptp(y) > 0 and np.ptp(dx) > 0
    for i in range(len(x)):
        np.testing.assert_array_equal(network.predict(x[i : i + 1])[0], y[i])
        np.testing.assert_array_equal(network.backward(x[i : i + 1], dy[i : i + 1])[0][0], dx[i])
