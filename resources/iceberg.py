"""The catalog of tables: one description gives PyIceberg's properties and Spark's settings. No secret is in either."""

import json
import re
import zlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from gzip import BadGzipFile
from pathlib import Path
from typing import Any, cast
from weakref import WeakValueDictionary

from dagster import ConfigurableResource
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import IcebergTables, SqlCatalog
from pyiceberg.exceptions import (
    CommitFailedException,
    CommitStateUnknownException,
    NamespaceAlreadyExistsError,
    NoSuchNamespaceError,
    NoSuchTableError,
    TableAlreadyExistsError,
    ValidationError,
)
from pyiceberg.io import FileIO
from pyiceberg.io.fsspec import FsspecFileIO
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC, PartitionSpec
from pyiceberg.serializers import Compressor, FromInputFile
from pyiceberg.table import CommitTableResponse, StagedTable, Table
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import Snapshot, SnapshotLogEntry
from pyiceberg.table.sorting import UNSORTED_SORT_ORDER, SortOrder
from pyiceberg.table.update import TableRequirement, TableUpdate
from pyiceberg.typedef import EMPTY_DICT, IcebergBaseModel, Identifier, Properties
from sqlalchemy import CursorResult, select, update
from sqlalchemy.exc import DatabaseError, IntegrityError, OperationalError, ProgrammingError
from sqlalchemy.orm import Session

FILES = "file://"
BUCKETS = "s3://"

_SQL = {"sqlite", "postgresql+psycopg2"}
_REST = {"http", "https"}
_GLUE = "glue"

_NUMBERED = re.compile(r"(\d+)-.*\.metadata\.json")
"""How Iceberg names a table's metadata files: 00012-<uuid>.metadata.json."""

_METADATA = ".metadata.json"

_UNREADABLE = (ValidationError, ValueError, EOFError, zlib.error, BadGzipFile)
"""What reading a metadata file raises that is empty, cut off or something else."""

_OF_DAMAGE = ("Could not decode", "no such column", "no such table")
"""What SQLite calls an OperationalError, as it calls a file that it may not open, although no other try helps."""

REGISTER = ".venv/bin/affirm register-tables"


def _itself(value: Any, _memo: Any = None) -> Any:
    return value


# PyIceberg copies all of a table's metadata with each commit. Snapshots never change, and there is one for each commit.
for _kind in (Snapshot, SnapshotLogEntry):
    setattr(_kind, "__deepcopy__", _itself)  # noqa: B010

_written: ContextVar[list[tuple[FileIO, str]]] = ContextVar("_written")
"""The metadata files that the creation or commit under way has written."""


class CatalogError(Exception):
    """The catalog of tables cannot be used as it is."""


class CatalogUnreachable(CatalogError):
    """The catalog's database or server does not answer, or refuses the user."""


class CommitUnknown(CatalogError, CommitStateUnknownException):
    """Nobody knows whether a commit came through: it got no answer that tells, or its tables are not as it says."""


class CatalogDamaged(CatalogError):
    """The catalog's database is not whole."""


class MetadataUnreadable(CatalogError):
    """A metadata file that the catalog names is not there, or not whole."""


class CatalogLost(CatalogError):
    """The catalog does not know a table that was committed to: to read none, or begin a new one, would hide it."""


@dataclass(frozen=True)
class Registration:
    """`undecided`: by table, the readable metadata files of its highest number, of which one at most was committed.
    `unreadable`: the files that were passed over, each with what is wrong with it. `never_committed`: the tables that
    were passed over, since they hold nothing: the next step makes them anew."""

    registered: Sequence[Table]
    undecided: Mapping[str, Sequence[str]]
    unreadable: Mapping[str, str]
    never_committed: Sequence[str]


@dataclass(frozen=True)
class Change:
    """What is to be committed to a table, as it was loaded."""

    table: Table
    updates: tuple[TableUpdate, ...]
    requirements: tuple[TableRequirement, ...] = ()


