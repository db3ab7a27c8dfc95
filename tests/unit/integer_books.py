"""The books of a loan once more, from the text of docs/money.md alone: whole numbers, no state, slow.

Whatever arrives, the loan is lived through again from its origination with all rows that have arrived by then, each on
the day on which it counts. What a row does is the difference between the lives with and without it. Dollars are cents;
accrued interest is in 1e-8 dollars; days are ordinals.

What is decided of a row is decided once, when it arrives:

- a refund that makes more than the price, with all refunds that stand, is refused;
- of a credit refund, no more is paid out than the credit balance;
- a reversal of a row that has not come, or of more than is left of it, is refused. The first waits for its row;
- a person's decision is refused if it is of more than is owed, or of another amount in a settlement; if it gives
  or charges off what is charged off, or undoes what is not; or if it clears more than is unapplied.

Where the text leaves two readings, this has the code's:

- a payment must pay something toward an instalment for what is missing of it to be little enough;
- `shortage` counts what is missing of the last instalment too, which is not met by that;
- of what falls on one day, an instalment that is paid on its due date comes before a refund;
- nothing is waived before the day of booking;
- what waited in suspense counts on its own day if it comes in; what goes out, on the day on which the books take it up;
- a payment that is reversed may have kept a loan from its charge-off: then it was charged off on that earlier day;
- one that has been accepted stands: what late rows leave it nothing to pay of is a credit balance or a recovery, and
  where they leave nothing charged off on the day of its undoing, days past due are counted anew all the same;
- an undone charge-off takes back every other cause that was known by then; of several the earliest counts;
- a cause charges off on its day or any later one, as soon as something is owed.
"""

import calendar
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from functools import lru_cache

from affirm_assets.lender.finance.days import Day
from affirm_assets.lender.finance.movements import Movement
from affirm_assets.lender.finance.terms import Terms

CENT = 10**6
"""In 1e-8 dollars."""
WAITS = 35
CHARGED_OFF_AT = 120

IN = ("payment", "recovery", "refund")
REVERSED_BY = {"payment_reversal": ("payment", "recovery"), "refund_reversal": ("refund",)}
FORGIVEN = ("goodwill_credit", "waiver", "correction")
CHARGES_OFF_AFTER = {"bankruptcy": 60, "fraud": 90, "death": 60, "settlement": 0, "debt_sale": 0}
DECIDED = (*FORGIVEN, *CHARGES_OFF_AFTER, "undo_charge_off", "clear_unapplied")


def cents(dollars: Decimal) -> int:
    return int(dollars * 100)


def half_up(numerator: int, denominator: int) -> int:
    """To the nearest whole number; both are zero or more."""
    return (2 * numerator + denominator) // (2 * denominator)


def due_on(terms: Terms, number: int) -> int:
    """The day of instalment `number`, from 1."""
    first = terms.first_due_on
    if terms.frequency == "biweekly":
        return first.toordinal() + 14 * (number - 1)
    if number == 1:
        return first.toordinal()
    year, month = divmod(first.year * 12 + first.month - 1 + number - 1, 12)
    return date(year, month + 1, min(terms.due_day, calendar.monthrange(year, month + 1)[1])).toordinal()


def a_days_interest(terms: Terms, principal: int) -> int:
    """In 1e-8 dollars: cents by apr percent over 365, which is cents * apr * 1e4 / 365 of them."""
    apr, places = terms.apr.as_integer_ratio()
    return half_up(principal * apr * 10**4, 365 * places)


def a_days_earning(terms: Terms, principal: int, deferred: int) -> int:
    """In 1e-8 dollars: at the effective rate, on the principal less what is deferred of the discount."""
    rate, places = terms.effective_rate.as_integer_ratio()
    return half_up(max(0, principal * CENT - deferred) * rate, 36_500 * places)


def scheduled_principal(terms: Terms, day: int) -> int:
    """What is left of the principal on a day, if each instalment is paid on its due date."""
    principal, since = cents(terms.principal), terms.originated_on.toordinal()
    for number in range(1, terms.instalments + 1):
        due = due_on(terms, number)
        if due > day:
            return principal
        interest = half_up(a_days_interest(terms, principal) * (due - since), CENT)
        principal -= min(max(0, cents(terms.instalment) - interest), principal)
        since = due
    return 0


