"""Builds platforms' releases twice, in other folders and as other users, and compares the bytes.

python3 -m tests.hermetic.check_reproducible [PLATFORM ...]

Without a platform, all of them. Nothing comes from a cache of actions: each takes minutes.
"""

from __future__ import annotations

import hashlib
import os
import pathlib
import re
import subprocess
import sys
import tarfile
import tempfile

from tests.hermetic.checkout import Checkout

_ROOT = pathlib.Path(__file__).resolve().parents[2]


def as_user(uid: int) -> tuple[str, ...]:
    """A command that runs another as a user of this number; none, and a line, where it fails."""
    command = ("unshare", "--user", f"--map-user={uid}", f"--map-group={uid}")
    trial = subprocess.run([*command, "true"], capture_output=True, text=True)
    if trial.returncode == 0:
        return command
    reason = trial.stderr.partition("\n")[0]
    print(
        f"check_reproducible: built as user {os.getuid()}, not as {uid}: {reason}", file=sys.stderr
    )
    return ()


def build_release(
    folder: pathlib.Path,
    sources: pathlib.Path,
    platform: str,
    uid: int,
    output: pathlib.Path,
    pythons: dict[str, str],
) -> pathlib.Path:
    """Builds the release of a platform from nothing.

    Args:
        folder: of the checkout and all its outputs.
        sources: a tar archive of the repository.
        platform: a row of the table of platforms.
        uid: the user's number, and in the user's name.
        output: the folder for the archive.
        pythons: environment variables that lead to the Pythons whose headers the wheels need.

    Returns:
        The archive.
    """
    name = f"builder{uid}"
    environment = {
        "LOGNAME": name,
        "USER": name,
        "TZ": f"UTC-{uid % 12}",
        "LANG": "C.UTF-8",
        **pythons,
    }
    with Checkout(folder, sources, environment=environment, launcher=as_user(uid)) as checkout:
        checkout.build(f"--config={platform}", "//:dist")
        (archive,) = (checkout.sources / "bazel-bin").glob("edge_llm_plugins-*.tar.gz")
        target = output / archive.name
        target.write_bytes(archive.read_bytes())
    return target


def differences(first: pathlib.Path, second: pathlib.Path) -> list[str]:
    """What differs between two archives: members by name, or the archive itself; or nothing."""
    if first.read_bytes() == second.read_bytes():
        return []

    def members(path: pathlib.Path) -> dict[str, str]:
        with tarfile.open(path) as archive:
            return {
                member.name: hashlib.sha256(content.read()).hexdigest()
                for member in archive
                if (content := archive.extractfile(member))
            }

    one, other = members(first), members(second)
    names = [name for name in sorted(one.keys() | other.keys()) if one.get(name) != other.get(name)]
    return names or ["the archive itself: order, modes, times or compression"]


def main() -> None:
    table = (_ROOT / "platforms/platforms.bzl").read_text()
    known = re.findall(r'^    "(\w+)": \{', table, re.MULTILINE)
    platforms = sys.argv[1:] or known
    unknown = sorted(set(platforms) - set(known))
    if unknown:
        sys.exit(f"no platform {', '.join(unknown)}: it is one of {', '.join(known)}")
    home = pathlib.Path.home()
    os.environ.setdefault("EDGE_LLM_CACHE", str(home / ".cache/edge-llm-plugins"))
    folders = {
        "PYENV_ROOT": home / ".pyenv",
        "UV_PYTHON_INSTALL_DIR": home / ".local/share/uv/python",
    }
    pythons = {name: os.environ.get(name, str(folder)) for name, folder in folders.items()}
    failed = False
    for platform in platforms:
        with tempfile.TemporaryDirectory() as temporary:
            folder = pathlib.Path(temporary)
            sources = folder / "sources.tar"
            subprocess.run(
                [sys.executable, _ROOT / "tests/house/pack_sources.py", _ROOT, sources], check=True
            )
            archives = []
            for index, place in enumerate(("one", "another/and/deeper")):
                output = folder / f"archive{index}"
                output.mkdir()
                checkout = folder / place
                archives.append(
                    build_release(checkout, sources, platform, 1001 + index, output, pythons)
                )
            differing = differences(*archives)
            digest = hashlib.sha256(archives[0].read_bytes()).hexdigest()
        print(
            f"{archives[0].name}: "
            + (f"differs in {', '.join(differing)}" if differing else digest),
            flush=True,
        )
        failed = failed or bool(differing)
    sys.exit(failed)


if __name__ == "__main__":
    main()