class _SharedSqlCatalog(SqlCatalog):
    """One that several processes may use at once, and that begins no new table where another was committed to.

    Of two metadata files with one number, nobody can tell by the warehouse which was committed. Those that certainly
    were not are removed.

    Each load asks the database which metadata file a table has now. Such a file never changes, and may be of a thousand
    snapshots: as long as somebody holds what was read of it, it is not read again.
    """

    commits_together = True
    checks_properties = True
    """Requirements are checked by this library, so that one of a kind of one's own may speak of properties."""

    def __init__(self, name: str, **properties: str) -> None:
        self._read: WeakValueDictionary[str, TableMetadata] = WeakValueDictionary()
        super().__init__(name, **properties)

    def create_namespace(self, namespace: str | Identifier, properties: Properties = EMPTY_DICT) -> None:
        try:
            super().create_namespace(namespace, properties)
        except IntegrityError as error:  # made by another between the check and the insertion
            raise NamespaceAlreadyExistsError(f"Namespace {namespace} already exists") from error

    def create_table(
        self,
        identifier: str | Identifier,
        schema: Any,
        location: str | None = None,
        partition_spec: PartitionSpec = UNPARTITIONED_PARTITION_SPEC,
        sort_order: SortOrder = UNSORTED_SORT_ORDER,
        properties: Properties = EMPTY_DICT,
    ) -> Table:
        """Raises CatalogLost, where a table was committed to in the folder, and the catalog does not know it."""
        self._check_folder_is_new(identifier, location)
        with _removed_if_refused():
            return super().create_table(identifier, schema, location, partition_spec, sort_order, properties)

    def _create_staged_table(
        self,
        identifier: str | Identifier,
        schema: Any,
        location: str | None = None,
        partition_spec: PartitionSpec = UNPARTITIONED_PARTITION_SPEC,
        sort_order: SortOrder = UNSORTED_SORT_ORDER,
        properties: Properties = EMPTY_DICT,
    ) -> StagedTable:
        """The table of a transaction that creates it. Raises CatalogLost, as create_table does."""
        self._check_folder_is_new(identifier, location)
        return super()._create_staged_table(identifier, schema, location, partition_spec, sort_order, properties)

    def list_namespaces(self, namespace: str | Identifier = ()) -> list[Identifier]:
        with _database_of(self.properties["uri"]):
            return super().list_namespaces(namespace)

    def list_tables(self, namespace: str | Identifier) -> list[Identifier]:
        with _database_of(self.properties["uri"]):
            return super().list_tables(namespace)

    def load_table(self, identifier: str | Identifier) -> Table:
        """Raises CatalogUnreachable, CatalogDamaged; MetadataUnreadable; CatalogLost, if only its folder knows it."""
        with _database_of(self.properties["uri"]):
            try:
                return super().load_table(identifier)
            except NoSuchTableError:
                if not self._is_made(identifier, None):
                    raise
            return super().load_table(identifier)

    def _convert_orm_to_iceberg(self, orm_table: IcebergTables) -> Table:
        location = orm_table.metadata_location
        if location and (known := self._read.get(location)) is not None:
            identifier = (*Catalog.identifier_to_tuple(orm_table.table_namespace), orm_table.table_name)
            return Table(identifier, known, location, self._load_file_io(known.properties, location), self)
        try:
            table = super()._convert_orm_to_iceberg(orm_table)
            self._read[table.metadata_location] = table.metadata
            return table
        except (*_UNREADABLE, FileNotFoundError) as error:
            raise MetadataUnreadable(
                f"{orm_table.table_namespace}.{orm_table.table_name}: expected a whole metadata file, as the catalog "
                f"names it, {orm_table.metadata_location}; found: {_in_one_line(error)}. Bring that file back; or take "
                f"the table's row out of iceberg_tables and register it by its newest whole file: {REGISTER}"
            ) from error

    def _check_folder_is_new(self, identifier: str | Identifier, location: str | None) -> None:
        if self._is_made(identifier, location):
            raise TableAlreadyExistsError(f"Table {'.'.join(self.identifier_to_tuple(identifier))} already exists")

    def _is_made(self, identifier: str | Identifier, location: str | None) -> bool:
        """Whether another process has made the table just now, and committed to it.

        Raises CatalogLost where it was committed to, and the catalog does not know it.
        """
        namespace, table = self.identifier_to_database_and_table(identifier)
        try:
            folder = self._resolve_table_location(location, namespace, table)
        except NoSuchNamespaceError:  # it may be lost, too
            folder = f"{self.properties['warehouse'].rstrip('/')}/{namespace}/{table}"
        if not (found := _committed(folder, self.properties)):
            return False
        if self._knows(identifier):
            return True
        raise CatalogLost(
            f"{namespace}.{table}: the catalog does not know it. Expected no table that was committed to in "
            f"{folder}, found {len(found)} metadata files (such as {found[-1]}): it would read as never published, and "
            f"a new table would hide it. Bring the catalog's database back, or register the table again: {REGISTER}. "
            "If it was dropped on purpose, move its folder away."
        )

    def _knows(self, identifier: str | Identifier) -> bool:
        try:
            super().load_table(identifier)
        except NoSuchTableError:
            return False
        return True

    def commit_table(
        self, table: Table, requirements: tuple[TableRequirement, ...], updates: tuple[TableUpdate, ...]
    ) -> CommitTableResponse:
        """Raises NotImplementedError for a table with something of version 3 that PyIceberg would lose."""
        if table.metadata.format_version >= 3:
            _check_nothing_is_lost(table)
        with _removed_if_refused():
            return super().commit_table(table, requirements, updates)

    def load_together(self, names: Collection[str]) -> dict[str, Table]:
        """The tables of these names that there are, as all of them were at one moment."""
        with _database_of(self.properties["uri"]), Session(self.engine) as session:
            rows = session.scalars(select(IcebergTables).where(IcebergTables.catalog_name == self.name)).all()
        named = {f"{row.table_namespace}.{row.table_name}": row for row in rows}
        return {name: self._convert_orm_to_iceberg(named[name]) for name in names if name in named}

    def commit_together(self, changes: Sequence[Change]) -> None:
        """Commit to several tables in one transaction of the database: readers see all of it, or none.

        Each table must still be as it was loaded, whatever its requirements are. Raises CommitFailedException if one of
        them is not: then nothing has changed, and the files that were written are removed.
        """
        with _removed_if_it_fails() as commits:
            staged = [self._staged(each) for each in changes]
            moves = [
                (*change.table.name(), change.table.metadata_location, new.metadata_location)
                for change, new in zip(changes, staged, strict=True)
            ]
            with _database_of(self.properties["uri"]), Session(self.engine) as session:
                # In one order, so that of two such commits none waits for the other in PostgreSQL.
                for namespace, table, before, after in sorted(moves):
                    moved = session.execute(
                        update(IcebergTables)
                        .where(
                            IcebergTables.catalog_name == self.name,
                            IcebergTables.table_namespace == namespace,
                            IcebergTables.table_name == table,
                            IcebergTables.metadata_location == before,
                        )
                        .values(metadata_location=after, previous_metadata_location=before)
                    )
                    if cast("CursorResult[Any]", moved).rowcount != 1:
                        raise CommitFailedException(f"{namespace}.{table} was committed to by another process")
                commits()
                session.commit()
        for change, new in zip(changes, staged, strict=True):
            with suppress(OSError):  # all is committed: files that nobody needs may stay
                self._delete_old_metadata(change.table.io, change.table.metadata, new.metadata)

    def _staged(self, change: Change) -> StagedTable:
        if change.table.metadata.format_version >= 3:
            _check_nothing_is_lost(change.table)
        staged = self._update_and_stage_table(change.table, change.table.name(), change.requirements, change.updates)
        self._write_metadata(staged.metadata, staged.io, staged.metadata_location)
        return staged

    @staticmethod
    def _write_metadata(metadata: TableMetadata, io: FileIO, metadata_path: str) -> None:
        """PyIceberg 0.12 has version 3 in its model, and refuses to write it as long as that is not all of it."""
        _written.get().append((io, metadata_path))
        try:
            if metadata.format_version < 3:
                SqlCatalog._write_metadata(metadata, io, metadata_path)
                return
            text = IcebergBaseModel.model_dump_json(metadata)
            compressor = Compressor.get_compressor(metadata_path).bytes_compressor()
            with io.new_output(metadata_path).create() as stream:
                stream.write(compressor(text.encode()))
        except Exception:
            _remove(io, metadata_path)  # no catalog names what could not be written
            raise


