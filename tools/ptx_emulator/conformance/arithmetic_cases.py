"""Cases of arithmetic, logic, comparisons and conversions, thread by thread."""

from __future__ import annotations

import random

import numpy as np

from tools.ptx_emulator.conformance import values
from tools.ptx_emulator.conformance.case import Bound, Case, family, instruction

_ISA = "PTX ISA, floating point instructions: "

# As CUDA_KERNELS: what `lop3_and_or` of kernels/ptx asks for; the others are made by the compiler.
_LOP3_TABLES = (0xEA, 0xC0, 0x3C, 0x96, 0xE8, 0x01, 0x00, 0xFF, 0xF0, 0x6A)


def _cancelling() -> np.ndarray:
    """a * b + c where c is the negated, rounded product: what is left tells a fused sum."""
    rows = values.operands("fma_cancelling", ("f32", "f32", "f32"), 256)
    rng = random.Random("fma_cancelling")
    with np.errstate(all="ignore"):
        for row in rows[128:]:
            a, b = (np.float32(rng.uniform(-4, 4)) for _ in range(2))
            row[:] = [values.f32(number) for number in (a, b, -(a * b))]
    return rows


def integers() -> list[Case]:
    return [
        *family("add sub mul.lo", "s16 s32 s64", "T = T T"),
        *family("div rem", "s32 u32 s64", "T = T T"),
        *family("min max", "s32 u32", "T = T T"),
        *family("mul.hi", "u16 s32 u32", "T = T T"),
        *family("mad.lo", "s32 s64", "T = T T T"),
        *family("neg abs", "s32", "T = T"),
        *(
            instruction(f"mul.wide.{sign}{bits}", f"{sign}{2 * bits} = {sign}{bits} {sign}{bits}")
            for sign, bits in (("s", 32), ("u", 16), ("u", 32))
        ),
        instruction("mad.wide.u32", "u64 = u32 u32 u64"),
        instruction("add.sat.s32", "s32 = s32 s32"),
        instruction("dp4a.s32.s32", "s32 = b32 b32 s32"),
    ]


def bits() -> list[Case]:
    return [
        *family("and or xor", "b16 b32 b64 pred", "T = T T"),
        *family("not", "b16 b32 b64 pred", "T = T"),
        *family("shl", "b16 b32 b64", "T = T amount"),
        *family("shr", "u16 s32 u32 s64 u64", "T = T amount"),
        *family("shf.l.wrap shf.l.clamp shf.r.wrap shf.r.clamp", "b32", "T = T T amount"),
        *family("bfe", "s32 u32 s64 u64", "T = T amount amount"),
        *family("bfi", "b32 b64", "T = T T amount amount"),
        *family("prmt", "b32", "T = T T b32"),
        *family("popc clz", "b32", "u32 = T"),
        *family("brev", "b32", "T = T"),
        *(
            instruction(
                "lop3.b32", "b32 = b32 b32 b32", suffix=f", {table:#x}", name=f"lop3_{table:02x}"
            )
            for table in _LOP3_TABLES
        ),
    ]


def floats() -> list[Case]:
    return [
        *family("add add.ftz sub mul mul.rn mul.ftz", "f32", "T = T T"),
        *family("min max min.NaN max.NaN min.ftz", "f32", "T = T T"),
        *family("fma.rn fma.rn.ftz fma.rn.sat", "f32", "T = T T T"),
        instruction("fma.rn.f32", "f32 = f32 f32 f32", name="fma_cancelling", make=_cancelling),
        *family("neg abs", "f32", "T = T"),
        *family("rcp.rn sqrt.rn", "f32", "T = T"),
        *family("div.rn", "f32", "T = T T"),
        *family("div.full", "f32", "T = T T", Bound(ulps=2, source=_ISA + "div")),
        *family("rcp.approx rcp.approx.ftz", "f32", "T = T", Bound(ulps=1, source=_ISA + "rcp")),
        *family("rsqrt.approx rsqrt.approx.ftz", "f32", "T = T",
                Bound(relative=2**-22.9, source=_ISA + "rsqrt")),
        *family("sqrt.approx", "f32", "T = T", Bound(relative=2**-23, source=_ISA + "sqrt")),
        *family("ex2.approx ex2.approx.ftz", "f32", "f32 = exponent",
                Bound(ulps=2, source=_ISA + "ex2")),
        *family("lg2.approx.ftz", "f32", "f32 = positive",
                Bound(relative=2**-22, absolute=2**-22, source=_ISA + "lg2")),
        *family("sin.approx cos.approx", "f32", "f32 = angle",
                Bound(absolute=2**-20.5, source=_ISA + "sin, cos")),
        *family("tanh.approx", "f32", "f32 = f32", Bound(relative=2**-11, source=_ISA + "tanh")),
    ]  # fmt: skip


