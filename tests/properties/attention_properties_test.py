"""Attention of any small shape, in every mode and on any SM, is what the reference says."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge_llm_plugins import host, rope
from tests.ops import attention_cases as cases
from tests.properties.examples import examples

SMS = [device.sm for device in host.emulated_devices()]
EXAMPLES = 60

calls = {
    "sm": st.sampled_from(SMS),
    "version": st.sampled_from(["1", "2"]),
    "in_place": st.booleans(),
}
counts = st.integers(1, 3)  # of rows


@st.composite
def options(draw: st.DrawFn) -> dict:
    """Heads and the seed of the values. Other head sizes have kernels of the same code."""
    kv_heads = draw(st.integers(1, 2))
    q_heads, size = kv_heads * draw(st.integers(1, 16)), draw(st.sampled_from([32, 64]))
    heads = cases.Heads(q_heads, kv_heads, size)
    rotary_size = 2 * draw(st.integers(1, size // 2))
    return {"heads": heads, "seed": draw(st.integers(0, 2**16)), "rotary_size": rotary_size}


def per_row(draw: st.DrawFn, rows: int, low: int, high: int) -> list[int]:
    return draw(st.lists(st.integers(low, high), min_size=rows, max_size=rows))


@st.composite
def prefills(draw: st.DrawFn) -> cases.Case:
    seq = draw(st.integers(1, 70))
    lengths = per_row(draw, draw(counts), 0, seq)
    capacity = seq + draw(st.integers(0, 30))
    case = cases.prefill(seq, lengths, capacity, **draw(options()))
    return cases.with_dummy_tree(case) if draw(st.booleans()) else case


@st.composite
def chunks(draw: st.DrawFn) -> cases.Case:
    rows, seq = draw(counts), draw(st.integers(2, 40))
    starts = per_row(draw, rows, 0, 100)
    capacity = max(starts) + seq + draw(st.integers(0, 30))
    case = cases.chunk(seq, per_row(draw, rows, 0, seq), starts, capacity, **draw(options()))
    return cases.with_dummy_tree(case) if draw(st.booleans()) else case


@st.composite
def decodes(draw: st.DrawFn) -> cases.Case:
    capacity = draw(st.integers(1, 150))
    return cases.decode(per_row(draw, draw(counts), 1, capacity), capacity, **draw(options()))


@st.composite
def trees(draw: st.DrawFn) -> cases.Case:
    rows, size = draw(counts), draw(st.integers(1, 40))
    parents = np.stack([cases.random_tree(size, seed) for seed in per_row(draw, rows, 0, 99)])
    pasts = per_row(draw, rows, 0, 80)
    capacity = max(pasts) + size + draw(st.integers(0, 30))
    return cases.draft_trees(parents, pasts, capacity, **draw(options()))


def check(case: cases.Case, sm: int, version: str, in_place: bool) -> None:
    device = host.open_device("emulator", sm=sm)
    cases.check(device, case, version=version, in_place=in_place)


@examples(EXAMPLES)
@given(case=prefills(), **calls)
def test_prefill(case: cases.Case, sm: int, version: str, in_place: bool) -> None:
    check(case, sm, version, in_place)


@examples(EXAMPLES)
@given(case=chunks(), **calls)
def test_chunked_prefill(case: cases.Case, sm: int, version: str, in_place: bool) -> None:
    check(case, sm, version, in_place)


@examples(EXAMPLES)
@given(case=decodes(), **calls)
def test_decode(case: cases.Case, sm: int, version: str, in_place: bool) -> None:
    check(case, sm, version, in_place)


@examples(EXAMPLES)
@given(case=trees(), **calls)
def test_tree_decode(case: cases.Case, sm: int, version: str, in_place: bool) -> None:
    check(case, sm, version, in_place)


@examples(EXAMPLES)
@given(case=decodes(), table_rows=st.booleans(), base=st.floats(10, 1e6), **calls)
def test_rope_tables_of_the_call_or_of_its_rows(
    case: cases.Case, table_rows: bool, base: float, sm: int, version: str, in_place: bool
) -> None:
    rows = case.qkv.shape[0] if table_rows else 1
    positions, rotary_size = case.rope_cos_sin.shape[1:]
    tables = [rope.cos_sin(positions, rotary_size, base=base + row) for row in range(rows)]
    check(case.replace(rope_cos_sin=np.concatenate(tables)), sm, version, in_place)
