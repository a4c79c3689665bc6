"""THE list of benchmark cases: shapes, how much work each is, and its name.

A name says the shape: `int4_gemm/<N>x<K>/M<rows>`, `<mode>/<model>/B<batch>/...` with S tokens of
a prompt, L slots of context, or q new tokens at (@) a context that ends with them.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import ClassVar, TypeVar

GROUP_SIZE = 128
_F16 = 2  # bytes


@dataclasses.dataclass(frozen=True)
class Ceilings:
    """What a GPU can do at most: the two lines of its roofline."""

    bytes_per_second: float
    flops: float  # FP16 with FP32 accumulation, per second


@dataclasses.dataclass(frozen=True)
class Case:
    """Shapes of one call. `nbytes` and `flops` count what any implementation must move and do."""

    family: ClassVar[str]

    @property
    def nbytes(self) -> int:
        raise NotImplementedError

    @property
    def flops(self) -> int:
        raise NotImplementedError

    def floor_us(self, ceilings: Ceilings) -> float:
        """Microseconds below which no implementation can be."""
        seconds = max(self.nbytes / ceilings.bytes_per_second, self.flops / ceilings.flops)
        return 1e6 * seconds


@dataclasses.dataclass(frozen=True)
class Int4Case(Case):
    """y[m, n] = x[m, k] * w[n, k]^T with INT4 weights and a scale per 128 of k."""

    family = "int4_gemm"

    n: int
    k: int
    m: int

    @property
    def name(self) -> str:
        return f"int4_gemm/{self.n}x{self.k}/M{self.m}"

    @property
    def nbytes(self) -> int:
        scales = -(-self.k // GROUP_SIZE) * self.n
        return self.n * self.k // 2 + _F16 * (scales + self.m * self.k + self.m * self.n)

    @property
    def flops(self) -> int:
        return 2 * self.m * self.n * self.k


@dataclasses.dataclass(frozen=True)
class Model:
    """The heads of a language model."""

    name: str
    q_heads: int
    kv_heads: int
    head_size: int


@dataclasses.dataclass(frozen=True)
class AttentionCase(Case):
    """Attention of the newest `q_len` of `kv_len` tokens in each of `batch` rows."""

    family = "attention"

    mode: str  # prefill, chunk, decode or tree
    model: Model
    batch: int
    q_len: int
    kv_len: int

    @property
    def name(self) -> str:
        lengths = {
            "prefill": f"S{self.q_len}",
            "decode": f"L{self.kv_len}",
        }.get(self.mode, f"q{self.q_len}@{self.kv_len}")
        return f"{self.mode}/{self.model.name}/B{self.batch}/{lengths}"

    @property
    def past(self) -> int:
        """Tokens of a row that the cache holds before the call."""
        return self.kv_len - self.q_len

    @property
    def is_causal(self) -> bool:
        """Whether token i of a row sees the past and the new tokens 0 to i."""
        return self.mode in ("prefill", "chunk")

    @property
    def kv_bytes(self) -> int:
        model = self.model
        return _F16 * 2 * self.batch * model.kv_heads * self.kv_len * model.head_size

    @property
    def nbytes(self) -> int:
        q = _F16 * self.batch * self.q_len * self.model.q_heads * self.model.head_size
        return 2 * q + self.kv_bytes  # Q and the output are as large

    @property
    def flops(self) -> int:
        # A tree is counted as if all its tokens saw one another: matrix tiles are computed whole.
        seen = self.q_len * self.kv_len
        if self.is_causal:
            seen = self.q_len * self.past + self.q_len * (self.q_len + 1) // 2
        return 4 * self.batch * self.model.q_heads * self.model.head_size * seen


INT4_SHAPES = ((4096, 4096), (14336, 4096), (28672, 4096), (4096, 14336), (151936, 1024))
INT4_ROWS = (1, 4, 8, 16, 32, 64, 128, 512, 2048)

INT4_CASES = tuple(Int4Case(n, k, m) for n, k in INT4_SHAPES for m in INT4_ROWS)

# What the choice of tiles and splits is tuned on. The layer beside the benchmark's has few steps of
# k, which tells what a CTA costs without them.
INT4_TUNING_CASES = (
    *INT4_CASES,
    *(Int4Case(6144, 1024, m) for m in INT4_ROWS if m >= 32),
)

LLAMA_8B = Model("llama8b", 32, 8, 128)
QWEN3 = Model("qwen3-0.6b", 16, 8, 128)
QWEN25 = Model("qwen2.5-0.5b", 14, 2, 64)
LLAMA_70B = Model("llama70b", 64, 8, 128)
LLAMA2_7B = Model("llama2-7b", 32, 32, 128)


def _prefill(model: Model, batch: int, length: int) -> AttentionCase:
    return AttentionCase("prefill", model, batch, length, length)


def _decode(model: Model, batch: int, length: int) -> AttentionCase:
    return AttentionCase("decode", model, batch, 1, length)


ATTENTION_CASES = (
    *(_prefill(LLAMA_8B, batch, length) for length in (512, 2048, 8192) for batch in (1, 4)),
    *(_prefill(model, 1, length) for model in (QWEN3, QWEN25) for length in (512, 2048, 8192)),
    *(AttentionCase("chunk", model, 1, 512, 4608) for model in (LLAMA_8B, QWEN3, QWEN25)),
    *(_decode(LLAMA_8B, batch, length) for batch in (1, 8, 32) for length in (2048, 8192, 32768)),
    *(_decode(model, 1, length) for model in (QWEN3, QWEN25) for length in (2048, 8192)),
    *(AttentionCase("tree", model, 1, 60, 2108) for model in (LLAMA_8B, QWEN3, QWEN25)),
    AttentionCase("tree", LLAMA_8B, 8, 60, 2108),
)

# What the choice of tiles and splits is tuned on: where the KV range can be split.
ATTENTION_TUNING_CASES = (
    *(
        _decode(model, batch, length)
        for model in (LLAMA_8B, QWEN3, QWEN25)
        for batch in (1, 2, 4, 8, 32)
        for length in (512, 1024, 2048, 4096, 8192, 32768)
    ),
    *(
        AttentionCase(mode, model, batch, q_len, past + q_len)
        for mode in ("tree", "chunk")
        for model in (LLAMA_8B, QWEN3, QWEN25)
        for batch in (1, 8)
        for q_len in (16, 60)
        for past in (2048, 8192)
    ),
    # Where chunks are decoded, and where taller tiles do better.
    *(
        AttentionCase("chunk", model, batch, q_len, 2048 + q_len)
        for model in (LLAMA_8B, QWEN3)
        for batch in (1, 2, 4, 8)
        for q_len in (33, 64, 96, 128)
    ),
    *(
        AttentionCase("chunk", model, batch, 64, 2112)
        for model in (LLAMA_70B, LLAMA2_7B)
        for batch in (1, 4)
    ),
    *(
        AttentionCase("tree", model, batch, 60, 2108)
        for model in (LLAMA_8B, QWEN3)
        for batch in (2, 3, 4, 6)
    ),
    *(AttentionCase("chunk", model, 1, 512, 4608) for model in (LLAMA_8B, QWEN3, QWEN25)),
    *(_prefill(model, 1, length) for model in (LLAMA_8B, QWEN3, QWEN25) for length in (512, 2048)),
)

FAMILIES: dict[str, tuple[Case, ...]] = {
    "int4_gemm": INT4_CASES,
    "attention": ATTENTION_CASES,
}

# Cases that the emulator runs in seconds; they share every line of code with the others.
_TINY_MODEL = Model("tiny", 4, 2, 64)
TINY_CASES: dict[str, tuple[Case, ...]] = {
    "int4_gemm": (Int4Case(64, 128, 1), Int4Case(64, 256, 16)),
    "attention": tuple(
        AttentionCase(mode, _TINY_MODEL, 2, q_len, kv_len)
        for mode, q_len, kv_len in (
            ("prefill", 20, 20),
            ("chunk", 20, 40),
            ("decode", 1, 200),
            ("tree", 5, 200),
        )
    ),
}

AnyCase = TypeVar("AnyCase", bound=Case)


def select(cases: Sequence[AnyCase], only: str) -> list[AnyCase]:
    """The cases in whose name the regular expression is found.

    Raises:
      ValueError: it is found in none.
    """
    selected = [case for case in cases if re.search(only, case.name)]
    if not selected:
        raise ValueError(f"--only is {only!r}: it matches no case, such as {cases[0].name}")
    return selected
