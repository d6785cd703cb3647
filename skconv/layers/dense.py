"""Layers without windows: dense products, dropout, flattening."""

import math

import numpy as np

from .._geometry import check_bool, check_choice, check_int, check_real
from .._operations import ACTIVATIONS, DenseProduct, Drop, Reshape
from .base import Layer, as_text


class Dense(Layer):
    """Multiply all values of an image by a matrix, add intercepts, apply an activation.

    Inside a network the matrix is trained; standing alone the layer is a fixed random projection.

    Parameters
    ----------
    n_units : int, default=128
    activation : {"identity", "relu", "leaky_relu", "tanh", "logistic", "elu", "gelu"}, default="relu"
    fit_intercept : bool, default=True
        Whether a network trains an intercept per unit; standing alone it is zero.
    spatial_ndim : {1, 2, 3}, default=2
        Spatial axes of X, standing alone.
    image_shape : tuple of ints, default=None
        Shape of one image, where X is flat.
    random_state : int, RandomState instance or None, default=None
        Draws the matrix, standing alone; inside a network, the network draws.

    Attributes
    ----------
    coef_ : ndarray of shape (n_inputs, n_units)
    intercept_ : ndarray of shape (n_units,)
    image_shape_, output_shape_ : tuple
    n_features_in_ : int

    Examples
    --------
    >>> import numpy as np
    >>> from skconv import Dense
    >>> Dense(5, random_state=0).fit_transform(np.ones((3, 4, 4))).shape
    (3, 5)
    """

    def __init__(
        self,
        n_units=128,
        *,
        activation="relu",
        fit_intercept=True,
        spatial_ndim=2,
        image_shape=None,
        random_state=None,
    ):
        self.n_units = n_units
        self.activation = activation
        self.fit_intercept = fit_intercept
        self.spatial_ndim = spatial_ndim
        self.image_shape = image_shape
        self.random_state = random_state

    def bind(self, in_shape, name=""):
        where = as_text(name)
        n_units = check_int(self.n_units, f"{where}n_units", minimum=1, maximum=2**20)
        check_choice(self.activation, f"{where}activation", ACTIVATIONS)
        fit_intercept = check_bool(self.fit_intercept, f"{where}fit_intercept")
        return [DenseProduct(name, in_shape, (n_units,), self.activation, fit_intercept)]

    def _remember(self, network):
        self.coef_ = network.coefs[0].copy()
        self.intercept_ = np.zeros(self.coef_.shape[1], dtype=network.dtype)

    def _remembered(self):
        return {"coef_": self.coef_, "intercept_": self.intercept_}


class Dropout(Layer):
    """Set a share of the values to zero while a network trains, and scale up the others.

    Which values go is drawn anew for every sample and epoch, from the network's `random_state`. In prediction, and
    standing alone, the layer is the identity.

    Parameters
    ----------
    rate : float, default=0.5
        Share set to zero, 0 <= rate < 1.
    spatial_ndim : {1, 2, 3}, default=2
        Spatial axes of X, standing alone.
    image_shape : tuple of ints, default=None
        Shape of one image, where X is flat.

    References
    ----------
    .. [1] Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, "Dropout: a simple way to prevent neural
       networks from overfitting", JMLR 15, 2014.
    """

    def __init__(self, rate=0.5, *, spatial_ndim=2, image_shape=None):
        self.rate = rate
        self.spatial_ndim = spatial_ndim
        self.image_shape = image_shape

    def bind(self, in_shape, name=""):
        rate = check_real(self.rate, f"{as_text(name)}rate", 0, 1, inclusive="left")
        return [Drop(name, in_shape, in_shape, rate)]


class Flatten(Layer):
    """Lay out all values of an image in one row, channels last and fastest.

    Parameters
    ----------
    spatial_ndim : {1, 2, 3}, default=2
        Spatial axes of X, standing alone.
    image_shape : tuple of ints, default=None
        Shape of one image, where X is flat.

    Examples
    --------
    >>> import numpy as np
    >>> from skconv import Flatten
    >>> Flatten().fit_transform(np.ones((3, 4, 4, 2))).shape
    (3, 32)
    """

    def __init__(self, *, spatial_ndim=2, image_shape=None):
        self.spatial_ndim = spatial_ndim
        self.image_shape = image_shape

    def bind(self, in_shape, name=""):
        return [Reshape(name, in_shape, (math.prod(in_shape),))]
