"""The list of cases, and its floors beside those that were recorded with the peers."""

from __future__ import annotations

import pytest

from tools.bench import cases, recorded

ALL_CASES = [case for family in cases.FAMILIES.values() for case in family]


@pytest.mark.parametrize("family", cases.FAMILIES)
def test_every_case_has_its_recorded_row(family):
    assert [case.name for case in cases.FAMILIES[family]] == list(recorded.table(family))


def test_names_are_unique():
    assert len({case.name for case in ALL_CASES}) == len(ALL_CASES)


@pytest.mark.parametrize("case", ALL_CASES, ids=lambda case: case.name)
def test_floor_is_the_recorded_one(case):
    floor = recorded.table(case.family)[case.name]["floor"]
    # The tables were rounded to a tenth of a microsecond.
    assert case.floor_us(recorded.RECORD.ceilings) == pytest.approx(floor, abs=0.0501)


def test_floor_of_few_rows_is_memory_and_of_many_the_matrix_unit():
    ceilings = cases.Ceilings(bytes_per_second=1e12, flops=1e14)
    small = cases.Int4Case(256, 128, 1)
    assert small.floor_us(ceilings) == pytest.approx((256 * 64 + 2 * (256 + 128 + 256)) / 1e6)
    large = cases.Int4Case(4096, 4096, 4096)
    assert large.floor_us(ceilings) == pytest.approx(2 * 4096**3 / 1e8)


def test_causal_case_counts_what_each_token_sees():
    model = cases.Model("m", 2, 1, 16)
    chunk = cases.AttentionCase("chunk", model, 3, 2, 5)
    seen_by_both = 4 + 5
    assert chunk.flops == 4 * 3 * 2 * 16 * seen_by_both
    # K and V of 5 slots, Q and the output of 2 tokens, 2 bytes each.
    assert chunk.nbytes == 2 * 3 * (2 * 5 * 16 + 2 * 2 * 2 * 16)


def test_select_finds_by_expression():
    found = cases.select(cases.ATTENTION_CASES, "decode/.*/B1/L2048$")
    assert [case.model.name for case in found] == ["llama8b", "qwen3-0.6b", "qwen2.5-0.5b"]


def test_select_refuses_an_expression_that_matches_nothing():
    with pytest.raises(ValueError, match="--only is 'M3': it matches no case, such as int4_gemm/"):
        cases.select(cases.INT4_CASES[:1], "M3")


def test_recorded_peers_are_those_of_the_recorded_gpu_alone():
    name = cases.INT4_CASES[0].name
    assert recorded.peers("NVIDIA H200 NVL", "int4_gemm", name)["marlin"] == 9.2
    assert "floor" not in recorded.peers("NVIDIA H200", "int4_gemm", name)
    assert recorded.peers("NVIDIA Thor", "int4_gemm", name) == {}


@pytest.mark.parametrize("family", cases.FAMILIES)
def test_every_recorded_peer_is_explained(family):
    columns = {peer for row in recorded.table(family).values() for peer in row}
    assert columns - {"floor"} <= set(recorded.PEERS)
