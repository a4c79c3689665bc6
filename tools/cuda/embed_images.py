"""Writes the assembly that embeds kernel images and their table.

    embed_images OUT SYMBOL=SM=FORMAT=PATH...

The table is `edge_llm_kernel_images` of plugins/runtime/kernel_image.h: rows of symbol, SM, format
(0 cubin, 1 PTX), data and size, then a row of zeros. Each image ends with a zero byte that its size
does not count, so that PTX is a C string.
"""

from __future__ import annotations

import pathlib
import sys

FORMATS = {"cubin": 0, "ptx": 1}
TABLE = "edge_llm_kernel_images"

IMAGE = """\
.balign 16
.Limage{index}:
.incbin "{path}"
.Lend{index}:
.byte 0
.Lsymbol{index}:
.asciz "{symbol}"
"""

ROW = ".quad .Lsymbol{index}, {sm}, {format}, .Limage{index}, .Lend{index} - .Limage{index}\n"


def assembly(rows: list[str]) -> str:
    """The assembly for rows of SYMBOL=SM=FORMAT=PATH."""
    images, table = [], []
    for index, row in enumerate(rows):
        symbol, sm, format_name, path = row.split("=", 3)
        images.append(IMAGE.format(index=index, path=path, symbol=symbol))
        table.append(ROW.format(index=index, sm=sm, format=FORMATS[format_name]))
    return "".join(
        [
            '.section .note.GNU-stack,"",%progbits\n',
            ".section .rodata\n",
            *images,
            # The table holds addresses, so the loader writes it once and then protects it.
            '.section .data.rel.ro,"aw",%progbits\n.balign 8\n',
            f".globl {TABLE}\n.hidden {TABLE}\n{TABLE}:\n",
            *table,
            ".quad 0, 0, 0, 0, 0\n",
        ]
    )


if __name__ == "__main__":
    pathlib.Path(sys.argv[1]).write_text(assembly(sys.argv[2:]))
