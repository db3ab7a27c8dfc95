"""Random draws in integers only, so that the same arguments give the same bytes on every machine."""

from bisect import bisect_right
from collections.abc import Mapping
from itertools import accumulate
from random import Random
from typing import Generic, TypeVar

T = TypeVar("T")


class Weighted(Generic[T]):
    """Values with whole-number weights."""

    def __init__(self, weights: Mapping[T, int]) -> None:
        self._values = tuple(weights)
        self._bounds = tuple(accumulate(weights.values()))
        self.total = self._bounds[-1]

    def at(self, point: int) -> T:
        """The value whose share of `range(total)` holds the point."""
        return self._values[bisect_right(self._bounds, point)]

    def draw(self, rng: Random) -> T:
        return self.at(rng.randrange(self.total))


def happens(rng: Random, per_mille: int) -> bool:
    return rng.randrange(1000) < per_mille


def between(rng: Random, low: int, high: int) -> int:
    """A whole number from low to high, both included."""
    return low + rng.randrange(high - low + 1)


def skewed(rng: Random, low: int, high: int) -> int:
    """As `between`, but small values are common and large ones rare, as amounts of purchases are."""
    return min(between(rng, low, high) for _ in range(3))
