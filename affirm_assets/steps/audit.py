"""Audits of staged rows: of single values, of keys, and those that the dataset declares."""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from decimal import Decimal
from typing import Any

from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F

from affirm_assets.audits import carry, refusals
from affirm_assets.declare.contract import (
    Rule,
    columns,
    key_columns,
    money_of,
    personal_columns,
    required_columns,
)
from affirm_assets.declare.dataset import CONTROL_TOTALS, IN_WINDOW, NOT_NULL, UNIQUE_KEY, Audit, Dataset
from affirm_assets.declare.partitions import Monthly, Window
from affirm_assets.steps.engine import Days
from affirm_assets.steps.read import Frames

SAMPLE_ROWS = 10
MASK = "***"


@dataclass(frozen=True)
class Outcome:
    """What one audit found. `checked` and `failed` count rows (or what the audit compares); `sample` shows some.

    of_rows: it is of single rows, each by itself. failed_in: how many failed of each partition, by its first day; empty
    if none did, or if nobody can say of which partition they are.
    """

    name: str
    description: str
    passed: bool
    checked: int
    failed: int
    blocking: bool = True
    totals: Mapping[str, str] = field(default_factory=dict)
    sample: tuple[Mapping[str, str | None], ...] = ()
    of_rows: bool = False
    failed_in: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class AuditSpec:
    """An audit's name, description and whether its failure blocks publishing, known without running anything."""

    name: str
    description: str
    blocking: bool = True
    of_rows: bool = False


@dataclass(frozen=True)
class Question:
    """A query that gives one row, and what it tells of an audit, or of several. Nothing has run yet.

    `outcomes` may run more: it looks for samples of what failed.
    """

    query: DataFrame
    outcomes: Callable[[Row], list[Outcome]]


def audit_specs(dataset: Dataset) -> tuple[AuditSpec, ...]:
    """Every audit of the dataset, in the order in which they are reported."""
    return (
        *(AuditSpec(rule.name, rule.description, of_rows=True) for rule in value_rules(dataset)),
        control_totals_spec(dataset),
        _unique_spec(dataset),
        *(AuditSpec(each.name, each.description, each.blocking) for each in declared_audits(dataset)),
    )


def declared_audits(dataset: Dataset) -> tuple[Audit, ...]:
    """Those that the dataset lists, that of the feed that it reads, and those of what it carries."""
    return (*dataset.audits, *refusals.audits_of(dataset), *carry.audits_of(dataset))


def value_rules(dataset: Dataset, window: Window | None = None) -> tuple[Rule, ...]:
    """The audits of single rows, as SQL: never null, in the window, and the contract's constraints."""
    return (_not_null(dataset), *_in_window(dataset, window), *(r for c in columns(dataset.contract) for r in c.rules))


def value_question(dataset: Dataset, rules: Sequence[Rule], staged: DataFrame) -> Question:
    """How many rows break each rule, all in one query; rows are read again only where there is a sample to show."""

    def outcomes(counted: Row) -> list[Outcome]:
        return [
            Outcome(
                name=rule.name,
                description=rule.description,
                passed=not count,
                checked=int(counted["rows"]),
                failed=count,
                sample=_key_sample(dataset, staged.where(rule.violation)) if count else (),
                of_rows=True,
                failed_in=_by_partition(dataset, staged.where(rule.violation)) if count else {},
            )
            for rule, count in ((rule, int(counted[f"rule {i}"])) for i, rule in enumerate(rules))
        ]

    counts = (_violations(rule).alias(f"rule {i}") for i, rule in enumerate(rules))
    return Question(staged.agg(F.count(F.lit(1)).alias("rows"), *counts), outcomes)


def null_question(dataset: Dataset, result: DataFrame) -> Question:
    """How many nulls a transform gave in columns that have none: such rows cannot even be staged."""
    return value_question(dataset, [_not_null(dataset)], result)


def unique_question(dataset: Dataset, staged: DataFrame, rows: int) -> Question:
    """Whether two staged rows share a key.

    Counts distinct 64-bit hashes of the keys: equal to the rows, it proves uniqueness at the price of shuffling 8 bytes
    a row. Only if it is less (a repeated key, or two keys with one hash) are the keys themselves grouped.
    """
    spec, keys = _unique_spec(dataset), unique_columns(dataset)

    def outcomes(counted: Row) -> list[Outcome]:
        unique = Outcome(spec.name, spec.description, True, rows, 0)
        if counted["hashes"] == rows:
            return [unique]
        repeated = staged.groupBy(*keys).agg(F.count(F.lit(1)).alias("rows")).where("rows > 1")
        failed = repeated.agg(F.coalesce(F.sum(F.col("rows") - 1), F.lit(0)).alias("failed")).first()
        assert failed is not None
        if not failed["failed"]:  # two keys with one hash
            return [unique]
        sample = _sample(personal_columns(dataset.contract), repeated.orderBy(*keys))
        in_partition = _by_partition(dataset, repeated)
        return [replace(unique, passed=False, failed=int(failed["failed"]), sample=sample, failed_in=in_partition)]

    hashes = staged.select(F.xxhash64(*keys).alias("hash")).distinct()
    return Question(hashes.agg(F.count(F.lit(1)).alias("hashes")), outcomes)