@contextmanager
def _database_of(uri: str) -> Iterator[None]:
    """What is wrong with the catalog's database in one line: raises CatalogUnreachable, CatalogDamaged."""
    try:
        yield
    except (DatabaseError, UnicodeDecodeError) as error:
        found = _in_one_line(error.orig if isinstance(error, DatabaseError) else error)
        if isinstance(error, OperationalError) and not any(each in found for each in _OF_DAMAGE):
            raise CatalogUnreachable(
                f"catalog {uri}: expected a database that this user may use; found: {found}. "
                "Check AFFIRM_CATALOG_URI and PGPASSWORD, and that the database can be reached from here."
            ) from error
        kind = "SQLite" if uri.startswith("sqlite") else "PostgreSQL"
        raise CatalogDamaged(
            f"catalog {uri}: expected a whole {kind} database, found: {found}. Bring back a copy of it; "
            f"or move it away and register the tables again from their newest metadata files: {REGISTER}"
        ) from error


def _in_one_line(error: BaseException | None) -> str:
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def _removed_if_refused() -> Iterator[None]:
    """Removes the metadata files of a commit that certainly failed; if the outcome is unknown, they may be needed."""
    token = _written.set([])
    try:
        yield
    except (CommitFailedException, TableAlreadyExistsError):
        for io, path in _written.get():
            _remove(io, path)
        raise
    finally:
        _written.reset(token)


