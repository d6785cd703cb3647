"""What classifier and regressor share: parameters, building, the course of a fit, the fitted network."""

import copy
import math

import numpy as np
from sklearn.metrics import check_scoring
from sklearn.utils import check_random_state
from sklearn.utils.validation import _get_feature_names

from . import _architecture
from ._callbacks import CallbackSupportMixin, FitTask, with_callbacks
from ._fitted import FittedNetwork
from ._geometry import check_bool, check_choice, check_int, check_real
from ._images import read_images, remember_images
from ._interrupts import AGAIN, deferred_interrupts, take_interrupt
from ._progress import Progress
from ._targets import check_sample_weight
from ._training import Course, Held, History, Judge, averaged, run_epochs, run_lbfgs
from ._warnings import warn_user
from .solvers import SCHEDULES, SOLVERS, Settings

# "auto": mini-batches of 32 while an epoch would have few steps, and epochs until the schedule has had its steps.
_SMALL_BATCH, _LARGE_BATCH, _SMALL_DATA = 32, 128, 10_000
_EPOCHS, _MOST_EPOCHS, _STEPS = 10, 100, 2_000
_LBFGS_ITERATIONS = 200
# Parameters that are bools.
_SWITCHES = ("standardize", "shuffle", "warm_start", "nesterovs_momentum", "early_stopping")
# Schedules without an end of their own: a plateau ends training.
_ENDLESS = ("constant", "invscaling", "adaptive")


def is_stochastic(estimator):
    """For `available_if`: whether `partial_fit` exists."""
    if estimator.solver == "lbfgs":
        raise AttributeError("partial_fit is only available for stochastic optimizers. lbfgs is not stochastic.")
    return True


