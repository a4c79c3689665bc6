"""The attention reference, against scalar loops written from the contract's sentences."""

from __future__ import annotations

import dataclasses
import math
import re

import numpy as np
import pytest

from edge_llm_plugins import reference, rope, tree

INT_MIN, INT_MAX = -(2**31), 2**31 - 1


@dataclasses.dataclass
class Problem:
    """Inputs of 3 Q heads and 1 KV head of 4, unless said otherwise; garbage in the cache."""

    qkv: np.ndarray
    kv_cache: np.ndarray
    context_lengths: np.ndarray
    rope_cos_sin: np.ndarray
    kv_cache_start_index: np.ndarray
    num_q_heads: int
    num_kv_heads: int
    head_size: int
    attention_mask: np.ndarray | None = None
    attention_pos_ids: np.ndarray | None = None

    def run(self) -> tuple[np.ndarray, np.ndarray]:
        return reference.attention(**vars(self))


def problem(
    seq: int,
    lengths: list[int],
    starts: list[int],
    capacity: int = 8,
    heads: tuple[int, int] = (3, 1),
    head_size: int = 4,
    rotary_size: int = 4,
    positions: int = 32,
    seed: int = 0,
) -> Problem:
    q_heads, kv_heads = heads
    rng = np.random.default_rng([seed, seq, capacity, q_heads, head_size])
    batch = len(lengths)
    return Problem(
        rng.standard_normal((batch, seq, (q_heads + 2 * kv_heads) * head_size)).astype(np.float16),
        rng.standard_normal((batch, 2, kv_heads, capacity, head_size)).astype(np.float16),
        np.array(lengths, np.int32),
        rope.cos_sin(positions, rotary_size),
        np.array(starts, np.int32),
        q_heads,
        kv_heads,
        head_size,
    )


def with_tree(p: Problem, mask: np.ndarray, pos_ids: list) -> Problem:
    return dataclasses.replace(
        p, attention_mask=mask, attention_pos_ids=np.array(pos_ids, np.int32)
    )


# The contract once more, in scalars. Functions of (b, i) say where token i of row b sits.


