"""Times every variant of the INT4 GEMM with every number of splits: what heuristics learn from.

    python3 -m tools.bench.tune_int4_gemm --images=FOLDER --output=tuning.json [--only=REGEX]

The folder has the cubins of the GPU's SM and the manifest of their build. Every result is checked.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Sequence

import torch

from tools.bench import bench_int4_gemm, cases, launch, tuning
from tools.bench.bench_int4_gemm import Rotation
from tools.bench.cases import Int4Case
from tools.bench.machines import Machine, PluginTensor
from tools.bench.tuning import Candidate

SPLITS = range(1, 17)  # all that a plan may have

_KINDS = ("gemv", "gemm", "wgmma")

# CTAs per multiprocessor beyond which more splits only add partial sums.
_MOST_CTAS_PER_SM = 8


class Int4Tuner:
    """The INT4 GEMM's part of tuning."""

    family = "int4_gemm"

    def cases(self) -> Sequence[Int4Case]:
        return cases.INT4_TUNING_CASES

    def rotations(
        self, machine: Machine, selected: Sequence[Int4Case]
    ) -> Iterator[tuple[Int4Case, Callable[[], Rotation]]]:
        for layer, group in bench_int4_gemm.layers(machine, selected):
            for case in group:
                yield case, functools.partial(Rotation, machine, layer, case)

    def candidates(self, case: Int4Case, images: launch.Images, sm_count: int) -> list[Candidate]:
        """The variants and splits that are worth a measurement for a case."""
        found = []
        for variant in (v for kind in _KINDS for v in images.of("int4_gemm", kind)):
            tile = variant["tile"]
            rows = -(-case.m // tile["tile_m"])
            # Four passes over the weights, or a tile that is mostly empty, never win.
            small_m = case.m <= 128
            if variant["kind"] == "gemv" and rows > 1:
                continue  # it has one tile of rows
            if small_m and (rows > 4 or tile["tile_m"] > max(16, 4 * case.m)):
                continue
            if not small_m and tile["tile_m"] < 64:
                continue
            tiles = rows * -(-case.n // tile["tile_n"])
            steps = -(-case.k // (tile["tile_k"] * tile["warps_k"]))
            most = min(steps, _MOST_CTAS_PER_SM * sm_count // tiles)
            if variant["kind"] == "gemv" and tiles >= sm_count:
                most = 1  # its CTAs share the tiles evenly without
            found += [Candidate(variant, splits) for splits in SPLITS if splits <= max(1, most)]
        return found

    def calls(
        self, launcher: launch.Launcher, rotation: Rotation, found: Sequence[Candidate]
    ) -> Iterator[Callable[[int], PluginTensor]]:
        case, machine = rotation.case, rotation.machine
        most = max(candidate.splits for candidate in found)
        partials = machine.plugin_tensor(
            torch.empty(most, case.m, case.n, device=machine.torch_device)
        )

        def call(candidate: Candidate, index: int) -> PluginTensor:
            y = rotation.ys[index]
            pointers = [tensor.address for tensor in (*rotation.inputs[index], y, partials)]
            stream = machine.stream.handle
            launch.int4_gemm(launcher, candidate.variant, case, candidate.splits, pointers, stream)
            return y

        return (functools.partial(call, candidate) for candidate in found)


if __name__ == "__main__":
    sys.exit(tuning.main(__doc__.splitlines()[0], Int4Tuner()))
