"""Normalisation: of every channel over many images, or of every image against its neighbourhood."""

import numpy as np

from .._geometry import check_bool, check_choice, check_real
from .._images import channel_moments
from .._operations import ACTIVATIONS, BatchNormalization
from .base import Layer, as_text

# Below this, a constant channel's scale would leave float32 where gradients multiply it: 1 / epsilon ** 1.5.
_LEAST_EPSILON = 1e-12


class BatchNorm(Layer):
    """Standardise every channel by its mean and variance over samples and pixels, then scale, shift and activate.

    ``y = act(gamma * (x - mean) / sqrt(variance + epsilon) + beta)``, channel by channel; for flat features (before or
    after Dense) every feature is a channel.

    Standing alone, `fit` learns the mean and the variance of the data, and gamma is 1, beta 0. Inside a network,
    training takes the statistics of the mini-batch [1]_ and learns gamma and beta (the layer's entries in `coefs_` and
    `intercepts_`, to which the L2 penalty does not apply); prediction takes running statistics (`statistics_`), which
    every mini-batch moves: ``running = momentum * running + (1 - momentum) * mini_batch``, starting at mean 0 and
    variance 1.

    Parameters
    ----------
    epsilon : float, default=1e-5
        Added to the variance; at least 1e-12. A constant channel becomes beta.
    momentum : float, default=0.9
        Share of the running statistics that a mini-batch leaves, 0 <= momentum < 1, as in Keras. (In PyTorch, momentum
        is the share that it replaces: 0.1.)
    center : bool, default=True
        Whether a network learns beta.
    scale : bool, default=True
        Whether a network learns gamma.
    activation : {"identity", "relu", "leaky_relu", "tanh", "logistic", "elu", "gelu"}, default="identity"
        The usual order is a convolution with ``activation="identity", fit_intercept=False``, then
        ``BatchNorm(activation="relu")``.
    spatial_ndim : {1, 2, 3}, default=2
        Spatial axes of X, standing alone.
    image_shape : tuple of ints, default=None
        Shape of one image, where X is flat.

    Attributes
    ----------
    mean_, var_ : ndarray of shape (n_channels,)
        In float64; `var_` is the mean square deviation.
    image_shape_, output_shape_ : tuple
    n_features_in_ : int

    Notes
    -----
    A mini-batch is normalised by its mean square deviation; the running variance takes that times n / (n - 1), over
    the n values of a channel, as the paper and PyTorch do. A mini-batch with a single value per channel (one sample of
    one pixel) has no variance: its result is act(beta), and the running variance stays. Statistics are computed in
    float64, in an order that does not depend on the number of threads.

    References
    ----------
    .. [1] Ioffe and Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate
       Shift", ICML 2015, algorithms 1 and 2.

    Examples
    --------
    >>> import numpy as np
    >>> from skconv import BatchNorm
    >>> X = np.array([[[1.0, 10.0]], [[3.0, 30.0]]])[..., np.newaxis]  # two images of 1x2 pixels
    >>> norm = BatchNorm().fit(X)
    >>> norm.mean_, norm.var_
    (array([11.]), array([130.5]))
    >>> bool(abs(norm.transform(X).mean()) < 1e-12)
    True
    """

    def __init__(
        self,
        *,
        epsilon=1e-5,
        momentum=0.9,
        center=True,
        scale=True,
        activation="identity",
        spatial_ndim=2,
        image_shape=None,
    ):
        self.epsilon = epsilon
        self.momentum = momentum
        self.center = center
        self.scale = scale
        self.activation = activation
        self.spatial_ndim = spatial_ndim
        self.image_shape = image_shape

    def bind(self, in_shape, name=""):
        where = as_text(name)
        return [
            BatchNormalization(
                name,
                in_shape,
                in_shape,
                epsilon=check_real(self.epsilon, f"{where}epsilon", _LEAST_EPSILON, None),
                momentum=check_real(self.momentum, f"{where}momentum", 0, 1, inclusive="left"),
                center=check_bool(self.center, f"{where}center"),
                scale=check_bool(self.scale, f"{where}scale"),
                activation=check_choice(self.activation, f"{where}activation", ACTIVATIONS),
            )
        ]

    standardizes = True

    def initialize(self, network, maps, rng):
        network.initialize(rng)
        ((mean, variance),) = network.statistics
        mean[...], variance[...] = channel_moments(block for block, _ in maps.blocks(np.arange(len(maps))))

    def _remember(self, network):
        ((mean, variance),) = network.statistics
        self.mean_, self.var_ = mean.copy(), variance.copy()

    def _remembered(self):
        n_channels = len(self.mean_)
        parameters = {}
        if self._spec.center or self._spec.scale:  # a network has a pair of both, or neither
            parameters = {"gamma": np.ones(n_channels), "beta": np.zeros(n_channels)}
        return parameters | {"mean_": self.mean_, "var_": self.var_}
