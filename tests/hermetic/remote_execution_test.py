"""C++ and device code are built by a service of the Remote Execution API, and by it alone.

The service is BuildBox's casd. It runs each action under bubblewrap with nothing but the action's
inputs, the machine's /usr and the Python that builds: an undeclared input is missing there.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

from tests.hermetic.checkout import Checkout, processes
from tests.hermetic.server import free_port, serve
from tests.house.source_tree import runfile

TARGETS = ("//tools/cuda/tests:sample_images", "//tools/testing:testing_test")


def write_bubblewrap(folder: pathlib.Path) -> pathlib.Path:
    """A bwrap with its own distribution's libraries; skips where the kernel forbids namespaces."""
    loader, program = runfile("LOADER"), folder / "bwrap"
    folder.mkdir()
    program.write_text(
        f'#!/bin/sh\nexec "{loader}" --library-path "{loader.parent}" "{runfile("BWRAP")}" "$@"\n'
    )
    program.chmod(0o755)
    result = subprocess.run(
        [program, "--ro-bind", "/", "/", "true"], capture_output=True, text=True
    )
    if result.returncode:
        pytest.skip(f"no namespaces for this user, which bubblewrap needs: {result.stderr.strip()}")
    return program


def test_every_action_runs_remotely(tmp_path: pathlib.Path) -> None:
    port = free_port()
    bubblewrap = write_bubblewrap(tmp_path / "bin")
    mounts = {"/usr": "/usr", "/bin": os.path.realpath("/bin"), "/lib": os.path.realpath("/lib")}
    mounts |= {"/lib64": os.path.realpath("/lib64"), sys.base_prefix: sys.base_prefix}
    casd = [
        str(runfile("CASD")),
        f"--bind=127.0.0.1:{port}",
        f"--buildbox-run={runfile('RUN')}",
        "--jobs=2",
    ]
    casd += [f"--runner-arg=--ro-bind-mount={source}:{target}" for target, source in mounts.items()]
    environment = {"PATH": f"{bubblewrap.parent}:{os.environ['PATH']}"}

    with (
        serve([*casd, str(tmp_path / "store")], port, tmp_path / "casd.log", environment),
        Checkout(tmp_path / "checkout", runfile("SOURCES")) as checkout,
    ):
        output = checkout.build(
            "--sms=87", "--config=remote", f"--remote_executor=grpc://127.0.0.1:{port}", *TARGETS
        )
    ran = processes(output)
    assert ran.keys() == {"remote"}, f"not all ran remotely: {ran}"
    assert ran["remote"] > len(TARGETS)
