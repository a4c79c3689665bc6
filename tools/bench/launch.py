"""Launches any variant from its image, past the plans of the library: what tuning compares."""

from __future__ import annotations

import ctypes
import json
import math
import pathlib
import struct
from collections.abc import Sequence
from typing import Any

from tools.bench import residency
from tools.bench.cases import AttentionCase, Int4Case
from tools.ptx_emulator.cuda_driver import CudaDriver

_MAX_DYNAMIC_SHARED_BYTES = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
_PROGRAMMATIC_STREAM_SERIALIZATION = 6  # a CUlaunchAttributeID

# kCombinedSplits of attention_params.h.
_COMBINED_SPLITS = 4

# In the order of AttentionMode.
_MODES = ("prefill", "chunk", "decode", "tree")


class _LaunchAttribute(ctypes.Structure):
    """CUlaunchAttribute; its value is a union of 64 bytes."""

    _fields_ = [("id", ctypes.c_int), ("value", ctypes.c_uint64 * 8)]


class _LaunchConfig(ctypes.Structure):
    """CUlaunchConfig."""

    _fields_ = [
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared_bytes", ctypes.c_uint),
        ("stream", ctypes.c_void_p),
        ("attributes", ctypes.POINTER(_LaunchAttribute)),
        ("attribute_count", ctypes.c_uint),
    ]


class Images:
    """The folder of a build's images, and its manifest."""

    def __init__(self, folder: pathlib.Path, sm: int, suffix: str = "cubin") -> None:
        """Takes <variant>_sm<NN>.<suffix> and manifest.json of the folder.

        Raises:
          ValueError: the folder has no image for this SM.
        """
        self.sm = sm
        self._folder, self._suffix = folder, suffix
        manifest = json.loads((folder / "manifest.json").read_text())
        self.variants: dict[str, dict[str, Any]] = {
            variant["name"]: variant
            for variant in manifest["variants"]
            if self._path(variant["name"]).exists()
        }
        if not self.variants:
            raise ValueError(f"--images is {folder}: it has no *_sm{sm}.{suffix}")
        self.sm_facts: dict[str, Any] = manifest["sms"][str(sm)]

    def read(self, name: str) -> bytes:
        return self._path(name).read_bytes()

    def symbol(self, name: str) -> str:
        return f"{name}_sm{self.sm}"

    def of(self, op: str, kind: str) -> list[dict[str, Any]]:
        """The variants of a kind that this SM has images for."""
        found = self.variants.values()
        return [variant for variant in found if (variant["op"], variant["kind"]) == (op, kind)]

    def only(self, op: str, kind: str) -> dict[str, Any]:
        """The variant of a kind that has one."""
        (variant,) = self.of(op, kind)
        return variant

    def _path(self, name: str) -> pathlib.Path:
        return self._folder / f"{self.symbol(name)}.{self._suffix}"


class Launcher:
    """Launches variants on a stream of the current CUDA context, as the library's launchers do."""

    def __init__(self, driver: CudaDriver, images: Images, sm_count: int, ordinal: int = 0) -> None:
        self.images = images
        self.sm_count = sm_count
        self._driver = driver
        self._ordinal = ordinal
        self._kernels: dict[str, tuple[ctypes.c_void_p, bytes]] = {}
        serialization = _LaunchAttribute(_PROGRAMMATIC_STREAM_SERIALIZATION)
        serialization.value[0] = 1
        self._overlap = ctypes.pointer(serialization)

    def launch(
        self,
        variant: dict[str, Any],
        grid: Sequence[int],
        params: bytes,
        stream: int,
        shared_bytes: int | None = None,
    ) -> None:
        """Launches one kernel, before the one in front of it has ended where the SM can.

        Args:
          variant: its row of the manifest.
          grid: CTAs in x, y, z; missing ones are 1.
          params: its params struct.
          stream: a CUstream.
          shared_bytes: dynamic shared memory of a CTA; by default the variant's.
        """
        kernel, _ = self._kernels.get(variant["name"]) or self._load(variant["name"])
        shared_bytes = variant["shared_bytes"] if shared_bytes is None else shared_bytes
        self._driver.call(
            "cuKernelSetAttribute",
            ctypes.c_int(_MAX_DYNAMIC_SHARED_BYTES),
            ctypes.c_int(shared_bytes),
            kernel,
            ctypes.c_int(self._ordinal),
        )
        buffer = ctypes.create_string_buffer(params, len(params))
        arguments = (ctypes.c_void_p * 1)(ctypes.addressof(buffer))
        config = _LaunchConfig(
            (*grid, 1, 1)[:3],
            (variant["threads"], 1, 1),
            shared_bytes,
            stream,
            self._overlap,
            int(self.images.sm_facts["dependent_launch"]),
        )
        self._driver.call("cuLaunchKernelEx", ctypes.byref(config), kernel, arguments, None)

    def _load(self, name: str) -> tuple[ctypes.c_void_p, bytes]:
        image = self.images.read(name) + b"\0"
        library, kernel = ctypes.c_void_p(), ctypes.c_void_p()
        no_options = (None, None, ctypes.c_uint(0)) * 2
        self._driver.call("cuLibraryLoadData", ctypes.byref(library), image, *no_options)
        symbol = self.images.symbol(name).encode()
        self._driver.call("cuLibraryGetKernel", ctypes.byref(kernel), library, symbol)
        self._kernels[name] = kernel, image  # the driver may read the image later
        return self._kernels[name]


