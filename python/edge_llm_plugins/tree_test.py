"""Draft trees: masks and positions, against a walk from each token to its root."""

from __future__ import annotations

import re

import numpy as np
import pytest

from edge_llm_plugins import tree


def ancestors(parents: list[int], token: int) -> set[int]:
    """The token and everything above it; nothing for padding."""
    if parents[token] == -2:
        return set()
    seen = {token}
    while parents[token] >= 0:
        token = parents[token]
        seen.add(token)
    return seen


def bits(words: np.ndarray) -> set[int]:
    """The numbers of the set bits, least significant first, 32 per word."""
    return {
        32 * w + bit
        for w, word in enumerate(words)
        for bit in range(32)
        if (int(word) % 2**32) // 2**bit % 2
    }


def random_parents(size: int, seed: int) -> list[int]:
    rng = np.random.default_rng([seed, size])
    return [-1, *(int(rng.integers(-1, i)) for i in range(1, size))]


@pytest.mark.parametrize("size", [1, 2, 31, 32, 33, 60, 63, 64, 65, 127, 128])
def test_random_trees_around_every_word_edge(size: int) -> None:
    parents = random_parents(size, seed=1)
    mask = tree.pack_mask(parents)
    positions = tree.position_ids(parents, past=1000)
    assert mask.dtype == positions.dtype == np.int32
    assert mask.shape == (size, (size + 31) // 32)
    for i in range(size):
        assert bits(mask[i]) == ancestors(parents, i), f"token {i}"
        assert positions[i] == 1000 + len(ancestors(parents, i)) - 1


def test_batches_of_different_sizes_are_padded() -> None:
    rows = [random_parents(33, seed=2), [], [-1], random_parents(5, seed=3)]
    parents = tree.batch(rows)
    assert (parents.dtype, parents.shape) == (np.int32, (4, 33))
    mask = tree.pack_mask(parents)
    past = np.array([7, 0, 3, 100])
    positions = tree.position_ids(parents, past)
    assert mask.shape == (4, 33, 2)
    for b, row in enumerate(rows):
        padded = row + [-2] * (33 - len(row))
        for i in range(33):
            seen = ancestors(padded, i)
            assert bits(mask[b, i]) == seen, f"row {b}, token {i}"
            assert positions[b, i] == (past[b] + len(seen) - 1 if seen else -1)


def test_batch_of_a_given_size() -> None:
    np.testing.assert_array_equal(
        tree.batch([[-1], [-1, 0]], size=4), [[-1, -2, -2, -2], [-1, 0, -2, -2]]
    )


def test_chain_is_a_triangle() -> None:
    np.testing.assert_array_equal(tree.chain(4), [-1, 0, 1, 2])
    np.testing.assert_array_equal(tree.pack_mask(tree.chain(4))[:, 0], [1, 3, 7, 15])
    np.testing.assert_array_equal(tree.position_ids(tree.chain(3), past=5), [5, 6, 7])


def test_bit_31_makes_a_word_negative() -> None:
    assert tree.pack_mask(tree.chain(32))[31].tolist() == [-1]
    assert tree.pack_mask(tree.chain(33))[32].tolist() == [-1, 1]
    only_token_31 = np.zeros((32, 32), np.bool_)
    only_token_31[0, 31] = True
    assert tree.pack_mask(only_token_31)[0].tolist() == [-(2**31)]


def test_siblings_do_not_see_each_other() -> None:
    # 0 has the children 1 and 2; 3 is a child of 1; 4 is a second root.
    parents = [-1, 0, 0, 1, -1]
    assert tree.pack_mask(parents)[:, 0].tolist() == [0b00001, 0b00011, 0b00101, 0b01011, 0b10000]
    assert tree.position_ids(parents, past=0).tolist() == [0, 1, 1, 2, 0]


def test_boolean_matrices_are_taken_as_they_are() -> None:
    # Token 0 sees a later token, token 1 sees only others, token 2 is padding.
    seen = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0]], np.bool_)
    assert tree.pack_mask(seen)[:, 0].tolist() == [3, 1, 0]
    assert tree.position_ids(seen, past=4).tolist() == [5, 5, -1]
    batch = np.stack([seen, ~seen])
    assert tree.pack_mask(batch)[..., 0].tolist() == [[3, 1, 0], [4, 6, 7]]
    assert tree.position_ids(batch, past=[4, 10]).tolist() == [[5, 5, -1], [11, 11, 12]]


