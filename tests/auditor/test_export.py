"""`affirm export` of real tables: which rows, as of when, and what is refused."""

import csv
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import affirm_assets.datasets
from affirm_assets.cli import main
from affirm_assets.close import Ledger, close_month
from affirm_assets.declare.contract import money_of
from affirm_assets.declare.registry import Registry
from affirm_assets.errors import CloseRefused
from affirm_assets.export import run
from affirm_assets.export.errors import (
    ExportDiffers,
    FileRefused,
    PartitionMalformed,
    PartitionNotPublished,
    ReportUnknown,
)
from affirm_assets.export.formats import FORMATS
from affirm_assets.export.report import NOT_KNOWN, Report, find
from affirm_assets.export.run import export
from affirm_assets.restate import begin, end
from affirm_assets.steps.published import PARTIAL, RECENT
from affirm_assets.steps.tables import main_history
from tests.auditor.conftest import FIRST, LAST, PAID, Lake
from tests.integration.books import Books

DATASETS = {each.name: each for each in Registry.walk(affirm_assets.datasets).in_order()}
TAPE, JANUARY = "portfolio.funding_tape", date(2025, 1, 1)
NOW = datetime(2025, 2, 3, 9, 30, tzinfo=UTC)
ENDINGS = [*FORMATS]


@pytest.fixture
def books(lake: Lake, tmp_path: Path) -> Books:
    """Of a lake of its own, which begins as the one of all tests."""
    (tmp_path / "lake").mkdir()
    return lake.books.fork(tmp_path / "lake")


def ledger(books: Books) -> Ledger:
    return Ledger(books.catalog, DATASETS, FIRST)


def tape(books: Books) -> Report:
    return find(ledger(books), "funding_tape", "2025-01")


def said(report: Report, to: Path) -> Mapping[str, Any]:
    return dict(export(report, to).said)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def changed(books: Books) -> None:
    """Below the platform: each loan's principal is another now."""
    table = books.catalog.load_table(TAPE)
    rows = table.scan().to_arrow()
    wrong = pa.Table.from_pylist([{**each, "principal": Decimal("1.00")} for each in rows.to_pylist()], rows.schema)
    table.overwrite(wrong)


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_rows_of_the_table_come_in_the_order_of_their_key_with_their_totals(
    lake: Lake, tmp_path: Path, ending: str
) -> None:
    rows = lake.books.rows(TAPE)
    found = said(tape(lake.books), tmp_path / f"tape{ending}")
    amounts = money_of(DATASETS["funding_tape"].contract)
    assert {name: found[f"sum of {name}"] for name in amounts} == {
        name: sum(each[name] for each in rows) for name in amounts
    }
    table = lake.books.catalog.load_table(TAPE)
    snapshot = table.current_snapshot()
    assert snapshot
    assert snapshot.summary
    assert {name: found[name] for name in list(found)[:8]} == {
        "dataset": "portfolio/funding_tape",
        "partition": "2025-01",
        "closed": "no",
        "read from": "branch main",
        "snapshot id": str(snapshot.snapshot_id),
        "run id": snapshot.summary["affirm.run-id"],
        "changed since by others": "no",
        "rows": len(rows),
    }


def test_a_csv_file_holds_the_table_and_its_totals_lie_beside_it(lake: Lake, tmp_path: Path) -> None:
    done = export(tape(lake.books), tmp_path / "tape.csv")
    assert [each.name for each in done.files] == ["tape.csv", "tape.csv.totals.csv"]
    expected = sorted(lake.books.rows(TAPE), key=lambda each: each["loan_id"])
    found = rows_of(tmp_path / "tape.csv")
    assert list(found[0]) == [*DATASETS["funding_tape"].contract.model_fields]
    assert found == [{name: "" if value is None else str(value) for name, value in each.items()} for each in expected]
    totals = {each["item"]: each["value"] for each in rows_of(tmp_path / "tape.csv.totals.csv")}
    assert totals == {what: str(value) for what, value in done.said}
    assert {each.name for each in tmp_path.iterdir()} == {"tape.csv", "tape.csv.totals.csv"}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_second_export_is_the_same_file_although_other_partitions_were_published_since(
    books: Books, tmp_path: Path, ending: str
) -> None:
    files = [tmp_path / f"{name}{ending}" for name in ("one", "other")]
    for number, to in enumerate(files):
        export(find(ledger(books), "portfolio/portfolio_daily", "2025-01-30"), to)
        if not number:
            books.materialize("portfolio/portfolio_daily", LAST)
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("report", ["trial_balance", "ledger/trial_balance"])
def test_any_report_is_exported_by_its_short_name_or_its_key(lake: Lake, tmp_path: Path, report: str) -> None:
    found = said(find(ledger(lake.books), report, "2025-01-30"), tmp_path / "balance.parquet")
    assert (found["rows"], found["sum of closing"]) == (16, Decimal("0.00"))
    assert pq.read_table(tmp_path / "balance.parquet").num_rows == 16


