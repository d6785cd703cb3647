"""What verbose prints, to the letter."""

import re

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

from skconv import CNNClassifier, CNNRegressor
from skconv._progress import Progress
from skconv.solvers import Epoch, learning_rates

X, Y = (values[:120] for values in load_digits(return_X_y=True))


def small(Estimator=CNNClassifier, **parameters):
    defaults = dict(conv_layer_sizes=(4,), hidden_layer_sizes=(8,), max_iter=3, random_state=0)
    return Estimator(**defaults | parameters)


# ---- the printer ---------------------------------------------------------------------------------------------------


def test_silence(capsys):
    progress = Progress(0, 10)
    progress.table("layers")
    progress.within(0, 0.5)
    progress.epoch(Epoch(0, 1.5, 0.5, 0.25), 0.75, True, 1e-3)
    progress.iteration(1, 2.0)
    progress.note("stopped")
    assert capsys.readouterr() == ("", "")


def test_lines(capsys):
    progress = Progress(1, 12)
    progress.table("layers")
    progress.within(0, 0.5)  # not a terminal: no line is rewritten
    progress.epoch(Epoch(0, 1.5, 0.5, 0.25))
    progress.epoch(Epoch(9, 0.00004, None, 12.345), -0.125, False, 1e-3)
    progress.epoch(Epoch(11, 123.5, 1.0, 0.0), 1)
    progress.note("stopped")
    assert capsys.readouterr().out.splitlines() == [
        "epoch   1/12  loss 1.5000  accuracy 0.5000  0.25 s",
        "epoch  10/12  loss 0.0000  validation -0.1250  12.35 s",
        "epoch  12/12  loss 123.5000  accuracy 1.0000  validation 1.0000  0.00 s",
        "stopped",
    ]


def test_table(capsys):
    progress = Progress(2, 10)
    progress.table("layers")
    progress.epoch(Epoch(0, 1.5, 0.5, 0.25), 0.75, True, 1e-3)
    progress.epoch(Epoch(1, 1.25, 0.625, 1.0), 0.5, False, 2e-4)
    assert capsys.readouterr().out.splitlines() == [
        "layers",
        "",
        "  epoch  train loss  train acc  valid score  best      rate      dur",
        "  -----  ----------  ---------  -----------  ----  --------  -------",
        "      1      1.5000     0.5000       0.7500     +     0.001     0.25",
        "      2      1.2500     0.6250       0.5000          0.0002     1.00",
    ]
    progress = Progress(2, 10)  # columns that have nothing to say are left out
    progress.epoch(Epoch(0, 1.5, None, 0.25), None, False, 1e-3)
    assert capsys.readouterr().out.splitlines() == [
        "  epoch  train loss      rate      dur",
        "  -----  ----------  --------  -------",
        "      1      1.5000     0.001     0.25",
    ]


def test_iterations(capsys):
    for verbose, expected in ((1, [1, 11, 21]), (2, list(range(1, 23)))):
        progress = Progress(verbose, 200)
        for i in range(1, 23):
            progress.iteration(i, 1 / i)
        lines = capsys.readouterr().out.splitlines()
        assert lines == [f"iteration {i:>3}/200  loss {1 / i:.6f}" for i in expected]


def test_a_line_on_a_terminal_is_rewritten(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    now = [100.0]
    monkeypatch.setattr("skconv._progress.time.monotonic", lambda: now[0])
    progress = Progress(1, 12)
    for share in (0.25, 0.3, 1.0):
        progress.within(2, share)
        now[0] += 0.06  # ten times a second at most
    progress.epoch(Epoch(2, 1.5, None, 0.25))
    out = capsys.readouterr().out
    assert out == (
        "\repoch   3/12 [######..................]"
        "\repoch   3/12 [########################]"
        "\repoch   3/12  loss 1.5000  0.25 s"  # and what hides the rest of the bar
        "           \n"
    )


# ---- of a fit ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verbose", [0, False])
def test_fits_are_silent(capsys, verbose):
    small(verbose=verbose).fit(X, Y).partial_fit(X, Y)
    small(CNNRegressor, verbose=verbose, early_stopping=True).fit(X, Y)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("verbose", [1, True, np.int64(1)])
def test_lines_of_a_fit_say_what_the_attributes_say(capsys, verbose):
    classifier = small(verbose=verbose).fit(X, Y, X_val=X, y_val=Y)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    for i, line in enumerate(lines):
        start = f"epoch {i + 1:>3}/3  loss {classifier.loss_curve_[i]:.4f}  accuracy "
        assert line.startswith(start)
        assert re.fullmatch(
            rf"[01]\.\d{{4}}  validation {classifier.validation_scores_[i]:.4f}  \d+\.\d\d s", line[len(start) :]
        )
    regressor = small(CNNRegressor, verbose=verbose).fit(X, Y)
    lines = capsys.readouterr().out.splitlines()
    for i, line in enumerate(lines):
        assert re.fullmatch(rf"epoch   {i + 1}/3  loss {regressor.loss_curve_[i]:.4f}  \d+\.\d\d s", line)


def test_table_of_a_fit(capsys):
    classifier = small(verbose=2, learning_rate_init=0.01).fit(X, Y, X_val=X, y_val=Y)
    layers, table = capsys.readouterr().out.split("\n\n")
    assert layers == classifier.summary()
    head, rule, *rows = table.splitlines()
    assert head.split() == ["epoch", "train", "loss", "train", "acc", "valid", "score", "best", "rate", "dur"]
    assert set(rule) == {" ", "-"} and len({len(line) for line in (head, rule, *rows)}) == 1
    best = -1.0
    for i, row in enumerate(rows):
        cells = row.split()
        score = classifier.validation_scores_[i]
        assert cells[:2] == [str(i + 1), f"{classifier.loss_curve_[i]:.4f}"]
        assert cells[3] == f"{score:.4f}"
        assert ("+" in cells) == (score > best)
        best = max(best, score)
        n = -(-len(X) // 32)  # steps of an epoch
        rate = learning_rates("one_cycle", 0.01, [n * (i + 1) - 1], 3 * n)[0]  # of its last step
        assert cells[-2] == f"{rate:.2g}"
    assert "+" in rows[0]


def test_lines_of_later_fits_count_anew(capsys):
    classifier = small(verbose=1, warm_start=True, max_iter=2).fit(X, Y)
    classifier.fit(X, Y).partial_fit(X, Y)
    starts = [
        line.partition("  ")[0] if line[6:8] != "  " else line[:11] for line in capsys.readouterr().out.splitlines()
    ]
    assert starts == ["epoch   1/2", "epoch   2/2"] * 2 + ["epoch   1/1"]


@pytest.mark.parametrize("verbose", [1, 2])
def test_iterations_of_lbfgs(capsys, verbose):
    regressor = small(CNNRegressor, verbose=verbose, solver="lbfgs", max_iter=12, tol=0)
    with pytest.warns(ConvergenceWarning):
        regressor.fit(X, Y)
    out = capsys.readouterr().out
    if verbose == 2:
        layers, out = out.split("\n\n")
        assert layers == regressor.summary()
    shown = (1, 11) if verbose == 1 else range(1, 13)
    assert out.splitlines() == [f"iteration {i:>3}/12  loss {regressor.loss_curve_[i - 1]:.6f}" for i in shown]


def test_reasons_to_stop(capsys):
    small(verbose=1, tol=100.0, n_iter_no_change=1, learning_rate="constant", max_iter=20).fit(X, Y)
    assert capsys.readouterr().out.splitlines()[-1] == "stopped: no improvement of more than tol=100 in 1 epochs"
