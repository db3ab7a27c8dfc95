"""Months that are closed: what stands against it, what is kept, what it refuses, and how it is changed all the same.

On the tables of the loans feed; tests/long/test_close_of_all_books.py closes all of them.
"""

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pyiceberg.exceptions import CommitFailedException

import affirm_assets.datasets
from affirm_assets.close import CLOSES, Ledger, close_month, closes_of
from affirm_assets.declare.contract import personal_columns
from affirm_assets.declare.registry import Registry
from affirm_assets.errors import CloseRefused, MonthClosed, RollbackRefused
from affirm_assets.orchestration.closed_date import CLOSED, CLOSED_DATE, close_of_business, closed_date_of
from affirm_assets.restate import CHANGES, begin, end, under_way
from affirm_assets.steps.closed import TAG
from affirm_assets.steps.published import RECENT, record_of
from affirm_assets.steps.request import Run
from affirm_assets.steps.rollback import roll_back
from affirm_assets.steps.tables import main_snapshot
from affirm_assets.steps.together import Change, as_loaded, load_together, set_properties
from resources.spark import SparkSessions
from tests.integration.books import LOANS, Books, jsonl, loan, range_tags

FIRST, END = date(2025, 1, 1), date(2025, 1, 31)
JANUARY, FEBRUARY = date(2025, 1, 1), date(2025, 2, 1)
LENT, LATER = date(2025, 1, 2), date(2025, 1, 20)
NOW = datetime(2025, 2, 3, 9, 30, tzinfo=UTC)
MONTHLY = "portfolio/originations_monthly"

DATASETS = {
    each.name: each
    for each in Registry.walk(affirm_assets.datasets).in_order()
    if str(each) in (*LOANS.split(","), MONTHLY)
}


def ledger(books: Books) -> Ledger:
    return Ledger(books.catalog, DATASETS, FIRST)


@pytest.fixture(scope="module")
def january(tmp_path_factory: pytest.TempPathFactory, spark_if_needed: SparkSessions) -> Books:
    """A loan of the 2nd, and all of January published."""
    books = Books(tmp_path_factory.mktemp("january"), spark_if_needed, FIRST)
    for number in range(32):
        day = FIRST + timedelta(days=number)
        books.land("loans", day, {"part.jsonl": jsonl([loan()] if day == LENT else [])})
    assert books.materialize(LOANS, FIRST, END).success
    assert books.materialize(MONTHLY, JANUARY).success
    return books


@pytest.fixture
def books(january: Books, tmp_path: Path) -> Books:
    return january.fork(tmp_path)


@pytest.fixture
def closed(books: Books) -> Books:
    close_month(ledger(books), JANUARY, "E0007", NOW)
    return books


def materialize(books: Books, select: str, first: date, last: date, **tags: str) -> dg.ExecuteInProcessResult:
    return books.job(select).execute_in_process(
        instance=books.instance, raise_on_error=False, tags={**range_tags(first, last), **tags}
    )


def errors(result: dg.ExecuteInProcessResult) -> str:
    failures = [each.step_failure_data.error for each in result.get_step_failure_events()]
    return "\n".join(each.to_string() for each in failures if each)


