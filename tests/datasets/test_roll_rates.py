"""Where the principal of each bucket went in a month, worked by hand, and what its audits find."""

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from affirm_assets.datasets.portfolio.portfolio_daily import portfolio_daily
from affirm_assets.datasets.portfolio.roll_rates import (
    RollRate,
    cells_are_those_of_the_loans,
    destinations_tie_to_the_portfolio,
    rates_are_of_the_opening_balances,
    roll_rates,
    rows_add_up_to_the_opening_balances,
)
from affirm_assets.datasets.servicing.loan_balances import LoanBalance
from affirm_assets.declare.contract import column_differences
from affirm_assets.declare.partitions import Window
from tests.datasets.lender import Row, changed, frame, not_ok, row
from tests.storage import Keep

DAYS = {"current": 0, "1-29": 1, "30-59": 30, "60-89": 60, "90-119": 90, "charged_off": 0}
FEBRUARY, MARCH = date(2024, 2, 1), date(2024, 3, 1)
THE_DAY_BEFORE, MIDDLE, LEAP_DAY, THE_LAST = (
    date(2024, 1, 31),
    date(2024, 2, 10),
    date(2024, 2, 29),
    date(2024, 3, 31),
)


def balance(loan_id: str, as_of: date, bucket: str, principal: str = "0", **over: Any) -> Row:
    """A day's row. It opens with what its movements say."""
    status = "charged_off" if bucket == "charged_off" else "open" if Decimal(principal) else "repaid"
    moved = {name: Decimal(each) for name, each in over.items() if name.startswith("principal_")}
    raised = sum(moved.get(f"principal_{name}", Decimal(0)) for name in ("lent", "reversed"))
    fixed = {
        "product": "installment",
        "booked_on": date(2024, 1, 5),
        "originated_on": date(2024, 1, 5),
        "opening_principal": Decimal(principal) - 2 * raised + sum(moved.values()),
        "charged_off_on": as_of if status == "charged_off" else None,
        "status": status,
        "days_past_due": DAYS[bucket],
        **over,
    }
    return row(LoanBalance, loan_id=loan_id, as_of=as_of, bucket=bucket, principal=principal, **fixed)


OPENED = [
    balance("pays a part", THE_DAY_BEFORE, "current", "100.00"),
    balance("rolls", THE_DAY_BEFORE, "current", "200.00"),
    balance("cures", THE_DAY_BEFORE, "1-29", "300.00"),
    balance("lost", THE_DAY_BEFORE, "90-119", "400.00"),
    balance("undone", THE_DAY_BEFORE, "charged_off"),
    balance("settled, reversed", THE_DAY_BEFORE, "current"),
    balance("interest only", THE_DAY_BEFORE, "current", status="open", interest="1.00"),
    balance("ends", THE_DAY_BEFORE, "current", "25.00"),
    balance("refunded", THE_DAY_BEFORE, "60-89", "80.00"),
    balance("reversed", THE_DAY_BEFORE, "30-59", "0.30"),
    balance("in three", THE_DAY_BEFORE, "current", "0.90", product="pay_in_4"),
]
MOVED = [
    balance("pays a part", MIDDLE, "1-29", "100.00"),
    balance("pays a part", LEAP_DAY, "current", "60.00", principal_paid="40.00"),
    balance("rolls", LEAP_DAY, "1-29", "200.00"),
    balance("cures", MIDDLE, "current", "240.00", principal_paid="60.00"),
    balance("cures", LEAP_DAY, "current", "250.00", principal_reversed="10.00"),
    balance("lost", MIDDLE, "charged_off", principal_charged_off="400.00"),
    balance("lost", LEAP_DAY, "charged_off"),
    # 500.00 were charged off and 20.00 have come back: what did counts as paid.
    balance("undone", MIDDLE, "current", "480.00", principal_charged_off="-500.00", principal_paid="20.00"),
    balance("undone", LEAP_DAY, "1-29", "480.00"),
    balance("settled, reversed", LEAP_DAY, "30-59", "100.00", principal_reversed="100.00"),
    # Its daily rows had ended.
    balance("ended, reversed", LEAP_DAY, "current", "70.00", principal_reversed="70.00"),
    balance("interest only", LEAP_DAY, "current", interest="1.00"),
    # Its daily rows end before the month does.
    balance("ends", MIDDLE, "current", principal_paid="25.00"),
    balance("refunded", MIDDLE, "60-89", "50.00", principal_refunded="30.00"),
    balance("refunded", LEAP_DAY, "current", principal_paid="49.50", principal_waived="0.50"),
    balance("reversed", LEAP_DAY, "60-89", "4000.00", principal_paid="0.10", principal_reversed="3999.80"),
    balance(
        "in three", LEAP_DAY, "current", "0.30", product="pay_in_4", principal_paid="0.30", principal_waived="0.30"
    ),
    # Booked, paid, refunded and charged off within the month: no part of it, whenever they originated.
    balance(
        "new",
        LEAP_DAY,
        "current",
        "900.00",
        booked_on=FEBRUARY,
        principal_lent="1000.00",
        principal_paid="70.00",
        principal_refunded="30.00",
    ),
    balance(
        "new, lost",
        LEAP_DAY,
        "charged_off",
        booked_on=MIDDLE,
        originated_on=date(2023, 8, 1),
        principal_lent="55.00",
        principal_charged_off="55.00",
    ),
    balance("new, settled", MIDDLE, "current", booked_on=MIDDLE, principal_lent="5.00", principal_paid="5.00"),
    balance("new, settled", LEAP_DAY, "current", booked_on=MIDDLE),
]
THEN = [
    balance("rolls", THE_LAST, "30-59", "200.00"),
    balance("new", THE_LAST, "1-29", "900.00", booked_on=FEBRUARY),
]
"""In March; all others have no rows then."""

