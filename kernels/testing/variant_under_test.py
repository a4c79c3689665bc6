"""The kernel variant that a test file is named after, on the emulated devices or on the GPU."""

from __future__ import annotations

import contextlib
import functools
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from tools.ptx_emulator.cuda_driver import CudaDriver, PtxEmulator
from tools.testing.device_under_test import cuda_driver_path, device_kind

_KERNELS = pathlib.Path("kernels")


@functools.cache
def emulator() -> PtxEmulator:
    """The emulator of this process, with every check on."""
    driver = PtxEmulator()
    driver.set_checks("all")
    return driver


@functools.cache
def _driver() -> CudaDriver:
    return emulator() if device_kind() == "emulator" else CudaDriver(cuda_driver_path())


class Variant:
    """A row of the manifest, and its images for the devices that are tested on."""

    def __init__(self, name: str) -> None:
        facts = json.loads((_KERNELS / f"{name}.json").read_text())
        self.name = name
        self.row: dict[str, Any] = facts["variant"]
        self._sms: list[str] = facts["sms"]

    @property
    def sms(self) -> list[str]:
        """Of emulated SMs those that the variant was built for, else the first GPU's."""
        if device_kind() == "cuda":
            return [str(_driver().devices()[0].sm)]
        built = [sm for sm in self._sms if self.image(sm).exists()]
        assert built, f"no image such as {self.image(self._sms[0])}"
        return built

    def image(self, sm: str) -> pathlib.Path:
        """The cubin or the PTX for an SM, which some other platform may alone compile."""
        suffix = "cubin" if device_kind() == "cuda" else "ptx"
        file = f"{self.name}_sm{sm}.{suffix}"
        elsewhere = _KERNELS.glob(f"*/{self.name}_*_ptx/{file}")
        return next(elsewhere, _KERNELS / f"{suffix}_images" / file)

    @contextlib.contextmanager
    def loaded_on(self, sm: str) -> Iterator[LoadedVariant]:
        """The image for an SM, on the device of that SM."""
        with _driver().context(_driver().device_of_sm(int(sm)).ordinal) as context:
            yield LoadedVariant(context, self, sm)


def variant_of(test_file: str) -> Variant:
    """The variant of <variant>_test.py."""
    return Variant(pathlib.Path(test_file).stem.removesuffix("_test"))


class LoadedVariant:
    """An image of a variant on a device."""

    def __init__(self, context: Any, variant: Variant, sm: str) -> None:
        self.row = variant.row
        self._context = context
        image = variant.image(sm)
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
