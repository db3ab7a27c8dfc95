"""What each shop took in in a month."""

from datetime import date
from decimal import Decimal

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from affirm_assets.declare import Contract, Monthly, column, dataset, key


class MonthlyTaking(Contract):
    """What a shop took in in a month."""

    shop: str = key("Shop")
    month: date = key("First day of the month")
    amount: Decimal = column("Sum of its takings", max_digits=18, decimal_places=2)


@dataset(MonthlyTaking, partitions=Monthly("month"), owner="team:shops")
def takings_monthly(takings: DataFrame) -> DataFrame:
    """The takings of each shop, added up by month."""
    month = F.trunc("as_of", "month")
    return takings.groupBy("shop", month.alias("month")).agg(F.sum("amount").cast("decimal(18,2)").alias("amount"))
