"""The catalog of tables: one description gives PyIceberg's properties and Spark's settings. No secret is in either."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dagster import ConfigurableResource
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import NamespaceAlreadyExistsError
from pyiceberg.io import FileIO
from pyiceberg.io.fsspec import FsspecFileIO
from pyiceberg.serializers import Compressor
from pyiceberg.table import CommitTableResponse, Table
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.update import TableRequirement, TableUpdate
from pyiceberg.typedef import EMPTY_DICT, IcebergBaseModel, Identifier, Properties
from sqlalchemy.exc import DatabaseError, IntegrityError, OperationalError, ProgrammingError

FILES = "file://"
BUCKETS = "s3://"

_SQL = {"sqlite", "postgresql+psycopg2"}
_REST = {"http", "https"}
_GLUE = "glue"

_NUMBERED = re.compile(r"(\d+)-.*\.metadata\.json")
"""How Iceberg names a table's metadata files: 00012-<uuid>.metadata.json."""


class CatalogError(Exception):
    """The catalog of tables cannot be used as it is."""


class CatalogUnreachable(CatalogError):
    """The catalog's database does not answer, or refuses the user."""


class CatalogDamaged(CatalogError):
    """The catalog's file is not a whole database."""


class CatalogLost(CatalogError):
    """The catalog knows no table, and the warehouse is full of them: to begin a new lake would hide the old one."""


class _SharedSqlCatalog(SqlCatalog):
    """One whose namespaces several processes may make at once."""

    def create_namespace(self, namespace: str | Identifier, properties: Properties = EMPTY_DICT) -> None:
        try:
            super().create_namespace(namespace, properties)
        except IntegrityError as error:  # made by another between the check and the insertion
            raise NamespaceAlreadyExistsError(f"Namespace {namespace} already exists") from error

    def commit_table(
        self, table: Table, requirements: tuple[TableRequirement, ...], updates: tuple[TableUpdate, ...]
    ) -> CommitTableResponse:
        """Raises NotImplementedError for a table with something of version 3 that PyIceberg would lose."""
        if table.metadata.format_version >= 3:
            _check_nothing_is_lost(table)
        return super().commit_table(table, requirements, updates)

    @staticmethod
    def _write_metadata(metadata: TableMetadata, io: FileIO, metadata_path: str) -> None:
        """PyIceberg 0.12 has version 3 in its model, and refuses to write it as long as that is not all of it."""
        if metadata.format_version < 3:
            SqlCatalog._write_metadata(metadata, io, metadata_path)
            return
        text = IcebergBaseModel.model_dump_json(metadata)
        compressor = Compressor.get_compressor(metadata_path).bytes_compressor()
        with io.new_output(metadata_path).create() as stream:
            stream.write(compressor(text.encode()))


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


def _sql_catalog(name: str, properties: dict[str, str]) -> SqlCatalog:
    try:
        return _SharedSqlCatalog(name, **properties)
    except (IntegrityError, ProgrammingError):
        # The first steps of a new catalog find no tables in the database and make them, and one of them is first.
        return _SharedSqlCatalog(name, **properties)


def _check_whole(catalog: SqlCatalog) -> None:
    """Raises DatabaseError: a damaged page is found now, and not by the step that happens to need it."""
    with catalog.engine.connect() as connection:
        found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
        if found != "ok":
            raise DatabaseError("PRAGMA quick_check", None, ValueError(str(found)))


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
        """Raises CatalogUnreachable, CatalogDamaged, CatalogLost."""
        if self.warehouse.startswith(FILES):
            Path(self.warehouse.removeprefix(FILES)).mkdir(parents=True, exist_ok=True)
        properties = self.properties()
        # Imported here: each takes a part of a second that a laptop need not spend.
        if self._kind in _REST:
            from pyiceberg.catalog.rest import RestCatalog

            return RestCatalog(self.name, **properties)
        if self._kind == _GLUE:
            from pyiceberg.catalog.glue import GlueCatalog

            return GlueCatalog(self.name, **properties)
        catalog = self._load_sql(properties)
        if not catalog.list_namespaces() and (found := self.tables_in_warehouse()):
            first = next(iter(found))
            raise CatalogLost(
                f"catalog {self.uri}: expected the {len(found)} tables that lie in {self.warehouse} (such as {first}), "
                "found none: was its database removed, or another one named? Bring it back, or register the tables "
                "again from their newest metadata files with: affirm register-tables"
            )
        return catalog

    def register_tables(self) -> Mapping[str, str]:
        """Register each table of the warehouse that the catalog lacks, by its newest metadata file; returns these."""
        catalog = self._load_sql(self.properties())
        registered = {}
        for table, location in self.tables_in_warehouse().items():
            if not catalog.table_exists(table):
                catalog.create_namespace_if_not_exists(table.partition(".")[0])
                catalog.register_table(table, location)
                registered[table] = location
        return registered

    def tables_in_warehouse(self) -> Mapping[str, str]:
        """By table, its newest metadata file: the one with the highest number, and of two with one number the later."""
        files, kind = self._file_system()
        root = self.warehouse.removeprefix(f"{kind}://").rstrip("/")
        newest: dict[str, tuple[int, str, str]] = {}
        for path in files.glob(f"{root}/*/*/metadata/*.metadata.json"):
            namespace, table, _, name = str(path).removeprefix(root).strip("/").split("/")
            number = int(found[1]) if (found := _NUMBERED.match(name)) else -1
            version = (number, str(files.modified(path)), f"{kind}://{path}")
            newest[f"{namespace}.{table}"] = max(version, newest.get(f"{namespace}.{table}", version))
        return {table: location for table, (_, _, location) in sorted(newest.items())}

    def _file_system(self) -> tuple[AbstractFileSystem, str]:
        kind = self.warehouse.partition("://")[0]
        if kind == "file":
            return LocalFileSystem(), kind
        return FsspecFileIO(self.properties()).get_fs(kind), kind

    def _load_sql(self, properties: dict[str, str]) -> SqlCatalog:
        try:
            catalog = _sql_catalog(self.name, properties)
            if self._kind == "sqlite":
                _check_whole(catalog)
            return catalog
        except OperationalError as error:
            raise CatalogUnreachable(
                f"catalog {self.uri}: expected a database that this user may use; found: {str(error.orig).strip()}. "
                "Check AFFIRM_CATALOG_URI and PGPASSWORD, and that the database can be reached from here."
            ) from error
        except DatabaseError as error:
            found = " ".join(str(error.orig).split())
            raise CatalogDamaged(
                f"catalog {self.uri}: expected a whole SQLite database, found: {found}. Bring back a copy of the file; "
                "or move it away and register the tables again from their newest metadata files: affirm register-tables"
            ) from error

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
