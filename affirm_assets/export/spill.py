"""The rows of a partition in the order of their key, in bounded memory: sorted in parts on disk, which are merged."""

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

Row = tuple[Any, ...]
"""Values in the order of the schema's columns: str, int, bool, date, Decimal, or None."""

_ROWS_SORTED = 50_000
"""In memory at once, as columns."""

_ROWS_MERGED = 200
"""Of each part at once, as Python values."""

_MONEY = pa.decimal128(18, 2)
_SUMMED = pa.decimal128(38, 2)


@dataclass
class Totals:
    """How many rows, and the sum of each Money column in dollars."""

    rows: int = 0
    sums: dict[str, Decimal] = field(default_factory=dict)

    @staticmethod
    def of(schema: pa.Schema) -> "Totals":
        return Totals(0, dict.fromkeys(money_of(schema), Decimal("0.00")))

    def add(self, amounts: Mapping[str, Decimal | None]) -> None:
        """One row."""
        self.rows += 1
        for name, amount in amounts.items():
            self.sums[name] += amount or 0

    def differences(self, found: "Totals") -> str:
        """What is otherwise in the other ones, in words."""
        pairs = {"rows": (self.rows, found.rows), **{each: (self.sums[each], found.sums[each]) for each in self.sums}}
        return ", ".join(f"{name} {other:,} and not {own:,}" for name, (own, other) in pairs.items() if own != other)


def money_of(schema: pa.Schema) -> list[str]:
    return [each.name for each in schema if each.type == _MONEY]


@dataclass(frozen=True)
class Spilled:
    """Rows in sorted parts, each a file. `totals`: added up from columns, before any row is written."""

    schema: pa.Schema
    key: Sequence[str]
    parts: Sequence[Path]
    totals: Totals

    def rows(self) -> Iterator[Row]:
        """In the order of the key."""
        key = itemgetter(*(self.schema.get_field_index(name) for name in self.key))
        return heapq.merge(*map(_rows, self.parts), key=key)


def spill(batches: Iterable[pa.RecordBatch], schema: pa.Schema, key: Sequence[str], folder: Path) -> Spilled:
    """Write the rows to sorted parts in the folder."""
    totals, parts = Totals.of(schema), list[Path]()
    for table in _tables(batches, schema):
        totals.rows += table.num_rows
        for name in totals.sums:
            totals.sums[name] += pc.sum(table[name].cast(_SUMMED)).as_py() or 0
        parts.append(folder / f"{len(parts)}.arrow")
        with pa.OSFile(str(parts[-1]), "wb") as file, pa.ipc.new_file(file, schema) as writer:
            writer.write_table(table.sort_by([(name, "ascending") for name in key]), max_chunksize=_ROWS_MERGED)
    return Spilled(schema, key, parts, totals)


def _tables(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """Of some ten thousand rows each, typed as the schema."""
    held: list[pa.Table] = []
    for batch in batches:
        for start in range(0, batch.num_rows, _ROWS_SORTED):
            held.append(pa.Table.from_batches([batch.slice(start, _ROWS_SORTED)]).select(schema.names).cast(schema))
            if sum(map(len, held)) >= _ROWS_SORTED:
                yield pa.concat_tables(held)
                held = []
    if held:
        yield pa.concat_tables(held)


def _rows(part: Path) -> Iterator[Row]:
    with pa.OSFile(str(part)) as file, pa.ipc.open_file(file) as reader:
        for number in range(reader.num_record_batches):
            columns = [each.to_pylist() for each in reader.get_batch(number).columns]
            yield from zip(*columns, strict=True)
