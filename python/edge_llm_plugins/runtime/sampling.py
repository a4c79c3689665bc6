"""Which token comes next, given the logits."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How a token is chosen; by default the one with the largest logit.

    temperature: divides the logits; 0 means greedy, and nothing else then matters.
    top_k: only the k largest logits are candidates; 0 means all.
    top_p: of these only the most probable ones, as few as have a total probability of at least p.
    seed: of the random numbers.

    Raises:
      ValueError: a value outside of its range.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise ValueError(f"temperature is {self.temperature}: 0 (greedy) or more is allowed")
        if self.top_k < 0:
            raise ValueError(f"top_k is {self.top_k}: 0 (all tokens) or more is allowed")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is {self.top_p}: above 0 and up to 1 is allowed")
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}: 0 or more is allowed")


def candidates(
    logits: ArrayLike, sampling: Sampling
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The tokens that may be drawn, and how probable each is.

    In this order: logits are divided by the temperature; the top_k largest stay; softmax; of the
    rest the most probable ones stay, up to and with the one that takes the sum to top_p; the
    probabilities are scaled to the sum 1. Of equal logits the smaller token id comes first.

    Args:
      logits: float [vocabulary]; -inf is a token that is never drawn.

    Returns:
      ids, int64 [n], and probabilities, float64 [n], in falling order of probability.

    Raises:
      ValueError: logits with NaN or +inf, or without a finite one.
    """
    logits = np.asarray(logits)
    largest = logits.max(initial=-np.inf)
    if not np.isfinite(largest):  # NaN wins every maximum
        raise ValueError(f"the largest logit is {largest}: a finite number is allowed")
    if sampling.temperature == 0:
        return np.array([logits.argmax()]), np.ones(1)
    ids = np.arange(logits.size)
    if 0 < sampling.top_k < logits.size:
        # Everything at least as large as the k-th largest: with equal ones more than k.
        ids = np.flatnonzero(logits >= np.partition(logits, -sampling.top_k)[-sampling.top_k])
    ids = ids[np.argsort(-logits[ids], kind="stable")][: sampling.top_k or None]
    with np.errstate(over="ignore"):  # where a small temperature makes a weight 0
        weights = np.exp((logits[ids].astype(np.float64) - float(largest)) / sampling.temperature)
    ids, weights = ids[weights > 0], weights[weights > 0] / weights.sum()
    if sampling.top_p < 1:
        count = 1 + int(np.searchsorted(np.cumsum(weights), sampling.top_p))
        ids, weights = ids[:count], weights[:count]
    return ids, weights / weights.sum()


class Sampler:
    """Draws tokens; the same seed and the same logits give the same tokens.

    Every call takes one random number u of [0, 1), from NumPy's default generator with this seed,
    greedy ones too: the token is the first of `candidates` at which the sum of probabilities is
    above u.
    """

    def __init__(self, sampling: Sampling | None = None) -> None:
        self.sampling = sampling or Sampling()
        self._random = np.random.default_rng(self.sampling.seed)

    def __call__(self, logits: ArrayLike) -> int:
        """The next token of a row.

        Args:
          logits: float [vocabulary].

        Raises:
          ValueError: as `candidates`.
        """
        ids, probabilities = candidates(logits, self.sampling)
        u = self._random.random()
        index = int(np.searchsorted(np.cumsum(probabilities), u, side="right"))
        return int(ids[min(index, len(ids) - 1)])  # the sum may end a little below 1
