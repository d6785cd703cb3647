"""Every parameter of the two estimators: it does something, is refused where it is wrong, and is documented."""

import copy
import inspect
import math
import pickle
import re
import warnings

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.utils.validation import check_is_fitted

from skconv import CNNClassifier, CNNRegressor, Dense, MaxPool

X, Y = (values[:120] for values in load_digits(return_X_y=True))
ESTIMATORS = (CNNClassifier, CNNRegressor)
BOTH = pytest.mark.parametrize("Estimator", ESTIMATORS)
SMALL = dict(conv_layer_sizes=(4,), hidden_layer_sizes=(8,), max_iter=2, random_state=0)


def parameters_of(Estimator):
    return inspect.signature(Estimator).parameters


# ---- they do something ---------------------------------------------------------------------------------------------

# Two values that lead to different fits, and what else they need to.
LASTING = dict(max_iter=12, learning_rate="constant", tol=100.0)
EFFECTS = {
    "conv_layer_sizes": ((4,), (4, 4)),
    "activation": ("relu", "gelu"),
    "kernel_size": (3, 5),
    "stride": (1, 2),
    "padding": ("same", "valid"),
    "pool": ("max", "average"),
    "pool_size": (2, 4),
    "hidden_layer_sizes": ((8,), ()),
    "dropout": (0.0, 0.5),
    "layers": (None, [("fc", Dense(8))], dict(conv_layer_sizes="auto", hidden_layer_sizes="auto")),
    "image_shape": ((8, 8), (4, 16)),
    "spatial_ndim": (1, 2),
    "standardize": (True, False),
    "augment": (None, "shift"),
    "solver": ("adam", "sgd"),
    "alpha": (0.0, 1.0),
    "l1_ratio": (0.0, 1.0, dict(alpha=1.0)),
    "clip_norm": (None, 0.01, dict(solver="sgd")),
    "ema_decay": (None, 0.9),
    "batch_size": (16, 50),
    "learning_rate": ("one_cycle", "cosine"),
    "learning_rate_init": (0.001, 0.002),
    "power_t": (0.5, 0.25, dict(learning_rate="invscaling")),
    "max_iter": (2, 3),
    "max_fun": (2, 50, dict(solver="lbfgs", max_iter=20)),
    "shuffle": (True, False),
    "random_state": (0, 1),
    "tol": (0.0, 100.0, dict(max_iter=12, learning_rate="constant", n_iter_no_change=1)),
    "verbose": (0, 1),
    "warm_start": (False, True),
    "momentum": (0.0, 0.5, dict(solver="sgd")),
    "nesterovs_momentum": (True, False, dict(solver="sgd")),
    "early_stopping": (False, True, dict(validation_fraction=0.3)),
    "validation_fraction": (0.2, 0.4, dict(early_stopping=True)),
    "scoring": (None, "loss", dict(early_stopping=True, validation_fraction=0.3)),
    "beta_1": (0.5, 0.9),
    "beta_2": (0.9, 0.999),
    "epsilon": (1e-8, 1e-2),
    "n_iter_no_change": (1, 3, LASTING),
}
OWN_EFFECTS = {
    CNNClassifier: {
        "loss": ("log_loss", "squared_error"),
        "label_smoothing": (0.0, 0.2),
        "class_weight": (None, {0: 5.0}),
    },
    CNNRegressor: {
        "standardize_target": (True, False),
        "loss": ("squared_error", "absolute_error"),
        "delta": (1.0, 0.1, dict(loss="huber")),
    },
}


def effects_of(Estimator):
    return EFFECTS | OWN_EFFECTS[Estimator]


