"""Refused records: how many there may be, and their fields, made safe to keep outside the landing zone."""

from collections.abc import Iterable, Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from affirm_assets.audits.refusals import few_refused
from affirm_assets.declare.inputs import Feed
from affirm_assets.lender.intake.duplicates import ACCEPTED, DUPLICATE, RECORD, REJECTED, with_fate

# Digits, dates, codes and ids, but no blank and no @: any field of a bad record may hold a name or an address.
_SAFE = r"^[A-Za-z0-9_.:+-]{1,64}\z"
MASK = "***"


def refused(fates: DataFrame, fields: Sequence[str], *, day: str, direct_identifiers: Iterable[str] = ()) -> DataFrame:
    """The rejected of a feed's records: their place, `day` and reasons, and their fields as text, masked."""
    found = with_fate(fates, REJECTED).select(day, *RECORD, "reasons", "text.*")
    return found.select(day, *RECORD, "reasons", *masked_fields(fields, direct_identifiers))


def few_are_refused(accepted: DataFrame, fates: DataFrame, feed: Feed, *, day: str) -> DataFrame:
    """For an audit: each folder, and each file, with how many of its records are refused, as few_refused says."""
    others = fates.where(F.col("fate") != ACCEPTED).select(
        day,
        "file",
        "reasons",
        "unread",
        (F.col("fate") == REJECTED).alias("is_refused"),
        (F.col("fate") != DUPLICATE).alias("is_news"),
    )
    booked = accepted.select(
        day,
        "file",
        F.lit(None).cast("string").alias("reasons"),
        F.lit(0).alias("unread"),
        F.lit(False).alias("is_refused"),
        F.lit(True).alias("is_news"),
    )
    return few_refused(others.unionByName(booked), feed, day=day)


def masked_fields(names: Iterable[str], direct_identifiers: Iterable[str]) -> list[Column]:
    """Each field as text: direct identifiers, and any value that does not look like a code, number or date, masked."""
    hidden = set(direct_identifiers)
    return [
        F.when(F.col(name).isNotNull(), F.lit(MASK)).alias(name)
        if name in hidden
        else F.when(F.col(name).rlike(_SAFE), F.col(name)).when(F.col(name).isNotNull(), F.lit(MASK)).alias(name)
        for name in names
    ]
