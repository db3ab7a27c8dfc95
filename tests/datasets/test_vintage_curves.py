"""What became of each month's loans, worked by hand: prepayments, losses, late bookings; and what the audits find."""

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from affirm_assets.datasets.loans.loan_schedules import ScheduledInstalment
from affirm_assets.datasets.loans.loans import Loan
from affirm_assets.datasets.portfolio.portfolio_daily import portfolio_daily
from affirm_assets.datasets.portfolio.vintage_curves import (
    VintageCurve,
    losses_are_those_of_charge_offs,
    losses_are_those_of_the_portfolio,
    months_on_book_are_those_since_the_vintage,
    originated_is_every_loan,
    prepaid_is_what_the_schedules_did_not_ask_for,
    rates_are_of_what_was_originated,
    vintage_curves,
)
from affirm_assets.datasets.servicing.charge_offs import charge_offs
from affirm_assets.datasets.servicing.loan_balances import LoanBalance
from affirm_assets.declare.contract import column_differences
from affirm_assets.declare.partitions import Window
from tests.datasets.lender import Row, changed, frame, not_ok, row
from tests.storage import Keep

JANUARY, FEBRUARY, MARCH, APRIL = (date(2024, number, 1) for number in range(1, 5))
ENDS = {JANUARY: date(2024, 1, 31), FEBRUARY: date(2024, 2, 29), MARCH: date(2024, 3, 31)}
SCHEDULE = [
    # docs/money.md: 1,000.00 at 18.25 %, four instalments.
    (FEBRUARY, "244.08", "755.92"),
    (MARCH, "249.00", "506.92"),
    (APRIL, "251.72", "255.20"),
    (date(2024, 5, 1), "255.20", "0.00"),
]


def lent(loan_id: str, originated_on: date = JANUARY, booked_on: date | None = None) -> Row:
    return row(
        Loan,
        loan_id=loan_id,
        product="installment",
        principal="1000.00",
        originated_on=originated_on,
        booked_on=booked_on or originated_on,
    )


def scheduled(loan_id: str) -> list[Row]:
    return [
        row(ScheduledInstalment, loan_id=loan_id, number=number, due_on=due_on, principal=principal, balance=balance)
        for number, (due_on, principal, balance) in enumerate(SCHEDULE, 1)
    ]


def balance(loan_id: str, as_of: date, opening: str, closing: str, **over: Any) -> Row:
    """A month's last row, of a loan on which nothing moved but what is said."""
    fixed = {
        "product": "installment",
        "originated_on": JANUARY,
        "booked_on": JANUARY,
        "amount_lent": "1000.00",
        "opening_last_instalment": 4,
        "bucket": "current",
        "status": "open" if Decimal(closing) else "repaid",
        "charged_off_on": None,
        **over,
    }
    return row(LoanBalance, loan_id=loan_id, as_of=as_of, opening_principal=opening, principal=closing, **fixed)


def added(spark: SparkSession, month: date, rows: list[Row], before: list[Row]) -> Decimal:
    """What the month adds to prepaid, by the transform; and the audit says the same."""
    names = sorted({each["loan_id"] for each in rows})
    balances, opening = (frame(spark, LoanBalance, each) for each in (rows, before))
    schedules = frame(spark, ScheduledInstalment, [one for name in names for one in scheduled(name)])
    carried = row(VintageCurve, month=month, product="installment", vintage=JANUARY, prepaid="2000.00")
    previous = frame(spark, VintageCurve, [{**carried, "loans": len(names), "originated": Decimal(10_000)}])
    loans = frame(spark, Loan, [lent("another")])
    made = vintage_curves(loans.where("false"), balances, schedules, previous, Window(month, month))
    assert column_differences(VintageCurve, made.schema) == []
    audited = prepaid_is_what_the_schedules_did_not_ask_for.function(made, balances, opening, schedules)
    assert (audited.count(), not_ok(audited)) == (1, 0)
    (only,) = made.collect()
    assert only.opening_prepaid == Decimal(2000)
    return Decimal(only.prepaid) - 2000


