"""Write a frame's rows as data files of a table, from inside the engine, and count them on the way.

PyArrow writes; PyIceberg's FileIO stores the files, and its writer gives each file's metrics without reading it again.
Nothing lists the files: until a commit names them, nobody sees them. A process that is killed, or a disk that is full,
leaves them behind. Whoever looks after tables knows them by their name, `affirm-<32 hex digits of the write>-<task>-
<number>.parquet` in the table's data folder: one that no snapshot names, and that is older than the longest step, is
a leftover.

The engine hands its batches to a Python function (mapInArrow), which writes them and gives back their amounts as they
came. The engine adds these up, so that count and sums are its own word on what it handed over, and not what a reader of
the files finds in them.
"""

import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from functools import cached_property
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.io.fileformat import DataFileStatistics
from pyiceberg.io.pyarrow import (
    StatisticsCollector,
    compute_statistics_plan,
    data_file_statistics_from_parquet_metadata,
    parquet_path_to_id_mapping,
    schema_to_pyarrow,
)
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.partitioning import PartitionFieldValue, PartitionKey
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.table.locations import LocationProvider, load_location_provider
from pyiceberg.transforms import IdentityTransform
from pyiceberg.typedef import Record
from pyiceberg.types import DateType, StringType
from pyiceberg.types import DecimalType as IcebergDecimal
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame
from pyspark.sql.types import BooleanType, DecimalType, StructField, StructType

from affirm_assets.declare.partitions import Window
from affirm_assets.errors import NotPlain
from affirm_assets.steps.engine import NullInRequiredColumn, Staged
from affirm_assets.steps.manifests import delete_files

PREFIX = "affirm-"

ROWS_IN_GROUP = 1 << 18
"""Rows that a task holds before it writes them: some 30 MiB of a wide table."""

_ROWS_OF_RANGE = 1 << 19
"""Rows of a range that all tasks together hold before they write a row group of each day: some 500 MiB of a wide table.
Of 90 days, a row group has some 6,000."""

_MOST_DAYS = 100
"""Days of a range of which the files are open at a time. On a bucket, each holds a part of itself of up to 10 MiB."""

_MOST_GROUPS = 64
"""Row groups of a file. A writer holds what the footer will say of each: of 90 columns, some 65 KiB. Of as many files
as are open of a range, that is some 400 MiB."""

_MOST_OPEN = 16
"""Files that a task has open at a time, of a longer range."""

_WRITERS = 4
"""Files of a range that are written side by side."""

_SMALL = 500
"""A file of fewer rows is written with Snappy, without dictionaries. Of 60 rows in 90 columns that takes a third of the
time that zstd takes, and the file is smaller; from some 200 rows on it is larger."""

_MONEY = DecimalType(18, 2)
_FORMAT = "write.format.default"
_CODEC, _LEVEL = "write.parquet.compression-codec", "write.parquet.compression-level"
_ZSTD, _NO_LEVEL = "zstd", "null"
_CODECS = {"zstd": True, "gzip": True, "brotli": True, "snappy": False, "lz4": False, "none": False}
"""Which of them have levels."""


def stage_files(rows: DataFrame, table: Table, window: Window | None) -> Staged:
    """Write `rows`, which have the table's columns in its order: the days of a window, or the whole table.

    Raises NullInRequiredColumn, with nothing left behind; NotPlain for a table that is written in another way.
    """
    layout = _layout(table)
    days = 1 if window is None or layout.column is None else (window.last - window.first).days + 1
    if layout.column is not None and days > _MOST_DAYS:
        rows = _by_day(rows, layout.column)
    money = [each.name for each in layout.schema.fields if each.field_type == IcebergDecimal(18, 2)]
    with _writing(_Write(layout, tuple(money), days)) as write:
        counted = _run(rows, write)
        write.end()
    sums = {name: Decimal(counted[1 + i] if counted[1 + i] is not None else 0) for i, name in enumerate(money)}
    return Staged(write.files_by_day, int(counted[0]), sums)


