"""The rows of ATTENTION_VARIANTS, checked, with the facts that follow from them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from kernels.generator.facts import Sm, require, require_range_of_threads, shared_memory_misfit

_TREE_TOKENS = 128
_USUAL_WARPS = 4
# A row's bits for each tree token, and as many for the tokens that are valid.
_MASK_BYTES = _TREE_TOKENS // 8


@dataclasses.dataclass(frozen=True)
class AttentionTile:
    """The tile of a prefill or decode variant: AttentionTile in attention_tile.cuh."""

    head_size: int
    blocks_m: int
    warps_m: int
    warps_kv: int
    tile_kv: int
    stages: int
    wgmma: bool = False  # AttentionWgmmaTile

    @property
    def threads(self) -> int:
        return 32 * self.warps_m * self.warps_kv

    @property
    def tile_q(self) -> int:
        return 16 * self.blocks_m * self.warps_m

    @property
    def suffix(self) -> str:
        """Of the name: wgmma, or the warps where a variant has more than the usual four."""
        if self.wgmma:
            return "_wgmma"
        warps = self.warps_m * self.warps_kv
        return f"_w{warps}" if warps > _USUAL_WARPS else ""

    @property
    def shared_bytes(self) -> int:
        # A barrier of each stage, and of each warpgroup.
        barriers = self.stages + self.threads // 128 if self.wgmma else 0
        return self._tile_bytes + 8 * barriers

    @property
    def _tile_bytes(self) -> int:
        """Of Q, and of the stages of K and V."""
        return (self.tile_q + 2 * self.stages * self.tile_kv) * self.head_size * 2

    def facts(self) -> dict[str, int]:
        return {**dataclasses.asdict(self), "tile_q": self.tile_q}

    def type_of(self, name: str) -> str:
        """The instantiation of a template of tiles."""
        *numbers, wgmma = dataclasses.astuple(self)
        tile = f"{name}<{', '.join(map(str, numbers))}>"
        return f"AttentionWgmmaTile<edge_llm::{tile}>" if wgmma else tile

    def check(self, name: str) -> None:
        require(
            self.head_size % 16 == 0,
            name,
            f"head_size is {self.head_size}, not a multiple of 16",
        )
        require(self.stages >= 2, name, f"stages is {self.stages}, less than 2")
        require(
            self.tile_kv % (16 * self.warps_kv) == 0,
            name,
            f"tile_kv is {self.tile_kv}, not a multiple of 16 * warps_kv = {16 * self.warps_kv}",
        )
        if self.warps_kv > 1:
            # The results of the warps meet where Q, K and V were.
            merged = self.warps_kv * self.tile_q * (self.head_size + 8) * 4
            tiles = self._tile_bytes
            require(
                merged <= tiles,
                name,
                f"the results of its warps take {merged} bytes and its tiles {tiles}",
            )
        if self.wgmma:
            self._check_wgmma(name)

    def _check_wgmma(self, name: str) -> None:
        require(self.head_size % 64 == 0, name, f"head_size is {self.head_size}, no multiple of 64")
        require(self.stages >= 3, name, f"stages is {self.stages}, less than 3 with wgmma")
        warps = (self.blocks_m, self.warps_m % 4)
        require(warps == (1, 0), name, "it has no whole warpgroups of 16 rows per warp")
        slots, columns = self.tile_kv // self.warps_kv, (32, 64, 128)
        require(slots in columns, name, f"a warpgroup has {slots} slots, not one of {columns}")


class Prefill(AttentionTile):
    """Many tokens of one Q head."""

    @property
    def name(self) -> str:
        return f"attention_prefill_f16_d{self.head_size}_q{self.tile_q}{self.suffix}"

    @property
    def tile_type(self) -> str:
        return self.type_of("AttentionTile")


class Decode(AttentionTile):
    """Few tokens of all Q heads that share a KV head: AttentionDecodeTile."""

    @property
    def name(self) -> str:
        return f"attention_decode_f16_d{self.head_size}_m{self.tile_q}{self.suffix}"

    @property
    def shared_bytes(self) -> int:
        return super().shared_bytes + (self.tile_q + 1) * _MASK_BYTES + 4 * _TREE_TOKENS

    @property
    def tile_type(self) -> str:
        return self.type_of("AttentionDecodeTile")


_TILED = {"prefill": Prefill, "decode": Decode}
_UNTILED = ("append", "combine")

# What attention_combine.cuh has shared memory for.
_MOST_COMBINE_THREADS = 256


@dataclasses.dataclass(frozen=True)
class AttentionVariant:
    """One attention kernel; `tile` is None for append and combine, which serve every head size."""

    op = "attention"
    params_type = "AttentionParams"

    name: str
    kind: str
    threads: int
    shared_bytes: int
    ctas_per_sm: int
    tile: Prefill | Decode | None

    @classmethod
    def from_row(cls, name: str, row: Mapping[str, Any]) -> AttentionVariant:
        """Checks a row; raises ValueError with the name, the value and what is allowed."""
        fields = dict(row)
        kind = fields.pop("kind")
        ctas_per_sm = fields.pop("ctas_per_sm")
        wgmma = fields.pop("wgmma", False)
        kinds = (*_TILED, *_UNTILED)
        require(kind in kinds, name, f"kind is {kind}, not one of {', '.join(kinds)}")
        known = ["threads"]
        if kind in _TILED:
            known = [field.name for field in dataclasses.fields(AttentionTile)]
            known.remove("wgmma")
        require(
            sorted(fields) == sorted(known),
            name,
            f"its facts are {', '.join(known)}, not {', '.join(fields)}",
        )
        for key, value in fields.items():
            require(value >= 1, name, f"{key} is {value}, less than 1")
        if kind in _TILED:
            tile = _TILED[kind](**fields, wgmma=wgmma)
            tile.check(name)
            variant = cls(name, kind, tile.threads, tile.shared_bytes, ctas_per_sm, tile)
            computed = tile.name
        else:
            threads = fields["threads"]
            require(
                kind != "combine" or threads <= _MOST_COMBINE_THREADS,
                name,
                f"threads is {threads}, more than {_MOST_COMBINE_THREADS}",
            )
            variant = cls(name, kind, threads, 0, ctas_per_sm, None)
            computed = f"attention_{kind}_f16"
        require(name == computed, name, f"its facts give the name {computed}")
        require_range_of_threads(variant.threads, name)
        return variant

    @property
    def header(self) -> str:
        return f"kernels/attention/{self.function}.cuh"

    @property
    def function(self) -> str:
        return f"attention_{self.kind}"

    @property
    def tile_type(self) -> str | None:
        return None if self.tile is None else self.tile.tile_type

    @property
    def wgmma(self) -> bool:
        return self.tile is not None and self.tile.wgmma

    def register_ctas(self, sm: Sm) -> int:
        """CTAs of one multiprocessor that the registers are budgeted for: the same on every SM."""
        return self.ctas_per_sm

    def misfit(self, sm: Sm) -> str | None:
        """Why the variant cannot run on an SM, or None."""
        if self.wgmma and not sm.wgmma:
            return f"SM {sm.name} has no wgmma"
        return shared_memory_misfit(self.shared_bytes, sm)
