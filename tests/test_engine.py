"""Which instruction set, how many threads: in processes of their own, because both are decided once. Below, how samples
pass the first layers."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest

from builders import convolution, pool
from skconv import _engine
from skconv._losses import Loss
from skconv._network import Network

DIGEST = """
import hashlib
import numpy as np
from sklearn.datasets import load_digits
from skconv import CNNClassifier, _engine

X, y = load_digits(return_X_y=True)
classifier = CNNClassifier((16,), batch_size=128, max_iter=1, random_state=0).fit(X[:640], y[:640])
digest = hashlib.sha256(classifier.predict_proba(X).tobytes())
print(_engine.effective_n_threads(), digest.hexdigest())
"""


def run(script, **environment):
    """Run a script with some environment variables set; None removes one."""
    changed = {**os.environ, **environment}
    return subprocess.run(
        # -I: the current folder may be the repository, whose sources are not compiled.
        [sys.executable, "-I", "-c", script], capture_output=True, text=True, timeout=120,
        env={name: value for name, value in changed.items() if value is not None},
    )  # fmt: skip


def output_of(script, **environment):
    result = run(script, **environment)
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


def test_available_isas_are_ordered_and_hold_the_chosen_one():
    isas = _engine.available_isas()
    assert isas[0] == "baseline"
    assert list(isas) == [name for name in ("baseline", "avx2", "avx512") if name in isas]
    assert _engine.isa() in isas
    for name in isas:
        for dtype in ("float32", "float64"):
            assert "skconv._engine.kernels" in repr(_engine.kernels(dtype, name))


@pytest.mark.parametrize("isa", _engine.available_isas())
def test_skconv_isa_forces_an_instruction_set(isa):
    script = "from skconv import _engine; print(_engine.isa())"
    assert output_of(script, SKCONV_ISA=isa) == [isa]


@pytest.mark.parametrize("unset", ["", None])
def test_best_instruction_set_is_the_default(unset):
    script = "from skconv import _engine; print(_engine.isa(), *_engine.available_isas())"
    chosen, *available = output_of(script, SKCONV_ISA=unset)
    assert chosen == available[-1] and tuple(available) == _engine.available_isas()


@pytest.mark.parametrize("name", ["avx1024", "AVX2", "0", "baseline "])
def test_unknown_instruction_set_is_an_import_error_with_choices(name):
    result = run("from skconv import CNNClassifier", SKCONV_ISA=name)
    assert result.returncode == 1
    message = f"ImportError: SKCONV_ISA={name!r} is not available here; choose one of baseline"
    assert message in result.stderr and _engine.available_isas()[-1] in result.stderr


def test_instruction_sets_agree_within_rounding():
    script = """
