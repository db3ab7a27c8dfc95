"""`affirm verify` on books that hold, and on books that somebody damaged below the platform: each damage is named."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner
from pyiceberg.catalog import Catalog
from pyiceberg.expressions import EqualTo
from pyiceberg.table import Table

from affirm_assets.auditor.errors import NothingToVerify
from affirm_assets.auditor.verify.figures import FIGURES, Figure
from affirm_assets.auditor.verify.of_months import ROLL_RATES
from affirm_assets.auditor.verify.of_tape import TAPE
from affirm_assets.auditor.verify.run import DAILY, MONTHLY, MONTHLY_TABLES, Verified, verify
from affirm_assets.cli import main
from resources.iceberg import IcebergCatalog
from tests.auditor.conftest import FIRST, LAST, LOST, PAID, Lake

CENT = Decimal("0.01")
JANUARY, THE_30TH = date(2025, 1, 1), date(2025, 1, 30)


@pytest.fixture
def catalog(lake: Lake, tmp_path: Path) -> Catalog:
    """Of a lake of its own, which begins as the one that holds: to be damaged."""
    return lake.books.fork(tmp_path).catalog


def wrong(verified: Verified) -> dict[str, str]:
    """By name of what fails, all that is said of it."""
    return {each.name: "\n".join(map(str, each.wrong)) for each in verified.found if not each.passed}


def test_all_of_the_books_of_the_sample_and_of_what_is_odd_holds(lake: Lake) -> None:
    verified = verify(lake.books.catalog)
    assert wrong(verified) == {}
    assert (verified.first, verified.last) == (FIRST, LAST)
    assert verified.passed
    # Each has something to look at.
    assert [each.name for each in verified.found if not each.compared] == []
    assert all(each.source for each in verified.found)


def test_the_loans_of_refunds_are_looked_up_for_a_few_of_them_at_a_time(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a history that has more refunds than are held in memory."""
    at_once = verify(lake.books.catalog)
    monkeypatch.setattr("affirm_assets.auditor.verify.of_merchants._MOST_WAITING", 0)
    assert verify(lake.books.catalog).found == at_once.found


# Damages


def rewritten(table: Table, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]], day: date | None) -> None:
    """Replace a day's rows below the platform: a commit that no step made."""
    column = table.schema().find_field(table.spec().fields[0].source_id).name
    scan = table.scan(EqualTo(column, str(day))) if day else table.scan()
    found = scan.to_arrow()
    changed = pa.Table.from_pylist(change(found.to_pylist()), found.schema)
    if day:
        table.overwrite(changed, EqualTo(column, str(day)))
    else:
        table.overwrite(changed)


