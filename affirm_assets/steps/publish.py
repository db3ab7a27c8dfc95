"""Put a staged, audited write on `main`: atomically, once, and only if nobody changed what it read or replaces."""

from collections.abc import Iterable
from typing import Any

from py4j.protocol import Py4JJavaError
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Operation, Snapshot, Summary

from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.inputs import History, Later, Previous
from affirm_assets.declare.partitions import Window
from affirm_assets.errors import PublishConflict
from affirm_assets.steps.audit import Outcome, outcomes_to_json
from affirm_assets.steps.lake import Lake
from affirm_assets.steps.request import Request
from affirm_assets.steps.stage import Staged, summary
from affirm_assets.steps.tables import SUMMARY, WHOLE_TABLE, WINDOW, main_history

PUBLISHED_WAP_ID = "published-wap-id"  # Iceberg's own name for it
AUDITS = f"{SUMMARY}audits"
STAGED_SNAPSHOT = f"{SUMMARY}staged-snapshot"


def find_published(dataset: Dataset, request: Request, table: Table) -> Snapshot | None:
    """The snapshot with which an earlier try of this very work was published, if one was and none has overtaken it."""
    concerned = _read_or_replaced(dataset, request.window)
    for snapshot in main_history(table):
        recorded = snapshot.summary
        if recorded is None or recorded.operation == Operation.REPLACE:  # compaction: the same rows in other files
            continue
        if recorded.get(PUBLISHED_WAP_ID) == request.wap_id:
            return snapshot
        if _concerns(recorded, concerned):
            return None
    return None


def _concerns(recorded: Summary, window: Window | None) -> bool:
    """Whether a publication changed something of the window; one that does not say what it changed may have."""
    changed = recorded.get(WINDOW)
    return window is None or changed in (None, WHOLE_TABLE) or Window.parse(str(changed)).overlaps(window)


def _check_not_overtaken(dataset: Dataset, request: Request, table: Table) -> None:
    """Iceberg notices files that came or went, but not an empty result that was published over an empty one."""
    concerned = _read_or_replaced(dataset, request.window)
    for snapshot in main_history(table):
        if snapshot.snapshot_id == request.base:
            return
        recorded = snapshot.summary
        if recorded and recorded.operation != Operation.REPLACE and _concerns(recorded, concerned):
            cause = f"snapshot {snapshot.snapshot_id} of run {recorded.get(f'{SUMMARY}run-id')}"
            raise PublishConflict(dataset.table, request.window_text, request.base, cause)


def publish(dataset: Dataset, request: Request, staged: Staged, outcomes: Iterable[Outcome], lake: Lake) -> Snapshot:
    """Replace the window's files on `main` by the staged ones in one commit; returns its snapshot.

    The commit (Iceberg's OverwriteFiles with the window as row filter) also clears the partitions that got no rows, and
    lets other windows of the table be published at the same time. Raises PublishConflict if, since the request was
    pinned, somebody changed the window or the earlier partitions of this table that the step read.
    """
    present = lake.catalog.load_table(dataset.table)
    if published := find_published(dataset, request, present):
        return published
    _check_not_overtaken(dataset, request, present)
    spark: Any = lake.spark
    expressions = spark._jvm.org.apache.iceberg.expressions.Expressions
    window = _java_filter(expressions, dataset, request.window)
    overwrite = (
        staged.table.newOverwrite()
        .overwriteByRowFilter(window)
        .conflictDetectionFilter(_java_filter(expressions, dataset, _read_or_replaced(dataset, request.window)))
        .validateNoConflictingData()
        .validateNoConflictingDeletes()
    )
    if request.base is not None:
        overwrite = overwrite.validateFromSnapshot(request.base)
    for file in staged.files:
        overwrite.addFile(file)
    if staged.files:
        overwrite.validateAddedFilesMatchOverwriteFilter()
    properties = {
        **summary(request),
        PUBLISHED_WAP_ID: request.wap_id,
        STAGED_SNAPSHOT: str(staged.snapshot),
        AUDITS: outcomes_to_json(outcomes),
    }
    for name, value in properties.items():
        overwrite.set(name, value)
    try:
        overwrite.commit()
    except Py4JJavaError as error:
        cause = error.java_exception
        if cause.getClass().getSimpleName() != "ValidationException":
            raise
        if published := find_published(dataset, request, lake.catalog.load_table(dataset.table)):
            return published
        raise PublishConflict(dataset.table, request.window_text, request.base, cause.getMessage()) from error
    return _committed(dataset, request, staged, lake)


def _committed(dataset: Dataset, request: Request, staged: Staged, lake: Lake) -> Snapshot:
    """The snapshot of the commit just made, which another one may have overtaken already."""
    ours = request.wap_id, str(staged.snapshot)
    for snapshot in lake.catalog.load_table(dataset.table).metadata.snapshots:
        recorded = snapshot.summary
        if recorded and (recorded.get(PUBLISHED_WAP_ID), recorded.get(STAGED_SNAPSHOT)) == ours:
            return snapshot
    raise AssertionError(f"{dataset.table}: the commit succeeded, but its snapshot is not in the table")


def _read_or_replaced(dataset: Dataset, window: Window | None) -> Window | None:
    """The window and the partitions of the dataset itself that were read to compute it."""
    if window is None or dataset.partitions is None:
        return None
    first, last = window.first, window.last
    for mapped in dataset.leaves.values():
        if isinstance(mapped, Previous | History | Later) and mapped.dataset == dataset.name:
            read = dataset.read_days(mapped, dataset.partitions, window)
            assert read is not None
            first, last = min(first, read.first), max(last, read.last)
    return Window(first, last)


def _java_filter(expressions: Any, dataset: Dataset, window: Window | None) -> Any:
    if window is None or dataset.partitions is None:
        return expressions.alwaysTrue()
    column = dataset.partitions.column
    first = expressions.greaterThanOrEqual(column, str(window.first))
    last = expressions.lessThanOrEqual(column, str(window.last))
    return getattr(expressions, "and")(first, last)
