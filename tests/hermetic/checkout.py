"""A copy of the sources with a Bazel of its own: what is built there, nothing built before."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys
import tarfile
import types


class Checkout:
    """A folder with the sources, and what Bazel makes of them in the folder beside it.

    It shares the downloads of the Bazel outside, and neither its outputs nor its cache of actions.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        sources: pathlib.Path,
        *,
        environment: dict[str, str] | None = None,
        launcher: tuple[str, ...] = (),
    ) -> None:
        """Unpacks the sources.

        Args:
            folder: where to; it is made.
            sources: a tar archive of the repository.
            environment: what Bazel sees beside, or instead of, the caches' folder, HOME and PATH.
            launcher: a command that runs the command that follows it.
        """
        self.sources = folder / "sources"
        self._folder = folder
        self._launcher = launcher
        self._environment = {
            "EDGE_LLM_CACHE": os.environ["EDGE_LLM_CACHE"],
            "EDGE_LLM_PYTHON": sys.executable,
            "HOME": str(folder),
            "PATH": os.environ["PATH"],
            **(environment or {}),
        }
        with tarfile.open(sources) as archive:
            archive.extractall(self.sources)

    def __enter__(self) -> Checkout:
        return self

    def __exit__(
        self, *exception: type[BaseException] | BaseException | types.TracebackType | None
    ) -> None:
        self._bazel("shutdown")

    def build(self, *arguments: str) -> str:
        """Builds.

        Args:
            arguments: of `bazel build`.

        Returns:
            What Bazel wrote.

        Raises:
            AssertionError: it failed; with the end of what Bazel wrote.
        """
        plain = ("--color=no", "--curses=no", "--show_progress_rate_limit=60", "--disk_cache=")
        result = self._bazel(
            "build", *plain, f"--sandbox_add_mount_pair={self._folder}", *arguments
        )
        assert result.returncode == 0, result.stdout[-4000:]
        return result.stdout

    def _bazel(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._launcher, "./bazelw", f"--output_user_root={self._folder}/output", *arguments],
            cwd=self.sources,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


def processes(output: str) -> dict[str, int]:
    """How many actions ran where, as Bazel says: {"remote cache hit": 12, "linux-sandbox": 3}."""
    lines = re.findall(r"^INFO: \d+ process(?:es)?: (.*)\.$", output, re.MULTILINE)
    assert len(lines) == 1, f"no line counts the processes:\n{output[-4000:]}"
    counts = (re.fullmatch(r"(\d+) (.+)", item) for item in lines[0].split(", "))
    # Bazel's own are files and links that it writes without running anything.
    return {count[2]: int(count[1]) for count in counts if count and count[2] != "internal"}
