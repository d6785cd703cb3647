"""The table of `python benchmarks/peers`: which figures come of which times, verdicts, and what is written.

Races are played with times made up, but for `test_worker_and_race`, where the times do not matter. No peer is needed.
"""

import importlib
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

import reference

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
pytestmark = pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="no benchmarks beside the tests")


@pytest.fixture
def peers(monkeypatch):
    """A function that imports modules of benchmarks/peers by name, afresh, as its command sees them."""
    folder = BENCHMARKS / "peers"
    names = {path.stem for path in folder.glob("*.py")}
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.syspath_prepend(str(folder))
    hidden = {name: module for name, module in sys.modules.items() if name in names - {"__main__"}}
    for name in hidden:
        del sys.modules[name]
    yield lambda *names: [importlib.import_module(name) for name in names]
    for name in names - {"__main__"}:
        sys.modules.pop(name, None)
    sys.modules.update(hidden)


@pytest.fixture
def command(peers, monkeypatch):
    """The module behind `python benchmarks/peers`."""
    peers("measure")
    spec = importlib.util.spec_from_file_location("peers_command", BENCHMARKS / "peers" / "__main__.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def record(figures, *, void=False, processes=7, peaks=True, **more):
    """A row of a run, as the JSON file has it."""
    measured = {"1": 100.0, "2": 150.0 if void else 199.0}
    return {
        "title": "row", "settings": {"threads": 2, "processes": processes},
        "peaks": {"before": measured, "after": {"1": 101.0, "2": 200.0}} if peaks else {}, "void": void,
        "date": "2026-01-31", "versions": {"skconv": {"python": "3.12.1", "skconv": "1.2"}, "PyTorch": {"torch": "9"}},
        "cases": {}, "figures": {
            key: {"value": value, "ours": "1 ms", "theirs": "2 ms", "against": "PyTorch"}
            for key, value in figures.items()
        }, **more,
    }  # fmt: skip


def a_run(**rows):
    return {"format": 2, "command": "python benchmarks/peers", "cpu": "A <CPU> & more", "system": "Linux", "rows": rows}


def test_convolutions_are_what_the_seed_draws(peers):
    (cases,) = peers("cases")
    assert cases.draw() == cases.CASES
    assert len(set(cases.CASES)) == 60
    every = {case.name for case in cases.grid()}
    assert len(every) == 7 * 6 * 4 * 5
    assert every.issuperset(cases.CASES)


def test_a_convolution_counts_its_work(peers):
    (cases,) = peers("cases")
    case = cases.Case.of("3-16-5-28")
    assert (case.n_channels, case.n_filters, case.kernel_size, case.size) == (3, 16, 5, 28)
    assert case.multiply_adds == 28 * 28 * 25 * 3 * 16
    for name in cases.CASES:
        case = cases.Case.of(name)
        work = case.batch_size * (
            2 * case.multiply_adds + cases.VALUE_WORK * case.size**2 * sum((case.n_channels, case.n_filters))
        )
        assert case.batch_size in (1, cases.MOST_IMAGES) or 0.8 < work / cases.CALL_WORK < 1.25


def test_means_and_percentiles(peers):
    (table,) = peers("table")
    assert table.geometric_mean([1.0, 2.0, 4.0]) == pytest.approx(2.0)
    assert table.geometric_mean([]) is table.percentile([]) is None
    values = np.random.default_rng(0).permutation(60) + 1.0
    assert table.percentile(list(values)) == 3.0  # a twentieth of 60 are three
    assert table.percentile([5.0, 7.0]) == 5.0


def test_targets_of_the_plan(peers):
    (table,) = peers("table")
    assert {table.row_of(key) for key in table.TARGETS} == set(table.ROWS)
    assert [table.TARGETS[f"training.{name}"].value for name in ("digits", "keras", "cifar", "lenet5")] == [
        5.5,
        3,
        2.5,
        2.5,
    ]
    for key, target in table.TARGETS.items():
        if key.startswith("avx2."):
            assert target.value == pytest.approx(0.8 * table.TARGETS[key.removeprefix("avx2.")].value)
    assert table.TARGETS["memory.cifar"].is_met(150)
    assert not table.TARGETS["memory.cifar"].is_met(151)
    assert not table.TARGETS["predict.least"].is_met(1.149)


def test_bounds_are_targets_and_overrides(peers):
    (table,) = peers("table")
    assert table.bounds(["fit"], False, []) == {}
    assert table.bounds(["fit", "grid"], True, ["fit.keras=2"]) == {"fit.keras": 2.0, "grid.jobs": 1 / 1.1}
    assert table.bounds(["fit"], False, ["fit.keras=2.5"]) == {"fit.keras": 2.5}
    for item in ("predict.mean=2", "fit.nothing=2", "fit.keras=fast"):
        with pytest.raises(ValueError, match=item):
            table.bounds(["fit"], False, [item])


def test_failures_say_what_is_missed_or_missing(peers):
    (table,) = peers("table")
    asked = {"fit.keras": 3.0, "memory.cifar": 150.0, "predict.mean": 1.5, "grid.jobs": 0.9}
    lines = table.failures(
        {"fit.keras": {"value": 2.9}, "memory.cifar": {"value": 151}, "grid.jobs": {"value": 1.0}}, asked
    )
    assert lines == [
        "fit.keras: 2.90 is below 3.00",
        "memory.cifar: 151 MB is above 150 MB",
        "predict.mean: no figure, 1.50 was asked for",
    ]


def test_summary_takes_the_best_of_either_side(peers):
    (turns,) = peers("turns")
    times = {
        "case": {
            "skconv, function": {"times": [[3.0] * 10, [2.0] * 10], "notes": {}},
            "skconv, layer": {"times": [[2.5] * 20], "notes": {}},
            "PyTorch, channels first": {"times": [[8.0] * 20], "notes": {}},
            "ONNX Runtime": {"times": [[6.0, 5.0] + [7.0] * 18], "notes": {}},
        }
    }
    case = turns.summarise(times)["case"]
    assert (case["ours"], case["best_peer"]) == ("skconv, function", "ONNX Runtime")
    assert case["sides"]["ONNX Runtime"]["seconds"] == 6.0  # the fastest tenth of 20 are two
    assert case["ratio"] == 3.0
    assert turns.summarise({"case": {"skconv": {"times": [[1.0]], "notes": {}}}})["case"]["ratio"] is None


def test_losers_times_are_pooled(peers):
    (turns,) = peers("turns")
    first = {"case": {"skconv": {"times": [[3.0]], "notes": {}}}, "other": {}}
    turns.merge(first, {"case": {"skconv": {"times": [[2.0]], "notes": {}}}})
    assert first["case"]["skconv"]["times"] == [[3.0], [2.0]]


def test_who_computes_something_else_is_left_out(peers, capsys):
    (turns,) = peers("turns")
    sides = [turns.Side(name, "python", "worker.py", name, 1) for name in ("skconv", "PyTorch", "ONNX Runtime")]
    found = {}
    for side, value in zip(sides, (1.0, 1.0 + 1e-4, 1.1)):
        answer = {"times": [1.0], "values": [value, 0.5], "notes": {}}
        turns._keep(found, side, answer, 0, "case")
    assert "failed" not in found["PyTorch"]
    assert found["ONNX Runtime"]["failed"] == "computes something else than skconv"
    assert "case, ONNX Runtime: left out" in capsys.readouterr().out
    assert not turns.agree([float("nan")], [1.0])
    assert not turns.agree([], [])


def test_slow_forms_are_not_asked_again(peers):
    (turns,) = peers("turns")
    names = ("skconv", "PyTorch, channels first", "PyTorch, channels last", "ONNX Runtime")
    sides = [turns.Side(name, "python", "worker.py", name, 1) for name in names]
    found = {
        case: {name: {"times": [[t]]} for name, t in zip(names, times)}
        for case, times in {"a": (1, 2, 4, 90), "b": (1, 2, 5, 90)}.items()
    }
    assert turns._slow_forms(found, sides, 1.5) == {"PyTorch, channels last", "ONNX Runtime"}
    found["b"]["PyTorch, channels last"] = {"times": [[1]]}
    assert turns._slow_forms(found, sides, 1.5) == {"ONNX Runtime"}


def test_worker_and_race(peers, tmp_path, monkeypatch):
    measure, turns = peers("measure", "turns")
    (tmp_path / "side.py").write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(BENCHMARKS / 'peers')!r})\n"
        "from worker import Task, main, repeat\n"
        "def prepare(side, case, seed, n_threads):\n"
        "    if side == 'absent':\n"
        "        raise ImportError('no such thing')\n"
        "    if case == 'broken':\n"
        "        raise RuntimeError('too much')\n"
        "    return Task(repeat(lambda: sum(range(1000))), [seed, n_threads], {'thing': '1'})\n"
        "main('A worker.', prepare, ('skconv', 'absent'), lambda name: True)\n"
    )
    monkeypatch.setattr(measure, "HERE", tmp_path)
    sides = [
        turns.Side("skconv", sys.executable, "side.py", "skconv", 1),
        turns.Side("PyTorch, one", sys.executable, "side.py", "absent", 1),
        turns.Side("PyTorch, other", sys.executable, "side.py", "absent", 1),
    ]
    times, versions = turns.run(sides, ["fine", "broken"], turns.Settings(2, 0.01, 0.01, 0.001))
    assert list(times["fine"]) == ["skconv"]
    assert len(times["fine"]["skconv"]["times"]) == 2
    assert times["fine"]["skconv"]["values"] == [1, 1]  # the seed of the second turn, and the thread
    assert times["broken"] == {}
    assert versions["skconv"]["thing"] == "1"


