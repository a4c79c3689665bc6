"""Lists the distinct opcodes of PTX files, such as those of every kernel variant.

python3 opcodes.py kernels/*.ptx > testdata/opcodes.txt

An opcode that the lowest SM among the files lacks has the lowest SM that has it behind it.
"""

from __future__ import annotations

import pathlib
import re
import sys
from collections.abc import Iterable

_GOLDEN = pathlib.Path(__file__).parent / "testdata/opcodes.txt"
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_LABEL = re.compile(r"^[\w$]+\s*:(?!:)\s*")
_INSTRUCTION = re.compile(r"^(?:@!?[\w%$]+\s+)?([a-z][\w.:]*)(?=[\s;]|$)")
_TARGET = re.compile(r"^\s*\.target\s+\w+?_(\d+)", re.MULTILINE)


def opcodes_of(text: str) -> set[str]:
    """The opcodes, with all their modifiers, of one PTX text."""
    body = _COMMENT.sub("", text)
    found = set()
    for statement in re.split(r"[;{}\n]", body):
        statement = statement.strip()
        while label := _LABEL.match(statement):
            statement = statement[label.end() :]
        instruction = _INSTRUCTION.match(statement)
        if instruction:
            found.add(instruction[1])
    return found


def opcodes_by_sm(paths: Iterable[pathlib.Path]) -> dict[int, set[str]]:
    """The opcodes of all files of each SM together, lowest SM first."""
    found: dict[int, set[str]] = {}
    for path in paths:
        text = path.read_text()
        target = _TARGET.search(text)
        if not target:
            raise ValueError(f"{path} has no .target: it is no PTX")
        found.setdefault(int(target[1]), set()).update(opcodes_of(text))
    return dict(sorted(found.items()))


def golden_opcodes() -> dict[str, int]:
    """The golden list: opcode -> lowest SM that has it, 0 where all have it."""
    lines = (line.split() for line in _GOLDEN.read_text().splitlines())
    return {opcode: int(*sm) for opcode, *sm in lines}


def _lines(by_sm: dict[int, set[str]]) -> list[str]:
    first = {opcode: sm for sm in reversed(by_sm) for opcode in by_sm[sm]}
    lowest = min(by_sm)
    return [opcode if sm == lowest else f"{opcode} {sm}" for opcode, sm in sorted(first.items())]


if __name__ == "__main__":
    print("\n".join(_lines(opcodes_by_sm(pathlib.Path(argument) for argument in sys.argv[1:]))))
