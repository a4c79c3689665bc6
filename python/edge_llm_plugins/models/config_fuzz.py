"""Fuzzes ModelConfig: config.json of a checkpoint and of a quantized model, metadata of a GGUF."""

from __future__ import annotations

import json

import numpy as np

from tools.testing import fuzzing

with fuzzing.instrumented("edge_llm_plugins"):
    from edge_llm_plugins.models import json_values
    from edge_llm_plugins.models.config import ModelConfig

_SCALINGS = [
    {"rope_type": "default"},
    {"type": "linear", "factor": 2.0},
    {"rope_type": "yarn", "factor": 4.0, "beta_fast": 32.0, "beta_slow": 1.0},
    {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    },
    {
        "rope_type": "longrope",
        "short_factor": [1.0, 2.0],
        "long_factor": [1.0, 2.0],
        "attention_factor": 1.0,
    },
]
HF = {
    "model_type": "llama",
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "intermediate_size": 192,
    "vocab_size": 50,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "partial_rotary_factor": 1.0,
    "rope_scaling": None,
    "bos_token_id": 1,
    "eos_token_id": [2, 3],
}
GGUF = {
    "general.architecture": "llama",
    "llama.block_count": 2,
    "llama.context_length": 256,
    "llama.embedding_length": 16,
    "llama.feed_forward_length": 192,
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2,
    "llama.rope.freq_base": 10000.0,
    "llama.rope.scaling.type": "yarn",
    "llama.rope.scaling.factor": 2.0,
    "llama.rope.scaling.original_context_length": 64,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
    "llama.vocab_size": 50,
    "tokenizer.ggml.bos_token_id": 1,
    "tokenizer.ggml.eos_token_id": 2,
}
OURS = [ModelConfig.from_hf({**HF, "rope_scaling": scaling}).to_json() for scaling in _SCALINGS]


def fuzz(data: bytes) -> None:
    if data[:1] == b"{":
        with fuzzing.refusals():
            ModelConfig.from_hf(json_values.parse(data.decode(errors="replace"), "the text"))
        return
    choices = fuzzing.Choices(data)
    source = choices.below(3)
    with fuzzing.refusals():
        if source == 0:
            hf = {**HF, "rope_scaling": choices.of(_SCALINGS)}
            config = ModelConfig.from_hf(choices.changed(hf))
        elif source == 1:
            factors = np.array(choices.of([[1, 2], [0, 1], [1]]), np.float32)
            config = ModelConfig.from_gguf(
                choices.changed(GGUF), rope_factors=choices.of([None, factors])
            )
        else:
            config = ModelConfig.from_json(choices.changed(choices.of(OURS)))
        assert ModelConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
        config.linear_shapes(), config.tensor_shapes()
        assert config.rope_cos_sin(3).shape == (1, 3, config.rotary_size)


if __name__ == "__main__":
    fuzzing.main(fuzz, [json.dumps(HF).encode(), *(bytes([i]) * 32 for i in range(8))])
