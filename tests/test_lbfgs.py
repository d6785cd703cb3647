"""L-BFGS: objective and gradient are scikit-learn's, and its weights are where scikit-learn's end."""

import math
import warnings
from inspect import signature
from itertools import pairwise

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor
from threadpoolctl import threadpool_limits

import reference
import skconv._lbfgs as lbfgs
from builders import convolution, pool
from skconv import BatchNorm, Conv2DTransformer, Dense, Flatten, MaxPool
from skconv._architecture import bind
from skconv._lbfgs import minimize_lbfgs
from skconv._losses import Loss
from skconv._network import Network
from skconv._operations import DenseProduct, Drop, Reshape
from test_losses import CASES, draw_targets

OPTIONS = dict(loss=Loss(), sample_weight=None, alpha=0.0, max_iter=30, max_fun=1000, tol=1e-6, report=None)


def dense_network(sizes, activation="tanh", **options):
    operations = [
        DenseProduct(f"dense{i}", (a,), (b,), activation if i < len(sizes) - 2 else "identity", True)
        for i, (a, b) in enumerate(pairwise(sizes))
    ]
    network = Network(operations, dtype="float64", **options)
    network.initialize(np.random.RandomState(0))
    return network


def digits():
    X, y = load_digits(return_X_y=True)
    return X / 16, y.astype(np.int32)


def same_weights(mlp, network):
    """Give a network the weights of a fitted MLP."""
    for mine, its in zip([*network.coefs, *network.intercepts], [*mlp.coefs_, *mlp.intercepts_], strict=True):
        mine[...] = its


def fitted(model, X, y):
    with warnings.catch_warnings(), threadpool_limits(1):  # a crowd of BLAS threads takes ten times as long
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X, y)


@pytest.mark.parametrize(
    ("loss", "make"),
    [
        (Loss(), lambda **options: MLPClassifier(**options)),
        (Loss("binary_log_loss"), lambda **options: MLPClassifier(**options)),
        (Loss("squared_error"), lambda **options: MLPRegressor(**options)),
    ],
)
def test_identity_of_the_objective_with_scikit_learns(loss, make):
    """Loss and gradient for the same weights, from MLPClassifier's own function; several pieces, uneven."""
    rng = np.random.default_rng(0)
    X, y = digits()
    if not loss.takes_labels:
        y = draw_targets(rng, loss, len(X), 1 if loss.name == "squared_error" else 3)
    labels = y.ravel() if y.shape[1:] == (1,) else y
    mlp = fitted(make(hidden_layer_sizes=(13,), activation="tanh", alpha=0.7, solver="lbfgs", max_iter=3), X, labels)
    goal = np.eye(10)[y] if loss.takes_labels else y
    layers = [64, 13, goal.shape[1]]
    activations = mlp._forward_pass([X, *(np.empty((len(X), n)) for n in layers[1:])])
    arguments = {"sample_weight": None} if "sample_weight" in signature(mlp._backprop).parameters else {}  # since 1.7
    expected, coef_grads, intercept_grads = mlp._backprop(
        X, goal, activations=activations, deltas=[np.empty_like(a) for a in activations[1:]],
        coef_grads=[np.empty_like(a) for a in mlp.coefs_],
        intercept_grads=[np.empty_like(a) for a in mlp.intercepts_], **arguments,
    )  # fmt: skip

    network = dense_network(layers)
    same_weights(mlp, network)
    objective = lbfgs._Objective(network, X, y, np.arange(len(X)), loss, None, 0.7)
    assert len(objective.bounds) > 3
    value, gradient = objective(objective.vector())
    assert value == pytest.approx(expected, rel=1e-12)
    mine = np.concatenate([array.ravel() for pair in zip(coef_grads, intercept_grads) for array in pair])
    np.testing.assert_allclose(gradient, mine, rtol=1e-9, atol=1e-13)


def test_reaches_scikit_learns_loss_and_reports():
    X, y = digits()
    mlp = fitted(MLPClassifier((16,), activation="tanh", alpha=1.0, solver="lbfgs", max_iter=400, random_state=0), X, y)
    network, reports = dense_network([64, 16, 10]), []
    result = minimize_lbfgs(
        network, X, y, np.arange(len(X)),
        **OPTIONS | dict(alpha=1.0, max_iter=400, max_fun=15000, tol=1e-4, report=lambda *args: reports.append(args)),
    )  # fmt: skip
    # Two local minima of the same function: the same level, not the same weights.
    assert result.loss == pytest.approx(mlp.loss_, rel=0.2)
    assert np.mean(network.predict(X).argmax(axis=1) == y) > 0.99
    assert reports == list(enumerate(result.losses, start=1))
    assert result.n_iter == len(result.losses) and result.n_evaluations >= result.n_iter
    assert (np.diff(result.losses) <= 0).all() and result.loss == result.losses[-1]
    assert result.converged and not result.interrupted and result.message


