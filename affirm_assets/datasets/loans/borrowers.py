"""Who the borrowers are."""

from datetime import date, timedelta

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from affirm_assets.datasets.loans._fates import EMAIL_PATTERN, loan_fates
from affirm_assets.declare import Contract, Daily, audit, column, dataset, key
from affirm_assets.lender.intake.duplicates import ACCEPTED
from affirm_assets.lender.intake.feeds import ID_PATTERN


class Borrower(Contract):
    """A borrower's direct identifiers, as given with the loans booked on a day."""

    user_id: str = key("Borrower's account", pattern=ID_PATTERN)
    booked_on: date = key("Business date of the loans that gave them")
    borrower_email: str = column("E-mail address", pii="direct", pattern=EMAIL_PATTERN)


@audit()
def every_booked_loan_has_a_borrower(staged: DataFrame, loan_fates: DataFrame) -> DataFrame:
    """The users of the loans accepted on each day are the borrowers of that day."""
    users = loan_fates.where(f"fate = '{ACCEPTED}'").select("booked_on", "user_id").distinct()
    return (
        users.withColumn("has_loan", F.lit(True))
        .join(staged.select("booked_on", "user_id", F.lit(True).alias("is_borrower")), ["booked_on", "user_id"], "full")
        .select("booked_on", "user_id", (F.col("has_loan").isNotNull() & F.col("is_borrower").isNotNull()).alias("ok"))
    )


@dataset(
    Borrower,
    partitions=Daily("booked_on"),
    inputs={"loan_fates": loan_fates},
    audits=[every_booked_loan_has_a_borrower],
    owner="team:lending",
    freshness=timedelta(hours=36),
    tags={"pii": "direct"},
)
def borrowers(loan_fates: DataFrame) -> DataFrame:
    """The only dataset with direct identifiers beside the landing rows: the last one given on a day counts."""
    return (
        loan_fates.where(f"fate = '{ACCEPTED}'")
        .groupBy("user_id", "booked_on")
        .agg(F.max_by("borrower_email", F.struct("file", "record_number")).alias("borrower_email"))
    )
