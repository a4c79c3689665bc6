"""Cases of loads, stores, asynchronous copies, atomics and moves between register widths."""

from __future__ import annotations

import random

import numpy as np

from tools.ptx_emulator.conformance import values
from tools.ptx_emulator.conformance.case import Case

_QUAD = "{{{0}0, {0}1, {0}2, {0}3}}".format


def _case(name: str, body: str, signature: str, covers: str, count: int = 64, **rest) -> Case:
    results, kinds = (tuple(part.split()) for part in signature.split("="))
    return Case(
        name=name,
        body=body,
        results=results,
        kinds=kinds,
        covers=tuple(covers.split()),
        make=rest.pop("make", lambda: values.operands(name, kinds, count)),
        **rest,
    )


def loads() -> list[Case]:
    scalar = [
        ("ld.global.f32", "b32"), ("ld.global.u16", "b16"), ("ld.global.nc.u16", "b16"),
        ("ld.global.u32", "b32"), ("ld.global.s16", "b32"), ("ld.global.s8", "b32"),
        ("ld.global.u8", "b64"), ("ld.global.s32", "b64"),
    ]  # fmt: skip
    pairs = ["ld.global.v2.f32", "ld.global.v2.u32"]
    quads = ["ld.global.v4.f32", "ld.global.v4.u32", "ld.global.nc.v4.u32",
             "ld.global.nc.L1::no_allocate.v4.u32"]  # fmt: skip

    def name(opcode: str) -> str:
        return "".join(c if c.isalnum() else "_" for c in opcode)

    return [
        *(_case(name(o), f"{o} %d0, [%in+2];" if "16" in o else f"{o} %d0, [%in+4];",
                f"{d} = b64", o) for o, d in scalar),
        *(_case(name(o), f"{o} {{%d0, %d1}}, [%in];", "b32 b32 = b64", o) for o in pairs),
        *(_case(name(o), f"{o} {_QUAD('%d')}, [%in];", "b32 b32 b32 b32 = b64 b64", o)
          for o in quads),
        _case("ld_param_v2_u32", "ld.param.v2.u32 {%d0, %d1}, [constants+8];", "b32 b32 = b32",
              "ld.param.v2.u32", 32),
        _case("ld_param_u32", "ld.param.u32 %d0, [constants+4];", "b32 = b32", "ld.param.u32", 32),
    ]  # fmt: skip


def stores() -> list[Case]:
    words = "b32 b32 b32 b32"
    return [
        _case("st_global_u32", "st.global.u32 [%out+4], %a0;", "b64 = b32", "st.global.u32"),
        _case("st_global_u8", "st.global.u8 [%out+3], %a0;", "b64 = b32", "st.global.u8"),
        *(_case(f"st_global_v2_{t}", f"st.global.v2.{t} [%out], {{%a0, %a1}};", "b64 = b32 b32",
                f"st.global.v2.{t}") for t in ("f32", "u32")),
        _case("st_global_v4_u32", f"st.global.v4.u32 [%out], {_QUAD('%a')};", f"b64 b64 = {words}",
              "st.global.v4.u32"),
    ]  # fmt: skip


def shared() -> list[Case]:
    """Each thread has 16 bytes of shared memory."""
    place = "mov.u32 %r0, scratch;\nmad.lo.u32 %r0, %thread, 16, %r0;\n"
    rest = {"shared_bytes": 512}
    whole = "st.shared.v2.b64 [%r0], {%a0, %a1};\n"
    cases = [
        _case(f"st_shared_{t}", place + whole + f"cvt.u32.u64 %r1, %a2;\nst.shared.{t} [%r0+4], "
              "%r1;\nld.shared.v2.b64 {%d0, %d1}, [%r0];", "b64 b64 = b64 b64 b64",
              f"st.shared.{t}", **rest)
        for t in ("f32", "u32")
    ]  # fmt: skip
    cases += [
        *(_case(f"st_shared_v4_{t}", place + f"st.shared.v4.{t} [%r0], {_QUAD('%a')};\n"
                "ld.shared.v2.b64 {%d0, %d1}, [%r0];", "b64 b64 = b32 b32 b32 b32",
                f"st.shared.v4.{t}", **rest) for t in ("f32", "u32")),
        *(_case(f"st_shared_v2_{t}", place + f"st.shared.v2.{t} [%r0], {{%a0, %a1}};\n"
                "ld.shared.b64 %d0, [%r0];", "b64 = b32 b32", f"st.shared.v2.{t}", **rest)
          for t in ("f32", "u32")),
        _case("st_shared_u16", place + whole + "st.shared.u16 [%r0+6], %a2;\n"
              "ld.shared.v2.b64 {%d0, %d1}, [%r0];", "b64 b64 = b64 b64 b16", "st.shared.u16",
              **rest),
        _case("ld_shared_u16", place + whole + "ld.shared.u16 %d0, [%r0+6];", "b16 = b64 b64",
              "ld.shared.u16", **rest),
        *(_case(f"ld_shared_{t}", place + whole + f"ld.shared.{t} %d0, [%r0+12];",
                "b32 = b64 b64", f"ld.shared.{t}", **rest) for t in ("f32", "u32")),
        _case("ld_shared_v2_f32", place + whole + "ld.shared.v2.f32 {%d0, %d1}, [%r0+8];",
              "b32 b32 = b64 b64", "ld.shared.v2.f32", **rest),
        *(_case(f"ld_shared_v4_{t}", place + whole + f"ld.shared.v4.{t} {_QUAD('%d')}, [%r0];",
                "b32 b32 b32 b32 = b64 b64", f"ld.shared.v4.{t}", **rest) for t in ("f32", "u32")),
    ]  # fmt: skip
    return cases


