"""The verbs of a step, on a session of Sail."""

import errno
import os
import re
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial, reduce
from itertools import chain
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import pyspark
from pyiceberg.io import FileIO
from pyiceberg.table import Table
from pyspark.errors import PySparkException, PythonException
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

import affirm_assets
from affirm_assets.engines.sail.checker import Checked, Checker
from affirm_assets.engines.sail.lineage import Leaves, column_lineage
from affirm_assets.engines.sail.plain import THREADS, PlainScan, name_for_sail, plain_scan
from affirm_assets.engines.sail.plan import Columns, Message, is_number
from affirm_assets.engines.sail.scratch import Scratch, remove_leftovers
from affirm_assets.engines.sail.stage import stage_files
from affirm_assets.errors import EngineFailed, FilesLost, NotProven
from affirm_assets.steps.engine import Among, Days, Staged, Target
from affirm_assets.steps.lineage import ColumnRef

Check = Callable[[Message], Message]
"""Sees each plan before the engine does: raises NotProven, or returns the plan to send."""


class Session(Protocol):
    """A PySpark session of this step alone, on Sail."""

    @property
    def spark(self) -> SparkSession: ...
    def active(self) -> AbstractContextManager[None]: ...
    def close(self) -> None: ...


class _LooksAtRows(BaseException):
    """Of a frame that is only to be made. An audit's own `except Exception` does not take it for an error."""


