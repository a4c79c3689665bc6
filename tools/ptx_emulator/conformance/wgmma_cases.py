"""Cases of wgmma, by blocks of one warpgroup.

The threads write an image of shared memory, made here, with B (and A behind it, if it is not in
registers); what belongs to neither is NaN. Every eight columns have the same four registers of C.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from tools.ptx_emulator.conformance.case import Case
from tools.ptx_emulator.conformance.matrix_cases import Shape, fragments, matrices

_THREADS = 128
_STEP = 8 * _THREADS  # bytes of an image that one operand of every thread holds
_M, _K = 64, 16


@dataclass(frozen=True)
class Layout:
    """How a matrix with rows along k lies in shared memory (PTX ISA, "Matrix Descriptor Format").

    A transposed one has its columns, of one k each, as rows of this layout.

    Attributes:
      width: bytes of a row, 16 without swizzle.
      stride: bytes from eight rows to the next eight; of a transposed matrix without swizzle, from
        eight columns to the next eight.
      leading: the other way round, without swizzle; else from one pattern to the next along a row.
      first: the column of the pattern at which the matrix begins.
      base: the place of the pattern, in 128 bytes behind a boundary at which it repeats.
      transposed: whether the matrix is.
    """

    width: int = 16
    stride: int = 256
    leading: int = 128
    first: int = 0
    base: int = 0
    transposed: bool = False

    def offset(self, row: int, column: int) -> int:
        """The byte at which an element lies."""
        begin = 128 * self.base
        chunk, rest = divmod(self.first + column, 8)
        if self.width == 16:
            steps = (chunk, row // 8) if self.transposed else (row // 8, chunk)
            begin += steps[0] * self.stride + steps[1] * self.leading
            return begin + row % 8 * 16 + 2 * rest
        pattern, chunk = divmod(chunk, self.width // 16)
        begin += row // 8 * self.stride + pattern * self.leading
        lines = row % 8 * self.width // 128  # of 128 bytes: the swizzle is another one in each
        return begin + row % 8 * self.width + (chunk ^ lines % (self.width // 16)) * 16 + 2 * rest

    @property
    def descriptor(self) -> int:
        """For an image at address 0."""
        mode = {16: 0, 128: 1, 64: 2, 32: 3}[self.width]
        start = 128 * self.base + 2 * self.first
        fields = ((start, 0), (self.leading, 16), (self.stride, 32))
        return sum(value >> 4 << bit for value, bit in fields) | self.base << 49 | mode << 62

    def image(self, rows: np.ndarray) -> np.ndarray:
        """Whole steps with a matrix, of which these are the rows: uint16 [bytes / 2]."""
        if self.transposed:
            rows = rows.T
        offsets = [[self.offset(i, j) for j in range(rows.shape[1])] for i in range(len(rows))]
        size = -(-(np.max(offsets) + 2) // _STEP) * _STEP
        image = np.full(size // 2, 0xFFFF, np.uint16)
        image[np.array(offsets) // 2] = rows
        return image


@dataclass(frozen=True)
class _Product:
    """What a case does.

    Attributes:
      n: columns.
      layout: of B.
      layout_of_a: None where A is in registers.
      kinds: how many kinds of matrices.
      adds: whether C is added.
      scales: imm-scale-a and imm-scale-b.
      products: one after the other on the same accumulators, along the k of a longer B. (Of
        products that are the same ptxas leaves one.)
      proxy: the fence.
    """

    n: int
    layout: Layout = Layout()
    layout_of_a: Layout | None = None
    kinds: int | None = None
    adds: bool = True
    scales: str = "1, 1"
    products: int = 1
    proxy: str = "fence.proxy.async"

    @property
    def opcode(self) -> str:
        return f"wgmma.mma_async.sync.aligned.m64n{self.n}k16.f32.f16.f16"

    @property
    def k(self) -> int:
        return self.products * _K

    @property
    def steps_of_b(self) -> int:
        return 2 * len(self.layout.image(np.zeros((self.n, self.k), np.uint16))) // _STEP

    @property
    def steps(self) -> int:
        if self.layout_of_a is None:
            return self.steps_of_b
        image = self.layout_of_a.image(np.zeros((_M, _K), np.uint16))
        return self.steps_of_b + 2 * len(image) // _STEP

    def operands(self, name: str) -> np.ndarray:
        drawn = matrices(name, Shape(_M, self.n, _K), "f16")
        return np.concatenate(list(itertools.islice(self._blocks(drawn), self.kinds)))

    def _blocks(self, drawn: Iterator) -> Iterator[np.ndarray]:
        for a, b, c in drawn:
            rows = [slice(16 * warp, 16 * warp + 16) for warp in range(4)]
            registers = np.concatenate([fragments(a[r], b[:, :8], c[r, :8]) for r in rows])
            image = self.layout.image(
                np.concatenate([np.roll(b.T, i, axis=0) for i in range(self.products)], axis=1)
            )
            if self.layout_of_a is not None:
                image = np.concatenate([image, self.layout_of_a.image(a)])
            words = image.view(np.uint64).reshape(-1, _THREADS).T
            # Of A, B and C in registers, B is not needed.
            yield np.concatenate([registers[:, :4], registers[:, 6:], words], axis=1)

    def body(self) -> str:
        count = self.n // 2
        lines = ["mov.u32 %r0, scratch;", "mad.lo.u32 %r1, %thread, 8, %r0;"]
        lines += [f"st.shared.b64 [%r1+{_STEP * i}], %a{8 + i};" for i in range(self.steps)]
        lines += [f".reg .b32 %c<{count}>;"]
        lines += [f"mov.b32 %c{i}, %a{4 + i % 4};" for i in range(count)]
        lines += [f"{self.proxy};", "bar.sync 0;", "shr.u32 %r0, %r0, 4;", "cvt.u64.u32 %l0, %r0;"]
        a = "{%a0, %a1, %a2, %a3}"
        if self.layout_of_a is not None:
            begin = self.layout_of_a.descriptor + (self.steps_of_b * _STEP >> 4)
            lines += [f"add.u64 %l2, %l0, {begin};"]
            a = "%l2"
        lines += [f"setp.{'eq' if self.adds else 'ne'}.u32 %p0, %r0, %r0;"]
        lines += ["wgmma.fence.sync.aligned;"]
        d = ", ".join(f"%c{i}" for i in range(count))
        transposed = str(int(self.layout.transposed))
        if self.layout_of_a is not None:
            transposed = f"0, {transposed}"
        for i in range(self.products):
            layout = replace(self.layout, first=self.layout.first + i * _K)
            lines += [f"add.u64 %l1, %l0, {layout.descriptor};"]
            lines += [f"{self.opcode} {{{d}}}, {a}, %l1, %p0, {self.scales}, {transposed};"]
        lines += ["wgmma.commit_group.sync.aligned;", "wgmma.wait_group.sync.aligned 0;"]
        if self.n == 8:
            lines += [f"mov.b32 %d{i}, %c{i};" for i in range(count)]
        else:  # one word that tells whether any of the accumulators differs
            lines += ["mov.b32 %d0, 0;"]
            lines += [f"mad.lo.u32 %d0, %d0, 0x9e3779b1, %c{i};" for i in range(count)]
        return "\n".join(lines)

    def case(self, name: str) -> Case:
        return Case(
            name=name,
            body=self.body(),
            results=("b32",) * (4 if self.n == 8 else 1),
            kinds=("b32",) * 8 + ("b64",) * self.steps,
            covers=(
                self.opcode,
                self.proxy,
                *(f"wgmma.{what}.sync.aligned" for what in ("fence", "commit_group", "wait_group")),
            ),
            make=lambda: self.operands(name),
            threads=_THREADS,
            target=90,
            only_target=True,
            shared_bytes=self.steps * _STEP,
            shared_alignment=1024,
        )


def products() -> list[Case]:
    """Every kind of matrices; all accumulators of eight columns, of more their sum modulo 2^32."""
    forms = {str(n): _Product(n) for n in (8, 16, 32, 64, 128, 256)}
    base = _Product(16)
    forms |= {
        "16_only_product": replace(base, adds=False),
        "16_negative_a": replace(base, scales="-1, 1"),
        "16_negative_b": replace(base, scales="1, -1"),
        "16_negative_both": replace(base, scales="-1, -1"),
        "16_chained": replace(base, layout=Layout(128, 1024), products=4),
        "16_shared_a": replace(base, layout_of_a=Layout(stride=128, leading=1024)),
    }
    return [product.case(f"wgmma_m64n{name}") for name, product in forms.items()]


def layouts() -> list[Case]:
    """What a descriptor can say."""
    forms = {
        "plain": Layout(stride=128, leading=512),
        **{f"{w}": Layout(w, 8 * w) for w in (32, 64, 128)},
        "64_column_16": Layout(64, 512, first=16),
        **{f"128_column_{k}": Layout(128, 1024, first=k) for k in (16, 32, 48)},
        "128_stride": Layout(128, 2048, leading=16),
        "64_stride": Layout(64, 1024, leading=1024),
        "32_stride": Layout(32, 512, leading=16),
        **{f"128_base_{base}": Layout(128, 1024, base=base) for base in (1, 4, 7)},
        "64_base": Layout(64, 512, base=1),
        "32_base": Layout(32, 256, base=1),
        "transposed": Layout(stride=256, leading=128, transposed=True),
        "transposed_leading": Layout(stride=128, leading=512, transposed=True),
        **{f"transposed_{w}": Layout(w, 8 * w, 16 * w, transposed=True) for w in (32, 64, 128)},
        "transposed_128_stride": Layout(128, 2048, 1024, transposed=True),
        "transposed_128_base": Layout(128, 1024, 2048, base=1, transposed=True),
    }
    made = {name: _Product(32, layout=layout, kinds=2) for name, layout in forms.items()}
    made["columns_24"] = _Product(24, kinds=2)
    made["columns_248"] = _Product(248, kinds=2)
    made["transposed_columns_128"] = _Product(
        128, kinds=2, layout=Layout(128, 2048, 1024, transposed=True)
    )
    made["transposed_with_shared_a"] = replace(
        _Product(16, kinds=2, layout=Layout(32, 256, 512, transposed=True)),
        layout_of_a=Layout(stride=128, leading=1024),
    )
    made["a_128"] = replace(_Product(8, kinds=2), layout_of_a=Layout(128, 1024, first=16))
    made["proxy_of_block"] = replace(_Product(16, kinds=1), proxy="fence.proxy.async.shared::cta")
    return [product.case(f"wgmma_layout_{name}") for name, product in made.items()]
