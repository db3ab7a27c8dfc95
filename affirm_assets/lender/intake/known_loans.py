"""The loans that a day's records name."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from affirm_assets.declare import Lookup


def with_product(rows: DataFrame, all_loans: Lookup, *, day: str) -> DataFrame:
    """The rows with the product of their loan, null where no such loan is booked on or before their `day`."""
    # An id booked twice beyond the look-back counts from its first day.
    known = (
        all_loans(rows.select("loan_id"))
        .groupBy("loan_id")
        .agg(F.min("booked_on").alias("loan_booked_on"), F.min_by("product", "booked_on").alias("product"))
    )
    is_booked = F.col("loan_booked_on") <= F.col(day)
    return rows.join(known, "loan_id", "left").select(
        *rows.columns, F.when(is_booked, F.col("product")).alias("product")
    )
