"""The profile of a fit: every layer is in it, its times add up, and results do not depend on it."""

import re

import numpy as np
import pytest

from skconv import BatchNorm, CNNClassifier, Conv2DTransformer, Dense, MaxPool
from skconv._profile import Profile, is_wanted


@pytest.mark.parametrize(
    "verbose, variable, wanted",
    [
        (0, None, False),
        (2, None, False),
        (3, None, True),
        (True, "1", True),
        (0, "1", True),
        (0, "0", False),
        (0, "", False),
    ],
)
def test_when_it_is_wanted(verbose, variable, wanted, monkeypatch):
    monkeypatch.delenv("SKCONV_PROFILE", raising=False)
    if variable is not None:
        monkeypatch.setenv("SKCONV_PROFILE", variable)
    assert is_wanted(verbose) is wanted


def images():
    rng = np.random.default_rng(0)
    return rng.standard_normal((90, 8, 8, 3)), rng.integers(0, 3, 90)


def layers():
    return [
        ("conv", Conv2DTransformer(8, 3)),
        ("pool1", MaxPool(2)),
        ("norm", BatchNorm()),
        ("wide", Dense(600)),  # a stage of its own
    ]


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_table(solver, monkeypatch, capsys):
    monkeypatch.setenv("SKCONV_PROFILE", "1")
    X, y = images()
    profiled = CNNClassifier(layers=layers(), solver=solver, max_iter=2, tol=1e9, random_state=0).fit(X, y)
    said = capsys.readouterr().out
    monkeypatch.delenv("SKCONV_PROFILE")
    plain = CNNClassifier(layers=layers(), solver=solver, max_iter=2, tol=1e9, random_state=0).fit(X, y)
    assert capsys.readouterr().out == ""
    for a, b in zip(profiled.coefs_, plain.coefs_, strict=True):
        np.testing.assert_array_equal(a, b)
    rows = [line.rsplit("  ", 1)[0][:16].strip() for line in said.splitlines()[3:]]
    assert rows == ["input", "conv + pool1", "norm", "wide", "wide, relu", "output", "update", "elsewhere"]
    shares = [float(line.rsplit(None, 1)[1].rstrip("%")) for line in said.splitlines()[3:]]
    assert sum(shares) == pytest.approx(100, abs=1)
    # Microseconds of the convolution, forward and back: beside a stalled thread its share may round to nothing.
    forward, *_, backward = re.findall(r"\d+\.\d\d\b", said.splitlines()[4])
    assert float(forward) > 0
    assert float(backward) > 0


def test_partial_fit_and_verbose(capsys):
    X, y = images()
    clf = CNNClassifier(conv_layer_sizes=(4,), verbose=3, random_state=0).partial_fit(X, y, classes=[0, 1, 2])
    said = capsys.readouterr().out
    assert "profile: 90 samples" in said
    clf.set_params(verbose=2).partial_fit(X, y)
    assert "profile" not in capsys.readouterr().out


class Engine:
    """Counts 2 seconds forward, 4 back and 1 for the update in every call."""

    @staticmethod
    def read_profile():
        return np.array([[0.5, 0.0], [1.5, 4.0]]), 1.0


class Plan:
    engine = Engine()

    @staticmethod
    def describe_work():
        return ["input", "conv"], np.array([[0, 0], [3_000_000, 6_000_000]])


def test_arithmetic():
    profile = Profile()
    assert profile.table(peak=1.0) == "profile: nothing was trained"
    for _ in range(2):
        profile.add(Plan(), 500, elapsed=5.0, n_threads=2)
    text = profile.table(peak=10.0)
    assert "1,000 samples, 20.00 s of all threads" in text
    words = [line.split() for line in text.splitlines()[3:]]
    # 2 * 3e6 * 1000 operations in 3 s are 2 GFLOP/s, a fifth of the peak; backward 12e9 in 8 s.
    assert words[0] == ["input", "1000.00", "0.00", "5.0%"]
    assert words[1] == ["conv", "3000.00", "20%", "8000.00", "15%", "55.0%"]
    assert words[2] == ["update", "2000.00", "10.0%"]
    assert words[3] == ["elsewhere", "6000.00", "30.0%"]
