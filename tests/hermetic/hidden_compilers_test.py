"""Builds C++ and device code with every compiler of the machine hidden.

A second Bazel builds a copy of the sources, with its own outputs and no cache of actions, so that
only the pinned wheels can serve. Each tool below is a trap on its PATH that leaves a note, and the
machine's own are blocked inside the sandbox.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

from tests.house import source_tree

TOOLS = (
    *("ar", "as", "c++", "cc", "cicc", "clang", "clang++", "cmake", "cpp", "fatbinary", "g++"),
    *("gcc", "ld", "ld.gold", "ld.lld", "make", "ninja", "nm", "nvcc", "objcopy", "ptxas", "strip"),
)
FOLDERS = ("/bin", "/usr/bin", "/usr/local/bin", "/usr/local/cuda/bin")
TARGETS = ("//tools/cuda/tests:sample_images", "//tools/testing:testing_test")


def test_builds_with_the_compilers_of_the_machine_hidden(tmp_path: pathlib.Path) -> None:
    traps, note = tmp_path / "traps", tmp_path / "called"
    traps.mkdir()
    for tool in TOOLS:
        trap = traps / tool
        trap.write_text(f'#!/bin/sh\necho "{tool} $*" >>"{note}"\nexit 1\n')
        trap.chmod(0o755)
    path = f"{traps}:/usr/bin:/bin"
    installed = [f"{folder}/{tool}" for folder in FOLDERS for tool in TOOLS]

    bazel = ["./bazelw", f"--output_user_root={tmp_path}/output"]
    build = ["build", "--color=no", "--curses=no", "--disk_cache=", "--sms=87"]
    build += [f"--action_env=PATH={path}", f"--host_action_env=PATH={path}"]
    build += [f"--sandbox_add_mount_pair={tmp_path}"]
    build += [f"--sandbox_block_path={tool}" for tool in installed if os.path.exists(tool)]
    environment = {
        "EDGE_LLM_CACHE": os.environ["EDGE_LLM_CACHE"],
        "EDGE_LLM_PYTHON": sys.executable,
        "PATH": f"{traps}:{os.environ['PATH']}",
    }

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*bazel, *arguments],
            check=False,
            cwd=source_tree.unpack(),
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    try:
        result = run(*build, *TARGETS)
    finally:
        run("shutdown")

    called = note.read_text() if note.exists() else ""
    assert not called, f"compilers of the machine were called:\n{called}"
    assert result.returncode == 0, result.stdout[-4000:]
