"""Windows and the partitions that they name: date arithmetic."""

import re
from collections.abc import Callable
from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affirm_assets.declare.partitions import Daily, Monthly, Partitions, Window

DAILY = Daily("as_of")
MONTHLY = Monthly("month")

ONE_DAY = timedelta(days=1)
DATES = st.dates(date(1999, 1, 1), date(2101, 12, 31))
# Some three years at most: a window is walked day by day.
WINDOWS = st.tuples(DATES, st.integers(0, 1100)).map(
    lambda drawn: Window(drawn[0], drawn[0] + timedelta(days=drawn[1]))
)
MONTH_WINDOWS = WINDOWS.map(lambda days: Window(days.first.replace(day=1), days.last.replace(day=1)))


def window(text: str) -> Window:
    return Window.parse(text)


class TestWindow:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            pytest.param("2025-01-02", Window(date(2025, 1, 2), date(2025, 1, 2)), id="one day"),
            pytest.param("2024-12-31...2025-01-02", Window(date(2024, 12, 31), date(2025, 1, 2)), id="range"),
        ],
    )
    def test_text_is_parsed(self, text: str, expected: Window) -> None:
        assert Window.parse(text) == expected

    def test_range_of_one_day_is_shown_as_that_day(self) -> None:
        assert str(Window(date(2025, 1, 2), date(2025, 1, 2))) == "2025-01-02"

    def test_range_is_shown_with_both_ends(self) -> None:
        assert str(Window(date(2025, 1, 2), date(2025, 1, 5))) == "2025-01-02...2025-01-05"

    @given(WINDOWS)
    def test_text_round_trip(self, days: Window) -> None:
        assert Window.parse(str(days)) == days

    def test_first_after_last_is_refused(self) -> None:
        with pytest.raises(
            ValueError, match=r"window 2025-01-03\.\.\.2025-01-02: expected the first day not to be after"
        ):
            Window(date(2025, 1, 3), date(2025, 1, 2))

    @pytest.mark.parametrize(
        ("text", "found"),
        [
            pytest.param("", "", id="nothing"),
            pytest.param("yesterday", "yesterday", id="words"),
            pytest.param("2025-02-30", "2025-02-30", id="no such day"),
            pytest.param("20250102", "20250102", id="without hyphens"),
            pytest.param("2025-W01-4", "2025-W01-4", id="week"),
            pytest.param("2025-1-2", "2025-1-2", id="one digit"),
            pytest.param("2025-01-02T00:00:00", "2025-01-02T00:00:00", id="time"),
            pytest.param(" 2025-01-02", " 2025-01-02", id="blank before it"),
            pytest.param("2025-01-02\n", "2025-01-02\n", id="line break after it"),
            pytest.param("２０２５-01-02", "２０２５-01-02", id="wide digits"),
            pytest.param("2025-01-02..2025-01-03", "2025-01-02..2025-01-03", id="two dots"),
            pytest.param("2025-01-02....2025-01-03", ".2025-01-03", id="four dots"),
            pytest.param("2025-01-02 ... 2025-01-03", "2025-01-02 ", id="blanks"),
            pytest.param("...2025-01-03", "", id="no first day"),
            pytest.param("2025-01-02...", "", id="no last day"),
            pytest.param("...", "", id="no day"),
            pytest.param("2025-01-02...2025-01-03...", "2025-01-03...", id="dots after it"),
            pytest.param("2025-01-02...20250103", "20250103", id="last day without hyphens"),
        ],
    )
    def test_text_that_is_no_window_is_refused(self, text: str, found: str) -> None:
        with pytest.raises(ValueError, match=f"^{re.escape(f'expected a date YYYY-MM-DD, found {found!r}')}$"):
            Window.parse(text)

    @pytest.mark.parametrize(
        ("other", "expected"),
        [
            pytest.param("2025-01-10...2025-01-20", True, id="the same"),
            pytest.param("2025-01-12...2025-01-13", True, id="inside"),
            pytest.param("2025-01-01...2025-01-31", True, id="around"),
            pytest.param("2025-01-01...2025-01-10", True, id="shares the first day"),
            pytest.param("2025-01-20", True, id="shares the last day"),
            pytest.param("2025-01-09", False, id="the day before"),
            pytest.param("2025-01-21...2025-02-01", False, id="from the day after"),
        ],
    )
    def test_overlaps_if_a_day_is_shared(self, other: str, expected: bool) -> None:
        assert window("2025-01-10...2025-01-20").overlaps(window(other)) is expected

    @given(WINDOWS, WINDOWS)
    def test_overlap_is_the_same_from_both_sides(self, one: Window, other: Window) -> None:
        assert one.overlaps(other) == other.overlaps(one)