@BOTH
def test_every_parameter_is_tried(Estimator):
    assert set(effects_of(Estimator)) == set(parameters_of(Estimator))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "Estimator, name", [(Estimator, name) for Estimator in ESTIMATORS for name in effects_of(Estimator)]
)
def test_parameters_take_effect(Estimator, name, capsys):
    one, other, *options = effects_of(Estimator)[name]
    outcomes = []
    for value in (one, other):
        estimator = Estimator(**SMALL | (options[0] if options else {}) | {name: value}).fit(X, Y)
        if name == "warm_start":
            estimator.fit(X, Y)
        shown = re.sub(r"\d+\.\d\d s", "", capsys.readouterr().out)
        fitted = [array.tobytes() for array in estimator.coefs_]
        outcomes.append((fitted, estimator.loss_curve_, estimator.validation_scores_, shown))
    assert outcomes[0] != outcomes[1]
    # Each value alone is reproducible, so the difference is the parameter's.
    again = Estimator(**SMALL | (options[0] if options else {}) | {name: other}).fit(X, Y)
    if name == "warm_start":
        again.fit(X, Y)
    assert [array.tobytes() for array in again.coefs_] == outcomes[1][0]


# ---- they are refused where they are wrong -------------------------------------------------------------------------

BAD = [
    *[(name, value) for name in ("conv_layer_sizes", "hidden_layer_sizes") for value in (0, (4, 0), (2.5,), "many")],
    *[("conv_layer_sizes", value) for value in (True, None, (4, "a"), (2**40,), {4})],
    *[(name, value) for name in ("activation", "solver", "learning_rate") for value in ("bad", None, 1, ["relu"])],
    *[("kernel_size", value) for value in (0, -1, 2.5, "3", None, True, (3, 3, 3), (3, 0), 2**32)],
    *[("stride", value) for value in (0, 1.0, "1", (1, 2, 3))],
    *[("padding", value) for value in (-1, "zeros", 1.5, (1, 2, 3), None, 2**62)],
    *[("pool", value) for value in ("min", 2, MaxPool)],
    *[("pool_size", value) for value in (0, 2.0, "2", (2, 2, 2))],
    *[("dropout", value) for value in (1, -0.1, "half", math.nan, None)],
    *[("layers", value) for value in ("conv", 3, [MaxPool()], [("a",)], [(1, MaxPool())], {"a": MaxPool()})],
    *[("image_shape", value) for value in ((8, 8.0), "8x8", (8, 9), (8,), 64, (0, 8))],
    *[("spatial_ndim", value) for value in (0, 4, 2.0, "2", None, True)],
    *[
        (name, value)
        for name in ("standardize", "shuffle", "warm_start", "nesterovs_momentum", "early_stopping")
        for value in (0, 1, "yes", None)
    ],
    *[("augment", value) for value in ("bad", 1, True, ["shift"], {"shift": 8}, {"turn": 1}, {"rotation": "a"})],
    *[("alpha", value) for value in (-1, math.inf, "0", None)],
    *[("l1_ratio", value) for value in (-0.1, 1.5, "a", None)],
    *[("clip_norm", value) for value in (0, -1, "a", math.nan)],
    *[("ema_decay", value) for value in (0, 1, -0.1, "a")],
    *[("max_fun", value) for value in (0, 2.5, None)],
    *[("scoring", value) for value in ("best", 3)],
    *[("batch_size", value) for value in (0, -5, 2.5, "some", None, True)],
    *[("learning_rate_init", value) for value in (0, -1, math.nan, "0.1", None)],
    *[("power_t", value) for value in (-1, math.nan, "a")],
    *[("max_iter", value) for value in (0, -1, 2.5, "some", None)],
    *[("random_state", value) for value in (-1, 2.5, "seed", np.random.default_rng(0))],
    *[("tol", value) for value in (-1, math.nan, "a", None)],
    *[("verbose", value) for value in (-1, 2.5, "loud", None)],
    *[(name, value) for name in ("momentum", "beta_1", "beta_2") for value in (1, -0.1, "a", None, math.nan)],
    *[("validation_fraction", value) for value in (0, 1, -0.5, "a", None)],
    *[("epsilon", value) for value in (0, -1, "a", None)],
    *[("n_iter_no_change", value) for value in (0, -1, 2.5, "a", None)],
]
OWN_BAD = {
    CNNClassifier: [
        *[("loss", value) for value in ("hinge", None, 1, "absolute_error")],
        *[("label_smoothing", value) for value in (1, -0.1, "a", None)],
        *[("class_weight", value) for value in ("even", {0: -1})],
    ],
    CNNRegressor: [
        *[("loss", value) for value in ("log_loss", None, 1, "squared error")],
        *[("delta", value) for value in (0, -1, "a", None, math.nan, math.inf)],
        *[("standardize_target", value) for value in (0, 1, "yes", None)],
    ],
}