def _by_day(rows: DataFrame, column: str) -> DataFrame:
    """Each day in one task, one day after another: of more days than can be open at a time.

    As for a window function: Sail leaves out a sort whose order nothing needs, and a mapInArrow is nothing to it.
    """
    from pyspark.sql.connect import functions as F
    from pyspark.sql.connect.window import Window

    number: Any = F.row_number().over(Window.partitionBy(column).orderBy(column))
    return rows.withColumn(_NUMBER, number)


def _run(rows: DataFrame, write: "_Write") -> Any:
    """Count and sums, by the engine, of the batches that it handed to the write."""
    from pyspark.sql.connect import functions as F

    counts: Any = F.count(F.lit(1))
    columns = [StructField(name, _MONEY) for name in write.money] or [StructField(_NOTHING, BooleanType())]
    passed = rows.mapInArrow(_WriteOf(write.token), StructType(columns))
    try:
        return passed.agg(counts, *(F.sum(name) for name in write.money)).collect()[0]
    except PySparkException as error:
        # The engine passes on the text of an error only; an error of its own comes to the write as a RuntimeError.
        of_the_write = [each for each in write.errors if not isinstance(each, RuntimeError)]
        raise (of_the_write[0] if of_the_write else error) from None


_NUMBER = "number in its day"

_NOTHING = "nothing"
"""The column that is given back for a table without amounts, since a batch without columns has no rows."""


@dataclass(frozen=True)
class _Layout:
    """How the table's files are written. `column`: the date by which they are partitioned, if they are."""

    table: Table
    schema: Schema
    arrow: pa.Schema
    column: str | None
    required: tuple[str, ...]
    codec: str
    level: int | None

    @cached_property
    def statistics(self) -> dict[int, StatisticsCollector]:
        """What is kept of each column in a file's entry. Made once: for each of many small files it is the dearest."""
        return compute_statistics_plan(self.schema, self.table.properties)

    @cached_property
    def field_ids(self) -> dict[str, int]:
        """By the name of a column in a file."""
        return parquet_path_to_id_mapping(self.schema)

    @cached_property
    def texts(self) -> list[str]:
        """The columns that have dictionaries. Of numbers and dates they are slower and larger: a wide table of amounts
        took half as long again to write and to read, and a third more bytes."""
        return [each.name for each in self.schema.fields if isinstance(each.field_type, StringType)]

    @cached_property
    def locations(self) -> LocationProvider:
        return load_location_provider(self.table.location(), self.table.properties)


class _Writer:
    """A file that is open."""

    def __init__(self, layout: _Layout, path: str, rows: int) -> None:
        """`rows`: of what is written first. Less than a row group is the whole file."""
        is_small = rows < _SMALL and layout.codec == _ZSTD and layout.level is None
        self._layout = layout
        self._lock = threading.Lock()
        self._groups = 0
        # The name is new: nothing needs to be asked of the storage before or after.
        self._stream: Any = layout.table.io.new_output(path).create(overwrite=True)
        self._writer = pq.ParquetWriter(
            self._stream,
            layout.arrow,
            compression="snappy" if is_small else layout.codec,
            use_dictionary=False if is_small else layout.texts or False,
            compression_level=layout.level,
            store_decimal_as_integer=True,
            # Files as Spark's: Sail does not read as one what was held otherwise, or described otherwise, in Arrow.
            store_schema=False,
        )

    def write(self, rows: pa.Table) -> None:
        with self._lock:
            self._writer.write_table(rows)
            self._groups += 1

    @property
    def is_full(self) -> bool:
        return self._groups >= _MOST_GROUPS

    def close(self) -> tuple[int, DataFileStatistics]:
        """The file's bytes, and what is kept of its columns."""
        with self._lock, self._stream:
            self._writer.close()
            size = int(self._stream.tell())
        return size, _statistics(self._writer.writer.metadata, self._layout)

    def abandon(self) -> None:
        """Close it, whatever comes of that: nobody is to have the file."""
        with self._lock:
            for each in (self._writer, self._stream):
                with suppress(Exception):
                    each.close()


