"""The tables of docs/money.md are what the books do: each row is computed from its day and movement, and compared."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from datetime import date
from decimal import Decimal
from itertools import groupby, pairwise
from pathlib import Path
from typing import Literal, cast

import pytest

from affirm_assets.lender.finance.account import Account
from affirm_assets.lender.finance.accrual import to_cents
from affirm_assets.lender.finance.days import Day, applications, days
from affirm_assets.lender.finance.delinquency import bucket
from affirm_assets.lender.finance.instalment import contract_problem
from affirm_assets.lender.finance.movements import Application, Movement
from affirm_assets.lender.finance.rules import Rules
from affirm_assets.lender.finance.terms import Terms
from affirm_assets.lender.vocabulary import Frequency, LoanKind

TEXT = (Path(__file__).parents[2] / "docs" / "money.md").read_text()

COLUMNS = (
    "day",
    "movement",
    "accrued",
    "given back",
    "to interest",
    "to principal",
    "to credit",
    "owed principal",
    "owed interest",
    "credit",
    "days past due",
    "posting",
)
LOAN = re.compile(
    r"(?P<principal>\S+) at (?P<apr>\S+) %, (?P<instalments>\d+) (?P<frequency>\w+) instalments "
    r"of (?P<instalment>\S+), lent on (?P<originated_on>\S+), first due on (?P<first_due_on>\S+), "
    r"merchant discount (?P<discount>[\d,]+\.\d\d)(, booked on (?P<booked_on>\S+))?\."
)
MOVEMENT = re.compile(
    r"(?P<id>\w+): (?P<kind>\w+) (?P<amount>[\d.,]+?)( of (?P<of>\w+))?(, effective (?P<effective_on>\S+?))?"
    r"(?P<suspense>, from suspense|, no such loan yet)?"
)

CLOSES = {"charge-off": "allowance", "charge-off reversed": "allowance", "waiver": "waiver_expense"}
"""What the end of a day or a late row does beside a movement, and the account that bears the principal."""

Cells = tuple[str, ...]
Entries = Counter[str]
"""Cents by account; debits are above zero."""


@dataclass
class Example:
    """A section of the document: a loan, and a table of what moved it."""

    title: str
    terms: Terms
    booked_on: date
    rows: list[Cells]
    ledger: Entries = field(default_factory=Counter)

    def computed(self) -> Iterator[Cells]:
        """The table's rows, from the first two cells of each."""
        last = max(_day(row) for row in self.rows)
        moved = [movement for row in self.rows if (movement := _movement(row))]
        opened = [Account.opened(self.terms, self.booked_on) for _ in range(2)]
        by_day = {row.as_of: row for row in days(opened[0], last, moved, is_new=True)}
        applied_in_order = applications(opened[1], last, moved, is_new=True)
        applied = {movement.transaction_id: application for movement, application in applied_in_order}
        seen = date.min
        for day, rows in groupby(self.rows, _day):
            accrued = sum((each.interest_accrued for on, each in by_day.items() if seen < on <= day), Decimal(0))
            self._book({"interest_receivable": accrued, "interest_income": -accrued})
            seen, today = day, list(rows)
            for number, row in enumerate(today):
                ends = number == len(today) - 1
                yield self._row(row, "" if number else _money(accrued), by_day.get(day), applied, ends=ends)

    def _row(self, row: Cells, accrued: str, day: Day | None, applied: dict[str, Application], *, ends: bool) -> Cells:
        what = Application()
        postings: list[dict[str, Decimal]] = []
        movement, text = _movement(row), row[1]
        if movement:
            what = applied[movement.transaction_id]
            postings = _postings(movement.kind, what, "suspense" if text.endswith("from suspense") else "cash")
        elif text.endswith("no such loan yet"):
            amount = _amount(text)
            postings = [{"cash": amount, "suspense": -amount}]
        elif text == "booked":
            lent, discount = self.terms.principal, self.terms.merchant_discount
            postings = [
                {
                    "principal_receivable": lent,
                    "merchant_payable": discount - lent,
                    "deferred_merchant_discount": -discount,
                }
            ]
        elif text in CLOSES and day:
            if text == "waiver":
                what = Application(day.interest_waived, day.principal_waived)
            else:
                what = Application(day.interest_charged_off, day.principal_charged_off)
            postings = [
                {CLOSES[text]: what.principal, "principal_receivable": -what.principal},
                {"interest_income": what.interest, "interest_receivable": -what.interest},
            ]
        for entries in postings:
            self._book(entries)
        closes = ("", "", "", "")
        if day and ends:
            assert self.ledger["principal_receivable"] == day.principal * 100
            assert self.ledger["interest_receivable"] == day.interest * 100
            assert self.ledger["credit_balances"] == -day.credit * 100
            closes = (f"{day.principal:,}", f"{day.interest:,}", f"{day.credit:,}", str(day.days_past_due))
        return (
            *row[:2],
            accrued,
            *map(_money, (what.interest_given_back, what.interest, what.principal, what.credit)),
            *closes,
            " · ".join(text for each in postings if (text := _text(each))),
        )

    def _book(self, entries: dict[str, Decimal]) -> None:
        assert sum(entries.values()) == 0
        for account, amount in entries.items():
            self.ledger[account] += int(amount * 100)


