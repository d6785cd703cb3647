"""The accuracy benchmarks: that their estimators are the networks they are named after, and that verdicts are right.

Nothing is timed, and no data are read.
"""

import ast
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

import skconv

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
pytestmark = pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="no benchmarks beside the tests")


@pytest.fixture
def load(monkeypatch):
    """A function that imports a script of the folder as it sees itself: with its neighbours importable by name."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))

    def load(path):
        spec = importlib.util.spec_from_file_location(Path(path).stem + "_benchmark", BENCHMARKS / path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)  # dataclasses look their module up
        spec.loader.exec_module(module)
        return module

    return load


def noise(shape, n=20):
    rng = np.random.default_rng(0)
    return rng.uniform(-1, 1, (n, *shape)), np.arange(n) % 10


def test_lenet5_is_table_1_of_the_paper(load):
    table = load("tasks.py").lenet5_connections()
    drawn = """
        X...XXX..XXXX.XX
        XX...XXX..XXXX.X
        XXX...XXX..X.XXX
        .XXX..XXXX..X.XX
        ..XXX..XXXX.XX.X
        ...XXX..XXXX.XXX
    """
    np.testing.assert_array_equal(table, [[x == "X" for x in row] for row in drawn.split()])


def test_lenet5_has_the_original_sizes(load):
    X, y = noise((28, 28))
    clf = load("tasks.py").lenet5(random_state=0).set_params(max_iter=1).fit(X, y)
    shapes = [(5, 5, 1, 6), (5, 5, 6, 16), (5, 5, 16, 120), (120, 84), (84, 10)]
    assert [np.shape(coef) for coef in clf.coefs_] == shapes
    # The paper: 156 + 1,516 + 48,120 + 10,164, and here 850 for the outputs.
    n_connected = sum(np.count_nonzero(coef) for coef in clf.coefs_) + sum(map(len, clf.intercepts_))
    assert n_connected == 156 + 1516 + 48120 + 10164 + 850


def test_usps_1989_has_the_original_sizes(load):
    tasks = load("tasks.py")
    connections = tasks.usps_1989_connections()
    assert set(connections.sum(axis=0)) == {8}
    assert set(connections.sum(axis=1)) == {8}
    assert len({tuple(column) for column in connections.T}) == 12
    X, y = noise((16, 16))
    clf = tasks.usps_1989(random_state=0).set_params(max_iter=1).fit(X, y)
    assert [np.shape(coef) for coef in clf.coefs_] == [(5, 5, 1, 12), (5, 5, 12, 12), (192, 30), (30, 10)]
    assert clf.t_ == len(X)
    # 1,068 + 2,592 links a position before weight sharing; shared: 12 kernels of 25 and 12 of 8 * 25.
    assert [np.count_nonzero(coef) for coef in clf.coefs_[:2]] == [12 * 25, 12 * 200]


def test_mnist_recipe_is_that_of_the_gallery(load):
    path = BENCHMARKS.parent / "docs" / "examples" / "plot_mnist_recipe.py"
    shown = ast.parse(path.read_text(encoding="utf-8")).body
    start = next(i for i, node in enumerate(shown) if ast.unparse(node).startswith("layers ="))
    end = next(i for i, node in enumerate(shown) if ast.unparse(node).startswith("clf ="))
    names = {name: getattr(skconv, name) for name in skconv.__all__}
    exec(compile(ast.Module(shown[start : end + 1], []), str(path), "exec"), names)
    recipe = load("tasks.py").mnist_recipe(random_state=0).set_params(verbose=1)
    assert repr(recipe.get_params()) == repr(names["clf"].get_params())


def test_a_target_is_met_by_the_mean_and_every_time(load):
    tasks = load("tasks.py")
    error = tasks.TASKS["usps-1989"]
    assert error.is_met([0.05, 0.06], [9.0, 9.9])
    assert not error.is_met([0.05, 0.061], [9.0, 9.9])
    assert not error.is_met([0.05, 0.05], [9.0, 10.1])
    accuracy = tasks.TASKS["mnist"]
    assert accuracy.is_met([0.992, 0.9941], [1000.0, 1000.0])
    assert not accuracy.is_met([0.992, 0.9939], [1.0, 1.0])


def test_peer_is_better_by_more_than_two_standard_errors(load):
    verdict = load("peers/accuracy.py").verdict
    own = [0.990, 0.992, 0.994]  # deviation 0.002, so that the error of the difference is 0.002 * sqrt(2 / 3)
    bound = 2 * 0.002 * (2 / 3) ** 0.5
    for excess, expected in ((1e-5, True), (-1e-5, False)):
        result = verdict(own, [value + bound + excess for value in own])
        assert result["is_peer_better"] is expected
        assert result["error"] == pytest.approx(bound / 2)


def test_data_says_what_is_missing(load, monkeypatch, tmp_path):
    data = load("data.py")
    monkeypatch.delenv("SKCONV_DATA", raising=False)
    with pytest.raises(SystemExit, match=r"set the environment variable SKCONV_DATA .* usps.npz"):
        data.usps()
    monkeypatch.setenv("SKCONV_DATA", str(tmp_path))
    with pytest.raises(SystemExit, match=r"train-images-idx3-ubyte.gz is missing"):
        data.mnist()
