"""Checkpoints: safetensors folders (AWQ and GPTQ ones among them) and GGUF files, read lazily.

    checkpoint = open_checkpoint("SmolLM2-135M-Instruct")     # or "model.gguf"
    checkpoint.tensor("model.layers.0.mlp.up_proj.weight")    # float32 or float16

Weights have Hugging Face's names and layout, whatever the file's are.
"""

from __future__ import annotations

import os
import pathlib
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge_llm_plugins.models import gguf_file, packed_linears
from edge_llm_plugins.models.config import ModelConfig
from edge_llm_plugins.models.json_values import mapping
from edge_llm_plugins.models.packed_linears import QuantizedLinear
from edge_llm_plugins.models.tensor_files import TensorFiles, read_json

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "generation_config.json",
    "chat_template.jinja",
)


class Checkpoint(Protocol):
    """A model as its makers publish it."""

    config: ModelConfig

    def names(self) -> list[str]:
        """Names of all tensors that `tensor` gives."""

    def tensor(self, name: str) -> NDArray:
        """One tensor, float32 or float16, dequantized where it is stored quantized.

        Raises:
          ValueError: there is no such tensor, or its values cannot be given.
        """

    def quantized_linear(self, prefix: str) -> QuantizedLinear | None:
        """The codes and scales of a linear layer, bit by bit; None where it is not quantized.

        Raises:
          ValueError: the layer has no exact form with group 128 and zero point 8.
        """

    def tokenizer_files(self) -> dict[str, bytes]:
        """The files of the tokenizer, by name."""


def open_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Opens a GGUF file, or a folder with config.json and safetensors or with one GGUF file.

    Raises:
      FileNotFoundError: there is nothing of the kind.
      ValueError: the model, or its format, is not served.
      ImportError: the reader's package is not installed.
    """
    path = pathlib.Path(path)
    if not path.exists():
        raise FileNotFoundError(
            f"{path} is missing: a GGUF file or a checkpoint's folder is needed"
        )
    if path.is_dir() and not (path / "config.json").exists():
        found = sorted(path.glob("*.gguf"))
        if len(found) != 1:
            raise FileNotFoundError(
                f"{path} has no config.json and {len(found)} GGUF files: name a folder with "
                "config.json, or one GGUF file"
            )
        path = found[0]
    if path.is_dir():
        return SafetensorsCheckpoint(path)
    if path.suffix != ".gguf":
        raise ValueError(f"{path} is no .gguf file: a GGUF file or a checkpoint's folder is needed")
    return gguf_file.GgufCheckpoint(path)


class SafetensorsCheckpoint:
    """A folder as Hugging Face's transformers writes it; see `Checkpoint`."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._folder = pathlib.Path(path)
        config = read_json(self._folder / "config.json")
        if "model_type" not in config:
            raise ValueError(
                f"{self._folder / 'config.json'} has no model_type: the folder of a checkpoint is "
                "needed, not that of a quantized model"
            )
        self.config = ModelConfig.from_hf(config)
        self._files = TensorFiles(self._folder)
        self._layout: packed_linears.Layout | None = None
        if config.get("quantization_config") is not None:
            self._layout = packed_linears.layout(mapping(config, "quantization_config"))

    def names(self) -> list[str]:
        names = []
        for name in self._files.names():
            prefix, _, last = name.rpartition(".")
            if last == "qweight":
                names.append(f"{prefix}.weight")
            elif last not in packed_linears.PARTS:
                names.append(name)
        return names

    def tensor(self, name: str) -> NDArray:
        prefix, _, last = name.rpartition(".")
        if last == "weight" and f"{prefix}.qweight" in self._files:
            return self._packed_linear(prefix).dequantize()
        values = self._files.tensor(name)
        if values.dtype not in (np.float16, np.float32):
            raise ValueError(f"{name} has dtype {values.dtype}: F32, F16 or BF16 is served")
        return values

    def quantized_linear(self, prefix: str) -> QuantizedLinear | None:
        if f"{prefix}.qweight" not in self._files:
            return None
        return self._packed_linear(prefix).exact()

    def tokenizer_files(self) -> dict[str, bytes]:
        paths = [self._folder / name for name in TOKENIZER_FILES]
        return {path.name: path.read_bytes() for path in paths if path.exists()}

    def _packed_linear(self, prefix: str) -> packed_linears.PackedLinear:
        if self._layout is None:
            raise ValueError(
                f"{prefix}.qweight is there, but config.json has no quantization_config"
            )
        parts = {}
        for part in packed_linears.PARTS:
            if f"{prefix}.{part}" in self._files:
                parts[part] = self._files.tensor(f"{prefix}.{part}")
        return packed_linears.unpack(prefix, parts, self._layout)
