"""The largest shapes that an exported model, its engine and a generator take."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from edge_llm_plugins.models import json_values

# An engine's optimization profiles: steps from an empty cache, and all others.
PREFILL, GENERATION = "prefill", "generation"

Shape = tuple[int, ...]
Profile = dict[str, tuple[Shape, Shape, Shape]]  # of each dynamic input: min, opt, max


@dataclasses.dataclass(frozen=True)
class Limits:
    """The largest shapes that an engine takes.

    capacity: slots of each KV cache, and positions of the RoPE table, per row.
    prefill_tokens: S of a prefill, and of a chunk of a longer one.
    tree_tokens: S of a draft tree; 0 for a model without tree attention.
    """

    capacity: int
    batch: int = 1
    prefill_tokens: int = 512
    tree_tokens: int = 0

    def __post_init__(self) -> None:
        allowed = {
            "capacity": (1, 1 << 24),
            "batch": (1, 1 << 16),
            "prefill_tokens": (1, self.capacity),
            "tree_tokens": (0, min(128, self.capacity)),
        }
        for name, (smallest, largest) in allowed.items():
            value = getattr(self, name)
            if not smallest <= value <= largest:
                raise ValueError(f"{name} is {value}: {smallest} to {largest} is allowed")

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Limits:
        """Reads the fields as a JSON object has them.

        Raises:
          ValueError: one is missing, or impossible.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(**{name: json_values.integer(values, name, smallest=0) for name in names})


def profiles_from_json(profiles: Mapping[str, Any]) -> dict[str, Profile]:
    """Profiles by name, as JSON has them: lists for tuples.

    Raises:
      ValueError: they are something else.
    """
    return {
        profile: {
            name: _three_shapes(name, shapes)
            for name, shapes in json_values.mapping(profiles, profile).items()
        }
        for profile in profiles
    }


def _three_shapes(name: str, shapes: Any) -> tuple[Shape, Shape, Shape]:
    match shapes:
        case [[*_], [*_], [*_]] if all(type(size) is int for shape in shapes for size in shape):
            return tuple(map(tuple, shapes))
    raise json_values.refusal(name, shapes, "an array of three shapes")
