"""Fuzzes planted_reader.py."""

from __future__ import annotations

from tools.testing import fuzzing

with fuzzing.instrumented("tools.testing.planted_reader"):
    from tools.testing import planted_reader


def fuzz(data: bytes) -> None:
    with fuzzing.refusals(package="tools"):
        planted_reader.read(data)


if __name__ == "__main__":
    fuzzing.main(fuzz, seeds=[b"harmless", b"deny"])
