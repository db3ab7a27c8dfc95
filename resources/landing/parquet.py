"""Parquet -> rows of text, column by column. Only types that hold an exact value are read: never binary floats."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from resources.landing.errors import CorruptLandingFile
from resources.landing.fields import (
    NUMERIC,
    FieldKind,
    Fields,
    header_problems,
    joined,
    record_batch,
    record_schema,
    text_problem,
)

MAX_ROWS = 20_000
BATCH_BYTES = 16 << 20  # of a batch whose rows are wide, so that a worker's memory does not depend on the file
BUFFER_BYTES = 1 << 20  # of a column chunk in memory; without a buffer the reader loads the chunk whole

_EXPECTED = {
    FieldKind.TEXT: "text",
    FieldKind.MONEY: "decimal, integer cents or text",
    FieldKind.RATE: "decimal, integer or text",
    FieldKind.INTEGER: "integer, decimal or text",
    FieldKind.DATE: "date or text",
}
_AN_INSTANT = pa.timestamp("ns", "UTC")
_CENT = pa.scalar(Decimal("0.01"), pa.decimal128(3, 2))


def parquet_batches(stream: BinaryIO, name: str, fields: Fields) -> Iterator[pa.RecordBatch]:
    """The records of a `.parquet` file; see `records.batches`. A record's number is its row, from 1.

    Raises:
        CorruptLandingFile: Not a Parquet file, or a damaged one.
    """
    schema = record_schema(fields)
    with _damage(name):
        file = pq.ParquetFile(stream, buffer_size=BUFFER_BYTES, page_checksum_verification=True)
        names = file.schema_arrow.names
        batches = file.iter_batches(batch_size=_batch_rows(file.metadata), use_threads=False)
    common, readable = header_problems(names, fields)
    positions = {name: position for position, name in enumerate(names) if readable}
    instants = _instants(file.schema)
    first = 1
    for batch in _guarded(batches, name):
        rows = range(batch.num_rows)
        problems = {row: list(common) for row in rows} if common else {}
        absent: pa.Array = pa.nulls(len(rows))
        columns = []
        for field, kind in fields.items():
            found_as = batch.column(positions[field]) if field in positions else absent
            column, faults = _text(found_as.cast(_AN_INSTANT) if field in instants else found_as, kind)
            columns.append(column)
            for row, fault in faults.items():
                problems.setdefault(row, []).append(f"{field}: {fault}")
        notes = {row: (joined(found), _raw(batch, row)) for row, found in problems.items()}
        yield record_batch(schema, range(first, first + len(rows)), columns, notes)
        first += len(rows)
    if first - 1 != file.metadata.num_rows:  # a damaged row group may say that it has fewer
        raise _corrupt(name, f"{first - 1:,} rows where its footer counts {file.metadata.num_rows:,}")


def _instants(schema: pq.ParquetSchema) -> set[str]:
    """The columns of 96-bit timestamps: they are moments, and do not say of which zone's midnight."""
    columns = (schema.column(number) for number in range(len(schema)))
    return {column.path for column in columns if column.physical_type == "INT96"}


