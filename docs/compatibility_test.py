"""docs/compatibility.md is what the tables of the build say."""

from __future__ import annotations

import pathlib


def test_page_is_up_to_date() -> None:
    built = pathlib.Path("docs/built/compatibility.md").read_text(encoding="utf-8")
    page = pathlib.Path("docs/compatibility.md").read_text(encoding="utf-8")
    assert page == built, "run cp -f bazel-bin/docs/built/compatibility.md docs/"
