"""The loans that a day's records name."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from affirm_assets.declare import Window


def with_product(rows: DataFrame, all_loans: DataFrame, window: Window, *, day: str) -> DataFrame:
    """The rows with the product of their loan, null where no such loan is booked on or before their `day`."""
    asked_for = rows.select("loan_id").where("loan_id IS NOT NULL").distinct()
    # A day's few loans are sent to where all loans are read; those of a long range may be more than memory holds.
    if window.first == window.last:
        asked_for = F.broadcast(asked_for)
    # An id booked twice beyond the look-back counts from its first day.
    known = (
        all_loans.join(asked_for, "loan_id", "left_semi")
        .groupBy("loan_id")
        .agg(F.min("booked_on").alias("loan_booked_on"), F.min_by("product", "booked_on").alias("product"))
    )
    is_booked = F.col("loan_booked_on") <= F.col(day)
    return rows.join(known, "loan_id", "left").select(
        *rows.columns, F.when(is_booked, F.col("product")).alias("product")
    )