@dataclass(frozen=True)
class Row:
    """What arrived, when it counts, and what was decided of it.

    `standing` is what the loan has of its amount, or of a reversal what it takes back of another's; `left` what can
    still be reversed.
    """

    id: str
    kind: str
    amount: int
    day: int
    came: int
    effective: int
    reverses: str | None
    standing: int
    left: int

    @property
    def place(self) -> tuple[int, int, int, str]:
        of_the_day = 3 if self.kind in DECIDED else 1 if self.kind == "credit_refund" else 2
        of_the_day = 0 if self.kind in IN else of_the_day
        return self.day, of_the_day, self.effective, self.id


@dataclass
class Life:
    """What a loan owes and what became of it, on `day`. Pairs are of principal and interest."""

    terms: Terms
    booked_on: int
    day: int
    principal: int
    last: int
    interest: int = 0
    credit: int = 0
    accrued: int = 0
    met: int = 0
    paid: int = 0
    shortage: int = 0
    refunded: int = 0
    discount_returned: int = 0
    charged_off_on: int | None = None
    charged_off: tuple[int, int] = (0, 0)
    recovered: tuple[int, int] = (0, 0)
    waived: tuple[int, int] = (0, 0)
    refunds: tuple[tuple[int, int], ...] = ()
    charge_off_by: int | None = None
    reaged_on: int = 0
    deferred: int = 0
    cost_recovered: int = 0
    nonaccrual_since: int | None = None

    @property
    def owed(self) -> int:
        return self.principal + self.interest

    @property
    def unpaid(self) -> tuple[int, int]:
        """What is owed, or was given up."""
        of = zip((self.principal, self.interest), self.charged_off, self.waived, strict=True)
        principal, interest = (sum(each) for each in of)
        return principal, interest

    @property
    def posted(self) -> int:
        """All interest posted: the rounded total."""
        return half_up(self.accrued, CENT)

    @property
    def oldest_due_on(self) -> int | None:
        """When the first instalment that is not met falls due, or fell."""
        if not self.owed and self.charged_off_on is None:
            return None
        return due_on(self.terms, min(self.met + 1, self.last))

    @property
    def days_past_due(self) -> int:
        due = self.oldest_due_on
        return max(0, self.day - max(due, self.reaged_on)) if self.owed and due is not None else 0

    @property
    def status(self) -> str:
        if self.charged_off_on is not None:
            return "charged_off"
        return "open" if self.owed else "repaid"

    def begin(self) -> None:
        """The next day begins: interest on the principal that it begins with."""
        if self.charged_off_on is None and self.nonaccrual_since is None:
            principal = self.principal
            if self.days_past_due:
                principal = min(principal, self.scheduled(self.day))
            earned = a_days_earning(self.terms, principal, self.deferred) - a_days_interest(self.terms, principal)
            self.deferred -= max(0, min(earned, self.deferred))
        self.day += 1
        before = self.posted
        self.accrued += a_days_interest(self.terms, self.principal)
        self.interest += self.posted - before

    def give_back(self, accrued: int) -> None:
        """Interest that is waived, of the days before a payment was returned: what was given up of it was none."""
        before = self.posted
        self.accrued -= min(accrued, self.accrued)
        amount = before - self.posted
        owed = min(amount, self.interest)
        charged_off = min(amount - owed, self.charged_off[1])
        waived = min(amount - owed - charged_off, self.waived[1])
        self.interest -= owed
        self.charged_off = self.charged_off[0], self.charged_off[1] - charged_off
        self.waived = self.waived[0], self.waived[1] - waived
        paid = amount - owed - charged_off - waived
        self.cost_recovered = max(0, self.cost_recovered - paid)
        if self.charged_off_on is not None:
            too_much = max(0, self.recovered[1] - self.charged_off[1])
            self.recovered = self.recovered[0], self.recovered[1] - too_much
            return self.recover(paid + too_much)
        to_principal = min(paid, self.principal)
        self.repay(to_principal)
        self.credit += paid - to_principal
        return None

    def pay(self, amount: int) -> None:
        if self.charged_off_on is not None:
            return self.recover(amount)
        to_interest = min(amount, self.interest)
        to_principal = min(amount - to_interest, self.principal)
        self.interest -= to_interest
        self.repay(to_principal)
        self.credit += amount - to_interest - to_principal
        self.paid += to_interest + to_principal
        if self.nonaccrual_since is not None and self.terms.rules.payment_in_nonaccrual == "cost_recovery":
            self.cost_recovered += to_interest
        return self.meet()

    def scheduled(self, day: int) -> int:
        return max(0, scheduled_principal(self.terms, day) - self.refunded)

    def repay(self, amount: int, is_refund: bool = False) -> None:
        """What is repaid before its time takes its share of the discount: a refund, and what brings the principal below
        the one that the schedule has after the instalment that falls due next."""
        left, before = self.principal - amount, self.principal
        if not is_refund:
            due = next((n for n in range(1, self.terms.instalments + 1) if due_on(self.terms, n) > self.day), None)
            before = min(before, self.scheduled(due_on(self.terms, due)) if due else 0)
        if left < before:
            self.deferred = half_up(self.deferred * left, before)
        self.principal = left

    def meet(self) -> None:
        """Payments meet instalments in their order, as far as they go or little is missing."""
        rules, level = self.terms.rules, cents(self.terms.instalment)
        while True:
            missing = (self.met + 1) * level - self.paid - self.shortage
            if missing >= level:
                return
            if missing > 0:
                enough = 100 * (level - missing) >= rules.instalment_met_at * level
                if not enough and self.shortage + missing > cents(rules.shortages_carried):
                    return
                self.shortage += missing
            self.met += 1

    def refund(self, amount: int) -> None:
        terms = self.terms
        self.refunded += amount
        self.refunds += ((self.day, amount),)
        self.discount_returned = half_up(cents(terms.merchant_discount) * self.refunded, cents(terms.principal))
        if self.charged_off_on is not None:
            return self.recover(amount)
        to_principal = min(amount, self.principal)
        to_interest = min(amount - to_principal, self.interest)
        self.repay(to_principal, is_refund=True)
        self.interest -= to_interest
        self.credit += amount - to_principal - to_interest
        if (
            terms.rules.interest_after_full_refund == "given_back"
            and self.refunded == cents(terms.principal)
            and self.day <= terms.first_due_on.toordinal()
        ):
            paid = self.posted - self.interest - self.waived[1]
            self.accrued = self.interest = 0
            self.waived = self.waived[0], 0
            self.credit += paid
        return None

    def recover(self, amount: int) -> None:
        """First the principal that was charged off, then the interest."""
        principal = min(amount, self.charged_off[0] - self.recovered[0])
        interest = min(amount - principal, self.charged_off[1] - self.recovered[1])
        self.recovered = self.recovered[0] + principal, self.recovered[1] + interest
        self.credit += amount - principal - interest

    def notice(self, cause: str, effective: int) -> None:
        """Of a charge-off for another cause than days past due; the earliest counts."""
        by = effective + CHARGES_OFF_AFTER[cause]
        if self.charged_off_on is None:
            if self.terms.rules.nonaccrual_after and self.nonaccrual_since is None:
                self.nonaccrual_since = self.day
            self.charge_off_by = by if self.charge_off_by is None else min(by, self.charge_off_by)

    def undo_charge_off(self) -> None:
        """What was charged off is owed again, less what came back of it, which counts as paid. Or a notice is
        withdrawn."""
        if self.charged_off_on is None and self.charge_off_by is not None:
            self.charge_off_by = None
            return
        self.principal += self.charged_off[0] - self.recovered[0]
        self.interest += self.charged_off[1] - self.recovered[1]
        self.paid += sum(self.recovered)
        self.charged_off = self.recovered = (0, 0)
        self.charged_off_on = self.charge_off_by = None
        self.reaged_on = self.day
        self.meet()

    def pay_out(self, amount: int) -> None:
        """A credit refund that was paid. What is missing of the credit by now was lent."""
        missing = max(0, amount - self.credit)
        self.credit -= amount - missing
        self.principal += missing

    def close(self) -> None:
        """The end of the day: what falls due no more, what is given up, and what is income."""
        self.note_nonaccrual()
        self.give_up()
        self.recognize_income()

    def note_nonaccrual(self) -> None:
        after = self.terms.rules.nonaccrual_after if self.charged_off_on is None else None
        if after is not None and self.nonaccrual_since is None and self.days_past_due >= after:
            self.nonaccrual_since = self.day - (self.days_past_due - after)

    def recognize_income(self) -> None:
        """A loan of which nothing is past due accrues again. No more is deferred than can still come."""
        if self.charged_off_on is not None:
            to_come = self.charged_off[0] - self.recovered[0]
        else:
            to_come = self.principal
            if not self.owed or ((self.oldest_due_on or 0) >= self.day and self.charge_off_by is None):
                self.nonaccrual_since = None
        self.cost_recovered = min(self.cost_recovered, to_come)
        kept = cents(self.terms.merchant_discount) - self.discount_returned
        self.deferred = min(self.deferred, CENT * kept, CENT * (to_come - self.cost_recovered))

    def give_up(self) -> None:
        """What refunds take off the end, what is waived, what is charged off."""
        if self.refunds and self.refunds[-1][0] == self.day and self.charged_off_on is None:
            self.last = min(self.last, max(schedule_length(self.terms, self.refunds), self.met + 1))
        if not self.owed or self.day < self.booked_on:
            return
        small = self.owed < cents(self.terms.rules.waived_below)
        late = self.days_past_due >= CHARGED_OFF_AT
        late = late or (self.charge_off_by is not None and self.day >= self.charge_off_by)
        if small and (late or self.day > due_on(self.terms, self.last)) and self.charged_off_on is None:
            self.waived = self.waived[0] + self.principal, self.waived[1] + self.interest
            self.principal = self.interest = 0
            return
        if late or self.charged_off_on is not None:
            self.charged_off_on = self.charged_off_on or self.day
            self.charged_off = self.charged_off[0] + self.principal, self.charged_off[1] + self.interest
            self.principal = self.interest = 0


