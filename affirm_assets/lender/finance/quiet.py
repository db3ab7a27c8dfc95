"""Quiet days, on which nothing moves but interest, of many accounts at once: columns of whole numbers.

The rules are those of finance.account and finance.days; tests hold each column against them. An amount is int64: cents,
or hundred-millionths of a dollar (`accrued` and what is deferred). A rate in percent a year has six places (`apr`) or
eight (`effective_rate`). A date is days since 1970, NEVER where there is none.
"""

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray

from affirm_assets.lender.finance import due_dates
from affirm_assets.lender.finance.days import DAYS_KEPT_SETTLED
from affirm_assets.lender.finance.delinquency import BUCKETS_END, CHARGE_OFF_DAYS
from affirm_assets.lender.finance.due_dates import Ints
from affirm_assets.lender.vocabulary import OPEN_BUCKETS, DelinquencyBucket, LoanStatus

Bools = NDArray[np.bool_]

NEVER = 10**7
"""No date: later than each that there is."""

BUCKETS: tuple[DelinquencyBucket, ...] = (*OPEN_BUCKETS, "charged_off")
STATUSES: tuple[LoanStatus, ...] = ("open", "repaid", "charged_off")
"""What the numbers in the columns `bucket` and `status` stand for."""

# With these, no product or sum here is more than int64 holds, nor a sum more than its column does: ten million dollars
# (of what is accrued, a thousand million), a thousand percent, an effective rate of discount.MOST, a thousand
# instalments, and the days of ten years.
_MOST_CENTS = 10**9
_MOST_ACCRUED = 10**17
_MOST_APR = 10**9
_MOST_EFFECTIVE_RATE = 36_500 * 10**8
_MOST_INSTALMENTS = 1_000
_MOST_DAYS = 3_653

_PERCENT_DAYS = 36_500
CENT = 10**6
"""In hundred-millionths of a dollar."""


