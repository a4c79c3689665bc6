"""verify.sh of a release, on the emulator and on machines that lack something.

The emulated GPU is of an SM newer than the release, so what runs is the release's own PTX.
"""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import zipfile

import pytest

RUNFILES = pathlib.Path(os.environ["TEST_SRCDIR"])
EMULATOR = RUNFILES / os.environ["EMULATOR"]
NEWER_GPU = f"--device={os.environ['NEWER_GPU']}"
GOOD = "VERDICT: this release works on this machine"
BAD = "VERDICT: this release does NOT work on this machine"


@pytest.fixture
def release(unpacked: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """A copy to spoil, of what needs no Python."""
    return shutil.copytree(
        unpacked, tmp_path / unpacked.name, ignore=shutil.ignore_patterns("python")
    )


def verify(
    release: pathlib.Path, *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Runs it where no wheel is installed."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHON": sys.executable,
        "EDGE_LLM_PLUGINS_CUDA_DRIVER": str(EMULATOR),
    }
    return subprocess.run(
        [release / "verify.sh", *arguments],
        env=environment | variables,
        capture_output=True,
        text=True,
        cwd=release,
    )


def command_that_prints(folder: pathlib.Path, name: str, text: str) -> str:
    """A PATH on which a command prints this."""
    folder.mkdir()
    (folder / name).write_text(f"#!/bin/sh\necho '{text}'\n")
    (folder / name).chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def assert_refused(result: subprocess.CompletedProcess[str], message: str) -> None:
    """One line says why, and the verdict is the last one."""
    assert result.returncode == 1
    assert result.stdout.splitlines()[-1] == BAD, result.stdout
    (line,) = result.stderr.splitlines()
    assert message in line


def test_good_machine(release: pathlib.Path) -> None:
    result = verify(release, NEWER_GPU, "--only=6/2 heads of 64")
    lines = result.stdout.splitlines()
    assert result.returncode == 0, result.stdout + result.stderr
    assert lines[0].startswith("edge_llm_plugins ") and lines[0].endswith(" for x86_64")
    facts = {line.split()[0] for line in lines[1 : lines.index("")]}
    assert facts == {"processor", "glibc", "wheel", "TensorRT", "driver", "GPU", "kernels"}
    assert sum("  works  " in line for line in lines) == 4
    assert "all 4 configurations work on this machine" in lines
    assert lines[-1] == GOOD


def test_products_and_their_combined_splits_work(release: pathlib.Path) -> None:
    result = verify(release, NEWER_GPU, "--only=K=1536")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "int4_combine_f16" in result.stdout


def test_ptx_of_the_newest_sm_is_announced(release: pathlib.Path) -> None:
    result = verify(release, NEWER_GPU, "--only=M=1 N=132", EDGE_LLM_PLUGINS_LOG="info")
    assert re.search(r"SM \d+ is newer than this release: .* the PTX of SM 120", result.stdout)
    assert re.search(r"SM\d+ is newer than this build: .*_sm120 from its PTX", result.stderr)


def spoil(golden: pathlib.Path, label: str, offset: int, value: bytes) -> None:
    """Overwrites bytes of the results behind the line of a problem; `offset` may be negative."""
    content = golden.read_bytes()
    line = content.index(f"|{label}\n".encode()) + len(label) + 2
    if offset < 0:
        following = re.compile(rb"\n?(int4_gemm|attention) always=").search(content, line)
        line = following.start()
    at = line + offset
    golden.write_bytes(content[:at] + value + content[at + len(value) :])


@pytest.mark.parametrize(
    ("label", "offset", "value", "reason"),
    [
        ("INT4 GEMM, M=1 N=132 K=320", 8, struct.pack("<f", 99), "times the allowed error"),
        ("decode, 6/2 heads of 64, 2 x 1 token behind 70", 8, struct.pack("<f", 9), "times the"),
        ("decode, 6/2 heads of 64, 2 x 1 token behind 70", -4, b"\0\x48", "a key of the cache is"),
    ],
    ids=["product", "attention", "key"],
)
def test_wrong_result_is_named(
    release: pathlib.Path, label: str, offset: int, value: bytes, reason: str
) -> None:
    spoil(release / "share/verify.golden", label, offset, value)
    result = verify(release, NEWER_GPU, f"--only={label}")
    assert_refused(result, "1 of 1 configurations are WRONG on this machine")
    (row,) = [line for line in result.stdout.splitlines() if "  WRONG  " in line]
    assert row.startswith(label)
    assert 'plugin "1": ' in result.stdout and reason in result.stdout


def test_inputs_of_another_release_are_refused(release: pathlib.Path) -> None:
    golden = release / "share/verify.golden"
    content = golden.read_bytes()
    golden.write_bytes(re.sub(rb"(always=1 seed=)\d+", rb"\g<1>1", content, count=1))
    result = verify(release, NEWER_GPU, "--only=M=1 N=132")
    assert_refused(result, "the inputs made here are not those of the golden file")


def test_golden_file_that_is_cut_off_is_refused(release: pathlib.Path) -> None:
    golden = release / "share/verify.golden"
    golden.write_bytes(golden.read_bytes()[:-1])
    assert_refused(verify(release, NEWER_GPU), "verify.golden is cut off")


def test_missing_driver_is_named(release: pathlib.Path) -> None:
    result = verify(release, EDGE_LLM_PLUGINS_CUDA_DRIVER="/missing/libcuda.so.1")
    assert_refused(result, "no CUDA driver: /missing/libcuda.so.1: ")


def test_old_driver_is_named(release: pathlib.Path) -> None:
    manifest = release / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"cuda": "13.0"', '"cuda": "99.0"'))
    assert_refused(verify(release), "and this release needs CUDA 99.0 or newer; update the driver")


def test_sm_without_kernels_is_named(release: pathlib.Path) -> None:
    result = verify(release, f"--device={os.environ['OTHER_GPU']}")
    assert_refused(result, "is not among SM 80,86,89,90,100,120 of this release")


def test_missing_gpu_is_named(release: pathlib.Path) -> None:
    assert_refused(verify(release, "--device=99"), "and none with ordinal 99")


def test_old_tensorrt_is_named(release: pathlib.Path) -> None:
    folder = (RUNFILES / os.environ["OLD_TENSORRT"]).parent
    result = verify(release, LD_LIBRARY_PATH=str(folder))
    assert "TensorRT   8.5.3 (libnvinfer.so.8)" in result.stdout
    assert_refused(result, "TensorRT is too old; 8.6 or newer is needed")


def test_old_c_library_is_named(release: pathlib.Path, tmp_path: pathlib.Path) -> None:
    path = command_that_prints(tmp_path / "old", "getconf", "glibc 2.17")
    assert_refused(verify(release, PATH=path), "glibc 2.17 is too old; 2.28 or newer is needed")


def test_other_processor_is_named(release: pathlib.Path, tmp_path: pathlib.Path) -> None:
    path = command_that_prints(tmp_path / "arm", "uname", "aarch64")
    result = verify(release, PATH=path)
    assert_refused(result, "this release is for x86_64, and the processor is aarch64")


def test_unknown_option_is_named(release: pathlib.Path) -> None:
    assert_refused(verify(release, "--gpu=1"), "unknown option --gpu; --help lists them")


def test_installed_wheel_verifies(unpacked: pathlib.Path, tmp_path: pathlib.Path) -> None:
    (wheel,) = (unpacked / "python").glob("edge_llm_plugins-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    packages = os.pathsep.join([str(tmp_path), *sys.path])
    small = f"--sm={os.environ['SMALL_SM']}"
    result = verify(unpacked, "--device=emulator", small, PYTHONPATH=packages)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "whose edge-llm-plugins verify runs" in result.stdout
    lines = result.stdout.splitlines()
    assert re.fullmatch(r"all \d+ configurations work on this machine", lines[-2])
    assert lines[-1] == GOOD


def install_stand_in(folder: pathlib.Path, version: str) -> str:
    """The folder of a package of this version, which finds that all is wrong."""
    package = folder / version / "edge_llm_plugins"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(f'__version__ = "{version}"\n')
    (package / "__main__.py").write_text("import sys\nsys.exit('one is WRONG')\n")
    return str(package.parent)


def test_verdict_is_that_of_the_installed_wheel(
    release: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    packages = install_stand_in(tmp_path, release.name.split("-")[1])
    assert_refused(verify(release, PYTHONPATH=packages), "one is WRONG")


def test_wheel_of_another_version_is_passed_over(
    release: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    packages = install_stand_in(tmp_path, "0.0.1")
    result = verify(release, NEWER_GPU, "--only=M=1 N=132", PYTHONPATH=packages)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "bin/edge_llm_plugins_verify runs" in result.stdout
