"""The weights of an ONNX model: inside of the file, or one by one into a file beside it."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

# A protobuf file holds at most 2 GiB; nodes and names need a part of it.
INLINE_LIMIT = 2**31 - 2**26
# Smaller tensors stay inside in any case: shape inference reads them.
SMALLEST_EXTERNAL = 1024
# Runtimes map the file into memory.
ALIGNMENT = 4096


class Initializers:
    """Collects the initializers of a model.

    Args:
      external: the file that tensors are appended to as they come, so that only one is in memory;
        None keeps them all inside of the model.
    """

    def __init__(self, external: str | os.PathLike[str] | None = None) -> None:
        self._external = None if external is None else pathlib.Path(external)
        self._tensors: dict[str, TensorProto] = {}
        if self._external is not None:
            self._external.write_bytes(b"")

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def __iter__(self) -> Iterator[TensorProto]:
        return iter(self._tensors.values())

    def add(self, name: str, array: NDArray) -> str:
        """Adds a tensor and returns its name."""
        array = np.ascontiguousarray(array)
        if self._external is None or array.nbytes < SMALLEST_EXTERNAL:
            self._tensors[name] = numpy_helper.from_array(array, name)
            return name
        with self._external.open("ab") as file:
            file.write(b"\0" * (-file.tell() % ALIGNMENT))
            facts = {"location": self._external.name, "offset": file.tell(), "length": array.nbytes}
            file.write(array.astype(array.dtype.newbyteorder("<"), copy=False).data)
        tensor = TensorProto(
            name=name,
            data_type=onnx.helper.np_dtype_to_tensor_dtype(array.dtype),
            dims=array.shape,
            data_location=TensorProto.EXTERNAL,
        )
        for key, value in facts.items():
            tensor.external_data.add(key=key, value=str(value))
        self._tensors[name] = tensor
        return name
