"""Money that could not be applied, until it is."""

from datetime import date
from typing import Literal

from pyspark.sql import Column, DataFrame
from pyspark.sql import Window as Over
from pyspark.sql import functions as F

from affirm_assets.declare import Carry, Contract, Daily, Money, Window, audit, column, dataset, key
from affirm_assets.lender.finance.account import WAITS_FOR_ITS_ORIGINAL
from affirm_assets.lender.vocabulary import Product

UnappliedAge = Literal["0-30", "31-90", "91-180", "over 180"]


class Unapplied(Contract):
    """A transaction whose money, or a part of it, is not applied, on each day from the one on which it was posted.

    What takes it up, as a reversal does, is counted with it. The row of the day on which nothing of it is left is the
    last.
    """

    transaction_id: str = key("Transaction whose money it is: of a reversal, what it reverses")
    as_of: date = key("Business date")
    loan_id: str = column("Loan")
    product: Product = column("Product of the loan")
    since: date = column("Business date since which money of it is unapplied")
    days: int = column("Days since then", ge=0)
    age: UnappliedAge = column("How long it has waited for somebody to look at it, in days")
    reason: str = column("Why it could not be applied")
    opening: Money = column("What was unapplied when the day began; negative for money that went out")
    moved: Money = column("What the day's transactions added to it, less what they took")
    closing: Money = column("What is unapplied when the day ends; negative for money that went out")


_KEPT = ("loan_id", "product", "since", "reason")


@audit()
def unapplied_adds_up(staged: DataFrame, payment_applications: DataFrame) -> DataFrame:
    """What each day leaves is what it opened with and what the applications could not apply, loan by loan."""
    left = F.col("closing") - F.col("opening")
    rows = staged.select("loan_id", "as_of", left.alias("left"), _nothing().alias("unapplied"))
    applied = payment_applications.select(
        "loan_id", F.col("posted_on").alias("as_of"), _nothing().alias("left"), "unapplied"
    )
    summed = rows.unionByName(applied).groupBy("loan_id", "as_of")
    return summed.agg(F.sum("left").alias("left"), F.sum("unapplied").alias("unapplied")).withColumn(
        "ok", F.col("left") == F.col("unapplied")
    )


@audit()
def what_is_left_is_of_an_age(staged: DataFrame) -> DataFrame:
    """The days are those since the money came, the age is theirs, and no row goes on once nothing is left."""
    ages = (
        "CASE WHEN age = '0-30' THEN days BETWEEN 0 AND 30 WHEN age = '31-90' THEN days BETWEEN 31 AND 90 "
        "WHEN age = '91-180' THEN days BETWEEN 91 AND 180 ELSE days > 180 END"
    )
    ok = F.expr(f"days = datediff(as_of, since) AND {ages} AND (opening <> 0 OR moved <> 0)")
    return staged.select("transaction_id", "as_of", "since", "days", "age", ok.alias("ok"))


@dataset(
    Unapplied,
    partitions=Daily("as_of"),
    carry=Carry({"opening": "closing"}, kept=_KEPT),
    audits=[unapplied_adds_up, what_is_left_is_of_an_age],
    owner="team:servicing",
    freshness="06:00 next business day",
)
def unapplied(previous_partition: DataFrame, payment_applications: DataFrame, window: Window) -> DataFrame:
    """Unapplied money by transaction and day, with its age and the reason: the list that somebody works off."""
    carried = previous_partition.where("closing <> 0").select(
        "transaction_id",
        *_KEPT,
        F.lit(window.first).alias("as_of"),
        F.col("closing").alias("carried"),
        _nothing().alias("moved"),
    )
    came = payment_applications.where("unapplied <> 0").select(
        _whose_money().alias("transaction_id"),
        "loan_id",
        "product",
        F.col("posted_on").alias("since"),
        F.coalesce("exception", F.lit("what it reverses was not applied")).alias("reason"),
        F.col("posted_on").alias("as_of"),
        _nothing().alias("carried"),
        F.col("unapplied").alias("moved"),
    )
    entries = carried.unionByName(came)
    kept = entries.groupBy("transaction_id").agg(
        F.min("loan_id").alias("loan_id"),
        F.min("product").alias("product"),
        F.min_by("reason", F.struct("since", "reason")).alias("reason"),
        F.min("since").alias("since"),
    )
    by_day = entries.groupBy("transaction_id", "as_of").agg(
        F.sum("carried").alias("carried"), F.sum("moved").alias("moved")
    )
    first = F.greatest("since", F.lit(window.first))
    days = kept.withColumn("as_of", F.explode(F.sequence(first, F.lit(window.last), F.expr("INTERVAL 1 DAY"))))
    so_far = Over.partitionBy("transaction_id").orderBy("as_of")
    rows = days.join(by_day, ["transaction_id", "as_of"], "left").na.fill(0, ["carried", "moved"])
    closing = F.sum((F.col("carried") + F.col("moved")).cast("decimal(18,2)")).over(so_far)
    rows = rows.withColumn("closing", closing.cast("decimal(18,2)")).withColumn(
        "opening", (F.col("closing") - F.col("moved")).cast("decimal(18,2)")
    )
    aged = rows.withColumn("days", F.datediff("as_of", "since").cast("long"))
    return aged.where("opening <> 0 OR moved <> 0").select(
        "transaction_id",
        "as_of",
        *_KEPT,
        "days",
        F.expr(_AGE).alias("age"),
        "opening",
        F.col("moved").cast("decimal(18,2)").alias("moved"),
        "closing",
    )


_AGE = (
    "CASE WHEN days <= 30 THEN '0-30' WHEN days <= 90 THEN '31-90' WHEN days <= 180 THEN '91-180' ELSE 'over 180' END"
)


def _whose_money() -> Column:
    """The transaction whose money a row leaves unapplied: a reversal that takes some of it up names it."""
    takes_up = F.col("exception").isNull() | F.col("exception").isin(*WAITS_FOR_ITS_ORIGINAL.values())
    return F.coalesce(F.when(takes_up, F.col("reverses")), F.col("transaction_id"))


def _nothing() -> Column:
    return F.lit(0).cast("decimal(18,2)")
