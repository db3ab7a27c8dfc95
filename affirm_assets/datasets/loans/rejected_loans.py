"""Records of the loans feed that were refused."""

from datetime import date

from pyspark.sql import DataFrame

from affirm_assets.datasets.loans._fates import TOGETHER, loan_fates
from affirm_assets.declare import Contract, Daily, audit, column, dataset, key
from affirm_assets.lender.intake.accounting import rejected_accounts_for
from affirm_assets.lender.intake.feeds import LOAN_FIELDS
from affirm_assets.lender.intake.refusals import refused


class RejectedLoan(Contract):
    """A refused record: why, and its fields as text. What may identify a person is masked; the landing row has it."""

    file: str = key("Landing file")
    record_number: int = key("Its record in that file", ge=1)
    booked_on: date = column("Business date on which it arrived")
    reasons: str = column("Why it was refused, joined by '; '", min_length=1)
    loan_id: str | None = column("Loan, as given")
    user_id: str | None = column("Borrower's account, as given")
    merchant_id: str | None = column("Merchant, as given")
    borrower_email: str | None = column("*** where an address was given")
    borrower_state: str | None = column("State, as given")
    product: str | None = column("Product, as given")
    principal: str | None = column("Amount lent, as given")
    merchant_discount: str | None = column("Merchant's discount, as given")
    apr: str | None = column("Annual percentage rate, as given")
    instalments: str | None = column("Number of instalments, as given")
    frequency: str | None = column("Frequency, as given")
    originated_on: str | None = column("Day of the purchase, as given")
    first_due_on: str | None = column("First due date, as given")
    currency: str | None = column("Currency, as given")
    instalment: str | None = column("Level instalment, as given")
    due_day: str | None = column("Day of the month, as given")


@audit()
def every_record_is_accounted_for(
    staged: DataFrame, loan_rows: DataFrame, loan_fates: DataFrame, loans: DataFrame
) -> DataFrame:
    """Each record received is accepted, rejected or an exact duplicate, for each file; rejected is what was staged.

    Accepted is what loans has published.
    """
    return rejected_accounts_for(staged, loan_rows, loan_fates, loans, day="booked_on", together=TOGETHER)


@dataset(
    RejectedLoan,
    partitions=Daily("booked_on"),
    inputs={"loan_fates": loan_fates},
    audits=[every_record_is_accounted_for],
    owner="team:lending",
    freshness="05:45 next business day",
)
def rejected_loans(loan_fates: DataFrame) -> DataFrame:
    """Refused loans by the day on which they arrived."""
    return refused(loan_fates, tuple(LOAN_FIELDS), day="booked_on", direct_identifiers=["borrower_email"])
