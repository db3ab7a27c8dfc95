"""A folder of which too much is refused stops its step; a person may let it pass, with a reason that is kept."""

import csv
import gzip
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner

import affirm_assets.datasets
from affirm_assets.cli import main
from affirm_assets.declare import landing
from affirm_assets.declare.registry import Registry
from affirm_assets.orchestration.alerts import Alert
from affirm_assets.orchestration.failed_runs import EVENTS, Place, alerts_of_run
from affirm_assets.settings import SAIL, EngineSettings
from affirm_assets.steps.acceptance import Refuser
from resources.spark import SparkSessions
from tests.integration.books import LOANS, Books, jsonl, loan, transaction

FIRST, DAYS = date(2025, 1, 2), 70
STEPS = "landing/transaction_rows,transactions/transactions,transactions/rejected_transactions"
TABLES = ("transactions.transactions", "transactions.rejected_transactions")


@dataclass(frozen=True)
class Folder:
    """A day of the transactions feed that no other test uses, nor the day after it."""

    books: Books
    day: date

    @property
    def next(self) -> "Folder":
        return Folder(self.books, self.day + timedelta(days=1))

    def land(self, **files: bytes) -> None:
        self.books.land("transactions", self.day, {name.replace("_", "."): content for name, content in files.items()})

    def run(self, **tags: str) -> dg.ExecuteInProcessResult:
        job = self.books.job(STEPS)
        return job.execute_in_process(
            instance=self.books.instance, raise_on_error=False, partition_key=str(self.day), tags=tags
        )

    def published(self) -> tuple[int, ...]:
        """Rows of the day that readers see: accepted and refused."""
        tables = (
            self.books.rows(each, "posted_on") if self.books.catalog.table_exists(each) else [] for each in TABLES
        )
        return tuple(sum(row["posted_on"] == self.day for row in rows) for rows in tables)

    def affirm(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "AFFIRM_LAKE": str(self.books.folder)}
        command = [str(Path(sys.executable).with_name("affirm")), *arguments]
        return subprocess.run(
            command, env=environment, cwd=self.books.folder, capture_output=True, text=True, check=False
        )

    def payments(self, *, bad: int = 0, good: int = 0, prefix: str = "") -> list[dict[str, Any]]:
        amounts = ["1,00"] * bad + ["1.00"] * good
        return [
            transaction(transaction_id=f"{self.day}{prefix}-{number}", amount=amount)
            for number, amount in enumerate(amounts)
        ]


def alerts_of(folder: Folder, result: dg.ExecuteInProcessResult) -> list[Alert]:
    run = folder.books.instance.get_run_by_id(result.run_id)
    assert run is not None
    return alerts_of_run(
        run, folder.books.instance.all_logs(result.run_id, of_type=EVENTS), Place({}, "http://ui", str)
    )


@pytest.fixture(scope="module")
def folders(spark_if_needed: SparkSessions, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folder]:
    # What is refused must be told where there is no Java too: no step may turn to the other engine.
    engines = EngineSettings(SAIL)
    books = Books(tmp_path_factory.mktemp("refused"), spark_if_needed, first=FIRST, engines=engines)
    days = [FIRST + timedelta(days=number) for number in range(DAYS)]
    for day in days:
        books.land("loans", day, {"loans.jsonl": jsonl([loan()] if day == FIRST else [])})
    books.materialize(LOANS, days[0], days[-1])
    return iter([Folder(books, day) for day in days[::2]])


@pytest.fixture
def folder(folders: Iterator[Folder]) -> Folder:
    return next(folders)


def as_csv(rows: list[dict[str, Any]], delimiter: str = ",") -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def said(result: dg.ExecuteInProcessResult) -> str:
    return "\n".join(str(each.event_specific_data) for each in result.get_step_failure_events())


def test_a_day_of_semicolons_is_not_a_quiet_day(folder: Folder) -> None:
    folder.land(payments_csv=as_csv(folder.payments(good=201), ";"))
    result = folder.run()
    assert not result.success
    message = said(result)
    for text in (
        "nothing was published, as few_are_refused failed in",
        "few_are_refused: 2 of 2 failed",
        f"transactions/{folder.day}/payments.csv",
        "records=202, refused=202, percent=100.0",
        "header: none of its names is a field of the feed (202)",
        f"affirm accept transactions {folder.day} --reason TEXT",
    ):
        assert text in message
    assert folder.published() == (0, 0)
    # Its rows alone, which are read before the other feeds are there, tell it too: a warning, and not a quiet day.
    (early,) = [each for each in result.get_asset_check_evaluations() if each.check_name == "few_are_unreadable"]
    assert (early.passed, early.severity, early.metadata["failed"].value) == (False, dg.AssetCheckSeverity.WARN, 2)
    (warning,) = [each for each in alerts_of(folder, result) if each.dataset == "landing/transaction_rows"]
    assert (warning.title, warning.reason) == ("checks warn", f"few_are_unreadable: 2 of 2 failed ({folder.day})")
    # What reads it was not run either.
    done = {each.step_key for each in result.all_events if each.event_type == dg.DagsterEventType.STEP_SUCCESS}
    assert done == {"landing__transaction_rows"}


