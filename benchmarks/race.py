"""Small races: cases, each with sides that do the same work, every side in processes of its own, in turn.

A script names its cases and calls `main`:

    def skconv_max(seed): ...        # prepares, and returns the function to be timed and {"skconv": version}
    def pytorch_max(seed): ...
    main(__doc__, {"max": {"skconv": skconv_max, "PyTorch": pytorch_max}})

The protocol is that of benchmarks/peers (README.md beside this file): fastest deciles over all processes of a side,
multiply-add peaks before and after, and a run whose threads did not reach their peak is void. A side that raises
ImportError is skipped, and the output says so. The first side of a case is what the others are compared with.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "peers"))
import measure
import report


def worker(prepare, seconds):
    """Time one side in this process; print the times as JSON."""
    try:
        step, versions = prepare()
    except ImportError as error:
        print(json.dumps({"absent": str(error)}))
        return

    def steps(n):
        for _ in range(n):
            step()

    print(json.dumps({"times": measure.time_steps(steps, seconds), "versions": versions}))


def run_side(python, case, side, threads, seconds, seed):
    """Run one process of one side; return what it measured, or why it did not."""
    command = [python, sys.argv[0], "--worker", case, side, "--seconds", str(seconds), "--seed", str(seed)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{case}, {side}: failed\n{done.stderr}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def race(case, sides, arguments):
    """Return ({side: seconds}, {package: version}) of one case."""
    times, versions = {side: [] for side in sides}, {}
    for process in range(arguments.processes):
        for side in tuple(times):
            python = sys.executable if side.startswith("skconv") else arguments.peer_python
            result = run_side(python, case, side, arguments.threads, arguments.seconds, process)
            if "absent" in result:
                print(f"{case}, {side}: skipped, absent ({result['absent']})", flush=True)
                del times[side]
                continue
            times[side] += result["times"]
            versions |= result["versions"]
    return {side: measure.fastest_decile(values) for side, values in times.items()}, versions


def main(doc, cases):
    """Read the command line; run as a worker, or run the race, print it and exit."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", nargs="+", choices=list(cases), default=list(cases))
    sides = sorted({side for case in cases.values() for side in case})
    parser.add_argument("--side", nargs="+", choices=sides, default=sides, metavar="SIDE", help="some sides only")
    parser.add_argument("--processes", type=int, default=7, help="processes per side (default: 7)")
    parser.add_argument("--threads", type=int, default=2, help="threads of every side (default: 2)")
    parser.add_argument("--seconds", type=float, default=1.0, help="measured seconds per process (default: 1)")
    parser.add_argument("--peer-python", metavar="PATH", default=sys.executable, help="interpreter that has the peers")
    parser.add_argument("--worker", nargs=2, metavar=("CASE", "SIDE"), help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        case, side = arguments.worker
        worker(lambda: cases[case][side](arguments.seed), arguments.seconds)
        return
    before = measure.peaks(arguments.threads)
    versions, rows = {}, [["case", "side", "ms", "ratio"]]
    for case in arguments.case:
        chosen = [side for side in cases[case] if side in arguments.side]
        seconds, found = race(case, chosen, arguments)
        versions |= found
        first = next(iter(seconds.values()), None)
        rows += [[case, side, f"{1e3 * t:.3f}", f"{t / first:.2f}"] for side, t in seconds.items()]
    after = measure.peaks(arguments.threads)
    machine = report.machine()
    print(report.text_table(rows))
    print(f"\n{machine['date']}, {machine['cpu']}, {machine['system']}; threads: {arguments.threads}")
    print(", ".join(f"{name} {version}" for name, version in versions.items()))
    print(report.describe_peaks({"peaks": {"before": before, "after": after}, "threads": arguments.threads}))
    if measure.is_void(before, after):
        print("VOID: the threads did not reach their peak, so the machine was busy; repeat the run.")
        sys.exit(3)
