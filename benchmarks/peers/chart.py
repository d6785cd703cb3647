"""The figures as a picture: a bar per ratio, with a mark where its target is. SVG, written by hand."""

import math
import textwrap
from html import escape
from pathlib import Path

import report
import table

WIDTH, LEFT, RIGHT, LINE, BAR = 860, 390, 70, 24, 14
HEAD, FOOT = 48, 28
CAPTION, CAPTION_LINE = 140, 14  # letters and height of a line
MET, MISSED, MARK, TEXT, FAINT = "#2b7a5d", "#c2683c", "#222222", "#333333", "#bbbbbb"


def bars(run):
    """What is drawn: (text, ratio, target, whether met) of all figures that are ratios and lie on one scale."""
    found = []
    for key, figure in report.figures_of(run).items():
        target = table.TARGETS[key]
        if target.unit == "" and figure["value"] is not None:
            found.append((target.text, figure["value"], target.value, target.is_met(figure["value"])))
    return found


def svg(run):
    """Return the picture as text."""
    lines = bars(run)
    largest = max([value for _, ratio, target, _ in lines for value in (ratio, target)], default=1.0)
    # Equal factors are equal lengths, and bars begin at 1: to the right where skconv is faster.
    low, high = 0.9 * min([0.9, *(ratio for _, ratio, _, _ in lines)]), 1.1 * max(2.0, largest)

    def x(ratio):
        return LEFT + (WIDTH - LEFT - RIGHT) * math.log(ratio / low) / math.log(high / low)

    dates = sorted(record["date"] for record in run["rows"].values())
    versions = ", ".join(f"{name} {version}" for name, version in report.versions_of(run).items())
    trial = "A trial, not a measurement. " if report.is_trial(run) else ""
    caption = textwrap.wrap(f"{trial}{dates[-1] if dates else ''}, {run['cpu']}; {versions}", CAPTION)
    height = HEAD + LINE * len(lines) + FOOT + CAPTION_LINE * len(caption)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12" role="img">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="10" y="20" font-size="15" fill="{TEXT}">How many times as fast skconv is</text>',
        f'<text x="10" y="37" fill="{TEXT}">right of 1: skconv is faster; black marks: targets; log scale</text>',
    ]
    bottom = HEAD + LINE * len(lines)
    for tick in (0.1, 0.2, 0.5, 1, 2, 3, 5, 10, 20, 50):
        if low <= tick <= high:
            width = 1.5 if tick == 1 else 0.5
            parts += [
                f'<line x1="{x(tick):.1f}" y1="{HEAD}" x2="{x(tick):.1f}" y2="{bottom}" stroke="{FAINT}" '
                f'stroke-width="{width}"/>',
                f'<text x="{x(tick):.1f}" y="{bottom + 14}" text-anchor="middle" fill="{TEXT}">{tick:g}</text>',
            ]
    for i, (text, ratio, target, met) in enumerate(lines):
        y = HEAD + LINE * i + (LINE - BAR) / 2
        color = MET if met else MISSED
        parts += [
            f'<text x="{LEFT - 8}" y="{y + 11}" text-anchor="end" fill="{TEXT}">{escape(text.replace("`", ""))}</text>',
            f'<rect x="{min(x(ratio), x(1)):.1f}" y="{y}" width="{max(1.0, abs(x(ratio) - x(1))):.1f}" '
            f'height="{BAR}" fill="{color}"/>',
            f'<line x1="{x(target):.1f}" y1="{y - 3}" x2="{x(target):.1f}" y2="{y + BAR + 3}" stroke="{MARK}" '
            'stroke-width="2"/>',
            f'<text x="{max(x(ratio), x(target), x(1)) + 6:.1f}" y="{y + 11}" fill="{TEXT}">{ratio:.2f}</text>',
        ]
    for i, text in enumerate(caption):
        y = height - CAPTION_LINE * (len(caption) - i) + 4
        parts.append(f'<text x="10" y="{y}" font-size="10" fill="{TEXT}">{escape(text)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def write(run, path):
    """Write the picture."""
    Path(path).write_text(svg(run), encoding="utf-8")