def _statistics(metadata: pq.FileMetaData, layout: _Layout) -> DataFileStatistics:
    """PyIceberg's, without the bounds that it makes of a part of the values: it passes over a row group without any."""
    found = data_file_statistics_from_parquet_metadata(metadata, layout.statistics, layout.field_ids)
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        for column in map(group.column, range(metadata.num_columns)):
            if not _has_bounds(column):
                found.column_aggregates.pop(layout.field_ids[column.path_in_schema], None)
    return found


def _has_bounds(column: pq.ColumnChunkMetaData) -> bool:
    """Whether its values are all within known ones. PyArrow leaves out what is longer than 4,096 bytes."""
    known = column.statistics
    if known is None:
        return False
    return bool(known.has_min_max or (known.has_null_count and known.null_count == column.num_values))


def _layout(table: Table) -> _Layout:
    """Raises NotPlain, also for what the table asks of a writer and PyArrow or PyIceberg does not know."""
    name, schema = ".".join(table.name()), table.schema()
    if (form := table.properties.get(_FORMAT, "parquet").lower()) != "parquet":
        raise NotPlain(name, "the table", f"its files are to be {form} ({_FORMAT})")
    spec = table.spec()
    by_date = (
        len(spec.fields) == 1
        and isinstance(spec.fields[0].transform, IdentityTransform)
        and isinstance(schema.find_type(spec.fields[0].source_id), DateType)
    )
    if spec.fields and not by_date:
        raise NotPlain(name, "the table", f"it is not partitioned by one date alone, but by {spec}")
    codec, level = _compression(table)
    layout = _Layout(
        table,
        schema,
        schema_to_pyarrow(schema, include_field_ids=True),
        schema.find_column_name(spec.fields[0].source_id) if spec.fields else None,
        tuple(each.name for each in schema.fields if each.required),
        codec,
        level,
    )
    try:
        layout.statistics  # noqa: B018  (made now, since it may refuse the table's properties)
    except ValueError as error:
        raise NotPlain(name, "the table", f"PyIceberg does not write as its properties ask for ({error})") from error
    return layout


def _compression(table: Table) -> tuple[str, int | None]:
    """Codec and level, by PyArrow's names. A codec without levels, or no level, has None. Raises NotPlain."""
    codec, level = table.properties.get(_CODEC, _ZSTD).lower(), table.properties.get(_LEVEL, _NO_LEVEL)
    codec = "none" if codec == "uncompressed" else codec
    if codec not in _CODECS or not (level == _NO_LEVEL or level.lstrip("-").isdigit()):
        asked = f"{_CODEC}={codec}, {_LEVEL}={level}"
        raise NotPlain(".".join(table.name()), "the table", f"PyArrow does not compress its files so ({asked})")
    return codec, int(level) if _CODECS[codec] and level != _NO_LEVEL else None


