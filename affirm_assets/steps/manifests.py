"""Iceberg's metadata of one snapshot: which manifests it keeps, rewrites, merges and adds. Format versions 2 and 3.

PyIceberg 0.12 leaves delete files and small manifests where they are, and writes no version 3; so only its reader and
writer of Avro are used here. Every record has version 3's fields, of which those of version 2 are the first.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from itertools import groupby
from typing import Any, Generic, TypeVar
from uuid import UUID, uuid4

from pyiceberg.avro.codecs import AVRO_CODEC_KEY
from pyiceberg.avro.decoder import new_decoder
from pyiceberg.avro.file import META_SCHEMA, AvroFile, AvroFileHeader, AvroOutputFile
from pyiceberg.avro.reader import Reader
from pyiceberg.avro.resolver import construct_reader, resolve_reader
from pyiceberg.io import FileIO, InputFile
from pyiceberg.manifest import (
    MANIFEST_ENTRY_SCHEMAS,
    MANIFEST_LIST_FILE_SCHEMAS,
    DataFile,
    DataFileContent,
    FileFormat,
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestFile,
    PartitionFieldSummary,
    construct_partition_summaries,
    data_file_with_partition,
    manifest_entry_schema_with_data_file,
)
from pyiceberg.schema import Schema
from pyiceberg.table import Table, TableProperties
from pyiceberg.table.snapshots import Operation, Snapshot, SnapshotSummaryCollector, Summary, update_snapshot_summaries
from pyiceberg.typedef import StructProtocol, TableVersion
from pyiceberg.utils.concurrent import ExecutorFactory
from pyiceberg.utils.properties import property_as_bool, property_as_int

VERSIONS: Mapping[int, TableVersion] = {2: 2, 3: 3}
"""The format versions of tables that can be written."""

_SUPERSET: TableVersion = 3
_FIRST_ROW_ID = 15  # the position of first_row_id in a manifest list's record,
_FIRST_ROW_ID_OF_FILE = 16  # and in a data file's
_DATA_FILE_FIELDS = 20

_LARGE_MANIFEST = 200
"""Files. A manifest with as many is not merged any further: a publish that replaces one of them writes it again."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Replaced:
    """What a new snapshot has no more: a manifest is opened if it may hold such files, and `files` decides on each."""

    manifests: Callable[[ManifestFile], bool]
    files: Callable[[DataFile], bool]


NOTHING = Replaced(manifests=lambda _: False, files=lambda _: False)