def _text(column: pa.Array, kind: FieldKind) -> tuple[pa.Array, dict[int, str]]:
    """A column as text, null where it has none, and what is wrong in which rows."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type):
        return _storable(column.cast(pa.string()))
    exact = _exact(column, kind)
    if exact is not None:
        return exact, {}
    text = _midnights(column, kind)
    fault = f"expected {_EXPECTED[kind]}, found {_type_name(column.type)}"
    if pa.types.is_floating(column.type) and kind in NUMERIC:
        fault += " (binary floats cannot hold cents)" if kind == FieldKind.MONEY else " (binary floats are not exact)"
    return text, dict.fromkeys(pc.indices_nonzero(pc.and_(column.is_valid(), text.is_null())).to_pylist(), fault)


def _exact(column: pa.Array, kind: FieldKind) -> pa.Array | None:
    """The text of a column whose type may hold the kind, else None."""
    if kind == FieldKind.DATE and pa.types.is_date32(column.type):
        return column.cast(pa.string())
    if kind in NUMERIC and pa.types.is_decimal(column.type):
        return _within_places(_plain(column), kind)
    if kind in NUMERIC and pa.types.is_integer(column.type):
        cents = kind == FieldKind.MONEY
        return (pc.multiply(column.cast(pa.decimal128(20, 0)), _CENT) if cents else column).cast(pa.string())
    return None


def _midnights(column: pa.Array, kind: FieldKind) -> pa.Array:
    """The dates of a column that holds midnights without a zone, as pandas and Spark write dates; else null.

    With a zone, a midnight is that of UTC, which may be another day where the file was written.
    """
    if kind != FieldKind.DATE or not pa.types.is_timestamp(column.type) or column.type.tz is not None:
        return pa.nulls(len(column), pa.string())
    days = column.cast(pa.date32(), safe=False)
    # A value that has a time, or is too far away for a date, does not come back as it was.
    return pc.if_else(pc.equal(days.cast(column.type, safe=False), column), days, None).cast(pa.string())


def _plain(decimals: pa.Array) -> pa.Array:
    """Decimals without exponents: Arrow writes a zero of ten places as 0E-10, which is no amount a person wrote."""
    text = decimals.cast(pa.string())
    if not pc.any(pc.match_substring(text, "E")).as_py():
        return text
    return pa.array([None if value is None else format(value, "f") for value in decimals.to_pylist()], pa.string())


def _within_places(text: pa.Array, kind: FieldKind) -> pa.Array:
    """Without the zeros that a wide column appends: 10.5000 of decimal(18,4) is 10.50, exactly."""
    places = {FieldKind.MONEY: 2, FieldKind.RATE: 6}.get(kind)
    excess = rf"(\.\d{{{places}}}\d*?)0+$" if places else r"()\.0+$"
    return pc.replace_substring_regex(text, excess, r"\1")


def _storable(text: pa.Array) -> tuple[pa.Array, dict[int, str]]:
    """The texts without those that are not UTF-8 (a Parquet reader does not look) or hold NUL."""
    try:
        text.validate(full=True)
        if not pc.any(pc.match_substring(text, "\0")).as_py():
            return text, {}
    except pa.ArrowInvalid:
        pass
    values: list[str | None] = []
    faults: dict[int, str] = {}
    for row, data in enumerate(text.cast(pa.binary()).to_pylist()):
        value, fault = _decoded(data or b"")
        values.append(value)
        if fault:
            faults[row] = fault
    return pa.array(values, pa.string()), faults


def _decoded(data: bytes) -> tuple[str | None, str | None]:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        return None, f"invalid UTF-8 at byte {error.start + 1}"
    fault = text_problem(text)
    return (None if fault else text), fault


def _raw(batch: pa.RecordBatch, row: int) -> str:
    """A row as JSON text, with its columns as they are in the file."""
    pairs = zip(batch.schema.names, batch.columns, strict=True)
    shown = (f"{json.dumps(name)}: {json.dumps(_value(column[row]), default=_as_text)}" for name, column in pairs)
    return "{" + ", ".join(shown) + "}"


def _value(scalar: Any) -> Any:
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        return _as_text(scalar.as_buffer().to_pybytes())
    except (ArithmeticError, LookupError, ValueError, pa.ArrowException):
        return "(no Python value)"  # such as a date after the year 9999


def _as_text(value: object) -> str:
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)


def _type_name(arrow_type: pa.DataType) -> str:
    """The type without its parameters: those of a struct are names from the file."""
    return re.split(r"[^a-z0-9_]", str(arrow_type), maxsplit=1)[0]


def _batch_rows(metadata: pq.FileMetaData) -> int:
    groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
    widest = max((group.total_byte_size // max(group.num_rows, 1) for group in groups), default=1)
    return max(1, min(MAX_ROWS, BATCH_BYTES // max(widest, 1)))


def _guarded(batches: Iterator[pa.RecordBatch], name: str) -> Iterator[pa.RecordBatch]:
    while True:
        with _damage(name):
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


@contextmanager
def _damage(name: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk's failure, not the file's
            raise
        message = "".join(char if char.isprintable() else " " for char in str(error))
        raise _corrupt(name, f"a damaged one ({message[:200]})") from error


def _corrupt(name: str, found: str) -> CorruptLandingFile:
    return CorruptLandingFile(
        f"landing file {name}",
        "a readable Parquet file",
        found,
        "Land the file again; nothing of it was published.",
    )
