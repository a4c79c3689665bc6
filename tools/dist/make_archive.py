"""Packs a release archive whose bytes depend on its files alone: no dates, users or folders.

    make_archive --output edge_llm_plugins-VERSION-x86_64.tar.gz --folder edge_llm_plugins-VERSION-x86_64 \\
        --facts facts.json LICENSE lib/libedge_llm_plugins.so=path/of/the/file ...

Two files are written into the archive: `manifest.json`, the facts, what compiled it, its kernels,
and the size and sha256 of each file; and `sbom.spdx.json`. Where a file NO_WHEEL.txt says why the
wheel is missing, the manifest does too, and so does a line on stderr.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import pathlib
import sys
import tarfile
from typing import Any

from tools.dist.sbom import spdx_document

NO_WHEEL = "NO_WHEEL.txt"

# 9 takes twice as long for less than a percent.
_GZIP_LEVEL = 6


def add(archive: tarfile.TarFile, name: str, content: bytes, executable: bool) -> None:
    """Adds one file with neither date nor owner."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    member.mode = 0o755 if executable else 0o644
    archive.addfile(member, io.BytesIO(content))


def compilers(components: list[dict[str, str]]) -> dict[str, str]:
    """Name and version of each."""
    tools = [row for row in components if row["relationship"] == "BUILD_TOOL_OF"]
    return {row["name"]: row["version"] for row in tools}


def kernels(manifest: dict[str, Any], sms: list[str]) -> dict[str, list[str]]:
    """The SMs that each kernel has an image for, among those of a platform."""
    found: dict[str, list[str]] = {row["name"]: [] for row in manifest["variants"]}
    for row in manifest["images"]:
        if row["sm"] in sms:
            found[row["variant"]].append(row["sm"])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, fromfile_prefix_chars="@")
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument(
        "--folder", required=True, help="the one folder that the archive unpacks to"
    )
    parser.add_argument("--facts", required=True, help="JSON of version, platform, CUDA and SMs")
    parser.add_argument("--components", help="JSON of rows of components.bzl")
    parser.add_argument("--kernels", type=pathlib.Path, help="manifest of the kernels")
    parser.add_argument("files", nargs="+", metavar="DESTINATION=PATH")
    args = parser.parse_args()

    files = {}
    for item in args.files:
        destination, path = item.split("=", 1)
        # A folder as destination keeps the file's own name, as a wheel's is not known beforehand.
        if destination.endswith("/"):
            destination += pathlib.Path(path).name
        files[destination] = pathlib.Path(path).read_bytes()

    manifest = json.loads(args.facts)
    if args.components is not None:
        components = json.loads(args.components)
        manifest["compilers"] = compilers(components)
        document = spdx_document(args.folder, manifest["version"], files, components)
        files["sbom.spdx.json"] = (json.dumps(document, indent=1) + "\n").encode()
    if args.kernels is not None:
        manifest["kernels"] = kernels(json.loads(args.kernels.read_text()), manifest["sms"])
    if NO_WHEEL in files:
        manifest["no_wheel"] = files[NO_WHEEL].decode().strip()
        print(f"{args.folder} has no wheel: {manifest['no_wheel']}", file=sys.stderr)
    manifest["files"] = {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in sorted(files.items())
    }
    files["manifest.json"] = (json.dumps(manifest, indent=2) + "\n").encode()

    with (
        args.output.open("wb") as output,
        gzip.GzipFile("", "wb", _GZIP_LEVEL, fileobj=output, mtime=0) as compressed,
        tarfile.open(mode="w", fileobj=compressed, format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, content in sorted(files.items()):
            executable = name.startswith("bin/") or name.endswith((".sh", ".so"))
            add(archive, f"{args.folder}/{name}", content, executable)


if __name__ == "__main__":
    main()
