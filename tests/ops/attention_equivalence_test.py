"""One sequence computed in several ways: modes agree with each other."""

from __future__ import annotations

import numpy as np
import pytest

from edge_llm_plugins import host, reference, tree
from tests.ops import attention_cases as cases

TOKENS = 130  # more than the largest tree, and than a tile of any kernel
SEQUENCE = cases.prefill(TOKENS, [TOKENS], capacity=TOKENS + 4)


@pytest.fixture(scope="module")
def whole(device: host.Device) -> tuple[np.ndarray, np.ndarray]:
    """Output and cache of one prefill."""
    return cases.run(device, SEQUENCE)


def piece(cache: np.ndarray, first: int, count: int, **changes: object) -> cases.Case:
    """Tokens first to first + count as a chunk."""
    chunk = {
        "qkv": np.ascontiguousarray(SEQUENCE.qkv[:, first : first + count]),
        "kv_cache": cache,
        "context_lengths": np.array([count], np.int32),
        "kv_cache_start_index": np.array([first], np.int32),
    }
    return SEQUENCE.replace(**(chunk | changes))


def prefilled(whole: tuple[np.ndarray, np.ndarray], count: int) -> np.ndarray:
    """The cache after a prefill of `count` tokens: NaN behind."""
    cache = whole[1].copy()
    cache[:, :, :, count:] = np.nan
    return cache


def assert_same(
    actual: tuple[np.ndarray, np.ndarray], expected: tuple[np.ndarray, np.ndarray]
) -> None:
    reference.assert_attention_close(actual[0], expected[0], factor=2, hint=cases.rerun())
    reference.assert_cache_close(actual[1], expected[1], 64, hint=cases.rerun())


@pytest.mark.parametrize("counts", [[130], [1, 129], [64, 66], [33, 97], [5, 1, 124]])
def test_chunks_and_one_prefill(
    device: host.Device, whole: tuple[np.ndarray, np.ndarray], counts: list[int]
) -> None:
    cache, outputs = SEQUENCE.kv_cache, []
    for i, count in enumerate(counts):
        output, cache = cases.run(device, piece(cache, sum(counts[:i]), count))
        outputs.append(output)
    assert_same((np.concatenate(outputs, axis=1), cache), whole)


def test_decode_after_prefill_and_one_longer_prefill(
    device: host.Device, whole: tuple[np.ndarray, np.ndarray]
) -> None:
    short = SEQUENCE.replace(context_lengths=np.array([TOKENS - 3], np.int32))
    _, cache = cases.run(device, short)
    outputs = []
    for i in range(TOKENS - 3, TOKENS):
        step = piece(cache, i, 1, context_lengths=np.array([i + 1], np.int32))
        output, cache = cases.run(device, step)
        outputs.append(output)
    assert_same((np.concatenate(outputs, axis=1), cache), (whole[0][:, -3:], whole[1]))


# One to four words of the mask, and both kernels of chunks.
@pytest.mark.parametrize("size", [2, 5, 33, 64, 65, 100, 128])
def test_a_chain_shaped_tree_and_a_chunk(
    device: host.Device, whole: tuple[np.ndarray, np.ndarray], size: int
) -> None:
    past = TOKENS - size
    chunk = piece(prefilled(whole, past), past, size)
    chain = piece(
        prefilled(whole, past),
        past,
        size,
        context_lengths=np.array([TOKENS], np.int32),
        attention_mask=tree.pack_mask(tree.chain(size))[None],
        attention_pos_ids=tree.position_ids(tree.chain(size), past)[None],
    )
    assert_same(cases.run(device, chain), cases.run(device, chunk))


@pytest.mark.parametrize("start", [1, 31, 63, 64, 129])
def test_a_chunk_of_one_token_is_the_decode_step(
    device: host.Device, whole: tuple[np.ndarray, np.ndarray], start: int
) -> None:
    """By the bit, with and without tree inputs, whose contents are ignored."""
    cache = prefilled(whole, start)
    decode = piece(cache, start, 1, context_lengths=np.array([start + 1], np.int32))
    expected = cases.run(device, decode)
    cases.assert_correct(expected, decode)
    chunk = piece(cache, start, 1)
    in_tree = chunk.replace(
        attention_mask=np.zeros((1, 1, 1), np.int32),
        attention_pos_ids=np.full((1, 1), -1, np.int32),
    )
    for case in (chunk, in_tree):
        for a, b in zip(cases.run(device, case), expected, strict=True):
            assert a.tobytes() == b.tobytes(), cases.rerun()


def test_chunks_of_one_token_beside_decoding_rows(device: host.Device) -> None:
    """Rows of one batch: decode, chunk of one token, decode of the very first token."""
    case = cases.decode([20, 1, 1, 33], capacity=40)
    cache = case.kv_cache.copy()
    cache[1, :, :, :17] = cache[0, :, :, :17]
    starts = np.array([5, 17, 0, -3], np.int32)
    cases.check(device, case.replace(kv_cache=cache, kv_cache_start_index=starts))


def test_rows_do_not_depend_on_each_other(device: host.Device) -> None:
    """A row alone has the bits that it has in a batch of the same shapes."""
    case = cases.chunk(9, [9, 4, 7], [1, 30, 12], capacity=48)
    output, cache = cases.run(device, case)
    order = [2, 0, 1]
    rows = ("qkv", "kv_cache", "context_lengths", "kv_cache_start_index")
    moved = case.replace(**{name: case.arrays[name][order] for name in rows})
    moved_output, moved_cache = cases.run(device, moved)
    assert moved_output.tobytes() == output[order].tobytes(), cases.rerun()
    assert moved_cache.tobytes() == cache[order].tobytes(), cases.rerun()
