"""Problems of the two plugins: shapes, seeded inputs, the kernels they reach, and their errors.

NumPy alone is needed here: the build computes with it what the C++ program of a release expects
(tools/verify).
"""

from __future__ import annotations

import abc
import dataclasses
import zlib
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_llm_plugins import quantization, reference, tree
from edge_llm_plugins.verify import inputs

# Channels whose weights the reference has in memory at a time, in FP64.
_SLICE = 2048


class Plans(Protocol):
    """What tells the variant of a problem and its splits: a library."""

    def int4_gemm_variant(self, m: int, n: int, k: int, sm: int, sm_count: int) -> str: ...

    def attention_variant(
        self,
        mode: int,
        batch: int,
        q_len: int,
        num_q_heads: int,
        num_kv_heads: int,
        head_size: int,
        capacity: int,
        sm: int,
        sm_count: int,
    ) -> str: ...


class PlannedDevice(Protocol):
    """A device as far as plans know it, such as `host.Device`."""

    @property
    def library(self) -> Plans: ...

    @property
    def sm(self) -> int: ...

    @property
    def sm_count(self) -> int: ...


class Problem(abc.ABC):
    """One call of an operation; `operation` is its name in `edge_llm_plugins.ops`."""

    operation: ClassVar[str]

    @property
    @abc.abstractmethod
    def label(self) -> str:
        """Its shape, for people."""

    @property
    def seed(self) -> int:
        """Of its inputs."""
        return zlib.crc32(self.label.encode())

    @property
    @abc.abstractmethod
    def work(self) -> int:
        """Multiplications, to take the cheaper of two problems."""

    @abc.abstractmethod
    def kernels(self, device: PlannedDevice) -> tuple[str, ...]:
        """The kernels that a device launches for it."""

    @abc.abstractmethod
    def arguments(self) -> dict[str, Any]:
        """Those of the operation, new ones at each call: some are written to.

        Its arrays come in the order of the plugin's inputs.
        """

    @abc.abstractmethod
    def error(self, output: NDArray[np.float16], arguments: dict[str, Any]) -> float:
        """The error of a result as a share of the allowed one, so that up to 1 is right.

        Args:
          output: what the operation returned.
          arguments: what it was called with; it may have written to some.

        Raises:
          AssertionError: the results differ beyond numbers, or in a cache.
        """