@pytest.mark.parametrize(
    ("field", "text", "reason"),
    [
        ("amount", "1,00", "amount: not an amount in plain digits with at most two decimal places"),
        ("amount", "1.234,56", "amount: not an amount in plain digits with at most two decimal places"),
        ("effective_on", "02.01.2025", "effective_on: not a calendar date YYYY-MM-DD"),
    ],
)
def test_text_of_another_notation_is_told_with_the_feed_s_own_rows(
    folder: Folder, field: str, text: str, reason: str
) -> None:
    """Well-formed records, which the rows alone show to be refused later. The rows are published as they came."""
    payments = folder.payments(good=20)
    folder.land(a_jsonl=jsonl([{**each, field: text} for each in payments]))
    early = folder.books.job("landing/transaction_rows").execute_in_process(
        instance=folder.books.instance, partition_key=str(folder.day)
    )
    (check,) = [each for each in early.get_asset_check_evaluations() if each.check_name == "few_are_unreadable"]
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert f"{reason} (20)" in str(check.metadata)
    rows = [each for each in folder.books.rows("landing.transaction_rows") if each["business_date"] == folder.day]
    assert [each[field] for each in rows] == [text] * 20
    assert f"{reason} (20)" in said(folder.run())


@pytest.mark.parametrize(
    ("files", "passes"),
    [
        pytest.param({"a": (10, 0)}, True, id="a file of ten"),
        pytest.param({"a": (11, 0)}, False, id="a file of eleven"),
        pytest.param({"a": (11, 0), "b": (0, 1100)}, False, id="one whole file of many"),
        pytest.param({"a": (12, 11), "b": (0, 1200)}, False, id="most of one file of many"),
        pytest.param({"a": (11, 1089)}, True, id="one percent"),
        pytest.param({"a": (11, 1088)}, False, id="more than one percent"),
        pytest.param({"a": (6, 100), "b": (6, 100)}, False, id="more than one percent, of both files together"),
        pytest.param({"a": (2, 1)}, True, id="a small folder"),
    ],
)
def test_how_much_may_be_refused(folder: Folder, files: Mapping[str, tuple[int, int]], passes: bool) -> None:
    folder.land(
        **{
            f"{name}_jsonl": jsonl(folder.payments(bad=bad, good=good, prefix=name))
            for name, (bad, good) in files.items()
        }
    )
    assert folder.run().success == passes


def test_a_whole_day_in_a_few_lines_is_not_a_few_refused_records(folder: Folder) -> None:
    payments = folder.payments(good=201)
    for unreadable in (
        {"a_jsonl": json.dumps(payments).encode()},
        {"a_jsonl": jsonl(payments).replace(b"\n", b"\r")},
        {"a_jsonl": gzip.compress(jsonl(payments) * 20)},
        {"a_jsonl": b"", "b_csv": as_csv(payments).replace(b"\r\n", "\u2028".encode())},
    ):
        folder.land(**unreadable)
        result = folder.run()
        assert not result.success
        assert "few_are_refused" in said(result)


def test_what_was_booked_before_does_not_make_up_for_what_is_refused(folder: Folder) -> None:
    folder.land(a_jsonl=jsonl(folder.payments(good=1100)))
    assert folder.run().success
    folder.next.land(a_jsonl=jsonl([*folder.payments(good=1100), *folder.next.payments(bad=11)]))
    assert "records=11, refused=11, percent=100.0" in said(folder.next.run())


def test_the_commonest_reasons_come_first(folder: Folder) -> None:
    rows = folder.payments(bad=12, good=6)
    for number in range(12, 17):
        rows[number]["kind"] = "tip"
    rows[17]["effective_on"] = "soon"
    folder.land(a_jsonl=jsonl(rows))
    message = said(folder.run())
    assert message.index("amount: ") < message.index("kind: ") < message.index("effective_on: ")
    assert "(12) | " in message