@pytest.mark.parametrize(
    ("month", "opened", "moved", "expected"),
    [
        pytest.param(FEBRUARY, "1000.00", {"principal_paid": "244.08"}, "0.00", id="on its due date"),
        pytest.param(FEBRUARY, "1000.00", {"principal_paid": "200.00"}, "0.00", id="less than is due"),
        pytest.param(FEBRUARY, "1000.00", {"principal_paid": "344.08"}, "100.00", id="100.00 more"),
        pytest.param(FEBRUARY, "1000.00", {"principal_paid": "1000.00"}, "755.92", id="paid off on a due date"),
        pytest.param(MARCH, "655.92", {"principal_paid": "249.00"}, "0.00", id="ahead, and the instalment as ever"),
        pytest.param(MARCH, "655.92", {"principal_paid": "655.92"}, "406.92", id="ahead, and paid off"),
        pytest.param(MARCH, "1000.00", {"principal_paid": "493.08"}, "0.00", id="behind, and caught up"),
        pytest.param(MARCH, "1000.00", {"principal_paid": "600.00"}, "106.92", id="behind, and more than caught up"),
        pytest.param(
            MARCH, "0.00", {"principal_reversed": "1000.00"}, "-755.92", id="a payoff reversed: what is still ahead"
        ),
        pytest.param(MARCH, "655.92", {"principal_reversed": "344.08"}, "-100.00", id="a payment reversed: no more"),
        pytest.param(MARCH, "1000.00", {"principal_reversed": "20.00"}, "0.00", id="reversed behind schedule"),
        pytest.param(
            FEBRUARY,
            "1000.00",
            {"principal_paid": "1000.00", "principal_reversed": "700.00"},
            "55.92",
            id="a reversal in the same month was never paid",
        ),
        pytest.param(FEBRUARY, "1000.00", {"principal_refunded": "1000.00"}, "0.00", id="a refund is no prepayment"),
        pytest.param(
            MARCH,
            "500.00",
            {"principal_paid": "493.08", "opening_refunded": "500.00", "refunded": "500.00"},
            "0.00",
            id="half was refunded before: the first instalments are due as ever",
        ),
        pytest.param(
            MARCH,
            "500.00",
            {"principal_paid": "500.00", "opening_refunded": "500.00", "refunded": "500.00"},
            "6.92",
            id="half was refunded before, and paid off",
        ),
        pytest.param(
            FEBRUARY,
            "1000.00",
            {"principal_paid": "244.08", "principal_refunded": "755.92", "refunded": "1000.00"},
            "0.00",
            id="an instalment and then a refund of all",
        ),
        pytest.param(FEBRUARY, "1000.00", {"principal_charged_off": "1000.00"}, "0.00", id="charged off"),
    ],
)
def test_prepaid_is_what_was_paid_beyond_the_schedule(
    spark: SparkSession, month: date, opened: str, moved: dict[str, str], expected: str
) -> None:
    raised = Decimal(moved.get("principal_reversed", 0))
    names = ("paid", "refunded", "charged_off")
    closing = Decimal(opened) + raised - sum(Decimal(moved.get(f"principal_{name}", 0)) for name in names)
    charged_off = {"charged_off_principal": moved.get("principal_charged_off", "0")}
    before = balance("A", ENDS[JANUARY if month == FEBRUARY else FEBRUARY], opened, opened)
    before["refunded"] = Decimal(moved.get("opening_refunded", 0))
    rows = [balance("A", ENDS[month], opened, str(closing), **moved, **charged_off)]
    assert added(spark, month, rows, [before]) == Decimal(expected)


