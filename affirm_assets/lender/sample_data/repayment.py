"""What becomes of a loan: its payments, reversals, refunds and recoveries, and the day on which each lands.

A borrower has a habit, from which follow intents (pay so much on that day); a debt, reckoned by the rules of the books,
turns intents into movements. Nothing here reads or writes a file.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import takewhile
from random import Random
from typing import Literal

from affirm_assets.lender.finance.instalment import level_instalment
from affirm_assets.lender.sample_data.draws import Weighted, between, happens
from affirm_assets.lender.sample_data.loans import Loan
from affirm_assets.lender.sample_data.window import SampleWindow
from affirm_assets.lender.vocabulary import LoanKind

Habit = Literal["punctual", "early", "late", "partial", "misses_and_cures", "pays_off", "defaults"]

_HABITS: Weighted[Habit] = Weighted(
    {"punctual": 56, "early": 12, "late": 10, "partial": 6, "misses_and_cures": 6, "pays_off": 6, "defaults": 4}
)
# The books charge a loan off when an instalment is this many days past due; only then is there something to recover.
CHARGE_OFF_DAYS = 120
# An instalment is paid so many days before it falls due, at most.
_DAYS_AHEAD = 7
_LONG_DAYS = 600


@dataclass(frozen=True)
class Intent:
    """To pay on a day: so many cents, or everything that is owed."""

    day: int
    cents: int | None


@dataclass(frozen=True)
class Movement:
    """What moves a loan, in cents and days of the window: when it happened, and when it landed.

    `reverses` is the position, among the loan's movements, of the payment that it reverses.
    """

    kind: LoanKind
    cents: int
    effective: int
    landed: int
    reverses: int | None = None


@dataclass
class Debt:
    """What a loan owes, in cents, by simple interest actual/365 on the day's opening principal."""

    principal: int
    apr: int
    day: int
    interest: int = 0
    credit: int = 0
    # Interest since origination: exact to 8 places of a dollar (millionths of a cent), and what was posted of it.
    accrued: int = 0
    posted: int = 0

    @property
    def owed(self) -> int:
        return self.principal + self.interest

    def advance(self, day: int) -> None:
        # principal * apr / 10,000 / 365 cents a day, times a million, rounded half up.
        daily = (2 * self.principal * self.apr * 100 + 365) // 730
        self.accrued += daily * (day - self.day)
        self.day = day
        total = (self.accrued + 500_000) // 1_000_000
        self.interest += total - self.posted
        self.posted = total

    def pay(self, cents: int) -> tuple[int, int]:
        """Interest first, then principal, the rest is the borrower's credit. Returns the first two."""
        interest = min(cents, self.interest)
        principal = min(cents - interest, self.principal)
        self.interest -= interest
        self.principal -= principal
        self.credit += cents - interest - principal
        return interest, principal

    def refund(self, cents: int) -> None:
        """Principal first, then interest, the rest is the borrower's credit."""
        principal = min(cents, self.principal)
        interest = min(cents - principal, self.interest)
        self.principal -= principal
        self.interest -= interest
        self.credit += cents - principal - interest


