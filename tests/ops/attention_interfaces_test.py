"""AttentionPlugin as IPluginV2DynamicExt of TensorRT 8.6, 10 and 11, and as IPluginV3."""

from __future__ import annotations

import numpy as np
import pytest

from edge_llm_plugins import host
from tests.ops import attention_cases as cases

INTERFACES = pytest.mark.parametrize(("version", "major"), cases.INTERFACES)
V2 = pytest.mark.parametrize("major", [8, 10, 11])

HALF, FLOAT, INT32 = host.DataType.HALF, host.DataType.FLOAT, host.DataType.INT32
FIELD_NAMES = ["num_q_heads", "num_kv_heads", "head_size", "enable_tree_attention"]
TREE_CASE = cases.draft_trees(np.stack([cases.random_tree(5)] * 2), [3, 9], capacity=16)
MODES = {
    "prefill": cases.prefill(5, [5, 2], capacity=16),
    "chunk": cases.chunk(5, [5, 2], [0, 7], capacity=16),
    "decode": cases.decode([16, 3], capacity=16),
    "split decode": cases.decode([600], capacity=600, heads=cases.Heads(3, 1, 64)),
    "tree": TREE_CASE,
}


def test_creators_of_each_major(device: host.Device) -> None:
    def listed(major: int) -> set[tuple[str, str]]:
        creators = device.library.creators(major)
        return {(c.version, c.kind) for c in creators if c.name == cases.PLUGIN}

    assert listed(8) == {("1", "V2")}
    assert listed(10) == listed(11) == {("1", "V2"), ("2", "V3")}
    # TensorRT-RTX (whose version begins with 1) and majors to come.
    assert listed(1) == listed(12) == {("1", "V3"), ("2", "V3")}


@INTERFACES
def test_creator_lists_its_fields(device: host.Device, version: str, major: int) -> None:
    fields = cases.creator(device, version, major).field_names()
    assert [field.name for field in fields] == [*FIELD_NAMES, "alias_kv_cache"]
    assert {field.type for field in fields} == {host.FieldType.INT32}


@pytest.mark.parametrize("mode", MODES)
def test_every_interface_gives_the_same_bits(device: host.Device, mode: str) -> None:
    case = MODES[mode]
    first = cases.run(device, case, *cases.INTERFACES[0])
    cases.assert_correct(first, case)
    for interface in cases.INTERFACES[1:]:
        for a, b in zip(first, cases.run(device, case, *interface), strict=True):
            assert a.tobytes() == b.tobytes(), f"{interface}\n{cases.rerun()}"


@INTERFACES
def test_cache_may_be_written_elsewhere(device: host.Device, version: str, major: int) -> None:
    cases.check(device, TREE_CASE, version=version, major=major, in_place=False)


def test_v3_under_version_1_keeps_its_version(device: host.Device) -> None:
    for version in ("1", "2"):
        creator = cases.creator(device, version, major=1)
        plugin = creator.create("layer", TREE_CASE.field_list())
        assert (plugin.name, plugin.version) == (cases.PLUGIN, version)
        assert plugin.clone().version == version
        assert creator.deserialize("layer", plugin.serialize()).version == version


@INTERFACES
@pytest.mark.parametrize("alias", [None, 0, 1])
def test_outputs_follow_the_inputs(
    device: host.Device, version: str, major: int, alias: int | None
) -> None:
    """For both shapes of qkv, five and seven inputs; alias_kv_cache is optional."""
    for case in (MODES["chunk"], TREE_CASE):
        fields = case.field_list(alias_kv_cache=alias)
        plugin = cases.creator(device, version, major).create("layer", fields)
        arrays = list(case.arrays.values())
        types = [tensor.type for tensor in case.ranges]
        assert plugin.output_types(types) == [HALF, HALF]
        for qkv in ([3, 4096, 640], [3, 4096, 10, 64]):
            shapes = [qkv, [3, 2, 2, 8000, 64], *(list(array.shape) for array in arrays[2:])]
            assert plugin.output_shapes(shapes) == [[3, 4096, 6, 64], [3, 2, 2, 8000, 64]]


@INTERFACES
def test_workspace_is_the_same_for_every_interface(
    device: host.Device, version: str, major: int
) -> None:
    for case in MODES.values():
        engine = cases.build(device, case, version, major)
        assert engine.workspace_bytes == cases.build(device, case).workspace_bytes


@INTERFACES
@pytest.mark.parametrize("mode", ["chunk", "tree"])
def test_only_linear_tensors_of_their_types_are_supported(
    device: host.Device, version: str, major: int, mode: str
) -> None:
    case = MODES[mode]
    plugin = cases.creator(device, version, major).create("layer", case.field_list())
    inputs = [host.Tensor(tensor.type, tensor.max) for tensor in case.ranges]
    shapes = (case.output_shape, case.kv_cache.shape)
    tensors = [*inputs, *(host.Tensor(HALF, list(shape)) for shape in shapes)]
    types = [tensor.type for tensor in tensors]
    assert types == [*[HALF, HALF, INT32, FLOAT, INT32, INT32, INT32][: len(inputs)], HALF, HALF]

    def supported(position: int, data_type: host.DataType, format_: int = 0) -> bool:
        changed = list(tensors)
        changed[position] = host.Tensor(data_type, tensors[position].shape, format_)
        return plugin.supports_format_combination(position, changed, len(inputs))

    for position, right in enumerate(types):
        for data_type in host.DataType.__members__.values():
            assert supported(position, data_type) == (data_type == right), (position, data_type)
        assert not supported(position, right, format_=1)


