"""The generator refuses impossible rows, and what it writes agrees with the table."""

from __future__ import annotations

import dataclasses
import json
import pathlib

import pytest

from kernels.generator import generate
from kernels.generator.facts import Sm
from kernels.generator.variants import Int4GemmVariant, Tables

_TABLES = pathlib.Path("kernels/tables.json")

_GEMM = {
    "kind": "gemm",
    "tile_m": 64,
    "tile_n": 128,
    "tile_k": 64,
    "stages": 4,
    "warps_m": 1,
    "warps_n": 4,
    "warps_k": 2,
    "ctas_per_sm": 2,
}
_GEMM_NAME = "int4_gemm_f16_m64_n128_k64_s4"
_WGMMA = {
    "kind": "wgmma",
    "tile_m": 64,
    "tile_n": 128,
    "tile_k": 128,
    "stages": 4,
    "warps_m": 1,
    "warps_n": 8,
    "warps_k": 1,
    "ctas_per_sm": 2,
}
_WGMMA_NAME = "int4_wgmma_f16_m64_n128_s4"
_GEMV = {
    **_GEMM,
    "kind": "gemv",
    "tile_m": 8,
    "tile_n": 32,
    "tile_k": 128,
    "warps_n": 1,
}


@pytest.fixture(name="tables")
def _tables() -> Tables:
    return Tables.from_json(_TABLES.read_text())


def _small_sm(shared_per_block: int) -> Sm:
    return Sm(
        "99", "99", "none", 1, shared_per_block, shared_per_block, 1536, False, ("13.0",), False
    )


def test_derived_facts_of_a_gemm() -> None:
    variant = Int4GemmVariant.from_row(_GEMM_NAME, _GEMM)
    assert variant.threads == 256
    # Four stages of x (64 x 64 f16), weights (128 x 64 codes) and 128 scales.
    assert variant.shared_bytes == 4 * (8192 + 4096 + 256)


def test_shared_memory_holds_the_sums_of_the_warps_along_k() -> None:
    row = {**_GEMM, "stages": 2, "warps_k": 2, "tile_n": 256, "warps_n": 4}
    variant = Int4GemmVariant.from_row("int4_gemm_f16_m64_n256_k64_s2", row)
    assert variant.shared_bytes == 64 * 256 * 4


def test_derived_facts_of_a_gemv() -> None:
    variant = Int4GemmVariant.from_row("int4_gemv_f16_m8_n32_w4", {**_GEMV, "warps_k": 4})
    assert variant.threads == 128
    # For each warp four stages of weights (32 x 128 codes) and 32 scales; then its sums, twice.
    assert variant.shared_bytes == 4 * (4 * (2048 + 64) + 2 * 8 * (32 + 4) * 4)


def test_derived_facts_of_a_wgmma() -> None:
    variant = Int4GemmVariant.from_row(_WGMMA_NAME, _WGMMA)
    assert variant.threads == 256 + 128
    # Four stages of x (64 x 128 f16), weights (128 x 128 codes), 128 scales and two barriers.
    assert variant.shared_bytes == 4 * (16384 + 8192 + 256 + 16)


