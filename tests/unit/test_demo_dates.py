"""Over which dates `affirm demo` is, and what it runs of them."""

from datetime import date, timedelta

import pytest

from affirm_assets import datasets as project
from affirm_assets.declare.partitions import Monthly, Window
from affirm_assets.declare.registry import Registry
from affirm_assets.demo import runs_of
from affirm_assets.demo.dates import Asked, business_of
from affirm_assets.errors import SampleDateRefused
from affirm_assets.lender.sample_data import Business

TODAY = date(2026, 3, 1)
FIRST = date(2025, 12, 1)
KEPT = Business(loans=300, start=FIRST, days=60, seed=7)


def test_dates_of_a_new_lake_end_yesterday() -> None:
    business = business_of(Asked(), None, None, TODAY)
    assert business == Business(loans=3000, start=date(2025, 9, 2), days=180, seed=1)
    assert business.start + timedelta(days=business.days) == TODAY


def test_a_new_lake_begins_where_it_is_asked_to() -> None:
    asked = Asked(start=date(2025, 1, 1), days=31, loans=10, seed=0)
    assert business_of(asked, None, None, TODAY) == Business(10, date(2025, 1, 1), 31, 0)


@pytest.mark.parametrize("today", [TODAY, TODAY + timedelta(days=1), TODAY + timedelta(days=300)], ids=str)
def test_a_lake_keeps_its_dates_loans_and_seed(today: date) -> None:
    assert business_of(Asked(), FIRST, KEPT, today) == KEPT
    assert business_of(Asked(start=FIRST), FIRST, KEPT, today) == KEPT


def test_what_is_asked_goes_before_what_the_lake_had() -> None:
    assert business_of(Asked(days=10, loans=20, seed=0), FIRST, KEPT, TODAY) == Business(20, FIRST, 10, 0)


@pytest.mark.parametrize("kept", [None, Business(300, FIRST + timedelta(days=5), 60, 7)], ids=["none", "another's"])
def test_a_lake_without_a_sample_from_its_first_date_on_gets_one(kept: Business | None) -> None:
    asked = Asked(days=90)
    assert business_of(asked, FIRST, kept, TODAY) == Business(3000, FIRST, 90, 1)


def test_another_start_than_the_lake_s_is_refused() -> None:
    with pytest.raises(SampleDateRefused, match=r"--start 2026-01-01: expected 2025-12-01, the first .* of this lake"):
        business_of(Asked(start=date(2026, 1, 1)), FIRST, KEPT, TODAY)


def test_the_last_date_has_begun() -> None:
    start = date(2026, 2, 1)
    assert business_of(Asked(start=start, days=29), None, None, TODAY).days == 29
    with pytest.raises(
        SampleDateRefused, match=r"30 business dates from 2026-02-01: .* it is 2026-03-01\. .*--days 28"
    ):
        business_of(Asked(start=start, days=30), None, None, TODAY)


@pytest.mark.parametrize(
    ("first", "last", "months"),
    [
        ("2025-01-01", "2025-06-29", "2025-01-01...2025-05-01"),
        ("2025-01-01", "2025-06-30", "2025-01-01...2025-06-01"),
        # The lake begins within a month: of that one, there are no other days.
        ("2024-02-10", "2024-02-29", "2024-02-01...2024-02-01"),
        ("2024-11-30", "2025-01-30", "2024-11-01...2024-12-01"),
        ("2024-02-10", "2024-02-28", None),
    ],
)
def test_months_that_have_not_ended_are_not_run(first: str, last: str, months: str | None) -> None:
    registry = Registry.walk(project)
    runs = list(runs_of(registry, Window.parse(f"{first}...{last}")))
    daily, monthly = runs[0], runs[1:]
    assert daily[2] == Window.parse(f"{first}...{last}")
    of_months = [each for each in registry.in_order() if isinstance(each.partitions, Monthly)]
    assert len(daily[1]) == len(registry.datasets) - len(of_months)
    assert [([*found], f"{each.first}...{each.last}") for _, found, each in monthly] == (
        [(of_months, months)] if months else []
    )
