"""run_fuzzer.py finds planted defects, repeats them, and does not take nothing for success."""

from __future__ import annotations

import base64
import os
import pathlib
import re
import subprocess
import sys

import pytest

HERE = pathlib.Path("tools/testing")
CC, PY = HERE / "planted_cc", HERE / "planted_py"


def run(
    folder: pathlib.Path, fuzzer: pathlib.Path, found: bytes | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs the input `found` alone, or fuzzes until the first defect."""
    environment = {**os.environ, "TEST_UNDECLARED_OUTPUTS_DIR": str(folder)}
    environment.pop("FUZZ_INPUT", None)
    if found is not None:
        environment["FUZZ_INPUT"] = base64.b64encode(found).decode()
    command = [sys.executable, HERE / "run_fuzzer.py", "--target=//planted", "--seconds=60"]
    command += ["--max_length=64", fuzzer]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("fuzzer", [CC, PY])
def test_defect_is_found_and_repeated(tmp_path: pathlib.Path, fuzzer: pathlib.Path) -> None:
    result = run(tmp_path, fuzzer)
    assert result.returncode == 1, result.stdout
    match = re.search(r"test //planted --test_env=FUZZ_INPUT=(\S+)", result.stdout)
    assert match, result.stdout
    found = base64.b64decode(match[1])
    assert f"hex: {found.hex(' ')}\n" in result.stdout
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [found]
    assert run(tmp_path, fuzzer, found).returncode != 0


@pytest.mark.parametrize(
    ("fuzzer", "data", "message"),
    [
        (CC, b"over", "AddressSanitizer: heap-buffer-overflow"),
        (CC, b"wrap", "signed integer overflow: 2147483647 + 4"),
        (CC, b"fail", "a failed requirement"),
        (CC, b"toss", "nobody catches this"),
        (PY, b"line", "ValueError: two"),
        (PY, b"fail", "ValueError: invalid literal for int"),
        (PY, b"kind", "TypeError: an error of another kind"),
        (PY, b"hang", "ALARM: working on the last Unit"),
    ],
)
def test_each_kind_of_defect_is_a_finding(
    tmp_path: pathlib.Path, fuzzer: pathlib.Path, data: bytes, message: str
) -> None:
    result = run(tmp_path, fuzzer, data)
    assert result.returncode != 0
    assert message in result.stdout


@pytest.mark.parametrize(("fuzzer", "data"), [(CC, b"other"), (PY, b"other"), (PY, b"deny")])
def test_what_is_no_defect_passes(
    tmp_path: pathlib.Path, fuzzer: pathlib.Path, data: bytes
) -> None:
    result = run(tmp_path, fuzzer, data)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    "printed", ["", "#9\\tDONE   cov: 0 ft: 1", "stat::number_of_executed_units: 9"]
)
def test_fuzzer_that_tries_nothing_is_a_failure(tmp_path: pathlib.Path, printed: str) -> None:
    fuzzer = tmp_path / "fuzzer"
    fuzzer.write_text(f"#!/bin/sh\nprintf '{printed}\\n'\n")
    fuzzer.chmod(0o755)
    result = run(tmp_path / "found", fuzzer)
    assert result.returncode == 1
    assert "//planted tried nothing" in result.stdout
