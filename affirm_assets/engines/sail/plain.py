"""Which files of a table give the rows of a snapshot when they are read by name, by a reader without Iceberg support.

Each file of the scan must be plain: Parquet, without deletes, and with each wanted column
under the field id, name and type that the snapshot's schema gives it. Names are not enough: a renamed column would be
read as null, and one that took over a dropped one's name would be read as that. So the file's own footer decides, and
not the history of schemas, which others may shorten. Footers of the files that were read last are kept.
"""

import re
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from functools import cache, lru_cache, partial
from typing import Any, Generic, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.conversions import from_bytes
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.io import FileIO
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.manifest import DataFile, FileFormat, ManifestContent, ManifestFile
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import DateType, NestedField, PrimitiveType
from pyspark.sql.types import StructType

from affirm_assets.declare.partitions import Window
from affirm_assets.errors import NotPlain, SchemaChangeRefused
from affirm_assets.steps.engine import Among, Days
from affirm_assets.steps.manifests import read_entries, read_manifests
from affirm_assets.steps.tables import epoch_day, partition_positions

_FIELD_ID = b"PARQUET:field_id"
THREADS = 16  # a store's answers are waited for, not computed
_LOCAL = re.compile(r"file:(//)?/")

MEANS_ITSELF = re.compile(r"[\w\-./:=+@, ~()&$!';]+")
"""What Sail takes as it is in a path; `*`, `?`, `[` and `{` are patterns to it, and `%` is the beginning of a code."""


@dataclass(frozen=True)
class PlainScan:
    """Files to read by name. `rows`: how many they hold in all, whether wanted or not.

    `groups`: their names to Sail, by what it can read as one.
    """

    table: str
    snapshot: int
    files: tuple[str, ...]
    groups: tuple[tuple[str, ...], ...]
    rows: int


@dataclass(frozen=True)
class _Listed:
    """What a manifest says of a data file, as far as it is needed here."""

    path: str
    form: FileFormat
    rows: int
    partition: tuple[Any, ...]
    spec_id: int
    is_encrypted: bool
    has_deletes: bool
    bounds: tuple[str, str] | None = None
    """Of the column by which files are looked up: no value of the file is outside. None: it does not say."""
    has_values: bool = True
    """Whether that column may be anything but null in a row. A null has no bounds, and is not what is looked up."""

    @staticmethod
    def of(file: DataFile, spec_id: int, *, has_deletes: bool, by: int | None = None) -> "_Listed":
        partition = tuple(file.partition[i] for i in range(len(file.partition)))
        is_encrypted = file.key_metadata is not None
        return _Listed(
            file.file_path,
            file.file_format,
            file.record_count,
            partition,
            spec_id,
            is_encrypted,
            has_deletes,
            None if by is None else _bounds(file, by),
            by is None or (file.null_value_counts or {}).get(by) != file.record_count,
        )

    def may_hold(self, among: Among) -> bool:
        if not self.has_values:
            return False
        return self.bounds is None or any(self.bounds[0] <= value <= self.bounds[1] for value in among.values)

    def problem(self) -> str | None:
        """Why no column of it can be read by name; None if they can."""
        if self.has_deletes:
            return "rows of it are deleted by other files"
        if self.form != FileFormat.PARQUET:
            return f"it is {self.form.value}, not Parquet"
        if self.is_encrypted:
            return "it is encrypted"
        return None


@dataclass(frozen=True)
class _Column:
    """A column as a file's footer has it."""

    field_id: int | None
    name: str
    kind: pa.DataType


def _bounds(file: DataFile, field_id: int) -> tuple[str, str] | None:
    """Of a column of text. Iceberg cuts long ones, the lower down and the upper up."""
    found = [(each or {}).get(field_id) for each in (file.lower_bounds, file.upper_bounds)]
    try:
        lower, upper = (None if each is None else each.decode() for each in found)
    except UnicodeDecodeError:
        return None
    return None if lower is None or upper is None else (lower, upper)


def plain_scan(
    table: Table, snapshot_id: int, wanted: StructType, days: Days | None, among: Among | None = None
) -> PlainScan:
    """The files of the snapshot that may hold rows of the days, and one of the values.

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
    files = _planned(table, snapshot, days, schema, among)
    for file in files:
        if reason := file.problem():
            raise NotPlain(name, f"the file {file.path}", reason)
    columns = _Wanted(fields, frozenset(each.name.casefold() for each in wanted.fields), _partition_columns(table))
    with ThreadPoolExecutor(THREADS) as threads:
        footers = list(threads.map(partial(_footer, table.io), (file.path for file in files)))
    for file, footer in zip(files, footers, strict=True):
        if reason := columns.problem(footer):
            raise NotPlain(name, f"the file {file.path}", reason)
    groups = _groups((name_for_sail(name, file.path) for file in files), footers)
    return PlainScan(name, snapshot_id, tuple(file.path for file in files), groups, sum(file.rows for file in files))


def _groups(paths: Iterable[str], footers: Iterable[tuple[_Column, ...]]) -> tuple[tuple[str, ...], ...]:
    """Sail refuses to read as one what has a column in two types, and text is of two: Arrow has a large one.

    It looks at all columns for this, and not only at those that are wanted.
    """
    groups: list[tuple[dict[str, pa.DataType], list[str]]] = []
    for path, footer in zip(paths, footers, strict=True):
        alike = [of for of in groups if all(of[0].get(each.name, each.kind) == each.kind for each in footer)]
        if not alike:
            groups.append(({}, []))
        kinds, members = (alike or groups)[-1]
        kinds.update((each.name, each.kind) for each in footer)
        members.append(path)
    return tuple(tuple(members) for _, members in groups)


def name_for_sail(table: str, path: str) -> str:
    """The path by which Sail finds it: for /a b Spark writes file:/a b, and PyIceberg file:///a b. Raises NotPlain."""
    if not MEANS_ITSELF.fullmatch(path):
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


