"""A loan's account: what each movement does to it, and what each day does. The rules of the books, once.

All amounts are dollars with two places but `accrued` and `deferred_discount`, which have eight. An account is moved on
with `go_to(day)`, then `apply(movement)` for each of the day's movements in the order of `in_order`, then `close()`.

What comes late, and what is reversed, changes days that are closed. Then the account is replayed: made anew from all
that is known now, in order of time. What it differs by from what was posted is posted today.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache

from affirm_assets.lender.finance.accrual import ACCRUED_PLACES, CENT, ZERO, daily_interest, to_cents
from affirm_assets.lender.finance.delinquency import CHARGE_OFF_DAYS, days_past_due, shortage_after
from affirm_assets.lender.finance.discount import earned_of_discount
from affirm_assets.lender.finance.movements import Application, Event, Movement
from affirm_assets.lender.finance.periods import months_after
from affirm_assets.lender.finance.terms import Terms
from affirm_assets.lender.vocabulary import (
    ADJUSTMENT_KINDS,
    FORGIVES,
    REVERSALS,
    ChargeOffCause,
    LoanStatus,
    MovementKind,
)

EARLY_REVERSAL_DAYS = 35
"""For how long, from the day it came, a reversal waits for its payment: the look-back of the feeds."""

_REVERSES: Mapping[MovementKind, tuple[MovementKind, ...]] = {
    "payment_reversal": ("payment", "recovery"),
    "refund_reversal": ("refund",),
}
WAITS_FOR_ITS_ORIGINAL: Mapping[MovementKind, str] = {
    "payment_reversal": "reverses no payment or recovery of this loan",
    "refund_reversal": "reverses no refund of this loan",
}
"""The exception of a reversal of what has not come; the money of both comes to nothing if it does."""

WAITS_TO_BE_CHARGED_OFF: Mapping[ChargeOffCause, int] = {
    "bankruptcy": 60,
    "fraud": 90,
    "death": 60,
    "settlement": 0,
    "debt_sale": 0,
}
"""Days from the notice, discovery or determination to the charge-off, at the latest: FFIEC, 65 FR 36903. What is left
of a debt that is settled in part or sold is charged off on the day."""

NEED_EVENTS: tuple[MovementKind, ...] = (*REVERSALS, "refund", "clear_unapplied")
"""The kinds that do something by what happened before, even if they come in time."""

_REVERSED_BEFORE = "was reversed before it came"

_A_DAY = timedelta(days=1)

Refund = tuple[date, Decimal]


@dataclass(slots=True)
class Account:
    """What a loan owes at the end of `day`, and what has become of it so far.

    `principal` and `interest` are owed by the borrower, `credit` to the borrower, since `credit_since`. `accrued` is
    all interest since the origination, less what was given back; `paid` what payments have met of instalments,
    `shortage` what is missing of those that count as met; `last_instalment` the number of the last one, which is the
    schedule's as long as refunds take none off the end; `refunded` and `discount_returned` what the merchant gave back
    and got back; `charge_off_by` the day on which it is charged off for `charge_off_cause`, at the latest; `reaged_on`
    the day of an undone charge-off, from which days past due are counted anew; `waived_...` small debts that were
    waived after the last due date; `nonaccrual_since` the day since which interest is no income until it is paid;
    `cost_recovered` the interest that was paid since then and is no income yet, and `deferred_discount` the merchant
    discount that is none yet: of a charged-off loan both lower the loss; `settled_on` the day since which nothing is
    owed either way, null while something is and once charged off; `unapplied` the money, in less out, that could not be
    applied: a reversal among it may wait for its payment.

    `events` are the movements so far, known only if the account was opened here and not taken over from the day before.
    A late movement, a reversal or a refund needs them, and a payment whose reversal came before.
    """

    terms: Terms
    day: date
    booked_on: date
    principal: Decimal
    last_instalment: int
    interest: Decimal = ZERO
    credit: Decimal = ZERO
    accrued: Decimal = ZERO
    paid: Decimal = ZERO
    shortage: Decimal = ZERO
    refunded: Decimal = ZERO
    discount_returned: Decimal = ZERO
    highest_days_past_due: int = 0
    charge_off_by: date | None = None
    charge_off_cause: ChargeOffCause | None = None
    reaged_on: date | None = None
    charged_off_on: date | None = None
    charged_off_principal: Decimal = ZERO
    charged_off_interest: Decimal = ZERO
    recovered_principal: Decimal = ZERO
    recovered_interest: Decimal = ZERO
    waived_principal: Decimal = ZERO
    waived_interest: Decimal = ZERO
    nonaccrual_since: date | None = None
    cost_recovered: Decimal = ZERO
    deferred_discount: Decimal = ZERO
    settled_on: date | None = None
    credit_since: date | None = None
    unapplied: Decimal = ZERO
    events: list[Event] | None = field(default=None, repr=False)

    @staticmethod
    def opened(terms: Terms, booked_on: date | None = None) -> "Account":
        """The account at the end of the day of origination, with nothing accrued and no movement yet.

        booked_on: when the books learned of it, if not on that day.
        """
        return Account(
            terms,
            terms.originated_on,
            booked_on or terms.originated_on,
            terms.principal,
            _last_in_time(terms, ()),
            deferred_discount=terms.deferred_discount,
            events=[],
        )

    @property
    def owed(self) -> Decimal:
        """Principal and interest that the borrower owes."""
        return self.principal + self.interest

    @property
    def is_owed(self) -> bool:
        return self.principal > 0 or self.interest > 0

    @property
    def payoff_amount(self) -> Decimal:
        """What pays the loan off at the end of the day; of a charged-off one, what did not come back of the loss."""
        if self.charged_off_on is None:
            return self.owed
        lost = self.charged_off_principal + self.charged_off_interest
        return lost - self.recovered_principal - self.recovered_interest

    @property
    def is_credit_old(self) -> bool:
        """Whether there is a credit balance for more than six months: it is to be paid out (12 CFR 1026.21(c))."""
        return self.credit_since is not None and self.day > months_after(self.credit_since, 6)

    @property
    def status(self) -> LoanStatus:
        if self.charged_off_on is not None:
            return "charged_off"
        return "open" if self.is_owed else "repaid"

    @property
    def instalments_met(self) -> int:
        """How many instalments payments have met, the last of the schedule not among them while something is owed."""
        return min(self._met, self.last_instalment - 1)

    @property
    def _met(self) -> int:
        return int((self.paid + self.shortage) // self.terms.instalment)

    @property
    def oldest_due_on(self) -> date | None:
        """When the oldest unmet instalment falls or fell due; null if the borrower has paid all that was owed."""
        if self.is_owed or self.charged_off_on is not None:
            return self.terms.due_on(self.instalments_met + 1)
        return None

    @property
    def days_past_due(self) -> int:
        """Of an open loan, at the end of the day; zero of another."""
        late_since = self.late_since
        return days_past_due(late_since, self.day) if late_since else 0

    @property
    def closes_on(self) -> date | None:
        """The next day that ends with a charge-off or a waiver if nothing happens before; null if none does."""
        late_since = self.late_since
        if late_since is None:
            return None
        due = [late_since + timedelta(days=CHARGE_OFF_DAYS)]
        if self.charge_off_by is not None:
            due.append(self.charge_off_by)
        if self.owed < self.terms.rules.waived_below:
            due.append(self._last_due_on + timedelta(days=1))
        to_come = [day for each in due if (day := max(each, self.booked_on)) > self.day]
        return min(to_come, default=None)

    @property
    def late_since(self) -> date | None:
        """The day from which an open loan's days past due are counted; null of another."""
        due_on = self.oldest_due_on if self.charged_off_on is None else None
        return due_on if due_on is None or self.reaged_on is None else max(due_on, self.reaged_on)

    @property
    def _last_due_on(self) -> date:
        return self.terms.due_on(self.last_instalment)

    def go_to(self, day: date) -> Decimal:
        """Go on to a day, as long as none in between closes with more than interest. Returns what `begin` does."""
        late_since = self.late_since
        if day > self.day and late_since:
            yesterday = day - _A_DAY
            self.end_late(days_past_due(late_since, yesterday), yesterday)
        return self.begin(day, late_since)

    def end_late(self, late: int, day: date) -> None:
        """A day ends so many days past due."""
        self.highest_days_past_due = max(self.highest_days_past_due, late)
        after = self.terms.rules.nonaccrual_after
        if after is not None and late >= after and self.nonaccrual_since is None:
            self.nonaccrual_since = day - timedelta(days=late - after)

    def begin(self, day: date, late_since: date | None) -> Decimal:
        """Begin the next day: accrue, on the principal that the days began with. Returns the interest it posts.

        late_since: the account's, which who goes day by day need not ask for each of them.
        """
        before, a_days_interest = to_cents(self.accrued), daily_interest(self.principal, self.terms.apr)
        self.accrued += a_days_interest * (day - self.day).days
        if self.deferred_discount and self.charged_off_on is None:
            self._earn_discount(day, late_since, a_days_interest)
        self.day = day
        interest = to_cents(self.accrued) - before
        self.interest += interest
        return interest

    def _earn_discount(self, until: date, late_since: date | None, a_days_interest: Decimal) -> None:
        """What the days up to one earn of the discount: nothing in nonaccrual (ASC 310-20-35-17).

        What is past due earns none: the method goes by what the contract says (ASC 310-20-35-26).
        """
        terms, day = self.terms, self.day
        earns_until = until if self.nonaccrual_since is None else min(until, self.nonaccrual_since)
        while day < earns_until:
            principal, interest = self.principal, a_days_interest
            if late_since is not None and late_since < day:
                principal = min(principal, self._scheduled_principal(day))
                interest = daily_interest(principal, terms.apr)
            self.deferred_discount -= earned_of_discount(
                self.deferred_discount, principal, interest, terms.effective_rate
            )
            day += _A_DAY

    def apply(self, movement: Movement) -> Application:
        """Apply a movement on the account's day. Raises ValueError if it needs events and there are none, or if it has
        not happened yet."""
        if self.needs_events(movement):
            self._known_events(movement)
        if movement.effective_on > self.day:
            raise ValueError(f"transaction {movement.transaction_id}: {movement.effective_on} is after {self.day}.")
        event = self._decided(movement)
        before, accrued, discount_returned = self._applied(), to_cents(self.accrued), self.discount_returned
        if event.counts:
            if movement.kind in REVERSALS or event.day < self.day:
                self._post_by_replay(event)
            else:
                self._take(event)
        moved = {name: amount - before[name] for name, amount in self._applied().items()}
        done = Application(
            **moved,
            interest_given_back=accrued - to_cents(self.accrued),
            discount_returned=self.discount_returned - discount_returned,
            exception=event.exception,
        )
        unapplied = self._left_unapplied(event, done.money)
        self.unapplied += unapplied
        if self.events is not None:
            self.events.append(replace(event, unapplied=unapplied))
        return replace(done, unapplied=unapplied)

    def _left_unapplied(self, event: Event, applied: Decimal) -> Decimal:
        """What of a movement's money is not applied. Of an adjustment there is none, but for what it clears."""
        kind, amount = event.movement.kind, event.movement.amount
        if kind == "clear_unapplied" and event.exception is None:
            return -applied if event.amount else amount
        if kind in ADJUSTMENT_KINDS:
            return ZERO
        return (-amount if _goes_out(kind) else amount) - applied

    def close(self) -> None:
        """End the day: waive what little is owed after the last due date, or charge off what is 120 days past due.

        Also what a credit refund left owed on a charged-off loan: more was paid out of its credit than is there now.
        """
        refunds = _standing_refunds(self.events or ()) if self.refunded and not self.charged_off_on else ()
        if any(day == self.day for day, _ in refunds):
            self.last_instalment = self._last_left(refunds)
        if self._is_waived:
            self.waived_principal += self.principal
            self.waived_interest += self.interest
            self.principal = self.interest = ZERO
        self.end_late(self.days_past_due, self.day)
        if self._is_charged_off:
            self.charged_off_on = self.charged_off_on or self.day
            self.charged_off_principal += self.principal
            self.charged_off_interest += self.interest
            self.principal = self.interest = ZERO
        self._recognize_income()
        is_settled = self.charged_off_on is None and not (self.is_owed or self.credit)
        self.settled_on = (self.settled_on or self.day) if is_settled else None
        self.credit_since = (self.credit_since or self.day) if self.credit else None

    def _recognize_income(self) -> None:
        """At the end of a day: whether the loan accrues to income again, and what is deferred no longer.

        It does when no instalment is due and unpaid, and it is not to be charged off for another cause (FFIEC, call
        report instructions, "Nonaccrual Status"). No more is deferred than is still to come back, or than the merchant
        has not got back: what exceeds it is income.
        """
        if self.charged_off_on is not None:
            to_come = self.charged_off_principal - self.recovered_principal
        else:
            due_on = self.oldest_due_on
            if due_on is None or (due_on >= self.day and self.charge_off_by is None):
                self.nonaccrual_since = None
            to_come = self.principal
        self.cost_recovered = min(self.cost_recovered, to_come)
        kept = self.terms.merchant_discount - self.discount_returned
        self.deferred_discount = min(self.deferred_discount, kept, to_come - self.cost_recovered)

    def _scheduled_principal(self, day: date, ahead: int = 0) -> Decimal:
        """By the terms, less what was refunded: instalments at the end fall due no more. To the interest on that."""
        return max(self.terms.scheduled_principal(day, ahead) - self.refunded, ZERO)

    def _repay(self, principal: Decimal, *, ahead: int | None = None) -> None:
        """Lower the principal. What is repaid before its time takes its share of the deferred discount along.

        ahead: how many instalments may come before their due dates without that; None for a refund, which is none.
        """
        if self.deferred_discount:
            left, before = self.principal - principal, self.principal
            if ahead is not None:
                before = min(before, self._scheduled_principal(self.day, ahead))
            if left < before:
                share = self.deferred_discount * left / before
                self.deferred_discount = share.quantize(ACCRUED_PLACES, ROUND_HALF_UP)
        self.principal -= principal

    @property
    def _is_waived(self) -> bool:
        is_small = self.charged_off_on is None and self.is_owed and self.owed < self.terms.rules.waived_below
        return is_small and (self.day > self._last_due_on or self._is_charged_off) and self.day >= self.booked_on

    @property
    def _is_charged_off(self) -> bool:
        """Whether the day ends so, unless what is owed is waived."""
        if self.charged_off_on is not None:
            return self.is_owed
        is_caused = self.charge_off_by is not None and self.day >= self.charge_off_by and self.is_owed
        return (is_caused or self.days_past_due >= CHARGE_OFF_DAYS) and self.day >= self.booked_on

    def needs_events(self, movement: Movement) -> bool:
        """Whether what happened before decides what the movement does. Its posting day is the account's or later.

        It does too where a reversal of the movement came within EARLY_REVERSAL_DAYS before: no movement can say so.
        """
        return movement.kind in NEED_EVENTS or self._effective_day(movement) < movement.posted_on

    def _effective_day(self, movement: Movement) -> date:
        """What comes in counts, in order of time, on the day on which it happened; the rest when it came."""
        if movement.kind in REVERSALS:
            return movement.came_on or movement.posted_on
        if movement.kind in ("credit_refund", "clear_unapplied"):
            return movement.posted_on
        return max(movement.effective_on, self.terms.originated_on)

    def _decided(self, movement: Movement) -> Event:
        """How much of a movement counts, and why not all of it, if so. It is decided once, when it comes."""
        amount, exception, reversed_before = movement.amount, None, ZERO
        if movement.kind in REVERSALS:
            amount, exception = self._reversible(movement)
        elif movement.kind in ADJUSTMENT_KINDS:
            exception = self._as_of(movement)._not_adjusted(movement)
            if exception or movement.kind in WAITS_TO_BE_CHARGED_OFF:
                amount = ZERO
            elif movement.kind == "clear_unapplied" and self._unapplied_of(movement) < 0:
                # Money that went out pays nothing: it is written off.
                amount = ZERO
        elif movement.kind == "credit_refund":
            amount = min(amount, self.credit)
            exception = None if amount == movement.amount else "more than the credit balance"
        else:
            reversed_before = self._reversed_before(movement)
            if movement.kind == "refund" and self.refunded + amount > self.terms.principal:
                amount, exception = ZERO, "more than the price, with what was refunded before"
            elif reversed_before:
                amount, exception = amount - reversed_before, _REVERSED_BEFORE
        return Event(self._effective_day(movement), movement, amount, reversed_before, exception=exception)

    def _as_of(self, movement: Movement) -> "Account":
        """The account on the day on which a movement counts, by what is known now: a late decision was made then."""
        day = self._effective_day(movement)
        if day == self.day:
            return self
        event = Event(day, movement, ZERO)
        return self._replayed([each for each in self._known_events(movement) if each.order < event.order], day)

    def _not_adjusted(self, movement: Movement) -> str | None:
        """Why an adjustment of the account's day is refused; null if it is not."""
        kind, amount = movement.kind, movement.amount
        if kind == "clear_unapplied":
            left = self._unapplied_of(movement)
            return None if amount <= abs(left) else f"clears {amount}, where {abs(left)} of it is unapplied"
        if kind == "undo_charge_off":
            is_undone = self.charged_off_on is not None or self.charge_off_by is not None
            return None if is_undone else "the loan is not charged off, and is not to be"
        if self.charged_off_on is not None:
            return "the loan is charged off"
        if kind in (*FORGIVES, "settlement") and amount > self.owed:
            return f"{amount} is more than the {self.owed} that is owed"
        if kind == "settlement" and amount < self.owed:
            return f"{amount} is less than the {self.owed} that is owed: a settlement forgives all that is left"
        return None

    def _unapplied_of(self, movement: Movement) -> Decimal:
        """What of the transaction that it clears is unapplied; below zero what went out."""
        events = self._known_events(movement)
        return sum((event.unapplied for event in events if _whose_money(event) == movement.reverses), ZERO)

    def _reversed_before(self, movement: Movement) -> Decimal:
        """What reversals that wait for it take back of it. Then the money of both is unapplied, and comes to nothing.

        One of more than is left of it is none, as it would not be if it had come after.
        """
        since = movement.posted_on - timedelta(days=EARLY_REVERSAL_DAYS)
        reversed_before = ZERO
        if any(_clears(event, movement.transaction_id) for event in self.events or ()):
            # They were written off, and wait no more.
            return reversed_before
        for event in self.events or ():
            early = event.movement
            if (
                early.reverses == movement.transaction_id
                and movement.kind in _REVERSES.get(early.kind, ())
                and event.exception == WAITS_FOR_ITS_ORIGINAL[early.kind]
                and (early.came_on or early.posted_on) >= since
                and reversed_before + early.amount <= movement.amount
            ):
                reversed_before += early.amount
        return reversed_before

    def _reversible(self, movement: Movement) -> tuple[Decimal, str | None]:
        """The amount of a reversal, or zero and why it reverses nothing."""
        events = self._known_events(movement)
        reversible = _REVERSES[movement.kind]
        of = [e for e in events if e.movement.transaction_id == movement.reverses and e.movement.kind in reversible]
        if not of:
            return ZERO, WAITS_FOR_ITS_ORIGINAL[movement.kind]
        [original] = of[-1:]
        left = original.movement.amount - original.reversed_before - _taken_back(events)[movement.reverses]
        left -= sum((e.amount for e in events if _clears(e, movement.reverses)), ZERO)
        if left <= 0:
            return ZERO, "reverses what was reversed before"
        if movement.amount > left:
            return ZERO, "more than is left of what it reverses"
        return movement.amount, None

    def _post_by_replay(self, event: Event) -> None:
        """Apply what changes days that the books have closed: what came late, or a reversal.

        The account becomes what it is if all that is known now had come on its day. So a payment that is reversed
        counts as never made.
        """
        replayed = self._replayed([*self._known_events(event.movement), event], self.day)
        for name in _REPLAYED:
            setattr(self, name, getattr(replayed, name))

    def _replayed(self, events: Sequence[Event], until: date) -> "Account":
        """The account on a day, before it is closed, had each movement come on the day on which it counts."""
        taken_back = _taken_back(events)
        in_order = sorted(events, key=lambda each: each.order)
        replayed = Account.opened(self.terms, self.booked_on)
        for position, event in enumerate(in_order):
            if event.movement.kind in REVERSALS:
                if event.amount and self._waives_interest(event):
                    replayed._close_until(event.day)
                    as_it_stood = self._replayed(in_order[:position], event.day)
                    replayed._give_back(max(replayed.accrued - as_it_stood.accrued, Decimal(0)))
                continue
            event = replace(event, amount=event.amount - taken_back[event.movement.transaction_id])
            if event.counts:
                replayed._close_until(event.day)
                replayed._take(event)
                replayed._known_events(event.movement).append(event)
        replayed._close_until(until)
        return replayed

    def _waives_interest(self, reversal: Event) -> bool:
        """Of the days between a payment and its reversal, which would be posted on the reversal's day."""
        return reversal.movement.kind == "payment_reversal" and self.terms.rules.returned_payment == "waived"

    def _close_until(self, day: date) -> None:
        """Go on to a day, and close on the way each that ends with more than interest."""
        if self.day < day:
            self.close()
        while (closes_on := self.closes_on) and closes_on < day:
            self.go_to(closes_on)
            self.close()
        self.go_to(day)

    def _take(self, event: Event) -> None:
        """What a movement does, on the day on which it counts."""
        match event.movement.kind:
            case "payment" | "recovery" | "goodwill_credit" | "waiver" | "correction" | "clear_unapplied":
                self._take_payment(event.amount)
            case "refund":
                self._take_refund(event.amount)
            case "credit_refund":
                # What was paid out was, whatever the credit is now: what it falls short by is lent.
                short = max(event.amount - self.credit, ZERO)
                self.credit -= event.amount - short
                self.principal += short
            case "undo_charge_off":
                self._undo_charge_off()
            case "settlement" | "bankruptcy" | "fraud" | "death" | "debt_sale" as cause:
                by = event.movement.effective_on + timedelta(days=WAITS_TO_BE_CHARGED_OFF[cause])
                if self.charged_off_on is None and (self.charge_off_by is None or by < self.charge_off_by):
                    self.charge_off_by, self.charge_off_cause = by, cause
                if self.charged_off_on is None and self.terms.rules.nonaccrual_after is not None:
                    self.nonaccrual_since = self.nonaccrual_since or self.day

    def _undo_charge_off(self) -> None:
        """What was charged off is owed again, less what came back of it, which counts as paid; days past due are
        counted anew from today. So they are if what is known now leaves no charge-off to undo. Before it is charged
        off, a notice is withdrawn, and nothing else."""
        is_withdrawn = self.charged_off_on is None and self.charge_off_by is not None
        self.charge_off_by = self.charge_off_cause = None
        if is_withdrawn:
            return
        self.principal += self.charged_off_principal - self.recovered_principal
        self.interest += self.charged_off_interest - self.recovered_interest
        self.paid += self.recovered_principal + self.recovered_interest
        self.shortage = shortage_after(self.paid, self.shortage, self.terms.instalment, self.terms.rules)
        self.charged_off_principal = self.charged_off_interest = ZERO
        self.recovered_principal = self.recovered_interest = ZERO
        self.charged_off_on = None
        self.reaged_on = self.day

    def _take_payment(self, amount: Decimal) -> None:
        """To accrued interest, then principal; what exceeds both is a credit balance."""
        if self.charged_off_on is not None:
            self._recover(amount)
            return
        interest = min(amount, self.interest)
        principal = min(amount - interest, self.principal)
        self.interest -= interest
        self._repay(principal, ahead=1)
        self.credit += amount - interest - principal
        self.paid += interest + principal
        if self.nonaccrual_since is not None and self.terms.rules.payment_in_nonaccrual == "cost_recovery":
            self.cost_recovered += interest
        self.shortage = shortage_after(self.paid, self.shortage, self.terms.instalment, self.terms.rules)

    def _take_refund(self, amount: Decimal) -> None:
        """To principal, then interest, then a credit balance. The discount returns in proportion to the price."""
        terms = self.terms
        self.refunded += amount
        price_refunded = min(self.refunded, terms.principal)
        self.discount_returned = (terms.merchant_discount * price_refunded / terms.principal).quantize(
            CENT, ROUND_HALF_UP
        )
        if self.charged_off_on is not None:
            self._recover(amount)
            return
        principal = min(amount, self.principal)
        interest = min(amount - principal, self.interest)
        self._repay(principal)
        self.interest -= interest
        self.credit += amount - principal - interest
        is_first_period = self.day <= terms.first_due_on
        if self.refunded == terms.principal and is_first_period and terms.rules.interest_after_full_refund != "owed":
            self._give_back(self.accrued)

    def _recover(self, amount: Decimal) -> None:
        """To the principal that was charged off, then the interest: a recovery of what was debited to the allowance
        credits it, and of what was reversed against income, income (FIL-14-2005)."""
        principal = min(amount, self.charged_off_principal - self.recovered_principal)
        interest = min(amount - principal, self.charged_off_interest - self.recovered_interest)
        self.recovered_principal += principal
        self.recovered_interest += interest
        self.credit += amount - principal - interest

    def _give_back(self, accrual: Decimal) -> None:
        """Give interest back that was accrued. Of what was given up none is recovered; what was paid of it goes on, to
        principal or what was charged off, and then is a credit."""
        before = to_cents(self.accrued)
        self.accrued -= min(accrual, self.accrued)
        left = before - to_cents(self.accrued)
        for name in ("interest", "charged_off_interest", "waived_interest"):
            part = min(left, getattr(self, name))
            setattr(self, name, getattr(self, name) - part)
            left -= part
        # What of it was paid is no interest any more, and so none that waits to be income.
        self.cost_recovered -= min(left, self.cost_recovered)
        if self.charged_off_on is not None:
            too_much = max(self.recovered_interest - self.charged_off_interest, ZERO)
            self.recovered_interest -= too_much
            self._recover(left + too_much)
            return
        principal = min(left, self.principal)
        self._repay(principal, ahead=1)
        self.credit += left - principal

    def _applied(self) -> dict[str, Decimal]:
        """What all money so far has gone to, by the part of an application."""
        given_up_interest = self.charged_off_interest + self.waived_interest
        given_up_principal = self.charged_off_principal + self.waived_principal
        return {
            "interest": to_cents(self.accrued) - self.interest - given_up_interest,
            "principal": self.terms.principal - self.principal - given_up_principal,
            "credit": self.credit,
            "recovery_principal": self.recovered_principal,
            "recovery_interest": self.recovered_interest,
        }

    def _last_left(self, refunds: tuple[Refund, ...]) -> int:
        """The number of the last instalment that all refunds have left, at the end of the day of the last of them.

        No refund takes off what has been met by the end of its day, nor the one after that: what is left falls due
        then.
        """
        return max(_last_in_time(self.terms, refunds), min(self.last_instalment, self._met + 1))

    def _known_events(self, movement: Movement) -> list[Event]:
        if self.events is None:
            raise ValueError(
                f"transaction {movement.transaction_id}: expected the account's earlier movements, which a "
                f"{movement.kind} effective on {movement.effective_on} needs on {self.day}; found none."
            )
        return self.events