def test_command_line_is_checked(command, capsys):
    args = command.parse_arguments(["--quick", "--rows", "grid", "training", "--check", "--min-ratio", "grid.jobs=0.5"])
    assert args.rows == ["training", "grid"]  # in the order of the table
    assert args.processes == 1
    assert args.bounds["grid.jobs"] == 0.5
    for words, message in (
        (["--chart", "peers.png"], "must end in .svg"),
        (["--clock", "processor"], "--threads 1"),
        (["--seconds", "0"], "above 0"),
        (["--rows", "grid", "--min-ratio", "fit.keras=1"], "not among the figures of this run"),
        (["--peer-python", "jax=/usr/bin/python"], "torch, onnxruntime, openvino, opencv"),
        (["--peer-python", "/no/such/python"], "/no/such/python"),
    ):
        with pytest.raises(SystemExit) as end:
            command.parse_arguments(words)
        assert end.value.code == 2
        assert message in capsys.readouterr().err


def test_command_names_no_path_of_this_machine(command, monkeypatch):
    monkeypatch.delenv("SKCONV_ISA", raising=False)  # it would be named, rightly
    words = ["--rows", "fit", "--threads", "1", "--no-compile", "--peer-python", sys.executable, "--check"]
    line = command.command_line(command.parse_arguments(words))
    assert line == (
        "python benchmarks/peers --rows fit --threads 1 --processes 7 --no-compile --check --peer-python PYTHON"
    )


