"""Engines of TensorRT-RTX, each built in a process of its own."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import pytest

RTX_LIBRARY = pathlib.Path("../pypi_tensorrt_rtx_cu13_libs/tensorrt_rtx_libs/libtensorrt_rtx.so.1")


@pytest.fixture(scope="module")
def rtx_folder(tmp_path_factory) -> pathlib.Path:
    """The ONNX parser opens libtensorrt_rtx.so, and the wheel has only libtensorrt_rtx.so.1."""
    folder = tmp_path_factory.mktemp("tensorrt_rtx")
    (folder / "libtensorrt_rtx.so").symlink_to(RTX_LIBRARY.resolve(strict=True))
    return folder


@pytest.fixture
def build(rtx_folder):
    def run(sm: int, model: str, *flags: str, **arguments: object) -> dict:
        """Builds an engine with the model that takes these arguments."""
        command = [sys.executable, "tests/tensorrt/rtx/build_rtx_engine.py", f"--sm={sm}"]
        command += [f"--model={model}", f"--arguments={json.dumps(arguments)}", *flags]
        paths = {"LD_LIBRARY_PATH": str(rtx_folder), "PYTHONPATH": os.pathsep.join(sys.path)}
        result = subprocess.run(
            command, env={**os.environ, **paths}, capture_output=True, text=True, timeout=240
        )
        assert result.returncode == 0, result.stderr
        return {**json.loads(result.stdout), "stderr": result.stderr}

    return run
