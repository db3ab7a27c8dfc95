"""Which files of a table give the rows of a snapshot when they are read by name, by whoever knows no Iceberg.

PyIceberg plans the scan. Each file that it names must be plain: Parquet, without deletes, and with each wanted column
under the field id, name and type that the snapshot's schema gives it. Names are not enough: a renamed column would be
read as null, and one that took over a dropped one's name would be read as that. So the file's own footer decides, and
not the history of schemas, which others may shorten. Footers of the files that were read last are kept.
"""

import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.io import FileIO
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.manifest import DataFile, FileFormat
from pyiceberg.schema import Schema
from pyiceberg.table import FileScanTask, Table
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import NestedField, PrimitiveType
from pyspark.sql.types import StructType

from affirm_assets.errors import NotPlain, SchemaChangeRefused
from affirm_assets.steps.engine import Days

_FIELD_ID = b"PARQUET:field_id"
THREADS = 16  # a store's answers are waited for, not computed
_FOOTERS_KEPT = 20_000
_LOCAL = re.compile(r"file:(//)?/")

_MEANS_ITSELF = re.compile(r"[\w\-./:=+@, ~()&$!';]+")
"""What Sail takes as it is in a path; `*`, `?`, `[` and `{` are patterns to it, and `%` is the beginning of a code."""


@dataclass(frozen=True)
class PlainScan:
    """Files to read by name. `rows`: how many they hold in all, whether wanted or not; `paths`: their names to Sail."""

    table: str
    snapshot: int
    files: tuple[str, ...]
    paths: tuple[str, ...]
    rows: int


@dataclass(frozen=True)
class _Column:
    """A column as a file's footer has it."""

    field_id: int | None
    name: str
    kind: pa.DataType


def plain_scan(table: Table, snapshot_id: int, wanted: StructType, days: Days | None) -> PlainScan:
    """The files of the snapshot that may hold rows of the days.

    Raises NotPlain; SchemaChangeRefused if the snapshot lacks a column that the wanted rows always have.
    """
    name = ".".join(table.name())
    snapshot = table.snapshot_by_id(snapshot_id)
    if snapshot is None:
        raise ValueError(f"{name}: expected the snapshot {snapshot_id}, found none of that id")
    schema = next(
        (each for each in table.metadata.schemas if each.schema_id == snapshot.schema_id), table.metadata.schema()
    )
    fields = _wanted_fields(name, schema, snapshot_id, wanted)
    _check_days(table, schema, days)
    tasks = _planned(table, snapshot_id, days)
    columns = _Wanted(fields, frozenset(each.name.casefold() for each in wanted.fields), _partition_columns(table))
    for task in tasks:
        if reason := _deletes_or_format(task):
            raise NotPlain(name, f"the file {task.file.file_path}", reason)
    with ThreadPoolExecutor(THREADS) as threads:
        footers = threads.map(lambda task: _footer(table.io, task.file.file_path), tasks)
        for task, footer in zip(tasks, footers, strict=True):
            if reason := columns.problem(footer):
                raise NotPlain(name, f"the file {task.file.file_path}", reason)
    paths = tuple(name_for_sail(name, task.file) for task in tasks)
    files = tuple(task.file.file_path for task in tasks)
    return PlainScan(name, snapshot_id, files, paths, sum(task.file.record_count for task in tasks))


def name_for_sail(table: str, file: DataFile) -> str:
    """The path by which Sail finds it: for /a b Spark writes file:/a b, and PyIceberg file:///a b. Raises NotPlain."""
    path = file.file_path
    if not _MEANS_ITSELF.fullmatch(path):
        raise NotPlain(table, f"the file {path}", "its name has characters that mean something else to the engine")
    return _LOCAL.sub("/", path, count=1) if _LOCAL.match(path) else path


def _wanted_fields(table: str, schema: Schema, snapshot: int, wanted: StructType) -> list[NestedField]:
    by_name = {field.name: field for field in schema.fields}
    if missing := [each.name for each in wanted.fields if not each.nullable and each.name not in by_name]:
        raise SchemaChangeRefused(table, [f"column {name} is not in snapshot {snapshot}" for name in missing])
    return [by_name[each.name] for each in wanted.fields if each.name in by_name]


def _check_days(table: Table, schema: Schema, days: Days | None) -> None:
    """PyIceberg finds the files of a snapshot by the names that columns have now."""
    if days is None:
        return
    column = days.column
    then = schema.find_field(column).field_id
    now = {field.name: field.field_id for field in table.schema().fields}.get(column)
    if now != then:
        raise NotPlain(".".join(table.name()), f"the column {column}", "it has been renamed or replaced since")


