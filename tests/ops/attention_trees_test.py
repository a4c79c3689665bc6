"""Tree decode through the plugin, around every edge, on one SM."""

from __future__ import annotations

import numpy as np
import pytest

from edge_llm_plugins import emulator, host, tree
from tests.ops import attention_cases as cases


@pytest.fixture(scope="module")
def device() -> host.Device:
    return host.open_device("emulator")


# One token, around the words of the mask, 60 as usual drafts have, and the largest.
@pytest.mark.parametrize("size", [1, 2, 31, 32, 33, 60, 64, 65, 127, 128])
def test_trees_of_every_size(device: host.Device, size: int) -> None:
    parents = cases.random_tree(size)[None]
    cases.check(device, cases.draft_trees(parents, [37], capacity=37 + size))


def test_batches_of_different_sizes(device: host.Device) -> None:
    """Padding rows, an empty tree, a past of 0, and pasts around the KV tiles."""
    trees = [cases.random_tree(33), [], cases.random_tree(1), tree.chain(20), cases.random_tree(32)]
    pasts = [0, 5, 31, 32, 65]
    cases.check(device, cases.draft_trees(tree.batch(trees), pasts, capacity=98))


def test_padding_beyond_the_capacity(device: host.Device) -> None:
    """The tree fits the cache, its padding does not."""
    parents = tree.batch([cases.random_tree(5), cases.random_tree(9)], size=20)
    cases.check(device, cases.draft_trees(parents, [35, 20], capacity=40))


def test_a_tree_in_a_long_cache(device: host.Device) -> None:
    """The KV range is split over CTAs; the tree lies in the last one alone."""
    case = cases.draft_trees(
        cases.random_tree(7)[None], [1200], capacity=1300, heads=cases.Heads(3, 1, 64)
    )
    emulator.take_stats()
    cases.check(device, case)
    assert emulator.take_stats()["launches"] == 2  # attention, and the combining of splits


def test_mask_rows_longer_than_needed(device: host.Device) -> None:
    """W = 6 words, those behind ceil(S / 32) full of ones."""
    case = cases.draft_trees(cases.random_tree(34)[None], [9], capacity=48)
    wide = np.full((1, 34, 6), -1, np.int32)
    wide[..., :2] = case.attention_mask
    cases.check(device, case.replace(attention_mask=wide))


def test_bits_beyond_the_tree_are_ignored(device: host.Device) -> None:
    """S = 20 of 32 bits: the 12 others name slots of the cache that hold garbage."""
    case = cases.draft_trees(cases.random_tree(20)[None], [9], capacity=64)
    mask = case.attention_mask | np.int32(-(2**20))
    cases.check(device, case.replace(attention_mask=mask))


def test_masks_are_literal(device: host.Device) -> None:
    """No own bit, a later token, nothing of the tree at all: only the mask counts."""
    rng = np.random.default_rng(1)
    case = cases.draft_trees(np.stack([tree.chain(40)] * 2), [0, 11], capacity=64)
    mask = rng.integers(-(2**31), 2**31, (2, 40, 2)).astype(np.int32)
    mask[:, 3] = 0
    cases.check(device, case.replace(attention_mask=mask))


def test_a_token_that_sees_nothing_is_zero_and_written(device: host.Device) -> None:
    case = cases.draft_trees(tree.chain(2)[None], [0], capacity=4)
    case = case.replace(attention_mask=np.array([[[0], [1]]], np.int32))
    output, cache = cases.run(device, case)
    assert not output[0, 0].any()
    assert np.isfinite(cache[0, :, :, :2]).all()
    cases.assert_correct((output, cache), case)


def test_upstream_padding_is_computed(device: host.Device) -> None:
    """Position 0 and an empty mask row: the token sees the past and is written."""
    case = cases.draft_trees(tree.batch([tree.chain(3)], size=5), [6], capacity=12)
    positions = case.attention_pos_ids.copy()
    positions[0, 3:] = 0
    case = case.replace(attention_pos_ids=positions)
    output, cache = cases.run(device, case)
    assert np.isfinite(cache[0, :, :, 9:11]).all()
    assert output[0, 3:].any()
    cases.assert_correct((output, cache), case)


def test_padding_in_the_middle_of_a_tree(device: host.Device) -> None:
    """Nobody sees a padding token, though every mask bit is set: its slot holds garbage."""
    case = cases.draft_trees(tree.chain(40)[None], [7], capacity=50)
    positions = case.attention_pos_ids.copy()
    positions[0, [0, 13, 31, 32, 39]] = -1
    mask = np.full((1, 40, 2), -1, np.int32)
    cases.check(device, case.replace(attention_mask=mask, attention_pos_ids=positions))


def test_positions_may_repeat_and_jump(device: host.Device) -> None:
    """Positions turn Q and K, and say nothing about slots or visibility."""
    case = cases.draft_trees(cases.random_tree(9)[None], [7], capacity=20)
    positions = np.array([[19, 0, 0, 7, 3, 18, 1, 1, 0]], np.int32)
    cases.check(device, case.replace(attention_pos_ids=positions))
