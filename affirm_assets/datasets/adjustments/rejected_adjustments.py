"""Records of the adjustments feed that were refused."""

from datetime import date

from pyspark.sql import DataFrame

from affirm_assets.datasets.adjustments._fates import TOGETHER, adjustment_fates
from affirm_assets.declare import Contract, Daily, audit, column, dataset, key
from affirm_assets.lender.intake.accounting import rejected_accounts_for
from affirm_assets.lender.intake.feeds import ADJUSTMENT_FIELDS
from affirm_assets.lender.intake.refusals import refused


class RejectedAdjustment(Contract):
    """A refused record: why, and its fields as text. What may identify a person is masked; the landing row has it."""

    file: str = key("Landing file")
    record_number: int = key("Its record in that file", ge=1)
    posted_on: date = column("Business date on which it arrived")
    reasons: str = column("Why it was refused, joined by '; '", min_length=1)
    adjustment_id: str | None = column("Adjustment, as given")
    loan_id: str | None = column("Loan, as given")
    kind: str | None = column("Kind, as given")
    amount: str | None = column("Amount, as given")
    effective_on: str | None = column("Day on which it was decided, as given")
    reason: str | None = column("*** where one was given")
    approver: str | None = column("Id of who approved it, as given")
    transaction_id: str | None = column("Transaction whose money it clears, as given")


@audit()
def every_record_is_accounted_for(
    staged: DataFrame, adjustment_rows: DataFrame, adjustment_fates: DataFrame, adjustments: DataFrame
) -> DataFrame:
    """Each record received is accepted, rejected or an exact duplicate, for each file; rejected is what was staged.

    Accepted is what adjustments has published.
    """
    return rejected_accounts_for(
        staged, adjustment_rows, adjustment_fates, adjustments, day="posted_on", together=TOGETHER
    )


@dataset(
    RejectedAdjustment,
    partitions=Daily("posted_on"),
    inputs={"adjustment_fates": adjustment_fates},
    audits=[every_record_is_accounted_for],
    owner="team:servicing",
    freshness="05:45 next business day",
)
def rejected_adjustments(adjustment_fates: DataFrame) -> DataFrame:
    """Refused adjustments by the day on which they arrived."""
    return refused(adjustment_fates, tuple(ADJUSTMENT_FIELDS), day="posted_on", direct_identifiers=["reason"])
