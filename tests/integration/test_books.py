"""The books of a few loans through Dagster runs: worked examples to the cent, day by day as in a range, re-runs."""

from collections.abc import Iterable
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import dagster as dg
import pytest

from affirm_assets.lender.finance.accrual import to_cents
from resources.spark import SparkSessions
from tests.integration.books import ADJUSTMENTS as ADJUSTMENT_STEPS
from tests.integration.books import BOOKS, DAILY, Books, adjustment, jsonl, loan, transaction

FIRST, LAST = date(2025, 1, 1), date(2025, 1, 12)


def day(number: int) -> date:
    return date(2025, 1, number)


LOANS = {
    1: [
        loan(loan_id="on-time", user_id="U1", originated_on="2025-01-01", first_due_on="2025-01-08", apr="36"),
        loan(loan_id="late-row", user_id="U2", originated_on="2025-01-01", first_due_on="2025-01-31", apr="36"),
        loan(loan_id="returned", user_id="U3", originated_on="2025-01-01", first_due_on="2025-01-31", apr="0"),
        loan(loan_id="refunded", user_id="U4", originated_on="2025-01-01", first_due_on="2025-01-31", apr="0"),
    ],
    6: [loan(loan_id="waited-for", user_id="U5", originated_on="2025-01-02", first_due_on="2025-01-31", apr="36")],
}
TRANSACTIONS = {
    3: [
        transaction(transaction_id="T1", loan_id="waited-for", amount="50.00", effective_on="2025-01-03"),
        transaction(transaction_id="T2", loan_id="returned", amount="84.00", effective_on="2025-01-03"),
        transaction(transaction_id="T3", loan_id=None, merchant_id="M1", kind="merchant_payout", amount="900.00",
                    effective_on="2025-01-03"),
    ],
    5: [
        transaction(transaction_id="T4", loan_id="returned", kind="payment_reversal", amount="84.00", reverses="T2",
                    effective_on="2025-01-05"),
        transaction(transaction_id="T5", loan_id="refunded", merchant_id="M1", kind="refund", amount="250.00",
                    effective_on="2025-01-05"),
        transaction(transaction_id="T6", loan_id="on-time", kind="recovery", amount="7.00", effective_on="2025-01-05"),
    ],
    8: [transaction(transaction_id="T7", loan_id="on-time", amount="100.90", effective_on="2025-01-08")],
    9: [transaction(transaction_id="T8", loan_id="late-row", amount="100.90", effective_on="2025-01-05")],
}  # fmt: skip
ADJUSTMENTS = {
    11: [
        adjustment(adjustment_id="A1", loan_id="returned", kind="goodwill_credit", amount="10.00",
                   effective_on="2025-01-10"),
    ],
}  # fmt: skip
OWN_STEPS = "transactions/suspense," + BOOKS
UPSTREAM = f"{DAILY},{ADJUSTMENT_STEPS}".replace(",transactions/suspense", "")


def land(books: Books, transactions: dict[int, list[dict[str, Any]]] = TRANSACTIONS) -> None:
    for number in range(1, 13):
        for feed, records in (("loans", LOANS), ("transactions", transactions)):
            books.land(feed, day(number), {"part.jsonl": jsonl(records.get(number, []))})
        books.land("adjustments", day(number), {"part.jsonl": jsonl(ADJUSTMENTS.get(number, []))})


@pytest.fixture(scope="module")
def arrived(spark_if_needed: SparkSessions, tmp_path_factory: pytest.TempPathFactory) -> Books:
    """All that arrived, in one run, and no books of it: to be forked."""
    arrived = Books(tmp_path_factory.mktemp("arrived"), spark_if_needed, first=FIRST)
    land(arrived)
    arrived.materialize(UPSTREAM, FIRST, LAST)
    return arrived


@pytest.fixture(scope="module")
def books(arrived: Books, tmp_path_factory: pytest.TempPathFactory) -> Books:
    """All days in one run."""
    books = arrived.fork(tmp_path_factory.mktemp("range"))
    books.materialize(OWN_STEPS, FIRST, LAST)
    return books


def balance(books: Books, loan_id: str, number: int) -> dict[str, Any]:
    (row,) = [
        row
        for row in books.rows("servicing.loan_balances")
        if row["loan_id"] == loan_id and row["as_of"] == day(number)
    ]
    return row


def application(books: Books, transaction_id: str) -> dict[str, Any]:
    (row,) = [row for row in books.rows("servicing.payment_applications") if row["transaction_id"] == transaction_id]
    return row


