"""PyTorch's attention back ends, on Q, K and V after RoPE and with K and V in the cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.bias import causal_lower_right
from torch.nn.functional import scaled_dot_product_attention

from tools.bench.attention_inputs import Problem, Shared

Call = Callable[[int], torch.Tensor]

# The memory-efficient back end wants rows of a mask to start at multiples of 16 elements.
_MASK_ALIGNMENT = 16


def peers(shared: Shared, problems: Sequence[Problem]) -> dict[str, Call]:
    """Calls of each back end that can compute the case; outputs are f16 [B, Hq, S, D] or alike."""
    mode = shared.case.mode
    if mode == "tree":
        return {"cudnn": _masked_cudnn(shared, problems), "efficient": _grouped(shared, problems)}
    if mode == "chunk":
        return {
            "cudnn": _masked_cudnn(shared, problems),
            "flash": _bottom_right_flash(shared, problems),
            "efficient": _grouped(shared, problems),
        }
    backends = {
        "cudnn": SDPBackend.CUDNN_ATTENTION,
        "flash": SDPBackend.FLASH_ATTENTION,
    }
    causal = shared.case.is_causal
    return {name: _plain(problems, backend, causal) for name, backend in backends.items()}


def additive_mask(visible: torch.Tensor) -> torch.Tensor:
    """bool [rows, kv_len] to f16: 0 where visible, else -inf; rows start aligned."""
    rows, kv_len = visible.shape
    stride = -(-kv_len // _MASK_ALIGNMENT) * _MASK_ALIGNMENT
    mask = torch.zeros(rows, stride, dtype=torch.float16, device=visible.device)[:, :kv_len]
    return mask.masked_fill_(~visible, float("-inf"))


def _plain(problems: Sequence[Problem], backend: SDPBackend, causal: bool) -> Call:
    def call(index: int) -> torch.Tensor:
        problem = problems[index]
        with sdpa_kernel(backend):
            return scaled_dot_product_attention(
                problem.q, problem.k, problem.v, is_causal=causal, enable_gqa=True
            )

    return call


def _masked_cudnn(shared: Shared, problems: Sequence[Problem]) -> Call:
    mask = additive_mask(shared.visible).contiguous()[None, None]

    def call(index: int) -> torch.Tensor:
        problem = problems[index]
        with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
            return scaled_dot_product_attention(
                problem.q, problem.k, problem.v, attn_mask=mask, enable_gqa=True
            )

    return call


def _bottom_right_flash(shared: Shared, problems: Sequence[Problem]) -> Call:
    mask = causal_lower_right(shared.case.q_len, shared.case.kv_len)

    def call(index: int) -> torch.Tensor:
        problem = problems[index]
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            return scaled_dot_product_attention(
                problem.q, problem.k, problem.v, attn_mask=mask, enable_gqa=True
            )

    return call


def _grouped(shared: Shared, problems: Sequence[Problem]) -> Call:
    """The memory-efficient back end, which knows no groups: Q heads of a KV head become rows."""
    batch, kv_heads, _, size = problems[0].k.shape
    group = problems[0].q.shape[1] // kv_heads
    mask = additive_mask(shared.visible.repeat(group, 1))[None, None]
    mask = mask.expand(batch, kv_heads, -1, -1)
    queries = [problem.q.reshape(batch, kv_heads, -1, size) for problem in problems]

    def call(index: int) -> torch.Tensor:
        problem = problems[index]
        with sdpa_kernel(SDPBackend.EFFICIENT_ATTENTION):
            return scaled_dot_product_attention(
                queries[index], problem.k, problem.v, attn_mask=mask
            )

    return call
