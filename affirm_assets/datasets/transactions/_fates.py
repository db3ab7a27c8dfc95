"""What becomes of each record of the transactions feed: accepted, an exact duplicate, or rejected and why."""

from decimal import Decimal

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from affirm_assets.declare import Window, before, previous, shared, through
from affirm_assets.lender.intake import values
from affirm_assets.lender.intake.duplicates import digest, fates, to_compare
from affirm_assets.lender.intake.feeds import (
    ID_PATTERN,
    LOOK_BACK_DAYS,
    MOST_DAYS_LATE,
    MOST_LOAN_CASH,
    MOST_PAYOUT,
    TRANSACTION_FIELDS,
)
from affirm_assets.lender.vocabulary import MERCHANT_KINDS, NO_PRODUCT, REVERSALS, TRANSACTION_KINDS

COMPARED = tuple(TRANSACTION_FIELDS)

TOGETHER = ("transactions/transactions", "transactions/rejected_transactions")
"""The tables that divide the records among them. If one would decide otherwise than another did, run all together."""


@shared()
def transaction_readings(transaction_rows: DataFrame) -> DataFrame:
    """Landing rows -> posted_on, file, record_number, text (the raw fields), the typed fields, reasons."""
    posted_on = F.col("business_date")
    is_payout = F.col("kind").isin(*MERCHANT_KINDS)
    most = F.when(is_payout, F.lit(MOST_PAYOUT)).otherwise(F.lit(MOST_LOAN_CASH))
    readings = {
        "transaction_id": values.matching("transaction_id", ID_PATTERN, "an id"),
        "loan_id": values.optional(values.matching("loan_id", ID_PATTERN, "an id"), "loan_id"),
        "merchant_id": values.optional(values.matching("merchant_id", ID_PATTERN, "an id"), "merchant_id"),
        "kind": values.one_of("kind", TRANSACTION_KINDS),
        "amount": values.money("amount", Decimal("0.01"), most),
        "effective_on": values.day("effective_on", F.date_sub(posted_on, MOST_DAYS_LATE), posted_on),
        "reverses": values.optional(values.matching("reverses", ID_PATTERN, "an id"), "reverses"),
    }
    is_known = F.col("kind").isin(*TRANSACTION_KINDS)
    is_reversal = F.col("kind").isin(*REVERSALS)
    together = [
        F.when(is_known & ~is_payout & F.col("loan_id").isNull(), F.lit("loan_id: missing")),
        F.when(is_payout & F.col("loan_id").isNotNull(), F.lit("loan_id: a merchant_payout has none")),
        F.when(is_payout & F.col("merchant_id").isNull(), F.lit("merchant_id: missing")),
        F.when(is_reversal & F.col("reverses").isNull(), F.lit("reverses: missing")),
        F.when(is_known & ~is_reversal & F.col("reverses").isNotNull(), F.lit("reverses: only a reversal has it")),
    ]
    found = values.reasons(*(each.reason for each in readings.values()), *together)
    return transaction_rows.select(
        posted_on.alias("posted_on"),
        "file",
        "record_number",
        F.struct(*TRANSACTION_FIELDS).alias("text"),
        *(each.value.alias(name) for name, each in readings.items()),
        F.coalesce(F.col("problem"), found).alias("reasons"),
    )


@shared(
    inputs={
        "transaction_readings": transaction_readings,
        "recent_transactions": previous(LOOK_BACK_DAYS, "transactions"),
        "all_transactions": before("transactions"),
        "all_loans": through("loans"),
    }
)
def transaction_fates(
    transaction_readings: DataFrame,
    recent_transactions: DataFrame,
    all_transactions: DataFrame,
    all_loans: DataFrame,
    window: Window,
) -> DataFrame:
    """One row for each landing row: its text as `text`, its typed values and product, `fate` and `reasons`."""
    read = _with_loan(transaction_readings, all_loans, window)
    valid = read.where("reasons IS NULL").select(
        "*",
        F.col("transaction_id").alias("id"),
        F.col("posted_on").alias("day"),
        F.col("effective_on").alias("own_date"),
        digest(*COMPARED).alias("terms"),
        F.lit(None).cast("string").alias("private"),
    )
    booked = _booked(valid, recent_transactions, all_transactions, window)
    return fates(read, valid, booked, LOOK_BACK_DAYS)


def _with_loan(read: DataFrame, all_loans: DataFrame, window: Window) -> DataFrame:
    """Add the loan's product; a row whose loan is not booked on or before its day has none, and waits in suspense."""
    asked_for = read.select("loan_id").where("loan_id IS NOT NULL").distinct()
    # A day's few loans are sent to where all loans are read; those of a long range may be more than memory holds.
    if window.first == window.last:
        asked_for = F.broadcast(asked_for)
    # An id booked twice beyond the look-back counts from its first day.
    known = (
        all_loans.join(asked_for, "loan_id", "left_semi")
        .groupBy("loan_id")
        .agg(F.min("booked_on").alias("loan_booked_on"), F.min_by("product", "booked_on").alias("product"))
    )
    is_booked = F.col("loan_booked_on") <= F.col("posted_on")
    return read.join(known, "loan_id", "left").select(
        *read.columns, F.coalesce(F.when(is_booked, F.col("product")), F.lit(NO_PRODUCT)).alias("product")
    )


def _booked(valid: DataFrame, recent_transactions: DataFrame, all_transactions: DataFrame, window: Window) -> DataFrame:
    """The transactions booked before the window that a valid row must be compared with: id, day, terms, private."""
    booked = to_compare(
        valid,
        recent_transactions,
        all_transactions,
        name="transaction_id",
        booked_on="posted_on",
        first=window.first,
        look_back_days=LOOK_BACK_DAYS,
    )
    return booked.select(
        F.col("transaction_id").alias("id"),
        F.col("posted_on").alias("day"),
        digest(*COMPARED).alias("terms"),
        F.lit(None).cast("string").alias("private"),
    )
