"""Prints the rows of wheel_pins.bzl for NAME==VERSION arguments: a sha256 per supported Python.

python3 tools/bazel/pin_wheel.py numpy==2.2.6 pytest==9.0.3
"""

from __future__ import annotations

import json
import subprocess
import sys

from fetch_wheel import PLATFORM_TAGS

PYTHON_VERSIONS = ("3.10", "3.11", "3.12", "3.13")


def wheel_sha256(requirement: str, python_version: str) -> str | None:
    """The sha256 that pip would fetch for a Python version, or None when it has no wheel."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
    command += ["--no-deps", "--only-binary=:all:", "--report", "-", "--target", "unused"]
    command += ["--python-version", python_version, "--implementation", "cp", requirement]
    for tag in PLATFORM_TAGS:
        command += ["--platform", tag]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        print(f"# {requirement}, Python {python_version}: {result.stderr.strip()}", file=sys.stderr)
        return None
    report = json.loads(result.stdout)
    return report["install"][0]["download_info"]["archive_info"]["hashes"]["sha256"]


def row(requirement: str) -> str:
    """One row of the table: name, version and hashes (one "any" hash if all Pythons share it)."""
    name, version = requirement.split("==")
    hashes = {python: wheel_sha256(requirement, python) for python in PYTHON_VERSIONS}
    found = {python: digest for python, digest in hashes.items() if digest}
    if len(found) == len(hashes) and len(set(found.values())) == 1:
        found = {"any": found[PYTHON_VERSIONS[0]]}
    fields = ", ".join(f'"{python}": "{digest}"' for python, digest in found.items())
    return f'    "{name}": {{"version": "{version}", "sha256": {{{fields}}}}},'


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        print(row(argument), flush=True)
