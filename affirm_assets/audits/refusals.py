"""How much of what arrives in a feed may be refused: of each folder, and of each file of it."""

from collections.abc import Mapping
from functools import reduce
from operator import or_

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from affirm_assets.audits import kinds
from affirm_assets.declare.dataset import FEW_ARE_UNREADABLE, Audit, Dataset
from affirm_assets.declare.inputs import Feed

ALL_FILES = "all files of the folder"
_REASONS_SHOWN = 3

_UNREADABLE = (
    "Of each folder, and each file, no more is unreadable than the feed may have: what is no record, a record that "
    "holds no field of the feed, and one with a text that is not of its field's kind."
)


def audits_of(dataset: Dataset) -> tuple[Audit, ...]:
    """The audit of a dataset that reads a feed; none of another one.

    It blocks, unless another dataset refuses the feed's records: that one knows more of them, and what this one warns
    of is known before the other feeds of the date are there.
    """
    if not dataset.feeds or dataset.partitions is None:
        return ()
    (declared,), day = dataset.feeds, dataset.partitions.column

    def few_are_unreadable(staged: DataFrame, feed: Feed) -> DataFrame:
        return few_refused(_readings(staged, declared.fields, day), feed, day=day)

    by = declared.refused_by
    instead = f" What keeps such a date from the books is the audit of {by}, which knows more of them." if by else ""
    return (Audit(FEW_ARE_UNREADABLE, _UNREADABLE + instead, by is None, few_are_unreadable),)


def few_refused(records: DataFrame, feed: Feed, *, day: str) -> DataFrame:
    """For an audit: each folder, and each file, with how many of its records are refused and the commonest reasons.

    records: `day`, file, reasons, unread (characters that make no record), is_refused, and is_news: one that was booked
    before says nothing of how well a file can be read, and does not count. `ok` if no more is refused than the feed's
    tolerance, or if a person has accepted the day, with as many records, as `to_let_pass` says.
    """
    tolerance = feed.tolerance
    folders = records.groupBy(F.col(day).alias("of_day")).agg(F.count(F.lit(1)).alias("received"))
    news = records.where("is_news")
    places = news.unionByName(news.withColumn("file", F.lit(ALL_FILES)))
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
        (F.col(day) == F.lit(each)) & (F.lit(True) if number is None else F.col("received") == number)
        for each, number in feed.accepted_days.items()
    ]
    command = F.concat(F.lit(f"affirm accept {feed.name} "), F.col(day).cast("string"), F.lit(" --reason TEXT"))
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


def _readings(rows: DataFrame, fields: Mapping[str, str], day: str) -> DataFrame:
    """Landing rows as few_refused wants them. A field without text is no problem: who reads it says whether it may."""
    is_empty = F.coalesce(*(F.col(name) for name in fields)).isNull()
    mistyped = F.concat_ws("; ", *(kinds.problem_of(name, kind) for name, kind in fields.items() if kind != "text"))
    reasons = F.coalesce(
        F.col("problem"),
        F.when(is_empty, F.lit("holds no field of the feed")),
        F.when(mistyped != "", mistyped),
    )
    unread = F.coalesce(F.length("raw"), F.lit(0)).alias("unread")
    return rows.select(day, "file", reasons.alias("reasons"), unread).select(
        "*", F.col("reasons").isNotNull().alias("is_refused"), F.lit(True).alias("is_news")
    )


def _commonest_reasons(places: DataFrame, day: str) -> DataFrame:
    """`reasons` of each place: the commonest ones and how often each is, in one text."""
    by_reason = places.where("is_refused").groupBy(day, "file", "reasons").agg(F.count(F.lit(1)).alias("times"))
    rank = F.expr(f"row_number() OVER (PARTITION BY {day}, file ORDER BY times DESC, reasons)")
    said = F.concat(F.col("reasons"), F.lit(" ("), F.col("times").cast("string"), F.lit(")"))
    ranked = by_reason.withColumn("rank", rank).withColumn("said", said)
    shown = (F.max(F.when(F.col("rank") == n, F.col("said"))) for n in range(1, _REASONS_SHOWN + 1))
    return ranked.groupBy(day, "file").agg(F.concat_ws(" | ", *shown).alias("reasons"))
