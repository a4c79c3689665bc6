"""Structures and enumerations of plugins/abi against those of a vendor's Python bindings.

The package is named by TENSORRT_BINDINGS.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import struct

import pytest

from tests.tensorrt.declarations import declared

PACKAGE = os.environ["TENSORRT_BINDINGS"]
trt = importlib.import_module(PACKAGE)

# The declarations that serve it; TensorRT-RTX, which counts from 1, has the structures of 10.
MAJOR = max(10, int(trt.__version__.split(".")[0]))

# The lean bindings hold this enumeration in structures, and do not show it.
HIDDEN_ENUMS = {"TensorFormat"} if PACKAGE == "tensorrt_lean_bindings" else set()


def memory(instance: object, size: int) -> bytes:
    """The C++ object behind an instance of the bindings (pybind11 keeps its address first)."""
    header = object.__basicsize__
    address = ctypes.c_void_p.from_address(id(instance) + header).value
    return ctypes.string_at(address, size)


def int32(data: bytes, offset: int) -> int:
    return struct.unpack_from("<i", data, offset)[0]


def extents(data: bytes, offset: int, count: int) -> tuple[int, ...]:
    """Rank and extents of the Dims at `offset`."""
    layout = declared()["layouts"][f"PluginTensorDesc {MAJOR}"]
    kind = {4: "i", 8: "q"}[layout["extent_size"]]
    values = struct.unpack_from(f"<{count}{kind}", data, offset + layout["extents"])
    return int32(data, offset), *values


@pytest.mark.parametrize("name", sorted(set(declared()["enums"]) - HIDDEN_ENUMS))
def test_enumeration_has_the_vendor_s_values(name):
    members = declared()["enums"][name]
    vendor = trt.ILogger.Severity if name == "Severity" else getattr(trt, name)
    assert {member: int(getattr(vendor, member)) for member in members} == members


def test_hidden_enumerations_are_hidden():
    assert not any(hasattr(trt, name) for name in HIDDEN_ENUMS)


def test_plugin_tensor_desc_has_the_vendor_s_layout():
    desc = trt.PluginTensorDesc()
    desc.dims, desc.type, desc.scale = (11, 12, 13), trt.DataType.INT8, 0.5
    layout = declared()["layouts"][f"PluginTensorDesc {MAJOR}"]
    data = memory(desc, layout["scale"] + 4)
    assert extents(data, layout["dims"], 3) == (3, 11, 12, 13)
    assert int32(data, layout["type"]) == int(trt.DataType.INT8)
    assert struct.unpack_from("<f", data, layout["scale"]) == (0.5,)
    if "TensorFormat" not in HIDDEN_ENUMS:
        desc.format = trt.TensorFormat.CHW4
        data = memory(desc, layout["scale"] + 4)
        assert int32(data, layout["format"]) == int(trt.TensorFormat.CHW4)


def test_dynamic_plugin_tensor_desc_has_the_vendor_s_layout():
    desc = trt.DynamicPluginTensorDesc()
    desc.min, desc.max, desc.opt = (21, 22), (23, 24), (25, 26)
    layout = declared()["layouts"][f"DynamicPluginTensorDesc {MAJOR}"]
    data = memory(desc, layout["opt"] + 72)
    assert extents(data, layout["min"], 2) == (2, 21, 22)
    assert extents(data, layout["max"], 2) == (2, 23, 24)
    assert extents(data, layout["opt"], 2) == (2, 25, 26)
