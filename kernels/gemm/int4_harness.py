"""Runs images of the INT4 kernels on emulated devices, for their tests."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import pathlib
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from tools.ptx_emulator.cuda_driver import PtxEmulator

_MANIFEST = pathlib.Path("kernels/manifest.json")
_IMAGES = pathlib.Path("kernels/ptx_images")


@functools.cache
def emulator() -> PtxEmulator:
    """The driver of this process, with every check on."""
    driver = PtxEmulator()
    driver.set_checks("all")
    return driver


@functools.cache
def manifest() -> dict[str, Any]:
    return json.loads(_MANIFEST.read_text())


def variant_under_test() -> dict[str, Any]:
    """The manifest's row of the variant that the test target names."""
    name = os.environ["KERNEL_VARIANT"]
    (variant,) = [row for row in manifest()["variants"] if row["name"] == name]
    return variant


def sms_under_test() -> list[str]:
    """The SMs that the variant has an image for: all of the manifest, or those of --sms=."""
    name = variant_under_test()["name"]
    sms = [row["sm"] for row in manifest()["images"] if row["variant"] == name]
    built = [sm for sm in sms if _image(name, sm).exists()]
    assert built, f"no image of {name} under {_IMAGES}"
    return built


def _image(variant: str, sm: str) -> pathlib.Path:
    return _IMAGES / f"{variant}_sm{sm}.ptx"


def rerun_command(test_id: str) -> str:
    name = variant_under_test()["name"]
    return f"./bazelw test //kernels/gemm:{name}_test --test_filter='{test_id}'"


class Int4Kernel:
    """The image of one variant for one SM, loaded on the emulated device of that SM."""

    def __init__(self, context: Any, variant: dict[str, Any], sm: str) -> None:
        self._context = context
        self._variant = variant
        image = _image(variant["name"], sm)
        self._kernel = context.load(image.read_bytes()).kernel(image.stem)
        self._kernel.set_shared_limit(variant["shared_bytes"])

    def multiply(
        self, x: np.ndarray, packed: np.ndarray, scales: np.ndarray, splits: int = 1
    ) -> np.ndarray:
        """Launches the kernel on buffers of exactly the sizes that it is promised.

        Args:
            x: f16 [m, k].
            packed: int8 [n / 2, k].
            scales: f16 [ceil(k / 128), n].
            splits: CTAs that share k.

        Returns:
            y, f16 [m, n]; with splits > 1 the partial sums, f32 [splits, m, n].
        """
        (m, k), n = x.shape, scales.shape[1]
        tile = self._variant["tile"]
        tiles = -(-m // tile["tile_m"]) * -(-n // tile["tile_n"])
        with contextlib.ExitStack() as stack:
            device = functools.partial(self._to_device, stack)
            inputs = [device(x, "x"), device(packed, "weights"), device(scales, "scales")]
            if splits == 1:
                output = self._empty(stack, m * n * 2, "y")
                pointers = [*inputs, output.pointer, 0]
            else:
                output = self._empty(stack, splits * m * n * 4, "partials")
                pointers = [*inputs, 0, output.pointer]
            self._launch((tiles, splits, 1), pointers, (m, n, k, splits))
            if splits == 1:
                return output.numpy(np.float16, (m, n))
            return output.numpy(np.float32, (splits, m, n))

    def combine(self, partials: np.ndarray) -> np.ndarray:
        """Launches the combine kernel: partials f32 [splits, m, n] to y f16 [m, n]."""
        splits, m, n = partials.shape
        with contextlib.ExitStack() as stack:
            pointer = self._to_device(stack, partials, "partials")
            output = self._empty(stack, m * n * 2, "y")
            ctas = -(-m * n // (4 * self._variant["threads"]))
            self._launch((ctas, 1, 1), [0, 0, 0, output.pointer, pointer], (m, n, 64, splits))
            return output.numpy(np.float16, (m, n))

    def _launch(
        self, grid: tuple[int, int, int], pointers: list[int], sizes: tuple[int, ...]
    ) -> None:
        block = (self._variant["threads"], 1, 1)
        params = struct.pack("<5Q4i", *pointers, *sizes)  # Int4GemmParams
        self._kernel.launch(grid, block, self._variant["shared_bytes"], params)

    def _to_device(self, stack: contextlib.ExitStack, array: np.ndarray, name: str) -> int:
        buffer = self._context.to_device(array, name=name)
        stack.callback(buffer.free)
        return buffer.pointer

    def _empty(self, stack: contextlib.ExitStack, size: int, name: str) -> Any:
        buffer = self._context.empty(size, name=name)
        stack.callback(buffer.free)
        buffer.fill(0xFF)  # NaN, which shows where nothing is written
        return buffer


@contextlib.contextmanager
def kernel_on(sm: str) -> Iterator[Int4Kernel]:
    """The variant under test on the emulated device of an SM."""
    with emulator().context(emulator().device_of_sm(int(sm)).ordinal) as context:
        yield Int4Kernel(context, variant_under_test(), sm)