@contextmanager
def _removed_if_it_fails() -> Iterator[Callable[[], None]]:
    """Removes the metadata files that were written if anything fails before the caller says that it commits."""
    token, begun = _written.set([]), list[bool]()
    try:
        yield lambda: begun.append(True)
    except BaseException:
        for io, path in _written.get() if not begun else ():
            _remove(io, path)
        raise
    finally:
        _written.reset(token)


def _remove(io: FileIO, path: str) -> None:
    with suppress(OSError):  # the commit's own error is the one to report
        io.delete(path)


def _file_system(location: str, properties: Properties) -> AbstractFileSystem:
    """Of a folder of the warehouse. It remembers no listing.

    fsspec shares one object among all who use the same settings, PyIceberg's readers too. A listing that this object
    remembered would hide the files that others write there later. So this one has a setting of its own.
    """
    if not location.startswith(BUCKETS):
        return LocalFileSystem()
    shared = FsspecFileIO(properties).get_fs(location.partition("://")[0])
    return type(shared)(*shared.storage_args, **{**shared.storage_options, "use_listings_cache": False})


def _committed(folder: str, properties: Properties) -> list[str]:
    """The metadata files of a table that was committed to, by its folder; none, if it never was.

    Whoever makes a table writes its first metadata file, and then its row in the catalog. Who is killed in between
    leaves that file, whole or cut off, and nothing else, of a table that nobody has seen. A commit leaves more:
    manifests and a second metadata file, or data, if metadata goes elsewhere by then (write.metadata.path). A table of
    which metadata and data both go elsewhere is not recognized.
    """
    files = _file_system(folder, properties)
    found = _listed(files, f"{folder}/metadata")
    is_first = [path.endswith(_METADATA) and _number(path) == 0 for path in found]
    if all(is_first) and len(_listed(files, folder)) <= 1:
        return []
    return [path for path in found if path.endswith(_METADATA)]