@dataclasses.dataclass(frozen=True)
class Int4Gemm(Problem):
    """Int4GroupwiseGemmPlugin with x [1, m, k] and weights [n, k]."""

    operation = "int4_groupwise_gemm"

    m: int
    n: int
    k: int

    @property
    def label(self) -> str:
        return f"INT4 GEMM, M={self.m} N={self.n} K={self.k}"

    @property
    def work(self) -> int:
        return self.m * self.n * self.k

    def kernels(self, device: PlannedDevice) -> tuple[str, ...]:
        plan = device.library.int4_gemm_variant(self.m, self.n, self.k, device.sm, device.sm_count)
        variant, splits = plan.split(" splits=")
        return (variant,) if splits == "1" else (variant, "int4_combine_f16")

    def arguments(self) -> dict[str, NDArray]:
        groups = -(-self.k // quantization.GROUP_SIZE)
        return {
            "x": inputs.normals(self.seed, 0, (1, self.m, self.k)),
            "packed": inputs.int8s(self.seed, 1, (self.n // 2, self.k)),
            "scales": inputs.scales(self.seed, 2, (groups, self.n)),
        }

    def expected(self) -> NDArray[np.float64]:
        """The right output [1, m, n]."""
        x, packed, scales = self.arguments().values()
        slices = [
            reference.int4_groupwise_gemm(
                x, packed[n // 2 : (n + _SLICE) // 2], scales[:, n : n + _SLICE]
            )
            for n in range(0, self.n, _SLICE)
        ]
        return np.concatenate(slices, axis=2)

    def error(self, output: NDArray[np.float16], arguments: dict[str, Any]) -> float:
        return reference.relative_rms(output, self.expected()) / reference.INT4_RELATIVE_RMS


@dataclasses.dataclass(frozen=True)
class Attention(Problem):
    """AttentionPlugin in one mode; row b of the batch is b tokens shorter than the first.

    mode: "prefill", "chunk", "decode" or "tree".
    past: tokens of the first row that are in the cache already.
    tokens: new ones, S.
    """

    operation = "attention"

    mode: str
    batch: int
    past: int
    tokens: int
    num_q_heads: int
    num_kv_heads: int
    head_size: int

    @property
    def label(self) -> str:
        heads = f"{self.num_q_heads}/{self.num_kv_heads} heads of {self.head_size}"
        rows = f"{self.batch} x " if self.batch > 1 else ""
        past = f" behind {self.past}" if self.past else ""
        tokens = "token" if self.tokens == 1 else "tokens"
        return f"{self.mode}, {heads}, {rows}{self.tokens} {tokens}{past}"

    @property
    def work(self) -> int:
        positions = self.past + self.tokens
        return self.batch * self.num_q_heads * self.tokens * positions * self.head_size

    @property
    def capacity(self) -> int:
        return self.past + self.tokens

    @property
    def pasts(self) -> NDArray[np.int32]:
        """Tokens of each row that are in the cache already: the first slot that is written."""
        return np.maximum(self.past - np.arange(self.batch), 0).astype(np.int32)

    @property
    def written(self) -> NDArray[np.int32]:
        """Slots of each row that are written."""
        if self.mode in ("decode", "tree"):
            return np.full(self.batch, self.tokens, np.int32)
        return np.maximum(self.tokens - np.arange(self.batch), 1).astype(np.int32)

    def kernels(self, device: PlannedDevice) -> tuple[str, ...]:
        plan = device.library.attention_variant(
            MODES.index(self.mode),
            self.batch,
            self.tokens,
            self.num_q_heads,
            self.num_kv_heads,
            self.head_size,
            self.capacity,
            device.sm,
            device.sm_count,
        )
        variant, splits = plan.split(" splits=")
        append = ("attention_append_f16",) if "_prefill_" in variant else ()
        combine = () if splits == "1" else ("attention_combine_f16",)
        return (*append, variant, *combine)

    def arguments(self) -> dict[str, NDArray | int]:
        """As `Problem.arguments`; the cache is NaN where nothing was written."""
        cache_shape = (self.batch, 2, self.num_kv_heads, self.capacity, self.head_size)
        cache = inputs.normals(self.seed, 1, cache_shape)
        for row, past in enumerate(self.pasts):
            cache[row, :, :, past:] = np.nan
        heads = self.num_q_heads + 2 * self.num_kv_heads
        step = self._step()
        return {
            "qkv": inputs.normals(self.seed, 0, (self.batch, self.tokens, heads * self.head_size)),
            "kv_cache": cache,
            "context_lengths": step.pop("context_lengths"),
            "rope_cos_sin": inputs.rope_table(self.capacity, self.head_size),
            **step,
            "num_q_heads": self.num_q_heads,
            "num_kv_heads": self.num_kv_heads,
            "head_size": self.head_size,
        }

    def _step(self) -> dict[str, NDArray]:
        if self.mode == "prefill":
            none = np.empty(0, np.int32)
            return {"context_lengths": self.written, "kv_cache_start_index": none}
        if self.mode == "chunk":
            return {"context_lengths": self.written, "kv_cache_start_index": self.pasts}
        step = {
            "context_lengths": self.pasts + np.int32(self.tokens),
            "kv_cache_start_index": np.zeros_like(self.pasts),
        }
        if self.mode == "decode":
            return step
        parents = np.tile(inputs.parents(self.seed, 2, self.tokens), (self.batch, 1))
        return {
            **step,
            "attention_mask": tree.pack_mask(parents),
            "attention_pos_ids": tree.position_ids(parents, self.pasts),
        }

    def expected(self) -> tuple[NDArray[np.float64], NDArray[np.float16]]:
        """The right output [B, S, Hq, D], and the cache [B, 2, Hkv, Cap, D] behind it."""
        return reference.attention(**self.arguments())

    def error(self, output: NDArray[np.float16], arguments: dict[str, Any]) -> float:
        expected, expected_cache = self.expected()
        reference.assert_cache_close(arguments["kv_cache"], expected_cache, self.head_size)
        if not np.isfinite(output).all():
            raise AssertionError(f"{np.sum(~np.isfinite(output))} outputs are NaN or infinite")
        allowed = reference.ATTENTION_TOLERANCE * (1 + np.abs(expected))
        return float(np.max(np.abs(output - expected) / allowed))


# In the order of the library's numbers.
MODES = ("prefill", "chunk", "decode", "tree")
