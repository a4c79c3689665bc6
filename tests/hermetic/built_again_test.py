"""A release built again, from nothing, in another folder and as another user, is the same."""

from __future__ import annotations

import os
import pathlib

import pytest

from tests.hermetic.check_reproducible import build_release, differences
from tests.house.source_tree import runfile


def test_release_built_elsewhere_has_the_same_bytes(
    tmp_path: pathlib.Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # Where this Python was found the release has a wheel, and the other user's home leads nowhere.
    interpreter = runfile("INTERPRETER").read_text()
    pythons = (
        {"PATH": f"{pathlib.Path(interpreter).parent}:{os.environ['PATH']}"} if interpreter else {}
    )
    platform = os.environ["PLATFORM"]
    # The log has to tell where the kernel forbids another user.
    with capfd.disabled():
        again = build_release(
            tmp_path / "else/where", runfile("SOURCES"), platform, 1234, tmp_path, pythons
        )
    differing = differences(runfile("ARCHIVE"), again)
    assert not differing, f"built again, {again.name} differs in {differing}"
