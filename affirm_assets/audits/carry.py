"""What a partition opens with is what the one before closed with: the two audits of a dataset that declares a Carry.

A missing row counts as zeros on either side, and as nulls where a column holds no number: a row may begin with zeros,
and one that closed with zeros may end. One that begins with something, or ends although something was left in it, is a
difference.

They are compared in two ways:
- In sum: a digest is made of each row, and the digests of each partition are summed up. This needs little memory.
- Row by row, only where the sums differ: in a join that holds each carried column of each row twice.
"""

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import reduce
from operator import and_, or_
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from affirm_assets.declare.carry import (
    LATER_PARTITIONS,
    NEXT_DAY_OPENS_AS_CLOSED,
    OPENS_AS_CLOSED,
    PREVIOUS_PARTITION,
    Carry,
    next_of,
)
from affirm_assets.declare.contract import key_columns, spark_schema
from affirm_assets.declare.dataset import Audit, Dataset
from affirm_assets.declare.inputs import LAST_PUBLISHED, STAGED, WINDOW
from affirm_assets.declare.partitions import Daily, Partitions, Window

Given = Mapping[str, Any]
"""What an audit is called with: frames, the window, the last date that is published."""


def audits_of(dataset: Dataset) -> tuple[Audit, ...]:
    """The audits of what the dataset carries, whose parameters are read as any audit's; none if it carries nothing."""
    carry, partitions = dataset.carry, dataset.partitions
    if carry is None or partitions is None:
        return ()
    keys = [name for name in key_columns(dataset.contract) if name != partitions.column]

    def of_this(given: Given) -> Openings:
        others = {name: given[name] for name in carry.others}
        rows = given[STAGED], given[PREVIOUS_PARTITION], given[WINDOW]
        return openings(carry, *rows, others, partitions=partitions, keys=keys)

    def of_next(given: Given) -> Openings:
        others = {name: given[next_of(name)] for name in carry.others}
        rows = given[STAGED], given[LATER_PARTITIONS], given[WINDOW], given[LAST_PUBLISHED]
        return next_openings(carry, *rows, others, partitions=partitions, keys=keys)

    types = {each.name: each.dataType for each in spark_schema(dataset.contract).fields}
    numbers = [name for name in carry.columns.values() if isinstance(types.get(name), T.NumericType)]
    compared = (*keys, *carry.columns.values(), *carry.kept)
    can_be_in_sum = len({*compared}) == len(compared) and all(_has_digest(types.get(name)) for name in compared)
    described = _descriptions(carry, keys)

    def audit(name: str, found: Callable[[Given], Openings], parameters: Sequence[str]) -> Audit:
        def row_by_row(given: Given) -> DataFrame:
            return found(given).row_by_row()

        def in_sum(given: Given) -> DataFrame:
            return found(given).in_sum(numbers)

        sums = _with_parameters(in_sum, parameters) if can_be_in_sum else None
        return Audit(name, described[name], True, _with_parameters(row_by_row, parameters), sums)

    return (
        audit(OPENS_AS_CLOSED, of_this, (STAGED, PREVIOUS_PARTITION, WINDOW, *carry.others)),
        audit(
            NEXT_DAY_OPENS_AS_CLOSED,
            of_next,
            (STAGED, LATER_PARTITIONS, WINDOW, LAST_PUBLISHED, *map(next_of, carry.others)),
        ),
    )


