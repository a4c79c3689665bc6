"""Records what a real GPU answers to every conformance case.

    python3 -m tools.ptx_emulator.conformance.record FOLDER [DRIVER]

It needs cuda_driver.py and conformance/ of tools/ptx_emulator, Python 3.10, NumPy and the GPU's
driver, but no toolkit: a Jetson will do. It writes FOLDER/<gpu>_sm<sm>.txt, to be moved to
tools/ptx_emulator/tests/golden, where conformance_test finds it. Cases for other GPUs are left out;
a case that fails is printed and left out. DRIVER is libcuda.so.1 by default; with the path of
libptx_emulator_cuda.so the way is tried out without a GPU.
"""

from __future__ import annotations

import datetime
import pathlib
import re
import sys

from tools.ptx_emulator.conformance import golden
from tools.ptx_emulator.conformance.cases import CASES
from tools.ptx_emulator.conformance.run import run
from tools.ptx_emulator.cuda_driver import CudaDriver, CudaError


def _driver_version() -> str:
    file = pathlib.Path("/proc/driver/nvidia/version")
    found = re.search(r"\b\d+\.\d+\.\d+\b", file.read_text()) if file.exists() else None
    return found[0] if found else "unknown"


def record(folder: pathlib.Path, driver_path: str) -> int:
    """Returns the number of cases that did not run."""
    driver = CudaDriver(driver_path)
    device = driver.devices()[0]
    cases = [case for case in CASES if case.runs_on(device.sm)]
    answers = []
    with driver.context(device.ordinal) as context:
        for case in cases:
            try:
                answers.append((case, run(context, case)))
            except CudaError as error:
                print(f"FAILED {case.name}: {' '.join(str(error).split())[:300]}", flush=True)
    date = datetime.date.today().isoformat()
    about = golden.About(device.name, device.sm, _driver_version(), date)
    path = golden.write(folder, about, answers)
    failed = len(cases) - len(answers)
    print(f"{len(answers)} cases recorded, {failed} failed: {path}, {path.stat().st_size} bytes")
    return failed


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    driver_path = sys.argv[2] if len(sys.argv) == 3 else "libcuda.so.1"
    sys.exit(1 if record(pathlib.Path(sys.argv[1]), driver_path) else 0)
