"""What `predictor` of a classifier or regressor returns: the trained network compiled for prediction."""

import copy
import math

import numpy as np

from ._fold import folded
from ._network import Network


class Predictor:
    """Base: a network that is never trained again, and the little that is checked before it runs.

    Parameters
    ----------
    network : Network
        Copied: later changes of its weights do not matter.
    codec : Labels, MultiLabels or Numbers
        What its outputs mean.
    """

    def __init__(self, network, codec):
        self._set(folded(network), copy.deepcopy(codec))

    def _set(self, network, codec):
        network.freeze()
        self._network, self._codec = network, codec
        self.image_shape = network.operations[0].in_shape
        self.dtype = network.dtype
        self.n_features = math.prod(self.image_shape)
        self.n_outputs = network.out_shape[0]
        # Other ways to say the same shape: flat rows, and images without an axis for their only channel.
        self._same_shapes = {(self.n_features,)} | ({self.image_shape[:-1]} if self.image_shape[-1] == 1 else set())

    def __getstate__(self):
        network = self._network
        return {
            "operations": network.operations,
            "dtype": network.dtype.name,
            "mean": network.mean,
            "scale": network.scale,
            "weights": network.weights,
            "statistics": network.statistics,
            "codec": self._codec,
        }

    def __setstate__(self, state):
        network = Network(state["operations"], dtype=state["dtype"], mean=state["mean"], scale=state["scale"])
        network.weights[...] = state["weights"]
        for pair, found in zip(network.statistics, state["statistics"], strict=True):
            pair[0][...], pair[1][...] = found
        self._set(network, state["codec"])

    def __repr__(self):
        return (
            f"{type(self).__name__}(image_shape={self.image_shape}, n_outputs={self.n_outputs}, "
            f"dtype='{self.dtype.name}')"
        )

    def _images(self, X):
        """X as images, checked."""
        if type(X) is not np.ndarray and not isinstance(X, np.memmap):
            raise TypeError(
                f"X must be a NumPy array, got {type(X).__name__}; use numpy.asarray(X, dtype='float32'), or the "
                "estimator, which takes more"
            )
        if X.shape[1:] != self.image_shape:
            if X.shape[1:] not in self._same_shapes or not X.flags.c_contiguous:
                self._refuse_shape(X)
            X = X.reshape(len(X), *self.image_shape)
        dtype, flags = X.dtype, X.flags
        # By character code: ten times as fast as by name.
        if dtype.char not in "Bfd" or not (flags.c_contiguous and flags.aligned and dtype.isnative):
            raise ValueError(
                f"X must be a C-contiguous array of uint8, float32 or float64, got dtype {dtype}, strides {X.strides}; "
                "use numpy.ascontiguousarray(X, dtype='float32')"
            )
        return X

    def _outputs(self, X, softmax=False):
        """Outputs of the network for images that were checked."""
        out = np.empty((len(X), self.n_outputs), dtype=self.dtype)
        self._network.predict_into(out, X, softmax=softmax)
        return out

    def _refuse_shape(self, X):
        if X.shape[1:] in self._same_shapes:
            raise ValueError(f"X must be C-contiguous, got strides {X.strides}; use numpy.ascontiguousarray(X)")
        sizes = ", ".join(map(str, self.image_shape))
        hint = "; for one image use image[numpy.newaxis]" if X.shape == self.image_shape else ""
        raise ValueError(
            f"X must have shape (n_samples, {sizes}) or (n_samples, {self.n_features}), got {X.shape}{hint}"
        )


