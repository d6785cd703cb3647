"""How every row of the table is measured: which sides run which cases for how long, and what is made of their times.

A row is a function from a `Context` to a dict of "cases" (see `turns.summarise`), "figures" ({key: value and both
sides' absolute figures}, the keys of `table.TARGETS`) and "versions".
"""

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import cases
import convolve
import fit as fits
import lecun1989
import measure
import networks
import predict as predicting
import table
import train
import turns
from turns import OURS, Settings, Side

# Freed memory is kept and used again: a call that allocates its result then pays for computing, not for first touches.
KEPT_MEMORY = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "4000000000",
    "MALLOC_TOP_PAD_": "67108864",
}
AVX2 = {"SKCONV_ISA": "avx2", "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
# Cases below the percentile that is asked for are measured again, so often, in half as many processes: the slowest of
# them, which decide it.
LOSER_ROUNDS, MOST_LOSERS = 2, 12
BATCHES = (128, 1000)


@dataclass(frozen=True)
class Context:
    """What the command line asks of all rows.

    Parameters
    ----------
    threads, processes : int
    pythons : dict
        {package: interpreter}; packages that no interpreter has are missing.
    compiles : bool
        Whether compiled forms of PyTorch run.
    quick : bool
        A trial: little of everything.
    seconds : float or None
        Measured time per case and process, in place of each row's own.
    clock : {"wall", "processor"}
    networks : tuple of str
    all_cases : bool
        The whole grid of convolutions.
    environment : dict
        Of all workers.
    """

    threads: int
    processes: int
    pythons: dict
    compiles: bool = False
    quick: bool = False
    seconds: float = None
    clock: str = "wall"
    networks: tuple = tuple(networks.NETWORKS)
    all_cases: bool = False
    environment: dict = field(default_factory=dict)

    def settings(self, seconds, warm_up=measure.WARM_UP_SECONDS, call_seconds=measure.CALL_SECONDS):
        """Of a race whose row measures each case for so many seconds in every process."""
        if self.quick:
            seconds, warm_up, call_seconds = min(seconds, 0.1), min(warm_up, 0.05), min(call_seconds, 0.01)
        return Settings(self.processes, self.seconds or seconds, warm_up, call_seconds, self.clock)

    def side(self, name, script, n_threads=None, **environment):
        """A side by its name; None, where no interpreter has it."""
        package = next((peer for peer in turns.MARKED_AS_PEER if name.startswith(peer)), OURS)
        python = sys.executable if package == OURS else self.pythons.get(package)
        if python is None:
            return None
        label = name if n_threads in (None, self.threads) else f"{name}, {n_threads} thread{'s' * (n_threads > 1)}"
        return Side(label, python, script, name, n_threads or self.threads, self.environment | environment)

    def sides(self, names, script, alone=False, **environment):
        """Those of the sides that an interpreter has; with `alone`, peers also on one thread."""
        found = [self.side(name, script, **environment) for name in names]
        if alone and self.threads > 1:
            peers = [name for name in names if not name.startswith(OURS)]
            found += [self.side(name, script, 1, **environment) for name in peers]
        return [side for side in found if side is not None]


def shown(seconds):
    """A time in a unit that suits it."""
    if seconds is None:
        return "-"
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size or unit == "us":
            return f"{seconds / size:.3g} {unit}"


def figure(summary):
    """A case's ratio with both sides' absolute times."""
    sides = summary["sides"]
    return {
        "value": summary["ratio"],
        "ours": shown(sides[summary["ours"]]["seconds"]) if summary["ours"] else "-",
        "theirs": shown(sides[summary["best_peer"]]["seconds"]) if summary["best_peer"] else "-",
        "against": summary["best_peer"] or "-",
    }


def over_cases(summary, value, name=None):
    """A figure of many cases: `value`, and which peer was the best how often; or of the one that has the value."""
    if name is not None:
        return {**figure(summary[name]), "against": f"{summary[name]['best_peer']}, {name}"}
    peers = [case["best_peer"] for case in summary.values() if case["best_peer"]]
    packages = [next(p for p in turns.MARKED_AS_PEER if peer.startswith(p)) for peer in peers]
    counts = {package: packages.count(package) for package in sorted(set(packages))}
    against = ", ".join(f"{package} in {count}" for package, count in counts.items())
    return {"value": value, "ours": "-", "theirs": "-", "against": against or "-"}


def named(summary, value):
    """The case with this ratio."""
    return next((name for name, case in summary.items() if case["ratio"] == value), None)


def ratios_of(summary):
    """The ratios of all cases; none, with a line that says so, where one is missing: a mean of the others misleads."""
    missing = [name for name, case in summary.items() if case["ratio"] is None]
    if missing:
        turns.report_line(f"no figure of all cases, because these have no ratio: {', '.join(missing)}")
        return []
    return [case["ratio"] for case in summary.values()]


def race(context, sides, names, settings, **options):
    """Run and summarise; return the summary and the versions."""
    times, versions = turns.run(sides, names, settings, **options)
    return turns.summarise(times), versions


def training(context, prefix="training", seconds=0.7):
    """A step of Adam."""
    names = [side for side in train.SIDES if context.compiles or not side.endswith("compiled")]
    sides = context.sides(names, "train.py")
    summary, versions = race(context, sides, context.networks, context.settings(seconds, 0.3))
    for name, case in summary.items():
        case["operations"] = networks.NETWORKS[name].batch_size * networks.training_operations(name)
    return {
        "cases": summary,
        "figures": {f"{prefix}.{name}": figure(case) for name, case in summary.items()},
        "versions": versions,
    }


def single_step(context):
    """A step of gradient descent on one sample."""
    summary, versions = race(
        context, context.sides(lecun1989.SIDES, "lecun1989.py", alone=True), [lecun1989.CASE],
        context.settings(0.7, 0.3), drop_slow=1.15,
    )  # fmt: skip
    figures = {f"single_step.{name}": figure(case) for name, case in summary.items()}
    return {"cases": summary, "figures": figures, "versions": versions}


def fit(context):
    """A whole process that fits: its time from start to end."""
    epochs, n_images = (1, 6000) if context.quick else (3, 60000)
    sides = context.sides(fits.SIDES, "fit.py")
    times, losses, versions = {}, {}, {}
    for process in range(context.processes):
        for side in list(sides):
            start = time.perf_counter()
            try:
                result = measure.run_worker(
                    side.python, "fit.py", "mnist", "--side", side.worker_side, "--epochs", str(epochs), "--images",
                    str(n_images), n_threads=side.n_threads, environment=side.environment,
                )  # fmt: skip
            except (measure.Absent, measure.WorkerError) as error:
                turns.report_line(f"fit, {side.name}: left out ({error})")
                sides.remove(side)
                continue
            elapsed = time.perf_counter() - start
            elapsed = result["processor_seconds"] if context.clock == "processor" else elapsed
            entry = times.setdefault("keras", {}).setdefault(side.name, {"times": [], "notes": {}})
            entry["times"].append([elapsed])
            entry["notes"]["loss of the last epoch"] = losses[side.name] = result["loss"]
            versions[side.package] = result["versions"]
        if process == 0 and times:  # a run takes half a minute: PyTorch's slower layout is not asked again
            found = {name: entry["times"][0][0] for name, entry in times["keras"].items() if not name.startswith(OURS)}
            sides = [side for side in sides if side.is_ours or found[side.name] == min(found.values())]
    summary = turns.summarise(times)
    figures = {f"fit.{name}": figure(case) for name, case in summary.items()}
    if losses and max(losses.values()) > 2 * min(losses.values()):
        turns.report_line(f"fit: the sides did not learn the same: losses {losses}")
        figures = {}
    return {"cases": summary, "figures": figures, "versions": versions}


def predict(context, prefix="predict", peers=None):
    """Batches."""
    names = (OURS, *(peers or ("ONNX Runtime", "OpenVINO", *predicting.PYTORCH)))
    wanted = [f"{name}/{n}" for name in context.networks for n in BATCHES]
    sides = context.sides(names, "predict.py", **KEPT_MEMORY)
    summary, versions = race(context, sides, wanted, context.settings(0.3, 0.1), drop_slow=1.5)
    ratios = ratios_of(summary)
    figures = {}
    if ratios:
        least = named(summary, min(ratios))
        figures[f"{prefix}.mean"] = over_cases(summary, table.geometric_mean(ratios))
        figures[f"{prefix}.least"] = over_cases(summary, None, least)
    return {"cases": summary, "figures": figures, "versions": versions}


def one_image(context):
    """One image, by the predictor and by the estimator."""
    wanted = [f"{name}/1" for name in context.networks]
    sides = context.sides((OURS, "skconv, estimator", "ONNX Runtime"), "predict.py", alone=True)
    times, versions = turns.run(sides, wanted, context.settings(0.3, 0.1))
    estimator = turns.summarise(
        {case: {name: by[name] for name in by if name == "skconv, estimator"} for case, by in times.items()}
    )
    summary = turns.summarise(
        {case: {name: by[name] for name in by if name != "skconv, estimator"} for case, by in times.items()}
    )
    figures = {f"one_image.{case.partition('/')[0]}": figure(entry) for case, entry in summary.items()}
    ratios = ratios_of(summary)
    if ratios:
        figures["one_image.mean"] = over_cases(summary, table.geometric_mean(ratios))
    overheads = {}
    for case, entry in estimator.items():
        summary[case]["sides"] |= entry["sides"]
        notes = summary[case]["sides"].get(OURS, {}).get("notes", {})
        if entry["ours"] and notes.get("skconv's way") == "predictor()":
            own, public = (summary[case]["sides"][name]["seconds"] for name in (OURS, "skconv, estimator"))
            overheads[case] = public - own
            summary[case]["estimator beyond predictor"] = public - own
    if overheads:
        worst = max(overheads, key=overheads.get)
        figures["one_image.overhead"] = {
            "value": 1e6 * overheads[worst],
            "ours": shown(summary[worst]["sides"]["skconv, estimator"]["seconds"]),
            "theirs": shown(summary[worst]["sides"][OURS]["seconds"]),
            "against": f"predictor(), {worst}",
        }
    return {"cases": summary, "figures": figures, "versions": versions}


def over_convolutions(context, prefix, names, seconds, kind="", rounds=LOSER_ROUNDS):
    """A race over the convolutions; losers are measured again. Figures are of the drawn cases, whatever else ran."""
    drawn = [kind + name for name in cases.CASES]
    wanted = [kind + case.name for case in cases.grid()] if context.all_cases else drawn
    settings = context.settings(seconds, seconds / 2, 0.005)
    sides = context.sides(names, "convolve.py", **KEPT_MEMORY)
    times, versions = turns.run(sides, wanted, settings)
    summary = turns.summarise(times)
    bound = table.TARGETS[f"{prefix}.percentile"].value
    for _ in range(0 if context.quick else rounds):
        slow = {name: summary[name]["ratio"] for name in drawn if (summary[name]["ratio"] or bound) < bound}
        if slow:
            again = replace(settings, processes=-(-settings.processes // 2))
            more, _ = turns.run(sides, sorted(slow, key=slow.get)[:MOST_LOSERS], again)
            turns.merge(times, more)
            summary = turns.summarise(times)
    for name, case in summary.items():
        shape = cases.Case.of(name.removeprefix(kind))
        case["operations"] = 2 * shape.multiply_adds * shape.batch_size * (2 if kind else 1)
    if context.all_cases:
        ratios = ratios_of(summary)
        turns.report_line(
            f"all {len(wanted)} cases: geometric mean {table.geometric_mean(ratios) or 0:.2f}, 5th percentile "
            f"{table.percentile(ratios) or 0:.2f}"
        )
    chosen = {name: summary[name] for name in drawn}
    ratios = ratios_of(chosen)
    figures = {}
    if ratios:
        low = table.percentile(ratios)
        figures[f"{prefix}.mean"] = over_cases(chosen, table.geometric_mean(ratios))
        figures[f"{prefix}.percentile"] = over_cases(chosen, None, named(chosen, low))
    return {"cases": summary, "figures": figures, "versions": versions}


def convolution(context):
    """Forward convolution."""
    return over_convolutions(context, "convolution", convolve.SIDES, 0.04)


def gradients(context):
    """Gradients by image and weights."""
    return over_convolutions(context, "gradients", convolve.GRADIENT_SIDES, 0.05, "gradients:")


def peak_share(context):
    """Direct convolution's operations per second; __main__ divides by the peak of the run.

    Taps on the padding are left out by some kernels and not by others. None counts: so the share is never overstated.
    """
    summary, versions = race(context, context.sides((OURS,), "train.py"), ["direct:cifar"], context.settings(1.5))
    figures = {}
    for case in summary.values():
        case["operations"] = networks.NETWORKS["cifar"].batch_size * networks.training_operations(
            "cifar", padding=False
        )
        if case["ours"]:
            seconds = case["sides"][case["ours"]]["seconds"]
            speed = case["operations"] / seconds / 1e9
            figures["peak_share.cifar"] = {
                "value": None, "gflops": speed, "ours": f"{speed:.0f} GFLOP/s", "theirs": "-",
                "against": "peak of the same run",
            }  # fmt: skip
    return {"cases": summary, "figures": figures, "versions": versions}


def gabor(context):
    """The bank of benchmarks/gabor.py, by the workers of that script."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    import gabor as bank
    import numpy as np

    from skconv import GaborFilterBank

    kernels = GaborFilterBank(bank.N_ORIENTATIONS, bank.FREQUENCIES).fit(np.zeros((1, 8, 8))).kernels_
    pythons = {OURS: sys.executable, "OpenCV": context.pythons.get("OpenCV"), "SciPy": sys.executable}
    pythons = {name: python for name, python in pythons.items() if python is not None}
    rng = np.random.default_rng()
    times, versions = {}, {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for _ in range(context.processes):
            image = rng.random((bank.SIDE, bank.SIDE), dtype=np.float32)
            np.savez(folder / "data.npz", image=image, **{f"kernel{i}": kernel for i, kernel in enumerate(kernels)})
            ours = None
            for side, python in list(pythons.items()):
                try:
                    seconds, found, result = bank.run(side.lower(), folder, python, context.threads)
                    ours = result if side == OURS else ours
                    if np.abs(result - ours).max() > 1e-4 * np.abs(ours).max():
                        raise SystemExit("computes something else than skconv")
                except SystemExit as error:
                    turns.report_line(f"{side}: left out ({error})")
                    if side == OURS:
                        return {"cases": {}, "figures": {}, "versions": {}}
                    del pythons[side]
                    times.pop(side, None)
                    continue
                times.setdefault(side, {"times": [], "notes": {}})["times"].append(seconds)
                versions[side] = {package: version for package, version in found.items() if side.lower() in package}
    summary = {
        side: turns.summarise({"bank": {OURS: times[OURS], side: entry}})["bank"]
        for side, entry in times.items() if side != OURS
    }  # fmt: skip
    figures = {f"gabor.{side}": figure(case) for side, case in summary.items()}
    return {"cases": summary, "figures": figures, "versions": versions}


def scaling(context):
    """The same work on one thread and on all."""
    work = {
        "training": ("train.py", "cifar", 1.0),
        "predicting": ("predict.py", "cifar/1000", 1.0),
        "photograph": ("photograph.py", "photograph", 1.0),
    }
    summary, figures, versions = {}, {}, {}
    for name, (script, case, seconds) in work.items():
        sides = [
            Side(f"skconv, {n} thread{'s' * (n > 1)}", sys.executable, script, OURS, n, context.environment)
            for n in (1, max(2, context.threads))
        ]
        times, found = turns.run(sides, [case], context.settings(seconds, 0.1))
        versions |= found
        entry = turns.summarise(times)[case]
        summary[name] = entry
        one, more = (entry["sides"].get(side.name, {}).get("seconds") for side in sides)
        entry["ours"], entry["best_peer"] = sides[1].name, sides[0].name
        entry["ratio"] = one / more if one and more else None
        if entry["ratio"]:
            figures[f"scaling.{name}"] = figure(entry)
    return {"cases": summary, "figures": figures, "versions": versions}


def avx2(context):
    """Training, predicting and convolving with both sides kept to AVX2, against PyTorch alone."""
    context = replace(context, environment=context.environment | AVX2)
    parts = [
        training(replace(context, compiles=False), "avx2.training", 0.4),
        predict(context, "avx2.predict", predicting.PYTORCH),
        over_convolutions(context, "avx2.convolution", (convolve.SKCONV[0], *convolve.PYTORCH), 0.03, rounds=0),
    ]
    merged = {"cases": {}, "figures": {}, "versions": {}}
    for part in parts:
        for key, found in merged.items():
            found |= part[key]
    return merged


def memory(context):
    """Peak memory of a fit."""
    n_images = 5000 if context.quick else 50000
    result = measure.run_worker(
        sys.executable, "fit.py", "memory", "--images", str(n_images), n_threads=context.threads,
        environment=context.environment,
    )  # fmt: skip
    size = result["bytes"] / 1e6
    figures = {"memory.cifar": {"value": size, "ours": f"{size:.0f} MB", "theirs": "-", "against": "-"}}
    return {"cases": {}, "figures": figures, "versions": {OURS: result["versions"]}}


def grid(context):
    """A grid search by one and by two workers; joblib shares the cores out, so no number of threads is set."""
    seconds = {}
    candidates = 0
    length = 4.0 if context.quick else fits.GRID_SECONDS
    for jobs in (1, 2):
        result = measure.run_worker(
            sys.executable, "fit.py", "grid", "--jobs", str(jobs), "--candidates", str(candidates), "--seconds",
            str(length), n_threads=context.threads, environment=context.environment | {"OMP_NUM_THREADS": None},
        )  # fmt: skip
        seconds[jobs], candidates = result["seconds"], result["candidates"]
    figures = {
        "grid.jobs": {
            "value": seconds[1] / seconds[2], "ours": shown(seconds[2]), "theirs": shown(seconds[1]),
            "against": f"n_jobs=1, {candidates} candidates",
        }
    }  # fmt: skip
    return {"cases": {}, "figures": figures, "versions": {OURS: result["versions"]}}


MEASURES = {name: globals()[name] for name in table.ROWS}


def find_pythons(given):
    """Return {package: interpreter} for the peers: the first interpreter that has what the peer needs.

    Parameters
    ----------
    given : list of str
        ``PATH``, which may have any peers, or ``NAME=PATH``, with one of the names of `NEEDED`.

    Raises
    ------
    ValueError
        If a name is unknown.
    """
    found, anywhere = {}, []
    for item in given:
        name, separator, path = item.partition("=")
        if not separator:
            anywhere.append(item)
        elif name in NEEDED:
            found[NEEDED[name][0]] = path
        else:
            raise ValueError(f"--peer-python {item}: expected a path, or one of {', '.join(NEEDED)} before the =")
    for package, modules in NEEDED.values():
        if package not in found:
            python = next((python for python in [*anywhere, sys.executable] if _has(python, modules)), None)
            if python is not None:
                found[package] = python
    return found


NEEDED = {
    "torch": ("PyTorch", ("torch", "numpy")),
    "onnxruntime": ("ONNX Runtime", ("onnxruntime", "onnx", "numpy")),
    "openvino": ("OpenVINO", ("openvino", "onnx", "numpy")),
    "opencv": ("OpenCV", ("cv2", "numpy")),
}


def _has(python, modules):
    """Whether an interpreter finds all modules, without importing them."""
    code = "import importlib.util as u, sys; sys.exit(not all(u.find_spec(m) for m in sys.argv[1:]))"
    try:
        return subprocess.run([python, "-I", "-c", code, *modules], check=False, cwd=os.sep).returncode == 0
    except OSError as error:
        raise ValueError(f"--peer-python {python}: {error.strerror}") from None
