"""THE table of conformance cases, and the opcodes of our kernels that need none."""

from __future__ import annotations

from tools.ptx_emulator.conformance import (
    arithmetic_cases,
    matrix_cases,
    mbarrier_cases,
    memory_cases,
    warp_cases,
    wgmma_cases,
)

CASES = [
    *arithmetic_cases.integers(),
    *arithmetic_cases.bits(),
    *arithmetic_cases.floats(),
    *arithmetic_cases.halves(),
    *arithmetic_cases.comparisons(),
    *arithmetic_cases.conversions(),
    *memory_cases.loads(),
    *memory_cases.stores(),
    *memory_cases.shared(),
    *memory_cases.asynchronous_copies(),
    *memory_cases.atomics(),
    *memory_cases.packed_moves(),
    *matrix_cases.ldmatrix(),
    *matrix_cases.mma(),
    *wgmma_cases.products(),
    *wgmma_cases.layouts(),
    *warp_cases.shuffles(),
    *warp_cases.votes(),
    *warp_cases.barriers(),
    *warp_cases.grid_control(),
    *mbarrier_cases.phases(),
    *mbarrier_cases.states(),
    *mbarrier_cases.counts(),
    *mbarrier_cases.invalidation(),
    *mbarrier_cases.exchanges(),
    *mbarrier_cases.register_limits(),
]

# Opcode -> why it has no case of its own.
UNCOVERED = {
    "bra": "control flow",
    "bra.uni": "control flow",
    "ret": "control flow, ends every case",
    "cvta.to.global.u64": "address, in every case",
    "ld.param.u64": "address, in every case",
    "bar.warp.sync": "hands over no data; planted races show that it orders lanes",
    "prefetch.global.L2": "hands over no data",
    "ld.relaxed.gpu.global.s32": "loads as ld.global.s32 does: memory orders are not emulated",
    **{f"mov.{kind}": "copies a register" for kind in ("b16", "f32", "pred", "u16", "u32", "u64")},
}
