"""Put staged, audited files on `main`: atomically, once, and only if nobody changed what the step read or replaces.

One commit replaces the window's files, moves the record of what is published and removes what an engine staged. Each
try looks at the table anew and commits only on the head that it looked at: PyIceberg's own retries do not.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from itertools import count
from typing import Any

from pyiceberg.conversions import from_bytes
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.manifest import DataFile, DataFileContent, ManifestContent, ManifestFile
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.table.update import (
    AddSnapshotUpdate,
    RemoveSnapshotsUpdate,
    SetPropertiesUpdate,
    TableRequirement,
    TableUpdate,
)
from pyiceberg.types import DateType

from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.inputs import Landing
from affirm_assets.declare.partitions import Monthly, Window
from affirm_assets.errors import PublishConflict, StageLost, TableNotStageable
from affirm_assets.steps.audit import Outcome, outcomes_from_json, outcomes_to_json
from affirm_assets.steps.closed import DECIDE, check_open, close_tag
from affirm_assets.steps.engine import Staged
from affirm_assets.steps.manifests import (
    NOTHING,
    VERSIONS,
    NewSnapshot,
    Replaced,
    delete_files,
    read_manifests,
)
from affirm_assets.steps.published import Publication, Record, record_of, work_digest
from affirm_assets.steps.request import Request
from affirm_assets.steps.storage import Storage
from affirm_assets.steps.tables import (
    RUN_ID,
    SUMMARY,
    WHOLE_TABLE,
    WINDOW_KEY,
    days_held,
    epoch_day,
    is_by_others,
    main_history,
    partition_day,
    partition_positions,
    table_id,
    window_of,
)
from affirm_assets.steps.together import as_loaded, set_main, wait_a_little

PUBLISHED_WAP_ID = "published-wap-id"  # Iceberg's own name for it
REPORT = f"{SUMMARY}report"
"""In a snapshot's summary: the file with the request and the audits' outcomes, which the summary is too small for."""

_TRIES = 100
"""Each one that fails is another writer's success."""


@dataclass(frozen=True)
class Report:
    """What is kept of a publish in a file beside the table's metadata. `rows` by partition, zeros included."""

    request: Request
    outcomes: tuple[Outcome, ...]
    rows: Mapping[date | None, int]
    files: int
    bytes: int

    def to_json(self) -> str:
        rows = [[None if day is None else str(day), count] for day, count in self.rows.items()]
        return json.dumps(
            {
                "request": json.loads(self.request.to_json()),
                "audits": json.loads(outcomes_to_json(self.outcomes)),
                "rows": rows,
                "files": self.files,
                "bytes": self.bytes,
            }
        )

    @staticmethod
    def from_json(text: str) -> "Report":
        value: dict[str, Any] = json.loads(text)
        return Report(
            request=Request.from_json(json.dumps(value["request"])),
            outcomes=outcomes_from_json(json.dumps(value["audits"])),
            rows={None if day is None else date.fromisoformat(day): count for day, count in value["rows"]},
            files=value["files"],
            bytes=value["bytes"],
        )


def find_published(dataset: Dataset, request: Request, table: Table) -> Publication | None:
    """With which an earlier try of this very work was published, if one was and none has overtaken it.

    Raises RecordRefused.
    """
    concerned, work = _read_or_replaced(dataset, request.window), work_digest(request.wap_id)
    found: Publication | None = None
    for publication in record_of(dataset, table).recent:
        if publication.work == work:
            found = publication
            break
        if _concerns(publication.window, concerned):
            return None
    if found is None:
        return None
    later = (each for each in main_history(table) if (each.sequence_number or 0) > found.sequence_number)
    return None if any(is_by_others(each) for each in later) else found