class Oracle:
    """Evaluates one query, head and slot at a time; `mode` is given, not found."""

    def __init__(self, p: Problem, mode: str) -> None:
        self.p, self.mode = p, mode
        self.batch, self.seq = p.qkv.shape[:2]
        self.capacity = p.kv_cache.shape[3]
        self.heads = p.qkv.reshape(self.batch, self.seq, -1, p.head_size)

    def mode_of(self, b: int) -> str:
        generates_one = self.mode in ("decode", "tree") and self.seq == 1
        if generates_one and self.p.context_lengths[b] == 1 and self.p.kv_cache_start_index[b] > 0:
            return "chunk"
        return self.mode

    def place(self, b: int, i: int) -> tuple[int, int] | None:
        """(slot, position) of a token, or None when it is invalid."""
        length = int(self.p.context_lengths[b])
        mode = self.mode_of(b)
        if mode == "prefill":
            slot = position = i
            valid = i < length and i < self.capacity
        elif mode == "chunk":
            slot = position = int(self.p.kv_cache_start_index[b]) + i
            valid = slot >= i and i < length and slot < self.capacity
        elif mode == "decode":
            slot = position = length - 1
            valid = 0 <= slot < self.capacity
        else:
            slot = length - self.seq + i
            position = int(self.p.attention_pos_ids[b, i])
            valid = 0 <= length - self.seq <= self.capacity
        valid = valid and 0 <= position < self.p.rope_cos_sin.shape[1]
        return (slot, position) if valid else None

    def sees(self, b: int, i: int, slot: int) -> bool:
        if self.mode_of(b) != "tree":
            return slot <= self.place(b, i)[0]
        past = int(self.p.context_lengths[b]) - self.seq
        if slot < past:
            return True
        j = slot - past
        if j >= self.seq or self.place(b, j) is None:
            return False
        word = int(self.p.attention_mask[b, i, j // 32]) % 2**32
        return word // 2 ** (j % 32) % 2 == 1

    def rotated(self, b: int, i: int, head: int) -> list[np.float16]:
        """Pairs (x, y) as complex numbers, times cos + i sin, each part rounded to FP16."""
        line = self.p.rope_cos_sin[b if len(self.p.rope_cos_sin) > 1 else 0]
        line = line[self.place(b, i)[1]].tolist()
        half = len(line) // 2
        x = self.heads[b, i, head].astype(float).tolist()
        for d in range(half):
            turned = complex(x[d], x[d + half]) * complex(line[d], line[d + half])
            x[d], x[d + half] = turned.real, turned.imag
        return [np.float16(value) for value in x]

    def run(self) -> tuple[np.ndarray, np.ndarray]:
        p = self.p
        cache = p.kv_cache.copy()
        for b, i in np.ndindex(self.batch, self.seq):
            if self.place(b, i) is None or self.place(b, i)[0] >= self.capacity:
                continue
            for head in range(p.num_kv_heads):
                slot = self.place(b, i)[0]
                cache[b, 0, head, slot] = self.rotated(b, i, p.num_q_heads + head)
                cache[b, 1, head, slot] = self.heads[b, i, -p.num_kv_heads + head]
        output = np.zeros((self.batch, self.seq, p.num_q_heads, p.head_size))
        for b, i, head in np.ndindex(output.shape[:3]):
            if self.place(b, i) is None:
                continue
            q = self.rotated(b, i, head)
            kv_head = head // (p.num_q_heads // p.num_kv_heads)
            total, sums = 0.0, [0.0] * p.head_size
            for slot in range(self.capacity):
                if self.sees(b, i, slot):
                    k, v = cache[b, :, kv_head, slot].tolist()
                    score = sum(float(a) * c for a, c in zip(q, k, strict=True))
                    weight = math.exp(score / p.head_size**0.5)
                    total += weight
                    sums = [s + weight * x for s, x in zip(sums, v, strict=True)]
            if total:
                output[b, i, head] = [s / total for s in sums]
        return output, cache


def check(p: Problem, mode: str) -> None:
    output, cache = p.run()
    expected_output, expected_cache = Oracle(p, mode).run()
    np.testing.assert_allclose(output, expected_output, rtol=1e-11, atol=1e-12)
    assert cache.tobytes() == expected_cache.tobytes()


@pytest.mark.parametrize("heads", [(1, 1), (3, 1), (4, 2), (6, 2)])
def test_prefill_of_ragged_rows(heads: tuple[int, int]) -> None:
    check(problem(5, [5, 0, 1, 3], [], heads=heads), "prefill")


@pytest.mark.parametrize("heads", [(1, 1), (3, 1), (4, 2), (6, 2)])
def test_chunks_of_ragged_rows_with_their_own_starts(heads: tuple[int, int]) -> None:
    check(problem(3, [3, 0, 1, 2, 3], [0, 2, 4, 5, 5], heads=heads), "chunk")


@pytest.mark.parametrize("heads", [(1, 1), (3, 1), (4, 2), (6, 2)])
def test_decode_of_every_length(heads: tuple[int, int]) -> None:
    check(problem(1, [1, 2, 5, 8], [0, 0, 0, 0], heads=heads), "decode")


@pytest.mark.parametrize("heads", [(1, 1), (3, 1), (4, 2), (6, 2)])
def test_trees_with_padding(heads: tuple[int, int]) -> None:
    parents = tree.batch([[-1, 0, 0, 1], [-1], [-1, -1, 1], []])
    past = np.array([0, 3, 4, 2])
    p = problem(4, list(past + 4), [0] * 4, heads=heads)
    check(with_tree(p, tree.pack_mask(parents), tree.position_ids(parents, past)), "tree")


def test_trees_that_need_two_words() -> None:
    parents = tree.batch([[-1, *(i // 2 for i in range(33))], list(tree.chain(33))])
    past = np.array([2, 5])
    p = problem(34, list(past + 34), [0, 0], capacity=40, positions=64)
    check(with_tree(p, tree.pack_mask(parents), tree.position_ids(parents, past)), "tree")


def test_tree_masks_are_literal() -> None:
    """No own bit, a later token, an invalid token, bits beyond S, and nothing at all."""
    mask = np.array([[0b0001, 0b0100, 0b1000, 0b11110000 - 2**31, 0b0001]], np.int32).T[None]
    p = problem(5, [7], [0])
    check(with_tree(p, mask, [[2, 3, 4, -1, 2]]), "tree")
    check(with_tree(p, np.roll(mask, 1, axis=1), [[2, 3, 4, -1, 2]]), "tree")


def test_a_token_that_sees_nothing_is_zero() -> None:
    p = with_tree(problem(2, [2], [0]), np.array([[[0], [1]]], np.int32), [[0, 1]])
    output, cache = p.run()
    assert not output[0, 0].any()
    assert output[0, 1].any()
    assert not (cache[0, :, :, :2] == p.kv_cache[0, :, :, :2]).all(axis=-1).any()


def test_mask_rows_may_be_longer_than_needed() -> None:
    p = problem(2, [3], [0])
    narrow = with_tree(p, np.array([[[1], [3]]], np.int32), [[1, 2]])
    wide = with_tree(p, np.array([[[1, -1, 7], [3, 0, -1]]], np.int32), [[1, 2]])
    assert narrow.run()[0].tobytes() == wide.run()[0].tobytes()


HOSTILE_LENGTHS = [INT_MIN, -1, 0, 1, 2, 3, 7, 8, 9, 10, 11, 12, INT_MAX]
HOSTILE_STARTS = [INT_MIN, -1, 0, 1, 6, 7, 8, 9, INT_MAX]


def test_hostile_lengths_in_prefill() -> None:
    check(problem(3, HOSTILE_LENGTHS, []), "prefill")
    check(problem(10, HOSTILE_LENGTHS, []), "prefill")  # S > Cap


@pytest.mark.parametrize("length", HOSTILE_LENGTHS)
def test_hostile_lengths_and_starts_in_chunks(length: int) -> None:
    check(problem(3, [length] * len(HOSTILE_STARTS), HOSTILE_STARTS), "chunk")


@pytest.mark.parametrize("start", HOSTILE_STARTS)
def test_hostile_lengths_and_starts_in_decode(start: int) -> None:
    check(problem(1, HOSTILE_LENGTHS, [start] * len(HOSTILE_LENGTHS)), "decode")


@pytest.mark.parametrize("seq", [1, 3])
@pytest.mark.parametrize("start", [0, 1, 8, INT_MAX])
def test_hostile_lengths_and_positions_in_trees(seq: int, start: int) -> None:
    hostile = [INT_MIN, -1, 0, 31, 32, INT_MAX]
    lengths = [length for length in HOSTILE_LENGTHS for _ in hostile]
    positions = [([hostile[i], 1, 2])[:seq] for _ in HOSTILE_LENGTHS for i in range(len(hostile))]
    p = problem(seq, lengths, [start] * len(lengths))
    mask = np.full((len(lengths), seq, 1), -1, np.int32)
    check(with_tree(p, mask, positions), "tree")


@pytest.mark.parametrize("positions", [1, 4, 5])
def test_short_rope_tables_make_tokens_invalid(positions: int) -> None:
    check(problem(6, [6, 2], [], positions=positions), "prefill")
    check(problem(2, [2, 2], [3, 0], positions=positions), "chunk")
    check(problem(1, [4, 5, 6], [0, 0, 0], positions=positions), "decode")
    check(problem(1, [1, 1, 1], [3, 4, 5], positions=positions), "decode")


def test_invalid_rows_are_zero_and_leave_the_cache() -> None:
    for p in (
        problem(3, [0, -5], []),
        problem(3, [3, 3, 3], [-1, 8, 9]),
        problem(1, [0, -1, 9], [0, 0, 0]),
        with_tree(problem(2, [1, 11], [0, 0]), np.ones((2, 2, 1), np.int32), [[0, 0]] * 2),
    ):
        output, cache = p.run()
        assert not output.any()
        assert cache.tobytes() == p.kv_cache.tobytes()


def test_two_tokens_by_hand() -> None:
    """Head size 2, no rotation at position 0, a quarter turn at position 1."""
    table = np.array([[[1, 0], [0, 1]]], np.float32)
    q, k = [[1, 0], [2, 0]], [[0, 1], [math.sqrt(2), 0]]
    v = [[8, 4], [0, 2]]
    qkv = np.array([[[*q[i], *k[i], *v[i]] for i in range(2)]], np.float16)
    output, cache = reference.attention(
        qkv,
        np.zeros((1, 2, 1, 2, 2), np.float16),
        np.array([2], np.int32),
        table,
        np.empty(0, np.int32),
        num_q_heads=1,
        num_kv_heads=1,
        head_size=2,
    )
    root2 = float(np.float16(math.sqrt(2)))
    # The second q (2, 0) becomes (0, 2), the second k (sqrt 2, 0) becomes (0, sqrt 2).
    np.testing.assert_array_equal(cache[0, 0, 0], [[0, 1], [0, np.float16(root2)]])
    np.testing.assert_array_equal(cache[0, 1, 0], v)
    np.testing.assert_array_equal(output[0, 0, 0], v[0])
    first, second = math.exp(2 / math.sqrt(2)), math.exp(2 * root2 / math.sqrt(2))
    expected = [8 * first / (first + second), (4 * first + 2 * second) / (first + second)]
    np.testing.assert_allclose(output[0, 1, 0], expected, rtol=1e-14)


def test_q_and_k_are_rounded_to_fp16() -> None:
    p = problem(1, [1], [])
    table = np.array([[[1 + 2**-12, 1 + 2**-12, 0, 0]]], np.float32)
    exact = dataclasses.replace(p, rope_cos_sin=table).run()
    rounded = dataclasses.replace(p, rope_cos_sin=np.float32([[[1, 1, 0, 0]]])).run()
    assert exact[1].tobytes() == rounded[1].tobytes()
    assert exact[0].tobytes() == rounded[0].tobytes()


@pytest.mark.parametrize("rotary_size", [2, 4, 6])
def test_partial_rotary(rotary_size: int) -> None:
    p = problem(4, [4], [], head_size=8, rotary_size=rotary_size)
    check(p, "prefill")
    k = p.qkv.reshape(1, 4, 5, 8)[:, :, 3]
    assert p.run()[1][0, 0, 0, :4, rotary_size:].tobytes() == k[0, :, rotary_size:].tobytes()


def test_a_rope_table_per_row() -> None:
    rng = np.random.default_rng(1)
    axes = rng.integers(0, 50, (3, 2, 8))
    p = problem(3, [3, 2], [1, 4], head_size=8)
    tables = rope.cos_sin(axes, 8, mrope_section=[1, 1, 2])
    p = dataclasses.replace(p, rope_cos_sin=tables)
    check(p, "chunk")
    shared = dataclasses.replace(p, rope_cos_sin=tables[:1]).run()[0]
    assert p.run()[0][0].tobytes() == shared[0].tobytes()
    assert p.run()[0][1].tobytes() != shared[1].tobytes()


def test_qkv_may_be_split_into_heads() -> None:
    p = problem(3, [3, 2], [])
    split = dataclasses.replace(p, qkv=p.qkv.reshape(2, 3, 5, 4))
    assert split.run()[0].tobytes() == p.run()[0].tobytes()


@pytest.mark.parametrize("garbage", [np.nan, np.inf])
def test_garbage_in_unused_slots_stays_there(garbage: float) -> None:
    p = problem(3, [3, 1], [2, 0])
    for b, (start, length) in enumerate([(2, 3), (0, 1)]):
        p.kv_cache[b, :, :, start + length :] = garbage
    assert np.isfinite(p.run()[0]).all()
    check(p, "chunk")


def test_saturated_softmax_picks_the_largest_score() -> None:
    p = problem(3, [3], [])
    p = dataclasses.replace(p, rope_cos_sin=np.float32([[[1, 1, 0, 0]] * 3]))
    p.qkv[...] = 200
    k = p.qkv.reshape(1, 3, 5, 4)[:, :, 3]
    k[0] = [[100], [300], [200]]
    v = p.qkv.reshape(1, 3, 5, 4)[:, :, 4]
    v[0] = [[1], [2], [3]]
    output, _ = p.run()
    np.testing.assert_array_equal(output[0, :, :, 0], [[1] * 3, [2] * 3, [2] * 3])


def test_inputs_are_not_written() -> None:
    p = problem(3, [3, 2], [1, 4])
    before = {name: np.array(value) for name, value in vars(p).items()}
    p.run()
    for name, value in vars(p).items():
        assert np.array(value).tobytes() == before[name].tobytes(), name


# One sequence of 6 tokens, computed in several ways.


def whole() -> tuple[Problem, np.ndarray, np.ndarray]:
    p = problem(6, [6], [])
    return p, *p.run()


def step(p: Problem, cache: np.ndarray, first: int, count: int, **changes: object) -> Problem:
    fields = {
        "qkv": p.qkv[:, first : first + count],
        "kv_cache": cache,
        "context_lengths": np.array([count], np.int32),
        "kv_cache_start_index": np.array([first], np.int32),
    }
    return dataclasses.replace(p, **(fields | changes))


@pytest.mark.parametrize("chunks", [[6], [2, 4], [3, 3], [1, 5], [4, 1, 1], [1] * 6])
def test_chunks_equal_one_prefill(chunks: list[int]) -> None:
    p, expected, expected_cache = whole()
    cache, outputs = p.kv_cache, []
    for i, count in enumerate(chunks):
        output, cache = step(p, cache, sum(chunks[:i]), count).run()
        outputs.append(output)
    np.testing.assert_allclose(np.concatenate(outputs, axis=1), expected, rtol=1e-13)
    assert cache.tobytes() == expected_cache.tobytes()


def test_decode_after_prefill_equals_a_longer_prefill() -> None:
    p, expected, expected_cache = whole()
    _, cache = dataclasses.replace(p, context_lengths=np.array([4], np.int32)).run()
    for i in (4, 5):
        output, cache = step(p, cache, i, 1, context_lengths=np.array([i + 1], np.int32)).run()
        np.testing.assert_allclose(output[:, 0], expected[:, i], rtol=1e-13)
    assert cache.tobytes() == expected_cache.tobytes()


def test_a_chain_shaped_tree_equals_a_chunk() -> None:
    p, expected, expected_cache = whole()
    _, cache = dataclasses.replace(p, context_lengths=np.array([2], np.int32)).run()
    chain = step(
        p,
        cache,
        2,
        4,
        context_lengths=np.array([6], np.int32),
        attention_mask=tree.pack_mask(tree.chain(4))[None],
        attention_pos_ids=tree.position_ids(tree.chain(4), past=2)[None],
    )
    output, cache = chain.run()
    np.testing.assert_allclose(output, expected[:, 2:], rtol=1e-13)
    assert cache.tobytes() == expected_cache.tobytes()


def test_a_chunk_of_one_token_is_the_decode_step() -> None:
    """Its mask and position are ignored."""
    p, _, cache = whole()
    decode = step(p, cache, 4, 1, context_lengths=np.array([5], np.int32)).run()
    chunk = step(p, cache, 4, 1).run()
    tree_chunk = with_tree(step(p, cache, 4, 1), np.zeros((1, 1, 1), np.int32), [[-1]]).run()
    for other in (chunk, tree_chunk):
        assert other[0].tobytes() == decode[0].tobytes()
        assert other[1].tobytes() == decode[1].tobytes()


def test_dummy_tree_inputs_select_prefill_and_chunks() -> None:
    dummy = np.zeros((1, 1, 1), np.int32)
    p, expected, _ = whole()
    assert with_tree(p, dummy, [[0]]).run()[0].tobytes() == expected.tobytes()
    chunk = step(p, p.kv_cache, 0, 6)
    assert with_tree(chunk, dummy, [[-1]]).run()[0].tobytes() == chunk.run()[0].tobytes()


@pytest.mark.parametrize("starts", [[], [0, 0]])
def test_no_tokens_and_no_rows(starts: list[int]) -> None:
    empty = problem(0, [0, 5], starts)
    for p in (empty, with_tree(empty, np.zeros((2, 0, 0), np.int32), np.zeros((2, 0)))):
        output, cache = p.run()
        assert output.shape == (2, 0, 3, 4)
        assert cache.tobytes() == p.kv_cache.tobytes()
    assert problem(3, [], []).run()[0].shape == (0, 3, 3, 4)


TREE_PROBLEM = with_tree(problem(2, [3], [0]), np.zeros((1, 2, 1), np.int32), [[1, 2]])


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"num_kv_heads": 0}, ValueError, "num_kv_heads is 0: at least 1 is allowed"),
        (
            {"num_q_heads": 3, "num_kv_heads": 2},
            ValueError,
            "num_q_heads is 3: a positive multiple of num_kv_heads = 2",
        ),
        ({"num_q_heads": 0}, ValueError, "num_q_heads is 0"),
        ({"head_size": 3}, ValueError, "head_size is 3: a positive even number is allowed"),
        ({"qkv": np.zeros((1, 2, 20))}, TypeError, "qkv has dtype float64: float16 is allowed"),
        (
            {"qkv": np.zeros((1, 2, 24), np.float16)},
            ValueError,
            "qkv has shape [1, 2, 24]: [B, S, 20] or [B, S, 5, 4] is allowed for 3 + 2 * 1 heads",
        ),
        ({"qkv": np.zeros(20, np.float16)}, ValueError, "qkv has shape [20]"),
        ({"kv_cache": np.zeros((1, 2, 1, 8, 4), np.float32)}, TypeError, "kv_cache has dtype"),
        (
            {"kv_cache": np.zeros((2, 2, 1, 8, 4), np.float16)},
            ValueError,
            "kv_cache has shape [2, 2, 1, 8, 4]: [1, 2, 1, Cap, 4] with Cap >= 1 is allowed",
        ),
        ({"kv_cache": np.zeros((1, 2, 8, 4), np.float16)}, ValueError, "[1, 2, 8, 4]: [1, 2, 1"),
        ({"context_lengths": np.zeros(1, np.int64)}, TypeError, "context_lengths has dtype int64"),
        (
            {"context_lengths": np.zeros(2, np.int32)},
            ValueError,
            "context_lengths has shape [2]: [1] is allowed",
        ),
        ({"rope_cos_sin": np.zeros((1, 9, 4))}, TypeError, "rope_cos_sin has dtype float64"),
        (
            {"rope_cos_sin": np.zeros((2, 9, 4), np.float32)},
            ValueError,
            "rope_cos_sin has shape [2, 9, 4]: [1, P, R] with an even R from 2 to 4 is allowed",
        ),
        ({"rope_cos_sin": np.zeros((9, 4), np.float32)}, ValueError, "has shape [9, 4]: [1, P"),
        ({"rope_cos_sin": np.zeros((1, 9, 6), np.float32)}, ValueError, "has shape [1, 9, 6]"),
        ({"rope_cos_sin": np.zeros((1, 9, 3), np.float32)}, ValueError, "has shape [1, 9, 3]"),
        ({"rope_cos_sin": np.zeros((1, 0, 4), np.float32)}, ValueError, "has shape [1, 0, 4]"),
        ({"kv_cache": np.zeros((1, 2, 1, 0, 4), np.float16)}, ValueError, "shape [1, 2, 1, 0, 4]"),
        ({"rope_cos_sin": np.zeros((1, 9, 0), np.float32)}, ValueError, "has shape [1, 9, 0]"),
        (
            {"kv_cache_start_index": np.zeros(2, np.int32)},
            ValueError,
            "kv_cache_start_index has shape [2]: [0] or [1] is allowed",
        ),
        ({"kv_cache_start_index": np.zeros(1)}, TypeError, "kv_cache_start_index has dtype"),
        ({"attention_mask": None}, ValueError, "attention_pos_ids is given alone"),
        ({"attention_pos_ids": None}, ValueError, "attention_mask is given alone"),
        ({"attention_mask": np.zeros((1, 2, 1))}, TypeError, "attention_mask has dtype float64"),
        (
            {"attention_mask": np.zeros((2, 2, 1), np.int32)},
            ValueError,
            "attention_mask has shape [2, 2, 1]: [1, S, W] is allowed",
        ),
        (
            {"attention_mask": np.zeros((1, 1, 1), np.int32)},
            ValueError,
            "attention_mask has shape [1, 1, 1]: [B, 2, W] with W >= 1 is allowed",
        ),
        (
            {"attention_pos_ids": np.zeros((2, 2), np.int32)},
            ValueError,
            "attention_pos_ids has shape [2, 2]: [1, S] is allowed",
        ),
        (
            {"attention_pos_ids": np.zeros((1, 3), np.int32)},
            ValueError,
            "attention_pos_ids has shape [1, 3]: [B, 2] for tree decode, or [B, 1] for chunked",
        ),
    ],
)
def test_refusals(changes: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)) as raised:
        dataclasses.replace(TREE_PROBLEM, **changes).run()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("seq", "words", "message"),
    [
        (129, 5, "a tree of 129 tokens: up to 128 are allowed"),
        (33, 1, "attention_mask has shape [1, 33, 1]: [B, 33, W] with W >= 2"),
    ],
)
def test_trees_that_are_refused(seq: int, words: int, message: str) -> None:
    mask = np.zeros((1, seq, words), np.int32)
    p = with_tree(problem(seq, [seq], [0], capacity=200), mask, [[0] * seq])
    with pytest.raises(ValueError, match=re.escape(message)):
        p.run()


