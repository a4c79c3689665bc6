"""What an exported ONNX model says of itself in its metadata_props, for build and run."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping

import onnx

from edge_llm_plugins.models.config import ModelConfig

KEY = "edge_llm_plugins"
FORMAT_VERSION = 1

Shape = tuple[int, ...]
Profile = dict[str, tuple[Shape, Shape, Shape]]  # of each dynamic input: min, opt, max


@dataclasses.dataclass(frozen=True)
class Limits:
    """The largest shapes that an engine takes.

    capacity: slots of each KV cache, and positions of the RoPE table, per row.
    prefill_tokens: S of a prefill, and of a chunk of a longer one.
    tree_tokens: S of a draft tree; 0 for a model without tree attention.
    """

    capacity: int
    batch: int = 1
    prefill_tokens: int = 512
    tree_tokens: int = 0

    def __post_init__(self) -> None:
        allowed = {
            "capacity": (1, 1 << 24),
            "batch": (1, 1 << 16),
            "prefill_tokens": (1, self.capacity),
            "tree_tokens": (0, min(128, self.capacity)),
        }
        for name, (smallest, largest) in allowed.items():
            value = getattr(self, name)
            if not smallest <= value <= largest:
                raise ValueError(f"{name} is {value}: {smallest} to {largest} is allowed")


@dataclasses.dataclass(frozen=True)
class Metadata:
    """Of an exported model. `profiles` are TensorRT's optimization profiles by their names."""

    config: ModelConfig
    limits: Limits
    tensorrt_major: int  # the smallest that the model is made for
    profiles: dict[str, Profile]

    def write(self, model: onnx.ModelProto) -> None:
        """Writes it to a model's metadata_props."""
        fields = {
            "format_version": FORMAT_VERSION,
            "config": self.config.to_json(),
            "limits": dataclasses.asdict(self.limits),
            "tensorrt_major": self.tensorrt_major,
            "profiles": self.profiles,
        }
        onnx.helper.set_model_props(model, {KEY: json.dumps(fields)})

    @classmethod
    def read(cls, properties: Mapping[str, str]) -> Metadata:
        """Reads it from metadata_props, key to value.

        Raises:
          ValueError: it is missing, or of another format.
        """
        if KEY not in properties:
            raise ValueError(
                f"the ONNX model has no metadata {KEY!r}: export it with edge-llm-plugins export"
            )
        fields = json.loads(properties[KEY])
        if fields.get("format_version") != FORMAT_VERSION:
            raise ValueError(
                f"the ONNX model's metadata have format_version {fields.get('format_version')}: "
                f"{FORMAT_VERSION} is allowed; export the model again"
            )
        profiles = {
            profile: {name: tuple(map(tuple, shapes)) for name, shapes in inputs.items()}
            for profile, inputs in fields["profiles"].items()
        }
        config, limits = ModelConfig.from_json(fields["config"]), Limits(**fields["limits"])
        return cls(config, limits, fields["tensorrt_major"], profiles)


def read_metadata(model: onnx.ModelProto) -> Metadata:
    """The metadata of an exported model; `Metadata.read` says what it raises."""
    return Metadata.read({entry.key: entry.value for entry in model.metadata_props})
