"""`affirm explain loan`: a statement that ties to the balances, then and now, and errors that name what is wrong."""

import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import affirm_assets.datasets
from affirm_assets.auditor.errors import DateNotPublished, LoanNotYetBooked, LoanUnknown, RunUnknown, SnapshotExpired
from affirm_assets.auditor.explain import show
from affirm_assets.auditor.explain.statement import READS, Movement, Statement, statement
from affirm_assets.auditor.history import as_now, as_of_run
from affirm_assets.cli import main
from affirm_assets.declare.registry import Registry
from tests.auditor.conftest import FIRST, LAST, LOST, MIDDLE, PAID, Lake

REGISTRY = Registry.walk(affirm_assets.datasets)


def explained(lake: Lake, loan_id: str, as_of: date | None = None, run_id: str | None = None) -> Statement:
    if run_id:
        return statement(as_of_run(lake.books.catalog, REGISTRY.datasets.values(), run_id), loan_id, as_of, run_id)
    return statement(as_now(lake.books.catalog, [REGISTRY[name] for name in READS]), loan_id, as_of, None)


def line(said: Statement, what: str) -> Movement:
    (found,) = [each for each in said.movements if f"{each.kind} {each.what}".strip() == what]
    return found


def test_a_statement_tells_every_movement_with_its_posting_and_ends_with_the_balance(lake: Lake) -> None:
    said = explained(lake, PAID)
    paid = line(said, "payment T-paid")
    # 1,000.00 x 36 % x 9 / 365 days since 20 January.
    assert (
        show.posting_text(paid.posting) == "Dr cash 100.90, Cr interest_receivable 8.88, Cr principal_receivable 92.02"
    )
    assert (paid.first, paid.principal, paid.interest, paid.days_past_due) == (
        date(2025, 1, 29),
        Decimal("907.98"),
        0,
        0,
    )
    refused = line(said, "refund T-too-much")
    assert "more than" in str(refused.note)
    assert line(said, "goodwill_credit adjustment/A-1").note == "approved by E0007"
    last, balance = said.movements[-1], said.last
    assert (last.principal, last.interest, last.credit) == (
        balance["principal"],
        balance["interest"],
        balance["credit"],
    )
    assert (said.as_of, list(said.differs)) == (LAST, [])
    # Each entry of the ledger on the loan is in one line.
    entries = [row for row in lake.books.rows("ledger.ledger_entries") if row["loan_id"] == PAID]
    posted: dict[str, Decimal] = {}
    for row in entries:
        posted[row["account"]] = posted.get(row["account"], Decimal(0)) + row["debit"] - row["credit"]
    told: dict[str, Decimal] = {}
    for each in said.movements:
        for account, moved in each.posting:
            told[account] = told.get(account, Decimal(0)) + moved
    assert told == posted


def test_all_statements_of_all_loans_leave_what_the_balances_say(lake: Lake) -> None:
    loans = sorted({row["loan_id"] for row in lake.books.rows("loans.loans", "loan_id")})
    assert len(loans) > 10
    for loan_id in (*loans[:4], LOST, PAID, "waited-for"):
        assert list(explained(lake, loan_id).differs) == []


def test_cash_that_waited_for_its_loan_is_told_from_the_day_it_came(lake: Lake) -> None:
    said = explained(lake, "waited-for")
    assert said.movements[0].kind == "suspense"
    assert said.movements[0].first == date(2025, 1, 28)
    assert line(said, "payment T-early").waited_since == date(2025, 1, 28)


