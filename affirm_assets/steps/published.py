"""What of a table is published, known for ever: a record in its properties that each publish moves in its own commit.

Snapshots cannot say it: others expire them, and compact the files that they added.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any

from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.partitions import Partitions, Window
from affirm_assets.errors import RecordRefused
from affirm_assets.steps.folders import Folder, Folders
from affirm_assets.steps.tables import (
    SUMMARY,
    WHOLE_TABLE,
    is_compaction,
    main_history,
    main_snapshot,
    table_id,
    window_of,
)

PUBLISHED_PROPERTY = f"{SUMMARY}published"
"""The table property with the windows that were published: `2025-01-01...2025-06-29, 2025-07-02`, or `all`.

Also in the summary of each publish, as it was with it, where it is short."""

PASSED = f"{SUMMARY}passed"
"""The table property with the days whose last publish a person has let pass, although an audit refused the day:
`2025-01-03 2025-01-07`."""

PARTIAL = f"{SUMMARY}partial"
"""The table property with the months, by their first days, that were published before all of their days were:
`2025-03-01`."""

RECENT = f"{SUMMARY}recent"
"""The table property with the last publishes, newest first, as JSON."""

_WEEKS_KEPT = timedelta(weeks=5)
_PUBLISHES_KEPT = 64
_BYTES_KEPT = 32 * 1024
"""Of `RECENT`: every commit to the table writes its properties again."""

_LONGEST_IN_SUMMARY = 300
"""Characters. Each later commit writes a snapshot's summary again, so it does not hold a record with many holes."""


@dataclass(frozen=True)
class Publication:
    """One publish: the work (a digest of the request's wap_id), its snapshot, and the rows in the table after it.

    `code_version`: of the dataset's code that computed it.

    `read`: the version of each other table, by name, when it was pinned. What is published there later was not read.
    `again`: partitions of the window were published before, so that others may have read them as they were.
    """

    run_id: str
    window: str
    work: str
    snapshot: int
    sequence_number: int
    published_at: datetime
    total_rows: int
    read: Mapping[str, str]
    again: bool
    code_version: str


@dataclass(frozen=True)
class Record:
    """The windows that were published, in order and never adjacent, and the last publishes, newest first.

    `whole`: a table without partitions was published. `folders`: of a dataset that reads feeds, the last that was read
    of each day. `table_id`: of the table; one that was dropped and made again has another. `passed`: the days whose
    last publish a person has let pass. `partial`: months, by their first days, that were published last before all of
    their days were.
    """

    windows: tuple[Window, ...] = ()
    recent: tuple[Publication, ...] = ()
    whole: bool = False
    folders: Folders = field(default_factory=Folders)
    table_id: str = ""
    passed: frozenset[date] = frozenset()
    partial: frozenset[date] = frozenset()

    def covers(self, day: date) -> bool:
        return any(each.contains(day) for each in self.windows)

    def missing(self, window: Window, partitions: Partitions) -> list[Window]:
        """What of the window is not published, in order. Both ends of it are starts of partitions."""
        gaps, start = [], window.first
        for each in self.windows:
            if each.last < start:
                continue
            if each.first > window.last:
                break
            if each.first > start:
                gaps.append(Window(start, partitions.before(each, 1).last))
            start = partitions.after(each, 1).first
        return [*gaps, Window(start, window.last)] if start <= window.last else gaps

    def has_any_of(self, window: Window | None) -> bool:
        return self.whole if window is None else any(each.overlaps(window) for each in self.windows)

    def newest(self, days: Window | None) -> int:
        """The sequence number of the last publish of any of these days, or of all; 0: none is remembered."""
        of_days = (
            each
            for each in self.recent
            if days is None or each.window == WHOLE_TABLE or Window.parse(each.window).overlaps(days)
        )
        return max((each.sequence_number for each in of_days), default=0)

    def with_window(self, window: Window | None, partitions: Partitions | None) -> "Record":
        if window is None or partitions is None:
            return replace(self, whole=True)
        return replace(self, windows=joined((*self.windows, window), partitions))

    def with_publication(self, new: Publication) -> "Record":
        return replace(self, recent=_kept((new, *self.recent)))

    def with_passed(self, window: Window | None, days: Iterable[date]) -> "Record":
        """Of the window's days, these were let pass; of the others it is as before."""
        return replace(self, passed=_replaced(self.passed, window, days))

    def with_partial(self, window: Window | None, months: Iterable[date]) -> "Record":
        """Of the window's months, these were published before all of their days were; others are as before."""
        return replace(self, partial=_replaced(self.partial, window, months))

    def with_folders(self, read: Mapping[tuple[str, date], Folder]) -> "Record":
        return replace(self, folders=self.folders.with_read(read))

    @property
    def text(self) -> str:
        return WHOLE_TABLE if self.whole else ", ".join(map(str, self.windows))

    def properties(self) -> Mapping[str, str]:
        """As table properties."""
        return {
            PUBLISHED_PROPERTY: self.text,
            RECENT: _recent_to_json(self.recent),
            PASSED: _days_to_text(self.passed),
            PARTIAL: _days_to_text(self.partial),
            **self.folders.months,
        }

    def summary(self) -> Mapping[str, str]:
        """As part of a snapshot's summary."""
        return {PUBLISHED_PROPERTY: self.text} if len(self.text) <= _LONGEST_IN_SUMMARY else {}