@pytest.mark.parametrize(
    ("base", "change", "message"),
    [
        (_GEMM, {"tile_k": 96}, "tile_k is 96, not 64 or 128"),
        (_GEMM, {"tile_k": 256}, "tile_k is 256, not 64 or 128"),
        (_GEMM, {"tile_m": 24}, "tile_m is 24, not a multiple of 16 "),
        (_GEMM, {"tile_n": 48}, "tile_n is 48, not a multiple of 8 "),
        (_GEMM, {"stages": 1}, "stages is 1, less than 2"),
        (_GEMM, {"warps_k": 4}, "tile_k is 64, not a multiple of 32 "),
        (_GEMM, {"warps_n": 0}, "warps_n is 0, less than 1"),
        (_GEMM, {"warps_n": 1, "warps_k": 1}, "32 threads copy 4 lines at a time"),
        (_GEMM, {"warps_n": 1, "tile_n": 512}, "64 threads copy the scales of 512 channels"),
        (_GEMM, {"fewer_ctas": {"87": 2}}, "fewer_ctas of SM 87 is 2, not 1 to 1"),
        (_GEMM, {"fewer_ctas": {"87": 0}}, "fewer_ctas of SM 87 is 0, not 1 to 1"),
        (_GEMM, {"tile_q": 1}, "its facts are tile_m, .*, not tile_m, .*, tile_q"),
        (_GEMM, {"kind": "conv"}, "kind is conv, not one of gemv, gemm, wgmma, combine"),
        (_GEMM, {"tile_m": 128, "tile_n": 128}, "give the name int4_gemm_f16_m128_n128_k64_s4"),
        (_GEMV, {"tile_m": 24}, "tile_m is 24, not 8 or 16"),
        (_GEMV, {"stages": 1}, "stages is 1, less than 2"),
        (_GEMV, {"tile_k": 64}, "tile_k is 64, not 128"),
        (_GEMV, {"tile_n": 24}, "tile_n is 24, not a multiple of 16 "),
        (_GEMV, {"warps_m": 2}, "warps_m is 2, not 1"),
        (_WGMMA, {"tile_m": 96}, "tile_m is 96, not one of \\(32, 64, 128, 256\\)"),
        (_WGMMA, {"tile_n": 96}, "tile_n is 96, not a multiple of 64"),
        (_WGMMA, {"tile_k": 64}, "tile_k is 64, not 128"),
        (_WGMMA, {"stages": 1}, "stages is 1, less than 2"),
        (_WGMMA, {"warps_n": 4}, "warps_m/n/k are \\(1, 4, 1\\), not \\(1, 8, 1\\)"),
        ({"kind": "combine", "threads": 100, "ctas_per_sm": 4}, {}, "its facts give the name"),
    ],
)
def test_impossible_rows_are_refused_in_one_line(
    base: dict[str, object], change: dict[str, object], message: str
) -> None:
    name = {"gemm": _GEMM_NAME, "wgmma": _WGMMA_NAME}.get(
        str(base["kind"]), "int4_gemv_f16_m8_n32_w2"
    )
    with pytest.raises(ValueError, match=message) as error:
        Int4GemmVariant.from_row(name, {**base, **change})
    assert str(error.value).startswith(f"{name}: ")
    assert str(error.value).endswith("; change its row in kernels/variants.bzl")
    assert "\n" not in str(error.value)


def test_too_many_threads_are_refused() -> None:
    with pytest.raises(ValueError, match="threads is 2048, not a multiple of 32 up to 1024"):
        Int4GemmVariant.from_row("int4_gemv_f16_m8_n32_w64", {**_GEMV, "warps_k": 64})


def test_manifest_lists_every_variant_on_every_sm(tables: Tables) -> None:
    manifest = generate.manifest(tables)
    pairs = {(row["variant"], row["sm"]) for row in manifest["images"] + manifest["excluded"]}
    assert pairs == {(v.name, sm.name) for v in tables.variants for sm in tables.sms}
    assert all(row["id"] == f"{row['variant']}_sm{row['sm']}" for row in manifest["images"])
    json.dumps(manifest)


def test_variant_that_does_not_fit_is_excluded_with_a_reason(tables: Tables) -> None:
    gemm = Int4GemmVariant.from_row(_GEMM_NAME, _GEMM)
    small = Tables(sms=(_small_sm(gemm.shared_bytes - 1),), int4_gemm=(gemm,), attention=())
    manifest = generate.manifest(small)
    assert manifest["images"] == []
    (row,) = manifest["excluded"]
    assert row["id"] == f"{_GEMM_NAME}_sm99"
    assert row["reason"] == "50176 bytes of shared memory, and one CTA may have 50175"
    exact = Tables(sms=(_small_sm(gemm.shared_bytes),), int4_gemm=(gemm,), attention=())
    assert generate.manifest(exact)["excluded"] == []


@pytest.mark.parametrize(
    "sms", [[], ["86", "89", "120"], ["80", "86", "89", "120", "121"]], ids=len
)
def test_excluded_sms_that_are_not_the_misfits_are_refused(sms: list[str]) -> None:
    tables = json.loads(_TABLES.read_text())
    tables["excluded"]["int4_gemv_f16_m8_n32_w16"] = sms
    with pytest.raises(ValueError, match="int4_gemv_f16_m8_n32_w16: EXCLUDED names SM"):
        Tables.from_json(json.dumps(tables))