def _copied(most: int):
    """Sixteen bytes, then a size of 0 to `most`; the last word keeps the rows at 16 bytes."""
    rows = values.operands(f"cp_async_{most}", ("b64", "b64", "b32", "b32"), 64)
    rng = random.Random(f"cp_async_{most}")
    rows[:, :2] = [[rng.getrandbits(64) | 0x0101010101010101 for _ in range(2)] for _ in rows]
    rows[:, 2] = np.arange(len(rows)) % (most + 1)
    return rows


def asynchronous_copies() -> list[Case]:
    """The destination is all ones before, so that the bytes behind the source size show."""
    body = """
mov.u32 %r0, scratch;
mad.lo.u32 %r0, %thread, 16, %r0;
mov.b64 %l0, -1;
st.shared.v2.b64 [%r0], {{%l0, %l0}};
bar.sync 0;
setp.eq.u32 %p0, %a2, 0;
cp.async.{cache}.shared.global [%r0], [%in], {size}{last};
cp.async.commit_group;
cp.async.wait_group 0;
ld.shared.v2.b64 {{%d0, %d1}}, [%r0];"""
    forms = [("ca", 4, ", %a2"), ("ca", 8, ", %a2"), ("ca", 16, ", %a2"), ("cg", 16, ", %a2")]
    forms += [("cg", 16, ""), ("ca", 8, ""), ("cg", 16, ", %p0")]
    names = {", %a2": "_source_size", "": "", ", %p0": "_ignore"}
    return [
        _case(f"cp_async_{cache}_{size}{names[last]}",
              body.format(cache=cache, size=size, last=last),
              "b64 b64 = b64 b64 b32 b32",
              f"cp.async.{cache}.shared.global cp.async.commit_group cp.async.wait_group",
              make=lambda size=size: _copied(size), shared_bytes=512)
        for cache, size, last in forms
    ]  # fmt: skip


def atomics() -> list[Case]:
    """Each thread updates a place of its own: the old value and the new one are results."""
    forms = [
        ("add", "u32"), ("add", "f32"), ("add.noftz", "f16x2"), ("min", "s32"), ("max", "u32"),
        ("exch", "b32"), ("inc", "u32"), ("dec", "u32"), ("xor", "b32"), ("add", "u64"),
    ]  # fmt: skip

    def width(kind: str) -> str:
        return "b64" if kind == "u64" else "b32"

    cases = []
    for operation, kind in forms:
        name = f"{operation.replace('.', '_')}_{kind}"
        signature = f"{kind} {kind} = {kind} {kind}"
        opcode = f"atom.shared.{operation}.{kind}"
        body = f"""
mov.u32 %r0, scratch;
mad.lo.u32 %r0, %thread, 16, %r0;
st.shared.{width(kind)} [%r0], %a0;
{opcode} %d0, [%r0], %a1;
ld.shared.{width(kind)} %d1, [%r0];"""
        cases.append(_case(f"atom_shared_{name}", body, signature, opcode, 128, shared_bytes=512))
        opcode = f"atom.global.{operation}.{kind}"
        body = f"""
st.global.{width(kind)} [%out], %a0;
{opcode} %d1, [%out], %a1;
st.global.{width(kind)} [%out+8], %d1;"""
        cases.append(_case(f"atom_global_{name}", body, signature, opcode, 128))
    body = "st.global.b32 [%out], %a0;\nred.global.add.{0} [%out], %a1;"
    cases += [
        _case(f"red_global_add_{kind}", body.format(kind), f"{kind} = {kind} {kind}",
              f"red.global.add.{kind}", 128)
        for kind in ("u32", "f32")
    ]  # fmt: skip
    body = """
mov.u32 %r0, scratch;
mad.lo.u32 %r0, %thread, 16, %r0;
st.shared.b32 [%r0], %a0;
atom.shared.cas.b32 %d0, [%r0], %a1, %a2;
ld.shared.b32 %d1, [%r0];"""
    cases.append(_case("atom_shared_cas_b32", body, "b32 b32 = few few b32", "atom.shared.cas.b32",
                       shared_bytes=512))  # fmt: skip
    return cases


def packed_moves() -> list[Case]:
    return [
        _case("mov_b32_pack", "mov.b32 %d0, {%a0, %a1};", "b32 = b16 b16", "mov.b32"),
        _case("mov_b32_unpack", "mov.b32 {%d0, %d1}, %a0;", "b16 b16 = b32", "mov.b32"),
        _case("mov_b64_pack", "mov.b64 %d0, {%a0, %a1};", "b64 = b32 b32", "mov.b64"),
        _case("mov_b64_unpack", "mov.b64 {%d0, %d1}, %a0;", "b32 b32 = b64", "mov.b64"),
    ]