IN_FEBRUARY = {
    ("installment", "current", "current"): (1, "60.00", "325.00", "18.461538"),
    ("installment", "current", "1-29"): (1, "200.00", "325.00", "61.538462"),
    ("installment", "current", "paid"): (2, "65.00", "325.00", "20.000000"),
    ("installment", "1-29", "current"): (1, "250.00", "300.00", "83.333333"),
    ("installment", "1-29", "paid"): (1, "50.00", "300.00", "16.666667"),
    ("installment", "30-59", "60-89"): (1, "4000.00", "0.30", "1333333.333333"),
    ("installment", "30-59", "paid"): (1, "-3999.70", "0.30", "-1333233.333333"),
    ("installment", "60-89", "refunded"): (1, "30.00", "80.00", "37.500000"),
    ("installment", "60-89", "paid"): (1, "49.50", "80.00", "61.875000"),
    ("installment", "60-89", "waived"): (1, "0.50", "80.00", "0.625000"),
    ("installment", "90-119", "charged_off"): (1, "400.00", "400.00", "100.000000"),
    ("installment", "charged_off", "1-29"): (1, "480.00", "0.00", None),
    ("installment", "charged_off", "paid"): (1, "20.00", "0.00", None),
    ("installment", "charged_off", "charged_off"): (1, "-500.00", "0.00", None),
    ("installment", "repaid", "30-59"): (1, "100.00", "0.00", None),
    ("installment", "repaid", "current"): (1, "70.00", "0.00", None),
    ("installment", "repaid", "paid"): (2, "-170.00", "0.00", None),
    ("pay_in_4", "current", "current"): (1, "0.30", "0.90", "33.333333"),
    ("pay_in_4", "current", "paid"): (1, "0.30", "0.90", "33.333333"),
    ("pay_in_4", "current", "waived"): (1, "0.30", "0.90", "33.333333"),
}


@pytest.fixture(scope="module")
def opened(spark: SparkSession, keep: Keep) -> DataFrame:
    return keep(frame(spark, LoanBalance, OPENED))


@pytest.fixture(scope="module")
def moved(spark: SparkSession, keep: Keep) -> DataFrame:
    return keep(frame(spark, LoanBalance, MOVED))


def rows_of(report: DataFrame, month: date = FEBRUARY) -> dict[tuple[str, ...], tuple[Any, ...]]:
    return {
        (each.product, each.from_bucket, each.to_bucket): (
            each.loans,
            str(each.principal),
            str(each.opening_principal),
            None if each.rate is None else str(each.rate),
        )
        for each in report.collect()
        if each.month == month
    }


