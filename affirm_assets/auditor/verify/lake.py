"""The tables as an auditor reads them: at one snapshot each, a day at a time, only the columns that are asked for."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.expressions import AlwaysTrue, BooleanExpression
from pyiceberg.expressions.parser import parse
from pyiceberg.io.pyarrow import ArrowScan
from pyiceberg.schema import Schema
from pyiceberg.table import FileScanTask, Table
from pyiceberg.transforms import IdentityTransform

from affirm_assets.auditor.errors import NothingToVerify
from affirm_assets.auditor.verify.rows import Rows, days_of

PUBLISHED = "affirm.published"
RECENT = "affirm.recent"

_DAYS_PLANNED = 31
"""Of which the files are listed at once: neither each day anew, nor a history of years in memory."""

_ROWS_AT_ONCE = 20_000
"""Of so many rows, days are read together: to open each small file by itself takes longer than to read it."""

Days = tuple[date, date]
"""The first and the last."""


@dataclass
class AuditedTable:
    """A table at its snapshot of now. `column`: the date by which it is partitioned."""

    name: str
    table: Table
    column: str
    rows_read: int = 0
    astray: int = 0
    """Rows that were found in the partition of another day."""
    _planned: Days | None = None
    _tasks: Mapping[int | None, Sequence[FileScanTask]] = field(default_factory=dict)
    _columns: tuple[str, ...] = ()
    _schema: Schema | None = None
    _ahead: dict[int, Rows] = field(default_factory=dict)

    @staticmethod
    def of(catalog: Catalog, name: str) -> "AuditedTable":
        try:
            table = catalog.load_table(name)
        except NoSuchTableError as error:
            raise NothingToVerify(
                f"{name}: expected a table of that name in the lake, found none. Materialize the books first."
            ) from error
        partitioned = [each for each in table.spec().fields if isinstance(each.transform, IdentityTransform)]
        if not partitioned:
            raise NothingToVerify(f"{name}: expected a partition by date, found {table.spec()}.")
        return AuditedTable(name, table, table.schema().find_field(partitioned[0].source_id).name)

    @property
    def key(self) -> list[str]:
        schema = self.table.schema()
        return [schema.find_field(each).name for each in schema.identifier_field_ids]

    @property
    def published(self) -> list[Days]:
        """What the table's record says is published, in order."""
        text = self.table.properties.get(PUBLISHED, "")
        return sorted(_days(each) for each in text.split(",") if each.strip())

    def day(self, day: date, columns: Iterable[str]) -> Rows:
        """The rows of a day. Days are asked for in order; a few of them are read at once where they are small."""
        if self._columns != (wanted := tuple(sorted({*columns, self.column}))):
            self._columns, self._schema, self._ahead = wanted, self.table.schema().select(*wanted), {}
        self._plan(day)
        number = days_of(day)
        if None in self._tasks:
            rows = Rows(
                self._scan([*self._tasks.get(number, ()), *self._tasks[None]], parse(f"{self.column} = '{day}'"))
            )
        else:
            if number not in self._ahead:
                self._read_ahead(number)
            rows = self._ahead.pop(number)
        self.rows_read += len(rows)
        return rows

    def batches(self, where: str, columns: Sequence[str]) -> Iterator[Rows]:
        """The rows of all days of which `where` holds, a batch at a time."""
        for batch in self.table.scan(row_filter=where, selected_fields=tuple(columns)).to_arrow_batch_reader():
            self.rows_read += batch.num_rows
            yield Rows(pa.Table.from_batches([batch]))

    def _read_ahead(self, number: int) -> None:
        assert self._planned is not None
        days, tasks = [number], list(self._tasks.get(number, ()))
        while days[-1] < days_of(self._planned[1]):
            following = self._tasks.get(days[-1] + 1, ())
            if sum(each.file.record_count for each in (*tasks, *following)) > _ROWS_AT_ONCE:
                break
            days.append(days[-1] + 1)
            tasks += following
        table = self._scan(tasks, AlwaysTrue())
        of_day = table[self.column].cast(pa.int32())
        self._ahead = {each: Rows(table.filter(pc.equal(of_day, each))) for each in days}
        self.astray += table.num_rows - sum(len(each) for each in self._ahead.values())

    def _scan(self, tasks: Sequence[FileScanTask], filter_: BooleanExpression) -> pa.Table:
        assert self._schema is not None
        return ArrowScan(self.table.metadata, self.table.io, self._schema, filter_).to_table(tasks)

    def _plan(self, day: date) -> None:
        """List the files of this day and of those after it. None: of files that are not of one day."""
        if self._planned and self._planned[0] <= day <= self._planned[1]:
            return
        self._planned = day, day + timedelta(days=_DAYS_PLANNED - 1)
        among = f"{self.column} >= '{self._planned[0]}' AND {self.column} <= '{self._planned[1]}'"
        source = self.table.schema().find_field(self.column).field_id
        tasks: dict[int | None, list[FileScanTask]] = defaultdict(list)
        for task in self.table.scan(row_filter=among).plan_files():
            spec = self.table.specs()[task.file.spec_id]
            at = [
                index
                for index, each in enumerate(spec.fields)
                if each.source_id == source and isinstance(each.transform, IdentityTransform)
            ]
            tasks[task.file.partition[at[0]] if at else None].append(task)
        self._tasks, self._ahead = tasks, {}

    def reported(self) -> Mapping[date, int | None]:
        """By day, how many rows its last publish says that it has; None: the report is not there any more.

        Of a day that no publish is remembered of, nothing.
        """
        rows: dict[date, int | None] = {}
        for each in json.loads(self.table.properties.get(RECENT, "[]")):  # newest first
            counts = self._report(each["snapshot"])
            first, last = _days(each["window"])
            said = dict.fromkeys(self._partitions(first, last)) if counts is None else counts
            rows = {**said, **rows}
        return rows

    def _partitions(self, first: date, last: date) -> list[date]:
        days = [first + timedelta(days=each) for each in range((last - first).days + 1)]
        return [each for each in days if each.day == 1] if self.column == "month" else days

    def _report(self, snapshot: int) -> Mapping[date, int] | None:
        path = self.table.location_provider().new_metadata_location(f"affirm-{snapshot}.json")
        try:
            with self.table.io.new_input(path).open() as stream:
                said: Any = json.loads(stream.read())
            return {date.fromisoformat(day): int(count) for day, count in said["rows"]}
        except (OSError, ValueError, KeyError, TypeError):
            return None


def _days(text: str) -> Days:
    first, _, last = text.strip().partition("...")
    return date.fromisoformat(first), date.fromisoformat(last or first)


def all_days(first: date, last: date) -> list[date]:
    return [first + timedelta(days=each) for each in range((last - first).days + 1)]
