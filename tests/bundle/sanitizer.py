"""compute-sanitizer around a run of pytest, and what its logs say."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import shutil
import sys

TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")

# The smallest tests that reach every variant of every kernel, alone in buffers of exactly their
# sizes, and every sequence of launches through the plugins.
SUITE = (
    # kernels/attention: prefill, stages used again, decode with and without splits, trees, append,
    # combine
    "test_ragged_batch_with_an_empty_row",
    "test_chunks_with_a_start_per_row",
    "test_more_tiles_than_stages",
    "test_decode_at_every_edge",
    "test_ragged_trees_with_padding",
    "test_splits",
    "test_table_per_row",
    "test_splits_are_merged",
    # kernels/gemm: GEMV, GEMM, combine
    "test_random_inputs",
    "test_sums_in_split_order",
    # tests/ops: attention
    "test_prefill_of_ragged_rows",
    "test_chunks_with_their_own_starts",
    "test_decode_with_a_split_range",
    "test_a_tree_in_a_long_cache",
    # tests/ops: INT4
    "test_m_around_every_tile_edge",
    "test_split_k",
)

# Room for mbarriers: the default is too small, and so is 12, the most of one CTA.
_MBARRIERS = "--num-cuda-barriers=1024"
_OPTIONS = {
    # Our own code checks what each call of the driver returns.
    "memcheck": ("--report-api-errors=no",),
    "racecheck": (_MBARRIERS,),
    "synccheck": (_MBARRIERS,),
}

_PROGRAM = "compute-sanitizer"
_CUDA = pathlib.Path("/usr/local/cuda/bin")
_SUMMARY = re.compile(r"^=+ +(?:\w+ )?SUMMARY: (.*)$", re.MULTILINE)
_KERNEL = re.compile(r"\b(?:attention|int4)_\w+_sm\d+\b")


def program() -> str:
    """The path of compute-sanitizer; exits with one line where there is none."""
    found = shutil.which(_PROGRAM) or shutil.which(_PROGRAM, path=_CUDA)
    if not found:
        sys.exit(
            f"run.sh: no {_PROGRAM} on PATH or in {_CUDA}: install it (it is in CUDA's toolkit)"
        )
    return found


@dataclasses.dataclass(frozen=True)
class Sanitizer:
    """One of compute-sanitizer's tools, and the folder that gets its logs."""

    tool: str
    output: pathlib.Path

    @property
    def command(self) -> list[str]:
        """What a command line is put behind; the log of each process has a name of its own."""
        return [
            program(),
            f"--tool={self.tool}",
            *_OPTIONS.get(self.tool, ()),
            f"--log-file={self.output / self.tool}.%p.log",
        ]

    def summaries(self) -> list[str]:
        """The summary of each process that was checked, such as "0 errors"."""
        return [line for text in self._logs() for line in _SUMMARY.findall(text)]

    def kernels(self) -> list[str]:
        """The kernels that something was found in."""
        return sorted({name for text in self._logs() for name in _KERNEL.findall(text)})

    def _logs(self) -> list[str]:
        logs = sorted(self.output.glob(f"{self.tool}.*.log"))
        return [log.read_text(errors="replace") for log in logs]

    def is_clean(self) -> bool:
        """Whether something was checked, and nothing was found."""
        numbers = [int(n) for line in self.summaries() for n in re.findall(r"\d+", line)]
        return bool(numbers) and not any(numbers)