@dataclass(frozen=True, slots=True)
class Accounts:
    """Accounts at the end of their `day`: terms, what the product's rules say, and state; an element for each account.

    Columns are named as the account and its terms name them. due_day: 0 of a loan with instalments every 14 days.
    may_be_missing: hundredths of a percent of an instalment that counts as met.
    """

    day: Ints
    booked_on: Ints
    originated_on: Ints
    first_due_on: Ints
    due_day: Ints
    amount_lent: Ints
    instalments: Ints
    instalment: Ints
    apr: Ints
    effective_rate: Ints
    merchant_discount: Ints
    may_be_missing: Ints
    shortages_carried: Ints
    waived_below: Ints
    nonaccrual_after: Ints
    principal: Ints
    interest: Ints
    credit: Ints
    accrued: Ints
    paid: Ints
    shortage: Ints
    refunded: Ints
    discount_returned: Ints
    last_instalment: Ints
    highest_days_past_due: Ints
    charge_off_by: Ints
    reaged_on: Ints
    charged_off_on: Ints
    charged_off_principal: Ints
    charged_off_interest: Ints
    recovered_principal: Ints
    recovered_interest: Ints
    nonaccrual_since: Ints
    cost_recovered: Ints
    deferred_discount: Ints
    settled_on: Ints
    credit_since: Ints

    def __len__(self) -> int:
        return len(self.day)

    def __getitem__(self, which: "Ints | Bools | slice") -> Self:
        return type(self)(*(getattr(self, each.name)[which] for each in fields(self)))

    @property
    def owed(self) -> Ints:
        return self.principal + self.interest

    @property
    def is_charged_off(self) -> Bools:
        is_charged_off: Bools = self.charged_off_on != NEVER
        return is_charged_off

    @property
    def is_open(self) -> Bools:
        return ~self.is_charged_off & (self.owed > 0)

    @property
    def met(self) -> Ints:
        """What counts as paid of instalments."""
        return self.paid + self.shortage

    @property
    def instalments_met(self) -> Ints:
        met: Ints = np.minimum(self.met // self.instalment, self.last_instalment - 1)
        return met

    @property
    def oldest_due_on(self) -> Ints:
        is_due = self.is_open | self.is_charged_off
        return np.where(is_due, self.due_on(self.instalments_met + 1), NEVER)

    @property
    def late_since(self) -> Ints:
        reaged_on = np.where(self.reaged_on == NEVER, 0, self.reaged_on)
        return np.where(self.is_open, np.maximum(self.oldest_due_on, reaged_on), NEVER)

    def due_on(self, number: Ints) -> Ints:
        return due_dates.due_on(self.first_due_on, self.due_day, number)

    def fit(self, until: Ints) -> Bools:
        """Whether the days up to one can be computed here: amounts are small enough, and none is below zero."""
        fit = np.ones(len(self), dtype=np.bool_)
        for name, most in _MOST.items():
            column = getattr(self, name)
            fit &= (column >= 0) & (column <= most)
        fit &= (self.originated_on >= 0) & (self.instalment > 0)
        for days in (self.first_due_on - self.originated_on, until - self.day):
            fit &= (days >= 0) & (days <= _MOST_DAYS)
        return fit

    def close_by(self, until: Ints) -> Bools:
        """Whether a day up to one ends with a charge-off or a waiver, as Account.closes_on says."""
        late_since = self.late_since
        waived_on = np.where(self.owed < self.waived_below, self.due_on(self.last_instalment) + 1, NEVER)
        closes = np.zeros(len(self), dtype=np.bool_)
        for day in (late_since + CHARGE_OFF_DAYS, self.charge_off_by, waived_on):
            closes_on = np.maximum(day, self.booked_on)
            closes |= (closes_on > self.day) & (closes_on <= until)
        closes &= self.is_open
        return closes

    def last_kept(self, until: Ints) -> Ints:
        """The last day, up to one, for which an account has a row if nothing moves. None is settled and charged off."""
        return np.minimum(until, self.settled_on + DAYS_KEPT_SETTLED)


_MOST = {
    **dict.fromkeys(
        (
            "amount_lent",
            "merchant_discount",
            "instalment",
            "principal",
            "interest",
            "credit",
            "paid",
            "shortage",
            "refunded",
            "discount_returned",
            "cost_recovered",
            "charged_off_principal",
            "charged_off_interest",
            "recovered_principal",
            "recovered_interest",
        ),
        _MOST_CENTS,
    ),
    **dict.fromkeys(("accrued", "deferred_discount"), _MOST_ACCRUED),
    **dict.fromkeys(("instalments", "last_instalment"), _MOST_INSTALMENTS),
    "due_day": 31,
    "apr": _MOST_APR,
    "effective_rate": _MOST_EFFECTIVE_RATE,
}


@dataclass(frozen=True, slots=True)
class QuietDays:
    """Rows of quiet days, in order of their days. `account`: of each row, the place of its account.

    `columns`: those of finance.days.Day that change on quiet days. The others keep the value of the day before, or are
    zero.
    """

    account: Ints
    columns: dict[str, Ints]

    def last_rows(self) -> Ints:
        """The place of each account's last row, where each has a row."""
        last = np.empty(self.account.max(initial=-1) + 1, dtype=np.int64)
        last[self.account] = np.arange(len(self.account))
        return last


def quiet_days(accounts: Accounts, until: Ints) -> QuietDays:
    """The rows of each account's days after its own up to `until`, on which nothing moves but interest.

    The accounts `fit`, none does `close_by` that day, and `last_kept` is no earlier.
    """
    order = np.argsort(accounts.day - until, kind="stable")
    days = _Days.of(accounts[order], (until - accounts.day)[order])
    accrued = _accrued(days)
    owed = days.accounts.principal[days.at] + accrued["interest"]
    columns = {"as_of": days.as_of, **accrued, **_late(days), **_falling_due(days, owed), **_deferred(days)}
    by_day = np.argsort(days.as_of, kind="stable")
    return QuietDays(order[days.at[by_day]], {name: values[by_day] for name, values in columns.items()})


def closing(accounts: Accounts) -> dict[str, Ints]:
    """What the rows of the accounts' own day say of its end, beside what the account says."""
    none = np.zeros(len(accounts), dtype=np.int64)
    days = _Days(accounts, none, np.arange(len(accounts)), none, accounts.day, accounts.late_since, none == 0)
    columns = {**_late(days), **_falling_due(days, accounts.owed)}
    return {name: values for name, values in columns.items() if not name.startswith("opening_")}


@dataclass(frozen=True, slots=True)
class _Days:
    """Rows: the first day of all accounts, then the second of those that have one, and so on.

    `accounts` are in descending order of their number of days, so that those of a day are the first `counts` of them.
    Of each row, `at` is the place of its account and `number` the day's, from 1.
    """

    accounts: Accounts
    counts: Ints
    at: Ints
    number: Ints
    as_of: Ints
    late_since: Ints
    is_first: Bools

    @staticmethod
    def of(accounts: Accounts, lengths: Ints) -> "_Days":
        longest = int(lengths[0]) if len(lengths) else 0
        counts = np.searchsorted(-lengths, -np.arange(longest))
        number = np.repeat(np.arange(1, longest + 1), counts)
        at = np.arange(len(number)) - np.repeat(np.cumsum(counts) - counts, counts)
        return _Days(accounts, counts, at, number, accounts.day[at] + number, accounts.late_since[at], number == 1)


def _accrued(days: _Days) -> dict[str, Ints]:
    """Interest: each day accrues the same, and posts what the rounded sum grows by."""
    of, at = days.accounts, days.at
    a_day = _daily_interest(of.principal, of.apr)[at]
    accrued = of.accrued[at] + days.number * a_day
    opening = accrued - a_day
    posted, before = _to_cents(accrued), _to_cents(opening)
    interest = (of.interest - _to_cents(of.accrued))[at]
    return {
        "opening_accrued": opening,
        "accrued": accrued,
        "interest_accrued": posted - before,
        "opening_interest": interest + before,
        "interest": interest + posted,
    }


def _late(days: _Days) -> dict[str, Ints]:
    """Delinquency and nonaccrual."""
    of, at = days.accounts, days.at
    late = np.maximum(days.as_of - days.late_since, 0)
    highest, since = of.highest_days_past_due[at], of.nonaccrual_since[at]
    begins_on = days.late_since + of.nonaccrual_after[at]
    is_charged_off = of.is_charged_off[at]
    bucket = np.searchsorted(BUCKETS_END, late, side="right")
    status = np.where(of.is_open[at], STATUSES.index("open"), STATUSES.index("repaid"))

    def highest_by(late: Ints) -> Ints:
        return np.maximum(highest, late)

    def since_by(day: Ints) -> Ints:
        return np.where((since == NEVER) & (begins_on <= day), begins_on, since)

    return {
        "oldest_due_on": of.oldest_due_on[at],
        "days_past_due": late,
        "bucket": np.where(is_charged_off, BUCKETS.index("charged_off"), bucket),
        "status": np.where(is_charged_off, STATUSES.index("charged_off"), status),
        "opening_highest_days_past_due": np.where(days.is_first, highest, highest_by(late - 1)),
        "highest_days_past_due": highest_by(late),
        "opening_nonaccrual_since": np.where(days.is_first, since, since_by(days.as_of - 1)),
        "nonaccrual_since": since_by(days.as_of),
    }


def _falling_due(days: _Days, owed: Ints) -> dict[str, Ints]:
    """What is past due and falls due next by the level instalments, what pays the loan off, and what credit is old."""
    of, at = days.accounts, days.at
    is_open, last, level, met = of.is_open[at], of.last_instalment[at], of.instalment[at], of.met[at]
    first_due_on, due_day = of.first_due_on[at], of.due_day[at]
    due = np.minimum(due_dates.due_before(first_due_on, due_day, days.as_of), last)
    is_all_due = due == last
    past = np.where(is_open, np.where(is_all_due, owed, np.minimum(np.maximum(level * due - met, 0), owed)), 0)
    following = np.maximum(of.instalments_met[at], due) + 1
    left = owed - past
    # The last instalment is whatever is left.
    unpaid = np.where(following == last, left, np.minimum(level * following - np.maximum(met, level * due), left))
    falls_due = is_open & ~is_all_due
    lost = of.charged_off_principal + of.charged_off_interest - of.recovered_principal - of.recovered_interest
    is_credit_old = days.as_of > due_dates.months_after(of.credit_since, 6)[at]
    return {
        "amount_past_due": past,
        "next_due_on": np.where(falls_due, due_dates.due_on(first_due_on, due_day, following), NEVER),
        "next_due_amount": np.where(falls_due, unpaid, 0),
        "payoff_amount": np.where(of.is_charged_off[at], lost[at], owed),
        "credit_over_six_months": np.where(is_credit_old, of.credit[at], 0),
    }


def _deferred(days: _Days) -> dict[str, Ints]:
    """What is left of the deferred discount. What a day earns depends on what the day before left: a day at a time."""
    of, at = days.accounts, days.at
    begins_after = days.as_of - 1
    # Where days past due are enough for nonaccrual already, the first day finds out, and earns.
    begins_on = np.maximum(of.late_since + of.nonaccrual_after, of.day + 1)
    since = np.where(of.nonaccrual_since == NEVER, begins_on, of.nonaccrual_since)
    # A charged-off loan has no principal, and so earns nothing.
    earns = (of.deferred_discount > 0)[at] & (begins_after < since[at])
    principal = of.principal[at]
    is_late = earns & (days.late_since < begins_after)
    principal[is_late] = np.minimum(principal[is_late], scheduled_principal(of, at[is_late], begins_after[is_late]))
    interest = _daily_interest(principal, of.apr[at])
    opening, closing = np.empty_like(at), np.empty_like(at)
    left, start = of.deferred_discount, 0
    for count in days.counts:
        rows, left = slice(start, start + count), left[:count]
        opening[rows] = left
        earned = _daily_income(principal[rows] * CENT - left, of.effective_rate[:count]) - interest[rows]
        left = left - np.where(earns[rows], np.clip(earned, 0, left), 0)
        closing[rows] = left
        start += count
    return {"opening_deferred_discount": opening, "deferred_discount": closing}


def scheduled_principal(of: Accounts, at: Ints, day: Ints, ahead: int = 0) -> Ints:
    """Account._scheduled_principal, of the accounts at these places on these days."""
    places, place = np.unique(at, return_inverse=True)
    scheduled = of[places]
    due = due_dates.due_before(of.first_due_on[at], of.due_day[at], day + 1) + ahead
    due = np.minimum(due, of.instalments[at])
    by_number = []
    principal, since = scheduled.amount_lent, scheduled.originated_on
    for number in range(1, int(due.max(initial=0)) + 2):
        by_number.append(principal)
        due_on = scheduled.due_on(np.full(len(places), number))
        interest = _to_cents(_daily_interest(principal, scheduled.apr) * (due_on - since))
        principal = np.maximum(principal + np.minimum(interest - scheduled.instalment, 0), 0)
        since = due_on
    to_come = np.where(due < of.instalments[at], np.array(by_number)[due, place], 0)
    return np.maximum(to_come - of.refunded[at], 0)


def _daily_interest(principal: Ints, apr: Ints) -> Ints:
    """accrual.daily_interest."""
    return (principal * apr + _PERCENT_DAYS // 2) // _PERCENT_DAYS


def _daily_income(amount: Ints, rate: Ints) -> Ints:
    """accrual.daily_interest of an amount with eight places at a rate with eight; of one below zero, zero or less."""
    return share(amount, rate, _PERCENT_DAYS * 10**8)


def share(amount: Ints, factor: Ints, divisor: "int | Ints") -> Ints:
    """amount * factor / divisor, half up; of an amount below zero, zero or less. The factor is at most the divisor, and
    that at most 4 * 10**12.

    By long division, six digits of the amount at a time: the whole product is more than int64 holds.
    """
    base = 10**6
    left, quotient, rest = amount, np.zeros_like(amount), np.zeros_like(amount)
    for power in (base**2, base, 1):
        digits = left // power
        left = left - digits * power
        rest = rest * base + digits * factor
        if power == 1:
            rest = rest + divisor // 2
        times = rest // divisor
        quotient = quotient * base + times
        rest = rest - times * divisor
    return quotient


def _to_cents(amount: Ints) -> Ints:
    """accrual.to_cents, of what is not below zero."""
    return (amount + CENT // 2) // CENT