def int4_gemm(
    launcher: Launcher,
    variant: dict[str, Any],
    case: Int4Case,
    splits: int,
    pointers: Sequence[int],
    stream: int,
) -> None:
    """Launches one variant of the INT4 GEMM, and the combine kernel behind several splits.

    Args:
      launcher: of the device.
      variant: its row of the manifest; a gemv or gemm.
      case: the shape.
      splits: CTAs that share k.
      pointers: x, weights, scales, y, partials f32 [splits, m, n], as in Int4GemmParams.
      stream: a CUstream.
    """
    tile, facts = variant["tile"], launcher.images.sm_facts
    ctas = _ceil_div(case.m, tile["tile_m"]) * _ceil_div(case.n, tile["tile_n"])
    shared = variant["shared_bytes"]
    if variant["kind"] == "gemv":  # its CTAs stay, and share the tiles
        resident = residency.ctas_per_sm(variant, facts) * launcher.sm_count
        places = max(1, resident // splits)
        if resident == launcher.sm_count and launcher.images.sm_facts["dependent_launch"]:
            ctas = _ceil_div(ctas, _ceil_div(ctas, places))
        else:
            ctas = min(ctas, places)
    else:
        shared = residency.spread_shared_bytes(variant, facts, ctas * splits, launcher.sm_count)
    params = struct.pack("<5Q4i", *pointers, case.m, case.n, case.k, splits)  # Int4GemmParams
    launcher.launch(variant, (ctas, splits), params, stream, shared)
    if splits > 1:
        combine = launcher.images.only("int4_gemm", "combine")
        ctas = _ceil_div(case.m * case.n, 4 * combine["threads"])
        launcher.launch(combine, (ctas,), params, stream)


def attention(
    launcher: Launcher,
    variant: dict[str, Any],
    case: AttentionCase,
    splits: int,
    pointers: Sequence[int],
    stream: int,
) -> None:
    """Launches one attention variant, with the append or combine kernel that it needs.

    The cache and the RoPE table have kv_len slots and positions; the mask has no spare words.

    Args:
      launcher: of the device.
      variant: its row of the manifest; a decode or a prefill.
      case: the shape.
      splits: CTAs that share the KV range.
      pointers: the nine of AttentionParams, 0 for null; partials are f32
        [splits * batch * q_len * q_heads * (head_size + 2)].
      stream: a CUstream.
    """
    model, batch = case.model, case.batch
    sizes = (batch, case.q_len, model.q_heads, model.kv_heads, model.head_size, case.kv_len)
    rope = (1, case.kv_len, model.head_size)
    mask_words = _ceil_div(case.q_len, 32) if case.mode == "tree" else 0
    last = (mask_words, _MODES.index(case.mode), splits)
    params = struct.pack("<9Q12i", *pointers, *sizes, *rope, *last)  # AttentionParams
    tile_q = variant["tile"]["tile_q"]
    images = launcher.images
    if variant["kind"] == "prefill":
        append = images.only("attention", "append")
        pairs = case.q_len * 2 * model.kv_heads * model.head_size // 16  # of chunks
        launcher.launch(append, (_ceil_div(pairs, append["threads"]), batch), params, stream)
        grid = (model.q_heads * splits, _ceil_div(case.q_len, tile_q), batch)
    else:
        rows = case.q_len * (model.q_heads // model.kv_heads)
        grid = (_ceil_div(rows, tile_q) * model.kv_heads, splits, batch)
    shared = residency.least_spread_shared_bytes(
        variant, images.sm_facts, math.prod(grid), launcher.sm_count
    )
    launcher.launch(variant, grid, params, stream, shared)
    if splits > 1:
        combine = images.only("attention", "combine")
        places = combine["threads"] // (model.head_size // 4)
        lanes = min(places, _ceil_div(splits, _COMBINED_SPLITS))  # as combine_lanes()
        heads = batch * case.q_len * model.q_heads
        launcher.launch(combine, (_ceil_div(heads, places // lanes),), params, stream)


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)
