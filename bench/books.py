"""Loan balances at scale: loan-days a second, and what a day costs after many days and in a range.

Every loan is of sixty months and stays open; each pays once in thirty days, on time.
"""

import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from functools import partial
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import affirm_assets.datasets
from affirm_assets.declare.contract import spark_schema
from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.partitions import Window
from affirm_assets.declare.registry import Registry
from affirm_assets.engines.spark import SparkEngine
from affirm_assets.steps.request import RESULT_SETTINGS, Run
from affirm_assets.steps.run import run_step
from affirm_assets.steps.storage import Storage
from bench.engines import OneEngine
from bench.measuring import interleaved, peak_memory, seconds
from resources.iceberg import IcebergCatalog
from resources.landing import LandingZone
from resources.spark import local_sessions

START = date(2025, 1, 1)
OPEN_LOANS = 100_000
RANGE_DAYS = 90
OPEN_LOANS_OF_RATIOS = 20_000
EARLY, LATE = 10, 170
DAYS_ONE_BY_ONE = 10
ROUNDS = 3


class Book:
    """A lake with a book of loans, all booked on the first day, and their payments up to `last_day`."""

    def __init__(self, folder: str, name: str, loans: int, last_day: int) -> None:
        self._catalog = IcebergCatalog(uri=f"sqlite:///{folder}/{name}.db", warehouse=f"file://{folder}/{name}")
        self._landing = LandingZone(folder)
        self._sessions = local_sessions()
        self._datasets = dict(Registry.walk(affirm_assets.datasets).datasets)
        self._loans, self._count = loans, iter(range(10_000))
        whole = days(1, last_day)
        self._write("loans", self._made_loans, whole)
        self._write("transactions", lambda: self._made_payments(whole), whole)
        for name in ("suspense", "adjustments"):
            self._write(name, partial(self._nothing, name), whole)

    def balance(self, window: Window) -> None:
        """Run the balances of the window."""
        result = self._run(self._datasets["loan_balances"], window)
        assert all(rows == self._loans for rows in result.rows.values())

    def _write(self, name: str, function: Callable[[], DataFrame], window: Window) -> None:
        self._run(replace(self._datasets[name], inputs={}, audits=(), carry=None, function=function), window)

    def _run(self, dataset: Dataset, window: Window) -> Any:
        name = f"run{next(self._count)}"
        storage = Storage(self._catalog.load(), self._landing, self._catalog.name)
        conf = {**self._catalog.spark_conf(), **RESULT_SETTINGS}
        spark = OneEngine(lambda: SparkEngine(self._sessions.session(conf), self._catalog.name, "measured"))
        return run_step(dataset, self._datasets, window, Run(name, name), "v1", storage, spark)

    def _made_loans(self) -> DataFrame:
        return (
            SparkSession.active()
            .range(self._loans)
            .selectExpr(
                "format_string('L%09d', id) AS loan_id",
                f"DATE'{START}' AS booked_on",
                "format_string('U%07d', id DIV 2) AS user_id",
                "'M0001' AS merchant_id",
                "'CA' AS borrower_state",
                "'installment' AS product",
                "CAST(1000 + id % 9000 AS decimal(18,2)) AS principal",
                "CAST(30 AS decimal(18,2)) AS merchant_discount",
                "CAST(4 + id % 32 AS decimal(9,6)) AS apr",
                "60L AS instalments",
                "'monthly' AS frequency",
                f"DATE'{START}' AS originated_on",
                f"DATE'{START + timedelta(days=31)}' AS first_due_on",
                "'USD' AS currency",
                "CAST(NULL AS decimal(18,2)) AS instalment",
                "CAST(NULL AS bigint) AS due_day",
                "'made' AS file",
                "id + 1 AS record_number",
            )
        )

    def _made_payments(self, window: Window) -> DataFrame:
        length = (window.last - window.first).days
        day = f"date_add(DATE'{START}', day)"
        rounds = (
            SparkSession.active()
            .range(self._loans)
            .selectExpr("id", f"explode(sequence(1L, {length + 1}L, 30L)) AS first")
        )
        rows = rounds.selectExpr("id", "CAST(first + id % 30 AS int) AS day")
        return rows.where(F.expr(f"day <= {length}")).selectExpr(
            "format_string('T%09d-%d', id, day) AS transaction_id",
            f"{day} AS posted_on",
            "format_string('L%09d', id) AS loan_id",
            "CAST(NULL AS string) AS merchant_id",
            "'installment' AS product",
            "'payment' AS kind",
            "CAST(40 + id % 200 AS decimal(18,2)) AS amount",
            f"{day} AS effective_on",
            "CAST(NULL AS string) AS reverses",
            "'made' AS file",
            "id + 1 AS record_number",
        )

    def _nothing(self, name: str) -> DataFrame:
        return SparkSession.active().createDataFrame([], spark_schema(self._datasets[name].contract))


def days(first: int, last: int) -> Window:
    """Counted from 1."""
    return Window(START + timedelta(days=first - 1), START + timedelta(days=last - 1))


def measure() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        return {"throughput": _throughput(folder), "ratios": _ratios(folder)}


def _throughput(folder: str) -> dict[str, Any]:
    book = Book(folder, "throughput", OPEN_LOANS, 2 + RANGE_DAYS)
    book.balance(days(1, 1))
    with peak_memory(os.getpid()) as peak:
        one_day = seconds(lambda: book.balance(days(2, 2)))
        whole_range = seconds(lambda: book.balance(days(3, 2 + RANGE_DAYS)))
    return {
        "open loans": OPEN_LOANS,
        "one day, seconds": round(one_day, 1),
        "one day, loan-days per second": round(OPEN_LOANS / one_day),
        f"{RANGE_DAYS} days, seconds": round(whole_range, 1),
        f"{RANGE_DAYS} days, loan-days per second": round(RANGE_DAYS * OPEN_LOANS / whole_range),
        "peak MiB": round(peak.mib),
    }


def _ratios(folder: str) -> dict[str, Any]:
    books = {day: Book(folder, f"day{day}", OPEN_LOANS_OF_RATIOS, LATE) for day in (EARLY, LATE)}
    works: dict[str, Callable[[], None]] = {}
    for day, book in books.items():
        # One by one, as in life: each day is a commit of its own.
        for each in range(1, day):
            book.balance(days(each, each))
        works[f"day {day}"] = lambda book=book, day=day: book.balance(days(day, day))
    fresh = books[LATE]
    one_by_one = days(LATE - DAYS_ONE_BY_ONE, LATE - 1)
    works["a range"] = lambda: fresh.balance(one_by_one)

    def each_day() -> None:
        for number in range(LATE - DAYS_ONE_BY_ONE, LATE):
            fresh.balance(days(number, number))

    works["its days one by one"] = each_day
    taken = interleaved(works, ROUNDS)
    median = {name: each["median"] for name, each in taken.items()}
    return {
        "open loans": OPEN_LOANS_OF_RATIOS,
        "seconds": taken,
        f"day {LATE} over day {EARLY}": round(median[f"day {LATE}"] / median[f"day {EARLY}"], 2),
        f"{DAYS_ONE_BY_ONE} days in a range over one by one": round(
            median["a range"] / median["its days one by one"], 2
        ),
    }
