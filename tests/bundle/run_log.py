"""The log of a run: which tests began, and how they ended.

A line is JSON: {"test": id} when a test begins, and with "outcome" ("passed" or "failed"),
"seconds" and "message" when it has ended.
"""

from __future__ import annotations

import json
import pathlib


def read(path: pathlib.Path) -> dict[str, dict]:
    """The newest entry of each test, in the order in which they began."""
    entries: dict[str, dict] = {}
    if path.exists():
        for line in path.read_text().splitlines():
            entry = json.loads(line)
            entries[entry["test"]] = entry
    return entries


def append(path: pathlib.Path, **entry: object) -> None:
    with path.open("a") as log:
        log.write(json.dumps(entry) + "\n")
