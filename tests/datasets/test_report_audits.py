"""The audits of the reports: they pass what the transforms make, and see an error that the totals of a day hide."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from affirm_assets.datasets.portfolio.cash_daily import CashDaily, cash_daily, totals_equal_the_transactions
from affirm_assets.datasets.portfolio.originations_daily import (
    apr_is_that_of_the_loans,
    originations_daily,
    totals_equal_the_loans,
)
from affirm_assets.datasets.portfolio.originations_monthly import (
    apr_is_that_of_the_days,
    originations_monthly,
    totals_equal_the_days,
)
from affirm_assets.declare.contract import column_differences
from affirm_assets.declare.dataset import Audit, Dataset

D1, D2, FEBRUARY = date(2025, 1, 1), date(2025, 1, 31), date(2025, 2, 1)


@pytest.fixture(scope="module")
def source(spark: SparkSession) -> Callable[[Dataset], DataFrame]:
    """What each report is made from."""
    loans = spark.createDataFrame(
        [
            (day, product, state, Decimal(principal), Decimal(apr))
            for day, product, state, principal, apr in (
                (D1, "installment", "CA", "1000.01", "14.99"),
                (D1, "installment", "CA", "333.33", "35.990001"),
                (D1, "installment", "NY", "1000.00", "9.99"),
                (D1, "pay_in_4", "NY", "1000.00", "0"),
                (D2, "installment", "CA", "0.01", "36"),
                (FEBRUARY, "installment", "CA", "9999999999999999.99", "29.999999"),
            )
        ],
        "booked_on date, product string, borrower_state string, principal decimal(18,2), apr decimal(9,6)",
    )
    transactions = spark.createDataFrame(
        [
            (D1, "installment", "payment", Decimal("10.00")),
            (D1, "installment", "payment", Decimal("20.00")),
            (D1, "installment", "payment_reversal", Decimal("20.00")),
            (D1, "installment", "refund", Decimal("30.00")),
            (D1, "none", "merchant_payout", Decimal("30.00")),
        ],
        "posted_on date, product string, kind string, amount decimal(18,2)",
    )
    frames = {"originations_daily": loans, "cash_daily": transactions}
    frames["originations_monthly"] = originations_daily(loans)
    return lambda report: frames[report.name]


def test_cash_came_in_or_went_out_and_a_refund_is_no_cash(source: Callable[[Dataset], DataFrame]) -> None:
    made = cash_daily(source(cash_daily))
    assert column_differences(CashDaily, made.schema) == []
    found = {(each.product, each.kind): (each.transactions, each.received, each.paid_out) for each in made.collect()}
    assert found == {
        ("installment", "payment"): (2, Decimal("30.00"), Decimal("0.00")),
        ("installment", "payment_reversal"): (1, Decimal("0.00"), Decimal("20.00")),
        ("none", "merchant_payout"): (1, Decimal("0.00"), Decimal("30.00")),
    }


def not_ok(audit: Audit, staged: DataFrame, source: DataFrame) -> int:
    compared = audit.function(staged, source)
    assert compared.count() > 0
    return compared.where("ok IS NULL OR NOT ok").count()


AUDITS = (
    (cash_daily, totals_equal_the_transactions),
    (originations_daily, totals_equal_the_loans),
    (originations_daily, apr_is_that_of_the_loans),
    (originations_monthly, totals_equal_the_days),
    (originations_monthly, apr_is_that_of_the_days),
)


@pytest.mark.parametrize(("report", "audit"), AUDITS, ids=lambda each: each.name)
def test_what_the_transform_makes_passes(source: Callable[..., DataFrame], report: Dataset, audit: Audit) -> None:
    assert audit in report.audits
    assert not_ok(audit, report(source(report)), source(report)) == 0


@dataclass(frozen=True)
class Planted:
    """A column of the report that is wrong. `failed`: keys that are not ok."""

    name: str
    report: Dataset
    audit: Audit
    column: str
    wrong: str
    failed: int


def swapped(column: str, one: str, other: str, where: str = "true") -> str:
    return (
        f"CASE WHEN {where} AND {column} = '{one}' THEN '{other}' WHEN {where} AND {column} = '{other}' THEN '{one}' "
        f"ELSE {column} END"
    )


CENTS = "IF(product = 'installment' AND borrower_state = 'NY', -0.01BD, IF(product = 'pay_in_4', 0.01BD, 0BD))"
PLANTED = (
    Planted(
        "kinds swapped",
        cash_daily,
        totals_equal_the_transactions,
        "kind",
        swapped("kind", "payment", "payment_reversal", "product = 'installment'"),
        2,
    ),
    Planted(
        "another product",
        cash_daily,
        totals_equal_the_transactions,
        "product",
        "IF(product = 'none', 'pay_in_4', product)",
        2,
    ),
    Planted(
        "states swapped",
        originations_daily,
        totals_equal_the_loans,
        "borrower_state",
        swapped("borrower_state", "CA", "NY", f"product = 'installment' AND booked_on = DATE'{D1}'"),
        2,
    ),
    Planted(
        "a cent in another product",
        originations_daily,
        totals_equal_the_loans,
        "principal",
        f"CAST(principal + {CENTS} AS decimal(18,2))",
        2,
    ),
    Planted(
        "numerator off by its last place",
        originations_daily,
        totals_equal_the_loans,
        "principal_times_apr",
        "IF(product = 'pay_in_4', CAST(0.00000001BD AS decimal(38,8)), principal_times_apr)",
        1,
    ),
    Planted(
        "APR not weighted",
        originations_daily,
        apr_is_that_of_the_loans,
        "apr",
        f"IF(borrower_state = 'CA' AND booked_on = DATE'{D1}', 25.490001BD, apr)",
        1,
    ),
    Planted("APR off by its last place", originations_daily, apr_is_that_of_the_loans, "apr", "apr + 0.000001BD", 5),
    Planted(
        "products swapped in a month",
        originations_monthly,
        totals_equal_the_days,
        "product",
        swapped("product", "installment", "pay_in_4", "borrower_state = 'CA'"),
        4,
    ),
    Planted(
        "a cent in another product of a month",
        originations_monthly,
        totals_equal_the_days,
        "principal",
        f"CAST(principal + {CENTS} AS decimal(18,2))",
        2,
    ),
    Planted(
        "APR of a month off by its last place",
        originations_monthly,
        apr_is_that_of_the_days,
        "apr",
        "apr - 0.000001BD",
        4,
    ),
)


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.name)
def test_a_planted_error_fails(source: Callable[..., DataFrame], planted: Planted) -> None:
    made_from = source(planted.report)
    staged: Any = planted.report(made_from)
    staged = staged.withColumn(planted.column, F.expr(planted.wrong))
    assert not_ok(planted.audit, staged, made_from) == planted.failed