def moved(column: str, by: Any = CENT, **of: Any) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    """A cent more in one row."""

    def change(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        row = next(each for each in rows if all(each[name] == value for name, value in of.items()))
        row[column] += by
        return rows

    return change


def dropped(**of: Any) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    def change(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        kept = [each for each in rows if not all(each[name] == value for name, value in of.items())]
        assert len(kept) < len(rows)
        return kept

    return change


def doubled(**of: Any) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    def change(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        again = [each for each in rows if all(each[name] == value for name, value in of.items())]
        assert again
        return [*rows, *again]

    return change


@dataclass(frozen=True)
class Damage:
    """What was done to which table and day, and what must be said of it, by the name of an identity."""

    table: str
    change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]
    says: dict[str, str]
    day: date | None = THE_30TH


ACCRUAL = f"accrual/{PAID}/2025-01-30"
DAMAGES = {
    "a cent of a loan's principal": Damage(
        "servicing.loan_balances",
        moved("principal", loan_id=PAID),
        {
            "= closing principal": f"2025-01-30 {PAID} principal",
            "opens as the day before closed": f"2025-01-31 loan {PAID} principal",
            "receivable accounts are": "2025-01-30 principal_receivable",
            "the portfolio of a day": "2025-01-30 portfolio of installment",
        },
    ),
    "a cent of a loan's accrued interest, as it is carried": Damage(
        "servicing.loan_balances", moved("accrued", loan_id=PAID), {"a day accrues": f"2025-01-30 {PAID} accrued"}
    ),
    "a loan's day": Damage(
        "servicing.loan_balances",
        dropped(loan_id=PAID),
        {
            "opens as the day before closed": f"loan {PAID} rows: expected 1, found 0",
            "rows that were audited": "servicing.loan_balances 2025-01-30",
        },
    ),
    "a cent from one account to another, and the posting balances": Damage(
        "ledger.ledger_entries",
        lambda rows: moved("credit", -CENT, posting_id=ACCRUAL, entry=2)(
            moved("debit", -CENT, posting_id=ACCRUAL, entry=1)(rows)
        ),
        {
            "posts to a loan's receivables": f"loan {PAID} interest_receivable",
            "the trial balance": "account interest_receivable debits",
        },
    ),
    "a cent of one entry": Damage(
        "ledger.ledger_entries",
        moved("debit", posting_id=ACCRUAL, entry=1),
        {"every posting balances": f"{ACCRUAL} sum"},
    ),
    "a posting twice": Damage(
        "ledger.ledger_entries",
        doubled(posting_id=ACCRUAL),
        {
            "no key is there twice": f"ledger.ledger_entries 2025-01-30 {ACCRUAL}",
            "posts to a loan's receivables": f"loan {PAID} interest_receivable",
        },
    ),
    "a posting twice, under another name": Damage(
        "ledger.ledger_entries",
        lambda rows: [
            *rows,
            *({**each, "posting_id": "accrual/other"} for each in rows if each["posting_id"] == ACCRUAL),
        ],
        {"posts to a loan's receivables": f"loan {PAID} interest_receivable"},
    ),
    "a posting that is gone": Damage(
        "ledger.ledger_entries",
        dropped(posting_id="payment/T-paid"),
        {"every accepted transaction moves": "2025-01-29 transaction T-paid cash: expected 100.90, found 0.00"},
        date(2025, 1, 29),
    ),
    "a cent of a transaction": Damage(
        "transactions.transactions",
        moved("amount", transaction_id="T-paid"),
        {
            "feed transactions": "T-paid amount: expected 100.90, found 100.91",
            "every accepted transaction moves": "T-paid cash",
        },
        date(2025, 1, 29),
    ),
    "an accepted transaction": Damage(
        "transactions.transactions",
        dropped(transaction_id="T-paid"),
        {
            "feed transactions": "more.jsonl record 1",
            "is applied, once": f"transaction T-paid payment {PAID} rows: expected 0, found 1",
        },
        date(2025, 1, 29),
    ),
    "what was received": Damage(
        "landing.transaction_rows",
        dropped(transaction_id="T-paid"),
        {"feed transactions": "accepted: expected a record that was received, found none"},
        date(2025, 1, 29),
    ),
    "a reason why": Damage(
        "transactions.rejected_transactions",
        dropped(transaction_id="T-bad"),
        {"feed transactions": "expected accepted, rejected, or a duplicate"},
        date(2025, 2, 1),
    ),
    "a cent of cash in suspense": Damage(
        "transactions.suspense",
        moved("closing", transaction_id="T-stray"),
        {"cash in suspense": "2025-01-30 T-stray closing", "cash, suspense": "2025-01-30 suspense"},
    ),
    "a cent of what was lost": Damage(
        "servicing.charge_offs", moved("net_loss", loan_id=LOST), {"charged-off loans": f"2025-01-30 {LOST} net_loss"}
    ),
    "a cent of the trial balance": Damage(
        "ledger.trial_balance",
        moved("closing", account="cash"),
        {"the trial balance": "2025-01-30 cash closing", "cash, suspense": "2025-01-30 cash"},
    ),
    "a cent of the provision": Damage(
        "ledger.provisions",
        moved("provision", product="installment"),
        {"the allowance: opening": "2025-01-31 installment closing"},
        date(2025, 1, 31),
    ),
    "a cent of a schedule": Damage(
        "loans.loan_schedules", moved("balance", loan_id=PAID, number=3), {"has a schedule": f"{PAID} 3 balance"}, FIRST
    ),
    "a cent of an adjustment": Damage(
        "adjustments.adjustments", moved("amount", adjustment_id="A-1"), {"feed adjustments": "A-1 amount"}, LAST
    ),
    "a cent of an application": Damage(
        "servicing.payment_applications",
        moved("principal", transaction_id="T-paid"),
        {"money of each transaction": "T-paid parts", "movements of each loan's balance": f"loan {PAID} principal"},
        date(2025, 1, 29),
    ),
    "a cent of unapplied money": Damage(
        "servicing.unapplied",
        moved("closing", transaction_id="T-too-much"),
        {"unapplied money": "T-too-much closing"},
        date(2025, 2, 1),
    ),
    "a cent of a day's cash": Damage(
        "portfolio.cash_daily", moved("received", kind="payment"), {"cash of a day": "received"}, date(2025, 1, 29)
    ),
    "a cent of a day's originations": Damage(
        "portfolio.originations_daily",
        moved("principal"),
        {"originations of a day": "principal", "originations of a month": "principal"},
        FIRST,
    ),
    "a cent of a month's originations": Damage(
        MONTHLY, moved("principal"), {"originations of a month": "principal"}, date(2025, 1, 1)
    ),
    "a cent of what a loan paid in a month": Damage(
        TAPE,
        moved("principal_paid", loan_id=PAID),
        {"the funding tape": f"2025-01-01 loan {PAID} principal_paid"},
        JANUARY,
    ),
    "what a loan opened a month with": Damage(
        TAPE, moved("opening_credit", loan_id=PAID), {"the funding tape": f"loan {PAID} opening_credit"}, JANUARY
    ),
    "how a loan stands at a month's end": Damage(
        TAPE,
        moved("days_past_due", 1, loan_id=PAID),
        {"the funding tape": f"loan at the end {PAID} days_past_due"},
        JANUARY,
    ),
    "when a loan matures": Damage(
        TAPE,
        moved("matures_on", timedelta(days=1), loan_id=PAID),
        {"the funding tape": f"loan at the end {PAID} matures_on"},
        JANUARY,
    ),
    "the state of a loan's borrower": Damage(
        TAPE,
        lambda rows: [{**each, "borrower_state": "NY"} if each["loan_id"] == PAID else each for each in rows],
        {"that are booked in its month are the originations": "installment CA loans"},
        JANUARY,
    ),
    "a loan of the tape": Damage(
        TAPE,
        dropped(loan_id=PAID),
        {
            "the funding tape": f"loan {PAID} rows: expected 1, found 0",
            "rows that were audited": "portfolio.funding_tape 2025-01-01",
        },
        JANUARY,
    ),
    "a loan of the tape twice": Damage(
        TAPE,
        doubled(loan_id=PAID),
        {"no key is there twice": f"portfolio.funding_tape 2025-01-01 2025-01-01 {PAID}"},
        JANUARY,
    ),
    "a cent of the portfolio": Damage(
        "portfolio.portfolio_daily", moved("amount_past_due"), {"the portfolio of a day": "amount_past_due"}
    ),
    "a cent of what a merchant is owed": Damage(
        "merchants.merchant_settlements",
        moved("closing", merchant_id="M1"),
        {"what merchants are owed": "2025-01-30 M1 closing"},
    ),
    "a merchant": Damage(
        "merchants.merchant_settlements",
        dropped(merchant_id="M1"),
        {"what merchants are owed": "2025-01-30 merchant_payable, closing of all merchants"},
    ),
    "a cent of a merchant's purchases": Damage(
        "merchants.merchant_settlements",
        moved("purchases", merchant_id="M1"),
        {"purchases, discount and payouts": "2025-01-27 merchant M1 purchases"},
        FIRST,
    ),
    "a refund of another merchant": Damage(
        "merchants.merchant_settlements",
        moved("merchant_id", "-other", merchant_id="M1"),
        {"refunds of a merchant and day": "refunds of 2025-02-01 M1 refunds: expected 9,050.00, found 0.00"},
        date(2025, 2, 1),
    ),
    "a refund that its loan takes over from nobody": Damage(
        "merchants.merchant_settlements",
        moved("reassigned", merchant_id="no merchant"),
        {"refunds of a merchant and day": "refunds of 2025-01-31 no merchant reassigned: expected 10.00, found 10.01"},
        date(2025, 1, 31),
    ),
    "a cent of a journal": Damage(
        "ledger.journal", moved("debit", account="cash"), {"the journal of a day": "2025-01-30 line of cash debit"}
    ),
    "an entry that a journal counts": Damage(
        "ledger.journal", moved("entries", 1, account="cash"), {"the journal of a day": "line of cash entries"}
    ),
    "the id of a journal's line": Damage(
        "ledger.journal", moved("journal_id", "0", account="cash"), {"the journal of a day": "2025-01-30 journal_id"}
    ),
    "the number of a journal's line": Damage(
        "ledger.journal", moved("line", 1, account="cash"), {"the journal of a day": "2025-01-30 cash line"}
    ),
    "what was paid, of the last day, which no other opens with": Damage(
        "servicing.loan_balances",
        moved("paid", loan_id=LOST),
        {"nothing came for a loan": f"2025-02-02 {LOST} paid"},
        LAST,
    ),
    "the loan of one entry": Damage(
        "ledger.ledger_entries",
        moved("loan_id", "x", posting_id=ACCRUAL, entry=2),
        {"every posting balances": f"{ACCRUAL} different loan_id: expected 1, found 2"},
    ),
    "a borrower": Damage("loans.borrowers", dropped(user_id="U1"), {"borrowers of a day": "user U1"}, FIRST),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damage_is_named(catalog: Catalog, name: str) -> None:
    damage = DAMAGES[name]
    rewritten(catalog.load_table(damage.table), damage.change, damage.day)
    found = wrong(verify(catalog))
    for identity, where in damage.says.items():
        said = [text for each, text in found.items() if identity in each]
        assert said, f"{identity} does not fail; {found}"
        assert where in said[0]


DENSE = (
    "servicing.loan_balances",
    "ledger.ledger_entries",
    "ledger.trial_balance",
    "ledger.journal",
    "merchants.merchant_settlements",
    "portfolio.portfolio_daily",
)


@pytest.mark.parametrize("table", DENSE)
def test_a_day_that_is_missing_is_named(catalog: Catalog, table: str) -> None:
    rewritten(catalog.load_table(table), lambda _: [], THE_30TH)
    found = wrong(verify(catalog))
    assert f"{table} 2025-01-30" in found["no day is missing between the first and the last, in any daily table"]


def test_a_day_that_was_never_published_is_named(catalog: Catalog) -> None:
    table = catalog.load_table("servicing.charge_offs")
    with table.transaction() as change:
        change.set_properties({"affirm.published": "2025-01-27...2025-01-29, 2025-01-31...2025-02-02"})
    found = wrong(verify(catalog))
    assert (
        "charge_offs is published for: expected 2025-01-27...2025-02-02, found 2025-01-27...2025-01-29, 2025-01-31"
        in (found["no day is missing between the first and the last, in any daily table"])
    )


# The first month of a lake has no roll rates: test_verify_months.py has more months.
@pytest.mark.parametrize("table", [*DAILY, *(each for each in MONTHLY_TABLES if each != ROLL_RATES)])
def test_a_table_that_is_empty_is_found_though_its_reports_are_lost_too(
    catalog: Catalog, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An identity over no rows holds: each table is compared with another that has them."""
    monkeypatch.setattr("affirm_assets.auditor.verify.lake.AuditedTable._report", lambda *_: None)
    loaded = catalog.load_table(table)
    assert loaded.scan().to_arrow().num_rows
    loaded.delete()
    found = wrong(verify(catalog))
    assert found


def test_the_command_exits_with_1_and_says_what_fails(
    lake: Lake, catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AFFIRM_LAKE", str(tmp_path))
    monkeypatch.setenv("AFFIRM_DEPLOYMENT", "local")
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(main, ["verify"]).exit_code == 0
    rewritten(catalog.load_table("ledger.trial_balance"), moved("closing", account="cash"), THE_30TH)
    done = CliRunner().invoke(main, ["verify"])
    assert done.exit_code == 1
    assert "2025-01-30 cash closing: expected" in done.output
    found = json.loads(CliRunner().invoke(main, ["verify", "--json"]).output)
    assert not found["passed"]
    assert any("cash closing" in one["where"] for each in found["found"] for one in each["wrong"])


def test_a_figure_that_differs_or_cannot_be_computed_fails(lake: Lake) -> None:
    def cannot() -> str:
        raise ValueError("no such terms")

    figures = [Figure("one", "a book", "1.00", lambda: "1.01"), Figure("another", "a book", "1.00", cannot)]
    found = {each.name: each for each in verify(lake.books.catalog, figures).found if each.kind == "figure"}
    assert (found["one"].passed, found["one"].found) == (False, "1.01")
    assert (found["another"].passed, found["another"].found) == (False, "ValueError: no such terms")


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.name)
def test_a_published_figure_is_met(figure: Figure) -> None:
    assert figure.compute() == figure.expected


def test_a_lake_without_books_says_so(tmp_path: Path) -> None:
    empty = IcebergCatalog(uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}/warehouse").load()
    with pytest.raises(NothingToVerify, match=r"landing\.loan_rows: expected a table of that name in the lake"):
        verify(empty)
