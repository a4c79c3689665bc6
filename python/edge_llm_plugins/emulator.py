"""Controls of the PTX emulator, which runs the kernels of every SM without a GPU.

The emulator presents one device per SM. Its settings are those of the whole process.
"""

from __future__ import annotations

import contextlib
import ctypes
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
      RuntimeError: this wheel carries no emulator (those for other platforms do not).
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
    """Sets how many threads of the host run the blocks of one launch."""
    _library().ptx_emulator_set_threads(count)


def set_seed(seed: int) -> None:
    """Seeds the order in which warps are scheduled."""
    _library().ptx_emulator_set_seed(seed)


def name_allocation(address: int, name: str) -> None:
    """Names the device memory at `address` in fault reports."""
    _library().ptx_emulator_name_allocation(address, name.encode())


def take_faults() -> list[dict[str, Any]]:
    """The distinct faults since the last call: kernel, block, warp, lane, source line and more."""
    return _json_lines(_library().ptx_emulator_take_faults())


def take_stats() -> dict[str, Any]:
    """Counters since the last call, such as the instructions that were executed."""
    return json.loads(_library().ptx_emulator_take_stats() or b"{}")


def _json_lines(text: bytes | None) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (text or b"").splitlines() if line.strip()]


def _set_checks(names: str) -> None:
    if _library().ptx_emulator_set_checks(names.encode()) != 0:
        raise ValueError(f'checks are "{names}": "all", "none" or a list of checks is allowed')


@functools.cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(driver_path())
    library.ptx_emulator_take_faults.restype = ctypes.c_char_p
    library.ptx_emulator_take_stats.restype = ctypes.c_char_p
    library.ptx_emulator_name_allocation.argtypes = (ctypes.c_uint64, ctypes.c_char_p)
    return library
