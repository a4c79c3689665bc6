"""Programs that use TensorRT-RTX, each in a process of its own: it ends some of them."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

LIBRARY = pathlib.Path("../pypi_tensorrt_rtx_cu13_libs/tensorrt_rtx_libs/libtensorrt_rtx.so.1")


def run_program(folder: pathlib.Path, script: str, *arguments: str) -> dict:
    """Runs a script whose last line is a JSON object; gives it, with "stderr".

    The ONNX parser opens libtensorrt_rtx.so, and the wheel has only libtensorrt_rtx.so.1: the
    folder gets a link of this name.
    """
    link = folder / "libtensorrt_rtx.so"
    if not link.exists():
        link.symlink_to(LIBRARY.resolve(strict=True))
    paths = {"LD_LIBRARY_PATH": str(folder), "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run(
        [sys.executable, script, *arguments],
        env={**os.environ, **paths},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert result.returncode == 0, result.stderr
    *log, facts = result.stdout.splitlines()
    return {**json.loads(facts), "stdout": log, "stderr": result.stderr}
