"""Fits the launch costs of an SM to a tuner's measurements: the numbers of kernels/costs.bzl.

    python3 -m tools.bench.fit_costs tune_int4_gemm.json --csv=kernels/tuning/int4_gemm_h200.csv
    python3 -m tools.bench.fit_costs kernels/tuning/int4_gemm_h200.csv

The first keeps the measurements as data, and both print the rows of kernels/costs.bzl. What the
costs mean, kernels/variant_facts.h says; this computes the same from the same facts.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import itertools
import json
import pathlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools.bench import residency

COSTS = ("launch", "cta", "step", "wait", "partial")


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One launch of a variant of the INT4 GEMM."""

    n: int
    k: int
    m: int
    variant: str
    splits: int
    us: float

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.m, self.n, self.k


FIELDS = [field.name for field in dataclasses.fields(Measurement)]


def read(path: pathlib.Path) -> list[Measurement]:
    """The measurements of a CSV, or of a tuner's JSON without the library's and what failed."""
    if path.suffix == ".json":
        rows = json.loads(path.read_text())["rows"]
        rows = [row for row in rows if "us" in row and row["splits"]]
    else:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
    types = {field.name: field.type for field in dataclasses.fields(Measurement)}
    convert = {"int": int, "float": float, "str": str}
    return [
        Measurement(**{name: convert[types[name]](row[name]) for name in FIELDS}) for row in rows
    ]


def write(path: pathlib.Path, measurements: Iterable[Measurement]) -> None:
    rows = sorted(dataclasses.astuple(row) for row in measurements)
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([FIELDS, *rows])


def work(
    row: Measurement, variant: Mapping[str, Any], sm: Mapping[str, Any], sm_count: int
) -> list[float]:
    """What a launch has of each of COSTS."""
    tile = variant["tile"]
    resident = residency.ctas_per_sm(variant, sm)
    # The warps of a GEMV take a step each, those of a GEMM take one together.
    step = tile["tile_k"] * (tile["warps_k"] if variant["kind"] == "gemv" else 1)
    steps = _ceil_div(_ceil_div(row.k, step), row.splits)
    ctas = _ceil_div(row.m, tile["tile_m"]) * _ceil_div(row.n, tile["tile_n"]) * row.splits
    ctas_per_sm = _ceil_div(ctas, sm_count)
    waves = _ceil_div(ctas, sm_count * resident)
    partials = row.splits * row.m * row.n if row.splits > 1 else 0
    return [1, ctas_per_sm, ctas_per_sm * steps, waves * steps, partials / 1e6]


def fit(
    measurements: Sequence[Measurement], manifest: Mapping[str, Any], sm: str, sm_count: int
) -> dict[str, dict[str, float]]:
    """COSTS by variant: least squares of the relative errors, none of them negative."""
    variants = {variant["name"]: variant for variant in manifest["variants"]}
    costs = {}
    for name in sorted({row.variant for row in measurements}):
        rows = [row for row in measurements if row.variant == name]
        parts = [work(row, variants[name], manifest["sms"][sm], sm_count) for row in rows]
        relative = np.array(parts) / np.array([[row.us] for row in rows])
        costs[name] = dict(
            zip(COSTS, (round(float(us), 2) for us in _solve(relative)), strict=True)
        )
    return costs


def _solve(parts: NDArray[np.float64]) -> NDArray[np.float64]:
    """The x >= 0 with the least |parts x - 1|: with few unknowns, every set of zeros is tried.

    Of several as good the one with the most zeros: where a multiprocessor runs one CTA, say, what
    it computes and what it waits for cannot be told apart.
    """
    best, least = np.zeros(parts.shape[1]), np.inf
    for count in range(1, parts.shape[1] + 1):
        for used in map(list, itertools.combinations(range(parts.shape[1]), count)):
            x = np.linalg.lstsq(parts[:, used], np.ones(len(parts)), rcond=None)[0]
            error = np.sum((parts[:, used] @ x - 1) ** 2)
            if (x >= 0).all() and error < least * (1 - 1e-9):
                best, least = np.zeros(parts.shape[1]), error
                best[used] = x
    return best


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("measurements", type=pathlib.Path, help="JSON of a tuner, or CSV")
    parser.add_argument("--manifest", type=pathlib.Path, required=True)
    parser.add_argument("--sm", default="90")
    parser.add_argument("--sm_count", type=int, default=132)
    parser.add_argument("--csv", type=pathlib.Path, help="where to keep the measurements")
    args = parser.parse_args()
    measurements = read(args.measurements)
    if args.csv:
        write(args.csv, measurements)
    manifest = json.loads(args.manifest.read_text())
    for name, costs in fit(measurements, manifest, args.sm, args.sm_count).items():
        print(f'        "{name}": {json.dumps(costs)},')
    return 0


if __name__ == "__main__":
    sys.exit(main())