def test_softmax_regression_is_the_one_minimum():
    from sklearn.linear_model import LogisticRegression

    X, y = digits()
    network = dense_network([64, 10])
    result = minimize_lbfgs(
        network, X, y, np.arange(len(X)), **OPTIONS | dict(alpha=2.0, max_iter=1000, max_fun=2000, tol=1e-7)
    )
    other = fitted(LogisticRegression(C=0.5, tol=1e-10, max_iter=2000), X, y)
    # scipy stops where a step gains less than 2e-9 of the loss.
    np.testing.assert_allclose(network.coefs[0], other.coef_.T, atol=5e-3)
    proba = network.predict(X, softmax=True)
    np.testing.assert_allclose(proba, other.predict_proba(X), atol=2e-3)
    expected, _ = reference.softmax_cross_entropy(network.predict(X), y)
    penalty = 2.0 / 2 / len(X) * np.square(network.coefs[0]).sum()
    assert result.loss == pytest.approx(expected + penalty, rel=1e-12)


@pytest.mark.parametrize("loss", CASES, ids=str)
def test_every_loss_falls(loss):
    rng = np.random.default_rng(0)
    X, _ = digits()
    X, targets = X[:200], draw_targets(rng, loss, 200, 3)
    network = dense_network([64, 8, 3])
    result = minimize_lbfgs(network, X, targets, np.arange(200), **OPTIONS | dict(loss=loss))
    assert result.losses[-1] < 0.95 * result.losses[0] or loss.label_smoothing == 1
    assert result.loss == pytest.approx(network.loss_and_gradient(X, targets, loss=loss)[0], rel=1e-12)


@pytest.mark.parametrize("weights", ["integers", "large"])
def test_weights_are_repetitions(weights):
    """Integer weights as samples repeated, zero as absent, whatever their size: the same objective to rounding."""
    rng = np.random.default_rng(0)
    X, y = digits()
    samples = np.arange(1, 1500, 2)
    counts = rng.integers(0, 4, len(X))
    factor = 1 if weights == "integers" else 1e6
    network = dense_network([64, 16, 10])
    ours = lbfgs._Objective(network, X, y, samples, Loss(), factor * counts.astype(float), factor * 1.0)
    other = lbfgs._Objective(network, X, y, np.repeat(samples, counts[samples]), Loss(), None, 1.0)
    assert not set(ours.samples) & set(np.flatnonzero(counts == 0))
    (value, gradient), (expected, slopes) = ours(ours.vector()), other(other.vector())
    assert value == pytest.approx(expected, rel=1e-13)
    np.testing.assert_allclose(gradient, slopes, rtol=1e-10, atol=1e-15)


def test_objective_numerically_with_weights_and_penalty():
    rng = np.random.default_rng(0)
    X, targets, weights = rng.normal(size=(30, 5)), rng.normal(size=(30, 2)), rng.uniform(0, 2, 30)
    network = dense_network([5, 4, 2])
    objective = lbfgs._Objective(network, X, targets, np.arange(0, 30, 2), Loss("huber"), weights, 0.8)
    vector = objective.vector()
    _, gradient = objective(vector)
    expected = reference.numerical_gradient(lambda at: objective(at)[0], vector)
    np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-8)


def test_same_bits_for_any_number_of_threads():
    X, y = digits()
    results = []
    for n_threads in (1, 3, 4):
        network = dense_network([64, 32, 10])
        network.n_training_threads = lambda batch_size, n=n_threads: n
        result = minimize_lbfgs(network, X, y, np.arange(len(X)), **OPTIONS)
        results.append(np.append(network.weights, result.loss))
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)


