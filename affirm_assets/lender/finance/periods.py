"""The periods of a loan: when its instalments fall due, and for how much of a year each period bears interest."""

import calendar
from datetime import date, timedelta
from functools import lru_cache
from typing import Literal

PaymentFrequency = Literal["weekly", "biweekly", "semimonthly", "monthly", "quarterly"]
"""More than the books' own vocabulary.Frequency, whose words are among these."""

DayCount = Literal["30/360", "actual/365", "actual/360", "actual/actual"]

WEEKS: dict[PaymentFrequency, int] = {"weekly": 1, "biweekly": 2}
HALF_MONTHS: dict[PaymentFrequency, int] = {"semimonthly": 1, "monthly": 2, "quarterly": 6}
FREQUENCIES = (*WEEKS, *HALF_MONTHS)

# A year is 52 weeks where all periods are to be alike.
_YEAR_OF_WEEKS: dict[DayCount, int] = {"30/360": 364, "actual/365": 365, "actual/360": 360, "actual/actual": 365}
DAY_COUNTS = tuple(_YEAR_OF_WEEKS)

_LAST_OF_HALF = 15

Span = tuple[int, int]
"""Days, and how many of them are a year: for `days / year` of a year a principal bears interest."""


def due_on(first: date, frequency: PaymentFrequency, due_day: int, number: int) -> date:
    """The day on which instalment `number`, counted from 1, falls due.

    Every 7 or 14 days; or the first on its date, and the others on `due_day` of each month, or quarter, after, in a
    shorter month on its last. Semimonthly ones fall due on two days of the month (`due_days`): the first half of a
    month ends with the 15th, and each half has one.
    """
    if weeks := WEEKS.get(frequency):
        return first + timedelta(days=7 * weeks * (number - 1))
    if number == 1:
        return first
    if frequency == "semimonthly":
        halves = (first.day > _LAST_OF_HALF) + number - 1
        return months_after(first, halves // 2, due_days(frequency, due_day)[halves % 2])
    return months_after(first, (number - 1) * HALF_MONTHS[frequency] // 2, due_day)


def due_days(frequency: PaymentFrequency, due_day: int) -> tuple[int, ...]:
    """The days of the month on which instalments fall due, of which one is given; none, if they come by the week.

    Of semimonthly ones the other is 15 days before or after it: the 1st and the 16th, the 15th and the 30th; or the
    15th and the month's last, which is 31.
    """
    if frequency in WEEKS:
        return ()
    if frequency != "semimonthly":
        return (due_day,)
    if due_day <= _LAST_OF_HALF:
        return (due_day, due_day + 15)
    return (min(due_day - 15, _LAST_OF_HALF), due_day)


def usual_due_day(originated_on: date, first_due_on: date) -> int:
    """The day of the month on which instalments fall due, if the contract does not say it.

    The origination's, if the first falls due on that day, or at the end of a month that is too short for it: a loan of
    30 January whose first instalment is due on 28 February is due on the 30th. Otherwise the first due date's own.
    """
    day = originated_on.day
    return day if is_on(first_due_on, day) else first_due_on.day


def is_on(day: date, day_of_month: int) -> bool:
    """Whether a date is on a day of the month, which in a shorter month is its last."""
    return day.day == min(day_of_month, _length(day.year, day.month))


def months_after(first: date, months: int, day: int | None = None) -> date:
    """So many months after a date, on a day of the month, by default its own; in a shorter month on its last."""
    year, month = divmod(first.year * 12 + first.month - 1 + months, 12)
    return date(year, month + 1, min(day or first.day, _length(year, month + 1)))


def equal_period(frequency: PaymentFrequency, day_count: DayCount) -> Span:
    """A period of which all are taken to be alike: for the level payment.

    The year's twelfth, quarter or twenty-fourth; or what 7 or 14 days bear, which of 30/360 is the year's 52nd or 26th.
    """
    if weeks := WEEKS.get(frequency):
        return 7 * weeks, _YEAR_OF_WEEKS[day_count]
    return HALF_MONTHS[frequency], 24


def usual_period(frequency: PaymentFrequency, day_count: DayCount) -> Span:
    """A period as it is on average: what it bears when no odd days come in."""
    part, parts = equal_period(frequency, day_count)
    return (part * 365, parts * 360) if frequency in HALF_MONTHS and day_count == "actual/360" else (part, parts)


def spans(since: date, until: date, day_count: DayCount, due_days: tuple[int, ...]) -> tuple[Span, ...]:
    """The days of a period, and how many are a year. The day that it begins with does not count, the last does.

    - 30/360: each month is 30 days (ISDA 2006 Definitions, 4.16(f), "Bond Basis"). A due day that a shorter month
      lacks counts as that day, so that each month from one due date to the next is exactly the year's twelfth. If
      instalments come by the week, it is the year of 52 weeks that has equal parts.
    - actual/365, actual/360: the days, of a year of always so many (ISDA 4.16(d) and (e)).
    - actual/actual: the days of each calendar year, of as many as it has (ISDA 4.16(b)). A day is of the year in which
      it ends, when the books post its interest. So Apache Fineract has it too; ISDA takes the year in which it begins.
    """
    days = (until - since).days
    if day_count == "actual/365":
        return ((days, 365),)
    if day_count == "actual/360":
        return ((days, 360),)
    if day_count == "actual/actual":
        return _by_calendar_year(since, until)
    if not due_days:
        return ((days, _YEAR_OF_WEEKS[day_count]),)
    first, last = min(_day_of_month(since, due_days), 30), _day_of_month(until, due_days)
    last = 30 if last == 31 and first == 30 else last
    return (((until.year - since.year) * 360 + (until.month - since.month) * 30 + last - first, 360),)


def _day_of_month(day: date, due_days: tuple[int, ...]) -> int:
    """By the due days: the last of February counts as the 31st, where that is a due day."""
    # A half month has 15 days, whether it ends with the 30th or with the last.
    most = 30 if len(due_days) > 1 else 31
    return next((min(each, most) for each in due_days if is_on(day, each)), day.day)


def _by_calendar_year(since: date, until: date) -> tuple[Span, ...]:
    ends = [date(year, 12, 31) for year in range(since.year, until.year)]
    parts = zip([since, *ends], [*ends, until], strict=True)
    return tuple(((end - begin).days, 366 if calendar.isleap(end.year) else 365) for begin, end in parts if end > begin)


@lru_cache(maxsize=4096)
def _length(year: int, month: int) -> int:
    return calendar.monthrange(year, month)[1]
