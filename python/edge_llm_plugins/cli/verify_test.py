"""edge-llm-plugins verify, on the emulator."""

from __future__ import annotations

import numpy as np
import pytest

from edge_llm_plugins import host, ops
from edge_llm_plugins.cli.main import main
from edge_llm_plugins.verify import coverage

# Few multiprocessors are filled by small problems.
DEVICE = min(host.emulated_devices(), key=lambda device: device.sm_count)


def test_everything_works_on_the_emulator(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", f"--sm={DEVICE.sm}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    problems, unreached = coverage.problems(DEVICE)
    assert lines[0] == f"{DEVICE.name}, SM {DEVICE.sm}, {DEVICE.sm_count} multiprocessors"
    assert lines[-1] == f"all {len(problems)} configurations work on this machine"
    assert sum(" works " in line for line in lines) == len(problems)
    kernels = coverage.kernels_of(DEVICE.sm)
    count = len(kernels) - len(unreached)
    assert f"{count} of {len(kernels)} kernels were run" in lines


def test_wrong_results_end_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = ops.int4_groupwise_gemm
    monkeypatch.setattr(
        ops, "int4_groupwise_gemm", lambda *args, **named: right(*args, **named) + np.float16(1)
    )
    some = coverage.problems(DEVICE)[0][:8]
    monkeypatch.setattr(coverage, "problems", lambda device: (some, []))
    assert main(["verify", f"--sm={DEVICE.sm}"]) == 1
    output = capsys.readouterr()
    assert output.out.count("  WRONG  ") == 7 and output.out.count("  works  ") == 1
    assert output.err == ("edge-llm-plugins: 7 of 8 configurations are WRONG on this machine\n")


def test_an_sm_that_is_not_emulated_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--sm=75"]) == 1
    assert "sm is 75" in capsys.readouterr().err
