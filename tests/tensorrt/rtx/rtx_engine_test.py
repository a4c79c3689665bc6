"""Real engines with the plugins inside: TensorRT-RTX builds them from ONNX on the CPU.

TensorRT-RTX creates, clones, configures and serialises a plugin as it does on a GPU machine; only
running the engine needs a GPU.
"""

from __future__ import annotations

import pathlib

import pytest

LIBRARY = pathlib.Path("plugins/libedge_llm_plugins.so").resolve()
WITH_LIBRARY = f"--library={LIBRARY}"
FAKE_DRIVER = pathlib.Path("plugins/testing/libfake_cuda_driver.so").resolve()
SMS = [80, 86, 89, 120]  # those of ours that TensorRT-RTX builds for
INT4_FIELDS = {"gemm_n": 256, "gemm_k": 192, "group_size": 128}
ATTENTION_FIELDS = {"num_q_heads": 4, "num_kv_heads": 2, "head_size": 64}
# Without plugin_version the parser asks for "1", as it does for upstream's models.
VERSIONS = pytest.mark.parametrize(
    "version", [{}, {"plugin_version": "2"}], ids=["upstream", "version_2"]
)


@pytest.fixture
def build_int4(build):
    def run(sm: int, attributes: dict, *flags: str) -> dict:
        return build(sm, "int4_gemm", *flags, n=256, k=192, attributes=attributes)

    return run


@pytest.fixture
def build_attention(build):
    def run(sm: int, tree: bool, *flags: str, split_heads: bool = False, **more: object) -> dict:
        attributes = {**ATTENTION_FIELDS, "enable_tree_attention": int(tree), **more}
        arguments = {"tree": tree, "split_heads": split_heads, "attributes": attributes}
        return build(sm, "attention", *flags, **arguments)

    return run


@VERSIONS
@pytest.mark.parametrize("sm", SMS)
def test_engine_holds_the_int4_plugin(build_int4, sm, version):
    result = build_int4(sm, {**INT4_FIELDS, **version}, WITH_LIBRARY)
    assert result["version"].startswith("1.7.1.")
    assert result.get("layers") == ["CONSTANT", "CONSTANT", "PLUGIN_V3"], result
    assert result["outputs"] == [["HALF", [-1, -1, 256]]]
    assert result["engine_bytes"] > 256 * 192 // 2, "the engine must hold the weights"
    assert result["plugins_in_engine"] == ["Int4GroupwiseGemmPlugin"]


def check_attention_engine(result: dict) -> None:
    assert result.get("layers") == ["PLUGIN_V3"], result
    assert result["outputs"] == [["HALF", [-1, -1, 4, 64]], ["HALF", [-1, 2, 2, 256, 64]]]
    assert result["plugins_in_engine"] == ["AttentionPlugin"], result["log"] + [result["stderr"]]


@VERSIONS
@pytest.mark.parametrize("tree", [False, True], ids=["5_inputs", "7_inputs"])
def test_engine_holds_the_attention_plugin_for_prefill_and_generation(
    build_attention, tree, version
):
    check_attention_engine(build_attention(80, tree, WITH_LIBRARY, **version))


@pytest.mark.parametrize("sm", SMS[1:])
def test_attention_engine_is_built_for_every_sm(build_attention, sm):
    check_attention_engine(build_attention(sm, True, WITH_LIBRARY))


def test_packed_heads_may_have_their_own_dimension(build_attention):
    check_attention_engine(build_attention(80, True, WITH_LIBRARY, split_heads=True))


def test_aliased_cache_builds_where_the_builder_allows_it(build_attention, monkeypatch):
    # For aliased tensors TensorRT-RTX attaches the plugin while it builds, and ends the process
    # when that is refused: the plugin needs a driver, of which this machine may have none.
    monkeypatch.setenv("EDGE_LLM_PLUGINS_CUDA_DRIVER", str(FAKE_DRIVER))
    aliasing = {"alias_kv_cache": 1}
    check_attention_engine(build_attention(80, False, WITH_LIBRARY, "--aliased-io", **aliasing))
    refused = build_attention(80, False, WITH_LIBRARY, **aliasing)
    assert refused["engine_bytes"] == 0
    assert "ALIASED_PLUGIN_IO" in str(refused["log"])


def test_without_the_library_there_is_no_engine(build_int4):
    result = build_int4(80, INT4_FIELDS)
    assert "Int4GroupwiseGemmPlugin" in str(result["errors"])


def test_impossible_field_stops_the_parser_with_our_message(build_int4, build_attention):
    result = build_int4(80, {**INT4_FIELDS, "group_size": 64}, WITH_LIBRARY)
    assert result["errors"]
    assert "field group_size = 64; 128 is allowed" in result["stderr"]
    result = build_attention(80, False, WITH_LIBRARY, num_q_heads=3)
    assert result["errors"]
    assert "field num_q_heads = 3; 1 to 16 times num_kv_heads = 2" in result["stderr"]


def test_field_that_contradicts_the_tensors_stops_the_build_with_our_message(
    build_int4, build_attention
):
    result = build_int4(80, {**INT4_FIELDS, "gemm_k": 256}, WITH_LIBRARY)
    assert result["engine_bytes"] == 0
    assert "GEMMInput has shape [4, 128, 192]; [4, 128, 256] is required" in result["stderr"]
    result = build_attention(80, False, WITH_LIBRARY, num_q_heads=6)
    assert result["engine_bytes"] == 0
    assert "PackedQKV has shape [4, 128, 512]; [B, S, 640] or [B, S, 10, 64]" in result["stderr"]
