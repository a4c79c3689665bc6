"""The benchmark of a whole model, on the emulator and without PyTorch's profiler."""

from __future__ import annotations

import contextlib
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

from edge_llm_plugins.models.limits import Limits
from edge_llm_plugins.models.testdata import tiny_models
from edge_llm_plugins.runtime.backends import HostBackend
from tools.bench.generation import bench_generation
from tools.bench.generation.bench_generation import Kernel

GEMV = Kernel("int4_gemv_f16_m8_n32_w8_sm90", 8, 24.0)
DECODE = Kernel("attention_decode_f16_d32_m16_sm90", 2, 50.0)
COPY = Kernel("Memcpy HtoD (Pageable -> Device)", 20, 900.0)


def test_kernels_of_others_do_not_count() -> None:
    assert bench_generation.our_kernels([GEMV, COPY, DECODE]) == [DECODE, GEMV]


def test_a_step_has_its_share() -> None:
    assert bench_generation.per_step([DECODE, GEMV], steps=2) == {
        DECODE.name: {"launches": 1.0, "us": 25.0},
        GEMV.name: {"launches": 4.0, "us": 12.0},
    }


@pytest.fixture
def profiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that finds the same kernels whatever runs."""

    @contextlib.contextmanager
    def profiled() -> Iterator[list[Kernel]]:
        kernels: list[Kernel] = []
        yield kernels
        kernels += [GEMV, COPY, DECODE]

    monkeypatch.setattr(bench_generation, "profiled", profiled)


@pytest.mark.usefixtures("profiler")
def test_a_model_is_measured_and_judged(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    model = tiny_models.quantized_folder(tiny_models.CONFIGS["llama"], tmp_path / "tiny")
    monkeypatch.setattr(bench_generation, "_PROMPT_TOKENS", 8)
    monkeypatch.setattr(bench_generation, "_TOKENS", 4)
    limits = Limits(capacity=48, prefill_tokens=32, tree_tokens=4)
    monkeypatch.setattr(bench_generation, "_LIMITS", limits)
    monkeypatch.setattr(
        bench_generation,
        "HostBackend",
        lambda model, limits, device: HostBackend(model, limits, device="emulator"),
    )
    found = bench_generation.measure(model)
    assert found["verdict"]["right"], found["verdict"]
    assert found["model"] == "tiny"
    assert found["kernel_us_per_token"] == round(74 / 40, 1)
    assert list(found["kernels_per_token"]) == [DECODE.name, GEMV.name]
    assert all(rate > 0 for rate in found["tokens_per_second"].values())


@pytest.mark.parametrize("code", [0, 1])
def test_a_crash_of_exit_handlers_is_no_crash_of_the_benchmark(code: int) -> None:
    program = (
        "import atexit, os\n"
        "from tools.bench.generation import bench_generation\n"
        "atexit.register(os.abort)\n"
        "print('measured')\n"
        f"bench_generation.leave({code})\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": ":".join(filter(None, sys.path))},
        stdout=subprocess.PIPE,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (code, b"measured\n")
