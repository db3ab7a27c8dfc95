"""The sample business, end to end in Dagster runs, against totals computed from the files without the platform."""

import csv
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from affirm_assets import datasets as project
from affirm_assets.declare.partitions import Window
from affirm_assets.declare.registry import Registry
from affirm_assets.lender.sample_data import SampleSummary, write_sample_data
from resources.spark import SparkSessions
from tests.integration.books import ADJUSTMENTS, BOOKS, DAILY, MONTHLY, Books

START = date(2025, 1, 1)
DAYS = 60
LAST = START + timedelta(days=DAYS - 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("business")


@pytest.fixture(scope="module")
def summary(folder: Path) -> SampleSummary:
    return write_sample_data(folder / "landing", loans=600, start=START, days=DAYS, seed=11)


@pytest.fixture(scope="module")
def books(folder: Path, summary: SampleSummary, spark_if_needed: SparkSessions) -> Books:
    return Books(folder, spark_if_needed)


@pytest.fixture(scope="module")
def run(books: Books) -> dg.ExecuteInProcessResult:
    """Sixty days in one run, and then the months."""
    result = books.materialize(f"{DAILY},{ADJUSTMENTS},{BOOKS}", START, LAST)
    books.materialize(MONTHLY, START, LAST.replace(day=1))
    return result


@pytest.mark.parametrize("feed", ["loans", "transactions"])
def test_every_planted_record_meets_its_fate(
    books: Books, run: dg.ExecuteInProcessResult, summary: SampleSummary, feed: str
) -> None:
    rows = {"loans": "landing.loan_rows", "transactions": "landing.transaction_rows"}[feed]
    received, accepted = books.table(rows).num_rows, books.table(f"{feed}.{feed}").num_rows
    rejected = books.table(f"{feed}.rejected_{feed}").num_rows
    good = (summary.loans if feed == "loans" else summary.transactions) + summary.planted(feed, "suspense")
    assert (received, accepted, rejected) == (summary.records(feed), good, summary.planted(feed, "rejected"))
    assert received - accepted - rejected == summary.planted(feed, "duplicate") > 0


def test_every_adjustment_meets_its_fate(books: Books, run: dg.ExecuteInProcessResult, summary: SampleSummary) -> None:
    accepted = books.table("adjustments.adjustments").num_rows
    rejected = books.rows("adjustments.rejected_adjustments", "reasons")
    assert books.table("landing.adjustment_rows").num_rows == summary.records("adjustments")
    assert (accepted, len(rejected)) == (summary.adjustments, summary.planted("adjustments", "rejected"))
    assert {row["reasons"] for row in rejected} == {"approver: missing", "loan_id: no such loan is booked"}


def good_lines(folder: Path, feed: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The folder's date and the fields of each record that is whole and not marked as flawed by its id, once each."""
    seen = set()
    for file in sorted((folder / "landing" / feed).glob("*/part-*")):
        lines = file.read_bytes().decode(errors="replace").splitlines()
        records = [json.loads(x) for x in lines if x.endswith("}")] if feed == "loans" else list(csv.DictReader(lines))
        for record in records:
            name = record["loan_id" if feed == "loans" else "transaction_id"]
            # A flawed record carries an id of its own: L000000123-three_decimals. One of no loan has no other flaw.
            if not re.search(r"-(?!unknown_loan)[a-z_0-9]*[a-z]", name) and name not in seen:
                seen.add(name)
                yield file.parent.name, record


def test_originations_are_what_the_files_say(
    books: Books, run: dg.ExecuteInProcessResult, folder: Path, summary: SampleSummary
) -> None:
    daily: dict[Any, list[Decimal]] = defaultdict(lambda: [Decimal(0)] * 3)
    monthly: dict[Any, list[Decimal]] = defaultdict(lambda: [Decimal(0)] * 3)
    for day, record in good_lines(folder, "loans"):
        principal = Decimal(record["principal"])
        for totals, start in ((daily, day), (monthly, day[:8] + "01")):
            key = (date.fromisoformat(start), record["product"], record["borrower_state"])
            loans, lent, weight = totals[key]
            totals[key] = [loans + 1, lent + principal, weight + principal * Decimal(record["apr"])]
    assert sum(int(loans) for loans, *_ in daily.values()) == summary.loans
    for name, start, totals in (
        ("portfolio.originations_daily", "booked_on", daily),
        ("portfolio.originations_monthly", "month", monthly),
    ):
        found = {
            (row[start], row["product"], row["borrower_state"]): (row["loans"], row["principal"], row["apr"])
            for row in books.rows(name)
        }
        assert found == {
            key: (int(loans), lent, (weight / lent).quantize(Decimal("0.000001"), ROUND_HALF_UP))
            for key, (loans, lent, weight) in totals.items()
        }


def test_cash_is_what_the_files_say(
    books: Books, run: dg.ExecuteInProcessResult, folder: Path, summary: SampleSummary
) -> None:
    booked = {record["loan_id"]: (day, record["product"]) for day, record in good_lines(folder, "loans")}
    cash: dict[Any, list[Decimal]] = defaultdict(lambda: [Decimal(0)] * 3)
    refunds = 0
    for day, record in good_lines(folder, "transactions"):
        if record["kind"] == "refund":
            refunds += 1
            continue
        booked_on, product = booked.get(record["loan_id"], ("9999-12-31", ""))
        key = (date.fromisoformat(day), product if booked_on <= day else "none", record["kind"])
        number, *amounts = cash[key]
        amounts[record["kind"] in ("payment_reversal", "credit_refund", "merchant_payout")] += Decimal(record["amount"])
        cash[key] = [number + 1, *amounts]
    number_posted = refunds + sum(int(number) for number, *_ in cash.values())
    assert number_posted == summary.transactions + summary.planted("transactions", "suspense")
    found = {
        (row["posted_on"], row["product"], row["kind"]): [row["transactions"], row["received"], row["paid_out"]]
        for row in books.rows("portfolio.cash_daily")
    }
    assert found == cash


def test_suspense_is_what_the_files_say(
    books: Books, run: dg.ExecuteInProcessResult, folder: Path, summary: SampleSummary
) -> None:
    """Each transaction that landed before its loan, on each day until the loan landed; those of no loan, to the end."""
    booked = {record["loan_id"]: date.fromisoformat(day) for day, record in good_lines(folder, "loans")}
    waiting: dict[date, dict[str, Decimal]] = defaultdict(dict)
    taken_up = set()
    for text, record in good_lines(folder, "transactions"):
        posted_on = date.fromisoformat(text)
        booked_on = booked.get(record["loan_id"])
        if not record["loan_id"] or (booked_on and booked_on <= posted_on):
            continue
        sign = -1 if record["kind"] in ("payment_reversal", "credit_refund") else 1
        for number in range(((booked_on or LAST + timedelta(days=1)) - posted_on).days):
            waiting[posted_on + timedelta(days=number)][record["transaction_id"]] = sign * Decimal(record["amount"])
        if booked_on:
            taken_up.add((record["transaction_id"], booked_on))
    found: dict[date, dict[str, Decimal]] = defaultdict(dict)
    rows = books.rows("transactions.suspense")
    for row in rows:
        if row["closing"]:
            found[row["as_of"]][row["transaction_id"]] = row["closing"]
    assert found == waiting
    assert {(row["transaction_id"], row["taken_up_on"]) for row in rows if row["taken_up_on"]} == taken_up != set()
    assert len(waiting[LAST]) == summary.planted("transactions", "suspense") > 0


def test_merchants_are_owed_what_the_files_say(books: Books, run: dg.ExecuteInProcessResult, folder: Path) -> None:
    """At the end: prices less discounts, refunds and payouts, and of the discount what the refunds give back."""
    loans = {record["loan_id"]: record for _, record in good_lines(folder, "loans")}
    owed: dict[str, Decimal] = defaultdict(Decimal)
    refunded: dict[str, Decimal] = defaultdict(Decimal)
    for record in loans.values():
        owed[record["merchant_id"]] += Decimal(record["principal"]) - Decimal(record["merchant_discount"])
    for _, record in good_lines(folder, "transactions"):
        kind, amount, loan = record["kind"], Decimal(record["amount"]), loans.get(record["loan_id"])
        if kind == "merchant_payout":
            owed[record["merchant_id"]] -= amount
        elif kind in ("refund", "refund_reversal"):
            given_back = amount if kind == "refund" else -amount
            owed[loan["merchant_id"] if loan else record["merchant_id"] or "no merchant"] -= given_back
            if loan and refunded[loan["loan_id"]] + given_back <= Decimal(loan["principal"]):
                refunded[loan["loan_id"]] += given_back
    for loan_id, amount in refunded.items():
        loan = loans[loan_id]
        returned = Decimal(loan["merchant_discount"]) * amount / Decimal(loan["principal"])
        owed[loan["merchant_id"]] += returned.quantize(Decimal("0.01"), ROUND_HALF_UP)
    rows = books.rows("merchants.merchant_settlements")
    found = {row["merchant_id"]: row["closing"] for row in rows if row["as_of"] == LAST and row["closing"]}
    assert found == {merchant: amount for merchant, amount in owed.items() if amount}
    assert found.keys() - {loan["merchant_id"] for loan in loans.values()} <= {"no merchant"}
    assert sum(bool(amount) for amount in refunded.values()) > 0


def test_days_one_by_one_give_the_same_rows_as_the_range(books: Books, run: dg.ExecuteInProcessResult) -> None:
    """The last days are run again one by one, on top of the range: their look-back reaches into it."""
    registry = Registry.walk(project)
    names = [registry[key.split("/")[1]].table for key in DAILY.split(",")]
    before = {name: books.rows(name) for name in names}
    for day in (LAST - timedelta(days=1), LAST):
        books.materialize(DAILY, day)
    assert {name: books.rows(name) for name in names} == before


def test_each_partition_of_a_range_has_its_own_row_count(books: Books, run: dg.ExecuteInProcessResult) -> None:
    per_day: dict[str, int] = defaultdict(int)
    for row in books.rows("loans.loans", "booked_on"):
        per_day[row["booked_on"].isoformat()] += 1
    events = run.asset_materializations_for_node("loans__loans")
    counts = {event.partition: event.metadata["dagster/partition_row_count"].value for event in events}
    assert len(counts) == DAYS
    assert counts == {day: per_day.get(day, 0) for day in counts}


def test_a_materialization_reports_the_step(books: Books, run: dg.ExecuteInProcessResult) -> None:
    metadata = run.asset_materializations_for_node("loans__loans")[-1].metadata
    table_rows = books.table("loans.loans").num_rows
    assert metadata["dagster/row_count"].value == table_rows
    assert metadata["rows"].value == metadata["dagster/partition_row_count"].value
    assert str(metadata["dagster/uri"].value).endswith("/warehouse/loans/loans")
    assert int(str(metadata["added_files"].value)) > 0
    assert int(str(metadata["added_bytes"].value)) > 0
    parts = {"pin", "measure", "session", "transform", "check", "stage", "audit", "sample", "publish"}
    assert set(metadata["seconds"].value) == parts
    assert int(str(metadata["scan_bytes"].value)) > int(str(metadata["scan_files"].value)) > 0
    assert metadata["executors"].value == "0"
    assert metadata["compute"].value["profile"] == "small"
    assert "all_rows" in metadata["input_snapshots"].value
    assert "loan_id:string" in str(metadata["schema"].value)
    lineage = metadata["dagster/column_lineage"].value.deps_by_column
    assert [(dep.asset_key.to_user_string(), dep.column_name) for dep in lineage["apr"]] == [
        ("landing/loan_rows", "apr")
    ]


def test_a_sample_of_landing_rows_shows_no_field_of_the_feed(run: dg.ExecuteInProcessResult) -> None:
    """Nobody has looked at them yet: an e-mail address may stand where an amount should."""
    table = run.asset_materializations_for_node("landing__loan_rows")[-1].metadata["sample"]
    assert isinstance(table, dg.TableMetadataValue)
    sample = {row.data["column"]: row.data["row 1"] for row in table.records}
    assert str(sample["file"]).startswith("loans/")
    assert {name: sample[name] for name in ("loan_id", "principal", "borrower_email", "raw")} == {
        "loan_id": "***",
        "principal": "***",
        "borrower_email": "***",
        "raw": "",
    }


def test_every_audit_is_a_check_with_counts(run: dg.ExecuteInProcessResult) -> None:
    evaluations = run.get_asset_check_evaluations()
    assert all(each.passed for each in evaluations)
    accounted = [each for each in evaluations if each.check_name == "every_record_is_accounted_for"]
    assert len(accounted) == 6
    for each in accounted:
        totals = each.metadata["totals"].value
        assert int(totals["received"]) == sum(int(totals[name]) for name in ("accepted", "rejected", "duplicate"))
        assert int(totals["received"]) > 0
        assert each.metadata["failed"].value == 0


def test_direct_identifiers_stay_where_they_belong(books: Books, run: dg.ExecuteInProcessResult) -> None:
    """Searched in every data file as Parquet decodes it, in the tables' metadata, and in every event of the run."""
    holders = set()
    for dataset in Registry.walk(project).datasets.values():
        name = dataset.table
        if any("@" in str(value) for row in books.rows(name) for value in row.values()):
            holders.add(name)
    assert holders == {"landing.loan_rows", "loans.borrowers"}
    for file in (books.folder / "warehouse").rglob("*.json"):
        assert "@example.com" not in file.read_text()
    for file in (books.folder / "warehouse").rglob("*.parquet"):
        if "loan_rows" not in str(file) and "borrowers" not in str(file):
            assert b"@example.com" not in file.read_bytes()
    assert not any("@example.com" in str(event) for event in run.all_events)


def test_the_business_goes_on(tmp_path: Path, spark_if_needed: SparkSessions) -> None:
    """A day that lands after those that were asked for; a leap day, the last of its month."""
    first, day = date(2024, 2, 26), date(2024, 2, 29)
    books = Books(tmp_path, spark_if_needed, first)
    business: Any = {"loans": 90, "start": first, "days": 3, "seed": 3}
    write_sample_data(books.landing, **business)
    books.materialize(f"{DAILY},{ADJUSTMENTS},{BOOKS}", first, day - timedelta(days=1))
    summary = write_sample_data(books.landing, **business, only=Window(day, day))
    books.materialize(f"{DAILY},{ADJUSTMENTS},{BOOKS}", day)
    booked = [row for row in books.rows("loans.loans", "booked_on") if row["booked_on"] == day]
    assert len(booked) == summary.loans > 0
