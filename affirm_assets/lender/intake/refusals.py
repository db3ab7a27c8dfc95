"""Refused records: how many there may be, and their fields, made safe to keep outside the landing zone."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from functools import reduce
from operator import or_

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from affirm_assets.lender.intake.duplicates import ACCEPTED, DUPLICATE, RECORD, REJECTED, with_fate
from affirm_assets.lender.intake.feeds import MAY_BE_REFUSED, Tolerance

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
    accepted: DataFrame, fates: DataFrame, accepted_days: Mapping[date, int | None], *, feed: str, day: str
) -> DataFrame:
    """For an audit: each folder, and each file, with how many of its records are refused and the commonest reasons.

    A record that was booked before says nothing of how well a file can be read, and does not count. `ok` if no more is
    refused than the feed's tolerance, or if a person has accepted the day, with as many records, as `to_let_pass` says.
    """
    tolerance = MAY_BE_REFUSED.get(feed, Tolerance())
    others = fates.where(F.col("fate") != ACCEPTED)
    received = others.select(day, "file", "fate", "reasons", "unread").unionByName(
        accepted.select(
            day,
            "file",
            F.lit(ACCEPTED).alias("fate"),
            F.lit(None).cast("string").alias("reasons"),
            F.lit(0).alias("unread"),
        )
    )
    folders = received.groupBy(F.col(day).alias("of_day")).agg(F.count(F.lit(1)).alias("received"))
    records = received.where(F.col("fate") != DUPLICATE).withColumn("is_refused", F.col("fate") == REJECTED)
    places = records.unionByName(records.withColumn("file", F.lit(ALL_FILES)))
    counted = places.groupBy(day, "file").agg(
        F.count(F.lit(1)).alias("in_all"),
        F.count_if(F.col("is_refused")).alias("bad"),
        F.sum(F.when(F.col("is_refused"), F.col("unread")).otherwise(F.lit(0))).alias("unread"),
    )
    percent = F.expr("CAST(CAST(bad * 100 AS decimal(18,2)) / CAST(in_all AS decimal(18,2)) AS decimal(5,1))")
    most = f"CAST(in_all AS decimal(18,2)) * CAST({tolerance.percent} AS decimal(5,2))"
    is_share = F.expr(f"CAST(bad * 100 AS decimal(18,2)) > {most}")
    of_folder = (F.col("bad") > tolerance.records) & is_share
    is_long = (F.col("bad") > tolerance.records) | (F.col("unread") > tolerance.characters)
    of_file = is_long & (F.col("bad") * 2 > F.col("in_all"))
    too_many = F.when(F.col("file") == ALL_FILES, of_folder | of_file).otherwise(of_file)
    may_pass = [
        (F.col(day) == F.lit(each)) & (F.lit(True) if records is None else F.col("received") == records)
        for each, records in accepted_days.items()
    ]
    command = F.concat(F.lit(f"affirm accept {feed} "), F.col(day).cast("string"), F.lit(" --reason TEXT"))
    return (
        counted.join(_commonest_reasons(places, day), [day, "file"], "left")
        .join(folders, F.col(day) == F.col("of_day"))
        .withColumn("to_let_pass", F.when(too_many, command))
        .withColumn("ok", ~too_many | reduce(or_, may_pass, F.lit(False)))
        # As text: a sum of files and folders would count each record twice.
        .select(
            day,
            "file",
            F.col("in_all").cast("string").alias("records"),
            F.col("bad").cast("string").alias("refused"),
            percent.cast("string").alias("percent"),
            "reasons",
            "to_let_pass",
            "ok",
        )
    )


def few_are_unreadable(rows: DataFrame, fields: Iterable[str], *, feed: str) -> DataFrame:
    """For an audit of landing rows that warns: the same of records that nobody can read.

    It comes early: a feed's rows are published before the other feeds of the date are there. What a record says is
    looked at later, when all are, and so is what a person has accepted.
    """
    holds_nothing = F.coalesce(*(F.col(name) for name in fields)).isNull()
    is_unreadable = F.col("problem").isNotNull() | holds_nothing
    unreadable = rows.where(is_unreadable).select(
        "business_date",
        "file",
        F.lit(REJECTED).alias("fate"),
        F.coalesce(F.col("problem"), F.lit("holds no field of the feed")).alias("reasons"),
        F.coalesce(F.length("raw"), F.lit(0)).alias("unread"),
    )
    return few_are_refused(rows.where(~is_unreadable), unreadable, {}, feed=feed, day="business_date")


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
