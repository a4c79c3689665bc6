"""Rotary position embeddings (RoPE) as tables: AttentionPlugin's input RopeCosSin.

A line of a table belongs to one position: the cosines of the angles position * frequency[i] for
i < R/2, then their sines. Dimensions i and i + R/2 of a head form the pair that angle i turns;
dimensions from R on (partial rotary embedding) pass through. Without scaling,
frequency[i] = base^(-2i/R) (RoFormer, arXiv:2104.09864, section 3.2.2).

Scalings stretch the context that a model was trained for. They take the keys of a checkpoint's
`rope_scaling` entry by the same names, and compute what the functions of transformers'
`modeling_rope_utils.py` (ROPE_INIT_FUNCTIONS) compute, in FP64:

    rope.cos_sin(4096, 128, base=500000.0, scaling=rope.Llama3(
        factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
        original_max_position_embeddings=8192))
"""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Of any number of a scaling; far beyond what checkpoints have, and their products are finite.
_LARGEST = 1e12


def plain_frequencies(base: float, rotary_size: int) -> NDArray[np.float64]:
    """Radians per position of each pair of dimensions: base^(-2i/R), float64 [R/2]."""
    return float(base) ** (-np.arange(0, rotary_size, 2, dtype=np.float64) / rotary_size)


class Scaling:
    """How a model departs from the plain frequencies; this class does not."""

    def frequencies(self, base: float, rotary_size: int) -> NDArray[np.float64]:
        """Radians per position, float64 [R/2]."""
        return plain_frequencies(base, rotary_size)

    def amplitude(self) -> float:
        """Factor of all cosines and sines ("attention factor"): it scales Q and K alike."""
        return 1.0


@dataclasses.dataclass(frozen=True)
class Linear(Scaling):
    """Positions are divided by `factor` (position interpolation, arXiv:2306.15595, equation 4)."""

    factor: float

    def __post_init__(self) -> None:
        _check_at_least("factor", self.factor, 1)

    def frequencies(self, base: float, rotary_size: int) -> NDArray[np.float64]:
        return plain_frequencies(base, rotary_size) / self.factor


@dataclasses.dataclass(frozen=True)
class Ntk(Scaling):
    """NTK-aware scaling: base becomes base * factor^(R / (R - 2)) (arXiv:2309.00071, definition 1).

    The highest frequency stays, the lowest one is divided by exactly `factor`.
    """

    factor: float

    def __post_init__(self) -> None:
        _check_at_least("factor", self.factor, 1)

    def frequencies(self, base: float, rotary_size: int) -> NDArray[np.float64]:
        _check_rotary_size(rotary_size, smallest=4)
        return plain_frequencies(
            base * self.factor ** (rotary_size / (rotary_size - 2)), rotary_size
        )


@dataclasses.dataclass(frozen=True)
class DynamicNtk(Scaling):
    """NTK-aware scaling by the length in use (transformers, "dynamic").

    It is `Ntk` with factor * length / max_position_embeddings - (factor - 1), where lengths up to
    `max_position_embeddings` change nothing. A table holds for one length, in tokens: with another
    one comes another table.
    """

    factor: float
    max_position_embeddings: int
    length: int

    def __post_init__(self) -> None:
        _check_at_least("factor", self.factor, 1)
        _check_at_least("max_position_embeddings", self.max_position_embeddings, 1)
        _check_at_least("length", self.length, 0)

    def frequencies(self, base: float, rotary_size: int) -> NDArray[np.float64]:
        stretch = max(self.length / self.max_position_embeddings, 1.0)
        return Ntk(self.factor * stretch - (self.factor - 1)).frequencies(base, rotary_size)


@dataclasses.dataclass(frozen=True)
class Llama3(Scaling):
    """Scaling of Llama 3.1 and 3.2 (transformers, "llama3").

    A pair that turns fewer than `low_freq_factor` times within the original context is slowed down
    by `factor`, one that turns more than `high_freq_factor` times is kept, and in between the two
    are mixed linearly in the number of turns.
    """

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_position_embeddings: int

    def __post_init__(self) -> None:
        _check_at_least("factor", self.factor, 1)
        _check_at_least("low_freq_factor", self.low_freq_factor, 0)
        _check_at_least("high_freq_factor", self.high_freq_factor, 0)
        if not self.high_freq_factor > self.low_freq_factor:
            raise ValueError(
                f"high_freq_factor is {self.high_freq_factor}: more than low_freq_factor = "
                f"{self.low_freq_factor} is allowed"
            )
        _check_at_least(
            "original_max_position_embeddings", self.original_max_position_embeddings, 1
        )

    def frequencies(self, base: float, rotary_size: int) -> NDArray[np.float64]:
        plain = plain_frequencies(base, rotary_size)
        turns = self.original_max_position_embeddings * plain / (2 * math.pi)
        kept = (turns - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor)
        return _mix(plain, plain / self.factor, np.clip(kept, 0, 1))


