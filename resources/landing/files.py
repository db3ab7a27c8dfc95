"""The landing zone as files: which days are complete, which files they hold, and reading exactly those.

What is inside a file is the business of `records`.
"""

import hashlib
import io
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, cast

import pyarrow as pa

from resources.landing.errors import CorruptLandingFile, LandingFileChanged, LandingNotReady, UnknownLandingFile
from resources.landing.fields import FieldKind, Fields, record_schema
from resources.landing.landing_file import LandingFile
from resources.landing.records import ENDINGS, PARQUET, batches, ending
from resources.landing.stores import Entry, Found, Store, store_of

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import StructType

SUCCESS = "_SUCCESS"
IGNORED = ("_", ".")
BLOCK_BYTES = 4 << 20  # as much as a text reader asks for; in a bucket each block is a request of its own
THREADS = 8  # a bucket's answers are waited for, not computed
TASK_BYTES = 16 << 20  # about a third of a second's parsing: well above what a Spark task costs by itself
MAX_DAYS_NAMED = 10
_NAME = re.compile(r"[A-Za-z0-9._=+-]+")

Entries = Mapping[str, Entry]
"""What lies in a folder, by name."""


@dataclass(frozen=True)
class Arrival:
    """An entry of a feed's folder. `day`: None if it is none of a date; `problem` says why it will not be read.

    `is_complete`: its `_SUCCESS` is there. `listing`: a digest of the names, sizes and versions of its files, which are
    `files` in number and have so many `bytes`.
    """

    name: str
    day: date | None = None
    is_complete: bool = False
    listing: str = ""
    files: int = 0
    bytes: int = 0
    problem: str = ""


