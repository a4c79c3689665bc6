"""What tuners measured on a GPU, kept as CSV in kernels/tuning.

    python3 -m tools.bench.measurements tune_attention.json --csv=kernels/tuning/attention_h200.csv

keeps the rows of one or more tuners' JSON, of the same family; of a launch that was measured more
than once, the first. The library's own choice and what failed are left out.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import pathlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar


@dataclasses.dataclass(frozen=True)
class Int4Measurement:
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


@dataclasses.dataclass(frozen=True)
class AttentionMeasurement:
    """One launch of a variant of attention, and of what comes before and after it."""

    mode: str
    q_heads: int
    kv_heads: int
    head_size: int
    batch: int
    q_len: int
    kv_len: int
    variant: str
    splits: int
    us: float

    @property
    def shape(self) -> tuple[str, int, int, int, int, int, int]:
        """All but the launch."""
        heads = self.q_heads, self.kv_heads, self.head_size
        return self.mode, *heads, self.batch, self.q_len, self.kv_len


FAMILIES: dict[str, type] = {"int4_gemm": Int4Measurement, "attention": AttentionMeasurement}

M = TypeVar("M", Int4Measurement, AttentionMeasurement)


def read(path: pathlib.Path, kind: type[M]) -> list[M]:
    """The measurements of a CSV."""
    with path.open(newline="") as file:
        return [_measurement(row, kind) for row in csv.DictReader(file)]


def of_tuner(rows: Iterable[Mapping[str, Any]], kind: type[M]) -> list[M]:
    """The measurements among the rows of a tuner's JSON."""
    measured = [row for row in rows if "us" in row and row["splits"]]
    return [_measurement({**row, **row.get("model", {})}, kind) for row in measured]


def write(path: pathlib.Path, measurements: Iterable[M], kind: type[M]) -> None:
    """Sorted, one of each launch."""
    first: dict[tuple, M] = {}
    for row in measurements:
        first.setdefault((*row.shape, row.variant, row.splits), row)
    with path.open("w", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow([field.name for field in dataclasses.fields(kind)])
        lines.writerows(sorted(dataclasses.astuple(row) for row in first.values()))


def excess_of_plans(measurements: Sequence[M], plan_of: Mapping[tuple, str]) -> dict[tuple, float]:
    """By which part each shape's plan, "variant splits=N", takes longer than the fastest launch.

    Raises:
      ValueError: a plan was not measured; run the tuner again, and keep what it writes.
    """
    times: dict[tuple, dict[str, float]] = {}
    for row in measurements:
        times.setdefault(row.shape, {})[f"{row.variant} splits={row.splits}"] = row.us
    found = {}
    for shape, of_shape in times.items():
        plan = plan_of[shape]
        if plan not in of_shape:
            raise ValueError(f"{shape}: {plan} was not measured; run the tuner, and keep its rows")
        found[shape] = of_shape[plan] / min(of_shape.values()) - 1
    return found


def _measurement(row: Mapping[str, Any], kind: type[M]) -> M:
    convert = {"int": int, "float": float, "str": str}
    return kind(
        **{field.name: convert[field.type](row[field.name]) for field in dataclasses.fields(kind)}
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=pathlib.Path, nargs="+", help="JSON of a tuner")
    parser.add_argument("--csv", type=pathlib.Path, required=True, help="what is written")
    args = parser.parse_args()
    results = [json.loads(path.read_text()) for path in args.results]
    families = {result["family"] for result in results}
    if len(families) != 1 or not families <= FAMILIES.keys():
        named, allowed = (", ".join(sorted(names)) for names in (families, FAMILIES))
        parser.error(f"results are of {named}: give those of one family, of {allowed}")
    kind = FAMILIES[families.pop()]
    write(args.csv, [row for result in results for row in of_tuner(result["rows"], kind)], kind)
    return 0


if __name__ == "__main__":
    sys.exit(main())
