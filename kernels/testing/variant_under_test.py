"""The variant that a test target names, and the emulated devices that run its images."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from tools.ptx_emulator.cuda_driver import PtxEmulator

_IMAGES = pathlib.Path("kernels/ptx_images")


@functools.cache
def emulator() -> PtxEmulator:
    """The driver of this process, with every check on."""
    driver = PtxEmulator()
    driver.set_checks("all")
    return driver


@functools.cache
def _manifest_row() -> dict[str, Any]:
    return json.loads(pathlib.Path(f"kernels/{os.environ['KERNEL_VARIANT']}.json").read_text())


def variant_under_test() -> dict[str, Any]:
    """The facts of the variant that the test target names."""
    return _manifest_row()["variant"]


def sms_under_test() -> list[str]:
    """The SMs that the variant has an image for: all that it fits, or those of --sms=."""
    name = variant_under_test()["name"]
    built = [sm for sm in _manifest_row()["sms"] if _image(name, sm).exists()]
    assert built, f"no image of {name} under {_IMAGES}"
    return built


def rerun_command(folder: str, test_id: str) -> str:
    name = variant_under_test()["name"]
    return f"./bazelw test //kernels/{folder}:{name}_test --test_filter='{test_id}'"


def _image(variant: str, sm: str) -> pathlib.Path:
    return _IMAGES / f"{variant}_sm{sm}.ptx"


class LoadedVariant:
    """The variant under test on the emulated device of one SM."""

    def __init__(self, context: Any, sm: str) -> None:
        self.row = variant_under_test()
        self._context = context
        image = _image(self.row["name"], sm)
        self._kernel = context.load(image.read_bytes()).kernel(image.stem)
        self._kernel.set_shared_limit(self.row["shared_bytes"])

    def launch(self, grid: tuple[int, int, int], params: bytes) -> None:
        self._kernel.launch(grid, (self.row["threads"], 1, 1), self.row["shared_bytes"], params)

    def to_device(self, stack: contextlib.ExitStack, array: np.ndarray, name: str) -> Any:
        """A buffer of exactly the array's bytes, freed with the stack."""
        buffer = self._context.to_device(array, name=name)
        stack.callback(buffer.free)
        return buffer

    def empty(self, stack: contextlib.ExitStack, size: int, name: str) -> Any:
        """A buffer full of NaN, which shows where nothing is written."""
        buffer = self._context.empty(size, name=name)
        stack.callback(buffer.free)
        buffer.fill(0xFF)
        return buffer


@contextlib.contextmanager
def loaded_on(sm: str) -> Iterator[LoadedVariant]:
    """The variant under test on the emulated device of an SM."""
    with emulator().context(emulator().device_of_sm(int(sm)).ordinal) as context:
        yield LoadedVariant(context, sm)
