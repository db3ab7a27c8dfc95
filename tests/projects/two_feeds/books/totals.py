"""What each shop has taken in since the beginning."""

from datetime import date
from decimal import Decimal

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from affirm_assets.declare import Contract, Daily, column, dataset, key, through


class Total(Contract):
    """What a shop has taken in through a day on which any shop took something in."""

    shop: str = key("Shop")
    as_of: date = key("Business date")
    amount: Decimal = column("Sum of its takings", max_digits=18, decimal_places=2)


@dataset(Total, partitions=Daily("as_of"), owner="team:shops", inputs={"all_takings": through("takings")})
def totals(takings: DataFrame, all_takings: DataFrame) -> DataFrame:
    """The takings of each shop, added up."""
    days = takings.select("as_of").distinct()
    before = all_takings.select("shop", F.col("as_of").alias("taken_on"), "amount")
    return (
        days.join(before, F.col("taken_on") <= F.col("as_of"))
        .groupBy("shop", "as_of")
        .agg(F.sum("amount").cast("decimal(18,2)").alias("amount"))
    )
