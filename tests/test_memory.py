"""What does not fit is refused by name, before a byte of it is allocated."""

import math
import tracemalloc

import numpy as np
import pytest

from skconv import CNNClassifier, Conv2DTransformer, _memory
from skconv._geometry import resolve_window
from skconv._operations import Convolution


def test_memory_limit_is_a_plausible_size():
    assert 2**26 < _memory.memory_limit() <= math.inf


def test_check_memory_counts_maps_and_weights(monkeypatch):
    window = resolve_window((10, 10), kernel_size=3, padding=2)
    operation = Convolution("conv1", (10, 10, 2), (12, 12, 5), window=window)
    # 14 x 14 x 2 padded, 12 x 12 x 5 out, 3 x 3 x 2 x 5 weights and 5 intercepts, 4 bytes each
    needed = 4 * (392 + 720 + 90 + 5)
    monkeypatch.setattr(_memory, "memory_limit", lambda: needed)
    _memory.check_memory([operation], 4)
    monkeypatch.setattr(_memory, "memory_limit", lambda: needed - 1)
    with pytest.raises(MemoryError, match=r"layer 'conv1': kernel_size=3 with padding=2, .* takes 4.71 KiB for one"):
        _memory.check_memory([operation], 4)


@pytest.mark.parametrize(
    "parameters", [{"padding": 2**18}, {"padding": ((0, 0), (0, 2**36))}, {"kernel_size": 2**17, "padding": 2**17}]
)
def test_what_does_not_fit_is_refused_before_it_is_allocated(parameters):
    X = np.zeros((1, 8, 8))
    layer = Conv2DTransformer(1, **parameters)
    tracemalloc.start()
    try:
        with pytest.raises(MemoryError, match=r"with padding=.* of this machine; use less padding"):
            layer.fit(X)
        with pytest.raises(MemoryError, match="layer 'c': kernel_size="):
            CNNClassifier(layers=[("c", layer)]).fit(np.zeros((2, 8, 8)), [0, 1])
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
