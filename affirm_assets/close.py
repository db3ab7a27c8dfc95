"""The close of a month: when it may be closed, what is kept of it, and the commit by which all tables know of it.

On the SQL catalogs (SQLite, PostgreSQL), and by a REST server's commit to several tables, that is one transaction:
every table's tag and property and the row of the close come together, or not at all. Elsewhere the row comes last:
until it is there, the month is not closed, and closing it again goes on.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NamespaceAlreadyExistsError, TableAlreadyExistsError
from pyiceberg.table import Table

from affirm_assets.declare.contract import personal_columns
from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.partitions import Window
from affirm_assets.errors import CloseRefused
from affirm_assets.orchestration.plan import Books
from affirm_assets.steps.closed import CLOSED_MONTH, Restatement, close_tag, month_end, month_text, restatements_of
from affirm_assets.steps.published import records_of
from affirm_assets.steps.tables import load_if_exists, main_snapshot
from affirm_assets.steps.together import Change, as_loaded, commit_together, load_together, set_properties, set_ref

CLOSES = "close.months"
"""The table with a row for each close of a month."""

TRIAL_BALANCE = "ledger.trial_balance"

_BALANCE = ("opening", "debits", "credits", "closing")
_MONEY = pa.decimal128(18, 2)

SCHEMA = pa.schema(
    [
        pa.field("month", pa.date32(), nullable=False),  # its first day
        pa.field("number", pa.int32(), nullable=False),  # 1; after each restatement one more
        pa.field("closed_at", pa.timestamp("us", "UTC"), nullable=False),
        pa.field("closed_by", pa.string(), nullable=False),
        pa.field("restatement", pa.string()),
        pa.field(
            "tables",
            pa.list_(
                pa.struct(
                    {
                        "table": pa.string(),
                        "snapshot": pa.int64(),
                        "sequence_number": pa.int64(),
                        "tag": pa.string(),  # none of a table with personal data
                    }
                )
            ),
        ),
        pa.field(
            "trial_balance",
            pa.list_(pa.struct({"account": pa.string(), **dict.fromkeys(_BALANCE, _MONEY)})),
        ),
    ]
)

_MOST_SHOWN = 5


@dataclass(frozen=True)
class Closing:
    """What is known of a table as a month was closed. `tag`: none for a table with personal data, which is not kept."""

    table: str
    snapshot: int
    sequence_number: int
    tag: str | None


@dataclass(frozen=True)
class Close:
    """A row of CLOSES. `month`: its first day; `number`: 1, and one more after each restatement.

    `trial_balance`: at the month's end, by account: opening, debits, credits and closing of the last day, in dollars.
    """

    month: date
    number: int
    closed_at: datetime
    closed_by: str
    restatement: str | None
    tables: tuple[Closing, ...]
    trial_balance: Mapping[str, tuple[Decimal, ...]]

    @staticmethod
    def of(row: Mapping[str, Any]) -> "Close":
        tables = tuple(Closing(**each) for each in row["tables"])
        balance = {each["account"]: tuple(each[name] for name in _BALANCE) for each in row["trial_balance"]}
        return Close(**{**row, "tables": tables, "trial_balance": balance})

    @property
    def row(self) -> Mapping[str, Any]:
        tables = [vars(each) for each in self.tables]
        balance = [
            {"account": account, **dict(zip(_BALANCE, amounts, strict=True))}
            for account, amounts in self.trial_balance.items()
        ]
        return {**vars(self), "tables": tables, "trial_balance": balance}


@dataclass(frozen=True)
class Ledger:
    """The project's datasets, upstream first, its catalog, and its first business date."""

    catalog: Catalog
    datasets: Mapping[str, Dataset]
    first: date

    def tables(self) -> Mapping[str, Table]:
        """Those of the datasets that there are, and the table of the closes.

        On the SQL catalogs all as of one moment. Elsewhere one after another; the commit requires that main of each is
        where it was.
        """
        return load_together(self.catalog, [*(each.table for each in self.datasets.values()), CLOSES])

    def lacking(self, tables: Mapping[str, Table], through: date) -> list[str]:
        """What is missing or out of date, for the business dates through this one."""
        return Books.of(self.datasets, records_of(self.datasets, tables), self.first).lacking(self.datasets, through)

    def ensure(self, name: str, schema: pa.Schema) -> Table:
        """A table of the platform's own, which no dataset computes."""
        if table := load_if_exists(self.catalog, name):
            return table
        with suppress(NamespaceAlreadyExistsError):
            self.catalog.create_namespace_if_not_exists(name.partition(".")[0])
        with suppress(TableAlreadyExistsError):
            return self.catalog.create_table(name, schema, properties={"format-version": "2"})
        return self.catalog.load_table(name)


def closes_of(table: Table | None) -> list[Close]:
    """In order: by month, and by number."""
    rows = table.scan().to_arrow().to_pylist() if table else []
    return sorted(map(Close.of, rows), key=lambda each: (each.month, each.number))


