"""The append kernel against the FP64 reference: what goes to the cache, and what does not.

The emulator runs with all checks on. The kernel serves every head size.
"""

from __future__ import annotations

from collections.abc import Iterator

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


def _check(kernel: AttentionKernel, case: reference.Case, rerun: str) -> None:
    inputs = cases.random_inputs(case)
    reference.assert_same_cache(kernel.append(case, inputs), inputs.new_cache, rerun)


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


def test_positions_end_with_the_table(kernel: AttentionKernel, rerun: str) -> None:
    case = cases.chunk([4, 4, 4], [0, 4, 7], 4, _HEADS, 32, 20)
    case.rope = cases.rope_table(6, 32)
    _check(kernel, case, rerun)
