"""Runs images of the INT4 kernels, for their tests."""

from __future__ import annotations

import contextlib
import functools
import struct
from collections.abc import Iterator

import numpy as np

from kernels.testing.variant_under_test import LoadedVariant, Variant


class Int4Kernel:
    """The image of one variant for one SM, loaded on the device of that SM."""

    def __init__(self, variant: LoadedVariant) -> None:
        self._variant = variant

    def multiply(
        self,
        x: np.ndarray,
        packed: np.ndarray,
        scales: np.ndarray,
        splits: int = 1,
        ctas: int | None = None,
    ) -> np.ndarray:
        """Launches the kernel on buffers of exactly the sizes that it is promised.

        Args:
            x: f16 [m, k].
            packed: int8 [n / 2, k].
            scales: f16 [ceil(k / 128), n].
            splits: CTAs that share k.
            ctas: CTAs that share the tiles of a GEMV; one for each by default.

        Returns:
            y, f16 [m, n]; with splits > 1 the partial sums, f32 [splits, m, n].
        """
        (m, k), n = x.shape, scales.shape[1]
        tile = self._variant.row["tile"]
        tiles = -(-m // tile["tile_m"]) * -(-n // tile["tile_n"])
        with contextlib.ExitStack() as stack:
            device = functools.partial(self._variant.to_device, stack)
            buffers = [device(x, "x"), device(packed, "weights"), device(scales, "scales")]
            inputs = [buffer.pointer for buffer in buffers]
            if splits == 1:
                output = self._variant.empty(stack, m * n * 2, "y")
                pointers = [*inputs, output.pointer, 0]
            else:
                output = self._variant.empty(stack, splits * m * n * 4, "partials")
                pointers = [*inputs, 0, output.pointer]
            self._launch((ctas or tiles, splits, 1), pointers, (m, n, k, splits))
            if splits == 1:
                return output.numpy(np.float16, (m, n))
            return output.numpy(np.float32, (splits, m, n))

    def combine(self, partials: np.ndarray) -> np.ndarray:
        """Launches the combine kernel: partials f32 [splits, m, n] to y f16 [m, n]."""
        splits, m, n = partials.shape
        with contextlib.ExitStack() as stack:
            pointer = self._variant.to_device(stack, partials, "partials").pointer
            output = self._variant.empty(stack, m * n * 2, "y")
            ctas = -(-m * n // (4 * self._variant.row["threads"]))
            self._launch((ctas, 1, 1), [0, 0, 0, output.pointer, pointer], (m, n, 64, splits))
            return output.numpy(np.float16, (m, n))

    def _launch(
        self, grid: tuple[int, int, int], pointers: list[int], sizes: tuple[int, ...]
    ) -> None:
        self._variant.launch(grid, struct.pack("<5Q4i", *pointers, *sizes))  # Int4GemmParams


@contextlib.contextmanager
def kernel_on(variant: Variant, sm: str) -> Iterator[Int4Kernel]:
    """A variant on the device of an SM."""
    with variant.loaded_on(sm) as loaded:
        yield Int4Kernel(loaded)