# How close is close enough.


def test_assert_attention_close_is_per_element() -> None:
    expected = np.array([[0.0, 10.0, np.nan, np.inf]])
    reference.assert_attention_close(np.add(expected, [1.9e-3, -2.1e-2, 0, 0]), expected)
    for change in ([2.1e-3, 0, 0, 0], [0, 2.3e-2, 0, 0]):
        with pytest.raises(AssertionError, match=r"1 of 4 elements differ, worst at \[0, [01]\]"):
            reference.assert_attention_close(np.add(expected, change), expected)
        reference.assert_attention_close(np.add(expected, change), expected, factor=2)
    with pytest.raises(AssertionError, match="NaN or infinity differs in 1 elements"):
        reference.assert_attention_close(np.where(np.isnan(expected), 0, expected), expected)
    with pytest.raises(AssertionError, match=r"shape \[4\], expected \[1, 4\]\n  again"):
        reference.assert_attention_close(expected[0], expected, hint="again")


def cache_pair() -> tuple[np.ndarray, np.ndarray]:
    cache = np.random.default_rng(1).standard_normal((2, 2, 1, 3, 4)).astype(np.float16)
    cache[0, :, :, 2] = np.nan
    return cache.copy(), cache


def test_assert_cache_close_wants_v_by_the_bit() -> None:
    actual, expected = cache_pair()
    reference.assert_cache_close(actual, expected, 4)
    actual[1, 1, 0, 2, 3] = np.nextafter(actual[1, 1, 0, 2, 3], np.float16(9))
    with pytest.raises(AssertionError, match=r"1 of .* worst at \[1, 0, 2, 3\].* in V\n  again"):
        reference.assert_cache_close(actual, expected, 4, hint="again")
    actual, expected = cache_pair()
    expected[1, 1, 0, 0, 0], actual[1, 1, 0, 0, 0] = 0.0, -0.0
    with pytest.raises(AssertionError, match="in V"):
        reference.assert_cache_close(actual, expected, 4)