def test_pieces_change_rounding_only(monkeypatch):
    X, y = digits()
    network = dense_network([64, 16, 10])
    values = []
    for piece in (1, 100, 512, 5000):
        monkeypatch.setattr(lbfgs, "PIECE_SAMPLES", piece)
        objective = lbfgs._Objective(network, X, y, np.arange(len(X)), Loss(), None, 0.5)
        assert max(np.diff(objective.bounds)) == min(piece, len(X))
        values.append(np.append(*objective(objective.vector())[::-1]))
    for other in values[1:]:
        np.testing.assert_allclose(other, values[0], rtol=1e-9, atol=1e-15)


def mixed_network(rng):
    """Convolutions with groups and connections, one of which does not learn, pooling, dense layers."""
    connections = rng.random((4, 6)) < 0.5
    conv1 = convolution((8, 8, 1), 4, "relu", options={"trainable": False}, kernel_size=3, padding="same")
    pool1 = pool(conv1.out_shape, kernel_size=2)
    conv2 = convolution(pool1.out_shape, 6, "tanh", options={"connections": connections}, kernel_size=3)
    conv3 = convolution(conv2.out_shape, 4, "gelu", options={"groups": 2}, kernel_size=2)
    flat = Reshape("flat", conv3.out_shape, (4,))
    network = Network(
        [conv1, pool1, conv2, conv3, flat, DenseProduct("output", (4,), (3,), "identity", True)], dtype="float64"
    )
    network.initialize(np.random.RandomState(0))
    return network, connections


def test_only_what_learns_moves():
    rng = np.random.default_rng(0)
    network, connections = mixed_network(rng)
    X, y = rng.normal(size=(40, 8, 8, 1)), rng.integers(0, 3, 40).astype(np.int32)
    before = network.weights.copy()
    result = minimize_lbfgs(network, X, y, np.arange(40), **OPTIONS | dict(alpha=0.1))
    assert result.loss < 0.9 * result.losses[0]
    inside = np.zeros(len(before), bool)
    for i, (coef, old) in enumerate(zip(network.coefs, network.arrays_of(before)[0])):
        assert np.array_equal(coef, old) == (i == 0)
    for segment, operation in network.weighted_operations():
        for start, n in ((segment.coef, segment.n_coef), (segment.intercept, segment.n_intercepts)):
            inside[start : start + n] = operation.learns
    np.testing.assert_array_equal(network.weights[~inside], before[~inside])
    assert not (network.coefs[1] * ~connections).any()


def normalising_network():
    layers = [
        ("conv1", Conv2DTransformer(4, 3, padding="same", activation="identity")),
        ("norm1", BatchNorm(activation="relu", momentum=0.99)),
        ("pool1", MaxPool(2)),
        ("flat", Flatten()),
        ("norm2", BatchNorm(momentum=0.0)),
        ("output", Dense(10, activation="identity")),
    ]
    network = Network(bind(layers, (8, 8, 1)), dtype="float64")
    network.initialize(np.random.RandomState(0))
    return network


