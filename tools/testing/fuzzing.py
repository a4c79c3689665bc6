"""What a fuzzer of Python is made of; py_fuzz_test of fuzz.bzl builds and runs it.

    from tools.testing import fuzzing

    with fuzzing.instrumented("edge_llm_plugins"):
        from edge_llm_plugins import something

    def fuzz(data: bytes) -> None:
        with fuzzing.refusals():
            something.read(data)

    if __name__ == "__main__":
        fuzzing.main(fuzz, seeds=[b"..."])

An exception that escapes, and an input of more than 10 s, are findings.
"""

from __future__ import annotations

import contextlib
import copy
import dis
import pathlib
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import atheris

_SEEDS_OPTION = "--write_seeds="


def instrumented(*packages: str) -> contextlib.AbstractContextManager[Any]:
    """A block whose imports of these packages are watched for new paths."""
    return atheris.instrument_imports(include=list(packages))


def main(fuzz: Callable[[bytes], None], seeds: Iterable[bytes]) -> None:
    """Writes the seeds to a folder for `--write_seeds=FOLDER`, else runs libFuzzer."""
    if sys.argv[1:] and sys.argv[1].startswith(_SEEDS_OPTION):
        folder = pathlib.Path(sys.argv[1].removeprefix(_SEEDS_OPTION))
        for number, seed in enumerate(seeds):
            (folder / str(number)).write_bytes(seed)
        return
    atheris.Setup(sys.argv, fuzz)
    atheris.Fuzz()


@contextlib.contextmanager
def refusals(package: str = "edge_llm_plugins") -> Iterator[None]:
    """Ends the block at an error that the package documents for what a user can mend.

    That is a ValueError or FileNotFoundError of one line that a `raise` of the package throws: one
    that merely happens, say in NumPy, tells a user nothing.
    """
    try:
        yield
    except (ValueError, FileNotFoundError) as error:
        if not _is_deliberate(error, package) or len(str(error).splitlines()) != 1:
            raise


def _is_deliberate(error: Exception, package: str) -> bool:
    traceback = error.__traceback__
    while traceback and traceback.tb_next:
        traceback = traceback.tb_next
    assert traceback
    frame = traceback.tb_frame
    opcode = dis.opname[frame.f_code.co_code[traceback.tb_lasti]]
    module = frame.f_globals.get("__name__", "")
    return opcode == "RAISE_VARARGS" and module.partition(".")[0] == package


class Choices:
    """Takes values off an input; zeros follow its end."""

    def __init__(self, data: bytes) -> None:
        self._data = atheris.FuzzedDataProvider(data)

    def below(self, end: int) -> int:
        """An integer from 0 to `end` - 1."""
        return self._data.ConsumeIntInRange(0, end - 1)

    def of(self, values: list[Any]) -> Any:
        """One of some values."""
        return values[self.below(len(values))]

    def text(self, most: int = 16) -> str:
        """A text of at most so many characters, of any kind but surrogates."""
        return self._data.ConsumeUnicodeNoSurrogates(self.below(most + 1))

    def integer(self) -> int:
        """An integer of 9 bytes: larger than any that NumPy has."""
        return self._data.ConsumeInt(9)

    def json(self, depth: int = 2) -> Any:
        """A value of any kind that JSON has."""
        plain = [None, False, True, 0, 1, -1, 2, 64, 1.5, 0.0, 1e308, float("nan"), "", [], {}]
        kind = self.below(8)
        if kind == 0:
            return self.integer()
        if kind == 1:
            return self.text()
        if kind == 2 and depth:
            return [self.json(depth - 1) for _ in range(self.below(4))]
        if kind == 3 and depth:
            return {self.text(4): self.json(depth - 1) for _ in range(self.below(3))}
        return copy.deepcopy(self.of(plain))

    def changed(self, document: dict[str, Any]) -> dict[str, Any]:
        """A copy of a JSON object in which 1 to 4 places are missing or hold another value."""
        copied = copy.deepcopy(document)
        for _ in range(1 + self.below(4)):
            if not copied:
                break
            holder = self.of(list(_holders(copied)))
            key = self.of(list(holder) if isinstance(holder, dict) else list(range(len(holder))))
            if self.below(4):
                holder[key] = self.json()
            else:
                del holder[key]
        return copied


def _holders(value: Any) -> Iterator[dict[str, Any] | list[Any]]:
    """Every object and array that is not empty."""
    if isinstance(value, dict | list) and value:
        yield value
        for item in value.values() if isinstance(value, dict) else value:
            yield from _holders(item)
