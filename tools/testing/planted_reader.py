"""A reader with one defect of each kind, for fuzz_runner_test.py: the input picks which."""

from __future__ import annotations

import time


def read(data: bytes) -> None:
    """Reads nothing."""
    if data[:4] == b"deny":
        raise ValueError("deny is refused: anything else is allowed")
    if data[:4] == b"line":
        raise ValueError("two\nlines")
    if data[:4] == b"fail":
        int(data[:4])  # a ValueError that nobody meant
    if data[:4] == b"kind":
        raise TypeError("an error of another kind")
    while data[:4] == b"hang":
        time.sleep(1)
