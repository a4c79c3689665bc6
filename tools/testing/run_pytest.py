"""Runs the tests named on the command line under pytest, and writes Bazel's XML."""

from __future__ import annotations

import os
import sys

import pytest

MARKERS = {
    "emulator_only": "speaks of the emulator itself, so no GPU can run it",
}


def main() -> int:
    # No cache, as a sandbox is read-only; importlib, as files in two folders may share a name.
    options = ["-p", "no:cacheprovider", "--import-mode=importlib", "-q", "-o", "xfail_strict=true"]
    options += ["--strict-markers", "-o", "python_files=*_test.py"]
    markers = [f"{name}: {meaning}" for name, meaning in MARKERS.items()]
    options += ["-o", "markers=" + "\n".join(markers)]
    if xml := os.environ.get("XML_OUTPUT_FILE"):
        options.append(f"--junit-xml={xml}")
    if only := os.environ.get("TESTBRIDGE_TEST_ONLY"):
        options.append(f"-k={only}")
    return pytest.main(options + sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
