"""What arrived in the `transactions` feed, word for word."""

from datetime import date

from pyspark.sql import DataFrame

from affirm_assets.declare import Contract, Daily, column, dataset, key, landing
from affirm_assets.lender.intake.feeds import TRANSACTION_FIELDS


class TransactionRow(Contract):
    """One record of a file of the `transactions` feed, good or bad, its fields as text."""

    file: str = key("Path of the file in the landing zone")
    record_number: int = key("Line of a text file, row of a Parquet file, counted from 1", ge=1)
    business_date: date = column("Date of the folder")
    transaction_id: str | None = column("Transaction")
    loan_id: str | None = column("Loan; none for a payout")
    merchant_id: str | None = column("Merchant")
    kind: str | None = column("Kind of transaction")
    amount: str | None = column("Amount")
    effective_on: str | None = column("Day on which it happened")
    reverses: str | None = column("Transaction that it undoes")
    problem: str | None = column("Why the record is not well-formed; null if it is. Quotes nothing of it")
    raw: str | None = column("The record's text, if it is not well-formed", pii="direct")


@dataset(
    TransactionRow,
    partitions=Daily("business_date"),
    inputs={
        "records": landing("transactions", TRANSACTION_FIELDS, due="05:00 next business day", refused_by="transactions")
    },
    owner="team:data-platform",
    freshness="05:30 next business day",
    tags={"pii": "direct"},
)
def transaction_rows(records: DataFrame) -> DataFrame:
    """Records of the transactions feed as they arrived: the one truth that everything downstream reads."""
    return records
