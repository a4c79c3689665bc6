"""Bad input of AttentionPlugin: one line that names the value, and nothing is written."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

from edge_llm_plugins import host, ops, tree
from tests.ops import attention_cases as cases
from tests.ops.described import Described

INTERFACES = pytest.mark.parametrize(("version", "major"), cases.INTERFACES)

CHUNK = cases.chunk(3, [3, 2], [1, 4], capacity=8)
TREE = cases.draft_trees(tree.batch([[-1, 0, 0], [-1]]), [1, 4], capacity=8)
CASES = {"chunk": CHUNK, "tree": TREE}


@INTERFACES
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([], "field num_q_heads is missing; it is a required INT32"),
        (TREE.field_list(num_kv_heads=None), "field num_kv_heads is missing"),
        (TREE.field_list(head_size=None), "field head_size is missing"),
        (TREE.field_list(enable_tree_attention=None), "field enable_tree_attention is missing"),
        ([*TREE.field_list(), host.field("head_size", 64)], "field head_size is given twice"),
        (
            [*TREE.field_list(alias_kv_cache=0), host.field("alias_kv_cache", 0)],
            "field alias_kv_cache is given twice",
        ),
        (
            TREE.field_list(num_q_heads=np.float32(6)),
            "field num_q_heads has type FLOAT32; INT32 is required",
        ),
        (TREE.field_list(head_size=[64, 64]), "field head_size has 2 elements; 1 is required"),
        (TREE.field_list(num_kv_heads=0), "field num_kv_heads = 0; positive numbers"),
        (TREE.field_list(num_kv_heads=-2), "field num_kv_heads = -2; positive numbers"),
        (TREE.field_list(num_q_heads=0), "field num_q_heads = 0; 1 to 16 times num_kv_heads = 2"),
        (TREE.field_list(num_q_heads=5), "field num_q_heads = 5; 1 to 16 times num_kv_heads = 2"),
        (TREE.field_list(num_q_heads=34), "field num_q_heads = 34; 1 to 16 times num_kv_heads = 2"),
        (TREE.field_list(head_size=0), "field head_size = 0; positive numbers"),
        (TREE.field_list(head_size=48), "head_size is 48; "),
        (TREE.field_list(enable_tree_attention=2), "field enable_tree_attention = 2; 0 and 1"),
        (TREE.field_list(alias_kv_cache=-1), "field alias_kv_cache = -1; 0 and 1"),
    ],
)
def test_creation_refuses_fields(
    device: host.Device, version: str, major: int, fields: list[host.Field], message: str
) -> None:
    creator = cases.creator(device, version, major)
    with pytest.raises(host.PluginError, match=re.escape(message)) as raised:
        creator.create("layer", fields)
    assert "\n" not in str(raised.value)


@INTERFACES
def test_unknown_fields_are_tolerated(device: host.Device, version: str, major: int) -> None:
    fields = [host.field("colour", [1, 2]), *TREE.field_list(), host.field("plugin_version", 3)]
    plugin = cases.creator(device, version, major).create("layer", fields)
    assert plugin.clone().name == cases.PLUGIN


def expect_enqueue_refused(
    device: host.Device,
    case: cases.Case,
    interface: tuple[str, int],
    change: Callable[[list], None],
    message: str,
) -> None:
    """Runs a case with changed tensors; the plugin must refuse, and write nothing."""
    tensors = cases.CaseTensors(device, case)
    changed = [*tensors.inputs, *tensors.outputs]
    change(changed)
    count = len(tensors.inputs)
    stream = device.stream()
    with cases.build(device, case, *interface).load(device) as loaded:
        context = loaded.create_context()
        with pytest.raises(host.PluginError, match=re.escape(message)) as raised:
            context.enqueue(changed[:count], changed[count:], stream)
    assert "\n" not in str(raised.value)
    output, cache = tensors.result()
    assert np.isnan(output).all()
    assert cache.tobytes() == case.kv_cache.tobytes()


@INTERFACES
@pytest.mark.parametrize(
    ("mode", "position", "shape", "message"),
    [
        ("chunk", 0, (2, 1920), "PackedQKV has shape [2, 1920]; [B, S, 640] or [B, S, 10, 64]"),
        ("chunk", 0, (2, 3, 641), "PackedQKV has shape [2, 3, 641]"),
        ("chunk", 0, (2, 3, 64, 10), "PackedQKV has shape [2, 3, 64, 10]"),
        ("chunk", 0, (1, 6, 640), "KVCache has shape [2, 2, 2, 8, 64]; [1, 2, 2, Cap >= 1, 64]"),
        ("chunk", 1, (2, 2, 2, 512), "KVCache has shape [2, 2, 2, 512]"),
        ("chunk", 1, (2, 2, 2, 64, 8), "KVCache has shape [2, 2, 2, 64, 8]"),
        ("chunk", 2, (1,), "ContextLengths has shape [1]; [2] is required"),
        ("chunk", 2, (2, 1), "ContextLengths has shape [2, 1]; [2] is required"),
        ("chunk", 3, (8, 64), "RopeCosSin has shape [8, 64]; [2, P >= 1, R >= 2] is required"),
        ("chunk", 3, (1, 4, 128), "RopeCosSin has shape [1, 4, 128]; the last extent must be even"),
        ("chunk", 3, (1, 8, 63), "RopeCosSin has shape [1, 8, 63]; the last extent must be even"),
        ("chunk", 3, (4, 2, 64), "RopeCosSin has shape [4, 2, 64]"),
        ("chunk", 4, (1,), "KVCacheStartIndex has shape [1]; [0] (prefill) or [2]"),
        ("chunk", 4, (2, 1), "KVCacheStartIndex has shape [2, 1]"),
        ("chunk", 5, (2, 3, 64, 6), "AttentionOutput has shape [2, 3, 64, 6]; [2, 3, 6, 64]"),
        ("chunk", 6, (2, 2, 2, 4, 64), "output KVCache has shape [2, 2, 2, 4, 64]"),
        ("tree", 5, (2, 3), "AttentionMask has shape [2, 3]"),
        ("tree", 5, (2, 1, 3), "AttentionMask has shape [2, 1, 3]; [2, 3, W >= 1] is required"),
        ("tree", 6, (2, 2), "AttentionPosIds has shape [2, 2]; [2, 3] (tree decode) or [2, 1]"),
        ("tree", 6, (1, 3), "AttentionPosIds has shape [1, 3]; [2, any] is required"),
    ],
)
def test_enqueue_refuses_shapes(
    device: host.Device,
    version: str,
    major: int,
    mode: str,
    position: int,
    shape: tuple[int, ...],
    message: str,
) -> None:
    def change(tensors: list) -> None:
        tensors[position] = Described(tensors[position], shape=shape)

    expect_enqueue_refused(device, CASES[mode], (version, major), change, message)


def test_one_token_and_one_position_of_three_is_refused(device: host.Device) -> None:
    """S = 1 with PosIds [B, 3] is no mode."""
    case = cases.draft_trees(tree.batch([[-1], [-1]]), [1, 4], capacity=8)
    case = case.replace(attention_pos_ids=np.zeros((2, 3), np.int32))
    message = "AttentionPosIds has shape [2, 3]; [2, 1] (tree decode)"
    expect_enqueue_refused(device, case, ("2", 10), lambda tensors: None, message)


@INTERFACES
def test_trees_of_129_tokens_are_refused(device: host.Device, version: str, major: int) -> None:
    case = cases.chunk(129, [129], [0], capacity=129).replace(
        attention_mask=np.zeros((1, 129, 5), np.int32),
        attention_pos_ids=np.zeros((1, 129), np.int32),
    )
    message = "a tree of 129 tokens; up to 128 are allowed"
    expect_enqueue_refused(device, case, (version, major), lambda tensors: None, message)


NAMES = [
    *("PackedQKV", "KVCache", "ContextLengths", "RopeCosSin", "KVCacheStartIndex"),
    *("AttentionMask", "AttentionPosIds", "AttentionOutput", "output KVCache"),
]


@INTERFACES
@pytest.mark.parametrize("name", NAMES)
def test_enqueue_refuses_types(device: host.Device, version: str, major: int, name: str) -> None:
    def change(tensors: list) -> None:
        position = NAMES.index(name)
        tensors[position] = Described(tensors[position], data_type=host.DataType.INT8)

    message = f"{name} has data type 2"
    expect_enqueue_refused(device, TREE, (version, major), change, message)


@INTERFACES
@pytest.mark.parametrize("name", NAMES)
def test_enqueue_refuses_misaligned_tensors(
    device: host.Device, version: str, major: int, name: str
) -> None:
    """Tensors of FP16 are read 16 bytes at a time, the others word by word."""
    offset = 8 if name in ("PackedQKV", "KVCache", "AttentionOutput", "output KVCache") else 2

    def change(tensors: list) -> None:
        tensor = tensors[NAMES.index(name)]
        tensors[NAMES.index(name)] = Described(tensor, address=tensor.address + offset)

    expect_enqueue_refused(device, TREE, (version, major), change, f"{name} is at")


@INTERFACES
@pytest.mark.parametrize("name", NAMES)
def test_enqueue_refuses_null_pointers(
    device: host.Device, version: str, major: int, name: str
) -> None:
    def change(tensors: list) -> None:
        tensors[NAMES.index(name)] = Described(tensors[NAMES.index(name)], address=0)

    expect_enqueue_refused(device, TREE, (version, major), change, f"{name} is a null pointer")


@INTERFACES
@pytest.mark.parametrize("shift", [256, -256])
def test_caches_that_overlap_in_part_are_refused(
    device: host.Device, version: str, major: int, shift: int
) -> None:
    """Both caches lie in one allocation, a row of slots apart."""
    shared = device.tensor(np.full(CHUNK.kv_cache.size + 256, 7, np.float16), "caches")
    first, second = (0, shift) if shift > 0 else (-shift, 0)

    def change(tensors: list) -> None:
        tensors[1] = Described(tensors[1], address=shared.address + first)
        tensors[6] = Described(tensors[6], address=shared.address + second)

    message = "share some of 8192 bytes; bind both to the same address or to separate buffers"
    expect_enqueue_refused(device, CHUNK, (version, major), change, message)
    assert (shared.numpy() == 7).all()


@INTERFACES
def test_enqueue_before_attaching_is_refused(device: host.Device, version: str, major: int) -> None:
    plugin = cases.creator(device, version, major).create("layer", TREE.field_list())
    tensors = cases.CaseTensors(device, TREE)
    with pytest.raises(host.PluginError, match="enqueue before"):
        plugin.enqueue(
            [tensor.description for tensor in tensors.inputs],
            [tensor.description for tensor in tensors.outputs],
            [tensor.address for tensor in tensors.inputs],
            [tensor.address for tensor in tensors.outputs],
            0,
            device.stream(),
        )
    assert np.isnan(tensors.result()[0]).all()


@INTERFACES
@pytest.mark.parametrize("position", [0, 1, 2, 3, 4])
def test_builder_refuses_types(
    device: host.Device, version: str, major: int, position: int
) -> None:
    ranges = CHUNK.ranges
    wrong = ranges[position]
    ranges[position] = host.TensorRange(host.DataType.INT8, wrong.min, wrong.opt, wrong.max)
    creator = cases.creator(device, version, major)
    with pytest.raises(host.PluginError, match=rf"refuses INT8 .* as tensor {position}"):
        host.build_engine(creator, CHUNK.fields, ranges)


@INTERFACES
@pytest.mark.parametrize(("case", "flag"), [(CHUNK, 1), (TREE, 0)], ids=["5 of 7", "7 of 5"])
def test_the_number_of_inputs_follows_the_tree_flag(
    device: host.Device, version: str, major: int, case: cases.Case, flag: int
) -> None:
    fields = case.fields | {"enable_tree_attention": flag}
    with pytest.raises(host.PluginError, match=f"{len(case.arrays)} inputs"):
        host.build_engine(cases.creator(device, version, major), fields, case.ranges)


def read_only(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"qkv": TREE.qkv.astype(np.float32)}, TypeError, "qkv has dtype float32: float16"),
        ({"qkv": TREE.qkv[..., :639]}, ValueError, "qkv has shape [2, 3, 639]: [B, S, 640]"),
        ({"qkv": np.asfortranarray(TREE.qkv)}, ValueError, "np.ascontiguousarray(qkv)"),
        ({"kv_cache": TREE.kv_cache.tolist()}, TypeError, "kv_cache has dtype float64"),
        ({"kv_cache": read_only(TREE.kv_cache)}, ValueError, "kv_cache is read-only: pass a"),
        ({"kv_cache": TREE.kv_cache[..., ::2]}, ValueError, "kv_cache has shape [2, 2, 2, 8, 32]"),
        ({"kv_cache": np.asfortranarray(TREE.kv_cache)}, ValueError, "ascontiguousarray(kv_cache)"),
        ({"context_lengths": [4, 5]}, TypeError, "context_lengths has dtype int64: int32"),
        (
            {"rope_cos_sin": TREE.rope_cos_sin[..., :63]},
            ValueError,
            "rope_cos_sin has shape [1, 8, 63]: [1 or 2, P, R] with an even R from 2 to 64",
        ),
        ({"kv_cache_start_index": np.zeros(3, np.int32)}, ValueError, "has shape [3]: [0] or [2]"),
        ({"attention_mask": None}, ValueError, "attention_pos_ids is given alone"),
        ({"attention_pos_ids": None}, ValueError, "attention_mask is given alone"),
        ({"out_kv_cache": [1.0]}, TypeError, "out_kv_cache is a list: a NumPy array is allowed"),
        (
            {"out_kv_cache": np.zeros((2, 2, 2, 8, 64), np.float32)},
            TypeError,
            "out_kv_cache has dtype float32: float16 is allowed",
        ),
        (
            {"out_kv_cache": np.zeros((2, 2, 2, 9, 64), np.float16)},
            ValueError,
            "out_kv_cache has shape [2, 2, 2, 9, 64]: [2, 2, 2, 8, 64] is allowed, as kv_cache",
        ),
        ({"out_kv_cache": read_only(TREE.kv_cache)}, ValueError, "out_kv_cache is read-only"),
        ({"out_kv_cache": TREE.kv_cache}, ValueError, "out_kv_cache overlaps kv_cache: another"),
        (
            {"num_q_heads": 5},
            ValueError,
            "num_q_heads is 5: a positive multiple of num_kv_heads = 2 is allowed",
        ),
        ({"device": "gpu"}, ValueError, 'device is \'gpu\': "auto", "cuda" or "emulator"'),
        pytest.param({"sm": 75}, ValueError, "sm is 75: ", marks=pytest.mark.emulator_only),
        ({"plugin_version": "3"}, ValueError, "plugin_version is '3': \"1\""),
    ],
)
def test_ops_refuse(
    device: host.Device, changes: dict[str, object], error: type[Exception], message: str
) -> None:
    before = TREE.kv_cache.tobytes()
    arguments = TREE.arrays | TREE.head_arguments | {"device": device.kind} | changes
    with pytest.raises(error, match=re.escape(message)) as raised:
        ops.attention(**arguments)
    assert "\n" not in str(raised.value)
    assert TREE.kv_cache.tobytes() == before


@pytest.mark.parametrize(
    ("heads", "message"),
    [
        (cases.Heads(2, 1, 48), "head_size is 48; "),
        (cases.Heads(17, 1, 64), "field num_q_heads = 17; 1 to 16 times num_kv_heads = 1"),
    ],
)
def test_ops_say_which_heads_have_no_kernels(
    device: host.Device, heads: cases.Heads, message: str
) -> None:
    case = cases.prefill(2, [2], heads=heads)
    before = case.kv_cache.tobytes()
    with pytest.raises(host.PluginError, match=re.escape(message)):
        ops.attention(**case.arrays, **case.head_arguments, device=device.kind)
    assert case.kv_cache.tobytes() == before
