"""The level payment of a loan. Due dates, schedules and accrual are not in here."""

from collections.abc import Sequence
from decimal import ROUND_FLOOR, Decimal, localcontext
from itertools import groupby

from affirm_assets.lender.finance.accrual import CENT, CONTEXT, to_cents
from affirm_assets.lender.finance.arguments import check_count, check_money, check_rate, check_word
from affirm_assets.lender.finance.periods import Span, equal_period
from affirm_assets.lender.finance.rounding import Rounding, rounded
from affirm_assets.lender.finance.rules import InstalmentRounding
from affirm_assets.lender.vocabulary import Frequency

_FREQUENCIES: tuple[Frequency, ...] = ("monthly", "biweekly")
_ROUNDINGS: dict[InstalmentRounding, Rounding] = {"up": "up", "nearest": "half_up"}


def level_instalment(
    principal: Decimal,
    apr: Decimal,
    instalments: int,
    frequency: Frequency,
    rounding: InstalmentRounding = "up",
) -> Decimal:
    """The level payment of the books' loans, over equal periods (`level_payment`).

    The rate of a period is `apr / 12`, or `apr * 14 / 365`, which is what 14 days accrue at actual/365. Rounded up, so
    that over equal periods the last payment is never larger than the others.

    Args:
        principal: amount lent, in dollars; above zero.
        apr: nominal rate a year in percent (`Decimal("14.99")`); zero or more.
        instalments: how many payments; one or more.
        frequency: the period from one payment to the next.
        rounding: up to the next cent, or to the nearest, half up.

    Returns:
        Dollars, with exactly two decimal places; a cent or more.

    Raises:
        ValueError: an argument is out of its range, not finite, or names an unknown frequency.
        TypeError: an amount is no `Decimal`, but a `float` for example; or the count is no `int`.
    """
    check_money("principal", principal)
    check_rate("apr", apr)
    check_count("instalments", instalments)
    check_word("frequency", frequency, _FREQUENCIES)
    rate = rate_of(apr, equal_period(frequency, "actual/365"))
    return level_payment(principal, [rate] * instalments, _ROUNDINGS[rounding])


def level_payment(principal: Decimal, rates: Sequence[Decimal], rounding: Rounding) -> Decimal:
    """The payment, the same at the end of each period, that repays a loan; rounded to the cent.

    The annuity-immediate (Kellison, The Theory of Interest, 3.2), of periods that may differ: `principal = sum(payment
    / ((1 + rate_1) * ... * (1 + rate_k)))` over each period k. At 0 % it is the principal in equal parts. Where that
    rounds to no more than the interest of the shortest period, which would never repay the loan, it is the next cent.

    rates: the fraction of the principal that each period bears as interest, in the order of the periods.
    """
    with localcontext(CONTEXT):
        annuity = Decimal(0)
        # Summed term by term: the closed form divides by the rate, and loses digits when that is small.
        for rate, alike in groupby(reversed(rates)):
            discount = 1 / (1 + rate)
            for _ in alike:
                annuity = (annuity + 1) * discount
        least = (principal * min(rates)).quantize(CENT, rounding=ROUND_FLOOR) + CENT
        return max(rounded(principal / annuity, rounding), least)


def rate_of(apr: Decimal, *spans: Span) -> Decimal:
    """The fraction of a principal that it bears as interest at `apr` percent a year, over these parts of years."""
    with localcontext(CONTEXT):
        return sum((apr * days / (100 * year) for days, year in spans), Decimal(0))


def contract_problem(
    instalment: Decimal,
    principal: Decimal,
    apr: Decimal,
    instalments: int,
    frequency: Frequency,
    rounding: InstalmentRounding = "up",
) -> str | None:
    """Why an instalment that the contract states cannot be this loan's; None if it can. It may be off by a cent.

    Contracts round the annuity up, down or to the nearest; who states any other amount has other terms in mind.
    """
    computed = level_instalment(principal, apr, instalments, frequency, rounding)
    with localcontext(CONTEXT):
        interest = principal * rate_of(apr, equal_period(frequency, "actual/365"))
        if instalment > interest and abs(instalment - computed) <= CENT:
            return None
    if instalment <= to_cents(interest):
        posted = to_cents(interest)
        return f"{instalment} never repays the loan, of which a period's interest is {posted}; computed {computed}"
    return f"{instalment} differs by more than a cent from {computed}, which is computed from the loan's other terms"
