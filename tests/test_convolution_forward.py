"""Any convolution: whatever way the engine takes for it, samples, threads and their number do not change a bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from builders import convolution, pool
from skconv import _engine
from skconv._network import Network

CHANNELS = st.sampled_from([1, 2, 3, 4, 6, 8, 16, 17, 32])  # few, a vector of some instruction set, and odd numbers


@st.composite
def convolutions(draw):
    """Operations of a network: a convolution, with pooling or without."""
    size = draw(st.tuples(st.integers(1, 17), st.integers(1, 17)))
    options = {
        "kernel_size": draw(st.sampled_from([1, 2, 3, 5, 7])),
        "padding": draw(st.sampled_from(["valid", "same", "full", 1])),
        "stride": draw(st.sampled_from([1, 1, 1, 2])),
        "dilation": draw(st.sampled_from([1, 1, 1, 2])),
    }
    if options["padding"] in ("valid", 1):  # the window must fit
        extent = (options["kernel_size"] - 1) * options["dilation"] + 1
        size = tuple(max(n, extent) for n in size)
    algorithm = {"algorithm": draw(st.sampled_from(["auto", "auto", "direct"]))}
    activation = draw(st.sampled_from(["identity", "relu", "tanh"]))
    operations = [convolution((*size, draw(CHANNELS)), draw(CHANNELS), activation, options=algorithm, **options)]
    if min(operations[0].out_shape[:-1]) > 1 and draw(st.booleans()):
        operations.append(pool(operations[0].out_shape, kernel_size=2, stride=draw(st.sampled_from([1, 2]))))
    return operations


@settings(max_examples=300, deadline=None)
@given(
    operations=convolutions(),
    n=st.sampled_from([1, 2, 3, 7, 17, 21]),
    isa=st.sampled_from(_engine.available_isas()),
    dtype=st.sampled_from(["float32", "float64"]),
    data=st.data(),
)
def test_threads_and_other_samples_change_no_bit(operations, n, isa, dtype, data):
    network = Network(operations, dtype=dtype, isa=isa)
    network.initialize(np.random.RandomState(0))
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, *operations[0].in_shape)).astype(dtype)
    dy = rng.standard_normal((n, *operations[-1].out_shape)).astype(dtype)
    i = data.draw(st.integers(0, n - 1), label="sample")
    results = []
    for n_threads in (1, 2, 3):
        with threadpool_limits(n_threads):
            results.append((network.predict(x), *network.backward(x, dy)))
            alone = network.predict(x[i : i + 1]), network.backward(x[i : i + 1], dy[i : i + 1])[0]
        for together, by_itself in zip(results[-1], alone, strict=False):
            np.testing.assert_array_equal(by_itself[0], together[i])
    for other in results[1:]:
        for expected, found in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("n_channels", "kernel_size"), [(3, 3), (14, 3), (1, 5), (2, 7), (9, 7)])
@pytest.mark.parametrize("n_filters", [17, 33, 48, 52, 64, 70])
def test_other_filters_change_no_bit(isa, n_channels, kernel_size, n_filters):
    """Lines go through blocks of filters tile by tile, or, with many weights, block by block: one, two or half empty
    vectors of them."""
    options = {"kernel_size": kernel_size, "padding": "same", "options": {"algorithm": "direct"}}
    x = np.random.default_rng(0).standard_normal((2, 9, 23, n_channels)).astype("float32")

    def results(columns):
        operation = convolution((9, 23, n_channels), len(columns), "relu", **options)
        network = Network([operation], isa=isa)
        network.coefs[0][...] = coef[..., columns]
        network.intercepts[0][...] = intercept[columns]
        return network.predict(x)

    rng = np.random.default_rng(1)
    coef = rng.standard_normal((kernel_size, kernel_size, n_channels, n_filters)).astype("float32")
    intercept = rng.standard_normal(n_filters).astype("float32")
    together = results(np.arange(n_filters))
    # The same filters from the last one on: each is in another block, and in another lane.
    np.testing.assert_array_equal(results(np.arange(n_filters)[::-1])[..., ::-1], together)
    assert len(np.unique(together)) > together.size // 4
