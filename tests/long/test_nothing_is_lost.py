"""Tables that share out the records of a feed, published one by one, under code that changes in between.

A record that was booked is refused by other limits, or the other way round. Whatever is run again, and in which order:
no record is ever published in two of the tables, or in none of them, by a run whose audits pass.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import create_execution_plan, execute_run

from affirm_assets.datasets.adjustments import _fates as adjustment_fates
from affirm_assets.datasets.loans import _fates as loan_fates
from affirm_assets.datasets.transactions import _fates as transaction_fates
from affirm_assets.lender.products import PRODUCTS
from resources.spark import SparkSessions
from tests.integration.books import Books, adjustment, jsonl, loan, range_tags, transaction

DAY = date(2025, 1, 2)
NEXT_DAY = DAY + timedelta(days=1)
LIMIT = Decimal("500.00")


@dataclass(frozen=True)
class Feed:
    """A feed whose tables are filled by the same decision, and code that decides otherwise: it refuses the large."""

    name: str
    rows: str
    accepted: str
    rejected: str
    module: Any
    limits: Mapping[str, Any]
    records: Mapping[date, tuple[Mapping[str, Any], ...]]
    others: tuple[str, ...] = ()

    @property
    def all(self) -> str:
        return ",".join((self.rows, self.accepted, *self.others, self.rejected))


_LOW = {name: replace(limits, most_principal=LIMIT) for name, limits in PRODUCTS.items()}

FEEDS = {
    "loans": Feed(
        "loans",
        "landing/loan_rows",
        "loans/loans",
        "loans/rejected_loans",
        loan_fates,
        {"PRODUCTS": _LOW},
        {
            day: (
                loan(loan_id=f"small-{day}", user_id="U1", principal="100.00", merchant_discount="1.00"),
                loan(loan_id=f"large-{day}", user_id="U2", principal="900.00", merchant_discount="1.00"),
                loan(loan_id=f"small-{day}", user_id="U1", principal="100.00", merchant_discount="1.00"),
                loan(loan_id=f"bad-{day}", user_id="U3", principal="1e2"),
            )
            for day in (DAY, NEXT_DAY)
        },
        ("loans/borrowers",),
    ),
    "transactions": Feed(
        "transactions",
        "landing/transaction_rows",
        "transactions/transactions",
        "transactions/rejected_transactions",
        transaction_fates,
        {"MOST_LOAN_CASH": LIMIT},
        {
            day: (
                transaction(transaction_id=f"small-{day}", amount="100.00"),
                transaction(transaction_id=f"large-{day}", amount="900.00"),
                transaction(transaction_id=f"small-{day}", amount="100.00"),
                transaction(transaction_id=f"bad-{day}", amount="1e2"),
            )
            for day in (DAY, NEXT_DAY)
        },
    ),
    "adjustments": Feed(
        "adjustments",
        "landing/adjustment_rows",
        "adjustments/adjustments",
        "adjustments/rejected_adjustments",
        adjustment_fates,
        {"MOST_LOAN_CASH": LIMIT},
        {
            day: (
                adjustment(adjustment_id=f"small-{day}", amount="100.00"),
                adjustment(adjustment_id=f"large-{day}", amount="900.00"),
                adjustment(adjustment_id=f"small-{day}", amount="100.00"),
                adjustment(adjustment_id=f"bad-{day}", amount="1e2"),
            )
            for day in (DAY, NEXT_DAY)
        },
    ),
}


@dataclass
class Lakes:
    """Lakes that tests begin with, each made once, and then forked."""

    folder: Path
    sessions: SparkSessions
    landed: dict[str, Books] = field(default_factory=dict)
    published: dict[tuple[str, bool], Books] = field(default_factory=dict)

    def with_landed(self, feed: Feed) -> Books:
        """The feed's records have landed; what its steps need beside is published."""
        if feed.name not in self.landed:
            books = Books(self._new_folder(f"{feed.name} landed"), self.sessions)
            # What the others are on; its days must have been published.
            books.land("loans", DAY, {"part.jsonl": jsonl([loan()])})
            books.land("loans", NEXT_DAY, {})
            for day in (DAY, NEXT_DAY):
                books.land(feed.name, day, {"part.jsonl": jsonl(feed.records[day])})
            if feed.name != "loans":
                assert books.materialize("landing/loan_rows,loans/loans", DAY, NEXT_DAY).success
            self.landed[feed.name] = books
        return self.landed[feed.name]

    def with_published(self, feed: Feed, refuses_large: bool) -> Books:
        """All that becomes of the feed's records is published too, under the code that is in force."""
        name = feed.name, refuses_large
        if name not in self.published:
            books = self.with_landed(feed).fork(self._new_folder(f"{feed.name} published {refuses_large}"))
            assert books.materialize(feed.all, DAY, NEXT_DAY).success
            self.published[name] = books
        return self.published[name]

    def _new_folder(self, name: str) -> Path:
        folder = self.folder / name.replace(" ", "-")
        folder.mkdir()
        return folder


