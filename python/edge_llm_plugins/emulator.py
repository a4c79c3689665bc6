"""Controls of the PTX emulator, which runs kernels without a GPU.

The emulator presents one device per SM; a wheel for x86-64 has kernels of every SM that its CUDA
release compiles, another those of its platform. Its settings are those of the whole process.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import functools
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

_checks = os.environ.get("PTX_EMULATOR_CHECKS", "all")


def driver_path() -> str:
    """The path of the emulator, a library with the entry points of the CUDA driver.

    Raises:
      RuntimeError: this package carries no emulator.
    """
    path = pathlib.Path(__file__).parent / "lib" / "libptx_emulator_cuda.so"
    if not path.exists():
        raise RuntimeError(f'{path} is missing: this wheel has no emulator, use device="cuda"')
    return str(path)


@contextlib.contextmanager
def checks(names: str) -> Iterator[None]:
    """Sets what the emulator checks within a `with` block; the whole process is affected.

    Args:
      names: "all" (the default of the emulator), "none" (several times faster), or a comma
        separated list of checks.

    Raises:
      ValueError: an unknown check.
    """
    global _checks
    previous = _checks
    _set_checks(names)
    _checks = names
    try:
        yield
    finally:
        _set_checks(previous)
        _checks = previous


def set_threads(count: int) -> None:
    """Sets how many host threads share the blocks of a launch; 0 (the default): one per core."""
    _library().ptx_emulator_set_threads(count)


def set_seed(seed: int) -> None:
    """Sets the order of warps: 0 (the default) is in order, else the seed of a random schedule."""
    _library().ptx_emulator_set_seed(seed)


def name_allocation(address: int, name: str) -> None:
    """Names the device memory at `address` in fault reports."""
    _library().ptx_emulator_name_allocation(address, name.encode())


@dataclasses.dataclass(frozen=True)
class Fault:
    """One kind of fault at one place of a kernel."""

    kind: str
    message: str
    kernel: str
    block: tuple[int, int, int]
    warp: int
    lane: int
    source: str  # "file:line"
    count: int

    def __str__(self) -> str:
        return (
            f"{self.kind}: {self.message} ({self.kernel}, block {list(self.block)}, "
            f"warp {self.warp}, lane {self.lane}, at {self.source}, {self.count} times)"
        )


def take_faults() -> list[Fault]:
    """The distinct faults of all launches since the last call."""
    lines = (_library().ptx_emulator_take_faults() or b"").splitlines()
    return [_fault(json.loads(line)) for line in lines if line.strip()]


def _fault(report: dict[str, Any]) -> Fault:
    return Fault(
        kind=report["kind"],
        message=report["message"],
        kernel=report["kernel"],
        block=tuple(report["block"]),
        warp=report["warp"],
        lane=report["lane"],
        source=report["source"] or f"PTX line {report['ptx_line']}",
        count=report["count"],
    )


def take_stats() -> dict[str, Any]:
    """Counters since the last call, such as the instructions that were executed."""
    return json.loads(_library().ptx_emulator_take_stats() or b"{}")


def _set_checks(names: str) -> None:
    if _library().ptx_emulator_set_checks(names.encode()) != 0:
        raise ValueError(_library().ptx_emulator_last_error().decode())


@functools.cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(driver_path())
    library.ptx_emulator_take_faults.restype = ctypes.c_char_p
    library.ptx_emulator_take_stats.restype = ctypes.c_char_p
    library.ptx_emulator_last_error.restype = ctypes.c_char_p
    library.ptx_emulator_name_allocation.argtypes = (ctypes.c_uint64, ctypes.c_char_p)
    return library