def _listed(files: AbstractFileSystem, folder: str) -> list[str]:
    """Paths; none of a folder that is not there. A bucket may have an object that stands for the folder itself."""
    try:
        return sorted(path for path in map(str, files.ls(folder, detail=False)) if not path.endswith("/"))
    except FileNotFoundError:
        return []


def _number(location: str) -> int:
    found = _NUMBERED.match(location.rpartition("/")[2])
    return int(found[1]) if found else -1


def _check_nothing_is_lost(table: Table) -> None:
    location = table.metadata_location
    with table.io.new_input(location).open() as stream:
        found = json.loads(Compressor.get_compressor(location).stream_decompressor(stream).read())
    if lost := sorted(_lost(found, json.loads(IcebergBaseModel.model_dump_json(table.metadata)))):
        raise NotImplementedError(
            f"{'.'.join(table.name())} is of Iceberg's format version 3 and has {', '.join(lost)}, which PyIceberg "
            "would lose. Write it by an engine that knows them, or take them out of the table"
        )


def _lost(found: Any, kept: Any, path: str = "") -> Iterator[str]:
    """The paths of what is found and not kept."""
    if isinstance(found, dict) and isinstance(kept, dict):
        for name, value in found.items():
            if name in kept:
                yield from _lost(value, kept[name], f"{path}{name}.")
            elif value not in (None, [], {}):
                yield f"{path}{name}"
    elif isinstance(found, list) and isinstance(kept, list):
        for ours, theirs in zip(found, kept, strict=False):
            yield from _lost(ours, theirs, path)


_CATALOG_S_TABLES = 2


def _sql_catalog(name: str, properties: dict[str, str]) -> SqlCatalog:
    # The first steps of a new catalog find no tables in the database and make them, and one of them is first. There are
    # two tables: who came second for one may come second for the other.
    for _ in range(_CATALOG_S_TABLES):
        try:
            return _SharedSqlCatalog(name, **properties)
        except (IntegrityError, ProgrammingError):
            continue
        except OperationalError as error:
            # SQLite's word for it, which it has for much else.
            if "already exists" not in str(error.orig):
                raise
    return _SharedSqlCatalog(name, **properties)


def _check_whole(catalog: SqlCatalog) -> None:
    """Raises DatabaseError: a damaged page is found now, and not by the step that happens to need it."""
    with catalog.engine.connect() as connection:
        found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
        if found != "ok":
            raise DatabaseError("PRAGMA quick_check", None, ValueError(str(found)))


def _tables_of(catalog: Catalog) -> set[str]:
    return {".".join(table) for namespace in catalog.list_namespaces() for table in catalog.list_tables(namespace)}


def _wrong_with(catalog: SqlCatalog, location: str) -> str | None:
    """Why a metadata file cannot be read, in one line."""
    try:
        FromInputFile.table_metadata(catalog._load_file_io(location=location).new_input(location))
    except _UNREADABLE as error:
        return _in_one_line(error)
    return None


