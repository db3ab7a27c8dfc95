"""The schedule of a loan: what falls due when, and what each instalment pays of interest and principal."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Literal, get_args

from affirm_assets.lender.finance.accrual import CENT, CONTEXT, ZERO, daily_interest, to_cents
from affirm_assets.lender.finance.arguments import check_cents, check_count, check_date, check_rate, check_word
from affirm_assets.lender.finance.instalment import level_payment, rate_of
from affirm_assets.lender.finance.periods import (
    DAY_COUNTS,
    FREQUENCIES,
    WEEKS,
    DayCount,
    PaymentFrequency,
    Span,
    due_days,
    due_on,
    equal_period,
    spans,
    usual_due_day,
    usual_period,
)
from affirm_assets.lender.finance.rounding import ROUNDINGS, Rounding, rounded
from affirm_assets.lender.finance.terms import Terms

InterestRounding = Literal[Rounding, "cumulative"]
INTEREST_ROUNDINGS = (*ROUNDINGS, "cumulative")
PaymentPeriods = Literal["equal", "actual"]
PAYMENT_PERIODS = get_args(PaymentPeriods)

Period = tuple[date, Sequence[Span]]
"""The day on which it ends, when its instalment falls due, and the parts of years that it is."""

Post = Callable[[Decimal, Sequence[Span]], Decimal]
"""(principal, parts of years) -> the interest that a period posts, in cents."""


@dataclass(frozen=True, slots=True)
class Instalment:
    """Dollars. `payment` = `interest` + `principal`; `balance` is the principal that is left after it."""

    number: int
    due_on: date
    payment: Decimal
    interest: Decimal
    principal: Decimal
    balance: Decimal


def schedule(terms: Terms) -> list[Instalment]:
    """The instalments of a borrower who pays each one on its due date, as the books will apply it: `level_schedule` of
    the terms, with the books' day count and rounding. Raises ValueError if the instalment never repays the loan.

    Where the instalment was rounded up, so that the loan is repaid earlier, the schedule ends earlier.
    """
    return level_schedule(
        terms.principal,
        terms.apr,
        terms.instalments,
        originated_on=terms.originated_on,
        first_due_on=terms.first_due_on,
        frequency=terms.frequency,
        day_count="actual/365",
        payment_rounding="up",
        interest_rounding="cumulative",
        payment=terms.instalment,
        due_day=None if terms.frequency == "biweekly" else terms.due_day,
    )


def level_schedule(
    principal: Decimal,
    apr: Decimal,
    instalments: int,
    *,
    originated_on: date,
    first_due_on: date,
    frequency: PaymentFrequency,
    day_count: DayCount,
    payment_rounding: Rounding,
    interest_rounding: InterestRounding,
    payment_periods: PaymentPeriods = "equal",
    payment: Decimal | None = None,
    due_day: int | None = None,
) -> list[Instalment]:
    """The instalments of a loan with simple interest on a declining balance, and a level payment.

    Each payment pays the interest of its period, then principal; what it does not pay of the interest is owed, bears
    none, and is paid first by the next. The last payment is whatever is left, more or less than the others, so that it
    closes to exactly zero. Where the payment was rounded up, or is given, there may be fewer than `instalments`.

    Due dates, and for how much of a year a period bears interest: `finance.periods`, with the sources. The level
    payment is an annuity: `finance.instalment.level_payment`.

    Args:
        principal: amount lent, in dollars with two places; above zero.
        apr: nominal rate a year in percent (`Decimal("14.99")`); zero or more.
        instalments: how many payments; of a given payment, how many at most.
        originated_on: interest accrues from this day on, and for the first time the day after.
        first_due_on: after that. The first period may be shorter or longer than the others.
        frequency: the period from one payment to the next.
        day_count: for how much of a year a period bears interest.
        payment_rounding: of the level payment, to the cent.
        interest_rounding: of each period's interest, to the cent. Or `cumulative`, as the books post it: a day's
            interest is rounded half up to 8 places, and a period's is what the half-up rounded sum of all days since
            the origination has grown by (`finance.accrual`).
        payment_periods: the annuity is of `equal` periods, whatever the dates are; or of the `actual` ones, as the day
            count has them, so that the last payment differs from the others only by what was rounded.
        payment: the level payment, in dollars with two places, instead of the computed one.
        due_day: day of the month on which instalments fall due, if not `finance.periods.usual_due_day`. The first
            falls due on its own date; none if they come by the week.

    Returns:
        The instalments in their order. Amounts are dollars with exactly two places.

    Raises:
        ValueError: an argument is out of its range, or the payment is no more than a usual period's interest, so that
            it never repays the loan.
        TypeError: an amount is no `Decimal`, but a `float` for example; a count no `int`, or a day no `date`.
    """
    check_cents("principal", principal)
    check_rate("apr", apr)
    check_count("instalments", instalments)
    check_word("payment_rounding", payment_rounding, ROUNDINGS)
    check_word("interest_rounding", interest_rounding, INTEREST_ROUNDINGS)
    check_word("payment_periods", payment_periods, PAYMENT_PERIODS)
    _check_periods(originated_on, first_due_on, frequency, day_count, due_day)
    day = due_day or usual_due_day(originated_on, first_due_on)
    due = (due_on(first_due_on, frequency, day, number) for number in range(1, instalments + 1))
    periods: Iterable[Period] = _periods(originated_on, due, day_count, due_days(frequency, day))
    if payment is not None:
        check_cents("payment", payment)
    elif payment_periods == "equal":
        rates = [rate_of(apr, equal_period(frequency, day_count))] * instalments
        payment = level_payment(principal, rates, payment_rounding)
    else:
        periods = list(periods)
        payment = level_payment(principal, [rate_of(apr, *each) for _, each in periods], payment_rounding)
    _check_repays(payment, principal, rate_of(apr, usual_period(frequency, day_count)), interest_rounding)
    post = _cumulative(apr) if interest_rounding == "cumulative" else _by_period(apr, interest_rounding)
    return list(_paid(principal, payment, instalments, periods, post))


def _periods(
    originated_on: date, due: Iterable[date], day_count: DayCount, on_days: tuple[int, ...]
) -> Iterator[Period]:
    since = originated_on
    for day in due:
        yield day, spans(since, day, day_count, on_days)
        since = day


def _paid(
    principal: Decimal, payment: Decimal, instalments: int, periods: Iterable[Period], post: Post
) -> Iterator[Instalment]:
    left, unpaid = principal.quantize(CENT, context=CONTEXT), ZERO
    payment = payment.quantize(CENT, context=CONTEXT)
    for number, (day, of_years) in enumerate(periods, start=1):
        unpaid = CONTEXT.add(unpaid, post(left, of_years))
        owed = CONTEXT.add(left, unpaid)
        paid = owed if number == instalments else min(payment, owed)
        interest = min(paid, unpaid)
        repaid = CONTEXT.subtract(paid, interest)
        left, unpaid = CONTEXT.subtract(left, repaid), CONTEXT.subtract(unpaid, interest)
        yield Instalment(number, day, paid, interest, repaid, left)
        if paid == owed:
            return


def _by_period(apr: Decimal, rounding: Rounding) -> Post:
    """Each period's interest rounded on its own."""

    def post(principal: Decimal, of_years: Sequence[Span]) -> Decimal:
        return rounded(CONTEXT.multiply(principal, rate_of(apr, *of_years)), rounding)

    return post