# What the books know of as of a day, and not as of now, a replay does not say.
_REPLAYED = tuple(
    each.name
    for each in fields(Account)
    if each.name not in ("terms", "day", "booked_on", "settled_on", "credit_since", "unapplied", "events")
)


# A replay asks again for the loan that was asked for last; how many accounts there are does not matter.
@lru_cache(maxsize=8)
def _last_in_time(terms: Terms, refunds: tuple[Refund, ...]) -> int:
    """The number of the last instalment of a borrower who pays each on its due date, after refunds in their order.

    So the number is the contract's, whatever the borrower has paid; an instalment that was due before is not taken.
    """
    to_come = deque(refunds)
    punctual = Account(terms, terms.originated_on, terms.originated_on, terms.principal, terms.instalments)
    for number in range(1, terms.instalments + 1):
        due_on = terms.due_on(number)
        while to_come and to_come[0][0] < due_on:
            day, amount = to_come.popleft()
            punctual.begin(day, None)
            punctual._take_refund(amount)
        if not punctual.is_owed:
            return max(number - 1, 1)
        punctual.begin(due_on, None)
        punctual._take_payment(terms.instalment)
    return terms.instalments


def _goes_out(kind: MovementKind) -> bool:
    return kind == "credit_refund" or kind in REVERSALS


