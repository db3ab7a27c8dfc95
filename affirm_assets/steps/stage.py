"""Write a step's rows into its table, on no reader's path, and count what the value audits need on the way."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, Observation
from pyspark.sql import functions as F

from affirm_assets.declare.contract import Rule, column_differences, columns
from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.partitions import Window
from affirm_assets.errors import StageLost, WrongColumns, WrongSession
from affirm_assets.steps.engine import Staged
from affirm_assets.steps.lake import Lake
from affirm_assets.steps.publish import summary
from affirm_assets.steps.read import between
from affirm_assets.steps.request import Request
from affirm_assets.steps.tables import SUMMARY, added_files

ATTEMPT = f"{SUMMARY}attempt"

_WITHOUT_RULES = "spark.sql.adaptive.optimizer.excludedRules"
_CUTS_EMPTY_BRANCHES = "org.apache.spark.sql.execution.adaptive.AQEPropagateEmptyRelation"
"""Replaces a plan that turns out to have no rows, and what was observed in it is gone."""

_NULL_IN_REQUIRED_COLUMN = "NOT_NULL_ASSERT_VIOLATION"


class NullInRequiredColumn(Exception):
    """The write met a null where the contract has none; nothing was staged."""


@dataclass(frozen=True)
class Written:
    """A staged write and the counts observed while writing."""

    staged: Staged
    counts: Mapping[str, int]


def conform(dataset: Dataset, result: DataFrame, step_session: Any) -> DataFrame:
    """The contract's columns in the contract's order. Raises WrongColumns or WrongSession; casts and drops nothing."""
    session: Any = result.sparkSession
    if not session._jsparkSession.equals(step_session._jsparkSession):
        raise WrongSession(str(dataset))
    if differences := column_differences(dataset.contract, result.schema):
        raise WrongColumns(str(dataset), dataset.contract.__name__, differences)
    return result.select([spec.name for spec in columns(dataset.contract)])


def stage(dataset: Dataset, request: Request, rows: DataFrame, rules: Iterable[Rule], lake: Lake) -> Written:
    """Stage `rows` as the whole new content of the window. Raises NullInRequiredColumn, StageLost."""
    lake.spark.conf.set("spark.wap.id", request.wap_id)
    lake.spark.conf.set(_WITHOUT_RULES, _CUTS_EMPTY_BRANCHES)
    observation = Observation()
    observed = rows.observe(
        observation,
        F.count(F.lit(1)).alias("rows"),
        *(F.expr(f"count_if({rule.violation})").alias(rule.name) for rule in rules),
    )
    writer = observed.writeTo(lake.table_name(dataset.table)).option("check-nullability", "false")
    for name, value in _layout(request.window).items():
        writer = writer.option(name, value)
    attempt = uuid4().hex  # of two tries of the same work that run side by side, each finds its own write
    for name, value in {**summary(request), ATTEMPT: attempt}.items():
        writer = writer.option(f"snapshot-property.{name}", value)
    try:
        writer.overwrite(F.expr(window_filter(dataset, request.window)))
    except PySparkException as error:
        if _NULL_IN_REQUIRED_COLUMN in str(error):
            raise NullInRequiredColumn from error
        raise
    finally:
        lake.spark.conf.unset("spark.wap.id")
        lake.spark.conf.unset(_WITHOUT_RULES)
    return _find_staged(dataset, attempt, observation.get, lake)


def window_filter(dataset: Dataset, window: Window | None) -> str:
    return "true" if window is None or dataset.partitions is None else between(dataset.partitions.column, window)


def _layout(window: Window | None) -> Mapping[str, str]:
    """A shuffle by partition spares a range a small file for each task and day; one partition needs none.

    A range is sorted too, so that a task has one file open at a time: with a file for each day it runs out of memory.
    """
    if window is None or window.first == window.last:
        return {"distribution-mode": "none"}
    return {"distribution-mode": "hash", "fanout-enabled": "false"}


def _find_staged(dataset: Dataset, attempt: str, counts: Mapping[str, int], lake: Lake) -> Written:
    table = lake.catalog.load_table(dataset.table)
    staged = [each for each in table.metadata.snapshots if each.summary and each.summary.get(ATTEMPT) == attempt]
    if not staged:
        raise StageLost(f"{dataset.table}: expected a staged snapshot with {ATTEMPT}={attempt}, found none.")
    files = added_files(table, staged[-1])
    written = sum(file.record_count for file in files)
    if written != counts["rows"]:
        # A retried task may be observed twice, and then no count that was observed can be believed.
        raise StageLost(
            f"{dataset.table}: {counts['rows']} rows were observed while writing, but the staged snapshot "
            f"{staged[-1].snapshot_id} holds {written}. Nothing was published; run the step again."
        )
    return Written(Staged(tuple(files), written, {}, staged[-1].snapshot_id), counts)
