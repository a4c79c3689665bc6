"""Real head shapes, every ratio of Q to KV heads, and every SM."""

from __future__ import annotations

import numpy as np
import pytest

from edge_llm_plugins import host, ops, rope, tree
from tests.ops import attention_cases as cases
from tools.testing.device_under_test import device_kind

# Model: heads, and the rotary size where it is not the head size.
MODELS = {
    "Llama-3.1-8B": (cases.Heads(32, 8, 128), None),
    "Llama-3.2-1B": (cases.Heads(32, 8, 64), None),
    "Qwen2.5-0.5B": (cases.Heads(14, 2, 64), None),
    "Qwen2.5-7B": (cases.Heads(28, 4, 128), None),
    "Qwen3-0.6B": (cases.Heads(16, 8, 128), None),
    "Qwen2-VL-2B": (cases.Heads(12, 2, 128), None),
    "Phi-3-mini": (cases.Heads(32, 32, 96), None),
    "Phi-2": (cases.Heads(32, 32, 80), 32),
    "Gemma-1-2B": (cases.Heads(8, 1, 256), None),
    "SmolLM2-135M": (cases.Heads(9, 3, 64), None),
    "head size 32": (cases.Heads(4, 2, 32), None),
}
# With one KV head; 14 and 16 fill a tile of 16 rows (almost), 5 and 7 are odd.
RATIOS = [1, 2, 3, 4, 5, 6, 7, 8, 12, 14, 16]


def small_cases(heads: cases.Heads, rotary_size: int | None = None) -> list[cases.Case]:
    """A ragged batch of each mode, just beyond a tile of 16 rows."""
    options = {"heads": heads, "rotary_size": rotary_size}
    trees = tree.batch([cases.random_tree(5), cases.random_tree(3)])
    return [
        cases.prefill(17, [17, 3], **options),
        cases.chunk(3, [3, 2], [16, 0], capacity=20, **options),
        cases.decode([18, 1], capacity=20, **options),
        cases.draft_trees(trees, [15, 2], capacity=20, **options),
    ]


@pytest.mark.parametrize("model", MODELS)
def test_real_head_shapes(device: host.Device, model: str) -> None:
    for case in small_cases(*MODELS[model]):
        cases.check(device, case)


@pytest.mark.parametrize("ratio", RATIOS)
def test_every_ratio(device: host.Device, ratio: int) -> None:
    for case in small_cases(cases.Heads(ratio, 1, 64)):
        cases.check(device, case)


def test_every_sm(sm: int | None) -> None:
    """Each mode, both decode tiles and kernels of chunks, a split range, and a cache elsewhere."""
    device = host.open_device(device_kind(), sm)
    one_kv_head = {"heads": cases.Heads(3, 1, 128)}
    for case in (
        *small_cases(cases.Heads(4, 2, 64)),
        cases.prefill(129, [129, 65], **one_kv_head),
        cases.chunk(40, [40, 33], [31, 0], capacity=80, **one_kv_head),
        cases.decode([600, 64], capacity=600, **one_kv_head),
        cases.draft_trees(cases.random_tree(33)[None], [300], capacity=400, **one_kv_head),
    ):
        cases.check(device, case)
        cases.check(device, case, version="1", in_place=False)


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("apart", [False, True])
def test_ops_update_the_cache(device: host.Device, version: str, apart: bool) -> None:
    """A prefill and a decode step, in place and from one cache to another."""
    rng = np.random.default_rng(1)
    heads = {"num_q_heads": 4, "num_kv_heads": 2, "head_size": 64}
    options = {**heads, "device": device.kind, "plugin_version": version}
    table = rope.cos_sin(16, 64, scaling=rope.Yarn(2.0, 8))
    cache = np.zeros((1, 2, 2, 16, 64), np.float16)
    steps = [(3, [3], []), (1, [4], [0])]
    for seq, lengths, starts in steps:
        qkv = rng.standard_normal((1, seq, 8 * 64)).astype(np.float16)
        arrays = [table, np.array(starts, np.int32)]
        lengths = np.array(lengths, np.int32)
        before = cache.copy()
        target = np.full_like(cache, 7) if apart else cache
        out = {"out_kv_cache": target} if apart else {}
        output = ops.attention(qkv, cache, lengths, *arrays, **options, **out)
        assert output.dtype == np.float16
        assert output.shape == (1, seq, 4, 64)
        if apart:
            assert cache.tobytes() == before.tobytes()
        case = cases.Case(cases.Heads(4, 2, 64), qkv, before, lengths, *arrays)
        cases.assert_correct((output, target), case)
        cache = target


def test_ops_take_trees(device: host.Device) -> None:
    case = cases.draft_trees(tree.batch([[-1, 0, 0], [-1]]), [4, 0], capacity=12)
    cache = case.kv_cache.copy()
    arrays = case.arrays | {"kv_cache": cache}
    output = ops.attention(**arrays, **case.head_arguments, device=device.kind)
    cases.assert_correct((output, cache), case)
