"""Totals of a report against those of what it was made from."""

from collections.abc import Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F


def same_totals(staged: DataFrame, expected: DataFrame, *, by: str, totals: Sequence[str]) -> DataFrame:
    """One row for each `by`, with the staged and the expected totals and whether they are equal; for an audit."""
    summed = staged.groupBy(by).agg(*(F.sum(name).alias(f"staged_{name}") for name in totals))
    joined = summed.join(expected.select(by, *(F.col(name).alias(f"expected_{name}") for name in totals)), by, "full")
    equal = F.lit(True)
    for name in totals:
        equal &= F.col(f"staged_{name}").eqNullSafe(F.col(f"expected_{name}"))
    return joined.withColumn("ok", equal)
