"""A loan's account: what each movement does to it, and what each day does. The rules of the books, once.

All amounts are dollars with two places but `accrued`, which has eight. An account is moved on with `begin(day)`, then
`apply(movement)` for each of the day's movements in the order of `in_order`, then `close()`.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from itertools import groupby

from affirm_assets.lender.finance.accrual import CENT, ZERO, daily_interest, to_cents
from affirm_assets.lender.finance.delinquency import CHARGE_OFF_DAYS, oldest_unmet
from affirm_assets.lender.finance.movements import Application, Event, Movement, reversed_ids, standing
from affirm_assets.lender.finance.terms import Terms
from affirm_assets.lender.vocabulary import LoanStatus

EARLY_REVERSAL_DAYS = 35
"""For how long, from the day it came, a reversal waits for its payment: the look-back of the feeds."""

_NO_PAYMENT = "reverses no payment or recovery of this loan"
_REVERSED_BEFORE = "was reversed before it came"


@dataclass(frozen=True, slots=True)
class ChargeOff:
    """What a day charged off: principal against the allowance, interest against income."""

    principal: Decimal = ZERO
    interest: Decimal = ZERO


@dataclass(slots=True)
class Account:
    """What a loan owes at the end of `day`, and what has become of it so far.

    `principal` and `interest` are owed by the borrower, `credit` to the borrower. `accrued` is all interest since the
    origination; `paid` what payments have met of instalments; `last_instalment` the number of the last one, which is
    the schedule's as long as refunds take none off the end; `refunded` and `discount_returned` what the merchant gave
    back and got back; `settled_on` the day since which nothing is owed either way, null while something is and once
    charged off; `unapplied` the money, in less out, that could not be applied: a reversal among it may wait for its
    payment.

    `events` are the movements applied so far, known only if the account was opened here and not taken over from the
    day before. A late movement, a reversal or a refund needs them, and a payment whose reversal came before.
    """

    terms: Terms
    day: date
    principal: Decimal
    last_instalment: int
    interest: Decimal = ZERO
    credit: Decimal = ZERO
    accrued: Decimal = ZERO
    paid: Decimal = ZERO
    refunded: Decimal = ZERO
    discount_returned: Decimal = ZERO
    charged_off_on: date | None = None
    charged_off_principal: Decimal = ZERO
    charged_off_interest: Decimal = ZERO
    recovered: Decimal = ZERO
    settled_on: date | None = None
    unapplied: Decimal = ZERO
    events: list[Event] | None = field(default=None, repr=False)

    @staticmethod
    def opened(terms: Terms) -> "Account":
        """The account at the end of the day of origination, with nothing accrued and no movement yet."""
        account = Account(terms, terms.originated_on, terms.principal, terms.instalments, events=[])
        account.last_instalment = account._last_in_time(())
        return account

    def _at_first(self) -> "Account":
        """The account at the end of the day of origination, from which it is replayed."""
        return Account(self.terms, self.terms.originated_on, self.terms.principal, self.last_instalment, events=[])

    @property
    def owed(self) -> Decimal:
        """Principal and interest that the borrower owes."""
        return self.principal + self.interest

    @property
    def is_owed(self) -> bool:
        return self.principal > 0 or self.interest > 0

    @property
    def status(self) -> LoanStatus:
        if self.charged_off_on is not None:
            return "charged_off"
        return "open" if self.is_owed else "repaid"

    @property
    def oldest_due_on(self) -> date | None:
        """When the oldest unmet instalment falls or fell due; null if nothing is owed."""
        oldest = oldest_unmet(self.terms, self.paid, self.last_instalment)
        return self.terms.due_on(oldest) if self.is_owed else None

    @property
    def charge_off_due_on(self) -> date | None:
        """The day on which the account is charged off if nothing happens before; null if nothing is owed or it was."""
        due_on = self.oldest_due_on if self.charged_off_on is None else None
        return None if due_on is None else due_on + timedelta(days=CHARGE_OFF_DAYS)

    def begin(self, day: date) -> Decimal:
        """Go on to a day: accrue, on the principal that it began with. Returns the interest that this posts."""
        before = to_cents(self.accrued)
        self.accrued += daily_interest(self.principal, self.terms.apr) * (day - self.day).days
        self.day = day
        interest = to_cents(self.accrued) - before
        self.interest += interest
        return interest

    def apply(self, movement: Movement) -> Application:
        """Apply a movement on the account's day. Raises ValueError if it needs events and there are none."""
        if self._was_reversed_before(movement):
            application = Application(unapplied=movement.amount, exception=_REVERSED_BEFORE)
        elif self._is_late(movement):
            application = self._by_replay(movement)
        else:
            application = self._on_time(movement)
        self._post(movement, application)
        if self.refunded and self.charged_off_on is None:
            events = self._known_events(movement) if movement.kind == "refund" else self.events
            # Without events, nothing before today has changed.
            self.last_instalment = self._last_left(events) if events else self.last_instalment
        return application

    def close(self) -> ChargeOff:
        """End the day: charge off what is 120 days past due, and what a reversal restored of a charged-off loan."""
        charge_off = ChargeOff()
        due_on = self.charge_off_due_on
        # With something owed, there is none only if it was charged off before.
        if self.is_owed and (due_on is None or due_on <= self.day):
            charge_off = ChargeOff(self.principal, self.interest)
            self.charged_off_on = self.charged_off_on or self.day
            self.charged_off_principal += self.principal
            self.charged_off_interest += self.interest
            self.principal = self.interest = ZERO
        is_settled = self.charged_off_on is None and not (self.is_owed or self.credit)
        self.settled_on = (self.settled_on or self.day) if is_settled else None
        return charge_off

    def needs_events(self, movement: Movement) -> bool:
        """Whether what happened before decides what the movement does. Its posting day is the account's or later.

        It does too where a reversal of the movement came within EARLY_REVERSAL_DAYS before: no movement can say so.
        """
        return movement.kind in ("payment_reversal", "refund") or self._effective_day(movement) < movement.posted_on

    def _effective_day(self, movement: Movement) -> date:
        """A payment or refund counts, in order of time, on the day on which it happened; the others when they came."""
        if movement.kind in ("payment", "refund"):
            return max(movement.effective_on, self.terms.originated_on)
        return movement.posted_on

    def _is_late(self, movement: Movement) -> bool:
        return self.charged_off_on is None and self._effective_day(movement) < self.day

    def _was_reversed_before(self, movement: Movement) -> bool:
        """Whether its reversal waits for it. Then the money of both stays unapplied, and comes to nothing."""
        since = movement.posted_on - timedelta(days=EARLY_REVERSAL_DAYS)
        return movement.kind in ("payment", "recovery") and any(
            event.movement.reverses == movement.transaction_id
            and event.movement.amount == movement.amount
            and event.application.exception == _NO_PAYMENT
            and (event.movement.came_on or event.movement.posted_on) >= since
            for event in self.events or ()
        )

    def _on_time(self, movement: Movement) -> Application:
        amount = movement.amount
        if movement.kind == "payment_reversal":
            return self._reversal(movement)
        if movement.kind == "credit_refund":
            if amount <= self.credit:
                return Application(credit=-amount)
            return Application(unapplied=-amount, exception="more than the credit balance")
        if movement.kind == "recovery" and self.charged_off_on is None:
            return Application(unapplied=amount, exception="a recovery on a loan that is not charged off")
        discount = self._discount_returned(amount) if movement.kind == "refund" else ZERO
        if self.charged_off_on is not None:
            recovery = min(amount, self.charged_off_principal + self.charged_off_interest - self.recovered)
            return Application(recovery=recovery, credit=amount - recovery, discount_returned=discount)
        if movement.kind == "refund":
            principal = min(amount, self.principal)
            interest = min(amount - principal, self.interest)
        else:
            interest = min(amount, self.interest)
            principal = min(amount - interest, self.principal)
        met = interest + principal if movement.kind == "payment" else ZERO
        return Application(interest, principal, amount - interest - principal, met=met, discount_returned=discount)

    def _discount_returned(self, amount: Decimal) -> Decimal:
        """The merchant's discount in proportion to what is refunded of the price: half up, of all refunds so far."""
        terms = self.terms
        price_refunded = min(self.refunded + amount, terms.principal)
        due = (terms.merchant_discount * price_refunded / terms.principal).quantize(CENT, ROUND_HALF_UP)
        return due - self.discount_returned

    def _last_left(self, events: Sequence[Event]) -> int:
        """The number of the last instalment that all refunds have left.

        No refund takes off what has been met by the end of its day, nor the one after that: what is left falls due
        then. A payment that was reversed met none.
        """
        replayed, refunds, last = self._at_first(), list[Event](), self._last_in_time(())
        for day, events_of_day in groupby(standing(events), lambda each: each.day):
            today = list(events_of_day)
            replayed.begin(day)
            for event in today:
                replayed._post(event.movement, replayed._replay(event))
            if refunds_today := [each for each in today if each.movement.kind == "refund"]:
                refunds += refunds_today
                after_met = int(replayed.paid // self.terms.instalment) + 1
                last = max(self._last_in_time(refunds), min(last, after_met))
        return last

    def _last_in_time(self, refunds: Sequence[Event]) -> int:
        """The number of the last instalment of a borrower who pays each on its due date, after refunds in their order.

        So the number is the contract's, whatever the borrower has paid; an instalment that was due before is not taken.
        """
        terms, punctual, to_come = self.terms, self._at_first(), deque(refunds)
        for number in range(1, terms.instalments + 1):
            due_on = terms.due_on(number)
            while to_come and to_come[0].day < due_on:
                refund = to_come.popleft()
                punctual._move_on(refund.day, refund.movement)
            if not punctual.is_owed:
                return max(number - 1, 1)
            punctual._move_on(due_on, Movement(str(number), "payment", terms.instalment, due_on, due_on))
        return terms.instalments

    def _move_on(self, day: date, movement: Movement) -> None:
        """Go on to a day and apply a movement that comes in time."""
        self.begin(day)
        self._post(movement, self._on_time(movement))

    def _reversal(self, movement: Movement) -> Application:
        refused = Application(unapplied=-movement.amount)
        original, is_reversed = self._find(movement)
        if original is None:
            return replace(refused, exception=_NO_PAYMENT)
        if is_reversed or original.application.exception == _REVERSED_BEFORE:
            return replace(refused, exception="reverses what was reversed before")
        if original.movement.amount != movement.amount:
            return replace(refused, exception="its amount is not the payment's")
        if original.application.exception:
            return self._inverse(original.application)
        if self._is_after_charge_off(original.movement):
            return self._inverse_of_recovery(movement.amount)
        return self._by_replay(movement)

    def _find(self, movement: Movement) -> tuple[Event | None, bool]:
        """The payment that it reverses, and whether another reversal has."""
        original, is_reversed = None, False
        for event in self._known_events(movement):
            if event.movement.transaction_id == movement.reverses and event.movement.kind in ("payment", "recovery"):
                original = event
            is_reversed |= event.movement.reverses == movement.reverses and event.application.exception is None
        return original, is_reversed

    def _is_after_charge_off(self, movement: Movement) -> bool:
        """Whether it moves what came back of a charged-off loan, and not what was charged off; so does its reversal."""
        if self.charged_off_on is None:
            return False
        if movement.kind == "payment_reversal":
            original, _ = self._find(movement)
            return original is not None and self._is_after_charge_off(original.movement)
        return movement.posted_on > self.charged_off_on

    def _inverse_of_recovery(self, amount: Decimal) -> Application:
        """What reverses a recovery: of all that came back, the excess goes first. What was paid out since is lost."""
        credit = min(amount, self.credit)
        recovery = min(amount - credit, self.recovered)
        return Application(principal=credit + recovery - amount, credit=-credit, recovery=-recovery)

    def _inverse(self, done: Application) -> Application:
        """What reverses a payment. Of a credit that was paid out since, what is missing is principal again."""
        return self._within_bounds(
            Application(
                -done.interest,
                -done.principal,
                -done.credit,
                unapplied=-done.unapplied,
                met=-done.met,
                interest_given_back=-done.interest_given_back,
                accrual_given_back=-done.accrual_given_back,
            )
        )

    def _by_replay(self, movement: Movement) -> Application:
        """Apply what changes days that the books have closed: a late payment or refund, or a reversal.

        The account is replayed in order of time, with the movement; the difference to what it was before is posted
        today. So the interest that accrued since on the principal that a late one would have paid is given back, and
        the account ends where it would have if the movement had come in time. What a payment has done by that replay,
        its reversal takes back: what was posted for it and what late movements have corrected of that since. If that
        leaves a debt on a charged-off loan, surplus recoveries pay it.
        """
        events = self._known_events(movement)
        before = self if self.charged_off_on is None else self._replayed(events)
        after = self._replayed([*events, Event(self._effective_day(movement), movement)])
        given_back = to_cents(before.accrued) - to_cents(after.accrued)
        recovery = ZERO if self.charged_off_on is None else min(self.credit, after.owed - before.owed)
        return Application(
            interest=before.interest - after.interest - given_back,
            principal=before.principal - after.principal,
            credit=after.credit - before.credit - recovery,
            recovery=recovery,
            met=after.paid - before.paid,
            interest_given_back=given_back,
            accrual_given_back=before.accrued - after.accrued,
            discount_returned=self._discount_returned(movement.amount) if movement.kind == "refund" else ZERO,
        )

    def _replayed(self, events: Sequence[Event]) -> "Account":
        """The account, had each movement come on its day: what it is, if none of the events is new.

        Of a charged-off loan it is what was charged off: nothing accrues after that day, and what came back since is
        not replayed.
        """
        reversed_by_now = reversed_ids(events)
        last = self.charged_off_on or self.day
        replayed = self._at_first()
        for event in sorted((each.as_of(reversed_by_now) for each in events), key=lambda each: each.order):
            if event.application.exception is None and not self._is_after_charge_off(event.movement):
                replayed.begin(min(event.day, last))
                replayed._post(event.movement, replayed._replay(event))
                replayed._set_off()
        replayed.begin(last)
        return replayed

    def _set_off(self) -> None:
        """Pay what is owed out of the credit: interest, then principal. The events then say what their money is now.

        A reversal leaves both where what was paid since exceeded the debt. The last excess is taken first; of a
        payment, it then meets instalments.
        """
        if not (self.credit > 0 and self.is_owed):
            return
        events = self.events or []
        reversed_by_now = reversed_ids(events)
        for position, event in reversed(list(enumerate(events))):
            taken = min(self.credit, event.application.credit, self.owed)
            if taken <= 0 or event.movement.transaction_id in reversed_by_now:
                continue
            interest = min(taken, self.interest)
            principal = taken - interest
            met = ZERO if event.movement.kind == "refund" else taken
            self.interest -= interest
            self.principal -= principal
            self.credit -= taken
            self.paid += met
            events[position] = replace(event, application=event.application.with_set_off(interest, principal, met))

    def _replay(self, event: Event) -> Application:
        """What a movement does when it is replayed."""
        if event.is_as_posted:
            return self._within_bounds(event.application)
        if event.movement.kind == "payment_reversal":
            original, _ = self._find(event.movement)
            # One without an original reverses what was not applied either.
            return self._inverse(original.application) if original else event.application
        return self._on_time(event.movement)

    def _within_bounds(self, application: Application) -> Application:
        """Let no balance fall below zero: what interest cannot take goes to principal, and then to the credit."""
        interest, principal, credit = application.interest, application.principal, application.credit
        accrual = min(application.accrual_given_back, self.accrued)
        given_back = to_cents(self.accrued) - to_cents(self.accrued - accrual)
        short = min(self.interest - interest - given_back, ZERO)
        interest, principal = interest + short, principal - short
        short = min(self.principal - principal, ZERO)
        principal, credit = principal + short, credit - short
        short = min(self.credit + credit, ZERO)
        return replace(
            application,
            interest=interest,
            principal=principal + short,
            credit=credit - short,
            interest_given_back=given_back,
            accrual_given_back=accrual,
        )

    def _post(self, movement: Movement, application: Application) -> None:
        self.interest -= application.interest + application.interest_given_back
        self.principal -= application.principal
        self.credit += application.credit
        self.recovered += application.recovery
        self.unapplied += application.unapplied
        self.accrued -= application.accrual_given_back
        self.paid += application.met
        if movement.kind == "refund":
            self.refunded += movement.amount
            self.discount_returned += application.discount_returned
        if self.events is not None:
            self.events.append(Event(self._effective_day(movement), movement, application))

    def _known_events(self, movement: Movement) -> list[Event]:
        if self.events is None:
            raise ValueError(
                f"transaction {movement.transaction_id}: expected the account's earlier movements, which a "
                f"{movement.kind} effective on {movement.effective_on} needs on {self.day}; found none."
            )
        return self.events
