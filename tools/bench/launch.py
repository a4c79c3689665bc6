"""Launches any variant from its image, past the plans of the library: what tuning compares."""

from __future__ import annotations

import ctypes
import json
import pathlib
import struct
from collections.abc import Sequence
from typing import Any

from tools.ptx_emulator.cuda_driver import CudaDriver

_MAX_DYNAMIC_SHARED_BYTES = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES


class Images:
    """The folder of a build's images, and its manifest."""

    def __init__(self, folder: pathlib.Path, sm: int, suffix: str = "cubin") -> None:
        """Takes <variant>_sm<NN>.<suffix> and manifest.json of the folder.

        Raises:
          ValueError: the folder has no image for this SM.
        """
        self._folder, self._sm, self._suffix = folder, sm, suffix
        manifest = json.loads((folder / "manifest.json").read_text())
        self.variants: dict[str, dict[str, Any]] = {
            variant["name"]: variant
            for variant in manifest["variants"]
            if self._path(variant["name"]).exists()
        }
        if not self.variants:
            raise ValueError(f"--images is {folder}: it has no *_sm{sm}.{suffix}")

    def read(self, name: str) -> bytes:
        return self._path(name).read_bytes()

    def symbol(self, name: str) -> str:
        return f"{name}_sm{self._sm}"

    def of(self, op: str, kind: str) -> list[dict[str, Any]]:
        """The variants of a kind that this SM has images for."""
        found = self.variants.values()
        return [variant for variant in found if (variant["op"], variant["kind"]) == (op, kind)]

    def _path(self, name: str) -> pathlib.Path:
        return self._folder / f"{self.symbol(name)}.{self._suffix}"


class Launcher:
    """Launches variants on a stream of the current CUDA context, as the library's launchers do."""

    def __init__(self, driver: CudaDriver, images: Images, ordinal: int = 0) -> None:
        self._driver = driver
        self._images = images
        self._ordinal = ordinal
        self._kernels: dict[str, tuple[ctypes.c_void_p, bytes]] = {}

    def launch(self, name: str, grid: Sequence[int], params: bytes, stream: int) -> None:
        """Launches one kernel; `params` is its params struct, `stream` a CUstream."""
        variant = self._images.variants[name]
        kernel, _ = self._kernels.get(name) or self._load(name)
        buffer = ctypes.create_string_buffer(params, len(params))
        arguments = (ctypes.c_void_p * 1)(ctypes.addressof(buffer))
        shape = (*grid, *[1] * (3 - len(grid)), variant["threads"], 1, 1)
        self._driver.call(
            "cuLaunchKernel",
            kernel,
            *(ctypes.c_uint(extent) for extent in shape),
            ctypes.c_uint(variant["shared_bytes"]),
            ctypes.c_void_p(stream),
            arguments,
            None,
        )

    def _load(self, name: str) -> tuple[ctypes.c_void_p, bytes]:
        image = self._images.read(name) + b"\0"
        library, kernel = ctypes.c_void_p(), ctypes.c_void_p()
        no_options = (None, None, ctypes.c_uint(0)) * 2
        self._driver.call("cuLibraryLoadData", ctypes.byref(library), image, *no_options)
        symbol = self._images.symbol(name).encode()
        self._driver.call("cuLibraryGetKernel", ctypes.byref(kernel), library, symbol)
        self._driver.call(
            "cuKernelSetAttribute",
            ctypes.c_int(_MAX_DYNAMIC_SHARED_BYTES),
            ctypes.c_int(self._images.variants[name]["shared_bytes"]),
            kernel,
            ctypes.c_int(self._ordinal),
        )
        self._kernels[name] = kernel, image  # the driver may read the image later
        return self._kernels[name]


def int4_gemm(
    launcher: Launcher,
    variant: dict[str, Any],
    combine: dict[str, Any],
    shape: tuple[int, int, int],
    splits: int,
    pointers: Sequence[int],
    stream: int,
) -> None:
    """Launches one variant of the INT4 GEMM, and the combine kernel behind several splits.

    Args:
      launcher: of the device.
      variant, combine: their rows of the manifest.
      shape: m, n, k.
      splits: CTAs that share k.
      pointers: x, weights, scales, y, partials f32 [splits, m, n], as in Int4GemmParams.
      stream: a CUstream.
    """
    m, n, k = shape
    tile = variant["tile"]
    tiles = -(-m // tile["tile_m"]) * -(-n // tile["tile_n"])
    params = struct.pack("<5Q4i", *pointers, m, n, k, splits)  # Int4GemmParams
    launcher.launch(variant["name"], (tiles, splits), params, stream)
    if splits > 1:
        ctas = -(-m * n // (4 * combine["threads"]))
        launcher.launch(combine["name"], (ctas,), params, stream)
