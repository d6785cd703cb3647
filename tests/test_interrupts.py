"""Ctrl-C during a fit, and forks: in processes of their own, which signals cannot hurt."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from skconv import _interrupts
from skconv._interrupts import deferred_interrupts, take_interrupt

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to other processes, no fork")

# A fit of hours, and a thread that presses Ctrl-C once the fit is where it should be: `press_when(lambda: condition)`.
# Conditions rather than delays: a busy machine is slow. While the thread looks, the fit is in the engine.
PREAMBLE = """
import os, pickle, signal, sys, threading, time, warnings
import numpy as np
from sklearn.datasets import load_digits
from skconv import CNNClassifier, _estimator

signal.signal(signal.SIGINT, signal.default_int_handler)  # shells ignore it for what they run in the background
X, y = load_digits(return_X_y=True)
LONG = dict(max_iter=10**6, conv_layer_sizes=(8,), hidden_layer_sizes=(16,), random_state=0)
SOON = 3  # seconds; a second is the promise to a machine that does nothing else
fits, pressed = [], []

class Watched(_estimator.Progress):
    def __init__(self, *args):
        super().__init__(*args)
        self.n_stretches = self.n_epochs = 0
        fits.append(self)

    def within(self, *args):
        self.n_stretches += 1

    def epoch(self, *args):
        self.n_epochs += 1

_estimator.Progress = Watched

def press_when(*conditions):
    def watch():
        for condition in conditions:
            while not condition():
                time.sleep(0.002)
            pressed.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGINT)
    threading.Thread(target=watch, daemon=True).start()

def big():
    images = np.random.default_rng(0).random((2000, 64, 64), dtype=np.float32)  # an epoch of many seconds
    return images, np.arange(2000) % 10
"""


@pytest.fixture(autouse=True)
def listening():
    """Ctrl-C raises, even if this process was told to ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def run(script, timeout=60):
    result = subprocess.run(
        [sys.executable, "-I", "-c", PREAMBLE + script], capture_output=True, text=True, timeout=timeout,
        env=os.environ | {"OMP_NUM_THREADS": "2", "PYTHONWARNINGS": "ignore"},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_first_interrupt_keeps_the_last_finished_epoch():
    run("""
press_when(lambda: fits and fits[-1].n_epochs >= 3)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    classifier = CNNClassifier(**LONG).fit(X, y)
assert time.monotonic() - pressed[0] < SOON
(warning,) = caught
n = classifier.n_iter_
assert f"the weights of epoch {n} are kept" in str(warning.message), warning.message
assert warning.filename == "<string>"
assert n >= 3 and len(classifier.loss_curve_) == n and classifier.t_ == n * len(X)
assert np.isfinite(classifier.predict_proba(X)).all()

# Exactly that epoch: a constant rate for as many epochs gives the same weights.
sys.modules["skconv._interrupts"]._last[0] = -float("inf")
fits.clear()
press_when(lambda: fits and fits[-1].n_epochs >= 5)
constant = dict(learning_rate="constant", tol=0, n_iter_no_change=10**6)
with warnings.catch_warnings(record=True):
    classifier = CNNClassifier(**LONG | constant).fit(X, y)
again = CNNClassifier(**LONG | constant | dict(max_iter=classifier.n_iter_)).fit(X, y)
assert again.loss_curve_ == classifier.loss_curve_
assert all(np.array_equal(a, b) for a, b in zip(again.coefs_, classifier.coefs_))
""")


@pytest.mark.parametrize("fitted", [False, True])
def test_interrupt_before_the_first_epoch_changes_nothing(fitted):
    run(f"""
classifier = CNNClassifier((2,), hidden_layer_sizes=(2,), max_iter=1, random_state=0)
if {fitted}:
    classifier.fit(X, y)
images, labels = big()
classifier.set_params(conv_layer_sizes=(64, 64))
before = pickle.dumps(classifier)
fits.clear()
press_when(lambda: fits and fits[-1].n_stretches >= 1)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    result = classifier.fit(images, labels)
assert result is classifier
assert time.monotonic() - pressed[0] < SOON
assert pickle.dumps(classifier) == before
assert "no epoch had been finished, so the estimator is unchanged" in str(caught[0].message)
""")


def test_second_interrupt_is_raised_in_the_next_fit():
    run("""
from sklearn.model_selection import GridSearchCV
press_when(lambda: fits and fits[0].n_epochs >= 1, lambda: len(fits) >= 2 and fits[1].n_epochs >= 1)
search = GridSearchCV(CNNClassifier(**LONG), {"alpha": [0.1, 0.2, 0.3]}, cv=2)
try:
    search.fit(X[:200], y[:200])
except KeyboardInterrupt:
    assert time.monotonic() - pressed[1] < SOON
else:
    raise AssertionError("the search went on")
assert len(fits) == 2
""")


def test_second_interrupt_leaves_the_model_and_the_handler():
    run("""
classifier = CNNClassifier((2,), hidden_layer_sizes=(2,), max_iter=1, random_state=0).fit(X, y)
before = pickle.dumps(classifier.set_params(max_iter=10**6))
sys.modules["skconv._interrupts"]._last[0] = time.monotonic()  # as if another fit had just been interrupted
fits.clear()
press_when(lambda: fits and fits[-1].n_epochs >= 1)
try:
    classifier.fit(X, y)
except KeyboardInterrupt:
    pass
else:
    raise AssertionError("the second interrupt was swallowed")
assert pickle.dumps(classifier) == before
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
""")


def test_interrupt_of_partial_fit_is_raised_and_changes_nothing():
    run("""
classifier = CNNClassifier((64, 64), hidden_layer_sizes=(), random_state=0)
images, labels = big()
press_when(lambda: fits and fits[-1].n_stretches >= 1)
try:
    classifier.partial_fit(images, labels, classes=np.arange(10))
except KeyboardInterrupt:
    assert time.monotonic() - pressed[0] < SOON
else:
    raise AssertionError("interrupt was swallowed")
assert vars(classifier) == classifier.get_params()
""")


def test_fit_in_a_thread_is_not_disturbed_by_the_handler():
    run("""
models = []
thread = threading.Thread(target=lambda: models.append(CNNClassifier(max_iter=2, random_state=0).fit(X, y)))
thread.start()
thread.join()
assert np.array_equal(models[0].coefs_[0], CNNClassifier(max_iter=2, random_state=0).fit(X, y).coefs_[0])
""")


def test_fit_after_fork_finishes():
    run("""
options = dict(conv_layer_sizes=(16,), batch_size=128, max_iter=2, random_state=0)
parent = CNNClassifier(**options).fit(X, y)  # two threads: OpenMP's team exists, and does not survive the fork
expected = parent.predict_proba(X)
child = os.fork()
if child == 0:
    signal.alarm(30)  # a deadlock ends here
    fitted = CNNClassifier(**options).fit(X, y)
    same = np.array_equal(fitted.predict_proba(X), expected) and np.array_equal(parent.predict_proba(X), expected)
    os._exit(0 if same else 3)
assert os.waitpid(child, 0)[1] == 0
assert np.array_equal(parent.fit(X, y).predict_proba(X), expected)
""")


# ---- the two rules -------------------------------------------------------------------------------------------------


@pytest.fixture
def forgotten(monkeypatch):
    monkeypatch.setattr(_interrupts, "_last", [-float("inf")])


def test_take_interrupt_raises_the_second_of_two_close_ones(forgotten, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(_interrupts.time, "monotonic", lambda: now[0])
    take_interrupt()
    now[0] += _interrupts.AGAIN + 0.1
    take_interrupt()
    now[0] += _interrupts.AGAIN - 0.1
    with pytest.raises(KeyboardInterrupt):
        take_interrupt()


def test_deferred_interrupts_run_the_block_to_its_end():
    done = []
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), deferred_interrupts():
        signal.raise_signal(signal.SIGINT)
        done.append(1)
    assert done == [1]
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(ValueError, match="of the block"), deferred_interrupts():
        raise ValueError("of the block")
    assert signal.getsignal(signal.SIGINT) is before


def test_deferred_interrupts_in_a_thread_and_where_they_are_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with deferred_interrupts():
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    seen = []

    def block():
        with deferred_interrupts():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=block)
    thread.start()
    thread.join()
    assert seen == [before]


