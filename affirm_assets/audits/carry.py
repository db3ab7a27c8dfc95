"""What a partition opens with is what the one before closed with: the two audits of a dataset that declares a Carry.

A missing row counts as zeros on either side, and as nulls where a column holds no number: a row may begin with zeros,
and one that closed with zeros may end. One that begins with something, or ends although something was left in it, is a
difference.

Each result has the keys, the partition, `differs`, which names each closing or kept column that differs with both
values, and `ok`.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import reduce
from operator import and_
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from affirm_assets.declare.carry import (
    CARRY_AUDITS,
    LATER_PARTITIONS,
    NEXT_DAY_OPENS_AS_CLOSED,
    OPENS_AS_CLOSED,
    PREVIOUS_PARTITION,
    Carry,
    next_of,
)
from affirm_assets.declare.contract import key_columns
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

    def opens(given: Given) -> DataFrame:
        others = {name: given[name] for name in carry.others}
        return opens_as_closed(
            carry, given[STAGED], given[PREVIOUS_PARTITION], given[WINDOW], others, partitions=partitions, keys=keys
        )

    def next_opens(given: Given) -> DataFrame:
        others = {name: given[next_of(name)] for name in carry.others}
        rows = given[STAGED], given[LATER_PARTITIONS], given[WINDOW], given[LAST_PUBLISHED]
        return next_opens_as_closed(carry, *rows, others, partitions=partitions, keys=keys)

    parameters = (
        (STAGED, PREVIOUS_PARTITION, WINDOW, *carry.others),
        (STAGED, LATER_PARTITIONS, WINDOW, LAST_PUBLISHED, *map(next_of, carry.others)),
    )
    described = _descriptions(carry, keys)
    return tuple(
        Audit(name, described[name], True, _with_parameters(function, names))
        for name, function, names in zip(CARRY_AUDITS, (opens, next_opens), parameters, strict=True)
    )


def opens_as_closed(
    carry: Carry,
    staged: DataFrame,
    before: DataFrame,
    window: Window,
    others: Mapping[str, DataFrame] | None = None,
    *,
    partitions: Partitions,
    keys: Sequence[str],
) -> DataFrame:
    """Each partition of the window opens as the one before closed, which for the first one is in `before`.

    others: what the carry's `opens` reads beside the rows. Compared are all keys of either partition, so also the rows
    that ended.
    """
    column, last_before = partitions.column, partitions.before(window, 1).last
    closings = [*keys, column, *carry.columns.values(), *carry.kept]
    closed = (
        _closed(carry, staged.where(F.col(column) < F.lit(window.last)))
        .select(closings)
        .unionByName(_closed(carry, before.where(F.col(column) == F.lit(last_before))).select(closings))
    )
    return _compared(carry, _opened(carry, staged, others), closed, partitions, keys)


def next_opens_as_closed(
    carry: Carry,
    staged: DataFrame,
    later: DataFrame,
    window: Window,
    last_published: date | None,
    others: Mapping[str, DataFrame] | None = None,
    *,
    partitions: Partitions,
    keys: Sequence[str],
) -> DataFrame:
    """The published partition after the window opens as its last one closes now; no rows if none is published.

    Where they differ, `run_instead` names the range that makes them agree again: from the window's first partition to
    the last one that is published.
    """
    column = partitions.column
    # Only the next one of what may be long: Iceberg reads no other's rows.
    opened = _opened(carry, later.where(F.col(column) == F.lit(partitions.after(window, 1).first)), others)
    closed = _closed(carry, staged.where(F.col(column) == F.lit(window.last)))
    compared = _compared(carry, opened, closed, partitions, keys)
    if last_published is None:
        return compared.where("false").withColumn("run_instead", F.lit(""))
    return compared.withColumn("run_instead", F.lit(str(Window(window.first, last_published))))


def _opened(carry: Carry, rows: DataFrame, others: Mapping[str, DataFrame] | None) -> DataFrame:
    return carry.opens(rows, **(others or {})) if carry.opens else rows


def _closed(carry: Carry, rows: DataFrame) -> DataFrame:
    return carry.closes(rows) if carry.closes else rows


def _compared(
    carry: Carry, opened: DataFrame, closed: DataFrame, partitions: Partitions, keys: Sequence[str]
) -> DataFrame:
    """Openings beside the closings of the partition before, of all rows that have either."""
    column, carried, kept = partitions.column, carry.columns, carry.kept
    following = F.date_add(column, 1) if isinstance(partitions, Daily) else F.add_months(column, 1)
    held_before = [F.col(name).alias(_before(name)) for name in (*carried.values(), *kept)]
    # A join and not a sum over the union of both: over nine million rows that took five times as long.
    compared = opened.select(*keys, column, *carried, *kept, F.lit(True).alias("has_opened")).join(
        closed.select(*keys, following.alias(column), *held_before, F.lit(True).alias("has_closed")),
        [*keys, column],
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
    return filled.select(*keys, column, differs.alias("differs"), reduce(and_, is_same.values()).alias("ok"))


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
