"""Addresses far beyond 32 bits, and a workspace that holds anything."""

from __future__ import annotations

import numpy as np
import pytest

from edge_llm_plugins import host
from tests.ops import attention_cases as cases
from tests.ops.described import Described

# The largest batch and cache. Of 64 rows of 144 MiB the last one begins 2^33 bytes and 2^32
# elements behind the first one.
BATCH, CAPACITY = 64, 131072
HEADS = cases.Heads(3, 3, 96)
POSITIONS = 2**20
SLOTS = 40  # of the last row, which are looked at


def in_the_last_row(array: np.ndarray) -> np.ndarray:
    """64 rows, of which the last one is that of `array`, and the others are zero."""
    rows = np.zeros((BATCH, *array.shape[1:]), array.dtype)
    rows[-len(array) :] = array
    return rows


def announced(tensor: host.DeviceTensor, *extents: int) -> Described:
    """64 rows of these extents; of their memory there is what `tensor` has, where the last begins.

    The emulator reports every access outside.
    """
    row_bytes = int(np.prod(extents)) * tensor.dtype.itemsize
    address = tensor.address - (BATCH - 1) * row_bytes
    return Described(tensor, shape=(BATCH, *extents), address=address)


@pytest.mark.emulator_only
@pytest.mark.parametrize(
    "row",
    [
        cases.chunk(33, [20], [20], SLOTS, heads=HEADS),
        cases.decode([33], SLOTS, heads=HEADS),
        cases.draft_trees(cases.random_tree(17)[None], [20], SLOTS, heads=HEADS),
    ],
    ids=["chunk", "decode", "tree"],
)
def test_the_last_row_of_the_largest_cache(row: cases.Case) -> None:
    """The other rows have no tokens."""
    device = host.open_device("emulator")
    shape = (1, 2, HEADS.kv, CAPACITY, HEADS.size)
    unused = np.array(np.nan, np.float16).view(np.uint16)
    contents = np.full(shape, unused).view(np.float16)
    contents[..., :SLOTS, :] = row.kv_cache
    cache = device.tensor(contents, "the last row of the cache")
    table = device.tensor(row.rope_cos_sin, "the first lines of the last RoPE table")
    far = {
        "kv_cache": announced(cache, *shape[1:]),
        "rope_cos_sin": announced(table, POSITIONS, HEADS.size),
    }
    near = {
        name: device.tensor(in_the_last_row(array) if array.size else array, name)
        for name, array in row.arrays.items()
        if name not in far
    }
    inputs = [(near | far)[name] for name in row.arrays]
    garbage = np.full((BATCH, *row.output_shape[1:]), np.nan, np.float16)
    output = device.tensor(garbage, "output")

    ranges = [
        host.TensorRange(tensor.description.type, *[tensor.description.shape] * 3)
        for tensor in inputs
    ]
    stream = device.stream()
    engine = host.build_engine(cases.creator(device), row.fields, ranges)
    with engine.load(device) as loaded:
        loaded.create_context().enqueue(inputs, [output, far["kv_cache"]], stream)
        stream.synchronize()
    assert not output.numpy()[:-1].any(), cases.rerun()
    written = cache.numpy()
    assert (written[..., SLOTS:, :].view(np.uint16) == unused).all(), cases.rerun()
    cases.assert_correct((output.numpy()[-1:], written[..., :SLOTS, :]), row)


@pytest.mark.parametrize("total", [1, 33, 600])
def test_a_workspace_full_of_an_older_call(device: host.Device, total: int) -> None:
    """All splits of the older call leave NaN behind; shorter rows have fewer splits."""
    heads = cases.Heads(3, 1, 64)
    older = cases.decode([1000], capacity=1000, heads=heads)
    older = older.replace(qkv=np.full_like(older.qkv, np.nan))
    case = cases.decode([total], capacity=1000, heads=heads)
    stream = device.stream()
    with cases.build(device, case).load(device) as loaded:
        context = loaded.create_context()
        for step in (older, case):
            tensors = cases.CaseTensors(device, step)
            context.enqueue(tensors.inputs, tensors.outputs, stream)
            stream.synchronize()
    assert np.isnan(cases.run(device, older)[0]).all()
    cases.assert_correct(tensors.result(), case)
