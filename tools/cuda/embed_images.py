"""Writes the assembly that embeds kernel images with their table, and the file with the images.

    embed_images --assembly=FILE --images=FILE [--nvfatbin=LIBRARY] SYMBOL=SM=ARCH=FORMAT=PATH...

A cubin becomes a fatbin, which is compressed and which the driver inflates; it goes where CUDA's
own tools look for fatbins, so that cuobjdump lists the cubins of a library. PTX stays as it is:
what reads no fatbins reads it too, such as the emulator.

The table is `edge_llm_kernel_images` of plugins/runtime/kernel_image.h: rows of symbol, SM, format
(0 cubin, 1 PTX), data and size, then a row of zeros. Each image ends with zero bytes that its size
does not count, so that PTX is a C string.
"""

from __future__ import annotations

import argparse
import pathlib
from typing import NamedTuple

from tools.cuda.nvfatbin import NvFatbin

FORMATS = {"cubin": 0, "ptx": 1}
SECTIONS = {"cubin": ".nv_fatbin", "ptx": ".rodata"}
TABLE = "edge_llm_kernel_images"
ALIGNMENT = 8  # of a fatbin


class Row(NamedTuple):
    """One argument: an image and what it is."""

    symbol: str
    sm: str
    arch: str
    format: str
    path: str


def content(row: Row, nvfatbin: NvFatbin | None) -> bytes:
    """An image as it is embedded."""
    image = pathlib.Path(row.path).read_bytes()
    if row.format == "ptx":
        return image
    if nvfatbin is None:
        raise ValueError(f"{row.path}: --nvfatbin is missing, which packs cubins")
    try:
        return nvfatbin.pack(image, row.arch, row.symbol)
    except RuntimeError as error:
        raise RuntimeError(f"{row.path}: not packed for sm_{row.arch}: {error}") from error


def padded(image: bytes) -> bytes:
    """An image, one zero byte or more, and the next one's alignment."""
    return image + bytes(ALIGNMENT - len(image) % ALIGNMENT)


def assembly(rows: list[Row], images: list[bytes], path: pathlib.Path) -> str:
    """The assembly for images that lie one after the other, padded, in the file `path`."""
    parts, symbols, table = [], [], []
    offset = 0
    for index, (row, image) in enumerate(zip(rows, images, strict=True)):
        size = len(padded(image))
        parts.append(
            f'.section {SECTIONS[row.format]},"a",%progbits\n.balign {ALIGNMENT}\n'
            f'.Limage{index}:\n.incbin "{path}", {offset}, {size}\n'
        )
        symbols.append(f'.Lsymbol{index}:\n.asciz "{row.symbol}"\n')
        table.append(
            f".quad .Lsymbol{index}, {row.sm}, {FORMATS[row.format]}, "
            f".Limage{index}, {len(image)}\n"
        )
        offset += size
    return "".join(
        [
            '.section .note.GNU-stack,"",%progbits\n',
            *parts,
            ".section .rodata\n",
            *symbols,
            # The table holds addresses, so the loader writes it once and then protects it.
            '.section .data.rel.ro,"aw",%progbits\n.balign 8\n',
            f".globl {TABLE}\n.hidden {TABLE}\n{TABLE}:\n",
            *table,
            ".quad 0, 0, 0, 0, 0\n",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--assembly", type=pathlib.Path, required=True)
    parser.add_argument("--images", type=pathlib.Path, required=True)
    parser.add_argument("--nvfatbin")
    parser.add_argument("rows", nargs="+", metavar="SYMBOL=SM=ARCH=FORMAT=PATH")
    args = parser.parse_args()

    rows = [Row(*row.split("=", 4)) for row in args.rows]
    nvfatbin = NvFatbin(args.nvfatbin) if args.nvfatbin else None
    images = [content(row, nvfatbin) for row in rows]
    args.images.write_bytes(b"".join(map(padded, images)))
    args.assembly.write_text(assembly(rows, images, args.images))


if __name__ == "__main__":
    main()
