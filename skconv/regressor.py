"""Convolutional networks that predict numbers."""

from sklearn.base import RegressorMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from ._estimator import BaseCNN, is_stochastic
from ._geometry import check_bool, check_choice, check_real
from ._predictor import RegressorPredictor
from ._targets import Numbers, numbers_of, read_numbers


class CNNRegressor(RegressorMixin, BaseCNN):
    """Convolutional network for regression, trained by Adam, SGD or L-BFGS.

    The architecture is either given by flat parameters (`conv_layer_sizes`, `kernel_size`, ...: a convolution and a
    pooling per entry, then dense layers), or by ``layers=[(name, layer), ...]``; the output layer is added. It is
    built in `fit` for the size of the images. Parameters that `MLPRegressor` has mean what they mean there.

    Parameters
    ----------
    conv_layer_sizes : "auto", int or tuple of ints, default="auto"
        Filters of every convolution, each at least 1; () for none. "auto" takes 32, and twice as many (128 at most)
        after every pooling, until the image is some 4 pixels wide. What it became is in `conv_layer_sizes_`.
    activation : {"identity", "relu", "leaky_relu", "tanh", "logistic", "elu", "gelu"}, default="relu"
        Of convolutions and hidden dense layers. "leaky_relu" has slope 0.01 below zero, "elu" is exp(z) - 1 there, and
        "gelu" is z times the normal distribution function.
    kernel_size : int or tuple of ints, default=3
        Extent of the filters of every convolution in pixels, at least 1; a tuple has an entry per spatial axis.
    stride : int or tuple of ints, default=1
        Pixels from one window of a convolution to the next, at least 1.
    padding : {"same", "valid", "same_lower", "full"}, int or tuple, default="same"
        Pixels that every convolution adds around its maps, in the words of `Conv2DTransformer`: "same" keeps the size
        at stride 1, "valid" adds none, "full" takes every window that touches the map; a number adds so many on every
        side.
    pool : {"max", "average", None}, default="max"
        What follows every convolution; None leaves pooling out.
    pool_size : int or tuple of ints, default=2
        Windows and strides of the pooling, in pixels, at least 1; clipped to the map, left out where the map is one
        pixel wide.
    hidden_layer_sizes : "auto", int or tuple of ints, default="auto"
        Units of every hidden dense layer, each at least 1; () for none. "auto" is (128,).
    dropout : float, default=0.0
        Share of the values that training sets to zero before every dense layer, 0 <= dropout < 1. Does not act with
        "lbfgs".
    layers : list of (str, layer), default=None
        The architecture in full, without the output layer; the parameters above must then keep their defaults. Layers
        are cloned. Their parameters are reached by name, as in a Pipeline: ``conv1__n_filters``; so no layer may have
        the name of a parameter above or below.
    image_shape : tuple of ints, default=None
        Shape of one image in pixels, ``(height, width)`` or ``(height, width, n_channels)``, where X is flat. None: a
        square gray image (for spatial_ndim=3 a cubic volume), or a signal of up to 64 values.
    spatial_ndim : {1, 2, 3}, default=2
        Signals, images or volumes.
    standardize : bool, default=True
        Whether to subtract the mean and divide by the standard deviation of every channel, learned in `fit`.
    standardize_target : bool, default=True
        Whether the network is trained towards ``(y - target_mean_) / target_scale_``, so that the learning rate need
        not know the units of y. With "poisson": towards ``y / target_scale_``, the scale being the mean.
    loss : {"squared_error", "absolute_error", "huber", "poisson"}, default="squared_error"
        What training minimises, as a mean over outputs and in units of `target_scale_`: half the squared error; the
        absolute error, for medians; "huber" [1]_ is the first up to `delta` and grows like the second beyond;
        "poisson" is half the Poisson deviance, for counts and rates, y >= 0: outputs are logarithms of means.
    delta : float, default=1.0
        Where "huber" turns, in units of `target_scale_`, more than 0.
    augment : None, str or dict, default=None
        How training draws every image anew in every epoch. A dict of the keys below, whose values are the largest
        changes, drawn uniformly either way (factors: their logarithms); True stands for the value in brackets, False
        or 0 for none. A key alone, as in ``augment="shift"``, is the same as ``{"shift": True}``.

        - ``"shift"``: whole pixels, or a share of the side (a float below 1), or one of them per axis [1 / 14];
        - ``"flip"``: ``"horizontal"``, ``"vertical"``, ``"depth"`` or a tuple of them, each for every second image
          ["horizontal"];
        - ``"rotation"``: degrees, at most 180; images only [10];
        - ``"scale"``: factors from 1 / (1 + scale) to 1 + scale, scale at most 1; signals and images only [0.1];
        - ``"shear"``: degrees that verticals lean, at most 60; images only [10];
        - ``"elastic"``: (alpha, sigma) in pixels, noise of amplitude alpha smoothed to a width of sigma displaces the
          pixels [2]_; images only [(34, 4) for a side of 28];
        - ``"cutout"``: sides of a box that is emptied, in pixels or shares of the side, or one of them per axis
          [1 / 4];
        - ``"noise"``: standard deviation, in units of the channel's with `standardize` [0.1];
        - ``"brightness"``: added to all values, in the same units [0.2];
        - ``"contrast"``: factors from 1 / (1 + contrast) to 1 + contrast for the distance from the channel's mean with
          `standardize`, from 0 without [0.2];
        - ``"fill"``: what lies outside the image: ``"edge"`` copies its border, ``"reflect"`` mirrors it,
          ``"constant"`` is what the network sees as 0, and a number is a value of X ["edge"].

        Training losses are those of the augmented images; predictions and validation scores see images as they are.
    solver : {"adam", "sgd", "lbfgs"}, default="adam"
        "adam" [3]_ and "sgd" step after every mini-batch. "lbfgs" [4]_ looks at all samples for every step,
        computes in float64, and uses neither dropout nor what is said below to be for the other two; it suits small
        data and networks.
    alpha : float, default=0.0001
        Strength of the penalty on weights (not intercepts), at least 0: alpha / (2 * batch size) times the sum of
        squares; for "lbfgs", the sum of the samples' weights takes the place of the batch size.
    l1_ratio : float, default=0.0
        Share of `alpha` that acts on the sum of absolute values instead, 0 to 1, as in `ElasticNet`; steps are
        proximal [5]_, so that weights become exactly 0. Not for "lbfgs".
    clip_norm : float, default=None
        Largest norm of the gradient of a mini-batch, over all weights and without penalties, more than 0; longer ones
        are shortened [6]_. None: as they are. For "adam" and "sgd".
    ema_decay : float, default=None
        Predict, and validate, with an exponential moving average of the weights over the steps [7]_, of this decay,
        0 < ema_decay < 1, such as 0.999; in the first steps it is shorter, (1 + t) / (10 + t). None: with the weights
        themselves. For "adam" and "sgd".
    batch_size : int or "auto", default="auto"
        Samples per mini-batch, at least 1, clipped to n_samples. "auto" is 32 up to 10,000 samples, then 128. For
        "adam" and "sgd".
    learning_rate : {"one_cycle", "cosine", "constant", "invscaling", "adaptive"}, default="one_cycle"
        Schedule over the steps of all `max_iter` epochs, for "adam" and "sgd". "one_cycle" [8]_ rises from a 25th of
        the largest rate during the first 30 % of the steps and then falls to nearly zero, both along a cosine;
        "cosine" falls from the start; "invscaling" divides by (step + 1) ** power_t; "adaptive" divides by 5 whenever
        training would stop by `n_iter_no_change`, until it is below 1e-6.
    learning_rate_init : float, default=0.002
        Largest learning rate of the schedule, more than 0.
    power_t : float, default=0.5
        Exponent of "invscaling", at least 0.
    max_iter : int or "auto", default="auto"
        Epochs, or iterations of "lbfgs", at least 1. "auto" is 10, and more (100 at most) where 10 epochs have fewer
        than 2,000 steps; 200 for "lbfgs".
    max_fun : int, default=15000
        Evaluations of the loss by "lbfgs", at most; at least 1.
    shuffle : bool, default=True
        Whether every epoch takes the samples in an order of its own, or as they come. For "adam" and "sgd".
    random_state : int, RandomState instance or None, default=None
        Draws first weights, order of samples, dropout, augmentation and the validation split.
    tol : float, default=0.0001
        What counts as progress, at least 0, in units of the loss or score, see `n_iter_no_change`. For "lbfgs": the
        largest component of the gradient at which it ends.
    verbose : int, default=0
        1 (or True): a line per epoch, or per ten iterations of "lbfgs"; 2: the layers, and a table of epochs, in which
        ``rate`` is the learning rate of the epoch's last step and ``dur`` are seconds; 3: at the end also what every
        layer took, forward and backward, and its share of the machine's multiply-add peak (as does the environment
        variable ``SKCONV_PROFILE=1``, whatever `verbose` is).
    warm_start : bool, default=False
        Whether `fit` continues from the weights of the fit before, on the same image shape and with layers
        of the same sizes; `n_iter_`, `t_` and the curves go on, too.
    momentum : float, default=0.9
        Share of the step before that every step repeats, for "sgd", 0 <= momentum < 1.
    nesterovs_momentum : bool, default=True
        Whether every step looks ahead by its momentum (Nesterov's method), for "sgd".
    early_stopping : bool, default=False
        Whether to set `validation_fraction` of the data aside, or to take the validation data given to `fit`, to stop
        when the score on it has not improved for `n_iter_no_change` epochs, and to keep the best weights. For "adam"
        and "sgd".
    validation_fraction : float, default=0.1
        Share of the samples, 0 < validation_fraction < 1.
    scoring : str, callable or None, default=None
        What validation is scored by: a scorer of scikit-learn, or its name; "loss" for the negative loss without
        penalties; None for the coefficient of determination. Higher is better.
    beta_1, beta_2 : float, default=0.9, 0.999
        Shares that Adam's mean and mean square of the gradients keep of themselves in every step, at least 0, below 1.
    epsilon : float, default=1e-08
        What Adam adds to the root of the mean square before it divides by it, more than 0.
    n_iter_no_change : int, default=10
        Training stops where more than so many epochs in a row brought no improvement of `tol`; at least 1, or
        `numpy.inf` for never. Acts with early stopping and with the schedules "constant", "invscaling" and "adaptive",
        because the others need all of their steps.

    Attributes
    ----------
    image_shape_ : tuple
        Shape of one image, channels last.
    n_features_in_ : int
        Values of one image.
    feature_names_in_ : ndarray
        Where X was a frame with names.
    architecture_ : tuple
        The layers as plain data, ``(name, class name, parameters)`` each: what an unpickled network is rebuilt from.
    conv_layer_sizes_, hidden_layer_sizes_ : tuple
        What the flat parameters became (absent with `layers`).
    coefs_ : list of ndarray
        Weights of every layer that has some: ``(*kernel_size, n_channels, n_filters)`` or
        ``(n_inputs, n_units)``.
    intercepts_ : list of ndarray or None
        Of the same layers. BatchNorm's scale and shift are a pair, too; either is None where it is not learned.
    statistics_ : list of (ndarray, ndarray)
        Running mean and variance of every BatchNorm, with which it predicts.
    input_mean_, input_scale_ : ndarray of shape (n_channels,)
        The network sees ``(X - input_mean_) * input_scale_``. None where ``standardize=False``.
    target_mean_, target_scale_ : ndarray of shape (n_outputs,)
        Mean and standard deviation of y, weighted; for "poisson" 0 and the mean. None where
        ``standardize_target=False``.
    loss_, best_loss_ : float
        Training loss of the last epoch, and the lowest one (None with early stopping), with penalties and under the
        weights of the samples.
    loss_curve_ : list of float
        Training loss of every epoch, or of every iteration of "lbfgs".
    validation_scores_ : list of float
        Score of every epoch, where there is validation data, else None.
    best_validation_score_ : float
        The highest of them, or None.
    stopped_ : bool
        After `partial_fit` only: whether early stopping would end here. The weights are then the best ones.
    n_iter_ : int
        Epochs run, or iterations of "lbfgs".
    n_layers_ : int
        Layers with weights, and the input.
    n_outputs_ : int
        Columns of y.
    n_parameters_ : int
        Weights, intercepts included; those that do not learn, or that `connections` leaves zero, too.
    out_activation_ : str
        "identity"; "exp" for "poisson".
    t_ : int
        Samples seen in training: those trained on, times epochs or iterations.

    Notes
    -----
    Computes in float32 (float64 for "lbfgs"), whatever X holds; uint8 data stay uint8. Weights and predictions are the
    same, bit for bit, for any number of threads, memory layout of X, and split of X into batches.

    An epoch costs about three times the multiplications of a prediction of the same samples: forward, and backward to
    maps and to weights. So does every evaluation of the loss by "lbfgs", of which most iterations need one.
    Memory beside X: the maps of one mini-batch, and at most about 10 arrays of the size of the weights; for "lbfgs"
    about 50 of them, in float64. The fitted estimator holds two.

    What differs from MLPClassifier and MLPRegressor, parameter by parameter, is a page of the documentation.

    With scikit-learn 1.9 or later, ``set_callbacks(ProgressBar(), ...)`` attaches its callbacks to `fit`; every epoch
    is a task, with "lbfgs" the fit as a whole.

    References
    ----------
    .. [1] Huber, "Robust Estimation of a Location Parameter", Annals of Mathematical Statistics 35(1), 1964.
    .. [2] Simard, Steinkraus and Platt, "Best Practices for Convolutional Neural Networks Applied to Visual Document
       Analysis", ICDAR 2003.
    .. [3] Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015.
    .. [4] Liu and Nocedal, "On the Limited Memory BFGS Method for Large Scale Optimization", Mathematical Programming
       45, 1989.
    .. [5] Duchi and Singer, "Efficient Online and Batch Learning Using Forward Backward Splitting", Journal of Machine
       Learning Research 10, 2009.
    .. [6] Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks", ICML 2013.
    .. [7] Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", SIAM Journal on Control and
       Optimization 30(4), 1992.
    .. [8] Smith and Topin, "Super-Convergence: Very Fast Training of Neural Networks Using Large Learning Rates", 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_digits
    >>> from skconv import CNNRegressor
    >>> X, y = load_digits(return_X_y=True)
    >>> ink = X.sum(axis=1)
    >>> reg = CNNRegressor(max_iter=10, random_state=0).fit(X[:1000], ink[:1000])
    >>> bool(reg.score(X[1000:], ink[1000:]) > 0.9)
    True
    """

    def __init__(
        self,
        conv_layer_sizes="auto",
        activation="relu",
        *,
        kernel_size=3,
        stride=1,
        padding="same",
        pool="max",
        pool_size=2,
        hidden_layer_sizes="auto",
        dropout=0.0,
        layers=None,
        image_shape=None,
        spatial_ndim=2,
        standardize=True,
        standardize_target=True,
        loss="squared_error",
        delta=1.0,
        augment=None,
        solver="adam",
        alpha=0.0001,
        l1_ratio=0.0,
        clip_norm=None,
        ema_decay=None,
        batch_size="auto",
        learning_rate="one_cycle",
        learning_rate_init=0.002,
        power_t=0.5,
        max_iter="auto",
        max_fun=15000,
        shuffle=True,
        random_state=None,
        tol=1e-4,
        verbose=0,
        warm_start=False,
        momentum=0.9,
        nesterovs_momentum=True,
        early_stopping=False,
        validation_fraction=0.1,
        scoring=None,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        n_iter_no_change=10,
    ):
        self.conv_layer_sizes = conv_layer_sizes
        self.activation = activation
        self.kernel_size = kernel_size
        self.stride = stride
        self.padding = padding
        self.pool = pool
        self.pool_size = pool_size
        self.hidden_layer_sizes = hidden_layer_sizes
        self.dropout = dropout
        self.layers = layers
        self.image_shape = image_shape
        self.spatial_ndim = spatial_ndim
        self.standardize = standardize
        self.standardize_target = standardize_target
        self.loss = loss
        self.delta = delta
        self.augment = augment
        self.solver = solver
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.clip_norm = clip_norm
        self.ema_decay = ema_decay
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.max_fun = max_fun
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.scoring = scoring
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change

    # ---- targets -----------------------------------------------------------------------------------------------

    def _read_y(self, y, n_samples, what):
        return read_numbers(y, n_samples, type(self).__name__, what)

    def _weigh(self, y, sample_weight, classes=None):
        return sample_weight

    def _strata(self, y):
        return None

    def _new_codec(self, y, samples, sample_weight):
        return numbers_of(
            y, samples, sample_weight, standardize=check_bool(self.standardize_target, "standardize_target"),
            loss=self._loss_name(), delta=self._delta(),
        )  # fmt: skip

    def _loss_name(self):
        return check_choice(self.loss, "loss", ("squared_error", "absolute_error", "huber", "poisson"))

    def _delta(self):
        return check_real(self.delta, "delta", 0, None, inclusive="neither")

    def _first_codec(self, y, samples, sample_weight, classes):
        return self._new_codec(y, samples, sample_weight)

    def _continued_codec(self, y, what):
        if self.standardize_target != (self.target_mean_ is not None):
            raise ValueError(
                f"{what} continues a fit with standardize_target={not self.standardize_target}; leave it as it was"
            )
        n_outputs = 1 if y.ndim == 1 else y.shape[1]
        if n_outputs != self.n_outputs_:
            raise ValueError(f"{what} continues a fit on {self.n_outputs_} outputs, got y of shape {y.shape}")
        if (self._loss_name() == "poisson") != (self.out_activation_ == "exp"):
            raise ValueError(f"{what} continues a fit whose outputs meant something else: loss={self.loss!r} is new")
        return Numbers(
            self.target_mean_, self.target_scale_, y.ndim == 1, n_outputs, self._loss_name(), self._delta()
        )  # fmt: skip

    def _fitted_codec(self):
        loss = "poisson" if self.out_activation_ == "exp" else "squared_error"
        return Numbers(self.target_mean_, self.target_scale_, self.n_outputs_ == 1, self.n_outputs_, loss)

    def _codec_attributes(self, codec):
        return {
            "target_mean_": codec.mean,
            "target_scale_": codec.scale,
            "out_activation_": codec.out_activation,
        }

    def _check_classes(self, classes):
        pass

    @available_if(is_stochastic)
    def partial_fit(self, X, y, sample_weight=None, *, X_val=None, y_val=None, sample_weight_val=None):
        """Train for one epoch over the given data, at the constant rate `learning_rate_init`.

        The statistics for standardisation, of X and of y, are those of the first call, and the solver's moments go on
        from call to call. After a `fit`, goes on from its weights.

        Parameters
        ----------
        X, y : array-like
            As in `fit`.
        sample_weight : array-like of shape (n_samples,), default=None
            As in `fit`.
        X_val, y_val, sample_weight_val : array-like, default=None
            As in `fit`, the same in every call. With `early_stopping`, which needs them, `stopped_` becomes True where
            more than `n_iter_no_change` calls in a row brought no improvement of `tol`, and the weights are then those
            of the best call; a further call goes on from there and counts anew.

        Returns
        -------
        self : object

        Raises
        ------
        TypeError, ValueError
            As in `fit`. A model fitted before stays as it was, and so it does after Ctrl-C, which raises
            KeyboardInterrupt here.
        """
        return self._partial_fit(X, y, sample_weight, (X_val, y_val, sample_weight_val))

    # ---- prediction --------------------------------------------------------------------------------------------

    def predict(self, X):
        """Predict the numbers.

        Parameters
        ----------
        X : array-like
            As in `fit`, images of shape `image_shape_`.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs), float64
            In the units of y.
        """
        outputs = self._outputs(X)
        return self._fitted_codec().decode(outputs)

    def predictor(self):
        """Return the trained network compiled for prediction: small, fast, and apart from this estimator.

        For one image at a time, or many small batches: arrays are checked for shape and dtype only, weights are
        brought into their forms once, and batch normalisation joins the sums beside it.

        Returns
        -------
        RegressorPredictor
            Its predictions differ from those of `predict` by rounding, and not at all without batch normalisation
            and standardisation. It stays as it is when this estimator is fitted again.

        Examples
        --------
        >>> import numpy as np
        >>> from skconv import CNNRegressor
        >>> X = np.random.RandomState(0).uniform(size=(50, 8, 8, 1)).astype("float32")
        >>> predictor = CNNRegressor(max_iter=1, random_state=0).fit(X, X.mean(axis=(1, 2, 3))).predictor()
        >>> out = np.empty(50)
        >>> predictor.predict(X, out=out) is out
        True
        """
        check_is_fitted(self)
        return RegressorPredictor(self._fitted_network(), self._fitted_codec())

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
