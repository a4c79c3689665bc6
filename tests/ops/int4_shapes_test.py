"""Every edge of M, N and K of the INT4 GEMM, on one SM."""

from __future__ import annotations

import numpy as np
import pytest

from edge_llm_plugins import host
from tests.ops import int4_cases

# GEMV serves up to 8 rows; CTA tiles have 16, 32, 64 and 128.
M_EDGES = (0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129)


def planned(device: host.Device, m: int, n: int, k: int) -> str:
    """The plan of a problem on the device: "<variant> splits=<count>"."""
    return device.library.int4_gemm_variant(m, n, k, device.sm, device.sm_count)


@pytest.mark.parametrize("m", M_EDGES)
def test_m_around_every_tile_edge(device: host.Device, m: int) -> None:
    case = int4_cases.random_case(1, m, n=68, k=192)
    int4_cases.assert_correct(int4_cases.run(device, case), case)


@pytest.mark.emulator_only
def test_every_tile_height_is_planned_somewhere_and_right() -> None:
    """Few columns are spread over many small tiles; on few multiprocessors, fewer columns do."""
    device = min(host.emulated_devices(), key=lambda device: device.sm_count)
    smallest: dict[str, tuple[int, int]] = {}  # m, n by height
    for n in (68, 260, 1028, 4100, 8196):
        for m in (8, 16, 17, 33, 65, 129, 384):
            height = planned(device, m, n, k=128).split("_f16_m")[1].split("_")[0]
            smallest.setdefault(height, (m, n))
    assert set(smallest) == {"8", "16", "32", "64", "128"}
    for m, n in smallest.values():
        case = int4_cases.random_case(1, m, n, k=128)
        int4_cases.assert_correct(int4_cases.run(device, case), case)


# N: less than a warp's columns, less than a tile, one more than a tile. K: half a group, a group
# and a half, four and a half groups.
@pytest.mark.parametrize("m", [1, 8, 17, 64])
@pytest.mark.parametrize("n", [4, 12, 132])
@pytest.mark.parametrize("k", [64, 192, 576])
def test_n_and_k_that_fill_no_tile(device: host.Device, m: int, n: int, k: int) -> None:
    case = int4_cases.random_case(1, m, n, k)
    int4_cases.assert_correct(int4_cases.run(device, case), case)


@pytest.mark.parametrize("m", [1, 9])
def test_many_columns_choose_wider_tiles(device: host.Device, m: int) -> None:
    """A device with few multiprocessors is filled by wide tiles soon; the last one is not full."""
    devices = host.emulated_devices() if device.kind == "emulator" else (device,)
    device = min(devices, key=lambda device: device.sm_count)
    variants = {}
    for n in range(68, 1024 * device.sm_count, 16 * device.sm_count):
        variants.setdefault(planned(device, m, n, k=64), n)
    assert len(variants) > 1
    for n in variants.values():
        case = int4_cases.random_case(1, m, n, k=64)
        int4_cases.assert_correct(int4_cases.run(device, case), case)


# Long rows and few columns: the launcher splits K over CTAs and combines partial sums. The last
# split is shorter, and its last group is half a group.
@pytest.mark.parametrize(
    ("m", "k"), [(1, 12352), (8, 12352), (9, 4160), (32, 4160), (33, 4160), (129, 4160)]
)
def test_split_k(device: host.Device, m: int, k: int) -> None:
    assert not planned(device, m, n=8, k=k).endswith("splits=1")
    case = int4_cases.random_case(1, m, n=8, k=k)
    int4_cases.assert_correct(int4_cases.run(device, case), case)


def test_m_is_batch_times_sequence(device: host.Device) -> None:
    case = int4_cases.random_case(1, 24, n=64, k=128)
    expected = int4_cases.run(device, case)
    for batch, seq in ((2, 12), (24, 1), (3, 8)):
        shaped = int4_cases.Case(case.x.reshape(batch, seq, -1), case.packed, case.scales)
        actual = int4_cases.run(device, shaped)
        assert actual.shape == (batch, seq, 64)
        assert actual.tobytes() == expected.tobytes(), f"[{batch}, {seq}]\n{int4_cases.rerun()}"


@pytest.mark.parametrize(("batch", "seq"), [(0, 5), (5, 0), (0, 0)])
def test_empty_batch_or_sequence(device: host.Device, batch: int, seq: int) -> None:
    case = int4_cases.random_case(batch, seq, n=64, k=128)
    assert int4_cases.run(device, case).shape == (batch, seq, 64)


def test_one_engine_serves_every_shape_of_its_profile(device: host.Device) -> None:
    shapes = [(1, 1), (2, 40), (1, 8), (4, 16), (1, 0), (1, 1)]
    cases = [int4_cases.random_case(b, s, n=64, k=256) for b, s in shapes]
    weights = cases[0]
    engine = host.build_engine(
        int4_cases.creator(device),
        weights.fields,
        [
            host.dynamic_range(np.float16, [1, 0, 256], [1, 1, 256], [4, 40, 256]),
            host.fixed_range(np.int8, weights.packed.shape),
            host.fixed_range(np.float16, weights.scales.shape),
        ],
    )
    (output,) = engine.outputs
    assert (output.min, output.opt, output.max) == ([1, 0, 64], [1, 1, 64], [4, 40, 64])
    stream = device.stream()
    with engine.load(device) as loaded:
        context = loaded.create_context()
        for case in cases:
            tensors = int4_cases.CaseTensors(device, case)
            context.enqueue(tensors.inputs, [tensors.y], stream)
            stream.synchronize()
            int4_cases.assert_correct(tensors.result(), case)


@pytest.mark.parametrize("m", [1, 9, 17, 33, 65])
def test_workspace_serves_every_smaller_m(device: host.Device, m: int) -> None:
    """The engine is built for M = 129, and run with the plan of each tile height.

    The workspace is an allocation of exactly the size that the plugin asked for, and the emulator
    reports any access outside it.
    """
    n, k = 8, 8192
    assert not planned(device, m, n, k).endswith("splits=1")
    case = int4_cases.random_case(1, m, n, k)
    engine = host.build_engine(
        int4_cases.creator(device),
        case.fields,
        [
            host.dynamic_range(np.float16, [1, 1, k], [1, m, k], [1, 129, k]),
            host.fixed_range(np.int8, case.packed.shape),
            host.fixed_range(np.float16, case.scales.shape),
        ],
    )
    tensors = int4_cases.CaseTensors(device, case)
    stream = device.stream()
    with engine.load(device) as loaded:
        context = loaded.create_context()
        context.enqueue(tensors.inputs, [tensors.y], stream)
        stream.synchronize()
    int4_cases.assert_correct(tensors.result(), case)
