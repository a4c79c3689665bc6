"""The library in TensorRT's lean runtime, 10 and 11: loading, look-up, creation, serialisation.

No GPU is needed for any of it. What is left out: enqueue and engines (rtx_engine_test has these).
"""

from __future__ import annotations

import ctypes
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorrt_lean_bindings as trt

VERSION = os.environ["TENSORRT_VERSION"]
LIBRARY = str(pathlib.Path("plugins/libedge_llm_plugins.so").resolve())

# Of each plugin: possible fields, the optional ones, and the bytes that version "1" serialises.
INT4 = "Int4GroupwiseGemmPlugin"
ATTENTION = "AttentionPlugin"
FIELDS = {
    INT4: {"gemm_n": 8, "gemm_k": 192, "group_size": 128},
    ATTENTION: {"num_q_heads": 4, "num_kv_heads": 2, "head_size": 64, "enable_tree_attention": 1},
}
OPTIONAL = {INT4: [], ATTENTION: ["alias_kv_cache"]}
ENGINE_BYTES = {INT4: 28, ATTENTION: 36}


@pytest.fixture(params=FIELDS)
def name(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def registry():
    registry = trt.get_plugin_registry()
    assert registry.load_library(LIBRARY) is not None
    return registry


def fields(**values: int) -> trt.PluginFieldCollection:
    return trt.PluginFieldCollection(
        [
            trt.PluginField(name, np.array([value], np.int32), trt.PluginFieldType.INT32)
            for name, value in values.items()
        ]
    )


def last_error() -> str:
    library = ctypes.CDLL(LIBRARY)
    library.edge_llm_plugins_last_error.restype = ctypes.c_char_p
    return library.edge_llm_plugins_last_error().decode()


def test_bindings_are_of_the_version_under_test():
    assert trt.__version__.startswith(VERSION + ".")


def test_registry_lists_both_versions(registry, name):
    ours = {(c.plugin_version, type(c).__name__) for c in registry.all_creators if c.name == name}
    assert ours == {("1", "IPluginCreator"), ("2", "IPluginCreatorV3One")}


def test_creators_name_their_interface_and_fields(registry, name):
    for version, kind in (("1", "PLUGIN CREATOR_V1"), ("2", "PLUGIN CREATOR_V3ONE")):
        creator = registry.get_creator(name, version, "")
        assert (creator.interface_info.kind, creator.interface_info.major) == (kind, 1)
        assert [(f.name, f.type) for f in creator.field_names] == [
            (field, trt.PluginFieldType.INT32) for field in [*FIELDS[name], *OPTIONAL[name]]
        ]


def test_v2_plugin_is_created_cloned_and_serialised(registry, name):
    creator = registry.get_creator(name, "1", "")
    plugin = creator.create_plugin("layer", fields(**FIELDS[name]))
    clone = plugin.clone()
    assert (clone.plugin_type, clone.plugin_version) == (name, "1")
    assert clone.num_outputs == (2 if name == ATTENTION else 1)
    assert clone.serialization_size == ENGINE_BYTES[name]
    data = bytes(clone.serialize())
    restored = creator.deserialize_plugin("layer", data)
    assert bytes(restored.serialize()) == data


def test_v2_plugin_refuses_engine_data_that_is_cut(registry, name):
    creator = registry.get_creator(name, "1", "")
    plugin = creator.create_plugin("layer", fields(**FIELDS[name]))
    assert creator.deserialize_plugin("layer", bytes(plugin.serialize())[:-1]) is None
    assert "rebuild the engine" in last_error()


@pytest.mark.parametrize("phase", [trt.TensorRTPhase.BUILD, trt.TensorRTPhase.RUNTIME])
def test_v3_plugin_is_created_with_its_capabilities(registry, name, phase):
    creator = registry.get_creator(name, "2", "")
    plugin = creator.create_plugin("layer", fields(**FIELDS[name], unknown=1), phase)
    # From Python, more than this never reaches the plugin: clone() and shapes come from stand-ins.
    core = plugin.get_capability_interface(trt.PluginCapabilityType.CORE)
    assert (core.plugin_name, core.plugin_version, core.plugin_namespace) == (name, "2", "")
    assert plugin.get_capability_interface(trt.PluginCapabilityType.BUILD) is not None
    assert plugin.get_capability_interface(trt.PluginCapabilityType.RUNTIME) is not None


@pytest.mark.parametrize("version", ["1", "2"])
def test_impossible_field_gives_no_plugin(registry, version):
    creator = registry.get_creator(INT4, version, "")
    phase = [trt.TensorRTPhase.BUILD] if version == "2" else []
    assert (
        creator.create_plugin("layer", fields(gemm_n=6, gemm_k=192, group_size=128), *phase) is None
    )
    assert "field gemm_n = 6; positive multiples of 4 are allowed" in last_error()
    assert creator.create_plugin("layer", fields(gemm_n=8, gemm_k=192), *phase) is None
    assert "field group_size is missing" in last_error()


# In a process of its own: registering what load_library registered would be refused.
_REGISTER = """
import ctypes, sys
import tensorrt_lean_bindings as trt
library = ctypes.CDLL(sys.argv[1])
library.edge_llm_plugins_last_error.restype = ctypes.c_char_p
registry = trt.get_plugin_registry()
for _ in range(2):
    print(library.edge_llm_plugins_register(), library.edge_llm_plugins_last_error().decode())
print(sorted((c.name, c.plugin_version) for c in registry.all_creators if c.name in sys.argv))
"""


def test_registering_by_function_serves_10_and_names_load_library_on_11():
    result = subprocess.run(
        [sys.executable, "-c", _REGISTER, LIBRARY, *FIELDS],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
        capture_output=True,
        text=True,
    )
    first, second, registered = result.stdout.splitlines()
    if VERSION.startswith("10."):
        assert first.strip() == "0"
        assert second.startswith("1 ") and "was it registered before?" in second
        assert registered == f"[('{ATTENTION}', '1'), ('{INT4}', '1')]"
    else:
        assert first.startswith("1 ") and "IPluginRegistry::loadLibrary" in first
        assert registered == "[]"