@dataclass
class NewSnapshot:
    """The files that are written for a snapshot that is to follow `parent` (None: it stands alone)."""

    table: Table
    snapshot_id: int
    parent: Snapshot | None
    _paths: list[str] = field(default_factory=list)
    _removed: list[DataFile] = field(default_factory=list)
    _uuid: UUID = field(default_factory=uuid4)

    def write(self, added: Sequence[DataFile], replaced: Replaced, summary: Mapping[str, str]) -> Snapshot:
        """Write its manifests and their list."""
        added = [_with_all_fields(each) for each in added]
        kept = self._kept(replaced)
        manifests = [*self._added(added), *self._merged(kept)]
        path, rows = self._manifest_list(manifests)
        is_v3 = self.table.metadata.format_version >= 3
        values: dict[str, Any] = {
            "snapshot-id": self.snapshot_id,
            "parent-snapshot-id": self.parent.snapshot_id if self.parent else None,
            "sequence-number": self._sequence_number,
            "manifest-list": path,
            "summary": self._summary(added, summary),
            "schema-id": self.table.metadata.current_schema_id,
            "first-row-id": self._next_row_id if is_v3 else None,
            "added-rows": rows if is_v3 else None,
        }
        return Snapshot(**values)

    def discard(self) -> None:
        """Delete what was written: only once it is certain that no commit names it."""
        delete_files(self.table.io, self._paths)
        self._paths.clear()

    @property
    def _sequence_number(self) -> int:
        return self.table.metadata.next_sequence_number()

    @property
    def _next_row_id(self) -> int:
        return getattr(self.table.metadata, "next_row_id", None) or 0

    def _kept(self, replaced: Replaced) -> list[ManifestFile]:
        """The parent's manifests with live files; those that lose some are written again, with the lost marked."""
        manifests = read_manifests(self.table.io, self.parent) if self.parent else []
        opened = [each for each in manifests if _live_files(each) and replaced.manifests(each)]
        entries = dict(zip(opened, _read_all(self.table.io, opened), strict=True))
        return [
            self._without(each, entries[each], replaced) if each in entries else each
            for each in manifests
            if _live_files(each)
        ]

    def _without(self, manifest: ManifestFile, entries: Sequence[ManifestEntry], replaced: Replaced) -> ManifestFile:
        # Each by itself and not by its path: the deletion vectors of several files are in one.
        removed = [each for each in entries if replaced.files(each.data_file)]
        if not removed:
            return manifest
        self._removed += [each.data_file for each in removed]
        for each in entries:
            each.status = ManifestEntryStatus.EXISTING
        for each in removed:
            each.status, each.snapshot_id = ManifestEntryStatus.DELETED, self.snapshot_id
        return self._manifest(manifest.partition_spec_id, manifest.content, entries)

    def _added(self, files: Sequence[DataFile]) -> list[ManifestFile]:
        by_spec = groupby(sorted(files, key=lambda each: each.spec_id), lambda each: each.spec_id)
        return [
            self._manifest(spec_id, ManifestContent.DATA, [self._added_entry(each) for each in of_spec])
            for spec_id, of_spec in by_spec
        ]

    def _added_entry(self, file: DataFile) -> ManifestEntry:
        return ManifestEntry(ManifestEntryStatus.ADDED, self.snapshot_id, None, None, file)

    def _merged(self, manifests: Sequence[ManifestFile]) -> list[ManifestFile]:
        """One manifest in the place of many small ones: each commit brings one, and a list of a thousand is slow."""
        properties = self.table.metadata.properties
        enough = property_as_int(properties, TableProperties.MANIFEST_MIN_MERGE_COUNT, 100) or 100
        small = [each for each in manifests if self._is_small(each)]
        if len(small) < enough or not property_as_bool(properties, TableProperties.MANIFEST_MERGE_ENABLED, True):
            return list(manifests)
        merged: list[ManifestFile] = []
        for spec_id, of_spec in groupby(sorted(small, key=_spec_of), _spec_of):
            for group in _in_groups(list(of_spec), _LARGE_MANIFEST):
                entries = [entry for each in _read_all(self.table.io, group) for entry in each]
                for entry in entries:
                    entry.status = ManifestEntryStatus.EXISTING
                merged.append(self._manifest(spec_id, ManifestContent.DATA, entries))
        replaced = set(small)
        return [*merged, *(each for each in manifests if each not in replaced)]

    def _is_small(self, manifest: ManifestFile) -> bool:
        is_own = manifest.added_snapshot_id == self.snapshot_id  # says what this snapshot removed
        return manifest.content == ManifestContent.DATA and not is_own and _live_files(manifest) < _LARGE_MANIFEST

    def _manifest(self, spec_id: int, content: ManifestContent, entries: Sequence[ManifestEntry]) -> ManifestFile:
        metadata, version = self.table.metadata, VERSIONS[self.table.metadata.format_version]
        spec, schema = metadata.specs()[spec_id], metadata.schema()
        partition = spec.partition_type(schema)
        own = {
            "schema": schema.model_dump_json(),
            "schema-id": str(schema.schema_id),
            "partition-spec": f"[{','.join(each.model_dump_json() for each in spec.fields)}]",
            "partition-spec-id": str(spec_id),
            "format-version": str(version),
            "content": "data" if content == ManifestContent.DATA else "deletes",
            AVRO_CODEC_KEY: self._codec,
        }
        written_as, given_as = (
            manifest_entry_schema_with_data_file(each, data_file_with_partition(partition, each))
            for each in (version, _SUPERSET)
        )
        output = self.table.io.new_output(self._path(f"{self._uuid}-m{len(self._paths)}.avro"))
        with AvroOutputFile[ManifestEntry](output, written_as, "manifest_entry", given_as, own) as writer:
            writer.write_block(list(entries))
        by_status = {
            status: [each.data_file.record_count for each in entries if each.status == status]
            for status in (ManifestEntryStatus.ADDED, ManifestEntryStatus.EXISTING, ManifestEntryStatus.DELETED)
        }
        live = [each for each in entries if each.status != ManifestEntryStatus.DELETED]
        numbers = [self._sequence_number if each.sequence_number is None else each.sequence_number for each in live]
        return ManifestFile(
            output.location,
            len(output),
            spec_id,
            content,
            self._sequence_number,
            min(numbers, default=self._sequence_number),
            self.snapshot_id,
            *(len(counts) for counts in by_status.values()),
            *(sum(counts) for counts in by_status.values()),
            construct_partition_summaries(spec, schema, [each.data_file.partition for each in entries]),
            None,
            None,
        )

    def _manifest_list(self, manifests: Sequence[ManifestFile]) -> tuple[str, int]:
        """Its path, and how many row ids were given out (in version 3, where each manifest has its first)."""
        version, first = VERSIONS[self.table.metadata.format_version], self._next_row_id
        following = first
        for each in manifests:
            if version >= 3 and each.content == ManifestContent.DATA and each[_FIRST_ROW_ID] is None:
                each[_FIRST_ROW_ID] = following
                following += (each.added_rows_count or 0) + (each.existing_rows_count or 0)
        parent = str(self.parent.snapshot_id) if self.parent else "null"
        own = {
            "snapshot-id": str(self.snapshot_id),
            "parent-snapshot-id": parent,
            "sequence-number": str(self._sequence_number),
            "format-version": str(version),
            AVRO_CODEC_KEY: self._codec,
        } | ({"first-row-id": str(first)} if version >= 3 else {})
        path = self._path(f"snap-{self.snapshot_id}-0-{self._uuid}.avro")
        written_as, given_as = MANIFEST_LIST_FILE_SCHEMAS[version], MANIFEST_LIST_FILE_SCHEMAS[_SUPERSET]
        output = self.table.io.new_output(path)
        with AvroOutputFile[ManifestFile](output, written_as, "manifest_file", given_as, own) as writer:
            if manifests:
                writer.write_block(list(manifests))
        return path, following - first

    def _summary(self, added: Sequence[DataFile], says: Mapping[str, str]) -> Summary:
        metadata = self.table.metadata
        limit = property_as_int(metadata.properties, TableProperties.WRITE_PARTITION_SUMMARY_LIMIT, 0) or 0
        collector, specs, schema = SnapshotSummaryCollector(limit), metadata.specs(), metadata.schema()
        for each in added:
            collector.add_file(each, schema, specs[each.spec_id])
        for each in self._removed:
            collector.remove_file(each, schema, specs[each.spec_id])
        summary = Summary(operation=self._operation(added), **collector.build(), **says)
        return update_snapshot_summaries(summary, self.parent.summary if self.parent else None)

    def _operation(self, added: Sequence[DataFile]) -> Operation:
        """As Iceberg's own overwrite says it: readers of what was appended may follow a table that only grows."""
        if bool(added) == bool(self._removed):
            return Operation.OVERWRITE
        return Operation.APPEND if added else Operation.DELETE

    @property
    def _codec(self) -> str:
        default = TableProperties.WRITE_AVRO_COMPRESSION_DEFAULT
        return self.table.metadata.properties.get(TableProperties.WRITE_AVRO_COMPRESSION, default)

    def _path(self, name: str) -> str:
        path = self.table.location_provider().new_metadata_location(name)
        self._paths.append(path)
        return path


