"""Writes what is made of kernels/variants.bzl: a .cu per variant, the manifest, the C++ tables."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import textwrap
from typing import Any

from absl import app, flags

from kernels.generator.attention_variants import AttentionVariant
from kernels.generator.facts import Sm, resident_ctas
from kernels.generator.variants import Int4GemmVariant, Tables

Variant = Int4GemmVariant | AttentionVariant

_TABLES = flags.DEFINE_string("tables", None, "kernels/variants.bzl as JSON.", required=True)
_SOURCES = flags.DEFINE_list("sources", [], "The .cu files to write, named after their variants.")
_ROWS = flags.DEFINE_list("rows", [], "The parts of the manifest to write, one per variant.")
_MANIFEST = flags.DEFINE_string("manifest", None, "The manifest to write.")
_CPP_TABLES = flags.DEFINE_string("cpp_tables", None, "The C++ header to write.")


def _resident_ctas(variant: Variant, sm: Sm) -> int:
    return resident_ctas(variant.register_ctas(sm), variant.shared_bytes, sm.shared_per_sm)


def _launch_bounds(variant: Variant, sms: tuple[Sm, ...]) -> str:
    """Threads, and CTAs per SM: where there are fewer, each may have more registers."""
    bounds = str(variant.ctas_per_sm)
    fewer: dict[int, list[str]] = {}
    for sm in sms:
        ctas = _resident_ctas(variant, sm)
        if variant.misfit(sm) is None and ctas < variant.ctas_per_sm:
            fewer.setdefault(ctas, []).append(f"KERNEL_SM == {sm.name}")
    for ctas, conditions in sorted(fewer.items()):
        bounds = f"{' || '.join(conditions)} ? {ctas} : {bounds}"
    return f"{variant.threads}, {bounds}"


def source(variant: Variant, sms: tuple[Sm, ...]) -> str:
    """The CUDA source of one variant: an instantiation of its template, no more."""
    tile, arguments = "", ""
    if variant.tile_type is not None:
        arguments = "<Tile>"
        tile = textwrap.dedent(f"""\
            using Tile = edge_llm::{variant.tile_type};
            static_assert(Tile::kThreads == {variant.threads}, "the generator disagrees");
            static_assert(Tile::kSharedBytes == {variant.shared_bytes}, "the generator disagrees");

            """)
    return f"""\
#include "{variant.header}"

{tile}extern "C" __global__ void __launch_bounds__({_launch_bounds(variant, sms)})
KERNEL_SYMBOL(const edge_llm::{variant.params_type} params) {{
  edge_llm::{variant.function}{arguments}(params);
}}
"""


def _variant_facts(variant: Variant) -> dict[str, Any]:
    return {
        "name": variant.name,
        "op": variant.op,
        "kind": variant.kind,
        "threads": variant.threads,
        "shared_bytes": variant.shared_bytes,
        "ctas_per_sm": variant.ctas_per_sm,
        "tile": variant.tile.facts() if variant.tile else None,
        "source": f"kernels/{variant.name}.cu",
    }


def manifest(tables: Tables) -> dict[str, Any]:
    """What Python reads: SMs, variants, and which variant has an image for which SM."""
    images, excluded = [], []
    for variant in tables.variants:
        for sm in tables.sms:
            row = {"id": f"{variant.name}_sm{sm.name}", "variant": variant.name, "sm": sm.name}
            reason = variant.misfit(sm)
            if reason is None:
                ctas = _resident_ctas(variant, sm)
                images.append({**row, "ctas_per_sm": ctas})
            else:
                excluded.append({**row, "reason": reason})
    return {
        "sms": {sm.name: dataclasses.asdict(sm) for sm in tables.sms},
        "variants": [_variant_facts(variant) for variant in tables.variants],
        "images": images,
        "excluded": excluded,
    }


def manifest_row(tables: Tables, variant: Variant) -> dict[str, Any]:
    """What the test of one variant reads: a change of another variant does not rerun it."""
    sms = [sm.name for sm in tables.sms if variant.misfit(sm) is None]
    return {"variant": _variant_facts(variant), "sms": sms}


def cpp_tables(tables: Tables) -> str:
    """The C++ header with the tables of kernels/variant_facts.h."""
    lines = [
        "// Generated from kernels/variants.bzl by kernels/generator; do not edit.",
        "#pragma once",
        "",
        '#include "kernels/variant_facts.h"',
        "",
        "namespace edge_llm {",
        "",
        "inline constexpr SmFacts kSmFacts[] = {",
    ]
    for sm in tables.sms:
        flags = [str(flag).lower() for flag in (sm.dependent_launch, sm.wgmma)]
        numbers = [sm.name, sm.shared_per_block, sm.shared_per_sm, *flags]
        lines.append(f"    {{{', '.join(map(str, numbers))}}},")
    lines += ["};", "", "inline constexpr Int4GemmVariant kInt4GemmVariants[] = {"]
    for variant in tables.int4_gemm:
        tile = variant.tile
        steps = (
            (tile.tile_m, tile.tile_n, tile.tile_k, tile.stages, tile.warps_k) if tile else [0] * 5
        )
        numbers = [*steps, variant.threads, variant.ctas_per_sm, variant.shared_bytes]
        kind = f"Int4GemmKind::k{variant.kind.capitalize()}"
        lines.append(f'    {{"{variant.name}", {kind}, {", ".join(map(str, numbers))}}},')
    lines += ["};", "", "inline constexpr AttentionVariant kAttentionVariants[] = {"]
    for variant in tables.attention:
        tile = variant.tile
        steps = (tile.head_size, tile.tile_q, tile.tile_kv) if tile else [0] * 3
        numbers = [*steps, variant.threads, variant.ctas_per_sm, variant.shared_bytes]
        numbers.append(str(variant.wgmma).lower())
        kind = f"AttentionKind::k{variant.kind.capitalize()}"
        lines.append(f'    {{"{variant.name}", {kind}, {", ".join(map(str, numbers))}}},')
    lines += ["};", "", "inline constexpr FewerCtas kFewerCtas[] = {"]
    for variant in tables.int4_gemm:
        for sm, ctas in variant.fewer_ctas.items():
            lines.append(f'    {{{sm}, "{variant.name}", {ctas}}},')
    lines += ["};", "", "inline constexpr LaunchCosts kLaunchCosts[] = {"]
    for costs in tables.launch_costs:
        sm, name, *numbers = dataclasses.astuple(costs)
        lines.append(f'    {{{sm}, "{name}", {", ".join(map(str, numbers))}}},')
    lines += ["};", "", "}  // namespace edge_llm", ""]
    return "\n".join(lines)


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    tables = Tables.from_json(pathlib.Path(_TABLES.value).read_text())
    variants = {variant.name: variant for variant in tables.variants}
    for path in map(pathlib.Path, _SOURCES.value):
        path.write_text(source(variants[path.stem], tables.sms))
    for path in map(pathlib.Path, _ROWS.value):
        path.write_text(json.dumps(manifest_row(tables, variants[path.stem]), indent=2) + "\n")
    if _MANIFEST.value:
        pathlib.Path(_MANIFEST.value).write_text(json.dumps(manifest(tables), indent=2) + "\n")
    if _CPP_TABLES.value:
        pathlib.Path(_CPP_TABLES.value).write_text(cpp_tables(tables))


if __name__ == "__main__":
    app.run(main)
