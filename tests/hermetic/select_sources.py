"""Takes from the archive of all sources what builds a C++ program and a kernel.

select_sources.py SOURCES OUTPUT
"""

from __future__ import annotations

import sys
import tarfile

SELECTED = (
    *(".bazelrc", ".bazelversion", ".gitignore", "WORKSPACE", "bazelw", "version.bzl"),
    *("kernels/variants.bzl", "platforms/", "tests/house/", "tools/bazel/", "tools/cuda/"),
    *("tools/testing/", "tools/zig/"),
)


def main() -> None:
    with tarfile.open(sys.argv[1]) as sources, tarfile.open(sys.argv[2], "w") as output:
        for member in sources:
            if member.name.startswith(SELECTED):
                output.addfile(member, sources.extractfile(member))
        # The package of the tables, without the targets that build all kernels from them.
        output.addfile(tarfile.TarInfo("kernels/BUILD"))


if __name__ == "__main__":
    main()