def test_a_run_goes_on_where_it_stopped(command, tmp_path):
    settings = command.settings_of(command.parse_arguments(["--rows", "fit"]))
    path = tmp_path / "peers.json"
    assert command.load(path, settings) == {}
    rows = {
        "fit": record({"fit.keras": 3.0}, settings=settings),
        "grid": record({"grid.jobs": 1.0}, settings=settings | {"threads": 4}),
        "memory": record({"memory.cifar": 100.0}, settings=settings, void=True),
    }
    command.save(a_run(**rows), path)
    assert list(command.load(path, settings)) == ["fit"]
    assert [file.name for file in tmp_path.iterdir()] == ["peers.json"]
    path.write_text('{"networks": []}')
    with pytest.raises(SystemExit, match="another name"):
        command.load(path, settings)


@pytest.mark.parametrize("void", [False, True])
def test_the_command_writes_and_judges(command, void, monkeypatch, tmp_path, capsys):
    rows, measure = command.rows, command.measure
    figures = {"fit.keras": {"value": 2.9, "ours": "1 s", "theirs": "2.9 s", "against": "PyTorch, channels last"}}
    case = {"sides": {"skconv": {"seconds": 1.0}}, "ours": "skconv", "best_peer": None, "ratio": None}
    measured = {"cases": {"keras": case}, "figures": figures, "versions": {"skconv": {"skconv": "1.2"}}}
    monkeypatch.setitem(rows.MEASURES, "fit", lambda context: measured | {})
    monkeypatch.setattr(measure, "peaks", lambda *args: {1: 100.0, 2: 150.0 if void else 199.0})
    text = tmp_path / "README.md"
    text.write_text("Before.\n<!-- figures -->\nold\n<!-- /figures -->\nAfter.\n")
    files = [
        "--json",
        str(tmp_path / "a.json"),
        "--markdown",
        str(text),
        "--chart",
        str(tmp_path / "pictures" / "a.svg"),
    ]
    (tmp_path / "pictures").mkdir()
    for words, status in (([], 0), (["--check"], 1), (["--min-ratio", "fit.keras=2.8"], 0)):
        monkeypatch.setattr(sys, "argv", ["peers", "--rows", "fit", *words, *files])
        assert command.main() == (3 if void else status)
        out = capsys.readouterr().out
        assert ("VOID" in out) is void
        assert ("fit.keras: 2.90 is below 3.00" in out) is (status == 1 and not void)
    if void:
        assert "old" in text.read_text()
        assert not list((tmp_path / "pictures").iterdir())
    else:
        assert text.read_text().startswith("Before.\n<!-- figures -->\n![How many")
        assert "](pictures/a.svg)" in text.read_text()
        assert "| 1 s | 2.9 s | PyTorch, channels last | 2.90 | >= 3.00 | no |" in text.read_text()
        assert text.read_text().endswith("<!-- /figures -->\nAfter.\n")
        assert "measured 20" in out  # by the first of the three


