"""What ptxas says of the kernels of all platforms: no spills, registers within the budget."""

from __future__ import annotations

import json
import pathlib
import re

import pytest

_REPORTS = sorted(pathlib.Path("kernels/reports").glob("*_reports/*.cubin.log"))
_MANIFEST = json.loads(pathlib.Path("kernels/manifest.json").read_text())
_THREADS = {row["name"]: row["threads"] for row in _MANIFEST["variants"]}
_ROWS = {row["id"]: row for row in _MANIFEST["images"]}

_REGISTERS_PER_SM = 65536


def test_every_kernel_of_every_sm_has_a_report() -> None:
    assert {path.name.split(".")[0] for path in _REPORTS} == set(_ROWS)


@pytest.mark.parametrize("report", _REPORTS, ids=lambda path: path.name.split(".")[0])
def test_no_spills_and_registers_within_the_budget(report: pathlib.Path) -> None:
    text = report.read_text()
    spills = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes", text)
    registers = re.search(r"Used (\d+) registers", text)
    assert spills and registers, text
    assert spills.groups() == ("0", "0", "0"), text
    # What NVRTC says where it makes the products of a warpgroup wait for each other.
    assert "serialized" not in text, text
    row = _ROWS[report.name.split(".")[0]]
    resident = _THREADS[row["variant"]] * row["ctas_per_sm"]
    assert int(registers[1]) * resident <= _REGISTERS_PER_SM, text
