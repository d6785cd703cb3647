"""Schedules, the plateau rule, the order of samples, step sizes: against their formulas and scikit-learn's solvers."""

import math
from itertools import pairwise

import numpy as np
import pytest
from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer

from skconv._network import Network
from skconv._operations import DenseProduct
from skconv.solvers import SCHEDULES, Settings, Stopping, ThreadChooser, epochs, learning_rates, shuffled

N = 1000


def settings(**changes):
    defaults = dict(
        solver="adam", schedule="constant", peak=0.001, power_t=0.5, alpha=0.0, momentum=0.9, nesterov=True,
        beta_1=0.9, beta_2=0.999, epsilon=1e-8,
    )  # fmt: skip
    return Settings(**defaults | changes)


def dense_network(n_inputs=5, n_units=3):
    network = Network([DenseProduct("output", (n_inputs,), (n_units,), "identity", True)], dtype="float64")
    network.initialize(np.random.RandomState(0))
    return network


# ---- schedules -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_rates_are_positive_and_scale_with_the_peak(schedule):
    rates = learning_rates(schedule, 0.01, np.arange(N), N)
    assert rates.shape == (N,) and rates.dtype == np.float64
    assert (rates > 0).all()
    assert rates.max() == pytest.approx(0.01, rel=1e-5)
    np.testing.assert_allclose(learning_rates(schedule, 0.03, np.arange(N), N), 3 * rates, rtol=1e-12)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("size", [1, 7, 300])
