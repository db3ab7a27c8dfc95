"""Identities of the months' reports of loans: followed day by day, and compared at each month's end.

Of a month is held one row of each loan: what it opened with, and what moved it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from affirm_assets.auditor.verify.identity import Day, row_of
from affirm_assets.auditor.verify.lake import AuditedTable
from affirm_assets.auditor.verify.of_loans import BALANCES, LOANS
from affirm_assets.auditor.verify.of_reports import CHARGE_OFFS
from affirm_assets.auditor.verify.rows import Ints, Rows, columns, days_of, summed, together
from affirm_assets.auditor.verify.tally import CENTS, COUNT, Tally

ROLL_RATES = "portfolio.roll_rates"
VINTAGES = "portfolio.vintage_curves"
TABLES = (ROLL_RATES, VINTAGES)

NAMES = {
    ROLL_RATES: "where the principal of each bucket went in a month is what became of its loans, and adds up",
    VINTAGES: "each vintage is its loans: originated, charged off, recovered, net loss, prepaid; and their rates",
}
SOURCES = {
    ROLL_RATES: "OCC, Comptroller's Handbook, Retail Lending: roll rates; docs/money.md, Reports",
    VINTAGES: "Regulation AB, 17 CFR 229.1100(b)(3), 229.1105; docs/money.md, Reports",
}

_PLACES_OF_A_RATE = 6
_FLOWS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "paid": (("principal_paid",), ("principal_reversed",)),
    "refunded": (("principal_refunded",), ()),
    "waived": (("principal_waived",), ()),
    "charged_off": (("principal_charged_off",), ()),
}
"""What raises and lowers what went to each destination."""

_WHERE = pa.array(["repaid", "current", "1-29", "30-59", "60-89", "90-119", "charged_off"])
"""Where a loan stands; it has no row, and so the first of these, once it is repaid for long."""

_OPENING = ("stood", "opened", "lost_before", "refunded_before")
_MOVED = ("paid", "refunded", "waived", "charged_off", "refunded_when_resumed")
_CLOSING = ("stands", "principal", "amount_lent")
_OF_LOAN = (*_OPENING, *_MOVED, *_CLOSING)
"""Of each loan: as the day before the month left it, what moved it, and as the last day leaves it."""

_LOAN = ("loan_id", "product", "vintage", "is_new")
_LOST = {
    "charged_off": "principal",
    "recovered": "principal_recovered",
    "unearned": "unearned",
    "net_loss": "net_loss",
}
_CARRIED = ("loans", "originated", "prepaid")
_CURVE = {
    "loans": COUNT,
    "originated": CENTS,
    **dict.fromkeys(_LOST, CENTS),
    "prepaid": CENTS,
    "months_on_book": COUNT,
    **{f"opening_{name}": COUNT if name == "loans" else CENTS for name in _CARRIED},
}
_RATES = {
    "charge_off_rate": "charged_off",
    "recovery_rate": "recovered",
    "net_loss_rate": "net_loss",
    "prepayment_rate": "prepaid",
}

READS: Mapping[str, Sequence[str]] = {
    BALANCES: (
        "loan_id",
        "product",
        "originated_on",
        "booked_on",
        "amount_lent",
        "status",
        "bucket",
        "principal",
        "charged_off_principal",
        "refunded",
        "opening_last_instalment",
        *(name for flow in _FLOWS.values() for names in flow for name in names),
    ),
    LOANS: ("loan_id", "product", "originated_on", "principal"),
    CHARGE_OFFS: ("loan_id", "product", "originated_on", *_LOST.values()),
}
"""Of the daily tables; the day before of the balances, too."""

FOUND: Mapping[str, Sequence[str]] = {
    ROLL_RATES: ("product", "from_bucket", "to_bucket", "loans", "principal", "opening_principal", "rate"),
    VINTAGES: ("product", "vintage", *_CURVE, *_RATES),
}

Group = tuple[str, str]
"""Product and month of origination."""


@dataclass
class Months:
    """Follows the loans from day to day. `compare` is called at a month's end, for the reports that there are."""

    schedules: AuditedTable
    totals: Counter[tuple[str, Group]] = field(default_factory=Counter)
    """Of each vintage, since the first day: loans, originated, prepaid."""
    opened: Mapping[tuple[str, Group], int] = field(default_factory=dict)
    """The same when the month began."""
    opening: pa.Table = field(default_factory=lambda: _no_loans(_OPENING))
    moved: pa.Table = field(default_factory=lambda: _no_loans(_MOVED))

    def add(self, day: Day) -> None:
        first = day.day.replace(day=1)
        if day.day == first:
            before = day.before.get(BALANCES)
            self.opening = _no_loans(_OPENING) if before is None else _opening(before)
            self.moved, self.opened = _no_loans(_MOVED), dict(self.totals)
        moved = summed(together([self.moved, _moved(day[BALANCES], first)]), _LOAN, _MOVED)
        self.moved = moved.select([*_LOAN, *_MOVED])
        loans = day[LOANS]
        groups = zip(loans.text("product").to_pylist(), _vintages(loans).to_pylist(), strict=True)
        for group, principal in zip(groups, loans.number("principal").tolist(), strict=True):
            self.totals["loans", group] += 1
            self.totals["originated", group] += principal

    def end_month(self, day: Day) -> pa.Table:
        """What became of each loan, and what of it was prepaid, which is added to the vintages' totals."""
        first = day.day.replace(day=1)
        sides = [_widened(each) for each in (self.opening, self.moved, _closing(day[BALANCES], first))]
        loans = summed(together(sides), _LOAN, _OF_LOAN).combine_chunks()
        prepaid = self._prepaid(loans, first, day.day)
        groups = zip(loans["product"].to_pylist(), loans["vintage"].to_pylist(), strict=True)
        for group, amount in zip(groups, prepaid.tolist(), strict=True):
            self.totals["prepaid", group] += amount
        return loans

    def _prepaid(self, loans: pa.Table, first: date, last: date) -> Ints:
        """Of each loan: what payments repaid beyond what its schedule asked for in the month, and was behind it."""
        # Who has paid has a row at the month's end, and so the amount lent: a repaid loan keeps its rows for long.
        paid, lent = _number(loans, "paid"), _number(loans, "amount_lent")
        is_new = pc.equal(loans["is_new"], "1").to_numpy()
        due_before, due_by_then = self._due(_text(loans, "loan_id"), first, last)
        owed = np.where(is_new, lent, _number(loans, "opened") + _number(loans, "lost_before"))
        refunded = _number(loans, "refunded_before") + _number(loans, "refunded_when_resumed")
        scheduled, to_come = (np.maximum(lent - due - refunded, 0) for due in (due_before, due_by_then))
        asked_for = scheduled - to_come + np.maximum(owed - scheduled, 0)
        ahead = np.maximum(scheduled - owed, 0)
        prepaid = np.where(paid >= 0, np.maximum(paid - asked_for, 0), -np.minimum(-paid, ahead))
        return np.asarray(prepaid, dtype=np.int64)

    def _due(self, loan_ids: pa.Array, first: date, last: date) -> tuple[Ints, Ints]:
        """Of each loan, the principal of instalments that fell due before the month, and by its end.

        The schedules are of all loans that ever were: they are read in batches.
        """
        due = np.zeros((2, len(loan_ids)), dtype=np.int64)
        for rows in self.schedules.batches(f"due_on <= '{last}'", ("loan_id", "due_on", "principal")):
            found = pc.index_in(rows.text("loan_id"), value_set=loan_ids)
            at = found.drop_null().to_numpy()
            principal, due_on = rows.where(found.is_valid().to_numpy(zero_copy_only=False)).numbers(
                "principal", "due_on"
            )
            np.add.at(due[0], at, np.where(due_on < days_of(first), principal, 0))
            np.add.at(due[1], at, principal)
        return due[0], due[1]

    def compare_roll_rates(self, month: date, loans: pa.Table, found: Rows, tally: Tally) -> None:
        older = loans.filter(pc.equal(loans["is_new"], "0")).combine_chunks()
        stood, stands = (_WHERE.take(pa.array(_number(older, name))) for name in ("stood", "stands"))
        parts = [("principal", stands), *((flow, pa.array([flow] * older.num_rows, pa.string())) for flow in _FLOWS)]
        went = []
        for name, to in parts:
            amount = _number(older, name)
            rows = columns(
                {"product": _text(older, "product"), "from_bucket": stood, "to_bucket": to},
                {"loans": (amount != 0).astype(np.int64), "principal": amount},
            )
            went.append(rows.filter(pa.array(amount != 0)))
        by = ["product", "from_bucket", "to_bucket"]
        keys = {name: found.text(name) for name in by}
        principal, opening, rate = found.numbers("principal", "opening_principal", "rate")
        rows = columns(keys, {"loans": found.number("loans"), "principal": principal})
        tally.tables(month, "roll rates of", together(went), rows, by, {"loans": COUNT, "principal": CENTS})
        by_bucket: Counter[Group] = Counter()
        opened = zip(older["product"].to_pylist(), stood.to_pylist(), strict=True)
        for group, amount in zip(opened, _number(older, "opened").tolist(), strict=True):
            by_bucket[group] += amount
        of_rows = zip(keys["product"].to_pylist(), keys["from_bucket"].to_pylist(), strict=True)
        expected = np.array([by_bucket[group] for group in of_rows], dtype=np.int64)
        tally.rows(row_of(month, found, "opening_principal", *by), expected, opening)
        tally.rows(row_of(month, found, "rate", *by), _percent(principal, expected), rate, places=_PLACES_OF_A_RATE)
        none = found.is_null("rate").astype(np.int64)
        tally.rows(row_of(month, found, "no rate", *by), (expected == 0).astype(np.int64), none, places=COUNT)

    def compare_vintages(self, month: date, charge_offs: Rows, found: Rows, tally: Tally) -> None:
        groups = sorted({group for _, group in self.totals})
        by = ["product", "vintage"]
        keys = {name: pa.array([group[at] for group in groups], pa.string()) for at, name in enumerate(by)}
        of_groups = {name: _ints(self.totals[name, group] for group in groups) for name in _CARRIED}
        before = {f"opening_{name}": _ints(self.opened.get((name, group), 0) for group in groups) for name in _CARRIED}
        ages = _ints(_months(date.fromisoformat(vintage), month) for _, vintage in groups)
        nothing = dict.fromkeys(_LOST, np.zeros(len(groups), dtype=np.int64))
        lost = {name: charge_offs.number(of) for name, of in _LOST.items()}
        rest = {name: np.zeros(len(charge_offs), dtype=np.int64) for name in _CURVE if name not in _LOST}
        of_lost = {"product": charge_offs.text("product"), "vintage": _vintages(charge_offs)}
        expected = [
            columns(keys, {**of_groups, **before, **nothing, "months_on_book": ages}),
            columns(of_lost, {**lost, **rest}),
        ]
        amounts = {name: found.number(name) for name in _CURVE}
        rows = columns({name: found.text(name) for name in by}, amounts)
        tally.tables(month, "vintage", together(expected), rows, by, _CURVE)
        for rate, name in _RATES.items():
            named = row_of(month, found, rate, *by)
            percent = _percent(amounts[name], amounts["originated"])
            tally.rows(named, percent, found.number(rate), places=_PLACES_OF_A_RATE)


