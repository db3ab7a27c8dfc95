"""Loans and movements to test the books with, and books that share no code with them."""

from collections.abc import Iterable
from dataclasses import dataclass
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


@dataclass
class PlainBooks:
    """What docs/money.md says of one loan, day by day and in whole numbers: everything on the day on which it counts.

    Cents, but `accrued`, which is in units of 1E-8 dollars. `lost_...` is what was charged off and has not come back.
    """

    terms: Terms
    booked_on: date
    principal: int
    last_instalment: int = 0
    interest: int = 0
    credit: int = 0
    accrued: int = 0
    paid: int = 0
    shortage: int = 0
    refunded: int = 0
    highest_days_past_due: int = 0
    charged_off_on: date | None = None
    charged_off_principal: int = 0
    charged_off_interest: int = 0
    lost_principal: int = 0
    lost_interest: int = 0
    waived_principal: int = 0
    waived_interest: int = 0

    @staticmethod
    def of(terms: Terms, booked_on: date, movements: Iterable[Movement], last: date) -> "PlainBooks":
        """The loan at the end of a day. Movements are decided upon as they come, and count when they happened."""
        known: list[_Counted] = []
        for movement in sorted(movements, key=lambda each: (each.posted_on, *_in_a_day(each))):
            _decide(terms, booked_on, known, movement)
        return PlainBooks._replayed(terms, booked_on, known, last, is_over=True)

    @staticmethod
    def _replayed(
        terms: Terms, booked_on: date, known: Iterable["_Counted"], last: date, *, is_over: bool
    ) -> "PlainBooks":
        books = PlainBooks(terms, booked_on, cents(terms.principal))
        books.last_instalment = books._last_of_the_punctual([])
        by_day: dict[date, list[_Counted]] = {}
        for each in known:
            by_day.setdefault(each.day, []).append(each)
        refunds: list[tuple[date, int]] = []
        day = terms.originated_on
        while True:
            for each in sorted(by_day.get(day, []), key=lambda each: _in_a_day(each.movement)):
                books._take(day, each)
                if each.movement.kind == "refund" and each.cents:
                    refunds.append((day, each.cents))
            if day == last and not is_over:
                return books
            books._end(day, refunds)
            if day == last:
                return books
            day += timedelta(days=1)
            books._accrue()

    @property
    def owed(self) -> int:
        return self.principal + self.interest

    @property
    def recovered_principal(self) -> int:
        return self.charged_off_principal - self.lost_principal

    @property
    def recovered_interest(self) -> int:
        return self.charged_off_interest - self.lost_interest

    @property
    def discount_returned(self) -> int:
        return half_up(Fraction(cents(self.terms.merchant_discount) * self.refunded, cents(self.terms.principal)))

    @property
    def oldest_due_on(self) -> date | None:
        if not self.owed and self.charged_off_on is None:
            return None
        return due_on(self.terms, min(self._met, self.last_instalment - 1) + 1)

    @property
    def _met(self) -> int:
        return (self.paid + self.shortage) // cents(self.terms.instalment)

    def _accrue(self) -> None:
        before = _to_cents(self.accrued)
        self.accrued += _a_day(self.terms, self.principal)
        self.interest += _to_cents(self.accrued) - before

    def _take(self, day: date, counted: "_Counted") -> None:
        amount, kind = counted.cents, counted.movement.kind
        if kind in ("payment", "recovery"):
            was_owed = self.owed
            self._pay(amount, "interest", "principal")
            if self.charged_off_on is None:
                self.paid += was_owed - self.owed
                self._carry_what_is_missing()
        elif kind == "refund" and amount:
            self.refunded += amount
            self._pay(amount, "principal", "interest")
            is_all = self.refunded == cents(self.terms.principal) and day <= self.terms.first_due_on
            if is_all and self.terms.rules.interest_after_full_refund == "given_back":
                self._give_back(self.accrued)
        elif kind == "credit_refund":
            self.principal += max(amount - self.credit, 0)
            self.credit = max(self.credit - amount, 0)
        self._give_back(counted.accrual_waived)

    def _pay(self, amount: int, *order: str) -> None:
        """Money that came in goes to what is owed, in order, or after the charge-off to what was lost."""
        for pot in order if self.charged_off_on is None else ("lost_principal", "lost_interest"):
            part = min(amount, getattr(self, pot))
            setattr(self, pot, getattr(self, pot) - part)
            amount -= part
        self.credit += amount

    def _carry_what_is_missing(self) -> None:
        level, rules = cents(self.terms.instalment), self.terms.rules
        missing = -(self.paid + self.shortage) % level
        enough = missing * 100 <= level * (100 - Fraction(rules.instalment_met_at))
        if missing and (enough or self.shortage + missing <= cents(rules.shortages_carried)):
            self.shortage += missing

    def _give_back(self, accrual: int) -> None:
        """Interest counts as never accrued. What of it was paid already pays other things."""
        before = _to_cents(self.accrued)
        self.accrued = max(self.accrued - accrual, 0)
        left = before - _to_cents(self.accrued)
        owed = min(left, self.interest)
        self.interest -= owed
        left -= owed
        if self.charged_off_on is not None:
            charged = min(left, self.charged_off_interest)
            self.charged_off_interest -= charged
            lost = min(charged, self.lost_interest)
            self.lost_interest -= lost
            left -= lost
        waived = min(left, self.waived_interest)
        self.waived_interest -= waived
        self._pay(left - waived, "principal")

    def _end(self, day: date, refunds: list[tuple[date, int]]) -> None:
        if self.charged_off_on is None and any(refunded_on == day for refunded_on, _ in refunds):
            self.last_instalment = max(self._last_of_the_punctual(refunds), min(self.last_instalment, self._met + 1))
        is_small = self.charged_off_on is None and self.owed < cents(self.terms.rules.waived_below)
        if is_small and day >= self.booked_on and day > due_on(self.terms, self.last_instalment):
            self.waived_principal += self.principal
            self.waived_interest += self.interest
            self.principal = self.interest = 0
        late = 0
        if self.owed and self.charged_off_on is None:
            assert self.oldest_due_on
            late = max((day - self.oldest_due_on).days, 0)
        self.highest_days_past_due = max(self.highest_days_past_due, late)
        if self.charged_off_on or (late >= 120 and day >= self.booked_on):
            self.charged_off_on = self.charged_off_on or day
            self.charged_off_principal += self.principal
            self.charged_off_interest += self.interest
            self.lost_principal += self.principal
            self.lost_interest += self.interest
            self.principal = self.interest = 0

    def _last_of_the_punctual(self, refunds: list[tuple[date, int]]) -> int:
        """How many instalments one pays who pays each on its due date, one at least."""
        punctual = PlainBooks(self.terms, self.booked_on, cents(self.terms.principal))
        to_come, day, number = list(refunds), self.terms.originated_on, 1
        while number <= self.terms.instalments:
            while to_come and to_come[0][0] == day and day < due_on(self.terms, number):
                _, amount = to_come.pop(0)
                refund = Movement("", "refund", Decimal(amount).scaleb(-2), day, day)
                punctual._take(day, _Counted(day, refund, amount))
            if not punctual.owed:
                return max(number - 1, 1)
            if day == due_on(self.terms, number):
                punctual._pay(cents(self.terms.instalment), "interest", "principal")
                number += 1
            else:
                day += timedelta(days=1)
                punctual._accrue()
        return self.terms.instalments