def publish(
    dataset: Dataset,
    request: Request,
    staged: Staged,
    outcomes: Iterable[Outcome],
    storage: Storage,
    now: datetime,
    *,
    notes: Mapping[str, str] | None = None,
    passed: Iterable[date] = (),
    partial: Iterable[date] = (),
    wait: Callable[[int], None] = wait_a_little,
) -> Publication:
    """Replace the window's files on `main` by the staged ones in one commit, which also clears days without rows.

    Other windows of the table may be published at the same time. `notes` go to the snapshot's summary. `passed`: days
    of the window that a person has let pass; `partial`: months of it that are not over. `wait` is called with how many
    tries have failed. Raises PublishConflict
    if, since the request was pinned, somebody changed the window or the earlier partitions of this table that the step
    read; MonthClosed, RecordRefused, StageLost, TableNotStageable.
    """
    attempt = _Attempt(
        dataset, request, staged, tuple(outcomes), storage, now, dict(notes or {}), tuple(passed), tuple(partial)
    )
    try:
        for failed in range(_TRIES):
            if failed:
                wait(failed)
            if publication := attempt.once():
                return publication
        if publication := attempt.that_came_through(storage.catalog.load_table(dataset.table)):
            return publication
        cause = f"{_TRIES} other commits to this table, one just before each try to publish"
        raise PublishConflict(dataset.table, request.window_text, request.base, cause)
    except Exception:
        if not attempt.is_unknown:
            attempt.discard_report()
        raise


def keep_for_inspection(dataset: Dataset, request: Request, staged: Staged, storage: Storage) -> int:
    """The snapshot, on no branch, of the staged rows: what an audit refused can be looked at until it expires."""
    if staged.snapshot is not None:
        return staged.snapshot
    for failed in range(_TRIES):
        if failed:
            wait_a_little(failed)
        table = storage.catalog.load_table(dataset.table)
        new = NewSnapshot(table, table.metadata.new_snapshot_id(), parent=None)
        snapshot = new.write(staged.files, NOTHING, summary(request))
        try:
            _commit(table, (AddSnapshotUpdate(snapshot=snapshot),), ())
        except (CommitFailedException, ValueError):
            if not _is_in(storage, dataset, snapshot):
                new.discard()
                continue
        return snapshot.snapshot_id
    raise StageLost(f"{dataset.table}: the refused rows could not be kept: {_TRIES} other commits were faster.")


def report_of(dataset: Dataset, request: Request, staged: Staged, outcomes: Iterable[Outcome], table: Table) -> Report:
    return Report(
        request=request,
        outcomes=tuple(outcomes),
        rows=rows_by_partition(dataset, request.window, table, staged.files),
        files=len(staged.files),
        bytes=sum(each.file_size_in_bytes for each in staged.files),
    )


def read_report(table: Table, publication: Publication) -> Report | None:
    """None if the file is no longer there: others remove what the table's metadata does not name."""
    try:
        with table.io.new_input(_report_path(table, publication.snapshot)).open() as stream:
            return Report.from_json(stream.read().decode())
    except (OSError, ValueError, KeyError, TypeError):
        return None


def summary(request: Request) -> dict[str, str]:
    """What a snapshot says of how it came about."""
    return {
        f"{SUMMARY}dataset": request.dataset,
        WINDOW_KEY: request.window_text,
        RUN_ID: request.run.run_id,
        f"{SUMMARY}root-run-id": request.run.root_run_id,
        f"{SUMMARY}code-version": request.code_version,
    }


def rows_by_partition(
    dataset: Dataset, window: Window | None, table: Table, files: Sequence[DataFile]
) -> Mapping[date | None, int]:
    """By the partition's first day, with zeros; None: the dataset has no partitions."""
    if window is None or dataset.partitions is None:
        return {None: sum(each.record_count for each in files)}
    rows: dict[date | None, int] = dict.fromkeys(dataset.partitions.starts(window), 0)
    positions = partition_positions(table, dataset.partitions.column)
    for each in files:
        day = partition_day(each, positions[each.spec_id])
        if day not in rows:
            raise StageLost(f"{dataset.table}: expected staged files of {window}, found {each.file_path} of {day}.")
        rows[day] += each.record_count
    return rows


