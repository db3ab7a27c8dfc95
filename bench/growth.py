"""One day's step when 169 days are booked before it, over the same with 9 days before it (aim: flat).

Loans and transactions look back 35 days for records that were sent before, so on day 10 they read less by what they
are, and not by how long the table is: day 40, the first with a whole look-back and days before it, tells the two apart.

The days before are booked one by one, as in life: a table's snapshots, manifests and files grow with each of them.
Their steps copy rows that were computed once, as a range, in a lake beside: 178 real days would take an hour.
"""

import tempfile
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from statistics import median
from typing import Any

from pyspark.sql import DataFrame, SparkSession

import affirm_assets.datasets
from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.partitions import Window
from affirm_assets.declare.registry import Registry
from affirm_assets.engines.sail import SailEngine
from affirm_assets.engines.spark import SparkEngine
from affirm_assets.lender.sample_data import write_sample_data
from affirm_assets.steps.engine import Days
from affirm_assets.steps.request import RESULT_SETTINGS, Run
from affirm_assets.steps.run import run_step
from affirm_assets.steps.storage import Storage
from bench.engines import OneEngine
from bench.measuring import interleaved
from resources.iceberg import IcebergCatalog
from resources.landing import LandingZone
from resources.sail import SailSessions
from resources.spark import local_sessions

START = date(2025, 1, 1)
EARLY, LOOKED_BACK, LATE = 10, 40, 170
LOANS = 5_000
ROUNDS = 5
STEPS = ("loan_rows", "loans", "transaction_rows", "transactions")

SOURCE = "source"
"""The lake of the rows that are copied, and its catalog's name in Spark."""


def copying(dataset: Dataset) -> Dataset:
    """The dataset with a transform that takes its rows from the source."""
    assert dataset.partitions is not None
    column = dataset.partitions.column

    def copy(window: Window) -> DataFrame:
        return SparkSession.active().table(f"{SOURCE}.{dataset.table}").where(Days(column, window).sql)

    return replace(dataset, function=copy, inputs={}, audits=())


def measure() -> dict[str, Any]:
    registry = Registry.walk(affirm_assets.datasets)
    sessions = local_sessions()
    count = iter(range(10_000))

    with tempfile.TemporaryDirectory() as folder:
        write_sample_data(Path(folder, "landing"), loans=LOANS, start=START, days=LATE, seed=1)

        def catalog(lake: str) -> IcebergCatalog:
            return IcebergCatalog(name=lake, uri=f"sqlite:///{folder}/{lake}.db", warehouse=f"file://{folder}/{lake}")

        def run(dataset: Dataset, lake: str, first: int, last: int) -> Mapping[str, float]:
            name, own = f"run{next(count)}", catalog(lake)
            conf = {**own.spark_conf(), **catalog(SOURCE).spark_conf(), **RESULT_SETTINGS}
            window = Window(START + timedelta(days=first - 1), START + timedelta(days=last - 1))
            storage = Storage(own.load(), LandingZone(f"{folder}/landing"), own.name)
            step = dataset, registry.datasets, window, Run(name, name), "v1"
            # Only Spark knows the other lake, whose rows are copied; what is measured is small, and sail's.
            if dataset.inputs:
                return run_step(*step, storage, OneEngine(lambda: SailEngine(SailSessions().open, "small"))).seconds
            spark = OneEngine(lambda: SparkEngine(sessions.session(conf), own.name, "copies"))
            return run_step(*step, storage, spark).seconds

        parts: dict[str, list[Mapping[str, float]]] = defaultdict(list)
        works = {}
        for step in STEPS:
            run(registry[step], SOURCE, 1, LATE - 1)
        for last in (EARLY, LOOKED_BACK, LATE):
            for day in range(1, last):
                for step in STEPS:
                    run(copying(registry[step]), f"day{last}", day, day)
            for step in STEPS:
                name = f"{step} on day {last}"
                works[name] = lambda name=name, step=step, last=last: parts[name].append(
                    run(registry[step], f"day{last}", last, last)
                )
        taken = interleaved(works, ROUNDS)
    return {
        "loans": LOANS,
        "seconds": taken,
        "median seconds of parts": {
            name: {part: round(median(each[part] for each in seconds[1:]), 2) for part in seconds[0]}
            for name, seconds in parts.items()
        },
        "ratio": {
            f"day {LATE} over day {day}": {
                step: round(taken[f"{step} on day {LATE}"]["median"] / taken[f"{step} on day {day}"]["median"], 2)
                for step in STEPS
            }
            for day in (EARLY, LOOKED_BACK)
        },
    }