def _cumulative(apr: Decimal) -> Post:
    """What the rounded sum of all days has grown by: the account's accrual."""
    accrued, posted = Decimal(0), ZERO

    def post(principal: Decimal, of_years: Sequence[Span]) -> Decimal:
        nonlocal accrued, posted
        for days, year in of_years:
            accrued = CONTEXT.fma(daily_interest(principal, apr, Decimal(100 * year)), days, accrued)
        before, posted = posted, to_cents(accrued)
        return CONTEXT.subtract(posted, before)

    return post


def _check_periods(
    originated_on: date, first_due_on: date, frequency: str, day_count: str, due_day: int | None
) -> None:
    check_date("originated_on", originated_on)
    check_date("first_due_on", first_due_on)
    if first_due_on <= originated_on:
        raise ValueError(f"first_due_on={first_due_on}: expected a day after originated_on={originated_on}.")
    check_word("frequency", frequency, FREQUENCIES)
    check_word("day_count", day_count, DAY_COUNTS)
    if due_day is not None and not (1 <= due_day <= 31 and frequency not in WEEKS):
        expected = "none of instalments by the week" if frequency in WEEKS else "a day of the month, 1 to 31"
        raise ValueError(f"due_day={due_day}: expected {expected}.")


def _check_repays(payment: Decimal, principal: Decimal, rate: Decimal, rounding: InterestRounding) -> None:
    interest = CONTEXT.multiply(principal, rate)
    if rounding != "cumulative":
        interest = rounded(interest, rounding)
    if payment <= interest:
        raise ValueError(
            f"payment={payment}: expected more than {to_cents(interest)}, which a period's interest on {principal} "
            "comes to: it never repays the loan."
        )
