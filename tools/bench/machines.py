"""Where a benchmark runs: a GPU, or the emulator, which tries the same code without times."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import functools
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike

import edge_llm_plugins
from edge_llm_plugins import emulator, host
from tools.bench import timing
from tools.bench.cases import Ceilings
from tools.bench.recorded import RECORD


class PluginTensor(Protocol):
    """What ExecutionContext.enqueue takes."""

    @property
    def description(self) -> host.Tensor: ...

    @property
    def address(self) -> int: ...


class Machine(Protocol):
    """A device with PyTorch's and with the plugins' view of it."""

    host_device: host.Device
    stream: host.Stream
    driver_path: str
    torch_device: str
    has_peers: bool

    def plugin_tensor(self, tensor: torch.Tensor) -> PluginTensor:
        """A contiguous tensor for the plugins, on a GPU the same memory."""

    def read(self, tensor: PluginTensor) -> torch.Tensor:
        """What a tensor of the plugins holds now."""

    def measure(
        self, call: Callable[[int], Any], rotated: int, floor_us: float, check: Callable
    ) -> dict[str, float]:
        """Runs call(i), checks output 0 with `check`, which returns its error, and times it."""

    def ceilings(self) -> Ceilings:
        """What the GPU can do at most."""

    def facts(self) -> dict[str, Any]:
        """What a result must name."""


_DATA_TYPES = {
    torch.float16: host.DataType.HALF,
    torch.float32: host.DataType.FLOAT,
    torch.int8: host.DataType.INT8,
    torch.int32: host.DataType.INT32,
}


class _GpuTensor:
    """Memory of PyTorch as the plugins see it."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor
        self.description = host.Tensor(_DATA_TYPES[tensor.dtype], list(tensor.shape))
        self.address = tensor.data_ptr()


class Gpu:
    """The first GPU."""

    driver_path = "libcuda.so.1"
    torch_device = "cuda"
    has_peers = True

    def __init__(self, effort: timing.Effort) -> None:
        torch.cuda.init()
        self._effort = effort
        self.host_device = host.open_device("cuda")
        self.stream = self.host_device.stream()
        # Both libraries use the device's primary context, so one stream serves both.
        self.torch_stream = torch.cuda.ExternalStream(self.stream.handle)
        self._name = torch.cuda.get_device_properties(0).name

    def plugin_tensor(self, tensor: torch.Tensor) -> _GpuTensor:
        return _GpuTensor(_contiguous(tensor))

    def read(self, tensor: _GpuTensor) -> torch.Tensor:
        return tensor.tensor

    def measure(
        self, call: Callable[[int], Any], rotated: int, floor_us: float, check: Callable
    ) -> dict[str, float]:
        graph = timing.Graph(call, rotated, floor_us, self.torch_stream, self._effort)
        output = graph.first_output
        if isinstance(output, _GpuTensor):
            output = self.read(output)
        # What is checked is what the replays that are timed compute.
        output.fill_(float("nan"))
        graph.replay()
        error = check(output)
        return dataclasses.asdict(graph.time()) | {"error": error}

    @functools.cached_property
    def _reached(self) -> Ceilings:
        """What simple programs reach."""
        return Ceilings(
            timing.read_bytes_per_second(self.torch_stream), timing.matrix_flops(self.torch_stream)
        )

    def ceilings(self) -> Ceilings:
        return RECORD.ceilings if RECORD.gpu in self._name else self._reached

    def facts(self) -> dict[str, Any]:
        return _versions() | {
            "gpu": self._name,
            "sm": self.host_device.sm,
            "sm_count": self.host_device.sm_count,
            "driver": _driver_version(),
            "empty_kernel_us": timing.empty_kernel_us(self.torch_stream),
            "read_bytes_per_second": self._reached.bytes_per_second,
            "matrix_flops": self._reached.flops,
            "ceilings": dataclasses.asdict(self.ceilings()),
        }


class EmulatedGpu:
    """The emulator: results are checked, and nothing is timed."""

    torch_device = "cpu"
    has_peers = False

    def __init__(self, sm: int | None = None) -> None:
        self.driver_path = emulator.driver_path()
        self.host_device = host.open_device("emulator", sm)
        self.stream = self.host_device.stream()

    def plugin_tensor(self, tensor: torch.Tensor) -> host.DeviceTensor:
        return self.host_device.tensor(_contiguous(tensor).numpy())

    def read(self, tensor: host.DeviceTensor) -> torch.Tensor:
        return torch.from_numpy(tensor.numpy())

    def measure(
        self, call: Callable[[int], Any], rotated: int, floor_us: float, check: Callable
    ) -> dict[str, float]:
        output = call(0)
        # What is checked is what this call computes, and not one before it.
        output.write(np.full(output.shape, np.nan, output.dtype))
        call(0)
        self.stream.synchronize()
        return {"error": check(self.read(output))}

    def ceilings(self) -> Ceilings:
        return RECORD.ceilings

    def facts(self) -> dict[str, Any]:
        return _versions() | {
            "gpu": f"{self.host_device.name}, emulated",
            "sm": self.host_device.sm,
            "sm_count": self.host_device.sm_count,
            "empty_kernel_us": 0.0,
            "ceilings": dataclasses.asdict(self.ceilings()),
        }


def open_machine(
    device: str, sm: int | None = None, effort: timing.Effort = timing.THOROUGH
) -> Machine:
    """The GPU ("cuda") or the emulator ("emulator") of an SM."""
    return Gpu(effort) if device == "cuda" else EmulatedGpu(sm)


def unwritten(machine: Machine, shape: Sequence[int]) -> PluginTensor:
    """An FP16 output full of NaN."""
    nan = float("nan")
    return machine.plugin_tensor(
        torch.full(tuple(shape), nan, dtype=torch.float16, device=machine.torch_device)
    )


@contextlib.contextmanager
def loaded_plugin(
    machine: Machine, name: str, fields: Mapping[str, ArrayLike], inputs: Sequence[PluginTensor]
) -> Iterator[host.ExecutionContext]:
    """A context of a plugin that is built for exactly the shapes of these inputs."""
    ranges = []
    for tensor in inputs:
        shape = tensor.description.shape
        ranges.append(host.TensorRange(tensor.description.type, shape, shape, shape))
    creator = host.find_creator(machine.host_device.library, name, "2")
    with host.build_engine(creator, fields, ranges).load(machine.host_device) as loaded:
        yield loaded.create_context()


def _contiguous(tensor: torch.Tensor) -> torch.Tensor:
    if not tensor.is_contiguous():
        raise ValueError(f"a tensor of {list(tensor.shape)} is not contiguous")
    return tensor


def _versions() -> dict[str, Any]:
    return {
        "date": datetime.date.today().isoformat(),
        "edge_llm_plugins": edge_llm_plugins.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if torch.backends.cudnn.is_available() else None,
    }


def _driver_version() -> str:
    """The display driver's version, from its kernel module where there is one."""
    try:
        with open("/proc/driver/nvidia/version") as file:
            words = file.readline().split()
    except OSError:
        return "unknown"
    return next((word for word in words if word[0].isdigit() and "." in word), "unknown")
