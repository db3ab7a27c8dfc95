"""An account over a range of days: for each, how it opened, what moved, and how it closed."""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from operator import attrgetter
from typing import Any, NamedTuple

from affirm_assets.lender.finance.account import Account
from affirm_assets.lender.finance.accrual import ZERO
from affirm_assets.lender.finance.delinquency import bucket, days_past_due
from affirm_assets.lender.finance.movements import Application, Movement, in_order
from affirm_assets.lender.vocabulary import LoanKind

DAYS_KEPT_SETTLED = 180
"""How long a loan on which nothing is owed any more keeps a row each day; a charged-off loan keeps it always."""


class Day(NamedTuple):
    """One day of one loan. Dollars; `accrued` and `opening_accrued` with eight places, all else with two.

    principal = opening + lent - paid + reversed - refunded - charged off
    interest = opening + accrued - given back - paid + reversed - refunded - charged off
    credit = opening + overpaid - reversed + refunded - paid out

    What a late row takes back of principal or credit that others paid counts as reversed.

    What opens is what the row of the day before closed with; zero or null if there was none, or it was the last of a
    settled loan. What stands below `settled_on` is of the loan's whole history up to the day.
    """

    as_of: date
    opening_principal: Decimal
    opening_interest: Decimal
    opening_credit: Decimal
    opening_accrued: Decimal
    opening_paid: Decimal
    opening_refunded: Decimal
    opening_discount_returned: Decimal
    opening_last_instalment: int
    opening_settled_on: date | None
    opening_unapplied: Decimal
    principal_lent: Decimal
    principal_paid: Decimal
    principal_reversed: Decimal
    principal_refunded: Decimal
    principal_charged_off: Decimal
    interest_accrued: Decimal
    interest_given_back: Decimal
    interest_paid: Decimal
    interest_reversed: Decimal
    interest_refunded: Decimal
    interest_charged_off: Decimal
    credit_overpaid: Decimal
    credit_reversed: Decimal
    credit_refunded: Decimal
    credit_paid_out: Decimal
    recovery: Decimal
    unapplied_moved: Decimal
    principal: Decimal
    interest: Decimal
    credit: Decimal
    oldest_due_on: date | None
    days_past_due: int
    bucket: str
    status: str
    settled_on: date | None
    accrued: Decimal
    paid: Decimal
    refunded: Decimal
    discount_returned: Decimal
    last_instalment: int
    charged_off_on: date | None
    charged_off_principal: Decimal
    charged_off_interest: Decimal
    recovered: Decimal
    unapplied: Decimal


_A_DAY = timedelta(days=1)
_AT = {column: place for place, column in enumerate(Day._fields)}


def _columns(first: str, last: str) -> tuple[str, ...]:
    return Day._fields[_AT[first] : _AT[last] + 1]


# A column has the name of the account's field that it shows, with opening_ before it for the day before.
_OPENING = _columns("opening_principal", "opening_unapplied")
_opening = attrgetter(*(name.removeprefix("opening_") for name in _OPENING))
_balances = attrgetter(*_columns("principal", "credit"))
_history = attrgetter(*_columns("settled_on", "unapplied"))

_NO_OPENING = tuple({"opening_last_instalment": 0, "opening_settled_on": None}.get(name, ZERO) for name in _OPENING)
_NOTHING_MOVED = dict.fromkeys(_columns("principal_lent", "unapplied_moved"), ZERO)


def days(account: Account, last: date, movements: Iterable[Movement], booked_on: date | None = None) -> Iterator[Day]:
    """A row for each day after the account's, up to `last`; of an account just opened from `booked_on`, its first.

    A settled loan has none after DAYS_KEPT_SETTLED days, but for a day on which something moves. The account goes on.
    """
    by_day = _by_day(movements, booked_on)
    for day in _event_days(account, last, by_day, booked_on):
        if day != booked_on:
            yield from _quiet(account, day - timedelta(days=1))
        yield _eventful(account, day, by_day[day], is_first=day == booked_on)
    yield from _quiet(account, last)


def applications(
    account: Account, last: date, movements: Iterable[Movement], booked_on: date | None = None
) -> Iterator[tuple[Movement, Application]]:
    """What came of each movement, as in `days`, without a row for each day. The account goes on to its last event."""
    by_day = _by_day(movements, booked_on)
    for day in _event_days(account, last, by_day, booked_on):
        account.begin(day)
        for movement in in_order(by_day[day]):
            yield movement, account.apply(movement)
        account.close()


def _by_day(movements: Iterable[Movement], booked_on: date | None) -> defaultdict[date, list[Movement]]:
    by_day: defaultdict[date, list[Movement]] = defaultdict(list)
    if booked_on:
        by_day[booked_on] = []
    for movement in movements:
        by_day[movement.posted_on].append(movement)
    return by_day


