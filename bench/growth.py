"""One day's step when 169 days are booked before it, over the same with 9 days before it (aim: flat)."""

import tempfile
from datetime import date, timedelta
from pathlib import Path
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
LOANS = 20_000
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

        def run(step: str, day: int, window: Window) -> None:
            name = f"run{next(count)}"
            run_step(registry[step], registry.datasets, window, Run(name, name), "v1", lake(f"day{day}"))

        works = {}
        for day in (EARLY, LATE):
            for step in STEPS:
                run(step, day, Window(START, START + timedelta(days=day - 2)))
            today = START + timedelta(days=day - 1)
            for step in STEPS:
                works[f"{step} on day {day}"] = lambda step=step, day=day, today=today: run(
                    step, day, Window(today, today)
                )
        taken = interleaved(works, ROUNDS)
    return {
        "loans": LOANS,
        "seconds": taken,
        "ratio": {
            step: round(taken[f"{step} on day {LATE}"]["median"] / taken[f"{step} on day {EARLY}"]["median"], 2)
            for step in STEPS
        },
    }
