"""Fits the launch costs of an SM to measurements of the INT4 GEMM: the rows of kernels/costs.bzl.

    python3 -m tools.bench.fit_costs kernels/tuning/int4_gemm_h200.csv --manifest=manifest.json

What the costs mean, kernels/variant_facts.h says; this computes the same from the same facts.
"""

from __future__ import annotations

import argparse
import itertools
import json
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools.bench import residency
from tools.bench.measurements import Int4Measurement, read

COSTS = ("launch", "cta", "step", "wait", "partial")


def work(
    row: Int4Measurement, variant: Mapping[str, Any], sm: Mapping[str, Any], sm_count: int
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
    measurements: Sequence[Int4Measurement], manifest: Mapping[str, Any], sm: str, sm_count: int
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
    parser.add_argument("measurements", type=pathlib.Path, help="CSV")
    parser.add_argument("--manifest", type=pathlib.Path, required=True)
    parser.add_argument("--sm", default="90")
    parser.add_argument("--sm_count", type=int, default=132)
    args = parser.parse_args()
    measurements = read(args.measurements, Int4Measurement)
    manifest = json.loads(args.manifest.read_text())
    for name, costs in fit(measurements, manifest, args.sm, args.sm_count).items():
        print(f'        "{name}": {json.dumps(costs)},')
    return 0


if __name__ == "__main__":
    sys.exit(main())
