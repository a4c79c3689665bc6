"""The wheel builder on made-up files."""

from __future__ import annotations

import base64
import csv
import hashlib
import os
import pathlib
import zipfile

import pytest

from tools.wheel import make_wheel


def build(folder: pathlib.Path, order: tuple[str, ...] = ("a/__init__.py", "a/lib/x.so")) -> bytes:
    contents = {"a/__init__.py": b"answer = 42\n", "a/lib/x.so": b"\x7fELF" * 100}
    folder.mkdir()
    (folder / "LICENSE").write_text("licence\n")
    arguments = []
    for index, path in enumerate(order):
        (folder / f"{index}").write_bytes(contents[path])
        arguments.append(f"{path}={folder / str(index)}")
    wheel = folder / "a_b-1.2.3-cp311-cp311-manylinux_2_28_x86_64.whl"
    options = {
        "output": wheel,
        "distribution": "a-b",
        "version": "1.2.3",
        "tag": "cp311-cp311-manylinux_2_28_x86_64",
        "summary": "text",
        "license": folder / "LICENSE",
        "requires": "numpy",
    }
    arguments += ["--extra=more=c>=1", "--extra=more=d", "--extra=other=c>=1"]
    arguments += ["--console_script=a=a.main:run"]
    make_wheel.main([f"--{name}={value}" for name, value in options.items()] + arguments)
    return wheel.read_bytes()


def test_same_bytes_whatever_the_date_folder_and_order(tmp_path: pathlib.Path) -> None:
    first = build(tmp_path / "first")
    for path in (tmp_path / "first").iterdir():
        os.utime(path, (1, 1))
    second = build(tmp_path / "second", order=("a/lib/x.so", "a/__init__.py"))
    assert first == second


def test_record_lists_hash_and_size_of_every_file(tmp_path: pathlib.Path) -> None:
    build(tmp_path / "w")
    with zipfile.ZipFile(next((tmp_path / "w").glob("*.whl"))) as wheel:
        rows = list(csv.reader(wheel.read("a_b-1.2.3.dist-info/RECORD").decode().splitlines()))
        assert sorted(row[0] for row in rows) == sorted(wheel.namelist())
        for path, digest, size in rows:
            if path.endswith("RECORD"):
                assert (digest, size) == ("", "")
                continue
            content = wheel.read(path)
            encoded = base64.urlsafe_b64encode(hashlib.sha256(content).digest())
            assert digest == "sha256=" + encoded.decode().rstrip("=")
            assert int(size) == len(content)


def test_metadata_names_requirements_licence_and_commands(tmp_path: pathlib.Path) -> None:
    build(tmp_path / "w")
    with zipfile.ZipFile(next((tmp_path / "w").glob("*.whl"))) as wheel:
        text = wheel.read("a_b-1.2.3.dist-info/METADATA").decode()
        assert "Name: a-b\nVersion: 1.2.3\n" in text
        assert "Requires-Dist: numpy\n" in text
        assert text.count("Provides-Extra: ") == 2
        assert "Provides-Extra: more\nProvides-Extra: other\n" in text
        assert 'Requires-Dist: c>=1; extra == "more"\nRequires-Dist: d; extra == "more"\n' in text
        assert 'Requires-Dist: c>=1; extra == "other"\n' in text
        entries = wheel.read("a_b-1.2.3.dist-info/entry_points.txt").decode()
        assert entries == "[console_scripts]\na = a.main:run\n"
        assert wheel.read("a_b-1.2.3.dist-info/LICENSE") == b"licence\n"
        assert wheel.getinfo("a/lib/x.so").external_attr >> 16 == 0o100755


def test_repeated_destination_is_refused(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        build(tmp_path / "w", order=("a/__init__.py", "a/__init__.py"))
    assert "a/__init__.py is given twice" in capsys.readouterr().err