@dataclass(frozen=True)
class LandingZone:
    """Folders of landing files: `<root>/<feed>/<YYYY-MM-DD>/`, each complete once it holds `_SUCCESS`.

    `root` is a folder of this machine or s3://<bucket>/<prefix>; `region` and `endpoint` (of another S3 than AWS) are
    for the latter. Names that begin with '_' or '.' are ignored everywhere.
    """

    root: str
    region: str | None = None
    endpoint: str | None = None

    @property
    def store(self) -> Store:
        return store_of(self.root, self.region, self.endpoint)

    def arrivals(self, feed: str, after: str = "") -> "Iterator[Arrival]":
        """What lies in a feed's folder under names that come after `after`, in order; lazily.

        Raises LandingUnreachable.
        """
        for name, found in self.store.folders(feed, after):
            if not name.startswith(IGNORED):
                yield _arrival(self.store.location(f"{feed}/{name}"), name, found)

    def arrival(self, feed: str, day: date) -> "Arrival | None":
        """A day's folder; None: it is not there. Raises LandingUnreachable."""
        found = self.store.found(_folder(feed, day))
        return None if found is None else _arrival(self.store.location(_folder(feed, day)), day.isoformat(), found)

    def listings(self, feed: str, first: date, last: date) -> Mapping[str, str]:
        """A digest of what lies in the folder of each of these days, by `feed/date`; of those that are there."""
        days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
        found = zip(days, self._entries(feed, days), strict=True)
        return {_folder(feed, day): _digest(entries) for day, entries in found if entries is not None}

    def sizes(self, feed: str, first: date, last: date) -> list[int]:
        """Bytes of each file that lies in the folders of these days now, complete or not. No file is opened."""
        days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
        folders = [entries or {} for entries in self._entries(feed, days)]
        return [each.size for entries in folders for name, each in entries.items() if not name.startswith(IGNORED)]

    def lacking(self, feed: str, days: Sequence[date]) -> Mapping[date, str]:
        """Of these days those that are not complete, and what is said of each. Raises LandingUnreachable."""

        def lack(day: date) -> str | None:
            found = self.store.found(_folder(feed, day))
            return f"{day}: {found}" if isinstance(found, UnknownLandingFile) else self._lack(feed, day, found)

        with ThreadPoolExecutor(THREADS) as threads:
            found = zip(days, threads.map(lack, days), strict=True)
            return {day: said for day, said in found if said}

    def pin(self, feed: str, first: date, last: date) -> tuple[LandingFile, ...]:
        """The files of every day from `first` to `last`, both included, by day and name, with their checksums.

        A complete folder may hold no files: nothing was received that day.

        Raises:
            LandingNotReady: A day has no complete folder, or one that changed while it was read.
            LandingUnreachable: The bucket does not answer, or refuses this process.
            UnknownLandingFile: A folder holds a file whose ending says nothing, or a folder.
            ValueError: The range is empty.
        """
        if first > last:
            raise ValueError(f"the range {first} to {last} of feed {feed!r} holds no day")
        days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
        # Publishing a window replaces it: a day whose folder is not there would clear the rows already booked on it.
        found = dict(zip(days, self._entries(feed, days), strict=True))
        lacks = [lack for day, entries in found.items() if (lack := self._lack(feed, day, entries))]
        if lacks:
            more = [f"and {len(lacks) - MAX_DAYS_NAMED} more days"] * (len(lacks) > MAX_DAYS_NAMED)
            raise LandingNotReady(
                f"landing feed {feed!r}",
                f"a complete folder for each of {len(days)} days from {first} to {last}",
                "; ".join(lacks[:MAX_DAYS_NAMED] + more),
                f"Wait for the sender or ask for the days; a day without records is an empty folder with {SUCCESS}.",
            )
        with ThreadPoolExecutor(THREADS) as threads:
            folders = threads.map(lambda day: self._pinned_folder(feed, day, found[day] or {}), days)
            return tuple(file for folder in folders for file in folder)

    def read(
        self, spark: "SparkSession", files: Sequence[LandingFile], fields: Fields, delimiter: str = ","
    ) -> "DataFrame":
        """Every record of the pinned files, good or bad, as text. `delimiter` is the character between values in CSV.

        Columns: `business_date` (date), `file` (the pinned name), `record_number` (bigint), each of `fields`
        (string), `problem` (null for a well-formed record), `raw` (the record's text when there is a problem).

        A record is one line of a text file (a quoted CSV value cannot hold a newline) or one row of a Parquet file.
        No file is split, and none is held in memory. The job fails with the error's name and message in the text of
        Spark's exception if a file is corrupt or its bytes are not those that were pinned.

        Raises:
            ValueError: `fields` is empty, or a field has the name of a column that every record has.
        """
        # By value: a caller that knows no FieldKind may name the kinds as text, and comparisons must not miss them.
        fields = {name: FieldKind(kind) for name, kind in fields.items()}
        schema = _spark_schema(fields)
        if not files:
            return spark.createDataFrame([], schema)
        tasks = spread(files)
        store = self.store.for_worker()
        numbers = spark.range(0, len(tasks), 1, numPartitions=len(tasks))
        work = partial(_read_tasks, store=store, tasks=tasks, fields=dict(fields), delimiter=delimiter)
        return numbers.mapInArrow(work, schema)

    def _entries(self, feed: str, days: Sequence[date]) -> list[Entries | None]:
        with ThreadPoolExecutor(THREADS) as threads:
            return list(threads.map(lambda day: self.store.entries(_folder(feed, day)), days))

    def _lack(self, feed: str, day: date, entries: Entries | None) -> str | None:
        """Why a day cannot be read yet, or None."""
        location = self.store.location(_folder(feed, day))
        if entries is None:
            return f"{day}: no folder {location}"
        if SUCCESS not in entries or not entries[SUCCESS].is_file:
            return f"{day}: no {SUCCESS} in {location}"
        return None

    def _pinned_folder(self, feed: str, day: date, found: Entries) -> list[LandingFile]:
        """`found`: what was in the folder when it was found complete."""
        # A sender that lands a day again may take away _SUCCESS, and change files, after that.
        folder = _folder(feed, day)
        pinned = None
        with suppress(FileNotFoundError):
            pinned = [self._pinned(feed, day, f"{folder}/{name}") for name in self._files(folder, found)]
        if pinned is None or _counting(self.store.entries(folder)) != _counting(found):
            raise LandingNotReady(
                f"landing folder {self.store.location(folder)!a}",
                f"{SUCCESS} and the files to stay as they are once {SUCCESS} is there",
                "that they changed while they were read",
                "Wait until the sender is done, then run the step again.",
            )
        return pinned

    def _files(self, folder: str, found: Entries) -> list[str]:
        names = sorted(name for name in found if not name.startswith(IGNORED))
        for number, name in enumerate(names, start=1):
            # Names go into tables, snapshots and messages, where an address in one would be nowhere masked: not shown.
            if not _NAME.fullmatch(name):
                raise UnknownLandingFile(
                    f"entry of landing folder {self.store.location(folder)!a}",
                    "names of letters, digits and ._=+- only",
                    f"another of {len(name)} characters, the {number}. in order",
                    "Rename or remove it, or begin its name with '_' or '.' to have it ignored.",
                )
            location = self.store.location(f"{folder}/{name}")
            if not found[name].is_file:
                raise UnknownLandingFile(
                    f"landing folder's entry {location!a}",
                    f"a file that ends in {', '.join(ENDINGS)}",
                    "a folder",
                    "Rename or remove it, or begin its name with '_' or '.' to have it ignored.",
                )
            ending(location)
        return names

    def _pinned(self, feed: str, day: date, name: str) -> LandingFile:
        digest, size = hashlib.sha256(), 0
        with self.store.open(name) as stream:
            while block := stream.read(BLOCK_BYTES):
                digest.update(block)
                size += len(block)
        return LandingFile(feed, day, name, size, digest.hexdigest())