def test_markdown_has_what_a_reader_needs(peers):
    (report,) = peers("report")
    run = a_run(
        fit=record({"fit.keras": 3.25}),
        memory=record({"memory.cifar": 93.4}, date="2026-02-01"),
        grid=record({"grid.jobs": 1.5}, void=True),
    )
    text = report.markdown(run)
    assert "| 3.25 | >= 3.00 | yes |" in text
    assert "| 93 MB | <= 150 MB | yes |" in text
    assert "1.50" not in text  # a void row shows nothing
    assert "* 2026-01-31 to 2026-02-01, A <CPU> & more, Linux; Python 3.12.1; skconv 1.2, torch 9." in text
    assert "100 to 101 GFLOP/s on one thread, 150 to 200 GFLOP/s on 2" in text
    assert "trial" not in text
    assert report.markdown(a_run(fit=record({}, processes=3))).startswith("**A trial, not a measurement.**")


def test_a_share_is_of_the_best_peak_of_its_row(command, monkeypatch):
    figure = {"value": None, "gflops": 150.0, "ours": "150 GFLOP/s", "theirs": "-", "against": "peak"}
    monkeypatch.setitem(
        command.rows.MEASURES,
        "peak_share",
        lambda context: {"cases": {}, "figures": {"peak_share.cifar": figure}, "versions": {}},
    )
    monkeypatch.setattr(command.measure, "peaks", lambda *args: {1: 100.0, 2: 200.0})
    args = command.parse_arguments(["--rows", "peak_share"])
    found, after = command.measure_row("peak_share", None, command.settings_of(args), {"1": 99.0, "2": 190.0}, args)
    assert found["figures"]["peak_share.cifar"]["value"] == 0.75
    assert after == {"1": 100.0, "2": 200.0}