@dataclass
class _Attempt:
    """The tries of one publish. `is_unknown`: nobody knows whether the last one is in the table; its files stay."""

    dataset: Dataset
    request: Request
    staged: Staged
    outcomes: tuple[Outcome, ...]
    storage: Storage
    now: datetime
    notes: Mapping[str, str]
    passed: tuple[date, ...] = ()
    partial: tuple[date, ...] = ()
    is_unknown: bool = False
    _snapshot_id: int = 0  # of every try, so that one whose answer was lost is found
    _report: str = ""
    _failed: tuple[NewSnapshot, Publication] | None = None
    _table: Table = field(init=False)

    def once(self) -> Publication | None:
        """None: another commit came first."""
        self._table = table = self.storage.catalog.load_table(self.dataset.table)
        if publication := self.that_came_through(table):
            return publication
        if earlier := find_published(self.dataset, self.request, table):
            self.discard_report()
            return earlier
        record = record_of(self.dataset, table)
        check_open(self.dataset, self.request, table)
        _check_not_overtaken(self.dataset, self.request, table, record)
        _check_writable(self.dataset, table)
        _check_still_staged(self.dataset, self.staged, table)
        self._write_report(table)
        return self._commit_on(table, record)

    def that_came_through(self, table: Table) -> Publication | None:
        """The last try, if the table has it although it was said to have failed: an answer that was lost, say."""
        if self._failed is None:
            return None
        new, publication = self._failed
        if table.snapshot_by_id(publication.snapshot):
            return publication
        new.discard()
        self._failed = None
        return None

    def _commit_on(self, table: Table, record: Record) -> Publication | None:
        new = NewSnapshot(table, self._snapshot_id, parent=table.current_snapshot())
        snapshot, publication = self._write(new, record)
        moved = record.with_window(self.request.window, self.dataset.partitions).with_publication(publication)
        moved = moved.with_folders(self.request.folders).with_passed(self.request.window, self.passed)
        moved = moved.with_partial(self.request.window, self.partial)
        stage = table.snapshot_by_id(self._removable_stage(table) or 0)
        try:
            required = as_loaded(table, *self._close_tags(table), properties=DECIDE)
            _commit(table, self._updates(table, snapshot, moved), required)
        except (CommitFailedException, ValueError) as error:
            # PyIceberg says ValueError where a commit on no branch has taken the next sequence number.
            self._failed = new, publication
            if isinstance(error, ValueError) and not self._has_moved(table):
                new.discard()
                raise
            return None
        except NotImplementedError as error:  # of the catalog's library, before it sends or writes anything
            new.discard()
            raise TableNotStageable(f"{self.dataset.table}: nothing was published: {error}") from error
        except Exception:
            self.is_unknown = True
            if not _is_in(self.storage, self.dataset, snapshot):
                raise
        _forget(table, stage)
        return publication

    def _write(self, new: NewSnapshot, record: Record) -> tuple[Snapshot, Publication]:
        says = {
            **self.notes,
            **summary(self.request),
            PUBLISHED_WAP_ID: self.request.wap_id,
            REPORT: self._report,
            **record.with_window(self.request.window, self.dataset.partitions).summary(),
        }
        try:
            snapshot = new.write(self.staged.files, _replaced(self.dataset, self.request.window, new.table), says)
        except BaseException:
            new.discard()
            raise
        assert snapshot.sequence_number is not None
        assert snapshot.summary is not None
        publication = Publication(
            run_id=self.request.run.run_id,
            window=self.request.window_text,
            work=work_digest(self.request.wap_id),
            snapshot=snapshot.snapshot_id,
            sequence_number=snapshot.sequence_number,
            published_at=self.now.astimezone(UTC),
            total_rows=int(snapshot.summary.get("total-records") or 0),
            read=self.request.versions,
            again=record.has_any_of(self.request.window),
            code_version=self.request.code_version,
        )
        return snapshot, publication

    def _updates(self, table: Table, snapshot: Snapshot, record: Record) -> tuple[TableUpdate, ...]:
        updates: tuple[TableUpdate, ...] = (
            AddSnapshotUpdate(snapshot=snapshot),
            set_main(table, snapshot),
            SetPropertiesUpdate(updates=dict(record.properties())),
        )
        staged = self._removable_stage(table)
        removed: dict[str, Any] = {"snapshot-ids": [staged]}
        return updates if staged is None else (*updates, RemoveSnapshotsUpdate(**removed))

    def _close_tags(self, table: Table) -> list[str]:
        """Of each month of the window, the tag that its next close sets: the table does not have it yet.

        A catalog that compares no properties would let a publish pass after a close, or after a restatement's end.
        """
        partitions, window = self.dataset.partitions, self.request.window
        if partitions is None or window is None:
            return []
        months = Monthly("").starts(Monthly("").covering(partitions.days(window)))
        return [next(tag for n in count(1) if (tag := close_tag(month, n)) not in table.refs()) for month in months]

    def _removable_stage(self, table: Table) -> int | None:
        """Not one that somebody has put a branch or a tag on."""
        staged = self.staged.snapshot
        return None if any(each.snapshot_id == staged for each in table.metadata.refs.values()) else staged

    def _has_moved(self, table: Table) -> bool:
        return self.storage.catalog.load_table(self.dataset.table).metadata_location != table.metadata_location

    def _write_report(self, table: Table) -> None:
        if self._report:
            return
        report = report_of(self.dataset, self.request, self.staged, self.outcomes, table)
        self._snapshot_id = table.metadata.new_snapshot_id()
        self._report = _report_path(table, self._snapshot_id)
        with table.io.new_output(self._report).create() as stream:
            stream.write(report.to_json().encode())

    def discard_report(self) -> None:
        if self._report:
            delete_files(self._table.io, [self._report])


