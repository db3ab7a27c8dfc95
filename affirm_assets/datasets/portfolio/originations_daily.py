"""What was lent each day."""

from datetime import date
from decimal import Decimal
from typing import Annotated

from pydantic import Field
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from affirm_assets.datasets.portfolio._report_audits import same_totals, same_weighted_apr
from affirm_assets.declare import Contract, Daily, Money, Rate, audit, column, dataset, key
from affirm_assets.lender.vocabulary import Product

_KEY = ("booked_on", "product", "borrower_state")


class OriginationsDaily(Contract):
    """The loans booked on a day in one product and state."""

    booked_on: date = key("Business date")
    product: Product = key("Product")
    borrower_state: str = key("Borrower's state, USPS code")
    loans: int = column("Loans booked", ge=1)
    principal: Money = column("Sum of the amounts lent", gt=0)
    principal_times_apr: Annotated[Decimal, Field(max_digits=38, decimal_places=8)] = column(
        "Sum of amount lent times annual percentage rate, exact, for averages over more days", ge=0
    )
    apr: Rate = column("Annual percentage rate in percent, weighted by amount lent, half up", ge=0, le=36)


@audit()
def totals_equal_the_loans(staged: DataFrame, loans: DataFrame) -> DataFrame:
    """Loans, principal and principal times APR of each day, product and state equal those of the loans, exactly."""
    return same_totals(staged, _booked(loans), by=_KEY, totals=["loans", "principal", "principal_times_apr"])


@audit()
def apr_is_that_of_the_loans(staged: DataFrame, loans: DataFrame) -> DataFrame:
    """The APR of each day, product and state is its loans' APR weighted by principal, to the last place."""
    return same_weighted_apr(staged, _booked(loans), by=_KEY)


def _booked(loans: DataFrame) -> DataFrame:
    """What the audits expect: made from the loans, and by nothing that the transform uses."""
    return loans.groupBy(*_KEY).agg(
        F.count(F.lit(1)).alias("loans"),
        F.sum("principal").alias("principal"),
        F.sum(F.col("principal") * F.col("apr")).alias("principal_times_apr"),
    )


@dataset(
    OriginationsDaily,
    partitions=Daily("booked_on"),
    audits=[totals_equal_the_loans, apr_is_that_of_the_loans],
    owner="team:finance",
    freshness="06:30 next business day",
)
def originations_daily(loans: DataFrame) -> DataFrame:
    """Loans, principal and principal-weighted APR by day, product and state."""
    return (
        loans.groupBy("booked_on", "product", "borrower_state")
        .agg(
            F.count(F.lit(1)).alias("loans"),
            F.sum("principal").alias("principal"),
            F.sum(F.col("principal") * F.col("apr")).cast("decimal(38,8)").alias("principal_times_apr"),
        )
        .withColumn("apr", F.round(F.col("principal_times_apr") / F.col("principal"), 6).cast("decimal(9,6)"))
        .withColumn("principal", F.col("principal").cast("decimal(18,2)"))
    )
