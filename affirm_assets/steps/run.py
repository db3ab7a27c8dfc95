"""One step, from request to result."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Any

from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot
from pyspark.sql import DataFrame

from affirm_assets.dataset import Dataset
from affirm_assets.errors import AffirmError
from affirm_assets.partitions import Window
from affirm_assets.steps.audit import (
    Outcome,
    declared_outcome,
    null_outcome,
    observed_outcomes,
    outcomes_from_json,
    unique_outcome,
    value_rules,
)
from affirm_assets.steps.gaps import check_no_gap
from affirm_assets.steps.lake import Lake
from affirm_assets.steps.lineage import ColumnRef, lineage_of
from affirm_assets.steps.publish import AUDITS, STAGED_SNAPSHOT, find_published, publish
from affirm_assets.steps.read import Frames, snapshot_frame
from affirm_assets.steps.request import Request, Run, pin
from affirm_assets.steps.stage import NullInRequiredColumn, Staged, conform, stage, window_filter
from affirm_assets.steps.tables import added_files, ensure_table, java_table, partition_positions

Lineage = Mapping[str, frozenset[ColumnRef]]
"""The table columns that each column's values come from; empty for a step that was already published."""


@dataclass(frozen=True)
class Result:
    """What a step published. `rows` by partition (first day; None: unpartitioned), zeros included; sizes in bytes."""

    request: Request
    snapshot: int
    staged_snapshot: int
    already_published: bool
    rows: Mapping[date | None, int]
    total_rows: int
    added_files: int
    added_bytes: int
    partitions_touched: int
    location: str
    outcomes: tuple[Outcome, ...]
    lineage: Lineage = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)


class AuditsFailed(AffirmError):
    """One blocking audit or more failed: readers see what they saw before."""

    def __init__(
        self,
        dataset: Dataset,
        request: Request,
        outcomes: tuple[Outcome, ...],
        staged_snapshot: int | None,
        table: str,
    ) -> None:
        self.outcomes = outcomes
        self.staged_snapshot = staged_snapshot
        failed = "\n  - ".join(
            f"{each.name}: {each.failed} of {each.checked} failed ({each.description})"
            + (f"; such as {list(map(dict, each.sample[:3]))}" if each.sample else "")
            for each in outcomes
            if each.blocking and not each.passed
        )
        kept = (
            f"The staged rows are kept: SELECT * FROM {table} VERSION AS OF {staged_snapshot} "
            f"WHERE {window_filter(dataset, request.window)}"
            if staged_snapshot
            else "Nothing was staged, since such rows cannot be written at all."
        )
        super().__init__(
            f"{dataset} {request.window_text}: nothing was published, blocking audits failed:\n  - {failed}\n{kept}"
        )


def run_step(
    dataset: Dataset,
    upstream: Mapping[str, Dataset],
    window: Window | None,
    run: Run,
    code_version: str,
    lake: Lake,
    clock: Callable[[], float] = time.monotonic,
) -> Result:
    """Pin, read, transform, stage, audit, publish and report. On AffirmError readers see what they saw before."""
    timer = _Timer(clock)
    with timer.part("pin"):
        table = ensure_table(lake.catalog, dataset)
        request = pin(dataset, upstream, window, run, code_version, lake)
    if published := find_published(dataset, request, table):
        return _result(dataset, request, published, None, lake, timer.seconds)
    check_no_gap(dataset, upstream, window, table, lake)
    frames = Frames(dataset, upstream, request, lake)
    try:
        staged, outcomes, lineage = _stage_and_audit(dataset, request, frames, lake, timer)
    finally:
        frames.release()
    if any(each.blocking and not each.passed for each in outcomes):
        raise AuditsFailed(dataset, request, outcomes, staged.snapshot, lake.table_name(dataset.table))
    with timer.part("publish"):
        snapshot = publish(dataset, request, staged, outcomes, lake)
    return replace(_result(dataset, request, snapshot, staged, lake, timer.seconds), lineage=lineage)


def _stage_and_audit(
    dataset: Dataset, request: Request, frames: Frames, lake: Lake, timer: "_Timer"
) -> tuple[Staged, tuple[Outcome, ...], Lineage]:
    with timer.part("transform"):
        rows = conform(dataset, frames.call(dataset.function), lake.spark)
        lineage = _lineage(rows)
    rules = value_rules(dataset, request.window)
    try:
        with timer.part("stage"):
            staged = stage(dataset, request, rows, rules, lake)
    except NullInRequiredColumn:
        raise AuditsFailed(dataset, request, (null_outcome(dataset, rows),), None, dataset.table) from None
    with timer.part("audit"):
        frame = snapshot_frame(lake, dataset, staged.snapshot).where(window_filter(dataset, request.window))
        outcomes = observed_outcomes(dataset, rules, staged.counts, frame)
        outcomes.append(unique_outcome(dataset, frame, staged.counts["rows"]))
        outcomes += [declared_outcome(each, frames, frame) for each in dataset.audits]
    return staged, tuple(outcomes), lineage


def _lineage(rows: DataFrame) -> Lineage:
    """Lineage is a report: a plan that it cannot read must not keep rows from being published."""
    try:
        return lineage_of(rows)
    except (LookupError, TypeError, ValueError, AttributeError):
        return {}


def _result(
    dataset: Dataset,
    request: Request,
    snapshot: Snapshot,
    staged: Staged | None,
    lake: Lake,
    seconds: Mapping[str, float],
) -> Result:
    """`staged` is None where an earlier try had published the work already."""
    recorded = snapshot.summary
    assert recorded is not None
    table = lake.catalog.load_table(dataset.table)
    if staged is not None and recorded[STAGED_SNAPSHOT] == str(staged.snapshot):
        files: Iterable[Any] = staged.files
    else:
        files = added_files(lake, java_table(lake, dataset.table), snapshot.snapshot_id)
    return Result(
        request=request,
        snapshot=snapshot.snapshot_id,
        staged_snapshot=int(recorded[STAGED_SNAPSHOT] or 0),
        already_published=staged is None,
        rows=_rows_by_partition(dataset, request.window, files, table, lake),
        total_rows=int(recorded["total-records"] or 0),
        added_files=int(recorded.get("added-data-files") or 0),
        added_bytes=int(recorded.get("added-files-size") or 0),
        partitions_touched=int(recorded.get("changed-partition-count") or 0),
        location=table.location(),
        outcomes=outcomes_from_json(recorded[AUDITS] or "[]"),
        seconds=dict(seconds),
    )


def _rows_by_partition(
    dataset: Dataset, window: Window | None, files: Iterable[Any], table: Table, lake: Lake
) -> Mapping[date | None, int]:
    if window is None or dataset.partitions is None:
        return {None: sum(file.recordCount() for file in files)}
    rows: dict[date | None, int] = dict.fromkeys(dataset.partitions.starts(window), 0)
    spark: Any = lake.spark
    epoch_day = spark._jvm.java.lang.Class.forName("java.lang.Integer")
    position = partition_positions(table, dataset.partitions.column)
    for file in files:
        day = file.partition().get(position[file.specId()], epoch_day)
        rows[date(1970, 1, 1) + timedelta(days=day)] += file.recordCount()
    return rows


class _Timer:
    """Seconds of each part of the step."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.seconds: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        start = self._clock()
        try:
            yield
        finally:
            self.seconds[name] = self._clock() - start