@dataclass
class Case:
    """A feed's lake, and the code that its runs are computed by."""

    lakes: Lakes
    feed: Feed
    folder: Path
    patch: pytest.MonkeyPatch
    usual: dict[str, Any] = field(default_factory=dict)
    refuses_large: bool = False

    @cached_property
    def books(self) -> Books:
        """Before anything of the feed is published, unless `begin_with_all_published`."""
        return self.lakes.with_landed(self.feed).fork(self.folder)

    def begin_with_all_published(self) -> None:
        """By one run over both days, under the code that is in force."""
        self.books = self.lakes.with_published(self.feed, self.refuses_large).fork(self.folder)

    def refuse_large(self) -> None:
        for name, value in self.feed.limits.items():
            self.usual.setdefault(name, getattr(self.feed.module, name))
            self.patch.setattr(self.feed.module, name, value)
        self.refuses_large = True

    def accept_large(self) -> None:
        for name, value in self.usual.items():
            self.patch.setattr(self.feed.module, name, value)
        self.refuses_large = False

    def run(self, select: str, first: date = DAY, last: date | None = None) -> dg.ExecuteInProcessResult:
        return self.books.materialize(select, first, last, raises=False)

    def run_steps(self, select: str, *steps: str) -> dg.JobExecutionResult:
        """Only these of the job's steps, as a run from the failure of another has them."""
        job, instance = self.books.job(select), self.books.instance
        plan = create_execution_plan(job, step_keys_to_execute=steps, tags=range_tags(DAY, DAY))
        run = instance.create_run_for_job(job, plan, status=dg.DagsterRunStatus.NOT_STARTED, tags=range_tags(DAY, DAY))
        return execute_run(InMemoryJob(job), run, instance)

    def places(self) -> Mapping[str, Counter[tuple[str, int]]]:
        """The records of each table."""
        tables = {"received": self.feed.rows, "accepted": self.feed.accepted, "rejected": self.feed.rejected}
        return {
            name: Counter(
                (row["file"], row["record_number"])
                for row in self.books.rows(key.replace("/", "."), "file", "record_number")
            )
            for name, key in tables.items()
        }

    def is_whole(self) -> bool:
        """Whether each record of the first days is in one table, but for the third of each file, which is a repeat."""
        places = self.places()
        found = places["accepted"] + places["rejected"]
        return found == Counter({place: 1 for place in places["received"] if place[1] != 3})


@pytest.fixture(scope="module")
def lakes(spark_if_needed: SparkSessions, tmp_path_factory: pytest.TempPathFactory) -> Lakes:
    return Lakes(tmp_path_factory.mktemp("lakes"), spark_if_needed)


@pytest.fixture(params=FEEDS)
def case(request: pytest.FixtureRequest, tmp_path: Path, lakes: Lakes, monkeypatch: pytest.MonkeyPatch) -> Case:
    return Case(lakes, FEEDS[request.param], tmp_path, monkeypatch)


def failed(result: dg.ExecuteInProcessResult) -> dict[str, set[str]]:
    """The audits that failed, by asset."""
    found: dict[str, set[str]] = {}
    for each in result.get_asset_check_evaluations():
        if not each.passed:
            found.setdefault(each.asset_key.to_user_string(), set()).add(each.check_name)
    return found


def messages(result: dg.ExecuteInProcessResult) -> str:
    return " ".join(str(each.event_specific_data) for each in result.get_step_failure_events())


def assert_says_what_to_do(result: dg.ExecuteInProcessResult, case: Case) -> None:
    """The file and the record, and what to run in one run."""
    message = messages(result)
    assert f"{case.feed.name}/{DAY}/part.jsonl" in message
    assert "record_number 2: " in message
    assert ",".join((case.feed.accepted, *case.feed.others, case.feed.rejected)) in message


