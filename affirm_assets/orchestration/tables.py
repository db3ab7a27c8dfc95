"""What the tables say is published, read anew by each tick of a sensor."""

from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date

from pyiceberg.catalog import Catalog

from affirm_assets.declare.dataset import Dataset
from affirm_assets.steps.acceptance import ACCEPTED
from affirm_assets.steps.published import Record, record_of
from affirm_assets.steps.tables import load_if_exists


@dataclass(frozen=True)
class Tables:
    """The record of each dataset, by name; and what people let pass, by day."""

    records: Mapping[str, Record]
    accepted: Mapping[date, str]

    @staticmethod
    def of(datasets: Mapping[str, Dataset], catalog: Catalog) -> "Tables":
        """Raises RecordRefused."""
        records: dict[str, Record] = {}
        accepted: dict[date, str] = defaultdict(str)
        for name, each in datasets.items():
            table = load_if_exists(catalog, each.table)
            records[name] = record_of(each, table) if table else Record()
            for key, said in sorted(table.properties.items()) if table else ():
                if key.startswith(ACCEPTED):
                    with suppress(ValueError):  # it is for the step to say what it cannot read
                        accepted[date.fromisoformat(key.removeprefix(ACCEPTED))] += said
        return Tables(records, dict(accepted))