def posting(books: Books, posting_id: str) -> list[tuple[str, str, str]]:
    """Account, debit and credit of each entry."""
    entries = [row for row in books.rows("ledger.ledger_entries") if row["posting_id"] == posting_id]
    return [
        (each["account"], str(each["debit"]), str(each["credit"]))
        for each in sorted(entries, key=lambda each: each["entry"])
    ]


def closing(books: Books, number: int) -> dict[str, str]:
    rows = books.rows("ledger.trial_balance")
    return {row["account"]: str(row["closing"]) for row in rows if row["as_of"] == day(number)}


def test_a_payment_pays_the_interest_of_its_days_and_then_principal(books: Books) -> None:
    # 1,000.00 at 36 % accrues 1,000 x 0.36 / 365 = 0.98630137 a day: 3.94520548 in four, of which T6 pays 3.95. The
    # 996.95 that it leaves accrue 0.98329315 a day, 2.94987945 in three.
    assert posting(books, "payment/T7") == [
        ("cash", "100.90", "0.00"),
        ("interest_receivable", "0.00", "2.95"),
        ("principal_receivable", "0.00", "97.95"),
    ]
    row = balance(books, "on-time", 8)
    assert (row["principal"], row["interest"], row["accrued"]) == (
        Decimal("899.00"),
        Decimal("0.00"),
        Decimal("6.89508493"),
    )


def test_a_late_payment_gets_the_interest_back_that_accrued_since(books: Books) -> None:
    # On 5 January four days have accrued 3.94520548: 3.95 of interest, 96.95 of principal, 903.05 left. The four days
    # since accrued 3.94520548 on 1,000.00 and would have 3.56271780 on 903.05 (0.89067945 a day): 7.89 becomes 7.51.
    assert posting(books, "payment/T8") == [
        ("cash", "100.90", "0.00"),
        ("interest_receivable", "0.00", "3.95"),
        ("principal_receivable", "0.00", "96.95"),
        ("interest_income", "0.38", "0.00"),
        ("interest_receivable", "0.00", "0.38"),
    ]
    found = application(books, "T8")
    assert (found["interest"], found["principal"], found["interest_given_back"]) == (
        Decimal("3.95"),
        Decimal("96.95"),
        Decimal("0.38"),
    )
    row = balance(books, "late-row", 9)
    assert (row["principal"], row["interest"]) == (Decimal("903.05"), Decimal("3.56"))
    assert balance(books, "late-row", 8)["principal"] == Decimal("1000.00")


def test_a_reversal_undoes_its_payment(books: Books) -> None:
    assert posting(books, "payment_reversal/T4") == [
        ("cash", "0.00", "84.00"),
        ("principal_receivable", "84.00", "0.00"),
    ]
    assert balance(books, "returned", 4)["principal"] == Decimal("916.00")
    assert balance(books, "returned", 5)["principal"] == Decimal("1000.00")


def test_a_refund_repays_principal_and_returns_the_discount_in_proportion(books: Books) -> None:
    # A quarter of the price, and of the discount of 30.00.
    assert posting(books, "refund/T5") == [
        ("merchant_payable", "250.00", "0.00"),
        ("principal_receivable", "0.00", "250.00"),
        ("merchant_discount_income", "7.50", "0.00"),
        ("merchant_payable", "0.00", "7.50"),
    ]


def test_a_recovery_on_an_open_loan_is_a_payment(books: Books) -> None:
    assert application(books, "T6")["exception"] is None
    assert posting(books, "recovery/T6") == [
        ("cash", "7.00", "0.00"),
        ("interest_receivable", "0.00", "3.95"),
        ("principal_receivable", "0.00", "3.05"),
    ]


def test_a_goodwill_credit_is_an_expense_and_counts_from_its_day(books: Books) -> None:
    assert posting(books, "goodwill_credit/adjustment/A1") == [
        ("goodwill_expense", "10.00", "0.00"),
        ("principal_receivable", "0.00", "10.00"),
    ]
    assert balance(books, "returned", 11)["adjusted"] == Decimal("10.00")
    assert closing(books, 12)["goodwill_expense"] == "10.00"


def test_cash_waits_in_suspense_until_its_loan_is_booked(books: Books) -> None:
    waiting = [
        (row["as_of"].day, str(row["closing"])) for row in books.rows("transactions.suspense", "as_of", "closing")
    ]
    assert waiting == [(3, "50.00"), (4, "50.00"), (5, "50.00"), (6, "0.00")]
    assert posting(books, "suspense/T1") == [("cash", "50.00", "0.00"), ("suspense", "0.00", "50.00")]
    assert closing(books, 5)["suspense"] == "-50.00"
    assert closing(books, 6)["suspense"] == "0.00"
    # Booked four days late: 3.95 of interest; had the payment come to a loan that was booked, it would have paid one
    # day's 0.99 and 49.01, and the three days since would have accrued 0.14 less.
    found = application(books, "T1")
    assert (found["is_from_suspense"], found["interest"], found["principal"], found["interest_given_back"]) == (
        True,
        Decimal("0.99"),
        Decimal("49.01"),
        Decimal("0.15"),
    )


