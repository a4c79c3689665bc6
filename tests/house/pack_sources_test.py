"""pack_sources.py packs what .gitignore leaves, and the same bytes for the same files."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import tarfile

GITIGNORE = "# caches\n/bazel-*\n__pycache__/\n*.pyc\n"


def write_tree(root: pathlib.Path) -> pathlib.Path:
    for name in (
        ".git/HEAD",
        ".hidden",
        "a.py",
        "a.pyc",
        "bazel-out/x",
        "b/__pycache__/x",
        "b/bazel-x",
        "b/c.sh",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / ".gitignore").write_text(GITIGNORE)
    return root


def pack(root: pathlib.Path) -> subprocess.CompletedProcess[str]:
    archive = root.with_suffix(".tar")
    command = [sys.executable, "tests/house/pack_sources.py", root, archive]
    return subprocess.run(command, capture_output=True, text=True)


def test_ignored_files_are_left_out(tmp_path: pathlib.Path) -> None:
    root = write_tree(tmp_path / "x")
    assert pack(root).returncode == 0
    with tarfile.open(tmp_path / "x.tar") as archive:
        names = archive.getnames()
    assert names == [".gitignore", ".hidden", "a.py", "b/bazel-x", "b/c.sh"]


def test_bytes_depend_on_names_contents_and_modes_alone(tmp_path: pathlib.Path) -> None:
    first, second = write_tree(tmp_path / "x"), write_tree(tmp_path / "y")
    os.utime(second / "a.py", (1, 1))
    (second / "a.py").chmod(0o600)
    pack(first)
    pack(second)
    assert (tmp_path / "x.tar").read_bytes() == (tmp_path / "y.tar").read_bytes()
    (second / "a.py").chmod(0o755)
    pack(second)
    assert (tmp_path / "x.tar").read_bytes() != (tmp_path / "y.tar").read_bytes()


def test_unknown_form_of_gitignore_is_refused(tmp_path: pathlib.Path) -> None:
    root = write_tree(tmp_path / "x")
    (root / ".gitignore").write_text("docs/*.html\n")
    result = pack(root)
    assert result.returncode == 1
    assert "'docs/*.html' is none of the forms" in result.stderr
