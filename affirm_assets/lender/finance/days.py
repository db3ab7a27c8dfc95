"""An account over a range of days: for each, how it opened, what moved, and how it closed."""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from operator import attrgetter
from typing import Any, NamedTuple

from affirm_assets.lender.finance.account import Account
from affirm_assets.lender.finance.accrual import ZERO
from affirm_assets.lender.finance.delinquency import bucket, days_past_due
from affirm_assets.lender.finance.movements import Application, Movement, in_order
from affirm_assets.lender.vocabulary import ADJUSTMENT_KINDS, MovementKind

DAYS_KEPT_SETTLED = 180
"""How long a loan on which nothing is owed any more keeps a row each day; a charged-off loan keeps it always."""


class Day(NamedTuple):
    """One day of one loan. Dollars with two places; `accrued`, `deferred_discount` and their openings with eight.

    principal = opening + lent - paid + reversed - refunded - charged off - waived
    interest = opening + accrued - given back - paid + reversed - refunded - charged off - waived
    credit = opening + overpaid - reversed + refunded - paid out

    What a late row takes back of principal or credit that others paid counts as reversed; what it takes back of a
    charge-off or a waiver lowers that, below zero too.

    What opens is what the row of the day before closed with; zero or null if there was none, or it was the last of a
    settled loan. What stands below `settled_on` is of the loan's whole history up to the day.
    """

    as_of: date
    opening_principal: Decimal
    opening_interest: Decimal
    opening_credit: Decimal
    opening_accrued: Decimal
    opening_paid: Decimal
    opening_shortage: Decimal
    opening_refunded: Decimal
    opening_discount_returned: Decimal
    opening_last_instalment: int
    opening_highest_days_past_due: int
    opening_charge_off_by: date | None
    opening_charge_off_cause: str | None
    opening_reaged_on: date | None
    opening_charged_off_on: date | None
    opening_nonaccrual_since: date | None
    opening_cost_recovered: Decimal
    opening_deferred_discount: Decimal
    opening_settled_on: date | None
    opening_credit_since: date | None
    opening_unapplied: Decimal
    principal_lent: Decimal
    principal_paid: Decimal
    principal_reversed: Decimal
    principal_refunded: Decimal
    principal_charged_off: Decimal
    principal_waived: Decimal
    interest_accrued: Decimal
    interest_given_back: Decimal
    interest_paid: Decimal
    interest_reversed: Decimal
    interest_refunded: Decimal
    interest_charged_off: Decimal
    interest_waived: Decimal
    credit_overpaid: Decimal
    credit_reversed: Decimal
    credit_refunded: Decimal
    credit_paid_out: Decimal
    recovery_principal: Decimal
    recovery_interest: Decimal
    unapplied_moved: Decimal
    adjusted: Decimal
    principal: Decimal
    interest: Decimal
    credit: Decimal
    oldest_due_on: date | None
    days_past_due: int
    bucket: str
    status: str
    amount_past_due: Decimal
    next_due_on: date | None
    next_due_amount: Decimal
    payoff_amount: Decimal
    credit_over_six_months: Decimal
    settled_on: date | None
    accrued: Decimal
    paid: Decimal
    shortage: Decimal
    refunded: Decimal
    discount_returned: Decimal
    last_instalment: int
    highest_days_past_due: int
    charge_off_by: date | None
    charge_off_cause: str | None
    reaged_on: date | None
    charged_off_on: date | None
    charged_off_principal: Decimal
    charged_off_interest: Decimal
    recovered_principal: Decimal
    recovered_interest: Decimal
    waived_principal: Decimal
    waived_interest: Decimal
    nonaccrual_since: date | None
    cost_recovered: Decimal
    deferred_discount: Decimal
    credit_since: date | None
    unapplied: Decimal


Row = dict[str, Any]
"""A day by column."""

_BLANK: Row = dict.fromkeys(Day._fields)

_A_DAY = timedelta(days=1)

# A column has the name of what it shows of the account, with opening_ before it for the day before.
_OPENING = tuple(name for name in Day._fields if name.startswith("opening_"))
_opening = attrgetter(*(name.removeprefix("opening_") for name in _OPENING))
_CLOSING = tuple(name for name in Day._fields if hasattr(Account, name))
_closing = attrgetter(*_CLOSING)

_OPENS_WITHOUT = {
    **dict.fromkeys(
        f"opening_{name}"
        for name in (
            "charge_off_by",
            "charge_off_cause",
            "reaged_on",
            "charged_off_on",
            "nonaccrual_since",
            "settled_on",
            "credit_since",
        )
    ),
    **dict.fromkeys(("opening_last_instalment", "opening_highest_days_past_due"), 0),
}
_NO_OPENING = tuple(_OPENS_WITHOUT.get(name, ZERO) for name in _OPENING)
MOVED = Day._fields[Day._fields.index("principal_lent") : Day._fields.index("adjusted") + 1]
"""The columns of what a day moved. Of a quiet day, all but `interest_accrued` are zero."""
_NOTHING_MOVED = dict.fromkeys(MOVED, ZERO)


