"""Tables in the catalog: make one from its contract, bring it to its contract, look at its snapshots."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import date, timedelta
from typing import Any

from pyiceberg.catalog import Catalog
from pyiceberg.conversions import from_bytes
from pyiceberg.exceptions import NamespaceAlreadyExistsError, NoSuchTableError, TableAlreadyExistsError
from pyiceberg.manifest import DataFile, ManifestContent, ManifestEntryStatus, ManifestFile
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC, PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Operation, Snapshot
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import DateType

from affirm_assets.declare.contract import iceberg_schema, schema_change
from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.partitions import Window
from affirm_assets.errors import SchemaChangeRefused, TableNotStageable

SUMMARY = "affirm."
"""Prefix of this platform's keys in a snapshot's summary."""

RUN_ID = f"{SUMMARY}run-id"
"""In a snapshot's summary: the run that published it."""

WINDOW_KEY = f"{SUMMARY}window"
WHOLE_TABLE = "all"
"""The window of a dataset that is not partitioned, as text."""

WAP_ENABLED = "write.wap.enabled"

_NEW_TABLE_PROPERTIES = {
    "format-version": "2",
    WAP_ENABLED: "true",
    # What Iceberg's own engines give a new table; without the property they fall back to gzip, which is far slower.
    "write.parquet.compression-codec": "zstd",
    # Each commit writes a metadata file; without these they would pile up for ever.
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
}
_FIRST_PARTITION_FIELD_ID = 1000  # by the Iceberg specification


def ensure_table(catalog: Catalog, dataset: Dataset) -> Table:
    """Create the table, or bring its schema to the contract where that is safe.

    Properties and partition fields of an existing table are left as they are. Raises SchemaChangeRefused, or
    TableNotStageable if staging was turned off on it.
    """
    try:
        table = catalog.load_table(dataset.table)
    except NoSuchTableError:
        return _create(catalog, dataset)
    if table.properties.get(WAP_ENABLED) != "true":
        raise TableNotStageable(
            f"{dataset.table}: expected the table property {WAP_ENABLED}=true, found "
            f"{table.properties.get(WAP_ENABLED, 'none')}: a write could not be staged, readers would see it before "
            "its audits. Set the property."
        )
    _check_partitioned(table, dataset)
    _evolve(table, dataset)
    return table


def load_if_exists(catalog: Catalog, table: str) -> Table | None:
    try:
        return catalog.load_table(table)
    except NoSuchTableError:
        return None


def main_snapshot(table: Table | None) -> int | None:
    """The snapshot that readers of `main` saw when it was loaded; None: there is no table, or nothing in it."""
    current = table.current_snapshot() if table else None
    return current.snapshot_id if current else None


def table_id(table: Table) -> str:
    """Eight hex digits. A table that was dropped and made again has others, and its sequence numbers begin again."""
    return str(table.metadata.table_uuid)[:8]


def version_of(table: Table | None) -> str:
    """`<table_id> <sequence number of main's snapshot>`: later publishes of the same table have higher numbers."""
    if table is None:
        return ""
    current = table.current_snapshot()
    return f"{table_id(table)} {(current.sequence_number or 0) if current else 0}"


def schema_of(table: Table, snapshot: int) -> Schema:
    """The table's schema as it was with a snapshot."""
    found = table.snapshot_by_id(snapshot)
    assert found is not None
    return table.schemas()[found.schema_id] if found.schema_id is not None else table.schema()


def main_history(table: Table) -> Iterator[Snapshot]:
    """The snapshots of `main`, newest first."""
    wanted = table.metadata.current_snapshot_id
    # A snapshot comes after its parent in the metadata, so who looks for the last ones only looks at no others.
    for each in reversed(table.metadata.snapshots):
        if each.snapshot_id == wanted:
            yield each
            wanted = each.parent_snapshot_id
    if wanted is None:
        return
    by_id = {each.snapshot_id: each for each in table.metadata.snapshots}  # no rule of Iceberg's says so
    snapshot = by_id.get(wanted)
    while snapshot is not None:
        yield snapshot
        parent = snapshot.parent_snapshot_id
        snapshot = None if parent is None else by_id.get(parent)


