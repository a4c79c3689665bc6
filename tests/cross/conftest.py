"""The release that the tests of this folder unpack."""

from __future__ import annotations

import os
import pathlib
import tarfile

import pytest


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The one folder of the platform's archive."""
    folder = tmp_path_factory.mktemp("archive")
    with tarfile.open(pathlib.Path(os.environ["TEST_SRCDIR"]) / os.environ["ARCHIVE"]) as archive:
        archive.extractall(folder)
    (release,) = folder.iterdir()
    return release
