"""What every family of variants shares: the facts of an SM, and how a row is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Sm:
    """One row of the table of SMs."""

    name: str
    arch: str
    gpu: str
    sm_count: int
    shared_per_block: int
    shared_per_sm: int
    threads_per_sm: int
    dependent_launch: bool
    cuda: tuple[str, ...]
    wgmma: bool

    @classmethod
    def from_row(cls, name: str, row: Mapping[str, Any]) -> Sm:
        return cls(name=name, **{**row, "cuda": tuple(row["cuda"])})


# What the driver keeps of the shared memory for each resident CTA.
RESERVED_SHARED_BYTES = 1024


def resident_ctas(ctas_per_sm: int, shared_bytes: int, shared_per_sm: int) -> int:
    """CTAs of one multiprocessor, where the registers allow ctas_per_sm of them."""
    return min(ctas_per_sm, shared_per_sm // (shared_bytes + RESERVED_SHARED_BYTES))


def require(condition: bool, name: str, reason: str) -> None:
    if not condition:
        raise ValueError(f"{name}: {reason}; change its row in kernels/variants.bzl")


def require_range_of_threads(threads: int, name: str) -> None:
    require(
        threads in range(32, 1025, 32),
        name,
        f"threads is {threads}, not a multiple of 32 up to 1024",
    )


def shared_memory_misfit(shared_bytes: int, sm: Sm) -> str | None:
    """Why a CTA with this much shared memory cannot run on an SM, or None."""
    if shared_bytes <= sm.shared_per_block:
        return None
    return f"{shared_bytes} bytes of shared memory, and one CTA may have {sm.shared_per_block}"