def record_of(dataset: Dataset, table: Table) -> Record:
    """The record as of the table's load. Raises RecordRefused where it and the table's snapshots contradict."""
    text, history = table.properties.get(PUBLISHED_PROPERTY), list(main_history(table))
    if text is None:
        if RECENT in table.properties or any(window_of(each) for each in history):
            found = f"no property {PUBLISHED_PROPERTY}, although snapshots of this platform are in the table"
            raise RecordRefused(dataset.table, found, "", _how_to_repair(dataset, table, history))
        return Record()
    try:
        record = _parse(text, table.properties.get(RECENT, "[]"), dataset.partitions)
        passed, partial = (_days_from_text(table.properties.get(name, "")) for name in (PASSED, PARTIAL))
        record = replace(
            record, folders=Folders.of(table.properties), table_id=table_id(table), passed=passed, partial=partial
        )
    except (ValueError, KeyError, TypeError) as error:
        found = f"properties {PUBLISHED_PROPERTY} and {RECENT} that cannot be read ({error})"
        raise RecordRefused(dataset.table, found, "", _how_to_repair(dataset, table, history)) from error
    if lost := _not_on_main(record.recent, history):
        raise _taken_back(dataset, table, history, lost)
    if back := _went_back_to(record.recent, history):
        raise _went_back(dataset, table, history, record.recent[0], back)
    return record


def records_of(datasets: Mapping[str, Dataset], tables: Mapping[str, Table]) -> Mapping[str, Record]:
    """By the dataset's name; of one that has no table, an empty record. `tables`: by their own names."""
    return {
        name: record_of(each, tables[each.table]) if each.table in tables else Record()
        for name, each in datasets.items()
    }


def windows_in(text: str) -> list[Window]:
    """Those of a text as in PUBLISHED_PROPERTY, which is not `all`. Raises ValueError."""
    return [Window.parse(each.strip()) for each in text.split(",") if each.strip()]


def last_published(dataset: Dataset, table: Table, window: Window | None) -> date | None:
    """The last date after the window for which the dataset is published, as of the table's load."""
    if window is None:
        return None
    ends = [each.last for each in record_of(dataset, table).windows]
    return max((last for last in ends if last > window.last), default=None)