def _arrival(location: str, name: str, found: Found) -> Arrival:
    if isinstance(found, UnknownLandingFile):
        return Arrival(name, problem=str(found))
    with suppress(ValueError):
        day = date.fromisoformat(name)
        if found is not None and day.isoformat() == name:
            files = [each for key, each in found.items() if not key.startswith(IGNORED)]
            is_complete = SUCCESS in found and found[SUCCESS].is_file
            return Arrival(name, day, is_complete, _digest(found), len(files), sum(each.size for each in files))
    # A name may hold an address: see `_files`.
    shown = ascii(location) if _NAME.fullmatch(name) else f"an entry beside {location.removesuffix(name)!a}..."
    kind = "a file" if found is None else "a folder"
    return Arrival(
        name,
        problem=f"{shown}: expected a folder named <YYYY-MM-DD>, found {kind} of another name. Rename or remove it, or "
        "begin its name with '_' to have it ignored.",
    )


def _digest(entries: Entries) -> str:
    """Twelve hex digits of the files' names, sizes and versions, and of the mark that they are complete."""
    listed = sorted((name, each.size, str(each.version)) for name, each in _counting(entries).items())
    return hashlib.sha256(repr(listed).encode()).hexdigest()[:12]


def _folder(feed: str, day: date) -> str:
    return f"{feed}/{day.isoformat()}"


def _counting(entries: Entries | None) -> Entries:
    """The files, and the mark that they are complete."""
    return {name: each for name, each in (entries or {}).items() if name == SUCCESS or not name.startswith(IGNORED)}


def spread(files: Sequence[LandingFile]) -> tuple[tuple[LandingFile, ...], ...]:
    """The files of each task, the largest first so that none is begun last; small ones share a task."""
    tasks: list[list[LandingFile]] = []
    room = 0
    for file in sorted(files, key=lambda file: (-file.size, file.name)):
        if not tasks or file.size > room:
            tasks.append([])
            room = TASK_BYTES
        tasks[-1].append(file)
        room -= file.size
    return tuple(map(tuple, tasks))


