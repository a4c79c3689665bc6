"""Impossible rows of ATTENTION_VARIANTS are refused, and what is written agrees with the table."""

from __future__ import annotations

import pathlib

import pytest

from kernels.generator import generate
from kernels.generator.attention_variants import AttentionVariant
from kernels.generator.variants import Tables

_DECODE = {
    "kind": "decode",
    "head_size": 128,
    "blocks_m": 1,
    "warps_m": 1,
    "warps_kv": 4,
    "tile_kv": 64,
    "stages": 2,
    "ctas_per_sm": 2,
}
_NAME = "attention_decode_f16_d128_m16"
_WGMMA = {**_DECODE, "warps_m": 4, "warps_kv": 2, "stages": 4, "wgmma": True, "ctas_per_sm": 1}
_WGMMA_NAME = "attention_decode_f16_d128_m64_wgmma"


def test_derived_facts_of_a_decode() -> None:
    variant = AttentionVariant.from_row(_NAME, _DECODE)
    assert variant.threads == 128
    # Q, two stages of K and V, 17 sets of 128 tokens (16 rows, valid ones), their positions.
    assert variant.shared_bytes == (16 + 2 * 2 * 64) * 256 + 17 * 16 + 128 * 4


def test_derived_facts_of_a_tile_of_warpgroups() -> None:
    variant = AttentionVariant.from_row(_WGMMA_NAME, _WGMMA)
    assert variant.wgmma and variant.threads == 256
    # As above with 64 rows and four stages, and a barrier of each stage and warpgroup.
    assert variant.shared_bytes == (64 + 2 * 4 * 64) * 256 + 65 * 16 + 128 * 4 + (4 + 2) * 8
    base = "AttentionDecodeTile<128, 1, 4, 2, 64, 4>"
    assert variant.tile_type == f"AttentionWgmmaTile<edge_llm::{base}>"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head_size": 80}, "head_size is 80, no multiple of 64"),
        ({"stages": 2}, "stages is 2, less than 3 with wgmma"),
        ({"warps_m": 2}, "it has no whole warpgroups of 16 rows per warp"),
        ({"blocks_m": 2}, "it has no whole warpgroups of 16 rows per warp"),
        ({"tile_kv": 96}, "a warpgroup has 48 slots, not one of "),
        ({"wgmma": False}, "its facts give the name attention_decode_f16_d128_m64_w8"),
    ],
)
def test_impossible_tiles_of_warpgroups_are_refused(
    change: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        AttentionVariant.from_row(_WGMMA_NAME, {**_WGMMA, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head_size": 72}, "head_size is 72, not a multiple of 16"),
        ({"stages": 1}, "stages is 1, less than 2"),
        ({"tile_kv": 32}, "tile_kv is 32, not a multiple of 16 "),
        ({"warps_m": 8, "tile_kv": 64}, "its warps take 278528 bytes and its tiles 98304"),
        ({"blocks_m": 0}, "blocks_m is 0, less than 1"),
        ({"blocks_m": 2}, "its facts give the name attention_decode_f16_d128_m32"),
        ({"warps_m": 2}, "its facts give the name attention_decode_f16_d128_m32_w8"),
        ({"kind": "paged"}, "kind is paged, not one of prefill, decode, append, combine"),
        ({"kind": "append"}, "its facts are threads, not head_size"),
    ],
)
def test_impossible_rows_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AttentionVariant.from_row(_NAME, {**_DECODE, **change})


def test_combine_has_shared_memory_for_its_threads() -> None:
    row = {"kind": "combine", "threads": 512, "ctas_per_sm": 2}
    with pytest.raises(ValueError, match="threads is 512, more than 256"):
        AttentionVariant.from_row("attention_combine_f16", row)


def test_every_head_size_has_prefill_and_decode() -> None:
    tables = Tables.from_json(pathlib.Path("kernels/tables.json").read_text())
    sizes = {
        kind: {variant.tile.head_size for variant in tables.attention if variant.kind == kind}
        for kind in ("prefill", "decode")
    }
    assert sizes["prefill"] == sizes["decode"] == {32, 64, 80, 96, 128, 256}
    excluded = {row["variant"] for row in generate.manifest(tables)["excluded"]}
    assert not excluded & {variant.name for variant in tables.attention if not variant.wgmma}


def test_cpp_tables_hold_the_rows() -> None:
    tables = Tables.from_json(pathlib.Path("kernels/tables.json").read_text())
    text = generate.cpp_tables(tables)
    row = f'{{"{_NAME}", AttentionKind::kDecode, 128, 16, 64, 128, 2, 70416, false}},'
    assert row in text
    assert '{"attention_append_f16", AttentionKind::kAppend, 0, 0, 0, 256, 4, 0, false},' in text
