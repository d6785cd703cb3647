"""scikit-learn's callbacks (since 1.9), where they exist: a task per fit, and a task per epoch inside it."""

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # scikit-learn before 1.9: nothing to call

    class CallbackSupportMixin:
        """An estimator without callbacks."""

    def with_callbacks(method):
        """The method as it is."""
        return method


class FitTask:
    """The hooks of one fit; calls nothing where scikit-learn has no callbacks.

    Parameters
    ----------
    estimator : estimator
    X, y : array-like
        As the user gave them.
    sample_weight : array-like or None
    """

    def __init__(self, estimator, X, y, sample_weight=None):
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        self.estimator = estimator
        self.data = {"X": X, "y": y, "metadata": metadata}
        self.task = self.epoch = None

    def begin(self, max_iter):
        """The fit begins; it has `max_iter` epochs at most."""
        if hasattr(self.estimator, "_init_callback_context"):
            self.task = self.estimator._init_callback_context(max_subtasks=max_iter)
            self.task.call_on_fit_task_begin(estimator=self.estimator, **self.data)

    def begin_epoch(self):
        """An epoch begins."""
        if self.task is not None:
            self.epoch = self.task.subcontext(task_name="epoch")
            self.epoch.call_on_fit_task_begin(estimator=self.estimator, **self.data)

    def end_epoch(self, attributes):
        """An epoch ends; `attributes` is a function that returns the fitted attributes as they would be now.

        Returns
        -------
        bool
            Whether a callback asks to stop.
        """
        if self.epoch is None:
            return False
        epoch, self.epoch = self.epoch, None
        return bool(
            epoch.call_on_fit_task_end(estimator=self.estimator, reconstruction_attributes=attributes, **self.data)
        )

    def end(self):
        """The fit ends, and the estimator has its attributes."""
        if self.task is not None:
            self.task.call_on_fit_task_end(estimator=self.estimator, reconstruction_attributes={}, **self.data)
