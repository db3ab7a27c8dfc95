"""The close of business: the branch `closed` of all daily tables shows one business date, which is whole in each.

Belongs here: when a date is whole, and the move of all branches at once. Does not: the close of a month.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import date

from pyiceberg.catalog import Catalog
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from affirm_assets.declare.dataset import AUTOMATIC, Dataset
from affirm_assets.declare.partitions import Daily, Window
from affirm_assets.errors import DatesDiffer, RecordRefused, TablesBusy
from affirm_assets.orchestration.plan import Books
from affirm_assets.steps.published import PUBLISHED_PROPERTY, Record, record_of, records_of, windows_in
from affirm_assets.steps.tables import SUMMARY, main_history, main_snapshot, window_of
from affirm_assets.steps.together import (
    Change,
    as_loaded,
    commit_together,
    load_together,
    set_properties,
    set_ref,
    wait_a_little,
)

CLOSED = "closed"
"""The branch of each daily table on which readers see the last business date that is closed."""

CLOSED_DATE = f"{SUMMARY}closed-date"
"""The table property with that date: where a catalog commits to one table at a time, two tables may differ in it."""

_TRIES = 20
"""Of a reader; with the waits between them about ten seconds."""


def close_of_business(catalog: Catalog, datasets: Mapping[str, Dataset], first: date) -> date | None:
    """Move the branch `closed` of all daily tables to the last date that is whole in all of them. The date.

    A table that is ahead shows what it held when that date was done. None: something of the date is missing or out of
    date, or others commit all the time; then nothing moves. Where the catalog commits to several tables at once, all
    branches move, or none does; elsewhere one after another. `datasets`: all, upstream first.
    """
    shown: list[date] = []

    def decide() -> Sequence[Change] | None:
        shown.clear()
        tables = load_together(catalog, [each.table for each in datasets.values()])
        whole = _whole(tables, datasets, first)
        if whole is None:
            return None
        day, snapshots = whole
        shown.append(day)
        return [
            _moved(tables[each.table], day, snapshots[each.name])
            for each in _closed_daily(datasets)
            if closed_date_of(each, tables[each.table]) != day
        ]

    with suppress(TablesBusy):
        commit_together(catalog, decide)
        return shown[0] if shown else None
    return None


def load_closed(catalog: Catalog, names: Collection[str]) -> Mapping[str, Table]:
    """These tables, for readers of several: their branches `closed` show one date, and were as they are at one moment.

    A REST catalog hands out one table after another. So all are loaded twice: a branch that has not moved between the
    two looks was there at each moment between them. Raises DatesDiffer, if after many looks the dates still differ.
    """
    if not names:
        return {}
    before: Mapping[str, tuple[int, str] | None] = {}
    for tried in range(_TRIES):
        if tried > 1:
            wait_a_little(tried)
        tables = load_together(catalog, names)
        shown = {name: _shown(tables.get(name)) for name in names}
        if shown == before and None not in shown.values() and len({*map(_date_in, shown.values())}) == 1:
            return tables
        before = shown
    by_date: dict[str, list[str]] = {}
    for name, each in before.items():
        by_date.setdefault(_date_in(each), []).append(name)
    raise DatesDiffer(by_date)


def _shown(table: Table | None) -> tuple[int, str] | None:
    """The snapshot and the date."""
    if table is None or CLOSED not in table.metadata.refs or CLOSED_DATE not in table.properties:
        return None
    return table.metadata.refs[CLOSED].snapshot_id, table.properties[CLOSED_DATE]


def _date_in(shown: tuple[int, str] | None) -> str:
    return shown[1] if shown else "none"


def closed_date_of(dataset: Dataset, table: Table) -> date | None:
    """The date that its branch `closed` shows, if it shows all that is published for it by now; else None."""
    ref, said = table.metadata.refs.get(CLOSED), table.properties.get(CLOSED_DATE)
    if ref is None or said is None:
        return None
    with suppress(ValueError):  # somebody has set it by hand: it is set anew
        day = date.fromisoformat(said)
        return day if ref.snapshot_id == _as_of(dataset, table, day) else None
    return None


def is_due(datasets: Mapping[str, Dataset], records: Mapping[str, Record], shown: Mapping[str, date]) -> bool:
    """Whether all daily tables have a date that not all of their branches show. `shown`: what each shows."""
    day = _last_of_all(datasets, records)
    return day is not None and {shown.get(each.name) for each in _closed_daily(datasets)} != {day}


def _whole(
    tables: Mapping[str, Table], datasets: Mapping[str, Dataset], first: date
) -> tuple[date, Mapping[str, int]] | None:
    """The last date that all daily tables have, and the snapshot of each that shows it; None: it is not whole."""
    try:
        records = records_of(datasets, tables)
    except RecordRefused:
        return None
    day = _last_of_all(datasets, records)
    daily = _closed_daily(datasets)
    if day is None or Books.of(datasets, records, first).lacking([each.name for each in daily], day):
        return None
    snapshots = {each.name: _as_of(each, tables[each.table], day) for each in daily}
    found = {name: snapshot for name, snapshot in snapshots.items() if snapshot is not None}
    return (day, found) if len(found) == len(daily) else None


def _last_of_all(datasets: Mapping[str, Dataset], records: Mapping[str, Record]) -> date | None:
    windows = [records[each.name].windows for each in _closed_daily(datasets)]
    return min(each[-1].last for each in windows) if windows and all(windows) else None


def _as_of(dataset: Dataset, table: Table, day: date) -> int | None:
    """The snapshot of main that holds all that is published through a day, and nothing of a later one; None: none does.

    That is main's, or the one before days were published that are all later.
    """
    for snapshot in main_history(table):
        if _last_day(snapshot) == day:
            return snapshot.snapshot_id
        window = window_of(snapshot)
        if window is None or Window.parse(window).first <= day:
            # A compaction, or another's commit: it says no day. Of main itself, the table does.
            windows = record_of(dataset, table).windows
            is_main = snapshot.snapshot_id == main_snapshot(table)
            return snapshot.snapshot_id if is_main and windows and windows[-1].last == day else None
    return None


def _last_day(snapshot: Snapshot) -> date | None:
    """The last one that was published with it, as it says."""
    said = str((snapshot.summary and snapshot.summary.get(PUBLISHED_PROPERTY)) or "")
    with suppress(ValueError):
        return max((each.last for each in windows_in(said)), default=None)
    return None


def _closed_daily(datasets: Mapping[str, Dataset]) -> list[Dataset]:
    """Those that are computed by themselves: nobody knows when others will be."""
    return [each for each in datasets.values() if isinstance(each.partitions, Daily) and each.starts == AUTOMATIC]


def _moved(table: Table, day: date, snapshot: int) -> Change:
    updates = (set_ref(CLOSED, "branch", snapshot), set_properties({CLOSED_DATE: str(day)}))
    return Change(table, updates, as_loaded(table, CLOSED))
