"""Simple interest, actual/365: each day accrues on the principal that the day began with.

Regulation Z leaves the method to the contract; simple interest on the daily balance is the one of most consumer
instalment loans (12 CFR 1026, Supplement I, 17(c)(2)(i)-3 describes it). The cumulative accrual is carried at 8 places;
what a day posts is the difference of its half-up rounded values, so that posted cents always add up to the rounded sum.
"""

from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Context, Decimal, DivisionByZero, InvalidOperation

ZERO = Decimal("0.00")
CENT = Decimal("0.01")
ACCRUED_PLACES = Decimal("1E-8")

CONTEXT = Context(prec=50, rounding=ROUND_HALF_EVEN, traps=[DivisionByZero, InvalidOperation])
"""Far more digits than any amount has, so that no rounding on the way can reach a cent; and the caller's own decimal
context, which may be short, has no say."""

_PERCENT_DAYS = Decimal(36_500)


def daily_interest(principal: Decimal, apr: Decimal, percent_days: Decimal = _PERCENT_DAYS) -> Decimal:
    """Dollars that a day accrues on a principal at `apr` percent a year, half up to 8 places.

    percent_days: 100 times the days of a year, the books' 365 if not given.
    """
    accrued = CONTEXT.divide(CONTEXT.multiply(principal, apr), percent_days)
    return accrued.quantize(ACCRUED_PLACES, ROUND_HALF_UP, CONTEXT)


def to_cents(amount: Decimal) -> Decimal:
    """Half up to the cent: of a cumulative accrual, what of it is posted."""
    return amount.quantize(CENT, ROUND_HALF_UP, CONTEXT)
