"""The cubins that a library embeds are NVRTC's: NVIDIA's own cuobjdump takes them out again."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
from collections.abc import Mapping

import pytest

RUNFILES = pathlib.Path(os.environ["TEST_SRCDIR"])
CUBINS = {path.name: path for path in pathlib.Path("kernels/cubin_images").glob("*.cubin")}


@pytest.fixture(scope="module")
def extracted(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, bytes]:
    """The cubins by the names of NVRTC's: cuobjdump puts the architecture between."""
    folder = tmp_path_factory.mktemp("cubins")
    command = [RUNFILES / os.environ["CUOBJDUMP"], "--extract-elf=all"]
    subprocess.run([*command, RUNFILES / os.environ["LIBRARY"]], cwd=folder, check=True)
    return {re.sub(r"\.sm_\w+\.", ".", path.name): path.read_bytes() for path in folder.iterdir()}


def test_every_cubin_is_in_the_library(extracted: Mapping[str, bytes]) -> None:
    assert CUBINS
    assert extracted.keys() == CUBINS.keys()


@pytest.mark.parametrize("name", sorted(CUBINS))
def test_cubin_is_unchanged(extracted: Mapping[str, bytes], name: str) -> None:
    assert extracted[name] == CUBINS[name].read_bytes()
