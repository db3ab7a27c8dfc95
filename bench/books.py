"""Loan balances at scale, on each engine: loan-days a second, and what a day costs after many days and in a range.

The loan-days a second have no baseline, and are of a book without trouble: no loan is late, and nothing is reversed.
Every loan is of sixty months and stays open; each pays once in thirty days, on time. Sail is what the platform chooses:
there is less to read than it takes (AFFIRM_SAIL_MIB). In the book of the ratios, what makes a day look at earlier ones
is there too: of each thousand loans ten pay days before it is booked, five have each payment reversed, and two give a
part of the purchase back each time. On a day that is one loan in 1,800.
"""

import gc
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import date, timedelta
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

import affirm_assets.datasets
from affirm_assets.declare.contract import spark_schema
from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.partitions import Window
from affirm_assets.declare.registry import Registry
from affirm_assets.engines.sail import SailEngine
from affirm_assets.engines.sail.plain import forget
from affirm_assets.engines.spark import SparkEngine
from affirm_assets.steps.engine import Engine
from affirm_assets.steps.request import RESULT_SETTINGS, Run
from affirm_assets.steps.run import Result, run_step
from affirm_assets.steps.storage import Storage
from bench.engines import OneEngine
from bench.measuring import interleaved, peak_memory, seconds
from resources.iceberg import IcebergCatalog
from resources.landing import LandingZone
from resources.sail import SailSessions
from resources.spark import local_sessions

START = date(2025, 1, 1)
SAIL, SPARK = "sail", "spark"
OPEN_LOANS = 100_000
RANGE_DAYS = 90
MANY_OPEN_LOANS = 5_000_000
OPEN_LOANS_OF_RATIOS = 20_000
EARLY, LATE = 10, 170
DAYS_ONE_BY_ONE = 10
ROUNDS = 3