def test_assert_cache_close_allows_one_step_in_k() -> None:
    actual, expected = cache_pair()
    actual[:, 0] = np.nextafter(actual[:, 0], np.float16(9))
    reference.assert_cache_close(actual, expected, 4)
    actual[1, 0] = np.nextafter(actual[1, 0], np.float16(9))
    with pytest.raises(AssertionError, match=r"12 of 24 elements differ.* in K"):
        reference.assert_cache_close(actual, expected, 4)


def test_assert_cache_close_knows_cancellation() -> None:
    """Beside 60, 2^-22 of the pair is 2e-5 * sqrt(1/2): 10e-6 may be off, 11e-6 not."""
    actual, expected = cache_pair()
    expected[0, 0, 0, 0] = [60, 0, 0, 0]
    actual[0, 0, 0, 0] = [60, 0, 1.0e-5, 0]
    reference.assert_cache_close(actual, expected, 4)
    for wrong in ([60, 0, 1.1e-5, 0], [60, 1.0e-5, 0, 0]):
        actual[0, 0, 0, 0] = wrong
        with pytest.raises(AssertionError, match=r"worst at \[0, 0, 0, [12]\]"):
            reference.assert_cache_close(actual, expected, 4)
    actual[0, 0, 0, 0] = [60, 0, 1.0e-5, 0]
    with pytest.raises(AssertionError, match="in K"):
        reference.assert_cache_close(actual, expected, 2)


def test_assert_cache_close_sees_other_garbage_and_lost_nan() -> None:
    for change in (0.0, np.inf):
        actual, expected = cache_pair()
        actual[0, 0, 0, 2, 1] = change
        with pytest.raises(AssertionError, match=r"worst at \[0, 0, 2, 1\]: .*, expected nan"):
            reference.assert_cache_close(actual, expected, 4)
    actual, expected = cache_pair()
    actual.view(np.uint16)[0, 0, 0, 2, 1] ^= 1  # another NaN
    with pytest.raises(AssertionError, match="in K"):
        reference.assert_cache_close(actual, expected, 4)
    actual.view(np.uint16)[0, 0, 0, 2, 1] = reference.GPU_NAN_BITS
    reference.assert_cache_close(actual, expected, 4)
