"""The rope kernel against the FP64 reference: what goes to Q and to the cache, and what does not.

The emulator runs with all checks on. The kernel serves every head size.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from kernels.attention import attention_cases as cases
from kernels.attention import attention_reference as reference
from kernels.attention.attention_harness import AttentionKernel, kernel_on, rerun_command
from kernels.testing import variant_under_test

_SMS = variant_under_test.sms_under_test()
_HEADS = (3, 1)


@pytest.fixture(name="rerun")
def _rerun(request: pytest.FixtureRequest) -> str:
    return rerun_command(request.node.name)


@pytest.fixture(name="kernel", scope="module", params=_SMS)
def _kernel(request: pytest.FixtureRequest) -> Iterator[AttentionKernel]:
    with kernel_on(request.param) as kernel:
        yield kernel


def _assert_turned(actual: np.ndarray, expected: np.ndarray, rerun: str) -> None:
    """Within one ULP of FP16, or 2^-22 of the largest value; NaN where the reference has it."""
    assert (np.isnan(actual) == np.isnan(expected)).all(), f"NaN differs; rerun: {rerun}"
    finite = ~np.isnan(expected)
    got, want = actual[finite], expected[finite]
    error = np.abs(got.astype(np.float64) - want.astype(np.float64))
    ulp = np.spacing(np.maximum(np.abs(got), np.abs(want))).astype(np.float64)
    allowed = np.maximum(ulp, 2.0**-22 * np.abs(want, dtype=np.float64).max(initial=1))
    worst = np.argmax(error - allowed)
    assert (error <= allowed).all(), f"{got[worst]}, reference {want[worst]}; rerun: {rerun}"


def _check(kernel: AttentionKernel, case: reference.Case, rerun: str) -> None:
    qkv, cache = cases.random_qkv(case), cases.random_cache(case)
    expected_q, expected_cache = reference.rope_and_cache(case, qkv, cache)
    q, new_cache = kernel.rope(case, qkv, cache)
    _assert_turned(q, expected_q, rerun)
    _assert_turned(new_cache[:, 0], expected_cache[:, 0], rerun)
    bits = new_cache.view(np.uint16), expected_cache.view(np.uint16)
    assert (bits[0][:, 1] == bits[1][:, 1]).all(), f"V differs; rerun: {rerun}"
    old = cache.view(np.uint16)
    unwritten = bits[1] == old  # NaN is compared by its bits
    assert (bits[0][unwritten] == old[unwritten]).all(), f"another slot; rerun: {rerun}"


@pytest.mark.parametrize(
    ("head_size", "rotary_size"),
    [(32, 32), (64, 64), (80, 32), (80, 20), (96, 96), (96, 24), (128, 128), (256, 2), (256, 256)],
)
def test_head_and_rotary_sizes(
    kernel: AttentionKernel, head_size: int, rotary_size: int, rerun: str
) -> None:
    case = cases.chunk([3, 2], [5, 0], 3, _HEADS, head_size, 9)
    case.rope = cases.rope_table(9, rotary_size)
    _check(kernel, case, rerun)


def test_table_per_row(kernel: AttentionKernel, rerun: str) -> None:
    case = cases.prefill([3, 2, 0], 3, _HEADS, 64, 9)
    case.rope = cases.rope_table(9, 64, tables=3)
    _check(kernel, case, rerun)


def test_lengths_of_prefill(kernel: AttentionKernel, rerun: str) -> None:
    case = cases.prefill([*cases.HOSTILE, 1, 2, 5], 5, _HEADS, 32, 4)
    _check(kernel, case, rerun)


def test_starts_of_chunks(kernel: AttentionKernel, rerun: str) -> None:
    values = (*cases.HOSTILE, 2, 4, 5)
    starts = [start for start in values for _ in values]
    lengths = [length for _ in values for length in values]
    _check(kernel, cases.chunk(lengths, starts, 3, (1, 1), 32, 5), rerun)


def test_lengths_of_decode_and_one_token_chunks(kernel: AttentionKernel, rerun: str) -> None:
    values = (*cases.HOSTILE, 1, 4, 5, 6)
    starts = [start for start in values for _ in values]
    lengths = [length for _ in values for length in values]
    _check(kernel, cases.decode(lengths, (1, 1), 32, 5, starts), rerun)


@pytest.mark.parametrize("q_len", [1, 3])
def test_lengths_of_trees(kernel: AttentionKernel, q_len: int, rerun: str) -> None:
    values = [*cases.HOSTILE, 1, 2, 3, 7, 8, 9, 10, 11, 12]
    case = cases.random_tree([0] * len(values), [q_len] * len(values), _HEADS, 32, 9)
    case.lengths = np.array(values)
    case.starts = np.array([0, 5] * (len(values) // 2))
    _check(kernel, case, rerun)


def test_tree_of_one_token_at_the_first_slot(kernel: AttentionKernel, rerun: str) -> None:
    """With a start of 0 it is no chunk of one token: its position holds."""
    case = cases.random_tree([0], [1], _HEADS, 64, 9)
    case.positions = np.array([[3]])
    _check(kernel, case, rerun)


def test_positions_of_trees(kernel: AttentionKernel, rerun: str) -> None:
    case = cases.random_tree([3, 0], [7, 7], _HEADS, 64, 20)
    case.rope = cases.rope_table(8, 64)
    case.positions = np.array([[*cases.HOSTILE, 7, 8], [0, 0, -1, 3, -2, 3, 9]])
    _check(kernel, case, rerun)


def test_positions_end_with_the_table(kernel: AttentionKernel, rerun: str) -> None:
    case = cases.chunk([4, 4, 4], [0, 4, 7], 4, _HEADS, 32, 20)
    case.rope = cases.rope_table(6, 32)
    _check(kernel, case, rerun)