@dataclasses.dataclass(frozen=True)
class Yarn(Scaling):
    """YaRN (arXiv:2309.00071, section 3.2 to 3.4; transformers, "yarn").

    Pairs are kept up to the one that turns `beta_fast` times within the original context, slowed
    down by `factor` from the one that turns `beta_slow` times on, and mixed linearly in their index
    in between. Cosines and sines are multiplied by `attention_factor`, by default
    0.1 ln(factor) + 1.
    """

    factor: float
    original_max_position_embeddings: int
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float | None = None

    def __post_init__(self) -> None:
        _check_at_least("factor", self.factor, 1)
        _check_at_least(
            "original_max_position_embeddings", self.original_max_position_embeddings, 1
        )
        _check_at_least("beta_fast", self.beta_fast, 0)
        _check_at_least("beta_slow", self.beta_slow, 0)
        if not 0 < self.beta_slow <= self.beta_fast:
            raise ValueError(
                f"beta_slow is {self.beta_slow}: more than 0 and at most beta_fast = "
                f"{self.beta_fast} is allowed"
            )
        if self.attention_factor is not None:
            _check_at_least("attention_factor", self.attention_factor, 0)

    def frequencies(self, base: float, rotary_size: int) -> NDArray[np.float64]:
        plain = plain_frequencies(base, rotary_size)
        first = max(math.floor(self._pair_that_turns(self.beta_fast, base, rotary_size)), 0)
        last = math.ceil(self._pair_that_turns(self.beta_slow, base, rotary_size))
        # The bounds, and 0.001 where they meet, are those that checkpoints were trained with.
        last = min(last, rotary_size - 1)
        slowed = (np.arange(rotary_size // 2) - first) / max(last - first, 0.001)
        return _mix(plain / self.factor, plain, np.clip(slowed, 0, 1))

    def amplitude(self) -> float:
        if self.attention_factor is not None:
            return self.attention_factor
        return 0.1 * math.log(self.factor) + 1.0

    def _pair_that_turns(self, times: float, base: float, rotary_size: int) -> float:
        """The (fractional) index of the pair that turns so many times in the original context."""
        period = self.original_max_position_embeddings / (times * 2 * math.pi)
        return rotary_size * math.log(period) / (2 * math.log(base))


@dataclasses.dataclass(frozen=True)
class LongRope(Scaling):
    """LongRoPE (arXiv:2402.13753; transformers, "longrope"; Phi-3 and Phi-4-mini).

    Each pair is slowed down by a factor of its own, which was searched for: one of `short_factor`
    in texts up to the original context, of `long_factor` in longer ones. Cosines and sines are
    multiplied by `attention_factor`, by default sqrt(1 + ln s / ln original) where the context is
    s > 1 times the original one. A table holds for one `length`, in tokens.
    """

    short_factor: Sequence[float]
    long_factor: Sequence[float]
    original_max_position_embeddings: int
    max_position_embeddings: int
    length: int
    attention_factor: float | None = None

    def __post_init__(self) -> None:
        _check_at_least(
            "original_max_position_embeddings", self.original_max_position_embeddings, 2
        )
        _check_at_least("max_position_embeddings", self.max_position_embeddings, 1)
        _check_at_least("length", self.length, 0)
        if self.attention_factor is not None:
            _check_at_least("attention_factor", self.attention_factor, 0)

    def frequencies(self, base: float, rotary_size: int) -> NDArray[np.float64]:
        is_long = self.length > self.original_max_position_embeddings
        name = "long_factor" if is_long else "short_factor"
        given = getattr(self, name)
        try:
            factors = np.asarray(given, np.float64)
        except (OverflowError, TypeError, ValueError):
            raise ValueError(f"{name} is {given!r}: a list of numbers is allowed") from None
        if factors.shape != (rotary_size // 2,) or not (np.isfinite(factors) & (factors > 0)).all():
            raise ValueError(
                f"{name} is {factors.tolist()}: R/2 = {rotary_size // 2} finite numbers above 0 "
                "are allowed"
            )
        return plain_frequencies(base, rotary_size) / factors

    def amplitude(self) -> float:
        if self.attention_factor is not None:
            return self.attention_factor
        stretch = max(self.max_position_embeddings / self.original_max_position_embeddings, 1.0)
        return math.sqrt(1 + math.log(stretch) / math.log(self.original_max_position_embeddings))


def cos_sin(
    positions: int | ArrayLike,
    rotary_size: int,
    *,
    base: float = 10000.0,
    scaling: Scaling | None = None,
    mrope_section: Sequence[int] | None = None,
    mrope_interleaved: bool = False,
) -> NDArray[np.float32]:
    """Computes a RoPE table.

    Args:
      positions: the number of positions P, for a table of the positions 0 to P - 1; or the position
        of each line, integers >= 0 [B, P]. With `mrope_section`: integers >= 0 [3, B, P], the
        temporal, height and width position of each token of each row.
      rotary_size: R, even, at most the size of a head: the dimensions of a head that are turned.
      base: the checkpoint's rope_theta, > 1.
      scaling: `Linear`, `Ntk`, `DynamicNtk`, `Llama3`, `Yarn` or `LongRope`; by default none.
      mrope_section: for multimodal models (Qwen2-VL, arXiv:2409.12191, section 2.1): how many of
        the R/2 pairs turn by the temporal, the height and the width position, in this order.
      mrope_interleaved: the three take turns instead (Qwen3-VL): from pair 0 on they are temporal,
        height, width, temporal, ..., until height or width have theirs; all others are temporal.

    Returns:
      float32 [1, P, R] for a number of positions, else [B, P, R]; computed in FP64, rounded once.

    Raises:
      TypeError: positions are no integers.
      ValueError: their rank, a negative position, rotary size, base, or sections.
    """
    _check_rotary_size(rotary_size)
    if not 1 < base < math.inf:
        raise ValueError(f"base is {base}: a finite number above 1 is allowed")
    scaling = scaling or Scaling()
    frequencies = scaling.frequencies(base, rotary_size)
    if mrope_section is None:
        angles = _check_positions(positions)[..., None] * frequencies
    else:
        axes = _section_axes(mrope_section, rotary_size, mrope_interleaved)
        by_axis = _check_positions(positions, mrope=True)
        angles = np.moveaxis(by_axis, 0, -1)[..., axes] * frequencies
    table = np.concatenate([np.cos(angles), np.sin(angles)], axis=-1)
    return (scaling.amplitude() * table).astype(np.float32)


def _section_axes(
    mrope_section: Sequence[int], rotary_size: int, interleaved: bool
) -> NDArray[np.int64]:
    """Which axis (0 temporal, 1 height, 2 width) turns each pair: int [R/2]."""
    section = list(mrope_section)
    if len(section) != 3 or min(section) < 0 or sum(section) != rotary_size // 2:
        raise ValueError(
            f"mrope_section is {section}: three numbers >= 0 whose sum is R/2 = "
            f"{rotary_size // 2} are allowed"
        )
    if not interleaved:
        return np.repeat(np.arange(3), section)
    axes = np.zeros(rotary_size // 2, np.int64)
    for axis in (1, 2):
        axes[axis : 3 * section[axis] : 3] = axis
        if np.count_nonzero(axes == axis) != section[axis]:
            raise ValueError(
                f"mrope_section is {section}: height and width have at most a third of the "
                f"R/2 = {rotary_size // 2} pairs where they are interleaved"
            )
    return axes


def _check_positions(positions: int | ArrayLike, mrope: bool = False) -> NDArray[np.float64]:
    """Positions as [B, P], or for MRoPE as [3, B, P]."""
    array = np.asarray(positions)
    if not np.issubdtype(array.dtype, np.integer):
        raise TypeError(f"positions have dtype {array.dtype}: an integer dtype is allowed")
    if array.size and array.min() < 0:
        raise ValueError(f"positions hold {array.min()}: numbers >= 0 are allowed")
    if mrope:
        if array.ndim != 3 or array.shape[0] != 3:
            raise ValueError(
                f"positions have shape {list(array.shape)}: [3, B, P] is allowed with mrope_section"
            )
    elif array.ndim == 0:
        array = np.arange(array)[None]
    elif array.ndim != 2:
        raise ValueError(
            f"positions have shape {list(array.shape)}: one number or [B, P] is allowed"
        )
    return array.astype(np.float64)


def _mix(
    at_one: NDArray[np.float64], at_zero: NDArray[np.float64], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    return weight * at_one + (1 - weight) * at_zero


def _check_rotary_size(rotary_size: int, smallest: int = 2) -> None:
    if rotary_size < smallest or rotary_size % 2:
        raise ValueError(
            f"rotary_size is {rotary_size}: an even number of at least {smallest} is allowed"
        )


def _check_at_least(name: str, value: float, smallest: float) -> None:
    if not isinstance(value, numbers.Real) or not smallest <= value <= _LARGEST:
        raise ValueError(
            f"{name} is {value!r}: a number from {smallest} to {_LARGEST:g} is allowed"
        )
