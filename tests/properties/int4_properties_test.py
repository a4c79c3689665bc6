"""INT4 GEMM of any small shape, on any SM, through any interface, is what the reference says."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_llm_plugins import host
from tests.ops import int4_cases
from tests.properties.examples import examples

SMS = [device.sm for device in host.emulated_devices()]


@examples(120)
@given(
    sm=st.sampled_from(SMS),
    interface=st.sampled_from(int4_cases.INTERFACES),
    batch=st.integers(0, 3),
    seq=st.integers(0, 48),
    n=st.integers(1, 40).map(lambda count: 4 * count),
    k=st.integers(1, 10).map(lambda count: 64 * count),
    seed=st.integers(0, 2**16),
)
def test_any_shape(
    sm: int, interface: tuple[str, int], batch: int, seq: int, n: int, k: int, seed: int
) -> None:
    case = int4_cases.random_case(batch, seq, n, k, seed)
    device = host.open_device("emulator", sm=sm)
    int4_cases.assert_correct(int4_cases.run(device, case, *interface), case)


@examples(40)
@given(
    sm=st.sampled_from(SMS),
    m=st.integers(1, 130),
    n=st.integers(1, 4).map(lambda count: 4 * count),
    k=st.integers(30, 90).map(lambda count: 64 * count),
)
def test_long_rows_of_few_columns(sm: int, m: int, n: int, k: int) -> None:
    """K is split over CTAs, and the last split is a rest."""
    case = int4_cases.random_case(1, m, n, k)
    device = host.open_device("emulator", sm=sm)
    int4_cases.assert_correct(int4_cases.run(device, case), case)
