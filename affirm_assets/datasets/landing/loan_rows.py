"""What arrived in the `loans` feed, word for word."""

from datetime import date

from pyspark.sql import DataFrame

from affirm_assets.declare import Contract, Daily, column, dataset, key, landing
from affirm_assets.lender.intake.feeds import LOAN_FIELDS


class LoanRow(Contract):
    """One record of a file of the `loans` feed, good or bad, its fields as text."""

    file: str = key("Path of the file in the landing zone")
    record_number: int = key("Line of a text file, row of a Parquet file, counted from 1", ge=1)
    business_date: date = column("Date of the folder")
    loan_id: str | None = column("Loan")
    user_id: str | None = column("Borrower's account")
    merchant_id: str | None = column("Merchant")
    borrower_email: str | None = column("Borrower's e-mail address", pii="direct")
    borrower_state: str | None = column("Borrower's state, USPS code")
    product: str | None = column("Product")
    principal: str | None = column("Amount lent")
    merchant_discount: str | None = column("What the merchant pays for the loan")
    apr: str | None = column("Annual percentage rate in percent")
    instalments: str | None = column("Number of instalments")
    frequency: str | None = column("How often an instalment is due")
    originated_on: str | None = column("Day of the purchase")
    first_due_on: str | None = column("Day on which the first instalment is due")
    currency: str | None = column("Currency")
    instalment: str | None = column("Level instalment that the contract states")
    due_day: str | None = column("Day of the month on which the contract has instalments fall due")
    problem: str | None = column("Why the record is not well-formed; null if it is. Quotes nothing of it")
    raw: str | None = column("The record's text, if it is not well-formed", pii="direct")


@dataset(
    LoanRow,
    partitions=Daily("business_date"),
    inputs={"records": landing("loans", LOAN_FIELDS, due="05:00 next business day", refused_by="loans")},
    owner="team:data-platform",
    freshness="05:30 next business day",
    tags={"pii": "direct"},
)
def loan_rows(records: DataFrame) -> DataFrame:
    """Records of the loans feed as they arrived: the one truth that everything downstream reads."""
    return records
