"""What is verified on each SM, and that wrong results are noticed."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_llm_plugins import host, ops
from edge_llm_plugins.verify import coverage, inputs, verdicts
from edge_llm_plugins.verify.problems import MODES, Attention, Int4Gemm

DEVICES = host.emulated_devices()

INT4 = Int4Gemm(3, 68, 192)
DECODE = Attention("decode", 2, 40, 1, 4, 2, 32)


@pytest.mark.parametrize("device", DEVICES, ids=lambda device: f"sm{device.sm}")
def test_every_kernel_is_reached_or_named(device: host.Device) -> None:
    problems, unreached = coverage.problems(device)
    reached = {kernel for problem in problems for kernel in problem.kernels(device)}
    assert reached | set(unreached) == set(coverage.kernels_of(device.sm))
    assert not reached & set(unreached)
    # What is left over is of the plans of one SM, not of the search: where there is wgmma, it takes
    # the place of the other tiles in nearly all plans. They are there for the few others, and for
    # the measurements on which the costs of the SMs without it rest.
    has_wgmma = any("_wgmma_" in kernel for kernel in reached)
    replaced = ("_gemm_", "_f16_d128_") if has_wgmma else ()
    left = [kernel for kernel in unreached if not any(part in kernel for part in replaced)]
    assert len(left) <= 2, left


def test_no_kernel_is_beyond_all_devices() -> None:
    everywhere = [set(coverage.problems(device)[1]) for device in DEVICES]
    assert not set.intersection(*everywhere)


def test_every_mode_is_verified_on_every_head_size() -> None:
    problems, _ = coverage.problems(DEVICES[0])
    pairs = {(p.mode, p.head_size) for p in problems if isinstance(p, Attention)}
    assert pairs == {(mode, size) for mode in MODES for size in coverage.HEAD_SIZES}


# tools/verify/inputs_test.cc has the same numbers.
@pytest.mark.parametrize(
    ("made", "crc"),
    [
        (inputs.normals(7, 1, (1000,)), 0x6D46404B),
        (inputs.scales(7, 2, (1000,)), 0x358AD831),
        (inputs.int8s(7, 3, (1000,)), 0x47B8E6F5),
        (inputs.rope_table(50, 64), 0xDB092B98),
        (inputs.parents(7, 4, 100), 0x22607AD5),
    ],
    ids=["normals", "scales", "int8s", "rope_table", "parents"],
)
def test_inputs_are_those_of_cpp(made: NDArray, crc: int) -> None:
    assert zlib.crc32(made.tobytes()) == crc


@pytest.mark.parametrize(
    "problem",
    [
        INT4,
        *(
            Attention(mode, 2, past, tokens, 4, 2, 32)
            for mode, past, tokens in (
                ("prefill", 0, 5),
                ("chunk", 6, 5),
                ("decode", 6, 1),
                ("tree", 6, 5),
            )
        ),
    ],
    ids=lambda problem: problem.label,
)
def test_right_results_work(problem: Int4Gemm | Attention) -> None:
    (verdict,) = verdicts.verify(DEVICES[0], [problem])
    assert verdict.works, verdict.reason
    assert 0 < verdict.error <= 1
    assert verdict.kernels == problem.kernels(DEVICES[0])


def one_wrong(result: NDArray) -> NDArray:
    result.flat[7] += 4
    return result


def one_nan(result: NDArray) -> NDArray:
    result.flat[7] = np.nan
    return result


@pytest.mark.parametrize("spoil", [one_wrong, one_nan])
@pytest.mark.parametrize("problem", [INT4, DECODE], ids=["int4", "attention"])
def test_wrong_outputs_are_noticed(
    monkeypatch: pytest.MonkeyPatch, problem: Int4Gemm | Attention, spoil: Callable
) -> None:
    name = "attention" if isinstance(problem, Attention) else "int4_groupwise_gemm"
    right = getattr(ops, name)
    monkeypatch.setattr(ops, name, lambda *args, **named: spoil(right(*args, **named)))
    (verdict,) = verdicts.verify(DEVICES[0], [problem])
    assert not verdict.works
    assert verdict.reason.startswith('plugin "1": ')


def test_wrong_caches_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = ops.attention

    def spoiled(**named: object) -> NDArray[np.float16]:
        output = right(**named)
        named["kv_cache"][0, 1, 0, 0] = 0
        return output

    monkeypatch.setattr(ops, "attention", spoiled)
    (verdict,) = verdicts.verify(DEVICES[0], [DECODE])
    assert "in V" in verdict.reason


def test_failures_are_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object, **__: object) -> None:
        raise host.PluginError("no kernels")

    monkeypatch.setattr(ops, "int4_groupwise_gemm", failing)
    failed, right = verdicts.verify(DEVICES[0], [INT4, DECODE])
    assert (failed.works, failed.error, failed.reason) == (False, None, 'plugin "1": no kernels')
    assert right.works


def test_only_the_second_plugin_version_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    right = ops.int4_groupwise_gemm

    def spoiled(*arguments: object, plugin_version: str, **named: object) -> NDArray[np.float16]:
        y = right(*arguments, plugin_version=plugin_version, **named)
        return one_wrong(y) if plugin_version == "2" else y

    monkeypatch.setattr(ops, "int4_groupwise_gemm", spoiled)
    (verdict,) = verdicts.verify(DEVICES[0], [INT4])
    assert verdict.reason.startswith('plugin "2": ') and verdict.error > 1
