"""A day in the middle of the loans' books is run again: what the next day took over may not be corrected behind it."""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from affirm_assets.datasets.adjustments.adjustments import Adjustment
from affirm_assets.datasets.loans.loans import Loan
from affirm_assets.datasets.servicing.charge_offs import charge_offs
from affirm_assets.datasets.servicing.loan_balances import loan_balances
from affirm_assets.datasets.transactions.suspense import Suspense
from affirm_assets.datasets.transactions.transactions import Transaction
from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.partitions import Window
from affirm_assets.steps.audits_failed import AuditsFailed
from resources.iceberg import IcebergCatalog
from resources.landing import LandingZone
from tests.conftest import opens_engine
from tests.datasets.lender import Row, row, source
from tests.storage import Steps, StorageWithEngine

D1, D2, D3, D4, D5 = (date(2025, 1, day) for day in range(1, 6))
ALL = Window(D1, D5)


def loan(loan_id: str, booked_on: date, **over: Any) -> Row:
    """100.00 at 0 %, so that nothing accrues and no payment leaves a trace but its own."""
    terms: Row = {
        "originated_on": booked_on,
        "first_due_on": date(2025, 2, 1),
        "frequency": "monthly",
        "instalments": 4,
        "apr": "0",
        "principal": "100.00",
        "merchant_discount": "5.00",
    }
    names = {"user_id": "U1", "merchant_id": "M1", "borrower_state": "CA", "currency": "USD", "record_number": 1}
    return row(Loan, loan_id=loan_id, booked_on=booked_on, product="installment", **names, **{**terms, **over})


def paid(transaction_id: str, loan_id: str, posted_on: date, kind: str, amount: str) -> Row:
    of = {"transaction_id": transaction_id, "loan_id": loan_id, "product": "installment", "record_number": 1}
    return row(Transaction, **of, kind=kind, amount=amount, posted_on=posted_on, effective_on=posted_on)


# Not paid since September: charged off on D3, its 120th day past due, unless something comes for it by then.
LATE = {"originated_on": date(2024, 8, 5), "first_due_on": date(2024, 9, 5)}
EARLIER = {**LATE, "first_due_on": date(2024, 9, 4)}
LOANS = (loan("late", D1, **LATE), loan("repaid", D1), loan("new", D3))
TRANSACTIONS = (
    paid("T1", "repaid", D2, "payment", "100.00"),
    paid("T2", "late", D4, "recovery", "20.00"),
)


def came_in(transactions: Iterable[Row] = TRANSACTIONS, loans: Iterable[Row] = LOANS) -> tuple[Dataset, ...]:
    return (
        source("loans", Loan, "booked_on", loans),
        source("transactions", Transaction, "posted_on", transactions),
        source("suspense", Suspense, "as_of", ()),
        source("adjustments", Adjustment, "posted_on", ()),
    )


class Lender:
    """The books of a few loans, a step of its own for each dataset."""

    def __init__(self, steps: Steps, runs: int = 0) -> None:
        """`runs`: how many there have been on this lake."""
        self.steps = steps
        self.runs = runs
        self.sources = came_in()

    def book(self, transactions: Iterable[Row] = TRANSACTIONS, loans: Iterable[Row] = LOANS) -> None:
        """Publish what came in the five days; again, if it was corrected."""
        self.sources = came_in(transactions, loans)
        for each in self.sources:
            self.run(ALL, each)

    def run(self, window: Window, *datasets: Dataset) -> None:
        for each in datasets:
            self.runs += 1
            upstream = (*self.sources, loan_balances)
            self.steps.run(each, window, upstream=upstream, run=f"run{self.runs}")

    def is_refused(self, window: Window, dataset: Dataset, differs: str) -> None:
        """By the audit of the next day alone, which shows what it found and what to run instead; nothing is changed."""
        before = self.rows(dataset)
        with pytest.raises(AuditsFailed) as caught:
            self.run(window, dataset)
        assert [each.name for each in caught.value.outcomes if not each.passed] == ["next_day_opens_as_closed"]
        assert f"differs={differs}, run_instead={Window(window.first, D5)}" in str(caught.value)
        assert self.rows(dataset) == before

    def rows(self, dataset: Dataset) -> list[tuple[Any, ...]]:
        """By loan and day."""
        return sorted(self.steps.rows(dataset, order="loan_id"), key=lambda row: row[:2])

    def values(self, dataset: Dataset, loan_id: str, name: str) -> list[Any]:
        rows = self.steps.new_storage().by_name(dataset.table, order="as_of")
        return [each[name] for each in rows if each["loan_id"] == loan_id]


