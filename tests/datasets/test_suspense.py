"""Cash that waits for its loan: day by day, in a range, and what its audits refuse."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from affirm_assets.datasets.loans.loans import Loan
from affirm_assets.datasets.transactions.suspense import suspense
from affirm_assets.datasets.transactions.transactions import Transaction
from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.partitions import Window
from affirm_assets.steps.audits_failed import AuditsFailed
from tests.datasets.lender import source
from tests.storage import Steps

D1, D2, D3, D4, D5 = (date(2025, 1, day) for day in range(1, 6))
ALL = Window(D1, D5)


def one(day: date) -> Window:
    return Window(day, day)


def transaction(name: str, posted_on: date, loan_id: str | None, **over: Any) -> dict[str, Any]:
    return {
        "transaction_id": name,
        "posted_on": posted_on,
        "loan_id": loan_id,
        "merchant_id": None,
        "product": "none",
        "kind": "payment",
        "amount": Decimal("10.00"),
        "effective_on": posted_on,
        "reverses": None,
        "file": "f",
        "record_number": 1,
        **over,
    }


def loan(name: str, booked_on: date) -> dict[str, Any]:
    return {
        "loan_id": name,
        "booked_on": booked_on,
        "user_id": "U1",
        "merchant_id": "M1",
        "borrower_state": "CA",
        "product": "pay_in_4",
        "principal": Decimal("100.00"),
        "merchant_discount": Decimal("0.00"),
        "apr": Decimal("0"),
        "instalments": 4,
        "frequency": "biweekly",
        "originated_on": booked_on,
        "first_due_on": booked_on,
        "currency": "USD",
        "instalment": None,
        "due_day": None,
        "file": "f",
        "record_number": 1,
    }


TRANSACTIONS = (
    transaction("taken-up", D1, "late"),
    transaction("next-day", D2, "late", kind="recovery", amount=Decimal("0.01")),
    transaction("never", D2, "unknown", kind="refund", merchant_id="M1", amount=Decimal("7.50")),
    transaction("goes-out", D2, "late", kind="credit_refund", amount=Decimal("3.00")),
    transaction("undone", D4, "unknown", kind="payment_reversal", reverses="never", amount=Decimal("7.50")),
    transaction("known", D4, "late", product="pay_in_4"),
    transaction("payout", D1, None, kind="merchant_payout", merchant_id="M1"),
)
LOANS = (loan("late", D3), loan("other", D2))


class Business:
    """The days of a business in which these transactions and loans were booked."""

    def __init__(self, steps: Steps) -> None:
        self.steps = steps
        self.upstream: tuple[Dataset, ...] = ()
        self.runs = 0
        self.book()

    def book(self, transactions: Any = TRANSACTIONS, loans: Any = LOANS) -> None:
        self.upstream = (
            source("transactions", Transaction, "posted_on", tuple(transactions)),
            source("loans", Loan, "booked_on", tuple(loans)),
        )
        for each in self.upstream:
            self._run(each, ALL)

    def run(self, window: Window, dataset: Dataset = suspense) -> None:
        self._run(dataset, window, upstream=self.upstream)

    def rows(self) -> list[tuple[Any, ...]]:
        """transaction_id, as_of, waiting_since, taken_up_on, opening, closing."""
        names = ("transaction_id", "as_of", "waiting_since", "taken_up_on", "opening", "closing")
        rows = self.steps.new_storage().by_name(suspense.table, order="as_of")
        return sorted(tuple(row[name] for name in names) for row in rows)

    def _run(self, dataset: Dataset, window: Window, **over: Any) -> None:
        self.runs += 1
        self.steps.run(dataset, window, run=f"run{self.runs}", **over)


@pytest.fixture
def business(steps: Steps) -> Business:
    return Business(steps)


def waits(name: str, since: date, amount: str, *days: date, taken_up: date | None = None) -> list[tuple[Any, ...]]:
    nothing, all_of_it = Decimal("0.00"), Decimal(amount)
    return [
        (
            name,
            day,
            since,
            day if day == taken_up else None,
            nothing if day == since else all_of_it,
            nothing if day == taken_up else all_of_it,
        )
        for day in days
    ]


EXPECTED = [
    *waits("goes-out", D2, "-3.00", D2, D3, taken_up=D3),
    *waits("never", D2, "7.50", D2, D3, D4, D5),
    *waits("next-day", D2, "0.01", D2, D3, taken_up=D3),
    *waits("taken-up", D1, "10.00", D1, D2, D3, taken_up=D3),
    *waits("undone", D4, "-7.50", D4, D5),
]


@pytest.mark.parametrize(
    "windows",
    [
        pytest.param([ALL], id="range"),
        pytest.param([one(day) for day in (D1, D2, D3, D4, D5)], id="day by day"),
        pytest.param([one(D1), Window(D2, D5)], id="range that begins with something waiting"),
        pytest.param([Window(D1, D2), one(D3), Window(D4, D5)], id="taken up in a window of its own"),
    ],
)
def test_a_transaction_waits_until_its_loan_is_booked(business: Business, windows: list[Window]) -> None:
    for window in windows:
        business.run(window)
    assert business.rows() == EXPECTED


def test_what_a_transaction_says_is_kept(business: Business) -> None:
    business.run(ALL)
    rows = business.steps.new_storage().by_name(suspense.table, order="as_of")
    row = next(each for each in rows if each["transaction_id"] == "undone")
    kept = ("loan_id", "merchant_id", "kind", "amount", "effective_on", "reverses")
    assert tuple(row[name] for name in kept) == ("unknown", None, "payment_reversal", Decimal("7.50"), D4, "never")


def test_a_loan_booked_twice_takes_up_on_its_first_day(business: Business) -> None:
    business.book(loans=(*LOANS, loan("late", D5)))
    business.run(ALL)
    assert business.rows() == EXPECTED


def test_days_without_anything_in_suspense_have_no_rows(business: Business) -> None:
    business.book(transactions=())
    business.run(ALL)
    assert business.rows() == []


Transform = Callable[[DataFrame, DataFrame, DataFrame, Window], DataFrame]


def wrong(transform: Transform) -> Dataset:
    def changed(previous_partition: DataFrame, transactions: DataFrame, loans: DataFrame, window: Window) -> DataFrame:
        return transform(previous_partition, transactions, loans, window)

    return replace(suspense, function=changed)


def staged(condition: str) -> Transform:
    """What the transform gives, without some of it."""
    return lambda *inputs: suspense(*inputs).where(condition)


def without_loans(waiting: DataFrame, transactions: DataFrame, loans: DataFrame, window: Window) -> DataFrame:
    return suspense(waiting, transactions, loans.where("false"), window)


def of_another_sign(*inputs: Any) -> DataFrame:
    return suspense(*inputs).withColumns({name: -F.col(name) for name in ("opening", "closing")})


def taken_up_too_early(waiting: DataFrame, transactions: DataFrame, loans: DataFrame, window: Window) -> DataFrame:
    return suspense(waiting, transactions, loans.withColumn("booked_on", F.date_sub("booked_on", 1)), window)


def one_for_the_other(*inputs: Any) -> DataFrame:
    """Of two transactions of one amount, the wrong one is taken up."""
    is_a = F.col("transaction_id") == "a"
    swapped = {
        "transaction_id": F.when(is_a, "b").otherwise("a"),
        "loan_id": F.when(is_a, "unknown").otherwise("late"),
    }
    return suspense(*inputs).withColumns(swapped)


@pytest.mark.parametrize(
    ("transform", "audit"),
    [
        pytest.param(staged("transaction_id <> 'undone'"), "waiting_adds_up", id="arrival lost"),
        pytest.param(staged("taken_up_on IS NULL"), "opens_as_closed", id="taken up without a last row"),
        pytest.param(of_another_sign, "waiting_adds_up", id="other sign"),
        pytest.param(taken_up_too_early, "waiting_adds_up", id="taken up a day early"),
        pytest.param(without_loans, "none_waits_for_a_booked_loan", id="not taken up"),
        pytest.param(staged("as_of < DATE'2025-01-05'"), "opens_as_closed", id="last day lost"),
        pytest.param(staged("kind <> 'refund' OR as_of <> DATE'2025-01-03'"), "opens_as_closed", id="one lost"),
    ],
)
def test_a_transform_that_errs_is_stopped_by_its_audit(business: Business, transform: Transform, audit: str) -> None:
    with pytest.raises(AuditsFailed) as caught:
        business.run(ALL, wrong(transform))
    assert audit in {each.name for each in caught.value.outcomes if not each.passed}


def test_what_waited_before_the_window_may_not_be_lost(business: Business) -> None:
    business.run(Window(D1, D3))
    forgetful = wrong(lambda waiting, *others: suspense(waiting.where("false"), *others))
    with pytest.raises(AuditsFailed, match=r"opens_as_closed: 1 of \d failed") as caught:
        business.run(one(D4), forgetful)
    assert [each.name for each in caught.value.outcomes if not each.passed] == ["opens_as_closed"]


def test_totals_that_agree_do_not_hide_who_was_taken_up(business: Business) -> None:
    business.book(transactions=(transaction("a", D1, "late"), transaction("b", D1, "unknown")))
    with pytest.raises(AuditsFailed) as caught:
        business.run(ALL, wrong(one_for_the_other))
    assert [each.name for each in caught.value.outcomes if not each.passed] == ["none_waits_for_a_booked_loan"]


def test_a_transaction_that_did_not_see_its_loan_is_refused(business: Business) -> None:
    """The transactions of the day were booked before its loans were run again."""
    business.book(loans=(*LOANS, loan("unknown", D2)))
    with pytest.raises(AuditsFailed, match="none_waits_for_a_booked_loan"):
        business.run(Window(D1, D2))


def test_a_day_in_the_middle_that_leaves_something_else_names_the_range_to_run(business: Business) -> None:
    business.run(ALL)
    business.book(transactions=(*TRANSACTIONS, transaction("found", D3, "unknown")))
    says = r"(?s)next_day_opens_as_closed: 1 of \d failed .*, run_instead=2025-01-03\.\.\.2025-01-05"
    with pytest.raises(AuditsFailed, match=says):
        business.run(one(D3))
    assert business.rows() == EXPECTED
    business.run(Window(D3, D5))
    assert business.rows() == sorted([*EXPECTED, *waits("found", D3, "10.00", D3, D4, D5)])


@pytest.mark.parametrize(
    ("correction", "found"),
    [
        pytest.param({"loan_id": "another"}, "loan_id unknown is now another", id="loan"),
        pytest.param({"kind": "payment"}, "kind refund is now payment", id="kind of one sign"),
        pytest.param({"effective_on": D1}, "effective_on 2025-01-02 is now 2025-01-01", id="effective date"),
        pytest.param({"merchant_id": None}, "merchant_id M1 is now null", id="merchant"),
    ],
)
def test_a_day_in_the_middle_whose_money_waits_for_something_else_is_refused(
    business: Business, correction: dict[str, Any], found: str
) -> None:
    """As much is in suspense; but the next day says of it what the correction took back."""
    business.run(ALL)
    never = next(each for each in TRANSACTIONS if each["transaction_id"] == "never")
    business.book([{**each, **correction} if each is never else each for each in TRANSACTIONS])
    was, now = found.split(" is now ")
    name, was = was.split(" ")
    differs = f"differs={name} closed as {now}, opens as {was}, run_instead="
    with pytest.raises(AuditsFailed, match=rf"(?s)next_day_opens_as_closed: 1 of \d failed .*{differs}"):
        business.run(one(D2))
    assert business.rows() == EXPECTED
    business.run(Window(D2, D5))


def test_a_day_in_the_middle_that_leaves_the_same_is_published(business: Business) -> None:
    business.run(ALL)
    business.run(Window(D2, D3))
    business.run(one(D4))
    assert business.rows() == EXPECTED
