"""The funding tape against the days of its months: what each loan opens with, moves, and ends with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from affirm_assets.auditor.verify.identity import Day
from affirm_assets.auditor.verify.of_loans import BALANCES
from affirm_assets.auditor.verify.rows import NO_DATE, Ints, Rows, columns, summed, together
from affirm_assets.auditor.verify.tally import CENTS, COUNT, DAY, Tally
from affirm_assets.lender.finance.due_dates import due_on
from affirm_assets.lender.vocabulary import FREQUENCIES, OPEN_BUCKETS, PRODUCT_NAMES, ChargeOffCause

TAPE = "portfolio.funding_tape"
NAME = "the funding tape of a month is its loans' days: opening, movements, closing, terms and standing of each"
SOURCE = "docs/money.md, the funding tape"

_OWED = ("principal", "interest", "credit")
_MOVED = (
    *("principal_lent", "principal_paid", "principal_reversed", "principal_refunded", "principal_charged_off"),
    *("principal_waived", "interest_accrued", "interest_given_back", "interest_paid", "interest_reversed"),
    *("interest_refunded", "interest_charged_off", "interest_waived", "credit_overpaid", "credit_reversed"),
    *("credit_refunded", "credit_paid_out", "recovery_principal", "recovery_interest", "unapplied_moved", "adjusted"),
)
_CENTS = (
    *("instalment", "amount_lent", "merchant_discount", "amount_past_due", "next_due_amount", "payoff_amount"),
    *("charged_off_principal", "charged_off_interest", "recovered_principal", "recovered_interest"),
)
_COUNTS = ("instalments", "last_instalment", "days_past_due", "highest_days_past_due")
_DAYS = (
    "booked_on",
    "originated_on",
    "first_due_on",
    "next_due_on",
    "nonaccrual_since",
    "charged_off_on",
    "settled_on",
)
_STANDING = {
    **dict.fromkeys(_CENTS, CENTS),
    "apr": 6,
    **dict.fromkeys(_COUNTS, COUNT),
    **dict.fromkeys((*_DAYS, "as_of", "matures_on"), DAY),
    **dict.fromkeys(("product", "frequency", "status", "bucket", "charge_off_cause"), COUNT),
}
"""What a row says of the end of its month, and how it is shown. A word is its place among those that there are."""
_CAUSES: Sequence[str] = ("days_past_due", *ChargeOffCause.__args__)  # type: ignore[attr-defined]
_STATUSES = ("open", "repaid", "charged_off")
_BUCKETS = (*OPEN_BUCKETS, "charged_off")

READS: Mapping[str, Sequence[str]] = {
    BALANCES: (
        *("loan_id", "product", "frequency", "due_day", "apr", "charge_off_by", "charge_off_cause"),
        *(*_OWED, *_MOVED, *_CENTS, *_COUNTS, *_DAYS),
    ),
    TAPE: (*("loan_id", "borrower_state", *(f"opening_{name}" for name in _OWED), *_MOVED, *_OWED, *_STANDING),),
}


@dataclass
class Month:
    """What the days of a month have said so far of each loan: as many rows as it has loans.

    `opened`: what they owed at the end of the day before it; `moved`: by how much, and on how many days.
    """

    month: date
    opened: pa.Table
    moved: pa.Table

    @staticmethod
    def begun(day: Day) -> "Month":
        before = day.before.get(BALANCES)
        opened = (
            _nobody() if before is None else _loans(before, {f"opening_{each}": before.number(each) for each in _OWED})
        )
        return Month(day.day.replace(day=1), opened, _nobody())

    def add(self, rows: Rows) -> None:
        """The balances of one more day."""
        numbers = {"rows": np.ones(len(rows), dtype=np.int64), **{name: rows.number(name) for name in _MOVED}}
        self.moved = summed(together([self.moved, _loans(rows, numbers)]), ["loan_id"], list(numbers))

    def compare(self, last: Rows, tape: Rows, tally: Tally) -> None:
        """The rows of the tape with the days, of which `last` is the month's last."""
        closed = _loans(last, {name: last.number(name) for name in _OWED})
        once = self.moved.set_column(
            self.moved.schema.get_field_index("rows"), "rows", pa.array(np.ones(len(self.moved), dtype=np.int64))
        )
        names = ["rows", *(f"opening_{name}" for name in _OWED), *_MOVED, *_OWED]
        expected = together([_filled(each, names) for each in (self.opened, once, closed)])
        found = {"rows": np.ones(len(tape), dtype=np.int64), **{name: tape.number(name) for name in names[1:]}}
        places = {"rows": COUNT, **dict.fromkeys(names[1:], CENTS)}
        tally.tables(self.month, "loan", expected, _loans(tape, found), ["loan_id"], places)
        # The daily rows of a loan that was settled long ago may have ended: it has none of the last day.
        days, stands = _also_in(last, tape), _also_in(tape, last)
        sides = _loans(days, _standing(days)), _loans(stands, _as_said(stands))
        tally.tables(self.month, "loan at the end", *sides, ["loan_id"], _STANDING)