class BaseCNN(CallbackSupportMixin, FittedNetwork):
    """Base of the networks as estimators. Subclasses have the constructor and know about targets:

    - ``_read_y(y, n_samples, what)``: y, checked, as an array;
    - ``_weigh(y, sample_weight, classes)``: weights of samples with those of classes, or None; `classes` that are known
      beside those of y, or None;
    - ``_strata(y)``: what a split for validation keeps the shares of, or None;
    - ``_new_codec(y, samples, sample_weight)``: what y means to the network, see `_targets`;
    - ``_first_codec(y, samples, sample_weight, classes)``: the same in the first call of `partial_fit`;
    - ``_continued_codec(y, what)``: from the fitted attributes, for `what` to go on with;
    - ``_fitted_codec()``: from the fitted attributes, to predict;
    - ``_codec_attributes(codec)``: the fitted attributes that belong to it;
    - ``_check_classes(classes)``: whether those of a later call of `partial_fit` are the same.
    """

    # ---- parameters --------------------------------------------------------------------------------------------

    def _settings(self):
        """Check the parameters that are independent of the data; return those of the solver."""
        for name in _SWITCHES:
            check_bool(getattr(self, name), name)
        if not isinstance(self.verbose, bool):
            check_int(self.verbose, "verbose", minimum=0)
        check_real(self.tol, "tol", 0, None)
        if self.n_iter_no_change != math.inf:
            check_int(self.n_iter_no_change, "n_iter_no_change", minimum=1)
        check_real(self.validation_fraction, "validation_fraction", 0, 1, inclusive="neither")
        check_choice(self.solver, "solver", (*SOLVERS, "lbfgs"))
        check_int(self.max_fun, "max_fun", minimum=1)
        l1_ratio = check_real(self.l1_ratio, "l1_ratio", 0, 1)
        if self.solver == "lbfgs":
            if l1_ratio:
                raise ValueError(
                    f"solver='lbfgs' needs a smooth penalty, got l1_ratio={l1_ratio:g}; use 'adam' or 'sgd'"
                )
            if self.augment is not None:
                raise ValueError(
                    "solver='lbfgs' sees the same images in every iteration, so augment must be None; use 'adam' or "
                    f"'sgd', got augment={self.augment!r}"
                )
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
            l1_ratio=l1_ratio,
            clip_norm=None
            if self.clip_norm is None
            else check_real(self.clip_norm, "clip_norm", 0, None, inclusive="neither"),
            ema_decay=None
            if self.ema_decay is None
            else check_real(self.ema_decay, "ema_decay", 0, 1, inclusive="neither"),
        )

    def _scorer(self):
        """What validation is judged by: a scorer, "loss", or None for accuracy or R2."""
        if self.scoring is None or (isinstance(self.scoring, str) and self.scoring == "loss"):
            return self.scoring
        if not (isinstance(self.scoring, str) or callable(self.scoring)):
            raise TypeError(f"scoring must be the name of one score, a callable or None, got {self.scoring!r}")
        return check_scoring(self, self.scoring)

    def _batch_size(self, n_samples):
        if self.solver == "lbfgs":
            return n_samples
        if isinstance(self.batch_size, str):
            check_choice(self.batch_size, "batch_size", ("auto",))
            return min(n_samples, _SMALL_BATCH if n_samples <= _SMALL_DATA else _LARGE_BATCH)
        batch_size = check_int(self.batch_size, "batch_size", minimum=1)
        if batch_size > n_samples:
            warn_user(f"batch_size={batch_size} is larger than the {n_samples} training samples; it is clipped")
        return min(batch_size, n_samples)

    def _n_epochs(self, n_samples, batch_size):
        if isinstance(self.max_iter, str):
            check_choice(self.max_iter, "max_iter", ("auto",))
            if self.solver == "lbfgs":
                return _LBFGS_ITERATIONS
            return _architecture.n_steps_to_epochs(n_samples, batch_size, _STEPS, _EPOCHS, _MOST_EPOCHS)
        return check_int(self.max_iter, "max_iter", minimum=1)

    def _generator(self):
        try:
            return check_random_state(self.random_state)
        except ValueError as error:
            raise ValueError(f"random_state={self.random_state!r}: {error}") from None

    # ---- training ----------------------------------------------------------------------------------------------

    def _hold_out(self, X, images, y, weights, seed, validation):
        """Sample numbers to train on, and what to validate on: the user's data, a part of X, or nothing."""
        samples = np.arange(len(images)) if weights is None else np.flatnonzero(weights)
        X_val, y_val, weight_val = validation
        if X_val is not None or y_val is not None:
            return samples, self._read_validation(X, images.shape[1:], *validation)
        if weight_val is not None:
            raise ValueError("sample_weight_val is given without X_val and y_val; give all three, or none")
        if not self.early_stopping or self.solver == "lbfgs":
            return samples, None
        from sklearn.model_selection import train_test_split

        strata = self._strata(y)
        counts = np.ones(1) if strata is None else np.bincount(strata[samples])
        counts = counts[counts > 0]
        n_validation = math.ceil(self.validation_fraction * len(samples))
        too_few = strata is not None and (
            counts.min() < 2 or n_validation < len(counts) or len(samples) - n_validation < len(counts)
        )
        if too_few or n_validation < 2 or len(samples) - n_validation < 1:
            what = (
                "at least 2 samples"
                if strata is None
                else f"at least 2 samples of each of the {len(counts)} classes and one of each on either side"
            )
            raise ValueError(
                f"early_stopping=True sets validation_fraction={self.validation_fraction} of {len(samples)} samples "
                f"aside, which needs {what}; give more data, another validation_fraction or X_val and y_val, or "
                "set early_stopping=False"
            )
        train, held = train_test_split(
            samples,
            test_size=self.validation_fraction,
            random_state=seed % 2**31,
            stratify=None if strata is None else strata[samples],
        )
        return train, Held(images, y, held, weights)

    def _read_validation(self, X, image_shape, X_val, y_val, weight_val):
        """Validation data of the user's own."""
        if X_val is None or y_val is None:
            missing, given = ("X_val", "y_val") if X_val is None else ("y_val", "X_val")
            raise ValueError(f"{given} is given without {missing}; validation needs both")
        if self.solver == "lbfgs":
            raise ValueError("X_val and y_val need solver='adam' or 'sgd', got solver='lbfgs', which does not validate")
        images = read_images(self, X_val, reset=True, image_shape=image_shape, spatial_ndim=self.spatial_ndim)
        names, names_val = (_get_feature_names(data) for data in (X, X_val))
        if names is not None and names_val is not None and not np.array_equal(names, names_val):
            raise ValueError(f"X_val must have the columns of X in their order, {list(names)}, got {list(names_val)}")
        if images.shape[1:] != image_shape:
            raise ValueError(f"X_val holds images of shape {images.shape[1:]}, but X those of shape {image_shape}")
        y_val = self._read_y(y_val, len(images), "y_val")
        weights = check_sample_weight(weight_val, len(images), "sample_weight_val")
        samples = np.arange(len(images)) if weights is None else np.flatnonzero(weights)
        return Held(images, y_val, samples, weights)

    @with_callbacks
    def fit(self, X, y, sample_weight=None, *, X_val=None, y_val=None, sample_weight_val=None):
        """Train the network.

        Parameters
        ----------
        X : array-like of shape ``(n_samples, *spatial[, n_channels])`` or (n_samples, n_features)
            Images, channels last. Any real dtype; uint8 stays uint8.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Labels of any kind, or a matrix of 0 and 1 with a column per label; for a regressor numbers.
        sample_weight : array-like of shape (n_samples,), default=None
            How much every sample counts, at least 0: in the loss, in the means and deviations of standardisation, and
            in filters that are found in data. Samples of weight 0 take no part. None: 1 each.
        X_val, y_val : array-like, default=None
            Data of your own to validate on after every epoch, of the same shapes. With `early_stopping` they take the
            place of a part of X and decide when to stop and which weights are kept; without it, they are watched only
            (`validation_scores_`). In a Pipeline: ``Pipeline(..., transform_input=["X_val"])``.
        sample_weight_val : array-like, default=None
            Weights of the validation samples in the score.

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
        return self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val))

    def _fit(self, X, y, sample_weight, validation):
        settings, scorer = self._settings(), self._scorer()
        task = FitTask(self, X, y, sample_weight)
        history, continues = History(), False
        try:
            images = self._read(X, reset=True)
            y = self._read_y(y, len(images), "y")
            weights = self._weigh(y, check_sample_weight(sample_weight, len(images)))
            rng = self._generator()
            seed = int(rng.randint(np.iinfo(np.int32).max))
            samples, held = self._hold_out(X, images, y, weights, seed, validation)
            continues = self.warm_start and self.__sklearn_is_fitted__()
            if continues:
                if images.shape[1:] != self.image_shape_:
                    raise ValueError(
                        f"warm_start continues a fit on images of shape {self.image_shape_}, got {images.shape[1:]}; "
                        "set warm_start=False to start anew"
                    )
                codec = self._continued_codec(y, "warm_start")
                network, attributes = self._continued(codec, "warm_start")
                history = History.of(self, held is not None)
            else:
                codec = self._new_codec(y, samples, weights)
                network, attributes = self._new_network(images, codec, samples, weights, rng)
                history = History(scores=None if held is None else [])
            history.by_score = held is not None and self.early_stopping
            batch_size = self._batch_size(len(samples))
            course = Course(
                network, images, codec.encode(y, network.dtype), samples, settings, codec.loss, weights, batch_size,
                self._n_epochs(len(samples), batch_size), self.shuffle, seed, history.n_before,
            )  # fmt: skip
            if held is not None:
                codec.encode(held.answers, network.dtype, "y_val")  # before the first epoch is over
            attributes |= self._codec_attributes(codec)
            progress = Progress(self.verbose, course.max_iter)
            progress.table(_architecture.summary(network.operations))
            progress.watch(network)
            task.begin(course.max_iter)
            if self.solver == "lbfgs":
                run_lbfgs(
                    course, history, progress, tol=self.tol, max_fun=self.max_fun, task=task,
                    attributes=lambda: vars(self._as_fitted(X, course, attributes | history.attributes())),
                )  # fmt: skip
            else:
                self._run(
                    course, history, progress, X, codec, held, scorer, attributes,
                    Judge(self.tol, self.n_iter_no_change, by_score=history.by_score),
                    state=network.solver_state(averages=settings.ema_decay is not None),
                    stops=self.early_stopping or settings.schedule in _ENDLESS, task=task,
                )  # fmt: skip
        except KeyboardInterrupt:
            take_interrupt()
            history.is_interrupted = True
        if history.is_interrupted and not history.n_new:
            self._warn_of_interrupt("no epoch had been finished, so the estimator is unchanged")
            return self
        with deferred_interrupts():  # from here on nothing fails: the fitted state changes as a whole
            for name in ("conv_layer_sizes_", "hidden_layer_sizes_", "stopped_", "_ongoing"):
                self.__dict__.pop(name, None)
            remember_images(self, X, images)
            self._set_fitted(network, attributes | history.attributes())
        task.end()
        if history.is_interrupted:
            self._warn_of_interrupt(f"the weights of epoch {len(history.losses)} are kept")
        return self

    def _as_fitted(self, X, course, attributes):
        """This estimator as it would be if training ended now."""
        estimator = copy.copy(self)
        remember_images(estimator, X, course.images)
        estimator._set_fitted(course.network.first(), attributes)
        return estimator

    def _run(self, course, history, progress, X, codec, held, scorer, attributes, judge, **options):
        """Train by a stochastic solver; return what `run_epochs` does."""
        network, state = course.network, options["state"]

        def fitted_attributes():
            with averaged(network, state):
                return vars(self._as_fitted(X, course, attributes | history.attributes()))

        def score():
            if scorer is None:
                return held.score(network, codec)
            if scorer == "loss":
                return held.loss(network, codec)
            estimator = self._as_fitted(X, course, attributes | history.attributes())
            estimator.__dict__.pop("feature_names_in_", None)  # the images have no names, and need no warning
            return held.scorer_score(scorer, estimator)

        return run_epochs(
            course, history, progress, judge=judge, score=None if held is None else score,
            attributes=fitted_attributes, **options,
        )  # fmt: skip

    def _partial_fit(self, X, y, sample_weight, validation, classes=None):
        settings, scorer = self._settings(), self._scorer()
        settings.schedule = "constant"
        if self.early_stopping and validation[0] is None:
            raise ValueError(
                "partial_fit does not support early_stopping=True without validation data: pass X_val and y_val, the "
                "same in every call"
            )
        is_first = not self.__sklearn_is_fitted__()
        if not is_first:
            self._check_classes(classes)
        images = self._read(X, reset=is_first)
        y = self._read_y(y, len(images), "y")
        classes = classes if is_first else getattr(self, "classes_", None)
        weights = self._weigh(y, check_sample_weight(sample_weight, len(images)), classes)
        rng = self._generator()
        seed = int(rng.randint(np.iinfo(np.int32).max))
        samples, held = self._hold_out(X, images, y, weights, seed, validation)
        if is_first:
            codec = self._first_codec(y, samples, weights, classes)
            network, attributes = self._new_network(images, codec, samples, weights, rng)
            history = History(scores=None if held is None else [])
        else:
            codec = self._continued_codec(y, "partial_fit")
            network, attributes = self._continued(codec, "partial_fit")
            history = History.of(self, held is not None)
            history.n_scores_before = 0
        history.by_score = held is not None and self.early_stopping
        state = network.solver_state(averages=settings.ema_decay is not None)
        judge = Judge(self.tol, self.n_iter_no_change, by_score=held is not None)
        ongoing = None if is_first else self.__dict__.get("_ongoing")
        if ongoing is not None:
            judge = self._resume(ongoing, network, state, judge)
        progress = Progress(self.verbose, 1)
        progress.watch(network)
        course = Course(
            network, images, codec.encode(y, network.dtype), samples, settings, codec.loss, weights,
            self._batch_size(len(samples)), 1, self.shuffle, seed, history.n_before,
        )  # fmt: skip
        if held is not None:
            codec.encode(held.answers, network.dtype, "y_val")  # before the epoch is over
        attributes |= self._codec_attributes(codec)
        own = self._run(
            course, history, progress, X, codec, held, scorer, attributes, judge, state=state, stops=False,
            takes_interrupts=False,
        )  # fmt: skip
        stopped = self.early_stopping and judge.is_plateau
        if stopped and judge.best is not None:  # no score was a number: the last weights
            network.restore(judge.best)
        attributes["stopped_"] = stopped
        # A call after a stop goes on from the best weights, and counts anew.
        attributes["_ongoing"] = (
            None if stopped else {"solver": self.solver, "state": state, "own": own, "judge": judge}
        )
        with deferred_interrupts():
            if is_first:
                remember_images(self, X, images)
            self._set_fitted(network, attributes | history.attributes())
        return self

    def _resume(self, ongoing, network, state, judge):
        """Go on with the moments and averages of the call before; return the judge. What is fitted stays as it is."""
        before = ongoing["state"]
        if ongoing["solver"] == self.solver:
            state.first[...], state.second[...], state.t = before.first, before.second, before.t
        # Weights that the user has replaced since are where both begin.
        if state.average is not None and np.array_equal(network.weights, before.average):
            state.average[...] = before.average
            network.weights[...] = ongoing["own"]
        if judge.by_score and ongoing["judge"].by_score:
            old, judge.best = ongoing["judge"].stopping, ongoing["judge"].best
            judge.stopping.best, judge.stopping.n_without = old.best, old.n_without
        return judge

    def _warn_of_interrupt(self, kept):
        warn_user(
            f"Training interrupted by user; {kept}. Another Ctrl-C within {AGAIN:g} seconds is not caught, "
            "so that what called fit can be stopped, too",
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags
