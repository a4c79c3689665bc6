"""The operations in PyTorch, as custom operators that torch.onnx exports as plugin nodes.

    from edge_llm_plugins.export import torch_ops
    y = torch_ops.int4_groupwise_gemm(x, packed, scales)             # in a module's forward
    torch.onnx.export(module, args, "model.onnx", dynamo=True, opset_version=18,
                      custom_translation_table=torch_ops.translation_table())

Eager mode computes with NumPy on the CPU (`reference`), which is exact and slow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from edge_llm_plugins import quantization, reference
from edge_llm_plugins._extras import require
from edge_llm_plugins.export import schemas

torch = require("torch", "torch")

NAMESPACE = "edge_llm_plugins"


@torch.library.custom_op(f"{NAMESPACE}::int4_groupwise_gemm", mutates_args=())
def int4_groupwise_gemm(
    x: torch.Tensor, packed: torch.Tensor, scales: torch.Tensor
) -> torch.Tensor:
    """Multiplies activations by INT4 weights; see `reference.int4_groupwise_gemm`.

    Args:
      x: float16 [B, S, K].
      packed: int8 [N/2, K], as `quantization.pack` makes it.
      scales: float16 [ceil(K/128), N].

    Returns:
      float16 [B, S, N].
    """
    y = reference.int4_groupwise_gemm(*(_numpy(tensor) for tensor in (x, packed, scales)))
    return torch.from_numpy(y.astype(np.float16)).to(x.device)


@int4_groupwise_gemm.register_fake
def _(x: torch.Tensor, packed: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    return x.new_empty((*x.shape[:2], 2 * packed.shape[0]))


@torch.library.custom_op(f"{NAMESPACE}::attention", mutates_args=())
def attention(
    qkv: torch.Tensor,
    kv_cache: torch.Tensor,
    context_lengths: torch.Tensor,
    rope_cos_sin: torch.Tensor,
    kv_cache_start_index: torch.Tensor,
    num_q_heads: int,
    num_kv_heads: int,
    head_size: int,
    attention_mask: torch.Tensor | None = None,
    attention_pos_ids: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """RoPE, KV cache and attention; dtypes, shapes and modes as in `reference.attention`.

    Returns:
      float16 [B, S, Hq, D], and the cache with the new keys and values.
    """
    tree = [t if t is None else _numpy(t) for t in (attention_mask, attention_pos_ids)]
    inputs = (qkv, kv_cache, context_lengths, rope_cos_sin, kv_cache_start_index)
    output, cache = reference.attention(
        *(_numpy(tensor) for tensor in inputs),
        num_q_heads=num_q_heads,
        num_kv_heads=num_kv_heads,
        head_size=head_size,
        attention_mask=tree[0],
        attention_pos_ids=tree[1],
    )
    halves = (output.astype(np.float16), cache)
    return tuple(torch.from_numpy(array).to(qkv.device) for array in halves)


@attention.register_fake
def _(
    qkv: torch.Tensor,
    kv_cache: torch.Tensor,
    context_lengths: torch.Tensor,
    rope_cos_sin: torch.Tensor,
    kv_cache_start_index: torch.Tensor,
    num_q_heads: int,
    num_kv_heads: int,
    head_size: int,
    attention_mask: torch.Tensor | None = None,
    attention_pos_ids: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    output = qkv.new_empty((*qkv.shape[:2], num_q_heads, head_size))
    return output, torch.empty_like(kv_cache)


def translation_table(plugin_version: str = "2") -> dict[Any, Callable[..., Any]]:
    """What `torch.onnx.export(custom_translation_table=...)` takes. Needs onnxscript, as it does.

    Args:
      plugin_version: "2" (IPluginV3), or "1" for TensorRT 8.6.
    """
    schemas.register()
    trt = require("onnxscript", "torch").values.Opset(schemas.DOMAIN, schemas.OPSET)
    version = {"plugin_version": plugin_version}

    def gemm_node(x, packed, scales):
        n, k = 2 * packed.shape[0], packed.shape[1]
        fields = {"gemm_n": n, "gemm_k": k, "group_size": quantization.GROUP_SIZE}
        return trt.Int4GroupwiseGemmPlugin(x, packed, scales, **fields, **version)

    def attention_node(
        qkv,
        kv_cache,
        context_lengths,
        rope_cos_sin,
        kv_cache_start_index,
        num_q_heads: int,
        num_kv_heads: int,
        head_size: int,
        attention_mask=None,
        attention_pos_ids=None,
    ):
        tree = [] if attention_mask is None else [attention_mask, attention_pos_ids]
        inputs = (qkv, kv_cache, context_lengths, rope_cos_sin, kv_cache_start_index, *tree)
        fields = {
            "num_q_heads": num_q_heads,
            "num_kv_heads": num_kv_heads,
            "head_size": head_size,
            "enable_tree_attention": int(bool(tree)),
        }
        return trt.AttentionPlugin(*inputs, **fields, **version)

    operators = getattr(torch.ops, NAMESPACE)
    return {
        operators.int4_groupwise_gemm.default: gemm_node,
        operators.attention.default: attention_node,
    }


def _numpy(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().contiguous().numpy()
