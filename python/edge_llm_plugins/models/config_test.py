"""ModelConfig from the configurations that checkpoints carry."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest

from edge_llm_plugins import rope
from edge_llm_plugins.models.config import ModelConfig

HF = {
    "model_type": "llama",
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 192,
    "vocab_size": 50,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "rope_theta": 100000.0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GGUF = {
    "general.architecture": "llama",
    "llama.block_count": 2,
    "llama.context_length": 256,
    "llama.embedding_length": 128,
    "llama.feed_forward_length": 192,
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2,
    "llama.rope.freq_base": 100000.0,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
    "llama.vocab_size": 50,
    "tokenizer.ggml.bos_token_id": 1,
    "tokenizer.ggml.eos_token_id": 2,
}


def test_hf_and_gguf_describe_the_same_model() -> None:
    config = ModelConfig.from_hf(HF)
    assert config == ModelConfig.from_gguf(GGUF)
    assert config == ModelConfig(
        architecture="llama",
        hidden_size=128,
        num_layers=2,
        num_q_heads=4,
        num_kv_heads=2,
        head_size=32,
        intermediate_size=192,
        vocab_size=50,
        max_positions=256,
        rms_norm_eps=1e-5,
        rope_theta=100000.0,
        rotary_size=32,
        bos_token_id=1,
        eos_token_ids=(2,),
    )


@pytest.mark.parametrize(
    ("architecture", "bias", "norm"), [("qwen2", True, False), ("qwen3", False, True)]
)
def test_qwen_has_its_biases_and_norms(architecture: str, bias: bool, norm: bool) -> None:
    config = ModelConfig.from_hf(HF | {"model_type": architecture, "head_dim": 64})
    assert (config.qkv_bias, config.qk_norm, config.head_size) == (bias, norm, 64)
    renamed = {key.replace("llama", architecture): value for key, value in GGUF.items()}
    renamed |= {"general.architecture": architecture, f"{architecture}.attention.key_length": 64}
    assert ModelConfig.from_gguf(renamed) == config


def test_json_round_trip() -> None:
    scaling = {"rope_type": "linear", "factor": 2.0}
    config = ModelConfig.from_hf(HF | {"eos_token_id": [2, 7], "rope_scaling": scaling})
    assert config.eos_token_ids == (2, 7)
    fields = json.loads(json.dumps(config.to_json())) | {"format_version": 1}
    assert ModelConfig.from_json(fields) == config
    with pytest.raises(ValueError, match="head_size is missing"):
        ModelConfig.from_json({k: v for k, v in fields.items() if k != "head_size"})


def test_shapes_of_fused_layers_and_of_the_rest() -> None:
    config = ModelConfig.from_hf(HF | {"model_type": "qwen3"})
    linears = config.linear_shapes()
    assert len(linears) == 8
    assert linears["model.layers.1.self_attn.qkv_proj"] == (128 + 2 * 64, 128)
    assert linears["model.layers.1.self_attn.o_proj"] == (128, 128)
    assert linears["model.layers.1.mlp.gate_up_proj"] == (2 * 192, 128)
    assert linears["model.layers.1.mlp.down_proj"] == (128, 192)
    tensors = config.tensor_shapes()
    assert len(tensors) == 2 * 4 + 3
    assert tensors["model.layers.0.self_attn.q_norm.weight"] == (32,)
    assert tensors["lm_head.weight"] == (50, 128)
    tied = ModelConfig.from_hf(HF | {"tie_word_embeddings": True})
    assert "lm_head.weight" not in tied.tensor_shapes()
    assert "model.layers.0.self_attn.q_norm.weight" not in tied.tensor_shapes()


LLAMA3 = {
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


@pytest.mark.parametrize(
    ("scaling", "expected"),
    [
        (None, None),
        ({"rope_type": "default"}, None),
        ({"type": "linear", "factor": 2.0}, rope.Linear(2.0)),
        ({"rope_type": "llama3", **LLAMA3}, rope.Llama3(**LLAMA3)),
        ({"rope_type": "yarn", "factor": 4.0}, rope.Yarn(4.0, 256)),
    ],
)
def test_rope_scaling_by_type(scaling: dict[str, Any] | None, expected: rope.Scaling) -> None:
    table = ModelConfig.from_hf(HF | {"rope_scaling": scaling}).rope_cos_sin(9)
    np.testing.assert_array_equal(table, rope.cos_sin(9, 32, base=100000.0, scaling=expected))


def test_rope_parameters_of_transformers_5() -> None:
    old = ModelConfig.from_hf(HF | {"rope_scaling": {"rope_type": "llama3", **LLAMA3}})
    new = {k: v for k, v in HF.items() if k != "rope_theta"}
    new["rope_parameters"] = {"rope_type": "llama3", "rope_theta": 100000.0, **LLAMA3}
    np.testing.assert_array_equal(ModelConfig.from_hf(new).rope_cos_sin(9), old.rope_cos_sin(9))


def test_partial_rotary_factor() -> None:
    assert ModelConfig.from_hf(HF | {"partial_rotary_factor": 0.5}).rotary_size == 16


def test_rope_factors_of_gguf_divide_the_frequencies() -> None:
    factors = np.linspace(1, 8, 16, dtype=np.float32)
    table = ModelConfig.from_gguf(GGUF, rope_factors=factors).rope_cos_sin(9)
    angles = np.arange(9)[:, None] * (100000.0 ** (-np.arange(16) / 16) / factors)
    expected = np.concatenate([np.cos(angles), np.sin(angles)], axis=1)
    np.testing.assert_allclose(table[0], expected, atol=1e-6)


def test_scaling_of_gguf() -> None:
    scaled = GGUF | {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0}
    assert ModelConfig.from_gguf(scaled).rope_scaling == {"rope_type": "linear", "factor": 4.0}
    scaled |= {
        "llama.rope.scaling.type": "yarn",
        "llama.rope.scaling.original_context_length": 64,
    }
    assert ModelConfig.from_gguf(scaled).rope_scaling == {
        "rope_type": "yarn",
        "factor": 4.0,
        "original_max_position_embeddings": 64,
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "gemma2"}, "model_type is 'gemma2': llama, qwen2, qwen3 are served"),
        ({"attention_bias": True}, "attention_bias is True: False is served"),
        ({"mlp_bias": True}, "mlp_bias is True: False is served"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu': 'silu' is served"),
        ({"use_sliding_window": True}, "use_sliding_window is True: False is served"),
        ({"num_key_value_heads": 3}, "num_q_heads is 4: a multiple of num_kv_heads = 3"),
        ({"vocab_size": 0}, "vocab_size is 0: an integer from 1 to 2147483647 is allowed"),
        ({"vocab_size": True}, "vocab_size is True: an integer from 1"),
        ({"num_hidden_layers": 10**9}, "num_layers is 1000000000: an integer from 1 to 1024"),
        ({"hidden_size": "128", "head_dim": 0}, "hidden_size is '128': an integer"),
        ({"rms_norm_eps": None}, "rms_norm_eps is None: a number from"),
        ({"rope_theta": [1]}, r"rope_theta is \[1\]: a number from"),
        ({"partial_rotary_factor": 1e308}, r"partial_rotary_factor is 1e\+308: a number from"),
        ({"eos_token_id": [2, None]}, "eos_token_ids is None: an integer from 0"),
        ({"bos_token_id": "<s>"}, "bos_token_id is '<s>': an integer from 0"),
        ({"rope_scaling": "linear"}, "rope_scaling is 'linear': an object is allowed"),
        ({"rope_scaling": {"type": ["linear"]}}, r"has the type \['linear'\]: linear, llama3"),
        ({"rope_scaling": {"type": "linear", "factor": "2"}}, "factor is '2': a number from 1"),
        (
            {"rope_scaling": {"type": "longrope", "short_factor": {}, "long_factor": {}}},
            "short_factor is {}: a list of numbers is allowed",
        ),
        ({"head_dim": 33}, "rotary_size is 33: an even number"),
        ({"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "has the type 'dynamic'"),
        ({"rope_scaling": {"type": "linear"}}, "type 'linear' missing 1 required .* 'factor'"),
        (
            {"rope_scaling": {"type": "linear", "factor": 2.0, "mscale": 1}},
            "type 'linear' got an unexpected keyword argument 'mscale'",
        ),
        (
            {"rope_scaling": {"type": "longrope", "short_factor": [1], "long_factor": [2]}},
            "short_factor other than its long_factor",
        ),
    ],
)
def test_what_is_not_served_is_refused_in_one_line(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        ModelConfig.from_hf(HF | change)
    assert "\n" not in str(error.value)


def test_eos_token_ids_of_json_must_be_an_array() -> None:
    fields = ModelConfig.from_hf(HF).to_json() | {"eos_token_ids": None}
    with pytest.raises(ValueError, match="eos_token_ids is None: an array of token ids"):
        ModelConfig.from_json(fields)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"llama.rope.freq_base": "1e5"}, "llama.rope.freq_base is '1e5': a number from"),
        ({"llama.block_count": 2.0}, "llama.block_count is 2.0: an integer from 1"),
        ({"general.architecture": "gemma2"}, "general.architecture is 'gemma2'"),
        ({"llama.expert_count": 8}, "llama.expert_count is 8: 0 is served"),
        ({"llama.attention.value_length": 48}, "value_length is 48: the key_length 32"),
        ({"llama.rope.scaling.type": "longrope"}, "rope.scaling.type is 'longrope'"),
    ],
)
def test_gguf_that_is_not_served_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        ModelConfig.from_gguf(GGUF | change)


def test_missing_key_is_named() -> None:
    with pytest.raises(ValueError, match="hidden_size is missing"):
        ModelConfig.from_hf({k: v for k, v in HF.items() if k != "hidden_size"})
    with pytest.raises(ValueError, match=re.escape("llama.block_count is missing")):
        ModelConfig.from_gguf({k: v for k, v in GGUF.items() if "block_count" not in k})
