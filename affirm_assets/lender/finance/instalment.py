"""The level instalment of a loan. Due dates, schedules and accrual are not in here."""

from decimal import (
    ROUND_CEILING,
    ROUND_HALF_EVEN,
    ROUND_HALF_UP,
    Context,
    Decimal,
    DivisionByZero,
    InvalidOperation,
    localcontext,
)

from affirm_assets.lender.finance.rules import InstalmentRounding
from affirm_assets.lender.vocabulary import Frequency

# A period as a fraction of the year: (numerator, denominator), because neither fraction is a finite decimal.
_YEARS_IN_PERIOD: dict[Frequency, tuple[int, int]] = {"monthly": (1, 12), "biweekly": (14, 365)}

# Far more digits than any principal has, so that no rounding on the way can reach a cent; and the caller's own
# decimal context, which may be short, has no say.
_CONTEXT = Context(prec=50, rounding=ROUND_HALF_EVEN, traps=[DivisionByZero, InvalidOperation])

# An instalment of exactly 101.00 may come out as 101.00 + 1E-47, which must not be rounded up to 101.01.
_NOISE = Decimal("1E-12")
_CENT = Decimal("0.01")
_ROUNDINGS: dict[InstalmentRounding, str] = {"up": ROUND_CEILING, "nearest": ROUND_HALF_UP}


def level_instalment(
    principal: Decimal,
    apr: Decimal,
    instalments: int,
    frequency: Frequency,
    rounding: InstalmentRounding = "up",
) -> Decimal:
    """The equal payment, at the end of each period, that repays a loan; rounded to the cent.

    The annuity-immediate (Kellison, The Theory of Interest, 3.2): `principal = sum(payment / (1 + rate) ** k for k in
    1..instalments)`, with the nominal rate of one period: `apr / 12`, or `apr * 14 / 365`, which is what 14 days accrue
    at actual/365. At 0 % it is the principal in equal parts. Rounded up, so that over equal periods the last payment is
    never larger than the others.

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
        TypeError: an amount is a `float`.
    """
    _check(principal, apr, instalments, frequency)
    numerator, denominator = _YEARS_IN_PERIOD[frequency]
    with localcontext(_CONTEXT):
        discount = 1 / (1 + apr * numerator / (100 * denominator))
        annuity = Decimal(0)
        # Summed term by term: the closed form divides by the rate, and loses digits when that is small.
        for _ in range(instalments):
            annuity = (annuity + 1) * discount
        rounded = (principal / annuity).quantize(_NOISE).quantize(_CENT, rounding=_ROUNDINGS[rounding])
    return max(rounded, _CENT)


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
    if instalment > 0 and abs(instalment - computed) <= _CENT:
        return None
    numerator, denominator = _YEARS_IN_PERIOD[frequency]
    with localcontext(_CONTEXT):
        interest = (principal * apr * numerator / (100 * denominator)).quantize(_CENT, rounding=ROUND_HALF_UP)
    if instalment <= interest:
        return f"{instalment} never repays the loan, of which a period's interest is {interest}; computed {computed}"
    return f"{instalment} differs by more than a cent from {computed}, which is computed from the loan's other terms"


def _check(principal: Decimal, apr: Decimal, instalments: int, frequency: Frequency) -> None:
    for name, amount in (("principal", principal), ("apr", apr)):
        # mypy sees to this, pandas and JSON do not; and a float that is near enough would only be wrong by a cent.
        if isinstance(amount, float):
            raise TypeError(f"{name}={amount!r}: expected a Decimal, found a float. Make it from text.")
    if not (principal.is_finite() and principal > 0):
        raise ValueError(f"principal={principal}: expected dollars above zero.")
    if not (apr.is_finite() and apr >= 0):
        raise ValueError(f"apr={apr}: expected percent a year, zero or more.")
    if instalments < 1:
        raise ValueError(f"instalments={instalments}: expected one or more.")
    if frequency not in _YEARS_IN_PERIOD:
        raise ValueError(f"frequency={frequency!r}: expected one of {', '.join(_YEARS_IN_PERIOD)}.")
