"""The emulator answers to every conformance case as the GPUs did whose answers are stored.

To run one case: bazel test //tools/ptx_emulator/tests:conformance_test --test_arg=-kCASE
"""

from __future__ import annotations

import pathlib

import numpy as np
import pytest

from tools.ptx_emulator import opcodes
from tools.ptx_emulator.conformance.case import Bound, Case
from tools.ptx_emulator.conformance.cases import CASES, UNCOVERED
from tools.ptx_emulator.conformance.golden import Golden
from tools.ptx_emulator.conformance.run import run
from tools.ptx_emulator.cuda_driver import CudaError, PtxEmulator

GOLDENS = [Golden(path) for path in sorted(pathlib.Path(__file__).parent.glob("golden/*.txt"))]
RECORD = "record them again on that GPU (tools/ptx_emulator/conformance/record.py)"


def cases_of(golden: Golden) -> list[Case]:
    """The cases that the GPU can run."""
    return [case for case in CASES if case.runs_on(golden.about.sm)]


def test_there_are_golden_answers() -> None:
    assert GOLDENS


def test_names_of_cases_are_unique() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("golden", GOLDENS, ids=str)
def test_every_case_is_recorded_and_nothing_else(golden: Golden) -> None:
    wanted = {case.name for case in cases_of(golden)}
    missing, obsolete = sorted(wanted - golden.names), sorted(golden.names - wanted)
    assert not missing and not obsolete, f"missing {missing}, obsolete {obsolete}; {RECORD}"


@pytest.mark.parametrize(
    ("golden", "case"),
    [(golden, case) for golden in GOLDENS for case in cases_of(golden)],
    ids=str,
)
def test_emulator_answers_as_the_gpu(golden: Golden, case: Case) -> None:
    try:
        wanted = golden.results(case)
    except KeyError:
        pytest.fail(f"case {case.name} is not what {golden.about} answered to; {RECORD}")
    driver = PtxEmulator()
    with driver.context(driver.device_of_sm(golden.about.sm).ordinal) as context:
        answers = run(context, case)
    for i, (expected, got) in enumerate(zip(wanted, answers, strict=True)):
        excess = case.bound.excess(expected, got)
        thread = int(np.argmax(excess))
        assert excess[thread] == 0, (
            f"{np.count_nonzero(excess)} of {len(got)} threads differ in result {i}, "
            f"worst thread {thread}: operands {[hex(int(x)) for x in case.operands[thread]]}, "
            f"{golden.about.gpu} {expected[thread]:#x}, emulator {got[thread]:#x}; allowed is "
            f"{case.bound}; rerun with --test_arg=-k{case.name}"
        )


def test_every_opcode_of_our_kernels_has_a_case() -> None:
    used = set(opcodes.golden_opcodes())
    covered = {opcode for case in CASES for opcode in case.covers}
    unknown = sorted(used - covered - set(UNCOVERED))
    assert not unknown, f"{unknown}: add a case or, without a GPU to ask, a reason to UNCOVERED"
    assert not covered & set(UNCOVERED), "these have a case"


@pytest.mark.parametrize("only_target", [False, True])
def test_instructions_of_newer_gpus_are_refused_on_other_targets(only_target: bool) -> None:
    newer = [case for case in CASES if case.target > min(case.target for case in CASES)]
    newer = [case for case in newer if case.only_target == only_target]
    driver = PtxEmulator()
    with driver.context() as context:
        for case in newer:
            others = [case.target - 1, *([case.target, case.target + 10] if only_target else [])]
            for other in others:
                ptx = case.ptx.replace(f".target {case.target_name}", f".target sm_{other}")
                with pytest.raises(CudaError, match=rf"needs sm_{case.target}"):
                    context.load(ptx)
    assert newer


@pytest.mark.parametrize(
    ("bound", "wanted", "got", "kept"),
    [
        (Bound(), 0x7FFFFFFF, 0x7FC00000, False),
        (Bound(ulps=2), 0x3F800000, 0x3F800002, True),
        (Bound(ulps=2), 0x3F800000, 0x3F800003, False),
        (Bound(ulps=2), 0x3F800000, 0x7FFFFFFF, False),
        (Bound(ulps=2), 0x7F7FFFFF, 0x7F800000, False),
        (Bound(ulps=2), 0x7FFFFFFF, 0x7FFFFFFF, True),
        (Bound(ulps=1), 0x00000000, 0x00000001, True),
        (Bound(ulps=1), 0x00800000, 0x007FFFFE, False),
        (Bound(relative=2**-22), 0x40000000, 0x40000002, True),
        (Bound(relative=2**-22), 0x40000000, 0x40000003, False),
        (Bound(absolute=2**-22), 0x33800000, 0xB4000000, True),
        (Bound(absolute=2**-22), 0x33800000, 0xB4800000, False),
    ],
)
def test_bounds_are_as_tight_as_they_say(bound: Bound, wanted: int, got: int, kept: bool) -> None:
    excess = bound.excess(np.array([wanted], np.uint32), np.array([got], np.uint32))
    assert (excess[0] == 0) == kept
