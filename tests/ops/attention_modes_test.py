"""Prefill, chunked prefill and decode through the plugin, around every edge, on one SM."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from edge_llm_plugins import emulator, host, reference, rope, tree
from tests.ops import attention_cases as cases


# CTA tiles of Q have up to 128 rows, those of KV 32 or 64; warps own 16 or 32 rows.
@pytest.mark.parametrize("seq", [1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129])
def test_prefill_around_every_tile_edge(device: host.Device, seq: int) -> None:
    cases.check(device, cases.prefill(seq, [seq]))


def test_prefill_of_ragged_rows(device: host.Device) -> None:
    """Rows shorter than S, one empty, in a cache with more slots than S."""
    cases.check(device, cases.prefill(66, [66, 0, 1, 33, 64], capacity=70))


def test_prefill_of_more_tokens_than_slots(device: host.Device) -> None:
    """S is padded beyond the capacity; one row is full, another asks for more."""
    cases.check(device, cases.prefill(40, [3, 33, 40], capacity=33))


@pytest.mark.parametrize("seq", [19, 34])
def test_chunks_with_their_own_starts(device: host.Device, seq: int) -> None:
    """Starts around the tile edges, one of them 0; lengths of 0, 1, and S."""
    starts = [0, 1, 31, 32, 33, 63, 64, 65]
    lengths = [seq, seq, 1, seq - 1, 0, seq, 2, seq]
    cases.check(device, cases.chunk(seq, lengths, starts, capacity=100))


def test_a_short_chunk_after_a_long_past(device: host.Device) -> None:
    """Few tokens are attended to like a tree, the KV range split over CTAs."""
    case = cases.chunk(4, [4], [1100], capacity=1300, heads=cases.Heads(3, 1, 64))
    cases.check(device, case)


def test_a_long_chunk_after_a_long_past(device: host.Device) -> None:
    case = cases.chunk(40, [40], [600], capacity=700, heads=cases.Heads(3, 1, 64))
    cases.check(device, case)


def test_a_chunk_longer_than_a_tile(device: host.Device) -> None:
    cases.check(device, cases.chunk(130, [130, 65], [37, 3], capacity=170))


@pytest.mark.parametrize("seq", [20, 33])
def test_padding_beyond_the_capacity_with_valid_tokens_inside(
    device: host.Device, seq: int
) -> None:
    """start + S > Cap, and the last row's valid tokens just fit."""
    cases.check(device, cases.chunk(seq, [5, 1, 8], [30, 39, 32], capacity=40))


# Around the KV tiles of 32 and 64, and the full cache.
DECODE_TOTALS = [1, 2, 31, 32, 33, 63, 64, 65, 128]


def test_decode_of_rows_of_every_length(device: host.Device) -> None:
    cases.check(device, cases.decode(DECODE_TOTALS, capacity=128))


@pytest.mark.parametrize("total", [1, 33, 127, 700, 1500])
def test_decode_with_a_split_range(device: host.Device, total: int) -> None:
    """One row in a large cache: its range is split over CTAs by its real length."""
    case = cases.decode([total], capacity=1500, heads=cases.Heads(3, 1, 64))
    with cases.expected_launches(device, 2):  # attention, and the combining of splits
        cases.check(device, case)


def test_decode_in_the_largest_cache(device: host.Device) -> None:
    """A full row of 131072 slots, and a short one."""
    case = cases.decode([131072, 3], capacity=131072, heads=cases.Heads(2, 1, 32))
    cases.check(device, case)


def test_decode_of_64_rows(device: host.Device) -> None:
    cases.check(device, cases.decode([1 + b for b in range(64)], capacity=64))


@pytest.mark.parametrize("make", ["prefill", "chunk"])
def test_dummy_tree_inputs_change_nothing(device: host.Device, make: str) -> None:
    case = {
        "prefill": cases.prefill(5, [5, 3]),
        "chunk": cases.chunk(5, [5, 3], [2, 0], capacity=8),
    }[make]
    plain = cases.run(device, case)
    dummies = cases.run(device, cases.with_dummy_tree(case))
    cases.assert_correct(plain, case)
    for a, b in zip(plain, dummies, strict=True):
        assert a.tobytes() == b.tobytes(), cases.rerun()


PADDED_TREES = tree.batch([cases.random_tree(3), cases.random_tree(5)])

# A chunk of up to 32 tokens, in few tiles, is decoded.
MODES = pytest.mark.parametrize(
    "case",
    [
        cases.prefill(9, [9, 4], capacity=12),
        cases.chunk(33, [23, 9], [1, 7], capacity=32),
        cases.chunk(3, [3, 2], [1, 7], capacity=12),
        cases.decode([12, 5], capacity=12),
        cases.decode([300, 70], capacity=300, heads=cases.Heads(3, 1, 64)),
        cases.draft_trees(np.stack([cases.random_tree(9)] * 2), [1, 3], capacity=12),
        cases.draft_trees(PADDED_TREES, [300, 70], capacity=310, heads=cases.Heads(3, 1, 64)),
    ],
    ids=["prefill", "chunk", "short chunk", "decode", "split decode", "tree", "split tree"],
)


@MODES
def test_cache_may_be_written_elsewhere(device: host.Device, case: cases.Case) -> None:
    """in1 != out1: the whole cache is copied first, NaN and all."""
    in_place = cases.run(device, case)
    apart = cases.run(device, case, in_place=False)
    cases.assert_correct(apart, case)
    for a, b in zip(in_place, apart, strict=True):
        assert a.tobytes() == b.tobytes(), cases.rerun()


