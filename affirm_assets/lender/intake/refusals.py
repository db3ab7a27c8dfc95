"""Refused records: how many there may be, and their fields, made safe to keep outside the landing zone."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from affirm_assets.lender.intake.duplicates import ACCEPTED, RECORD, REJECTED, with_fate
from affirm_assets.lender.intake.feeds import MAY_BE_REFUSED

# Digits, dates, codes and ids, but no blank and no @: any field of a bad record may hold a name or an address.
_SAFE = r"^[A-Za-z0-9_.:+-]{1,64}\z"
MASK = "***"

ALL_FILES = "all files of the folder"
_REASONS_SHOWN = 3


def refused(fates: DataFrame, fields: Sequence[str], *, day: str, direct_identifiers: Iterable[str] = ()) -> DataFrame:
    """The rejected of a feed's records: their place, `day` and reasons, and their fields as text, masked."""
    found = with_fate(fates, REJECTED).select(day, *RECORD, "reasons", "text.*")
    return found.select(day, *RECORD, "reasons", *masked_fields(fields, direct_identifiers))


def few_are_refused(
    accepted: DataFrame, fates: DataFrame, accepted_days: Mapping[date, str], *, feed: str, day: str
) -> DataFrame:
    """For an audit: each file, and each folder, with how many of its records are refused and the commonest reasons.

    `ok` if that is no more than the feed's tolerance, or if a person has accepted the day, as `to_let_pass` says.
    """
    tolerance = MAY_BE_REFUSED[feed]
    others = fates.where(F.col("fate") != ACCEPTED)
    records = others.select(day, "file", (F.col("fate") == REJECTED).alias("is_refused"), "reasons").unionByName(
        accepted.select(day, "file", F.lit(False).alias("is_refused"), F.lit(None).cast("string").alias("reasons"))
    )
    places = records.unionByName(records.withColumn("file", F.lit(ALL_FILES)))
    counted = places.groupBy(day, "file").agg(
        F.count(F.lit(1)).alias("records"), F.count_if(F.col("is_refused")).alias("refused")
    )
    is_many = F.col("refused") > tolerance.records
    is_folder = F.col("file") == ALL_FILES
    percent = f"CAST({tolerance.percent} AS decimal(5,2))"
    is_share = F.expr(f"CAST(refused * 100 AS decimal(18,2)) > CAST(records AS decimal(18,2)) * {percent}")
    too_many = is_many & F.when(is_folder, is_share).otherwise(F.col("refused") == F.col("records"))
    share = F.expr("CAST(CAST(refused * 100 AS decimal(18,2)) / CAST(records AS decimal(18,2)) AS decimal(5,1))")
    command = F.concat(F.lit(f"affirm accept {feed} "), F.col(day).cast("string"), F.lit(" --reason TEXT"))
    return (
        counted.join(_commonest_reasons(places, day), [day, "file"], "left")
        .withColumn("percent", share)
        .withColumn("to_let_pass", F.when(too_many, command))
        .withColumn("ok", ~too_many | (F.col(day).isin(*accepted_days) if accepted_days else F.lit(False)))
        .select(day, "file", "records", "refused", "percent", "reasons", "to_let_pass", "ok")
    )


def _commonest_reasons(places: DataFrame, day: str) -> DataFrame:
    """`reasons` of each place: the commonest ones and how often each is, in one text."""
    by_reason = places.where("is_refused").groupBy(day, "file", "reasons").agg(F.count(F.lit(1)).alias("times"))
    rank = F.expr(f"row_number() OVER (PARTITION BY {day}, file ORDER BY times DESC, reasons)")
    said = F.concat(F.col("reasons"), F.lit(" ("), F.col("times").cast("string"), F.lit(")"))
    ranked = by_reason.withColumn("rank", rank).withColumn("said", said)
    shown = (F.max(F.when(F.col("rank") == n, F.col("said"))) for n in range(1, _REASONS_SHOWN + 1))
    return ranked.groupBy(day, "file").agg(F.concat_ws(" | ", *shown).alias("reasons"))


def masked_fields(names: Iterable[str], direct_identifiers: Iterable[str]) -> list[Column]:
    """Each field as text: direct identifiers, and any value that does not look like a code, number or date, masked."""
    hidden = set(direct_identifiers)
    return [
        F.when(F.col(name).isNotNull(), F.lit(MASK)).alias(name)
        if name in hidden
        else F.when(F.col(name).rlike(_SAFE), F.col(name)).when(F.col(name).isNotNull(), F.lit(MASK)).alias(name)
        for name in names
    ]
