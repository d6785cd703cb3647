"""Normalisation: of every channel over many images, or of every image against its neighbourhood."""

import numpy as np

from .._geometry import check_bool, check_choice, check_real, per_axis, resolve_window
from .._images import channel_moments
from .._operations import ACTIVATIONS, BatchNormalization, ContrastNormalization
from .base import Layer, as_text, spatial_shape

# Below this, a constant channel's scale would leave float32 where gradients multiply it: 1 / epsilon ** 1.5.
_LEAST_EPSILON = 1e-12


class BatchNorm(Layer):
    """Standardise every channel by its mean and variance over samples and pixels, then scale, shift and activate.

    ``y = act(gamma * (x - mean) / sqrt(variance + epsilon) + beta)``, channel by channel; for flat features (before or
    after Dense) every feature is a channel. Standing alone, flat rows are images of `image_shape` as everywhere: for a
    statistic per column say ``image_shape=(1, 1, n_features)``, or take scikit-learn's StandardScaler.

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
    (array([11.]), array([131.5]))
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
        blocks = (block for block, _ in maps.blocks(np.arange(len(maps))))
        mean[...], variance[...] = channel_moments(blocks, maps.sample_weight)

    def _remember(self, network):
        ((mean, variance),) = network.statistics
        self.mean_, self.var_ = mean.copy(), variance.copy()

    def _remembered(self):
        n_channels = len(self.mean_)
        parameters = {}
        if self._spec.center or self._spec.scale:  # a network has a pair of both, or neither
            parameters = {"gamma": np.ones(n_channels), "beta": np.zeros(n_channels)}
        return parameters | {"mean_": self.mean_, "var_": self.var_}


class LocalContrastNorm(Layer):
    """Subtract from every pixel the mean of its neighbourhood, and divide by the neighbourhood's deviation.

    With a Gaussian window w over the neighbourhood, whose weights sum to one over the pixels that exist, and all C
    channels taken together [1]_ [2]_::

        v[p, c] = x[p, c] - sum over q, c' of w[p, q] * x[q, c'] / C
        s[p]    = sqrt(sum over q, c' of w[p, q] * v[q, c']**2 / C)
        y[p, c] = v[p, c] / max(s[p], mean of s over the image, epsilon)

    What is the same all around vanishes: adding a constant to an image, or multiplying it by a positive number, changes
    nothing (as long as the deviations stay above epsilon), and a constant image becomes zeros.

    Parameters
    ----------
    kernel_size : int or tuple of ints, default=9
        Pixels of the window along each axis; odd. The Gaussian's standard deviation is a quarter of it, as in Torch's
        ``image.gaussian1D``, with which the authors' experiments were written.
    epsilon : float, default=1e-4
        Least divisor, in the unit of X; at least 1e-12.
    spatial_ndim : {1, 2, 3}, default=2
        Spatial axes of X, standing alone; inside a network the images' own count.
    image_shape : tuple of ints, default=None
        Shape of one image, where X is flat.

    Attributes
    ----------
    image_shape_, output_shape_ : tuple
    n_features_in_ : int

    Notes
    -----
    The window is applied axis by axis, to one map for all channels: 2 * sum(kernel_size) multiplications per pixel. A
    single large image is shared out among threads line by line. Inside a network, gradients pass through means and
    deviations exactly; where the deviation is zero, it has no gradient.

    References
    ----------
    .. [1] Jarrett, Kavukcuoglu, Ranzato and LeCun, "What is the Best Multi-Stage Architecture for Object
       Recognition?", ICCV 2009, section 3.1.
    .. [2] LeCun, Kavukcuoglu and Farabet, "Convolutional Networks and Applications in Vision", ISCAS 2010.

    Examples
    --------
    >>> import numpy as np
    >>> from skconv import LocalContrastNorm
    >>> X = np.random.default_rng(0).random((1, 16, 16))
    >>> result = LocalContrastNorm().fit_transform(X)
    >>> np.allclose(LocalContrastNorm().fit_transform(10 * X + 7), result)
    True
    """

    def __init__(self, kernel_size=9, *, epsilon=1e-4, spatial_ndim=2, image_shape=None):
        self.kernel_size = kernel_size
        self.epsilon = epsilon
        self.spatial_ndim = spatial_ndim
        self.image_shape = image_shape

    def bind(self, in_shape, name=""):
        where = as_text(name)
        in_shape = spatial_shape(in_shape, name, type(self).__name__)
        kernel_size = per_axis(self.kernel_size, f"{where}kernel_size", len(in_shape) - 1, 1)
        if any(size % 2 == 0 for size in kernel_size):
            raise ValueError(f"{where}kernel_size must be odd, so that the window has a centre, got {self.kernel_size}")
        window = resolve_window(in_shape[:-1], kernel_size=kernel_size, padding="same", name=name)
        epsilon = check_real(self.epsilon, f"{where}epsilon", _LEAST_EPSILON, None)
        return [ContrastNormalization(name, in_shape, in_shape, window, epsilon)]
