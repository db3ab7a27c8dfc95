"""What the tables say is published, read anew by each tick of a sensor."""

from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date

from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from affirm_assets.declare.dataset import Dataset
from affirm_assets.errors import RecordRefused
from affirm_assets.steps.acceptance import ACCEPTED
from affirm_assets.steps.published import Record, record_of
from affirm_assets.steps.tables import load_if_exists
from resources.iceberg import CatalogLost, MetadataUnreadable

_IN_DISORDER = (RecordRefused, CatalogLost, MetadataUnreadable, OSError, ValueError)
"""What is raised for a table that cannot be read, or whose record cannot: the others can."""


@dataclass(frozen=True)
class Tables:
    """The record of each dataset, by name; what people let pass, by day; and the tables that nobody can go by, and why.

    The latter are in disorder, until a person says what holds; the other tables are not.
    """

    records: Mapping[str, Record]
    accepted: Mapping[date, str]
    refused: Mapping[str, str]

    @staticmethod
    def of(datasets: Mapping[str, Dataset], catalog: Catalog) -> "Tables":
        records: dict[str, Record] = {}
        accepted: dict[date, str] = defaultdict(str)
        refused: dict[str, str] = {}
        for name, each in datasets.items():
            records[name] = Record()
            try:
                table = load_if_exists(catalog, each.table)
                records[name] = record_of(each, table) if table else Record()
            except _IN_DISORDER as error:
                refused[name] = str(error)
                continue
            for day, said in _accepted(table):
                accepted[day] += said
        return Tables(records, dict(accepted), refused)


def _accepted(table: Table | None) -> list[tuple[date, str]]:
    found = []
    for key, said in sorted(table.properties.items()) if table else ():
        if key.startswith(ACCEPTED):
            with suppress(ValueError):  # it is for the step to say what it cannot read
                found.append((date.fromisoformat(key.removeprefix(ACCEPTED)), said))
    return found