def test_a_statement_as_of_a_day_and_as_a_run_left_the_books(lake: Lake) -> None:
    earlier = explained(lake, PAID, date(2025, 1, 28))
    assert [each.kind for each in earlier.movements if each.kind == "payment"] == []
    assert earlier.last["as_of"] == date(2025, 1, 28)
    then = explained(lake, PAID, run_id=lake.first_run)
    assert (then.as_of, then.last["as_of"]) == (MIDDLE, MIDDLE)
    assert {each.run_id for each in then.lineage} == {lake.first_run}
    now = explained(lake, PAID)
    by_table = {(each.table, str(each.days)): each.run_id for each in now.lineage}
    assert by_table["servicing.loan_balances", f"{FIRST}...{MIDDLE}"] == lake.first_run
    assert by_table["servicing.loan_balances", f"2025-02-01...{LAST}"] == lake.second_run
    for each in now.lineage:
        assert each.engine is not None
        assert each.engine.startswith("sail")
        assert len(each.code_version) == 12
        assert lake.books.catalog.load_table(each.table).snapshot_by_id(each.snapshot)


def test_no_personal_column_is_read(lake: Lake) -> None:
    said = f"{show.as_json(explained(lake, PAID))}{show.as_html(explained(lake, PAID))}"
    assert "jane.doe" not in said
    assert "Payment page was down" not in said


def test_json_has_amounts_as_text_and_the_page_needs_nothing_beside_itself(lake: Lake) -> None:
    said = explained(lake, PAID)
    value: dict[str, Any] = json.loads(show.as_json(said))
    assert value["balance"]["principal"] == str(said.last["principal"])
    assert value["movements"][0]["posting"][0] == {"account": "principal_receivable", "debit": "1000.00"}
    page = show.as_html(said)
    assert "<svg" in page
    for needs in ("http:", "https:", "<script", "<link", "src="):
        assert needs not in page


@pytest.fixture
def at_lake(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AFFIRM_LAKE", str(lake.books.folder))
    monkeypatch.setenv("AFFIRM_DEPLOYMENT", "local")
    monkeypatch.chdir(tmp_path)


def affirm(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["explain", "loan", *arguments])


@pytest.mark.usefixtures("at_lake")
def test_the_command_prints_a_statement_and_writes_a_page(tmp_path: Path) -> None:
    done = affirm(PAID, "--as-of", str(LAST), "--html", str(tmp_path / "loan.html"))
    assert done.exit_code == 0, done.output
    assert f"Loan {PAID} as of {LAST}" in done.output
    assert "payment T-paid" in done.output
    assert (tmp_path / "loan.html").read_text().startswith("<!doctype html>")


@pytest.mark.usefixtures("at_lake")
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nobody"], "loan nobody: expected a loan that is booked"),
        (["x' OR 'a' = 'a"], "loan x' OR 'a' = 'a: expected a loan that is booked"),
        ([PAID, "--as-of", "2025-01-26"], "is published, 2025-01-27...2025-02-02; found 2025-01-26"),
        ([PAID, "--as-of", "2025-02-03"], "found 2025-02-03"),
        (["waited-for", "--as-of", "2025-01-29"], "from its booking on, 2025-01-31; found 2025-01-29"),
        ([PAID, "--run", "nope"], "run nope: expected a run that published"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_an_error_that_names_it(arguments: list[str], says: str) -> None:
    done = affirm(*arguments)
    assert done.exit_code == 1
    assert says in done.output
    assert "Traceback" not in done.output


def test_each_of_these_is_an_error_of_its_own(lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(LoanUnknown):
        explained(lake, "nobody")
    with pytest.raises(DateNotPublished):
        explained(lake, PAID, date(2025, 2, 1), lake.first_run)
    with pytest.raises(LoanNotYetBooked):
        explained(lake, "waited-for", FIRST)
    with pytest.raises(RunUnknown):
        explained(lake, PAID, run_id="nope")
    fork = lake.books.fork(tmp_path)
    table = fork.catalog.load_table("servicing.loan_balances")
    oldest = min(table.snapshots(), key=lambda each: each.sequence_number or 0)
    table.maintenance.expire_snapshots().by_id(oldest.snapshot_id).commit()
    with pytest.raises(SnapshotExpired, match=str(oldest.snapshot_id)):
        as_of_run(fork.catalog, REGISTRY.datasets.values(), lake.first_run)
