"""Safetensors, in one file or in shards with an index, read and written tensor by tensor."""

from __future__ import annotations

import json
import math
import os
import pathlib
import shutil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_llm_plugins._extras import require
from edge_llm_plugins.models import json_values

# Bytes of tensors in one file; tools that map a file with 32 bit offsets can read it.
SHARD_LIMIT = 2_000_000_000

_EXTRA = "quantize"


class TensorFiles:
    """The tensors of `<stem>.safetensors`, or of the shards that its index names, read lazily.

    Only headers are read before a tensor is asked for; each call gives a fresh array.

    Raises:
      FileNotFoundError: the folder holds neither the file nor its index.
      ValueError: a file is no safetensors file, or the index names a tensor that is not there.
    """

    def __init__(self, folder: str | os.PathLike[str], stem: str = "model") -> None:
        self._folder = pathlib.Path(folder)
        single = self._folder / f"{stem}.safetensors"
        index = self._folder / f"{stem}.safetensors.index.json"
        self._files: dict[str, Any] = {}
        if single.exists():
            self._shard_of: dict[str, str] = {}
            self._shard_of = dict.fromkeys(self._open(single.name).keys(), single.name)
        elif index.exists():
            weight_map = read_json(index).get("weight_map")
            if not isinstance(weight_map, dict):
                raise ValueError(f"{index} has no weight_map, which says where each tensor is")
            self._shard_of = {name: _file_name(weight_map, name) for name in weight_map}
        else:
            raise FileNotFoundError(f"{self._folder} has neither {single.name} nor {index.name}")
        for name in self._shard_of:
            if not name.isprintable():
                raise ValueError(
                    f"{self._folder} has a tensor {name!r}: a printable name is allowed"
                )

    def names(self) -> list[str]:
        """Names of all tensors."""
        return list(self._shard_of)

    def __contains__(self, name: str) -> bool:
        return name in self._shard_of

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor, from its header."""
        return tuple(self._file_of(name).get_slice(name).get_shape())

    def tensor(self, name: str) -> NDArray[Any]:
        """One tensor in its own dtype; bfloat16, which NumPy lacks, becomes float32 (exactly).

        Raises:
          ValueError: there is no such tensor, or its dtype is another one that NumPy lacks.
        """
        file = self._file_of(name)
        dtype = file.get_slice(name).get_dtype()
        if dtype == "BF16":
            require("ml_dtypes", _EXTRA)  # makes the name known to NumPy
            return file.get_tensor(name).astype(np.float32)
        try:
            return file.get_tensor(name)
        except (AttributeError, require("safetensors", _EXTRA).SafetensorError):
            raise ValueError(f"{name} has dtype {dtype}: one of NumPy or BF16 is allowed") from None

    def _file_of(self, name: str) -> Any:
        if name not in self._shard_of:
            raise ValueError(f"{self._folder} has no tensor {name}")
        return self._open(self._shard_of[name])

    def _open(self, file_name: str) -> Any:
        if file_name not in self._files:
            safetensors = require("safetensors", _EXTRA)
            path = self._folder / file_name
            if not path.is_file():
                raise FileNotFoundError(f"{path} is missing: its index names it")
            try:
                file = safetensors.safe_open(path, framework="np")
            except safetensors.SafetensorError as error:
                raise ValueError(
                    f"{path} is no safetensors file: {json_values.one_line(error)}"
                ) from None
            names = set(file.keys())
            for name, its_file in self._shard_of.items():
                if its_file == file_name and name not in names:
                    raise ValueError(f"{path} has no tensor {name}: the index names it")
            self._files[file_name] = file
        return self._files[file_name]


class TensorFilesWriter:
    """Writes `<stem>.safetensors`, or shards and their index, holding one tensor at a time.

    A file's header has the places of all its tensors, so tensors wait in a plain file until their
    shard is complete.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        stem: str = "model",
        shard_limit: int = SHARD_LIMIT,
    ) -> None:
        require("safetensors", _EXTRA)  # not after hours of work
        self._folder = pathlib.Path(folder)
        self._stem = stem
        self._shard_limit = shard_limit
        self._raw_path = self._folder / f"{stem}.incomplete"
        self._raw = self._raw_path.open("wb")
        self._pending: dict[str, tuple[np.dtype[Any], tuple[int, ...], int]] = {}
        self._shards: list[list[str]] = []
        self._written: set[str] = set()
        self._total = 0

    def add(self, name: str, array: NDArray[Any]) -> None:
        """Appends a tensor.

        Raises:
          ValueError: the name is there already.
        """
        if name in self._written:
            raise ValueError(f"{name} is written twice")
        if self._pending and self._raw.tell() + array.nbytes > self._shard_limit:
            self._finish_shard()
        self._written.add(name)
        self._pending[name] = (array.dtype, array.shape, self._raw.tell())
        self._raw.write(np.ascontiguousarray(array).data)
        self._total += array.nbytes

    def close(self) -> None:
        """Completes the files."""
        self._finish_shard()
        self._discard()
        if len(self._shards) == 1:
            self._part(0).rename(self._folder / f"{self._stem}.safetensors")
            return
        weight_map = {}
        for index, names in enumerate(self._shards):
            final = f"{self._stem}-{index + 1:05}-of-{len(self._shards):05}.safetensors"
            self._part(index).rename(self._folder / final)
            weight_map |= dict.fromkeys(names, final)
        index_path = self._folder / f"{self._stem}.safetensors.index.json"
        write_json(index_path, {"metadata": {"total_size": self._total}, "weight_map": weight_map})

    def abandon(self) -> None:
        """Removes what was written."""
        self._discard()
        for index in range(len(self._shards)):
            self._part(index).unlink()

    def _part(self, index: int) -> pathlib.Path:
        return self._folder / f"{self._stem}.{index + 1:05}.incomplete"

    def _discard(self) -> None:
        self._raw.close()
        self._raw_path.unlink()

    def _finish_shard(self) -> None:
        numpy_files = require("safetensors.numpy", _EXTRA)
        self._raw.flush()
        views = {
            name: np.memmap(self._raw_path, dtype, "r", offset, shape)
            if math.prod(shape)
            else np.empty(shape, dtype)
            for name, (dtype, shape, offset) in self._pending.items()
        }
        part = self._part(len(self._shards))
        numpy_files.save_file(views, part, metadata={"format": "np"})
        # Some versions of safetensors let nobody but the owner read.
        shutil.copymode(self._raw_path, part)
        self._shards.append(list(self._pending))
        self._pending = {}
        self._raw.seek(0)
        self._raw.truncate()


def _file_name(weight_map: dict[str, Any], name: str) -> str:
    file_name = json_values.text(weight_map, name)
    if pathlib.PurePath(file_name).name != file_name or not file_name.isprintable():
        raise json_values.refusal(name, file_name, "the name of a file beside the index")
    return file_name


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is no JSON, or no object.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing")
    return json_values.parse(path.read_bytes(), str(path))


def write_json(path: pathlib.Path, content: Any) -> None:
    """Writes a JSON file that a person can read."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
