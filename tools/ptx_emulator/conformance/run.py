"""Runs conformance cases on a device, which may be a GPU or emulated."""

from __future__ import annotations

import struct

import numpy as np

from tools.ptx_emulator.conformance.case import CONSTANTS, RESULT_BYTES, Case
from tools.ptx_emulator.cuda_driver import Context

_UNSIGNED = {2: np.uint16, 4: np.uint32, 8: np.uint64}


def run(context: Context, case: Case) -> list[np.ndarray]:
    """The bits of each result, by thread; raises CudaError where the case does not run."""
    operands = np.ascontiguousarray(case.operands)
    count = len(operands)
    library = context.load(case.ptx)
    read = context.to_device(operands, name="operands")
    written = context.empty(8 * count * len(case.results), name="results")
    try:
        written.fill(0)
        parameters = struct.pack("<QQ", written.pointer, read.pointer) + CONSTANTS
        grid = (count // case.threads,)
        library.kernel(case.name).launch(grid, (case.threads,), 0, parameters)
        words = written.numpy(np.uint64, (count, len(case.results)))
    finally:
        context.release(read)
        context.release(written)
    return [
        words[:, i].astype(_UNSIGNED[RESULT_BYTES[case.register(i)]])
        for i in range(len(case.results))
    ]
