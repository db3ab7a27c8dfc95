"""Business calendars and deadlines, over weekends, holidays, year ends and clock changes."""

import subprocess
import sys
from datetime import UTC, date, datetime, time, timedelta
from itertools import takewhile

import pytest
from dagster._utils.schedules import schedule_execution_time_iterator

from affirm_assets.declare.calendar import NEW_YORK, US_FEDERAL, BusinessCalendar, Due, moment
from affirm_assets.errors import DeclarationError

NEXT_DAY = Due.parse("05:00 next business day")
EVERY_DAY = BusinessCalendar("US", weekend=())


def at(text: str) -> datetime:
    """A moment, written as New York's clocks show it with the offset from UTC."""
    return datetime.fromisoformat(text)


class TestBusinessCalendar:
    @pytest.mark.parametrize(
        ("day", "what"),
        [
            ("2025-01-01", "New Year's Day"),
            ("2025-01-20", "Martin Luther King Jr. Day, a Monday"),
            ("2025-05-26", "Memorial Day, a Monday"),
            ("2025-07-04", "Independence Day, a Friday"),
            ("2026-07-03", "Independence Day, observed on the Friday before"),
            ("2021-07-05", "Independence Day, observed on the Monday after"),
            ("2021-12-31", "New Year's Day of 2022, observed in the year before"),
            ("2025-11-27", "Thanksgiving"),
            ("2025-12-25", "Christmas, a Thursday"),
            ("2025-03-08", "a Saturday"),
            ("2025-03-09", "a Sunday, on which clocks change"),
        ],
        ids=lambda text: text,
    )
    def test_nobody_works(self, day: str, what: str) -> None:
        assert not US_FEDERAL.is_business_day(date.fromisoformat(day))

    @pytest.mark.parametrize(
        "day", ["2025-11-28", "2025-12-24", "2025-12-26", "2025-01-02", "2026-07-06", "2025-03-10"]
    )
    def test_people_work(self, day: str) -> None:
        assert US_FEDERAL.is_business_day(date.fromisoformat(day))

    def test_weekend_is_declared(self) -> None:
        assert EVERY_DAY.is_business_day(date(2025, 3, 8))
        assert not EVERY_DAY.is_business_day(date(2025, 7, 4))

    def test_unknown_country_is_named(self) -> None:
        with pytest.raises(DeclarationError, match="business calendar 'XX': expected the code of a country"):
            BusinessCalendar("XX").is_business_day(date(2025, 1, 2))

    def test_the_library_is_not_imported_before_a_day_is_asked_for(self) -> None:
        script = "import sys, affirm_assets.datasets.loans.loans; sys.exit('holidays' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


