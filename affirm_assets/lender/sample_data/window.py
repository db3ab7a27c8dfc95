"""The days that a sample covers, and how its loans spread over them. A day is its number, counted from the first."""

import calendar
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import accumulate, count
from random import Random

from affirm_assets.lender.sample_data.draws import between

# Purchases by weekday, Monday first, and by month, January first: online shops sell most early in the week and in
# November and December.
_WEEKDAYS = (120, 112, 105, 100, 98, 82, 83)
_MONTHS = (88, 84, 92, 94, 98, 96, 100, 98, 96, 102, 134, 142)


@dataclass(frozen=True)
class SampleWindow:
    """The days over which the loans that were asked for are made."""

    start: date
    days: int

    @property
    def last(self) -> int:
        return self.days - 1

    def date_of(self, day: int) -> date:
        return self.start + timedelta(days=day)

    def text(self, day: int) -> str:
        return self.date_of(day).isoformat()

    def due_days(self, first_due: int, frequency: str, instalments: int) -> Iterator[int]:
        """When instalments fall due. Of a first one at a month's end, all others are at a month's end too."""
        if frequency == "biweekly":
            yield from range(first_due, first_due + 14 * instalments, 14)
            return
        first = self.date_of(first_due)
        wanted = 31 if first.day == _length(first.year, first.month) else first.day
        for months in range(first.month - 1, first.month - 1 + instalments):
            year, month = first.year + months // 12, months % 12 + 1
            yield (date(year, month, min(wanted, _length(year, month))) - self.start).days


def origination_days(window: SampleWindow, loans: int, seed: int, days: int) -> Iterator[int]:
    """The day of each loan, in order, up to `days` days: so many loans over the window, others at that rate after it.

    Only the sums of the days' weights are held, never the loans.
    """
    rng = Random(f"{seed}/days")
    ends = list(accumulate(_weight(window.date_of(d)) * between(rng, 90, 110) for d in range(max(days, window.days))))
    total, day = ends[window.last], 0
    for loan in count():
        point = (2 * loan + 1) * total // (2 * loans)
        while day < days and ends[day] <= point:
            day += 1
        if day == days:
            return
        yield day


def _weight(day: date) -> int:
    return _WEEKDAYS[day.weekday()] * _MONTHS[day.month - 1]


def _length(year: int, month: int) -> int:
    return calendar.monthrange(year, month)[1]
