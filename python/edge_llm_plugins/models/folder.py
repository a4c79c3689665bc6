"""The quantized model folder: what quantization writes, and export and runtime read.

    config.json          ModelConfig's fields, "format_version" and "quantization" (how it was made)
    model.safetensors    the tensors below; in shards with an index when larger than 2 GB
    report.json          error of each layer
    tokenizer.json       and other files of the tokenizer

    P.packed  int8 [N/2, K]               codes of the linear layer P (quantization.py's picture)
    P.scales  float16 [ceil(K/128), N]
    P.bias    float16 [N]                 where the layer has one
    others    float16                     norms, embedding, lm_head, by Hugging Face's names

q, k, v of a layer are one linear layer `qkv_proj`, its rows in this order; gate and up are
`gate_up_proj`. ModelConfig.linear_shapes and .tensor_shapes list all names and shapes.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_llm_plugins import quantization
from edge_llm_plugins.models.config import ModelConfig
from edge_llm_plugins.models.json_values import mapping
from edge_llm_plugins.models.tensor_files import (
    SHARD_LIMIT,
    TensorFiles,
    TensorFilesWriter,
    read_json,
    write_json,
)

FORMAT_VERSION = 1


class QuantizedModel:
    """Reads a quantized model folder lazily: each call reads one layer.

    `config` is its ModelConfig, `quantization` how it was made, `report` the error per layer,
    `path` the folder.

    Raises:
      FileNotFoundError: the folder lacks a file.
      ValueError: it was written in another format, or a tensor is missing or has another shape.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = pathlib.Path(path)
        fields = read_json(self.path / "config.json")
        version = fields.get("format_version")
        if version != FORMAT_VERSION:
            raise ValueError(
                f"{self.path / 'config.json'} has the format_version {version!r}: "
                f"{FORMAT_VERSION} is allowed; quantize the checkpoint again"
            )
        self.config = ModelConfig.from_json(fields)
        self.quantization = mapping(fields, "quantization")
        self._files = TensorFiles(self.path)
        for name, shape in _file_shapes(self.config).items():
            if self._files.shape(name) != shape:
                raise ValueError(
                    f"{name} has shape {list(self._files.shape(name))}: {list(shape)} belongs to "
                    f"{self.path / 'config.json'}"
                )

    @property
    def report(self) -> dict[str, Any]:
        """The content of report.json."""
        return read_json(self.path / "report.json")

    def linear(
        self, prefix: str
    ) -> tuple[NDArray[np.int8], NDArray[np.float16], NDArray[np.float16] | None]:
        """Codes, scales and bias of a linear layer, such as "model.layers.0.self_attn.qkv_proj".

        Returns:
          packed: int8 [N/2, K]; scales: float16 [ceil(K/128), N]; bias: float16 [N] or None.

        Raises:
          ValueError: there is no such layer, or its scales are outside the allowed range.
        """
        packed = quantization.check_packed(self._read(f"{prefix}.packed", np.int8))
        n, k = 2 * packed.shape[0], packed.shape[1]
        scales = quantization.check_scales(self._read(f"{prefix}.scales", np.float16), n, k)
        name = f"{prefix}.bias"
        bias = self.tensor(name) if name in self._files else None
        if bias is not None and bias.shape != (n,):
            raise ValueError(f"{name} has shape {list(bias.shape)}: {[n]} belongs to {prefix}")
        return packed, scales, bias

    def tensor(self, name: str) -> NDArray[np.float16]:
        """A tensor that is not quantized, float16, such as "model.norm.weight".

        Raises:
          ValueError: there is no such tensor, or it has another dtype.
        """
        return self._read(name, np.float16)

    def _read(self, name: str, dtype: type[np.generic]) -> NDArray[Any]:
        values = self._files.tensor(name)
        if values.dtype != dtype:
            raise ValueError(f"{name} has dtype {values.dtype}: {dtype.__name__} is allowed")
        return values


