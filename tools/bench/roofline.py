"""Draws the rooflines of benchmarks: what each case reaches of what the GPU can do.

    python3 -m tools.bench.roofline int4_gemm.json attention.json --output=roofline.svg

Needs matplotlib, and no GPU.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
import textwrap

import matplotlib
import numpy as np

from tools.bench import results
from tools.bench.results import OURS, Row

matplotlib.use("svg")
# Text stays text, and the same data gives the same file.
matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "roofline"})

from matplotlib import pyplot  # noqa: E402  after the choice of the back end

_TITLES = {"int4_gemm": "INT4 groupwise GEMM", "attention": "Attention"}

# Longest line of the file, so that it can be read and compared as text.
_COLUMNS = 100


def groups(rows: list[Row]) -> dict[str, list[Row]]:
    """Rows of one colour: modes of attention, row counts of the GEMM."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        if row.case.family == "attention":
            found.setdefault(row.case.mode, []).append(row)
        else:
            m = row.case.m
            name = "M 1-8" if m <= 8 else "M 16-128" if m <= 128 else "M 512-2048"
            found.setdefault(name, []).append(row)
    return found


def draw(axes: pyplot.Axes, family: str, machine: dict, rows: list[Row]) -> None:
    """One roofline: floating-point operations per second over those per byte."""
    ceilings = machine["ceilings"]
    intensities = [row.case.flops / row.case.nbytes for row in rows]
    x = np.geomspace(min(intensities) / 2, max(intensities) * 2, 200)
    roof = np.minimum(x * ceilings["bytes_per_second"], ceilings["flops"]) / 1e12
    axes.plot(x, roof, color="black", linewidth=1, label="floor")
    for index, (name, members) in enumerate(groups(rows).items()):
        at = [row.case.flops / row.case.nbytes for row in members]
        best = [row.peers.us.get(row.peers.best() or "", np.nan) for row in members]
        ours = [row.ours_us or np.nan for row in members]
        work = np.array([row.case.flops for row in members]) / 1e6
        colour = f"C{index}"
        axes.scatter(at, work / best, s=22, facecolors="none", edgecolors=colour, linewidths=0.8)
        axes.scatter(at, work / ours, s=22, color=colour, label=name)
    axes.scatter([], [], s=22, facecolors="none", edgecolors="grey", label="fastest peer")
    axes.set(xscale="log", yscale="log", title=_TITLES[family])
    axes.set(xlabel="FLOP per byte", ylabel="TFLOP/s")
    axes.grid(which="major", linewidth=0.3)
    axes.legend(fontsize=8)


def wrapped(svg: str) -> str:
    """The same drawing in short lines: XML takes a line break for any other space."""
    wrapper = textwrap.TextWrapper(
        _COLUMNS, break_long_words=False, break_on_hyphens=False, replace_whitespace=False
    )
    return "\n".join(wrapper.fill(line) for line in svg.splitlines()) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=pathlib.Path, nargs="+", help="JSON of the benchmarks")
    parser.add_argument("--output", type=pathlib.Path, required=True, help="the SVG to write")
    args = parser.parse_args()
    figure, axes = pyplot.subplots(1, len(args.results), figsize=(6 * len(args.results), 4.5))
    for path, part in zip(args.results, np.atleast_1d(axes), strict=True):
        family, machine, rows = results.read(path)
        draw(part, family, machine, [row for row in rows if OURS in row.measured])
    figure.suptitle(f"{machine['gpu']}, {machine['date']}")
    figure.tight_layout()
    figure.savefig(args.output, format="svg", metadata={"Date": None})
    args.output.write_text(wrapped(args.output.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