def _planned(table: Table, snapshot: Snapshot, days: Days | None, schema: Schema, among: Among | None) -> list[_Listed]:
    """The snapshot's files that may hold rows of the days, and one of the values. `schema`: the snapshot's."""
    by = {field.name: field.field_id for field in schema.fields}.get(among.column) if among else None
    if among is not None and by is None:
        return []  # The column is younger: it is null in each row.
    manifests = read_manifests(table.io, snapshot)
    if any(each.content == ManifestContent.DELETES for each in manifests):
        return _planned_with_deletes(table, snapshot.snapshot_id, days)
    # PyIceberg would open every manifest anew for each scan, and a history has one for each day.
    positions = partition_positions(table, days.column) if days else {}
    wanted = [each for each in manifests if _may_hold(each, positions.get(each.partition_spec_id), days)]
    with ThreadPoolExecutor(THREADS) as threads:
        listed = [file for files in threads.map(partial(_listed, table.io, by), wanted) for file in files]
    of_days = [file for file in listed if _is_of(file, positions.get(file.spec_id), days)]
    return of_days if among is None else [file for file in of_days if file.may_hold(among)]


def _may_hold(manifest: ManifestFile, position: int | None, days: Days | None) -> bool:
    if days is None or position is None or not manifest.partitions:
        return True
    bounds = manifest.partitions[position]
    if bounds.lower_bound is None or bounds.upper_bound is None:
        return True
    first: Any = from_bytes(DateType(), bounds.lower_bound)
    last: Any = from_bytes(DateType(), bounds.upper_bound)
    return days.window.overlaps(Window(epoch_day(first), epoch_day(last)))


def _is_of(file: _Listed, position: int | None, days: Days | None) -> bool:
    if days is None or position is None or file.partition[position] is None:
        return True
    return days.window.contains(epoch_day(file.partition[position]))


def _listed(io: FileIO, by: int | None, manifest: ManifestFile) -> tuple[_Listed, ...]:
    return _manifests.get(
        manifest.manifest_path if by is None else f"{manifest.manifest_path} by {by}",
        lambda: tuple(
            _Listed.of(entry.data_file, manifest.partition_spec_id, has_deletes=False, by=by)
            for entry in read_entries(io, manifest)
        ),
    )


def _planned_with_deletes(table: Table, snapshot: int, days: Days | None) -> list[_Listed]:
    """Which files they concern is what PyIceberg knows."""
    try:
        tasks = list(table.scan(row_filter=_filter(days), snapshot_id=snapshot).plan_files())
    except (ValueError, NotImplementedError) as error:
        if "equality deletes" not in str(error):
            raise
        raise NotPlain(".".join(table.name()), f"the snapshot {snapshot}", "it has equality deletes") from error
    return [_Listed.of(task.file, task.file.spec_id, has_deletes=bool(task.delete_files)) for task in tasks]


def _filter(days: Days | None) -> str | AlwaysTrue:
    if days is None:
        return AlwaysTrue()
    column, window = days.column, days.window
    # PyIceberg takes no dates with which a range of this platform begins or ends where it has no bound.
    first = [f"{column} >= '{window.first}'"] if window.first != date.min else []
    last = [f"{column} <= '{window.last}'"] if window.last != date.max else []
    return " AND ".join([*first, *last]) or AlwaysTrue()


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


@cache
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


T = TypeVar("T")


class Kept(Generic[T]):
    """Tuples by path: data files and manifests never change. Forgets all before they have more than `most` items."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: dict[str, tuple[T, ...]] = {}
        self._items = 0
        self._adding = threading.Lock()

    def get(self, path: str, read: Callable[[], tuple[T, ...]]) -> tuple[T, ...]:
        value = self._values.get(path)
        if value is None:
            value = read()
            with self._adding:
                if self._items + len(value) > self._most:
                    self._values.clear()
                    self._items = 0
                if path not in self._values:
                    self._values[path] = value
                    self._items += len(value)
        return value

    def forget(self) -> None:
        with self._adding:
            self._values.clear()
            self._items = 0


_manifests: Kept[_Listed] = Kept(50_000)
_footers: Kept[_Column] = Kept(1_000_000)
"""A column in it takes 8 bytes: files of a table have the same ones."""


def forget() -> None:
    """What is remembered of files that were read: as in a process that has read none."""
    _manifests.forget()
    _footers.forget()


_same_column = lru_cache(10_000)(_Column)


def _footer(io: FileIO, path: str) -> tuple[_Column, ...]:
    def read() -> tuple[_Column, ...]:
        with io.new_input(path).open() as stream:
            return tuple(_column(field) for field in pq.read_metadata(stream).schema.to_arrow_schema())

    return _footers.get(path, read)


def _column(field: pa.Field) -> _Column:
    metadata: Mapping[bytes, bytes] = field.metadata or {}
    return _same_column(int(metadata[_FIELD_ID]) if _FIELD_ID in metadata else None, field.name, field.type)
