"""What becomes of each record of the adjustments feed: accepted, an exact duplicate, or rejected and why."""

from decimal import Decimal

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from affirm_assets.declare import Lookup, Window, before, previous, shared, through
from affirm_assets.lender.intake import values
from affirm_assets.lender.intake.duplicates import fates_of_terms
from affirm_assets.lender.intake.feeds import (
    ADJUSTMENT_FIELDS,
    ID_PATTERN,
    LOOK_BACK_DAYS,
    MOST_DAYS_LATE,
    MOST_LOAN_CASH,
    MOST_REASON,
)
from affirm_assets.lender.intake.known_loans import with_product
from affirm_assets.lender.vocabulary import ADJUSTMENT_KINDS, WITHOUT_AMOUNT

COMPARED = tuple(ADJUSTMENT_FIELDS)

TOGETHER = ("adjustments/adjustments", "adjustments/rejected_adjustments")
"""The tables that divide the records among them. If one would decide otherwise than another did, run all together."""


@shared(inputs={"all_loans": through("loans", by="loan_id")})
def adjustment_readings(adjustment_rows: DataFrame, all_loans: Lookup) -> DataFrame:
    """Landing rows -> posted_on, file, record_number, text (the raw fields), the typed fields, product, reasons.

    Unlike cash, which is there whatever its record says, an adjustment does not wait for a loan: it is a decision about
    one that somebody has looked at.
    """
    posted_on = F.col("business_date")
    # Of debts that nobody pays for, the price may be nothing.
    least = F.when(F.col("kind") == "debt_sale", F.lit(Decimal("0.00"))).otherwise(F.lit(Decimal("0.01")))
    readings = {
        "adjustment_id": values.matching("adjustment_id", ID_PATTERN, "an id"),
        "loan_id": values.matching("loan_id", ID_PATTERN, "an id"),
        "kind": values.one_of("kind", ADJUSTMENT_KINDS),
        "amount": values.optional(values.money("amount", least, MOST_LOAN_CASH), "amount"),
        "effective_on": values.day("effective_on", F.date_sub(posted_on, MOST_DAYS_LATE), posted_on),
        "reason": values.words("reason", MOST_REASON),
        "approver": values.matching("approver", ID_PATTERN, "an id"),
        "transaction_id": values.optional(values.matching("transaction_id", ID_PATTERN, "an id"), "transaction_id"),
    }
    is_known = F.col("kind").isin(*ADJUSTMENT_KINDS)
    has_none = F.col("kind").isin(*WITHOUT_AMOUNT)
    clears = F.col("kind") == "clear_unapplied"
    together = [
        F.when(is_known & ~has_none & F.col("amount").isNull(), F.lit("amount: missing")),
        F.when(has_none & F.col("amount").isNotNull(), F.concat(F.lit("amount: none goes with "), F.col("kind"))),
        F.when(clears & F.col("transaction_id").isNull(), F.lit("transaction_id: missing")),
        F.when(
            is_known & ~clears & F.col("transaction_id").isNotNull(),
            F.lit("transaction_id: only a clear_unapplied has it"),
        ),
        F.when(
            readings["loan_id"].reason.isNull() & F.col("product").isNull(), F.lit("loan_id: no such loan is booked")
        ),
    ]
    named = with_product(adjustment_rows, all_loans, day="business_date")
    return values.typed(named, "posted_on", readings, *together, also=["product"])


@shared(
    inputs={
        "adjustment_readings": adjustment_readings,
        "recent_adjustments": previous(LOOK_BACK_DAYS, "adjustments"),
        "all_adjustments": before("adjustments", by="adjustment_id"),
    }
)
def adjustment_fates(
    adjustment_readings: DataFrame, recent_adjustments: DataFrame, all_adjustments: Lookup, window: Window
) -> DataFrame:
    """One row for each landing row: its text as `text`, its typed values and product, `fate` and `reasons`."""
    return fates_of_terms(
        adjustment_readings,
        recent_adjustments,
        all_adjustments,
        name="adjustment_id",
        booked_on="posted_on",
        own_date="effective_on",
        compared=COMPARED,
        first=window.first,
        look_back_days=LOOK_BACK_DAYS,
    )