class TestClose:
    def test_keeps_who_when_and_the_snapshots(self, closed: Books) -> None:
        (close,) = closes_of(closed.catalog.load_table(CLOSES))
        assert (close.month, close.number, close.closed_by, close.closed_at) == (JANUARY, 1, "E0007", NOW)
        heads = {each.table: main_snapshot(closed.catalog.load_table(each.table)) for each in DATASETS.values()}
        assert {each.table: each.snapshot for each in close.tables} == heads

    def test_tags_what_has_no_personal_data(self, closed: Books) -> None:
        for each in DATASETS.values():
            refs = closed.catalog.load_table(each.table).metadata.refs
            assert ("close-2025-01" in refs) == (not personal_columns(each.contract)), each.table

    def test_the_month_is_read_as_it_was_closed_whatever_comes_after_it(self, closed: Books) -> None:
        before = closed.table("loans.loans")
        closed.land("loans", FEBRUARY, {"part.jsonl": jsonl([loan(loan_id="L2", user_id="U2")])})
        assert materialize(closed, LOANS, FEBRUARY, FEBRUARY).success
        table = closed.catalog.load_table("loans.loans")
        assert table.scan().use_ref("close-2025-01").to_arrow() == before
        assert table.scan().to_arrow().num_rows == before.num_rows + 1

    @pytest.mark.parametrize("select", ["loans/loans", "landing/loan_rows"])
    def test_nothing_is_published_into_it(self, closed: Books, select: str) -> None:
        table = closed.catalog.load_table(select.replace("/", "."))
        result = materialize(closed, select, LATER, END)
        assert not result.success
        assert (
            f"{select}: nothing was published for 2025-01-20...2025-01-31: the months through 2025-01 are closed"
            in (errors(result))
        )
        assert closed.catalog.load_table(table.name()).metadata_location == table.metadata_location

    def test_nor_is_its_month(self, closed: Books) -> None:
        result = closed.materialize(MONTHLY, JANUARY, raises=False)
        assert "2025-01-01: the months through 2025-01 are closed" in errors(result)

    def test_a_range_that_begins_in_it_is_refused_as_a_whole(self, closed: Books) -> None:
        assert "are closed" in errors(materialize(closed, "landing/loan_rows,loans/loans", END, FEBRUARY))

    @pytest.mark.parametrize("select", ["loans/loans", "landing/loan_rows"])
    def test_a_publish_that_began_before_the_close_is_refused(
        self, books: Books, monkeypatch: pytest.MonkeyPatch, select: str
    ) -> None:
        """Also of a table with personal data, which the close gives no tag."""
        from affirm_assets.steps import publish

        write = publish.NewSnapshot.write

        def closes_first(new: Any, *args: Any) -> Any:
            monkeypatch.setattr(publish.NewSnapshot, "write", write)
            snapshot = write(new, *args)
            close_month(ledger(books), JANUARY, "E0007", NOW)
            return snapshot

        monkeypatch.setattr(publish.NewSnapshot, "write", closes_first)
        table = select.replace("/", ".")
        before = main_snapshot(books.catalog.load_table(table))
        assert "are closed" in errors(materialize(books, select, LATER, LATER))
        assert closes_of(books.catalog.load_table(CLOSES))
        assert main_snapshot(books.catalog.load_table(table)) == before

    def test_closed_twice(self, closed: Books) -> None:
        with pytest.raises(CloseRefused, match=r"2025-01 is closed already: by E0007 at 2025-02-03 09:30 UTC"):
            close_month(ledger(closed), JANUARY, "E0008", NOW)

    def test_out_of_turn(self, books: Books) -> None:
        with pytest.raises(CloseRefused, match="expected 2025-01, the next one"):
            close_month(ledger(books), FEBRUARY, "E0007", NOW)
        with pytest.raises(CloseRefused, match="2024-12: expected a month from 2025-01 on"):
            close_month(ledger(books), date(2024, 12, 1), "E0007", NOW)

    def test_a_day_that_is_missing(self, closed: Books) -> None:
        with pytest.raises(CloseRefused, match="loans/loans of 2025-02-01 is not published"):
            close_month(ledger(closed), FEBRUARY, "E0007", NOW)

    def test_a_day_that_is_out_of_date(self, books: Books) -> None:
        _lend_less(books)
        assert materialize(books, "landing/loan_rows", LENT, LENT).success
        before = books.catalog.load_table("loans.loans").metadata_location
        with pytest.raises(CloseRefused, match=r"landing/loan_rows of 2025-01-02 was published again by run"):
            close_month(ledger(books), JANUARY, "E0007", NOW)
        assert books.catalog.load_table("loans.loans").metadata_location == before
        assert not closes_of(books.catalog.load_table(CLOSES))

    def test_a_day_that_a_person_has_let_pass(self, books: Books) -> None:
        bad = [loan(loan_id=f"B{number}", product="?") for number in range(9)]
        books.land("loans", LENT, {"part.jsonl": jsonl([loan(), *bad])})
        accept = {"affirm/accept": f"loans {LENT} The partner knows"}
        result = materialize(books, LOANS, LENT, END, **accept)
        assert result.success, errors(result)
        assert books.materialize(MONTHLY, JANUARY).success
        with pytest.raises(CloseRefused, match="of 2025-01-02: a person has let pass what its audit refused"):
            close_month(ledger(books), JANUARY, "E0007", NOW)
        books.land("loans", LENT, {"part.jsonl": jsonl([loan()])})
        assert materialize(books, LOANS, LENT, END).success
        assert books.materialize(MONTHLY, JANUARY).success
        assert close_month(ledger(books), JANUARY, "E0007", NOW).number == 1


