"""Days that are run in the wrong order: no loan is ever booked twice."""

from datetime import date
from pathlib import Path

import dagster as dg

from resources.spark import SparkSessions
from tests.integration.books import Books, jsonl, loan

EARLY, LATE = date(2025, 1, 2), date(2025, 1, 3)


def test_a_loan_that_a_later_day_has_booked_is_not_booked_again(tmp_path: Path, spark_if_needed: SparkSessions) -> None:
    books = Books(tmp_path, spark_if_needed)
    for day in (EARLY, LATE):
        books.land("loans", day, {"part.jsonl": jsonl([loan(originated_on="2025-01-02")])})
    select = "landing/loan_rows,loans/loans"
    assert books.materialize(select, LATE).success
    early = books.materialize(select, EARLY, raises=False)
    failed = [each for each in early.get_asset_check_evaluations() if not each.passed]
    assert [(each.check_name, each.metadata["failed"].value) for each in failed] == [("none_is_booked_later", 1)]
    assert early.dagster_run.status == dg.DagsterRunStatus.FAILURE
    assert [row["booked_on"] for row in books.rows("loans.loans", "booked_on")] == [LATE]
    assert books.materialize(select, EARLY, LATE).success
    assert [row["booked_on"] for row in books.rows("loans.loans", "booked_on")] == [EARLY]
