"""Peers that were measured before, on a GPU that is named, with libraries that need not be here."""

from __future__ import annotations

import csv
import dataclasses
import functools
import pathlib

from tools.bench.cases import Ceilings

_FOLDER = pathlib.Path(__file__).parent / "recorded"


@dataclasses.dataclass(frozen=True)
class Record:
    """Where and when the tables in recorded/ were measured, and what that GPU can do at most."""

    gpu: str
    date: str
    ceilings: Ceilings


RECORD = Record("NVIDIA H200", "2026-11-22", Ceilings(4.3e12, 790e12))

# What the columns are.
PEERS = {
    "upstream_gemv": "AWQ GEMV kernels of the seed project, built for the GPU",
    "upstream_gemm": "AWQ GEMM kernels of the seed project, built for the GPU",
    "marlin": "Marlin of vLLM 0.11",
    "machete": "Machete of vLLM 0.11",
    "tinygemm": "torch.ops.aten._weight_int4pack_mm, BF16",
    "cublas": "torch.matmul with FP16 weights (cuBLAS)",
    "cudnn": "torch SDPA, cuDNN back end",
    "flash": "torch SDPA, FlashAttention-2 back end",
    "efficient": "torch SDPA, memory-efficient back end with Q heads as rows",
    "flashinfer": "FlashInfer 0.6.6, its fastest back end",
}


@functools.cache
def table(family: str) -> dict[str, dict[str, float]]:
    """Microseconds of each case by peer, the floor among them; what was not measured is absent."""
    with (_FOLDER / f"{family}.csv").open(newline="") as file:
        return {
            row.pop("case"): {peer: float(us) for peer, us in row.items() if us}
            for row in csv.DictReader(file)
        }


def peers(gpu: str, family: str, case_name: str) -> dict[str, float]:
    """The recorded peers of a case, without its floor; none for another GPU."""
    if RECORD.gpu not in gpu:
        return {}
    row = table(family).get(case_name, {})
    return {peer: us for peer, us in row.items() if peer != "floor"}
