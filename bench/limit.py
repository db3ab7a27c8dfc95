"""What a step on Sail takes as what it reads grows: the measure behind the default of AFFIRM_SAIL_MIB.

Each step has a process of its own, whose peak of memory is its own. Two of them: one that passes rows on, and one that
has to hold them, since it groups by a key that is different in each row. The baseline is the same step on Spark, whose
session is there before the time is taken.
"""

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from affirm_assets.declare.contract import Contract, Money, column, key
from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.inputs import SameWindow
from affirm_assets.engines.sail import SailEngine
from affirm_assets.engines.spark import SparkEngine
from affirm_assets.steps.engine import Engine
from affirm_assets.steps.request import RESULT_SETTINGS, Run
from affirm_assets.steps.run import run_step
from affirm_assets.steps.storage import Storage
from bench.engines import OneEngine
from bench.measuring import peak_memory, seconds
from bench.payments import DAY, WINDOW, Payment, PaymentWithFee, bench_dataset, payments_of, with_fees
from resources.iceberg import IcebergCatalog
from resources.landing import LandingZone
from resources.sail import SailSessions
from resources.spark import local_sessions

SIZES = (2_500_000, 5_000_000, 10_000_000, 20_000_000)
STEPS = ("with_fees", "grouped")


class Paid(Contract):
    """What was paid by a transaction."""

    transaction_id: str = key("Transaction")
    posted_on: date = column("Business date")
    amount: Money = column("Amount", gt=0)


def grouped(payments: DataFrame) -> DataFrame:
    totals = payments.groupBy("transaction_id", "posted_on").agg(F.sum("amount").alias("amount"))
    return totals.withColumn("amount", F.col("amount").cast("decimal(18,2)"))


def measure() -> dict[str, Any]:
    found = {}
    for rows in SIZES:
        found[f"{rows:,} rows"] = _measured(rows)
        print(rows, found[f"{rows:,} rows"], file=sys.stderr, flush=True)  # the largest takes minutes
    return found


def _measured(rows: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        _alone(folder, "payments", rows, "sail")
        size = sum(path.stat().st_size for path in Path(folder).rglob("*.parquet")) / 2**20
        found: dict[str, Any] = {"MiB to read": round(size)}
        for name in STEPS:
            by_engine = {engine: _alone(folder, name, rows, engine) for engine in ("sail", "spark")}
            ratio = by_engine["sail"]["seconds"] / by_engine["spark"]["seconds"]
            found[name] = {**by_engine, "ratio": round(ratio, 2)}
        return found


def _alone(*arguments: Any) -> dict[str, Any]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found: dict[str, Any] = pool.apply(_published, arguments)
        return found


def _published(folder: str, name: str, rows: int, engine: str) -> dict[str, Any]:
    catalog = IcebergCatalog(uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}/warehouse")
    storage = Storage(catalog.load(), LandingZone(folder), catalog.name)
    datasets = _datasets(rows)
    run = Run(f"{name} on {engine}", f"{name} on {engine}")
    with peak_memory(os.getpid()) as peak:
        engines = OneEngine(_opens(engine, catalog))
        taken = seconds(lambda: run_step(datasets[name], datasets, WINDOW, run, "v1", storage, engines))
    assert catalog.load().load_table(f"bench.{name}").scan(f"posted_on = '{DAY}'").count() == rows
    return {"seconds": round(taken, 1), "peak MiB": round(peak.mib)}


def _opens(engine: str, catalog: IcebergCatalog) -> Callable[[], Engine]:
    if engine == "sail":
        return lambda: SailEngine(SailSessions().open, "the benchmark asks for it")
    session = local_sessions().session({**catalog.spark_conf(), **RESULT_SETTINGS})
    return lambda: SparkEngine(session, catalog.name, "the benchmark asks for it")


def _datasets(rows: int) -> dict[str, Dataset]:
    reads = {"payments": SameWindow("payments")}
    return {
        "payments": bench_dataset("payments", Payment, payments_of(rows), {}),
        "with_fees": bench_dataset("with_fees", PaymentWithFee, with_fees, reads),
        "grouped": bench_dataset("grouped", Paid, grouped, reads),
    }
