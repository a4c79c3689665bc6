"""Prints the rows of wheel_pins.bzl for NAME==VERSION arguments: a sha256 per supported Python.

python3 tools/bazel/pin_wheel.py numpy==2.2.6 pytest==9.0.3
python3 tools/bazel/pin_wheel.py --cpu=aarch64 numpy==2.2.6
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

from fetch_wheel import pip_target

PYTHON_VERSIONS = ("3.10", "3.11", "3.12", "3.13")


def wheel_sha256(requirement: str, python_version: str, cpu: str) -> str | None:
    """The sha256 that pip would fetch for a Python version, or None when it has no wheel."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
    command += ["--no-deps", "--only-binary=:all:", "--report", "-", "--target", "unused"]
    command += [*pip_target(python_version, cpu), requirement]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        print(f"# {requirement}, Python {python_version}: {result.stderr.strip()}", file=sys.stderr)
        return None
    report = json.loads(result.stdout)
    return report["install"][0]["download_info"]["archive_info"]["hashes"]["sha256"]


def row(requirement: str, cpu: str) -> str:
    """One row of the table: name, version and hashes (one "any" hash if all Pythons share it)."""
    name, version = requirement.split("==")
    hashes = {python: wheel_sha256(requirement, python, cpu) for python in PYTHON_VERSIONS}
    found = {python: digest for python, digest in hashes.items() if digest}
    if len(found) == len(hashes) and len(set(found.values())) == 1:
        found = {"any": found[PYTHON_VERSIONS[0]]}
    fields = ", ".join(f'"{python}": "{digest}"' for python, digest in found.items())
    facts = f'"version": "{version}", "sha256": {{{fields}}}'
    if cpu == "x86_64":
        return f'    "{name}": {{{facts}}},'
    return f'    "{name}-{cpu}": {{"cpu": "{cpu}", "name": "{name}", {facts}}},'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cpu", default="x86_64", help="such as aarch64")
    parser.add_argument("requirements", nargs="+", metavar="NAME==VERSION")
    args = parser.parse_args()
    for requirement in args.requirements:
        print(row(requirement, args.cpu), flush=True)


if __name__ == "__main__":
    main()
