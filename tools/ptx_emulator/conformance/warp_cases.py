"""Cases of instructions by which the threads of a warp or a block talk."""

from __future__ import annotations

import numpy as np

from tools.ptx_emulator.conformance import values
from tools.ptx_emulator.conformance.case import Case, instruction

_ALL = ", 0xffffffff"


def shuffles() -> list[Case]:
    return [
        instruction(f"shfl.sync.{mode}.b32", "b32 pred = b32 lane segment", suffix=_ALL)
        for mode in ("bfly", "idx", "up", "down")
    ]


def _agreeing(name: str, kind: str, threads: int = 32) -> np.ndarray:
    """Groups of threads that agree on the first edge, on the second, all but one, or not at all."""
    rows = values.operands(name, (kind,), 8 * threads)
    first, second = values.KINDS[kind].edges[:2]
    groups = rows.reshape(8, threads)
    groups[:3] = [[first], [second], [first]]
    groups[2, 7] = groups[3, -1] = second
    groups[3, :-1] = first
    groups[4, :-2] = groups[4, -1] = second
    return rows


def votes() -> list[Case]:
    def case(opcode: str, signature: str) -> Case:
        name = opcode.replace(".", "_")
        kind = signature.split()[-1]
        return instruction(
            opcode, signature, suffix=_ALL, name=name, make=lambda: _agreeing(name, kind)
        )

    return [
        case("vote.sync.ballot.b32", "b32 = pred"),
        *(case(f"vote.sync.{mode}.pred", "pred = pred") for mode in ("all", "any", "uni")),
        case("match.any.sync.b32", "b32 = few"),
        case("match.all.sync.b32", "b32 pred = few"),
        *(
            case(f"redux.sync.{operation}", "b32 = b32")
            for operation in ("add.s32", "min.s32", "max.u32", "and.b32", "or.b32", "xor.b32")
        ),
    ]


def barriers() -> list[Case]:
    """Two warps give each other values through shared memory."""
    exchange = """
mov.u32 %r0, scratch;
mad.lo.u32 %r1, %thread, 4, %r0;
st.shared.u32 [%r1], %a0;
{sync}
xor.b32 %r2, %thread, 63;
mad.lo.u32 %r2, %r2, 4, %r0;
ld.shared.u32 %d0, [%r2];"""
    reduce = """
setp.eq.s32 %p0, %a0, 0;
{sync}"""
    cases = [
        ("bar_sync", exchange, "bar.sync 0;", "bar.sync", "b32", "b32"),
        ("bar_sync_count", exchange, "bar.sync 1, 64;", "bar.sync", "b32", "b32"),
        ("barrier_sync", exchange, "barrier.sync 2, 64;", "barrier.sync", "b32", "b32"),
        ("bar_red_popc", reduce, "bar.red.popc.u32 %d0, 0, %p0;", "bar.red.popc.u32", "b32", "few"),
        (
            "bar_red_and",
            reduce,
            "bar.red.and.pred %d0, 0, !%p0;",
            "bar.red.and.pred",
            "pred",
            "few",
        ),
        (
            "bar_red_or",
            reduce,
            "bar.red.or.pred %d0, 1, 64, %p0;",
            "bar.red.or.pred",
            "pred",
            "few",
        ),
    ]
    return [
        Case(
            name=name,
            body=body.format(sync=sync),
            results=(result,),
            kinds=(kind,),
            covers=(opcode,),
            make=lambda name=name, kind=kind: _agreeing(name, kind, 64),
            threads=64,
            shared_bytes=256,
        )
        for name, body, sync, opcode, result, kind in cases
    ]


def grid_control() -> list[Case]:
    """Without a preceding grid, and without a following one, both go on at once."""
    return [
        Case(
            name=name,
            body=f"griddepcontrol.{name};\nmov.b32 %d0, %a0;",
            results=("b32",),
            kinds=("b32",),
            covers=(f"griddepcontrol.{name}",),
            make=lambda: values.operands("griddepcontrol", ("b32",), 64),
            target=90,
        )
        for name in ("wait", "launch_dependents")
    ]