def test_chart_is_a_picture_of_all_ratios(peers, tmp_path):
    from xml.etree import ElementTree

    chart, table = peers("chart", "table")
    figures = {"fit.keras": 2.5, "predict.least": 0.4, "grid.jobs": 1.0, "memory.cifar": 93.0}
    run = a_run(fit=record(figures))
    chart.write(run, tmp_path / "a.svg")
    root = ElementTree.parse(tmp_path / "a.svg").getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    texts = [node.text for node in root.iter() if node.tag.endswith("text")]
    for key, value in figures.items():
        is_ratio = table.TARGETS[key].unit == ""
        assert (table.TARGETS[key].text.replace("`", "") in texts) is is_ratio
        assert (f"{value:.2f}" in texts) is is_ratio
    bars = [node for node in root.iter() if node.tag.endswith("rect")][1:]
    faster, slower, equal = sorted(bars, key=lambda node: -float(node.get("width")))
    colors = [node.get("fill") for node in (faster, slower, equal)]
    assert colors == [chart.MISSED, chart.MISSED, chart.MET]
    assert float(faster.get("x")) == pytest.approx(
        float(slower.get("x")) + float(slower.get("width")), abs=0.11
    )  # at 1
    assert any("A <CPU> & more" in text for text in texts)


def test_chart_of_nothing(peers):
    (chart,) = peers("chart")
    assert chart.svg(a_run()).endswith("</svg>\n")


@pytest.mark.parametrize("n_pixels, kernel_size, padding", [(5, 3, 1), (4, 5, 2), (7, 2, 0), (2, 7, 3)])
def test_taps_on_the_padding_are_told_apart(peers, n_pixels, kernel_size, padding):
    (networks,) = peers("networks")
    layer = networks.Conv(n_filters=1, kernel_size=kernel_size, padding=padding)
    ones = np.ones((1, n_pixels, 1)), np.ones((kernel_size, 1, 1))
    assert networks.taps_inside(n_pixels, layer) == reference.conv(*ones, pad_before=padding, pad_after=padding).sum()


