"""Race skconv against PyTorch, ONNX Runtime, OpenVINO, OpenCV and SciPy, and print the whole table.

    python benchmarks/peers --peer-python /path/to/python/with/torch --json peers.json --markdown benchmarks/README.md
    python benchmarks/peers --quick --rows training predict

Every side of every row has processes of its own, which take turns; each computes the same as skconv, or is left out
with a line that says so. Peers that no interpreter has are skipped. The multiply-add peak is measured before and after
every row; a row during which the threads did not reach it is void. Rows that --json already holds, measured with the
same settings, are not measured again. benchmarks/README.md says more.

Exit status: 0; 1 if a figure asked for by --check or --min-ratio is missed or could not be found; 2 for wrong
arguments; 3 if a row is void.
"""

import argparse
import json
import os
import shlex
import sys
from pathlib import Path

import chart
import measure
import networks
import report
import rows
import table
import turns

FORMAT = 2  # of the JSON file


def parse_arguments(words=None):
    """Return the command line as a namespace."""
    parser = argparse.ArgumentParser(
        prog="python benchmarks/peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", nargs="+", choices=table.ROWS, default=list(table.ROWS), metavar="ROW",
                        help=f"some of {', '.join(table.ROWS)}; all by default")  # fmt: skip
    parser.add_argument("--network", nargs="+", choices=networks.NETWORKS, default=list(networks.NETWORKS),
                        help="of the rows that train and predict")  # fmt: skip
    parser.add_argument("--threads", type=int, default=2, help="threads of either side (default: 2)")
    parser.add_argument("--processes", type=int, help="processes per side (default: 7, with --quick 1)")
    parser.add_argument("--seconds", type=float, help="measured seconds per case and process, in place of each row's")
    parser.add_argument("--quick", action="store_true", help="a trial of a few minutes, which shows nothing")
    parser.add_argument("--grid", action="store_true", help="the whole grid of convolutions besides the 60")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--clock", choices=("wall", "processor"), default="wall",
                        help="processor: for trials on one thread of a busy machine")  # fmt: skip
    parser.add_argument("--peer-python", metavar="[NAME=]PATH", action="append", default=[],
                        help="an interpreter that has peers; NAME is one of " + ", ".join(rows.NEEDED))  # fmt: skip
    parser.add_argument("--check", action="store_true", help="fail where a target of these rows is missed")
    parser.add_argument("--min-ratio", nargs="+", default=[], metavar="FIGURE=RATIO", help="fail below this")
    parser.add_argument("--json", metavar="FILE", help="everything measured; rows it holds are not measured again")
    parser.add_argument("--again", action="store_true", help="measure rows again that --json holds")
    parser.add_argument(
        "--markdown", metavar="FILE", nargs="+", default=[], help="write the table, unless a row is void"
    )
    parser.add_argument("--chart", metavar="FILE", help="write the picture, an SVG file, unless a row is void")
    args = parser.parse_args(words)
    if args.processes is None:
        args.processes = 1 if args.quick else report.ENOUGH_PROCESSES
    if args.threads < 1 or args.processes < 1 or (args.seconds is not None and args.seconds <= 0):
        parser.error("--threads and --processes must be at least 1, --seconds above 0")
    if args.clock == "processor" and args.threads > 1:
        parser.error("--clock processor adds up the time of all threads: use it with --threads 1")
    if args.chart and Path(args.chart).suffix != ".svg":
        parser.error(f"--chart {args.chart}: the picture is an SVG file, so its name must end in .svg")
    args.rows = [name for name in table.ROWS if name in args.rows]
    try:
        args.bounds = table.bounds(args.rows, args.check, args.min_ratio)
        args.pythons = rows.find_pythons(args.peer_python)
    except ValueError as error:
        parser.error(str(error))
    return args


def command_line(args, measured=None):
    """Return the command as others would type it: without the paths of this machine.

    `measured` are the rows of the table, where some are of earlier runs with the same settings.
    """
    words = ["python", "benchmarks/peers"]
    measured = args.rows if measured is None else measured
    if measured != list(table.ROWS):
        words += ["--rows", *measured]
    if args.network != list(networks.NETWORKS):
        words += ["--network", *args.network]
    words += ["--threads", str(args.threads), "--processes", str(args.processes)]
    if args.seconds:
        words += ["--seconds", f"{args.seconds:g}"]
    for name in ("quick", "grid", "no_compile", "check"):
        if getattr(args, name):
            words.append("--" + name.replace("_", "-"))
    if args.clock != "wall":
        words += ["--clock", args.clock]
    if args.min_ratio:
        words += ["--min-ratio", *args.min_ratio]
    if args.peer_python:
        words += ["--peer-python", "PYTHON"]
    command = shlex.join(words)
    if "SKCONV_ISA" in os.environ:
        command = f"SKCONV_ISA={shlex.quote(os.environ['SKCONV_ISA'])} {command}"
    return command


def settings_of(args):
    """What must be equal for a row of an earlier run to stand."""
    return {
        "threads": args.threads,
        "processes": args.processes,
        "seconds": args.seconds,
        "quick": args.quick,
        "grid": args.grid,
        "compile": not args.no_compile,
        "clock": args.clock,
        "networks": args.network,
        "isa": os.environ.get("SKCONV_ISA"),
    }


def stands(record, settings):
    """Whether a row of an earlier run need not be measured again."""
    return record["settings"] == settings and not record["void"]


