"""What all workers share: one side in this process, several cases one after the other, times and results as JSON.

A worker has a function ``prepare(side, case, seed, n_threads)`` that returns a `Task`. It runs the case once and keeps
some values of what came out, so that whoever started the workers can see whether all sides compute the same; then it is
timed. An ImportError means that the side is absent.
"""

import argparse
import json
import platform
import sys
import time
from dataclasses import dataclass, field

import measure
import numpy as np

N_VALUES = 200  # of a result that are compared


@dataclass
class Task:
    """A case on one side, ready to run.

    Parameters
    ----------
    step : callable
        ``step(n_steps)`` runs it n times.
    values : sequence of float
        What came out the first time, the same on all sides but for rounding.
    versions : dict
        Of what is in use, by name.
    notes : dict
        What else is worth knowing, for the JSON file.
    """

    step: callable
    values: list
    versions: dict
    notes: dict = field(default_factory=dict)


def some_values(*arrays):
    """Values of the results at places spread over them, as a list."""
    found = []
    for array in arrays:
        flat = np.ascontiguousarray(array, dtype=np.float64).ravel()
        found += flat[np.linspace(0, len(flat) - 1, min(N_VALUES, len(flat))).astype(int)].tolist()
    return found


def repeat(call):
    """A step of `call`."""

    def step(n_steps):
        for _ in range(n_steps):
            call()

    return step


def time_task(task, arguments):
    """Times per step of a task."""
    return measure.time_steps(
        task.step, arguments.seconds, warm_up=arguments.warm_up, call_seconds=arguments.call_seconds,
        clock=time.process_time if arguments.clock == "processor" else time.perf_counter,
    )  # fmt: skip


def main(doc, prepare, sides, is_case):
    """Read the command line, run, print."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("side", choices=sides)
    parser.add_argument("cases", nargs="+", metavar="case")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=1.0, help="measured seconds per case")
    parser.add_argument("--warm-up", type=float, default=measure.WARM_UP_SECONDS, help="seconds before")
    parser.add_argument("--call-seconds", type=float, default=measure.CALL_SECONDS, help="length of a timed call")
    parser.add_argument("--clock", choices=("wall", "processor"), default="wall")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    unknown = [case for case in arguments.cases if not is_case(case)]
    if unknown:
        parser.error(f"unknown case {unknown[0]!r}")
    results, versions = {}, {"python": platform.python_version()}
    for case in arguments.cases:
        try:
            task = prepare(arguments.side, case, arguments.seed, arguments.threads)
        except ImportError as error:
            print(json.dumps({"absent": str(error)}))
            return
        except Exception as error:  # the other cases of this side count all the same
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            print(f"{case}: {reason}", file=sys.stderr)
            results[case] = {"failed": reason}
            continue
        versions |= task.versions
        results[case] = {"times": time_task(task, arguments), "values": task.values, "notes": task.notes}
    print(json.dumps({"results": results, "versions": versions}))
