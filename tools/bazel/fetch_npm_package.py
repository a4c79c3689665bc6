"""Fetches one pinned npm package with `npm pack` and unpacks it.

Run by the repository rule of npm.bzl. Packages are kept by their hash in a cache folder, and
verified again before they are used. No script of a package is run.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile

# npm brings its own list of certificates; a proxy's is in the machine's.
MACHINE_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"


def integrity(path: pathlib.Path) -> str:
    """The hash of a file as npm writes it: sha512-<base64>."""
    return "sha512-" + base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()


def download(args: argparse.Namespace, folder: pathlib.Path) -> pathlib.Path:
    """Downloads the archive of `args.requirement` into `folder`."""
    environment = dict(os.environ)
    if os.path.exists(MACHINE_CERTIFICATES):
        environment.setdefault("NODE_EXTRA_CA_CERTS", MACHINE_CERTIFICATES)
    command = [args.node, args.npm, "pack", "--loglevel=error", "--ignore-scripts"]
    command += ["--cache", str(folder / "npm_cache"), "--pack-destination", str(folder)]
    result = subprocess.run(
        [*command, args.requirement], env=environment, capture_output=True, text=True
    )
    archives = list(folder.glob("*.tgz"))
    if result.returncode or len(archives) != 1:
        sys.exit(
            f"npm could not download {args.requirement}; check npm's settings "
            f"(registry, proxy, cafile):\n{result.stdout}{result.stderr}"
        )
    if (found := integrity(archives[0])) != args.integrity:
        sys.exit(f"{args.requirement} has the integrity {found}, but {args.integrity} is pinned")
    return archives[0]


def cached_archive(args: argparse.Namespace) -> pathlib.Path:
    """The path of the package's archive in the cache, downloaded first if it is not there."""
    digest = base64.b64decode(args.integrity.removeprefix("sha512-")).hex()
    slot = args.cache / digest / "package.tgz"
    if slot.exists() and integrity(slot) == args.integrity:
        return slot
    slot.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.cache) as folder:
        return download(args, pathlib.Path(folder)).replace(slot)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requirement", required=True, help="NAME@VERSION")
    parser.add_argument("--integrity", required=True, help="sha512-...")
    parser.add_argument("--node", required=True, help="the node program")
    parser.add_argument("--npm", required=True, help="npm-cli.js")
    parser.add_argument("--cache", required=True, type=pathlib.Path)
    parser.add_argument("--destination", required=True, type=pathlib.Path)
    args = parser.parse_args()
    with tarfile.open(cached_archive(args)) as archive:
        archive.extractall(args.destination)


if __name__ == "__main__":
    main()
