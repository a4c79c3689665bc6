"""A real engine with the plugin inside: TensorRT-RTX builds it from ONNX on the CPU.

TensorRT-RTX creates, clones, configures and serialises the plugin as it does on a GPU machine; only
running the engine needs a GPU.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import pytest

LIBRARY = pathlib.Path("plugins/libedge_llm_plugins.so").resolve()
RTX_LIBRARY = pathlib.Path("../pypi_tensorrt_rtx_cu13_libs/tensorrt_rtx_libs/libtensorrt_rtx.so.1")
FIELDS = {"gemm_n": 256, "gemm_k": 192, "group_size": 128}


@pytest.fixture(scope="module")
def rtx_folder(tmp_path_factory) -> pathlib.Path:
    """The ONNX parser opens libtensorrt_rtx.so, and the wheel has only libtensorrt_rtx.so.1."""
    folder = tmp_path_factory.mktemp("tensorrt_rtx")
    (folder / "libtensorrt_rtx.so").symlink_to(RTX_LIBRARY.resolve(strict=True))
    return folder


@pytest.fixture
def build(rtx_folder):
    def run(sm: int, attributes: dict, library: pathlib.Path | None = LIBRARY) -> dict:
        command = [sys.executable, "tests/tensorrt/build_rtx_engine.py", f"--sm={sm}"]
        command.append(f"--attributes={json.dumps(attributes)}")
        if library is not None:
            command.append(f"--library={library}")
        paths = {"LD_LIBRARY_PATH": str(rtx_folder), "PYTHONPATH": os.pathsep.join(sys.path)}
        result = subprocess.run(
            command, env={**os.environ, **paths}, capture_output=True, text=True, timeout=240
        )
        assert result.returncode == 0, result.stderr
        return {**json.loads(result.stdout), "stderr": result.stderr}

    return run


# Without plugin_version the parser asks for "1", as it does for upstream's models.
@pytest.mark.parametrize("version", [{}, {"plugin_version": "2"}], ids=["upstream", "version_2"])
@pytest.mark.parametrize("sm", [80, 86, 89, 120])
def test_engine_holds_the_plugin(build, sm, version):
    result = build(sm, {**FIELDS, **version})
    assert result["version"].startswith("1.7.1.")
    assert result.get("layers") == ["CONSTANT", "CONSTANT", "PLUGIN_V3"], result
    assert (result["output_type"], result["output_shape"]) == ("HALF", [-1, -1, 256])
    assert result["engine_bytes"] > 256 * 192 // 2, "the engine must hold the weights"
    assert result["engine_names_the_plugin"]


def test_without_the_library_there_is_no_engine(build):
    result = build(80, FIELDS, library=None)
    assert "Int4GroupwiseGemmPlugin" in str(result["errors"])


def test_impossible_field_stops_the_parser_with_our_message(build):
    result = build(80, {**FIELDS, "group_size": 64})
    assert result["errors"]
    assert "field group_size = 64; 128 is allowed" in result["stderr"]


def test_field_that_contradicts_the_weights_stops_the_build_with_our_message(build):
    result = build(80, {**FIELDS, "gemm_k": 256})
    assert result["engine_bytes"] == 0
    assert "GEMMInput has shape [4, 128, 192]; [4, 128, 256] is required" in result["stderr"]
