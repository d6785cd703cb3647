"""A race: sides that do the same cases, each in processes of its own, in turn, and what their times add up to."""

from dataclasses import dataclass, field

import measure
import numpy as np

OURS = "skconv"
# Of the largest value compared. Winograd's algorithm loses some 1e-5 per layer, and steps of training multiply that.
TOLERANCE = 2e-3
MARKED_AS_PEER = ("PyTorch", "ONNX Runtime", "OpenVINO", "OpenCV")


@dataclass(frozen=True)
class Side:
    """One way to run cases: a worker in an interpreter, with threads and environment of its own."""

    name: str
    python: str
    script: str
    worker_side: str
    n_threads: int
    environment: dict = field(default_factory=dict)

    @property
    def is_ours(self):
        return self.name.startswith(OURS)

    @property
    def package(self):
        """What the versions belong to."""
        return (
            OURS if self.is_ours else next((name for name in MARKED_AS_PEER if self.name.startswith(name)), self.name)
        )


def report_line(text):
    """Say what happens, at once."""
    print(text, flush=True)


def run(sides, cases, settings, *, drop_slow=None):
    """Let sides take turns at cases.

    Parameters
    ----------
    sides : list of Side
        Sides that are absent are left out, with a line that says so; and with them the others of their package.
    cases : list of str
    settings : Settings
    drop_slow : float, default=None
        Forms of peers that took this many times as long as the fastest peer in every case are left out after the first
        turn: they would not be the best. None: never.

    Returns
    -------
    times : dict
        {case: {side: {"times": list of lists, one per process, "values": list per process, ...}}}
    versions : dict
        {package: {name: version}}
    """
    found = {case: {} for case in cases}
    versions, left_out = {}, set()
    for process in range(settings.processes):
        for side in sides:
            wanted = [
                case for case in cases if side.name not in left_out and "failed" not in found[case].get(side.name, {})
            ]
            if not wanted:
                continue
            try:
                # Every process draws its own data; in a turn, all sides have the same.
                result = measure.run_worker(
                    side.python, side.script, side.worker_side, *wanted, *settings.worker_options(process),
                    n_threads=side.n_threads, seconds=settings.seconds * len(wanted), environment=side.environment,
                )  # fmt: skip
            except measure.Absent as error:
                report_line(f"{side.package}: skipped, absent ({error})")
                left_out |= {other.name for other in sides if other.package == side.package}
            except measure.WorkerError as error:
                report_line(f"{side.name}: left out, failed ({error})")
                left_out.add(side.name)
            else:
                versions[side.package] = versions.get(side.package, {}) | result["versions"]
                for case, answer in result["results"].items():
                    _keep(found[case], side, answer, process, case)
        if drop_slow and process == 0:
            left_out |= _slow_forms(found, sides, drop_slow)
    return {case: {name: s for name, s in by.items() if "failed" not in s} for case, by in found.items()}, versions


def _keep(by_side, side, answer, process, case):
    """Put what a worker measured with the rest, unless it failed or computed something else than skconv."""
    entry = by_side.setdefault(side.name, {"times": [], "notes": {}})
    if "failed" not in answer and not side.is_ours:
        ours = next((s for name, s in by_side.items() if name.startswith(OURS) and s.get("process") == process), None)
        if ours and not agree(ours["values"], answer["values"]):
            answer = {"failed": "computes something else than skconv"}
    if "failed" in answer:
        report_line(f"{case}, {side.name}: left out ({answer['failed']})")
        entry["failed"] = answer["failed"]
        return
    entry["times"].append(answer["times"])
    entry["notes"] |= answer["notes"]
    entry["process"], entry["values"] = process, answer["values"]


def agree(ours, theirs):
    """Whether two sides computed the same; where one gives fewer values, those are compared."""
    n = min(len(ours), len(theirs))
    a, b = np.array(ours[:n]), np.array(theirs[:n])
    return bool(n and np.isfinite(a).all() and np.abs(a - b).max() <= TOLERANCE * max(np.abs(a).max(), 1e-30))


def _slow_forms(found, sides, factor):
    """Names of peers' forms that took `factor` times as long as the fastest peer in every case."""
    peers = {side.name for side in sides if not side.is_ours}
    least = {}
    for by_side in found.values():
        times = {name: min(entry["times"][0]) for name, entry in by_side.items() if name in peers and entry["times"]}
        for name, t in times.items():
            least[name] = min(least.get(name, np.inf), t / min(times.values()))
    return {name for name, ratio in least.items() if ratio > factor}


def summarise(times):
    """Return {case: figures}: by side its seconds, which peer and which form of skconv is best, and their ratio."""
    summary = {}
    for case, by_side in times.items():
        sides = {}
        for name, entry in by_side.items():
            if not entry["times"]:
                continue
            sides[name] = {
                "seconds": measure.fastest_decile([t for process in entry["times"] for t in process]),
                "n_times": sum(map(len, entry["times"])),
                "seconds_by_process": [measure.fastest_decile(process) for process in entry["times"]],
            }
            if entry["notes"]:
                sides[name]["notes"] = entry["notes"]
        ours = best_of(sides, lambda name: name.startswith(OURS))
        peer = best_of(sides, lambda name: not name.startswith(OURS))
        ratio = sides[peer]["seconds"] / sides[ours]["seconds"] if ours and peer else None
        summary[case] = {"sides": sides, "ours": ours, "best_peer": peer, "ratio": ratio}
    return summary


def best_of(sides, belongs):
    """The name of the fastest side that belongs, or None."""
    return min(filter(belongs, sides), key=lambda name: sides[name]["seconds"], default=None)


def merge(times, more):
    """Add the processes of a second race to those of a first."""
    for case, by_side in more.items():
        for name, entry in by_side.items():
            kept = times[case].setdefault(name, {"times": [], "notes": {}})
            kept["times"] += entry["times"]
            kept["notes"] |= entry["notes"]


@dataclass(frozen=True)
class Settings:
    """How long a race takes.

    Parameters
    ----------
    processes : int
        Per side.
    seconds, warm_up, call_seconds : float
        Measured time per case and process, time before it, and length of a timed call.
    clock : {"wall", "processor"}
        "processor" is for trials on one thread of a busy machine.
    """

    processes: int
    seconds: float
    warm_up: float = measure.WARM_UP_SECONDS
    call_seconds: float = measure.CALL_SECONDS
    clock: str = "wall"

    def worker_options(self, process):
        """For the command line of a worker."""
        return [
            "--seconds", str(self.seconds), "--warm-up", str(self.warm_up), "--call-seconds", str(self.call_seconds),
            "--clock", self.clock, "--seed", str(process),
        ]  # fmt: skip
