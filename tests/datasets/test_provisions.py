"""The allowance for credit losses: worked by hand over two months' ends, in one range or day by day."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from affirm_assets.audits.carry import audits_of
from affirm_assets.datasets.ledger import provisions as module
from affirm_assets.datasets.ledger.provisions import (
    Provision,
    allowance_is_provided_less_lost,
    expected_is_rate_times_cost,
    movements_are_those_of_charge_offs,
    only_the_end_of_a_month_provides,
    owed_by_bucket,
    provisions,
)
from affirm_assets.datasets.servicing.loan_balances import LoanBalance
from affirm_assets.declare.contract import column_differences, spark_schema
from affirm_assets.declare.partitions import Window
from affirm_assets.lender.vocabulary import OPEN_BUCKETS, PRODUCT_NAMES
from tests.datasets.lender import WINDOW, Row, books, changed, day, frame, not_ok, row
from tests.storage import Keep

OPENS, NEXT_DAY_OPENS = audits_of(provisions)

RATES = {(product, bucket): Decimal("12.5") for product in PRODUCT_NAMES for bucket in OPEN_BUCKETS} | {
    ("installment", "current"): Decimal(1),
    ("installment", "1-29"): Decimal(10),
    ("installment", "90-119"): Decimal(100),
}


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EXPECTED_LOSSES", RATES)


def owes(as_of: str, bucket: str, principal: str = "0", **over: Any) -> Row:
    fixed = {"product": "installment", "as_of": day(as_of), "bucket": bucket, "principal": principal, **over}
    return row(LoanBalance, loan_id=f"{bucket} {principal}", **fixed)


BALANCES = [
    owes("01-30", "current", "1000.00"),
    # 10.00 + half a cent of 0.50 + 100.00: the half is rounded up.
    owes("01-31", "current", "600.00"),
    owes("01-31", "current", "400.50"),
    owes("01-31", "1-29", "0.05"),
    owes("01-31", "90-119", "100.00"),
    owes("01-31", "30-59", "8.04", product="pay_in_4"),
    owes("02-01", "charged_off", principal_charged_off="100.00"),
    owes("02-02", "charged_off", recovery_principal="30.00"),
    owes("02-03", "charged_off", recovery_principal="-10.00"),
    owes("02-28", "current", "500.00"),
    owes("03-01", "current", "500.00"),
]


def made(spark: SparkSession, first: str, last: str, **over: str) -> dict[tuple[str, str], Row]:
    before = [row(Provision, product=product, closing=closing) for product, closing in over.items()]
    owed = owed_by_bucket.function(frame(spark, LoanBalance, BALANCES).where(F.col("as_of") >= F.lit(day(first))))
    found = provisions(owed, frame(spark, Provision, before), Window(day(first), day(last)))
    assert column_differences(Provision, found.schema) == []
    return {(each.product, f"{each.as_of:%m-%d}"): each.asDict() for each in found.collect()}


def moved(of: Row) -> tuple[str, ...]:
    names = ("opening", "charged_off", "recovered", "expected", "provision", "closing")
    return tuple(str(of[name]) for name in names)


def test_a_month_ends_with_what_is_expected_to_be_lost(spark: SparkSession, rates: None) -> None:
    found = made(spark, "01-30", "03-01")
    assert len(found) == 31 * len(PRODUCT_NAMES)
    loans = {as_of: moved(each) for (product, as_of), each in found.items() if product == "installment"}
    assert [loans[each] for each in ("01-30", "01-31", "02-01", "02-02", "02-03", "02-04", "02-28", "03-01")] == [
        ("0.00", "0.00", "0.00", "10.00", "0.00", "0.00"),
        ("0.00", "0.00", "0.00", "110.02", "110.02", "110.02"),
        ("110.02", "100.00", "0.00", "0.00", "0.00", "10.02"),
        ("10.02", "0.00", "30.00", "0.00", "0.00", "40.02"),
        ("40.02", "0.00", "-10.00", "0.00", "0.00", "30.02"),
        ("30.02", "0.00", "0.00", "0.00", "0.00", "30.02"),
        # A release.
        ("30.02", "0.00", "0.00", "5.00", "-25.02", "5.00"),
        ("5.00", "0.00", "0.00", "5.00", "0.00", "5.00"),
    ]


def test_each_bucket_shows_cost_rate_and_expected_loss(spark: SparkSession, rates: None) -> None:
    found = made(spark, "01-31", "01-31")
    shown = {
        (product, name): tuple(str(each[f"{of}_{name}"]) for of in ("cost", "rate", "expected"))
        for (product, _), each in found.items()
        for name in ("current", "1_29", "30_59", "60_89", "90_119")
        if each[f"cost_{name}"]
    }
    assert shown == {
        ("installment", "current"): ("1000.50", "1.000000", "10.01"),
        ("installment", "1_29"): ("0.05", "10.000000", "0.01"),
        ("installment", "90_119"): ("100.00", "100.000000", "100.00"),
        # 1.005
        ("pay_in_4", "30_59"): ("8.04", "12.500000", "1.01"),
    }


def test_what_was_carried_counts_until_the_end_of_the_month(spark: SparkSession, rates: None) -> None:
    found = made(spark, "02-01", "03-01", installment="-20.00")
    assert moved(found["installment", "02-01"]) == ("-20.00", "100.00", "0.00", "0.00", "0.00", "-120.00")
    assert moved(found["installment", "02-28"]) == ("-100.00", "0.00", "0.00", "5.00", "105.00", "5.00")
    assert moved(found["installment", "03-01"]) == ("5.00", "0.00", "0.00", "5.00", "0.00", "5.00")


provided_less_lost = allowance_is_provided_less_lost.function


@pytest.fixture(scope="module")
def given(spark: SparkSession, keep: Keep) -> dict[str, DataFrame]:
    return books(spark, keep)


@pytest.fixture(scope="module")
def nothing(spark: SparkSession) -> DataFrame:
    return frame(spark, Provision, [])


def test_audits_pass(given: dict[str, DataFrame], nothing: DataFrame) -> None:
    staged, charge_offs = given["provisions"], given["charge_offs"]
    assert staged.count() == 201 * len(PRODUCT_NAMES)
    for audited in (
        expected_is_rate_times_cost.function(staged, given["loan_balances"], WINDOW),
        movements_are_those_of_charge_offs.function(staged, charge_offs, charge_offs.where("false"), WINDOW),
        provided_less_lost(staged, nothing, nothing, charge_offs, charge_offs.where("false"), "a month ends", WINDOW),
        only_the_end_of_a_month_provides.function(staged),
        OPENS.function(staged, nothing, WINDOW),
    ):
        assert audited.count() > 0
        assert not_ok(audited) == 0


def test_a_range_is_its_days_one_by_one_with_their_audits(
    spark: SparkSession, given: dict[str, DataFrame], nothing: DataFrame, keep: Keep
) -> None:
    """Over a month's end and a charge-off."""
    staged, charge_offs = given["provisions"], given["charge_offs"]
    first, last = day("05-29"), day("06-05")
    carried = keep(staged.where(F.col("as_of") == F.lit(first - timedelta(days=1))))
    earlier = keep(staged.where(F.col("as_of") < F.lit(first)))
    found: list[Any] = []
    for number in range((last - first).days + 1):
        each = first + timedelta(days=number)
        window = Window(each, each)
        of_day = given["loan_balances"].where(F.col("as_of") == F.lit(each))
        made = keep(provisions(owed_by_bucket.function(of_day), carried, window))
        lost, lost_before = (charge_offs.where(F.col("as_of") == F.lit(each - timedelta(days=back))) for back in (0, 1))
        for audited in (
            expected_is_rate_times_cost.function(made, of_day, window),
            movements_are_those_of_charge_offs.function(made, lost, lost_before, window),
            provided_less_lost(made, earlier, carried, lost, lost_before, "a month ends", window),
            provided_less_lost(made, nothing, carried, lost, lost_before, None, window),
            only_the_end_of_a_month_provides.function(made),
            OPENS.function(made, carried, window),
        ):
            assert not_ok(audited) == 0
        found += made.collect()
        carried = spark.createDataFrame(made.collect(), spark_schema(Provision))
        earlier = keep(earlier.unionByName(carried))
    in_range = staged.where(F.col("as_of").between(F.lit(first), F.lit(last))).collect()
    assert sorted(map(tuple, found)) == sorted(map(tuple, in_range))
    assert any(each.charged_off for each in found)
    assert any(each.provision for each in found)


def test_a_rate_that_is_not_the_lenders_is_found(given: dict[str, DataFrame], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EXPECTED_LOSSES", {**module.EXPECTED_LOSSES, ("pay_in_4", "60-89"): Decimal("0.5")})
    audited = expected_is_rate_times_cost.function(given["provisions"], given["loan_balances"], WINDOW)
    wrong = {(each.product, each.bucket) for each in audited.where("NOT ok").collect()}
    assert wrong == {("pay_in_4", "60-89")}


def test_an_expected_loss_that_is_rounded_down_is_found(spark: SparkSession, rates: None) -> None:
    owed = [owes("01-31", "30-59", "8.04", product="pay_in_4", days_past_due=30)]
    balances = frame(spark, LoanBalance, owed)
    window = Window(date(2025, 1, 31), date(2025, 1, 31))
    staged = provisions(owed_by_bucket.function(balances), frame(spark, Provision, []), window)
    assert not_ok(expected_is_rate_times_cost.function(staged, balances, window)) == 0
    for expected in ("1.00", "1.02"):
        wrong = changed(staged, "product = 'pay_in_4'", expected_30_59=f"{expected}BD")
        assert not_ok(expected_is_rate_times_cost.function(wrong, balances, window)) == 1
