"""What an engine file says of itself, in a JSON file beside it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib

from edge_llm_plugins.models.config import ModelConfig
from edge_llm_plugins.models.json_values import boolean, integer, mapping, number, text
from edge_llm_plugins.models.limits import Limits, Profile, profiles_from_json
from edge_llm_plugins.models.tensor_files import read_json

FORMAT_VERSION = 1

# Where the weights are at run time.
INSIDE, STREAMED, EXTERNAL = "inside", "streamed", "external"
WEIGHTS = {
    INSIDE: "in the engine file, and all in device memory",
    STREAMED: "in the engine file; the runtime may keep a part of them in host memory",
    EXTERNAL: "not in the engine file, but read from the ONNX model when the engine is loaded",
}

_TEXTS = (
    *("package", "tensorrt", "plugins", "layers_found_in"),
    *("weights", "onnx", "onnx_sha256"),
)


@dataclasses.dataclass(frozen=True)
class EngineMetadata:
    """Of an engine file.

    profiles: TensorRT's optimization profiles by name, in the engine's order.
    package, tensorrt: what built it, such as "tensorrt_rtx" and "1.7.1.116".
    plugins: the version of the plugin library that built it.
    plugin_layers: how many layers of each plugin were found in the engine.
    layers_found_in: "engine" (by TensorRT's inspector) or "file" (in its bytes).
    alias_kv_cache: whether TensorRT knows that caches are updated in place.
    weights: a key of WEIGHTS.
    onnx, onnx_sha256: the model, and its `model_digest`.
    """

    config: ModelConfig
    limits: Limits
    profiles: dict[str, Profile]
    package: str
    tensorrt: str
    plugins: str
    plugin_layers: dict[str, int]
    layers_found_in: str
    alias_kv_cache: bool
    weights: str
    onnx: str
    onnx_sha256: str
    seconds: float

    def write(self, path: str | os.PathLike[str]) -> None:
        """Writes the JSON file."""
        fields = {
            **{field.name: getattr(self, field.name) for field in dataclasses.fields(self)},
            "format_version": FORMAT_VERSION,
            "config": self.config.to_json(),
            "limits": dataclasses.asdict(self.limits),
        }
        lines = [f" {json.dumps(name)}: {json.dumps(value)}" for name, value in fields.items()]
        pathlib.Path(path).write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")

    @classmethod
    def read(cls, engine_path: str | os.PathLike[str]) -> EngineMetadata:
        """The metadata of an engine file.

        Raises:
          FileNotFoundError: there is none beside it.
          ValueError: it is of another format.
        """
        path = metadata_path(engine_path)
        if not path.exists():
            raise FileNotFoundError(
                f"{path} is missing: build the engine with edge-llm-plugins build"
            )
        fields = read_json(path)
        version = fields.get("format_version")
        if version != FORMAT_VERSION:
            raise ValueError(
                f"{path} has format_version {version!r}: {FORMAT_VERSION} is allowed; build the "
                "engine again"
            )
        if fields.get("weights") not in list(WEIGHTS):
            raise ValueError(
                f"{path} has weights {fields.get('weights')!r}: {', '.join(WEIGHTS)} are allowed"
            )
        layers = mapping(fields, "plugin_layers")
        return cls(
            config=ModelConfig.from_json(mapping(fields, "config")),
            limits=Limits.from_json(mapping(fields, "limits")),
            profiles=profiles_from_json(mapping(fields, "profiles")),
            plugin_layers={name: integer(layers, name) for name in layers},
            alias_kv_cache=boolean(fields, "alias_kv_cache"),
            seconds=number(fields, "seconds"),
            **{name: text(fields, name) for name in _TEXTS},
        )


def metadata_path(engine_path: str | os.PathLike[str]) -> pathlib.Path:
    """Where the metadata of an engine file are."""
    path = pathlib.Path(engine_path)
    return path.with_name(f"{path.name}.json")


def model_digest(onnx_path: str | os.PathLike[str]) -> str:
    """SHA-256 of an exported model and of the file of weights beside it, where there is one."""
    path, digest = pathlib.Path(onnx_path), hashlib.sha256()
    for part in (path, path.with_name(f"{path.name}.data")):
        if not part.exists():
            continue
        with part.open("rb") as file:
            while block := file.read(1 << 24):
                digest.update(block)
    return digest.hexdigest()