@pytest.mark.parametrize("tree", [False, True])
@INTERFACES
def test_one_engine_serves_prefill_and_generation(
    device: host.Device, version: str, major: int, tree: bool
) -> None:
    """A profile in which S, the start index and the tree inputs vary; one cache for all steps."""
    steps = [MODES["prefill"], MODES["chunk"], MODES["decode"], MODES["prefill"]]
    if tree:
        steps = [cases.with_dummy_tree(case) for case in steps] + [TREE_CASE]
        steps[2] = MODES["decode"].replace(
            attention_mask=np.ones((2, 1, 1), np.int32),
            attention_pos_ids=np.array([[15], [2]], np.int32),
        )
    largest = (TREE_CASE if tree else MODES["chunk"]).ranges
    smallest = [tensor.min for tensor in MODES["decode"].ranges]
    smallest[4] = [0]
    smallest += [[2, 1, 1], [2, 1]] if tree else []
    ranges = [
        host.TensorRange(tensor.type, low, tensor.max, tensor.max)
        for tensor, low in zip(largest, smallest, strict=True)
    ]
    creator = cases.creator(device, version, major)
    engine = host.build_engine(creator, steps[0].fields, ranges)
    assert [output.max for output in engine.outputs] == [[2, 5, 6, 64], [2, 2, 2, 16, 64]]
    stream = device.stream()
    with engine.load(device) as loaded:
        context = loaded.create_context()
        for case in steps:
            tensors = cases.CaseTensors(device, case)
            context.enqueue(tensors.inputs, tensors.outputs, stream)
            stream.synchronize()
            cases.assert_correct(tensors.result(), case)


@pytest.mark.parametrize("mode", MODES)
def test_workspace_serves_every_smaller_problem(device: host.Device, mode: str) -> None:
    """The workspace is an allocation of its own size: the emulator reports what lies outside."""
    case = MODES[mode]
    extra = {0: [1, 3, 0], 1: [1, 0, 0, 700, 0], 3: [0, 0, 0]}
    ranges = []
    for i, tensor in enumerate(case.ranges):
        largest = [a + b for a, b in zip(tensor.max, extra.get(i, [0] * 9), strict=False)]
        if i in (2, 4, 5, 6) and len(largest) and largest[0]:
            largest[0] += 1
        ranges.append(host.TensorRange(tensor.type, tensor.min, tensor.max, largest))
    engine = host.build_engine(cases.creator(device), case.fields, ranges)
    tensors = cases.CaseTensors(device, case)
    stream = device.stream()
    with engine.load(device) as loaded:
        loaded.create_context().enqueue(tensors.inputs, tensors.outputs, stream)
        stream.synchronize()
    cases.assert_correct(tensors.result(), case)


@V2
def test_v2_engine_data_of_others_is_refused(device: host.Device, major: int) -> None:
    """Upstream's four INT32, rubbish of the right length, and our other plugin's data."""
    creator = cases.creator(device, "1", major)
    size = len(creator.create("layer", TREE_CASE.field_list()).serialize().bytes)
    upstream = np.array([6, 2, 64, 1], np.int32).tobytes()
    gemm = host.find_creator(device.library, "Int4GroupwiseGemmPlugin", "1", major)
    gemm_fields = {"gemm_n": 64, "gemm_k": 64, "group_size": 128}
    gemm_data = gemm.create("layer", [host.field(*item) for item in gemm_fields.items()])
    rubbish = np.random.default_rng(1).bytes(size)
    for data in (upstream, rubbish, gemm_data.serialize().bytes, b""):
        with pytest.raises(host.PluginError, match="rebuild the engine"):
            creator.deserialize("layer", host.SerializedPlugin(data))


def test_v2_engines_do_not_depend_on_the_major(device: host.Device) -> None:
    data = {
        cases.creator(device, "1", major).create("layer", TREE_CASE.field_list()).serialize().bytes
        for major in (8, 10, 11)
    }
    assert len(data) == 1


@pytest.mark.parametrize("alias", [0, 1])
def test_v3_serializes_the_fields_that_it_was_created_from(device: host.Device, alias: int) -> None:
    creator = cases.creator(device)
    data = creator.create("layer", TREE_CASE.field_list(alias_kv_cache=alias)).serialize()
    assert data.bytes == b""
    values = {field.name: np.frombuffer(field.data, np.int32) for field in data.fields}
    expected = TREE_CASE.fields | {"alias_kv_cache": alias}
    assert {name: int(value[0]) for name, value in values.items()} == expected
    again = creator.deserialize("layer", data).serialize()
    assert [(f.name, f.data) for f in again.fields] == [(f.name, f.data) for f in data.fields]


@pytest.mark.parametrize("removed", FIELD_NAMES)
def test_v3_engine_fields_that_are_missing_or_corrupted_are_refused(
    device: host.Device, removed: str
) -> None:
    creator = cases.creator(device)
    fields = creator.create("layer", TREE_CASE.field_list()).serialize().fields
    others = [field for field in fields if field.name != removed]
    with pytest.raises(host.PluginError, match=f"field {removed} is missing"):
        creator.deserialize("layer", host.SerializedPlugin(fields=others))
    with pytest.raises(host.PluginError, match=f"field {removed} = -1"):
        creator.deserialize(
            "layer", host.SerializedPlugin(fields=[*others, host.field(removed, -1)])
        )


@INTERFACES
def test_clones_outlive_their_source(device: host.Device, version: str, major: int) -> None:
    creator = cases.creator(device, version, major)
    source = creator.create("layer", TREE_CASE.field_list())
    expected = source.serialize().bytes
    clone = source.clone().clone()
    del source
    assert clone.serialize().bytes == expected
    shapes = [list(array.shape) for array in TREE_CASE.arrays.values()]
    assert clone.output_shapes(shapes) == [[2, 5, 6, 64], [2, 2, 2, 16, 64]]