class TestDue:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("05:00 next business day", Due(time(5), 1)),
            ("18:30 same day", Due(time(18, 30), 0)),
            ("06:00 2 business days later", Due(time(6), 2)),
        ],
    )
    def test_is_read_and_written(self, text: str, expected: Due) -> None:
        assert (Due.parse(text), str(expected)) == (expected, text)

    @pytest.mark.parametrize(
        "text",
        ["", "05:00", "5:00 same day", "24:00 same day", "05:60 same day", "05:00 tomorrow", "05:00 next day",
         "05:00  same day", "05:00 0 business days later", "05:00 same day\n"],
    )  # fmt: skip
    def test_another_text_is_refused_with_what_is_expected(self, text: str) -> None:
        with pytest.raises(
            ValueError, match="expected a time of New York and a day, such as '05:00 next business day'"
        ):
            Due.parse(text)

    @pytest.mark.parametrize(
        ("day", "due", "why"),
        [
            ("2025-01-02", "2025-01-03T05:00-05:00", "Thursday -> Friday"),
            ("2025-01-03", "2025-01-06T05:00-05:00", "Friday -> Monday"),
            ("2025-01-04", "2025-01-06T05:00-05:00", "Saturday -> Monday"),
            ("2025-01-05", "2025-01-06T05:00-05:00", "Sunday -> Monday"),
            ("2025-01-17", "2025-01-21T05:00-05:00", "before a holiday on Monday -> Tuesday"),
            ("2025-11-26", "2025-11-28T05:00-05:00", "before Thanksgiving -> Friday"),
            ("2025-11-27", "2025-11-28T05:00-05:00", "Thanksgiving itself"),
            ("2025-12-24", "2025-12-26T05:00-05:00", "before Christmas on Thursday -> Friday"),
            ("2025-12-31", "2026-01-02T05:00-05:00", "over the year's end"),
            ("2021-12-30", "2022-01-03T05:00-05:00", "over a New Year's Day that is observed in the old year"),
            ("2026-07-02", "2026-07-06T05:00-04:00", "before Independence Day, observed on Friday"),
            ("2025-03-07", "2025-03-10T05:00-04:00", "over the day of 23 hours"),
            ("2025-10-31", "2025-11-03T05:00-05:00", "over the day of 25 hours"),
            ("2026-03-06", "2026-03-09T05:00-04:00", "over the day of 23 hours"),
            ("2026-10-30", "2026-11-02T05:00-05:00", "over the day of 25 hours"),
        ],
        ids=lambda text: text,
    )
    def test_next_business_day(self, day: str, due: str, why: str) -> None:
        found = NEXT_DAY.due_at(date.fromisoformat(day))
        assert (found, found.utcoffset()) == (at(due), at(due).utcoffset())

    @pytest.mark.parametrize(
        ("text", "day", "due"),
        [
            ("18:00 same day", "2025-03-09", "2025-03-09T18:00-04:00"),
            ("02:30 same day", "2025-03-09", "2025-03-09T03:00-04:00"),  # clocks go from 02:00 to 03:00
            ("02:00 same day", "2026-03-08", "2026-03-08T03:00-04:00"),
            ("01:30 same day", "2025-11-02", "2025-11-02T01:30-05:00"),  # clocks show it twice
            ("01:30 same day", "2026-11-01", "2026-11-01T01:30-05:00"),
            ("06:00 2 business days later", "2025-07-02", "2025-07-07T06:00-04:00"),
        ],
    )
    def test_others(self, text: str, day: str, due: str) -> None:
        assert Due.parse(text).due_at(date.fromisoformat(day)).isoformat(timespec="minutes") == due

    def test_never_comes_earlier_for_a_later_date(self) -> None:
        days = [date(2024, 12, 1) + timedelta(days=number) for number in range(800)]
        moments = [NEXT_DAY.due_at(day) for day in days]
        assert moments == sorted(moments)

    @pytest.mark.parametrize("clock", ["00:00", "01:30", "02:00", "02:30", "03:00", "05:00", "23:59"])
    def test_moments_are_those_of_dagster_s_cron_schedules(self, clock: str) -> None:
        first, last = at("2024-12-31T23:59:30-05:00"), at("2027-01-01T00:00-05:00")
        hour, minute = map(int, clock.split(":"))
        ticks = schedule_execution_time_iterator(first.timestamp(), f"{minute} {hour} * * *", "America/New_York", True)
        found = list(takewhile(lambda tick: tick < last, ticks))
        days = [date(2025, 1, 1) + timedelta(days=number) for number in range(730)]
        assert [tick.timestamp() for tick in found] == [moment(day, time(hour, minute)).timestamp() for day in days]


class TestNewestDue:
    FIRST = date(2025, 1, 1)

    @pytest.mark.parametrize(
        ("now", "newest"),
        [
            ("2025-01-06T04:59:59-05:00", "2025-01-02"),
            ("2025-01-06T05:00:00-05:00", "2025-01-05"),  # Friday's, Saturday's and Sunday's at once
            ("2025-01-05T12:00:00-05:00", "2025-01-02"),  # on Sunday nothing falls due
            ("2025-01-21T05:00:00-05:00", "2025-01-20"),
            ("2025-01-20T12:00:00-05:00", "2025-01-16"),
            ("2026-01-01T12:00:00-05:00", "2025-12-30"),
            ("2026-01-02T05:00:00-05:00", "2026-01-01"),
            ("2025-03-10T05:00:00-04:00", "2025-03-09"),
            ("2025-03-10T04:59:00-04:00", "2025-03-06"),
            ("2025-11-03T05:00:00-05:00", "2025-11-02"),
        ],
    )
    def test_is_the_last_date_whose_deadline_has_passed(self, now: str, newest: str) -> None:
        for zone in (NEW_YORK, UTC):
            assert NEXT_DAY.newest_due(at(now).astimezone(zone), self.FIRST) == date.fromisoformat(newest)

    def test_none_before_the_first_is_due(self) -> None:
        assert NEXT_DAY.newest_due(at("2025-01-02T04:59-05:00"), self.FIRST) is None
        assert NEXT_DAY.newest_due(at("2024-06-01T12:00-04:00"), self.FIRST) is None
        assert NEXT_DAY.newest_due(at("2025-01-02T05:00-05:00"), self.FIRST) == self.FIRST

    def test_same_day(self) -> None:
        due = Due.parse("18:00 same day")
        assert due.newest_due(at("2025-01-04T17:59-05:00"), self.FIRST) == date(2025, 1, 3)
        assert due.newest_due(at("2025-01-04T18:00-05:00"), self.FIRST) == date(2025, 1, 4)