def _lend_less(books: Books) -> None:
    """Another file for a day that was read: it says 900.00, not 1,000.00."""
    books.land("loans", LENT, {"part.jsonl": jsonl([loan(principal="900.00")])})


class TestRestatement:
    def test_closed_books_are_changed_and_what_changed_is_kept(self, closed: Books) -> None:
        said = begin(ledger(closed), LENT, "The partner sent another amount", "E0008", NOW)
        assert (said.id, under_way(ledger(closed))) == ("R1", said)
        _lend_less(closed)
        assert "found R1 under way, and no such tag on the run" in errors(materialize(closed, LOANS, LENT, END))
        assert "R1 under way, and the tag affirm/restatement=R9" in (
            errors(materialize(closed, LOANS, LENT, END, **{TAG: "R9"}))
        )
        assert "found R1, which begins with 2025-01-02" in errors(materialize(closed, LOANS, FIRST, END, **{TAG: "R1"}))
        assert materialize(closed, LOANS, LENT, END, **{TAG: "R1"}).success
        with pytest.raises(
            CloseRefused, match=r"R1 cannot end.*\n.*portfolio/originations_daily of 2025-01-02\.\.\.2025-01-31 was pub"
        ):
            end(ledger(closed), "E0008", NOW)
        # As a command says it, whose runs have no tags.
        by_command = replace(closed, restatement="R1")
        assert by_command.materialize(MONTHLY, JANUARY).success
        ended = end(ledger(closed), "E0008", NOW)
        assert [(each.month, each.number, each.restatement) for each in ended.closes] == [(JANUARY, 2, "R1")]
        told = {
            (each.table, each.of, each.name, each.column, each.day): (each.before, each.after) for each in ended.changes
        }
        amounts = Decimal("1000.00"), Decimal("900.00")
        assert told["loans.loans", "table", None, "principal", LENT] == amounts
        assert told["loans.loans", "loan", "L1", "principal", LENT] == amounts
        assert told["portfolio.originations_monthly", "table", None, "principal", JANUARY] == amounts
        assert {each.column for each in ended.changes} <= {"principal", "instalment"}, ended.changes
        assert len(closed.rows(CHANGES)) == len(ended.changes)
        table = closed.catalog.load_table("loans.loans")
        tags = ("close-2025-01", "close-2025-01-2")
        assert [table.scan().use_ref(tag).to_arrow()["principal"].to_pylist() for tag in tags] == [
            [each] for each in amounts
        ]
        assert under_way(ledger(closed)) is None
        assert "are closed" in errors(materialize(closed, LOANS, LENT, END, **{TAG: "R1"}))

    def test_no_month_is_closed_meanwhile(self, closed: Books) -> None:
        begin(ledger(closed), LENT, "To look", "E0008", NOW)
        assert materialize(closed, LOANS, FEBRUARY, FEBRUARY).success
        with pytest.raises(CloseRefused, match=r"restatement R1 from 2025-01-02 is under way \(To look\)"):
            close_month(ledger(closed), FEBRUARY, "E0007", NOW)

    def test_that_changes_nothing_says_so(self, closed: Books) -> None:
        begin(ledger(closed), END, "To look", "E0008", NOW)
        assert end(ledger(closed), "E0008", NOW).changes == ()

    def test_without_a_reason(self, closed: Books) -> None:
        with pytest.raises(CloseRefused, match="expected a reason, found '  '"):
            begin(ledger(closed), LATER, "  ", "E0008", NOW)

    def test_of_what_is_not_closed(self, books: Books) -> None:
        with pytest.raises(CloseRefused, match="no month is closed"):
            begin(ledger(books), LATER, "To look", "E0008", NOW)
        close_month(ledger(books), JANUARY, "E0007", NOW)
        with pytest.raises(CloseRefused, match="expected a date in a closed month, up to 2025-01-31"):
            begin(ledger(books), FEBRUARY, "To look", "E0008", NOW)
        with pytest.raises(CloseRefused, match="expected a date from 2025-01-01 on"):
            begin(ledger(books), date(2024, 12, 31), "To look", "E0008", NOW)

    def test_beside_another(self, closed: Books) -> None:
        begin(ledger(closed), LATER, "First", "E0008", NOW)
        with pytest.raises(CloseRefused, match=r"restatement R1 from 2025-01-20 is under way \(First\)"):
            begin(ledger(closed), END, "Second", "E0008", NOW)

    def test_none_to_end(self, closed: Books) -> None:
        with pytest.raises(CloseRefused, match="expected a restatement under way, found none"):
            end(ledger(closed), "E0008", NOW)


