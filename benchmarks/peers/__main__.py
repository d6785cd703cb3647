"""Race skconv against PyTorch at training small networks.

    python benchmarks/peers --threads 2 --markdown benchmarks/README.md

Both sides train the same networks with Adam on the same random images, in processes of their own that take turns;
PyTorch runs channels first and channels last, eager and compiled, and its best counts. The multiply-add peak of the
machine is measured before and after. benchmarks/README.md says more.

Exit status: 0; 1 if a ratio is below --min-ratio or could not be found; 2 for wrong arguments; 3 if the run is void.
"""

import argparse
import json
import os
import shlex
import sys

import measure
import networks
import report
from train import PYTORCH, SIDES


def parse_arguments():
    """Return the command line as a namespace."""
    parser = argparse.ArgumentParser(
        prog="python benchmarks/peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", nargs="+", choices=networks.NETWORKS, default=list(networks.NETWORKS))
    parser.add_argument("--threads", type=int, default=2, help="threads of either side (default: 2)")
    parser.add_argument("--processes", type=int, default=7, help="processes per side (default: 7)")
    parser.add_argument("--seconds", type=float, default=2.0, help="measured seconds per process (default: 2)")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--peer-python", metavar="PATH", default=sys.executable, help="interpreter that has PyTorch")
    parser.add_argument("--min-ratio", nargs="+", default=[], metavar="NETWORK=RATIO", help="fail below this ratio")
    parser.add_argument("--json", metavar="FILE", help="write everything measured")
    parser.add_argument("--markdown", metavar="FILE", help="write the figures, unless the run is void")
    args = parser.parse_args()
    if args.threads < 1 or args.processes < 1 or args.seconds <= 0:
        parser.error("--threads and --processes must be at least 1, --seconds above 0")
    minimum = {}
    for item in args.min_ratio:
        name, _, ratio = item.partition("=")
        if name not in args.network:
            parser.error(f"--min-ratio {item}: {name!r} is not among the networks of this run")
        try:
            minimum[name] = float(ratio)
        except ValueError:
            parser.error(f"--min-ratio {item}: expected NETWORK=RATIO, as in digits=4")
    args.min_ratio = minimum
    return args


def command_line(args):
    """Return the command as others would type it: without the paths of this machine."""
    words = ["python", "benchmarks/peers", "--network", *args.network]
    words += ["--threads", str(args.threads), "--processes", str(args.processes), "--seconds", f"{args.seconds:g}"]
    if args.no_compile:
        words.append("--no-compile")
    if args.min_ratio:
        words += ["--min-ratio", *(f"{name}={ratio:g}" for name, ratio in args.min_ratio.items())]
    if args.peer_python != sys.executable:
        words += ["--peer-python", "PYTHON"]
    command = shlex.join(words)
    if "SKCONV_ISA" in os.environ:
        command = f"SKCONV_ISA={shlex.quote(os.environ['SKCONV_ISA'])} {command}"
    return command


def measure_peaks(n_threads):
    """Return the peaks, or None where skconv, which measures them, is absent or fails."""
    try:
        return measure.peaks(n_threads)
    except (measure.Absent, measure.WorkerError) as error:
        print(f"multiply-add peak: not measured ({error})", flush=True)
        return None


def race(name, sides, args, versions):
    """Let `sides` take turns at training the network `name`; return {side: lists of times, one per process}.

    Sides that are absent or fail are left out, with a line that says so; absent ones leave `sides` for good.
    """
    times = {side: [] for side in sides}
    for process in range(args.processes):
        for side in tuple(sides):
            if side not in times:
                continue
            python = args.peer_python if side in PYTORCH else sys.executable
            try:
                # Every process draws its own data; in a turn, all sides have the same.
                result = measure.run_worker(
                    python,
                    "train.py",
                    side,
                    name,
                    "--seconds",
                    str(args.seconds),
                    "--seed",
                    str(process),
                    n_threads=args.threads,
                    seconds=args.seconds,
                )
            except measure.Absent as error:
                print(f"{'PyTorch' if side in PYTORCH else side}: skipped, absent ({error})", flush=True)
                for other in [other for other in sides if (other in PYTORCH) == (side in PYTORCH)]:
                    sides.remove(other)
                    times.pop(other, None)
            except measure.WorkerError as error:
                print(f"{name}, {side}: left out, failed ({error})", flush=True)
                del times[side]
            else:
                times[side].append(result["times"])
                versions["PyTorch" if side in PYTORCH else side] = result["versions"]
    return times


