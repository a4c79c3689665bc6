"""Writes docs/compatibility.md from the tables of the build.

compatibility --tables=compatibility_tables.json --output=compatibility.md
"""

from __future__ import annotations

import argparse
import json
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

INTRODUCTION = """# Compatibility

One library per platform serves all of its TensorRT versions: it links neither TensorRT nor CUDA,
finds out who loads it, and has each caller's own interfaces. V2 is `IPluginV2DynamicExt`, version
"1" of a plugin; V3 is `IPluginV3`, version "2".

The build writes this page from its own tables (`//docs:compatibility`), and each cell names the
test that proves it.
"""

TENSORRT = """
## TensorRT

- *Slots of*: the interfaces of these versions are compared with the vendor's own binaries, slot by
  slot: {slots}.
- *Registry*: the real runtime of this version loads the library, finds both plugins and creates
  them, and clones, stores and restores those of V2.
- *Engine built*: the real builder made engines with both plugins in them.
- *Engine run*: they ran on a GPU and were compared with NumPy. No test has a GPU: what ran on one
  was run by hand, at the date that is given.

Where it says "not yet", what stands to the left is all that is known.
"""

PLATFORMS = """
## Platforms

The C library is the oldest one that the platform's library runs with.
"""

CUDA = """
## CUDA

The driver API alone is used, from CUDA 12.0 on, once a plugin is initialised or attached. A
platform's cubins are made by the NVRTC of its CUDA release.
"""

PYTHON = """
## Python

Each test builds the extension module for its Python and computes with both versions of a plugin on
the emulator. It needs that Python, on PATH, of pyenv or of uv, and is skipped with these words
where there is none.
"""


def code(names: Iterable[str]) -> str:
    return " ".join(f"`{name}`" for name in names)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def cell(proof: list[str] | str) -> str:
    """The tests that prove it, or what else there is to say."""
    return proof if isinstance(proof, str) else code(proof)


def tensorrt_rows(tensorrts: list[dict[str, Any]]) -> Iterable[Sequence[str]]:
    for row in tensorrts:
        for plugin in ("v2", "v3"):
            cells = row[plugin]
            head = (row["name"], ", ".join(row["versions"]), plugin.upper())
            if isinstance(cells, str):
                yield (*head, cells, "", "")
            else:
                registry = f"{cells['runtime']}: {code(cells['registry'])}"
                yield (*head, registry, cell(cells["built"]), cell(cells["run"]))


def page(tables: dict[str, Any]) -> str:
    """The whole page."""
    return (
        INTRODUCTION
        + TENSORRT.format(slots=code(tables["slots"]))
        + "\n"
        + table(
            ["TensorRT", "slots of", "plugin", "registry", "engine built", "engine run"],
            tensorrt_rows(tables["tensorrts"]),
        )
        + PLATFORMS
        + "\n"
        + table(
            ["platform", "processor", "C library", "CUDA", "SMs", "Python", "tests"],
            (
                (
                    f"`{name}`",
                    row["cpu"],
                    f"glibc {row['glibc']}",
                    row["cuda"],
                    " ".join(row["sms"]),
                    row.get("python", "the one that builds"),
                    code(row["tests"]) + (" and all others" if name == tables["host"] else ""),
                )
                for name, row in tables["platforms"].items()
            ),
        )
        + CUDA
        + "\n"
        + table(
            ["CUDA", "NVRTC", "SMs that it compiles", "platforms"],
            (
                (release, row["nvrtc"], " ".join(row["sms"]), code(row["platforms"]))
                for release, row in tables["cuda"].items()
            ),
        )
        + PYTHON
        + "\n"
        + table(
            ["Python", "test"], ((row, code(tests)) for row, tests in tables["pythons"].items())
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=pathlib.Path, required=True)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    arguments.output.write_text(page(json.loads(arguments.tables.read_text())), encoding="utf-8")


if __name__ == "__main__":
    main()
