"""Bad input of every kind: one line that names the value, and nothing is written."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

from edge_llm_plugins import host, ops
from tests.ops import int4_cases
from tests.ops.described import Described

INTERFACES = pytest.mark.parametrize(("version", "major"), int4_cases.INTERFACES)
CASE = int4_cases.random_case(1, 3, n=68, k=192)


def field_list(**changes: object) -> list[host.Field]:
    fields = CASE.fields | changes
    return [host.field(name, value) for name, value in fields.items() if value is not None]


@INTERFACES
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([], "field gemm_n is missing; it is a required INT32"),
        (field_list(gemm_k=None), "field gemm_k is missing"),
        (field_list(group_size=None), "field group_size is missing"),
        ([*field_list(), host.field("gemm_n", 68)], "field gemm_n is given twice"),
        (field_list(gemm_n=np.float32(68)), "field gemm_n has type FLOAT32; INT32 is required"),
        (field_list(gemm_k=[192, 192]), "field gemm_k has 2 elements; 1 is required"),
        (field_list(gemm_n=0), "field gemm_n = 0; positive multiples of 4"),
        (field_list(gemm_n=-4), "field gemm_n = -4; positive multiples of 4"),
        (field_list(gemm_n=66), "field gemm_n = 66; positive multiples of 4"),
        (field_list(gemm_k=32), "field gemm_k = 32; positive multiples of 64"),
        (field_list(gemm_k=-64), "field gemm_k = -64; positive multiples of 64"),
        (field_list(group_size=64), "field group_size = 64; 128 is allowed"),
    ],
)
def test_creation_refuses_fields(
    device: host.Device, version: str, major: int, fields: list[host.Field], message: str
) -> None:
    creator = int4_cases.creator(device, version, major)
    with pytest.raises(host.PluginError, match=re.escape(message)) as raised:
        creator.create("layer", fields)
    assert "\n" not in str(raised.value)


@INTERFACES
def test_unknown_fields_are_tolerated(device: host.Device, version: str, major: int) -> None:
    fields = [host.field("colour", [1, 2]), *field_list(), host.field("plugin_version", 3)]
    plugin = int4_cases.creator(device, version, major).create("layer", fields)
    assert plugin.output_shapes([[1, 1, 192], [34, 192], [2, 68]]) == [[1, 1, 68]]


def expect_enqueue_refused(
    device: host.Device,
    interface: tuple[str, int],
    change: Callable[[list, host.DeviceTensor], tuple[list, object]],
    message: str,
) -> None:
    """Runs CASE with changed tensors; the plugin must refuse, and leave y as it was."""
    tensors = int4_cases.CaseTensors(device, CASE)
    inputs, y = change(list(tensors.inputs), tensors.y)
    stream = device.stream()
    with int4_cases.build(device, CASE, *interface).load(device) as loaded:
        context = loaded.create_context()
        with pytest.raises(host.PluginError, match=re.escape(message)) as raised:
            context.enqueue(inputs, [y], stream)
    assert "\n" not in str(raised.value)
    assert np.isnan(tensors.result()).all()


@INTERFACES
@pytest.mark.parametrize(
    ("position", "shape", "message"),
    [
        (0, (3, 192), "GEMMInput has shape [3, 192]; [B, S, K] is required"),
        (0, (1, 3, 128), "GEMMInput has shape [1, 3, 128]; [1, 3, 192] is required"),
        (1, (34, 128), "Int4Weights has shape [34, 128]; [34, 192] is required"),
        (1, (32, 192), "Int4Weights has shape [32, 192]; [34, 192] is required"),
        (2, (1, 68), "ScalingFactors has shape [1, 68]; [2, 68] is required"),
        (2, (68, 2), "ScalingFactors has shape [68, 2]; [2, 68] is required"),
        (3, (1, 2, 68), "output has shape [1, 2, 68]; [1, 3, 68] is required"),
    ],
)
def test_enqueue_refuses_shapes(
    device: host.Device,
    version: str,
    major: int,
    position: int,
    shape: tuple[int, ...],
    message: str,
) -> None:
    def change(inputs: list, y: host.DeviceTensor) -> tuple[list, object]:
        tensors = [*inputs, y]
        tensors[position] = Described(tensors[position], shape=shape)
        return tensors[:3], tensors[3]

    expect_enqueue_refused(device, (version, major), change, message)


@INTERFACES
@pytest.mark.parametrize(
    ("position", "name"),
    [(0, "GEMMInput"), (1, "Int4Weights"), (2, "ScalingFactors"), (3, "output")],
)
def test_enqueue_refuses_types(
    device: host.Device, version: str, major: int, position: int, name: str
) -> None:
    def change(inputs: list, y: host.DeviceTensor) -> tuple[list, object]:
        tensors = [*inputs, y]
        tensors[position] = Described(tensors[position], data_type=host.DataType.INT32)
        return tensors[:3], tensors[3]

    expect_enqueue_refused(device, (version, major), change, f"{name} has data type 3")


@INTERFACES
@pytest.mark.parametrize(
    ("position", "offset", "message"),
    [
        (0, 2, "GEMMInput is at"),
        (1, 8, "Int4Weights is at"),
        (2, 2, "ScalingFactors is at"),
        (3, 2, "output is at"),
    ],
)
def test_enqueue_refuses_misaligned_tensors(
    device: host.Device, version: str, major: int, position: int, offset: int, message: str
) -> None:
    def change(inputs: list, y: host.DeviceTensor) -> tuple[list, object]:
        tensors = [*inputs, y]
        tensor = tensors[position]
        tensors[position] = Described(tensor, address=tensor.address + offset)
        return tensors[:3], tensors[3]

    expect_enqueue_refused(device, (version, major), change, message)


@INTERFACES
def test_enqueue_refuses_null_pointers(device: host.Device, version: str, major: int) -> None:
    def change(inputs: list, y: host.DeviceTensor) -> tuple[list, object]:
        return [inputs[0], Described(inputs[1], address=0), inputs[2]], y

    expect_enqueue_refused(device, (version, major), change, "Int4Weights is a null pointer")


@INTERFACES
def test_enqueue_before_attaching_is_refused(device: host.Device, version: str, major: int) -> None:
    plugin = int4_cases.creator(device, version, major).create("layer", field_list())
    tensors = int4_cases.CaseTensors(device, CASE)
    inputs = [tensor.description for tensor in tensors.inputs]
    addresses = [tensor.address for tensor in tensors.inputs]
    with pytest.raises(host.PluginError, match="enqueue before"):
        plugin.enqueue(
            inputs, [tensors.y.description], addresses, [tensors.y.address], 0, device.stream()
        )
    assert np.isnan(tensors.result()).all()


@INTERFACES
def test_builder_refuses_types(device: host.Device, version: str, major: int) -> None:
    ranges = [
        host.fixed_range(np.float32, CASE.x.shape),
        host.fixed_range(np.int8, CASE.packed.shape),
        host.fixed_range(np.float16, CASE.scales.shape),
    ]
    creator = int4_cases.creator(device, version, major)
    with pytest.raises(host.PluginError, match=r"refuses FLOAT \[1, 3, 192\] as tensor 0"):
        host.build_engine(creator, CASE.fields, ranges)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"x": CASE.x.astype(np.float32)}, TypeError, "x has dtype float32: float16 is allowed"),
        ({"x": CASE.x[0]}, ValueError, "x has shape [3, 192]: [B, S, 192] is allowed"),
        ({"x": CASE.x[..., :128]}, ValueError, "x has shape [1, 3, 128]: [B, S, 192] is allowed"),
        ({"x": CASE.x[:, ::2]}, ValueError, "x is not contiguous: pass np.ascontiguousarray(x)"),
        ({"packed": CASE.packed.view(np.uint8)}, TypeError, "packed has dtype uint8: int8"),
        ({"packed": CASE.packed[:33]}, ValueError, "packed has 33 rows: N/2 must be a multiple"),
        ({"packed": CASE.packed[:, :100]}, ValueError, "packed has 100 columns: K must be"),
        ({"packed": CASE.packed[None]}, ValueError, "packed has shape [1, 34, 192]"),
        ({"packed": np.asfortranarray(CASE.packed)}, ValueError, "np.ascontiguousarray(packed)"),
        ({"scales": CASE.scales.astype(np.float32)}, TypeError, "scales have dtype float32"),
        ({"scales": CASE.scales.T}, ValueError, "[ceil(K/128), N] = [2, 68] is allowed"),
        ({"scales": np.asfortranarray(CASE.scales)}, ValueError, "np.ascontiguousarray(scales)"),
        ({"scales": CASE.scales * np.float16("nan")}, ValueError, "scales[0, 0] is nan"),
        ({"scales": CASE.scales * np.float16("inf")}, ValueError, "scales[0, 0] is inf"),
        (
            {"scales": np.full_like(CASE.scales, 8192)},
            ValueError,
            "scales[0, 0] is 8192.0: finite scales of at most 8188 are allowed",
        ),
        ({"device": "gpu"}, ValueError, 'device is \'gpu\': "auto", "cuda" or "emulator"'),
        pytest.param({"sm": 75}, ValueError, "sm is 75: ", marks=pytest.mark.emulator_only),
        ({"device": "cuda", "sm": 87}, ValueError, "sm is 87: it picks an emulated SM"),
        ({"plugin_version": "3"}, ValueError, "plugin_version is '3': \"1\""),
        ({"plugin_version": 2}, ValueError, 'plugin_version is 2: "1"'),
    ],
)
def test_ops_refuse(
    device: host.Device, changes: dict[str, object], error: type[Exception], message: str
) -> None:
    arguments = {
        "x": CASE.x,
        "packed": CASE.packed,
        "scales": CASE.scales,
        "device": device.kind,
    } | changes
    arrays = [arguments.pop(name) for name in ("x", "packed", "scales")]
    with pytest.raises(error, match=re.escape(message)) as raised:
        ops.int4_groupwise_gemm(*arrays, **arguments)
    assert "\n" not in str(raised.value)
