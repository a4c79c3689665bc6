"""Variants that are launched past the library's plans, on the emulator."""

from __future__ import annotations

import os
import pathlib
import shutil

import numpy as np
import pytest

from edge_llm_plugins import quantization, reference
from tools.bench import launch
from tools.ptx_emulator.cuda_driver import PtxEmulator

MANIFEST = pathlib.Path(os.environ["MANIFEST"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    """Images and manifest side by side, as the tuner wants them."""
    found = tmp_path_factory.mktemp("images")
    for path in (MANIFEST, *(MANIFEST.parent / "ptx_images").glob("int4_*.ptx")):
        shutil.copy(path, found)
    return found


@pytest.fixture(scope="module")
def sm(folder) -> int:
    """An SM that this build has images for."""
    return int(next(folder.glob("*.ptx")).stem.rpartition("_sm")[2])


@pytest.mark.parametrize("splits", [1, 3])
def test_variant_computes_with_a_given_number_of_splits(folder, sm, splits):
    images = launch.Images(folder, sm, "ptx")
    (variant,) = [
        found for found in images.of("int4_gemm", "gemv") if found["tile"]["tile_n"] == 16
    ]
    (combine,) = images.of("int4_gemm", "combine")
    rng = np.random.default_rng(splits)
    m, n, k = 3, 32, 8 * 128 * splits
    x = rng.standard_normal((m, k)).astype(np.float16)
    packed = quantization.pack(rng.integers(-8, 8, (n, k)))
    scales = rng.uniform(0.01, 0.1, (k // 128, n)).astype(np.float16)
    emulator = PtxEmulator()
    device = emulator.device_of_sm(sm)
    with emulator.context(device.ordinal) as context:
        inputs = [context.to_device(array).pointer for array in (x, packed, scales)]
        y = context.empty(2 * m * n)
        partials = context.empty(4 * splits * m * n)
        launcher = launch.Launcher(emulator, images, device.ordinal)
        pointers = [*inputs, y.pointer, partials.pointer]
        launch.int4_gemm(launcher, variant, combine, (m, n, k), splits, pointers, stream=0)
        emulator.call("cuCtxSynchronize")
        actual = y.numpy(np.float16, (1, m, n))
    assert emulator.take_faults() == []
    reference.assert_close(actual, reference.int4_groupwise_gemm(x[None], packed, scales))


def test_folder_without_images_of_the_gpu_is_refused(folder):
    with pytest.raises(ValueError, match=r"--images is .*: it has no \*_sm7\.ptx"):
        launch.Images(folder, 7, "ptx")