@dataclass
class History:
    """The movements of one loan, in order of time and never two on one day, up to a last day."""

    debt: Debt
    last: int
    rng: Random
    movements: list[Movement] = field(default_factory=list)

    def next_day(self, wanted: int) -> bool:
        """Go on to the wanted day, or the first free one after it. False when that is past the last."""
        day = max(wanted, self.debt.day + 1)
        self.debt.advance(min(day, self.last + 1))
        return day <= self.last

    def add(self, kind: LoanKind, cents: int, reverses: int | None = None) -> None:
        self.movements.append(Movement(kind, cents, self.debt.day, self.debt.day, reverses))

    def pay(self, intent: Intent, may_bounce: bool = True) -> None:
        if not self.next_day(intent.day) or self.debt.owed == 0:
            return
        owed = self.debt.owed
        paid = owed if intent.cents is None else min(owed, intent.cents)
        # One who pays the rest sometimes rounds it up to the next five dollars.
        if paid == owed and happens(self.rng, 80):
            paid += -owed % 5_00
        interest, principal = self.debt.pay(paid)
        self.add("payment", paid)
        if self.debt.credit:
            self.give_back_credit()
        elif may_bounce and happens(self.rng, 12):
            self.bounce(interest, principal, intent)

    def bounce(self, interest: int, principal: int, intent: Intent) -> None:
        """The bank takes the payment back; the borrower pays again, so that no debt is left that nobody intends."""
        payment = len(self.movements) - 1
        if not self.next_day(self.debt.day + between(self.rng, 2, 4)):
            return
        self.debt.interest += interest
        self.debt.principal += principal
        self.add("payment_reversal", interest + principal, reverses=payment)
        self.pay(Intent(self.debt.day + between(self.rng, 2, 6), intent.cents), may_bounce=False)

    def refund(self, day: int, cents: int) -> None:
        if not self.next_day(day):
            return
        self.debt.refund(cents)
        self.add("refund", cents)
        if self.debt.credit:
            self.give_back_credit()

    def give_back_credit(self) -> None:
        if self.next_day(self.debt.day + between(self.rng, 3, 10)):
            self.add("credit_refund", self.debt.credit)
            self.debt.credit = 0

    def recover(self, day: int) -> None:
        if not self.next_day(day):
            return
        # Some who were given up simply pay; the books take that for a recovery too.
        kind: LoanKind = "payment" if happens(self.rng, 200) else "recovery"
        self.add(kind, max(1, self.debt.principal * between(self.rng, 10, 60) // 100))


def repay(loan: Loan, window: SampleWindow, last: int, rng: Random) -> list[Movement]:
    """All movements of a loan whose effective day is up to `last`, with the day on which they land, maybe past it.

    A later `last` gives the same ones and more: nothing that happens depends on what happens afterwards.
    """
    delays = Random(rng.getrandbits(64))
    dates = window.due_days(loan.first_due, loan.frequency, loan.instalments)
    due = list(takewhile(lambda day: day <= last + _DAYS_AHEAD, dates))
    habit = _HABITS.draw(rng)
    defaults = habit == "defaults"
    paid = min(rng.randrange(loan.instalments) for _ in range(2)) if defaults else loan.instalments
    # A defaulted loan gets no refund: that might repay it, and then there would be nothing to charge off.
    refund_day = loan.originated + between(rng, 6, 40) if not defaults and happens(rng, 40) else None

    # The books give interest back for a late payment, to a cent that is not foreseeable here: a loan that its borrower
    # will have repaid to zero in a year or two would keep that cent.
    may_be_late = not loan.apr or defaults or (_is_long(loan) and habit != "pays_off" and refund_day is None)

    history = History(Debt(loan.principal, loan.apr, loan.originated), last, rng)
    for intent in _intents(habit, due[:paid], loan.instalments, _instalment_cents(loan), rng):
        if refund_day is not None and refund_day <= intent.day:
            history.refund(refund_day, _refund_cents(loan, rng))
            refund_day = None
        history.pay(intent)
    if refund_day is not None:
        history.refund(refund_day, _refund_cents(loan, rng))
    if paid < len(due) and happens(rng, 600):
        history.recover(due[paid] + CHARGE_OFF_DAYS + between(rng, 5, 30))
    return _landed(history.movements, loan, delays) if may_be_late else history.movements


def _is_long(loan: Loan) -> bool:
    return loan.instalments * (14 if loan.frequency == "biweekly" else 30) > _LONG_DAYS


def _instalment_cents(loan: Loan) -> int:
    principal, apr = Decimal(loan.principal).scaleb(-2), Decimal(loan.apr).scaleb(-2)
    return int(level_instalment(principal, apr, loan.instalments, loan.frequency).scaleb(2))


def _refund_cents(loan: Loan, rng: Random) -> int:
    return loan.principal if happens(rng, 400) else loan.principal * between(rng, 15, 80) // 100


def _intents(habit: Habit, due: list[int], instalments: int, cents: int, rng: Random) -> Iterator[Intent]:
    """What a borrower means to pay for each instalment that falls due; of the last one, all that is left."""
    gap_at = rng.randrange(min(instalments, 6))
    gap = between(rng, 1, min(3, instalments - gap_at))
    for index, day in enumerate(due):
        amount = None if index == instalments - 1 else cents
        if habit == "early":
            yield Intent(day - between(rng, 1, 5), amount)
        elif habit == "late":
            yield Intent(day + between(rng, 0, 25), amount)
        elif habit == "partial" and happens(rng, 400):
            part = cents * between(rng, 30, 70) // 100
            yield Intent(day, part)
            yield Intent(day + between(rng, 5, 12), None if amount is None else cents - part)
        elif habit == "pays_off" and index == gap_at:
            yield Intent(day - between(rng, 1, _DAYS_AHEAD), None)
        elif habit == "misses_and_cures" and gap_at <= index < gap_at + gap:
            if index == gap_at + gap - 1:
                yield Intent(day + between(rng, 5, 28), None if amount is None else gap * cents)
        else:
            yield Intent(day, amount)


def _landed(movements: list[Movement], loan: Loan, rng: Random) -> list[Movement]:
    """Each movement with the day on which it lands: on its own day, or late; even so it may come before its loan."""
    landed: list[Movement] = []
    latest = loan.originated
    for movement in movements:
        day = movement.effective + _delay(rng)
        # What reverses or returns an earlier payment cannot come before it.
        if movement.kind in ("payment_reversal", "credit_refund"):
            day = max(day, latest)
        latest = max(latest, day)
        landed.append(replace(movement, landed=day))
    return landed


def _delay(rng: Random) -> int:
    if happens(rng, 2):
        return between(rng, 36, 50)
    return between(rng, 1, 5) if happens(rng, 20) else 0