@pytest.mark.parametrize("name", ["digits", "keras", "cifar", "lenet5"])
def test_weights_of_the_race_fit_the_networks(peers, name):
    networks, predict = peers("networks", "predict")
    weights = networks.first_weights(name, 3)
    assert [coef.size for coef, _ in weights] == [n_weights for _, n_weights in networks.products(name)]
    X = predict.images(name, 2, 0)
    task = predict.start_skconv("skconv, estimator", name, X, weights)
    # Channels-first maps flattened, times rows in their order, are channels-last maps times the rows as they were.
    dense = next(coef for coef, _ in weights if coef.ndim == 2)
    n_filters = [coef.shape[-1] for coef, _ in weights if coef.ndim == 4][-1]
    maps = np.random.default_rng(0).standard_normal((2, len(dense) // n_filters, n_filters))
    first = maps.swapaxes(1, 2).reshape(2, -1) @ networks.channels_first_rows(name, dense)
    np.testing.assert_allclose(first, maps.reshape(2, -1) @ dense, atol=1e-4)
    assert len(task.values) == 20
    assert np.sum(task.values) == pytest.approx(2, abs=1e-5)


def test_convolutions_of_the_race_are_those_of_the_definition(peers, monkeypatch):
    cases, convolve, worker = peers("cases", "convolve", "worker")
    monkeypatch.setattr(cases, "CALL_WORK", 2e5)  # few images
    case = cases.Case.of("3-6-5-8")
    assert 1 < case.batch_size < 9
    x, w, dy = convolve.data(case, 0, gradients=True)
    pads = dict(pad_before=2, pad_after=2)
    w_reference = np.moveaxis(w, 0, -1)
    y = reference.conv(x, w_reference, **pads)
    for side in convolve.SKCONV:
        task = convolve.prepare(side, case.name, 0, 1)
        np.testing.assert_allclose(task.values, worker.some_values(y), atol=1e-4)
    dx = reference.conv_backward_input(dy, w_reference, x.shape, **pads)
    dw = np.moveaxis(reference.conv_backward_weights(x, dy, (5, 5), **pads), -1, 0)
    task = convolve.prepare("skconv, layer", f"gradients:{case.name}", 0, 1)
    np.testing.assert_allclose(task.values, worker.some_values(dx, dw), atol=1e-3)


def constant(seconds, **notes):
    """What a side measured that always took so long."""
    return {"times": [[seconds] * 10], "notes": notes}


@pytest.fixture
def fake_race(peers, monkeypatch):
    """The rows and what they ran, where every side of a case takes the time that a function gives."""
    rows, turns = peers("rows", "turns")
    calls = []

    def install(seconds, **notes):
        def run(sides, cases, settings, drop_slow=None):
            calls.append((list(cases), [side.name for side in sides]))
            times = {case: {side.name: constant(seconds(case, side), **notes) for side in sides} for case in cases}
            return times, {"skconv": {"skconv": "1"}}

        monkeypatch.setattr(turns, "run", run)

    every = dict.fromkeys(("PyTorch", "ONNX Runtime", "OpenVINO", "OpenCV"), "/python")
    return rows, rows.Context(threads=2, processes=7, pythons=every), install, calls


def test_losing_convolutions_are_measured_three_times(fake_race):
    rows, context, install, calls = fake_race
    cases = rows.cases.CASES
    slow = {name: 1 / (0.3 + 0.01 * i) for i, name in enumerate(cases[:14])}
    install(lambda case, side: slow.get(case, 0.5) if side.is_ours else 2.0 if side.name == "ONNX Runtime" else 1.0)
    found = rows.convolution(context)
    assert [case for case, _ in calls] == [list(cases), list(cases[:12]), list(cases[:12])]
    assert calls[0][1] == list(rows.convolve.SIDES)
    figure = found["figures"]["convolution.percentile"]
    assert figure["value"] == pytest.approx(0.32)  # the third of sixty
    assert figure["against"].endswith(cases[2])
    ratios = [0.3 + 0.01 * i for i in range(14)] + [2.0] * 46
    assert found["figures"]["convolution.mean"]["value"] == pytest.approx(np.exp(np.mean(np.log(ratios))))
    assert found["figures"]["convolution.mean"]["against"] == "PyTorch in 60"
    case = rows.cases.Case.of(cases[5])
    assert found["cases"][cases[5]]["operations"] == 2 * case.multiply_adds * case.batch_size
    assert found["cases"][cases[5]]["sides"]["skconv, layer"]["n_times"] == 30


def test_the_whole_grid_leaves_the_figures_to_the_drawn_cases(fake_race, capsys):
    rows, context, install, calls = fake_race
    drawn = set(rows.cases.CASES)
    install(lambda case, side: 1.0 if side.is_ours else 2.0 if case in drawn else 0.5)
    found = rows.convolution(rows.replace(context, all_cases=True))
    assert len(found["cases"]) == len(calls[0][0]) == 840
    assert len(calls) == 1  # what is slow elsewhere is not measured again
    assert found["figures"]["convolution.mean"]["value"] == pytest.approx(2)
    expected = 2 ** (60 / 840) * 0.5 ** (780 / 840)
    assert f"all 840 cases: geometric mean {expected:.2f}, 5th percentile 0.50" in capsys.readouterr().out


def test_gradients_count_two_products(fake_race):
    rows, context, install, calls = fake_race
    install(lambda case, side: 1.0 if side.is_ours else 2.0)
    found = rows.gradients(context)
    assert len(calls) == 1
    name = "gradients:" + rows.cases.CASES[0]
    case = rows.cases.Case.of(rows.cases.CASES[0])
    assert found["cases"][name]["operations"] == 4 * case.multiply_adds * case.batch_size
    assert found["figures"]["gradients.mean"]["value"] == pytest.approx(2)


def test_predicting_counts_the_least(fake_race):
    rows, context, install, _ = fake_race
    install(lambda case, side: 1.0 if side.is_ours else 1.2 if case == "keras/128" else 3.0)
    figures = rows.predict(context)["figures"]
    assert figures["predict.least"]["value"] == pytest.approx(1.2)
    assert figures["predict.least"]["against"].endswith("keras/128")
    assert figures["predict.mean"]["value"] == pytest.approx((1.2 * 3**7) ** (1 / 8))


@pytest.mark.parametrize("way", ["predictor()", "predict_proba"])
def test_overhead_is_what_the_estimator_adds_to_the_predictor(fake_race, way):
    rows, context, install, calls = fake_race
    seconds = {"skconv": 1e-5, "skconv, estimator": 5e-5, "ONNX Runtime": 3e-5, "ONNX Runtime, 1 thread": 2e-5}
    install(lambda case, side: seconds[side.name], **{"skconv's way": way})
    figures = rows.one_image(context)["figures"]
    assert set(calls[0][1]) == set(seconds)
    assert figures["one_image.digits"]["value"] == pytest.approx(2)  # beside the faster number of threads
    assert figures["one_image.mean"]["value"] == pytest.approx(2)
    if way == "predictor()":
        assert figures["one_image.overhead"]["value"] == pytest.approx(40)
    else:
        assert "one_image.overhead" not in figures


def test_scaling_is_one_thread_over_two(fake_race):
    rows, context, install, _ = fake_race
    install(lambda case, side: 1.9 / side.n_threads**0.9)
    figures = rows.scaling(context)["figures"]
    assert set(figures) == {"scaling.training", "scaling.predicting", "scaling.photograph"}
    for figure in figures.values():
        assert figure["value"] == pytest.approx(2**0.9)


def test_avx2_binds_both_sides(fake_race, peers, monkeypatch):
    rows, context, install, _ = fake_race
    (turns,) = peers("turns")
    install(lambda case, side: 1.0 if side.is_ours else 2.0)
    bound, run = [], turns.run
    monkeypatch.setattr(turns, "run", lambda sides, *rest, **more: bound.extend(sides) or run(sides, *rest, **more))
    figures = rows.avx2(context)["figures"]
    assert all(side.environment["SKCONV_ISA"] == "avx2" for side in bound)
    assert all(side.environment["ONEDNN_MAX_CPU_ISA"] == "AVX2" for side in bound)
    assert {side.package for side in bound} == {"skconv", "PyTorch"}
    assert set(figures) == {key for key in rows.table.TARGETS if key.startswith("avx2.")}


def test_a_mean_has_all_its_cases(fake_race, capsys):
    rows, context, install, _ = fake_race
    install(lambda case, side: 1.0)
    run = rows.turns.run

    def without(*arguments, **options):
        times, versions = run(*arguments, **options)
        times["cifar/128"] = {name: entry for name, entry in times["cifar/128"].items() if name != "skconv"}
        return times, versions

    rows.turns.run = without
    assert rows.predict(context)["figures"] == {}
    assert "no ratio: cifar/128" in capsys.readouterr().out


def test_a_race_without_peers_has_no_ratio(fake_race):
    rows, context, install, _ = fake_race
    install(lambda case, side: 1.0)
    found = rows.training(rows.replace(context, pythons={}))
    assert list(found["cases"]["digits"]["sides"]) == ["skconv"]
    assert found["figures"]["training.digits"]["value"] is None
    assert rows.predict(rows.replace(context, pythons={}))["figures"] == {}


def test_interpreters_are_the_first_that_have_a_peer(peers, monkeypatch):
    (rows,) = peers("rows")
    has = {"/a": {"torch", "numpy"}, "/b": {"torch", "numpy", "onnx", "openvino"}, sys.executable: {"numpy", "cv2"}}
    monkeypatch.setattr(rows, "_has", lambda python, modules: has[python].issuperset(modules))
    assert rows.find_pythons(["/a", "/b"]) == {"PyTorch": "/a", "OpenVINO": "/b", "OpenCV": sys.executable}
    assert rows.find_pythons(["torch=/b", "opencv=/a"]) == {"PyTorch": "/b", "OpenCV": "/a"}


@pytest.mark.parametrize(("seconds", "text"), [(2.5, "2.5 s"), (0.01234, "12.3 ms"), (4.2e-6, "4.2 us"), (None, "-")])
def test_times_have_units_that_suit_them(peers, seconds, text):
    (rows,) = peers("rows")
    assert rows.shown(seconds) == text