def _event_days(account: Account, last: date, by_day: Mapping[date, object], booked_on: date | None) -> Iterator[date]:
    """The days that move something but interest, in order. Looks at the account anew after each: a payment that came in
    time puts off the charge-off. Nothing is charged off before it is booked."""
    known = deque(sorted(by_day))
    while True:
        upcoming = [known[0]] if known else []
        is_booked = booked_on is None or account.day >= booked_on
        if is_booked and (due_on := account.charge_off_due_on) and due_on > account.day:
            upcoming.append(due_on)
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


def _quiet(account: Account, last: date) -> Iterator[Day]:
    """Days on which nothing moves but interest: in all else, each repeats the one before."""
    last = _last_kept(account, last)
    if account.day >= last:
        return
    # Changed in place, since there is a row for each loan and day.
    row: list[Any] = [*_day(account, _opening(account), _NOTHING_MOVED)]
    due_on = row[_AT["oldest_due_on"]]
    while account.day < last:
        row[_AT["opening_interest"]] = account.interest
        row[_AT["opening_accrued"]] = account.accrued
        row[_AT["interest_accrued"]] = account.begin(account.day + _A_DAY)
        row[_AT["as_of"]] = account.day
        row[_AT["interest"]] = account.interest
        row[_AT["accrued"]] = account.accrued
        row[_AT["days_past_due"]], row[_AT["bucket"]] = _delinquency(account, due_on)
        yield Day._make(row)


def _eventful(account: Account, day: date, movements: Iterable[Movement], *, is_first: bool) -> Day:
    """A day on which more than interest may move."""
    is_carried_on = not is_first and keeps_row(account, day)
    opening = _opening(account) if is_carried_on else _NO_OPENING
    lent = account.principal if is_first else ZERO
    accrued = account.begin(day)
    applied = _applied(account, movements)
    charge_off = account.close()
    moved = {
        **_NOTHING_MOVED,  # for the order of the columns
        "principal_lent": lent,
        "principal_paid": applied["payment", "principal"],
        "principal_reversed": -applied["payment_reversal", "principal"],
        "principal_refunded": applied["refund", "principal"],
        "principal_charged_off": charge_off.principal,
        "interest_accrued": accrued,
        "interest_given_back": _of_any_kind(applied, "interest_given_back"),
        "interest_paid": applied["payment", "interest"],
        "interest_reversed": -applied["payment_reversal", "interest"],
        "interest_refunded": applied["refund", "interest"],
        "interest_charged_off": charge_off.interest,
        "credit_overpaid": applied["payment", "credit"],
        "credit_reversed": -applied["payment_reversal", "credit"],
        "credit_refunded": applied["refund", "credit"],
        "credit_paid_out": -applied["credit_refund", "credit"],
        "recovery": _of_any_kind(applied, "recovery"),
        "unapplied_moved": _of_any_kind(applied, "unapplied"),
    }
    return _day(account, opening, moved)


def _day(account: Account, opening: Sequence[Any], moved: Mapping[str, Decimal]) -> Day:
    """The row of the account's day; `opening` and `moved` in the order of their columns."""
    due_on = account.oldest_due_on
    late, age = _delinquency(account, due_on)
    delinquency = (due_on, late, age, account.status)
    return Day._make((account.day, *opening, *moved.values(), *_balances(account), *delinquency, *_history(account)))


def _delinquency(account: Account, due_on: date | None) -> tuple[int, str]:
    """The days past due, and the bucket. `due_on`: the account's oldest_due_on, which a quiet day does not move."""
    late = days_past_due(due_on, account.day) if due_on else 0
    return late, bucket(late) if account.charged_off_on is None else "charged_off"


Applied = defaultdict[tuple[LoanKind, str], Decimal]
"""What a day's movements did: sums by the kind of movement and the part of its application."""

_PARTS = ("interest", "principal", "credit", "recovery", "unapplied", "interest_given_back")


def _applied(account: Account, movements: Iterable[Movement]) -> Applied:
    """Apply the day's movements, and add up what they did by the kind whose columns hold it."""
    sums: Applied = defaultdict(lambda: ZERO)
    for movement in in_order(movements):
        application = account.apply(movement)
        for part in _PARTS:
            amount = getattr(application, part)
            sums[_counted_as(movement.kind, part, amount), part] += amount
    return sums


def _counted_as(kind: LoanKind, part: str, amount: Decimal) -> LoanKind:
    """The kind of movement whose column holds a part: of principal and credit, no column falls below zero.

    A late row may change what others have paid, or a reversal take that back, by a few cents that go the other way.
    What a recovery exceeds the loss by is overpaid as what a payment exceeds the debt by.
    """
    if part in ("principal", "credit"):
        if amount < 0 and kind in ("payment", "refund"):
            return "payment_reversal"
        if amount > 0 and kind in ("payment_reversal", "recovery"):
            return "payment"
    return kind


def _of_any_kind(applied: Applied, part: str) -> Decimal:
    return sum((amount for (_, each), amount in applied.items() if each == part), ZERO)
