"""What arrived in the `adjustments` feed, word for word."""

from datetime import date

from pyspark.sql import DataFrame

from affirm_assets.declare import Contract, Daily, column, dataset, key, landing
from affirm_assets.lender.intake.feeds import ADJUSTMENT_FIELDS


class AdjustmentRow(Contract):
    """One record of a file of the `adjustments` feed, good or bad, its fields as text."""

    file: str = key("Path of the file in the landing zone")
    record_number: int = key("Line of a text file, row of a Parquet file, counted from 1", ge=1)
    business_date: date = column("Date of the folder")
    adjustment_id: str | None = column("Adjustment")
    loan_id: str | None = column("Loan")
    kind: str | None = column("Kind of adjustment")
    amount: str | None = column("Amount")
    effective_on: str | None = column("Day on which it was decided")
    reason: str | None = column("Why, in somebody's own words", pii="direct")
    approver: str | None = column("Id of who approved it")
    transaction_id: str | None = column("Transaction whose money it clears")
    problem: str | None = column("Why the record is not well-formed; null if it is. Quotes nothing of it")
    raw: str | None = column("The record's text, if it is not well-formed", pii="direct")


@dataset(
    AdjustmentRow,
    partitions=Daily("business_date"),
    inputs={
        "records": landing("adjustments", ADJUSTMENT_FIELDS, due="05:00 next business day", refused_by="adjustments")
    },
    owner="team:data-platform",
    freshness="05:30 next business day",
    tags={"pii": "direct"},
)
def adjustment_rows(records: DataFrame) -> DataFrame:
    """Records of the adjustments feed as they arrived: the one truth that everything downstream reads."""
    return records
