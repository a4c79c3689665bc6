"""Golden files: what a GPU answered to the conformance cases.

One .npz per GPU. `about` is a JSON text with the machine, the driver, the date and, per case, its
digest and the bytes and number of its results; `bits` holds all results one after the other.
"""

from __future__ import annotations

import json
import pathlib
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from tools.ptx_emulator.conformance.case import Case

FOLDER = pathlib.Path(__file__).parent / "golden"


@dataclass(frozen=True)
class About:
    """The machine that answered; `date` as in 2026-11-22."""

    gpu: str
    sm: int
    driver: str
    date: str

    def __str__(self) -> str:
        return f"{self.gpu} (sm_{self.sm}), driver {self.driver}, {self.date}"


class Golden:
    """The answers of one GPU, read from its file."""

    def __init__(self, path: pathlib.Path) -> None:
        with np.load(path) as file:
            fields = json.loads(str(file["about"]))
            bits = file["bits"].tobytes()
        self._digests: dict[str, str] = {}
        self._results: dict[str, list[np.ndarray]] = {}
        place = 0
        for name, case in fields.pop("cases").items():
            self._digests[name] = case["digest"]
            self._results[name] = []
            for width in case["bytes"]:
                answer = np.frombuffer(bits, np.dtype(f"u{width}"), case["threads"], place)
                self._results[name].append(answer)
                place += answer.nbytes
        self.about = About(**fields)

    @property
    def names(self) -> set[str]:
        """The cases that were recorded."""
        return set(self._digests)

    def results(self, case: Case) -> list[np.ndarray]:
        """The bits of each result, by thread; KeyError where none, or those of another case."""
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
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (re.sub(r"\W+", "_", about.gpu).strip("_").lower() + f"_sm{about.sm}.npz")
    text = json.dumps({**asdict(about), "cases": cases})
    np.savez_compressed(path, about=text, bits=np.frombuffer(bits, np.uint8))
    return path
