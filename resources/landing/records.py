"""A landing file's bytes -> records, whatever its format. Which fields a feed has is the caller's to say."""

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import pyarrow as pa

from resources.landing.csv_lines import csv_batches
from resources.landing.errors import UnknownLandingFile
from resources.landing.fields import Fields
from resources.landing.json_lines import json_batches
from resources.landing.parquet import parquet_batches

PARQUET = ".parquet"
ENDINGS = (
    *(form + packed for form in (".jsonl", ".ndjson", ".csv") for packed in ("", ".gz", ".zst")),
    PARQUET,
)
"""In upper case too."""


class Record(NamedTuple):
    """One record of a landing file, good or bad."""

    number: int  # the line (a CSV header is line 1) or the row of a Parquet file, from 1
    values: tuple[str | None, ...]  # in the order of the declared fields; null and '' are both None
    problem: str | None  # what is wrong, '; ' between several; never a value from the record
    raw: str | None  # the record's text when there is a problem


def ending(name: str) -> str:
    """The known ending of a file's name, in lower case.

    Raises:
        UnknownLandingFile: It has none.
    """
    for known in ENDINGS:
        if name.lower().endswith(known):
            return known
    raise UnknownLandingFile(
        f"landing file {name}",
        f"a name that ends in {', '.join(ENDINGS)}",
        "another ending",
        "Convert or remove the file, or begin its name with '_' or '.' to have it ignored.",
    )


def batches(stream: BinaryIO, name: str, fields: Fields, delimiter: str = ",") -> Iterator[pa.RecordBatch]:
    """The records of a file as Arrow batches of at most 20,000 rows, with the columns of `fields.record_schema`.

    Args:
        stream: The file's bytes, at their beginning; seekable for Parquet.
        name: Its ending says which format; errors name it.
        fields: What the feed declares. A field that the file lacks is null; what else the file has is a problem of
            each record.
        delimiter: The character between two values of a CSV line.

    Raises:
        CorruptLandingFile: The file as a whole cannot be read.
        UnknownLandingFile: The name has no known ending.
    """
    form = ending(name)
    if form == PARQUET:
        return parquet_batches(stream, name, fields)
    if form.startswith(".csv"):
        return csv_batches(stream, name, fields, delimiter)
    return json_batches(stream, name, fields)


def records(stream: BinaryIO, name: str, fields: Fields, delimiter: str = ",") -> Iterator[Record]:
    """The records of a file one by one; arguments and errors as for `batches`."""
    for batch in batches(stream, name, fields, delimiter):
        number, *values, problem, raw = (column.to_pylist() for column in batch.columns)
        rows = zip(*values, strict=True) if values else [()] * batch.num_rows
        yield from map(Record, number, rows, problem, raw)
