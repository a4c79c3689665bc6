"""The opcodes of every variant's PTX for every SM are those of the golden list.

Any choice of --sms will do to test it; to update it, those at which the list changes are enough:
--sms=80,90,100,121.
"""

from __future__ import annotations

import pathlib

from tools.ptx_emulator import opcodes

ROOT = pathlib.Path(__file__).parents[3]
ACCEPT = (
    "to accept: ./bazelw build //kernels:ptx_files && python3 tools/ptx_emulator/opcodes.py "
    "bazel-bin/kernels/ptx_images/*.ptx > tools/ptx_emulator/testdata/opcodes.txt"
)


def test_kernels_use_the_golden_opcodes():
    files = sorted((ROOT / "kernels").rglob("*.ptx"))
    assert files, "no PTX files: the test lacks //kernels:ptx_files"
    by_sm = opcodes.opcodes_by_sm(files)
    golden = opcodes.golden_opcodes()
    for sm, found in by_sm.items():
        expected = {opcode for opcode, lowest in golden.items() if lowest <= sm}
        assert not found - expected, f"added for {sm}: {sorted(found - expected)}; {ACCEPT}"
    missing = {opcode for opcode, lowest in golden.items() if lowest <= max(by_sm)}
    missing -= set().union(*by_sm.values())
    assert not missing, f"missing: {sorted(missing)}; {ACCEPT}"


def test_scopes_guards_labels_and_comments():
    text = """
    .entry k() { .reg .b32 %r<3>; // add.s64 in a comment
    $L_1: @!%p1 bra $L_1;
    { .reg .f16 low; cvt.rn.f16.f32 low, %f1; mov.b32 %r1, {low,low};}
    st.shared::cta.v2.u32 [%r1], {%r1, %r2}; again: ret; }
    """
    expected = {"bra", "cvt.rn.f16.f32", "mov.b32", "st.shared::cta.v2.u32", "ret"}
    assert opcodes.opcodes_of(text) == expected
