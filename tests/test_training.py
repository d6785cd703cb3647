"""How CNNClassifier trains: warm starts, partial_fit, stopping, schedules, divergence, what it prints."""

import copy
import pickle
import re

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from skconv import CNNClassifier, Conv2DTransformer, Dense

DIGITS, LABELS = load_digits(return_X_y=True)
X, Y = DIGITS[:200], LABELS[:200]


def small(**parameters):
    defaults = dict(conv_layer_sizes=(4,), hidden_layer_sizes=(8,), max_iter=3, random_state=0)
    return CNNClassifier(**defaults | parameters)


def assert_same_weights(a, b):
    for mine, other in zip([*a.coefs_, *a.intercepts_], [*b.coefs_, *b.intercepts_], strict=True):
        np.testing.assert_array_equal(mine, other)


def assert_unchanged_by(classifier, call, error, message):
    before = pickle.dumps(classifier)
    with pytest.raises(error, match=message):
        call(classifier)
    assert pickle.dumps(classifier) == before


# ---- reproducibility -----------------------------------------------------------------------------------------------


def test_random_state_fixes_everything():
    first = small(early_stopping=True).fit(X, Y)
    assert_same_weights(small(early_stopping=True).fit(X, Y), first)
    assert_same_weights(first.fit(X, Y), small(early_stopping=True).fit(X, Y))
    other = small(random_state=1).fit(X, Y)
    assert not np.array_equal(other.coefs_[0], small().fit(X, Y).coefs_[0])
    generator = np.random.RandomState(0)
    by_generator = [small(random_state=generator).fit(X, Y) for _ in range(2)]
    assert not np.array_equal(by_generator[0].coefs_[0], by_generator[1].coefs_[0])


def test_random_state_none_differs():
    a, b = (small(random_state=None).fit(X, Y) for _ in range(2))
    assert not np.array_equal(a.coefs_[0], b.coefs_[0])


def test_shuffle_false_takes_samples_in_order():
    in_order, shuffled = small(shuffle=False).fit(X, Y), small().fit(X, Y)
    assert not np.array_equal(in_order.coefs_[0], shuffled.coefs_[0])
    # One mini-batch per epoch: without dropout, order has nothing to change but rounding.
    options = dict(batch_size=200, dropout=0, max_iter=3)
    in_order, shuffled = small(shuffle=False, **options).fit(X, Y), small(**options).fit(X, Y)
    np.testing.assert_allclose(in_order.loss_curve_, shuffled.loss_curve_, rtol=1e-5)


def test_dropout_is_drawn_anew_in_every_epoch():
    still = dict(learning_rate_init=1e-30, alpha=0, shuffle=False, dropout=0.5)  # only dropout moves the loss
    assert len(set(small(**still).fit(X, Y).loss_curve_)) == 3
    classifier = small(**still)
    for _ in range(3):
        classifier.partial_fit(X, Y, classes=np.arange(10))
    assert len(set(classifier.loss_curve_)) == 3
    assert len(set(small(**still | dict(dropout=0)).fit(X, Y).loss_curve_)) == 1


def test_history():
    classifier = small().fit(X, Y)
    assert classifier.n_iter_ == len(classifier.loss_curve_) == 3
    assert classifier.t_ == 3 * 200
    assert classifier.loss_ == classifier.loss_curve_[-1]
    assert classifier.best_loss_ == min(classifier.loss_curve_)
    assert classifier.validation_scores_ is None and classifier.best_validation_score_ is None
    assert classifier.n_layers_ == 4 and classifier.n_outputs_ == 10 and classifier.out_activation_ == "softmax"
    weights = [*classifier.coefs_, *classifier.intercepts_]
    assert classifier.n_parameters_ == sum(array.size for array in weights)
    assert all(type(loss) is float for loss in classifier.loss_curve_)


def test_first_weights_from_filters():
    filters = np.random.default_rng(0).normal(size=(4, 3, 3, 1))
    layers = [("conv", Conv2DTransformer(4, filters=filters))]
    classifier = CNNClassifier(layers=layers, max_iter=1, learning_rate_init=1e-30, alpha=0).fit(X, Y)
    np.testing.assert_array_equal(classifier.coefs_[0], np.moveaxis(filters, 0, -1).astype(np.float32))


