"""A conformance case: one PTX instruction, its operands, and how its results are compared."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from tools.ptx_emulator.conformance import values

RESULT_BYTES = {"pred": 4, "b16": 2, "b32": 4, "b64": 8}
# Given to every kernel as its last parameter, for the cases that read parameters.
CONSTANTS = bytes(range(0x10, 0x20))


@dataclass(frozen=True)
class Bound:
    """How far an FP32 result may be from the recorded one; all zero: the same bits.

    Attributes:
      ulps: units in the last place of the recorded result.
      relative: part of the magnitude of the recorded result.
      absolute: distance.
      source: where the bound is documented.
    """

    ulps: int = 0
    relative: float = 0.0
    absolute: float = 0.0
    source: str = "every bit as recorded"

    def __str__(self) -> str:
        if self.exact:
            return self.source
        return f"{self.ulps} ulps, {self.relative:.3g} of it or {self.absolute:.3g} ({self.source})"

    @property
    def exact(self) -> bool:
        return not (self.ulps or self.relative or self.absolute)

    def excess(self, wanted: np.ndarray, got: np.ndarray) -> np.ndarray:
        """How far results are beyond the bound, zero where they keep it: f64 [count].

        Results that are not finite keep it with the same bits only.

        Args:
          wanted: the recorded bits, unsigned [count].
          got: the bits to compare, the same.
        """
        differs = wanted != got
        if self.exact:
            return np.where(differs, np.inf, 0.0)
        numbers = wanted.view(np.float32).astype(np.float64)
        size = np.abs(numbers)
        # 2^-149 is the last place of the subnormals and of the least normals.
        place = np.ldexp(1.0, np.maximum(np.frexp(size)[1] - 24, -149))
        with np.errstate(invalid="ignore"):  # infinity less infinity
            distance = np.abs(numbers - got.view(np.float32))
            bound = np.maximum(self.absolute, self.relative * size + self.ulps * place)
        beyond = np.where(np.isfinite(distance), np.maximum(distance - bound, 0), np.inf)
        return np.where(differs, beyond, 0.0)


EXACT = Bound()


@dataclass(frozen=True)
class Case:
    """One kernel of one instruction (and what it needs around it), run by a row of threads.

    The body reads its operands in the registers %a0, %a1, ... and leaves its results in %d0, ...
    It may read from [%in], where the operands of its thread are, each in 8 bytes, and write its
    results to [%out] itself, each in 8 bytes. %thread counts through the block, %h, %r, %l and %p
    (each <8>) are free registers of 16, 32 and 64 bits and predicates.

    Attributes:
      name: unique, and the kernel's name.
      body: PTX.
      results: kinds of the results (values.KINDS).
      kinds: kinds of the operands (values.KINDS).
      covers: the opcodes that this case is about.
      make: makes the operands, uint64 [count, len(kinds)].
      threads: of one block.
      bound: of floating-point results.
      target: lowest SM that knows the instruction.
      only_target: whether no other SM knows it.
      shared_bytes: of the variable `scratch`.
      shared_alignment: of this variable.
    """

    name: str
    body: str
    results: tuple[str, ...]
    kinds: tuple[str, ...]
    covers: tuple[str, ...]
    make: Callable[[], np.ndarray]
    threads: int = 32
    bound: Bound = EXACT
    target: int = 80
    only_target: bool = False
    shared_bytes: int = 0
    shared_alignment: int = 16
    _made: list[np.ndarray] = field(default_factory=list, compare=False, repr=False)

    def __str__(self) -> str:
        return self.name

    @property
    def operands(self) -> np.ndarray:
        """uint64 [count, len(kinds)]."""
        if not self._made:
            self._made.append(self.make())
        return self._made[0]

    @property
    def ptx(self) -> str:
        """A module with the case as its only kernel."""
        return _module(self)

    @property
    def target_name(self) -> str:
        """As PTX has it."""
        return f"sm_{self.target}{'a' if self.only_target else ''}"

    def runs_on(self, sm: int) -> bool:
        """Whether a GPU knows the instruction."""
        return self.target == sm if self.only_target else self.target <= sm

    @property
    def digest(self) -> str:
        """Of module and operands: a golden result of another digest is stale."""
        content = self.ptx.encode() + self.operands.tobytes()
        return hashlib.sha256(content).hexdigest()[:16]

    def register(self, index: int) -> str:
        """The register type of a result."""
        return values.KINDS[self.results[index]].register


def _module(case: Case) -> str:
    operands = [values.KINDS[kind].register for kind in case.kinds]
    results = [case.register(i) for i in range(len(case.results))]
    lines = [f".reg .{kind} %a{i};" for i, kind in enumerate(operands)]
    lines += [f".reg .{kind} %d{i};" for i, kind in enumerate(results)]
    if case.shared_bytes:
        alignment = case.shared_alignment
        lines.append(f".shared .align {alignment} .b8 scratch[{case.shared_bytes}];")
    lines += [
        ".reg .u64 %in, %out;",
        ".reg .u32 %thread, %block, %size, %row, %bits;",
        ".reg .b16 %h<8>;",
        ".reg .b32 %r<8>;",
        ".reg .b64 %l<8>;",
        ".reg .pred %p<8>;",
        "ld.param.u64 %out, [results];",
        "ld.param.u64 %in, [operands];",
        "cvta.to.global.u64 %out, %out;",
        "cvta.to.global.u64 %in, %in;",
        "mov.u32 %thread, %tid.x;",
        "mov.u32 %block, %ctaid.x;",
        "mov.u32 %size, %ntid.x;",
        "mad.lo.u32 %row, %block, %size, %thread;",
        f"mad.wide.u32 %out, %row, {8 * len(results)}, %out;",
        f"mad.wide.u32 %in, %row, {8 * len(operands)}, %in;",
    ]
    for i, kind in enumerate(operands):
        if kind == "pred":
            lines += [f"ld.global.u32 %bits, [%in+{8 * i}];", f"setp.ne.u32 %a{i}, %bits, 0;"]
        else:
            lines.append(f"ld.global.{kind} %a{i}, [%in+{8 * i}];")
    lines += case.body.strip().splitlines()
    if "[%out" not in case.body:
        for i, kind in enumerate(results):
            if kind == "pred":
                lines += [f"selp.u32 %bits, 1, 0, %d{i};", f"st.global.u32 [%out+{8 * i}], %bits;"]
            else:
                lines.append(f"st.global.{kind} [%out+{8 * i}], %d{i};")
    body = "\n".join("  " + line for line in lines)
    return f""".version {"8.0" if case.only_target else "7.8"}