def test_every_row_count_has_a_variant_on_every_sm(tables: Tables) -> None:
    for sm in tables.sms:
        tiles = [variant.tile for variant in tables.int4_gemm if not variant.misfit(sm)]
        assert {tile.tile_m for tile in tiles if tile} >= {8, 16, 32, 64, 128}, sm


def test_only_the_tallest_pipelines_are_excluded_from_small_sms(tables: Tables) -> None:
    excluded = {(row["variant"], row["sm"]) for row in generate.manifest(tables)["excluded"]}
    small = {sm.name for sm in tables.sms if sm.shared_per_block < 128 * 1024}
    pipelines = {(name, sm) for name, sm in excluded if "wgmma" not in name}
    assert {sm for _, sm in pipelines} == small
    assert {name for name, _ in pipelines} == {
        "int4_gemv_f16_m8_n32_w16",
        "int4_gemv_f16_m16_n32_w16",
        "int4_gemv_f16_m16_n128_w4",
    }


def test_warpgroups_are_of_sm_90_alone(tables: Tables) -> None:
    manifest = generate.manifest(tables)
    assert {row["sm"] for row in manifest["images"] if "wgmma" in row["variant"]} == {"90"}
    reasons = {row["reason"] for row in manifest["excluded"] if "wgmma" in row["variant"]}
    assert "SM 87 has no wgmma" in reasons and len(reasons) == len(tables.sms) - 1


def test_source_instantiates_the_tile(tables: Tables) -> None:
    text = generate.source(Int4GemmVariant.from_row(_GEMM_NAME, _GEMM), tables.sms)
    assert '#include "kernels/gemm/int4_gemm.cuh"' in text
    assert "Int4GemmTile<64, 128, 64, 4, 1, 4, 2>" in text
    assert "__launch_bounds__(256, 2)" in text
    assert "KERNEL_SYMBOL(const edge_llm::Int4GemmParams params)" in text


def test_launch_bounds_name_what_the_shared_memory_of_each_sm_holds(tables: Tables) -> None:
    variant = Int4GemmVariant.from_row(_GEMM_NAME, {**_GEMM, "ctas_per_sm": 4})
    small = [sm.name for sm in tables.sms if sm.shared_per_sm < 4 * (variant.shared_bytes + 1024)]
    assert small == ["80", "86", "87", "89", "120", "121"]
    assert (
        "__launch_bounds__(256, KERNEL_SM == 80 || KERNEL_SM == 87 ? 3 : "
        "KERNEL_SM == 86 || KERNEL_SM == 89 || KERNEL_SM == 120 || KERNEL_SM == 121 ? 2 : 4)"
    ) in generate.source(variant, tables.sms)


def test_launch_bounds_name_the_sms_that_would_spill(tables: Tables) -> None:
    row = {**_GEMM, "ctas_per_sm": 2, "fewer_ctas": {"101": 1}}
    variant = Int4GemmVariant.from_row(_GEMM_NAME, row)
    assert "__launch_bounds__(256, KERNEL_SM == 101 ? 1 : 2)" in generate.source(
        variant, tables.sms
    )
    manifest = generate.manifest(dataclasses.replace(tables, int4_gemm=(variant,), attention=()))
    ctas = {row["sm"]: row["ctas_per_sm"] for row in manifest["images"]}
    assert (ctas["101"], ctas["110"]) == (1, 2)


def test_cpp_tables_hold_the_rows(tables: Tables) -> None:
    text = generate.cpp_tables(tables)
    assert "{86, 101376, 102400, false, false}," in text
    assert "{90, 232448, 233472, true, true}," in text
    assert (
        '{"int4_gemm_f16_m64_n128_k64_s4", Int4GemmKind::kGemm, 64, 128, 64, 4, 1, 128, 4, 50176},'
        in text
    )
    assert '{101, "int4_gemm_f16_m64_n128_k64_s4", 3},' in text
    assert '{"int4_combine_f16", Int4GemmKind::kCombine, 0, 0, 0, 0, 0, 256, 4, 0},' in text
