"""Writes what the C++ program of a release compares with: the table of `edge-llm-plugins verify`.

    make_golden --library=libedge_llm_plugins.so --output=verify.golden 87:16 87:8

Each device is an SM and its multiprocessors, and the table has all problems that these devices
need. Results come from NumPy; of a large one a random sample is kept. The file is lines of text,
and behind that of a problem its results, little-endian:

    edge_llm_plugins verify 1
    limits int4_relative_rms=... attention=... key=...
    kernel <name> [<SM without it> ...]
    int4_gemm always=1 seed=... inputs=... m=... n=... k=... outputs=<count>|<label>
    <float32 [count]>
    attention always=1 seed=... inputs=... mode=... batch=... outputs=<count> keys=<count>|<label>
    <float32 [count] of the output, float16 [count] of the keys that are written>

`inputs` is the CRC-32 of all inputs, one behind the other: C++ makes them anew (inputs.py).
"""

from __future__ import annotations

import argparse
import ctypes
import dataclasses
import pathlib
import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from edge_llm_plugins import reference
from edge_llm_plugins.verify import coverage, inputs
from edge_llm_plugins.verify.problems import MODES, Attention, Int4Gemm, Problem

# Of each result: enough to meet a wrong row or column, and small for a hundred problems.
MOST_SAMPLES = 4096

# The numbers of a problem's samples, as inputs.words counts tensors.
OUTPUT_SAMPLE, KEY_SAMPLE = 8, 9

# Attention has exponentials, whose last bits differ from machine to machine, and this file must
# not: the tolerance is a hundred times coarser.
ATTENTION_STEPS = 2**16

# The largest element of a key before it is rotated.
LARGEST_KEY = 4.0


class Library:
    """The plans of a library, through its C interface."""

    def __init__(self, path: pathlib.Path) -> None:
        library = ctypes.CDLL(str(path.resolve()))
        self._int4_gemm = library.edge_llm_plugins_int4_gemm_variant
        self._int4_gemm.argtypes = _plan_arguments(3)
        self._attention = library.edge_llm_plugins_attention_variant
        self._attention.argtypes = [ctypes.c_int, *_plan_arguments(6)]

    def int4_gemm_variant(self, *problem: int) -> str:
        return _text(self._int4_gemm, problem)

    def attention_variant(self, *problem: int) -> str:
        return _text(self._attention, problem)


def _plan_arguments(extents: int) -> list[type]:
    """Extents, the SM and its multiprocessors, and the text with its size."""
    device = [ctypes.c_int, ctypes.c_int]
    return [ctypes.c_int64] * extents + device + [ctypes.c_char_p, ctypes.c_int64]


def _text(function: ctypes._NamedFuncPointer, problem: tuple[int, ...]) -> str:
    text = ctypes.create_string_buffer(256)
    if function(*problem, text, len(text)) != 0:
        raise ValueError(f"no plan for {problem}")
    return text.value.decode()


@dataclasses.dataclass(frozen=True)
class Device:
    library: Library
    sm: int
    sm_count: int


def problems(devices: list[Device]) -> list[tuple[Problem, bool]]:
    """The problems of a table for all of the devices, and whether each is always run."""
    needed = {problem for device in devices for problem in coverage.problems(device)[0]}
    always = [(problem, True) for problem in coverage.ALWAYS]
    return always + [(p, False) for p in coverage.SEARCHED if p in needed - {*coverage.ALWAYS}]


def sampled(seed: int, number: int, results: NDArray) -> NDArray:
    """All of the results in their order, or some where they are many."""
    results = results.ravel()
    if results.size <= MOST_SAMPLES:
        return results
    return results[inputs.words(seed, number, MOST_SAMPLES) % np.uint64(results.size)]


def inputs_crc(problem: Problem) -> int:
    arrays = (value for value in problem.arguments().values() if isinstance(value, np.ndarray))
    crc = 0
    for array in arrays:
        crc = zlib.crc32(np.ascontiguousarray(array).tobytes(), crc)
    return crc


def line(family: str, problem: Problem, always: bool, **facts: int) -> bytes:
    """Of a problem."""
    facts = {"always": int(always), "seed": problem.seed, "inputs": inputs_crc(problem)} | facts
    words = " ".join(f"{name}={value}" for name, value in facts.items())
    return f"{family} {words}|{problem.label}\n".encode()


def int4_gemm(problem: Int4Gemm, always: bool) -> Iterator[bytes]:
    output = sampled(problem.seed, OUTPUT_SAMPLE, problem.expected()).astype("<f4")
    shape = {"m": problem.m, "n": problem.n, "k": problem.k}
    yield line("int4_gemm", problem, always, **shape, outputs=output.size)
    yield output.tobytes()


def attention(problem: Attention, always: bool) -> Iterator[bytes]:
    output, cache = problem.expected()
    output = sampled(problem.seed, OUTPUT_SAMPLE, output)
    output = (np.rint(output * ATTENTION_STEPS) / ATTENTION_STEPS).astype("<f4")
    rows = zip(cache, problem.pasts, problem.written, strict=True)
    written = [row[0, :, past : past + count].ravel() for row, past, count in rows]
    keys = sampled(problem.seed, KEY_SAMPLE, np.concatenate(written)).astype("<f2")
    shape = {
        "mode": MODES.index(problem.mode),
        "batch": problem.batch,
        "past": problem.past,
        "tokens": problem.tokens,
        "num_q_heads": problem.num_q_heads,
        "num_kv_heads": problem.num_kv_heads,
        "head_size": problem.head_size,
    }
    yield line("attention", problem, always, **shape, outputs=output.size, keys=keys.size)
    yield output.tobytes() + keys.tobytes()


def golden(devices: list[Device]) -> Iterator[bytes]:
    """The file, piece by piece."""
    key = reference.KEY_CANCELLATION * LARGEST_KEY
    yield b"edge_llm_plugins verify 1\n"
    limits = f"int4_relative_rms={reference.INT4_RELATIVE_RMS}"
    yield f"limits {limits} attention={reference.ATTENTION_TOLERANCE} key={key}\n".encode()
    for name, without in coverage.KERNELS.items():
        yield " ".join(["kernel", name, *map(str, without)]).encode() + b"\n"
    for problem, always in problems(devices):
        write = int4_gemm if isinstance(problem, Int4Gemm) else attention
        yield from write(problem, always)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", type=pathlib.Path, required=True)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("devices", nargs="+", metavar="SM:MULTIPROCESSORS")
    args = parser.parse_args()
    library = Library(args.library)
    devices = [Device(library, *map(int, device.split(":"))) for device in args.devices]
    args.output.write_bytes(b"".join(golden(devices)))


if __name__ == "__main__":
    main()
