"""The library's plans and kernels/costs.bzl, judged by the measurements in kernels/tuning."""

from __future__ import annotations

import json
import os
import pathlib

import pytest

from edge_llm_plugins import host
from edge_llm_plugins.verify.problems import MODES
from tools.bench import fit_costs, measurements
from tools.bench.measurements import AttentionMeasurement, Int4Measurement

MEASUREMENTS = measurements.read(pathlib.Path(os.environ["INT4"]), Int4Measurement)
SHAPES = sorted({row.shape for row in MEASUREMENTS})
OF_ATTENTION = measurements.read(pathlib.Path(os.environ["ATTENTION"]), AttentionMeasurement)
SM, SM_COUNT = "90", 132


@pytest.fixture(scope="module")
def library():
    return host.open_device("emulator").library  # plans for any SM


@pytest.fixture(scope="module")
def int4_excess(library) -> dict[tuple, float]:
    """By (m, n, k), as `measurements.excess_of_plans`."""
    plans = {shape: library.int4_gemm_variant(*shape, int(SM), SM_COUNT) for shape in SHAPES}
    return measurements.excess_of_plans(MEASUREMENTS, plans)


@pytest.fixture(scope="module")
def attention_excess(library) -> dict[tuple, float]:
    """By `AttentionMeasurement.shape`; the cache of a case is full."""
    plans = {}
    for shape in {row.shape for row in OF_ATTENTION}:
        mode, q_heads, kv_heads, head_size, batch, q_len, kv_len = shape
        plans[shape] = library.attention_variant(
            MODES.index(mode),
            batch,
            q_len,
            q_heads,
            kv_heads,
            head_size,
            kv_len,
            int(SM),
            SM_COUNT,
        )
    return measurements.excess_of_plans(OF_ATTENTION, plans)


@pytest.mark.parametrize("family", ["int4", "attention"])
def test_plans_are_close_to_the_fastest_on_average(family, request):
    excess = request.getfixturevalue(f"{family}_excess")
    assert sum(excess.values()) / len(excess) < 0.015


@pytest.mark.parametrize("family, most", [("int4", 0.12), ("attention", 0.05)])
def test_no_plan_is_far_from_the_fastest(family, most, request):
    excess = request.getfixturevalue(f"{family}_excess")
    worst = max(excess, key=excess.__getitem__)
    assert excess[worst] < most, f"{worst} is {excess[worst]:.0%} slower than it could be"


def test_costs_are_those_of_the_measurements():
    manifest = json.loads(pathlib.Path(os.environ["MANIFEST"]).read_text())
    tables = json.loads(pathlib.Path(os.environ["TABLES"]).read_text())
    fitted = fit_costs.fit(MEASUREMENTS, manifest, SM, SM_COUNT)
    actual = {name: tables["launch_costs"][SM][name] for name in fitted}
    for name, costs in fitted.items():
        hint = (
            f"{name}: run tools/bench/fit_costs.py again, and put its rows into kernels/costs.bzl"
        )
        assert actual[name] == pytest.approx(costs, rel=0.02, abs=0.02), hint


def test_unmeasured_layers_are_planned_well_too():
    """Each layer is planned by costs that were fitted without it."""
    manifest = json.loads(pathlib.Path(os.environ["MANIFEST"]).read_text())
    variants = {variant["name"]: variant for variant in manifest["variants"]}
    found = []
    for layer in sorted({shape[1:] for shape in SHAPES}):
        others = [row for row in MEASUREMENTS if row.shape[1:] != layer]
        costs = fit_costs.fit(others, manifest, SM, SM_COUNT)

        def predicted(row, costs=costs):
            parts = fit_costs.work(row, variants[row.variant], manifest["sms"][SM], SM_COUNT)
            return sum(
                part * us for part, us in zip(parts, costs[row.variant].values(), strict=True)
            )

        for shape in [shape for shape in SHAPES if shape[1:] == layer]:
            rows = [row for row in MEASUREMENTS if row.shape == shape]
            found.append(min(rows, key=predicted).us / min(row.us for row in rows) - 1)
    assert sum(found) / len(found) < 0.02
