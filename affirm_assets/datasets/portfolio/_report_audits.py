"""The audits of reports: their figures against those of what they were made from, one row for each `by`."""

from collections.abc import Sequence
from decimal import Decimal

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

_HALF_OF_THE_LAST_PLACE = Decimal("0.0000005")
"""A rate has six decimal places."""


def same_totals(staged: DataFrame, expected: DataFrame, *, by: Sequence[str], totals: Sequence[str]) -> DataFrame:
    """The staged and the expected totals, and whether they are equal."""
    summed = staged.groupBy(*by).agg(*(F.sum(name).alias(f"staged_{name}") for name in totals))
    joined = summed.join(
        expected.select(*by, *(F.col(name).alias(f"expected_{name}") for name in totals)), [*by], "full"
    )
    equal = F.lit(True)
    for name in totals:
        equal &= F.col(f"staged_{name}").eqNullSafe(F.col(f"expected_{name}"))
    return joined.withColumn("ok", equal)


def same_weighted_apr(staged: DataFrame, expected: DataFrame, *, by: Sequence[str]) -> DataFrame:
    """The staged `apr`, and whether it is the expected `principal_times_apr` over `principal`, rounded.

    Multiplied out, so that nothing here is rounded; the types leave room for every digit of the products.
    """
    figures = expected.select(
        *by, F.col("principal").cast("decimal(18,2)"), F.col("principal_times_apr").cast("decimal(36,8)")
    )
    joined = staged.select(*by, "apr").join(figures, [*by], "full")
    off_by = F.col("apr") * F.col("principal") - F.col("principal_times_apr")
    most = F.col("principal") * F.lit(_HALF_OF_THE_LAST_PLACE)
    return joined.select(
        *by,
        "principal",
        "principal_times_apr",
        # As text: the numbers of an audit are added up, and a sum of rates says nothing.
        F.col("apr").cast("string").alias("apr"),
        off_by.between(-most, most).alias("ok"),
    )
