"""Rows of a table as columns of whole numbers: cents, days since 1970, counts. No float, no object for a row.

An amount is a decimal in its file, and here its digits without the point: 12.34 is 1234. Sums of them are exact.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

NO_DATE = -(2**31)
"""A day that is null."""

_EPOCH = date(1970, 1, 1)


def days_of(day: date) -> int:
    return (day - _EPOCH).days


class Rows:
    """Rows of one table, of one day. A column is asked for by its name, as numbers or as text."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table.combine_chunks()

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def where(self, kept: Bools) -> "Rows":
        return Rows(self.table.filter(pa.array(kept)))

    def number(self, name: str) -> Ints:
        """Of a decimal its digits, of a date its day, of a flag 0 or 1. A null date is NO_DATE, any other null 0."""
        column = _in_one_chunk(self.table[name])
        if pa.types.is_decimal(column.type):
            return _digits(column)
        if pa.types.is_date(column.type):
            column, null = column.cast(pa.int32()), NO_DATE
        else:
            null = 0
        return np.asarray(column.cast(pa.int64()).fill_null(null).to_numpy(zero_copy_only=False), dtype=np.int64)

    def numbers(self, *names: str) -> tuple[Ints, ...]:
        return tuple(self.number(name) for name in names)

    def text(self, name: str) -> pa.Array:
        return _in_one_chunk(self.table[name]).cast(pa.string())

    def is_null(self, name: str) -> Bools:
        return np.asarray(pc.is_null(_in_one_chunk(self.table[name])).to_numpy(zero_copy_only=False), dtype=np.bool_)

    def is_one_of(self, name: str, values: Iterable[str]) -> Bools:
        found = pc.is_in(self.text(name), value_set=pa.array(list(values), pa.string()))
        return np.asarray(found.to_numpy(zero_copy_only=False), dtype=np.bool_)

    def is_(self, name: str, value: str) -> Bools:
        return self.is_one_of(name, [value])


def columns(keys: Mapping[str, pa.Array], numbers: Mapping[str, Ints]) -> pa.Table:
    """Keys as text, numbers as whole numbers, to be compared with others of the same names."""
    return pa.table({**{name: key.cast(pa.string()) for name, key in keys.items()}, **numbers})


def together(tables: Sequence[pa.Table]) -> pa.Table:
    return pa.concat_tables(tables, promote_options="default")


def summed(table: pa.Table, by: Sequence[str], names: Sequence[str]) -> pa.Table:
    """The sums of these columns by these keys, in no said order. Without keys, one row."""
    if not by:
        return pa.table({name: [total(table[name])] for name in names})
    made = table.group_by(list(by), use_threads=False).aggregate([(name, "sum") for name in names])
    return made.rename_columns({f"{name}_sum": name for name in names})


def total(column: pa.ChunkedArray | Ints) -> int:
    return int(column.sum()) if isinstance(column, np.ndarray) else int(pc.sum(column).as_py() or 0)


def as_amount(units: int, places: int) -> str:
    """Whole cents as dollars, with two places, say."""
    return f"{Decimal(units).scaleb(-places):,.{places}f}" if places else f"{units:,}"


def as_date(days: int) -> str:
    """A day that no calendar has is one that is null, or the sum of some of them where a key is there twice."""
    return "none" if days < days_of(date.min) else str(_EPOCH + timedelta(days=days))


def half_up(numerator: Ints, denominator: int) -> Ints:
    """The quotient of a number that is not negative, rounded half up."""
    return (2 * numerator + denominator) // (2 * denominator)


def rounded(units: Ints, drop: int) -> Ints:
    """Half up, away from zero, with so many places fewer."""
    by = 10**drop
    return np.sign(units) * half_up(np.abs(units), by)


def _in_one_chunk(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1:
        return column.chunk(0)
    return column.combine_chunks() if column.num_chunks else pa.array([], column.type)


def _digits(column: pa.Array) -> Ints:
    """A decimal's two words, of which the lower holds all of it. Raises OverflowError if it does not."""
    if not len(column):
        return np.zeros(0, dtype=np.int64)
    wide = column.fill_null(Decimal(0)) if column.null_count else column
    words = np.frombuffer(wide.buffers()[1], dtype=np.int64)[2 * wide.offset : 2 * (wide.offset + len(wide))]
    low, high = words[0::2], words[1::2]
    if not bool(np.all(high == (low >> 63))):
        raise OverflowError(f"expected decimals of at most 18 digits, found longer ones in {column.type}")
    return low.copy()
