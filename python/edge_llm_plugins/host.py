"""Runs one plugin the way TensorRT does, without TensorRT.

    creator = find_creator(device.library, "Int4GroupwiseGemmPlugin", "2")
    engine = build_engine(creator, {"gemm_n": 64, ...}, inputs)     # what the builder does
    with engine.load(device) as loaded:                             # what the runtime does
        context = loaded.create_context()
        context.enqueue([x, packed, scales], [y], stream)

Every step calls the same functions in the same order as TensorRT: create from fields, clone, agree
on formats, configure, ask for the workspace, serialize; then deserialize, initialize or attach,
announce shapes, enqueue, detach, terminate. Plugins come in the binary interface of the TensorRT
major that is asked for.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import math
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

import edge_llm_plugins
from edge_llm_plugins import _bindings, emulator
from edge_llm_plugins._bindings import (
    CudaError,
    DataType,
    Field,
    FieldType,
    HostedCreator,
    HostedPlugin,
    PluginError,
    PluginLibrary,
    SerializedPlugin,
    Stream,
    Tensor,
    TensorRange,
)
from edge_llm_plugins._build import EMULATED_SMS, SMS

__all__ = [
    "EMULATED_SMS",
    "SMS",
    "CudaError",
    "DataType",
    "Device",
    "DeviceTensor",
    "Engine",
    "ExecutionContext",
    "Field",
    "FieldType",
    "LoadedEngine",
    "PluginError",
    "SerializedPlugin",
    "Tensor",
    "TensorRange",
    "build_engine",
    "dynamic_range",
    "emulated_devices",
    "field",
    "find_creator",
    "fixed_range",
    "open_device",
    "plugin_library",
]

TENSORRT_MAJORS = (8, 10, 11)
DEFAULT_TENSORRT_MAJOR = 10

_DATA_TYPES = {
    np.dtype(np.float16): DataType.HALF,
    np.dtype(np.float32): DataType.FLOAT,
    np.dtype(np.int8): DataType.INT8,
    np.dtype(np.int32): DataType.INT32,
    np.dtype(np.bool_): DataType.BOOL,
}
_FIELD_TYPES = {
    np.dtype(np.float16): FieldType.FLOAT16,
    np.dtype(np.float32): FieldType.FLOAT32,
    np.dtype(np.float64): FieldType.FLOAT64,
    np.dtype(np.int8): FieldType.INT8,
    np.dtype(np.int16): FieldType.INT16,
    np.dtype(np.int32): FieldType.INT32,
}


# Devices and their memory.


class Device:
    """A GPU, or an emulated one; `library` is the plugin library that has kernels for it."""

    def __init__(self, kind: str, driver_path: str, ordinal: int, library: PluginLibrary) -> None:
        self.kind = kind
        self.ordinal = ordinal
        self.library = library
        self.cuda = _bindings.CudaDevice(driver_path, ordinal)

    @property
    def name(self) -> str:
        return self.cuda.name

    @property
    def sm(self) -> int:
        """Compute capability, major * 10 + minor."""
        return self.cuda.sm

    @property
    def emulated_sm(self) -> int | None:
        """Its SM where it is emulated, as `sm` of `open_device` and `ops` names this device."""
        return self.sm if self.kind == "emulator" else None

    @property
    def sm_count(self) -> int:
        return self.cuda.sm_count

    def stream(self) -> Stream:
        return Stream(self.cuda)

    def tensor(self, array: ArrayLike, name: str = "", guard_bytes: int = 0) -> DeviceTensor:
        """Copies an array to the device."""
        array = np.ascontiguousarray(array)
        tensor = self.empty(array.dtype, array.shape, name, guard_bytes)
        tensor.write(array)
        return tensor

    def empty(
        self, dtype: DTypeLike, shape: Sequence[int], name: str = "", guard_bytes: int = 0
    ) -> DeviceTensor:
        """Allocates a tensor whose contents are undefined."""
        return DeviceTensor(self, np.dtype(dtype), tuple(shape), name, guard_bytes)


class DeviceTensor:
    """An array in device memory, optionally between two guards that nothing may overwrite."""

    GUARD_BYTE = 0xC5

    def __init__(
        self,
        device: Device,
        dtype: np.dtype,
        shape: tuple[int, ...],
        name: str = "",
        guard_bytes: int = 0,
    ) -> None:
        if guard_bytes % 256:
            raise ValueError(f"guard_bytes is {guard_bytes}: a multiple of 256 keeps the alignment")
        self.dtype = dtype
        self.shape = shape
        self._guard_bytes = self._offset = guard_bytes
        self._nbytes = math.prod(shape) * dtype.itemsize
        self._buffer = _bindings.DeviceBuffer(device.cuda, self._nbytes + 2 * guard_bytes)
        if guard_bytes:
            self._buffer.fill(self.GUARD_BYTE)
        if device.kind == "emulator" and name:
            emulator.name_allocation(self._buffer.address, name)

    @property
    def address(self) -> int:
        return self._buffer.address + self._offset

    @property
    def description(self) -> Tensor:
        return Tensor(_DATA_TYPES[self.dtype], list(self.shape))

    def write(self, array: NDArray) -> None:
        """Copies an array of the same dtype and shape to the device."""
        if array.dtype != self.dtype or array.shape != self.shape:
            raise ValueError(
                f"an array of {array.dtype} {list(array.shape)} does not fit a tensor of "
                f"{self.dtype} {list(self.shape)}"
            )
        self._buffer.write(self._offset, np.ascontiguousarray(array).view(np.uint8))

    def numpy(self) -> NDArray:
        """Copies the tensor to the host."""
        data = self._buffer.read(self._offset, self._nbytes)
        return np.frombuffer(data, self.dtype).reshape(self.shape).copy()

    def fill(self, byte: int) -> None:
        """Sets every byte."""
        self._buffer.fill(byte)

    def leading(self, shape: Sequence[int]) -> DeviceTensor:
        """The first elements as a tensor of another shape, in the same memory.

        Raises:
          ValueError: the shape has more elements.
        """
        return self._view(0, shape)

    def entry(self, index: int) -> DeviceTensor:
        """An entry of the first axis, in the same memory.

        Raises:
          IndexError: there is no such entry.
        """
        if not 0 <= index < self.shape[0]:
            raise IndexError(f"entry {index} of {list(self.shape)}")
        return self._view(index * (self._nbytes // self.shape[0]), self.shape[1:])

    def copy_along(self, axis: int, source: int, destination: int) -> None:
        """Copies the entry `source` of an axis to the entry `destination` of the same axis.

        Raises:
          IndexError: there is no such entry.
        """
        if not (0 <= source < self.shape[axis] and 0 <= destination < self.shape[axis]):
            raise IndexError(
                f"entries {source}, {destination} of axis {axis} of {list(self.shape)}"
            )
        if source == destination:
            return
        size = math.prod(self.shape[axis + 1 :]) * self.dtype.itemsize
        self._buffer.copy_pieces(
            self._offset + destination * size,
            self._offset + source * size,
            size,
            size * self.shape[axis],
            math.prod(self.shape[:axis]),
        )

    def _view(self, offset: int, shape: Sequence[int]) -> DeviceTensor:
        nbytes = math.prod(shape) * self.dtype.itemsize
        if offset + nbytes > self._nbytes:
            raise ValueError(f"shape {list(shape)} is larger than the tensor's {list(self.shape)}")
        view = copy.copy(self)
        view.shape, view._nbytes = tuple(shape), nbytes
        view._offset, view._guard_bytes = self._offset + offset, 0
        return view

    def guards_intact(self) -> bool:
        """Whether nothing was written right before or behind the tensor."""
        guard = bytes([self.GUARD_BYTE]) * self._guard_bytes
        before = self._buffer.read(0, self._guard_bytes)
        behind = self._buffer.read(self._guard_bytes + self._nbytes, self._guard_bytes)
        return before == guard and behind == guard


def open_device(device: str = "auto", sm: int | None = None) -> Device:
    """Finds the device to run on.

    Args:
      device: "cuda" (the first GPU), "emulator", or "auto": the first GPU when there is one and no
        `sm` is given, else the emulator.
      sm: which SM to emulate; by default the first one of the build.

    Raises:
      ValueError: an unknown device or SM, or an SM for a GPU.
      CudaError: no driver or no GPU for "cuda".
    """
    if device == "auto":
        device = "cuda" if sm is None and _has_gpu() else "emulator"
    if device == "cuda":
        if sm is not None:
            raise ValueError(f'sm is {sm}: it picks an emulated SM, so device="emulator" is needed')
        return _cuda_device()
    if device != "emulator":
        raise ValueError(f'device is {device!r}: "auto", "cuda" or "emulator" is allowed')
    devices = emulated_devices()
    if sm is None:
        return devices[0]
    for candidate in devices:
        if candidate.sm == sm:
            return candidate
    allowed = ", ".join(str(candidate.sm) for candidate in devices)
    raise ValueError(f"sm is {sm!r}: {allowed} are emulated")


@functools.cache
def emulated_devices() -> tuple[Device, ...]:
    """One device per SM that this build has PTX for, in the order of the SM table."""
    driver = emulator.driver_path()
    library = plugin_library("libedge_llm_plugins_ptx.so")
    library.set_cuda_driver(driver)
    devices = (
        Device("emulator", driver, ordinal, library)
        for ordinal in range(_bindings.device_count(driver))
    )
    return tuple(device for device in devices if device.sm in EMULATED_SMS)


@functools.cache
def plugin_library(name: str = "libedge_llm_plugins.so") -> PluginLibrary:
    """Loads one of the package's plugin libraries."""
    return PluginLibrary(str(pathlib.Path(edge_llm_plugins.library_path()).parent / name))


