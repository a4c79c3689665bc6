"""Counts the test cases of a Bazel run: 'N passed, N failed'.

    count_tests.py EVENTS

EVENTS is the file of `bazel test --build_event_json_file`. It names the results of this run alone,
cached ones too, while the bazel-testlogs folder also keeps those of tests that are gone. Exits with
1 unless some test passed and none failed or was skipped.
"""

from __future__ import annotations

import json
import pathlib
import sys
import urllib.parse
import urllib.request
from collections import Counter
from xml.etree import ElementTree


def case_outcome(case: ElementTree.Element) -> str:
    """What became of one <testcase>."""
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    return "skipped" if case.find("skipped") is not None else "passed"


def count_cases(result: dict) -> Counter[str]:
    """The outcomes of the test cases of one testResult event."""
    passed = result["status"] in ("PASSED", "FLAKY")
    counts: Counter[str] = Counter()
    for output in result.get("testActionOutput", []):
        if output["name"] == "test.xml":
            path = urllib.request.url2pathname(urllib.parse.urlparse(output["uri"]).path)
            counts.update(map(case_outcome, ElementTree.parse(path).iter("testcase")))
    # A test that was killed, or that failed outside its cases, has nothing or too little to tell.
    if not passed and not counts["failed"]:
        counts["failed"] += 1
    if passed and not counts:
        counts["passed"] += 1
    return counts


def count_run(lines: list[str]) -> Counter[str]:
    """The outcomes of all test cases of a run; a test that could not be built counts as failed."""
    counts: Counter[str] = Counter()
    # Of several attempts at one test the last one counts.
    results: dict[tuple, dict] = {}
    for event in map(json.loads, lines):
        if "testResult" in event:
            key = event["id"]["testResult"]
            results[(key["label"], key.get("run"), key.get("shard"))] = event["testResult"]
        elif "targetCompleted" in event.get("id", {}):
            # A target for another platform is left out on purpose.
            left_out = event.get("aborted", {}).get("reason") == "SKIPPED"
            if not left_out and not event.get("completed", {}).get("success"):
                counts["not built"] += 1
    for result in results.values():
        counts += count_cases(result)
    return counts


def main() -> int:
    counts = count_run(pathlib.Path(sys.argv[1]).read_text().splitlines())
    line = f"{counts['passed']} passed, {counts['failed']} failed"
    for outcome in ("skipped", "not built"):
        if counts[outcome]:
            line += f", {counts[outcome]} {outcome}"
    print(line)
    return 0 if counts["passed"] and set(+counts) == {"passed"} else 1


if __name__ == "__main__":
    sys.exit(main())
