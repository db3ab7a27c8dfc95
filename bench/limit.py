"""What a step on Sail takes as what it reads grows: the measure behind the default of AFFIRM_SAIL_MIB.

Each step has a process of its own, whose peak of memory is its own. Two of them: one that passes rows on, and one that
has to hold them, since it groups by a key that is different in each row. The baseline is the smallest size.
"""

import multiprocessing
import resource
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from affirm_assets.declare.contract import Contract, Money, column, key
from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.inputs import SameWindow
from affirm_assets.engines.sail import SailEngine
from affirm_assets.steps.request import Run
from affirm_assets.steps.run import run_step
from affirm_assets.steps.storage import Storage
from bench.engines import OneEngine
from bench.measuring import seconds
from bench.step import DAY, WINDOW, Payment, PaymentWithFee, bench_dataset, payments_of, with_fees
from resources.iceberg import IcebergCatalog
from resources.landing import LandingZone
from resources.sail import SailSessions

SIZES = (2_500_000, 5_000_000, 10_000_000, 20_000_000)


class Paid(Contract):
    """What was paid by a transaction."""

    transaction_id: str = key("Transaction")
    posted_on: date = column("Business date")
    amount: Money = column("Amount", gt=0)


def grouped(payments: DataFrame) -> DataFrame:
    totals = payments.groupBy("transaction_id", "posted_on").agg(F.sum("amount").alias("amount"))
    return totals.withColumn("amount", F.col("amount").cast("decimal(18,2)"))


def measure() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for rows in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            _alone(_published, folder, "payments", rows)
            size = sum(path.stat().st_size for path in Path(folder).rglob("*.parquet")) / 2**20
            found[f"{rows:,} rows"] = {
                "MiB to read": round(size),
                **{name: _alone(_published, folder, name, rows) for name in ("with_fees", "grouped")},
            }
    first = found[f"{SIZES[0]:,} rows"]
    for each in found.values():
        for name in ("with_fees", "grouped"):
            each[name]["ratio to the smallest"] = round(each[name]["seconds"] / first[name]["seconds"], 2)
    return found


def _alone(work: Any, *arguments: Any) -> dict[str, Any]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found: dict[str, Any] = pool.apply(work, arguments)
        return found


def _published(folder: str, name: str, rows: int) -> dict[str, Any]:
    catalog = IcebergCatalog(uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}/warehouse")
    storage = Storage(catalog.load(), LandingZone(folder), catalog.name)
    datasets = _datasets(rows)
    sail = OneEngine(lambda: SailEngine(SailSessions().open, "the benchmark asks for it"))
    taken = seconds(lambda: run_step(datasets[name], datasets, WINDOW, Run(name, name), "v1", storage, sail))
    assert catalog.load().load_table(f"bench.{name}").scan(f"posted_on = '{DAY}'").count() == rows
    return {"seconds": round(taken, 1), "peak MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}


def _datasets(rows: int) -> dict[str, Dataset]:
    reads = {"payments": SameWindow("payments")}
    return {
        "payments": bench_dataset("payments", Payment, payments_of(rows), {}),
        "with_fees": bench_dataset("with_fees", PaymentWithFee, with_fees, reads),
        "grouped": bench_dataset("grouped", Paid, grouped, reads),
    }