import numpy as np
from skconv import Conv2DTransformer
X = np.random.default_rng(0).normal(size=(2, 9, 9, 5))
print(*Conv2DTransformer(7, random_state=0).fit_transform(X).ravel())
"""
    results = [[float(value) for value in output_of(script, SKCONV_ISA=isa)] for isa in _engine.available_isas()]
    for result in results[1:]:
        # Sums of 45 products of numbers around one, in float64.
        assert max(abs(a - b) for a, b in zip(result, results[0], strict=True)) < 1e-13


@pytest.fixture(scope="module")
def expected():
    n_threads, digest = output_of(DIGEST, OMP_NUM_THREADS="1")
    assert n_threads == "1"
    return digest


@pytest.mark.parametrize(
    "setting", [dict(OMP_NUM_THREADS=value) for value in ("1000", "0", "-3", "many", "", "2,3", None)]
    + [dict(OMP_NUM_THREADS=None, OMP_THREAD_LIMIT="1"), dict(OMP_NUM_THREADS="8", OMP_DYNAMIC="true")],
    ids=str,
)  # fmt: skip
def test_settings_of_openmp_crash_nothing_and_change_no_bit(setting, expected):
    n_threads, digest = output_of(DIGEST, **setting)
    assert int(n_threads) >= 1
    assert digest == expected


@pytest.mark.skipif(not _engine.openmp(), reason="built without OpenMP")
@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_omp_num_threads_is_obeyed(n_threads):
    script = "from skconv import _engine; print(_engine.effective_n_threads())"
    assert output_of(script, OMP_NUM_THREADS=str(n_threads)) == [str(n_threads)]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity masks")
def test_affinity_mask_is_obeyed():
    script = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from skconv import _engine
print(_engine.effective_n_threads())
"""
    assert output_of(script, OMP_NUM_THREADS=None) == ["1"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_forked_child_runs_on_one_thread():
    script = """
import os
from skconv import _engine
before = _engine.effective_n_threads()
reading, writing = os.pipe()
if os.fork() == 0:
    os.write(writing, str(_engine.effective_n_threads()).encode())
    os._exit(0)
os.wait()
print(before, os.read(reading, 10).decode(), _engine.effective_n_threads())
"""
    assert output_of(script, OMP_NUM_THREADS="3") == ["3", "1", "3"]


def test_many_threads_of_python_predict_at_once():
    script = """
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from sklearn.datasets import load_digits
from skconv import CNNClassifier
X, y = load_digits(return_X_y=True)
import pickle
fitted = CNNClassifier((16,), max_iter=1, random_state=0).fit(X, y)
expected = fitted.predict_proba(X)
fresh = pickle.loads(pickle.dumps(fitted))  # has to rebuild its network, in all threads at once
with ThreadPoolExecutor(16) as pool:
    results = list(pool.map(lambda _: fresh.predict_proba(X), range(64)))
print(all(np.array_equal(result, expected) for result in results))
"""
    assert output_of(script) == ["True"]


FIRST_LAYERS = {
    "winograd": [(16, 3, "relu"), (16, 3, "relu"), (8, 3, "tanh")],
    "pixels side by side": [(6, 5, "tanh"), (6, 5, "relu"), (16, 3, "relu"), (16, 3, "identity")],
}


def network_of_large_maps(name, ends, isa):
    """Whose samples pass the layers of this name one by one; they end in a pooling, or in the output."""
    shape, operations = (47, 46, 3), []
    for n_filters, kernel_size, activation in FIRST_LAYERS[name]:
        operations.append(convolution(shape, n_filters, activation, kernel_size=kernel_size, padding="same"))
        shape = operations[-1].out_shape
    if ends == "pooling":
        operations.append(pool(shape, kernel_size=2))
        operations.append(convolution(operations[-1].out_shape, 5, kernel_size=7, stride=7))
        shape = operations[-1].out_shape
    network = Network(operations, dtype="float64", isa=isa)
    network.initialize(np.random.RandomState(0))
    return network


def take_trainer(network, n_samples, name):
    """Its trainer on one thread, which is to let samples pass the layers of this name one by one."""
    network.n_training_threads = lambda batch_size: 1
    plan = network._take_trainer(n_samples, 1)
    assert plan.chunk > 1 and plan.engine.n_alone == 1 + len(FIRST_LAYERS[name])
    return plan


@pytest.mark.parametrize("name", FIRST_LAYERS)
@pytest.mark.parametrize("ends", ["pooling", "output"])
def test_samples_pass_first_layers_one_by_one(isa, name, ends):
    """Where maps are large. What a mini-batch gives is the sum of what its samples give, whose chunks are of one."""
    network = network_of_large_maps(name, ends, isa)
    take_trainer(network, 36, name)
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((36, 47, 46, 3)), rng.standard_normal((36, *network.out_shape))
    results = []
    for n_threads in (1, 2):
        network.n_training_threads = lambda batch_size, n_threads=n_threads: n_threads
        results.append(network.backward(x, dy))
    dx, gradient = results[0]
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)
    expected = np.zeros_like(gradient)
    for i in range(36):
        one, part = network.backward(x[i : i + 1], dy[i : i + 1])
        np.testing.assert_array_equal(dx[i : i + 1], one)
        expected += part
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize("name", FIRST_LAYERS)
@pytest.mark.parametrize("ends", ["pooling", "output"])
def test_samples_one_by_one_change_no_bit(isa, name, ends):
    """Beside chunks that stay together."""
    network = network_of_large_maps(name, ends, isa)
    plan = take_trainer(network, 21, name)
    rng = np.random.default_rng(0)
    x, targets = rng.standard_normal((21, 47, 46, 3)), rng.standard_normal((21, math.prod(network.out_shape)))
    gradients = []
    for n_alone in (plan.engine.n_alone, 0):
        plan.engine.n_alone = n_alone
        state = network.solver_state()
        network.train(
            x, targets, np.arange(21), np.array([0, 21]), state=state, solver="gradient",
            rates=np.zeros(1), settings=(0.0, 0.0, 0.0, 0.0, False), loss=Loss("squared_error"), n_threads=1,
        )  # fmt: skip
        assert network._take_trainer(21, 1) is plan
        gradients.append(state.first.copy())
    np.testing.assert_array_equal(*gradients)
    assert np.abs(gradients[0]).max() > 0
