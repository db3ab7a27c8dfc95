"""A restatement: closed months are published again from a date on, for a reason that is kept, and a report of what
changed is left.

It begins with a property on every table, which the runs that may publish carry as a tag. It ends once all is whole
again: then each month that it reached is closed anew, with a tag of its own, beside the one of before.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.table import Table

from affirm_assets.close import CLOSES, SCHEMA, Close, Ledger, appended, closes_of, closing, overrides, tagged
from affirm_assets.declare.contract import key_columns, money_of
from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.partitions import Window
from affirm_assets.errors import CloseRefused
from affirm_assets.steps.closed import (
    RESTATEMENT,
    Restatement,
    closed_through,
    month_end,
    month_text,
    restatement_of,
    restatements_of,
)
from affirm_assets.steps.tables import main_snapshot, schema_of
from affirm_assets.steps.together import Change, as_loaded, commit_together, remove_properties, set_properties

RESTATEMENTS = "close.restatements"
"""The table with a row for each restatement that was begun."""

CHANGES = "close.changes"
"""The table with the report of each restatement that has ended."""

_BEGUN = pa.schema(
    [
        pa.field("restatement", pa.string(), nullable=False),
        pa.field("first", pa.date32(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("begun_by", pa.string(), nullable=False),
        pa.field("begun_at", pa.timestamp("us", "UTC"), nullable=False),
    ]
)

_CHANGED = pa.schema(
    [
        pa.field("restatement", pa.string(), nullable=False),
        pa.field("month", pa.date32(), nullable=False),
        pa.field("table", pa.string(), nullable=False),
        pa.field("day", pa.date32(), nullable=False),
        pa.field("of", pa.string(), nullable=False),  # table, account, loan, merchant or key
        pa.field("name", pa.string()),
        pa.field("column", pa.string(), nullable=False),  # `rows`, or one that holds money
        pa.field("before", pa.decimal128(38, 2), nullable=False),
        pa.field("after", pa.decimal128(38, 2), nullable=False),
    ]
)

_NAMED_BY = {"account": "account", "loan_id": "loan", "merchant_id": "merchant"}
_ROWS = "rows"
_SUMMED = pa.decimal128(38, 2)


@dataclass(frozen=True)
class Changed:
    """What a sum was as the month was closed, and what it is, on a day: of a table, or of an account, loan or merchant
    in it.

    Of a table that has none of these: of the rest of its key, such as `installment current paid` of a roll rate.
    `column`: the one that is summed, in dollars; or `rows`, which is their number.
    """

    month: date
    table: str
    day: date
    of: str
    name: str | None
    column: str
    before: Decimal
    after: Decimal


@dataclass(frozen=True)
class Ended:
    """`unknown`: tables with personal data whose closing snapshot is gone, so that nobody knows what it held."""

    restatement: Restatement
    closes: tuple[Close, ...]
    changes: tuple[Changed, ...]
    unknown: tuple[str, ...]


def under_way(ledger: Ledger) -> Restatement | None:
    """Raises CloseRefused if the tables do not agree."""
    return _under_way(ledger.tables())


def begin(ledger: Ledger, first: date, reason: str, by: str, now: datetime) -> Restatement:
    """Let runs that carry its id publish into closed months from this date on. Raises CloseRefused."""
    if not reason.strip():
        raise CloseRefused(f"restatement from {first}: expected a reason, found {reason!r}. Say why: --reason TEXT")
    ledger.ensure(RESTATEMENTS, _BEGUN)
    begun: list[Restatement] = []

    def decide() -> Sequence[Change]:
        tables = ledger.tables()
        # Where a catalog commits to one table after another, and this was stopped in between: it goes on.
        if (going := _under_way(tables)) and (going.first, going.reason) == (first, reason.strip()):
            begun[:] = [going]
            left = [each for each in _own(ledger, tables) if restatement_of(each) is None]
            if left:
                goes_on = set_properties({RESTATEMENT: going.to_json()})
                return [Change(each, (goes_on,), as_loaded(each)) for each in left]
        _check_may_begin(ledger, tables, first)
        log = ledger.catalog.load_table(RESTATEMENTS)
        number = log.scan(selected_fields=("restatement",)).to_arrow().num_rows + 1
        at = now.astimezone(UTC)
        said = Restatement(f"R{number}", first, reason.strip(), by, at.isoformat(timespec="seconds"))
        begun[:] = [said]
        row = {"restatement": said.id, "first": first, "reason": said.reason, "begun_by": by, "begun_at": at}
        properties = set_properties({RESTATEMENT: said.to_json()})
        # The row first: a restatement that nobody has a record of must not be under way.
        return [
            appended(log, _BEGUN, [row]),
            *(Change(each, (properties,), as_loaded(each)) for each in _own(ledger, tables)),
        ]

    commit_together(ledger.catalog, decide)
    return begun[0]


def end(ledger: Ledger, by: str, now: datetime) -> Ended:
    """Close anew each month that the restatement reached, and keep what changed. Raises CloseRefused, if none is under
    way, or something is missing or out of date.
    """
    ledger.ensure(CHANGES, _CHANGED)
    ended: list[Ended] = []
    # Of each table once: a commit of another to one of them asks for a new decision, and not for all that again.
    known: dict[tuple[str, int, int | None, date], list[Changed]] = {}

    def decide() -> Sequence[Change]:
        tables = ledger.tables()
        restatement = _under_way(tables)
        if restatement is None:
            raise CloseRefused(
                "expected a restatement under way, found none. To begin one: affirm restate --from DATE --reason TEXT"
            )
        before = _last_closes(closes_of(tables.get(CLOSES)))
        if not before:
            raise CloseRefused(f"restatement {restatement.id}: expected closed months in {CLOSES}, found none.")
        through = month_end(max(before))
        months = sorted(month for month in before if month_end(month) >= restatement.first)
        passed = [said for month in months for said in overrides(ledger, tables, month)]
        if problems := [*passed, *ledger.lacking(tables, through)]:
            lines = "\n  - ".join(problems)
            raise CloseRefused(f"restatement {restatement.id} cannot end; nothing was changed:\n  - {lines}")
        closes = [closing(ledger, tables, month, before[month].number + 1, by, now, restatement) for month in months]
        changes, unknown = _report(ledger, tables, [before[month] for month in months], restatement.first, known)
        ended[:] = [Ended(restatement, tuple(closes), tuple(changes), tuple(unknown))]
        rows = [{"restatement": restatement.id, **vars(each)} for each in changes]
        return [
            *([appended(ledger.catalog.load_table(CHANGES), _CHANGED, rows)] if rows else []),
            *(_closed_anew(each, closes) for each in _own(ledger, tables)),
            appended(tables[CLOSES], SCHEMA, [each.row for each in closes]),
        ]

    commit_together(ledger.catalog, decide)
    return ended[0]


def _closed_anew(table: Table, closes: Sequence[Close]) -> Change:
    updates = [update for close in closes for update in tagged(table, close, ()).updates]
    return Change(table, (*updates, remove_properties([RESTATEMENT])), as_loaded(table))


def _own(ledger: Ledger, tables: Mapping[str, Table]) -> list[Table]:
    return [tables[each.table] for each in ledger.datasets.values() if each.table in tables]


def _under_way(tables: Mapping[str, Table]) -> Restatement | None:
    said = restatements_of(tables.values())
    if len(said) > 1:
        ids = ", ".join(sorted(each.id for each in said))
        raise CloseRefused(
            f"expected one restatement under way, found {ids} on different tables: somebody has "
            f"set the property {RESTATEMENT} by hand. Remove the wrong one."
        )
    return next(iter(said), None)


def _check_may_begin(ledger: Ledger, tables: Mapping[str, Table], first: date) -> None:
    if going := _under_way(tables):
        raise CloseRefused(
            f"restatement {going.id} from {going.first} is under way ({going.reason}); expected none. End it first: "
            "affirm restate --end"
        )
    if first < ledger.first:
        raise CloseRefused(
            f"restatement from {first}: expected a date from {ledger.first} on, the first business date."
        )
    ends = [through for each in _own(ledger, tables) if (through := closed_through(each))]
    if not ends:
        raise CloseRefused(f"restatement from {first}: no month is closed, so none is needed. Materialize the dates.")
    if first > max(ends):
        raise CloseRefused(
            f"restatement from {first}: expected a date in a closed month, up to {max(ends)}. Later dates are open: "
            "materialize them."
        )


def _last_closes(closes: Iterable[Close]) -> dict[date, Close]:
    return {each.month: each for each in closes}


def _report(
    ledger: Ledger,
    tables: Mapping[str, Table],
    closes: Sequence[Close],
    first: date,
    known: dict[tuple[str, int, int | None, date], list[Changed]],
) -> tuple[list[Changed], list[str]]:
    """What changed since the closes, and the tables of which that is not known."""
    changes: list[Changed] = []
    unknown: dict[str, None] = {}
    for close in closes:
        then = {each.table: each.snapshot for each in close.tables}
        days = Window(max(first, close.month), month_end(close.month))
        for dataset in ledger.datasets.values():
            table, snapshot = tables.get(dataset.table), then.get(dataset.table)
            if table is None:
                continue
            if snapshot is None or table.snapshot_by_id(snapshot) is None:
                unknown[dataset.table] = None
                continue
            key = dataset.table, snapshot, main_snapshot(table), close.month
            if key not in known:
                known[key] = [*_changes(dataset, table, snapshot, close.month, days)]
            changes += known[key]
    return changes, [*unknown]


def _changes(dataset: Dataset, table: Table, then: int, month: date, days: Window) -> Iterator[Changed]:
    """Of one table in one month, day by day: of each only where its files are others."""
    partitions, now = dataset.partitions, main_snapshot(table)
    if partitions is None or now is None:
        return
    starts = partitions.covering(days)
    day = starts.first
    while day <= starts.last:
        if _files(table, then, partitions.column, day) != _files(table, now, partitions.column, day):
            yield from _of_day(dataset, table, then, now, month, day)
        day = partitions.after(Window(day, day), 1).first


def _files(table: Table, snapshot: int, column: str, day: date) -> set[str]:
    return {
        each.file.file_path for each in table.scan(row_filter=f"{column} = '{day}'", snapshot_id=snapshot).plan_files()
    }


def _of_day(dataset: Dataset, table: Table, then: int, now: int, month: date, day: date) -> Iterator[Changed]:
    assert dataset.partitions is not None
    # A column that is younger than the close has nothing to be compared with.
    names = set(schema_of(table, then).column_names) & set(schema_of(table, now).column_names)
    money = [name for name in money_of(dataset.contract) if name in names]
    named_by = [name for name in _NAMED_BY if name in names]
    # What is of none of these is named by the rest of its key: a roll rate by product and buckets.
    key = [] if named_by else [each for each in key_columns(dataset.contract) if each != dataset.partitions.column]
    where = f"{dataset.partitions.column} = '{day}'"
    fields = tuple(dict.fromkeys([dataset.partitions.column, *money, *named_by, *key]))
    before, after = (
        table.scan(row_filter=where, selected_fields=fields, snapshot_id=each).to_arrow() for each in (then, now)
    )
    parts = [("table", []), *((_NAMED_BY[name], [name]) for name in named_by), *([("key", key)] if key else [])]
    for of, by in parts:
        was, is_now = _sums(before, by, money), _sums(after, by, money)
        nothing = dict.fromkeys((_ROWS, *money), Decimal(0))
        for name in sorted({*was, *is_now}, key=str):
            old, new = was.get(name, nothing), is_now.get(name, nothing)
            for column in (_ROWS, *money):
                if old[column] != new[column]:
                    yield Changed(month, dataset.table, day, of, name, column, old[column], new[column])


def _sums(rows: pa.Table, by: Sequence[str], money: Sequence[str]) -> Mapping[str | None, Mapping[str, Decimal]]:
    """By name (None: of all): how many rows there are, and the sum of each column of money; a null counts as 0.

    Of several columns, the name is their values, one blank apart.
    """
    texts = [rows[name].cast(pa.string()) for name in by]
    names = pc.binary_join_element_wise(*texts, " ") if texts else pa.nulls(rows.num_rows, pa.string())
    columns = {name: pc.fill_null(rows[name].cast(_SUMMED), Decimal("0.00")) for name in money}
    table = pa.table({"name": names.cast(pa.string()), **columns})
    summed = table.group_by("name").aggregate([([], "count_all"), *((name, "sum") for name in money)])
    return {
        row["name"]: {_ROWS: Decimal(row["count_all"]), **{name: row[f"{name}_sum"] for name in money}}
        for row in summed.to_pylist()
    }


def counts_by_table(changes: Iterable[Changed]) -> Mapping[tuple[str, str], tuple[int, int]]:
    """By table and month, as text: on how many days and of how many loans, accounts or merchants something changed."""
    days: dict[tuple[str, str], set[date]] = {}
    names: dict[tuple[str, str], set[str]] = {}
    for each in changes:
        key = each.table, month_text(each.month)
        days.setdefault(key, set()).add(each.day)
        if each.name is not None:
            names.setdefault(key, set()).add(each.name)
    return {key: (len(found), len(names.get(key, set()))) for key, found in days.items()}
