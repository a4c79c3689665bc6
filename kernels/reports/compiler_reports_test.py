"""What ptxas says of the kernels: no spills, registers within the budget, small images."""

from __future__ import annotations

import json
import pathlib
import re

import pytest

_IMAGES = pathlib.Path("kernels/cubin_images")
_REPORTS = sorted(_IMAGES.glob("*.cubin.log"))
_MANIFEST = json.loads(pathlib.Path("kernels/manifest.json").read_text())
_THREADS = {row["name"]: row["threads"] for row in _MANIFEST["variants"]}
_ROWS = {row["id"]: row for row in _MANIFEST["images"]}

_REGISTERS_PER_SM = 65536
_ALL_CUBINS = 15_000_000  # bytes: INT4 3.5 MB, attention 10.9 MB; of nine SMs, a platform has fewer


def test_every_cubin_has_a_report() -> None:
    cubins = {path.stem for path in _IMAGES.glob("*.cubin")}
    assert cubins == {path.name.removesuffix(".cubin.log") for path in _REPORTS}
    assert cubins == {name for name, row in _ROWS.items() if row["sm"] in _sms(cubins)}


def _sms(images: set[str]) -> set[str]:
    return {name.rpartition("_sm")[2] for name in images}


@pytest.mark.parametrize("report", _REPORTS, ids=lambda path: path.name.split(".")[0])
def test_no_spills_and_registers_within_the_budget(report: pathlib.Path) -> None:
    text = report.read_text()
    spills = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes", text)
    registers = re.search(r"Used (\d+) registers", text)
    assert spills and registers, text
    assert spills.groups() == ("0", "0", "0"), text
    row = _ROWS[report.name.split(".")[0]]
    resident = _THREADS[row["variant"]] * row["ctas_per_sm"]
    assert int(registers[1]) * resident <= _REGISTERS_PER_SM, text


def test_cubins_are_small() -> None:
    size = sum(path.stat().st_size for path in _IMAGES.glob("*.cubin"))
    assert size <= _ALL_CUBINS, f"{size} bytes"
