"""A small client of the CUDA driver API, for libcuda.so.1 and for the PTX emulator alike.

    driver = PtxEmulator()                      # or CudaDriver("libcuda.so.1")
    with driver.context(0) as ctx:              # the first device
        kernel = ctx.load(ptx_bytes).kernel("scale_f16")
        x = ctx.to_device(np.ones(64, np.float16), name="x")
        y = ctx.empty(128, name="y")
        kernel.launch((1,), (64,), 0, struct.pack("<QQ", x.pointer, y.pointer))
        result = y.numpy(np.float16, (64,))

Failed calls raise CudaError; with the emulator its message carries the fault reports.
"""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

_COMPUTE_CAPABILITY_MAJOR = 75
_COMPUTE_CAPABILITY_MINOR = 76
_MULTIPROCESSOR_COUNT = 16
_MAX_DYNAMIC_SHARED_BYTES = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
_LAUNCH_PARAM_END = 0
_LAUNCH_PARAM_BUFFER = 1
_LAUNCH_PARAM_SIZE = 2
_JIT_ERROR_LOG = 5
_JIT_ERROR_LOG_BYTES = 6
_LOG_BYTES = 4096
_ELF_MAGIC = b"\x7fELF"


class CudaError(Exception):
    """A driver call failed. `code` is its CUresult, `name` the name of that."""

    def __init__(self, call: str, code: int, name: str, detail: str = "") -> None:
        super().__init__(f"{call}: {name}" + (f": {detail}" if detail else ""))
        self.code = code
        self.name = name


@dataclass(frozen=True)
class Device:
    """A device of the driver; `sm` is its compute capability as in 87."""

    ordinal: int
    name: str
    sm: int
    sm_count: int


@dataclass(frozen=True)
class Fault:
    """One distinct fault that the emulator found (fields as in ptx_emulator.h)."""

    kind: str
    message: str
    kernel: str
    block: tuple[int, int, int]
    warp: int
    lane: int
    ptx_line: int
    source: str
    inlined_at: str
    opcode: str
    count: int

    @property
    def line(self) -> int:
        """Source line of the fault, 0 where the PTX has no line information."""
        return int(self.source.rpartition(":")[2] or 0)

    def __str__(self) -> str:
        place = self.source or f"PTX line {self.ptx_line}"
        if self.inlined_at:
            place += f", inlined at {self.inlined_at}"
        return (
            f"{self.kind}: {self.message} [{self.kernel}, block {self.block}, warp {self.warp}, "
            f"lane {self.lane}, {place}, {self.opcode}, {self.count} times]"
        )


def parse_faults(lines: str) -> list[Fault]:
    """Turns the emulator's lines of JSON into faults."""
    faults = []
    for line in lines.splitlines():
        fields = json.loads(line)
        fields["block"] = tuple(fields["block"])
        faults.append(Fault(**fields))
    return faults