def test_a_closed_month_is_exported_as_it_was_closed(books: Books, tmp_path: Path) -> None:
    before = said(tape(books), tmp_path / "open.csv")
    close_month(ledger(books), JANUARY, "E0007", NOW)
    changed(books)
    found = said(tape(books), tmp_path / "closed.csv")
    assert (found["closed"], found["read from"]) == ("yes", "tag close-2025-01")
    assert (found["close"], "run id" in found) == ("2025-01, number 1", False)
    differs = ("closed", "read from", "run id", "changed since by others", "close")
    assert {k: v for k, v in found.items() if k not in differs} == {k: v for k, v in before.items() if k not in differs}
    assert (tmp_path / "open.csv").read_bytes() == (tmp_path / "closed.csv").read_bytes()
    of_day = find(ledger(books), "portfolio_daily", "2025-01-31")
    assert (of_day.is_closed, of_day.read_from) == (True, "tag close-2025-01")
    assert not find(ledger(books), "portfolio_daily", "2025-02-01").is_closed


def test_a_month_that_was_closed_anew_is_exported_as_it_was_closed_last(books: Books) -> None:
    close_month(ledger(books), JANUARY, "E0007", NOW)
    begin(ledger(books), date(2025, 1, 31), "To look", "E0008", NOW)
    assert tape(books).read_from == "tag close-2025-01"
    end(ledger(books), "E0008", NOW)
    assert tape(books).read_from == "tag close-2025-01-2"
    assert tape(books).origin["close"] == "2025-01, number 2"


def test_a_report_that_is_newer_than_the_close_is_not_closed(books: Books) -> None:
    without = {name: each for name, each in DATASETS.items() if name != "funding_tape"}
    close_month(replace(ledger(books), datasets=without), JANUARY, "E0007", NOW)
    assert (tape(books).is_closed, tape(books).read_from) == (False, "branch main")
    assert find(ledger(books), "originations_monthly", "2025-01").is_closed


def test_a_closed_month_whose_tag_somebody_removed_is_refused(books: Books) -> None:
    close_month(ledger(books), JANUARY, "E0007", NOW)
    closed = tape(books).snapshot
    changed(books)
    table = books.catalog.load_table(TAPE)
    table.manage_snapshots().remove_tag("close-2025-01").commit()
    table.maintenance.expire_snapshots().by_id(closed).commit()
    with pytest.raises(
        PartitionNotPublished, match=rf"expected snapshot {closed}, as the month was closed \(tag close-"
    ):
        tape(books)


def test_the_run_is_named_as_long_as_the_table_remembers_it(lake: Lake, books: Books) -> None:
    table = books.catalog.load_table("portfolio.portfolio_daily")
    *_, first = main_history(table)
    table.maintenance.expire_snapshots().by_id(first.snapshot_id).commit()

    def run_of(partition: str) -> tuple[str, str]:
        found = find(ledger(books), "portfolio_daily", partition)
        return found.origin["snapshot id"], found.origin["run id"]

    assert run_of("2025-01-30") == (str(first.snapshot_id), lake.first_run)  # by the record of publishes
    newest, *_ = json.loads(table.properties[RECENT])
    with table.transaction() as others:
        others.set_properties({RECENT: json.dumps([newest])})
    assert run_of("2025-01-30") == (NOT_KNOWN, NOT_KNOWN)
    assert run_of("2025-02-02")[1] == lake.second_run


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nonsense", r"nonsense: expected a report, one of .*portfolio/funding_tape.*; found no dataset of that name"),
        ("landing/loan_rows", r"expected a report without personal data.* found the personal columns borrower_email"),
        ("borrowers", "loans/borrowers: expected a report without personal data"),
        ("loan_balances", "found a dataset that reports are made from"),
    ],
)
def test_what_is_no_report_is_refused(lake: Lake, name: str, says: str) -> None:
    with pytest.raises(ReportUnknown, match=says):
        find(ledger(lake.books), name, "2025-01")


@pytest.mark.parametrize(
    ("report", "partition", "expected"),
    [
        ("funding_tape", "2025-13", "a month, such as 2025-01; found '2025-13'"),
        ("funding_tape", "2025-1", "a month, such as 2025-01; found '2025-1'"),
        ("funding_tape", "2025-01-31", "a month, such as 2025-01; found '2025-01-31'"),
        ("funding_tape", "", "a month, such as 2025-01; found ''"),
        ("trial_balance", "2025-01", "a date, such as 2025-01-31; found '2025-01'"),
        ("trial_balance", "2025-02-29", "a date, such as 2025-01-31; found '2025-02-29'"),
    ],
)
def test_a_partition_that_is_none_is_refused(lake: Lake, report: str, partition: str, expected: str) -> None:
    with pytest.raises(PartitionMalformed, match=expected):
        find(ledger(lake.books), report, partition)


def test_a_partition_that_is_not_published_is_refused(lake: Lake) -> None:
    with pytest.raises(
        PartitionNotPublished, match="funding_tape of 2025-03: expected it to be published; published is"
    ):
        find(ledger(lake.books), "funding_tape", "2025-03")
    with pytest.raises(PartitionNotPublished, match=r"published is 2025-01-27\.\.\.2025-02-02"):
        find(ledger(lake.books), "trial_balance", "2025-02-03")