def test_interrupt_within_one_long_mini_batch():
    """A mini-batch of many seconds is abandoned: the weights of the last finished epoch stay."""
    run("""
images, labels = big()
images = np.concatenate([images] * 8)
labels = np.concatenate([labels] * 8)
start = time.monotonic()
press_when(lambda: fits and time.monotonic() - start > 1.5)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    classifier = CNNClassifier(batch_size=len(images), random_state=0).fit(images, labels)
assert time.monotonic() - pressed[0] < SOON
assert not hasattr(classifier, "coefs_")
""")


def test_interrupt_of_a_staged_prediction_is_raised_and_forgotten():
    """A wide layer waits for all samples: what one thread gives up halfway must not be taken for a result."""
    run("""
from skconv._network import Network
from skconv._operations import DenseProduct
from skconv._plan import Plan

operations = [DenseProduct("wide", (1000,), (3000,), "relu", True), DenseProduct("out", (3000,), (2,), "tanh", True)]
network = Network(operations)
network.initialize(np.random.RandomState(0))
images = np.random.default_rng(0).random((2000, 1000), dtype=np.float32)
expected = network.predict(images)
plan = Plan(network.operations, network._segments, network._storage, n_threads=2)

def predict(times):
    x = np.broadcast_to(images, (times, 2000, 1000)).reshape(-1, 1000)
    out = np.empty((len(x), 2), dtype=np.float32)
    plan.engine.predict(x, out, n_threads=2, by_units=False, softmax=False)
    return out

begun = time.monotonic()
predict(2)
times = min(100, 2 + int(6 / (time.monotonic() - begun)))  # three seconds
soon = time.monotonic() + 0.3
press_when(lambda: time.monotonic() > soon)
try:
    predict(times)
except KeyboardInterrupt:
    pass
else:
    raise AssertionError("Ctrl-C was lost")
assert np.array_equal(predict(1), expected)
""")