def test_rates_do_not_depend_on_the_stretches(schedule, size):
    whole = learning_rates(schedule, 0.01, np.arange(N), N)
    parts = [learning_rates(schedule, 0.01, np.arange(i, min(i + size, N)), N) for i in range(0, N, size)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("schedule", ["constant", "adaptive"])
def test_constant(schedule):
    np.testing.assert_array_equal(learning_rates(schedule, 0.5, np.arange(3), 3), [0.5] * 3)


def test_invscaling_divides_by_a_power_of_the_step():
    np.testing.assert_allclose(learning_rates("invscaling", 1.0, [0, 3, 99], N), [1, 1 / 2, 1 / 10])
    np.testing.assert_allclose(learning_rates("invscaling", 1.0, [0, 3, 99], N, power_t=1), [1, 1 / 4, 1 / 100])


def test_cosine_falls_to_zero_with_the_last_step():
    rates = learning_rates("cosine", 1.0, np.arange(N + 1), N)
    np.testing.assert_allclose(rates[[0, N // 2, N]], [1, 0.5, 0], atol=1e-15)
    assert (np.diff(rates) < 0).all()
    assert learning_rates("cosine", 1.0, [2 * N], N) == 0  # never up again


def test_one_cycle_rises_and_falls():
    """From peak / 25 to the peak at 30 % of the steps, and down to a 10,000th of the start."""
    rates = learning_rates("one_cycle", 1.0, np.arange(N + 1), N)
    assert rates[0] == pytest.approx(1 / 25)
    assert rates.argmax() == 0.3 * N and rates.max() == 1
    assert rates[-1] == pytest.approx(1e-4 / 25)
    assert (np.diff(rates[:301]) > 0).all() and (np.diff(rates[300:]) < 0).all()
    # Half-way up and down, a cosine is in the middle.
    assert rates[150] == pytest.approx((1 + 1 / 25) / 2)
    assert rates[650] == pytest.approx((1 + 1e-4 / 25) / 2)
    # No jump where the halves meet.
    assert np.abs(np.diff(rates)).max() < 0.01


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedule_of_one_step(schedule):
    (rate,) = learning_rates(schedule, 0.01, [0], 1)
    assert 0 < rate <= 0.01


# ---- stopping ------------------------------------------------------------------------------------------------------


def feed(stopping, values):
    return [stopping.update(value) for value in values]


def test_stopping_after_more_than_n_iter_no_change_values():
    stopping = Stopping(tol=0.1, n_iter_no_change=2, higher_is_better=False)
    # 0.95 is the best so far, but no improvement of tol: it counts as none.
    assert feed(stopping, [1.0, 0.95, 0.96]) == [(True, False), (True, False), (False, False)]
    assert feed(stopping, [0.5]) == [(True, False)]
    assert feed(stopping, [0.5, 0.6, 0.45]) == [(False, False), (False, False), (True, True)]
    assert stopping.n_without == 3
    stopping.restart()
    assert feed(stopping, [1, 1, 1]) == [(False, False), (False, False), (False, True)]


def test_stopping_on_scores_mirrors_losses():
    values = np.random.default_rng(0).normal(size=50)
    losses, scores = Stopping(0.01, 5, higher_is_better=False), Stopping(0.01, 5, higher_is_better=True)
    assert feed(losses, values) == feed(scores, -values)


def test_stopping_does_not_count_creeping():
    """Improvements that are each smaller than tol stop training, however many they are (as in MLPClassifier)."""
    stopping = Stopping(tol=0.1, n_iter_no_change=10, higher_is_better=True)
    assert [plateau for _, plateau in feed(stopping, np.arange(12) * 0.01)] == [False] * 11 + [True]


def test_stopping_with_nan_is_no_improvement():
    stopping = Stopping(0, 1, higher_is_better=True)
    assert feed(stopping, [0.5, math.nan, math.nan]) == [(True, False), (False, False), (False, True)]
    assert stopping.best == 0.5


# ---- order ---------------------------------------------------------------------------------------------------------


def test_shuffled_is_a_permutation_keyed_by_seed_and_epoch():
    samples = np.arange(100, 200)
    order = shuffled(samples, 3, 5)
    np.testing.assert_array_equal(np.sort(order), samples)
    np.testing.assert_array_equal(samples, np.arange(100, 200))
    np.testing.assert_array_equal(order, shuffled(samples, 3, 5))
    orders = [tuple(shuffled(samples, seed, epoch)) for seed in range(3) for epoch in range(3)]
    assert len(set(orders)) == 9


def test_shuffled_is_uniform():
    """Every sample comes first equally often: 4,000 draws of 10, a standard deviation of sqrt(4000 * 0.09) = 19."""
    first = [shuffled(np.arange(10), 0, epoch)[0] for epoch in range(4000)]
    assert np.abs(np.bincount(first, minlength=10) - 400).max() < 5 * 19


# ---- step sizes ----------------------------------------------------------------------------------------------------


def test_adam_rates_match_scikit_learn():
    """After n steps with gradient one, scikit-learn's Adam has moved by the sum of rate * m / (sqrt(v) + epsilon)."""
    adam = settings(peak=0.01)
    weight = [np.zeros(1)]
    optimizer = AdamOptimizer(weight, 0.01, 0.9, 0.999, 1e-8)
    position, m, v = 0.0, 0.0, 0.0
    for rate in adam.rates(0, 0, 20, 20):
        optimizer.update_params(weight, [np.ones(1)])
        m, v = 0.9 * m + 0.1, 0.999 * v + 0.001
        position -= rate * m / (math.sqrt(v) + 1e-8)
        assert position == pytest.approx(weight[0][0], rel=1e-12)


def test_adam_rates_go_on_from_remembered_moments():
    adam = settings(schedule="cosine")
    np.testing.assert_array_equal(adam.rates(5, 5, 10, 20), adam.rates(0, 0, 15, 20)[5:])
    # partial_fit: the schedule starts again, the moments do not.
    bias = np.sqrt(1 - 0.999 ** np.arange(6, 16)) / (1 - 0.9 ** np.arange(6, 16))
    np.testing.assert_allclose(adam.rates(5, 0, 10, 20), learning_rates("cosine", 0.001, np.arange(10), 20) * bias)


def test_sgd_rates_are_those_of_the_schedule():
    sgd = settings(solver="sgd", schedule="cosine")
    np.testing.assert_array_equal(sgd.rates(7, 0, 10, 20), learning_rates("cosine", 0.001, np.arange(10), 20))
    assert sgd.for_engine() == (0.0, 0.9, 0.0, 0.0, True, 0.0, 0.0)


@pytest.mark.parametrize(
    "solver, changes, optimizer",
    [
        ("adam", {}, lambda p: AdamOptimizer(p, 0.01, 0.9, 0.999, 1e-8)),
        ("adam", dict(beta_1=0.5, beta_2=0.9, epsilon=1e-3), lambda p: AdamOptimizer(p, 0.01, 0.5, 0.9, 1e-3)),
        ("sgd", {}, lambda p: SGDOptimizer(p, 0.01, "constant", 0.9, True)),
        ("sgd", dict(nesterov=False), lambda p: SGDOptimizer(p, 0.01, "constant", 0.9, False)),
        ("sgd", dict(momentum=0.0), lambda p: SGDOptimizer(p, 0.01, "constant", 0.0, True)),
    ],
)
@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_epochs_walk_as_scikit_learns_optimizers(solver, changes, optimizer, alpha):
    """Softmax regression in float64, written out, with scikit-learn's optimizer; 3 epochs in order, uneven batches."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(50, 5)), rng.integers(0, 3, size=50).astype(np.int32)
    network = dense_network()
    coef, intercept = network.coefs[0].copy(), network.intercepts[0].copy()
    reference = optimizer([coef, intercept])
    walk = epochs(
        network, X, y, np.arange(50), settings(solver=solver, peak=0.01, alpha=alpha, **changes),
        network.solver_state(), batch_size=16, max_iter=3, shuffle=False, seed=0,
    )  # fmt: skip
    for number, epoch in enumerate(walk):
        assert epoch.number == number
        for start in range(0, 50, 16):
            batch, target = X[start : start + 16], y[start : start + 16]
            z = batch @ coef + intercept
            p = np.exp(z - z.max(axis=1, keepdims=True))
            p /= p.sum(axis=1, keepdims=True)
            p[np.arange(len(batch)), target] -= 1
            gradients = [(batch.T @ p + alpha * coef) / len(batch), p.mean(axis=0)]
            reference.update_params([coef, intercept], gradients)
        # 12 steps of sums of 16 terms; Adam divides small numbers by small ones.
        np.testing.assert_allclose(network.coefs[0], coef, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(network.intercepts[0], intercept, rtol=1e-9, atol=1e-12)
    assert number == 2


# ---- the walk ------------------------------------------------------------------------------------------------------


def test_epochs_report_and_yield():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 5)), rng.integers(0, 3, size=40).astype(np.int32)
    network, reports = dense_network(), []
    state = network.solver_state()
    walk = epochs(
        network, X, y, np.arange(0, 40, 2), settings(peak=1e-12), state, batch_size=8, max_iter=2, shuffle=True, seed=0,
        report=lambda *args: reports.append(args),
    )  # fmt: skip
    results = list(walk)
    assert [result.number for result in results] == [0, 1]
    assert state.t == 6  # 20 samples in mini-batches of 8, twice
    assert [epoch for epoch, _ in reports] == sorted(epoch for epoch, _ in reports)
    assert reports[-1] == (1, 1.0)
    # The weights hardly moved: loss and accuracy are those of the samples that were asked for.
    z = network.predict(np.ascontiguousarray(X[::2]))
    log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    assert results[0].loss == pytest.approx(-log_p[np.arange(20), y[::2]].mean(), rel=1e-6)
    assert results[0].accuracy == np.mean(z.argmax(axis=1) == y[::2])


def test_peak_may_be_lowered_between_epochs():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 5)), rng.integers(0, 3, size=40).astype(np.int32)
    network, how = dense_network(), settings(solver="sgd", momentum=0.0, peak=0.1)
    walk = epochs(
        network, X, y, np.arange(40), how, network.solver_state(), batch_size=8, max_iter=2, shuffle=True, seed=0
    )
    next(walk)
    how.peak = 0.0
    before = network.weights.copy()
    next(walk)
    np.testing.assert_array_equal(network.weights, before)


class Recorder:
    """In place of a network: notes what it is told."""

    def __init__(self):
        self.rates, self.batches, self.epochs, self.threads = [], [], [], set()

    def train(self, X, targets, order, bounds, *, rates, epoch, n_threads, **_):
        assert len(rates) == len(bounds) - 1
        n_done = min(2, len(rates))  # a stretch of two mini-batches
        self.rates += list(rates[:n_done])
        self.batches += [tuple(order[a:b]) for a, b in pairwise(bounds[: n_done + 1])]
        self.epochs += [epoch] * n_done
        self.threads.add(n_threads)
        return n_done, 1.0, 1

    def n_training_threads(self, batch_size):
        return 4

    def solver_state(self):
        return type("State", (), dict(t=0))()


def test_epochs_walk_the_schedule_from_end_to_end():
    recorder, how = Recorder(), settings(solver="sgd", schedule="one_cycle")
    walk = epochs(
        recorder, None, None, np.arange(70), how, recorder.solver_state(), batch_size=8, max_iter=4, shuffle=True,
        seed=3, first_epoch=5,
    )  # fmt: skip
    assert len(list(walk)) == 4
    np.testing.assert_array_equal(recorder.rates, learning_rates("one_cycle", 0.001, np.arange(36), 36))
    assert recorder.threads == {1, 2, 3, 4}
    assert recorder.epochs == [5] * 9 + [6] * 9 + [7] * 9 + [8] * 9
    for epoch in range(4):
        batches = recorder.batches[9 * epoch : 9 * epoch + 9]
        assert [len(batch) for batch in batches] == [8] * 8 + [6]
        np.testing.assert_array_equal(np.concatenate(batches), shuffled(np.arange(70), 3, 5 + epoch))


def test_divergence_raises():
    X, y = np.full((8, 5), 1e30), np.arange(8, dtype=np.int32) % 3
    network = dense_network()
    walk = epochs(
        network, X, y, np.arange(8), settings(solver="sgd", peak=1e300), network.solver_state(), batch_size=4,
        max_iter=5, shuffle=False, seed=0,
    )  # fmt: skip
    with pytest.raises(
        ValueError, match=r"diverged in epoch \d: the loss is (nan|inf).*learning_rate_init \(now 1e\+300\)"
    ):
        list(walk)


def test_thread_chooser_tries_all_and_keeps_the_fastest():
    chooser, now, counts = ThreadChooser(8), 0.0, []
    for _ in range(200):
        count = chooser.choose(now)
        chooser.learn(count, {1: 8.0, 2: 4.0, 4: 3.0, 7: 2.0, 8: 30.0}[count])
        counts.append(count)
        now += 0.05
    assert sorted(set(counts[:5])) == [1, 2, 4, 7, 8]
    assert counts.count(7) > 185  # a neighbour every two seconds
    assert chooser.best == 7
    # The other process goes: a neighbour's trial finds it out.
    for _ in range(200):
        count = chooser.choose(now)
        chooser.learn(count, {1: 8.0, 2: 4.0, 4: 3.0, 7: 2.0, 8: 1.0}[count])
        now += 0.05
    assert chooser.best == 8


def test_thread_chooser_of_one_thread():
    chooser = ThreadChooser(1)
    assert [chooser.choose(now) for now in (0, 1, 5)] == [1, 1, 1]


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_no_moments_stay_among_the_denormal_numbers(solver, n_threads):
    """Where the gradient stays zero, momentum decays; it would stop at the smallest numbers of all, which are slow."""
    network = Network([DenseProduct("output", (40,), (3,), "identity", True)])
    network.initialize(np.random.RandomState(0))
    network.n_training_threads = lambda batch_size: n_threads
    state = network.solver_state()
    x, y = np.zeros((8, 40), np.float32), np.arange(8, dtype=np.int32) % 3  # no weight gets a gradient
    first = np.array(state.first, copy=False)
    first[...] = np.float32(1e-37)
    weights = network.coefs[0].size
    largest = []
    for _ in range(100):  # 1e-37 * 0.9**100 is 2.7e-42
        network.train(
            x, y, np.arange(8), np.array([0, 8]), state=state, solver=solver, rates=np.full(1, 1e-3),
            settings=(0.0, 0.9, 0.999, 1e-8, False),
        )  # fmt: skip
        largest.append(np.abs(first[:weights]).max())
    assert 0 < largest[0] < 1e-37 and largest[-1] == 0
    assert not any(0 < value < np.finfo(np.float32).tiny for value in largest)
    assert np.float32(1e-40) / np.float32(2) > 0  # elsewhere they are numbers as all others
