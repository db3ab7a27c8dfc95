"""What the tables say is published, read anew by each tick of a sensor."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, timedelta

from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.partitions import Window
from affirm_assets.errors import RecordRefused
from affirm_assets.orchestration.closed_date import closed_date_of
from affirm_assets.steps.acceptance import ACCEPTED
from affirm_assets.steps.closed import Restatement, closed_through, first_reached, part_through, restatement_of
from affirm_assets.steps.published import Record, record_of
from affirm_assets.steps.tables import load_if_exists
from resources.iceberg import CatalogLost, MetadataUnreadable

_IN_DISORDER = (RecordRefused, CatalogLost, MetadataUnreadable, OSError, ValueError)
"""What is raised for a table that cannot be read, or whose record cannot: the others can."""


@dataclass(frozen=True)
class Tables:
    """The record of each dataset, by name; what people let pass, by day; and the tables that nobody can go by, and why.

    The latter are in disorder, until a person says what holds; the other tables are not. `closed`: by name, the last
    day that is closed, of the datasets that have one; `restatement`: what may be published before it all the same.
    `closed_dates`: of the datasets whose branch `closed` shows all that main holds, the date that it shows.
    """

    records: Mapping[str, Record]
    accepted: Mapping[date, str]
    refused: Mapping[str, str]
    closed: Mapping[str, date] = field(default_factory=dict)
    restatement: Restatement | None = None
    closed_dates: Mapping[str, date] = field(default_factory=dict)

    @staticmethod
    def of(datasets: Mapping[str, Dataset], catalog: Catalog) -> "Tables":
        records: dict[str, Record] = {}
        accepted: dict[date, str] = defaultdict(str)
        refused: dict[str, str] = {}
        closed: dict[str, date] = {}
        closed_dates: dict[str, date] = {}
        restatement: Restatement | None = None
        for name, each in datasets.items():
            records[name] = Record()
            try:
                table = load_if_exists(catalog, each.table)
                records[name] = record_of(each, table) if table else Record()
                if table and (through := closed_through(table)):
                    closed[name] = through
                if table:
                    restatement = restatement_of(table) or restatement
                if table and (shown := closed_date_of(each, table)):
                    closed_dates[name] = shown
            except _IN_DISORDER as error:
                refused[name] = str(error)
                continue
            for day, said in _accepted(table):
                accepted[day] += said
        return Tables(records, dict(accepted), refused, closed, restatement, closed_dates)

    def closed_part(
        self, datasets: Mapping[str, Dataset], names: Iterable[str], window: Window | None
    ) -> Window | None:
        """The days of a window that are closed for one of these datasets, if no restatement under way reaches them."""
        found = [
            days
            for name in names
            if name in self.closed
            if (days := part_through(datasets[name], window, self._last_closed(datasets[name])))
        ]
        return Window(min(each.first for each in found), max(each.last for each in found)) if found else None

    def _last_closed(self, dataset: Dataset) -> date:
        """The last day of it into which nobody may publish."""
        closed = self.closed[dataset.name]
        if self.restatement is None:
            return closed
        return min(closed, first_reached(self.restatement, dataset) - timedelta(days=1))


def _accepted(table: Table | None) -> list[tuple[date, str]]:
    found = []
    for key, said in sorted(table.properties.items()) if table else ():
        if key.startswith(ACCEPTED):
            with suppress(ValueError):  # it is for the step to say what it cannot read
                found.append((date.fromisoformat(key.removeprefix(ACCEPTED)), said))
    return found