def test_a_person_lets_a_date_pass_and_the_reason_is_kept(folder: Folder) -> None:
    folder.land(a_jsonl=jsonl(folder.payments(bad=20, good=2)))
    assert not folder.run().success
    done = folder.affirm("accept", "transactions", str(folder.day), "--reason", "The bank's test rows", "--by", "E0007")
    assert done.returncode == 0, done.stderr
    assert "what is refused of its 22 records may pass (The bank's test rows, E0007)" in done.stdout
    assert folder.run().success
    assert folder.published() == (2, 20)
    properties = folder.books.catalog.load_table("transactions.transactions").properties
    kept = json.loads(properties[f"affirm.accepted.{folder.day}"])
    assert (kept["reason"], kept["by"], kept["records"]) == ("The bank's test rows", "E0007", 22)
    assert date.fromisoformat(kept["at"][:10]) >= date(2026, 1, 1)

    # Another date, and other files of the same, are another question.
    folder.next.land(a_jsonl=jsonl(folder.next.payments(bad=20, good=2)))
    assert not folder.next.run().success
    folder.land(a_jsonl=jsonl(folder.payments(bad=500, good=2)))
    assert not folder.run().success
    assert folder.published() == (2, 20)


def test_a_run_s_tag_lets_a_date_pass_for_this_run(folder: Folder) -> None:
    folder.land(a_jsonl=jsonl(folder.payments(bad=20, good=2)))
    assert not folder.run(**{"affirm/accept": f"loans {folder.day} another feed"}).success
    unknown = folder.run(**{"affirm/accept": f"payments {folder.day} no feed"})
    assert "expected a feed, one of adjustments, loans, transactions; found payments" in said(unknown)
    assert folder.run(**{"affirm/accept": f"transactions {folder.day} The bank's test rows"}).success
    assert not folder.run().success


def test_a_tag_that_cannot_be_read_is_refused(folder: Folder) -> None:
    folder.land(a_jsonl=jsonl(folder.payments(good=2)))
    for tag in ("transactions", f"transactions {folder.day}", "transactions soon because", f"{folder.day} because"):
        message = said(folder.run(**{"affirm/accept": tag}))
        assert f"run tag affirm/accept: expected `FEED DATE REASON` in each line, found {tag!r}." in message


def test_what_others_write_beside_is_told_and_stops_no_other_day(folder: Folder) -> None:
    folder.land(a_jsonl=jsonl(folder.payments(good=2)))
    assert folder.run().success
    with folder.books.catalog.load_table("transactions.transactions").transaction() as transaction:
        transaction.set_properties({"affirm.accepted.soon": "x", f"affirm.accepted.{folder.next.day}": "because"})
    assert folder.run().success
    folder.next.land(a_jsonl=b"")
    assert (
        f"transactions.transactions: expected a property affirm.accepted.{folder.next.day} as `affirm accept` writes "
        "it, found 'because'."
    ) in said(folder.next.run())


def test_each_dataset_that_reads_a_feed_is_spoken_to() -> None:
    datasets = Registry.walk(affirm_assets.datasets).datasets
    copies = replace(datasets["loan_rows"], name="copies", inputs={"records": landing("loans", {"loan_id": "text"})})
    found = Refuser.of({**datasets, "copies": copies}, "loans")
    assert [(each.dataset.name, each.reader.name) for each in found] == [("loans", "loan_rows"), ("copies", "copies")]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("payments", "2025-01-02", "--reason", "x"), "one of adjustments, loans, transactions; found payments"),
        (("transactions", "soon", "--reason", "x"), "does not match the format"),
        (("transactions", "2025-01-02", "--reason", " "), "expected a reason, found none"),
        (("transactions", "2025-01-02"), "--reason: expected a reason, found none"),
        (("adjustments", "2025-01-02", "--reason", "x"), "landing.adjustment_rows: expected a table, found none"),
        (("loans", "2031-01-01", "--reason", "x"), "loans 2031-01-01: expected records of that date"),
    ],
)
def test_what_cannot_be_accepted(
    folder: Folder, arguments: tuple[str, ...], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In this process: that the command runs in one of its own too, another test shows. Where there is no .env.
    monkeypatch.chdir(folder.books.folder)
    done = CliRunner().invoke(main, ["accept", *arguments], env={"AFFIRM_LAKE": str(folder.books.folder)})
    assert done.exit_code != 0
    assert expected in " ".join(done.stderr.split())