def _taken_back(events: Iterable[Event]) -> defaultdict[str | None, Decimal]:
    """What reversals have taken back of each transaction, by its id."""
    taken_back: defaultdict[str | None, Decimal] = defaultdict(lambda: ZERO)
    for event in events:
        if event.movement.kind in REVERSALS:
            taken_back[event.movement.reverses] += event.amount
    return taken_back


def _whose_money(event: Event) -> str | None:
    """The transaction whose money an event leaves unapplied, or takes up."""
    movement = event.movement
    is_of_another = event.exception is None or event.exception in WAITS_FOR_ITS_ORIGINAL.values()
    return movement.reverses if movement.reverses is not None and is_of_another else movement.transaction_id


def _clears(event: Event, transaction_id: str | None) -> bool:
    movement = event.movement
    return movement.kind == "clear_unapplied" and movement.reverses == transaction_id and event.exception is None


def _standing_refunds(events: Iterable[Event]) -> tuple[Refund, ...]:
    """The day and the amount of each refund, less what was reversed of it, in order of time."""
    taken_back = _taken_back(events)
    refunds = sorted((each for each in events if each.movement.kind == "refund"), key=lambda each: each.order)
    amounts = ((each.day, each.amount - taken_back[each.movement.transaction_id]) for each in refunds)
    return tuple((day, amount) for day, amount in amounts if amount > 0)
