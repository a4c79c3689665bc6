"""Random attention problems as PyTorch tensors, for AttentionPlugin and for peers, and FP32."""

from __future__ import annotations

import math

import numpy as np
import torch

from edge_llm_plugins import rope, tree
from tools.bench.cases import AttentionCase

# 1 FP16 step of a key, and what cancels in x cos - y sin.
_KEY_STEP, _KEY_CANCELLATION = 2.0**-10, 2.0**-19

TOLERANCE = 2e-3  # of an output r: this much, plus as many times |r|


class Shared:
    """What the rotated problems of a case share: RoPE table, lengths, draft tree."""

    def __init__(self, case: AttentionCase, device: str) -> None:
        self.case = case
        self.device = device
        batch, past = case.batch, case.past
        table = rope.cos_sin(case.kv_len, case.model.head_size)
        self.rope_cos_sin = torch.from_numpy(table).to(device)  # [1, kv_len, D]
        lengths = {"prefill": case.q_len, "chunk": case.q_len}.get(case.mode, case.kv_len)
        starts = {"prefill": [], "chunk": [past] * batch}.get(case.mode, [0] * batch)
        self.context_lengths = self._int32([lengths] * batch)
        self.start_index = self._int32(starts)
        self.tree: list[torch.Tensor] = []  # mask and positions, where there is a tree
        positions = past + np.arange(case.q_len)
        visible = np.tri(case.q_len, dtype=np.bool_)
        if case.mode == "tree":
            rng = np.random.default_rng(0)
            parents = np.array([-1, *(rng.integers(-1, i) for i in range(1, case.q_len))], np.int32)
            positions = tree.position_ids(parents, past)
            visible = tree.visible_tokens(parents)
            self.tree = [
                torch.from_numpy(np.stack([array] * batch)).to(device)
                for array in (tree.pack_mask(parents), positions)
            ]
        self.positions = torch.from_numpy(positions).to(device)  # [q_len]
        old = np.ones((case.q_len, past), np.bool_)
        self.visible = torch.from_numpy(np.concatenate([old, visible], axis=1)).to(device)

    @property
    def fields(self) -> dict[str, int]:
        model = self.case.model
        return {
            "num_q_heads": model.q_heads,
            "num_kv_heads": model.kv_heads,
            "head_size": model.head_size,
            "enable_tree_attention": int(bool(self.tree)),
        }

    def rotate(self, x: torch.Tensor) -> torch.Tensor:
        """RoPE of f16 [B, S, H, D], rounded to FP16."""
        half = x.shape[-1] // 2
        angles = self.rope_cos_sin[0, self.positions.long(), None].double()
        cos, sin = angles[..., :half], angles[..., half:]
        first, second = x[..., :half].double(), x[..., half:].double()
        rotated = [first * cos - second * sin, second * cos + first * sin]
        return torch.cat(rotated, dim=-1).half()

    def _int32(self, values: list[int]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.int32, device=self.device)


class Problem:
    """One random input of the plugin, and the same for peers: after RoPE, K and V as a cache."""

    def __init__(self, shared: Shared) -> None:
        case, model, device = shared.case, shared.case.model, shared.device
        size = model.head_size
        heads = model.q_heads + 2 * model.kv_heads
        qkv = torch.randn(case.batch, case.q_len, heads, size, device=device, dtype=torch.float16)
        self.qkv = qkv.flatten(2)
        q, k, v = qkv.split([model.q_heads, model.kv_heads, model.kv_heads], dim=2)
        self.q = shared.rotate(q).transpose(1, 2)  # [B, Hq, S, D], contiguous in [B, S, Hq, D]
        cache_shape = (case.batch, 2, model.kv_heads, case.kv_len, size)
        self.expected_cache = torch.randn(cache_shape, device=device, dtype=torch.float16)
        # The plugin has to write the new slots: until then they are NaN.
        self.cache = self.expected_cache.clone()
        self.cache[:, :, :, case.past :] = float("nan")
        new = torch.stack([shared.rotate(k), v], dim=1)  # [B, 2, S, Hkv, D]
        self.expected_cache[:, :, :, case.past :] = new.transpose(2, 3)

    @property
    def k(self) -> torch.Tensor:
        """f16 [B, Hkv, kv_len, D]."""
        return self.expected_cache[:, 0]

    @property
    def v(self) -> torch.Tensor:
        return self.expected_cache[:, 1]

    def expected(self, shared: Shared) -> torch.Tensor:
        """The output in FP32: [B, S, Hq, D]."""
        batch, kv_heads, _, size = self.k.shape
        q_len, group = self.q.shape[2], self.q.shape[1] // kv_heads
        output = torch.empty(batch, kv_heads, group, q_len, size, device=shared.device)
        hidden = ~shared.visible
        for b in range(batch):
            for head in range(kv_heads):
                q = self.q[b, head * group : (head + 1) * group].float()  # [group, S, D]
                scores = q @ self.k[b, head].float().T / math.sqrt(size)
                weights = scores.masked_fill_(hidden, -math.inf).softmax(dim=-1)
                output[b, head] = weights @ self.v[b, head].float()
        return output.flatten(1, 2).transpose(1, 2)

    def check_cache(self, cache: torch.Tensor) -> None:
        """Raises AssertionError unless the plugin has written the new keys and values."""
        cache = cache.to(self.expected_cache.device)
        assert torch.equal(cache[:, 1], self.v), "V in the cache differs"
        close = torch.isclose(cache[:, 0], self.k, rtol=_KEY_STEP, atol=_KEY_CANCELLATION)
        assert close.all(), f"{int((~close).sum())} elements of K in the cache differ"


def largest_error(actual: torch.Tensor, expected: torch.Tensor, factor: float = 1.0) -> float:
    """The largest |a - e| / (1 + |e|), which is as the tolerance is.

    Raises:
      AssertionError: it is above factor * TOLERANCE, or NaN.
    """
    actual = actual.to(expected.device).float()
    error = ((actual - expected).abs() / (1 + expected.abs())).max().item()
    assert error <= factor * TOLERANCE, f"error {error:.3g} > {factor * TOLERANCE:g}"
    return error