@lru_cache(maxsize=100_000)
def schedule_length(terms: Terms, refunds: tuple[tuple[int, int], ...]) -> int:
    """How many instalments one pays who pays each on its due date, with refunds on their days."""
    life = Life(terms, 0, terms.originated_on.toordinal(), cents(terms.principal), terms.instalments + 1)
    number = 1
    while True:
        if life.day == due_on(terms, number):
            level = cents(terms.instalment)
            if number == terms.instalments or life.owed <= level:
                return number
            life.pay(level)
            number += 1
        for day, amount in refunds:
            if day == life.day:
                life.refund(amount)
        if not life.owed:
            return number - 1
        life.begin()


def lived(terms: Terms, booked_on: int, rows: Sequence[Row], day: int) -> Life:
    """The loan up to a day, which is not closed yet, with the rows that count."""
    first = terms.originated_on.toordinal()
    life = Life(terms, booked_on, first, cents(terms.principal), schedule_length(terms, ()))
    if terms.rules.merchant_discount == "deferred":
        life.deferred = CENT * cents(terms.merchant_discount)
    by_day: dict[int, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row.place):
        if row.kind not in REVERSED_BY:
            back = sum(r.standing for r in rows if r.reverses == row.id and r.kind in REVERSED_BY)
            row = replace(row, standing=row.standing - back)
        if row.standing or row.kind in DECIDED:
            by_day.setdefault(row.day, []).append(row)
    while True:
        for row in by_day.get(life.day, ()):
            if row.kind == "refund":
                life.refund(row.standing)
            elif row.kind == "credit_refund":
                life.pay_out(row.standing)
            elif row.kind in CHARGES_OFF_AFTER:
                life.notice(row.kind, row.effective)
            elif row.kind == "undo_charge_off":
                life.undo_charge_off()
            elif row.kind in REVERSED_BY:
                if row.kind == "payment_reversal" and terms.rules.returned_payment == "waived":
                    before = [each for each in rows if each.place < row.place]
                    as_it_stood = lived(terms, booked_on, before, row.day)
                    life.give_back(max(0, life.accrued - as_it_stood.accrued))
            else:
                life.pay(row.standing)
        if life.day == day:
            return life
        life.close()
        life.begin()


