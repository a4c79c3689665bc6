"""Fuzzes the metadata of an exported model and of an engine."""

from __future__ import annotations

import json
import pathlib
import tempfile

from tools.testing import fuzzing

with fuzzing.instrumented("edge_llm_plugins"):
    from edge_llm_plugins.engines.metadata import EngineMetadata
    from edge_llm_plugins.export import metadata
    from edge_llm_plugins.models.config import ModelConfig
    from edge_llm_plugins.models.limits import Limits

CONFIG = ModelConfig("llama", 64, 2, 4, 2, 32, 192, 96, 64, 1e-5, 10000.0, 32)
EXPORT = {
    "format_version": 1,
    "config": CONFIG.to_json(),
    "limits": {"capacity": 48, "batch": 2, "prefill_tokens": 8, "tree_tokens": 4},
    "tensorrt_major": 10,
    "profiles": {"prefill": {"ids": [[1, 1], [1, 8], [2, 8]], "lengths": [[1], [1], [2]]}},
}
ENGINE = {
    **EXPORT,
    "package": "tensorrt",
    "tensorrt": "10.3.0",
    "plugins": "1.2.3",
    "plugin_layers": {"AttentionPlugin": 2},
    "layers_found_in": "engine",
    "alias_kv_cache": True,
    "weights": "inside",
    "onnx": "model.onnx",
    "onnx_sha256": "00",
    "seconds": 1.5,
}
FOLDER = pathlib.Path(tempfile.mkdtemp())
ENGINE_PATH, METADATA_PATH = FOLDER / "model.engine", FOLDER / "model.engine.json"


def check_export(text: str) -> None:
    with fuzzing.refusals():
        facts = metadata.Metadata.read({metadata.KEY: text})
        assert isinstance(facts.limits, Limits)


def check_engine(content: bytes) -> None:
    METADATA_PATH.write_bytes(content)
    with fuzzing.refusals():
        facts = EngineMetadata.read(ENGINE_PATH)
        facts.write(METADATA_PATH)
        assert EngineMetadata.read(ENGINE_PATH) == facts


def fuzz(data: bytes) -> None:
    if data[:1] == b"{":
        check_export(data.decode(errors="replace"))
        check_engine(data)
        return
    choices = fuzzing.Choices(data)
    if choices.below(2):
        check_engine(json.dumps(choices.changed(ENGINE)).encode())
    else:
        check_export(json.dumps(choices.changed(EXPORT)))


if __name__ == "__main__":
    texts = [json.dumps(fields).encode() for fields in (EXPORT, ENGINE)]
    fuzzing.main(fuzz, [*texts, *(bytes([i]) * 32 for i in range(8))])