def test_what_is_run_again_alone_under_other_code_puts_no_record_into_two_tables(case: Case) -> None:
    case.refuse_large()
    case.begin_with_all_published()
    case.accept_large()
    again = case.run(case.feed.accepted)
    assert case.is_whole(), "a record is in two tables"
    assert not again.success
    assert failed(again)[case.feed.accepted] >= {"every_record_is_accounted_for"}
    assert_says_what_to_do(again, case)


def test_what_is_run_again_alone_under_other_code_takes_no_record_out_of_all_tables(case: Case) -> None:
    case.begin_with_all_published()
    case.refuse_large()
    again = case.run(case.feed.accepted)
    assert case.is_whole(), "a record is in no table"
    assert not again.success
    assert failed(again)[case.feed.accepted] >= {"every_record_is_accounted_for"}
    assert_says_what_to_do(again, case)


@pytest.mark.parametrize("first_refuses", [True, False], ids=["into none", "into two"])
def test_the_refused_records_are_not_run_again_alone_either(case: Case, first_refuses: bool) -> None:
    if first_refuses:
        case.refuse_large()
    case.begin_with_all_published()
    case.accept_large() if first_refuses else case.refuse_large()
    again = case.run(case.feed.rejected)
    assert case.is_whole()
    assert failed(again) == {case.feed.rejected: {"every_record_is_accounted_for"}}
    assert_says_what_to_do(again, case)


def test_all_of_them_in_one_run_take_over_what_other_code_decides(case: Case) -> None:
    """Over a range and for one day in the middle, which is the deadlock that each of them alone would be in."""
    case.refuse_large()
    case.begin_with_all_published()
    case.accept_large()
    assert not case.run(case.feed.accepted).success
    assert not case.run(case.feed.rejected).success
    assert case.run(case.feed.all).success
    assert case.is_whole()
    booked = Counter(file for file, _ in case.places()["accepted"])
    assert booked == {f"{case.feed.name}/{DAY}/part.jsonl": 2, f"{case.feed.name}/{NEXT_DAY}/part.jsonl": 1}
    assert case.run(case.feed.all, DAY, NEXT_DAY).success
    assert sum(case.places()["accepted"].values()) == 4


def test_each_is_run_again_alone_where_it_decides_as_before(case: Case) -> None:
    for name in case.feed.all.split(","):  # the first time one by one, in the order in which they read each other
        assert case.run(name, DAY, NEXT_DAY).success
    for name in case.feed.all.split(","):
        for days in ((DAY, None), (DAY, NEXT_DAY)):
            assert case.run(name, *days).success
    assert case.is_whole()


def test_of_a_range_only_the_days_that_the_others_have_published_are_compared(case: Case) -> None:
    intake = f"{case.feed.rows},{case.feed.accepted}"
    case.refuse_large()
    assert case.run(case.feed.all).success
    assert case.run(intake, NEXT_DAY).success
    case.accept_large()
    assert case.run(intake, NEXT_DAY).success
    both = case.run(intake, DAY, NEXT_DAY)
    compared = [x for x in both.get_asset_check_evaluations() if x.check_name == "every_record_is_accounted_for"]
    found = [(x.partition, x.metadata["checked"].value, x.metadata["failed"].value) for x in compared]
    assert found == [(str(NEXT_DAY), 2, 0), (str(DAY), 2, 1)]


def test_a_run_from_the_failure_of_another_does_not_count_on_what_is_not_run_again(case: Case) -> None:
    """Its job still has the refused records, which the first try has published."""
    case.refuse_large()
    case.begin_with_all_published()
    case.accept_large()
    step = case.feed.accepted.replace("/", "__")
    again = case.run_steps(case.feed.all, step)
    assert [each.step_key for each in again.get_step_failure_events()] == [step]
    assert case.is_whole()


def test_borrowers_are_those_of_the_published_loans(case: Case) -> None:
    if not case.feed.others:
        pytest.skip("only loans have borrowers")
    case.refuse_large()
    case.begin_with_all_published()
    case.accept_large()
    assert failed(case.run("loans/borrowers")) == {"loans/borrowers": {"every_booked_loan_has_a_borrower"}}
    without = case.run("loans/loans,loans/rejected_loans")
    assert failed(without) == {"loans/loans": {"borrowers_are_of_these_loans"}}
    assert {row["user_id"] for row in case.books.rows("loans.borrowers", "user_id")} == {"U1"}
    assert case.is_whole()
