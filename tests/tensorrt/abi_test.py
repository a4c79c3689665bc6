"""The interface declarations of plugins/abi against the vendor's own binaries.

The Python bindings wheels of TensorRT keep their symbols, and hold classes that implement each
plugin interface. Their virtual tables tell the order and the number of slots.
"""

from __future__ import annotations

import functools
import pathlib

import pytest

from tests.tensorrt.declarations import declared
from tests.tensorrt.vtable_reader import SharedObject, is_destructor, is_method

# Wheel (its repository) -> bindings inside, and the major whose declarations serve it.
WHEELS = {
    "tensorrt_lean_8_6": ("tensorrt_lean/tensorrt_lean.so", 8),
    "tensorrt_lean_cu12_bindings_10_0_1": ("tensorrt_lean_bindings/tensorrt_lean.so", 10),
    "tensorrt_lean_cu12_bindings_10_3": ("tensorrt_lean_bindings/tensorrt_lean.so", 10),
    "tensorrt_lean_cu13_bindings_10_16": ("tensorrt_lean_bindings/tensorrt_lean.so", 10),
    "tensorrt_lean_cu13_bindings_11_4": ("tensorrt_lean_bindings/tensorrt_lean.so", 11),
    "tensorrt_rtx_cu13_bindings": ("tensorrt_rtx_bindings/tensorrt_rtx.so", 11),
}
SINCE_10 = [wheel for wheel, (_, major) in WHEELS.items() if major >= 10]
SINCE_10_3 = [wheel for wheel in SINCE_10 if not wheel.endswith("10_0_1")]

# Interface -> the vendor's class that implements it (mangled), and the wheels that hold it.
IMPLEMENTATIONS = {
    "Logger": ("ZN8tensorrt8bindCoreERN8pybind117module_EE8PyLogger", list(WHEELS)),
    "PluginCreator": ("N8tensorrt18IPluginCreatorImplE", SINCE_10),
    "PluginCreatorV3One": ("N8tensorrt23IPluginCreatorV3OneImplE", SINCE_10),
    "PluginV2DynamicExt": ("N8tensorrt25PyIPluginV2DynamicExtImplE", SINCE_10),
    "PluginV3": ("N8tensorrt15PyIPluginV3ImplE", SINCE_10),
    "PluginV3OneBuild": ("N8tensorrt23PyIPluginV3OneBuildImplE", SINCE_10),
    "PluginV3OneBuildV2": ("N8tensorrt25PyIPluginV3OneBuildV2ImplE", SINCE_10_3),
    "PluginV3OneCore": ("N8tensorrt22PyIPluginV3OneCoreImplE", SINCE_10),
    "PluginV3OneRuntime": ("N8tensorrt25PyIPluginV3OneRuntimeImplE", SINCE_10),
}
CASES = [(name, wheel) for name, (_, wheels) in IMPLEMENTATIONS.items() for wheel in wheels]


@functools.cache
def shared_object(wheel: str) -> SharedObject:
    return SharedObject(pathlib.Path("..") / f"pypi_{wheel}" / WHEELS[wheel][0])


def declared_slots(interface: str, major: int) -> dict[int, str]:
    """Slot -> method; slots of destructors are left out."""
    slots = declared()["slots"]
    methods = slots.get(f"{interface} {major}") or slots[interface]
    assert len(set(methods.values())) == len(methods)
    return {slot: method for method, slot in methods.items()}


@pytest.mark.parametrize(("interface", "wheel"), CASES)
def test_slots_are_the_vendor_s(interface, wheel):
    vendor = shared_object(wheel).vtable(IMPLEMENTATIONS[interface][0])
    ours = declared_slots(interface, WHEELS[wheel][1])
    assert max(ours) < len(vendor), f"slots beyond the vendor's {len(vendor)}: {ours}"
    for slot, names in enumerate(vendor):
        if slot in ours:
            method = ours[slot].removesuffix("Legacy")
            assert any(is_method(name, method) for name in names), (slot, ours[slot], names)
        else:
            assert any(is_destructor(name) for name in names), (slot, "undeclared", names)


# Two functions share a name where the older one is never called; our names tell them apart.
@pytest.mark.parametrize("wheel", SINCE_10)
def test_legacy_slots_are_those_that_the_vendor_s_base_class_answers(wheel):
    vendor = shared_object(wheel).vtable(IMPLEMENTATIONS["PluginV2DynamicExt"][0])
    for slot, method in declared_slots("PluginV2DynamicExt", WHEELS[wheel][1]).items():
        if method.endswith("Legacy"):
            assert any(name.startswith(("_ZN8nvinfer1", "_ZNK8nvinfer1")) for name in vendor[slot])
        elif method in {"enqueue", "configurePlugin", "getWorkspaceSize", "getOutputDimensions"}:
            assert any("PyIPluginV2DynamicExtImpl" in name for name in vendor[slot])


@pytest.mark.parametrize("wheel", SINCE_10)
@pytest.mark.parametrize(
    ("interface", "method", "mangled"),
    [
        ("ExprBuilderImpl", "constant", "_ZN8nvinfer112IExprBuilder8constantEl"),
        (
            "ExprBuilderImpl",
            "operation",
            "_ZN8nvinfer112IExprBuilder9operationENS_18DimensionOperationERKNS_14IDimensionExprES4_",
        ),
        ("DimensionExprImpl", "isConstant", "_ZNK8nvinfer114IDimensionExpr10isConstantEv"),
        (
            "DimensionExprImpl",
            "getConstantValue",
            "_ZNK8nvinfer114IDimensionExpr16getConstantValueEv",
        ),
    ],
)
def test_expressions_forward_to_the_declared_slot(wheel, interface, method, mangled):
    assert shared_object(wheel).forwarded_slot(mangled) == declared()["slots"][interface][method]