def test_weights_decay():
    light, heavy = small(alpha=0).fit(X, Y), small(alpha=100.0).fit(X, Y)
    assert all(np.linalg.norm(h) < np.linalg.norm(w) for h, w in zip(heavy.coefs_, light.coefs_, strict=True))


@pytest.mark.parametrize("n_samples, batches", [(100, 4), (10_001, 79)])
def test_auto_batch_size_and_epochs(n_samples, batches):
    images, y = np.zeros((n_samples, 1, 1)), np.arange(n_samples) % 2
    classifier = CNNClassifier((), hidden_layer_sizes=(), dropout=0).fit(images, y)
    assert classifier.n_iter_ == min(100, max(10, -(-2000 // batches)))


def test_batch_size_larger_than_the_data_warns():
    with pytest.warns(UserWarning, match="batch_size=1000 is larger than the 200 training samples") as caught:
        clipped = small(batch_size=1000).fit(X, Y)
    assert caught[0].filename == __file__
    assert_same_weights(clipped, small(batch_size=200).fit(X, Y))


# ---- warm_start ----------------------------------------------------------------------------------------------------


def test_warm_start_goes_on():
    classifier = small(warm_start=True).fit(X, Y)
    first = copy.deepcopy(classifier)
    classifier.fit(X, Y)
    assert classifier.n_iter_ == 6 and classifier.t_ == 1200
    assert classifier.loss_curve_[:3] == first.loss_curve_
    assert classifier.loss_curve_[3] < first.loss_curve_[0]
    # Neither order nor dropout of the first epochs is repeated: from the same weights, those give another fourth epoch.
    repeated = copy.deepcopy(first)
    repeated.loss_curve_, repeated.n_iter_ = [], 0
    repeated.fit(X, Y)
    assert repeated.loss_curve_[0] != classifier.loss_curve_[3]


def test_warm_start_from_a_tiny_rate_keeps_weights():
    classifier = small(warm_start=True).fit(X, Y)
    before = copy.deepcopy(classifier)
    classifier.set_params(learning_rate_init=1e-30, alpha=0).fit(X, Y)
    assert_same_weights(classifier, before)


def test_warm_start_takes_new_parameters_that_change_no_sizes():
    classifier = small(warm_start=True).fit(X, Y)
    classifier.set_params(dropout=0.0, activation="tanh", learning_rate_init=1e-30, alpha=0).fit(X, Y)
    assert "tanh" in classifier.summary() and "drop" not in classifier.summary()
    assert_same_weights(pickle.loads(pickle.dumps(classifier)), classifier)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(classifier)).predict_proba(X), classifier.predict_proba(X))


@pytest.mark.parametrize(
    "changes, images, y, message",
    [
        ({}, X[:, :49], Y, "images of shape"),
        ({}, X, Y + 1, "classes"),
        ({}, X, np.where(Y == 9, 8, Y), "classes"),
        (dict(conv_layer_sizes=(5,)), X, Y, "weights of shapes .* parameters now ask for"),
        (dict(kernel_size=5), X, Y, "weights of shapes"),
        (dict(standardize=False), X, Y, "standardize"),
    ],
)
def test_warm_start_with_something_else_raises(changes, images, y, message):
    classifier = small(warm_start=True).fit(X, Y).set_params(**changes)
    assert_unchanged_by(classifier, lambda model: model.fit(images, y), ValueError, message)


# ---- partial_fit ---------------------------------------------------------------------------------------------------


def test_partial_fit_learns():
    classifier = small(conv_layer_sizes=(8,), hidden_layer_sizes=(32,), learning_rate_init=0.005)
    for _ in range(15):
        for start in range(0, 1200, 300):
            batch = slice(start, start + 300)
            classifier.partial_fit(DIGITS[batch], LABELS[batch], classes=np.arange(10))
    assert classifier.score(DIGITS[1200:], LABELS[1200:]) > 0.85
    assert classifier.n_iter_ == 60 and classifier.t_ == 15 * 1200


def test_partial_fit_keeps_ongoing_over_a_pickle():
    straight, pickled = small(), small()
    for start in (0, 50, 100):
        part = slice(start, start + 50)
        straight.partial_fit(X[part], Y[part], classes=np.arange(10))
        pickled = pickle.loads(pickle.dumps(pickled.partial_fit(X[part], Y[part], classes=np.arange(10))))
    assert_same_weights(straight, pickled)
    forgetful = small().partial_fit(X[:50], Y[:50], classes=np.arange(10))
    for start in (50, 100):
        del forgetful._ongoing
        forgetful.partial_fit(X[start : start + 50], Y[start : start + 50])
    assert not np.array_equal(forgetful.coefs_[0], straight.coefs_[0])


def test_partial_fit_with_another_solver_starts_its_ongoing_anew():
    classifier = small().partial_fit(X, Y, classes=np.arange(10))
    forgetful = copy.deepcopy(classifier)
    del forgetful._ongoing
    for model in (classifier, forgetful):
        model.set_params(solver="sgd").partial_fit(X, Y)
    assert_same_weights(classifier, forgetful)


def test_partial_fit_keeps_statistics_of_the_first_call():
    classifier = small().partial_fit(X, Y, classes=np.arange(10))
    mean, scale = classifier.input_mean_.copy(), classifier.input_scale_.copy()
    np.testing.assert_allclose(mean, X.mean(), rtol=1e-6)
    classifier.partial_fit(3 * X + 5, Y)
    np.testing.assert_array_equal(classifier.input_mean_, mean)
    np.testing.assert_array_equal(classifier.input_scale_, scale)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_partial_fit_rate_is_constant():
    """One epoch of the constant schedule, whatever `learning_rate` and `max_iter` say."""
    fitted = small(max_iter=1, learning_rate="constant").fit(X, Y)
    assert_same_weights(small(max_iter=7).partial_fit(X, Y, classes=np.arange(10)), fitted)


def test_partial_fit_rules_about_classes():
    classifier = small()
    assert_unchanged_by(classifier, lambda model: model.partial_fit(X, Y), ValueError, "classes must be passed")
    classifier.partial_fit(X[:50], np.zeros(50, dtype=int), classes=[2, 1, 0, 1])
    np.testing.assert_array_equal(classifier.classes_, [0, 1, 2])
    classifier.partial_fit(X[:50], np.full(50, 2), classes=[0, 1, 2])
    for y, classes, message in [
        (np.full(50, 3), None, r"labels that are not in classes: \[3\]"),
        (np.zeros(50), [0, 1], "not the same as on the first call"),
        (np.full(50, 0.5), None, "Unknown label type"),
    ]:
        assert_unchanged_by(
            classifier, lambda model, y=y, c=classes: model.partial_fit(X[:50], y, classes=c), ValueError, message
        )


def test_partial_fit_after_fit_goes_on():
    classifier = small().fit(X, Y)
    losses = list(classifier.loss_curve_)
    classifier.partial_fit(X, Y)
    assert classifier.loss_curve_[:3] == losses and classifier.n_iter_ == 4
    assert_unchanged_by(
        classifier.set_params(conv_layer_sizes=(5,)), lambda model: model.partial_fit(X, Y), ValueError, "weights of"
    )
    # fit starts anew, and forgets the moments.
    assert not hasattr(classifier.fit(X, Y), "_ongoing")


def test_partial_fit_with_early_stopping_raises():
    classifier = small(early_stopping=True)
    assert_unchanged_by(
        classifier, lambda model: model.partial_fit(X, Y, classes=np.arange(10)), ValueError, "early_stopping"
    )


# ---- stopping ------------------------------------------------------------------------------------------------------


def test_early_stopping_restores_the_best_weights():
    fell = False
    for seed in range(4):
        # The rate is too large: scores fall again, and the last weights are not the best.
        classifier = small(
            conv_layer_sizes=(8,), hidden_layer_sizes=(32,), early_stopping=True, validation_fraction=0.3, max_iter=90,
            n_iter_no_change=5, learning_rate="constant", learning_rate_init=0.02, random_state=seed,
        ).fit(X, Y)  # fmt: skip
        scores = classifier.validation_scores_
        assert len(scores) == classifier.n_iter_ < 90
        assert classifier.best_validation_score_ == max(scores)
        assert classifier.best_loss_ is None
        # The split can be made again: its seed is the first draw.
        drawn = int(np.random.RandomState(seed).randint(np.iinfo(np.int32).max))
        _, validation = train_test_split(np.arange(len(Y)), test_size=0.3, random_state=drawn, stratify=Y)
        assert classifier.score(X[validation], Y[validation]) == max(scores)
        fell = fell or scores[-1] < max(scores)
    assert fell


def test_early_stopping_stops_where_nothing_improves():
    options = dict(early_stopping=True, max_iter=50, n_iter_no_change=3, learning_rate_init=1e-30, alpha=0)
    assert small(**options).fit(X, Y).n_iter_ == 1 + 4  # the first epoch is the best; 4 are more than 3
    # Any improvement of less than tol is none.
    assert small(**options | dict(learning_rate_init=0.01, tol=2.0)).fit(X, Y).n_iter_ == 1 + 4


@pytest.mark.parametrize("y", [np.r_[0, np.ones(199, dtype=int)], np.arange(200) // 2])
def test_early_stopping_with_too_few_of_a_class_raises(y):
    with pytest.raises(ValueError, match="early_stopping=True sets validation_fraction=0.1 of 200 samples aside"):
        small(early_stopping=True).fit(X, y)


@pytest.mark.parametrize("learning_rate", ["constant", "adaptive", "one_cycle", "cosine", "invscaling"])
def test_plateau_rule_acts_where_schedules_have_no_end(learning_rate, capsys):
    classifier = small(
        learning_rate=learning_rate, max_iter=40, n_iter_no_change=2, tol=100.0, learning_rate_init=1e-3, verbose=1
    ).fit(X, Y)
    stopped = "stopped: no improvement of more than tol=100 in 2 epochs" in capsys.readouterr().out
    if learning_rate in ("constant", "invscaling"):
        assert classifier.n_iter_ == 1 + 3 and stopped
    elif learning_rate == "adaptive":
        # The rate is divided by 5 until it is below 1e-6, five times; after the first plateau every third epoch.
        assert classifier.n_iter_ == 1 + 3 * 6 and stopped
    else:
        assert classifier.n_iter_ == 40 and not stopped


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_schedules_differ_and_learn():
    losses = {}
    for schedule in ("one_cycle", "cosine", "constant", "invscaling", "adaptive"):
        for solver, rate in (("adam", 0.003), ("sgd", 0.05)):
            classifier = small(
                learning_rate=schedule, solver=solver, learning_rate_init=rate, max_iter=20, dropout=0, power_t=0.2
            ).fit(X, Y)
            assert classifier.loss_ < 0.7 * classifier.loss_curve_[0], (schedule, solver)
            losses[schedule, solver] = classifier.loss_
    assert losses.pop(("adaptive", "adam")) == losses["constant", "adam"]  # no plateau so early
    assert losses.pop(("adaptive", "sgd")) == losses["constant", "sgd"]
    assert len(set(losses.values())) == len(losses)


# ---- divergence ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize("options", [{}, dict(max_iter=1, batch_size=200), dict(early_stopping=True)])
@pytest.mark.parametrize("rate", [1e20, 1e300])
def test_divergence_raises_and_the_model_stays(solver, options, rate):
    classifier = small().fit(X, Y).set_params(solver=solver, learning_rate_init=rate, **options)
    message = "diverged.*lower learning_rate_init"
    assert_unchanged_by(classifier, lambda model: model.fit(X, Y), ValueError, message)
    if not options:
        assert_unchanged_by(classifier, lambda model: model.partial_fit(X, Y), ValueError, message)
    np.testing.assert_allclose(classifier.predict_proba(X).sum(axis=1), 1, rtol=1e-6)


# ---- output --------------------------------------------------------------------------------------------------------


def test_verbose(capsys):
    small().fit(X, Y)
    assert capsys.readouterr() == ("", "")
    small(verbose=1, early_stopping=True).fit(X, Y)
    lines = capsys.readouterr().out.splitlines()
    pattern = r"epoch +\d/3  loss \d+\.\d{4}  accuracy [01]\.\d{4}  validation [01]\.\d{4}  \d+\.\d\d s *"
    assert len(lines) == 3 and all(re.fullmatch(pattern, line) for line in lines)
    small(verbose=2).fit(X, Y)
    out = capsys.readouterr().out
    for word in (
        "conv1",
        "convolution 3x3, relu",
        "8 x 8 x 4",
        "pool1",
        "dense1",
        "output",
        "total",
        "train loss",
        "dur",
    ):
        assert word in out
    small(verbose=True).partial_fit(X, Y, classes=np.arange(10))
    assert capsys.readouterr().out.count("epoch   1/1") == 1


def test_summary():
    classifier = CNNClassifier(layers=[("fc", Dense(5))], max_iter=1).fit(X, Y)
    assert classifier.summary().splitlines()[1].split() == ["fc", "dense", "product,", "relu", "5", "325"]