def bad_values(Estimator):
    return BAD + OWN_BAD[Estimator]


def state_of(estimator):
    """All that an estimator holds, as bytes: two states are equal where these are."""
    return {name: pickle.dumps(value) for name, value in estimator.__getstate__().items()}


@pytest.fixture(scope="module")
def fitted():
    return {Estimator: Estimator(**SMALL).fit(X, Y) for Estimator in ESTIMATORS}


@BOTH
def test_every_parameter_is_tried_with_bad_values(Estimator):
    assert {name for name, _ in bad_values(Estimator)} == set(parameters_of(Estimator))


@pytest.mark.parametrize(
    "Estimator, name, value",
    [(Estimator, name, value) for Estimator in ESTIMATORS for name, value in bad_values(Estimator)],
    ids=lambda value: re.sub(" at 0x.*", "", getattr(value, "__name__", repr(value))),
)
def test_bad_parameters_are_named_and_the_model_stays(fitted, Estimator, name, value):
    estimator = copy.deepcopy(fitted[Estimator])
    estimator.set_params(**{name: value})
    before = state_of(estimator)
    with pytest.raises((TypeError, ValueError), match=name):
        estimator.fit(X, Y)
    assert state_of(estimator) == before
    fresh = Estimator(**SMALL | {name: value})
    with pytest.raises((TypeError, ValueError), match=name):
        fresh.fit(X, Y)
    with pytest.raises(NotFittedError):
        check_is_fitted(fresh)


@pytest.mark.parametrize(
    "Estimator, name, value",
    [(Estimator, name, value) for Estimator in ESTIMATORS for name, value in OWN_BAD[Estimator]],
    ids=lambda value: getattr(value, "__name__", repr(value)),
)
def test_bad_parameters_are_named_by_partial_fit(Estimator, name, value):
    classes = dict(classes=np.arange(10)) if Estimator is CNNClassifier else {}
    fresh = Estimator(**SMALL | {name: value})
    with pytest.raises((TypeError, ValueError), match=name):
        fresh.partial_fit(X, Y, **classes)


# ---- they are documented -------------------------------------------------------------------------------------------


def documented(Estimator, section="Parameters"):
    """Name -> (type, description) of a section of a docstring, which may name several in a line."""
    text = re.split(r"\n(\w+)\n-+\n", inspect.getdoc(Estimator))
    body = dict(zip(text[1::2], text[2::2], strict=True))[section]
    found = {}
    for entry in re.split(r"\n(?=\S)", body.strip("\n")):
        head, _, description = entry.partition("\n")
        names, _, kind = head.partition(" : ")
        for name in names.split(", "):
            found[name] = (kind, inspect.cleandoc("\n" + description))
    return found


@BOTH
def test_every_parameter_has_a_line_with_its_default(Estimator):
    lines, parameters = documented(Estimator), parameters_of(Estimator)
    assert list(lines) == list(parameters)
    for name, (kind, description) in lines.items():
        assert ", default=" in kind, name
        given = kind.partition(", default=")[2]
        if name in ("beta_1", "beta_2"):  # in one line
            given = dict(zip(("beta_1", "beta_2"), given.split(", ")))[name]
        value = {"True": True, "False": False, "None": None}.get(given, given.strip('"'))
        default = parameters[name].default
        assert type(default)(value) == default if isinstance(default, int | float) else value == default, name
        assert description.endswith((".", "].", "]")), f"{name}: {description!r}"


# What differs between the two, beside what only one of them has.
DIFFERENT = {"dropout", "loss", "early_stopping", "scoring", "warm_start"}


