"""Values of JSON objects and other configurations, checked for their kind.

Each function refuses what is missing, of another kind or outside of a range, by its key, with a
ValueError of one line.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

LARGEST = 2**31 - 1  # of a size: the extents of TensorRT 8 have 32 bits

_SHOWN = 80  # characters of a refused value in a message


def parse(text: str | bytes, what: str) -> dict[str, Any]:
    """The object in a JSON text; `what` it is stands first in a message."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{what} is no JSON: {one_line(error)}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{what} holds a {type(content).__name__}: a JSON object is allowed")
    return content


def get(values: Mapping[str, Any], key: str) -> Any:
    """A value of any kind."""
    if key not in values:
        raise ValueError(f"{key} is missing")
    return values[key]


def integer(
    values: Mapping[str, Any],
    key: str,
    default: int | None = None,
    *,
    smallest: int = 1,
    largest: int = LARGEST,
) -> int:
    """An integer from `smallest` to `largest`."""
    value = get(values, key) if default is None else values.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or not smallest <= value <= largest:
        raise refusal(key, value, f"an integer from {smallest} to {largest}")
    return value


def number(values: Mapping[str, Any], key: str, default: float | None = None) -> float:
    """A number whose size is at most 1e12, so that products of a few are finite; as a float."""
    value = get(values, key) if default is None else values.get(key, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) <= 1e12:
        raise refusal(key, value, "a number from -1e12 to 1e12")
    return float(value)


def boolean(values: Mapping[str, Any], key: str) -> bool:
    """True or false."""
    value = get(values, key)
    if not isinstance(value, bool):
        raise refusal(key, value, "true or false")
    return value


def text(values: Mapping[str, Any], key: str) -> str:
    """A text."""
    value = get(values, key)
    if not isinstance(value, str):
        raise refusal(key, value, "a text")
    return value


def mapping(values: Mapping[str, Any], key: str) -> dict[str, Any]:
    """An object."""
    value = get(values, key)
    if not isinstance(value, dict):
        raise refusal(key, value, "an object")
    return value


def one_line(error: Exception) -> str:
    """What another package's error says."""
    return " ".join(str(error).split()) or type(error).__name__


def refusal(key: str, value: Any, allowed: str) -> ValueError:
    """The error that says what is allowed instead of a value."""
    key = key if key.isprintable() else repr(key)
    shown = repr(value)
    if len(shown) > _SHOWN:
        shown = f"{shown[:_SHOWN]}..."
    return ValueError(f"{key} is {shown}: {allowed} is allowed")
