"""What a run prints, and the section of figures that goes into benchmarks/README.md."""

import datetime
import platform
from pathlib import Path

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


def _number(value, pattern):
    return "-" if value is None else pattern.format(value)


def rows(run):
    """Return the table of results as lists of strings, the header first."""
    table = [
        ["network", "batch", "skconv, images/s", "PyTorch, images/s", "its best", "ratio", "skconv's share of peak"]
    ]
    for network in run["networks"]:
        table.append(
            [
                network["name"],
                str(network["batch_size"]),
                _number(network["sides"].get("skconv", {}).get("images_per_second"), "{:,.0f}"),
                _number(network["sides"].get(network["best_peer"], {}).get("images_per_second"), "{:,.0f}"),
                (network["best_peer"] or "-").removeprefix("PyTorch, "),
                _number(network["ratio"], "{:.2f}"),
                _number(network["share_of_peak"], "{:.0%}"),
            ]
        )
    return table


def text_table(table):
    """Return `table` with aligned columns."""
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in table)


def markdown(run):
    """Return the run as a section of Markdown."""
    header, *body = rows(run)
    lines = [header, ["---"] * len(header), *body]
    versions = ", ".join(
        f"{name} {version}" for side in run["versions"].values() for name, version in side.items() if name != "python"
    )
    pythons = ", ".join(sorted({side["python"] for side in run["versions"].values()}))
    trial = "**A trial, not a measurement.** " if run["processes"] < ENOUGH_PROCESSES else ""
    return "\n".join(
        [
            f"{trial}Training steps with Adam; threads: {run['threads']}; processes per side: {run['processes']},",
            f"{run['seconds']:g} s each; fastest deciles. The share of peak counts operations of direct convolution.",
            "",
            *("| " + " | ".join(line) + " |" for line in lines),
            "",
            f"* {run['date']}, {run['cpu']}, {run['system']}; Python {pythons}; {versions}.",
            f"* {describe_peaks(run)}.",
            f"* `{run['command']}`",
        ]
    )


def write_markdown(run, path):
    """Write the section to `path`: between the two markers where the file has them, else as the whole file."""
    path = Path(path)
    section = f"{BEGIN}\n{markdown(run)}\n{END}"
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    if BEGIN in old and END in old.partition(BEGIN)[2]:
        before, _, rest = old.partition(BEGIN)
        section = before + section + rest.partition(END)[2]
    else:
        section += "\n"
    path.write_text(section, encoding="utf-8")