@dataclass
class _Write:
    """One frame on its way into files. Tasks of the engine work on it side by side, in threads of this process."""

    layout: _Layout
    money: tuple[str, ...]
    days: int
    token: str = field(default_factory=lambda: uuid4().hex)
    files: list[tuple[date | None, DataFile]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    rest: list[tuple[date | None, pa.Table]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._range = _Range(self)
        self._lock = threading.Lock()
        self._open: dict[str, _Writer] = {}
        self._is_abandoned = False

    @property
    def files_by_day(self) -> tuple[DataFile, ...]:
        """In the order of their days, however the tasks went."""
        return tuple(file for _, file in sorted(self.files, key=lambda each: str(each[0])))

    @property
    def hands_over(self) -> bool:
        """Whether a task leaves what is less than a row group to be put together with that of the others."""
        return self.days == 1

    def task(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Write a task's batches; give back their amounts."""
        try:
            files = self._range if 1 < self.days <= _MOST_DAYS else _Files(self)
            for batch in batches:
                files.add(self._by_day(self._conform(batch)))
                yield self._amounts(batch)
            files.end()
        except Exception as error:
            self.errors.append(error)
            raise

    def end(self) -> None:
        """Write what the tasks left, in one file for each day."""
        for each in sorted({day for day, _ in self.rest}, key=str):
            of_day = pa.concat_tables(rows for day, rows in self.rest if day == each)
            path, writer = self.open(each, of_day.num_rows)
            writer.write(of_day)
            self.close(each, path, writer)
        self.rest.clear()
        self._range.close()

    def open(self, day: date | None, rows: int) -> tuple[str, _Writer]:
        layout = self.layout
        name = f"{PREFIX}{self.token}-{threading.get_native_id()}-{len(self.paths)}.parquet"
        path = layout.locations.new_data_location(name, self._partition_key(day))
        self.paths.append(path)
        writer = _Writer(layout, path, rows)
        with self._lock:
            if not self._is_abandoned:
                self._open[path] = writer
                return path, writer
        writer.abandon()
        delete_files(layout.table.io, [path])
        raise RuntimeError("the write failed while a task went on")

    def abandon(self) -> None:
        """Delete its files, and let the tasks that go on make no more.

        Those that are open are closed before: a bucket stores a file when it is closed, and what is open is closed when
        it is forgotten.
        """
        with self._lock:
            self._is_abandoned = True
            writers = list(self._open.values())
        with ThreadPoolExecutor(_WRITERS) as threads:
            list(threads.map(_Writer.abandon, writers))
        delete_files(self.layout.table.io, self.paths)

    def close(self, day: date | None, path: str, writer: _Writer) -> None:
        (size, statistics), layout = writer.close(), self.layout
        with self._lock:
            del self._open[path]
        key = self._partition_key(day)
        file = DataFile.from_args(
            content=DataFileContent.DATA,
            file_path=path,
            file_format=FileFormat.PARQUET,
            partition=key.partition if key else Record(),
            file_size_in_bytes=size,
            sort_order_id=None,
            equality_ids=None,
            key_metadata=None,
            **statistics.to_serialized_dict(),
        )
        file.spec_id = layout.table.spec().spec_id
        self.files.append((day, file))

    def _conform(self, batch: pa.RecordBatch) -> pa.Table:
        """The table's columns, with its field ids. Types are the engine's own but for how it holds text and zones."""
        if nulls := [name for name in self.layout.required if batch.column(name).null_count]:
            raise NullInRequiredColumn(", ".join(nulls))
        columns = [batch.column(field.name).cast(field.type) for field in self.layout.arrow]
        return pa.Table.from_arrays(columns, schema=self.layout.arrow)

    def _by_day(self, rows: pa.Table) -> Iterator[tuple[date | None, pa.Table]]:
        """Runs of rows of one day: as many as a batch has days, and never many more."""
        column = self.layout.column
        if column is None:
            yield None, rows
            return
        days = rows.column(column).combine_chunks()
        runs = pa.compute.run_end_encode(days)
        if len(runs.values) > 2 * len(runs.values.unique()):
            order = pa.compute.array_sort_indices(days)
            rows, runs = rows.take(order), pa.compute.run_end_encode(days.take(order))
        start = 0
        for day, end in zip(runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True):
            yield day, rows.slice(start, end - start)
            start = end

    def _amounts(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        if not self.money:
            return pa.RecordBatch.from_arrays([pa.nulls(batch.num_rows, pa.bool_())], [_NOTHING])
        return pa.RecordBatch.from_arrays([batch.column(name) for name in self.money], list(self.money))

    def _partition_key(self, day: date | None) -> PartitionKey | None:
        spec, schema = self.layout.table.spec(), self.layout.schema
        if self.layout.column is None:
            return None
        return PartitionKey([PartitionFieldValue(spec.fields[0], day)], spec, schema)


_Runs = Iterable[tuple[date | None, pa.Table]]


class _Range:
    """The rows of all tasks by day: held until they are many, then written, a row group of each day to its own file.

    All are written at once: a part of a batch that is held keeps the whole batch in memory. Meanwhile the tasks wait.
    """

    def __init__(self, write: _Write) -> None:
        self._write = write
        self._lock = threading.Lock()
        self._held: dict[date | None, list[pa.Table]] = {}
        self._rows = 0
        self._open: dict[date | None, tuple[str, _Writer]] = {}

    def add(self, runs: _Runs) -> None:
        with self._lock:
            for day, rows in runs:
                self._held.setdefault(day, []).append(rows)
                self._rows += rows.num_rows
            if self._rows >= _ROWS_OF_RANGE:
                self._flush()

    def end(self) -> None:
        """A task ends; others may go on."""

    def close(self) -> None:
        with self._lock:
            self._flush()
            self._close()

    def _flush(self) -> None:
        days = sorted(self._held, key=str)
        with ThreadPoolExecutor(_WRITERS) as threads:
            for start in range(0, len(days), _MOST_DAYS):
                of_these = days[start : start + _MOST_DAYS]
                if len(self._open.keys() | set(of_these)) > _MOST_DAYS:
                    self._close()
                list(threads.map(self._write_day, of_these))
        self._held.clear()
        self._rows = 0

    def _write_day(self, day: date | None) -> None:
        rows = pa.concat_tables(self._held[day])
        if day not in self._open:
            self._open[day] = self._write.open(day, rows.num_rows)
        _, writer = self._open[day]
        writer.write(rows)
        if writer.is_full:
            self._close_day(day)

    def _close(self) -> None:
        with ThreadPoolExecutor(_WRITERS) as threads:
            list(threads.map(self._close_day, list(self._open)))

    def _close_day(self, day: date | None) -> None:
        """And forget its writer, which is larger once it is closed: it has the whole footer then."""
        self._write.close(day, *self._open.pop(day))


class _Files:
    """A task's rows by day: held until they are a row group, then written.

    Where rows come by day, one file after another is written. Where they do not, it takes more files, but no more
    memory.
    """

    def __init__(self, write: _Write) -> None:
        self._write = write
        self._held: dict[date | None, list[pa.Table]] = {}
        self._rows: Counter[date | None] = Counter()
        self._open: dict[date | None, tuple[str, _Writer]] = {}

    def add(self, runs: _Runs) -> None:
        for day, rows in runs:
            self._held.setdefault(day, []).append(rows)
            self._rows[day] += rows.num_rows
            if self._rows.total() >= ROWS_IN_GROUP:
                largest, _ = self._rows.most_common(1)[0]
                self._flush(largest)

    def end(self) -> None:
        for day in list(self._held):
            if self._write.hands_over and day not in self._open:
                self._write.rest.append((day, pa.concat_tables(self._held.pop(day))))
            else:
                self._flush(day)
                self._close(day)
        for day in list(self._open):
            self._close(day)

    def _flush(self, day: date | None) -> None:
        if day not in self._open and len(self._open) == _MOST_OPEN:
            self._close(next(iter(self._open)))
        rows = pa.concat_tables(self._held.pop(day))
        # The one that was written to last stands last.
        path, writer = self._open.pop(day) if day in self._open else self._write.open(day, rows.num_rows)
        self._open[day] = path, writer
        writer.write(rows)
        del self._rows[day]
        if writer.is_full:
            self._close(day)

    def _close(self, day: date | None) -> None:
        self._write.close(day, *self._open.pop(day))


_writes: dict[str, _Write] = {}
"""By token. The engine is in this process: what it is sent names the write, and holds no table, key or password."""


@contextmanager
def _writing(write: _Write) -> Iterator[_Write]:
    _writes[write.token] = write
    try:
        yield write
    except BaseException:
        write.abandon()
        raise
    finally:
        del _writes[write.token]


@dataclass(frozen=True)
class _WriteOf:
    """The function that the engine calls for each task."""

    token: str

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return _writes[self.token].task(batches)