class Book:
    """A lake with a book of loans, all booked on the first day, and their payments up to `last_day`.

    looks_back: with late rows, reversals and refunds among them.
    """

    def __init__(self, folder: str, name: str, loans: int, last_day: int, *, looks_back: bool = False) -> None:
        self._catalog = IcebergCatalog(uri=f"sqlite:///{folder}/{name}.db", warehouse=f"file://{folder}/{name}")
        self._landing = LandingZone(folder)
        self._sessions = local_sessions()
        self._datasets = dict(Registry.walk(affirm_assets.datasets).datasets)
        self._loans, self._count = loans, iter(range(10_000))
        whole = days(1, last_day)
        self._write("loans", self._made_loans, whole)
        made = self._made_transactions if looks_back else self._made_payments
        self._write("transactions", partial(made, last_day), whole)
        for name in ("suspense", "adjustments"):
            self._write(name, partial(self._made, name, 0, _none), whole)

    def balance(self, window: Window, engine: str = SAIL) -> Result:
        """Run the balances of the window."""
        result = self._run(self._datasets["loan_balances"], window, engine)
        assert all(rows == self._loans for rows in result.rows.values())
        return result

    def first_day(self) -> list[str]:
        """The files of the first day's balances."""
        self.balance(days(1, 1))
        table = self._catalog.load().load_table("servicing.loan_balances")
        return [each.file.file_path.removeprefix("file://") for each in table.scan().plan_files()]

    def take_over(self, files: Sequence[str], loans: int) -> None:
        """Publish as the first day's balances those of so many loans, again and again under other ids."""
        balances = partial(_under_other_ids, files=files, loans=loans)
        made = partial(self._made, "loan_balances", self._loans // loans, balances)
        self._write("loan_balances", made, days(1, 1))

    def _write(self, name: str, function: Callable[[], DataFrame], window: Window) -> None:
        self._run(replace(self._datasets[name], inputs={}, audits=(), carry=None, function=function), window, SAIL)

    def _run(self, dataset: Dataset, window: Window, engine: str) -> Result:
        name = f"run{next(self._count)}"
        storage = Storage(self._catalog.load(), self._landing, self._catalog.name)
        engines = OneEngine(partial(self._opened, engine))
        return run_step(dataset, self._datasets, window, Run(name, name), "v1", storage, engines)

    def _opened(self, engine: str) -> Engine:
        if engine == SAIL:
            return SailEngine(SailSessions().open, "measured")
        conf = {**self._catalog.spark_conf(), **RESULT_SETTINGS}
        return SparkEngine(self._sessions.session(conf), self._catalog.name, "measured")

    def _made(self, name: str, count: int, rows: Callable[..., Iterator[pa.RecordBatch]]) -> DataFrame:
        """Rows of a dataset that a function makes of numbers."""
        schema = spark_schema(self._datasets[name].contract)
        columns = ", ".join(f"`{each.name}` {each.dataType.simpleString()}" for each in schema.fields)
        return SparkSession.active().range(count).mapInArrow(partial(rows, names=schema.names), columns)

    def _made_loans(self) -> DataFrame:
        number = F.col("id")
        return (
            SparkSession.active()
            .range(self._loans)
            .select(
                _numbered("L", number, 9).alias("loan_id"),
                F.lit(START).alias("booked_on"),
                _numbered("U", number % 50_000, 7).alias("user_id"),
                F.lit("M0001").alias("merchant_id"),
                F.lit("CA").alias("borrower_state"),
                F.lit("installment").alias("product"),
                (number % 9000 + 1000).cast("decimal(18,2)").alias("principal"),
                F.lit(30).cast("decimal(18,2)").alias("merchant_discount"),
                (number % 32 + 4).cast("decimal(9,6)").alias("apr"),
                F.lit(60).cast("bigint").alias("instalments"),
                F.lit("monthly").alias("frequency"),
                F.lit(START).alias("originated_on"),
                F.lit(START + timedelta(days=31)).alias("first_due_on"),
                F.lit("USD").alias("currency"),
                F.lit(None).cast("decimal(18,2)").alias("instalment"),
                F.lit(None).cast("bigint").alias("due_day"),
                F.lit("made").alias("file"),
                (number + 1).alias("record_number"),
            )
        )

    def _made_payments(self, last_day: int) -> DataFrame:
        rounds = -(-last_day // 30)
        payments = partial(_payments, loans=self._loans, last_day=last_day)
        return self._made("transactions", self._loans * rounds, payments)

    def _made_transactions(self, last_day: int) -> DataFrame:
        """The payments, some of them late, with the reversals and refunds of some loans three days after each."""
        payments = self._made_payments(last_day).withColumn("loan", F.expr("substr(loan_id, 8, 3)"))
        late = F.expr(f"IF(loan < '010', greatest(date_sub(posted_on, 5), DATE'{START}'), effective_on)")
        paid = payments.withColumn("effective_on", late)
        last = days(last_day, last_day).last
        followed = payments.where(F.expr(f"loan BETWEEN '010' AND '016' AND posted_on <= date_sub(DATE'{last}', 3)"))
        after = followed.withColumns(
            {
                "posted_on": F.expr("date_add(posted_on, 3)"),
                "effective_on": F.expr("date_add(posted_on, 3)"),
                "kind": F.expr("IF(loan < '015', 'payment_reversal', 'refund')"),
                "amount": F.expr("IF(loan < '015', amount, CAST(10 AS decimal(18,2)))"),
                "reverses": F.expr("IF(loan < '015', transaction_id, NULL)"),
                "transaction_id": F.expr("concat(transaction_id, '-after')"),
            }
        )
        return paid.drop("loan").unionByName(after.drop("loan"))


def _numbered(letter: str, number: Column, digits: int) -> Column:
    return F.concat(F.lit(letter), F.lpad(number.cast("string"), digits, "0"))


def _none(batches: Iterator[pa.RecordBatch], names: Sequence[str]) -> Iterator[pa.RecordBatch]:  # noqa: ARG001
    yield from ()


def _payments(
    batches: Iterator[pa.RecordBatch], names: Sequence[str], loans: int, last_day: int
) -> Iterator[pa.RecordBatch]:
    """Payments by their numbers: one of each loan, then the second of each."""
    for batch in batches:
        number = batch.column("id").to_numpy()
        day = number // loans * 30 + 1 + number % loans % 30
        loan, day = number[day < last_day] % loans, day[day < last_day]
        digits = _padded(pa.array(loan))
        on = pa.array((day + (START - date(1970, 1, 1)).days).astype(np.int32)).cast(pa.date32())
        text = partial(_repeated, len(loan), type_=pa.string())
        columns = {
            "transaction_id": pc.binary_join_element_wise("T", digits, "-", pa.array(day).cast(pa.string()), ""),
            "posted_on": on,
            "loan_id": pc.binary_join_element_wise("L", digits, ""),
            "merchant_id": text(None),
            "product": text("installment"),
            "kind": text("payment"),
            "amount": pa.array(40 + loan % 200).cast(pa.decimal128(19, 0)).cast(pa.decimal128(18, 2)),
            "effective_on": on,
            "reverses": text(None),
            "file": text("made"),
            "record_number": pa.array(loan + 1),
        }
        yield pa.RecordBatch.from_arrays([columns[name] for name in names], names=list(names))


def _under_other_ids(
    batches: Iterator[pa.RecordBatch], names: Sequence[str], files: Sequence[str], loans: int
) -> Iterator[pa.RecordBatch]:
    """Of each number the same balances: those of loans whose ids begin there."""
    balances = pa.concat_tables(pq.read_table(file, partitioning=None) for file in files).select(list(names))
    place, number = names.index("loan_id"), pc.utf8_slice_codeunits(balances["loan_id"], 1, 10).cast(pa.int64())
    for batch in batches:
        for each in batch.column("id").to_pylist():
            ids = pc.binary_join_element_wise("L", _padded(pc.add(number, each * loans)), "")
            yield from balances.set_column(place, "loan_id", ids).to_batches(20_000)


def _padded(number: pa.Array) -> pa.Array:
    return pc.utf8_lpad(number.cast(pa.string()), 9, "0")


def _repeated(count: int, value: str | None, type_: pa.DataType) -> pa.Array:
    return pa.repeat(pa.scalar(value, type_), count)


def days(first: int, last: int) -> Window:
    """Counted from 1."""
    return Window(START + timedelta(days=first - 1), START + timedelta(days=last - 1))


def measure() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        # In a process of its own, for the memory is to be its own.
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            many = _told("one day of many", pool.apply(_one_day_of_many, (folder,)))
        by_engine = {engine: _told(engine, _throughput(folder, engine)) for engine in (SAIL, SPARK)}
        return {"one day of many": many, "throughput": by_engine, "ratios on sail": _ratios(folder)}


def _told(name: str, found: dict[str, Any]) -> dict[str, Any]:
    """At once: the whole takes half an hour, and may be ended before."""
    print(name, found, file=sys.stderr, flush=True)
    return found


def _one_day_of_many(folder: str) -> dict[str, Any]:
    """To compute a loan's first day takes long: those of some loans stand for all."""
    files = Book(folder, "some", OPEN_LOANS, 2).first_day()
    book = Book(folder, "many", MANY_OPEN_LOANS, 2)
    book.take_over(files, OPEN_LOANS)
    with peak_memory(os.getpid()) as peak:
        taken = seconds(lambda: book.balance(days(2, 2)))
    return {
        "open loans": MANY_OPEN_LOANS,
        "seconds": round(taken, 1),
        "loan-days per second": round(MANY_OPEN_LOANS / taken),
        "peak MiB": round(peak.mib),
    }


def _throughput(folder: str, engine: str) -> dict[str, Any]:
    book = Book(folder, engine, OPEN_LOANS, 3 + RANGE_DAYS)
    gc.freeze()  # as each process of the platform does once it has loaded its definitions
    book.balance(days(1, 1))
    # One that is not counted: the engine starts, and the process learns the plans. What it knows of files it forgets.
    book.balance(days(2, 2), engine)
    forget()
    with peak_memory(os.getpid()) as peak:
        one_day = seconds(lambda: book.balance(days(3, 3), engine))
        forget()
        whole_range = seconds(lambda: book.balance(days(4, 3 + RANGE_DAYS), engine))
    return {
        "open loans": OPEN_LOANS,
        "one day, seconds": round(one_day, 1),
        "one day, loan-days per second": round(OPEN_LOANS / one_day),
        f"{RANGE_DAYS} days, seconds": round(whole_range, 1),
        f"{RANGE_DAYS} days, loan-days per second": round(RANGE_DAYS * OPEN_LOANS / whole_range),
        "peak MiB": round(peak.mib),
    }


def _ratios(folder: str) -> dict[str, Any]:
    books = {day: Book(folder, f"day{day}", OPEN_LOANS_OF_RATIOS, LATE, looks_back=True) for day in (EARLY, LATE)}
    works: dict[str, Callable[[], Any]] = {}
    for day, book in books.items():
        # One by one, as in life: each day is a commit of its own.
        for each in range(1, day):
            book.balance(days(each, each))
        works[f"day {day}"] = partial(book.balance, days(day, day))
    fresh = books[LATE]
    one_by_one = days(LATE - DAYS_ONE_BY_ONE, LATE - 1)
    works["a range"] = partial(fresh.balance, one_by_one)

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
