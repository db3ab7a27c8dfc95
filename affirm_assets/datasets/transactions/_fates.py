"""What becomes of each record of the transactions feed: accepted, an exact duplicate, or rejected and why."""

from decimal import Decimal

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from affirm_assets.declare import Lookup, Window, before, previous, shared, through
from affirm_assets.lender.intake import values
from affirm_assets.lender.intake.duplicates import fates_of_terms
from affirm_assets.lender.intake.feeds import (
    ID_PATTERN,
    LOOK_BACK_DAYS,
    MOST_DAYS_LATE,
    MOST_LOAN_CASH,
    MOST_PAYOUT,
    TRANSACTION_FIELDS,
)
from affirm_assets.lender.intake.known_loans import with_product
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
    return values.typed(transaction_rows, "posted_on", readings, *together)


@shared(
    inputs={
        "transaction_readings": transaction_readings,
        "recent_transactions": previous(LOOK_BACK_DAYS, "transactions"),
        "all_transactions": before("transactions", by="transaction_id"),
        "all_loans": through("loans", by="loan_id"),
    }
)
def transaction_fates(
    transaction_readings: DataFrame,
    recent_transactions: DataFrame,
    all_transactions: Lookup,
    all_loans: Lookup,
    window: Window,
) -> DataFrame:
    """One row for each landing row: its text as `text`, its typed values and product, `fate` and `reasons`."""
    read = with_product(transaction_readings, all_loans, day="posted_on").na.fill(NO_PRODUCT, ["product"])
    return fates_of_terms(
        read,
        recent_transactions,
        all_transactions,
        name="transaction_id",
        booked_on="posted_on",
        own_date="effective_on",
        compared=COMPARED,
        first=window.first,
        look_back_days=LOOK_BACK_DAYS,
    )
