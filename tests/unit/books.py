"""Loans and movements to test the books with, and books that share no code with them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
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


@dataclass
class PlainBooks:
    """Payments and refunds of one loan in order of time, day by day and in whole numbers: nothing late, nothing undone.

    Cents, but `accrued`, which is in units of 1E-8 dollars.
    """

    terms: Terms
    principal: int
    interest: int = 0
    credit: int = 0
    accrued: int = 0
    paid: int = 0

    @staticmethod
    def of(terms: Terms, movements: Iterable[Movement], last: date) -> "PlainBooks":
        books = PlainBooks(terms, cents(terms.principal))
        by_day: dict[date, list[Movement]] = {}
        for movement in movements:
            by_day.setdefault(max(movement.effective_on, terms.originated_on), []).append(movement)
        day = terms.originated_on
        while True:
            for movement in sorted(by_day.pop(day, []), key=lambda m: (m.effective_on, m.transaction_id)):
                books._take(movement)
            if day == last:
                return books
            day += timedelta(days=1)
            books._accrue()

    def _accrue(self) -> None:
        a_day = Fraction(self.principal) * Fraction(self.terms.apr) / 36_500 * 10**6
        before = half_up(Fraction(self.accrued, 10**6))
        self.accrued += half_up(a_day)
        self.interest += half_up(Fraction(self.accrued, 10**6)) - before

    def _take(self, movement: Movement) -> None:
        left = cents(movement.amount)
        for owed in ("interest", "principal") if movement.kind == "payment" else ("principal", "interest"):
            part = min(left, getattr(self, owed))
            setattr(self, owed, getattr(self, owed) - part)
            left -= part
        self.credit += left
        if movement.kind == "payment":
            self.paid += cents(movement.amount) - left


def half_up(amount: Fraction) -> int:
    return floor(amount + Fraction(1, 2))


def cents(amount: Decimal) -> int:
    whole = Fraction(amount) * 100
    assert whole.denominator == 1, f"{amount} has a fraction of a cent"
    return whole.numerator


def dollars(amount: int | Fraction) -> Decimal:
    """Of cents, half up."""
    return Decimal(half_up(Fraction(amount))).scaleb(-2)
