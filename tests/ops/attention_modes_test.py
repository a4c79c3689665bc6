"""Prefill, chunked prefill and decode through the plugin, around every edge, on one SM."""

from __future__ import annotations

import numpy as np
import pytest

from edge_llm_plugins import emulator, host, reference, rope
from tests.ops import attention_cases as cases


@pytest.fixture(scope="module")
def device() -> host.Device:
    return host.open_device("emulator")


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


def test_chunks_with_their_own_starts(device: host.Device) -> None:
    """Starts around the tile edges, one of them 0; lengths of 0, 1, and S."""
    starts = [0, 1, 31, 32, 33, 63, 64, 65]
    lengths = [19, 19, 1, 18, 0, 19, 2, 19]
    cases.check(device, cases.chunk(19, lengths, starts, capacity=96))


def test_a_short_chunk_after_a_long_past(device: host.Device) -> None:
    """Few tokens are attended to like a tree, the KV range split over CTAs."""
    case = cases.chunk(4, [4], [1100], capacity=1300, heads=cases.Heads(3, 1, 64))
    cases.check(device, case)


def test_a_long_chunk_after_a_long_past(device: host.Device) -> None:
    case = cases.chunk(40, [40], [600], capacity=700, heads=cases.Heads(3, 1, 64))
    cases.check(device, case)


def test_a_chunk_longer_than_a_tile(device: host.Device) -> None:
    cases.check(device, cases.chunk(130, [130, 65], [37, 3], capacity=170))


def test_padding_beyond_the_capacity_with_valid_tokens_inside(device: host.Device) -> None:
    """start + S > Cap, and the last row's valid tokens just fit."""
    cases.check(device, cases.chunk(20, [5, 1, 8], [30, 39, 32], capacity=40))


# Around the KV tiles of 32 and 64, and the full cache.
DECODE_TOTALS = [1, 2, 31, 32, 33, 63, 64, 65, 128]


def test_decode_of_rows_of_every_length(device: host.Device) -> None:
    cases.check(device, cases.decode(DECODE_TOTALS, capacity=128))


@pytest.mark.parametrize("total", [1, 33, 127, 700, 1500])
def test_decode_with_a_split_range(device: host.Device, total: int) -> None:
    """One row in a large cache: its range is split over CTAs by its real length."""
    case = cases.decode([total], capacity=1500, heads=cases.Heads(3, 1, 64))
    emulator.take_stats()
    cases.check(device, case)
    assert emulator.take_stats()["launches"] == 2  # attention, and the combining of splits


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


MODES = pytest.mark.parametrize(
    "case",
    [
        cases.prefill(9, [9, 4], capacity=12),
        cases.chunk(9, [9, 4], [1, 7], capacity=12),
        cases.decode([12, 5], capacity=12),
        cases.draft_trees(np.stack([cases.random_tree(9)] * 2), [1, 3], capacity=12),
    ],
    ids=["prefill", "chunk", "decode", "tree"],
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
    axes = np.random.default_rng(1).integers(0, 90, (3, 2, 12))
    tables = rope.cos_sin(axes, 64, base=1e6, mrope_section=[8, 12, 12])
    cases.check(device, case.replace(rope_cos_sin=tables))


@MODES
@pytest.mark.parametrize("rotary_size", [2, 6, 32, 62])
def test_partial_rotary(device: host.Device, case: cases.Case, rotary_size: int) -> None:
    cases.check(device, case.replace(rope_cos_sin=rope.cos_sin(12, rotary_size)))


@MODES
def test_same_inputs_same_bits(device: host.Device, case: cases.Case) -> None:
    first = cases.run(device, case)
    for a, b in zip(first, cases.run(device, case), strict=True):
        assert a.tobytes() == b.tobytes(), cases.rerun()


def test_split_decode_has_the_same_bits_every_time(device: host.Device) -> None:
    case = cases.decode([900], capacity=1000, heads=cases.Heads(3, 1, 64))
    first = cases.run(device, case)[0].tobytes()
    assert cases.run(device, case)[0].tobytes() == first, cases.rerun()


@MODES
def test_saturated_softmax(device: host.Device, case: cases.Case) -> None:
    """Scores of thousands: the largest one takes all, and nothing overflows."""
    unit = np.concatenate([np.ones((1, 12, 32)), np.zeros((1, 12, 32))], axis=2)
    qkv = np.clip(case.qkv * np.float16(40), -100, 100)
    cases.check(device, case.replace(qkv=qkv, rope_cos_sin=unit.astype(np.float32)))


@pytest.mark.parametrize(("batch", "seq"), [(0, 5), (2, 0), (0, 0)])
@pytest.mark.parametrize("in_place", [True, False])
def test_no_rows_or_no_tokens(device: host.Device, batch: int, seq: int, in_place: bool) -> None:
    """The cache is as it was, or copied."""
    case = cases.prefill(seq, [seq] * batch, capacity=4)
    output, cache = cases.run(device, case, in_place=in_place)
    assert output.shape == (batch, seq, 6, 64)
    assert cache.tobytes() == case.kv_cache.tobytes()


def test_nan_and_infinity_stay_in_their_row(device: host.Device) -> None:
    """And in the Q heads of their KV head.

    A NaN in a key is seen by the tokens from its own on. An infinite value may reach older tokens
    of its row: their weight for it is 0, and 0 * inf is NaN.
    """
    case = cases.chunk(5, [5, 5, 5], [4, 4, 4], capacity=12)
    heads = case.qkv.reshape(3, 5, 10, 64)
    heads[0, 2, 6, 1] = np.nan  # the first KV head's key of token 2
    heads[1, 3, 9, 2] = np.inf  # the second KV head's value of token 3
    actual, _ = cases.run(device, case)
    expected, _ = case.expected()
    assert np.isnan(actual[0, 2:, :3]).all()
    assert np.isposinf(actual[1, 3:, 3:, 2]).all()
    for finite in (np.s_[0, :2], np.s_[0, :, 3:], np.s_[1, :, :3], np.s_[2]):
        reference.assert_attention_close(actual[finite], expected[finite], hint=cases.rerun())
