"""What both benchmarks share: measures contenders case by case, and goes on after a failure."""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch

from tools.bench import cases, machines, results


@dataclasses.dataclass(frozen=True)
class Contender:
    """One implementation of a case.

    `call(i)` computes input i of `rotated` ones and returns its output. `check` returns the error
    of output 0, or raises AssertionError.
    """

    name: str
    rotated: int
    call: Callable[[int], Any]
    check: Callable[[torch.Tensor], float]


Contenders = Callable[
    [machines.Machine, Sequence[cases.Case]],
    Iterator[tuple[cases.Case, AbstractContextManager[list[Contender]]]],
]


# By contender: us, min_us, max_us and error, or failed: why.
Measured = dict[str, dict[str, Any]]


class DeviceLostError(Exception):
    """A kernel has broken the CUDA context: nothing runs in this process any more."""


def options(description: str) -> argparse.ArgumentParser:
    """The options that every program here has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--output", type=pathlib.Path, required=True, help="the JSON to write")
    parser.add_argument("--only", default="", help="regular expression of the cases' names")
    parser.add_argument("--device", choices=("cuda", "emulator"), default="cuda")
    parser.add_argument("--sm", type=int, help="the SM to emulate")
    return parser


def measure(
    machine: machines.Machine, selected: Sequence[cases.Case], contenders: Contenders
) -> Iterator[tuple[cases.Case, Measured]]:
    """Measures case by case, until the end or until the device is lost.

    Args:
      machine: where.
      selected: the cases.
      contenders: yields each case with a context in which its contenders have their inputs.

    Yields:
      a case, and by contender us, min_us, max_us and error, or failed and why.
    """
    ceilings = machine.ceilings()
    try:
        for case, inputs in contenders(machine, selected):
            yield case, _measure_case(machine, inputs, case.floor_us(ceilings))
    except DeviceLostError as error:
        print(f"stopped: {error}; run the cases that are left with --only", file=sys.stderr)


def main(family: str, description: str, contenders: Contenders) -> int:
    """Runs a benchmark with the options of the command line.

    Returns:
      0 if everything of ours was measured and is correct.
    """
    args = options(description).parse_args()
    all_cases = cases.FAMILIES if args.device == "cuda" else cases.TINY_CASES
    selected = cases.select(all_cases[family], args.only)
    torch.manual_seed(0)
    machine = machines.open_machine(args.device, args.sm)
    facts = machine.facts()
    print(f"{family}: {len(selected)} cases on {facts['gpu']}, torch {facts['torch']}")
    start = time.perf_counter()
    rows: list[results.Row] = []
    for case, measured in measure(machine, selected, contenders):
        rows.append(results.row(case, measured, facts))
        results.write(args.output, family, facts, rows)
        print(_line(rows[-1]), flush=True)
    failed = len(selected) - sum("error" in row.measured.get(results.OURS, {}) for row in rows)
    print(f"{family}: {failed} cases failed, {time.perf_counter() - start:.0f} s")
    return 1 if failed else 0


def _measure_case(
    machine: machines.Machine,
    inputs: AbstractContextManager[list[Contender]],
    floor_us: float,
) -> Measured:
    measured: Measured = {}
    try:
        with inputs as found:
            for contender in found:
                try:
                    measured[contender.name] = machine.measure(
                        contender.call, contender.rotated, floor_us, contender.check
                    )
                except Exception as error:  # a peer may refuse, a plugin may fail: the next one
                    measured[contender.name] = _failure(error)
    except DeviceLostError:
        raise
    except Exception as error:  # inputs that do not fit the memory: the next case
        measured.setdefault(results.OURS, _failure(error))
    return measured


def _failure(error: Exception) -> dict[str, str]:
    traceback.print_exception(error, limit=-3)
    if torch.cuda.is_available():
        try:
            torch.cuda.synchronize()
        except RuntimeError as lost:
            raise DeviceLostError(str(lost).splitlines()[0]) from error
    return {"failed": str(error).strip().splitlines()[0][:200] if str(error) else repr(error)}


def _line(row: results.Row) -> str:
    """A row as it is printed while the benchmark runs."""
    parts = [f"{row.case.name:34} floor {row.floor_us:7.1f}"]
    for name, found in row.measured.items():
        text = f"{found['us']:.1f}" if "us" in found else "failed" if "failed" in found else "right"
        parts.append(f"{name} {text}")
    if row.goals.now:
        parts.append(f"target {row.goals.now.us:.1f}")
    return "  ".join(parts)
