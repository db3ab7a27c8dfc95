"""What was lent each month."""

from datetime import date, timedelta
from typing import Literal

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from affirm_assets.contract import Contract, Money, Rate, column, key
from affirm_assets.dataset import Monthly, audit, dataset
from affirm_assets.datasets.portfolio._totals import same_totals


class OriginationsMonthly(Contract):
    """The loans booked in a month in one product and state."""

    month: date = key("First day of the month")
    product: Literal["pay_in_4", "installment"] = key("Product")
    borrower_state: str = key("Borrower's state, USPS code")
    loans: int = column("Loans booked", ge=1)
    principal: Money = column("Sum of the amounts lent", gt=0)
    apr: Rate = column("Annual percentage rate in percent, weighted by amount lent, half up", ge=0, le=36)


@audit()
def totals_equal_the_days(staged: DataFrame, originations_daily: DataFrame) -> DataFrame:
    """Loans and principal of each month equal those of its days, to the cent."""
    days = _by_month(originations_daily).groupBy("month")
    return same_totals(
        staged,
        days.agg(F.sum("loans").alias("loans"), F.sum("principal").alias("principal")),
        by="month",
        totals=["loans", "principal"],
    )


@dataset(
    OriginationsMonthly,
    partitions=Monthly("month"),
    audits=[totals_equal_the_days],
    owner="team:finance",
    freshness=timedelta(days=32),
)
def originations_monthly(originations_daily: DataFrame) -> DataFrame:
    """Loans, principal and principal-weighted APR by month, product and state."""
    return (
        _by_month(originations_daily)
        .groupBy("month", "product", "borrower_state")
        .agg(
            F.sum("loans").alias("loans"),
            F.sum("principal").alias("principal"),
            (F.sum("principal_times_apr") / F.sum("principal")).alias("apr"),
        )
        .withColumn("apr", F.round("apr", 6).cast("decimal(9,6)"))
        .withColumn("principal", F.col("principal").cast("decimal(18,2)"))
    )


def _by_month(days: DataFrame) -> DataFrame:
    return days.withColumn("month", F.trunc("booked_on", "month"))
