"""Packs a release archive whose bytes depend on its files alone: no dates, users or folders.

    make_archive --output edge_llm_plugins-0.1.0-x86_64.tar.gz --folder edge_llm_plugins-0.1.0-x86_64 \\
        --facts facts.json LICENSE lib/libedge_llm_plugins.so=path/of/the/file ...

`manifest.json` is written into the archive: the facts, and the size and sha256 of each file.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import pathlib
import tarfile


def add(archive: tarfile.TarFile, name: str, content: bytes, executable: bool) -> None:
    """Adds one file with neither date nor owner."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    member.mode = 0o755 if executable else 0o644
    archive.addfile(member, io.BytesIO(content))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, fromfile_prefix_chars="@")
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--folder", required=True, help="the one folder that the archive unpacks to")
    parser.add_argument("--facts", required=True, help="JSON of version, platform, CUDA and SMs")
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
    manifest["files"] = {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in sorted(files.items())
    }
    files["manifest.json"] = (json.dumps(manifest, indent=2) + "\n").encode()

    with (
        args.output.open("wb") as output,
        gzip.GzipFile(filename="", mode="wb", fileobj=output, mtime=0) as compressed,
        tarfile.open(mode="w", fileobj=compressed, format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, content in sorted(files.items()):
            add(archive, f"{args.folder}/{name}", content, executable=name.endswith((".sh", ".so")))


if __name__ == "__main__":
    main()
