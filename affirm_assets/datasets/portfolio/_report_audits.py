"""What reports and their audits share: their figures against those of what they were made from; percents."""

from collections.abc import Sequence
from decimal import Decimal

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from affirm_assets.lender.vocabulary import OPEN_BUCKETS

_HALF_OF_THE_LAST_PLACE = Decimal("0.0000005")
"""A rate has six decimal places."""


PRINCIPAL_IN = {bucket: f"principal_{bucket.replace('-', '_')}" for bucket in OPEN_BUCKETS}
"""By delinquency bucket, the column of the portfolio with the principal in it."""


def first_of_month(day: str) -> Column:
    """Of a column of dates. The transforms cut dates to the month instead: an audit is written apart from them."""
    return F.make_date(F.year(day), F.month(day), F.lit(1))


def last_days(rows: DataFrame) -> DataFrame:
    """By `month`, the `last_day` that rows are of: the month's last, or the last so far of a month that goes on."""
    return rows.groupBy(F.trunc("as_of", "month").alias("month")).agg(F.max("as_of").alias("last_day"))


def percent(part: str, whole: str) -> Column:
    """Columns of Money: the part in percent of the whole, half up to six decimal places; null of a whole of zero.

    The type of the part leaves the quotient six places, so that it is rounded once.
    """
    return F.expr(f"CAST({part} * 100BD AS decimal(32,2)) / nullif({whole}, 0BD)")


def is_percent(rate: str, part: str, whole: str) -> str:
    """Spark SQL: whether the rate is percent(part, whole). Multiplied out, so that nothing here is rounded.

    The types leave room for every digit of the products.
    """
    off_by = f"CAST({rate} * {whole} - {part} * 100BD AS decimal(37,8))"
    most = f"{whole} * {_HALF_OF_THE_LAST_PLACE:f}BD"
    return f"IF({whole} = 0, {rate} IS NULL, coalesce({off_by} BETWEEN -({most}) AND {most}, false))"


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
