"""The C++ program of an aarch64 release, under qemu with the emulator built for aarch64.

The emulated GPU is of an SM newer than the release, so what runs is the release's own PTX.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess

import pytest

RUNFILES = pathlib.Path(os.environ["TEST_SRCDIR"])


def verify(release: pathlib.Path, only: str) -> subprocess.CompletedProcess[str]:
    """As verify.sh calls it."""
    manifest = json.loads((release / "manifest.json").read_text())
    loader = RUNFILES / os.environ["LOADER"]
    return subprocess.run(
        [
            *(RUNFILES / os.environ["QEMU"], loader, "--library-path", loader.parent),
            release / "bin/edge_llm_plugins_verify",
            f"--library={release / 'lib/libedge_llm_plugins.so'}",
            f"--golden={release / 'share/verify.golden'}",
            f"--cuda={manifest['cuda']}",
            f"--sms={','.join(manifest['sms'])}",
            f"--device={os.environ['NEWER_GPU']}",
            f"--only={only}",
        ],
        env={"EDGE_LLM_PLUGINS_CUDA_DRIVER": str(RUNFILES / os.environ["EMULATOR"])},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("only", "kernel"),
    [
        ("M=1 N=132", "int4_gemv"),
        ("M=33 N=132", "int4_gemm"),
        ("prefill, 6/2 heads of 64", "attention_append_f16 attention_prefill"),
        ("decode, 2/2 heads of 32, 1 token behind 127", "attention_combine_f16"),
        ("tree, 6/2 heads of 64", "attention_decode"),
    ],
    ids=["gemv", "gemm", "prefill", "split decode", "tree"],
)
def test_configuration_works(unpacked: pathlib.Path, only: str, kernel: str) -> None:
    result = verify(unpacked, only)
    assert result.returncode == 0, result.stdout + result.stderr
    (row,) = [line for line in result.stdout.splitlines() if "  works  " in line]
    assert only in row and kernel in row


def test_wrong_result_is_named(unpacked: pathlib.Path) -> None:
    label = "INT4 GEMM, M=8 N=132 K=320"
    golden = unpacked / "share/verify.golden"
    right = golden.read_bytes()
    at = right.index(f"|{label}\n".encode()) + len(label) + 2
    golden.write_bytes(right[:at] + bytes(400) + right[at + 400 :])
    result = verify(unpacked, label)
    golden.write_bytes(right)
    assert result.returncode == 1
    assert f"{label}  " in result.stdout and "times the allowed error" in result.stdout
    assert result.stderr == (
        "edge_llm_plugins_verify: 1 of 1 configurations are WRONG on this machine\n"
    )
