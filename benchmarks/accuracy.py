"""How accurate skconv's networks are: mean and standard deviation over seeds, beside the target of every task.

    SKCONV_DATA=/folder/with/data python benchmarks/accuracy.py [TASK ...] [--seeds 0 1 2] [--threads 2]
        [--json FILE] [--markdown benchmarks/README.md]

Without a task, the names of all are printed. Every seed runs in a process of its own, whose peak memory is that of the
whole process, import and data included. Figures found before are kept in the JSON file, seed by seed: a run that was
cut short goes on from there.

Exit status: 0; 1 if a target is missed; 2 for wrong arguments.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from tasks import TASKS

MARKERS = "<!-- accuracy -->", "<!-- /accuracy -->"


def run_seed(name, seed, n_threads):
    """The figures of one seed, from a process of its own."""
    environment = os.environ | {"OMP_NUM_THREADS": str(n_threads)}
    command = [sys.executable, __file__, "--worker", name, "--seeds", str(seed)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name}, seed {seed}: ended with status {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def work(name, seed):
    """Measure in this process and print the figures as JSON."""
    result = TASKS[name].measure(seed)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(result | {"peak_mib": peak}))


def line(name, seed, result):
    """What the log says of one seed."""
    task = TASKS[name]
    figures = [f"{task.metric} {task.text(result['value'])}"]
    figures += [f"{key} {task.text(result[key])}" for key in ("balanced", "unweighted") if key in result]
    if "epochs" in result:
        figures.append(f"{result['epochs']:g} epochs")
    if "processor_seconds" in result:
        figures.append(f"{result['processor_seconds']:.1f} s of processor time")
    figures += [f"{result['seconds']:.1f} s", f"peak memory {result['peak_mib']:.0f} MiB"]
    return f"{name}, seed {seed}: {', '.join(figures)}"


def summarise(name, results):
    """Mean, deviation and the verdict of a task, as a dict."""
    task = TASKS[name]
    values = [result["value"] for result in results.values()]
    walls = [result["seconds"] for result in results.values()]
    processors = [result["processor_seconds"] for result in results.values()]
    return {
        "mean": float(np.mean(values)),
        "deviation": float(np.std(values, ddof=1)) if len(values) > 1 else float("nan"),
        "seeds": sorted(int(seed) for seed in results),
        "seconds": float(np.median(walls)),
        "processor_seconds": float(np.median(processors)),
        "peak_mib": max(result["peak_mib"] for result in results.values()),
        "is_met": task.is_met(values, walls),
    }


def table(figures):
    """Markdown table of {name: {seed: result}}."""
    rows = [
        "| task | setting | measured | mean | standard deviation | seeds | target | met | s | processor s | peak MiB |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, task in TASKS.items():
        if name in figures:
            found = summarise(name, figures[name])
            deviation = "" if np.isnan(found["deviation"]) else task.text(found["deviation"])
            rows.append(
                f"| `{name}`: {task.what} | {task.setting} | {task.metric} | {task.text(found['mean'])} | {deviation} "
                f"| {len(found['seeds'])} | {task.target_text()} | {'yes' if found['is_met'] else '**no**'} "
                f"| {found['seconds']:.1f} | {found['processor_seconds']:.1f} | {found['peak_mib']:.0f} |"
            )
    return "\n".join(rows)


def write_markdown(file, text):
    """Put `text` between the markers of the file."""
    content = Path(file).read_text(encoding="utf-8")
    start, end = MARKERS
    if start not in content or end not in content:
        raise SystemExit(f"{file} has no {start} ... {end} to write between")
    head, tail = content.split(start)[0], content.split(end)[1]
    Path(file).write_text(f"{head}{start}\n{text}\n{end}{tail}", encoding="utf-8")


def machine(n_threads):
    """One line: when, where and with what."""
    import scipy
    import sklearn

    import skconv

    versions = f"skconv {skconv.__version__}, numpy {np.__version__}, scipy {scipy.__version__}"
    return (
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}; threads: "
        f"{n_threads}; Python {platform.python_version()}; {versions}, scikit-learn {sklearn.__version__}."
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", nargs="*", metavar="TASK", help=f"any of {', '.join(TASKS)}")
    parser.add_argument("--seeds", type=int, nargs="+", help="default: as many as the task's row needs, from 0")
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", 2)))
    parser.add_argument("--json", metavar="FILE", help="keep the figures here, and start from those it has")
    parser.add_argument("--markdown", metavar="FILE", help=f"write the table between {MARKERS[0]} and {MARKERS[1]}")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return work(args.worker, args.seeds[0])
    unknown = [name for name in args.task if name not in TASKS]
    if unknown:
        parser.error(f"no task {unknown[0]!r}; tasks are {', '.join(TASKS)}")
    if not args.task and not (args.json and args.markdown):
        for name, task in TASKS.items():
            print(f"{name:15} {task.what}; {task.setting}; {task.metric}, {task.target_text()}, {task.seeds} seeds")
        return 0
    figures = {}
    if args.json and Path(args.json).is_file():
        figures = json.loads(Path(args.json).read_text(encoding="utf-8"))
    for name in args.task:
        found = figures.setdefault(name, {})
        for seed in args.seeds or range(TASKS[name].seeds):
            if str(seed) not in found:
                found[str(seed)] = run_seed(name, seed, args.threads)
                if args.json:
                    Path(args.json).write_text(json.dumps(figures, indent=1), encoding="utf-8")
            print(line(name, seed, found[str(seed)]), flush=True)
    print(table(figures))
    if args.markdown:
        write_markdown(args.markdown, f"{machine(args.threads)}\n\n{table(figures)}")
    return 0 if all(summarise(name, figures[name])["is_met"] for name in args.task) else 1


if __name__ == "__main__":
    sys.exit(main())
