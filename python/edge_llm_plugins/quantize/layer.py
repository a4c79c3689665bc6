"""The weights of one transformer layer, as quantization takes them."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from edge_llm_plugins.models.checkpoints import Checkpoint
from edge_llm_plugins.models.config import ModelConfig
from edge_llm_plugins.models.transformer import CheckpointWeights

QKV, OUTPUT, GATE_UP, DOWN = LINEARS = (
    "self_attn.qkv_proj",
    "self_attn.o_proj",
    "mlp.gate_up_proj",
    "mlp.down_proj",
)
INPUT_NORM, MLP_NORM = "input_layernorm.weight", "post_attention_layernorm.weight"


@dataclasses.dataclass
class Layer:
    """Weights by their names within the layer.

    linears: float32 [N, K], the four LINEARS; biases: [N], of those that have one; others: norms.
    """

    config: ModelConfig
    prefix: str
    linears: dict[str, NDArray[np.float32]]
    biases: dict[str, NDArray]
    others: dict[str, NDArray]


def read_layer(checkpoint: Checkpoint, index: int) -> Layer:
    """Reads layer `index` of a checkpoint.

    Raises:
      ValueError: a tensor is missing, has another shape, or a bias is there that the model has no
        place for.
    """
    config, prefix = checkpoint.config, f"model.layers.{index}"
    weights = CheckpointWeights(checkpoint)
    linears, biases = {}, {}
    for name in LINEARS:
        full_name = f"{prefix}.{name}"
        linears[name] = np.asarray(weights.weight(full_name), np.float32)
        expected = config.linear_shapes()[full_name]
        if linears[name].shape != expected:
            raise ValueError(
                f"{full_name} has shape {list(linears[name].shape)}: {list(expected)} belongs to "
                "the model"
            )
        bias = weights.bias(full_name)
        if config.qkv_bias and name == QKV:
            if bias is None:
                raise ValueError(f"{full_name} has no bias: {config.architecture} has one")
            biases[name] = bias
        elif bias is not None and bias.any():  # GPTQ's tools write zeros
            raise ValueError(f"{full_name} has a bias: {config.architecture} has none")
    start = f"{prefix}."
    names = [name for name in config.tensor_shapes() if name.startswith(start)]
    others = {name.removeprefix(start): checkpoint.tensor(name) for name in names}
    return Layer(config, prefix, linears, biases, others)
