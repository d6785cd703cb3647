"""What classifier and regressor share: parameters, building, the training loop, the fitted network."""

import warnings

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from . import _architecture
from ._augment import resolve_augmentation
from ._geometry import check_bool, check_choice, check_int, check_real
from ._images import channel_moments, read_images
from ._interrupts import AGAIN, deferred_interrupts, take_interrupt
from ._network import Network
from .solvers import SCHEDULES, SOLVERS, Settings, Stopping, epochs

# Parameters that `layers` takes the place of, with their defaults.
_FLAT = {
    "conv_layer_sizes": "auto",
    "activation": "relu",
    "kernel_size": 3,
    "stride": 1,
    "padding": "same",
    "pool": "max",
    "pool_size": 2,
    "hidden_layer_sizes": "auto",
    "dropout": 0.25,
}
# "auto": mini-batches of 32 while an epoch would have few steps, and epochs until the schedule has had its steps.
_SMALL_BATCH, _LARGE_BATCH, _SMALL_DATA = 32, 128, 10_000
_EPOCHS, _MOST_EPOCHS, _STEPS = 10, 100, 2_000
# Parameters that are bools.
_SWITCHES = ("standardize", "shuffle", "warm_start", "nesterovs_momentum", "early_stopping")


class BaseCNN(_architecture.NamedLayers):
    """Base of the networks as estimators. Subclasses have the constructor and know about targets."""

    # ---- parameters --------------------------------------------------------------------------------------------

    def _settings(self):
        """Check the parameters that are independent of the data; return those of the solver."""
        for name in _SWITCHES:
            check_bool(getattr(self, name), name)
        if not isinstance(self.verbose, bool):
            check_int(self.verbose, "verbose", minimum=0)
        check_real(self.tol, "tol", 0, None)
        check_int(self.n_iter_no_change, "n_iter_no_change", minimum=1)
        check_real(self.validation_fraction, "validation_fraction", 0, 1, inclusive="neither")
        check_choice(self.solver, "solver", SOLVERS)
        return Settings(
            solver=self.solver,
            schedule=check_choice(self.learning_rate, "learning_rate", SCHEDULES),
            peak=check_real(self.learning_rate_init, "learning_rate_init", 0, None, inclusive="neither"),
            power_t=check_real(self.power_t, "power_t", 0, None),
            alpha=check_real(self.alpha, "alpha", 0, None),
            momentum=check_real(self.momentum, "momentum", 0, 1, inclusive="left"),
            nesterov=bool(self.nesterovs_momentum),
            beta_1=check_real(self.beta_1, "beta_1", 0, 1, inclusive="left"),
            beta_2=check_real(self.beta_2, "beta_2", 0, 1, inclusive="left"),
            epsilon=check_real(self.epsilon, "epsilon", 0, None, inclusive="neither"),
        )

    def _batch_size(self, n_samples):
        if isinstance(self.batch_size, str):
            check_choice(self.batch_size, "batch_size", ("auto",))
            return min(n_samples, _SMALL_BATCH if n_samples <= _SMALL_DATA else _LARGE_BATCH)
        batch_size = check_int(self.batch_size, "batch_size", minimum=1)
        if batch_size > n_samples:
            warnings.warn(
                f"batch_size={batch_size} is larger than the {n_samples} training samples; it is clipped", stacklevel=3
            )
        return min(batch_size, n_samples)

    def _n_epochs(self, n_samples, batch_size):
        if isinstance(self.max_iter, str):
            check_choice(self.max_iter, "max_iter", ("auto",))
            return _architecture.n_steps_to_epochs(n_samples, batch_size, _STEPS, _EPOCHS, _MOST_EPOCHS)
        return check_int(self.max_iter, "max_iter", minimum=1)

    def _generator(self):
        try:
            return check_random_state(self.random_state)
        except ValueError as error:
            raise ValueError(f"random_state={self.random_state!r}: {error}") from None

    # ---- building ----------------------------------------------------------------------------------------------

    def _layers_for(self, image_shape, n_outputs):
        """Named layers with the output layer, and the attributes that say what "auto" became."""
        sizes = {}
        if self.layers is None:
            layers, sizes["conv_layer_sizes_"], sizes["hidden_layer_sizes_"] = _architecture.flat_architecture(
                self, image_shape
            )
        else:
            changed = [name for name, default in _FLAT.items() if not _is_default(getattr(self, name), default)]
            if changed:
                raise ValueError(
                    f"{changed[0]}={getattr(self, changed[0])!r} has no effect where layers is given; set it in a "
                    f"layer, or leave {', '.join(changed)} at the default"
                )
            layers = _architecture.named_layers(self.layers, taken=self._get_param_names())
        return [*layers, ("output", _architecture.LAYERS["Dense"](n_outputs, activation="identity"))], sizes

    def _new_network(self, images, n_outputs, rng):
        """A network with first weights, and the attributes that describe it."""
        layers, attributes = self._layers_for(images.shape[1:], n_outputs)
        operations = _architecture.bind(layers, images.shape[1:])
        augment = resolve_augmentation(self.augment, images.shape[1:])
        mean = scale = None
        if self.standardize:
            mean, scale = _channel_statistics(images)
        network = Network(operations, mean=mean, scale=scale, augment=augment)
        _architecture.initialize(network, layers, images, rng, trains=True)
        attributes |= {"input_mean_": mean, "input_scale_": scale, "architecture_": _architecture.describe(layers)}
        return network, attributes

    def _fitted_network(self):
        """The network of the fitted arrays; rebuilt after unpickling or where they were replaced."""
        network = self.__dict__.get("_network")
        if network is None or not self._agrees(network):
            operations = _architecture.bind(_architecture.rebuild(self.architecture_), self.image_shape_)
            n_channels = self.image_shape_[-1]
            for name in ("input_mean_", "input_scale_"):
                value = getattr(self, name)
                if value is not None and np.shape(value) != (n_channels,):
                    raise ValueError(f"{name} must have shape {(n_channels,)}, got {np.shape(value)}")
            network = Network(operations, mean=self.input_mean_, scale=self.input_scale_)
            _copy_weights(network.coefs, self.coefs_, "coefs_")
            _copy_weights(network.intercepts, self.intercepts_, "intercepts_")
            _copy_statistics(network.statistics, self.statistics_)
            self._attach(network)
        return network

    def _agrees(self, network):
        """Whether the fitted attributes are still those of the network."""
        mine = (*self.coefs_, None, *self.intercepts_, None, *(array for pair in self.statistics_ for array in pair))
        its = (
            *network.coefs,
            None,
            *network.intercepts,
            None,
            *(array for pair in network.statistics for array in pair),
        )
        return (
            self.image_shape_ == network.operations[0].in_shape
            and len(mine) == len(its)
            and all(a is b for a, b in zip(mine, its, strict=True))  # weights edited in place are the network's own
            and np.array_equal(self.input_mean_, network.mean)
            and np.array_equal(self.input_scale_, network.scale)
        )

    def _attach(self, network):
        """Make the network's arrays the fitted ones."""
        self._network = network
        self.coefs_ = list(network.coefs)
        self.intercepts_ = list(network.intercepts)
        self.statistics_ = list(network.statistics)

    def __getstate__(self):
        state = dict(super().__getstate__())
        state.pop("_network", None)  # compiled: rebuilt from the fitted arrays
        for name in ("coefs_", "intercepts_"):
            if name in state:  # copies: a view would take the whole flat vector along
                state[name] = [None if array is None else array.copy() for array in state[name]]
        if "statistics_" in state:
            state["statistics_"] = [tuple(array.copy() for array in pair) for pair in state["statistics_"]]
        return state

    def _read(self, X, reset):
        return read_images(
            self,
            X,
            reset=reset,
            image_shape=self.image_shape,
            spatial_ndim=self.spatial_ndim,
            dtypes=("uint8", "float32", "float64"),
            ensure_finite=True,
        )

    # ---- training ----------------------------------------------------------------------------------------------

    def _split(self, targets, seed):
        """Sample numbers to train on and to validate on."""
        samples = np.arange(len(targets))
        if not self.early_stopping:
            return samples, None
        from sklearn.model_selection import train_test_split

        counts = np.bincount(targets)
        n_validation = int(np.ceil(self.validation_fraction * len(samples)))
        if counts.min() < 2 or n_validation < len(counts) or len(samples) - n_validation < len(counts):
            raise ValueError(
                f"early_stopping=True sets validation_fraction={self.validation_fraction} of {len(samples)} samples "
                f"aside, which needs at least 2 samples of each of the {len(counts)} classes and one of each on either "
                "side; give more data, or set early_stopping=False"
            )
        return train_test_split(
            samples, test_size=self.validation_fraction, random_state=seed % 2**31, stratify=targets
        )

    def _continued(self, classes, what):
        """A network for `what` that goes on from the fitted weights; those must not change if training fails."""
        if not np.array_equal(classes, self.classes_):
            raise ValueError(
                f"{what} continues a fit on classes {self.classes_}, got {classes}; set warm_start=False to start anew"
            )
        if self.standardize != (self.input_mean_ is not None):
            raise ValueError(f"{what} continues a fit with standardize={not self.standardize}; leave it as it was")
        layers, attributes = self._layers_for(self.image_shape_, len(classes))
        operations = _architecture.bind(layers, self.image_shape_)
        augment = resolve_augmentation(self.augment, self.image_shape_)
        network = Network(operations, mean=self.input_mean_, scale=self.input_scale_, augment=augment)
        before, now = ([np.shape(a) for a in arrays] for arrays in (self.coefs_, network.coefs))
        if before != now:
            raise ValueError(
                f"{what} continues with weights of shapes {before}, but the parameters now ask for {now}; "
                "leave the architecture as it was, or fit anew with warm_start=False"
            )
        _copy_weights(network.coefs, self.coefs_, "coefs_")
        _copy_weights(network.intercepts, self.intercepts_, "intercepts_")
        _copy_statistics(network.statistics, self.statistics_)
        names = ("input_mean_", "input_scale_")
        attributes |= {name: getattr(self, name) for name in names} | {"architecture_": _architecture.describe(layers)}
        return network, attributes

    def _run_epochs(
        self, network, images, targets, train, validation, settings, batch_size, max_iter, seed, continues, progress
    ):  # fmt: skip
        """Train until the end of the schedule, a plateau or Ctrl-C; return the history, and whether it was Ctrl-C."""
        state = network.solver_state()
        stopping = None
        if self.early_stopping or settings.schedule in ("constant", "adaptive"):
            stopping = Stopping(self.tol, self.n_iter_no_change, higher_is_better=self.early_stopping)
        losses, scores, n_seen = [], [], 0
        if continues:
            losses, scores, n_seen = list(self.loss_curve_), list(self.validation_scores_ or []), self.t_
        first_epoch, n_scores = len(losses), len(scores)
        kept = best = network.snapshot()
        interrupted = False
        walk = epochs(
            network, images, targets, train, settings, state, batch_size=batch_size, max_iter=max_iter,
            shuffle=self.shuffle, seed=seed, first_epoch=first_epoch, report=progress.within,
        )  # fmt: skip
        try:
            for epoch in walk:
                score = None if validation is None else self._accuracy(network, images, targets, validation)
                with deferred_interrupts():  # what the last finished epoch left
                    losses.append(epoch.loss)
                    n_seen += len(train)
                    kept = network.snapshot()
                    if score is not None:
                        scores.append(score)
                    is_best = is_plateau = False
                    if stopping is not None:
                        is_best, is_plateau = stopping.update(epoch.loss if score is None else score)
                    if is_best:
                        best = kept
                progress.epoch(epoch, score)
                if not is_plateau:
                    continue
                if settings.schedule != "adaptive" or settings.peak <= 1e-6:
                    progress.note(
                        f"stopped: no improvement of more than tol={self.tol:g} in {self.n_iter_no_change} epochs"
                    )
                    break
                settings.peak /= 5
                stopping.restart()
        except KeyboardInterrupt:
            take_interrupt()
            interrupted = True
        network.restore(best if self.early_stopping else kept)
        network.release()
        if len(losses) > first_epoch:
            self._check_finite(network, images, settings)
        history = {
            "loss_": losses[-1] if losses else None,
            "best_loss_": None if self.early_stopping or not losses else min(losses),
            "loss_curve_": losses,
            "validation_scores_": scores if self.early_stopping else None,
            # Of this fit: the weights of an earlier best, and its validation samples, are gone.
            "best_validation_score_": max(scores[n_scores:], default=None) if self.early_stopping else None,
            "n_iter_": len(losses),
            "t_": n_seen,
        }
        return history, interrupted

    def _check_finite(self, network, images, settings):
        """Refuse weights that the last step blew up, which no loss has seen yet."""
        if not (np.isfinite(network.weights).all() and np.isfinite(network.predict(images[:32])).all()):
            raise ValueError(
                "Training diverged in the last epoch. Solver produced non-finite parameter weights; lower "
                f"learning_rate_init (now {settings.peak:g}), or scale the input data"
            )

    def _accuracy(self, network, images, targets, samples):
        """Share of right answers, a thousand images at a time: validation images are not contiguous."""
        n_correct = 0
        for start in range(0, len(samples), 1000):
            part = samples[start : start + 1000]
            n_correct += np.sum(network.predict(images[part]).argmax(axis=1) == targets[part])
        return float(n_correct / len(samples))

    def _warn_of_interrupt(self, kept):
        warnings.warn(
            f"Training interrupted by user; {kept}. Another Ctrl-C within {AGAIN:g} seconds is not caught, "
            "so that what called fit can be stopped, too",
            stacklevel=3,
        )

    def _set_fitted(self, network, attributes):
        for name, value in attributes.items():
            setattr(self, name, value)
        self.n_layers_ = len(network.coefs) + 1
        self.n_outputs_ = network.out_shape[0]
        self.n_parameters_ = network.n_parameters
        self.out_activation_ = "softmax"
        self._attach(network)

    def summary(self):
        """Return a table of the layers: name, operation, output shape, number of weights.

        Returns
        -------
        str
        """
        check_is_fitted(self)
        return _architecture.summary(self._fitted_network().operations)

    def __sklearn_is_fitted__(self):
        return hasattr(self, "coefs_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags


def _copy_weights(arrays, values, name):
    """Copy fitted weights, which a user may have replaced, into those of a network."""
    if len(values) != len(arrays):
        raise ValueError(f"{name} must hold {len(arrays)} arrays, got {len(values)}")
    for i, (array, value) in enumerate(zip(arrays, values, strict=True)):
        if array is not None:
            if np.shape(value) != array.shape:
                raise ValueError(f"{name}[{i}] must have shape {array.shape}, got {np.shape(value)}")
            array[...] = value


def _copy_statistics(pairs, values):
    """Copy fitted means and variances into those of a network."""
    if len(values) != len(pairs):
        raise ValueError(f"statistics_ must hold {len(pairs)} pairs of mean and variance, got {len(values)}")
    for i, (pair, value) in enumerate(zip(pairs, values, strict=True)):
        if len(value) != 2:
            raise ValueError(f"statistics_[{i}] must be a pair of mean and variance, got {len(value)} arrays")
        _copy_weights(pair, value, f"statistics_[{i}]")


def _is_default(value, default):
    """Whether a parameter has its default, be it as a NumPy number or string."""
    return not isinstance(value, list | tuple | np.ndarray | bool | np.bool_) and bool(value == default)


def _channel_statistics(images):
    """Mean, and 1 / standard deviation (1 where a channel is constant), per channel."""
    mean, variance = channel_moments([images])
    deviation = np.sqrt(variance)
    # What rounding leaves of a constant channel is no scale, nor is what float32 cannot hold the reciprocal of.
    constant = deviation <= np.maximum(1e-7 * np.abs(mean), 1e-37)
    return mean.astype(np.float32), np.where(constant, 1, 1 / np.where(constant, 1, deviation)).astype(np.float32)
