"""A folder of which too much is refused stops its step; a person may let it pass, with a reason that is kept."""

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from resources.spark import SparkSessions
from tests.integration.books import LOANS, Books, jsonl, loan, transaction

DAY, NEXT_DAY = date(2025, 1, 2), date(2025, 1, 3)
STEPS = "landing/transaction_rows,transactions/transactions,transactions/rejected_transactions"
PAYMENTS = [transaction(transaction_id=f"P{number}", amount="1.00") for number in range(201)]
BAD = "1,00"


@pytest.fixture
def books(spark_if_needed: SparkSessions, tmp_path: Path) -> Books:
    books = Books(tmp_path, spark_if_needed, first=DAY)
    for day in (DAY, NEXT_DAY):
        books.land("loans", day, {"loans.jsonl": jsonl([loan()] if day == DAY else [])})
    books.materialize(LOANS, DAY, NEXT_DAY)
    return books


def as_csv(rows: list[dict[str, Any]], delimiter: str) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def payments(*, bad: int, good: int, prefix: str) -> bytes:
    amounts = ["1,00"] * bad + ["1.00"] * good
    return jsonl(transaction(transaction_id=f"{prefix}{n}", amount=amount) for n, amount in enumerate(amounts))


def run(books: Books, **tags: str) -> dg.ExecuteInProcessResult:
    return books.job(STEPS).execute_in_process(
        instance=books.instance, raise_on_error=False, partition_key=str(DAY), tags=tags
    )


def said(result: dg.ExecuteInProcessResult) -> str:
    return "\n".join(str(each.event_specific_data) for each in result.get_step_failure_events())


def published(books: Books) -> Iterable[str]:
    if not books.catalog.table_exists("transactions.transactions"):
        return []
    return [row["transaction_id"] for row in books.rows("transactions.transactions", "transaction_id")]


def affirm(books: Books, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "AFFIRM_LAKE": str(books.folder)}
    command = [sys.executable, "-m", "affirm_assets", *arguments]
    return subprocess.run(command, env=environment, cwd=books.folder, capture_output=True, text=True, check=False)


def test_a_day_of_semicolons_is_not_a_quiet_day(books: Books) -> None:
    books.land("transactions", DAY, {"payments.csv": as_csv(PAYMENTS, ";")})
    result = run(books)
    assert not result.success
    message = said(result)
    for text in (
        "nothing was published, blocking audits failed",
        "few_are_refused: 2 of 2 failed",
        f"transactions/{DAY}/payments.csv",
        "'records': '202', 'refused': '202', 'percent': '100.0'",
        "header: none of its names is a field of the feed (202)",
        f"affirm accept transactions {DAY} --reason TEXT",
    ):
        assert text in message
    assert list(published(books)) == []
    # What reads it was not run either.
    done = {each.step_key for each in result.all_events if each.event_type == dg.DagsterEventType.STEP_SUCCESS}
    assert done == {"landing__transaction_rows"}


@pytest.mark.parametrize(
    ("files", "passes"),
    [
        pytest.param({"a.jsonl": payments(bad=10, good=0, prefix="A")}, True, id="a file of ten"),
        pytest.param({"a.jsonl": payments(bad=11, good=0, prefix="A")}, False, id="a file of eleven"),
        pytest.param(
            {"a.jsonl": payments(bad=11, good=0, prefix="A"), "b.jsonl": payments(bad=0, good=1100, prefix="B")},
            False,
            id="one whole file of many",
        ),
        pytest.param({"a.jsonl": payments(bad=11, good=1089, prefix="A")}, True, id="one percent"),
        pytest.param({"a.jsonl": payments(bad=11, good=1088, prefix="A")}, False, id="more than one percent"),
        pytest.param(
            {f"{name}.jsonl": payments(bad=6, good=100, prefix=name) for name in "AB"},
            False,
            id="more than one percent, of both files together",
        ),
        pytest.param({"a.jsonl": payments(bad=2, good=1, prefix="A")}, True, id="a small folder"),
    ],
)
def test_how_much_may_be_refused(books: Books, files: dict[str, bytes], passes: bool) -> None:
    books.land("transactions", DAY, files)
    assert run(books).success == passes


def test_the_commonest_reasons_come_first(books: Books) -> None:
    rows = [
        *(transaction(transaction_id=f"A{n}", amount=BAD) for n in range(12)),
        *(transaction(transaction_id=f"B{n}", kind="tip") for n in range(5)),
        transaction(transaction_id="C", effective_on="soon"),
    ]
    books.land("transactions", DAY, {"a.jsonl": jsonl(rows)})
    message = said(run(books))
    assert message.index("amount: ") < message.index("kind: ") < message.index("effective_on: ")
    assert "(12) | " in message


def test_a_person_lets_a_date_pass_and_the_reason_is_kept(books: Books) -> None:
    books.land("transactions", DAY, {"a.jsonl": payments(bad=20, good=2, prefix="A")})
    assert not run(books).success
    done = affirm(books, "accept", "transactions", str(DAY), "--reason", "The bank's test rows", "--by", "E0007")
    assert done.returncode == 0, done.stderr
    assert "Now materialize transactions/transactions for that date." in done.stdout
    assert run(books).success
    assert len(list(published(books))) == 2
    assert len(books.rows("transactions.rejected_transactions")) == 20
    kept = json.loads(books.catalog.load_table("transactions.transactions").properties[f"affirm.accepted.{DAY}"])
    assert (kept["reason"], kept["by"]) == ("The bank's test rows", "E0007")
    assert kept["at"].startswith(str(date.today().year))

    # Another date is another question.
    books.land("transactions", NEXT_DAY, {"a.jsonl": payments(bad=20, good=2, prefix="B")})
    assert not books.materialize(STEPS, DAY, NEXT_DAY, raises=False).success


def test_a_run_s_tag_lets_a_date_pass_for_this_run(books: Books) -> None:
    books.land("transactions", DAY, {"a.jsonl": payments(bad=20, good=2, prefix="A")})
    assert not run(books, **{"affirm/accept": f"loans {DAY} another feed"}).success
    assert run(books, **{"affirm/accept": f"transactions {DAY} The bank's test rows"}).success
    assert not run(books).success


@pytest.mark.parametrize("tag", ["transactions", f"transactions {DAY}", "transactions soon because", f"{DAY} because"])
def test_a_tag_that_cannot_be_read_is_refused(books: Books, tag: str) -> None:
    books.land("transactions", DAY, {"a.jsonl": payments(bad=0, good=2, prefix="A")})
    result = run(books, **{"affirm/accept": tag})
    assert not result.success
    assert f"run tag affirm/accept: expected `FEED DATE REASON` in each line, found {tag!r}." in said(result)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("payments", str(DAY), "--reason", "x"), "one of adjustments, loans, transactions; found payments"),
        (("transactions", "soon", "--reason", "x"), "does not match the format"),
        (("transactions", str(DAY), "--reason", " "), "expected a reason, found none"),
        (("transactions", str(DAY)), "Missing option '--reason'"),
    ],
)
def test_what_cannot_be_accepted(books: Books, arguments: tuple[str, ...], expected: str) -> None:
    done = affirm(books, "accept", *arguments)
    assert done.returncode != 0
    assert expected in " ".join(done.stderr.split())
