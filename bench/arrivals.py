"""Files that land, until the books of their dates are published, by a running daemon; and what it costs when none do.

The baseline of a backlog is `affirm demo`: the same files and runs, asked for by a person.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import psutil

import affirm_assets.datasets
from affirm_assets.declare.partitions import Daily, Window
from affirm_assets.declare.registry import Registry
from affirm_assets.settings import Settings
from affirm_assets.steps.published import record_of
from affirm_assets.stores import catalog_of
from bench.measuring import seconds
from tests.services import Services, wait_for

REGISTRY = Registry.walk(affirm_assets.datasets)
FIRST = date(2025, 1, 1)
DAYS, LOANS = 180, 3000
NEXT_DATES = 3
IDLE_SECONDS = 120


def measure() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        asked = ("--start", str(FIRST), "--days", str(DAYS), "--loans", str(LOANS))
        with _services(Path(folder, "demo")) as services:
            demo = seconds(lambda: _affirm(services, "demo", *asked))
        with _services(Path(folder, "daemon")) as services:
            _affirm(services, "sample-data", *asked, "--seed", "1")
            daemon = services.daemon()
            last = FIRST + timedelta(days=DAYS - 1)
            backlog = seconds(partial(_wait_for_books, services, last))
            arrivals = []
            for _ in range(NEXT_DATES):
                _affirm(services, "sample-data", "--next")
                last += timedelta(days=1)
                arrivals.append(round(seconds(partial(_wait_for_books, services, last)), 1))
            idle = _cores(daemon.pid, IDLE_SECONDS)
    return {
        "backlog": {
            "dates": DAYS,
            "demo seconds": round(demo, 1),
            "daemon seconds": round(backlog, 1),
            "ratio": round(backlog / demo, 2),
        },
        "one date, from _SUCCESS to its books": {"median": median(arrivals), "all": arrivals},
        "idle": {"cores": round(idle, 3), "seconds": IDLE_SECONDS},
    }


@contextmanager
def _services(root: Path) -> Iterator[Services]:
    services = Services(root, {"AFFIRM_FIRST_BUSINESS_DATE": str(FIRST)}, module="affirm_assets.definitions")
    try:
        yield services
    finally:
        services.stop()


def _affirm(services: Services, *arguments: str) -> None:
    program = str(Path(sys.executable).with_name("affirm"))
    subprocess.run([program, *arguments], cwd=services.root, env=services.environ, check=True, capture_output=True)


def _wait_for_books(services: Services, last: date) -> None:
    """Until every daily table has every date up to the last one."""
    wait_for(lambda: _is_published(services, last), f"the books of {last}", 900)


def _is_published(services: Services, last: date) -> bool:
    catalog = catalog_of(Settings.local(services.lake, FIRST)).load()
    time.sleep(0.5)  # looking costs the daemon its core
    return all(
        catalog.table_exists(item.table)
        and not record_of(item, catalog.load_table(item.table)).missing(Window(FIRST, last), item.partitions)
        for item in REGISTRY.datasets.values()
        if isinstance(item.partitions, Daily)
    )


def _cores(pid: int, during: float) -> float:
    """CPU seconds a second of a process and all that it has started."""
    processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    before = sum(sum(each.cpu_times()[:4]) for each in processes)
    time.sleep(during)
    return (sum(sum(each.cpu_times()[:4]) for each in processes if each.is_running()) - before) / during
