"""ModelConfig: the numbers that define a network of the Llama, Qwen2 and Qwen3 families."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_llm_plugins import rope
from edge_llm_plugins.models.json_values import (
    LARGEST,
    boolean,
    get,
    integer,
    mapping,
    number,
    refusal,
)

ARCHITECTURES = ("llama", "qwen2", "qwen3")

# Sizes with a bound of their own: names and tables are made of them before any tensor is looked at.
_LARGEST = {"num_layers": 1024, "head_size": 1024}

_SCALINGS = {
    "linear": rope.Linear,
    "llama3": rope.Llama3,
    "longrope": rope.LongRope,
    "yarn": rope.Yarn,
}
# Keys of a rope_scaling entry that are no argument of its scaling.
_SCALING_LABELS = ("partial_rotary_factor", "rope_theta", "rope_type", "type")


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The network's sizes and constants; `rope_scaling` has the keys of Hugging Face's config.

    architecture is "llama", "qwen2" or "qwen3". rotary_size is how many dimensions of a head RoPE
    turns. qkv_bias: q, k and v have biases. qk_norm: heads of Q and K are RMS-normalized before
    RoPE. tie_embeddings: the embedding is the lm_head too. A text ends with any of eos_token_ids.
    """

    architecture: str
    hidden_size: int
    num_layers: int
    num_q_heads: int
    num_kv_heads: int
    head_size: int
    intermediate_size: int
    vocab_size: int
    max_positions: int
    rms_norm_eps: float
    rope_theta: float
    rotary_size: int
    rope_scaling: dict[str, Any] | None = None
    tie_embeddings: bool = False
    qkv_bias: bool = False
    qk_norm: bool = False
    bos_token_id: int | None = None
    eos_token_ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise ValueError(
                f"architecture is {self.architecture!r}: {', '.join(ARCHITECTURES)} are served"
            )
        values = vars(self)
        for field in dataclasses.fields(self):
            name = field.name
            if field.type == "int":
                integer(values, name, largest=_LARGEST.get(name, LARGEST))
            elif field.type == "float":
                number(values, name)
            elif field.type == "bool":
                boolean(values, name)
        if self.bos_token_id is not None:
            integer(values, "bos_token_id", smallest=0)
        for token in self.eos_token_ids:
            integer({"eos_token_ids": token}, "eos_token_ids", smallest=0)
        if self.num_q_heads % self.num_kv_heads:
            raise ValueError(
                f"num_q_heads is {self.num_q_heads}: a multiple of num_kv_heads = "
                f"{self.num_kv_heads} is allowed"
            )
        if self.rotary_size % 2 or self.rotary_size > self.head_size:
            raise ValueError(
                f"rotary_size is {self.rotary_size}: an even number of at most head_size = "
                f"{self.head_size} is allowed"
            )
        self.rope_cos_sin(1)  # refuses a rope_scaling that is not served

    @property
    def q_size(self) -> int:
        """Rows of q_proj, and columns of o_proj."""
        return self.num_q_heads * self.head_size

    @property
    def kv_size(self) -> int:
        """Rows of k_proj, and of v_proj."""
        return self.num_kv_heads * self.head_size

    def linear_shapes(self) -> dict[str, tuple[int, int]]:
        """[N, K] of every linear layer of a quantized model: q, k, v and gate, up are fused."""
        shapes = {}
        for layer in range(self.num_layers):
            prefix = f"model.layers.{layer}"
            shapes |= {
                f"{prefix}.self_attn.qkv_proj": (self.q_size + 2 * self.kv_size, self.hidden_size),
                f"{prefix}.self_attn.o_proj": (self.hidden_size, self.q_size),
                f"{prefix}.mlp.gate_up_proj": (2 * self.intermediate_size, self.hidden_size),
                f"{prefix}.mlp.down_proj": (self.hidden_size, self.intermediate_size),
            }
        return shapes

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every tensor that stays float16: embedding, norms, lm_head; biases are not."""
        shapes: dict[str, tuple[int, ...]] = {
            "model.embed_tokens.weight": (self.vocab_size, self.hidden_size)
        }
        for layer in range(self.num_layers):
            prefix = f"model.layers.{layer}"
            shapes[f"{prefix}.input_layernorm.weight"] = (self.hidden_size,)
            if self.qk_norm:
                shapes[f"{prefix}.self_attn.q_norm.weight"] = (self.head_size,)
                shapes[f"{prefix}.self_attn.k_norm.weight"] = (self.head_size,)
            shapes[f"{prefix}.post_attention_layernorm.weight"] = (self.hidden_size,)
        shapes["model.norm.weight"] = (self.hidden_size,)
        if not self.tie_embeddings:
            shapes["lm_head.weight"] = (self.vocab_size, self.hidden_size)
        return shapes

    def rope_cos_sin(self, positions: int) -> NDArray[np.float32]:
        """The RoPE table of positions 0 to `positions` - 1, float32 [1, positions, rotary_size].

        Raises:
          ValueError: `rope_scaling` is of a type that is not served, or lacks or has a key.
        """
        return rope.cos_sin(
            positions, self.rotary_size, base=self.rope_theta, scaling=self._scaling()
        )

    def _scaling(self) -> rope.Scaling | None:
        if self.rope_scaling is None:
            return None
        scaling = mapping(vars(self), "rope_scaling")
        kind = scaling.get("rope_type", scaling.get("type"))
        if not isinstance(kind, str) or kind not in _SCALINGS:
            raise ValueError(
                f"rope_scaling has the type {kind!r}: {', '.join(_SCALINGS)} are served"
            )
        arguments = {k: v for k, v in scaling.items() if k not in _SCALING_LABELS}
        if kind in ("longrope", "yarn"):
            arguments.setdefault("original_max_position_embeddings", self.max_positions)
        if kind == "longrope":
            if arguments.get("short_factor") != arguments.get("long_factor"):
                raise ValueError(
                    "rope_scaling has a short_factor other than its long_factor: only one table "
                    "for all lengths is served"
                )
            arguments |= {"max_position_embeddings": self.max_positions, "length": 0}
        try:
            return _SCALINGS[kind](**arguments)
        except TypeError as error:  # names the key that is missing or unknown
            reason = str(error).partition("() ")[2]
            raise ValueError(f"rope_scaling of type {kind!r} {reason}") from None

    @classmethod
    def from_hf(cls, config: Mapping[str, Any]) -> ModelConfig:
        """Reads the content of Hugging Face's config.json.

        Raises:
          ValueError: the model is of another family, or has a part that is not served.
        """
        architecture = config.get("model_type")
        if architecture not in ARCHITECTURES:
            raise ValueError(
                f"model_type is {architecture!r}: {', '.join(ARCHITECTURES)} are served"
            )
        for key, allowed in (
            ("hidden_act", "silu"),
            ("attention_bias", False),  # it would give o_proj a bias too
            ("mlp_bias", False),
            ("use_sliding_window", False),
        ):
            if config.get(key, allowed) != allowed:
                raise ValueError(f"{key} is {config[key]!r}: {allowed!r} is served")
        # transformers 5 moves rope_theta and its companions into rope_parameters.
        scaling = config.get("rope_scaling") or config.get("rope_parameters") or {}
        rope_values = {**config, **mapping({"rope_scaling": scaling}, "rope_scaling")}
        if scaling.get("rope_type", scaling.get("type", "default")) == "default":
            scaling = None
        num_q_heads = integer(config, "num_attention_heads")
        head_size = integer(config, "hidden_size") // num_q_heads
        if config.get("head_dim"):
            head_size = integer(config, "head_dim")
        turned = number(rope_values, "partial_rotary_factor", 1.0)
        return cls(
            architecture=architecture,
            hidden_size=integer(config, "hidden_size"),
            num_layers=get(config, "num_hidden_layers"),
            num_q_heads=num_q_heads,
            num_kv_heads=config.get("num_key_value_heads") or num_q_heads,
            head_size=head_size,
            intermediate_size=get(config, "intermediate_size"),
            vocab_size=get(config, "vocab_size"),
            max_positions=get(config, "max_position_embeddings"),
            rms_norm_eps=number(config, "rms_norm_eps", 1e-6),
            rope_theta=number(rope_values, "rope_theta", 10000.0),
            rotary_size=int(head_size * turned),
            rope_scaling=scaling,
            tie_embeddings=bool(config.get("tie_word_embeddings", False)),
            qkv_bias=architecture == "qwen2",
            qk_norm=architecture == "qwen3",
            bos_token_id=config.get("bos_token_id"),
            eos_token_ids=_token_ids(config.get("eos_token_id")),
        )

    @classmethod
    def from_gguf(
        cls,
        metadata: Mapping[str, Any],
        *,
        tie_embeddings: bool = False,
        rope_factors: NDArray[np.float32] | None = None,
    ) -> ModelConfig:
        """Reads a GGUF file's metadata, keys to plain values.

        Args:
          metadata: the keys of the file; vocab_size, which some lack, among them.
          tie_embeddings: the file has no tensor output.weight.
          rope_factors: the tensor rope_freqs.weight [rotary_size / 2], by which frequencies are
            divided, of a file that has one.

        Raises:
          ValueError: the model is of another family, or has a part that is not served.
        """
        architecture = metadata.get("general.architecture")
        if architecture not in ARCHITECTURES:
            raise ValueError(
                f"general.architecture is {architecture!r}: {', '.join(ARCHITECTURES)} are served"
            )

        def optional(key: str, default: Any) -> Any:
            return metadata.get(f"{architecture}.{key}", default)

        def size(key: str, default: int | None = None) -> int:
            return integer(metadata, f"{architecture}.{key}", default)

        def value(key: str, default: float | None = None) -> float:
            return number(metadata, f"{architecture}.{key}", default)

        if experts := optional("expert_count", 0):
            raise ValueError(f"{architecture}.expert_count is {experts!r}: 0 is served")
        num_q_heads = size("attention.head_count")
        head_size = size("attention.key_length", size("embedding_length") // num_q_heads)
        if optional("attention.value_length", head_size) != head_size:
            raise ValueError(
                f"{architecture}.attention.value_length is "
                f"{optional('attention.value_length', 0)!r}: the key_length {head_size} is served"
            )
        return cls(
            architecture=architecture,
            hidden_size=size("embedding_length"),
            num_layers=size("block_count"),
            num_q_heads=num_q_heads,
            num_kv_heads=size("attention.head_count_kv", num_q_heads),
            head_size=head_size,
            intermediate_size=size("feed_forward_length"),
            vocab_size=size("vocab_size"),
            max_positions=size("context_length"),
            rms_norm_eps=value("attention.layer_norm_rms_epsilon"),
            rope_theta=value("rope.freq_base", 10000.0),
            rotary_size=size("rope.dimension_count", head_size),
            rope_scaling=_gguf_scaling(optional, size, value, rope_factors),
            tie_embeddings=tie_embeddings,
            qkv_bias=architecture == "qwen2",
            qk_norm=architecture == "qwen3",
            bos_token_id=metadata.get("tokenizer.ggml.bos_token_id"),
            eos_token_ids=_token_ids(metadata.get("tokenizer.ggml.eos_token_id")),
        )

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON object."""
        return dataclasses.asdict(self) | {"eos_token_ids": list(self.eos_token_ids)}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> ModelConfig:
        """The inverse of `to_json`; keys that are no field are passed over.

        Raises:
          ValueError: a field is missing or impossible.
        """
        values = {field.name: get(fields, field.name) for field in dataclasses.fields(cls)}
        if not isinstance(values["eos_token_ids"], list):
            raise refusal("eos_token_ids", values["eos_token_ids"], "an array of token ids")
        return cls(**values | {"eos_token_ids": tuple(values["eos_token_ids"])})


