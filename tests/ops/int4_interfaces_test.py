"""The plugin as IPluginV2DynamicExt of TensorRT 8.6, 10 and 11, and as IPluginV3."""

from __future__ import annotations

import numpy as np
import pytest

from edge_llm_plugins import host
from tests.ops import int4_cases

INTERFACES = pytest.mark.parametrize(("version", "major"), int4_cases.INTERFACES)
V2 = pytest.mark.parametrize("major", [8, 10, 11])
CASE = int4_cases.random_case(2, 5, n=68, k=192)


def test_creators_of_each_major(device: host.Device) -> None:
    def listed(major: int) -> set[tuple[str, str]]:
        creators = device.library.creators(major)
        return {(c.version, c.kind) for c in creators if c.name == int4_cases.PLUGIN}

    assert listed(8) == {("1", "V2")}
    assert listed(10) == listed(11) == {("1", "V2"), ("2", "V3")}
    # TensorRT-RTX (whose version begins with 1) and majors to come.
    assert listed(1) == listed(12) == {("1", "V3"), ("2", "V3")}


@INTERFACES
def test_creator_lists_its_fields(device: host.Device, version: str, major: int) -> None:
    fields = int4_cases.creator(device, version, major).field_names()
    assert [field.name for field in fields] == ["gemm_n", "gemm_k", "group_size"]
    assert {field.type for field in fields} == {host.FieldType.INT32}


@pytest.mark.parametrize("seq", [5, 40])
def test_every_interface_gives_the_same_bits(device: host.Device, seq: int) -> None:
    case = int4_cases.random_case(2, seq, n=68, k=192)
    results = {
        interface: int4_cases.run(device, case, *interface) for interface in int4_cases.INTERFACES
    }
    first = results[int4_cases.INTERFACES[0]]
    int4_cases.assert_correct(first, case)
    for interface, result in results.items():
        assert result.tobytes() == first.tobytes(), f"{interface}\n{int4_cases.rerun()}"


def test_v3_under_version_1_keeps_its_version(device: host.Device) -> None:
    for version in ("1", "2"):
        creator = int4_cases.creator(device, version, major=1)
        plugin = creator.create("layer", fields_of(CASE))
        assert (plugin.name, plugin.version) == (int4_cases.PLUGIN, version)
        assert plugin.clone().version == version
        assert creator.deserialize("layer", plugin.serialize()).version == version


@INTERFACES
def test_output_is_fp16_and_its_shape_follows_the_input(
    device: host.Device, version: str, major: int
) -> None:
    plugin = int4_cases.creator(device, version, major).create("layer", fields_of(CASE))
    half, int8 = host.DataType.HALF, host.DataType.INT8
    assert plugin.output_types([half, int8, half]) == [half]
    for batch, seq in ((1, 1), (3, 0), (7, 4096)):
        shapes = [[batch, seq, 192], list(CASE.packed.shape), list(CASE.scales.shape)]
        assert plugin.output_shapes(shapes) == [[batch, seq, 68]]


@INTERFACES
def test_workspace_is_the_same_for_every_interface(
    device: host.Device, version: str, major: int
) -> None:
    case = int4_cases.random_case(1, 16, n=8, k=4096)
    engine = int4_cases.build(device, case, version, major)
    assert engine.workspace_bytes == int4_cases.build(device, case).workspace_bytes


@INTERFACES
def test_only_linear_fp16_and_int8_are_supported(
    device: host.Device, version: str, major: int
) -> None:
    plugin = int4_cases.creator(device, version, major).create("layer", fields_of(CASE))
    half, int8 = host.DataType.HALF, host.DataType.INT8
    shapes = [CASE.x.shape, CASE.packed.shape, CASE.scales.shape, (2, 5, 68)]
    types = [half, int8, half, half]

    def supported(position: int, data_type: host.DataType, format_: int = 0) -> bool:
        tensors = [host.Tensor(t, list(shape)) for t, shape in zip(types, shapes, strict=True)]
        tensors[position] = host.Tensor(data_type, list(shapes[position]), format_)
        return plugin.supports_format_combination(position, tensors, 3)

    for position, right in enumerate(types):
        for data_type in host.DataType.__members__.values():
            assert supported(position, data_type) == (data_type == right), (position, data_type)
        assert not supported(position, right, format_=1)


@V2
def test_v2_engine_data_of_another_library_is_refused(device: host.Device, major: int) -> None:
    creator = int4_cases.creator(device, "1", major)
    # Three INT32 as upstream writes them, and as much rubbish as our own data is long.
    foreign = np.array([68, 192, 128], np.int32).tobytes()
    rubbish = np.random.default_rng(1).bytes(
        len(creator.create("l", fields_of(CASE)).serialize().bytes)
    )
    for data in (foreign, rubbish, b""):
        with pytest.raises(host.PluginError, match="rebuild the engine"):
            creator.deserialize("layer", host.SerializedPlugin(data))


def test_v2_engines_do_not_depend_on_the_major(device: host.Device) -> None:
    data = {
        major: int4_cases.creator(device, "1", major).create("l", fields_of(CASE)).serialize().bytes
        for major in (8, 10, 11)
    }
    assert len(set(data.values())) == 1


def test_v3_serializes_the_fields_that_it_was_created_from(device: host.Device) -> None:
    creator = int4_cases.creator(device, "2")
    data = creator.create("layer", fields_of(CASE)).serialize()
    assert data.bytes == b""
    values = {field.name: np.frombuffer(field.data, np.int32) for field in data.fields}
    assert {name: int(value[0]) for name, value in values.items()} == CASE.fields
    again = creator.deserialize("layer", data).serialize()
    assert [(f.name, f.data) for f in again.fields] == [(f.name, f.data) for f in data.fields]


@pytest.mark.parametrize("removed", ["gemm_n", "gemm_k", "group_size"])
def test_v3_engine_fields_that_are_missing_or_corrupted_are_refused(
    device: host.Device, removed: str
) -> None:
    creator = int4_cases.creator(device, "2")
    fields = creator.create("layer", fields_of(CASE)).serialize().fields
    others = [field for field in fields if field.name != removed]
    with pytest.raises(host.PluginError, match=f"field {removed} is missing"):
        creator.deserialize("layer", host.SerializedPlugin(fields=others))
    corrupted = [*others, host.field(removed, -1)]
    with pytest.raises(host.PluginError, match=f"field {removed} = -1"):
        creator.deserialize("layer", host.SerializedPlugin(fields=corrupted))
    with pytest.raises(host.PluginError, match="is missing"):
        creator.deserialize("layer", host.SerializedPlugin())


@INTERFACES
def test_clones_run_after_their_source_is_gone(
    device: host.Device, version: str, major: int
) -> None:
    creator = int4_cases.creator(device, version, major)
    source = creator.create("layer", fields_of(CASE))
    clone = source.clone().clone()
    del source
    assert clone.serialize().bytes == creator.create("layer", fields_of(CASE)).serialize().bytes
    assert clone.output_shapes([[1, 2, 192], [34, 192], [2, 68]]) == [[1, 2, 68]]


def fields_of(case: int4_cases.Case) -> list[host.Field]:
    return [host.field(name, value) for name, value in case.fields.items()]
