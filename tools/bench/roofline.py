"""The roofline of a report: what each case reaches of what the GPU can do. Needs matplotlib."""

from __future__ import annotations

import pathlib
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np

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


def draw(axes: pyplot.Axes, family: str, machine: Mapping[str, Any], rows: list[Row]) -> None:
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


def write(path: pathlib.Path, runs: Sequence[tuple[str, Mapping[str, Any], list[Row]]]) -> None:
    """Writes one SVG with a roofline per run: family, machine and rows, as results.read gives."""
    figure, axes = pyplot.subplots(1, len(runs), figsize=(6 * len(runs), 4.5))
    for (family, machine, rows), part in zip(runs, np.atleast_1d(axes), strict=True):
        draw(part, family, machine, [row for row in rows if OURS in row.measured])
    figure.suptitle(f"{machine['gpu']}, {machine['date']}")
    figure.tight_layout()
    figure.savefig(path, format="svg", metadata={"Date": None})
    path.write_text(wrapped(path.read_text()))