def test_the_ledger_closes_at_zero_and_ties_to_the_loans(books: Books) -> None:
    last = closing(books, 12)
    assert sum(map(Decimal, last.values())) == 0
    owed = [row for row in books.rows("servicing.loan_balances") if row["as_of"] == LAST]
    assert Decimal(last["principal_receivable"]) == sum(row["principal"] for row in owed)
    assert Decimal(last["interest_receivable"]) == sum(row["interest"] for row in owed)
    # 5 loans of 1,000.00 less a discount of 30.00; paid out 900.00; refunded 250.00 less 7.50.
    assert last["merchant_payable"] == "-3707.50"
    assert last["cash"] == str(Decimal("50.00") + 7 + Decimal("100.90") * 2 - 900)
    # Five discounts of 30.00, of which 7.50 went back: what is deferred is no income yet.
    deferred = sum(to_cents(row["deferred_discount"]) for row in owed)
    assert last["deferred_merchant_discount"] == str(-deferred)
    assert Decimal(last["merchant_discount_income"]) == deferred - Decimal("142.50")
    assert Decimal("8.00") < Decimal("142.50") - deferred < Decimal("8.20")


@pytest.fixture(scope="module")
def one_by_one(arrived: Books, tmp_path_factory: pytest.TempPathFactory) -> Books:
    """The books in windows of many days and of one."""
    books = arrived.fork(tmp_path_factory.mktemp("days"))
    for first, last in ((1, 4), (5, 5), (6, 12)):
        books.materialize(OWN_STEPS, day(first), day(last))
    return books


@pytest.mark.parametrize("key", OWN_STEPS.split(","))
def test_windows_one_after_another_give_the_rows_of_the_range(books: Books, one_by_one: Books, key: str) -> None:
    table = key.replace("/", ".")
    assert one_by_one.rows(table) == books.rows(table)
    assert books.rows(table) or key in ("servicing/charge_offs", "servicing/unapplied")


def failed_checks(run: dg.ExecuteInProcessResult) -> set[str]:
    return {each.check_name for each in run.get_asset_check_evaluations() if not each.passed}


def failure(run: dg.ExecuteInProcessResult) -> str:
    return "\n".join(
        str(event.step_failure_data.user_failure_data or event.step_failure_data.error)
        for event in run.get_step_failure_events()
    )


def test_a_middle_day_that_closes_otherwise_must_be_run_with_the_days_after_it(one_by_one: Books) -> None:
    """A payment that had been forgotten is added to a day in the middle."""
    before = one_by_one.rows("servicing.loan_balances")
    forgotten = transaction(transaction_id="T9", loan_id="refunded", amount="10.00", effective_on="2025-01-05")
    land(one_by_one, {**TRANSACTIONS, 5: [*TRANSACTIONS[5], forgotten]})
    one_by_one.materialize("landing/transaction_rows,transactions/transactions", day(5))

    run = one_by_one.materialize("servicing/loan_balances", day(5), raises=False)
    assert not run.success
    assert failed_checks(run) == {"next_day_opens_as_closed"}
    assert "2025-01-05...2025-01-12" in failure(run)
    assert one_by_one.rows("servicing.loan_balances") == before

    one_by_one.materialize(OWN_STEPS, day(5), LAST)
    assert balance(one_by_one, "refunded", 12)["principal"] == Decimal("740.00")


def test_a_day_after_a_gap_is_refused(books: Books) -> None:
    run = books.materialize("transactions/suspense", day(14), raises=False)
    assert not run.success
    assert "Run 2025-01-13...2025-01-14 instead" in failure(run)


def days_of(rows: Iterable[dict[str, Any]]) -> set[date]:
    return {row["as_of"] for row in rows}


def test_every_loan_has_a_row_each_day_from_its_booking(books: Books) -> None:
    rows = books.rows("servicing.loan_balances", "loan_id", "as_of")
    for loan_id, booked in (("on-time", 1), ("waited-for", 6)):
        expected = {day(booked) + timedelta(days=number) for number in range(13 - booked)}
        assert days_of(row for row in rows if row["loan_id"] == loan_id) == expected
