"""Problems of the two plugins: shapes, seeded inputs, the kernels they reach, and their errors."""

from __future__ import annotations

import abc
import dataclasses

import numpy as np
from numpy.typing import NDArray

from edge_llm_plugins import host, ops, quantization, reference, rope, tree

# Channels whose weights the reference has in memory at a time, in FP64.
_SLICE = 2048


class Problem(abc.ABC):
    """One call of a plugin."""

    @property
    @abc.abstractmethod
    def label(self) -> str:
        """Its shape, for people."""

    @property
    @abc.abstractmethod
    def work(self) -> int:
        """Multiplications, to take the cheaper of two problems."""

    @abc.abstractmethod
    def kernels(self, device: host.Device) -> tuple[str, ...]:
        """The kernels that a device launches for it."""

    @abc.abstractmethod
    def error(self, device: host.Device, plugin_version: str) -> float:
        """Runs it: the error as a share of the allowed one, so that up to 1 is right.

        Raises:
          AssertionError: the results differ beyond numbers, or in a cache.
          PluginError, CudaError: the device or the plugin failed.
        """


@dataclasses.dataclass(frozen=True)
class Int4Gemm(Problem):
    """Int4GroupwiseGemmPlugin with x [1, m, k] and weights [n, k]."""

    m: int
    n: int
    k: int

    @property
    def label(self) -> str:
        return f"INT4 GEMM, M={self.m} N={self.n} K={self.k}"

    @property
    def work(self) -> int:
        return self.m * self.n * self.k

    def kernels(self, device: host.Device) -> tuple[str, ...]:
        plan = device.library.int4_gemm_variant(self.m, self.n, self.k, device.sm, device.sm_count)
        variant, splits = plan.split(" splits=")
        return (variant,) if splits == "1" else (variant, "int4_combine_f16")

    def error(self, device: host.Device, plugin_version: str) -> float:
        rng = np.random.default_rng([self.m, self.n, self.k])
        x = rng.standard_normal((1, self.m, self.k)).astype(np.float16)
        packed = rng.integers(-128, 128, (self.n // 2, self.k), np.int8)
        groups = -(-self.k // quantization.GROUP_SIZE)
        scales = rng.uniform(0.01, 0.1, (groups, self.n)).astype(np.float16)
        y = ops.int4_groupwise_gemm(
            x,
            packed,
            scales,
            device=device.kind,
            sm=device.emulated_sm,
            plugin_version=plugin_version,
        )
        expected = np.concatenate(
            [
                reference.int4_groupwise_gemm(
                    x, packed[n // 2 : (n + _SLICE) // 2], scales[:, n : n + _SLICE]
                )
                for n in range(0, self.n, _SLICE)
            ],
            axis=2,
        )
        return reference.relative_rms(y, expected) / reference.INT4_RELATIVE_RMS


@dataclasses.dataclass(frozen=True)
class Attention(Problem):
    """AttentionPlugin in one mode; row b of the batch is b tokens shorter than the first.

    mode: "prefill", "chunk", "decode" or "tree".
    past: tokens of the first row that are in the cache already.
    tokens: new ones, S.
    """

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

    def kernels(self, device: host.Device) -> tuple[str, ...]:
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

    def error(self, device: host.Device, plugin_version: str) -> float:
        arguments = self._arguments()
        expected, expected_cache = reference.attention(**arguments)
        cache = arguments["kv_cache"].copy()
        output = ops.attention(
            **{**arguments, "kv_cache": cache},
            device=device.kind,
            sm=device.emulated_sm,
            plugin_version=plugin_version,
        )
        reference.assert_cache_close(cache, expected_cache, self.head_size)
        if not np.isfinite(output).all():
            raise AssertionError(f"{np.sum(~np.isfinite(output))} outputs are NaN or infinite")
        allowed = reference.ATTENTION_TOLERANCE * (1 + np.abs(expected))
        return float(np.max(np.abs(output - expected) / allowed))

    def _arguments(self) -> dict[str, NDArray | int]:
        """Those of ops.attention; the cache is NaN where nothing was written."""
        rng = np.random.default_rng(
            [MODES.index(self.mode), self.batch, self.past, self.tokens, self.head_size]
        )
        pasts = np.maximum(self.past - np.arange(self.batch), 0).astype(np.int32)
        cache_shape = (self.batch, 2, self.num_kv_heads, self.capacity, self.head_size)
        cache = rng.standard_normal(cache_shape, np.float32).astype(np.float16)
        for row, past in enumerate(pasts):
            cache[row, :, :, past:] = np.nan
        heads = self.num_q_heads + 2 * self.num_kv_heads
        qkv = rng.standard_normal((self.batch, self.tokens, heads * self.head_size), np.float32)
        return {
            "qkv": qkv.astype(np.float16),
            "kv_cache": cache,
            "rope_cos_sin": rope.cos_sin(self.capacity, self.head_size),
            "num_q_heads": self.num_q_heads,
            "num_kv_heads": self.num_kv_heads,
            "head_size": self.head_size,
            **self._step(pasts, rng),
        }

    def _step(self, pasts: NDArray[np.int32], rng: np.random.Generator) -> dict[str, NDArray]:
        shorter = np.maximum(self.tokens - np.arange(self.batch), 1).astype(np.int32)
        none = np.empty(0, np.int32)
        if self.mode == "prefill":
            return {"context_lengths": shorter, "kv_cache_start_index": none}
        if self.mode == "chunk":
            return {"context_lengths": shorter, "kv_cache_start_index": pasts}
        step = {
            "context_lengths": pasts + np.int32(self.tokens),
            "kv_cache_start_index": np.zeros_like(pasts),
        }
        if self.mode == "decode":
            return step
        parents = [-1, *(int(rng.integers(-1, token)) for token in range(1, self.tokens))]
        parents = np.tile(np.array(parents, np.int32), (self.batch, 1))
        return {
            **step,
            "attention_mask": tree.pack_mask(parents),
            "attention_pos_ids": tree.position_ids(parents, pasts),
        }


# In the order of the library's numbers.
MODES = ("prefill", "chunk", "decode", "tree")
