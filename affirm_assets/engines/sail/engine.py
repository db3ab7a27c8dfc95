"""The verbs of a step, on a session of Sail."""

import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from pyiceberg.table import Table
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType

from affirm_assets.engines.sail.plain import THREADS, PlainScan, name_for_sail, plain_scan
from affirm_assets.engines.sail.stage import stage_files
from affirm_assets.errors import InputLost
from affirm_assets.steps.engine import Days, Staged
from affirm_assets.steps.request import Request

KEPT = "affirm-kept-"
"""How the folders of kept frames begin, in the folder for temporary files. A killed process leaves its own."""


class Session(Protocol):
    """A PySpark session of this step alone, on Sail."""

    @property
    def spark(self) -> SparkSession: ...
    def active(self) -> AbstractContextManager[None]: ...
    def close(self) -> None: ...


class SailEngine:
    """Reads plain Parquet files by name, and writes them with PyArrow. Raises NotPlain for what is not plain.

    `sources` says for lineage which table a file belongs to, `kept` which frame a kept frame's folder holds.
    """

    name = "sail"

    def __init__(self, opened: Session) -> None:
        self._opened = opened
        self.session = opened.spark
        self.sources: dict[str, str] = {}
        self.kept: dict[str, DataFrame] = {}
        self._read: list[tuple[Table, PlainScan]] = []
        self._folder: str | None = None

    def active(self) -> AbstractContextManager[None]:
        return self._opened.active()

    def read(self, table: Table, snapshot: int, schema: StructType, days: Days | None) -> DataFrame:
        """Raises NotPlain, InputLost, SchemaChangeRefused."""
        with self.active():
            scan = plain_scan(table, snapshot, schema, days)
            self._read.append((table, scan))
            frame = self._by_name(scan.table, snapshot, scan.paths, scan.rows, schema)
            return frame if days is None else _within(frame, days)

    def empty(self, schema: StructType) -> DataFrame:
        with self.active():
            return self.session.createDataFrame([], _ddl(schema))

    def keep(self, frame: DataFrame) -> DataFrame:
        """As a Parquet file of its own: a frame of local rows would be sent to the engine again with each plan."""
        with self.active():
            if self._folder is None:
                self._folder = tempfile.mkdtemp(prefix=KEPT)
            path = str(Path(self._folder, uuid4().hex))
            schema = _ddl(frame.schema)
            frame.write.parquet(path)
            self.kept[path] = frame
            return self.session.read.schema(schema).parquet(path)

    def stage(self, rows: DataFrame, table: Table, request: Request) -> Staged:
        """Raises NullInRequiredColumn, NotPlain, InputLost."""
        window = request.window
        with self.active():
            staged = stage_files(rows, table, is_range=window is not None and window.first != window.last)
            self.check_inputs()
        return staged

    def look(self, table: Table, staged: Staged, schema: StructType) -> DataFrame:
        with self.active():
            name = ".".join(table.name())
            paths = tuple(name_for_sail(name, file) for file in staged.files)
            return self._by_name(name, staged.snapshot or 0, paths, staged.rows, schema)

    def check_inputs(self) -> None:
        """Raises InputLost if files that were read are gone: what was computed may lack their rows."""
        for table, scan in self._read:
            with ThreadPoolExecutor(THREADS) as threads:
                exist = list(threads.map(lambda path: table.io.new_input(path).exists(), scan.files))
            if not all(exist):
                raise InputLost(scan.table, scan.snapshot, f"{len(exist):,} files", f"{sum(exist):,}")

    def close(self) -> None:
        self._opened.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _by_name(self, table: str, snapshot: int, paths: tuple[str, ...], rows: int, schema: StructType) -> DataFrame:
        if not paths:
            return self.empty(schema)
        self.sources.update(dict.fromkeys(paths, table))
        frame = self.session.read.schema(_ddl(schema)).parquet(*paths)
        # Sail reads a file that it does not find as one without rows, and says nothing. Counting looks at footers only.
        if (found := frame.count()) != rows:
            raise InputLost(table, snapshot, f"{rows:,} rows", f"{found:,}")
        return frame


def _within(frame: DataFrame, days: Days) -> DataFrame:
    """A file that was written by another partition spec may hold other days too."""
    from pyspark.sql.connect import functions as F

    column, window = days
    inside: Any = F.col(column).between(F.lit(window.first), F.lit(window.last))
    return frame.where(inside)


def _ddl(schema: StructType) -> str:
    """As text, which has no metadata: Sail takes even that of `{}` for a part of a column's type in some places."""
    fields = ((each, "" if each.nullable else " NOT NULL") for each in schema.fields)
    return ", ".join(f"`{each.name}` {each.dataType.simpleString()}{required}" for each, required in fields)