class Buffer:
    """Device memory of a context, freed with it. `pointer` is its device address."""

    def __init__(self, context: Context, nbytes: int, name: str = "") -> None:
        self._context = context
        self.nbytes = nbytes
        self.name = name
        pointer = ctypes.c_uint64()
        context.driver.call("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(nbytes))
        self.pointer: int = pointer.value
        if name:
            context.driver.name_allocation(self.pointer, name)

    def write(self, array: np.ndarray) -> None:
        """Copies a host array to the begin of the buffer."""
        data = np.ascontiguousarray(array)
        if data.nbytes > self.nbytes:
            raise ValueError(f"{data.nbytes} bytes do not fit into the {self.nbytes} of the buffer")
        self._context.driver.call(
            "cuMemcpyHtoD_v2",
            ctypes.c_uint64(self.pointer),
            ctypes.c_void_p(data.ctypes.data),
            ctypes.c_size_t(data.nbytes),
        )

    def fill(self, byte: int) -> None:
        """Sets every byte of the buffer."""
        self._context.driver.call(
            "cuMemsetD8_v2",
            ctypes.c_uint64(self.pointer),
            ctypes.c_ubyte(byte),
            ctypes.c_size_t(self.nbytes),
        )

    def numpy(self, dtype: Any, shape: Sequence[int] | int | None = None) -> np.ndarray:
        """Copies the buffer's begin into a new array; without a shape, the whole buffer in 1-D."""
        dtype = np.dtype(dtype)
        if shape is None:
            shape = (self.nbytes // dtype.itemsize,)
        array = np.empty(shape, dtype)
        if array.nbytes > self.nbytes:
            raise ValueError(f"{array.nbytes} bytes wanted, the buffer has {self.nbytes}")
        self._context.driver.call(
            "cuMemcpyDtoH_v2",
            ctypes.c_void_p(array.ctypes.data),
            ctypes.c_uint64(self.pointer),
            ctypes.c_size_t(array.nbytes),
        )
        return array

    def free(self) -> None:
        """Frees the memory now, instead of with the context."""
        self._context.release(self)


class Kernel:
    """A kernel of a loaded library."""

    def __init__(self, context: Context, handle: ctypes.c_void_p, name: str) -> None:
        self._context = context
        self._handle = handle
        self.name = name

    def set_shared_limit(self, nbytes: int) -> None:
        """Allows launches with up to this many bytes of dynamic shared memory."""
        self._context.driver.call(
            "cuKernelSetAttribute",
            ctypes.c_int(_MAX_DYNAMIC_SHARED_BYTES),
            ctypes.c_int(nbytes),
            self._handle,
            ctypes.c_int(self._context.device),
        )

    def launch(
        self, grid: Sequence[int], block: Sequence[int], shared_bytes: int, params: bytes
    ) -> None:
        """Runs the kernel and waits for it.

        Args:
          grid: blocks in x, y, z; missing ones are 1.
          block: threads in x, y, z; missing ones are 1.
          shared_bytes: dynamic shared memory of a block.
          params: the bytes of all parameters as the kernel lays them out.
        """
        buffer = ctypes.create_string_buffer(params, max(len(params), 1))
        size = ctypes.c_size_t(len(params))
        extra = (ctypes.c_void_p * 5)(
            _LAUNCH_PARAM_BUFFER,
            ctypes.addressof(buffer),
            _LAUNCH_PARAM_SIZE,
            ctypes.addressof(size),
            _LAUNCH_PARAM_END,
        )
        shape = [*grid, 1, 1][:3] + [*block, 1, 1][:3]
        self._context.driver.call(
            "cuLaunchKernel",
            self._handle,
            *(ctypes.c_uint(value) for value in shape),
            ctypes.c_uint(shared_bytes),
            None,
            None,
            extra,
        )
        self._context.driver.call("cuCtxSynchronize")


class Library:
    """A loaded image: a cubin on a GPU, PTX on the emulator."""

    def __init__(self, context: Context, image: bytes) -> None:
        self._context = context
        self._image = image + b"\0"
        handle = ctypes.c_void_p()
        # Kept: a driver that loads lazily may write to it as late as at a kernel's first use.
        self._log = log = ctypes.create_string_buffer(_LOG_BYTES)
        options = (ctypes.c_int * 2)(_JIT_ERROR_LOG, _JIT_ERROR_LOG_BYTES)
        values = (ctypes.c_void_p * 2)(ctypes.addressof(log), _LOG_BYTES)
        # A cubin is not compiled: no log, which a driver that loads late would write too late.
        option_count = 0 if image.startswith(_ELF_MAGIC) else len(options)
        try:
            context.driver.call(
                "cuLibraryLoadData",
                ctypes.byref(handle),
                self._image,
                options,
                values,
                ctypes.c_uint(option_count),
                None,
                None,
                ctypes.c_uint(0),
            )
        except CudaError as error:
            text = log.value.decode(errors="replace").strip()
            if not text or text in str(error):
                raise
            raise CudaError("cuLibraryLoadData", error.code, error.name, text) from None
        self._handle = handle

    def kernel(self, symbol: str) -> Kernel:
        """The kernel of this name."""
        handle = ctypes.c_void_p()
        self._context.driver.call(
            "cuLibraryGetKernel", ctypes.byref(handle), self._handle, symbol.encode()
        )
        return Kernel(self._context, handle, symbol)

    def unload(self) -> None:
        """Unloads the image; its kernels are gone."""
        self._context.driver.call("cuLibraryUnload", self._handle)


class Context:
    """The primary context of a device, current on the thread that made it."""

    def __init__(self, driver: CudaDriver, device: int) -> None:
        self.driver = driver
        self.device = device
        self._libraries: list[Library] = []
        self._buffers: list[Buffer] = []

    def load(self, image: bytes | str) -> Library:
        """Loads PTX or a cubin."""
        library = Library(self, image.encode() if isinstance(image, str) else image)
        self._libraries.append(library)
        return library

    def empty(self, nbytes: int, name: str = "") -> Buffer:
        """Device memory of undefined content."""
        buffer = Buffer(self, nbytes, name)
        self._buffers.append(buffer)
        return buffer

    def to_device(self, array: np.ndarray, name: str = "") -> Buffer:
        """Device memory with a copy of the array."""
        buffer = self.empty(max(array.nbytes, 1), name)
        if array.nbytes:
            buffer.write(array)
        return buffer

    def release(self, buffer: Buffer) -> None:
        """Frees one buffer of this context."""
        self._buffers.remove(buffer)
        self.driver.call("cuMemFree_v2", ctypes.c_uint64(buffer.pointer))

    def close(self) -> None:
        """Frees all buffers and unloads all libraries."""
        for buffer in list(self._buffers):
            self.release(buffer)
        for library in self._libraries:
            library.unload()
        self._libraries.clear()


class CudaDriver:
    """The driver API of a shared library, by default the real one."""

    def __init__(self, path: str = "libcuda.so.1") -> None:
        try:
            self.library = ctypes.CDLL(path)
        except OSError as error:
            raise CudaError("dlopen", -1, "CUDA_ERROR_NO_DRIVER", str(error)) from None
        self.path = path
        self.call("cuInit", ctypes.c_uint(0))

    def call(self, name: str, *arguments: Any) -> None:
        """Calls an entry point and raises CudaError where it fails."""
        code = getattr(self.library, name)(*arguments)
        if code != 0:
            raise CudaError(name, code, self._error_name(code), self._error_detail())

    def devices(self) -> list[Device]:
        """All devices, in the order of their ordinals."""
        count = ctypes.c_int()
        self.call("cuDeviceGetCount", ctypes.byref(count))
        return [self._device(ordinal) for ordinal in range(count.value)]

    def device_of_sm(self, sm: int) -> Device:
        """The first device of this compute capability."""
        devices = self.devices()
        for device in devices:
            if device.sm == sm:
                return device
        allowed = ", ".join(str(device.sm) for device in devices)
        raise ValueError(f"no device of SM {sm}; there are {allowed}")

    @contextmanager
    def context(self, ordinal: int = 0) -> Iterator[Context]:
        """Makes the primary context of a device current; at the end its memory is freed."""
        handle = ctypes.c_void_p()
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(handle), ctypes.c_int(ordinal))
        self.call("cuCtxPushCurrent_v2", handle)
        context = Context(self, ordinal)
        try:
            yield context
        finally:
            context.close()
            self.call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))
            self.call("cuDevicePrimaryCtxRelease_v2", ctypes.c_int(ordinal))

    def name_allocation(self, pointer: int, name: str) -> None:
        """Names an allocation in fault reports; nothing on a real driver."""

    def _device(self, ordinal: int) -> Device:
        name = ctypes.create_string_buffer(256)
        self.call("cuDeviceGetName", name, ctypes.c_int(256), ctypes.c_int(ordinal))

        def attribute(number: int) -> int:
            value = ctypes.c_int()
            self.call(
                "cuDeviceGetAttribute",
                ctypes.byref(value),
                ctypes.c_int(number),
                ctypes.c_int(ordinal),
            )
            return value.value

        sm = 10 * attribute(_COMPUTE_CAPABILITY_MAJOR) + attribute(_COMPUTE_CAPABILITY_MINOR)
        return Device(ordinal, name.value.decode(), sm, attribute(_MULTIPROCESSOR_COUNT))

    def _error_name(self, code: int) -> str:
        name = ctypes.c_char_p()
        known = self.library.cuGetErrorName(ctypes.c_int(code), ctypes.byref(name)) == 0
        return name.value.decode() if known and name.value else f"CUresult {code}"

    def _error_detail(self) -> str:
        return ""


