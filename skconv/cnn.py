"""Convolutional networks as scikit-learn estimators."""

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils import assert_all_finite, check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from . import _architecture
from ._estimator import BaseCNN
from ._images import remember_images
from ._interrupts import deferred_interrupts, take_interrupt
from ._progress import Progress
from .solvers import epochs


class CNNClassifier(ClassifierMixin, BaseCNN):
    """Convolutional network for classification, trained by Adam or SGD on the softmax cross-entropy.

    The architecture is either given by flat parameters (`conv_layer_sizes`, `kernel_size`, ...: a convolution and a
    pooling per entry, then dense layers), or by ``layers=[(name, layer), ...]``; the output layer is added. It is
    built in `fit` for the size of the images. Parameters that `MLPClassifier` has mean what they mean there.

    Parameters
    ----------
    conv_layer_sizes : "auto", int or tuple of ints, default="auto"
        Filters of every convolution; () for none. "auto" takes 32, and twice as many (128 at most) after every
        pooling, until the image is some 4 pixels wide. What it became is in `conv_layer_sizes_`.
    activation : {"identity", "relu", "leaky_relu", "tanh", "logistic", "elu", "gelu"}, default="relu"
        Of convolutions and hidden dense layers.
    kernel_size : int or tuple of ints, default=3
    stride : int or tuple of ints, default=1
    padding : {"same", "valid", "same_lower", "full"}, int or tuple, default="same"
    pool : {"max", "average", None}, default="max"
    pool_size : int or tuple of ints, default=2
        Windows and strides of the pooling; clipped to the map, left out where the map is one pixel wide.
    hidden_layer_sizes : "auto", int or tuple of ints, default="auto"
        Units of every hidden dense layer; () for none. "auto" is (128,).
    dropout : float, default=0.25
        Share of the values that training sets to zero before every dense layer, 0 <= dropout < 1.
    layers : list of (str, layer), default=None
        The architecture in full, without the output layer; the parameters above must then keep their defaults. Layers
        are cloned. Their parameters are reached by name, as in a Pipeline: ``conv1__n_filters``; so no layer may have
        the name of a parameter above or below.
    image_shape : tuple of ints, default=None
        Shape of one image, where X is flat. None: a square gray image (for spatial_ndim=3 a cubic volume), or a signal
        of up to 64 values.
    spatial_ndim : {1, 2, 3}, default=2
        Signals, images or volumes.
    standardize : bool, default=True
        Whether to subtract the mean and divide by the standard deviation of every channel, learned in `fit`.
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
          pixels; images only [(34, 4) for a side of 28];
        - ``"cutout"``: sides of a box that is emptied, in pixels or shares of the side, or one of them per axis
          [1 / 4];
        - ``"noise"``: standard deviation, in units of the channel's with `standardize` [0.1];
        - ``"brightness"``: added to all values, in the same units [0.2];
        - ``"contrast"``: factors from 1 / (1 + contrast) to 1 + contrast for the distance from the channel's mean with
          `standardize`, from 0 without [0.2];
        - ``"fill"``: what lies outside the image: ``"edge"`` copies its border, ``"reflect"`` mirrors it,
          ``"constant"`` is what the network sees as 0, and a number is a value of X ["edge"].

        Training losses are those of the augmented images; predictions and validation scores see images as they are.
    solver : {"adam", "sgd"}, default="adam"
    alpha : float, default=0.0001
        Strength of the L2 penalty on weights (not intercepts): alpha / (2 * batch size) times the sum of squares.
    batch_size : int or "auto", default="auto"
        Samples per mini-batch, clipped to n_samples. "auto" is 32 up to 10,000 samples, then 128.
    learning_rate : {"one_cycle", "cosine", "constant", "invscaling", "adaptive"}, default="one_cycle"
        Schedule over the steps of all `max_iter` epochs. "one_cycle" warms up and then falls to nearly zero along a
        cosine; "cosine" falls from the start; "invscaling" divides by (step + 1) ** power_t; "adaptive" divides by 5
        whenever `n_iter_no_change` epochs brought no progress.
    learning_rate_init : float, default=0.001
        Largest learning rate of the schedule.
    power_t : float, default=0.5
    max_iter : int or "auto", default="auto"
        Epochs. "auto" is 10, and more (100 at most) where 10 epochs have fewer than 2,000 steps.
    shuffle : bool, default=True
    random_state : int, RandomState instance or None, default=None
        Draws first weights, order of samples, dropout, augmentation and the validation split.
    tol : float, default=0.0001
        What counts as progress, see `n_iter_no_change`.
    verbose : int, default=0
        1 (or True): a line per epoch; 2: the table of layers, too.
    warm_start : bool, default=False
        Whether `fit` continues from the weights of the fit before, on the same image shape and classes and with layers
        of the same sizes; `n_iter_`, `t_` and the curves go on, too.
    momentum : float, default=0.9
        For "sgd", 0 <= momentum < 1.
    nesterovs_momentum : bool, default=True
        For "sgd".
    early_stopping : bool, default=False
        Whether to set `validation_fraction` of the data aside (stratified), to stop when the accuracy on it has not
        improved for `n_iter_no_change` epochs, and to keep the best weights.
    validation_fraction : float, default=0.1
    beta_1, beta_2 : float, default=0.9, 0.999
        Decay of Adam's moments.
    epsilon : float, default=1e-08
        For "adam".
    n_iter_no_change : int, default=10
        Epochs in a row without an improvement of `tol` after which training stops; acts with early stopping and with
        the schedules "constant" and "adaptive", because the others need all of their steps.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    image_shape_ : tuple
        Shape of one image, channels last.
    n_features_in_ : int
    feature_names_in_ : ndarray
        Where X was a frame with names.
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
    loss_, best_loss_ : float
        Training loss of the last epoch, and the lowest one (None with early stopping).
    loss_curve_ : list of float
    validation_scores_ : list of float
        With early stopping, else None; `best_validation_score_` is the highest.
    n_iter_ : int
        Epochs run.
    n_layers_ : int
        Layers with weights, and the input.
    n_outputs_ : int
    n_parameters_ : int
    out_activation_ : str
        "softmax". Two classes have two outputs, unlike in MLPClassifier.
    t_ : int
        Samples seen in training.

    Notes
    -----
    Computes in float32, whatever X holds; uint8 data stay uint8. Weights and predictions are the same, bit for bit,
    for any number of threads, memory layout of X, and split of X into batches.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skconv import CNNClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> clf = CNNClassifier(max_iter=3, random_state=0).fit(X[:1000], y[:1000])
    >>> clf.predict(X[1000:1002]).shape
    (2,)
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
        dropout=0.25,
        layers=None,
        image_shape=None,
        spatial_ndim=2,
        standardize=True,
        augment=None,
        solver="adam",
        alpha=0.0001,
        batch_size="auto",
        learning_rate="one_cycle",
        learning_rate_init=0.001,
        power_t=0.5,
        max_iter="auto",
        shuffle=True,
        random_state=None,
        tol=1e-4,
        verbose=0,
        warm_start=False,
        momentum=0.9,
        nesterovs_momentum=True,
        early_stopping=False,
        validation_fraction=0.1,
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
        self.augment = augment
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change

    def _read_labels(self, y, images, classes=None):
        """Class numbers of the labels, and the classes."""
        if y is None:
            raise ValueError(f"This {type(self).__name__} estimator requires y to be passed, but the target y is None.")
        y = column_or_1d(y, warn=True)
        assert_all_finite(y, input_name="y")
        check_classification_targets(y)
        check_consistent_length(images, y)
        if classes is None:
            classes, numbers = np.unique(y, return_inverse=True)
        else:
            unknown = np.setdiff1d(y, classes)
            if len(unknown):
                raise ValueError(f"y has labels that are not in classes: {unknown[:5]}; classes are {classes}")
            numbers = np.searchsorted(classes, y)
        return np.ascontiguousarray(numbers, dtype=np.int32), classes

    def fit(self, X, y):
        """Train the network.

        Parameters
        ----------
        X : array-like of shape ``(n_samples, *spatial[, n_channels])`` or (n_samples, n_features)
            Images, channels last. Any real dtype; uint8 stays uint8.
        y : array-like of shape (n_samples,)
            Labels, of any kind.

        Returns
        -------
        self : object

        Raises
        ------
        TypeError, ValueError
            If a parameter, X or y is wrong, or the loss becomes infinite. A model fitted before stays as it was.

        Notes
        -----
        Ctrl-C ends training within a second, with a warning, and keeps the weights of the last finished epoch (with
        `early_stopping`, the best ones so far); before the end of the first epoch, the estimator stays as it was. A
        second Ctrl-C within ten seconds raises KeyboardInterrupt, in this fit or in the next one: pressing it twice
        stops a grid search.
        """
        settings = self._settings()
        try:
            images = self._read(X, reset=True)
            continues = self.warm_start and hasattr(self, "coefs_")
            if continues and images.shape[1:] != self.image_shape_:
                raise ValueError(
                    f"warm_start continues a fit on images of shape {self.image_shape_}, got {images.shape[1:]}; "
                    "set warm_start=False to start anew"
                )
            targets, classes = self._read_labels(y, images)
            rng = self._generator()
            seed = int(rng.randint(np.iinfo(np.int32).max))
            train, validation = self._split(targets, seed)
            batch_size = self._batch_size(len(train))
            max_iter = self._n_epochs(len(train), batch_size)
            if continues:
                network, attributes = self._continued(classes, "warm_start")
            else:
                network, attributes = self._new_network(images, len(classes), rng)
            progress = Progress(self.verbose, max_iter)
            progress.table(_architecture.summary(network.operations))
            history, is_interrupted = self._run_epochs(
                network, images, targets, train, validation, settings, batch_size, max_iter, seed, continues, progress
            )
        except KeyboardInterrupt:
            take_interrupt()
            history, is_interrupted, continues = {"n_iter_": 0}, True, False
        if is_interrupted and history["n_iter_"] == (self.n_iter_ if continues else 0):
            self._warn_of_interrupt("no epoch had been finished, so the estimator is unchanged")
            return self
        with deferred_interrupts():  # from here on nothing fails: the fitted state changes as a whole
            for name in ("conv_layer_sizes_", "hidden_layer_sizes_", "_moments"):
                self.__dict__.pop(name, None)
            remember_images(self, X, images)
            self._set_fitted(network, attributes | history | {"classes_": classes})
        if is_interrupted:
            self._warn_of_interrupt(f"the weights of epoch {history['n_iter_']} are kept")
        return self

    def partial_fit(self, X, y, classes=None):
        """Train for one epoch over the given data, at the constant rate `learning_rate_init`.

        The statistics for standardisation are those of the first call, and the solver's moments go on from call to
        call. After a `fit`, goes on from its weights.

        Parameters
        ----------
        X, y : array-like
            As in `fit`.
        classes : array-like of shape (n_classes,), default=None
            All classes that will ever come; needed in the first call.

        Returns
        -------
        self : object

        Raises
        ------
        TypeError, ValueError
            As in `fit`, and with ``early_stopping=True``. A model fitted before stays as it was, and so it does after
            Ctrl-C, which raises KeyboardInterrupt here.
        """
        settings = self._settings()
        settings.schedule = "constant"
        if self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True: it has no validation data")
        is_first = not hasattr(self, "coefs_")
        if is_first and classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        images = self._read(X, reset=is_first)
        known = np.unique(classes) if is_first else self.classes_
        if not is_first and classes is not None and not np.array_equal(np.unique(classes), known):
            raise ValueError(f"classes={classes!r} is not the same as on the first call to partial_fit: {known}")
        targets, known = self._read_labels(y, images, known)
        rng = self._generator()
        seed = int(rng.randint(np.iinfo(np.int32).max))
        if is_first:
            network, attributes = self._new_network(images, len(known), rng)
            n_iter, n_seen, losses = 0, 0, []
        else:
            network, attributes = self._continued(known, "partial_fit")
            n_iter, n_seen, losses = self.n_iter_, self.t_, self.loss_curve_
        state = network.solver_state()
        moments = None if is_first else self.__dict__.get("_moments")
        if moments is not None and moments["solver"] == self.solver:
            state.first[...], state.second[...], state.t = moments["first"], moments["second"], moments["t"]
        progress = Progress(self.verbose, 1)
        (epoch,) = epochs(
            network, images, targets, np.arange(len(images)), settings, state,
            batch_size=self._batch_size(len(images)), max_iter=1, shuffle=self.shuffle, seed=seed, first_epoch=n_iter,
            report=progress.within,
        )  # fmt: skip
        network.release()
        self._check_finite(network, images, settings)
        losses = [*losses, epoch.loss]
        history = {
            "loss_": epoch.loss,
            "best_loss_": min(losses),
            "loss_curve_": losses,
            "validation_scores_": None,
            "best_validation_score_": None,
            "n_iter_": n_iter + 1,
            "t_": n_seen + len(images),
        }
        moments = {"solver": self.solver, "first": state.first, "second": state.second, "t": state.t}
        with deferred_interrupts():
            if is_first:
                remember_images(self, X, images)
            self._set_fitted(network, attributes | history | {"classes_": known, "_moments": moments})
        progress.epoch(epoch)
        return self

    # ---- prediction --------------------------------------------------------------------------------------------

    def predict_proba(self, X):
        """Predict the probability of every class.

        Parameters
        ----------
        X : array-like, as in `fit`

        Returns
        -------
        ndarray of shape (n_samples, n_classes), float32
            In the order of `classes_`.
        """
        check_is_fitted(self)
        return self._fitted_network().predict(self._read(X, reset=False), softmax=True)

    def predict_log_proba(self, X):
        """Predict the logarithm of the probability of every class.

        Parameters
        ----------
        X : array-like, as in `fit`

        Returns
        -------
        ndarray of shape (n_samples, n_classes), float32
        """
        check_is_fitted(self)
        logits = self._fitted_network().predict(self._read(X, reset=False))
        logits -= logits.max(axis=1, keepdims=True)
        return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))

    def predict(self, X):
        """Predict the class.

        Parameters
        ----------
        X : array-like, as in `fit`

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        check_is_fitted(self)
        return self.classes_[self._fitted_network().predict(self._read(X, reset=False)).argmax(axis=1)]
