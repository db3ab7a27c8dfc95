"""What the readers of every format share: the kinds of field, the columns that come out, the words of a problem.

A problem names fields, kinds and positions, never a value from the record: it may be personal data.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

import pyarrow as pa
import pyarrow.compute as pc


class FieldKind(StrEnum):
    """What a field's text will be read as by the next stage; it decides which types a file may give it in."""

    TEXT = "text"
    MONEY = "money"  # an amount in the currency's major unit; an integer column of Parquet holds cents
    RATE = "rate"
    INTEGER = "integer"
    DATE = "date"


Fields = Mapping[str, FieldKind]
"""The declared fields of a feed, in the order of the columns that come out."""

Row = tuple[str | None, ...]
"""The text of each field of one record."""

NUMERIC = frozenset({FieldKind.MONEY, FieldKind.RATE, FieldKind.INTEGER})

# A record of 16 MiB can hold millions of unexpected fields; whoever reads a rejection needs only the first few.
MAX_PROBLEMS = 20

_PRINTABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_RESERVED = ("business_date", "file", "record_number", "problem", "raw")


def record_schema(fields: Fields) -> pa.Schema:
    """Columns of a batch of records: `record_number` (bigint), each field as text, `problem`, `raw`.

    Raises:
        ValueError: There is no field, or one has the name of a column that every record has.
    """
    if not fields:
        raise ValueError("a feed declares at least one field")
    if taken := [name for name in _RESERVED if name in fields]:
        raise ValueError(f"fields {taken} have the names of columns that every landing record has; rename them")
    return pa.schema(
        [
            pa.field("record_number", pa.int64(), nullable=False),
            *(pa.field(name, pa.string()) for name in fields),
            pa.field("problem", pa.string()),
            pa.field("raw", pa.string()),
        ]
    )


def record_batch(
    schema: pa.Schema,
    numbers: Sequence[int] | range,
    columns: Iterable[pa.Array],
    problems: Mapping[int, tuple[str, str]],
) -> pa.RecordBatch:
    """A batch with one row for each number; `problems` maps a row's index to its problem and raw text."""
    rows = len(numbers)
    notes = [_sparse({row: note[part] for row, note in problems.items()}, rows) for part in (0, 1)]
    values = (empty_to_null(column) for column in columns)
    return pa.RecordBatch.from_arrays([pa.array(numbers, pa.int64()), *values, *notes], schema=schema)


def empty_to_null(column: pa.Array) -> pa.Array:
    """No format but JSON and Parquet can tell '' from null, so nothing downstream may."""
    return pc.if_else(pc.equal(column, ""), None, column)


def joined(problems: Sequence[str]) -> str:
    """The problems of one record as one text."""
    if len(problems) <= MAX_PROBLEMS:
        return "; ".join(problems)
    return "; ".join([*problems[:MAX_PROBLEMS], f"{len(problems) - MAX_PROBLEMS} more problems"])


def shown(name: str) -> str:
    """A field's name as a problem may show it: a name from a file can itself hold data."""
    return name if _PRINTABLE.fullmatch(name) else "(unprintable name)"


def unexpected(name: str) -> str:
    return f"unexpected field: {shown(name)}"


def duplicated(name: str) -> str:
    return f"duplicated field: {shown(name)}"


def header_problems(names: Sequence[str], fields: Fields) -> tuple[list[str], bool]:
    """What is wrong with the column names of a file, and whether they still say which value is which."""
    repeated = [name for name, times in Counter(names).items() if name and times > 1]
    ambiguous = ["empty field name"] * ("" in names) + [duplicated(name) for name in repeated]
    others = [unexpected(name) for name in dict.fromkeys(names) if name and name not in fields]
    return ambiguous + others, not ambiguous


def text_problem(text: str) -> str | None:
    """Why a value cannot be stored as text, or None."""
    if "\0" in text:
        return "NUL character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "lone surrogate"
    return None


def _sparse(values: Mapping[int, str], rows: int) -> pa.Array:
    return pa.array([values.get(row) for row in range(rows)], pa.string()) if values else pa.nulls(rows, pa.string())