@dataclass(frozen=True)
class Openings:
    """What partitions open with, beside what the ones before them closed with.

    Both frames have the keys, the partition that opens and the kept columns; `opened` has the openings, and `closed`
    the closings. `run_instead`: the range that makes them agree again where they do not.
    """

    carry: Carry
    opened: DataFrame
    closed: DataFrame
    partitions: Partitions
    keys: Sequence[str]
    run_instead: str | None = None
    are_none: bool = False
    """No partition opens: both frames are empty."""

    def row_by_row(self) -> DataFrame:
        """Of each row that opens or closed: its keys, the partition, `differs`, `ok`, and `run_instead` where that is
        known. `differs` names each column that differs, with both values."""
        column, carried, kept = self.partitions.column, self.carry.columns, self.carry.kept
        before = [F.col(name).alias(_before(name)) for name in (*carried.values(), *kept)]
        # A join and not a sum over the union of both: over nine million rows that took five times as long.
        compared = self.opened.select(*self.keys, column, *carried, *kept, F.lit(True).alias("has_opened")).join(
            self.closed.select(*self.keys, column, *before, F.lit(True).alias("has_closed")),
            [*self.keys, column],
            "full",
        )
        # Numbers only: fill leaves columns of another type as they are.
        filled = compared.na.fill(0, [*carried, *(_before(closing) for closing in carried.values())])
        is_in_one = F.col("has_opened").isNull() | F.col("has_closed").isNull()
        is_same = {
            **{
                (opening, closing): F.col(opening).eqNullSafe(F.col(_before(closing)))
                for opening, closing in carried.items()
            },
            **{(name, name): is_in_one | F.col(name).eqNullSafe(F.col(_before(name))) for name in kept},
        }
        # `ok` is not made of the text: a text of each row of millions is the dearest part, and only a sample is shown.
        differs = F.concat_ws("; ", *(F.when(~same, _difference(*names)) for names, same in is_same.items()))
        run_instead = [] if self.run_instead is None else [F.lit(self.run_instead).alias("run_instead")]
        ok = reduce(and_, is_same.values()).alias("ok")
        return filled.select(*self.keys, column, differs.alias("differs"), ok, *run_instead)

    def in_sum(self, numbers: Collection[str]) -> DataFrame:
        """Of each partition: `rows`, how many rows open, and `ok`: whether they open with what the partition before
        closed with.

        numbers: those of the closings that are numbers. Keys are never null, and unique in a partition: other audits
        see to it.

        If one number that is carried has another value, the row's digest is another one for certain: numbers come last,
        and xxhash64 takes one in one-to-one. What else differs is missed only by chance: if the row's two digests are
        equal all the same (1 in 2^64), or both sums of the partition are (1 in 2^128).
        """
        if self.are_none:  # as on each new day. To plan the sums of many columns would take longer than most audits
            return self.opened.selectExpr("0L AS rows", "true AS ok")
        column, carried, kept = self.partitions.column, self.carry.columns, self.carry.kept
        opens = [F.col(opening).alias(closing) for opening, closing in carried.items()]
        # In a union both have one type. Without it, 1.00 and 1.0000 would have other digests, and 1.00 and 0.0100 one.
        rows = self.opened.select(*self.keys, column, *opens, *kept, F.lit(True).alias(_OPENS)).union(
            self.closed.select(*self.keys, column, *carried.values(), *kept, F.lit(False))
        )
        # Connect takes no names for all of them, and would fill what is kept.
        rows = rows.na.fill(0, [*numbers]) if numbers else rows
        holds_something = reduce(
            or_, (F.col(name) != 0 if name in numbers else F.col(name).isNotNull() for name in carried.values())
        )
        # xxhash64 skips nulls: without these, (null, 1 May) and (1 May, null) would have one digest.
        others = (*(name for name in carried.values() if name not in numbers), *kept)
        is_null = (F.when(F.col(name).isNull(), F.lit(1)).otherwise(F.lit(0)).cast("bigint") for name in others)
        digest = F.xxhash64(*self.keys, column, *others, *is_null, *numbers)
        digests = rows.select(column, _OPENS, holds_something.alias(_HOLDS_SOMETHING), digest.alias(_DIGEST))
        summed = digests.groupBy(column).agg(
            F.count_if(_OPENS).alias("rows that open"),
            *_sums(F.col(_OPENS), "opened"),
            *_sums(~F.col(_OPENS), "closed"),
        )
        same = (F.col(f"{name} opened").eqNullSafe(F.col(f"{name} closed")) for name in _SUMS)
        found = summed.select(F.col("rows that open").alias("rows"), reduce(and_, same).alias("ok"))
        if not kept:
            return found
        # Empty rows are in no sum, since they may begin and end. One that is empty on both sides keeps its columns.
        empty = rows.where(~holds_something)
        before = [F.col(name).alias(_before(name)) for name in kept]
        both = (
            empty.where(F.col(_OPENS))
            .select(*self.keys, column, *kept)
            .join(empty.where(~F.col(_OPENS)).select(*self.keys, column, *before), [*self.keys, column])
        )
        is_same = reduce(and_, (F.col(name).eqNullSafe(F.col(_before(name))) for name in kept))
        return found.union(both.select(F.lit(0).cast("bigint").alias("rows"), is_same.alias("ok")))


