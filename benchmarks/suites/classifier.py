"""`fit` and `predict` of CNNClassifier.

A data set adds a class with two methods, `make_data` and `make_estimator`; what is measured is said once.
"""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from skconv import CNNClassifier


class Digits:
    """scikit-learn's handwritten digits, 8x8 pixels, with the default network."""

    def make_data(self):
        """Return X_train, X_test, y_train, y_test."""
        digits = load_digits()
        return train_test_split(digits.images, digits.target, test_size=0.25, stratify=digits.target, random_state=0)

    def make_estimator(self):
        """Return the unfitted estimator."""
        return CNNClassifier(random_state=0)


class RandomBytes:
    """Noise in the form of MNIST: 60,000 and 10,000 images of 28x28 bytes. One epoch of the default network."""

    def make_data(self):
        """Return X_train, X_test, y_train, y_test."""
        rng = np.random.default_rng(0)
        X = rng.integers(0, 256, size=(70_000, 28, 28), dtype=np.uint8)
        y = rng.integers(0, 10, size=70_000)
        return X[:60_000], X[60_000:], y[:60_000], y[60_000:]

    def make_estimator(self):
        """Return the unfitted estimator."""
        return CNNClassifier(max_iter=1, random_state=0)


class _Fit:
    timeout = 300  # seconds

    def setup(self):
        self.X_train, self.X_test, self.y_train, self.y_test = self.make_data()

    def time_fit(self):
        """Time to train."""
        self.make_estimator().fit(self.X_train, self.y_train)

    def peakmem_fit(self):
        """Peak memory of the process while it trains."""
        self.make_estimator().fit(self.X_train, self.y_train)

    def peakmem_reference(self):
        """Peak memory of a process that has the data and the modules, to be subtracted from the others."""


class _Predict:
    timeout = 300  # seconds

    def setup(self):
        X_train, self.X_test, y_train, self.y_test = self.make_data()
        # How good the weights are does not change how long predicting takes.
        self.estimator = self.make_estimator().set_params(max_iter=1).fit(X_train[:1000], y_train[:1000])
        self.predictor = self.estimator.predictor()
        self.many = np.ascontiguousarray(self.X_test[:128], dtype=np.float32)
        self.one = self.many[:1]
        self.out = np.empty((128, self.predictor.n_outputs), dtype=self.predictor.dtype)

    def time_predict(self):
        """Time to predict the test images."""
        self.estimator.predict(self.X_test)

    def time_predict_one(self):
        """Time to predict one image."""
        self.estimator.predict(self.X_test[:1])

    def time_predict_proba_one(self):
        """Time to predict the probabilities of one image that needs no conversion."""
        self.estimator.predict_proba(self.one)

    def time_predictor_one(self):
        """The same by the network compiled for prediction."""
        self.predictor.predict_proba(self.one, out=self.out[:1])

    def time_predictor_128(self):
        """Time to predict the probabilities of 128 images."""
        self.predictor.predict_proba(self.many, out=self.out)

    def time_make_predictor(self):
        """Time to compile the network for prediction."""
        self.estimator.predictor()

    def peakmem_predict(self):
        """Peak memory of the process while it predicts."""
        self.estimator.predict(self.X_test)


class FitDigits(_Fit, Digits):
    """Train on digits, and see how well it went."""

    def track_accuracy(self):
        """Accuracy on the test images."""
        return self.make_estimator().fit(self.X_train, self.y_train).score(self.X_test, self.y_test)

    track_accuracy.unit = "fraction correct"


class PredictDigits(_Predict, Digits):
    """Predict digits."""


class FitRandomBytes(_Fit, RandomBytes):
    """Train on images as large and as many as MNIST's."""


class PredictRandomBytes(_Predict, RandomBytes):
    """Predict images as large and as many as MNIST's."""