def days(account: Account, last: date, movements: Iterable[Movement], *, is_new: bool = False) -> Iterator[Day]:
    """A row for each day after the account's, up to `last`. is_new: it was just opened; the first is of its booking.

    A settled loan has none after DAYS_KEPT_SETTLED days, but for a day on which something moves. The account goes on.
    """
    for each in stretches(account, last, movements, is_new=is_new):
        if isinstance(each, Day):
            yield each
        else:
            yield from quiet_days(account, each)


def stretches(
    account: Account, last: date, movements: Iterable[Movement], *, is_new: bool = False
) -> Iterator[Day | date]:
    """As `days`, but a date where quiet days begin: the last of them, to which who iterates takes the account."""
    by_day = _by_day(account, movements, is_new=is_new)
    for day in _event_days(account, last, by_day):
        is_first = is_new and day == account.booked_on
        if not is_first and account.day < (until := _last_kept(account, day - _A_DAY)):
            yield until
        yield _eventful(account, day, by_day[day], is_first=is_first)
    if account.day < (until := _last_kept(account, last)):
        yield until


def applications(
    account: Account, last: date, movements: Iterable[Movement], *, is_new: bool = False
) -> Iterator[tuple[Movement, Application]]:
    """What came of each movement, as in `days`, without a row for each day. The account goes on to its last event."""
    by_day = _by_day(account, movements, is_new=is_new)
    for day in _event_days(account, last, by_day):
        account.go_to(day)
        for movement in in_order(by_day[day]):
            yield movement, account.apply(movement)
        account.close()


def _by_day(account: Account, movements: Iterable[Movement], *, is_new: bool) -> defaultdict[date, list[Movement]]:
    by_day: defaultdict[date, list[Movement]] = defaultdict(list)
    if is_new:
        by_day[account.booked_on] = []
    for movement in movements:
        by_day[movement.posted_on].append(movement)
    return by_day


def _event_days(account: Account, last: date, by_day: Mapping[date, object]) -> Iterator[date]:
    """The days that move something but interest, in order. Looks at the account anew after each: a payment that came in
    time puts off the charge-off."""
    known = deque(sorted(by_day))
    while True:
        upcoming = [known[0]] if known else []
        if closes_on := account.closes_on:
            upcoming.append(closes_on)
        if not upcoming or (day := min(upcoming)) > last:
            return
        if known and known[0] == day:
            known.popleft()
        yield day


def keeps_row(account: Account, day: date) -> bool:
    """Whether the account, as it is, has a row on a day on which nothing moves."""
    return _last_kept(account, day) == day


def _last_kept(account: Account, last: date) -> date:
    """The last day, up to this one, for which the account has a row if nothing moves."""
    if account.settled_on is None or account.charged_off_on is not None:
        return last
    return min(last, account.settled_on + timedelta(days=DAYS_KEPT_SETTLED))


def quiet_days(account: Account, last: date) -> Iterator[Day]:
    """Days on which nothing moves but interest: in all else, each repeats the one before. Of many loans at once,
    finance.quiet computes them."""
    # Changed in place, since there is a row for each loan and day.
    row = _row(account, _opening(account), _NOTHING_MOVED)
    # What follows from instalments and payments is the same until the next one falls due.
    late_since, due = account.late_since, _falling_due(account)
    while account.day < last:
        row["opening_interest"] = account.interest
        row["opening_accrued"] = account.accrued
        row["opening_highest_days_past_due"] = account.highest_days_past_due
        row["opening_nonaccrual_since"] = account.nonaccrual_since
        row["opening_deferred_discount"] = account.deferred_discount
        row["interest_accrued"] = account.begin(account.day + _A_DAY, late_since)
        late = days_past_due(late_since, account.day) if late_since else 0
        if account.day > due.until:
            due = _falling_due(account)
        account.end_late(late, account.day)
        row["as_of"] = account.day
        row["interest"] = account.interest
        row["accrued"] = account.accrued
        row["days_past_due"] = late
        row["payoff_amount"] = account.payoff_amount
        row["highest_days_past_due"] = account.highest_days_past_due
        row["nonaccrual_since"] = account.nonaccrual_since
        row["deferred_discount"] = account.deferred_discount
        _fill_in(row, account, due)
        yield Day._make(row.values())


def _fill_in(row: Row, account: Account, due: "_Due") -> None:
    """What a row says of its day that the account does not: what falls due, and the credit that is to be paid out."""
    row["bucket"] = bucket(row["days_past_due"]) if account.charged_off_on is None else "charged_off"
    row["amount_past_due"], row["next_due_on"], row["next_due_amount"] = due.of(account.owed)
    row["credit_over_six_months"] = account.credit if account.is_credit_old else ZERO


