"""What a library embeds is what NVRTC made: NVIDIA's own cuobjdump takes it out again."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
from collections.abc import Mapping

import pytest

RUNFILES = pathlib.Path(os.environ["TEST_SRCDIR"])
IMAGES = {
    path.name: path
    for folder in [pathlib.Path("kernels/cubin_images")]
    for path in folder.iterdir()
}


@pytest.fixture(scope="module")
def extracted(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, bytes]:
    """The images by the names of NVRTC's: cuobjdump puts the architecture between."""
    folder = tmp_path_factory.mktemp("images")
    command = [RUNFILES / os.environ["CUOBJDUMP"], "--extract-elf=all", "--extract-ptx=all"]
    subprocess.run([*command, RUNFILES / os.environ["LIBRARY"]], cwd=folder, check=True)
    return {re.sub(r"\.sm_\w+\.", ".", path.name): path.read_bytes() for path in folder.iterdir()}


def without_comments(ptx: bytes) -> list[str]:
    """The words of PTX: packing leaves out what the driver does not read."""
    return re.sub(r"//[^\n]*", "", ptx.decode()).split()


def test_every_image_is_in_the_library(extracted: Mapping[str, bytes]) -> None:
    assert extracted.keys() == IMAGES.keys()
    assert any(name.endswith(".ptx") for name in IMAGES)


@pytest.mark.parametrize("name", sorted(IMAGES))
def test_image_is_unchanged(extracted: Mapping[str, bytes], name: str) -> None:
    made = IMAGES[name].read_bytes()
    if name.endswith(".cubin"):
        assert extracted[name] == made
    else:
        assert without_comments(extracted[name]) == without_comments(made)