def _cuda_driver_path() -> str:
    return os.environ.get("EDGE_LLM_PLUGINS_CUDA_DRIVER", "libcuda.so.1")


@functools.cache
def _cuda_device() -> Device:
    driver = _cuda_driver_path()
    if _bindings.device_count(driver) == 0:
        raise CudaError(f'{driver} finds no GPU: device="emulator" needs none')
    return Device("cuda", driver, 0, plugin_library())


def _has_gpu() -> bool:
    try:
        return _bindings.device_count(_cuda_driver_path()) > 0
    except CudaError:
        return False


# What TensorRT's builder does.


def field(name: str, value: ArrayLike) -> Field:
    """A plugin field; Python's integers become INT32, as in ONNX files that are imported."""
    array = np.atleast_1d(np.asarray(value))
    if array.dtype == np.int64:
        array = array.astype(np.int32)
    return Field(name, _FIELD_TYPES[array.dtype], array.tobytes(), array.size)


def find_creator(
    library: PluginLibrary,
    name: str,
    version: str,
    tensorrt_major: int = DEFAULT_TENSORRT_MAJOR,
) -> HostedCreator:
    """Looks a creator up as TensorRT of that major does, by name and version.

    Raises:
      ValueError: no such creator.
    """
    creators = library.creators(tensorrt_major)
    for creator in creators:
        if (creator.name, creator.version) == (name, version):
            return creator
    allowed = ", ".join(f'{c.name} "{c.version}"' for c in creators) or "nothing"
    raise ValueError(
        f'plugin is {name} "{version}": for TensorRT {tensorrt_major} there is {allowed}'
    )


