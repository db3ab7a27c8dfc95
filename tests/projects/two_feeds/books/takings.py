"""What each shop took in on a day."""

from datetime import date
from decimal import Decimal

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from affirm_assets.declare import Contract, Daily, audit, column, dataset, key
from affirm_assets.lender.intake.values import amount_in


class Taking(Contract):
    """What a shop took in on a day, refunds taken off."""

    shop: str = key("Shop")
    as_of: date = key("Business date")
    amount: Decimal = column("Sales less refunds", max_digits=18, decimal_places=2)


@audit()
def no_shop_gives_more_than_it_takes(staged: DataFrame) -> DataFrame:
    """Of no shop are the refunds of a day above its sales."""
    return staged.select("shop", "as_of", "amount", (F.col("amount") >= 0).alias("ok"))


@dataset(Taking, partitions=Daily("as_of"), owner="team:shops", audits=[no_shop_gives_more_than_it_takes])
def takings(sale_rows: DataFrame, refund_rows: DataFrame) -> DataFrame:
    """Sales less refunds of each shop and day."""
    zero = F.lit("0.00").cast("decimal(18,2)")
    sales = sale_rows.select("shop", "business_date", amount_in("amount").alias("sold"), zero.alias("refunded"))
    refunds = refund_rows.select("shop", "business_date", zero.alias("sold"), amount_in("amount").alias("refunded"))
    by_shop = sales.unionByName(refunds).groupBy("shop", F.col("business_date").alias("as_of"))
    added = by_shop.agg(F.sum("sold").alias("sold"), F.sum("refunded").alias("refunded"))
    return added.select("shop", "as_of", (F.col("sold") - F.col("refunded")).cast("decimal(18,2)").alias("amount"))
