"""A whole step over five million rows, with and without its key-uniqueness audit, over a bare PySpark job.

All three read the same table, compute the same rows and write them to an Iceberg table of the same layout, in turn, on
one Spark. The bare job writes to its table at once, and checks nothing.
"""

import os
import tempfile
from datetime import date
from pathlib import Path
from typing import Any
from unittest.mock import patch

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from affirm_assets.declare.contract import Contract, Money, column, key
from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.inputs import SameWindow
from affirm_assets.declare.partitions import Daily, Window
from affirm_assets.steps import run as steps_run
from affirm_assets.steps.audit import Outcome
from affirm_assets.steps.lake import Lake, Storage
from affirm_assets.steps.request import Run
from bench.measuring import interleaved, peak_memory
from resources.iceberg import IcebergCatalog
from resources.landing import LandingZone
from resources.spark import local_sessions

ROWS = 5_000_000
DAY = date(2025, 1, 2)
WINDOW = Window(DAY, DAY)
ROUNDS = 5


class Payment(Contract):
    """A payment."""

    transaction_id: str = key("Transaction", pattern="^T[0-9]{12}$")
    posted_on: date = column("Business date")
    loan_id: str = column("Loan", min_length=1)
    kind: str = column("Kind")
    amount: Money = column("Amount", gt=0)


class PaymentWithFee(Payment):
    """A payment and its fee."""

    fee: Money = column("Fee, half up to the cent", ge=0)


def payments(lake: Lake) -> DataFrame:
    numbers = lake.spark.range(ROWS)
    return numbers.select(
        F.format_string("T%012d", F.col("id") * 7919 % ROWS).alias("transaction_id"),
        F.lit(DAY).alias("posted_on"),
        F.format_string("L%09d", F.col("id") % 700_001).alias("loan_id"),
        F.when(F.col("id") % 9 == 0, "refund").otherwise("payment").alias("kind"),
        ((F.col("id") % 99_991 + 1) / 100).cast("decimal(18,2)").alias("amount"),
    )


def with_fees(payments: DataFrame) -> DataFrame:
    return payments.withColumn(
        "fee", F.round(F.col("amount") * F.lit("0.029").cast("decimal(4,3)"), 2).cast("decimal(18,2)")
    )


def _dataset(name: str, contract: type[Contract], function: Any, inputs: dict[str, Any]) -> Dataset:
    return Dataset(name, "bench", contract, Daily("posted_on"), inputs, function, "team:bench", "", Path(__file__))


def measure() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        catalog = IcebergCatalog(uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}/warehouse")
        storage = Storage(catalog.load(), LandingZone(folder), catalog.name)
        sessions = local_sessions()

        def lake() -> Lake:
            return storage.with_spark(sessions.session(catalog.spark_conf()))

        first = lake()
        source = _dataset("payments", Payment, lambda: payments(first), {})
        step = _dataset("with_fees", PaymentWithFee, with_fees, {"payments": SameWindow("payments")})
        datasets = {"payments": source, "with_fees": step}
        steps_run.run_step(source, datasets, WINDOW, Run("source", "source"), "v1", storage, lambda _: first.spark)
        first.spark.sql(
            "CREATE TABLE lake.bench.bare (transaction_id string NOT NULL, posted_on date NOT NULL, "
            "loan_id string NOT NULL, kind string NOT NULL, amount decimal(18,2) NOT NULL, fee decimal(18,2)) "
            "USING iceberg PARTITIONED BY (posted_on)"
        )
        count = iter(range(10_000))

        def bare() -> None:
            spark = lake().spark
            rows = spark.table("lake.bench.payments").where(F.col("posted_on") == F.lit(DAY))
            with_fees(rows).writeTo("lake.bench.bare").overwritePartitions()

        def platform() -> None:
            run = f"run{next(count)}"
            result = steps_run.run_step(step, datasets, WINDOW, Run(run, run), "v1", storage, lambda _: lake().spark)
            assert result.rows == {DAY: ROWS}

        def platform_without_unique_key() -> None:
            passed = Outcome("unique_key", "", True, 0, 0)
            with patch.object(steps_run, "unique_outcome", lambda *_: passed):
                platform()

        with peak_memory(os.getpid()) as peak:
            taken = interleaved(
                {"bare": bare, "platform": platform, "platform without unique_key": platform_without_unique_key}, ROUNDS
            )
    base = taken["bare"]["median"]
    return {
        "rows": ROWS,
        "seconds": taken,
        "ratio": round(taken["platform"]["median"] / base, 2),
        "ratio without unique_key": round(taken["platform without unique_key"]["median"] / base, 2),
        "peak MiB of all": round(peak.mib),
    }
