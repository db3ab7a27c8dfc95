"""Who the borrowers are."""

from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from affirm_assets.audits import reconcile
from affirm_assets.datasets.loans._fates import EMAIL_PATTERN, TOGETHER, loan_fates
from affirm_assets.declare import Contract, Daily, audit, column, dataset, key
from affirm_assets.lender.intake.duplicates import ACCEPTED, with_fate
from affirm_assets.lender.intake.feeds import ID_PATTERN


class Borrower(Contract):
    """A borrower's direct identifiers, as given with the loans booked on a day."""

    user_id: str = key("Borrower's account", pattern=ID_PATTERN)
    booked_on: date = key("Business date of the loans that gave them")
    borrower_email: str = column("E-mail address", pii="direct", pattern=EMAIL_PATTERN)


@audit()
def every_booked_loan_has_a_borrower(staged: DataFrame, loans: DataFrame) -> DataFrame:
    """The users of the loans that are published of each day are the borrowers of that day."""
    compared = reconcile.same_keys(loans, staged, ["booked_on", "user_id"], ("loans", "borrowers"))
    return compared.withColumn("run_instead", reconcile.run_together(*TOGETHER))


@dataset(
    Borrower,
    partitions=Daily("booked_on"),
    inputs={"loan_fates": loan_fates},
    audits=[every_booked_loan_has_a_borrower],
    owner="team:lending",
    freshness="05:45 next business day",
    tags={"pii": "direct"},
)
def borrowers(loan_fates: DataFrame) -> DataFrame:
    """The only dataset with direct identifiers beside the landing rows: the last one given on a day counts."""
    return (
        with_fate(loan_fates, ACCEPTED)
        .groupBy("user_id", "booked_on")
        .agg(F.max_by("borrower_email", F.struct("file", "record_number")).alias("borrower_email"))
    )