def _commit(table: Table, updates: tuple[TableUpdate, ...], requirements: tuple[TableRequirement, ...]) -> None:
    """One try: `commit.retry.*` is for PyIceberg's transactions, which would commit on a head that nobody looked at."""
    table._do_commit(updates, requirements)


def _forget(table: Table, stage: Snapshot | None) -> None:
    """Delete the metadata that only the staged snapshot named; the data files are those just published."""
    if stage is None:
        return
    try:
        manifests = read_manifests(table.io, stage)
    except (OSError, ValueError):
        return
    own = [each.manifest_path for each in manifests if each.added_snapshot_id == stage.snapshot_id]
    delete_files(table.io, [*own, stage.manifest_list])


def _is_in(storage: Storage, dataset: Dataset, snapshot: Snapshot) -> bool:
    return storage.catalog.load_table(dataset.table).snapshot_by_id(snapshot.snapshot_id) is not None


def _report_path(table: Table, snapshot: int) -> str:
    return table.location_provider().new_metadata_location(f"affirm-{snapshot}.json")


def _check_not_overtaken(dataset: Dataset, request: Request, table: Table, record: Record) -> None:
    """Raises PublishConflict: also for an empty result over an empty one, of which no file tells."""
    if request.table_id not in ("", table_id(table)):
        cause = f"another table {table_id(table)} in place of {request.table_id}: that was dropped, and this made anew"
        raise PublishConflict(dataset.table, request.window_text, request.base, cause)
    concerned = _read_or_replaced(dataset, request.window)
    for snapshot in main_history(table):
        if snapshot.snapshot_id == request.base:
            return
        changed = window_of(snapshot)
        if is_by_others(snapshot) or (changed is not None and _concerns(changed, concerned)):
            run_id = snapshot.summary.get(RUN_ID) if snapshot.summary else None
            cause = f"snapshot {snapshot.snapshot_id} of " + (f"run {run_id}" if run_id else "somebody else")
            raise PublishConflict(dataset.table, request.window_text, request.base, cause)
    if request.base is not None:
        cause = "that this snapshot is no longer in the history of main: others expired it, or took main back"
        raise PublishConflict(dataset.table, request.window_text, request.base, cause)
    # Since there was nothing, snapshots may have come and expired; the record stays.
    if record.has_any_of(concerned):
        cause = f"that {record.text} was published"
        raise PublishConflict(dataset.table, request.window_text, request.base, cause)