def _partition_columns(table: Table) -> frozenset[int]:
    """Their values are in the metadata: a file that was made elsewhere may be without them."""
    fields = [field for spec in table.specs().values() for field in spec.fields]
    return frozenset(field.source_id for field in fields if isinstance(field.transform, IdentityTransform))


def _planned(table: Table, snapshot: int, days: Days | None) -> list[FileScanTask]:
    try:
        return list(table.scan(row_filter=_filter(days), snapshot_id=snapshot).plan_files())
    except (ValueError, NotImplementedError) as error:
        if "equality deletes" not in str(error):
            raise
        raise NotPlain(".".join(table.name()), f"the snapshot {snapshot}", "it has equality deletes") from error


def _filter(days: Days | None) -> str | AlwaysTrue:
    if days is None:
        return AlwaysTrue()
    column, window = days.column, days.window
    # PyIceberg takes no dates with which a range of this platform begins or ends where it has no bound.
    first = [f"{column} >= '{window.first}'"] if window.first != date.min else []
    last = [f"{column} <= '{window.last}'"] if window.last != date.max else []
    return " AND ".join([*first, *last]) or AlwaysTrue()


def _deletes_or_format(task: FileScanTask) -> str | None:
    if task.delete_files:
        return "rows of it are deleted by other files"
    if task.file.file_format != FileFormat.PARQUET:
        return f"it is {task.file.file_format.value}, not Parquet"
    if task.file.key_metadata is not None:
        return "it is encrypted"
    return None


@dataclass(frozen=True)
class _Wanted:
    """Wanted fields of the snapshot's schema, all wanted names in lower case, ids of partition columns."""

    fields: list[NestedField]
    names: frozenset[str]
    partition_columns: frozenset[int]

    def problem(self, footer: tuple[_Column, ...]) -> str | None:
        """Why reading the file's columns by name would not give the wanted fields; None if it would."""
        by_id = {each.field_id: each for each in footer}
        if None in by_id and len(by_id) == 1:
            return "its columns have no field ids"
        for field in self.fields:
            found = by_id.get(field.field_id)
            if found is None:
                if reason := self._why_not_null(field):
                    return reason
            elif found.name != field.name:
                return f"its column {found.name} is called {field.name} now"
            elif not _is_of_type(found.kind, field):
                return f"its column {found.name} is {found.kind}, which is to be read as {field.field_type}"
        known = {field.field_id: field.name for field in self.fields}
        # Sail finds columns whatever their case, so another of that name would be taken for a wanted one.
        for each in footer:
            if each.name.casefold() in self.names and known.get(each.field_id or 0) != each.name:
                return f"its column {each.name} is another than the one of that name now"
        return None

    def _why_not_null(self, field: NestedField) -> str | None:
        """Why a column that the file lacks cannot be read as null."""
        if field.required:
            return f"it lacks the column {field.name}, which is never null"
        if field.initial_default is not None:
            return f"it lacks the column {field.name}, whose default is not null"
        if field.field_id in self.partition_columns:
            return f"it lacks the column {field.name}, by which it is partitioned"
        return None


@lru_cache(maxsize=_FOOTERS_KEPT)
def _arrow_type(kind: PrimitiveType) -> pa.DataType:
    field = NestedField(1, "column", kind, required=False)
    return schema_to_pyarrow(Schema(field)).field(0).type


def _is_of_type(found: pa.DataType, field: NestedField) -> bool:
    if not isinstance(field.field_type, PrimitiveType):
        return False
    expected = _arrow_type(field.field_type)
    if pa.types.is_large_string(expected) or pa.types.is_string(expected):
        return bool(pa.types.is_string(found) or pa.types.is_large_string(found))
    return bool(found.equals(expected))


_kept: dict[str, tuple[_Column, ...]] = {}
"""By path: a data file never changes."""


def _footer(io: FileIO, path: str) -> tuple[_Column, ...]:
    if path not in _kept:
        with io.new_input(path).open() as stream:
            schema = pq.read_metadata(stream).schema.to_arrow_schema()
        if len(_kept) >= _FOOTERS_KEPT:
            _kept.clear()
        _kept[path] = tuple(_column(field) for field in schema)
    return _kept[path]


def _column(field: pa.Field) -> _Column:
    metadata: Mapping[bytes, bytes] = field.metadata or {}
    return _Column(int(metadata[_FIELD_ID]) if _FIELD_ID in metadata else None, field.name, field.type)