def _opening(before: Rows) -> pa.Table:
    """The loans as the day before the month left them."""
    stood = np.where(before.is_("status", "repaid"), 0, _where(before))
    amounts = before.number("principal"), before.number("charged_off_principal"), before.number("refunded")
    return columns(
        _loan(before, np.zeros(len(before), dtype=np.int64)), dict(zip(_OPENING, (stood, *amounts), strict=True))
    )


def _moved(balances: Rows, first: date) -> pa.Table:
    """The loans that a day moved."""
    is_new = _is_new(balances, first)
    flows = {
        name: sum((balances.number(each) for each in plus), np.zeros(len(balances), dtype=np.int64))
        - sum((balances.number(each) for each in minus), np.zeros(len(balances), dtype=np.int64))
        for name, (plus, minus) in _FLOWS.items()
    }
    is_resumed = (balances.number("opening_last_instalment") == 0) & (is_new == 0)
    flows["refunded_when_resumed"] = np.where(is_resumed, balances.number("refunded"), 0)
    moves = np.any([each != 0 for each in flows.values()], axis=0)
    return columns(_loan(balances, is_new), flows).filter(pa.array(moves))


def _closing(balances: Rows, first: date) -> pa.Table:
    amounts = balances.number("principal"), balances.number("amount_lent")
    return columns(
        _loan(balances, _is_new(balances, first)), dict(zip(_CLOSING, (_where(balances), *amounts), strict=True))
    )


