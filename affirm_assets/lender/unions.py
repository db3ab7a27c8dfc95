"""Rows of two frames below each other, where each has columns that the other lacks."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F


def with_nulls(above: DataFrame, below: DataFrame) -> DataFrame:
    """Both frames' rows by column name; what one of them lacks is null there, and of the other's type.

    unionByName(allowMissingColumns=True) leaves it to the engine what type a column of nulls has, and not each can add
    up or write a column of none.
    """
    return _filled(above, below).unionByName(_filled(below, above))


def _filled(frame: DataFrame, other: DataFrame) -> DataFrame:
    lacking = [each for each in other.schema.fields if each.name not in frame.columns]
    return frame.select("*", *(F.lit(None).cast(each.dataType).alias(each.name) for each in lacking))