def test_a_month_of_which_days_are_missing_is_refused(books: Books) -> None:
    """Somebody looks at a month that goes on, by hand; who gets the file would take it for all of it."""
    books.materialize("portfolio/funding_tape", date(2025, 2, 1))
    with pytest.raises(
        PartitionNotPublished,
        match=r"of 2025-02: expected all of it; found a part: .* not published for 2025-02-03\.\.\.2025-02-28",
    ):
        find(ledger(books), "funding_tape", "2025-02")


def test_a_month_of_which_a_day_was_published_again_is_refused(books: Books) -> None:
    books.materialize("portfolio/portfolio_daily", date(2025, 1, 30))
    with pytest.raises(
        PartitionNotPublished,
        match="made from to be up to date; found that portfolio/portfolio_daily of 2025-01-30 was",
    ):
        tape(books)
    books.materialize("portfolio/funding_tape", JANUARY)
    assert not tape(books).is_closed


def test_a_month_that_is_made_of_something_out_of_date_is_refused(books: Books) -> None:
    """However far away: of the days between, nothing is known to be right."""
    books.materialize("transactions/transactions,transactions/rejected_transactions", date(2025, 1, 30))
    for report, partition in (("funding_tape", "2025-01"), ("journal", "2025-01-30")):
        with pytest.raises(PartitionNotPublished, match=r"found that .*transactions/transactions of 2025-01-30 was"):
            find(ledger(books), report, partition)
    assert find(ledger(books), "journal", "2025-01-29").read_from == "branch main"


def test_a_month_that_was_published_before_all_of_its_days_were_is_refused_and_not_closed(books: Books) -> None:
    """However long ago: what was published since is remembered for weeks only."""
    table = books.catalog.load_table(TAPE)
    with table.transaction() as others:
        others.set_properties({PARTIAL: "2025-01-01"})
    says = "funding_tape of 2025-01-01 was published before all of its days were"
    with pytest.raises(PartitionNotPublished, match=says):
        tape(books)
    with pytest.raises(CloseRefused, match=says):
        close_month(ledger(books), JANUARY, "E0007", NOW)
    books.materialize("portfolio/funding_tape", JANUARY)
    assert books.catalog.load_table(TAPE).properties[PARTIAL] == ""
    assert not tape(books).is_closed
    books.materialize("portfolio/funding_tape", date(2025, 2, 1))
    assert books.catalog.load_table(TAPE).properties[PARTIAL] == "2025-02-01"


def test_what_others_have_committed_since_is_named(books: Books, tmp_path: Path) -> None:
    before = said(tape(books), tmp_path / "before.csv")
    changed(books)
    found = said(tape(books), tmp_path / "after.csv")
    assert before["changed since by others"] == "no"
    assert found["changed since by others"].startswith("snapshot ")
    assert (found["snapshot id"], found["run id"]) == (before["snapshot id"], before["run id"])


def test_a_file_that_cannot_be_written_is_said(lake: Lake) -> None:
    with pytest.raises(FileRefused, match=r"/proc/tape.csv: expected to write it; found .* Nothing was written"):
        export(tape(lake.books), Path("/proc/tape.csv"))
    with pytest.raises(FileRefused, match="expected a shorter name; found one of 254 characters"):
        export(tape(lake.books), Path(f"{'x' * 250}.csv"))


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_file_that_does_not_hold_the_rows_is_not_left_there(
    lake: Lake, tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was there before stays."""
    to = tmp_path / f"tape{ending}"
    to.write_text("of last month")

    def loses_a_cent(path: Path, schema: pa.Schema) -> Any:
        found = FORMATS[ending].read(path, schema)
        found.sums["principal"] -= Decimal("0.01")
        return found

    monkeypatch.setattr(run, "FORMATS", {ending: replace(FORMATS[ending], read=loses_a_cent)})
    with pytest.raises(ExportDiffers, match=r"read back from the file: principal .*\.\d\d and not .*\.\d\d\. Nothing"):
        export(tape(lake.books), to)
    assert to.read_text() == "of last month"
    assert [each.name for each in tmp_path.iterdir()] == [to.name]


def test_the_command_says_what_it_wrote(books: Books, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AFFIRM_LAKE", str(tmp_path / "lake"))
    monkeypatch.setenv("AFFIRM_FIRST_BUSINESS_DATE", str(FIRST))
    monkeypatch.setenv("AFFIRM_DEPLOYMENT", "local")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["export", "funding_tape", "2025-01", "--to", "tape.csv"])
    assert done.exit_code == 0, done.output
    assert done.output.endswith("Written: tape.csv, tape.csv.totals.csv\n")
    assert any(each["loan_id"] == PAID for each in rows_of(tmp_path / "tape.csv"))
    refused = CliRunner().invoke(main, ["export", "borrowers", "2025-01-30", "--to", "people.csv"])
    assert refused.exit_code == 1
    assert "Error: loans/borrowers: expected a report without personal data" in refused.output
    assert not (tmp_path / "people.csv").exists()
