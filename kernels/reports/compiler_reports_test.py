"""What ptxas says of the kernels: no spills, registers within the budget, small images."""

from __future__ import annotations

import json
import pathlib
import re

import pytest

_IMAGES = pathlib.Path("kernels/cubin_images")
_REPORTS = sorted(_IMAGES.glob("*.cubin.log"))
_VARIANTS = {
    row["name"]: row
    for row in json.loads(pathlib.Path("kernels/manifest.json").read_text())["variants"]
}

_REGISTERS_PER_SM = 65536
_ALL_CUBINS = 13_500_000  # bytes: INT4 2.4 MB, attention 10.9 MB


def test_every_cubin_has_a_report() -> None:
    cubins = {path.name for path in _IMAGES.glob("*.cubin")}
    assert cubins == {path.name.removesuffix(".log") for path in _REPORTS}
    assert {name.rpartition("_sm")[0] for name in cubins} == set(_VARIANTS)


@pytest.mark.parametrize("report", _REPORTS, ids=lambda path: path.name.split(".")[0])
def test_no_spills_and_registers_within_the_budget(report: pathlib.Path) -> None:
    text = report.read_text()
    spills = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes", text)
    registers = re.search(r"Used (\d+) registers", text)
    assert spills and registers, text
    assert spills.groups() == ("0", "0", "0"), text
    variant = _VARIANTS[report.name.rpartition("_sm")[0]]
    resident = variant["threads"] * variant["ctas_per_sm"]
    assert int(registers[1]) * resident <= _REGISTERS_PER_SM, text


def test_cubins_are_small() -> None:
    size = sum(path.stat().st_size for path in _IMAGES.glob("*.cubin"))
    assert size <= _ALL_CUBINS, f"{size} bytes"