def declared_question(dataset: Dataset, each: Audit, frames: Frames, staged: DataFrame) -> Question:
    """How many rows a declared audit compared, how many are not ok (null counts as not ok), what its numbers sum to."""
    if each.in_sum is None:
        return _row_by_row(dataset, each, frames, staged)
    in_sum = frames.call(each.in_sum, staged=staged)

    def outcomes(found: Row) -> list[Outcome]:
        if not found["failed"]:
            return [Outcome(each.name, each.description, True, int(found["checked"] or 0), 0, each.blocking)]
        asked = _row_by_row(dataset, each, frames, staged)
        return asked.outcomes(asked.query.collect()[0])

    return Question(in_sum.agg(F.sum("rows").alias("checked"), F.count_if(_not_ok()).alias("failed")), outcomes)


def _row_by_row(dataset: Dataset, each: Audit, frames: Frames, staged: DataFrame) -> Question:
    compared = frames.call(each.function, staged=staged)
    numbers = frames.numbers(compared)

    def outcomes(found: Row) -> list[Outcome]:
        failed = int(found["failed"])
        return [
            Outcome(
                name=each.name,
                description=each.description,
                passed=failed == 0,
                checked=int(found["checked"]),
                failed=failed,
                blocking=each.blocking,
                totals={name: _text(found[f"total {name}"] or 0) or "0" for name in numbers},
                sample=_sample(frames.personal_columns, compared.where(_not_ok()).drop("ok")) if failed else (),
                failed_in=_by_partition(dataset, compared.where(_not_ok())) if failed else {},
            )
        ]

    counts = [F.count(F.lit(1)).alias("checked"), F.count_if(_not_ok()).alias("failed")]
    return Question(compared.agg(*counts, *(F.sum(name).alias(f"total {name}") for name in numbers)), outcomes)


def _not_ok() -> Column:
    return ~F.coalesce(F.col("ok"), F.lit(False))


def masked_rows(masked: Collection[str], rows: DataFrame, most: int) -> tuple[Mapping[str, str | None], ...]:
    """The first rows as text, for people: what a masked column holds is not shown, only whether it holds anything."""
    return tuple(
        {name: MASK if name in masked and value is not None else _text(value) for name, value in row.asDict().items()}
        for row in rows.limit(most).collect()
    )


def outcomes_to_json(outcomes: Iterable[Outcome]) -> str:
    return json.dumps([asdict(outcome) for outcome in outcomes], sort_keys=True, separators=(",", ":"))


def outcomes_from_json(text: str) -> tuple[Outcome, ...]:
    return tuple(Outcome(**{**each, "sample": tuple(each["sample"])}) for each in json.loads(text))


def _violations(rule: Rule) -> Column:
    return F.count_if(F.expr(rule.violation))


def _not_null(dataset: Dataset) -> Rule:
    names = required_columns(dataset.contract)
    return Rule(NOT_NULL, f"never null: {', '.join(names)}", " OR ".join(f"`{name}` IS NULL" for name in names))


def _in_window(dataset: Dataset, window: Window | None) -> Iterable[Rule]:
    if dataset.partitions is None:
        return
    column = dataset.partitions.column
    # Without a window (when audits are only listed) the violation is never evaluated.
    inside = "true" if window is None else Days(column, window).sql
    if isinstance(dataset.partitions, Monthly):
        inside = f"{inside} AND day(`{column}`) = 1"
    yield Rule(IN_WINDOW, f"{column} is a partition of the window that was computed", f"NOT ({inside})")


def unique_columns(dataset: Dataset) -> tuple[str, ...]:
    """The key, within a partition: a range must pass where its days pass one by one."""
    keys = key_columns(dataset.contract)
    column = dataset.partitions.column if dataset.partitions else None
    return keys if column is None or column in keys else (*keys, column)


def control_totals_spec(dataset: Dataset) -> AuditSpec:
    """The audit of what was written, by `control_totals`."""
    sums = money_of(dataset.contract)
    of_what = "rows" + "".join(f", {name}" for name in sums)
    return AuditSpec(
        CONTROL_TOTALS, f"Rows and sums, read back from the files by PyArrow, equal what the engine counted: {of_what}."
    )


def _unique_spec(dataset: Dataset) -> AuditSpec:
    return AuditSpec(UNIQUE_KEY, f"One row for each {', '.join(unique_columns(dataset))}.")


def _key_sample(dataset: Dataset, rows: DataFrame) -> tuple[Mapping[str, str | None], ...]:
    keys = unique_columns(dataset)
    return _sample(personal_columns(dataset.contract), rows.select(*keys).orderBy(*keys))


def _by_partition(dataset: Dataset, failed: DataFrame) -> Mapping[str, int]:
    """How many of the rows that failed are of each partition, where they have its column."""
    column = dataset.partitions.column if dataset.partitions else None
    if column is None or dict(failed.dtypes).get(column) != "date":
        return {}
    counted = failed.where(F.col(column).isNotNull()).groupBy(column).agg(F.count(F.lit(1)).alias("rows"))
    return {str(row[column]): int(row["rows"]) for row in counted.orderBy(column).collect()}


def _sample(masked: Collection[str], rows: DataFrame) -> tuple[Mapping[str, str | None], ...]:
    return masked_rows(masked, rows, SAMPLE_ROWS)


def _text(value: Any) -> str | None:
    if value is None:
        return None
    return f"{value:f}" if isinstance(value, Decimal) else str(value)
