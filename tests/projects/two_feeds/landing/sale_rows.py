"""What arrived in the `sales` feed, word for word."""

from datetime import date

from pyspark.sql import DataFrame

from affirm_assets.declare import Contract, Daily, column, dataset, key, landing


class SaleRow(Contract):
    """One record of a file of the `sales` feed, its fields as text."""

    file: str = key("Path of the file in the landing zone")
    record_number: int = key("Line of a text file", ge=1)
    business_date: date = column("Date of the folder")
    shop: str | None = column("Shop")
    amount: str | None = column("Amount")
    problem: str | None = column("Why the record is not well-formed")
    raw: str | None = column("The record's text, if it is not well-formed")


@dataset(
    SaleRow,
    partitions=Daily("business_date"),
    inputs={"records": landing("sales", {"shop": "text", "amount": "money"}, due="05:00 next business day")},
    owner="team:shops",
)
def sale_rows(records: DataFrame) -> DataFrame:
    """Records of the sales feed as they arrived."""
    return records
