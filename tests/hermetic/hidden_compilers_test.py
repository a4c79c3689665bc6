"""Builds C++ and device code with every compiler of the machine hidden.

Only the pinned wheels can serve: each tool below is a trap on the PATH of a Bazel without a cache
of actions, where it leaves a note, and the machine's own are blocked inside the sandbox.
"""

from __future__ import annotations

import os
import pathlib

from tests.hermetic.checkout import Checkout
from tests.house.source_tree import runfile

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

    hidden = [f"--action_env=PATH={path}", f"--host_action_env=PATH={path}"]
    hidden += [f"--sandbox_block_path={tool}" for tool in installed if os.path.exists(tool)]
    environment = {"PATH": f"{traps}:{os.environ['PATH']}"}
    with Checkout(tmp_path, runfile("SOURCES"), environment=environment) as checkout:
        checkout.build("--sms=87", *hidden, *TARGETS)

    called = note.read_text() if note.exists() else ""
    assert not called, f"compilers of the machine were called:\n{called}"
