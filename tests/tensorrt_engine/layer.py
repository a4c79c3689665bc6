"""One transformer layer with INT4 weights, and what it must compute, in NumPy.

hidden -> RMSNorm -> normed -> INT4 -> qkv -> attention -> INT4 -> + hidden -> residual
residual -> RMSNorm -> INT4 gate, INT4 up -> SiLU(gate) * up -> INT4 -> + residual
"""

from __future__ import annotations

import dataclasses
import pathlib

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_llm_plugins import reference

GROUP_SIZE = 128


@dataclasses.dataclass(frozen=True)
class Linear:
    """INT4 weights of a linear layer, as Int4GroupwiseGemmPlugin takes them."""

    packed: NDArray[np.int8]  # [N/2, K]
    scales: NDArray[np.float16]  # [ceil(K/128), N]

    @property
    def fields(self) -> dict[str, int]:
        n, k = 2 * self.packed.shape[0], self.packed.shape[1]
        return {"gemm_n": n, "gemm_k": k, "group_size": GROUP_SIZE}

    def __call__(self, x: ArrayLike) -> NDArray[np.float16]:
        """x [B, S, K], rounded to FP16 first, times the weights: [B, S, N]."""
        x = np.asarray(x).astype(np.float16)
        y = reference.int4_groupwise_gemm(x, self.packed, self.scales)
        return y.astype(np.float16)


@dataclasses.dataclass(frozen=True)
class Layer:
    num_q_heads: int
    num_kv_heads: int
    rope_base: float
    epsilon: float
    attention_norm: NDArray[np.float32]  # [hidden size]
    ffn_norm: NDArray[np.float32]  # [hidden size]
    embeddings: NDArray[np.float16]  # [tokens, hidden size]: typical inputs
    linears: dict[str, Linear]  # qkv, attention_output, gate, up, down

    @property
    def hidden_size(self) -> int:
        return self.attention_norm.size

    @property
    def head_size(self) -> int:
        return self.hidden_size // self.num_q_heads

    @property
    def heads(self) -> dict[str, int]:
        return {
            "num_q_heads": self.num_q_heads,
            "num_kv_heads": self.num_kv_heads,
            "head_size": self.head_size,
        }

    def normed(self, hidden: NDArray[np.float16]) -> NDArray[np.float16]:
        """What the QKV projection sees: FP16 [B, S, hidden size]."""
        return self._rms_norm(hidden, self.attention_norm).astype(np.float16)

    def hidden_out(
        self, hidden: NDArray[np.float16], attention: NDArray[np.float16]
    ) -> NDArray[np.float16]:
        """The layer from the output of attention on: FP16 [B, S, hidden size]."""
        projected = self.linears["attention_output"](attention.reshape(hidden.shape))
        residual = _sum_f16(hidden, projected)
        normed = self._rms_norm(residual, self.ffn_norm)
        gate = self.linears["gate"](normed).astype(np.float64)
        up = self.linears["up"](normed).astype(np.float64)
        return _sum_f16(residual, self.linears["down"](gate / (1 + np.exp(-gate)) * up))

    def _rms_norm(self, x: NDArray, weight: NDArray[np.float32]) -> NDArray[np.float64]:
        x = x.astype(np.float64)
        return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + self.epsilon) * weight

    def save(self, path: pathlib.Path) -> None:
        plain = {name: value for name, value in vars(self).items() if name != "linears"}
        linears = {
            f"linears.{name}.{part}": array
            for name, linear in self.linears.items()
            for part, array in vars(linear).items()
        }
        np.savez(path, **plain, **linears)

    @classmethod
    def load(cls, path: pathlib.Path) -> Layer:
        with np.load(path) as arrays:
            plain = {
                name: array if array.ndim else array.item()
                for name, array in arrays.items()
                if not name.startswith("linears.")
            }
            names = dict.fromkeys(n.split(".")[1] for n in arrays if n.startswith("linears."))
            linears = {
                name: Linear(arrays[f"linears.{name}.packed"], arrays[f"linears.{name}.scales"])
                for name in names
            }
        return cls(**plain, linears=linears)


def _sum_f16(a: NDArray[np.float16], b: NDArray[np.float16]) -> NDArray[np.float16]:
    return (a.astype(np.float64) + b.astype(np.float64)).astype(np.float16)