def _eventful(account: Account, day: date, movements: Iterable[Movement], *, is_first: bool) -> Day:
    """A day on which more than interest may move."""
    is_carried_on = not is_first and keeps_row(account, day)
    opening = _opening(account) if is_carried_on else _NO_OPENING
    lent = account.principal if is_first else ZERO
    accrued = account.go_to(day)
    given_up = _given_up(account)
    applied = _applied(account, movements)
    account.close()
    given_up_today = {name: amount - given_up[name] for name, amount in _given_up(account).items()}
    moved = {
        **given_up_today,
        "principal_lent": lent,
        "principal_paid": applied["payment", "principal"],
        "principal_reversed": -applied["payment_reversal", "principal"],
        "principal_refunded": applied["refund", "principal"],
        "interest_accrued": accrued,
        "interest_given_back": applied[None, "interest_given_back"],
        "interest_paid": applied["payment", "interest"],
        "interest_reversed": -applied["payment_reversal", "interest"],
        "interest_refunded": applied["refund", "interest"],
        "credit_overpaid": applied["payment", "credit"],
        "credit_reversed": -applied["payment_reversal", "credit"],
        "credit_refunded": applied["refund", "credit"],
        "credit_paid_out": -applied["credit_refund", "credit"],
        "recovery_principal": applied[None, "recovery_principal"],
        "recovery_interest": applied[None, "recovery_interest"],
        "unapplied_moved": applied[None, "unapplied"],
        "adjusted": applied[None, "adjusted"],
    }
    return Day._make(_row(account, opening, moved).values())


def _given_up(account: Account) -> dict[str, Decimal]:
    """What has been given up of a loan so far, by the column of what a day adds to it."""
    return {
        "principal_charged_off": account.charged_off_principal,
        "principal_waived": account.waived_principal,
        "interest_charged_off": account.charged_off_interest,
        "interest_waived": account.waived_interest,
    }


def _row(account: Account, opening: Iterable[Any], moved: Mapping[str, Decimal]) -> Row:
    """The account's day, its columns in order; `opening` in the order of _OPENING."""
    row = _BLANK.copy()
    row["as_of"] = account.day
    row.update(zip(_OPENING, opening, strict=True))
    row.update(moved)
    row.update(zip(_CLOSING, _closing(account), strict=True))
    _fill_in(row, account, _falling_due(account))
    return row


@dataclass(frozen=True, slots=True)
class _Due:
    """What is past due and what falls due next by the level instalments, on days up to `until`.

    Of both no more than is owed; an amount that is null is all of it that is left: the last instalment is whatever is.
    """

    past: Decimal | None = ZERO
    next_on: date | None = None
    next: Decimal | None = ZERO
    until: date = date.max

    def of(self, owed: Decimal) -> tuple[Decimal, date | None, Decimal]:
        """What is past due at the end of a day, and when how much falls due next: null and zero if nothing is."""
        past = owed if self.past is None else min(self.past, owed)
        left = owed - past
        return past, self.next_on, left if self.next is None else min(self.next, left)


def _falling_due(account: Account) -> _Due:
    """As of the end of the account's day, as long as nothing is paid."""
    if account.charged_off_on is not None or not account.is_owed:
        return _Due()
    terms, last = account.terms, account.last_instalment
    due = min(terms.due_before(account.day), last)
    if due == last:
        return _Due(past=None)
    level, met = terms.instalment, account.paid + account.shortage
    following = max(account.instalments_met, due) + 1
    amount = None if following == last else level * following - max(met, level * due)
    return _Due(max(level * due - met, ZERO), terms.due_on(following), amount, terms.due_on(due + 1))


Applied = defaultdict[tuple[MovementKind | None, str], Decimal]
"""What a day's movements did: sums by the kind of movement, null where a column is of any, and the part of its
application."""

_BY_KIND = ("interest", "principal", "credit")
_OF_ANY_KIND = ("recovery_principal", "recovery_interest", "unapplied", "interest_given_back")


def _applied(account: Account, movements: Iterable[Movement]) -> Applied:
    """Apply the day's movements, and add up what they did by the kind whose columns hold it."""
    sums: Applied = defaultdict(lambda: ZERO)
    for movement in in_order(movements):
        application = account.apply(movement)
        for part in _BY_KIND:
            amount = getattr(application, part)
            sums[_counted_as(movement.kind, part, amount), part] += amount
        for part in _OF_ANY_KIND:
            sums[None, part] += getattr(application, part)
        if movement.kind in ADJUSTMENT_KINDS:
            sums[None, "adjusted"] += application.money
    return sums


def _counted_as(kind: MovementKind, part: str, amount: Decimal) -> MovementKind:
    """The kind of movement whose column holds a part: of principal and credit, no column falls below zero.

    A late row may change what others have paid, or a reversal take that back, by a few cents that go the other way.
    What a recovery exceeds the loss by is overpaid as what a payment exceeds the debt by.
    """
    kind = _SAME_COLUMNS.get(kind, kind)
    if part in ("principal", "credit"):
        if amount < 0 and kind in ("payment", "refund"):
            return "payment_reversal"
        if amount > 0 and kind == "payment_reversal":
            return "payment"
    return kind


# What adjustments pay stands with what payments do, and `adjusted` says how much it is. Reversals stand together.
_SAME_COLUMNS: Mapping[MovementKind, MovementKind] = {
    **dict.fromkeys(("recovery", *ADJUSTMENT_KINDS), "payment"),
    "refund_reversal": "payment_reversal",
}
