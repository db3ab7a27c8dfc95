"""The cash movements that the lender posted."""

from collections.abc import Mapping, Sequence
from datetime import date

from pyspark.sql import DataFrame

from affirm_assets.datasets.transactions._fates import COMPARED, TOGETHER, transaction_fates
from affirm_assets.declare import Contract, Daily, Feed, Money, Window, audit, beside, column, dataset, key, later
from affirm_assets.lender.intake import refusals
from affirm_assets.lender.intake.accounting import accepted_accounts_for
from affirm_assets.lender.intake.duplicates import ACCEPTED, not_booked_later, with_fate
from affirm_assets.lender.intake.feeds import ID_PATTERN
from affirm_assets.lender.vocabulary import ProductOrNone, TransactionKind


class Transaction(Contract):
    """A cash movement as it was posted: typed, once. One whose loan was not booked by that day waits in suspense."""

    transaction_id: str = key("Transaction", pattern=ID_PATTERN)
    posted_on: date = column("Business date on which the books count it")
    loan_id: str | None = column("Loan; none for a payout", pattern=ID_PATTERN)
    merchant_id: str | None = column("Merchant", pattern=ID_PATTERN)
    product: ProductOrNone = column(
        "Product of the loan; none for a payout, and where the loan was not booked by that day"
    )
    kind: TransactionKind = column("Kind")
    amount: Money = column("Amount; the kind says which way it goes", gt=0)
    effective_on: date = column("Day on which it happened")
    reverses: str | None = column("Transaction that it undoes", pattern=ID_PATTERN)
    file: str = column("Landing file that it came from")
    record_number: int = column("Its record in that file", ge=1)


@audit()
def every_record_is_accounted_for(
    staged: DataFrame,
    transaction_rows: DataFrame,
    transaction_fates: DataFrame,
    published_rejections: DataFrame,
    published: Mapping[str, Sequence[Window]],
) -> DataFrame:
    """Each record received is accepted, rejected or an exact duplicate, for each file; accepted is what was staged.

    Rejected is what rejected_transactions has published, where it has and the same run computes no other.
    """
    days = published["published_rejections"]
    return accepted_accounts_for(
        staged, transaction_rows, transaction_fates, published_rejections, days, day="posted_on", together=TOGETHER
    )


@audit()
def few_are_refused(staged: DataFrame, transaction_fates: DataFrame, feed: Feed) -> DataFrame:
    """No more of a folder is refused than may be, and no whole file: one that nobody can read is not a quiet day."""
    return refusals.few_are_refused(staged, transaction_fates, feed, day="posted_on")


@audit()
def none_is_booked_later(staged: DataFrame, later_transactions: DataFrame) -> DataFrame:
    """No transaction is booked again on a later day, which did not know of it: run days in order, or as a range."""
    return not_booked_later(staged, later_transactions, "transaction_id", "posted_on")


@dataset(
    Transaction,
    partitions=Daily("posted_on"),
    inputs={
        "transaction_fates": transaction_fates,
        "later_transactions": later("transactions"),
        "published_rejections": beside("rejected_transactions"),
    },
    audits=[every_record_is_accounted_for, few_are_refused, none_is_booked_later],
    owner="team:payments",
    freshness="05:45 next business day",
)
def transactions(transaction_fates: DataFrame) -> DataFrame:
    """Accepted transactions by the day on which they were posted."""
    return with_fate(transaction_fates, ACCEPTED).select(*COMPARED, "product", "posted_on", "file", "record_number")