class SailEngine:
    """Reads plain Parquet files by name, and writes them with PyArrow.

    Each plan is checked before the engine sees it, and put into what is proven to give the rows that Spark gives.
    """

    name = "sail"

    def __init__(self, opens: Callable[[Check], Session], why: str) -> None:
        """`opens` makes a session whose plans all pass through a check."""
        self.why = why
        self._tables: dict[str, str] = {}  # by the path of a file
        self._kept: dict[str, Columns] = {}  # by the path of a kept frame's folder
        self._kept_files: dict[str, list[str]] = {}
        self._checking = threading.Lock()
        self._is_at_rest = False
        self._checker = Checker(Leaves(self._tables, self._kept))
        self._opened = opens(self._check)
        self.session = self._opened.spark
        self._scans: list[tuple[FileIO, PlainScan]] = []
        self._scratch: Scratch | None = None

    @contextmanager
    def active(self) -> Iterator[None]:
        """Raises NotProven for what PySpark has for Spark alone, such as an RDD; EngineFailed for an error of Sail's;
        OSError for a disk that is full.

        An error of a function of Python, which is the same on each engine, stays what it is.
        """
        try:
            with self._opened.active():
                yield
        except PySparkException as error:
            if _NO_SPACE in str(error):  # nor is there any for another engine
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
            if error.getCondition() not in _FOR_SPARK_ALONE:
                if isinstance(error, PythonException) and not _OF_THE_ENGINE.search(str(error)):
                    raise
                raise EngineFailed(self.name, _in_one_line(error)) from error
            place, line = _line_of_the_user(error)
            what = str(error).splitlines()[0]
            raise NotProven(line, f"PySpark has this for the engine spark alone ({what})", place=place) from error

    def owns(self, frame: DataFrame) -> bool:
        return frame.sparkSession is self.session

    def read(
        self, table: Table, snapshot: int, schema: StructType, days: Days | None, among: Among | None = None
    ) -> DataFrame:
        """Raises NotPlain, FilesLost, SchemaChangeRefused."""
        if among is not None and not among.values:
            return self.empty(schema)
        with self.active(), self._rests(False):
            try:
                scan = plain_scan(table, snapshot, schema, days, among)
            except FileNotFoundError as error:  # the snapshot has expired since the step pinned it, say
                name, where = ".".join(table.name()), f"snapshot {snapshot}"
                raise FilesLost(name, where, "every file that it names", f"that one is gone ({error})") from error
            self._scans.append((table.io, scan))
            frames = self._by_name(scan.table, f"the files of snapshot {snapshot}", scan.groups, scan.rows, schema)
            if days is not None:
                # A file that was written by another partition spec may hold other days too.
                frames = [frame.where(days.sql) for frame in frames]
            if among is not None:
                frames = [frame.where(F.col(among.column).isin(*among.values)) for frame in frames]
            return self._as_one(frames, schema)

    def empty(self, schema: StructType) -> DataFrame:
        with self.active():
            return self.session.createDataFrame([], _ddl(schema))

    def keep(self, frame: DataFrame) -> DataFrame:
        """As Parquet files of its own: a frame of local rows would be sent to the engine again with each plan."""
        with self.active(), self._rests(False):
            if self._scratch is None:
                remove_leftovers()
                self._scratch = Scratch()
            path = str(self._scratch.path / uuid4().hex)
            schema = _ddl(frame.schema)
            frame.write.parquet(path)
            self._kept[path] = self._checked(frame).columns
            self._kept_files[path] = _names(path)
            return self.session.read.schema(schema).parquet(path)

    def stage(self, frame: DataFrame, target: Target) -> Staged:
        """Raises NullInRequiredColumn, NotPlain, FilesLost."""
        with self.active():
            staged = stage_files(frame, target.table, target.days.window if target.days else None)
        self.check_inputs()
        return staged

    def look(self, staged: Staged, target: Target, schema: StructType) -> DataFrame:
        """Raises FilesLost."""
        with self.active():
            table = ".".join(target.table.name())
            paths = tuple(name_for_sail(table, file.file_path) for file in staged.files)
            groups = (paths,) if paths else ()
            frames = self._by_name(table, "the files that were staged", groups, staged.rows, schema)
            return self._as_one(frames, schema)

    def numbers(self, frame: DataFrame) -> list[str]:
        """As the check types them, and not Sail: to ask it takes 0.1 s where the plan is long."""
        return [each.name for each in self._checked(frame).columns if each.name and is_number(each.type)]

    def lineage(self, frame: DataFrame) -> Mapping[str, frozenset[ColumnRef]]:
        return column_lineage(self._checked(frame).columns)

    @property
    def notes(self) -> str:
        """What the check put into other functions, so that it is computed as Spark does."""
        return f"mended: {', '.join(sorted(self._checker.functions_mended))}" if self._checker.functions_mended else ""

    def _check(self, plan: Message) -> Message:
        if self._is_at_rest:
            raise _LooksAtRows
        with self._checking:
            return self._checker.check(plan).plan

    def _checked(self, frame: DataFrame) -> Checked:
        remote: Any = frame
        plan = remote._plan.to_proto(remote.sparkSession.client)
        with self._checking:
            return self._checker.check(plan)

    def check(self, makes: Iterable[Callable[[], DataFrame]]) -> None:
        for make in makes:
            try:
                with self.active(), self._rests(True):
                    frame = make()
            except _LooksAtRows:
                continue
            self._checked(frame)

    @contextmanager
    def _rests(self, rests: bool) -> Iterator[None]:
        """Whether plans may only be made meanwhile, and none is sent. In one thread."""
        before, self._is_at_rest = self._is_at_rest, rests
        try:
            yield
        finally:
            self._is_at_rest = before

    def answers(self, queries: Iterable[DataFrame]) -> list[Row]:
        """Two at a time: one query seldom keeps both of two cores at work, and more would need as many times the
        memory. What fails or is stopped stops the others: their answers are of no use to anybody."""
        threads = ThreadPoolExecutor(_AT_ONCE)
        try:
            return [each.result()[0] for each in [threads.submit(query.collect) for query in queries]]
        except BaseException:
            with suppress(Exception):  # the error that is there says more
                self.session.interruptAll()
            raise
        finally:
            threads.shutdown(cancel_futures=True)

    def check_inputs(self) -> None:
        """Raises FilesLost if files that were read are gone: what was computed of them may lack rows."""
        for io, scan in self._scans:
            with ThreadPoolExecutor(THREADS) as threads:
                exist = list(threads.map(partial(_exists, io), scan.files))
            if not all(exist):
                where = f"snapshot {scan.snapshot}"
                raise FilesLost(scan.table, where, f"{len(exist):,} files", f"{sum(exist):,}")
        for path, names in self._kept_files.items():
            if (found := _names(path)) != names:
                raise FilesLost("a frame that the step keeps", path, f"{len(names):,} files", f"{len(found):,}")

    def close(self) -> None:
        self._opened.close()
        if self._scratch is not None:
            self._scratch.remove()
            self._scratch = None

    def _by_name(
        self, table: str, where: str, groups: tuple[tuple[str, ...], ...], rows: int, schema: StructType
    ) -> list[DataFrame]:
        self._tables.update(dict.fromkeys(chain.from_iterable(groups), table))
        frames = [self.session.read.schema(_ddl(schema)).parquet(*paths) for paths in groups]
        # Sail reads a file that it does not find as one without rows, and says nothing. Counting looks at footers only.
        if (found := sum(frame.count() for frame in frames)) != rows:
            raise FilesLost(table, where, f"{rows:,} rows", f"{found:,}")
        return frames

    def _as_one(self, frames: list[DataFrame], schema: StructType) -> DataFrame:
        """Sail takes a union and one of what is selected from it together, and fails in a condition on that.

        It does not look through a repartition, which costs that conditions on the rows are not brought to the files.
        """
        if len(frames) <= 1:
            return frames[0] if frames else self.empty(schema)
        tasks = int(str(self.session.conf.get("spark.sql.shuffle.partitions")))
        return reduce(DataFrame.union, frames).repartition(tasks)