def test_shared_parameters_are_documented_in_the_same_words():
    mine, other = (
        {name: (kind, re.sub(r" \[\d\]_", "", text)) for name, (kind, text) in documented(Estimator).items()}
        for Estimator in ESTIMATORS  # without the numbers of references
    )
    shared = set(mine) & set(other)
    assert {name for name in shared if mine[name] != other[name]} == DIFFERENT
    assert shared >= set(EFFECTS)
    # And of these, only the default, the words for the split, and the name of the score.
    assert mine["dropout"][1] == other["dropout"][1]
    assert mine["early_stopping"][1].replace(" (stratified where there is one class per sample)", "").split() == (
        other["early_stopping"][1].split()
    )
    assert mine["warm_start"][1].replace(" and classes", "").split() == other["warm_start"][1].split()
    score = mine["scoring"][1].replace("accuracy", "coefficient of determination").replace(" and label smoothing", "")
    assert score.split() == other["scoring"][1].split()
    for Estimator in ESTIMATORS:  # and in the same order, with the same defaults
        names = [name for name in parameters_of(Estimator) if name in EFFECTS]
        assert names == list(EFFECTS)
    different = {name for name in EFFECTS if len({parameters_of(E)[name].default for E in ESTIMATORS}) > 1}
    assert different == {"dropout"}


@BOTH
def test_every_fitted_attribute_is_documented(Estimator):
    estimator = Estimator(**SMALL | dict(early_stopping=True, validation_fraction=0.3))
    estimator.fit(X, Y)
    frame = pytest.importorskip("pandas").DataFrame(X).add_prefix("p")
    partly = Estimator(**SMALL).fit(frame, Y)
    partly.partial_fit(frame, Y)
    lines = documented(Estimator, "Attributes")
    fitted = {name for model in (estimator, partly) for name in vars(model) if name.endswith("_") and name[0] != "_"}
    # What rebuilds the network is plain data, but no promise.
    assert fitted - set(lines) <= {"architecture_"}
    assert set(lines) <= fitted


# ---- tools that look at them ---------------------------------------------------------------------------------------


@BOTH
def test_representations(Estimator):
    estimator = Estimator(alpha=0.5, layers=[("pool1", MaxPool(3))])
    assert repr(estimator) == f"{Estimator.__name__}(alpha=0.5, layers=[('pool1', MaxPool(kernel_size=3))])"
    for model in (estimator, Estimator(alpha=0.5, **SMALL).fit(X, Y)):
        html = model._repr_html_()
        assert Estimator.__name__ in html and "alpha" in html and model._repr_mimebundle_()["text/html"]
    assert "fitted" in Estimator(**SMALL).fit(X, Y)._repr_html_()


@BOTH
def test_tags(Estimator):
    tags = Estimator().__sklearn_tags__()
    assert tags.input_tags.three_d_array and tags.input_tags.two_d_array
    assert not tags.input_tags.sparse and not tags.input_tags.allow_nan
    assert tags.target_tags.required and not tags.no_validation
    if Estimator is CNNClassifier:
        assert tags.estimator_type == "classifier" and tags.classifier_tags.multi_label
        assert tags.classifier_tags.multi_class and not tags.target_tags.multi_output
    else:
        assert tags.estimator_type == "regressor" and tags.target_tags.multi_output
        assert tags.target_tags.single_output and not tags.target_tags.positive_only


@BOTH
def test_numbers_of_numpy_are_numbers(Estimator):
    """Of a grid search, for example."""
    plain = dict(alpha=0.01, batch_size=16, kernel_size=3, max_iter=2, n_iter_no_change=3, learning_rate_init=0.01)
    numpy = {name: np.float64(value) if isinstance(value, float) else np.int64(value) for name, value in plain.items()}
    numpy |= dict(shuffle=np.bool_(True), solver=np.str_("adam"), conv_layer_sizes=np.int32(4))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        mine, other = (Estimator(**SMALL | given).fit(X, Y) for given in (plain, numpy))
    for a, b in zip(mine.coefs_, other.coefs_, strict=True):
        np.testing.assert_array_equal(a, b)
