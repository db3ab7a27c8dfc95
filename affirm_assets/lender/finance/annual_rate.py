"""The annual percentage rate of a loan, by Regulation Z's actuarial method (12 CFR 1026, Appendix J)."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import date
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Context, Decimal, localcontext
from itertools import pairwise

from affirm_assets.lender.finance.accrual import CENT
from affirm_assets.lender.finance.arguments import check_date, check_money
from affirm_assets.lender.finance.root import root_between
from affirm_assets.lender.finance.unit_periods import Elapsed, days_of, elapsed, unit_period

Flow = tuple[date, Decimal]
"""A day, and the dollars that are paid on it."""

# A rate is searched for, and then rounded: digits to spare, and the caller's own decimal context has no say.
_CONTEXT = Context(prec=40, rounding=ROUND_HALF_EVEN)

_MOST = Decimal(10_000)
"""A unit-period's rate, as a fraction: 1,000,000 percent. Above it, an amount or a date is taken for a mistake."""

# Far below what a hundredth of a percent a year is of a day's rate; and what is exactly half of one is not below it.
_NEAR = Decimal("1E-20")
_NOISE = Decimal("1E-14")
# Of so little, in dollars, a rate's last place knows nothing.
_NOTHING_GAINED = Decimal("1E-24")

Timed = tuple[Elapsed, Decimal]

Series = tuple[Decimal, list[tuple[int, Decimal]]]
"""A fraction of a unit-period; and of each flow after it, from the last to the first, how many full unit-periods it
comes after the one before, and its dollars."""


def annual_percentage_rate(advances: Sequence[Flow], payments: Sequence[Flow]) -> Decimal:
    """The rate at which what the lender advances is worth what the borrower pays: the APR of 12 CFR 1026.22(a).

    The general equation of Appendix J, (b)(8): `sum(advance / ((1 + e * i) * (1 + i) ** q)) = sum(payment / ((1 + f *
    i) * (1 + i) ** t))`, with `q` and `t` full unit-periods since the first advance and `e` and `f` the fractions of
    one that are left, both of them by (b)(2) to (b)(5): `finance.unit_periods`. The APR is `i` times the unit-periods
    of a year, (b)(1). The rate is searched for between two that double (`finance.root`) instead of by (b)(9), from
    zero on: of several that solve the equation, which there may be if an advance comes after a payment, a low one.

    Args:
        advances: what the lender pays out, each a day and dollars above zero: the amounts financed, without prepaid
            finance charges. In any order; those of one day count as one.
        payments: what the borrower pays, in the same way, each after the first advance.

    Returns:
        Percent a year, with exactly two places, half up; zero or more.

    Raises:
        ValueError: there are no advances or no payments, an amount is not above zero, a payment comes on the day of the
            first advance or before, or no rate of zero or more solves the equation: the payments are less than what is
            advanced, or so large that a unit-period's rate exceeds 1,000,000 percent.
        TypeError: an amount is no `Decimal`, but a `float` for example, or a day is no `date`.
    """
    lent, paid = _by_day("advances", advances), _by_day("payments", payments)
    since, first_paid_on = min(lent), min(paid)
    if first_paid_on <= since:
        raise ValueError(f"payments={first_paid_on}: expected days after the first advance, found it on {since}.")
    lent_on, paid_on = days_of(list(lent), since), days_of(list(paid), since)
    unit = unit_period(lent_on, paid_on)
    per_year, units = unit.per_year
    with localcontext(_CONTEXT):
        rate = _unit_period_rate(
            [(elapsed(unit, since, day), lent[day.on]) for day in lent_on],
            [(elapsed(unit, since, day), paid[day.on]) for day in paid_on],
        )
        return (rate * 100 * per_year / units).quantize(_NOISE).quantize(CENT, ROUND_HALF_UP)


def _by_day(name: str, flows: Sequence[Flow]) -> dict[date, Decimal]:
    """What is paid on each day, in the order of the days."""
    if not flows:
        raise ValueError(f"{name}={flows!r}: expected one or more, each a day and dollars above zero; found none.")
    by_day: dict[date, Decimal] = {}
    for number, (day, amount) in enumerate(flows):
        check_date(f"{name}[{number}]", day)
        check_money(f"{name}[{number}]", amount)
        by_day[day] = _CONTEXT.add(by_day.get(day, Decimal(0)), amount)
    return dict(sorted(by_day.items()))


def _unit_period_rate(lent: Sequence[Timed], paid: Sequence[Timed]) -> Decimal:
    total_lent, total_paid = (sum((amount for _, amount in flows), Decimal(0)) for flows in (lent, paid))
    if total_paid < total_lent:
        raise ValueError(f"payments={total_paid}: expected no less than the {total_lent} that is advanced: no APR.")
    if total_paid == total_lent:
        return Decimal(0)
    series = [*_series(lent, -1), *_series(paid, 1)]
    low, left_at_low, high = Decimal(0), total_paid - total_lent, Decimal("0.01")
    while (left_at_high := _gained(series, high)) > 0:
        if high >= _MOST:
            most = f"{100 * _MOST:,} percent a unit-period"
            raise ValueError(f"payments={total_paid}: expected a rate of {most} at most; found none so low: no APR.")
        low, left_at_low, high = high, left_at_high, min(2 * high, _MOST)
    return root_between(
        lambda rate: _gained(series, rate), low, left_at_low, high, left_at_high, near=_NEAR, nothing=_NOTHING_GAINED
    )


def _series(flows: Sequence[Timed], sign: int) -> Iterator[Series]:
    """The flows of each fraction of a unit-period, from the last to the first."""
    by_fraction: defaultdict[Decimal, list[tuple[int, Decimal]]] = defaultdict(list)
    for when, amount in flows:
        by_fraction[Decimal(when.odd) / when.of].append((when.full, sign * amount))
    for fraction, amounts in by_fraction.items():
        fulls = [full for full, _ in amounts]
        steps = [after - before for before, after in pairwise([0, *fulls])]
        yield fraction, [(step, amount) for step, (_, amount) in zip(steps, amounts, strict=True)][::-1]


def _gained(series: list[Series], rate: Decimal) -> Decimal:
    """What the payments are worth on the first day, less what the advances are."""
    discounts = {step: (1 + rate) ** -step for step in {step for _, steps in series for step, _ in steps}}
    gained = Decimal(0)
    for fraction, steps in series:
        value = Decimal(0)
        for step, amount in steps:
            value = (value + amount) * discounts[step]
        gained += value / (1 + fraction * rate)
    return gained
