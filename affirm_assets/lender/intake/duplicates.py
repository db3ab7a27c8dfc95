"""Which of the valid rows of a window are booked: the rule for rows whose id came more than once.

A row that equals one booked on an earlier day is a duplicate; one that differs from it is in conflict. Where nothing is
booked yet, rows of one folder that are all equal give one booking, and rows that are not all equal are all in conflict.
"Booked" means within the look-back, or, for a row whose own date is older than that, at any time.
"""

from collections.abc import Sequence
from datetime import date, timedelta

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from affirm_assets.declare import Lookup

ACCEPTED = "accepted"
DUPLICATE = "duplicate"
REJECTED = "rejected"

RECORD = ("file", "record_number")
"""What names a record that was received."""

_BOOKING = "struct<day: date, terms: string, private: string>"


def digest(*names: str) -> Column:
    """One text for the values of these columns, equal only if all of them are, nulls too.

    Each value with its length, so that no two lists of values are written alike; nothing of how an engine writes JSON.
    """
    texts = [F.col(name).cast("string") for name in names]
    written = [F.coalesce(F.concat(F.length(text).cast("string"), F.lit(":"), text), F.lit("-")) for text in texts]
    return F.sha2(F.concat(*written), 256)


def to_compare(
    rows: DataFrame,
    recent: DataFrame,
    everything: Lookup,
    *,
    name: str,
    booked_on: str,
    first: date,
    look_back_days: int,
) -> DataFrame:
    """The booked rows, of a table with the id `name`, to compare the valid rows of a window from `first` on with.

    recent: those of the look-back; everything: all of them, read only for the ids of rows whose own date is older.
    """
    ids = rows.select(F.col("id").alias(name)).distinct()
    is_older = F.col("own_date") < F.date_sub("day", look_back_days)
    ids_of_older = rows.where(is_older).select(F.col("id").alias(name)).distinct()
    before = everything(ids_of_older).where(F.col(booked_on) < F.lit(first - timedelta(days=look_back_days)))
    return recent.join(ids, name, "left_semi").unionByName(before)


def fates(readings: DataFrame, valid: DataFrame, booked: DataFrame, look_back_days: int) -> DataFrame:
    """One row for each reading, with its `fate`; `reasons` also says what it is in conflict with.

    readings: with `reasons`, null where a row is valid. valid: those that are, with what `decide_fates` needs beside.
    """
    kept = [*readings.columns, "fate"]
    decided = decide_fates(valid, booked, look_back_days).withColumn("reasons", F.col("conflict"))
    refused = readings.where("reasons IS NOT NULL").withColumn("fate", F.lit(REJECTED))
    return decided.select(kept).unionByName(refused.select(kept))


def fates_of_terms(
    readings: DataFrame,
    recent: DataFrame,
    everything: Lookup,
    *,
    name: str,
    booked_on: str,
    own_date: str,
    compared: Sequence[str],
    first: date,
    look_back_days: int,
) -> DataFrame:
    """The fates of the readings of a feed all of whose fields are booked: nothing of a row is kept elsewhere.

    name: its id; booked_on: the day of its folder; compared: the fields that say what it is. The rest as to_compare.
    """
    says = [digest(*compared).alias("terms"), F.lit(None).cast("string").alias("private")]
    valid = readings.where("reasons IS NULL").select(
        "*", F.col(name).alias("id"), F.col(booked_on).alias("day"), F.col(own_date).alias("own_date"), *says
    )
    booked = to_compare(
        valid, recent, everything, name=name, booked_on=booked_on, first=first, look_back_days=look_back_days
    ).select(F.col(name).alias("id"), F.col(booked_on).alias("day"), *says)
    return fates(readings, valid, booked, look_back_days)


def with_fate(fates: DataFrame, fate: str) -> DataFrame:
    return fates.where(F.col("fate") == fate)


def not_booked_later(staged: DataFrame, later: DataFrame, name: str, day: str) -> DataFrame:
    """One row for each staged one, for an audit: `ok` if its id `name` is not booked on a later day, in `later`.

    `day`: the column of the day on which it is booked here.
    """
    booked_later = later.select(name, F.lit(True).alias("is_later")).distinct()
    return staged.select(name, day).join(booked_later, name, "left").select(name, day, F.isnull("is_later").alias("ok"))


