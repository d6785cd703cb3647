"""Single layers on one image: all threads have to share the work inside it."""

import numpy as np
from threadpoolctl import threadpool_limits

from skconv import Conv2DTransformer, MaxPool

LAYERS = {
    "Conv2DTransformer(64, 7)": lambda: Conv2DTransformer(64, 7),
    "MaxPool(2)": lambda: MaxPool(2),
}


class OneImage:
    """Transform one 512x512 colour image."""

    params = (list(LAYERS), [1, 2])
    param_names = ("layer", "n_threads")

    def setup(self, layer, n_threads):
        """Fit the layer, and limit the threads."""
        # Random values, not zeros: multiplying zeros is no measure of anything.
        self.X = np.random.default_rng(0).standard_normal((1, 512, 512, 3), dtype=np.float32)
        self.layer = LAYERS[layer]().fit(self.X)
        self.limits = threadpool_limits(n_threads, user_api="openmp")

    def teardown(self, layer, n_threads):
        """Lift the limit."""
        self.limits.restore_original_limits()

    def time_transform(self, layer, n_threads):
        """Time, the allocation of the result included."""
        self.layer.transform(self.X)

    def peakmem_transform(self, layer, n_threads):
        """Peak memory of the process."""
        self.layer.transform(self.X)