class TestDaily:
    @pytest.mark.parametrize("day", [date(2024, 2, 29), date(2025, 1, 1)], ids=["leap day", "new year"])
    def test_every_day_is_a_partition(self, day: date) -> None:
        assert DAILY.contains(day)

    @pytest.mark.parametrize(
        ("text", "starts"),
        [
            pytest.param("2025-03-09", [date(2025, 3, 9)], id="one day"),
            pytest.param(
                "2024-12-30...2025-01-01",
                [date(2024, 12, 30), date(2024, 12, 31), date(2025, 1, 1)],
                id="over new year",
            ),
            pytest.param(
                "2024-02-28...2024-03-01",
                [date(2024, 2, 28), date(2024, 2, 29), date(2024, 3, 1)],
                id="over a leap day",
            ),
            pytest.param("2025-02-28...2025-03-01", [date(2025, 2, 28), date(2025, 3, 1)], id="over a February of 28"),
        ],
    )
    def test_starts_are_the_days(self, text: str, starts: list[date]) -> None:
        assert list(DAILY.starts(window(text))) == starts

    @pytest.mark.parametrize(
        ("text", "count", "expected"),
        [
            pytest.param("2025-01-01", 1, "2024-12-31", id="the day before new year"),
            pytest.param("2024-03-01", 2, "2024-02-28...2024-02-29", id="over a leap day"),
            pytest.param("2025-03-01", 2, "2025-02-27...2025-02-28", id="in a February of 28"),
            pytest.param("2025-06-10...2025-06-20", 35, "2025-05-06...2025-06-09", id="before the first of a range"),
        ],
    )
    def test_before_counts_days(self, text: str, count: int, expected: str) -> None:
        assert DAILY.before(window(text), count) == window(expected)

    @given(WINDOWS)
    def test_days_and_covering_leave_a_window_as_it_is(self, days: Window) -> None:
        assert DAILY.days(DAILY.covering(days)) == days


