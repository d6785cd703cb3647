"""What augmentation adds to a training step: images of 28x28 bytes, one thread."""

import numpy as np
from threadpoolctl import threadpool_limits

from skconv import CNNClassifier

DISTORTED = {"shift": True, "rotation": True, "scale": True, "shear": True, "elastic": True}
AUGMENTATIONS = {
    "none": None,
    "shift": "shift",
    "distorted": DISTORTED,
    "all": DISTORTED | {"noise": True, "brightness": True, "contrast": True, "cutout": True},
}


class FitAugmented:
    """One epoch on 5,000 images: the gather alone, before a layer of two units, and two convolutions."""

    timeout = 300  # seconds
    param_names = ("augment", "conv_layer_sizes")
    params = (tuple(AUGMENTATIONS), ((), (32, 64)))

    def setup(self, augment, conv_layer_sizes):
        rng = np.random.default_rng(0)
        self.X = rng.integers(0, 256, size=(5_000, 28, 28), dtype=np.uint8)
        self.y = rng.integers(0, 2, size=5_000)
        self.estimator = CNNClassifier(
            conv_layer_sizes, hidden_layer_sizes=(), padding="valid", dropout=0, batch_size=128, max_iter=1,
            augment=AUGMENTATIONS[augment], random_state=0,
        )  # fmt: skip

    def time_fit(self, augment, conv_layer_sizes):
        """Time to train."""
        with threadpool_limits(1):
            self.estimator.fit(self.X, self.y)