def _loan(balances: Rows, is_new: Ints) -> Mapping[str, pa.Array]:
    return {
        "loan_id": balances.text("loan_id"),
        "product": balances.text("product"),
        "vintage": _vintages(balances),
        "is_new": pa.array(is_new),
    }


def _is_new(balances: Rows, first: date) -> Ints:
    return (balances.number("booked_on") >= days_of(first)).astype(np.int64)


def _where(balances: Rows) -> Ints:
    """The place of the bucket in _WHERE."""
    return np.asarray(pc.index_in(balances.text("bucket"), value_set=_WHERE).cast(pa.int64()).to_numpy())


def _vintages(rows: Rows) -> pa.Array:
    """The first day of the month of origination, as text."""
    months = pc.floor_temporal(rows.table["originated_on"].cast(pa.timestamp("s")), unit="month")
    return pc.strftime(months, "%Y-%m-%d").combine_chunks().cast(pa.string())


def _months(vintage: date, month: date) -> int:
    return (month.year - vintage.year) * 12 + month.month - vintage.month


def _percent(part: Ints, whole: Ints) -> Ints:
    """In percent with six places, half up, away from zero; 0 of nothing."""
    return _ints(_half_up(int(one) * 10**8, int(of)) for one, of in zip(part, whole, strict=True))


def _half_up(dividend: int, divisor: int) -> int:
    if divisor <= 0:
        return 0
    size = (2 * abs(dividend) + divisor) // (2 * divisor)
    return size if dividend >= 0 else -size


def _no_loans(numbers: Sequence[str]) -> pa.Table:
    return columns(dict.fromkeys(_LOAN, pa.array([], pa.string())), dict.fromkeys(numbers, _ints(())))


def _widened(loans: pa.Table) -> pa.Table:
    """With the numbers that only other rows of the loan have, as zeros."""
    zeros = pa.array(np.zeros(loans.num_rows, dtype=np.int64))
    return pa.table(
        {
            **{name: loans[name] for name in _LOAN},
            **{name: loans[name] if name in loans.column_names else zeros for name in _OF_LOAN},
        }
    )


def _number(loans: pa.Table, name: str) -> Ints:
    return np.asarray(loans[name].to_numpy(), dtype=np.int64)


def _text(loans: pa.Table, name: str) -> pa.Array:
    return loans[name].combine_chunks().cast(pa.string())


def _ints(values: Iterable[int]) -> Ints:
    return np.fromiter(values, dtype=np.int64)