@dataclass
class _Counted:
    """A movement on the day on which it counts, with as much of it as counts, and what of it was taken back."""

    day: date
    movement: Movement
    came: int
    taken_back: int = 0
    accrual_waived: int = 0
    reverses_nothing: bool = False

    @property
    def cents(self) -> int:
        return self.came - self.taken_back


def _decide(terms: Terms, booked_on: date, known: list[_Counted], movement: Movement) -> None:
    """Add a movement to those that are known: how much of it counts is decided when it comes."""

    def so_far() -> PlainBooks:
        return PlainBooks._replayed(terms, booked_on, known, movement.posted_on, is_over=False)

    amount, comes_in = cents(movement.amount), movement.kind in ("payment", "recovery", "refund")
    counted = _Counted(max(movement.effective_on, terms.originated_on) if comes_in else movement.posted_on, movement, 0)
    if movement.kind in _REVERSIBLE:
        of = [each for each in known if each.movement.transaction_id == movement.reverses]
        of = [each for each in of if each.movement.kind in _REVERSIBLE[movement.kind]]
        counted.reverses_nothing = not of
        if of and amount <= of[0].cents:
            before = so_far().accrued
            of[0].taken_back += amount
            if movement.kind == "payment_reversal" and terms.rules.returned_payment == "waived":
                counted.accrual_waived = max(so_far().accrued - before, 0)
    elif movement.kind == "credit_refund":
        counted.came = min(amount, so_far().credit)
    else:
        waited = sum(
            cents(each.movement.amount)
            for each in known
            if each.reverses_nothing
            and each.movement.reverses == movement.transaction_id
            and movement.kind in _REVERSIBLE[each.movement.kind]
            and (movement.posted_on - each.movement.posted_on).days <= 35
        )
        counted.came = max(amount - waited, 0)
        refunded = sum(each.cents for each in known if each.movement.kind == "refund")
        if movement.kind == "refund" and refunded + counted.came > cents(terms.principal):
            counted.came = 0
    known.append(counted)


_REVERSIBLE: dict[str, tuple[str, ...]] = {
    "payment_reversal": ("payment", "recovery"),
    "refund_reversal": ("refund",),
}


def _in_a_day(movement: Movement) -> tuple[int, date, str]:
    last = ("payment", "recovery", "refund"), ("credit_refund",), ("payment_reversal", "refund_reversal")
    [rank] = [number for number, kinds in enumerate(last) if movement.kind in kinds]
    return rank, movement.effective_on, movement.transaction_id


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


@lru_cache(maxsize=4096)
def _a_day(terms: Terms, principal: int) -> int:
    return half_up(Fraction(principal) * Fraction(terms.apr) / 36_500 * 10**6)


def _to_cents(accrued: int) -> int:
    return (accrued + 500_000) // 10**6


def half_up(amount: Fraction) -> int:
    return floor(amount + Fraction(1, 2))


def cents(amount: Decimal) -> int:
    whole = Fraction(amount) * 100
    assert whole.denominator == 1, f"{amount} has a fraction of a cent"
    return whole.numerator


def dollars(amount: int | Fraction) -> Decimal:
    """Of cents, half up."""
    return Decimal(half_up(Fraction(amount))).scaleb(-2)