class TestMonthly:
    @pytest.mark.parametrize(
        ("day", "expected"), [(date(2025, 2, 1), True), (date(2025, 2, 2), False)], ids=["first day", "other day"]
    )
    def test_partition_is_named_by_the_first_of_a_month(self, day: date, expected: bool) -> None:
        assert MONTHLY.contains(day) is expected

    @pytest.mark.parametrize(
        ("text", "starts"),
        [
            pytest.param("2025-02-01", [date(2025, 2, 1)], id="one month"),
            pytest.param(
                "2024-11-01...2025-02-01",
                [date(2024, 11, 1), date(2024, 12, 1), date(2025, 1, 1), date(2025, 2, 1)],
                id="over new year",
            ),
        ],
    )
    def test_starts_are_the_first_days(self, text: str, starts: list[date]) -> None:
        assert list(MONTHLY.starts(window(text))) == starts

    @pytest.mark.parametrize(
        ("text", "days"),
        [
            pytest.param("2025-02-01", "2025-02-01...2025-02-28", id="February of 28"),
            pytest.param("2024-02-01", "2024-02-01...2024-02-29", id="leap February"),
            pytest.param("2000-02-01", "2000-02-01...2000-02-29", id="leap February of a century"),
            pytest.param("2100-02-01", "2100-02-01...2100-02-28", id="century that is no leap year"),
            pytest.param("2025-12-01", "2025-12-01...2025-12-31", id="December"),
            pytest.param("2024-12-01...2025-01-01", "2024-12-01...2025-01-31", id="over new year"),
        ],
    )
    def test_days_reach_from_first_to_last_of_the_months(self, text: str, days: str) -> None:
        assert MONTHLY.days(window(text)) == window(days)

    @pytest.mark.parametrize(
        ("text", "months"),
        [
            pytest.param("2025-02-01", "2025-02-01", id="first day"),
            pytest.param("2024-02-29", "2024-02-01", id="leap day"),
            pytest.param("2025-01-31...2025-02-01", "2025-01-01...2025-02-01", id="both sides of a month's end"),
            pytest.param("2024-12-31...2025-01-01", "2024-12-01...2025-01-01", id="both sides of new year"),
        ],
    )
    def test_covering_is_the_months_that_hold_the_days(self, text: str, months: str) -> None:
        assert MONTHLY.covering(window(text)) == window(months)

    @pytest.mark.parametrize(
        ("text", "count", "expected"),
        [
            pytest.param("2025-01-01", 1, "2024-12-01", id="December before January"),
            pytest.param("2025-01-01", 13, "2023-12-01...2024-12-01", id="more than a year"),
            pytest.param("2025-03-01...2025-05-01", 2, "2025-01-01...2025-02-01", id="before the first of a range"),
        ],
    )
    def test_before_counts_months(self, text: str, count: int, expected: str) -> None:
        assert MONTHLY.before(window(text), count) == window(expected)

    @given(MONTH_WINDOWS)
    def test_covering_undoes_days(self, months: Window) -> None:
        assert MONTHLY.covering(MONTHLY.days(months)) == months

    @given(WINDOWS)
    def test_days_of_the_covering_months_hold_the_window(self, days: Window) -> None:
        held = MONTHLY.days(MONTHLY.covering(days))
        assert held.first <= days.first <= days.last <= held.last

    @given(MONTH_WINDOWS)
    def test_months_follow_each_other_without_gap_or_overlap(self, months: Window) -> None:
        each = [MONTHLY.days(Window(start, start)) for start in MONTHLY.starts(months)]
        assert all(later.first == earlier.last + ONE_DAY for earlier, later in pairwise(each))

    @given(MONTH_WINDOWS)
    def test_every_start_is_a_partition(self, months: Window) -> None:
        assert all(MONTHLY.contains(start) for start in MONTHLY.starts(months))


@pytest.mark.parametrize(
    ("partitions", "cover"), [(DAILY, DAILY.covering), (MONTHLY, MONTHLY.covering)], ids=["daily", "monthly"]
)
@given(days=WINDOWS, count=st.integers(1, 40))
def test_before_gives_that_many_partitions_up_to_the_window(
    partitions: Partitions, cover: Callable[[Window], Window], days: Window, count: int
) -> None:
    own = cover(days)
    earlier = partitions.before(own, count)
    assert len(list(partitions.starts(earlier))) == count
    assert partitions.days(earlier).last + ONE_DAY == partitions.days(own).first


@pytest.mark.parametrize(
    ("partitions", "cover"), [(DAILY, DAILY.covering), (MONTHLY, MONTHLY.covering)], ids=["daily", "monthly"]
)
@given(days=WINDOWS, count=st.integers(1, 40))
def test_after_gives_that_many_partitions_from_the_window_on(
    partitions: Partitions, cover: Callable[[Window], Window], days: Window, count: int
) -> None:
    own = cover(days)
    later = partitions.after(own, count)
    assert len(list(partitions.starts(later))) == count
    assert partitions.days(own).last + ONE_DAY == partitions.days(later).first