@MODES
def test_qkv_may_be_split_into_heads(device: host.Device, case: cases.Case) -> None:
    heads = case.heads
    split = case.qkv.reshape(*case.qkv.shape[:2], heads.q + 2 * heads.kv, heads.size)
    cases.check(device, case.replace(qkv=split))


@MODES
def test_a_rope_table_per_row(device: host.Device, case: cases.Case) -> None:
    """MRoPE tables, as images give them: positions that neither grow nor start at 0."""
    axes = np.random.default_rng(1).integers(0, 90, (3, 2, case.capacity))
    tables = rope.cos_sin(axes, 64, base=1e6, mrope_section=[8, 12, 12])
    cases.check(device, case.replace(rope_cos_sin=tables))


@MODES
@pytest.mark.parametrize("rotary_size", [2, 6, 32, 62])
def test_partial_rotary(device: host.Device, case: cases.Case, rotary_size: int) -> None:
    cases.check(device, case.replace(rope_cos_sin=rope.cos_sin(case.capacity, rotary_size)))


@pytest.fixture
def any_order_of_warps(device: host.Device) -> Iterator[Callable[[int], None]]:
    """Sets the seed of the order in which the emulator runs warps; a GPU has its own."""
    yield emulator.set_seed if device.kind == "emulator" else lambda seed: None
    if device.kind == "emulator":
        emulator.set_seed(0)


@MODES
def test_same_inputs_same_bits(
    device: host.Device, any_order_of_warps: Callable[[int], None], case: cases.Case
) -> None:
    first = cases.run(device, case)
    for seed in (1, 2):
        any_order_of_warps(seed)
        for a, b in zip(first, cases.run(device, case), strict=True):
            assert a.tobytes() == b.tobytes(), cases.rerun()


@MODES
@pytest.mark.parametrize("garbage", [np.inf, -np.inf])
def test_unused_cache_full_of_infinity(
    device: host.Device, case: cases.Case, garbage: float
) -> None:
    """All other tests fill it with NaN."""
    cache = np.where(np.isnan(case.kv_cache), np.float16(garbage), case.kv_cache)
    cases.check(device, case.replace(kv_cache=cache))


@MODES
def test_saturated_softmax(device: host.Device, case: cases.Case) -> None:
    """Scores of thousands: the largest one takes all, and nothing overflows."""
    qkv = np.clip(case.qkv * np.float16(40), -100, 100)
    cases.check(device, case.replace(qkv=qkv, rope_cos_sin=cases.no_rotation(case.capacity, 64)))


@pytest.mark.parametrize("count", [64, 200])
def test_the_largest_values_do_not_overflow(device: host.Device, count: int) -> None:
    """A mean of 65504 is 65504, though every weight but one is rounded up to the next FP16."""
    heads = cases.Heads(1, 1, 32)
    case = cases.prefill(count, [count], heads=heads)
    keys = np.unique(np.float16(np.arange(-4000, 0) / 1000))
    weights = np.exp(keys.astype(np.float64) / np.sqrt(32))
    worst = keys[(weights.astype(np.float16) / weights).argmax()]
    qkv = np.zeros((1, count, 3, 32), np.float16)  # q, k, v
    qkv[..., 0, 0] = 1
    qkv[:, 1:, 1, 0] = worst
    qkv[..., 2, :] = 65504
    cases.check(device, case.replace(qkv=qkv, rope_cos_sin=cases.no_rotation(count, 32)))


@pytest.mark.parametrize(("batch", "seq"), [(0, 5), (2, 0), (0, 0)])
@pytest.mark.parametrize("in_place", [True, False])
def test_no_rows_or_no_tokens(device: host.Device, batch: int, seq: int, in_place: bool) -> None:
    """The cache is as it was, or copied."""
    case = cases.prefill(seq, [seq] * batch, capacity=4)
    output, cache = cases.run(device, case, in_place=in_place)
    assert output.shape == (batch, seq, 6, 64)
    assert cache.tobytes() == case.kv_cache.tobytes()


# What a token sees may be of any value: what it is not to see may be too, except for V. A weight
# of 0 times infinity is NaN, so V of a valid token may reach all tokens of its row and KV head.
@MODES
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_stay_in_their_row_and_head(
    device: host.Device, case: cases.Case, value: float
) -> None:
    qkv = case.qkv.reshape(*case.qkv.shape[:2], -1, case.heads.size).copy()
    qkv[0, case.qkv.shape[1] // 2, -1, 1] = value  # V of the last KV head
    case = case.replace(qkv=qkv)
    output, cache = cases.run(device, case)
    expected_output, expected_cache = case.expected()
    reference.assert_cache_close(cache, expected_cache, case.heads.size, hint=cases.rerun())
    seen = ~np.isfinite(expected_output)
    assert seen.any() and not np.isfinite(output[seen]).any(), cases.rerun()
    reached = np.zeros_like(seen)
    group = case.heads.q // case.heads.kv
    reached[0, :, -group:, 1] = expected_output[0, :, -group:].any(axis=-1)  # not invalid tokens
    assert not seen[~reached].any()
    apart = (np.where(reached, 0, array) for array in (output, expected_output))
    reference.assert_attention_close(*apart, hint=cases.rerun())


def test_keys_that_are_not_finite_are_seen_by_later_tokens_alone(device: host.Device) -> None:
    case = cases.chunk(9, [9, 9], [4, 4], capacity=16)
    heads = case.qkv.reshape(2, 9, 10, 64)
    heads[0, 2, 6, 1] = np.nan  # the first KV head's key of token 2
    output, _ = case.expected()
    assert np.isnan(output[0, 2:, :3]).all() and np.isfinite(output[0, :2]).all()
    cases.check(device, case)
