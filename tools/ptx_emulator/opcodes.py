"""Lists the distinct opcodes of PTX files, such as those of every kernel variant.

python3 opcodes.py kernels/*.ptx > testdata/opcodes.txt
"""

from __future__ import annotations

import pathlib
import re
import sys
from collections.abc import Iterable

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_LABEL = re.compile(r"^[\w$]+\s*:(?!:)\s*")
_INSTRUCTION = re.compile(r"^(?:@!?[\w%$]+\s+)?([a-z][\w.:]*)(?=[\s;]|$)")


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


def opcodes_of_files(paths: Iterable[pathlib.Path]) -> list[str]:
    """The opcodes of all files together, sorted."""
    return sorted(set().union(*(opcodes_of(path.read_text()) for path in paths)))


if __name__ == "__main__":
    print("\n".join(opcodes_of_files(pathlib.Path(argument) for argument in sys.argv[1:])))
