"""The merchant discount as income over a loan's life, by the interest method (ASC 310-20-35-18).

The lender pays the merchant the price less the discount. What it earns of that is the interest of the contract and the
discount, together at one rate on what is still to come back: the effective rate. The discount that is not earned yet is
deferred. A day earns `(principal - deferred) * effective rate`, of which `principal * apr` is the contract's interest,
and the rest is taken from what is deferred.
"""

from collections.abc import Iterable
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext

from affirm_assets.lender.finance.accrual import ACCRUED_PLACES, daily_interest
from affirm_assets.lender.finance.root import root_between

MOST = Decimal(36_500)
"""Percent a year. Of so much, all that was lent is earned in a day: nothing is left to search for."""

# A rate is searched for, and then rounded: digits to spare, and the caller's own decimal context has no say.
_CONTEXT = Context(prec=28, rounding=ROUND_HALF_EVEN)
_PERCENT_DAYS = Decimal(36_500)

_NOTHING = Decimal(0)
_NEAR = ACCRUED_PLACES / 8
# Of so little, in dollars, the rate's last place knows nothing.
_NOTHING_LEFT = Decimal("1E-16")

Period = tuple[int, Decimal]
"""Its days, and the principal that is owed in it, in dollars."""


def effective_rate(discount: Decimal, apr: Decimal, periods: Iterable[Period]) -> Decimal:
    """The rate in percent a year, to 8 places, at which the periods earn the whole discount beside `apr`; MOST at most.

    discount: dollars that are deferred when the first period begins. The higher the rate, the less of it is left at the
    end (finance.root).
    """
    periods = list(periods)
    if not discount:
        return apr.quantize(ACCRUED_PLACES)
    with localcontext(_CONTEXT):
        low, left_at_low = apr, discount
        high = apr + 16
        while (left_at_high := _left(discount, apr, high, periods)) > 0:
            if high >= MOST:
                return MOST.quantize(ACCRUED_PLACES)
            low, left_at_low, high = high, left_at_high, min(2 * high, MOST)
        rate = root_between(
            lambda rate: _left(discount, apr, rate, periods),
            low,
            left_at_low,
            high,
            left_at_high,
            near=_NEAR,
            nothing=_NOTHING_LEFT,
        )
        return rate.quantize(ACCRUED_PLACES)


def earned_of_discount(deferred: Decimal, principal: Decimal, interest: Decimal, effective: Decimal) -> Decimal:
    """Dollars with 8 places that a day earns of a deferred discount: never less than nothing, or more than is left.

    interest: what the day accrues on the principal by the contract.
    """
    earned = daily_interest(principal - deferred, effective) - interest
    return max(min(earned, deferred), _NOTHING)


def _left(discount: Decimal, apr: Decimal, effective: Decimal, periods: list[Period]) -> Decimal:
    """What of the discount is left after the periods, at its value when they begin; below zero if more is earned."""
    rate, above = effective / _PERCENT_DAYS, (effective - apr) / _PERCENT_DAYS
    share = above / rate if rate else _NOTHING
    # Of a day: left = left * (1 + rate) - principal * above. Most periods are of the same few lengths.
    shrunk = {days: (1 + rate) ** -days for days in {days for days, _ in periods}}
    left, value = discount, Decimal(1)
    for days, principal in periods:
        before = value
        value *= shrunk[days]
        left -= principal * share * (before - value)
    return left
