"""Records the logits of transformers' networks for the models of tiny_models.py.

    pip install torch transformers             # and the wheel of this project
    python3 -m edge_llm_plugins.models.testdata.record_golden_logits

Run from `python/`, it writes golden_logits.json beside itself: float32 logits [tokens, vocabulary]
per model, wrapped into lines, and the versions that gave them. The test that reads the file needs
neither package.
"""

from __future__ import annotations

import json
import pathlib
import textwrap

import torch
import transformers

from edge_llm_plugins.models.config import ModelConfig
from edge_llm_plugins.models.testdata.tiny_models import CONFIGS, TOKENS, TinyCheckpoint


def build(config: ModelConfig) -> torch.nn.Module:
    """transformers' network with the weights of the tiny checkpoint, all of them and no others."""
    prefix = {"llama": "Llama", "qwen2": "Qwen2", "qwen3": "Qwen3"}[config.architecture]
    hf_config = getattr(transformers, f"{prefix}Config")(
        hidden_size=config.hidden_size,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_q_heads,
        num_key_value_heads=config.num_kv_heads,
        head_dim=config.head_size,
        intermediate_size=config.intermediate_size,
        vocab_size=config.vocab_size,
        max_position_embeddings=config.max_positions,
        rms_norm_eps=config.rms_norm_eps,
        rope_parameters={
            "rope_theta": config.rope_theta,
            **(config.rope_scaling or {"rope_type": "default"}),
        },
        tie_word_embeddings=config.tie_embeddings,
        attn_implementation="eager",
    )
    network = getattr(transformers, f"{prefix}ForCausalLM")(hf_config).float().eval()
    checkpoint = TinyCheckpoint(config)
    tensors = {name: torch.from_numpy(checkpoint.tensor(name)) for name in checkpoint.names()}
    missing, unexpected = network.load_state_dict(tensors, strict=False)
    tied = ["lm_head.weight"] if config.tie_embeddings else []
    if unexpected or list(missing) != tied:
        raise ValueError(f"weights do not fit: missing {missing}, unexpected {unexpected}")
    network.tie_weights()
    return network


def main() -> None:
    golden = {"torch": torch.__version__, "transformers": transformers.__version__, "logits": {}}
    for name, config in CONFIGS.items():
        with torch.no_grad():
            logits = build(config)(torch.tensor([TOKENS])).logits[0]
        numbers = " ".join(f"{value:.6g}" for value in logits.flatten().tolist())
        golden["logits"][name] = textwrap.wrap(numbers, 110)
    path = pathlib.Path(__file__).with_name("golden_logits.json")
    path.write_text(json.dumps(golden, indent=1) + "\n")
    print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
