"""Quantizes the first transformer layer of SmolLM2-135M-Instruct for `layer.Layer`.

make_layer --model SmolLM2-135M-Instruct.Q4_1.gguf --output layer.npz
"""

from __future__ import annotations

import argparse
import pathlib

import gguf
import numpy as np
from numpy.typing import NDArray

from edge_llm_plugins import quantization
from tests.tensorrt_engine.layer import Layer, Linear

# Token embeddings, taken evenly from the vocabulary: what the layer sees in the model.
EMBEDDINGS = 256


class Checkpoint:
    """A GGUF file of a Llama model."""

    def __init__(self, path: pathlib.Path) -> None:
        reader = gguf.GGUFReader(path)
        self._fields = reader.fields
        self._tensors = {tensor.name: tensor for tensor in reader.tensors}

    def number(self, name: str) -> float:
        return self._fields[f"llama.{name}"].contents()

    def weight(self, name: str, step: int = 1) -> NDArray[np.float32]:
        """A tensor, dequantized; of its rows every `step`-th one."""
        tensor = self._tensors[f"{name}.weight"]
        weight = gguf.quants.dequantize(tensor.data[::step], tensor.tensor_type)
        return weight.astype(np.float32, copy=False)

    def rotated_weight(self, name: str, heads: int) -> NDArray[np.float32]:
        """A projection to heads that RoPE turns, its rows put back in the order of the model.

        GGUF interleaves the two halves of each head; the plugin's pairs are half a head apart.
        """
        weight = self.weight(name)
        halves = weight.reshape(heads, -1, 2, weight.shape[1])
        return halves.swapaxes(1, 2).reshape(weight.shape)


def first_layer(checkpoint: Checkpoint) -> Layer:
    num_q_heads = checkpoint.number("attention.head_count")
    num_kv_heads = checkpoint.number("attention.head_count_kv")
    rows = checkpoint.number("vocab_size") // EMBEDDINGS
    qkv = [
        checkpoint.rotated_weight("blk.0.attn_q", num_q_heads),
        checkpoint.rotated_weight("blk.0.attn_k", num_kv_heads),
        checkpoint.weight("blk.0.attn_v"),
    ]
    weights = {
        "qkv": np.concatenate(qkv),
        "attention_output": checkpoint.weight("blk.0.attn_output"),
        "gate": checkpoint.weight("blk.0.ffn_gate"),
        "up": checkpoint.weight("blk.0.ffn_up"),
        "down": checkpoint.weight("blk.0.ffn_down"),
    }
    return Layer(
        num_q_heads=num_q_heads,
        num_kv_heads=num_kv_heads,
        rope_base=checkpoint.number("rope.freq_base"),
        epsilon=checkpoint.number("attention.layer_norm_rms_epsilon"),
        attention_norm=checkpoint.weight("blk.0.attn_norm"),
        ffn_norm=checkpoint.weight("blk.0.ffn_norm"),
        embeddings=checkpoint.weight("token_embd", rows)[:EMBEDDINGS].astype(np.float16),
        linears={
            name: Linear(*quantization.quantize_groupwise(weight))
            for name, weight in weights.items()
        },
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    args = parser.parse_args()
    first_layer(Checkpoint(args.model)).save(args.output)


if __name__ == "__main__":
    main()
