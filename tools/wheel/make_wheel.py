"""Packs a wheel whose bytes depend on its files alone: no dates, users or folders.

    make_wheel --output edge_llm_plugins-VERSION-cp311-cp311-manylinux_2_28_x86_64.whl \\
        --distribution edge-llm-plugins --version VERSION \\
        --tag cp311-cp311-manylinux_2_28_x86_64 --summary "..." --license LICENSE \\
        --requires numpy edge_llm_plugins/__init__.py=path/of/the/file ...
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import pathlib
import zipfile

# The earliest date that a zip file can hold.
DATE = (1980, 1, 1, 0, 0, 0)


def metadata(
    distribution: str, version: str, summary: str, requires: list[str], extras: list[str]
) -> str:
    """The METADATA file; `extras` are EXTRA=REQUIREMENT."""
    pairs = [extra.split("=", 1) for extra in extras]
    lines = [
        "Metadata-Version: 2.1",
        f"Name: {distribution}",
        f"Version: {version}",
        f"Summary: {summary}",
        "License: Apache-2.0",
        "License-File: LICENSE",
        "Classifier: License :: OSI Approved :: Apache Software License",
        "Classifier: Operating System :: POSIX :: Linux",
        "Classifier: Programming Language :: Python :: 3",
        "Requires-Python: >=3.10",
        *(f"Requires-Dist: {requirement}" for requirement in requires),
        *(f"Provides-Extra: {extra}" for extra in dict.fromkeys(extra for extra, _ in pairs)),
        *(f'Requires-Dist: {requirement}; extra == "{extra}"' for extra, requirement in pairs),
    ]
    return "\n".join(lines) + "\n"


def entry_points(console_scripts: list[str]) -> bytes:
    """The entry_points.txt file; `console_scripts` are NAME=MODULE:FUNCTION."""
    lines = ["[console_scripts]", *(" = ".join(item.split("=", 1)) for item in console_scripts)]
    return ("\n".join(lines) + "\n").encode()


def record(files: dict[str, bytes], own_path: str) -> str:
    """The RECORD file: path, hash and size of every other file, and its own path."""
    lines = []
    for path, content in sorted(files.items()):
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        lines.append(f"{path},sha256={digest},{len(content)}")
    return "\n".join([*lines, f"{own_path},,"]) + "\n"


def write_wheel(output: pathlib.Path, files: dict[str, bytes]) -> None:
    """Writes the zip file; the wheel format asks for .dist-info to come last."""
    with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED) as wheel:
        for path in sorted(files, key=lambda path: (".dist-info/" in path, path)):
            entry = zipfile.ZipInfo(path, DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # Unix, which gives the mode below its meaning
            mode = 0o755 if path.endswith(".so") else 0o644
            entry.external_attr = (0o100000 | mode) << 16
            wheel.writestr(entry, files[path])


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--distribution", required=True, help="the name that pip knows")
    parser.add_argument("--version", required=True)
    parser.add_argument("--tag", required=True, help="PYTHON-ABI-PLATFORM")
    parser.add_argument("--summary", required=True)
    parser.add_argument("--license", type=pathlib.Path, required=True)
    parser.add_argument("--requires", action="append", default=[])
    parser.add_argument("--extra", action="append", default=[], metavar="EXTRA=REQUIREMENT")
    parser.add_argument(
        "--console_script", action="append", default=[], metavar="NAME=MODULE:FUNCTION"
    )
    parser.add_argument("files", nargs="+", metavar="DESTINATION=PATH")
    args = parser.parse_args(argv)

    files = {}
    for item in args.files:
        destination, path = item.split("=", 1)
        if destination in files:
            parser.error(f"{destination} is given twice")
        files[destination] = pathlib.Path(path).read_bytes()

    info = f"{args.distribution.replace('-', '_')}-{args.version}.dist-info"
    files[f"{info}/LICENSE"] = args.license.read_bytes()
    files[f"{info}/METADATA"] = metadata(
        args.distribution, args.version, args.summary, args.requires, args.extra
    ).encode()
    files[f"{info}/WHEEL"] = (
        f"Wheel-Version: 1.0\nGenerator: make_wheel\nRoot-Is-Purelib: false\nTag: {args.tag}\n"
    ).encode()
    if args.console_script:
        files[f"{info}/entry_points.txt"] = entry_points(args.console_script)
    files[f"{info}/RECORD"] = record(files, f"{info}/RECORD").encode()
    write_wheel(args.output, files)


if __name__ == "__main__":
    main()