def summarise(name, times):
    """Return the result of one network as plain data; its share of peak is not known yet."""
    batch_size = networks.NETWORKS[name].batch_size
    sides = {}
    for side, by_process in times.items():
        step = measure.fastest_decile([t for process in by_process for t in process])
        sides[side] = {
            "seconds_per_step": step,
            "images_per_second": batch_size / step,
            "n_times": sum(map(len, by_process)),
            "seconds_per_step_by_process": [measure.fastest_decile(process) for process in by_process],
        }
    peers = [side for side in sides if side in PYTORCH]
    best_peer = min(peers, key=lambda side: sides[side]["seconds_per_step"], default=None)
    ratio = None
    if best_peer and "skconv" in sides:
        ratio = sides[best_peer]["seconds_per_step"] / sides["skconv"]["seconds_per_step"]
    return {
        "name": name,
        "batch_size": batch_size,
        "operations_per_image": networks.training_operations(name),
        "sides": sides,
        "best_peer": best_peer,
        "ratio": ratio,
        "share_of_peak": None,
    }


def main():
    """Run, print, write; return the exit status."""
    args = parse_arguments()
    sides = [side for side in SIDES if not (args.no_compile and side.endswith("compiled"))]
    run = {
        "command": command_line(args),
        **report.machine(),
        "threads": args.threads,
        "processes": args.processes,
        "seconds": args.seconds,
        "versions": {},
        "peaks": {},
        "void": False,
        "networks": [],
    }
    print(f"{run['command']}\n{run['date']}, {run['cpu']}, {run['system']}", flush=True)
    if args.processes < report.ENOUGH_PROCESSES:
        print(f"fewer than {report.ENOUGH_PROCESSES} processes per side: a trial, not a measurement", flush=True)

    before = measure_peaks(args.threads)
    if before and measure.is_void(before):
        print("the threads do not reach their peak: this run will be void", flush=True)
    for name in args.network:
        result = summarise(name, race(name, sides, args, run["versions"]))
        run["networks"].append(result)
        for side, figures in result["sides"].items():
            print(f"{name}, {side}: {figures['images_per_second']:,.0f} images/s", flush=True)
    after = measure_peaks(args.threads) if before else None

    if before and after:
        run["peaks"] = {"before": before, "after": after}
        run["void"] = measure.is_void(before, after)
        peak = 1e9 * max(before[args.threads], after[args.threads])
        for result in run["networks"]:
            if "skconv" in result["sides"]:
                speed = result["sides"]["skconv"]["images_per_second"] * result["operations_per_image"]
                result["share_of_peak"] = speed / peak

    print(f"\n{report.text_table(report.rows(run))}\n\n{report.describe_peaks(run)}")
    for side, versions in run["versions"].items():
        print(f"{side}: " + ", ".join(f"{name} {version}" for name, version in versions.items()))
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(run, file, indent=1)
            file.write("\n")
    if run["void"]:
        print(
            f"\nVOID: {args.threads} threads did not reach {measure.VOID_BELOW * args.threads:.1f} times the peak of "
            "one, so the machine was busy and the figures show nothing; repeat the run."
        )
        return 3
    if args.markdown:
        report.write_markdown(run, args.markdown)

    status = 0
    for result in run["networks"]:
        minimum = args.min_ratio.get(result["name"])
        if minimum is None:
            continue
        if result["ratio"] is None:
            print(f"{result['name']}: no ratio, {minimum:g} was asked for")
            status = 1
        elif result["ratio"] < minimum:
            print(f"{result['name']}: ratio {result['ratio']:.2f} is below {minimum:g}")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
