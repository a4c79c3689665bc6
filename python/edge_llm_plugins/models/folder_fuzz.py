"""Fuzzes whole folders: a quantized model, and a checkpoint of safetensors, with files changed."""

from __future__ import annotations

import json
import pathlib
import tempfile
from typing import Any

import numpy as np
import safetensors.numpy

from tools.testing import fuzzing

with fuzzing.instrumented("edge_llm_plugins"):
    from edge_llm_plugins.models.checkpoints import open_checkpoint
    from edge_llm_plugins.models.config import ModelConfig
    from edge_llm_plugins.models.folder import QuantizedModel

HF = {
    "model_type": "qwen2",
    "hidden_size": 128,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "intermediate_size": 64,
    "vocab_size": 4,
    "max_position_embeddings": 8,
    "quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128},
}
CONFIG = ModelConfig.from_hf(HF)
OURS = CONFIG.to_json() | {"format_version": 1, "quantization": {"method": "nearest"}}

QUANTIZED: dict[str, Any] = {
    name: np.ones(shape, np.float16) for name, shape in CONFIG.tensor_shapes().items()
}
for _prefix, (_n, _k) in CONFIG.linear_shapes().items():
    QUANTIZED[f"{_prefix}.packed"] = np.zeros((_n // 2, _k), np.int8)
    QUANTIZED[f"{_prefix}.scales"] = np.ones((-(-_k // 128), _n), np.float16)
    if _prefix.endswith("qkv_proj"):
        QUANTIZED[f"{_prefix}.bias"] = np.ones(_n, np.float16)

UP = "model.layers.0.mlp.up_proj"
CHECKPOINT: dict[str, Any] = {
    "model.norm.weight": np.ones(128, np.float16),
    f"{UP}.qweight": np.full((128, 8), 0x78787878, np.int32),
    f"{UP}.qzeros": np.full((1, 8), 0x77777777, np.int32),
    f"{UP}.scales": np.ones((1, 64), np.float16),
}
DTYPES = [np.int8, np.int32, np.float16, np.float32, np.float64, np.uint8, np.bool_]
FOLDER = pathlib.Path(tempfile.mkdtemp())


def changed(choices: fuzzing.Choices, tensors: dict[str, Any]) -> dict[str, Any]:
    """The tensors, up to three of which are missing or have another name, dtype, shape or value."""
    tensors = dict(tensors)
    for _ in range(choices.below(4)):
        name = choices.of(list(tensors))
        array = tensors.pop(name)
        match choices.below(6):
            case 0:
                tensors[choices.text()] = array
            case 1:
                tensors[name] = array.astype(choices.of(DTYPES))
            case 2:
                tensors[name] = array.reshape(-1)[: choices.below(array.size + 1)]
            case 3:
                tensors[name] = array[..., : choices.below(array.shape[-1] + 1)].copy()
            case 4:
                value = choices.of([0, -1, float("nan"), 1e9, 1e-9])
                with np.errstate(all="ignore"):
                    tensors[name] = np.full(array.shape, value).astype(array.dtype)
    return tensors


def write(config: dict[str, Any], tensors: dict[str, Any]) -> None:
    (FOLDER / "config.json").write_text(json.dumps(config))
    safetensors.numpy.save_file(tensors, FOLDER / "model.safetensors")


def read_quantized() -> None:
    model = QuantizedModel(FOLDER)
    for prefix, (n, k) in model.config.linear_shapes().items():
        with fuzzing.refusals():
            packed, scales, bias = model.linear(prefix)
            assert (packed.shape, packed.dtype) == ((n // 2, k), np.int8)
            assert (scales.shape, scales.dtype) == ((-(-k // 128), n), np.float16)
            assert bias is None or (bias.shape, bias.dtype) == ((n,), np.float16)
    for name, shape in model.config.tensor_shapes().items():
        with fuzzing.refusals():
            tensor = model.tensor(name)
            assert (tensor.shape, tensor.dtype) == (shape, np.float16)


def read_checkpoint() -> None:
    checkpoint = open_checkpoint(FOLDER)
    for name in checkpoint.names():
        with fuzzing.refusals():
            checkpoint.tensor(name)
        with fuzzing.refusals():
            checkpoint.quantized_linear(name.removesuffix(".weight"))


def fuzz(data: bytes) -> None:
    choices = fuzzing.Choices(data)
    quantized = choices.below(2)
    config, tensors = (OURS, QUANTIZED) if quantized else (HF, CHECKPOINT)
    write(choices.changed(config) if choices.below(2) else config, changed(choices, tensors))
    with fuzzing.refusals():
        read_quantized() if quantized else read_checkpoint()


if __name__ == "__main__":
    write(OURS, QUANTIZED)
    read_quantized()
    write(HF, CHECKPOINT)
    read_checkpoint()
    fuzzing.main(fuzz, [bytes([i]) * 32 for i in range(16)])
