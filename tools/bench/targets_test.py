"""Which peer sets a case's target, and how far."""

from __future__ import annotations

import pytest

from tools.bench import targets
from tools.bench.cases import LLAMA_8B, QWEN25, AttentionCase, Int4Case

EMPTY_US = 1.5


def goals(case, measured=None, recorded=None, floor_us=10.0):
    peers = targets.Peers(case.family, measured or {}, recorded or {}, EMPTY_US)
    return targets.goals(case, peers, floor_us)


def int4(m, n=14336, k=4096):
    return Int4Case(n, k, m)


def attention(mode, q_len, kv_len, batch=1, model=LLAMA_8B):
    return AttentionCase(mode, model, batch, q_len, kv_len)


def test_recorded_peer_is_scaled_by_the_yardstick_of_the_run():
    found = goals(int4(16), {"cublas": 22.0}, {"cublas": 20.0, "marlin": 10.0, "machete": 12.0})
    assert found.now == targets.Goal(pytest.approx(11.0 / 1.25), "1.25 x marlin")


def test_without_the_yardstick_a_recorded_peer_counts_as_it_is():
    assert goals(int4(64), {}, {"marlin": 10.0}).now.us == 10.0


def test_measured_peer_replaces_the_recorded_one():
    found = goals(int4(1), {"tinygemm": 13.0}, {"tinygemm": 26.0, "marlin": 14.0})
    assert found.now == targets.Goal(pytest.approx(10.0), "1.3 x tinygemm")


@pytest.mark.parametrize(("floor_us", "factor"), [(7.0, 1.3), (6.9, 1.0)])
def test_few_rows_must_beat_the_best_peer_by_a_factor_unless_small(floor_us, factor):
    recorded = {"upstream_gemv": 13.0, "machete": 1.0}  # which is not asked for few rows
    assert goals(int4(8), {}, recorded, floor_us).now.us == pytest.approx(13.0 / factor)


def test_widest_layer_must_reach_three_quarters_of_the_floor():
    case = int4(4, n=28672)
    assert goals(case, {}, {"marlin": 26.0}, 14.1).now == targets.Goal(
        pytest.approx(18.8), "3/4 of the floor"
    )
    assert goals(case, {}, {"marlin": 13.0}, 14.1).now.rule == "1.3 x marlin"


def test_short_row_is_judged_above_the_empty_kernel():
    assert goals(int4(32), {}, {"marlin": 4.0}).now.us == pytest.approx(1.5 + 2.5 / 1.25)


def test_rows_of_the_matrix_unit_have_a_second_target():
    recorded = {"marlin": 50.0, "machete": 25.0}
    found = goals(int4(128), {}, recorded)
    assert (found.now.us, found.hopper.us) == (50.0, 20.0)
    assert goals(int4(64), {}, recorded).now.us == 25.0


def test_many_rows_must_reach_cublas_within_5_percent():
    recorded = {"marlin": 600.0, "machete": 350.0, "cublas": 300.0}
    found = goals(int4(2048), {}, recorded)
    assert found.now.us == 600.0
    assert found.hopper == targets.Goal(pytest.approx(315.0), "cublas + 5 %")
    assert goals(int4(512), {}, recorded).hopper.rule == "machete"


def test_decode_may_be_2_percent_slower_but_not_than_6_us_at_batch_1_and_2k():
    peers = {"cudnn": 20.0, "flash": 1.0, "flashinfer": 10.0}
    found = goals(attention("decode", 1, 8192), peers)
    assert found.now == targets.Goal(pytest.approx(10.2), "flashinfer + 2 %")
    assert goals(attention("decode", 1, 2048), peers).now == targets.Goal(6.0, "6 us")
    assert goals(attention("decode", 1, 2048, batch=8), peers).now.us == pytest.approx(10.2)


def test_tree_is_judged_by_12_us_at_batch_1_else_by_the_best_peer():
    peers = {"cudnn": 50.0, "efficient": 40.0}
    assert goals(attention("tree", 60, 2108), peers).now == targets.Goal(12.0, "12 us")
    assert goals(attention("tree", 60, 2108, batch=8), peers).now.us == 40.0


def test_chunk_is_judged_by_the_best_peer():
    peers = {"cudnn": 50.0, "flash": 40.0, "flashinfer": 30.0}
    assert goals(attention("chunk", 512, 4608), peers).now.rule == "flashinfer"


def test_prefill_must_reach_flash_now_and_cudnn_later_where_heads_are_large():
    peers = {"cudnn": 80.0, "flash": 160.0}
    found = goals(attention("prefill", 2048, 2048), peers)
    assert (found.now.rule, found.hopper.rule) == ("flash", "cudnn")
    assert goals(attention("prefill", 512, 512), peers).hopper.rule == "flash"
    small_heads = attention("prefill", 2048, 2048, model=QWEN25)
    assert goals(small_heads, peers).hopper.rule == "flash"


@pytest.mark.parametrize("case", [int4(1), int4(16), int4(64), int4(512), int4(2048)])
def test_without_peers_there_is_no_target(case):
    assert goals(case) == targets.Goals(None, None)
