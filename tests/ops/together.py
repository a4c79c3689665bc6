"""Jobs in threads that start at the same moment."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable, Sequence


def run_together(jobs: Sequence[Callable[[], None]]) -> None:
    """Runs jobs in threads that start at the same moment; the first failure is raised."""
    barrier = threading.Barrier(len(jobs))

    def released(job: Callable[[], None]) -> None:
        barrier.wait()
        job()

    with concurrent.futures.ThreadPoolExecutor(len(jobs)) as pool:
        for future in [pool.submit(released, job) for job in jobs]:
            future.result()