class TestRollback:
    def test_a_table_holds_again_what_a_run_published(self, books: Books) -> None:
        first = _run_of(books, "loans.loans")
        before = books.rows("loans.loans")
        _lend_less(books)
        assert materialize(books, LOANS, LENT, END).success
        assert books.rows("loans.loans") != before
        files = _data_files(books, "loans.loans")
        done = roll_back(books.catalog, DATASETS["loans"], first, Run("", ""), NOW)
        assert books.rows("loans.loans") == before
        assert _data_files(books, "loans.loans") == files  # metadata alone
        assert (done.undone, done.missing) == (("2025-01-02...2025-01-31",), ())
        # Whoever has read it is out of date, and so is it: what it was computed from was published again.
        lacking = ledger(books).lacking(ledger(books).tables(), END)
        assert any(each.startswith("loans/loans of 2025-01-02...2025-01-31 was published again") for each in lacking)
        assert any(each.startswith("landing/loan_rows of 2025-01-02...2025-01-31 was pub") for each in lacking)
        assert materialize(books, LOANS, LENT, END).success
        assert books.materialize(MONTHLY, JANUARY).success
        assert ledger(books).lacking(ledger(books).tables(), END) == []

    def test_a_day_is_published_on_a_table_that_was_rolled_back(self, books: Books) -> None:
        first = _run_of(books, "loans.loans")
        assert materialize(books, LOANS, LENT, END).success
        roll_back(books.catalog, DATASETS["loans"], first, Run("", ""), NOW)
        assert materialize(books, LOANS, FEBRUARY, FEBRUARY).success

    def test_days_that_were_not_published_then_are_missing(self, books: Books) -> None:
        first = _run_of(books, "loans.loans")
        assert materialize(books, LOANS, FEBRUARY, FEBRUARY).success
        done = roll_back(books.catalog, DATASETS["loans"], first, Run("", ""), NOW)
        assert done.missing == ("2025-02-01",)
        assert (
            ledger(books).lacking(ledger(books).tables(), FEBRUARY)[0] == "loans/loans of 2025-02-01 is not published"
        )

    def test_files_are_read_again_by_whoever_watches_them(self, books: Books) -> None:
        first = _run_of(books, "landing.loan_rows")
        _lend_less(books)
        assert materialize(books, "landing/loan_rows", LENT, LENT).success
        record = record_of(DATASETS["loan_rows"], books.catalog.load_table("landing.loan_rows"))
        assert record.folders.get("loans", LENT)
        roll_back(books.catalog, DATASETS["loan_rows"], first, Run("", ""), NOW)
        record = record_of(DATASETS["loan_rows"], books.catalog.load_table("landing.loan_rows"))
        assert record.folders.get("loans", LENT) is None
        assert record.folders.get("loans", LATER)

    def test_what_the_rows_of_then_had_read_may_be_forgotten(self, books: Books) -> None:
        """Then they count as out of date."""
        first = _run_of(books, "loans.loans")
        assert materialize(books, "loans/loans", LENT, END).success
        table = books.catalog.load_table("loans.loans")
        newest, *_ = json.loads(table.properties[RECENT])
        with table.transaction() as others:
            others.set_properties({RECENT: json.dumps([newest])})
        roll_back(books.catalog, DATASETS["loans"], first, Run("", ""), NOW)
        lacking = ledger(books).lacking(ledger(books).tables(), END)
        assert any(each.startswith("landing/loan_rows of 2025-01-01...2025-01-31") for each in lacking), lacking

    def test_what_somebody_else_wrote_is_not_undone(self, books: Books) -> None:
        first = _run_of(books, "loans.borrowers")
        assert materialize(books, "loans/borrowers", LATER, LATER).success
        books.catalog.load_table("loans.borrowers").delete("user_id = 'U1'")
        erased = main_snapshot(books.catalog.load_table("loans.borrowers"))
        with pytest.raises(RollbackRefused, match=f"found snapshot {erased}, which somebody else wrote"):
            roll_back(books.catalog, DATASETS["borrowers"], first, Run("", ""), NOW)

    def test_a_closed_month(self, closed: Books) -> None:
        with pytest.raises(RollbackRefused, match="holds already"):
            roll_back(closed.catalog, DATASETS["loans"], _run_of(closed, "loans.loans"), Run("", ""), NOW)
        said = begin(ledger(closed), LATER, "To look", "E0008", NOW)
        run = _run_of(closed, "loans.loans")
        assert materialize(closed, "loans/loans", LATER, LATER, **{TAG: said.id}).success
        with pytest.raises(MonthClosed):
            roll_back(closed.catalog, DATASETS["loans"], run, Run("", ""), NOW)
        assert roll_back(closed.catalog, DATASETS["loans"], run, Run("", "", restatement=said.id), NOW).undone

    def test_a_run_that_is_not_known(self, books: Books) -> None:
        known = _run_of(books, "loans.loans")
        with pytest.raises(RollbackRefused, match=rf"found nobody. The newest of those that are: {known}"):
            roll_back(books.catalog, DATASETS["loans"], "nobody", Run("", ""), NOW)


