"""Times calls on a GPU: CUDA graphs of many calls, over more inputs than the L2 holds."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable
from typing import Any

import torch

# Inputs that a rotation covers at least, several times the L2 of any GPU.
ROTATED_BYTES = 256 * 2**20

# So that a graph does not get too large.
_MAX_CALLS = 1000


@dataclasses.dataclass(frozen=True)
class Effort:
    """How long to measure one thing."""

    warmups: int  # replays until a GPU that was idle has raised its clocks: some 10 ms
    replays: int
    replay_us: float  # of one replay at the floor; starting it must be lost in it


THOROUGH = Effort(warmups=20, replays=7, replay_us=2000.0)
QUICK = Effort(warmups=20, replays=3, replay_us=500.0)


def rotation(nbytes: int) -> int:
    """How many inputs of this size a rotation needs."""
    return max(1, -(-ROTATED_BYTES // nbytes))


@dataclasses.dataclass(frozen=True)
class Timing:
    """Microseconds of one call over the replays."""

    us: float  # median
    min_us: float
    max_us: float


class Graph:
    """Many calls as one CUDA graph; `first_output` is what the first of them returned."""

    def __init__(
        self,
        call: Callable[[int], Any],
        rotated: int,
        floor_us: float,
        stream: torch.cuda.Stream,
        effort: Effort = THOROUGH,
    ) -> None:
        """Captures call(i) for i = 0 .. rotated - 1, over and over."""
        wanted = min(_MAX_CALLS, math.ceil(effort.replay_us / floor_us))
        self._effort = effort
        self._calls = rotated * max(1, round(wanted / rotated))
        self._stream = stream
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.stream(stream):
            # Libraries load kernels and choose algorithms at the first call, outside the graph.
            for index in range(min(2, rotated)):
                call(index)
            torch.cuda.synchronize()
            # Relaxed: freeing memory, which Python may do at any time, must not end the capture.
            self._graph.capture_begin(capture_error_mode="relaxed")
            try:
                self.first_output = call(0)
                for index in range(1, self._calls):
                    call(index % rotated)
            finally:
                self._graph.capture_end()

    def replay(self) -> None:
        with torch.cuda.stream(self._stream):
            self._graph.replay()
        torch.cuda.synchronize()

    def time(self) -> Timing:
        times = []
        for _ in range(self._effort.warmups):
            self.replay()
        for _ in range(self._effort.replays):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            with torch.cuda.stream(self._stream):
                start.record()
                self._graph.replay()
                end.record()
            torch.cuda.synchronize()
            times.append(1e3 * start.elapsed_time(end) / self._calls)
        return Timing(statistics.median(times), min(times), max(times))


def empty_kernel_us(stream: torch.cuda.Stream) -> float:
    """What a kernel that returns at once costs in a graph."""
    return Graph(lambda _: torch.cuda._sleep(0), 1, 1.0, stream).time().us


def read_bytes_per_second(stream: torch.cuda.Stream) -> float:
    """How fast a sum over 1 GiB is read."""
    values = torch.zeros(2**28, device="cuda")
    result = torch.empty((), device="cuda")
    graph = Graph(lambda _: torch.sum(values, dim=0, out=result), 1, 250.0, stream)
    return values.nbytes / graph.time().us * 1e6


def matrix_flops(stream: torch.cuda.Stream, size: int = 8192) -> float:
    """How fast cuBLAS multiplies large random FP16 matrices."""
    a, b = (torch.randn(size, size, device="cuda", dtype=torch.float16) for _ in range(2))
    product = torch.empty_like(a)
    graph = Graph(lambda _: torch.matmul(a, b, out=product), 1, 1400.0, stream)
    return 2 * size**3 / graph.time().us * 1e6
