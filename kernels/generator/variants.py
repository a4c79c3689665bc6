"""The rows of kernels/variants.bzl, checked, with the facts that follow from them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any

from kernels.generator.attention_variants import AttentionVariant
from kernels.generator.facts import (
    Sm,
    require,
    require_range_of_threads,
    shared_memory_misfit,
)

GROUP_SIZE = 128
GEMV_ROWS = (8, 16)


@dataclasses.dataclass(frozen=True)
class Int4GemmTile:
    """The tile of a gemv or gemm variant; lengths in elements."""

    tile_m: int
    tile_n: int
    tile_k: int
    stages: int
    warps_m: int
    warps_n: int
    warps_k: int

    @property
    def threads(self) -> int:
        return 32 * self.warps_m * self.warps_n * self.warps_k

    def facts(self) -> dict[str, int]:
        return dataclasses.asdict(self)


class Gemv(Int4GemmTile):
    """Few rows, and a ring of weights for each warp: Int4GemvTile in int4_gemv.cuh."""

    header = "int4_gemv"

    @property
    def name(self) -> str:
        return f"int4_gemv_f16_m{self.tile_m}_n{self.tile_n}_w{self.warps_k}"

    @property
    def shared_bytes(self) -> int:
        codes = self.tile_n * self.tile_k // 2
        scales = self.tile_n * 2
        rings = self.warps_k * self.stages * (codes + scales)
        padded_n = self.tile_n + 4
        sums = 2 * self.warps_k * self.tile_m * padded_n * 4
        return rings + sums

    @property
    def tile_type(self) -> str:
        blocks = self.tile_n // (16 * self.warps_n)
        values = (self.tile_m, blocks, self.warps_n, self.warps_k, self.stages)
        return f"Int4GemvTile<{', '.join(map(str, values))}>"

    def check(self, name: str) -> None:
        rows = " or ".join(map(str, GEMV_ROWS))
        require(self.tile_m in GEMV_ROWS, name, f"tile_m is {self.tile_m}, not {rows}")
        require(self.tile_k == GROUP_SIZE, name, f"tile_k is {self.tile_k}, not {GROUP_SIZE}")
        require(self.stages >= 2, name, f"stages is {self.stages}, less than 2")
        require(self.warps_m == 1, name, f"warps_m is {self.warps_m}, not 1")
        require(
            self.tile_n % (16 * self.warps_n) == 0,
            name,
            f"tile_n is {self.tile_n}, not a multiple of 16 * warps_n = {16 * self.warps_n}",
        )


class Gemm(Int4GemmTile):
    """Pipelined through shared memory: Int4GemmTile in int4_gemm.cuh."""

    header = "int4_gemm"

    @property
    def name(self) -> str:
        return f"int4_gemm_f16_m{self.tile_m}_n{self.tile_n}_k{self.tile_k}_s{self.stages}"

    @property
    def shared_bytes(self) -> int:
        x = self.tile_m * self.tile_k * 2
        weights = self.tile_n * self.tile_k // 2
        scales = self.tile_n * 2
        sums = (self.warps_k - 1) * self.tile_m * self.tile_n * 4
        return max(self.stages * (x + weights + scales), sums)

    @property
    def tile_type(self) -> str:
        values = (self.tile_m, self.tile_n, self.tile_k, self.stages)
        warps = (self.warps_m, self.warps_n, self.warps_k)
        return f"Int4GemmTile<{', '.join(map(str, values + warps))}>"

    def check(self, name: str) -> None:
        require(
            self.tile_k in (64, GROUP_SIZE),
            name,
            f"tile_k is {self.tile_k}, not 64 or {GROUP_SIZE}",
        )
        require(self.stages >= 2, name, f"stages is {self.stages}, less than 2")
        require(
            self.tile_m % (16 * self.warps_m) == 0,
            name,
            f"tile_m is {self.tile_m}, not a multiple of 16 * warps_m = {16 * self.warps_m}",
        )
        require(
            self.tile_n % (8 * self.warps_n) == 0,
            name,
            f"tile_n is {self.tile_n}, not a multiple of 8 * warps_n = {8 * self.warps_n}",
        )
        require(
            self.tile_k % (32 * self.warps_k) == 0,
            name,
            f"tile_k is {self.tile_k}, not a multiple of 32 * warps_k = {32 * self.warps_k}",
        )
        # A thread keeps its place in the swizzle from one pass to the next, and copies one scale.
        lines = self.threads // (self.tile_k // 8)
        require(
            lines > 0 and lines % 8 == 0,
            name,
            f"{self.threads} threads copy {lines} lines at a time, not a multiple of 8",
        )
        require(
            self.tile_n // 4 <= self.threads,
            name,
            f"{self.threads} threads copy the scales of {self.tile_n} channels, four each",
        )


class Wgmma(Int4GemmTile):
    """Loading warps and computing warpgroups: Int4WgmmaTile in int4_wgmma.cuh."""

    header = "int4_wgmma"

    @property
    def name(self) -> str:
        return f"int4_wgmma_f16_m{self.tile_m}_n{self.tile_n}_s{self.stages}"

    @property
    def threads(self) -> int:
        loading = 128
        return super().threads + loading

    @property
    def shared_bytes(self) -> int:
        x = self.tile_m * self.tile_k * 2
        weights = self.tile_n * self.tile_k // 2
        scales = self.tile_n * 2
        barriers = 2 * 8
        return self.stages * (x + weights + scales + barriers)

    @property
    def tile_type(self) -> str:
        return f"Int4WgmmaTile<{self.tile_m}, {self.tile_n}, {self.stages}>"

    def check(self, name: str) -> None:
        rows = (32, 64, 128, 256)
        require(self.tile_m in rows, name, f"tile_m is {self.tile_m}, not one of {rows}")
        require(self.tile_n % 64 == 0, name, f"tile_n is {self.tile_n}, not a multiple of 64")
        require(self.tile_k == GROUP_SIZE, name, f"tile_k is {self.tile_k}, not {GROUP_SIZE}")
        require(self.stages >= 2, name, f"stages is {self.stages}, less than 2")
        warps = (self.warps_m, self.warps_n, self.warps_k)
        needed = (1, self.tile_n // 16, 1)
        require(warps == needed, name, f"warps_m/n/k are {warps}, not {needed}")


KINDS = {"gemv": Gemv, "gemm": Gemm, "wgmma": Wgmma}


@dataclasses.dataclass(frozen=True)
class Int4GemmVariant:
    """One kernel of the INT4 groupwise GEMM; `tile` is None for the combine kernel."""

    op = "int4_gemm"
    params_type = "Int4GemmParams"

    name: str
    kind: str
    threads: int
    shared_bytes: int
    ctas_per_sm: int
    tile: Gemv | Gemm | Wgmma | None
    fewer_ctas: Mapping[str, int] = dataclasses.field(default_factory=dict)  # by SM

    @classmethod
    def from_row(cls, name: str, row: Mapping[str, Any]) -> Int4GemmVariant:
        """Checks a row; raises ValueError with the name, the value and what is allowed."""
        fields = dict(row)
        kind = fields.pop("kind")
        ctas_per_sm = fields.pop("ctas_per_sm")
        fewer_ctas = fields.pop("fewer_ctas", {})
        for sm, ctas in fewer_ctas.items():
            require(
                0 < ctas < ctas_per_sm,
                name,
                f"fewer_ctas of SM {sm} is {ctas}, not 1 to {ctas_per_sm - 1}",
            )
        if kind == "combine":
            variant = cls(name, kind, fields.pop("threads"), 0, ctas_per_sm, None)
            computed = "int4_combine_f16"
            require(not fields, name, f"a combine kernel has no {', '.join(fields)}")
        else:
            require(kind in KINDS, name, f"kind is {kind}, not one of {', '.join(KINDS)}, combine")
            known = [field.name for field in dataclasses.fields(Int4GemmTile)]
            require(
                sorted(fields) == sorted(known),
                name,
                f"its facts are {', '.join(known)}, not {', '.join(fields)}",
            )
            tile = KINDS[kind](**fields)
            for key, value in fields.items():
                require(value >= 1, name, f"{key} is {value}, less than 1")
            tile.check(name)
            variant = cls(
                name, kind, tile.threads, tile.shared_bytes, ctas_per_sm, tile, fewer_ctas
            )
            computed = tile.name
        require(name == computed, name, f"its facts give the name {computed}")
        require_range_of_threads(variant.threads, name)
        return variant

    @property
    def header(self) -> str:
        return f"kernels/gemm/{self.function}.cuh"

    @property
    def function(self) -> str:
        return "int4_combine" if self.tile is None else self.tile.header

    @property
    def tile_type(self) -> str | None:
        return None if self.tile is None else self.tile.tile_type

    def register_ctas(self, sm: Sm) -> int:
        """CTAs of one multiprocessor that the registers are budgeted for on an SM."""
        return self.fewer_ctas.get(sm.name, self.ctas_per_sm)

    def misfit(self, sm: Sm) -> str | None:
        """Why the variant cannot run on an SM, or None."""
        if self.kind == "wgmma" and not sm.wgmma:
            return f"SM {sm.name} has no wgmma"
        return shared_memory_misfit(self.shared_bytes, sm)


@dataclasses.dataclass(frozen=True)
class LaunchCosts:
    """What a launch of a variant costs on an SM: LaunchCosts in kernels/variant_facts.h."""

    sm: str
    variant: str
    launch: float
    cta: float
    step: float
    wait: float
    partial: float


@dataclasses.dataclass(frozen=True)
class Tables:
    """All of kernels/variants.bzl."""

    sms: tuple[Sm, ...]
    int4_gemm: tuple[Int4GemmVariant, ...]
    attention: tuple[AttentionVariant, ...]
    launch_costs: tuple[LaunchCosts, ...] = ()

    @property
    def variants(self) -> tuple[Int4GemmVariant | AttentionVariant, ...]:
        return self.int4_gemm + self.attention

    @classmethod
    def from_json(cls, text: str) -> Tables:
        """Checks all rows; raises ValueError with the row, the value and what is allowed."""
        tables = json.loads(text)
        parsed = cls(
            sms=tuple(
                Sm.from_row(name, tables["sms"][name]) for name in sorted(tables["sms"], key=int)
            ),
            int4_gemm=tuple(
                Int4GemmVariant.from_row(name, row) for name, row in tables["int4_gemm"].items()
            ),
            attention=tuple(
                AttentionVariant.from_row(name, row) for name, row in tables["attention"].items()
            ),
            launch_costs=tuple(_launch_costs(tables)),
        )
        for variant in parsed.variants:
            misfits = [sm.name for sm in parsed.sms if variant.misfit(sm)]
            excluded = sorted(tables["excluded"].get(variant.name, []), key=int)
            require(
                excluded == misfits,
                variant.name,
                f"EXCLUDED names SM {excluded}, and those that cannot run it are {misfits}",
            )
        return parsed


def _launch_costs(tables: Mapping[str, Any]) -> Iterator[LaunchCosts]:
    """Those of kernels/costs.bzl, the reference SM's for every pair that it leaves out."""
    for sm in sorted(tables["sms"], key=int):
        for name, row in tables["int4_gemm"].items():
            if row["kind"] == "combine":
                continue
            measured = tables["launch_costs"].get(sm, {})
            reference_sm, reference = next(iter(tables["launch_costs"].items()))
            if name not in reference:
                raise ValueError(
                    f"{name}: SM {reference_sm} has no costs for it in kernels/costs.bzl;"
                    " measure them with tools/bench, or take those of the most similar variant"
                )
            yield LaunchCosts(sm, name, **measured.get(name, reference[name]))
