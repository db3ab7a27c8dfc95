"""Due dates and schedules, worked by hand."""

from datetime import date, timedelta
from decimal import Decimal

import pytest

from affirm_assets.lender.finance.instalment import level_instalment
from affirm_assets.lender.finance.schedule import schedule
from affirm_assets.lender.finance.terms import Terms
from tests.unit.books import agreed


def amounts(terms: Terms) -> list[tuple[str, str, str, str]]:
    return [(str(e.payment), str(e.interest), str(e.principal), str(e.balance)) for e in schedule(terms)]


@pytest.mark.parametrize(
    ("lent", "due"),
    [
        pytest.param("2025-01-28", "2025-02-28 2025-03-28 2025-04-28 2025-05-28", id="28th, February's last"),
        pytest.param("2025-01-30", "2025-02-28 2025-03-30 2025-04-30 2025-05-30", id="30th"),
        pytest.param("2025-01-31", "2025-02-28 2025-03-31 2025-04-30 2025-05-31", id="31st: the month's end"),
        pytest.param("2025-01-29", "2025-02-28 2025-03-29 2025-04-29 2025-05-29", id="29th"),
        pytest.param("2024-01-28", "2024-02-28 2024-03-28 2024-04-28 2024-05-28", id="28th in a leap year"),
        pytest.param("2024-01-30", "2024-02-29 2024-03-30 2024-04-30 2024-05-30", id="30th in a leap year"),
        pytest.param("2024-01-31", "2024-02-29 2024-03-31 2024-04-30 2024-05-31", id="31st in a leap year"),
        pytest.param("2024-01-31", "2024-02-28 2024-03-28 2024-04-28 2024-05-28", id="no month's end in a leap year"),
        pytest.param("2025-03-31", "2025-04-30 2025-05-31 2025-06-30 2025-07-31", id="31st: the end of April"),
        pytest.param("2025-03-30", "2025-04-30 2025-05-30 2025-06-30 2025-07-30", id="30th: the end of April"),
        pytest.param("2025-03-12", "2025-04-30 2025-05-30 2025-06-30 2025-07-30", id="another day: the first one's"),
        pytest.param("2025-01-10", "2025-02-28 2025-03-28 2025-04-28 2025-05-28", id="another day: February's last"),
        pytest.param("2025-01-15", "2025-01-31 2025-02-28 2025-03-31 2025-04-30", id="another day: the 31st"),
        pytest.param("2025-10-15", "2025-11-15 2025-12-15 2026-01-15 2026-02-15", id="the year's end"),
        pytest.param("2024-12-31", "2025-02-28 2025-03-31 2025-04-30 2025-05-31", id="a month skipped"),
    ],
)
def test_monthly_due_dates(lent: str, due: str) -> None:
    first, *_ = due.split()
    terms = agreed(first_due_on=first, originated_on=lent)
    assert due_dates(terms) == due


@pytest.mark.parametrize(
    ("due_day", "due"),
    [
        (31, "2025-02-10 2025-03-31 2025-04-30 2025-05-31"),
        (30, "2025-02-10 2025-03-30 2025-04-30 2025-05-30"),
        (1, "2025-02-10 2025-03-01 2025-04-01 2025-05-01"),
        (None, "2025-02-10 2025-03-10 2025-04-10 2025-05-10"),
    ],
)
def test_the_contract_may_state_the_day(due_day: int | None, due: str) -> None:
    assert due_dates(agreed(first_due_on="2025-02-10", due_day=due_day)) == due


def due_dates(terms: Terms) -> str:
    return " ".join(terms.due_on(number).isoformat() for number in range(1, 5))


@pytest.mark.parametrize(
    "terms",
    [
        agreed(originated_on="2025-01-31", first_due_on="2025-02-28"),
        agreed(first_due_on="2025-02-10", due_day=31),
        agreed(first_due_on="2025-02-10", due_day=1),
        agreed(frequency="biweekly", first_due_on="2025-01-15"),
    ],
)
def test_how_many_fell_due_before_a_day(terms: Terms) -> None:
    due = [terms.due_on(number) for number in range(1, 40)]
    for number in range(400):
        day = terms.originated_on + timedelta(days=number)
        assert terms.due_before(day) == sum(each < day for each in due)


