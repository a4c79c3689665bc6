"""What an exported ONNX model says of itself in its metadata_props, for build and run."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping

import onnx

from edge_llm_plugins.models import json_values
from edge_llm_plugins.models.config import ModelConfig
from edge_llm_plugins.models.limits import Limits, Profile, profiles_from_json

KEY = "edge_llm_plugins"
FORMAT_VERSION = 1


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
        fields = json_values.parse(properties[KEY], f"the ONNX model's metadata {KEY!r}")
        if fields.get("format_version") != FORMAT_VERSION:
            raise ValueError(
                f"the ONNX model's metadata have format_version {fields.get('format_version')!r}: "
                f"{FORMAT_VERSION} is allowed; export the model again"
            )
        return cls(
            ModelConfig.from_json(json_values.mapping(fields, "config")),
            Limits.from_json(json_values.mapping(fields, "limits")),
            json_values.integer(fields, "tensorrt_major"),
            profiles_from_json(json_values.mapping(fields, "profiles")),
        )


def read_metadata(model: onnx.ModelProto) -> Metadata:
    """The metadata of an exported model; `Metadata.read` says what it raises."""
    return Metadata.read({entry.key: entry.value for entry in model.metadata_props})
