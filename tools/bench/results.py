"""What a run measured, as JSON, and what follows from it for each case."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from tools.bench import recorded, targets
from tools.bench.cases import FAMILIES, Case, Ceilings

OURS = "ours"


@dataclasses.dataclass(frozen=True)
class Row:
    """One case with everything that is known of it; times in microseconds."""

    case: Case
    floor_us: float
    measured: dict[str, dict[str, Any]]  # by name: us, min_us, max_us, error; or failed: why
    peers: targets.Peers
    goals: targets.Goals

    @property
    def ours_us(self) -> float | None:
        return self.measured.get(OURS, {}).get("us")

    @property
    def ratio(self) -> float | None:
        """How many times as fast as the fastest peer we are."""
        best = self.peers.best()
        return self.peers.us[best] / self.ours_us if best and self.ours_us else None

    @property
    def floor_share(self) -> float | None:
        """Which part of our time the floor is."""
        return self.floor_us / self.ours_us if self.ours_us else None

    @property
    def tflops(self) -> float | None:
        return self.case.flops / self.ours_us / 1e6 if self.ours_us else None

    def excess(self, goal: targets.Goal | None) -> float | None:
        """By which part our time is above a target; below 0 where it is met."""
        return self.ours_us / goal.us - 1 if goal and self.ours_us else None


def row(case: Case, measured: Mapping[str, dict[str, Any]], machine: Mapping[str, Any]) -> Row:
    """Judges the measurements of a case."""
    ceilings = Ceilings(**machine["ceilings"])
    floor_us = case.floor_us(ceilings)
    times = {name: found["us"] for name, found in measured.items() if found.get("us")}
    times.pop(OURS, None)
    old = recorded.peers(machine["gpu"], case.family, case.name)
    peers = targets.Peers(case.family, times, old, machine["empty_kernel_us"])
    goals = targets.goals(case, peers, floor_us)
    return Row(case, floor_us, dict(measured), peers, goals)


def write(path: pathlib.Path, family: str, machine: Mapping[str, Any], rows: list[Row]) -> None:
    """Writes the measurements of all rows that there are so far: what follows, `read` computes."""
    cases = [{"name": row.case.name, "measured": row.measured} for row in rows]
    write_lines(path, {"family": family, "machine": machine}, "cases", cases)


def write_lines(
    path: pathlib.Path, head: Mapping[str, Any], key: str, items: Sequence[Mapping[str, Any]]
) -> None:
    """Writes JSON with short lines, and numbers no longer than they are true.

    Whatever happens meanwhile, the file is whole: the old one or the new one.
    """
    data = {**_rounded(head), key: [_rounded(item) for item in items]}
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(data, indent=1) + "\n")
    temporary.replace(path)


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    return float(f"{value:.5g}") if isinstance(value, float) else value


def read(path: pathlib.Path) -> tuple[str, dict[str, Any], list[Row]]:
    """Family, machine and rows of a file; everything but the measurements is computed anew.

    Raises:
      ValueError: a case that is not in the list any more.
    """
    data = json.loads(path.read_text())
    known = {case.name: case for case in FAMILIES[data["family"]]}
    rows = []
    for found in data["cases"]:
        if found["name"] not in known:
            raise ValueError(f"{path}: {found['name']} is no case of tools/bench/cases.py")
        rows.append(row(known[found["name"]], found["measured"], data["machine"]))
    return data["family"], data["machine"], rows