def test_biweekly_due_dates() -> None:
    terms = agreed(first_due_on="2024-02-20", frequency="biweekly", originated_on="2024-02-10")
    due_on = [terms.due_on(number).isoformat() for number in range(1, 5)]
    assert due_on == ["2024-02-20", "2024-03-05", "2024-03-19", "2024-04-02"]


def test_a_leap_day_after_a_year_of_month_ends() -> None:
    terms = agreed(first_due_on="2023-02-28", instalments=13, originated_on="2023-01-31")
    assert terms.due_on(13) == date(2024, 2, 29)


def test_interest_of_actual_days() -> None:
    # 0.0005 a day on what is owed: 31 days of 0.50, 28 of 0.37796, 31 of 0.25346, 30 of 0.1276.
    assert amounts(agreed()) == [
        ("259.58", "15.50", "244.08", "755.92"),
        ("259.58", "10.58", "249.00", "506.92"),
        ("259.58", "7.86", "251.72", "255.20"),
        ("259.03", "3.83", "255.20", "0.00"),
    ]


def test_the_contracts_instalment_is_the_schedules() -> None:
    # Of 259.57: 244.07, then 28 days of 0.377965; 248.99, then 31 of 0.25347; 251.71, then 30 of 0.127615.
    assert amounts(agreed(instalment=Decimal("259.57"))) == [
        ("259.57", "15.50", "244.07", "755.93"),
        ("259.57", "10.58", "248.99", "506.94"),
        ("259.57", "7.86", "251.71", "255.23"),
        ("259.06", "3.83", "255.23", "0.00"),
    ]


def test_the_last_instalment_is_more_after_a_long_first_period() -> None:
    # 45 days of 0.50, 28 of 0.38146, 31 of 0.25701, 30 of 0.131205.
    assert amounts(agreed(first_due_on="2025-02-15")) == [
        ("259.58", "22.50", "237.08", "762.92"),
        ("259.58", "10.68", "248.90", "514.02"),
        ("259.58", "7.97", "251.61", "262.41"),
        ("266.34", "3.93", "262.41", "0.00"),
    ]


def test_an_instalment_that_does_not_cover_the_interest_repays_nothing() -> None:
    # 1.00 at 36 % accrues 0.36 before the first instalment, a year on.
    terms = agreed(principal="1.00", apr="36", instalments=4, first_due_on="2026-01-01", merchant_discount="0")
    assert terms.instalment == Decimal("0.27")
    first, second, *_, last = amounts(terms)
    assert first == ("0.27", "0.27", "0.00", "1.00")  # of 0.36
    assert second == ("0.27", "0.12", "0.15", "0.85")  # 0.09 left, and 31 days of 0.0009863: 0.39057536 in all
    assert Decimal(last[0]) > terms.instalment
    assert last[3] == "0.00"


@pytest.mark.parametrize(
    ("principal", "instalments", "expected"),
    [
        pytest.param("100.00", 4, ["25.00", "25.00", "25.00", "25.00"], id="equal parts"),
        pytest.param("10.00", 3, ["3.34", "3.34", "3.32"], id="the last is less"),
        pytest.param("0.05", 4, ["0.02", "0.02", "0.01"], id="rounding up ends it early"),
        pytest.param("0.01", 4, ["0.01"], id="a cent"),
    ],
)
def test_at_0_percent(principal: str, instalments: int, expected: list[str]) -> None:
    terms = agreed(
        principal=principal, apr="0", instalments=instalments, frequency="biweekly", first_due_on="2025-01-15"
    )
    assert [payment for payment, *_ in amounts(terms)] == expected


def test_published_schedules_of_other_conventions() -> None:
    # Apache Fineract, 100.00 at 7 % in six months: the level instalment is the same; its interest is of 30/360 days, so
    # that its balances (83.57, 67.05, ...) and its last instalment (17.00) are not those of actual days.
    terms = agreed(principal="100.00", apr="7", instalments=6)
    assert terms.instalment == Decimal("17.01")
    assert [payment for payment, *_ in amounts(terms)][:5] == ["17.01"] * 5
    # CFPB form H-25(B): 761.7841 a month. Published half up, 761.78; rounded up, as LendingClub does, 761.79.
    cfpb = (Decimal("162000.00"), Decimal("3.875"), 360, "monthly")
    assert level_instalment(*cfpb) == Decimal("761.79")
    assert level_instalment(*cfpb, "nearest") == Decimal("761.78")
