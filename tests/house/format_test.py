"""Every source file is formatted and passes its linter."""

from __future__ import annotations

import pytest

from tests.house import source_tree

BUILDIFIER_LINT = [
    "-mode=check",
    "-lint=warn",
    # Bazel 7's native rules are the ones that are used (tools/bazel/stubs.bzl says why), and a
    # macro that declares a whole table has no one name.
    "-warnings=-native-cc-binary,-native-cc-common,-native-cc-import,-native-cc-info,"
    "-native-cc-library,-native-cc-test,-native-cc-toolchain,-native-py,-unnamed-macro",
]


def test_ruff_finds_nothing() -> None:
    found = source_tree.complaints("RUFF", "check", "--no-cache", ".")
    assert not found, f"run `ruff check --fix`:\n{found}"


def test_python_is_formatted() -> None:
    found = source_tree.complaints("RUFF", "format", "--no-cache", "--diff", ".")
    assert not found, f"run `ruff format`:\n{found}"


def test_cpp_is_formatted() -> None:
    files = source_tree.files("*.cc", "*.cu", "*.cuh", "*.h")
    found = source_tree.complaints("CLANG_FORMAT", "--dry-run", "-Werror", *files)
    assert not found, f"run `clang-format -i`:\n{found}"


def test_starlark_is_formatted_and_documented() -> None:
    files = source_tree.files("BUILD", "*.BUILD", "*.bzl", "WORKSPACE")
    found = source_tree.complaints("BUILDIFIER", *BUILDIFIER_LINT, *files)
    assert not found, f"run `buildifier -lint=fix`:\n{found}"


def test_shellcheck_finds_nothing() -> None:
    files = source_tree.files("*.sh", "bazelw", ".ci/run", ".ci/nightly")
    found = source_tree.complaints("SHELLCHECK", "--external-sources", *files)
    assert not found, found


# Each linter notices a fault: a test with a wrong path or option would pass for ever.
@pytest.mark.parametrize(
    ("program", "arguments", "name", "text"),
    [
        ("RUFF", ["check", "--no-cache"], "planted.py", "import os\n"),
        ("RUFF", ["format", "--no-cache", "--diff"], "planted.py", "x = 'y'\n"),
        ("CLANG_FORMAT", ["--dry-run", "-Werror"], "planted.cc", "int  x;\n"),
        ("SHELLCHECK", [], "planted.sh", "#!/bin/sh\ncd $1\n"),
        ("BUILDIFIER", ["-mode=check"], "planted/BUILD", "x(name='y')\n"),
        ("BUILDIFIER", BUILDIFIER_LINT, "planted/x.bzl", "def f():\n    pass\n"),
    ],
)
def test_fault_is_noticed(program: str, arguments: list[str], name: str, text: str) -> None:
    planted = source_tree.unpack() / name
    planted.parent.mkdir(exist_ok=True)
    planted.write_text(text)
    try:
        assert source_tree.complaints(program, *arguments, name)
    finally:
        planted.unlink()