class IcebergCatalog(ConfigurableResource[Catalog]):
    """Where the tables are listed (`uri`) and where they are (`warehouse`).

    `uri` is sqlite:///<file>, postgresql+psycopg2://<user>@<host>:<port>/<database>, https://<REST catalog> or glue: .
    `warehouse` is file://<absolute folder> or s3://<bucket>/<prefix>. `region` and `s3_endpoint` (of another S3 than
    AWS) are for S3 and Glue.

    Passwords and keys are nobody's settings: libpq and PGPASSFILE of the JVM (see `pgpass`) know the database's, and
    AWS's libraries look for keys or a role in the environment by themselves.
    """

    name: str = "lake"
    uri: str
    warehouse: str
    region: str | None = None
    s3_endpoint: str | None = None

    def load(self) -> Catalog:
        """Raises CatalogUnreachable, CatalogDamaged, CatalogLost; CatalogError for Nessie."""
        if self.warehouse.startswith(FILES):
            Path(self.warehouse.removeprefix(FILES)).mkdir(parents=True, exist_ok=True)
        properties = self.properties()
        # Imported here: each takes a part of a second that a laptop need not spend.
        if self._kind in _REST:
            from resources.rest import SharedRestCatalog

            return SharedRestCatalog.reached(self.name, **properties)
        if self._kind == _GLUE:
            from pyiceberg.catalog.glue import GlueCatalog

            return GlueCatalog(self.name, **properties)
        catalog = self._load_sql(properties)
        if (
            not _tables_of(catalog)
            and (found := self._committed_to(self.tables_in_warehouse()))
            and not _tables_of(catalog)
        ):
            raise CatalogLost(
                f"catalog {self.uri}: expected the {len(found)} tables that lie in {self.warehouse} (such as "
                f"{found[0]}), found none: was its database removed, or another one named? Bring it back, or register "
                f"the tables again from their newest metadata files with: {REGISTER}"
            )
        return catalog

    def register_tables(self, chosen: Collection[str] = ()) -> Registration:
        """Register each table that was committed to and that the catalog lacks, by its newest readable metadata file.

        `chosen`: metadata files by which to register their tables, also if they are not the newest, or if nothing was
        ever committed. Raises CatalogError for one that cannot be, and for a catalog that is a service.
        """
        if self._kind not in _SQL:
            raise CatalogError(
                f"catalog {self.uri}: expected one in SQLite or PostgreSQL, found a service. Register the tables there "
                "by its own means, each by its newest metadata file (Iceberg's procedure register_table does it too)."
            )
        catalog = self._load_sql(self.properties())
        known, lie = _tables_of(catalog), self.tables_in_warehouse()
        choices = self._choices(chosen, known, lie)
        for table, location in choices.items():
            if wrong := _wrong_with(catalog, location):
                raise CatalogError(f"{table}: expected a whole metadata file, found {location}: {wrong}. Name another.")
        registered, undecided, unreadable = [], {}, {}
        lost = lie.keys() - known
        to_register = {*self._committed_to({table: lie[table] for table in lost}), *choices}
        for table in sorted(to_register):
            candidates = [choices[table]] if table in choices else []
            files = [] if candidates else lie[table]
            for number in sorted({_number(each) for each in files}, reverse=True):
                same = [each for each in files if _number(each) == number]
                wrong_with = {each: _wrong_with(catalog, each) for each in same}
                unreadable.update({each: wrong for each, wrong in wrong_with.items() if wrong})
                if candidates := [each for each, wrong in wrong_with.items() if not wrong]:
                    break
            if len(candidates) == 1:
                catalog.create_namespace_if_not_exists(table.partition(".")[0])
                registered.append(catalog.register_table(table, candidates[0]))
            elif candidates:
                undecided[table] = candidates
        return Registration(registered, undecided, unreadable, sorted(lost - to_register))

    def _choices(
        self, chosen: Collection[str], known: Collection[str], lie: Mapping[str, Sequence[str]]
    ) -> Mapping[str, str]:
        """By table, the file that was chosen for it."""
        table_of = {location: table for table, files in lie.items() for location in files}
        choices: dict[str, str] = {}
        for location in chosen:
            if location not in table_of:
                raise CatalogError(
                    f"{location}: expected a metadata file of a table, "
                    f"{self.warehouse}/<namespace>/<table>/metadata/<file>{_METADATA}; found none there."
                )
            table = table_of[location]
            if table in known:
                raise CatalogError(
                    f"{table}: expected a table that the catalog lacks, found it registered. To go back to {location}, "
                    "take the table's row out of iceberg_tables first."
                )
            if table in choices:
                raise CatalogError(f"{table}: expected one metadata file, found {choices[table]} and {location}.")
            choices[table] = location
        return choices

    def tables_in_warehouse(self) -> Mapping[str, Sequence[str]]:
        """By table, its metadata files."""
        files, kind = _file_system(self.warehouse, self.properties()), self.warehouse.partition("://")[0]
        root = self.warehouse.removeprefix(f"{kind}://").rstrip("/")
        found: dict[str, list[str]] = defaultdict(list)
        for path in sorted(map(str, files.glob(f"{root}/*/*/metadata/*{_METADATA}"))):
            namespace, table = path.removeprefix(root).strip("/").split("/")[:2]
            found[f"{namespace}.{table}"].append(f"{kind}://{path}")
        return dict(sorted(found.items()))

    def _committed_to(self, tables: Mapping[str, Sequence[str]]) -> Sequence[str]:
        """Those that were committed to, of tables with their metadata files."""
        folders = {table: files[0].rsplit("/", 2)[0] for table, files in tables.items()}
        return [table for table, folder in folders.items() if _committed(folder, self.properties())]

    def _load_sql(self, properties: dict[str, str]) -> SqlCatalog:
        with _database_of(self.uri):
            catalog = _sql_catalog(self.name, properties)
            if self._kind == "sqlite":
                _check_whole(catalog)
        return catalog

    def properties(self) -> dict[str, str]:
        """PyIceberg's."""
        kind: dict[str, str] = {}
        if self._kind in _SQL or self._kind in _REST:
            kind = {"uri": self.uri}
        if self._kind == "postgresql+psycopg2":
            kind["pool_pre_ping"] = "true"  # a step may compute for hours between two uses of a connection
        if self._kind == _GLUE:
            kind = {"glue.region": self.region} if self.region else {}
        return {
            "warehouse": self.warehouse,
            **kind,
            **(
                {
                    # Said, not left to PyIceberg's choice: the threads of PyArrow's S3 have kept pods from ending.
                    "py-io-impl": "pyiceberg.io.fsspec.FsspecFileIO",
                    **({"s3.region": self.region} if self.region else {}),
                    **({"s3.endpoint": self.s3_endpoint} if self.s3_endpoint else {}),
                }
                if self._on_s3
                else {}
            ),
        }

    def spark_conf(self) -> dict[str, str]:
        """Settings of a Spark session that see the same tables under the same catalog name."""
        prefix = f"spark.sql.catalog.{self.name}"
        return {
            prefix: "org.apache.iceberg.spark.SparkCatalog",
            **{f"{prefix}.{key}": value for key, value in self._spark_properties().items()},
        }

    def _spark_properties(self) -> dict[str, str]:
        return {
            **self._spark_kind(),
            "warehouse": self.warehouse,
            # A cached table misses the commits of other processes ("Cannot find snapshot").
            "cache-enabled": "false",
            **({"client.region": self.region} if self.region else {}),
            **({"io-impl": "org.apache.iceberg.aws.s3.S3FileIO"} if self._on_s3 else {}),
            # Buckets of another S3 are seldom names in DNS.
            **({"s3.endpoint": self.s3_endpoint, "s3.path-style-access": "true"} if self.s3_endpoint else {}),
        }

    def _spark_kind(self) -> dict[str, str]:
        # The schema of the catalog's own tables that PyIceberg makes.
        jdbc = {"type": "jdbc", "jdbc.schema-version": "V1"}
        if self._kind == "sqlite":
            return {**jdbc, "uri": f"jdbc:sqlite:{self.uri.removeprefix('sqlite:///')}"}
        if self._kind == "postgresql+psycopg2":
            user, _, database = self.uri.removeprefix("postgresql+psycopg2://").rpartition("@")
            return {**jdbc, "uri": f"jdbc:postgresql://{database}", "jdbc.user": user}
        if self._kind == _GLUE:
            return {"type": "glue"}
        return {"type": "rest", "uri": self.uri}

    @property
    def _kind(self) -> str:
        kind = self.uri.partition(":")[0]
        if kind not in {*_SQL, *_REST, _GLUE}:
            raise ValueError(f"catalog URI: expected one of {sorted({*_SQL, *_REST, _GLUE})}; found {kind!r}")
        return kind

    @property
    def _on_s3(self) -> bool:
        return self.warehouse.startswith(BUCKETS)
