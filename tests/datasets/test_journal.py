"""The journal that the general ledger takes over: its lines, its id, and what the audits see."""

import hashlib
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession

from affirm_assets.datasets.ledger.journal import (
    JournalLine,
    every_entry_is_counted,
    every_journal_balances,
    journal,
    lines_equal_the_trial_balance,
    the_id_is_that_of_the_lines,
)
from affirm_assets.datasets.ledger.ledger_entries import LedgerEntry, ledger_entries
from affirm_assets.datasets.ledger.trial_balance import AccountBalance, trial_balance
from affirm_assets.declare.contract import column_differences
from tests.datasets.lender import MADE_OF, MOVED_BY, WINDOW, books, changed, frame, not_ok, row
from tests.storage import Keep

DOC = Path(__file__).parents[2] / "docs" / "money.md"
D1 = date(2025, 1, 1)
D2, D3 = D1 + timedelta(days=1), D1 + timedelta(days=2)

Entry = tuple[str, date, str, str]

ENTRIES: list[Entry] = [
    # A loan of 1,000.00 with a discount of 50.00, and the payout of the rest.
    ("principal_receivable", D1, "1000.00", "0"),
    ("merchant_payable", D1, "0", "950.00"),
    ("deferred_merchant_discount", D1, "0", "50.00"),
    ("cash", D1, "0", "950.00"),
    ("merchant_payable", D1, "950.00", "0"),
    # No entry on the second day.
    ("interest_receivable", D3, "0.50", "0"),
    ("interest_income", D3, "0", "0.50"),
]
EXAMPLE = "2025-01-01-1e1d3cbf8a2025cf"


def of(spark: SparkSession, entries: Sequence[Entry]) -> DataFrame:
    rows = [
        row(LedgerEntry, posting_id=f"P{number}", account=account, posted_on=day, debit=debit, credit=credit)
        for number, (account, day, debit, credit) in enumerate(entries)
    ]
    return frame(spark, LedgerEntry, rows)


def lines(made: DataFrame) -> list[tuple[str, ...]]:
    names = ("posted_on", "line", "account", "debit", "credit", "entries")
    return [tuple(str(each[name]) for name in names) for each in made.orderBy("posted_on", "line").collect()]


def ids(made: DataFrame) -> dict[date, str]:
    found = {(each.posted_on, each.journal_id) for each in made.collect()}
    assert len(found) == len({day for day, _ in found})
    return dict(found)


def test_a_day_is_one_journal_with_a_line_for_each_account(spark: SparkSession) -> None:
    made = journal(of(spark, ENTRIES))
    assert column_differences(JournalLine, made.schema) == []
    assert lines(made) == [
        ("2025-01-01", "1", "cash", "0.00", "950.00", "1"),
        ("2025-01-01", "2", "deferred_merchant_discount", "0.00", "50.00", "1"),
        ("2025-01-01", "3", "merchant_payable", "950.00", "950.00", "2"),
        ("2025-01-01", "4", "principal_receivable", "1000.00", "0.00", "1"),
        ("2025-01-03", "1", "interest_income", "0.00", "0.50", "1"),
        ("2025-01-03", "2", "interest_receivable", "0.50", "0.00", "1"),
    ]


def test_the_id_is_the_digest_that_anybody_can_compute(spark: SparkSession) -> None:
    """docs/money.md shows this journal, its text and its id."""
    text = (
        "cash 0.00 950.00 1\ndeferred_merchant_discount 0.00 50.00 1\nmerchant_payable 950.00 950.00 2\n"
        "principal_receivable 1000.00 0.00 1\n"
    )
    assert f"2025-01-01-{hashlib.sha256(text.encode()).hexdigest()[:16]}" == EXAMPLE
    assert ids(journal(of(spark, ENTRIES)))[D1] == EXAMPLE
    doc = DOC.read_text()
    assert EXAMPLE in doc
    assert f"```\n{text}```" in doc


