"""Records of the transactions feed that were refused."""

from datetime import date

from pyspark.sql import DataFrame

from affirm_assets.datasets.transactions._fates import TOGETHER, transaction_fates
from affirm_assets.declare import Contract, Daily, audit, column, dataset, key
from affirm_assets.lender.intake.accounting import rejected_accounts_for
from affirm_assets.lender.intake.feeds import TRANSACTION_FIELDS
from affirm_assets.lender.intake.refusals import refused


class RejectedTransaction(Contract):
    """A refused record: why, and its fields as text. What may identify a person is masked; the landing row has it."""

    file: str = key("Landing file")
    record_number: int = key("Its record in that file", ge=1)
    posted_on: date = column("Business date on which it arrived")
    reasons: str = column("Why it was refused, joined by '; '", min_length=1)
    transaction_id: str | None = column("Transaction, as given")
    loan_id: str | None = column("Loan, as given")
    merchant_id: str | None = column("Merchant, as given")
    kind: str | None = column("Kind, as given")
    amount: str | None = column("Amount, as given")
    effective_on: str | None = column("Day on which it happened, as given")
    reverses: str | None = column("Transaction that it undoes, as given")


@audit()
def every_record_is_accounted_for(
    staged: DataFrame, transaction_rows: DataFrame, transaction_fates: DataFrame, transactions: DataFrame
) -> DataFrame:
    """Each record received is accepted, rejected or an exact duplicate, for each file; rejected is what was staged.

    Accepted is what transactions has published.
    """
    return rejected_accounts_for(
        staged, transaction_rows, transaction_fates, transactions, day="posted_on", together=TOGETHER
    )


@dataset(
    RejectedTransaction,
    partitions=Daily("posted_on"),
    inputs={"transaction_fates": transaction_fates},
    audits=[every_record_is_accounted_for],
    owner="team:payments",
    freshness="05:45 next business day",
)
def rejected_transactions(transaction_fates: DataFrame) -> DataFrame:
    """Refused transactions by the day on which they arrived."""
    return refused(transaction_fates, tuple(TRANSACTION_FIELDS), day="posted_on")