_AT_ONCE = 2
"""Queries of a step that are at work at a time."""

_NO_SPACE = os.strerror(errno.ENOSPC)

_OF_THE_ENGINE = re.compile(
    r"\[DIVIDE_BY_ZERO]|\[NUMERIC_VALUE_OUT_OF_RANGE]"
    r"|^RuntimeError: (?:External error: RuntimeError: )*"
    r"(?:(?:Arrow|Parquet|Object Store|IO|Schema|Internal|Execution|Execution Join) error: |Error during planning: "
    r"|Resources exhausted: |This feature is not implemented: )",
    re.MULTILINE,
)
"""An error that a function of Python has from the engine: from what we mended with Python, or from the rows below it,
since the write of a frame is such a function too."""

_FOR_SPARK_ALONE = ("NOT_IMPLEMENTED", "JVM_ATTRIBUTE_NOT_SUPPORTED")
_LIBRARIES = (str(Path(pyspark.__file__).parent), str(Path(affirm_assets.__file__).parent / "steps"), __file__)


def _in_one_line(error: PySparkException) -> str:
    """Of an error of Python, which is told with its traceback, the last line says what it was."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1 if isinstance(error, PythonException) else 0]


def _line_of_the_user(error: BaseException) -> tuple[str | None, str]:
    """Where a transform or an audit called PySpark: file and line, and what stands there."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith(_LIBRARIES):
            return f"{frame.filename}:{frame.lineno}", frame.line or frame.name
    return None, "a transform or an audit"


def _names(path: str) -> list[str]:
    folder = Path(path)
    return sorted(each.name for each in folder.iterdir()) if folder.is_dir() else []


def _exists(io: FileIO, path: str) -> bool:
    return io.new_input(path).exists()


def _ddl(schema: StructType) -> str:
    """As text, without descriptions, which Sail takes for a part of a column's type in some places."""
    fields = ((each, "" if each.nullable else " NOT NULL") for each in schema.fields)
    return ", ".join(f"`{each.name}` {each.dataType.simpleString()}{required}" for each, required in fields)
