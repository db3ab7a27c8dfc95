"""The close of business: the branch `closed` of all daily tables shows one business date, which is whole in each.

Belongs here: when a date is whole, and the move of all branches at once. Does not: the close of a month.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import date

from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from affirm_assets.declare.dataset import AUTOMATIC, Dataset
from affirm_assets.declare.partitions import Daily
from affirm_assets.errors import RecordRefused
from affirm_assets.orchestration.plan import Books
from affirm_assets.steps.published import Record, record_of
from affirm_assets.steps.tables import SUMMARY, main_snapshot
from affirm_assets.steps.together import Change, as_loaded, commit_together, load_together, set_properties, set_ref

CLOSED = "closed"
"""The branch of each daily table on which readers see the last business date that is closed."""

CLOSED_DATE = f"{SUMMARY}closed-date"
"""The table property with that date: where a catalog commits to one table at a time, two tables may differ in it."""


def close_of_business(catalog: Catalog, datasets: Mapping[str, Dataset], first: date) -> date | None:
    """Move the branch `closed` of all daily tables to what they hold now, if that is whole. The date that it shows.

    None: not all of them end with one date, or something is missing or out of date; then nothing moves. On the SQL
    catalogs all branches move at once, or none does; elsewhere one after another. `datasets`: all, upstream first.
    """
    shown: list[date] = []

    def decide() -> Sequence[Change] | None:
        shown.clear()
        tables = load_together(catalog, [each.table for each in datasets.values()])
        if (day := _whole_date(tables, datasets, first)) is None:
            return None
        shown.append(day)
        daily = [tables[each.table] for each in _closed_daily(datasets)]
        return [_moved(each, day) for each in daily if closed_date_of(each) != day]

    commit_together(catalog, decide)
    return shown[0] if shown else None


def closed_date_of(table: Table) -> date | None:
    """The date that its branch `closed` shows, if it shows all that main holds; else None."""
    ref, said = table.metadata.refs.get(CLOSED), table.properties.get(CLOSED_DATE)
    if ref is None or said is None or ref.snapshot_id != main_snapshot(table):
        return None
    with suppress(ValueError):  # somebody has set it by hand: it is set anew
        return date.fromisoformat(said)
    return None


def is_due(datasets: Mapping[str, Dataset], records: Mapping[str, Record], shown: Mapping[str, date]) -> bool:
    """Whether all daily tables end with one date that not all of their branches show. `shown`: what each shows."""
    names = [each.name for each in _closed_daily(datasets)]
    ends = {records[name].windows[-1].last if records[name].windows else None for name in names}
    return len(ends) == 1 and None not in ends and {shown.get(name) for name in names} != ends


def _whole_date(tables: Mapping[str, Table], datasets: Mapping[str, Dataset], first: date) -> date | None:
    try:
        records = {
            name: record_of(each, tables[each.table]) if each.table in tables else Record()
            for name, each in datasets.items()
        }
    except RecordRefused:
        return None
    names = [each.name for each in _closed_daily(datasets)]
    ends = {records[name].windows[-1].last if records[name].windows else None for name in names}
    day = ends.pop() if len(ends) == 1 else None
    return None if day is None or Books.of(datasets, records, first).lacking(names, day) else day


def _closed_daily(datasets: Mapping[str, Dataset]) -> list[Dataset]:
    """Those that are computed by themselves: nobody knows when others will be."""
    return [each for each in datasets.values() if isinstance(each.partitions, Daily) and each.starts == AUTOMATIC]


def _moved(table: Table, day: date) -> Change:
    snapshot = main_snapshot(table)
    assert snapshot is not None
    updates = (set_ref(CLOSED, "branch", snapshot), set_properties({CLOSED_DATE: str(day)}))
    return Change(table, updates, as_loaded(table, CLOSED))
