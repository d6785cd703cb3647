"""Which instruction set, how many threads: in processes of their own, because both are decided once."""

import os
import subprocess
import sys

import pytest

from skconv import _engine

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
