"""Identities of what merchants are owed: all of them are the ledger's account, each is its loans and transactions."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from affirm_assets.auditor.verify.identity import Day, identity, row_of
from affirm_assets.auditor.verify.lake import AuditedTable
from affirm_assets.auditor.verify.of_ledger import TRIAL_BALANCE
from affirm_assets.auditor.verify.of_loans import APPLICATIONS, LOANS, SUSPENSE, TRANSACTIONS, signed_amount
from affirm_assets.auditor.verify.rows import Ints, Rows, columns, together, total
from affirm_assets.auditor.verify.tally import CENTS, Tally
from affirm_assets.lender.vocabulary import MERCHANT_KINDS, NO_MERCHANT, NO_PRODUCT, REFUND_KINDS

SETTLEMENTS = "merchants.merchant_settlements"

_OWED_MORE = {
    "purchases": 1,
    "discount": -1,
    "refunds": -1,
    "refunds_reversed": 1,
    "discount_returned": 1,
    "payouts": -1,
    "reassigned": 1,
}
"""What moves a merchant, and whether it is owed more by it."""


@identity(
    "what merchants are owed: opening + movements = closing, each opens as it closed, all are merchant_payable",
    source="the ledger's identities",
    reads={
        SETTLEMENTS: ("merchant_id", "opening", *_OWED_MORE, "closing"),
        TRIAL_BALANCE: ("account", "opening", "debits", "credits", "closing"),
    },
    carries=(SETTLEMENTS,),
)
def merchants_are_the_account(day: Day, tally: Tally) -> None:
    rows, balances, before = day[SETTLEMENTS], day[TRIAL_BALANCE], day.before.get(SETTLEMENTS)
    opening, closing = rows.numbers("opening", "closing")
    moved = sum((sign * rows.number(name) for name, sign in _OWED_MORE.items()), np.zeros_like(opening))
    tally.rows(row_of(day.day, rows, "closing", "merchant_id"), opening + moved, closing)
    account = balances.where(balances.is_("account", "merchant_payable"))
    # A liability: a credit is positive here.
    of_account = {
        "opening": (-account.number("opening"), opening),
        "movements": (account.number("credits") - account.number("debits"), moved),
        "closing": (-account.number("closing"), closing),
    }
    for name, (expected, found) in of_account.items():
        tally.amount(f"{day.day} merchant_payable, {name} of all merchants", total(expected), total(found))
    tally.amount(f"{day.day} reassigned, of all merchants", 0, total(rows.number("reassigned")))
    opened = columns({"merchant": rows.text("merchant_id")}, {"opening": opening})
    closed = opened.slice(0, 0)
    if before is not None:
        closed = columns({"merchant": before.text("merchant_id")}, {"opening": before.number("closing")})
    tally.tables(day.day, "merchant", closed, opened, ["merchant"], {"opening": CENTS})


_OF_DAY = ("purchases", "discount", "payouts")


@identity(
    "purchases, discount and payouts of a merchant and day are those of its loans and transactions",
    source="reports tie to what they sum up",
    reads={
        SETTLEMENTS: ("merchant_id", *_OF_DAY),
        LOANS: ("loan_id", "merchant_id", "principal", "merchant_discount"),
        TRANSACTIONS: ("transaction_id", "merchant_id", "kind", "amount"),
    },
)
def merchants_sell_and_are_paid(day: Day, tally: Tally) -> None:
    rows, loans, transactions = day[SETTLEMENTS], day[LOANS], day[TRANSACTIONS]
    payouts = transactions.where(transactions.is_one_of("kind", MERCHANT_KINDS))
    sold = {"purchases": loans.number("principal"), "discount": loans.number("merchant_discount")}
    paid = {"payouts": payouts.number("amount")}
    expected = together(
        [
            _of_merchants(each, {**dict.fromkeys(_OF_DAY, _zeros(each)), **moved})
            for each, moved in ((loans, sold), (payouts, paid))
        ]
    )
    found = _of_merchants(rows, {name: rows.number(name) for name in _OF_DAY})
    tally.tables(day.day, "merchant", expected, found, ["merchant"], dict.fromkeys(_OF_DAY, CENTS))


REFUNDS_ARE_OF_MERCHANTS = "refunds of a merchant and day are those of its loans, or name it until their loan is booked"

READS: Mapping[str, Sequence[str]] = {
    SETTLEMENTS: ("merchant_id", "refunds", "refunds_reversed", "discount_returned", "reassigned"),
    APPLICATIONS: ("transaction_id", "loan_id", "kind", "amount", "is_from_suspense", "discount_returned"),
    TRANSACTIONS: ("transaction_id", "merchant_id", "kind", "amount", "product"),
    SUSPENSE: ("transaction_id", "merchant_id", "kind", "amount", "taken_up_on"),
}

_REFUNDS = {name: CENTS for name in READS[SETTLEMENTS] if name != "merchant_id"}

_MOST_WAITING = 200_000
"""Of so many rows, the loans are looked up: no history is held in memory."""


@dataclass
class Refunds:
    """Refunds by merchant and day, as the settlements say, and as the refunds say: by merchant, and by loan.

    Whose a loan is, only the loans know, of all days up to then. They are read again for many days' refunds at once.
    """

    found: list[pa.Table] = field(default_factory=list)
    of_merchants: list[pa.Table] = field(default_factory=list)
    of_loans: list[pa.Table] = field(default_factory=list)

    @property
    def are_many(self) -> bool:
        tables = (*self.found, *self.of_merchants, *self.of_loans)
        return sum(int(each.num_rows) for each in tables) > _MOST_WAITING

    def add(self, day: Day) -> None:
        rows, applied, transactions, suspense = (day[each] for each in READS)
        rows = rows.where(np.any([rows.number(name) != 0 for name in _REFUNDS], axis=0))
        self.found.append(_on(day, _of_merchants(rows, {name: rows.number(name) for name in _REFUNDS})))
        waiting = transactions.where(
            transactions.is_("product", NO_PRODUCT) & transactions.is_one_of("kind", REFUND_KINDS)
        )
        taken_up = suspense.where(~suspense.is_null("taken_up_on") & suspense.is_one_of("kind", REFUND_KINDS))
        self.of_merchants.append(_on(day, _of_merchants(waiting, _refunded(waiting))))
        given_back = {**dict.fromkeys(_REFUNDS, _zeros(taken_up)), "reassigned": signed_amount(taken_up)}
        self.of_merchants.append(_on(day, _of_merchants(taken_up, given_back)))
        applied = applied.where(applied.is_one_of("kind", REFUND_KINDS) | (applied.number("discount_returned") != 0))
        came_before = applied.number("is_from_suspense")
        charged = {name: amount * (1 - came_before) for name, amount in _refunded(applied).items()}
        charged["discount_returned"] = applied.number("discount_returned")
        is_refund = applied.is_one_of("kind", REFUND_KINDS)
        charged["reassigned"] = -signed_amount(applied) * came_before * is_refund
        self.of_loans.append(_on(day, columns({"loan": applied.text("loan_id")}, charged)))

    def settle(self, loans: AuditedTable, days: Iterable[date], tally: Tally) -> None:
        """Compare what was added, by the loans of these days, and begin anew."""
        of_loans = together(self.of_loans)
        merchants = _merchants(pc.unique(of_loans["loan"]), loans, days) if of_loans.num_rows else {}
        named = [merchants.get(each, NO_MERCHANT) for each in of_loans["loan"].to_pylist()]
        of_loans = of_loans.drop_columns(["loan"]).append_column("merchant", pa.array(named, pa.string()))
        expected = together([*self.of_merchants, of_loans])
        tally.tables(None, "refunds of", expected, together(self.found), ["day", "merchant"], _REFUNDS)
        self.found, self.of_merchants, self.of_loans = [], [], []


def _merchants(ids: pa.Array, loans: AuditedTable, days: Iterable[date]) -> Mapping[str, str]:
    """Of these loans. An id that was booked twice counts from its first day."""
    merchants: dict[str, str] = {}
    for day in days:
        rows = loans.day(day, ("loan_id", "merchant_id"))
        asked_for = pc.is_in(rows.text("loan_id"), value_set=ids).to_numpy(zero_copy_only=False)
        mine = rows.where(asked_for)
        for loan, merchant in zip(mine.text("loan_id").to_pylist(), mine.text("merchant_id").to_pylist(), strict=True):
            merchants.setdefault(loan, merchant)
    return merchants


def _refunded(rows: Rows) -> dict[str, Ints]:
    amount = rows.number("amount")
    return {
        **dict.fromkeys(_REFUNDS, _zeros(rows)),
        "refunds": np.where(rows.is_("kind", "refund"), amount, 0),
        "refunds_reversed": np.where(rows.is_("kind", "refund_reversal"), amount, 0),
    }


def _of_merchants(rows: Rows, numbers: Mapping[str, Ints]) -> pa.Table:
    return columns({"merchant": rows.text("merchant_id").fill_null(NO_MERCHANT)}, numbers)


def _on(day: Day, table: pa.Table) -> pa.Table:
    return table.append_column("day", pa.array([str(day.day)] * table.num_rows, pa.string()))


def _zeros(rows: Rows) -> Ints:
    return np.zeros(len(rows), dtype=np.int64)
