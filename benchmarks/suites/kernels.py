"""Kernels of convolution and dense layers, without estimators: forward, and forward with both gradients, one thread."""

import numpy as np
from threadpoolctl import threadpool_limits

from skconv._geometry import resolve_window
from skconv._network import Network
from skconv._operations import Convolution, DenseProduct

N_SAMPLES = 16


def convolution(size, n_channels, n_filters, kernel_size, algorithm):
    """A convolution with bias and ReLU over square images."""
    window = resolve_window((size, size), kernel_size=kernel_size, padding="same")
    shape = (size, size, n_channels)
    return Convolution("conv", shape, (size, size, n_filters), "relu", True, window=window, algorithm=algorithm)


OPERATIONS = {
    "28x28, 1 -> 6, 5x5": lambda: convolution(28, 1, 6, 5, "direct"),
    "28x28, 1 -> 32, 3x3": lambda: convolution(28, 1, 32, 3, "direct"),
    "32x32, 3 -> 32, 3x3": lambda: convolution(32, 3, 32, 3, "direct"),
    "16x16, 64 -> 64, 3x3, direct": lambda: convolution(16, 64, 64, 3, "direct"),
    "16x16, 64 -> 64, 3x3, winograd": lambda: convolution(16, 64, 64, 3, "winograd"),
    "dense 3136 -> 128": lambda: DenseProduct("dense", (3136,), (128,), "relu", True),
}


class Kernels:
    """One operation on a few samples."""

    params = (list(OPERATIONS),)
    param_names = ("operation",)

    def setup(self, name):
        """Draw weights, samples and gradients: random values, because multiplying zeros is no measure of anything."""
        self.network = Network([OPERATIONS[name]()])
        self.network.initialize(np.random.RandomState(0))
        rng = np.random.default_rng(0)
        self.x = rng.standard_normal((N_SAMPLES, *self.network.operations[0].in_shape), dtype=np.float32)
        self.dy = rng.standard_normal((N_SAMPLES, *self.network.out_shape), dtype=np.float32)
        self.out = np.empty_like(self.dy)
        self.limits = threadpool_limits(1, user_api="openmp")

    def teardown(self, name):
        """Lift the limit."""
        self.limits.restore_original_limits()

    def time_forward(self, name):
        """Into an array that exists."""
        self.network.predict(self.x, out=self.out)

    def time_forward_and_backward(self, name):
        """Both gradients; the plan, too, which a fit builds once."""
        self.network.backward(self.x, self.dy)
