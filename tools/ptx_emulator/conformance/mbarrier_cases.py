"""Cases of mbarrier and setmaxnreg. What an object's bytes hold is opaque: its waits are asked."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

import numpy as np

from tools.ptx_emulator.conformance import values
from tools.ptx_emulator.conformance.case import Case

# Each thread has an mbarrier of its own, for the threads of a warp.
_PLACE = "mov.u32 %r0, scratch;\nmad.lo.u32 %r0, %thread, 8, %r0;\nmov.b32 %d0, 0;"
_BYTES = 32 * 8
_MOST = (1 << 20) - 1


def _ask(wait: str, *wanted: str) -> str:
    """Appends to %d0 one bit per parity or state."""
    lines = []
    for phase in wanted:
        lines += [f"{wait} %p0, [%r0], {phase};", "selp.u32 %r1, 1, 0, %p0;"]
        lines += ["shl.b32 %d0, %d0, 1;", "or.b32 %d0, %d0, %r1;"]
    return "\n".join(lines)


def _case(name: str, lines: list[str], covers: list[str], rows: Callable, target: int) -> Case:
    made = rows()
    return Case(
        name=f"mbarrier_{name}",
        body="\n".join([_PLACE, *lines]),
        results=("b32",),
        kinds=("b32",) * made.shape[1],
        covers=tuple(covers),
        make=rows,
        target=target,
        shared_bytes=_BYTES,
    )


def _small_counts(least: int = 1) -> np.ndarray:
    return (np.arange(32, dtype=np.uint64) % 8 + least)[:, None]


def _split_counts() -> np.ndarray:
    """A count, and two parts of it."""
    rng = random.Random("mbarrier")
    counts = [2, 3, 4, 100, 0x8000, _MOST - 1, _MOST]
    counts += [rng.randint(2, 1 << rng.randint(2, 19)) for _ in range(64 - len(counts))]
    parts = [rng.choice((1, count - 1, rng.randint(1, count - 1))) for count in counts]
    rows = [(count, part, count - part) for count, part in zip(counts, parts, strict=True)]
    return np.array(rows, np.uint64)


def phases() -> list[Case]:
    """Both parities, before and after each of nine arrivals."""
    forms = [
        ("", "shared", "_", "test_wait", 80),
        ("_state", "shared", "%l0", "test_wait", 80),
        ("_try", "shared", "_", "try_wait", 90),
        ("_of_block", "shared::cta", "_", "try_wait", 90),
    ]
    cases = []
    for suffix, space, state, wait, target in forms:
        opcodes = [f"mbarrier.{what}.{space}.b64" for what in ("init", "arrive", f"{wait}.parity")]
        init, arrive, wait = opcodes
        ask = _ask(wait, "0", "1")
        lines = [f"{init} [%r0], %a0;", ask]
        lines += [f"{arrive} {state}, [%r0];", ask] * 9
        cases.append(_case(f"phases{suffix}", lines, opcodes, _small_counts, target))
    return cases


def states() -> list[Case]:
    """The states of the last two arrivals, after each of nine."""
    cases = []
    # With a count of 1, the older one's phase is before the last one: it may not be asked for.
    rows = partial(_small_counts, 2)
    for name, wait, target in (("states", "test_wait", 80), ("states_try", "try_wait", 90)):
        wait = f"mbarrier.{wait}.shared.b64"
        lines = ["mbarrier.init.shared.b64 [%r0], %a0;", "mbarrier.arrive.shared.b64 %l0, [%r0];"]
        for _ in range(8):
            lines += ["mbarrier.arrive.shared.b64 %l1, [%r0];", _ask(wait, "%l0", "%l1")]
            lines += ["mov.b64 %l0, %l1;"]
        cases.append(_case(name, lines, [wait], rows, target))
    return cases


def counts() -> list[Case]:
    """Arrivals that count for several, over two phases."""
    lines = ["mbarrier.init.shared.b64 [%r0], %a0;"]
    for count in ("%a1", "%a2", "%a2", "%a1", "%a0", "%a2"):
        lines += [f"mbarrier.arrive.shared::cta.b64 _, [%r0], {count};"]
        lines += [_ask("mbarrier.test_wait.parity.shared.b64", "0", "1")]
    return [_case("counts", lines, ["mbarrier.arrive.shared::cta.b64"], _split_counts, 90)]


def invalidation() -> list[Case]:
    """The bytes are memory again, and an object of another count after this."""
    lines = [
        "mbarrier.init.shared.b64 [%r0], %a0;",
        "mbarrier.arrive.shared.b64 _, [%r0];",
        "mbarrier.inval.shared.b64 [%r0];",
        "st.shared.b32 [%r0+4], %a0;",
        "ld.shared.b32 %d0, [%r0+4];",
        "mbarrier.init.shared.b64 [%r0], 2;",
    ]
    for _ in range(4):
        lines += ["mbarrier.arrive.shared.b64 _, [%r0];"]
        lines += [_ask("mbarrier.test_wait.parity.shared.b64", "0")]
    return [_case("inval", lines, ["mbarrier.inval.shared.b64"], _small_counts, 80)]


def exchanges() -> list[Case]:
    """Two warps give each other values, for three phases of one mbarrier."""
    lines = [
        "mov.u32 %r0, scratch;",
        "mad.lo.u32 %r1, %thread, 4, %r0;",
        "xor.b32 %r2, %thread, 63;",
        "mad.lo.u32 %r2, %r2, 4, %r0;",
        "mov.b32 %d0, 0;",
        "setp.eq.u32 %p0, %thread, 0;",
        "@%p0 mbarrier.init.shared.b64 [%r0], 64;",
        "bar.sync 0;",
    ]
    for phase in range(3):
        place = 8 + 256 * phase
        lines += [
            f"add.u32 %r3, %a0, {phase};",
            f"st.shared.u32 [%r1+{place}], %r3;",
            "mbarrier.arrive.shared.b64 _, [%r0];",
            f"wait{phase}:",
            f"mbarrier.try_wait.parity.shared.b64 %p1, [%r0], {phase % 2};",
            f"@!%p1 bra wait{phase};",
            f"ld.shared.u32 %r3, [%r2+{place}];",
            "mad.lo.u32 %d0, %d0, 3, %r3;",
        ]
    return [
        Case(
            name="mbarrier_exchange",
            body="\n".join(lines),
            results=("b32",),
            kinds=("b32",),
            covers=("mbarrier.try_wait.parity.shared.b64",),
            make=lambda: values.operands("mbarrier_exchange", ("b32",), 128),
            threads=64,
            target=90,
            shared_bytes=8 + 3 * 256,
        )
    ]


def register_limits() -> list[Case]:
    """setmaxnreg moves registers, and values stay in them."""
    less, more = (f"setmaxnreg.{what}.sync.aligned.u32" for what in ("dec", "inc"))
    forms = [("dec", less, f"{less} 40;"), ("inc", more, f"{less} 40;\n{more} 64;")]
    return [
        Case(
            name=f"setmaxnreg_{name}",
            body=f"{body}\nadd.u32 %d0, %a0, 1;",
            results=("b32",),
            kinds=("b32",),
            covers=(opcode,),
            make=lambda: values.operands("setmaxnreg", ("b32",), 128),
            threads=128,
            target=90,
            only_target=True,
        )
        for name, opcode, body in forms
    ]