def last_change(dataset: Dataset, table: Table | None) -> int | None:
    """The snapshot that last changed rows, as far as is known; what others compacted since holds the same rows."""
    if table is None:
        return None
    for snapshot in main_history(table):
        if not is_compaction(snapshot):
            return snapshot.snapshot_id
    recent = record_of(dataset, table).recent
    return recent[0].snapshot if recent else main_snapshot(table)


def work_digest(wap_id: str) -> str:
    return hashlib.sha256(wap_id.encode()).hexdigest()[:16]


def _not_on_main(recent: Sequence[Publication], history: Sequence[Snapshot]) -> list[Publication]:
    """Those of which it is certain. Of what lies before the parent of the oldest snapshot left, nothing can be said.

    That parent is known by its id alone. Where it is a publication, all that came after it is on main, or is lost.
    """
    if not history:
        return list(recent)
    oldest, left = history[-1], {each.snapshot_id for each in history}
    parents = [each.sequence_number + 1 for each in recent if each.snapshot == oldest.parent_snapshot_id]
    first = min([oldest.sequence_number or 0, *parents])
    return [each for each in recent if each.sequence_number >= first and each.snapshot not in left]


def _went_back_to(recent: Sequence[Publication], history: Sequence[Snapshot]) -> Publication | None:
    """The publication that main seems to have been taken back to before all but compactions expired.

    Compactions change no rows, so main must still have as many as after the newest. If it has another number, others
    may have deleted rows, which is allowed; but not if it is exactly that of an earlier publication.
    """
    if not recent or history[-1].parent_snapshot_id == recent[0].snapshot:
        return None
    ours = {each.snapshot for each in recent}
    if any(each.snapshot_id in ours or not is_compaction(each) for each in history):
        return None
    rows = _rows(history[0])
    if rows == recent[0].total_rows:
        return None
    return next((each for each in recent if each.total_rows == rows), None)


def _rows(snapshot: Snapshot) -> int | None:
    found = snapshot.summary.get("total-records") if snapshot.summary else None
    return None if found is None else int(found)


def _taken_back(
    dataset: Dataset, table: Table, history: Sequence[Snapshot], lost: Sequence[Publication]
) -> RecordRefused:
    newest = lost[0]
    windows = ", ".join(dict.fromkeys(each.window for each in lost))
    main = f"main at snapshot {history[0].snapshot_id}" if history else "main without any snapshot"
    found = (
        f"{main}, which does not descend from snapshot {newest.snapshot}, with which run {newest.run_id} published "
        f"{newest.window}: somebody took main back, and what was published of {windows} is no longer on it"
    )
    return RecordRefused(
        dataset.table, found, _forward(dataset, table, newest), _how_to_repair(dataset, table, history)
    )


def _went_back(
    dataset: Dataset, table: Table, history: Sequence[Snapshot], newest: Publication, back: Publication
) -> RecordRefused:
    found = (
        f"main at snapshot {history[0].snapshot_id} with {back.total_rows} rows and nothing but compactions, which "
        f"change no rows, left of its history, where run {newest.run_id} published {newest.window} with "
        f"{newest.total_rows} rows in the table after it: {back.total_rows} is what it held after run {back.run_id} "
        f"had published {back.window}, so somebody took main back to there"
    )
    return RecordRefused(
        dataset.table, found, _forward(dataset, table, newest), _how_to_repair(dataset, table, history)
    )


def _forward(dataset: Dataset, table: Table, newest: Publication) -> str:
    """How somebody brings a publication back to main, where its snapshot is still in the table."""
    if not table.snapshot_by_id(newest.snapshot):
        return ""
    return (
        f"To bring it back: CALL <catalog>.system.set_current_snapshot('{dataset.table}', {newest.snapshot}). "
        "Otherwise, to go on from what main holds now: "
    )


