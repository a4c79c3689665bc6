"""aarch64 programs of the platform run, under qemu with a newer C library than the platform's.

How new their symbols may be is for release_test.py to say: this shows that the code works.
"""

from __future__ import annotations

import os
import pathlib
import re
import subprocess

import pytest

RUNFILES = pathlib.Path(os.environ["TEST_SRCDIR"])


@pytest.mark.parametrize("program", os.environ["PROGRAMS"].split(), ids=os.path.basename)
def test_program_passes_under_qemu(program: str, unpacked: pathlib.Path) -> None:
    loader = RUNFILES / os.environ["LOADER"]
    command = [RUNFILES / os.environ["QEMU"], loader, "--library-path", loader.parent]
    result = subprocess.run(
        [*command, RUNFILES / program],
        env={
            "EDGE_LLM_LIBRARY": str(unpacked / "lib/libedge_llm_plugins.so"),
            "EDGE_LLM_SM": os.environ["EDGE_LLM_SM"],
        },
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    (passed,) = re.findall(r"^(\d+) passed, 0 failed$", result.stdout, re.MULTILINE)
    assert int(passed) > 0


def test_program_of_the_host_is_refused() -> None:
    """So what passes above was emulated."""
    result = subprocess.run([RUNFILES / os.environ["QEMU"], "/bin/sh", "-c", "true"])
    assert result.returncode != 0
