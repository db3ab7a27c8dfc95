"""One small lake for all tests of the auditor's commands: a week over a month's end, published in two runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import pytest

from affirm_assets.lender.sample_data import Business
from affirm_assets.sample import write_sample
from resources.spark import SparkSessions
from tests.integration.books import ADJUSTMENTS, BOOKS, DAILY, MONTHLY, Books, adjustment, jsonl, loan, transaction

FIRST, MIDDLE, LAST = date(2025, 1, 27), date(2025, 1, 31), date(2025, 2, 2)

PAID, LOST = "paid", "lost"
"""Loans of which the tests tell: one that is paid, refunded and forgiven a little; one that is charged off at once."""

_LOANS: Mapping[date, Sequence[dict[str, Any]]] = {
    FIRST: [
        loan(loan_id=PAID, user_id="U1", originated_on="2025-01-20", first_due_on="2025-01-29", apr="36"),
        loan(loan_id=LOST, user_id="U2", originated_on="2024-08-01", first_due_on="2024-09-01"),
    ],
    date(2025, 1, 30): [loan(loan_id="bad", user_id="U4", principal="1e2")],
    MIDDLE: [loan(loan_id="waited-for", user_id="U3", originated_on="2025-01-30", first_due_on="2025-02-28")],
}
_TRANSACTIONS: Mapping[date, Sequence[dict[str, Any]]] = {
    date(2025, 1, 28): [
        transaction(transaction_id="T-early", loan_id="waited-for", effective_on="2025-01-28"),
        transaction(
            transaction_id="T-early-refund",
            loan_id="waited-for",
            kind="refund",
            amount="10.00",
            effective_on="2025-01-28",
        ),
    ],
    date(2025, 1, 29): [
        transaction(transaction_id="T-paid", loan_id=PAID, amount="100.90", effective_on="2025-01-29"),
        transaction(transaction_id="T-back", loan_id=LOST, amount="12.00", effective_on="2025-01-29"),
        transaction(transaction_id="T-stray", loan_id="nobody-s", amount="5.00", effective_on="2025-01-29"),
    ],
    date(2025, 2, 1): [
        transaction(
            transaction_id="T-refund",
            loan_id=PAID,
            merchant_id="M1",
            kind="refund",
            amount="50.00",
            effective_on="2025-02-01",
        ),
        transaction(
            transaction_id="T-too-much",
            loan_id=PAID,
            merchant_id="M1",
            kind="refund",
            amount="9000.00",
            effective_on="2025-02-01",
        ),
        transaction(transaction_id="T-paid", loan_id=PAID, amount="100.90", effective_on="2025-01-29"),
        transaction(transaction_id="T-bad", loan_id=PAID, amount="1e2", effective_on="2025-02-01"),
    ],
}
_ADJUSTMENTS: Mapping[date, Sequence[dict[str, Any]]] = {
    LAST: [
        adjustment(adjustment_id="A-1", loan_id=PAID, kind="goodwill_credit", amount="3.00", effective_on="2025-02-02"),
        adjustment(adjustment_id="A-bad", loan_id="nobody-s", effective_on="2025-02-02"),
    ]
}


@dataclass(frozen=True)
class Lake:
    """A lake, the runs that published it, and what the tests know of it."""

    books: Books
    first_run: str
    second_run: str


@pytest.fixture(scope="session")
def lake(spark_if_needed: SparkSessions, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    books = Books(tmp_path_factory.mktemp("audited"), spark_if_needed, first=FIRST)
    write_sample(books.settings, Business(30, FIRST, 7, 1))
    for number in range((LAST - FIRST).days + 1):
        day = FIRST + timedelta(days=number)
        for feed, records in (("loans", _LOANS), ("transactions", _TRANSACTIONS), ("adjustments", _ADJUSTMENTS)):
            if day in records:
                books.land(feed, day, {"more.jsonl": jsonl(records[day])})
    everything = f"{DAILY},{ADJUSTMENTS},{BOOKS}"
    runs = [
        books.materialize(everything, first, last).run_id for first, last in ((FIRST, MIDDLE), (date(2025, 2, 1), LAST))
    ]
    books.materialize(MONTHLY, date(2025, 1, 1))
    return Lake(books, *runs)
