"""What each loan's borrower has agreed to pay, and when."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from decimal import Decimal
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema

from affirm_assets.declare import Contract, Daily, Money, audit, column, dataset, key
from affirm_assets.declare.contract import spark_schema
from affirm_assets.lender.finance.schedule import Instalment, schedule
from affirm_assets.lender.finance.terms import Terms
from affirm_assets.lender.products import PRODUCTS


class ScheduledInstalment(Contract):
    """An instalment of a loan, as a borrower pays it who pays each on its due date."""

    loan_id: str = key("Loan")
    number: int = key("Instalment, counted from 1", ge=1)
    booked_on: date = column("Business date on which the loan was booked")
    due_on: date = column("Day on which it falls due")
    payment: Money = column("Interest and principal", gt=0)
    interest: Money = column("Interest that the daily accrual has posted by then", ge=0)
    principal: Money = column("Principal that it repays", ge=0)
    balance: Money = column("Principal that is left after it", ge=0)


_TERMS = (
    "principal",
    "apr",
    "instalments",
    "frequency",
    "originated_on",
    "first_due_on",
    "instalment",
    "due_day",
)

_LOAN = ["loan_id", "booked_on"]

_ROUNDING = Decimal("0.00502")
"""Half a cent of what is posted, and of ten years' days each half of the 8 places at which interest is carried."""


@audit()
def every_loan_is_repaid(staged: DataFrame, loans: DataFrame) -> DataFrame:
    """The instalments of each loan repay its principal, no more and no less, and the last leaves nothing."""
    repaid = staged.groupBy("loan_id", "booked_on").agg(
        F.sum("principal").alias("repaid"), F.min("balance").alias("left"), F.max("number").alias("last")
    )
    joined = loans.select("loan_id", "booked_on", "principal", "instalments").join(
        repaid, ["loan_id", "booked_on"], "full"
    )
    ok = F.expr("repaid = principal AND left = 0 AND last <= instalments")
    return joined.select("loan_id", "booked_on", "principal", "repaid", "left", ok.alias("ok"))


@audit()
def instalments_follow_each_other(staged: DataFrame, loans: DataFrame) -> DataFrame:
    """Each payment is its interest and its principal, and leaves what the instalment before it had left, less that."""
    ok = F.expr("payment = interest + principal AND balance = balance_before - principal AND due_on > since")
    joined = _with_the_one_before(staged, loans)
    return joined.select(*_LOAN, "number", "balance_before", "balance", F.coalesce(ok, F.lit(False)).alias("ok"))


@audit()
def interest_is_what_accrues(staged: DataFrame, loans: DataFrame) -> DataFrame:
    """The interest up to each instalment is what the balances before it bear, at the loan's rate and 365 days a year.

    To the rounding; less only where an instalment pays nothing but interest, and not yet all of it.
    """
    borne = F.expr("CAST(balance_before * apr * CAST(datediff(due_on, since) AS decimal(5,0)) AS decimal(28,8))")
    up_to_it = "OVER (PARTITION BY loan_id, booked_on ORDER BY number)"
    totals = (
        _with_the_one_before(staged, loans)
        .withColumn("borne", borne)
        .withColumn("accrued", F.expr(f"CAST(sum(borne) {up_to_it} / 36500 AS decimal(18,8))"))
        .withColumn("posted", F.expr(f"CAST(sum(interest) {up_to_it} AS decimal(18,2))"))
    )
    is_too_much = F.col("posted") > F.col("accrued") + F.lit(_ROUNDING)
    is_too_little = (F.col("posted") < F.col("accrued") - F.lit(_ROUNDING)) & (F.col("principal") > 0)
    ok = F.coalesce(~is_too_much & ~is_too_little, F.lit(False))
    return totals.select(*_LOAN, "number", "posted", "accrued", ok.alias("ok"))


@audit()
def all_but_the_last_are_level(staged: DataFrame, loans: DataFrame) -> DataFrame:
    """All payments of a loan but its last are one amount: the contract's, where it states one."""
    last = staged.groupBy(_LOAN).agg(F.max("number").alias("last"))
    levels = (
        staged.join(last, _LOAN)
        .where("number < last")
        .groupBy(_LOAN)
        .agg(F.min("payment").alias("least"), F.max("payment").alias("most"))
    )
    ok = (F.col("least") == F.col("most")) & (F.col("least") == F.coalesce("instalment", "least"))
    return levels.join(loans.select(*_LOAN, "instalment"), _LOAN).select(
        *_LOAN, "least", "most", "instalment", ok.alias("ok")
    )


@dataset(
    ScheduledInstalment,
    partitions=Daily("booked_on"),
    audits=[
        every_loan_is_repaid,
        instalments_follow_each_other,
        interest_is_what_accrues,
        all_but_the_last_are_level,
    ],
    owner="team:lending",
    freshness="05:45 next business day",
)
def loan_schedules(loans: DataFrame) -> DataFrame:
    """The instalments of the loans booked on each day."""
    terms = loans.select(*_LOAN, "product", *_TERMS)
    return terms.mapInArrow(_schedules, spark_schema(ScheduledInstalment))


def _with_the_one_before(staged: DataFrame, loans: DataFrame) -> DataFrame:
    """Each instalment with the loan's apr, what the one before it left and when; before the first is the loan itself.

    Null where that is not there.
    """
    lent = loans.select(*_LOAN, F.lit(0).cast("bigint").alias("number"), "principal", "originated_on")
    left = staged.select(*_LOAN, "number", "balance", "due_on")
    before = lent.toDF(*left.columns).unionByName(left)
    following = before.select(
        *_LOAN,
        (F.col("number") + 1).alias("number"),
        F.col("balance").alias("balance_before"),
        F.col("due_on").alias("since"),
    )
    return staged.join(following, [*_LOAN, "number"], "left").join(loans.select(*_LOAN, "apr"), _LOAN, "left")


def _schedules(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    schema = to_arrow_schema(spark_schema(ScheduledInstalment))
    for batch in batches:
        rows = [
            {"loan_id": loan["loan_id"], "booked_on": loan["booked_on"], **_as_row(each)}
            for loan in batch.to_pylist()
            for each in schedule(_agreed(loan))
        ]
        yield pa.RecordBatch.from_pylist(rows, schema)


def _agreed(loan: Mapping[str, Any]) -> Terms:
    """The merchant discount is left out: it changes nothing of what the borrower pays."""
    return Terms.agreed(**{name: loan[name] for name in _TERMS}, rules=PRODUCTS[loan["product"]].rules)


def _as_row(each: Instalment) -> dict[str, object]:
    return {name: getattr(each, name) for name in Instalment.__dataclass_fields__}
