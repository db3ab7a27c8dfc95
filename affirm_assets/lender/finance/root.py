"""A rate at which nothing is left, searched for."""

from collections.abc import Callable
from decimal import Decimal


def root_between(
    left: Callable[[Decimal], Decimal],
    low: Decimal,
    left_at_low: Decimal,
    high: Decimal,
    left_at_high: Decimal,
    *,
    near: Decimal,
    nothing: Decimal,
) -> Decimal:
    """Where a function is zero that is above zero at `low`, and at `high` is not; in the caller's decimal context.

    By the Illinois variant of the false position (Dowell and Jarratt, BIT 11, 1971): as sure as halving, and much
    faster. It ends when `low` and `high` are as near as `near`, or when less than `nothing` is left.
    """
    side = 0
    while high - low > near:
        rate = (low * left_at_high - high * left_at_low) / (left_at_high - left_at_low)
        left_at_rate = left(rate)
        if abs(left_at_rate) < nothing:
            return rate
        if left_at_rate > 0:
            low, left_at_low = rate, left_at_rate
            left_at_high = left_at_high / 2 if side > 0 else left_at_high
            side = 1
        else:
            high, left_at_high = rate, left_at_rate
            left_at_low = left_at_low / 2 if side < 0 else left_at_low
            side = -1
    return high
