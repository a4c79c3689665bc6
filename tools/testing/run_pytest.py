"""Runs the test files named on the command line under pytest, and writes Bazel's XML."""

from __future__ import annotations

import os
import sys

import pytest


def main() -> int:
    # No cache, as a sandbox is read-only; importlib, as files in two folders may share a name.
    options = ["-p", "no:cacheprovider", "--import-mode=importlib", "-q", "-o", "xfail_strict=true"]
    if xml := os.environ.get("XML_OUTPUT_FILE"):
        options.append(f"--junit-xml={xml}")
    if only := os.environ.get("TESTBRIDGE_TEST_ONLY"):
        options.append(f"-k={only}")
    return pytest.main(options + sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
