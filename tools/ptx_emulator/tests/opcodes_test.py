"""The opcodes of every variant's PTX for every SM are those of the golden list."""

from __future__ import annotations

import pathlib

from tools.ptx_emulator import opcodes

ROOT = pathlib.Path(__file__).parents[3]
GOLDEN = ROOT / "tools/ptx_emulator/testdata/opcodes.txt"
UPDATE = (
    "bazel build //kernels:ptx_files && python3 tools/ptx_emulator/opcodes.py "
    "bazel-bin/kernels/ptx_images/*.ptx > tools/ptx_emulator/testdata/opcodes.txt"
)


def test_kernels_use_the_golden_opcodes():
    files = sorted((ROOT / "kernels").rglob("*.ptx"))
    assert files, "no PTX files: the test lacks //kernels:ptx_files"
    found = set(opcodes.opcodes_of_files(files))
    golden = set(GOLDEN.read_text().split())
    added, missing = sorted(found - golden), sorted(golden - found)
    assert not added and not missing, f"added {added}, missing {missing}; to accept them: {UPDATE}"


def test_scopes_guards_labels_and_comments():
    text = """
    .entry k() { .reg .b32 %r<3>; // add.s64 in a comment
    $L_1: @!%p1 bra $L_1;
    { .reg .f16 low; cvt.rn.f16.f32 low, %f1; mov.b32 %r1, {low,low};}
    st.shared::cta.v2.u32 [%r1], {%r1, %r2}; again: ret; }
    """
    expected = {"bra", "cvt.rn.f16.f32", "mov.b32", "st.shared::cta.v2.u32", "ret"}
    assert opcodes.opcodes_of(text) == expected
