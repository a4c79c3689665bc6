"""Writes the assembly that embeds kernel images with their table, and the file with the images.

    embed_images --assembly=FILE --images=FILE [--nvfatbin=LIBRARY] SYMBOL=SM=ARCH=FORMAT=PATH...

With libnvfatbin each image becomes a fatbin, which is compressed and which the driver inflates; it
goes where CUDA's own tools look for fatbins, so that cuobjdump lists the images of a library.
Without it images stay as they are: PTX for the emulator.

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
TABLE = "edge_llm_kernel_images"
ALIGNMENT = 8  # of a fatbin


class Row(NamedTuple):
    """One argument: an image and what it is."""

    symbol: str
    sm: str
    arch: str
    format: str
    path: str


def contents(rows: list[Row], nvfatbin: NvFatbin | None) -> list[bytes]:
    """The images as they are embedded."""
    images = [pathlib.Path(row.path).read_bytes() for row in rows]
    if nvfatbin is None:
        return images
    return [
        nvfatbin.pack(image, row.format, row.arch, row.symbol)
        for row, image in zip(rows, images, strict=True)
    ]


def padded(image: bytes) -> bytes:
    """An image, one zero byte or more, and the next one's alignment."""
    return image + bytes(ALIGNMENT - len(image) % ALIGNMENT)


def assembly(rows: list[Row], images: list[bytes], path: pathlib.Path, section: str) -> str:
    """The assembly for images that lie one after the other, padded, in the file `path`."""
    symbols, table = [], []
    offset = 0
    for index, (row, image) in enumerate(zip(rows, images, strict=True)):
        symbols.append(f'.Lsymbol{index}:\n.asciz "{row.symbol}"\n')
        table.append(
            f".quad .Lsymbol{index}, {row.sm}, {FORMATS[row.format]}, "
            f".Limages + {offset}, {len(image)}\n"
        )
        offset += len(padded(image))
    return "".join(
        [
            '.section .note.GNU-stack,"",%progbits\n',
            f'.section {section},"a",%progbits\n.balign {ALIGNMENT}\n',
            f'.Limages:\n.incbin "{path}"\n',
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
    images = contents(rows, NvFatbin(args.nvfatbin) if args.nvfatbin else None)
    section = ".nv_fatbin" if args.nvfatbin else ".rodata"
    args.images.write_bytes(b"".join(map(padded, images)))
    args.assembly.write_text(assembly(rows, images, args.images, section))


if __name__ == "__main__":
    main()