def openings(
    carry: Carry,
    staged: DataFrame,
    before: DataFrame,
    window: Window,
    others: Mapping[str, DataFrame] | None = None,
    *,
    partitions: Partitions,
    keys: Sequence[str],
) -> Openings:
    """Each partition of the window, and the one before, which for the first one is in `before`.

    others: what the carry's `opens` reads beside the rows.
    """
    column, last_before = partitions.column, partitions.before(window, 1).last
    closings = [*keys, column, *carry.columns.values(), *carry.kept]
    closed = (
        _closed(carry, staged.where(F.col(column) < F.lit(window.last)))
        .select(closings)
        .unionByName(_closed(carry, before.where(F.col(column) == F.lit(last_before))).select(closings))
    )
    return Openings(carry, _opened(carry, staged, others), _following(closed, partitions), partitions, keys)


def next_openings(
    carry: Carry,
    staged: DataFrame,
    later: DataFrame,
    window: Window,
    last_published: date | None,
    others: Mapping[str, DataFrame] | None = None,
    *,
    partitions: Partitions,
    keys: Sequence[str],
) -> Openings:
    """The published partition after the window, beside the window's last one as it closes now; no rows if none is
    published.

    To agree again, all is run from the window's first partition to the last one that is published.
    """
    column = partitions.column
    # Only the next one of what may be long: Iceberg reads no other's rows.
    opened = _opened(carry, later.where(F.col(column) == F.lit(partitions.after(window, 1).first)), others)
    closed = _following(_closed(carry, staged.where(F.col(column) == F.lit(window.last))), partitions)
    if last_published is None:
        return Openings(carry, opened.where("false"), closed.where("false"), partitions, keys, "", are_none=True)
    return Openings(carry, opened, closed, partitions, keys, str(Window(window.first, last_published)))


def _opened(carry: Carry, rows: DataFrame, others: Mapping[str, DataFrame] | None) -> DataFrame:
    return carry.opens(rows, **(others or {})) if carry.opens else rows


def _closed(carry: Carry, rows: DataFrame) -> DataFrame:
    return carry.closes(rows) if carry.closes else rows


def _following(closed: DataFrame, partitions: Partitions) -> DataFrame:
    column = partitions.column
    return closed.withColumn(
        column, F.date_add(column, 1) if isinstance(partitions, Daily) else F.add_months(column, 1)
    )


# With spaces: no column of a contract has such a name.
_OPENS, _HOLDS_SOMETHING, _DIGEST = "it opens", "holds something", "its digest"
_SUMS = ("count", "sum of digests", "sum of digests of digests")


def _sums(of_side: Column, side: str) -> tuple[Column, ...]:
    """Each of _SUMS, named with the side, over its rows that hold something. Decimals so long cannot overflow."""
    counts, digest = of_side & F.col(_HOLDS_SOMETHING), F.col(_DIGEST)
    sums = (
        F.count_if(counts),
        F.sum(F.when(counts, digest.cast("decimal(20,0)"))),
        F.sum(F.when(counts, F.xxhash64(digest).cast("decimal(20,0)"))),
    )
    return tuple(each.alias(f"{name} {side}") for name, each in zip(_SUMS, sums, strict=True))


def _has_digest(kind: T.DataType | None) -> bool:
    """Whether each engine makes the same digest of it."""
    if isinstance(kind, T.DecimalType):
        return kind.precision <= 18
    return isinstance(kind, T.StringType | T.DateType | T.LongType)


def _descriptions(carry: Carry, keys: Sequence[str]) -> Mapping[str, str]:
    opened = f" Openings: {inspect.getdoc(carry.opens)}" if carry.opens and inspect.getdoc(carry.opens) else ""
    return {
        OPENS_AS_CLOSED: f"Each {', '.join(keys) or 'row'} opens a day with what it closed the day before with; none "
        f"is gone in which something was left.{opened}",
        NEXT_DAY_OPENS_AS_CLOSED: "The day after, where it is published already, opens with what the window's last "
        f"day closes with now.{opened}",
    }


def _with_parameters(function: Callable[[Given], DataFrame], names: Sequence[str]) -> Callable[..., DataFrame]:
    """The function with parameters of these names: which they are is known from the declaration only."""
    signature = inspect.Signature([inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD) for n in names])

    def named(*args: Any, **kwargs: Any) -> DataFrame:
        return function(signature.bind(*args, **kwargs).arguments)

    named.__signature__ = signature  # type: ignore[attr-defined]
    return named


def _before(name: str) -> str:
    return f"{name}_before"


def _difference(opening: str, closing: str) -> Column:
    """As in `principal closed as 7.01, opens as 7.00`."""
    closed, opened = (F.coalesce(F.col(name).cast("string"), F.lit("null")) for name in (_before(closing), opening))
    return F.concat(F.lit(f"{closing} closed as "), closed, F.lit(", opens as "), opened)