def test_a_month_nets_no_loan_with_another(spark: SparkSession) -> None:
    """One is 100.00 ahead and one 244.08 behind."""
    rows = [
        balance("A", ENDS[FEBRUARY], "1000.00", "655.92", principal_paid="344.08"),
        balance("B", ENDS[FEBRUARY], "1000.00", "1000.00"),
    ]
    before = [balance(name, ENDS[JANUARY], "1000.00", "1000.00") for name in "AB"]
    assert added(spark, FEBRUARY, rows, before) == Decimal("100.00")


def test_a_loan_that_is_booked_late_is_behind_by_what_fell_due_before(spark: SparkSession) -> None:
    """Booked in March: two instalments have fallen due by the month's end, and what waited in suspense pays them."""
    rows = [
        balance(
            "A",
            date(2024, 3, 5),
            "0",
            "500.00",
            booked_on=date(2024, 3, 5),
            opening_last_instalment=0,
            principal_lent="1000.00",
            principal_paid="500.00",
        ),
        balance("A", ENDS[MARCH], "500.00", "500.00", booked_on=date(2024, 3, 5)),
    ]
    assert added(spark, MARCH, rows, []) == Decimal("6.92")


def test_what_had_come_back_of_an_undone_charge_off_is_no_prepayment(spark: SparkSession) -> None:
    rows = [
        balance("A", ENDS[MARCH], "0", "700.00", principal_charged_off="-1000.00", principal_paid="300.00"),
    ]
    before = [
        balance(
            "A",
            ENDS[FEBRUARY],
            "0",
            "0",
            bucket="charged_off",
            status="charged_off",
            charged_off_on=FEBRUARY,
            charged_off_principal="1000.00",
            recovered_principal="300.00",
        )
    ]
    assert added(spark, MARCH, rows, before) == 0


def test_a_loan_whose_daily_rows_had_ended_is_ahead_by_its_schedule_less_what_was_refunded(
    spark: SparkSession,
) -> None:
    """Refunded by half and paid off in January; in March 500.00 of that are reversed. Scheduled then were 255.92."""
    rows = [
        balance(
            "A", ENDS[MARCH], "0", "500.00", opening_last_instalment=0, principal_reversed="500.00", refunded="500.00"
        )
    ]
    assert added(spark, MARCH, rows, []) == Decimal("-255.92")


# Months of a small portfolio

LOANS = [
    lent("lost"),
    lent("paid off"),
    lent("of March", MARCH),
    lent("late", date(2023, 12, 31), date(2024, 3, 31)),
]
BALANCES = [
    *(
        balance(
            name,
            ENDS[JANUARY],
            "0",
            closing,
            opening_last_instalment=0,
            principal_lent="1000.00",
            principal_paid=Decimal(1000) - Decimal(closing),
        )
        for name, closing in (("lost", "1000.00"), ("paid off", "0.00"))
    ),
    balance(
        "lost",
        ENDS[FEBRUARY],
        "1000.00",
        "0",
        bucket="charged_off",
        status="charged_off",
        charged_off_on=ENDS[FEBRUARY],
        charged_off_principal="1000.00",
        principal_charged_off="1000.00",
        deferred_discount="19.22499999",
        cost_recovered="1.00",
    ),
    # The daily rows of the other one have ended by March.
    balance("paid off", date(2024, 2, 10), "0", "0"),
    balance(
        "lost",
        ENDS[MARCH],
        "0",
        "0",
        bucket="charged_off",
        status="charged_off",
        charged_off_on=ENDS[FEBRUARY],
        charged_off_principal="1000.00",
        recovered_principal="333.33",
        recovery_principal="333.33",
        deferred_discount="19.22499999",
        cost_recovered="1.00",
    ),
    *(
        balance(
            name,
            ENDS[MARCH],
            "0",
            "1000.00",
            originated_on=originated_on,
            booked_on=booked_on,
            opening_last_instalment=0,
            principal_lent="1000.00",
        )
        for name, originated_on, booked_on in (
            ("of March", MARCH, MARCH),
            ("late", date(2023, 12, 31), date(2024, 3, 31)),
        )
    ),
]
SCHEDULES = [one for each in LOANS for one in scheduled(each["loan_id"])]
LATE, FIRST = date(2023, 12, 1), JANUARY
EXPECTED = {
    # months on book, loans, originated, charged off, recovered, unearned, net loss, prepaid; the rates
    (JANUARY, FIRST): (0, 2, "2000.00", "0.00", "0.00", "0.00", "0.00", "1000.00"),
    (FEBRUARY, FIRST): (1, 2, "2000.00", "1000.00", "0.00", "20.22", "979.78", "1000.00"),
    (MARCH, FIRST): (2, 2, "2000.00", "1000.00", "333.33", "20.22", "646.45", "1000.00"),
    (MARCH, MARCH): (0, 1, "1000.00", "0.00", "0.00", "0.00", "0.00", "0.00"),
    (MARCH, LATE): (3, 1, "1000.00", "0.00", "0.00", "0.00", "0.00", "0.00"),
}
RATES = {
    (JANUARY, FIRST): ("0.000000", "0.000000", "0.000000", "50.000000"),
    (FEBRUARY, FIRST): ("50.000000", "0.000000", "48.989000", "50.000000"),
    (MARCH, FIRST): ("50.000000", "16.666500", "32.322500", "50.000000"),
    (MARCH, MARCH): ("0.000000",) * 4,
    (MARCH, LATE): ("0.000000",) * 4,
}
_AMOUNTS = ("originated", "charged_off", "recovered", "unearned", "net_loss", "prepaid")
_RATES = ("charge_off_rate", "recovery_rate", "net_loss_rate", "prepayment_rate")
ALL = Window(JANUARY, MARCH)