def load(path, settings):
    """Return the rows of the JSON file of an earlier run that stand."""
    if not path or not Path(path).exists():
        return {}
    with open(path, encoding="utf-8") as file:
        run = json.load(file)
    if run.get("format") != FORMAT:
        raise SystemExit(f"{path} is of another kind; give --json another name")
    return {name: record for name, record in run["rows"].items() if stands(record, settings)}


def save(run, path):
    """Write everything measured so far; a run that is interrupted goes on from there."""
    if path:
        draft = Path(f"{path}.part")
        draft.write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")
        draft.replace(path)


def measure_peaks(args):
    """Return the peaks, or None where skconv, which measures them, is absent or fails."""
    try:
        peaks = measure.peaks(args.threads, 1 if args.quick else measure.PEAK_PROCESSES)
    except (measure.Absent, measure.WorkerError) as error:
        turns.report_line(f"multiply-add peak: not measured ({error})")
        return None
    return {str(n): peak for n, peak in peaks.items()}


def is_void(*peaks):
    """Whether the machine was busy, by what `measure_peaks` returned."""
    return measure.is_void(*({int(n): peak for n, peak in found.items()} for found in peaks if found))


def measure_row(name, context, settings, before, args):
    """Measure a row; return its record, and the peaks after it."""
    try:
        record = rows.MEASURES[name](context)
    except (measure.Absent, measure.WorkerError) as error:
        turns.report_line(f"{name}: left out ({error})")
        record = {"cases": {}, "figures": {}, "versions": {}}
    after = measure_peaks(args) if before else None
    peaks = {"before": before, "after": after} if before and after else {}
    record |= {
        "title": table.ROWS[name],
        "settings": settings,
        "peaks": peaks,
        "void": bool(peaks) and is_void(before, after),
        "date": report.machine()["date"],
    }
    if "peak_share.cifar" in record["figures"] and peaks:
        figure, peak = record["figures"]["peak_share.cifar"], report.best_peak(record)
        figure |= {"value": figure["gflops"] / peak, "theirs": f"{peak:.0f} GFLOP/s"}
    return record, after


def print_row(name, record):
    """What came out, case by case."""
    for case, entry in record["cases"].items():
        sides = ", ".join(f"{side} {rows.shown(found['seconds'])}" for side, found in entry["sides"].items())
        ratio = "" if entry["ratio"] is None else f"; ratio {entry['ratio']:.2f}"
        turns.report_line(f"  {case}: {sides}{ratio}")
    for key, figure in record["figures"].items():
        turns.report_line(f"{key}: {table.TARGETS[key].show(figure['value'])}")
    if record["void"]:
        turns.report_line(f"{name}: VOID, the threads did not reach their peak; it will be measured again")


def main():
    """Run, print, write; return the exit status."""
    args = parse_arguments()
    settings = settings_of(args)
    run = {"format": FORMAT, "command": command_line(args), **report.machine()}
    run["rows"] = load(args.json, settings)
    context = rows.Context(
        threads=args.threads, processes=args.processes, pythons=args.pythons, compiles=not args.no_compile,
        quick=args.quick, seconds=args.seconds, clock=args.clock, networks=tuple(args.network), all_cases=args.grid,
    )  # fmt: skip
    print(f"{run['command']}\n{run['date']}, {run['cpu']}, {run['system']}", flush=True)
    missing = [package for package, _ in rows.NEEDED.values() if package not in args.pythons]
    if missing:
        print(f"skipped, absent: {', '.join(missing)}", flush=True)
    if args.quick or args.processes < report.ENOUGH_PROCESSES:
        print(f"fewer than {report.ENOUGH_PROCESSES} processes per side: a trial, not a measurement", flush=True)

    peaks = None
    for name in args.rows:
        if name in run["rows"] and not args.again:
            print(f"\n{table.ROWS[name]}: measured {run['rows'][name]['date']}", flush=True)
            continue
        peaks = peaks or measure_peaks(args)
        if peaks and is_void(peaks):
            print("the threads do not reach their peak: this row will be void", flush=True)
        print(f"\n{table.ROWS[name]}", flush=True)
        record, peaks = measure_row(name, context, settings, peaks, args)
        run["rows"][name] = record
        print_row(name, record)
        save(run, args.json)
    run["rows"] = {name: run["rows"][name] for name in table.ROWS if name in run["rows"]}
    run["command"] = command_line(args, list(run["rows"]))
    save(run, args.json)

    print(f"\n{report.text_table(report.rows(run))}\n\n{report.peaks_of(run)}\n{report.shares(run)}")
    for kind in ("convolution", "gradients"):
        if kind in args.rows:
            print(f"\nThe slowest cases, {table.ROWS[kind]}:\n{report.text_table(report.convolutions(run, kind))}")
    print(", ".join(f"{name} {version}" for name, version in report.versions_of(run).items()))
    void = [name for name in args.rows if run["rows"][name]["void"]]
    if void:
        print(
            f"\nVOID: {', '.join(void)}. {args.threads} threads did not reach "
            f"{measure.VOID_BELOW * args.threads:.1f} times the peak of one, so the machine was busy and the figures "
            "show nothing; repeat the run."
        )
        return 3
    if args.chart:
        chart.write(run, args.chart)
    for path in args.markdown:
        report.write_markdown(run, path, args.chart)
    lines = table.failures(report.figures_of(run), args.bounds)
    print("\n".join(lines))
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