def test_strided_and_wide_parents() -> None:
    parents = np.array([[-1, 9, 0, 9, 0], [-1, 9, -1, 9, 1]], np.int64)
    assert tree.pack_mask(parents[:, ::2])[..., 0].tolist() == [[1, 3, 5], [1, 2, 6]]


@pytest.mark.parametrize(
    ("parents", "error", "message"),
    [
        ([0], ValueError, "the parent of token 0 in row 0 is 0: an earlier token of the tree"),
        ([-1, 1], ValueError, "the parent of token 1 in row 0 is 1"),
        ([-1, 2, 0], ValueError, "the parent of token 1 in row 0 is 2"),
        ([[-1, 0], [-1, -3]], ValueError, "the parent of token 1 in row 1 is -3"),
        ([-1, -2, 1], ValueError, "the parent of token 2 in row 0 is 1"),
        ([-1.0], TypeError, "tree has dtype float64: integers or booleans are allowed"),
        (-1, ValueError, "tree has shape []: parents [S] or [B, S] are allowed"),
        (np.full(129, -1), ValueError, "a tree of 129 tokens: 1 to 128 are allowed"),
        (np.empty(0, np.int32), ValueError, "a tree of 0 tokens: 1 to 128 are allowed"),
        (np.ones((2, 3), np.bool_), ValueError, "tree has shape [2, 3]: a boolean [S, S]"),
        (np.ones((129, 129), np.bool_), ValueError, "a tree of 129 tokens"),
    ],
)
def test_trees_that_are_refused(parents: object, error: type[Exception], message: str) -> None:
    for function in (tree.pack_mask, lambda value: tree.position_ids(value, past=0)):
        with pytest.raises(error, match=re.escape(message)) as raised:
            function(parents)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("past", "error", "message"),
    [
        (-1, ValueError, "past is -1: 0 to 2^31 - 129 is allowed"),
        (2**31 - 128, ValueError, "past is 2147483520: 0 to 2^31 - 129 is allowed"),
        ([1, 2, 3], ValueError, "past has shape [3]: one number or [2] is allowed"),
        (1.5, TypeError, "past has dtype float64: an integer dtype is allowed"),
    ],
)
def test_past_that_is_refused(past: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        tree.position_ids(tree.batch([[-1], [-1]]), past)


def test_the_longest_past_does_not_overflow() -> None:
    assert tree.position_ids(tree.chain(128), past=2**31 - 129)[-1] == 2**31 - 2


@pytest.mark.parametrize(
    ("trees", "size", "error", "message"),
    [
        ([], None, ValueError, "trees are empty: at least one tree is needed"),
        ([[-1, 0]], 1, ValueError, "trees[0] has shape [2]: [S] with S <= 1 is allowed"),
        ([[-1]], 129, ValueError, "a tree of 129 tokens: 1 to 128 are allowed"),
        ([[], []], None, ValueError, "a tree of 0 tokens"),
        ([[-1], [0.5]], None, TypeError, "trees[1] has dtype float64: an integer dtype"),
        ([[-1], [0]], None, ValueError, "the parent of token 0 in row 1 is 0"),
    ],
)
def test_batches_that_are_refused(
    trees: list, size: int | None, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=re.escape(message)):
        tree.batch(trees, size)


@pytest.mark.parametrize("length", [0, 129])
def test_chains_that_are_refused(length: int) -> None:
    with pytest.raises(ValueError, match=f"a tree of {length} tokens: 1 to 128"):
        tree.chain(length)
