"""Unit-periods of Regulation Z's actuarial method: 12 CFR 1026, Appendix J, (b)(2) to (b)(5).

A unit-period is what a transaction's time is counted in: so many days, or half months. How many of them there are
between two days is counted by rules of its own, in which all months are equal, and odd days are part of one.
"""

import calendar
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from itertools import pairwise
from typing import NamedTuple

from affirm_assets.lender.finance.periods import is_on, months_after

_LAST_OF_HALF = 15
_MONTH, _YEAR = 2, 24
_DAYS_OF_YEAR = 365


class UnitPeriod(NamedTuple):
    """So many half months, or so many days: one of both is zero. A year at most."""

    half_months: int
    days: int

    @property
    def length(self) -> int:
        """In days, of which a month has 30 and a year 365: to compare with others."""
        return self.days or (_DAYS_OF_YEAR if self.half_months == _YEAR else 15 * self.half_months)

    @property
    def per_year(self) -> tuple[int, int]:
        """How many are a year, as a fraction: of weeks 52, of days 365. (b)(5)(ii) to (v), and of other days (vii)."""
        if self.half_months:
            return _YEAR, self.half_months
        return (_DAYS_OF_YEAR if self.days % 7 else 364), self.days


class Elapsed(NamedTuple):
    """Full unit-periods, and what is left as the fraction `odd / of` of one."""

    full: int
    odd: int
    of: int


class Day(NamedTuple):
    """A date, and the day of the month from which its months are counted: more than its own where that month is short.

    (b)(3)(iv): of what falls due on the last day of each month, months are counted from last day to last day; of what
    falls due on the 29th or 30th, the last of February is that day.
    """

    on: date
    of_month: int

    def back(self, months: int) -> date:
        return months_after(self.on, -months, self.of_month)


def days_of(dates: Sequence[date], since: date) -> list[Day]:
    """The days of a series of advances, or of payments, of a term that begins on a day.

    A month may have one in each of its halves. Those in second halves may all be on one day of the month, or on the
    last where a month lacks it: on the day on which the term begins, or else on the latest of theirs.
    """
    late = [day for day in dates if day.day > _LAST_OF_HALF]
    latest = max((day.day for day in late), default=0)
    of_series = [since.day, latest] if len(dates) > 1 else [latest]
    of_month = next((each for each in of_series if all(is_on(day, each) for day in late)), 0)
    return [Day(day, of_month if of_month and day.day > _LAST_OF_HALF else day.day) for day in dates]


def unit_period(advances: Sequence[Day], payments: Sequence[Day]) -> UnitPeriod:
    """The unit-period of a transaction, (b)(4): the period between advances or payments that occurs most often.

    Of several that occur as often, the smallest; if none occurs twice, the standard interval that is nearest to the
    average of all periods, of two that are as near the smaller; of one advance and one payment, the term. A year at
    most. advances, payments: in order, each on days of its own; the first advance is before the first payment.
    """
    periods = list(_periods(advances, payments))
    if len(periods) == 1:
        [(since, until)] = periods
        return _term(since.on, until)
    counted = Counter(unit for since, until in periods for unit in _units(since, until))
    common = [unit for unit, times in counted.items() if times > 1]
    if common:
        # What is 15 days and a half month each time is a half month, which is a standard interval.
        return min(common, key=lambda unit: (-counted[unit], unit.length, unit.days))
    total = sum((until.on - since.on).days for since, until in periods)
    return min(_standard_intervals(), key=lambda unit: (abs(unit.length * len(periods) - total), unit.length))


def elapsed(unit: UnitPeriod, since: date, until: Day) -> Elapsed:
    """The unit-periods from the beginning of the term to a day, (b)(5): counted back from the day, odd days first."""
    if not unit.half_months:
        full, odd = divmod((until.on - since).days, unit.days)
        return Elapsed(full, odd, unit.days)
    months = _full_months(since, until)
    begins = until.back(months)
    odd = (begins - since).days
    if unit.half_months == _YEAR:
        years, left = divmod(months, 12)
        if not odd:
            return Elapsed(years, left, 12)
        return Elapsed(years, (until.back(12 * years) - since).days, _DAYS_OF_YEAR)
    full, odd = divmod(30 * months + odd, unit.length)
    return Elapsed(full, odd, unit.length)


def _periods(advances: Sequence[Day], payments: Sequence[Day]) -> Iterator[tuple[Day, Day]]:
    """(b)(3)(i): between advances, between payments, and from the beginning of the term to the first payment."""
    yield from pairwise(advances)
    yield advances[0], payments[0]
    yield from pairwise(payments)


def _term(since: date, until: Day) -> UnitPeriod:
    """(b)(4)(ii), and (b)(5)(vi) and (vii): a whole number of months, or else the days, below a year."""
    months = _full_months(since, until)
    if months >= 12:
        return UnitPeriod(_YEAR, 0)
    if months and until.back(months) == since:
        return UnitPeriod(_MONTH * months, 0)
    return UnitPeriod(0, (until.on - since).days)


def _units(since: Day, until: Day) -> Iterator[UnitPeriod]:
    """What a period is exactly, a year at most: always so many days, and perhaps so many months or half a month."""
    days = (until.on - since.on).days
    if days <= _DAYS_OF_YEAR:
        yield UnitPeriod(0, days)
    months = _full_months(since.on, until)
    if 1 <= months <= 12 and until.back(months) == since.on:
        yield UnitPeriod(_MONTH * months, 0)
    if _is_half_month(since.on, until.on, days):
        yield UnitPeriod(1, 0)


def _is_half_month(since: date, until: date, days: int) -> bool:
    """From one half of a month to the other, 15 days of the month on: the 1st and the 16th, the 15th and the last."""
    if not 13 <= days <= 16:
        return False
    first, second = sorted((since, until), key=lambda day: day.day)
    is_last = second.day == calendar.monthrange(second.year, second.month)[1]
    is_other = is_on(second, first.day + 15) or (first.day == _LAST_OF_HALF and is_last)
    return first.day <= _LAST_OF_HALF < second.day and is_other


def _full_months(since: date, until: Day) -> int:
    months = (until.on.year - since.year) * 12 + until.on.month - since.month
    return months if until.back(months) >= since else months - 1


def _standard_intervals() -> Iterable[UnitPeriod]:
    """(b)(3)(iii): a day, a half month, a month or a week, or a multiple of these two, up to a year."""
    yield UnitPeriod(0, 1)
    yield from (UnitPeriod(half_months, 0) for half_months in (1, *range(_MONTH, _YEAR + 1, _MONTH)))
    yield from (UnitPeriod(0, 7 * weeks) for weeks in range(1, 53))
