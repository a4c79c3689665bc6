"""The library in TensorRT 8.6's lean runtime: loading, look-up, creation, serialisation.

Its Python bindings stop at Python 3.10, so the C++ objects of the runtime are driven by their
virtual slots.
"""

from __future__ import annotations

import ctypes
import os
import pathlib
import subprocess
import sys

import pytest

LIBRARY = pathlib.Path("plugins/libedge_llm_plugins.so").resolve()
RUNTIME = pathlib.Path("../pypi_tensorrt_lean_8_6/tensorrt_lean/libnvinfer_lean.so.8").resolve()

# Of each plugin: possible fields, the optional ones, and the bytes that it serialises.
INT4 = b"Int4GroupwiseGemmPlugin"
ATTENTION = b"AttentionPlugin"
FIELDS = {
    INT4: {"gemm_n": 8, "gemm_k": 192, "group_size": 128},
    ATTENTION: {"num_q_heads": 4, "num_kv_heads": 2, "head_size": 64, "enable_tree_attention": 1},
}
OPTIONAL = {INT4: [], ATTENTION: ["alias_kv_cache"]}
ENGINE_BYTES = {INT4: 28, ATTENTION: 36}

INT32 = 5

# Slots of IPluginRegistry, IPluginCreator and IPluginV2 of 8.6.0.
REGISTRY_LIST, REGISTRY_GET, REGISTRY_LOAD_LIBRARY = 1, 2, 5
CREATOR_VERSION, CREATOR_FIELDS, CREATOR_CREATE, CREATOR_DESERIALIZE = 2, 3, 4, 5
PLUGIN_TYPE, PLUGIN_VERSION, PLUGIN_SIZE, PLUGIN_SERIALIZE, PLUGIN_DESTROY, PLUGIN_CLONE = (
    1,
    2,
    11,
    12,
    13,
    14,
)


class PluginField(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("data", ctypes.c_void_p),
        ("type", ctypes.c_int32),
        ("length", ctypes.c_int32),
    ]


class PluginFieldCollection(ctypes.Structure):
    _fields_ = [("count", ctypes.c_int32), ("fields", ctypes.POINTER(PluginField))]


def call(instance: int, slot: int, result: type | None, *arguments: object) -> object:
    """Calls a virtual function; arguments are ctypes values, bytes (as C strings) or pointers."""
    slots = ctypes.cast(instance, ctypes.POINTER(ctypes.POINTER(ctypes.c_void_p)))[0]
    types = [ctypes.c_char_p if isinstance(a, bytes) else type(a) for a in arguments]
    function = ctypes.CFUNCTYPE(result, ctypes.c_void_p, *types)(slots[slot])
    return function(instance, *arguments)


def fields(**values: int) -> PluginFieldCollection:
    """A collection that keeps its data alive."""
    data = [ctypes.c_int32(value) for value in values.values()]
    array = (PluginField * len(values))(
        *[
            PluginField(name.encode(), ctypes.addressof(datum), INT32, 1)
            for name, datum in zip(values, data, strict=True)
        ]
    )
    collection = PluginFieldCollection(len(values), array)
    collection.data = data
    return collection


@pytest.fixture(scope="module")
def registry() -> int:
    runtime = ctypes.CDLL(str(RUNTIME))
    assert runtime.getInferLibVersion() == 8600
    runtime.getPluginRegistry.restype = ctypes.c_void_p
    registry = runtime.getPluginRegistry()
    assert call(registry, REGISTRY_LOAD_LIBRARY, ctypes.c_void_p, bytes(LIBRARY))
    return registry


@pytest.fixture(params=FIELDS, ids=bytes.decode)
def name(request) -> bytes:
    return request.param


@pytest.fixture
def creator(registry, name) -> int:
    creator = call(registry, REGISTRY_GET, ctypes.c_void_p, name, b"1", b"")
    assert creator
    return creator


def create(creator: int, **values: int) -> int | None:
    collection = fields(**values)
    return call(creator, CREATOR_CREATE, ctypes.c_void_p, b"layer", ctypes.pointer(collection))


def engine_data(plugin: int) -> bytes:
    size = call(plugin, PLUGIN_SIZE, ctypes.c_size_t)
    data = ctypes.create_string_buffer(size)
    call(plugin, PLUGIN_SERIALIZE, None, ctypes.pointer(data))
    return data.raw


def deserialize(creator: int, data: bytes) -> int | None:
    buffer = ctypes.create_string_buffer(data, len(data))
    return call(
        creator,
        CREATOR_DESERIALIZE,
        ctypes.c_void_p,
        b"layer",
        ctypes.pointer(buffer),
        ctypes.c_size_t(len(data)),
    )


def last_error() -> str:
    library = ctypes.CDLL(str(LIBRARY))
    library.edge_llm_plugins_last_error.restype = ctypes.c_char_p
    return library.edge_llm_plugins_last_error().decode()


def test_registry_lists_version_1_alone(registry):
    count = ctypes.c_int32()
    creators = call(registry, REGISTRY_LIST, ctypes.c_void_p, ctypes.pointer(count))
    listed = ctypes.cast(creators, ctypes.POINTER(ctypes.c_void_p))[: count.value]
    assert [call(c, CREATOR_VERSION, ctypes.c_char_p) for c in listed] == [b"1", b"1"]
    for name in FIELDS:
        assert call(registry, REGISTRY_GET, ctypes.c_void_p, name, b"2", b"") is None


def test_creator_lists_its_fields(creator, name):
    names = call(creator, CREATOR_FIELDS, ctypes.POINTER(PluginFieldCollection)).contents
    listed = [(f.name, f.type) for f in names.fields[: names.count]]
    assert listed == [(f.encode(), INT32) for f in [*FIELDS[name], *OPTIONAL[name]]]


def test_plugin_is_created_cloned_and_serialised(creator, name):
    plugin = create(creator, **FIELDS[name])
    clone = call(plugin, PLUGIN_CLONE, ctypes.c_void_p)
    data = engine_data(plugin)
    call(plugin, PLUGIN_DESTROY, None)
    assert call(clone, PLUGIN_TYPE, ctypes.c_char_p) == name
    assert call(clone, PLUGIN_VERSION, ctypes.c_char_p) == b"1"
    restored = deserialize(creator, data)
    assert engine_data(restored) == engine_data(clone) == data
    assert len(data) == ENGINE_BYTES[name]
    assert deserialize(creator, data[:-1]) is None
    assert "rebuild the engine" in last_error()


@pytest.mark.parametrize("name", [INT4])
def test_impossible_field_gives_no_plugin(creator):
    assert create(creator, gemm_n=6, gemm_k=192, group_size=128) is None
    assert "field gemm_n = 6; positive multiples of 4 are allowed" in last_error()


# In a process of its own: registering what loadLibrary registered would be refused.
_REGISTER = """
import ctypes, sys
ctypes.CDLL(sys.argv[1])
library = ctypes.CDLL(sys.argv[2])
library.edge_llm_plugins_last_error.restype = ctypes.c_char_p
for _ in range(2):
    print(library.edge_llm_plugins_register(), library.edge_llm_plugins_last_error().decode())
"""


def test_registering_by_function_works_once():
    result = subprocess.run(
        [sys.executable, "-c", _REGISTER, str(RUNTIME), str(LIBRARY)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
        capture_output=True,
        text=True,
    )
    first, second = result.stdout.splitlines()
    assert first.strip() == "0"
    assert second.startswith("1 ") and "was it registered before?" in second
