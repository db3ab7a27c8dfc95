"""Rows that were published beside rows that were computed again: which keys and columns differ."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_MOST_SHOWN = 5

_ROW = "_row"


@dataclass(frozen=True)
class Different:
    """A row of one key. `published` and `computed` hold the columns that differ; None: there is no such row."""

    key: Mapping[str, Any]
    published: Mapping[str, Any] | None
    computed: Mapping[str, Any] | None


@dataclass
class Comparison:
    """`columns`: in how many rows each column differs. `doubled`: keys that one side has more than once."""

    published: int = 0
    computed: int = 0
    only_published: int = 0
    only_computed: int = 0
    differing: int = 0
    doubled: int = 0

    def __post_init__(self) -> None:
        self.columns: Counter[str] = Counter()
        self.examples: list[Different] = []

    @property
    def is_same(self) -> bool:
        return not (self.only_published or self.only_computed or self.differing or self.doubled)

    def add(self, published: pa.Table, computed: pa.Table, key: Sequence[str]) -> None:
        """Rows of the same days, with the same columns."""
        self.published += published.num_rows
        self.computed += computed.num_rows
        columns = published.column_names
        sides = [_plain(published), _plain(computed.select(columns))]
        for side in sides:
            self.doubled += side.num_rows - side.group_by(list(key)).aggregate([]).num_rows
        left, right = (
            side.select(list(key)).append_column(_ROW, pa.array(range(side.num_rows), pa.int64())) for side in sides
        )
        joined = left.join(right, list(key), join_type="full outer", right_suffix="_computed", coalesce_keys=True)
        at, there = joined[_ROW], joined[f"{_ROW}_computed"]
        lacks, has_more = joined.filter(pc.is_null(there)), joined.filter(pc.is_null(at))
        self.only_published += lacks.num_rows
        self.only_computed += has_more.num_rows
        for rows, side in ((lacks, "published"), (has_more, "computed")):
            for row in rows.slice(0, _MOST_SHOWN - len(self.examples)).to_pylist():
                names = {name: row[name] for name in key}
                self._show(names, {} if side == "published" else None, {} if side == "computed" else None)
        both = joined.filter(pc.and_(pc.is_valid(at), pc.is_valid(there))).sort_by(_ROW)
        self._compare(sides[0].take(both[_ROW]), sides[1].take(both[f"{_ROW}_computed"]), key)

    def _compare(self, published: pa.Table, computed: pa.Table, key: Sequence[str]) -> None:
        differs: dict[str, pa.ChunkedArray] = {}
        for name in published.column_names:
            left, right = published[name], computed[name]
            if left.equals(right):
                continue
            same = pc.or_(pc.fill_null(pc.equal(left, right), False), pc.and_(pc.is_null(left), pc.is_null(right)))
            differs[name] = pc.invert(same)
            self.columns[name] += pc.sum(differs[name]).as_py() or 0
        differs = {name: each for name, each in differs.items() if pc.any(each).as_py()}
        if not differs:
            return
        any_differs = pc.list_flatten(pa.array([], pa.list_(pa.bool_())))
        for each in differs.values():
            any_differs = each if not len(any_differs) else pc.or_(any_differs, each)
        rows = pc.indices_nonzero(any_differs)
        self.differing += len(rows)
        for index in rows.to_pylist()[: _MOST_SHOWN - len(self.examples)]:
            names = [name for name, each in differs.items() if each[index].as_py()]
            sides = ({name: side[name][index].as_py() for name in names} for side in (published, computed))
            self._show({name: published[name][index].as_py() for name in key}, *sides)

    def _show(
        self, key: Mapping[str, Any], published: Mapping[str, Any] | None, computed: Mapping[str, Any] | None
    ) -> None:
        if len(self.examples) < _MOST_SHOWN:
            self.examples.append(Different(key, published, computed))


def of_day(table: pa.Table, column: str | None, day: date | None) -> pa.Table:
    return table if column is None else table.filter(pc.equal(table[column].cast(pa.date32()), pa.scalar(day)))


def _plain(table: pa.Table) -> pa.Table:
    """One way to hold text, whatever each side has."""
    fields = [
        pa.field(
            each.name,
            pa.large_string() if pa.types.is_string(each.type) or pa.types.is_string_view(each.type) else each.type,
        )
        for each in table.schema
    ]
    return table.cast(pa.schema(fields)).combine_chunks()
