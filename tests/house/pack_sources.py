"""Packs every source file of the working tree into an archive.

    pack_sources.py ROOT ARCHIVE

A bare machine has no git, so this reads .gitignore itself: the few forms that ours uses. Files that
are new and not yet committed are packed too.
"""

from __future__ import annotations

import fnmatch
import pathlib
import sys
import tarfile
from collections.abc import Iterator


def read_ignored(root: pathlib.Path) -> list[str]:
    """The patterns of ROOT/.gitignore."""
    lines = (root / ".gitignore").read_text().splitlines()
    patterns = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    for pattern in patterns:
        if pattern.startswith("!") or "/" in pattern.strip("/") or "**" in pattern:
            sys.exit(f".gitignore: '{pattern}' is none of the forms NAME, NAME/ and /NAME")
    return [".git", *patterns]


def is_ignored(path: pathlib.Path, root: pathlib.Path, patterns: list[str]) -> bool:
    """Whether a pattern names the last part of `path`; "/NAME" is for the root's own entries."""
    return any(
        fnmatch.fnmatch(path.name, pattern.strip("/"))
        and (path.parent == root or not pattern.startswith("/"))
        and (path.is_dir() or not pattern.endswith("/"))
        for pattern in patterns
    )


def sources(folder: pathlib.Path, root: pathlib.Path, ignored: list[str]) -> Iterator[pathlib.Path]:
    """All files below `folder` that are not ignored, in order."""
    for path in sorted(folder.iterdir()):
        if is_ignored(path, root, ignored):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from sources(path, root, ignored)
        else:
            yield path


def without_owner(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Takes out what differs from clone to clone."""
    member.mtime = member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o755 if member.mode & 0o100 else 0o644
    return member


def main() -> None:
    root = pathlib.Path(sys.argv[1]).absolute()
    with tarfile.open(sys.argv[2], "w") as archive:
        for path in sources(root, root, read_ignored(root)):
            archive.add(path, arcname=path.relative_to(root), filter=without_owner)


if __name__ == "__main__":
    main()
