"""edge_llm_plugins.load() with a real TensorRT: one of its packages per test target."""

from __future__ import annotations

import importlib
import os

import edge_llm_plugins


def test_load_registers_both_versions_once() -> None:
    tensorrt = importlib.import_module(os.environ["TENSORRT_PACKAGE"])
    assert tensorrt.__version__.startswith(os.environ["TENSORRT_VERSION"] + ".")
    for _ in range(2):
        edge_llm_plugins.load()
    creators = tensorrt.get_plugin_registry().all_creators
    for plugin in ("AttentionPlugin", "Int4GroupwiseGemmPlugin"):
        versions = [c.plugin_version for c in creators if c.name == plugin]
        assert sorted(versions) == ["1", "2"], plugin
