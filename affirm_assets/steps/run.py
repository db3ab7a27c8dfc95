"""One step, from request to result."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime

from pyiceberg.table import Table
from pyspark.sql import DataFrame, SparkSession

from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.partitions import Window
from affirm_assets.errors import AffirmError
from affirm_assets.steps.audit import (
    Outcome,
    declared_outcome,
    null_outcome,
    observed_outcomes,
    unique_outcome,
    value_rules,
)
from affirm_assets.steps.engine import Staged
from affirm_assets.steps.gaps import check_inputs_published, check_no_gap
from affirm_assets.steps.lake import Lake, Storage
from affirm_assets.steps.lineage import ColumnRef, lineage_of
from affirm_assets.steps.publish import Report, find_published, publish, read_report, report_of
from affirm_assets.steps.published import Publication
from affirm_assets.steps.read import Frames, snapshot_frame
from affirm_assets.steps.request import Request, Run, pin
from affirm_assets.steps.scan import ScanSize, scan_size
from affirm_assets.steps.stage import NullInRequiredColumn, conform, stage, window_filter
from affirm_assets.steps.tables import ensure_table

Lineage = Mapping[str, frozenset[ColumnRef]]
"""The table columns that each column's values come from; empty for a step that was already published."""


@dataclass(frozen=True)
class Result:
    """What a step published. `rows` by partition (first day; None: unpartitioned), zeros included; sizes in bytes."""

    request: Request
    snapshot: int
    rows: Mapping[date | None, int]
    total_rows: int
    added_files: int
    added_bytes: int
    partitions_touched: int
    location: str
    outcomes: tuple[Outcome, ...]
    already_published: bool = False
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
    storage: Storage,
    open_spark: Callable[[ScanSize], SparkSession],
    clock: Callable[[], float] = time.monotonic,
) -> Result:
    """Pin, read, transform, stage, audit, publish and report. On AffirmError readers see what they saw before.

    `open_spark` is asked for a session of this step's own once it is known how much there is to read; not at all if an
    earlier try has published already, or if the window is refused.
    """
    timer = _Timer(clock)
    with timer.part("pin"):
        table = ensure_table(storage.catalog, dataset)
        pinned = pin(dataset, upstream, window, run, code_version, storage, table)
        request = pinned.request
    if earlier := find_published(dataset, request, table):
        return _result(request, earlier, read_report(table, earlier), table, timer.seconds, True)
    check_no_gap(dataset, upstream, pinned)
    check_inputs_published(dataset, upstream, pinned)
    with timer.part("measure"):
        scan = scan_size(dataset, upstream, request, table, storage)
    with timer.part("session"):
        lake = storage.with_spark(open_spark(scan))
    frames = Frames(dataset, upstream, request, lake)
    try:
        staged, outcomes, lineage = _stage_and_audit(dataset, request, frames, lake, timer)
    finally:
        frames.release()
    if any(each.blocking and not each.passed for each in outcomes):
        raise AuditsFailed(dataset, request, outcomes, staged.snapshot, lake.table_name(dataset.table))
    with timer.part("publish"):
        publication = publish(dataset, request, staged, outcomes, lake, datetime.now(UTC))
    report = report_of(dataset, request, staged, outcomes, table)
    return replace(_result(request, publication, report, table, timer.seconds), lineage=lineage)


def _stage_and_audit(
    dataset: Dataset, request: Request, frames: Frames, lake: Lake, timer: "_Timer"
) -> tuple[Staged, tuple[Outcome, ...], Lineage]:
    with timer.part("transform"):
        rows = conform(dataset, frames.call(dataset.function), lake.spark)
        lineage = _lineage(rows)
    rules = value_rules(dataset, request.window)
    try:
        with timer.part("stage"):
            written = stage(dataset, request, rows, rules, lake)
    except NullInRequiredColumn:
        raise AuditsFailed(dataset, request, (null_outcome(dataset, rows),), None, dataset.table) from None
    with timer.part("audit"):
        frame = snapshot_frame(lake, dataset, written.staged.snapshot or 0).where(
            window_filter(dataset, request.window)
        )
        outcomes = observed_outcomes(dataset, rules, written.counts, frame)
        outcomes.append(unique_outcome(dataset, frame, written.counts["rows"]))
        outcomes += [declared_outcome(each, frames, frame) for each in dataset.audits]
    return written.staged, tuple(outcomes), lineage


def _lineage(rows: DataFrame) -> Lineage:
    """Lineage is a report: a plan that it cannot read must not keep rows from being published."""
    try:
        return lineage_of(rows)
    except (LookupError, TypeError, ValueError, AttributeError):
        return {}


def _result(
    request: Request,
    publication: Publication,
    report: Report | None,
    table: Table,
    seconds: Mapping[str, float],
    already_published: bool = False,
) -> Result:
    return Result(
        request=request,
        snapshot=publication.snapshot,
        rows=report.rows if report else {},
        total_rows=publication.total_rows,
        added_files=report.files if report else 0,
        added_bytes=report.bytes if report else 0,
        partitions_touched=sum(1 for rows in report.rows.values() if rows) if report else 0,
        location=table.location(),
        outcomes=report.outcomes if report else (),
        already_published=already_published,
        seconds=dict(seconds),
    )


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
