"""Fetches one pinned wheel with the user's own pip and unpacks it.

Run by the repository rule of wheels.bzl. Wheels are kept by their sha256 in a cache folder, since
Bazel's repository cache does not know what pip downloads; a cached file is verified again before
it is used.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import pathlib
import subprocess
import sys
import tempfile
import zipfile

# pip matches platform tags exactly, so every tag that the pinned wheels carry is listed.
PLATFORM_TAGS = (
    "manylinux_2_31_x86_64",
    "manylinux_2_28_x86_64",
    "manylinux_2_27_x86_64",
    "manylinux_2_24_x86_64",
    "manylinux_2_17_x86_64",
    "manylinux2014_x86_64",
    "manylinux_2_12_x86_64",
    "manylinux2010_x86_64",
    "manylinux1_x86_64",
    "linux_x86_64",
    "any",
)


def sha256(path: pathlib.Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def download(
    requirement: str, digest: str, python_version: str, folder: pathlib.Path
) -> pathlib.Path:
    """Downloads the wheel of `requirement` whose sha256 is `digest` into `folder`."""
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{requirement} --hash=sha256:{digest}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--require-hashes", "--only-binary=:all:"]
    command += ["--dest", str(folder), "--requirement", str(requirements)]
    command += ["--python-version", python_version, "--implementation", "cp"]
    for tag in PLATFORM_TAGS:
        command += ["--platform", tag]
    result = subprocess.run(command, capture_output=True, text=True)
    wheels = list(folder.glob("*.whl"))
    if result.returncode or len(wheels) != 1:
        sys.exit(
            f"pip could not download {requirement} (sha256 {digest}) for Python {python_version}; "
            f"check that `{sys.executable} -m pip download {requirement}` works:\n{result.stderr}"
        )
    return wheels[0]


def cached_wheel(
    cache: pathlib.Path, requirement: str, digest: str, python_version: str
) -> pathlib.Path:
    """The path of the wheel in the cache, downloaded first if it is not there."""
    slot = cache / digest
    for wheel in slot.glob("*.whl"):
        if sha256(wheel) == digest:
            return wheel
        wheel.unlink()
    slot.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        wheel = download(requirement, digest, python_version, pathlib.Path(folder))
        # Two builds may fetch the same wheel at once: the rename makes either's file complete.
        return wheel.replace(slot / wheel.name)


def unpack(wheel: pathlib.Path, destination: pathlib.Path) -> None:
    """Unpacks a wheel, keeping the executable bits that zipfile alone would lose."""
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            path = pathlib.Path(archive.extract(member, destination))
            mode = member.external_attr >> 16
            if path.is_file() and mode & 0o111:
                path.chmod(path.stat().st_mode | 0o111)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requirement", required=True, help="NAME==VERSION")
    parser.add_argument("--sha256", required=True)
    parser.add_argument("--python-version", required=True, help="such as 3.11")
    parser.add_argument("--cache", required=True, type=pathlib.Path)
    parser.add_argument("--destination", required=True, type=pathlib.Path)
    args = parser.parse_args()
    os.makedirs(args.cache, exist_ok=True)
    unpack(
        cached_wheel(args.cache, args.requirement, args.sha256, args.python_version),
        args.destination,
    )


if __name__ == "__main__":
    main()
