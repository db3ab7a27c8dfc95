"""What persons decided about loans."""

from collections.abc import Mapping, Sequence
from datetime import date

from pyspark.sql import DataFrame

from affirm_assets.datasets.adjustments._fates import COMPARED, TOGETHER, adjustment_fates
from affirm_assets.declare import Contract, Daily, Feed, Money, Window, audit, beside, column, dataset, key, later
from affirm_assets.lender.intake import refusals
from affirm_assets.lender.intake.accounting import accepted_accounts_for
from affirm_assets.lender.intake.duplicates import ACCEPTED, not_booked_later, with_fate
from affirm_assets.lender.intake.feeds import ID_PATTERN, MOST_REASON
from affirm_assets.lender.vocabulary import AdjustmentKind, Product


class Adjustment(Contract):
    """A decision about a loan as it was posted: typed, once, with who approved it and why."""

    adjustment_id: str = key("Adjustment", pattern=ID_PATTERN)
    posted_on: date = column("Business date on which the books count it")
    loan_id: str = column("Loan, booked by that day", pattern=ID_PATTERN)
    product: Product = column("Product of the loan")
    kind: AdjustmentKind = column("Kind")
    amount: Money | None = column(
        "What it lowers the debt by, clears, or is the price of; null where the kind has none", ge=0
    )
    effective_on: date = column("Day on which it was decided")
    reason: str = column("Why, in somebody's own words", pii="direct", min_length=1, max_length=MOST_REASON)
    approver: str = column("Id of who approved it", pattern=ID_PATTERN)
    transaction_id: str | None = column("Transaction whose money it clears", pattern=ID_PATTERN)
    file: str = column("Landing file that it came from")
    record_number: int = column("Its record in that file", ge=1)


@audit()
def every_record_is_accounted_for(
    staged: DataFrame,
    adjustment_rows: DataFrame,
    adjustment_fates: DataFrame,
    published_rejections: DataFrame,
    published: Mapping[str, Sequence[Window]],
) -> DataFrame:
    """Each record received is accepted, rejected or an exact duplicate, for each file; accepted is what was staged.

    Rejected is what rejected_adjustments has published, where it has and the same run computes no other.
    """
    days = published["published_rejections"]
    return accepted_accounts_for(
        staged, adjustment_rows, adjustment_fates, published_rejections, days, day="posted_on", together=TOGETHER
    )


@audit()
def few_are_refused(staged: DataFrame, adjustment_fates: DataFrame, feed: Feed) -> DataFrame:
    """No more of a folder is refused than may be, and no whole file: one that nobody can read is not a quiet day."""
    return refusals.few_are_refused(staged, adjustment_fates, feed, day="posted_on")


@audit()
def none_is_booked_later(staged: DataFrame, later_adjustments: DataFrame) -> DataFrame:
    """No adjustment is booked again on a later day, which did not know of it: run days in order, or as a range."""
    return not_booked_later(staged, later_adjustments, "adjustment_id", "posted_on")


@dataset(
    Adjustment,
    partitions=Daily("posted_on"),
    inputs={
        "adjustment_fates": adjustment_fates,
        "later_adjustments": later("adjustments"),
        "published_rejections": beside("rejected_adjustments"),
    },
    audits=[every_record_is_accounted_for, few_are_refused, none_is_booked_later],
    owner="team:servicing",
    freshness="05:45 next business day",
    tags={"pii": "direct"},
)
def adjustments(adjustment_fates: DataFrame) -> DataFrame:
    """Accepted adjustments by the day on which they were posted."""
    return with_fate(adjustment_fates, ACCEPTED).select(*COMPARED, "product", "posted_on", "file", "record_number")
