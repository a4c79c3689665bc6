"""version.bzl is the place of the version: what carries it agrees, and nothing else spells it."""

from __future__ import annotations

import ctypes
import os
import re
import tarfile
import zipfile

import pytest

from tests.house import source_tree

VERSION = os.environ["VERSION"]

# Sources that spell it, each with its reason.
SPELLED = {
    "CHANGELOG.md": "its top heading",
    "docs/benchmarks/attention.json": "recorded with a measurement",
    "docs/benchmarks/int4_gemm.json": "recorded with a measurement",
    "docs/on_target.md": "names of files and output as users see them",
    "docs/workflow.md": "names of files and output as users see them",
    "version.bzl": "the place",
}


def test_changelog_begins_with_it() -> None:
    text = (source_tree.unpack() / "CHANGELOG.md").read_text()
    headings = re.findall(r"^## (\S+)", text, re.MULTILINE)
    assert headings[0] == VERSION
    assert len(set(headings)) == len(headings)


def test_library_says_it() -> None:
    library = ctypes.CDLL(str(source_tree.runfile("LIBRARY")))
    library.edge_llm_plugins_version.restype = ctypes.c_char_p
    assert library.edge_llm_plugins_version().decode() == VERSION


def test_wheel_is_named_after_it() -> None:
    path = source_tree.runfile("WHEEL")
    assert path.name.startswith(f"edge_llm_plugins-{VERSION}-cp")
    with zipfile.ZipFile(path) as wheel:
        metadata = wheel.read(f"edge_llm_plugins-{VERSION}.dist-info/METADATA").decode()
        facts = wheel.read("edge_llm_plugins/_build.py").decode()
    assert f"\nVersion: {VERSION}\n" in metadata
    assert f'__version__ = "{VERSION}"' in facts


def test_archive_is_named_after_it() -> None:
    path = source_tree.runfile("ARCHIVE")
    assert path.name.startswith(f"edge_llm_plugins-{VERSION}-")
    with tarfile.open(path) as archive:
        names = archive.getnames()
    assert {name.partition("/")[0] for name in names} == {path.name.removesuffix(".tar.gz")}
    packed = [name for name in names if "/python/" in name and not name.endswith(".txt")]
    assert all(f"-{VERSION}-" in name for name in packed), packed


@pytest.mark.parametrize("page", ["docs/on_target.md", "docs/workflow.md"])
def test_page_shows_it(page: str) -> None:
    text = (source_tree.unpack() / page).read_text()
    said = r"edge_llm_plugins-([\d.]+)-|^version +(\S+)$|^edge_llm_plugins (\S+) for"
    shown = re.findall(said, text, re.MULTILINE)
    assert {"".join(groups) for groups in shown} == {VERSION}


def test_nothing_else_spells_it() -> None:
    root = source_tree.unpack()
    spelled = re.compile(rf"(?<![\d.]){re.escape(VERSION)}(?![\d.]*\d)".encode())
    pins = "tools/bazel/wheel_pins.bzl"  # versions of other packages
    found = {name for name in source_tree.files("*") if spelled.search((root / name).read_bytes())}
    assert found - {pins} == set(SPELLED)
