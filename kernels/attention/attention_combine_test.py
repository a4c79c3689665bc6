"""The combine kernel against the FP64 reference, on every SM."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from kernels.attention import attention_cases as cases
from kernels.attention import attention_reference as reference
from kernels.attention.attention_harness import AttentionKernel, kernel_on, rerun_command
from kernels.testing import variant_under_test


@pytest.fixture(name="rerun")
def _rerun(request: pytest.FixtureRequest) -> str:
    return rerun_command(request.node.name)


@pytest.fixture(name="kernel", scope="module", params=variant_under_test.sms_under_test())
def _kernel(request: pytest.FixtureRequest) -> Iterator[AttentionKernel]:
    with kernel_on(request.param) as kernel:
        yield kernel


def _partials(splits: int, case: reference.Case) -> tuple[np.ndarray, np.ndarray]:
    """Outputs f32 [splits, batch, q_len, Q heads, head size], states f32 [splits, heads, 2]."""
    random = np.random.default_rng(splits)
    shape = (splits, case.batch, case.q_len, case.heads[0], case.head_size)
    maximum = 20 * random.standard_normal((splits, int(np.prod(shape[1:4]))))
    weight = random.uniform(1, 100, maximum.shape)
    outputs = random.standard_normal(shape) * weight.reshape(*shape[:4], 1)
    states = np.stack([maximum, weight], axis=2).astype(np.float32)
    return outputs.astype(np.float32), states


@pytest.mark.parametrize("head_size", [32, 80, 256])
@pytest.mark.parametrize("splits", [2, 3, 17])
def test_splits_are_merged(
    kernel: AttentionKernel, head_size: int, splits: int, rerun: str
) -> None:
    case = cases.decode([5, 5, 5], (7, 1), head_size, 8)
    outputs, states = _partials(splits, case)
    reference.assert_close(
        kernel.combine(case, outputs, states), reference.merge(outputs, states), rerun
    )


def test_empty_splits_count_for_nothing(kernel: AttentionKernel, rerun: str) -> None:
    """Whatever their output holds; a head without any split is zero."""
    case = cases.decode([5, 5], (3, 1), 64, 8)
    outputs, states = _partials(4, case)
    for split, head in ((0, 0), (1, 1), (3, 1), *((split, 4) for split in range(4))):
        states[split, head] = (-np.inf, 0)
        outputs[split].reshape(-1, 64)[head] = np.nan
    actual = kernel.combine(case, outputs, states)
    reference.assert_close(actual, reference.merge(outputs, states), rerun)
    assert (actual.reshape(-1, 64)[4] == 0).all(), f"an empty head; rerun: {rerun}"


def test_infinite_and_nan_outputs_stay(kernel: AttentionKernel, rerun: str) -> None:
    case = cases.decode([5], (4, 1), 32, 8)
    outputs, states = _partials(2, case)
    outputs[1, 0, 0, 1, 5] = np.nan
    outputs[0, 0, 0, 2, 6] = -np.inf
    actual = kernel.combine(case, outputs, states)
    reference.assert_close(actual, reference.merge(outputs, states), rerun)
