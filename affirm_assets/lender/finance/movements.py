"""What moves a loan's account, what came of it, and when it counts."""

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal

from affirm_assets.lender.finance.accrual import ZERO
from affirm_assets.lender.vocabulary import LoanKind


@dataclass(frozen=True, slots=True)
class Movement:
    """A transaction on a loan. `posted_on`: the day on which the books apply it; `effective_on`: when it happened.

    `came_on`: the day of its row, if not `posted_on`; until then it waited in suspense.
    """

    transaction_id: str
    kind: LoanKind
    amount: Decimal
    posted_on: date
    effective_on: date
    reverses: str | None = None
    came_on: date | None = None


@dataclass(frozen=True, slots=True)
class Application:
    """What a movement did: where its money went (negative: came from), and what else the posting moved.

    `interest + principal + credit + recovery + unapplied` is the money: the amount, negative for what goes out.
    `met` is what of it counts toward instalments. Beside the money, `interest_given_back` lowers the interest that is
    owed, and `discount_returned` goes back to the merchant. `accrual_given_back` is the former before it is rounded.
    `exception` says why the books cannot apply the movement; its money is then `unapplied`.
    """

    interest: Decimal = ZERO
    principal: Decimal = ZERO
    credit: Decimal = ZERO
    recovery: Decimal = ZERO
    unapplied: Decimal = ZERO
    met: Decimal = ZERO
    interest_given_back: Decimal = ZERO
    accrual_given_back: Decimal = ZERO
    discount_returned: Decimal = ZERO
    exception: str | None = None

    @property
    def money(self) -> Decimal:
        return self.interest + self.principal + self.credit + self.recovery + self.unapplied

    def with_set_off(self, interest: Decimal, principal: Decimal, met: Decimal) -> "Application":
        """What it is once so much interest and principal was paid out of its credit, and met instalments."""
        return replace(
            self,
            interest=self.interest + interest,
            principal=self.principal + principal,
            credit=self.credit - interest - principal,
            met=self.met + met,
        )


def in_order(movements: Iterable[Movement]) -> list[Movement]:
    """The order within a day: what comes in, credit refunds, reversals; of these by effective date, then by id."""
    return sorted(movements, key=_place)


def _place(movement: Movement) -> tuple[int, date, str]:
    """So a credit that comes in can be paid out that day, whatever the ids."""
    rank = {"credit_refund": 1, "payment_reversal": 2}.get(movement.kind, 0)
    return rank, movement.effective_on, movement.transaction_id


@dataclass(frozen=True, slots=True)
class Event:
    """A movement that was applied, on the day on which it counts when the account is replayed in order of time."""

    day: date
    movement: Movement
    application: Application = Application()
    is_as_posted: bool = False

    @property
    def order(self) -> tuple[date, int, date, str]:
        return self.day, *_place(self.movement)

    def as_of(self, reversed_by_now: AbstractSet[str | None]) -> "Event":
        """The event as a replay takes it, as of when these movements have been reversed.

        What was paid out was, whatever the credit would have been. A late payment that was reversed is replayed as it
        was posted, on the day it came: its reversal takes that back too.
        """
        m = self.movement
        is_late_and_reversed = self.day < m.posted_on and m.transaction_id in reversed_by_now
        if m.kind == "credit_refund" or is_late_and_reversed:
            return replace(self, day=m.posted_on, is_as_posted=True)
        return self


def reversed_ids(events: Iterable[Event]) -> set[str | None]:
    """The ids of what was reversed by a reversal that was applied. None is among them, which no movement's id is."""
    return {event.movement.reverses for event in events if event.application.exception is None}


def standing(events: Sequence[Event]) -> list[Event]:
    """The payments, refunds and payouts of credit that were applied and not reversed, in order of time."""
    reversed_by_now = reversed_ids(events)
    return sorted(
        (
            event.as_of(reversed_by_now)
            for event in events
            if event.movement.kind in ("payment", "refund", "credit_refund")
            and event.application.exception is None
            and event.movement.transaction_id not in reversed_by_now
        ),
        key=lambda each: each.order,
    )
