"""The statement of one loan: its terms, its schedule, what moved it, and the lineage of all that is shown."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from operator import itemgetter
from typing import Any

from pyiceberg.expressions import And, BooleanExpression
from pyiceberg.expressions.parser import parse

from affirm_assets.auditor.errors import DateNotPublished, FilesGone, LoanNotYetBooked, LoanUnknown
from affirm_assets.auditor.history import Origin, TableThen, origins
from affirm_assets.declare.contract import personal_columns
from affirm_assets.declare.partitions import Window
from affirm_assets.lender.vocabulary import ADJUSTMENT_KINDS, REVERSALS
from affirm_assets.steps.tables import schema_of

Row = Mapping[str, Any]
Entry = tuple[str, Decimal]
"""An account, and what it was debited; a credit is negative."""

READS = (
    "loans",
    "loan_schedules",
    "loan_balances",
    "payment_applications",
    "suspense",
    "adjustments",
    "ledger_entries",
)
"""The datasets of which a statement shows rows."""

STATE = (
    "principal",
    "interest",
    "credit",
    "days_past_due",
    "bucket",
    "status",
    "amount_past_due",
    "next_due_on",
    "next_due_amount",
    "payoff_amount",
    "charged_off_on",
    "settled_on",
)
"""What a statement shows of a balance."""

_ZERO = Decimal("0.00")

_EACH_DAY = ("accrual", "discount_earned", "nonaccrual")
"""Postings that most days have: told together, up to the next movement."""

_ENDS_A_DAY = ("discount_earned", "nonaccrual")


@dataclass(frozen=True)
class Movement:
    """One line of the statement. `posting`: a debit is positive, a credit negative.

    `principal`, `interest` and `credit` are what the postings leave after it; `days_past_due` is of the day's end.
    `effective_on` and `waited_since`: where they are not the day itself.
    """

    first: date
    last: date
    kind: str
    what: str
    amount: Decimal | None
    effective_on: date | None
    waited_since: date | None
    posting: tuple[Entry, ...]
    principal: Decimal
    interest: Decimal
    credit: Decimal
    days_past_due: int | None
    note: str | None = None


@dataclass(frozen=True)
class Statement:
    """`balances`: one row a day. `differs`: days on which the postings do not leave what the balances say."""

    loan_id: str
    as_of: date
    run_id: str | None
    terms: Mapping[str, Any]
    schedule: Sequence[Row]
    movements: Sequence[Movement]
    balances: Sequence[Row]
    waiting: Sequence[Row]
    differs: Sequence[date]
    lineage: Sequence[Origin]
    files: int
    bytes: int

    @property
    def last(self) -> Row:
        return self.balances[-1]


@dataclass
class Reader:
    """Reads the rows of one loan, and counts the files that are opened."""

    then: Mapping[str, TableThen]
    loan_id: str
    files: int = 0
    bytes: int = 0
    shown: dict[str, Window] = field(default_factory=dict)

    def rows(self, name: str, days: Window | None, order: Sequence[str], only: Sequence[str] = ()) -> list[Row]:
        """In that order, without personal columns; `only` these, if any are named. No table or snapshot: no rows."""
        found = self.then.get(name)
        if found is None or found.snapshot is None:
            return []
        partitions = found.dataset.partitions
        assert partitions is not None
        column = partitions.column
        row_filter: BooleanExpression = parse(f"loan_id = '{self.loan_id}'")
        if days:
            row_filter = And(row_filter, parse(f"{column} >= '{days.first}' AND {column} <= '{days.last}'"))
        personal = personal_columns(found.dataset.contract)
        kept = [each for each in only or schema_of(found.table, found.snapshot).column_names if each not in personal]
        scan = found.table.scan(row_filter=row_filter, selected_fields=tuple(kept), snapshot_id=found.snapshot)
        planned = list(scan.plan_files())
        self.files += len(planned)
        self.bytes += sum(each.file.file_size_in_bytes for each in planned)
        try:
            rows: list[Row] = scan.to_arrow().to_pylist()
        except FileNotFoundError as error:
            raise FilesGone(
                found.dataset.table, f"the files of snapshot {found.snapshot}", f"that one is gone: {error}"
            ) from error
        if rows:
            of_rows = [row[column] for row in rows]
            self.shown[name] = Window(min(of_rows), max(of_rows))
        return sorted(rows, key=itemgetter(*order))


def statement(then: Mapping[str, TableThen], loan_id: str, as_of: date | None, run_id: str | None) -> Statement:
    """Raises LoanUnknown, LoanNotYetBooked, DateNotPublished, FilesGone. `as_of`: None: the last that is published."""
    balances_then = then.get("loan_balances")
    published = balances_then.published if balances_then else ()
    said = ", ".join(map(str, published))
    day = as_of or (published[-1].last if published else date.min)
    if not any(each.contains(day) for each in published):
        raise DateNotPublished("servicing.loan_balances", day, said)
    reader = Reader(then, loan_id)
    loans = reader.rows("loans", None, ["booked_on"]) if is_id(loan_id) else []
    if not loans:
        raise LoanUnknown(loan_id, ", ".join(map(str, then["loans"].published)) if "loans" in then else "")
    booked_on = loans[0]["booked_on"]
    if booked_on > day:
        raise LoanNotYetBooked(loan_id, day, booked_on)
    days = Window(booked_on, day)
    schedule = reader.rows("loan_schedules", Window(booked_on, booked_on), ["number"])
    balances = reader.rows("loan_balances", days, ["as_of"], ("as_of", *_OF_BALANCE, *STATE))
    if not balances:
        raise LoanUnknown(loan_id, f"{booked_on}, of which there is a balance")
    applied = reader.rows("payment_applications", days, ["posted_on", "transaction_id"])
    # Cash may have waited for the loan since before it was booked.
    waiting = (
        []
        if not any(each["is_from_suspense"] for each in applied)
        else reader.rows("suspense", Window(booked_on, booked_on), ["transaction_id"])
    )
    since = min([booked_on, *(each["waiting_since"] for each in waiting)])
    entries = reader.rows("ledger_entries", Window(since, day), ["posted_on", "posting_id", "entry"])
    decided = reader.rows("adjustments", days, ["posted_on", "adjustment_id"])
    told = Told(applied, entries, balances, waiting, decided)
    movements = list(told.movements())
    lineage = [one for name, window in reader.shown.items() for one in origins(then[name], window)]
    return Statement(
        loan_id,
        day,
        run_id,
        _terms(loans[0], balances[-1]),
        schedule,
        movements,
        balances,
        waiting,
        told.differs,
        lineage,
        reader.files,
        reader.bytes,
    )


def is_id(text: str) -> bool:
    """Whether it could be an id: a quote in it would end the text that a filter is made of."""
    return bool(text) and "'" not in text and "\\" not in text


@dataclass
class Told:
    """Lines out of postings, in the order in which the books apply them."""

    applied: Sequence[Row]
    entries: Sequence[Row]
    balances: Sequence[Row]
    waiting: Sequence[Row]
    decided: Sequence[Row]
    differs: list[date] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.owed = {"principal_receivable": _ZERO, "interest_receivable": _ZERO, "credit_balances": _ZERO}
        self.by_posting: dict[date, dict[str, list[Row]]] = {}
        for each in self.entries:
            self.by_posting.setdefault(each["posted_on"], {}).setdefault(each["posting_id"], []).append(each)
        self.of_day = {each["as_of"]: each for each in self.balances}
        self.by_transaction = {(each["posted_on"], each["transaction_id"]): each for each in self.applied}
        self.since = {each["transaction_id"]: each["waiting_since"] for each in self.waiting}
        self.approvers = {f"adjustment/{each['adjustment_id']}": each["approver"] for each in self.decided}
        self.pending: list[tuple[date, str, list[Row]]] = []

    def movements(self) -> Iterator[Movement]:
        days = sorted({*self.by_posting, *(day for day, _ in self.by_transaction)})
        for day in days:
            yield from self._of_day(day, self.by_posting.get(day, {}))
            self._compare(day)
        yield from self._told_together()

    def _of_day(self, day: date, postings: Mapping[str, list[Row]]) -> Iterator[Movement]:
        made = {posting: (rows[0]["kind"], rows) for posting, rows in postings.items()}
        unposted: list[tuple[str, tuple[str, list[Row]]]] = [
            (f"{each['kind']}/{each['transaction_id']}", (each["kind"], []))
            for (on, _), each in self.by_transaction.items()
            if on == day and f"{each['kind']}/{each['transaction_id']}" not in made
        ]
        for posting, (kind, rows) in sorted(
            {**made, **dict(unposted)}.items(), key=lambda item: self._order(day, *item)
        ):
            if kind in _EACH_DAY:
                self.pending.append((day, kind, rows))
                continue
            held = [each for each in self.pending if not (each[0] == day and each[1] in _ENDS_A_DAY)]
            yield from self._told_together(held)
            yield self._movement(day, posting, kind, rows)

    def _order(self, day: date, posting: str, made: tuple[str, list[Row]]) -> tuple[Any, ...]:
        kind, _ = made
        at = {
            "suspense": 0,
            "origination": 1,
            "accrual": 2,
            "charge_off": 4,
            "small_balance": 4,
            "discount_earned": 5,
            "nonaccrual": 6,
        }.get(kind, 3)
        application = self.by_transaction.get((day, posting.partition("/")[2]))
        within = 3 if kind in ADJUSTMENT_KINDS else 2 if kind in REVERSALS else 1 if kind == "credit_refund" else 0
        effective = application["effective_on"] if application else day
        return at, within, effective, posting

    def _movement(self, day: date, posting: str, kind: str, rows: Sequence[Row]) -> Movement:
        transaction = posting.partition("/")[2]
        application = self.by_transaction.get((day, transaction))
        effective = application["effective_on"] if application and application["effective_on"] != day else None
        since = self.since.get(transaction) if application and application["is_from_suspense"] else None
        amount = application["amount"] if application else None
        what = transaction if (rows and rows[0]["transaction_id"]) or application else ""
        note = application["exception"] if application else None
        if approver := self.approvers.get(transaction):
            note = f"{note}; approved by {approver}" if note else f"approved by {approver}"
        if application and application["reverses"]:
            what += f" of {application['reverses']}"
        return self._line(Window(day, day), kind, what, amount, effective, since, rows, note)

    def _told_together(self, held: Sequence[tuple[date, str, list[Row]]] | None = None) -> Iterator[Movement]:
        """One line for each kind, of all days that wait to be told."""
        held = list(self.pending) if held is None else held
        self.pending = [each for each in self.pending if each not in held]
        for kind in _EACH_DAY:
            of_kind = [each for each in held if each[1] == kind]
            if of_kind:
                rows = [row for _, _, rows in of_kind for row in rows]
                what = f"{len(of_kind)} days" if len(of_kind) > 1 else "1 day"
                yield self._line(Window(of_kind[0][0], of_kind[-1][0]), kind, what, None, None, None, rows, None)

    def _line(
        self,
        days: Window,
        kind: str,
        what: str,
        amount: Decimal | None,
        effective: date | None,
        since: date | None,
        rows: Sequence[Row],
        note: str | None,
    ) -> Movement:
        posting: dict[str, Decimal] = {}
        for each in rows:
            posting[each["account"]] = posting.get(each["account"], _ZERO) + each["debit"] - each["credit"]
        for account in self.owed:
            self.owed[account] += posting.get(account, _ZERO)
        balance = self.of_day.get(days.last)
        sides = sorted(((account, moved) for account, moved in posting.items() if moved), key=lambda side: side[1] < 0)
        return Movement(
            days.first,
            days.last,
            kind,
            what,
            amount,
            effective,
            since,
            tuple(sides),
            self.owed["principal_receivable"],
            self.owed["interest_receivable"],
            -self.owed["credit_balances"],
            balance["days_past_due"] if balance else None,
            note,
        )

    def _compare(self, day: date) -> None:
        """What waits to be told is in the balance already."""
        balance = self.of_day.get(day)
        if balance is None:
            return
        owed = dict(self.owed)
        for each in (row for _, _, rows in self.pending for row in rows):
            if each["account"] in owed:
                owed[each["account"]] += each["debit"] - each["credit"]
        expected = balance["principal"], balance["interest"], -balance["credit"]
        if tuple(owed.values()) != expected:
            self.differs.append(day)


_OF_LOAN = ("merchant_id", "borrower_state", "currency", "file", "record_number")
_OF_BALANCE = (
    "product",
    "booked_on",
    "originated_on",
    "amount_lent",
    "merchant_discount",
    "apr",
    "effective_rate",
    "instalments",
    "instalment",
    "frequency",
    "first_due_on",
    "due_day",
)


def _terms(loan: Row, balance: Row) -> Mapping[str, Any]:
    return {**{name: balance[name] for name in _OF_BALANCE}, **{name: loan[name] for name in _OF_LOAN}}


def chart_of(rows: Iterable[Row]) -> list[tuple[date, Decimal]]:
    """What is owed at the end of each day."""
    return [(each["as_of"], each["principal"] + each["interest"]) for each in rows]