def _postings(kind: LoanKind, what: Application, source: str) -> list[dict[str, Decimal]]:
    return [
        {
            "merchant_payable" if kind in ("refund", "refund_reversal") else source: what.money,
            "interest_receivable": -what.interest,
            "principal_receivable": -what.principal,
            "credit_balances": -what.credit,
            "allowance": -what.recovery_principal,
            "interest_income": -what.recovery_interest,
            "unapplied": -what.unapplied,
        },
        {"interest_income": what.interest_given_back, "interest_receivable": -what.interest_given_back},
        {"merchant_discount_income": what.discount_returned, "merchant_payable": -what.discount_returned},
    ]


def _text(entries: dict[str, Decimal]) -> str:
    debits = [f"Dr {account} {amount:,}" for account, amount in entries.items() if amount > 0]
    return ", ".join([*debits, *(f"Cr {account} {-amount:,}" for account, amount in entries.items() if amount < 0)])


def _money(amount: Decimal) -> str:
    return f"{amount:,}" if amount else ""


def _day(row: Cells) -> date:
    return date.fromisoformat(row[0])


def _amount(text: str) -> Decimal:
    match = MOVEMENT.fullmatch(text)
    assert match, f"{text!r} is no movement"
    return _decimal(match["amount"])


def _decimal(text: str) -> Decimal:
    return Decimal(text.replace(",", ""))


def _movement(row: Cells) -> Movement | None:
    """What moved the loan; None for a row of the loan itself, or of money that waits for it."""
    if row[1] in ("", "booked", *CLOSES):
        return None
    match = MOVEMENT.fullmatch(row[1])
    assert match, f"{row[1]!r} is no movement"
    if match["suspense"] == ", no such loan yet":
        return None
    effective_on = date.fromisoformat(match["effective_on"] or row[0])
    return Movement(
        match["id"], cast(LoanKind, match["kind"]), _decimal(match["amount"]), _day(row), effective_on, match["of"]
    )


def _tables(text: str) -> Iterator[tuple[Cells, list[Cells]]]:
    """The heading and the rows of each table."""
    for block in re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE):
        heading, _, *rows = [tuple(cell.strip() for cell in line.split("|")[1:-1]) for line in block.splitlines()]
        yield heading, rows


def examples() -> Iterator[Example]:
    intro, *sections = re.split(r"^### ", TEXT.split("\n## Examples\n")[1], flags=re.MULTILINE)
    for section in sections:
        loan = LOAN.search(section.replace("\n", " ")) or LOAN.search(intro.replace("\n", " "))
        assert loan
        for heading, rows in _tables(section):
            assert heading == COLUMNS
            terms = Terms.agreed(
                principal=_decimal(loan["principal"]),
                apr=Decimal(loan["apr"]),
                instalments=int(loan["instalments"]),
                frequency=cast(Frequency, loan["frequency"]),
                originated_on=date.fromisoformat(loan["originated_on"]),
                first_due_on=date.fromisoformat(loan["first_due_on"]),
                merchant_discount=_decimal(loan["discount"]),
                instalment=_decimal(loan["instalment"]),
            )
            assert contract_problem(*contract(terms)) is None
            booked_on = date.fromisoformat(loan["booked_on"] or loan["originated_on"])
            yield Example(section.splitlines()[0], terms, booked_on, rows)


def contract(terms: Terms) -> tuple[Decimal, Decimal, Decimal, int, Frequency]:
    return terms.instalment, terms.principal, terms.apr, terms.instalments, terms.frequency


def table(*heading: str) -> list[Cells]:
    [rows] = [rows for each, rows in _tables(TEXT) if each == heading]
    return rows


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.title)
def test_examples(example: Example) -> None:
    assert list(example.computed()) == example.rows


def test_all_examples_are_read() -> None:
    tables = [heading for heading, _ in _tables(TEXT) if heading[0] == "day"]
    assert len(list(examples())) == len(tables) >= 20