def window_of(snapshot: Snapshot) -> str | None:
    """The window that this platform published with it, as text; compactions and what others write have none."""
    found = snapshot.summary.get(WINDOW_KEY) if snapshot.summary else None
    return None if found is None else str(found)


def is_by_others(snapshot: Snapshot) -> bool:
    """A commit that does not say what it changed may have changed anything, unless it is a compaction."""
    return not is_compaction(snapshot) and window_of(snapshot) is None


def is_compaction(snapshot: Snapshot) -> bool:
    return snapshot.summary is not None and snapshot.summary.operation == Operation.REPLACE


def added_files(table: Table, snapshot: Snapshot) -> list[DataFile]:
    """The data files that a snapshot added."""
    return [
        entry.data_file
        for manifest in snapshot.manifests(table.io)
        if manifest.content == ManifestContent.DATA and manifest.added_snapshot_id == snapshot.snapshot_id
        for entry in manifest.fetch_manifest_entry(table.io)
        if entry.status == ManifestEntryStatus.ADDED
    ]


def partition_positions(table: Table, column: str) -> dict[int, int]:
    """Where the column's identity field stands in each of the table's partition specs, by the spec's id."""
    source = table.schema().find_field(column).field_id
    return {
        spec_id: index
        for spec_id, spec in table.specs().items()
        for index, each in enumerate(spec.fields)
        if each.source_id == source and each.transform == IdentityTransform()
    }


def partition_day(file: DataFile, position: int) -> date:
    """The partition of a data file by the date column whose field stands at this position."""
    return epoch_day(file.partition[position])


def days_held(manifest: ManifestFile, position: int) -> Window | None:
    """From the first to the last partition that has files in the manifest; None: it does not say."""
    if not manifest.partitions:
        return None
    bounds = manifest.partitions[position]
    if bounds.lower_bound is None or bounds.upper_bound is None:
        return None
    first: Any = from_bytes(DateType(), bounds.lower_bound)
    last: Any = from_bytes(DateType(), bounds.upper_bound)
    return Window(epoch_day(first), epoch_day(last))


def epoch_day(days: int) -> date:
    return date(1970, 1, 1) + timedelta(days=days)


def _create(catalog: Catalog, dataset: Dataset) -> Table:
    schema = iceberg_schema(dataset.contract)
    spec = UNPARTITIONED_PARTITION_SPEC
    if dataset.partitions is not None:
        source = schema.find_field(dataset.partitions.column)
        spec = PartitionSpec(
            PartitionField(source.field_id, _FIRST_PARTITION_FIELD_ID, IdentityTransform(), source.name)
        )
    with suppress(NamespaceAlreadyExistsError):  # made by another process between the check and the creation
        catalog.create_namespace_if_not_exists(dataset.domain)
    try:
        return catalog.create_table(dataset.table, schema, partition_spec=spec, properties=_NEW_TABLE_PROPERTIES)
    except TableAlreadyExistsError:
        return ensure_table(catalog, dataset)


def _check_partitioned(table: Table, dataset: Dataset) -> None:
    """Others may add partition fields, but a window can only be replaced while its column is one."""
    if dataset.partitions is None:
        return
    if table.spec().spec_id not in partition_positions(table, dataset.partitions.column):
        raise TableNotStageable(
            f"{dataset.table}: expected the partition field {dataset.partitions.column} (identity), found "
            f"{table.spec()}. Add that field to the table's partition spec."
        )


def _evolve(table: Table, dataset: Dataset) -> None:
    change = schema_change(dataset.contract, table.schema())
    if change.refused:
        raise SchemaChangeRefused(dataset.table, change.refused)
    if change.is_empty:
        return
    with table.update_schema() as update:
        for spec in change.add:
            update.add_column(spec.name, spec.iceberg_type, doc=spec.doc, required=False)
        for name in change.relax:
            update.make_column_optional(name)
        for spec in change.redoc:
            update.update_column(spec.name, doc=spec.doc)
