"""Each record that arrived is accepted, rejected with a reason, or the exact duplicate of one that was accepted."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal, InvalidOperation

import numpy as np
import pyarrow as pa

from affirm_assets.auditor.verify.identity import Day
from affirm_assets.auditor.verify.lake import AuditedTable
from affirm_assets.auditor.verify.rows import Rows
from affirm_assets.auditor.verify.tally import Tally


@dataclass(frozen=True)
class Feed:
    """`compared`: the fields of which a duplicate has the same values. What identifies a person is not read."""

    name: str
    received: str
    accepted: str
    rejected: str
    key: str
    compared: Sequence[str]


FEEDS = (
    Feed(
        "loans",
        "landing.loan_rows",
        "loans.loans",
        "loans.rejected_loans",
        "loan_id",
        (
            "user_id",
            "merchant_id",
            "borrower_state",
            "product",
            "principal",
            "merchant_discount",
            "apr",
            "instalments",
            "frequency",
            "originated_on",
            "first_due_on",
            "currency",
            "instalment",
            "due_day",
        ),
    ),
    Feed(
        "transactions",
        "landing.transaction_rows",
        "transactions.transactions",
        "transactions.rejected_transactions",
        "transaction_id",
        ("loan_id", "merchant_id", "kind", "amount", "effective_on", "reverses"),
    ),
    Feed(
        "adjustments",
        "landing.adjustment_rows",
        "adjustments.adjustments",
        "adjustments.rejected_adjustments",
        "adjustment_id",
        ("loan_id", "kind", "amount", "effective_on", "approver", "transaction_id"),
    ),
)

_RECORD = ("file", "record_number")


@dataclass
class Waiting:
    """Records of one feed that are neither accepted nor rejected: each must be a duplicate of a row with its id."""

    feed: Feed
    by_id: dict[str, list[tuple[date, str, dict[str, str | None]]]] = field(default_factory=dict)

    def name(self) -> str:
        return f"received = accepted + rejected + exact duplicates, each record of the feed {self.feed.name}"


def reads(feed: Feed) -> Mapping[str, Sequence[str]]:
    return {
        feed.received: (*_RECORD, feed.key, *feed.compared),
        feed.accepted: (*_RECORD, feed.key, *feed.compared),
        feed.rejected: (*_RECORD, "reasons"),
    }


def account_for(day: Day, waiting: Waiting, tally: Tally) -> None:
    """Of one day. What is left waits for the end, when all rows that were accepted up to its day are looked through."""
    feed = waiting.feed
    received, accepted, rejected = day[feed.received], day[feed.accepted], day[feed.rejected]
    fate: dict[tuple[str, int], str] = {}
    for rows, name in ((accepted, "accepted"), (rejected, "rejected")):
        for record in _records(rows):
            if record in fate:
                tally.wrong(f"{day.day} {feed.name} {_said(record)}", "one fate", f"{fate[record]} and {name}")
            fate[record] = name
    reasons = rejected.table["reasons"].to_pylist()
    for record, reason in zip(_records(rejected), reasons, strict=True):
        if not reason:
            tally.wrong(f"{day.day} {feed.name} {_said(record)} rejected", "a reason", "none")
    left: list[int] = []
    for index, record in enumerate(_records(received)):
        tally.count(1)
        if fate.pop(record, None) is None:
            left.append(index)
    for record, name in fate.items():
        tally.wrong(f"{day.day} {feed.name} {_said(record)} {name}", "a record that was received", "none")
    _same_as_received(day, feed, received, accepted, tally)
    for row in Rows(received.table.take(pa.array(left, pa.int64()))).table.to_pylist():
        said = _said((row["file"], row["record_number"]))
        key = row[feed.key] or ""
        waiting.by_id.setdefault(key, []).append((day.day, said, {name: row[name] for name in feed.compared}))


def _same_as_received(day: Day, feed: Feed, received: Rows, accepted: Rows, tally: Tally) -> None:
    """Each field that was accepted is the value of the text that was received."""
    place = {record: index for index, record in enumerate(_records(received))}
    records = list(_records(accepted))
    known = [index for index, record in enumerate(records) if record in place]
    at = pa.array([place[records[index]] for index in known], pa.int64())
    kept = accepted.table.take(pa.array(known, pa.int64()))
    for name in (feed.key, *feed.compared):
        text, value = received.table[name].take(at).to_pylist(), kept[name].to_pylist()
        tally.count(len(known))
        for index, (said, booked) in enumerate(zip(text, value, strict=True)):
            if not is_same(said, booked):
                tally.wrong(f"{day.day} {feed.name} {kept[feed.key][index]} {name}", said, booked)


def settle(waiting: Waiting, table: AuditedTable, days: Iterable[date], tally: Tally) -> None:
    """Look for the rows that what is left is a duplicate of, in what was accepted up to its day."""
    feed = waiting.feed
    if not waiting.by_id:
        return
    for day in days:
        rows = table.day(day, (feed.key, *feed.compared))
        mine = rows.where(rows.is_one_of(feed.key, waiting.by_id))
        for row in mine.table.to_pylist():
            left = waiting.by_id[row[feed.key]]
            same = [
                each
                for each in left
                if day <= each[0] and all(is_same(text, row[name]) for name, text in each[2].items())
            ]
            waiting.by_id[row[feed.key]] = [each for each in left if each not in same]
    for key, left in waiting.by_id.items():
        for day, record, _ in left:
            tally.wrong(
                f"{day} {feed.name} {record}",
                "accepted, rejected, or a duplicate of what was accepted",
                f"none of these (id {key or 'none'})",
            )


def is_same(text: str | None, value: object) -> bool:
    """Whether a text of a file says what is in a typed column."""
    if value is None or text is None or text == "":
        return value is None and not text
    if isinstance(value, Decimal):
        try:
            return Decimal(text) == value
        except InvalidOperation:
            return False
    if isinstance(value, date):
        return text == value.isoformat()
    if isinstance(value, int):
        return text.isdigit() and int(text) == value
    return text == value


def _records(rows: Rows) -> Iterable[tuple[str, int]]:
    numbers: Sequence[int] = np.asarray(rows.number("record_number")).tolist()
    return zip(rows.text("file").to_pylist(), numbers, strict=True)


def _said(record: tuple[str, int]) -> str:
    return f"{record[0]} record {record[1]}"