_INCOME = ("on", "moved", "principal", "deferred discount", "discount income")
_BASES: tuple[Literal["cost_recovery", "cash_basis"], ...] = ("cost_recovery", "cash_basis")


def lent(instalments: int, rules: Rules | None = None) -> Terms:
    """The loan of the examples, in so many instalments."""
    return Terms.agreed(
        principal=Decimal("1000.00"),
        apr=Decimal("18.25"),
        instalments=instalments,
        frequency="monthly",
        originated_on=date(2025, 1, 1),
        first_due_on=date(2025, 2, 1),
        merchant_discount=Decimal("50.00"),
        rules=rules or Rules(),
    )


def on_days(terms: Terms, rows: list[Cells]) -> list[Day]:
    """What the books say on the day of each row, with what the rows move."""
    moved = []
    for number, (on, what, *_) in enumerate(rows):
        if match := re.fullmatch(r"(payment|recovery|refund) (\S+)", what):
            day = date.fromisoformat(on)
            moved.append(Movement(str(number), cast(LoanKind, match[1]), _decimal(match[2]), day, day))
    last = date.fromisoformat(rows[-1][0])
    by_day = {row.as_of: row for row in days(Account.opened(terms), last, moved, is_new=True)}
    return [by_day[date.fromisoformat(on)] for on, *_ in rows]


def discount_cells(terms: Terms, day: Day) -> list[Decimal]:
    deferred = to_cents(day.deferred_discount)
    return [day.principal, deferred, terms.merchant_discount - day.discount_returned - deferred]


def test_deferred_discounts() -> None:
    tables = [rows for heading, rows in _tables(TEXT) if heading == _INCOME]
    assert len(tables) == 2
    for rows in tables:
        found = [discount_cells(lent(4), day) for day in on_days(lent(4), rows)]
        assert [[*row[:2], *(f"{cell:,}" for cell in cells)] for row, cells in zip(rows, found, strict=True)] == [
            list(row) for row in rows
        ]
    for terms in (lent(4), lent(12)):
        assert f"instalments of {terms.instalment}" in TEXT
        assert f"the effective rate is {terms.effective_rate} %" in TEXT


def test_discounts_of_a_loss() -> None:
    rows = table(*_INCOME, "lost")
    for row, day in zip(rows, on_days(lent(12), rows), strict=True):
        cells = discount_cells(lent(12), day)
        lost = day.charged_off_principal - day.recovered_principal - cells[1] if day.charged_off_on else Decimal("0.00")
        assert [f"{cell:,}" for cell in (*cells, lost)] == list(row[2:])


def test_nonaccrual() -> None:
    heads = [f"{what}, {basis}" for basis in _BASES for what in ("no income", "interest income")]
    rows = table("on", "moved", "days past due", "principal", "interest", *heads)
    by_basis = [on_days(lent(12, Rules(nonaccrual_after=90, payment_in_nonaccrual=basis)), rows) for basis in _BASES]
    for row, *books in zip(rows, *by_basis, strict=True):
        cells: list[Decimal | int] = [books[0].days_past_due, books[0].principal, books[0].interest]
        for day in books:
            no_income = day.cost_recovered + (day.interest if day.nonaccrual_since else 0)
            cells += [no_income, to_cents(day.accrued) - no_income]
        assert [f"{cell:,}" for cell in cells] == list(row[2:])


def test_due_dates() -> None:
    rows = table("frequency", "lent", "first due", "second", "third", "fourth")
    for frequency, lent, first, *others in rows:
        terms = Terms.agreed(
            principal=Decimal("100.00"),
            apr=Decimal(0),
            instalments=4,
            frequency=cast(Frequency, frequency),
            originated_on=date.fromisoformat(lent),
            first_due_on=date.fromisoformat(first),
        )
        assert [terms.due_on(number).isoformat() for number in (2, 3, 4)] == others


def test_settings() -> None:
    rows = table("setting", "choices", "where nothing is said")
    assert {name: said for name, _, said in rows} == {
        each.name: str(getattr(Rules(), each.name)) for each in fields(Rules)
    }


def test_buckets() -> None:
    rows = table("days past due", "bucket")
    firsts = [int(re.match(r"\d+", late)[0]) for late, _ in rows]  # type: ignore[index]
    assert [name for _, name in rows] == [*(bucket(first) for first in firsts[:-1]), "charged_off"]
    for (_, name), (first, following) in zip(rows, pairwise(firsts), strict=False):
        assert {bucket(late) for late in range(first, following)} == {name}
