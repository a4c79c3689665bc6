"""Writes what is made of kernels/variants.bzl: a .cu per variant, the manifest, the C++ tables."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import textwrap
from typing import Any

from absl import app, flags

from kernels.generator.variants import Int4GemmVariant, Tables

_TABLES = flags.DEFINE_string("tables", None, "kernels/variants.bzl as JSON.", required=True)
_SOURCES = flags.DEFINE_list("sources", [], "The .cu files to write, named after their variants.")
_MANIFEST = flags.DEFINE_string("manifest", None, "The manifest to write.")
_CPP_TABLES = flags.DEFINE_string("cpp_tables", None, "The C++ header to write.")


def source(variant: Int4GemmVariant) -> str:
    """The CUDA source of one variant: an instantiation of its template, no more."""
    signature = f"""\
        extern "C" __global__ void __launch_bounds__({variant.threads}, {variant.ctas_per_sm})
        KERNEL_SYMBOL(const edge_llm::Int4GemmParams params) {{"""
    if variant.tile is None:
        return textwrap.dedent(f"""\
        #include "kernels/gemm/int4_combine.cuh"

        {signature.lstrip()}
          edge_llm::int4_combine(params);
        }}
        """)
    header = variant.tile.header
    return textwrap.dedent(f"""\
        #include "kernels/gemm/{header}.cuh"

        using Tile = edge_llm::{variant.tile.tile_type};
        static_assert(Tile::kThreads == {variant.threads}, "the generator disagrees");
        static_assert(Tile::kSharedBytes == {variant.shared_bytes}, "the generator disagrees");

        {signature.lstrip()}
          edge_llm::{header}<Tile>(params);
        }}
        """)


def _variant_facts(variant: Int4GemmVariant) -> dict[str, Any]:
    return {
        "name": variant.name,
        "op": "int4_gemm",
        "kind": variant.kind,
        "threads": variant.threads,
        "shared_bytes": variant.shared_bytes,
        "ctas_per_sm": variant.ctas_per_sm,
        "tile": dataclasses.asdict(variant.tile) if variant.tile else None,
        "source": f"kernels/{variant.name}.cu",
    }


def manifest(tables: Tables) -> dict[str, Any]:
    """What Python reads: SMs, variants, and which variant has an image for which SM."""
    images, excluded = [], []
    for variant in tables.int4_gemm:
        for sm in tables.sms:
            row = {"id": f"{variant.name}_sm{sm.name}", "variant": variant.name, "sm": sm.name}
            reason = variant.misfit(sm)
            if reason is None:
                images.append(row)
            else:
                excluded.append({**row, "reason": reason})
    return {
        "sms": {sm.name: dataclasses.asdict(sm) for sm in tables.sms},
        "variants": [_variant_facts(variant) for variant in tables.int4_gemm],
        "images": images,
        "excluded": excluded,
    }


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
    lines += [f"    {{{sm.name}, {sm.shared_per_block}, {sm.shared_per_sm}}}," for sm in tables.sms]
    lines += ["};", "", "inline constexpr Int4GemmVariant kInt4GemmVariants[] = {"]
    for variant in tables.int4_gemm:
        tile = variant.tile
        steps = (
            (tile.tile_m, tile.tile_n, tile.tile_k, tile.stages, tile.warps_k) if tile else [0] * 5
        )
        numbers = [*steps, variant.threads, variant.ctas_per_sm, variant.shared_bytes]
        kind = f"Int4GemmKind::k{variant.kind.capitalize()}"
        lines.append(f'    {{"{variant.name}", {kind}, {", ".join(map(str, numbers))}}},')
    lines += ["};", "", "}  // namespace edge_llm", ""]
    return "\n".join(lines)


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    tables = Tables.from_json(pathlib.Path(_TABLES.value).read_text())
    variants = {variant.name: variant for variant in tables.int4_gemm}
    for path in map(pathlib.Path, _SOURCES.value):
        path.write_text(source(variants[path.stem]))
    if _MANIFEST.value:
        pathlib.Path(_MANIFEST.value).write_text(json.dumps(manifest(tables), indent=2) + "\n")
    if _CPP_TABLES.value:
        pathlib.Path(_CPP_TABLES.value).write_text(cpp_tables(tables))


if __name__ == "__main__":
    app.run(main)
