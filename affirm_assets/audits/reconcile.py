"""Tables that share out what was received: comparisons for the audits of any dataset.

Each table is published by itself and decides by itself, so its audit compares what it staged with what the others have
published, row by row. Counts alone would not do: a record in two tables would make up for one in none.
"""

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import add, or_

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from affirm_assets.declare.partitions import Window


def one_fate_each(
    received: DataFrame, fates: Mapping[str, DataFrame], *, within: str = "file", number: str = "record_number"
) -> DataFrame:
    """Received = the sum of fates, for each file: each record that was received has one fate, and no other record any.

    All frames have the columns `within` (the file) and `number` (of the record there). One row for each file: how many
    were `received` and have each fate, `wrong`, which shows a record that is not so, and `ok`.
    """
    names = ["received", *fates]
    places = [
        frame.select(within, number, F.lit(name).alias("place"))
        for name, frame in {"received": received, **fates}.items()
    ]
    by_record = (
        reduce(DataFrame.unionByName, places)
        .groupBy(within, number)
        .agg(*(F.count_if(F.col("place") == name).alias(name) for name in names))
    )
    many = reduce(add, (F.col(name) for name in fates))
    found = F.concat_ws(
        ", ",
        F.when(F.col("received") == 0, F.lit("never received")),
        F.when(many == 0, F.lit("in none")),
        *(F.when(F.col(name) > 0, F.lit(name)) for name in fates),
        F.when(many + F.col("received") > 2, F.lit("more than once")),
    )
    is_right = (F.col("received") == 1) & (many == 1)
    wrong = F.when(~is_right, F.concat(F.lit(f"{number} "), F.col(number).cast("string"), F.lit(": "), found))
    return (
        by_record.withColumn("wrong", wrong)
        .groupBy(within)
        .agg(*(F.sum(name).alias(name) for name in names), F.min("wrong").alias("wrong"))
        .withColumn("ok", F.col("wrong").isNull())
    )


def same_keys(one: DataFrame, other: DataFrame, keys: Sequence[str], names: tuple[str, str]) -> DataFrame:
    """One row for each key of either frame: `only_in` names the frame that has it alone (null: both do), and `ok`."""
    marked = [
        frame.select(*keys).distinct().withColumn(f"is_in_{number}", F.lit(True))
        for number, frame in enumerate((one, other))
    ]
    only_in = F.when(F.col("is_in_1").isNull(), F.lit(names[0])).when(F.col("is_in_0").isNull(), F.lit(names[1]))
    joined = marked[0].join(marked[1], list(keys), "full").withColumn("only_in", only_in)
    return joined.select(*keys, "only_in", F.col("only_in").isNull().alias("ok"))


def published_or_computed(
    published: DataFrame, computed: DataFrame, keys: Sequence[str], *, day: str, days: Sequence[Window]
) -> DataFrame:
    """The keys of what another dataset has published of `days`, and of what it would be made of on the other days."""
    return published.select(*keys).unionByName(computed.where(~lies_in(day, days)).select(*keys))


def lies_in(day: str, days: Sequence[Window]) -> Column:
    """Whether the column's date is one of these days."""
    within = [(F.col(day) >= F.lit(each.first)) & (F.col(day) <= F.lit(each.last)) for each in days]
    return reduce(or_, within, F.lit(False))


def run_together(*datasets: str) -> Column:
    """For a column of an audit's rows: what to run where two of these datasets decide otherwise."""
    return F.lit(f"{','.join(datasets)} in one run")