def read_pinned(store: Store, file: LandingFile, fields: Fields, delimiter: str = ",") -> Iterator[pa.RecordBatch]:
    """The records of one pinned file as Arrow batches, with the columns of `LandingZone.read`.

    The bytes are checked while they are read: whoever takes all batches without an error has read what was pinned.

    Raises:
        LandingFileChanged: The file is gone, or its size or checksum differs from the pin.
        CorruptLandingFile: The bytes are those that were pinned, but cannot be read.
    """
    try:
        with store.open(file.name) as stream:
            yield from _read_stream(stream, file, fields, delimiter)
    except FileNotFoundError:
        raise _changed(file, "no file, or another that was written while it was read") from None


def _read_stream(stream: io.RawIOBase, file: LandingFile, fields: Fields, delimiter: str) -> Iterator[pa.RecordBatch]:
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    if size != file.size:
        raise _changed(file, f"{size:,} bytes")
    hashed = _HashedStream(stream)
    seeks = ending(file.name) == PARQUET  # its reader jumps about: the bytes are hashed afterwards
    source = stream if seeks else io.BufferedReader(hashed, BLOCK_BYTES)
    damage: CorruptLandingFile | None = None
    try:
        for batch in batches(cast(BinaryIO, source), file.name, fields, delimiter):
            yield _labelled(batch, file)
    except CorruptLandingFile as error:
        damage = error
    if seeks:
        stream.seek(0)
    found = hashed.digest_of_all()
    if found != file.sha256:
        raise _changed(file, f"sha256 {found}")
    if damage:
        raise damage


class _HashedStream(io.RawIOBase):
    """Bytes that are read once from beginning to end, and hashed as they pass."""

    def __init__(self, stream: io.RawIOBase) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        size = self._stream.readinto(buffer) or 0
        self._digest.update(memoryview(buffer)[:size])
        return size

    def tell(self) -> int:
        return self._stream.tell()

    def digest_of_all(self) -> str:
        """The checksum of what was read and of the rest."""
        while self.read(BLOCK_BYTES):
            pass
        return self._digest.hexdigest()


def _read_tasks(
    numbers: Iterator[pa.RecordBatch],
    store: Store,
    tasks: Sequence[Sequence[LandingFile]],
    fields: Fields,
    delimiter: str,
) -> Iterator[pa.RecordBatch]:
    """The work of a Spark worker: the numbers of its tasks -> the records of their files."""
    for batch in numbers:
        for number in batch.column(0).to_pylist():
            for file in tasks[number]:
                yield from read_pinned(store, file, fields, delimiter)


def _labelled(batch: pa.RecordBatch, file: LandingFile) -> pa.RecordBatch:
    labels = {"business_date": pa.scalar(file.business_date, pa.date32()), "file": pa.scalar(file.name, pa.string())}
    return pa.RecordBatch.from_arrays(
        [*(pa.repeat(value, batch.num_rows) for value in labels.values()), *batch.columns],
        names=[*labels, *batch.schema.names],
    )


def _spark_schema(fields: Fields) -> "StructType":
    # Imported here: the parser and its tests need no Spark.
    from pyspark.sql.types import DateType, LongType, StringType, StructField, StructType

    texts = record_schema(fields).names[1:]
    return StructType(
        [
            StructField("business_date", DateType(), nullable=False),
            StructField("file", StringType(), nullable=False),
            StructField("record_number", LongType(), nullable=False),
            *(StructField(name, StringType()) for name in texts),
        ]
    )


def _changed(file: LandingFile, found: str) -> LandingFileChanged:
    return LandingFileChanged(
        f"landing file {file.name}, which changed since it was pinned",
        f"{file.size:,} bytes with sha256 {file.sha256}",
        found,
        "Run the step again to pin what lies there now, and have its sender never change a complete folder.",
    )
