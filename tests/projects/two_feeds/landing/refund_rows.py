"""What arrived in the `refunds` feed, word for word."""

from datetime import date

from pyspark.sql import DataFrame

from affirm_assets.declare import Contract, Daily, column, dataset, key, landing


class RefundRow(Contract):
    """One record of a file of the `refunds` feed, its fields as text."""

    file: str = key("Path of the file in the landing zone")
    record_number: int = key("Line of a text file", ge=1)
    business_date: date = column("Date of the folder")
    shop: str | None = column("Shop")
    amount: str | None = column("Amount")
    problem: str | None = column("Why the record is not well-formed")
    raw: str | None = column("The record's text, if it is not well-formed")


@dataset(
    RefundRow,
    partitions=Daily("business_date"),
    inputs={"records": landing("refunds", {"shop": "text", "amount": "money"})},
    owner="team:shops",
)
def refund_rows(records: DataFrame) -> DataFrame:
    """Records of the refunds feed as they arrived."""
    return records
