"""scikit-learn's callbacks: a task per fit, one per epoch inside it, and an estimator that predicts in every hook."""

import copy
import pickle
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skconv import CNNClassifier, CNNRegressor

callback = pytest.importorskip("sklearn.callback")  # scikit-learn 1.9

X, Y = (values[:120] for values in load_digits(return_X_y=True))
BOTH = pytest.mark.parametrize("Estimator", [CNNClassifier, CNNRegressor])


def small(Estimator, **parameters):
    defaults = dict(conv_layer_sizes=(4,), hidden_layer_sizes=(8,), max_iter=4, random_state=0)
    return Estimator(**defaults | parameters)


def quietly(estimator, *data, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.fit(*data, **options)


class Recorder:
    """Writes down what it is told; asks to stop after the epoch of number `last`."""

    def __init__(self, last=None):
        self.events, self.models, self.data, self.last = [], [], [], last

    def setup(self, estimator, context):
        self.events.append("setup")

    def teardown(self, estimator, context):
        self.events.append("teardown")

    def on_fit_task_begin(self, estimator, context, *, X=None, y=None, metadata=None):
        self.events.append(("begin", context.task_name, context.task_id, context.max_subtasks))
        self.data.append((X, y, metadata))

    def on_fit_task_end(self, estimator, context, *, X=None, y=None, metadata=None, fitted_estimator=None):
        self.events.append(("end", context.task_name, context.task_id))
        self.data.append((X, y, metadata))
        if fitted_estimator is not None:
            self.models.append(fitted_estimator)
        return context.task_name == "epoch" and context.task_id == self.last


def assert_same_model(a, b):
    for mine, other in zip([*a.coefs_, *a.intercepts_], [*b.coefs_, *b.intercepts_], strict=True):
        np.testing.assert_array_equal(mine, other)
    np.testing.assert_array_equal(a.predict(X), b.predict(X))


@BOTH
def test_tasks(Estimator):
    recorder = Recorder()
    weights = np.linspace(1, 2, 120)
    small(Estimator, max_iter=2).set_callbacks(recorder).fit(X, Y, sample_weight=weights)
    assert recorder.events == [
        "setup",
        ("begin", "fit", 0, 2),
        ("begin", "epoch", 0, 0),
        ("end", "epoch", 0),
        ("begin", "epoch", 1, 0),
        ("end", "epoch", 1),
        ("end", "fit", 0),
        "teardown",
    ]
    for images, y, metadata in recorder.data:
        assert images is X and y is Y  # as they were given
        assert list(metadata) == ["sample_weight"] and metadata["sample_weight"] is weights
    recorder = Recorder()
    small(Estimator, max_iter=2).set_callbacks(recorder).fit(X, Y)
    assert all(metadata is None for _, _, metadata in recorder.data)


@BOTH
@pytest.mark.parametrize("options", [{}, dict(ema_decay=0.9), dict(warm_start=True), dict(standardize=False)], ids=str)
def test_models_in_hooks_are_those_of_a_fit_that_ended_there(Estimator, options):
    """With a schedule that does not know its end, shorter fits are the beginning of longer ones."""
    options = dict(learning_rate="constant", n_iter_no_change=np.inf) | options
    recorder = Recorder()
    estimator = small(Estimator, **options).set_callbacks(recorder)
    if options.get("warm_start"):
        quietly(estimator, X, Y)
        n_before, recorder.models = 4, []
    else:
        n_before = 0
    quietly(estimator, X, Y)
    assert len(recorder.models) == 5  # four epochs, and the end of the fit
    assert_same_model(recorder.models[-1], estimator)
    for i, model in enumerate(recorder.models[:4], start=1):
        shorter = small(Estimator, **options)
        if n_before:
            quietly(shorter, X, Y)
        quietly(shorter.set_params(max_iter=i), X, Y)
        assert_same_model(model, shorter)
        assert model.n_iter_ == n_before + i == len(model.loss_curve_)  # nor do later epochs change what was handed out
        assert model.loss_curve_ == shorter.loss_curve_ and model.t_ == shorter.t_
        assert model.loss_ == shorter.loss_ and model.best_loss_ == shorter.best_loss_
        assert model.n_features_in_ == 64 and model.image_shape_ == (8, 8, 1)
        assert_same_model(pickle.loads(pickle.dumps(model)), model)


@BOTH
def test_a_model_in_a_hook_is_its_own(Estimator):
    """Neither it nor the estimator sees what the other does."""
    recorder = Recorder()
    estimator = small(Estimator).set_callbacks(recorder).fit(X, Y)
    plain = small(Estimator).fit(X, Y)
    assert_same_model(estimator, plain)  # to be watched changes nothing
    predicted = estimator.predict(X)
    for model in recorder.models[:-1]:
        for coef in model.coefs_:
            coef[...] = 0
        model.loss_curve_.clear()
    np.testing.assert_array_equal(estimator.predict(X), predicted)
    assert len(estimator.loss_curve_) == 4


@BOTH
@pytest.mark.parametrize("last", [0, 2, 3])
def test_a_callback_may_ask_to_stop(Estimator, last, capsys):
    recorder = Recorder(last)
    # Any warning is an error here: none says that training has not converged.
    estimator = small(Estimator, learning_rate="constant", verbose=1).set_callbacks(recorder).fit(X, Y)
    assert estimator.n_iter_ == last + 1
    assert "stopped: a callback asked for it" in capsys.readouterr().out
    assert recorder.events[-3:] == [("end", "epoch", last), ("end", "fit", 0), "teardown"]
    assert_same_model(recorder.models[-1], estimator)
    assert_same_model(recorder.models[-2], estimator)


@BOTH
def test_a_stop_with_early_stopping_keeps_the_best_weights(Estimator):
    """Scores given by hand: the second epoch is the best one."""
    scores = iter([0.1, 0.9, 0.3, 0.2])
    recorder = Recorder(last=2)
    estimator = small(Estimator, early_stopping=True, scoring=lambda *data: next(scores))
    estimator.set_callbacks(recorder).fit(X, np.arange(120) % 2)
    assert estimator.n_iter_ == 3 and estimator.best_validation_score_ == 0.9
    for mine, other in zip(estimator.coefs_, recorder.models[1].coefs_, strict=True):
        np.testing.assert_array_equal(mine, other)
    assert [model.validation_scores_ for model in recorder.models] == [[0.1], [0.1, 0.9], [0.1, 0.9, 0.3]] + [
        [0.1, 0.9, 0.3]
    ]


@BOTH
def test_iterations_of_lbfgs_are_tasks(Estimator):
    recorder = Recorder()
    estimator = quietly(small(Estimator, solver="lbfgs").set_callbacks(recorder), X, Y)
    tasks = [event[:2] for event in recorder.events if isinstance(event, tuple)]
    epochs = [("begin", "epoch"), ("end", "epoch")] * estimator.n_iter_
    assert tasks == [("begin", "fit"), *epochs, ("end", "fit")]
    assert recorder.events[0] == "setup" and recorder.events[-1] == "teardown"
    assert_same_model(recorder.models[-1], estimator)
    for n_iter, model in enumerate(recorder.models[:-1], start=1):
        assert_same_model(model, quietly(small(Estimator, solver="lbfgs", max_iter=n_iter), X, Y))


@BOTH
def test_a_stop_ends_lbfgs(Estimator):
    recorder = Recorder(last=1)
    estimator = small(Estimator, solver="lbfgs").set_callbacks(recorder).fit(X, Y)  # without a ConvergenceWarning
    assert estimator.n_iter_ == 2
    assert_same_model(estimator, quietly(small(Estimator, solver="lbfgs", max_iter=2), X, Y))


@BOTH
def test_callbacks_are_torn_down_after_an_error(Estimator):
    class Breaks(Recorder):
        def on_fit_task_end(self, estimator, context):
            raise RuntimeError("of the callback")

    recorder = Breaks()
    estimator = small(Estimator).set_callbacks(recorder)
    with pytest.raises(RuntimeError, match="of the callback"):
        estimator.fit(X, Y)
    assert recorder.events[-1] == "teardown" and not hasattr(estimator, "coefs_")
    recorder = Recorder()
    estimator = small(Estimator, solver="sgd", learning_rate_init=1e30).set_callbacks(recorder)
    with pytest.raises(ValueError, match="diverged"):
        estimator.fit(X, Y)
    assert recorder.events[-1] == "teardown"
    # Nor does a refused parameter begin anything.
    recorder = Recorder()
    with pytest.raises(ValueError, match="alpha"):
        small(Estimator, alpha=-1).set_callbacks(recorder).fit(X, Y)
    assert recorder.events == []


def test_scoring_monitor_logs_every_epoch():
    monitor = callback.ScoringMonitor(scoring=["accuracy", "neg_log_loss"])
    classifier = small(CNNClassifier).set_callbacks(monitor).fit(X, Y)
    rows = monitor.get_logs().data
    epochs = [row for row in rows if row["task_name"] == "epoch"]
    assert [row["task_id"] for row in epochs] == [0, 1, 2, 3]
    assert epochs[-1]["accuracy"] == classifier.score(X, Y)
    assert epochs[-1]["neg_log_loss"] > epochs[0]["neg_log_loss"]
    assert len({row["neg_log_loss"] for row in epochs}) == 4
    # By weights, too.
    weights = np.where(Y == 0, 100.0, 1.0)
    classifier.fit(X, Y, sample_weight=weights)
    rows = monitor.get_logs().data
    last = [row for row in rows if row["task_name"] == "epoch"][-1]
    assert last["accuracy"] == classifier.score(X, Y, sample_weight=weights)


def test_scoring_monitor_of_a_regressor():
    monitor = callback.ScoringMonitor(scoring="r2")
    regressor = small(CNNRegressor).set_callbacks(monitor).fit(X, Y)
    epochs = [row for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert epochs[-1]["r2"] == pytest.approx(regressor.score(X, Y), abs=1e-12)


@BOTH
def test_progress_bar(Estimator, capsys):
    pytest.importorskip("rich")
    estimator = small(Estimator).set_callbacks(callback.ProgressBar()).fit(X, Y)
    assert f"{Estimator.__name__} - fit" in capsys.readouterr().out
    assert estimator.n_iter_ == 4
    # Training that ends before its time ends the bar.
    estimator = small(Estimator, max_iter=100).set_callbacks(callback.ProgressBar(), Recorder(last=1)).fit(X, Y)
    assert "100%" in capsys.readouterr().out


@BOTH
def test_callbacks_survive_clone_and_copies(Estimator):
    recorder = Recorder()
    estimator = small(Estimator, max_iter=1).set_callbacks(recorder)
    clone(estimator).fit(X, Y)
    assert recorder.events[0] == "setup"
    copied = copy.deepcopy(estimator).fit(X, Y)
    restored = pickle.loads(pickle.dumps(estimator)).fit(X, Y)
    assert copied._skl_callbacks[0].events and restored._skl_callbacks[0].events
    n_events = len(recorder.events)
    estimator.set_callbacks().fit(X, Y)
    assert len(recorder.events) == n_events
    with pytest.raises(TypeError, match="callbacks"):
        estimator.set_callbacks(3)


def test_callbacks_in_a_grid_search():
    monitor = callback.ScoringMonitor(scoring="accuracy")
    search = GridSearchCV(small(CNNClassifier, max_iter=2).set_callbacks(monitor), {"alpha": [0.1, 1.0]}, cv=2)
    search.fit(X, Y % 3)
    epochs = [row for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert len(epochs) == 2 * (2 * 2 + 1)  # two epochs of two candidates in two folds, and of the best one
    assert search.best_estimator_.n_iter_ == 2


def test_a_progress_bar_reaches_into_a_pipeline(capsys):
    pytest.importorskip("rich")
    pipeline = make_pipeline(small(CNNClassifier, max_iter=2))
    pipeline.set_callbacks(callback.ProgressBar(max_propagation_depth=None)).fit(X, Y)
    out = capsys.readouterr().out
    assert "Pipeline - fit" in out and "CNNClassifier - fit" in out