def close_month(ledger: Ledger, month: date, by: str, now: datetime) -> Close:
    """Close the month that begins with this day. Raises CloseRefused, naming all that stands against it."""
    ledger.ensure(CLOSES, SCHEMA)
    done: list[Close] = []

    def decide() -> Sequence[Change]:
        tables = ledger.tables()
        _check_next(ledger, closes_of(tables[CLOSES]), month)
        if problems := _problems(ledger, tables, month):
            more = [f"and {len(problems) - _MOST_SHOWN} more"] * (len(problems) > _MOST_SHOWN)
            lines = "\n  - ".join([*problems[:_MOST_SHOWN], *more])
            raise CloseRefused(f"{month_text(month)} cannot be closed; nothing was changed:\n  - {lines}")
        close = closing(ledger, tables, month, 1, by, now, None)
        done[:] = [close]
        named = {CLOSED_MONTH: month_text(month)}
        return [
            *(tagged(tables[each.table], close, (set_properties(named),)) for each in close.tables),
            appended(tables[CLOSES], SCHEMA, [close.row]),
        ]

    commit_together(ledger.catalog, decide)
    return done[0]


def closing(
    ledger: Ledger,
    tables: Mapping[str, Table],
    month: date,
    number: int,
    by: str,
    now: datetime,
    restatement: Restatement | None,
) -> Close:
    """The month as the tables have it now."""
    return Close(
        month=month,
        number=number,
        closed_at=now.astimezone(UTC),
        closed_by=by,
        restatement=restatement.id if restatement else None,
        tables=tuple(
            _closing(each, tables[each.table], month, number)
            for each in ledger.datasets.values()
            # One of a feed that begins later has nothing yet.
            if each.table in tables and tables[each.table].current_snapshot()
        ),
        trial_balance=_trial_balance(tables.get(TRIAL_BALANCE), month_end(month)),
    )


def tagged(table: Table, close: Close, updates: Sequence[Any]) -> Change:
    """The table's part of a close, with further updates."""
    (own,) = (each for each in close.tables if each.table == ".".join(table.name()))
    if own.tag is None:
        return Change(table, tuple(updates), as_loaded(table))
    return Change(table, (set_ref(own.tag, "tag", own.snapshot), *updates), as_loaded(table))


def appended(table: Table, schema: pa.Schema, rows: Sequence[Mapping[str, Any]]) -> Change:
    """Rows for a table of the platform's own, whose files are written now."""
    transaction = table.transaction()
    transaction.append(pa.Table.from_pylist(list(rows), schema))
    return Change(table, transaction._updates, transaction._requirements)


def _check_next(ledger: Ledger, closes: Sequence[Close], month: date) -> None:
    first = ledger.first.replace(day=1)
    if month < first:
        raise CloseRefused(
            f"{month_text(month)}: expected a month from {month_text(first)} on, in which the books begin."
        )
    if same := [each for each in closes if each.month == month]:
        last = same[-1]
        raise CloseRefused(
            f"{month_text(month)} is closed already: by {last.closed_by} at {last.closed_at:%Y-%m-%d %H:%M} UTC. To "
            f"change it: affirm restate --from DATE --reason TEXT"
        )
    following = month_end(closes[-1].month) + timedelta(days=1) if closes else first
    if month != following:
        raise CloseRefused(
            f"{month_text(month)}: months are closed one after another; expected {month_text(following)}, the next one."
        )


def _problems(ledger: Ledger, tables: Mapping[str, Table], month: date) -> list[str]:
    under_way = [
        f"restatement {each.id} from {each.first} is under way ({each.reason}): end it with affirm restate --end"
        for each in restatements_of(tables.values())
    ]
    return [*under_way, *overrides(ledger, tables, month), *ledger.lacking(tables, month_end(month))]


def overrides(ledger: Ledger, tables: Mapping[str, Table], month: date) -> list[str]:
    """Days of the month whose last publish a person has let pass, although an audit refused them."""
    days = Window(month, month_end(month))
    found = [
        (day, str(ledger.datasets[name]))
        for name, record in records_of(ledger.datasets, tables).items()
        for day in record.passed
        if days.contains(day)
    ]
    return [
        f"{dataset} of {day}: a person has let pass what its audit refused. Land the right files, withdraw it with "
        f"affirm accept FEED {day} --withdraw, and materialize the date again"
        for day, dataset in sorted(found)
    ]


def _closing(dataset: Dataset, table: Table, month: date, number: int) -> Closing:
    snapshot = table.current_snapshot()
    assert snapshot is not None
    tag = None if personal_columns(dataset.contract) else close_tag(month, number)
    return Closing(dataset.table, snapshot.snapshot_id, snapshot.sequence_number or 0, tag)


def _trial_balance(table: Table | None, day: date) -> Mapping[str, tuple[Decimal, ...]]:
    if table is None:  # of a project without a ledger
        return {}
    rows = table.scan(
        row_filter=f"as_of = '{day}'", selected_fields=("account", *_BALANCE), snapshot_id=main_snapshot(table)
    )
    return {
        row["account"]: tuple(row[name] for name in _BALANCE)
        for row in sorted(rows.to_arrow().to_pylist(), key=lambda each: str(each["account"]))
    }
