"""Business calendars and deadlines: when the data of a business date must be there. Pure date arithmetic.

Every calendar day is a business date of the books; a business day is one on which people and banks work. Times are
those of New York, where a business date ends.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from affirm_assets.errors import DeclarationError

if TYPE_CHECKING:
    from holidays import HolidayBase

NEW_YORK = ZoneInfo("America/New_York")

SATURDAY, SUNDAY = 5, 6
"""As date.weekday() counts."""

_DUE = re.compile(
    r"(?P<time>([01][0-9]|2[0-3]):[0-5][0-9]) "
    r"(same day|(?P<next>next business day)|(?P<days>[2-9]) business days later)"
)

_EXPECTED = (
    "a time of New York and a day, such as '05:00 next business day', '18:00 same day' or '06:00 2 business days later'"
)


@dataclass(frozen=True)
class BusinessCalendar:
    """The days on which nobody works: those of each week, and the public holidays of a country.

    The library `holidays` has these under the country's code, with the days on which they are observed.
    """

    country: str
    weekend: tuple[int, ...] = (SATURDAY, SUNDAY)

    def is_business_day(self, day: date) -> bool:
        """Raises DeclarationError for a country that the library does not know."""
        return day.weekday() not in self.weekend and day not in _holidays(self.country)

    def after(self, day: date, business_days: int) -> date:
        """The n-th business day after `day`, which may be any."""
        while business_days:
            day += timedelta(days=1)
            business_days -= self.is_business_day(day)
        return day


US_FEDERAL = BusinessCalendar("US")
"""Weekends and the federal holidays of the United States."""


@dataclass(frozen=True)
class Due:
    """A deadline for each business date: at `at` in New York, so many business days after it; 0: on the date itself."""

    at: time
    business_days: int
    calendar: BusinessCalendar = US_FEDERAL

    def __str__(self) -> str:
        days = {0: "same day", 1: "next business day"}
        return f"{self.at:%H:%M} {days.get(self.business_days, f'{self.business_days} business days later')}"

    @staticmethod
    def parse(text: str, calendar: BusinessCalendar = US_FEDERAL) -> "Due":
        """The inverse of str. Raises ValueError with what was expected."""
        found = _DUE.fullmatch(text)
        if not found:
            raise ValueError(f"expected {_EXPECTED}; found {text!r}")
        business_days = int(found["days"] or bool(found["next"]))
        return Due(time.fromisoformat(found["time"]), business_days, calendar)

    def day(self, business_date: date) -> date:
        """The day on which the business date is due."""
        return self.calendar.after(business_date, self.business_days)

    def due_at(self, business_date: date) -> datetime:
        """The moment at which the business date is due, in New York's time."""
        return moment(self.day(business_date), self.at)

    def newest_due(self, now: datetime, first: date) -> date | None:
        """The newest business date that is due by now; None: not even `first` is."""
        day = now.astimezone(NEW_YORK).date()
        while day >= first:
            if self.due_at(day) <= now:
                return day
            day -= timedelta(days=1)
        return None


def moment(day: date, at: time) -> datetime:
    """When clocks in New York show this time on this day, as a cron schedule of Dagster understands it.

    A time that is there twice, since clocks go back, is the second; one that clocks leave out is when they go forward.
    """
    shown = datetime.combine(day, at, NEW_YORK).replace(fold=1)
    found = shown.astimezone(UTC).astimezone(NEW_YORK)
    while found.replace(tzinfo=None) < shown.replace(tzinfo=None):
        found = (found.astimezone(UTC) + timedelta(minutes=1)).astimezone(NEW_YORK)
    return found


@lru_cache
def _holidays(country: str) -> "HolidayBase":
    # Imported here: it takes up to a fifth of a second, which only sensors and schedules need to spend.
    from holidays import country_holidays

    try:
        return country_holidays(country)
    except NotImplementedError:
        raise DeclarationError(
            f"business calendar {country!r}: expected the code of a country that the library holidays knows, such as "
            "'US'; found none of that name. Mend the calendar's declaration."
        ) from None
