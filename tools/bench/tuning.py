"""What both tuners share: times every candidate of a case beside the library's own choice."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch

from tools.bench import bench, cases, launch, machines, results, timing
from tools.bench.bench import Contender
from tools.bench.results import OURS
from tools.ptx_emulator.cuda_driver import CudaDriver

# How many of the fastest candidates a line shows.
_SHOWN = 3


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One way to launch a case; `variant` is its row of the manifest."""

    variant: Mapping[str, Any]
    splits: int

    @property
    def name(self) -> str:
        return f"{self.variant['name']} splits={self.splits}"


class Rotation(Protocol):
    """The inputs of a case."""

    def ours(self) -> AbstractContextManager[Contender]:
        """The plugin, with its own choice of kernels."""

    def contender(self, name: str, call: Callable[[int], machines.PluginTensor]) -> Contender:
        """Another that computes the same."""


class Tuner(Protocol):
    """What a family tells: its cases, candidates, inputs, and how it launches."""

    family: str

    def cases(self) -> Sequence[cases.Case]: ...

    def rotations(
        self, machine: machines.Machine, selected: Sequence[cases.Case]
    ) -> Iterator[tuple[cases.Case, Callable[[], Rotation]]]:
        """Each case, and what makes its inputs."""

    def candidates(
        self, case: cases.Case, images: launch.Images, sm_count: int
    ) -> list[Candidate]: ...

    def calls(
        self, launcher: launch.Launcher, rotation: Any, found: Sequence[Candidate]
    ) -> Iterator[Callable[[int], machines.PluginTensor]]:
        """call(i) of each candidate: launches it on input i and returns the output."""


def main(description: str, tuner: Tuner) -> int:
    """Runs a tuner with the options of the command line.

    Returns:
      0 if every candidate was measured and is correct.
    """
    parser = bench.options(description)
    parser.add_argument("--images", type=pathlib.Path, required=True)
    args = parser.parse_args()
    on_gpu = args.device == "cuda"
    torch.manual_seed(0)
    machine = machines.open_machine(args.device, args.sm, timing.QUICK)
    images = launch.Images(args.images, machine.host_device.sm, "cubin" if on_gpu else "ptx")
    driver = CudaDriver(machine.driver_path)
    launcher = launch.Launcher(
        driver, images, machine.host_device.sm_count, machine.host_device.ordinal
    )
    selected = cases.select(tuner.cases() if on_gpu else cases.TINY_CASES[tuner.family], args.only)

    def contenders(
        machine: machines.Machine, selected: Sequence[cases.Case]
    ) -> Iterator[tuple[cases.Case, AbstractContextManager[list[Contender]]]]:
        for case, make_rotation in tuner.rotations(machine, selected):
            found = tuner.candidates(case, images, machine.host_device.sm_count)
            yield case, _case_contenders(tuner, launcher, make_rotation, found)

    head = {"family": tuner.family, "machine": machine.facts()}
    rows: list[dict[str, Any]] = []
    start = time.perf_counter()
    with driver.context(machine.host_device.ordinal):
        for case, measured in bench.measure(machine, selected, contenders):
            rows += _rows(case, measured)
            results.write_lines(args.output, head, "rows", rows)
            print(_line(case, measured), flush=True)
    failed = sum("failed" in row for row in rows)
    print(f"{len(rows)} candidates, {failed} failed, {time.perf_counter() - start:.0f} s")
    return 0 if rows and not failed else 1


@contextlib.contextmanager
def _case_contenders(
    tuner: Tuner,
    launcher: launch.Launcher,
    make_rotation: Callable[[], Rotation],
    found: Sequence[Candidate],
) -> Iterator[list[Contender]]:
    rotation = make_rotation()
    with rotation.ours() as ours:
        calls = tuner.calls(launcher, rotation, found)
        yield [
            ours,
            *(
                rotation.contender(candidate.name, call)
                for candidate, call in zip(found, calls, strict=True)
            ),
        ]


def _rows(case: cases.Case, measured: bench.Measured) -> list[dict[str, Any]]:
    """A row per candidate, the fastest first, and one of the library ("ours", 0 splits)."""
    shape = dataclasses.asdict(case)
    rows = []
    for name, result in sorted(measured.items(), key=lambda item: item[1].get("us", float("inf"))):
        variant, _, splits = name.partition(" splits=")
        rows.append({**shape, "variant": variant, "splits": int(splits or 0), **result})
    return rows


def _line(case: cases.Case, measured: bench.Measured) -> str:
    """The fastest candidates, and where the library stands."""
    ours = measured.get(OURS, {})
    found = {name: result for name, result in measured.items() if name != OURS}
    timed = sorted((result["us"], name) for name, result in found.items() if "us" in result)
    best = [f"{name.partition('_')[2]} {us:.1f}" for us, name in timed[:_SHOWN]]
    text = f"{case.name:34} {' | '.join(best)}"
    if timed and "us" in ours:
        text += f" || library {ours['us']:.1f}, {100 * (ours['us'] / timed[0][0] - 1):+.0f} %"
    failed = [(name, result["failed"]) for name, result in measured.items() if "failed" in result]
    if failed:
        text += f" || {len(failed)} failed, {failed[0][0]}: {failed[0][1]}"
    return text
