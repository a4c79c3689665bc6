"""A pytest plugin that logs each test as it begins and ends, so that a crash loses nothing.

Tests that the log of EDGE_LLM_TEST_LOG has already are left out: after a crash, another run of
pytest goes on behind it.
"""

from __future__ import annotations

import os
import pathlib

import pytest

from tests.bundle import run_log
from tools.ptx_emulator.cuda_driver import CudaDriver, CudaError
from tools.testing.device_under_test import cuda_driver_path, device_kind


def _gpu_is_lost() -> bool:
    """Whether a kernel has broken the context of this process: all that comes later fails."""
    try:
        with CudaDriver(cuda_driver_path()).context() as context:
            context.driver.call("cuCtxSynchronize")
    except CudaError:
        return True
    return False


class Recorder:
    """Writes the log, and stops the run when the GPU is lost."""

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._seconds = 0.0
        self._failure = ""

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list) -> None:
        done = run_log.read(self._path)
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid in done])
        items[:] = [item for item in items if item.nodeid not in done]

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if not report.passed:
            self._append(report.nodeid, str(report.longrepr))

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._seconds, self._failure = 0.0, ""
        run_log.append(self._path, test=nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._seconds += report.duration
        if not report.passed:
            # Nothing is skipped here: a test that cannot run has no business in this bundle.
            self._failure = self._failure or f"{report.outcome}: {report.longreprtext}"

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> object:
        result = yield
        self._append(item.nodeid, self._failure)
        if self._failure and device_kind() == "cuda" and _gpu_is_lost():
            item.session.shouldstop = "a kernel has broken the CUDA context of this process"
        return result

    def _append(self, test: str, failure: str) -> None:
        outcome = "failed" if failure else "passed"
        run_log.append(
            self._path, test=test, outcome=outcome, seconds=self._seconds, message=failure
        )


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Recorder(pathlib.Path(os.environ["EDGE_LLM_TEST_LOG"])))