def _concerns(changed: str, window: Window | None) -> bool:
    return window is None or changed == WHOLE_TABLE or Window.parse(changed).overlaps(window)


def _check_writable(dataset: Dataset, table: Table) -> None:
    if table.metadata.format_version not in VERSIONS:
        raise TableNotStageable(
            f"{dataset.table}: expected Iceberg's format version {' or '.join(map(str, VERSIONS))}, found "
            f"{table.metadata.format_version}. Set the table property format-version to {max(VERSIONS)}."
        )


def _check_still_staged(dataset: Dataset, staged: Staged, table: Table) -> None:
    """Whoever expires a staged snapshot deletes its data files."""
    if staged.snapshot is not None and table.snapshot_by_id(staged.snapshot) is None:
        raise StageLost(
            f"{dataset.table}: expected the staged snapshot {staged.snapshot}, found that it is gone: somebody expired "
            "it, and its data files with it. Nothing was published; run the step again."
        )


def _read_or_replaced(dataset: Dataset, window: Window | None) -> Window | None:
    """The window and the partitions of the dataset itself that were read to compute it."""
    if window is None or dataset.partitions is None:
        return None
    first, last = window.first, window.last
    for mapped in dataset.leaves.values():
        if not isinstance(mapped, Landing) and mapped.dataset == dataset.name:
            read = dataset.read_days(mapped, dataset.partitions, window)
            assert read is not None
            first, last = min(first, read.first), max(last, read.last)
    return Window(first, last)


def _replaced(dataset: Dataset, window: Window | None, table: Table) -> Replaced:
    """The files of the window: data files, and the delete files that can only belong to these."""
    if window is None or dataset.partitions is None:
        return Replaced(manifests=lambda _: True, files=lambda _: True)
    column = dataset.partitions.column
    positions, field_id = partition_positions(table, column), table.schema().find_field(column).field_id

    def manifests(manifest: ManifestFile) -> bool:
        position = positions.get(manifest.partition_spec_id)
        if position is None:
            return manifest.content == ManifestContent.DATA
        held = days_held(manifest, position)
        return held is None or held.overlaps(window)

    def files(file: DataFile) -> bool:
        position = positions.get(file.spec_id)
        if position is not None:
            day = file.partition[position]
            return day is not None and window.contains(epoch_day(day))
        # Written when the table had no partition of the day. Deletes there that apply to what goes away stay: they
        # apply to nothing that is written later.
        return file.content == DataFileContent.DATA and _lies_within(file, field_id, dataset, window)

    return Replaced(manifests, files)


def _lies_within(file: DataFile, field_id: int, dataset: Dataset, window: Window) -> bool:
    """By the bounds of its column. Raises TableNotStageable for a file with rows inside and outside."""
    bounds = [(each or {}).get(field_id) for each in (file.lower_bounds, file.upper_bounds)]
    values: list[Any] = [from_bytes(DateType(), each) for each in bounds if each is not None]
    days = [epoch_day(each) for each in values]
    if len(days) == 2:
        held = Window(days[0], days[1])
        if not held.overlaps(window):
            return False
        if window.contains(held.first) and window.contains(held.last):
            return True
    found = f"rows of {days[0]}...{days[1]}" if len(days) == 2 else "rows of unknown days"
    column = dataset.partitions.column if dataset.partitions else ""
    raise TableNotStageable(
        f"{dataset.table}: nothing was published for {window}: expected data files that lie in its partitions, found "
        f"{file.file_path} with {found}, written when {column} was no partition field of the table. Rewrite such files "
        f"by the present partitions: CALL <catalog>.system.rewrite_data_files(table => '{dataset.table}', options => "
        "map('rewrite-all', 'true')), then run the step again."
    )