def _how_to_repair(dataset: Dataset, table: Table, history: Sequence[Snapshot]) -> str:
    """How somebody says what is published, in Spark SQL."""
    text = _last_said(dataset, history)
    said = f"'{text}'" if text else "'<what is published, such as 2025-01-01...2025-06-29>'"
    unsure = "" if text else " (or unset it too, if nothing is)"
    # What was read of folders may be what was taken back: then they are read again.
    unset = ", ".join(f"'{name}'" for name in (RECENT, *sorted(Folders.of(table.properties).months)))
    return (
        f"ALTER TABLE <catalog>.{dataset.table} SET TBLPROPERTIES ('{PUBLISHED_PROPERTY}' = {said}){unsure} and "
        f"ALTER TABLE <catalog>.{dataset.table} UNSET TBLPROPERTIES IF EXISTS ({unset}), then run again the steps "
        "of the days that are missing"
    )


def _last_said(dataset: Dataset, history: Sequence[Snapshot]) -> str:
    """What the snapshots that are left on main say was published; empty: nothing."""
    for snapshot in history:
        if snapshot.summary and (said := snapshot.summary.get(PUBLISHED_PROPERTY)):
            return str(said)
    windows = [text for each in history if (text := window_of(each))]
    if dataset.partitions is None or WHOLE_TABLE in windows:
        return WHOLE_TABLE if windows else ""
    return ", ".join(map(str, joined(map(Window.parse, windows), dataset.partitions)))


@lru_cache(64)  # a step asks for the record of each table that it reads again and again
def _parse(text: str, recent: str, partitions: Partitions | None) -> Record:
    publications = tuple(_publication(**each) for each in json.loads(recent))
    if partitions is None:
        if text.strip() != WHOLE_TABLE:
            raise ValueError(f"expected {WHOLE_TABLE!r} for a dataset without partitions, found {text!r}")
        return Record(recent=publications, whole=True)
    return Record(joined(windows_in(text), partitions), publications)


def joined(windows: Iterable[Window], partitions: Partitions) -> tuple[Window, ...]:
    """In order, as few windows as hold the same partitions."""
    joined: list[Window] = []
    for each in sorted(windows, key=lambda window: window.first):
        if joined and partitions.before(each, 1).last <= joined[-1].last:
            joined[-1] = Window(joined[-1].first, max(joined[-1].last, each.last))
        else:
            joined.append(each)
    return tuple(joined)


def _replaced(days: frozenset[date], window: Window | None, by: Iterable[date]) -> frozenset[date]:
    """Those of the window are others now."""
    return frozenset((*(day for day in days if window is not None and not window.contains(day)), *by))


def _days_to_text(days: Iterable[date]) -> str:
    return " ".join(map(str, sorted(days)))


def _days_from_text(text: str) -> frozenset[date]:
    return frozenset(map(date.fromisoformat, text.split()))


def _kept(publications: tuple[Publication, ...]) -> tuple[Publication, ...]:
    """The newest always; of the others those of the last weeks, and those that replaced partitions, while they are few.

    Whoever has read what was replaced must be computed again, however late somebody mends what keeps it from that.
    """
    newest, *others = publications
    since = newest.published_at - _WEEKS_KEPT
    new = [newest, *(each for each in others if each.published_at >= since and not each.again)][:_PUBLISHES_KEPT]
    kept = [each for each in publications if each in new or each.again]
    while len(kept) > 1 and len(_recent_to_json(kept)) > _BYTES_KEPT:
        first_published = [each for each in kept[1:] if not each.again]
        kept.remove((first_published or kept)[-1])
    return tuple(kept)


def _recent_to_json(publications: Sequence[Publication]) -> str:
    def as_json(publication: Publication) -> dict[str, Any]:
        at = publication.published_at.astimezone(UTC).isoformat(timespec="seconds")
        return {**vars(publication), "published_at": at}  # asdict() copies each value, and takes ten times as long

    return json.dumps([as_json(each) for each in publications], separators=(",", ":"))


def _publication(**values: Any) -> Publication:
    return Publication(**{**values, "published_at": datetime.fromisoformat(values["published_at"])})
