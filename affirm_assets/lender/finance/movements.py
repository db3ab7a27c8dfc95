"""What moves a loan's account, what came of it, and when it counts."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from affirm_assets.lender.finance.accrual import ZERO
from affirm_assets.lender.vocabulary import ADJUSTMENT_KINDS, REVERSALS, MovementKind


@dataclass(frozen=True, slots=True)
class Movement:
    """A transaction on a loan, or an adjustment. `posted_on`: the day on which the books apply it; `effective_on`: when
    it happened.

    `reverses` is the transaction that a reversal undoes, or whose money a clear_unapplied clears. `came_on` is the day
    of its row, if not `posted_on`; until then it waited in suspense. `amount` is 0.00 where an adjustment has none.
    """

    transaction_id: str
    kind: MovementKind
    amount: Decimal
    posted_on: date
    effective_on: date
    reverses: str | None = None
    came_on: date | None = None


@dataclass(frozen=True, slots=True)
class Application:
    """What a movement did: where its money went (negative: came from), and what else the posting moved.

    The sum of `interest` to `unapplied` is the money: the amount, negative for what goes out. `recovery_principal` and
    `recovery_interest` come back of what was charged off. Beside the money, `interest_given_back` lowers the interest
    that is owed (negative: raises it, for days of which the books learn now), and `discount_returned` goes back to the
    merchant. `exception` says why the books cannot apply the movement, or all of it; the rest is `unapplied`.
    """

    interest: Decimal = ZERO
    principal: Decimal = ZERO
    credit: Decimal = ZERO
    recovery_principal: Decimal = ZERO
    recovery_interest: Decimal = ZERO
    unapplied: Decimal = ZERO
    interest_given_back: Decimal = ZERO
    discount_returned: Decimal = ZERO
    exception: str | None = None

    @property
    def money(self) -> Decimal:
        recovery = self.recovery_principal + self.recovery_interest
        return self.interest + self.principal + self.credit + recovery + self.unapplied


def in_order(movements: Iterable[Movement]) -> list[Movement]:
    """The order within a day: what comes in, credit refunds, reversals, adjustments; then by effective date and id."""
    return sorted(movements, key=place)


def place(movement: Movement) -> tuple[int, date, str]:
    """So a credit that comes in can be paid out that day, and a decision is about all that came, whatever the ids."""
    if movement.kind in ADJUSTMENT_KINDS:
        rank = 3
    else:
        rank = 1 if movement.kind == "credit_refund" else 2 if movement.kind in REVERSALS else 0
    return rank, movement.effective_on, movement.transaction_id


@dataclass(frozen=True, slots=True)
class Event:
    """A movement that came, on the day on which it counts, and how much of its amount counts.

    What was decided when it came stands: an exception counts for nothing, a credit refund for what was paid out.
    `reversed_before` is what of it was reversed before it came, and does not count. `unapplied` is the money
    that it left unapplied, or, below zero, took from there.
    """

    day: date
    movement: Movement
    amount: Decimal
    reversed_before: Decimal = ZERO
    unapplied: Decimal = ZERO
    exception: str | None = None

    @property
    def counts(self) -> bool:
        """Whether it moves the account: by its amount, or by being decided."""
        is_decision = self.movement.kind in ADJUSTMENT_KINDS and self.exception is None
        return self.amount > 0 or is_decision

    @property
    def order(self) -> tuple[date, int, date, str]:
        return self.day, *place(self.movement)