class Books:
    """A loan's books, day by day."""

    def __init__(self, terms: Terms, booked_on: date) -> None:
        self.terms = terms
        self.booked_on = booked_on.toordinal()
        self.rows: list[Row] = []
        self.refused: list[Row] = []
        self.written_off = set[str]()
        self.unapplied = 0
        self.unapplied_of: defaultdict[str, int] = defaultdict(int)
        self.applied: dict[str, dict[str, object]] = {}
        self.life = lived(terms, self.booked_on, (), self.booked_on)

    def run(self, last: date, movements: Iterable[Movement]) -> Iterable[Life]:
        """The loan at the end of each day from the booking on."""
        by_day: dict[int, list[Row]] = {}
        for movement in movements:
            by_day.setdefault(movement.posted_on.toordinal(), []).append(self._row(movement))
        for day in range(self.booked_on, last.toordinal() + 1):
            if day > self.booked_on:
                self.life.begin()
            arrived = by_day.get(day, [])
            for row in sorted(arrived, key=lambda row: (replace(row, day=day)).place):
                self.arrive(row, day)
            self.life.close()
            yield self.life

    def _row(self, movement: Movement) -> Row:
        came = (movement.came_on or movement.posted_on).toordinal()
        effective = movement.effective_on.toordinal()
        is_late = movement.kind in (*IN, *DECIDED) and movement.kind != "clear_unapplied"
        counts = max(min(effective, came), self.terms.originated_on.toordinal()) if is_late else came
        amount = cents(movement.amount)
        return Row(
            movement.transaction_id, movement.kind, amount, counts, came, effective, movement.reverses, amount, amount
        )

    def arrive(self, row: Row, today: int) -> None:
        """What a row does: the difference of the loan's life with it."""
        before, unapplied = self.life, self.unapplied
        exception = self._decide(row, today)
        after = self.life = lived(self.terms, self.booked_on, self.rows, today)
        given_back = before.posted - after.posted
        moved = [a - b for a, b in zip(before.unpaid, after.unpaid, strict=True)]
        recovered = [a - b for a, b in zip(after.recovered, before.recovered, strict=True)]
        self.applied[row.id] = {
            "principal": moved[0],
            "interest": moved[1] - given_back,
            "credit": after.credit - before.credit,
            "recovery_principal": recovered[0],
            "recovery_interest": recovered[1],
            "unapplied": self.unapplied - unapplied,
            "interest_given_back": given_back,
            "discount_returned": after.discount_returned - before.discount_returned,
            "exception": exception,
        }

    def _decide(self, row: Row, today: int) -> bool:
        """Whether the row is an exception. What can be applied of it is among the rows from now on."""
        if row.kind in DECIDED:
            return self._decide_decision(row)
        if row.kind in REVERSED_BY:
            return self._decide_reversal(row, today)
        if row.kind == "credit_refund":
            row = replace(row, day=today, standing=min(row.amount, self.life.credit))
            self._leave_unapplied(row.id, row.standing - row.amount)
        waiting = [r for r in self.refused if r.reverses == row.id and row.kind in REVERSED_BY[r.kind]]
        if row.id in self.written_off:
            waiting = []
        too_much = row.kind == "refund" and self.life.refunded + row.amount > cents(self.terms.principal)
        if too_much:
            row = replace(row, standing=0)
        for reversal in waiting:
            if row.came - reversal.came <= WAITS and reversal.amount <= row.left:
                row = replace(row, standing=max(0, row.standing - reversal.amount), left=row.left - reversal.amount)
        if row.kind in IN:
            self._leave_unapplied(row.id, row.amount - row.standing)
        self.rows.append(row)
        return row.standing < row.amount

    def _leave_unapplied(self, of: str, amount: int) -> None:
        """`of`: the row whose money it is; of a reversal that waits for its row, and of one of a refused refund, that
        one."""
        self.unapplied += amount
        self.unapplied_of[of] += amount

    def _decide_decision(self, row: Row) -> bool:
        if row.kind == "clear_unapplied":
            return self._decide_clearing(row)
        before = [each for each in self.rows if each.place < row.place]
        life = lived(self.terms, self.booked_on, before, row.day) if row.day < self.life.day else self.life
        is_charged_off = life.charged_off_on is not None
        if row.kind == "undo_charge_off":
            is_refused = not is_charged_off and life.charge_off_by is None
        elif row.kind == "settlement":
            is_refused = is_charged_off or row.amount != life.owed
        else:
            is_refused = is_charged_off or (row.kind in FORGIVEN and row.amount > life.owed)
        if not is_refused:
            self.rows.append(row)
        return is_refused

    def _decide_clearing(self, row: Row) -> bool:
        """Money that came in is a payment of the day; what went out is written off."""
        of = str(row.reverses)
        unapplied = self.unapplied_of[of]
        if row.amount > abs(unapplied):
            return True
        self._leave_unapplied(of, -row.amount if unapplied > 0 else row.amount)
        self.written_off.add(of)
        if unapplied > 0:
            self.rows = [replace(r, left=r.left - row.amount) if r.id == of else r for r in self.rows]
            self.rows.append(row)
        return False

    def _decide_reversal(self, row: Row, today: int) -> bool:
        of = [r for r in self.rows if r.id == row.reverses and r.kind in REVERSED_BY[row.kind]]
        if not of:
            self._leave_unapplied(str(row.reverses), -row.amount)
            self.refused.append(row)
            return True
        if row.amount > of[0].left:
            self._leave_unapplied(row.id, -row.amount)
            return True
        applied = row.amount if of[0].standing else 0
        self._leave_unapplied(of[0].id, applied - row.amount)
        self.rows[self.rows.index(of[0])] = replace(of[0], left=of[0].left - row.amount)
        self.rows.append(replace(row, standing=applied))
        return False


