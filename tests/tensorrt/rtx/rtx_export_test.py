"""TensorRT-RTX builds engines of exported and rewritten models, and every plugin layer is there."""

from __future__ import annotations

import pathlib

import pytest

LIBRARY = pathlib.Path("plugins/libedge_llm_plugins.so").resolve()
WITH_LIBRARY = f"--library={LIBRARY}"
FAKE_DRIVER = pathlib.Path("plugins/testing/libfake_cuda_driver.so").resolve()
PLUGINS = ["AttentionPlugin", "Int4GroupwiseGemmPlugin"]
SMS = [80, 86, 89, 120]


def check_engine(result: dict, plugin_layers: int) -> None:
    assert result.get("engine_bytes"), result["log"] + [result["stderr"]]
    assert result["layers"].count("PLUGIN_V3") == plugin_layers
    assert result["plugins_in_engine"] == PLUGINS


@pytest.mark.parametrize("tree_tokens", [0, 8], ids=["5_inputs", "7_inputs"])
@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3"])
def test_engine_holds_every_plugin_of_an_exported_model(build, name, tree_tokens):
    result = build(80, "exported", WITH_LIBRARY, name=name, tree_tokens=tree_tokens)
    check_engine(result, plugin_layers=2 * (1 + 4))
    cache = ["HALF", [-1, 2, 2, -1, 32]]
    assert result["outputs"] == [["FLOAT", [-1, -1, 96]], cache, cache]


@pytest.mark.parametrize("sm", SMS[1:])
def test_exported_model_is_built_for_every_sm(build, sm):
    check_engine(build(sm, "exported", WITH_LIBRARY, name="llama3", tree_tokens=8), 10)


def test_exported_model_with_aliased_caches_is_built(build, monkeypatch):
    # TensorRT-RTX attaches such plugins while it builds: they need a driver.
    monkeypatch.setenv("EDGE_LLM_PLUGINS_CUDA_DRIVER", str(FAKE_DRIVER))
    arguments = {"name": "qwen3", "tree_tokens": 0, "alias": True}
    check_engine(build(80, "exported", WITH_LIBRARY, "--aliased-io", **arguments), 10)


@pytest.mark.parametrize("model", ["rewritten_attention", "rewritten_linear"])
def test_engine_holds_the_plugin_of_a_rewritten_model(build, model):
    result = build(80, model, WITH_LIBRARY)
    assert result.get("engine_bytes"), result["log"] + [result["stderr"]]
    assert result["layers"].count("PLUGIN_V3") == 1
    assert result["plugins_in_engine"] == [PLUGINS[model == "rewritten_linear"]]