.target {case.target_name}
.address_size 64
.visible .entry {case.name}(
  .param .u64 results, .param .u64 operands, .param .align 16 .b8 constants[{len(CONSTANTS)}])
{{
{body}
  ret;
}}
"""


def instruction(
    opcode: str,
    signature: str,
    *,
    suffix: str = "",
    name: str = "",
    bound: Bound = EXACT,
    count: int = 0,
    make: Callable[[], np.ndarray] | None = None,
    threads: int = 32,
    target: int = 80,
) -> Case:
    """A case of an instruction that maps operands to results.

    Args:
      opcode: with all its modifiers.
      signature: kinds as in "f32 = f32 f32"; two results become "d|p".
      suffix: literal operands at the end, as ", 0xEA".
      name: needed where an opcode has several cases.
      bound: of floating-point results.
      count: threads in all; by default as many as the operands deserve.
      make: makes the operands, by default values.operands.
      threads: of one block.
      target: lowest SM.
    """
    results, kinds = (tuple(part.split()) for part in signature.split("="))
    name = name or "".join(c if c.isalnum() else "_" for c in opcode)
    count = count or (128 if len(kinds) == 1 else 256)
    destination = "|".join(f"%d{i}" for i in range(len(results)))
    sources = ", ".join(f"%a{i}" for i in range(len(kinds)))
    return Case(
        name=name,
        body=f"{opcode} {destination}, {sources}{suffix};",
        results=results,
        kinds=kinds,
        covers=(opcode,),
        make=make or (lambda: values.operands(name, kinds, count)),
        threads=threads,
        bound=bound,
        target=target,
    )


def family(operations: str, types: str, signature: str, bound: Bound = EXACT) -> list[Case]:
    """Cases of every operation with every type, which replaces "T" in the signature."""
    return [
        instruction(f"{operation}.{kind}", signature.replace("T", kind), bound=bound)
        for operation in operations.split()
        for kind in types.split()
    ]