def catalog_in(folder: Path) -> IcebergCatalog:
    return IcebergCatalog(uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}/warehouse")


@dataclass(frozen=True)
class Booked:
    """A lake with the books of the five days."""

    folder: Path
    runs: int


@pytest.fixture(scope="module")
def booked(engine: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Booked:
    folder = tmp_path_factory.mktemp("booked")
    catalog, landing = catalog_in(folder), LandingZone(str(folder / "landing"))
    opens = opens_engine(engine, catalog.spark_conf(), request)
    lender = Lender(Steps(lambda: StorageWithEngine(catalog.load(), landing, catalog.name, opens=opens)))
    lender.book()
    lender.run(ALL, loan_balances, charge_offs)
    return Booked(folder, lender.runs)


@pytest.fixture
def catalog(booked: Booked, tmp_path: Path) -> IcebergCatalog:
    """Begins with what is booked, and reads its files: what a test publishes then is in its own lake alone."""
    shutil.copy(booked.folder / "catalog.db", tmp_path)
    return catalog_in(tmp_path)


@pytest.fixture
def lender(booked: Booked, steps: Steps) -> Lender:
    return Lender(steps, booked.runs)


def without(transaction_id: str, *instead: Row) -> list[Row]:
    return [*(each for each in TRANSACTIONS if each["transaction_id"] != transaction_id), *instead]


def test_the_loans_are_as_the_tests_take_them_to_be(lender: Lender) -> None:
    assert lender.values(loan_balances, "late", "status") == ["open", "open", *["charged_off"] * 3]
    assert lender.values(loan_balances, "late", "opening_refunded") == [Decimal("0.00")] * 5
    assert lender.values(loan_balances, "repaid", "opening_settled_on") == [None, None, D2, D2, D2]
    assert lender.values(charge_offs, "late", "principal_recovered") == [
        Decimal(each) for each in ("0.00", "20.00", "20.00")
    ]


CORRECTED = [
    pytest.param(
        {"transactions": [*TRANSACTIONS, paid("T3", "late", D3, "refund", "100.00")]},
        Window(D3, D3),
        "refunded closed as 100.00, opens as 0.00; discount_returned closed as 5.00, opens as 0.00; "
        "highest_days_past_due closed as 119, opens as 120; charged_off_on closed as null, opens as 2025-01-03; "
        "charged_off_principal closed as 0.00, opens as 100.00; settled_on closed as 2025-01-03, opens as null",
        id="charge-off undone by a refund",
    ),
    pytest.param(
        {"transactions": [*TRANSACTIONS, paid("T3", "late", D4, "recovery", "1.00")]},
        Window(D4, D4),
        "recovered_principal closed as 21.00, opens as 20.00",
        id="recovery added",
    ),
    pytest.param(
        {"transactions": without("T2", paid("T2", "late", D4, "refund", "20.00"))},
        Window(D4, D4),
        "refunded closed as 20.00, opens as 0.00; discount_returned closed as 1.00, opens as 0.00",
        id="recovery that was a refund",
    ),
    pytest.param(
        {"transactions": [*TRANSACTIONS, {**paid("T0", "repaid", D1, "payment_reversal", "100.00"), "reverses": "T1"}]},
        Window(D1, D1),
        "unapplied closed as -100.00, opens as 0.00",
        id="reversal that its payment did not know of",
    ),
    pytest.param(
        {"transactions": without("T1", paid("T1", "repaid", D3, "payment", "100.00"))},
        Window(D2, D3),
        "settled_on closed as 2025-01-03, opens as 2025-01-02",
        id="settled a day later",
    ),
    pytest.param(
        {"loans": [loan("late", D1, **EARLIER), *LOANS[1:]]},
        Window(D1, D3),
        "charged_off_on closed as 2025-01-02, opens as 2025-01-03; "
        "first_due_on closed as 2024-09-04, opens as 2024-09-05; due_day closed as 4, opens as 5; "
        "effective_rate closed as 24.93617398, opens as 24.60672618",
        id="charged off a day earlier",
    ),
    pytest.param(
        {"loans": [*LOANS[:2], loan("new", D3, apr="9.99", first_due_on=date(2025, 2, 2), merchant_discount="6.00")]},
        Window(D3, D3),
        "deferred_discount closed as 6.00000000, opens as 5.00000000; "
        "first_due_on closed as 2025-02-02, opens as 2025-02-01; apr closed as 9.990000, opens as 0.000000; "
        "merchant_discount closed as 6.00, opens as 5.00; instalment closed as 25.53, opens as 25.00; "
        "due_day closed as 2, opens as 1; effective_rate closed as 40.99434469, opens as 25.79426182",
        id="terms",
    ),
]


@pytest.mark.parametrize(("correction", "window", "differs"), CORRECTED)
def test_a_correction_that_the_next_day_does_not_know_of_is_refused(
    lender: Lender, correction: dict[str, list[Row]], window: Window, differs: str
) -> None:
    lender.book(**correction)
    lender.is_refused(window, loan_balances, differs)


def test_a_correction_is_published_with_the_days_after_it(lender: Lender) -> None:
    before = lender.rows(loan_balances)
    lender.book(transactions=[*TRANSACTIONS, paid("T3", "late", D3, "refund", "100.00")])
    lender.run(Window(D3, D5), loan_balances, charge_offs)
    corrected = lender.rows(loan_balances)
    assert corrected != before
    assert len(corrected) == len(before)


def test_days_in_the_middle_that_close_as_they_did_are_published(lender: Lender) -> None:
    before = lender.rows(loan_balances), lender.rows(charge_offs)
    for window in (Window(D2, D3), Window(D4, D4)):
        lender.run(window, loan_balances, charge_offs)
    assert (lender.rows(loan_balances), lender.rows(charge_offs)) == before


CHARGE_OFFS = [
    pytest.param(
        {"transactions": [*TRANSACTIONS, paid("T3", "late", D3, "refund", "100.00")]},
        Window(D3, D3),
        "principal closed as 0.00, opens as 100.00; principal_recovered closed as 0.00, opens as 20.00",
        id="charge-off undone by a refund",
    ),
    pytest.param(
        {"transactions": [*TRANSACTIONS, paid("T3", "late", D4, "recovery", "1.00")]},
        Window(D4, D4),
        "principal_recovered closed as 21.00, opens as 20.00",
        id="recovery added",
    ),
    pytest.param(
        {"loans": [loan("late", D1, **EARLIER), *LOANS[1:]]},
        Window(D2, D3),
        "charged_off_on closed as 2025-01-02, opens as 2025-01-03",
        id="charged off a day earlier",
    ),
]


@pytest.mark.parametrize(("correction", "window", "differs"), CHARGE_OFFS)
def test_charge_offs_of_corrected_balances_are_run_with_the_days_after_them(
    lender: Lender, correction: dict[str, list[Row]], window: Window, differs: str
) -> None:
    lender.book(**correction)
    lender.run(ALL, loan_balances)
    lender.is_refused(window, charge_offs, differs)
    lender.run(Window(window.first, D5), charge_offs)
