"""From measurements to JSON to a page."""

from __future__ import annotations

import dataclasses

import pytest

from tools.bench import cases, recorded, report, results

MACHINE = {
    "gpu": "NVIDIA H200",
    "date": "2026-01-02",
    "driver": "580.1",
    "empty_kernel_us": 1.3,
    "ceilings": dataclasses.asdict(recorded.RECORD.ceilings),
}
CASE = cases.Int4Case(14336, 4096, 16)


def judged(ours, cublas=31.6):
    measured = {"ours": ours, "cublas": {"us": cublas, "error": 3e-4}}
    return results.row(CASE, measured, MACHINE)


def test_row_compares_with_the_fastest_peer_and_the_floor():
    row = judged({"us": 8.55, "error": 2e-4})
    assert row.ratio == pytest.approx(17.1 / 8.55)  # Marlin, recorded
    assert row.floor_share == pytest.approx(row.floor_us / 8.55)
    assert row.tflops == pytest.approx(2 * 14336 * 4096 * 16 / 8.55e6)


def test_file_keeps_measurements_and_judges_anew(tmp_path):
    path = tmp_path / "int4_gemm.json"
    rows = [judged({"us": 8.0, "error": 2e-4})]
    results.write(path, "int4_gemm", MACHINE, rows)
    family, machine, found = results.read(path)
    assert (family, machine) == ("int4_gemm", MACHINE)
    assert found[0].measured == rows[0].measured
    assert found[0].goals == rows[0].goals


def test_file_has_short_lines_and_short_numbers(tmp_path):
    path = tmp_path / "int4_gemm.json"
    results.write(path, "int4_gemm", MACHINE, 2 * [judged({"us": 8.123456789})])
    lines = path.read_text().splitlines()
    assert max(map(len, lines)) <= 120
    assert [line.strip(" ,") for line in lines].count('"us": 8.1235') == 2


def test_reading_names_a_case_that_is_gone(tmp_path):
    path = tmp_path / "old.json"
    gone = results.row(cases.Int4Case(8, 64, 3), {}, MACHINE)
    results.write(path, "int4_gemm", MACHINE, [gone])
    with pytest.raises(ValueError, match=r"old.json: int4_gemm/8x64/M3 is no case of"):
        results.read(path)


def test_table_marks_what_was_not_measured_in_this_run():
    page = report.page("int4_gemm", MACHINE, [judged({"us": 8.0, "error": 2e-4}, cublas=63.2)])
    (line,) = [line for line in page.splitlines() if line.startswith(f"| {CASE.name} ")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert "*17.1*" in cells and "63.2" in cells and "2.00" in cells
    assert "27.4 met" in cells  # 2 * 17.1 / 1.25


def test_missed_target_is_listed_with_its_rule_and_excess():
    (line,) = report.missed([judged({"us": 20.52, "error": 2e-4})])
    assert line == f"- {CASE.name}: 20.5 us, target 13.7 us (1.25 x marlin): 50 % above"


def test_met_target_is_not_listed():
    assert report.missed([judged({"us": 13.6, "error": 2e-4})]) == []


def test_failed_case_is_listed_with_its_reason():
    (line,) = report.missed([judged({"failed": "relative RMS error 0.1"})])
    assert line == f"- {CASE.name}: relative RMS error 0.1"


def test_failed_peer_does_not_set_a_target():
    measured = {"ours": {"us": 10.0, "error": 0.0}, "cublas": {"failed": "no memory"}}
    row = results.row(CASE, measured, MACHINE)
    assert row.peers.scale == 1.0
    assert "| failed |" in report.page("int4_gemm", MACHINE, [row])