def test_what_is_made_again_has_the_same_id(spark: SparkSession) -> None:
    """Whatever the order of the rows, and whichever days are made with it."""
    again = ids(journal(of(spark, ENTRIES[::-1])))
    assert again == ids(journal(of(spark, ENTRIES)))
    assert ids(journal(of(spark, ENTRIES[:5]))) == {D1: again[D1]}


MORE: dict[str, list[Entry]] = {
    "another entry of nothing new in sum": [
        ("cash", D1, "0", "900.00"),
        ("cash", D1, "0", "50.00"),
        *(each for each in ENTRIES if each[0] != "cash"),
    ],
    "a cent on both sides": [*ENTRIES, ("cash", D1, "0.01", "0"), ("cash", D1, "0", "0.01")],
    "another account": [("suspense" if each[0] == "cash" else each[0], *each[1:]) for each in ENTRIES],
    "sides swapped": [(each[0], each[1], each[3], each[2]) for each in ENTRIES],
}


@pytest.mark.parametrize("name", MORE)
def test_a_day_that_is_restated_has_another_id(spark: SparkSession, name: str) -> None:
    assert ids(journal(of(spark, MORE[name])))[D1] != EXAMPLE


def test_the_same_amounts_on_another_day_have_another_id(spark: SparkSession) -> None:
    moved = [(account, D2, debit, credit) for account, day, debit, credit in ENTRIES if day == D1]
    assert ids(journal(of(spark, moved))) == {D2: EXAMPLE.replace("2025-01-01", "2025-01-02")}


@pytest.fixture(scope="module")
def small_lender(spark: SparkSession, keep: Keep) -> dict[str, DataFrame]:
    given = books(spark, keep)
    given["ledger_entries"] = keep(ledger_entries(*(given[name] for name in MADE_OF)))
    moved_by = (given[name] for name in MOVED_BY)
    given["trial_balance"] = keep(
        trial_balance(given["ledger_entries"], *moved_by, frame(spark, AccountBalance, []), WINDOW)
    )
    given["journal"] = keep(journal(given["ledger_entries"]))
    return given


def test_audits_pass(small_lender: dict[str, DataFrame]) -> None:
    staged = small_lender["journal"]
    assert staged.count() > 500
    assert not_ok(every_journal_balances.function(staged)) == 0
    assert not_ok(lines_equal_the_trial_balance.function(staged, small_lender["trial_balance"])) == 0
    assert not_ok(every_entry_is_counted.function(staged, small_lender["ledger_entries"])) == 0
    assert not_ok(the_id_is_that_of_the_lines.function(staged)) == 0


def test_a_day_that_is_lost_is_found(small_lender: dict[str, DataFrame]) -> None:
    """It would balance."""
    left = small_lender["journal"].where("posted_on <> DATE'2025-03-20'")
    assert not_ok(every_journal_balances.function(left)) == 0
    assert not_ok(lines_equal_the_trial_balance.function(left, small_lender["trial_balance"])) > 0


@pytest.mark.parametrize(
    ("where", "wrong"),
    [
        ("line = 1", {"line": "2"}),
        ("line = 1", {"line": "0"}),
        ("true", {"line": "line + 1"}),
        ("account = 'cash'", {"debit": "debit + 1", "credit": "credit + 2"}),
    ],
    ids=["a number twice", "not from 1", "all from 2", "unbalanced"],
)
def test_a_journal_that_is_no_journal_is_found(
    small_lender: dict[str, DataFrame], where: str, wrong: dict[str, str]
) -> None:
    day = "posted_on = DATE'2025-03-20'"
    assert not_ok(every_journal_balances.function(changed(small_lender["journal"], f"{day} AND {where}", **wrong))) == 1


def test_two_ids_of_a_day_are_found(small_lender: dict[str, DataFrame]) -> None:
    wrong = changed(
        small_lender["journal"], "posted_on = DATE'2025-03-20' AND line = 2", journal_id="concat(journal_id, '0')"
    )
    assert not_ok(the_id_is_that_of_the_lines.function(wrong)) == 1
