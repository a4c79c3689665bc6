"""Golden files: what a GPU answered to the conformance cases.

One text file per GPU. Its first line is JSON: the machine, the driver and the date. The lines below
are base85 of the zlib-compressed answers: a line of JSON with the digest, the number of threads and
the bytes per result of every case, then all results one after the other.
"""

from __future__ import annotations

import base64
import json
import pathlib
import re
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from tools.ptx_emulator.conformance.case import Case

_COLUMNS = 100


@dataclass(frozen=True)
class About:
    """The machine that answered; `date` as in 2026-11-22."""

    gpu: str
    sm: int
    driver: str
    date: str


class Golden:
    """The answers of one GPU, read from its file."""

    def __init__(self, path: pathlib.Path) -> None:
        about, _, lines = path.read_text().partition("\n")
        self.about = About(**json.loads(about))
        packed = base64.b85decode("".join(lines.split()))
        cases, _, bits = zlib.decompress(packed).partition(b"\n")
        self._digests: dict[str, str] = {}
        self._results: dict[str, list[np.ndarray]] = {}
        place = 0
        for name, case in json.loads(cases).items():
            self._digests[name] = case["digest"]
            self._results[name] = []
            for width in case["bytes"]:
                answer = np.frombuffer(bits, np.dtype(f"u{width}"), case["threads"], place)
                self._results[name].append(answer)
                place += answer.nbytes

    def __str__(self) -> str:
        return f"{self.about.gpu} {self.about.date}".replace(" ", "-")

    @property
    def names(self) -> set[str]:
        """The cases that were recorded."""
        return set(self._digests)

    def results(self, case: Case) -> list[np.ndarray]:
        """The bits of each result, by thread; KeyError where this very case is not recorded."""
        if self._digests.get(case.name) != case.digest:
            raise KeyError(case.name)
        return self._results[case.name]


def write(
    folder: pathlib.Path, about: About, answers: Sequence[tuple[Case, Sequence[np.ndarray]]]
) -> pathlib.Path:
    """Writes the file of a GPU and returns its path."""
    cases = {
        case.name: {
            "digest": case.digest,
            "bytes": [answer.itemsize for answer in results],
            "threads": len(case.operands),
        }
        for case, results in answers
    }
    bits = b"".join(answer.tobytes() for _, results in answers for answer in results)
    packed = zlib.compress(json.dumps(cases).encode() + b"\n" + bits, 9)
    text = base64.b85encode(packed).decode()
    lines = [text[i : i + _COLUMNS] for i in range(0, len(text), _COLUMNS)]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (re.sub(r"\W+", "_", about.gpu).strip("_").lower() + f"_sm{about.sm}.txt")
    path.write_text("\n".join([json.dumps(asdict(about)), *lines, ""]))
    return path
