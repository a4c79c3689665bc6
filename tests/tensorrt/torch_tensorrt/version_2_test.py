"""docs/torch_tensorrt.md with TensorRT-RTX: an engine of what its converters add, version "2"."""

from __future__ import annotations

import pytest

from tests.tensorrt.rtx.programs import run_program

PROGRAM = "tests/tensorrt/torch_tensorrt/build_page_engine.py"


@pytest.mark.parametrize("form", ["plain", "tree"])
def test_converters_make_a_network_that_is_built(tmp_path, form):
    facts = run_program(tmp_path, PROGRAM, form)
    heads = {"num_q_heads": 4, "num_kv_heads": 2, "head_size": 32}
    assert facts["made"] == [
        ["Int4GroupwiseGemmPlugin", "2", {"gemm_n": 256, "gemm_k": 64, "group_size": 128}],
        ["AttentionPlugin", "2", {**heads, "enable_tree_attention": int(form == "tree")}],
    ]
    assert facts["named_in_engine"] == ["int4_layer", "attention_layer"]
    assert facts["engine_bytes"] > 256 * 64 // 2, "the engine must hold the weights"