def decide_fates(rows: DataFrame, booked: DataFrame, look_back_days: int) -> DataFrame:
    """Add `fate` and `conflict` (a reason, or null) to the valid rows of a window of one day or many.

    rows: id, day, file, record_number, own_date, terms, private, and what else there is. `terms` is a digest of what a
    row says; `private` a digest of what is kept elsewhere, null where that is no longer known, and then not compared.
    booked: id, day, terms, private: what was booked before the window, at least as far as a row here must be compared.
    """
    return (
        rows.join(_bookings_by_id(rows, booked, look_back_days), "id", "left")
        .withColumn("visible", _visible_bookings(look_back_days))
        .withColumn("is_first", F.expr("row_number() OVER (PARTITION BY id, day ORDER BY file, record_number)") == 1)
        .withColumn("conflict", _conflict())
        .withColumn("fate", _fate())
        .drop("bookings", "visible", "is_first")
    )


def _bookings_by_id(rows: DataFrame, booked: DataFrame, look_back_days: int) -> DataFrame:
    """Each id with `bookings`: the days on which it is booked, before the window or in it."""
    entry = F.struct("day", "is_booked", "terms", "private", "own_date", "is_unanimous")
    by_id = _entries(rows).unionByName(_entries_of_booked(booked)).groupBy("id")
    entries = by_id.agg(F.array_sort(F.collect_list(entry)).alias("entries"))
    return entries.select("id", _bookings(F.col("entries"), look_back_days).alias("bookings"))


def _entries(rows: DataFrame) -> DataFrame:
    """One for the rows of an id in one folder; `is_unanimous` if all of them are equal."""
    same_terms = F.min("terms") == F.max("terms")
    # Nulls of `private` are left out by min and max: what is not known differs from nothing.
    same_private = F.coalesce(F.min("private") == F.max("private"), F.lit(True))
    return rows.groupBy("id", "day").agg(
        F.min("terms").alias("terms"),
        F.min("private").alias("private"),
        F.min("own_date").alias("own_date"),
        (same_terms & same_private).alias("is_unanimous"),
        F.lit(False).alias("is_booked"),
    )


def _entries_of_booked(booked: DataFrame) -> DataFrame:
    return booked.select(
        "id",
        "day",
        "terms",
        "private",
        F.col("day").alias("own_date"),
        F.lit(True).alias("is_unanimous"),
        F.lit(True).alias("is_booked"),
    )


def _visible_bookings(look_back_days: int) -> Column:
    """Of a row's `bookings`, those of earlier days that it is compared with."""
    day, own_date = F.col("day"), F.col("own_date")
    return F.filter("bookings", lambda b: (b["day"] < day) & _is_visible(b["day"], day, own_date, look_back_days))


def _has_visible() -> Column:
    return F.size("visible") > 0


def _conflict() -> Column:
    """Why a row is not booked though it is valid, or null."""
    is_repeated = F.exists(
        "visible", lambda b: (b["terms"] == F.col("terms")) & F.coalesce(b["private"] == F.col("private"), F.lit(True))
    )
    is_booked_today = F.exists("bookings", lambda b: b["day"] == F.col("day"))
    return F.when(
        _has_visible() & ~is_repeated, F.lit("conflicts with a row of this id booked on an earlier day")
    ).when(~_has_visible() & ~is_booked_today, F.lit("conflicts with another row of this id in the same folder"))


def _fate() -> Column:
    is_duplicate = _has_visible() | ~F.col("is_first")
    return F.when(F.col("conflict").isNotNull(), REJECTED).when(is_duplicate, DUPLICATE).otherwise(ACCEPTED)


def _bookings(entries: Column, look_back_days: int) -> Column:
    """Walk an id's days in order and keep those on which it is booked: array of (day, terms, private)."""

    def step(bookings: Column, entry: Column) -> Column:
        seen = F.exists(bookings, lambda b: _is_visible(b["day"], entry["day"], entry["own_date"], look_back_days))
        books = entry["is_booked"] | (entry["is_unanimous"] & ~seen)
        # Cast to what it is already: Sail takes a day that has been renamed on its way for another type.
        booking = F.struct(entry["day"], entry["terms"], entry["private"]).cast(_BOOKING)
        return F.when(books, F.array_append(bookings, booking)).otherwise(bookings)

    nothing = F.array().cast(f"array<{_BOOKING}>")
    return F.aggregate(entries, nothing, step)


def _is_visible(booked_on: Column, day: Column, own_date: Column, look_back_days: int) -> Column:
    horizon = F.date_sub(day, look_back_days)
    return (booked_on >= horizon) | (own_date < horizon)