def fixed_range(dtype: DTypeLike, shape: Sequence[int]) -> TensorRange:
    """The range of a tensor with only one shape."""
    shape = list(shape)
    return TensorRange(_DATA_TYPES[np.dtype(dtype)], shape, shape, shape)


def dynamic_range(
    dtype: DTypeLike, smallest: Sequence[int], usual: Sequence[int], largest: Sequence[int]
) -> TensorRange:
    """The range of a tensor: min, opt and max of an optimisation profile."""
    return TensorRange(_DATA_TYPES[np.dtype(dtype)], list(smallest), list(usual), list(largest))


@dataclasses.dataclass(frozen=True)
class Engine:
    """What an engine file keeps of one plugin layer."""

    creator: HostedCreator
    serialized: SerializedPlugin
    outputs: tuple[TensorRange, ...]
    workspace_bytes: int

    def load(self, device: Device) -> LoadedEngine:
        """Deserializes the plugin for a device."""
        return LoadedEngine(self, device)


def build_engine(
    creator: HostedCreator,
    fields: Mapping[str, ArrayLike] | Sequence[Field],
    inputs: Sequence[TensorRange],
) -> Engine:
    """Builds a network of one plugin layer, as TensorRT's builder would.

    Args:
      creator: from `find_creator`.
      fields: the layer's attributes.
      inputs: type and shapes of each input.

    Raises:
      PluginError: the plugin refuses fields, types or shapes; the message is the plugin's.
    """
    if isinstance(fields, Mapping):
        fields = [field(name, value) for name, value in fields.items()]
    # TensorRT keeps a copy of what the network definition was given.
    plugin = creator.create("layer", fields).clone()
    inputs = list(inputs)
    outputs = _output_ranges(plugin, inputs)
    _agree_on_formats(plugin, inputs, outputs)
    plugin.configure(inputs, outputs)
    workspace_bytes = plugin.workspace_size(inputs, outputs)
    return Engine(creator, plugin.serialize(), tuple(outputs), workspace_bytes)


