"""What was lent each month."""

from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from affirm_assets.datasets.portfolio._report_audits import first_of_month, same_totals, same_weighted_apr
from affirm_assets.declare import Contract, Money, Monthly, Rate, audit, column, dataset, key
from affirm_assets.lender.vocabulary import Product

_KEY = ("month", "product", "borrower_state")


class OriginationsMonthly(Contract):
    """The loans booked in a month in one product and state."""

    month: date = key("First day of the month")
    product: Product = key("Product")
    borrower_state: str = key("Borrower's state, USPS code")
    loans: int = column("Loans booked", ge=1)
    principal: Money = column("Sum of the amounts lent", gt=0)
    apr: Rate = column("Annual percentage rate in percent, weighted by amount lent, half up", ge=0, le=36)


@audit()
def totals_equal_the_days(staged: DataFrame, originations_daily: DataFrame) -> DataFrame:
    """Loans and principal of each month, product and state equal those of its days, to the cent."""
    return same_totals(staged, _days(originations_daily), by=_KEY, totals=["loans", "principal"])


@audit()
def apr_is_that_of_the_days(staged: DataFrame, originations_daily: DataFrame) -> DataFrame:
    """The APR of each month, product and state is its days' APR weighted by principal, to the last place."""
    return same_weighted_apr(staged, _days(originations_daily), by=_KEY)


def _days(originations_daily: DataFrame) -> DataFrame:
    """What the audits expect: made from the days, and by nothing that the transform uses."""
    return originations_daily.groupBy(first_of_month("booked_on").alias("month"), "product", "borrower_state").agg(
        F.sum("loans").alias("loans"),
        F.sum("principal").alias("principal"),
        F.sum("principal_times_apr").alias("principal_times_apr"),
    )


@dataset(
    OriginationsMonthly,
    partitions=Monthly("month"),
    audits=[totals_equal_the_days, apr_is_that_of_the_days],
    owner="team:finance",
    freshness="06:30 next business day",
)
def originations_monthly(originations_daily: DataFrame) -> DataFrame:
    """Loans, principal and principal-weighted APR by month, product and state."""
    return (
        originations_daily.groupBy(F.trunc("booked_on", "month").alias("month"), "product", "borrower_state")
        .agg(
            F.sum("loans").alias("loans"),
            F.sum("principal").alias("principal"),
            (F.sum("principal_times_apr") / F.sum("principal")).alias("apr"),
        )
        .withColumn("apr", F.round("apr", 6).cast("decimal(9,6)"))
        .withColumn("principal", F.col("principal").cast("decimal(18,2)"))
    )