class ClassifierPredictor(Predictor):
    """The trained network of a :class:`~skconv.CNNClassifier`, compiled for prediction.

    Made by :meth:`CNNClassifier.predictor() <skconv.CNNClassifier.predictor>`. Holds weights of its own, so whatever
    happens to the classifier afterwards does not change it. Can be pickled and copied, and any number of threads may
    use it at once. Ctrl-C raises KeyboardInterrupt, as in the classifier's own methods.

    Attributes
    ----------
    image_shape : tuple
        Of one image, ``(*spatial, n_channels)``.
    n_features : int
        Values of one image.
    n_outputs : int
        Columns of `predict_proba`.
    classes_ : ndarray of shape (n_outputs,)
        What they stand for.
    dtype : dtype
        Of the probabilities: float32, or float64 after ``solver="lbfgs"``.

    See Also
    --------
    CNNClassifier.predict_proba : Takes any array-like, and checks it.
    """

    def _set(self, network, codec):
        super()._set(network, codec)
        self.classes_ = codec.classes

    def predict_proba(self, X, out=None):
        """Predict the probability of every class.

        Parameters
        ----------
        X : ndarray of shape ``(n_samples, *image_shape)`` or (n_samples, n_features)
            C-contiguous, uint8, float32 or float64. Values are not checked: of an image with NaN or infinity, the
            probabilities are NaN or wrong.
        out : ndarray of shape (n_samples, n_outputs), default=None
            Where to put the result: C-contiguous, of `dtype`, apart from X.

        Returns
        -------
        ndarray of shape (n_samples, n_outputs)
            `out`, or a new array.

        Raises
        ------
        TypeError, ValueError
            If `X` or `out` is something else.
        """
        X = self._images(X)
        if out is not None:
            _check_out(out, (len(X), self.n_outputs), self.dtype, X)
        if not self._codec.is_softmax:
            return _given(out, self._codec.probabilities(self._outputs(X)))
        if out is None:
            return self._outputs(X, softmax=True)
        self._network.predict_into(out, X, softmax=True)
        return out

    def predict(self, X):
        """Predict the class, or which labels are there.

        Parameters
        ----------
        X : ndarray
            As in `predict_proba`.

        Returns
        -------
        ndarray of shape (n_samples,), or (n_samples, n_labels) of 0 and 1
        """
        return self._codec.decode(self._outputs(self._images(X)))


class RegressorPredictor(Predictor):
    """The trained network of a :class:`~skconv.CNNRegressor`, compiled for prediction.

    Made by :meth:`CNNRegressor.predictor() <skconv.CNNRegressor.predictor>`. Holds weights of its own, so whatever
    happens to the regressor afterwards does not change it. Can be pickled and copied, and any number of threads may
    use it at once. Ctrl-C raises KeyboardInterrupt, as in the regressor's own methods.

    Attributes
    ----------
    image_shape : tuple
        Of one image, ``(*spatial, n_channels)``.
    n_features : int
        Values of one image.
    n_outputs : int
        Numbers that are predicted for it.
    dtype : dtype
        What the network computes in: float32, or float64 after ``solver="lbfgs"``.

    See Also
    --------
    CNNRegressor.predict : Takes any array-like, and checks it.
    """

    def predict(self, X, out=None):
        """Predict the numbers.

        Parameters
        ----------
        X : ndarray of shape ``(n_samples, *image_shape)`` or (n_samples, n_features)
            C-contiguous, uint8, float32 or float64. Values are not checked: of an image with NaN or infinity, the
            prediction is NaN or wrong.
        out : ndarray of float64, default=None
            Where to put the result: C-contiguous, of its shape, apart from X.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs), float64
            `out`, or a new array. In the units of y.

        Raises
        ------
        TypeError, ValueError
            If `X` or `out` is something else.
        """
        X = self._images(X)
        if out is not None:
            shape = (len(X),) if self._codec.is_vector else (len(X), self.n_outputs)
            _check_out(out, shape, np.dtype(np.float64), X)
        return _given(out, self._codec.decode(self._outputs(X)))


def _given(out, values):
    """The values, in `out` where there is one."""
    if out is None:
        return values
    out[...] = values
    return out


def _check_out(out, shape, dtype, X):
    """The engine writes to raw memory: it must be what it takes it for."""
    if type(out) is not np.ndarray and not isinstance(out, np.memmap):
        raise TypeError(f"out must be a NumPy array, got {type(out).__name__}; use numpy.empty({shape}, '{dtype}')")
    if out.shape != shape or out.dtype != dtype:
        raise ValueError(
            f"out must have shape {shape} and dtype {dtype}, got {out.shape} and {out.dtype}; "
            f"use numpy.empty({shape}, '{dtype}')"
        )
    if not out.flags.carray:
        raise ValueError(
            f"out must be C-contiguous and writable, got strides {out.strides}, writeable={out.flags.writeable}; "
            f"use numpy.empty({shape}, '{dtype}')"
        )
    if np.may_share_memory(out, X):
        raise ValueError("out must not overlap X; use an array of its own")