def _output_ranges(plugin: HostedPlugin, inputs: list[TensorRange]) -> list[TensorRange]:
    types = plugin.output_types([tensor.type for tensor in inputs])
    smallest = plugin.output_shapes([tensor.min for tensor in inputs])
    usual = plugin.output_shapes([tensor.opt for tensor in inputs])
    largest = plugin.output_shapes([tensor.max for tensor in inputs])
    return [TensorRange(*output) for output in zip(types, smallest, usual, largest, strict=True)]


def _agree_on_formats(
    plugin: HostedPlugin, inputs: list[TensorRange], outputs: list[TensorRange]
) -> None:
    tensors = [Tensor(tensor.type, tensor.max) for tensor in inputs + outputs]
    for position, tensor in enumerate(tensors):
        if not plugin.supports_format_combination(position, tensors, len(inputs)):
            raise PluginError(
                f"{plugin.name} refuses {tensor.type.name} {tensor.shape} as tensor {position}"
            )


# What TensorRT's runtime does.


class LoadedEngine:
    """A deserialized plugin on a device; leaving its `with` block terminates it."""

    def __init__(self, engine: Engine, device: Device) -> None:
        self.engine = engine
        self.device = device
        self._plugin = engine.creator.deserialize("layer", engine.serialized)
        self._plugin.initialize(device.cuda)

    def create_context(self) -> ExecutionContext:
        """A context of its own workspace; contexts may run at the same time on their own streams.

        Raises:
          PluginError: no kernels for this device.
        """
        return ExecutionContext(self)

    def attach(self) -> HostedPlugin:
        return self._plugin.attach_to_context(self.device.cuda)

    def close(self) -> None:
        self._plugin.terminate(self.device.cuda)

    def __enter__(self) -> LoadedEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ExecutionContext:
    """Runs a plugin; for one thread at a time, as in TensorRT."""

    def __init__(self, loaded: LoadedEngine) -> None:
        self._device = loaded.device
        self._plugin = loaded.attach()
        self._shapes: list[list[int]] | None = None
        self._workspace = self._device.empty(np.int8, [loaded.engine.workspace_bytes], "workspace")

    def enqueue(
        self, inputs: Sequence[DeviceTensor], outputs: Sequence[DeviceTensor], stream: Stream
    ) -> None:
        """Announces new shapes, and puts the plugin's work on the stream.

        Raises:
          PluginError: the plugin's message, and on the emulator the faults that it found.
        """
        input_tensors = [tensor.description for tensor in inputs]
        output_tensors = [tensor.description for tensor in outputs]
        shapes = [tensor.shape for tensor in input_tensors + output_tensors]
        with self._reporting_faults():
            if shapes != self._shapes:
                self._plugin.on_shape_change(input_tensors, output_tensors)
                self._shapes = shapes
            self._plugin.enqueue(
                input_tensors,
                output_tensors,
                [tensor.address for tensor in inputs],
                [tensor.address for tensor in outputs],
                self._workspace.address,
                stream,
            )

    @contextlib.contextmanager
    def _reporting_faults(self) -> Iterator[None]:
        try:
            yield
        except PluginError as error:
            faults = emulator.take_faults() if self._device.kind == "emulator" else []
            if not faults:
                raise
            raise PluginError("\n  ".join([str(error), *map(str, faults)])) from error