D = TypeVar("D", bound=StructProtocol)


@dataclass(frozen=True, eq=False)
class _Kind(Generic[D]):
    """What a file of metadata is read as: its records' fields, and their classes by the fields' ids."""

    fields: Schema
    types: Mapping[int, Callable[..., StructProtocol]]
    enums: Mapping[int, Callable[..., Enum]]

    def read(self, io: FileIO, path: str) -> list[D]:
        with _Avro[D](io.new_input(path), self) as records:
            return list(records)


class _Avro(AvroFile[D], Generic[D]):
    """PyIceberg's makes a reader of the records anew for each file: that takes ten times as long as to read a few."""

    def __init__(self, file: InputFile, kind: _Kind[D]) -> None:
        super().__init__(file, kind.fields, dict(kind.types), dict(kind.enums))
        self._kind = kind

    def __enter__(self) -> "_Avro[D]":
        with self.input_file.open() as file:
            self.decoder = new_decoder(file.read())
        self.header = _HEADER.read(self.decoder)
        self.reader = _reader_of(self.header.meta[_WRITTEN_AS], self._kind)
        return self


_WRITTEN_AS = "avro.schema"
_HEADER = construct_reader(META_SCHEMA, {-1: AvroFileHeader})


@lru_cache(1_000)
def _reader_of(written_as: str, kind: _Kind[Any]) -> Reader:
    """Of records that were written by this schema, in JSON: nearly all manifests of a table have the same."""
    header = AvroFileHeader(None, {_WRITTEN_AS: written_as}, None)
    return resolve_reader(header.get_schema(), kind.fields, dict(kind.types), dict(kind.enums))


