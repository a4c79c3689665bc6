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
_PLATFORMS = (
    "manylinux_2_31",
    "manylinux_2_28",
    "manylinux_2_27",
    "manylinux_2_24",
    "manylinux_2_17",
    "manylinux2014",
    "manylinux_2_12",
    "manylinux2010",
    "manylinux1",
    "linux",
)


def pip_target(python_version: str, cpu: str) -> list[str]:
    """pip's options for wheels of a CPython ("3.11") on Linux on a processor ("x86_64")."""
    options = ["--python-version", python_version, "--implementation", "cp"]
    for tag in (*(f"{platform}_{cpu}" for platform in _PLATFORMS), "any"):
        options += ["--platform", tag]
    return options


def sha256(path: pathlib.Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def download(
    requirement: str, digest: str, target: list[str], folder: pathlib.Path
) -> pathlib.Path:
    """Downloads the wheel of `requirement` whose sha256 is `digest` into `folder`."""
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{requirement} --hash=sha256:{digest}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--require-hashes", "--only-binary=:all:"]
    command += ["--dest", str(folder), "--requirement", str(requirements)]
    command += target
    result = subprocess.run(command, capture_output=True, text=True)
    wheels = list(folder.glob("*.whl"))
    if result.returncode or len(wheels) != 1:
        sys.exit(
            f"pip could not download {requirement} (sha256 {digest}) for {' '.join(target[:2])}; "
            f"check that `{sys.executable} -m pip download {requirement}` works:\n{result.stderr}"
        )
    return wheels[0]


def cached_wheel(
    cache: pathlib.Path, requirement: str, digest: str, target: list[str]
) -> pathlib.Path:
    """The path of the wheel in the cache, downloaded first if it is not there."""
    slot = cache / digest
    for wheel in slot.glob("*.whl"):
        if sha256(wheel) == digest:
            return wheel
        wheel.unlink()
    slot.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        wheel = download(requirement, digest, target, pathlib.Path(folder))
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
    parser.add_argument("--cpu", default="x86_64", help="such as aarch64")
    parser.add_argument("--cache", required=True, type=pathlib.Path)
    parser.add_argument("--destination", required=True, type=pathlib.Path)
    args = parser.parse_args()
    os.makedirs(args.cache, exist_ok=True)
    target = pip_target(args.python_version, args.cpu)
    unpack(cached_wheel(args.cache, args.requirement, args.sha256, target), args.destination)


if __name__ == "__main__":
    main()
