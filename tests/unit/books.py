"""Loans and movements to test the books with, and a calendar of their own."""

from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from math import floor
from typing import Any

from affirm_assets.lender.finance.movements import Movement
from affirm_assets.lender.finance.terms import Terms
from affirm_assets.lender.vocabulary import LoanKind


def agreed(**changed: Any) -> Terms:
    """1,000.00 in four months at 18.25 %, which accrues 0.50 a day: five cents a day on each hundred dollars."""
    loan: dict[str, Any] = {
        "principal": "1000.00",
        "apr": "18.25",
        "instalments": 4,
        "frequency": "monthly",
        "originated_on": "2025-01-01",
        "first_due_on": "2025-02-01",
        "merchant_discount": "50.00",
    }
    loan |= changed
    for name in ("principal", "apr", "merchant_discount"):
        loan[name] = Decimal(loan[name])
    for name in ("originated_on", "first_due_on"):
        loan[name] = date.fromisoformat(loan[name])
    return Terms.agreed(**loan)


def moved(
    transaction_id: str, kind: LoanKind, amount: str | Decimal, posted_on: str, *, at: str = "", of: str | None = None
) -> Movement:
    """A movement; `at` is when it happened if not when it was posted, `of` what it reverses."""
    effective_on = date.fromisoformat(at or posted_on)
    return Movement(transaction_id, kind, Decimal(amount), date.fromisoformat(posted_on), effective_on, of)


@lru_cache(maxsize=4096)
def due_on(terms: Terms, number: int) -> date:
    """When an instalment falls due, by a calendar of its own."""
    day = terms.first_due_on
    if terms.frequency == "biweekly":
        return day + timedelta(days=14 * (number - 1))
    if number == 1:
        return day
    months = day.year * 12 + day.month - 1 + number - 1
    next_month = date((months + 1) // 12, (months + 1) % 12 + 1, 1)
    return min(
        date(months // 12, months % 12 + 1, 1) + timedelta(days=terms.due_day - 1), next_month - timedelta(days=1)
    )


def half_up(amount: Fraction) -> int:
    return floor(amount + Fraction(1, 2))


def cents(amount: Decimal) -> int:
    whole = Fraction(amount) * 100
    assert whole.denominator == 1, f"{amount} has a fraction of a cent"
    return whole.numerator


def dollars(amount: int | Fraction) -> Decimal:
    """Of cents, half up."""
    return Decimal(half_up(Fraction(amount))).scaleb(-2)
