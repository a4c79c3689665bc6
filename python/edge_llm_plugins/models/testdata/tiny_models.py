"""Small networks with seeded weights, one per architecture, for tests and golden logits."""

from __future__ import annotations

import pathlib
import zlib

import numpy as np
from numpy.typing import NDArray

from edge_llm_plugins import quantization
from edge_llm_plugins.models.config import ModelConfig
from edge_llm_plugins.models.folder import FolderWriter, QuantizedModel
from edge_llm_plugins.models.transformer import CheckpointWeights

_SIZES = {
    "hidden_size": 64,
    "num_layers": 2,
    "num_q_heads": 4,
    "num_kv_heads": 2,
    "head_size": 32,
    "intermediate_size": 192,
    "vocab_size": 96,
    "max_positions": 64,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "rotary_size": 32,
}

CONFIGS = {
    "llama": ModelConfig("llama", **_SIZES, tie_embeddings=True),
    "llama3": ModelConfig(
        "llama",
        **_SIZES,
        rope_scaling={
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32,
        },
    ),
    "qwen2": ModelConfig("qwen2", **_SIZES, qkv_bias=True),
    "qwen3": ModelConfig("qwen3", **_SIZES, qk_norm=True, tie_embeddings=True),
}

TOKENS = np.random.default_rng(5).integers(96, size=16).tolist()


class TinyCheckpoint:
    """A checkpoint (see `models.checkpoints`) whose tensors are drawn from the seed of their names.

    The weights are normal numbers, large enough that every part of the network shows in the logits.
    """

    def __init__(self, config: ModelConfig) -> None:
        self.config = config
        self._shapes = checkpoint_shapes(config)

    def names(self) -> list[str]:
        return list(self._shapes)

    def tensor(self, name: str) -> NDArray[np.float32]:
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        values = rng.standard_normal(self._shapes[name])
        if name.endswith(("norm.weight", ".bias")):
            values = (0 if name.endswith(".bias") else 1) + 0.2 * values
        elif name.endswith("_proj.weight"):
            values *= 1.5 / np.sqrt(values.shape[1])
        return values.astype(np.float16).astype(np.float32)


def checkpoint_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Of the tensors by Hugging Face's names, q, k, v and gate, up apart."""
    shapes = dict(config.tensor_shapes())
    hidden, inner = config.hidden_size, config.intermediate_size
    for layer in range(config.num_layers):
        attention, mlp = (f"model.layers.{layer}.{part}" for part in ("self_attn", "mlp"))
        rows = {"q_proj": config.q_size, "k_proj": config.kv_size, "v_proj": config.kv_size}
        shapes |= {f"{attention}.{name}.weight": (size, hidden) for name, size in rows.items()}
        if config.qkv_bias:
            shapes |= {f"{attention}.{name}.bias": (size,) for name, size in rows.items()}
        shapes[f"{attention}.o_proj.weight"] = (hidden, config.q_size)
        shapes |= {f"{mlp}.{name}.weight": (inner, hidden) for name in ("gate_proj", "up_proj")}
        shapes[f"{mlp}.down_proj.weight"] = (hidden, inner)
    return shapes


def quantized_folder(config: ModelConfig, path: pathlib.Path) -> QuantizedModel:
    """Writes the tiny checkpoint as a quantized model folder, rounded to nearest."""
    weights = CheckpointWeights(TinyCheckpoint(config))
    with FolderWriter(path, config, {"method": "nearest"}) as folder:
        for prefix in config.linear_shapes():
            packed, scales = quantization.quantize_groupwise(weights.weight(prefix))
            folder.add_linear(prefix, packed, scales, weights.bias(prefix))
        for name in config.tensor_shapes():
            folder.add_tensor(name, weights.tensor(name))
        folder.write_report({})
    return QuantizedModel(path)