def _also_in(rows: Rows, others: Rows) -> Rows:
    """Of the loans that both have."""
    both = pc.is_in(rows.text("loan_id"), value_set=others.text("loan_id"))
    return rows.where(np.asarray(both.to_numpy(zero_copy_only=False), dtype=np.bool_))


def _standing(last: Rows) -> Mapping[str, Ints]:
    """What the balances of a day say of it."""
    first, due_day, number = last.numbers("first_due_on", "due_day", "last_instalment")
    charged_off_on, charge_off_by, late = last.numbers("charged_off_on", "charge_off_by", "days_past_due")
    is_charged_off = charged_off_on != NO_DATE
    is_owed = last.number("principal") + last.number("interest") > 0
    is_for_cause = (charge_off_by != NO_DATE) & (charged_off_on >= charge_off_by)
    cause = np.where(is_for_cause, _place(last, "charge_off_cause", _CAUSES), 0)
    return {
        **{name: last.number(name) for name in (*_CENTS, "apr", *_COUNTS, *_DAYS)},
        "as_of": last.number("as_of"),
        "matures_on": due_on(first, due_day, number),
        "product": _place(last, "product", PRODUCT_NAMES),
        "frequency": _place(last, "frequency", FREQUENCIES),
        "status": np.where(is_charged_off, 2, np.where(is_owed, 0, 1)),
        # 30, 60 and 90 days are where the next bucket begins.
        "bucket": np.where(is_charged_off, len(OPEN_BUCKETS), np.where(late > 0, late // 30 + 1, 0)),
        "charge_off_cause": np.where(is_charged_off, cause, -1),
    }


def _as_said(tape: Rows) -> Mapping[str, Ints]:
    words = {
        "product": PRODUCT_NAMES,
        "frequency": FREQUENCIES,
        "status": _STATUSES,
        "bucket": _BUCKETS,
        "charge_off_cause": _CAUSES,
    }
    return {name: _place(tape, name, words[name]) if name in words else tape.number(name) for name in _STANDING}


def _place(rows: Rows, name: str, words: Sequence[str]) -> Ints:
    """-1: of a word that is none of them, or of none."""
    found = pc.index_in(rows.text(name), value_set=pa.array(words, pa.string())).fill_null(-1)
    return np.asarray(found.to_numpy(zero_copy_only=False), dtype=np.int64)


def _loans(rows: Rows, numbers: Mapping[str, Ints]) -> pa.Table:
    return columns({"loan_id": rows.text("loan_id")}, numbers)


def _nobody() -> pa.Table:
    return pa.table({"loan_id": pa.array([], pa.string())})


def _filled(table: pa.Table, names: Sequence[str]) -> pa.Table:
    """With zeros in the columns that it has not."""
    zeros = np.zeros(table.num_rows, dtype=np.int64)
    return pa.table(
        {"loan_id": table["loan_id"], **{name: table[name] if name in table.column_names else zeros for name in names}}
    )