_MANIFEST_LIST = _Kind[ManifestFile](
    MANIFEST_LIST_FILE_SCHEMAS[_SUPERSET], {-1: ManifestFile, 508: PartitionFieldSummary}, {517: ManifestContent}
)
_MANIFEST = _Kind[ManifestEntry](
    MANIFEST_ENTRY_SCHEMAS[_SUPERSET],
    {-1: ManifestEntry, 2: DataFile},
    {0: ManifestEntryStatus, 101: FileFormat, 134: DataFileContent},
)


def read_manifests(io: FileIO, snapshot: Snapshot) -> list[ManifestFile]:
    """The manifests of a snapshot, with the fields of version 3."""
    return _MANIFEST_LIST.read(io, snapshot.manifest_list)


def read_entries(io: FileIO, manifest: ManifestFile) -> list[ManifestEntry]:
    """The entries of a manifest's live files, with the fields of version 3 and all that they inherit."""
    read = _MANIFEST.read(io, manifest.manifest_path)
    entries = [each for each in read if each.status != ManifestEntryStatus.DELETED]
    row_id: int | None = manifest[_FIRST_ROW_ID]
    for each in entries:
        if each.snapshot_id is None and manifest.added_snapshot_id is not None:
            each.snapshot_id = manifest.added_snapshot_id
        if each.sequence_number is None:
            each.sequence_number = manifest.sequence_number
        if each.file_sequence_number is None:
            each.file_sequence_number = manifest.sequence_number
        file = each.data_file
        file.spec_id = manifest.partition_spec_id
        if row_id is not None and file[_FIRST_ROW_ID_OF_FILE] is None and manifest.content == ManifestContent.DATA:
            file[_FIRST_ROW_ID_OF_FILE] = row_id
            row_id += file.record_count
    return entries


def delete_files(io: FileIO, paths: Iterable[str]) -> None:
    """As far as it goes: what is left is found by whoever removes orphan files."""
    for path in paths:
        try:
            io.delete(path)
        except FileNotFoundError:
            pass
        except Exception:
            _log.warning("could not delete %s", path, exc_info=True)


def _read_all(io: FileIO, manifests: Sequence[ManifestFile]) -> list[list[ManifestEntry]]:
    return list(ExecutorFactory.get_or_create().map(lambda each: read_entries(io, each), manifests))


def _live_files(manifest: ManifestFile) -> int:
    return (manifest.added_files_count or 0) + (manifest.existing_files_count or 0)


def _spec_of(manifest: ManifestFile) -> int:
    return manifest.partition_spec_id


def _in_groups(manifests: Sequence[ManifestFile], files: int) -> Iterable[list[ManifestFile]]:
    """In their order, so that days that are near stay near; each of at least so many files, but the last."""
    group: list[ManifestFile] = []
    for each in manifests:
        group.append(each)
        if sum(map(_live_files, group)) >= files:
            yield group
            group = []
    if group:
        yield group


def _with_all_fields(file: DataFile) -> DataFile:
    values = list(file._data)
    complete = DataFile(*values, *[None] * (_DATA_FILE_FIELDS - len(values)))
    complete[_FIRST_ROW_ID_OF_FILE] = None  # of the snapshot that staged it; the one that publishes it gives another
    complete.spec_id = file.spec_id
    return complete
