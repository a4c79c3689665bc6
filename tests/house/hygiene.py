"""The rules of the house that no linter knows. Each looks at one file and yields complaints."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Callable, Iterator

# The tables that own the SM numbers.
SM_TABLES = ("kernels/variants.bzl", "platforms/platforms.bzl")

# Files that may name SMs all the same, each with its reason.
SM_ALLOWED: dict[str, str] = {}

# Tables of one row per line, which reads better than rows of eight lines.
LONG_ROWS = ("kernels/variants.bzl", "tools/bazel/wheel_pins.bzl")

LARGEST_FILE = 500_000  # bytes
LONGEST_LINE = 120  # columns; formatters hold Python and C++ to 100

BUILT_SUFFIXES = (
    *(".a", ".bin", ".cubin", ".engine", ".fatbin", ".gz", ".npy", ".npz", ".o", ".onnx"),
    *(".plan", ".ptx", ".pyc", ".sass", ".so", ".tar", ".whl", ".xz", ".zip"),
)

_SM_NUMBER = r"(?:75|80|86|87|88|89|90|100|101|103|110|120|121)"
SM_PATTERNS = {
    "a name of an SM": re.compile(r"(?i)(?<![a-z])(?:sm|compute)_?\d{2,3}[af]?(?![0-9a-z])"),
    "a list of SMs": re.compile(rf"""\b{_SM_NUMBER}\b["']?\s*,\s*["']?{_SM_NUMBER}\b(?!\.)"""),
    "a comparison with an SM": re.compile(rf"\b\w*[sS][mM]\w*\s*[=!<>]=?\s*[\"']?{_SM_NUMBER}\b"),
}

MACHINE_PATTERNS = {
    "a path of one machine": re.compile(r"(?<![\w.$}])/(?:home|media|mnt|opt|root|srv|work)/\w"),
    "the address of a package registry": re.compile(
        r"https?://[^\s/]*(?:anaconda|debian|docker|ghcr|npmjs|pypi|pythonhosted|ubuntu)\.\w"
    ),
}


def is_document(path: pathlib.PurePath) -> bool:
    return path.suffix == ".md" or path.name in ("LICENSE", "CHANGELOG")


def is_test(path: pathlib.PurePath) -> bool:
    return "tests" in path.parts or path.stem.endswith("_test")


def numbered_lines(data: bytes) -> Iterator[tuple[int, str]]:
    """The lines of a text with their numbers, from 1."""
    return enumerate(data.decode(errors="replace").splitlines(), start=1)


def without_comments(path: pathlib.PurePath, data: bytes) -> bytes:
    """The code of a file: comments and docstrings blanked out, lines kept in their places."""
    text = data.decode(errors="replace")
    if path.suffix in (".cc", ".cu", ".cuh", ".h", ".S"):
        comment = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
    else:
        comment = re.compile(r'(?m)(?:^|(?<=\s))#[^\n]*|^[ \t]*"""(?s:.*?)"""')
    return comment.sub(lambda match: "\n" * match.group().count("\n"), text).encode()


def binary_files(path: pathlib.PurePath, data: bytes) -> Iterator[str]:
    """Refuses what is no text, and what is too large to be read."""
    if b"\0" in data:
        yield f"{path}: a binary file (it has NUL bytes); build it instead"
    if len(data) > LARGEST_FILE:
        yield f"{path}: {len(data)} bytes, at most {LARGEST_FILE} are allowed; fetch or build it"


def generated_files(path: pathlib.PurePath, data: bytes) -> Iterator[str]:
    """Refuses build outputs. A .cu is one too, but for tests: kernels are written as .cuh."""
    if path.suffix in BUILT_SUFFIXES or (path.suffix == ".cu" and not is_test(path)):
        yield f"{path}: a {path.suffix} file is a build output; build it instead"
    elif re.search(rb"(?i)@generated\b|\bgenerated (?:by|from) .*do not edit", data[:200]):
        yield f"{path}: says that it is generated; build it instead"


def sm_numbers(path: pathlib.PurePath, data: bytes) -> Iterator[str]:
    """Refuses SM numbers in code. Documents, comments and tests may name them."""
    if str(path) in SM_TABLES or str(path) in SM_ALLOWED or is_document(path) or is_test(path):
        return
    for number, line in numbered_lines(without_comments(path, data)):
        for name, pattern in SM_PATTERNS.items():
            if match := pattern.search(line):
                yield f"{path}:{number}: '{match.group()}' is {name}; take it from {SM_TABLES[0]}"


def machine_names(path: pathlib.PurePath, data: bytes) -> Iterator[str]:
    """Refuses paths of one machine and addresses of registries, which users configure."""
    for number, line in numbered_lines(data):
        for name, pattern in MACHINE_PATTERNS.items():
            if match := pattern.search(line):
                yield f"{path}:{number}: '{match.group()}' is {name}; leave it to the user"


def long_lines(path: pathlib.PurePath, data: bytes) -> Iterator[str]:
    """Refuses lines that do not fit a reader's window."""
    if is_document(path) or str(path) in LONG_ROWS:
        return
    for number, line in numbered_lines(data):
        if len(line) > LONGEST_LINE:
            yield f"{path}:{number}: {len(line)} columns, at most {LONGEST_LINE} are allowed"


RULES: tuple[Callable[[pathlib.PurePath, bytes], Iterator[str]], ...] = (
    binary_files,
    generated_files,
    sm_numbers,
    machine_names,
    long_lines,
)
