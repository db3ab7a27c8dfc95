"""Published tables for thousands of datasets: metadata files and rows in the catalog, as publishes leave them.

To create as many by commits would take ten minutes.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_DNS, uuid5

from pyiceberg.catalog.sql import IcebergTables, SqlCatalog
from sqlalchemy.orm import Session

from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.partitions import Window
from affirm_assets.declare.registry import Registry
from affirm_assets.settings import Settings
from affirm_assets.steps.published import PUBLISHED_PROPERTY, Publication, Record
from affirm_assets.steps.tables import WINDOW_KEY, ensure_table
from affirm_assets.stores import catalog_of
from resources.iceberg import FILES

_PUBLISHES = 35
"""The last of each table that are known: what five weeks leave."""


def publish(settings: Settings, registry: Registry, days: Window) -> None:
    """Every dataset of these days, as if the last ones had been published day by day."""
    catalog = catalog_of(settings).load()
    assert isinstance(catalog, SqlCatalog)
    for domain in {each.domain for each in registry.datasets.values()}:
        catalog.create_namespace_if_not_exists(domain)
    with Session(catalog.engine) as session:
        made: dict[bool, tuple[Dataset, str]] = {}
        for each in registry.datasets.values():
            if bool(each.feeds) not in made:  # the contract is another one
                location = ensure_table(catalog, each).metadata_location
                made[bool(each.feeds)] = each, Path(location.removeprefix(FILES)).read_text()
                catalog.drop_table(each.table)
            like, text = made[bool(each.feeds)]
            metadata = json.loads(text.replace(f"{like.domain}/{like.name}", f"{each.domain}/{each.name}"))
            metadata |= {"table-uuid": _id(each.table)} | _history(metadata["location"], days)
            metadata["properties"] |= _record(each, registry, days).properties()
            file = Path(
                metadata["location"].removeprefix(FILES), "metadata", f"{_PUBLISHES:05}-{_id('')}.metadata.json"
            )
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(metadata))
            session.add(
                IcebergTables(
                    catalog_name=catalog.name,
                    table_namespace=each.domain,
                    table_name=each.name,
                    metadata_location=f"{FILES}{file}",
                    previous_metadata_location=None,
                )
            )
        session.commit()


def _record(dataset: Dataset, registry: Registry, days: Window) -> Record:
    read = [registry[each.dataset].table for each in dataset.computed_from]
    recent = [
        Publication(
            run_id=_id(str(number)),
            window=str(day),
            work=f"{number:016}",
            snapshot=number,
            sequence_number=number,
            published_at=datetime.now(UTC),
            total_rows=1_000 * number,
            read={table: f"{_id(table)[:8]} {number}" for table in read},
            again=False,
            code_version="0123456789ab",
        )
        for number, day in _last(days)
    ]
    return replace(Record().with_window(days, dataset.partitions), recent=(*reversed(recent),))


def _history(location: str, days: Window) -> Mapping[str, Any]:
    snapshots = [
        {
            "snapshot-id": number,
            "parent-snapshot-id": number - 1,
            "sequence-number": number,
            "timestamp-ms": number,
            "manifest-list": f"{location}/metadata/snap-{number}.avro",
            "schema-id": 0,
            "summary": {
                "operation": "overwrite",
                "total-records": str(1_000 * number),
                "total-data-files": str(number),
                WINDOW_KEY: str(day),
                PUBLISHED_PROPERTY: str(Window(days.first, day)),
            },
        }
        for number, day in _last(days)
    ]
    return {
        "snapshots": snapshots,
        "snapshot-log": [{"snapshot-id": each, "timestamp-ms": each} for each, _ in _last(days)],
        "current-snapshot-id": _PUBLISHES,
        "last-sequence-number": _PUBLISHES,
        "last-updated-ms": _PUBLISHES,
        "refs": {"main": {"snapshot-id": _PUBLISHES, "type": "branch"}},
    }


def _last(days: Window) -> list[tuple[int, date]]:
    return [(number, days.last - timedelta(days=_PUBLISHES - number)) for number in range(1, _PUBLISHES + 1)]


def _id(name: str) -> str:
    return str(uuid5(NAMESPACE_DNS, name))