def _token_ids(value: Any) -> tuple[Any, ...]:
    """What may be missing, one or several."""
    return tuple(value) if isinstance(value, list) else () if value is None else (value,)


def _gguf_scaling(
    optional: Callable[[str, Any], Any],
    size: Callable[[str], int],
    value: Callable[[str], float],
    rope_factors: NDArray[np.float32] | None,
) -> dict[str, Any] | None:
    """A GGUF file's RoPE scaling, as Hugging Face writes it."""
    kind = optional("rope.scaling.type", "none")
    if rope_factors is not None:
        if kind not in ("none", "linear"):
            raise ValueError(f"rope.scaling.type is {kind!r}: none is served with rope_freqs")
        # LongRoPE divides each frequency by a factor of its own, which is all that they say.
        factors = [float(factor) for factor in rope_factors]
        return {
            "rope_type": "longrope",
            "short_factor": factors,
            "long_factor": factors,
            "attention_factor": 1.0,
        }
    if kind == "none":
        return None
    if kind not in ("linear", "yarn"):
        raise ValueError(f"rope.scaling.type is {kind!r}: none, linear, yarn are served")
    scaling = {"rope_type": kind, "factor": value("rope.scaling.factor")}
    if kind == "yarn":
        original = size("rope.scaling.original_context_length")
        scaling["original_max_position_embeddings"] = original
    return scaling
