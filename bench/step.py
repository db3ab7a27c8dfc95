"""A whole step with every audit, on each engine, over bare PySpark that reads and writes the same and checks nothing.

All work on the same table, compute the same rows and write them to an Iceberg table of the same layout, in turn. Spark
with native operators is another JVM, in a process of its own; all else is in one. Of five million rows, and of fifty
thousand: what a small step costs once its process is warm.
"""

import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from typing import Any

from pyspark.sql import functions as F

from affirm_assets.declare.inputs import SameWindow
from affirm_assets.engines.sail import SailEngine
from affirm_assets.engines.spark import SparkEngine
from affirm_assets.steps.request import RESULT_SETTINGS, Run
from affirm_assets.steps.run import run_step
from affirm_assets.steps.storage import Storage
from bench.engines import OneEngine
from bench.measuring import interleaved, peak_memory
from bench.payments import DAY, WHY, WINDOW, Payment, PaymentWithFee, bench_dataset, payments_of, with_fees
from resources.iceberg import IcebergCatalog
from resources.landing import LandingZone
from resources.sail import SailSessions
from resources.spark import SparkSessions, local_sessions

SIZES = (50_000, 5_000_000)
ROUNDS = 5


def measure() -> dict[str, Any]:
    return {f"{rows:,} rows": _measured(rows) for rows in SIZES}


STEP = bench_dataset("with_fees", PaymentWithFee, with_fees, {"payments": SameWindow("payments")})


def catalog_in(folder: str) -> IcebergCatalog:
    return IcebergCatalog(uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}/warehouse")


def run_platform(folder: str, engines: OneEngine, rows: int, run: str) -> None:
    catalog, source = catalog_in(folder), bench_dataset("payments", Payment, payments_of(rows), {})
    storage = Storage(catalog.load(), LandingZone(folder), catalog.name)
    result = run_step(STEP, {"payments": source, "with_fees": STEP}, WINDOW, Run(run, run), "v1", storage, engines)
    assert result.rows == {DAY: rows}


def run_natively(folder: str, rows: int, run: str) -> None:
    """In a process whose Spark has native operators, and half of the others' heap as its own and half for them."""
    catalog = catalog_in(folder)
    conf = {**catalog.spark_conf(), **RESULT_SETTINGS}
    run_platform(folder, OneEngine(lambda: SparkEngine(native_sessions().session(conf), catalog.name, WHY)), rows, run)


@cache
def native_sessions() -> SparkSessions:
    return local_sessions("512m", native=512)


def _measured(rows: int) -> dict[str, Any]:
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as other_process,
    ):
        catalog = catalog_in(folder)
        storage = Storage(catalog.load(), LandingZone(folder), catalog.name)
        sessions, conf = local_sessions(), {**catalog.spark_conf(), **RESULT_SETTINGS}
        source = bench_dataset("payments", Payment, payments_of(rows), {})
        spark = OneEngine(lambda: SparkEngine(sessions.session(conf), catalog.name, WHY))
        sail = OneEngine(lambda: SailEngine(SailSessions().open, WHY))
        run_step(source, {"payments": source}, WINDOW, Run("source", "source"), "v1", storage, spark)
        sessions.session(conf).sql(
            "CREATE TABLE lake.bench.bare (transaction_id string NOT NULL, posted_on date NOT NULL, "
            "loan_id string NOT NULL, kind string NOT NULL, amount decimal(18,2) NOT NULL, fee decimal(18,2)) "
            "USING iceberg PARTITIONED BY (posted_on)"
        )
        count = iter(range(10_000))

        def bare() -> None:
            read = sessions.session(conf).table("lake.bench.payments").where(F.col("posted_on") == F.lit(DAY))
            # As the platform writes a day: without it, Iceberg's default is to shuffle all rows by their day first.
            with_fees(read).writeTo("lake.bench.bare").option("distribution-mode", "none").overwritePartitions()

        def platform(engines: OneEngine) -> None:
            run_platform(folder, engines, rows, f"run{next(count)}")

        def natively() -> None:
            other_process.submit(run_natively, folder, rows, f"run{next(count)}").result()

        native_pid = other_process.submit(os.getpid).result()
        with peak_memory(os.getpid()) as peak, peak_memory(native_pid) as native_peak:
            taken = interleaved(
                {
                    "bare": bare,
                    "on spark": lambda: platform(spark),
                    "on native spark": natively,
                    "on sail": lambda: platform(sail),
                },
                ROUNDS,
            )
    base = taken["bare"]["median"]
    return {
        "seconds": taken,
        "ratio on spark": round(taken["on spark"]["median"] / base, 2),
        "ratio on native spark": round(taken["on native spark"]["median"] / base, 2),
        "ratio on sail": round(taken["on sail"]["median"] / base, 2),
        "peak MiB of all": round(peak.mib),
        "peak MiB of native spark": round(native_peak.mib),
    }