def test_each_loans_principal_is_split_by_what_became_of_it(opened: DataFrame, moved: DataFrame) -> None:
    made = roll_rates(moved, opened)
    assert column_differences(RollRate, made.schema) == []
    assert {each.month for each in made.collect()} == {FEBRUARY}
    assert rows_of(made) == IN_FEBRUARY


def test_months_of_one_window_open_as_the_one_before_closed(
    spark: SparkSession, opened: DataFrame, moved: DataFrame
) -> None:
    made = roll_rates(moved.unionByName(frame(spark, LoanBalance, THEN)), opened)
    assert rows_of(made) == IN_FEBRUARY
    assert rows_of(made, MARCH) == {
        ("installment", "1-29", "30-59"): (1, "200.00", "200.00", "100.000000"),
        ("installment", "current", "1-29"): (1, "900.00", "900.00", "100.000000"),
    }


def test_the_first_month_of_a_lake_opens_with_nothing(spark: SparkSession, opened: DataFrame) -> None:
    assert roll_rates(opened, frame(spark, LoanBalance, [])).count() == 0


@pytest.fixture(scope="module")
def staged(opened: DataFrame, moved: DataFrame, keep: Keep) -> DataFrame:
    return keep(roll_rates(moved, opened))


def found(staged: DataFrame, opened: DataFrame, moved: DataFrame) -> dict[str, int]:
    """By audit, how many rows are not ok."""
    portfolio, before = portfolio_daily(moved), portfolio_daily(opened)
    window = Window(FEBRUARY, FEBRUARY)
    audited = {
        "opening": rows_add_up_to_the_opening_balances.function(staged, portfolio, before, window),
        "destinations": destinations_tie_to_the_portfolio.function(staged, portfolio, moved),
        "cells": cells_are_those_of_the_loans.function(staged, moved, opened, window),
        "rates": rates_are_of_the_opening_balances.function(staged),
    }
    assert all(each.count() for each in audited.values())
    return {name: count for name, each in audited.items() if (count := not_ok(each))}


def test_audits_pass(staged: DataFrame, opened: DataFrame, moved: DataFrame) -> None:
    assert found(staged, opened, moved) == {}


A_ROW = "from_bucket = 'current' AND to_bucket = 'paid' AND product = 'installment'"


@pytest.mark.parametrize(
    ("where", "changes", "finds"),
    [
        pytest.param(
            A_ROW, {"to_bucket": "'refunded'"}, {"destinations": 2, "cells": 2}, id="under another destination"
        ),
        pytest.param(A_ROW, {"from_bucket": "'1-29'"}, {"opening": 2, "cells": 2}, id="under another bucket"),
        pytest.param(
            "from_bucket = 'charged_off'",
            {"principal": "-principal"},
            {"destinations": 3, "cells": 3},
            id="a charge-off undone the other way",
        ),
        pytest.param(
            "from_bucket = 'current' AND product = 'installment'",
            {"opening_principal": "opening_principal + 0.01"},
            {"opening": 1, "rates": 3},
            id="a cent of what it opened with",
        ),
        pytest.param("rate IS NULL", {"rate": "0"}, {"rates": 6}, id="a rate of nothing"),
        pytest.param(A_ROW, {"rate": "rate + 0.000001"}, {"rates": 1}, id="the last place of a rate"),
    ],
)
def test_a_planted_error_is_found(
    staged: DataFrame, opened: DataFrame, moved: DataFrame, where: str, changes: dict[str, str], finds: dict[str, int]
) -> None:
    assert found(changed(staged, where, **changes), opened, moved) == finds


@pytest.mark.parametrize("missing", [A_ROW, "from_bucket = '60-89'", "product = 'pay_in_4'"])
def test_what_is_missing_is_found(staged: DataFrame, opened: DataFrame, moved: DataFrame, missing: str) -> None:
    assert {"opening", "destinations", "cells"} <= found(staged.where(f"NOT ({missing})"), opened, moved).keys()
