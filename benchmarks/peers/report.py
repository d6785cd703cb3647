"""What a run prints, and the section of figures that goes between markers of a Markdown file."""

import datetime
import os
import platform
from pathlib import Path

import table

ENOUGH_PROCESSES = 7  # per side; fewer are a trial
BEGIN, END = "<!-- figures -->", "<!-- /figures -->"


def cpu_name():
    """Return the name of the processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def machine():
    """Return what is known about this machine, and today's date."""
    return {
        "cpu": cpu_name(),
        "system": f"{platform.system()} {platform.machine()}",
        "date": datetime.date.today().isoformat(),
    }


def describe_peaks(run):
    """Return the peaks as one line, or say that there are none."""
    if not run["peaks"]:
        return "Multiply-add peak: unknown"
    parts = []
    for when, measured in run["peaks"].items():
        text = f"{when} {measured[1]:.0f} GFLOP/s on one thread"
        if run["threads"] > 1:
            peak = measured[run["threads"]]
            text += f", {peak:.0f} on {run['threads']} ({peak / measured[1]:.2f} times as much)"
        parts.append(text)
    return "Multiply-add peak: " + "; ".join(parts)


def figures_of(run):
    """All figures of the rows that are not void, {key: figure}, in the order of the targets."""
    found = {}
    for record in run["rows"].values():
        if not record["void"]:
            found |= record["figures"]
    return {key: found[key] for key in table.TARGETS if key in found}


def rows(run):
    """Return the table of results as lists of strings, the header first."""
    lines = [["work", "skconv", "beside it", "which", "figure", "target", "met"]]
    for key, figure in figures_of(run).items():
        target, value = table.TARGETS[key], figure["value"]
        met = "-" if value is None else "yes" if target.is_met(value) else "no"
        shown = [figure["ours"], figure["theirs"], figure["against"], target.show(value), target.show_target(), met]
        lines.append([target.text, *shown])
    return lines


def versions_of(run):
    """Return {package: version} of all rows."""
    found = {}
    for record in run["rows"].values():
        for by_name in record["versions"].values():
            found |= {name: version for name, version in by_name.items() if name != "python"}
    return found


def pythons_of(run):
    """Return the versions of Python in use, as text."""
    found = {by["python"] for record in run["rows"].values() for by in record["versions"].values() if "python" in by}
    return ", ".join(sorted(found)) or platform.python_version()


def is_trial(run):
    """Whether a row had too few processes to count."""
    return any(record["settings"]["processes"] < ENOUGH_PROCESSES for record in run["rows"].values())


def peaks_of(run):
    """Return the range of the peaks of all rows as one line."""
    before_and_after = [peaks for record in run["rows"].values() for peaks in record["peaks"].values()]
    if not before_and_after:
        return "Multiply-add peak: unknown"
    threads = next(iter(run["rows"].values()))["settings"]["threads"]
    parts = []
    for n in sorted({1, threads}):
        found = [peaks[str(n)] for peaks in before_and_after]
        words = "on one thread" if n == 1 else f"on {n}"
        parts.append(f"{min(found):.0f} to {max(found):.0f} GFLOP/s {words}")
    return "Multiply-add peak, before and after every row: " + ", ".join(parts)


def text_table(table):
    """Return `table` with aligned columns."""
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in table)


def convolutions(run, kind, worst=12):
    """The slowest cases of a row of convolutions beside the peer's, as lists of strings, the header first."""
    lines = [["case", "skconv", "GFLOP/s", "form", "peer", "GFLOP/s", "which", "ratio"]]
    cases = run["rows"].get(kind, {"cases": {}})["cases"]
    known = [(case["ratio"], name, case) for name, case in cases.items() if case["ratio"] is not None]
    for ratio, name, case in sorted(known, key=lambda item: item[:2])[:worst]:
        line = [name]
        for side in (case["ours"], case["best_peer"]):
            seconds = case["sides"][side]["seconds"]
            line += [f"{1e3 * seconds:.3f} ms", f"{case['operations'] / seconds / 1e9:.0f}", side]
        lines.append([*line, f"{ratio:.2f}"])
    return lines


def shares(run):
    """Share of the peak by network in the row of training steps, as one line; empty where there is none."""
    record = run["rows"].get("training")
    if not record or not record["peaks"]:
        return ""
    peak = best_peak(record)
    parts = []
    for name, case in record["cases"].items():
        if case["ours"]:
            share = case["operations"] / case["sides"][case["ours"]]["seconds"] / 1e9 / peak
            parts.append(f"`{name}` {share:.0%}")
    return "Share of the peak in training, counted as direct convolution: " + ", ".join(parts)


def best_peak(record):
    """The highest peak of a row's run with all threads, in GFLOP/s."""
    return max(peaks[str(record["settings"]["threads"])] for peaks in record["peaks"].values())


def markdown(run, picture=None):
    """Return the run as a section of Markdown, below the picture at that place where there is one."""
    header, *body = rows(run)
    lines = [header, ["---"] * len(header), *body]
    settings = next(iter(run["rows"].values()))["settings"]
    dates = sorted({record["date"] for record in run["rows"].values()})
    trial = "**A trial, not a measurement.** " if is_trial(run) else ""
    versions = ", ".join(f"{name} {version}" for name, version in versions_of(run).items())
    notes = [
        f"{' to '.join(dict.fromkeys((dates[0], dates[-1])))}, {run['cpu']}, {run['system']}; Python "
        f"{pythons_of(run)}; {versions}.",
        peaks_of(run) + ".",
        shares(run) and shares(run) + ".",
        f"`{run['command']}`",
    ]
    image = [f"![How many times as fast skconv is, by row of the table below]({picture})", ""] if picture else []
    return "\n".join(
        [
            *image,
            f"{trial}Threads: {settings['threads']}; at least {settings['processes']} processes per side; fastest "
            "deciles. Figures are",
            "how many times as fast skconv is, where no unit says otherwise; in brackets what would be better still.",
            "",
            *("| " + " | ".join(line) + " |" for line in lines),
            "",
            *(f"* {note}" for note in notes if note),
        ]
    )


def write_markdown(run, path, picture=None):
    """Write the section to `path`: between the two markers where the file has them, else as the whole file.

    `picture` is the file of the chart, if there is one.
    """
    path = Path(path)
    if picture is not None:
        picture = Path(os.path.relpath(picture, path.parent)).as_posix()
    section = f"{BEGIN}\n{markdown(run, picture)}\n{END}"
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    if BEGIN in old and END in old.partition(BEGIN)[2]:
        before, _, rest = old.partition(BEGIN)
        section = before + section + rest.partition(END)[2]
    else:
        section += "\n"
    path.write_text(section, encoding="utf-8")
