"""What the tests of this folder read: the unpacked sources and the linters."""

from __future__ import annotations

import functools
import os
import pathlib
import subprocess
import tarfile


def runfile(variable: str) -> pathlib.Path:
    """The data file whose runfiles path the BUILD file gives in an environment variable."""
    return pathlib.Path(os.environ["TEST_SRCDIR"]) / os.environ[variable]


@functools.cache
def unpack() -> pathlib.Path:
    """The folder with the repository's sources, unpacked once per test process."""
    root = pathlib.Path(os.environ["TEST_TMPDIR"]) / "sources"
    with tarfile.open(runfile("SOURCES")) as archive:
        archive.extractall(root)
    assert (root / "WORKSPACE").is_file(), f"{runfile('SOURCES')} is not the source tree"
    return root


def files(*patterns: str) -> list[str]:
    """The sources whose names match one of the patterns, relative to the root; at least one."""
    root = unpack()
    found = sorted(
        {
            str(path.relative_to(root))
            for pattern in patterns
            for path in root.rglob(pattern)
            if path.is_file() and not path.is_symlink()
        }
    )
    assert found, f"no file matches {patterns}: the patterns are wrong"
    return found


def complaints(program: str, *arguments: str) -> str:
    """What a linter, named by its environment variable, finds in the sources; "" for nothing."""
    command = [str(runfile(program)), *arguments]
    result = subprocess.run(command, cwd=unpack(), capture_output=True, text=True)
    if result.returncode:
        return result.stdout + result.stderr or f"{command[0]}: exit {result.returncode}"
    return ""
