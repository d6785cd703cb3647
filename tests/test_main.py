"""The command line, run as a user runs it: in a process of its own, outside the source tree."""

import functools
import gzip
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

import skconv
from skconv.__main__ import _confusion_table, _read_idx

# Without the time of day, which would go into the names of the tests: workers of one run would not agree on them.
packed = functools.partial(gzip.compress, mtime=0)


# Without the time of day, which would go into the names of the tests: workers of one run would not agree on them.
packed = functools.partial(gzip.compress, mtime=0)


@pytest.fixture
def run(tmp_path):
    """Return a function that runs ``python -m skconv`` in ``tmp_path``, where no ./skconv hides the installed one."""

    def run(*arguments, **environment):
        return subprocess.run(
            [sys.executable, "-m", "skconv", *arguments],
            cwd=tmp_path,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


def write_idx(path, values):
    """Write unsigned bytes in the format that MNIST comes in."""
    head = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, dtype=">u4").tobytes()
    path.write_bytes(packed(head + values.tobytes()))


def assert_is_demo_report(text, n_classes):
    """Check what every demo prints after the epochs, whatever the data."""
    assert re.search(r"^test accuracy: \d+\.\d\d%$", text, re.MULTILINE)
    matrix = text.partition("per predicted one):\n")[2].splitlines()[: n_classes + 1]
    assert len({len(line) for line in matrix}) == 1  # aligned
    assert [line.split()[0] for line in matrix[1:]] == [str(label) for label in range(n_classes)]
    assert re.search(r"^total time: [\d.]+ s, of it training: [\d.]+ s$", text, re.MULTILINE)
    assert re.search(r"^training speed: [\d,]+ images per second$", text, re.MULTILINE)
    assert re.search(r"^threads: \d+, instruction set: \w+$", text, re.MULTILINE)


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_help_lists_commands(run, arguments):
    result = run(*arguments)
    assert result.returncode == 0
    assert "usage: skconv" in result.stdout
    assert "demo" in result.stdout
    assert "info" in result.stdout


def test_console_script_is_installed(tmp_path):
    script = shutil.which("skconv", path=str(Path(sys.executable).parent))
    assert script is not None
    result = subprocess.run([script, "--version"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0
    assert re.fullmatch(r"skconv \d+\.\d+\S*\n", result.stdout)


def test_info_is_show_versions(run, capsys):
    skconv.show_versions()
    result = run("info")
    assert result.returncode == 0
    assert result.stdout == capsys.readouterr().out
    for name in ("Python", "skconv", "numpy", "scipy", "scikit-learn", "instruction set", "threads", "OpenMP"):
        assert re.search(rf"^{name} +\S", result.stdout, re.MULTILINE)


def test_info_obeys_instruction_set(run):
    assert re.search(r"^instruction set +baseline$", run("info", SKCONV_ISA="baseline").stdout, re.MULTILINE)


def test_demo_on_digits(run):
    result = run("demo", "--epochs", "1", "--seed", "3", "--threads", "1")
    assert result.returncode == 0, result.stderr
    assert "digits: 1,797 images of 8x8 pixels, 10 classes; 1,437 to train on, 360 to test on\n" in result.stdout
    assert_is_demo_report(result.stdout, n_classes=10)
    assert "threads: 1," in result.stdout
    assert "\r" not in result.stdout  # lines are rewritten on terminals only


def test_demo_learns_digits(run):
    result = run("demo")
    assert result.returncode == 0, result.stderr
    assert float(re.search(r"test accuracy: ([\d.]+)%", result.stdout)[1]) >= 98


def test_demo_reads_mnist_from_folder(run, tmp_path):
    (tmp_path / "mnist").mkdir()
    digits = load_digits()
    images = np.pad(digits.images.astype(np.uint8).repeat(3, axis=1).repeat(3, axis=2), [(0, 0), (2, 2), (2, 2)])
    labels = digits.target.astype(np.uint8)
    write_idx(tmp_path / "mnist" / "train-images-idx3-ubyte.gz", images[:300])
    write_idx(tmp_path / "mnist" / "train-labels-idx1-ubyte.gz", labels[:300])
    write_idx(tmp_path / "mnist" / "t10k-images-idx3-ubyte.gz", images[300:400])
    write_idx(tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz", labels[300:400])

    result = run("demo", "--dataset", "mnist", "--epochs", "1", SKCONV_DATA=str(tmp_path))
    assert result.returncode == 0, result.stderr
    assert "mnist: 400 images of 28x28 pixels, 10 classes; 300 to train on, 100 to test on\n" in result.stdout
    assert_is_demo_report(result.stdout, n_classes=10)


def test_demo_without_its_data_names_the_file(run, tmp_path):
    result = run("demo", "--dataset", "mnist", SKCONV_DATA=str(tmp_path))
    assert result.returncode == 1
    assert "cannot load mnist" in result.stderr
    assert "train-images-idx3-ubyte.gz" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["demo", "--dataset", "cifar"], "invalid choice: 'cifar'"),
        (["demo", "--epochs", "0"], "--epochs: must be an integer from 1 to 1000000, got '0'"),
        (["demo", "--epochs", "many"], "--epochs: must be an integer from 1 to 1000000, got 'many'"),
        (["demo", "--seed", "-1"], "--seed: must be an integer from 0 to 4294967295, got '-1'"),
        (["train"], "invalid choice: 'train'"),
    ],
)
def test_wrong_arguments_are_told(run, arguments, message):
    result = run(*arguments)
    assert result.returncode == 2
    assert message in result.stderr


def test_read_idx_returns_what_was_written(tmp_path):
    values = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    write_idx(tmp_path / "values.gz", values)
    np.testing.assert_array_equal(_read_idx(tmp_path / "values.gz"), values)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (packed(b""), "is not an idx file of unsigned bytes"),
        (packed(b"not an idx file"), "is not an idx file of unsigned bytes"),
        (packed(bytes([0, 0, 8, 3, 0, 0, 0, 1])), "is not an idx file of unsigned bytes"),
        (packed(bytes([0, 0, 13, 1, 0, 0, 0, 1, 0, 0, 0, 0])), "is not an idx file of unsigned bytes"),
        (packed(bytes([0, 0, 8, 1, 0, 0, 0, 5, 1, 2])), r"announces values of shape \(5,\) but holds 2"),
        (packed(bytes(1000))[:-9], "is damaged"),
    ],
)
def test_read_idx_refuses_damaged_files(tmp_path, content, message):
    path = tmp_path / "values.gz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        _read_idx(path)


def test_readme_examples_run():
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    examples = re.findall(r"^```python\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    assert len(examples) == 5
    digits = load_digits()
    names = {"X": digits.images[:200], "y": digits.target[:200], "X_new": digits.images[200:210]}
    names["z"] = names["X"].mean(axis=(1, 2))
    for example in examples:
        exec(example, names)
    assert names["clf"].predict_proba(names["X_new"]).shape == (10, 10)


def test_confusion_table_is_aligned():
    expected = "    cat dog\ncat   .  12\ndog 345   6"
    assert _confusion_table(["cat", "dog"], [[0, 12], [345, 6]]) == expected