class TestCloseOfBusiness:
    def test_all_daily_tables_show_the_same_date(self, books: Books) -> None:
        assert close_of_business(books.catalog, DATASETS, FIRST) == END
        assert _closed_dates(books) == {END}
        assert close_of_business(books.catalog, DATASETS, FIRST) == END
        assert materialize(books, LOANS, FEBRUARY, FEBRUARY).success
        assert _closed_dates(books) == {END}
        assert close_of_business(books.catalog, DATASETS, FIRST) == FEBRUARY
        assert _closed_dates(books) == {FEBRUARY}

    def test_a_table_that_is_ahead_shows_the_date_of_the_others(self, books: Books) -> None:
        assert materialize(books, "landing/loan_rows", FEBRUARY, FEBRUARY).success
        assert close_of_business(books.catalog, DATASETS, FIRST) == END
        table = books.catalog.load_table("landing.loan_rows")
        assert table.metadata.refs[CLOSED].snapshot_id != main_snapshot(table)
        assert closed_date_of(DATASETS["loan_rows"], table) == END

    def test_a_date_that_is_not_whole_is_not_shown(self, books: Books) -> None:
        assert close_of_business(books.catalog, DATASETS, FIRST) == END
        _lend_less(books)
        assert materialize(books, "landing/loan_rows", LENT, LENT).success
        assert close_of_business(books.catalog, DATASETS, FIRST) is None
        assert _closed_dates(books) == {END}

    def test_a_commit_of_another_at_the_same_moment_is_not_lost(self, books: Books) -> None:
        """All tables move, or none: one has changed since it was loaded."""
        names = ("loans.borrowers", "loans.loans")
        loaded = [books.catalog.load_table(name) for name in names]
        with books.catalog.load_table("loans.loans").transaction() as other:
            other.set_properties({"owner": "another team"})
        changes = [Change(each, (set_properties({"moved": "yes"}),), as_loaded(each)) for each in loaded]
        with pytest.raises(CommitFailedException, match=r"loans\.loans was committed to by another"):
            books.catalog.commit_together(changes)  # type: ignore[attr-defined]
        now = [books.catalog.load_table(name).properties for name in names]
        assert ["moved" in each for each in now] == [False, False]
        assert now[1]["owner"] == "another team"


def _closed_dates(books: Books) -> set[date]:
    """What the tables say, as of one moment."""
    names = [each.table for each in DATASETS.values() if str(each) != MONTHLY]
    tables = load_together(books.catalog, names)
    assert all(CLOSED in each.metadata.refs for each in tables.values())
    return {date.fromisoformat(each.properties[CLOSED_DATE]) for each in tables.values()}


def _data_files(books: Books, name: str) -> set[Path]:
    return set(Path(books.catalog.load_table(name).location().removeprefix("file://"), "data").rglob("*.parquet"))


def _run_of(books: Books, table: str) -> str:
    snapshot = books.catalog.load_table(table).current_snapshot()
    assert snapshot
    assert snapshot.summary
    return str(snapshot.summary["affirm.run-id"])