def halves() -> list[Case]:
    return [
        *family("add sub mul min max", "f16x2", "T = T T"),
        *family("fma.rn fma.rn.relu", "f16x2", "T = T T T"),
        *family("add.ftz add.sat mul", "f16", "T = T T"),
        *family("fma.rn", "f16", "T = T T T"),
        *family("neg abs", "f16x2", "T = T"),
    ]


def comparisons() -> list[Case]:
    of_floats = " ".join(
        f"setp.{compare}"
        for ordered in ("eq", "ne", "lt", "le", "gt", "ge")
        for compare in (ordered, ordered + "u")
    )
    return [
        *family("setp.eq", "b32 s16 s32 s64", "pred = T T"),
        *family("setp.ne setp.lt setp.ge setp.gt", "s32 s64", "pred = T T"),
        *family("setp.le", "s32", "pred = T T"),
        *family("setp.lt setp.ge setp.gt", "u32", "pred = T T"),
        *family(f"{of_floats} setp.num setp.nan", "f32", "pred = T T"),
        *family("setp.lt.ftz", "f32", "pred = T T"),
        instruction("setp.lt.and.s32", "pred pred = s32 s32 pred"),
        *family("selp", "b32 b64 f32 s32 u16 u32 u64", "T = T T pred"),
    ]


def conversions() -> list[Case]:
    """One of every form; a narrow integer goes to, or comes from, a wider register too."""
    integers = (
        ("u16", "u32"), ("u16", "u64"), ("u32", "u16"), ("u32", "u64"), ("u64", "u16"),
        ("u64", "u32"), ("s64", "s32"), ("s32", "s16"), ("s32", "s8"), ("u32", "u8"),
    )  # fmt: skip
    wide_source = Case(
        name="cvt_s64_s32_of_b64",
        body="cvt.s64.s32 %d0, %a0;",
        results=("s64",),
        kinds=("b64",),
        covers=("cvt.s64.s32",),
        make=lambda: values.operands("cvt_s64_s32_of_b64", ("b64",), 128),
    )
    return [
        *(instruction(f"cvt.{d}.{s}", f"{d} = {s}") for d, s in integers),
        *(
            instruction(f"cvt.sat.{d}.{s}", f"{wide} = {s}")
            for d, s, wide in (("s8", "s32", "s32"), ("u8", "s32", "u32"), ("u16", "s64", "u16"))
        ),
        instruction("cvt.s8.s32", "s32 = s32"),
        wide_source,
        *(instruction(f"cvt.rn.f32.{s}", f"f32 = {s}") for s in ("s32", "u32", "s64")),
        *(instruction(f"cvt.rn.f16.{s}", f"f16 = {s}") for s in ("s32", "u16")),
        *(
            instruction(f"cvt.{rounding}.{d}.f32", f"{d} = around_integer")
            for rounding in ("rni", "rzi")
            for d in ("s32", "u32", "s64")
        ),
        *(
            instruction(f"cvt.{rounding}.s32.f32", "s32 = around_integer")
            for rounding in ("rmi", "rpi")
        ),
        instruction("cvt.rzi.s8.f32", "s32 = around_integer"),
        instruction("cvt.rni.f32.f32", "f32 = around_integer"),
        *(
            instruction(f"cvt.{rounding}.f16.f32", "f16 = around_f16")
            for rounding in ("rn", "rz", "rn.ftz", "rn.relu")
        ),
        *(
            instruction(f"cvt.{rounding}.f16x2.f32", "f16x2 = around_f16 around_f16")
            for rounding in ("rn", "rz", "rn.relu")
        ),
        *(instruction(f"cvt.{name}", "f32 = f16") for name in ("f32.f16", "ftz.f32.f16")),
        *(instruction(f"cvt.{name}", "f32 = f32") for name in ("sat.f32.f32", "ftz.f32.f32")),
        instruction("cvt.rn.bf16.f32", "b16 = around_f16"),
    ]