def made_of(spark: SparkSession, window: Window, previous: DataFrame) -> DataFrame:
    def within(rows: list[Row], day: str) -> list[Row]:
        return [each for each in rows if window.first <= each[day].replace(day=1) <= window.last]

    loans, balances = (
        frame(spark, Loan, within(LOANS, "booked_on")),
        frame(spark, LoanBalance, within(BALANCES, "as_of")),
    )
    return vintage_curves(loans, balances, frame(spark, ScheduledInstalment, SCHEDULES), previous, window)


@pytest.fixture(scope="module")
def staged(spark: SparkSession, keep: Keep) -> DataFrame:
    return keep(made_of(spark, ALL, frame(spark, VintageCurve, [])))


def test_each_month_of_a_vintage_goes_on_from_the_one_before(staged: DataFrame) -> None:
    rows = {(each.month, each.vintage): each for each in staged.collect()}
    assert {
        key: (each.months_on_book, each.loans, *(str(each[name]) for name in _AMOUNTS)) for key, each in rows.items()
    } == EXPECTED
    assert {key: tuple(str(each[name]) for name in _RATES) for key, each in rows.items()} == RATES
    opened = {
        key: (each.opening_loans, str(each.opening_originated), str(each.opening_prepaid)) for key, each in rows.items()
    }
    assert opened == {
        (JANUARY, FIRST): (0, "0.00", "0.00"),
        (FEBRUARY, FIRST): (2, "2000.00", "1000.00"),
        (MARCH, FIRST): (2, "2000.00", "1000.00"),
        (MARCH, MARCH): (0, "0.00", "0.00"),
        (MARCH, LATE): (0, "0.00", "0.00"),
    }


def test_month_by_month_the_rows_are_those_of_all_months_at_once(
    spark: SparkSession, staged: DataFrame, keep: Keep
) -> None:
    previous, rows = frame(spark, VintageCurve, []), []
    for month in (JANUARY, FEBRUARY, MARCH):
        previous = keep(made_of(spark, Window(month, month), previous))
        rows += previous.select(sorted(previous.columns)).collect()
    assert sorted(rows) == sorted(staged.select(sorted(staged.columns)).collect())


