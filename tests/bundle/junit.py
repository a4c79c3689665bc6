"""Writes the log of a run as JUnit XML."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterable
from xml.etree import ElementTree

# XML 1.0 has no characters for these.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")


def write_junit(path: pathlib.Path, entries: Iterable[dict]) -> None:
    """Writes one test suite: a <testcase> per entry of run_log.read()."""
    entries = list(entries)
    failures = sum(entry["outcome"] == "failed" for entry in entries)
    suite = ElementTree.Element(
        "testsuite",
        name="gpu_bundle",
        tests=str(len(entries)),
        failures=str(failures),
        time=f"{sum(entry['seconds'] for entry in entries):.3f}",
    )
    for entry in entries:
        file, _, name = entry["test"].partition("::")
        case = ElementTree.SubElement(
            suite, "testcase", classname=file, name=name, time=f"{entry['seconds']:.3f}"
        )
        if entry["outcome"] == "failed":
            message = _CONTROL.sub("?", entry["message"])
            failure = ElementTree.SubElement(case, "failure", message=message[-200:])
            failure.text = message
    ElementTree.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)
