"""Unapplied money, listed by transaction, age and reason until it is taken up."""

from datetime import date, timedelta
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from affirm_assets.audits.carry import audits_of
from affirm_assets.datasets.servicing.payment_applications import PaymentApplication
from affirm_assets.datasets.servicing.unapplied import (
    Unapplied,
    unapplied,
    unapplied_adds_up,
    what_is_left_is_of_an_age,
)
from affirm_assets.declare.contract import column_differences
from affirm_assets.declare.partitions import Window
from affirm_assets.lender.finance.account import WAITS_FOR_ITS_ORIGINAL
from tests.datasets.lender import Row, changed, frame, not_ok, row
from tests.storage import Keep

FIRST = date(2025, 3, 1)
WAITS = WAITS_FOR_ITS_ORIGINAL["payment_reversal"]
OPENS, NEXT_DAY_OPENS = audits_of(unapplied)


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


def applied(transaction_id: str, number: int, unapplied: str, **over: Any) -> Row:
    fixed = {"loan_id": "L", "product": "pay_in_4", "kind": "refund", "amount": "1.00", "exception": None, **over}
    return row(PaymentApplication, transaction_id=transaction_id, posted_on=day(number), unapplied=unapplied, **fixed)


APPLICATIONS = [
    # A refund above the price, taken back in two parts.
    applied("F1", 0, "90.00", exception="more than the price, with what was refunded before"),
    applied("F1R", 2, "-40.00", kind="refund_reversal", reverses="F1"),
    applied("F1S", 3, "-50.00", kind="refund_reversal", reverses="F1"),
    # A reversal that comes before its payment: the two come to nothing.
    applied("P2R", 1, "-25.00", kind="payment_reversal", reverses="P2", exception=WAITS),
    applied("P2", 3, "25.00", kind="payment", exception="was reversed before it came"),
    # One that never finds it.
    applied("P3R", 1, "-7.00", kind="payment_reversal", reverses="P3", exception=WAITS),
    # A second reversal is money of its own.
    applied("P2T", 4, "-25.00", kind="payment_reversal", reverses="P2", exception="reverses what was reversed before"),
    # A cent too much.
    applied("C1", 4, "-0.01", kind="credit_refund", exception="more than the credit balance"),
    applied("PAID", 4, "0.00", kind="payment", principal="1.00"),
]
LAST = 200
WHOLE = Window(day(0), day(LAST))


@pytest.fixture(scope="module")
def applications(spark: SparkSession, keep: Keep) -> DataFrame:
    return keep(frame(spark, PaymentApplication, APPLICATIONS))


@pytest.fixture(scope="module")
def nothing(spark: SparkSession) -> DataFrame:
    return frame(spark, Unapplied, [])


@pytest.fixture(scope="module")
def staged(applications: DataFrame, nothing: DataFrame, keep: Keep) -> DataFrame:
    return keep(unapplied(nothing, applications, WHOLE))


def closings(staged: DataFrame, transaction_id: str) -> list[tuple[int, str]]:
    rows = staged.where(f"transaction_id = '{transaction_id}'").orderBy("as_of").collect()
    return [((each.as_of - FIRST).days, str(each.closing)) for each in rows]


def test_each_has_a_row_until_nothing_of_it_is_left(staged: DataFrame) -> None:
    assert column_differences(Unapplied, staged.schema) == []
    assert closings(staged, "F1") == [(0, "90.00"), (1, "90.00"), (2, "50.00"), (3, "0.00")]
    assert closings(staged, "P2") == [(1, "-25.00"), (2, "-25.00"), (3, "0.00")]
    assert closings(staged, "P3")[-1] == (LAST, "-7.00")
    assert closings(staged, "P2T")[0] == (4, "-25.00")
    assert closings(staged, "C1")[0] == (4, "-0.01")
    assert {each.transaction_id for each in staged.collect()} == {"F1", "P2", "P3", "P2T", "C1"}


def test_age_and_reason(staged: DataFrame) -> None:
    rows = {(each.as_of - FIRST).days: each for each in staged.where("transaction_id = 'P3'").collect()}
    assert {number: rows[number].age for number in (1, 31, 32, 91, 92, 181, 182)} == {
        1: "0-30",
        31: "0-30",
        32: "31-90",
        91: "31-90",
        92: "91-180",
        181: "91-180",
        182: "over 180",
    }
    assert rows[182].days == 181
    assert {each.reason for each in rows.values()} == {WAITS}


def test_day_by_day_is_the_same_as_in_one_go(
    spark: SparkSession, applications: DataFrame, staged: DataFrame, nothing: DataFrame
) -> None:
    found, before = [], nothing
    for window in (Window(day(0), day(0)), *(Window(day(n), day(n)) for n in range(1, 5)), Window(day(5), day(LAST))):
        of_window = applications.where(f"posted_on BETWEEN DATE'{window.first}' AND DATE'{window.last}'")
        rows = [each.asDict() for each in unapplied(before, of_window, window).collect()]
        found += rows
        before = frame(spark, Unapplied, [each for each in rows if each["as_of"] == window.last])
    by_key = [sorted(map(str, rows)) for rows in (found, (each.asDict() for each in staged.collect()))]
    assert by_key[0] == by_key[1]


def test_audits_pass(staged: DataFrame, applications: DataFrame, nothing: DataFrame) -> None:
    assert not_ok(unapplied_adds_up.function(staged, applications)) == 0
    assert not_ok(what_is_left_is_of_an_age.function(staged)) == 0
    assert not_ok(OPENS.function(staged, nothing, WHOLE)) == 0


@pytest.mark.parametrize("name", ["opening", "closing"])
def test_a_cent_that_no_application_left_is_found(staged: DataFrame, applications: DataFrame, name: str) -> None:
    wrong = changed(staged, "transaction_id = 'F1' AND as_of = DATE'2025-03-02'", **{name: f"{name} + 0.01"})
    assert not_ok(unapplied_adds_up.function(wrong, applications)) == 1


@pytest.mark.parametrize("change", [{"days": "days + 1"}, {"age": "'91-180'"}, {"opening": "0", "moved": "0"}])
def test_a_wrong_age_is_found(staged: DataFrame, change: dict[str, str]) -> None:
    wrong = changed(staged, "transaction_id = 'F1' AND as_of = DATE'2025-03-02'", **change)
    assert not_ok(what_is_left_is_of_an_age.function(wrong)) == 1