def test_statistics_are_those_of_all_samples():
    X, y = digits()
    X = X.reshape(-1, 8, 8, 1)[:700]
    y, samples = y[:700], np.arange(0, 700, 2)
    network = normalising_network()
    result = minimize_lbfgs(network, X, y, samples, **OPTIONS)
    part, targets = np.ascontiguousarray(X[samples]), y[samples]
    # One mini-batch: its mean and unbiased variance, and so what follows; the loss is the one that normalises by it.
    conv = Network(network.operations[:1], dtype="float64")
    conv.coefs[0][...], conv.intercepts[0][...] = network.coefs[0], network.intercepts[0]
    values = conv.predict(part).reshape(-1, 4)
    np.testing.assert_allclose(network.statistics[0][0], values.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(network.statistics[0][1], values.var(axis=0, ddof=1), rtol=1e-9)
    loss, _ = network.loss_and_gradient(part, targets, training=True)
    assert result.loss == pytest.approx(loss, rel=1e-12)
    assert result.loss < 0.1
    # In prediction nearly the same: the unbiased variance differs by one in 350.
    assert network.loss_and_gradient(part, targets)[0] == pytest.approx(loss, rel=0.2)


@pytest.mark.parametrize("normalises", [False, True])
def test_ctrl_c_keeps_the_last_iteration(normalises):
    X, y = digits()
    X, y = X[:300], y[:300]
    make = normalising_network if normalises else lambda: dense_network([64, 16, 10])
    X = X.reshape(-1, 8, 8, 1) if normalises else X
    short, interrupted = make(), make()
    expected = minimize_lbfgs(short, X, y, np.arange(300), **OPTIONS | dict(max_iter=4))

    def press(n_iter, loss):
        if n_iter == 4:
            raise KeyboardInterrupt

    result = minimize_lbfgs(interrupted, X, y, np.arange(300), **OPTIONS | dict(report=press))
    assert result.interrupted and not result.converged
    assert result.losses == expected.losses and result.n_iter == expected.n_iter == 4
    np.testing.assert_array_equal(interrupted.weights, short.weights)
    for mine, its in zip(interrupted.statistics, short.statistics):
        np.testing.assert_array_equal(mine, its)


def test_ctrl_c_inside_an_evaluation_keeps_the_last_iteration(monkeypatch):
    X, y = digits()
    network, seen = dense_network([64, 16, 10]), []
    train, calls = network.train, []

    def pressed(*args, **options):
        calls.append(None)
        if len(calls) == 30:  # four pieces each
            raise KeyboardInterrupt
        return train(*args, **options)

    monkeypatch.setattr(network, "train", pressed)
    result = minimize_lbfgs(
        network, X, y, np.arange(len(X)),
        **OPTIONS | dict(report=lambda n_iter, loss: seen.append(network.weights.copy())),
    )  # fmt: skip
    assert result.interrupted and result.n_iter == len(seen) > 2
    np.testing.assert_array_equal(network.weights, seen[-1])


def test_limits():
    X, y = digits()
    start = dense_network([64, 16, 10]).weights
    for changes, expected in ((dict(max_iter=0), 0), (dict(max_iter=3), 3), (dict(tol=1e9), 0)):
        network = dense_network([64, 16, 10])
        result = minimize_lbfgs(network, X, y, np.arange(len(X)), **OPTIONS | changes)
        assert result.n_iter == len(result.losses) == expected
        assert np.array_equal(network.weights, start) == (expected == 0)
        assert math.isfinite(result.loss)
        assert result.converged == ("tol" in changes)
    network = dense_network([64, 16, 10])
    result = minimize_lbfgs(network, X, y, np.arange(len(X)), **OPTIONS | dict(max_fun=5))
    assert 5 <= result.n_evaluations < 30 and not result.converged


def test_loss_that_is_no_number_is_refused_or_survived():
    X, _ = digits()
    with pytest.raises(ValueError, match=r"loss of the first weights is (inf|nan).*scale them.*StandardScaler"):
        minimize_lbfgs(
            dense_network([64, 3]),
            X * 1e3,
            np.ones((len(X), 3)),
            np.arange(len(X)),
            **OPTIONS | dict(loss=Loss("poisson")),
        )
    # The first steps of the line search overflow; what is kept does not.
    rng = np.random.default_rng(0)
    X, targets = 20 * rng.normal(size=(50, 5)), rng.poisson(3.0, (50, 1)).astype(float)
    network = dense_network([5, 1])
    network.coefs[0][...] = 0
    result = minimize_lbfgs(network, X, targets, np.arange(50), **OPTIONS | dict(loss=Loss("poisson")))
    assert math.isfinite(result.loss) and np.isfinite(network.weights).all()
    assert result.loss <= network.loss_and_gradient(X, targets, loss=Loss("poisson"))[0] * (1 + 1e-12)


def test_networks_that_draw_are_refused():
    X, y = digits()
    operations = [Drop("drop", (64,), (64,), 0.5), DenseProduct("output", (64,), (10,), "identity", True)]
    with pytest.raises(ValueError, match="no dropout"):
        minimize_lbfgs(Network(operations, dtype="float64"), X, y, np.arange(9), **OPTIONS)
    with pytest.raises(ValueError, match="float64"):
        minimize_lbfgs(Network(operations[1:]), X, y, np.arange(9), **OPTIONS)
    with pytest.raises(ValueError, match="positive sum, got 0"):
        minimize_lbfgs(dense_network([64, 10]), X, y, np.arange(9), **OPTIONS | dict(sample_weight=np.zeros(len(X))))


def test_nothing_to_learn():
    operation = DenseProduct("output", (64,), (10,), "identity", True, trainable=False)
    network = Network([operation], dtype="float64")
    network.initialize(np.random.RandomState(0))
    X, y = digits()
    before = network.weights.copy()
    result = minimize_lbfgs(network, X, y, np.arange(len(X)), **OPTIONS)
    assert result.converged and result.n_iter == 0 and math.isfinite(result.loss)
    np.testing.assert_array_equal(network.weights, before)
