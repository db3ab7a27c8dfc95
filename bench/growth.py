"""One day's step when 169 days are booked before it, over the same with 9 days before it (aim: flat).

The days before are booked one by one, as in life: a table's snapshots, manifests and files grow with each of them.
"""

import tempfile
from collections import defaultdict
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import affirm_assets.datasets
from affirm_assets.dataset import Registry
from affirm_assets.partitions import Window
from affirm_assets.sample_data import write_sample_data
from affirm_assets.steps.lake import Lake
from affirm_assets.steps.request import Run
from affirm_assets.steps.run import run_step
from bench.measuring import interleaved
from resources.iceberg import IcebergCatalog
from resources.landing import LandingZone
from resources.spark import local_sessions

START = date(2025, 1, 1)
EARLY, LATE = 10, 170
LOANS = 5_000  # what grows here is the number of commits; building 178 days takes minutes as it is
ROUNDS = 5
STEPS = ("loan_rows", "loans", "transaction_rows", "transactions")


def measure() -> dict[str, Any]:
    registry = Registry.walk(affirm_assets.datasets)
    sessions = local_sessions()
    count = iter(range(10_000))

    with tempfile.TemporaryDirectory() as folder:
        write_sample_data(Path(folder, "landing"), loans=LOANS, start=START, days=LATE, seed=1)

        def lake(name: str) -> Lake:
            catalog = IcebergCatalog(database=f"{folder}/{name}.db", warehouse=f"{folder}/{name}")
            return Lake(sessions.session(catalog.spark_conf()), catalog.load(), LandingZone(f"{folder}/landing"))

        def run(step: str, lake_of: int, day: int) -> Mapping[str, float]:
            name, today = f"run{next(count)}", START + timedelta(days=day - 1)
            window, of_day = Window(today, today), lake(f"day{lake_of}")
            return run_step(registry[step], registry.datasets, window, Run(name, name), "v1", of_day).seconds

        parts: dict[str, list[Mapping[str, float]]] = defaultdict(list)
        works = {}
        for last in (EARLY, LATE):
            for day in range(1, last):
                for step in STEPS:
                    run(step, last, day)
            for step in STEPS:
                name = f"{step} on day {last}"
                works[name] = lambda name=name, step=step, last=last: parts[name].append(run(step, last, last))
        taken = interleaved(works, ROUNDS)
    return {
        "loans": LOANS,
        "seconds": taken,
        "median seconds of parts": {
            name: {part: round(median(each[part] for each in seconds[1:]), 2) for part in seconds[0]}
            for name, seconds in parts.items()
        },
        "ratio": {
            step: round(taken[f"{step} on day {LATE}"]["median"] / taken[f"{step} on day {EARLY}"]["median"], 2)
            for step in STEPS
        },
    }