class PtxEmulator(CudaDriver):
    """The PTX emulator: a CudaDriver with checks, and one device per SM of the table.

    Settings hold for the whole process.
    """

    def __init__(self, path: str | None = None) -> None:
        super().__init__(path or _default_emulator())
        for name in ("take_faults", "take_stats", "last_error"):
            getattr(self.library, f"ptx_emulator_{name}").restype = ctypes.c_char_p
        self.library.ptx_emulator_fault_count.restype = ctypes.c_int64

    def set_checks(self, checks: str) -> None:
        """Sets what launches check: "all", "none" or a comma-separated list (ptx_emulator.h)."""
        if self.library.ptx_emulator_set_checks(checks.encode()) != 0:
            raise ValueError(self._error_detail())

    def set_threads(self, threads: int) -> None:
        """Sets the number of host threads; 0 means one per core."""
        if self.library.ptx_emulator_set_threads(ctypes.c_int(threads)) != 0:
            raise ValueError(self._error_detail())

    def set_seed(self, seed: int) -> None:
        """Sets the seed of the warp schedule; 0 means in order."""
        self.library.ptx_emulator_set_seed(ctypes.c_uint(seed))

    def set_instruction_limit(self, limit: int) -> None:
        """Stops blocks after this many warp instructions; 0 means the default."""
        self.library.ptx_emulator_set_instruction_limit(ctypes.c_uint64(limit))

    def take_faults(self) -> list[Fault]:
        """The distinct faults since the last take, which are then forgotten."""
        return parse_faults(self.library.ptx_emulator_take_faults().decode())

    def take_stats(self) -> dict[str, Any]:
        """The counters since the last take (ptx_emulator.h)."""
        return json.loads(self.library.ptx_emulator_take_stats())

    def name_allocation(self, pointer: int, name: str) -> None:
        """Names an allocation in fault reports."""
        code = self.library.ptx_emulator_name_allocation(ctypes.c_uint64(pointer), name.encode())
        if code != 0:
            raise ValueError(self._error_detail())

    def _error_detail(self) -> str:
        get = self.library.ptx_emulator_last_error
        get.restype = ctypes.c_char_p
        text = get().decode(errors="replace")
        if not text.startswith('{"kind"'):
            return text
        return "\n".join(str(fault) for fault in parse_faults(text))


def _default_emulator() -> str:
    """The library beside this file, where Bazel puts it."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "libptx_emulator_cuda.so")
    if os.path.exists(path):
        return path
    raise FileNotFoundError(
        "libptx_emulator_cuda.so is not beside cuda_driver.py: depend on "
        "//tools/ptx_emulator:cuda_driver, or pass its path"
    )