class FolderWriter(contextlib.AbstractContextManager["FolderWriter"]):
    """Writes a quantized model folder, layer by layer in any order, as a context manager.

    config.json comes last, when everything else is complete. When the block is left by an
    exception, the tensors written so far are removed.

    Args:
      path: a folder that does not exist, or is empty.
      config: of the model.
      how: a JSON object that says how it is quantized; stored as "quantization".
      shard_limit: bytes of tensors per file.

    Raises:
      FileExistsError: the folder holds something.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        config: ModelConfig,
        how: Mapping[str, Any],
        shard_limit: int = SHARD_LIMIT,
    ) -> None:
        self.path = pathlib.Path(path)
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise FileExistsError(f"{self.path} exists and is not empty: name a new folder")
        for prefix, (n, k) in config.linear_shapes().items():
            check_linear_shape(prefix, n, k)
        self._config = config
        self._how = dict(how)
        self._missing = _file_shapes(config)
        self.path.mkdir(parents=True, exist_ok=True)
        self._writer = TensorFilesWriter(self.path, shard_limit=shard_limit)

    def add_linear(
        self,
        prefix: str,
        packed: NDArray[np.int8],
        scales: NDArray[np.float16],
        bias: ArrayLike | None = None,
    ) -> None:
        """Writes a linear layer: packed int8 [N/2, K], scales float16 [ceil(K/128), N], bias [N].

        Raises:
          TypeError, ValueError: dtype, shape, or a value that float16 cannot hold.
        """
        packed = quantization.check_packed(packed)
        n, k = 2 * packed.shape[0], packed.shape[1]
        self._add(f"{prefix}.packed", packed)
        self._add(f"{prefix}.scales", quantization.check_scales(scales, n, k))
        if bias is not None:
            self.add_tensor(f"{prefix}.bias", bias)

    def add_tensor(self, name: str, values: ArrayLike) -> None:
        """Writes a tensor that is not quantized, rounded to float16.

        Raises:
          ValueError: the model has no such tensor, its shape, or a value that float16 cannot hold.
        """
        values = np.asarray(values)
        with np.errstate(over="ignore"):
            halves = values.astype(np.float16)
        refused = ~np.isfinite(halves)
        if refused.any():
            index = np.argwhere(refused)[0].tolist()
            raise ValueError(
                f"{name}{index} is {values[tuple(index)]}: finite values of at most 65504 are "
                "allowed"
            )
        self._add(name, halves)

    def write_file(self, name: str, content: bytes) -> None:
        """Writes a file of the tokenizer."""
        (self.path / name).write_bytes(content)

    def write_report(self, report: Mapping[str, Any]) -> None:
        """Writes report.json."""
        write_json(self.path / "report.json", report)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._writer.abandon()
            return
        if self._missing:
            self._writer.abandon()
            raise ValueError(
                f"{next(iter(self._missing))} was not written, nor {len(self._missing) - 1} other "
                "tensors of the model"
            )
        self._writer.close()
        fields = self._config.to_json()
        fields |= {"format_version": FORMAT_VERSION, "quantization": self._how}
        write_json(self.path / "config.json", fields)

    def _add(self, name: str, array: NDArray[Any]) -> None:
        shape = self._missing.pop(name, None)
        if shape != array.shape:
            belongs = "no such tensor" if shape is None else f"{list(shape)} belongs"
            raise ValueError(f"{name} has shape {list(array.shape)}: {belongs} to the model")
        self._writer.add(name, array)


def check_linear_shape(name: str, n: int, k: int) -> None:
    """Refuses a linear layer that the INT4 layout does not hold.

    Raises:
      ValueError: N is no multiple of 4, or K none of 64.
    """
    if n % quantization.ROWS_PER_WORD or k % quantization.COLUMNS_PER_TILE:
        raise ValueError(
            f"{name} has N = {n}, K = {k}: N must be a multiple of "
            f"{quantization.ROWS_PER_WORD} and K of {quantization.COLUMNS_PER_TILE}"
        )


def _file_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of the folder."""
    shapes = config.tensor_shapes()
    for prefix, (n, k) in config.linear_shapes().items():
        shapes[f"{prefix}.packed"] = (n // 2, k)
        shapes[f"{prefix}.scales"] = (-(-k // quantization.GROUP_SIZE), n)
        if config.qkv_bias and prefix.endswith(".qkv_proj"):
            shapes[f"{prefix}.bias"] = (n,)
    return shapes
