"""The project's targets: how fast a case must be, from its peers' times.

A peer that did not run here counts with its recorded time, times how this run's yardstick (cuBLAS
or cuDNN, which every run measures) compares with its own recorded time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from tools.bench.cases import AttentionCase, Case, Int4Case

YARDSTICKS = {"int4_gemm": "cublas", "attention": "cudnn"}

# Below this, starting a kernel is most of the time: judge what comes on top of an empty one.
SHORT_US = 4.0


@dataclasses.dataclass(frozen=True)
class Goal:
    """One target: at most `us`; `rule` says where that comes from."""

    us: float
    rule: str


@dataclasses.dataclass(frozen=True)
class Goals:
    """What a case must reach now, and what it must with the Hopper matrix path."""

    now: Goal | None
    hopper: Goal | None


class Peers:
    """The times of a case's peers in microseconds, those of this run before scaled old ones."""

    def __init__(
        self,
        family: str,
        measured: Mapping[str, float],
        recorded: Mapping[str, float],
        empty_kernel_us: float,
    ) -> None:
        yardstick = YARDSTICKS[family]
        self.scale = 1.0
        if yardstick in measured and yardstick in recorded:
            self.scale = measured[yardstick] / recorded[yardstick]
        self.us = {peer: us * self.scale for peer, us in recorded.items()} | dict(measured)
        self._empty_kernel_us = empty_kernel_us

    def best(self, names: Iterable[str] | None = None) -> str | None:
        """The fastest of these peers, or of all."""
        known = [name for name in (self.us if names is None else names) if name in self.us]
        return min(known, key=self.us.__getitem__, default=None)

    def goal(self, names: Iterable[str], factor: float) -> Goal | None:
        """`factor` times as fast as the best of these peers; None without any."""
        peer = self.best(names)
        if peer is None:
            return None
        us = self.us[peer] / factor
        if us < SHORT_US:
            us = self._empty_kernel_us + (self.us[peer] - self._empty_kernel_us) / factor
        slower = f"{peer} + {100 / factor - 100:.0f} %"
        return Goal(us, peer if factor == 1 else f"{factor:g} x {peer}" if factor > 1 else slower)


def goals(case: Case, peers: Peers, floor_us: float) -> Goals:
    """The targets of a case."""
    if isinstance(case, Int4Case):
        return _int4_goals(case, peers, floor_us)
    if isinstance(case, AttentionCase):
        return _attention_goals(case, peers)
    raise TypeError(f"no targets for {case}")


def _strictest(*found: Goal | None) -> Goal | None:
    return min((goal for goal in found if goal), key=lambda goal: goal.us, default=None)


def _int4_goals(case: Int4Case, peers: Peers, floor_us: float) -> Goals:
    gpu_peers = ("marlin", "machete")
    if case.m <= 8:
        others = ("upstream_gemv", "upstream_gemm", "marlin", "tinygemm")
        now = peers.goal(others, 1.3 if floor_us >= 7 else 1)
        if now and (case.n, case.k) == (28672, 4096):
            now = _strictest(now, Goal(floor_us * 4 / 3, "3/4 of the floor"))
        return Goals(now, now)
    if case.m <= 32:
        now = peers.goal(gpu_peers, 1.25)
        return Goals(now, now)
    if case.m <= 128:
        now = peers.goal(gpu_peers if case.m <= 64 else ("marlin",), 1)
        return Goals(now, peers.goal(gpu_peers, 1.25))
    hopper = peers.goal(("machete",), 1)
    if case.m >= 2048:
        hopper = _strictest(hopper, peers.goal(("cublas",), 1 / 1.05))
    return Goals(peers.goal(("marlin",), 1), hopper)


def _attention_goals(case: AttentionCase, peers: Peers) -> Goals:
    everyone = ("cudnn", "flash", "efficient", "flashinfer")
    if case.mode == "decode":
        now = peers.goal(("cudnn", "flashinfer"), 1 / 1.02)
        if now and case.batch == 1 and case.kv_len == 2048:
            now = _strictest(now, Goal(6.0, "6 us"))
        return Goals(now, now)
    if case.mode == "tree":
        now = peers.goal(everyone, 1)
        if now and case.batch == 1:
            now = _strictest(now, Goal(12.0, "12 us"))
        return Goals(now, now)
    if case.mode == "chunk":
        now = peers.goal(everyone, 1)
        return Goals(now, now)
    now = peers.goal(("flash",), 1)
    long_rows = case.model.head_size == 128 and case.q_len >= 2048
    return Goals(now, peers.goal(("cudnn",), 1) if long_rows else now)
