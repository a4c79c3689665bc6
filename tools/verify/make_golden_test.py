"""The golden file has what each device would choose for itself, with the results of NumPy."""

from __future__ import annotations

import functools
import os
import pathlib
import re

import numpy as np
import pytest

from edge_llm_plugins.verify import coverage
from edge_llm_plugins.verify.problems import Attention, Int4Gemm, Problem
from tools.verify import make_golden

# SMs with much and with little shared memory, and with many and with few multiprocessors.
DEVICES = [(80, 108), (87, 16), (87, 8), (90, 132), (101, 20), (120, 188), (120, 94)]


@functools.cache
def library() -> make_golden.Library:
    return make_golden.Library(pathlib.Path(os.environ["LIBRARY"]))


def chosen(device: make_golden.Device, table: list[tuple[Problem, bool]]) -> list[Problem]:
    """What the C++ program runs of a table (verify_main.cc)."""
    missing = set(coverage.kernels_of(device.sm))
    problems = []
    for problem, always in table:
        kernels = set(problem.kernels(device))
        if always or kernels & missing:
            problems.append(problem)
            missing -= kernels
    return problems


@pytest.mark.parametrize(("sm", "sm_count"), DEVICES)
def test_each_device_chooses_as_from_the_whole_search(sm: int, sm_count: int) -> None:
    table = make_golden.problems([make_golden.Device(library(), *each) for each in DEVICES])
    device = make_golden.Device(library(), sm, sm_count)
    assert chosen(device, table) == coverage.problems(device)[0]


def test_table_has_no_problem_twice() -> None:
    table = make_golden.problems([make_golden.Device(library(), *each) for each in DEVICES])
    assert len({problem for problem, _ in table}) == len(table)
    seeds = [problem.seed for problem, _ in table]
    assert len(set(seeds)) == len(seeds)


def test_product_has_all_of_its_results() -> None:
    problem = Int4Gemm(2, 8, 64)
    line, results = make_golden.int4_gemm(problem, always=True)
    assert line.decode().endswith(f"m=2 n=8 k=64 outputs=16|{problem.label}\n")
    assert (np.frombuffer(results, "<f4") == problem.expected().ravel().astype("<f4")).all()


def test_attention_has_a_sample_of_its_results_and_all_written_keys() -> None:
    problem = Attention("chunk", 2, 9, 20, 8, 1, 32)
    line, results = make_golden.attention(problem, always=False)
    outputs, keys = map(int, re.search(rb"outputs=(\d+) keys=(\d+)", line).groups())
    # Of rows of 20 and 19 valid tokens.
    assert (outputs, keys) == (make_golden.MOST_SAMPLES, (20 + 19) * 32)
    assert len(results) == 4 * outputs + 2 * keys
    output, cache = problem.expected()
    sample = make_golden.sampled(problem.seed, make_golden.OUTPUT_SAMPLE, output)
    difference = np.frombuffer(results[: 4 * outputs], "<f4") - sample
    assert np.abs(difference).max() <= 0.5 / make_golden.ATTENTION_STEPS
    written = np.frombuffer(results[4 * outputs :], "<f2").reshape(-1, 32)
    assert (written[0] == cache[0, 0, 0, 9]).all()
    assert (written[-1] == cache[1, 0, 0, 8 + 18]).all()


def test_sample_has_elements_of_everywhere() -> None:
    count = 10 * make_golden.MOST_SAMPLES
    sample = make_golden.sampled(1, make_golden.OUTPUT_SAMPLE, np.arange(count))
    tenths = np.bincount(sample // make_golden.MOST_SAMPLES, minlength=10)
    assert len(tenths) == 10 and tenths.min() > make_golden.MOST_SAMPLES / 20
