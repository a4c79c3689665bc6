""".ci/count_tests.py counts what happened, and does not take nothing for success."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

PASSED = "<testcase/>"
FAILED = "<testcase><failure/></testcase>"
BROKEN = "<testcase><error/></testcase>"
SKIPPED = "<testcase><skipped/></testcase>"


def result(
    folder: pathlib.Path, label: str, status: str, *cases: str, attempt: int = 1, xml: bool = True
) -> dict:
    """A testResult event; its test.xml, if there is one, has the cases."""
    outputs = []
    if xml:
        path = folder / f"{label.strip('/')} {attempt}.xml"
        suite = f"<testsuites><testsuite>{''.join(cases)}</testsuite></testsuites>"
        path.write_text(suite)
        outputs = [{"name": "test.log", "uri": "file:///none"}]
        outputs.append({"name": "test.xml", "uri": path.as_uri()})
    return {
        "id": {"testResult": {"label": label, "run": 1, "shard": 1, "attempt": attempt}},
        "testResult": {"status": status, "testActionOutput": outputs},
    }


def count(folder: pathlib.Path, *events: dict) -> tuple[str, int]:
    """The line that the script prints for these events, and its exit code."""
    path = folder / "events.json"
    path.write_text("\n".join(map(json.dumps, events)))
    command = [sys.executable, ".ci/count_tests.py", path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert not done.stderr
    return done.stdout.strip(), done.returncode


def test_cases_of_all_targets_are_added(tmp_path: pathlib.Path) -> None:
    events = [
        result(tmp_path, "//a", "PASSED", PASSED, PASSED),
        result(tmp_path, "//b", "FAILED", PASSED, FAILED, BROKEN),
    ]
    assert count(tmp_path, *events) == ("3 passed, 2 failed", 1)


def test_all_passed(tmp_path: pathlib.Path) -> None:
    assert count(tmp_path, result(tmp_path, "//a", "PASSED", PASSED)) == ("1 passed, 0 failed", 0)


def test_no_test_is_a_failure(tmp_path: pathlib.Path) -> None:
    assert count(tmp_path) == ("0 passed, 0 failed", 1)


def test_skipped_case_is_a_failure(tmp_path: pathlib.Path) -> None:
    events = [result(tmp_path, "//a", "PASSED", PASSED, SKIPPED)]
    assert count(tmp_path, *events) == ("1 passed, 0 failed, 1 skipped", 1)


def test_killed_test_counts_as_one_failure(tmp_path: pathlib.Path) -> None:
    events = [
        result(tmp_path, "//a", "TIMEOUT", xml=False),
        result(tmp_path, "//b", "FAILED", PASSED),
    ]
    assert count(tmp_path, *events) == ("1 passed, 2 failed", 1)


def test_last_attempt_counts(tmp_path: pathlib.Path) -> None:
    events = [
        result(tmp_path, "//a", "FAILED", FAILED),
        result(tmp_path, "//a", "PASSED", PASSED, attempt=2),
    ]
    assert count(tmp_path, *events) == ("1 passed, 0 failed", 0)


def test_target_that_was_not_built_is_a_failure(tmp_path: pathlib.Path) -> None:
    events = [
        result(tmp_path, "//a", "PASSED", PASSED),
        {"id": {"targetCompleted": {"label": "//a"}}, "completed": {"success": True}},
        {"id": {"targetCompleted": {"label": "//b"}}, "completed": {}},
        {"id": {"targetCompleted": {"label": "//c"}}, "aborted": {"reason": "SKIPPED"}},
    ]
    assert count(tmp_path, *events) == ("1 passed, 0 failed, 1 not built", 1)
