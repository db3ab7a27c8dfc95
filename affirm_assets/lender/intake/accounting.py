"""Received = accepted + rejected + exact duplicates, for each file."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from affirm_assets.lender.intake.duplicates import ACCEPTED, DUPLICATE, REJECTED


def accounts(received: DataFrame, fates: DataFrame, staged: DataFrame, staged_fate: str) -> DataFrame:
    """One row for each file: how many records it had, what became of them, and whether that adds up.

    received: landing rows (file). fates: file, fate. staged: file; it stands in for the fate that it holds.
    """
    by_file = (
        received.groupBy("file")
        .agg(F.count(F.lit(1)).alias("received"))
        .join(fates.groupBy("file").pivot("fate", [ACCEPTED, REJECTED, DUPLICATE]).count(), "file", "full")
        .join(staged.groupBy("file").agg(F.count(F.lit(1)).alias("staged")), "file", "full")
        .na.fill(0)
    )
    counted = [F.col("staged") if name == staged_fate else F.col(name) for name in (ACCEPTED, REJECTED, DUPLICATE)]
    return by_file.select(
        "file",
        "received",
        *(count.alias(name) for count, name in zip(counted, (ACCEPTED, REJECTED, DUPLICATE), strict=True)),
        (F.col("received") == counted[0] + counted[1] + counted[2]).alias("ok"),
    )
