"""What the check of reproducible releases says."""

from __future__ import annotations

import io
import os
import pathlib
import tarfile

import pytest

from tests.hermetic.check_reproducible import as_user, differences


def put_unshare_on_path(
    folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch, commands: str
) -> None:
    program = folder / "unshare"
    program.write_text(f"#!/bin/sh\n{commands}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_another_user_is_asked_for(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    put_unshare_on_path(tmp_path, monkeypatch, "exit 0")
    assert as_user(1234) == ("unshare", "--user", "--map-user=1234", "--map-group=1234")
    assert capfd.readouterr().err == ""


def test_another_user_that_is_forbidden_is_one_line(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    put_unshare_on_path(tmp_path, monkeypatch, "echo 'not permitted\nuse --help' >&2; exit 1")
    assert as_user(1234) == ()
    assert capfd.readouterr().err == (
        f"check_reproducible: built as user {os.getuid()}, not as 1234: not permitted\n"
    )


def archive(path: pathlib.Path, members: dict[str, bytes], time: int = 0) -> pathlib.Path:
    with tarfile.open(path, "w") as output:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(content), time
            output.addfile(member, io.BytesIO(content))
    return path


def test_differences_are_named(tmp_path: pathlib.Path) -> None:
    one = archive(tmp_path / "one.tar", {"same": b"1", "other": b"2", "gone": b"3"})
    same = archive(tmp_path / "same.tar", {"same": b"1", "other": b"2", "gone": b"3"})
    two = archive(tmp_path / "two.tar", {"same": b"1", "other": b"4", "new": b"3"})
    later = archive(tmp_path / "later.tar", {"same": b"1", "other": b"2", "gone": b"3"}, time=1)
    assert differences(one, same) == []
    assert differences(one, two) == ["gone", "new", "other"]
    assert differences(one, later) == ["the archive itself: order, modes, times or compression"]
