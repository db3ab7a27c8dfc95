"""Tables as they were with a run, and what made each of their days: by snapshots and by the record of publishes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime

from pyiceberg.catalog import Catalog
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from affirm_assets.auditor.errors import RunUnknown, SnapshotExpired
from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.partitions import Window
from affirm_assets.steps.published import PUBLISHED_PROPERTY, Publication, record_of, windows_in
from affirm_assets.steps.run import ENGINE
from affirm_assets.steps.tables import (
    RUN_ID,
    SUMMARY,
    WHOLE_TABLE,
    is_by_others,
    load_if_exists,
    main_history,
    window_of,
)


@dataclass(frozen=True)
class TableThen:
    """A table at a snapshot of its main branch; None: nothing was published yet."""

    dataset: Dataset
    table: Table
    snapshot: int | None

    @property
    def history(self) -> list[Snapshot]:
        """The snapshots up to it, newest first, as far as they are still there."""
        found = list(main_history(self.table))
        at = [index for index, each in enumerate(found) if each.snapshot_id == self.snapshot]
        return found[at[0] :] if at else []

    @property
    def recent(self) -> tuple[Publication, ...]:
        return record_of(self.dataset, self.table).recent

    @property
    def published(self) -> tuple[Window, ...]:
        """What was published of it then, in order."""
        history = self.history
        text = history[0].summary.get(PUBLISHED_PROPERTY) if history and history[0].summary else None
        if text is None:
            # What others committed since does not say it, nor does a record with many holes.
            text = ", ".join(window for each in history if (window := window_of(each)) and window != WHOLE_TABLE)
            if self.table.current_snapshot() and self.table.metadata.current_snapshot_id == self.snapshot:
                text = self.table.properties.get(PUBLISHED_PROPERTY, text)
        return tuple(sorted(windows_in(text), key=lambda window: window.first))


@dataclass(frozen=True)
class Origin:
    """What made the rows of some days of a table. `engine`: None, if the snapshot is not there any more to say it."""

    table: str
    days: Window
    snapshot: int
    run_id: str
    at: datetime
    engine: str | None
    code_version: str
    changed_by_others: tuple[int, ...] = ()


def as_now(catalog: Catalog, datasets: Iterable[Dataset]) -> Mapping[str, TableThen]:
    """By the dataset's name; a table that does not exist is not there."""
    found = {}
    for each in datasets:
        if table := load_if_exists(catalog, each.table):
            found[each.name] = TableThen(each, table, table.metadata.current_snapshot_id)
    return found


def as_of_run(catalog: Catalog, datasets: Iterable[Dataset], run_id: str) -> Mapping[str, TableThen]:
    """Each table as it was when the run had published all that it did.

    Of what it published, its own snapshot; of all else, the one that was there then. Raises RunUnknown,
    SnapshotExpired.
    """
    now = as_now(catalog, datasets)
    published = {name: of_run(each, run_id) for name, each in now.items()}
    times = [_committed_at(now[name].table, each) for name, found in published.items() for each in found]
    if not times:
        raise RunUnknown(run_id, known_runs(now.values()))
    ended = max(times)
    found = {}
    for name, each in now.items():
        if mine := published[name]:
            snapshot: int | None = max(mine, key=lambda one: one.sequence_number).snapshot
            if each.table.snapshot_by_id(snapshot or 0) is None:
                raise SnapshotExpired(each.dataset.table, snapshot or 0, f"of run {run_id}")
        else:
            snapshot = _snapshot_at(each, ended, run_id)
        found[name] = TableThen(each.dataset, each.table, snapshot)
    return found


def of_run(then: TableThen, run_id: str) -> list[Publication]:
    """What a run, or one that was retried as it, published of the table."""
    return [each for each in then.recent if each.run_id == run_id]


def origins(then: TableThen, days: Window) -> list[Origin]:
    """What made each of the days, in order of days. Neighbours of one publish are one."""
    made = _publishes(then)
    found: list[Origin] = []
    assert then.dataset.partitions is not None
    for day in then.dataset.partitions.starts(days):
        of_day = next((each for each in made if each.days.contains(day)), None)
        if of_day is None:
            continue
        mine = Origin(**{**vars(of_day), "days": Window(day, day)})
        if found and _same(found[-1], mine):
            found[-1] = Origin(**{**vars(mine), "days": Window(found[-1].days.first, day)})
        else:
            found.append(mine)
    return found


def _publishes(then: TableThen) -> list[Origin]:
    """All that is known of, newest first: by snapshots that are there, and by the record of those that are not."""
    history, found, others = then.history, [], []
    for each in history:
        if is_by_others(each):
            others.append(each.snapshot_id)
        elif (window := window_of(each)) and each.summary:
            found.append(
                Origin(
                    then.dataset.table,
                    _whole() if window == WHOLE_TABLE else Window.parse(window),
                    each.snapshot_id,
                    each.summary.get(RUN_ID) or "",
                    _at(each),
                    each.summary.get(ENGINE),
                    each.summary.get(f"{SUMMARY}code-version") or "",
                    tuple(others),
                )
            )
    oldest = history[-1].sequence_number or 0 if history else 0
    for one in then.recent:
        if one.sequence_number < oldest:
            days = _whole() if one.window == WHOLE_TABLE else Window.parse(one.window)
            known = then.dataset.table, days, one.snapshot, one.run_id, one.published_at, None, one.code_version
            found.append(Origin(*known, tuple(others)))
    return found


def _snapshot_at(then: TableThen, moment: datetime, run_id: str) -> int | None:
    """The newest on main that was committed by then; None: the table had none."""
    history = then.history
    for each in history:
        if _at(each) <= moment:
            return each.snapshot_id
    oldest = history[-1] if history else None
    if oldest is not None and oldest.parent_snapshot_id is not None:
        raise SnapshotExpired(then.dataset.table, oldest.parent_snapshot_id, f"that readers saw after run {run_id}")
    return None


def _committed_at(table: Table, publication: Publication) -> datetime:
    snapshot = table.snapshot_by_id(publication.snapshot)
    return _at(snapshot) if snapshot else publication.published_at


def known_runs(tables: Iterable[TableThen]) -> list[str]:
    runs = {one.run_id: one.published_at for each in tables for one in each.recent}
    return sorted(runs, key=lambda run: (runs[run], run), reverse=True)


def _same(left: Origin, right: Origin) -> bool:
    return left.snapshot == right.snapshot


def _at(snapshot: Snapshot) -> datetime:
    return datetime.fromtimestamp(snapshot.timestamp_ms / 1000, UTC)


def _whole() -> Window:
    return Window(date.min, date.max)
