"""Times every variant of the INT4 GEMM with every number of splits: what heuristics learn from.

    python3 -m tools.bench.tune_int4_gemm --images=FOLDER --output=tuning.json [--only=REGEX]

The folder has the cubins of the GPU's SM and the manifest of their build. Every result is checked.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import time
from typing import Any

import torch

from edge_llm_plugins import reference
from tools.bench import cases, launch, machines, timing
from tools.bench.cases import Int4Case
from tools.bench.int4_inputs import Int4Weights, relative_rms
from tools.ptx_emulator.cuda_driver import CudaDriver

SPLITS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16)

# CTAs per multiprocessor beyond which more splits only add partial sums.
_MOST_CTAS_PER_SM = 8


def candidates(
    case: Int4Case, variants: list[dict[str, Any]], sm_count: int
) -> list[tuple[dict[str, Any], int]]:
    """The variants and splits that are worth a measurement for a case."""
    found = []
    for variant in variants:
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
        found += [
            (variant, splits)
            for splits in SPLITS
            if splits == 1 or (splits <= steps and tiles * splits <= _MOST_CTAS_PER_SM * sm_count)
        ]
    return found


class Tuner:
    """Launches candidates on the inputs of one shape at a time."""

    def __init__(
        self, machine: machines.Machine, launcher: launch.Launcher, images: launch.Images
    ) -> None:
        self._machine = machine
        self._launcher = launcher
        self._variants = images.of("int4_gemm", "gemv") + images.of("int4_gemm", "gemm")
        (self._combine,) = images.of("int4_gemm", "combine")
        self._layer: tuple[int, int] | None = None
        self._weights: list[Int4Weights] = []

    def measure(self, case: Int4Case) -> list[dict[str, Any]]:
        """The results of all candidates, the fastest first."""
        device = self._machine.torch_device
        if self._layer != (case.n, case.k):
            self._layer, self._weights = (case.n, case.k), []
            rotated = timing.rotation(case.n * case.k // 2) if device == "cuda" else 1
            self._weights = [Int4Weights(case.n, case.k, device) for _ in range(rotated)]
        xs = [torch.randn(case.m, case.k, device=device).half() for _ in self._weights]
        expected = xs[0].float() @ self._weights[0].dequantized().T
        found = candidates(case, self._variants, self._machine.host_device.sm_count)
        most = max(splits for _, splits in found)
        view = self._machine.plugin_tensor
        partials = view(torch.empty(most, case.m, case.n, device=device))
        inputs = [
            [view(tensor) for tensor in (x, weights.packed, weights.scales)]
            for x, weights in zip(xs, self._weights, strict=True)
        ]
        ys = [machines.unwritten(self._machine, (case.m, case.n)) for _ in xs]

        def check(output: torch.Tensor) -> float:
            error = relative_rms(output.to(device), expected)
            assert error <= reference.INT4_RELATIVE_RMS, f"relative RMS error {error:.3g}"
            return error

        rows = []
        for variant, splits in found:

            def call(index: int, variant: dict[str, Any] = variant, splits: int = splits) -> Any:
                pointers = [tensor.address for tensor in (*inputs[index], ys[index], partials)]
                launch.int4_gemm(
                    self._launcher,
                    variant,
                    self._combine,
                    (case.m, case.n, case.k),
                    splits,
                    pointers,
                    self._machine.stream.handle,
                )
                return ys[index]

            row = {"m": case.m, "n": case.n, "k": case.k}
            row |= {"variant": variant["name"], "splits": splits}
            try:
                floor_us = case.floor_us(machines.RECORD.ceilings)
                row |= self._machine.measure(call, len(xs), floor_us, check)
            except Exception as error:
                row["failed"] = str(error).splitlines()[0]
                if device == "cuda":
                    torch.cuda.synchronize()  # raises when the context is lost
            rows.append(row)
        return sorted(rows, key=lambda row: row.get("us", float("inf")))

    def planned(self, case: Int4Case) -> str:
        """What the library would choose: "<variant> splits=<n>"."""
        device = self._machine.host_device
        return device.library.int4_gemm_variant(case.m, case.n, case.k, device.sm, device.sm_count)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=pathlib.Path, required=True)
    parser.add_argument("--output", type=pathlib.Path, required=True, help="the JSON to write")
    parser.add_argument("--only", default="", help="regular expression of the cases' names")
    parser.add_argument("--device", choices=("cuda", "emulator"), default="cuda")
    parser.add_argument("--sm", type=int, help="the SM to emulate")
    args = parser.parse_args()

    torch.manual_seed(0)
    emulated = args.device == "emulator"
    machine = machines.open_machine(args.device, args.sm, timing.QUICK)
    suffix = "ptx" if emulated else "cubin"
    images = launch.Images(args.images, machine.host_device.sm, suffix)
    driver = CudaDriver(machine.driver_path)
    all_cases = cases.TINY_CASES if emulated else cases.FAMILIES
    tuner = Tuner(machine, launch.Launcher(driver, images, machine.host_device.ordinal), images)
    rows: list[dict[str, Any]] = []
    start = time.perf_counter()
    with driver.context(machine.host_device.ordinal):
        for case in cases.select(all_cases["int4_gemm"], args.only):
            found = tuner.measure(case)
            rows += found
            print(_line(case, found, tuner.planned(case)), flush=True)
            facts = {"sm": machine.host_device.sm, "sm_count": machine.host_device.sm_count}
            facts |= {"gpu": machine.host_device.name, "op": "int4_gemm"}
            args.output.write_text(json.dumps(facts | {"tuning": rows}, indent=0) + "\n")
    failed = sum("failed" in row for row in rows)
    print(f"{len(rows)} candidates, {failed} failed, {time.perf_counter() - start:.0f} s")
    return 1 if failed else 0


def _line(case: Int4Case, rows: list[dict[str, Any]], planned: str) -> str:
    """The fastest three, and where the library's choice stands."""
    named = {f"{row['variant']} splits={row['splits']}": row.get("us") for row in rows}
    parts = [f"{name.removeprefix('int4_')} {us or 0:.1f}" for name, us in list(named.items())[:3]]
    us = named.get(planned)
    chosen = f"{planned.removeprefix('int4_')} {us:.1f}" if us else f"{planned} not measured"
    return f"{case.name:30} {' | '.join(parts)} || planned {chosen}"


if __name__ == "__main__":
    sys.exit(main())
