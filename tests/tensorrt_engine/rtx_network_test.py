"""The layer's network, plugins inside, is built by TensorRT-RTX on the CPU; only running it is not.

It keeps the network definition and the plugins fitting each other where there is no GPU.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import pytest

RTX_LIBRARY = pathlib.Path("../pypi_tensorrt_rtx_cu13_libs/tensorrt_rtx_libs/libtensorrt_rtx.so.1")
INT4_WEIGHTS = {"linear": 288 * 576, "plain": 2_000_000, "tree": 2_000_000}  # bytes, at least


@pytest.fixture
def build(tmp_path):
    # The ONNX parser opens libtensorrt_rtx.so, and the wheel has only libtensorrt_rtx.so.1.
    (tmp_path / "libtensorrt_rtx.so").symlink_to(RTX_LIBRARY.resolve(strict=True))

    def run(*options: str) -> dict:
        command = [sys.executable, "-m", "tests.tensorrt_engine.build_rtx_engine", *options]
        command.append("--layer=tests/tensorrt_engine/layer.npz")
        paths = {"LD_LIBRARY_PATH": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
        result = subprocess.run(
            command, env={**os.environ, **paths}, capture_output=True, text=True, timeout=240
        )
        assert result.returncode == 0, result.stderr
        *log, facts = result.stdout.splitlines()
        return {**json.loads(facts), "log": log}

    return run


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("form", INT4_WEIGHTS)
def test_network_is_built_for_every_profile(build, form, version):
    facts = build(f"--form={form}", f"--plugin-version={version}")
    assert facts["plan_bytes"] > INT4_WEIGHTS[form], facts["log"]
    assert facts["layers"].count("PLUGIN_V3") == (1 if form == "linear" else 6)
    outputs = ["y"] if form == "linear" else ["hidden_out", "kv_cache_out", "qkv", "attention"]
    assert facts["outputs"] == outputs