def found(spark: SparkSession, staged: DataFrame) -> dict[str, int]:
    """By audit, how many rows are not ok."""
    balances, nothing = frame(spark, LoanBalance, BALANCES), frame(spark, LoanBalance, [])
    lost, portfolio = charge_offs(balances), portfolio_daily(balances)
    schedules, loans = frame(spark, ScheduledInstalment, SCHEDULES), frame(spark, Loan, LOANS)
    audited = {
        "originated": originated_is_every_loan.function(staged, loans, ALL),
        "charge_offs": losses_are_those_of_charge_offs.function(staged, lost, portfolio),
        "portfolio": losses_are_those_of_the_portfolio.function(staged, portfolio),
        "prepaid": prepaid_is_what_the_schedules_did_not_ask_for.function(staged, balances, nothing, schedules),
        "rates": rates_are_of_what_was_originated.function(staged),
        "months": months_on_book_are_those_since_the_vintage.function(staged),
    }
    assert all(each.count() for each in audited.values())
    return {name: count for name, each in audited.items() if (count := not_ok(each))}


def test_audits_pass(spark: SparkSession, staged: DataFrame) -> None:
    assert found(spark, staged) == {}


A_ROW = f"month = DATE'{MARCH}' AND vintage = DATE'{FIRST}'"


@pytest.mark.parametrize(
    ("changes", "finds"),
    [
        pytest.param({"loans": "loans + 1"}, {"originated": 1}, id="loans"),
        pytest.param({"originated": "originated + 0.01"}, {"originated": 1, "rates": 1}, id="originated"),
        pytest.param(
            {"charged_off": "charged_off + 0.01"}, {"charge_offs": 1, "portfolio": 1, "rates": 1}, id="charged off"
        ),
        pytest.param({"recovered": "recovered + 0.01"}, {"charge_offs": 1, "portfolio": 1, "rates": 1}, id="recovered"),
        pytest.param({"unearned": "unearned + 0.01"}, {"charge_offs": 1}, id="unearned"),
        pytest.param({"net_loss": "net_loss + 0.01"}, {"charge_offs": 1, "rates": 1}, id="net loss"),
        pytest.param({"prepaid": "prepaid + 0.01"}, {"prepaid": 1, "rates": 1}, id="prepaid"),
        pytest.param({"opening_prepaid": "opening_prepaid - 0.01"}, {"prepaid": 1}, id="what was prepaid before"),
        *(pytest.param({name: f"{name} + 0.000001"}, {"rates": 1}, id=name) for name in _RATES),
        pytest.param({"months_on_book": "months_on_book - 1"}, {"months": 1}, id="months on book"),
        pytest.param(
            {"vintage": "DATE'2024-02-01'"},
            {"originated": 2, "charge_offs": 2, "portfolio": 2, "months": 1},
            id="another vintage",
        ),
    ],
)
def test_a_planted_error_is_found(
    spark: SparkSession, staged: DataFrame, changes: dict[str, str], finds: dict[str, int]
) -> None:
    assert found(spark, changed(staged, A_ROW, **changes)) == finds


def test_a_month_without_rows_is_found(spark: SparkSession, staged: DataFrame) -> None:
    assert found(spark, staged.where(f"month <> DATE'{FEBRUARY}'")) == {
        "originated": 1,
        "charge_offs": 1,
        "portfolio": 1,
    }


@pytest.mark.parametrize("years", [1, 10, 40])
def test_months_on_book_hold_over_decades(spark: SparkSession, years: int) -> None:
    """Each month of them, in leap years and others: no other number of months passes."""
    rows = [
        row(
            VintageCurve,
            month=date(1999 + years + number // 12, number % 12 + 1, 1),
            vintage=date(1999, 3, 1),
            months_on_book=12 * years + number - 2 + wrong,
        )
        for number in range(48)
        for wrong in (-1, 0, 1)
    ]
    audited = months_on_book_are_those_since_the_vintage.function(frame(spark, VintageCurve, rows))
    assert not_ok(audited) == 2 * 48
