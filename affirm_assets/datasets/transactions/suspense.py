"""Cash that came before its loan."""

from datetime import date
from functools import reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from affirm_assets.declare import Carry, Contract, Daily, Money, Window, audit, column, dataset, key
from affirm_assets.lender.intake.feeds import ID_PATTERN
from affirm_assets.lender.money import signed_amount
from affirm_assets.lender.vocabulary import NO_PRODUCT, LoanKind

_WHAT = ("transaction_id", "loan_id", "merchant_id", "kind", "amount", "effective_on", "reverses")


class Suspense(Contract):
    """A transaction that waits for its loan, on each day from its posting to the booking of its loan, both included."""

    transaction_id: str = key("Transaction", pattern=ID_PATTERN)
    as_of: date = key("Business date")
    loan_id: str = column("Loan that it waits for", pattern=ID_PATTERN)
    merchant_id: str | None = column("Merchant", pattern=ID_PATTERN)
    kind: LoanKind = column("Kind")
    amount: Money = column("Amount; the kind says which way it goes", gt=0)
    effective_on: date = column("Day on which it happened")
    reverses: str | None = column("Transaction that it undoes", pattern=ID_PATTERN)
    waiting_since: date = column("Business date on which it was posted")
    taken_up_on: date | None = column("This day, if its loan is booked on it: then this is its last row")
    opening: Money = column("What of it was in suspense when the day began; negative where the kind takes money out")
    closing: Money = column("What of it is in suspense when the day ends; negative where the kind takes money out")


@audit()
def waiting_adds_up(staged: DataFrame, transactions: DataFrame, loans: DataFrame) -> DataFrame:
    """Each day closes with what it opened with + what arrived - what its loans took up, in money and in number."""
    arrived = _waiting(transactions).withColumn("arrived", signed_amount())
    taken_up = (
        staged.where("opening != 0")
        .join(_first_booked(loans), "loan_id")
        .where("as_of = loan_booked_on")
        .withColumn("taken_up", signed_amount())
    )
    by_day = [
        _by_day(staged.where("opening != 0"), "as_of", "opening"),
        _by_day(arrived, "posted_on", "arrived"),
        _by_day(taken_up, "as_of", "taken_up"),
        _by_day(staged.where("closing != 0"), "as_of", "closing"),
    ]
    joined = reduce(lambda left, right: left.join(right, "as_of", "full"), by_day).na.fill(0)
    return joined.withColumn(
        "ok",
        F.expr("closing = opening + arrived - taken_up")
        & F.expr("closing_number = opening_number + arrived_number - taken_up_number"),
    )


@audit()
def none_waits_for_a_booked_loan(staged: DataFrame, loans: DataFrame) -> DataFrame:
    """A transaction is taken up on the day on which its loan is booked, and has no row after it."""
    is_over = (F.col("as_of") == F.col("loan_booked_on")) & F.col("taken_up_on").eqNullSafe(F.col("as_of"))
    return staged.join(_first_booked(loans), "loan_id").select(
        "transaction_id",
        "as_of",
        "loan_id",
        "loan_booked_on",
        ((F.col("as_of") < F.col("loan_booked_on")) | is_over).alias("ok"),
    )


@dataset(
    Suspense,
    partitions=Daily("as_of"),
    carry=Carry({"opening": "closing"}, kept=(*(name for name in _WHAT if name != "transaction_id"), "waiting_since")),
    audits=[waiting_adds_up, none_waits_for_a_booked_loan],
    owner="team:payments",
    freshness="05:45 next business day",
)
def suspense(previous_partition: DataFrame, transactions: DataFrame, loans: DataFrame, window: Window) -> DataFrame:
    """Cash on a loan that is not booked yet, day by day until its loan takes it up."""
    carried = previous_partition.where("taken_up_on IS NULL").select(*_WHAT, "waiting_since")
    arrived = _waiting(transactions).select(*_WHAT, F.col("posted_on").alias("waiting_since"))
    taken_up_on = F.when(F.col("loan_booked_on") > F.col("waiting_since"), F.col("loan_booked_on"))
    first = F.greatest("waiting_since", F.lit(window.first))
    last = F.coalesce(taken_up_on, F.lit(window.last))
    nothing = F.lit(0).cast("decimal(18,2)")
    return (
        carried.unionByName(arrived)
        .join(_first_booked(loans), "loan_id", "left")
        .withColumn("as_of", F.explode(F.sequence(first, last, F.expr("INTERVAL 1 DAY"))))
        .withColumn("taken_up_on", F.when(taken_up_on == F.col("as_of"), taken_up_on))
        .select(
            *_WHAT,
            "as_of",
            "waiting_since",
            "taken_up_on",
            F.when(F.col("as_of") > F.col("waiting_since"), signed_amount()).otherwise(nothing).alias("opening"),
            F.when(F.col("taken_up_on").isNull(), signed_amount()).otherwise(nothing).alias("closing"),
        )
    )


def _waiting(transactions: DataFrame) -> DataFrame:
    """Those whose loan was not booked when they were posted."""
    return transactions.where((F.col("product") == NO_PRODUCT) & F.col("loan_id").isNotNull())


def _first_booked(loans: DataFrame) -> DataFrame:
    """An id booked twice beyond the look-back counts from its first day."""
    return loans.groupBy("loan_id").agg(F.min("booked_on").alias("loan_booked_on"))


def _by_day(rows: DataFrame, day: str, amount: str) -> DataFrame:
    return rows.groupBy(F.col(day).alias("as_of")).agg(
        F.sum(amount).alias(amount), F.count(F.lit(1)).alias(f"{amount}_number")
    )