_IN_CENTS = ("principal", "interest", "credit", "shortage", "refunded", "discount_returned", "unapplied")
_PAIRS = ("charged_off", "recovered", "waived")


def of_row(row: Day) -> dict[str, object]:
    """What a row of the account says, in the terms of these books."""
    said: dict[str, object] = {name: int(getattr(row, name) * 100) for name in _IN_CENTS}
    for name in _PAIRS:
        said[name] = tuple(int(getattr(row, f"{name}_{part}") * 100) for part in ("principal", "interest"))
    said["accrued"] = int(row.accrued.scaleb(8))
    said["deferred"] = int(row.deferred_discount.scaleb(8))
    said["cost_recovered"] = int(row.cost_recovered * 100)
    said["nonaccrual_since"] = row.nonaccrual_since
    for name in ("status", "days_past_due", "last_instalment", "oldest_due_on", "charged_off_on"):
        said[name] = getattr(row, name)
    return said


def of_life(life: Life, unapplied: int) -> dict[str, object]:
    """What these books say of the same day."""
    said: dict[str, object] = {name: getattr(life, name) for name in _IN_CENTS if name != "unapplied"}
    said |= {name: getattr(life, name) for name in (*_PAIRS, "accrued", "deferred", "cost_recovered", "status")}
    said["days_past_due"] = life.days_past_due
    due, gone, since = life.oldest_due_on, life.charged_off_on, life.nonaccrual_since
    return said | {
        "unapplied": unapplied,
        "last_instalment": life.last,
        "oldest_due_on": date.fromordinal(due) if due else None,
        "charged_off_on": date.fromordinal(gone) if gone else None,
        "nonaccrual_since": date.fromordinal(since) if since else None,
    }
