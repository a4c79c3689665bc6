"""The layer's network, plugins inside, is built by TensorRT-RTX on the CPU; only running it is not.

It keeps the network definition and the plugins fitting each other where there is no GPU.
"""

from __future__ import annotations

import pytest

from tests.tensorrt.rtx.programs import run_program

INT4_WEIGHTS = {"linear": 288 * 576, "plain": 2_000_000, "tree": 2_000_000}  # bytes, at least


@pytest.fixture
def build(tmp_path):
    def run(*options: str) -> dict:
        layer = "--layer=tests/tensorrt_engine/layer.npz"
        return run_program(tmp_path, "tests/tensorrt_engine/build_rtx_engine.py", layer, *options)

    return run


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("form", INT4_WEIGHTS)
def test_network_is_built_for_every_profile(build, form, version):
    facts = build(f"--form={form}", f"--plugin-version={version}")
    assert facts["plan_bytes"] > INT4_WEIGHTS[form], facts["stdout"]
    assert facts["layers"].count("PLUGIN_V3") == (1 if form == "linear" else 6)
    outputs = ["y"] if form == "linear" else ["hidden_out", "kv_cache_out", "qkv", "attention"]
    assert facts["outputs"] == outputs
